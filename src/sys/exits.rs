//! How processes end: the kernel's process events, over a netlink socket.
//!
//! They tell the exit status of every process, not only of our children, to every user since Linux
//! 6.6. The exit status behind a pidfd (Linux 6.15) takes an `ioctl` that no crate offers without
//! `unsafe`, and would be known on fewer machines. Start at [`ProcessExits::listen`].
//!
//! **Must never:** be needed for correctness. Outside the initial namespaces (containers), on older
//! kernels and after a burst that the socket could not hold, nothing is known.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, recvfrom, send, socket_with};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// `/proc/self/ns/pid` where process numbers are those of the events.
const INITIAL_NAMESPACE: &str = "pid:[4026531836]";

/// `CN_IDX_PROC` and `CN_VAL_PROC`: which connector this is; the first is also its group.
const CONNECTOR: u32 = 1;

/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;

/// `PROC_EVENT_EXIT`.
const EXIT: u32 = 0x8000_0000;

/// `NLMSG_DONE`.
const MESSAGE_DONE: u16 = 3;

/// Bytes before an event: `struct nlmsghdr` and `struct cn_msg`.
const HEADER_LEN: usize = 36;

/// Bytes before what is particular to the kind of event.
const EVENT_LEN: usize = HEADER_LEN + 16;

/// Length of `struct proc_input`: what is requested.
const REQUEST_BODY_LEN: u16 = 8;

/// Length of the request with its headers.
const REQUEST_LEN: u32 = 44;

/// Longest message that is read; an event has 76 bytes.
const MESSAGE_LEN_MAX: usize = 256;

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its number.
    pub process: u32,
    /// How it ended.
    pub status: ExitStatus,
}

/// The ends of all processes from the moment of [`ProcessExits::listen`] on.
#[derive(Debug)]
pub struct ProcessExits {
    /// A netlink socket; only the waiting is this type's, which has the one safe constructor.
    socket: UnixDatagram,
}

