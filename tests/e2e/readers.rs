//! Every reader of a message sees exactly the sender's bytes, and nothing is fetched needlessly.

use std::path::Path;

use crate::common::{
    ALICE, BOB, Home, TestMount, alice_and_bob, random_bytes, read, repository, run, shell,
    temp_dir, tool, write,
};

/// Small chunks, so that every way of reading crosses some.
const CHUNK: &str = "256KiB";

/// A dozen chunks and a piece of one.
const LEN: usize = 12 * (256 << 10) + 777;

/// The way a program reads the file `$1`, and the program, if it could be missing.
const READERS: [(&str, &str, Option<&str>); 13] = [
    ("cat", "cat \"$1\"", None),
    ("cp", "cp \"$1\" copy && cat copy", None),
    ("head", "head -c 5000 \"$1\"", None),
    ("tail", "tail -c 5000 \"$1\"", None),
    ("dd-skip", "dd if=\"$1\" bs=1000 skip=777 count=999 status=none", None),
    (
        "dd-backwards",
        "for at in 9 5 2; do dd if=\"$1\" bs=100k skip=$at count=1 status=none; done",
        None,
    ),
    ("sha256sum", "sha256sum < \"$1\"", None),
    ("wc", "wc -c < \"$1\"", None),
    ("file", "file -b \"$1\"", Some("file")),
    ("cmp", "cmp \"$1\" original && echo same", None),
    ("od", "od -An -tx1 -j 1000000 -N 64 \"$1\"", None),
    ("gio", "gio cat \"$1\"", Some("gio")),
    (
        "mmap",
        "python3 -c 'import mmap, sys
file = open(sys.argv[1], \"rb\")
memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sys.stdout.buffer.write(memory[1000000:1000100] + memory[-10:] + memory[:10])' \"$1\"",
        Some("python3"),
    ),
];

#[test]
fn every_reader_sees_the_senders_bytes() {
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    let original = write(bob.dir().join("original"), random_bytes(5, LEN));
    let sources: Vec<_> = READERS
        .iter()
        // Each reader gets a message of its own, so that each starts with a cold cache.
        .map(|(name, ..)| write(alice.dir().join(name), random_bytes(5, LEN)))
        .collect();
    send(&alice, &sources, CHUNK);
    let mount = bob.mount();

    for (name, script, needs) in READERS {
        if needs.is_some_and(|program| tool(program).is_none()) {
            continue;
        }
        let message = mount.message(ALICE, name);
        let expected = output(&bob, script, &original);
        let seen = output(&bob, script, &message);
        assert!(!expected.is_empty(), "{name} says nothing");
        assert!(seen == expected, "{name} sees other bytes");
    }
}

#[test]
fn the_first_bytes_of_a_large_message_cost_one_chunk() {
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    let len: u64 = 4 << 20;
    let source = write(alice.dir().join("large"), random_bytes(6, 20 << 20));
    send(&alice, &[source], "4MiB");
    let mount = bob.mount();
    let message = mount.message(ALICE, "large");
    let before = fetched(&mount);

    let head = output(&bob, "head -c 4096 \"$1\"", &message);

    assert_eq!(head.len(), 4096);
    let bytes = fetched(&mount) - before;
    // Random bytes do not compress; frame and tar header are small.
    assert!((len..len + (64 << 10)).contains(&bytes), "{bytes} bytes for the first 4096");
}

#[test]
fn a_second_reading_fetches_nothing() {
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    let source = write(alice.dir().join("f"), random_bytes(7, LEN));
    send(&alice, &[source], CHUNK);
    let mount = bob.mount();
    let message = mount.message(ALICE, "f");
    let first = read(&message);
    let before = fetched(&mount);

    let second = read(&message);

    assert!(first == second);
    assert_eq!(fetched(&mount), before);
}

#[test]
fn c03_many_readers_of_one_message_fetch_it_once() {
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    let source = write(alice.dir().join("f"), random_bytes(8, LEN));
    send(&alice, &[source], CHUNK);
    let mount = bob.mount();
    let message = mount.message(ALICE, "f");
    let before = fetched(&mount);

    output(&bob, "for i in 1 2 3 4 5 6 7 8; do cat \"$1\" > copy.$i & done; wait", &message);

    for i in 1..=8 {
        assert!(read(bob.dir().join(format!("copy.{i}"))) == random_bytes(8, LEN), "copy {i}");
    }
    let bytes = fetched(&mount) - before;
    assert!(bytes < LEN as u64 + (64 << 10), "{bytes} bytes for {LEN}");
}

#[track_caller]
fn send<P: AsRef<Path>>(alice: &Home, sources: &[P], chunk: &str) {
    let mut command = alice.command();
    command.args(["send", "--to", BOB, "--chunk-bytes", chunk]);
    command.args(sources.iter().map(AsRef::as_ref));
    run(command).ok();
}

#[track_caller]
fn output(home: &Home, script: &str, path: &Path) -> Vec<u8> {
    let mut command = shell(script, &[path]);
    command.current_dir(home.dir());
    let ran = run(command);
    ran.clone().ok();
    ran.stdout
}

fn fetched(mount: &TestMount) -> u64 {
    mount.status()["blob_bytes_fetched"].as_u64().unwrap()
}
