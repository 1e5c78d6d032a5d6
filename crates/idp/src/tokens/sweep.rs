//! What happens to tokens whose time is over (CO-103, OA-609). Safety does not rest on it: an expired
//! token is refused at its next use, swept or not.

use portcullis_store::token::{self, Token};
use serde_json::json;

use super::{API, end, keys, named};
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::settings::Settings;

const BATCH: i64 = 100;

/// Gives expired API tokens a fresh key that nobody knows, and deletes other expired tokens. Call it at least
/// every five minutes.
///
/// # Errors
/// When the store fails; what was done until then stays done.
pub async fn sweep(ctx: &Context) -> Result<(), Error> {
    let system = Actor::system();
    loop {
        let expired = token::expired(&mut ctx.db.read().await?, ctx.now(), BATCH).await?;
        if expired.is_empty() {
            break;
        }
        let mut change = Change::begin(ctx, &system).await?;
        let settings = Settings::load(change.conn()).await?;
        for token in expired {
            retire(ctx, &mut change, &settings, token).await?;
        }
        change.commit().await?;
    }
    end_old_keys(ctx, &system).await
}

/// Forgets old keys whose time is over, and has outposts elsewhere look again (OA-608).
async fn end_old_keys(ctx: &Context, system: &Actor) -> Result<(), Error> {
    loop {
        let ended = token::with_ended_old_key(&mut ctx.db.read().await?, ctx.now(), BATCH).await?;
        if ended.is_empty() {
            return Ok(());
        }
        let mut change = Change::begin(ctx, system).await?;
        for seen in ended {
            // Read again inside the transaction: it may have been replaced meanwhile.
            let token = token::by_uuid(change.conn(), seen.uuid).await?;
            let is_over = |token: &Token| token.old_key.as_ref().is_some_and(|old| old.ends <= ctx.now());
            if let Some(mut token) = token.filter(is_over) {
                keys::end_old_in(&mut change, &mut token).await?;
            }
        }
        change.commit().await?;
    }
}

async fn retire(ctx: &Context, change: &mut Change<'_>, settings: &Settings, seen: Token) -> Result<(), Error> {
    // Read again inside the transaction: it may have been changed or deleted meanwhile.
    let Some(mut expired) = token::by_uuid(change.conn(), seen.uuid).await? else { return Ok(()) };
    if expired.holds(ctx.now()) {
        return Ok(());
    }
    if expired.intent != API {
        end(change, &expired).await?;
        return change.event("model_deleted", json!({"model": named(&expired), "message": "The token expired."})).await;
    }
    // At least a minute, so that one sweep ends.
    let lifetime = settings.default_token_duration.max(60);
    expired.expires = Some(ctx.now().plus_seconds(lifetime));
    let key = keys::generate(ctx, API, settings);
    expired.needs_rotation = true;
    keys::replace(ctx, change, &mut expired, &key).await?;
    change.event("secret_rotate", json!({"token": named(&expired), "message": "The token expired."})).await
}
