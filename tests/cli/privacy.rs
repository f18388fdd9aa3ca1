//! What must not be shown: secrets in any output, and terminal escapes of other people.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dockercomms::protocol::{
    Annotations, ChunkLayer, Compression, Descriptor, Digest, EMPTY_BYTES, Envelope, Message,
    MessageId, Tag, Timestamp, encode_bundle_manifest, media_type,
};
use dockercomms::registry::{LayoutRepository, ManifestUpload, Repository};
use dockercomms::trust::{SigningKey, sign_manifest};

use super::send;
use crate::common::{
    ALICE, BOB, Home, HttpServer, alice_and_bob, names_in, read, repository, run, temp_dir, write,
};

#[test]
fn f24_the_private_key_is_in_no_output_however_verbose() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    let digest = send(&alice, BOB, "a.txt", b"hello");
    send(&bob, ALICE, "b.txt", b"hello");
    let pem = String::from_utf8(read(alice.path().join("config/key.pem"))).unwrap();
    let secret: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(!secret.is_empty());

    for arguments in [
        vec!["init"],
        vec!["key", "show"],
        vec!["key", "show", "--pem"],
        vec!["key", "export"],
        vec!["status"],
        vec!["doctor", "--write"],
        vec!["send", "a.txt", "--to", BOB],
        vec!["recv"],
        vec!["ls"],
        vec!["verify", &digest, "--explain"],
        vec!["trust", "export"],
        vec!["key", "new"],
    ] {
        for verbose in [vec!["-vvv"], vec!["-vvv", "--json"]] {
            let ran = alice.run(verbose.iter().chain(&arguments));
            let all = format!("{}{}", ran.text(), ran.stderr);

            assert!(!all.contains("PRIVATE KEY"), "{ran:?}");
            assert!(secret.iter().all(|line| !all.contains(line)), "{ran:?}");
        }
    }
    for folder in [dir.path(), &alice.path().join("state"), &alice.path().join("cache")] {
        assert_no_file_holds(folder, secret[0]);
    }
}

