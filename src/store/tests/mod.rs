//! The store on a real SQLite file in a temporary directory.

mod directories;
mod inbox;
mod lists;
mod opening;
mod outbox;
mod presence;
mod receipts;

use futures_util::TryStreamExt as _;
use tempfile::TempDir;

use super::{InboxEntry, NewInbox, NewOutbox, PreparedMessage, Store, StoreError};
use crate::protocol::{Digest, FileName, Identity, MessageId, Tag, Timestamp};

const NOW: i64 = 1_790_000_000;

fn at(offset: i64) -> Timestamp {
    Timestamp::from_unix_secs(NOW + offset)
}

fn alice() -> Identity {
    "alice@example.com".parse().unwrap()
}

fn bob() -> Identity {
    // A slash shows that the raw text is kept and not the escaped one.
    "team/bob%".parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn message_id(n: u128) -> MessageId {
    MessageId::from_uuid(uuid::Uuid::from_u128(n))
}

impl Store {
    /// Changes the name in a row, as a failing disk does.
    pub(crate) async fn damage_outbox(&self, id: i64) {
        let sql = "UPDATE outbox SET name = 'x' || name WHERE id = ?1";
        self.write(move |transaction| Ok(transaction.execute(sql, [id])?)).await.unwrap();
    }
}

async fn new_store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    (dir, store)
}

/// Closes the store and opens it again, as a restart does.
async fn reopen(dir: &TempDir, store: Store) -> Store {
    drop(store);
    Store::open(dir.path()).await.unwrap()
}

async fn inbox_entries(store: &Store) -> Result<Vec<InboxEntry>, StoreError> {
    store.inbox_pages().try_concat().await
}

fn draft(name: &str) -> NewOutbox {
    NewOutbox {
        recipient: bob(),
        directory: None,
        name: name.to_owned(),
        spool: format!("{name}.spool"),
        created_at: at(0),
    }
}

fn prepared(seed: &str) -> PreparedMessage {
    let manifest = format!("manifest of {seed}").into_bytes();
    PreparedMessage {
        id: message_id(7),
        digest: Digest::of(&manifest),
        manifest,
        bundle: format!("bundle of {seed}").into_bytes(),
        session: "7f3c9a1e".to_owned(),
        tag: tag("inbox-x-20260921-7f3c9a1e-00000000"),
    }
}

/// A verified message from alice; `n` makes it another one.
fn arrived(name: &str, n: u128) -> NewInbox {
    let manifest = format!("manifest {n} of {name}").into_bytes();
    NewInbox {
        digest: Digest::of(&manifest),
        manifest,
        message_id: message_id(n),
        sender: alice(),
        recipient: bob(),
        file_name: FileName::sanitize(name),
        signer: "key:abc".to_owned(),
        tag: tag(&format!("inbox-x-{n}")),
        arrived_at: at(10),
        created_at: at(0),
        expires_at: Some(at(604_800)),
        chunk_count: 3,
    }
}
