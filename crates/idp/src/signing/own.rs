//! Key pairs that administrators bring, and providers name (OA-033).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use portcullis_core::keys::sha256;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::PublicKey;

const UNUSABLE: &str = "Only RSA keys of at least 2048 bits and EC keys on P-256 or P-384 can sign.";
const NO_KEY: &str = "The certificate has no private key.";

/// A key pair that can sign.
pub(super) struct OwnKey {
    pub(super) algorithm: Algorithm,
    pub(super) kid: String,
    pub(super) decoding: DecodingKey,
    /// Published form, with what the certificate says.
    pub(super) jwk: Value,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// Whether a key pair can sign tokens, both parts in PEM.
///
/// # Errors
/// What is wrong with it, in words for whoever chose it.
pub fn check(private_key: &str, chain: &str) -> Result<(), &'static str> {
    OwnKey::read(private_key, chain).map(drop)
}

impl OwnKey {
    pub(super) fn read(private_key: &str, chain: &str) -> Result<Self, &'static str> {
        if private_key.is_empty() {
            return Err(NO_KEY);
        }
        let key = PrivateKeyDer::from_pem_slice(private_key.as_bytes()).map_err(|_| UNUSABLE)?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).filter_map(Result::ok).collect();
        let rsa = match &key {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok(),
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
            _ => None,
        };
        match rsa {
            Some(pair) if pair.public_modulus_len() >= 256 => Ok(Self::rsa(pair, &certificates)),
            Some(_) => Err(UNUSABLE),
            None => Self::ec(&key, &certificates).ok_or(UNUSABLE),
        }
    }

    /// The same key under the name by which clients know it already (OA-932).
    pub(super) fn known_as(mut self, kid: Option<&str>) -> Self {
        if let Some(kid) = kid {
            self.kid = kid.to_owned();
            if let Some(members) = self.jwk.as_object_mut() {
                members.insert("kid".to_owned(), kid.into());
            }
        }
        self
    }

    fn rsa(pair: RsaKeyPair, certificates: &[CertificateDer<'_>]) -> Self {
        let public = PublicKey::of(&pair, String::new(), Vec::new());
        let kid = public.thumbprint();
        let jwk = json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid,
            "n": URL_SAFE_NO_PAD.encode(&public.modulus),
            "e": URL_SAFE_NO_PAD.encode(&public.exponent),
        });
        Self {
            algorithm: Algorithm::RS256,
            kid,
            decoding: DecodingKey::from_rsa_raw_components(&public.modulus, &public.exponent),
            jwk: certified(jwk, certificates),
            pair: Pair::Rsa(pair),
        }
    }

    fn ec(key: &PrivateKeyDer<'_>, certificates: &[CertificateDer<'_>]) -> Option<Self> {
        let curves: [(&'static EcdsaSigningAlgorithm, Algorithm, &str, &str); 2] = [
            (&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256, "P-256", "ES256"),
            (&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384, "P-384", "ES384"),
        ];
        let (pair, algorithm, curve, alg) = curves.into_iter().find_map(|(signing, algorithm, curve, alg)| {
            let pair = match key {
                PrivateKeyDer::Pkcs8(der) => EcdsaKeyPair::from_pkcs8(signing, der.secret_pkcs8_der()).ok(),
                other => EcdsaKeyPair::from_private_key_der(signing, other.secret_der()).ok(),
            };
            Some((pair?, algorithm, curve, alg))
        })?;
        // An uncompressed point: 4, then both coordinates, each as long as the field.
        let (_, point) = pair.public_key().as_ref().split_first()?;
        let (x, y) = point.split_at_checked(point.len() / 2)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let decoding = DecodingKey::from_ec_components(&x, &y).ok()?;
        // RFC 7638 §3: required members in lexical order.
        let thumbprint = sha256(format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        let jwk = json!({"kty": "EC", "alg": alg, "use": "sig", "kid": kid, "crv": curve, "x": x, "y": y});
        Some(Self { algorithm, kid, decoding, jwk: certified(jwk, certificates), pair: Pair::Ec(pair) })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                // PKCS#1 v1.5 is deterministic: the generator is not drawn from.
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
                Some(signature)
            }
            // The library draws the nonce itself; nobody could test for a certain one.
            Pair::Ec(pair) => Some(pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec()),
        }
    }
}

/// Adds the certificates to a published key (OA-121).
pub(super) fn certified(mut jwk: Value, certificates: &[CertificateDer<'_>]) -> Value {
    let (Some(leaf), Some(members)) = (certificates.first(), jwk.as_object_mut()) else { return jwk };
    // RFC 7517 §4.8: the SHA-1 thumbprint is named by the format; nothing rests on it.
    let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, leaf);
    let chain: Vec<_> = certificates.iter().map(|certificate| STANDARD.encode(certificate)).collect();
    members.insert("x5c".to_owned(), json!(chain));
    members.insert("x5t".to_owned(), json!(URL_SAFE_NO_PAD.encode(sha1.as_ref())));
    members.insert("x5t#S256".to_owned(), json!(URL_SAFE_NO_PAD.encode(sha256(leaf))));
    jwk
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
        (key.serialize_pem(), certificate.pem())
    }

    /// OA-033, OA-121: RSA, P-256 and P-384 keys sign with the algorithm of their own, and what they sign verifies.
    #[test]
    fn oa_033_keys_sign_with_their_own_algorithm() {
        for (algorithm, expected, length) in [
            (&rcgen::PKCS_RSA_SHA256, Algorithm::RS256, 256),
            (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256, 64),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::ES384, 96),
        ] {
            let (key, certificate) = made(algorithm);
            let key = OwnKey::read(&key, &certificate).expect("usable");
            assert_eq!(key.algorithm, expected);
            let signature = key.sign(b"message").expect("signs");
            assert_eq!(signature.len(), length);
            let encoded = URL_SAFE_NO_PAD.encode(&signature);
            let verified = jsonwebtoken::crypto::verify(&encoded, b"message", &key.decoding, expected);
            assert!(verified.expect("verifies"));
            assert!(["d", "p", "q"].iter().all(|private| key.jwk.get(*private).is_none()));
            assert_eq!(key.jwk["kid"], key.kid.as_str());
            assert!(key.jwk["x5c"][0].is_string());
        }
    }

    /// OA-033: P-521 and Ed25519 keys, and certificates without a key, cannot sign.
    #[test]
    fn oa_033_other_keys_cannot_sign() {
        for algorithm in [&rcgen::PKCS_ECDSA_P521_SHA512, &rcgen::PKCS_ED25519] {
            let (key, certificate) = made(algorithm);
            assert_eq!(check(&key, &certificate), Err(UNUSABLE));
        }
        assert_eq!(check("", ""), Err(NO_KEY));
        assert_eq!(check("words", ""), Err(UNUSABLE));
    }
}
