//! Keys derived from the instance's root secret, and what is done with them (CO-460, CO-463, CO-464).
//!
//! The root secret never leaves this module. Every purpose has a key of its own, derived with
//! HKDF-SHA-256 under a distinct label, so that a value made for one purpose means nothing for another.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::{digest, hmac};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::entropy::Entropy;

pub use aws_lc_rs::hmac::Key as HmacKey;

/// A SHA-256 or HMAC-SHA-256 value.
pub type Digest = [u8; 32];

/// What a key is for. Labels are part of stored data: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Lookup of API tokens and app passwords.
    TokenLookup,
    /// Lookup of authorization codes, access tokens, refresh tokens.
    GrantLookup,
    /// Lookup of sessions, both of the control plane and of the data plane.
    SessionLookup,
    /// Fingerprint of a credential that made a data-plane session (PX-106).
    CredentialFingerprint,
    /// Cookie values of header-authenticated data-plane sessions.
    SessionValue,
    /// Counters of failed attempts, which name neither addresses nor users (OA-680).
    FailureBucket,
    /// Lookup of users by their attributes (CO-540).
    AttributeLookup,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::TokenLookup => "token-lookup",
            Self::GrantLookup => "grant-lookup",
            Self::SessionLookup => "session-lookup",
            Self::CredentialFingerprint => "credential-fingerprint",
            Self::SessionValue => "session-value",
            Self::FailureBucket => "failure-bucket",
            Self::AttributeLookup => "attribute-lookup",
        }
    }
}

/// All keys of one instance.
pub struct Keyring {
    sealing: LessSafeKey,
    key_id: [u8; 4],
    lookups: [hmac::Key; 7],
}

/// Why sealed bytes could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The bytes were sealed under another root secret.
    #[error("sealed under another secret key")]
    ForeignKey,
    /// The bytes are damaged, or belong to another row or column.
    #[error("sealed value is damaged or belongs elsewhere")]
    Damaged,
}

impl Keyring {
    /// Derives all keys from the root secret, of which at least 32 bytes of entropy are expected.
    pub fn derive(root: &[u8]) -> Self {
        let expand = |label: &str| -> [u8; 32] {
            let mut key = [0; 32];
            let label = [b"portcullis v1 ".as_slice(), label.as_bytes()];
            let filled = Salt::new(HKDF_SHA256, b"portcullis")
                .extract(root)
                .expand(&label, Length32)
                .and_then(|okm| okm.fill(&mut key));
            debug_assert!(filled.is_ok(), "32 bytes are within HKDF's limit");
            key
        };
        let lookup = |purpose: Purpose| {
            let mut key = expand(purpose.label());
            let made = hmac::Key::new(hmac::HMAC_SHA256, &key);
            key.zeroize();
            made
        };
        let mut sealing = expand("sealing");
        let mut key_id = [0; 4];
        key_id.copy_from_slice(&expand("sealing-key-id")[..4]);
        #[expect(clippy::expect_used, reason = "a 32-byte array is a valid AES-256 key")]
        let unbound = UnboundKey::new(&AES_256_GCM, &sealing).expect("32 bytes");
        sealing.zeroize();
        Self {
            sealing: LessSafeKey::new(unbound),
            key_id,
            lookups: [
                lookup(Purpose::TokenLookup),
                lookup(Purpose::GrantLookup),
                lookup(Purpose::SessionLookup),
                lookup(Purpose::CredentialFingerprint),
                lookup(Purpose::SessionValue),
                lookup(Purpose::FailureBucket),
                lookup(Purpose::AttributeLookup),
            ],
        }
    }

    /// The keyed digest of `parts` for one purpose. Parts are length-prefixed: they cannot run together.
    pub fn digest(&self, purpose: Purpose, parts: &[&[u8]]) -> Digest {
        let [token, grant, session, fingerprint, value, failure, attribute] = &self.lookups;
        let key = match purpose {
            Purpose::TokenLookup => token,
            Purpose::GrantLookup => grant,
            Purpose::SessionLookup => session,
            Purpose::CredentialFingerprint => fingerprint,
            Purpose::SessionValue => value,
            Purpose::FailureBucket => failure,
            Purpose::AttributeLookup => attribute,
        };
        keyed_digest(key, parts)
    }

    /// Seals `plain` for one place: `place` names table, row and column, and must be the same to open it.
    ///
    /// Layout: key id (4 bytes), nonce (12), AES-256-GCM ciphertext with its tag.
    pub fn seal(&self, place: &str, plain: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let nonce = entropy.bytes::<NONCE_LEN>();
        let mut body = plain.to_vec();
        let sealed = self.sealing.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.as_bytes()),
            &mut body,
        );
        debug_assert!(sealed.is_ok(), "AES-GCM seals anything below 64 GiB");
        [self.key_id.as_slice(), &nonce, &body].concat()
    }

    /// Opens what [`Keyring::seal`] made for the same place.
    ///
    /// # Errors
    /// [`OpenError`] when the key differs, the bytes are damaged or they were sealed for another place.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (key_id, rest) = sealed.split_first_chunk::<4>().ok_or(OpenError::Damaged)?;
        if *key_id != self.key_id {
            return Err(OpenError::ForeignKey);
        }
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Damaged)?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .sealing
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut body)
            .map_err(|_| OpenError::Damaged)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring([REDACTED])")
    }
}

