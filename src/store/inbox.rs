//! The index of verified messages: names that never change, chunks that were verified.

use std::collections::HashSet;

use futures_util::{Stream, stream};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, named_params};

use super::row::{optional_text, require_digest, text, time};
use super::{SeenTag, SeenVerdict, Store, StoreError, quarantine, seen};
use crate::protocol::{
    Digest, FileName, Identity, MessageId, ProtocolError, ReceiptStatus, Tag, Timestamp,
};

/// Messages per page: few enough for memory even if each manifest is long, and enough that a page
/// costs little more than its rows.
const PAGE_COUNT: i64 = 256;

/// A message that has just been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInbox {
    /// The digest of `manifest`: the message's identity (P25).
    pub digest: Digest,
    /// The bytes of the message manifest.
    pub manifest: Vec<u8>,
    /// The message's UUID.
    pub message_id: MessageId,
    /// The verified sender, never the claimed one.
    pub sender: Identity,
    /// Which of my identities it is addressed to.
    pub recipient: Identity,
    /// The sanitised file name.
    pub file_name: FileName,
    /// The fingerprint or certificate identity that verified.
    pub signer: String,
    /// The tag it was found under.
    pub tag: Tag,
    /// When it was admitted.
    pub arrived_at: Timestamp,
    /// When the sender built it.
    pub created_at: Timestamp,
    /// When it stops being listed; `None` = never.
    pub expires_at: Option<Timestamp>,
    /// The number of its chunks.
    pub chunk_count: u32,
}

/// A message in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEntry {
    /// The order of arrival.
    pub id: i64,
    /// The digest of `manifest`: the message's identity (P25).
    pub digest: Digest,
    /// The bytes of the message manifest.
    pub manifest: Vec<u8>,
    /// The message's UUID.
    pub message_id: MessageId,
    /// The verified sender.
    pub sender: Identity,
    /// Which of my identities it is addressed to.
    pub recipient: Identity,
    /// The sanitised file name.
    pub file_name: FileName,
    /// The name in the sender's directory, which never changes: `report (2).pdf`.
    pub listed_name: FileName,
    /// The fingerprint or certificate identity that verified.
    pub signer: String,
    /// The tag it was found under.
    pub tag: Tag,
    /// When it was admitted.
    pub arrived_at: Timestamp,
    /// When the sender built it.
    pub created_at: Timestamp,
    /// When it stops being listed; `None` = never.
    pub expires_at: Option<Timestamp>,
    /// Whether the user removed it from the listing.
    pub dismissed: bool,
    /// The last receipt issued.
    pub receipt: Option<ReceiptStatus>,
    /// The number of its chunks.
    pub chunk_count: u32,
    /// Whether every chunk was verified at least once (P21).
    pub complete: bool,
}

/// What became of a verified message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is listed from now on.
    New(InboxEntry),
    /// The same manifest was admitted before, perhaps under another tag, perhaps dismissed since.
    AlreadyKnown(InboxEntry),
    /// This sender has used the same message id for another manifest, which stays (P25).
    DuplicateId {
        /// The manifest that was first.
        first: Digest,
    },
}

