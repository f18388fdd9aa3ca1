//! Who may become a recipient in a mount: `mkdir` in `outbox/`, and programs that copy a folder.

use std::fs;

use super::scene::{Scene, create, errno};
use crate::common::{ALICE, BOB, Home, TestMount, names_in, read, run, shell, write};

/// Delivers at the close, and in the background.
const DELIVERIES: [&str; 2] = ["delivery = \"sync\"", "delivery = \"queued\""];

/// Returns the lines of `.dockercomms/errors` about a directory of the outbox.
fn lines_about(mount: &TestMount, dir: &str) -> Vec<String> {
    let about = format!(" outbox/{dir}: ");
    mount.errors().lines().filter(|line| line.contains(&about)).map(str::to_owned).collect()
}

/// Returns the registry that alice uses.
fn repository(scene: &Scene) -> String {
    scene.alice.json(["status"])[0]["repository"].as_str().unwrap().to_owned()
}

fn status_text(mount: &TestMount) -> String {
    String::from_utf8(read(mount.path().join(".dockercomms/status"))).unwrap()
}

#[test]
fn a_folder_that_is_copied_or_moved_into_the_outbox_goes_to_nobody() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[delivery]);
        let photos = scene.alice.dir().join("photos");
        fs::create_dir(&photos).unwrap();
        write(photos.join("a.jpg"), "a picture");
        write(photos.join("b.jpg"), "another one");

        for (script, dir) in [
            ("cp -r \"$1\" \"$2\"", "photos"),
            ("cp -a \"$1\" \"$2\"", "photos"),
            ("mv \"$1\" \"$2\"", "photos"),
            ("mkdir \"$2/New Folder\"", "New Folder"),
            ("cp -r \"$1\" \"$2/New Folder\"", "New Folder"),
            ("cp -r \"$1\" \"$2/untitled folder\"", "untitled folder"),
            ("cd \"$1\" && find . -depth -print | cpio -pdm \"$2/flat\" 2>&1", "flat"),
            ("tar c -C \"$1/..\" photos | tar x -C \"$2\"", "photos"),
            ("rsync -a \"$1\" \"$2\"", "photos"),
        ] {
            let program = script.split(' ').next().unwrap();
            if matches!(program, "rsync") && crate::common::tool("rsync").is_none() {
                continue;
            }
            let ran = run(shell(script, &[&photos, &scene.at("outbox")]));

            assert_ne!(ran.code(), 0, "{ran:?}");
            if !script.contains("cpio") {
                let lines = lines_about(&scene.mount, dir);
                assert_eq!(lines.len(), 1, "{script}: {}", scene.mount.errors());
                assert!(lines[0].contains("bad-name"), "{lines:?}");
                assert!(lines[0].contains("is not an address"), "{lines:?}");
                assert!(lines[0].contains("outbox_new"), "{lines:?}");
            }
            assert_eq!(names_in(scene.at("outbox")), [BOB], "{script}");
        }

        assert_eq!(names_in(&photos), ["a.jpg", "b.jpg"], "mv kept its source");
        scene.mount.unmount();
        assert!(scene.tags("inbox-").is_empty());
    }
}

#[test]
fn names_that_are_no_address_make_no_directory_and_say_why() {
    let scene = Scene::new();
    let outbox = scene.at("outbox");
    let cases = [
        ("photos", "has no `@`"),
        (" otto@x.org", "did you mean `otto@x.org`?"),
        ("otto@x.org ", "did you mean `otto@x.org`?"),
        ("Otto <otto@x.org>", "did you mean `otto@x.org`?"),
        ("mailto:otto@x.org", "did you mean `otto@x.org`?"),
        ("otto@x.org.", "did you mean `otto@x.org`?"),
        ("a@x,b@y", "send to each recipient separately"),
        ("a@x%2Cb@y", "send to each recipient separately"),
        ("otto;c1", "send to each recipient separately"),
        ("@team", "nothing before the `@`"),
        ("*", "has `*`"),
        (".hidden", "has no `@`"),
        ("..%2Fx", "has `/`"),
        ("spiffe:%2F%2Facme%2Fci", "has `:`"),
        ("bob", "did you mean `bob@example.com`?"),
        ("Bob <b0b@example.com>", "did you mean `bob@example.com` or `b0b@example.com`?"),
        ("otto\u{200b}@x.org", "invisible"),
    ];

    for (name, _) in cases {
        for _again in 0..2 {
            assert_eq!(errno(fs::create_dir(outbox.join(name))), libc::EINVAL, "{name}");
        }
        assert_eq!(errno(fs::File::create_new(outbox.join(name).join("x"))), libc::ENOENT);
    }

    let errors = scene.mount.errors();
    assert_eq!(errors.lines().count(), cases.len(), "{errors}");
    for ((name, reason), line) in cases.into_iter().zip(errors.lines()) {
        assert!(line.contains(" bad-name outbox/") && line.contains(reason), "{name}: {line}");
    }
    assert_eq!(names_in(&outbox), [BOB]);
}

#[test]
fn an_address_is_a_recipient_and_the_status_says_that_there_is_no_key() {
    for delivery in DELIVERIES {
        let mut scene = Scene::with_settings(&[delivery]);
        let new = Home::init("new@example.org", &repository(&scene));
        new.trust(&scene.alice);
        let dir = scene.at("outbox/new@example.org");

        fs::create_dir(&dir).unwrap();
        let before = status_text(&scene.mount);
        create(&dir.join("a.txt"), b"hello");
        scene.mount.wait_for_state(dir.join("a.txt"), "sent");
        let after = status_text(&scene.mount);
        let shown = scene.alice.run(["status"]).ok();

        let sentence = "to people whose key you do not hold: new@example.org";
        assert!(before.contains(&format!("0 files {sentence} (0)")), "{before}");
        assert!(after.contains(&format!("1 file {sentence} (1)")), "{after}");
        assert!(shown.contains(&format!("1 file {sentence} (1)")), "{shown}");
        assert_eq!(scene.mount.status()["outbox_unheld"]["file_count"], 1);
        assert_eq!(scene.mount.errors(), "");
        assert_eq!(new.receive(), [("a.txt".to_owned(), b"hello".to_vec())]);
        scene.alice.trust(&new);
        crate::common::wait_until("the key is held", || {
            !status_text(&scene.mount).contains("key you do not hold")
        });
        scene.mount.unmount();
    }
}

