//! Extended attributes: what every file says about itself, and receipts by writing one.

use std::path::Path;

use nix::libc;
use rustix::fs::XattrFlags;

use super::scene::{LONG_WINDOW, Scene, create, errno, send};
use crate::common::{ALICE, BOB, Registry, TestMount, alice_and_bob, read};

fn set(path: &Path, name: &str, value: &[u8]) -> std::io::Result<()> {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).map_err(Into::into)
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let len = rustix::fs::getxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(len);
    Some(value)
}

/// Returns the names of ours on a file, without their prefix.
fn shown(path: &Path) -> Vec<String> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(path, names.as_mut_slice()).unwrap();
    names.truncate(len);
    let text = String::from_utf8(names).unwrap();
    let ours = text.split('\0').filter_map(|name| name.strip_prefix("user.dockercomms."));
    ours.map(ToOwned::to_owned).collect()
}

fn value(mount: &TestMount, path: &Path, name: &str) -> String {
    mount.attribute(path, name).unwrap_or_else(|| panic!("{} has no {name}", path.display()))
}

#[test]
fn a_message_says_who_signed_it_for_whom_and_until_when() {
    let scene = Scene::new();
    send(&scene.alice, &[("report.pdf", b"report")]);
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");

    let names = shown(&message);
    let value = |name| value(&receiving, &message, name);

    for (name, wanted) in
        [("state", "received"), ("sender", ALICE), ("recipient", BOB), ("filename", "report.pdf")]
    {
        assert_eq!(value(name), wanted, "{name}");
        assert!(names.iter().any(|shown| shown == name), "{name} is not in {names:?}");
    }
    let card = scene.alice.run(["key", "export"]).ok();
    assert!(card.contains(&value("signer")), "{card}");
    assert_eq!(value("digest").len(), "sha256:".len() + 64);
    assert!(scene.tags("inbox-")[0].ends_with(&value("message_id")[..8]));
    assert!(value("created") < value("expires"));
    assert_eq!(receiving.attribute(&message, "receipt"), None, "not read yet");
}

#[test]
fn a_sent_file_says_what_the_message_says() {
    let scene = Scene::new();
    let sent = scene.sent("report.pdf", b"report");
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");

    for name in ["sender", "recipient", "signer", "digest", "message_id", "created", "expires"] {
        assert_eq!(value(&scene.mount, &sent, name), value(&receiving, &message, name), "{name}");
    }
    assert_eq!(value(&scene.mount, &sent, "progress"), "6/6");
    read(&message);
    scene.mount.wait_for_file(format!("receipts/sent/{BOB}/report.pdf.accepted.json"));
    assert_eq!(value(&scene.mount, &sent, "receipt"), "accepted");
    assert_eq!(value(&receiving, &message, "receipt"), "accepted");
}

#[test]
fn a_draft_has_no_digest_yet_and_a_failed_file_has_an_error() {
    let Some(mut registry) = Registry::crane() else { return };
    let (alice, _bob) = alice_and_bob(&registry.reference("mail"));
    alice.set("deadline = \"2s\"");
    let mount = alice.mount();
    let path = mount.outbox(BOB).join("report.pdf");
    let mut file = std::fs::File::create_new(&path).unwrap();
    std::io::Write::write_all(&mut file, b"report").unwrap();

    let draft = (mount.attribute(&path, "state"), mount.attribute(&path, "digest"));
    registry.stop();
    let closed = nix::unistd::close(file);

    assert_eq!(draft, (Some("draft".to_owned()), None));
    assert!(closed.is_err(), "the registry is down");
    assert_eq!(value(&mount, &path, "state"), "failed");
    assert!(value(&mount, &path, "error").starts_with("unreachable: "));
}

#[test]
fn writing_the_attribute_receipt_rejects_a_message_with_a_reason() {
    let scene = Scene::new();
    let sent = scene.sent("report.pdf", b"report");
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");

    set(&message, "user.dockercomms.receipt", b"rejected:wrong file").unwrap();

    let name = "report.pdf.rejected.json";
    receiving.wait_for_file(format!("receipts/issued/{ALICE}/{name}"));
    let receipt = scene.mount.wait_for_file(format!("receipts/sent/{BOB}/{name}"));
    let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!((&receipt["status"], &receipt["proof"]), (&"rejected".into(), &"signed".into()));
    assert!(receipt.to_string().contains("wrong file"), "{receipt}");
    assert_eq!(value(&receiving, &message, "receipt"), "rejected");
    assert_eq!(value(&scene.mount, &sent, "receipt"), "rejected");
}

#[test]
fn setfattr_accepts_a_message_that_nobody_read() {
    let scene = Scene::new();
    scene.sent("report.pdf", b"report");
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");

    let Some(mut setfattr) = crate::common::program("setfattr") else { return };
    setfattr.args(["-n", "user.dockercomms.receipt", "-v", "accepted"]).arg(&message);
    crate::common::run(setfattr).ok();

    scene.mount.wait_for_file(format!("receipts/sent/{BOB}/report.pdf.accepted.json"));
}

#[test]
fn every_other_write_to_an_attribute_of_ours_is_refused() {
    let scene = Scene::new();
    send(&scene.alice, &[("report.pdf", b"report")]);
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");
    let receipt = "user.dockercomms.receipt";

    assert_eq!(errno(set(&message, receipt, b"perhaps")), libc::EINVAL);
    assert_eq!(errno(set(&message, "user.dockercomms.sender", b"eve")), libc::EROFS);
    assert_eq!(errno(set(&message, "user.note", b"mine")), libc::EROFS);
    let removed = rustix::fs::removexattr(&message, receipt).map_err(std::io::Error::from);
    assert_eq!(errno(removed), libc::EPERM);
    assert_eq!(value(&receiving, &message, "sender"), ALICE);
}

#[test]
fn what_ls_asks_of_every_file_is_answered_once_for_all() {
    let scene = Scene::new();
    send(&scene.alice, &[("report.pdf", b"report")]);
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");
    let waiting = scene.to_bob("draft.tmp");
    create(&waiting, b"draft");
    let ask = |path: &Path, name| {
        let answer = rustix::fs::getxattr(path, name, &mut [0_u8; 8]);
        errno(answer.map_err(std::io::Error::from))
    };
    let acl = c"system.posix_acl_access";

    // What says that nothing here has a label or an ACL, so that `ls` does not ask again.
    assert_eq!(ask(&message, c"security.selinux"), libc::EOPNOTSUPP);
    assert_eq!(ask(&message, acl), libc::EOPNOTSUPP);
    assert_eq!(ask(message.parent().unwrap(), acl), libc::EOPNOTSUPP);
    // The kernel asks this one as well, once its mode lets a group in.
    assert_eq!(ask(&waiting, acl), libc::ENODATA);
}

#[test]
fn attributes_of_a_file_in_the_outbox_are_kept_locally() {
    let scene = Scene::with_settings(&[LONG_WINDOW]);
    let path = scene.to_bob("report.pdf");
    create(&path, b"report");

    set(&path, "user.note", b"mine").unwrap();
    // What `cp -a` brings along from another file of a mount is not taken over.
    set(&path, "user.dockercomms.sender", b"eve").unwrap();

    assert_eq!(get(&path, "user.note").as_deref(), Some(&b"mine"[..]));
    assert_eq!(value(&scene.mount, &path, "sender"), ALICE);
    assert_eq!(errno(set(&path, "security.label", b"x")), libc::EOPNOTSUPP);
    rustix::fs::removexattr(&path, "user.note").unwrap();
    assert_eq!(get(&path, "user.note"), None);
}
