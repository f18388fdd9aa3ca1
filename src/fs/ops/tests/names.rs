//! Names, modes, times and attributes: what is kept, what is refused.

use super::*;

#[tokio::test]
async fn renames_elsewhere_make_tools_copy() {
    let scene = Scene::new().await;
    scene.copy("a.tmp", b"x").await.unwrap();
    scene.copy("b.tmp", b"y").await.unwrap();
    let outbox = scene.fs.lookup(ROOT_INO, OsStr::new("outbox")).unwrap().ino;
    let inbox = scene.fs.lookup(ROOT_INO, OsStr::new("inbox")).unwrap().ino;
    let carol = scene.fs.mkdir(outbox, OsStr::new("carol")).await.unwrap().ino;
    let (a, b) = (OsStr::new("a.tmp"), OsStr::new("b.tmp"));
    let to = |dir, flags| scene.fs.rename((scene.to_bob, a), (dir, b), flags, me());

    assert_eq!(code(to(carol, 0).await), libc::EXDEV);
    assert_eq!(code(to(outbox, 0).await), libc::EPERM);
    assert_eq!(code(to(inbox, 0).await), libc::EROFS);
    assert_eq!(code(to(scene.to_bob, libc::RENAME_NOREPLACE).await), libc::EEXIST);
    assert_eq!(code(to(scene.to_bob, libc::RENAME_EXCHANGE).await), libc::EINVAL);
    assert_eq!(code(to(scene.to_bob, 0).await), 0);
    assert_eq!(scene.find("b.tmp").unwrap().len, 1);
    assert!(scene.find("a.tmp").is_none());
}

#[tokio::test]
async fn names_and_places_that_cannot_be_sent_are_refused() {
    let scene = Scene::new().await;
    let outbox = scene.fs.lookup(ROOT_INO, OsStr::new("outbox")).unwrap().ino;
    let inbox = scene.fs.lookup(ROOT_INO, OsStr::new("inbox")).unwrap().ino;
    let create = async |dir, name: &str| {
        code(scene.fs.create(dir, OsStr::new(name), 0o600, NEW, me()).await)
    };

    assert_eq!(create(outbox, "x").await, libc::EPERM);
    assert_eq!(create(ROOT_INO, "x").await, libc::EPERM);
    assert_eq!(create(inbox, "x").await, libc::EROFS);
    assert_eq!(create(scene.to_bob, "a\u{202e}b").await, libc::EINVAL);
    assert_eq!(create(scene.to_bob, &"n".repeat(256)).await, libc::ENAMETOOLONG);
    assert_eq!(code(scene.fs.mkdir(scene.to_bob, OsStr::new("dir")).await), libc::EPERM);
    assert_eq!(code(scene.fs.mkdir(outbox, OsStr::new("bob")).await), libc::EEXIST);
    assert_eq!(code(scene.fs.mkdir(outbox, OsStr::new("%zz")).await), libc::EINVAL);
    assert_eq!(errno::of(&scene.fs.refuse_special(scene.to_bob)), libc::EPERM);
}

#[tokio::test]
async fn another_spelling_of_a_name_is_another_file() {
    let scene = Scene::new().await;

    scene.copy("cafe\u{301}.tmp", b"x").await.unwrap();
    let other = scene.find("caf\u{e9}.tmp");
    scene.copy("caf\u{e9}.tmp", b"y").await.unwrap();

    assert!(other.is_none());
    let decomposed = scene.find("cafe\u{301}.tmp").unwrap();
    assert_ne!(scene.find("caf\u{e9}.tmp").unwrap().ino, decomposed.ino);
}

#[tokio::test]
async fn tools_may_set_modes_and_times_in_the_outbox_only() {
    let scene = Scene::new().await;
    let (attr, handle) = scene.create("x.tmp").await;
    let time = std::time::SystemTime::UNIX_EPOCH;
    let wanted = Changes { mode: Some(0o640), mtime: Some(time), others: true };

    let changed = scene.fs.setattr(attr.ino, wanted).unwrap();
    let set_id = Changes { mode: Some(0o4755), ..Changes::default() };
    let inbox = scene.fs.lookup(ROOT_INO, OsStr::new("inbox")).unwrap().ino;

    assert_eq!(attr.mode, 0o600);
    assert_eq!((changed.mode, changed.mtime), (0o640, time));
    assert_eq!(code(scene.fs.setattr(attr.ino, set_id)), libc::EPERM);
    assert_eq!(code(scene.fs.setattr(inbox, wanted)), libc::EROFS);
    assert!(scene.fs.setattr(scene.to_bob, wanted).is_ok());
    scene.fs.release(handle);
}

#[tokio::test]
async fn attributes_of_tools_are_kept_and_ours_are_not_theirs() {
    let scene = Scene::new().await;
    let (attr, handle) = scene.create("x.tmp").await;
    let set =
        |name: &str, flags| code(scene.fs.setxattr(attr.ino, OsStr::new(name), b"value", flags));

    assert_eq!(set("user.note", 0), 0);
    assert_eq!(set("user.note", libc::XATTR_CREATE), libc::EEXIST);
    assert_eq!(set("user.other", libc::XATTR_REPLACE), libc::ENODATA);
    assert_eq!(set("system.posix_acl_access", 0), libc::EOPNOTSUPP);
    assert_eq!(set("user.dockercomms.state", 0), 0);
    assert_eq!(scene.fs.getxattr(attr.ino, OsStr::new("user.note")).unwrap(), b"value");
    assert_eq!(scene.attribute("x.tmp", "state"), "local");
    assert_eq!(code(scene.fs.removexattr(attr.ino, OsStr::new("user.note"))), 0);
    let get = |name: &str| code(scene.fs.getxattr(attr.ino, OsStr::new(name)));
    assert_eq!(get("user.note"), libc::ENODATA);
    // `rsync -X` removes what its source has not: accepted, and still there.
    let remove = |name: &str| code(scene.fs.removexattr(attr.ino, OsStr::new(name)));
    assert_eq!((remove("user.dockercomms.state"), get("user.dockercomms.state")), (0, 0));
    for name in ["user.note", "user.dockercomms.digest", "user.dockercomms.retry"] {
        assert_eq!(remove(name), libc::ENODATA, "{name}");
    }
    // `ls -l` queries every file unless it learns that there is no such attribute here.
    assert_eq!(get("security.selinux"), libc::EOPNOTSUPP);
    assert_eq!(get("system.posix_acl_access"), libc::ENODATA);
    scene.fs.release(handle);
}

#[tokio::test]
async fn only_the_first_page_of_a_directory_looks_for_its_newest_entry() {
    let scene = Scene::new().await;
    let inbox = scene.fs.lookup(ROOT_INO, OsStr::new("inbox")).unwrap().ino;
    let handle = scene.fs.opendir(inbox).unwrap().handle;
    let dots = |offset| {
        let page = scene.fs.readdir(inbox, handle, offset).unwrap();
        page.dots.iter().map(|(name, attr)| (*name, attr.ino)).collect::<Vec<_>>()
    };

    assert_eq!(dots(0), [(".", inbox), ("..", ROOT_INO)]);
    assert_eq!(dots(1), dots(0), "the kernel skips what it has");
    assert_eq!(dots(2), []);
    assert_eq!(dots(100_000), []);
}
