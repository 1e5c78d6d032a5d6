//! Sessions as people see and end them: their own, and an administrator everybody's (CO-554, CO-555, CO-702).

use portcullis_core::id::UserPk;
use portcullis_core::permission::{Model, Verb};
use portcullis_store::account::{self, Account};
use portcullis_store::grant::descent::Ended;
use portcullis_store::login_session::{self, Filter, LoginSession};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::event::model;
use crate::list::{Listed, Slice, Visible};

/// A session for somebody's eyes.
pub type ShownSession = LoginSession;

/// The sessions that meet conditions: those of others for who has the permission, and anybody's own.
///
/// # Errors
/// [`Error::Forbidden`] for an ordinary user without any session (CO-703).
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<ShownSession>, Error> {
    let mut conn = ctx.db.read().await?;
    let visible = actor.sees_with_own(Model::SESSION);
    if let Visible::Only { keys, owner: Some(owner) } = &visible
        && keys.is_empty()
        && login_session::of_account(&mut conn, *owner, ctx.now()).await?.is_empty()
    {
        return Err(Error::Forbidden);
    }
    Ok(login_session::list(&mut conn, filter, ctx.now(), slice.of(visible)).await?)
}

/// One session.
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see.
pub async fn get(ctx: &Context, actor: &Actor, uuid: Uuid) -> Result<ShownSession, Error> {
    let found = login_session::by_uuid(&mut ctx.db.read().await?, uuid, ctx.now()).await?;
    permitted(found, actor, Verb::View)
}

fn permitted(found: Option<LoginSession>, actor: &Actor, verb: Verb) -> Result<LoginSession, Error> {
    let found = found.ok_or(Error::NotFound(Model::SESSION.kind))?;
    actor.need_on_owned(verb, Model::SESSION, &found.uuid, found.account)?;
    Ok(found)
}

/// Ends a session, with everything that came from it (CO-385).
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see.
pub async fn delete(ctx: &Context, actor: &Actor, uuid: Uuid) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let found = login_session::by_uuid(change.conn(), uuid, ctx.now()).await?;
    let session = permitted(found, actor, Verb::Delete)?;
    let named = owner(&mut change, session.account).await?;
    super::end(ctx, change.conn(), &session.sid).await?;
    change.touch(Touched::Session(session.sid));
    change.event("logout", json!({"logout_reason": "session_deleted", "model": named})).await?;
    change.commit().await
}

/// Ends all sessions of these users, and tells how many there were (CO-555).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission who name anybody but themselves.
pub async fn delete_of_users(ctx: &Context, actor: &Actor, users: &[UserPk]) -> Result<usize, Error> {
    let may = actor.may(Verb::View, Model::SESSION) && actor.may(Verb::Delete, Model::SESSION);
    if !may && users.iter().any(|user| Some(*user) != actor.user) {
        return Err(Error::Forbidden);
    }
    let mut change = Change::begin(ctx, actor).await?;
    let mut ended = 0;
    for user in users {
        ended += about_to_end(&mut change, *user, "session_deleted", None).await?;
        let sids = super::end_all_of(ctx, change.conn(), *user, "").await?;
        sids.into_iter().for_each(|sid| change.touch(Touched::Session(sid)));
    }
    change.commit().await?;
    Ok(ended)
}

/// Records that the sessions of a user but `keep` are about to end, if there are any; tells how many (CO-412).
///
/// # Errors
/// When the store fails.
pub(crate) async fn about_to_end(
    change: &mut Change<'_>,
    user: UserPk,
    reason: &str,
    keep: Option<&str>,
) -> Result<usize, Error> {
    let now = change.context().now();
    let mut alive = login_session::of_account(change.conn(), user, now).await?;
    alive.retain(|session| Some(session.sid.as_str()) != keep);
    if !alive.is_empty() {
        let named = owner(change, user).await?;
        let context = json!({"logout_reason": reason, "model": named, "sessions": alive.len()});
        change.event("logout", context).await?;
    }
    Ok(alive.len())
}

/// Ends everything that a user's logins and credentials opened; with `keep`, only what logins other than that session
/// opened (CO-037, CO-041, CO-385). Every session that ends so is told of (PX-407).
///
/// # Errors
/// When the store fails.
pub(crate) async fn end_sessions(
    change: &mut Change<'_>,
    account: &Account,
    keep: Option<&str>,
    all: bool,
) -> Result<(), Error> {
    let now = change.context().now();
    let sids = account::end_sessions(change.conn(), account, keep, all, now).await?;
    sids.into_iter().for_each(|sid| change.touch(Touched::Session(sid)));
    change.end_tokens(&Ended::OfAccount(account.pk)).await?;
    if all {
        change.end_tokens(&Ended::Actor(account.pk)).await?;
    }
    Ok(())
}

async fn owner(change: &mut Change<'_>, user: UserPk) -> Result<Value, Error> {
    let name = account::by_pk(change.conn(), user).await?.map(|account| account.username).unwrap_or_default();
    Ok(model("authentik_core", "user", user, &name))
}
