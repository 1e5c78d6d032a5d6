//! Acting as somebody else (CO-388).
//!
//! A browser gets a second session, which is the other user's and names whoever acts in it. The one that it came with
//! rests meanwhile: no cookie opens it. [`end`] swaps them back. However else one of the two ends, or whatever the other
//! rests on is lost, both end: [`review`] is part of every change.

use std::net::IpAddr;

use portcullis_core::id::UserPk;
use portcullis_core::permission::{Model, special};
use portcullis_store::account::{self, Account};
use portcullis_store::event::Event;
use portcullis_store::login_session::{self, LoginSession};
use portcullis_store::{Conn, proxy_session};
use serde_json::json;

use crate::change::{Change, Touched};
use crate::context::{Actor, Context, Request};
use crate::directory::{self, Person};
use crate::error::Error;
use crate::rights::Rights;
use crate::sessions::{self, may_sign_in};
use crate::settings::Settings;
use crate::{escalation, event};

/// How long somebody may act as somebody else, in seconds.
const LONGEST_SECONDS: i64 = 60 * 60;
/// Longest reason that is kept.
const REASON_CHARS: usize = 1000;

/// A wish to act as somebody else.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Whose browser it is, by the public id of their session; none for who comes with a token.
    pub sid: Option<&'a str>,
    /// Whom they want to act as.
    pub user: UserPk,
    /// Why.
    pub reason: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The browser, as it names itself.
    pub user_agent: &'a str,
}

/// Has a browser act as somebody else, and gives the cookie that it does so by. The one that it came with opens nothing
/// any more (CO-384).
///
/// # Errors
/// [`Error::Forbidden`] for those without the right or without a session, for who acts as somebody else already, and
/// where nobody may; [`Error::NotFound`]; [`Error::Invalid`] without a reason where one is needed, and for users as whom
/// nobody can act or not this actor.
pub async fn start(ctx: &Context, actor: &Actor, wish: &Wish<'_>) -> Result<String, Error> {
    actor.need_right_on(special::IMPERSONATE, Model::USER, &wish.user)?;
    let (Some(sid), Some(user), false) = (wish.sid, actor.user, actor.is_impersonated()) else {
        return Err(Error::Forbidden);
    };
    let mut change = Change::begin(ctx, actor).await?;
    let settings = Settings::load(change.conn()).await?;
    if !settings.impersonation {
        return Err(Error::Forbidden);
    }
    let target = account::by_pk(change.conn(), wish.user).await?.ok_or(Error::NotFound("User"))?;
    let reason: String = wish.reason.trim().chars().take(REASON_CHARS).collect();
    if reason.is_empty() && settings.impersonation_require_reason {
        return Err(Error::field("reason", "This field is required."));
    }
    if user == target.pk {
        return Err(Error::whole("You cannot act as yourself."));
    }
    if !may_sign_in(&target) {
        return Err(Error::whole("This user cannot sign in."));
    }
    if escalation::is_beyond(change.conn(), actor, target.pk).await? {
        return Err(Error::whole(escalation::BEYOND));
    }
    let now = ctx.now();
    let rests = login_session::by_sid(change.conn(), sid, now).await?.ok_or(Error::Forbidden)?;
    // A cookie that nobody knows.
    let nobody = sessions::digest(ctx, &ctx.entropy.token());
    login_session::renew(change.conn(), sid, &nobody, Some(target.pk)).await?;
    // What the browser opened at applications is the impersonator's.
    proxy_session::end_of_sid(change.conn(), sid, None).await?;
    change.touch(Touched::Session(sid.to_owned()));
    let new = sessions::New {
        account: target.pk,
        auth_method: &rests.auth_method,
        second_factor: false,
        idle_seconds: rests.idle_seconds,
        application: rests.application,
        // Where the browser may be does not depend on whom it acts as.
        bindings: sessions::Bindings::of(&rests),
        client: wish.client,
        user_agent: wish.user_agent,
    };
    let (cookie, mut session) = sessions::made(ctx, &new);
    session.expires = now.plus_seconds(LONGEST_SECONDS).min(rests.expires);
    session.idle_expires = session.idle_expires.min(session.expires);
    (session.auth_time, session.second_factor) = (rests.auth_time, rests.second_factor);
    (session.impersonator, session.impersonator_sid) = (Some(user), Some(rests.sid));
    login_session::insert(change.conn(), &session).await?;
    let both = in_place_of(&target, user, actor);
    change.event_by(&both, "impersonation_started", json!({"reason": reason})).await?;
    change.commit().await?;
    Ok(cookie)
}

/// Has a browser act as its own user again, and gives the cookie that it does so by; none if it did not act as anybody
/// else.
///
/// # Errors
/// When the store fails.
pub async fn end(ctx: &Context, actor: &Actor, sid: &str) -> Result<Option<String>, Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let ended = login_session::by_sid(change.conn(), sid, ctx.now()).await?;
    let Some(rests) = ended.and_then(|session| session.impersonator_sid) else { return Ok(None) };
    let cookie = ctx.entropy.token();
    login_session::renew(change.conn(), &rests, &sessions::digest(ctx, &cookie), None).await?;
    sessions::end(ctx, change.conn(), sid).await?;
    change.touch(Touched::Session(sid.to_owned()));
    change.event("impersonation_ended", json!({"reason": "asked"})).await?;
    change.commit().await?;
    Ok(Some(cookie))
}

