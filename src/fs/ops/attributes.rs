//! Extended attributes.

use std::ffi::OsStr;
use std::sync::Arc;

use super::{Fs, subject_of};
use crate::fs::error::FsError;
use crate::fs::node::Node;
use crate::fs::xattr;
use crate::mailbox::{InboxItem, OutboxFile};
use crate::protocol::{Digest, ReceiptStatus};

/// Access control lists, which no file has.
const ACL: &str = "system.posix_acl_";

/// A request made by writing an attribute, which takes a while.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A receipt.
    Acknowledgement {
        /// For which message.
        message: Digest,
        /// Its status.
        status: ReceiptStatus,
        /// Its reason.
        reason: Option<String>,
    },
    /// Another attempt to send a file.
    Retry(Arc<OutboxFile>),
    /// The end of a file that is not sent.
    Cancel(Arc<OutboxFile>),
}

impl Fs {
    /// Returns the value of an attribute.
    pub(crate) fn getxattr(&self, ino: u64, name: &OsStr) -> Result<Vec<u8>, FsError> {
        let name = name.to_str().ok_or(FsError::NoAttribute)?;
        // The kernel also queries it if a mode allows a group in, and would take "not supported" as
        // a refusal; only the owner of a file in `outbox/` sets such modes.
        if name.starts_with(ACL) && matches!(self.node(ino)?, Node::Outgoing(_)) {
            return Err(FsError::NoAttribute);
        }
        if !name.starts_with("user.") {
            // On "no such attribute" `ls -l` would query every file for its label and its ACL; it
            // takes this answer for all.
            return Err(FsError::NotSupported);
        }
        self.attributes(ino)?
            .into_iter()
            .find_map(|(shown, value)| (shown == name).then_some(value))
            .ok_or(FsError::NoAttribute)
    }

    /// Returns all names, each ended by a zero byte.
    pub(crate) fn listxattr(&self, ino: u64) -> Result<Vec<u8>, FsError> {
        Ok(xattr::encode_names(&self.attributes(ino)?))
    }

    /// Sets an attribute; returns what takes a while, to be done with [`Fs::carry_out`].
    pub(crate) fn setxattr(
        &self,
        ino: u64,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<Option<Wanted>, FsError> {
        let node = self.node(ino)?;
        let name = name.to_str().ok_or(FsError::NotUtf8)?;
        match (xattr::on_set(&node, name, value)?, &node) {
            (xattr::Write::Keep, Node::Outgoing(file)) => {
                let is_there = file.xattr(name).is_some();
                if is_there && flags & libc::XATTR_CREATE != 0 {
                    return Err(FsError::Exists);
                }
                if !is_there && flags & libc::XATTR_REPLACE != 0 {
                    return Err(FsError::NoAttribute);
                }
                if !is_there && file.xattr_names().len() >= xattr::ATTRIBUTE_COUNT_MAX {
                    return Err(FsError::AttributesFull);
                }
                self.noted(&subject_of(file), file.set_xattr(name, Some(value)))?;
                Ok(None)
            }
            (xattr::Write::Ignore, _) => Ok(None),
            (xattr::Write::Acknowledge(status, reason), Node::Message(item)) => {
                Ok(Some(Wanted::Acknowledgement { message: item.digest, status, reason }))
            }
            (xattr::Write::Retry, Node::Outgoing(file)) => {
                Ok(Some(Wanted::Retry(Arc::clone(file))))
            }
            (xattr::Write::Cancel(which), Node::Outgoing(file))
                if file.matches_reference(&which) =>
            {
                Ok(Some(Wanted::Cancel(Arc::clone(file))))
            }
            // Another file has taken the name since.
            (xattr::Write::Cancel(_), _) => Err(FsError::NoEntry),
            _ => Err(FsError::NotSupported),
        }
    }

    /// Issues a receipt, tries a file again, or gives it up.
    pub(crate) async fn carry_out(&self, wanted: Wanted) -> Result<(), FsError> {
        match wanted {
            Wanted::Acknowledgement { message, status, reason } => {
                let issued = self.mailbox.acknowledge(&message, status, reason.as_deref()).await;
                self.noted(&format!("receipt for {message}"), issued)
            }
            Wanted::Retry(file) => {
                let retried = self.mailbox.outbox().retry(&file).await;
                self.noted(&subject_of(&file), retried)?;
                self.note_outbox_change();
                Ok(())
            }
            Wanted::Cancel(file) => {
                let cancelled = self.mailbox.outbox().cancel(&file).await;
                self.note_outbox_change();
                self.noted(&subject_of(&file), cancelled)
            }
        }
    }

    /// Removes an attribute.
    pub(crate) fn removexattr(&self, ino: u64, name: &OsStr) -> Result<(), FsError> {
        let node = self.node(ino)?;
        let name = name.to_str().ok_or(FsError::NoAttribute)?;
        let removal = xattr::on_remove(&node, name)?;
        if !self.attributes(ino)?.iter().any(|(shown, _value)| shown == name) {
            return Err(FsError::NoAttribute);
        }
        match (removal, &node) {
            (xattr::Removal::Forget, Node::Outgoing(file)) => {
                self.noted(&subject_of(file), file.set_xattr(name, None))
            }
            _ => Ok(()),
        }
    }

    fn attributes(&self, ino: u64) -> Result<Vec<(String, Vec<u8>)>, FsError> {
        match self.node(ino)? {
            Node::Message(item) => Ok(xattr::of_message(&self.newest(&item))),
            Node::Outgoing(file) => {
                let me = self.mailbox.options().sender();
                let state = self.mailbox.snapshot().shown_state(&file);
                Ok(xattr::of_outgoing(&file, me, &self.mailbox.signer(), state))
            }
            Node::Dir(_) | Node::Live(_) | Node::Listed(..) => Ok(Vec::new()),
        }
    }

    /// Returns what the listing says now: a receipt may have been issued since the lookup.
    fn newest(&self, item: &Arc<InboxItem>) -> Arc<InboxItem> {
        self.mailbox
            .snapshot()
            .inbox
            .get(&item.sender.dir_name())
            .and_then(|files| files.get(&item.name))
            .filter(|listed| listed.digest == item.digest)
            .map_or_else(|| Arc::clone(item), Arc::clone)
    }
}
