//! Buttons that are pressed twice (CO-302). Of two answers browsers heed the second alone, and the first may have signed them
//! in: the second answer of one form gets the session that the first one began, and not another one beside it.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::keys::{Digest, Purpose};
use portcullis_store::account::Account;
use portcullis_store::{Conn, StoreError, login_session};

use super::Desk;
use crate::sessions;

/// How long after the first press another one is taken for the second.
const LIFE: Duration = Duration::from_mins(1);
/// Most forms that are remembered.
const MOST: u64 = 10_000;

/// The cookies of sessions that forms have begun lately, in memory alone; start with the default.
pub struct Pressed(moka::sync::Cache<Digest, Arc<str>>);

impl Default for Pressed {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(MOST).time_to_live(LIFE).build())
    }
}

fn key(desk: &Desk<'_>, account: &Account) -> Option<Digest> {
    let (visit, form) = (desk.visit, desk.visit.form?);
    // From elsewhere it is no second press, but the same answer sent by somebody else, of whom the trail is to tell.
    let client = visit.visitor.client.to_string();
    let parts = [b"form", form.as_bytes(), account.uuid.as_bytes(), client.as_bytes(), visit.user_agent.as_bytes()];
    Some(desk.ctx.keys.digest(Purpose::SessionLookup, &parts))
}

/// Remembers the session that a form begins. Call it before that is committed: the second answer waits for the first one's
/// transaction, and asks then.
pub(super) fn begins(desk: &Desk<'_>, account: &Account, cookie: &str) {
    if let Some(key) = key(desk, account) {
        desk.ctx.pressed.0.insert(key, cookie.into());
    }
}

/// The cookie of the session that this form has begun already, if that has not ended. Whoever asks has proved to be the
/// user.
pub(super) async fn has_begun(
    desk: &Desk<'_>,
    conn: &mut Conn,
    account: &Account,
) -> Result<Option<String>, StoreError> {
    let Some(cookie) = key(desk, account).and_then(|key| desk.ctx.pressed.0.get(&key)) else { return Ok(None) };
    let session = login_session::by_digest(conn, &sessions::digest(desk.ctx, &cookie), desk.ctx.now()).await?;
    Ok(session.map(|_| cookie.to_string()))
}
