//! What was written: who it is for, what waits, what no receipt has confirmed.

use super::check::{Check, Outcome};
use super::registry::REGISTRY_TIMEOUT;
use crate::app::{self, Setup};
use crate::cli::{recipient, unconfirmed};
use crate::store::{OutboxState, Store};
use crate::sys::{Counted, Untrusted};

/// Most files that are named because they wait.
const NAMED_COUNT_MAX: usize = 3;

/// Names the files that wait or failed because an attempt to send them did.
pub(super) async fn waiting(setup: &Setup) -> Check {
    let rows = async {
        let store = Store::open(setup.places.state_dir()).await?;
        store.outbox_rows().await
    };
    let rows = match rows.await {
        Ok(rows) => rows.entries,
        Err(error) => return Check::failed("outbox", app::AppError::from(error).into()),
    };
    let is_unsent =
        |state| matches!(state, OutboxState::Queued | OutboxState::Prepared | OutboxState::Failed);
    let mut stuck: Vec<String> = rows
        .into_iter()
        .filter(|row| is_unsent(row.state))
        .filter_map(|row| {
            let error = row.error?;
            let (to, name) = (row.recipient.dir_name(), Untrusted(&row.name));
            Some(format!("{to}/{name}: {}: {}", error.code, Untrusted(&error.text)))
        })
        .collect();
    if stuck.is_empty() {
        return Check::new("outbox", Outcome::Ok, "no file waits because of an error");
    }
    let count = Counted(stuck.len(), "file").to_string();
    stuck.truncate(NAMED_COUNT_MAX);
    let detail = format!("{count} not sent, because of errors: {}", stuck.join("; "));
    Check::new("outbox", Outcome::Warning, detail)
        .hint("`dockercomms queue ls` lists them all; what waits is tried again by itself")
}

/// Names the people to whom files go although their fingerprints were never compared.
pub(super) async fn recipients(setup: &Setup) -> Option<Check> {
    // What cannot be read is another check's failure.
    let unheld = recipient::unheld(setup).await?;
    Some(if unheld.is_empty() {
        Check::new("recipients", Outcome::Ok, "you hold the key of everyone you write to")
    } else {
        Check::new("recipients", Outcome::Warning, unheld.to_string())
            .hint("compare the names, ask them for their cards, and `dockercomms trust add CARD`")
    })
}

/// Looks for sent messages that no receipt has confirmed; `None` when the registry, which has its
/// own check, does not answer.
pub(super) async fn sent(setup: &Setup) -> Option<Check> {
    let repository = app::open_repository(&setup.settings).ok()?;
    let looked = async {
        let store = Store::open(setup.places.state_dir()).await?;
        unconfirmed::look(&store, repository.as_ref()).await
    };
    let looked = tokio::time::timeout(REGISTRY_TIMEOUT, looked).await.ok()?;
    let found = match looked {
        Ok(found) => found.ok()?,
        Err(error) => return Some(Check::failed("sent", app::AppError::from(error).into())),
    };
    let confirmed = format!(
        "{} without a receipt, {} of them looked for in the registry",
        Counted(found.count, "message"),
        found.looked_count
    );
    Some(if found.lost_count > 0 {
        let detail = format!("{confirmed}; {} lost", found.lost_count);
        Check::new("sent", Outcome::Warning, detail).hint(
            "`dockercomms ls outbox` names them; `dockercomms resend REF FILE` sends one once more",
        )
    } else if let Some(tag) = found.missing.first() {
        let detail = format!("{confirmed}: {} not found, such as {tag}", found.missing.len());
        Check::new("sent", Outcome::Warning, detail).hint(
            "they were removed or have expired; a mount puts back a tag that was removed, and \
             `dockercomms resend REF FILE` sends a message once more",
        )
    } else {
        Check::new("sent", Outcome::Ok, confirmed)
    })
}
