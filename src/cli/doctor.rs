//! `doctor`: what works here, and how to fix what does not.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use serde::Serialize;

use super::failure::Failure;
use super::output::{Show, table};
use super::session::Session;
use super::{env, exit, recipient, running, unconfirmed};
use crate::app::{self, Setup, TrustFile};
use crate::config::Overrides;
use crate::protocol::{
    Descriptor, Digest, EMPTY_BYTES, ErrorClass, ImageManifest, Tag, Timestamp, check_address,
    media_type,
};
use crate::registry::{ManifestUpload, ReferrerEntry, RegistryError, Repository};
use crate::store::{OutboxState, Store};
use crate::sys::backoff::Backoff;
use crate::sys::{Clock as _, Counted, SystemClock, Untrusted};

/// How long the registry may take for the whole examination.
const REGISTRY_TIMEOUT: Duration = Duration::from_mins(1);

/// A clock that shows an earlier time is not set: 2025-01-01. Signatures and expiry depend on it.
const PLAUSIBLE_UNIX_SECS: i64 = 1_735_689_600;

/// If the clock was once this many seconds ahead of now, it was wrong then or is wrong now.
const CLOCK_LEAD_MAX_SECS: i64 = 3_600;

/// Most attempts to see what was just pushed, and the pauses between them: a dozen seconds.
const LAG_ATTEMPT_COUNT_MAX: u32 = 6;
const LAG_BACKOFF: Backoff = Backoff::new(Duration::from_millis(400), Duration::from_secs(6));

/// Most files that are named because they wait.
const NAMED_COUNT_MAX: usize = 3;

/// The artifact type of what `--write` pushes.
const PROBE_TYPE: &str = "application/vnd.dockercomms.doctor.v1";

/// The hint for a registry that does not answer.
const UNREACHABLE_HINT: &str = "check the network, its proxy, and the registry's name in config.toml (`curl https://HOST/v2/`)";

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Info,
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    outcome: Outcome,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip)]
    exit: u8,
}

impl Check {
    fn new(name: &'static str, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { name, outcome, detail: detail.into(), hint: None, exit: exit::OK }
    }

    fn failed(name: &'static str, failure: Failure) -> Self {
        let said: Vec<String> = [failure.error].into_iter().chain(failure.causes).collect();
        Self {
            name,
            outcome: Outcome::Failed,
            detail: said.join(": "),
            hint: failure.hint,
            exit: failure.exit,
        }
    }

    fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

impl Show for Check {
    fn lines(&self) -> Vec<String> {
        let mark = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Info => "info",
            Outcome::Warning => "warn",
            Outcome::Failed => "FAIL",
        };
        let mut lines =
            table(&[vec![format!("{mark:<4}"), format!("{:<12}", self.name), self.detail.clone()]]);
        lines.extend(self.hint.iter().map(|hint| format!("      hint: {hint}")));
        lines
    }
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
                if let Some(check) = recipients(&setup).await {
                    report(check);
                }
                report(waiting(&setup).await);
                for check in registry(&setup, args.write).await {
                    report(check);
                }
                if let Some(check) = sent(&setup).await {
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

/// Names the files that wait or failed because an attempt to send them did.
async fn waiting(setup: &Setup) -> Check {
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

/// Names the people to whom files go although nobody compared a fingerprint with them.
async fn recipients(setup: &Setup) -> Option<Check> {
    // What cannot be read is another check's failure.
    let unheld = recipient::unheld(setup).await?;
    Some(if unheld.is_empty() {
        Check::new("recipients", Outcome::Ok, "you hold the key of everyone you write to")
    } else {
        Check::new("recipients", Outcome::Warning, unheld.to_string())
            .hint("compare the names, ask them for their cards, and `dockercomms trust add CARD`")
    })
}

async fn registry(setup: &Setup, write: bool) -> Vec<Check> {
    let repository = match app::open_repository(&setup.settings) {
        Ok(repository) => repository,
        Err(error) => return vec![Check::failed("registry", error.into())],
    };
    let examined = examine(repository.as_ref(), write);
    tokio::time::timeout(REGISTRY_TIMEOUT, examined).await.unwrap_or_else(|_elapsed| {
        let check = Check::failed("registry", RegistryError::TimedOut.into());
        vec![check.hint(UNREACHABLE_HINT)]
    })
}

/// Looks for sent messages that no receipt has confirmed; `None` when the registry, which has its
/// own check, does not answer.
async fn sent(setup: &Setup) -> Option<Check> {
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
            "they were taken away or expired; a mount puts a tag back that was taken away, and \
             `dockercomms resend REF FILE` sends a message once more",
        )
    } else {
        Check::new("sent", Outcome::Ok, confirmed)
    })
}

