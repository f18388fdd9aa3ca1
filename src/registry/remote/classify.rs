//! Maps a refusal by a registry or a network failure to one error: by status, OCI error code and
//! `Retry-After`.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::protocol::Digest;
use crate::registry::{RegistryError, UNKNOWN_COUNT_MAX};

/// Longest wait that a registry may request.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(2);

/// The error codes of the OCI distribution specification that change what we do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OciCode {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    TagInvalid,
    TooManyRequests,
    Unauthorized,
    Unsupported,
    /// A well-formed error with a code that is not in the specification.
    Other,
}

const CODES: [(&str, OciCode); 15] = [
    ("BLOB_UNKNOWN", OciCode::BlobUnknown),
    ("BLOB_UPLOAD_INVALID", OciCode::BlobUploadInvalid),
    ("BLOB_UPLOAD_UNKNOWN", OciCode::BlobUploadUnknown),
    ("DENIED", OciCode::Denied),
    ("DIGEST_INVALID", OciCode::DigestInvalid),
    ("MANIFEST_BLOB_UNKNOWN", OciCode::ManifestBlobUnknown),
    ("MANIFEST_INVALID", OciCode::ManifestInvalid),
    ("MANIFEST_UNKNOWN", OciCode::ManifestUnknown),
    ("NAME_INVALID", OciCode::NameInvalid),
    ("NAME_UNKNOWN", OciCode::NameUnknown),
    ("SIZE_INVALID", OciCode::SizeInvalid),
    ("TAG_INVALID", OciCode::TagInvalid),
    ("TOOMANYREQUESTS", OciCode::TooManyRequests),
    ("UNAUTHORIZED", OciCode::Unauthorized),
    ("UNSUPPORTED", OciCode::Unsupported),
];

/// The codes of a missing blob when a manifest is pushed; the specification has the first one.
const UNKNOWN_CODES: [&str; 2] = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"];

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
    #[serde(default)]
    detail: Value,
}

impl ErrorEntry {
    /// Returns the digest that `detail` is, or has as its member `digest`; registries differ.
    fn digest(&self) -> Option<Digest> {
        let member = || self.detail.get("digest").or_else(|| self.detail.get("Digest"))?.as_str();
        self.detail.as_str().or_else(member)?.parse().ok()
    }
}

/// Reads which blobs an OCI error body says are missing.
pub(super) fn parse_unknown(body: &[u8]) -> Vec<Digest> {
    let Ok(body) = serde_json::from_slice::<ErrorBody>(body) else { return Vec::new() };
    let unknown = body.errors.iter().filter(|entry| UNKNOWN_CODES.contains(&&*entry.code));
    unknown.filter_map(ErrorEntry::digest).take(UNKNOWN_COUNT_MAX).collect()
}

/// Reads the first code of an OCI error body; `None` when it is not such a body.
pub(super) fn parse_code(body: &[u8]) -> Option<OciCode> {
    let body: ErrorBody = serde_json::from_slice(body).ok()?;
    let first = body.errors.first()?;
    let known = CODES.iter().find(|(name, _code)| *name == first.code);
    Some(known.map_or(OciCode::Other, |(_name, code)| *code))
}

/// Returns the error of a connection that failed; its URL is dropped, for it may be signed.
pub(super) fn transport_error(error: reqwest::Error) -> RegistryError {
    if error.is_timeout() {
        return RegistryError::TimedOut;
    }
    RegistryError::Unreachable(Box::new(error.without_url()))
}

