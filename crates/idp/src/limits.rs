//! Failed attempts slow the guesser down, never the owner (OA-680…OA-682).
//!
//! Failures are counted by address together with client and user name, by address alone, and by user
//! name alone. Only the first two refuse: whoever tries from another address with the right password
//! is never locked out. Failures of a user name from everywhere only delay the answer.

pub(crate) mod account;
pub(crate) mod devices;
mod gate;
pub(crate) mod mails;
mod rates;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_core::username::{LONGEST_IDENTIFIER, fold};
use portcullis_store::account::Account;
use portcullis_store::failure::{Counted, Failures, Tried};
use portcullis_store::token::{self, OfUsername};
use portcullis_store::{Conn, StoreError, Tx, failure};

pub use gate::Turn;
pub use rates::Rates;

use crate::BATCH;
use crate::context::Context;
use crate::error::Error;
use gate::Gate;

/// When failed attempts slow somebody down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures of one address with one client and user name until it has to wait.
    pub per_name_and_address: u32,
    /// Failures of one address until it has to wait.
    pub per_address: u32,
    /// For how long failures of an address count, in seconds.
    pub address_window_seconds: u32,
    /// For how long failures of an address with one user name count, in seconds.
    pub name_and_address_window_seconds: u32,
    /// Failures of one user name, from anywhere, until answers are delayed.
    pub per_name: u32,
    /// For how long failures of a user name count, in seconds.
    pub name_window_seconds: u32,
    /// The longest delay, in milliseconds.
    pub longest_delay_ms: u32,
    /// User names with which one address has failed until it has to wait (CO-441).
    pub identifiers: u32,
    /// For how long those count, and how long the address waits, in seconds.
    pub identifiers_window_seconds: u32,
    /// Wrong passwords of one address for one user on the sign-in page until the next is not examined at once.
    pub account: u32,
    /// For how long those count, and the longest wait, in seconds.
    pub account_window_seconds: u32,
    /// The first wait, in seconds; it doubles with each further failure.
    pub account_first_wait_seconds: u32,
    /// Wrong codes of a second factor until that user's codes are not examined for a while.
    pub second_factor: u32,
    /// For how long those count, and for how long no code is examined, in seconds.
    pub second_factor_window_seconds: u32,
    /// Flows that one address may start in a minute.
    pub flow_starts_per_minute: u32,
    /// Devices that one address may have ask to be let in in an hour (OA-378).
    pub device_starts_per_hour: u32,
    /// Requests to the API that one address may make in a second without credentials (CO-446).
    pub api_per_second: u32,
    /// How many of them may come at once.
    pub api_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_name_and_address: 10,
            per_address: 60,
            address_window_seconds: 300,
            name_and_address_window_seconds: 300,
            per_name: 100,
            name_window_seconds: 3600,
            longest_delay_ms: 2000,
            identifiers: 30,
            identifiers_window_seconds: 600,
            account: 5,
            account_window_seconds: 900,
            account_first_wait_seconds: 30,
            second_factor: 5,
            second_factor_window_seconds: 900,
            flow_starts_per_minute: 600,
            device_starts_per_hour: 20,
            api_per_second: 200,
            api_burst: 1000,
        }
    }
}

/// Somebody tries to prove who they are.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Where from. IPv6 addresses count by their /64.
    pub address: IpAddr,
    /// Where at: an OAuth client id, or `sign-in`.
    pub client: &'a str,
    /// The user name given, existing or not.
    pub username: &'a str,
}

impl<'a> Attempt<'a> {
    /// The same attempt under the name of the user whom it is about, if that is anybody: it may have named them by an
    /// address. For what the answer does not show; else two names that wait together would be known for one user's.
    pub(crate) fn on(self, account: Option<&'a Account>) -> Self {
        Self { username: account.map_or(self.username, |account| &account.username), ..self }
    }
}

/// What it costs to examine an attempt. The dear ones do not keep the cheap ones waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// The hash of a password: a few of them keep every processor busy.
    Hash,
    /// A look into the database.
    Lookup,
}

// Attempts that are examined at once. Each has been judged before it begins and has counted its failure before
// it ends, so that a burst of guesses gets at most so many beyond the limit.
static HASHES: Gate = Gate::new(4, 2);
static LOOKUPS: Gate = Gate::new(8, 4);

/// Why an attempt is not examined.
#[derive(Debug, thiserror::Error)]
pub enum NotExamined {
    /// Too many failures.
    #[error("too many failed attempts")]
    Throttled {
        /// Whole seconds until an attempt is examined again.
        retry_after_seconds: u32,
    },
    /// Too many others were waiting.
    #[error("too many attempts at the same time")]
    Busy,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<NotExamined> for Error {
    fn from(error: NotExamined) -> Self {
        match error {
            NotExamined::Throttled { retry_after_seconds } => Self::Throttled { retry_after_seconds },
            NotExamined::Busy => Self::Busy,
            NotExamined::Store(error) => Self::Store(error),
        }
    }
}

/// What the counters say about an attempt.
enum Verdict {
    /// Look at it, after a delay that is usually none.
    Examine { delay: Duration, failed_before: bool },
    /// Refuse it unexamined.
    Refuse { retry_after_seconds: u32 },
}

struct Buckets {
    name_and_address: Digest,
    /// User names with which the address has failed.
    identifiers: Digest,
    address: Digest,
    /// None without a name: everybody's attempts would count as one user's.
    name: Option<Digest>,
}

impl Buckets {
    /// Those that say whether an attempt is examined, for [`judge`].
    fn asked(&self) -> failure::Buckets<'_> {
        [Some(&self.name_and_address), Some(&self.address), Some(&self.identifiers), self.name.as_ref()]
    }
}

