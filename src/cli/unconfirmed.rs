//! Looks for a few sent messages in the registry, for people who never mount; changes nothing.

use crate::protocol::Tag;
use crate::registry::{RegistryError, Repository};
use crate::store::{Standing, Store, StoreError};

/// Most messages looked for, the newest: one request each.
const LOOK_COUNT_MAX: usize = 16;

/// What was found out about sent messages that no receipt has confirmed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unconfirmed {
    /// How many there are.
    pub(super) count: usize,
    /// Those that are known to be lost.
    pub(super) lost_count: usize,
    /// Those that were looked for now.
    pub(super) looked_count: usize,
    /// Those of them that were not under their tag.
    pub(super) missing: Vec<Tag>,
}

/// Looks for the newest of them.
pub(super) async fn look(
    store: &Store,
    repository: &dyn Repository,
) -> Result<Result<Unconfirmed, RegistryError>, StoreError> {
    let messages = store.unconfirmed().await?;
    let is_lost = |standing| standing == Standing::Lost;
    let mut found = Unconfirmed {
        count: messages.len(),
        lost_count: messages.iter().filter(|message| is_lost(message.record.standing)).count(),
        ..Unconfirmed::default()
    };
    let wanted = messages.iter().rev().filter(|message| !is_lost(message.record.standing));
    for message in wanted.take(LOOK_COUNT_MAX) {
        // A damaged row is reported elsewhere.
        let Ok(Some(entry)) = store.outbox(message.id).await else { continue };
        let Some(tag) = entry.tag else { continue };
        match repository.resolve_tag(&tag).await {
            Ok(digest) => {
                found.looked_count += 1;
                if digest != Some(message.digest) {
                    found.missing.push(tag);
                }
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(found))
}
