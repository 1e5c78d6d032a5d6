//! The token endpoint (OA sections 8, 9 and 11).

use portcullis_store::application::Application;
use serde::Serialize;

use super::client::{self, Client, Credentials};
use super::code::{self, Redemption};
use super::issue::{self, Basis, Ground};
use super::machine::{self, Proven, Variant, Wish};
use super::params::Params;
use super::{OAuthError, Relay};
use crate::change::Change;
use crate::claims;
use crate::context::{Context, Visitor};
use crate::signing::Signer;

/// A successful answer (OA-224).
#[derive(Serialize)]
pub struct TokenAnswer {
    access_token: String,
    token_type: &'static str,
    scope: String,
    expires_in: i64,
    id_token: String,
    /// What the application behind a proxy may see (PX-417).
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_token: Option<String>,
    /// For sign-out at the end of a login (PX-419).
    #[serde(skip_serializing_if = "Option::is_none")]
    logout_hint: Option<String>,
}

/// Grants that are known; those without `true` are not offered yet, whatever a provider allows (OA-215).
const GRANTS: [(&str, bool); 5] = [
    ("authorization_code", true),
    ("refresh_token", true),
    ("client_credentials", true),
    ("password", true),
    ("urn:ietf:params:oauth:grant-type:device_code", false),
];

/// Answers a request to the token endpoint, in the order of OA-214. `relay` is the outpost that asks, if it says so with its
/// own token.
///
/// # Errors
/// [`OAuthError`].
pub async fn exchange(
    ctx: &Context,
    visitor: &Visitor,
    authorization: Option<&[u8]>,
    params: &Params,
    relay: Option<&Relay>,
) -> Result<TokenAnswer, OAuthError> {
    let credentials = Credentials::read(authorization, params)?;
    let client = client::identify(ctx, visitor, &credentials).await?;
    let grant_type = params.text("grant_type");
    let (_, offered) = GRANTS.iter().find(|(known, _)| *known == grant_type).ok_or(OAuthError::UnsupportedGrantType)?;
    if !offered || !client.provider.may_use(grant_type) {
        return Err(OAuthError::UnauthorizedClient);
    }
    match grant_type {
        "client_credentials" | "password" => by_machine(ctx, visitor, &client, &credentials, params, relay).await,
        _ => {
            client::prove(ctx, visitor, &credentials, &client).await?;
            if grant_type == "refresh_token" {
                // None was ever issued.
                return Err(OAuthError::InvalidGrant);
            }
            by_code(ctx, visitor, &client, &credentials, params).await
        }
    }
}

async fn by_code(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    credentials: &Credentials,
    params: &Params,
) -> Result<TokenAnswer, OAuthError> {
    let redemption = Redemption {
        code: params.get("code").ok_or(OAuthError::InvalidGrant)?,
        redirect_uri: params.text("redirect_uri"),
        code_verifier: params.get("code_verifier"),
    };
    let foreseen = code::foresee(ctx, visitor, client, &redemption).await?;
    let actor = code::actor(visitor);
    let mut change = Change::begin(ctx, &actor).await?;
    let redeemed = match code::redeem(ctx, &mut change, client, &redemption, &foreseen).await {
        Ok(redeemed) => redeemed,
        Err(refused @ OAuthError::InvalidGrant) => {
            change.commit().await?;
            return Err(refused);
        }
        Err(failed) => return Err(failed),
    };
    let scopes: Vec<String> = redeemed.code.scope.split_ascii_whitespace().map(str::to_owned).collect();
    let basis = Basis {
        client,
        application: client.application.as_ref().ok_or(OAuthError::InvalidGrant)?,
        person: &redeemed.person,
        entitlements: &redeemed.entitlements,
        scopes: &scopes,
        login: Some(&redeemed.login),
        nonce: redeemed.code.nonce.as_deref(),
        ground: Ground::default(),
        visitor,
        foretold: foreseen.foretold.as_ref(),
    };
    issue_all(ctx, change, &basis, &redeemed.code.grant_id, client.is_proven_proxy(ctx, credentials)?).await
}

