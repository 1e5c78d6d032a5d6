//! Signed-in browsers (CO section 13): the cookie's value is known to the browser alone.

mod bound;
mod shown;

use std::net::IpAddr;

use portcullis_core::id::{ApplicationId, UserPk};
use portcullis_core::keys::{Digest, Purpose, sha256};
use portcullis_store::account::{self, Account};
use portcullis_store::login_session::{self, LoginSession};
use portcullis_store::{Conn, StoreError, grant, proxy_session, rp_session};

pub use bound::Bindings;
pub(crate) use bound::{TO_NETWORK, TO_PLACE};
pub use shown::{ShownSession, delete, delete_of_users, get, list};
pub(crate) use shown::{about_to_end, end_sessions};

use crate::change::{Touched, tell};
use crate::context::{Context, Visitor};
use crate::error::Error;
use crate::{BATCH, event, impersonation, revocations};

/// Ends a session that is not used for so long unless the login stage says otherwise (CO-382), in seconds.
const IDLE_SECONDS: i64 = 24 * 3600;
/// Uses within so many seconds are noted once (CO-383).
const NOTE_SECONDS: i64 = 60;
/// Most cookies of one name that are looked at: a sibling domain may plant more.
pub(crate) const MOST_COOKIES: usize = 4;
/// Longest user agent that is kept.
const USER_AGENT_CHARS: usize = 512;

/// How long sessions last, whatever the login stage says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Ends a session however much it is used (CO-382), in seconds.
    pub absolute_seconds: i64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { absolute_seconds: 30 * 24 * 3600 }
    }
}

/// A session to be.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Who signs in.
    pub account: UserPk,
    /// How they proved who they are.
    pub auth_method: &'a str,
    /// Whether they showed a second factor just now.
    pub second_factor: bool,
    /// Ends the session when it is not used for so many seconds; 0 for a day.
    pub idle_seconds: i64,
    /// The application that the browser was on its way to (CO-383).
    pub application: Option<ApplicationId>,
    /// Where the session holds (CO-386).
    pub bindings: Bindings<'a>,
    /// The client's address.
    pub client: IpAddr,
    /// The browser, as it names itself.
    pub user_agent: &'a str,
}

/// A new session, and the cookie value that is told to the browser and to nobody else.
pub struct Started {
    /// 256 random bits in base64url.
    pub cookie: String,
    /// The session.
    pub session: LoginSession,
}

/// Whether this user may have a session at all: an active one that is no service account (CO-037, CO-813).
pub(crate) fn may_sign_in(account: &Account) -> bool {
    account.is_active && matches!(account.kind.as_str(), "internal" | "external")
}

pub(crate) fn digest(ctx: &Context, cookie: &str) -> Digest {
    ctx.keys.digest(Purpose::SessionLookup, &[b"login", cookie.as_bytes()])
}

/// Signs a browser in, under a fresh identifier (CO-384), for as long as sessions last by default.
///
/// # Errors
/// When the database fails.
pub async fn start(
    ctx: &Context,
    conn: &mut Conn,
    account: UserPk,
    auth_method: &str,
    client: IpAddr,
    user_agent: &str,
) -> Result<Started, StoreError> {
    let bindings = Bindings::default();
    let new = New {
        account,
        auth_method,
        second_factor: false,
        idle_seconds: 0,
        application: None,
        bindings,
        client,
        user_agent,
    };
    start_new(ctx, conn, &new).await
}

/// Signs a browser in, under a fresh identifier (CO-384).
///
/// # Errors
/// When the database fails.
pub async fn start_new(ctx: &Context, conn: &mut Conn, new: &New<'_>) -> Result<Started, StoreError> {
    let (cookie, session) = made(ctx, new);
    login_session::insert(conn, &session).await?;
    Ok(Started { cookie, session })
}

