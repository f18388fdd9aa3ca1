//! Many at once (C): readers, writers, programs beside a mount.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::process::Command;

use dockercomms::protocol::{Digest, FileName, MessageId};
use dockercomms::store::{Admission, NewInbox, Store};
use nix::sys::signal::Signal;

use super::forge::{self, Letter, payload};
use super::registry::{Class, Fault};
use super::scene::{GOOD, Scene};
use crate::common::{
    ALICE, BOB, Home, Running, TestMount, names_in, read, run, shell, temp_dir, wait_until, write,
};

/// Copies at once.
const COPY_COUNT: usize = 100;

/// Messages of a directory that is listed while more arrive.
const KEPT_COUNT: usize = 10_000;

/// Messages that arrive while it is.
const ARRIVAL_COUNT: usize = 100;

#[test]
fn c01_a_hundred_copies_at_once_are_a_hundred_messages() {
    let scene = Scene::patient();
    let mount = scene.bob.mount();
    let source = temp_dir();
    for index in 0..COPY_COUNT {
        write(source.path().join(format!("{index}.txt")), index.to_string());
    }
    let script = "for f in \"$1\"/*; do cp \"$f\" \"$2\" & done; wait";

    let ran = run(shell(script, &[source.path(), &mount.outbox(ALICE)]));

    assert!(ran.stderr.is_empty(), "{ran:?}");
    assert_eq!(mount.wait_until_all_sent(ALICE).len(), COPY_COUNT);
    let tags = scene.registry.tags("inbox-");
    let manifests: BTreeSet<_> = tags.iter().map(|tag| scene.registry.manifest_of(tag)).collect();
    assert_eq!((tags.len(), manifests.len()), (COPY_COUNT, COPY_COUNT));
}

#[test]
fn c03_readers_of_all_places_at_once_fetch_each_chunk_once() {
    let scene = Scene::patient();
    let content = payload(64_000);
    let letter = Letter::new(&scene.alice, BOB, "f", &content);
    letter.post(&scene.registry, &scene.alice, BOB);
    scene.post_good();
    let mount = scene.bob.mount();
    let path = mount.message(ALICE, "f");
    let script = "i=0; while [ $i -lt 64 ]; do \
        dd if=\"$1\" bs=1000 skip=$i count=1 of=part.$i status=none & i=$((i + 1)); done; wait; \
        i=0; while [ $i -lt 64 ]; do cat part.$i; i=$((i + 1)); done";
    let mut reading = shell(script, &[&path]);
    reading.current_dir(scene.bob.dir());

    let ran = run(reading);

    assert!(ran.stdout == content, "{}", ran.stderr);
    assert_eq!(read(mount.message(ALICE, GOOD)), b"good");
    let fetches = scene.registry.seen(Class::BlobGet);
    for layer in letter.layers {
        let digest = Digest::of(&layer).to_string();
        assert_eq!(fetches.iter().filter(|request| request.name() == digest).count(), 1);
    }
}

#[test]
fn c04_a_reader_that_is_killed_takes_nothing_from_the_others() {
    let scene = Scene::patient();
    let letter = Letter::new(&scene.alice, BOB, "slow", &payload(900));
    let layer = letter.manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    letter.post(&scene.registry, &scene.alice, BOB);
    scene.registry.fail_on(Class::BlobGet, &layer, u64::MAX, Fault::Hold);
    let mount = scene.bob.mount();
    let path = mount.message(ALICE, "slow");
    let first = Running::start(shell("exec cat \"$1\"", &[&path]));
    let asked = || scene.registry.seen(Class::BlobGet).iter().any(|r| r.name() == layer);
    wait_until("the layer is requested", asked);
    let second = Running::start(shell("exec cat \"$1\"", &[&path]));

    first.signal(Signal::SIGKILL);
    let killed = first.end();
    scene.registry.release();
    let read = second.end();

    assert!(killed.stdout.is_empty());
    assert_eq!(read.stdout, payload(900), "{read:?}");
    let fetches = scene.registry.seen(Class::BlobGet);
    assert_eq!(fetches.iter().filter(|request| request.name() == layer).count(), 1);
}