/// A registry's answer that is not what was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: Option<OciCode>,
    /// What a manifest names and the registry does not have.
    pub(super) unknown: Vec<Digest>,
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    /// Returns whether the repository itself does not exist yet.
    ///
    /// Registries differ in the code; any OCI error at all distinguishes it from a wrong URL.
    pub(super) fn is_unknown_repository(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.code.is_some()
    }

    /// Returns the error; `what` names the requested object.
    pub(super) fn into_error(self, what: impl std::fmt::Display) -> RegistryError {
        let status = self.status.as_u16();
        // Codes decide only where registries disagree about the status.
        match self.code {
            Some(OciCode::TooManyRequests) => return self.throttled(),
            Some(OciCode::ManifestBlobUnknown) => {
                return RegistryError::BlobUnknown { digests: self.unknown };
            }
            Some(OciCode::NameInvalid) if status == 400 || status == 404 => {
                return RegistryError::Configuration(
                    "the registry does not accept the repository's name".into(),
                );
            }
            Some(OciCode::Denied | OciCode::Unauthorized) if status < 500 => {
                return self.denied();
            }
            Some(OciCode::BlobUploadInvalid | OciCode::BlobUploadUnknown) if status < 500 => {
                return RegistryError::Unreachable("the registry lost the upload".into());
            }
            _ => {}
        }
        match status {
            401 | 403 | 407 => self.denied(),
            404 | 410 => RegistryError::not_found(what),
            408 => RegistryError::TimedOut,
            425 => self.server_failed(),
            429 | 503 => self.throttled(),
            413 => self.rejected("too large for this registry"),
            405 | 501 => self.rejected("not offered by this registry"),
            409 | 412 => self.rejected("in conflict with existing content (an immutable tag?)"),
            507 => self.rejected("the registry is full"),
            400..=499 => self.rejected("not accepted"),
            500..=599 => self.server_failed(),
            _ => RegistryError::Malformed { reason: format!("unexpected status {status}") },
        }
    }

    fn denied(self) -> RegistryError {
        RegistryError::Denied { reason: self.describe("no permission") }
    }

    fn rejected(self, meaning: &str) -> RegistryError {
        RegistryError::Rejected { reason: self.describe(meaning) }
    }

    fn throttled(self) -> RegistryError {
        RegistryError::Throttled { retry_after: self.retry_after }
    }

    fn server_failed(self) -> RegistryError {
        RegistryError::Unreachable(self.describe("the registry failed").into())
    }

    fn describe(self, meaning: &str) -> String {
        let status = self.status.as_u16();
        match CODES.iter().find(|(_name, code)| Some(*code) == self.code) {
            Some((name, _code)) => format!("{meaning} (status {status}, {name})"),
            None => format!("{meaning} (status {status})"),
        }
    }
}

