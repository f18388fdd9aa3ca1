//! Extended attributes: `user.dockercomms.*` that we show, `user.*` that tools keep in `outbox/`.
//!
//! Pure: what a name means and what a node shows. Answered from memory, because `ls -l` and file
//! managers read several of every file.

use super::error::FsError;
use super::node::{Dir, Node};
use crate::mailbox::{InboxItem, OutboxFile};
use crate::protocol::{Identity, ReceiptStatus};

/// The attributes that we show; users cannot set them.
const OURS: &str = "user.dockercomms.";

/// The one attribute of ours that may be written: on an inbox file it issues a receipt.
const RECEIPT: &str = "user.dockercomms.receipt";

/// Writing it on a file in `outbox/` that failed or waits tries the file again; never shown, so
/// that no tool copies it along.
pub(crate) const RETRY: &str = "user.dockercomms.retry";

/// Writing its message id or number on a file in `outbox/` gives the file up if it matches and was
/// not sent; never shown either.
pub(crate) const CANCEL: &str = "user.dockercomms.cancel";

/// Most attributes kept for one file; `cp -p` and file managers write two or three.
pub(crate) const ATTRIBUTE_COUNT_MAX: usize = 64;

/// What writing an attribute requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// Keep it locally with the file in `outbox/`.
    Keep,
    /// Accept and ignore: `mv` and `cp -a` copy what we show for one message to the next.
    Ignore,
    /// Try to send the file again.
    Retry,
    /// Give the file up, if this is its message id or number.
    Cancel(String),
    /// Issue a receipt for the message.
    Acknowledge(ReceiptStatus, Option<String>),
}

/// Decides what setting `name` to `value` on `node` means.
///
/// # Errors
/// `NotSupported` for everything but `user.*`: ACLs and labels would promise what a message cannot
/// carry, and tools silently skip them on this answer.
pub(crate) fn on_set(node: &Node, name: &str, value: &[u8]) -> Result<Write, FsError> {
    if !name.starts_with("user.") {
        return Err(FsError::NotSupported);
    }
    match node {
        Node::Outgoing(_) if name == RETRY => Ok(Write::Retry),
        Node::Outgoing(_) if name == CANCEL => {
            let text = str::from_utf8(value).map_err(|_source| FsError::Invalid)?;
            Ok(Write::Cancel(text.to_owned()))
        }
        Node::Outgoing(_) if name.starts_with(OURS) => Ok(Write::Ignore),
        Node::Outgoing(_) => Ok(Write::Keep),
        Node::Message(_) if name == RECEIPT => parse_receipt(value),
        // `rsync -X` copies what the directory of its source has.
        Node::Dir(Dir::Local(..)) => Ok(Write::Ignore),
        Node::Dir(dir) if dir.is_outbox() => Err(FsError::NotSupported),
        Node::Message(_) | Node::Dir(_) | Node::Live(_) | Node::Listed(..) => {
            Err(FsError::ReadOnly)
        }
    }
}

/// What removing an attribute that is there requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// No longer keep it with the file in `outbox/`.
    Forget,
    /// Accept and change nothing: `rsync -X` removes what we show and its source does not have.
    Ignore,
}

/// Decides what removing `name` from `node` means.
///
/// # Errors
/// As [`on_set`], and `NotPermitted` for the receipt of a message.
pub(crate) fn on_remove(node: &Node, name: &str) -> Result<Removal, FsError> {
    match on_set(node, name, b"accepted")? {
        Write::Keep => Ok(Removal::Forget),
        Write::Ignore | Write::Retry | Write::Cancel(_) => Ok(Removal::Ignore),
        Write::Acknowledge(..) => Err(FsError::NotPermitted),
    }
}

/// Parses `accepted`, `rejected` or `rejected:<reason>`; a final newline is allowed.
fn parse_receipt(value: &[u8]) -> Result<Write, FsError> {
    let text = str::from_utf8(value).map_err(|_source| FsError::Invalid)?.trim_end();
    let (status, reason) = match text.split_once(':') {
        Some((status, reason)) => (status, Some(reason.trim().to_owned())),
        None => (text, None),
    };
    let status: ReceiptStatus = status.parse().map_err(|_source| FsError::Invalid)?;
    Ok(Write::Acknowledge(status, reason))
}

/// Returns all attributes that a message shows, by full name.
pub(crate) fn of_message(item: &InboxItem) -> Vec<(String, Vec<u8>)> {
    let envelope = &item.message.envelope;
    let mut shown = vec![
        ours("state", "received"),
        ours("sender", item.sender.as_str()),
        ours("recipient", item.recipient.as_str()),
        ours("signer", &item.signer),
        ours("digest", &item.digest.to_string()),
        ours("message_id", &item.message.id.to_string()),
        ours("created", &envelope.created_at.to_string()),
        ours("filename", &envelope.filename),
    ];
    if let Some(expires) = envelope.expires_at() {
        shown.push(ours("expires", &expires.to_string()));
    }
    if let Some(receipt) = item.receipt {
        shown.push(ours("receipt", receipt.as_str()));
    }
    shown
}

