//! What a registry can do to a sender (H21, H40 to H47).

use super::registry::{Answer, Class, Fault, Registry};
use super::scene::{PATIENCE, Scene, timed};
use crate::common::{ALICE, Ran, write};

/// The classes of requests that change something.
const WRITES: [Class; 3] = [Class::UploadStart, Class::UploadPut, Class::ManifestPut];

/// Sends a file of several chunks to alice.
fn send(scene: &Scene) -> Ran {
    let file = write(scene.bob.dir().join("plan.bin"), super::forge::payload(200_000));
    let file = file.display().to_string();
    scene.bob.run(["send", file.as_str(), "--to", ALICE, "--chunk-bytes", "64KiB"])
}

/// Asserts that sending fails with the exit code and in time, and that nothing is tagged; and that
/// the next attempt sends exactly one message.
#[track_caller]
fn assert_send_fails(id: &str, exit: i32, class: Class, fault: Fault) {
    let scene = Scene::new();
    scene.registry.fail(class, fault);

    let (ran, took) = timed(|| send(&scene));

    assert_eq!(ran.code(), exit, "{id}: {ran:?}");
    assert!(ran.stderr.contains("hint:"), "{id}: {ran:?}");
    assert!(took < PATIENCE, "{id} took {took:?}");
    assert!(scene.registry.tags("inbox-").is_empty(), "{id}: {ran:?}");
    scene.registry.heal();
    let again = send(&scene);
    assert_eq!(again.code(), 0, "{id}: {again:?}");
    assert_eq!(scene.registry.tags("inbox-").len(), 1, "{id}");
}

#[test]
fn a_registry_that_refuses_or_fails_is_reported_by_the_exit_code() {
    for class in WRITES {
        let id = format!("{class:?}");
        assert_send_fails(&id, 3, class, Fault::status(403));
        assert_send_fails(&id, 3, class, Fault::status(401));
        assert_send_fails(&id, 7, class, Fault::status(500));
        assert_send_fails(&id, 7, class, Fault::Close);
        assert_send_fails(&id, 7, class, Fault::Hang);
    }
}

#[test]
fn h25_a_web_page_is_no_upload() {
    for class in WRITES {
        assert_send_fails(&format!("{class:?}"), 4, class, Fault::Answer(Answer::html()));
    }
}

#[test]
fn h40_what_was_confirmed_counts_and_what_was_answered_otherwise_does_not() {
    // A registry that confirms and keeps nothing looks like one that lags.
    for (status, exit) in [(201, 0), (202, 0), (200, 4), (204, 4), (304, 4)] {
        let scene = Scene::new();
        scene.registry.fail(Class::ManifestPut, Fault::Answer(Answer::new(status)));

        let ran = send(&scene);

        assert_eq!(ran.code(), exit, "{status} {ran:?}");
    }
}

#[test]
fn h41_a_chunk_that_was_only_said_to_be_taken_is_not_sent() {
    let scene = Scene::new();
    scene.registry.fail(Class::UploadPut, Fault::Answer(Answer::new(201)));

    let ran = send(&scene);

    assert_ne!(ran.code(), 0, "{ran:?}");
    assert!(scene.registry.tags("").is_empty());
}

#[test]
fn h42_h43_an_answer_that_is_lost_sends_nothing_twice() {
    for class in WRITES {
        let count = {
            let scene = Scene::new();
            send(&scene).ok();
            scene.registry.count(class) as u64
        };
        for nth in 0..count {
            for fault in [Fault::CommitThenClose, Fault::CommitThenStatus(500)] {
                let scene = Scene::new();
                // The requests before the nth are answered as they should be.
                scene.registry.fail_times(class, 1, fault);
                scene.registry.let_pass(class, nth);

                let ran = send(&scene);

                assert_eq!(ran.code(), 0, "{class:?} {nth}: {ran:?}");
                assert_eq!(scene.registry.tags("inbox-").len(), 1, "{class:?} {nth}");
                assert_eq!(scene.registry.tags("bundle-").len(), 1, "{class:?} {nth}");
            }
        }
    }
}

#[test]
fn h21_an_upload_that_is_sent_elsewhere_carries_no_password() {
    let scene = Scene::new();
    scene.log_in();
    let elsewhere = Registry::start();
    let location = format!("http://{}/v2/mail/blobs/uploads/1", elsewhere.host());
    let answer = Answer::new(202).with("Location", location);
    scene.registry.fail(Class::UploadStart, Fault::Answer(answer));

    send(&scene);

    let leaks = elsewhere.seen(Class::Any);
    assert!(leaks.iter().all(|request| request.header("authorization").is_none()), "{leaks:?}");
    assert!(scene.registry.tags("inbox-").is_empty());
}

#[test]
fn h47_who_may_only_read_still_receives() {
    let scene = Scene::new();
    for class in WRITES {
        scene.registry.fail(class, Fault::Answer(Answer::error(403, "DENIED")));
    }
    scene.post_good();

    let sent = send(&scene);
    let (files, received) = scene.receive();

    assert_eq!(sent.code(), 3, "{sent:?}");
    assert_eq!(files.len(), 1, "{received:?}");
}
