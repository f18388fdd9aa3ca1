//! A registry reference becomes a repository.

use std::sync::Arc;

use super::AppError;
use crate::config::Settings;
use crate::registry::{LayoutRepository, Repository};

/// Opens the repository that the settings name; no network.
///
/// # Errors
/// When the reference or the certificates cannot be used.
pub fn open_repository(settings: &Settings) -> Result<Arc<dyn Repository>, AppError> {
    Ok(Arc::new(LayoutRepository::new(settings.registry.trim_start_matches("oci:"))))
}
