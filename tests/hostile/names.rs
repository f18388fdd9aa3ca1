//! Names that want to be paths, or to write to the terminal (N).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::forge::{Author, Letter};
use super::scene::{GOOD, Scene};
use crate::common::{ALICE, BOB, names_in, read, run, wait_until, write};

/// What the sender wrote, and the one component that it becomes (P7).
const NAMES: [(&str, &str); 30] = [
    ("../x", "..%2Fx"),
    ("../../../../etc/passwd", "..%2F..%2F..%2F..%2Fetc%2Fpasswd"),
    ("/etc/passwd", "%2Fetc%2Fpasswd"),
    ("a/b", "a%2Fb"),
    (".", "%2E"),
    ("..", "%2E%2E"),
    ("", "unnamed"),
    ("a\0b", "a%00b"),
    ("\u{1b}[2Jcleared", "%1B[2Jcleared"),
    ("\u{1b}]0;title\u{7}", "%1B]0;title%07"),
    ("two\nlines", "two%0Alines"),
    ("report\u{202e}fdp.exe", "report%E2%80%AEfdp.exe"),
    ("iso\u{2066}late", "iso%E2%81%A6late"),
    ("em\u{202b}bed", "em%E2%80%ABbed"),
    ("over\u{202d}ride\u{202c}", "over%E2%80%ADride%E2%80%AC"),
    ("end\u{2069}", "end%E2%81%A9"),
    ("\u{2066}crossed\u{202a}\u{2069}\u{202c}", "%E2%81%A6crossed\u{202a}%E2%81%A9\u{202c}"),
    ("line\u{2028}para\u{2029}", "line%E2%80%A8para%E2%80%A9"),
    // Letters and marks of a script in places where they spell nothing: no harm, and no escape.
    ("zero\u{200b}width", "zero\u{200b}width"),
    ("bom\u{feff}", "bom\u{feff}"),
    ("bob\u{200d}", "bob\u{200d}"),
    ("mark\u{200f}", "mark\u{200f}"),
    ("hyp\u{ad}hen", "hyp\u{ad}hen"),
    ("c1\u{9b}", "c1%C2%9B"),
    ("decomposed e\u{301}", "decomposed \u{e9}"),
    ("-rf", "-rf"),
    (".bashrc", ".bashrc"),
    ("$(touch x); `id` *", "$(touch x); `id` *"),
    ("CON", "CON"),
    ("%2e%2e", "%2e%2e"),
];

fn post_all(scene: &Scene) {
    for (name, _) in NAMES {
        Letter::new(&scene.alice, BOB, name, name.as_bytes()).post(
            &scene.registry,
            &scene.alice,
            BOB,
        );
    }
    scene.post_good();
}

/// Asserts that nothing in `text` moves the cursor, turns the direction of writing or cannot be
/// seen: no name here has a joiner where it spells something.
#[track_caller]
fn assert_printable(text: &str) {
    let bad = text.chars().find(|c| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{206f}' | '\u{feff}')
    });
    assert_eq!(bad, None, "{text:?}");
}

#[test]
fn n01_to_n30_recv_writes_each_file_into_the_directory_and_nowhere_else() {
    let scene = Scene::new();
    post_all(&scene);

    let (files, ran) = scene.receive();

    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(files.len(), NAMES.len() + 1);
    for (name, safe) in NAMES {
        assert_eq!(
            files.get(safe),
            Some(&name.as_bytes().to_vec()),
            "{name:?}: {:?}",
            files.keys()
        );
    }
    assert_printable(&ran.text());
    assert_printable(&ran.stderr);
}

#[test]
fn n01_to_n30_listings_and_the_mount_show_safe_names_only() {
    let scene = Scene::new();
    post_all(&scene);
    let mount = scene.bob.mount();

    let mut expected: Vec<&str> = NAMES.iter().map(|(_, safe)| *safe).chain([GOOD]).collect();
    expected.sort_unstable();

    // Messages of the same second arrive one by one, in any order.
    wait_until("all are listed", || names_in(mount.inbox(ALICE)).len() >= expected.len());
    assert_eq!(names_in(mount.inbox(ALICE)), expected);
    for (name, safe) in NAMES {
        assert_eq!(read(mount.inbox(ALICE).join(safe)), name.as_bytes(), "{name:?}");
    }
    for arguments in [vec!["ls"], vec!["ls", "--json"], vec!["status"], vec!["-v", "ls"]] {
        let ran = scene.bob.run(arguments);
        assert_printable(&ran.text());
        assert_printable(&ran.stderr);
    }
}

