//! What a mount shows: directories, modes, numbers, names.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::statvfs;

use super::scene::{Scene, send};
use crate::common::{ALICE, BOB, names_in, random_bytes, read};

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_root_lists_three_directories_and_not_its_control_directory() {
    let scene = Scene::new();

    assert_eq!(names_in(scene.mount.path()), ["inbox", "outbox", "receipts"]);
    assert_eq!(names_in(scene.at("receipts")), ["issued", "sent"]);
}

#[test]
fn the_control_directory_is_reachable_by_name() {
    let scene = Scene::new();
    let control = scene.at(".dockercomms");

    assert!(control.is_dir());
    assert_eq!(names_in(&control), ["errors", "quarantine", "status", "status.json"]);
    let status = String::from_utf8(read(control.join("status"))).unwrap();
    assert!(status.contains(ALICE) && status.contains("repository"), "{status}");
    assert_eq!(scene.mount.status()["me"][0], ALICE);
    assert_eq!(read(control.join("errors")), b"");
}

#[test]
fn everything_is_private_to_its_owner() {
    let scene = Scene::new();
    send(&scene.alice, &[("report.pdf", b"report")]);
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");

    for dir in ["", "inbox", "outbox", "receipts", "receipts/sent", "receipts/issued"] {
        assert_eq!(mode(&scene.at(dir)), 0o700, "{dir:?}");
    }
    assert_eq!(mode(&scene.at(".dockercomms")), 0o700);
    assert_eq!(mode(&scene.at("outbox").join(BOB)), 0o700);
    assert_eq!(mode(&receiving.inbox(ALICE)), 0o700);
    assert_eq!(mode(&message), 0o400);
    assert_eq!(mode(&scene.at(".dockercomms/status")), 0o400);
    let owner = nix::unistd::geteuid().as_raw();
    assert_eq!(message.metadata().unwrap().uid(), owner);
}

#[test]
fn a_mount_runs_nothing_and_has_no_devices() {
    let scene = Scene::new();

    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let here = scene.mount.path().to_str().unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(here)).unwrap();

    for option in ["nosuid", "nodev", "noexec", "fuse.dockercomms"] {
        assert!(line.contains(option), "{option}: {line}");
    }
}

#[test]
fn statfs_reports_space_so_that_file_managers_copy() {
    let scene = Scene::new();

    let space = statvfs(&scene.at("outbox").join(BOB)).unwrap();

    assert!(space.blocks() > 0 && space.blocks_available() > 0, "{space:?}");
    assert!(space.files() > 0 && space.files_free() > 0, "{space:?}");
    assert_eq!((space.block_size(), space.name_max()), (4096, 255));
    let spool = statvfs(&scene.alice.path()).unwrap();
    let total = |space: &nix::sys::statvfs::Statvfs| space.blocks() * space.fragment_size();
    assert_eq!(total(&space), total(&spool), "it is the space where files are staged");
}

#[test]
fn a_message_has_the_size_and_the_time_of_its_signed_manifest() {
    let scene = Scene::new();
    send(&scene.alice, &[("report.pdf", &random_bytes(1, 12_345))]);
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");

    let metadata = message.metadata().unwrap();

    assert_eq!(metadata.len(), 12_345);
    assert!(metadata.is_file() && metadata.nlink() == 1);
    let created = receiving.attribute(&message, "created").unwrap();
    let since_epoch = metadata.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(since_epoch.subsec_nanos(), 0, "the manifest knows seconds");
    let shown = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since_epoch);
    assert_eq!(created, shown.to_string());
    assert!(metadata.modified().unwrap().elapsed().unwrap() < Duration::from_hours(1));
}

#[test]
fn two_messages_of_one_name_are_numbered_in_order_and_keep_their_names() {
    let scene = Scene::new();
    let mut receiving = scene.bob.mount();
    send(&scene.alice, &[("report.pdf", b"first")]);
    receiving.message(ALICE, "report.pdf");
    send(&scene.alice, &[("report.pdf", b"second")]);
    let second = receiving.message(ALICE, "report (2).pdf");
    let number = second.metadata().unwrap().ino();

    // Another mount asks the registry anew; the names are those that were given first.
    receiving.unmount();
    receiving.start(&scene.bob, &[]);
    std::fs::remove_file(receiving.message(ALICE, "report.pdf")).unwrap();
    receiving.unmount();
    receiving.start(&scene.bob, &[]);

    assert_eq!(read(receiving.message(ALICE, "report (2).pdf")), b"second");
    assert_eq!(names_in(receiving.inbox(ALICE)), ["report (2).pdf"]);
    assert_eq!(second.metadata().unwrap().ino(), number, "the inode number stays");
}

#[test]
fn listing_and_looking_fetches_no_content() {
    let scene = Scene::new();
    send(&scene.alice, &[("report.pdf", &random_bytes(1, 200_000))]);
    let receiving = scene.bob.mount();
    let message = receiving.message(ALICE, "report.pdf");

    message.metadata().unwrap();
    std::fs::File::open(&message).unwrap();
    receiving.attribute(&message, "digest").unwrap();

    assert_eq!(receiving.status()["blob_bytes_fetched"], 0);
    assert!(read(&message) == random_bytes(1, 200_000));
    assert!(receiving.status()["blob_bytes_fetched"].as_u64().unwrap() >= 200_000);
}
