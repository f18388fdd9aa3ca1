//! Registries that fail now and then, for a while, or for all clients at once (H17, H45 to H53).

use std::collections::BTreeMap;
use std::time::Duration;

use super::forge::payload;
use super::registry::{Answer, Class, Fault, Registry};
use super::scene::{GOOD, PATIENCE, Scene, timed};
use crate::common::{ALICE, BOB, Running, Stopwatch, run, shell, temp_dir, wait_until, write};

/// Files in flight during a storm.
const COUNT: usize = 10;

/// Files that one seed sends.
const SEEDED_COUNT: usize = 4;

/// Seeds that are always taken.
const SEED_COUNT: u32 = 20;

/// How many minutes the tests with seeds go on.
const MINUTES: &str = "DOCKERCOMMS_TEST_MINUTES";

#[test]
fn h17_c14_a_storm_of_refusals_loses_and_doubles_nothing() {
    let scene = Scene::patient();
    let mount = scene.bob.mount();
    let source = temp_dir();
    for index in 0..COUNT {
        write(source.path().join(format!("{index}.bin")), payload(1000 + index));
    }
    let throttled = Answer::error(429, "TOOMANYREQUESTS").with("Retry-After", "1");
    scene.registry.fail_times(Class::Any, 10, Fault::Answer(throttled));
    let script = "for f in \"$1\"/*; do cp \"$f\" \"$2\" & done; wait";

    let copying = Running::start(shell(script, &[source.path(), &mount.outbox(ALICE)]));
    let ran = copying.end();

    assert!(ran.stderr.is_empty(), "{ran:?} {}", mount.errors());
    wait_until("all are sent", || scene.registry.tags("inbox-").len() >= COUNT);
    assert_eq!(mount.wait_until_all_sent(ALICE).len(), COUNT);
    assert_eq!(scene.registry.tags("inbox-").len(), COUNT);
    // Six attempts of everything would be far more.
    let count = scene.registry.count(Class::Any);
    assert!(count < 10 + 60 * COUNT, "{count} requests");
}

#[test]
fn h44_an_upload_that_breaks_off_is_begun_anew() {
    for class in [Class::UploadStart, Class::UploadPut] {
        for fault in [Fault::Close, Fault::Truncate(1), Fault::status(503)] {
            let scene = Scene::new();
            scene.registry.fail_times(class, 1, fault);
            let file = write(scene.bob.dir().join("plan.bin"), payload(100_000));

            let ran = scene.bob.run(["send", &file.display().to_string(), "--to", BOB]);

            assert_eq!(ran.code(), 0, "{class:?}: {ran:?}");
            assert_eq!(scene.registry.tags("inbox-").len(), 1, "{class:?}");
        }
    }
}

#[test]
fn h45_h46_a_registry_that_is_away_for_a_while_is_waited_for() {
    let scene = Scene::patient();
    let mount = scene.bob.mount();
    let file = write(scene.bob.dir().join("plan.bin"), payload(100_000));
    scene.registry.fail(Class::Any, Fault::Close);
    let copying = Running::start(shell("cp \"$1\" \"$2\"", &[file, mount.outbox(ALICE)]));
    let seen = scene.registry.count(Class::Any);
    wait_until("it was asked in vain", || scene.registry.count(Class::Any) > seen + 2);

    scene.registry.heal();

    copying.end().ok();
    wait_until("it is sent", || scene.registry.tags("inbox-").len() == 1);
    scene.post_good();
    mount.message(ALICE, GOOD);
}

#[test]
fn h47_a_registry_that_takes_no_large_body_says_so() {
    for status in [405, 413] {
        let scene = Scene::new();
        scene.registry.fail(Class::UploadPut, Fault::status(status));
        let file = write(scene.bob.dir().join("plan.bin"), payload(100_000));
        let path = file.display().to_string();

        let (ran, took) = timed(|| scene.bob.run(["send", path.as_str(), "--to", ALICE]));

        assert_eq!(ran.code(), 1, "{status}: {ran:?}");
        assert!(ran.stderr.contains("registry refused the request"), "{status}: {ran:?}");
        assert!(took < PATIENCE, "{status} took {took:?}");
        assert!(scene.registry.tags("inbox-").is_empty(), "{status}");
        scene.post_good();
        let (files, received) = scene.receive();
        assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD], "{status}: {received:?}");
    }
}

#[test]
fn h51_a_servers_time_is_believed_by_nobody() {
    for date in ["Mon, 02 Jan 2006 15:04:05 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "yesterday"] {
        let scene = Scene::new();
        scene.post_good();
        scene.registry.fail(Class::Any, Fault::Header("Date", date.to_owned()));

        let (files, ran) = scene.receive();

        assert_eq!(ran.code(), 0, "{date}: {ran:?}");
        assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD], "{date}");
    }
}