async fn examine(repository: &dyn Repository, write: bool) -> Vec<Check> {
    let reference = repository.reference();
    let mut checks = vec![match repository.probe().await {
        Ok(()) => Check::new("registry", Outcome::Ok, format!("{reference} answers")),
        Err(error) if error.class() == ErrorClass::NotFound => Check::new(
            "registry",
            Outcome::Ok,
            format!("{reference} does not exist yet; the first message creates it"),
        ),
        Err(error) => {
            let hint = match error.class() {
                // The class's own hint is to run this verb.
                ErrorClass::Unreachable | ErrorClass::TimedOut => Some(UNREACHABLE_HINT),
                _ => None,
            };
            let check = Check::failed("registry", Failure::from(error).about(reference));
            return vec![hint.into_iter().fold(check, Check::hint)];
        }
    }];
    if write {
        checks.extend(try_to_write(repository).await);
    } else {
        checks.push(Check::new("push", Outcome::Info, "not tried; `doctor --write` does"));
    }
    checks
}

/// Pushes a manifest like a receipt's and one that refers to it, under tags that no client reads,
/// and deletes them again.
async fn try_to_write(repository: &dyn Repository) -> Vec<Check> {
    let pushed = async {
        let empty = Digest::of(EMPTY_BYTES);
        repository.push_blob(&empty, EMPTY_BYTES.into()).await?;
        let subject = probe(None);
        let digest = repository.push_manifest(&subject).await?;
        let descriptor = Descriptor::of(media_type::IMAGE_MANIFEST, &subject.bytes);
        let referrer = repository.push_manifest(&probe(Some(descriptor))).await?;
        Ok::<_, RegistryError>((digest, referrer))
    };
    let (subject, referrer) = match pushed.await {
        Ok(digests) => digests,
        Err(error) => return vec![Check::failed("push", Failure::from(error))],
    };
    let push = Check::new("push", Outcome::Ok, "blobs, manifests and tags can be pushed");
    let referrers = match find_referrer(repository, &subject, &referrer).await {
        Ok(how) => Check::new("referrers", Outcome::Ok, how),
        Err(error) => Check::new(
            "referrers",
            Outcome::Warning,
            format!("manifests that refer to another one are not found ({error})"),
        )
        .hint("`cosign verify` will not find our signatures there; dockercomms does, by its tags"),
    };
    let deleted = async {
        for digest in [&referrer, &subject] {
            patiently(async || repository.delete_manifest(digest).await).await?;
        }
        repository.remove_referrer(&subject, &referrer).await
    };
    let delete = match deleted.await {
        Ok(()) => {
            Check::new("delete", Outcome::Ok, "manifests can be deleted: `recall` and `gc` work")
        }
        Err(error) => Check::new(
            "delete",
            Outcome::Info,
            format!("manifests cannot be deleted ({error}); two small ones remain"),
        )
        .hint(
            "`recall` and `gc` need it; docker-registry offers it with `storage.delete.enabled`, \
             elsewhere it is a permission of the account",
        ),
    };
    vec![push, referrers, delete]
}

/// Repeats a call while the registry denies what it has just confirmed, as some do for seconds.
async fn patiently<T>(
    mut call: impl AsyncFnMut() -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    for attempt in 1..LAG_ATTEMPT_COUNT_MAX {
        match call().await {
            Err(RegistryError::NotFound { .. }) => {
                tokio::time::sleep(LAG_BACKOFF.random_pause(attempt, None)).await;
            }
            result => return result,
        }
    }
    call().await
}

/// Makes a manifest that was never pushed before: an existing digest would prove nothing.
fn probe(subject: Option<Descriptor>) -> ManifestUpload {
    let probe = uuid::Uuid::new_v4().simple().to_string();
    let tag: Option<Tag> = format!("doctor-{probe}").parse().ok();
    let referrer = subject.as_ref().map(|subject| ReferrerEntry {
        subject: subject.digest,
        artifact_type: PROBE_TYPE.to_owned(),
    });
    let manifest = ImageManifest {
        artifact_type: Some(PROBE_TYPE.to_owned()),
        config: Descriptor::empty(),
        layers: vec![Descriptor::empty()],
        subject,
        annotations: [("dockercomms.x.probe".to_owned(), probe)].into(),
    };
    let bytes = manifest.encode().into();
    ManifestUpload { bytes, media_type: media_type::IMAGE_MANIFEST, tag, referrer }
}

/// Returns how the registry finds manifests that refer to another one.
async fn find_referrer(
    repository: &dyn Repository,
    subject: &Digest,
    referrer: &Digest,
) -> Result<&'static str, RegistryError> {
    patiently(async || {
        let found = repository.list_referrers(subject).await?;
        if found.iter().any(|entry| entry.digest == *referrer) {
            return Ok(());
        }
        Err(RegistryError::NotFound { what: "the entry that was pushed".to_owned() })
    })
    .await?;
    match repository.resolve_tag(&Tag::referrers(subject)).await? {
        Some(_) => Ok("no referrers API; the fallback tag `sha256-...` is used instead"),
        None => Ok("the registry has the referrers API"),
    }
}
