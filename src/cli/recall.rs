//! `recall`: deletes a sent message from the registry, as far as that goes.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::Show;
use super::reference::Reference;
use super::session::Session;
use crate::mailbox::{Mailbox, MailboxError, Recall, Removal};
use crate::protocol::{Digest, ErrorClass, ReceiptStatus};
use crate::registry::RegistryError;

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms recall 7f3c9a1e2b4d
  dockercomms recall ~/mail/outbox/bob@example.com/report.pdf";

/// Delete a message that you sent from the registry, before its recipient fetches it
///
/// It cannot be taken out of the recipient's hands: a recipient who has read it keeps it, and a
/// receipt for it proves that. Without a receipt, it is unknown. A registry that does not support
/// deletion refuses, and the message stays. The file stays listed in outbox/ as `recalled`.
///
/// Exit codes: 0 deleted and not known to be accepted, 3 the registry refuses, 5 not your message,
/// 6 deleted but already accepted, or a part of it remains.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The message: a digest or its first digits, a tag, a message id, or a file in a mount
    #[arg(value_name = "REF")]
    message: String,
}

#[derive(Debug, Serialize)]
struct Recalled {
    digest: String,
    recipient: String,
    name: String,
    /// `deleted` or `already-gone`.
    registry: &'static str,
    /// The recipient's verified receipt, if there is one.
    receipt: Option<String>,
    /// Why the search for a receipt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt_unknown: Option<String>,
    left: Vec<Left>,
}

/// What the registry still holds.
#[derive(Debug, Serialize)]
pub(super) struct Left {
    pub(super) what: String,
    pub(super) why: String,
}

impl Show for Recalled {
    fn lines(&self) -> Vec<String> {
        let Self { name, recipient, .. } = self;
        let mut lines = vec![match self.registry {
            "deleted" => format!("{name} to {recipient}: deleted from the registry"),
            _ => format!("{name} to {recipient}: was no longer in the registry"),
        }];
        lines.push(match (&self.receipt, &self.receipt_unknown) {
            (Some(status), _) if status == "accepted" => {
                format!("  too late: {recipient} has already accepted it and keeps it")
            }
            (Some(status), _) => format!("  {recipient} had already answered: {status}"),
            (None, Some(why)) => format!("  cannot check whether {recipient} has it: {why}"),
            (None, None) => {
                format!("  no receipt arrived; {recipient} may have read it anyway")
            }
        });
        lines.extend(
            self.left
                .iter()
                .map(|left| format!("  still in the registry: {} ({})", left.what, left.why)),
        );
        lines
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    session.with_reference(&args.message, async |mailbox, reference| {
        let digest = match sent(&mailbox, &reference).await? {
            Some(digest) => digest,
            None => reference.resolve(&mailbox).await?,
        };
        let recall = mailbox.recall(&digest).await.map_err(|error| failure(error, &digest))?;
        let shown = shown(&recall);
        session.output.show(&shown);
        let is_whole = shown.left.is_empty() && recall.receipt != Some(ReceiptStatus::Accepted);
        Ok(if is_whole { exit::OK } else { exit::PARTLY_DONE })
    })
}

/// Finds a message of mine, even one that is no longer listed or in the registry.
pub(super) async fn sent(
    mailbox: &Mailbox,
    reference: &Reference,
) -> Result<Option<Digest>, Failure> {
    let sent = mailbox.sent_messages().await?;
    let mut matching = sent.iter().filter(|entry| match reference {
        Reference::Digest(digest) => entry.digest == *digest,
        Reference::Prefix(prefix) => entry.digest.hex().starts_with(prefix),
        Reference::MessageId(id) => entry.id == *id,
        Reference::Tag(tag) => entry.tag == *tag,
        Reference::Path(_) => false,
    });
    match (matching.next(), matching.next()) {
        (Some(_), Some(_)) => {
            Err(Failure::new(ErrorClass::Configuration, "several messages match")
                .hint("give more digits"))
        }
        (found, _) => Ok(found.map(|entry| entry.digest)),
    }
}

fn shown(recall: &Recall) -> Recalled {
    Recalled {
        digest: recall.digest.to_string(),
        recipient: recall.recipient.as_str().to_owned(),
        name: recall.name.clone(),
        registry: match recall.removal {
            Removal::Deleted => "deleted",
            Removal::AlreadyGone => "already-gone",
        },
        receipt: recall.receipt.map(|status| status.to_string()),
        receipt_unknown: recall.receipt_unknown.clone(),
        left: recall
            .left
            .iter()
            .map(|left| Left { what: left.what.clone(), why: left.why.clone() })
            .collect(),
    }
}

fn failure(error: MailboxError, digest: &Digest) -> Failure {
    let short = digest.hex12();
    match error {
        MailboxError::NotFound(_) => {
            Failure::new(ErrorClass::NotFound, format!("{short} is not a message that you sent"))
                .hint("only its sender can recall a message; `dockercomms ls outbox` lists yours")
        }
        MailboxError::Busy => {
            Failure::new(ErrorClass::Busy, format!("{short} is not in the registry yet"))
                .hint("remove the file from outbox/ to cancel it")
        }
        error => refused_deletion(error).about(format!("message {short} was not recalled")),
    }
}

/// Explains a failed deletion: a registry that refuses denies permission, whatever its status.
pub(super) fn refused_deletion(error: MailboxError) -> Failure {
    if !is_refusal(&error) {
        return error.into();
    }
    let failure = Failure::of(ErrorClass::Denied, &error, None);
    failure.hint(
        "the registry does not allow deletion: ask its operator (docker-registry needs \
         `storage.delete.enabled`), or let the message expire; `dockercomms doctor --write` checks",
    )
}

/// Returns whether the registry does not allow us to delete, now or at all.
fn is_refusal(error: &MailboxError) -> bool {
    matches!(
        error,
        MailboxError::Registry(RegistryError::Rejected { .. } | RegistryError::Denied { .. })
    )
}