/// A session that is not kept yet, and the value of its cookie.
pub(crate) fn made(ctx: &Context, new: &New<'_>) -> (String, LoginSession) {
    let (now, cookie) = (ctx.now(), ctx.entropy.token());
    let expires = now.plus_seconds(ctx.sessions.absolute_seconds);
    let idle_seconds = if new.idle_seconds > 0 { new.idle_seconds } else { IDLE_SECONDS };
    let session = LoginSession {
        digest: digest(ctx, &cookie).to_vec(),
        uuid: ctx.entropy.uuid(),
        sid: sha256(cookie.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
        account: new.account,
        auth_time: now,
        auth_method: new.auth_method.to_owned(),
        second_factor: new.second_factor.then_some(now),
        created: now,
        expires,
        idle_seconds,
        idle_expires: now.plus_seconds(idle_seconds).min(expires),
        last_used: now,
        last_ip: new.client.to_string(),
        user_agent: new.user_agent.chars().take(USER_AGENT_CHARS).collect(),
        application: new.application,
        network_binding: new.bindings.network.to_owned(),
        geoip_binding: new.bindings.place.to_owned(),
        impersonator: None,
        impersonator_sid: None,
        acting_as: None,
    };
    (cookie, session)
}

/// Who is signed in on a browser: the first of its cookies that names a session counts. A use is noted once a
/// minute. A session that is bound to where its browser was ends when it comes from elsewhere (CO-386).
///
/// # Errors
/// When the database fails.
pub async fn of_browser<'a>(
    ctx: &Context,
    cookies: impl Iterator<Item = &'a str>,
    visitor: &Visitor,
) -> Result<Option<(LoginSession, Account)>, Error> {
    for cookie in cookies.take(MOST_COOKIES) {
        let found = by_cookie(ctx, cookie, visitor).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Who a cookie signs in: the session and its user, or nobody.
async fn by_cookie(ctx: &Context, cookie: &str, visitor: &Visitor) -> Result<Option<(LoginSession, Account)>, Error> {
    let (now, digest, client) = (ctx.now(), digest(ctx, cookie), visitor.client);
    let mut conn = ctx.db.read().await?;
    let Some(session) = login_session::by_digest(&mut conn, &digest, now).await? else { return Ok(None) };
    let Some(account) = account::by_pk(&mut conn, session.account).await?.filter(may_sign_in) else { return Ok(None) };
    if !impersonation::stands(ctx, &mut conn, &session).await? {
        return Ok(None);
    }
    drop(conn);
    if bound::review(ctx, &session, &account, visitor).await? {
        return Ok(None);
    }
    if session.last_used.plus_seconds(NOTE_SECONDS) <= now {
        let mut tx = ctx.db.write().await?;
        let idle_expires = now.plus_seconds(session.idle_seconds).min(session.expires);
        login_session::used(&mut tx, &session.sid, now, &client.to_string(), idle_expires).await?;
        if let Some(rests) = &session.impersonator_sid
            && let Some(rests) = login_session::by_sid(&mut tx, rests, now).await?
        {
            let idle_expires = now.plus_seconds(rests.idle_seconds).min(rests.expires);
            login_session::used(&mut tx, &rests.sid, now, &client.to_string(), idle_expires).await?;
        }
        tx.commit().await?;
    }
    Ok(Some((session, account)))
}

/// Whether the session with this public id has not ended.
///
/// # Errors
/// When the database fails.
pub async fn is_alive(ctx: &Context, conn: &mut Conn, sid: &str) -> Result<bool, StoreError> {
    Ok(login_session::by_sid(conn, sid, ctx.now()).await?.is_some())
}

/// Ends one session with all that came from it: access tokens and data-plane sessions (CO-323, CO-385).
/// The caller touches it. Tells whether there was one.
///
/// # Errors
/// When the database fails.
pub async fn end(ctx: &Context, conn: &mut Conn, sid: &str) -> Result<bool, StoreError> {
    let existed = login_session::delete(conn, sid).await?;
    end_what_came_from(ctx, conn, sid).await?;
    Ok(existed)
}

/// Ends all sessions of a user but `except`, with what came from them. The caller touches the
/// public ids that it gets back.
///
/// # Errors
/// When the database fails.
pub async fn end_all_of(
    ctx: &Context,
    conn: &mut Conn,
    account: UserPk,
    except: &str,
) -> Result<Vec<String>, StoreError> {
    let sids = login_session::delete_of_account(conn, account, except).await?;
    for sid in &sids {
        end_what_came_from(ctx, conn, sid).await?;
    }
    Ok(sids)
}

async fn end_what_came_from(ctx: &Context, conn: &mut Conn, sid: &str) -> Result<(), StoreError> {
    // An unredeemed code dies with its session as well: redemption looks for it (OA-246).
    grant::revoke_of_session(conn, sid, None, ctx.now()).await?;
    rp_session::ended(conn, sid, None, ctx.now()).await?;
    proxy_session::end_of_sid(conn, sid, None).await
}

/// Removes sessions that have ended by themselves, a batch at a time.
///
/// # Errors
/// When the database fails.
pub async fn sweep(ctx: &Context) -> Result<(), Error> {
    loop {
        let mut tx = ctx.db.write().await?;
        let sids = login_session::sweep(&mut tx, ctx.now(), BATCH.into()).await?;
        for sid in &sids {
            end_what_came_from(ctx, &mut tx, sid).await?;
        }
        let (others, events) = impersonation::review(ctx, &mut tx).await?;
        let ended: Vec<_> = sids.iter().chain(&others).cloned().map(Touched::Session).collect();
        let noted = revocations::note(&mut tx, ctx.now(), &ended).await?;
        tx.commit().await?;
        ended.iter().for_each(|touched| tell(ctx, touched));
        if noted {
            ctx.channels.wake();
        }
        events.iter().for_each(event::log);
        if u32::try_from(sids.len()).unwrap_or(BATCH) < BATCH {
            return Ok(());
        }
    }
}
