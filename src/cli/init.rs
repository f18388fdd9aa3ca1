//! `init`: the first steps, safe to repeat.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::Show;
use super::session::{Session, notes};
use crate::app::{ContactCardFile, Setup};
use crate::config::Overrides;

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms init --me you@example.org --registry docker://registry.example.org/mail
  dockercomms init --me you@example.org --registry oci:/shared/mail";

/// Write the configuration, make a key, and print your contact card
///
/// Nothing that exists is overwritten; running it again prints the card again. Give the card to
/// the people you write to; they pass it to `dockercomms trust add`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Who you are: an address, as in e-mail; user@host if omitted
    #[arg(long, value_name = "ID")]
    me: Option<String>,
    /// Let --me be a name of any form, like `ci`; only those who have your card, or allow it
    /// in `outbox_new`, can write to it
    #[arg(long)]
    any_name: bool,
    /// Where messages are kept: oci:/path/to/directory, or docker://host/name
    /// [default: a directory beside the other data]
    #[arg(long, value_name = "REF")]
    registry: Option<String>,
}

#[derive(Debug, Serialize)]
struct Initialised {
    me: String,
    registry: String,
    config: String,
    key: String,
    fingerprint: String,
    card_path: String,
    card: String,
    notes: Vec<String>,
}

impl Show for Initialised {
    fn lines(&self) -> Vec<String> {
        let mut lines = self.notes.clone();
        lines.push(format!("your contact card is {}:", self.card_path));
        lines.push(String::new());
        lines.extend(self.card.lines().map(str::to_owned));
        lines
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let flags = Overrides {
        me: args.me.clone(),
        any_name: args.any_name,
        registry: args.registry.clone(),
        ..Overrides::default()
    };
    // For one command the environment may differ from the file; a flag of `init` may not.
    Setup::check_unchanged(&session.variables, &session.profile, &flags)?;
    let (setup, created) =
        Setup::create(&session.variables, &session.profile, &Session::overrides(flags))?;
    let key = setup.load_key()?;
    let card = ContactCardFile::save(&setup.places, setup.me()?, &key)?;
    session.output.show(&Initialised {
        me: setup.me()?.as_str().to_owned(),
        registry: setup.settings.registry.clone(),
        config: setup.places.config_file().display().to_string(),
        key: setup.places.key_file().display().to_string(),
        fingerprint: key.public_key().fingerprint(),
        card_path: card.path.display().to_string(),
        card: card.card.encode(),
        notes: notes(&setup, &created),
    });
    Ok(exit::OK)
}
