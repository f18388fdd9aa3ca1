//! `restore`: brings back what `rm` in `inbox/` dismissed.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::{Show, table};
use super::reference::Reference;
use super::running;
use super::session::Session;
use crate::config::Overrides;
use crate::mailbox::InboxItem;
use crate::protocol::ErrorClass;

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms restore
  dockercomms restore 7f3c9a1e2b4d";

/// Bring back a message that you removed from inbox/; without REF, list all of them
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The message: a digest or its first digits, or a message id
    #[arg(value_name = "REF")]
    message: Option<String>,
}

#[derive(Debug, Serialize)]
struct Dismissed {
    digest: String,
    sender: String,
    name: String,
    restored: bool,
}

impl Show for Dismissed {
    fn lines(&self) -> Vec<String> {
        table(&[vec![self.digest.clone(), self.sender.clone(), self.name.clone()]])
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let reference = args.message.as_deref().map(Reference::parse).transpose()?;
    let setup = session.setup(Overrides::default())?;
    session.with_mailbox(&setup, async |mailbox| {
        let dismissed = mailbox.inbox().dismissed().await?;
        let Some(reference) = reference else {
            for item in &dismissed {
                session.output.show(&shown(item, false));
            }
            if dismissed.is_empty() {
                session.output.note("nothing was removed");
            }
            return Ok(exit::OK);
        };
        let mut matching = dismissed.iter().filter(|item| is_meant(&reference, item));
        let item = match (matching.next(), matching.next()) {
            (Some(item), None) => item,
            (Some(_), Some(_)) => {
                return Err(Failure::new(ErrorClass::Configuration, "several messages match")
                    .hint("give more digits"));
            }
            (None, _) => {
                return Err(Failure::new(ErrorClass::NotFound, "no removed message matches")
                    .hint("run `dockercomms restore` for the list"));
            }
        };
        mailbox.inbox().restore(&item.digest).await?;
        session.output.show(&shown(item, true));
        if let Some(mount) = running::find(&setup.places) {
            // It checks for changes to its state by others as often as it polls the registry.
            let dir = mount.dir.display();
            session.output.note(&format!("{dir} lists it at its next poll"));
        }
        Ok(exit::OK)
    })
}

fn is_meant(reference: &Reference, item: &InboxItem) -> bool {
    match reference {
        Reference::Digest(digest) => item.digest == *digest,
        Reference::Prefix(prefix) => item.digest.hex().starts_with(prefix),
        Reference::MessageId(id) => item.message.id == *id,
        // A removed file has no path, and its tag is in the registry only.
        Reference::Tag(_) | Reference::Path(_) => false,
    }
}

fn shown(item: &InboxItem, restored: bool) -> Dismissed {
    Dismissed {
        digest: item.digest.to_string(),
        sender: item.sender.as_str().to_owned(),
        name: item.name.clone(),
        restored,
    }
}
