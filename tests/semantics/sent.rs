//! A sent file: a message, which no longer changes.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use nix::libc;

use super::scene::{Scene, close, errno, rename};
use crate::common::{ALICE, names_in, program, random_bytes, read, run, wait_until};

#[test]
fn a_sent_file_keeps_its_exact_size_time_and_mode() {
    let scene = Scene::new();
    let path = scene.to_bob("report.pdf");
    let then = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_500_000_000_123_456_789);
    let mut file = File::create_new(&path).unwrap();
    file.write_all(&random_bytes(1, 12_345)).unwrap();
    file.set_modified(then).unwrap();
    file.set_permissions(Permissions::from_mode(0o640)).unwrap();
    close(file);

    scene.mount.wait_for_state(&path, "sent");

    let metadata = path.metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    assert_eq!((metadata.len(), metadata.modified().unwrap()), (12_345, then));
    assert!(read(&path) == random_bytes(1, 12_345), "and it is still readable");
}

#[test]
fn a_sent_file_opened_with_truncation_is_a_new_message() {
    let mut scene = Scene::new();
    let path = scene.sent("report.pdf", b"first");
    let digest = scene.mount.attribute(&path, "digest");

    let mut file = File::create(&path).unwrap();
    let (len, state) = (path.metadata().unwrap().len(), scene.mount.attribute(&path, "state"));
    file.write_all(b"second").unwrap();
    close(file);
    scene.mount.wait_for_state(&path, "sent");

    assert_eq!((len, state.as_deref()), (0, Some("draft")));
    assert_ne!(scene.mount.attribute(&path, "digest"), digest);
    assert_eq!(names_in(scene.to_bob("")), ["report.pdf"]);
    let received = scene.received();
    let mut contents: Vec<&[u8]> = received.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    contents.sort_unstable();
    assert_eq!(contents, [&b"first"[..], b"second"]);
}

#[test]
fn a_change_of_a_part_of_a_sent_file_is_not_permitted() {
    let mut scene = Scene::new();
    let path = scene.sent("report.pdf", b"report");
    let change = |options: &mut fs::OpenOptions| options.open(&path)?.write_all_at(b"x", 1);

    let answers = [
        ("append", errno(File::options().append(true).open(&path))),
        ("read and append", errno(File::options().read(true).append(true).open(&path))),
        ("write", errno(change(File::options().write(true)))),
        ("read and write", errno(change(File::options().read(true).write(true)))),
        ("shorten", errno(File::options().write(true).open(&path).and_then(|f| f.set_len(3)))),
        ("truncate", errno(nix::unistd::truncate(&path, 0).map_err(Into::into))),
        ("rename", errno(rename(&path, scene.to_bob("other.pdf")))),
    ];

    for (operation, answer) in answers {
        assert_eq!(answer, libc::EPERM, "{operation}");
    }
    assert_eq!(read(&path), b"report");
    assert!(scene.mount.errors().contains("a sent message is immutable"));
    assert_eq!(scene.received(), [("report.pdf".to_owned(), b"report".to_vec())]);
}

#[test]
fn a_refused_write_is_reported_by_close_as_well() {
    let scene = Scene::new();
    let path = scene.sent("report.pdf", b"report");
    let file = File::options().write(true).open(&path).unwrap();

    let written = file.write_all_at(b"x", 1);
    let closed = nix::unistd::close(file);

    assert_eq!(errno(written), libc::EPERM);
    assert_eq!(closed, Err(nix::errno::Errno::EPERM), "for programs that look there only");
}

#[test]
fn a_sent_file_that_is_opened_and_then_cut_to_nothing_is_a_new_message() {
    let mut scene = Scene::new();
    let path = scene.sent("note.txt", b"first");
    let before = path.metadata().unwrap().ino();

    // What vim does: it looks whether the file is still the same before it truncates.
    let mut file = File::options().write(true).open(&path).unwrap();
    let opened = file.metadata().unwrap().ino();
    file.set_len(0).unwrap();
    file.write_all(b"second").unwrap();
    file.sync_all().unwrap();
    close(file);
    scene.mount.wait_for_state(&path, "sent");

    assert_eq!(opened, before);
    assert_eq!(read(&path), b"second");
    let received = scene.received();
    assert_eq!(received.len(), 2, "{received:?}");
    assert!(received.iter().any(|(_, bytes)| bytes == b"second"), "{received:?}");
}

