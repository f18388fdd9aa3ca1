//! Who may sign what and when: pure rules over keys and certificate names.

use super::key::PublicKey;
use super::limits::SUBJECT_LEN_MAX;
use super::refusal::Refusal;
use super::role::Role;
use crate::protocol::{Identity, Timestamp};

/// The terms under which a key or a certificate identity is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether it may sign messages.
    pub messages: bool,
    /// Whether it may sign receipts.
    pub receipts: bool,
    /// First second of validity; `None` = always was.
    pub not_before: Option<Timestamp>,
    /// Last second of validity; `None` = permanently.
    pub not_after: Option<Timestamp>,
    /// Kept in the store when revoked, so that a refusal can say so.
    pub revoked: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { messages: true, receipts: true, not_before: None, not_after: None, revoked: false }
    }
}

impl Terms {
    /// Decides whether a signer whose signature was proven may sign in `role` at `at`.
    ///
    /// For a key that is the time of verification: a keyed bundle carries no trustworthy time, and
    /// the holder of an expired key would backdate it. For a certificate it is the time that a log
    /// or a timestamp authority has signed.
    pub(super) fn permit(
        &self,
        role: Role,
        at: Timestamp,
        sender: &Identity,
        fingerprint: &str,
    ) -> Result<(), Refusal> {
        let sender = sender.clone();
        let fingerprint = fingerprint.to_owned();
        if self.revoked {
            return Err(Refusal::Revoked { sender, fingerprint });
        }
        if let Some(not_before) = self.not_before.filter(|first| at < *first) {
            return Err(Refusal::KeyNotYetValid { sender, fingerprint, not_before });
        }
        if let Some(not_after) = self.not_after.filter(|last| at > *last) {
            return Err(Refusal::KeyExpired { sender, fingerprint, not_after });
        }
        let allowed = match role {
            Role::Message => self.messages,
            Role::Receipt => self.receipts,
        };
        if allowed { Ok(()) } else { Err(Refusal::RoleNotAllowed { sender, fingerprint, role }) }
    }
}

/// A public key that the trust store assigns to a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// Its terms.
    pub terms: Terms,
}

/// A certificate identity that the trust store assigns to a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRule {
    /// The name of the trusted root that must have issued the certificate.
    pub trusted_root: String,
    /// The OIDC issuer, exactly.
    pub issuer: String,
    /// The certificate's subject.
    pub subject: SubjectRule,
    /// The terms.
    pub terms: Terms,
}

/// Which certificate subjects a rule accepts. The kinds are never mixed: a URI that spells an
/// e-mail address is not an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectRule {
    /// Exactly this e-mail address, case-sensitive.
    Email(String),
    /// Exactly this URI.
    Uri(String),
    /// A URI of this form, from its first to its last character; `*` stands for one or more
    /// characters other than `/`.
    UriPattern(String),
}

/// The typed subject alternative name of a signing certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateName {
    /// An rfc822Name.
    Email(String),
    /// A uniformResourceIdentifier.
    Uri(String),
}

impl IdentityRule {
    /// Decides whether a verified certificate of `issuer` for `name` matches this identity.
    pub fn matches(&self, issuer: &str, name: &CertificateName) -> bool {
        let actual_len = match name {
            CertificateName::Email(text) | CertificateName::Uri(text) => text.len(),
        };
        issuer == self.issuer
            && actual_len <= SUBJECT_LEN_MAX
            && match (&self.subject, name) {
                (SubjectRule::Email(expected), CertificateName::Email(actual))
                | (SubjectRule::Uri(expected), CertificateName::Uri(actual)) => expected == actual,
                (SubjectRule::UriPattern(pattern), CertificateName::Uri(actual)) => {
                    matches_pattern(pattern.as_bytes(), actual.as_bytes())
                }
                _ => false,
            }
    }
}

