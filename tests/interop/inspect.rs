//! What `oras`, `skopeo` and `crane` show of a message is exactly what src/protocol/README.md says.

use serde_json::{Value, json};

use super::scene::{Scene, have_tools, try_sh};
use crate::common::{
    ALICE, BOB, Registry, alice_and_bob, log_like, random_bytes, read, repository, run, temp_dir,
    write,
};

const EMPTY: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Asserts that a manifest is one of a message by alice, with nothing missing and nothing more.
#[track_caller]
fn expect_message(manifest: &Value, name: &str, len: usize, chunk: usize, compression: &str) {
    let annotations = &manifest["annotations"];
    let count = len.div_ceil(chunk);
    let text = |key: &str| annotations[key].as_str().unwrap_or_default();
    assert_eq!(
        *annotations,
        json!({
            "dockercomms.version": "1.0",
            "dockercomms.sender": ALICE,
            "dockercomms.recipient": BOB,
            "dockercomms.message.id": text("dockercomms.message.id"),
            "dockercomms.created_at": text("dockercomms.created_at"),
            "dockercomms.ttl_seconds": "604800",
            "dockercomms.filename": name,
            "dockercomms.total_bytes": len.to_string(),
            "dockercomms.chunk_bytes": chunk.to_string(),
            "dockercomms.chunk_count": count.to_string(),
            "dockercomms.compression": compression,
        })
    );
    assert_eq!(text("dockercomms.message.id").len(), 36);
    assert!(text("dockercomms.created_at").ends_with('Z'));
    assert_eq!(manifest["schemaVersion"], 2);
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["artifactType"], "application/vnd.dockercomms.message.v1");
    let empty = json!({
        "mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY, "size": 2
    });
    assert_eq!(manifest["config"], empty);
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), count);
    for (index, layer) in layers.iter().enumerate() {
        assert_eq!(
            layer["mediaType"],
            format!("application/vnd.dockercomms.chunk.v1.tar+{compression}")
        );
        assert_eq!(layer["annotations"], json!({"dockercomms.chunk.index": index.to_string()}));
    }
    assert_eq!(manifest.get("subject"), None);
}

/// Asserts that the tags are the message's, its bundle's and the fallback of the referrers API.
#[track_caller]
fn expect_tags(tags: &str, digest: &str) {
    let mut tags: Vec<&str> = tags.split_whitespace().collect();
    tags.sort_unstable();
    let hex = digest.strip_prefix("sha256:").unwrap();
    assert_eq!(tags.len(), 3, "{tags:?}");
    assert!(tags[0].starts_with(&format!("bundle-{}-", &hex[..12])), "{tags:?}");
    let parts: Vec<&str> = tags[1].split('-').collect();
    assert_eq!(parts[..2], ["inbox", "bvs61fohi1cmosc8le2hrdkhu3"], "{tags:?}");
    let lens: Vec<usize> = parts[2..].iter().map(|part| part.len()).collect();
    assert_eq!(lens, [8, 8, 8], "{tags:?}");
    assert_eq!(tags[2], format!("sha256-{hex}"));
}

/// Asserts that one bundle, and nothing else, refers to the message.
#[track_caller]
fn expect_bundle(found: &Value) {
    let referrers = found["referrers"].as_array().unwrap();
    assert_eq!(referrers.len(), 1, "{found}");
    assert_eq!(referrers[0]["artifactType"], BUNDLE);
}

#[track_caller]
fn shows_what_the_protocol_says(registry: Option<Registry>) {
    let Some(registry) = registry.filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    let len = (8 << 20) + 1000;
    let posted = scene.post("big log.txt", &log_like(len));
    let digest = posted.digest.as_str();

    let by_oras = scene.json(&format!("oras manifest fetch --plain-http $REPO@{digest}"));
    let by_crane = scene.json(&format!("crane manifest $REPO:{}", posted.tag));
    let by_skopeo =
        scene.json(&format!("skopeo inspect --raw --tls-verify=false docker://$REPO@{digest}"));
    let tags = scene.json("skopeo list-tags --tls-verify=false docker://$REPO");

    expect_message(&by_oras, "big log.txt", len, 8 << 20, "zstd");
    assert_eq!(by_crane, by_oras);
    assert_eq!(by_skopeo, by_oras);
    expect_tags(&scene.sh("crane ls $REPO"), digest);
    expect_tags(&scene.sh("oras repo tags --plain-http $REPO"), digest);
    assert_eq!(tags["Tags"].as_array().unwrap().len(), 3);
    let found = scene.json(&format!("oras discover --plain-http --format json $REPO@{digest}"));
    expect_bundle(&found);
    let bundle = found["referrers"][0]["digest"].as_str().unwrap();
    expect_bundle_artifact(
        &scene.json(&format!("crane manifest $REPO@{bundle}")),
        &by_oras,
        digest,
    );
}

/// Asserts that the artifact of a bundle names its message and repeats what that says (P15).
#[track_caller]
fn expect_bundle_artifact(artifact: &Value, message: &Value, digest: &str) {
    assert_eq!(
        (&artifact["artifactType"], &artifact["config"]["digest"]),
        (&json!(BUNDLE), &json!(EMPTY))
    );
    assert_eq!(artifact["subject"]["digest"], digest);
    assert_eq!(artifact["layers"].as_array().unwrap().len(), 1);
    assert_eq!(artifact["layers"][0]["mediaType"], BUNDLE);
    for (name, value) in message["annotations"].as_object().unwrap() {
        assert_eq!(artifact["annotations"][name], *value, "{name}");
    }
}

