//! V1: a token of somebody whom the provider trusts, instead of a password (OA section 11.5).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use portcullis_core::clock::Timestamp;
use portcullis_core::duration;
use portcullis_core::id::UserPk;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_store::application::Application;
use portcullis_store::grant::{self, AccessToken};
use portcullis_store::provider::Provider;
use portcullis_store::source::{self, Source};
use portcullis_store::{Conn, application, failure, provider};
use serde_json::{Map, Value, json};

use super::brought::Kind;
use super::{EXCHANGED, acting, federated};
use crate::change::Change;
use crate::claims::ClaimSet;
use crate::context::{Context, Visitor};
use crate::directory::{self, Person};
use crate::error::Error;
use crate::oauth::client::Client;
use crate::oauth::issue::{self, Ground};
use crate::oauth::{introspect, issuer};
use crate::signing::{self, jwe};
use crate::sources::{self, jwks, texts};
use crate::{claims, event, tokens};

/// Longest assertion, in bytes (OA-321).
const LONGEST: usize = 16 * 1024;
/// An assertion that counts once was used again: why it is refused.
pub(super) const REPLAYED: &str = "assertion_replayed";
/// Longest `sub`, in bytes.
const LONGEST_SUBJECT: usize = 255;
/// How far clocks may differ in `nbf` and `iat`, in seconds (OA-005).
pub(in crate::oauth) const LEEWAY: i64 = 30;
/// Most keys that are tried (OA-325).
const MOST_KEYS: usize = 8;
/// Longest lifetime of an assertion when the source's text says none, in seconds.
const LIFETIME: i64 = 24 * 3600;

/// An assertion that holds.
pub struct Verified {
    pub(super) claims: ClaimSet,
    pub(super) kid: Option<String>,
    pub(super) expires: Timestamp,
    /// Whether what is issued for it ends no later.
    pub(super) is_capped: bool,
    pub(super) by: By,
    /// Who acts, and who acted before (OA-738).
    pub(super) act: Option<Value>,
    /// What the actor brought, in an exchange.
    pub(super) actor: Option<Box<Self>>,
    /// Whether it was brought for an exchange.
    pub(super) is_exchanged: bool,
}

/// Who vouches.
pub(super) enum By {
    /// A source, for a subject of its own.
    Source { source: Box<Source>, issuer: String, subject: String, described: federated::Described },
    /// Another provider of ours, for the user of its token.
    Provider { issuer: Box<Provider>, token: Box<AccessToken> },
}

/// Checks an assertion: sources first, then providers; the first that vouches is the one (OA-322). Otherwise the
/// reason, which only the event tells.
///
/// # Errors
/// When the store fails.
pub(super) async fn verify(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    jwt: &str,
    kind: Kind,
) -> Result<Result<Verified, &'static str>, Error> {
    let Some(application) = client.application.as_ref() else { return Ok(Err("no_application")) };
    if jwt.is_empty() || jwt.len() > LONGEST {
        return Ok(Err("assertion_malformed"));
    }
    if jwe::has_form(jwt) && kind != Kind::Source {
        // What it says is for its client to read; here its record tells.
        return Ok(by_provider(ctx, client, jwt, None).await?.ok_or("assertion_issuer_unknown"));
    }
    let Some(read) = Unverified::read(jwt) else { return Ok(Err("assertion_malformed")) };
    let mut reason = "assertion_issuer_unknown";
    if jwks::algorithm(&read.alg).is_some() && kind != Kind::Provider {
        match by_source(ctx, visitor, client, application, jwt, &read).await? {
            Ok(verified) => return Ok(Ok(verified)),
            Err(why) => reason = why,
        }
    }
    if kind == Kind::Source {
        return Ok(Err(reason));
    }
    Ok(match by_provider(ctx, client, jwt, read.kid).await? {
        Some(verified) => Ok(verified),
        None => Err(reason),
    })
}

/// What an assertion says before anybody vouches for it.
pub(in crate::oauth) struct Unverified {
    pub(in crate::oauth) alg: String,
    pub(in crate::oauth) kid: Option<String>,
    pub(in crate::oauth) typ: Option<String>,
    claims: Map<String, Value>,
}

