//! `queue`: shows and controls what is sent in the background.
//!
//! A running mount owns its queue, so it is controlled through its own file system: one attribute
//! retries a file, another one cancels it. Without a mount the state is changed here, under the
//! lock that a mount would take.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::{Show, fit, size, table};
use super::running::{self, RunningMount};
use super::session::Session;
use crate::app::{self, Setup};
use crate::config::Overrides;
use crate::fs::xattr::{CANCEL, RETRY};
use crate::mailbox::{Mailbox, OutboxFile, SendState};
use crate::protocol::ErrorClass;
use crate::store::Store;
use crate::sys::blocking::{self, TaskLost};

/// How long a mount may take to carry out one request; it first finishes publishing a tag.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms queue ls
  dockercomms queue retry --all
  dockercomms queue cancel 12
  dockercomms queue cancel bob@example.org/report.pdf";

/// Show and control what is sent in the background
///
/// With `--delivery queued` (or `delivery` in config.toml) a copy into outbox/ returns when it is
/// safe on this disk; it waits here until the registry has it. A file that the registry refuses
/// waits too, and is tried again after growing pauses, and at once when the login changes or the
/// registry answers again. Files that no attempt can send, and those of a `send` that reported an
/// error, are listed as failed: they stay until they are retried, cancelled, or collected by `gc`
/// after the setting `history`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List waiting and failed files, in the order of sending
    #[command(visible_alias = "list")]
    Ls,
    /// Retry failed files, and send waiting ones at once
    Retry(Which),
    /// Cancel files that are not sent yet; their copies here are deleted
    ///
    /// If an earlier attempt may have delivered the file although it was reported as failed, the
    /// registry is checked first: a file already there is reported as sent, and stays listed.
    Cancel(Which),
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct Which {
    /// The files: numbers of `queue ls`, message ids, or RECIPIENT/NAME
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    /// Every listed file
    #[arg(long)]
    all: bool,
}

/// One file of the queue.
#[derive(Debug, Serialize)]
struct Row {
    id: i64,
    recipient: String,
    name: String,
    bytes: u64,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Row {
    fn of(file: &OutboxFile) -> Self {
        Self {
            id: file.id(),
            recipient: file.recipient().as_str().to_owned(),
            name: file.name(),
            bytes: file.len(),
            state: file.state().to_string(),
            place: file.queue_place(),
            message_id: file.message_id().map(|id| id.to_string()),
            why: file.error().map(|(class, text)| format!("{}: {text}", class.code())),
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.recipient.clone(),
            fit(&self.name),
            size(self.bytes),
            self.state.clone(),
            self.why.clone().unwrap_or_default(),
        ]
    }
}

/// All rows; for people they are shown as columns.
#[derive(Serialize)]
struct Rows(Vec<Row>);

impl Show for Rows {
    fn lines(&self) -> Vec<String> {
        table(&self.0.iter().map(Row::cells).collect::<Vec<_>>())
    }
}

/// What was done with one file.
#[derive(Debug, Serialize)]
struct Done {
    id: i64,
    recipient: String,
    name: String,
    #[serde(rename = "done")]
    what: &'static str,
}

impl Show for Done {
    fn lines(&self) -> Vec<String> {
        vec![format!("{} {}/{}", self.what, self.recipient, self.name)]
    }
}

impl Show for Row {
    fn lines(&self) -> Vec<String> {
        table(&[self.cells()])
    }
}

/// What to do with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Retry,
    Cancel,
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let setup = session.setup(Overrides::default())?;
    match &args.action {
        Action::Ls => session.with_mailbox(&setup, async |mailbox| {
            list(session, &mailbox);
            Ok(exit::OK)
        }),
        Action::Retry(which) => steer(session, &setup, which, Order::Retry),
        Action::Cancel(which) => steer(session, &setup, which, Order::Cancel),
    }
}

fn list(session: &Session, mailbox: &Mailbox) {
    let rows: Vec<Row> = queued(mailbox).iter().map(|file| Row::of(file)).collect();
    if session.output.is_json() {
        for row in &rows {
            session.output.show(row);
        }
    } else if rows.is_empty() {
        session.output.note("nothing is waiting");
    } else {
        session.output.show(&Rows(rows));
    }
}

/// Returns waiting and failed files: the queue in its order, then the rest.
fn queued(mailbox: &Mailbox) -> Vec<Arc<OutboxFile>> {
    let snapshot = mailbox.snapshot();
    let is_listed = |file: &&Arc<OutboxFile>| {
        matches!(file.state(), SendState::Queued | SendState::Prepared | SendState::Failed)
    };
    let mut files: Vec<_> = snapshot.outbox_files().filter(is_listed).cloned().collect();
    files.sort_by_key(|file| (file.queue_place().unwrap_or(i64::MAX), file.id()));
    files
}

