//! The mailbox as a directory tree, and its FUSE adapter.
//!
//! `tree` defines what exists, `attr` and `xattr` how it looks, `commit` when a file counts as
//! complete, `ops` what each system call does; `fuse` only translates, `mount` owns the lifetime of
//! the mount. Start at [`mount()`] for the outside and at [`ops::Fs`] for the inside; `README.md`
//! beside this file describes what each operation means.
//!
//! **Must never:** answer metadata from the network, touch a path inside the mount, send a file
//! whose writer died, or leave a request without an answer.

pub(crate) mod announce;
pub(crate) mod arrivals;
pub(crate) mod attr;
pub(crate) mod commit;
pub(crate) mod empty;
pub(crate) mod errno;
mod error;
mod fuse;
mod fusermount;
pub(crate) mod handle;
pub(crate) mod inode;
mod interrupt;
mod mount;
mod mountinfo;
pub(crate) mod name;
pub(crate) mod node;
pub(crate) mod notify;
pub(crate) mod ops;
mod reply;
pub(crate) mod requester;
mod settings;
mod text;
pub(crate) mod tree;
mod watchdog;
pub(crate) mod writers;
pub(crate) mod xattr;

#[cfg(test)]
mod fixture;

pub(crate) use announce::create_from_stdin as run_announcer;
pub(crate) use error::FsError;
pub(crate) use mount::{Mount, MountOptions, mount};
pub(crate) use mountinfo::is_mounted;
pub(crate) use watchdog::watch_stdin as run_watchdog;
