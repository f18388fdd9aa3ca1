//! `cosign` accepts what we sign, and refuses anything that differs from it.

use super::scene::{Posted, Scene, have_tools};
use crate::common::{ALICE, BOB, Ran, Registry, log_like, read, write};

const VERIFY: &str = "cosign verify --insecure-ignore-tlog=true";

const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

impl Scene {
    /// Runs `cosign verify` with a key and more arguments.
    fn verify(&self, key: &str, arguments: &str, digest: &str) -> Ran {
        self.try_sh(&format!("{VERIFY} --key {key} {arguments} $REPO@{digest}"))
    }

    /// Writes the message's manifest and bundle to `manifest.json` and `bundle.json`.
    fn save(&self, posted: &Posted) {
        let digest = &posted.digest;
        self.sh(&format!("crane manifest $REPO@{digest} > manifest.json"));
        let found = self.json(&format!("oras discover --plain-http --format json $REPO@{digest}"));
        let bundle = found["referrers"][0]["digest"].as_str().unwrap();
        let artifact = self.json(&format!("crane manifest $REPO@{bundle}"));
        let layer = artifact["layers"][0]["digest"].as_str().unwrap();
        self.sh(&format!("oras blob fetch --plain-http -o bundle.json $REPO@{layer}"));
    }

    /// Copies the message without its signature to another repository.
    fn copy_unsigned(&self, posted: &Posted, repository: &str) {
        let digest = &posted.digest;
        self.sh(&format!(
            "oras cp --from-plain-http --to-plain-http $REPO@{digest} $REPO/{repository}:copy"
        ));
    }

    /// Attaches a file as a bundle to a manifest in another repository.
    fn attach(&self, bundle: &str, repository: &str, digest: &str) {
        self.sh(&format!(
            "oras attach --plain-http --artifact-type {BUNDLE_TYPE} $REPO/{repository}@{digest} \
             {bundle}:{BUNDLE_TYPE}"
        ));
    }
}

#[track_caller]
fn verifies(registry: Option<Registry>) {
    let Some(registry) = registry.filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    let posted = scene.post("report.pdf", &log_like(300_000));
    let digest = posted.digest.as_str();

    let by_tag = scene.try_sh(&format!("{VERIFY} --key alice.pub $REPO:{}", posted.tag));
    let right = format!("-a dockercomms.sender={ALICE} -a dockercomms.recipient={BOB}");

    let said = scene.verify("alice.pub", "", digest).ok();
    assert!(said.contains(digest), "{said}");
    by_tag.ok();
    scene.verify("alice.pub", &right, digest).ok();
    scene.verify("alice.pub", "-a dockercomms.filename=report.pdf", digest).ok();
    for wrong in ["-a dockercomms.sender=eve@example.com", "-a dockercomms.filename=other.pdf"] {
        let ran = scene.verify("alice.pub", wrong, digest);
        assert!(!ran.status.success(), "{wrong}: {ran:?}");
    }
    let ran = scene.verify("bob.pub", "", digest);
    assert!(!ran.status.success(), "another key: {ran:?}");
}

#[test]
fn cosign_verifies_a_message_on_docker_registry() {
    verifies(Registry::docker());
}

#[test]
fn cosign_verifies_a_message_on_crane() {
    verifies(Registry::crane());
}

#[test]
fn cosign_verifies_a_receipt_with_the_key_of_its_author() {
    let Some(registry) = Registry::docker().filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    scene.post("report.pdf", b"report");
    scene.bob.receive();

    let tags = scene.sh("crane ls $REPO");
    let receipt = tags.lines().find(|tag| tag.starts_with("receipt-")).expect(&tags).to_owned();

    scene.sh(&format!(
        "{VERIFY} --key bob.pub -a dockercomms.receipt.status=accepted $REPO:{receipt}"
    ));
    let ran = scene.try_sh(&format!("{VERIFY} --key alice.pub $REPO:{receipt}"));
    assert!(!ran.status.success(), "the sender's key: {ran:?}");
}

