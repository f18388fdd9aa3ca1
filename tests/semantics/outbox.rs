//! `outbox/`: staged while it is written, sent by the close that counts.

use std::fs::{self, File, Permissions};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use super::scene::{LONG_WINDOW, Scene, close, create, rename};
use crate::common::{BOB, names_in, random_bytes, run, wait_until};

#[test]
fn a_file_is_staged_privately_while_it_is_written() {
    let mut scene = Scene::new();
    let path = scene.to_bob("report.pdf");
    let mut file = File::create_new(&path).unwrap();

    file.write_all(b"half").unwrap();
    let metadata = path.metadata().unwrap();
    let state = scene.mount.attribute(&path, "state");
    file.write_all(b" and half").unwrap();
    close(file);

    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (4, 0o600));
    assert_eq!(state.as_deref(), Some("draft"));
    assert_eq!(scene.received(), [("report.pdf".to_owned(), b"half and half".to_vec())]);
}

#[test]
fn whole_chunks_are_uploaded_while_the_copy_still_runs() {
    let bytes = random_bytes(1, 300_000);
    let mut scene = Scene::with_settings(&["chunk_bytes = \"64KiB\""]);
    let path = scene.to_bob("report.pdf");
    let mut file = File::create_new(&path).unwrap();

    file.write_all(&bytes[..200_000]).unwrap();

    // Three whole chunks of 64 KiB; what remains waits for its rest.
    wait_until("the whole chunks are in the registry", || {
        scene.mount.attribute(&path, "progress").as_deref() == Some("196608/200000")
    });
    assert!(scene.tags("").is_empty(), "nothing is announced yet");
    file.write_all(&bytes[200_000..]).unwrap();
    close(file);
    assert_eq!(scene.received(), [("report.pdf".to_owned(), bytes)]);
}

#[test]
fn a_chunk_that_is_overwritten_after_its_upload_is_sent_as_it_is_at_close() {
    let mut bytes = random_bytes(1, 200_000);
    let mut scene = Scene::with_settings(&["chunk_bytes = \"64KiB\""]);
    let path = scene.to_bob("report.pdf");
    let mut file = File::create_new(&path).unwrap();
    file.write_all(&bytes).unwrap();
    wait_until("the whole chunks are in the registry", || {
        scene.mount.attribute(&path, "progress").as_deref() == Some("196608/200000")
    });

    bytes[70_000..70_005].copy_from_slice(b"later");
    file.seek(std::io::SeekFrom::Start(70_000)).unwrap();
    file.write_all(b"later").unwrap();
    close(file);

    assert_eq!(scene.received(), [("report.pdf".to_owned(), bytes)]);
}

#[test]
fn close_returns_when_everything_but_the_tag_is_in_the_registry() {
    let mut scene = Scene::with_settings(&[LONG_WINDOW]);
    let path = scene.to_bob("report.pdf");

    create(&path, b"report");

    assert_eq!(scene.mount.attribute(&path, "state").as_deref(), Some("prepared"));
    let digest = scene.mount.attribute(&path, "digest").unwrap();
    let bundles = scene.tags(&format!("bundle-{}-", &digest["sha256:".len()..][..12]));
    assert_eq!(bundles.len(), 1, "the signature is there");
    assert!(scene.tags("inbox-").is_empty(), "and the commit is not");
    assert_eq!(scene.received(), [("report.pdf".to_owned(), b"report".to_vec())]);
}

#[test]
fn a_close_without_a_write_sends_nothing() {
    let mut scene = Scene::new();
    let path = scene.to_bob("report.pdf");
    let mut file = File::create_new(&path).unwrap();

    // As a shell does: a second descriptor is closed before the first byte is written.
    close(file.try_clone().unwrap());
    let state = scene.mount.attribute(&path, "state");
    file.write_all(b"report").unwrap();
    close(file);

    assert_eq!(state.as_deref(), Some("draft"));
    assert_eq!(scene.received(), [("report.pdf".to_owned(), b"report".to_vec())]);
}

