//! `index.json`: which tag points to which manifest.
//!
//! Pure. An entry is kept as the exact text that is written back to the file, so members that we do
//! not use survive and rewriting ten thousand entries is a copy. Start at [`Index`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::protocol::{Descriptor, Digest, Tag, media_type};
use crate::registry::{RegistryError, TagList};

/// The annotation that makes an entry a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The entries of `index.json`.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Sorted by tag, each tag once.
    tagged: Vec<(Tag, Entry)>,
    /// Entries of other programs: without a tag, or with an invalid OCI tag or another digest than
    /// SHA-256.
    others: Vec<Entry>,
    /// The annotations of the index itself.
    annotations: BTreeMap<String, String>,
}

/// One entry as JSON text.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// What it points to; none when that is not a SHA-256 digest.
    pub(super) digest: Option<Digest>,
    json: Arc<str>,
}

impl Entry {
    fn of(members: &EntryMembers) -> Self {
        let json = serde_json::to_string(members).expect("text and numbers are always JSON");
        Self { digest: members.digest.parse().ok(), json: json.into() }
    }

    /// Parses the entry as a descriptor; none when it is not one that we can use.
    pub(super) fn descriptor(&self) -> Option<Descriptor> {
        let value = serde_json::from_str(&self.json).ok()?;
        Descriptor::from_json("manifests", &value).ok()
    }
}

