//! Empty files: what a failing program leaves is not sent, what a person means to be empty is, once.

use super::delivery::Delivery;
use crate::common::{Fifo, HttpServer, Running, need_exits, shell, tool, wait_until};

/// Both deliveries: the close of an empty file promises nothing in either.
const DELIVERIES: [&str; 2] = ["delivery = \"sync\"", "delivery = \"queued\""];

/// Programs that fail before they write, each with the file that it leaves. They have an empty file
/// `empty`, `$WEB`, which answers 404, and `/bin/sh`, which does not run the last command itself.
const FAILURES: [(&str, &str); 21] = [
    ("cat", "cat nonexistent > $OUT/cat"),
    ("sort", "sort nonexistent > $OUT/sort || true"),
    ("grep", "grep something empty > $OUT/grep"),
    ("false", "sh -c 'false > $OUT/false'"),
    ("exit-3", "sh -c ': > $OUT/exit-3; exit 3'"),
    ("no-program", "no-such-program > $OUT/no-program"),
    ("shell-runs-on", "cat nonexistent > $OUT/shell-runs-on || :; true"),
    ("subshell", "(cd . && cat nonexistent) > $OUT/subshell"),
    ("group", "sh -c '{ cat nonexistent; } > $OUT/group'"),
    ("appended", "cat nonexistent >> $OUT/appended"),
    ("dash", "dash -c 'cat nonexistent > $OUT/dash; :'"),
    ("bash", "bash -c 'cat nonexistent > $OUT/bash; :'"),
    ("killed", "sh -c 'exec > $OUT/killed; kill -9 $$'"),
    ("closed-and-killed", "sh -c ': > $OUT/closed-and-killed; kill -9 $$'"),
    ("timeout", "timeout 0.1 sleep 60 > $OUT/timeout"),
    ("reflink", "cp --reflink=always source $OUT/reflink"),
    ("reflink-empty", "cp --reflink=always empty $OUT/reflink-empty"),
    ("wget", "wget -q -O $OUT/wget $WEB/missing"),
    ("python", "python3 -c 'import os; open(os.environ[\"OUT\"] + \"/python\", \"w\"); 1 / 0'"),
    (
        "python-closed",
        "python3 -c 'import os; open(os.environ[\"OUT\"] + \"/python-closed\", \"w\").close(); 1 / 0'",
    ),
    (
        "python-exit",
        "python3 -c 'import os; f = open(os.environ[\"OUT\"] + \"/python-exit\", \"w\"); os._exit(3)'",
    ),
];

/// Programs that make an empty file on purpose, each with its name.
const EMPTY: [(&str, &str); 19] = [
    ("cp", "cp empty $OUT/cp"),
    ("cp-p", "cp -p empty $OUT/cp-p"),
    ("cp-auto", "cp --reflink=auto empty $OUT/cp-auto"),
    ("mv", "cp empty moved; mv moved $OUT/mv"),
    ("install", "install /dev/null $OUT/install"),
    ("touch", "touch $OUT/touch"),
    ("colon", ": > $OUT/colon"),
    ("cat", "cat /dev/null > $OUT/cat"),
    ("truncate", "truncate -s 0 $OUT/truncate"),
    ("sort-o", "sort -o $OUT/sort-o empty"),
    ("dd", "dd if=/dev/null of=$OUT/dd 2>&1"),
    ("tee", "tee $OUT/tee < /dev/null"),
    ("tar", "tar cf empty.tar empty; tar xf empty.tar -C $OUT --transform s/empty/tar/"),
    ("rsync", "cp empty rsync; rsync rsync $OUT/"),
    ("bash", "bash -c ': > $OUT/bash'"),
    ("python", "python3 -c 'import os; open(os.environ[\"OUT\"] + \"/python\", \"w\")'"),
    // Fails, but not at this file, whose time it has set before.
    ("touch-two", "touch $OUT/touch-two $OUT/missing/file || true"),
    ("cp-p-two", "cp -p empty cp-p-two; cp -p cp-p-two nonexistent $OUT/ || true"),
    ("__init__.py", "for name in __init__.py; do cp empty $name; cp $name $OUT/; done"),
];