#[test]
fn c06_a_file_removed_while_it_is_sent_is_sent_whole_or_not_at_all() {
    let scene = Scene::patient();
    let mount = scene.bob.mount();
    let outbox = mount.outbox(ALICE);
    let source = temp_dir();
    let file = write(source.path().join("plan.bin"), payload(100_000));
    let next = write(source.path().join("next.bin"), payload(1000));
    scene.registry.fail(Class::UploadPut, Fault::Hold);
    let copying = Running::start(shell("cp \"$1\" \"$2\"", &[&file, &outbox]));
    wait_until("a chunk is on its way", || scene.registry.count(Class::UploadPut) > 0);
    let removing = Running::start(shell("rm \"$1\"", &[outbox.join("plan.bin")]));

    scene.registry.release();

    let (copied, removed) = (copying.end(), removing.end());
    run(shell("cp \"$1\" \"$2\"", &[&next, &outbox])).ok();
    let sent = |name: &str| {
        let tags = scene.registry.tags("inbox-");
        let names = tags.iter().map(|tag| {
            let manifest = scene.registry.manifest_of(tag).unwrap();
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            manifest["annotations"]["dockercomms.filename"].as_str().unwrap().to_owned()
        });
        names.filter(|sent| sent == name).count()
    };
    wait_until("the next file is sent", || sent("next.bin") == 1);
    let said = format!("{copied:?} {removed:?}");
    // Removing may come too late; then the copy was a delivery.
    assert!(sent("plan.bin") <= usize::from(copied.code() == 0), "{said}");
    assert!(removed.code() != 0 || !names_in(&outbox).contains(&"plan.bin".to_owned()), "{said}");
}

#[test]
fn c07_who_loses_trust_while_open_is_read_to_the_end_and_not_opened_again() {
    let scene = Scene::new();
    scene.letter("open").post(&scene.registry, &scene.alice, BOB);
    let mount = scene.bob.mount();
    let path = mount.message(ALICE, "open");
    let mut file = File::open(&path).unwrap();
    let mut start = [0; 10];
    file.read_exact(&mut start).unwrap();

    scene.bob.run(["trust", "rm", ALICE]).ok();

    let again = File::open(&path).map(drop);
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).unwrap();
    assert_eq!([&start[..], &rest].concat(), payload(2500));
    // The next poll takes it off the list.
    let errno = again.unwrap_err().raw_os_error();
    assert!([Some(libc::ENOKEY), Some(libc::ENOENT)].contains(&errno), "{errno:?}");
    wait_until("it left the list", || names_in(mount.inbox(ALICE)).is_empty());
}

#[test]
fn c08_n32_a_directory_of_ten_thousand_lists_each_name_once_while_more_arrive() {
    let scene = Scene::new();
    let old = receive_before(&scene, KEPT_COUNT);
    scene.post_good();
    let mount = scene.bob.mount();
    mount.message(ALICE, GOOD);
    for index in 0..ARRIVAL_COUNT {
        let letter = Letter::new(&scene.alice, BOB, &format!("new {index}.txt"), b"x");
        letter.post(&scene.registry, &scene.alice, BOB);
    }

    let mut before = 0;
    wait_until("all are listed", || {
        let names = names_in(mount.inbox(ALICE));
        let unique: BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "a name twice");
        assert!(old.iter().all(|name| unique.contains(name)), "a name that was there is missing");
        assert!(names.len() >= before, "names went away");
        before = names.len();
        names.len() == KEPT_COUNT + ARRIVAL_COUNT + 1
    });
}

/// Gives bob `count` messages from alice, which no longer exist in a registry; returns their names.
fn receive_before(scene: &Scene, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|index| format!("{index:05}.txt")).collect();
    let letter = Letter::new(&scene.alice, BOB, "", b"x");
    let (signer, now) = (scene.alice.fingerprint(), forge::now());
    let arrivals = names.iter().map(|name| {
        let id = uuid::Uuid::new_v4();
        let manifest = letter
            .clone()
            .annotate("dockercomms.filename", name.as_str())
            .annotate("dockercomms.message.id", id.to_string().as_str())
            .bytes();
        let digest = Digest::of(&manifest);
        NewInbox {
            digest,
            message_id: MessageId::from_uuid(id),
            sender: scene.alice.name.clone(),
            recipient: BOB.parse().unwrap(),
            file_name: FileName::sanitize(name),
            signer: signer.clone(),
            tag: forge::inbox_tag(BOB, &digest).parse().unwrap(),
            arrived_at: now,
            created_at: now,
            expires_at: None,
            chunk_count: 1,
            manifest,
        }
    });
    let arrivals = arrivals.collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&scene.bob.path().join("state")).await.unwrap();
        let admissions = store.admit(arrivals).await.unwrap();
        assert!(admissions.iter().all(|one| matches!(one, Admission::New(_))));
    });
    names
}

#[test]
fn c11_a_message_can_be_mapped_but_not_run() {
    let scene = Scene::new();
    let script = b"#!/bin/sh\necho run\n";
    Letter::new(&scene.alice, BOB, "evil.sh", script).post(&scene.registry, &scene.alice, BOB);
    let mount = scene.bob.mount();
    let path = mount.message(ALICE, "evil.sh");

    let ran = Command::new(&path).output();
    let map = "import mmap, sys; f = open(sys.argv[1], 'rb'); \
               sys.stdout.buffer.write(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[:])";
    let Some(mut python) = crate::common::program("python3") else { return };
    python.args(["-c", map]).arg(&path);

    assert_eq!(ran.unwrap_err().raw_os_error(), Some(libc::EACCES));
    assert_eq!(run(python).ok().as_bytes(), script);
}

