//! Guessing is slow, and a stranger's guesses never lock anybody out (OA-680 … OA-682, CO-441 … CO-445).
//!
//! Failures close the door for the address they came from; on the user name alone they only cost a short
//! delay, so that the right password from elsewhere always works. Counters are in the store: they survive
//! restarts and new cookies.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_core::username::fold;
use portcullis_store::{Conn, failure};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::context::Context;
use crate::error::Error;

/// So many failures within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// From this number of failures on, the rule acts.
    pub failures: i64,
    /// Length of the window that they are counted in, in seconds.
    pub window_seconds: i64,
}

/// What is allowed. The default holds unless an administrator says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Machines: per address, client and user name. Closes until the window ends.
    pub machine: Rule,
    /// Machines: per address. Closes until the window ends.
    pub machine_address: Rule,
    /// People: per address and name. Closes for [`Limits::first_pause_seconds`], doubling with each failure.
    pub sign_in: Rule,
    /// People: first pause after too many wrong passwords, in seconds.
    pub first_pause_seconds: i64,
    /// People: longest pause, in seconds.
    pub longest_pause_seconds: i64,
    /// People: per address. Closes until the window ends.
    pub sign_in_address: Rule,
    /// People: different names per address. Closes until the window ends.
    pub sign_in_names: Rule,
    /// Per user name over all addresses. Delays, never closes.
    pub name: Rule,
    /// Longest delay by [`Limits::name`], in milliseconds.
    pub longest_delay_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let rule = |failures, window_seconds| Rule { failures, window_seconds };
        Self {
            machine: rule(10, 300),
            machine_address: rule(60, 300),
            sign_in: rule(5, 900),
            first_pause_seconds: 30,
            longest_pause_seconds: 900,
            sign_in_address: rule(100, 300),
            sign_in_names: rule(30, 600),
            name: rule(100, 3600),
            longest_delay_ms: 2000,
        }
    }
}

/// Who tries to prove something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A machine at the token endpoint or the proxy, for this client.
    Machine(&'a str),
    /// A person at the sign-in page.
    Person,
}

/// Why credentials are not looked at.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Too many failures from there.
    #[error("too many failures, retry after {retry_after_seconds} s")]
    Throttled {
        /// Whole seconds until another attempt makes sense; at least 1.
        retry_after_seconds: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Leave to try once. Tell how it went with [`Attempt::failed`] or [`Attempt::succeeded`].
pub struct Attempt<'a> {
    ctx: &'a Context,
    buckets: Buckets,
    person: bool,
    had_failures: bool,
    // Attempts of one address wait for each other, or a burst would pass before its first failure counts.
    _lane: SemaphorePermit<'static>,
}

struct Buckets {
    pair: Digest,
    closed: Digest,
    address: Digest,
    names: Digest,
    name: Digest,
}

impl Buckets {
    fn of(ctx: &Context, kind: Kind<'_>, client: IpAddr, name: &str) -> Self {
        let (kind, client_id) = match kind {
            Kind::Machine(client_id) => ("machine", client_id),
            Kind::Person => ("person", ""),
        };
        let (address, name) = (network(client), fold(name));
        let bucket = |word: &str, parts: [&[u8]; 3]| {
            let [a, b, c] = parts;
            ctx.keys.digest(Purpose::FailureBucket, &[kind.as_bytes(), word.as_bytes(), a, b, c])
        };
        Self {
            pair: bucket("pair", [&address, client_id.as_bytes(), name.as_bytes()]),
            closed: bucket("closed", [&address, client_id.as_bytes(), name.as_bytes()]),
            address: bucket("address", [&address, b"", b""]),
            names: bucket("names", [&address, b"", b""]),
            name: bucket("name", [name.as_bytes(), b"", b""]),
        }
    }
}

/// The network whose members count as one: IPv4 /32, IPv6 /64.
fn network(client: IpAddr) -> Vec<u8> {
    match client.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().into_iter().take(8).collect(),
    }
}

/// Asks for leave to try, before any credential is looked at.
///
/// # Errors
/// [`Refused::Throttled`] after too many failures.
pub async fn begin<'a>(ctx: &'a Context, kind: Kind<'_>, client: IpAddr, name: &str) -> Result<Attempt<'a>, Refused> {
    let limits = &ctx.limits;
    let buckets = Buckets::of(ctx, kind, client, name);
    let guessed = count(&mut ctx.db.read().await.map_err(Error::from)?, &buckets.name, ctx.now()).await?;
    delay(limits, guessed).await;
    let lane = lane(&buckets.address).await?;
    let person = kind == Kind::Person;
    let now = ctx.now();
    let mut conn = ctx.db.read().await.map_err(Error::from)?;
    let pair = failure::get(&mut conn, &buckets.pair, now).await.map_err(Error::from)?;
    let address = failure::get(&mut conn, &buckets.address, now).await.map_err(Error::from)?;
    let over = |found: Option<failure::Failures>, rule: Rule| {
        found.filter(|found| found.count >= rule.failures).map(|found| found.window_ends)
    };
    let closed_until = if person {
        let closed = failure::get(&mut conn, &buckets.closed, now).await.map_err(Error::from)?;
        let names = failure::get(&mut conn, &buckets.names, now).await.map_err(Error::from)?;
        let closed = closed.map(|closed| closed.window_ends);
        closed.max(over(address, limits.sign_in_address)).max(over(names, limits.sign_in_names))
    } else {
        over(pair, limits.machine).max(over(address, limits.machine_address))
    };
    if let Some(until) = closed_until {
        return Err(Refused::Throttled { retry_after_seconds: seconds_until(now, until) });
    }
    Ok(Attempt { ctx, buckets, person, had_failures: pair.is_some(), _lane: lane })
}

