//! Telling clients that a session ended: from server to server (OA section 19.3), or by way of the browser (19.2).
//!
//! Who is told is written down in the transaction that ends the session. [`work`] then sends what is due; nobody waits
//! for it, and no connection to the database is held meanwhile.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::id::ProviderPk;
use portcullis_store::provider::{self, Provider};
use portcullis_store::rp_session::{self, Notice};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use url::Url;

use crate::claims::ClaimSet;
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::outbound::OutboundError;
use crate::signing::{Signer, TokenType};
use crate::{event, limits};

/// How often it is looked whether something is due.
const PAUSE: Duration = Duration::from_secs(1);
/// Notices that are sent at once, and those of them to one client.
const MOST_AT_ONCE: i64 = 16;
const MOST_TO_ONE: i64 = 4;
/// How long to wait after each attempt that failed, in seconds: the last one is an hour after the first (OA-558).
const WAITS: [i64; 5] = [60, 300, 900, 2340, 3600];
/// How long a logout token holds (OA-557), in seconds.
const TOKEN_SECONDS: i64 = 120;
/// Clients that one page of sign-out loads.
const MOST_FRAMES: i64 = 50;
const HOUR: i64 = 3600;

/// Sends what is due until `stop`. What is under way then is tried again by whoever comes next.
pub async fn work(ctx: Arc<Context>, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        let round = async {
            while deliver(&ctx).await? > 0 {}
            Ok::<_, Error>(())
        };
        let outcome = tokio::select! {
            biased;
            () = &mut stop => return,
            outcome = round => outcome,
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "clients are not told of sessions that ended");
        }
    }
}

/// A notice on its way.
struct Sent {
    notice: Notice,
    provider: Provider,
    outcome: Result<(), OutboundError>,
}

/// Sends notices that are due, a few of them; tells how many.
///
/// # Errors
/// When the store fails.
pub async fn deliver(ctx: &Arc<Context>) -> Result<usize, Error> {
    let now = ctx.now();
    let due = rp_session::due(&mut ctx.db.read().await?, now, MOST_TO_ONE, MOST_AT_ONCE).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let mut taken = Vec::new();
    let mut tx = ctx.db.write().await?;
    for notice in due {
        let tried = usize::try_from(notice.attempts).unwrap_or(usize::MAX);
        let wait = WAITS.get(tried).copied().unwrap_or(HOUR);
        if rp_session::take(&mut tx, &notice, now.plus_seconds(wait)).await? {
            taken.push(Notice { attempts: notice.attempts.saturating_add(1), ..notice });
        }
    }
    tx.commit().await?;
    let count = taken.len();
    let mut under_way = JoinSet::new();
    for notice in taken {
        let Some((provider, token)) = written(ctx, &notice).await? else { continue };
        let ctx = Arc::clone(ctx);
        under_way.spawn(async move {
            let form =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", &token).finish();
            let outcome = ctx.outbound.post_form(&provider.logout_uri, form).await;
            Sent { notice, provider, outcome }
        });
    }
    while let Some(sent) = under_way.join_next().await {
        // What panicked is tried again.
        if let Ok(sent) = sent {
            settle(ctx, &sent).await?;
        }
    }
    Ok(count)
}

/// The logout token (OA-557) with whose it is; none when the client wants none any more, or nothing can be signed at
/// present.
async fn written(ctx: &Context, notice: &Notice) -> Result<Option<(Provider, String)>, Error> {
    let mut conn = ctx.db.read().await?;
    let found = provider::by_pk(&mut conn, notice.provider).await?;
    let Some(provider) = found.filter(|found| is_told(found, "backchannel")) else {
        drop(conn);
        forget(ctx, notice).await?;
        return Ok(None);
    };
    let now = ctx.now().seconds();
    let mut said = ClaimSet::new();
    let mut say = |name: &str, value: Value| said.insert(name.to_owned(), value);
    say("iss", json!(notice.iss));
    say("aud", json!(provider.client_id));
    say("iat", json!(now));
    say("exp", json!(now.saturating_add(TOKEN_SECONDS)));
    say("jti", json!(ctx.entropy.alphanumeric(40)));
    say("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}}));
    say("sid", json!(notice.sid));
    say("sub", json!(notice.sub));
    let signed = match Signer::of(ctx, &mut conn, &provider).await {
        Ok(signer) => signer.sign(TokenType::Logout, &said),
        Err(error) => Err(error),
    };
    drop(conn);
    match signed {
        Ok(token) => Ok(Some((provider, token))),
        Err(error) => {
            tracing::error!(%error, provider = provider.name, "logout token cannot be signed");
            give_up(ctx, notice, &provider).await?;
            Ok(None)
        }
    }
}

fn is_told(provider: &Provider, method: &str) -> bool {
    !provider.logout_uri.is_empty() && provider.logout_method == method
}

async fn settle(ctx: &Context, sent: &Sent) -> Result<(), Error> {
    let Sent { notice, provider, outcome } = sent;
    match outcome {
        Ok(()) => forget(ctx, notice).await,
        Err(error) => {
            tracing::warn!(%error, provider = provider.name, attempt = notice.attempts, "client was not told of a sign-out");
            give_up(ctx, notice, provider).await
        }
    }
}

async fn forget(ctx: &Context, notice: &Notice) -> Result<(), Error> {
    let mut tx = ctx.db.write().await?;
    rp_session::done(&mut tx, notice.pk).await?;
    Ok(tx.commit().await?)
}

/// Drops a notice after its last attempt, which is said once per client and hour.
async fn give_up(ctx: &Context, notice: &Notice, provider: &Provider) -> Result<(), Error> {
    if usize::try_from(notice.attempts).is_ok_and(|attempts| attempts < WAITS.len()) {
        return Ok(());
    }
    forget(ctx, notice).await?;
    let what = [b"backchannel-logout".as_slice(), provider.client_id.as_bytes()];
    let Some(mut tx) = limits::first_of(ctx, &what, HOUR).await? else { return Ok(()) };
    let context = json!({"message": "Client could not be told that a session ended", "provider": provider.name});
    let recorded = event::record(ctx, &mut tx, &Actor::system(), "configuration_error", context).await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(())
}

/// What the browser of a session loads so that clients hear of its end, at one of them if given (OA-550): their logout
/// addresses with `iss` and `sid`.
///
/// # Errors
/// When the store fails.
pub async fn frames(ctx: &Context, sid: &str, only: Option<ProviderPk>) -> Result<Vec<String>, Error> {
    let mut conn = ctx.db.read().await?;
    let mut frames = Vec::new();
    for told in rp_session::of_session(&mut conn, sid, MOST_FRAMES).await? {
        if only.is_some_and(|only| only != told.provider) {
            continue;
        }
        let found = provider::by_pk(&mut conn, told.provider).await?;
        let Some(provider) = found.filter(|found| is_told(found, "frontchannel")) else { continue };
        if let Ok(mut uri) = Url::parse(&provider.logout_uri) {
            uri.query_pairs_mut().append_pair("iss", &told.iss).append_pair("sid", &told.sid);
            frames.push(uri.into());
        }
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-558: five attempts within an hour, each after a longer wait.
    #[test]
    fn oa_558_attempts_end_within_an_hour() {
        let until_the_last: i64 = WAITS.iter().take(WAITS.len() - 1).sum();
        assert!(until_the_last <= HOUR && WAITS.len() == 5);
        assert!(WAITS.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