fn steer(session: &Session, setup: &Setup, which: &Which, order: Order) -> Result<u8, Failure> {
    let mount = running::find(&setup.places);
    // A mount that is just starting is not found yet, but it has the lock.
    let _lock = match mount {
        Some(_) => None,
        None => Some(Store::lock(setup.places.state_dir()).map_err(app::AppError::from)?),
    };
    session.with_mailbox(setup, async |mailbox| {
        let files = chosen(&queued(&mailbox), which)?;
        if files.is_empty() {
            session.output.note("nothing is waiting");
        }
        let mut failed = Vec::new();
        for file in &files {
            let done = match &mount {
                Some(mount) => through_mount(&mailbox, mount, file, order).await,
                None => directly(&mailbox, file, order).await,
            };
            match done {
                Ok(done) => session.output.show(&Done {
                    id: file.id(),
                    recipient: file.recipient().as_str().to_owned(),
                    name: file.name(),
                    what: done,
                }),
                Err(failure) => {
                    failed.push(failure.about(format!("{}/{}", file.recipient(), file.name())));
                }
            }
        }
        if mount.is_none() && order == Order::Retry && failed.len() < files.len() {
            session.output.note("the next mount sends them");
        }
        if files.len() > 1 && !failed.is_empty() && failed.len() < files.len() {
            for failure in &failed {
                session.output.failure(failure);
            }
            return Ok(exit::PARTLY_DONE);
        }
        failed.into_iter().next().map_or(Ok(exit::OK), Err)
    })
}

/// Returns the selected files; a name that matches none is an error before anything is done.
fn chosen(files: &[Arc<OutboxFile>], which: &Which) -> Result<Vec<Arc<OutboxFile>>, Failure> {
    if which.all {
        return Ok(files.to_vec());
    }
    let find = |text: &String| {
        let is_meant = |file: &&Arc<OutboxFile>| {
            file.matches_reference(text)
                || format!("{}/{}", file.recipient().dir_name(), file.name()) == *text
                || format!("{}/{}", file.recipient().as_str(), file.name()) == *text
        };
        files.iter().find(is_meant).cloned().ok_or_else(|| {
            Failure::new(ErrorClass::NotFound, format!("nothing in the queue is called {text}"))
                .hint("run `dockercomms queue ls` for what is waiting; sent files are not in it")
        })
    };
    which.files.iter().map(find).collect()
}

/// Has the mount do it, which knows what is in progress.
async fn through_mount(
    mailbox: &Mailbox,
    mount: &RunningMount,
    file: &Arc<OutboxFile>,
    order: Order,
) -> Result<&'static str, Failure> {
    let path: PathBuf =
        mount.dir.join("outbox").join(file.recipient().dir_name()).join(file.name());
    let shown = path.display().to_string();
    let (attribute, value) = match order {
        Order::Retry => (RETRY, "now".to_owned()),
        // The name may belong to another file by now.
        Order::Cancel => {
            (CANCEL, file.message_id().map_or_else(|| file.id().to_string(), |id| id.to_string()))
        }
    };
    let asked = blocking::run(move || {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path, attribute, value.as_bytes(), flags).map_err(io::Error::from)
    });
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(Ok(()))) => Ok(said(order)),
        Ok(Ok(Err(_))) if order == Order::Cancel && mailbox.outbox().was_sent(file).await? => {
            Err(already_sent(&shown))
        }
        Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::NotFound => {
            // What a `send` of its own has failed to send is in no list of the mount.
            if file.state() == SendState::Failed && order == Order::Cancel {
                return directly(mailbox, file, order).await;
            }
            let what = format!("{shown} is gone, or is now another file");
            Err(Failure::new(ErrorClass::NotFound, what).hint("run `dockercomms queue ls` again"))
        }
        Ok(Ok(Err(error))) => Err(Failure::io(format!("the mount refused {shown}"), &error).hint(
            "see `dockercomms ls outbox` for its state; it may already be sent. What `send` has \
                 failed to send, the same command sends; `queue cancel` removes it",
        )),
        Ok(Err(TaskLost)) | Err(_) => {
            Err(Failure::new(ErrorClass::TimedOut, format!("the mount did not answer for {shown}")))
        }
    }
}

async fn directly(
    mailbox: &Mailbox,
    file: &Arc<OutboxFile>,
    order: Order,
) -> Result<&'static str, Failure> {
    match order {
        Order::Retry => mailbox.outbox().retry(file).await?,
        Order::Cancel => {
            let cancelled = mailbox.outbox().cancel(file).await;
            if cancelled.is_err() && file.state() == SendState::Sent {
                return Err(already_sent("it"));
            }
            cancelled?;
        }
    }
    Ok(said(order))
}

fn already_sent(what: &str) -> Failure {
    Failure::new(ErrorClass::NotPermitted, format!("{what} was already delivered"))
        .hint("it stays listed as sent; `dockercomms recall` deletes it from the registry")
}

fn said(order: Order) -> &'static str {
    match order {
        Order::Retry => "queued",
        Order::Cancel => "cancelled",
    }
}
