//! What goes to people whose key is not held: their fingerprints were never compared.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::near::KnownNames;
use crate::protocol::Identity;
use crate::sys::{Counted, Untrusted};

/// Most people named one by one; each is compared with every known name.
const SHOWN_COUNT_MAX: usize = 20;

/// The files to people whose key is not held, and who these people are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unheld {
    /// Files that were sent to them or are promised.
    pub file_count: usize,
    /// The people.
    pub recipient_count: usize,
    /// The first of them by name, at most twenty.
    pub recipients: Vec<UnheldRecipient>,
}

/// A person whose key is not held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnheldRecipient {
    /// The name, exactly.
    pub name: String,
    /// Files that were sent to this person or are promised.
    pub file_count: usize,
    /// Known names that are almost this one.
    pub near: Vec<String>,
}

impl Unheld {
    /// Counts files by recipient, and leaves out those who are known.
    pub fn of<'a>(
        files: impl IntoIterator<Item = (&'a Identity, usize)>,
        known: &KnownNames,
    ) -> Self {
        let mut counts: BTreeMap<&Identity, usize> = BTreeMap::new();
        for (recipient, count) in files {
            if !known.contains(recipient) {
                *counts.entry(recipient).or_default() += count;
            }
        }
        let shown = |(recipient, file_count): (&&Identity, &usize)| UnheldRecipient {
            name: recipient.as_str().to_owned(),
            file_count: *file_count,
            near: known
                .near(recipient.as_str())
                .into_iter()
                .map(|near| near.as_str().to_owned())
                .collect(),
        };
        Self {
            file_count: counts.values().sum(),
            recipient_count: counts.len(),
            recipients: counts.iter().take(SHOWN_COUNT_MAX).map(shown).collect(),
        }
    }

    /// Returns whether there is no such person.
    pub fn is_empty(&self) -> bool {
        self.recipient_count == 0
    }
}

impl fmt::Display for Unheld {
    /// Writes the sentence that `status`, `doctor` and `ls` show, escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = Counted(self.file_count, "file");
        write!(f, "{files} to people whose key you do not hold")?;
        for (index, recipient) in self.recipients.iter().enumerate() {
            let separator = if index == 0 { ": " } else { ", " };
            write!(f, "{separator}{} ({}", Untrusted(&recipient.name), recipient.file_count)?;
            for (index, near) in recipient.near.iter().enumerate() {
                let word = if index == 0 { "; almost" } else { " or" };
                write!(f, "{word} {}", Untrusted(near))?;
            }
            f.write_str(")")?;
        }
        match self.recipient_count.saturating_sub(self.recipients.len()) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}
