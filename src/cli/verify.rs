//! `verify`: checks one message completely, to the last byte.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::exit;
use super::failure::Failure;
use super::output::Show;
use super::session::Session;
use crate::mailbox::{Inspection, Mailbox};
use crate::protocol::ErrorClass;
use crate::registry::ManifestRef;

/// Bytes per read.
const READ_LEN: usize = 1 << 20;

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms verify 7f3c9a1e2b4d --explain
  dockercomms verify ~/mail/inbox/bob@example.org/report.pdf";

/// Verify a whole message: signature, trust, addressee, every byte
///
/// Exit status 0 means that a key you trust for this sender signed exactly these bytes. This
/// neither lists nor receives nor acknowledges anything.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The message: a digest or its first digits, a tag, a message id, or a file in a mount
    #[arg(value_name = "REF")]
    message: String,
    /// Show every check, not only the first that fails
    #[arg(long)]
    explain: bool,
}

#[derive(Debug, Serialize)]
struct Verdict {
    digest: String,
    message_id: String,
    sender: String,
    recipient: String,
    filename: String,
    bytes: u64,
    created_at: String,
    #[serde(rename = "verified")]
    is_verified: bool,
    signer: Option<String>,
    /// Why the message was refused, as a code.
    code: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    explain: Vec<String>,
}

impl Verdict {
    fn new(inspection: &Inspection, explain: bool) -> Self {
        let envelope = &inspection.message.envelope;
        Self {
            digest: inspection.digest.to_string(),
            message_id: inspection.message.id.to_string(),
            sender: envelope.sender.as_str().to_owned(),
            recipient: envelope.recipient.as_str().to_owned(),
            filename: envelope.filename.clone(),
            bytes: envelope.total_bytes,
            created_at: envelope.created_at.to_string(),
            is_verified: inspection.verdict.is_ok(),
            signer: inspection.signer.clone(),
            code: inspection.verdict.as_ref().err().map(|(_class, code, _text)| code.clone()),
            explain: if explain { inspection.explain.clone() } else { Vec::new() },
        }
    }
}

impl Show for Verdict {
    fn lines(&self) -> Vec<String> {
        let mut lines = self.explain.clone();
        if self.is_verified {
            lines.push(format!(
                "verified: {} ({} bytes) of {} from `{}` to `{}`",
                self.filename, self.bytes, self.created_at, self.sender, self.recipient
            ));
            lines.push(format!("  digest {}", self.digest));
            lines.push(format!("  signed by key {}", self.signer.as_deref().unwrap_or("-")));
        }
        lines
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    session.with_reference(&args.message, async |mailbox, reference| {
        let digest = reference.resolve(&mailbox).await?;
        let inspection = mailbox.inbox().inspect(&ManifestRef::Digest(digest)).await?;
        let mut shown = Verdict::new(&inspection, args.explain);
        let payload = match &inspection.verdict {
            Ok(()) => read_all(session, &mailbox, &inspection).await,
            Err((class, _code, text)) => Err(refused(&inspection, *class, text, args)),
        };
        shown.is_verified = payload.is_ok();
        if let Err(failure) = &payload {
            shown.code.get_or_insert_with(|| failure.code.clone());
        }
        session.output.show(&shown);
        payload.map(|()| exit::OK)
    })
}

fn refused(inspection: &Inspection, class: ErrorClass, text: &str, args: &Args) -> Failure {
    let what = format!(
        "message {} from `{}` was refused",
        inspection.digest.hex12(),
        inspection.message.envelope.sender
    );
    let mut failure = Failure::new(class, text).about(what);
    failure.hint = Some(if args.explain {
        "ask the sender to compare fingerprints with you, or to send it again".to_owned()
    } else {
        format!("run `dockercomms verify {} --explain`", inspection.digest.hex12())
    });
    failure
}

/// Reads the whole payload; the reader checks every chunk against the signed manifest.
async fn read_all(
    session: &Session,
    mailbox: &Mailbox,
    inspection: &Inspection,
) -> Result<(), Failure> {
    let reader = mailbox.inbox().open_inspected(inspection);
    let bar = session.output.progress(&inspection.message.envelope.filename, Some(reader.len()));
    let mut offset = 0;
    while offset < reader.len() {
        let bytes = reader.read_at(offset, READ_LEN).await?;
        if bytes.is_empty() {
            return Err(Failure::new(ErrorClass::Corrupt, "the message ended early"));
        }
        offset = offset.saturating_add(bytes.len() as u64);
        bar.set_position(offset);
    }
    bar.finish_and_clear();
    Ok(())
}
