//! Whose directories `outbox/` lists: trusted people, and those named by `mkdir`.

use std::sync::Arc;

use super::directory::empty_dir;
use super::shared::Outbox;
use crate::mailbox::MailboxError;
use crate::mailbox::recipient::{Judged, KnownNames, NotARecipient, Unheld, judge, refuse};
use crate::mailbox::staged::SendState;
use crate::protocol::Identity;
use crate::store::{OutboxState, Store};
use crate::trust::{TrustStore, TrustedSender};

impl Outbox {
    /// Decides whether `name` may become a recipient, by the trust store as it is now.
    ///
    /// # Errors
    /// With the reason, and what may have been meant.
    pub fn judge(&self, name: &str) -> Result<Judged, NotARecipient> {
        judge(name, &self.known_names(), &self.core.options.outbox_new)
    }

    fn known_names(&self) -> Arc<KnownNames> {
        match self.core.trust.current() {
            Ok(trust) => self.shared.known.follow(trust, &self.core.options.me),
            // The inbox reports a trust store that cannot be read.
            Err(_unreadable) => self.shared.known.last(),
        }
    }

    /// Lists a directory of this name from now on, and returns whose it is. A refusal, and a name
    /// that is almost a known one, are said in `.dockercomms/errors`, once for each name.
    ///
    /// # Errors
    /// `NotARecipient`, or why it cannot be stored.
    pub async fn add_recipient_dir(&self, dir_name: &str) -> Result<Identity, MailboxError> {
        let subject = format!("outbox/{dir_name}");
        let judged = match Identity::from_dir_name(dir_name) {
            Ok(identity) => self.judge(identity.as_str()),
            // Whatever is allowed, the directory would have another name.
            Err(_not_encoded) => Err(refuse(dir_name, &self.known_names())),
        };
        let judged = judged.map_err(|refused| {
            let error = MailboxError::NotARecipient(refused);
            self.core.record_once(&subject, &error);
            error
        })?;
        let recipient = &judged.recipient;
        self.core.store.add_recipient(recipient).await?;
        self.core.listing.update(|snapshot| {
            snapshot.outbox.entry(recipient.dir_name()).or_insert_with(|| empty_dir(recipient));
        });
        if !judged.near.is_empty() {
            let (recipient, near) = (judged.recipient.clone(), judged.near);
            self.core.record_once(&subject, &MailboxError::NearMiss { recipient, near });
        }
        Ok(judged.recipient)
    }

    /// Refuses a file for a name that cannot be a new recipient. Directories that are listed stay.
    pub(super) fn admit(&self, recipient: &Identity) -> Result<(), MailboxError> {
        let is_listed = self.core.listing.snapshot().outbox.contains_key(&recipient.dir_name());
        if !is_listed {
            self.judge(recipient.as_str())?;
        }
        Ok(())
    }

    /// Forgets the directory of `recipient`. A trusted recipient's directory is listed again at the
    /// next start.
    ///
    /// # Errors
    /// `Busy` when it still lists files.
    pub async fn remove_recipient(&self, recipient: &Identity) -> Result<(), MailboxError> {
        let removed = self.core.listing.update(|snapshot| {
            let name = recipient.dir_name();
            let empty = snapshot.outbox.get(&name).is_some_and(|dir| dir.is_empty());
            if empty {
                snapshot.outbox.remove(&name);
            }
            empty
        });
        if !removed {
            return Err(MailboxError::NotPermitted("the directory is not empty"));
        }
        Ok(self.core.store.remove_recipient(recipient).await?)
    }

    /// Lists a directory for every sender in `trust` except me, so that a message to the owner of
    /// an added card needs no `mkdir`. Nothing is stored: the next start derives it from the trust
    /// store again.
    pub(in crate::mailbox) fn list_trusted(&self, trust: &Arc<TrustStore>) {
        let me = &self.core.options.me;
        self.shared.known.follow(Arc::clone(trust), me);
        if !self.shared.trust_listed.advance(trust) {
            return;
        }
        let people = trust.senders().map(TrustedSender::name).filter(|name| !me.contains(name));
        self.core.listing.update(|snapshot| {
            for person in people {
                snapshot.outbox.entry(person.dir_name()).or_insert_with(|| empty_dir(person));
            }
        });
    }

    /// Returns whether the recipient is in the trust store as it was last read, or is me.
    pub fn holds_key_of(&self, recipient: &Identity) -> bool {
        self.shared.known.last().contains(recipient)
    }

    /// Returns who has a directory but no key here, by the trust store as it was last read.
    pub fn unheld(&self) -> Unheld {
        let snapshot = self.core.listing.snapshot();
        let count = |dir: &crate::mailbox::OutboxDir| {
            dir.files.values().filter(|file| is_meant_to_arrive(file.state())).count()
        };
        let files = snapshot.outbox.values().map(|dir| (&dir.recipient, count(dir)));
        Unheld::of(files, &self.shared.known.last())
    }
}

/// Returns who has a file or a directory but no key here, from the database alone.
///
/// # Errors
/// When it cannot be read.
pub async fn unheld_in(store: &Store, known: &KnownNames) -> Result<Unheld, MailboxError> {
    let (rows, recipients) = (store.outbox_rows().await?, store.recipients().await?);
    let is_meant =
        |state| matches!(state, OutboxState::Queued | OutboxState::Prepared | OutboxState::Sent);
    let files = rows.entries.iter().filter(|entry| !entry.hidden);
    let files = files.map(|entry| (&entry.recipient, usize::from(is_meant(entry.state))));
    Ok(Unheld::of(files.chain(recipients.iter().map(|recipient| (recipient, 0))), known))
}

fn is_meant_to_arrive(state: SendState) -> bool {
    matches!(
        state,
        SendState::Queued | SendState::Preparing | SendState::Prepared | SendState::Sent
    )
}
