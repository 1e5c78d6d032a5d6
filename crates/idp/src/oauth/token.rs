//! The token endpoint (OA sections 8 to 11).

use portcullis_store::application::Application;
use serde::Serialize;

use super::client::{self, Client, Credentials};
use super::code::{self, Redemption};
use super::device;
use super::exchange;
use super::issue::{self, Approval, Basis};
use super::machine::{self, Proven, Variant, Wish};
use super::params::Params;
use super::refresh::{self, Beginning, Presented};
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
    /// Unless that is what takes the place of the access token (OA-736).
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    /// What was issued in an exchange (OA-737).
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    /// For when nobody is there (OA-247, OA-262).
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// What the application behind a proxy may see (PX-417).
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_token: Option<String>,
    /// The only networks that the application is to take the app password from, if it is limited (OA-816).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_networks: Vec<String>,
    /// Whom it is about, by the name that an outpost hears of revocations under (PX-198, PX-416): whatever scopes were
    /// granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_uuid: Option<String>,
    /// For sign-out at the end of a login (PX-419).
    #[serde(skip_serializing_if = "Option::is_none")]
    logout_hint: Option<String>,
}

/// Grants that are known (OA-215).
const GRANTS: [&str; 6] =
    ["authorization_code", refresh::GRANT, "client_credentials", "password", device::GRANT, exchange::GRANT];

/// What a machine asks for.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// An access token, with an id token beside it (OA-225).
    AccessToken {
        /// What the answer says of it.
        issued_token_type: Option<&'static str>,
    },
    /// An id token alone (OA-736).
    IdToken {
        /// What the answer says of it.
        issued_token_type: &'static str,
    },
}

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
    if !GRANTS.contains(&grant_type) {
        return Err(OAuthError::UnsupportedGrantType);
    }
    if !client.provider.may_use(grant_type) {
        return Err(OAuthError::UnauthorizedClient);
    }
    let visitor = &*Relay::seen(relay, visitor, &client.provider);
    let answered = match grant_type {
        "client_credentials" | "password" => by_machine(ctx, visitor, &client, &credentials, params, relay).await,
        _ => {
            match grant_type {
                device::GRANT => client::prove_device(ctx, visitor, &credentials, &client).await?,
                _ => client::prove(ctx, visitor, &credentials, &client).await?,
            }
            match grant_type {
                refresh::GRANT => by_refresh_token(ctx, visitor, &client, &credentials, params).await,
                device::GRANT => by_device(ctx, visitor, &client, params).await,
                exchange::GRANT => exchange::answer(ctx, visitor, &client, params).await,
                _ => by_code(ctx, visitor, &client, &credentials, params).await,
            }
        }
    };
    if let Err(error) = &answered {
        issue::note_unissued(ctx, visitor, &client.provider, error).await?;
    }
    match answered {
        // As RFC 8693 §2.2.2 has it.
        Err(OAuthError::Unissuable(_)) if grant_type == exchange::GRANT => Err(OAuthError::InvalidRequest),
        other => other,
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
    let mut scopes: Vec<String> = redeemed.code.scope.split_ascii_whitespace().map(str::to_owned).collect();
    refresh::without_offline(&mut scopes, &client.provider, Some(&redeemed.login));
    let beginning = Beginning {
        grant_id: &redeemed.code.grant_id,
        account: redeemed.code.account,
        sid: &redeemed.login.sid,
        auth_method: &redeemed.login.auth_method,
        second_factor: redeemed.login.second_factor.is_some(),
        auth_time: redeemed.login.auth_time,
        scopes: &scopes,
    };
    let refresh_token = refresh::begin(ctx, &mut change, client, &beginning).await?;
    let basis = Basis {
        client,
        application: client.application.as_ref().ok_or(OAuthError::InvalidGrant)?,
        person: &redeemed.person,
        entitlements: &redeemed.entitlements,
        scopes: &scopes,
        login: Some(Approval::in_session(&redeemed.login)),
        nonce: redeemed.code.nonce.as_deref(),
        ground: refresh::ground_of_first(&client.provider, refresh_token.as_deref(), ctx.now()),
        visitor,
        foretold: foreseen.foretold.as_ref(),
    };
    let answer =
        issue_all(ctx, change, &basis, &redeemed.code.grant_id, client.is_proven_proxy(ctx, credentials)?).await?;
    Ok(TokenAnswer { refresh_token, ..answer })
}

