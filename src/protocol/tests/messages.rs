//! Annotations of a message (M00 to M05, M09, M10, M21, M23 to M25).

use serde_json::json;

use super::{ID, annotated, assert_code, assert_values_refused, manifest, with};
use crate::protocol::limits::{
    ANNOTATION_LEN_MAX, CHUNK_BYTES_MAX, CLOCK_SKEW_SECS, NAME_LEN_MAX, TTL_SECS_MAX,
};
use crate::protocol::{Compression, Message, Timestamp, annotation as key, media_type};

#[test]
fn m00_what_the_go_peer_emits_is_accepted() {
    let mut unknown = manifest();
    unknown["annotations"]["org.opencontainers.image.created"] = json!("x");
    unknown["annotations"]["dockercomms.unknown"] = json!("");
    unknown["surprise"] = json!({"nested": [1, null, 2.5]});
    let mut empty = manifest();
    empty["annotations"][key::TOTAL_BYTES] = json!("0");
    empty["annotations"][key::CHUNK_BYTES] = json!("104857600");
    empty["annotations"][key::CHUNK_COUNT] = json!("0");
    empty["layers"] = json!([]);
    let mut null = empty.clone();
    null["layers"] = json!(null);
    let mut absent = empty.clone();
    absent.as_object_mut().unwrap().remove("layers");
    let cases = [
        ("no mediaType", manifest().to_string().into_bytes()),
        ("mediaType", with("/mediaType", json!(media_type::IMAGE_MANIFEST))),
        ("unknown annotations and members", unknown.to_string().into_bytes()),
        ("empty file, no layers", empty.to_string().into_bytes()),
        ("empty file, null layers", null.to_string().into_bytes()),
        ("empty file, absent layers", absent.to_string().into_bytes()),
        ("version 1.1", annotated(key::VERSION, "1.1")),
        ("100 MiB chunks", annotated(key::CHUNK_BYTES, "104857600")),
    ];

    for (case, bytes) in cases {
        assert!(Message::parse(&bytes).is_ok(), "{case}");
    }
}

#[test]
fn m01_each_required_annotation_must_be_there() {
    let required: Vec<String> =
        manifest()["annotations"].as_object().unwrap().keys().cloned().collect();

    assert_eq!(required.len(), 11);
    for name in required {
        let mut without = manifest();
        without["annotations"].as_object_mut().unwrap().remove(&name);
        let parsed = Message::parse(without.to_string().as_bytes());
        assert_code(&format!("M01 {name}"), parsed, "missing-field");
    }
    for annotations in [json!(null), json!({})] {
        let parsed = Message::parse(&with("/annotations", annotations));
        assert_code("M01 none", parsed, "missing-field");
    }
}

#[test]
fn m02_other_versions_are_refused() {
    let versions = ["2.0", "1", "1.0 ", "", "01.0", "1.00", "1.-1", "0.9"];
    assert_values_refused("M02", key::VERSION, "unsupported-version", &versions);
}

#[test]
fn m03_other_forms_of_a_size_are_refused() {
    let forms = [
        "-5000",
        "+5000",
        "05000",
        "5e3",
        "0x1388",
        " 5000",
        "5000 ",
        "5 000",
        "5000\n",
        "\u{665}\u{660}\u{660}\u{660}",
        "18446744073709551616",
        "9223372036854775807",
        "NaN",
        "",
        "5000.0",
    ];
    for field in [key::TOTAL_BYTES, key::CHUNK_BYTES, key::CHUNK_COUNT, key::TTL_SECONDS] {
        for form in forms {
            let parsed = Message::parse(&annotated(field, form));
            assert!(parsed.is_err(), "M03 {field} {form:?}");
        }
    }
    assert_values_refused("M03", key::TOTAL_BYTES, "bad-field", &forms);
    assert_values_refused("M03", key::TOTAL_BYTES, "bad-chunk-map", &["5001", "10000"]);
}

/// P8: the size is exactly that of the chunks.
#[test]
fn m04_m05_sizes_that_contradict_each_other_are_refused() {
    let over = (CHUNK_BYTES_MAX + 1).to_string();
    assert_values_refused("M04", key::CHUNK_BYTES, "bad-chunk-map", &["0", "1", "4999"]);
    assert_values_refused("M04", key::CHUNK_BYTES, "bad-field", &["-1", &over]);
    let counts = ["0", "2", "1000000000", "4294967297", "10001"];
    assert_values_refused("M05", key::CHUNK_COUNT, "bad-chunk-map", &counts);
    assert_values_refused("M05", key::CHUNK_COUNT, "bad-field", &["-1"]);

    let larger = Message::parse(&annotated(key::CHUNK_BYTES, "5001")).unwrap();
    let largest = Message::parse(&annotated(key::CHUNK_BYTES, &CHUNK_BYTES_MAX.to_string()));

    assert_eq!(larger.envelope.chunk_len(0), 5000);
    assert!(largest.is_ok());
}

/// P12.
#[test]
fn m09_m10_compression_is_one_of_two_and_that_of_the_layers() {
    assert_values_refused("M09", key::COMPRESSION, "bad-field", &["gzip"]);
    let others = ["brotli", "", "none", "ZSTD", "zstd ", "zstd,gzip"];
    assert_values_refused("M10", key::COMPRESSION, "bad-field", &others);

    let mut gzip = manifest();
    gzip["annotations"][key::COMPRESSION] = json!("gzip");
    gzip["layers"][0]["mediaType"] = json!(media_type::CHUNK_GZIP);
    let parsed = Message::parse(gzip.to_string().as_bytes()).unwrap();

    assert_eq!(parsed.envelope.compression, Compression::Gzip);
}

