//! The token endpoint (OA sections 8, 9 and 11).

use serde::Serialize;

use super::OAuthError;
use super::client::{self, Client, Credentials};
use super::code::{self, Redemption};
use super::issue::{self, Basis};
use super::machine::{self, Wish};
use super::params::Params;
use crate::change::Change;
use crate::claims;
use crate::context::{Context, Visitor};
use crate::signing;

/// A successful answer (OA-224).
#[derive(Serialize)]
pub struct TokenAnswer {
    access_token: String,
    token_type: &'static str,
    scope: String,
    expires_in: i64,
    id_token: String,
    /// What the application behind a proxy may see (PX-417).
    upstream_token: String,
    /// For sign-out at the end of a login (PX-419).
    #[serde(skip_serializing_if = "Option::is_none")]
    logout_hint: Option<String>,
}

/// Grants that are known; those without `true` are not for proxy providers (OA-050, OA-215).
const GRANTS: [(&str, bool); 5] = [
    ("authorization_code", true),
    ("refresh_token", true),
    ("client_credentials", true),
    ("password", true),
    ("urn:ietf:params:oauth:grant-type:device_code", false),
];

/// Answers a request to the token endpoint, in the order of OA-214.
///
/// # Errors
/// [`OAuthError`].
pub async fn exchange(
    ctx: &Context,
    visitor: &Visitor,
    authorization: Option<&[u8]>,
    params: &Params,
) -> Result<TokenAnswer, OAuthError> {
    let credentials = Credentials::read(authorization, params)?;
    let client = client::identify(ctx, visitor, &credentials).await?;
    let grant_type = params.text("grant_type");
    let (_, allowed) = GRANTS.iter().find(|(known, _)| *known == grant_type).ok_or(OAuthError::UnsupportedGrantType)?;
    if !allowed {
        return Err(OAuthError::UnauthorizedClient);
    }
    match grant_type {
        "client_credentials" | "password" => by_machine(ctx, visitor, &client, &credentials, params).await,
        _ => {
            client::prove(ctx, visitor, &credentials, &client).await?;
            if grant_type == "refresh_token" {
                // None was ever issued: proxy providers have no `offline_access`.
                return Err(OAuthError::InvalidGrant);
            }
            by_code(ctx, visitor, &client, params).await
        }
    }
}

async fn by_code(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    params: &Params,
) -> Result<TokenAnswer, OAuthError> {
    let redemption = Redemption {
        code: params.get("code").ok_or(OAuthError::InvalidGrant)?,
        redirect_uri: params.text("redirect_uri"),
        code_verifier: params.get("code_verifier"),
    };
    let judged = code::foresee(ctx, visitor, client, &redemption).await?;
    let actor = code::actor(visitor);
    let mut change = Change::begin(ctx, &actor).await?;
    let redeemed = match code::redeem(ctx, &mut change, client, &redemption, &judged).await {
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
        app_password: None,
    };
    issue_all(ctx, change, &basis, &redeemed.code.grant_id).await
}

async fn by_machine(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    credentials: &Credentials,
    params: &Params,
) -> Result<TokenAnswer, OAuthError> {
    let scopes = claims::granted_scopes(params.text("scope"), &client.mappings);
    let wish =
        Wish { scopes: &scopes, grant_type: params.text("grant_type"), code_verifier: params.get("code_verifier") };
    let variant = machine::variant(
        ctx,
        client,
        params.text("client_assertion_type"),
        params.text("username"),
        params.text("password"),
        &credentials.secret,
    )?;
    let proven = machine::prove(ctx, visitor, client, None, &variant, &wish).await?;
    let application = client.application.as_ref().ok_or(OAuthError::InvalidGrant)?;
    let actor = visitor.stranger("");
    let mut change = Change::begin(ctx, &actor).await?;
    let mut proven = machine::confirm(ctx, &mut change, client, &variant, proven).await?;
    machine::note_success(ctx, &mut change, visitor, client, application, &mut proven).await?;
    let basis = basis_of_machine(client, application, &proven, &scopes);
    let grant_id = ctx.entropy.alphanumeric(40);
    issue_all(ctx, change, &basis, &grant_id).await
}

fn basis_of_machine<'a>(
    client: &'a Client,
    application: &'a portcullis_store::application::Application,
    proven: &'a machine::Proven,
    scopes: &'a [String],
) -> Basis<'a> {
    Basis {
        client,
        application,
        person: &proven.person,
        entitlements: &proven.entitlements,
        scopes,
        login: None,
        nonce: None,
        app_password: proven.app_password.as_ref(),
    }
}

/// Issues everything and commits: what the answer shows is stored (OA-646).
async fn issue_all(
    ctx: &Context,
    mut change: Change<'_>,
    basis: &Basis<'_>,
    grant_id: &str,
) -> Result<TokenAnswer, OAuthError> {
    let keys = signing::keys(ctx, change.conn()).await?;
    let said = issue::statement(ctx, basis)?;
    let access_token = issue::access_token(ctx, &mut change, &keys, basis, &said, grant_id).await?;
    let id_token = issue::id_token(ctx, change.conn(), &keys, basis, &said).await?;
    let upstream_token = issue::upstream_token(ctx, &keys, &said.claims, &basis.client.provider.name)?;
    change.commit().await?;
    Ok(TokenAnswer {
        access_token,
        token_type: "Bearer",
        scope: basis.scopes.join(" "),
        expires_in: said.expires.seconds().saturating_sub(ctx.now().seconds()),
        id_token,
        upstream_token,
        logout_hint: basis.login.map(|_| issue::logout_hint(ctx, &said.jti)),
    })
}
