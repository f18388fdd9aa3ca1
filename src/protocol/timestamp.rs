//! Points in time as the protocol writes them: RFC 3339, whole seconds, UTC (P2).

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::ProtocolError;

/// Unix seconds between the years 1970 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const UNIX_SECS_MAX: i64 = 253_402_300_799;

impl Timestamp {
    /// Clamps `unix_secs` into the years 1970 to 9999.
    pub fn from_unix_secs(unix_secs: i64) -> Self {
        Self(unix_secs.clamp(0, UNIX_SECS_MAX))
    }

    /// Returns the seconds since 1970-01-01T00:00:00Z.
    pub const fn unix_secs(self) -> i64 {
        self.0
    }

    /// Returns the specification's `YYYYMMDD`, UTC.
    pub fn yyyymmdd(self) -> String {
        let date = self.to_date_time();
        format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day())
    }

    /// Adds `secs` seconds, staying inside the years 1970 to 9999.
    pub fn saturating_add_secs(self, secs: i64) -> Self {
        Self::from_unix_secs(self.0.saturating_add(secs))
    }

    /// Returns the same instant for a file's times.
    pub fn to_system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.unsigned_abs())
    }

    fn to_date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let secs = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self::from_unix_secs(i64::try_from(secs).unwrap_or(i64::MAX))
    }
}

impl FromStr for Timestamp {
    type Err = ProtocolError;

    /// Accepts offsets and fractions (P2); the fraction is dropped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let date = OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|_source| ProtocolError::bad("dockercomms.created_at", "not RFC 3339"))?;
        let secs = date.unix_timestamp();
        if !(0..=UNIX_SECS_MAX).contains(&secs) {
            return Err(ProtocolError::bad("dockercomms.created_at", "outside 1970 to 9999"));
        }
        Ok(Self(secs))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.to_date_time();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            date.hour(),
            date.minute(),
            date.second()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_utc_seconds_and_parses_back() {
        let time = Timestamp::from_unix_secs(1_790_000_000);

        assert_eq!(time.to_string(), "2026-09-21T14:13:20Z");
        assert_eq!(time.yyyymmdd(), "20260921");
        assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn offsets_and_fractions_are_accepted() {
        let parsed = "2026-09-21T16:13:20.987+02:00".parse::<Timestamp>();

        assert_eq!(parsed, Ok(Timestamp::from_unix_secs(1_790_000_000)));
    }

    #[test]
    fn other_forms_of_a_time_are_refused() {
        for text in ["", "2026-09-21", "1790000000", "2026-13-01T00:00:00Z", "yesterday"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
