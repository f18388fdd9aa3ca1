//! What became of a sent message in the registry without our doing, and why one is not sent once
//! more: as it is reported.

use crate::protocol::{Digest, ErrorClass};
use crate::registry::RegistryError;
use crate::store::PUT_BACK_COUNT_MAX;

/// What happened to a sent message that no receipt has confirmed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Incident {
    /// Its tag was taken away and put back.
    #[error(
        "its inbox tag {} while the registry still had the message: without it the recipient sees \
         nothing; it was put back ({count} of at most {PUT_BACK_COUNT_MAX} times)",
        whereabouts(*.elsewhere)
    )]
    PutBack {
        /// Which time this was.
        count: u32,
        /// What the tag pointed to instead, where that is known.
        elsewhere: Option<Digest>,
    },
    /// Its tag was put back as often as it ever is, and taken away again.
    #[error(
        "its inbox tag {} again after {PUT_BACK_COUNT_MAX} attempts to put it back; it is given up: \
         the recipient does not see the message",
        whereabouts(*.elsewhere)
    )]
    GivenUp {
        /// The message.
        message: Digest,
        /// What the tag points to instead.
        elsewhere: Option<Digest>,
    },
    /// Its tag is gone, and the registry does not take it back.
    #[error(
        "its inbox tag {}, and the registry does not let us put it back: the recipient does not \
         see the message",
        whereabouts(*.elsewhere)
    )]
    NotPutBack {
        /// The message.
        message: Digest,
        /// What the tag points to instead.
        elsewhere: Option<Digest>,
        /// The registry's answer.
        #[source]
        source: RegistryError,
    },
    /// The registry no longer has it.
    #[error(
        "it is lost: the registry no longer has it, and no receipt for it came; it is not sent \
         again by itself"
    )]
    Lost {
        /// The message.
        message: Digest,
    },
}

/// Why a message is not sent once more.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResendRefusal {
    /// The recipient has accepted it.
    #[error("its recipient has accepted it: sent once more, it would arrive a second time")]
    Accepted,
    /// The registry has it, under its tag.
    #[error("it is in the registry, where its recipient finds it: it would arrive a second time")]
    StillThere,
    /// It was sent once more before.
    #[error("it was sent once more already, as another message: it would arrive a second time")]
    AlreadyResent,
    /// Another file of its name is not sent yet.
    #[error("another file of this name, to the same recipient, is not sent yet")]
    NameTaken,
    /// The registry has lost its content too.
    #[error("the registry no longer has its content, and this machine did not keep it")]
    ContentGone,
    /// The file is not what the message has carried.
    #[error("the file is not the one that was sent: its content differs")]
    OtherContent,
}

impl ResendRefusal {
    /// Returns the class that decides errno and exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Accepted | Self::StillThere | Self::AlreadyResent => ErrorClass::Exists,
            Self::NameTaken => ErrorClass::Busy,
            Self::ContentGone => ErrorClass::NotFound,
            Self::OtherContent => ErrorClass::Corrupt,
        }
    }

    /// Returns what to do next, in one sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Accepted | Self::StillThere => {
                "`dockercomms resend --again` does it all the same"
            }
            Self::AlreadyResent => {
                "`dockercomms ls outbox` lists the newer message; name that one, or give `--again`"
            }
            Self::NameTaken => {
                "`dockercomms queue ls` lists it: wait until it is sent, or `queue cancel` it"
            }
            Self::ContentGone => "name the file: `dockercomms resend REF FILE`",
            Self::OtherContent => {
                "name the file as it was when it was sent; another one goes as a new message: \
                 `dockercomms send FILE --to WHO`"
            }
        }
    }
}

/// Says where a tag is instead of where it belongs.
fn whereabouts(elsewhere: Option<Digest>) -> String {
    match elsewhere {
        Some(digest) => format!("pointed to {digest}"),
        None => "was gone".to_owned(),
    }
}

impl Incident {
    /// Returns the class that decides errno and exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotPutBack { source, .. } => source.class(),
            Self::PutBack { .. } | Self::GivenUp { .. } => ErrorClass::Malformed,
            Self::Lost { .. } => ErrorClass::NotFound,
        }
    }

    /// Returns the code of its line in `.dockercomms/errors`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PutBack { .. } => "tag-put-back",
            Self::GivenUp { .. } => "tag-given-up",
            Self::NotPutBack { .. } => "tag-not-put-back",
            Self::Lost { .. } => "lost",
        }
    }

    /// Returns what to do next, in one sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::PutBack { .. } => {
                "someone with push rights removed or moved it, or the registry was restored from a \
                 backup: ask its operator"
                    .to_owned()
            }
            Self::GivenUp { message, .. } => format!(
                "ask the registry's operator who changes tags there, then `dockercomms resend {}`",
                message.hex12()
            ),
            Self::NotPutBack { message, source, .. } => {
                let resend = format!("`dockercomms resend {}`", message.hex12());
                if source.class() == ErrorClass::Denied {
                    format!("run `docker login` with an account that may push, or {resend}")
                } else {
                    format!("{resend} sends it under another tag")
                }
            }
            Self::Lost { message } => format!(
                "it was recalled elsewhere, or the registry was wiped or cleaned up: \
                 `dockercomms resend {} FILE` sends it once more",
                message.hex12()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::MailboxError;

    #[test]
    fn every_incident_says_what_happened_and_what_to_do() {
        let message = Digest::of(b"m");
        let elsewhere = Some(Digest::of(b"e"));
        let immutable = || RegistryError::Rejected { reason: "an immutable tag".into() };
        let denied = || RegistryError::Denied { reason: "no permission".into() };
        for (incident, code, said, hint) in [
            (Incident::PutBack { count: 2, elsewhere: None }, "tag-put-back", "2 of", "backup"),
            (Incident::PutBack { count: 1, elsewhere }, "tag-put-back", "pointed to", "operator"),
            (Incident::GivenUp { message, elsewhere }, "tag-given-up", "given up", "resend"),
            (
                Incident::NotPutBack { message, elsewhere, source: immutable() },
                "tag-not-put-back",
                "does not let us",
                "another tag",
            ),
            (
                Incident::NotPutBack { message, elsewhere, source: denied() },
                "tag-not-put-back",
                "does not let us",
                "docker login",
            ),
            (Incident::Lost { message }, "lost", "no longer has it", "resend"),
        ] {
            let error = MailboxError::from(incident);

            assert_eq!(error.code(), code);
            assert!(error.to_string().contains(said), "{error}");
            assert!(error.hint().is_some_and(|shown| shown.contains(hint)), "{error}");
        }
    }
}
