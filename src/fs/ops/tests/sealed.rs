//! Sent files that are written anew before they are cut.

use super::*;

/// Opens the sent file `name` for writing.
async fn reopen(scene: &Scene, name: &str, flags: i32) -> u64 {
    let ino = scene.find(name).unwrap().ino;
    scene.fs.open_writer(ino, flags, me()).await.unwrap().handle
}

async fn sent(content: &[u8]) -> Scene {
    let scene = Scene::new().await;
    scene.copy("f", content).await.unwrap();
    scene.received().await;
    scene
}

#[tokio::test]
async fn a_new_content_is_listed_while_it_is_written_and_the_sent_one_again_after_a_refusal() {
    let scene = sent(b"0123456789").await;
    let before = scene.find("f").unwrap();
    let handle = reopen(&scene, "f", libc::O_WRONLY).await;

    scene.fs.write_anew(handle, 0, b"abc").await.unwrap();
    let during = (scene.find("f").unwrap(), scene.attribute("f", "state"));
    let closed = scene.fs.flush(handle, me()).await;
    let after = scene.find("f").unwrap();
    let written = scene.fs.write(handle, 3, b"d").map(|_written| ());
    let again = scene.fs.flush(handle, me()).await;
    assert!(scene.fs.release(handle).is_none(), "nothing is left to be given up");

    assert_eq!((during.0.ino, during.0.len, during.1.as_str()), (before.ino, 3, "draft"));
    assert_eq!((code(closed), code(written), code(again)), (libc::EPERM, libc::EPERM, libc::EPERM));
    assert_eq!((after.ino, after.len, after.mtime), (before.ino, 10, before.mtime));
    assert_eq!(scene.received().await, pairs(&[("f", b"0123456789")]));
    assert_eq!(scene.attribute("f", "state"), "sent");
}

#[tokio::test]
async fn what_was_refused_may_be_written_anew_through_another_handle() {
    let scene = sent(b"0123456789").await;
    let first = reopen(&scene, "f", libc::O_WRONLY).await;
    scene.fs.write_anew(first, 0, b"abc").await.unwrap();
    let refused = scene.fs.flush(first, me()).await;

    let second = reopen(&scene, "f", libc::O_RDWR).await;
    scene.fs.write_anew(second, 0, b"second").await.unwrap();
    scene.fs.ftruncate(second, 6).unwrap();
    scene.fs.flush(second, me()).await.unwrap();
    for handle in [first, second] {
        assert!(scene.fs.release(handle).is_none());
    }

    assert_eq!(code(refused), libc::EPERM);
    let mut received = scene.received().await;
    received.sort();
    assert_eq!(received, pairs(&[("f", b"0123456789"), ("f (2)", b"second")]));
}

#[tokio::test]
async fn a_release_without_a_close_gives_up_what_is_not_whole() {
    let scene = sent(b"0123456789").await;
    let handle = reopen(&scene, "f", libc::O_WRONLY).await;
    scene.fs.write_anew(handle, 0, b"abc").await.unwrap();

    let left = scene.fs.release(handle).expect("it is not whole");
    scene.fs.give_up_released(left).await;

    assert_eq!(scene.attribute("f", "state"), "sent");
    assert_eq!(scene.received().await, pairs(&[("f", b"0123456789")]));
}

#[tokio::test]
async fn a_failing_program_leaves_the_sent_file_even_if_all_of_it_was_written() {
    let scene = sent(b"0123456789").await;
    let failing = Failing::new();
    let handle = reopen(&scene, "f", libc::O_WRONLY).await;
    scene.fs.write_anew(handle, 0, b"abcdefghij").await.unwrap();

    scene.fs.flush(handle, failing.requester()).await.unwrap();
    scene.fs.release(handle);

    assert_eq!(scene.attribute("f", "state"), "sent");
    assert_eq!(scene.received().await, pairs(&[("f", b"0123456789")]));
}

#[tokio::test]
async fn a_registry_that_refuses_the_new_message_is_reported_by_the_close() {
    let scene = sent(b"0123456789").await;
    let handle = reopen(&scene, "f", libc::O_WRONLY).await;
    scene.fs.write_anew(handle, 0, b"abcdefghij").await.unwrap();
    let down = || RegistryError::Unreachable("down".into());
    scene.world.faulty.inject_always(Operation::PushManifest, Fault::fail(down));

    let closed = scene.fs.flush(handle, me()).await;
    scene.fs.release(handle);
    scene.world.faulty.heal();

    assert_eq!(code(closed), libc::EHOSTUNREACH);
    assert_eq!(scene.attribute("f", "state"), "failed");
    assert_eq!(scene.received().await, pairs(&[("f", b"0123456789")]));
}
