//! Bundle manifests (P15, P16).

use serde_json::{Value, json};

use super::assert_code;
use crate::protocol::limits::BUNDLE_LEN_MAX;
use crate::protocol::{
    Annotations, Descriptor, Digest, ImageManifest, encode_bundle_manifest, media_type,
    parse_bundle_manifest,
};

fn subject() -> Descriptor {
    Descriptor::of(media_type::IMAGE_MANIFEST, b"the signed manifest")
}

fn bundle() -> Descriptor {
    Descriptor::of(media_type::BUNDLE, b"the bundle")
}

fn encoded() -> Vec<u8> {
    let annotations = Annotations::from([("dockercomms.sender".into(), "alice".into())]);
    encode_bundle_manifest(&subject(), &bundle(), &annotations)
}

fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(&encoded()).unwrap();
    change(&mut value);
    value.to_string().into_bytes()
}

fn parse(bytes: &[u8]) -> Result<Descriptor, crate::protocol::ProtocolError> {
    parse_bundle_manifest(bytes, &subject().digest)
}

#[test]
fn p15_a_bundle_manifest_names_its_subject_and_copies_its_annotations() {
    let manifest = ImageManifest::parse(&encoded()).unwrap();

    assert_eq!(manifest.artifact_type.as_deref(), Some(media_type::BUNDLE));
    assert_eq!(manifest.config, Descriptor::empty());
    assert_eq!(manifest.layers, [bundle()]);
    assert_eq!(manifest.subject, Some(subject()));
    assert_eq!(manifest.annotations["dockercomms.sender"], "alice");
    assert_eq!(parse(&encoded()), Ok(bundle()));
}

#[test]
fn p16_what_other_tools_write_is_accepted() {
    let typed =
        |media_type: &str| changed(|value| value["layers"][0]["mediaType"] = json!(media_type));
    let remove = |name: &str| {
        changed(|value| {
            value.as_object_mut().unwrap().remove(name);
        })
    };
    let cases = [
        ("no subject", remove("subject")),
        ("no artifact type", remove("artifactType")),
        ("no annotations", remove("annotations")),
        ("other artifact type", changed(|value| value["artifactType"] = json!("text/x"))),
        ("v0.1", typed("application/vnd.dev.sigstore.bundle+json;version=0.1")),
        ("v0.2", typed("application/vnd.dev.sigstore.bundle+json;version=0.2")),
        ("largest", changed(|value| value["layers"][0]["size"] = json!(BUNDLE_LEN_MAX))),
    ];

    for (case, bytes) in cases {
        assert_eq!(parse(&bytes).map(|layer| layer.digest), Ok(bundle().digest), "{case}");
    }
}

#[test]
fn p16_candidates_for_something_else_are_refused() {
    let other = json!(Digest::of(b"another").to_string());
    let layers = |layers: &[&Descriptor]| {
        let json: Vec<Value> = layers.iter().map(|layer| layer.to_json()).collect();
        changed(|value| value["layers"] = json!(json))
    };
    let cases = [
        ("other subject", changed(|value| value["subject"]["digest"] = other), "bad-field"),
        ("no layer", layers(&[]), "bad-field"),
        ("two layers", layers(&[&bundle(), &bundle()]), "bad-field"),
        ("no bundle", layers(&[&Descriptor::empty()]), "not-a-message"),
        (
            "too large",
            changed(|value| value["layers"][0]["size"] = json!(BUNDLE_LEN_MAX + 1)),
            "too-large",
        ),
        ("urls", changed(|value| value["layers"][0]["urls"] = json!([])), "bad-field"),
        ("index", changed(|value| value["manifests"] = json!([])), "ambiguous"),
    ];

    for (case, bytes, code) in cases {
        assert_code(case, parse(&bytes), code);
    }
}