#[test]
fn programs_that_fail_before_they_write_send_nothing() {
    if !need_exits() || !have(&["python3", "wget", "bash", "dash"]) {
        return;
    }
    let web = HttpServer::start(|_method, _target| (404, String::new()));
    for setting in DELIVERIES {
        let mut delivery = Delivery::with_settings(&[setting]);
        delivery.source("empty", b"");
        delivery.source("source", b"content");

        for (name, script) in FAILURES {
            delivery.try_sh(&format!("set +e; WEB={}; {script}", web.url()));
            delivery.mount.wait_for_state(delivery.outbox().join(name), "abandoned");
        }

        let errors = delivery.mount.errors();
        for (name, _) in FAILURES {
            let file = delivery.outbox().join(name);
            let error = delivery.mount.attribute(file, "error").unwrap_or_default();
            assert!(error.contains("failed before writing anything"), "{name}: {error}");
            let line = errors.lines().find(|line| line.contains(&format!("/{name}: ")));
            assert!(line.is_some_and(|line| line.contains("abandoned")), "{name}: {errors}");
        }
        delivery.expect_received(&[]);
    }
}

#[test]
fn files_that_are_meant_to_be_empty_are_sent_once() {
    if !have(&["python3", "bash", "rsync"]) {
        return;
    }
    for setting in DELIVERIES {
        let delivery = Delivery::with_settings(&[setting]);
        delivery.source("empty", b"");

        for (_, script) in EMPTY {
            delivery.sh(script);
        }

        delivery.expect(&EMPTY.map(|(name, _)| (name, b"" as &[u8])));
    }
}

#[test]
fn a_program_that_can_do_without_a_clone_sends_the_content() {
    for setting in DELIVERIES {
        let delivery = Delivery::with_settings(&[setting]);
        delivery.source("source", b"content");

        delivery.sh("cp --reflink=auto source $OUT/copy");

        delivery.expect(&[("copy", b"content")]);
    }
}

#[test]
fn the_failure_names_the_exit_status_and_what_to_do() {
    if !need_exits() {
        return;
    }
    let mut delivery = Delivery::new();

    delivery.try_sh("sh -c 'exit 41' > $OUT/x");

    let file = delivery.outbox().join("x");
    delivery.mount.wait_for_state(&file, "abandoned");
    let error = delivery.mount.attribute(&file, "error").unwrap();
    assert!(error.contains("(exit status 41)"), "{error}");
    assert!(delivery.mount.errors().contains("truncate -s 0 FILE"), "{}", delivery.mount.errors());
    // As it says.
    delivery.sh("truncate -s 0 $OUT/x");
    delivery.mount.wait_for_state(&file, "sent");
    delivery.expect_received(&[("x", b"")]);
}

#[test]
fn a_command_that_is_repeated_sends_its_content_under_the_same_name() {
    if !need_exits() {
        return;
    }
    let delivery = Delivery::new();
    delivery.try_sh("cat list > $OUT/x");
    delivery.mount.wait_for_state(delivery.outbox().join("x"), "abandoned");

    delivery.source("list", b"a list");
    delivery.sh("cat list > $OUT/x");

    delivery.expect(&[("x", b"a list")]);
}

#[test]
fn an_unmount_right_after_the_failure_sends_nothing() {
    if !need_exits() {
        return;
    }
    for setting in DELIVERIES {
        let mut delivery = Delivery::with_settings(&[setting]);

        delivery.try_sh("cat nonexistent > $OUT/x");

        delivery.expect_received(&[]);
    }
}

#[test]
fn an_empty_file_of_a_program_that_runs_on_is_sent() {
    let delivery = Delivery::new();
    let pipe = Fifo::new(delivery.alice.dir().join("pipe"));
    let script = ": > \"$1/x\"; read -r line < \"$2\"";
    let mut running = Running::start(shell(script, &[delivery.outbox().as_path(), pipe.path()]));

    wait_until("the file is there", || delivery.outbox().join("x").exists());
    delivery.mount.wait_for_state(delivery.outbox().join("x"), "sent");

    assert!(running.is_running());
    drop(running);
    delivery.expect(&[("x", b"")]);
}

#[test]
fn the_writer_may_belong_to_another_session_and_be_waited_for_by_nobody() {
    if !need_exits() {
        return;
    }
    let mut delivery = Delivery::new();

    delivery.sh("setsid -f sh -c 'cat nonexistent > $OUT/x; exec cat nonexistent > $OUT/y'");

    for name in ["x", "y"] {
        let file = delivery.outbox().join(name);
        wait_until("the file is there", || file.exists());
        delivery.mount.wait_for_state(file, "abandoned");
    }
    delivery.expect_received(&[]);
}

fn have(programs: &[&str]) -> bool {
    programs.iter().all(|name| tool(name).is_some())
}
