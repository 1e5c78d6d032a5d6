//! What is issued: claims, access tokens, assertions for applications, hints for sign-out (OA section 15).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::clock::Timestamp;
use portcullis_core::duration;
use portcullis_core::id::{ProviderPk, SourceId, UserPk};
use portcullis_core::json::text_of;
use portcullis_core::keys::Purpose;
use portcullis_store::application::Application;
use portcullis_store::grant::{self, AccessToken};
use portcullis_store::login_session::LoginSession;
use portcullis_store::provider::Provider;
use portcullis_store::refresh_token::RefreshToken;
use portcullis_store::rp_session::{self, RpSession};
use portcullis_store::token::Token;
use portcullis_store::{Conn, outpost};
use serde_json::{Value, json};

use super::client::Client;
use super::{OAuthError, issuer, machine};
use crate::change::{Change, Touched};
use crate::claims::{self, ACR, Asked, ClaimSet, Flaw, Foretold, Largest};
use crate::context::{Context, Visitor};
use crate::directory::Person;
use crate::error::Error;
use crate::mappings::engine::TokenFacts;
use crate::signing::{Signer, TokenType};
use crate::{event, limits, outposts};

/// A token above this many bytes is worth a warning, and one above [`LONGEST`] is not issued (OA-466).
const LONG: usize = 8 * 1024;
const LONGEST: usize = 64 * 1024;
const TOO_LONG: &str = "A token would be too long; see the provider's scope mappings";
const NO_SUBJECT: &str = "A user has no subject in the provider's subject mode";
/// Live tokens without a session that one user has at one provider (OA-649).
const MOST_SESSIONLESS: i64 = 1000;
/// Lifetime when the provider's text says none, in seconds.
const VALIDITY_SECONDS: i64 = 3600;

/// For whom, for whose sake and on what ground something is issued.
pub struct Basis<'a> {
    /// The client.
    pub client: &'a Client,
    /// Its application.
    pub application: &'a Application,
    /// The user.
    pub person: &'a Person,
    /// Names of the entitlements for the application that they hold.
    pub entitlements: &'a [String],
    /// Granted scopes, sorted.
    pub scopes: &'a [String],
    /// The login, for grants that a person approved in a browser.
    pub login: Option<Approval<'a>>,
    /// Nonce of the authorization request.
    pub nonce: Option<&'a str>,
    /// What else it rests on.
    pub ground: Ground<'a>,
    /// Where the request comes from.
    pub visitor: &'a Visitor,
    /// What expressions said about the user before the transaction began; none outside of one.
    pub foretold: Option<&'a Foretold>,
}

/// The login in which a person approved a grant.
#[derive(Clone, Copy, Debug)]
pub struct Approval<'a> {
    /// Public id of the session; empty when that is nobody's business.
    sid: &'a str,
    /// How the user proved who they are.
    auth_method: &'a str,
    /// Whether they showed a second factor, too.
    second_factor: bool,
    /// When they did.
    auth_time: Timestamp,
    /// Whether what is issued ends with the session: what is obtained offline does not (OA-463).
    is_bound: bool,
}

impl<'a> Approval<'a> {
    /// In this session.
    pub fn in_session(login: &'a LoginSession) -> Self {
        Self {
            sid: &login.sid,
            auth_method: &login.auth_method,
            second_factor: login.second_factor.is_some(),
            auth_time: login.auth_time,
            is_bound: true,
        }
    }

    /// In a session that may have ended since (OA-264).
    pub fn offline(token: &'a RefreshToken) -> Self {
        Self {
            sid: &token.sid,
            auth_method: &token.auth_method,
            second_factor: token.second_factor,
            auth_time: token.auth_time,
            is_bound: false,
        }
    }

    /// Of something that was let in from elsewhere, and has no session (OA-376).
    pub fn by_device(auth_method: &'a str, second_factor: bool, auth_time: Timestamp) -> Self {
        Self { sid: "", auth_method, second_factor, auth_time, is_bound: false }
    }

    /// The session that what is issued ends with, if there is one.
    pub fn bound_to(&self) -> Option<&'a str> {
        self.is_bound.then_some(self.sid)
    }
}

