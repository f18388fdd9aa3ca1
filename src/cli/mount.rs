//! `mount`: the mailbox as a directory, in the background or in the foreground.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args as ClapArgs;
use serde::Serialize;

use super::daemon::{self, Report};
use super::exit;
use super::failure::Failure;
use super::mount_helper::HelperOptions;
use super::output::Show;
use super::running::{self, RunningMount};
use super::session::{self, Session, notes};
use super::telemetry;
use crate::app::{self, Role, Setup};
use crate::config::{ByteSize, Overrides, Span, absolute_reference};
use crate::fs::{self, FsError};
use crate::mailbox::Mailbox;
use crate::protocol::ErrorClass;
use crate::store::Store;

/// How long programs can continue with open files after the mount was asked to end.
const OPEN_FILES_TIMEOUT: Duration = Duration::from_secs(3);

/// How long publishing may take after that; the rest stays in the durable queue.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// How long the runtime may take to end after that.
const RUNTIME_END_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the registry may take to answer before the mount continues without it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms mount ~/mail
  dockercomms mount ~/mail --registry oci:/shared/mail --me you@example.org
  dockercomms mount ~/mail --delivery queued";

/// Mount your mailbox on a directory; returns when it is ready
///
/// cp FILE DIR/outbox/RECIPIENT/ sends it: cp succeeds when the registry has all of it (with
/// --delivery queued, when it is safe on this disk; `dockercomms queue` shows and controls the
/// rest). For a new RECIPIENT make the directory first: an address, like user@example.org, or a
/// name that config.toml allows (`outbox_new`). DIR/inbox/SENDER/ lists verified messages, DIR/receipts/ the signed receipts, and
/// DIR/.dockercomms/status what is in progress. End it with `dockercomms umount DIR`.
/// Without any configuration it makes a key, the identity user@host and a local directory as the
/// registry; an explicit home or profile must have been set up with `dockercomms init`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// An empty directory of yours
    dir: PathBuf,
    /// Stay in the foreground, logging to standard error; ends on Ctrl-C
    #[arg(long)]
    foreground: bool,
    /// Where messages are kept, overriding config.toml
    #[arg(long, value_name = "REF")]
    registry: Option<String>,
    /// Who you are, overriding config.toml: an address, or a name that is configured there
    #[arg(long, value_name = "ID")]
    me: Option<String>,
    /// When close() of a file in outbox/ returns: `sync` = once it is in the registry, `queued` =
    /// once it is safe on this disk, to be sent in the background
    #[arg(long, value_name = "HOW")]
    delivery: Option<String>,
    /// Time between two polls for new messages: seconds, or like 500ms
    #[arg(long, value_name = "TIME")]
    poll: Option<Span>,
    /// Most bytes per second to the registry, like 2MiB; 0 = no limit
    #[arg(long, value_name = "SIZE")]
    limit_upload: Option<ByteSize>,
    /// Most bytes per second from the registry, like 2MiB; 0 = no limit
    #[arg(long, value_name = "SIZE")]
    limit_download: Option<ByteSize>,
    /// Give root access too (needs user_allow_other in /etc/fuse.conf); the kernel then checks
    /// owner and mode
    #[arg(long)]
    allow_other: bool,
    /// Options as in fstab: home=, profile=, me=, registry=, poll=, delivery=, `allow_other`
    #[arg(short = 'o', value_name = "OPTS")]
    options: Vec<String>,
    /// The background process, which reports to its caller
    #[arg(long, hide = true)]
    background_child: bool,
}

