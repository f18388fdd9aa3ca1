//! Bundles of the public deployment, its staging deployment and cosign (B12): what the test suites
//! of Sigstore accept and refuse. `testdata/sigstore/README.md` says where they come from.
//!
//! Where we are stricter, the reason says so: certificates need a bundle of version 0.3 (P17), and
//! a statement of another kind than cosign's is not a signature.

use std::collections::BTreeMap;

use super::*;

macro_rules! data {
    ($file:literal) => {
        include_bytes!(concat!("../testdata/sigstore/", $file))
    };
}

const PUBLIC: &[u8] = data!("public-good.root.json");
const STAGING: &[u8] = data!("staging.root.json");
const GITHUB: &str = "https://github.com/login/oauth";
const ACTIONS: &str = "https://token.actions.githubusercontent.com";
const BEACON: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/\
     .github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const WILLIAM: &str = "william@yossarian.net";

/// One bundle over one artifact, and what is true of it.
struct Vector {
    name: &'static str,
    bundle: &'static [u8],
    artifact: &'static [u8],
    root: &'static [u8],
    issuer: &'static str,
    subject: &'static str,
    /// Why it is refused; `None` when it is accepted.
    refused: Option<&'static str>,
}

const A: &[u8] = data!("a.txt");

const VECTORS: [Vector; 14] = [
    row("rekor2-happy-path", data!("rekor2-happy-path.json"), A, STAGING, (ACTIONS, BEACON), None),
    row(
        "staging-rekor-v2",
        data!("staging-rekor-v2.json"),
        data!("staging-rekor-v2.txt"),
        STAGING,
        (GITHUB, "jku@goto.fi"),
        None,
    ),
    row(
        "sct-multi-intermediate",
        data!("sct-multi-intermediate.json"),
        b"",
        STAGING,
        (
            ACTIONS,
            "https://github.com/sigstore/root-signing-staging/.github/workflows/custom-test.yml\
             @refs/heads/main",
        ),
        None,
    ),
    row(
        "cosign-v3-blob",
        data!("cosign-v3-blob.json"),
        data!("cosign-v3-blob.txt"),
        PUBLIC,
        (GITHUB, "w.vollprecht@gmail.com"),
        None,
    ),
    row(
        "rekor2-timestamp-payload-mismatch",
        data!("rekor2-timestamp-payload-mismatch.json"),
        A,
        STAGING,
        (ACTIONS, BEACON),
        Some("no authority of the trusted root states when it was signed"),
    ),
    row(
        "invalid-ct-key",
        data!("invalid-ct-key.json"),
        A,
        data!("invalid-ct-key.root.json"),
        (ACTIONS, BEACON),
        Some("must be of version 0.3"),
    ),
    row(
        "swapped-log-entry (CVE-2022-36056)",
        data!("swapped-log-entry.json"),
        data!("swapped-log-entry.txt"),
        PUBLIC,
        (GITHUB, WILLIAM),
        Some("no log of the trusted root has signed the log entry"),
    ),
    row(
        "invalid-version",
        data!("invalid-version.json"),
        data!("invalid-version.txt"),
        PUBLIC,
        (GITHUB, WILLIAM),
        Some("the bundle has an unknown version"),
    ),
    row(
        "no-certificate",
        data!("no-certificate.json"),
        data!("no-certificate.txt"),
        PUBLIC,
        (GITHUB, WILLIAM),
        Some("must be of version 0.3"),
    ),
    row(
        "no-checkpoint",
        data!("no-checkpoint.json"),
        data!("no-checkpoint.txt"),
        PUBLIC,
        (GITHUB, WILLIAM),
        Some("must be of version 0.3"),
    ),
    row(
        "no-log-entry",
        data!("no-log-entry.json"),
        data!("no-log-entry.txt"),
        PUBLIC,
        ("https://accounts.google.com", "alex.cameron@trailofbits.com"),
        Some("must be of version 0.3"),
    ),
    row(
        "no-signed-time",
        data!("no-signed-time.json"),
        data!("no-signed-time.txt"),
        PUBLIC,
        (GITHUB, WILLIAM),
        Some("no authority of the trusted root states when it was signed"),
    ),
    // The suites accept these two: their statements are about an artifact, but do not say that a
    // person has signed it (P17).
    row(
        "a.dsse.staging-rekor-v2",
        data!("a.dsse.staging-rekor-v2.json"),
        A,
        STAGING,
        (ACTIONS, BEACON),
        Some("the signed statement has another predicate type"),
    ),
    row(
        "conda-attestation",
        data!("conda-attestation.json"),
        data!("conda-attestation.conda"),
        PUBLIC,
        (
            ACTIONS,
            "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml\
             @refs/heads/main",
        ),
        Some("the signed statement has another predicate type"),
    ),
];

const fn row(
    name: &'static str,
    bundle: &'static [u8],
    artifact: &'static [u8],
    root: &'static [u8],
    (issuer, subject): (&'static str, &'static str),
    refused: Option<&'static str>,
) -> Vector {
    Vector { name, bundle, artifact, root, issuer, subject, refused }
}

