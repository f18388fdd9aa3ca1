//! The mailbox as a directory tree, and its FUSE adapter.
//!
//! `tree` says what exists, `attr` and `xattr` how it looks, `commit` when a file counts as
//! complete, `ops` what each system call does; `fuse` only translates, `mount` owns the mount's
//! life. Start at [`mount()`] for the outside and at [`ops::Fs`] for the inside; what each operation
//! means is in `README.md` beside this file.
//!
//! **Must never:** answer metadata from the network, touch a path inside the mount, send a file
//! whose writer died, or leave a request without an answer.

pub mod announce;
pub mod arrivals;
pub mod attr;
pub mod commit;
pub mod errno;
mod error;
mod fuse;
mod fusermount;
pub mod handle;
pub mod inode;
mod interrupt;
mod mount;
mod mountinfo;
pub mod name;
pub mod node;
pub mod notify;
pub mod ops;
mod reply;
pub mod requester;
mod settings;
mod text;
pub mod tree;
mod watchdog;
pub mod xattr;

#[cfg(test)]
mod fixture;

pub use announce::create_from_stdin as run_announcer;
pub use error::FsError;
pub use mount::{Mount, MountOptions, mount};
pub use mountinfo::is_mounted;
pub use watchdog::watch_stdin as run_watchdog;
