//! Hostile registries on a real socket: what they may do to us, and what never happens.

mod hostile;
mod listing;
mod login;
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
use crate::registry::RepositoryReference;
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
