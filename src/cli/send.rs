//! `send`: files to a recipient, without a mount.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args as ClapArgs;
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::Show;
use super::recipient::{self, Confirmation};
use super::session::Session;
use crate::config::{ByteSize, Overrides, Span};
use crate::mailbox::{EntryName, Mailbox, MailboxError, SentMessage};
use crate::protocol::{Compression, ErrorClass, Identity};
use crate::sys::{Clock as _, SystemClock};

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms send report.pdf notes.txt --to bob@example.org
  dockercomms send - --name logs.tar --to bob@example.org < logs.tar
  dockercomms send invoice.pdf --to accounts@elsewhere.example --new";

/// Send files; returns when every byte, the signature and the tag are in the registry
///
/// Prints the digest of each message, which `verify`, `cosign verify` and `oras pull` accept. The
/// payload is signed, not encrypted. A recipient who is not in your trust store must be an address
/// (or match `outbox_new` in config.toml), and you are asked first; without a terminal, or with `-`,
/// --new is needed. If the registry does not confirm the last step, the same command again finishes
/// that message, and it arrives once.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The files; `-` is standard input and needs --name
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The recipient: the name exactly as on their contact card, or an address that is new
    #[arg(long, value_name = "WHO")]
    to: String,
    /// Send although the recipient is not in your trust store, without a question
    #[arg(long)]
    new: bool,
    /// The name that the recipient sees [default: the file's own]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// zstd, or gzip for peers that need it
    #[arg(long, value_parser = parse_compression)]
    compression: Option<Compression>,
    /// Bytes per chunk before compression, like 8MiB
    #[arg(long, value_name = "SIZE")]
    chunk_bytes: Option<ByteSize>,
    /// How long the message stays listed, like 7d; 0 = permanently
    #[arg(long, value_name = "TIME")]
    ttl: Option<Span>,
    /// Most bytes per second to the registry, like 2MiB; 0 = no limit
    #[arg(long, value_name = "SIZE")]
    limit_upload: Option<ByteSize>,
}

fn parse_compression(text: &str) -> Result<Compression, String> {
    text.parse().map_err(|_source| "only zstd and gzip are supported".to_owned())
}

#[derive(Debug, Serialize)]
struct SentShown {
    to: String,
    #[serde(flatten)]
    message: SentMessage,
}

impl Show for SentShown {
    fn lines(&self) -> Vec<String> {
        vec![format!("{}  {} to {}", self.message.digest, self.message.name, self.to)]
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let only_one = args.files.len() == 1;
    if args.name.is_some() && !only_one {
        return Err(Failure::new(ErrorClass::Configuration, "--name is for a single file"));
    }
    let takes_stdin = args.files.iter().any(|file| file == Path::new("-"));
    if args.name.is_none() && takes_stdin {
        return Err(Failure::new(ErrorClass::Configuration, "standard input has no name")
            .hint("give one with `--name NAME`"));
    }
    let overrides = Overrides {
        compression: args.compression,
        chunk_bytes: args.chunk_bytes,
        ttl: args.ttl,
        limit_upload: args.limit_upload,
        ..Overrides::default()
    };
    let setup = session.setup(overrides)?;
    let confirmation = match (args.new, takes_stdin) {
        (true, _) => Confirmation::Given,
        (false, true) => Confirmation::Impossible,
        (false, false) => Confirmation::Asked,
    };
    let to = recipient::choose(session, &setup, &args.to, confirmation)?;
    session.with_mailbox(&setup, async |mailbox| {
        let mut failures = Vec::new();
        for file in &args.files {
            match send_one(session, &mailbox, &to, file, args.name.as_deref()).await {
                Ok(message) => {
                    session.output.show(&SentShown { to: to.as_str().to_owned(), message });
                }
                Err(failure) => failures.push(failure),
            }
        }
        conclude(session, args.files.len(), failures)
    })
}

/// Turns the failures of several actions into an exit code: all failed, partly done, or done.
pub(crate) fn conclude(
    session: &Session,
    count: usize,
    mut failures: Vec<Failure>,
) -> Result<u8, Failure> {
    let Some(last) = failures.pop() else { return Ok(exit::OK) };
    let partly_done = failures.len() + 1 < count;
    for failure in failures {
        session.output.failure(&failure);
    }
    let exit = if partly_done { exit::PARTLY_DONE } else { last.exit };
    Err(Failure { exit, ..last })
}

struct Source {
    name: EntryName,
    content: Box<dyn Read + Send>,
    mtime: SystemTime,
    len: Option<u64>,
}

async fn send_one(
    session: &Session,
    mailbox: &Mailbox,
    to: &Identity,
    path: &Path,
    name: Option<&str>,
) -> Result<SentMessage, Failure> {
    let not_sent = |failure: Failure| failure.about(format!("{} was not sent", path.display()));
    let source = open(path, name).map_err(not_sent)?;
    let bar = session.output.progress(source.name.as_str(), source.len);
    let progress = {
        let bar = bar.clone();
        Arc::new(move |bytes| bar.set_position(bytes))
    };
    let outbox = mailbox.outbox();
    let sent = outbox.send(to, &source.name, source.content, source.mtime, progress).await;
    bar.finish_and_clear();
    sent.map_err(|error| match error {
        MailboxError::Unconfirmed(_) => {
            Failure::from(error).about(format!("{} is perhaps not sent yet", path.display()))
        }
        error => not_sent(error.into()),
    })
}

fn open(path: &Path, name: Option<&str>) -> Result<Source, Failure> {
    if path == Path::new("-") {
        let name = name.unwrap_or("stdin");
        let content = Box::new(io::stdin());
        return Ok(Source { name: safe_name(name)?, content, mtime: SystemClock.now(), len: None });
    }
    let failed = |error: &io::Error| Failure::io("cannot read the file", error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if metadata.is_dir() {
        return Err(Failure::new(ErrorClass::NotSupported, "it is a directory").hint(
            "send an archive of it: `tar c DIR | dockercomms send - --name DIR.tar --to WHO`",
        ));
    }
    let name = match (name, path.file_name()) {
        (Some(name), _) => safe_name(name)?,
        // A name that is not UTF-8 or not allowed on the wire gets its safe form.
        (None, Some(name)) => EntryName::sanitize(&escape_non_utf8(name)),
        (None, None) => {
            return Err(Failure::new(ErrorClass::InvalidName, "it has no name")
                .hint("give one with `--name NAME`"));
        }
    };
    let mtime = metadata.modified().unwrap_or_else(|_unknown| SystemClock.now());
    let len = metadata.is_file().then_some(metadata.len());
    Ok(Source { name, content: Box::new(file), mtime, len })
}

/// Escapes the bytes of a name that are not UTF-8, so that different names stay different (P7).
fn escape_non_utf8(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            write!(text, "%{byte:02X}").ok();
        }
    }
    text
}

fn safe_name(name: &str) -> Result<EntryName, Failure> {
    name.parse().map_err(|error| Failure::from(error).about("--name cannot be used"))
}