/// Returns all attributes that a file in `outbox/` shows, ours first; `signer` is the fingerprint
/// of the key that signs for `me`, `state` the word that is shown for its state.
pub(crate) fn of_outgoing(
    file: &OutboxFile,
    me: &Identity,
    signer: &str,
    state: &str,
) -> Vec<(String, Vec<u8>)> {
    let (done, total) = file.progress();
    let mut shown = vec![
        ours("state", state),
        ours("sender", me.as_str()),
        ours("recipient", file.recipient().as_str()),
        ours("filename", file.file_name().as_str()),
        ours("progress", &format!("{done}/{total}")),
    ];
    if let Some(digest) = file.digest() {
        shown.push(ours("digest", &digest.to_string()));
    }
    if let Some(envelope) = file.envelope() {
        shown.push(ours("signer", signer));
        shown.push(ours("created", &envelope.created_at.to_string()));
        shown.extend(envelope.expires_at().map(|expires| ours("expires", &expires.to_string())));
    }
    if let Some(id) = file.message_id() {
        shown.push(ours("message_id", &id.to_string()));
    }
    if let Some(receipt) = file.receipt() {
        shown.push(ours("receipt", receipt.as_str()));
    }
    if let Some((class, text)) = file.error() {
        shown.push(ours("error", &format!("{}: {text}", class.code())));
    }
    let kept = file.xattr_names().into_iter();
    shown.extend(kept.filter_map(|name| file.xattr(&name).map(|value| (name, value))));
    shown
}

/// Returns the list of names as `listxattr(2)` wants it.
pub(crate) fn encode_names(attributes: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut names = Vec::new();
    for (name, _value) in attributes {
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    names
}

fn ours(name: &str, value: &str) -> (String, Vec<u8>) {
    (format!("{OURS}{name}"), value.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::fixture;
    use crate::fs::node::{Dir, LiveText};

    fn message() -> Node {
        Node::Message(fixture::message("report.pdf", 1))
    }

    #[test]
    fn a_receipt_is_issued_by_writing_its_attribute() {
        let write = |value: &[u8]| on_set(&message(), RECEIPT, value);

        assert_eq!(write(b"accepted").unwrap(), Write::Acknowledge(ReceiptStatus::Accepted, None));
        assert_eq!(
            write(b"rejected: wrong file\n").unwrap(),
            Write::Acknowledge(ReceiptStatus::Rejected, Some("wrong file".into()))
        );
        for bad in [&b"maybe"[..], b"", b"\xff", b"Accepted"] {
            assert!(matches!(write(bad), Err(FsError::Invalid)), "{bad:?}");
        }
    }

    #[test]
    fn acls_and_labels_are_not_supported_anywhere() {
        for name in ["system.posix_acl_access", "security.selinux", "trusted.x"] {
            assert!(matches!(on_set(&message(), name, b"x"), Err(FsError::NotSupported)));
            assert!(matches!(on_remove(&message(), name), Err(FsError::NotSupported)));
        }
    }

    #[test]
    fn other_people_s_files_keep_no_attributes() {
        let status = Node::Live(LiveText::Status);

        assert!(matches!(on_set(&message(), "user.note", b"x"), Err(FsError::ReadOnly)));
        assert!(matches!(on_set(&status, "user.note", b"x"), Err(FsError::ReadOnly)));
        assert!(matches!(
            on_set(&Node::Dir(Dir::Outbox), "user.note", b"x"),
            Err(FsError::NotSupported)
        ));
        assert!(matches!(on_remove(&message(), RECEIPT), Err(FsError::NotPermitted)));
        assert!(matches!(on_remove(&message(), "user.note"), Err(FsError::ReadOnly)));
    }

    #[test]
    fn a_message_shows_what_was_verified() {
        let shown = of_message(&fixture::message("report (2).pdf", 1));
        let value = |name: &str| {
            let full = format!("user.dockercomms.{name}");
            let found = shown.iter().find(|(shown, _value)| *shown == full);
            found.map(|(_name, value)| String::from_utf8(value.clone()).unwrap())
        };

        assert_eq!(value("sender").as_deref(), Some("alice@example.com"));
        assert_eq!(value("filename").as_deref(), Some("report.pdf"));
        assert_eq!(value("expires").as_deref(), Some("1970-01-01T00:21:40Z"));
        assert_eq!(value("receipt").as_deref(), Some("accepted"));
        assert_eq!(encode_names(&shown[..2]), b"user.dockercomms.state\0user.dockercomms.sender\0");
    }
}
