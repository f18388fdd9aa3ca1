//! Whose directories `outbox/` lists: trusted people, and those named by `mkdir`.

use super::directory::empty_dir;
use super::shared::Outbox;
use crate::mailbox::MailboxError;
use crate::protocol::Identity;
use crate::trust::{TrustStore, TrustedSender};

impl Outbox {
    /// Lists a directory for `recipient` from now on.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn add_recipient(&self, recipient: &Identity) -> Result<(), MailboxError> {
        self.core.store.add_recipient(recipient).await?;
        self.core.listing.update(|snapshot| {
            snapshot.outbox.entry(recipient.dir_name()).or_insert_with(|| empty_dir(recipient));
        });
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
            let empty = snapshot.outbox.get(&name).is_some_and(|dir| dir.files.is_empty());
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
    pub(in crate::mailbox) fn list_trusted(&self, trust: &TrustStore) {
        if !self.shared.trust_listed.advance(trust) {
            return;
        }
        let me = &self.core.options.me;
        let people = trust.senders().map(TrustedSender::name).filter(|name| !me.contains(name));
        self.core.listing.update(|snapshot| {
            for person in people {
                snapshot.outbox.entry(person.dir_name()).or_insert_with(|| empty_dir(person));
            }
        });
    }
}