#[test]
fn h51_a_tag_that_appears_late_is_found_late() {
    let scene = Scene::new();
    let late = scene.letter("late").post(&scene.registry, &scene.alice, BOB);
    scene.registry.remove_tag(&late.tag);
    scene.post_good();
    let (first, _) = scene.receive();
    scene.registry.put_tag(&late.tag, &late.digest);

    let (second, ran) = scene.receive();

    assert_eq!(first.keys().collect::<Vec<_>>(), [GOOD]);
    assert_eq!(second.keys().collect::<Vec<_>>(), ["late"], "{ran:?}");
}

#[test]
fn h53_faults_at_random_lose_double_and_change_nothing_first() {
    weather_seeds(1);
}

#[test]
fn h53_faults_at_random_lose_double_and_change_nothing_second() {
    weather_seeds(2);
}

#[test]
fn h53_faults_at_random_lose_double_and_change_nothing_third() {
    weather_seeds(3);
}

#[test]
fn h53_faults_at_random_lose_double_and_change_nothing_fourth() {
    weather_seeds(4);
}

/// Takes every fourth seed from `first` on, so that four tests share them: twenty together, and more
/// until the minutes of `scripts/hostile --minutes` are over.
fn weather_seeds(first: u32) {
    let stopwatch = Stopwatch::start();
    let minutes = std::env::var_os(MINUTES)
        .map_or(0, |text| text.to_string_lossy().parse().expect("a number of minutes"));
    for seed in (first..).step_by(4) {
        if seed > SEED_COUNT && stopwatch.elapsed() >= Duration::from_mins(minutes) {
            break;
        }
        weather(seed);
    }
}

/// Sends and receives in front of a registry whose faults `seed` decides.
fn weather(seed: u32) {
    let registry = Registry::start();
    let scene = Scene::with(registry);
    // Bob writes to himself, so that both directions meet the faults.
    let card = scene.bob.run(["key", "export"]).ok();
    scene.bob.trust_card(&card);
    scene.registry.misbehave(seed, 12);
    let mut sent: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut uncertain: Vec<String> = Vec::new();
    for index in 0..SEEDED_COUNT {
        let name = format!("{index}.bin");
        let content = payload(50_000 + index);
        let file = write(scene.bob.dir().join(&name), &content);
        let path = file.display().to_string();
        let arguments = ["send", path.as_str(), "--to", BOB, "--chunk-bytes", "16KiB"];
        match scene.bob.run(arguments).code() {
            0 => drop(sent.insert(name, content)),
            _ => uncertain.push(name),
        }
    }
    let mut received: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for _ in 0..3 {
        let (files, _) = scene.receive();
        assert_new(seed, &mut received, files);
    }
    scene.registry.heal();

    let (files, ran) = scene.receive();

    assert_eq!(ran.code(), 0, "{seed}: {ran:?}");
    assert_new(seed, &mut received, files);
    // What failed may have arrived or not; what was said to be sent has arrived, once.
    received.retain(|name, _| !uncertain.contains(name));
    assert_eq!(
        received.keys().collect::<Vec<_>>(),
        sent.keys().collect::<Vec<_>>(),
        "{seed}: {:?}",
        scene.quarantine()
    );
    assert!(received == sent, "{seed}: other bytes came");
}

/// Adds what came; a name that came before came twice.
#[track_caller]
fn assert_new(seed: u32, to: &mut BTreeMap<String, Vec<u8>>, files: BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        assert!(to.insert(name.clone(), bytes).is_none(), "{seed}: {name} came twice");
    }
}

#[test]
fn h52_a_certificate_that_nobody_vouches_for_ends_the_connection() {
    let Some(mut openssl) = crate::common::program("openssl") else { return };
    let scene = Scene::new();
    scene.log_in();
    scene.bob.set("loopback_tls = true");
    let dir = temp_dir();
    let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout"]).arg(&key);
    openssl.arg("-out").arg(&certificate);
    run(openssl).ok();
    let Some(mut server) = crate::common::program("openssl") else { return };
    server.args(["s_server", "-accept", "127.0.0.1:0", "-www", "-key"]).arg(&key);
    server.arg("-cert").arg(&certificate);
    let server = Running::start(server);
    let port = crate::common::wait_for("the port is known", || {
        let said = server.output();
        let line = said.lines().find(|line| line.starts_with("ACCEPT"))?;
        Some(line.rsplit(':').next()?.trim().to_owned())
    });
    let mut command = scene.bob.command();
    command.env("DOCKERCOMMS_REGISTRY", format!("docker://localhost:{port}/mail"));
    command.arg("recv").arg("--out").arg(dir.path());

    let ran = run(command);

    assert_eq!(ran.code(), 7, "{ran:?}");
    assert!(!server.output().contains("GET"), "{}", server.output());
}