impl Attempt<'_> {
    fn buckets(&self, ctx: &Context) -> Buckets {
        let address = network(self.address).to_string();
        let name = short(self.username);
        Buckets {
            identifiers: bucket(ctx, ["identifiers", &address]),
            name_and_address: bucket(ctx, ["name-and-address", &address, self.client, &name]),
            address: bucket(ctx, ["address", &address]),
            name: (!name.is_empty()).then(|| bucket(ctx, ["name", &name])),
        }
    }

    /// This user name, among those with which the address has failed.
    fn identifier(&self, ctx: &Context) -> Digest {
        bucket(ctx, ["identifier", &network(self.address).to_string(), &short(self.username)])
    }
}

fn bucket<const N: usize>(ctx: &Context, parts: [&str; N]) -> Digest {
    ctx.keys.digest(Purpose::FailureBucket, &parts.map(str::as_bytes))
}

/// A user name as counters know it. Longer ones are nobody's.
fn short(name: &str) -> String {
    fold(&name.chars().take(LONGEST_IDENTIFIER).collect::<String>())
}

/// Whose counters an administrator clears (CO-445).
pub(crate) fn subject(ctx: &Context, name: &str) -> Digest {
    bucket(ctx, ["subject", &short(name)])
}

/// The part of an address that one customer of a provider has: an IPv4 address, an IPv6 /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & (u128::MAX << 64))),
    }
}

/// Lets an attempt be examined, perhaps after a delay, or refuses it unexamined.
///
/// # Errors
/// [`NotExamined`].
pub async fn admit(ctx: &Context, attempt: &Attempt<'_>, cost: Cost) -> Result<Turn, NotExamined> {
    Ok(admit_with(ctx, attempt, cost, None).await?.0)
}

/// The same for who shows an app password with this digest, with what the store says of it: one question tells that, and
/// what was tried before. Who is not admitted learns nothing of it.
///
/// # Errors
/// [`NotExamined`].
pub async fn admit_owner(
    ctx: &Context,
    attempt: &Attempt<'_>,
    app_password: &Digest,
) -> Result<(Turn, OfUsername), NotExamined> {
    let (turn, found) = admit_with(ctx, attempt, Cost::Lookup, Some(app_password)).await?;
    Ok((turn, found.unwrap_or_default()))
}

async fn admit_with(
    ctx: &Context,
    attempt: &Attempt<'_>,
    cost: Cost,
    app_password: Option<&Digest>,
) -> Result<(Turn, Option<OfUsername>), NotExamined> {
    let buckets = attempt.buckets(ctx);
    let gate = match cost {
        Cost::Hash => &HASHES,
        Cost::Lookup => &LOOKUPS,
    };
    let mut delayed = false;
    loop {
        let mut turn = gate.pass(network(attempt.address)).await.ok_or(NotExamined::Busy)?;
        let (mut conn, now) = (ctx.db.read().await?, ctx.now());
        let (failures, found) = match app_password {
            Some(digest) => {
                let tried = Tried { buckets: buckets.asked(), enough: ctx.limits.enough(), now };
                let found = token::of_username(&mut conn, attempt.username, digest, tried).await?;
                (found.failures, Some(found))
            }
            None => (failure::get_each(&mut conn, buckets.asked(), now).await?, None),
        };
        drop(conn);
        match judge(&ctx.limits, failures, now) {
            Verdict::Refuse { retry_after_seconds } => return Err(NotExamined::Throttled { retry_after_seconds }),
            Verdict::Examine { delay, failed_before } if delayed || delay.is_zero() => {
                turn.failed_before = failed_before;
                return Ok((turn, found));
            }
            Verdict::Examine { delay, .. } => {
                drop(turn);
                tokio::time::sleep(delay).await;
                delayed = true;
            }
        }
    }
}

/// What the failures of [`Buckets::asked`] come to.
fn judge(limits: &Limits, failures: [Option<Failures>; 4], now: Timestamp) -> Verdict {
    for (failures, enough) in failures.iter().zip(limits.enough()) {
        if let Some(failures) = failures.filter(|failures| failures.count >= enough) {
            return Verdict::Refuse { retry_after_seconds: seconds_until(failures.window_ends, now) };
        }
    }
    let [name_and_address, _, _, name] = failures;
    let by_name = name.map_or(0, |failures| failures.count);
    Verdict::Examine { delay: limits.delay(by_name), failed_before: name_and_address.is_some() }
}

