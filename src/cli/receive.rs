//! `recv`: fetches new messages, verified, into ordinary files.
//!
//! A receipt marks a message as received: one that has it is skipped unless `--all` is given.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args as ClapArgs;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use rustix::fs::{XattrFlags, fsetxattr, lgetxattr};
use serde::Serialize;

use super::failure::Failure;
use super::output::Show;
use super::send;
use super::session::Session;
use crate::config::{ByteSize, Overrides, Span};
use crate::mailbox::{InboxItem, Mailbox, Snapshot};
use crate::protocol::{Digest, ErrorClass, FileName, ReceiptStatus, Timestamp};
use crate::sys::{Clock as _, Counted, SystemClock, crash, durable};

/// Bytes per read; a chunk is fetched whole in any case.
const READ_LEN: usize = 1 << 20;

/// Most names tried for one file: `name (2)`, `name (3)`, and so on.
const NUMBER_MAX: u32 = 10_000;

/// Shown below the help.
const EXAMPLES: &str = "\
Examples:
  dockercomms recv --out ~/Downloads
  dockercomms recv --json --since 2d";

/// Fetch new messages into files, verify them completely, send signed receipts
///
/// A file appears under its name only when all of it was verified; an existing file is never
/// overwritten (the new one becomes `name (2)`). Files get mode 0600 and the time they were sent.
/// Messages that already have a receipt, from this verb or from a mount, are skipped unless --all
/// is given. It is not an error if there is nothing new.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Put the files here
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Only messages sent since 2026-01-31, 2026-01-31T12:00:00Z, or an age like 2d
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// At most this many messages, oldest first
    #[arg(long, value_name = "N")]
    max: Option<usize>,
    /// Also messages that were received before
    #[arg(long)]
    all: bool,
    /// Most bytes per second from the registry, like 2MiB; 0 = no limit
    #[arg(long, value_name = "SIZE")]
    limit_download: Option<ByteSize>,
}

fn parse_since(text: &str) -> Result<Timestamp, String> {
    let day = format!("{text}T00:00:00Z");
    if let Ok(time) = text.parse().or_else(|_source| day.parse()) {
        return Ok(time);
    }
    let age: Span = text.parse().map_err(|_source| {
        "expected a day like 2026-01-31, a time like 2026-01-31T12:00:00Z, or an age like 2d"
            .to_owned()
    })?;
    let age_secs = i64::try_from(age.0.as_secs()).unwrap_or(i64::MAX);
    Ok(Timestamp::from(SystemClock.now()).saturating_add_secs(-age_secs))
}

#[derive(Debug, Serialize)]
struct Received {
    path: String,
    sender: String,
    digest: String,
    message_id: String,
    bytes: u64,
    created_at: String,
}

impl Show for Received {
    fn lines(&self) -> Vec<String> {
        vec![format!("{}  from {}  {}", self.path, self.sender, self.digest)]
    }
}

/// Runs the verb.
pub(crate) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    if !args.out.is_dir() {
        let what = format!("{} is not a directory", args.out.display());
        return Err(Failure::new(ErrorClass::NotFound, what)
            .hint("create it first, or name another one with `--out`"));
    }
    let overrides = Overrides { limit_download: args.limit_download, ..Overrides::default() };
    let setup = session.setup(overrides)?;
    PartFile::remove_stale(&args.out);
    session.with_mailbox(&setup, async |mailbox| {
        let report = mailbox.inbox().poll().await?;
        let wanted = wanted(&mailbox.snapshot(), args);
        let mut failures = Vec::new();
        for item in &wanted {
            match receive_one(session, &mailbox, item, &args.out).await {
                Ok(received) => session.output.show(&received),
                Err(failure) => {
                    let about = format!("{} from `{}` was not received", item.name, item.sender);
                    failures.push(failure.about(about));
                }
            }
        }
        mailbox.flush_receipts().await?;
        if wanted.is_empty() {
            session.output.note("nothing new");
        }
        if report.quarantined > 0 {
            session.output.note(&format!(
                "refused: {}; `dockercomms ls quarantine` shows why",
                Counted(report.quarantined, "message")
            ));
        }
        send::conclude(session, wanted.len(), failures)
    })
}

/// Picks the messages to fetch, oldest first.
fn wanted(snapshot: &Snapshot, args: &Args) -> Vec<Arc<InboxItem>> {
    let mut items: Vec<Arc<InboxItem>> = snapshot
        .inbox
        .values()
        .flat_map(|dir| dir.values())
        .filter(|item| args.all || item.receipt.is_none())
        .filter(|item| args.since.is_none_or(|since| item.message.envelope.created_at >= since))
        .map(Arc::clone)
        .collect();
    items.sort_by_key(|item| (item.message.envelope.created_at, item.digest));
    items.truncate(args.max.unwrap_or(usize::MAX));
    items
}