async fn by_refresh_token(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    credentials: &Credentials,
    params: &Params,
) -> Result<TokenAnswer, OAuthError> {
    let token = params.get("refresh_token").ok_or(OAuthError::InvalidGrant)?;
    let presented = Presented { token, scope: params.get("scope") };
    let foreseen = refresh::foresee(ctx, visitor, client, &presented).await?;
    let actor = visitor.stranger("");
    let mut change = Change::begin(ctx, &actor).await?;
    let renewed = match refresh::renew(ctx, &mut change, client, &presented, &foreseen).await {
        Ok(renewed) => renewed,
        Err(refused @ OAuthError::InvalidGrant) => {
            change.commit().await?;
            return Err(refused);
        }
        Err(failed) => return Err(failed),
    };
    let basis = Basis {
        client,
        application: client.application.as_ref().ok_or(OAuthError::InvalidGrant)?,
        person: &renewed.person,
        entitlements: &renewed.entitlements,
        scopes: &renewed.scopes,
        login: Some(Approval::offline(&renewed.token)),
        nonce: None,
        ground: refresh::ground(&client.provider, &renewed.token),
        visitor,
        foretold: foreseen.foretold.as_ref(),
    };
    let answer =
        issue_all(ctx, change, &basis, &renewed.token.grant_id, client.is_proven_proxy(ctx, credentials)?).await?;
    Ok(TokenAnswer { refresh_token: renewed.next, ..answer })
}

async fn by_device(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    params: &Params,
) -> Result<TokenAnswer, OAuthError> {
    let code = params.get("device_code").ok_or(OAuthError::InvalidGrant)?;
    let foreseen = device::foresee(ctx, visitor, client, code).await?;
    let actor = visitor.stranger("");
    let mut change = Change::begin(ctx, &actor).await?;
    let mut redeemed = device::redeem(ctx, &mut change, client, code, &foreseen).await?;
    refresh::without_offline(&mut redeemed.scopes, &client.provider, None);
    let grant_id = ctx.entropy.alphanumeric(40);
    let beginning = Beginning {
        grant_id: &grant_id,
        account: redeemed.person.account.pk,
        // Closing the browser does not sign the device out.
        sid: "",
        auth_method: redeemed.code.auth_method.as_deref().unwrap_or_default(),
        second_factor: redeemed.code.second_factor,
        auth_time: redeemed.code.auth_time.unwrap_or(ctx.now()),
        scopes: &redeemed.scopes,
    };
    let refresh_token = refresh::begin(ctx, &mut change, client, &beginning).await?;
    let application = client.application.as_ref().ok_or(OAuthError::InvalidGrant)?;
    let basis = device::basis(client, application, &redeemed, visitor);
    let ground = refresh::ground_of_first(&client.provider, refresh_token.as_deref(), ctx.now());
    let basis = Basis { ground, foretold: foreseen.foretold.as_ref(), ..basis };
    let answer = issue_all(ctx, change, &basis, &grant_id, false).await?;
    Ok(TokenAnswer { refresh_token, ..answer })
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
    let mut variant = match credentials.own_assertion(client) {
        // One way of authentication at a time, and one identity (RFC 6749 §2.3, OA-280).
        Some(_) if credentials.by_header || !shown.secret.is_empty() => {
            Variant::Nothing { reason: "two_ways_of_authentication" }
        }
        Some(_) if !shown.username.is_empty() => Variant::Nothing { reason: "two_identities" },
        Some(assertion) => Variant::Own(assertion.clone()),
        None => machine::variant(ctx, client, &shown)?,
    };
    if client.provider.m2m_require_client_auth && matches!(variant, Variant::AppPassword { .. }) {
        // Only beside a user name of its own there is room for the client's secret (OA-043, OA-287).
        match client.secret(ctx, shown.secret)?.filter(|_| !shown.username.is_empty()) {
            Some(which) => client::note_use(ctx, client, which).await,
            None => variant = Variant::Nothing { reason: "client_not_authenticated" },
        }
    }
    // Anybody may say to be the client: what applications believe is for the outpost, which has the secret (PX-417).
    let serves = relay.is_some_and(|relay| relay.providers.contains(&client.provider.pk));
    let to_outpost = (serves && client.provider.is_proxy()) || client.is_proven_proxy(ctx, credentials)?;
    let wanted = Wanted::AccessToken { issued_token_type: None };
    for_machine(ctx, visitor, client, &mut variant, &wish, wanted, to_outpost).await
}