/// Counts a failed attempt.
///
/// # Errors
/// When the database fails.
pub async fn failed(ctx: &Context, conn: &mut Conn, attempt: &Attempt<'_>) -> Result<(), StoreError> {
    let (now, limits, buckets) = (ctx.now(), &ctx.limits, attempt.buckets(ctx));
    let subject = subject(ctx, attempt.username);
    let address_window = now.plus_seconds(limits.address_window_seconds.into());
    let counted = Counted { bucket: &buckets.name_and_address, subject: Some(&subject), limit: i64::MAX };
    let ends = now.plus_seconds(limits.name_and_address_window_seconds.into());
    failure::add_up_to(conn, &counted, now, ends).await?;
    let counted = Counted { bucket: &buckets.address, subject: None, limit: limits.per_address.into() };
    failure::add_up_to(conn, &counted, now, address_window).await?;
    if let Some(bucket) = &buckets.name {
        let counted = Counted { bucket, subject: Some(&subject), limit: i64::MAX };
        failure::add_up_to(conn, &counted, now, now.plus_seconds(limits.name_window_seconds.into())).await?;
        let window = now.plus_seconds(limits.identifiers_window_seconds.into());
        if failure::add(conn, &attempt.identifier(ctx), now, window).await?.count == 1 {
            let counted = Counted { bucket: &buckets.identifiers, subject: None, limit: limits.identifiers.into() };
            failure::add_up_to(conn, &counted, now, window).await?;
        }
    }
    Ok(())
}

/// Forgets the failures of this address with this user name: its owner knows the password (CO-442).
///
/// # Errors
/// When the database fails.
pub async fn succeeded(ctx: &Context, conn: &mut Conn, attempt: &Attempt<'_>) -> Result<(), StoreError> {
    failure::clear(conn, &forgotten(ctx, attempt)).await
}

/// What is to be forgotten after a success.
pub(crate) fn forgotten(ctx: &Context, attempt: &Attempt<'_>) -> Digest {
    attempt.buckets(ctx).name_and_address
}

/// Forgets all failures that are about a user name, from wherever they came (CO-445). Tells how many counters
/// there were.
///
/// # Errors
/// When the database fails.
pub async fn clear(ctx: &Context, conn: &mut Conn, name: &str) -> Result<u64, StoreError> {
    failure::clear_subject(conn, &subject(ctx, name)).await
}

/// A transaction in which something is told for the first time within so many seconds; none when it was told
/// already. Repeating it costs whoever does so a look, and us no write.
///
/// # Errors
/// When the database fails.
pub(crate) async fn first_of(ctx: &Context, what: &[&[u8]], seconds: i64) -> Result<Option<Tx>, StoreError> {
    let (now, bucket) = (ctx.now(), ctx.keys.digest(Purpose::FailureBucket, what));
    if failure::get(&mut ctx.db.read().await?, &bucket, now).await?.is_some() {
        return Ok(None);
    }
    let mut tx = ctx.db.write().await?;
    let seen = failure::add(&mut tx, &bucket, now, now.plus_seconds(seconds)).await?;
    Ok((seen.count == 1).then_some(tx))
}

/// Removes counters whose windows are over, a batch at a time.
///
/// # Errors
/// When the database fails.
pub async fn sweep(ctx: &Context) -> Result<(), StoreError> {
    loop {
        let mut tx = ctx.db.write().await?;
        let removed = failure::sweep(&mut tx, ctx.now(), BATCH.into()).await?;
        tx.commit().await?;
        if removed < BATCH.into() {
            return Ok(());
        }
    }
}

impl Limits {
    /// From how many failures on nothing is examined, for each of [`Buckets::asked`]. Those of a name never refuse.
    fn enough(&self) -> [i64; 4] {
        [self.per_name_and_address.into(), self.per_address.into(), self.identifiers.into(), i64::MAX]
    }

    /// No delay up to the limit, then 20 ms more for each failure.
    fn delay(&self, failures: i64) -> Duration {
        let surplus = u64::try_from(failures.saturating_sub(self.per_name.into())).unwrap_or(0);
        Duration::from_millis(surplus.saturating_mul(20).min(self.longest_delay_ms.into()))
    }
}

fn seconds_until(end: Timestamp, now: Timestamp) -> u32 {
    u32::try_from(end.seconds().saturating_sub(now.seconds()).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-680: an IPv6 customer counts by network, and an IPv4 address written as IPv6 counts as itself.
    #[test]
    fn oa_680_addresses_count_by_network() {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(network(parse("2001:db8:1:2:3:4:5:6")), parse("2001:db8:1:2::"));
        assert_eq!(network(parse("::ffff:192.0.2.7")), parse("192.0.2.7"));
    }

    /// OA-680: failures of a user name from everywhere delay, at most by the longest delay, and never refuse.
    #[test]
    fn oa_680_failures_of_a_name_only_delay() {
        let limits = Limits::default();
        assert_eq!(limits.delay(100), Duration::ZERO);
        assert_eq!(limits.delay(110), Duration::from_millis(200));
        assert_eq!(limits.delay(i64::MAX), Duration::from_secs(2));
    }
}
