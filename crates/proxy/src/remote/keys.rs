//! Verifies tokens of a control plane (PX-149).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::claims::{ClaimSet, instant, is_for, text};
use super::reading::Served;

/// How long keys are believed.
const FRESH: Duration = Duration::from_secs(3600);
/// How long after keys were fetched a token whose key is not known is no reason to fetch them again.
const PAUSE: Duration = Duration::from_secs(30);
/// After keys could not be had, those who need them are told so for so long. Shorter than a person waits before they try
/// again; long enough that nobody queues for the next failure.
const FAILED: Duration = Duration::from_secs(5);
/// How far clocks may be apart, in seconds.
const SKEW: i64 = 300;
/// The longest token.
const LONGEST: usize = 64 * 1024;
/// Bytes of the smallest RSA modulus.
const SMALLEST_MODULUS: usize = 256;

/// Why a token is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Bad {
    /// It does not hold, whatever the keys.
    #[error("{0}")]
    Token(&'static str),
    /// Its keys cannot be had.
    #[error("no keys: {0}")]
    Keys(String),
}

#[derive(Default)]
struct Set {
    keys: Vec<Value>,
    fetched: Option<Instant>,
    /// When they could not be had, and why, if that was the last that was heard.
    failed: Option<(Instant, String)>,
}

/// The published keys of control planes, by URL.
#[derive(Default)]
pub(super) struct Keys(tokio::sync::Mutex<HashMap<String, Arc<tokio::sync::Mutex<Set>>>>);

impl Keys {
    /// The claims of a token that holds for a provider at `now`, in seconds.
    pub(super) async fn verify<F>(
        &self,
        served: &Served,
        token: &str,
        now: i64,
        fetch: impl FnOnce() -> F,
    ) -> Result<ClaimSet, Bad>
    where
        F: Future<Output = Result<Value, String>>,
    {
        let header = header(token).ok_or(Bad::Token("it is no signed token"))?;
        if ["crit", "b64"].iter().any(|name| header.contains_key(*name)) {
            return Err(Bad::Token("its header wants what we do not know"));
        }
        let algorithm = text(&header, "alg");
        let claims = if served.symmetric {
            let secret = served.provider.client_secret.as_bytes();
            if algorithm != "HS256" || secret.is_empty() {
                return Err(Bad::Token("it is not signed with the client secret"));
            }
            signed_by(&DecodingKey::from_secret(secret), Algorithm::HS256, token)
        } else {
            let known = asymmetric(&algorithm).ok_or(Bad::Token("its algorithm is not taken"))?;
            let keys = self.candidates(served, &header, &algorithm, fetch).await?;
            keys.iter().find_map(|key| signed_by(key, known, token))
        };
        let claims = claims.ok_or(Bad::Token("its signature does not hold"))?;
        holds(served, &claims, now).map_err(Bad::Token)?;
        Ok(claims)
    }

    /// The keys that may have signed a token with this header.
    async fn candidates<F>(
        &self,
        served: &Served,
        header: &Map<String, Value>,
        algorithm: &str,
        fetch: impl FnOnce() -> F,
    ) -> Result<Vec<DecodingKey>, Bad>
    where
        F: Future<Output = Result<Value, String>>,
    {
        let url = served.jwks.as_ref().ok_or_else(|| Bad::Keys("the provider has no jwks_uri".to_owned()))?;
        let set = Arc::clone(self.0.lock().await.entry(url.to_string()).or_default());
        // Whoever comes while they are fetched waits for the same answer.
        let mut set = set.lock().await;
        let kid = header.get("kid").and_then(Value::as_str);
        let is_fresh = set.fetched.is_some_and(|at| at.elapsed() < FRESH);
        if is_fresh {
            let found = fitting(&set.keys, algorithm, kid);
            if !found.is_empty() || set.fetched.is_some_and(|at| at.elapsed() < PAUSE) {
                return Ok(found);
            }
        }
        if let Some((at, problem)) = &set.failed
            && at.elapsed() < FAILED
        {
            return Err(Bad::Keys(problem.clone()));
        }
        let keys = fetch().await.and_then(|answer| {
            let keys = answer.get("keys").and_then(Value::as_array).cloned();
            keys.ok_or_else(|| "the answer holds no keys".to_owned())
        });
        match keys {
            Ok(keys) => (set.keys, set.fetched, set.failed) = (keys, Some(Instant::now()), None),
            Err(problem) => {
                set.failed = Some((Instant::now(), problem.clone()));
                return Err(Bad::Keys(problem));
            }
        }
        Ok(fitting(&set.keys, algorithm, kid))
    }
}

fn header(token: &str) -> Option<Map<String, Value>> {
    if token.len() > LONGEST || !super::claims::is_compact(token) {
        return None;
    }
    part(token, 0)
}

/// What a token says of itself, unverified.
pub(super) fn unverified(token: &str) -> Option<ClaimSet> {
    part(token, 1)
}

fn part(token: &str, number: usize) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(number)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn asymmetric(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

fn fitting(keys: &[Value], algorithm: &str, kid: Option<&str>) -> Vec<DecodingKey> {
    let named = |key: &&Value| kid.is_none_or(|kid| key.get("kid").and_then(Value::as_str) == Some(kid));
    keys.iter().filter(named).filter_map(|key| usable(key, algorithm)).collect()
}

/// A published key, if it is meant for signatures of this kind. The key says what it is good for, never the token.
fn usable(key: &Value, algorithm: &str) -> Option<DecodingKey> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let is_private = ["d", "p", "q", "k"].iter().any(|member| key.get(*member).is_some());
    if is_private
        || text("use").is_some_and(|usage| usage != "sig")
        || text("alg").is_some_and(|named| named != algorithm)
    {
        return None;
    }
    match (text("kty")?, algorithm) {
        ("RSA", "RS256" | "RS384" | "RS512" | "PS256") => {
            let (modulus, exponent) =
                (URL_SAFE_NO_PAD.decode(text("n")?).ok()?, URL_SAFE_NO_PAD.decode(text("e")?).ok()?);
            let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
            (significant >= SMALLEST_MODULUS).then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
        }
        ("EC", "ES256") if text("crv") == Some("P-256") => DecodingKey::from_ec_components(text("x")?, text("y")?).ok(),
        ("EC", "ES384") if text("crv") == Some("P-384") => DecodingKey::from_ec_components(text("x")?, text("y")?).ok(),
        ("OKP", "EdDSA") if text("crv") == Some("Ed25519") => DecodingKey::from_ed_components(text("x")?).ok(),
        _ => None,
    }
}

fn signed_by(key: &DecodingKey, algorithm: Algorithm, token: &str) -> Option<ClaimSet> {
    let mut validation = Validation::new(algorithm);
    // Claims are looked at by hand: with our clock, and with reasons.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode(token, key, &validation).ok().map(|decoded| decoded.claims)
}

fn holds(served: &Served, claims: &ClaimSet, now: i64) -> Result<(), &'static str> {
    if text(claims, "iss") != served.provider.endpoints.issuer {
        return Err("another issuer made it");
    }
    if !is_for(claims, &served.provider.client_id) {
        return Err("it is for somebody else");
    }
    if instant(claims, "exp").is_none_or(|end| end <= now) {
        return Err("it has expired");
    }
    for name in ["nbf", "iat"] {
        match (claims.contains_key(name), instant(claims, name)) {
            (true, None) => return Err("one of its times is none"),
            (true, Some(at)) if at > now.saturating_add(SKEW) => return Err("it is of the future"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
