//! The trust store as TOML: strict reading, stable writing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use toml::Value;

use super::card::quoted;
use super::error::{TrustError, check_len};
use super::key::PublicKey;
use super::limits::{
    AUTHORITY_COUNT_MAX, SENDER_COUNT_MAX, STORE_LEN_MAX, SUBJECT_LEN_MAX, TRUSTED_ROOT_COUNT_MAX,
};
use super::policy::{IdentityRule, SubjectRule, Terms, TrustedKey};
use super::store::{TrustStore, TrustedSender};
use crate::protocol::{Digest, Identity, Timestamp};
use crate::sys::Untrusted;

const HEADER: &str = "\
# Trusted senders. `dockercomms trust` rewrites this file: your own comments are lost.
#
# [[sender]]                    one entry per name; the name is the manifest's dockercomms.sender
# name = \"bob@example.com\"
#   [[sender.key]]
#   pem = \"...\"                 an ECDSA P-256 or Ed25519 public key
#   roles = [\"message\", \"receipt\"]       what it may sign; both when left out
#   not_before = 2026-01-01     first day or moment (UTC) of validity
#   not_after = 2026-12-31      last day or moment of validity
#   revoked = true              kept here so that refusals can say why
#   [[sender.identity]]         a certificate identity instead of a key
#   trusted_root = \"corp\"       a [trusted_root.corp] with file = \"/path/trusted_root.json\"
#   issuer = \"https://accounts.example.com\"   exact
#   email = \"bob@example.com\"   exactly one of email, uri, uri_pattern (`*`: no slash, anchored)
";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreFile {
    #[serde(default)]
    sender: Vec<SenderFile>,
    #[serde(default)]
    trusted_root: BTreeMap<String, RootFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RootFile {
    file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SenderFile {
    name: String,
    #[serde(default)]
    key: Vec<KeyFile>,
    #[serde(default)]
    identity: Vec<IdentityFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    pem: String,
    roles: Option<Vec<String>>,
    not_before: Option<Value>,
    not_after: Option<Value>,
    #[serde(default)]
    revoked: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    trusted_root: String,
    issuer: String,
    email: Option<String>,
    uri: Option<String>,
    uri_pattern: Option<String>,
    roles: Option<Vec<String>>,
    not_before: Option<Value>,
    not_after: Option<Value>,
    #[serde(default)]
    revoked: bool,
}

impl TrustStore {
    /// Reads a trust store; the empty text is the empty store.
    ///
    /// # Errors
    /// On anything that is not understood, with the place. A partly understood store would trust
    /// the wrong sender.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        check_len("trust store", text, STORE_LEN_MAX)?;
        parse(text)
    }

    /// Returns the store as TOML, always the same text for the same store.
    pub fn encode(&self) -> String {
        encode(self)
    }

    /// Returns a digest of everything that verdicts depend on, including trusted roots.
    pub fn version(&self) -> Digest {
        let mut text = self.encode();
        for root in self.loaded_roots.values() {
            text.push_str(&root.digest().to_string());
        }
        Digest::of(text.as_bytes())
    }
}

fn parse(text: &str) -> Result<TrustStore, TrustError> {
    let file: StoreFile = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let message: String = error.message().chars().take(200).collect();
        TrustError::store(format!("line {line}"), Untrusted(&message).to_string())
    })?;
    if file.sender.len() > SENDER_COUNT_MAX {
        return Err(TrustError::store("file", "too many senders"));
    }
    if file.trusted_root.len() > TRUSTED_ROOT_COUNT_MAX {
        return Err(TrustError::store("file", "too many trusted roots"));
    }
    let trusted_roots: BTreeMap<String, String> =
        file.trusted_root.into_iter().map(|(name, root)| (name, root.file)).collect();
    let mut senders = BTreeMap::new();
    for (index, entry) in file.sender.into_iter().enumerate() {
        let name: Identity = entry.name.parse().map_err(|_source| {
            TrustError::store(
                format!("sender number {}", index + 1),
                "the name is not a valid identity",
            )
        })?;
        let place = format!("sender `{name}`");
        let at = |reason: &str| TrustError::store(place.as_str(), reason);
        if entry.key.len() > AUTHORITY_COUNT_MAX || entry.identity.len() > AUTHORITY_COUNT_MAX {
            return Err(at("too many keys or identities"));
        }
        let mut keys: Vec<TrustedKey> = Vec::with_capacity(entry.key.len());
        for key in &entry.key {
            let key = read_key(key).map_err(|reason| at(&reason))?;
            if keys.iter().any(|other| other.key == key.key) {
                return Err(at("the same key appears twice"));
            }
            keys.push(key);
        }
        let identities: Vec<IdentityRule> = entry
            .identity
            .iter()
            .map(|identity| read_identity(identity).map_err(|reason| at(&reason)))
            .collect::<Result<_, _>>()?;
        if identities.iter().any(|rule| !trusted_roots.contains_key(&rule.trusted_root)) {
            return Err(at("an identity names a trusted_root that is not in this file"));
        }
        if keys.is_empty() && identities.is_empty() {
            return Err(at(
                "neither a key nor an identity; no message in this name could be verified",
            ));
        }
        if senders.contains_key(&name) {
            return Err(at("the name appears twice; put all its keys in one entry"));
        }
        senders.insert(name.clone(), TrustedSender { name, keys, identities });
    }
    Ok(TrustStore { senders, trusted_roots, loaded_roots: BTreeMap::new() })
}

