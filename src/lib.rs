#![doc = include_str!("README.md")]

pub mod sys;

pub mod protocol;

pub mod cache;
pub mod chunk;
pub mod registry;
pub mod store;
pub mod trust;

pub mod mailbox;

pub mod fs;

pub mod config;

pub mod app;
pub mod cli;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
