//! `inbox/`: verified before it is listed, never changed, dismissed by `rm`.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::libc;

use super::scene::{Scene, errno, rename, send};
use crate::common::{ALICE, BOB, names_in, read, run, shell, wait_until};

#[test]
fn a_message_is_listed_only_after_its_sender_is_trusted() {
    let scene = Scene::new();
    scene.bob.run(["trust", "rm", ALICE]).ok();
    send(&scene.alice, &[("report.pdf", b"report")]);
    let receiving = scene.bob.mount();

    let why =
        receiving.wait_for_file(format!(".dockercomms/quarantine/{ALICE}/report.pdf.WHY.txt"));
    let before = names_in(receiving.path().join("inbox"));
    scene.bob.trust(&scene.alice);

    let why = String::from_utf8(why).unwrap();
    assert!(why.contains(ALICE) && !why.contains("report\n"), "{why}");
    assert!(before.is_empty(), "{before:?}");
    assert_eq!(read(receiving.message(ALICE, "report.pdf")), b"report");
    let quarantine = receiving.path().join(".dockercomms/quarantine");
    wait_until("quarantine is empty", || names_in(quarantine.join(ALICE)).is_empty());
}

#[test]
fn everything_that_would_change_a_message_is_answered_read_only() {
    let scene = Scene::new();
    send(&scene.alice, &[("report.pdf", b"report")]);
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");
    let beside = receiving.inbox(ALICE).join("new");

    let open = |options: &mut fs::OpenOptions| errno(options.open(&message));
    let answers = [
        ("write", open(File::options().write(true))),
        ("append", open(File::options().append(true))),
        ("read and write", open(File::options().read(true).write(true))),
        ("truncating open", open(File::options().write(true).truncate(true))),
        ("truncate", errno(nix::unistd::truncate(&message, 0).map_err(Into::into))),
        ("chmod", errno(fs::set_permissions(&message, Permissions::from_mode(0o600)))),
        ("create", errno(File::create_new(&beside))),
        ("create in inbox", errno(File::create_new(receiving.path().join("inbox/new")))),
        ("mkdir", errno(fs::create_dir(&beside))),
        ("mkdir in inbox", errno(fs::create_dir(receiving.path().join("inbox/new")))),
        ("symlink", errno(std::os::unix::fs::symlink("x", &beside))),
        ("hard link", errno(fs::hard_link(&message, &beside))),
        ("rename inside", errno(rename(&message, &beside))),
        ("create in receipts", errno(File::create_new(receiving.path().join("receipts/x")))),
    ];

    for (operation, answer) in answers {
        assert_eq!(answer, libc::EROFS, "{operation}");
    }
    assert_eq!(read(&message), b"report");
}

#[test]
fn rm_dismisses_a_message_locally_and_restore_brings_it_back() {
    let scene = Scene::new();
    send(&scene.alice, &[("report.pdf", b"report")]);
    let mut receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");
    let digest = receiving.attribute(&message, "digest").unwrap();
    let tags = scene.tags("");

    fs::remove_file(&message).unwrap();
    let listed = names_in(receiving.inbox(ALICE));
    receiving.unmount();
    receiving.start(&scene.bob, &[]);
    wait_until("the registry was asked", || receiving.status()["last_poll"].is_string());
    let listed_by_next_mount = names_in(receiving.inbox(ALICE));
    let restored = scene.bob.run(["restore", digest.as_str()]);

    assert_eq!(restored.code(), 0, "{restored:?}");
    assert!(!restored.stderr.contains("next mount"), "the one that runs lists it: {restored:?}");
    assert!(listed.is_empty() && listed_by_next_mount.is_empty());
    assert_eq!(read(receiving.message(ALICE, "report.pdf")), b"report");
    assert_eq!(scene.tags(""), tags, "the registry is untouched");
}

#[test]
fn a_message_is_moved_out_by_copying() {
    let scene = Scene::new();
    send(&scene.alice, &[("report.pdf", b"report")]);
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");
    let forwarded = receiving.outbox(ALICE).join("report.pdf");

    let renamed = rename(&message, &forwarded);
    run(shell::<&Path>("mv \"$1\" \"$2\"", &[&message, &forwarded])).ok();

    assert_eq!(errno(renamed), libc::EXDEV);
    receiving.wait_for_state(&forwarded, "sent");
    assert!(!message.exists(), "mv removed its source, which dismisses it");
    let back = scene.mount.message(BOB, "report.pdf");
    assert_eq!(read(back), b"report");
}

#[test]
fn a_shared_read_only_mapping_shows_the_senders_bytes() {
    let Some(mut python) = crate::common::program("python3") else { return };
    let scene = Scene::new();
    let bytes = crate::common::random_bytes(3, 300_000);
    send(&scene.alice, &[("report.pdf", &bytes)]);
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");

    let script = "
import mmap, sys
file = open(sys.argv[1], 'rb')
memory = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
file.close()
sys.stdout.buffer.write(memory)";
    python.args(["-c", script]).arg(&message);

    let ran = run(python);
    assert!(ran.status.success(), "{ran:?}");
    assert!(ran.stdout == bytes);
}

#[test]
fn receipts_are_read_only_files() {
    let scene = Scene::new();
    send(&scene.alice, &[("report.pdf", b"report")]);
    let receiving = scene.bob.mount();
    read(receiving.message(ALICE, "report.pdf"));
    let name = format!("receipts/issued/{ALICE}/report.pdf.accepted.json");
    receiving.wait_for_file(&name);
    let receipt = receiving.path().join(name);

    let answers = [
        ("write", errno(File::options().write(true).open(&receipt))),
        ("rm", errno(fs::remove_file(&receipt))),
        ("chmod", errno(fs::set_permissions(&receipt, Permissions::from_mode(0o600)))),
        ("rename", errno(rename(&receipt, receipt.with_extension("x")))),
    ];

    for (operation, answer) in answers {
        assert_eq!(answer, libc::EROFS, "{operation}");
    }
    assert_eq!(receipt.metadata().unwrap().permissions().mode() & 0o777, 0o400);
}
