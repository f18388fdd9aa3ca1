//! Hostile registries on a real socket: what they may do to us, and what never happens.

mod hostile;
mod listing;
mod login;
mod presence;
mod referrers;
mod server;
mod transfer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Credential, CredentialError, CredentialSource, Deadlines, RemoteOptions, RemoteRepository,
    Secret,
};
use crate::registry::{RegistryError, RepositoryReference};
use server::{Reply, Seen, Server};

/// Always the same login, or none.
struct Login(Option<(&'static str, &'static str)>);

#[async_trait]
impl CredentialSource for Login {
    async fn lookup(
        &self,
        _host: &str,
        _repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        Ok(self.0.map(|(username, password)| Credential::Password {
            username: username.into(),
            password: Secret::new(password.into()),
        }))
    }
}

fn anonymous() -> RemoteOptions {
    RemoteOptions { credentials: Arc::new(Login(None)), ..RemoteOptions::default() }
}

fn logged_in() -> RemoteOptions {
    RemoteOptions { credentials: Arc::new(Login(Some(("me", "hunter2")))), ..anonymous() }
}

/// Deadlines that end a test soon.
fn hasty() -> RemoteOptions {
    let short = Duration::from_millis(100);
    let deadlines = Deadlines {
        connect: Duration::from_secs(5),
        first_byte: short,
        idle: short,
        rate_window: short,
        metadata: Duration::from_millis(400),
    };
    RemoteOptions { deadlines, ..anonymous() }
}

fn open(server: &Server, options: &RemoteOptions) -> RemoteRepository {
    let reference: RepositoryReference = format!("{}/team/mail", server.address).parse().unwrap();
    RemoteRepository::open(&reference, options).unwrap()
}

/// P27.
#[test]
fn plain_http_is_spoken_to_this_machine_or_when_the_user_says_so() {
    let insecure = RemoteOptions { insecure: true, ..anonymous() };
    let loopback_tls = RemoteOptions { loopback_tls: true, ..anonymous() };
    for (name, options, expected) in [
        ("localhost:5000/x", &anonymous(), "http://localhost:5000/v2/x/"),
        ("[::1]:5000/x", &anonymous(), "http://[::1]:5000/v2/x/"),
        ("localhost/x", &loopback_tls, "https://localhost/v2/x/"),
        ("registry:5000/x", &anonymous(), "https://registry:5000/v2/x/"),
        ("registry:5000/x", &insecure, "http://registry:5000/v2/x/"),
        ("10.0.0.1:80/x", &anonymous(), "https://10.0.0.1:80/v2/x/"),
        ("docker.io/me/x", &anonymous(), "https://registry-1.docker.io/v2/me/x/"),
    ] {
        let reference: RepositoryReference = name.parse().unwrap();

        let repository = RemoteRepository::open(&reference, options).unwrap();

        assert_eq!(repository.client.base().as_str(), expected, "{name}");
    }
}

#[test]
fn a_ca_file_that_is_none_is_a_mistake_of_the_configuration() {
    let reference: RepositoryReference = "registry.example/x".parse().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().to_owned(), "/does/not/exist".into()] {
        let options = RemoteOptions { ca_file: Some(path), ..anonymous() };

        let opened = RemoteRepository::open(&reference, &options);

        assert!(matches!(opened, Err(RegistryError::Configuration(_))));
    }
}
