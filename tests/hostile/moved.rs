//! Tags that are moved, copied, deleted and restored (P25, B22, B24, B25).

use super::forge::{Author, Letter, attach};
use super::registry::{Class, Registry};
use super::scene::{GOOD, Scene};
use crate::common::{ALICE, BOB, TestMount, names_in, read, wait_until};

/// Most settled tags that one poll asks about.
const ASKED_A_POLL: usize = 8;

/// Waits for the alarm about a tag.
#[track_caller]
fn wait_for_alarm(mount: &TestMount, tag: &str) {
    let is_alarm = |line: &str| line.contains(" tag-moved ") && line.contains(tag);
    wait_until("the alarm is raised", || mount.errors().lines().any(is_alarm));
    let errors = mount.errors();
    let line = errors.lines().find(|line| is_alarm(line)).unwrap();
    assert!(line.contains("what was delivered stays") && line.contains("hint:"), "{line}");
}

#[test]
fn p25_a_tag_that_moves_to_another_genuine_message_is_an_alarm_and_mixes_nothing() {
    let scene = Scene::new();
    let first = scene.letter("first").post(&scene.registry, &scene.alice, BOB);
    scene.post_good();
    let mount = scene.bob.mount();
    let path = mount.message(ALICE, "first");
    mount.message(ALICE, GOOD);
    let second = Letter::new(&scene.alice, BOB, "second", b"second");
    let posted = second.post(&scene.registry, &scene.alice, BOB);
    scene.registry.remove_tag(&posted.tag);

    scene.registry.put_tag(&first.tag, &posted.digest);

    wait_for_alarm(&mount, &first.tag);
    let other = mount.message(ALICE, "second");
    assert_eq!(names_in(mount.inbox(ALICE)), ["first", GOOD, "second"]);
    assert_eq!(mount.attribute(&path, "digest"), Some(first.digest.to_string()));
    assert_eq!(mount.attribute(&other, "digest"), Some(posted.digest.to_string()));
    assert_eq!(read(&path), super::forge::payload(2500));
    assert_eq!(read(&other), b"second");
    assert_eq!(read(mount.message(ALICE, GOOD)), b"good");
}

#[test]
fn p25_a_tag_that_moves_to_a_forgery_is_an_alarm_and_the_forgery_is_refused() {
    let scene = Scene::new();
    let genuine = scene.letter("genuine").post(&scene.registry, &scene.alice, BOB);
    let mount = scene.bob.mount();
    let path = mount.message(ALICE, "genuine");
    let mallory = Author::new(ALICE);
    let forged = scene.letter("forged");
    attach(&scene.registry, &forged.digest(), &mallory.bundle(&forged.bytes()));
    scene.registry.put_manifest(Some(&genuine.tag), &forged.bytes());

    wait_for_alarm(&mount, &genuine.tag);

    let why = format!(".dockercomms/quarantine/{ALICE}/forged.WHY.txt");
    let why = String::from_utf8(mount.wait_for_file(why)).unwrap();
    assert!(why.contains("untrusted-signer"), "{why}");
    assert_eq!(names_in(mount.inbox(ALICE)), ["genuine"]);
    assert_eq!(read(path), super::forge::payload(2500));
    scene.post_good();
    assert_eq!(read(mount.message(ALICE, GOOD)), b"good");
}

#[test]
fn p25_settled_tags_are_asked_about_a_few_at_a_time() {
    let scene = Scene::new();
    for index in 0..30 {
        let letter = Letter::new(&scene.alice, BOB, &index.to_string(), b"x");
        letter.post(&scene.registry, &scene.alice, BOB);
    }
    let (files, _) = scene.receive();
    let before = [Class::ManifestHead, Class::ManifestGet].map(|class| scene.registry.count(class));

    let (nothing, ran) = scene.receive();

    let after = [Class::ManifestHead, Class::ManifestGet].map(|class| scene.registry.count(class));
    assert_eq!((files.len(), nothing.len()), (30, 0), "{ran:?}");
    assert!(after[0] - before[0] <= ASKED_A_POLL, "{before:?} {after:?}");
    assert_eq!(after[1], before[1], "nothing is fetched again");
}

#[test]
fn b22_a_message_copied_to_another_repository_is_delivered_once() {
    let scene = Scene::new();
    let letter = scene.letter("once");
    letter.post(&scene.registry, &scene.alice, BOB);
    let (first, _) = scene.receive();
    let elsewhere = Registry::start();
    letter.post(&elsewhere, &scene.alice, BOB);
    Letter::new(&scene.alice, BOB, GOOD, b"good").post(&elsewhere, &scene.alice, BOB);
    let out = crate::common::temp_dir();
    let mut command = scene.bob.command();
    command.env("DOCKERCOMMS_REGISTRY", elsewhere.reference());
    command.arg("recv").arg("--out").arg(out.path());

    let ran = crate::common::run(command);

    assert_eq!(first.keys().collect::<Vec<_>>(), ["once"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(names_in(out.path()), [GOOD]);
}

#[test]
fn b25_a_tag_rolled_back_to_an_older_message_brings_nothing_again() {
    let scene = Scene::new();
    let older = scene.letter("older").post(&scene.registry, &scene.alice, BOB);
    let newer = scene.letter("newer").post(&scene.registry, &scene.alice, BOB);
    let (both, _) = scene.receive();
    let mount = scene.bob.mount();
    mount.message(ALICE, "newer");

    scene.registry.put_tag(&newer.tag, &older.digest);

    wait_for_alarm(&mount, &newer.tag);
    assert_eq!(both.len(), 2);
    assert_eq!(names_in(mount.inbox(ALICE)), ["newer", "older"]);
    let digest = mount.attribute(mount.inbox(ALICE).join("newer"), "digest");
    assert_eq!(digest, Some(newer.digest.to_string()));
    scene.post_good();
    assert_eq!(read(mount.message(ALICE, GOOD)), b"good");
}
