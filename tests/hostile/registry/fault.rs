//! What the registry does instead of what it should.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::wire::{Answer, Request};

/// Bytes that an endless body is made of, a piece at a time.
static ENDLESS_PIECE: [u8; 64 << 10] = [b'A'; 64 << 10];

/// The most that an endless body sends, so that a client without a bound fails the test and not
/// the machine.
const ENDLESS_LEN_MAX: u64 = 1 << 30;

/// Time between two bytes of a dripping body: slower than any bound on the rate.
const DRIP_PAUSE: Duration = Duration::from_millis(200);

/// The kinds of requests that a fault can be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Any,
    Tags,
    Referrers,
    ManifestGet,
    ManifestHead,
    ManifestPut,
    BlobGet,
    BlobHead,
    UploadStart,
    UploadPut,
    Token,
    Other,
}

impl Class {
    pub(super) fn of(request: &Request) -> Self {
        let has = |part: &str| request.path.contains(part);
        match request.method.as_str() {
            _ if has("/token") => Self::Token,
            "GET" if has("/tags/list") => Self::Tags,
            "GET" if has("/referrers/") => Self::Referrers,
            "GET" if has("/manifests/") => Self::ManifestGet,
            "HEAD" if has("/manifests/") => Self::ManifestHead,
            "PUT" if has("/manifests/") => Self::ManifestPut,
            "GET" if has("/blobs/") => Self::BlobGet,
            "HEAD" if has("/blobs/") => Self::BlobHead,
            "POST" if has("/blobs/uploads/") => Self::UploadStart,
            "PUT" if has("/blobs/uploads/") => Self::UploadPut,
            _ => Self::Other,
        }
    }
}

/// Makes an answer of a request.
type Script = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// One misbehaviour.
#[derive(Clone)]
pub(crate) enum Fault {
    /// No fault: the right answer.
    None,
    /// Closes the connection without an answer.
    Close,
    /// Reads the request and never answers.
    Hang,
    /// Answers rightly, but only after [`super::Registry::release`].
    Hold,
    /// Another answer than the right one; the request has no effect.
    Answer(Answer),
    /// The same, made of the request.
    Script(Script),
    /// The right answer with one header set.
    Header(&'static str, String),
    /// The right answer with the last byte of its body changed.
    Corrupt,
    /// The right answer with other bytes of the same number as its body.
    Scramble,
    /// The right head with this body, honestly measured.
    Replace(Vec<u8>),
    /// Announces the whole body, sends so many bytes and closes.
    Truncate(usize),
    /// Announces and sends only so many bytes.
    Short(usize),
    /// Sends so many bytes and then nothing more.
    Stall(usize),
    /// One byte now and then.
    Drip,
    /// A body of 1 GiB in place of the right one.
    Endless,
    /// Announces a body of this length, sends the right one and closes.
    ClaimLength(u64),
    /// These bytes in place of an HTTP answer.
    Raw(Vec<u8>),
    /// Carries the request out, then closes without an answer.
    CommitThenClose,
    /// Carries the request out, then answers with this status.
    CommitThenStatus(u16),
}

impl Fault {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(Answer::error(status, "UNKNOWN"))
    }

    pub(crate) fn script(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::Script(Arc::new(script))
    }

    /// Answers a request; `Ok(false)` when the connection is over.
    pub(super) fn answer(
        &self,
        shared: &Shared,
        request: &Request,
        stream: &mut TcpStream,
    ) -> io::Result<bool> {
        let is_head = request.method == "HEAD";
        let right = || shared.carry_out(request);
        match self {
            Self::None => right().write(stream, is_head)?,
            Self::Close => return Ok(false),
            Self::Hang => shared.wait_for_end(),
            Self::Hold => {
                shared.wait_for_release();
                right().write(stream, is_head)?;
            }
            Self::Answer(answer) => answer.write(stream, is_head)?,
            Self::Script(script) => script(request).write(stream, is_head)?,
            Self::Header(name, value) => {
                right().with(name, value.clone()).write(stream, is_head)?;
            }
            Self::Corrupt => {
                let mut answer = right();
                if let Some(last) = answer.body.last_mut() {
                    *last ^= 1;
                }
                answer.write(stream, is_head)?;
            }
            Self::Scramble => {
                let answer = right();
                let body: Vec<u8> = answer.body.iter().map(|byte| !byte).collect();
                answer.body(body).write(stream, is_head)?;
            }
            Self::Replace(body) => right().body(body.clone()).write(stream, is_head)?,
            Self::Truncate(len) => return partly(&right(), stream, *len).map(|()| false),
            Self::Short(len) => {
                let mut answer = right();
                answer.body.truncate(*len);
                answer.write(stream, is_head)?;
            }
            Self::Stall(len) => {
                partly(&right(), stream, *len)?;
                shared.wait_for_end();
            }
            Self::Drip => drip(&right(), shared, stream)?,
            Self::Endless => endless(&right(), shared, stream)?,
            Self::ClaimLength(len) => {
                let answer = right();
                answer.write_head(stream, Some(*len))?;
                stream.write_all(&answer.body)?;
                return Ok(false);
            }
            Self::Raw(bytes) => {
                stream.write_all(bytes)?;
                return Ok(false);
            }
            Self::CommitThenClose => {
                right();
                return Ok(false);
            }
            Self::CommitThenStatus(status) => {
                right();
                Answer::error(*status, "UNKNOWN").write(stream, is_head)?;
            }
        }
        Ok(true)
    }
}

fn partly(answer: &Answer, stream: &mut TcpStream, len: usize) -> io::Result<()> {
    answer.write_head(stream, Some(answer.body.len() as u64))?;
    stream.write_all(answer.body.get(..len).unwrap_or(&answer.body))
}

fn drip(answer: &Answer, shared: &Shared, stream: &mut TcpStream) -> io::Result<()> {
    answer.write_head(stream, Some(answer.body.len() as u64))?;
    for byte in &answer.body {
        stream.write_all(&[*byte])?;
        if shared.is_over_after(DRIP_PAUSE) {
            break;
        }
    }
    Ok(())
}

fn endless(answer: &Answer, shared: &Shared, stream: &mut TcpStream) -> io::Result<()> {
    answer.write_head(stream, None)?;
    let size_line = format!("{:x}\r\n", ENDLESS_PIECE.len());
    let mut sent_len = 0;
    while sent_len < ENDLESS_LEN_MAX && !shared.is_over_after(Duration::ZERO) {
        stream.write_all(size_line.as_bytes())?;
        stream.write_all(&ENDLESS_PIECE)?;
        stream.write_all(b"\r\n")?;
        sent_len += ENDLESS_PIECE.len() as u64;
        shared.note_endless(ENDLESS_PIECE.len() as u64);
    }
    Ok(())
}
