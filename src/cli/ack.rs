//! `ack`: a receipt by hand.

use clap::{Args as ClapArgs, ValueEnum};
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::Show;
use super::session::Session;
use crate::mailbox::MailboxError;
use crate::protocol::{Digest, ReceiptStatus};

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms ack 7f3c9a1e2b4d --status accepted
  dockercomms ack 7f3c9a1e2b4d --status rejected --reason \"not for me\"";

/// Send a signed receipt for a message that you received
///
/// If the registry does not answer, the receipt is kept and sent by the next `recv` or by a mount;
/// the exit code is then 7.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The message: a digest or its first digits, a tag, a message id, or a file in a mount
    #[arg(value_name = "REF")]
    message: String,
    /// The answer
    #[arg(long, value_enum)]
    status: Status,
    /// Why, in a few words; the sender reads it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    Accepted,
    Rejected,
}

#[derive(Debug, Serialize)]
struct Acknowledged {
    message: String,
    status: String,
}

impl Show for Acknowledged {
    fn lines(&self) -> Vec<String> {
        vec![format!("{}  {}", self.message, self.status)]
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let status = match args.status {
        Status::Accepted => ReceiptStatus::Accepted,
        Status::Rejected => ReceiptStatus::Rejected,
    };
    session.with_reference(&args.message, async |mailbox, reference| {
        let digest = reference.resolve(&mailbox).await?;
        let reason = args.reason.as_deref();
        mailbox
            .acknowledge_now(&digest, status, reason)
            .await
            .map_err(|error| failure(error, &digest))?;
        session
            .output
            .show(&Acknowledged { message: digest.to_string(), status: status.to_string() });
        Ok(exit::OK)
    })
}

fn failure(error: MailboxError, digest: &Digest) -> Failure {
    let (short, is_late) = (digest.hex12(), error.class().is_transient());
    let failure = Failure::from(error);
    if is_late {
        return failure
            .about(format!("the receipt for {short} was not sent yet"))
            .hint("it is kept, and the next `dockercomms recv` or a mount sends it");
    }
    failure.about(format!("no receipt was issued for {short}"))
}
