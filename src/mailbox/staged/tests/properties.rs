//! Random histories: the row and the memory never disagree, no promised file is lost, and no
//! abandoned one is sent.

use proptest::prelude::*;

use super::*;

/// One thing that happens to a file.
#[derive(Debug, Clone, Copy)]
enum Act {
    Open,
    Write(u8),
    Cut,
    CloseSync(Trouble),
    CloseQueued(Trouble),
    Abandon,
    Rename(u8),
    Deliver(Trouble),
    Defer,
    Park,
    Restart,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        3 => Just(Trouble::None),
        1 => Just(Trouble::Refused),
        1 => Just(Trouble::Journal),
        1 => Just(Trouble::Write),
        1 => Just(Trouble::Crash),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Open),
        3 => any::<u8>().prop_map(Act::Write),
        1 => Just(Act::Cut),
        3 => trouble().prop_map(Act::CloseSync),
        3 => trouble().prop_map(Act::CloseQueued),
        1 => Just(Act::Abandon),
        1 => (0..3_u8).prop_map(Act::Rename),
        3 => trouble().prop_map(Act::Deliver),
        1 => Just(Act::Defer),
        1 => Just(Act::Park),
        2 => Just(Act::Restart),
    ]
}

/// What a history knows beside the file.
struct History {
    desk: Desk,
    staging: Staging,
    /// What the last successful close promised, until it is written, renamed or refused.
    promised: Option<Vec<u8>>,
    /// Its writer died, and nothing was written since.
    is_abandoned: bool,
    /// What the recipient has got.
    delivered: Vec<PreparedMessage>,
}

impl History {
    fn new() -> Self {
        let desk = Desk::new();
        let staging = desk.one();
        Self { desk, staging, promised: None, is_abandoned: false, delivered: Vec::new() }
    }

    /// Returns what a message of the current name and content says.
    fn said(&self) -> Vec<u8> {
        let name = self.staging.file.name();
        [name.as_bytes(), b"\n", &self.staging.bytes()].concat()
    }

    fn act(mut self, act: Act) -> Self {
        match act {
            Act::Open => {
                if self.staging.open() {
                    self.promised = None;
                }
            }
            Act::Write(byte) => self.write(|file| file.write_at(byte.into(), &[byte; 3]).map(drop)),
            Act::Cut => self.write(|file| file.set_len(1).map(drop)),
            Act::CloseSync(trouble) => {
                self.close(|staging| staging.prepare(trouble));
                return self.restart_after(trouble);
            }
            Act::CloseQueued(trouble) => self.close(|staging| staging.enqueue(trouble)),
            Act::Abandon => {
                if self.staging.abandon() {
                    self.is_abandoned = true;
                    self.promised = None;
                }
            }
            Act::Rename(to) => {
                let before = self.staging.file.name();
                self.staging.rename(&format!("report-{to}.pdf"));
                if self.staging.file.name() != before {
                    self.promised = None;
                }
            }
            Act::Deliver(trouble) => {
                self.deliver(trouble);
                return self.restart_after(trouble);
            }
            Act::Defer => self.staging.file.defer_delivery(),
            Act::Park => self.staging.file.park(),
            Act::Restart => return self.restart(),
        }
        self
    }

    fn write(&mut self, write: impl FnOnce(&OutboxFile) -> Result<(), MailboxError>) {
        if write(&self.staging.file).is_ok() {
            self.promised = None;
            self.is_abandoned = false;
        }
    }

    /// Closes the file, unless the commit rule would not.
    fn close(&mut self, close: impl FnOnce(&mut Staging) -> Result<(), MailboxError>) {
        self.staging.unpark();
        let file = &self.staging.file;
        let is_closed = matches!(file.state(), SendState::Sent | SendState::Abandoned);
        let is_open = file.writer_count() > 0;
        if !is_open || is_closed || !file.is_dirty() || !file.is_readable_here() {
            return;
        }
        let said = self.said();
        self.promised = close(&mut self.staging).is_ok().then_some(said);
        self.staging.file.close_writer();
    }

    /// Lets the queue or the publisher work.
    fn deliver(&mut self, trouble: Trouble) {
        self.staging.unpark();
        let is_due = self.staging.file.queue_place().is_none() || self.staging.file.is_due();
        if self.staging.file.state() == SendState::Queued && is_due {
            let result = self.staging.try_prepare(trouble);
            match (result, trouble) {
                (Ok(()), _) => {}
                // The registry, not the file: another attempt follows.
                (Err(_), Trouble::Journal | Trouble::Crash) => self.staging.file.defer_delivery(),
                (Err(error), _) => {
                    self.staging.fail(&error);
                    self.promised = None;
                }
            }
        }
        if self.staging.file.writer_count() > 0 {
            return;
        }
        if trouble == Trouble::Refused && self.staging.file.tagging().is_ok() {
            self.promised = None;
        }
        if let Some(message) = self.staging.publish(trouble) {
            assert!(!self.is_abandoned, "an abandoned file was sent");
            if let Some(promised) = &self.promised {
                assert_eq!(&message.manifest, promised, "another content than was closed");
            }
            let digest = message.digest;
            self.delivered.retain(|known| known.digest != digest);
            self.delivered.push(message);
        }
    }

    fn restart_after(self, trouble: Trouble) -> Self {
        if trouble == Trouble::Crash { self.restart() } else { self }
    }

    fn restart(mut self) -> Self {
        let row = self.staging.row.clone();
        self.staging = self.desk.restart(self.staging);
        if self.staging.row.state == OutboxState::Abandoned {
            self.is_abandoned = true;
        }
        // What was written into a queued file since its close is seen by its length.
        if self.promised.is_some()
            && matches!(row.state, OutboxState::Queued | OutboxState::Prepared)
        {
            let state = self.staging.file.state();
            assert!(matches!(state, SendState::Queued | SendState::Prepared), "{row:?} is lost");
        }
        self
    }

    /// Checks what holds between any two acts.
    fn check(&self) {
        let (file, row) = (&self.staging.file, &self.staging.row);
        assert_eq!(file.queue_place(), row.queue_place, "{file:?} {row:?}");
        assert_eq!(file.name(), row.name);
        assert_eq!(file.state() == SendState::Sent, row.state == OutboxState::Sent);
        match file.state() {
            SendState::Queued => assert_eq!(row.state, OutboxState::Queued),
            SendState::Prepared => {
                assert_eq!(row.state, OutboxState::Prepared);
                let message = row.message.as_ref().map(|message| message.digest);
                assert_eq!(file.digest(), message, "memory and row promise different messages");
            }
            SendState::Failed if file.is_vouched() => assert_eq!(row.state, OutboxState::Failed),
            SendState::Abandoned => assert_eq!(row.state, OutboxState::Abandoned),
            SendState::Failed | SendState::Draft | SendState::Preparing | SendState::Sent => {}
        }
        if self.promised.is_some() {
            let promises = [OutboxState::Queued, OutboxState::Prepared, OutboxState::Sent];
            assert!(promises.contains(&row.state), "a promise was forgotten: {row:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn memory_and_row_agree_whatever_happens(acts in prop::collection::vec(act(), 0..40)) {
        let mut history = History::new();
        for act in acts {
            history = history.act(act);
            history.check();
        }
    }
}
