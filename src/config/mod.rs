//! Settings: flags over environment over `config.toml` over defaults.
//!
//! It reads one bounded file and decides; it opens no store, key or connection. Layers below never
//! see these types: `app` translates them into each layer's own small options. Start at
//! [`Settings::resolve`]; the file's shape is in [`ProfileFile`] and its text in `template`.

mod error;
mod file;
mod places;
mod template;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use error::ConfigError;
pub(crate) use file::{ConfigFile, ProfileFile};
pub(crate) use places::{DEFAULT_PROFILE, HomeVariables, Places};
pub(crate) use template::render_profile;
pub(crate) use value::{ByteSize, Span};

use crate::cache::CacheLimits;
use crate::mailbox::{
    CHECK_SENT_DEFAULT, Delivery, HISTORY_DEFAULT, POLL_DEFAULT, QUEUE_PAUSE_DEFAULT,
    SETTLE_DEFAULT, TEMPORARY_NAMES,
};
use crate::protocol::limits::{
    CHUNK_BYTES_DEFAULT, CHUNK_BYTES_MAX, TTL_SECS_DEFAULT, TTL_SECS_MAX,
};
use crate::protocol::{Compression, Identity, address_inside, check_address};
use crate::registry::RepositoryReference;

/// Smallest configurable chunk: smaller ones cost more in requests than in bytes.
pub(crate) const CHUNK_BYTES_MIN: u64 = 64 << 10;

/// Lowest limit of a transfer in bytes per second; eight transfers that share less would be
/// aborted as too slow.
const RATE_MIN: u64 = 64 << 10;

/// Shortest time between two polls; a typing error must not become an attack on the registry.
const POLL_MIN: Duration = Duration::from_millis(200);

/// Shortest first pause of the queue; it doubles, so that nothing is asked in a loop.
const QUEUE_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Shortest history: what went wrong today must still be visible tomorrow.
const HISTORY_MIN: Duration = Duration::from_hours(24);

/// Shortest time until a sent message is looked for: times are whole seconds here.
const CHECK_SENT_MIN: Duration = Duration::from_secs(1);

/// Longest configurable time.
const DURATION_MAX: Duration = Duration::from_secs(TTL_SECS_MAX);

/// The values of flags and the environment; each wins over the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    /// `--me` or `DOCKERCOMMS_ME`.
    pub me: Option<String>,
    /// `--any-name`: `me` need not be an address.
    pub any_name: bool,
    /// `--registry` or `DOCKERCOMMS_REGISTRY`.
    pub registry: Option<String>,
    /// `--poll`.
    pub poll: Option<Span>,
    /// `--delivery`.
    pub delivery: Option<String>,
    /// `--compression`.
    pub compression: Option<Compression>,
    /// `--chunk-bytes`.
    pub chunk_bytes: Option<ByteSize>,
    /// `--ttl`.
    pub ttl: Option<Span>,
    /// `--limit-upload`.
    pub limit_upload: Option<ByteSize>,
    /// `--limit-download`.
    pub limit_download: Option<ByteSize>,
}

/// Every setting of one profile, resolved and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// My identities; the first one signs. Never empty.
    pub me: Vec<Identity>,
    /// The registry reference as written.
    pub registry: String,
    /// Whether plain HTTP is allowed elsewhere than on loopback (P27).
    pub insecure: bool,
    /// Whether TLS is used with a registry on this machine.
    pub loopback_tls: bool,
    /// Certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Other hosts that may receive our registry credentials.
    pub auth_realms: Vec<String>,
    /// Longest time for one operation on the registry, including retries.
    pub deadline: Duration,
    /// How chunks are compressed, unless the recipient has an entry of its own.
    pub compression: Compression,
    /// Compression by recipient.
    pub recipient_compression: BTreeMap<Identity, Compression>,
    /// Uncompressed bytes of a chunk.
    pub chunk_bytes: u64,
    /// Time to live of a message; 0 = permanent.
    pub ttl_secs: u64,
    /// What a close in the outbox waits for, unless the recipient has an entry of its own.
    pub delivery: Delivery,
    /// The same by recipient.
    pub recipient_delivery: BTreeMap<Identity, Delivery>,
    /// Time between two polls.
    pub poll: Duration,
    /// Time after the last close in which a rename still belongs to the same file.
    pub settle: Duration,
    /// Pause after the first failed attempt of the queue; it doubles with each.
    pub queue_pause: Duration,
    /// Verified chunks kept in memory, in bytes.
    pub cache_memory: u64,
    /// Verified chunks kept on disk, in bytes.
    pub cache_disk: u64,
    /// Names that stay local.
    pub temporary_names: Vec<String>,
    /// Names that may become recipients although they are neither known nor addresses.
    pub outbox_new: Vec<String>,
    /// Whether `accepted` receipts are sent automatically.
    pub automatic_receipts: bool,
    /// How long `gc` keeps entries that are over in the lists of this machine.
    pub history: Duration,
    /// How long after it was sent a message without a receipt is first looked for; 0 = never.
    pub check_sent: Duration,
    /// Most bytes per second to a remote registry; 0 = no limit.
    pub limit_upload: u64,
    /// Most bytes per second from a remote registry; 0 = no limit.
    pub limit_download: u64,
}

