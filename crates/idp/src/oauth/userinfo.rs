//! What a client learns about its user with an access token (OA section 18).

use portcullis_core::keys::Purpose;
use portcullis_store::provider::Provider;
use portcullis_store::{grant, provider};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::introspect;
use crate::claims::ClaimSet;
use crate::context::{Context, Visitor};
use crate::error::Error;

/// A presented token lasts at most so long; longer ones are not looked up.
const LONGEST: usize = 64 * 1024;

/// Claims of the token itself, which say nothing about the user (OA-527).
const OF_TOKEN: [&str; 9] = ["iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "jti", "sid"];

/// Why nothing is told (OA-528).
#[derive(Debug)]
pub enum Refusal {
    /// No token that holds.
    InvalidToken,
    /// A token without `openid` (OA-526).
    InsufficientScope,
    /// The store failed.
    Failed(Error),
}

/// The error that is told.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::Failed(_) => "server_error",
        })
    }
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

/// What is told, and to whom.
pub struct Told {
    /// The claims.
    pub claims: Value,
    /// The client.
    pub provider: Provider,
}

/// Tells who the user of an access token is (OA-526, OA-527).
///
/// # Errors
/// [`Refusal`].
pub async fn answer(ctx: &Context, visitor: &Visitor, token: &str) -> Result<Told, Refusal> {
    if token.is_empty() || token.len() > LONGEST {
        return Err(Refusal::InvalidToken);
    }
    let digest = ctx.keys.digest(Purpose::GrantLookup, &[b"access", token.as_bytes()]);
    let mut conn = ctx.db.read().await?;
    let record = grant::token_by_digest(&mut conn, &digest).await?.ok_or(Refusal::InvalidToken)?;
    let client = Client::by_pk(&mut conn, record.provider).await?.ok_or(Refusal::InvalidToken)?;
    let (jti, account, was_revoked) = (record.jti.clone(), record.account, record.revoked.is_some());
    let Some(active) = introspect::active(ctx, conn, visitor, &client, record).await? else {
        if was_revoked {
            introspect::note_revoked(ctx, visitor, &client.provider, &jti, account).await?;
        }
        return Err(Refusal::InvalidToken);
    };
    if !active.record.scope.split_ascii_whitespace().any(|scope| scope == "openid") {
        return Err(Refusal::InsufficientScope);
    }
    let mut conn = ctx.db.read().await?;
    let claims = super::issue::travelling(&mut conn, client.provider.pk, &active.claims).await?;
    Ok(Told { claims: json!(about_user(claims)), provider: client.provider })
}

/// Whether a token may come in the query, where logs and histories keep it: only what its provider allows it for (OA-884).
///
/// # Errors
/// When the store fails.
pub async fn may_be_in_query(ctx: &Context, token: &str) -> Result<bool, Error> {
    if token.is_empty() || token.len() > LONGEST {
        return Ok(false);
    }
    let mut conn = ctx.db.read().await?;
    let digest = ctx.keys.digest(Purpose::GrantLookup, &[b"access", token.as_bytes()]);
    let Some(record) = grant::token_by_digest(&mut conn, &digest).await? else { return Ok(false) };
    Ok(provider::by_pk(&mut conn, record.provider).await?.is_some_and(|provider| provider.allow_query_token))
}

fn about_user(claims: ClaimSet) -> Map<String, Value> {
    claims.into_iter().filter(|(claim, _)| !OF_TOKEN.contains(&claim.as_str())).collect()
}