async fn receive_one(
    session: &Session,
    mailbox: &Mailbox,
    item: &InboxItem,
    dir: &Path,
) -> Result<Received, Failure> {
    let reader = mailbox.inbox().open_to_keep(item)?;
    let mut part = PartFile::create(dir)?;
    crash::point!("recv.part.created");
    let bar = session.output.progress(&item.name, Some(reader.len()));
    let mut offset = 0;
    while offset < reader.len() {
        let bytes = reader.read_at(offset, READ_LEN).await?;
        if bytes.is_empty() {
            return Err(Failure::new(ErrorClass::Corrupt, "the message ended early"));
        }
        part.write(&bytes)?;
        offset = offset.saturating_add(bytes.len() as u64);
        bar.set_position(offset);
    }
    bar.finish_and_clear();
    reader.finish().await?;
    crash::point!("recv.part.written");
    // The name on the wire, not the listing's: this directory numbers its own files.
    let name = FileName::sanitize(&item.message.envelope.filename);
    part.mark(&item.digest);
    // Without a receipt an earlier run may have died between the file and the receipt.
    let known = item.receipt.is_none().then_some(&item.digest);
    let path = part.publish(&name, item.message.envelope.created_at, known)?;
    crash::point!("recv.file.durable");
    // Only now: a receipt claims that the file is here, durably.
    mailbox.acknowledge(&item.digest, ReceiptStatus::Accepted, None).await?;
    crash::point!("recv.file.acknowledged");
    Ok(Received {
        path: path.display().to_string(),
        sender: item.sender.as_str().to_owned(),
        digest: item.digest.to_string(),
        message_id: item.message.id.to_string(),
        bytes: offset,
        created_at: item.message.envelope.created_at.to_string(),
    })
}

/// The attribute of a received file that names its message, as files in a mount have it.
const DIGEST_ATTRIBUTE: &str = "user.dockercomms.digest";

/// How the name of an unfinished file begins and ends.
const PART_NAME: (&str, &str) = (".dockercomms-", ".part");

/// A file that has no name yet for others; removed unless it is published.
struct PartFile {
    file: File,
    path: PathBuf,
    dir: PathBuf,
    published: bool,
}