/// `amr` (OA-454); none when nothing is to be said.
pub(crate) fn methods(auth_method: &str, second_factor: bool) -> Option<Value> {
    let first = match auth_method {
        "password" => Some("pwd"),
        "auth_webauthn_pwl" => Some("user"),
        _ => None,
    };
    let methods: Vec<_> = first.into_iter().chain(second_factor.then_some("mfa")).collect();
    (!methods.is_empty()).then(|| json!(methods))
}

impl Basis<'_> {
    /// When what is issued now ends, and when the user signed in.
    fn times(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let validity = duration::seconds_or(&self.client.provider.access_token_validity, VALIDITY_SECONDS).max(1);
        let mut expires = now.plus_seconds(validity);
        if let Some(password) = self.ground.app_password {
            if password.expiring {
                expires = expires.min(password.expires.unwrap_or(now));
            }
            expires = machine::account_end(self.person).map_or(expires, |end| expires.min(end));
        }
        if let Some(not_after) = self.ground.not_after {
            expires = expires.min(not_after);
        }
        (expires, self.login.map_or(now, |login| login.auth_time))
    }

    fn asked(&self, (expires, auth_time): (Timestamp, Timestamp)) -> Asked<'_> {
        Asked {
            provider: &self.client.provider,
            application: Some(self.application),
            mappings: &self.client.mappings,
            person: self.person,
            entitlements: self.entitlements,
            token: TokenFacts { scopes: self.scopes, expires, auth_time, session: self.login.is_some() },
            visitor: self.visitor,
            foretold: self.foretold,
        }
    }
}

/// Asks what takes its time, before the transaction that issues something on this basis.
pub async fn foretell(ctx: &Context, basis: &Basis<'_>) -> Foretold {
    claims::foretell(ctx, &basis.asked(basis.times(ctx.now()))).await
}

/// What something issued rests on besides user, session and provider: it ends when that does.
#[derive(Clone, Copy, Default)]
pub struct Ground<'a> {
    /// The app password that a machine proved itself with.
    pub app_password: Option<&'a Token>,
    /// The token that it was traded for (OA-342).
    pub traded: Option<&'a AccessToken>,
    /// The source that vouched for its user.
    pub source: Option<SourceId>,
    /// What the assertion said that it was issued for: policies are told again whenever they are asked about it (OA-401,
    /// OA-405).
    pub assertion: Option<&'a ClaimSet>,
    /// When that ends (OA-336, OA-343).
    pub not_after: Option<Timestamp>,
    /// Who acts for the user (OA-738).
    pub act: Option<&'a Value>,
    /// Their account, if they have one here.
    pub actor: Option<UserPk>,
    /// Id of the access token that they brought.
    pub actor_token: Option<&'a str>,
}

/// What is said about the user, complete, and until when.
pub struct Statement {
    /// All claims of the access token but `azp`, `uid` and `scope`.
    pub claims: ClaimSet,
    /// When it ends.
    pub expires: Timestamp,
    /// Id of the access token.
    pub jti: String,
    /// What was wrong with mappings: for [`claims::note`], once everything is committed.
    pub flaws: Vec<Flaw>,
    /// The mapping that says most.
    largest: Option<Largest>,
}

impl Statement {
    /// Has it told who makes a token so long, if it is (OA-466).
    pub fn measure(&mut self, token: &str) {
        if token.len() > LONG
            && let Some(largest) = self.largest.take()
        {
            self.flaws.push(largest.of_token(token.len()));
        }
    }
}

/// Records why nothing was issued, where an administrator has to mend that: once per client and hour (OA-047, OA-125,
/// OA-466). Call it once nothing holds the store's only writer.
///
/// # Errors
/// When the store fails.
pub async fn note_unissued(
    ctx: &Context,
    visitor: &Visitor,
    provider: &Provider,
    error: &OAuthError,
) -> Result<(), Error> {
    const HOUR: i64 = 3600;
    let message = match error {
        OAuthError::Unissuable(message) => *message,
        OAuthError::NoKey(_) => "The signing key cannot be used",
        _ => return Ok(()),
    };
    let what = [b"unissued".as_slice(), message.as_bytes(), provider.client_id.as_bytes()];
    let Some(mut tx) = limits::first_of(ctx, &what, HOUR).await? else { return Ok(()) };
    let context = json!({"message": message, "provider": provider.name});
    let recorded = event::record(ctx, &mut tx, &visitor.stranger(""), "configuration_error", context).await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(())
}

