//! Each program that people copy with, times each way to fail: the user is informed, and nothing
//! incomplete is ever sent.

use std::path::Path;

use super::disks::FullDisk;
use super::errors::refusing;
use crate::common::{
    BOB, Home, Ran, TestMount, alice_and_bob, names_in, random_bytes, read, repository, run, shell,
    temp_dir, tool, write,
};

/// A program, its script that sends `report.bin`, and whether it says the errno's own text.
type Program = (&'static str, &'static str, bool);

/// The programs of the issue, and their relatives.
const PROGRAMS: [Program; 13] = [
    ("cp", "cp report.bin $OUT/f", true),
    ("cp", "cp -p report.bin $OUT/f", true),
    ("mv", "mv report.bin $OUT/f", true),
    ("rsync", "rsync -a report.bin $OUT/f", true),
    ("rsync", "rsync -a --inplace report.bin $OUT/f", true),
    ("tar", "tar cf - report.bin | tar xf - -C $OUT", true),
    ("dd", "dd if=report.bin of=$OUT/f bs=64k", true),
    ("cat", "cat report.bin > $OUT/f", true),
    ("tee", "tee $OUT/f < report.bin > copy", true),
    ("install", "install -m 644 report.bin $OUT/f", true),
    ("sort", "sort -o $OUT/f report.bin", true),
    ("curl", "curl -sS -o $OUT/f file://$PWD/report.bin", false),
    (
        "python3",
        "python3 -c 'import os, shutil; shutil.copy2(\"report.bin\", os.environ[\"OUT\"])'",
        true,
    ),
];

fn run_in(home: &Home, mount: &TestMount, script: &str) -> Ran {
    let mut command = shell::<&Path>(script, &[]);
    command.env("OUT", mount.path().join("outbox").join(BOB));
    command.env("HOME", home.dir()).current_dir(home.dir());
    run(command)
}

/// Asserts that a program failed as a user expects, and kept its source.
#[track_caller]
fn expect_failure(ran: &Ran, script: &str, text: Option<&str>, home: &Home, bytes: &[u8]) {
    assert!(!ran.status.success(), "{script} must fail: {ran:?}");
    if let Some(text) = text {
        assert!(ran.stderr.contains(text), "{script} must say {text}: {ran:?}");
    }
    assert!(read(home.dir().join("report.bin")) == bytes, "{script} must keep its source");
}

#[test]
fn each_program_reports_a_full_disk_and_nothing_is_sent() {
    if !crate::common::need_root() {
        return;
    }
    let mut full = FullDisk::new();
    let bytes = random_bytes(1, 8 << 20);
    let source = full.alice.dir().join("report.bin");

    for (program, script, says_why) in PROGRAMS {
        if tool(program).is_none() {
            continue;
        }
        write(&source, &bytes);
        let ran = run_in(&full.alice, &full.mount, script);
        let text = says_why.then_some("No space left on device");
        expect_failure(&ran, script, text, &full.alice, &bytes);
        run_in(&full.alice, &full.mount, "rm -f $OUT/* $OUT/.[!.]*").ok();
    }

    // The space is free again, and the mount as good as new.
    write(&source, b"small");
    run_in(&full.alice, &full.mount, "cp report.bin $OUT/small").ok();
    full.mount.unmount();
    assert_eq!(full.bob.receive(), [("small".to_owned(), b"small".to_vec())]);
}

#[test]
fn each_program_that_dies_in_the_middle_sends_nothing() {
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    alice.set("chunk_bytes = \"64KiB\"");
    let mut mount = alice.mount();
    mount.outbox(BOB);
    let bytes = random_bytes(2, 1 << 20);
    let source = write(alice.dir().join("report.bin"), &bytes);

    for (program, script, _) in PROGRAMS {
        // These ignore this signal, and would close a shorter file like any other.
        if ["python3", "rsync"].contains(&program) || tool(program).is_none() {
            continue;
        }
        write(&source, &bytes);
        // The kernel kills any writer past 512 KiB: in the middle, wherever that is.
        let limited = format!("ulimit -c 0; ulimit -f 1024; {script}");
        let ran = run_in(&alice, &mount, &limited);
        expect_failure(&ran, script, None, &alice, &bytes);
        for name in names_in(mount.outbox(BOB)) {
            let path = mount.outbox(BOB).join(&name);
            mount.wait_for_state(&path, "abandoned");
            std::fs::remove_file(path).unwrap();
        }
    }

    mount.unmount();
    assert_eq!(bob.receive(), []);
}

