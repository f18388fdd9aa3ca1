//! cosign, oras, skopeo and real registries, in both directions.
