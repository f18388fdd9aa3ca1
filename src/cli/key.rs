//! `key`: my own key and contact card.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::Show;
use super::running;
use super::session::Session;
use crate::app::{self, Setup};
use crate::config::Overrides;
use crate::sys::{Clock as _, SystemClock};
use crate::trust::{ContactCard, KeyAlgorithm, Rotation};

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms key export > you.card
  dockercomms key show
  dockercomms key show --pem > you.pub
  dockercomms key rotate";

/// Show your key, or print the contact card for others
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a key if there is none; a key is never overwritten
    New {
        /// The kind of key; every Sigstore tool supports p256
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
    /// The card is not secret, but nothing proves it either: the other side compares the
    /// fingerprint with you over another channel, then runs `dockercomms trust add`.
    Export,
    /// Replace your key with a new one, which the old one vouches for
    ///
    /// The new contact card carries a statement signed by both keys: anyone who trusts the old
    /// key sees that the new one is yours. Give the card to all your peers again. Until they add
    /// it, your new messages wait in their quarantine; what you sent before stays readable. The
    /// old private key is kept beside the new one. If the old key was stolen, tell your peers so
    /// instead: its holder can sign such a statement too, so they must compare the new
    /// fingerprint with you.
    Rotate {
        /// The kind of the new key; every Sigstore tool supports p256
        #[arg(long, value_enum, default_value_t = Algorithm::P256)]
        algorithm: Algorithm,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Algorithm {
    P256,
    Ed25519,
}

impl From<Algorithm> for KeyAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::P256 => Self::EcdsaP256,
            Algorithm::Ed25519 => Self::Ed25519,
        }
    }
}

#[derive(Debug, Serialize)]
struct KeyShown {
    me: Vec<String>,
    fingerprint: String,
    algorithm: String,
    path: String,
    public_key: String,
    /// The keys that it replaced, latest first.
    history: Vec<FormerKey>,
}

#[derive(Debug, Serialize)]
struct FormerKey {
    fingerprint: String,
    algorithm: String,
    replaced_at: String,
}

impl Show for KeyShown {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("identity     {}", self.me.join(", ")),
            format!("fingerprint  {}", self.fingerprint),
            format!("algorithm    {}", self.algorithm),
            format!("private key  {}", self.path),
        ];
        lines.extend(self.history.iter().map(|former| {
            format!("before {}  {} {}", former.replaced_at, former.fingerprint, former.algorithm)
        }));
        lines
    }
}

#[derive(Debug, Serialize)]
struct KeyRotated {
    fingerprint: String,
    previous_fingerprint: String,
    retired: String,
    card: String,
}

impl Show for KeyRotated {
    fn lines(&self) -> Vec<String> {
        vec![
            format!("new key      {}", self.fingerprint),
            format!("replaces     {}", self.previous_fingerprint),
            format!("retired to   {}", self.retired),
            format!("your card    {}", self.card),
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
        Verb::Rotate { algorithm } => rotate(session, algorithm),
    }
}

fn new(session: &Session, algorithm: Algorithm) -> Result<u8, Failure> {
    let places = session.places()?;
    for repaired in places.create()? {
        session.output.note(&repaired);
    }
    app::create_key(&places, algorithm.into())?;
    show(session, false)
}

fn rotate(session: &Session, algorithm: Algorithm) -> Result<u8, Failure> {
    let setup = session.setup(Overrides::default())?;
    let now = SystemClock.now().into();
    let rotated = app::rotate_key(&setup.places, setup.me()?, algorithm.into(), now)?;
    session.output.show(&KeyRotated {
        fingerprint: rotated.key.public_key().fingerprint(),
        previous_fingerprint: rotated.rotation.previous().fingerprint(),
        retired: rotated.retired.display().to_string(),
        card: setup.places.card_file().display().to_string(),
    });
    session.output.note(
        "give the new card to the people you write to: `dockercomms key export`; until they add \
         it your messages wait in their quarantine",
    );
    if let Some(mount) = running::find(&setup.places) {
        let dir = mount.dir.display();
        session.output.note(&format!("{dir} signs with the old key until it is remounted"));
    }
    Ok(exit::OK)
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
        history: setup.load_key_history(&public_key)?.iter().rev().map(former).collect(),
    });
    Ok(exit::OK)
}

fn former(rotation: &Rotation) -> FormerKey {
    FormerKey {
        fingerprint: rotation.previous().fingerprint(),
        algorithm: rotation.previous().algorithm().to_string(),
        replaced_at: rotation.rotated_at().to_string(),
    }
}

fn export(session: &Session) -> Result<u8, Failure> {
    let setup = session.setup(Overrides::default())?;
    let public_key = setup.load_key()?.public_key();
    let rotations = setup.load_key_history(&public_key)?;
    let card = ContactCard { identity: setup.me()?.clone(), public_key, rotations };
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