impl Unverified {
    /// Three parts, a header without extensions that must be understood, and an object (OA-321).
    pub(in crate::oauth) fn read(jwt: &str) -> Option<Self> {
        let mut parts = jwt.split('.');
        let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || signature.is_empty() {
            return None;
        }
        let object = |part: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let header = object(header)?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return None;
        }
        let text = |name: &str| match header.get(name) {
            None => Some(None),
            Some(value) => value.as_str().map(|value| Some(value.to_owned())),
        };
        let (kid, typ) = (text("kid")?, text("typ")?);
        Some(Self { alg: header.get("alg")?.as_str()?.to_owned(), kid, typ, claims: object(claims)? })
    }

    pub(in crate::oauth) fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }
}

async fn by_source(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    application: &Application,
    jwt: &str,
    read: &Unverified,
) -> Result<Result<Verified, &'static str>, Error> {
    let mut trusted = source::all(&mut ctx.db.read().await?).await?;
    trusted.retain(|source| source.enabled && client.provider.trusts(source.pk));
    let (mut reason, mut tried) = ("assertion_issuer_unknown", 0);
    for source in trusted {
        let mut source = source;
        // What its discovery document says may be stale, or was never read. It is read when it is due, whoever comes.
        if texts(&source.expected_issuers).is_empty() {
            source = jwks::current(ctx, source, false).await?;
        }
        let known = issuers(&source);
        if known.is_empty() {
            jwks::flaw(ctx, &source, "The source has no expected issuer: its assertions are refused").await?;
        }
        // Before any key is looked at (OA-683): whose it says it is, and whether it is over.
        if !known.contains(&read.issuer()) {
            continue;
        }
        if let Err(why) = times(&read.claims, &source, ctx.now()) {
            reason = why;
            continue;
        }
        source = jwks::current(ctx, source, false).await?;
        let mut keys = jwks::candidates(&source, &read.alg, read.kid.as_deref());
        if keys.is_empty() {
            // Perhaps it has a new one.
            source = jwks::current(ctx, source, true).await?;
            keys = jwks::candidates(&source, &read.alg, read.kid.as_deref());
        }
        reason = "assertion_signature";
        for key in keys.into_iter().take(MOST_KEYS.saturating_sub(tried)) {
            tried += 1;
            let Some(claims) = signed_by(&key, &read.alg, jwt) else { continue };
            weak(ctx, &source).await?;
            match accepted(ctx, client, application, &source, &claims) {
                Err(why) => reason = why,
                Ok((issuer, subject)) => {
                    let described = match federated::describe(ctx, visitor, client, &source, &claims).await? {
                        Ok(described) => described,
                        Err(why) => return Ok(Err(why)),
                    };
                    let expires = Timestamp::from_seconds(end(&claims, &source, ctx.now().seconds()));
                    let by = By::Source { source: Box::new(source), issuer, subject, described };
                    let is_capped = client.provider.cap_to_assertion_exp;
                    let kid = read.kid.clone();
                    return Ok(Ok(Verified::of(claims, kid, expires, is_capped, by)));
                }
            }
        }
    }
    Ok(Err(reason))
}

/// `iss` that a source is believed under (OA-328).
fn issuers(source: &Source) -> Vec<&str> {
    let mut known = texts(&source.expected_issuers);
    if known.is_empty() && !source.discovered_issuer.is_empty() {
        known.push(&source.discovered_issuer);
    }
    known
}

pub(in crate::oauth) fn signed_by(key: &jsonwebtoken::DecodingKey, alg: &str, jwt: &str) -> Option<ClaimSet> {
    let mut validation = Validation::new(jwks::algorithm(alg)?);
    // The claims are checked by hand: with our clock, and with reasons.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode(jwt, key, &validation).ok().map(|decoded| decoded.claims)
}

