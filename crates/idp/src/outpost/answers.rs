//! What the embedded outpost asks about people and machines: the checks of the OAuth endpoints, without the
//! way through HTTP (OA-080).

use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::claims::Claims;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::{same_secret, sha256};
use portcullis_core::outpost::{Bearings, Grant};
use portcullis_store::{account, grant, login_session};
use serde::Serializer;

use crate::access::AccessContext;
use crate::change::Change;
use crate::claims::{ClaimSet, granted_scopes, offered_scopes};
use crate::context::{Context, Visitor};
use crate::error::Error;
use crate::oauth::client::{Client, Served};
use crate::oauth::code::{self, Redemption};
use crate::oauth::issue::{self, Approval, Basis, Ground, Statement};
use crate::oauth::machine::{self, Variant, Wish};
use crate::oauth::{OAuthError, introspect};
use crate::signing::Signer;
use crate::{access, claims, directory, entitlements, signing, tokens};

/// Why there is no grant.
#[derive(Debug, thiserror::Error)]
pub enum OutpostError {
    /// Credentials do not hold, or a policy denies.
    #[error("refused")]
    Refused,
    /// Too many failures from this client; nothing was examined.
    #[error("too many failed attempts")]
    Throttled {
        /// Whole seconds until another attempt makes sense.
        retry_after_seconds: u32,
    },
    /// The store or the signing key failed; nothing is known about the credentials.
    #[error(transparent)]
    Failed(Error),
}

impl From<Error> for OutpostError {
    fn from(error: Error) -> Self {
        match error {
            // Who proved themselves was deactivated meanwhile.
            Error::Forbidden => Self::Refused,
            other => Self::Failed(other),
        }
    }
}

