//! Fixtures: homes, mounts, registries, waiting with a deadline.
//!
//! Everything is real: the built program, the kernel's FUSE, registries on loopback. What a fixture
//! starts ends when it is dropped, also when the test panics. Start at [`alice_and_bob`].

#![expect(
    clippy::needless_pass_by_value,
    clippy::unused_self,
    clippy::print_stdout,
    reason = "fixtures read better so, and a skipped test must say so"
)]

mod files;
mod home;
mod http;
mod mount;
mod process;
mod registry;
mod tools;
mod wait;

pub(crate) use files::{Fifo, log_like, names_in, random_bytes, read, temp_dir, write};
pub(crate) use home::{Home, alice_and_bob, mounted_alice_and_bob, repository};
pub(crate) use http::HttpServer;
pub(crate) use mount::{TestMount, is_mounted};
pub(crate) use process::{Ran, Running, ended_by, program, run, shell};
pub(crate) use registry::{LOGIN, Registry};
pub(crate) use tools::{is_skipped, need_exits, need_root, tool};
pub(crate) use wait::{DEADLINE, Stopwatch, wait_for, wait_until, wait_until_within};

/// The sender in most tests.
pub(crate) const ALICE: &str = "alice@example.com";

/// The recipient in most tests.
pub(crate) const BOB: &str = "bob@example.com";
