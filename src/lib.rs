#![doc = include_str!("README.md")]

pub mod mailbox;
pub mod protocol;
pub mod registry;
#[allow(missing_docs)]
pub mod trust_stub {
    #[derive(Debug)]
    pub struct TrustStore;
}
pub mod config;
pub mod sys;
