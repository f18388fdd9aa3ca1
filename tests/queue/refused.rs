//! What no attempt can send: a note beside the file says so, and what to do. What the registry refuses waits.

use std::path::PathBuf;

use super::scene::Scene;
use crate::common::{
    BOB, Home, Registry, TestMount, alice_and_bob, names_in, read, repository, run, shell,
    temp_dir, wait_until, write,
};

const NOTE: &str = "report.pdf.FAILED.txt";

/// Makes "report.pdf" a file that no attempt can send: its staged copy is lost while it waits.
fn lose(scene: &mut Scene) {
    scene.registry.stop();
    scene.copy("report.pdf", b"report");
    wait_until("it waits", || scene.mount.status()["next_attempt"].is_string());
    let spool = scene.alice.path().join("state/spool");
    for name in names_in(&spool) {
        std::fs::remove_file(spool.join(name)).unwrap();
    }
    scene.registry.start();
}

#[test]
fn a_note_beside_the_file_says_what_failed_why_and_what_to_do() {
    let Some(mut scene) = Scene::new() else { return };

    lose(&mut scene);
    let text = scene.mount.wait_for_file(format!("outbox/{BOB}/{NOTE}"));

    let text = String::from_utf8(text).unwrap();
    for part in ["report.pdf was not sent to bob@example.com", "staged file", "queue retry"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(scene.state("report.pdf").as_deref(), Some("failed"));
    assert_eq!(scene.mount.status()["outbox_failed"], 1);
}

#[test]
fn a_note_is_read_only_and_goes_with_its_file() {
    let Some(mut scene) = Scene::new() else { return };
    lose(&mut scene);
    scene.mount.wait_for_file(format!("outbox/{BOB}/{NOTE}"));

    let written = scene.try_sh("echo x > \"$1\"/report.pdf.FAILED.txt");
    assert!(written.stderr.contains("Read-only file system"), "{written:?}");
    assert_eq!(scene.sh("stat -c %a \"$1\"/report.pdf.FAILED.txt"), "400\n");
    scene.sh("rm \"$1\"/report.pdf");

    wait_until("the note is gone", || names_in(scene.outbox()).is_empty());
    assert!(scene.alice.json(["queue", "ls"]).is_empty());
}

#[test]
fn a_note_that_is_removed_leaves_the_file() {
    let Some(mut scene) = Scene::new() else { return };
    lose(&mut scene);
    scene.mount.wait_for_file(format!("outbox/{BOB}/{NOTE}"));

    scene.sh("rm \"$1\"/report.pdf.FAILED.txt");

    assert_eq!(names_in(scene.outbox()), ["report.pdf"]);
}

#[test]
fn a_registry_that_takes_nothing_is_no_failure() {
    let Some(registry) = Registry::docker_read_only() else { return };
    let scene = Scene::on(registry);

    scene.copy("report.pdf", b"report");

    wait_until("it says why it waits", || {
        let error = scene.mount.attribute(scene.outbox().join("report.pdf"), "error");
        error.is_some_and(|error| error.contains("refused"))
    });
    assert_eq!(scene.state("report.pdf").as_deref(), Some("queued"));
    assert_eq!(names_in(scene.outbox()), ["report.pdf"]);
    assert_eq!(read(scene.outbox().join("report.pdf")), b"report");
}

/// Alice on a layout directory that can be taken away while she is mounted.
struct Layout {
    _dir: tempfile::TempDir,
    repository: PathBuf,
    alice: Home,
    bob: Home,
    mount: TestMount,
}

impl Layout {
    fn new() -> Self {
        let dir = temp_dir();
        let (alice, bob) = alice_and_bob(&repository(&dir));
        alice.set("delivery = \"queued\"");
        let mount = alice.mount();
        mount.outbox(BOB);
        let repository = dir.path().join("repository");
        Self { _dir: dir, repository, alice, bob, mount }
    }

    /// Puts a file where the directory was.
    #[expect(clippy::disallowed_methods, reason = "nothing of a test has to survive a crash")]
    fn break_it(&self) {
        if self.repository.exists() {
            std::fs::rename(&self.repository, self.repository.with_extension("kept")).unwrap();
        }
        write(&self.repository, b"not a directory");
    }

    #[expect(clippy::disallowed_methods, reason = "nothing of a test has to survive a crash")]
    fn mend(&self) {
        std::fs::remove_file(&self.repository).unwrap();
        let kept = self.repository.with_extension("kept");
        if kept.exists() {
            std::fs::rename(kept, &self.repository).unwrap();
        }
    }

    fn copy_in_vain(&self) {
        self.break_it();
        let source = write(self.alice.dir().join("report.pdf"), b"report");
        let target = self.mount.path().join("outbox").join(BOB);
        run(shell("cp \"$1\" \"$2\"", &[source, target])).ok();
        wait_until("it says why it waits", || self.mount.attribute(self.file(), "error").is_some());
    }

    fn file(&self) -> PathBuf {
        self.mount.path().join("outbox").join(BOB).join("report.pdf")
    }
}

#[test]
fn queue_retry_sends_a_waiting_file_through_the_running_mount() {
    let layout = Layout::new();
    layout.copy_in_vain();
    layout.mend();

    let done = layout.alice.json(["queue", "retry", "--all"]);

    assert_eq!((done.len(), done[0]["done"].as_str()), (1, Some("queued")));
    layout.mount.wait_for_state(layout.file(), "sent");
    assert_eq!(layout.bob.receive(), [("report.pdf".to_owned(), b"report".to_vec())]);
}

#[test]
fn a_directory_that_is_mended_gets_what_waits_without_a_retry() {
    let layout = Layout::new();
    layout.copy_in_vain();

    layout.mend();

    layout.mount.wait_for_state(layout.file(), "sent");
    assert_eq!(layout.bob.receive(), [("report.pdf".to_owned(), b"report".to_vec())]);
}

#[test]
fn a_waiting_file_that_is_copied_again_is_sent_once() {
    let layout = Layout::new();
    layout.copy_in_vain();
    let source = write(layout.alice.dir().join("report.pdf"), b"better");
    run(shell("cp \"$1\" \"$2\"", &[source, layout.file()])).ok();

    layout.mend();

    layout.mount.wait_for_state(layout.file(), "sent");
    assert_eq!(names_in(layout.file().parent().unwrap()), ["report.pdf"]);
    assert_eq!(layout.bob.receive(), [("report.pdf".to_owned(), b"better".to_vec())]);
}

#[test]
fn a_waiting_file_is_sent_by_the_next_mount() {
    let mut layout = Layout::new();
    layout.copy_in_vain();
    layout.mount.kill();
    layout.mend();

    layout.mount.start(&layout.alice, &[]);

    layout.mount.wait_for_state(layout.file(), "sent");
    assert_eq!(layout.bob.receive(), [("report.pdf".to_owned(), b"report".to_vec())]);
}
