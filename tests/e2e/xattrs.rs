//! Programs that copy extended attributes into the outbox, and remove those that they do not know:
//! every one succeeds, sends one message, and changes none of the attributes that we show.

use std::path::{Path, PathBuf};

use super::delivery::Delivery;
use crate::common::{ALICE, BOB, random_bytes, run, tool, write};

const LEN: usize = 100_000;

/// Runs a test with `close` waiting for the registry, and with `close` waiting for the disk.
fn in_both_deliveries(test: impl Fn(Delivery)) {
    for delivery in ["sync", "queued"] {
        test(Delivery::with_settings(&[&format!("delivery = \"{delivery}\"")]));
    }
}

/// Makes `source` with attributes of its own in alice's directory.
fn source_with_attributes(delivery: &Delivery) -> Vec<u8> {
    let bytes = random_bytes(11, LEN);
    delivery.source("source", &bytes);
    delivery.sh("setfattr -n user.note -v mine source; setfattr -n user.xdg.tags -v a,b source");
    bytes
}

/// Lets bob send a file to alice, and returns its path in her inbox.
fn arrived(delivery: &Delivery, name: &str, bytes: &[u8]) -> PathBuf {
    let source = write(delivery.bob.dir().join(name), bytes);
    let mut send = delivery.bob.command();
    send.arg("send").arg(source).args(["--to", ALICE]);
    run(send).ok();
    delivery.mount.message(BOB, name)
}

/// Asserts that our attributes on a file of the outbox are about itself.
#[track_caller]
fn assert_ours(delivery: &Delivery, path: &Path) {
    let attribute = |name| delivery.mount.attribute(path, name);
    assert_eq!(attribute("sender").as_deref(), Some(ALICE));
    assert_eq!(attribute("recipient").as_deref(), Some(BOB));
    assert!(attribute("digest").is_some() && attribute("message_id").is_some());
}

#[test]
fn rsync_with_attributes_succeeds_and_the_second_run_sends_nothing() {
    if tool("rsync").is_none() || tool("setfattr").is_none() {
        return;
    }
    in_both_deliveries(|delivery| {
        let bytes = source_with_attributes(&delivery);
        let path = delivery.outbox().join("source");

        delivery.sh("rsync -aX source $OUT/");
        delivery.mount.wait_for_state(&path, "sent");
        let digest = delivery.mount.attribute(&path, "digest");
        let second = delivery.sh("rsync -aX --itemize-changes source $OUT/");

        assert!(!second.contains('<') && !second.contains('>'), "the second run sends: {second}");
        assert_eq!(delivery.mount.attribute(&path, "digest"), digest);
        assert_ours(&delivery, &path);
        let note = delivery.sh("getfattr --only-values -n user.note $OUT/source");
        assert_eq!(note, "mine");
        delivery.expect(&[("source", &bytes)]);
    });
}

#[test]
fn rsync_with_attributes_removes_those_that_its_source_has_no_longer() {
    if tool("rsync").is_none() || tool("setfattr").is_none() {
        return;
    }
    in_both_deliveries(|delivery| {
        let bytes = source_with_attributes(&delivery);
        let path = delivery.outbox().join("source");
        delivery.sh("rsync -aX source $OUT/");
        delivery.mount.wait_for_state(&path, "sent");

        delivery.sh("setfattr -x user.note source; rsync -aX source $OUT/");

        let names = delivery.sh("getfattr -m . $OUT/source");
        assert!(!names.contains("user.note") && names.contains("user.xdg.tags"), "{names}");
        assert_ours(&delivery, &path);
        delivery.expect(&[("source", &bytes)]);
    });
}

#[test]
fn rsync_with_attributes_forwards_a_message_of_the_inbox() {
    if tool("rsync").is_none() {
        return;
    }
    in_both_deliveries(|delivery| {
        let bytes = random_bytes(12, LEN);
        let message = arrived(&delivery, "forward.bin", &bytes);

        let script = format!("rsync -aX '{}' $OUT/", message.display());
        delivery.sh(&script);
        delivery.mount.wait_for_state(delivery.outbox().join("forward.bin"), "sent");
        delivery.sh(&script);

        assert_ours(&delivery, &delivery.outbox().join("forward.bin"));
        delivery.expect(&[("forward.bin", &bytes)]);
    });
}

#[test]
fn programs_that_copy_attributes_out_of_the_inbox_and_back_succeed() {
    let programs = [
        ("cp -a", "cp -a \"$IN\" kept; cp -a kept $OUT/f"),
        ("cp --preserve=all", "cp --preserve=all \"$IN\" $OUT/f"),
        (
            "tar",
            "tar --xattrs -C \"$(dirname \"$IN\")\" -cf all.tar \"$(basename \"$IN\")\"; \
                 tar --xattrs --xattrs-include='*' --transform=s/.*/f/ -C $OUT -xf all.tar",
        ),
        ("mv", "cp -a \"$IN\" f; mv f $OUT/f"),
    ];
    in_both_deliveries(|delivery| {
        let bytes = random_bytes(13, LEN);
        let message = arrived(&delivery, "message.bin", &bytes);
        let path = delivery.outbox().join("f");
        for (program, script) in programs {
            let ran = delivery.try_sh(&format!("IN='{}'; {script}", message.display()));

            assert!(ran.status.success() && ran.stderr.is_empty(), "{program}: {ran:?}");
            delivery.mount.wait_for_state(&path, "sent");
            assert_ours(&delivery, &path);
        }
        let names = ["f", "f (2)", "f (3)", "f (4)"];
        let mut delivery = delivery;
        delivery.expect_received(&names.map(|name| (name, bytes.as_slice())));
    });
}

#[test]
fn what_we_show_is_removed_by_no_program_and_what_is_not_there_by_none_either() {
    if tool("setfattr").is_none() {
        return;
    }
    in_both_deliveries(|delivery| {
        let bytes = source_with_attributes(&delivery);
        let path = delivery.outbox().join("f");
        delivery.sh("cp source $OUT/f");
        delivery.mount.wait_for_state(&path, "sent");
        let before = delivery.sh("getfattr -d -m . $OUT/f");

        for name in ["state", "sender", "recipient", "digest", "message_id", "progress"] {
            delivery.sh(&format!("setfattr -x user.dockercomms.{name} $OUT/f"));
        }

        assert_eq!(delivery.sh("getfattr -d -m . $OUT/f"), before);
        for name in ["user.note", "user.dockercomms.error", "user.dockercomms.retry"] {
            let ran = delivery.try_sh(&format!("setfattr -x {name} $OUT/f"));
            assert!(ran.stderr.contains("No such attribute"), "{name}: {ran:?}");
        }
        delivery.expect(&[("f", &bytes)]);
    });
}
