//! Another root secret (CO-460): everything that is sealed is opened with the old keys and sealed with the new
//! ones, in one transaction. What is kept as a digest only cannot be found again under other keys, and ends:
//! sessions, codes, access tokens.

use portcullis_core::id::UserPk;
use portcullis_core::keys::{Keyring, OpenError, Purpose};
use portcullis_store::{StoreError, account, sealed};
use serde_json::json;
use zeroize::Zeroizing;

use crate::change::Touched;
use crate::context::{Actor, Context};
use crate::directory::{lookup, secret_keys};
use crate::error::Error;
use crate::{event, revocations};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Values that were sealed anew.
    pub sealed: usize,
    /// Sessions, codes and access tokens that ended.
    pub ended: u64,
}

/// Brings the database from the keys `old` to those of the context. Nobody else may use it meanwhile.
///
/// # Errors
/// When a value cannot be opened with the old keys, or the store fails; then nothing was changed.
pub async fn run(ctx: &Context, old: &Keyring) -> Result<Report, Error> {
    let mut tx = ctx.db.write().await?;
    let mut report = Report::default();
    let secrets = secret_keys(ctx, &mut tx).await?;
    for column in &sealed::SEALED {
        for (key, value) in sealed::read(&mut tx, column).await? {
            let place = column.place(&key);
            let failed = |source: OpenError| Error::Sealed { place: place.clone(), source };
            let plain = Zeroizing::new(old.open(&place, &value).map_err(failed)?);
            sealed::write(&mut tx, column, &key, &ctx.keys.seal(&place, &plain, &*ctx.entropy)).await?;
            if column.table == "token" {
                let digest = ctx.keys.digest(Purpose::TokenLookup, &[plain.as_slice()]);
                sealed::set_token_digest(&mut tx, &key, &digest).await?;
            }
            if let ("account", Ok(user)) = (column.table, key.parse().map(UserPk)) {
                let attributes = serde_json::from_slice(&plain).map_err(|_| Error::Unreadable(place.clone()))?;
                let digests = lookup::digests(&ctx.keys, &attributes, &secrets);
                account::set_attribute_digests(&mut tx, user, &digests).await?;
            }
            report.sealed += 1;
        }
    }
    report.ended = sealed::end(&mut tx).await?;
    let context = json!({"message": "The root secret of the instance was replaced.", "sealed_values": report.sealed});
    let recorded = event::record(ctx, &mut tx, &Actor::system(), "secret_rotate", context).await?;
    // Nothing that outposts elsewhere hold can be looked up any more.
    revocations::note(&mut tx, ctx.now(), &[Touched::Everyone]).await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(report)
}

/// Leaves nothing in the files of the database that the old keys could open.
///
/// # Errors
/// When the store fails.
pub async fn forget(ctx: &Context) -> Result<(), StoreError> {
    ctx.db.compact().await
}
