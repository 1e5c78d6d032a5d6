//! What changes touch, written down in the same transaction: outposts elsewhere are told of it, and other processes that
//! serve the same database (PX-409, design D3).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::ProviderPk;
use portcullis_store::revocation::{self, Revocation};
use portcullis_store::{Conn, StoreError};

use crate::BATCH;
use crate::change::{Touched, tell};
use crate::context::Context;
use crate::error::Error;

/// How long rows are kept, in seconds: what an outpost missed for a day can be told it (PX-409).
const KEPT_SECONDS: i64 = 25 * 3600;
/// Rows that are read at a time.
pub(crate) const PAGE: i64 = 500;

/// Writes down what was touched. To be called last in a transaction; once it is committed, and if this gave `true`,
/// [`crate::outposts::channel::Channels::wake`].
///
/// # Errors
/// When the store fails.
pub(crate) async fn note<'a>(
    conn: &mut Conn,
    now: Timestamp,
    touched: impl IntoIterator<Item = &'a Touched>,
) -> Result<bool, StoreError> {
    let mut any = false;
    for touched in touched {
        if let Some((kind, value, provider)) = written(touched) {
            revocation::insert(conn, now, kind, &value, provider).await?;
            any = true;
        }
    }
    Ok(any)
}

/// Kind, value and provider of a row; none for what nobody elsewhere needs to hear of.
fn written(touched: &Touched) -> Option<(&'static str, String, Option<ProviderPk>)> {
    Some(match touched {
        Touched::User(uuid) => ("user", uuid.to_string(), None),
        Touched::Gone(uuid) => ("gone", uuid.to_string(), None),
        Touched::Token(uuid) => ("token", uuid.to_string(), None),
        Touched::AccessToken(jti) => ("access_token", jti.clone(), None),
        Touched::Evicted(_) => return None,
        Touched::Session(sid) => ("session", sid.clone(), None),
        Touched::SessionAt(sid, provider) => ("session", sid.clone(), Some(*provider)),
        Touched::Provider(pk) => ("provider", String::new(), Some(*pk)),
        Touched::Everyone => ("everyone", String::new(), None),
        Touched::Configuration => ("configuration", String::new(), None),
    })
}

/// What a row says was touched. What is not understood concerns everybody.
pub fn touched(row: &Revocation) -> Touched {
    let value = || row.value.clone();
    let known = match (row.kind.as_str(), row.provider) {
        ("user", _) => row.value.parse().ok().map(Touched::User),
        ("gone", _) => row.value.parse().ok().map(Touched::Gone),
        ("token", _) => row.value.parse().ok().map(Touched::Token),
        ("access_token", _) => Some(Touched::AccessToken(value())),
        ("session", None) => Some(Touched::Session(value())),
        ("session", Some(provider)) => Some(Touched::SessionAt(value(), provider)),
        ("provider", Some(provider)) => Some(Touched::Provider(provider)),
        ("configuration", _) => Some(Touched::Configuration),
        _ => None,
    };
    known.unwrap_or(Touched::Everyone)
}

/// Has everything looked at again that was touched after the row `seq`, by whichever process; gives the number of the
/// latest row. For processes that share a database.
///
/// # Errors
/// When the store fails.
pub async fn hear(ctx: &Context, mut seq: i64) -> Result<i64, Error> {
    let mut heard = false;
    loop {
        let rows = revocation::since(&mut ctx.db.read().await?, seq, PAGE).await?;
        let Some(last) = rows.last() else { break };
        seq = last.seq;
        heard = true;
        rows.iter().for_each(|row| tell(ctx, &touched(row)));
    }
    if heard {
        ctx.channels.wake();
    }
    Ok(seq)
}

/// Removes what was kept long enough, a batch at a time.
///
/// # Errors
/// When the store fails.
pub async fn sweep(ctx: &Context) -> Result<(), Error> {
    loop {
        let mut tx = ctx.db.write().await?;
        let removed = revocation::sweep(&mut tx, ctx.now().plus_seconds(-KEPT_SECONDS), BATCH.into()).await?;
        tx.commit().await?;
        if removed < BATCH.into() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::id::TokenId;
    use uuid::Uuid;

    /// PX-409: whatever is touched can be written down and read again; a row that is not understood concerns everybody.
    #[test]
    fn px_409_what_is_touched_is_written_and_read() {
        let uuid = Uuid::from_u128(7);
        let all = [
            Touched::User(uuid),
            Touched::Gone(uuid),
            Touched::Token(TokenId(uuid)),
            Touched::AccessToken("j".to_owned()),
            Touched::Session("s".to_owned()),
            Touched::SessionAt("s".to_owned(), ProviderPk(7)),
            Touched::Provider(ProviderPk(7)),
            Touched::Everyone,
            Touched::Configuration,
        ];
        let row = |kind: &str, value, provider| Revocation {
            seq: 1,
            created: Timestamp(0),
            kind: kind.to_owned(),
            value,
            provider,
        };
        for one in all {
            let (kind, value, provider) = written(&one).unwrap();
            assert_eq!(touched(&row(kind, value, provider)), one);
        }
        for (kind, value) in [("user", "no id"), ("device", "7"), ("provider", "")] {
            assert_eq!(touched(&row(kind, value.to_owned(), None)), Touched::Everyone, "{kind}");
        }
    }
}
