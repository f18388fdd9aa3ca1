//! The outbox: files being sent, the message that each has become, recipients' directories.

use std::fmt;
use std::str::FromStr;

use rusqlite::{Row, named_params};

use super::row::{optional_text, require_digest, signed, text, time};
use super::{Store, StoreError, checksum};
use crate::protocol::{Digest, Identity, MessageId, ProtocolError, ReceiptStatus, Tag, Timestamp};

/// How far a file in the outbox has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutboxState {
    /// It is still being written, or was never committed.
    Draft,
    /// It is complete and waits for delivery in the background.
    Queued,
    /// Its manifest is built and signed: a retry pushes the same digest.
    Prepared,
    /// Its tag is in the registry.
    Sent,
    /// The last attempt failed.
    Failed,
    /// Its writer died or the user cancelled: it is never sent.
    Abandoned,
}

impl OutboxState {
    /// Returns the word kept in the database and shown in `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Queued => "queued",
            Self::Prepared => "prepared",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }

    /// Returns whether a file in this state may have a position in the queue.
    const fn is_queued(self) -> bool {
        matches!(self, Self::Queued | Self::Prepared)
    }
}

impl fmt::Display for OutboxState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OutboxState {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Draft, Self::Queued, Self::Prepared, Self::Sent, Self::Failed, Self::Abandoned]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(ProtocolError::BadField { field: "outbox state", reason: "unknown" })
    }
}

/// A file that has just been created in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOutbox {
    /// Its recipient.
    pub recipient: Identity,
    /// The directory below the recipient's in which it lies.
    pub directory: Option<String>,
    /// Its name in its directory, as it is spelled there: not always valid as a `FileName`.
    pub name: String,
    /// Its file in the spool directory.
    pub spool: String,
    /// Now; also the first modification time.
    pub created_at: Timestamp,
}

/// A file in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its id, never used for another entry.
    pub id: i64,
    /// Its recipient.
    pub recipient: Identity,
    /// The directory below the recipient's in which it lies.
    pub directory: Option<String>,
    /// Its name in its directory.
    pub name: String,
    /// How far it has come.
    pub state: OutboxState,
    /// Its file in the spool directory.
    pub spool: String,
    /// Its length in bytes.
    pub len: u64,
    /// Its modification time.
    pub mtime: Timestamp,
    /// Its permission bits; kept for `cp -p`, without effect.
    pub mode: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When the row last changed, from [`OutboxChange::updated_at`].
    pub updated_at: Timestamp,
    /// Its position among the queued files, smaller ones first; none outside the queue.
    pub queue_place: Option<i64>,
    /// The id that its message will have, fixed when the file was queued; the id of `message` once
    /// that is built.
    pub message_id: Option<MessageId>,
    /// The message, once it is built.
    pub message: Option<PreparedMessage>,
    /// The tag of `message`.
    pub tag: Option<Tag>,
    /// Why the last attempt failed.
    pub error: Option<StoredError>,
    /// Whether it failed when no program was waiting for it any longer.
    pub unattended: bool,
    /// Whether the user removed it from the listing.
    pub hidden: bool,
    /// The verified receipt of the recipient.
    pub receipt: Option<ReceiptStatus>,
}

/// The rows of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRows {
    /// Every entry, including hidden ones, in the order of creation.
    pub entries: Vec<OutboxEntry>,
    /// The ids of rows that are not as they were written: neither their recipient nor what they
    /// promise can be known.
    pub damaged: Vec<i64>,
}

/// A message as it is pushed, fixed before the first attempt so that a retry repeats it exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedMessage {
    /// The message's UUID.
    pub id: MessageId,
    /// The digest of `manifest`.
    pub digest: Digest,
    /// The canonical bytes of the message manifest.
    pub manifest: Vec<u8>,
    /// The bundle's JSON.
    pub bundle: Vec<u8>,
    /// The session that built it (`sid8`).
    pub session: String,
    /// The tag that commits it.
    pub tag: Tag,
}

