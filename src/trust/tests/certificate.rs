//! Which certificates are trusted (B05 to B07, B16, B18).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::standin::{Deployment, Order, order, order_v2, signed_at};
use super::*;

pub(super) const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

pub(super) const BY_EMAIL: &str =
    "issuer = 'https://accounts.example.com'\nemail = 'alice@example.com'\n";

pub(super) fn bytes(bundle: &Value) -> Bytes {
    bundle.to_string().into()
}

fn with_root(sender: &str, rules: &[&str]) -> String {
    let rules: Vec<String> = rules
        .iter()
        .map(|rule| format!("[[sender.identity]]\ntrusted_root = 'corp'\n{rule}\n"))
        .collect();
    let rules = rules.concat();
    format!("[[sender]]\nname = '{sender}'\n{rules}")
}

/// Loads `root` as the one trusted root of the senders in `text`.
fn load(text: &str, root: &str) -> Result<TrustStore, TrustError> {
    let text = format!("[trusted_root.corp]\nfile = 'x'\n{text}");
    let files = BTreeMap::from([("corp".to_owned(), root)]);
    TrustStore::parse(&text).unwrap().with_trusted_roots(&files)
}

/// A store in which alice has the identity that `rule` describes, certified by `deployment`.
pub(super) fn store_with(rule: &str, deployment: &Deployment) -> TrustStore {
    load(&with_root(ALICE, &[rule]), &deployment.trusted_root().to_string()).unwrap()
}

/// The store of [`store`] with another trusted root.
pub(super) fn store_with_root(root: &Value) -> TrustStore {
    load(&with_root(ALICE, &[BY_EMAIL]), &root.to_string()).unwrap()
}

pub(super) fn store() -> TrustStore {
    store_with(BY_EMAIL, &Deployment::new(1))
}

pub(super) fn signed(order: &Order) -> Value {
    Deployment::new(1).sign(order, &manifest())
}

pub(super) fn refusal(store: &TrustStore, bundle: &Value) -> Refusal {
    verify(store, &manifest(), &[bytes(bundle)]).unwrap_err()
}

fn uri(text: &str) -> Order {
    Order { name: CertificateName::Uri(text.into()), ..order("") }
}

#[test]
fn b12_the_senders_certificate_is_believed_in_every_form() {
    let plain = |order: Order| Order { plain: true, ..order };
    let stamped = |order: Order| Order { stamped_at: order.logged_at, ..order };
    let orders = [
        order(ALICE),
        stamped(order(ALICE)),
        plain(order(ALICE)),
        order_v2(ALICE),
        plain(order_v2(ALICE)),
    ];

    for order in orders {
        let signer = verify(&store(), &manifest(), &[bytes(&signed(&order))]).unwrap();
        assert_eq!(signer.sender, identity(ALICE));
        assert_eq!(
            signer.key_fingerprint,
            "certificate alice@example.com from https://accounts.example.com"
        );
    }
}

#[test]
fn a_receipt_may_be_signed_by_a_certificate_too() {
    let receipt = receipt_manifest(&manifest(), &envelope(ALICE, BOB));
    let root = Deployment::new(1).trusted_root().to_string();
    let rule = BY_EMAIL.replace(ALICE, BOB);
    let bundle = bytes(&Deployment::new(1).sign(&order(BOB), &receipt));
    let check = |rule: &str| {
        let store = load(&with_root(BOB, &[rule]), &root).unwrap();
        let (sent, envelope) = (Digest::of(&manifest()), envelope(ALICE, BOB));
        let bundles = std::slice::from_ref(&bundle);
        verify_receipt(&store, receipt.clone(), &sent, &envelope, bundles, now())
            .map(|verified| verified.signer().sender.clone())
            .map_err(|refusal| refusal.code())
    };

    assert_eq!(check(&rule), Ok(identity(BOB)));
    assert_eq!(check(&format!("{rule}roles = ['message']")), Err("role-not-allowed"));
}