impl Store {
    /// Admits verified messages in this order and decides the names under which they are listed;
    /// all or nothing.
    ///
    /// A name is the first of `report.pdf`, `report (2).pdf` and so on that no other message of the
    /// sender has, including dismissed ones. With a message its tag is recorded as admitted, and
    /// its entry leaves the quarantine; nothing of a duplicate is kept.
    pub async fn admit(&self, arrivals: Vec<NewInbox>) -> Result<Vec<Admission>, StoreError> {
        if arrivals.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |transaction| {
            let admissions = arrivals.iter().map(|new| admit(transaction, new)).collect();
            seen::forget_oldest(transaction)?;
            admissions
        })
        .await
    }

    /// Returns every message, including dismissed and expired ones, in the order of arrival; page
    /// by page, since all of their manifests may not fit into memory.
    pub fn inbox_pages(&self) -> impl Stream<Item = Result<Vec<InboxEntry>, StoreError>> + Send {
        stream::try_unfold(i64::MIN, move |last| async move {
            let page = self.read(move |connection| page(connection, last)).await?;
            let last = page.last().map(|entry| entry.id);
            Ok(last.map(|last| (page, last)))
        })
    }

    /// Returns the digests of the messages that are dismissed.
    pub async fn dismissed_digests(&self) -> Result<HashSet<Digest>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT digest FROM inbox WHERE dismissed")?;
            let rows = statement.query_map([], |row| text(row, "digest"))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Returns the message with this manifest digest.
    pub async fn inbox_by_digest(&self, digest: &Digest) -> Result<Option<InboxEntry>, StoreError> {
        let digest = *digest;
        self.read(move |connection| select(connection, &digest)).await
    }

    /// Removes a message from the listing, or brings it back under the same name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it was never admitted.
    pub async fn set_dismissed(&self, digest: &Digest, dismissed: bool) -> Result<(), StoreError> {
        let digest = digest.to_string();
        self.write(move |transaction| {
            let changed = transaction.execute(
                "UPDATE inbox SET dismissed = ?2 WHERE digest = ?1",
                (digest, dismissed),
            )?;
            if changed == 0 { Err(not_found()) } else { Ok(()) }
        })
        .await
    }

    /// Records which receipt was issued for a message.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it was never admitted.
    pub async fn set_receipt_issued(
        &self,
        digest: &Digest,
        status: ReceiptStatus,
    ) -> Result<(), StoreError> {
        let digest = digest.to_string();
        self.write(move |transaction| {
            let changed = transaction.execute(
                "UPDATE inbox SET receipt = ?2 WHERE digest = ?1",
                (digest, status.as_str()),
            )?;
            if changed == 0 { Err(not_found()) } else { Ok(()) }
        })
        .await
    }

    /// Records that chunks were verified, and returns whether all of them now are (P21).
    ///
    /// Cheap when this was already known: nothing is written.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown message or an index that it does not have.
    pub async fn mark_chunks_verified(
        &self,
        digest: &Digest,
        indices: &[u32],
    ) -> Result<bool, StoreError> {
        let (digest, indices) = (*digest, indices.to_vec());
        self.write(move |transaction| {
            let mut chunks = verified(transaction, &digest)?;
            if chunks.mark(&indices)? {
                transaction.execute(
                    "UPDATE inbox SET verified = ?2 WHERE digest = ?1",
                    (digest.to_string(), &chunks.bits),
                )?;
            }
            Ok(chunks.is_complete())
        })
        .await
    }

    /// Returns the indices of the chunks that were verified, in order.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the message was never admitted.
    #[cfg(test)]
    pub async fn verified_chunks(&self, digest: &Digest) -> Result<Vec<u32>, StoreError> {
        let digest = *digest;
        self.read(move |connection| {
            let chunks = verified(connection, &digest)?;
            Ok((0..chunks.count).filter(|index| chunks.has(*index)).collect())
        })
        .await
    }
}

/// One bit for each chunk of a message, the lowest bit of a byte first.
struct ChunkBits {
    count: u32,
    bits: Vec<u8>,
}

impl ChunkBits {
    fn none_of(count: u32) -> Self {
        Self { count, bits: vec![0; count.div_ceil(8) as usize] }
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut chunks = Self::none_of(row.get("chunk_count")?);
        let bits: Vec<u8> = row.get("verified")?;
        if bits.len() != chunks.bits.len() {
            let column = row.as_ref().column_index("verified")?;
            let error = ProtocolError::BadChunkMap { reason: "not one bit for each chunk" };
            let kind = rusqlite::types::Type::Blob;
            return Err(rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error)));
        }
        chunks.bits = bits;
        Ok(chunks)
    }

    #[cfg(test)]
    fn has(&self, index: u32) -> bool {
        self.bits.get(index as usize / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// Sets bits and returns whether one of them was new.
    fn mark(&mut self, indices: &[u32]) -> Result<bool, StoreError> {
        let mut changed = false;
        for &index in indices {
            let byte = self.bits.get_mut(index as usize / 8).filter(|_| index < self.count);
            let byte = byte.ok_or(StoreError::NotFound { what: "chunk" })?;
            let bit = 1 << (index % 8);
            changed |= *byte & bit == 0;
            *byte |= bit;
        }
        Ok(changed)
    }

    fn is_complete(&self) -> bool {
        self.bits.iter().map(|byte| byte.count_ones()).sum::<u32>() == self.count
    }
}

fn verified(connection: &Connection, digest: &Digest) -> Result<ChunkBits, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT chunk_count, verified FROM inbox WHERE digest = ?1")?;
    let found = statement.query_row([digest.to_string()], ChunkBits::from_row).optional()?;
    found.ok_or_else(not_found)
}

fn not_found() -> StoreError {
    StoreError::NotFound { what: "message" }
}

fn with_message_id(
    connection: &Connection,
    sender: &Identity,
    id: &MessageId,
) -> Result<Option<Digest>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT digest FROM inbox WHERE sender = ?1 AND message_id = ?2")?;
    let found = statement
        .query_row((sender.as_str(), id.to_string()), |row| text(row, "digest"))
        .optional()?;
    Ok(found)
}

