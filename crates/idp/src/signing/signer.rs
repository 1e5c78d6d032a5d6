//! Whatever signs the tokens of a provider.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use portcullis_core::entropy::Entropy;
use portcullis_core::keys::sha256;
use portcullis_store::certificate::Certificate;
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, certificate};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::own::OwnKey;
use super::recipient::Encryption;
use super::{Keys, SigningError, TokenType, keys};
use crate::certificates;
use crate::context::Context;
use crate::providers::secrets;

/// A shorter secret signs nothing (OA-127), in bytes.
pub const SHORTEST_SECRET: usize = 32;

/// Whatever signs the tokens of a provider (OA-033, OA-072), and encrypts them where it names a key for that (OA-130).
pub struct Signer {
    by: By,
    encryption: Option<(Arc<Encryption>, Arc<dyn Entropy>)>,
}

enum By {
    /// The installation's own key: proxy providers.
    Installation(Arc<Keys>),
    /// The key pair that the provider names.
    Own(OwnSigner),
    /// The client secret: HS256.
    Secret(SecretSigner),
}

/// A key pair that a provider names.
struct OwnSigner(Arc<OwnKey>);

/// The client secret that signs, and another one that holds: what either signed is known again.
struct SecretSigner {
    current: Zeroizing<String>,
    other: Option<Zeroizing<String>>,
}

impl Signer {
    /// What signs for this provider. A key that is named and cannot be used is an error, never a reason to sign with
    /// something else (OA-125).
    ///
    /// # Errors
    /// [`SigningError`].
    pub async fn of(ctx: &Context, conn: &mut Conn, provider: &Provider) -> Result<Self, SigningError> {
        let encryption = Encryption::of(ctx, conn, provider).await?;
        let encryption = encryption.map(|encryption| (encryption, Arc::clone(&ctx.entropy)));
        Ok(Self { by: By::of(ctx, conn, provider).await?, encryption })
    }

    /// The installation's own key.
    ///
    /// # Errors
    /// [`SigningError`].
    pub async fn installation(ctx: &Context, conn: &mut Conn) -> Result<Self, SigningError> {
        Ok(Self { by: By::Installation(keys(ctx, conn).await?), encryption: None })
    }

