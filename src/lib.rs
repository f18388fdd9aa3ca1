#![doc = include_str!("README.md")]

pub mod chunk;
pub mod protocol;
pub mod registry;
pub mod store;
pub mod sys;
pub mod trust;
