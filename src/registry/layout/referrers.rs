//! The referrers index behind the fallback tag `sha256-<hex>` (P16).
//!
//! Pure: bytes to descriptors and back. Another program may have written it, so an unusable entry
//! is left out instead of hiding the others.

use serde_json::{Map, Value, json};

use crate::protocol::json::parse_object;
use crate::protocol::limits::MANIFEST_LEN_MAX;
use crate::protocol::{Descriptor, Digest, media_type};

/// Most referrers of one manifest that are kept and listed. A message has two to four.
pub(super) const REFERRER_COUNT_MAX: usize = 1_000;

/// Longest artifact type remembered, in bytes: a media type has two parts of 127 (RFC 6838).
const ARTIFACT_TYPE_LEN_MAX: usize = 255;

/// Reads an index of referrers; anything else counts as an empty one.
pub(super) fn parse(bytes: &[u8]) -> Vec<Descriptor> {
    let object = parse_object("referrers index", bytes, MANIFEST_LEN_MAX).unwrap_or_default();
    let Some(Value::Array(values)) = object.get("manifests") else {
        return Vec::new();
    };
    values
        .iter()
        .skip(values.len().saturating_sub(REFERRER_COUNT_MAX))
        .filter_map(|value| Descriptor::from_json("manifests", value).ok())
        .collect()
}

/// Returns the bytes of an index of referrers, dropping its older half until it is small enough to
/// be read: annotations of other programs may be long.
pub(super) fn encode_bounded(mut referrers: &[Descriptor]) -> Vec<u8> {
    loop {
        let bytes = encode(referrers);
        if bytes.len() as u64 <= MANIFEST_LEN_MAX {
            return bytes;
        }
        referrers = referrers.split_at(referrers.len().div_ceil(2)).1;
    }
}

fn encode(referrers: &[Descriptor]) -> Vec<u8> {
    let entries: Vec<Value> = referrers.iter().map(Descriptor::to_json).collect();
    let mut object = Map::new();
    object.insert("schemaVersion".into(), json!(2));
    object.insert("mediaType".into(), json!(media_type::IMAGE_INDEX));
    object.insert("manifests".into(), Value::Array(entries));
    Value::Object(object).to_string().into_bytes()
}

/// Adds a referrer; returns whether it was missing.
///
/// A full index loses its oldest entry: a flood must not keep a new one out.
pub(super) fn add(referrers: &mut Vec<Descriptor>, referrer: Descriptor) -> bool {
    if referrers.iter().any(|known| known.digest == referrer.digest) {
        return false;
    }
    if referrers.len() >= REFERRER_COUNT_MAX {
        referrers.remove(0);
    }
    referrers.push(referrer);
    true
}

/// The subject that a manifest claims.
#[derive(Debug, Clone)]
pub(super) struct SubjectClaim {
    pub(super) subject: Digest,
    pub(super) artifact_type: Option<String>,
}

/// Returns the subject that a manifest names, if it names one.
pub(super) fn subject_of(manifest: &[u8]) -> Option<SubjectClaim> {
    let object = parse_object("manifest", manifest, MANIFEST_LEN_MAX).ok()?;
    let subject = Descriptor::from_json("subject", object.get("subject")?).ok()?;
    let artifact_type = object.get("artifactType").and_then(Value::as_str);
    let artifact_type = artifact_type.filter(|text| text.len() <= ARTIFACT_TYPE_LEN_MAX);
    Some(SubjectClaim { subject: subject.digest, artifact_type: artifact_type.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn referrer(number: usize) -> Descriptor {
        let mut referrer =
            Descriptor::of(media_type::IMAGE_MANIFEST, number.to_string().as_bytes());
        referrer.artifact_type = Some("t".into());
        referrer
    }

    #[test]
    fn a_full_index_loses_its_oldest_entry() {
        let mut referrers = Vec::new();

        for number in 0..=REFERRER_COUNT_MAX {
            assert!(add(&mut referrers, referrer(number)));
        }

        assert!(!add(&mut referrers, referrer(5)));
        assert_eq!(referrers.len(), REFERRER_COUNT_MAX);
        assert_eq!(referrers.first(), Some(&referrer(1)));
        assert_eq!(parse(&encode_bounded(&referrers)), referrers);
    }

    #[test]
    fn long_foreign_annotations_never_make_the_index_unreadable() {
        let mut referrers: Vec<_> = (0..900).map(referrer).collect();
        for referrer in &mut referrers {
            let filler = (0..2).map(|key| (key.to_string(), "x".repeat(4_000)));
            referrer.annotations = filler.collect();
        }
        let newest = referrer(900);
        add(&mut referrers, newest.clone());

        let kept = parse(&encode_bounded(&referrers));

        assert_eq!(kept.len(), 450);
        assert_eq!(kept.last(), Some(&newest));
    }

    #[test]
    fn one_bad_entry_hides_no_other() {
        let good = referrer(1).to_json();
        let text = format!(r#"{{"manifests":[{{"digest":"sha256:x"}},{good},7]}}"#);

        assert_eq!(parse(text.as_bytes()), [referrer(1)]);
        assert!(parse(b"<html>").is_empty());
    }
}
