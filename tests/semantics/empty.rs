//! The placeholder that a browser keeps under the final name while it downloads beside it.

use std::fs::{File, remove_file};
use std::io::Write as _;
use std::path::PathBuf;

use super::scene::{Scene, close, create, rename};
use crate::common::{BOB, wait_until, write};

/// Both deliveries: the rename commits in either.
const DELIVERIES: [&str; 2] = ["delivery = \"sync\"", "delivery = \"queued\""];

/// Names of the files in which programs download `report.pdf`, beside a placeholder of that name.
const WORKING_COPIES: [&str; 6] = [
    // Firefox today, and as it was.
    "kTx2Qa-b.report.pdf.part",
    "report.pdf.part",
    // Chromium, and Safari.
    "report.pdf.crdownload",
    "report.pdf.download",
    // rsync, and what uses mkstemp beside the target.
    ".report.pdf.aB3xYz",
    "report.pdf.tmp",
];

impl Scene {
    /// Begins a download of `report.pdf`, and waits past the placeholder's settle window, as a
    /// download of minutes does; returns both paths.
    #[track_caller]
    fn begin_download(&self, working_copy: &str) -> [PathBuf; 2] {
        self.create_both("report.pdf", working_copy);
        self.wait_until_waiting("report.pdf", working_copy)
    }

    /// Makes the placeholder, and then the file beside it.
    #[track_caller]
    fn create_both(&self, name: &str, working_copy: &str) {
        create(&self.to_bob(name), b"");
        create(&self.to_bob(working_copy), b"half ");
    }

    #[track_caller]
    fn wait_until_waiting(&self, name: &str, working_copy: &str) -> [PathBuf; 2] {
        let placeholder = self.to_bob(name);
        wait_until("the placeholder waits", || {
            let said = self.mount.attribute(&placeholder, "error").unwrap_or_default();
            said.contains("waits for") && said.contains(working_copy)
        });
        assert_eq!(self.mount.attribute(&placeholder, "state").as_deref(), Some("local"));
        [placeholder, self.to_bob(working_copy)]
    }
}

#[test]
fn a_download_beside_a_placeholder_is_one_message_with_the_right_name() {
    for setting in DELIVERIES {
        let mut scene = Scene::with_settings(&[setting]);
        let names: Vec<(String, String)> = (0..)
            .zip(WORKING_COPIES)
            .map(|(number, copy)| {
                let name = format!("{number}.pdf");
                (name.clone(), copy.replace("report.pdf", &name))
            })
            .collect();
        for (name, working_copy) in &names {
            scene.create_both(name, working_copy);
        }
        for (name, working_copy) in &names {
            let [placeholder, beside] = scene.wait_until_waiting(name, working_copy);
            // It goes on for minutes: more bytes, through the same name.
            write(&beside, format!("whole content of {name}"));

            rename(&beside, &placeholder).unwrap();

            scene.mount.wait_for_state(&placeholder, "sent");
        }

        let expected: Vec<_> = names
            .iter()
            .map(|(name, _)| (name.clone(), format!("whole content of {name}").into_bytes()))
            .collect();
        assert_eq!(scene.received(), expected, "{setting}");
    }
}

#[test]
fn a_download_that_has_no_placeholder_is_one_message() {
    for setting in DELIVERIES {
        let mut scene = Scene::with_settings(&[setting]);
        let random = scene.to_bob(".com.google.Chrome.aB3xYz");
        let unfinished = scene.to_bob("report.pdf.crdownload");
        create(&random, b"content");
        rename(&random, &unfinished).unwrap();

        rename(&unfinished, scene.to_bob("report.pdf")).unwrap();

        scene.mount.wait_for_state(scene.to_bob("report.pdf"), "sent");
        assert_eq!(scene.received(), [("report.pdf".to_owned(), b"content".to_vec())]);
    }
}

#[test]
fn a_download_that_is_cancelled_sends_nothing() {
    for setting in DELIVERIES {
        for placeholder_first in [true, false] {
            let mut scene = Scene::with_settings(&[setting]);
            let [placeholder, beside] = scene.begin_download("k.report.pdf.part");

            if placeholder_first {
                remove_file(placeholder).unwrap();
                remove_file(beside).unwrap();
            } else {
                remove_file(beside).unwrap();
                remove_file(placeholder).unwrap();
            }

            assert!(scene.received().is_empty(), "{setting} {placeholder_first}");
        }
    }
}