#[test]
fn cosign_refuses_a_manifest_in_which_one_byte_differs() {
    let Some(registry) = Registry::docker().filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    let posted = scene.post("report.pdf", b"report");
    scene.save(&posted);
    let verify = "cosign verify-blob-attestation --insecure-ignore-tlog=true --key alice.pub \
                  --bundle bundle.json --type https://sigstore.dev/cosign/sign/v1";
    let manifest = read(scene.alice.dir().join("manifest.json"));
    scene.sh(&format!("{verify} manifest.json"));

    let last = manifest.len() - 1;
    for position in [0, 1, last / 5, last / 3, last / 2, 2 * last / 3, last - 1, last] {
        let mut changed = manifest.clone();
        changed[position] ^= 1;
        write(scene.alice.dir().join("changed.json"), changed);
        let ran = scene.try_sh(&format!("{verify} changed.json"));
        assert!(!ran.status.success(), "byte {position}: {ran:?}");
    }
}

#[test]
fn cosign_refuses_a_signature_that_was_moved_to_another_manifest() {
    let Some(registry) = Registry::docker().filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    let posted = scene.post("report.pdf", b"report");
    scene.save(&posted);
    scene.copy_unsigned(&posted, "moved");

    // The same message for another recipient, with the signature of the first.
    let text = String::from_utf8(read(scene.alice.dir().join("manifest.json"))).unwrap();
    write(scene.alice.dir().join("changed.json"), text.replace(BOB, "eve@example.com"));
    scene.sh("oras manifest push --plain-http $REPO/moved:changed changed.json");
    let changed = scene.sh("crane digest $REPO/moved:changed").trim().to_owned();
    scene.attach("bundle.json", "moved", &changed);

    let ran = scene.try_sh(&format!("{VERIFY} --key alice.pub $REPO/moved@{changed}"));
    assert!(!ran.status.success(), "{ran:?}");
}

#[test]
fn cosign_refuses_a_bundle_in_which_what_is_signed_differs() {
    let Some(registry) = Registry::docker().filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    let posted = scene.post("report.pdf", b"report");
    scene.save(&posted);
    let bundle: serde_json::Value =
        serde_json::from_slice(&read(scene.alice.dir().join("bundle.json"))).unwrap();
    let check = |name: &str, bundle: &serde_json::Value| {
        scene.copy_unsigned(&posted, name);
        write(scene.alice.dir().join(format!("{name}.json")), bundle.to_string());
        scene.attach(&format!("{name}.json"), name, &posted.digest);
        scene.try_sh(&format!("{VERIFY} --key alice.pub $REPO/{name}@{}", posted.digest))
    };

    check("same", &bundle).ok();
    for (name, pointer, place) in [
        ("payload", "/dsseEnvelope/payload", 40),
        ("payload-end", "/dsseEnvelope/payload", 300),
        ("signature", "/dsseEnvelope/signatures/0/sig", 20),
        ("type", "/dsseEnvelope/payloadType", 3),
    ] {
        let mut changed = bundle.clone();
        let value = changed.pointer_mut(pointer).unwrap();
        let mut text = value.as_str().unwrap().to_owned().into_bytes();
        text[place] = if text[place] == b'A' { b'B' } else { b'A' };
        *value = String::from_utf8(text).unwrap().into();
        let ran = check(name, &changed);
        assert!(!ran.status.success(), "{name}: {ran:?}");
    }
}

#[test]
fn cosign_verifies_our_bundle_as_a_file() {
    let Some(registry) = Registry::crane().filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    let posted = scene.post("report.pdf", b"report");
    scene.save(&posted);
    let options = "--insecure-ignore-tlog=true --bundle bundle.json";

    scene.sh(&format!("cosign verify-blob {options} --key alice.pub manifest.json"));
    let ran = scene.try_sh(&format!("cosign verify-blob {options} --key bob.pub manifest.json"));

    assert!(!ran.status.success(), "{ran:?}");
}