impl Index {
    /// Parses `index.json`.
    ///
    /// Of two entries with one tag the later one is used, as `oras` does.
    ///
    /// # Errors
    /// `Malformed` when the file is not an OCI index.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, RegistryError> {
        let malformed = |reason: &str| RegistryError::Malformed { reason: reason.to_owned() };
        let file: IndexFile = serde_json::from_slice(bytes)
            .map_err(|_source| malformed("index.json is not an OCI index"))?;
        if file.schema_version != 2 {
            return Err(malformed("index.json is not of schema version 2"));
        }
        let Entries { mut tagged, others } = file.manifests;
        // Stable, so entries of one tag stay in file order.
        tagged.sort_by(|(a, _), (b, _)| a.cmp(b));
        tagged.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Ok(Self { tagged, others, annotations: file.annotations.unwrap_or_default() })
    }

    /// Returns the file's text.
    pub(super) fn encode(&self) -> String {
        let tagged = self.tagged.iter().map(|(_, entry)| entry);
        let entries = || self.others.iter().chain(tagged.clone());
        let len: usize = entries().map(|entry| entry.json.len() + 1).sum();
        let mut text = String::with_capacity(len + 256);
        text.push_str(r#"{"schemaVersion":2,"mediaType":""#);
        text.push_str(media_type::IMAGE_INDEX);
        text.push_str(r#"","manifests":["#);
        for (position, entry) in entries().enumerate() {
            if position > 0 {
                text.push(',');
            }
            text.push_str(&entry.json);
        }
        text.push(']');
        if !self.annotations.is_empty() {
            text.push_str(r#","annotations":"#);
            text.push_str(&serde_json::json!(self.annotations).to_string());
        }
        text.push('}');
        text
    }

    /// Returns what a tag points to.
    pub(super) fn resolve(&self, tag: &Tag) -> Option<Digest> {
        let position = self.position(tag).ok()?;
        self.tagged.get(position)?.1.digest
    }

    /// Returns whether any tag points to `digest`.
    pub(super) fn is_tagged(&self, digest: &Digest) -> bool {
        self.tagged.iter().any(|(_, entry)| entry.digest == Some(*digest))
    }

    /// Makes `tag` point to `target`; returns whether that changed anything.
    pub(super) fn point(&mut self, tag: &Tag, target: &Descriptor) -> bool {
        let mut annotations = target.annotations.clone();
        annotations.insert(REF_NAME.to_owned(), tag.to_string());
        let entry = Entry::of(&EntryMembers {
            media_type: target.media_type.clone(),
            digest: target.digest.to_string(),
            size: target.size,
            urls: None,
            annotations: Some(annotations),
            data: None,
            platform: None,
            artifact_type: target.artifact_type.clone(),
        });
        match self.position(tag) {
            Ok(position) => match self.tagged.get_mut(position) {
                Some((_, old)) if old.digest == entry.digest => return false,
                Some((_, old)) => *old = entry,
                None => {}
            },
            Err(position) => self.tagged.insert(position, (tag.clone(), entry)),
        }
        true
    }

    /// Removes a tag; returns whether it was there.
    pub(super) fn remove_tag(&mut self, tag: &Tag) -> bool {
        let position = self.position(tag);
        position.map(|position| self.tagged.remove(position)).is_ok()
    }

    /// Returns what every entry points to; none where that is not a SHA-256 digest.
    pub(super) fn targets(&self) -> impl Iterator<Item = Option<Digest>> {
        let tagged = self.tagged.iter().map(|(_, entry)| entry.digest);
        tagged.chain(self.others.iter().map(|entry| entry.digest))
    }

    /// Removes every entry that points to `digest`; returns whether there was one.
    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        let before = self.tagged.len() + self.others.len();
        self.tagged.retain(|(_, entry)| entry.digest != Some(*digest));
        self.others.retain(|entry| entry.digest != Some(*digest));
        before != self.tagged.len() + self.others.len()
    }

    /// Returns at most `count_max` tags that start with `prefix`, in order.
    pub(super) fn list(&self, prefix: &str, count_max: usize) -> TagList {
        let start = self.tagged.partition_point(|(tag, _)| tag.as_str() < prefix);
        let mut rest = self
            .tagged
            .iter()
            .skip(start)
            .map(|(tag, _)| tag)
            .take_while(|tag| tag.as_str().starts_with(prefix));
        let tags = rest.by_ref().take(count_max).cloned().collect();
        TagList { tags, truncated: rest.next().is_some() }
    }

    /// Returns the entries of other programs that are not tags of ours.
    pub(super) fn others(&self) -> &[Entry] {
        &self.others
    }

    fn position(&self, tag: &Tag) -> Result<usize, usize> {
        self.tagged.binary_search_by(|(known, _)| known.cmp(tag))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexFile {
    schema_version: u64,
    #[serde(default)]
    manifests: Entries,
    annotations: Option<BTreeMap<String, String>>,
}

/// Every member of a descriptor in the OCI specification.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryMembers {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    urls: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Platform {
    architecture: String,
    os: String,
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    os_version: Option<String>,
    #[serde(rename = "os.features", skip_serializing_if = "Option::is_none")]
    os_features: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

/// The entries, turned into text one by one: a hostile file must not cost a multiple of its size.
#[derive(Default)]
struct Entries {
    tagged: Vec<(Tag, Entry)>,
    others: Vec<Entry>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of descriptors")
    }

    fn visit_unit<E>(self) -> Result<Entries, E> {
        Ok(Entries::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
        let mut entries = Entries::default();
        while let Some(members) = seq.next_element::<EntryMembers>()? {
            let entry = Entry::of(&members);
            let name = members.annotations.as_ref().and_then(|all| all.get(REF_NAME));
            match name.and_then(|name| name.parse().ok()) {
                Some(tag) if entry.digest.is_some() => entries.tagged.push((tag, entry)),
                _ => entries.others.push(entry),
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    fn manifest(text: &str) -> Descriptor {
        Descriptor::of(media_type::IMAGE_MANIFEST, text.as_bytes())
    }

    #[test]
    fn entries_survive_a_rewrite_with_members_of_other_programs() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[
              {{"mediaType":"m","digest":"{digest}","size":1,"platform":{{"architecture":"arm64","os":"linux","variant":"v8"}},"annotations":{{"a":"b"}}}},
              {{"mediaType":"m","digest":"sha512:00","size":1,"annotations":{{"{REF_NAME}":"odd"}}}},
              {{"mediaType":"m","digest":"{digest}","size":1,"annotations":{{"{REF_NAME}":"docker.io/library/x:1"}}}}
            ],"annotations":{{"top":"kept"}}}}"#
        );

        let mut index = Index::parse(text.as_bytes()).unwrap();
        index.point(&tag("t"), &manifest("t"));
        let again = Index::parse(index.encode().as_bytes()).unwrap().encode();

        assert_eq!(again, index.encode());
        for part in ["v8", r#""a":"b""#, "sha512:00", "library/x:1", r#""top":"kept""#] {
            assert!(again.contains(part), "{part} in {again}");
        }
        assert_eq!(index.list("", 9).tags, [tag("t")]);
    }

    #[test]
    fn of_two_entries_with_one_tag_the_later_counts() {
        let entry = |text: &str| {
            let digest = Digest::of(text.as_bytes());
            format!(
                r#"{{"mediaType":"m","digest":"{digest}","size":1,"annotations":{{"{REF_NAME}":"t"}}}}"#
            )
        };
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#, entry("1"), entry("2"));

        let index = Index::parse(text.as_bytes()).unwrap();

        assert_eq!(index.resolve(&tag("t")), Some(Digest::of(b"2")));
        assert_eq!(index.list("", 9).tags.len(), 1);
    }

    #[test]
    fn a_tag_moves_and_pointing_again_changes_nothing() {
        let mut index = Index::default();

        assert!(index.point(&tag("t"), &manifest("1")));
        assert!(!index.point(&tag("t"), &manifest("1")));
        assert!(index.point(&tag("t"), &manifest("2")));

        assert_eq!(index.resolve(&tag("t")), Some(Digest::of(b"2")));
        assert!(!index.is_tagged(&Digest::of(b"1")));
        assert!(index.remove(&Digest::of(b"2")) && !index.remove(&Digest::of(b"2")));
    }

    #[test]
    fn a_list_is_sorted_has_the_prefix_and_says_when_it_is_cut() {
        let mut index = Index::default();
        for name in ["b-2", "a", "b-1", "c", "b", "b-3"] {
            index.point(&tag(name), &manifest(name));
        }

        let all = index.list("b-", 3);
        let cut = index.list("b-", 2);

        assert_eq!(all, TagList { tags: ["b-1", "b-2", "b-3"].map(tag).into(), truncated: false });
        assert_eq!(cut, TagList { tags: ["b-1", "b-2"].map(tag).into(), truncated: true });
        assert!(index.list("d", 9).tags.is_empty());
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"schemaVersion":1,"manifests":[]}"#,
            r#"{"schemaVersion":2,"manifests":[{}]}"#,
            r#"{"schemaVersion":2,"manifests":{}}"#,
            r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#,
            r#"{"schemaVersion":2,"manifests":[]} x"#,
        ] {
            let parsed = Index::parse(text.as_bytes());
            assert!(matches!(parsed, Err(RegistryError::Malformed { .. })), "{text}");
        }
        assert!(Index::parse(br#"{"schemaVersion":2,"manifests":null}"#).is_ok());
    }
}
