//! How programs write into the outbox (C20), and what may happen meanwhile (C05, C09, F17).

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

use super::forge::payload;
use super::registry::{Class, Fault};
use super::scene::{GOOD, Scene};
use crate::common::{ALICE, BOB, Running, program, run, shell, wait_until, write};

/// Writes a file in every way that the catalogue names, and prints what each must be at its last close.
const PATTERNS: &str = r#"
import base64, json, mmap, os, sys

outbox, expected = sys.argv[1], {}
block = bytes(range(256)) * 40

def path(name):
    return os.path.join(outbox, name)

def create(name, flags=0):
    return os.open(path(name), os.O_RDWR | os.O_CREAT | flags, 0o600)

fd = create("append", os.O_APPEND)
for part in (block[:5000], block[5000:9000], block[9000:]):
    os.write(fd, part)
os.close(fd)
expected["append"] = block

fd = create("truncate")
os.write(fd, block)
os.ftruncate(fd, 1000)
os.ftruncate(fd, 3000)
os.close(fd)
expected["truncate"] = block[:1000] + bytes(2000)

fd = create("sparse")
os.lseek(fd, 50000, os.SEEK_SET)
os.write(fd, b"end")
os.lseek(fd, 100, os.SEEK_SET)
os.write(fd, b"begin")
os.close(fd)
expected["sparse"] = bytes(100) + b"begin" + bytes(49895) + b"end"

fd = create("backwards")
for at in reversed(range(0, len(block), 512)):
    os.pwrite(fd, block[at:at + 512], at)
os.close(fd)
expected["backwards"] = block

fd = create("mapped")
os.write(fd, block)
with mmap.mmap(fd, len(block)) as memory:
    memory[10:14] = b"late"
    memory.flush()
os.close(fd)
expected["mapped"] = block[:10] + b"late" + block[14:]

first, second = create("two writers"), create("two writers")
os.pwrite(first, b"1" * 6000, 0)
os.pwrite(second, b"2" * 6000, 4000)
os.close(first)
os.pwrite(second, b"3" * 10, 0)
os.close(second)
expected["two writers"] = b"3" * 10 + b"1" * 3990 + b"2" * 6000

fd = create("duplicates")
copies = [os.dup(fd) for _ in range(3)]
os.write(fd, block)
os.close(fd)
for number, copy in enumerate(copies):
    os.write(copy, b"%d" % number)
    os.close(copy)
expected["duplicates"] = block + b"012"

fd = create("fork")
os.write(fd, b"parent")
child = os.fork()
if child == 0:
    os.write(fd, b"child")
    os.close(fd)
    os._exit(0)
os.waitpid(child, 0)
os.write(fd, b"parent")
os.close(fd)
expected["fork"] = b"parentchildparent"

fd = create("renamed.part")
os.write(fd, block)
os.fsync(fd)
os.close(fd)
os.rename(path("renamed.part"), path("renamed"))
expected["renamed"] = block

print(json.dumps({name: base64.b64encode(what).decode() for name, what in expected.items()}))
"#;

#[test]
fn c20_every_way_of_writing_sends_what_the_file_was_at_its_last_close() {
    let scene = Scene::patient();
    // Bob writes to himself.
    scene.bob.trust_card(&scene.bob.run(["key", "export"]).ok());
    scene.bob.set("chunk_bytes = \"64KiB\"");
    scene.post_good();
    let mut mount = scene.bob.mount();
    let Some(mut python) = program("python3") else { return };
    python.args(["-c", PATTERNS]).arg(mount.outbox(BOB));

    let expected = run(python).ok();
    let expected: BTreeMap<String, String> = serde_json::from_str(&expected).unwrap();
    let names: Vec<_> = expected.keys().cloned().collect();
    assert_eq!(mount.wait_until_all_sent(BOB), names, "{}", mount.errors());
    mount.unmount();
    let (mut files, ran) = scene.receive();

    assert_eq!(files.remove(GOOD).as_deref(), Some(&b"good"[..]), "{ran:?}");
    assert_eq!(files.keys().cloned().collect::<Vec<_>>(), names, "{ran:?}");
    for (name, bytes) in files {
        let sent = data_encoding::BASE64.encode(&bytes);
        assert!(sent == expected[&name], "{name} was not sent as it was closed");
    }
    assert_eq!(names.len(), 9);
}

#[test]
fn c05_an_unmount_in_the_middle_of_a_send_keeps_it_for_the_next_mount() {
    let scene = Scene::patient();
    scene.bob.set("delivery = \"queued\"");
    let mut mount = scene.bob.mount();
    let file = write(scene.bob.dir().join("plan.bin"), payload(100_000));
    scene.registry.fail(Class::UploadPut, Fault::Hang);
    run(shell("cp \"$1\" \"$2\"", &[file, mount.outbox(ALICE)])).ok();
    wait_until("the upload has begun", || scene.registry.count(Class::UploadPut) > 0);

    mount.unmount();
    assert!(scene.registry.tags("inbox-").is_empty());
    scene.registry.heal();
    mount.start(&scene.bob, &[]);

    assert_eq!(mount.wait_until_all_sent(ALICE), ["plan.bin"]);
    assert_eq!(scene.registry.tags("inbox-").len(), 1);
}

#[test]
fn c09_a_registry_that_is_started_again_in_the_middle_of_an_upload_gets_one_message() {
    let Some(mut registry) = crate::common::Registry::docker() else { return };
    let (alice, bob) = crate::common::alice_and_bob(&registry.reference("mail"));
    for home in [&alice, &bob] {
        home.set("limit_upload = \"1MiB\"");
    }
    let content = crate::common::random_bytes(9, 3 << 20);
    let file = write(alice.dir().join("plan.bin"), &content);
    let arguments = ["send", &file.display().to_string(), "--to", BOB, "--chunk-bytes", "512KiB"];
    let mut sending = alice.command();
    sending.args(arguments);
    let sending = Running::start(sending);
    wait_until("an upload has begun", || registry.log().contains("/blobs/uploads/"));

    registry.stop();
    registry.start();

    sending.end().ok();
    assert_eq!(bob.receive(), [("plan.bin".to_owned(), content)]);
}

#[test]
fn f17_a_mount_that_stood_still_goes_on() {
    let scene = Scene::patient();
    let mut mount = scene.bob.mount();
    let file = write(scene.bob.dir().join("plan.bin"), payload(100_000));
    scene.registry.fail(Class::UploadPut, Fault::Hold);
    let copying = Running::start(shell("cp \"$1\" \"$2\"", &[file, mount.outbox(ALICE)]));
    wait_until("the upload has begun", || scene.registry.count(Class::UploadPut) > 0);

    mount.server().signal(Signal::SIGSTOP);
    // Connections end while a machine sleeps, and mail keeps arriving.
    scene.registry.fail_times(Class::Any, 4, Fault::Close);
    scene.registry.release();
    scene.post_good();
    mount.server().signal(Signal::SIGCONT);

    copying.end().ok();
    assert_eq!(crate::common::read(mount.message(ALICE, GOOD)), b"good");
    assert_eq!(mount.wait_until_all_sent(ALICE), ["plan.bin"]);
    assert_eq!(scene.registry.tags("inbox-").len(), 2);
}
