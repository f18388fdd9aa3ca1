//! Arrivals as seen by programs that watch a directory: file managers, `inotifywait`.

use std::collections::BTreeSet;
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};

use super::scene::{Scene, send};
use crate::common::{ALICE, BOB, names_in, read, wait_until};

/// A watch on one directory.
struct Watch {
    inotify: Inotify,
    seen: BTreeSet<(String, bool)>,
}

impl Watch {
    fn on(dir: &Path) -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        inotify.add_watch(dir, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO).unwrap();
        Self { inotify, seen: BTreeSet::new() }
    }

    /// Waits until the kernel has reported a new name.
    #[track_caller]
    fn wait_for(&mut self, name: &str, is_dir: bool) {
        wait_until(&format!("inotify reports {name}"), || {
            let events: Vec<InotifyEvent> = self.inotify.read_events().unwrap_or_default();
            self.seen.extend(events.into_iter().filter_map(|event| {
                let name = event.name?.to_string_lossy().into_owned();
                Some((name, event.mask.contains(AddWatchFlags::IN_ISDIR)))
            }));
            self.seen.contains(&(name.to_owned(), is_dir))
        });
    }
}

#[test]
fn a_new_sender_and_each_new_message_reach_those_who_watch() {
    let scene = Scene::new();
    let receiving = scene.bob.mount();
    let mut inbox = Watch::on(&receiving.path().join("inbox"));

    send(&scene.alice, &[("one.pdf", b"1")]);
    inbox.wait_for(ALICE, true);
    let mut sender = Watch::on(&receiving.inbox(ALICE));
    send(&scene.alice, &[("two.pdf", b"22")]);
    sender.wait_for("two.pdf", false);
    send(&scene.alice, &[("three.pdf", b"333"), ("two.pdf", b"another")]);
    sender.wait_for("three.pdf", false);
    sender.wait_for("two (2).pdf", false);

    // Every reported name is found.
    let listed = names_in(receiving.inbox(ALICE));
    assert_eq!(listed, ["one.pdf", "three.pdf", "two (2).pdf", "two.pdf"]);
    assert_eq!(read(receiving.inbox(ALICE).join("three.pdf")), b"333");
    assert_eq!(receiving.inbox(ALICE).join("two.pdf").metadata().unwrap().len(), 2);
    assert_eq!(receiving.errors(), "");
}

#[test]
fn receipts_reach_those_who_watch() {
    let scene = Scene::new();
    let mut side = Watch::on(&scene.at("receipts/sent"));
    scene.sent("report.pdf", b"report");
    let receiving = scene.bob.mount();

    read(receiving.message(ALICE, "report.pdf"));

    side.wait_for(BOB, true);
    let receipt = scene.at("receipts/sent").join(BOB).join("report.pdf.accepted.json");
    wait_until("the receipt is readable", || receipt.exists());
    assert!(String::from_utf8(read(receipt)).unwrap().contains("accepted"));
}

#[test]
fn a_directory_that_is_used_while_mail_arrives_goes_on_working() {
    let scene = Scene::new();
    let receiving = scene.bob.mount();
    send(&scene.alice, &[("first", b"first")]);
    let first = receiving.message(ALICE, "first");
    let open = std::fs::File::open(&first).unwrap();
    let mut sender = Watch::on(&receiving.inbox(ALICE));

    let files: Vec<String> = (0..20).map(|number| format!("file-{number:02}")).collect();
    let letters: Vec<(&str, &[u8])> =
        files.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    send(&scene.alice, &letters);
    for name in &files {
        sender.wait_for(name, false);
        assert_eq!(read(receiving.inbox(ALICE).join(name)), name.as_bytes());
    }

    assert_eq!(names_in(receiving.inbox(ALICE)).len(), 21);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut &open, &mut text).unwrap();
    assert_eq!(text, "first", "a file that was open before is still the same");
}

#[test]
fn nobody_else_creates_in_the_inbox() {
    let scene = Scene::new();
    let receiving = scene.bob.mount();
    send(&scene.alice, &[("first", b"first")]);
    receiving.message(ALICE, "first");

    // Other processes cannot do what the helper does, not even through the helper's own verb.
    let made = scene.bob.foreign("mknod").arg(receiving.inbox(ALICE).join("x")).arg("p").status();
    let mut verb = scene.bob.command();
    verb.arg("__announce").arg(receiving.path());
    let input = format!("finbox/{ALICE}/x\0dinbox/eve@example.com\0");
    let ran = crate::common::Running::start_with_input(verb, input.as_bytes()).end();

    assert!(!made.unwrap().success());
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(names_in(receiving.inbox(ALICE)), ["first"]);
    assert_eq!(names_in(receiving.path().join("inbox")), [ALICE]);
}
