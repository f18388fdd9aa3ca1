//! Foreign programs that tests need: found, or the test fails with a clear line.

use std::path::{Path, PathBuf};

/// A comma list of programs without which tests may go on.
const SKIP_VARIABLE: &str = "DOCKERCOMMS_TEST_SKIP";

/// Finds a program: the ones that `scripts/tools` unpacked win over the machine's.
///
/// Returns `None` when it is missing and `DOCKERCOMMS_TEST_SKIP` names it; the test then returns.
///
/// # Panics
/// When it is missing and not named there.
#[track_caller]
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let found = search_path().into_iter().map(|dir| dir.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(
            is_skipped(name),
            "{name} is missing: run scripts/tools, or go on without it by {SKIP_VARIABLE}={name}"
        );
        println!("skipped: {name} is missing and {SKIP_VARIABLE} names it");
    }
    found
}

/// Returns whether the test may use root's rights; as [`tool`], with the name `root`.
#[track_caller]
pub(crate) fn need_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    assert!(
        is_root || is_skipped("root"),
        "this test mounts a tmpfs or changes its user: run it as root, or set {SKIP_VARIABLE}=root"
    );
    is_root
}

/// Returns whether the kernel reports the exit status of every process to a mount; as [`tool`], with
/// the name `exits`. Linux 6.6 does, outside of containers.
#[track_caller]
pub(crate) fn need_exits() -> bool {
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let is_known = namespace.as_os_str() == "pid:[4026531836]" && version >= (6, 6);
    assert!(
        is_known || is_skipped("exits"),
        "this test needs the ends of processes: run it on Linux 6.6 outside of a container, or set \
         {SKIP_VARIABLE}=exits"
    );
    is_known
}

/// Returns whether `DOCKERCOMMS_TEST_SKIP` names `name`.
pub(crate) fn is_skipped(name: &str) -> bool {
    std::env::var_os(SKIP_VARIABLE)
        .is_some_and(|list| list.to_string_lossy().split(',').any(|entry| entry.trim() == name))
}

/// Returns the directories to look in, the unpacked tools first.
pub(super) fn search_path() -> Vec<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    // No user starts sftp-server, so it is in no PATH.
    let servers = ["/usr/lib/openssh", "/usr/libexec/openssh"].map(PathBuf::from);
    std::iter::once(unpacked)
        .chain(std::env::split_paths(&path))
        .chain(servers)
        // Version managers' shims read environment variables that tests clear.
        .filter(|dir| !dir.ends_with("shims"))
        .collect()
}
