//! Signing out (CO-323). Signing in is a flow: [`crate::flow`].

use portcullis_store::login_session::LoginSession;
use serde_json::json;

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::sessions;

/// Signs a browser out: its session ends, and with it everything that came from it (CO-323).
///
/// # Errors
/// When the store fails.
pub async fn out(ctx: &Context, session: &LoginSession, actor: &Actor) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    out_in(ctx, &mut change, session).await?;
    change.commit().await
}

/// The same as part of a larger change.
pub(crate) async fn out_in(ctx: &Context, change: &mut Change<'_>, session: &LoginSession) -> Result<(), Error> {
    sessions::end(ctx, change.conn(), &session.sid).await?;
    change.touch(Touched::Session(session.sid.clone()));
    change.event("logout", json!({"logout_reason": "user"})).await
}
