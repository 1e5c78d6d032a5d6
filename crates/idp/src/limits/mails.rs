//! How many recovery mails are sent, to one account and at the wish of one address (CO-325).

use std::net::IpAddr;

use portcullis_core::keys::Purpose;
use portcullis_store::{Conn, StoreError, failure};
use uuid::Uuid;

use super::network;
use crate::context::Context;

/// Mails to one account in an hour.
const PER_ACCOUNT: i64 = 5;
/// Mails that one address asks for in an hour.
const PER_ADDRESS: i64 = 20;
const HOUR: i64 = 3600;

/// Whether one more may be sent, which is counted then.
pub(crate) async fn admit(ctx: &Context, conn: &mut Conn, account: Uuid, address: IpAddr) -> Result<bool, StoreError> {
    let (now, address) = (ctx.now(), network(address).to_string());
    let digest = |what: &[u8], whose: &[u8]| ctx.keys.digest(Purpose::FailureBucket, &[what, whose]);
    let buckets = [
        (digest(b"recovery-mail-account", account.as_bytes()), PER_ACCOUNT),
        (digest(b"recovery-mail-address", address.as_bytes()), PER_ADDRESS),
    ];
    for (bucket, most) in &buckets {
        if failure::get(conn, bucket, now).await?.is_some_and(|sent| sent.count >= *most) {
            return Ok(false);
        }
    }
    for (bucket, _) in &buckets {
        failure::add(conn, bucket, now, now.plus_seconds(HOUR)).await?;
    }
    Ok(true)
}
