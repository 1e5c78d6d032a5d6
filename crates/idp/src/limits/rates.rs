//! How much one address may ask for in a time, whoever it is (CO-441, CO-446). Kept in memory: what is asked for
//! costs little, and a restart forgives nobody a guess.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use portcullis_core::clock::Timestamp;

use super::{Limits, network};
use crate::error::Error;

/// Addresses that are remembered at once.
const MOST: usize = 20_000;

/// What has been asked for lately, by address.
#[derive(Debug, Default)]
pub struct Rates {
    flow_starts: Buckets,
    api: Buckets,
}

impl Rates {
    /// Counts a flow that an address starts.
    ///
    /// # Errors
    /// [`Error::Throttled`] when there were too many.
    pub(crate) fn flow_start(&self, limits: &Limits, address: IpAddr, now: Timestamp) -> Result<(), Error> {
        let most = f64::from(limits.flow_starts_per_minute);
        self.flow_starts.take(address, now, most / 60.0, most)
    }

    /// Counts a request to the API without credentials.
    ///
    /// # Errors
    /// [`Error::Throttled`] when there were too many.
    pub fn anonymous_request(&self, limits: &Limits, address: IpAddr, now: Timestamp) -> Result<(), Error> {
        self.api.take(address, now, limits.api_per_second.into(), limits.api_burst.into())
    }
}

/// Buckets of tokens: full for whoever is not remembered.
#[derive(Debug, Default)]
struct Buckets(Mutex<HashMap<IpAddr, Level>>);

#[derive(Clone, Copy, Debug)]
struct Level {
    left: f64,
    at: Timestamp,
}

impl Level {
    fn now(self, now: Timestamp, per_second: f64, burst: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "times between requests are short")]
        let passed = now.0.saturating_sub(self.at.0).max(0) as f64 / 1e6;
        (self.left + passed * per_second).min(burst)
    }
}

impl Buckets {
    fn take(&self, address: IpAddr, now: Timestamp, per_second: f64, burst: f64) -> Result<(), Error> {
        let mut levels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if levels.len() >= MOST {
            levels.retain(|_, level| level.now(now, per_second, burst) < burst);
            if levels.len() >= MOST {
                levels.clear();
            }
        }
        let level = levels.entry(network(address)).or_insert(Level { left: burst, at: now });
        let left = level.now(now, per_second, burst);
        if left < 1.0 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a saturated wait is a long one"
            )]
            let wait = ((1.0 - left) / per_second.max(f64::MIN_POSITIVE)).ceil() as u32;
            *level = Level { left, at: now };
            return Err(Error::Throttled { retry_after_seconds: wait.max(1) });
        }
        *level = Level { left: left - 1.0, at: now };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-446: one address has its burst and then its rate, and others are not touched.
    #[test]
    fn co_446_an_address_has_a_burst_and_a_rate() {
        let limits = Limits { api_per_second: 2, api_burst: 3, ..Limits::default() };
        let rates = Rates::default();
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let at = |milliseconds: i64| Timestamp(1_790_000_000_000_000 + milliseconds * 1000);
        let passes = |address, milliseconds| rates.anonymous_request(&limits, address, at(milliseconds)).is_ok();
        assert_eq!([passes(one, 0), passes(one, 0), passes(one, 0), passes(one, 0)], [true, true, true, false]);
        assert!(passes(other, 0));
        assert_eq!([passes(one, 499), passes(one, 500), passes(one, 501)], [false, true, false]);
        assert!(matches!(
            rates.anonymous_request(&limits, one, at(502)),
            Err(Error::Throttled { retry_after_seconds: 1 })
        ));
    }
}