/// Says who somebody is (OA-450 … OA-461).
///
/// # Errors
/// [`OAuthError::Unissuable`] when the subject would be empty (OA-047).
pub async fn statement(ctx: &Context, basis: &Basis<'_>) -> Result<Statement, OAuthError> {
    let provider = &basis.client.provider;
    let now = ctx.now();
    let (expires, auth_time) = basis.times(now);
    let subject = claims::subject(provider, basis.person).ok_or(OAuthError::Unissuable(NO_SUBJECT))?;
    let jti = ctx.entropy.alphanumeric(40);
    let mut said = ClaimSet::with_capacity(32);
    let mut say = |name: &str, value: Value| said.insert(name.to_owned(), value);
    say("iss", json!(issuer(ctx, provider, &basis.application.slug)));
    say("sub", json!(subject));
    say("aud", json!(provider.client_id));
    say("exp", json!(expires.seconds()));
    say("iat", json!(now.seconds()));
    say("auth_time", json!(auth_time.seconds()));
    say("acr", json!(ACR));
    say("jti", json!(jti));
    if let Some(login) = basis.login {
        if !login.sid.is_empty() {
            say("sid", json!(login.sid));
        }
        if let Some(methods) = methods(login.auth_method, login.second_factor) {
            say("amr", methods);
        }
    }
    if let Some(nonce) = basis.nonce {
        say("nonce", json!(nonce));
    }
    let mapped = claims::mapped(ctx, &basis.asked((expires, auth_time))).await;
    said.extend(mapped.claims);
    if let Some(act) = basis.ground.act {
        said.insert("act".to_owned(), act.clone());
    }
    Ok(Statement { claims: said, expires, jti, flaws: mapped.flaws, largest: mapped.largest })
}

/// The issuer of a client; none without an application (OA-049).
pub(super) fn issuer_of(ctx: &Context, client: &Client) -> Option<String> {
    client.application.as_ref().map(|application| issuer(ctx, &client.provider, &application.slug))
}