/// An error as it is shown later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredError {
    /// `ErrorClass::code`.
    pub code: String,
    /// One sentence for the user.
    pub text: String,
}

/// What changes in an entry; `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxChange {
    /// The time of the change.
    pub updated_at: Option<Timestamp>,
    /// See [`OutboxEntry::directory`].
    pub directory: Option<Option<String>>,
    /// See [`OutboxEntry::name`].
    pub name: Option<String>,
    /// See [`OutboxEntry::state`].
    pub state: Option<OutboxState>,
    /// See [`OutboxEntry::len`].
    pub len: Option<u64>,
    /// See [`OutboxEntry::mtime`].
    pub mtime: Option<Timestamp>,
    /// See [`OutboxEntry::mode`].
    pub mode: Option<u32>,
    /// See [`OutboxEntry::message_id`]; ignored if there is a message.
    pub message_id: Option<MessageId>,
    /// See [`OutboxEntry::message`].
    pub message: Option<Option<PreparedMessage>>,
    /// See [`OutboxEntry::error`].
    pub error: Option<Option<StoredError>>,
    /// See [`OutboxEntry::unattended`].
    pub unattended: Option<bool>,
    /// See [`OutboxEntry::hidden`].
    pub hidden: Option<bool>,
    /// See [`OutboxEntry::receipt`].
    pub receipt: Option<Option<ReceiptStatus>>,
    /// Takes it out of the queue, whatever its state.
    pub leaves_queue: bool,
    /// Entries that this one replaces, in the same transaction, with the states that they must
    /// still have: a sent one is hidden, any other one removed. An entry without a state is only
    /// hidden, and its delivery continues.
    pub replaces: Vec<(i64, Option<OutboxState>)>,
}

impl OutboxChange {
    /// Makes the change in `entry`, as the row makes it.
    pub(crate) fn apply(self, entry: &mut OutboxEntry) {
        set(&mut entry.updated_at, self.updated_at);
        set(&mut entry.directory, self.directory);
        set(&mut entry.name, self.name);
        set(&mut entry.state, self.state);
        set(&mut entry.len, self.len);
        set(&mut entry.mtime, self.mtime);
        set(&mut entry.mode, self.mode);
        entry.message_id = self.message_id.or(entry.message_id);
        set(&mut entry.message, self.message);
        if let Some(message) = &entry.message {
            entry.message_id = Some(message.id);
        }
        set(&mut entry.error, self.error);
        set(&mut entry.unattended, self.unattended);
        set(&mut entry.hidden, self.hidden);
        set(&mut entry.receipt, self.receipt);
        if self.leaves_queue || !entry.state.is_queued() {
            entry.queue_place = None;
        }
    }
}

fn set<T>(field: &mut T, change: Option<T>) {
    if let Some(value) = change {
        *field = value;
    }
}

/// Mode of a new file in the outbox.
const MODE_DEFAULT: u32 = 0o600;

impl Store {
    /// Adds an empty draft and returns its id.
    pub async fn insert_outbox(&self, new: NewOutbox) -> Result<i64, StoreError> {
        self.write(move |transaction| {
            transaction.execute(
                "INSERT INTO outbox (recipient, directory, name, state, spool, len, mtime, mode, \
                 created_at, updated_at, hidden) VALUES (:recipient, :directory, :name, 'draft', \
                 :spool, 0, :now, :mode, :now, :now, 0)",
                named_params! {
                    ":recipient": new.recipient.as_str(),
                    ":directory": new.directory,
                    ":name": new.name,
                    ":spool": new.spool,
                    ":now": new.created_at.unix_secs(),
                    ":mode": MODE_DEFAULT,
                },
            )?;
            let id = transaction.last_insert_rowid();
            checksum::write(transaction, id)?;
            Ok(id)
        })
        .await
    }

