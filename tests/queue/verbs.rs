//! `queue ls`, `retry` and `cancel`, beside a running mount and without one.

use super::scene::Scene;
use crate::common::{BOB, names_in};

#[test]
fn the_list_shows_what_waits_in_the_order_of_sending() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();
    scene.copy("z", b"first");
    scene.copy("a", b"second");

    let rows = scene.alice.json(["queue", "ls"]);
    let text = scene.alice.run(["queue", "ls"]).ok();

    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["z", "a"]);
    assert!(rows.iter().all(|row| row["state"] == "queued" && row["message_id"].is_string()));
    assert_eq!((rows[0]["recipient"].as_str(), rows[0]["bytes"].as_u64()), (Some(BOB), Some(5)));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains(" z ") && lines[1].contains(" a "), "{text}");
}

#[test]
fn an_empty_queue_is_no_error() {
    let Some(scene) = Scene::new() else { return };

    let listed = scene.alice.run(["queue", "ls"]);
    let retried = scene.alice.run(["queue", "retry", "--all"]);

    assert!(listed.status.success() && listed.stdout.is_empty(), "{listed:?}");
    assert!(listed.stderr.contains("nothing is waiting"), "{listed:?}");
    assert!(retried.status.success(), "{retried:?}");
}

#[test]
fn cancelling_beside_a_mount_sends_only_the_rest() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();
    for name in ["a", "b", "c"] {
        scene.copy(name, name);
    }
    let id = scene.alice.json(["queue", "ls"])[2]["id"].to_string();

    let done = scene.alice.json(["queue", "cancel", "bob@example.com/a", &id]);

    assert_eq!(
        done.iter().map(|line| line["name"].as_str()).collect::<Vec<_>>(),
        [Some("a"), Some("c")]
    );
    assert_eq!(names_in(scene.outbox()), ["b"]);
    scene.registry.start();
    scene.wait_until_sent("b");
    scene.expect(&[("b", b"b")]);
}

#[test]
fn cancelling_without_a_mount_sends_only_the_rest() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();
    for name in ["a", "b"] {
        scene.copy(name, name);
    }
    scene.mount.unmount();

    scene.alice.run(["queue", "cancel", "bob@example.com/a"]).ok();

    let rows = scene.alice.json(["queue", "ls"]);
    assert_eq!(rows.iter().map(|row| row["name"].as_str()).collect::<Vec<_>>(), [Some("b")]);
    assert_eq!(names_in(scene.alice.path().join("state/spool")).len(), 1, "the copy is deleted");
    scene.registry.start();
    scene.mount.start(&scene.alice, &[]);
    scene.wait_until_sent("b");
    scene.expect(&[("b", b"b")]);
}

#[test]
fn what_is_not_in_the_queue_is_not_found_and_nothing_is_done() {
    let Some(mut scene) = Scene::new() else { return };
    scene.registry.stop();
    scene.copy("a", b"a");

    for verb in ["retry", "cancel"] {
        let ran = scene.alice.run(["queue", verb, "bob@example.com/a", "999"]);

        assert_eq!(ran.code(), 5, "{ran:?}");
        assert!(ran.stderr.contains("999") && ran.stderr.contains("hint:"), "{ran:?}");
    }
    assert_eq!(scene.alice.json(["queue", "ls"]).len(), 1);
    assert_eq!(scene.alice.run(["queue", "cancel"]).code(), 9);
}
