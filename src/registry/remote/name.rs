//! The name of a repository in a registry: `host[:port]/path`.
//!
//! The grammar is oci-client's `Reference`. Nothing else of oci-client is used: its transfers have
//! no bounds and no deadlines, and its passwords go to any realm.

use std::net::Ipv6Addr;

use oci_client::Reference;

/// Splits a remote name into the registry's host (with its port) and the repository.
///
/// The host must be spelled out: a bare `me/files` would silently mean Docker Hub.
///
/// # Errors
/// A sentence for the user.
pub(in crate::registry) fn parse_remote_name(name: &str) -> Result<(String, String), &'static str> {
    let (host, path) = name.split_once('/').ok_or("name a repository, as in host/repository")?;
    if name.contains('@') || path.contains(':') {
        return Err("leave out the tag or digest, and any credentials");
    }
    let (bare, port) = split_port(host);
    if port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
        return Err("the port is not a number from 1 to 65535");
    }
    let is_ipv6 = bare.starts_with('[');
    if is_ipv6 {
        ipv6(bare).ok_or("the host is not an IPv6 address in brackets")?;
    } else if !bare.contains('.') && port.is_none() && bare != "localhost" {
        return Err("name the registry's host first, as in docker.io/me/files");
    }
    // The grammar has no IPv6 literals, so the path is checked under another host.
    let checked_host = if is_ipv6 { "localhost" } else { host };
    let reference = Reference::try_from(format!("{checked_host}/{path}"))
        .map_err(|_source| "not a valid host/repository name (lower case, no empty parts)")?;
    let host = if is_ipv6 { host } else { reference.registry() };
    Ok((host.to_owned(), reference.repository().to_owned()))
}

/// Returns whether `host`, with or without a port, names this machine.
///
/// Only `localhost`, 127.0.0.0/8 and `::1` do; no other name is assumed to (P27).
pub(in crate::registry) fn is_loopback_host(host: &str) -> bool {
    let (bare, _port) = split_port(host);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || ipv6(bare).is_some_and(|address| address.is_loopback())
}

fn ipv6(bracketed: &str) -> Option<Ipv6Addr> {
    bracketed.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((bare, port)) if !port.ends_with(']') => (bare, Some(port)),
        _ => (host, None),
    }
}
