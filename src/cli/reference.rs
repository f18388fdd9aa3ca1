//! `REF`: the ways to name a message, and how it is found.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::mailbox::{Mailbox, Snapshot};
use crate::protocol::{Digest, ErrorClass, MessageId, Tag, TagKind};

use super::failure::Failure;

/// Fewest hex digits that name a message: eight are mostly unique among a hundred thousand.
const PREFIX_LEN_MIN: usize = 6;

/// The extended attribute that identifies the message of a file in a mount.
const DIGEST_XATTR: &str = "user.dockercomms.digest";

/// A name for a message, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// `sha256:...`
    Digest(Digest),
    /// The first hex digits of a digest.
    Prefix(String),
    /// The message's UUID.
    MessageId(MessageId),
    /// An `inbox-` tag.
    Tag(Tag),
    /// A file in a mount.
    Path(PathBuf),
}

impl Reference {
    /// Reads a reference; opens no file, only checks whether the text has the form of a path.
    ///
    /// # Errors
    /// When the text has none of the five forms.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if let Ok(digest) = text.parse() {
            return Ok(Self::Digest(digest));
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::MessageId(id));
        }
        if let Ok(tag) = text.parse::<Tag>()
            && let Ok(TagKind::Message { .. }) = TagKind::parse(&tag)
        {
            return Ok(Self::Tag(tag));
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex && (PREFIX_LEN_MIN..=64).contains(&hex.len()) {
            return match format!("sha256:{hex}").parse() {
                Ok(digest) => Ok(Self::Digest(digest)),
                Err(_shorter) => Ok(Self::Prefix(hex.to_owned())),
            };
        }
        if text.contains('/') || text.contains('.') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        Err(Failure::new(ErrorClass::Configuration, format!("{text} does not name a message"))
            .hint("give a digest or its first digits, a tag, a message id, or a file in a mount"))
    }

    /// Finds the digest among the listings, or resolves a tag at the registry.
    pub(crate) async fn resolve(&self, mailbox: &Mailbox) -> Result<Digest, Failure> {
        match self {
            Self::Digest(digest) => Ok(*digest),
            Self::Prefix(prefix) => one_with_prefix(prefix, &mailbox.snapshot()),
            Self::MessageId(id) => one_with_id(*id, &mailbox.snapshot()),
            Self::Tag(tag) => mailbox
                .resolve_tag(tag)
                .await?
                .ok_or_else(|| not_found(&format!("the registry has no tag {tag}"))),
            Self::Path(path) => digest_of_file(path),
        }
    }
}

fn not_found(what: &str) -> Failure {
    Failure::new(ErrorClass::NotFound, what).hint("run `dockercomms ls` for the list")
}

fn one_with_prefix(prefix: &str, snapshot: &Snapshot) -> Result<Digest, Failure> {
    let matching: BTreeSet<Digest> =
        known(snapshot).into_iter().filter(|digest| digest.hex().starts_with(prefix)).collect();
    let mut matching = matching.into_iter();
    match (matching.next(), matching.next()) {
        (Some(digest), None) => Ok(digest),
        (Some(_), Some(_)) => Err(Failure::new(
            ErrorClass::Configuration,
            format!("several messages begin with {prefix}"),
        )
        .hint("give more digits")),
        (None, _) => Err(not_found(&format!("no known message begins with {prefix}"))),
    }
}

/// Returns the digest of every message that any listing names.
fn known(snapshot: &Snapshot) -> Vec<Digest> {
    let inbox = snapshot.inbox.values().flat_map(|dir| dir.values()).map(|item| item.digest);
    let outbox = snapshot.outbox_files().filter_map(|file| file.digest());
    let receipts = [&snapshot.receipts_sent, &snapshot.receipts_issued]
        .into_iter()
        .flat_map(|dirs| dirs.values())
        .flat_map(|dir| dir.values())
        .map(|receipt| receipt.message);
    let quarantine =
        snapshot.quarantine.values().flat_map(|dir| dir.values()).filter_map(|item| item.digest);
    inbox.chain(outbox).chain(receipts).chain(quarantine).collect()
}

fn one_with_id(id: MessageId, snapshot: &Snapshot) -> Result<Digest, Failure> {
    let inbox = snapshot
        .inbox
        .values()
        .flat_map(|dir| dir.values())
        .find(|item| item.message.id == id)
        .map(|item| item.digest);
    let sent = || {
        let mut files = snapshot.outbox_files();
        files.find(|file| file.message_id() == Some(id)).and_then(|file| file.digest())
    };
    inbox.or_else(sent).ok_or_else(|| not_found(&format!("no known message has the id {id}")))
}

fn digest_of_file(path: &std::path::Path) -> Result<Digest, Failure> {
    // The longest digest is 71 bytes; anything longer is not one.
    let mut value = [0; 128];
    let len = rustix::fs::getxattr(path, DIGEST_XATTR, &mut value).map_err(|errno| {
        let shown = path.display();
        let failure = match errno {
            rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP => {
                Failure::new(ErrorClass::NotFound, format!("{shown} is not a message"))
            }
            _ => Failure::io(format!("cannot inspect {shown}"), &errno.into()),
        };
        failure.hint("name a file in inbox/ or outbox/ of a mount")
    })?;
    value
        .get(..len)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| not_found(&format!("{} is not sent yet", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn each_form_is_recognised() {
        let digest = Digest::of(b"{}");
        let tag = "inbox-vu6pg6fs1o9bu394h4n4b63u4i-20260101-0a1b2c3d-deadbeef";
        let id = "7f3c9a1e-0000-4000-8000-000000000001";
        let cases = [
            (format!("sha256:{HEX}"), Reference::Digest(digest)),
            (HEX.to_owned(), Reference::Digest(digest)),
            ("44136fa3".to_owned(), Reference::Prefix("44136fa3".to_owned())),
            ("sha256:44136fa3".to_owned(), Reference::Prefix("44136fa3".to_owned())),
            (id.to_owned(), Reference::MessageId(id.parse().unwrap())),
            (tag.to_owned(), Reference::Tag(tag.parse().unwrap())),
            ("inbox/bob/a".to_owned(), Reference::Path("inbox/bob/a".into())),
            ("report.pdf".to_owned(), Reference::Path("report.pdf".into())),
        ];

        for (text, expected) in cases {
            assert_eq!(Reference::parse(&text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_names_nothing_is_a_usage_error() {
        for text in ["", "44", "hello", "receipt-44136fa355b3-1-abcdef", "SHA256"] {
            assert_eq!(Reference::parse(text).unwrap_err().exit, 9, "{text}");
        }
    }

    #[test]
    fn a_prefix_that_nobody_has_is_not_found() {
        let found = one_with_prefix("44136f", &Snapshot::default());

        assert_eq!(found.unwrap_err().exit, 5);
    }

    #[test]
    fn a_file_outside_of_a_mount_is_no_message() {
        let file = tempfile::NamedTempFile::new().unwrap();

        assert_eq!(digest_of_file(file.path()).unwrap_err().exit, 5);
    }
}