impl ProcessExits {
    /// Begins to listen; whatever ends after this returned is reported. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the kernel does not report ends to us.
    pub fn listen() -> io::Result<Self> {
        if std::fs::read_link("/proc/self/ns/pid")?.as_os_str() != INITIAL_NAMESPACE {
            // The events would name other processes by the same numbers.
            return Err(io::ErrorKind::Unsupported.into());
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
        let socket = socket_with(family, kind, flags, Some(netlink::CONNECTOR))?;
        bind(&socket, &SocketAddrNetlink::new(0, CONNECTOR))?;
        send(&socket, &listen_request(), SendFlags::empty())?;
        Ok(Self { socket: UnixDatagram::from_std(socket.into())? })
    }

    /// Waits until something may have arrived, and then calls `take`, which takes all of it.
    ///
    /// # Errors
    /// When the runtime ends.
    pub async fn on_arrival(&self, take: impl FnOnce()) -> io::Result<()> {
        self.socket.readable().await?;
        let nothing_left = self.socket.try_io(Interest::READABLE, || {
            take();
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        // That is how the runtime learns that it has to wait again.
        debug_assert!(nothing_left.is_err(), "it is the answer above");
        Ok(())
    }

    /// Takes the next end that has arrived; `None` when there is no other one.
    pub fn take(&self) -> Option<Exit> {
        let mut buffer = [0; MESSAGE_LEN_MAX];
        loop {
            match recvfrom(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((len, _, from)) => {
                    let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
                    // Root could send to our socket too; only the kernel has port 0.
                    let is_kernel = from.is_some_and(|from| from.pid() == 0);
                    let exit = buffer.get(..len).and_then(parse).filter(|_exit| is_kernel);
                    if exit.is_some() {
                        return exit;
                    }
                }
                // After a burst the kernel reports once that some are lost.
                Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(_nothing_left) => return None,
            }
        }
    }
}

/// Returns the message that requests the ends of processes.
#[expect(clippy::host_endian_bytes, reason = "netlink speaks the machine's own byte order")]
fn listen_request() -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(REQUEST_LEN.to_ne_bytes());
    message.extend(MESSAGE_DONE.to_ne_bytes());
    // Flags, sequence, port.
    message.extend([0; 10]);
    message.extend(CONNECTOR.to_ne_bytes());
    message.extend(CONNECTOR.to_ne_bytes());
    // Sequence, acknowledgement.
    message.extend([0; 8]);
    message.extend(REQUEST_BODY_LEN.to_ne_bytes());
    message.extend([0; 2]);
    message.extend(LISTEN.to_ne_bytes());
    message.extend(EXIT.to_ne_bytes());
    message
}

/// Returns the end of a process that a message reports.
///
/// The threads of a process end separately, and some of them while it runs on; its first one ends
/// with the status of the process.
fn parse(message: &[u8]) -> Option<Exit> {
    let is_ours = word(message, 16)? == CONNECTOR && word(message, 20)? == CONNECTOR;
    let (thread, process) = (word(message, EVENT_LEN)?, word(message, EVENT_LEN + 4)?);
    if !is_ours || word(message, HEADER_LEN)? != EXIT || thread != process {
        return None;
    }
    let status = ExitStatus::from_raw(word(message, EVENT_LEN + 8)?.cast_signed());
    Some(Exit { process, status })
}

#[expect(clippy::host_endian_bytes, reason = "netlink speaks the machine's own byte order")]
fn word(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*message.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: u32, thread: u32, process: u32, status: u32) -> Vec<u8> {
        let mut words = vec![76, 3, 0, 0, CONNECTOR, CONNECTOR, 0, 0, 40, what, 0, 0, 0];
        words.extend([thread, process, status, 17, 1, 1]);
        words.into_iter().flat_map(u32::to_ne_bytes).collect()
    }

    #[test]
    fn the_end_of_a_process_is_read_with_its_status() {
        let failed = parse(&event(EXIT, 7, 7, 3 << 8)).unwrap();
        let killed = parse(&event(EXIT, 8, 8, 9)).unwrap();

        assert_eq!((failed.process, failed.status.code()), (7, Some(3)));
        assert_eq!((killed.process, killed.status.signal()), (8, Some(9)));
        assert!(parse(&event(EXIT, 9, 9, 0)).unwrap().status.success());
    }

    #[test]
    fn the_request_is_as_long_as_it_says() {
        assert_eq!(listen_request().len(), HEADER_LEN + usize::from(REQUEST_BODY_LEN));
        assert_eq!(listen_request().len(), usize::try_from(REQUEST_LEN).unwrap());
    }

    #[test]
    fn what_is_not_the_end_of_a_process_is_passed_over() {
        let (fork, exec) = (1, 2);
        let cut = event(EXIT, 7, 7, 0);

        assert_eq!(parse(&event(EXIT, 8, 7, 256)), None, "a thread");
        assert_eq!(parse(&event(fork, 7, 7, 0)), None);
        assert_eq!(parse(&event(exec, 7, 7, 0)), None);
        for len in 0..EVENT_LEN + 12 {
            assert_eq!(parse(&cut[..len]), None, "{len}");
        }
    }

    #[tokio::test]
    async fn the_ends_of_other_processes_are_reported() {
        let Ok(exits) = ProcessExits::listen() else {
            // A container or an old kernel: `tests/e2e/empty.rs` insists on it where it must work.
            return;
        };
        // Not our child, but that of a shell, which has waited for it.
        let script = "sh -c 'echo $$; exit 7' & wait; kill -9 $$";
        let output = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
        let grandchild: u32 = str::from_utf8(&output.stdout).unwrap().trim().parse().unwrap();

        let status = loop {
            let found = std::iter::from_fn(|| exits.take()).find(|exit| exit.process == grandchild);
            if let Some(found) = found {
                break found.status;
            }
            exits.on_arrival(|| ()).await.unwrap();
        };

        assert_eq!(status.code(), Some(7));
    }
}
