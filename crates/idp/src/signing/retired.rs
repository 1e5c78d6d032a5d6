//! Key pairs that a provider has named before: what they signed is believed until it has ended (OA-124).

use std::sync::Arc;

use portcullis_core::duration;
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, retired_key};
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
        let lifetimes = [&before.access_token_validity, &before.refresh_token_validity];
        let longest = lifetimes.iter().map(|text| duration::seconds_or(text, SHORTEST)).max().unwrap_or(SHORTEST);
        let until = present.plus_seconds(longest.max(SHORTEST));
        retired_key::insert(change.conn(), now.pk, key, until).await?;
    }
    Ok(retired_key::sweep(change.conn(), present).await?)
}

/// The keys of a provider that sign no more and are believed. One that cannot be read is left out, which is logged.
async fn of(ctx: &Context, conn: &mut Conn, provider: &Provider) -> Result<Vec<Arc<OwnKey>>, Error> {
    let mut keys = Vec::new();
    for found in retired_key::of_provider(conn, provider.pk, ctx.now()).await? {
        match usable(ctx, &found) {
            Ok(key) => keys.push(key),
            Err(error) => tracing::warn!(provider = provider.name, error, "a retired signing key cannot be used"),
        }
    }
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
            keys.push(retired.jwk.clone());
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
    let read = |key: &Arc<OwnKey>| read_with(&key.decoding, key.algorithm, Some(&key.kid), token, issuer, audience);
    Ok(retired.iter().find_map(read))
}
