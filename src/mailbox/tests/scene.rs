//! A message that was sent, to be spoiled by tests.

use std::sync::Arc;
use std::time::Duration;

use super::{digest_of, payload};
use crate::protocol::{Digest, Tag};
use crate::registry::Repository as _;
use crate::registry::memory::Operation;
use crate::store::PresenceRecord;
use crate::testing::{Person, World};

/// Longer than the pause between two rounds, and than the first interval.
pub(super) const A_WHILE: Duration = Duration::from_secs(150);

/// Longer than the longest interval.
pub(super) const LONG: Duration = Duration::from_hours(25);

/// A message that was sent, and everything to spoil it.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) alice: Person,
    pub(super) bob: Person,
    pub(super) digest: Digest,
    pub(super) tag: Tag,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let world = World::new();
        let (alice, bob) = world.alice_and_bob().await;
        let sent = alice.send(&bob, "report", &payload(250)).await.unwrap();
        // So that the repository is there, whatever happens to this message.
        bob.send(&alice, "other", b"other").await.unwrap();
        let (digest, tag) = (digest_of(&sent.digest), sent.tag.parse().unwrap());
        Self { world, alice, bob, digest, tag }
    }

    /// Lets some time pass, after which alice's mount polls.
    pub(super) async fn look_after(&self, time: Duration) {
        self.world.clock.advance(time);
        self.alice.mailbox.poll_once().await;
        self.alice.settle().await;
    }

    /// Looks twice, as a confirmed finding needs.
    pub(super) async fn look_twice(&self) {
        self.look_after(A_WHILE).await;
        self.look_after(A_WHILE).await;
    }

    /// Looks often enough for several attempts; the message does not expire.
    pub(super) async fn look_for_days(&self) {
        for _ in 0..22 {
            self.look_after(Duration::from_hours(2)).await;
        }
    }

    pub(super) fn take_tag(&self) {
        assert!(self.world.memory.remove_tag(&self.tag), "the tag is there to be taken");
    }

    pub(super) async fn is_tagged(&self) -> bool {
        self.world.memory.resolve_tag(&self.tag).await.unwrap() == Some(self.digest)
    }

    pub(super) fn codes(&self) -> Vec<String> {
        let errors = Arc::clone(&self.alice.mailbox.snapshot().errors);
        errors.iter().map(|line| line.code.clone()).collect()
    }

    pub(super) fn state(&self) -> &'static str {
        let snapshot = self.alice.mailbox.snapshot();
        let file = snapshot.outbox_files().find(|file| file.name() == "report").unwrap();
        snapshot.shown_state(file)
    }

    pub(super) async fn record(&self) -> PresenceRecord {
        let rows = self.alice.mailbox.core.store.unconfirmed().await.unwrap();
        rows.into_iter().find(|row| row.digest == self.digest).unwrap().record
    }

    pub(super) fn remove_message(&self) {
        self.world.memory.remove_tag(&self.tag);
        assert!(self.world.memory.remove_manifest(&self.digest));
    }

    pub(super) fn pushes(&self) -> u64 {
        self.world.faulty.counts().of(Operation::PushManifest)
    }
}
