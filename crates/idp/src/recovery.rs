//! Links by which users who forgot their password choose another (CO-324, CO-325, CO-328).

use portcullis_core::clock::Timestamp;
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
use crate::flow::first_factor;
use crate::flow::stages::Stages;
use crate::limits::mails::Kind;
use crate::mail::{self, Address, Job, Letter};
use crate::sessions::may_sign_in;
use crate::{brands, directory, escalation, flows, limits};

/// Name of the parameter that a link carries its secret in.
pub const PARAMETER: &str = "flow_token";
/// How long a link is good, and the longest that an administrator may ask for, in seconds.
pub const LINK_SECONDS: i64 = 30 * 60;
/// The longest that an administrator may ask for, in seconds.
pub const LONGEST_LINK_SECONDS: i64 = 7 * 24 * 3600;
/// What is said of a link that opens nothing.
pub(crate) const GONE: &str =
    "This link is not good any more: it was used, its time is over, or the account was changed. Ask for another one.";

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
        return Err(Error::field("token_duration", "A link is good for seconds=1 at least, and for days=7 at most."));
    }
    let maker = change.actor().user;
    let (query, expires) = draw(ctx, change, &account, maker, seconds).await?;
    let user = model("authentik_core", "user", account.pk, &account.username);
    // `shown` and not `secret`: what is named here is no secret, and must survive cleansing.
    change
        .event("secret_view", json!({"shown": user, "type": "recovery_link", "expires": expires.to_string()}))
        .await?;
    Ok(format!("{}{query}", ctx.base_url))
}

/// Makes a link, which `maker` gets to see: path and query of it, and when it ends.
async fn draw(
    ctx: &Context,
    change: &mut Change<'_>,
    account: &Account,
    maker: Option<UserPk>,
    seconds: i64,
) -> Result<(String, Timestamp), Error> {
    let token = ctx.entropy.token();
    let expires = ctx.now().plus_seconds(seconds);
    let record = RecoveryLink { account: account.pk, maker, password_changed: account.password_changed, expires };
    recovery_link::insert(change.conn(), &digest(ctx, &token), &record).await?;
    Ok((format!("/if/flow/{}/?{PARAMETER}={token}", flows::RECOVERY), expires))
}

/// Has a link mailed to a user, for an administrator who does not see it (CO-544).
///
/// # Errors
/// As [`link`]; [`Error::Invalid`] also when there is no mail, or no address, or the user was sent too many (CO-325);
/// [`Error::Busy`] when too much mail waits.
pub async fn mail(ctx: &Context, actor: &Actor, user: UserPk, seconds: i64) -> Result<(), Error> {
    actor.need_to_be_themselves()?;
    actor.need_right_on(special::RESET_USER_PASSWORD, Model::USER, &user)?;
    let mut change = Change::begin(ctx, actor).await?;
    if escalation::is_beyond(change.conn(), actor, user).await? {
        return Err(Error::Forbidden);
    }
    let host = &actor.request.host;
    if !is_offered(change.conn(), host).await? {
        return Err(Error::whole("No recovery flow set."));
    }
    let account = account::by_pk(change.conn(), user).await?.ok_or(Error::NotFound("User"))?;
    if !may_sign_in(&account) {
        return Err(Error::whole("This user cannot sign in."));
    }
    if !ctx.mail.is_on() {
        return Err(Error::whole("Mail is not set up."));
    }
    let Some(to) = address_of(&account) else {
        return Err(Error::whole("User does not have an email address set."));
    };
    if !(1..=LONGEST_LINK_SECONDS).contains(&seconds) {
        return Err(Error::field("token_duration", "A link is good for seconds=1 at least, and for days=7 at most."));
    }
    let Some(site) = mail::site(ctx, change.conn(), host).await? else {
        return Err(Error::whole("Set base_url: a link in a mail needs it."));
    };
    if !limits::mails::admit_account(ctx, change.conn(), Kind::Recovery, account.uuid).await? {
        return Err(Error::whole("Too many mails were sent. Try again in an hour."));
    }
    let title = brands::of_host(change.conn(), host).await?.title;
    // Whose address it was when it was made may be another question later.
    let maker = change.actor().user;
    let (query, expires) = draw(ctx, &mut change, &account, maker, seconds).await?;
    let user = model("authentik_core", "user", account.pk, &account.username);
    let context = json!({"shown": user, "type": "recovery_link", "expires": expires.to_string(),
        "mailed_to": to.to_string()});
    change.event("secret_view", context).await?;
    change.commit().await?;
    let letter = letter(&account, to, &title, format!("{site}{query}"), seconds, true);
    match ctx.mail.leave(Job::Letter { actor: actor.clone(), letter: Box::new(letter) }) {
        true => Ok(()),
        false => Err(Error::Busy),
    }
}

fn address_of(account: &Account) -> Option<Address> {
    Address::of(&account.name, &account.email).ok()
}

