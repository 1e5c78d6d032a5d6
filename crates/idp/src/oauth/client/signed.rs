//! `private_key_jwt`: a client that proves itself with a signature (OA-710, RFC 7523 §3, OpenID Connect Core §9).

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_store::failure;
use serde_json::Value;

use super::Client;
use crate::context::Context;
use crate::error::Error;
use crate::oauth::issuer;
use crate::oauth::machine::assertion::{LEEWAY, Unverified, instant, signed_by};
use crate::oauth::params::Params;
use crate::sources::jwks;

/// The one type of assertion that there is.
pub(in crate::oauth) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// An assertion was used again: why it is refused.
pub(in crate::oauth) const REPLAYED: &str = "client_assertion_replayed";

/// Longest assertion, in bytes.
const LONGEST: usize = 16 * 1024;
/// Longest lifetime, in seconds.
const LIFETIME: i64 = 300;
/// Longest id of an assertion, in bytes.
const LONGEST_ID: usize = 255;

/// An assertion that a client made about itself: its issuer is the client.
#[derive(Clone)]
pub struct OwnAssertion {
    jwt: String,
    issuer: String,
}

impl OwnAssertion {
    /// The assertion of a request, whoever made it. One that cannot be read is nobody's.
    pub(super) fn sent(params: &Params) -> Option<Self> {
        let jwt = params.get("client_assertion").filter(|jwt| jwt.len() <= LONGEST)?;
        if params.text("client_assertion_type") != JWT_BEARER {
            return None;
        }
        let issuer = Unverified::read(jwt)?.issuer().to_owned();
        Some(Self { jwt: jwt.to_owned(), issuer })
    }

    /// Whose it says it is, before anybody has looked.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Checks it, and uses it up: of several uses, wherever they arrive, one counts. Otherwise the reason, which only the
    /// event tells.
    ///
    /// # Errors
    /// When the store fails.
    pub(in crate::oauth) async fn verify(
        &self,
        ctx: &Context,
        client: &Client,
    ) -> Result<Result<Signed, &'static str>, Error> {
        let (id, kid, expires) = match self.check(ctx, client) {
            Ok(checked) => checked,
            Err(reason) => return Ok(Err(reason)),
        };
        let bucket = spent(ctx, client, &id);
        let mut conn = ctx.db.write_one().await?;
        let uses = failure::add(&mut conn, &bucket, ctx.now(), expires).await?;
        Ok(if uses.count == 1 { Ok(Signed { kid, id }) } else { Err(REPLAYED) })
    }

    fn check(&self, ctx: &Context, client: &Client) -> Result<(String, Option<String>, Timestamp), &'static str> {
        let read = Unverified::read(&self.jwt).ok_or("client_assertion_malformed")?;
        // No other token of somebody's is one, whatever it says (RFC 8725 §3.11).
        if !read.typ.as_deref().is_none_or(is_type) {
            return Err("client_assertion_type");
        }
        if jwks::algorithm(&read.alg).is_none() {
            return Err("client_assertion_algorithm");
        }
        let keys = jwks::candidates_of_client(&client.provider.client_jwks, &read.alg, read.kid.as_deref());
        let claims = keys.iter().find_map(|key| signed_by(key, &read.alg, &self.jwt));
        let claims = claims.ok_or("client_assertion_signature")?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        let own = client.provider.client_id.as_str();
        if text("iss") != own || text("sub") != own {
            return Err("client_assertion_subject");
        }
        let application = client.application.as_ref().ok_or("no_application")?;
        let issuer = issuer(ctx, &client.provider, &application.slug);
        let endpoint = format!("{}/application/o/token/", ctx.base_url);
        // More than one and others could use it elsewhere.
        let audience = match claims.get("aud") {
            Some(Value::String(one)) => Some(one.as_str()),
            Some(Value::Array(list)) => match list.as_slice() {
                [one] => one.as_str(),
                _ => None,
            },
            _ => None,
        };
        if !audience.is_some_and(|audience| audience == issuer || audience == endpoint) {
            return Err("client_assertion_audience");
        }
        let now = ctx.now().seconds();
        let expires = instant(&claims, "exp").ok_or("client_assertion_without_end")?;
        if expires <= now {
            return Err("client_assertion_expired");
        }
        for name in ["nbf", "iat"] {
            match (claims.contains_key(name), instant(&claims, name)) {
                (true, None) => return Err("client_assertion_malformed"),
                (true, Some(at)) if at > now.saturating_add(LEEWAY) => return Err("client_assertion_of_the_future"),
                _ => {}
            }
        }
        let since = instant(&claims, "iat").unwrap_or(now).min(now);
        if expires.saturating_sub(since) > LIFETIME {
            return Err("client_assertion_lives_too_long");
        }
        let id = text("jti");
        if id.is_empty() || id.len() > LONGEST_ID {
            return Err("client_assertion_without_id");
        }
        Ok((id.to_owned(), read.kid, Timestamp::from_seconds(expires)))
    }
}

/// Plain, or of the type that says what it is for.
fn is_type(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "client-authentication+jwt")
}

fn spent(ctx: &Context, client: &Client, id: &str) -> Digest {
    let uuid = client.provider.uuid;
    ctx.keys.digest(Purpose::FailureBucket, &[b"client-assertion", uuid.as_bytes(), id.as_bytes()])
}

/// What a client proved itself with: for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Id of the key, if the assertion names it.
    pub kid: Option<String>,
    /// Id of the assertion.
    pub id: String,
}
