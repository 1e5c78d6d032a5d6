//! Keys of sources: pasted, or fetched and kept (OA-326, OA-329).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::{Algorithm, DecodingKey};
use portcullis_core::clock::Timestamp;
use portcullis_core::id::SourceId;
use portcullis_store::source::{self, Source};
use serde_json::{Value, json};

use super::{named, texts};
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::outbound::{Fetched, OutboundError};
use crate::{event, limits};

/// Fetched keys are fresh for at least and at most so long, in seconds (OA-329).
const FRESH: (i64, i64) = (300, 3 * 3600);
/// The last good keys are used for so long when no others can be had, in seconds.
const LAST_GOOD: i64 = 24 * 3600;
/// A source is asked once in so many seconds, whoever brings unknown keys.
const PAUSE: i64 = 60;
/// Algorithms of keys that name none, unless a source says otherwise.
const DEFAULT: [&str; 4] = ["RS256", "ES256", "ES384", "EdDSA"];
/// Everything that can be verified.
pub(crate) const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// Smallest modulus of an RSA key, in bytes.
const SMALLEST_MODULUS: usize = 256;

/// When sources were last asked for their keys.
#[derive(Default)]
pub struct Asked(Mutex<HashMap<SourceId, Arc<tokio::sync::Mutex<Option<Timestamp>>>>>);

impl Asked {
    fn of(&self, pk: SourceId) -> Arc<tokio::sync::Mutex<Option<Timestamp>>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(pk).or_default())
    }
}

/// The algorithm of this name, if an assertion may be signed with it (OA-321). ES512 is not among what can be
/// verified; HMAC and `none` never are.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

/// A source whose keys were fetched.
#[derive(Clone, Debug)]
pub struct Fetches {
    /// Its short name.
    pub slug: String,
    /// When its keys were last fetched.
    pub fetched_at: Timestamp,
}

/// The sources that are enabled and whose keys were fetched, in the order of their names.
///
/// # Errors
/// When the store fails.
pub async fn fetches(ctx: &Context) -> Result<Vec<Fetches>, Error> {
    let mut all = source::all(&mut ctx.db.read().await?).await?;
    all.sort_by(|left, right| left.slug.cmp(&right.slug));
    let enabled = all.into_iter().filter(|source| source.enabled);
    Ok(enabled.filter_map(|source| Some(Fetches { slug: source.slug, fetched_at: source.fetched_at? })).collect())
}

/// Forgets what was fetched.
pub(super) fn forget(source: &mut Source) {
    source.discovered_issuer = String::new();
    source.fetched_jwks = json!({});
    (source.fetched_at, source.fresh_until) = (None, None);
}

/// Fetches what a source names for the first time. Nothing of another address is kept.
///
/// # Errors
/// [`Error::Invalid`] when it cannot be fetched, with nothing of what a server said but its status (CO-841).
pub(super) async fn begin_anew(ctx: &Context, source: &mut Source) -> Result<(), Error> {
    forget(source);
    if source.oidc_well_known_url.is_empty() && source.oidc_jwks_url.is_empty() {
        return Ok(());
    }
    fetch(ctx, source).await.map_err(|(field, error)| Error::field(field, error.to_string()))
}

/// Fetches issuer and keys of a source.
async fn fetch(ctx: &Context, source: &mut Source) -> Result<(), (&'static str, OutboundError)> {
    let (mut issuer, mut keys_url, mut at_fault) = (String::new(), source.oidc_jwks_url.clone(), "oidc_jwks_url");
    if !source.oidc_well_known_url.is_empty() {
        const FIELD: &str = "oidc_well_known_url";
        let document = ctx.outbound.json(&source.oidc_well_known_url).await.map_err(|error| (FIELD, error))?.object;
        let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        issuer = text("issuer");
        if issuer.is_empty() {
            return Err((FIELD, OutboundError::NoObject));
        }
        if keys_url.is_empty() {
            (keys_url, at_fault) = (text("jwks_uri"), FIELD);
        }
    }
    let mut freshness = FRESH.1;
    if !keys_url.is_empty() {
        let Fetched { object, max_age } = ctx.outbound.json(&keys_url).await.map_err(|error| (at_fault, error))?;
        if object.get("keys").and_then(Value::as_array).is_none() {
            return Err((at_fault, OutboundError::NoObject));
        }
        source.fetched_jwks = object;
        freshness = max_age.unwrap_or(FRESH.1);
    }
    let now = ctx.now();
    source.fetched_at = Some(now);
    source.fresh_until = Some(now.plus_seconds(freshness.clamp(FRESH.0, FRESH.1)));
    source.discovered_issuer = issuer;
    Ok(())
}

