//! A sent file that a program overwrites before it cuts it: a new message if nothing of the sent one
//! is left, and else the sent file stays as it was.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::SystemTime;

use nix::libc;

use super::scene::{Scene, create, errno, rename};
use crate::common::{names_in, program, random_bytes, read, run, shell, temp_dir, wait_until};

/// What was sent first.
const OLD: &[u8] = b"0123456789";

/// One step of a program that holds the file open.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write(u64, &'static [u8]),
    Cut(u64),
    Sync,
}
use Step::{Cut, Sync, Write};

/// Which step fails with `EPERM`: all are tried, as by programs that look at the last one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// The step of this index, and the close.
    At(usize),
    Close,
}

fn in_both_deliveries(test: impl Fn(Scene)) {
    for delivery in ["sync", "queued"] {
        test(Scene::with_settings(&[&format!("delivery = \"{delivery}\"")]));
    }
}

/// Returns the errno of each step, and of the close at last.
fn perform(file: File, steps: &[Step]) -> Vec<i32> {
    let mut answers: Vec<i32> = steps
        .iter()
        .map(|step| match step {
            Write(offset, bytes) => errno(file.write_all_at(bytes, *offset)),
            Cut(len) => errno(file.set_len(*len)),
            Sync => errno(file.sync_all()),
        })
        .collect();
    answers.push(errno(nix::unistd::close(file).map_err(Into::into)));
    answers
}

/// What is seen of a file: state, digest, length, time, bytes.
fn seen(scene: &Scene, path: &Path) -> (Option<String>, Option<String>, u64, SystemTime, Vec<u8>) {
    let metadata = path.metadata().unwrap();
    let attribute = |name| scene.mount.attribute(path, name);
    let time = metadata.modified().unwrap();
    (attribute("state"), attribute("digest"), metadata.len(), time, read(path))
}

#[test]
fn what_is_written_anew_to_its_end_is_a_new_message() {
    let table: [(&str, &[Step], &[u8]); 9] = [
        ("scp, longer", &[Write(0, b"abcdefgh"), Write(8, b"ijkl"), Cut(12)], b"abcdefghijkl"),
        ("scp, as long", &[Write(0, b"abcdefghij"), Cut(10)], b"abcdefghij"),
        ("scp, shorter", &[Write(0, b"ab"), Write(2, b"cd"), Cut(4)], b"abcd"),
        ("longer, no cut", &[Write(0, b"abcdefgh"), Write(8, b"ijkl")], b"abcdefghijkl"),
        ("no cut", &[Write(0, b"abcdefghij")], b"abcdefghij"),
        ("out of order", &[Write(0, b"ab"), Write(6, b"ghij"), Write(2, b"cdef")], b"abcdefghij"),
        ("some bytes twice", &[Write(0, b"abcdef"), Write(3, b"DEFGHIJ")], b"abcDEFGHIJ"),
        ("cut early", &[Write(0, b"ab"), Cut(2), Write(2, b"cd")], b"abcd"),
        ("synced at the end", &[Write(0, b"ab"), Cut(2), Sync], b"ab"),
    ];
    in_both_deliveries(|mut scene| {
        let mut expected = Vec::new();
        for (number, (what, steps, content)) in table.iter().enumerate() {
            let name = format!("{number}");
            let path = scene.sent(&name, OLD);
            let inode = path.metadata().unwrap().ino();
            let digest = scene.mount.attribute(&path, "digest");

            let answers = perform(File::options().write(true).open(&path).unwrap(), steps);

            assert_eq!(answers, vec![0; steps.len() + 1], "{what}");
            scene.mount.wait_for_state(&path, "sent");
            assert_eq!(read(&path), *content, "{what}");
            assert_eq!(path.metadata().unwrap().ino(), inode, "{what}");
            assert_ne!(scene.mount.attribute(&path, "digest"), digest, "{what}");
            expected.push((name.clone(), OLD.to_vec()));
            expected.push((format!("{number} (2)"), content.to_vec()));
        }
        assert_eq!(names_in(scene.to_bob("")).len(), table.len());
        let mut received = scene.received();
        for pair in received.chunks_mut(2) {
            // Of one second, in any order.
            if pair[0].1 != OLD {
                let (one, other) = pair.split_at_mut(1);
                std::mem::swap(&mut one[0].1, &mut other[0].1);
            }
        }
        assert_eq!(received, expected);
    });
}

