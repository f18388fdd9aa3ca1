//! Who gets a file of the command line: a known name, or a new one that was confirmed.

use std::io::{self, BufRead as _, IsTerminal as _};

use super::failure::Failure;
use super::session::Session;
use crate::app::{Setup, TrustFile};
use crate::mailbox::{
    KnownNames, Standing, TrustSource as _, Unheld, did_you_mean, judge, unheld_in,
};
use crate::protocol::{ErrorClass, Identity};
use crate::store::Store;

/// How a new recipient is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// A flag said so already.
    Given,
    /// By a question, if there is a terminal to ask on.
    Asked,
    /// Standard input is the file, so there is no one to ask.
    Impossible,
}

/// Returns the recipient that `name` names.
///
/// # Errors
/// When the name cannot be a recipient, or is new and was not confirmed.
pub(super) fn choose(
    session: &Session,
    setup: &Setup,
    name: &str,
    confirmation: Confirmation,
) -> Result<Identity, Failure> {
    let own_key = setup.load_key()?.public_key();
    let trust = setup.trust_file(&own_key)?.current()?;
    let known = KnownNames::new(&trust, &setup.settings.me);
    let judged = judge(name, &known, &setup.settings.outbox_new).map_err(|refused| {
        Failure::of(ErrorClass::Configuration, &refused, Some(refused.hint()))
    })?;
    if judged.standing == Standing::Known {
        return Ok(judged.recipient);
    }
    let what = format!("you do not hold the key of `{}`", judged.recipient);
    let question = did_you_mean(&judged.near);
    if confirmation == Confirmation::Given {
        if let Some(question) = question {
            session.output.note(&format!("{what}; {question}"));
        }
        return Ok(judged.recipient);
    }
    if confirmation == Confirmation::Impossible || !io::stdin().is_terminal() {
        let otherwise = "take their card with `dockercomms trust add CARD`, or send to a new name \
                         with `--new`";
        let hint = match question {
            Some(question) => format!("{question} If not, {otherwise}"),
            None => otherwise.to_owned(),
        };
        return Err(Failure::new(ErrorClass::Configuration, what).hint(hint));
    }
    // In one text: with `--json` there are no notes, and the question needs its reason.
    let why = question.map_or(format!("{what}."), |question| format!("{what}; {question}"));
    let question = format!("{why} Send to `{}` all the same? [y/N]", judged.recipient);
    if is_confirmed(session, &question)? {
        return Ok(judged.recipient);
    }
    Err(Failure::new(ErrorClass::Interrupted, "nothing was sent"))
}

/// Asks a question on the terminal; anything but a yes is a no.
pub(super) fn is_confirmed(session: &Session, question: &str) -> Result<bool, Failure> {
    session.output.ask(question);
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::io("cannot read the answer", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Returns what goes to people without a key here, from the files of a profile alone; `None` when
/// one of them cannot be read.
pub(super) async fn unheld(setup: &Setup) -> Option<Unheld> {
    let trust = TrustFile::load(&setup.places.trust_file()).ok()?;
    let store = Store::open(setup.places.state_dir()).await.ok()?;
    unheld_in(&store, &KnownNames::new(&trust, &setup.settings.me)).await.ok()
}