/// The source with keys that are fresh, or the last good ones. With `again`, it is asked although they are fresh: an
/// assertion names a key that is not among them. A source is asked once a minute at most, and once for all who wait.
///
/// # Errors
/// When the store fails.
pub(crate) async fn current(ctx: &Context, mut source: Source, again: bool) -> Result<Source, Error> {
    let is_fresh = |source: &Source, now| source.fresh_until.is_some_and(|until| until > now);
    if source.oidc_well_known_url.is_empty() && source.oidc_jwks_url.is_empty() {
        return Ok(source);
    }
    if !again && is_fresh(&source, ctx.now()) {
        return Ok(source);
    }
    let asked = ctx.jwks.of(source.pk);
    let mut last = asked.lock().await;
    let now = ctx.now();
    if last.is_some_and(|last| last.plus_seconds(PAUSE) > now) {
        // Somebody has just asked; what came of it is in the store.
        let known = source::by_pk(&mut ctx.db.read().await?, source.pk).await?.unwrap_or(source);
        return Ok(last_good(known, now));
    }
    *last = Some(now);
    match fetch(ctx, &mut source).await {
        Ok(()) => {
            let mut tx = ctx.db.write().await?;
            source::fetched(&mut tx, &source).await?;
            tx.commit().await?;
        }
        Err((_, error)) => {
            tracing::warn!(source = source.slug, %error, "keys of the source cannot be fetched");
            if is_too_old(&source, now) {
                flaw(ctx, &source, "Keys of the source cannot be fetched").await?;
            }
        }
    }
    Ok(last_good(source, now))
}

fn is_too_old(source: &Source, now: Timestamp) -> bool {
    source.fetched_at.is_none_or(|at| at.plus_seconds(LAST_GOOD) <= now)
}

/// The source without fetched keys that are too old to be believed.
fn last_good(mut source: Source, now: Timestamp) -> Source {
    if is_too_old(&source, now) {
        source.fetched_jwks = json!({});
    }
    source
}

/// Records what keeps a source from being believed: once an hour.
///
/// # Errors
/// When the store fails.
pub(crate) async fn flaw(ctx: &Context, source: &Source, message: &str) -> Result<(), Error> {
    const HOUR: i64 = 3600;
    note(ctx, source, "configuration_error", message, HOUR).await
}

/// Records something about a source, once in so many seconds.
///
/// # Errors
/// When the store fails.
pub(crate) async fn note(
    ctx: &Context,
    source: &Source,
    action: &str,
    message: &str,
    seconds: i64,
) -> Result<(), Error> {
    let what = [b"source".as_slice(), source.pk.0.as_bytes(), message.as_bytes()];
    let Some(mut tx) = limits::first_of(ctx, &what, seconds).await? else { return Ok(()) };
    let context = json!({"message": message, "source": named(source)});
    let recorded = event::record(ctx, &mut tx, &Actor::system(), action, context).await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(())
}

/// The keys that may have signed an assertion with this `alg` and `kid` (OA-325, OA-326). Without `kid` there must be
/// exactly one. Only the key says what it is good for; the assertion chooses among keys, never an algorithm.
pub(crate) fn candidates(source: &Source, alg: &str, kid: Option<&str>) -> Vec<DecodingKey> {
    let listed = texts(&source.allowed_algorithms);
    let allowed = if listed.is_empty() { DEFAULT.contains(&alg) } else { listed.contains(&alg) };
    candidates_in(&[&source.oidc_jwks, &source.fetched_jwks], alg, kid, allowed)
}