/// Matches all of `text`; `*` is one or more bytes other than `/`.
///
/// Not a regular expression, which would sooner or later be unanchored or backtrack: the cost is
/// the product of the two lengths, whatever they contain.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    // reachable[i] = the pattern so far matches exactly the first i bytes of the text.
    let mut reachable = vec![false; text.len() + 1];
    if let Some(start) = reachable.first_mut() {
        *start = true;
    }
    for symbol in pattern {
        let mut next = vec![false; text.len() + 1];
        for (at, byte) in text.iter().enumerate() {
            let from_before = reachable.get(at).copied().unwrap_or_default();
            let stay = next.get(at).copied().unwrap_or_default();
            let matched = if *symbol == b'*' {
                *byte != b'/' && (from_before || stay)
            } else {
                byte == symbol && from_before
            };
            if let Some(slot) = next.get_mut(at + 1) {
                *slot = matched;
            }
        }
        reachable = next;
    }
    reachable.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(subject: SubjectRule) -> IdentityRule {
        IdentityRule {
            trusted_root: "corp".into(),
            issuer: "https://accounts.example.com".into(),
            subject,
            terms: Terms::default(),
        }
    }

    fn email(text: &str) -> CertificateName {
        CertificateName::Email(text.into())
    }

    fn uri(text: &str) -> CertificateName {
        CertificateName::Uri(text.into())
    }

    #[test]
    fn b06_the_right_subject_of_another_issuer_is_not_taken() {
        let rule = rule(SubjectRule::Email("alice@example.com".into()));
        let name = email("alice@example.com");

        assert!(rule.matches("https://accounts.example.com", &name));
        for issuer in [
            "",
            "https://accounts.example.com/",
            "https://accounts.example.com.evil.org",
            "https://Accounts.example.com",
            "http://accounts.example.com",
        ] {
            assert!(!rule.matches(issuer, &name), "{issuer}");
        }
    }

    #[test]
    fn b07_only_the_exact_typed_subject_is_taken() {
        let issuer = "https://accounts.example.com";
        let by_email = rule(SubjectRule::Email("alice@example.com".into()));
        let by_uri = rule(SubjectRule::Uri("alice@example.com".into()));

        for text in [
            "alice@example.com.evil.org",
            "Alice@example.com",
            "xalice@example.com",
            "alice@example.com ",
            "alice@example.com\0",
            "alice@exampleXcom",
            "",
        ] {
            assert!(!by_email.matches(issuer, &email(text)), "{text:?}");
        }
        assert!(!by_email.matches(issuer, &uri("alice@example.com")));
        assert!(!by_uri.matches(issuer, &email("alice@example.com")));
        assert!(by_uri.matches(issuer, &uri("alice@example.com")));
    }

    #[test]
    fn b07_a_pattern_is_anchored_and_never_crosses_a_slash() {
        let issuer = "https://accounts.example.com";
        let pattern = "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v*";
        let rule = rule(SubjectRule::UriPattern(pattern.into()));
        let good = "https://github.com/acme/tool/.github/workflows/release.yml@refs/tags/v1.2";

        assert!(rule.matches(issuer, &uri(good)));
        assert!(!rule.matches(issuer, &email(good)));
        for text in [
            format!("x{good}"),
            format!("{good}/x"),
            good.replace("v1.2", "v"),
            good.replace("tool", ""),
            good.replace("tool", "tool/evil"),
            good.replace("acme", "acme-evil"),
            good.replace("github.com", "githubXcom"),
            good.replace("tags", "heads"),
            format!("https://evil.org/?{good}"),
        ] {
            assert!(!rule.matches(issuer, &uri(&text)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_without_wildcards_matches_itself_alone(
            text in "[a-z/.]{0,20}", other in "[a-z/.]{0,20}",
        ) {
            prop_assert!(matches_pattern(text.as_bytes(), text.as_bytes()));
            prop_assert_eq!(matches_pattern(text.as_bytes(), other.as_bytes()), text == other);
        }

        #[test]
        fn a_pattern_with_a_wildcard_agrees_with_prefix_and_suffix(
            prefix in "[ab/]{0,3}", suffix in "[ab/]{0,3}", text in "[ab/]{0,9}",
        ) {
            let expected = text.len() > prefix.len() + suffix.len()
                && text.starts_with(&prefix)
                && text.ends_with(&suffix)
                && !text.as_bytes()[prefix.len()..text.len() - suffix.len()].contains(&b'/');
            let pattern = format!("{prefix}*{suffix}");

            prop_assert_eq!(matches_pattern(pattern.as_bytes(), text.as_bytes()), expected);
        }
    }
}
