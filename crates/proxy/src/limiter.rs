//! Slows down who guesses (PX-110).
//!
//! Failures count against the address that they come from, never against the user name alone: a
//! stranger cannot lock a right password out.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use moka::policy::EvictionPolicy;
use portcullis_core::clock::Timestamp;

use crate::settings::{Limit, ProxySettings, seconds};

/// The most windows that are kept; beyond it the least recently used are forgotten.
const MOST: u64 = 100_000;

/// Counts failed attempts in memory.
pub struct FailureLimiter {
    per_address: Limit,
    per_username: Limit,
    hasher: RandomState,
    windows: moka::sync::Cache<(IpAddr, u64), Arc<Window>>,
}

#[derive(Default)]
struct Window {
    started: AtomicI64,
    failures: AtomicU32,
}

impl FailureLimiter {
    /// A limiter that has seen nothing.
    pub fn new(settings: &ProxySettings) -> Self {
        let longest = settings.failures_per_address.window.max(settings.failures_per_username.window);
        Self {
            per_address: settings.failures_per_address,
            per_username: settings.failures_per_username,
            hasher: RandomState::new(),
            windows: moka::sync::Cache::builder()
                .max_capacity(MOST)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(longest.max(std::time::Duration::from_secs(1)))
                .build(),
        }
    }

    /// Seconds until another attempt may be made; `None` if it may be made now.
    pub fn wait(&self, client: IpAddr, username: Option<&str>, now: Timestamp) -> Option<u32> {
        self.keys(client, username).filter_map(|(key, limit)| self.windows.get(&key)?.wait(limit, now)).max()
    }

    /// Counts a failed attempt.
    pub fn failed(&self, client: IpAddr, username: Option<&str>, now: Timestamp) {
        for (key, limit) in self.keys(client, username) {
            self.windows.get_with(key, Arc::default).count(limit, now);
        }
    }

    fn keys(&self, client: IpAddr, username: Option<&str>) -> impl Iterator<Item = ((IpAddr, u64), Limit)> {
        let network = network(client);
        // 0 is the address as a whole; a user name that should hash to it costs nobody anything.
        let user = username.map(|name| ((network, self.hasher.hash_one(name)), self.per_username));
        std::iter::once(((network, 0), self.per_address)).chain(user)
    }
}

impl Window {
    fn wait(&self, limit: Limit, now: Timestamp) -> Option<u32> {
        let ends = self.started.load(Ordering::Acquire).saturating_add(seconds(limit.window));
        let left = ends.saturating_sub(now.seconds());
        (left > 0 && self.failures.load(Ordering::Acquire) >= limit.count)
            .then(|| u32::try_from(left).unwrap_or(u32::MAX))
    }

    fn count(&self, limit: Limit, now: Timestamp) {
        let started = self.started.load(Ordering::Acquire);
        let over = now.seconds() >= started.saturating_add(seconds(limit.window));
        let renew = || self.started.compare_exchange(started, now.seconds(), Ordering::AcqRel, Ordering::Acquire);
        if over && renew().is_ok() {
            self.failures.store(1, Ordering::Release);
        } else {
            self.failures.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// The network that one client commands: an IPv4 address, or 64 bits of an IPv6 one.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-110: an address that failed too often waits, with that user name sooner; others do not.
    #[test]
    fn px_110_a_guesser_waits_and_nobody_else() {
        let limiter = FailureLimiter::new(&ProxySettings::default());
        let now = Timestamp::from_seconds(1_000_000);
        let guesser: IpAddr = "192.0.2.1".parse().unwrap();
        let owner: IpAddr = "192.0.2.2".parse().unwrap();
        for _ in 0..10 {
            assert_eq!(limiter.wait(guesser, Some("ada"), now), None);
            limiter.failed(guesser, Some("ada"), now);
        }
        assert_eq!(limiter.wait(guesser, Some("ada"), now), Some(60));
        assert_eq!(limiter.wait(guesser, Some("bob"), now), None);
        assert_eq!(limiter.wait(owner, Some("ada"), now), None);
        for _ in 0..10 {
            limiter.failed(guesser, None, now);
        }
        assert_eq!(limiter.wait(guesser, Some("bob"), now.plus_seconds(20)), Some(40));
        assert_eq!(limiter.wait(guesser, Some("ada"), now.plus_seconds(60)), None);
    }

    /// PX-110: the addresses of one IPv6 subscriber count as one.
    #[test]
    fn px_110_one_ipv6_network_counts_as_one() {
        assert_eq!(network("2001:db8::1".parse().unwrap()), network("2001:db8::ffff".parse().unwrap()));
        assert_ne!(network("2001:db8::1".parse().unwrap()), network("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
