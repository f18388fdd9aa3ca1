//! A registry that changes what was sent: a tag that is moved, a backup that is restored, a wipe.

use std::path::{Path, PathBuf};

use crate::common::{
    BOB, Home, Registry, TestMount, alice_and_bob, program, run, shell, wait_until, write,
};

/// Sent messages are looked for as soon as they can be.
const SOON: &str = "check_sent = \"1s\"";

/// Alice, mounted, with one sent file; bob has not looked yet.
struct Scene {
    registry: Registry,
    alice: Home,
    bob: Home,
    mount: TestMount,
    file: PathBuf,
    source: PathBuf,
    tag: String,
    digest: String,
}

impl Scene {
    fn new(registry: Registry) -> Self {
        let (alice, bob) = alice_and_bob(&registry.reference("mail"));
        alice.set(SOON);
        let source = write(alice.dir().join("report.txt"), "the numbers");
        let arguments = ["send".as_ref(), source.as_os_str(), "--to".as_ref(), BOB.as_ref()];
        let sent = alice.json(arguments);
        let text = |field: &str| sent[0][field].as_str().unwrap().to_owned();
        let (tag, digest) = (text("tag"), text("digest"));
        let mount = alice.mount();
        let file = mount.path().join("outbox").join(BOB).join("report.txt");
        Self { registry, alice, bob, mount, file, source, tag, digest }
    }

    fn repository(&self) -> PathBuf {
        self.registry.data().join("docker/registry/v2/repositories/mail")
    }

    fn tag_dir(&self) -> PathBuf {
        self.repository().join("_manifests/tags").join(&self.tag)
    }

    /// Takes the tag away on the disk, as a backup that lacks it does.
    fn take_tag(&self) {
        std::fs::remove_dir_all(self.tag_dir()).unwrap();
    }

    /// Returns the codes of the lines in `errors` about the file.
    fn codes(&self) -> Vec<String> {
        let errors = self.mount.errors();
        let about = errors.lines().filter(|line| line.contains("report.txt:"));
        about.filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect()
    }

    fn wait_for_codes(&self, expected: &[&str]) {
        wait_until(&format!("{expected:?}, errors are: {}", self.mount.errors()), || {
            self.codes() == expected
        });
    }

    fn received(&self) -> Vec<(String, Vec<u8>)> {
        self.bob.receive()
    }
}

/// Copies a directory to where nothing is.
fn copy(from: &Path, to: &Path) {
    run(shell("rm -rf \"$2\" && cp -a \"$1\" \"$2\"", &[from, to])).ok();
}

#[test]
fn a_tag_that_somebody_moved_is_put_back_and_the_file_arrives_once() {
    let Some(registry) = Registry::docker() else { return };
    let Some(mut crane) = program("crane") else { return };
    let scene = Scene::new(registry);
    let other = write(scene.alice.dir().join("other.txt"), "other");
    let arguments = ["send".as_ref(), other.as_os_str(), "--to".as_ref(), BOB.as_ref()];
    let sent = scene.alice.json(arguments);
    let image =
        format!("{}/mail@{}", scene.registry.address(), sent[0]["digest"].as_str().unwrap());

    crane.args(["tag", &image, &scene.tag]);
    run(crane).ok();

    scene.wait_for_codes(&["tag-put-back"]);
    assert!(scene.mount.errors().contains("pointed to sha256:"), "{}", scene.mount.errors());
    let mut received = scene.received();
    received.sort();
    let names: Vec<&str> = received.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["other.txt", "report.txt"]);
    assert!(scene.received().is_empty(), "nothing arrives twice");
    assert_eq!(scene.mount.attribute(&scene.file, "state").as_deref(), Some("sent"));
}

#[test]
fn a_tag_that_is_taken_away_again_and_again_is_put_back_three_times() {
    let Some(registry) = Registry::docker() else { return };
    let mut scene = Scene::new(registry);
    let mut expected = Vec::new();

    for round in 0..3 {
        scene.take_tag();
        expected.push("tag-put-back");
        scene.wait_for_codes(&expected);
        assert!(scene.tag_dir().exists());
        if round == 1 {
            // The count is durable.
            scene.mount.unmount();
            scene.mount = scene.alice.mount();
        }
    }
    scene.take_tag();
    expected.push("tag-given-up");
    scene.wait_for_codes(&expected);

    assert!(!scene.tag_dir().exists(), "it is left alone from now on");
    assert!(scene.received().is_empty());
    let resent = scene.alice.json(["resend", &scene.digest]);
    assert_eq!(resent[0]["name"], "report.txt");
    assert_eq!(scene.received(), [("report.txt".to_owned(), b"the numbers".to_vec())]);
}

