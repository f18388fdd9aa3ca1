//! `ls`: shows the listings of a mount, without one.

use clap::{Args as ClapArgs, ValueEnum};
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::{Show, fit, size, table};
use super::running;
use super::session::Session;
use crate::config::Overrides;
use crate::mailbox::{Mailbox, MailboxError, Snapshot};
use crate::protocol::Identity;

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms ls
  dockercomms ls quarantine
  dockercomms ls outbox --json";

/// List messages, receipts or what was refused
///
/// Polls the registry first, unless --offline is given or a mount is running, which polls by
/// itself. If the registry cannot be reached, the list is shown anyway.
///
/// In `ls outbox`, `local` is a file that stays here as it is (a temporary name, an unfinished
/// download), `lost` a message that the registry no longer has, and `no key` marks recipients whose
/// key you do not hold.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to list
    #[arg(value_enum, default_value_t = Listing::Inbox)]
    listing: Listing,
    /// Do not contact the registry
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Listing {
    /// Verified messages to you
    Inbox,
    /// Messages you sent or are sending
    Outbox,
    /// Receipts you received, and those you issued
    Receipts,
    /// Messages that were refused, and why
    Quarantine,
}

/// One line of a listing; fields that do not apply are left out of the JSON.
#[derive(Debug, Default, Serialize)]
struct Row {
    listing: &'static str,
    peer: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Whether the recipient is in the trust store.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_held: Option<bool>,
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let digest = self.digest.as_deref().unwrap_or_default();
        let short: String =
            digest.strip_prefix("sha256:").unwrap_or(digest).chars().take(12).collect();
        vec![
            short,
            self.peer.clone(),
            fit(&self.name),
            self.bytes.map(size).unwrap_or_default(),
            text(&self.at),
            text(&self.state),
            text(&self.receipt),
            text(&self.why),
            if self.key_held == Some(false) { "no key".to_owned() } else { String::new() },
        ]
    }
}

/// A row as one JSON object; for people the rows are shown together, as columns.
struct Table(Vec<Row>);

impl Serialize for Table {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Show for Table {
    fn lines(&self) -> Vec<String> {
        let mut rows: Vec<Vec<String>> = self.0.iter().map(Row::cells).collect();
        let is_used = |column: usize| {
            rows.iter().any(|row| row.get(column).is_some_and(|cell| !cell.is_empty()))
        };
        let used: Vec<bool> = (0..9).map(is_used).collect();
        for row in &mut rows {
            let mut keep = used.iter();
            row.retain(|_| keep.next().copied().unwrap_or(false));
        }
        table(&rows)
    }
}

impl Show for Row {
    fn lines(&self) -> Vec<String> {
        table(&[self.cells()])
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let setup = session.setup(Overrides::default())?;
    let is_fresh = args.offline || running::find(&setup.places).is_some();
    session.with_mailbox(&setup, async |mailbox| {
        if !is_fresh && let Err(error) = refresh(&mailbox, args.listing).await {
            session.output.failure(
                &Failure::from(error).about("cannot poll the registry; the list may be old"),
            );
        }
        let rows = rows(&mailbox, args.listing);
        if session.output.is_json() {
            for row in &rows {
                session.output.show(row);
            }
        } else if rows.is_empty() {
            session.output.note("nothing there");
        } else {
            session.output.show(&Table(rows));
        }
        let unheld = mailbox.outbox().unheld();
        if args.listing == Listing::Outbox && !unheld.is_empty() {
            session.output.note(&unheld.to_string());
        }
        Ok(exit::OK)
    })
}

async fn refresh(mailbox: &Mailbox, listing: Listing) -> Result<(), MailboxError> {
    match listing {
        Listing::Inbox | Listing::Quarantine => mailbox.inbox().poll().await.map(|_report| ()),
        Listing::Outbox | Listing::Receipts => mailbox.poll_receipts().await.map(|_count| ()),
    }
}

fn rows(mailbox: &Mailbox, listing: Listing) -> Vec<Row> {
    let snapshot = mailbox.snapshot();
    match listing {
        Listing::Inbox => inbox(&snapshot),
        Listing::Outbox => outbox(&snapshot, |who| mailbox.outbox().holds_key_of(who)),
        Listing::Receipts => receipts(&snapshot),
        Listing::Quarantine => quarantine(&snapshot),
    }
}

fn inbox(snapshot: &Snapshot) -> Vec<Row> {
    let items = snapshot.inbox.values().flat_map(|dir| dir.values());
    items
        .map(|item| Row {
            listing: "inbox",
            peer: item.sender.as_str().to_owned(),
            name: item.name.clone(),
            bytes: Some(item.message.envelope.total_bytes),
            at: Some(item.message.envelope.created_at.to_string()),
            receipt: item.receipt.map(|status| status.to_string()),
            digest: Some(item.digest.to_string()),
            message_id: Some(item.message.id.to_string()),
            ..Row::default()
        })
        .collect()
}

fn outbox(snapshot: &Snapshot, holds_key_of: impl Fn(&Identity) -> bool) -> Vec<Row> {
    let files = snapshot.outbox_files();
    files
        .map(|file| Row {
            listing: "outbox",
            peer: file.recipient().as_str().to_owned(),
            name: file.name(),
            bytes: Some(file.len()),
            at: Some(crate::protocol::Timestamp::from(file.mtime()).to_string()),
            state: Some(snapshot.shown_state(file).to_owned()),
            receipt: file.receipt().map(|status| status.to_string()),
            digest: file.digest().map(|digest| digest.to_string()),
            message_id: file.message_id().map(|id| id.to_string()),
            why: file.error().map(|(_class, text)| text),
            key_held: Some(holds_key_of(file.recipient())),
        })
        .collect()
}

fn receipts(snapshot: &Snapshot) -> Vec<Row> {
    let both = [("received", &snapshot.receipts_sent), ("issued", &snapshot.receipts_issued)];
    let mut rows = Vec::new();
    for (state, dirs) in both {
        for (peer, dir) in dirs {
            rows.extend(dir.iter().map(|(name, receipt)| Row {
                listing: "receipts",
                peer: peer.clone(),
                name: name.clone(),
                at: Some(receipt.created_at.to_string()),
                state: Some(state.to_owned()),
                receipt: Some(if receipt.signed {
                    receipt.status.to_string()
                } else {
                    format!("{} (unsigned claim)", receipt.status)
                }),
                digest: Some(receipt.message.to_string()),
                ..Row::default()
            }));
        }
    }
    rows
}

fn quarantine(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for (peer, dir) in &snapshot.quarantine {
        rows.extend(dir.iter().map(|(name, item)| Row {
            listing: "quarantine",
            peer: format!("{peer} (claimed)"),
            name: name.trim_end_matches(".WHY.txt").to_owned(),
            at: Some(item.first_seen.to_string()),
            state: Some(if item.pending { "pending" } else { "refused" }.to_owned()),
            digest: item.digest.map(|digest| digest.to_string()),
            why: Some(item.code.clone()),
            ..Row::default()
        }));
    }
    rows
}
