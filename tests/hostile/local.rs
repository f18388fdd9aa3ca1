//! Local faults (F) and what local programs may try (N35), with messages from outside.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use rustix::fs::{XattrFlags, setxattr};

use super::forge::payload;
use super::registry::Class;
use super::scene::{GOOD, Scene};
use crate::common::{
    ALICE, BOB, Home, Running, TestMount, is_mounted, names_in, read, run, shell, temp_dir,
    wait_until, write,
};

/// Returns every file below the cache's directory.
fn cached_files(scene: &Scene) -> Vec<PathBuf> {
    let found = run(shell("find \"$1\" -type f -size +0", &[scene.bob.path().join("cache")]));
    found.text().lines().map(PathBuf::from).collect()
}

/// Receives a letter through a mount, so that it is in the cache, and unmounts.
fn scene_with_cache() -> Scene {
    let scene = Scene::new();
    scene.letter("kept").post(&scene.registry, &scene.alice, BOB);
    scene.post_good();
    let mut mount = scene.bob.mount();
    assert_eq!(read(mount.message(ALICE, "kept")), payload(2500));
    mount.message(ALICE, GOOD);
    wait_until("it is in the cache", || cached_files(&scene).len() >= 3);
    mount.unmount();
    scene
}

/// Does something to a file of the cache.
type Damage = fn(&PathBuf);

fn flip(path: &PathBuf) {
    let mut bytes = read(path);
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    write(path, bytes);
}

#[test]
fn f08_a_damaged_cache_never_returns_a_wrong_byte() {
    let damages: [(&str, Damage); 5] = [
        ("flipped", flip),
        ("flipped and sealed by another user", |path| {
            flip(path);
            setxattr(path, "user.dockercomms.seal", &[7; 32], XattrFlags::REPLACE).unwrap();
        }),
        ("cut", |path| drop(write(path, &read(path)[..100]))),
        ("zeroed", |path| drop(write(path, vec![0; read(path).len()]))),
        ("a link", |path| {
            std::fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        }),
    ];
    for (id, damage) in damages {
        let scene = scene_with_cache();
        cached_files(&scene).iter().for_each(damage);
        let mount = scene.bob.mount();

        let bytes = read(mount.message(ALICE, "kept"));

        assert!(bytes == payload(2500), "{id}");
        assert_eq!(read(mount.message(ALICE, GOOD)), b"good", "{id}");
    }
}

#[test]
fn f09_a_cache_removed_while_mounted_is_fetched_again() {
    let scene = scene_with_cache();
    let mount = scene.bob.mount();
    let path = mount.message(ALICE, "kept");
    let before = scene.registry.count(Class::BlobGet);

    run(shell("rm -rf \"$1\"", &[scene.bob.path().join("cache")])).ok();

    assert_eq!(read(path), payload(2500));
    assert!(scene.registry.count(Class::BlobGet) > before);
}

#[test]
fn f13_a_mount_without_descriptors_refuses_and_recovers() {
    let Some(mut prlimit) = crate::common::program("prlimit") else { return };
    let scene = Scene::new();
    scene.post_good();
    let mut mount = scene.bob.mount();
    let good = mount.message(ALICE, GOOD);
    assert_eq!(read(&good), b"good");
    let outbox = mount.outbox(ALICE);
    let file = write(scene.bob.dir().join("plan.txt"), "plan");
    let copy = || run(shell("cp \"$1\" \"$2\"", &[&file, &outbox]));
    let pid = mount.server().pid().to_string();
    // Below every free number: what is open stays open, nothing more can be opened.
    prlimit.args(["--nofile=3:", "--pid", &pid]);
    run(prlimit).ok();

    let refused = copy();

    assert_ne!(refused.code(), 0, "{refused:?}");
    assert_eq!(read(&good), b"good");
    assert_eq!(names_in(mount.inbox(ALICE)), [GOOD]);
    let mut prlimit = crate::common::program("prlimit").unwrap();
    prlimit.args(["--nofile=1024:", "--pid", &pid]);
    run(prlimit).ok();
    scene.letter("after").post(&scene.registry, &scene.alice, BOB);
    assert_eq!(read(mount.message(ALICE, "after")), payload(2500));
    copy().ok();
    assert_eq!(mount.wait_until_all_sent(ALICE), ["plan.txt"]);
    assert!(mount.server().is_running());
}

