#![doc = include_str!("README.md")]

pub mod cache;
pub mod protocol;
pub mod registry;
pub mod store;
pub mod sys;
