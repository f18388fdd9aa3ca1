//! What stays on this machine: temporary names and unfinished downloads; and what is sent although
//! it begins with a dot.

use std::fs::{self, File};
use std::io::Write as _;

use super::scene::{LONG_WINDOW, Scene, close, create, rename};
use crate::common::{names_in, read, run};

/// Both deliveries.
const DELIVERIES: [&str; 2] = ["delivery = \"sync\"", "delivery = \"queued\""];

/// Names that programs use, one of each kind of pattern.
const TEMPORARY: &[&str] = &[
    ".report.pdf.aX3xQ9",
    ".~lock.a.odt#",
    ".goutputstream-7X2Q81",
    "._a",
    ".DS_Store",
    "a.part",
    "a.partial",
    "a.filepart",
    "a.crdownload",
    "a.download",
    "a.tmp",
    "a~",
    "#a#",
    ".#a",
    "~$a.docx",
    "a.swp",
    "a.odt.lock",
    "a.db-journal",
    "a.db-wal",
    "a.java___jb_tmp___",
    "b.aria2",
    "Thumbs.db",
    "desktop.ini",
    "4913",
];

/// Names of files that people have and send.
const DOT_FILES: &[&str] = &[
    ".bashrc",
    ".config.backup",
    ".env.sample",
    ".eslintrc.json",
    ".gitignore",
    ".travis.yml",
    "Cargo.lock",
];

/// Writes a file as a download manager does that is then interrupted: what it keeps beside it is
/// newer than the file's opening.
fn unfinished(scene: &Scene, name: &str, control: &str, content: &[u8]) {
    let mut file = File::create(scene.to_bob(name)).unwrap();
    create(&scene.to_bob(control), b"progress");
    file.write_all(content).unwrap();
    close(file);
}

#[test]
fn temporary_names_stay_local_and_are_never_refused() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[delivery]);
        for name in TEMPORARY {
            create(&scene.to_bob(name), name.as_bytes());
        }

        scene.sent("real", b"real");

        for name in TEMPORARY {
            let path = scene.to_bob(name);
            let state = scene.mount.attribute(&path, "state");
            assert_eq!(state.as_deref(), Some("local"), "{name}");
            assert_eq!(read(&path), name.as_bytes());
        }
        assert_eq!(scene.received(), [("real".to_owned(), b"real".to_vec())]);
    }
}

#[test]
fn files_with_a_dot_in_front_are_sent() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[delivery]);
        for name in DOT_FILES {
            create(&scene.to_bob(name), name.as_bytes());
        }

        for name in DOT_FILES {
            scene.mount.wait_for_state(scene.to_bob(name), "sent");
        }

        let sent: Vec<_> =
            DOT_FILES.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect();
        assert_eq!(scene.received(), sent);
    }
}

#[test]
fn what_is_local_is_counted_apart_and_no_unmount_waits_for_it() {
    let mut scene = Scene::new();
    create(&scene.to_bob("a.part"), b"half");
    create(&scene.to_bob(".a.swp"), b"swap");
    scene.sent("real", b"real");

    let status = scene.mount.status();
    let shown = String::from_utf8(read(scene.at(".dockercomms/status"))).unwrap();
    let mut command = scene.alice.command();
    command.args(["status"]);
    let said = run(command).ok();
    let mut command = scene.alice.command();
    command.args(["--json", "ls", "outbox"]);
    let listed = run(command).ok();
    let mut command = scene.alice.command();
    command.args(["queue", "ls"]);
    let queue = run(command).ok();

    assert_eq!((&status["outbox_queued"], &status["outbox_local"]), (&0.into(), &2.into()));
    assert_eq!(status["transfers"].as_array().map(Vec::len), Some(0), "{status}");
    for text in [&shown, &said] {
        assert!(text.contains("0 under way, 2 local (not sent as is), 0 failed"), "{text}");
    }
    assert_eq!(listed.matches("\"state\":\"local\"").count(), 2, "{listed}");
    assert!(!queue.contains("a.part"), "{queue}");
    assert_eq!(scene.received(), [("real".to_owned(), b"real".to_vec())]);
}

#[test]
fn a_draft_of_an_earlier_mount_is_neither_sent_nor_local_once_its_name_is_no_longer_temporary() {
    let mut scene = Scene::with_settings(&["temporary_names = [\".*\"]"]);
    create(&scene.to_bob(".bashrc"), b"private?");
    let before = scene.mount.attribute(scene.to_bob(".bashrc"), "state");
    scene.mount.unmount();
    let config = scene.alice.path().join("config/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    crate::common::write(&config, text.replace("temporary_names = [\".*\"]", ""));

    scene.mount.start(&scene.alice, &[]);
    let after = scene.mount.attribute(scene.to_bob(".bashrc"), "state");
    let status = scene.mount.status();

    assert_eq!((before.as_deref(), after.as_deref()), (Some("local"), Some("abandoned")));
    assert_eq!((&status["outbox_queued"], &status["outbox_failed"]), (&0.into(), &1.into()));
    assert_eq!(scene.received(), []);
}