#[derive(Debug, Serialize)]
struct Mounted {
    mounted: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Show for Mounted {
    fn lines(&self) -> Vec<String> {
        self.notes.clone()
    }
}

/// Flags and `-o` combined.
#[derive(Debug, Clone)]
struct Wanted {
    overrides: Overrides,
    allow_other: bool,
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let wanted = wanted(args)?;
    if args.background_child {
        return run_in_background(session, args, &wanted);
    }
    // Checked in the caller, so that the other process is not started in vain.
    let dir = running::absolute_mount_point(&args.dir)
        .map_err(|error| Failure::io(format!("cannot find {}", args.dir.display()), &error))?;
    if args.foreground {
        telemetry::log_to_stderr(telemetry::Role::Mount, session.verbose);
        return serve(session, &dir, &wanted, |notes| {
            let mounted = dir.display().to_string();
            session.output.show(&Mounted { mounted, notes });
        });
    }
    let places = if session.is_named() {
        session.setup(wanted.overrides.clone())?.places
    } else {
        let places = session.places()?;
        for repaired in places.create()? {
            session.output.note(&repaired);
        }
        places
    };
    let arguments = child_arguments(session, &dir, &wanted)?;
    let notes = daemon::start(&arguments, &places.log_file())?;
    session.output.show(&Mounted { mounted: dir.display().to_string(), notes });
    Ok(exit::OK)
}

fn wanted(args: &Args) -> Result<Wanted, Failure> {
    let mut wanted = Wanted {
        overrides: Overrides {
            me: args.me.clone(),
            registry: args.registry.clone(),
            poll: args.poll,
            delivery: args.delivery.clone(),
            limit_upload: args.limit_upload,
            limit_download: args.limit_download,
            ..Overrides::default()
        },
        allow_other: args.allow_other,
    };
    for list in &args.options {
        let options = HelperOptions::parse(list)?;
        let overrides = &mut wanted.overrides;
        overrides.me = overrides.me.take().or(options.me);
        overrides.registry = overrides.registry.take().or(options.registry);
        overrides.delivery = overrides.delivery.take().or(options.delivery);
        if let (None, Some(poll)) = (overrides.poll, options.poll) {
            let poll = poll.parse().map_err(|reason: &str| {
                Failure::new(ErrorClass::Configuration, reason).about("poll= is not valid")
            })?;
            overrides.poll = Some(poll);
        }
        wanted.allow_other |= options.allow_other;
    }
    Ok(wanted)
}

/// Returns the command line of the background process; the environment is inherited.
///
/// Relative paths become absolute: that process leaves the working directory.
fn child_arguments(
    session: &Session,
    dir: &Path,
    wanted: &Wanted,
) -> Result<Vec<OsString>, Failure> {
    let mut arguments: Vec<OsString> = Vec::new();
    if let Some(home) = &session.variables.dockercomms_home {
        let home = std::path::absolute(home)
            .map_err(|error| Failure::io("cannot find the home directory", &error))?;
        arguments.extend(["--home".into(), home.into()]);
    }
    arguments.extend(["--profile".into(), session.profile.clone().into()]);
    arguments.extend((0..session.verbose).map(|_| OsString::from("-v")));
    arguments.extend(["mount".into(), "--background-child".into()]);
    let overrides = Session::overrides(wanted.overrides.clone());
    let registry = overrides.registry.as_deref().map(absolute_reference).transpose()?;
    let poll = overrides.poll.map(|poll| poll.to_string());
    let limit_upload = overrides.limit_upload.map(|size| size.to_string());
    let limit_download = overrides.limit_download.map(|size| size.to_string());
    let flags = [
        ("--me", &overrides.me),
        ("--registry", &registry),
        ("--delivery", &overrides.delivery),
        ("--poll", &poll),
        ("--limit-upload", &limit_upload),
        ("--limit-download", &limit_download),
    ];
    for (flag, value) in flags {
        if let Some(value) = value {
            // In one word: a value may begin with a dash.
            arguments.push(format!("{flag}={value}").into());
        }
    }
    if wanted.allow_other {
        arguments.push("--allow-other".into());
    }
    arguments.extend(["--".into(), dir.into()]);
    Ok(arguments)
}

fn run_in_background(session: &Session, args: &Args, wanted: &Wanted) -> Result<u8, Failure> {
    let mut is_reported = false;
    let result = daemon::detach().and_then(|()| {
        let log = session.places()?.log_file();
        telemetry::log_to_file(&log, session.verbose)
            .map_err(|error| Failure::io("cannot write the log", &error))?;
        serve(session, &args.dir, wanted, |notes| {
            Report::Ready { notes }.send();
            is_reported = true;
        })
    });
    match &result {
        Err(failure) if is_reported => tracing::error!(error = %failure.error, "the mount ended"),
        Err(failure) => Report::Failed(failure.clone()).send(),
        Ok(_) => {}
    }
    result
}

/// Mounts, calls `ready` with the notes for people, and serves until a signal or an unmount.
fn serve(
    session: &Session,
    dir: &Path,
    wanted: &Wanted,
    ready: impl FnOnce(Vec<String>),
) -> Result<u8, Failure> {
    let overrides = Session::overrides(wanted.overrides.clone());
    let prepare = if session.is_named() { Setup::load } else { Setup::create };
    let (setup, created) = prepare(&session.variables, &session.profile, &overrides)?;
    let mut notes = notes(&setup, &created);
    // The key in memory must not reach a core dump.
    nix::sys::prctl::set_dumpable(false)
        .map_err(|errno| Failure::io("cannot forbid core dumps", &errno.into()))?;
    let _lock = Store::lock(setup.places.state_dir()).map_err(app::AppError::from)?;
    let runtime = session::runtime()?;
    let result = runtime.block_on(async {
        let interrupted = session::interrupted()?;
        notes.extend(probe(&setup).await?);
        let mailbox = app::open_mailbox(&setup, Role::Mount).await?;
        let options = fs::MountOptions {
            allow_other: wanted.allow_other,
            private_dirs: setup.places.private_dirs(),
            ..fs::MountOptions::new(dir)
        };
        let mount = fs::mount(&options, mailbox.clone(), tokio::runtime::Handle::current())
            .map_err(|error| mount_failure(&error))?;
        let running = RunningMount {
            pid: std::process::id(),
            dir: dir.to_owned(),
            registry: setup.settings.registry.clone(),
        };
        // Before the tasks begin: until they do, nothing else writes beside it.
        running.save(&setup.places);
        mailbox.start();
        ready(notes);
        daemon::notify("READY=1");
        tracing::info!(dir = %dir.display(), "mounted");
        tokio::select! {
            () = interrupted => tracing::info!("a signal ends the mount"),
            () = mount.wait_unmounted() => tracing::info!("unmounted"),
        }
        daemon::notify("STOPPING=1");
        let unmounted = end(&mount, &mailbox).await;
        RunningMount::forget(&setup.places);
        unmounted
    });
    runtime.shutdown_timeout(RUNTIME_END_TIMEOUT);
    result.map(|()| exit::OK)
}

/// Detaches first, so that nothing new begins; then waits, within bounds, for what is in progress.
async fn end(mount: &fs::Mount, mailbox: &Mailbox) -> Result<(), Failure> {
    let unmounted = mount.unmount().map_err(|error| mount_failure(&error));
    if tokio::time::timeout(OPEN_FILES_TIMEOUT, mount.wait_unmounted()).await.is_err() {
        mount.interrupt_waiters();
    }
    mailbox.shutdown(SHUTDOWN_TIMEOUT).await;
    unmounted
}

fn mount_failure(error: &FsError) -> Failure {
    Failure::of(error.class(), error, error.hint())
}

/// Probes the registry once: if it denies access the mount ends, if it does not answer it stays.
async fn probe(setup: &Setup) -> Result<Option<String>, Failure> {
    let repository = app::open_repository(&setup.settings)?;
    let Ok(answer) = tokio::time::timeout(PROBE_TIMEOUT, repository.probe()).await else {
        return Ok(Some(offline(setup)));
    };
    match answer {
        Ok(()) => Ok(None),
        Err(error) => match error.class() {
            // The first message creates the repository.
            ErrorClass::NotFound => Ok(None),
            ErrorClass::Unreachable | ErrorClass::TimedOut => Ok(Some(offline(setup))),
            _ => Err(Failure::from(error)
                .about(format!("cannot use the registry {}", setup.settings.registry))),
        },
    }
}

fn offline(setup: &Setup) -> String {
    format!(
        "the registry {} does not answer; mounted anyway, and trying again",
        setup.settings.registry
    )
}
