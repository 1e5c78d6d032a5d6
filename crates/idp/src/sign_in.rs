//! Interactive sign-in and sign-out (CO-310…CO-323).

use std::net::IpAddr;

use portcullis_core::username::LONGEST_IDENTIFIER;
use portcullis_store::account::{self, Account};
use portcullis_store::login_session::LoginSession;
use serde_json::json;

use crate::change::{Change, Touched};
use crate::context::{Actor, Context, Request};
use crate::error::Error;
use crate::limits::{self, Attempt, Cost, NotExamined};
use crate::sessions::{self, Started, may_sign_in};
use crate::{event, password, reputation};

/// The name under which failed sign-ins are counted.
const CLIENT: &str = "sign-in";

/// What a visitor typed, and where from.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// User name or e-mail address.
    pub identifier: &'a str,
    /// Password.
    pub password: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The browser, as it names itself.
    pub user_agent: &'a str,
    /// Cookie of a session that this sign-in replaces (CO-384).
    pub previous: Option<&'a str>,
    /// The request, for events.
    pub request: &'a Request,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// User name and password do not belong together. Says nothing about which exists (CO-311).
    #[error("wrong user name or password")]
    Wrong,
    /// Too many failures; nothing was examined.
    #[error("too many failed attempts")]
    Throttled {
        /// Whole seconds until an attempt is examined again.
        retry_after_seconds: u32,
    },
    /// The store or the hash failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<portcullis_store::StoreError> for SignInError {
    fn from(error: portcullis_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<NotExamined> for SignInError {
    fn from(error: NotExamined) -> Self {
        match error {
            NotExamined::Throttled { retry_after_seconds } => Self::Throttled { retry_after_seconds },
            NotExamined::Busy => Self::Failed(Error::Busy),
            NotExamined::Store(error) => Self::Failed(error.into()),
        }
    }
}

/// Signs somebody in with a password.
///
/// Unknown users, users without a password, inactive ones and service accounts (CO-813) cost the same
/// work and get the same answer as a wrong password (CO-311, CO-462).
///
/// # Errors
/// [`SignInError`].
pub async fn with_password(ctx: &Context, credentials: Credentials<'_>) -> Result<Started, SignInError> {
    let attempt = Attempt { address: credentials.client, client: CLIENT, username: credentials.identifier };
    let _turn = limits::admit(ctx, &attempt, Cost::Hash).await?;
    let mut conn = ctx.db.read().await?;
    let account = account::for_sign_in(&mut conn, credentials.identifier).await?.filter(may_sign_in);
    // The connection is free again while the hash is computed.
    drop(conn);
    let hash = account.as_ref().and_then(|account| account.password_hash.as_deref());
    let verdict = password::verify(credentials.password, hash).await;
    match &account {
        Some(account) if verdict.is_right() => {
            let stronger = match verdict {
                password::Verdict::RightButWeak => password::hash(&*ctx.entropy, credentials.password).await.ok(),
                password::Verdict::Right | password::Verdict::Wrong => None,
            };
            begin(ctx, &credentials, &attempt, account, stronger).await
        }
        _ => {
            let known = account.as_ref().map(|account| account.username.as_str());
            note_failure(ctx, &credentials, &attempt, known).await?;
            Err(SignInError::Wrong)
        }
    }
}

async fn begin(
    ctx: &Context,
    credentials: &Credentials<'_>,
    attempt: &Attempt<'_>,
    account: &Account,
    stronger_hash: Option<String>,
) -> Result<Started, SignInError> {
    let actor = Actor {
        user: Some(account.pk),
        username: account.username.clone(),
        is_superuser: false,
        client: Some(credentials.client),
        request: credentials.request.clone(),
    };
    let previous = match credentials.previous {
        Some(cookie) => sessions::by_cookie(ctx, cookie, credentials.client).await?,
        None => None,
    };
    // The hash took its time: meanwhile the user may have been deactivated, or the password changed.
    let mut change = Change::begin(ctx, &actor).await.map_err(|error| match error {
        Error::Forbidden => SignInError::Wrong,
        other => SignInError::Failed(other),
    })?;
    let now = account::by_pk(change.conn(), account.pk).await?.filter(may_sign_in);
    if now.is_none_or(|now| now.password_hash != account.password_hash) {
        return Err(SignInError::Wrong);
    }
    limits::succeeded(ctx, change.conn(), attempt).await?;
    let (from, name) = (credentials.client, &account.username);
    reputation::note(ctx, change.conn(), from, name, reputation::Attempt::SignedIn).await?;
    if let (Some(stronger), Some(weaker)) = (stronger_hash, account.password_hash.as_deref()) {
        account::upgrade_hash(change.conn(), account.pk, weaker, &stronger).await?;
    }
    if let Some((session, _)) = previous {
        sessions::end(ctx, change.conn(), &session.sid).await?;
        change.touch(Touched::Session(session.sid));
    }
    let started =
        sessions::start(ctx, change.conn(), account.pk, "password", credentials.client, credentials.user_agent).await?;
    account::signed_in(change.conn(), account.pk, ctx.now()).await?;
    change.event("login", json!({"auth_method": "password", "auth_method_args": {}})).await?;
    change.commit().await?;
    Ok(started)
}

/// `known` is the name of the user who was meant, if there is one.
async fn note_failure(
    ctx: &Context,
    credentials: &Credentials<'_>,
    attempt: &Attempt<'_>,
    known: Option<&str>,
) -> Result<(), SignInError> {
    let actor = Actor {
        user: None,
        username: String::new(),
        is_superuser: false,
        client: Some(credentials.client),
        request: credentials.request.clone(),
    };
    let identifier: String = credentials.identifier.chars().take(LONGEST_IDENTIFIER).collect();
    let mut tx = ctx.db.write().await?;
    limits::failed(ctx, &mut tx, attempt).await?;
    let scored = known.unwrap_or(&identifier);
    reputation::note(ctx, &mut tx, credentials.client, scored, reputation::Attempt::Failed).await?;
    let recorded =
        event::record(ctx, &mut tx, &actor, "login_failed", json!({"username": identifier, "stage": "password"}))
            .await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(())
}

/// Signs a browser out: its session ends, and with it everything that came from it (CO-323).
///
/// # Errors
/// When the store fails.
pub async fn out(ctx: &Context, session: &LoginSession, actor: &Actor) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    sessions::end(ctx, change.conn(), &session.sid).await?;
    change.touch(Touched::Session(session.sid.clone()));
    change.event("logout", json!({"logout_reason": "user"})).await?;
    change.commit().await
}