#[test]
fn the_download_of_an_empty_file_is_one_empty_message() {
    for setting in DELIVERIES {
        let mut scene = Scene::with_settings(&[setting]);
        let [placeholder, beside] = scene.begin_download("k.report.pdf.part");
        File::create(&beside).unwrap();

        rename(&beside, &placeholder).unwrap();

        scene.mount.wait_for_state(&placeholder, "sent");
        assert_eq!(scene.received(), [("report.pdf".to_owned(), Vec::new())]);
    }
}

#[test]
fn an_empty_file_is_sent_once_nothing_beside_it_speaks_against_it() {
    for setting in DELIVERIES {
        let mut scene = Scene::with_settings(&[setting]);
        let [placeholder, beside] = scene.begin_download("k.report.pdf.part");

        rename(&beside, scene.to_bob("other.pdf")).unwrap();

        scene.mount.wait_for_state(&placeholder, "sent");
        scene.mount.wait_for_state(scene.to_bob("other.pdf"), "sent");
        let expected =
            [("other.pdf".to_owned(), b"half ".to_vec()), ("report.pdf".to_owned(), Vec::new())];
        assert_eq!(scene.received(), expected);
    }
}

#[test]
fn the_placeholder_of_a_browser_that_never_came_back_is_not_sent_and_not_under_way() {
    for setting in DELIVERIES {
        let mut scene = Scene::with_settings(&[setting]);
        let [placeholder, beside] = scene.begin_download("k.report.pdf.part");
        let under_way: Vec<_> = scene.mount.status()["transfers"].as_array().unwrap().clone();
        assert!(under_way.is_empty(), "{under_way:?}");

        // An unmount ends every settle window, and a start looks at what the last run left.
        scene.mount.unmount();
        let received = scene.bob.receive();
        let alice = &scene.alice;
        scene.mount.start(alice, &[]);

        assert!(received.is_empty(), "{received:?}");
        assert_eq!(scene.mount.attribute(&placeholder, "state").as_deref(), Some("abandoned"));
        assert!(scene.bob.receive().is_empty());
        // The browser resumes.
        scene.mount.outbox(BOB);
        write(&beside, b"whole content");
        rename(&beside, &placeholder).unwrap();
        scene.mount.wait_for_state(&placeholder, "sent");
        assert_eq!(scene.received(), [("report.pdf".to_owned(), b"whole content".to_vec())]);
    }
}

#[test]
fn what_was_empty_when_the_mount_was_killed_is_not_sent() {
    for setting in DELIVERIES {
        let mut scene = Scene::with_settings(&[setting]);
        let [placeholder, beside] = scene.begin_download("k.report.pdf.part");
        let fresh = scene.to_bob("fresh");
        create(&fresh, b"");

        scene.mount.kill();
        scene.mount.start(&scene.alice, &[]);

        for path in [&placeholder, &fresh] {
            assert_eq!(scene.mount.attribute(path, "state").as_deref(), Some("abandoned"));
        }
        // It has gone, and what waited for it did not survive.
        remove_file(beside).unwrap();
        assert!(scene.received().is_empty(), "{setting}");
    }
}

#[test]
fn a_backup_or_a_lock_beside_an_empty_file_does_not_keep_it() {
    let mut scene = Scene::new();
    for beside in ["notes.txt~", ".notes.txt.swp", "#notes.txt#", "notes.txt.lock", "b.notes.txt"] {
        create(&scene.to_bob(beside), b"x");
    }

    create(&scene.to_bob("notes.txt"), b"");

    scene.mount.wait_for_state(scene.to_bob("notes.txt"), "sent");
    let expected = [("b.notes.txt".to_owned(), b"x".to_vec()), ("notes.txt".to_owned(), vec![])];
    assert_eq!(scene.received(), expected);
}

#[test]
fn a_refused_operation_speaks_against_an_empty_file_until_something_is_written() {
    use nix::fcntl::{FallocateFlags, fallocate};
    for setting in DELIVERIES {
        let mut scene = Scene::with_settings(&[setting]);
        let [empty, written] = ["empty", "written"].map(|name| scene.to_bob(name));
        for (path, bytes) in [(&empty, b"" as &[u8]), (&written, b"content")] {
            let mut file = File::create_new(path).unwrap();
            let kept_size = fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 4096);
            assert_eq!(kept_size, Err(nix::errno::Errno::EOPNOTSUPP));
            file.write_all(bytes).unwrap();
            close(file);
        }

        scene.mount.wait_for_state(&written, "sent");

        assert_eq!(scene.mount.attribute(&empty, "state").as_deref(), Some("abandoned"));
        let error = scene.mount.attribute(&empty, "error").unwrap();
        assert!(error.contains("refused"), "{error}");
        assert_eq!(scene.received(), [("written".to_owned(), b"content".to_vec())]);
    }
}
