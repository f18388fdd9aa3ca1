//! `status`: who you are, how the registry is, what is in progress.

use std::time::Duration;

use clap::Args as ClapArgs;
use serde::Serialize;
use serde_json::Value;

use super::exit;
use super::failure::Failure;
use super::output::{Show, size, table};
use super::running::{self, RunningMount};
use super::session::Session;
use crate::app::Setup;
use crate::config::Overrides;
use crate::mailbox::{Mailbox, Unheld};
use crate::protocol::ErrorClass;
use crate::sys::Counted;

/// How long a mount may take to report its status; it answers from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Time between two checks of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms status
  dockercomms status --watch --json";

/// Show who you are, how the registry is, and what is in progress
///
/// If a mount is running it shows that mount's own state, otherwise the state on disk. It never
/// contacts the registry.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Show it again whenever it changes, until interrupted
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, PartialEq, Serialize)]
struct StatusShown {
    mount: Option<RunningMount>,
    #[serde(flatten)]
    status: Value,
}

impl Show for StatusShown {
    fn lines(&self) -> Vec<String> {
        let text = |field: &str| self.text(field);
        let size = |field: &str| size(self.status.get(field).and_then(Value::as_u64).unwrap_or(0));
        let me: Vec<&str> = self
            .status
            .get("me")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut rows = vec![
            row("me", me.join(", ")),
            row("fingerprint", text("fingerprint")),
            row("repository", text("repository")),
            row("registry", format!("{} (last asked {})", text("registry"), text("last_poll"))),
            row(
                "mount",
                match &self.mount {
                    Some(mount) => format!("{} (process {})", mount.dir.display(), mount.pid),
                    None => "none".to_owned(),
                },
            ),
            row("inbox", text("inbox_count")),
            row(
                "outbox",
                format!(
                    "{} under way, {} local (not sent as is), {} failed",
                    text("outbox_queued"),
                    text("outbox_local"),
                    text("outbox_failed")
                ),
            ),
            row("quarantine", text("quarantine_count")),
            row(
                "cache",
                format!(
                    "{} in memory, {} on disk",
                    size("cache_memory_bytes"),
                    size("cache_disk_bytes")
                ),
            ),
        ];
        rows.extend(self.concerns());
        for transfer in self.status.get("transfers").and_then(Value::as_array).into_iter().flatten()
        {
            let part = |field: &str| transfer.get(field).map(shown).unwrap_or_default();
            rows.push(row(
                &part("direction"),
                format!(
                    "{} {} {} {}/{} {}",
                    part("peer"),
                    part("name"),
                    part("state"),
                    part("bytes_done"),
                    part("bytes_total"),
                    part("why")
                ),
            ));
        }
        table(&rows)
    }
}

impl StatusShown {
    fn text(&self, field: &str) -> String {
        match self.status.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "-".to_owned(),
            Some(other) => other.to_string(),
        }
    }

    /// Returns whether a number is there and not zero; a mount of an earlier version may not have it.
    fn has_some(&self, field: &str) -> bool {
        self.status.get(field).and_then(Value::as_u64).is_some_and(|count| count > 0)
    }

    /// Returns the rows that only a user who may have to do something sees.
    fn concerns(&self) -> Vec<Vec<String>> {
        let text = |field: &str| self.text(field);
        let mut rows = Vec::new();
        if self.has_some("outbox_lost") {
            let count = self.status.get("outbox_lost").and_then(Value::as_u64).unwrap_or(0);
            let count = Counted(usize::try_from(count).unwrap_or(usize::MAX), "message");
            let text = format!("{count} no longer in the registry, see errors");
            rows.push(row("lost", text));
        }
        if self.has_some("outbox_waiting") {
            let mut waiting = format!(
                "{} waiting, next attempt {}",
                text("outbox_waiting"),
                text("next_attempt")
            );
            if let Some(why) = self.status.get("waiting_why").and_then(Value::as_str) {
                waiting.push_str(": ");
                waiting.push_str(why);
            }
            rows.push(row("queue", waiting));
        }
        if self.has_some("outbox_damaged") {
            let text = format!("{} entries of the outbox, see errors", text("outbox_damaged"));
            rows.push(row("damaged", text));
        }
        rows.extend(self.unheld().map(|unheld| row("no key", unheld.to_string())));
        rows
    }

    /// Returns what goes to people without a key here, if there is anything.
    fn unheld(&self) -> Option<Unheld> {
        // A mount of an earlier version does not say.
        let unheld = self.status.get("outbox_unheld")?.clone();
        serde_json::from_value(unheld).ok().filter(|unheld: &Unheld| !unheld.is_empty())
    }
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let setup = session.setup(Overrides::default())?;
    let result = session.with_mailbox(&setup, async |mailbox| {
        let mut last = None;
        loop {
            let status = look(&setup, &mailbox).await?;
            if last.as_ref() != Some(&status) {
                if last.is_some() && !session.output.is_json() {
                    session.output.document("\n");
                }
                session.output.show(&status);
                last = Some(status);
            }
            if !args.watch {
                return Ok(exit::OK);
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    });
    match result {
        // That is how watching ends.
        Err(failure) if args.watch && failure.code == ErrorClass::Interrupted.code() => {
            Ok(exit::OK)
        }
        result => result,
    }
}

async fn look(setup: &Setup, mailbox: &Mailbox) -> Result<StatusShown, Failure> {
    if let Some(mount) = running::find(&setup.places)
        && let Some(status) = ask_mount(&mount).await
    {
        return Ok(StatusShown { mount: Some(mount), status });
    }
    let status = serde_json::to_value(mailbox.status())
        .map_err(|error| Failure::of(ErrorClass::Internal, &error, None))?;
    Ok(StatusShown { mount: None, status })
}

/// Reads the status file of a mount; `None` when it does not answer.
pub(crate) async fn ask_mount(mount: &RunningMount) -> Option<Value> {
    let path = mount.dir.join(".dockercomms/status.json");
    let json = tokio::time::timeout(ANSWER_TIMEOUT, tokio::fs::read(path)).await.ok()?.ok()?;
    serde_json::from_slice(&json).ok()
}