#[test]
fn b06_the_right_subject_of_another_issuer_is_refused() {
    for issuer in [
        "https://accounts.example.com.evil.org",
        "https://accounts.example.com/",
        "https://Accounts.example.com",
        "https://accountsXexample.com",
        "",
    ] {
        let refusal = refusal(&store(), &signed(&Order { issuer, ..order(ALICE) }));
        assert_eq!(refusal.code(), "untrusted-signer", "{issuer}: {refusal}");
    }
}

#[test]
fn b05_b07_every_other_email_is_refused_and_named() {
    for email in [
        "mallory@example.com",
        "alice@example.com.evil.org",
        "Alice@example.com",
        "alice@Example.com",
        "xalice@example.com",
        "alice@exampleXcom",
        "alice@example.co",
        "alice@example.com ",
        "alice@example.com\0",
        "alice@example.com\n",
        "alice@example.com,alice@evil.org",
        ".*@example.com",
        "*",
        "",
    ] {
        let refusal = refusal(&store(), &signed(&order(email)));
        assert_eq!(refusal.code(), "untrusted-signer", "{email}: {refusal}");
        let shown = refusal.to_string();
        assert!(shown.contains(&format!("certificate {}", crate::sys::Untrusted(email))));
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}

#[test]
fn b07_kinds_of_subjects_are_never_mixed() {
    let deployment = Deployment::new(1);
    let by_uri = BY_EMAIL.replace("email", "uri");

    let as_uri = refusal(&store(), &signed(&uri(ALICE)));
    let as_email = refusal(&store_with(&by_uri, &deployment), &signed(&order(ALICE)));

    assert_eq!(as_uri.code(), "untrusted-signer", "{as_uri}");
    assert_eq!(as_email.code(), "untrusted-signer", "{as_email}");
    let right =
        verify(&store_with(&by_uri, &deployment), &manifest(), &[bytes(&signed(&uri(ALICE)))]);
    assert!(right.is_ok(), "{right:?}");
}

#[test]
fn b07_a_pattern_takes_the_whole_uri_or_nothing() {
    let rule = "issuer = 'https://accounts.example.com'\n\
                uri_pattern = 'https://git.example/acme/*/release.yml@refs/tags/v*'";
    let store = store_with(rule, &Deployment::new(1));
    let good = "https://git.example/acme/tool/release.yml@refs/tags/v1";

    assert!(verify(&store, &manifest(), &[bytes(&signed(&uri(good)))]).is_ok());
    assert_eq!(refusal(&store, &signed(&order(good))).code(), "untrusted-signer");
    for (from, to) in [
        ("https", "xhttps"),
        ("v1", "v1/evil"),
        ("tool", "tool/evil"),
        ("tool/", ""),
        ("acme", "acme-evil"),
        ("git.example", "gitXexample"),
        ("https://git.example", "https://evil.org/https://git.example"),
    ] {
        let refusal = refusal(&store, &signed(&uri(&good.replace(from, to))));
        assert_eq!(refusal.code(), "untrusted-signer", "{from}: {refusal}");
    }
}

#[test]
fn b18_another_senders_certificate_does_not_speak_for_this_one() {
    let root = Deployment::new(1).trusted_root().to_string();
    let bob = with_root(BOB, &[&BY_EMAIL.replace(ALICE, BOB)]);
    let alice = with_root(ALICE, &[BY_EMAIL]);
    let keyed = format!(
        "[[sender]]\nname = '{ALICE}'\n[[sender.key]]\npem = '''{}'''\n",
        key(1).public_key().to_pem()
    );
    let code = |senders: &str, email: &str| {
        refusal(&load(senders, &root).unwrap(), &signed(&order(email))).code()
    };

    assert_eq!(code(&format!("{alice}{bob}"), BOB), "sender-mismatch");
    assert_eq!(code(&bob, BOB), "sender-mismatch");
    assert_eq!(code(&bob, ALICE), "unknown-sender");
    assert_eq!(code(&keyed, ALICE), "untrusted-signer");
    assert_eq!(code(&format!("{keyed}{bob}"), BOB), "sender-mismatch");
}

#[test]
fn the_terms_count_at_the_time_of_signing() {
    let code = |terms: &str| {
        let store = store_with(&format!("{BY_EMAIL}{terms}"), &Deployment::new(1));
        let bundle = bytes(&signed(&order(ALICE)));
        verify(&store, &manifest(), &[bundle]).map(drop).map_err(|refusal| refusal.code())
    };

    // The stand-in signs on 2023-11-14; the terms ended long before the verification.
    assert_eq!(code("not_before = 2023-11-14\nnot_after = 2023-11-14"), Ok(()));
    assert_eq!(code("not_after = 2023-11-13"), Err("key-expired"));
    assert_eq!(code("not_before = 2023-11-15"), Err("key-not-yet-valid"));
    assert_eq!(code("roles = ['receipt']"), Err("role-not-allowed"));
    assert_eq!(code("revoked = true"), Err("revoked"));
}

#[test]
fn a_revoked_identity_stays_revoked_beside_a_wider_rule() {
    let root = Deployment::new(1).trusted_root().to_string();
    let by_pattern = "issuer = 'https://accounts.example.com'\nuri_pattern = 'https://a.example/*'";
    let exact = "issuer = 'https://accounts.example.com'\nuri = 'https://a.example/alice'";
    let revoked = format!("{exact}\nrevoked = true");
    let expired = format!("{exact}\nnot_after = 2020-01-01");
    let code = |rules: &[&str]| {
        let store = load(&with_root(ALICE, rules), &root).unwrap();
        let bundle = bytes(&signed(&uri("https://a.example/alice")));
        verify(&store, &manifest(), &[bundle]).map(drop).map_err(|refusal| refusal.code())
    };

    assert_eq!(code(&[by_pattern, &revoked]), Err("revoked"));
    assert_eq!(code(&[&revoked, by_pattern]), Err("revoked"));
    assert_eq!(code(&[&expired, by_pattern]), Ok(()));
    assert_eq!(code(&[by_pattern, &expired]), Ok(()));
}

#[test]
fn a_rule_counts_for_its_own_trusted_root_alone() {
    let (corp, evil) = (Deployment::new(1), Deployment::new(2));
    let text = format!(
        "[trusted_root.corp]\nfile = 'x'\n[trusted_root.evil]\nfile = 'y'\n{}",
        with_root(ALICE, &[BY_EMAIL])
    );
    let files = BTreeMap::from([
        ("corp".to_owned(), corp.trusted_root().to_string()),
        ("evil".to_owned(), evil.trusted_root().to_string()),
    ]);
    let store = TrustStore::parse(&text).unwrap().with_trusted_roots(&files).unwrap();
    let from = |deployment: &Deployment| {
        let bundle = bytes(&deployment.sign(&order(ALICE), &manifest()));
        verify(&store, &manifest(), &[bundle]).map(drop).map_err(|refusal| refusal.code())
    };

    assert_eq!(from(&corp), Ok(()));
    assert_eq!(from(&evil), Err("untrusted-signer"));
}

#[test]
fn b16_without_its_trusted_root_no_certificate_is_believed() {
    let text = format!("[trusted_root.corp]\nfile = 'x'\n{}", with_root(ALICE, &[BY_EMAIL]));
    let store = TrustStore::parse(&text).unwrap();

    let refusal = refusal(&store, &signed(&order(ALICE)));

    assert_eq!(refusal.code(), "untrusted-signer");
    assert!(refusal.to_string().contains("not loaded"), "{refusal}");
    let loaded = self::store();
    assert_ne!(loaded.version(), store.version());
    assert_ne!(loaded.version(), store_with(BY_EMAIL, &Deployment::new(2)).version());
    assert_eq!(loaded.version(), self::store().version());
}

#[test]
fn b16_a_trusted_root_that_is_not_whole_is_refused() {
    let good = Deployment::new(1).trusted_root();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut root = good.clone();
        change(&mut root);
        root.to_string()
    };
    let text = good.to_string();
    let cases = [
        String::new(),
        "{}".into(),
        "null".into(),
        text.chars().take(text.len() / 2).collect(),
        text.replacen('{', "{\"tlogs\":[],", 1),
        with(&|root| root["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.3+json")),
        with(&|root| root["tlogs"] = json!([])),
        with(&|root| drop(root.as_object_mut().unwrap().remove("ctlogs"))),
        with(&|root| root["certificateAuthorities"] = json!([])),
        with(&|root| root["certificateAuthorities"][0]["certChain"]["certificates"] = json!([])),
        with(&|root| root["tlogs"][0]["publicKey"]["rawBytes"] = json!("AAAA")),
        with(&|root| {
            root["tlogs"][0]["publicKey"]["validFor"]["end"] = json!("2020-01-01T00:00:00Z");
        }),
        with(&|root| root["tlogs"] = json!([root["tlogs"][0], root["tlogs"][0]])),
        text + &" ".repeat(1 << 20),
    ];

    for case in cases {
        let error = load(&with_root(ALICE, &[BY_EMAIL]), &case).unwrap_err().to_string();
        assert!(error.contains("trusted_root `corp`"), "{error}");
        assert!(!error.chars().any(char::is_control) && error.len() < 400, "{error:?}");
    }
    let missing = store().with_trusted_roots(&BTreeMap::<String, Vec<u8>>::new()).unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
}