#[test]
fn what_leaves_a_part_of_the_sent_content_is_refused_and_the_sent_file_stays() {
    let table: [(&str, &[Step], Refused); 11] = [
        ("a patch of its beginning", &[Write(0, b"ab")], Refused::Close),
        ("a patch past its beginning", &[Write(2, b"ab")], Refused::At(0)),
        ("appended", &[Write(10, b"ab")], Refused::At(0)),
        ("all but the last byte", &[Write(0, b"abcdefghi")], Refused::Close),
        ("a gap", &[Write(0, b"ab"), Write(3, b"defghij")], Refused::Close),
        ("past a gap", &[Write(0, b"abcdefghij"), Write(11, b"l")], Refused::Close),
        ("extended by a hole", &[Write(0, b"abcdefghij"), Cut(12)], Refused::Close),
        ("cut longer than written", &[Write(0, b"ab"), Cut(4)], Refused::Close),
        ("extended", &[Cut(12)], Refused::At(0)),
        ("shortened", &[Cut(4)], Refused::At(0)),
        ("a database's page", &[Write(0, b"ab"), Sync], Refused::At(1)),
    ];
    in_both_deliveries(|mut scene| {
        let mut expected = Vec::new();
        for (number, (what, steps, refused)) in table.iter().enumerate() {
            let name = format!("{number:02}");
            let path = scene.sent(&name, OLD);
            let before = seen(&scene, &path);

            for options in [File::options().write(true), File::options().read(true).write(true)] {
                let answers = perform(options.open(&path).unwrap(), steps);

                let first = answers.iter().position(|answer| *answer != 0);
                let wanted = match refused {
                    Refused::At(index) => *index,
                    Refused::Close => steps.len(),
                };
                assert_eq!(first, Some(wanted), "{what}: {answers:?}");
                assert_eq!(answers.last(), Some(&libc::EPERM), "{what}");
                assert_eq!(seen(&scene, &path), before, "{what}");
            }
            expected.push((name, OLD.to_vec()));
        }
        assert!(scene.mount.errors().contains("not all of it was written anew"));
        assert_eq!(names_in(scene.to_bob("")).len(), table.len());
        scene.mount.unmount();
        scene.mount.start(&scene.alice, &[]);
        assert_eq!(names_in(scene.to_bob("")).len(), table.len(), "also at the next start");
        assert_eq!(scene.received(), expected);
    });
}

#[test]
fn a_large_file_is_written_anew_in_its_chunks() {
    let (old, new) = (random_bytes(1, 700_000), random_bytes(2, 500_001));
    let mut scene = Scene::with_settings(&["chunk_bytes = \"64KiB\""]);
    let path = scene.sent("big", &old);
    let file = File::options().write(true).open(&path).unwrap();

    for (index, part) in new.chunks(32_768).enumerate() {
        file.write_all_at(part, index as u64 * 32_768).unwrap();
    }
    file.set_len(new.len() as u64).unwrap();
    super::scene::close(file);

    scene.mount.wait_for_state(&path, "sent");
    assert!(read(&path) == new);
    let received = scene.received();
    assert_eq!(received.len(), 2);
    assert!(received.iter().any(|(_, bytes)| *bytes == new));
    assert!(received.iter().any(|(_, bytes)| *bytes == old));
}

#[test]
fn a_sent_file_open_to_read_and_write_is_read_and_cannot_be_mapped_for_stores() {
    let Some(mut python) = program("python3") else { return };
    let mut scene = Scene::new();
    let path = scene.sent("f", OLD);
    let script = "
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
print(os.pread(file, 20, 0), mmap.mmap(file, 0, access=mmap.ACCESS_COPY)[2:5])
try:
    mmap.mmap(file, 0, access=mmap.ACCESS_WRITE)
    print('mapped')
except OSError as error:
    print('refused')
os.close(file)";
    python.args(["-c", script]).arg(&path);

    let said = run(python).ok();

    assert_eq!(said, "b'0123456789' b'234'\nrefused\n");
    assert_eq!(scene.received(), [("f".to_owned(), OLD.to_vec())]);
}

#[test]
fn a_program_that_reads_and_then_writes_all_anew_begins_a_new_message() {
    if program("python3").is_none() {
        return;
    }
    let script = "
import json, sys
with open(sys.argv[1], 'r+') as file:
    value = json.load(file)
    value['number'] = 5
    file.seek(0)
    json.dump(value, file)
    file.truncate()";
    in_both_deliveries(|mut scene| {
        let path = scene.sent("f", b"{\"number\": 123456789, \"name\": null}");
        let digest = scene.mount.attribute(&path, "digest");
        let mut python = program("python3").unwrap();
        python.args(["-c", script]).arg(&path);

        run(python).ok();

        scene.mount.wait_for_state(&path, "sent");
        assert_ne!(scene.mount.attribute(&path, "digest"), digest);
        assert_eq!(read(&path), b"{\"number\": 5, \"name\": null}");
        assert_eq!(scene.received().len(), 2);
    });
}

#[test]
fn a_program_that_reads_and_then_cuts_to_nothing_begins_a_new_message() {
    let mut scene = Scene::new();
    let path = scene.sent("f", OLD);
    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();

    file.set_len(0).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    super::scene::close(file);

    scene.mount.wait_for_state(&path, "sent");
    assert_eq!((text.as_bytes(), read(&path).as_slice()), (OLD, &b"new"[..]));
    assert_eq!(scene.received().len(), 2);
}

