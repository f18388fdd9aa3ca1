//! What a registry refuses for a while, behind nginx: it waits, says why, and arrives once.

use std::path::PathBuf;

use super::balancer::{Balancer, PUSHER, REFUSALS};
use crate::common::{BOB, Home, Registry, TestMount, alice_and_bob, run, shell, wait_until, write};

/// So long that no test sees the end of the pause.
const LONG_PAUSE: &str = "queue_pause = \"10m\"";

struct Refused {
    nginx: Balancer,
    alice: Home,
    bob: Home,
    _registry: Registry,
}

impl Refused {
    fn new(start: impl Fn(&Registry) -> Option<Balancer>, settings: &[&str]) -> Option<Self> {
        let registry = Registry::docker()?;
        let nginx = start(&registry)?;
        let (alice, bob) = alice_and_bob(&nginx.reference("mail"));
        for setting in settings {
            alice.set(setting);
        }
        Some(Self { nginx, alice, bob, _registry: registry })
    }

    fn copy(&self, mount: &TestMount) -> PathBuf {
        let source = write(self.alice.dir().join("report.pdf"), b"report");
        run(shell("cp \"$1\" \"$2\"", &[source, mount.outbox(BOB)])).ok();
        mount.outbox(BOB).join("report.pdf")
    }

    /// Writes what `docker login` writes.
    fn log_in(&self, user: &str, password: &str) {
        let auth = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
        let host = self.nginx.address().to_string();
        let config = serde_json::json!({ "auths": { host: { "auth": auth } } });
        let dir = self.alice.dir().join(".docker");
        std::fs::create_dir_all(&dir).unwrap();
        write(dir.join("config.json"), config.to_string());
    }

    #[track_caller]
    fn assert_arrives_once(&self) {
        assert_eq!(self.bob.receive(), [("report.pdf".to_owned(), b"report".to_vec())]);
    }
}

/// Waits until a file says why it waits, and asserts that everything that shows it does.
#[track_caller]
fn wait_until_refused(alice: &Home, mount: &TestMount, file: &PathBuf, why: &str) {
    wait_until("it says why it waits", || {
        mount.attribute(file, "error").is_some_and(|error| error.contains(why))
            && mount.status()["waiting_why"].as_str().is_some_and(|text| text.contains(why))
            && mount.status()["next_attempt"].is_string()
    });
    assert_eq!(mount.attribute(file, "state").as_deref(), Some("queued"));
    assert_eq!(mount.status()["outbox_failed"], 0);
    assert!(!file.with_file_name("report.pdf.FAILED.txt").exists());
    for verb in ["status", "doctor"] {
        let shown = alice.run([verb]).text();
        assert!(shown.contains(why), "{verb} {why}: {shown}");
    }
    let listed = alice.run(["queue", "ls"]).text();
    assert!(listed.contains(why) && listed.contains("queued"), "{why}: {listed}");
}

#[test]
fn every_refusal_that_passes_is_waited_out_without_a_retry() {
    for status in REFUSALS {
        let settings = ["delivery = \"queued\"", LONG_PAUSE];
        let Some(scene) = Refused::new(|registry| Balancer::new(&[registry]), &settings) else {
            return;
        };
        let mut mount = scene.alice.mount();
        scene.nginx.refuse(status);
        let file = scene.copy(&mount);
        let why = if status == 404 { "not found".to_owned() } else { status.to_string() };
        wait_until_refused(&scene.alice, &mount, &file, &why);

        // The reason outlives a crash; then a start tries at once.
        mount.kill();
        mount.start(&scene.alice, &[]);
        wait_until_refused(&scene.alice, &mount, &file, &why);
        scene.nginx.pass();
        mount.kill();
        mount.start(&scene.alice, &[]);

        mount.wait_for_state(&file, "sent");
        assert_eq!(mount.attribute(&file, "error"), None, "{status}");
        scene.assert_arrives_once();
    }
}

#[test]
fn what_waits_is_tried_again_by_itself() {
    for status in REFUSALS {
        let settings = ["delivery = \"queued\"", "queue_pause = \"100ms\""];
        let Some(scene) = Refused::new(|registry| Balancer::new(&[registry]), &settings) else {
            return;
        };
        let mount = scene.alice.mount();
        scene.nginx.refuse(status);
        let file = scene.copy(&mount);
        wait_until("it was refused", || mount.attribute(&file, "error").is_some());

        scene.nginx.pass();

        mount.wait_for_state(&file, "sent");
        scene.assert_arrives_once();
    }
}

#[test]
fn with_delivery_sync_a_tag_that_is_refused_after_the_close_waits() {
    // The end of the settle window is the end of the mount.
    let settings = ["settle = \"10m\"", LONG_PAUSE];
    let Some(scene) = Refused::new(|registry| Balancer::new(&[registry]), &settings) else {
        return;
    };
    let mut mount = scene.alice.mount();
    let file = scene.copy(&mount);
    scene.nginx.refuse(403);
    mount.unmount();
    mount.start(&scene.alice, &[]);
    wait_until("it says why it waits", || {
        mount.attribute(&file, "error").is_some_and(|error| error.contains("403"))
    });
    assert_eq!(mount.attribute(&file, "state").as_deref(), Some("prepared"));
    scene.nginx.pass();

    scene.alice.run(["queue", "retry", "--all"]).ok();

    mount.wait_for_state(&file, "sent");
    scene.assert_arrives_once();
}

#[test]
fn a_new_login_sends_at_once_what_waits() {
    let settings = ["delivery = \"queued\"", LONG_PAUSE];
    let Some(scene) = Refused::new(Balancer::asking, &settings) else { return };
    scene.log_in(PUSHER.0, "wrong");
    let mount = scene.alice.mount();
    let file = scene.copy(&mount);
    wait_until_refused(&scene.alice, &mount, &file, "denied");
    assert_eq!(mount.status()["registry"], "ok", "reading needs no login");

    scene.log_in(PUSHER.0, PUSHER.1);

    mount.wait_for_state(&file, "sent");
    scene.assert_arrives_once();
}
