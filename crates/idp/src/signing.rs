//! Keys that sign tokens (OA section 6): the installation's own, RS256, made once, sealed in the store; or one that
//! a provider names ([`own`]); or its client secret. [`Signer`] is whichever applies. What it signs may be encrypted to a
//! key of the client ([`recipient`], [`jwe`]).

pub mod jwe;
mod own;
mod recipient;
mod retired;
mod signer;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use portcullis_core::entropy::Entropy;
use portcullis_core::keys::{Digest, sha256};
use portcullis_store::{Conn, signing_key};
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use crate::context::Context;

/// Why nothing can be signed (OA-125).
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// There is no active key, or it cannot be opened or parsed.
    #[error("no usable signing key: {0}")]
    NoKey(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] portcullis_store::StoreError),
}

/// What a token is, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// An id token or access token.
    Jwt,
    /// What an application gets to see: no credential anywhere (PX-417).
    UpstreamAssertion,
    /// Tells a client that a session ended (OA-557).
    Logout,
}

impl TokenType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "JWT",
            Self::UpstreamAssertion => "portcullis-upstream+jwt",
            Self::Logout => "logout+jwt",
        }
    }
}

pub use own::check;
pub use recipient::check_recipient;
pub(crate) use recipient::opened;
pub use retired::{published, read_hint};
pub(crate) use retired::{replace, retire};
pub use signer::{SHORTEST_SECRET, Signer};

/// The keys in memory, parsed once: parsing costs as much as signing.
pub struct Cache {
    installation: ArcSwapOption<Keys>,
    /// By digest of what is sealed: another key pair has another one.
    own: moka::sync::Cache<Digest, Arc<own::OwnKey>>,
    /// By digest of the certificate.
    encryption: moka::sync::Cache<Digest, Arc<recipient::Encryption>>,
}

impl Default for Cache {
    fn default() -> Self {
        const MOST: u64 = 1000;
        Self {
            installation: ArcSwapOption::empty(),
            own: moka::sync::Cache::new(MOST),
            encryption: moka::sync::Cache::new(MOST),
        }
    }
}

/// All keys that are published; the first one signs.
pub struct Keys {
    published: Vec<PublicKey>,
    active: PrivateKey,
}

struct PrivateKey {
    kid: String,
    pair: RsaKeyPair,
}

struct PublicKey {
    kid: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    certificate: Vec<u8>,
}

fn place(kid: &str) -> String {
    format!("signing_key:{kid}:private_key")
}

/// Makes the signing key of an installation that has none (CO-480). Safe when several start at once.
///
/// # Errors
/// When no key can be made, or the store fails.
pub async fn ensure(ctx: &Context, conn: &mut Conn) -> Result<(), SigningError> {
    if signing_key::all(conn).await?.iter().any(|key| key.active) {
        return Ok(());
    }
    let entropy = Arc::clone(&ctx.entropy);
    let (kid, private, certificate) = spawn_blocking(move || make(&*entropy))
        .await
        .map_err(|error| SigningError::NoKey(error.to_string()))?
        .map_err(|error| SigningError::NoKey(error.to_string()))?;
    let private_key_sealed = ctx.keys.seal(&place(&kid), &private, &*ctx.entropy);
    let key = signing_key::SigningKey { kid, private_key_sealed, certificate, active: true, created: ctx.now() };
    signing_key::insert(conn, &key).await?;
    Ok(())
}

/// A new key: its id, PKCS#8 DER and self-signed certificate.
fn make(entropy: &dyn Entropy) -> Result<(String, Vec<u8>, Vec<u8>), rcgen::Error> {
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Portcullis token signing");
    // Tokens are verified by key id; the certificate only carries the key for those who want one.
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2124, 1, 1);
    params.serial_number = Some(entropy.bytes::<16>().to_vec().into());
    let certificate = params.self_signed(&pair)?.der().to_vec();
    let private = pair.serialize_der();
    let parsed = RsaKeyPair::from_pkcs8(&private).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    let public = PublicKey::of(&parsed, String::new(), Vec::new());
    Ok((public.thumbprint(), private, certificate))
}

/// The keys in force, from memory or from the store.
///
/// # Errors
/// [`SigningError`] when there is no usable active key.
pub async fn keys(ctx: &Context, conn: &mut Conn) -> Result<Arc<Keys>, SigningError> {
    if let Some(keys) = ctx.signing.installation.load_full() {
        return Ok(keys);
    }
    let mut published = Vec::new();
    let mut active = None;
    for stored in signing_key::all(conn).await? {
        let no_key = |why: &dyn std::fmt::Display| SigningError::NoKey(format!("{}: {why}", stored.kid));
        let private = ctx.keys.open(&place(&stored.kid), &stored.private_key_sealed).map_err(|e| no_key(&e))?;
        let pair = RsaKeyPair::from_pkcs8(&private).map_err(|e| no_key(&e))?;
        published.push(PublicKey::of(&pair, stored.kid.clone(), stored.certificate));
        if stored.active && active.is_none() {
            active = Some(PrivateKey { kid: stored.kid, pair });
        }
    }
    let active = active.ok_or_else(|| SigningError::NoKey("none is active".to_owned()))?;
    let keys = Arc::new(Keys { published, active });
    ctx.signing.installation.store(Some(Arc::clone(&keys)));
    Ok(keys)
}

