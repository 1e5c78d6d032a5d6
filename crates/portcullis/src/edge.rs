//! What the program takes from outside: the time.

use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_core::clock::{Clock, Timestamp};

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 is broken; everything counts as expired rather than valid for ever.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
