//! Every bound of this layer, each with its reason.

/// Largest key file or contact card in bytes; a real one is below 1 KiB.
pub(super) const KEY_TEXT_LEN_MAX: usize = 16 << 10;

/// Largest trust store in bytes: ten thousand senders with one key each.
pub(super) const STORE_LEN_MAX: usize = 4 << 20;

/// Most senders in a trust store; more is a mistake or an attack on the parser.
pub(super) const SENDER_COUNT_MAX: usize = 10_000;

/// Most keys, and most certificate identities, of one sender. With 64 candidates (P16) the worst
/// message costs a thousand signature checks, which is less than half a second.
pub(super) const AUTHORITY_COUNT_MAX: usize = 16;

/// Most trusted roots in a trust store; each is tried on each certificate bundle, which takes about
/// a millisecond.
pub(super) const TRUSTED_ROOT_COUNT_MAX: usize = 8;

/// Largest `trusted_root.json` in bytes; that of the public deployment has 7 KiB.
pub const TRUSTED_ROOT_LEN_MAX: usize = 1 << 20;

/// Most log entries, and most timestamps, in one certificate bundle; one of each is usual. Every
/// one is verified, and a copied one costs its forger nothing.
pub(super) const EVIDENCE_COUNT_MAX: usize = 4;

/// Longest signed checkpoint of a log in bytes. Ten witnesses fit; each line that merely resembles
/// the log's signature costs a verification.
pub(super) const CHECKPOINT_LEN_MAX: usize = 4 << 10;

/// Longest issuer, e-mail, URI or pattern in bytes.
pub(super) const SUBJECT_LEN_MAX: usize = 2_048;
