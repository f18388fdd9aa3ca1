//! The same for an ordinary user, through `fusermount3`.
//!
//! Root's own calls into such a mount are refused by the kernel, so everything here is a script
//! run by that user.

use crate::common::{
    ALICE, BOB, Home, TestMount, is_mounted, need_exits, random_bytes, read, run, tool, wait_until,
    write,
};

#[test]
fn an_ordinary_user_sends_and_receives() {
    if tool("fusermount3").is_none() {
        return;
    }
    let (alice, bob) = alice_and_bob_as_ordinary_users();
    let (sending, receiving) = (alice.mount(), bob.mount());
    let bytes = random_bytes(1, 300_000);
    // A world-readable file: the user's processes read it, the test's write it.
    write(alice.dir().join("report.pdf"), &bytes);

    sh(&alice, &sending, "test -d \"$1/outbox/bob@example.com\"");
    sh(&alice, &sending, "cp report.pdf \"$1/outbox/bob@example.com/\"");
    let script = "cat \"$1/inbox/alice@example.com/report.pdf\" > received";
    wait_until("bob reads it", || try_sh(&bob, &receiving, script));

    assert!(read(bob.dir().join("received")) == bytes);
    let receipt = "cat \"$1/receipts/sent/bob@example.com/report.pdf.accepted.json\" > receipt";
    wait_until("the receipt came", || try_sh(&alice, &sending, receipt));
    let receipt = String::from_utf8(read(alice.dir().join("receipt"))).unwrap();
    assert!(receipt.contains("accepted"), "{receipt}");
}

#[test]
fn what_a_program_left_that_failed_is_not_sent_for_an_ordinary_user_either() {
    if tool("fusermount3").is_none() || !need_exits() {
        return;
    }
    let (alice, bob) = alice_and_bob_as_ordinary_users();
    let mut mount = alice.mount();

    assert!(!try_sh(&alice, &mount, "cat nonexistent > \"$1/outbox/bob@example.com/x\""));

    let state = "getfattr --only-values -n user.dockercomms.state \"$1/outbox/bob@example.com/x\"";
    let is_abandoned = format!("test \"$({state})\" = abandoned");
    wait_until("it is abandoned", || try_sh(&alice, &mount, &is_abandoned));
    mount.unmount();
    assert!(bob.receive().is_empty());
}

#[test]
fn an_ordinary_user_unmounts() {
    if tool("fusermount3").is_none() {
        return;
    }
    let (alice, _bob) = alice_and_bob_as_ordinary_users();
    let mut mount = alice.mount();

    mount.unmount();

    assert!(!is_mounted(mount.path()));
}

#[test]
fn a_killed_mount_of_an_ordinary_user_leaves_no_dead_mount_point() {
    if tool("fusermount3").is_none() {
        return;
    }
    let (alice, _bob) = alice_and_bob_as_ordinary_users();
    let mut mount = alice.mount();

    mount.kill();

    wait_until("the mount point is free", || !is_mounted(mount.path()));
}

#[test]
fn a_mount_in_the_background_of_an_ordinary_user_is_his_alone() {
    if tool("fusermount3").is_none() {
        return;
    }
    let (alice, _bob) = alice_and_bob_as_ordinary_users();
    let mail = alice.dir().join("mail");
    let mut mkdir = alice.foreign("mkdir");
    mkdir.arg(&mail);
    run(mkdir).ok();

    let mounted = alice.run(["mount".as_ref(), mail.as_os_str()]);

    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(mail.to_str().unwrap()));
    let line = line.unwrap_or_default().to_owned();
    let unmounted = alice.run(["umount".as_ref(), mail.as_os_str()]);
    mounted.ok();
    unmounted.ok();
    for option in ["nosuid", "nodev", "noexec", "fuse.dockercomms"] {
        assert!(line.contains(option), "{option}: {line}");
    }
    assert!(!line.contains("allow_other"), "{line}");
}

fn alice_and_bob_as_ordinary_users() -> (Home, Home) {
    let (alice, bob) = (Home::of_ordinary_user(), Home::of_ordinary_user());
    let registry = format!("oci:{}", alice.dir().join("repository").display());
    alice.initialise(ALICE, &registry);
    bob.initialise(BOB, &registry);
    alice.trust(&bob);
    bob.trust(&alice);
    (alice, bob)
}

/// Runs a script as the home's user, with the mount as `$1`.
fn try_sh(home: &Home, mount: &TestMount, script: &str) -> bool {
    let mut command = home.foreign("/bin/sh");
    command.args(["-c", script, "sh"]).arg(mount.path());
    run(command).status.success()
}

#[track_caller]
fn sh(home: &Home, mount: &TestMount, script: &str) {
    assert!(try_sh(home, mount, script), "{script}");
}
