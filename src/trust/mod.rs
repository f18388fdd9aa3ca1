//! Decides whose signature covers a manifest: keys, trust store, signing, verification.
//!
//! Bytes in, verdict out. It never opens a file or a socket, never contacts a registry, and the
//! time is an argument (with one exception, see `certificate.rs`). Text in a bundle is a claim
//! until it is signed by a key of the trust store or by a certificate that the trust store accepts.
//! Start at [`verify_message`]; [`sign_manifest`] is its counterpart.
//!
//! **Invariant:** only this module makes a [`VerifiedMessage`] or a [`VerifiedReceipt`], and only
//! after a key or a certificate identity that the local trust store assigns to the claimed sender
//! has signed the digest of exactly these manifest bytes.
#![warn(clippy::indexing_slicing, clippy::string_slice)]

mod base64;
mod bundle;
mod card;
mod certificate;
mod error;
mod explain;
mod key;
mod limits;
mod policy;
mod receipt;
mod refusal;
mod role;
mod rotation;
mod sign;
mod statement;
mod store;
mod store_file;
mod verdict;
mod verify;

#[cfg(test)]
mod tests;

pub use card::ContactCard;
pub use error::TrustError;
pub use explain::{Check, CheckOutcome, explain};
pub use key::{KeyAlgorithm, PublicKey, SigningKey};
pub use limits::TRUSTED_ROOT_LEN_MAX;
pub use policy::{CertificateName, IdentityRule, SubjectRule, Terms, TrustedKey};
pub use receipt::{VerifiedReceipt, verify_receipt};
pub use refusal::Refusal;
pub use role::Role;
pub use rotation::{ROTATION_COUNT_MAX, Rotation};
pub use sign::sign_manifest;
pub use store::{Added, TrustStore, TrustedSender};
pub use verdict::{RefusedMessage, Signer, UnverifiedMessage, VerifiedMessage};
pub use verify::{verify_message, verify_signature};