    /// Changes an entry.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it has been removed.
    pub async fn update_outbox(&self, id: i64, change: OutboxChange) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let mut entry = select(transaction, "id = ?1", id)?
                .ok_or(StoreError::NotFound { what: "outbox entry" })?;
            replace(transaction, &change.replaces)?;
            change.apply(&mut entry);
            save(transaction, &entry)
        })
        .await
    }

    /// Makes an entry Queued, behind all that are already queued, and returns its position.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it has been removed.
    pub async fn enqueue_outbox(&self, id: i64, change: OutboxChange) -> Result<i64, StoreError> {
        self.write(move |transaction| {
            let mut entry = select(transaction, "id = ?1", id)?
                .ok_or(StoreError::NotFound { what: "outbox entry" })?;
            replace(transaction, &change.replaces)?;
            change.apply(&mut entry);
            entry.state = OutboxState::Queued;
            let last: Option<i64> = transaction
                .prepare_cached(
                    "SELECT MAX(queue_place) FROM outbox WHERE queue_place IS NOT NULL",
                )?
                .query_row([], |row| row.get(0))?;
            let place = last.unwrap_or(0).saturating_add(1);
            entry.queue_place = Some(place);
            save(transaction, &entry)?;
            Ok(place)
        })
        .await
    }

    /// Returns one entry.
    pub async fn outbox(&self, id: i64) -> Result<Option<OutboxEntry>, StoreError> {
        self.read(move |connection| select(connection, "id = ?1", id)).await
    }

    /// Returns the entry whose message has this manifest digest.
    pub async fn outbox_by_digest(
        &self,
        digest: &Digest,
    ) -> Result<Option<OutboxEntry>, StoreError> {
        let digest = digest.to_string();
        self.read(move |connection| select(connection, "digest = ?1", digest)).await
    }

    /// Returns every row: a damaged one does not affect the others.
    pub async fn outbox_rows(&self) -> Result<OutboxRows, StoreError> {
        self.read(|connection| {
            let mut found = OutboxRows { entries: Vec::new(), damaged: Vec::new() };
            let mut statement = connection.prepare_cached("SELECT * FROM outbox ORDER BY id")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                match entry(row) {
                    Ok(entry) => found.entries.push(entry),
                    Err(StoreError::Corrupt { .. }) => found.damaged.push(row.get("id")?),
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        })
        .await
    }

    /// Removes an entry; it is not an error if it is already gone.
    pub async fn remove_outbox(&self, id: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction.execute("DELETE FROM outbox WHERE id = ?1", [id])?;
            Ok(())
        })
        .await
    }

    /// Records a directory that the user made for a recipient.
    pub async fn add_recipient(&self, recipient: &Identity) -> Result<(), StoreError> {
        let identity = recipient.as_str().to_owned();
        self.write(move |transaction| {
            transaction.execute("INSERT OR IGNORE INTO recipients VALUES (?1)", [identity])?;
            Ok(())
        })
        .await
    }

    /// Forgets a recipient's directory; it is not an error if there is none.
    pub async fn remove_recipient(&self, recipient: &Identity) -> Result<(), StoreError> {
        let identity = recipient.as_str().to_owned();
        self.write(move |transaction| {
            transaction.execute("DELETE FROM recipients WHERE identity = ?1", [identity])?;
            Ok(())
        })
        .await
    }

    /// Returns the recipients whose directories the user made, sorted by name.
    pub async fn recipients(&self) -> Result<Vec<Identity>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT identity FROM recipients ORDER BY identity")?;
            let rows = statement.query_map([], |row| text(row, "identity"))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Ends entries that another one replaces, unless their state has changed.
fn replace(
    connection: &rusqlite::Connection,
    replaced: &[(i64, Option<OutboxState>)],
) -> Result<(), StoreError> {
    for (id, state) in replaced {
        let found = select(connection, "id = ?1", id)?;
        match found.filter(|entry| state.is_none_or(|state| entry.state == state)) {
            Some(entry) if state.is_none() || entry.state == OutboxState::Sent => {
                save(connection, &OutboxEntry { hidden: true, ..entry })?;
            }
            Some(_) => {
                connection.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([id])?;
            }
            None => {}
        }
    }
    Ok(())
}

