//! The options of every verb.

use std::path::PathBuf;

use super::env;

/// What every verb takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every verb")]
pub(super) struct Global {
    /// Keep configuration, state and cache under DIR instead of the usual directories
    #[arg(long, global = true, value_name = "DIR", env = env::HOME, hide_env_values = true)]
    pub(super) home: Option<PathBuf>,
    /// Use this profile of config.toml; each has its own key, state and cache
    #[arg(long, global = true, value_name = "NAME", env = env::PROFILE, hide_env_values = true)]
    #[arg(default_value = crate::config::DEFAULT_PROFILE)]
    pub(super) profile: String,
    /// Print JSON, one object per line
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Increase verbosity (repeatable)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}
