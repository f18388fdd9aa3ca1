//! The mount dies while it puts a tag back: the message arrives once, and `errors` says what happened.

use dockercomms::protocol::{Digest, Tag};
use dockercomms::registry::{LayoutRepository, Repository as _};

use super::dying::{Point, Tally, die_at, passed, points};
use super::world::{World, three_chunks};
use crate::common::{BOB, TestMount, wait_until};

/// A message whose tag was taken away.
pub(super) struct Untagged {
    pub(super) world: World,
    tag: Tag,
    digest: Digest,
}

impl Untagged {
    pub(super) fn new() -> Self {
        let world = World::new();
        world.alice.set("check_sent = \"1s\"");
        let file = world.source("f", &three_chunks());
        let sent = world.alice.json(["send", &file, "--to", BOB]);
        let text = |field: &str| sent[0][field].as_str().unwrap();
        let (tag, digest) = (text("tag").parse().unwrap(), text("digest").parse().unwrap());
        let untagged = Self { world, tag, digest };
        untagged.take_tag();
        untagged
    }

    fn copy(&self) -> Self {
        Self { world: self.world.copy(), tag: self.tag.clone(), digest: self.digest }
    }

    fn ask<T>(&self, ask: impl AsyncFnOnce(&LayoutRepository) -> T) -> T {
        let layout = LayoutRepository::new(self.world.layout());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ask(&layout))
    }

    fn take_tag(&self) {
        self.ask(async |layout| layout.delete_tag(&self.tag).await.unwrap());
    }

    fn is_tagged(&self) -> bool {
        let found = self.ask(async |layout| layout.resolve_tag(&self.tag).await.unwrap());
        found == Some(self.digest)
    }

    /// Mounts until the tag is back and that was said, or the server is dead; returns whether it
    /// died, and how often `errors` says it.
    pub(super) fn mount_until_put_back(&self, point: Option<&Point>) -> (bool, usize) {
        die_at(&self.world.alice, point);
        let mut mount = TestMount::doomed(&self.world.alice);
        die_at(&self.world.alice, None);
        let mut told = 0;
        wait_until("the tag is back, or the server is dead", || {
            told = mount.errors().lines().filter(|line| line.contains(" tag-put-back ")).count();
            told > 0 && self.is_tagged() || !mount.server().is_running()
        });
        (mount.unmount_or_die(), told)
    }
}

#[test]
fn a_mount_that_dies_anywhere_while_it_puts_a_tag_back_does_it_in_the_end() {
    let template = Untagged::new();
    let undisturbed = template.copy();
    let passed = passed(&undisturbed.world.alice, || {
        assert_eq!(undisturbed.mount_until_put_back(None), (false, 1));
    });
    let mut tally = Tally::default();

    let ours = points(&passed).into_iter().filter(|point| point.name.starts_with("lifecycle."));
    for point in ours {
        let untagged = template.copy();
        let world = &untagged.world;
        if untagged.mount_until_put_back(Some(&point)).0 {
            tally.crash_elsewhere();
        }
        let (_died, told) = untagged.mount_until_put_back(None);

        if !(1..=2).contains(&told) {
            tally.lose(&point, &format!("the line of `errors`: it is there {told} times"));
        }
        world.receive();
        tally.compare(&point, &[("f".to_owned(), three_chunks())], &world.received());
        world.receive();
        world.age();
        tally.expect_clean(&point, &world.litter());
    }

    tally.finish("putting a tag back");
}
