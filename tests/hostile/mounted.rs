//! The main faults again, through a real mount: which errno a reader gets, and what the mount says.

use std::path::Path;

use nix::libc;
use nix::sys::signal::Signal;

use super::forge::{Letter, payload};
use super::registry::{Answer, Class, Fault};
use super::scene::{DEADLINE, GOOD, PATIENCE, Scene, timed};
use crate::common::{
    ALICE, BOB, Running, Stopwatch, TestMount, names_in, read, run, shell, wait_until, write,
};

/// Files whose layers hang at once.
const HUNG_COUNT: usize = 24;

/// Posts a letter `bad`, whose layer is known by its digest, and a good one.
fn scene_with_layer() -> (Scene, String) {
    with_layer(Scene::new())
}

/// As [`scene_with_layer`], in a scene.
fn with_layer(scene: Scene) -> (Scene, String) {
    let letter = Letter::new(&scene.alice, BOB, "bad", &payload(900));
    let layer = letter.manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    letter.post(&scene.registry, &scene.alice, BOB);
    scene.post_good();
    (scene, layer)
}

/// Asserts the errno of reading a file while its layer gets `fault`; that the file beside it can be
/// read, that `errors` reports it, and that the file can be read once the registry behaves.
#[track_caller]
fn assert_read_fails(id: &str, errno: i32, code: &str, fault: Fault) {
    let (scene, layer) = scene_with_layer();
    scene.registry.fail_on(Class::BlobGet, &layer, u64::MAX, fault);
    let mount = scene.bob.mount();
    let (bad, good) = (mount.message(ALICE, "bad"), mount.message(ALICE, GOOD));

    let (failed, took) = timed(|| std::fs::read(&bad));
    let good = read(good);

    assert_eq!(failed.unwrap_err().raw_os_error(), Some(errno), "{id}");
    assert!(took < PATIENCE, "{id} took {took:?}");
    assert_eq!(good, b"good", "{id}");
    let errors = mount.errors();
    let line = errors.lines().find(|line| line.contains("bad") && line.contains(code));
    assert!(line.is_some(), "{id}: {errors:?}");
    scene.registry.heal();
    // Readers that come together share a failure, for half a second at most.
    wait_until(&format!("{id}: it can be read"), || std::fs::read(&bad).is_ok());
    assert_eq!(read(&bad), payload(900), "{id}: something wrong was kept");
}

#[test]
fn h01_h05_h10_h25_wrong_bytes_are_a_bad_message() {
    assert_read_fails("H01", libc::EBADMSG, "corrupt", Fault::Corrupt);
    assert_read_fails("H05", libc::EBADMSG, "malformed", Fault::Replace(payload(5000)));
    assert_read_fails("H10", libc::EBADMSG, "malformed", Fault::Endless);
    assert_read_fails("H25", libc::EBADMSG, "malformed", Fault::Answer(Answer::html()));
}

#[test]
fn h12_h13_h14_a_registry_that_is_too_slow_is_a_time_out() {
    assert_read_fails("H12", libc::ETIMEDOUT, "timed-out", Fault::Drip);
    assert_read_fails("H13", libc::ETIMEDOUT, "timed-out", Fault::Hang);
    assert_read_fails("H14", libc::ETIMEDOUT, "timed-out", Fault::Stall(100));
}

#[test]
fn h03_h15_h16_a_registry_that_fails_is_out_of_reach() {
    let throttled = Answer::error(429, "TOOMANYREQUESTS").with("Retry-After", "3600");
    assert_read_fails("H03", libc::EHOSTUNREACH, "unreachable", Fault::Truncate(100));
    assert_read_fails("H15", libc::EHOSTUNREACH, "unreachable", Fault::status(500));
    assert_read_fails("H16", libc::EHOSTUNREACH, "unreachable", Fault::Answer(throttled));
    assert_read_fails("down", libc::EHOSTUNREACH, "unreachable", Fault::Close);
}

#[test]
fn h23_a_registry_that_refuses_us_is_a_denied_permission() {
    assert_read_fails("401", libc::EACCES, "denied", Fault::status(401));
    assert_read_fails("403", libc::EACCES, "denied", Fault::status(403));
}

#[test]
fn a_layer_that_is_gone_is_no_such_file() {
    assert_read_fails("404", libc::ENOENT, "not-found", Fault::status(404));
}

