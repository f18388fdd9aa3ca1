#![doc = include_str!("README.md")]

pub mod chunk;
pub mod protocol;
pub mod registry;
pub mod sys;
pub mod trust;
