//! A message that stock tools made by src/protocol/README.md is equivalent to one of ours.

use super::scene::{Scene, have_tools};
use crate::common::{BOB, Registry, names_in, random_bytes, read, run, tool, write};

const CAROL: &str = "carol@example.com";

/// `lower(base32hex(sha256("bob@example.com")))[:26]`, as the specification has it.
const BOB_TAG: &str = "bvs61fohi1cmosc8le2hrdkhu3";

const CHUNK_BYTES: usize = 40_000;

/// How a layer is compressed, by a program that packs standard input.
struct Compression {
    name: &'static str,
    program: &'static str,
}

const GZIP: Compression = Compression { name: "gzip", program: "gzip -9" };

const ZSTD: Compression = Compression { name: "zstd", program: "zstd -19" };

impl Scene {
    /// Makes carol's key and trusts nothing yet.
    fn carol_makes_a_key(&self) {
        self.sh("cosign generate-key-pair --output-key-prefix carol; \
                 cosign signing-config create --out signing-config.json");
    }

    /// Pushes a message of carol's with `oras`, unsigned; returns its digest.
    #[track_caller]
    fn push(&self, name: &str, bytes: &[u8], compression: &Compression) -> String {
        let Compression { name: compression, program } = compression;
        let chunks = bytes.chunks(CHUNK_BYTES);
        let mut annotations = serde_json::json!({"$manifest": {
            "dockercomms.version": "1.0",
            "dockercomms.sender": CAROL,
            "dockercomms.recipient": BOB,
            "dockercomms.message.id": "5a0c3f0e-0d4c-4f8e-9a8e-6d1f0a3b2c1d",
            "dockercomms.created_at": self.sh("date -u +%Y-%m-%dT%H:%M:%SZ").trim(),
            "dockercomms.ttl_seconds": "3600",
            "dockercomms.filename": name,
            "dockercomms.total_bytes": bytes.len().to_string(),
            "dockercomms.chunk_bytes": CHUNK_BYTES.to_string(),
            "dockercomms.chunk_count": chunks.len().to_string(),
            "dockercomms.compression": compression,
        }});
        let mut layers = Vec::new();
        for (index, chunk) in chunks.enumerate() {
            write(self.alice.dir().join(format!("chunk_{index}.bin")), chunk);
            let layer = format!("layer_{index}");
            self.sh(&format!(
                "tar --format=ustar --owner=0 --group=0 --numeric-owner --mode=0644 --mtime=@0 \
                 -cf - chunk_{index}.bin | {program} > {layer}"
            ));
            annotations[&layer] = serde_json::json!({"dockercomms.chunk.index": index.to_string()});
            layers.push(format!("{layer}:application/vnd.dockercomms.chunk.v1.tar+{compression}"));
        }
        write(self.alice.dir().join("annotations.json"), annotations.to_string());
        let tag = format!("inbox-{BOB_TAG}-20260102-aaaaaaaa-5a0c3f0e");
        self.sh(&format!(
            "oras push --plain-http --artifact-type application/vnd.dockercomms.message.v1 \
             --annotation-file annotations.json $REPO:{tag} {}",
            layers.join(" ")
        ));
        self.sh(&format!("crane digest $REPO:{tag}")).trim().to_owned()
    }

    #[track_caller]
    fn sign(&self, digest: &str) {
        self.sh(&format!(
            "cosign sign --yes --key carol.key --signing-config signing-config.json $REPO@{digest}"
        ));
    }

    #[track_caller]
    fn trust_carol(&self) {
        let key = self.alice.dir().join("carol.pub");
        let mut command = self.bob.command();
        command.args(["trust", "add"]).arg(key).args(["--name", CAROL, "--yes"]);
        run(command).ok();
    }
}

#[track_caller]
fn is_read(registry: Option<Registry>, compression: &Compression) {
    let Some(registry) = registry.filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    let bytes = random_bytes(4, 2 * CHUNK_BYTES + 777);
    scene.carol_makes_a_key();
    let digest = scene.push("plan.bin", &bytes, compression);
    scene.sign(&digest);
    let mount = scene.bob.mount();

    mount.wait_for_file(format!(".dockercomms/quarantine/{CAROL}/plan.bin.WHY.txt"));
    let before = names_in(mount.path().join("inbox"));
    scene.trust_carol();
    let message = mount.message(CAROL, "plan.bin");

    assert!(before.is_empty(), "carol's key is not trusted yet: {before:?}");
    assert!(read(&message) == bytes, "the bytes differ");
    assert_eq!(mount.attribute(&message, "digest"), Some(digest.clone()));
    assert_eq!(mount.attribute(&message, "sender").as_deref(), Some(CAROL));
    mount.wait_for_file(format!("receipts/issued/{CAROL}/plan.bin.accepted.json"));
    let receipt = scene.sh("crane ls $REPO | grep ^receipt-");
    let receipt = receipt.trim();
    scene.sh(&format!(
        "cosign verify --insecure-ignore-tlog=true --key bob.pub \
         -a dockercomms.receipt.status=accepted $REPO:{receipt}"
    ));
}

#[test]
fn a_gzip_message_by_oras_and_cosign_is_read_from_docker_registry() {
    is_read(Registry::docker(), &GZIP);
}

#[test]
fn a_gzip_message_by_oras_and_cosign_is_read_from_crane() {
    is_read(Registry::crane(), &GZIP);
}

#[test]
fn a_zstd_message_by_oras_and_cosign_is_read_from_docker_registry() {
    if tool("zstd").is_some() {
        is_read(Registry::docker(), &ZSTD);
    }
}

#[test]
fn a_foreign_message_without_a_signature_is_never_listed() {
    let Some(registry) = Registry::docker().filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    scene.carol_makes_a_key();
    scene.trust_carol();
    scene.push("plan.bin", b"plan", &GZIP);
    let mount = scene.bob.mount();

    let why = mount.wait_for_file(format!(".dockercomms/quarantine/{CAROL}/plan.bin.WHY.txt"));

    assert!(String::from_utf8(why).unwrap().contains("signature"));
    assert!(names_in(mount.path().join("inbox")).is_empty());
}
