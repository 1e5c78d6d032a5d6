//! Whom the tokens of a provider are encrypted to (OA-034, OA-130).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::keys::sha256;
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, certificate};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use x509_cert::der::{Decode, Encode};

use super::jwe::{self, ALG, ENC, Recipient};
use super::own::certified;
use super::{PublicKey, SigningError};
use crate::certificates;
use crate::context::Context;
use crate::error::Error;

const UNUSABLE: &str = "Only to certificates with RSA keys of at least 2048 bits tokens can be encrypted.";

/// The public half of a certificate that tokens are encrypted to.
pub(crate) struct Encryption {
    pub(super) recipient: Recipient,
    pub(super) kid: String,
    /// Published form, with what the certificate says.
    pub(super) jwk: Value,
}

/// Whether tokens can be encrypted to a certificate in PEM.
///
/// # Errors
/// What is wrong with it, in words for whoever chose it.
pub fn check_recipient(chain: &str) -> Result<(), &'static str> {
    Encryption::read(chain).map(drop)
}

impl Encryption {
    fn read(chain: &str) -> Result<Self, &'static str> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).filter_map(Result::ok).collect();
        let leaf = certificates.first().ok_or(UNUSABLE)?;
        let read = x509_cert::Certificate::from_der(leaf).map_err(|_| UNUSABLE)?;
        let public = read.tbs_certificate().subject_public_key_info().to_der().map_err(|_| UNUSABLE)?;
        let recipient = Recipient::of(&public).ok_or(UNUSABLE)?;
        let (modulus, exponent) = (recipient.modulus.clone(), recipient.exponent.clone());
        let kid = PublicKey { kid: String::new(), modulus, exponent, certificate: Vec::new() }.thumbprint();
        let jwk = json!({
            "kty": "RSA", "alg": ALG, "enc": ENC, "use": "enc", "kid": kid,
            "n": URL_SAFE_NO_PAD.encode(&recipient.modulus),
            "e": URL_SAFE_NO_PAD.encode(&recipient.exponent),
        });
        Ok(Self { recipient, kid, jwk: certified(jwk, &certificates) })
    }

    /// What the tokens of this provider are encrypted to, if they are. A key that is named and cannot be used is an error:
    /// nothing is issued in the clear in its place.
    ///
    /// # Errors
    /// [`SigningError`].
    pub(super) async fn of(
        ctx: &Context,
        conn: &mut Conn,
        provider: &Provider,
    ) -> Result<Option<Arc<Self>>, SigningError> {
        let Some(pk) = provider.encryption_key else { return Ok(None) };
        let no_key = |why: &str| SigningError::NoKey(format!("provider {}: {why}", provider.name));
        let found = certificate::by_pk(conn, pk).await?.ok_or_else(|| no_key("its encryption key is gone"))?;
        let mark = sha256(found.chain.as_bytes());
        if let Some(known) = ctx.signing.encryption.get(&mark) {
            return Ok(Some(known));
        }
        let read = Arc::new(Self::read(&found.chain).map_err(no_key)?);
        ctx.signing.encryption.insert(mark, Arc::clone(&read));
        Ok(Some(read))
    }
}

/// The signed token in one that was encrypted for this provider's client; none without the private half of the key, which
/// need not be here.
///
/// # Errors
/// When the store fails, or the private key cannot be unsealed.
pub(crate) async fn opened(
    ctx: &Context,
    conn: &mut Conn,
    provider: &Provider,
    token: &str,
) -> Result<Option<String>, Error> {
    let encryption = match Encryption::of(ctx, conn, provider).await {
        Ok(Some(encryption)) => encryption,
        Ok(None) | Err(SigningError::NoKey(_)) => return Ok(None),
        Err(SigningError::Store(error)) => return Err(error.into()),
    };
    let Some(pk) = provider.encryption_key else { return Ok(None) };
    let Some(found) = certificate::by_pk(conn, pk).await? else { return Ok(None) };
    let private = certificates::private_key(ctx, &found)?;
    Ok(jwe::decrypted(&private, &encryption.kid, token))
}
