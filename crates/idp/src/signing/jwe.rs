//! Encrypted tokens (OA-130): JWE in its compact form, with `RSA-OAEP-256` and `A256CBC-HS512` and nothing else
//! (RFC 7516, RFC 7518 §4.3 and §5.2).

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey, PublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::entropy::Entropy;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// `alg`: how the key of the content is encrypted.
pub const ALG: &str = "RSA-OAEP-256";
/// `enc`: how the content is.
pub const ENC: &str = "A256CBC-HS512";

/// Length of the content's key, of which the first half authenticates and the second half encrypts, in bytes.
const KEY: usize = 64;
/// Length of the initial vector, in bytes.
const IV: usize = 16;
/// Length of the tag: half of the authentication code, in bytes.
const TAG: usize = 32;
/// Smallest modulus, in bytes (OA-746).
const SMALLEST_MODULUS: usize = 256;
/// Longer texts are not decrypted, in bytes.
const LONGEST: usize = 128 * 1024;

/// A public key that is encrypted to.
pub(super) struct Recipient {
    key: OaepPublicEncryptingKey,
    pub(super) modulus: Vec<u8>,
    pub(super) exponent: Vec<u8>,
}

impl Recipient {
    /// Reads a `SubjectPublicKeyInfo` in DER; none unless it is an RSA key of at least 2048 bits.
    pub(super) fn of(public_key: &[u8]) -> Option<Self> {
        let parts = PublicKey::from_der(public_key).ok()?;
        let modulus = parts.modulus().big_endian_without_leading_zero().to_vec();
        let exponent = parts.exponent().big_endian_without_leading_zero().to_vec();
        if modulus.len() < SMALLEST_MODULUS {
            return None;
        }
        let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public_key).ok()?).ok()?;
        Some(Self { key, modulus, exponent })
    }

    /// Encrypts a signed token (RFC 7516 §5.1, RFC 7519 §5.2). None when the library refuses.
    pub(super) fn encrypt(&self, entropy: &dyn Entropy, kid: &str, signed: &str) -> Option<String> {
        let header = json!({"alg": ALG, "enc": ENC, "typ": "JWE", "cty": "JWT", "kid": kid}).to_string();
        let header = URL_SAFE_NO_PAD.encode(header);
        let key = Zeroizing::new(entropy.bytes::<KEY>());
        let mut sealed_key = vec![0; self.key.ciphertext_size()];
        // The padding of the key draws its own random bytes.
        let sealed_key = self.key.encrypt(&OAEP_SHA256_MGF1SHA256, &*key, &mut sealed_key, None).ok()?;
        let iv = entropy.bytes::<IV>();
        let (content, tag) = seal(&key, &iv, header.as_bytes(), signed.as_bytes())?;
        let parts: [&[u8]; 4] = [sealed_key, &iv, &content, &tag];
        Some(parts.iter().fold(header, |text, part| text + "." + &URL_SAFE_NO_PAD.encode(part)))
    }
}

/// A private key that opens what was encrypted to its public half.
pub(super) struct Opener(OaepPrivateDecryptingKey);

impl Opener {
    /// Reads a private key in PEM; none unless it is of RSA.
    pub(super) fn read(private_key: &str) -> Option<Self> {
        let pair = match PrivateKeyDer::from_pem_slice(private_key.as_bytes()).ok()? {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?,
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()).ok()?,
            _ => return None,
        };
        let der: Pkcs8V1Der<'_> = pair.as_der().ok()?;
        let key = PrivateDecryptingKey::from_pkcs8(der.as_ref()).ok()?;
        OaepPrivateDecryptingKey::new(key).ok().map(Self)
    }

    /// Opens a token that was encrypted here with this `kid`: the signed token in it. Why one cannot be opened nobody
    /// learns (RFC 7516 §11.5).
    pub(super) fn decrypt(&self, kid: &str, text: &str) -> Option<String> {
        let Self(private) = self;
        let parts = Parts::of(text)?;
        if !parts.is_ours(kid) {
            return None;
        }
        let mut room = Zeroizing::new(vec![0; private.min_output_size()]);
        let opened = private.decrypt(&OAEP_SHA256_MGF1SHA256, &parts.key, &mut room, None).ok();
        // A key that cannot be opened takes as long as one whose tag does not fit; whatever fits then counts for nothing, as
        // everybody knows the key in its place.
        let mut key = Zeroizing::new([0; KEY]);
        let is_opened = match opened {
            Some(opened) if opened.len() == KEY => {
                key.copy_from_slice(opened);
                true
            }
            _ => false,
        };
        let content = open(&key, &parts.iv, parts.protected.as_bytes(), &parts.content, &parts.tag);
        String::from_utf8(content.filter(|_| is_opened)?).ok()
    }
}