#[test]
fn an_open_reader_and_a_mapping_see_what_a_writer_adds_and_changes() {
    if crate::common::program("python3").is_none() {
        return;
    }
    let scene = Scene::new();
    let path = scene.to_bob("log");
    let mut writer = File::create_new(&path).unwrap();
    writer.write_all(b"one\n").unwrap();
    let script = "
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
memory = mmap.mmap(file, 4)
print(memory[:4], os.pread(file, 9, 0), flush=True)
sys.stdin.readline()
print(memory[:4], os.pread(file, 9, 0), flush=True)
";
    let mut fifo = crate::common::Fifo::new(scene.alice.dir().join("pipe"));
    let shell = "exec python3 -c \"$1\" \"$2\" < \"$3\"";
    let arguments = [std::path::Path::new(script), path.as_path(), fifo.path()];
    let reader = crate::common::Running::start(crate::common::shell(shell, &arguments));
    fifo.feed(b"");
    wait_until("the reader has cached the page", || reader.output().contains("b'one\\n' b'one"));

    writer.seek(std::io::SeekFrom::Start(0)).unwrap();
    writer.write_all(b"six\nten\n").unwrap();
    fifo.feed(b"go on\n");

    let expected = "b'six\\n' b'six\\nten\\n'";
    wait_until("the reader sees it", || reader.output().contains(expected));
    fifo.finish();
    reader.end().ok();
    close(writer);
}

#[test]
fn a_close_while_another_process_still_writes_sends_nothing() {
    let mut scene = Scene::new();
    let path = scene.to_bob("log");
    let script = "exec 3>\"$1\"; echo one >&3; echo ready; read answer; echo two >&3";
    let mut fifo = crate::common::Fifo::new(scene.alice.dir().join("pipe"));
    let script = format!("{{ {script}; }} < \"$2\"");
    let shell = crate::common::shell(&script, &[path.as_path(), fifo.path()]);
    let other = crate::common::Running::start(shell);
    fifo.feed(b"");
    wait_until("the other process wrote", || other.output().contains("ready"));
    let mut file = File::options().append(true).open(&path).unwrap();

    file.write_all(b"between\n").unwrap();
    close(file);
    let state = scene.mount.attribute(&path, "state");
    fifo.feed(b"go on\n");
    fifo.finish();
    other.end().ok();

    assert_eq!(state.as_deref(), Some("draft"), "the other process holds it");
    // Two descriptors with an offset each: the second writer begins where it stopped.
    assert_eq!(scene.received(), [("log".to_owned(), b"one\ntwo\neen\n".to_vec())]);
}

#[test]
fn renaming_a_temporary_name_to_a_final_one_sends_it() {
    let mut scene = Scene::with_settings(&[LONG_WINDOW]);
    let (temporary, path) = (scene.to_bob(".report.pdf.aX3xQ9"), scene.to_bob("report.pdf"));
    create(&temporary, b"report");
    let before = scene.mount.attribute(&temporary, "state");

    rename(&temporary, &path).unwrap();

    assert_eq!(before.as_deref(), Some("local"));
    assert_eq!(scene.mount.attribute(&path, "state").as_deref(), Some("prepared"));
    assert!(!temporary.exists());
    assert_eq!(scene.received(), [("report.pdf".to_owned(), b"report".to_vec())]);
}

#[test]
fn a_file_renamed_in_its_window_is_sent_once_under_its_last_name() {
    let mut scene = Scene::with_settings(&[LONG_WINDOW]);
    create(&scene.to_bob("sedXyZ"), b"new");
    create(&scene.to_bob("notes.txt"), b"old");

    rename(scene.to_bob("sedXyZ"), scene.to_bob("notes.txt")).unwrap();

    assert_eq!(names_in(scene.to_bob("")), ["notes.txt"]);
    assert_eq!(scene.received(), [("notes.txt".to_owned(), b"new".to_vec())]);
}

#[test]
fn a_file_opened_again_in_its_window_is_one_message() {
    let mut scene = Scene::with_settings(&[LONG_WINDOW]);
    let path = scene.to_bob("log");
    create(&path, b"one\n");

    let mut file = File::options().append(true).open(&path).unwrap();
    let reopened = scene.mount.attribute(&path, "state");
    file.write_all(b"two\n").unwrap();
    close(file);

    assert_eq!(reopened.as_deref(), Some("draft"));
    assert_eq!(scene.received(), [("log".to_owned(), b"one\ntwo\n".to_vec())]);
}

