//! What changes touch, written down in the same transaction: outposts elsewhere are told of it, and other processes that
//! serve the same database (PX-409, design D3).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::Digest;
use portcullis_store::revocation::{self, Revocation};
use portcullis_store::{Conn, StoreError, db};

use crate::BATCH;
use crate::change::{Embedded, Touched, tell};
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
    if any {
        db::tell_others(conn).await?;
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
        Touched::Embedded(Embedded::Session(digest)) => ("embedded_session", hex::encode(digest), None),
        Touched::Embedded(Embedded::OfUser(uuid)) => ("embedded_of_user", uuid.clone(), None),
        Touched::Embedded(Embedded::OfSid(sid)) => ("embedded_of_sid", sid.clone(), None),
        Touched::Embedded(Embedded::Many) => ("embedded", String::new(), None),
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
        ("embedded_session", _) => digest(&row.value).map(|digest| Touched::Embedded(Embedded::Session(digest))),
        ("embedded_of_user", _) => Some(Touched::Embedded(Embedded::OfUser(value()))),
        ("embedded_of_sid", _) => Some(Touched::Embedded(Embedded::OfSid(value()))),
        ("embedded", _) => Some(Touched::Embedded(Embedded::Many)),
        ("provider", Some(provider)) => Some(Touched::Provider(provider)),
        ("configuration", _) => Some(Touched::Configuration),
        _ => None,
    };
    known.unwrap_or(Touched::Everyone)
}

fn digest(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

/// Notes that sessions of the embedded outpost have ended, where other processes may hold them in memory. As [`note`],
/// last in a transaction; whoever ends them tells its own process.
///
/// # Errors
/// When the store fails.
pub(crate) async fn note_embedded(ctx: &Context, conn: &mut Conn, ended: Embedded) -> Result<(), StoreError> {
    if ctx.db.is_shared() {
        note(conn, ctx.now(), [&Touched::Embedded(ended)]).await?;
    }
    Ok(())
}

/// The number of the latest row: the place from which [`hear`] goes on. Take it before anything is kept in memory.
///
/// # Errors
/// When the store fails.
pub async fn present(ctx: &Context) -> Result<i64, Error> {
    Ok(revocation::latest(&mut ctx.db.read().await?).await?)
}

/// Has everything looked at again that was touched after the row `seq`, by whichever process, this one included: that
/// costs a second look at most. Gives the number of the latest row. For processes that share a database.
///
/// # Errors
/// When the store fails.
pub async fn hear(ctx: &Context, mut seq: i64) -> Result<i64, Error> {
    let mut heard = false;
    loop {
        let mut conn = ctx.db.read().await?;
        let rows = revocation::since(&mut conn, seq, PAGE).await?;
        let Some(last) = rows.last() else {
            // A copy of the database has taken its place that lacks what came last.
            let latest = revocation::latest(&mut conn).await?;
            if latest < seq {
                hear_of_everything(ctx);
                seq = latest;
            }
            break;
        };
        if rows.first().is_some_and(|row| row.seq > seq.saturating_add(1))
            && revocation::earliest(&mut conn).await? > seq
        {
            // What came before them may have been swept away while this process slept.
            hear_of_everything(ctx);
        }
        seq = last.seq;
        heard = true;
        rows.iter().for_each(|row| tell(ctx, &touched(row)));
    }
    if heard {
        ctx.channels.wake();
    }
    Ok(seq)
}

/// Has everything looked at again, here and at outposts elsewhere (PX-409): what was touched is not known.
pub fn hear_of_everything(ctx: &Context) {
    tell(ctx, &Touched::Everyone);
    tell(ctx, &Touched::Configuration);
    ctx.channels.begin_anew();
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
            Touched::Embedded(Embedded::Session([7; 32])),
            Touched::Embedded(Embedded::OfUser(uuid.to_string())),
            Touched::Embedded(Embedded::OfSid("s".to_owned())),
            Touched::Provider(ProviderPk(7)),
            Touched::Everyone,
            Touched::Configuration,
        ];
        assert_eq!(written(&Touched::Evicted("j".to_owned())), None, "nothing was taken away");
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
        for (kind, value) in [("user", "no id"), ("embedded_session", "07"), ("device", "7"), ("provider", "")] {
            assert_eq!(touched(&row(kind, value.to_owned(), None)), Touched::Everyone, "{kind}");
        }
    }
}