pub(in crate::oauth) fn instant(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    // RFC 7519 §2: a NumericDate may have a fraction.
    // Out of range saturates, and is refused as far away.
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

/// When an assertion ends. One that need not say so ends when the longest of its source would.
fn end(claims: &Map<String, Value>, source: &Source, now: i64) -> i64 {
    let since = instant(claims, "iat").unwrap_or(now);
    instant(claims, "exp").unwrap_or_else(|| since.saturating_add(longest(source)))
}

fn longest(source: &Source) -> i64 {
    duration::seconds_or(&source.max_assertion_lifetime, LIFETIME)
}

/// Says once a day what is not looked at in assertions of a source (OA-824, OA-825).
async fn weak(ctx: &Context, source: &Source) -> Result<(), Error> {
    const DAY: i64 = 24 * 3600;
    for (is_checked, message) in [
        (source.audience_check, "The source does not check whom assertions are for"),
        (source.require_exp, "The source takes assertions that do not end"),
    ] {
        if !is_checked {
            jwks::note(ctx, source, "configuration_warning", message, DAY).await?;
        }
    }
    Ok(())
}

/// When an assertion holds (OA-005, OA-327).
fn times(claims: &Map<String, Value>, source: &Source, now: Timestamp) -> Result<(), &'static str> {
    let now = now.seconds();
    if instant(claims, "exp").is_none() && (source.require_exp || claims.contains_key("exp")) {
        return Err("assertion_without_end");
    }
    if instant(claims, "exp").is_none() && instant(claims, "iat").is_none() {
        // It would end a lifetime after each use, and count again once its use is forgotten (OA-349).
        return Err("assertion_without_end");
    }
    let (expires, leeway) = (end(claims, source, now), duration::seconds_or(&source.assertion_leeway, LEEWAY));
    if expires <= now {
        return Err("assertion_expired");
    }
    for name in ["nbf", "iat"] {
        match (claims.contains_key(name), instant(claims, name)) {
            (true, None) => return Err("assertion_malformed"),
            (true, Some(at)) if at > now.saturating_add(leeway) => return Err("assertion_of_the_future"),
            _ => {}
        }
    }
    let since = instant(claims, "iat").unwrap_or(now);
    if expires.saturating_sub(since) > longest(source) {
        return Err("assertion_lives_too_long");
    }
    Ok(())
}

/// Whether verified claims are for this client (OA-327, OA-328): issuer and subject.
fn accepted(
    ctx: &Context,
    client: &Client,
    application: &Application,
    source: &Source,
    claims: &ClaimSet,
) -> Result<(String, String), &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    times(claims, source, ctx.now())?;
    if !issuers(source).contains(&text("iss")) {
        return Err("assertion_issuer_unknown");
    }
    let provider = &client.provider;
    let (issuer, token) = (issuer(ctx, provider, &application.slug), format!("{}/application/o/token/", ctx.base_url));
    let mut audiences = vec![provider.client_id.as_str(), issuer.as_str(), token.as_str()];
    audiences.extend(texts(&source.expected_audiences));
    audiences.extend(texts(&provider.federation_audiences));
    let meant = match claims.get("aud") {
        Some(Value::String(audience)) => audiences.contains(&audience.as_str()),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).any(|audience| audiences.contains(&audience)),
        _ => false,
    };
    if source.audience_check && !meant {
        return Err("assertion_audience");
    }
    let subject = text("sub");
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT || subject.contains('\0') {
        return Err("assertion_subject");
    }
    if source.single_use && text("jti").is_empty() {
        return Err("assertion_without_id");
    }
    Ok((text("iss").to_owned(), subject.to_owned()))
}

/// The user of an access token of a provider that this one trusts (OA-340 … OA-344).
async fn by_provider(
    ctx: &Context,
    client: &Client,
    jwt: &str,
    kid: Option<String>,
) -> Result<Option<Verified>, Error> {
    let mut conn = ctx.db.read().await?;
    let digest = ctx.keys.digest(Purpose::GrantLookup, &[b"access", jwt.as_bytes()]);
    let Some(record) = grant::token_by_digest(&mut conn, &digest).await? else { return Ok(None) };
    let Some(issuing) = provider::by_pk(&mut conn, record.provider).await? else { return Ok(None) };
    let Some(of) = application::by_provider(&mut conn, issuing.pk).await? else { return Ok(None) };
    if !client.provider.accepts_tokens_of(issuing.pk) || !introspect::lives(ctx, &mut conn, &record).await? {
        return Ok(None);
    }
    let kept = issue::claims_of(ctx, &record)?;
    let signed = match jwe::has_form(jwt) {
        true => signing::opened(ctx, &mut conn, &issuing, jwt).await?,
        false => Some(jwt.to_owned()),
    };
    let claims = match signed {
        Some(jwt) => signing::read_hint(ctx, &mut conn, &issuing, &jwt, &issuer(ctx, &issuing, &of.slug)).await?,
        // What it was encrypted for is not here, or not any more. It is the text that was issued; its record tells the rest.
        None => Some(claims::told(&issuing, issue::travelling(&mut conn, issuing.pk, &kept).await?)),
    };
    let Some(mut claims) = claims else { return Ok(None) };
    // A client that tells claims of mappings at user information alone leaves them out of the token.
    if let Some(may) = kept.get("may_act") {
        claims.insert("may_act".to_owned(), may.clone());
    }
    let expires = record.expires;
    let by = By::Provider { issuer: Box::new(issuing), token: Box::new(record) };
    Ok(Some(Verified::of(claims, kid, expires, true, by)))
}