fn assert_no_file_holds(folder: &Path, secret: &str) {
    for name in names_in(folder) {
        let path = folder.join(name);
        if path.is_dir() {
            assert_no_file_holds(&path, secret);
        } else {
            let bytes = read(&path);
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
}

#[test]
fn f24_a_registry_s_password_is_in_no_output_however_verbose() {
    for status in [401, 403, 500] {
        let server = HttpServer::start(move |_method, target| (status, format!("at {target}")));
        let reference = server.reference("mail");
        let host = reference["docker://".len()..].split('/').next().unwrap().to_owned();
        let alice = Home::init(ALICE, &reference);
        alice.set("deadline = \"1s\"");
        write(alice.dir().join("a.txt"), "hello");
        // What `docker login` leaves: base64 of `alice:correct horse`.
        let login = "YWxpY2U6Y29ycmVjdCBob3JzZQ==";
        let docker = alice.dir().join(".docker");
        std::fs::create_dir(&docker).unwrap();
        let config = format!(r#"{{"auths":{{"{host}":{{"auth":"{login}"}}}}}}"#);
        write(docker.join("config.json"), config);

        for arguments in [vec!["doctor"], vec!["send", "a.txt", "--to", BOB, "--new"], vec!["recv"]]
        {
            let ran = alice.run(["-vvv"].iter().chain(&arguments));
            let all = format!("{}{}", ran.text(), ran.stderr);

            assert_ne!(ran.code(), 0, "{ran:?}");
            assert!(!all.contains("correct horse") && !all.contains(login), "{ran:?}");
        }
        assert_no_file_holds(&alice.path(), login);
    }
}

#[test]
fn a_password_in_a_reference_is_neither_shown_nor_kept() {
    let home = Home::new();
    let reference = "docker://alice:sesame@127.0.0.1:1/mail";
    home.run(["init", "--me", ALICE, "--registry", "docker://127.0.0.1:1/mail"]).ok();

    for verb in ["doctor", "status", "recv", "send", "init"] {
        let mut command = home.command();
        // Only a profile that is new takes the reference.
        let profile = if verb == "init" { "other" } else { "default" };
        command.args(["--profile", profile, "-vvv"]);
        command.env("DOCKERCOMMS_REGISTRY", reference).arg(verb);
        if verb == "send" {
            command.args(["a.txt", "--to", BOB, "--new"]);
        }
        let ran = run(command);

        assert_eq!(ran.code(), 9, "{ran:?}");
        assert!(!ran.stderr.contains("sesame") && !ran.text().contains("sesame"), "{ran:?}");
    }
    assert_no_file_holds(&home.path(), "sesame");
}

/// Puts a message into the repository as a sender with a program of their own can.
fn push_message(dir: &tempfile::TempDir, from: &Home, filename: &str) -> String {
    let repository: Arc<dyn Repository> =
        Arc::new(LayoutRepository::new(dir.path().join("repository")));
    let key = String::from_utf8(read(from.path().join("config/key.pem"))).unwrap();
    let key = SigningKey::from_pem(&key).unwrap();
    let recipient: dockercomms::protocol::Identity = BOB.parse().unwrap();
    let layer = b"not a layer";
    let manifest = Message {
        id: "7f3c9a1e-0000-4000-8000-000000000001".parse::<MessageId>().unwrap(),
        envelope: Envelope {
            sender: ALICE.parse().unwrap(),
            recipient: recipient.clone(),
            created_at: Timestamp::from_unix_secs(1_790_000_000),
            ttl_secs: 0,
            filename: filename.to_owned(),
            total_bytes: 3,
            chunk_bytes: 3,
            chunk_count: 1,
            compression: Compression::Zstd,
        },
        chunks: vec![ChunkLayer { digest: Digest::of(layer), size: layer.len() as u64 }],
        extensions: Annotations::new(),
    };
    let manifest = manifest.encode().unwrap();
    let subject = Descriptor::of(media_type::IMAGE_MANIFEST, &manifest);
    let bundle = sign_manifest(&key, &manifest).unwrap();
    let attached = encode_bundle_manifest(
        &subject,
        &Descriptor::of(media_type::BUNDLE, &bundle),
        &Annotations::new(),
    );
    let tag = |text: String| text.parse::<Tag>().unwrap();
    let inbox = format!(
        "{}20260921-00000000-{}",
        Tag::message_prefix(&recipient.recipient_tag()),
        subject.digest.hex12()
    );
    let bundle_tag = format!("{}1790000000-000000", Tag::bundle_prefix(&subject.digest));
    let upload = |bytes: Vec<u8>, name: String| ManifestUpload {
        bytes: bytes.into(),
        media_type: media_type::IMAGE_MANIFEST,
        tag: Some(tag(name)),
        referrer: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for blob in [&layer[..], EMPTY_BYTES, &bundle] {
            let bytes = Bytes::copy_from_slice(blob);
            repository.push_blob(&Digest::of(blob), bytes).await.unwrap();
        }
        repository.push_manifest(&upload(attached, bundle_tag)).await.unwrap();
        repository.push_manifest(&upload(manifest, inbox)).await.unwrap();
    });
    subject.digest.to_string()
}

#[test]
fn a_hostile_file_name_is_escaped_wherever_it_is_shown() {
    let dir = temp_dir();
    let (alice, bob) = alice_and_bob(&repository(&dir));
    for filename in [
        "\u{1b}[2Jcleared",
        "exe\u{202e}fdp.txt",
        "two\nerror: lines",
        "../../up",
        "a\u{7}\u{9b}31m",
    ] {
        let digest = push_message(&dir, &alice, filename);

        for arguments in [
            vec!["ls"],
            vec!["ls", "--json"],
            vec!["ls", "quarantine"],
            vec!["verify", &digest, "--explain"],
            vec!["verify", &digest, "--json"],
            vec!["recv", "-vv"],
            vec!["status"],
        ] {
            let ran = bob.run(&arguments);
            let all = format!("{}{}", ran.text(), ran.stderr);

            let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!all.contains(bad), "{filename:?}: {ran:?}");
            assert!(!all.contains("\nerror: lines"), "{filename:?}: {ran:?}");
        }
    }
    assert!(!bob.dir().parent().unwrap().join("up").exists());
}
