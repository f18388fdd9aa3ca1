//! Two people write to each other at once: none lost, none twice, none mixed up.

use std::path::Path;

use crate::common::{
    ALICE, BOB, Home, Registry, Running, TestMount, alice_and_bob, names_in, read, repository,
    shell, temp_dir, wait_until, write,
};

#[test]
fn two_mounts_on_one_layout_directory_exchange_200_files_each_way_at_once() {
    let directory = temp_dir();

    exchange(&repository(&directory), 200);
}

#[test]
fn two_mounts_on_docker_registry_exchange_40_files_each_way_at_once() {
    let Some(registry) = Registry::docker() else { return };

    exchange(&registry.reference("mail"), 40);
}

#[track_caller]
fn exchange(registry: &str, count: usize) {
    let (alice, bob) = alice_and_bob(registry);
    let (mut of_alice, mut of_bob) = (alice.mount(), bob.mount());
    let from_alice = copy_all(&alice, &of_alice.outbox(BOB), "alice", count);
    let from_bob = copy_all(&bob, &of_bob.outbox(ALICE), "bob", count);

    for (copying, mount) in [(from_alice, &of_alice), (from_bob, &of_bob)] {
        let ran = copying.end();
        assert!(ran.status.success(), "{ran:?}\n{}", mount.errors());
    }

    check_inbox(&of_bob, ALICE, "alice", count);
    check_inbox(&of_alice, BOB, "bob", count);
    // A message that came twice would be listed as `name (2)`, at the latest by a fresh look.
    of_alice.unmount();
    of_bob.unmount();
    assert_eq!(listed(&alice), count);
    assert_eq!(listed(&bob), count);
}

/// Copies `count` small files, several at once, each with unique content.
fn copy_all(home: &Home, outbox: &Path, who: &str, count: usize) -> Running {
    let sources = home.dir().join("sources");
    std::fs::create_dir(&sources).unwrap();
    for number in 0..count {
        write(sources.join(name(who, number)), content(who, number));
    }
    Running::start(shell(
        "find \"$1\" -type f -print0 | xargs -0 -n 10 -P 3 sh -c 'cp \"$@\" \"$0\"' \"$2\"",
        &[sources.as_path(), outbox],
    ))
}

fn check_inbox(mount: &TestMount, sender: &str, who: &str, count: usize) {
    let inbox = mount.inbox(sender);
    wait_until(&format!("all of {sender}'s files"), || names_in(&inbox).len() >= count);
    let mut expected: Vec<String> = (0..count).map(|number| name(who, number)).collect();
    expected.sort();
    assert_eq!(names_in(&inbox), expected);
    for number in 0..count {
        let bytes = read(inbox.join(name(who, number)));
        assert!(bytes == content(who, number), "{who} {number} has other bytes");
    }
}

/// Counts the messages that a new listing of the registry contains.
fn listed(home: &Home) -> usize {
    home.json(["ls", "inbox"]).len()
}

fn name(who: &str, number: usize) -> String {
    format!("{who}-{number:03}.txt")
}

fn content(who: &str, number: usize) -> Vec<u8> {
    format!("{who} wrote file {number}\n").repeat(number + 1).into_bytes()
}
