//! What a signature is for; the trust store grants each role separately.

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A message to a recipient.
    Message,
    /// A receipt for a message.
    Receipt,
}

impl Role {
    /// Returns the word of the trust store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Receipt => "receipt",
        }
    }
}
