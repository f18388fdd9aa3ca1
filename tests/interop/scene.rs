//! Alice and bob on a registry, and scripts of stock tools beside them.

use std::path::Path;

use serde_json::Value;

use crate::common::{BOB, Home, Ran, Registry, alice_and_bob, run, write};

/// Two homes on one registry; everything in `alice.dir()` is at hand for scripts.
pub(super) struct Scene {
    pub(super) alice: Home,
    pub(super) bob: Home,
    /// `host:port/name`, as stock tools write it.
    pub(super) repository: String,
    _registry: Registry,
}

/// A message in the registry.
pub(super) struct Posted {
    pub(super) digest: String,
    pub(super) tag: String,
}

impl Scene {
    /// Makes the homes; alice's public key is in `alice.pub`, bob's in `bob.pub`.
    #[track_caller]
    pub(super) fn on(registry: Registry) -> Self {
        let (alice, bob) = alice_and_bob(&registry.reference("mail"));
        for (home, file) in [(&alice, "alice.pub"), (&bob, "bob.pub")] {
            write(alice.dir().join(file), home.run(["key", "show", "--pem"]).ok());
        }
        let repository = format!("{}/mail", registry.address());
        Self { alice, bob, repository, _registry: registry }
    }

    /// Sends a file through a mount, as `cp` does, and waits until it is sent.
    #[track_caller]
    pub(super) fn post(&self, name: &str, bytes: &[u8]) -> Posted {
        let source = write(self.alice.dir().join(name), bytes);
        let mut mount = self.alice.mount();
        let path = mount.outbox(BOB).join(name);
        run(crate::common::shell("cp \"$1\" \"$2\"", &[source.as_path(), &path])).ok();
        mount.wait_for_state(&path, "sent");
        let digest = mount.attribute(&path, "digest").unwrap();
        mount.unmount();
        let tags = self.sh("crane ls $REPO");
        let tag = tags.lines().find(|tag| {
            tag.starts_with("inbox-")
                && self.sh(&format!("crane digest $REPO:{tag}")).trim() == digest
        });
        Posted { digest, tag: tag.unwrap().to_owned() }
    }

    /// Runs a script of stock tools in alice's directory, with the repository as `$REPO`.
    #[track_caller]
    pub(super) fn try_sh(&self, script: &str) -> Ran {
        try_sh(self.alice.dir(), &self.repository, script)
    }

    /// As [`Self::try_sh`]; it must succeed. Returns what it printed.
    #[track_caller]
    pub(super) fn sh(&self, script: &str) -> String {
        self.try_sh(script).ok()
    }

    /// As [`Self::sh`], for scripts that print JSON.
    #[track_caller]
    pub(super) fn json(&self, script: &str) -> Value {
        let text = self.sh(script);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// Runs a script of stock tools in `dir`, with `repository` as `$REPO`.
#[track_caller]
pub(super) fn try_sh(dir: &Path, repository: &str, script: &str) -> Ran {
    let mut command = crate::common::shell::<&Path>(&format!("set -e; {script}"), &[]);
    command.env("REPO", repository).env("HOME", dir).env("COSIGN_PASSWORD", "").current_dir(dir);
    // cosign looks for news about the public roots, which no test must depend on.
    command.env("HTTPS_PROXY", "http://127.0.0.1:9");
    run(command)
}

/// Returns whether all stock tools are here; as `tool` when one is missing.
#[track_caller]
pub(super) fn have_tools() -> bool {
    ["cosign", "oras", "crane", "skopeo"].iter().all(|name| crate::common::tool(name).is_some())
}
