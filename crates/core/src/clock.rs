//! Instants, and where they come from.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};

/// Microseconds since 1970-01-01T00:00:00Z. Everything that is stored or emitted is UTC (CO-006).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The instant `seconds` after the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds since the epoch, as in a JWT's `NumericDate`.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This instant moved by `seconds`, which may be negative.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// Reads an RFC 3339 text with any offset.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|at| Self(at.timestamp_micros()))
    }

    /// Reads an instant as clients of the API write it (CO-523): RFC 3339, with an offset in whatever form or none,
    /// which means UTC, and perhaps without seconds.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        let with_offset = || {
            let forms = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"];
            forms.iter().find_map(|form| DateTime::parse_from_str(text, form).ok()).map(|at| at.timestamp_micros())
        };
        let without = || {
            let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f"];
            let found = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
            found.map(|at| at.and_utc().timestamp_micros())
        };
        // Years have four digits: others could not be written back in RFC 3339.
        text.as_bytes().get(4).filter(|byte| **byte == b'-')?;
        Self::parse_rfc3339(text).or_else(|| with_offset().or_else(without).map(Self))
    }
}

/// RFC 3339 with microseconds and the suffix `Z` (CO-006).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = DateTime::<Utc>::from_timestamp_micros(self.0).unwrap_or(DateTime::<Utc>::MAX_UTC);
        f.write_str(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

/// Tells the time. The process has one, at its edge; tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `at`.
    pub const fn at(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// Moves the clock forward.
    pub fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds.saturating_mul(1_000_000), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-006: instants are written in RFC 3339 with microseconds and `Z`, and read with any offset.
    #[test]
    fn co_006_instants_round_trip_in_utc() {
        let at = Timestamp(1_790_000_000_123_456);
        assert_eq!(at.to_string(), "2026-09-21T14:13:20.123456Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-09-21T16:13:20.123456+02:00"), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }

    /// CO-523: instants are read as the public clients write them.
    #[test]
    fn co_523_instants_of_clients_are_read() {
        let at = Timestamp::parse_rfc3339("2026-09-21T14:13:20.5Z");
        for text in [
            "2026-09-21T14:13:20.5Z",
            "2026-09-21T14:13:20.500000+0000",
            "2026-09-21T16:13:20.500+0200",
            "2026-09-21T16:13:20.5+02",
            "2026-09-21T14:13:20.500000",
            "2026-09-21 14:13:20.5",
        ] {
            assert_eq!(Timestamp::parse_iso8601(text), at, "{text}");
        }
        let minute = Timestamp::parse_rfc3339("2026-09-21T14:13:00Z");
        for text in ["2026-09-21T14:13", "2026-09-21T14:13+00:00"] {
            assert_eq!(Timestamp::parse_iso8601(text), minute, "{text}");
        }
        for text in
            ["", "yesterday", "2026-09-21", "2026-13-21T14:13:20Z", "2026-09-21T14:13:20+99:99", "12026-09-21T14:13"]
        {
            assert_eq!(Timestamp::parse_iso8601(text), None, "{text}");
        }
    }
}