impl From<portcullis_store::StoreError> for OutpostError {
    fn from(error: portcullis_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<OAuthError> for OutpostError {
    fn from(error: OAuthError) -> Self {
        match error {
            OAuthError::Throttled { retry_after_seconds } => Self::Throttled { retry_after_seconds },
            OAuthError::Unavailable(error) => Self::Failed(error),
            OAuthError::NoKey(cause) => Self::Failed(Error::Unreadable(cause)),
            OAuthError::InvalidRequest
            | OAuthError::InvalidClient { .. }
            | OAuthError::InvalidGrant
            | OAuthError::Unissuable(_)
            | OAuthError::InvalidTarget
            | OAuthError::UnauthorizedClient
            | OAuthError::InvalidScope
            | OAuthError::AuthorizationPending
            | OAuthError::SlowDown
            | OAuthError::ExpiredToken
            | OAuthError::AccessDenied
            | OAuthError::UnsupportedGrantType => Self::Refused,
        }
    }
}

impl From<signing::SigningError> for OutpostError {
    fn from(error: signing::SigningError) -> Self {
        OAuthError::from(error).into()
    }
}

/// What becomes of something that could not be issued, once it is recorded as at the token endpoint (OA-047, OA-125, OA-466).
/// Call it once nothing holds the store's only writer.
async fn unissued(ctx: &Context, visitor: &Visitor, client: &Client, error: OAuthError) -> OutpostError {
    match issue::note_unissued(ctx, visitor, &client.provider, &error).await {
        Ok(()) => error.into(),
        Err(failed) => failed.into(),
    }
}

async fn served(ctx: &Context, provider: ProviderPk) -> Result<Arc<Served>, OutpostError> {
    Served::by_pk(ctx, provider).await?.ok_or(OutpostError::Refused)
}

fn read(claims: &ClaimSet) -> Result<Claims, OutpostError> {
    Claims::read(claims).ok_or(OutpostError::Refused)
}

/// Checks a user name and app password (PX-091, PX-410): variant V2 with all scopes of the provider.
///
/// No access token is kept: nobody would see it (OA-082). What the application sees is signed by [`sign`].
///
/// # Errors
/// [`OutpostError`].
pub async fn verify_password(
    ctx: &Context,
    provider: ProviderPk,
    username: &str,
    password: &str,
    from: IpAddr,
) -> Result<Grant, OutpostError> {
    let built_at = ctx.epochs.present();
    let visitor = Visitor::at(from);
    let served = served(ctx, provider).await?;
    let Served { client, keeping, .. } = &*served;
    let scopes = offered_scopes(&client.mappings);
    let wish = Wish { scopes: &scopes, grant_type: "client_credentials", code_verifier: None };
    let mut variant = match username.is_empty() {
        true => Variant::Nothing { reason: "username" },
        false => Variant::AppPassword { username: username.to_owned(), password: password.to_owned() },
    };
    // Not checked once more below, as where a token is issued: whatever changes meanwhile bumps an epoch, and an
    // identity that was built before it is not used.
    let proven = machine::prove(ctx, &visitor, client, Some(&served), &mut variant, &wish).await?;
    let application = client.application.as_ref().ok_or(OutpostError::Refused)?;
    let note = machine::note(ctx, keeping, &visitor, client, application, &proven).ok_or(OutpostError::Refused)?;
    ctx.notes.write(&ctx.db, note).await?;
    let app_password = proven.app_password.as_ref();
    let basis = Basis {
        client,
        application,
        person: &proven.person,
        entitlements: &proven.entitlements,
        scopes: &scopes,
        login: None,
        nonce: None,
        ground: Ground { app_password, ..Ground::default() },
        visitor: &visitor,
        foretold: None,
    };
    let said = match issue::statement(ctx, &basis).await {
        Ok(said) => said,
        Err(error) => return Err(unissued(ctx, &visitor, client, error).await),
    };
    claims::note(ctx, &visitor, &client.provider, &proven.person, &said.flaws).await?;
    Ok(Grant {
        claims: read(&said.claims)?,
        raw_token: String::new(),
        access_token: String::new(),
        upstream_token: None,
        bearings: Bearings {
            statement: digest_of(&said.claims),
            user: proven.person.account.uuid.to_string(),
            app_password: app_password.map(|password| password.uuid.to_string()).unwrap_or_default(),
            app_password_key: app_password.map(|password| issue::key_mark(&password.key_digest)).unwrap_or_default(),
            groups: proven.person.direct_groups.clone(),
            networks: app_password.map(|password| password.allowed_networks.clone()).unwrap_or_default(),
            entitlements: proven.entitlements.clone(),
            client: Some(from),
            ..Bearings::default()
        },
        expires: said.expires,
        statement: Some(said.claims),
        built_at,
        logout_hint: None,
    })
}

/// Digest of what a token says, without what is another in every token.
fn digest_of(claims: &ClaimSet) -> String {
    let lasting = claims.iter().filter(|(name, _)| !["jti", "iat", "exp", "auth_time", "uid"].contains(&name.as_str()));
    let mut text = serde_json::Serializer::new(Vec::new());
    // Names are text, and memory takes all that is written to it.
    let _ = text.collect_map(lasting);
    hex::encode(sha256(&text.into_inner()))
}

/// Signs what a grant says: the assertion for the application (PX-417), or with `full` everything, as an id token
/// would (PX-206). A grant without a statement stays as it is.
///
/// # Errors
/// [`OutpostError`].
pub async fn sign(ctx: &Context, provider: ProviderPk, grant: &mut Grant, full: bool) -> Result<(), OutpostError> {
    let Some(statement) = &grant.statement else { return Ok(()) };
    match signed(ctx, provider, statement, full).await {
        Ok(token) if full => grant.raw_token = token,
        Ok(token) => grant.upstream_token = Some(token),
        Err(error) => {
            let Some(from) = grant.bearings.client else { return Err(error.into()) };
            return Err(unissued(ctx, &Visitor::at(from), &served(ctx, provider).await?.client, error).await);
        }
    }
    Ok(())
}

async fn signed(ctx: &Context, provider: ProviderPk, statement: &ClaimSet, full: bool) -> Result<String, OAuthError> {
    let signer = Signer::installation(ctx, &mut ctx.db.read().await?).await?;
    let name = provider.to_string();
    match full {
        true => issue::whole_token(&signer, statement, &name),
        false => issue::upstream_token(ctx, &signer, statement, &name),
    }
}

/// Checks a bearer token (PX-092, PX-418). Only a token that this provider issued holds (OA-078, OA-882).
///
/// # Errors
/// [`OutpostError`].
pub async fn introspect(ctx: &Context, provider: ProviderPk, token: &str, from: IpAddr) -> Result<Grant, OutpostError> {
    let built_at = ctx.epochs.present();
    let Served { client, .. } = &*served(ctx, provider).await?;
    let mut conn = ctx.db.read().await?;
    let record = introspect::visible(ctx, &mut conn, client, token).await?;
    let record = record.filter(|record| record.provider == provider).ok_or(OutpostError::Refused)?;
    // What limits an app password limits its tokens, too (OA-816).
    let limited_by = introspect::app_password_of(&mut conn, &record).await?;
    if limited_by.as_ref().is_some_and(|password| !tokens::is_taken_from(password, from)) {
        return Err(OutpostError::Refused);
    }
    let visitor = Visitor::at(from);
    let active = introspect::active(ctx, conn, &visitor, client, record).await?.ok_or(OutpostError::Refused)?;
    let claims = read(&active.claims)?;
    // The token says what held when it was issued; applications must not be told a group that was lost since.
    if !active.person.is_direct_member_of(&active.record.groups) {
        return Err(OutpostError::Refused);
    }
    Ok(Grant {
        raw_token: token.to_owned(),
        access_token: String::new(),
        upstream_token: None,
        expires: active.record.expires,
        bearings: Bearings {
            user: active.person.account.uuid.to_string(),
            sid: active.record.sid.or(active.record.traded_sid).unwrap_or_default(),
            app_password: active.record.app_password.unwrap_or_default(),
            app_password_key: active.record.app_password_key.unwrap_or_default(),
            access_token: active.record.jti,
            statement: digest_of(&active.claims),
            groups: active.record.groups,
            networks: limited_by.map(|password| password.allowed_networks).unwrap_or_default(),
            entitlements: claims.entitlements.clone(),
            client: Some(from),
        },
        statement: Some(active.claims),
        built_at,
        logout_hint: None,
        claims,
    })
}

/// What the callback of a login brings.
#[derive(Clone, Copy)]
pub struct CodeExchange<'a> {
    /// The provider that the login was for.
    pub provider: ProviderPk,
    /// The authorization code.
    pub code: &'a str,
    /// The redirect URI, as sent to the authorization endpoint.
    pub redirect_uri: &'a str,
    /// PKCE code verifier.
    pub code_verifier: &'a str,
    /// Nonce of the authorization request.
    pub nonce: &'a str,
    /// The client's address.
    pub client: IpAddr,
}

/// Trades an authorization code for a grant (PX-148 … PX-151).
///
/// # Errors
/// [`OutpostError`].
pub async fn exchange_code(ctx: &Context, exchange: CodeExchange<'_>) -> Result<Grant, OutpostError> {
    let built_at = ctx.epochs.present();
    let visitor = Visitor::at(exchange.client);
    let Served { client, .. } = &*served(ctx, exchange.provider).await?;
    let application = client.application.as_ref().ok_or(OutpostError::Refused)?;
    let redemption = Redemption {
        code: exchange.code,
        redirect_uri: exchange.redirect_uri,
        code_verifier: Some(exchange.code_verifier),
    };
    let foreseen = code::foresee(ctx, &visitor, client, &redemption).await?;
    let actor = code::actor(&visitor);
    let mut change = Change::begin(ctx, &actor).await?;
    let redeemed = match code::redeem(ctx, &mut change, client, &redemption, &foreseen).await {
        Ok(redeemed) if same_nonce(redeemed.code.nonce.as_deref(), exchange.nonce) => redeemed,
        // The code is spent, whoever brought it.
        Ok(_) | Err(OAuthError::InvalidGrant) => {
            change.commit().await?;
            return Err(OutpostError::Refused);
        }
        Err(failed) => return Err(failed.into()),
    };
    let scopes = granted_scopes(&redeemed.code.scope, &client.mappings);
    let basis = Basis {
        client,
        application,
        person: &redeemed.person,
        entitlements: &redeemed.entitlements,
        scopes: &scopes,
        login: Some(Approval::in_session(&redeemed.login)),
        nonce: redeemed.code.nonce.as_deref(),
        ground: Ground::default(),
        visitor: &visitor,
        foretold: foreseen.foretold.as_ref(),
    };
    let (said, raw_token, upstream) = match issued(ctx, &mut change, &basis, &redeemed.code.grant_id).await {
        Ok(issued) => issued,
        Err(error) => {
            drop(change);
            return Err(unissued(ctx, &visitor, client, error).await);
        }
    };
    change.commit().await?;
    claims::note(ctx, &visitor, &client.provider, &redeemed.person, &said.flaws).await?;
    Ok(Grant {
        claims: read(&said.claims)?,
        raw_token,
        access_token: String::new(),
        upstream_token: Some(upstream),
        statement: None,
        expires: said.expires,
        logout_hint: Some(issue::logout_hint(ctx, &said.jti)),
        bearings: Bearings {
            user: redeemed.person.account.uuid.to_string(),
            sid: redeemed.login.sid,
            access_token: said.jti,
            groups: redeemed.person.direct_groups.clone(),
            entitlements: redeemed.entitlements.clone(),
            client: Some(exchange.client),
            ..Bearings::default()
        },
        built_at,
    })
}

/// What is said of whoever redeemed a code, its access token, and the assertion for the application.
async fn issued(
    ctx: &Context,
    change: &mut Change<'_>,
    basis: &Basis<'_>,
    grant_id: &str,
) -> Result<(Statement, String, String), OAuthError> {
    let provider = &basis.client.provider;
    let signer = Signer::of(ctx, change.conn(), provider).await?;
    let mut said = issue::statement(ctx, basis).await?;
    let token = issue::access_token(ctx, change, &signer, basis, &said, grant_id).await?;
    let upstream = issue::upstream_token(ctx, &signer, &said.claims, &provider.name)?;
    said.measure(&token);
    Ok((said, token, upstream))
}

fn same_nonce(requested: Option<&str>, expected: &str) -> bool {
    requested.is_some_and(|nonce| same_secret(nonce.as_bytes(), expected.as_bytes()))
}

/// Whether what an identity rests on still holds, policies included (PX-196, PX-198).
///
/// # Errors
/// When the store fails.
pub async fn still_stands(ctx: &Context, provider: ProviderPk, bearings: &Bearings) -> Result<bool, Error> {
    let Some(served) = Served::by_pk(ctx, provider).await? else { return Ok(false) };
    let Some(application) = &served.client.application else { return Ok(false) };
    let mut conn = ctx.db.read().await?;
    let Ok(uuid) = bearings.user.parse() else { return Ok(false) };
    let Some(owner) = account::by_uuid(&mut conn, uuid).await?.filter(|owner| owner.is_active) else {
        return Ok(false);
    };
    let now = ctx.now();
    if !bearings.sid.is_empty() {
        let login = login_session::by_sid(&mut conn, &bearings.sid, now).await?;
        if login.is_none_or(|login| login.account != owner.pk) {
            return Ok(false);
        }
    }
    let (uuid, key) = (&bearings.app_password, &bearings.app_password_key);
    if !uuid.is_empty() && !introspect::app_password_stands(ctx, &mut conn, uuid, key, owner.pk).await? {
        return Ok(false);
    }
    let mut context = AccessContext { client: bearings.client, ..AccessContext::default() };
    if !bearings.access_token.is_empty() {
        let Some(record) = grant::token_by_jti(&mut conn, &bearings.access_token).await? else { return Ok(false) };
        let same = record.provider == provider && record.account == owner.pk;
        if !same || !introspect::lives(ctx, &mut conn, &record).await? {
            return Ok(false);
        }
        // What a policy was told at the token endpoint, it is told again (OA-401, OA-405).
        if let Some(assertion) = issue::assertion_of(ctx, &record)? {
            context.entries.insert("oauth_jwt".to_owned(), serde_json::Value::Object(assertion));
        }
    }
    let person = directory::person_of(ctx, &mut conn, owner).await?;
    if !bearings.app_password.is_empty() && machine::account_has_ended(&person, now) {
        return Ok(false);
    }
    let said = &bearings.entitlements;
    if !person.is_direct_member_of(&bearings.groups)
        || !entitlements::still_held(&mut conn, &person, application.uuid, said).await?
    {
        return Ok(false);
    }
    drop(conn);
    Ok(access::judge_by(ctx, &served.terms, &person, application, &context).await?.decision.passing)
}
