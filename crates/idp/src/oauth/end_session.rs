//! Sign-out that an application starts (OA section 19.1).

use portcullis_core::id::ProviderPk;
use portcullis_store::application::Application;
use portcullis_store::login_session::LoginSession;
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, flow, grant, proxy_session, rp_session};
use serde_json::Value;

use super::authorize::{is_registered, is_usable};
use super::params::Params;
use super::{introspect, issue, issuer, logout, refresh};
use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::{sessions, signing};

/// The flow whose end is the end of the session here, too (OA-546).
const FULL: &str = "default-invalidation-flow";

/// A wish to sign out.
pub struct Wish {
    /// Whether the application proved that it speaks of this browser's session (OA-544).
    pub confirmed: bool,
    /// Where the browser goes afterwards, if that address is registered (OA-542, OA-543).
    pub back: Option<String>,
    /// Whether the session here ends, or only what this application has of it (OA-546).
    pub full: bool,
    provider: ProviderPk,
}

/// What is wrong with a wish that cannot be followed.
#[derive(Debug)]
pub enum Refusal {
    /// The address to return to runs script, or the like (OA-542).
    BadAddress,
    /// The store failed.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<portcullis_store::StoreError> for Refusal {
    fn from(error: portcullis_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Reads a wish (OA-540 … OA-546). A hint that does not hold is no hint.
///
/// # Errors
/// [`Refusal`].
pub async fn read(
    ctx: &Context,
    application: &Application,
    provider: &Provider,
    params: &Params,
    login: Option<&LoginSession>,
) -> Result<Wish, Refusal> {
    let back = match params.get("post_logout_redirect_uri") {
        Some(uri) if !is_usable(uri) => return Err(Refusal::BadAddress),
        Some(uri) if is_registered(&provider.redirect_uris, uri, "logout") => Some(with_state(uri, params)),
        _ => None,
    };
    let mut conn = ctx.db.read().await?;
    let flow = flow::by_pk(&mut conn, provider.invalidation_flow).await?;
    let confirmed = match login {
        Some(login) => is_hinted(ctx, &mut conn, application, provider, params, login).await?,
        None => false,
    };
    let full = flow.is_none_or(|flow| flow.slug == FULL);
    Ok(Wish { confirmed, back, full, provider: provider.pk })
}

fn with_state(uri: &str, params: &Params) -> String {
    match params.get("state") {
        None => uri.to_owned(),
        Some(state) => {
            let joint = if uri.contains('?') { '&' } else { '?' };
            let state: String = url::form_urlencoded::byte_serialize(state.as_bytes()).collect();
            format!("{uri}{joint}state={state}")
        }
    }
}

/// Whether the request knows the session: by a hint of ours that was not used yet, or by a token.
async fn is_hinted(
    ctx: &Context,
    conn: &mut Conn,
    application: &Application,
    provider: &Provider,
    params: &Params,
    login: &LoginSession,
) -> Result<bool, Error> {
    if let Some(jti) = params.get("logout_hint").and_then(|hint| issue::read_logout_hint(ctx, hint))
        && let Some(record) = grant::token_by_jti(conn, &jti).await?
    {
        let holds = record.provider == provider.pk && record.sid.as_deref() == Some(&login.sid);
        return Ok(holds && introspect::lives(ctx, conn, &record).await?);
    }
    if params.get("client_id").is_some_and(|named| named != provider.client_id) {
        // It contradicts itself: the token cannot be the one that it was issued for.
        return Ok(false);
    }
    let Some(hint) = params.get("id_token_hint") else { return Ok(false) };
    let claims = signing::read_hint(ctx, conn, provider, hint, &issuer(ctx, provider, &application.slug)).await?;
    // Only a token of this very session: `sub` may be set by mappings.
    Ok(claims.is_some_and(|claims| claims.get("sid").and_then(Value::as_str) == Some(&login.sid)))
}

/// What the browser loads so that clients hear of the sign-out from it (OA-550): ask before it is done.
///
/// # Errors
/// When the store fails.
pub async fn frames(ctx: &Context, wish: &Wish, login: &LoginSession) -> Result<Vec<String>, Error> {
    logout::frames(ctx, &login.sid, (!wish.full).then_some(wish.provider)).await
}

/// Ends what an application has of a session: its tokens and its proxy sessions (OA-547).
///
/// # Errors
/// When the store fails.
pub async fn end_grants(ctx: &Context, actor: &Actor, wish: &Wish, login: &LoginSession) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let revoked = grant::revoke_of_session(change.conn(), &login.sid, Some(wish.provider), ctx.now()).await?;
    proxy_session::end_of_sid(change.conn(), &login.sid, Some(wish.provider)).await?;
    rp_session::ended(change.conn(), &login.sid, Some(wish.provider), ctx.now()).await?;
    if wish.confirmed {
        refresh::end_of_session(&mut change, &login.sid, wish.provider).await?;
    }
    for jti in revoked {
        change.touch(Touched::AccessToken(jti));
    }
    // Sessions of the data plane are cached by this subject, too.
    change.touch(Touched::SessionAt(login.sid.clone(), wish.provider));
    change.commit().await
}

/// Ends the session itself, with everything that came from it (CO-323), and what the application that asked may go on with
/// otherwise (OA-269, OA-547).
///
/// # Errors
/// When the store fails.
pub async fn end_session(ctx: &Context, actor: &Actor, wish: &Wish, login: &LoginSession) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    if wish.confirmed {
        refresh::end_of_session(&mut change, &login.sid, wish.provider).await?;
    }
    crate::sign_in::out_in(ctx, &mut change, login).await?;
    change.commit().await
}

/// Whether the session that a cookie names is still there; for pages that ask twice.
///
/// # Errors
/// When the store fails.
pub async fn is_alive(ctx: &Context, login: &LoginSession) -> Result<bool, Error> {
    let mut conn = ctx.db.read().await?;
    Ok(sessions::is_alive(ctx, &mut conn, &login.sid).await?)
}