/// Exchanges the registry's storage for that in `from`, as an operator does who restores a backup.
fn restore(registry: &mut Registry, from: &Path) {
    registry.stop();
    copy(from, registry.data());
    registry.start();
}

#[test]
fn what_a_wiped_registry_has_lost_is_said_and_goes_once_more_from_its_file() {
    let Some(registry) = Registry::docker() else { return };
    let mut scene = Scene::new(registry);
    scene.mount.wait_for_state(&scene.file, "sent");

    scene.registry.stop();
    std::fs::remove_dir_all(scene.registry.data()).unwrap();
    std::fs::create_dir(scene.registry.data()).unwrap();
    scene.registry.start();

    scene.mount.wait_for_state(&scene.file, "lost");
    scene.wait_for_codes(&["lost"]);
    assert!(scene.mount.errors().contains("dockercomms resend"), "{}", scene.mount.errors());
    assert_eq!(scene.mount.status()["outbox_lost"], 1);
    assert_eq!(scene.alice.json(["ls", "outbox"])[0]["state"], "lost");
    assert!(scene.alice.run(["status"]).ok().contains("lost"));
    let gone = scene.alice.run(["resend", &scene.digest]);
    assert_eq!(gone.code(), 5, "{gone:?}");
    assert!(gone.stderr.contains("resend REF FILE"), "{gone:?}");
    // By its path in the mount, as a person would name it.
    scene.alice.run(["resend".as_ref(), scene.file.as_os_str(), scene.source.as_os_str()]).ok();
    assert_eq!(scene.received(), [("report.txt".to_owned(), b"the numbers".to_vec())]);
    scene.mount.wait_for_state(&scene.file, "sent");
    wait_until("nothing is lost any longer", || scene.mount.status()["outbox_lost"] == 0);
}

#[test]
fn a_restored_backup_that_is_older_loses_the_message_and_the_newer_one_has_it_again() {
    let Some(registry) = Registry::docker() else { return };
    let [older, newer] = ["older", "newer"].map(|name| registry.data().with_file_name(name));
    copy(registry.data(), &older);
    let mut scene = Scene::new(registry);

    scene.registry.stop();
    copy(scene.registry.data(), &newer);
    restore(&mut scene.registry, &older);
    scene.mount.wait_for_state(&scene.file, "lost");
    restore(&mut scene.registry, &newer);
    scene.mount.wait_for_state(&scene.file, "sent");

    assert_eq!(scene.codes(), ["lost"]);
    assert_eq!(scene.received(), [("report.txt".to_owned(), b"the numbers".to_vec())]);
}

#[test]
fn a_message_that_was_recalled_on_another_machine_is_lost_here_and_is_not_pushed_again() {
    let Some(registry) = Registry::docker() else { return };
    let scene = Scene::new(registry);
    let other = Home::new();
    copy(&scene.alice.path(), &other.path());
    other.run(["recall", &scene.digest]).ok();

    scene.mount.wait_for_state(&scene.file, "lost");
    scene.wait_for_codes(&["lost"]);

    assert!(!scene.tag_dir().exists());
    assert!(scene.received().is_empty());
}

#[test]
fn a_layout_on_a_disk_that_is_not_there_loses_nothing() {
    let dir = crate::common::temp_dir();
    let (alice, bob) = alice_and_bob(&crate::common::repository(&dir));
    alice.set(SOON);
    let source = write(alice.dir().join("report.txt"), "the numbers");
    alice.run(["send".as_ref(), source.as_os_str(), "--to".as_ref(), BOB.as_ref()]).ok();
    let (layout, away) = (dir.path().join("repository"), dir.path().join("away"));
    let move_layout = |from: &Path, to: &Path| run(shell("mv \"$1\" \"$2\"", &[from, to])).ok();
    move_layout(&layout, &away);
    let mut mount = alice.mount();
    let file = mount.path().join("outbox").join(BOB).join("report.txt");
    let polls = || mount.status()["last_poll"].as_str().unwrap_or_default().to_owned();

    // Each of these polls would have looked for it.
    for _ in 0..4 {
        let last = polls();
        wait_until("another poll", || polls() != last);
    }

    assert_eq!(mount.attribute(&file, "state").as_deref(), Some("sent"));
    assert_eq!(mount.status()["outbox_lost"], 0);
    move_layout(&away, &layout);
    mount.unmount();
    assert_eq!(bob.receive(), [("report.txt".to_owned(), b"the numbers".to_vec())]);
}