#[test]
fn m21_annotations_are_strings() {
    for value in [json!(5000), json!(null), json!(true), json!(["1.0"]), json!({})] {
        let known = with("/annotations/dockercomms.total_bytes", value.clone());
        let unknown = with("/annotations/other", value);
        assert_code("M21 known", Message::parse(&known), "bad-field");
        assert_code("M21 unknown", Message::parse(&unknown), "bad-field");
    }
    for annotations in [json!([]), json!("x"), json!(7)] {
        assert_code("M21", Message::parse(&with("/annotations", annotations)), "bad-field");
    }
}

#[test]
fn m23_times_that_are_not_rfc_3339_are_refused() {
    let times = [
        "",
        "now",
        "1790000000",
        "2026-09-21",
        "2026-09-21T14:13:20",
        "2026-02-30T14:13:20Z",
        "2026-09-21T25:13:20Z",
        "1969-12-31T23:59:59Z",
        "+12026-09-21T14:13:20Z",
    ];
    assert_values_refused("M23", key::CREATED_AT, "bad-field", &times);
}

#[test]
fn m23_a_message_from_the_future_is_told_by_the_clock_skew() {
    let message = Message::parse(&annotated(key::CREATED_AT, "2026-09-21T14:13:20Z")).unwrap();
    let created = message.envelope.created_at;

    let tolerated = created.saturating_add_secs(-CLOCK_SKEW_SECS);
    let before = created.saturating_add_secs(-CLOCK_SKEW_SECS - 1);

    assert!(!message.envelope.is_from_future(tolerated));
    assert!(message.envelope.is_from_future(before));
}

#[test]
fn m24_a_time_to_live_is_a_number_of_at_most_ten_years() {
    let over = (TTL_SECS_MAX + 1).to_string();
    let bad = ["-1", "9223372036854775807", "1e9", "1000000000", "", "never", &over];
    assert_values_refused("M24", key::TTL_SECONDS, "bad-field", &bad);

    let longest = Message::parse(&annotated(key::TTL_SECONDS, &TTL_SECS_MAX.to_string()));

    assert!(longest.is_ok());
}

#[test]
fn m24_a_message_expires_after_its_time_to_live_and_the_clock_skew() {
    let message = Message::parse(&annotated(key::TTL_SECONDS, "1")).unwrap();
    let end = message.envelope.created_at.saturating_add_secs(1 + CLOCK_SKEW_SECS);

    assert_eq!(message.envelope.expires_at(), Some(end));
    assert!(!message.envelope.is_expired(end.saturating_add_secs(-1)));
    assert!(message.envelope.is_expired(end));
}

#[test]
fn p6_a_time_to_live_of_zero_never_expires() {
    let message = Message::parse(&annotated(key::TTL_SECONDS, "0")).unwrap();

    assert_eq!(message.envelope.expires_at(), None);
    assert!(!message.envelope.is_expired(Timestamp::from_unix_secs(i64::MAX)));
}

#[test]
fn m25_a_message_id_is_a_hyphenated_uuid() {
    let simple = ID.replace('-', "");
    let braces = format!("{{{ID}}}");
    let urn = format!("urn:uuid:{ID}");
    let bad =
        ["", "../../x", "7f3c9a1e", &simple, &braces, &urn, "gggggggg-gggg-gggg-gggg-gggggggggggg"];
    assert_values_refused("M25", key::MESSAGE_ID, "bad-field", &bad);

    let upper = Message::parse(&annotated(key::MESSAGE_ID, &ID.to_uppercase())).unwrap();

    assert_eq!((upper.id.to_string().as_str(), upper.id.mid8().as_str()), (ID, "7f3c9a1e"));
}

#[test]
fn p1_names_that_are_no_identity_are_refused() {
    let long = "x".repeat(NAME_LEN_MAX + 1);
    for field in [key::SENDER, key::RECIPIENT] {
        assert_values_refused("P1", field, "bad-field", &["", "a\nb", "\u{1b}[2J", &long]);
        assert!(Message::parse(&annotated(field, &"x".repeat(NAME_LEN_MAX))).is_ok());
        assert!(Message::parse(&annotated(field, "../x")).is_ok());
    }
}

#[test]
fn p7_any_file_name_is_accepted_as_a_claim() {
    let long = "n".repeat(ANNOTATION_LEN_MAX);
    for name in ["", ".", "../../etc/passwd", "a/b", "\u{1b}[2J\u{202e}\0", "cafe\u{301}", &long] {
        let message = Message::parse(&annotated(key::FILENAME, name)).unwrap();
        assert_eq!(message.envelope.filename, name);
    }
    assert_values_refused("P7", key::FILENAME, "too-large", &[&format!("{long}n")]);
}

#[test]
fn p28_our_extensions_are_kept_and_other_annotations_ignored() {
    let mut extended = manifest();
    extended["annotations"]["dockercomms.x.note"] = json!("hello");
    extended["annotations"]["dockercomms.y"] = json!("ignored");

    let message = Message::parse(extended.to_string().as_bytes()).unwrap();

    let kept = [("dockercomms.x.note".to_owned(), "hello".to_owned())];
    assert_eq!(message.extensions, kept.into());
}
