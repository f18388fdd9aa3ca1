//! `trust`: whose signatures count.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::{Show, table};
use super::recipient::is_confirmed;
use super::session::Session;
use crate::app::TrustFile;
use crate::config::Overrides;
use crate::protocol::{ErrorClass, Identity};
use crate::sys::{Counted, durable};
use crate::trust::{Added, ContactCard, PublicKey, TrustStore, TrustedSender};

/// Largest card or key file in bytes; a real one has about 500.
const CARD_LEN_MAX: u64 = 64 << 10;

/// Codes of quarantined messages that a contact card would admit.
const UNTRUSTED_CODES: [&str; 2] = ["unknown-sender", "untrusted-signer"];

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms trust add bob.card
  dockercomms trust add bob.pub --name bob@example.org
  dockercomms trust rm bob@example.org --key SHA256:jzWPK2R8nR4xNfUR1cvJ8qkCMiTXWtbWFYYDZAEEmEg
  dockercomms trust pending";

/// Decide whose messages and receipts you trust
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Trust the name and key of a contact card
    ///
    /// Shows the fingerprint and asks for confirmation; compare it with the owner over another
    /// channel (by telephone, face to face) before you say yes. A running mount applies it at once.
    ///
    /// After `key rotate` the owner's card is also signed by the old key; if you trust that one,
    /// the new key is shown as its successor and gets the same permissions.
    Add {
        /// A card's file, or `-` for standard input; with --name also a public key in PEM
        #[arg(value_name = "CARD")]
        card: String,
        /// Do not ask: the fingerprint was already compared
        #[arg(long)]
        yes: bool,
        /// Whose key it is, for a file that holds only a public key
        #[arg(long, value_name = "ID")]
        name: Option<String>,
    },
    /// List whom you trust, with the fingerprints
    Ls,
    /// Forget a sender with all keys, or revoke one key; what it signed is refused from now on
    ///
    /// A revoked key stays in the trust store, marked, so that no card brings it back by mistake. A
    /// running mount applies the change at once. The sender's other keys remain trusted.
    Rm {
        /// The sender's name
        #[arg(value_name = "ID")]
        name: String,
        /// Revoke only the key with this fingerprint, as `trust ls` shows it
        #[arg(long, value_name = "FINGERPRINT")]
        key: Option<String>,
    },
    /// List senders whose messages are in quarantine because you do not trust them
    Pending,
    /// Print the whole trust store, to keep or to copy to another machine
    Export,
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    match &args.verb {
        Verb::Add { card, yes, name } => add(session, card, *yes, name.as_deref()),
        Verb::Ls => list(session),
        Verb::Rm { name, key: None } => remove(session, name),
        Verb::Rm { name, key: Some(fingerprint) } => revoke(session, name, fingerprint),
        Verb::Pending => pending(session),
        Verb::Export => export(session),
    }
}

#[derive(Debug, Serialize)]
struct CardTaken {
    name: String,
    fingerprint: String,
    result: &'static str,
    /// The trusted key whose owner made this one, as its signature proves.
    #[serde(skip_serializing_if = "Option::is_none")]
    vouched_by: Option<String>,
}

impl Show for CardTaken {
    fn lines(&self) -> Vec<String> {
        let Self { name, fingerprint, result, vouched_by } = self;
        if let ("key-added", Some(old)) = (*result, vouched_by) {
            return vec![format!("trusting the new key of {name}, {fingerprint}, beside {old}")];
        }
        vec![match *result {
            "added" => format!("trusting {name} with key {fingerprint}"),
            "key-added" => format!("trusting one more key of {name}: {fingerprint}"),
            _ => format!("{name} was already trusted with key {fingerprint}"),
        }]
    }
}

fn add(session: &Session, source: &str, yes: bool, name: Option<&str>) -> Result<u8, Failure> {
    let places = session.own_places()?;
    let card = read_card(source, name)?;
    let fingerprint = card.public_key.fingerprint();
    let known = TrustFile::load(&places.trust_file())?;
    let vouched_by = known.predecessor(&card).map(|trusted| trusted.key.fingerprint());
    if !yes {
        confirm(session, &card, vouched_by.as_deref(), source == "-")?;
    }
    places.create()?;
    let result = match TrustFile::edit(&places.trust_file(), |store| store.add_card(&card))? {
        Added::New => "added",
        Added::KeyAdded => "key-added",
        Added::AlreadyKnown => "known",
        Added::Revoked => {
            return Err(Failure::new(
                ErrorClass::Revoked,
                format!("key {fingerprint} of `{}` was revoked here", card.identity),
            )
            .hint("edit trust.toml by hand if the revocation was a mistake"));
        }
    };
    let name = card.identity.as_str().to_owned();
    session.output.show(&CardTaken { name, fingerprint, result, vouched_by });
    Ok(exit::OK)
}