impl PartFile {
    fn create(dir: &Path) -> Result<Self, Failure> {
        let (prefix, suffix) = PART_NAME;
        let path = dir.join(format!("{prefix}{}{suffix}", uuid::Uuid::new_v4().simple()));
        let file = durable::create_private(&path)
            .map_err(|error| Failure::io(format!("cannot write in {}", dir.display()), &error))?;
        // Shows another run that the file has an owner; where locks do not work, its age does.
        file.try_lock().ok();
        Ok(Self { file, path, dir: dir.to_owned(), published: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| Failure::io("cannot write the file", &error))
    }

    /// Removes what killed runs have left in `dir`.
    fn remove_stale(dir: &Path) {
        let (prefix, suffix) = PART_NAME;
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_part = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix));
            if is_part
                && durable::is_stale(&path)
                && entry.file_type().is_ok_and(|kind| kind.is_file())
                && File::open(&path).is_ok_and(|file| file.try_lock().is_ok())
            {
                std::fs::remove_file(&path).ok();
            }
        }
    }

    /// Marks the file with its message.
    fn mark(&self, message: &Digest) {
        let value = message.to_string();
        // Not every file system keeps attributes; without one a killed run costs a second copy.
        fsetxattr(&self.file, DIGEST_ATTRIBUTE, value.as_bytes(), XattrFlags::empty()).ok();
    }

    /// Returns whether `target` is what this file would become: the same message, unchanged.
    fn is_published_as(&self, target: &Path, message: &Digest) -> bool {
        let mut value = [0_u8; 128];
        let marked = lgetxattr(target, DIGEST_ATTRIBUTE, &mut value)
            .is_ok_and(|len| value.get(..len) == Some(message.to_string().as_bytes()));
        marked && is_same_content(&self.path, target).unwrap_or(false)
    }

    /// Gives the file the first free of `name`, `name (2)`, ...; durable when it returns.
    ///
    /// With `known`, a file that an earlier run made of that message is taken as it is.
    fn publish(
        mut self,
        name: &FileName,
        created_at: Timestamp,
        known: Option<&Digest>,
    ) -> Result<PathBuf, Failure> {
        let failed = |error: &io::Error| Failure::io("cannot finish the file", error);
        // A file system without times must not cost the payload.
        self.file.set_modified(created_at.to_system_time()).ok();
        self.file.sync_all().map_err(|error| failed(&error))?;
        crash::point!("recv.part.durable");
        for number in 1..=NUMBER_MAX {
            let target = self.dir.join(name.numbered(number).as_str());
            match rename_exclusive(&self.path, &target) {
                Ok(()) => {
                    self.published = true;
                    crash::point!("recv.file.renamed");
                    durable::sync_dir(&self.dir).map_err(|error| failed(&error))?;
                    return Ok(target);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if known.is_some_and(|message| self.is_published_as(&target, message)) {
                        durable::sync_dir(&self.dir).map_err(|error| failed(&error))?;
                        return Ok(target);
                    }
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(Failure::new(ErrorClass::Exists, "too many files with this name"))
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.published {
            // What is left behind is an unused dot file.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Returns whether two files hold the same bytes.
fn is_same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if !other.metadata()?.is_file() || one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let len = left.len().min(right.len());
        if left.get(..len) != right.get(..len) {
            return Ok(false);
        }
        if len == 0 {
            return Ok(left.len() == right.len());
        }
        one.consume(len);
        other.consume(len);
    }
}

/// Renames without ever replacing anything.
fn rename_exclusive(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // Some file systems (NFS, old FUSE ones) lack the flag; a link is just as exclusive.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        result => result.map_err(io::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let mut part = PartFile::create(dir).unwrap();
        part.write(bytes).unwrap();
        part.publish(&name.parse().unwrap(), Timestamp::from_unix_secs(1_000_000), None).unwrap()
    }

    fn publish_again(dir: &Path, message: &Digest, bytes: &[u8]) -> PathBuf {
        let mut part = PartFile::create(dir).unwrap();
        part.write(bytes).unwrap();
        part.mark(message);
        let name = "a.txt".parse().unwrap();
        part.publish(&name, Timestamp::from_unix_secs(1_000_000), Some(message)).unwrap()
    }

    #[test]
    fn the_file_of_a_killed_run_is_recognised_unless_it_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        let path = publish_again(dir.path(), &first, b"one");

        let again = publish_again(dir.path(), &first, b"one");
        let other_message = publish_again(dir.path(), &second, b"one");
        File::options().append(true).open(&path).unwrap().write_all(b" edited").unwrap();
        let edited = publish_again(dir.path(), &first, b"one");

        assert_eq!(again, path);
        assert_eq!(other_message, dir.path().join("a (2).txt"));
        assert_eq!(edited, dir.path().join("a (3).txt"));
        assert_eq!(std::fs::read(path).unwrap(), b"one edited");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_killed_runs_left_goes_once_it_is_old_and_has_no_owner() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemClock.now() - std::time::Duration::from_hours(2);
        let mut left = PartFile::create(dir.path()).unwrap();
        left.file.set_modified(old).unwrap();
        left.published = true;
        drop(left);
        let owned = PartFile::create(dir.path()).unwrap();
        owned.file.set_modified(old).unwrap();
        let young = publish(dir.path(), ".dockercomms-young.part", b"x");
        File::open(&young).unwrap().set_modified(SystemClock.now()).unwrap();

        PartFile::remove_stale(dir.path());

        assert!(owned.path.exists() && young.exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();

        let first = publish(dir.path(), "a.txt", b"one");
        let second = publish(dir.path(), "a.txt", b"two");

        assert_eq!(first, dir.path().join("a.txt"));
        assert_eq!(second, dir.path().join("a (2).txt"));
        assert_eq!(std::fs::read(first).unwrap(), b"one");
        assert_eq!(std::fs::read(second).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_dangling_link_in_the_way_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nonexistent/x", dir.path().join("a.txt")).unwrap();

        let path = publish(dir.path(), "a.txt", b"one");

        assert_eq!(path, dir.path().join("a (2).txt"));
    }

    #[test]
    fn a_file_that_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut part = PartFile::create(dir.path()).unwrap();
        part.write(b"half").unwrap();

        drop(part);

        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn since_takes_days_times_and_ages() {
        assert_eq!(parse_since("1970-01-02").unwrap().unix_secs(), 86_400);
        assert_eq!(parse_since("1970-01-01T00:01:00Z").unwrap().unix_secs(), 60);
        let now = Timestamp::from(SystemClock.now()).unix_secs();
        assert!((now - 7200 - parse_since("2h").unwrap().unix_secs()).abs() <= 1);
        assert!(parse_since("yesterday").is_err());
    }
}
