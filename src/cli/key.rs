//! `key`: my own key and contact card.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::Show;
use super::session::Session;
use crate::app::{self, Setup};
use crate::config::Overrides;
use crate::trust::{ContactCard, KeyAlgorithm};

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms key export > you.card
  dockercomms key show
  dockercomms key show --pem > you.pub";

/// Show your key, or print the contact card that others take
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a key, if there is none; a key is never overwritten
    New {
        /// The kind of key; every tool of the Sigstore family takes p256
        #[arg(long, value_enum, default_value_t = Algorithm::P256)]
        algorithm: Algorithm,
    },
    /// Show your name, the key's fingerprint and its file
    Show {
        /// Print the public key instead, for `cosign verify --key`
        #[arg(long)]
        pem: bool,
    },
    /// Print your contact card: name, public key, fingerprint
    ///
    /// It is no secret, but nothing proves it either: the other side compares the fingerprint with
    /// you over another channel, then runs `dockercomms trust add`.
    Export,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Algorithm {
    P256,
    Ed25519,
}

#[derive(Debug, Serialize)]
struct KeyShown {
    me: Vec<String>,
    fingerprint: String,
    algorithm: String,
    path: String,
    public_key: String,
}

impl Show for KeyShown {
    fn lines(&self) -> Vec<String> {
        vec![
            format!("identity     {}", self.me.join(", ")),
            format!("fingerprint  {}", self.fingerprint),
            format!("algorithm    {}", self.algorithm),
            format!("private key  {}", self.path),
        ]
    }
}

#[derive(Debug, Serialize)]
struct CardShown {
    name: String,
    fingerprint: String,
    public_key: String,
    card: String,
}

impl Show for CardShown {
    fn lines(&self) -> Vec<String> {
        self.card.lines().map(str::to_owned).collect()
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    match args.verb {
        Verb::New { algorithm } => new(session, algorithm),
        Verb::Show { pem } => show(session, pem),
        Verb::Export => export(session),
    }
}

fn new(session: &Session, algorithm: Algorithm) -> Result<u8, Failure> {
    let places = session.places()?;
    for repaired in places.create()? {
        session.output.note(&repaired);
    }
    let algorithm = match algorithm {
        Algorithm::P256 => KeyAlgorithm::EcdsaP256,
        Algorithm::Ed25519 => KeyAlgorithm::Ed25519,
    };
    app::create_key(&places, algorithm)?;
    show(session, false)
}

fn show(session: &Session, pem: bool) -> Result<u8, Failure> {
    let setup = session.setup(Overrides::default())?;
    let public_key = setup.load_key()?.public_key();
    if pem && !session.output.is_json() {
        session.output.document(&public_key.to_pem());
        return Ok(exit::OK);
    }
    session.output.show(&KeyShown {
        me: names(&setup),
        fingerprint: public_key.fingerprint(),
        algorithm: public_key.algorithm().to_string(),
        path: setup.places.key_file().display().to_string(),
        public_key: public_key.to_pem(),
    });
    Ok(exit::OK)
}

fn export(session: &Session) -> Result<u8, Failure> {
    let setup = session.setup(Overrides::default())?;
    let public_key = setup.load_key()?.public_key();
    let card = ContactCard { identity: setup.me()?.clone(), public_key };
    let shown = CardShown {
        name: card.identity.as_str().to_owned(),
        fingerprint: card.public_key.fingerprint(),
        public_key: card.public_key.to_pem(),
        card: card.encode(),
    };
    if session.output.is_json() {
        session.output.show(&shown);
    } else {
        // Byte for byte: an escaped name would be another name.
        session.output.document(&shown.card);
    }
    Ok(exit::OK)
}

fn names(setup: &Setup) -> Vec<String> {
    setup.settings.me.iter().map(|me| me.as_str().to_owned()).collect()
}
