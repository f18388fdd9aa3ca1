//! What can happen to the state and the key (F10, F25, F26): damage is reported and never repaired
//! by forgetting; an old copy sends nothing twice; without the key nothing is lost.

use std::path::{Path, PathBuf};

use super::forge::payload;
use super::registry::{Class, Fault};
use super::scene::{GOOD, Scene};
use crate::common::{ALICE, BOB, Ran, TestMount, names_in, read, run, shell, wait_until, write};

/// Bytes of a page of the database.
const PAGE_LEN: usize = 4096;

/// Where the header of a database holds the version of its schema.
const VERSION_AT: usize = 60;

fn database(scene: &Scene) -> PathBuf {
    scene.bob.path().join("state/state.db")
}

fn copy(scene: &Scene, mount: &TestMount, to: &str, name: &str) -> Ran {
    let file = write(scene.bob.dir().join(name), payload(2000));
    run(shell("cp \"$1\" \"$2\"", &[file, mount.outbox(to)]))
}

fn send(scene: &Scene, name: &str) -> Ran {
    let file = write(scene.bob.dir().join(name), payload(2000));
    scene.bob.run(["send".as_ref(), file.as_os_str(), "--to".as_ref(), ALICE.as_ref()])
}

/// Copies the state, of a running program too; returns where to.
fn back_up(scene: &Scene) -> PathBuf {
    let backup = scene.bob.dir().join("backup");
    run(shell("cp -a \"$1\" \"$2\"", &[&scene.bob.path().join("state"), &backup])).ok();
    backup
}

fn bring_back(scene: &Scene, backup: &Path) {
    let state = scene.bob.path().join("state");
    run(shell("rm -rf \"$1\" && cp -a \"$2\" \"$1\"", &[state.as_path(), backup])).ok();
}

/// A scene in which bob has received and sent; returns how many inbox tags there are.
fn scene_with_history() -> (Scene, usize) {
    let scene = Scene::new();
    scene.post_good();
    assert_eq!(scene.receive().0.keys().collect::<Vec<_>>(), [GOOD]);
    send(&scene, "sent.bin").ok();
    let tag_count = scene.registry.tags("inbox-").len();
    assert_eq!(tag_count, 2);
    (scene, tag_count)
}

#[test]
fn f10_a_damaged_state_is_told_by_each_verb_and_left_as_it_is() {
    let (scene, tag_count) = scene_with_history();
    let whole = read(database(&scene));
    let flipped = |page: usize| {
        let mut bytes = whole.clone();
        bytes[page * PAGE_LEN..][..PAGE_LEN].iter_mut().for_each(|byte| *byte ^= 0xff);
        bytes
    };
    let damages = [
        ("first page", flipped(0)),
        ("second page", flipped(1)),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("zeroed", vec![0; whole.len()]),
        ("empty", Vec::new()),
    ];
    let dir = scene.bob.dir().join("mnt");
    std::fs::create_dir(&dir).unwrap();

    for (what, bytes) in damages {
        write(database(&scene), &bytes);

        let sent = send(&scene, "again.bin");
        let (files, received) = scene.receive();
        let mounted = scene.bob.run(["mount".as_ref(), "--foreground".as_ref(), dir.as_os_str()]);

        for ran in [sent, received, mounted] {
            assert_eq!(ran.code(), 70, "{what}: {ran:?}");
            assert!(ran.stderr.contains("state database is damaged"), "{what}: {ran:?}");
        }
        assert!(files.is_empty(), "{what}");
        assert!(read(database(&scene)) == bytes, "{what}: changed");
        for log in ["state.db-wal", "state.db-shm"] {
            std::fs::remove_file(database(&scene).with_file_name(log)).ok();
        }
    }

    write(database(&scene), &whole);
    scene.letter("later").post(&scene.registry, &scene.alice, BOB);
    assert_eq!(scene.receive().0.keys().collect::<Vec<_>>(), ["later"]);
    assert_eq!(scene.registry.tags("inbox-").len(), tag_count + 1);
}

