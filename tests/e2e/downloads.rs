//! Programs that download into the outbox: what they complete arrives once, what they leave
//! incomplete never, and their control files never.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;

use super::delivery::Delivery;
use crate::common::{Running, names_in, random_bytes, run, tool, wait_until};

const DELIVERIES: [&str; 2] = ["delivery = \"sync\"", "delivery = \"queued\""];

/// More than aria2c keeps before it writes.
const LEN: usize = 600_000;

/// A server of one file that holds back everything from a byte on, until it is allowed.
struct FileServer {
    url: String,
    limit: Arc<Mutex<usize>>,
}

impl FileServer {
    /// Serves `bytes`, but no byte at or past `limit`. Its threads end with the test's process.
    fn start(bytes: Vec<u8>, limit: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://127.0.0.1:{}/big.iso", listener.local_addr().unwrap().port());
        let limit = Arc::new(Mutex::new(limit));
        let (shared, bytes) = (Arc::clone(&limit), Arc::new(bytes));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (bytes, limit) = (Arc::clone(&bytes), Arc::clone(&shared));
                // A client that goes away midway is what is tested.
                std::thread::spawn(move || serve(stream, &bytes, &limit).ok());
            }
        });
        Self { url, limit }
    }

    fn allow_all(&self) {
        *self.limit.lock().unwrap() = usize::MAX;
    }
}

fn serve(mut stream: TcpStream, bytes: &[u8], limit: &Mutex<usize>) -> std::io::Result<()> {
    let mut from = 0;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.split('-').next().and_then(|from| from.parse().ok()).unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    let len = bytes.len();
    write!(
        stream,
        "HTTP/1.1 {}\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\
         Content-Range: bytes {from}-{}/{len}\r\nConnection: close\r\n\r\n",
        if from == 0 { "200 OK" } else { "206 Partial Content" },
        len - from,
        len - 1,
    )?;
    let upto = (*limit.lock().unwrap()).clamp(from, len);
    stream.write_all(&bytes[from..upto])?;
    if upto < len {
        // Until the client goes away.
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// Returns aria2c that downloads `server`'s file into the outbox, or `None` when it is missing.
fn aria2c(delivery: &Delivery, server: &FileServer, options: &[&str]) -> Option<Command> {
    let mut command = Command::new(tool("aria2c")?);
    command.args(["--no-conf", "--quiet", "--split=1", "--file-allocation=none"]).args(options);
    command.arg("--dir").arg(delivery.outbox()).arg(&server.url);
    command.env("HOME", delivery.alice.dir());
    Some(command)
}

#[test]
fn aria2c_sends_the_file_once_and_its_control_file_never() {
    for setting in DELIVERIES {
        let bytes = random_bytes(11, LEN);
        let server = FileServer::start(bytes.clone(), usize::MAX);
        let delivery = Delivery::with_settings(&[setting]);
        let Some(command) = aria2c(&delivery, &server, &[]) else { return };

        run(command).ok();

        delivery.expect(&[("big.iso", &bytes)]);
    }
}

/// Interrupts aria2c midway, looks, and lets a second run finish it.
#[track_caller]
fn interrupted_and_continued(setting: &str, signal: Signal, state: &str) {
    let bytes = random_bytes(12, LEN);
    let server = FileServer::start(bytes.clone(), LEN / 2);
    let delivery = Delivery::with_settings(&[setting]);
    // The control file is saved each second; without a cache the content is written at once.
    let options = ["--disk-cache=0", "--auto-save-interval=1", "--continue=true"];
    let Some(command) = aria2c(&delivery, &server, &options) else { return };
    let (file, control) =
        (delivery.outbox().join("big.iso"), delivery.outbox().join("big.iso.aria2"));

    let mut first = Running::start(command);
    wait_until("half of it is there", || {
        control.exists() && file.metadata().is_ok_and(|file| file.len() >= LEN as u64 / 2)
    });
    first.signal(signal);
    wait_until("aria2c ended", || !first.is_running());
    // A file that is closed later and sent: the window of the first one is over.
    delivery.source("later", b"later");
    delivery.sh("cp later $OUT/later");
    delivery.mount.wait_for_state(delivery.outbox().join("later"), "sent");
    let left = delivery.mount.attribute(&file, "state");
    let listed = names_in(delivery.outbox());
    server.allow_all();
    run(aria2c(&delivery, &server, &options).unwrap()).ok();

    assert_eq!(left.as_deref(), Some(state), "{setting} {signal}");
    assert_eq!(listed, ["big.iso", "big.iso.aria2", "later"], "{setting} {signal}");
    delivery.expect(&[("big.iso", &bytes), ("later", b"later")]);
}

#[test]
fn an_interrupted_aria2c_sends_nothing_until_a_second_run_completes_the_file() {
    for setting in DELIVERIES {
        interrupted_and_continued(setting, Signal::SIGINT, "local");
    }
}

#[test]
fn a_killed_aria2c_sends_nothing_until_a_second_run_completes_the_file() {
    for setting in DELIVERIES {
        interrupted_and_continued(setting, Signal::SIGKILL, "abandoned");
    }
}

#[test]
fn what_an_interrupted_aria2c_leaves_is_not_sent_at_the_unmount() {
    for setting in DELIVERIES {
        let server = FileServer::start(random_bytes(13, LEN), LEN / 2);
        let mut delivery = Delivery::with_settings(&[setting]);
        let Some(command) = aria2c(&delivery, &server, &["--disk-cache=0"]) else { return };
        let (file, control) =
            (delivery.outbox().join("big.iso"), delivery.outbox().join("big.iso.aria2"));

        let mut aria2c = Running::start(command);
        wait_until("half of it is there", || {
            control.exists() && file.metadata().is_ok_and(|file| file.len() >= LEN as u64 / 2)
        });
        aria2c.signal(Signal::SIGINT);
        wait_until("aria2c ended", || !aria2c.is_running());

        delivery.expect_received(&[]);
    }
}