#[test]
fn each_program_that_renames_reports_a_refused_rename_and_nothing_is_sent() {
    let server = refusing(403, "DENIED");
    let (alice, _bob) = alice_and_bob(&server.reference("mail"));
    alice.set("deadline = \"3s\"");
    let mount = alice.mount();
    mount.outbox(BOB);
    write(alice.dir().join("report.bin"), b"report");

    for (program, script) in [
        ("mv", "cp report.bin $OUT/f.part && mv $OUT/f.part $OUT/f"),
        ("rsync", "rsync -a report.bin $OUT/f"),
        (
            "python3",
            "cp report.bin $OUT/g.tmp && \
             python3 -c 'import os; os.replace(os.environ[\"OUT\"] + \"/g.tmp\", os.environ[\"OUT\"] + \"/f\")'",
        ),
    ] {
        if tool(program).is_none() {
            continue;
        }
        let ran = run_in(&alice, &mount, script);
        expect_failure(&ran, script, Some("Permission denied"), &alice, b"report");
        assert!(!mount.outbox(BOB).join("f").exists(), "{program}: the old name stays");
    }
}

#[test]
fn vim_reports_a_failed_close_and_keeps_the_text() {
    if tool("vim").is_none() {
        return;
    }
    let server = refusing(403, "DENIED");
    let (alice, _bob) = alice_and_bob(&server.reference("mail"));
    alice.set("deadline = \"3s\"");
    let mount = alice.mount();
    mount.outbox(BOB);

    let ran = run_in(
        &alice,
        &mount,
        "vim -es -N -u NONE -i NONE -c 'call setline(1, \"hello\")' -c 'wq' -c 'w! kept' -c 'q!' \
         $OUT/note.txt",
    );

    // The editor went on after `wq` failed, with the text in its hands.
    assert_eq!(read(alice.dir().join("kept")), b"hello\n", "{ran:?}");
    mount.wait_for_state(mount.outbox(BOB).join("note.txt"), "failed");
}

#[test]
fn sync_of_a_file_that_failed_reports_why() {
    let server = refusing(403, "DENIED");
    let (alice, _bob) = alice_and_bob(&server.reference("mail"));
    alice.set("deadline = \"3s\"");
    let mount = alice.mount();
    mount.outbox(BOB);
    write(alice.dir().join("report.bin"), b"report");
    let copied = run_in(&alice, &mount, "cp report.bin $OUT/f");

    let synced = run_in(&alice, &mount, "sync $OUT/f");

    assert!(!copied.status.success(), "{copied:?}");
    assert!(!synced.status.success(), "{synced:?}");
    assert!(synced.stderr.contains("Permission denied"), "{synced:?}");
}

#[test]
fn vim_over_a_sent_file_sends_a_new_message() {
    if tool("vim").is_none() {
        return;
    }
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    let mut mount = alice.mount();
    let path = mount.outbox(BOB).join("note.txt");
    write(&path, b"hello\n");
    mount.wait_for_state(&path, "sent");
    let digest = mount.attribute(&path, "digest");

    // It is read-only, so vim needs two confirmations; and once more with the backup file that it
    // makes outside of the temporary directory.
    for option in ["", "set backupskip="] {
        run_in(
            &alice,
            &mount,
            &format!(
                "vim -es -N -u NONE -i NONE -c '{option}' -c 'normal Gobob' -c 'wq!' $OUT/note.txt"
            ),
        )
        .ok();
        mount.wait_for_state(&path, "sent");
    }

    assert_eq!(read(&path), b"hello\nbob\nbob\n");
    assert_ne!(mount.attribute(&path, "digest"), digest);
    mount.unmount();
    let received = bob.receive();
    let mut contents: Vec<&[u8]> = received.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    contents.sort_unstable();
    assert_eq!(contents, [&b"hello\n"[..], b"hello\nbob\n", b"hello\nbob\nbob\n"]);
}