/// What a link comes with.
fn letter(account: &Account, to: Address, title: &str, link: String, seconds: i64, by_administrator: bool) -> Letter {
    let whose = format!("your account {} at {title}", account.username);
    let asked = match by_administrator {
        true => format!("An administrator sends you this link to choose a new password for {whose}."),
        false => format!("Somebody, presumably you, wants to choose a new password for {whose}."),
    };
    let hello = if account.name.is_empty() { &account.username } else { &account.name };
    Letter {
        to,
        about: "recovery",
        user: model("authentik_core", "user", account.pk, &account.username),
        subject: format!("{title}: choose a new password"),
        before: vec![format!("Hello {hello},"), asked, "Open this link, and go on from there:".to_owned()],
        link: Some(("Choose a new password", link)),
        after: vec![
            format!("It is good once, for {}. Do not pass it on.", in_words(seconds)),
            "If you did not want this, do nothing: your password stays what it is.".to_owned(),
        ],
    }
}

fn in_words(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..7200 => ((seconds / 60).max(1), "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Whom a link lets in, if it is good and they may sign in. It stays good.
///
/// # Errors
/// When the store fails.
pub(crate) async fn look(ctx: &Context, conn: &mut Conn, link: &Digest) -> Result<Option<Account>, Error> {
    let Some(link) = recovery_link::get(conn, link, ctx.now()).await? else { return Ok(None) };
    let account = account::by_pk(conn, link.account).await?.filter(may_sign_in);
    Ok(if is_within(ctx, conn, link.maker, link.account).await? { account } else { None })
}

/// Whether a user still may do nothing that the maker of a link may not: they may have come to more since (CO-705).
async fn is_within(ctx: &Context, conn: &mut Conn, maker: Option<UserPk>, user: UserPk) -> Result<bool, Error> {
    let Some(maker) = maker else { return Ok(true) };
    let Some(maker) = directory::person(ctx, conn, maker).await? else { return Ok(false) };
    Ok(!escalation::is_beyond(conn, &directory::actor_of(&maker), user).await?)
}

/// Uses a link up, as part of the change that it is for. Tells whether it was good.
///
/// # Errors
/// When the store fails.
pub(crate) async fn take(ctx: &Context, conn: &mut Conn, link: &Digest) -> Result<bool, Error> {
    Ok(look(ctx, conn, link).await?.is_some() && recovery_link::take(conn, link).await?)
}

/// Somebody asks for a link. Whom the identifier names is looked at later, beside this request: it tells nobody whether
/// there is such a user, and takes no longer for one (CO-324).
pub(crate) fn asked_for(ctx: &Context, visitor: &Visitor, identifier: &str) {
    if !ctx.mail.is_on() {
        tracing::info!(
            request.id = visitor.request.id,
            "a recovery link was asked for, and there is no mail to send it by"
        );
        return;
    }
    ctx.mail.leave(Job::Recovery { visitor: visitor.clone(), identifier: identifier.to_owned() });
}

/// Mails a link to whom an identifier names, if that is exactly one user who may sign in, has an address, and was not sent
/// too many already (CO-324, CO-325).
///
/// # Errors
/// When the store fails.
pub(crate) async fn mail_to(ctx: &Context, visitor: &Visitor, identifier: &str) -> Result<(), Error> {
    let (nobody, host) = (visitor.stranger(""), &visitor.request.host);
    let mut change = Change::begin(ctx, &nobody).await?;
    let admitted = limits::mails::admit_address(ctx, change.conn(), Kind::Recovery, visitor.client).await?;
    change.commit().await?;
    if !admitted {
        tracing::info!(request.id = visitor.request.id, "a recovery mail was not sent: its address asks for too many");
        return Ok(());
    }
    let mut conn = ctx.db.read().await?;
    let stage = Stages::load(&mut conn).await?.identification;
    if stage.recovery_flow.is_none() && !is_offered(&mut conn, host).await? {
        return Ok(());
    }
    let Some(account) = first_factor::named(ctx, &stage, &mut conn, identifier).await? else { return Ok(()) };
    let Some(to) = address_of(&account) else { return Ok(()) };
    let title = brands::of_host(&mut conn, host).await?.title;
    let Some(site) = mail::site(ctx, &mut conn, host).await? else {
        drop(conn);
        return mail::nowhere(ctx, &nobody).await;
    };
    drop(conn);
    let mut change = Change::begin(ctx, &nobody).await?;
    // What was found may have changed: a link goes to the address that the user has when it is made.
    let Some(account) = account::by_pk(change.conn(), account.pk).await?.filter(|now| now.email == account.email)
    else {
        return Ok(());
    };
    if !limits::mails::admit_account(ctx, change.conn(), Kind::Recovery, account.uuid).await? {
        tracing::info!(request.id = visitor.request.id, "a recovery mail was not sent: there were too many");
        return Ok(());
    }
    let (query, _) = draw(ctx, &mut change, &account, None, LINK_SECONDS).await?;
    change.commit().await?;
    mail::send(ctx, &nobody, &letter(&account, to, &title, format!("{site}{query}"), LINK_SECONDS, false)).await
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