/// Reads a contact card, or a bare public key with the name that was given.
fn read_card(source: &str, name: Option<&str>) -> Result<ContactCard, Failure> {
    let failed = |error: &io::Error| Failure::io(format!("cannot read {source}"), error);
    let bytes = if source == "-" {
        let mut bytes = Vec::new();
        io::stdin().take(CARD_LEN_MAX).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        bytes
    } else {
        durable::read_bounded(Path::new(source), CARD_LEN_MAX).map_err(|error| failed(&error))?
    };
    let text = String::from_utf8(bytes).map_err(|_source| {
        Failure::new(ErrorClass::Configuration, format!("{source} is not text"))
    })?;
    let is_key = text.trim_start().starts_with("-----BEGIN ");
    match (is_key, name) {
        (true, Some(name)) => Ok(ContactCard {
            identity: parse_identity(name)?,
            public_key: PublicKey::from_pem(&text)?,
            rotations: Vec::new(),
        }),
        (true, None) => Err(Failure::new(
            ErrorClass::Configuration,
            format!("{source} holds a key but no name"),
        )
        .hint("name its owner with `--name ID`")),
        (false, Some(_)) => {
            Err(Failure::new(ErrorClass::Configuration, "a contact card has a name of its own")
                .hint("omit `--name`; it is for files that hold only a public key"))
        }
        (false, None) => Ok(ContactCard::parse(&text)
            .map_err(|error| Failure::from(error).about(format!("cannot use {source}")))?),
    }
}

fn confirm(
    session: &Session,
    card: &ContactCard,
    vouched_by: Option<&str>,
    stdin_is_card: bool,
) -> Result<(), Failure> {
    session.output.note(&format!("name         {}", card.identity.as_str()));
    session.output.note(&format!("fingerprint  {}", card.public_key.fingerprint()));
    if let Some(old) = vouched_by {
        session.output.note(&format!("replaces     {old}, which you trust and which signed it"));
    }
    if stdin_is_card || !io::stdin().is_terminal() {
        return Err(Failure::new(ErrorClass::Configuration, "there is no terminal to ask on")
            .hint("compare the fingerprint first, then give `--yes`"));
    }
    let question = match vouched_by {
        Some(_) => "Trust the new key? No, if the old one was stolen. [y/N]",
        None => "Did the owner read you this fingerprint? [y/N]",
    };
    if is_confirmed(session, question)? {
        return Ok(());
    }
    Err(Failure::new(ErrorClass::Interrupted, "nothing was changed"))
}

#[derive(Debug, Serialize)]
struct TrustList {
    senders: Vec<SenderShown>,
}

#[derive(Debug, Serialize)]
struct SenderShown {
    name: String,
    keys: Vec<KeyOfSender>,
    certificate_identity_count: usize,
}

#[derive(Debug, Serialize)]
struct KeyOfSender {
    fingerprint: String,
    messages: bool,
    receipts: bool,
    not_before: Option<String>,
    not_after: Option<String>,
    revoked: bool,
}

impl Show for TrustList {
    fn lines(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for sender in &self.senders {
            for key in &sender.keys {
                let mut terms = Vec::new();
                if key.revoked {
                    terms.push("revoked".to_owned());
                }
                if !key.messages {
                    terms.push("receipts only".to_owned());
                }
                if !key.receipts {
                    terms.push("messages only".to_owned());
                }
                terms.extend(key.not_before.iter().map(|time| format!("from {time}")));
                terms.extend(key.not_after.iter().map(|time| format!("until {time}")));
                rows.push(vec![sender.name.clone(), key.fingerprint.clone(), terms.join(", ")]);
            }
            if sender.certificate_identity_count > 0 {
                let count = sender.certificate_identity_count;
                let count = Counted(count, "certificate identity").to_string();
                rows.push(vec![sender.name.clone(), count]);
            }
        }
        if rows.is_empty() {
            return vec!["you trust no one yet".to_owned()];
        }
        table(&rows)
    }
}

fn list(session: &Session) -> Result<u8, Failure> {
    let store = TrustFile::load(&session.own_places()?.trust_file())?;
    session.output.show(&TrustList { senders: senders(&store) });
    Ok(exit::OK)
}

fn senders(store: &TrustStore) -> Vec<SenderShown> {
    let shown = |time: Option<crate::protocol::Timestamp>| time.map(|time| time.to_string());
    store
        .senders()
        .map(|sender| SenderShown {
            name: sender.name().as_str().to_owned(),
            keys: sender
                .keys()
                .iter()
                .map(|trusted| KeyOfSender {
                    fingerprint: trusted.key.fingerprint(),
                    messages: trusted.terms.messages,
                    receipts: trusted.terms.receipts,
                    not_before: shown(trusted.terms.not_before),
                    not_after: shown(trusted.terms.not_after),
                    revoked: trusted.terms.revoked,
                })
                .collect(),
            certificate_identity_count: sender.identities().len(),
        })
        .collect()
}

