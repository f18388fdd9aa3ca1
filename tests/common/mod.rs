//! Fixtures: homes, mounts, registries, waiting with a deadline.
