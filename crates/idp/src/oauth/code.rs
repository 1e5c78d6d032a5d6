//! The authorization code grant (OA section 9).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::keys::{Purpose, same_secret, sha256};
use portcullis_store::account;
use portcullis_store::grant::{self, AuthorizationCode};
use portcullis_store::login_session::{self, LoginSession};
use serde_json::json;

use super::OAuthError;
use super::client::Client;
use super::issue::{self, Approval, Basis, Ground};
use crate::access::{self, AccessContext, Judged};
use crate::change::Change;
use crate::claims::{self, Foretold};
use crate::context::{Context, Visitor};
use crate::directory::{self, Person, users};
use crate::entitlements;
use crate::error::Error;

/// The way of PKCE in which the challenge is a hash of the verifier.
pub(super) const S256: &str = "S256";
/// The one in which it is the verifier, for clients that are allowed it (OA-041).
pub(super) const PLAIN: &str = "plain";

/// What a client brings to redeem a code.
pub(crate) struct Redemption<'a> {
    /// The code.
    pub(crate) code: &'a str,
    /// The redirect URI, as in the authorization request.
    pub(crate) redirect_uri: &'a str,
    /// PKCE code verifier, if it has one.
    pub(crate) code_verifier: Option<&'a str>,
}

/// What a code stands for.
pub(crate) struct Redeemed {
    /// The code's record.
    pub(crate) code: AuthorizationCode,
    /// The user.
    pub(crate) person: Person,
    /// Names of the entitlements for the application that they hold.
    pub(crate) entitlements: Vec<String>,
    /// The session that approved it.
    pub(crate) login: LoginSession,
}

/// What was found out before a code is used up.
#[derive(Default)]
pub(crate) struct Foreseen {
    judged: Judged,
    /// What expressions of mappings said.
    pub(crate) foretold: Option<Foretold>,
}

/// Keyed digest that a code is found by.
pub(crate) fn digest(ctx: &Context, code: &str) -> portcullis_core::keys::Digest {
    ctx.keys.digest(Purpose::GrantLookup, &[b"code", code.as_bytes()])
}

/// Asks the policies about whoever a code stands for, and the mappings if they pass, before it is used up: in the
/// transaction that does so, everybody who writes would wait for them. Says nothing about a code that cannot be redeemed.
///
/// # Errors
/// When the store fails.
pub(crate) async fn foresee(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    redemption: &Redemption<'_>,
) -> Result<Foreseen, Error> {
    let mut conn = ctx.db.read().await?;
    let known = grant::code_by_digest(&mut conn, &digest(ctx, redemption.code)).await?;
    let good = known.filter(|code| {
        code.provider == client.provider.pk
            && code.consumed.is_none()
            && code.expires > ctx.now()
            && code.redirect_uri == redemption.redirect_uri
            && proves(code, redemption.code_verifier)
    });
    let (Some(code), Some(application)) = (good, client.application.as_ref()) else { return Ok(Foreseen::default()) };
    let Some(person) = directory::person(ctx, &mut conn, code.account).await? else { return Ok(Foreseen::default()) };
    let scopes = claims::granted_scopes(&code.scope, &client.mappings);
    // Mostly there is nothing to ask, and then nothing to read.
    let takes_time = client.mappings.iter().any(|mapping| claims::is_foretold(mapping, &scopes));
    let (login, entitlements) = match takes_time {
        true => (
            login_session::by_sid(&mut conn, &code.sid, ctx.now()).await?,
            entitlements::names(&mut conn, &person, application.uuid).await?,
        ),
        false => (None, Vec::new()),
    };
    let entries = json!({"oauth_scopes": code.scope.split_whitespace().collect::<Vec<_>>(),
        "oauth_grant_type": "authorization_code", "oauth_redirect_uri": code.redirect_uri,
        "oauth_code_verifier": redemption.code_verifier});
    let judged = access::judge_after(ctx, conn, &person, application, &context(entries).from(visitor)).await?;
    if !(takes_time && judged.decision.passing) {
        return Ok(Foreseen { judged, foretold: None });
    }
    let basis = Basis {
        client,
        application,
        person: &person,
        entitlements: &entitlements,
        scopes: &scopes,
        login: login.as_ref().map(Approval::in_session),
        nonce: code.nonce.as_deref(),
        ground: Ground::default(),
        visitor,
        foretold: None,
    };
    let foretold = Some(issue::foretell(ctx, &basis).await);
    Ok(Foreseen { judged, foretold })
}