fn select(
    connection: &rusqlite::Connection,
    condition: &'static str,
    value: impl rusqlite::ToSql,
) -> Result<Option<OutboxEntry>, StoreError> {
    let sql = format!("SELECT * FROM outbox WHERE {condition} ORDER BY id LIMIT 1");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query([value])?.next()?.map(entry).transpose()
}

fn save(connection: &rusqlite::Connection, entry: &OutboxEntry) -> Result<(), StoreError> {
    let message = entry.message.as_ref();
    let error = entry.error.as_ref();
    connection
        .prepare_cached(
            "UPDATE outbox SET directory = :directory, name = :name, state = :state, \
             len = :len, mtime = :mtime, mode = :mode, updated_at = :updated_at, hidden = :hidden, receipt = :receipt, \
             error_code = :error_code, error_text = :error_text, digest = :digest, \
             queue_place = :queue_place, unattended = :unattended, message_id = :message_id, \
             session = :session, tag = :tag, bundle_digest = :bundle_digest, \
             manifest = :manifest, bundle = :bundle WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": entry.id,
            ":directory": entry.directory,
            ":name": entry.name,
            ":state": entry.state.as_str(),
            ":len": signed(entry.len),
            ":mtime": entry.mtime.unix_secs(),
            ":mode": entry.mode,
            ":updated_at": entry.updated_at.unix_secs(),
            ":hidden": entry.hidden,
            ":receipt": entry.receipt.map(ReceiptStatus::as_str),
            ":error_code": error.map(|error| &error.code),
            ":error_text": error.map(|error| &error.text),
            ":digest": message.map(|message| message.digest.to_string()),
            ":queue_place": entry.queue_place,
            ":unattended": entry.unattended,
            ":message_id": entry.message_id.map(|id| id.to_string()),
            ":session": message.map(|message| &message.session),
            ":tag": message.map(|message| message.tag.as_str()),
            ":bundle_digest": message.map(|message| Digest::of(&message.bundle).to_string()),
            ":manifest": message.map(|message| &message.manifest),
            ":bundle": message.map(|message| &message.bundle),
        })?;
    Ok(checksum::write(connection, entry.id)?)
}

/// Reads a row, which must be as it was written: a damaged page must not become a message, nor
/// reach another recipient.
fn entry(row: &Row<'_>) -> Result<OutboxEntry, StoreError> {
    if !checksum::matches(row)? {
        return Err(StoreError::corrupt("a row of the outbox has changed"));
    }
    let entry = parsed(row)?;
    if let Some(message) = &entry.message {
        require_digest(&message.manifest, &message.digest)?;
        require_digest(&message.bundle, &text(row, "bundle_digest")?)?;
    }
    Ok(entry)
}

fn parsed(row: &Row<'_>) -> rusqlite::Result<OutboxEntry> {
    let message = match optional_text(row, "digest")? {
        None => None,
        Some(digest) => Some(PreparedMessage {
            id: text(row, "message_id")?,
            digest,
            manifest: row.get("manifest")?,
            bundle: row.get("bundle")?,
            session: row.get("session")?,
            tag: text(row, "tag")?,
        }),
    };
    let error = match row.get("error_code")? {
        None => None,
        Some(code) => Some(StoredError { code, text: row.get("error_text")? }),
    };
    Ok(OutboxEntry {
        id: row.get("id")?,
        recipient: text(row, "recipient")?,
        directory: row.get("directory")?,
        name: row.get("name")?,
        state: text(row, "state")?,
        spool: row.get("spool")?,
        len: row.get::<_, i64>("len")?.unsigned_abs(),
        mtime: time(row, "mtime")?,
        mode: row.get("mode")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        tag: message.as_ref().map(|message| message.tag.clone()),
        queue_place: row.get("queue_place")?,
        message_id: optional_text(row, "message_id")?,
        message,
        error,
        unattended: row.get("unattended")?,
        hidden: row.get("hidden")?,
        receipt: optional_text(row, "receipt")?,
    })
}