#[test]
fn n08_names_of_refused_messages_are_shown_escaped() {
    let scene = Scene::new();
    let mallory = Author::new(ALICE);
    for (name, _) in NAMES {
        Letter::new(&mallory, BOB, name, b"x").post(&scene.registry, &mallory, BOB);
    }
    scene.post_good();
    let mount = scene.bob.mount();
    mount.message(ALICE, GOOD);

    let quarantine = mount.path().join(".dockercomms/quarantine").join(ALICE);
    let notes = names_in(&quarantine);

    assert_eq!(notes.len(), NAMES.len(), "{notes:?}");
    for name in &notes {
        assert!(name.contains(".WHY"), "{name}");
        let text = String::from_utf8(read(quarantine.join(name))).unwrap();
        assert!(text.contains("untrusted-signer"), "{text}");
        assert_printable(&text);
        assert_printable(name);
    }
    let listed = scene.bob.run(["ls", "quarantine"]);
    assert_printable(&listed.text());
}

#[test]
fn n07_a_name_of_300_bytes_keeps_its_beginning_and_its_extension() {
    let scene = Scene::new();
    let name = format!("{}.pdf", "n".repeat(296));
    Letter::new(&scene.alice, BOB, &name, b"long").post(&scene.registry, &scene.alice, BOB);

    let (files, ran) = scene.receive();

    assert_eq!(ran.code(), 0, "{ran:?}");
    let expected = format!("{}.pdf", "n".repeat(251));
    assert_eq!(files.keys().collect::<Vec<_>>(), [&expected]);
}

#[test]
fn n26_a_name_that_is_not_utf_8_is_refused() {
    let scene = Scene::new();
    let letter = scene.letter("NAME");
    let text = String::from_utf8(letter.bytes()).unwrap();
    let mut bytes = text.clone().into_bytes();
    let at = text.find("NAME").unwrap();
    bytes[at] = 0xff;
    letter.clone().raw(bytes).post(&scene.registry, &scene.alice, BOB);
    let surrogate = text.replace("NAME", "\\ud800");
    letter.raw(surrogate).post(&scene.registry, &scene.alice, BOB);
    scene.post_good();

    let (files, ran) = scene.receive();

    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD]);
    let codes: Vec<String> = scene.quarantine().into_values().collect();
    assert_eq!(codes, ["not-json", "not-json"]);
}

#[test]
fn n31_messages_of_one_name_are_all_listed_and_overwrite_nothing() {
    let scene = Scene::new();
    for content in ["1", "2", "3"] {
        let letter = Letter::new(&scene.alice, BOB, "same.txt", content.as_bytes());
        letter.post(&scene.registry, &scene.alice, BOB);
    }

    let (files, ran) = scene.receive();

    assert_eq!(ran.code(), 0, "{ran:?}");
    let names: Vec<&String> = files.keys().collect();
    assert_eq!(names, ["same (2).txt", "same (3).txt", "same.txt"]);
    let mut contents: Vec<&Vec<u8>> = files.values().collect();
    contents.sort();
    assert_eq!(contents, [b"1", b"2", b"3"]);
}

#[test]
fn n33_a_senders_name_is_one_directory_whatever_is_in_it() {
    let scene = Scene::new();
    let odd = Author::new("../x/\u{2764}");
    scene.bob.trust_card(&odd.card());
    Letter::new(&odd, BOB, "a.txt", b"a").post(&scene.registry, &odd, BOB);
    let mount = scene.bob.mount();

    let message = mount.message("..%2Fx%2F\u{2764}", "a.txt");

    assert_eq!(read(message), b"a");
    assert_eq!(names_in(mount.path().join("inbox")), ["..%2Fx%2F\u{2764}"]);
}

#[test]
fn n34_names_that_cannot_be_sent_are_refused_by_the_mount_and_made_safe_by_send() {
    let scene = Scene::new();
    let mount = scene.bob.mount();
    let outbox = mount.outbox(ALICE);
    let create = |name: &[u8]| {
        let error = std::fs::File::create(outbox.join(OsStr::from_bytes(name))).unwrap_err();
        error.raw_os_error()
    };

    assert_eq!(create(b"\xff.txt"), Some(libc::EILSEQ));
    assert_eq!(create(&[b'n'; 256]), Some(libc::ENAMETOOLONG));
    let file = scene.bob.dir().join(OsStr::from_bytes(b"\xff.txt"));
    write(&file, "x");
    let mut send = scene.bob.command();
    send.arg("send").arg(&file).args(["--to", ALICE]);
    // `send` has a choice that `create` has not: P7 makes names safe and refuses none.
    let ran = run(send);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(ran.text().contains("%FF.txt"), "{ran:?}");
    assert_eq!(scene.registry.tags("inbox-").len(), 1);
}
