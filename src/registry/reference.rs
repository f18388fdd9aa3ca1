//! How a repository is named in the configuration and on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::RegistryError;
use super::remote::{is_loopback_host, parse_remote_name};
use crate::sys::Untrusted;

/// A repository as containers-transports(5) writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RepositoryReference {
    /// `oci:/path` or `oci:relative/path`: an image-layout directory.
    Layout(PathBuf),
    /// `docker://host/repository`, or without the scheme.
    Remote {
        /// The registry's host, with its port when one was given.
        host: String,
        /// The repository's name in the registry.
        repository: String,
    },
}

impl RepositoryReference {
    /// Returns whether it is a registry on this machine, by name or by address literal.
    ///
    /// Such a registry may be used without TLS (P27): the traffic stays on this machine.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Layout(_) => false,
            Self::Remote { host, .. } => is_loopback_host(host),
        }
    }
}

impl FromStr for RepositoryReference {
    type Err = RegistryError;

    /// Parses a reference to a whole repository; a tag or digest in it is refused, since this
    /// program chooses the tags.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason: &str| {
            let text = without_credentials(text);
            let shown = Untrusted(&text);
            Err(RegistryError::Configuration(format!("repository `{shown}`: {reason}")))
        };
        if let Some(path) = text.strip_prefix("oci:") {
            if path.is_empty() || path.contains('\0') {
                return wrong("name a directory, as in oci:/srv/mail");
            }
            if path.contains(':') {
                return wrong("leave out the tag: a path after oci: cannot have a colon");
            }
            return Ok(Self::Layout(PathBuf::from(path)));
        }
        let name = text.strip_prefix("docker://").unwrap_or(text);
        if name.contains("://") {
            return wrong("leave out the scheme, or use oci: or docker://");
        }
        if name.starts_with(['/', '.', '~']) {
            return wrong("write a directory as oci:/path");
        }
        match parse_remote_name(name) {
            Ok((host, repository)) => Ok(Self::Remote { host, repository }),
            Err(reason) => wrong(reason),
        }
    }
}

/// Returns a refused reference for display, without what may be a password.
fn without_credentials(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    // The `@` of a digest comes after the first slash; a password may contain both.
    let secret_end = match (rest.rfind('@'), rest.find('@')) {
        (Some(_), Some(first)) if rest.find('/').is_some_and(|slash| slash < first) => None,
        (last, _) => last,
    };
    match secret_end {
        Some(at) => format!("{scheme}***{}", rest.get(at..).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl fmt::Display for RepositoryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(path) => write!(f, "oci:{}", path.display()),
            Self::Remote { host, repository } => write!(f, "docker://{host}/{repository}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(host: &str, repository: &str) -> RepositoryReference {
        RepositoryReference::Remote { host: host.into(), repository: repository.into() }
    }

    #[test]
    fn every_form_of_a_reference_is_read_and_shown_again() {
        let cases = [
            ("oci:/srv/mail", RepositoryReference::Layout("/srv/mail".into()), "oci:/srv/mail"),
            ("oci:mail", RepositoryReference::Layout("mail".into()), "oci:mail"),
            ("docker://ghcr.io/me/x", remote("ghcr.io", "me/x"), "docker://ghcr.io/me/x"),
            ("ghcr.io/me/x_y.z", remote("ghcr.io", "me/x_y.z"), "docker://ghcr.io/me/x_y.z"),
            ("localhost/x", remote("localhost", "x"), "docker://localhost/x"),
            ("host:5000/x", remote("host:5000", "x"), "docker://host:5000/x"),
            ("[::1]:5000/x", remote("[::1]:5000", "x"), "docker://[::1]:5000/x"),
            ("docker.io/me/x", remote("docker.io", "me/x"), "docker://docker.io/me/x"),
        ];

        for (text, expected, shown) in cases {
            let parsed: RepositoryReference = text.parse().unwrap();

            assert_eq!(parsed, expected, "{text}");
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(parsed.to_string().parse::<RepositoryReference>().unwrap(), expected);
        }
    }

    #[test]
    fn tags_digests_schemes_and_bad_names_are_refused() {
        let digest = format!("ghcr.io/me/x@sha256:{}", "0".repeat(64));
        for text in [
            "",
            "oci:",
            "oci:/srv/mail:latest",
            "ghcr.io",
            "ghcr.io/",
            "ghcr.io/me/x:latest",
            "host:5000/x:1",
            &digest,
            "https://ghcr.io/me/x",
            "docker://docker://ghcr.io/x",
            "/srv/mail",
            "./mail",
            "ghcr.io/Me/x",
            "ghcr.io/me//x",
            "ghcr.io/../x",
            "ghcr.io/me/x?y=z",
            "user:secret@ghcr.io/me/x",
            "ghcr.io:99999/x",
            "[::1/x",
            "[evil]:1/x",
            "me/files",
            "ghcr.io/me/x\n",
        ] {
            let parsed = text.parse::<RepositoryReference>();

            assert!(matches!(parsed, Err(RegistryError::Configuration(_))), "{text}: {parsed:?}");
        }
    }

    #[test]
    fn a_password_is_not_repeated_in_the_error() {
        for text in ["docker://me:secret@ghcr.io/x", "me:secret@ghcr.io/x", "https://me:secret@h/x"]
        {
            let error = text.parse::<RepositoryReference>().unwrap_err().to_string();

            assert!(!error.contains("secret") && error.contains("***@"), "{error}");
        }
        let digest = "ghcr.io/x@sha256:00".parse::<RepositoryReference>().unwrap_err().to_string();
        assert!(digest.contains("`ghcr.io/x@sha256:00`"), "{digest}");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (text, expected) in [
            ("localhost:5000/x", true),
            ("127.0.0.1:5000/x", true),
            ("127.9.9.9/x", true),
            ("[::1]:5000/x", true),
            ("localhost.example.org/x", false),
            ("10.0.0.1:5000/x", false),
            ("registry:5000/x", false),
            ("oci:/localhost/x", false),
        ] {
            let parsed: RepositoryReference = text.parse().unwrap();

            assert_eq!(parsed.is_loopback(), expected, "{text}");
        }
    }
}
