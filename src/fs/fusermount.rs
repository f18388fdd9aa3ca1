//! `fusermount3`, the set-user-id helper through which ordinary users mount.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::error::FsError;

/// The helper's name, found through `PATH`.
const PROGRAM: &str = "fusermount3";

/// Mounts at `path` and returns the connection to the kernel.
/// The helper passes it over a socket named by `_FUSE_COMMFD`; the socket is its standard input,
/// because that is the one descriptor that can be passed on safely.
pub(super) fn mount(path: &Path, options: &str) -> Result<OwnedFd, FsError> {
    let failed = |source: io::Error| FsError::Mount { reason: PROGRAM.to_owned(), source };
    let (own, theirs) = UnixStream::pair().map_err(failed)?;
    let child = Command::new(PROGRAM)
        .args(["-o", options, "--"])
        .arg(path)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let received = receive(&own);
    let output = child.wait_with_output().map_err(failed)?;
    match received {
        Ok(Some(connection)) if output.status.success() => Ok(connection),
        Ok(_) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(FsError::Mount {
                reason: said.trim().to_owned(),
                source: io::Error::from_raw_os_error(libc::EPERM),
            })
        }
        Err(source) => Err(failed(source)),
    }
}

/// Detaches anything mounted at `path`: its name is free at once, open files stay usable.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => unmount(path),
        Err(errno) => Err(errno.into()),
    }
}

/// Unmounts lazily, as [`detach`] does for root.
fn unmount(path: &Path) -> io::Result<()> {
    let output = Command::new(PROGRAM)
        .args(["-u", "-z", "-q", "--"])
        .arg(path)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

/// Returns the descriptor that came with the message; `None` when the helper closed without one.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_that_closes_without_an_answer_is_noticed() {
        let (own, theirs) = UnixStream::pair().unwrap();
        drop(theirs);

        assert!(receive(&own).unwrap().is_none());
    }
}