#[test]
fn c15_a_hundred_hanging_reads_delay_no_other_file() {
    let (scene, layer) = with_layer(Scene::patient());
    // A second file behind the same fault, so that not all readers share one fetch.
    let other = Letter::new(&scene.alice, BOB, "bad too", &payload(800));
    let other_layer = other.manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    other.post(&scene.registry, &scene.alice, BOB);
    for digest in [&layer, &other_layer] {
        scene.registry.fail_on(Class::BlobGet, digest, u64::MAX, Fault::Hold);
    }
    let mount = scene.bob.mount();
    let good = mount.message(ALICE, GOOD);
    let hanging = [mount.message(ALICE, "bad"), mount.message(ALICE, "bad too")];
    let script = "for i in $(seq 50); do cat \"$1\" & cat \"$2\" & done; wait";
    let mut readers = Running::start(shell(script, &hanging));
    wait_until("both layers are requested", || {
        let seen = scene.registry.seen(Class::BlobGet);
        [&layer, &other_layer].iter().all(|digest| seen.iter().any(|r| r.name() == **digest))
    });

    let (bytes, names) = (read(good), names_in(mount.inbox(ALICE)));

    assert_eq!(bytes, b"good");
    assert_eq!(names.len(), 3);
    assert!(readers.is_running());
    scene.registry.release();
    let ran = readers.end();
    assert_eq!(ran.stdout.len(), 50 * (900 + 800), "{ran:?}");
}

#[test]
fn c15_layers_that_hang_in_many_files_delay_no_other_file() {
    let scene = Scene::patient();
    let names: Vec<String> = (0..HUNG_COUNT).map(|index| format!("bad{index}")).collect();
    for (index, name) in names.iter().enumerate() {
        let letter = Letter::new(&scene.alice, BOB, name, &payload(800 + index));
        let layer = letter.manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
        letter.post(&scene.registry, &scene.alice, BOB);
        scene.registry.fail_on(Class::BlobGet, &layer, u64::MAX, Fault::Hold);
    }
    scene.post_good();
    let mount = scene.bob.mount();
    let good = mount.message(ALICE, GOOD);
    let hanging: Vec<_> = names.iter().map(|name| mount.message(ALICE, name)).collect();
    let before = scene.registry.count(Class::BlobGet);
    let script = "for file in \"$@\"; do cat \"$file\" > /dev/null & done; wait";
    let mut readers = Running::start(shell(script, &hanging));
    // Far more than are fetched at once when all goes well.
    wait_until("all layers are requested", || {
        scene.registry.count(Class::BlobGet) >= before + HUNG_COUNT
    });

    let bytes = read(good);

    assert_eq!(bytes, b"good");
    // None of them was given up to make room.
    assert!(readers.is_running());
    scene.registry.release();
    let ran = readers.end();
    assert!(ran.stderr.is_empty(), "{ran:?}");
    for (index, path) in hanging.iter().enumerate() {
        assert_eq!(read(path), payload(800 + index));
    }
}

#[test]
fn c16_a_reader_of_a_hanging_layer_can_be_interrupted() {
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let (scene, layer) = with_layer(Scene::patient());
        scene.bob.set("poll = \"1s\"");
        scene.registry.fail_on(Class::BlobGet, &layer, u64::MAX, Fault::Hang);
        let mount = scene.bob.mount();
        let bad = mount.message(ALICE, "bad");
        let reader = Running::start(shell("exec cat \"$1\"", &[&bad]));
        wait_until("the layer is requested", || {
            scene.registry.seen(Class::BlobGet).iter().any(|request| request.name() == layer)
        });

        reader.signal(signal);
        let stopwatch = Stopwatch::start();
        let ran = reader.end_within(PATIENCE);

        // Well before the deadline, which is a minute.
        assert!(stopwatch.elapsed() < PATIENCE, "{:?}", stopwatch.elapsed());
        assert!(ran.stdout.is_empty());
    }
}

