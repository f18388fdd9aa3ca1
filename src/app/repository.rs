//! Turns a registry reference into a repository.

use std::sync::Arc;
use std::time::Duration;

use super::AppError;
use crate::config::Settings;
use crate::registry::remote::Deadlines;
use crate::registry::{
    LayoutRepository, RemoteOptions, RemoteRepository, Repository, RepositoryReference,
    RetryPolicy, RetryRepository,
};

/// Opens the repository that the settings name; no network.
///
/// # Errors
/// When the reference or the certificates cannot be used.
pub(crate) fn open_repository(settings: &Settings) -> Result<Arc<dyn Repository>, AppError> {
    let reference: RepositoryReference = settings.registry.parse()?;
    let repository: Arc<dyn Repository> = match &reference {
        RepositoryReference::Layout(path) => Arc::new(LayoutRepository::new(path)),
        RepositoryReference::Remote { .. } => {
            let options = RemoteOptions {
                insecure: settings.insecure,
                loopback_tls: settings.loopback_tls,
                ca_file: settings.ca_file.clone(),
                auth_realms: settings.auth_realms.clone(),
                deadlines: deadlines(settings.deadline),
                upload_bytes_per_sec: settings.limit_upload,
                download_bytes_per_sec: settings.limit_download,
                ..RemoteOptions::default()
            };
            let remote = RemoteRepository::open(&reference, &options)?;
            let policy = RetryPolicy { deadline: settings.deadline, ..RetryPolicy::default() };
            Arc::new(RetryRepository::new(Arc::new(remote), policy))
        }
    };
    Ok(repository)
}

/// Returns how long to wait for each part of a call, none longer than for the whole.
///
/// A call that transfers a blob has no deadline as long as the blob moves, so these bound it.
fn deadlines(whole: Duration) -> Deadlines {
    let usual = Deadlines::default();
    Deadlines {
        connect: usual.connect.min(whole),
        first_byte: usual.first_byte.min(whole),
        idle: usual.idle.min(whole),
        rate_window: usual.rate_window.min(whole),
        metadata: usual.metadata.min(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HomeVariables, Overrides, Places, ProfileFile};

    fn settings(registry: &str) -> Settings {
        let dockercomms_home = Some("/h".into());
        let variables = HomeVariables { dockercomms_home, ..HomeVariables::default() };
        let places = Places::find(&variables, "default").unwrap();
        let overrides = Overrides { registry: Some(registry.to_owned()), ..Overrides::default() };
        let me = "alice@x".parse().ok();
        Settings::resolve(&overrides, &ProfileFile::default(), &places, me).unwrap()
    }

    #[test]
    fn both_kinds_of_references_open_without_network() {
        for (given, shown) in [
            ("oci:/srv/mail", "oci:/srv/mail"),
            ("docker://registry.invalid/mail", "docker://registry.invalid/mail"),
            ("registry.invalid:5000/mail", "docker://registry.invalid:5000/mail"),
        ] {
            assert_eq!(open_repository(&settings(given)).unwrap().reference(), shown);
        }
    }
}
