//! Introspection (OA section 16, PX-418).

use portcullis_core::epoch::Subject;
use portcullis_core::id::UserPk;
use portcullis_core::keys::Purpose;
use portcullis_store::grant::{self, AccessToken};
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, account, application, login_session, provider, source, token};
use serde_json::{Map, Value, json};

use super::client::{self, Client, Credentials};
use super::code::context;
use super::issue;
use super::machine;
use super::params::Params;
use super::refresh;
use super::{OAuthError, Relay};
use crate::claims::{ClaimSet, told};
use crate::context::{Context, Visitor};
use crate::directory::{self, Person, users};
use crate::error::Error;
use crate::mappings::API_SCOPE;
use crate::signing::Signer;
use crate::{access, entitlements, event, limits, tokens};

/// A presented token lasts at most so long; longer ones are not looked up.
const LONGEST: usize = 64 * 1024;

/// An access token that holds now.
pub struct Active {
    /// Its record.
    pub record: AccessToken,
    /// Its complete claims.
    pub claims: ClaimSet,
    /// Its user.
    pub person: Person,
}

/// The record of an access token that a client may see: its own, or one of a provider that lists it as a
/// federated one (OA-493).
///
/// # Errors
/// When the store fails.
pub async fn visible(
    ctx: &Context,
    conn: &mut Conn,
    client: &Client,
    token: &str,
) -> Result<Option<AccessToken>, Error> {
    if token.is_empty() || token.len() > LONGEST {
        return Ok(None);
    }
    let digest = ctx.keys.digest(Purpose::GrantLookup, &[b"access", token.as_bytes()]);
    let Some(record) = grant::token_by_digest(conn, &digest).await? else { return Ok(None) };
    if record.provider == client.provider.pk {
        return Ok(Some(record));
    }
    let issuer = provider::by_pk(conn, record.provider).await?;
    Ok(issuer.filter(|issuer| issuer.accepts_tokens_of(client.provider.pk)).map(|_| record))
}

/// What a token says, if it holds at this moment at the application of `client` (OA-463, PX-418). Policies
/// are asked again: the claims are those of the issue, the decision is of now (OA-498).
///
/// # Errors
/// When the store fails.
pub async fn active(
    ctx: &Context,
    mut conn: Conn,
    visitor: &Visitor,
    client: &Client,
    record: AccessToken,
) -> Result<Option<Active>, Error> {
    let Some(accessed) = client.application.as_ref() else { return Ok(None) };
    let issuing = application::by_provider(&mut conn, record.provider).await?;
    let Some(issuing) = issuing else { return Ok(None) };
    if !lives(ctx, &mut conn, &record).await? {
        return Ok(None);
    }
    let Some(person) = directory::person(ctx, &mut conn, record.account).await? else { return Ok(None) };
    if record.app_password.is_some() && machine::account_has_ended(&person, ctx.now()) {
        return Ok(None);
    }
    let mut claims = issue::claims_of(ctx, &record)?;
    // What it rests on may have been given an earlier end (OA-608).
    claims.insert("exp".to_owned(), json!(record.expires.seconds()));
    let said: Vec<_> = texts(&claims, "entitlements").map(str::to_owned).collect();
    if !entitlements::still_held(&mut conn, &person, issuing.uuid, &said).await? {
        return Ok(None);
    }
    let scopes: Vec<_> = record.scope.split_ascii_whitespace().collect();
    let mut entries = json!({"oauth_scopes": scopes, "oauth_grant_type": "bearer"});
    if let Some(assertion) = issue::assertion_of(ctx, &record)? {
        event::add(&mut entries, "oauth_jwt", Value::Object(assertion));
    }
    let asked = context(entries).from(visitor);
    if !person.account.is_active || !access::judge_after(ctx, conn, &person, accessed, &asked).await?.decision.passing {
        return Ok(None);
    }
    Ok(Some(Active { record, claims, person }))
}

/// The texts in a claim that is a list.
fn texts<'a>(claims: &'a ClaimSet, name: &str) -> impl Iterator<Item = &'a str> {
    claims.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Tokens that one was made of, in all steps, beyond which it is good for nothing.
const MOST_USED: usize = 64;

/// Whether a token is unexpired and unrevoked, and what it was obtained by still stands: so do the tokens that it was made of,
/// whose issuers are still believed where they were (OA-245, OA-344).
///
/// # Errors
/// When the store fails.
pub async fn lives(ctx: &Context, conn: &mut Conn, record: &AccessToken) -> Result<bool, Error> {
    if !stands(ctx, conn, record).await? {
        return Ok(false);
    }
    let used_by = |token: &AccessToken| {
        let ids = [token.traded_jti.clone(), token.actor_jti.clone()];
        let at = token.provider;
        ids.into_iter().flatten().map(move |jti| (jti, at))
    };
    let (mut used, mut looked_at): (Vec<_>, usize) = (used_by(record).collect(), 0);
    while let Some((jti, at)) = used.pop() {
        looked_at += 1;
        // Nothing outlives what it was made of: one that is gone ended before its time.
        let Some(token) = grant::token_by_jti(conn, &jti).await?.filter(|_| looked_at <= MOST_USED) else {
            return Ok(false);
        };
        let believed = provider::by_pk(conn, at).await?.is_some_and(|at| at.accepts_tokens_of(token.provider));
        if !believed || !stands(ctx, conn, &token).await? {
            return Ok(false);
        }
        used.extend(used_by(&token));
    }
    Ok(true)
}

