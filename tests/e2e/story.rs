//! The product in one breath: alice copies a file in, bob copies it out, alice holds his receipt.

use crate::common::{
    ALICE, BOB, Home, Registry, TestMount, alice_and_bob, is_mounted, names_in, random_bytes, read,
    repository, run, shell, temp_dir, write,
};

/// Some chunks of the default size, and a bit.
const REPORT_LEN: usize = (12 << 20) + 345;

#[test]
fn a_file_travels_over_a_layout_directory_and_its_signed_receipt_comes_back() {
    let dir = temp_dir();

    tell(&repository(&dir));
}

#[test]
fn a_file_travels_over_docker_registry_and_its_signed_receipt_comes_back() {
    let Some(registry) = Registry::docker() else { return };

    tell(&registry.reference("team/mail"));
}

#[test]
fn a_file_travels_over_crane_and_its_signed_receipt_comes_back() {
    let Some(registry) = Registry::crane() else { return };

    tell(&registry.reference("mail"));
}

/// The story of the README, with assertions.
#[track_caller]
fn tell(registry: &str) {
    let (alice, bob) = alice_and_bob(registry);
    let (sending, receiving) = (alice.mount(), bob.mount());
    let report = write(alice.dir().join("report.pdf"), random_bytes(1, REPORT_LEN));

    copy(&report, &sending.outbox(BOB));
    let message = receiving.message(ALICE, "report.pdf");
    let received = bob.dir().join("received.pdf");
    copy(&message, &received);

    assert!(read(&report) == read(&received), "the bytes differ");
    check_receipt(&sending, &receiving, &message);
}

fn check_receipt(sending: &TestMount, receiving: &TestMount, message: &std::path::Path) {
    let text = sending.wait_for_file("receipts/sent/bob@example.com/report.pdf.accepted.json");
    let receipt = parse(&text);
    let issued = parse(
        &receiving.wait_for_file("receipts/issued/alice@example.com/report.pdf.accepted.json"),
    );

    assert_eq!(receipt["status"], "accepted", "{receipt}");
    assert_eq!((&receipt["author"], &receipt["verified"]), (&BOB.into(), &true.into()));
    assert_eq!(receipt["receipt"], issued["receipt"], "both sides hold the same receipt");
    let sent = sending.outbox(BOB).join("report.pdf");
    let digest = sending.attribute(&sent, "digest");
    assert!(digest.is_some());
    assert_eq!(receiving.attribute(message, "digest"), digest);
    assert!(receipt.to_string().contains(digest.unwrap().as_str()), "{receipt}");
    assert_eq!(sending.attribute(&sent, "receipt").as_deref(), Some("accepted"));
    assert_eq!(sending.attribute(&sent, "state").as_deref(), Some("sent"));
    assert_eq!(receiving.attribute(message, "receipt").as_deref(), Some("accepted"));
    assert_eq!(receiving.attribute(message, "sender").as_deref(), Some(ALICE));
}

fn parse(json: &[u8]) -> serde_json::Value {
    serde_json::from_slice(json).unwrap()
}

#[track_caller]
fn copy(from: &std::path::Path, to: &std::path::Path) {
    run(shell("cp \"$1\" \"$2\"", &[from, to])).ok();
}

#[test]
fn a_mount_without_any_configuration_works_and_returns_when_it_is_ready() {
    let home = Home::new();
    let mut mkdir = home.foreign("mkdir");
    mkdir.arg("mail");
    run(mkdir).ok();
    let mail = home.dir().join("mail");

    let mut mount = home.bare_command();
    mount.arg("mount").arg(&mail);
    run(mount).ok();

    assert!(is_mounted(&mail), "the program said that it mounted");
    assert_eq!(names_in(&mail), ["inbox", "outbox", "receipts"]);
    let mut umount = home.bare_command();
    umount.arg("umount").arg(&mail);
    run(umount).ok();
    assert!(!is_mounted(&mail));
    assert!(home.dir().join(".config/dockercomms/config.toml").is_file());
    assert!(home.dir().join(".config/dockercomms/key.pem").is_file());
}