async fn by_machine(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    credentials: &Credentials,
    params: &Params,
    relay: Option<&Relay>,
) -> Result<TokenAnswer, OAuthError> {
    let scopes = claims::granted_scopes(params.text("scope"), &client.mappings);
    let wish =
        Wish { scopes: &scopes, grant_type: params.text("grant_type"), code_verifier: params.get("code_verifier") };
    let shown = machine::Shown {
        assertion_type: params.text("client_assertion_type"),
        assertion: params.sent("client_assertion"),
        username: params.text("username"),
        password: params.text("password"),
        secret: &credentials.secret,
        secret_in_body: params.text("client_secret"),
    };
    let mut variant = machine::variant(ctx, client, &shown)?;
    let proven = machine::prove(ctx, visitor, client, None, &mut variant, &wish).await?;
    let application = client.application.as_ref().ok_or(OAuthError::InvalidGrant)?;
    let foretold =
        issue::foretell(ctx, &basis_of_machine(client, application, &proven, &variant, &scopes, visitor)).await;
    let actor = visitor.stranger("");
    let mut change = Change::begin(ctx, &actor).await?;
    let mut proven = machine::confirm(ctx, &mut change, visitor, client, &variant, proven).await?;
    machine::note_success(ctx, &mut change, visitor, client, application, &variant, &mut proven).await?;
    let basis = basis_of_machine(client, application, &proven, &variant, &scopes, visitor);
    let basis = Basis { foretold: Some(&foretold), ..basis };
    let grant_id = ctx.entropy.alphanumeric(40);
    // Anybody may say to be the client: what applications believe is for the outpost, which has the secret (PX-417).
    let serves = relay.is_some_and(|relay| relay.providers.contains(&client.provider.pk));
    let to_outpost = (serves && client.provider.is_proxy()) || client.is_proven_proxy(ctx, credentials)?;
    issue_all(ctx, change, &basis, &grant_id, to_outpost).await
}

fn basis_of_machine<'a>(
    client: &'a Client,
    application: &'a Application,
    proven: &'a Proven,
    variant: &'a Variant,
    scopes: &'a [String],
    visitor: &'a Visitor,
) -> Basis<'a> {
    Basis {
        client,
        application,
        person: &proven.person,
        entitlements: &proven.entitlements,
        scopes,
        login: None,
        nonce: None,
        ground: machine::ground(variant, proven.app_password.as_ref()),
        visitor,
        foretold: None,
    }
}

/// Issues everything and commits: what the answer shows is stored (OA-646).
async fn issue_all(
    ctx: &Context,
    mut change: Change<'_>,
    basis: &Basis<'_>,
    grant_id: &str,
    to_outpost: bool,
) -> Result<TokenAnswer, OAuthError> {
    let provider = &basis.client.provider;
    let signer = Signer::of(ctx, change.conn(), provider).await?;
    let said = issue::statement(ctx, basis).await?;
    let access_token = issue::access_token(ctx, &mut change, &signer, basis, &said, grant_id).await?;
    let id_token = issue::id_token(ctx, change.conn(), &signer, basis, &said).await?;
    let upstream_token = match to_outpost {
        true => Some(issue::upstream_token(ctx, &signer, &said.claims, &provider.name)?),
        false => None,
    };
    change.commit().await?;
    claims::note(ctx, basis.visitor, provider, basis.person, &said.flaws).await?;
    Ok(TokenAnswer {
        access_token,
        token_type: "Bearer",
        scope: basis.scopes.join(" "),
        expires_in: said.expires.seconds().saturating_sub(ctx.now().seconds()),
        id_token,
        upstream_token,
        logout_hint: basis.login.filter(|_| to_outpost).map(|_| issue::logout_hint(ctx, &said.jti)),
    })
}
