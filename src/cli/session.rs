//! What every verb uses: the printer, the places, the runtime, the mailbox.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::global::Global;
use super::output::Output;
use super::reference::Reference;
use super::{env, telemetry};
use crate::app::{self, Created, Role, Setup};
use crate::config::{DEFAULT_PROFILE, HomeVariables, Overrides, Places};
use crate::mailbox::Mailbox;
use crate::protocol::ErrorClass;

/// How long the runtime may take to end after a verb is done.
const RUNTIME_END_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a short command waits for its mailbox to stop.
const MAILBOX_END_TIMEOUT: Duration = Duration::from_secs(10);

/// One run of the program.
#[derive(Debug)]
pub(crate) struct Session {
    /// The only printer.
    pub(crate) output: Output,
    /// Where files are.
    pub(crate) variables: HomeVariables,
    /// The profile's name.
    pub(crate) profile: String,
    /// How many times `-v` was given.
    pub(crate) verbose: u8,
}

impl Session {
    pub(super) fn new(global: Global) -> Self {
        Self {
            output: Output::new(global.json),
            variables: env::home_variables(global.home),
            profile: global.profile,
            verbose: global.verbose,
        }
    }

    /// Returns where the profile's files are, whether it was set up or not.
    pub(crate) fn places(&self) -> Result<Places, Failure> {
        Ok(Places::find(&self.variables, &self.profile)?)
    }

    /// Returns where the files of the profile are, which must have been set up.
    pub(crate) fn own_places(&self) -> Result<Places, Failure> {
        Ok(Setup::places(&self.variables, &self.profile)?)
    }

    /// Returns whether the home or profile was given explicitly.
    ///
    /// If so, it must exist: a typing mistake must not create another identity.
    pub(crate) fn is_named(&self) -> bool {
        self.variables.dockercomms_home.is_some() || self.profile != DEFAULT_PROFILE
    }

    /// Fills in from the environment what no flag has set.
    pub(crate) fn overrides(overrides: Overrides) -> Overrides {
        Overrides {
            me: overrides.me.or_else(|| env::text(env::ME)),
            registry: overrides.registry.or_else(|| env::text(env::REGISTRY)),
            ..overrides
        }
    }

    /// Reads the profile, which must have been set up.
    pub(crate) fn setup(&self, overrides: Overrides) -> Result<Setup, Failure> {
        let (setup, created) =
            Setup::load(&self.variables, &self.profile, &Self::overrides(overrides))?;
        for note in notes(&setup, &created) {
            self.output.note(&note);
        }
        Ok(setup)
    }

    /// Runs `work` with a mailbox for a short command, until it ends or a signal comes.
    pub(crate) fn with_mailbox<T, F>(
        &self,
        setup: &Setup,
        work: impl FnOnce(Mailbox) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.run(async {
            let mut interrupted = std::pin::pin!(interrupted()?);
            let mailbox = tokio::select! {
                opened = app::open_mailbox(setup, Role::Command) => opened?,
                () = &mut interrupted => return Err(interruption()),
            };
            let whole = async {
                let result = work(mailbox.clone()).await;
                mailbox.shutdown(MAILBOX_END_TIMEOUT).await;
                result
            };
            tokio::select! {
                result = whole => result,
                () = &mut interrupted => {
                    // What the work leaves unfinished is cleaned up in the background.
                    mailbox.stop(RUNTIME_END_TIMEOUT).await;
                    Err(interruption())
                }
            }
        })
    }

    /// As [`Self::with_mailbox`], for a verb about the message that `text` names.
    pub(crate) fn with_reference<T, F>(
        &self,
        text: &str,
        work: impl FnOnce(Mailbox, Reference) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let reference = Reference::parse(text)?;
        let setup = self.setup(Overrides::default())?;
        self.with_mailbox(&setup, |mailbox| work(mailbox, reference))
    }

    /// Runs a future of a short command, until it ends or a signal comes.
    pub(crate) fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.run(async {
            let interrupted = interrupted()?;
            tokio::select! {
                result = work => result,
                () = interrupted => Err(interruption()),
            }
        })
    }

    fn run<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        telemetry::log_to_stderr(telemetry::Role::Command, self.verbose);
        let runtime = runtime()?;
        let result = runtime.block_on(work);
        runtime.shutdown_timeout(RUNTIME_END_TIMEOUT);
        result
    }
}

fn interruption() -> Failure {
    Failure::new(ErrorClass::Interrupted, "interrupted")
}

/// Builds the one runtime of the process.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("dockercomms")
        .build()
        .map_err(|error| Failure::io("cannot start threads", &error))
}

/// Returns a future that ends when SIGINT, SIGTERM or SIGHUP arrives.
pub(crate) fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::io("cannot watch signals", &error));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Returns notes on what was made for a profile that is used for the first time.
pub(crate) fn notes(setup: &Setup, created: &Created) -> Vec<String> {
    let mut notes = created.repaired.clone();
    if let (Some(path), Some(me)) = (&created.config, setup.settings.me.first()) {
        notes.push(format!(
            "wrote {}: you are `{me}`, messages are kept in {}",
            path.display(),
            setup.settings.registry
        ));
    }
    if let Some(path) = &created.key {
        notes.push(format!(
            "made a key: {}. Give your contact card to the people you write to: `dockercomms key \
             export`",
            path.display()
        ));
    }
    notes
}
