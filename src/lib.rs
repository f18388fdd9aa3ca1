#![doc = include_str!("README.md")]

pub mod sys;

pub mod protocol;

mod cache;
pub mod chunk;
pub mod registry;
pub mod store;
pub mod trust;

pub mod mailbox;

mod fs;

mod config;

mod app;
mod cli;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use cache::{CacheLimits, CacheStats, ChunkCache, SealKey};
pub use cli::main;
