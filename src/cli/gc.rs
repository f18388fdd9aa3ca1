//! `gc`: deletes what has expired, in the registry and on this machine.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::{Show, size, table};
use super::recall::{Left, refused_deletion};
use super::session::Session;
use crate::config::Overrides;
use crate::mailbox::{CollectedMessage, Garbage, Leftovers, Removal};
use crate::sys::Counted;

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms gc --dry-run
  dockercomms gc";

/// Delete your expired messages from the registry, and old leftovers from this machine
///
/// In the registry: messages that you sent and that have expired, with their signatures and
/// receipts; nothing sent by others, and nothing that has not expired. The receipts you received
/// stay listed here. Layers are left to the registry's own garbage collection; an image layout is
/// swept of blobs that nothing has named for a week.
///
/// Here: what is older than the setting `history` (failed and abandoned files, sent files that have
/// expired, quarantine, errors), staged files without an owner, and cached chunks of expired
/// messages.
///
/// Exit codes: 0 done, 3 the registry refuses to delete, 6 some of it remains; the local part is
/// done in any case.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only show what would be deleted
    #[arg(long)]
    dry_run: bool,
}

/// One message of mine.
#[derive(Debug, Serialize)]
struct Collected {
    digest: String,
    recipient: String,
    name: String,
    /// `deleted`, `already-gone` or `would-be-deleted`.
    registry: &'static str,
    left: Vec<Left>,
}

impl Show for Collected {
    fn lines(&self) -> Vec<String> {
        let short: String = self.digest.trim_start_matches("sha256:").chars().take(12).collect();
        let row =
            vec![self.registry.replace('-', " "), short, self.recipient.clone(), self.name.clone()];
        let mut lines = table(&[row]);
        let left = |left: &Left| format!("  remains: {} ({})", left.what, left.why);
        lines.extend(self.left.iter().map(left));
        lines
    }
}

/// What was done in total.
#[derive(Debug, Serialize)]
struct Summary {
    dry_run: bool,
    message_count: usize,
    /// Expired messages that are still in the registry.
    kept_count: usize,
    swept_blob_count: Option<u64>,
    swept_blob_bytes: Option<u64>,
    sent_count: usize,
    unsent_count: usize,
    staged_count: usize,
    staged_bytes: u64,
    inbox_count: usize,
    quarantine_count: usize,
    error_count: usize,
    chunk_count: usize,
    chunk_bytes: u64,
}

impl Show for Summary {
    fn lines(&self) -> Vec<String> {
        let verb = if self.dry_run { "would delete" } else { "deleted" };
        let mut lines = vec![format!("{verb} {}", Counted(self.message_count, "expired message"))];
        if self.kept_count > 0 {
            let kept = Counted(self.kept_count, "expired message");
            lines.push(format!("left in the registry: {kept}"));
        }
        if let Some(bytes) = self.swept_blob_bytes {
            lines.push(format!("{verb} {} in unnamed blobs of the layout", size(bytes)));
        }
        lines.push(format!(
            "{verb} here: {} sent and {} unsent entries, {} staged files ({}), {} inbox entries, {} \
             notes of quarantine, {} errors, {} cached chunks ({})",
            self.sent_count,
            self.unsent_count,
            self.staged_count,
            size(self.staged_bytes),
            self.inbox_count,
            self.quarantine_count,
            self.error_count,
            self.chunk_count,
            size(self.chunk_bytes),
        ));
        lines
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let setup = session.setup(Overrides::default())?;
    session.with_mailbox(&setup, async |mailbox| {
        let garbage = mailbox.collect_garbage(args.dry_run).await?;
        for message in &garbage.messages {
            session.output.show(&collected(message));
        }
        session.output.show(&summary(&garbage, args.dry_run));
        let is_whole = garbage.messages.iter().all(|message| message.left.is_empty());
        match garbage.registry_error {
            Some(error) => {
                let kept = garbage.kept_count;
                let what = match kept {
                    0 => "the registry was not cleaned up".to_owned(),
                    _ => format!(
                        "not deleted from the registry: {}",
                        Counted(kept, "expired message")
                    ),
                };
                Err(refused_deletion(error).about(what))
            }
            None if is_whole => Ok(exit::OK),
            None => Ok(exit::PARTLY_DONE),
        }
    })
}

fn collected(message: &CollectedMessage) -> Collected {
    Collected {
        digest: message.digest.to_string(),
        recipient: message.recipient.as_str().to_owned(),
        name: message.name.clone(),
        registry: match message.removal {
            Some(Removal::Deleted) => "deleted",
            Some(Removal::AlreadyGone) => "already-gone",
            None => "would-be-deleted",
        },
        left: message
            .left
            .iter()
            .map(|left| Left { what: left.what.clone(), why: left.why.clone() })
            .collect(),
    }
}

fn summary(garbage: &Garbage, dry_run: bool) -> Summary {
    let here: &Leftovers = &garbage.leftovers;
    Summary {
        dry_run,
        message_count: garbage.messages.len(),
        kept_count: garbage.kept_count,
        swept_blob_count: garbage.swept.map(|swept| swept.blob_count),
        swept_blob_bytes: garbage.swept.map(|swept| swept.blob_bytes),
        sent_count: here.sent_count,
        unsent_count: here.unsent_count,
        staged_count: here.staged_count,
        staged_bytes: here.staged_bytes,
        inbox_count: here.rows.inbox_count,
        quarantine_count: here.rows.quarantine_count,
        error_count: here.rows.error_count,
        chunk_count: here.chunk_count,
        chunk_bytes: here.chunk_bytes,
    }
}