/// Reads `Retry-After`: seconds, or a date measured against the server's own `Date`.
///
/// Anything else, or a date in the past, counts as absent.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // A number with too many digits still means a long time.
        let secs = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(secs).min(RETRY_AFTER_MAX));
    }
    let date = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    let server_now = headers.get(DATE).and_then(|value| date(value.to_str().ok()?));
    let wait = date(text)? - server_now.unwrap_or_else(|| now.into());
    Duration::try_from(wait).ok().map(|wait| wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use crate::protocol::ErrorClass;

    use super::*;

    fn class(status: u16, code: &str) -> ErrorClass {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"x","detail":null}}]}}"#);
        let refusal = Refusal {
            status: StatusCode::from_u16(status).unwrap(),
            code: if code.is_empty() { None } else { parse_code(body.as_bytes()) },
            unknown: Vec::new(),
            retry_after: None,
        };
        refusal.into_error("thing").class()
    }

    #[test]
    fn every_status_and_code_has_one_meaning() {
        use ErrorClass as C;
        for (status, code, expected) in [
            (400, "", C::NotPermitted),
            (400, "DIGEST_INVALID", C::NotPermitted),
            (400, "MANIFEST_BLOB_UNKNOWN", C::Unreachable),
            (404, "MANIFEST_BLOB_UNKNOWN", C::Unreachable),
            (400, "MANIFEST_INVALID", C::NotPermitted),
            (400, "NAME_INVALID", C::Configuration),
            (400, "SIZE_INVALID", C::NotPermitted),
            (400, "TAG_INVALID", C::NotPermitted),
            (400, "UNSUPPORTED", C::NotPermitted),
            (400, "UNAUTHORIZED", C::Denied),
            (400, "BLOB_UPLOAD_INVALID", C::Unreachable),
            (401, "", C::Denied),
            (401, "UNAUTHORIZED", C::Denied),
            (402, "", C::NotPermitted),
            (403, "", C::Denied),
            (403, "DENIED", C::Denied),
            (403, "TOOMANYREQUESTS", C::Unreachable),
            (404, "", C::NotFound),
            (404, "BLOB_UNKNOWN", C::NotFound),
            (404, "BLOB_UPLOAD_UNKNOWN", C::Unreachable),
            (404, "MANIFEST_UNKNOWN", C::NotFound),
            (404, "NAME_UNKNOWN", C::NotFound),
            (404, "DENIED", C::Denied),
            (404, "SOMETHING_ELSE", C::NotFound),
            (405, "UNSUPPORTED", C::NotPermitted),
            (407, "", C::Denied),
            (408, "", C::TimedOut),
            (409, "", C::NotPermitted),
            (410, "", C::NotFound),
            (412, "", C::NotPermitted),
            (413, "", C::NotPermitted),
            (416, "", C::NotPermitted),
            (425, "", C::Unreachable),
            (429, "", C::Unreachable),
            (429, "TOOMANYREQUESTS", C::Unreachable),
            (500, "", C::Unreachable),
            (500, "DENIED", C::Unreachable),
            (501, "", C::NotPermitted),
            (502, "", C::Unreachable),
            (503, "", C::Unreachable),
            (504, "", C::Unreachable),
            (507, "", C::NotPermitted),
            (200, "", C::Malformed),
            (204, "", C::Malformed),
            (302, "", C::Malformed),
            (304, "", C::Malformed),
        ] {
            assert_eq!(class(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn every_code_of_the_table_is_read_by_its_name() {
        for (name, code) in CODES {
            let body = format!(r#"{{"errors":[{{"code":"{name}"}}]}}"#);

            assert_eq!(parse_code(body.as_bytes()), Some(code));
        }
        assert_eq!(parse_code(br#"{"errors":[{"code":"NOT_FOUND"}]}"#), Some(OciCode::Other));
        for body in ["", "<html>", "{}", r#"{"errors":[]}"#, r#"{"errors":[{"code":1}]}"#, "null"] {
            assert_eq!(parse_code(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn what_is_missing_is_read_from_the_detail_strictly_and_bounded() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let entry = |code: &str, detail: &str| {
            format!(r#"{{"code":"{code}","message":"blob unknown to registry","detail":{detail}}}"#)
        };
        let unknown = |detail: &str| entry("MANIFEST_BLOB_UNKNOWN", detail);
        let read = |entries: &[String]| {
            parse_unknown(format!(r#"{{"errors":[{}]}}"#, entries.join(",")).as_bytes())
        };

        for detail in [
            format!(r#"{{"Digest":"{one}"}}"#),
            format!(r#"{{"digest":"{one}","size":3}}"#),
            format!(r#""{one}""#),
        ] {
            assert_eq!(read(&[unknown(&detail)]), [one], "{detail}");
        }
        let two = unknown(&format!(r#"{{"digest":"{two}"}}"#));
        let other = entry("MANIFEST_INVALID", &format!(r#""{one}""#));
        assert_eq!(read(&[unknown(&format!(r#""{one}""#)), other, two]).len(), 2);
        for detail in [
            "null".to_owned(),
            "7".into(),
            "[]".into(),
            r#"{"digest":7}"#.into(),
            r#""sha256:12""#.into(),
            format!(r#""unknown blob {one}""#),
            format!(r#"["{one}"]"#),
        ] {
            assert_eq!(read(&[unknown(&detail)]), [], "{detail}");
        }
        assert_eq!(parse_unknown(b"<html>"), []);
        let many = vec![unknown(&format!(r#""{one}""#)); 1000];
        assert_eq!(read(&many).len(), UNKNOWN_COUNT_MAX);
    }

    #[test]
    fn retry_after_is_clamped_and_garbage_is_ignored() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let read = |text: &str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };

        assert_eq!(read("2", None), Some(2));
        assert_eq!(read("1000000000", None), Some(120));
        assert_eq!(read(&"9".repeat(100), None), Some(120));
        for garbage in ["-1", "x", "", "1e9", "2.5", "Sun"] {
            assert_eq!(read(garbage, None), None, "{garbage}");
        }
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(read(date, None), Some(7));
        assert_eq!(read(date, Some("Sun, 06 Nov 1994 08:49:35 GMT")), Some(2));
        assert_eq!(read(date, Some("Sun, 06 Nov 1994 08:49:38 GMT")), None);
        assert_eq!(read("Sun, 06 Nov 2094 08:49:37 GMT", None), Some(120));
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