fn read_key(file: &KeyFile) -> Result<TrustedKey, String> {
    let key = PublicKey::from_pem(&file.pem).map_err(|error| error.to_string())?;
    let terms = read_terms(
        file.roles.as_deref(),
        file.not_before.as_ref(),
        file.not_after.as_ref(),
        file.revoked,
    )?;
    Ok(TrustedKey { key, terms })
}

fn read_identity(file: &IdentityFile) -> Result<IdentityRule, String> {
    let subject = match (&file.email, &file.uri, &file.uri_pattern) {
        (Some(email), None, None) => SubjectRule::Email(email.clone()),
        (None, Some(uri), None) => SubjectRule::Uri(uri.clone()),
        (None, None, Some(pattern)) => SubjectRule::UriPattern(pattern.clone()),
        _ => return Err("exactly one of email, uri and uri_pattern is required".into()),
    };
    let (SubjectRule::Email(text) | SubjectRule::Uri(text) | SubjectRule::UriPattern(text)) =
        &subject;
    if text.is_empty() || file.issuer.is_empty() {
        return Err("issuer and subject must not be empty".into());
    }
    if text.len() > SUBJECT_LEN_MAX || file.issuer.len() > SUBJECT_LEN_MAX {
        return Err("issuer or subject is too long".into());
    }
    // A pattern that does not fix the host would accept certificates that anyone can get.
    if let SubjectRule::UriPattern(pattern) = &subject {
        let host = pattern.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        if host.is_none_or(|(host, _)| host.is_empty() || host.contains('*')) {
            return Err("uri_pattern must begin with scheme://host/ without `*`".into());
        }
    }
    let terms = read_terms(
        file.roles.as_deref(),
        file.not_before.as_ref(),
        file.not_after.as_ref(),
        file.revoked,
    )?;
    Ok(IdentityRule {
        trusted_root: file.trusted_root.clone(),
        issuer: file.issuer.clone(),
        subject,
        terms,
    })
}

fn read_terms(
    roles: Option<&[String]>,
    not_before: Option<&Value>,
    not_after: Option<&Value>,
    revoked: bool,
) -> Result<Terms, String> {
    let mut terms = Terms { revoked, ..Terms::default() };
    if let Some(roles) = roles {
        if roles.is_empty() {
            return Err("roles must not be empty; use revoked = true instead".into());
        }
        if roles.iter().any(|role| role != "message" && role != "receipt") {
            return Err("roles may only be \"message\" and \"receipt\"".into());
        }
        terms.messages = roles.iter().any(|role| role == "message");
        terms.receipts = roles.iter().any(|role| role == "receipt");
    }
    terms.not_before = read_time("not_before", not_before, "T00:00:00Z")?;
    terms.not_after = read_time("not_after", not_after, "T23:59:59Z")?;
    if let (Some(first), Some(last)) = (terms.not_before, terms.not_after)
        && first > last
    {
        return Err("not_before is after not_after".into());
    }
    Ok(terms)
}

/// Reads a TOML date or date-time, or a string of the same form; a bare date means the whole day.
fn read_time(
    field: &str,
    value: Option<&Value>,
    time_of_day: &str,
) -> Result<Option<Timestamp>, String> {
    let text = match value {
        None => return Ok(None),
        Some(Value::Datetime(datetime)) => datetime.to_string(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(format!("{field} is not a date")),
    };
    let full = if text.len() == "2026-01-01".len() { format!("{text}{time_of_day}") } else { text };
    match full.parse() {
        Ok(time) => Ok(Some(time)),
        Err(_source) => Err(format!("{field} is neither a date nor a time with offset")),
    }
}

fn encode(store: &TrustStore) -> String {
    let mut text = HEADER.to_owned();
    let mut line = |parts: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        text.write_fmt(parts).ok();
        text.push('\n');
    };
    for (name, file) in &store.trusted_roots {
        line(format_args!("\n[trusted_root.{}]\nfile = {}", quoted(name), quoted(file)));
    }
    for sender in store.senders.values() {
        line(format_args!("\n[[sender]]\nname = {}", quoted(sender.name.as_str())));
        for trusted in &sender.keys {
            line(format_args!(
                "\n[[sender.key]]  # {}\npem = \"\"\"\n{}\"\"\"{}",
                trusted.key.fingerprint(),
                trusted.key.to_pem(),
                encode_terms(&trusted.terms)
            ));
        }
        for rule in &sender.identities {
            let (kind, subject) = match &rule.subject {
                SubjectRule::Email(text) => ("email", text),
                SubjectRule::Uri(text) => ("uri", text),
                SubjectRule::UriPattern(text) => ("uri_pattern", text),
            };
            line(format_args!(
                "\n[[sender.identity]]\ntrusted_root = {}\nissuer = {}\n{kind} = {}{}",
                quoted(&rule.trusted_root),
                quoted(&rule.issuer),
                quoted(subject),
                encode_terms(&rule.terms)
            ));
        }
    }
    text
}

/// Returns the lines for everything that differs from the default.
fn encode_terms(terms: &Terms) -> String {
    let mut text = String::new();
    match (terms.messages, terms.receipts) {
        (true, false) => text.push_str("\nroles = [\"message\"]"),
        (false, true) => text.push_str("\nroles = [\"receipt\"]"),
        // Neither role cannot be read back, and no code here produces it.
        _ => {}
    }
    for (field, time) in [("not_before", terms.not_before), ("not_after", terms.not_after)] {
        if let Some(time) = time {
            // Writing to a String cannot fail.
            write!(text, "\n{field} = {time}").ok();
        }
    }
    if terms.revoked {
        text.push_str("\nrevoked = true");
    }
    text
}
