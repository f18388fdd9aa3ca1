//! Rows of the database as entries of the listings.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt as _;

use super::shared::Shared;
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::snapshot::{InboxItem, QuarantineItem, insert, retain};
use crate::protocol::{Digest, FileName, Identity, Timestamp};
use crate::store::{InboxEntry, QuarantineEntry};
use crate::sys::Untrusted;
use crate::trust::{TrustStore, VerifiedMessage};

/// Makes the item of a row, which was written from a verified message.
pub(super) fn item_of(entry: InboxEntry) -> Result<InboxItem, MailboxError> {
    let verified =
        VerifiedMessage::from_trusted_store(entry.manifest.into(), entry.sender, entry.signer)?;
    Ok(InboxItem {
        digest: entry.digest,
        sender: verified.sender().clone(),
        signer: verified.signer().key_fingerprint.clone(),
        recipient: entry.recipient,
        name: entry.listed_name.as_str().to_owned(),
        message: verified.message().clone(),
        arrived_at: entry.arrived_at,
        receipt: entry.receipt,
    })
}

/// Lists every message that may be shown under `trust`, and no others.
pub(super) async fn reload(shared: &Shared, trust: &TrustStore) -> Result<(), MailboxError> {
    let core = &shared.core;
    let dismissed = core.store.dismissed_digests().await?;
    core.listing.update(|snapshot| {
        retain(&mut snapshot.inbox, |_, _, item| {
            trust.still_trusts(&item.sender, &item.signer) && !dismissed.contains(&item.digest)
        });
    });
    let mut pages = pin!(core.store.inbox_pages());
    while let Some(page) = pages.try_next().await? {
        add(shared, trust, page)?;
    }
    Ok(())
}

/// Lists messages, except those that are dismissed, expired, or whose signers are no longer
/// trusted.
pub(super) fn add(
    shared: &Shared,
    trust: &TrustStore,
    entries: Vec<InboxEntry>,
) -> Result<(), MailboxError> {
    let core = &shared.core;
    let mut items = Vec::new();
    for entry in entries {
        // A crash may have come between the last chunk and the receipt: the next read then issues
        // it.
        let is_answered = entry.receipt.is_some() || !core.options.automatic_receipts;
        if entry.complete && is_answered {
            shared.reading.set_complete(entry.digest);
        }
        let expired = entry.expires_at.is_some_and(|end| core.latest() >= end);
        if !entry.dismissed && !expired && trust.still_trusts(&entry.sender, &entry.signer) {
            items.push(item_of(entry)?);
        }
    }
    if items.is_empty() {
        return Ok(());
    }
    core.listing.update(|snapshot| {
        for item in items {
            let (dir, name) = (item.sender.dir_name(), item.name.clone());
            insert(&mut snapshot.inbox, dir, name, Arc::new(item));
        }
    });
    Ok(())
}

/// Removes a message from the list.
pub(super) fn remove(core: &Core, digest: &Digest) {
    core.listing.update(|snapshot| {
        retain(&mut snapshot.inbox, |_, _, item| item.digest != *digest);
    });
}

/// Removes expired messages from the list (P6).
pub(super) fn drop_expired(core: &Core) {
    let now = core.latest();
    let snapshot = core.listing.snapshot();
    let any = snapshot
        .inbox
        .values()
        .flat_map(|directory| directory.values())
        .any(|item| item.message.envelope.is_expired(now));
    if any {
        core.listing.update(|snapshot| {
            retain(&mut snapshot.inbox, |_, _, item| !item.message.envelope.is_expired(now));
        });
    }
}

/// Returns when the next listed message expires (P6).
pub(super) fn next_expiry(core: &Core) -> Option<Timestamp> {
    let snapshot = core.listing.snapshot();
    let items = snapshot.inbox.values().flat_map(|directory| directory.values());
    items.filter_map(|item| item.message.envelope.expires_at()).min()
}

/// Lists why a message is not in the inbox; a newer note about the same manifest replaces it.
pub(super) fn add_note(core: &Core, entry: &QuarantineEntry) {
    let sender = match entry.claimed_sender.parse::<Identity>() {
        Ok(identity) => identity.dir_name(),
        Err(_) => "unknown".to_owned(),
    };
    // Without a name it would be a hidden file.
    let name = if entry.file_name.is_empty() { "unnamed" } else { &entry.file_name };
    let base = FileName::sanitize(&format!("{}.WHY.txt", Untrusted(name)));
    let snapshot = core.listing.snapshot();
    let mut notes = snapshot.quarantine.values().flat_map(|notes| notes.values());
    let earlier = notes.find(|note| note.digest == Some(entry.digest));
    let first_seen = earlier.map_or(entry.first_seen, |note| note.first_seen);
    let item = Arc::new(QuarantineItem {
        digest: Some(entry.digest),
        tag: entry.tag.clone(),
        code: entry.code.clone(),
        pending: entry.pending,
        first_seen,
        text: note_text(entry, first_seen),
    });
    core.listing.update(|snapshot| {
        let same = |note: &QuarantineItem| note.digest == Some(entry.digest);
        if let Some(names) = snapshot.quarantine.get_mut(&sender)
            && let Some(name) =
                names.iter().find(|(_, note)| same(note)).map(|(name, _)| name.clone())
        {
            Arc::make_mut(names).insert(name, item);
            return;
        }
        retain(&mut snapshot.quarantine, |_, _, note| !same(note));
        let taken = snapshot.quarantine.get(&sender);
        let name = (1..=u32::MAX)
            .map(|n| base.numbered(n))
            .find(|name| taken.is_none_or(|names| !names.contains_key(name.as_str())));
        if let Some(name) = name {
            insert(&mut snapshot.quarantine, sender, name.as_str().to_owned(), item);
        }
    });
}

/// Removes the notes about manifests from the list.
pub(super) fn remove_notes(core: &Core, digests: &HashSet<Digest>) {
    let is_one = |note: &QuarantineItem| note.digest.is_some_and(|one| digests.contains(&one));
    let snapshot = core.listing.snapshot();
    let listed = snapshot.quarantine.values().any(|notes| notes.values().any(|note| is_one(note)));
    drop(snapshot);
    if listed {
        core.listing.update(|snapshot| {
            retain(&mut snapshot.quarantine, |_, _, note| !is_one(note));
        });
    }
}

fn note_text(entry: &QuarantineEntry, first_seen: Timestamp) -> String {
    let heading = if entry.pending { "Waiting" } else { "Not delivered" };
    format!(
        "{heading}: {}\nWhy: {}\nClaimed sender: {}\nClaimed file name: {}\nDigest: {}\nTag: {}\n\
         First seen: {}\nThe payload was not fetched. `dockercomms verify {} --explain` says more.\n",
        entry.code,
        Untrusted(&entry.why),
        Untrusted(&entry.claimed_sender),
        Untrusted(&entry.file_name),
        entry.digest,
        entry.tag,
        first_seen,
        entry.digest,
    )
}
