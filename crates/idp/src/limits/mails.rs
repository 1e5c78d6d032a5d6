//! How many mails are sent for one account and at the wish of one address (CO-325).

use std::net::IpAddr;

use portcullis_core::keys::Purpose;
use portcullis_store::{Conn, StoreError, failure};
use uuid::Uuid;

use super::network;
use crate::context::Context;

/// Mails of a kind for one account in an hour.
const PER_ACCOUNT: i64 = 5;
/// Mails of a kind that one address asks for in an hour.
const PER_ADDRESS: i64 = 20;
const HOUR: i64 = 3600;

/// What a mail is for. Each is counted by itself: who may see the one counter learns nothing of the other, and cannot use it
/// up for somebody else.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// To choose another password (CO-325).
    Recovery,
    /// To confirm another address (CO-327).
    Address,
}

/// Whether an address may ask for one more, which is counted then, whomever it would be sent to. To be asked before anybody
/// is looked up.
///
/// # Errors
/// When the database fails.
pub(crate) async fn admit_address(
    ctx: &Context,
    conn: &mut Conn,
    kind: Kind,
    address: IpAddr,
) -> Result<bool, StoreError> {
    let what: &[u8] = match kind {
        Kind::Recovery => b"recovery-mail-address",
        Kind::Address => b"confirmation-mail-address",
    };
    admit(ctx, conn, [what, network(address).to_string().as_bytes()], PER_ADDRESS).await
}

/// Whether one more may be sent for an account, which is counted then.
///
/// # Errors
/// When the database fails.
pub(crate) async fn admit_account(
    ctx: &Context,
    conn: &mut Conn,
    kind: Kind,
    account: Uuid,
) -> Result<bool, StoreError> {
    let what: &[u8] = match kind {
        Kind::Recovery => b"recovery-mail-account",
        Kind::Address => b"confirmation-mail-account",
    };
    admit(ctx, conn, [what, account.as_bytes()], PER_ACCOUNT).await
}

async fn admit(ctx: &Context, conn: &mut Conn, whose: [&[u8]; 2], most: i64) -> Result<bool, StoreError> {
    let (now, bucket) = (ctx.now(), ctx.keys.digest(Purpose::FailureBucket, &whose));
    if failure::get(conn, &bucket, now).await?.is_some_and(|sent| sent.count >= most) {
        return Ok(false);
    }
    failure::add(conn, &bucket, now, now.plus_seconds(HOUR)).await?;
    Ok(true)
}
