//! Where a request may go, and which hosts may see a secret: pure decisions about URLs.

use std::net::{IpAddr, Ipv6Addr};

use reqwest::Url;

use super::name::is_loopback_host;

/// Why an address that a registry gave is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadTarget {
    #[error("an address is not a URL")]
    NotUrl,
    #[error("an address is neither http nor https")]
    Scheme,
    #[error("an address carries credentials")]
    UserInfo,
    #[error("an address leads from https to http")]
    Downgrade,
    #[error("an address leads to this machine or its local link")]
    Internal,
    #[error("an address leads to another host")]
    OtherHost,
}

/// Returns whether two URLs have the same scheme, host and port.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Resolves what a registry at `registry` returned from `current`: a redirect or an upload
/// location.
///
/// A registry behind a TLS proxy often names itself with `http`; that is read as `https`, so
/// nothing is sent in the clear.
pub(super) fn resolve(registry: &Url, current: &Url, text: &str) -> Result<Url, BadTarget> {
    let mut url = current.join(text).map_err(|_source| BadTarget::NotUrl)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadTarget::UserInfo);
    }
    let is_same_host = url.host_str() == registry.host_str();
    let is_proxied = url.port().is_none() && registry.port().is_none();
    if url.scheme() == "http" && registry.scheme() == "https" && is_same_host && is_proxied {
        url.set_scheme("https").map_err(|()| BadTarget::Scheme)?;
    }
    match (current.scheme(), url.scheme()) {
        ("https", "http") => return Err(BadTarget::Downgrade),
        (_, "http" | "https") => {}
        _ => return Err(BadTarget::Scheme),
    }
    if is_internal(&url) && !is_same_host && !is_internal(registry) {
        return Err(BadTarget::Internal);
    }
    Ok(url)
}

/// As [`resolve`], for what must stay at the registry: pages of a list.
pub(super) fn resolve_same_origin(
    registry: &Url,
    current: &Url,
    text: &str,
) -> Result<Url, BadTarget> {
    let url = resolve(registry, current, text)?;
    if same_origin(registry, &url) { Ok(url) } else { Err(BadTarget::OtherHost) }
}

/// Parses the realm of a bearer challenge; whether it may see a secret is not decided here.
pub(super) fn resolve_realm(registry: &Url, text: &str) -> Result<Url, BadTarget> {
    let url = Url::parse(text).map_err(|_source| BadTarget::NotUrl)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadTarget::UserInfo);
    }
    match (registry.scheme(), url.scheme()) {
        ("https", "http") => Err(BadTarget::Downgrade),
        (_, "http" | "https") if is_internal(&url) && !is_internal(registry) => {
            Err(BadTarget::Internal)
        }
        (_, "http" | "https") => Ok(url),
        _ => Err(BadTarget::Scheme),
    }
}

/// Token servers of registries on another host, according to their documentation.
const KNOWN_REALMS: [(&str, &str); 3] = [
    ("registry-1.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
    ("registry.digitalocean.com", "api.digitalocean.com"),
];

/// Returns whether the realm may see the registry's password.
///
/// It may when it is the registry's own host or a name below it, a well-known pair, or allowed by
/// the user. A sibling under the same domain may not: on shared domains it belongs to another
/// party. Plain HTTP also requires the same port, since other ports of a host may be other users'.
pub(super) fn may_see_password(registry: &Url, realm: &Url, allowed: &[String]) -> bool {
    let (Some(host), Some(registry_host)) = (realm.host_str(), registry.host_str()) else {
        return false;
    };
    let with_port = format!("{host}:{}", realm.port_or_known_default().unwrap_or_default());
    if allowed
        .iter()
        .any(|entry| *entry == with_port || (entry == host && realm.scheme() == "https"))
    {
        return true;
    }
    if same_origin(registry, realm) {
        return true;
    }
    let is_below = host.strip_suffix(registry_host).is_some_and(|rest| rest.ends_with('.'));
    let is_known = realm.port().is_none() && KNOWN_REALMS.contains(&(registry_host, host));
    realm.scheme() == "https" && (host == registry_host || is_below || is_known)
}

/// Returns whether a URL names this machine or its link by name or address literal.
///
/// What a name resolves to is not checked.
fn is_internal(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return true };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_link_local() || address.is_unspecified()
        }
        Ok(IpAddr::V6(address)) => is_internal_v6(&address),
        Err(_) => is_loopback_host(bare) || bare.ends_with(".localhost") || bare == "localhost.",
    }
}