#[test]
fn opening_a_sent_file_for_writing_and_doing_nothing_changes_nothing() {
    let mut scene = Scene::new();
    let path = scene.sent("report.pdf", b"report");

    close(File::options().write(true).open(&path).unwrap());

    assert_eq!(scene.mount.attribute(&path, "state").as_deref(), Some("sent"));
    assert_eq!(scene.received(), [("report.pdf".to_owned(), b"report".to_vec())]);
}

#[test]
fn a_new_file_renamed_over_a_sent_one_is_a_new_message() {
    let mut scene = Scene::new();
    let path = scene.sent("report.pdf", b"first");
    let temporary = scene.to_bob("report.pdf.tmp");
    super::scene::create(&temporary, b"second");

    rename(&temporary, &path).unwrap();
    scene.mount.wait_for_state(&path, "sent");

    assert_eq!(names_in(scene.to_bob("")), ["report.pdf"]);
    assert_eq!(read(&path), b"second");
    assert_eq!(scene.received().len(), 2, "the first one was sent and stays so");
}

#[test]
fn attributes_of_a_sent_file_are_accepted_and_kept_locally() {
    let scene = Scene::new();
    let path = scene.sent("report.pdf", b"report");

    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&path, Some(1234), Some(1234)).ok();

    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(scene.mount.attribute(&path, "state").as_deref(), Some("sent"));
}

#[test]
fn rm_of_a_sent_file_takes_it_off_my_list_only() {
    let mut scene = Scene::new();
    let path = scene.sent("report.pdf", b"report");

    fs::remove_file(&path).unwrap();

    assert!(names_in(scene.to_bob("")).is_empty());
    assert_eq!(scene.received(), [("report.pdf".to_owned(), b"report".to_vec())]);
    scene.mount.start(&scene.alice, &[]);
    assert!(names_in(scene.to_bob("")).is_empty(), "it stays off the list");
}

#[test]
fn a_second_rsync_of_a_directory_transfers_nothing() {
    let Some(mut first) = program("rsync") else { return };
    let mut scene = Scene::new();
    let source = scene.alice.dir().join("source");
    fs::create_dir(&source).unwrap();
    for number in 0..5 {
        crate::common::write(source.join(format!("{number}.bin")), random_bytes(number, 50_000));
    }
    let from = format!("{}/", source.display());
    let arguments = ["-a", "--no-perms", "--itemize-changes", &from];
    first.args(arguments).arg(scene.to_bob(""));
    run(first).ok();
    assert_eq!(scene.mount.wait_until_all_sent(crate::common::BOB).len(), 5);

    let mut second = program("rsync").unwrap();
    second.args(arguments).arg(scene.to_bob(""));
    let said = run(second).ok();

    let transfers: Vec<&str> = said.lines().filter(|line| line.starts_with('>')).collect();
    assert!(transfers.is_empty(), "{said}");
    assert_eq!(scene.received().len(), 5);
}

#[test]
fn a_sent_file_stays_listed_and_readable_for_the_next_mount() {
    let mut scene = Scene::new();
    let path = scene.sent("report.pdf", &random_bytes(2, 100_000));
    let digest = scene.mount.attribute(&path, "digest");

    scene.mount.unmount();
    scene.mount.start(&scene.alice, &[]);

    wait_until("it is listed", || path.exists());
    assert_eq!(scene.mount.attribute(&path, "digest"), digest);
    assert_eq!(scene.mount.attribute(&path, "sender").as_deref(), Some(ALICE));
    assert!(read(&path) == random_bytes(2, 100_000));
}
