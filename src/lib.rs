#![doc = include_str!("README.md")]

pub mod protocol;
pub mod registry;
pub mod sys;
pub mod trust;
