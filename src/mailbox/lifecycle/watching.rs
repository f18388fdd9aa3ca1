//! Looks after sent messages until a receipt comes: is each still under its tag in the registry?
//!
//! A few are looked at now and then, and what [`decide`] says is carried out: a tag is put back, a
//! message is shown as lost. Start at [`Watching::round`].
//!
//! **Invariant:** a tag is put back at most [`PUT_BACK_COUNT_MAX`](crate::store::PUT_BACK_COUNT_MAX)
//! times in the life of its message, and only when the registry has the message; what is lost is
//! never pushed by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::presence::{Facts, LOOK_INTERVAL_MAX, Step, TagFact, decide, interval};
use super::withdraw::{Receipts, is_signed, withdraw};
use crate::mailbox::MailboxError;
use crate::mailbox::core::Core;
use crate::mailbox::discover::random_below;
use crate::mailbox::incident::Incident;
use crate::mailbox::push::{manifest_upload, push_bundle};
use crate::protocol::{Digest, ErrorClass, Message, Timestamp};
use crate::registry::{Presence, RegistryError};
use crate::store::{Finding, OutboxEntry, PreparedMessage, Standing, Unconfirmed};
use crate::sys::crash;

/// Messages looked at in one round, in turn; a round ends early when one is pushed. A message that
/// is fine costs one request, any other one up to four.
const LOOKS_A_ROUND: usize = 2;

/// Messages taken up in one round: most of them may turn out to have expired, which costs no request
/// and is found out once.
const TAKEN_A_ROUND: usize = 32;

/// Time between two rounds, unless messages are looked at sooner than that.
const ROUND_PAUSE: Duration = Duration::from_secs(20);

/// The part of the time before a message's first look that is the longest pause between rounds.
const ROUND_PART: u32 = 6;

/// Looks after what was sent.
pub(in crate::mailbox) struct Watching {
    core: Arc<Core>,
    schedule: Mutex<Schedule>,
}

/// When which message is looked at next, in Unix seconds. After a restart each is due at once, and
/// chance decides which comes first: a mount that is up for an hour a day gets to all of them.
#[derive(Debug, Default)]
struct Schedule {
    next_round: i64,
    due: HashMap<Digest, i64>,
}

impl Schedule {
    /// Returns messages to look at now, in random order.
    fn take(&mut self, now: i64, first: Duration, messages: Vec<Unconfirmed>) -> Vec<Unconfirmed> {
        let farthest = now.saturating_add(secs(LOOK_INTERVAL_MAX));
        let mut due = HashMap::with_capacity(messages.len());
        let mut wanted = Vec::new();
        for message in messages {
            let since = match message.record.finding {
                Some(_) => message.record.at,
                None => message.sent_at,
            };
            let earliest = since.unix_secs().saturating_add(secs(first));
            let at = self.due.get(&message.digest).copied().unwrap_or(earliest);
            // A clock that was once ahead must not put a look off for years.
            due.insert(message.digest, at.min(farthest));
            if at <= now {
                wanted.push(message);
            }
        }
        // Messages that are gone from the journal are forgotten with it.
        self.due = due;
        let count = wanted.len().min(TAKEN_A_ROUND);
        (0..count).map(|_| wanted.swap_remove(random_below(wanted.len()))).collect()
    }
}

/// When a message is looked at again.
#[derive(Debug, Clone, Copy)]
enum Again {
    /// After the shortest time.
    Soon,
    /// In a while that grows with its age.
    Later,
    /// Not before the longest time: nothing can be done about it.
    Rarely,
}

/// What a look took.
#[derive(Debug, Clone, Copy)]
enum Cost {
    Nothing,
    Look,
    Push,
}

/// How a look ended.
struct Looked {
    again: Again,
    cost: Cost,
}

impl Looked {
    /// Nothing was asked, and nothing is to be done.
    const NOTHING: Self = Self { again: Again::Rarely, cost: Cost::Nothing };