#[test]
fn f10_a_log_that_is_lost_after_a_crash_sends_nothing_twice() {
    let scene = Scene::new();
    scene.post_good();
    let mut mount = scene.bob.mount();
    mount.message(ALICE, GOOD);
    copy(&scene, &mount, ALICE, "sent.bin").ok();
    mount.wait_until_all_sent(ALICE);
    mount.kill();
    let log = database(&scene).with_file_name("state.db-wal");
    assert!(log.metadata().is_ok_and(|log| log.len() > 0), "the crash leaves a log");

    std::fs::remove_file(log).unwrap();
    mount.start(&scene.bob, &[]);

    assert_eq!(read(mount.message(ALICE, GOOD)), b"good");
    copy(&scene, &mount, ALICE, "next.bin").ok();
    mount.wait_until_all_sent(ALICE);
    assert_eq!(scene.registry.tags("inbox-").len(), 3, "good.txt, sent.bin, next.bin");
}

#[test]
fn f10_a_queued_file_whose_row_is_lost_is_kept_and_told() {
    let scene = Scene::new();
    scene.bob.set("delivery = \"queued\"");
    scene.registry.fail(Class::UploadPut, Fault::status(503));
    let mut mount = scene.bob.mount();
    copy(&scene, &mount, ALICE, "plan.bin").ok();
    mount.kill();
    let staged = scene.bob.path().join("state/spool");
    let before = names_in(&staged);
    assert_eq!(before.len(), 1);

    std::fs::remove_file(database(&scene).with_file_name("state.db-wal")).unwrap();
    scene.registry.heal();
    mount.start(&scene.bob, &[]);

    assert_eq!(names_in(&staged), before);
    assert!(read(staged.join(&before[0])) == payload(2000));
    let errors = mount.errors();
    assert!(errors.contains(&before[0]) && errors.contains("ever arrived"), "{errors}");
    mount.unmount();
}

/// Flips a bit of `text` wherever it stands in the database.
fn flip_in_database(scene: &Scene, text: &str) {
    let mut bytes = read(database(scene));
    let places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(text.as_bytes()));
    let places: Vec<usize> = places.collect();
    assert!(!places.is_empty(), "{text}");
    for at in places {
        bytes[at] ^= 1;
    }
    write(database(scene), bytes);
}

#[test]
fn f10_a_bit_that_flips_in_an_unsent_row_is_told_and_the_file_is_neither_sent_nor_lost() {
    let scene = Scene::new();
    scene.bob.set("delivery = \"queued\"");
    scene.registry.fail(Class::UploadPut, Fault::status(503));
    let mut mount = scene.bob.mount();
    copy(&scene, &mount, ALICE, "plan.bin").ok();
    mount.unmount();
    let staged = scene.bob.path().join("state/spool");
    let before = names_in(&staged);
    assert_eq!(before.len(), 1);

    flip_in_database(&scene, "plan.bin");
    scene.registry.heal();
    mount.start(&scene.bob, &[]);
    copy(&scene, &mount, ALICE, "next.bin").ok();

    assert_eq!(mount.wait_until_all_sent(ALICE), ["next.bin"]);
    assert_eq!(scene.registry.tags("inbox-").len(), 1);
    assert!(read(staged.join(&before[0])) == payload(2000));
    let errors = mount.errors();
    assert!(errors.contains("damaged-row") && errors.contains(&before[0]), "{errors}");
    assert_eq!(mount.status()["outbox_damaged"], 1);
    mount.unmount();
    // Once the staged file is gone the row can be removed.
    scene.bob.run(["gc"]).ok();
    assert_eq!(names_in(&staged), before);
    std::fs::remove_file(staged.join(&before[0])).unwrap();
    scene.bob.run(["gc"]).ok();
    mount.start(&scene.bob, &[]);
    assert_eq!(mount.status()["outbox_damaged"], 0, "{}", mount.errors());
}

#[test]
fn f10_an_older_copy_of_the_state_sends_nothing_twice_and_fills_up_again() {
    let (scene, tag_count) = scene_with_history();
    let backup = back_up(&scene);
    scene.letter("later").post(&scene.registry, &scene.alice, BOB);
    let mut mount = scene.bob.mount();
    assert_eq!(read(mount.message(ALICE, "later")), payload(2500));
    copy(&scene, &mount, ALICE, "next.bin").ok();
    mount.wait_until_all_sent(ALICE);
    mount.unmount();

    bring_back(&scene, &backup);
    mount.start(&scene.bob, &[]);

    assert_eq!(read(mount.message(ALICE, "later")), payload(2500));
    assert_eq!(names_in(mount.inbox(ALICE)), [GOOD, "later"]);
    copy(&scene, &mount, ALICE, "last.bin").ok();
    mount.wait_until_all_sent(ALICE);
    assert_eq!(scene.registry.tags("inbox-").len(), tag_count + 3, "later, next.bin, last.bin");
}

