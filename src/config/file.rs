//! `config.toml` as written; only its shape is checked here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::ConfigError;
use super::value::{ByteSize, Span};
use crate::sys::durable;

/// Largest `config.toml` in bytes; the generated one is below 8 KiB.
pub(super) const CONFIG_LEN_MAX: u64 = 1 << 20;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// The profiles by name.
    #[serde(default)]
    pub profile: BTreeMap<String, ProfileFile>,
}

/// One `[profile.NAME]`; what is absent has its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileFile {
    pub me: Option<OneOrMany>,
    pub registry: Option<String>,
    pub insecure: Option<bool>,
    pub loopback_tls: Option<bool>,
    pub ca_file: Option<PathBuf>,
    pub auth_realms: Option<Vec<String>>,
    pub deadline: Option<Span>,
    pub compression: Option<String>,
    pub recipient_compression: Option<BTreeMap<String, String>>,
    pub chunk_bytes: Option<ByteSize>,
    pub ttl: Option<Span>,
    pub delivery: Option<String>,
    pub recipient_delivery: Option<BTreeMap<String, String>>,
    pub poll: Option<Span>,
    pub settle: Option<Span>,
    pub queue_pause: Option<Span>,
    pub cache_memory: Option<ByteSize>,
    pub cache_disk: Option<ByteSize>,
    pub temporary_names: Option<Vec<String>>,
    pub outbox_new: Option<Vec<String>>,
    pub automatic_receipts: Option<bool>,
    pub history: Option<Span>,
    pub check_sent: Option<Span>,
    pub limit_upload: Option<ByteSize>,
    pub limit_download: Option<ByteSize>,
}

/// A list that may be written as a single string.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "OneOrManyText")]
pub(crate) struct OneOrMany(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum OneOrManyText {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrManyText> for OneOrMany {
    fn from(text: OneOrManyText) -> Self {
        match text {
            OneOrManyText::One(one) => Self(vec![one]),
            OneOrManyText::Many(many) => Self(many),
        }
    }
}

impl ConfigFile {
    /// Reads and parses the file; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or has an unknown setting.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, ConfigError> {
        let bytes = match durable::read_bounded(path, CONFIG_LEN_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        let text = String::from_utf8(bytes).map_err(|_source| ConfigError::Syntax {
            path: path.to_owned(),
            line: 1,
            reason: "not UTF-8".to_owned(),
        })?;
        Self::parse(&text, path).map(Some)
    }

    /// Parses the file's text; `path` is for the error only.
    ///
    /// # Errors
    /// Names the line and the reason.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            let setting = text.lines().nth(line - 1).and_then(|line| line.split_once('='));
            // Only some of the parser's messages name the setting.
            let reason = match setting {
                Some((name, _)) if !error.message().contains(name.trim()) => {
                    format!("{}: {}", name.trim(), error.message())
                }
                _ => error.message().to_owned(),
            };
            ConfigError::Syntax { path: path.to_owned(), line, reason }
        })
    }
}