/// The same of a token by itself.
async fn stands(ctx: &Context, conn: &mut Conn, record: &AccessToken) -> Result<bool, Error> {
    let now = ctx.now();
    if record.revoked.is_some() || record.expires <= now {
        return Ok(false);
    }
    if let Some(sid) = &record.sid
        && login_session::by_sid(conn, sid, now).await?.is_none_or(|login| login.account != record.account)
    {
        return Ok(false);
    }
    if let Some(sid) = &record.traded_sid
        && login_session::by_sid(conn, sid, now).await?.is_none_or(|login| login.account != record.account)
    {
        return Ok(false);
    }
    if let Some(actor) = record.actor
        && account::by_pk(conn, actor).await?.is_none_or(|actor| !actor.is_active)
    {
        return Ok(false);
    }
    if let Some(pk) = record.source {
        let vouches = source::by_pk(conn, pk).await?.is_some_and(|source| source.enabled);
        let believed_at = record.source_at.unwrap_or(record.provider);
        if !vouches || provider::by_pk(conn, believed_at).await?.is_none_or(|provider| !provider.trusts(pk)) {
            return Ok(false);
        }
    }
    match (&record.app_password, &record.app_password_key) {
        (Some(uuid), Some(key)) => app_password_stands(ctx, conn, uuid, key, record.account).await,
        _ => Ok(true),
    }
}

/// Whether an app password exists, holds, belongs to the user and still has the key it had, be it as its old one.
///
/// # Errors
/// When the store fails.
pub async fn app_password_stands(
    ctx: &Context,
    conn: &mut Conn,
    uuid: &str,
    key: &str,
    owner: portcullis_core::id::UserPk,
) -> Result<bool, Error> {
    let Ok(uuid) = uuid.parse() else { return Ok(false) };
    let Some(found) = token::by_uuid(conn, uuid).await? else { return Ok(false) };
    let now = ctx.now();
    let is_old = |old: &token::OldKey| old.ends > now && issue::key_mark(&old.digest) == key;
    Ok(found.account == owner
        && found.intent == crate::tokens::APP_PASSWORD
        && found.holds(now)
        && (issue::key_mark(&found.key_digest) == key || found.old_key.as_ref().is_some_and(is_old)))
}

/// The app password that an access token was obtained with, if there was one.
///
/// # Errors
/// When the store fails.
pub(crate) async fn app_password_of(conn: &mut Conn, record: &AccessToken) -> Result<Option<token::Token>, Error> {
    match record.app_password.as_deref().and_then(|uuid| uuid.parse().ok()) {
        Some(uuid) => Ok(token::by_uuid(conn, uuid).await?),
        None => Ok(None),
    }
}

/// The user of an access token that is good for the API (CO-521, OA-435): it has the scope for it, and holds.
///
/// # Errors
/// When the store fails.
pub async fn api_user(ctx: &Context, visitor: &Visitor, token: &str) -> Result<Option<Person>, Error> {
    if token.is_empty() || token.len() > LONGEST {
        return Ok(None);
    }
    let digest = ctx.keys.digest(Purpose::GrantLookup, &[b"access", token.as_bytes()]);
    let mut conn = ctx.db.read().await?;
    let Some(record) = grant::token_by_digest(&mut conn, &digest).await? else { return Ok(None) };
    if !record.scope.split_ascii_whitespace().any(|scope| scope == API_SCOPE) {
        return Ok(None);
    }
    // Who acts as somebody else does so in the browser alone, where it is known that they do (CO-388).
    for sid in [&record.sid, &record.traded_sid].into_iter().flatten() {
        let login = login_session::by_sid(&mut conn, sid, ctx.now()).await?;
        if login.is_some_and(|login| login.impersonator.is_some()) {
            return Ok(None);
        }
    }
    let Some(client) = Client::by_pk(&mut conn, record.provider).await? else { return Ok(None) };
    let active = active(ctx, conn, visitor, &client, record).await?;
    // What is done by the API is recorded under the user's name: not for those who act for them (OA-738).
    Ok(active.filter(|active| !active.claims.contains_key("act")).map(|active| active.person))
}