#[test]
fn a_near_miss_is_made_and_named() {
    let scene = Scene::new();

    for name in ["bbo@example.com", "Bob@example.com", "b\u{43e}b@example.com"] {
        fs::create_dir(scene.at("outbox").join(name)).unwrap();

        let lines = lines_about(&scene.mount, name);
        assert_eq!(lines.len(), 1, "{}", scene.mount.errors());
        assert!(lines[0].contains("near-miss"), "{lines:?}");
        assert!(lines[0].contains("did you mean `bob@example.com`?"), "{lines:?}");
        let status = status_text(&scene.mount);
        assert!(status.contains(&format!("{name} (0; almost {BOB})")), "{status}");
    }
}

#[test]
fn a_card_that_is_added_while_mounted_counts_at_once() {
    let scene = Scene::new();
    let repository = repository(&scene);
    let dir = scene.at("outbox/ci");
    assert_eq!(errno(fs::create_dir(&dir)), libc::EINVAL);
    let ci = Home::new();
    ci.run(["init", "--any-name", "--me", "ci", "--registry", &repository]).ok();

    scene.alice.trust(&ci);

    // The next poll lists it, unless this is faster.
    let made = errno(fs::create_dir(&dir));
    assert!([0, libc::EEXIST].contains(&made), "{made}");
    ci.trust(&scene.alice);
    create(&dir.join("a.txt"), b"hello");
    scene.mount.wait_for_state(dir.join("a.txt"), "sent");
    assert_eq!(ci.receive().len(), 1);
}

#[test]
fn names_with_a_comma_or_a_leading_at_have_escaped_directories() {
    let scene = Scene::new();
    let repository = repository(&scene);

    for (name, dir) in [("a@x,b@y", "a@x%2Cb@y"), ("@team", "%40team"), ("a/b", "a%2Fb")] {
        let person = Home::new();
        person.run(["init", "--any-name", "--me", name, "--registry", &repository]).ok();
        scene.alice.trust(&person);
        person.trust(&scene.alice);
        let path = scene.at("outbox").join(dir);
        assert!([0, libc::EEXIST].contains(&errno(fs::create_dir(&path))), "{name}");

        create(&path.join("a.txt"), b"hello");

        scene.mount.wait_for_state(path.join("a.txt"), "sent");
        assert_eq!(scene.mount.attribute(path.join("a.txt"), "recipient").as_deref(), Some(name));
        assert_eq!(person.receive().len(), 1, "{name}");
    }
}

/// An earlier version took every name: what it has left is not lost.
#[test]
fn directories_and_queued_files_of_odd_names_go_on() {
    let mut scene = Scene::with_settings(&["outbox_new = [\"*\"]", "delivery = \"queued\""]);
    let repository = repository(&scene);
    let photos = Home::new();
    photos.run(["init", "--any-name", "--me", "photos", "--registry", &repository]).ok();
    photos.trust(&scene.alice);
    for dir in ["photos", "New Folder", "a%2Cb"] {
        fs::create_dir(scene.at("outbox").join(dir)).unwrap();
    }
    create(&scene.at("outbox/photos/before.jpg"), b"queued before");
    create(&scene.at("outbox/photos/draft.tmp"), b"a draft");
    scene.mount.kill();
    let config = scene.alice.path().join("config/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    write(&config, text.replace("outbox_new = [\"*\"]\n", ""));

    scene.mount.start(&scene.alice, &[]);

    assert_eq!(names_in(scene.at("outbox")), ["New Folder", "a%2Cb", BOB, "photos"]);
    create(&scene.at("outbox/photos/after.jpg"), b"copied after");
    for name in ["before.jpg", "after.jpg"] {
        scene.mount.wait_for_state(scene.at("outbox/photos").join(name), "sent");
    }
    assert!(scene.at("outbox/photos/draft.tmp").exists());
    assert_eq!(errno(fs::create_dir(scene.at("outbox/videos"))), libc::EINVAL);
    let names: Vec<String> = photos.receive().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["after.jpg", "before.jpg"]);
}

/// macOS tools decompose names; an address is composed.
#[test]
fn both_unicode_forms_of_an_address_are_one_recipient() {
    let scene = Scene::new();
    let (composed, decomposed) = ("jos\u{e9}@x.org", "jose\u{301}@x.org");

    fs::create_dir(scene.at("outbox").join(decomposed)).unwrap();

    create(&scene.at("outbox").join(decomposed).join("a.tmp"), b"x");
    assert_eq!(read(scene.at("outbox").join(composed).join("a.tmp")), b"x");
    assert_eq!(names_in(scene.at("outbox")), [BOB, composed]);
    assert_eq!(errno(fs::create_dir(scene.at("outbox").join(composed))), libc::EEXIST);
}

#[test]
fn i_may_write_to_myself() {
    let scene = Scene::new();

    fs::create_dir(scene.at("outbox").join(ALICE)).unwrap();
    create(&scene.at("outbox").join(ALICE).join("note.txt"), b"to me");

    scene.mount.message(ALICE, "note.txt");
    assert!(!status_text(&scene.mount).contains("key you do not hold"));
}
