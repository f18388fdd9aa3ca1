//! Every variable of the environment that the program reads, in one place.
//!
//! | variable | meaning |
//! |---|---|
//! | `DOCKERCOMMS_HOME` | as `--home` |
//! | `DOCKERCOMMS_PROFILE` | as `--profile` |
//! | `DOCKERCOMMS_ME`, `DOCKERCOMMS_REGISTRY` | as `--me` (an address, or a name that is configured) and `--registry`, for every verb |
//! | `HOME`, `XDG_CONFIG_HOME`, `XDG_STATE_HOME`, `XDG_CACHE_HOME`, `XDG_DATA_HOME` | where files are |
//! | `NO_COLOR`, `TERM` | no colours when set, or when `dumb` |
//! | `NOTIFY_SOCKET` | systemd's, notified when a mount is ready |
//! | `PATH` | where `fusermount3` and, for `doctor`, `cosign` are |
//!
//! `registry` also finds the files of `docker login` and `podman login` (`DOCKER_CONFIG`,
//! `REGISTRY_AUTH_FILE`, `XDG_RUNTIME_DIR`).

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::HomeVariables;

/// As `--home`.
pub(crate) const HOME: &str = "DOCKERCOMMS_HOME";
/// As `--profile`.
pub(crate) const PROFILE: &str = "DOCKERCOMMS_PROFILE";
/// As `--me`.
pub(crate) const ME: &str = "DOCKERCOMMS_ME";
/// As `--registry`.
pub(crate) const REGISTRY: &str = "DOCKERCOMMS_REGISTRY";

/// Returns what decides where files are; `home` is the value of `--home` or its variable.
pub(crate) fn home_variables(home: Option<PathBuf>) -> HomeVariables {
    HomeVariables {
        dockercomms_home: home.filter(|path| !path.as_os_str().is_empty()),
        home: path("HOME"),
        xdg_config: path("XDG_CONFIG_HOME"),
        xdg_state: path("XDG_STATE_HOME"),
        xdg_cache: path("XDG_CACHE_HOME"),
        xdg_data: path("XDG_DATA_HOME"),
    }
}

/// Returns the text of a variable that is set, not empty and UTF-8.
pub(crate) fn text(name: &str) -> Option<String> {
    value(name).and_then(|value| value.into_string().ok())
}

/// Returns whether colours are unwanted everywhere.
pub(crate) fn no_color() -> bool {
    value("NO_COLOR").is_some() || value("TERM").is_some_and(|term| term == "dumb")
}

/// Returns systemd's socket.
pub(crate) fn notify_socket() -> Option<OsString> {
    value("NOTIFY_SOCKET")
}

/// Returns the directories of `PATH`.
pub(crate) fn search_path() -> Vec<PathBuf> {
    value("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

fn path(name: &str) -> Option<PathBuf> {
    value(name).map(PathBuf::from)
}

fn value(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
