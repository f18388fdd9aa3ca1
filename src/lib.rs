#![doc = include_str!("README.md")]

pub mod protocol;
pub mod registry;
pub mod mailbox;
#[allow(missing_docs)]
pub mod trust_stub { #[derive(Debug)] pub struct TrustStore; }
pub mod sys;
