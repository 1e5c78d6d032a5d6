//! How often devices ask to be let in, and how often codes of theirs are guessed (OA-377, OA-378).

use std::net::IpAddr;

use portcullis_core::id::UserPk;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_store::{Conn, StoreError, failure};

use super::{network, seconds_until};
use crate::context::Context;
use crate::error::Error;

const HOUR: i64 = 3600;
/// Wrong codes of one user, and from one address, until no code is looked at.
const PER_USER: i64 = 10;
const PER_ADDRESS: i64 = 30;
const WINDOW_SECONDS: i64 = 900;

fn starts(ctx: &Context, address: IpAddr) -> Digest {
    ctx.keys.digest(Purpose::FailureBucket, &[b"device", network(address).to_string().as_bytes()])
}

/// Counts a device that asks to be let in.
///
/// # Errors
/// [`Error::Throttled`] when there were too many from this address.
pub(crate) async fn start(ctx: &Context, conn: &mut Conn, address: IpAddr) -> Result<(), Error> {
    let (now, bucket) = (ctx.now(), starts(ctx, address));
    let most = i64::from(ctx.limits.device_starts_per_hour);
    if let Some(started) = failure::get(conn, &bucket, now).await?.filter(|started| started.count >= most) {
        return Err(Error::Throttled { retry_after_seconds: seconds_until(started.window_ends, now) });
    }
    failure::add(conn, &bucket, now, now.plus_seconds(HOUR)).await?;
    Ok(())
}

fn guesses(ctx: &Context, user: UserPk, address: IpAddr) -> [(Digest, i64); 2] {
    let digest = |what: &[u8], whose: String| ctx.keys.digest(Purpose::FailureBucket, &[what, whose.as_bytes()]);
    [
        (digest(b"user-code", user.to_string()), PER_USER),
        (digest(b"user-code-address", network(address).to_string()), PER_ADDRESS),
    ]
}

fn links(ctx: &Context, user: UserPk) -> Digest {
    ctx.keys.digest(Purpose::FailureBucket, &[b"user-code-link", user.to_string().as_bytes()])
}

/// Whether a code is looked at that came in a link. Whoever is lured to links with wrong ones types theirs all the same.
///
/// # Errors
/// When the database fails.
pub(crate) async fn follows_link(ctx: &Context, conn: &mut Conn, user: UserPk) -> Result<bool, StoreError> {
    let wrong = failure::get(conn, &links(ctx, user), ctx.now()).await?;
    Ok(wrong.is_none_or(|wrong| wrong.count < PER_USER))
}

/// Counts a wrong code in a link.
///
/// # Errors
/// When the database fails.
pub(crate) async fn followed_wrong_link(ctx: &Context, conn: &mut Conn, user: UserPk) -> Result<(), StoreError> {
    let now = ctx.now();
    failure::add(conn, &links(ctx, user), now, now.plus_seconds(WINDOW_SECONDS)).await.map(drop)
}

/// Lets a typed code be looked at.
///
/// # Errors
/// [`Error::Throttled`] after too many wrong ones.
pub(crate) async fn admit(ctx: &Context, conn: &mut Conn, user: UserPk, address: IpAddr) -> Result<(), Error> {
    let now = ctx.now();
    for (bucket, most) in guesses(ctx, user, address) {
        if let Some(wrong) = failure::get(conn, &bucket, now).await?.filter(|wrong| wrong.count >= most) {
            return Err(Error::Throttled { retry_after_seconds: seconds_until(wrong.window_ends, now) });
        }
    }
    Ok(())
}

/// Counts a wrong code.
///
/// # Errors
/// When the database fails.
pub(crate) async fn failed(ctx: &Context, conn: &mut Conn, user: UserPk, address: IpAddr) -> Result<(), StoreError> {
    let now = ctx.now();
    for (bucket, _) in guesses(ctx, user, address) {
        failure::add(conn, &bucket, now, now.plus_seconds(WINDOW_SECONDS)).await?;
    }
    Ok(())
}