#[test]
fn c12_one_file_to_five_people_at_once_is_five_messages() {
    let scene = Scene::new();
    let mount = scene.bob.mount();
    let file = write(scene.bob.dir().join("plan.bin"), payload(50_000));
    let people: Vec<String> = (0..5).map(|index| format!("p{index}@example.com")).collect();
    let mut arguments = vec![file];
    arguments.extend(people.iter().map(|who| mount.outbox(who)));
    let script = "f=$1; shift; for to in \"$@\"; do cp \"$f\" \"$to\" & done; wait";

    let ran = run(shell(script, &arguments));

    assert!(ran.stderr.is_empty(), "{ran:?}");
    for who in &people {
        assert_eq!(mount.wait_until_all_sent(who), ["plan.bin"], "{who}");
    }
    assert_eq!(scene.registry.tags("inbox-").len(), 5);
}

#[test]
fn c13_verbs_work_beside_a_mount() {
    let scene = Scene::new();
    scene.post_good();
    let mount = scene.bob.mount();
    let path = mount.message(ALICE, GOOD);

    for arguments in [vec!["status"], vec!["ls", "inbox"], vec!["ls", "quarantine"], vec!["doctor"]]
    {
        let ran = scene.bob.run(arguments.iter());
        assert_eq!(ran.code(), 0, "{arguments:?}: {ran:?}");
    }

    assert_eq!(read(path), b"good");
}

#[test]
fn c18_two_machines_of_one_recipient_both_receive_and_the_sender_counts_one_receipt() {
    let scene = Scene::new();
    let alice = Home::init(ALICE, &scene.registry.reference());
    alice.trust(&scene.bob);
    scene.bob.trust(&alice);
    let other = Home::new();
    run(shell("cp -a \"$1\" \"$2\"", &[scene.bob.path(), other.path()])).ok();
    let file = write(alice.dir().join(GOOD), "good");
    alice.run(["send".as_ref(), file.as_os_str(), "--to".as_ref(), BOB.as_ref()]).ok();
    let mut mount = alice.mount();

    let (first, ran) = scene.receive();
    let second = other.receive();

    assert_eq!(first.keys().collect::<Vec<_>>(), [GOOD], "{ran:?}");
    assert_eq!(second, [(GOOD.to_owned(), b"good".to_vec())]);
    let receipt = format!("receipts/sent/{BOB}/{GOOD}.accepted.json");
    let receipt: serde_json::Value =
        serde_json::from_slice(&mount.wait_for_file(&receipt)).unwrap();
    assert_eq!(receipt["verified"], true);
    let tag_count = scene.registry.tags("receipt-").len();
    assert_eq!(tag_count, 2, "each machine says that it has the file");
    mount.unmount();
    let rows = alice.json(["ls", "receipts"]);
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, [format!("{GOOD}.accepted.json")], "{rows:?}");
}

#[test]
fn c19_a_shell_that_lives_in_the_mount_sees_it() {
    let scene = Scene::new();
    scene.post_good();
    let mut mount = scene.bob.mount();
    mount.message(ALICE, GOOD);

    let ran = run(shell("cd \"$1/inbox\" && df . && find . -type f", &[mount.path()]));

    assert!(ran.text().contains(GOOD), "{ran:?}");
    mount.unmount();
}

/// Opens a file as often as it may, at most 10,000 times, and prints how often and what ends it has.
const OPEN: &str = "
import os, resource, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
count = min(10000, hard - 64)
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 64, hard))
files = [os.open(sys.argv[1], os.O_RDONLY) for _ in range(count)]
print(count, len({os.pread(file, 100, 2400) for file in files}))
sys.stdout.flush()
sys.stdout.buffer.write(os.pread(files[-1], 100, 2400))
";

#[test]
fn c17_thousands_of_open_files_are_read_to_their_ends() {
    let scene = Scene::new();
    let content = payload(2500);
    scene.letter("open").post(&scene.registry, &scene.alice, BOB);
    scene.post_good();
    let mount: TestMount = scene.bob.mount();
    let Some(mut python) = crate::common::program("python3") else { return };
    python.args(["-c", OPEN]).arg(mount.message(ALICE, "open"));

    let said = run(python);

    let (counts, end) = said.stdout.split_at(said.stdout.len() - 100);
    let counts = String::from_utf8_lossy(counts);
    let counts: Vec<usize> = counts.split_whitespace().map(|n| n.parse().unwrap()).collect();
    println!("{} open files", counts[0]);
    assert!(counts[0] >= 900 && counts[1] == 1, "{said:?}");
    assert_eq!(end, &content[2400..]);
    assert_eq!(read(mount.message(ALICE, GOOD)), b"good");
}