impl Keys {
    /// Signs claims as a compact JWS (OA-126).
    ///
    /// # Errors
    /// When the key refuses to sign.
    pub fn sign(&self, token_type: TokenType, claims: &Map<String, Value>) -> Result<String, SigningError> {
        let header = json!({"alg": "RS256", "typ": token_type.as_str(), "kid": self.active.kid}).to_string();
        let claims = serde_json::to_vec(claims).map_err(|error| SigningError::NoKey(error.to_string()))?;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.active.pair.public_modulus_len()];
        self.active
            .pair
            // PKCS#1 v1.5 is deterministic: the generator is not drawn from.
            .sign(&RSA_PKCS1_SHA256, &aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| SigningError::NoKey("the key refuses to sign".to_owned()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that one of these keys signed for `issuer` and `audience`, expired or not
    /// (OA-541). Upstream assertions are not tokens.
    pub fn read_hint(&self, token: &str, issuer: &str, audience: &str) -> Option<Map<String, Value>> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(TokenType::Jwt.as_str()) {
            return None;
        }
        let key = self.published.iter().find(|key| Some(&key.kid) == header.kid.as_ref())?;
        let key = DecodingKey::from_rsa_raw_components(&key.modulus, &key.exponent);
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        jsonwebtoken::decode(token, &key, &validation).ok().map(|decoded| decoded.claims)
    }

    /// The published keys (OA-120 … OA-123).
    pub fn jwks(&self) -> Vec<Value> {
        self.published.iter().map(PublicKey::jwk).collect()
    }
}

impl PublicKey {
    fn of(pair: &RsaKeyPair, kid: String, certificate: Vec<u8>) -> Self {
        let public = pair.public_key();
        let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
        let exponent = public.exponent().big_endian_without_leading_zero().to_vec();
        Self { kid, modulus, exponent, certificate }
    }

    /// RFC 7638 §3: SHA-256 over the required members in lexical order.
    fn thumbprint(&self) -> String {
        let (e, n) = (URL_SAFE_NO_PAD.encode(&self.exponent), URL_SAFE_NO_PAD.encode(&self.modulus));
        URL_SAFE_NO_PAD.encode(sha256(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes()))
    }

    fn jwk(&self) -> Value {
        // RFC 7517 §4.8: the SHA-1 thumbprint is named by the format; nothing rests on it.
        let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &self.certificate);
        json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid,
            "n": URL_SAFE_NO_PAD.encode(&self.modulus),
            "e": URL_SAFE_NO_PAD.encode(&self.exponent),
            "x5c": [STANDARD.encode(&self.certificate)],
            "x5t": URL_SAFE_NO_PAD.encode(sha1.as_ref()),
            "x5t#S256": URL_SAFE_NO_PAD.encode(sha256(&self.certificate)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::jwk::JwkSet;
    use portcullis_core::entropy::SystemEntropy;

    /// Keys as they would come from a store.
    fn keys() -> Keys {
        let (kid, private, certificate) = make(&SystemEntropy).expect("makes a key");
        let pair = RsaKeyPair::from_pkcs8(&private).expect("parses");
        let published = vec![PublicKey::of(&pair, kid.clone(), certificate)];
        Keys { published, active: PrivateKey { kid, pair } }
    }

    /// OA-121, OA-126: what is signed verifies with the published key of the same id, and no private member is
    /// published.
    #[test]
    fn oa_121_published_keys_verify_what_was_signed() {
        let keys = keys();
        let claims = json!({"iss": "i", "aud": "a", "sub": "s", "exp": 1}).as_object().expect("object").clone();
        let token = keys.sign(TokenType::Jwt, &claims).expect("signs");
        let published = json!({"keys": keys.jwks()});
        let set: JwkSet = serde_json::from_value(published.clone()).expect("a key set");
        let kid = jsonwebtoken::decode_header(&token).expect("header").kid.expect("kid");
        let key = DecodingKey::from_jwk(set.find(&kid).expect("published")).expect("usable");
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.set_audience(&["a"]);
        let read: Value = jsonwebtoken::decode(&token, &key, &validation).expect("verifies").claims;
        assert_eq!(read["sub"], "s");
        let members = published["keys"][0].as_object().expect("object");
        assert!(["d", "p", "q", "dp", "dq", "qi"].iter().all(|private| !members.contains_key(*private)));
        assert!(
            ["kty", "alg", "use", "kid", "n", "e", "x5c", "x5t", "x5t#S256"].iter().all(|m| members.contains_key(*m))
        );
    }

    /// OA-123: the id of a new key is its RFC 7638 thumbprint (the RFC's own vector).
    #[test]
    fn oa_123_kid_is_the_thumbprint() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi\
                 FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb\
                 9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1\
                 jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = PublicKey {
            kid: String::new(),
            modulus: URL_SAFE_NO_PAD.decode(n).expect("base64url"),
            exponent: vec![1, 0, 1],
            certificate: Vec::new(),
        };
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    /// OA-541: a hint must be signed here for this client; an expired one still serves, an assertion does not.
    #[test]
    fn oa_541_hints_must_be_ours() {
        let keys = keys();
        let claims = json!({"iss": "i", "aud": "a", "sub": "s", "exp": 1}).as_object().expect("object").clone();
        let token = keys.sign(TokenType::Jwt, &claims).expect("signs");
        assert!(keys.read_hint(&token, "i", "a").is_some());
        assert!(keys.read_hint(&token, "i", "b").is_none());
        assert!(keys.read_hint(&token, "j", "a").is_none());
        assert!(keys.read_hint("a.b.c", "i", "a").is_none());
        let assertion = keys.sign(TokenType::UpstreamAssertion, &claims).expect("signs");
        assert!(keys.read_hint(&assertion, "i", "a").is_none());
        let (head, _) = token.rsplit_once('.').expect("three parts");
        assert!(keys.read_hint(&format!("{head}.AAAA"), "i", "a").is_none());
    }
}
