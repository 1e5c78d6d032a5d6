//! Links by which users who forgot their password choose another (CO-324, CO-325, CO-328).

use portcullis_core::id::UserPk;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_core::permission::{Model, special};
use portcullis_store::account::{self, Account};
use portcullis_store::recovery_link::{self, RecoveryLink};
use portcullis_store::{Conn, flow};
use serde_json::json;

use crate::BATCH;
use crate::change::Change;
use crate::context::{Actor, Context, Visitor};
use crate::error::Error;
use crate::event::model;
use crate::sessions::may_sign_in;
use crate::{brands, escalation, flows};

/// Name of the parameter that a link carries its secret in.
pub const PARAMETER: &str = "flow_token";
/// How long a link is good, and the longest that an administrator may ask for, in seconds.
pub const LINK_SECONDS: i64 = 30 * 60;
/// The longest that an administrator may ask for, in seconds.
pub const LONGEST_LINK_SECONDS: i64 = 7 * 24 * 3600;

/// Whether the brand of a host offers recovery (CO-324, CO-502): none does until an administrator says so.
///
/// # Errors
/// When the store fails.
pub async fn is_offered(conn: &mut Conn, host: &str) -> Result<bool, Error> {
    let Some(pk) = brands::of_host(conn, host).await?.flows.recovery else { return Ok(false) };
    Ok(flow::by_pk(conn, pk).await?.is_some_and(|flow| flow.slug == flows::RECOVERY))
}

pub(crate) fn digest(ctx: &Context, token: &str) -> Digest {
    ctx.keys.digest(Purpose::TokenLookup, &[b"recovery-link", token.as_bytes()])
}

/// Makes a link for a user, for an administrator to hand over.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, also on a user who may do more than they, [`Error::NotFound`], [`Error::Invalid`] when there is no
/// recovery flow, when the user cannot sign in, or for a time that is no duration or too long.
pub async fn link(ctx: &Context, actor: &Actor, user: UserPk, seconds: i64) -> Result<String, Error> {
    actor.need_to_be_themselves()?;
    actor.need_right_on(special::RESET_USER_PASSWORD, Model::USER, &user)?;
    let mut change = Change::begin(ctx, actor).await?;
    if escalation::is_beyond(change.conn(), actor, user).await? {
        return Err(Error::Forbidden);
    }
    if !is_offered(change.conn(), &actor.request.host).await? {
        return Err(Error::whole("No recovery flow set."));
    }
    let link = link_in(ctx, &mut change, user, seconds).await?;
    change.commit().await?;
    Ok(link)
}

/// Makes a link as part of a larger change, whether or not the recovery flow is offered to visitors. The actor's right
/// to do so is the caller's business.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] when the user cannot sign in, or for a time that is too long.
pub async fn link_in(ctx: &Context, change: &mut Change<'_>, user: UserPk, seconds: i64) -> Result<String, Error> {
    let account = account::by_pk(change.conn(), user).await?.ok_or(Error::NotFound("User"))?;
    if !may_sign_in(&account) {
        return Err(Error::whole("This user cannot sign in."));
    }
    if !(1..=LONGEST_LINK_SECONDS).contains(&seconds) {
        return Err(Error::field("token_duration", "A link is good for at most days=7."));
    }
    let token = ctx.entropy.token();
    let record = RecoveryLink {
        account: account.pk,
        password_changed: account.password_changed,
        expires: ctx.now().plus_seconds(seconds),
    };
    recovery_link::insert(change.conn(), &digest(ctx, &token), &record).await?;
    let user = model("authentik_core", "user", account.pk, &account.username);
    // `shown` and not `secret`: what is named here is no secret, and must survive cleansing.
    change
        .event("secret_view", json!({"shown": user, "type": "recovery_link", "expires": record.expires.to_string()}))
        .await?;
    Ok(format!("{}/if/flow/{}/?{PARAMETER}={token}", ctx.base_url, flows::RECOVERY))
}

/// Whom a link is for, if it is good. It stays good.
///
/// # Errors
/// When the store fails.
pub(crate) async fn look(ctx: &Context, token: &str) -> Result<Option<Account>, Error> {
    let mut conn = ctx.db.read().await?;
    let Some(link) = recovery_link::get(&mut conn, &digest(ctx, token), ctx.now()).await? else { return Ok(None) };
    Ok(account::by_pk(&mut conn, link.account).await?.filter(may_sign_in))
}

/// Uses a link up. Tells whether it was good.
///
/// # Errors
/// When the store fails.
pub(crate) async fn take(ctx: &Context, visitor: &Visitor, token: &str) -> Result<bool, Error> {
    let nobody = visitor.stranger("");
    let mut change = Change::begin(ctx, &nobody).await?;
    let digest = digest(ctx, token);
    let Some(link) = recovery_link::get(change.conn(), &digest, ctx.now()).await? else { return Ok(false) };
    let holds = account::by_pk(change.conn(), link.account).await?.is_some_and(|account| may_sign_in(&account));
    let taken = holds && recovery_link::take(change.conn(), &digest).await?;
    change.commit().await?;
    Ok(taken)
}

/// Somebody asks for a link. Without mail there is nobody to send it to, and the visitor sees the same.
///
/// # Errors
/// None yet; mail will have some.
#[expect(clippy::unused_async, reason = "sending mail will wait")]
pub(crate) async fn asked_for(_: &Context, visitor: &Visitor, _identifier: &str) -> Result<(), Error> {
    tracing::info!(
        request.id = visitor.request.id,
        "a recovery link was asked for, and there is no mail to send it by"
    );
    Ok(())
}

/// Removes links whose time is over, a batch at a time.
///
/// # Errors
/// When the store fails.
pub async fn sweep(ctx: &Context) -> Result<(), Error> {
    loop {
        let mut tx = ctx.db.write().await?;
        let removed = recovery_link::sweep(&mut tx, ctx.now(), BATCH.into()).await?;
        tx.commit().await?;
        if removed < BATCH.into() {
            return Ok(());
        }
    }
}