#[test]
fn an_empty_file_is_sent_after_its_longer_window() {
    let mut scene = Scene::with_settings(&["settle = \"0s\""]);
    let path = scene.to_bob("empty");

    create(&path, b"");
    let at_close = scene.mount.attribute(&path, "state");
    scene.mount.wait_for_state(&path, "sent");

    assert_eq!(at_close.as_deref(), Some("draft"), "`touch` comes before the content");
    assert_eq!(scene.received(), [("empty".to_owned(), Vec::new())]);
}

#[test]
fn rm_of_a_file_in_its_window_cancels_it() {
    let mut scene = Scene::with_settings(&[LONG_WINDOW]);
    create(&scene.to_bob("secret"), b"not for bob");

    fs::remove_file(scene.to_bob("secret")).unwrap();

    assert!(names_in(scene.to_bob("")).is_empty());
    assert_eq!(scene.received(), []);
}

#[test]
fn an_open_file_that_was_removed_goes_on_and_is_never_sent() {
    let mut scene = Scene::new();
    let path = scene.to_bob("unlinked");
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all(b"kept").unwrap();

    fs::remove_file(&path).unwrap();
    file.write_all(b" open").unwrap();
    let links = std::os::unix::fs::MetadataExt::nlink(&file.metadata().unwrap());
    let mut text = String::new();
    file.rewind().unwrap();
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    close(file);

    assert_eq!((text.as_str(), links), ("kept open", 0));
    assert_eq!(scene.received(), []);
}

#[test]
fn mkdir_makes_a_recipient_that_stays() {
    let mut scene = Scene::with_settings(&["outbox_new = [\"team/*\", \"gone\"]"]);
    let outbox = scene.at("outbox");

    fs::create_dir(outbox.join("carol@example.com")).unwrap();
    fs::create_dir(outbox.join("team%2Fa")).unwrap();
    fs::create_dir(outbox.join("gone")).unwrap();
    fs::remove_dir(outbox.join("gone")).unwrap();
    scene.mount.unmount();
    scene.mount.start(&scene.alice, &[]);

    assert_eq!(names_in(&outbox), [BOB, "carol@example.com", "team%2Fa"]);
    let path = outbox.join("team%2Fa/x.tmp");
    create(&path, b"x");
    assert_eq!(scene.mount.attribute(&path, "recipient").as_deref(), Some("team/a"));
}

#[test]
fn mode_owner_and_times_are_accepted_and_kept_locally() {
    let scene = Scene::with_settings(&[LONG_WINDOW]);
    let path = scene.to_bob("report.pdf");
    create(&path, b"report");
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_001);

    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&path, Some(1234), Some(1234)).ok();
    let times = fs::FileTimes::new().set_modified(then).set_accessed(then);
    File::open(&path).unwrap().set_times(times).unwrap();

    let metadata = path.metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    assert_eq!(metadata.modified().unwrap(), then);
    assert_eq!(scene.mount.attribute(&path, "state").as_deref(), Some("prepared"));
}

#[test]
fn a_mapping_stored_to_after_its_close_is_sent_with_the_last_release() {
    let Some(mut python) = crate::common::program("python3") else { return };
    let mut scene = Scene::new();
    let path = scene.to_bob("mapped");
    let script = "
import mmap, os, sys
file = open(sys.argv[1], 'w+b')
file.truncate(100000)
memory = mmap.mmap(file.fileno(), 0)
file.close()
memory[0:5] = b'first'
memory[99996:] = b'last'
memory.close()";
    python.args(["-c", script]).arg(&path);

    run(python).ok();

    scene.mount.wait_for_state(&path, "sent");
    let mut bytes = vec![0; 100_000];
    bytes[..5].copy_from_slice(b"first");
    bytes[99_996..].copy_from_slice(b"last");
    assert_eq!(scene.received(), [("mapped".to_owned(), bytes)]);
}
