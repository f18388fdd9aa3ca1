//! Receipts as files: in `receipts/`, and as a mark on the message they are for.

use std::sync::Arc;

use serde_json::json;

use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::snapshot::{InboxItem, ReceiptItem, insert, retain};
use crate::protocol::{Annotations, Digest, FileName, ReceiptStatus, annotation};
use crate::store::{ReceiptDirection, ReceiptEntry};

/// Lists the receipts that the database knows.
pub(in crate::mailbox) async fn load(core: &Core) -> Result<(), MailboxError> {
    for entry in core.store.receipts().await? {
        list(core, &entry);
    }
    Ok(())
}

/// Lists a receipt, under a name of its own.
pub(super) fn list(core: &Core, entry: &ReceiptEntry) {
    let item = Arc::new(ReceiptItem {
        message: entry.message,
        status: entry.status,
        signed: entry.signed,
        created_at: entry.created_at,
        json: entry.json.clone(),
    });
    // A claim never takes the name of a proof.
    let suffix = if entry.signed { "json" } else { "unsigned-claim.json" };
    let base = FileName::sanitize(&format!("{}.{}.{suffix}", entry.file_name, entry.status));
    core.listing.update(|snapshot| {
        let tree = match entry.direction {
            ReceiptDirection::Issued => &mut snapshot.receipts_issued,
            ReceiptDirection::Received => &mut snapshot.receipts_sent,
        };
        let dir = entry.peer.dir_name();
        if entry.signed {
            // The proof replaces what was a claim until its author was trusted.
            retain(tree, |in_dir, _, listed| {
                in_dir != dir || listed.signed || listed.message != entry.message
            });
        }
        let free = |name: &FileName| {
            let listed = tree.get(&dir).and_then(|names| names.get(name.as_str()));
            listed.is_none_or(|listed| {
                listed.message == entry.message && listed.signed == entry.signed
            })
        };
        let name = (1..=u32::MAX).map(|n| base.numbered(n)).find(free);
        if let Some(name) = name {
            insert(tree, dir, name.as_str().to_owned(), item);
        }
    });
}

/// Returns the name under which a message is listed, or else the one it claims, made safe.
pub(super) fn listed_name(core: &Core, digest: &Digest, annotations: &Annotations) -> String {
    let snapshot = core.listing.snapshot();
    if let Some(item) = snapshot.message(digest) {
        return item.name.clone();
    }
    let claimed = annotations.get(annotation::FILENAME).map_or("", String::as_str);
    FileName::sanitize(claimed).as_str().to_owned()
}

/// Shows on the message which receipt was issued.
pub(super) fn mark_inbox(core: &Core, digest: &Digest, status: ReceiptStatus) {
    core.listing.update(|snapshot| {
        let Some(item) = snapshot.message(digest).cloned() else { return };
        let item = InboxItem { receipt: Some(status), ..item.as_ref().clone() };
        let (dir, name) = (item.sender.dir_name(), item.name.clone());
        insert(&mut snapshot.inbox, dir, name, Arc::new(item));
    });
}

/// Writes the receipt's file: its statement, its author, and the proof.
pub(super) fn with_json(
    mut entry: ReceiptEntry,
    author: &str,
    signer: Option<&str>,
) -> ReceiptEntry {
    let value = json!({
        "file": entry.file_name,
        "status": entry.status.as_str(),
        "verified": entry.verified,
        "reason": entry.reason,
        "message": entry.message.to_string(),
        "author": author,
        "peer": entry.peer.as_str(),
        "created_at": entry.created_at.to_string(),
        "receipt": entry.manifest_digest.map(|digest| digest.to_string()),
        "proof": if entry.signed { "signed" } else { "unsigned claim" },
        "signed_by": signer,
    });
    entry.json = format!("{value:#}\n");
    entry
}