/// The same of a client's own keys (OA-710). One that names no algorithm is good for every one that fits it.
pub(crate) fn candidates_of_client(set: &Value, alg: &str, kid: Option<&str>) -> Vec<DecodingKey> {
    candidates_in(&[set], alg, kid, true)
}

/// Whether a key can verify anything at all.
pub(crate) fn verifies(key: &Value) -> bool {
    ALGORITHMS.iter().any(|alg| usable(key, alg, true).is_some())
}

/// A member of a key that is nobody's to know but its owner's.
pub(crate) fn private_member(key: &Value) -> Option<&'static str> {
    ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].into_iter().find(|member| key.get(*member).is_some())
}

fn candidates_in(sets: &[&Value], alg: &str, kid: Option<&str>, allowed: bool) -> Vec<DecodingKey> {
    let keys = sets.iter().filter_map(|set| set.get("keys").and_then(Value::as_array)).flatten();
    let named = |key: &&Value| kid.is_none_or(|kid| key.get("kid").and_then(Value::as_str) == Some(kid));
    let usable: Vec<_> = keys.filter(named).filter_map(|key| usable(key, alg, allowed)).collect();
    if kid.is_none() && usable.len() != 1 { Vec::new() } else { usable }
}

fn usable(key: &Value, alg: &str, allowed: bool) -> Option<DecodingKey> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let signs = key.get("use").is_none_or(|usage| usage == "sig");
    let verifies = key.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|operations| operations.iter().any(|operation| operation == "verify"))
    });
    let agreed = match key.get("alg") {
        Some(named) => named == alg,
        None => allowed,
    };
    if private_member(key).is_some() || !signs || !verifies || !agreed {
        return None;
    }
    match (text("kty")?, alg) {
        ("RSA", "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512") => {
            let (modulus, exponent) = (bytes(text("n")?)?, bytes(text("e")?)?);
            let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
            (significant >= SMALLEST_MODULUS).then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
        }
        ("EC", "ES256") if text("crv") == Some("P-256") => DecodingKey::from_ec_components(text("x")?, text("y")?).ok(),
        ("EC", "ES384") if text("crv") == Some("P-384") => DecodingKey::from_ec_components(text("x")?, text("y")?).ok(),
        ("OKP", "EdDSA") if text("crv") == Some("Ed25519") => DecodingKey::from_ed_components(text("x")?).ok(),
        _ => None,
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-326, OA-821: what is symmetric, private, for encryption, too small or of another kind verifies nothing.
    #[test]
    fn oa_326_only_keys_that_fit_verify() {
        let n = format!("{}g", "u".repeat(341));
        let good = json!({"kty": "RSA", "n": n, "e": "AQAB"});
        let fits = |more: Value, alg: &str| {
            let mut key = good.clone();
            for (name, value) in more.as_object().expect("object") {
                key[name] = value.clone();
            }
            usable(&key, alg, true).is_some()
        };
        assert!(fits(json!({}), "RS256") && fits(json!({}), "PS512"));
        assert!(fits(json!({"alg": "RS256", "use": "sig", "key_ops": ["verify"]}), "RS256"));
        for (more, alg) in [
            (json!({"alg": "RS512"}), "RS256"),
            (json!({}), "ES256"),
            (json!({}), "HS256"),
            (json!({}), "none"),
            (json!({"use": "enc"}), "RS256"),
            (json!({"key_ops": ["sign"]}), "RS256"),
            (json!({"d": "AQAB"}), "RS256"),
            (json!({"n": "u".repeat(172)}), "RS256"),
            (json!({"n": format!("{}{}", "A".repeat(176), "u".repeat(168))}), "RS256"),
            (json!({"kty": "oct", "k": "c2VjcmV0"}), "RS256"),
            (json!({"kty": "EC", "crv": "P-521"}), "ES256"),
        ] {
            assert!(!fits(more.clone(), alg), "{more} {alg}");
        }
        assert!(usable(&good, "RS512", false).is_none(), "the key names no algorithm, and this is not a default");
    }
}