#[derive(Debug, Serialize)]
struct SenderRemoved {
    removed: String,
}

impl Show for SenderRemoved {
    fn lines(&self) -> Vec<String> {
        vec![format!("{} is no longer trusted", self.removed)]
    }
}

fn remove(session: &Session, name: &str) -> Result<u8, Failure> {
    let identity = parse_identity(name)?;
    let path = session.own_places()?.trust_file();
    if !path.exists() || !TrustFile::edit(&path, |store| Ok(store.remove(&identity)))? {
        return Err(Failure::new(ErrorClass::NotFound, format!("`{identity}` is not trusted"))
            .hint("run `dockercomms trust ls`"));
    }
    session.output.show(&SenderRemoved { removed: name.to_owned() });
    Ok(exit::OK)
}

#[derive(Debug, Serialize)]
struct KeyRevoked {
    name: String,
    revoked: String,
    /// Keys and certificate identities of the sender that are still trusted.
    left_count: usize,
}

impl Show for KeyRevoked {
    fn lines(&self) -> Vec<String> {
        let Self { name, revoked, left_count } = self;
        let left = match left_count {
            0 => "they have no other trusted key: add their new card with `trust add`".into(),
            1 => "one other key or identity of theirs is still trusted".into(),
            count => format!("{count} other keys or identities of theirs are still trusted"),
        };
        vec![format!("key {revoked} of {name} is revoked; {left}")]
    }
}

fn revoke(session: &Session, name: &str, fingerprint: &str) -> Result<u8, Failure> {
    let identity = parse_identity(name)?;
    let path = session.own_places()?.trust_file();
    let counts = |sender: &TrustedSender| {
        sender.keys().iter().filter(|trusted| !trusted.terms.revoked).count()
            + sender.identities().iter().filter(|rule| !rule.terms.revoked).count()
    };
    let has_key = |sender: &TrustedSender| {
        sender.keys().iter().any(|trusted| trusted.key.fingerprint() == fingerprint)
    };
    let revoked = |store: &mut TrustStore| {
        if !store.get(&identity).is_some_and(has_key) {
            return Ok(None);
        }
        store.revoke(fingerprint);
        Ok(store.get(&identity).map(counts))
    };
    let left = if path.exists() { TrustFile::edit(&path, revoked)? } else { None };
    let left_count = left.ok_or_else(|| {
        Failure::new(ErrorClass::NotFound, format!("`{identity}` has no key {fingerprint} here"))
            .hint("run `dockercomms trust ls` for the fingerprints")
    })?;
    let (name, revoked) = (name.to_owned(), fingerprint.to_owned());
    session.output.show(&KeyRevoked { name, revoked, left_count });
    Ok(exit::OK)
}

#[derive(Debug, Serialize)]
struct PendingList {
    pending: Vec<PendingSender>,
}

#[derive(Debug, Serialize)]
struct PendingSender {
    claimed_sender: String,
    message_count: usize,
    code: String,
    why: String,
}

impl Show for PendingList {
    fn lines(&self) -> Vec<String> {
        if self.pending.is_empty() {
            return vec!["no sender is waiting to be trusted".to_owned()];
        }
        let row = |sender: &PendingSender| {
            let count = Counted(sender.message_count, "message").to_string();
            vec![sender.claimed_sender.clone(), count, sender.why.clone()]
        };
        table(&self.pending.iter().map(row).collect::<Vec<_>>())
    }
}

fn pending(session: &Session) -> Result<u8, Failure> {
    let setup = session.setup(Overrides::default())?;
    let pending = session.with_mailbox(&setup, async |mailbox| {
        let snapshot = mailbox.snapshot();
        let senders = snapshot.quarantine.iter().filter_map(|(sender, items)| {
            let waiting: Vec<_> = items
                .values()
                .filter(|item| UNTRUSTED_CODES.contains(&item.code.as_str()))
                .collect();
            let latest = waiting.iter().max_by_key(|item| item.first_seen)?;
            Some(PendingSender {
                claimed_sender: sender.clone(),
                message_count: waiting.len(),
                code: latest.code.clone(),
                why: latest.text.lines().next().unwrap_or_default().to_owned(),
            })
        });
        Ok(senders.collect())
    })?;
    session.output.show(&PendingList { pending });
    Ok(exit::OK)
}

fn export(session: &Session) -> Result<u8, Failure> {
    let store = TrustFile::load(&session.own_places()?.trust_file())?;
    if session.output.is_json() {
        session.output.show(&TrustList { senders: senders(&store) });
    } else {
        session.output.document(&store.encode());
    }
    Ok(exit::OK)
}

/// Reads an identity that the user typed.
pub(crate) fn parse_identity(text: &str) -> Result<Identity, Failure> {
    let about = || format!("`{text}` is not a valid identity");
    text.parse().map_err(|error| Failure::from(error).about(about()))
}
