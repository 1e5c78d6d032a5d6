//! Limits of signing in with a password and a second factor (CO-441…CO-445).
//!
//! The wait after wrong passwords is that of one address with one user, by whatever name, and a browser that the user
//! has signed in with before has a counter of its own: nobody else's guesses keep the owner out.

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_store::failure::{Counted, Failures};
use portcullis_store::{Conn, StoreError, failure};
use uuid::Uuid;

use super::{Attempt, Limits, network, short, subject};
use crate::context::Context;

/// Doublings after which the wait is the longest one whatever it began with.
const MOST_DOUBLINGS: u32 = 30;

fn bucket(ctx: &Context, attempt: &Attempt<'_>) -> Digest {
    let (address, name) = (network(attempt.address).to_string(), short(attempt.username));
    let parts = [b"password", address.as_bytes(), attempt.client.as_bytes(), name.as_bytes()];
    ctx.keys.digest(Purpose::FailureBucket, &parts)
}

/// Whether a password is not examined now.
pub(crate) async fn is_waiting(ctx: &Context, conn: &mut Conn, attempt: &Attempt<'_>) -> Result<bool, StoreError> {
    let found = failure::get(conn, &bucket(ctx, attempt), ctx.now()).await?;
    Ok(found.is_some_and(|failures| ctx.now() < ctx.limits.waits_until(&failures)))
}

/// Counts a wrong password.
pub(crate) async fn failed(ctx: &Context, conn: &mut Conn, attempt: &Attempt<'_>) -> Result<(), StoreError> {
    let (now, bucket, subject) = (ctx.now(), bucket(ctx, attempt), subject(ctx, attempt.username));
    let counted = Counted { bucket: &bucket, subject: Some(&subject), limit: ctx.limits.account.into() };
    failure::add_up_to(conn, &counted, now, now.plus_seconds(ctx.limits.account_window_seconds.into())).await?;
    Ok(())
}

/// Forgets the wrong passwords of this address with this user name.
pub(crate) async fn succeeded(ctx: &Context, conn: &mut Conn, attempt: &Attempt<'_>) -> Result<(), StoreError> {
    failure::clear(conn, &bucket(ctx, attempt)).await
}

impl Limits {
    /// When a password is examined again.
    fn waits_until(&self, failures: &Failures) -> Timestamp {
        let Ok(surplus) = u32::try_from(failures.count.saturating_sub(self.account.into())) else {
            return failures.last;
        };
        let longest = u64::from(self.account_window_seconds);
        let wait = u64::from(self.account_first_wait_seconds) << surplus.min(MOST_DOUBLINGS);
        failures.last.plus_seconds(i64::try_from(wait.min(longest)).unwrap_or_default())
    }
}

/// The counter of a user's wrong codes. A browser that is known to be theirs has its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codes<'a> {
    /// Permanent id of the user.
    pub(crate) user: Uuid,
    /// Their name, for whoever clears counters.
    pub(crate) username: &'a str,
    /// The known browser.
    pub(crate) device: Option<&'a str>,
}

impl Codes<'_> {
    fn bucket(&self, ctx: &Context) -> Digest {
        let device = self.device.unwrap_or_default().as_bytes();
        ctx.keys.digest(Purpose::FailureBucket, &[b"code", self.user.as_bytes(), device])
    }

    /// Whether codes are not examined now.
    pub(crate) async fn is_blocked(&self, ctx: &Context, conn: &mut Conn) -> Result<bool, StoreError> {
        let found = failure::get(conn, &self.bucket(ctx), ctx.now()).await?;
        Ok(found.is_some_and(|failures| failures.count >= i64::from(ctx.limits.second_factor)))
    }

    /// Counts a wrong code.
    pub(crate) async fn failed(&self, ctx: &Context, conn: &mut Conn) -> Result<(), StoreError> {
        let (now, bucket, subject) = (ctx.now(), self.bucket(ctx), subject(ctx, self.username));
        let counted = Counted { bucket: &bucket, subject: Some(&subject), limit: ctx.limits.second_factor.into() };
        let ends = now.plus_seconds(ctx.limits.second_factor_window_seconds.into());
        failure::add_up_to(conn, &counted, now, ends).await?;
        Ok(())
    }

    /// Forgets the wrong codes.
    pub(crate) async fn succeeded(&self, ctx: &Context, conn: &mut Conn) -> Result<(), StoreError> {
        failure::clear(conn, &self.bucket(ctx)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-441: the fifth wrong password starts a wait of 30 seconds, each further one doubles it, up to 15 minutes.
    #[test]
    fn co_441_waits_double_up_to_a_quarter_of_an_hour() {
        let (limits, last) = (Limits::default(), Timestamp::from_seconds(1000));
        let wait = |count| {
            let failures = Failures { count, last, window_ends: last };
            limits.waits_until(&failures).seconds() - last.seconds()
        };
        assert_eq!([wait(1), wait(4), wait(5), wait(6), wait(7)], [0, 0, 30, 60, 120]);
        assert_eq!([wait(9), wait(10), wait(1000)], [480, 900, 900]);
        let off = Limits { account: u32::MAX, ..limits };
        assert_eq!(off.waits_until(&Failures { count: 1_000_000, last, window_ends: last }), last);
    }
}