    /// Name of the algorithm in force (OA-107).
    pub fn algorithm(&self) -> &'static str {
        match &self.by {
            By::Installation(_) => "RS256",
            By::Own(OwnSigner(key)) => match key.algorithm {
                Algorithm::ES256 => "ES256",
                Algorithm::ES384 => "ES384",
                _ => "RS256",
            },
            By::Secret(_) => "HS256",
        }
    }

    /// Whether what it signs is encrypted (OA-108).
    pub const fn encrypts(&self) -> bool {
        self.encryption.is_some()
    }

    /// Signs claims as a compact JWS (OA-126), within a JWE if the provider names a key for that (OA-130). What applications
    /// behind a proxy see is for everybody to read.
    ///
    /// # Errors
    /// When a key refuses to sign or to encrypt.
    pub fn sign(&self, token_type: TokenType, claims: &Map<String, Value>) -> Result<String, SigningError> {
        let signed = self.signed(token_type, claims)?;
        match &self.encryption {
            Some((encryption, entropy)) if token_type != TokenType::UpstreamAssertion => encryption
                .recipient
                .encrypt(&**entropy, &encryption.kid, &signed)
                .ok_or_else(|| SigningError::NoKey("the key refuses to encrypt".to_owned())),
            _ => Ok(signed),
        }
    }

    fn signed(&self, token_type: TokenType, claims: &Map<String, Value>) -> Result<String, SigningError> {
        let kid = match &self.by {
            By::Installation(keys) => return keys.sign(token_type, claims),
            By::Own(OwnSigner(key)) => Some(&key.kid),
            By::Secret(_) => None,
        };
        let header = match kid {
            Some(kid) => json!({"alg": self.algorithm(), "typ": token_type.as_str(), "kid": kid}),
            None => json!({"alg": self.algorithm(), "typ": token_type.as_str()}),
        };
        let claims = serde_json::to_vec(claims).map_err(|error| SigningError::NoKey(error.to_string()))?;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
        let signature = match &self.by {
            By::Own(OwnSigner(key)) => key.sign(signed.as_bytes()),
            By::Secret(SecretSigner { current, .. }) => {
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, current.as_bytes());
                Some(aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec())
            }
            By::Installation(_) => None,
        };
        let signature = signature.ok_or_else(|| SigningError::NoKey("the key refuses to sign".to_owned()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that this signed for `issuer` and `audience`, expired or not (OA-541).
    pub fn read_hint(&self, token: &str, issuer: &str, audience: &str) -> Option<Map<String, Value>> {
        match &self.by {
            By::Installation(keys) => keys.read_hint(token, issuer, audience),
            By::Own(OwnSigner(key)) => read_with(&key.decoding, key.algorithm, Some(&key.kid), token, issuer, audience),
            By::Secret(SecretSigner { current, other }) => {
                let read = |secret: &Zeroizing<String>| {
                    let key = DecodingKey::from_secret(secret.as_bytes());
                    read_with(&key, Algorithm::HS256, None, token, issuer, audience)
                };
                read(current).or_else(|| other.as_ref().and_then(read))
            }
        }
    }

    /// The keys by which everybody can verify what this signs (OA-120 … OA-123): never a secret, so none for HS256.
    pub fn jwks(&self) -> Vec<Value> {
        match &self.by {
            By::Installation(keys) => keys.jwks(),
            By::Own(OwnSigner(key)) => vec![key.jwk.clone()],
            By::Secret(_) => Vec::new(),
        }
    }
}

impl By {
    async fn of(ctx: &Context, conn: &mut Conn, provider: &Provider) -> Result<Self, SigningError> {
        let no_key = |why: &dyn std::fmt::Display| SigningError::NoKey(format!("provider {}: {why}", provider.name));
        if let Some(pk) = provider.signing_key {
            let found = certificate::by_pk(conn, pk).await?.ok_or_else(|| no_key(&"its key is gone"))?;
            return Ok(Self::Own(OwnSigner(usable(ctx, &found).map_err(|error| no_key(&error))?)));
        }
        if provider.is_proxy() {
            return Ok(Self::Installation(keys(ctx, conn).await?));
        }
        let holding = secrets::holding(ctx, provider).map_err(|error| no_key(&error))?;
        let mut holding = holding.into_iter().map(|(_, secret)| Zeroizing::new(secret));
        let current = holding.next().ok_or_else(|| no_key(&"its client secret has ended"))?;
        if current.len() < SHORTEST_SECRET {
            return Err(no_key(&"its client secret is too short to sign with"));
        }
        Ok(Self::Secret(SecretSigner { current, other: holding.next() }))
    }
}

/// The key pair of a certificate, read once. Otherwise what is wrong with it.
pub(super) fn usable(ctx: &Context, found: &Certificate) -> Result<Arc<OwnKey>, String> {
    let kid = found.kid.as_deref().unwrap_or_default();
    let mark = sha256(&[found.private_key_sealed.as_deref().unwrap_or_default(), kid.as_bytes()].concat());
    if let Some(key) = ctx.signing.own.get(&mark) {
        return Ok(key);
    }
    let private = certificates::private_key(ctx, found).map_err(|error| error.to_string())?;
    let key = Arc::new(OwnKey::read(&private, &found.chain)?.known_as(found.kid.as_deref()));
    ctx.signing.own.insert(mark, Arc::clone(&key));
    Ok(key)
}

/// The claims of a token that this key signed for `issuer` and `audience`, expired or not.
pub(super) fn read_with(
    key: &DecodingKey,
    algorithm: Algorithm,
    kid: Option<&str>,
    token: &str,
    issuer: &str,
    audience: &str,
) -> Option<Map<String, Value>> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    if header.typ.as_deref() != Some(TokenType::Jwt.as_str()) || header.kid.as_deref() != kid {
        return None;
    }
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.set_required_spec_claims(&["iss", "aud"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    jsonwebtoken::decode(token, key, &validation).ok().map(|decoded| decoded.claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-107, OA-122, OA-541: a secret signs with HS256, is never published, and knows its own tokens.
    #[test]
    fn oa_122_a_secret_is_never_published() {
        let signer = |secret: &str| {
            let secret = SecretSigner { current: Zeroizing::new(secret.repeat(40)), other: None };
            Signer { by: By::Secret(secret), encryption: None }
        };
        let claims = json!({"iss": "i", "aud": "a"}).as_object().cloned().unwrap_or_default();
        let token = signer("x").sign(TokenType::Jwt, &claims).expect("signs");
        assert_eq!((signer("x").algorithm(), signer("x").jwks()), ("HS256", Vec::new()));
        assert!(signer("x").read_hint(&token, "i", "a").is_some());
        assert!(signer("y").read_hint(&token, "i", "a").is_none());
        assert!(signer("x").read_hint(&token, "i", "b").is_none());
    }
}