impl Attempt<'_> {
    /// Counts a failure. Returns the pause that follows from it, in seconds, if there is one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn failed(self, conn: &mut Conn) -> Result<Option<u32>, Error> {
        let limits = &self.ctx.limits;
        let now = self.ctx.now();
        let ends = |rule: Rule| now.plus_seconds(rule.window_seconds);
        let (pair, address) = if self.person {
            (limits.sign_in, limits.sign_in_address)
        } else {
            (limits.machine, limits.machine_address)
        };
        let failures = failure::add(conn, &self.buckets.pair, now, ends(pair)).await?;
        failure::add(conn, &self.buckets.address, now, ends(address)).await?;
        failure::add(conn, &self.buckets.name, now, ends(limits.name)).await?;
        if !self.person {
            let closed = failures.count >= pair.failures;
            return Ok(closed.then(|| seconds_until(now, failures.window_ends)));
        }
        if failures.count == 1 {
            failure::add(conn, &self.buckets.names, now, ends(limits.sign_in_names)).await?;
        }
        let Some(pause) = pause_seconds(limits, failures.count) else { return Ok(None) };
        // Counting goes on for as long as guessing does, or the doubling would start again.
        failure::close_until(conn, &self.buckets.pair, ends(pair)).await?;
        failure::close_until(conn, &self.buckets.closed, now.plus_seconds(pause)).await?;
        Ok(Some(u32::try_from(pause).unwrap_or(u32::MAX)))
    }

    /// Forgets the failures of this address under this name, and of no other (CO-442).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn succeeded(self, conn: &mut Conn) -> Result<(), Error> {
        if self.had_failures {
            failure::clear(conn, &self.buckets.pair).await?;
        }
        Ok(())
    }

    /// Whether [`Attempt::succeeded`] has anything to write.
    pub fn had_failures(&self) -> bool {
        self.had_failures
    }
}

/// The pause after so many wrong passwords: none at first, then doubling up to the longest.
fn pause_seconds(limits: &Limits, failures: i64) -> Option<i64> {
    let beyond = failures.checked_sub(limits.sign_in.failures).filter(|beyond| *beyond >= 0)?;
    let doubled = limits.first_pause_seconds.saturating_mul(1_i64 << beyond.min(30));
    Some(doubled.min(limits.longest_pause_seconds))
}

async fn delay(limits: &Limits, guessed: i64) {
    let beyond = guessed.saturating_sub(limits.name.failures).saturating_add(1).max(0);
    let delay = u64::try_from(beyond).unwrap_or_default().saturating_mul(100).min(limits.longest_delay_ms);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
}

async fn count(conn: &mut Conn, bucket: &Digest, now: Timestamp) -> Result<i64, Error> {
    Ok(failure::get(conn, bucket, now).await?.map_or(0, |failures| failures.count))
}

fn seconds_until(now: Timestamp, until: Timestamp) -> u32 {
    let microseconds = until.0.saturating_sub(now.0).max(1);
    u32::try_from(microseconds.saturating_add(999_999) / 1_000_000).unwrap_or(u32::MAX)
}

/// At most this many attempts of one address at a time: by so many a burst can exceed a limit.
const ABREAST: usize = 4;

async fn lane(address: &Digest) -> Result<SemaphorePermit<'static>, Error> {
    static LANES: [Semaphore; 64] = [const { Semaphore::const_new(ABREAST) }; 64];
    let [first, ..] = *address;
    let lane = LANES.get(usize::from(first) % LANES.len()).unwrap_or(&LANES[0]);
    lane.acquire().await.map_err(|_| Error::Unreadable("the lanes of attempts are closed".to_owned()))
}

/// Removes counters whose windows are over, some at a time.
///
/// # Errors
/// When the store fails.
pub async fn sweep(ctx: &Context, conn: &mut Conn) -> Result<(), Error> {
    Ok(failure::sweep(conn, ctx.now(), 1000).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-441: the fifth wrong password costs 30 seconds, and each further one twice as much up to 15 minutes.
    #[test]
    fn co_441_pauses_double_up_to_a_quarter_of_an_hour() {
        let limits = Limits::default();
        let pauses: Vec<_> = (1..=12).map(|failures| pause_seconds(&limits, failures)).collect();
        let tail = [30, 60, 120, 240, 480, 900, 900, 900].map(Some);
        assert_eq!(pauses, [[None; 4].as_slice(), &tail].concat());
        assert_eq!(pause_seconds(&limits, i64::MAX), Some(900));
    }

    /// OA-680: IPv4 addresses count alone, IPv6 addresses by their /64, mapped ones as IPv4.
    #[test]
    fn oa_680_addresses_count_by_network() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