/// Which key of an app password this is the digest of: what a key made ends with it.
pub fn key_mark(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Issues an access token and keeps its record, which is the authority (OA-462). Returns its value.
///
/// # Errors
/// When signing or the store fails, or the token would be too long.
pub async fn access_token(
    ctx: &Context,
    change: &mut Change<'_>,
    signer: &Signer,
    basis: &Basis<'_>,
    said: &Statement,
    grant_id: &str,
) -> Result<String, OAuthError> {
    let provider = &basis.client.provider;
    let scope = basis.scopes.join(" ");
    let mut claims = claims::told(provider, travelling(change.conn(), provider.pk, &said.claims).await?);
    claims.insert("azp".to_owned(), json!(provider.client_id));
    claims.insert("uid".to_owned(), json!(ctx.entropy.alphanumeric(40)));
    claims.entry("scope").or_insert_with(|| json!(scope));
    let value = signed(signer, TokenType::Jwt, &claims, &provider.name)?;
    let record = AccessToken {
        digest: ctx.keys.digest(Purpose::GrantLookup, &[b"access", value.as_bytes()]).to_vec(),
        jti: said.jti.clone(),
        grant_id: grant_id.to_owned(),
        provider: provider.pk,
        account: basis.person.account.pk,
        sid: basis.login.and_then(|login| login.bound_to()).map(str::to_owned),
        app_password: match basis.ground.traded {
            Some(traded) => traded.app_password.clone(),
            None => basis.ground.app_password.map(|password| password.uuid.to_string()),
        },
        app_password_key: match basis.ground.traded {
            Some(traded) => traded.app_password_key.clone(),
            None => basis.ground.app_password.map(|password| key_mark(&password.key_digest)),
        },
        traded_sid: basis.ground.traded.and_then(|traded| traded.sid.clone().or_else(|| traded.traded_sid.clone())),
        traded_jti: basis.ground.traded.map(|traded| traded.jti.clone()),
        actor_jti: basis.ground.actor_token.map(str::to_owned),
        source: basis.ground.traded.map_or(basis.ground.source, |traded| traded.source),
        source_at: match basis.ground.traded {
            Some(traded) => traded.source_at,
            None => basis.ground.source.map(|_| provider.pk),
        },
        actor: basis.ground.actor,
        scope,
        claims_sealed: seal(ctx, &place(&said.jti), &said.claims),
        assertion_sealed: basis.ground.assertion.map(|claims| seal(ctx, &assertion_place(&said.jti), claims)),
        groups: basis.person.direct_groups.clone(),
        issued: ctx.now(),
        expires: said.expires,
        revoked: None,
    };
    grant::insert_token(change.conn(), &record).await?;
    if record.sid.is_none() {
        let (account, provider) = (record.account, record.provider);
        for jti in grant::bound_sessionless(change.conn(), account, provider, MOST_SESSIONLESS).await? {
            change.touch(Touched::Evicted(jti));
        }
    }
    Ok(value)
}

/// Notes that the client was told of the session, if what is issued ends with one: it is told of its end, too (OA-556).
/// A proxy learns it from us in other ways.
///
/// # Errors
/// When the store fails.
pub async fn remember_client(conn: &mut Conn, basis: &Basis<'_>, said: &Statement) -> Result<(), Error> {
    let Some(sid) = basis.login.and_then(|login| login.bound_to()) else { return Ok(()) };
    if basis.client.provider.is_proxy() {
        return Ok(());
    }
    let text = |name: &str| said.claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let told = RpSession {
        sid: sid.to_owned(),
        provider: basis.client.provider.pk,
        account: basis.person.account.pk,
        iss: text("iss"),
        sub: text("sub"),
    };
    Ok(rp_session::remember(conn, &told).await?)
}

/// The claims that leave the server, inside a token or an answer about one (OA-897).
///
/// The embedded proxy reads attributes from the record. Only an outpost elsewhere, which knows nothing but
/// what it is sent, needs them.
///
/// # Errors
/// When the store fails.
pub async fn travelling(conn: &mut Conn, provider: ProviderPk, claims: &ClaimSet) -> Result<ClaimSet, Error> {
    let elsewhere = outpost::serves_besides(conn, provider, outposts::EMBEDDED).await?;
    Ok(if elsewhere { claims.clone() } else { claims::without_attributes(claims.clone()) })
}

/// Issues the id token that goes with an access token (OA-225, OA-461).
///
/// # Errors
/// When signing or the store fails, or the token would be too long.
pub async fn id_token(
    ctx: &Context,
    conn: &mut Conn,
    signer: &Signer,
    basis: &Basis<'_>,
    said: &Statement,
) -> Result<String, OAuthError> {
    id_token_with(ctx, conn, signer, basis, said, ClaimSet::new()).await
}

/// The same with claims about what comes with it.
///
/// # Errors
/// As [`id_token`].
pub(super) async fn id_token_with(
    ctx: &Context,
    conn: &mut Conn,
    signer: &Signer,
    basis: &Basis<'_>,
    said: &Statement,
    more: ClaimSet,
) -> Result<String, OAuthError> {
    let provider = &basis.client.provider;
    let mut claims = claims::told(provider, travelling(conn, provider.pk, &said.claims).await?);
    claims.extend(more);
    claims.insert("jti".to_owned(), json!(ctx.entropy.alphanumeric(40)));
    signed(signer, TokenType::Jwt, &claims, &provider.name)
}

/// Signs all that a grant says, for an application that wants a whole token (PX-206).
///
/// # Errors
/// When signing fails, or the token would be too long.
pub fn whole_token(signer: &Signer, claims: &ClaimSet, provider_name: &str) -> Result<String, OAuthError> {
    signed(signer, TokenType::Jwt, claims, provider_name)
}

/// Signs what the application may see: who it is, and nothing that opens anything (PX-417, CO-284).
///
/// # Errors
/// When signing fails, or the assertion would be too long.
pub fn upstream_token(
    ctx: &Context,
    signer: &Signer,
    claims: &ClaimSet,
    provider_name: &str,
) -> Result<String, OAuthError> {
    let mut claims = claims.clone();
    claims.remove("ak_proxy");
    claims.remove("nonce");
    claims.insert("jti".to_owned(), json!(ctx.entropy.alphanumeric(40)));
    signed(signer, TokenType::UpstreamAssertion, &claims, provider_name)
}

fn signed(signer: &Signer, kind: TokenType, claims: &ClaimSet, provider: &str) -> Result<String, OAuthError> {
    let value = signer.sign(kind, claims)?;
    if value.len() > LONGEST {
        tracing::error!(provider, bytes = value.len(), "token is too long and was not issued");
        return Err(OAuthError::Unissuable(TOO_LONG));
    }
    if value.len() > LONG {
        tracing::warn!(provider, bytes = value.len(), "token is very long; see the provider's scope mappings");
    }
    Ok(value)
}

/// The complete claims of an access token's record.
///
/// # Errors
/// When they cannot be opened.
pub fn claims_of(ctx: &Context, record: &AccessToken) -> Result<ClaimSet, Error> {
    opened(ctx, &record.jti, &record.claims_sealed)
}

/// The same from the sealed text alone.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn opened(ctx: &Context, jti: &str, sealed: &[u8]) -> Result<ClaimSet, Error> {
    open(ctx, place(jti), sealed)
}

