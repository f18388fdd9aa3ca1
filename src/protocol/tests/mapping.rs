//! Layers and the chunk map (M06 to M08, M11 to M20, M22, M36, P8 to P13).

use serde_json::json;

use super::{annotated, assert_code, chunked, layer, manifest, with};
use crate::protocol::limits::{CHUNK_COUNT_MAX, MANIFEST_LEN_MAX, layer_len_max};
use crate::protocol::{Digest, Envelope, Message, annotation as key, media_type};

#[test]
fn m06_to_m08_indices_that_are_not_each_of_zero_to_n_once_are_refused() {
    let two = |indices: &[&str]| Message::parse(&chunked(5000, 2500, indices));

    assert_code("M06 twice", two(&["0", "0"]), "bad-chunk-map");
    for index in
        ["2", "1", "-1", "+0", "00", "0 ", " 0", "0x0", "a", "", "4294967296", "\u{660}", "0.0"]
    {
        assert_code(&format!("M08 {index:?}"), two(&[index, "1"]), "bad-chunk-map");
    }
    for annotations in [json!({}), json!(null), json!({"other": "0"})] {
        let parsed = Message::parse(&with("/layers/0/annotations", annotations));
        assert_code("M07 none", parsed, "bad-chunk-map");
    }
    let number = with("/layers/0/annotations", json!({ key::CHUNK_INDEX: 0 }));
    assert_code("M07 number", Message::parse(&number), "bad-field");
}

#[test]
fn p13_layers_in_any_order_come_out_by_index() {
    let message = Message::parse(&chunked(5000, 2000, &["2", "0", "1"])).unwrap();

    let digests: Vec<Digest> = message.chunks.iter().map(|chunk| chunk.digest).collect();

    assert_eq!(digests, [Digest::of(b"0"), Digest::of(b"1"), Digest::of(b"2")]);
}

#[test]
fn p9_the_number_of_chunks_follows_from_the_sizes() {
    let good = [(5000, 2000, 3), (5000, 2500, 2), (5000, 4999, 2), (1, 1, 1), (0, 0, 1), (0, 9, 1)];
    let bad =
        [(5000, 2000, 2), (5000, 2500, 3), (5000, 5000, 2), (5000, 0, 2), (0, 0, 2), (0, 1, 2)];
    let parse = |(total, chunk, count): (u64, u64, usize)| {
        Message::parse(&chunked(total, chunk, &["0", "1", "2"][..count]))
    };

    for sizes in good {
        let envelope = parse(sizes).unwrap().envelope;
        let lens: Vec<u64> = (0..envelope.chunk_count).map(|i| envelope.chunk_len(i)).collect();
        assert_eq!(lens.iter().sum::<u64>(), envelope.total_bytes, "{sizes:?}");
    }
    for sizes in bad {
        assert_code(&format!("{sizes:?}"), parse(sizes), "bad-chunk-map");
    }
}

#[test]
fn p11_only_an_empty_file_may_have_no_layers() {
    assert_code("5000 bytes", Message::parse(&chunked(5000, 5000, &[])), "bad-chunk-map");
    assert_code("missing layer", Message::parse(&with("/layers", json!([]))), "bad-chunk-map");
    let two = json!([layer("0"), layer("1")]);
    assert_code("extra layer", Message::parse(&with("/layers", two)), "bad-chunk-map");

    assert!(Message::parse(&chunked(0, 0, &[])).is_ok());
}

#[test]
fn m11_to_m15_other_artifacts_are_refused() {
    let image_layer = json!("application/vnd.oci.image.layer.v1.tar+zstd");
    let mut untyped = manifest();
    untyped.as_object_mut().unwrap().remove("artifactType");
    let untyped = untyped.to_string().into_bytes();
    let index = json!(media_type::IMAGE_INDEX);
    let cases = [
        ("M11 layer type", with("/layers/0/mediaType", image_layer), "bad-field"),
        ("M12 receipt", with("/artifactType", json!(media_type::RECEIPT)), "not-a-message"),
        (
            "M12 v2",
            with("/artifactType", json!("application/vnd.dockercomms.message.v2")),
            "not-a-message",
        ),
        ("M13 no type", untyped, "not-a-message"),
        ("M13 null type", with("/artifactType", json!(null)), "bad-field"),
        ("M14 index too", with("/manifests", json!([])), "ambiguous"),
        ("M15 index type", with("/mediaType", index), "bad-field"),
        ("M15 null type", with("/mediaType", json!(null)), "bad-field"),
        ("schema 1", with("/schemaVersion", json!(1)), "bad-field"),
        ("schema 2.0", with("/schemaVersion", json!(2.0)), "bad-field"),
        ("layers no list", with("/layers", json!({})), "bad-field"),
        ("layer no object", with("/layers", json!([null])), "bad-field"),
    ];

    for (id, bytes, code) in cases {
        assert_code(id, Message::parse(&bytes), code);
    }
}