/// Uses a code up and says what it stands for (OA-240 … OA-246). The code is spent whatever follows: who
/// knows it gets one try. `foreseen` is what [`foresee`] found.
///
/// # Errors
/// [`OAuthError::InvalidGrant`] for everything that is wrong with it. The change must be committed then, too.
pub(crate) async fn redeem(
    ctx: &Context,
    change: &mut Change<'_>,
    client: &Client,
    redemption: &Redemption<'_>,
    foreseen: &Foreseen,
) -> Result<Redeemed, OAuthError> {
    let now = ctx.now();
    let digest = digest(ctx, redemption.code);
    let Some(code) = grant::consume_code(change.conn(), &digest, client.provider.pk, now).await? else {
        revoke_what_came_from(change, client, &digest).await?;
        return Err(OAuthError::InvalidGrant);
    };
    if code.redirect_uri != redemption.redirect_uri || !proves(&code, redemption.code_verifier) {
        return Err(OAuthError::InvalidGrant);
    }
    let conn = change.conn();
    let login = login_session::by_sid(conn, &code.sid, now).await?.filter(|login| login.account == code.account);
    let login = login.ok_or(OAuthError::InvalidGrant)?;
    let person = directory::person_unchanged(ctx, conn, code.account).await?.filter(|person| person.account.is_active);
    let person = person.ok_or(OAuthError::InvalidGrant)?;
    let application = client.application.as_ref().ok_or(OAuthError::InvalidGrant)?;
    if !access::confirm(conn, &person, application, &foreseen.judged).await?.passing {
        return Err(OAuthError::InvalidGrant);
    }
    let entitlements = entitlements::names(conn, &person, application.uuid).await?;
    Ok(Redeemed { code, person, entitlements, login })
}

/// What policies find in `context`.
pub(crate) fn context(entries: serde_json::Value) -> AccessContext {
    match entries {
        serde_json::Value::Object(entries) => AccessContext { entries, ..AccessContext::default() },
        _ => AccessContext::default(),
    }
}

/// A code that is used a second time was stolen, before or after its first use (OA-245).
async fn revoke_what_came_from(
    change: &mut Change<'_>,
    client: &Client,
    digest: &portcullis_core::keys::Digest,
) -> Result<(), Error> {
    let known = grant::code_by_digest(change.conn(), digest).await?;
    let Some(code) = known.filter(|code| code.provider == client.provider.pk && code.consumed.is_some()) else {
        return Ok(());
    };
    super::refresh::revoke_family(change, &code.grant_id).await?;
    let user = account::by_pk(change.conn(), code.account).await?;
    let context = json!({"message": "Authorization code was used again", "provider": client.provider.name,
        "affected_user": user.as_ref().map(users::named)});
    change.event("suspicious_request", context).await
}

/// Whether a text has the form of a verifier (RFC 7636 §4.1).
pub(super) fn is_verifier(text: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

/// Checks the PKCE verifier against the challenge (OA-243).
fn proves(code: &AuthorizationCode, verifier: Option<&str>) -> bool {
    let (Some(challenge), Some(verifier)) = (code.challenge.as_deref(), verifier) else {
        // One without the other: a downgrade, or a code that was planted.
        return code.challenge.is_none() && verifier.is_none();
    };
    if !is_verifier(verifier) {
        return false;
    }
    match code.challenge_method.as_deref() {
        Some(PLAIN) => same_secret(verifier.as_bytes(), challenge.as_bytes()),
        Some(S256) => {
            let hashed = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
            same_secret(hashed.as_bytes(), challenge.as_bytes())
        }
        _ => false,
    }
}

/// The actor of a redemption: nobody is known before the code was looked at.
pub(crate) fn actor(visitor: &Visitor) -> crate::context::Actor {
    visitor.stranger("")
}