#[test]
fn f18_however_a_mount_is_taken_away_it_ends_and_can_be_mounted_again() {
    let scene = Scene::new();
    scene.post_good();
    let mut mount = scene.bob.mount();
    let good = mount.message(ALICE, GOOD);
    for script in ["fusermount3 -u -z \"$1\"", "umount -l \"$1\"", "fusermount3 -u \"$1\""] {
        if script.starts_with("umount") && !crate::common::need_root() {
            continue;
        }
        let is_lazy = !script.contains("-u \"");
        let visitor = is_lazy.then(|| Running::start(shell("exec 3< \"$1\"; read line", &[&good])));

        run(shell(script, &[mount.path()])).ok();

        drop(visitor);
        let server = mount.server();
        wait_until("the mount's process ends", || !server.is_running());
        assert!(!is_mounted(mount.path()), "{script}");
        mount.start(&scene.bob, &[]);
        assert_eq!(read(mount.message(ALICE, GOOD)), b"good", "{script}");
    }
    // A process that is in it keeps it mounted, unless it is detached lazily.
    let stay = "cd \"$1/inbox\" && echo there && exec sleep 100";
    let visitor = Running::start(shell(stay, &[mount.path()]));
    wait_until("the visitor is there", || visitor.output().contains("there"));
    let busy = run(shell("fusermount3 -u \"$1\"", &[mount.path()]));
    assert_ne!(busy.code(), 0, "{busy:?}");
    assert!(busy.stderr.contains("busy"), "{busy:?}");
    assert_eq!(read(&good), b"good");
    drop(visitor);
    mount.unmount();
}

#[test]
fn f20_a_place_that_is_no_empty_directory_of_ones_own_is_not_mounted_on() {
    let scene = Scene::new();
    scene.post_good();
    let dir = temp_dir();
    let (file, full, link) = (dir.path().join("f"), dir.path().join("d"), dir.path().join("l"));
    write(&file, "x");
    std::fs::create_dir(&full).unwrap();
    write(full.join("x"), "x");
    symlink(&full, &link).unwrap();

    for place in [&file, &full, &link, &dir.path().join("absent")] {
        let ran = scene.bob.run(["mount".as_ref(), place.as_os_str()]);
        assert_eq!(ran.code(), 9, "{}: {ran:?}", place.display());
        assert!(ran.stderr.contains("hint:"), "{ran:?}");
    }

    assert_eq!(scene.receive().0.keys().collect::<Vec<_>>(), [GOOD]);
}

#[test]
fn f21_a_key_or_state_that_others_may_read_is_closed_and_a_link_is_not_followed() {
    let scene = Scene::new();
    scene.post_good();
    let open =
        "find \"$1\" -type d -exec chmod 755 {} + && find \"$1\" -type f -exec chmod 644 {} +";
    run(shell(open, &[scene.bob.path()])).ok();

    let (files, ran) = scene.receive();

    assert_eq!(files.keys().collect::<Vec<_>>(), [GOOD], "{ran:?}");
    let find =
        "find \"$1\" \\( -name '*.pem' -o -name 'key*' -o -name '*.db' \\) -type f -perm /077";
    let open = run(shell(find, &[scene.bob.path()]));
    assert_eq!(open.text(), "", "others may read these");
}