/// Issues what a machine wants that brings this, if it may have it.
pub(super) async fn for_machine(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    variant: &mut Variant,
    wish: &Wish<'_>,
    wanted: Wanted,
    to_outpost: bool,
) -> Result<TokenAnswer, OAuthError> {
    let scopes = wish.scopes;
    let proven = machine::prove(ctx, visitor, client, None, variant, wish).await?;
    let application = client.application.as_ref().ok_or(OAuthError::InvalidGrant)?;
    let foretold =
        issue::foretell(ctx, &basis_of_machine(client, application, &proven, variant, scopes, visitor)).await;
    let actor = visitor.stranger("");
    let mut change = Change::begin(ctx, &actor).await?;
    let mut proven = machine::confirm(ctx, &mut change, visitor, client, variant, scopes, proven).await?;
    machine::note_success(ctx, &mut change, visitor, client, application, variant, &mut proven).await?;
    let basis = basis_of_machine(client, application, &proven, variant, scopes, visitor);
    let basis = Basis { foretold: Some(&foretold), ..basis };
    let issued_token_type = match wanted {
        Wanted::IdToken { issued_token_type } => return issue_id_token(ctx, change, &basis, issued_token_type).await,
        Wanted::AccessToken { issued_token_type } => issued_token_type,
    };
    let grant_id = ctx.entropy.alphanumeric(40);
    let answer = issue_all(ctx, change, &basis, &grant_id, to_outpost).await?;
    let limited_by = proven.app_password.filter(|_| to_outpost);
    let allowed_networks = limited_by.map(|password| password.allowed_networks).unwrap_or_default();
    Ok(TokenAnswer { allowed_networks, issued_token_type, ..answer })
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
        ground: machine::ground(variant, proven),
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
    let mut said = issue::statement(ctx, basis).await?;
    let access_token = issue::access_token(ctx, &mut change, &signer, basis, &said, grant_id).await?;
    let id_token = issue::id_token(ctx, change.conn(), &signer, basis, &said).await?;
    let upstream_token = match to_outpost {
        true => Some(issue::upstream_token(ctx, &signer, &said.claims, &provider.name)?),
        false => None,
    };
    issue::remember_client(change.conn(), basis, &said).await?;
    refresh::note_subject(change.conn(), basis, &said.claims, grant_id).await?;
    said.measure(&access_token);
    change.commit().await?;
    claims::note(ctx, basis.visitor, provider, basis.person, &said.flaws).await?;
    Ok(TokenAnswer {
        access_token,
        token_type: "Bearer",
        scope: basis.scopes.join(" "),
        expires_in: said.expires.seconds().saturating_sub(ctx.now().seconds()),
        id_token: Some(id_token),
        issued_token_type: None,
        refresh_token: None,
        upstream_token,
        allowed_networks: Vec::new(),
        user_uuid: to_outpost.then(|| basis.person.account.uuid.to_string()),
        logout_hint: basis
            .login
            .filter(|login| to_outpost && login.bound_to().is_some())
            .map(|_| issue::logout_hint(ctx, &said.jti)),
    })
}

/// Issues an id token alone: it opens nothing here, so nothing of it is kept (OA-736).
async fn issue_id_token(
    ctx: &Context,
    mut change: Change<'_>,
    basis: &Basis<'_>,
    issued_token_type: &'static str,
) -> Result<TokenAnswer, OAuthError> {
    let provider = &basis.client.provider;
    let signer = Signer::of(ctx, change.conn(), provider).await?;
    let mut said = issue::statement(ctx, basis).await?;
    let token = issue::id_token(ctx, change.conn(), &signer, basis, &said).await?;
    said.measure(&token);
    change.commit().await?;
    claims::note(ctx, basis.visitor, provider, basis.person, &said.flaws).await?;
    Ok(TokenAnswer {
        access_token: token,
        // RFC 8693 §2.2.1: nothing is opened with it.
        token_type: "N_A",
        scope: basis.scopes.join(" "),
        expires_in: said.expires.seconds().saturating_sub(ctx.now().seconds()),
        id_token: None,
        issued_token_type: Some(issued_token_type),
        refresh_token: None,
        upstream_token: None,
        allowed_networks: Vec::new(),
        user_uuid: None,
        logout_hint: None,
    })
}
