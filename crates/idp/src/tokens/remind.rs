//! Reminders of app passwords that are about to end (OA-612).

use portcullis_store::account;
use portcullis_store::token::{self, Token};
use serde_json::json;

use super::named;
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::event;

/// How many days before their end owners are reminded, the nearest last.
const DAYS: [i32; 2] = [14, 1];
const BATCH: i64 = 100;

/// Records an event about each app password that is about to end: one 14 days before and one the day before, however many
/// processes do this. Call it now and then.
///
/// # Errors
/// When the store fails; what was done until then stays done.
pub async fn remind(ctx: &Context) -> Result<(), Error> {
    let system = Actor::system();
    // Who is reminded of the last day need not be reminded of the last fortnight any more.
    for days in DAYS.into_iter().rev() {
        loop {
            let due = token::unreminded(&mut ctx.db.read().await?, ctx.now(), days, BATCH).await?;
            if due.is_empty() {
                break;
            }
            let mut change = Change::begin(ctx, &system).await?;
            for token in due {
                tell(&mut change, &token, days).await?;
            }
            change.commit().await?;
        }
    }
    Ok(())
}

async fn tell(change: &mut Change<'_>, token: &Token, days: i32) -> Result<(), Error> {
    let Some(expires) = token.expires else { return Ok(()) };
    // Another process may have been quicker.
    if !token::remind(change.conn(), token.uuid, expires, days).await? {
        return Ok(());
    }
    let Some(owner) = account::by_pk(change.conn(), token.account).await? else { return Ok(()) };
    let context = json!({
        "message": "An app password is about to end.",
        "model": named(token),
        "owner": event::model("authentik_core", "user", owner.uuid, &owner.username),
        "expires": expires.to_string(),
        "days": days,
    });
    change.event("configuration_warning", context).await
}