#[test]
fn n35_the_outbox_has_no_links_devices_directories_or_privileges() {
    let scene = Scene::new();
    let mount = scene.bob.mount();
    let outbox = mount.outbox(ALICE);
    let secret = write(scene.bob.dir().join("secret"), "secret");
    let sent = outbox.join("sent.txt");
    std::fs::copy(&secret, &sent).unwrap();
    let errno = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();

    assert_eq!(errno(symlink(&secret, outbox.join("link"))), Some(libc::EPERM));
    assert_eq!(errno(std::fs::hard_link(&sent, outbox.join("hard"))), Some(libc::EPERM));
    assert_eq!(errno(std::fs::create_dir(outbox.join("dir"))), Some(libc::EPERM));
    for kind in ["p", "b 1 1"] {
        let script = format!("mknod \"$1/node\" {kind}");
        let ran = run(shell(&script, &[&outbox]));
        assert!(ran.stderr.contains("not permitted"), "{kind}: {ran:?}");
    }
    // A mode is kept for `cp -p`; on this mount it grants no rights.
    std::fs::set_permissions(&sent, std::fs::Permissions::from_mode(0o6755)).ok();
    let options = read("/proc/self/mountinfo");
    let options = String::from_utf8(options).unwrap();
    let line = options.lines().find(|line| line.contains(&*mount.path().to_string_lossy()));
    assert!(line.is_some_and(|line| line.contains("nosuid") && line.contains("nodev")));
    wait_until("the file is sent", || scene.registry.tags("inbox-").len() == 1);
    assert_eq!(names_in(&outbox), ["sent.txt"]);
}

#[test]
fn f22_a_bare_or_odd_environment_changes_no_byte_and_no_name() {
    let scene = Scene::new();
    scene.bob.trust_card(&scene.bob.run(["key", "export"]).ok());
    let file = write(scene.bob.dir().join("\u{fc}ber.txt"), "plan");
    let odd = [("LC_ALL", "C"), ("LANG", "xx_YY"), ("TZ", "Mars/Phobos"), ("TERM", "\u{1b}[2J")];
    let arguments = ["send".as_ref(), file.as_os_str(), "--to".as_ref(), BOB.as_ref()];
    let mut sending = scene.bob.command();
    sending.args(arguments).envs(odd);
    let mut bare = scene.bob.command();
    bare.args(["--json", "ls", "inbox"]).env_clear();

    run(sending).ok();
    let listed = run(bare).ok();

    let row: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
    assert_eq!(row["name"], "\u{fc}ber.txt", "{listed}");
    let (files, ran) = scene.receive();
    assert_eq!(files["\u{fc}ber.txt"], b"plan", "{ran:?}");
}

#[test]
fn f24_a_mount_at_its_most_talkative_tells_no_secret() {
    let scene = Scene::new();
    scene.log_in();
    scene.post_good();
    let mut mount = TestMount::with(&scene.bob, &["-vvv"]);
    let file = write(scene.bob.dir().join("plan.txt"), "plan");
    assert_eq!(read(mount.message(ALICE, GOOD)), b"good");
    run(shell("cp \"$1\" \"$2\"", &[&file, &mount.outbox(ALICE)])).ok();
    mount.wait_until_all_sent(ALICE);
    let key = String::from_utf8(read(scene.bob.path().join("config/key.pem"))).unwrap();
    let mut secrets: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    // The password, and as it is on the wire.
    secrets.extend(["hush-hush", "Ym9iOmh1c2gtaHVzaA=="]);

    let process = format!("/proc/{}", mount.server().pid());
    let of_process =
        |name: &str| String::from_utf8_lossy(&read(format!("{process}/{name}"))).into_owned();
    let log = mount.server().errors();
    let texts = [
        ("log", log.clone()),
        ("output", mount.server().output()),
        ("status", mount.status().to_string()),
        ("errors", mount.errors()),
        ("command line", of_process("cmdline")),
        ("environment", of_process("environ")),
    ];

    assert!(log.contains(" DEBUG "), "it talks: {log}");
    for (what, text) in texts {
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{what}: {text}");
    }
}

#[test]
fn f24_a_mount_cannot_be_dumped_or_looked_into_by_its_own_user() {
    if !crate::common::need_root() {
        return;
    }
    let home = Home::of_ordinary_user();
    home.initialise(BOB, "oci:repository");
    let mut mount = home.mount();

    // The kernel gives these files to root alone once a process forbids core dumps.
    let owner = std::fs::metadata(format!("/proc/{}/mem", mount.server().pid())).unwrap().uid();
    let mut looking = home.foreign("cat");
    looking.arg(format!("/proc/{}/environ", mount.server().pid()));

    assert_eq!(owner, 0);
    assert!(run(looking).stderr.contains("denied"));
    mount.unmount();
}