/// Opens a token with a private key in PEM, as its client does: the signed token in it, if it was encrypted with this `kid`.
pub fn decrypted(private_key: &str, kid: &str, token: &str) -> Option<String> {
    Opener::read(private_key)?.decrypt(kid, token)
}

/// Whether a text has the form of an encrypted token: five parts.
pub fn has_form(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 4
}

struct Parts<'a> {
    protected: &'a str,
    header: Map<String, Value>,
    key: Vec<u8>,
    iv: [u8; IV],
    content: Vec<u8>,
    tag: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut parts = text.split('.');
        let protected = parts.next()?;
        let mut bytes = || URL_SAFE_NO_PAD.decode(parts.next()?).ok();
        let (key, iv, content, tag) = (bytes()?, bytes()?, bytes()?, bytes()?);
        if parts.next().is_some() {
            return None;
        }
        let header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(protected).ok()?).ok()?;
        Some(Self { protected, header, key, iv: iv.try_into().ok()?, content, tag })
    }

    /// One algorithm of each kind, no compression, no extensions, no other key (OA-746).
    fn is_ours(&self, kid: &str) -> bool {
        let says = |name: &str, value: &str| self.header.get(name).and_then(Value::as_str) == Some(value);
        says("alg", ALG)
            && says("enc", ENC)
            && says("kid", kid)
            && says("cty", "JWT")
            && !self.header.contains_key("zip")
            && !self.header.contains_key("crit")
    }
}

/// RFC 7518 §5.2.2.1: content and tag.
fn seal(key: &[u8; KEY], iv: &[u8; IV], associated: &[u8], plain: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mac, encryption) = halves(key)?;
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, encryption).ok()?).ok()?;
    let mut content = plain.to_vec();
    cipher.less_safe_encrypt(&mut content, EncryptionContext::Iv128(FixedLength::from(iv))).ok()?;
    let tag = tag(mac, iv, associated, &content)?;
    Some((content, tag))
}

/// RFC 7518 §5.2.2.2: what is not authentic is not decrypted.
fn open(key: &[u8; KEY], iv: &[u8; IV], associated: &[u8], content: &[u8], shown: &[u8]) -> Option<Vec<u8>> {
    let (mac, encryption) = halves(key)?;
    verify_slices_are_equal(&tag(mac, iv, associated, content)?, shown).ok()?;
    let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, encryption).ok()?).ok()?;
    let mut content = content.to_vec();
    let plain = cipher.decrypt(&mut content, DecryptionContext::Iv128(FixedLength::from(iv))).ok()?;
    Some(plain.to_vec())
}

fn halves(key: &[u8; KEY]) -> Option<(&[u8], &[u8])> {
    key.split_at_checked(KEY / 2)
}

/// The first half of HMAC-SHA-512 over associated data, vector, content, and the length of the first in bits.
fn tag(mac: &[u8], iv: &[u8; IV], associated: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA512, mac));
    let bits = u64::try_from(associated.len()).ok()?.checked_mul(8)?;
    for part in [associated, iv, content, &bits.to_be_bytes()] {
        context.update(part);
    }
    context.sign().as_ref().get(..TAG).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests;