/// Copies a file whose sending gets `fault`, backs the state up, lets the file be sent, and brings
/// the backup back; asserts that its recipient gets it once.
#[track_caller]
fn assert_sent_once(settings: &str, class: Class, path_part: &str) {
    let scene = Scene::new();
    // Bob writes to himself, so that the whole way can be seen.
    scene.bob.trust_card(&scene.bob.run(["key", "export"]).ok());
    scene.bob.set(settings);
    scene.registry.fail_on(class, path_part, u64::MAX, Fault::status(503));
    let mut mount = scene.bob.mount();
    let path = mount.outbox(BOB).join("plan.bin");
    let before = scene.registry.count(class);
    copy(&scene, &mount, BOB, "plan.bin").ok();
    wait_until("it was tried in vain", || scene.registry.count(class) > before);
    mount.kill();
    let backup = back_up(&scene);
    scene.registry.heal();
    mount.start(&scene.bob, &[]);
    mount.wait_for_state(&path, "sent");
    mount.unmount();

    bring_back(&scene, &backup);
    mount.start(&scene.bob, &[]);
    mount.wait_for_state(&path, "sent");
    mount.unmount();

    let (files, ran) = scene.receive();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["plan.bin"], "{ran:?}");
    assert_eq!(files["plan.bin"], payload(2000));
}

#[test]
fn f10_a_promise_in_an_older_copy_of_the_state_is_kept_once() {
    assert_sent_once("delivery = \"sync\"", Class::ManifestPut, "inbox-");
    assert_sent_once("delivery = \"queued\"", Class::ManifestPut, "inbox-");
    assert_sent_once("delivery = \"queued\"", Class::UploadPut, "");
}

#[test]
fn f25_a_key_that_goes_away_while_mounted_loses_nothing() {
    let scene = Scene::new();
    scene.post_good();
    scene.bob.trust_card(&scene.bob.run(["key", "export"]).ok());
    scene.bob.set("delivery = \"queued\"");
    scene.registry.fail(Class::UploadPut, Fault::status(503));
    let mut mount = scene.bob.mount();
    mount.message(ALICE, GOOD);
    copy(&scene, &mount, BOB, "plan.bin").ok();
    let key = scene.bob.path().join("config/key.pem");
    let away = scene.bob.dir().join("key.pem");

    run(shell("mv \"$1\" \"$2\"", &[&key, &away])).ok();

    // A running mount continues with the key that it has; the next one does not start without.
    copy(&scene, &mount, BOB, "other.bin").ok();
    mount.unmount();
    let dir = scene.bob.dir().join("mnt");
    std::fs::create_dir(&dir).unwrap();
    let started = scene.bob.run(["mount".as_ref(), "--foreground".as_ref(), dir.as_os_str()]);
    let again = scene.bob.run(["init"]);
    let sent = send(&scene, "third.bin");
    for ran in [started, again, sent] {
        assert_eq!(ran.code(), 9, "{ran:?}");
        assert!(ran.stderr.contains("key.pem") && ran.stderr.contains("hint:"), "{ran:?}");
    }
    assert!(!key.exists(), "another key would sign what was promised under this one");
    run(shell("mv \"$2\" \"$1\"", &[&key, &away])).ok();
    scene.registry.heal();
    mount.start(&scene.bob, &[]);
    assert_eq!(mount.wait_until_all_sent(BOB), ["other.bin", "plan.bin"]);
    mount.unmount();
    let (files, ran) = scene.receive();
    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD, "other.bin", "plan.bin"], "{ran:?}");
}

#[test]
fn f26_a_state_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (scene, _) = scene_with_history();
    let whole = read(database(&scene));
    let mut newer = whole.clone();
    newer[VERSION_AT..VERSION_AT + 4].copy_from_slice(&99_u32.to_be_bytes());
    write(database(&scene), &newer);

    let (_, received) = scene.receive();
    let sent = send(&scene, "again.bin");

    for ran in [received, sent] {
        assert_eq!(ran.code(), 9, "{ran:?}");
        assert!(ran.stderr.contains("version 99, newer than"), "{ran:?}");
    }
    assert!(read(database(&scene)) == newer);
    write(database(&scene), &whole);
    scene.letter("later").post(&scene.registry, &scene.alice, BOB);
    assert_eq!(scene.receive().0.keys().collect::<Vec<_>>(), ["later"]);
}