struct Length32;
impl KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

/// A fresh key for digests that need not outlive the process.
pub fn process_key(entropy: &dyn Entropy) -> HmacKey {
    hmac::Key::new(hmac::HMAC_SHA256, &entropy.bytes::<32>())
}

/// HMAC-SHA-256 over length-prefixed parts.
pub fn keyed_digest(key: &HmacKey, parts: &[&[u8]]) -> Digest {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// A key for digests that are shorter and quicker than HMAC's, and need not outlive the process.
///
/// They are tags of AES-256-GCM-SIV (RFC 8452) over nothing but associated data. With one nonce for many texts, which
/// this cipher is made for, tags say nothing but which texts are equal.
pub struct QuickKey(LessSafeKey);

/// A digest by a [`QuickKey`].
pub type QuickDigest = [u8; 16];

impl QuickKey {
    /// A fresh key.
    #[expect(clippy::expect_used, reason = "the key has the length that the cipher asks for")]
    pub fn new(entropy: &dyn Entropy) -> Self {
        let key = UnboundKey::new(&AES_256_GCM_SIV, &entropy.bytes::<32>()).expect("32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// The digest of `text` for one use; none if it is beyond what the cipher takes, 64 GiB.
    pub fn digest(&self, of: [u8; NONCE_LEN], text: &[u8]) -> Option<QuickDigest> {
        let nonce = Nonce::assume_unique_for_key(of);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(text), &mut []).ok()?;
        tag.as_ref().try_into().ok()
    }
}

/// SHA-512 in hex.
pub fn sha512_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA512, bytes).as_ref())
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Compares two secrets in constant time, whatever their lengths (OA-007).
pub fn same_secret(left: &[u8], right: &[u8]) -> bool {
    sha256(left).ct_eq(&sha256(right)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    /// CO-464: a sealed value opens only in its own row and column, and only under its own root secret.
    #[test]
    fn co_464_sealed_values_open_only_where_they_belong() {
        let keys = Keyring::derive(b"0123456789abcdef0123456789abcdef");
        let sealed = keys.seal("token:1:key", b"open sesame", &SystemEntropy);
        assert_eq!(keys.open("token:1:key", &sealed).as_deref(), Ok(b"open sesame".as_slice()));
        assert_eq!(keys.open("token:2:key", &sealed), Err(OpenError::Damaged));
        let other = Keyring::derive(b"another root secret, just as long");
        assert_eq!(other.open("token:1:key", &sealed), Err(OpenError::ForeignKey));
        assert!(!sealed.windows(4).any(|w| w == b"open"));
        assert_eq!(keys.open("token:1:key", b"abc"), Err(OpenError::Damaged));
    }

    /// CO-460: purposes have separate keys, and parts of a digest do not run together.
    #[test]
    fn co_460_digests_differ_by_purpose_and_by_split() {
        let keys = Keyring::derive(b"0123456789abcdef0123456789abcdef");
        let a = keys.digest(Purpose::TokenLookup, &[b"ab", b"c"]);
        assert_ne!(a, keys.digest(Purpose::GrantLookup, &[b"ab", b"c"]));
        assert_ne!(a, keys.digest(Purpose::TokenLookup, &[b"a", b"bc"]));
    }

    /// PX-106: quick digests differ by key, by use and by text, and are the same for the same.
    #[test]
    fn px_106_quick_digests_differ_by_key_use_and_text() {
        let (key, other) = (QuickKey::new(&SystemEntropy), QuickKey::new(&SystemEntropy));
        let digest = key.digest([1; 12], b"Basic YTpi");
        assert!(digest.is_some());
        assert_eq!(digest, key.digest([1; 12], b"Basic YTpi"));
        for different in [
            other.digest([1; 12], b"Basic YTpi"),
            key.digest([2; 12], b"Basic YTpi"),
            key.digest([1; 12], b"Basic YTpj"),
        ] {
            assert_ne!(digest, different);
        }
    }

    /// OA-007, OA-802: secrets of any length compare equal only to themselves, the empty one included.
    #[test]
    fn oa_007_secrets_compare_by_digest() {
        assert!(same_secret(b"", b""));
        assert!(same_secret("pässword".as_bytes(), "pässword".as_bytes()));
        assert!(!same_secret(b"a", b"ab"));
    }
}