#[test]
fn tools_show_a_message_on_docker_registry_as_the_protocol_says() {
    shows_what_the_protocol_says(Registry::docker());
}

#[test]
fn tools_show_a_message_on_crane_as_the_protocol_says() {
    shows_what_the_protocol_says(Registry::crane());
}

#[test]
fn a_payload_is_put_together_with_oras_gzip_and_tar_alone() {
    let Some(registry) = Registry::docker().filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    let bytes = random_bytes(6, 200_000);
    let source = write(scene.alice.dir().join("report.pdf"), &bytes);
    let mut send = scene.alice.command();
    send.args(["send", "--to", BOB, "--compression", "gzip", "--chunk-bytes", "64KiB"]).arg(source);
    run(send).ok();
    let tag = scene.sh("crane ls $REPO | grep ^inbox-").trim().to_owned();

    scene.sh(&format!(
        "oras manifest fetch --plain-http $REPO:{tag} > manifest.json; \
         for layer in $(grep -o '\"digest\":\"sha256:[0-9a-f]*\",\"mediaType\":\"application/vnd.dockercomms' \
             manifest.json | grep -o 'sha256:[0-9a-f]*'); do \
             oras blob fetch --plain-http -o - $REPO@$layer | gzip -dc > layer.tar; \
             tar -tvf layer.tar >> entries; tar -xOf layer.tar >> payload; done"
    ));

    expect_message(
        &serde_json::from_slice(&read(scene.alice.dir().join("manifest.json"))).unwrap(),
        "report.pdf",
        bytes.len(),
        65_536,
        "gzip",
    );
    assert!(read(scene.alice.dir().join("payload")) == bytes);
    let entries = String::from_utf8(read(scene.alice.dir().join("entries"))).unwrap();
    let names: Vec<&str> =
        entries.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(names, ["chunk_0.bin", "chunk_1.bin", "chunk_2.bin", "chunk_3.bin"]);
    assert!(entries.lines().all(|line| line.starts_with("-rw-r--r-- 0/0")), "{entries}");
}

#[test]
fn tools_show_a_message_in_a_layout_directory_as_the_protocol_says() {
    if !have_tools() {
        return;
    }
    let directory = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&directory));
    let path = directory.path().join("repository").display().to_string();
    let source = write(alice.dir().join("report.pdf"), random_bytes(7, 100_000));
    let mut send = alice.command();
    send.args(["send", "--to", BOB, "--chunk-bytes", "64KiB"]).arg(source);
    run(send).ok();
    let sh = |script: &str| try_sh(alice.dir(), &path, script).ok();
    let json = |script: &str| -> Value { serde_json::from_str(&sh(script)).unwrap() };

    let tags = sh("oras repo tags --oci-layout $REPO");
    let tag = tags.lines().find(|tag| tag.starts_with("inbox-")).unwrap();
    let digest = sh(&format!("oras resolve --oci-layout $REPO:{tag}")).trim().to_owned();
    let by_oras = json(&format!("oras manifest fetch --oci-layout $REPO:{tag}"));
    let by_skopeo = json(&format!("skopeo inspect --raw oci:$REPO:{tag}"));

    expect_tags(&tags, &digest);
    expect_message(&by_oras, "report.pdf", 100_000, 65_536, "zstd");
    assert_eq!(by_skopeo, by_oras);
    expect_bundle(&json(&format!("oras discover --oci-layout --format json $REPO:{tag}")));
    let layer = by_oras["layers"][1]["digest"].as_str().unwrap();
    sh(&format!("oras blob fetch --oci-layout -o layer $REPO@{layer}"));
    assert_eq!(by_oras["layers"][1]["size"], read(alice.dir().join("layer")).len());
    drop(bob);
}

#[test]
fn a_message_survives_copies_by_skopeo_and_oras_byte_by_byte() {
    let Some(registry) = Registry::docker().filter(|_| have_tools()) else { return };
    let scene = Scene::on(registry);
    let posted = scene.post("report.pdf", &random_bytes(8, 100_000));
    let (digest, tag) = (&posted.digest, &posted.tag);

    scene.sh(&format!(
        "skopeo copy --src-tls-verify=false docker://$REPO@{digest} oci:layout:{tag}; \
         skopeo copy --dest-tls-verify=false oci:layout:{tag} docker://$REPO/other:{tag}; \
         oras cp -r --from-plain-http --to-plain-http $REPO:{tag} $REPO/whole:{tag}"
    ));

    assert_eq!(scene.sh(&format!("crane digest $REPO/other:{tag}")).trim(), digest);
    assert_eq!(scene.sh(&format!("crane digest $REPO/whole:{tag}")).trim(), digest);
    // The recursive copy takes the signature along.
    scene.sh(&format!(
        "cosign verify --insecure-ignore-tlog=true --key alice.pub $REPO/whole@{digest}"
    ));
    let copied = format!("docker://{}/whole", scene.repository);
    let bob = crate::common::Home::init(BOB, &copied);
    bob.trust(&scene.alice);
    assert_eq!(bob.receive(), [("report.pdf".to_owned(), random_bytes(8, 100_000))]);
}