#[test]
fn m16_m17_a_descriptor_may_neither_point_elsewhere_nor_carry_data() {
    let urls = json!(["https://evil.example/x"]);
    for at in ["/layers/0", "/config"] {
        let elsewhere = Message::parse(&with(&format!("{at}/urls"), urls.clone()));
        let nowhere = Message::parse(&with(&format!("{at}/urls"), json!([])));
        let data = Message::parse(&with(&format!("{at}/data"), json!("ZXZpbA==")));
        assert_code("M16", elsewhere, "bad-field");
        assert_code("M16 none", nowhere, "bad-field");
        assert_code("M17", data, "bad-field");
    }
    let on_layer = Message::parse(&with("/layers/0/data", json!("e30=")));
    assert_code("M17 data of another blob", on_layer, "bad-field");

    let same = Message::parse(&with("/config/data", json!("e30=")));

    assert!(same.is_ok());
}

#[test]
fn m18_layer_sizes_are_whole_numbers_that_the_chunk_can_have() {
    let parse = |size| Message::parse(&with("/layers/0/size", size));
    let largest = layer_len_max(5000);

    for size in [json!(-1), json!(1000.0), json!("135"), json!(null), json!(1e300), json!([])] {
        assert_code(&format!("M18 {size}"), parse(size), "bad-field");
    }
    for size in [json!(0), json!(1_u64 << 50), json!(u64::MAX), json!(largest + 1)] {
        assert_code(&format!("M18 {size}"), parse(size), "bad-chunk-map");
    }
    assert!(parse(json!(largest)).is_ok() && parse(json!(1)).is_ok());
}

#[test]
fn m19_digests_are_sha256_in_lower_case() {
    let hex = Digest::of(b"x").hex();
    let bad = [
        format!("sha256:{}", hex.split_at(1).1),
        format!("sha256:{hex}0"),
        format!("sha256:{}", hex.to_uppercase()),
        format!("SHA256:{hex}"),
        format!("sha512:{hex}{hex}"),
        "md5:d41d8cd98f00b204e9800998ecf8427e".into(),
        "sha256:../../etc/passwd".into(),
        "../../etc/passwd".into(),
        String::new(),
        hex.clone(),
        format!("sha256:{hex}?x=y"),
        format!("sha256:{hex} "),
    ];

    for digest in bad {
        for at in ["/layers/0/digest", "/config/digest"] {
            let parsed = Message::parse(&with(at, json!(digest)));
            assert_code(&format!("M19 {digest}"), parsed, "bad-field");
        }
    }
}

#[test]
fn m20_m22_the_config_is_empty_and_a_subject_ignored() {
    let subject = json!({
        "mediaType": media_type::IMAGE_MANIFEST,
        "digest": Digest::of(b"other").to_string(),
        "size": 5,
    });
    let mut unconfigured = manifest();
    unconfigured.as_object_mut().unwrap().remove("config");
    let unconfigured = Message::parse(unconfigured.to_string().as_bytes());
    let other = json!(Digest::of(b"{ }").to_string());

    assert_code("M20 size", Message::parse(&with("/config/size", json!(3))), "bad-field");
    assert_code("M20 digest", Message::parse(&with("/config/digest", other)), "bad-field");
    let image = json!("application/vnd.oci.image.config.v1+json");
    assert_code("M20 type", Message::parse(&with("/config/mediaType", image)), "bad-field");
    assert_code("M20 none", unconfigured, "missing-field");
    let plain = Message::parse(manifest().to_string().as_bytes());
    assert_eq!(Message::parse(&with("/subject", subject)), plain);
}

#[test]
fn m36_the_most_layers_are_accepted_and_one_more_refused() {
    let indices: Vec<String> = (0..=CHUNK_COUNT_MAX).map(|index| index.to_string()).collect();
    let indices: Vec<&str> = indices.iter().map(String::as_str).collect();
    let count = u64::from(CHUNK_COUNT_MAX);

    let most = Message::parse(&chunked(count * 10, 10, &indices[..indices.len() - 1])).unwrap();
    let more = Message::parse(&chunked(count * 10 + 1, 10, &indices));

    assert_eq!(most.chunks.len() as u64, count);
    assert!((most.encode().unwrap().len() as u64) < MANIFEST_LEN_MAX);
    assert_code("M36", more, "bad-chunk-map");
}

#[test]
fn encode_refuses_what_parse_would_refuse_or_read_otherwise() {
    let good = Message::parse(&annotated(key::TTL_SECONDS, "7")).unwrap();
    let envelope = |change: fn(&mut Envelope)| {
        let mut message = good.clone();
        change(&mut message.envelope);
        message
    };
    let extended = |name: &str, value: &str| {
        let mut message = good.clone();
        message.extensions.insert(name.to_owned(), value.to_owned());
        message
    };
    let cases = [
        ("total", envelope(|envelope| envelope.total_bytes = 5001)),
        ("count", envelope(|envelope| envelope.chunk_count = 0)),
        ("ttl", envelope(|envelope| envelope.ttl_secs = u64::MAX)),
        ("filename", envelope(|envelope| envelope.filename = "x".repeat(5000))),
        ("chunks", Message { chunks: Vec::new(), ..good.clone() }),
        (
            "size",
            Message {
                chunks: vec![crate::protocol::ChunkLayer { size: 0, ..good.chunks[0] }],
                ..good.clone()
            },
        ),
        ("extension that replaces", extended(key::FILENAME, "evil")),
        ("extension of no kind", extended("org.example", "x")),
        ("long extension", extended("dockercomms.x.note", &"x".repeat(5000))),
    ];

    assert!(good.encode().is_ok());
    for (case, message) in cases {
        assert!(message.encode().is_err(), "{case}");
    }
}
