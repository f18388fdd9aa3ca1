//! The registry: whether it answers, takes what we push, and deletes it.

use std::time::Duration;

use super::check::{Check, Outcome};
use crate::app::{self, Setup};
use crate::cli::failure::Failure;
use crate::protocol::{
    Descriptor, Digest, EMPTY_BYTES, ErrorClass, ImageManifest, Tag, media_type,
};
use crate::registry::{ManifestUpload, ReferrerEntry, RegistryError, Repository};
use crate::sys::backoff::Backoff;

/// How long the registry may take for the whole examination.
pub(super) const REGISTRY_TIMEOUT: Duration = Duration::from_mins(1);

/// Most attempts to see what was just pushed, and the pauses between them: a dozen seconds.
const LAG_ATTEMPT_COUNT_MAX: u32 = 6;
const LAG_BACKOFF: Backoff = Backoff::new(Duration::from_millis(400), Duration::from_secs(6));

/// The artifact type of what `--write` pushes.
const PROBE_TYPE: &str = "application/vnd.dockercomms.doctor.v1";

/// The hint for a registry that does not answer.
const UNREACHABLE_HINT: &str = "check the network, its proxy, and the registry's name in config.toml (`curl https://HOST/v2/`)";

/// Asks the registry; with `write` also whether it takes and deletes what is pushed.
pub(super) async fn checks(setup: &Setup, write: bool) -> Vec<Check> {
    let repository = match app::open_repository(&setup.settings) {
        Ok(repository) => repository,
        Err(error) => return vec![Check::failed("registry", error.into())],
    };
    let examined = examine(repository.as_ref(), write);
    tokio::time::timeout(REGISTRY_TIMEOUT, examined).await.unwrap_or_else(|_elapsed| {
        let check = Check::failed("registry", RegistryError::TimedOut.into());
        vec![check.hint(UNREACHABLE_HINT)]
    })
}

async fn examine(repository: &dyn Repository, write: bool) -> Vec<Check> {
    let reference = repository.reference();
    let mut checks = vec![match repository.probe().await {
        Ok(()) => Check::new("registry", Outcome::Ok, format!("{reference} answers")),
        Err(error) if error.class() == ErrorClass::NotFound => Check::new(
            "registry",
            Outcome::Ok,
            format!("{reference} does not exist yet; the first message creates it"),
        ),
        Err(error) => {
            let hint = match error.class() {
                // The class's own hint is to run this verb.
                ErrorClass::Unreachable | ErrorClass::TimedOut => Some(UNREACHABLE_HINT),
                _ => None,
            };
            let check = Check::failed("registry", Failure::from(error).about(reference));
            return vec![hint.into_iter().fold(check, Check::hint)];
        }
    }];
    if write {
        checks.extend(try_to_write(repository).await);
    } else {
        checks.push(Check::new("push", Outcome::Info, "not tried; `doctor --write` does"));
    }
    checks
}

/// Pushes a manifest like a receipt's and one that refers to it, under tags that no client reads,
/// and deletes them again.
async fn try_to_write(repository: &dyn Repository) -> Vec<Check> {
    let pushed = async {
        let empty = Digest::of(EMPTY_BYTES);
        repository.push_blob(&empty, EMPTY_BYTES.into()).await?;
        let subject = probe(None);
        let digest = repository.push_manifest(&subject).await?;
        let descriptor = Descriptor::of(media_type::IMAGE_MANIFEST, &subject.bytes);
        let referrer = repository.push_manifest(&probe(Some(descriptor))).await?;
        Ok::<_, RegistryError>((digest, referrer))
    };
    let (subject, referrer) = match pushed.await {
        Ok(digests) => digests,
        Err(error) => return vec![Check::failed("push", Failure::from(error))],
    };
    let push = Check::new("push", Outcome::Ok, "blobs, manifests and tags can be pushed");
    let referrers = match find_referrer(repository, &subject, &referrer).await {
        Ok(how) => Check::new("referrers", Outcome::Ok, how),
        Err(error) => Check::new(
            "referrers",
            Outcome::Warning,
            format!("manifests that refer to another one are not found ({error})"),
        )
        .hint("`cosign verify` will not find our signatures there; dockercomms does, by its tags"),
    };
    let deleted = async {
        for digest in [&referrer, &subject] {
            patiently(async || repository.delete_manifest(digest).await).await?;
        }
        repository.remove_referrer(&subject, &referrer).await
    };
    let delete = match deleted.await {
        Ok(()) => {
            Check::new("delete", Outcome::Ok, "manifests can be deleted: `recall` and `gc` work")
        }
        Err(error) => Check::new(
            "delete",
            Outcome::Info,
            format!("manifests cannot be deleted ({error}); two small ones remain"),
        )
        .hint(
            "`recall` and `gc` need it; docker-registry offers it with `storage.delete.enabled`, \
             elsewhere it is a permission of the account",
        ),
    };
    vec![push, referrers, delete]
}

/// Repeats a call while the registry denies what it has just confirmed, as some do for seconds.
async fn patiently<T>(
    mut call: impl AsyncFnMut() -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    for attempt in 1..LAG_ATTEMPT_COUNT_MAX {
        match call().await {
            Err(RegistryError::NotFound { .. }) => {
                tokio::time::sleep(LAG_BACKOFF.random_pause(attempt, None)).await;
            }
            result => return result,
        }
    }
    call().await
}

/// Makes a manifest that was never pushed before: an existing digest would prove nothing.
fn probe(subject: Option<Descriptor>) -> ManifestUpload {
    let probe = uuid::Uuid::new_v4().simple().to_string();
    let tag: Option<Tag> = format!("doctor-{probe}").parse().ok();
    let referrer = subject.as_ref().map(|subject| ReferrerEntry {
        subject: subject.digest,
        artifact_type: PROBE_TYPE.to_owned(),
    });
    let manifest = ImageManifest {
        artifact_type: Some(PROBE_TYPE.to_owned()),
        config: Descriptor::empty(),
        layers: vec![Descriptor::empty()],
        subject,
        annotations: [("dockercomms.x.probe".to_owned(), probe)].into(),
    };
    let bytes = manifest.encode().into();
    ManifestUpload { bytes, media_type: media_type::IMAGE_MANIFEST, tag, referrer }
}

/// Returns how the registry finds manifests that refer to another one.
async fn find_referrer(
    repository: &dyn Repository,
    subject: &Digest,
    referrer: &Digest,
) -> Result<&'static str, RegistryError> {
    patiently(async || {
        let found = repository.list_referrers(subject).await?;
        if found.iter().any(|entry| entry.digest == *referrer) {
            return Ok(());
        }
        Err(RegistryError::NotFound { what: "the entry that was pushed".to_owned() })
    })
    .await?;
    match repository.resolve_tag(&Tag::referrers(subject)).await? {
        Some(_) => Ok("no referrers API; the fallback tag `sha256-...` is used instead"),
        None => Ok("the registry has the referrers API"),
    }
}
