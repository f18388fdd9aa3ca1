//! `resend`: sends a message that the registry has lost once more.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args as ClapArgs;
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::Show;
use super::recall::sent;
use super::session::Session;
use crate::mailbox::{Content, MailboxError, SentMessage};
use crate::protocol::{Digest, ErrorClass};

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms resend 7f3c9a1e2b4d
  dockercomms resend 7f3c9a1e2b4d report.pdf
  dockercomms resend ~/mail/outbox/bob@example.com/report.pdf report.pdf";

/// Send a message that the registry has lost once more, as a new message
///
/// For what `ls outbox` shows as `lost`, `expired` or `recalled`, or what `errors` calls given up.
/// The content comes from FILE, which must be what was sent, or from the registry if that still has
/// it. The new message has the old one's recipient and name, and its own id and time.
///
/// What the recipient has accepted, or still finds in the registry, would arrive twice: it is
/// refused unless --again is given.
///
/// Exit codes: 0 sent, 1 refused because it would arrive twice, 4 FILE is not what was sent, 5 not
/// your message, or FILE does not exist, or its content is gone and no FILE was given, 8 it, or
/// another file of its name, is not sent yet.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The message: a digest or its first digits, a tag, a message id, or a file in a mount
    #[arg(value_name = "REF")]
    message: String,
    /// The file that was sent
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Also send what would arrive a second time
    #[arg(long)]
    again: bool,
}

#[derive(Debug, Serialize)]
struct ResentShown {
    to: String,
    /// The message that this one repeats.
    repeats: String,
    #[serde(flatten)]
    message: SentMessage,
}

impl Show for ResentShown {
    fn lines(&self) -> Vec<String> {
        let Self { to, repeats, message } = self;
        vec![format!("{}  {} to {to} (repeats {repeats})", message.digest, message.name)]
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    // Before anything is asked: a mistyped name is not worth a request.
    let file = args.file.as_ref().map(open).transpose()?;
    session.with_reference(&args.message, async |mailbox, reference| {
        let digest = match sent(&mailbox, &reference).await? {
            Some(digest) => digest,
            None => reference.resolve(&mailbox).await?,
        };
        let (content, len) = match file {
            Some((file, len)) => (Content::File(Box::new(file)), Some(len)),
            None => (Content::Registry, None),
        };
        let bar = session.output.progress(&args.message, len);
        let progress = {
            let bar = bar.clone();
            Arc::new(move |bytes| bar.set_position(bytes))
        };
        let resent = mailbox.resend(&digest, content, args.again, progress).await;
        bar.finish_and_clear();
        let resent = resent.map_err(|error| failure(error, &digest))?;
        session.output.show(&ResentShown {
            to: resent.recipient.as_str().to_owned(),
            repeats: resent.repeats.to_string(),
            message: resent.message,
        });
        Ok(exit::OK)
    })
}

fn open(path: &PathBuf) -> Result<(File, u64), Failure> {
    let failed = |error| Failure::io(format!("cannot read {}", path.display()), &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        let what = format!("{} is a directory", path.display());
        return Err(
            Failure::new(ErrorClass::NotSupported, what).hint("name the file that was sent")
        );
    }
    Ok((file, metadata.len()))
}

fn failure(error: MailboxError, digest: &Digest) -> Failure {
    let short = digest.hex12();
    match error {
        MailboxError::NotFound(_) => {
            Failure::new(ErrorClass::NotFound, format!("{short} is not a message that you sent"))
                .hint("`dockercomms ls outbox` lists yours")
        }
        MailboxError::Busy => {
            Failure::new(ErrorClass::Busy, format!("{short} is not in the registry yet"))
                .hint("`dockercomms queue ls` shows what it waits for")
        }
        error @ MailboxError::Unconfirmed(_) => Failure::from(error)
            .about(format!("message {short} was perhaps not sent again yet"))
            .hint("a mount finishes it when it starts; the same command again is refused"),
        error => Failure::from(error).about(format!("message {short} was not sent again")),
    }
}