impl Settings {
    /// Merges flags, environment, file and defaults, in this order of precedence.
    ///
    /// # Errors
    /// Names the first setting that cannot be used.
    pub(crate) fn resolve(
        overrides: &Overrides,
        file: &ProfileFile,
        places: &Places,
        default_me: Option<Identity>,
    ) -> Result<Self, ConfigError> {
        let cache = CacheLimits::default();
        let ttl = overrides.ttl.or(file.ttl).map_or(TTL_SECS_DEFAULT, |ttl| ttl.0.as_secs());
        if ttl > TTL_SECS_MAX {
            return Err(ConfigError::setting("ttl", "longer than ten years"));
        }
        Ok(Self {
            me: identities(overrides, file, default_me)?,
            registry: registry(overrides.registry.as_deref(), file.registry.as_deref(), places)?,
            insecure: file.insecure.unwrap_or(false),
            loopback_tls: file.loopback_tls.unwrap_or(false),
            ca_file: file.ca_file.clone(),
            auth_realms: file.auth_realms.clone().unwrap_or_default(),
            deadline: duration("deadline", file.deadline, Duration::from_mins(1), POLL_MIN)?,
            compression: match (overrides.compression, file.compression.as_deref()) {
                (Some(flag), _) => flag,
                (None, Some(text)) => compression("compression", text)?,
                (None, None) => Compression::Zstd,
            },
            recipient_compression: match overrides.compression {
                // A flag is about this particular send and so wins over the table too.
                Some(_) => BTreeMap::new(),
                None => by_recipient(
                    "recipient_compression",
                    file.recipient_compression.as_ref(),
                    compression,
                )?,
            },
            chunk_bytes: chunk_bytes(overrides.chunk_bytes.or(file.chunk_bytes))?,
            ttl_secs: ttl,
            delivery: match overrides.delivery.as_deref().or(file.delivery.as_deref()) {
                Some(text) => delivery("delivery", text)?,
                None => Delivery::default(),
            },
            recipient_delivery: match overrides.delivery {
                // As with compression: a flag is about this particular mount.
                Some(_) => BTreeMap::new(),
                None => {
                    by_recipient("recipient_delivery", file.recipient_delivery.as_ref(), delivery)?
                }
            },
            poll: duration("poll", overrides.poll.or(file.poll), POLL_DEFAULT, POLL_MIN)?,
            settle: duration("settle", file.settle, SETTLE_DEFAULT, Duration::ZERO)?,
            queue_pause: duration(
                "queue_pause",
                file.queue_pause,
                QUEUE_PAUSE_DEFAULT,
                QUEUE_PAUSE_MIN,
            )?,
            cache_memory: file.cache_memory.map_or(cache.memory_bytes, |size| size.0),
            cache_disk: file.cache_disk.map_or(cache.disk_bytes, |size| size.0),
            temporary_names: file
                .temporary_names
                .clone()
                .unwrap_or_else(|| TEMPORARY_NAMES.iter().map(|&name| name.to_owned()).collect()),
            outbox_new: file.outbox_new.clone().unwrap_or_default(),
            automatic_receipts: file.automatic_receipts.unwrap_or(true),
            history: duration("history", file.history, HISTORY_DEFAULT, HISTORY_MIN)?,
            check_sent: match file.check_sent {
                Some(Span(Duration::ZERO)) => Duration::ZERO,
                given => duration("check_sent", given, CHECK_SENT_DEFAULT, CHECK_SENT_MIN)?,
            },
            limit_upload: rate("limit_upload", overrides.limit_upload.or(file.limit_upload))?,
            limit_download: rate(
                "limit_download",
                overrides.limit_download.or(file.limit_download),
            )?,
        })
    }
}

fn registry(
    flag: Option<&str>,
    file: Option<&str>,
    places: &Places,
) -> Result<String, ConfigError> {
    let reference = match (flag, file) {
        (Some(flag), _) => absolute_reference(flag)?,
        // The file is read from many working directories and must mean the same in each.
        (None, Some(file)) if absolute_reference(file)? != file => {
            return Err(ConfigError::setting(
                "registry",
                "write the directory as an absolute path",
            ));
        }
        (None, Some(file)) => file.to_owned(),
        (None, None) => match places.repository_dir().to_str() {
            Some(dir) => format!("oci:{dir}"),
            // Its lossy text would name another directory.
            None => {
                return Err(ConfigError::setting(
                    "registry",
                    "name one, since the default is not UTF-8",
                ));
            }
        },
    };
    // Before it is written to a file: it may have a typo, or contain a password.
    let checked: Result<RepositoryReference, _> = reference.parse();
    match checked {
        Ok(_) => Ok(reference),
        Err(error) => Err(ConfigError::setting("registry", error.to_string())),
    }
}

