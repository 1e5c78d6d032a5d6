//! Keys that have signed for a provider before: what they signed is believed until it has ended (OA-124).

use jsonwebtoken::{Algorithm, DecodingKey};
use portcullis_core::clock::Timestamp;
use portcullis_core::duration;
use portcullis_store::Conn;
use portcullis_store::certificate::Certificate;
use portcullis_store::provider::{self, Provider};
use portcullis_store::retired_key::{self, Replaced};
use serde_json::{Map, Value, json};

use super::own::OwnKey;
use super::recipient::{self, Encryption};
use super::signer::{Signer, read_with, usable};
use super::{SigningError, jwe};
use crate::change::Change;
use crate::context::Context;
use crate::error::Error;

/// A retired key is believed at least so long, in seconds.
const SHORTEST: i64 = 24 * 3600;

/// Keeps the key pair that a provider named so far among those that are believed, and takes the one that it names now out.
/// Whoever deletes the key pair ends that at once.
///
/// # Errors
/// When the store fails.
pub(crate) async fn retire(change: &mut Change<'_>, before: &Provider, now: &Provider) -> Result<(), Error> {
    if before.signing_key == now.signing_key {
        return Ok(());
    }
    let present = change.context().now();
    if let Some(key) = now.signing_key {
        retired_key::remove(change.conn(), now.pk, key).await?;
    }
    if let Some(key) = before.signing_key {
        retired_key::insert(change.conn(), now.pk, key, until(before, present)).await?;
    }
    Ok(retired_key::sweep(change.conn(), present).await?)
}

/// Keeps the key that a certificate had among those that are believed, if it has another one now, or another name for it.
/// Whoever deletes the certificate ends that at once.
///
/// # Errors
/// When the store fails.
pub(crate) async fn replace(change: &mut Change<'_>, before: &Certificate, now: &Certificate) -> Result<(), Error> {
    let ctx = change.context();
    let Ok(key) = usable(ctx, before) else { return Ok(()) };
    if usable(ctx, now).is_ok_and(|now| now.kid == key.kid) {
        return Ok(());
    }
    let present = ctx.now();
    let replaced = Replaced { kid: key.kid.clone(), jwk: key.jwk.to_string() };
    for provider in provider::signed_by(change.conn(), before.pk).await? {
        let until = until(&provider, present);
        retired_key::keep_replaced(change.conn(), provider.pk, before.pk, &replaced, present, until).await?;
    }
    retired_key::keep_retired(change.conn(), before.pk, &replaced, present).await?;
    retired_key::sweep(change.conn(), present).await?;
    Ok(retired_key::limit_replaced(change.conn(), before.pk).await?)
}

/// How long a key is believed that signed for a provider until now.
fn until(provider: &Provider, now: Timestamp) -> Timestamp {
    let lifetimes = [&provider.access_token_validity, &provider.refresh_token_validity];
    let longest = lifetimes.iter().map(|text| duration::seconds_or(text, SHORTEST)).max().unwrap_or(SHORTEST);
    now.plus_seconds(longest.max(SHORTEST))
}

/// A key that signs no more, and is believed.
struct Believed {
    kid: String,
    jwk: Value,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

impl Believed {
    fn own(key: &OwnKey) -> Self {
        let (algorithm, decoding) = (key.algorithm, key.decoding.clone());
        Self { kid: key.kid.clone(), jwk: key.jwk.clone(), algorithm, decoding }
    }

    fn read(replaced: Replaced) -> Option<Self> {
        let jwk: Value = serde_json::from_str(&replaced.jwk).ok()?;
        let algorithm = jwk.get("alg")?.as_str()?.parse().ok()?;
        let decoding = DecodingKey::from_jwk(&serde_json::from_value(jwk.clone()).ok()?).ok()?;
        Some(Self { kid: replaced.kid, jwk, algorithm, decoding })
    }
}

/// The keys of a provider that sign no more and are believed. One that cannot be read is left out, which is logged.
async fn of(ctx: &Context, conn: &mut Conn, provider: &Provider) -> Result<Vec<Believed>, Error> {
    let mut keys = Vec::new();
    for found in retired_key::of_provider(conn, provider.pk, ctx.now()).await? {
        match usable(ctx, &found) {
            Ok(key) => keys.push(Believed::own(&key)),
            Err(error) => tracing::warn!(provider = provider.name, error, "a retired signing key cannot be used"),
        }
    }
    keys.extend(retired_key::replaced(conn, provider.pk, ctx.now()).await?.into_iter().filter_map(Believed::read));
    Ok(keys)
}

/// The keys that a provider publishes: the one that signs, if it can be read, and retired ones (OA-120, OA-124).
///
/// # Errors
/// When the store fails.
pub async fn published(ctx: &Context, conn: &mut Conn, provider: &Provider) -> Result<Value, Error> {
    let mut keys = match Signer::of(ctx, conn, provider).await {
        Ok(signer) => signer.jwks(),
        Err(SigningError::Store(error)) => return Err(error.into()),
        Err(error @ SigningError::NoKey(_)) => {
            tracing::error!(%error, "signing key left out of the published keys");
            Vec::new()
        }
    };
    match Encryption::of(ctx, conn, provider).await {
        Ok(encryption) => keys.extend(encryption.map(|encryption| encryption.jwk.clone())),
        Err(SigningError::Store(error)) => return Err(error.into()),
        Err(error @ SigningError::NoKey(_)) => tracing::error!(%error, "encryption key left out of the published keys"),
    }
    for retired in of(ctx, conn, provider).await? {
        // Two certificates may have the same key.
        if keys.iter().all(|key| key["kid"] != *retired.kid || key["use"] != "sig") {
            keys.push(retired.jwk);
        }
    }
    Ok(json!({"keys": keys}))
}

/// The claims of a token that a provider signed for `issuer` and `audience`, expired or not, with the key of now or a
/// retired one (OA-341, OA-541); if it is encrypted, of the one in it. None when no key can be read.
///
/// # Errors
/// When the store fails.
pub async fn read_hint(
    ctx: &Context,
    conn: &mut Conn,
    provider: &Provider,
    token: &str,
    issuer: &str,
) -> Result<Option<Map<String, Value>>, Error> {
    let audience = &provider.client_id;
    let opened = match jwe::has_form(token) {
        true => recipient::opened(ctx, conn, provider, token).await?,
        false => Some(token.to_owned()),
    };
    let Some(token) = opened.as_deref() else { return Ok(None) };
    match Signer::of(ctx, conn, provider).await {
        Err(SigningError::Store(error)) => return Err(error.into()),
        Err(SigningError::NoKey(_)) => {}
        Ok(signer) => {
            if let Some(claims) = signer.read_hint(token, issuer, audience) {
                return Ok(Some(claims));
            }
        }
    }
    let retired = of(ctx, conn, provider).await?;
    let read = |key: &Believed| read_with(&key.decoding, key.algorithm, Some(&key.kid), token, issuer, audience);
    Ok(retired.iter().find_map(read))
}