#[test]
fn a_file_beside_its_control_file_is_local_and_goes_when_that_is_removed() {
    for delivery in DELIVERIES {
        for control in ["big.iso.aria2", "big.iso.st", "big.iso.ytdl", "big.iso.lftp-pget-status"] {
            let mut scene = Scene::with_settings(&[delivery]);
            unfinished(&scene, "big.iso", control, b"whole");
            // A window later: the one that `big.iso` began is over, and has sent nothing.
            scene.sent("later", b"later");
            let waiting = scene.mount.attribute(scene.to_bob("big.iso"), "state");

            fs::remove_file(scene.to_bob(control)).unwrap();
            scene.mount.wait_for_state(scene.to_bob("big.iso"), "sent");

            assert_eq!(waiting.as_deref(), Some("local"), "{delivery} {control}");
            let sent = [("big.iso", "whole"), ("later", "later")]
                .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
            assert_eq!(scene.received(), sent);
        }
    }
}

#[test]
fn a_file_goes_when_its_control_file_is_renamed_away() {
    let mut scene = Scene::new();
    unfinished(&scene, "a", "a.aria2", b"whole");
    let before = scene.mount.attribute(scene.to_bob("a"), "state");

    rename(scene.to_bob("a.aria2"), scene.to_bob("b.aria2")).unwrap();
    scene.mount.wait_for_state(scene.to_bob("a"), "sent");

    assert_eq!(before.as_deref(), Some("local"));
    assert_eq!(scene.received(), [("a".to_owned(), b"whole".to_vec())]);
}

#[test]
fn an_unfinished_file_that_is_removed_after_its_control_file_is_never_sent() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[delivery, LONG_WINDOW]);
        unfinished(&scene, "a", "a.aria2", b"half");

        fs::remove_file(scene.to_bob("a.aria2")).unwrap();
        fs::remove_file(scene.to_bob("a")).unwrap();

        assert!(names_in(scene.to_bob("")).is_empty());
        assert_eq!(scene.received(), []);
    }
}

#[test]
fn a_control_file_that_the_configuration_sends_holds_nothing_back() {
    let mut scene = Scene::with_settings(&["temporary_names = [\"*.part\"]"]);
    unfinished(&scene, "a", "a.aria2", b"whole");

    scene.mount.wait_for_state(scene.to_bob("a"), "sent");

    let both = [("a", "whole"), ("a.aria2", "progress")]
        .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    assert_eq!(scene.received(), both);
}

#[test]
fn a_random_name_that_looks_like_a_word_is_sent_once_under_its_last_name() {
    for delivery in DELIVERIES {
        for drawn in [".report.pdf.abcdef", ".report.pdf.k3x9qz", ".report.pdf.Abcde7"] {
            let mut scene = Scene::with_settings(&[delivery, LONG_WINDOW]);
            create(&scene.to_bob(drawn), b"report");

            rename(scene.to_bob(drawn), scene.to_bob("report.pdf")).unwrap();

            assert_eq!(names_in(scene.to_bob("")), ["report.pdf"]);
            assert_eq!(scene.received(), [("report.pdf".to_owned(), b"report".to_vec())]);
        }
    }
}

#[test]
fn a_copy_over_what_an_interrupted_download_left_is_sent() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[delivery]);
        create(&scene.to_bob("big.iso.aria2"), b"control");

        create(&scene.to_bob("big.iso"), b"all bytes");

        scene.mount.wait_for_state(scene.to_bob("big.iso"), "sent");
        scene.mount.wait_for_state(scene.to_bob("big.iso.aria2"), "local");
        assert_eq!(scene.received(), [("big.iso".to_owned(), b"all bytes".to_vec())]);
    }
}

#[test]
fn what_was_promised_before_a_control_file_came_is_sent_and_holds_up_nothing() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[delivery]);
        create(&scene.to_bob("a"), b"promised");
        create(&scene.to_bob("a.aria2"), b"progress");
        create(&scene.to_bob("b.tmp"), b"renamed");
        create(&scene.to_bob("b.aria2"), b"progress");
        rename(scene.to_bob("b.tmp"), scene.to_bob("b")).unwrap();

        scene.sent("later", b"later");

        for name in ["a", "b"] {
            scene.mount.wait_for_state(scene.to_bob(name), "sent");
        }
        assert_eq!(scene.received().len(), 3, "{delivery}");
    }
}

#[test]
fn a_download_that_is_resumed_and_interrupted_again_is_not_sent() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[delivery]);
        unfinished(&scene, "big.iso", "big.iso.aria2", b"half");

        let mut file = File::options().write(true).open(scene.to_bob("big.iso")).unwrap();
        file.write_all(b"more").unwrap();
        close(file);
        scene.sent("later", b"later");

        scene.mount.wait_for_state(scene.to_bob("big.iso"), "local");
        assert_eq!(scene.received(), [("later".to_owned(), b"later".to_vec())]);
    }
}