    fn later() -> Self {
        Self { again: Again::Later, cost: Cost::Look }
    }
}

impl Watching {
    pub(in crate::mailbox) fn new(core: Arc<Core>) -> Self {
        Self { core, schedule: Mutex::default() }
    }

    /// Looks at the next few messages that are due, if any are. A registry that does not answer ends
    /// the round: nothing is concluded, and polls report it.
    ///
    /// # Errors
    /// The database's.
    pub(in crate::mailbox) async fn round(&self) -> Result<(), MailboxError> {
        let core = &self.core;
        let first = core.options.check_sent;
        let now = core.now();
        if first.is_zero() || !self.begin_round(now, first) {
            return Ok(());
        }
        let messages = core.store.unconfirmed().await?;
        let taken = self.schedule.lock().take(now.unix_secs(), first, messages);
        let mut look_count = 0;
        for message in taken {
            if look_count == LOOKS_A_ROUND {
                break;
            }
            // Before the look, so that one that fails does not come first again and again.
            self.put_off(&message, now, Again::Later);
            match self.look(&message, now).await {
                Ok(Looked { again, cost }) => {
                    self.put_off(&message, now, again);
                    match cost {
                        Cost::Nothing => {}
                        Cost::Look => look_count += 1,
                        Cost::Push => break,
                    }
                }
                Err(error) if error.registry().is_some() => {
                    tracing::debug!(digest = %message.digest, %error, "a look ended early");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns whether a round is due, and begins it.
    fn begin_round(&self, now: Timestamp, first: Duration) -> bool {
        let pause = secs(ROUND_PAUSE.min(first / ROUND_PART));
        let mut schedule = self.schedule.lock();
        let left = schedule.next_round.saturating_sub(now.unix_secs());
        // More than one pause away: the clock was set back.
        if left > 0 && left <= pause {
            return false;
        }
        schedule.next_round = now.unix_secs().saturating_add(pause);
        true
    }

    fn put_off(&self, message: &Unconfirmed, now: Timestamp, again: Again) {
        let first = self.core.options.check_sent;
        let age = now.unix_secs().saturating_sub(message.sent_at.unix_secs());
        let wait = match again {
            Again::Soon => first,
            Again::Later => interval(Duration::from_secs(age.max(0).unsigned_abs()), first),
            Again::Rarely => LOOK_INTERVAL_MAX,
        };
        let at = now.unix_secs().saturating_add(secs(wait));
        self.schedule.lock().due.insert(message.digest, at);
    }

    /// Looks at one message and does what follows.
    async fn look(
        &self,
        unconfirmed: &Unconfirmed,
        now: Timestamp,
    ) -> Result<Looked, MailboxError> {
        let core = &self.core;
        // A damaged row is reported by the outbox.
        let Ok(Some(entry)) = core.store.outbox(unconfirmed.id).await else {
            return Ok(Looked::NOTHING);
        };
        let Some(message) = &entry.message else { return Ok(Looked::NOTHING) };
        // By the clock alone, as when it is deleted: a time that was once wrong ends no watch.
        if Message::parse(&message.manifest)?.envelope.is_expired(now) {
            // What was lost stays that, so that the user still sees it.
            if unconfirmed.record.standing != Standing::Lost {
                core.store.record_presence(&message.digest, Standing::Over, None, now).await?;
            }
            return Ok(Looked::NOTHING);
        }
        let record = unconfirmed.record;
        let Some((tag, elsewhere)) = self.tag_fact(message).await? else {
            return Ok(Looked::later());
        };
        let manifest = match tag {
            TagFact::Ours | TagFact::Shared => Presence::Unknown,
            TagFact::Gone | TagFact::Elsewhere => {
                said(core.repository.manifest_presence(&message.digest).await)?
                    .unwrap_or(Presence::Unknown)
            }
        };
        let first = secs(core.options.check_sent);
        let is_old_enough = now >= record.at.saturating_add_secs(first);
        let step = decide(Facts {
            tag,
            manifest,
            before: record.finding.filter(|_finding| is_old_enough),
            standing: record.standing,
            put_back_count: record.put_back_count,
        });
        let keep =
            |standing, finding| core.store.record_presence(&message.digest, standing, finding, now);
        match step {
            Step::Fine => {
                if record.finding.is_some() || record.standing == Standing::Refused {
                    let is_over = record.standing == Standing::GivenUp;
                    let standing = if is_over { Standing::GivenUp } else { Standing::Watched };
                    keep(standing, None).await?;
                }
                if record.put_back_count > record.told_count {
                    // A crash came between the push and its line.
                    self.tell_put_back(&entry, message, record.put_back_count, None).await?;
                }
                Ok(Looked::later())
            }
            Step::Found => {
                keep(Standing::Watched, None).await?;
                self.show_lost(&entry, false);
                tracing::info!(digest = %message.digest, "a lost message is in the registry again");
                Ok(Looked::later())
            }
            Step::Suspect(finding) => {
                keep(record.standing, Some(finding)).await?;
                Ok(Looked { again: Again::Soon, cost: Cost::Look })
            }
            Step::PutBack => {
                let standing = record.standing;
                let again = self.put_back(&entry, message, elsewhere, standing, now).await?;
                Ok(Looked { again, cost: Cost::Push })
            }
            Step::GiveUp => {
                let incident = Incident::GivenUp { message: message.digest, elsewhere };
                self.tell(&entry, incident).await;
                keep(Standing::GivenUp, None).await?;
                Ok(Looked::later())
            }
            Step::Lose => {
                self.lose(&entry, message, now).await?;
                Ok(Looked::later())
            }
            Step::Wait => Ok(Looked::later()),
        }
    }

    /// Returns where the tag points, and to what else; `None` when the registry does not say.
    async fn tag_fact(
        &self,
        message: &PreparedMessage,
    ) -> Result<Option<(TagFact, Option<Digest>)>, MailboxError> {
        let Some(points_to) = said(self.core.repository.resolve_tag(&message.tag).await)? else {
            return Ok(None);
        };
        Ok(Some(match points_to {
            None => (TagFact::Gone, None),
            Some(digest) if digest == message.digest => (TagFact::Ours, None),
            Some(digest) => {
                // Only one whose own tag this is: anyone may point a tag to any message of ours.
                let other = self.core.store.outbox_by_digest(&digest).await.ok().flatten();
                let is_shared = other
                    .and_then(|entry| entry.message)
                    .is_some_and(|other| other.tag == message.tag);
                (if is_shared { TagFact::Shared } else { TagFact::Elsewhere }, Some(digest))
            }
        }))
    }

    /// Puts the tag of a message back, after counting it.
    async fn put_back(
        &self,
        entry: &OutboxEntry,
        message: &PreparedMessage,
        elsewhere: Option<Digest>,
        standing: Standing,
        now: Timestamp,
    ) -> Result<Again, MailboxError> {
        let core = &self.core;
        let Some(count) = core.store.begin_put_back(&message.digest, now).await? else {
            return Ok(Again::Later);
        };
        crash::point!("lifecycle.put-back.counted");
        let error = match self.push(message).await {
            Ok(()) => {
                crash::point!("lifecycle.put-back.pushed");
                if core.store.withdrawals().await?.contains_key(&message.digest) {
                    // Another process has recalled it in this very moment.
                    withdraw(core, message, Receipts::Keep).await?;
                    return Ok(Again::Rarely);
                }
                if standing == Standing::Refused {
                    let standing = Standing::Watched;
                    core.store.record_presence(&message.digest, standing, None, now).await?;
                }
                self.tell_put_back(entry, message, count, elsewhere).await?;
                return Ok(Again::Soon);
            }
            Err(error) => error,
        };
        let source = match error {
            // The registry has its manifest without all of its blobs.
            MailboxError::Registry(RegistryError::BlobUnknown { .. }) => {
                core.store.take_back_put_back(&message.digest).await?;
                self.lose(entry, message, now).await?;
                return Ok(Again::Later);
            }
            MailboxError::Registry(source) if !source.class().is_transient() => source,
            error => {
                // It may have been done all the same, and then stays counted.
                let answer = core.repository.resolve_tag(&message.tag).await;
                if answer.is_ok_and(|points_to| points_to != Some(message.digest)) {
                    core.store.take_back_put_back(&message.digest).await?;
                }
                return Err(error);
            }
        };
        core.store.take_back_put_back(&message.digest).await?;
        match source.class() {
            // Another login, another permission or the end of a maintenance may change that; an
            // immutable tag never does, but a try at ever longer intervals does no harm.
            ErrorClass::NotFound
            | ErrorClass::Denied
            | ErrorClass::DirectoryDenied
            | ErrorClass::NotPermitted => {
                let digest = message.digest;
                if standing != Standing::Refused {
                    let incident = Incident::NotPutBack { message: digest, elsewhere, source };
                    self.tell(entry, incident).await;
                }
                let (standing, finding) = (Standing::Refused, Some(Finding::Untagged));
                core.store.record_presence(&digest, standing, finding, now).await?;
                Ok(Again::Later)
            }
            _ => Err(source.into()),
        }
    }

    /// Pushes the message under its tag, its signature first (P18): a registry that was restored
    /// may have lost that too.
    async fn push(&self, message: &PreparedMessage) -> Result<(), MailboxError> {
        let repository = self.core.repository.as_ref();
        if !is_signed(repository, message).await? {
            push_bundle(&self.core, &message.manifest, &message.bundle).await?;
        }
        let bytes = message.manifest.clone().into();
        repository.push_manifest(&manifest_upload(bytes, Some(message.tag.clone()))).await?;
        Ok(())
    }

    /// Marks a message as lost.
    async fn lose(
        &self,
        entry: &OutboxEntry,
        message: &PreparedMessage,
        now: Timestamp,
    ) -> Result<(), MailboxError> {
        let core = &self.core;
        self.tell(entry, Incident::Lost { message: message.digest }).await;
        let (standing, finding) = (Standing::Lost, Some(Finding::Gone));
        core.store.record_presence(&message.digest, standing, finding, now).await?;
        self.show_lost(entry, true);
        Ok(())
    }

    fn show_lost(&self, entry: &OutboxEntry, is_lost: bool) {
        let listing = &self.core.listing;
        if let Some(file) = listing.snapshot().outbox_files().find(|file| file.id() == entry.id) {
            file.set_lost(is_lost);
            listing.touch();
        }
    }

    async fn tell_put_back(
        &self,
        entry: &OutboxEntry,
        message: &PreparedMessage,
        count: u32,
        elsewhere: Option<Digest>,
    ) -> Result<(), MailboxError> {
        self.tell(entry, Incident::PutBack { count, elsewhere }).await;
        self.core.store.record_told(&message.digest).await?;
        crash::point!("lifecycle.put-back.told");
        Ok(())
    }

    /// Adds a line to `errors`, before the row says so: rather twice after a crash than not at all.
    async fn tell(&self, entry: &OutboxEntry, incident: Incident) {
        self.core.record_error_durably(&subject(entry), &incident.into()).await;
    }
}

/// Returns what the registry says; `None` when it refuses to say it: one that hides what is missing
/// behind a 403 (Artifactory), a login that may not read.
fn said<T>(answer: Result<T, RegistryError>) -> Result<Option<T>, MailboxError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.class().is_transient() => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Returns the name of a sent file in `errors`.
fn subject(entry: &OutboxEntry) -> String {
    format!("outbox/{}/{}", entry.recipient.dir_name(), entry.name)
}

fn secs(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
