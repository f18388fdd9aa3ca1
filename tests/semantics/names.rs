//! Names of files: letters and marks of every script arrive byte for byte, by the mount, by `send`
//! and by `recv`; only what writes beyond its own name is refused (P7).

use std::collections::BTreeMap;
use std::fs::File;

use nix::libc;

use super::scene::{Scene, create, errno};
use crate::common::{ALICE, BOB, names_in, read, run, shell, wait_until, write};

/// Names that people give.
const ORDINARY: [&str; 18] = [
    "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}.txt", // Persian, with a ZWNJ
    "\u{915}\u{94d}\u{200d}\u{937}\u{924}\u{94d}\u{930}.pdf",        // Hindi, with a ZWJ
    "\u{d28}\u{d4d}\u{200d}.txt",                                    // Malayalam
    "\u{5d3}\u{5d5}\u{5d7} (1)\u{200f}.pdf",                         // Hebrew, with RLM
    "\u{5d3}\u{5d5}\u{5d7} C++\u{200e}.pdf",                         // and LRM
    "\u{661}\u{61c}-\u{662}.csv",                                    // Arabic letter mark
    "\u{182a}\u{180e}\u{1820}.txt",                                  // Mongolian
    "\u{1797}\u{200b}\u{1797}.txt",                                  // Khmer, zero-width space
    "Donau\u{ad}dampf.txt",                                          // soft hyphen
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}.jpg",               // a family of three
    "\u{2764}\u{fe0f}.png",                                          // VS16
    "\u{2764}\u{fe0f}\u{200d}\u{1f525}",                             // without an extension
    "1\u{fe0f}\u{20e3}.txt",                                         // keycap
    "\u{1f1e9}\u{1f1ea}.svg",                                        // flag of two letters
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}.svg", // flag of tags
    "\u{845b}\u{e0100}.txt",                                         // ideographic variation
    "a \u{2067}\u{5d0}\u{2069} b.txt",                               // an isolate with its end
    "\u{202b}\u{5d0}\u{202c}.txt",                                   // an embedding with its end
];

/// Names that no file gets, and what `send` makes of them.
const REFUSED: [(&str, &str); 10] = [
    ("a\u{1b}[2J", "a%1B[2J"),
    ("two\nlines", "two%0Alines"),
    ("del\u{7f}", "del%7F"),
    ("c1\u{9b}", "c1%C2%9B"),
    ("lines\u{2028}", "lines%E2%80%A8"),
    ("report\u{202e}fdp.exe", "report%E2%80%AEfdp.exe"),
    ("\u{202d}report\u{202c}.pdf", "%E2%80%ADreport%E2%80%AC.pdf"),
    ("\u{2067}\u{5d0}.pdf", "%E2%81%A7\u{5d0}.pdf"),
    ("\u{202b}\u{5d0}.pdf", "%E2%80%AB\u{5d0}.pdf"),
    ("end\u{2069}.pdf", "end%E2%81%A9.pdf"),
];

#[test]
fn letters_and_marks_of_every_script_arrive_the_same_by_mount_send_and_recv() {
    let mut scene = Scene::new();
    let (local, mounted) = (scene.alice.dir().join("local"), "by mount ");
    std::fs::create_dir(&local).unwrap();
    let mut expected = BTreeMap::new();
    for name in ORDINARY {
        write(local.join(name), name);
        create(&scene.to_bob(&format!("{mounted}{name}")), b"mount");
        expected.insert(name.to_owned(), name.as_bytes().to_vec());
        expected.insert(format!("{mounted}{name}"), b"mount".to_vec());
    }
    let mut send = scene.alice.command();
    send.arg("send").args(ORDINARY.map(|name| local.join(name))).args(["--to", BOB]);
    run(send).ok();

    let received: BTreeMap<String, Vec<u8>> = scene.received().into_iter().collect();
    let bobs = scene.bob.mount();
    wait_until("all are listed", || names_in(bobs.inbox(ALICE)).len() == expected.len());
    let copies = scene.bob.dir().join("copies");
    run(shell("cp -r \"$1\" \"$2\"", &[bobs.inbox(ALICE), copies.clone()])).ok();
    let kept: BTreeMap<String, Vec<u8>> =
        names_in(&copies).into_iter().map(|name| (name.clone(), read(copies.join(name)))).collect();

    assert_eq!(received, expected, "as recv writes them");
    assert_eq!(kept, expected, "as cp copies them out of the mount");
}

#[test]
fn a_name_that_arrived_is_forwarded_and_listed_as_it_is() {
    let scene = Scene::new();
    let bobs = scene.bob.mount();
    let name = ORDINARY[0];
    scene.sent(name, b"forward me");
    let message = bobs.message(ALICE, name);

    let back = bobs.outbox(ALICE);
    run(shell("cp \"$1\" \"$2\"", &[message, back.clone()])).ok();
    bobs.wait_for_state(back.join(name), "sent");

    assert_eq!(read(scene.mount.message(BOB, name)), b"forward me");
    assert!(scene.bob.run(["ls"]).ok().contains(name), "a terminal shows the letters");
}

#[test]
fn controls_overrides_and_isolates_without_their_end_are_refused_or_escaped_by_send() {
    let mut scene = Scene::new();
    let local = scene.alice.dir().join("local");
    std::fs::create_dir(&local).unwrap();
    for (name, _) in REFUSED {
        let refused = errno(File::create_new(scene.to_bob(name)));
        assert_eq!(refused, libc::EINVAL, "{name:?}");
        write(local.join(name), name);
    }
    assert_eq!(names_in(scene.to_bob("")), [""; 0]);
    create(&scene.to_bob("a.tmp"), b"a");
    for (name, _) in REFUSED {
        let renamed = super::scene::rename(scene.to_bob("a.tmp"), scene.to_bob(name));
        assert_eq!(errno(renamed), libc::EINVAL, "{name:?}");
    }
    let mut send = scene.alice.command();
    send.arg("send").args(REFUSED.map(|(name, _)| local.join(name))).args(["--to", BOB]);
    run(send).ok();

    let mut expected: Vec<(String, Vec<u8>)> =
        REFUSED.iter().map(|(name, safe)| ((*safe).to_owned(), name.as_bytes().to_vec())).collect();
    expected.sort();
    assert_eq!(scene.received(), expected);
}

#[test]
fn a_decomposed_name_arrives_composed_beside_its_joiners() {
    let mut scene = Scene::new();
    let name = "cafe\u{301} \u{6cc}\u{200c}\u{62e}.txt";

    create(&scene.to_bob(name), b"x");

    let composed = "caf\u{e9} \u{6cc}\u{200c}\u{62e}.txt";
    // Here it keeps its spelling.
    assert_eq!(names_in(scene.to_bob("")), [name]);
    assert_eq!(scene.received(), [(composed.to_owned(), b"x".to_vec())]);
}