/// The user who acts in a session as somebody else, if that is so.
///
/// # Errors
/// When the store fails.
pub async fn original(ctx: &Context, actor: &Actor) -> Result<Option<(Person, Actor)>, Error> {
    let Some(pk) = actor.request.impersonator else { return Ok(None) };
    let mut conn = ctx.db.read().await?;
    let Some(person) = directory::person(ctx, &mut conn, pk).await? else { return Ok(None) };
    let rights = Rights::of_person(&mut conn, &person).await?;
    let actor = Actor { rights, ..directory::actor_of(&person) };
    Ok(Some((person, actor)))
}

/// Whom a browser with this session acts as, for its pages; nobody if it acts as its own user.
///
/// # Errors
/// When the store fails.
pub async fn shown(ctx: &Context, session: &LoginSession) -> Result<Option<String>, Error> {
    if session.impersonator.is_none() {
        return Ok(None);
    }
    let account = account::by_pk(&mut ctx.db.read().await?, session.account).await?;
    Ok(account.map(|account| account.username))
}

/// Whether a session in which somebody acts as somebody else still stands: both may sign in, the one still may act as
/// the other, and the session that rests has not ended.
///
/// # Errors
/// When the store fails.
pub(crate) async fn stands(ctx: &Context, conn: &mut Conn, session: &LoginSession) -> Result<bool, Error> {
    let (Some(user), Some(sid)) = (session.impersonator, &session.impersonator_sid) else { return Ok(true) };
    let now = ctx.now();
    let rests = login_session::by_sid(conn, sid, now).await?;
    if rests.is_none_or(|rests| rests.account != user || rests.acting_as != Some(session.account))
        || session.expires <= now
        || session.idle_expires <= now
    {
        return Ok(false);
    }
    if !Settings::load(conn).await?.impersonation {
        return Ok(false);
    }
    let target = account::by_pk(conn, session.account).await?.filter(may_sign_in);
    let impersonator = account::by_pk(conn, user).await?.filter(may_sign_in);
    let (Some(target), Some(impersonator)) = (target, impersonator) else { return Ok(false) };
    let person = directory::person_of(ctx, conn, impersonator).await?;
    let rights = Rights::of_person(conn, &person).await?;
    let actor = Actor { rights, ..directory::actor_of(&person) };
    Ok(actor.holds_on(special::IMPERSONATE, &target.pk) && !escalation::is_beyond(conn, &actor, target.pk).await?)
}

/// Ends what does not stand any more, with the sessions that rest; gives the public ids of those that ended and the
/// events that say so. Once it is committed, the former are touched and the latter logged.
///
/// # Errors
/// When the store fails.
pub(crate) async fn review(ctx: &Context, conn: &mut Conn) -> Result<(Vec<String>, Vec<Event>), Error> {
    let involved = login_session::impersonations(conn).await?;
    let (mut ended, mut events) = (Vec::new(), Vec::new());
    for rests in involved.iter().filter(|session| session.acting_as.is_some()) {
        let acting = involved.iter().find(|session| session.impersonator_sid.as_ref() == Some(&rests.sid));
        let stands = match acting {
            Some(acting) => stands(ctx, conn, acting).await?,
            None => false,
        };
        if !stands {
            ended.extend(acting.map(|acting| acting.sid.clone()));
            ended.push(rests.sid.clone());
            events.extend(ended_event(ctx, conn, rests.account, rests.acting_as).await?);
        }
    }
    let rests = |sid: &str| involved.iter().any(|session| session.acting_as.is_some() && session.sid == sid);
    for acting in &involved {
        if acting.impersonator_sid.as_deref().is_some_and(|sid| !rests(sid)) {
            ended.push(acting.sid.clone());
            let by = acting.impersonator.unwrap_or(acting.account);
            events.extend(ended_event(ctx, conn, by, Some(acting.account)).await?);
        }
    }
    for sid in &ended {
        sessions::end(ctx, conn, sid).await?;
    }
    Ok((ended, events))
}

async fn ended_event(
    ctx: &Context,
    conn: &mut Conn,
    impersonator: UserPk,
    acting_as: Option<UserPk>,
) -> Result<Option<Event>, Error> {
    let Some(pk) = acting_as else { return Ok(None) };
    let Some(target) = account::by_pk(conn, pk).await? else { return Ok(None) };
    let both = in_place_of(&target, impersonator, &Actor::system());
    let context = json!({"reason": "time_or_right_over"});
    Ok(Some(event::record(ctx, conn, &both, "impersonation_ended", context).await?))
}

/// A user, as somebody else acts as them; for events.
fn in_place_of(target: &Account, impersonator: UserPk, actor: &Actor) -> Actor {
    Actor {
        user: Some(target.pk),
        username: target.username.clone(),
        is_superuser: false,
        rights: Rights::default(),
        client: actor.client,
        request: Request { impersonator: Some(impersonator), ..actor.request.clone() },
    }
}
