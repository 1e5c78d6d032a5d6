//! What clients can find out by themselves (OA section 5).

use portcullis_store::application::Application;
use portcullis_store::mapping::ScopeMapping;
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, mapping};
use serde_json::{Value, json};

use super::client::has_keys;
use super::code;
use super::response_type::ResponseType;
use super::{issuer, place};
use crate::claims::{self, ACR};
use crate::context::Context;
use crate::error::Error;
use crate::mappings::native::Native;
use crate::signing::{self, Signer, SigningError, jwe};
use crate::sources::jwks::ALGORITHMS;

/// Grants that can be used, by their names on the wire (OA-106).
const OFFERED: [&str; 7] = [
    "authorization_code",
    "refresh_token",
    "implicit",
    "client_credentials",
    "password",
    super::device::GRANT,
    super::exchange::GRANT,
];

/// The discovery document of an application (OA-101 … OA-116).
///
/// # Errors
/// When the store fails.
pub async fn document(ctx: &Context, application: &Application, provider: &Provider) -> Result<Value, Error> {
    let mut conn = ctx.db.read().await?;
    let mappings = mapping::of_provider(&mut conn, provider.pk).await?;
    let mut scopes = claims::offered_scopes(&mappings);
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.push("openid".to_owned());
        scopes.sort();
    }
    let (issuer, place) = (issuer(ctx, provider, &application.slug), place(ctx, &application.slug));
    let at = |path: &str| format!("{}/application/o/{path}/", ctx.base_url);
    let mut methods = vec!["client_secret_post", "client_secret_basic"];
    if provider.is_public() {
        methods.push("none");
    }
    if has_keys(provider) {
        methods.push("private_key_jwt");
    }
    // A key that cannot be used is left out: nothing signs in its place (OA-125).
    let signer = signer(ctx, &mut conn, provider).await?;
    let algorithms: Vec<_> = signer.iter().map(Signer::algorithm).collect();
    let grants = OFFERED.into_iter().filter(|grant| provider.may_use(grant));
    // Public clients exchange nothing (OA-735).
    let grants: Vec<_> = grants.filter(|grant| *grant != super::exchange::GRANT || !provider.is_public()).collect();
    let challenges = if provider.allow_pkce_plain { vec![code::S256, code::PLAIN] } else { vec![code::S256] };
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "userinfo_endpoint": at("userinfo"),
        "introspection_endpoint": at("introspect"),
        "revocation_endpoint": at("revoke"),
        "device_authorization_endpoint": at("device"),
        "end_session_endpoint": format!("{place}end-session/"),
        "jwks_uri": format!("{place}jwks/"),
        "response_types_supported": ResponseType::of(provider),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "grant_types_supported": grants,
        "id_token_signing_alg_values_supported": algorithms,
        "subject_types_supported": ["public"],
        "acr_values_supported": [ACR],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "scopes_supported": scopes,
        "claims_supported": claims_of(&mappings),
        "request_parameter_supported": false,
        "claims_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "code_challenge_methods_supported": challenges,
        "authorization_response_iss_parameter_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "frontchannel_logout_supported": true,
        "frontchannel_logout_session_supported": true,
    });
    let mut also = |name: &str, value: Value| {
        if let Some(members) = document.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
    };
    if signer.is_some_and(|signer| signer.encrypts()) {
        also("id_token_encryption_alg_values_supported", json!([jwe::ALG]));
        also("id_token_encryption_enc_values_supported", json!([jwe::ENC]));
    }
    if has_keys(provider) {
        // RFC 8414 §2: which signatures are taken, wherever that method is offered.
        for endpoint in ["token", "introspection", "revocation"] {
            also(&format!("{endpoint}_endpoint_auth_signing_alg_values_supported"), json!(ALGORITHMS));
        }
    }
    Ok(document)
}

/// The claims that every token has, and those that are known of the client's mappings: what other expressions say is known
/// once they are asked about somebody (OA-112).
fn claims_of(mappings: &[ScopeMapping]) -> Vec<&'static str> {
    let mut all = vec!["sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce"];
    for claim in mappings.iter().filter_map(|mapping| Native::of(&mapping.expression)).flat_map(Native::claims) {
        if !all.contains(claim) {
            all.push(claim);
        }
    }
    all
}

/// The published keys: the one that signs, unless it cannot be read, which is logged, and retired ones (OA-120, OA-124,
/// OA-125).
///
/// # Errors
/// When the store fails.
pub async fn jwks(ctx: &Context, provider: &Provider) -> Result<Value, Error> {
    let mut conn = ctx.db.read().await?;
    signing::published(ctx, &mut conn, provider).await
}

async fn signer(ctx: &Context, conn: &mut Conn, provider: &Provider) -> Result<Option<Signer>, Error> {
    match Signer::of(ctx, conn, provider).await {
        Ok(signer) => Ok(Some(signer)),
        Err(SigningError::Store(error)) => Err(error.into()),
        Err(error @ SigningError::NoKey(_)) => {
            tracing::error!(%error, "signing key left out of the published keys");
            Ok(None)
        }
    }
}