#[test]
fn a_writer_that_dies_before_the_end_leaves_the_sent_file_as_it_was() {
    if program("python3").is_none() {
        return;
    }
    let writes = "import os, signal, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(file, b'abcdefghijkl')
";
    let ends = [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os._exit(3)",
        "raise ValueError()",
    ];
    in_both_deliveries(|mut scene| {
        let path = scene.sent("f", OLD);
        let before = seen(&scene, &path);
        for end in ends {
            let mut python = program("python3").unwrap();
            python.args(["-c", &format!("{writes}{end}")]).arg(&path);

            let ran = run(python);

            assert_ne!(ran.code(), 0, "{end}");
            wait_until("the sent file is listed again", || seen(&scene, &path) == before);
        }
        assert_eq!(names_in(scene.to_bob("")), ["f"]);
        assert_eq!(scene.received(), [("f".to_owned(), OLD.to_vec())]);
    });
}

#[test]
fn a_mount_that_dies_before_the_end_never_sends_what_was_written() {
    in_both_deliveries(|mut scene| {
        let path = scene.sent("f", OLD);
        let mut file = File::options().write(true).open(&path).unwrap();
        file.write_all(b"abcdefghijkl").unwrap();

        scene.mount.kill();
        drop(file);
        scene.mount.start(&scene.alice, &[]);

        assert_eq!(scene.mount.attribute(&path, "state").as_deref(), Some("abandoned"));
        assert_eq!(scene.received(), [("f".to_owned(), OLD.to_vec())]);
    });
}

#[test]
fn several_processes_may_write_a_sent_file_anew_together() {
    let mut scene = Scene::new();
    let path = scene.sent("f", OLD);

    // The shell holds the file while each command writes its part and closes its copy.
    let script = "{ printf abcdef; cat /dev/null; printf ghijkl; } 1<> \"$1\"";
    run(shell(script, &[&path])).ok();

    scene.mount.wait_for_state(&path, "sent");
    assert_eq!(read(&path), b"abcdefghijkl");
    assert_eq!(scene.received().len(), 2);
}

#[test]
fn a_sent_file_in_place_of_which_another_is_being_written_is_removed_and_replaced_as_any() {
    let mut scene = Scene::new();
    let (one, two) = (scene.sent("one", OLD), scene.sent("two", OLD));
    let begin = |path: &Path| {
        let mut file = File::options().write(true).open(path).unwrap();
        file.write_all(b"abc").unwrap();
        file
    };
    let (first, second) = (begin(&one), begin(&two));
    create(&scene.to_bob("new.tmp"), b"new");

    let renamed = errno(rename(&one, scene.to_bob("other")));
    std::fs::remove_file(&one).unwrap();
    rename(scene.to_bob("new.tmp"), &two).unwrap();
    let closed = [first, second].map(|file| nix::unistd::close(file).is_ok());

    assert_eq!(renamed, libc::EPERM, "a part of a sent file gets no other name");
    assert_eq!(closed, [true, true], "the files have no name");
    scene.mount.wait_for_state(&two, "sent");
    assert_eq!(names_in(scene.to_bob("")), ["two"]);
    let mut contents: Vec<_> = scene.received().into_iter().map(|(_, bytes)| bytes).collect();
    contents.sort();
    assert_eq!(contents, [OLD, OLD, b"new"]);
}

/// Makes a database of several pages, of which an insert changes some.
const MAKE_DATABASE: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute('create table t (x)')
db.execute('create table other (x)')
db.execute('insert into other values (zeroblob(20000))')
db.commit()";

#[test]
fn programs_that_change_a_part_fail_and_the_sent_file_stays() {
    if program("python3").is_none() || program("perl").is_none() {
        return;
    }
    let programs = [
        ("dd", "printf ab | dd of=\"$1\" bs=1 conv=notrunc"),
        ("dd seek", "printf ab | dd of=\"$1\" bs=1 seek=3 conv=notrunc"),
        (">>", "printf ab >> \"$1\""),
        (
            "python",
            "python3 -c 'f = open(__import__(\"sys\").argv[1], \"r+b\", 0); f.write(b\"a\"); f.close()' \"$1\"",
        ),
        ("truncate", "truncate -s 3 \"$1\""),
        (
            "sqlite",
            "python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute(\"insert into t values (2)\")
db.commit()' \"$1\"",
        ),
        (
            "perl",
            "perl -e 'open(F, \"+<\", $ARGV[0]) or die; read(F, $x, 4); seek(F, 0, 0); print F \"a\"; close(F) or die' \"$1\"",
        ),
    ];
    let dir = temp_dir();
    let database = dir.path().join("database");
    let mut python = program("python3").expect("it was there");
    python.args(["-c", MAKE_DATABASE]).arg(&database);
    run(python).ok();
    let database = read(database);
    in_both_deliveries(|mut scene| {
        let path = scene.sent("f", &database);
        let before = seen(&scene, &path);
        for (name, script) in programs {
            let ran = run(shell(script, &[&path]));

            assert_ne!(ran.code(), 0, "{name}: {ran:?}");
            assert_eq!(seen(&scene, &path), before, "{name}");
        }
        // An unfinished journal is a temporary name.
        assert_eq!(scene.received(), [("f".to_owned(), database.clone())]);
    });
}
