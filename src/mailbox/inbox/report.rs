//! What one poll found.

/// What one poll found.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct PollReport {
    /// Messages that are new in the inbox.
    pub admitted: usize,
    /// Candidates that were refused.
    pub quarantined: usize,
    /// Candidates that wait for their bundle or their time.
    pub pending: usize,
    /// Whether a limit ended the listing early.
    pub truncated: bool,
}