#[test]
fn the_trusted_root_in_testdata_is_the_stand_ins() {
    let text = include_str!("../testdata/trusted_root.json");

    assert_eq!(text.trim_end(), Deployment::new(1).trusted_root().to_string());
}

#[test]
fn the_public_deployments_root_is_read_and_does_not_believe_the_stand_in() {
    let root = sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
    let store = load(&with_root(ALICE, &[BY_EMAIL]), root).unwrap();

    for order in [order(ALICE), order_v2(ALICE)] {
        assert_eq!(refusal(&store, &signed(&order)).code(), "bad-signature");
    }
}

#[test]
fn a_key_and_a_certificate_speak_for_one_sender_alike() {
    let mut store = store();
    let card = ContactCard {
        identity: identity(ALICE),
        public_key: key(1).public_key(),
        rotations: Vec::new(),
    };
    store.add_card(&card).unwrap();
    let (by_key, by_certificate) = (bundle(&key(1), &manifest()), bytes(&signed(&order(ALICE))));

    for bundles in [[by_key.clone()], [by_certificate.clone()]] {
        assert!(verify(&store, &manifest(), &bundles).is_ok());
    }
    let stranger = bytes(&signed(&order("eve@example.com")));
    let junk = [stranger.clone(), bundle(&key(2), &manifest())];
    assert!(verify(&store, &manifest(), &[&junk[..], &[by_certificate]].concat()).is_ok());
    assert_eq!(verify(&store, &manifest(), &junk).unwrap_err().code(), "untrusted-signer");
}

#[test]
fn a_signature_of_the_future_waits_for_the_clock() {
    let long_ago = signed_at().saturating_add_secs(-3_600);
    let code = |order: &Order, at: Timestamp| {
        let bundles = [bytes(&signed(order))];
        verify_signature(&store(), Role::Message, &manifest(), &identity(ALICE), &bundles, at)
            .map(drop)
            .map_err(|refusal| (refusal.code(), refusal.is_genuine()))
    };
    // The authority's own certificate does not last that long, but the log is checked first.
    let far = Timestamp::from_unix_secs(4_000_000_000);
    let in_2096 = Order { issued_at: signed_at(), logged_at: Some(far), ..order(ALICE) };

    assert_eq!(code(&order(ALICE), signed_at()), Ok(()));
    assert_eq!(code(&order_v2(ALICE), signed_at().saturating_add_secs(-290)), Ok(()));
    for order in [order(ALICE), order_v2(ALICE)] {
        assert_eq!(code(&order, long_ago), Err(("pending-future", false)));
    }
    assert_eq!(code(&in_2096, now()), Err(("pending-future", false)));
}