/// Makes the directory of an `oci:` reference independent of the working directory.
///
/// # Errors
/// When the working directory is needed and gone.
pub(crate) fn absolute_reference(reference: &str) -> Result<String, ConfigError> {
    let Some(path) = reference.strip_prefix("oci:").filter(|path| !path.is_empty()) else {
        return Ok(reference.to_owned());
    };
    let absolute = std::path::absolute(path)
        .map_err(|error| ConfigError::setting("registry", error.to_string()))?;
    Ok(format!("oci:{}", absolute.display()))
}

fn identities(
    overrides: &Overrides,
    file: &ProfileFile,
    default_me: Option<Identity>,
) -> Result<Vec<Identity>, ConfigError> {
    let texts: Vec<String> = match (&overrides.me, &file.me) {
        (Some(one), configured) => {
            let is_configured = configured.as_ref().is_some_and(|many| many.0.contains(one));
            // Others have configured a name of another form, or wanted it so.
            if !is_configured && !overrides.any_name {
                check_my_name(one)?;
            }
            vec![one.clone()]
        }
        (None, Some(many)) => many.0.clone(),
        (None, None) => return default_me.map(|me| vec![me]).ok_or(ConfigError::NoIdentity),
    };
    if texts.is_empty() {
        return Err(ConfigError::setting("me", "the list is empty"));
    }
    texts
        .iter()
        .map(|text| {
            text.parse().map_err(|error: crate::protocol::ProtocolError| {
                ConfigError::setting("me", error.to_string())
            })
        })
        .collect()
}

/// Refuses a name that others could not write to before they have the card.
fn check_my_name(name: &str) -> Result<(), ConfigError> {
    check_address(name).map_err(|problem| ConfigError::NotAnAddress {
        name: name.to_owned(),
        problem,
        meant: address_inside(name),
    })
}

fn delivery(setting: &'static str, text: &str) -> Result<Delivery, ConfigError> {
    [Delivery::Sync, Delivery::Queued]
        .into_iter()
        .find(|delivery| delivery.as_str() == text)
        .ok_or_else(|| ConfigError::setting(setting, "only sync and queued are supported"))
}

fn compression(setting: &'static str, text: &str) -> Result<Compression, ConfigError> {
    text.parse()
        .map_err(|_source| ConfigError::setting(setting, "only zstd and gzip are supported"))
}

/// Reads a table of recipients, each value with `read`.
fn by_recipient<T>(
    setting: &'static str,
    table: Option<&BTreeMap<String, String>>,
    read: impl Fn(&'static str, &str) -> Result<T, ConfigError>,
) -> Result<BTreeMap<Identity, T>, ConfigError> {
    table
        .into_iter()
        .flatten()
        .map(|(recipient, text)| {
            let recipient =
                recipient.parse().map_err(|error: crate::protocol::ProtocolError| {
                    ConfigError::setting(setting, error.to_string())
                })?;
            Ok((recipient, read(setting, text)?))
        })
        .collect()
}

fn chunk_bytes(size: Option<ByteSize>) -> Result<u64, ConfigError> {
    let bytes = size.map_or(CHUNK_BYTES_DEFAULT, |size| size.0);
    if (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&bytes) {
        return Ok(bytes);
    }
    Err(ConfigError::setting(
        "chunk_bytes",
        format!("must be {} to {}", ByteSize(CHUNK_BYTES_MIN), ByteSize(CHUNK_BYTES_MAX)),
    ))
}

fn rate(setting: &'static str, size: Option<ByteSize>) -> Result<u64, ConfigError> {
    match size {
        None | Some(ByteSize(0)) => Ok(0),
        Some(ByteSize(bytes)) if bytes >= RATE_MIN => Ok(bytes),
        Some(_) => {
            let least = ByteSize(RATE_MIN);
            Err(ConfigError::setting(setting, format!("must be {least} or more, or 0")))
        }
    }
}

fn duration(
    setting: &'static str,
    given: Option<Span>,
    default: Duration,
    least: Duration,
) -> Result<Duration, ConfigError> {
    let duration = given.map_or(default, |span| span.0);
    if (least..=DURATION_MAX).contains(&duration) {
        return Ok(duration);
    }
    Err(ConfigError::setting(setting, format!("must be {} to ten years", Span(least))))
}

#[cfg(test)]
mod tests;
