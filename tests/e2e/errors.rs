//! What a user sees when something fails: the exit status, the sentence, the mount's own words.

use std::path::Path;

use super::delivery::Delivery;
use crate::common::{
    BOB, Home, HttpServer, Ran, Registry, TestMount, alice_and_bob, names_in, read, run, shell,
    tool, write,
};

// --- a registry that refuses

/// A registry that grants everyone read access and no one push access.
pub(super) fn refusing(status: u16, code: &'static str) -> HttpServer {
    HttpServer::start(move |method, target| match (method, target) {
        ("GET", "/v2/") => (200, "{}".to_owned()),
        ("GET" | "HEAD", _) => {
            (404, "{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"no\"}]}".to_owned())
        }
        _ => (status, format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"no\"}}]}}")),
    })
}

/// Alice's mount on a registry that refuses her pushes.
fn refused_alice(server: &HttpServer) -> (Home, TestMount) {
    let (alice, _bob) = alice_and_bob(&server.reference("mail"));
    alice.set("deadline = \"3s\"");
    let mount = alice.mount();
    mount.outbox(BOB);
    write(alice.dir().join("report.pdf"), b"report");
    (alice, mount)
}

fn try_in(home: &Home, mount: &TestMount, script: &str) -> Ran {
    let mut command = shell::<&Path>(script, &[]);
    command.env("OUT", mount.path().join("outbox").join(BOB)).current_dir(home.dir());
    run(command)
}

#[test]
fn a_registry_that_denies_the_push_fails_the_copy_with_permission_denied() {
    let server = refusing(403, "DENIED");
    let (alice, mount) = refused_alice(&server);

    let ran = try_in(&alice, &mount, "cp report.pdf $OUT/");

    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("failed to close"), "{ran:?}");
    assert!(ran.stderr.contains("Permission denied"), "{ran:?}");
    let target = mount.outbox(BOB).join("report.pdf");
    mount.wait_for_state(&target, "failed");
    assert!(mount.attribute(&target, "error").unwrap().contains("denied"));
    let errors = mount.errors();
    assert!(errors.contains("report.pdf") && errors.contains("hint"), "{errors}");
}

#[test]
fn each_program_reports_a_failed_close_and_movers_keep_their_source() {
    let server = refusing(403, "DENIED");
    let (alice, mount) = refused_alice(&server);

    for (program, script) in [
        ("cp", "cp report.pdf $OUT/cp"),
        ("cp -p", "cp -p report.pdf $OUT/cp-p"),
        ("mv", "mv report.pdf $OUT/mv"),
        ("dd", "dd if=report.pdf of=$OUT/dd"),
        ("tee", "tee $OUT/tee < report.pdf"),
        ("install", "install report.pdf $OUT/install"),
        ("sort", "sort -o $OUT/sort report.pdf"),
        ("cat", "exec cat report.pdf > $OUT/cat"),
        ("tar", "tar cf all.tar report.pdf && tar xf all.tar -C $OUT"),
        ("rsync", "rsync -a report.pdf $OUT/rsync"),
        ("rsync --inplace", "rsync --inplace report.pdf $OUT/inplace"),
        ("curl", "curl -sS -o $OUT/curl file://$PWD/report.pdf"),
        (
            "python3",
            "python3 -c 'import os, shutil; shutil.copy2(\"report.pdf\", os.environ[\"OUT\"])'",
        ),
    ] {
        if tool(program.split(' ').next().unwrap()).is_none() {
            continue;
        }
        let ran = try_in(&alice, &mount, script);
        assert!(!ran.status.success(), "{program} must fail: {ran:?}");
        assert!(
            ran.stderr.to_lowercase().contains("permission denied") || program == "curl",
            "{program} says why: {ran:?}"
        );
        assert_eq!(read(alice.dir().join("report.pdf")), b"report", "{program}");
    }
}

#[test]
fn a_failure_that_the_shell_does_not_report_is_shown_by_the_mount() {
    let server = refusing(403, "DENIED");
    let (alice, mount) = refused_alice(&server);

    // The shell closes the file last, and ignores the result.
    try_in(&alice, &mount, "{ echo one; echo two; } > $OUT/list");

    mount.wait_for_state(mount.outbox(BOB).join("list"), "failed");
    assert!(mount.errors().contains("outbox/bob@example.com/list"), "{}", mount.errors());
}

#[test]
fn a_refused_rename_reaches_the_program_and_nothing_is_sent() {
    let server = refusing(403, "DENIED");
    let (alice, mount) = refused_alice(&server);

    let ran = try_in(&alice, &mount, "cp report.pdf $OUT/f.part && mv $OUT/f.part $OUT/f");

    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("Permission denied"), "{ran:?}");
    assert_eq!(names_in(mount.outbox(BOB)), ["f.part"], "the old name stays");
    assert_eq!(read(mount.outbox(BOB).join("f.part")), b"report");
}

#[test]
fn a_read_only_registry_fails_the_copy_in_time() {
    let Some(registry) = Registry::docker_read_only() else { return };
    let (alice, _bob) = alice_and_bob(&registry.reference("mail"));
    alice.set("deadline = \"3s\"");
    let mount = alice.mount();
    mount.outbox(BOB);
    write(alice.dir().join("report.pdf"), b"report");

    let ran = try_in(&alice, &mount, "cp report.pdf $OUT/");

    assert_eq!(ran.code(), 1, "{ran:?}");
    mount.wait_for_state(mount.outbox(BOB).join("report.pdf"), "failed");
    assert!(mount.errors().contains("report.pdf"), "{}", mount.errors());
}

// --- fsync

#[test]
fn fsync_on_a_draft_succeeds_and_sends_nothing() {
    if tool("python3").is_none() {
        return;
    }
    let delivery = Delivery::new();
    let script = "
import os, subprocess
fd = os.open(os.environ['OUT'] + '/f', os.O_WRONLY | os.O_CREAT, 0o600)
os.write(fd, b'first ')
os.fsync(fd)
state = os.getxattr(os.environ['OUT'] + '/f', 'user.dockercomms.state')
print(state.decode())
os.write(fd, b'second')
os.fsync(fd)
os.close(fd)
";

    let said = delivery.sh(&format!("python3 - <<'PYTHON'{script}PYTHON"));

    assert_eq!(said, "draft\n");
    delivery.expect(&[("f", b"first second")]);
}

#[test]
fn sync_of_a_closed_file_returns_when_it_is_sent() {
    let delivery = Delivery::with_settings(&["settle = \"2s\""]);
    delivery.source("f", b"confirmed");

    let said = delivery.sh("cp f $OUT/f; sync $OUT/f; \
         getfattr --absolute-names --only-values -n user.dockercomms.state $OUT/f");

    assert_eq!(said, "sent");
    delivery.expect(&[("f", b"confirmed")]);
}
