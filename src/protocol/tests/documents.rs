//! Documents that are not a manifest, or could be read as two (M26 to M35).

use serde_json::{Value, json};

use super::{assert_code, manifest, with};
use crate::protocol::limits::{
    ANNOTATION_COUNT_MAX, ANNOTATION_LEN_MAX, JSON_DEPTH_MAX, MANIFEST_LEN_MAX,
};
use crate::protocol::{Descriptor, ImageManifest, Message, annotations_from_json, media_type};

fn text() -> String {
    manifest().to_string()
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(json!([]), |inner, _| json!([inner]))
}

#[test]
fn m26_a_key_that_stands_twice_is_refused() {
    let twice = |member: &str| text().replacen('{', &format!("{{{member},"), 1).into_bytes();
    let annotation = r#""dockercomms.filename":"report.pdf""#;
    let in_annotations = text().replace(annotation, &format!("{annotation},{annotation}"));
    let in_layer = text().replace(r#""size":2700"#, r#""size":2700,"size":2700"#);
    let escaped = text().replace(r#""size":2700"#, r#""size":2700,"s\u0069ze":1"#);

    assert_ne!(in_annotations, text());
    let cases = [
        ("annotations", in_annotations.into_bytes()),
        ("layers", twice(r#""layers":[]"#)),
        ("schemaVersion", twice(r#""schemaVersion":2"#)),
        ("layer", in_layer.into_bytes()),
        ("escaped", escaped.into_bytes()),
    ];
    for (id, bytes) in cases {
        assert_code(&format!("M26 {id}"), Message::parse(&bytes), "duplicate-key");
    }
}

#[test]
fn m27_nesting_is_bounded() {
    // The document itself is one level.
    let deepest = with("/x", nested(JSON_DEPTH_MAX - 1));
    let deeper = with("/x", nested(JSON_DEPTH_MAX));
    let deep = text().replacen('{', &format!(r#"{{"x":{}"#, "[".repeat(100_000)), 1);
    let objects = text().replacen('{', &r#"{"x":"#.repeat(100_000), 1);

    assert!(Message::parse(&deepest).is_ok());
    for bytes in [deeper, deep.into_bytes(), objects.into_bytes()] {
        assert_code("M27", Message::parse(&bytes), "not-json");
    }
}

#[test]
fn m28_to_m34_what_is_not_exactly_one_json_object_is_refused() {
    let text = text();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let replaced = |with: &[u8]| {
        let (before, after) = text.split_once("report.pdf").unwrap();
        [before.as_bytes(), with, after.as_bytes()].concat()
    };
    let cases = [
        ("M28 trailing bytes", format!("{text}x").into_bytes()),
        ("M28 trailing NUL", format!("{text}\0").into_bytes()),
        ("M29 two values", text.repeat(2).into_bytes()),
        ("M30 BOM", format!("\u{feff}{text}").into_bytes()),
        ("M30 UTF-16", utf16),
        ("M31 bad UTF-8", replaced(b"\xff\xfe")),
        ("M31 overlong", replaced(b"\xc0\xaf")),
        ("M32 lone surrogate", replaced(br"\ud800")),
        ("M32 NaN", text.replace("2700", "NaN").into_bytes()),
        ("M32 hex", text.replace("2700", "0x10").into_bytes()),
        ("M32 leading zero", text.replace("2700", "02700").into_bytes()),
        ("M32 raw newline", replaced(b"a\nb")),
        ("M32 comment", format!("/**/{text}").into_bytes()),
        ("M34 list", b"[]".to_vec()),
        ("M34 string", b"\"{}\"".to_vec()),
        ("M34 nothing", Vec::new()),
        ("M34 HTML", b"<!DOCTYPE html><html></html>".to_vec()),
        ("M34 cut", text.as_bytes()[..text.len() - 1].to_vec()),
    ];

    for (id, bytes) in cases {
        assert_code(id, Message::parse(&bytes), "not-json");
    }
    assert!(Message::parse(format!(" \r\n\t{text}\n").as_bytes()).is_ok());
}

/// P14: what is accepted.
#[test]
fn m33_a_manifest_of_four_mebibytes_is_accepted_and_no_larger_one() {
    let mut bytes = text().into_bytes();
    bytes.resize(usize::try_from(MANIFEST_LEN_MAX).unwrap(), b' ');

    let largest = Message::parse(&bytes);
    bytes.push(b' ');
    let larger = Message::parse(&bytes);

    assert!(largest.is_ok());
    assert_code("M33", larger, "too-large");
}

#[test]
fn m35_annotations_are_bounded_in_number_and_length() {
    let many = |count: usize| -> Value {
        (0..count).map(|n| (n.to_string(), json!(""))).collect::<serde_json::Map<_, _>>().into()
    };
    let long = |len: usize| json!({ "x": "y".repeat(len) });
    let read = |value: &Value| annotations_from_json(Some(value));

    assert!(read(&many(ANNOTATION_COUNT_MAX)).is_ok());
    assert!(read(&long(ANNOTATION_LEN_MAX)).is_ok());
    for value in [many(ANNOTATION_COUNT_MAX + 1), many(60_000), long(ANNOTATION_LEN_MAX + 1)] {
        assert_code("M35", read(&value), "too-large");
        assert_code(
            "M35 manifest",
            Message::parse(&with("/annotations", value.clone())),
            "too-large",
        );
        let layer = with("/layers/0/annotations", value);
        assert_code("M35 layer", Message::parse(&layer), "too-large");
    }
}

#[test]
fn a_descriptor_without_one_of_its_three_members_is_refused() {
    for name in ["mediaType", "digest", "size"] {
        let mut json = Descriptor::empty().to_json();
        json.as_object_mut().unwrap().remove(name);
        assert_code(name, Descriptor::from_json("config", &json), "bad-field");
    }
    let full = Descriptor {
        annotations: [("a".to_owned(), "b".to_owned())].into(),
        artifact_type: Some(media_type::MESSAGE.to_owned()),
        ..Descriptor::of(media_type::IMAGE_MANIFEST, b"x")
    };
    assert_eq!(Descriptor::from_json("config", &full.to_json()), Ok(full));
}

/// P14: what is emitted.
#[test]
fn the_canonical_bytes_of_a_manifest_never_change() {
    let empty = r#"{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","mediaType":"application/vnd.oci.empty.v1+json","size":2}"#;
    let manifest = ImageManifest {
        artifact_type: Some("a/b".into()),
        config: Descriptor::empty(),
        layers: vec![Descriptor {
            annotations: [("k".to_owned(), "\u{e9}/\"\n".to_owned())].into(),
            ..Descriptor::empty()
        }],
        subject: Some(Descriptor::empty()),
        annotations: [("z".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())].into(),
    };

    let bytes = manifest.encode();

    // Another order would give a retried message another digest.
    let members = empty.strip_prefix('{').unwrap();
    let layer = format!(r#"{{"annotations":{{"k":"{}/\"\n"}},{members}"#, '\u{e9}');
    let expected = format!(
        r#"{{"annotations":{{"a":"2","z":"1"}},"artifactType":"a/b","config":{empty},"layers":[{layer}],"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2,"subject":{empty}}}"#
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}
