//! Token exchange (OA-735 … OA-738, RFC 8693): a client of ours brings somebody's token of another client, or of a source,
//! and gets one of its own for them.

use super::OAuthError;
use super::client::Client;
use super::issue::issuer_of;
use super::machine::{Brought, Exchange, Kind, Variant, Wish};
use super::params::Params;
use super::token::{TokenAnswer, Wanted, for_machine};
use crate::claims;
use crate::context::{Context, Visitor};

/// The grant's name on the wire.
pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Answers a client that has proven itself.
///
/// # Errors
/// [`OAuthError::InvalidRequest`] for everything that is wrong with the tokens, as RFC 8693 §2.2.2 has it;
/// [`OAuthError::InvalidTarget`], [`OAuthError::UnauthorizedClient`], [`OAuthError::Throttled`].
pub(super) async fn answer(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    params: &Params,
) -> Result<TokenAnswer, OAuthError> {
    if client.provider.is_public() {
        // Nobody has proven anything (OA-735).
        return Err(OAuthError::UnauthorizedClient);
    }
    let exchange = Exchange { subject: subject(params)?, actor: actor(params)? };
    let wanted = match params.get("requested_token_type") {
        None | Some(ACCESS_TOKEN) => Wanted::AccessToken { issued_token_type: Some(ACCESS_TOKEN) },
        Some(ID_TOKEN) => Wanted::IdToken { issued_token_type: ID_TOKEN },
        Some(_) => return Err(OAuthError::InvalidRequest),
    };
    target(ctx, client, params)?;
    if exchange.actor.is_none() && !client.provider.exchange_without_actor {
        // Whoever holds the result would be the user, and nothing would tell that somebody else is (OA-738).
        return Err(OAuthError::InvalidRequest);
    }
    let scopes = claims::granted_scopes(params.text("scope"), &client.mappings);
    let wish = Wish { scopes: &scopes, grant_type: GRANT, code_verifier: None };
    let mut variant = Variant::Exchange(Box::new(exchange));
    match for_machine(ctx, visitor, client, &mut variant, &wish, wanted, false).await {
        Err(OAuthError::InvalidGrant) => Err(OAuthError::InvalidRequest),
        other => other,
    }
}

fn subject(params: &Params) -> Result<Brought, OAuthError> {
    brought(params.get("subject_token"), params.get("subject_token_type"))?.ok_or(OAuthError::InvalidRequest)
}

fn actor(params: &Params) -> Result<Option<Brought>, OAuthError> {
    brought(params.get("actor_token"), params.get("actor_token_type"))
}

/// A token with its type; one without the other is a mistake.
fn brought(token: Option<&str>, kind: Option<&str>) -> Result<Option<Brought>, OAuthError> {
    let (token, kind) = match (token, kind) {
        (None, None) => return Ok(None),
        (Some(token), Some(ACCESS_TOKEN)) => (token, Kind::Provider),
        (Some(token), Some(JWT)) => (token, Kind::Source),
        _ => return Err(OAuthError::InvalidRequest),
    };
    Ok(Some(Brought { jwt: token.to_owned(), kind }))
}

/// What is issued is for the client that asks, and for nobody else (OA-737).
fn target(ctx: &Context, client: &Client, params: &Params) -> Result<(), OAuthError> {
    let issuer = issuer_of(ctx, client);
    let is_issuer = |named: &str| issuer.as_deref() == Some(named);
    let meant = params.all("audience").all(|named| named == client.provider.client_id || is_issuer(named))
        && params.all("resource").all(is_issuer);
    if meant { Ok(()) } else { Err(OAuthError::InvalidTarget) }
}
