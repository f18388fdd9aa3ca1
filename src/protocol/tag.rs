//! The grammar of tags: `inbox-`, `receipt-`, `bundle-` and OCI's referrers fallback.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;
use super::error::ProtocolError;
use super::identity::RecipientTag;
use super::limits::TAG_LEN_MAX;
use super::message::MessageId;
use super::timestamp::Timestamp;

/// A tag that the OCI distribution specification allows; it is safe in a URL and as a file name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `inbox-<recipient_tag>-<YYYYMMDD>-<sid8>-<mid8>` (P2, P3, P4).
    pub fn message(
        recipient: &RecipientTag,
        created_at: Timestamp,
        session: &SessionId,
        id: &MessageId,
    ) -> Self {
        let prefix = Self::message_prefix(recipient);
        Self(format!("{prefix}{}-{}-{}", created_at.yyyymmdd(), session.0, id.mid8()))
    }

    /// Returns `inbox-<recipient_tag>-`, which all messages to a recipient share.
    pub fn message_prefix(recipient: &RecipientTag) -> String {
        format!("inbox-{}-", recipient.as_str())
    }

    /// Returns `receipt-<hexDigest12>-<ts>-<rand>` for a receipt of the message `message` (P5).
    pub fn receipt(message: &Digest, time: Timestamp, random: TagRandom) -> Self {
        Self(format!("{}{}-{random}", Self::receipt_prefix(message), time.unix_secs()))
    }

    /// Returns `receipt-<hexDigest12>-`.
    pub fn receipt_prefix(message: &Digest) -> String {
        format!("receipt-{}-", message.hex12())
    }

    /// Returns `bundle-<hexDigest12>-<ts>-<rand>` for a bundle of the manifest `subject` (P5).
    pub fn bundle(subject: &Digest, time: Timestamp, random: TagRandom) -> Self {
        Self(format!("{}{}-{random}", Self::bundle_prefix(subject), time.unix_secs()))
    }

    /// Returns `bundle-<hexDigest12>-`.
    pub fn bundle_prefix(subject: &Digest) -> String {
        format!("bundle-{}-", subject.hex12())
    }

    /// Returns OCI's referrers fallback tag `sha256-<hex>` (P16).
    pub fn referrers(subject: &Digest) -> Self {
        Self(format!("sha256-{}", subject.hex()))
    }
}

impl FromStr for Tag {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let well_formed = text.len() <= TAG_LEN_MAX
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if !well_formed {
            return Err(ProtocolError::bad("tag", "not an OCI tag"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `sid8` of one mount or one command: eight hex digits of a random UUID (P3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    /// Takes the first eight hex digits of a UUIDv4.
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(uuid.simple().to_string().chars().take(8).collect())
    }

    /// Returns the eight digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The `<rand>` of a receipt or bundle tag: six lower-case hex digits (P5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagRandom(u32);

impl TagRandom {
    /// Keeps the low 24 bits of `bits`.
    pub fn new(bits: u32) -> Self {
        Self(bits & 0x00ff_ffff)
    }
}

impl fmt::Display for TagRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

/// What a tag says about itself; a claim, never proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagKind {
    /// A message to the recipient with this tag.
    Message(RecipientTag),
    /// A receipt for a message whose digest starts with these 12 hex digits.
    Receipt(String),
    /// A bundle for a manifest whose digest starts with these 12 hex digits.
    Bundle(String),
}

impl TagKind {
    /// Reads one of the three forms; `sid8`, `mid8` and `<rand>` are opaque (P3, P4, P5).
    ///
    /// # Errors
    /// When the tag is of none of the three forms.
    pub fn parse(tag: &Tag) -> Result<Self, ProtocolError> {
        let bad = |reason| ProtocolError::bad("tag", reason);
        let (kind, rest) = tag.as_str().split_once('-').ok_or_else(|| bad("not of our forms"))?;
        let mut parts = rest.splitn(if kind == "inbox" { 4 } else { 3 }, '-');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let missing = || bad("too few parts");
        match kind {
            "inbox" => {
                let recipient = next().ok_or_else(missing)?.parse()?;
                let date = next().ok_or_else(missing)?;
                if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(bad("date is not YYYYMMDD"));
                }
                next().ok_or_else(missing)?;
                next().ok_or_else(missing)?;
                Ok(Self::Message(recipient))
            }
            "receipt" | "bundle" => {
                let hex12 = next().ok_or_else(missing)?;
                let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if hex12.len() != 12 || !hex12.bytes().all(lower_hex) {
                    return Err(bad("digest part is not 12 hex digits"));
                }
                let time = next().ok_or_else(missing)?;
                if !time.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(bad("time is not decimal"));
                }
                next().ok_or_else(missing)?;
                Ok(if kind == "receipt" {
                    Self::Receipt(hex12.to_owned())
                } else {
                    Self::Bundle(hex12.to_owned())
                })
            }
            _ => Err(bad("not of our forms")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// P2, P3, P4 and P5: the parts of the tags.
    #[test]
    fn tags_have_the_forms_of_the_specification() {
        let identity: crate::protocol::Identity = "bob".parse().unwrap();
        let uuid = uuid::Uuid::parse_str("7f3c9a1e-1111-4222-8333-444444444444").unwrap();
        let time = Timestamp::from_unix_secs(1_790_000_000);
        let digest = Digest::of(b"{}");

        let message = Tag::message(
            &identity.recipient_tag(),
            time,
            &SessionId::from_uuid(uuid),
            &MessageId::from_uuid(uuid),
        );
        let receipt = Tag::receipt(&digest, time, TagRandom::new(0xff00_00ab));
        let bundle = Tag::bundle(&digest, time, TagRandom::new(1));

        assert_eq!(message.as_str(), "inbox-g6r3fm7sqb3dkoqpsqb324t12s-20260921-7f3c9a1e-7f3c9a1e");
        assert_eq!(receipt.as_str(), "receipt-44136fa355b3-1790000000-0000ab");
        assert_eq!(bundle.as_str(), "bundle-44136fa355b3-1790000000-000001");
        assert_eq!(TagKind::parse(&message), Ok(TagKind::Message(identity.recipient_tag())));
        assert_eq!(TagKind::parse(&receipt), Ok(TagKind::Receipt("44136fa355b3".into())));
        assert_eq!(TagKind::parse(&bundle), Ok(TagKind::Bundle("44136fa355b3".into())));
        assert_eq!(Tag::referrers(&digest).as_str().parse(), Ok(Tag::referrers(&digest)));
    }

    #[test]
    fn strings_that_are_no_tag_are_refused() {
        for text in ["", "-x", ".x", "a/b", "a b", "../x", "a\u{e9}", &"x".repeat(129)] {
            assert!(text.parse::<Tag>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn foreign_tags_are_of_no_kind() {
        for text in [
            "latest",
            "inbox-bob-20260921-a-b",
            "inbox-g6r3fm7sqb3dkoqpsqb324t12s-2026-a-b",
            "inbox-g6r3fm7sqb3dkoqpsqb324t12s-20260921-a",
            "receipt-44136fa355b-1-a",
            "bundle-44136fa355b3-x-a",
            "bundle-44136fa355b3-1-",
        ] {
            let tag: Tag = text.parse().unwrap();
            assert!(TagKind::parse(&tag).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            if let Ok(tag) = text.parse::<Tag>() {
                TagKind::parse(&tag).ok();
            }
        }
    }
}
