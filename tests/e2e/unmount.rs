//! `dockercomms umount` while a process is in the mount.

use crate::common::{
    ALICE, Home, Running, TestMount, is_mounted, repository, run, shell, temp_dir, wait_until,
};

/// Starts a program whose working directory is in the mount for `seconds`.
#[track_caller]
fn visitor(mount: &TestMount, seconds: &str) -> Running {
    let script = "cd \"$1/inbox\" && echo there && sleep \"$2\"";
    let visitor = Running::start(shell(script, &[mount.path().as_os_str(), seconds.as_ref()]));
    wait_until("the visitor is there", || visitor.output().contains("there"));
    visitor
}

#[test]
fn somebody_who_is_there_for_a_moment_does_not_keep_it_up() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    let mut mount = alice.mount();
    let _visitor = visitor(&mount, "0.5");

    mount.unmount();

    assert!(!is_mounted(mount.path()));
}

#[test]
fn f18_somebody_who_stays_is_named_and_the_mount_goes_on() {
    let dir = temp_dir();
    let alice = Home::init(ALICE, &repository(&dir));
    let mut mount = alice.mount();
    let visitor = visitor(&mount, "100");
    let umount = || {
        let mut command = alice.command();
        command.arg("umount").arg(mount.path());
        run(command)
    };

    let refused = umount();

    assert_eq!(refused.status.code(), Some(8), "{refused:?}");
    assert!(refused.stderr.contains("working directory") && refused.stderr.contains("--force"));
    assert!(mount.path().join("inbox").is_dir(), "the mount stays");
    drop(visitor);
    mount.unmount();
}