/// Finds the first number whose listed name is free.
///
/// The search starts behind the last number given to this name: whatever was taken below it still
/// is, or was for so long that the new file must not be mistaken for the old one.
fn free_number(
    connection: &Connection,
    sender: &Identity,
    file_name: &FileName,
) -> Result<u32, StoreError> {
    let last: Option<u32> = connection
        .prepare_cached("SELECT max(number) FROM inbox WHERE sender = ?1 AND file_name = ?2")?
        .query_row([sender.as_str(), file_name.as_str()], |row| row.get(0))?;
    let mut taken =
        connection.prepare_cached("SELECT 1 FROM inbox WHERE sender = ?1 AND listed_name = ?2")?;
    // Ends: every iteration but the last needs a row of its own that has the name.
    let mut number = last.unwrap_or(0).saturating_add(1);
    while taken.exists([sender.as_str(), file_name.numbered(number).as_str()])? {
        number = number.saturating_add(1);
    }
    Ok(number)
}

fn admit(transaction: &Transaction<'_>, new: &NewInbox) -> Result<Admission, StoreError> {
    let admission = if let Some(known) = select(transaction, &new.digest)? {
        Admission::AlreadyKnown(known)
    } else if let Some(first) = with_message_id(transaction, &new.sender, &new.message_id)? {
        return Ok(Admission::DuplicateId { first });
    } else {
        insert(transaction, new)?;
        Admission::New(require(transaction, &new.digest)?)
    };
    quarantine::remove(transaction, &new.digest)?;
    let seen = SeenTag { digest: new.digest, verdict: SeenVerdict::Admitted };
    seen::record(transaction, &new.tag, &seen)?;
    Ok(admission)
}

fn insert(transaction: &Transaction<'_>, new: &NewInbox) -> Result<(), StoreError> {
    let number = free_number(transaction, &new.sender, &new.file_name)?;
    transaction
        .prepare_cached(
            "INSERT INTO inbox (digest, message_id, sender, recipient, file_name, number, \
             listed_name, signer, tag, arrived_at, created_at, expires_at, dismissed, \
             chunk_count, verified, manifest) VALUES (:digest, :message_id, :sender, :recipient, \
             :file_name, :number, :listed_name, :signer, :tag, :arrived_at, :created_at, \
             :expires_at, 0, :chunk_count, :verified, :manifest)",
        )?
        .execute(named_params! {
            ":digest": new.digest.to_string(),
            ":message_id": new.message_id.to_string(),
            ":sender": new.sender.as_str(),
            ":recipient": new.recipient.as_str(),
            ":file_name": new.file_name.as_str(),
            ":number": number,
            ":listed_name": new.file_name.numbered(number).as_str(),
            ":signer": new.signer,
            ":tag": new.tag.as_str(),
            ":arrived_at": new.arrived_at.unix_secs(),
            ":created_at": new.created_at.unix_secs(),
            ":expires_at": new.expires_at.map(Timestamp::unix_secs),
            ":chunk_count": new.chunk_count,
            ":verified": ChunkBits::none_of(new.chunk_count).bits,
            ":manifest": new.manifest,
        })?;
    Ok(())
}

fn select(connection: &Connection, digest: &Digest) -> Result<Option<InboxEntry>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT * FROM inbox WHERE digest = ?1")?;
    let found = statement.query_row([digest.to_string()], entry).optional()?;
    found.map(checked).transpose()
}

fn page(connection: &Connection, last: i64) -> Result<Vec<InboxEntry>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM inbox WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let rows = statement.query_map([last, PAGE_COUNT], entry)?;
    rows.map(|row| checked(row?)).collect()
}

fn require(connection: &Connection, digest: &Digest) -> Result<InboxEntry, StoreError> {
    select(connection, digest)?.ok_or_else(not_found)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<InboxEntry> {
    let expires_at: Option<i64> = row.get("expires_at")?;
    Ok(InboxEntry {
        id: row.get("id")?,
        digest: text(row, "digest")?,
        manifest: row.get("manifest")?,
        message_id: text(row, "message_id")?,
        sender: text(row, "sender")?,
        recipient: text(row, "recipient")?,
        file_name: text(row, "file_name")?,
        listed_name: text(row, "listed_name")?,
        signer: row.get("signer")?,
        tag: text(row, "tag")?,
        arrived_at: time(row, "arrived_at")?,
        created_at: time(row, "created_at")?,
        expires_at: expires_at.map(Timestamp::from_unix_secs),
        dismissed: row.get("dismissed")?,
        receipt: optional_text(row, "receipt")?,
        chunk_count: row.get("chunk_count")?,
        complete: ChunkBits::from_row(row)?.is_complete(),
    })
}

/// The manifest determines the bytes of the payload: it must be the one that was verified.
fn checked(entry: InboxEntry) -> Result<InboxEntry, StoreError> {
    require_digest(&entry.manifest, &entry.digest)?;
    Ok(entry)
}
