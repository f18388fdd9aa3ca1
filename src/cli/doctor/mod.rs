//! `doctor`: what works here, and how to fix what does not.
//!
//! Here is what concerns this machine; `outbox.rs` looks at what was written, `registry.rs` asks the
//! registry; a result is one `check.rs`.

mod check;
mod outbox;
mod registry;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use clap::Args as ClapArgs;

use self::check::{Check, Outcome};
use super::failure::Failure;
use super::session::Session;
use super::{env, exit, running};
use crate::app::{self, Setup, TrustFile};
use crate::config::Overrides;
use crate::protocol::{ErrorClass, Timestamp, check_address};
use crate::store::Store;
use crate::sys::{Clock as _, Counted, SystemClock};

/// A clock that shows an earlier time is not set: 2025-01-01. Signatures and expiry depend on it.
const PLAUSIBLE_UNIX_SECS: i64 = 1_735_689_600;

/// If the clock was once this many seconds ahead of now, it was wrong then or is wrong now.
const CLOCK_LEAD_MAX_SECS: i64 = 3_600;

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms doctor
  dockercomms doctor --write
  dockercomms doctor --trust-clock";

/// Check this machine, your files and the registry, and suggest fixes
///
/// Changes nothing unless a flag asks for it. With --write it pushes two small manifests with tags
/// of their own and deletes them again, to check whether you can send and recall.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Also try to push and to delete
    #[arg(long)]
    write: bool,
    /// Trust the present clock: forget later times that it once showed, by which
    /// messages expire; unmount first
    #[arg(long)]
    trust_clock: bool,
}

/// Runs the verb. The exit status is that of the first failed check.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let mut first_failure = exit::OK;
    let mut report = |check: Check| {
        if check.outcome == Outcome::Failed && first_failure == exit::OK {
            first_failure = check.exit;
        }
        session.output.show(&check);
    };
    report(fuse_device());
    report(fusermount());
    report(clock());
    report(cosign());
    match session.setup(Overrides::default()) {
        Ok(setup) => {
            for check in files(&setup) {
                report(check);
            }
            session.block_on(async {
                report(clock_mark(&setup, args.trust_clock).await);
                if let Some(check) = outbox::recipients(&setup).await {
                    report(check);
                }
                report(outbox::waiting(&setup).await);
                for check in registry::checks(&setup, args.write).await {
                    report(check);
                }
                if let Some(check) = outbox::sent(&setup).await {
                    report(check);
                }
                Ok(())
            })?;
        }
        Err(failure) => report(Check::failed("setup", failure)),
    }
    Ok(first_failure)
}

fn fuse_device() -> Check {
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Check::new("fuse", Outcome::Ok, "/dev/fuse can be opened"),
        Err(error) => Check::failed("fuse", Failure::io("cannot open /dev/fuse", &error)).hint(
            "`modprobe fuse`, or give the container `--device /dev/fuse --cap-add SYS_ADMIN`; \
             `send` and `recv` work without",
        ),
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    env::search_path().into_iter().map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn fusermount() -> Check {
    let is_root = nix::unistd::geteuid().is_root();
    match find_program("fusermount3") {
        Some(path) => {
            let is_setuid =
                std::fs::metadata(&path).is_ok_and(|metadata| metadata.mode() & 0o4000 != 0);
            let detail = path.display().to_string();
            if is_setuid || is_root {
                return Check::new("fusermount3", Outcome::Ok, detail);
            }
            Check::new("fusermount3", Outcome::Warning, format!("{detail} is not setuid root"))
                .hint("reinstall the package fuse3, or mount as root")
        }
        None if is_root => {
            Check::new("fusermount3", Outcome::Info, "not installed; root does not need it")
        }
        None => Check::failed(
            "fusermount3",
            Failure::new(ErrorClass::Configuration, "not found on PATH"),
        )
        .hint("install the package fuse3"),
    }
}

fn clock() -> Check {
    let now = Timestamp::from(SystemClock.now());
    if now.unix_secs() < PLAUSIBLE_UNIX_SECS {
        return Check::failed(
            "clock",
            Failure::new(ErrorClass::Configuration, format!("it is not {now}")),
        )
        .hint("set the clock: expiry and receipts depend on it");
    }
    Check::new("clock", Outcome::Ok, now.to_string())
}

/// Compares the clock with the latest time recorded in the state, by which messages expire.
async fn clock_mark(setup: &Setup, trust_clock: bool) -> Check {
    let now = Timestamp::from(SystemClock.now());
    let compared = async {
        let store = Store::open(setup.places.state_dir()).await?;
        if trust_clock {
            store.lower_clock(now).await?;
        }
        store.clock_mark().await
    };
    match compared.await {
        Ok(mark) if mark > now.saturating_add_secs(CLOCK_LEAD_MAX_SECS) => Check::new(
            "expiry",
            Outcome::Warning,
            format!("the clock once showed {mark}, so messages expire as if it still did"),
        )
        .hint("set the clock, or run `dockercomms doctor --trust-clock` if it is correct now"),
        Ok(_) => Check::new("expiry", Outcome::Ok, "the clock has not been set back"),
        Err(error) => Check::failed("expiry", app::AppError::from(error).into()),
    }
}

fn cosign() -> Check {
    match find_program("cosign") {
        Some(path) => Check::new("cosign", Outcome::Info, path.display().to_string()),
        None => Check::new(
            "cosign",
            Outcome::Info,
            "not installed; needed only to verify messages without dockercomms",
        ),
    }
}

fn identities(setup: &Setup) -> Check {
    let me = &setup.settings.me;
    let names = me.iter().map(|me| format!("`{me}`")).collect::<Vec<_>>().join(", ");
    let detail = format!("you are {names}; configuration {}", setup.places.config_file().display());
    match me.iter().find_map(|me| check_address(me.as_str()).err()) {
        None => Check::new("setup", Outcome::Ok, detail),
        Some(problem) => {
            Check::new("setup", Outcome::Info, format!("{detail}; not an address: {problem}")).hint(
                "only those who have your card, or list the name in `outbox_new`, can write to it",
            )
        }
    }
}

fn files(setup: &Setup) -> Vec<Check> {
    let mut checks = vec![identities(setup)];
    checks.push(match setup.load_key() {
        Ok(key) => {
            let path = setup.places.key_file();
            let mode = std::fs::metadata(&path)
                .map(|metadata| metadata.permissions().mode() & 0o777)
                .unwrap_or_default();
            let fingerprint = key.public_key().fingerprint();
            Check::new(
                "key",
                Outcome::Ok,
                format!("{} mode {mode:o} {fingerprint}", path.display()),
            )
        }
        Err(error) => Check::failed("key", error.into()),
    });
    checks.push(match TrustFile::load_whole(&setup.places.trust_file()) {
        Ok(store) if store.is_empty() => Check::new("trust", Outcome::Warning, "you trust no one")
            .hint("add a contact card with `dockercomms trust add CARD`"),
        Ok(store) => Check::new("trust", Outcome::Ok, Counted(store.len(), "sender").to_string()),
        Err(error) => Check::failed("trust", error.into()),
    });
    checks.push(match running::find(&setup.places) {
        Some(mount) => Check::new(
            "mount",
            Outcome::Ok,
            format!("{} (process {})", mount.dir.display(), mount.pid),
        ),
        None => Check::new("mount", Outcome::Info, "none is running for this state"),
    });
    checks
}