impl Vector {
    /// Verifies the bundle over `artifact`, as from alice, who is `subject` under `root`.
    fn verify_as(&self, artifact: &[u8], subject: &str, root: &[u8]) -> Result<Signer, Refusal> {
        self.verify_bundle(Bytes::from_static(self.bundle), artifact, subject, root)
    }

    fn verify_bundle(
        &self,
        bundle: Bytes,
        artifact: &[u8],
        subject: &str,
        root: &[u8],
    ) -> Result<Signer, Refusal> {
        let kind = if subject.contains("://") { "uri" } else { "email" };
        let text = format!(
            "[trusted_root.corp]\nfile = 'x'\n[[sender]]\nname = 'alice@example.com'\n\
             [[sender.identity]]\ntrusted_root = 'corp'\nissuer = '{}'\n{kind} = '{subject}'\n",
            self.issuer
        );
        let root = std::str::from_utf8(root).unwrap();
        let roots = BTreeMap::from([("corp".to_owned(), root)]);
        let store = TrustStore::parse(&text).unwrap().with_trusted_roots(&roots).unwrap();
        let alice = identity("alice@example.com");
        verify_signature(&store, Role::Message, artifact, &alice, &[bundle], now())
    }

    /// Returns the bundle as version 0.3 has it, which names the signer's certificate alone.
    fn in_version_3(&self) -> Bytes {
        let mut bundle: serde_json::Value = serde_json::from_slice(self.bundle).unwrap();
        bundle["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.3+json".into();
        let material = bundle["verificationMaterial"].as_object_mut().unwrap();
        let chain = material.remove("x509CertificateChain").unwrap();
        material.insert("certificate".to_owned(), chain["certificates"][0].clone());
        bundle.to_string().into()
    }
}

#[test]
fn b12_bundles_of_the_public_deployments_are_judged_as_their_suites_say() {
    let judge = |vector: &Vector| {
        let verdict = vector.verify_as(vector.artifact, vector.subject, vector.root);
        let is_expected = match (vector.refused, &verdict) {
            (None, Ok(signer)) => signer.key_fingerprint.contains(vector.subject),
            (Some(reason), Err(refusal)) => refusal.to_string().contains(reason),
            (None, Err(_)) | (Some(_), Ok(_)) => false,
        };
        (!is_expected).then(|| format!("{}: {verdict:?}", vector.name))
    };

    let surprises: Vec<String> = VECTORS.iter().filter_map(judge).collect();

    assert!(surprises.is_empty(), "{surprises:#?}");
}

/// Their own form is already refused; what they were made for must be noticed as well.
#[test]
fn b12_the_faults_of_older_bundles_are_found_in_the_form_of_today() {
    for (name, reason) in [
        ("invalid-ct-key", "no certificate log of the trusted root has signed the certificate"),
        ("no-checkpoint", "a log entry has no proof that it is in the log"),
        ("no-log-entry", "no log entry covers the signature"),
    ] {
        let vector = VECTORS.iter().find(|vector| vector.name == name).unwrap();
        let bundle = vector.in_version_3();

        let verdict = vector.verify_bundle(bundle, vector.artifact, vector.subject, vector.root);

        let refusal = verdict.unwrap_err().to_string();
        assert!(refusal.contains(reason), "{name}: {refusal}");
    }
}

#[test]
fn b12_a_good_bundle_says_nothing_about_another_artifact_subject_or_deployment() {
    for vector in VECTORS.iter().filter(|vector| vector.refused.is_none()) {
        let name = vector.name;
        let other_artifact = [vector.artifact, b"x"].concat();
        let other_subject = format!("x{}", vector.subject);
        let other_root = if vector.root == PUBLIC { STAGING } else { PUBLIC };

        let another = vector.verify_as(&other_artifact, vector.subject, vector.root);
        let impostor = vector.verify_as(vector.artifact, &other_subject, vector.root);
        let elsewhere = vector.verify_as(vector.artifact, vector.subject, other_root);

        assert_eq!(another.unwrap_err().code(), "bad-signature", "{name}");
        assert_eq!(impostor.unwrap_err().code(), "untrusted-signer", "{name}");
        assert_eq!(elsewhere.unwrap_err().code(), "bad-signature", "{name}");
    }
}

#[test]
fn b12_a_managed_key_is_believed_by_itself_whatever_stands_beside_it() {
    let public_key =
        PublicKey::from_pem(std::str::from_utf8(data!("managed-key.pub.pem")).unwrap()).unwrap();
    let mut store = TrustStore::default();
    let alice = identity("alice@example.com");
    let card = ContactCard { identity: alice.clone(), public_key, rotations: Vec::new() };
    store.add_card(&card).unwrap();
    let bundles = [Bytes::from_static(data!("managed-key.json"))];
    let verify =
        |artifact| verify_signature(&store, Role::Message, artifact, &alice, &bundles, now());

    assert!(verify(data!("a.txt")).is_ok());
    assert_eq!(verify(b"another").unwrap_err().code(), "bad-signature");
}