/// Answers a request to the introspection endpoint (OA-490 … OA-496). `relay` is the outpost that asks, if it says
/// so with its own token.
///
/// # Errors
/// [`OAuthError::InvalidClient`], [`OAuthError::InvalidRequest`], [`OAuthError::Throttled`]; never because of
/// the token.
pub async fn answer(
    ctx: &Context,
    visitor: &Visitor,
    authorization: Option<&[u8]>,
    params: &Params,
    relay: Option<&Relay>,
) -> Result<Value, OAuthError> {
    let credentials = Credentials::read(authorization, params)?;
    let client = client::authenticate(ctx, visitor, &credentials).await?;
    let visitor = &*Relay::seen(relay, visitor, &client.provider);
    let inactive = json!({"active": false});
    if client.provider.is_public() {
        // Whoever knows a public client's id would be told (OA-491).
        return Ok(inactive);
    }
    let mut conn = ctx.db.read().await?;
    let token = params.text("token");
    let Some(record) = visible(ctx, &mut conn, &client, token).await? else {
        // An application behind a proxy is opened by access tokens alone (PX-418).
        let own = !client.provider.is_proxy();
        let Some(record) = refresh::visible(ctx, &mut conn, &client, token).await?.filter(|_| own) else {
            return Ok(inactive);
        };
        return Ok(refresh::told(ctx, conn, visitor, &record).await?.map_or(inactive, Value::Object));
    };
    let (jti, account, revoked) = (record.jti.clone(), record.account, record.revoked.is_some());
    // What limits an app password limits its tokens, too (OA-816).
    let limited_by = app_password_of(&mut conn, &record).await?;
    let served = relay.filter(|relay| relay.providers.contains(&client.provider.pk));
    if let (Some(relay), Some(password)) = (served, &limited_by)
        && !tokens::is_taken_from(password, relay.client)
    {
        return Ok(inactive);
    }
    let Some(active) = active(ctx, conn, visitor, &client, record).await? else {
        if revoked {
            note_revoked(ctx, visitor, &client.provider, &jti, account).await?;
        }
        return Ok(inactive);
    };
    // The token says what held when it was issued; an application must not be told a group that was lost since.
    if client.provider.is_proxy() && !active.person.is_direct_member_of(&active.record.groups) {
        return Ok(inactive);
    }
    let mut conn = ctx.db.read().await?;
    let Some(issuer) = provider::by_pk(&mut conn, active.record.provider).await? else { return Ok(inactive) };
    // Another application's attributes are none of the caller's business.
    let claims = match active.record.provider == client.provider.pk {
        true => issue::travelling(&mut conn, client.provider.pk, &active.claims).await?,
        false => crate::claims::without_attributes(active.claims),
    };
    let upstream = match client.provider.is_proxy() {
        true => {
            let signer = Signer::of(ctx, &mut conn, &client.provider).await?;
            Some(issue::upstream_token(ctx, &signer, &claims, &client.provider.name)?)
        }
        false => None,
    };
    drop(conn);
    let mut said: Map<String, Value> = told(&issuer, claims);
    said.insert("active".to_owned(), json!(true));
    said.insert("scope".to_owned(), json!(active.record.scope));
    said.insert("client_id".to_owned(), json!(issuer.client_id));
    said.insert("token_type".to_owned(), json!("Bearer"));
    said.insert("username".to_owned(), json!(active.person.account.username));
    if client.provider.is_proxy() {
        name_user(&mut said, &active.person);
    }
    if let Some(upstream) = upstream {
        said.insert("upstream_token".to_owned(), json!(upstream));
    }
    // An outpost asks once, and many requests from anywhere follow.
    let networks = limited_by.map(|password| password.allowed_networks).unwrap_or_default();
    if client.provider.is_proxy() && !networks.is_empty() {
        said.insert("allowed_networks".to_owned(), json!(networks));
    }
    Ok(Value::Object(said))
}

/// Tells an outpost whom a token is about, whatever scopes it was granted: what is revoked later is told by that name
/// (PX-198, PX-416). Everything else in the claim stays a matter of its scope.
fn name_user(said: &mut Map<String, Value>, person: &Person) {
    let uuid = json!(person.account.uuid.to_string());
    match said.get_mut("ak_proxy") {
        Some(Value::Object(claim)) => drop(claim.insert("user_uuid".to_owned(), uuid)),
        _ => drop(said.insert("ak_proxy".to_owned(), json!({"user_uuid": uuid}))),
    }
}

/// Somebody still uses a revoked token of a user: said once per token and hour (OA-496, OA-529).
///
/// # Errors
/// When the store fails.
pub(super) async fn note_revoked(
    ctx: &Context,
    visitor: &Visitor,
    provider: &Provider,
    jti: &str,
    user: UserPk,
) -> Result<(), Error> {
    const HOUR: i64 = 3600;
    if let Some(mut tx) = limits::first_of(ctx, &[b"revoked", jti.as_bytes()], HOUR).await? {
        let user = account::by_pk(&mut tx, user).await?;
        let context = json!({"message": "Revoked access token was used", "provider": provider.name,
            "affected_user": user.as_ref().map(users::named)});
        let recorded = event::record(ctx, &mut tx, &visitor.stranger(""), "suspicious_request", context).await?;
        tx.commit().await?;
        event::log(&recorded);
    }
    // Should anything still remember it: not for longer.
    ctx.epochs.bump(Subject::Credential(jti));
    Ok(())
}