fn is_internal_v6(address: &Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return mapped.is_loopback() || mapped.is_link_local() || mapped.is_unspecified();
    }
    address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_redirect_is_followed_only_where_it_does_no_harm() {
        let registry = url("https://r.example/v2/x/");
        for (text, expected) in [
            ("https://cdn.example/b?sig=1", Ok("https://cdn.example/b?sig=1")),
            (
                "/v2/x/blobs/uploads/1?_state=a",
                Ok("https://r.example/v2/x/blobs/uploads/1?_state=a"),
            ),
            ("http://r.example/v2/x/uploads/1", Ok("https://r.example/v2/x/uploads/1")),
            ("http://cdn.example/b", Err(BadTarget::Downgrade)),
            ("http://r.example:80/b", Ok("https://r.example/b")),
            ("http://r.example:8080/b", Err(BadTarget::Downgrade)),
            ("file:///etc/passwd", Err(BadTarget::Scheme)),
            ("ftp://cdn.example/", Err(BadTarget::Scheme)),
            ("https://me:pw@cdn.example/", Err(BadTarget::UserInfo)),
            ("https://169.254.169.254/latest", Err(BadTarget::Internal)),
            ("https://127.0.0.1/", Err(BadTarget::Internal)),
            ("https://2130706433/", Err(BadTarget::Internal)),
            ("https://[::1]/", Err(BadTarget::Internal)),
            ("https://[::ffff:127.0.0.1]/", Err(BadTarget::Internal)),
            ("https://[fe80::1]/", Err(BadTarget::Internal)),
            ("https://localhost/", Err(BadTarget::Internal)),
            ("https://a.localhost/", Err(BadTarget::Internal)),
            ("https://[bad/", Err(BadTarget::NotUrl)),
        ] {
            let resolved = resolve(&registry, &registry, text);

            assert_eq!(resolved.as_ref().map(Url::as_str), expected.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn a_registry_on_this_machine_may_lead_to_this_machine() {
        let registry = url("http://127.0.0.1:5000/v2/x/");

        assert!(resolve(&registry, &registry, "http://127.0.0.1:9000/b").is_ok());
        assert_eq!(
            resolve_same_origin(&registry, &registry, "http://127.0.0.1:9000/b"),
            Err(BadTarget::OtherHost)
        );
    }

    #[test]
    fn a_password_goes_only_to_the_registry_and_its_own_token_server() {
        let allowed = ["gitlab.example".to_owned(), "t.example:8443".to_owned()];
        for (registry, realm, expected) in [
            ("https://r.example/", "https://r.example/token", true),
            ("https://r.example/", "https://r.example:5001/token", true),
            ("https://r.example/", "https://auth.r.example/token", true),
            ("https://r.example/", "https://evilr.example/token", false),
            ("https://r.example/", "https://s.example/token", false),
            ("https://a.azurecr.io/", "https://b.azurecr.io/token", false),
            ("https://registry-1.docker.io/", "https://auth.docker.io/token", true),
            ("https://registry-1.docker.io/", "https://auth.docker.io:8443/token", false),
            ("https://evil.example/", "https://auth.docker.io/token", false),
            ("https://r.example/", "https://gitlab.example/jwt/auth", true),
            ("http://r.example/", "http://gitlab.example/jwt/auth", false),
            ("https://r.example/", "https://t.example:8443/", true),
            ("https://r.example/", "https://t.example/", false),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/token", true),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token", false),
        ] {
            let answer = may_see_password(&url(registry), &url(realm), &allowed);

            assert_eq!(answer, expected, "{registry} -> {realm}");
        }
    }

    #[test]
    fn a_realm_is_never_weaker_than_its_registry() {
        let registry = url("https://r.example/");

        assert_eq!(resolve_realm(&registry, "http://r.example/t"), Err(BadTarget::Downgrade));
        assert_eq!(resolve_realm(&registry, "https://127.0.0.1/t"), Err(BadTarget::Internal));
        assert_eq!(resolve_realm(&registry, "https://u:p@r.example/"), Err(BadTarget::UserInfo));
        assert_eq!(resolve_realm(&registry, "/token"), Err(BadTarget::NotUrl));
        assert!(resolve_realm(&registry, "https://auth.example/t").is_ok());
    }
}