/// The claims of the assertion that an access token was issued for, if it was (OA-405).
///
/// # Errors
/// When they cannot be opened.
pub fn assertion_of(ctx: &Context, record: &AccessToken) -> Result<Option<ClaimSet>, Error> {
    let sealed = record.assertion_sealed.as_ref();
    sealed.map(|sealed| open(ctx, assertion_place(&record.jti), sealed)).transpose()
}

fn seal(ctx: &Context, place: &str, claims: &ClaimSet) -> Vec<u8> {
    ctx.keys.seal(place, text_of(claims).as_bytes(), &*ctx.entropy)
}

fn open(ctx: &Context, place: String, sealed: &[u8]) -> Result<ClaimSet, Error> {
    let text = ctx.keys.open(&place, sealed).map_err(|source| Error::Sealed { place: place.clone(), source })?;
    serde_json::from_slice(&text).map_err(|_| Error::Unreadable(place))
}

fn place(jti: &str) -> String {
    format!("access_token:{jti}:claims")
}

fn assertion_place(jti: &str) -> String {
    format!("access_token:{jti}:assertion")
}

const HINT: &str = "logout_hint";

/// An opaque hint that lets sign-out know its session (PX-419). It is spent with the token it stands for:
/// sign-out revokes that.
pub fn logout_hint(ctx: &Context, jti: &str) -> String {
    URL_SAFE_NO_PAD.encode(ctx.keys.seal(HINT, jti.as_bytes(), &*ctx.entropy))
}

/// Reads a hint again: the id of the access token it stands for.
pub fn read_logout_hint(ctx: &Context, hint: &str) -> Option<String> {
    if hint.len() > 128 {
        return None;
    }
    let sealed = URL_SAFE_NO_PAD.decode(hint).ok()?;
    String::from_utf8(ctx.keys.open(HINT, &sealed).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-454, OA-264: a token says how its user proved who they are, and nothing where that is not known.
    #[test]
    fn oa_454_methods_are_named() {
        for (method, second, expected) in [
            ("password", false, Some(json!(["pwd"]))),
            ("password", true, Some(json!(["pwd", "mfa"]))),
            ("auth_webauthn_pwl", false, Some(json!(["user"]))),
            ("recovery", false, None),
            ("recovery", true, Some(json!(["mfa"]))),
        ] {
            assert_eq!(methods(method, second), expected, "{method} {second}");
        }
    }
}