impl Verified {
    const fn of(claims: ClaimSet, kid: Option<String>, expires: Timestamp, is_capped: bool, by: By) -> Self {
        Self { claims, kid, expires, is_capped, by, act: None, actor: None, is_exchanged: false }
    }

    /// What it is good for by itself: whoever brings it says nothing of who acts. Otherwise the reason.
    ///
    /// # Errors
    /// Why it is good for nothing then, for the event.
    pub(super) fn alone(mut self) -> Result<Self, &'static str> {
        if !acting::may(&self.claims, None) {
            return Err("may_not_act");
        }
        // Who acts goes on acting, whatever the token is traded for.
        self.act = acting::chain(self.claims.get("act"), None)?;
        Ok(self)
    }

    /// `auth_method` of the event.
    pub(super) const fn method(&self) -> &'static str {
        if self.is_exchanged { EXCHANGED } else { "jwt" }
    }

    /// The account of who acts: now, or in the token that is traded.
    pub(super) fn actor_of(&self, actor: Option<&Person>) -> Option<UserPk> {
        let acted = match &self.by {
            By::Provider { token, .. } => token.actor,
            By::Source { .. } => None,
        };
        actor.map(|actor| actor.account.pk).or(acted)
    }

    /// Who acts, if somebody does who has an account here; nobody gets one by acting. Otherwise the reason why they may not.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn actor(
        &self,
        ctx: &Context,
        conn: &mut Conn,
        visitor: &Visitor,
        client: &Client,
    ) -> Result<Result<Option<Person>, &'static str>, Error> {
        let Some(actor) = &self.actor else { return Ok(Ok(None)) };
        Ok(match actor.person(ctx, conn, visitor, client, &[]).await? {
            Ok(person) if !person.account.is_active => Err("actor_inactive"),
            // What it would be if it was made.
            Ok(person) if person.account.pk.0 < 0 => Ok(None),
            Ok(person) => Ok(Some(person)),
            Err(reason) => Err(reason),
        })
    }

    /// `oauth_jwt` (OA-405).
    pub(super) const fn claims(&self) -> &ClaimSet {
        &self.claims
    }

    /// What a token rests on that is issued for it: it ends no later, unless the provider says otherwise (OA-336, OA-343).
    pub(super) fn ground(&self) -> Ground<'_> {
        let (traded, source) = match &self.by {
            By::Source { source, .. } => (None, Some(source.pk)),
            By::Provider { token, .. } => (Some(&**token), None),
        };
        let actor_token = self.actor.as_ref().and_then(|actor| match &actor.by {
            By::Source { .. } => None,
            By::Provider { token, .. } => Some(token.jti.as_str()),
        });
        let not_after = self.is_capped.then_some(self.expires);
        let act = self.act.as_ref();
        let assertion = Some(&self.claims);
        Ground { app_password: None, traded, source, assertion, not_after, act, actor: None, actor_token }
    }

    /// What remembers that it was used, where it counts once (OA-349).
    fn counted_once(&self, ctx: &Context) -> Option<Digest> {
        let By::Source { source, issuer, .. } = &self.by else { return None };
        let id = self.claims.get("jti").and_then(Value::as_str).filter(|_| source.single_use)?;
        let (pk, issuer) = (source.pk.to_string(), issuer.as_bytes());
        Some(ctx.keys.digest(Purpose::FailureBucket, &[b"assertion", pk.as_bytes(), issuer, id.as_bytes()]))
    }

    /// Notes in the transaction that issues something that it was used. Tells whether it counts: of several uses at once,
    /// one does.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn spend(&self, ctx: &Context, conn: &mut Conn) -> Result<bool, Error> {
        for brought in [Some(self), self.actor.as_deref()].into_iter().flatten() {
            if let Some(bucket) = brought.counted_once(ctx)
                && failure::add(conn, &bucket, ctx.now(), brought.ends()).await?.count != 1
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// When it ends itself.
    fn ends(&self) -> Timestamp {
        instant(&self.claims, "exp").map_or(self.expires, Timestamp::from_seconds)
    }

    /// What an event tells of it: not everything that a stranger's token says (OA-348).
    pub(super) fn named(&self, actor: Option<&Person>) -> Value {
        let claim = |name: &str| self.claims.get(name);
        let mut named = json!({"iss": claim("iss"), "sub": claim("sub"), "kid": self.kid, "jti": claim("jti"),
            "exp": claim("exp")});
        let (key, value) = match &self.by {
            By::Source { source, .. } => ("source", sources::named(source)),
            By::Provider { issuer, .. } => ("provider", json!({"pk": issuer.pk, "name": issuer.name})),
        };
        event::add(&mut named, key, value);
        if let Some(brought) = &self.actor {
            let mut acts = brought.named(None);
            if let Some(person) = actor {
                event::add(&mut acts, "pk", json!(person.account.pk));
                event::add(&mut acts, "username", json!(person.account.username));
            }
            event::add(&mut named, "actor", acts);
        }
        named
    }

    /// Who it is for: the account there is, or what it would be. Nothing is written. Otherwise the reason.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn person(
        &self,
        ctx: &Context,
        conn: &mut Conn,
        visitor: &Visitor,
        client: &Client,
        scopes: &[String],
    ) -> Result<Result<Person, &'static str>, Error> {
        let Some(application) = client.application.as_ref() else { return Ok(Err("no_application")) };
        match &self.by {
            By::Source { source, issuer, subject, described } => {
                if source::by_pk(conn, source.pk).await?.is_none_or(|source| !source.enabled) {
                    return Ok(Err("source_disabled"));
                }
                if let Some(bucket) = self.counted_once(ctx)
                    && failure::get(conn, &bucket, ctx.now()).await?.is_some()
                {
                    return Ok(Err(REPLAYED));
                }
                let whose = federated::Whose { client, source, issuer, subject };
                federated::person(ctx, conn, &whose, described).await.map(Ok)
            }
            By::Provider { token, .. } => {
                // It may have been revoked since it was looked at.
                let Some(record) = grant::token_by_jti(conn, &token.jti).await? else { return Ok(Err("token_gone")) };
                if !introspect::lives(ctx, conn, &record).await? {
                    return Ok(Err("token_revoked"));
                }
                // What limits an app password limits what it is traded for, too (OA-816).
                if let Some(password) = introspect::app_password_of(conn, &record).await? {
                    if !tokens::opens(&password, application.uuid) {
                        return Ok(Err("application_not_allowed"));
                    }
                    if !tokens::is_taken_from(&password, visitor.client) {
                        return Ok(Err("network_not_allowed"));
                    }
                    if !tokens::covers(&password, scopes) {
                        return Ok(Err("scope_not_allowed"));
                    }
                }
                Ok(directory::person_unchanged(ctx, conn, token.account).await?.ok_or("unknown_user"))
            }
        }
    }

    /// Makes or refreshes the account of a source's subject. The user of a provider's token is somebody already.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn keep(
        &self,
        ctx: &Context,
        change: &mut Change<'_>,
        client: &Client,
        application: &Application,
        person: &mut Person,
    ) -> Result<(), Error> {
        match &self.by {
            By::Source { source, issuer, subject, described } => {
                let whose = federated::Whose { client, source, issuer, subject };
                federated::keep(ctx, change, &whose, described, application, self.ends(), person).await
            }
            By::Provider { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    /// OA-321: what is no compact JWS, or asks for extensions, is not read.
    #[test]
    fn oa_321_malformed_assertions_are_not_read() {
        let claims = json!({"iss": "i"});
        let read = Unverified::read(&jwt(&json!({"alg": "RS256", "kid": "k"}), &claims)).expect("reads");
        assert_eq!((read.alg.as_str(), read.kid.as_deref(), read.issuer()), ("RS256", Some("k"), "i"));
        for header in [
            json!({"alg": "RS256", "crit": ["b64"]}),
            json!({"alg": "RS256", "b64": false}),
            json!({"alg": 7}),
            json!({}),
            json!([]),
            json!({"alg": "RS256", "kid": 7}),
        ] {
            assert!(Unverified::read(&jwt(&header, &claims)).is_none(), "{header}");
        }
        let good = jwt(&json!({"alg": "RS256"}), &claims);
        let unsigned = good.trim_end_matches("c2ln");
        for bad in ["", "a.b.c", unsigned, &format!("{good}.x"), &jwt(&json!({"alg": "RS256"}), &json!([]))] {
            assert!(Unverified::read(bad).is_none(), "{bad}");
        }
    }
}