#[test]
fn a_registry_that_goes_down_leaves_the_listings_and_comes_back() {
    let (scene, _layer) = scene_with_layer();
    let mount = scene.bob.mount();
    let bad = mount.message(ALICE, "bad");
    let cached = read(&bad);
    scene.registry.fail(Class::Any, Fault::Close);
    wait_until("the status reports that the registry is out of reach", || {
        mount.status()["registry"].as_str().is_some_and(|text| text.contains("unreachable"))
    });

    let (names, took) = timed(|| names_in(mount.inbox(ALICE)));

    assert_eq!(names, ["bad", GOOD]);
    assert!(took < DEADLINE, "{took:?}");
    // What is in the cache needs no registry.
    assert_eq!(read(&bad), cached);
    assert!(mount.errors().contains("unreachable"), "{}", mount.errors());
    scene.registry.heal();
    scene.letter("after").post(&scene.registry, &scene.alice, BOB);
    mount.message(ALICE, "after");
    wait_until("the status says so", || mount.status()["registry"] == "ok");
}

#[test]
fn a_registry_that_refuses_the_poll_is_told_with_what_to_do() {
    let scene = Scene::new();
    scene.post_good();
    let mount = scene.bob.mount();
    mount.message(ALICE, GOOD);
    scene.registry.fail(Class::Tags, Fault::status(403));

    wait_until("errors says what to do", || mount.errors().contains("docker login"));

    let status = mount.status()["registry"].as_str().unwrap().to_owned();
    assert!(status.contains("refused"), "{status}");
    assert_eq!(names_in(mount.inbox(ALICE)), [GOOD]);
}

#[test]
fn one_bad_message_is_explained_in_quarantine_and_hides_no_good_one() {
    let scene = Scene::new();
    let mallory = super::forge::Author::new(ALICE);
    Letter::new(&mallory, BOB, "forged.pdf", b"evil").post(&scene.registry, &mallory, BOB);
    scene.letter("broken.pdf").annotate("dockercomms.total_bytes", "1").post(
        &scene.registry,
        &scene.alice,
        BOB,
    );
    scene.post_good();
    let mount = scene.bob.mount();
    mount.message(ALICE, GOOD);

    let why = |name: &str| {
        let path = format!(".dockercomms/quarantine/{ALICE}/{name}.WHY.txt");
        String::from_utf8(mount.wait_for_file(Path::new(&path))).unwrap()
    };

    assert!(why("forged.pdf").contains("untrusted-signer"), "{}", why("forged.pdf"));
    assert!(why("forged.pdf").contains("trust add"), "{}", why("forged.pdf"));
    assert!(why("broken.pdf").contains("bad-chunk-map"), "{}", why("broken.pdf"));
    assert_eq!(names_in(mount.inbox(ALICE)), [GOOD]);
    assert_eq!(mount.status()["quarantine_count"], 2);
}

/// Copies a file into the outbox; returns what `cp` said.
fn copy(scene: &Scene, mount: &TestMount) -> crate::common::Ran {
    let file = write(scene.bob.dir().join("plan.bin"), payload(100_000));
    run(shell("cp \"$1\" \"$2\"", &[file, mount.outbox("carol@example.com")]))
}

#[test]
fn a_copy_into_the_outbox_fails_with_the_registrys_reason() {
    for (fault, reason, code) in [
        (Fault::status(403), "Permission denied", "denied"),
        (Fault::status(500), "No route to host", "unreachable"),
        (Fault::Hang, "Connection timed out", "timed-out"),
        (Fault::Answer(Answer::html()), "Bad message", "malformed"),
    ] {
        for class in [Class::UploadPut, Class::ManifestPut] {
            let scene = Scene::new();
            let mount = scene.bob.mount();
            scene.registry.fail(class, fault.clone());

            let (ran, took) = timed(|| copy(&scene, &mount));

            assert_eq!(ran.code(), 1, "{class:?} {reason}: {ran:?}");
            assert!(ran.stderr.contains(reason), "{class:?} {reason}: {ran:?}");
            assert!(took < PATIENCE, "{class:?} {reason} took {took:?}");
            let errors = mount.errors();
            let line = errors.lines().find(|line| line.contains("plan.bin"));
            assert!(line.is_some_and(|line| line.contains(code)), "{class:?} {reason}: {errors}");
            assert!(scene.registry.tags("inbox-").is_empty());
            scene.registry.heal();
            assert_eq!(copy(&scene, &mount).code(), 0, "{class:?} {reason}: {}", mount.errors());
            wait_until("it is sent, once", || scene.registry.tags("inbox-").len() == 1);
        }
    }
}
