//! The registry is down when files are copied: nothing waits for it, and nothing is lost.

use super::scene::{Scene, name_of};
use crate::common::{BOB, Fifo, Running, read, run, shell, tool, wait_until};

/// Another recipient.
const CAROL: &str = "carol@example.com";

#[test]
fn a_copy_without_the_registry_succeeds_and_arrives_when_it_is_back() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();

    scene.copy("report.pdf", b"report");

    let state = scene.state("report.pdf").unwrap();
    assert!(state == "queued" || state == "sending", "{state}");
    assert_eq!(read(scene.outbox().join("report.pdf")), b"report");
    let status = scene.mount.status();
    assert_eq!(status["delivery"], "queued");
    assert_eq!(status["outbox_waiting"], 1);
    scene.registry.start();
    scene.wait_until_sent("report.pdf");
    scene.expect(&[("report.pdf", b"report")]);
}

#[test]
fn what_waits_says_why_and_when_it_is_tried_again() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();

    scene.copy("report.pdf", b"report");

    wait_until("an attempt failed", || scene.mount.status()["next_attempt"].is_string());
    let why = scene.mount.attribute(scene.outbox().join("report.pdf"), "error").unwrap();
    assert!(why.starts_with("unreachable: "), "{why}");
    let errors = scene.mount.errors();
    assert!(errors.contains("outbox/bob@example.com/report.pdf"), "{errors}");
}

#[test]
fn a_mount_that_is_killed_again_and_again_delivers_once() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();
    for number in 0..4 {
        scene.copy(&name_of(number), name_of(number));
        scene.mount.kill();
        scene.mount.start(&scene.alice, &[]);
    }

    scene.registry.start();
    scene.mount.kill();
    scene.mount.start(&scene.alice, &[]);
    scene.wait_until_all_sent();

    let names: Vec<String> = (0..4).map(name_of).collect();
    let expected: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    scene.expect(&expected);
}

#[test]
fn a_mount_that_is_killed_while_it_sends_loses_and_doubles_nothing() {
    let Some(mut scene) = Scene::new() else { return };
    scene.copy_many(30);

    for sent in [5, 12, 20] {
        wait_until("some are sent", || left(&scene) <= 30 - sent);
        scene.mount.kill();
        scene.mount.start(&scene.alice, &[]);
    }
    scene.wait_until_all_sent();

    scene.expect_many(30);
}

fn left(scene: &Scene) -> usize {
    let left = scene.mount.status()["outbox_queued"].as_u64().unwrap();
    usize::try_from(left).unwrap()
}

#[test]
fn a_hundred_files_queued_without_the_registry_are_a_hundred_messages() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();
    scene.copy_many(100);
    assert_eq!(scene.mount.status()["outbox_waiting"], 100);

    scene.registry.start();
    scene.wait_until_all_sent();

    scene.expect_many(100);
}

#[test]
fn each_recipient_gets_files_in_the_order_of_their_closes() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();
    // Names and sizes that would sort or upload otherwise.
    let names: Vec<String> = (0..12).map(|number| name_of((number * 7) % 12)).collect();
    for (number, name) in names.iter().enumerate() {
        scene.copy_to(BOB, name, vec![b'x'; 200_000 - number * 16_000]);
        scene.copy_to(CAROL, name, vec![b'y'; number * 1000 + 1]);
    }

    scene.registry.start();
    scene.wait_until_all_sent();

    let log = scene.registry.log();
    for recipient in [BOB, CAROL] {
        let places: Vec<usize> = names
            .iter()
            .map(|name| {
                let path = scene.mount.outbox(recipient).join(name);
                let id = scene.mount.attribute(path, "message_id").unwrap();
                let end_of_tag = format!("-{} ", id.split('-').next().unwrap());
                let is_publication = |line: &str| {
                    line.contains("\"PUT /v2/mail/manifests/inbox-") && line.contains(&end_of_tag)
                };
                log.lines().position(is_publication).unwrap_or_else(|| panic!("{name}: {log}"))
            })
            .collect();
        assert!(places.is_sorted(), "{recipient}: {places:?}");
    }
}

#[test]
fn rsync_sends_the_final_name_and_a_killed_copy_nothing() {
    let Some(mut scene) = Scene::new() else { return };
    if tool("rsync").is_none() {
        return;
    }
    scene.registry.stop();
    let mut fifo = Fifo::new(scene.alice.dir().join("pipe"));
    let half = scene.outbox().join("half");
    let copying = Running::start(shell("exec cp \"$1\" \"$2\"", &[fifo.path(), &half]));
    fifo.feed(&vec![b'x'; 100_000]);
    wait_until("the copy is under way", || half.metadata().is_ok_and(|file| file.len() > 0));

    copying.signal(nix::sys::signal::Signal::SIGTERM);
    copying.end();
    scene.sh("echo whole > whole && rsync -a whole \"$1\"/");
    scene.registry.start();
    scene.wait_until_sent("whole");

    assert_eq!(scene.state("half").as_deref(), Some("abandoned"));
    scene.expect(&[("whole", b"whole\n")]);
}

#[test]
fn a_log_that_is_appended_to_while_it_waits_is_one_message() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();

    scene.sh("for n in 1 2 3; do echo $n >> \"$1\"/log; done");
    scene.sh("sync \"$1\"/log");
    scene.registry.start();
    scene.wait_until_sent("log");

    scene.expect(&[("log", b"1\n2\n3\n")]);
}

#[test]
fn a_recipient_may_be_synchronous_in_a_queued_profile() {
    let Some(mut scene) = Scene::new() else { return };
    scene.mount.unmount();
    scene.alice.set("recipient_delivery = { \"carol@example.com\" = \"sync\" }");
    scene.mount.start(&scene.alice, &[]);
    let carols = scene.mount.outbox(CAROL);
    scene.registry.stop();

    scene.copy("bobs", b"bobs");
    let source = scene.alice.dir().join("bobs");
    let ran = run(shell("cp \"$1\" \"$2\"", &[source.as_path(), &carols]));

    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("No route to host"), "{ran:?}");
    assert!(!carols.join("bobs.FAILED.txt").exists(), "cp got the error");
}
