//! Security keys and passkeys (W3C Web Authentication Level 3; CO-315, CO-316): what a browser brings back from an
//! authenticator, examined.
//!
//! Pure functions over bytes that a stranger sent. Attestation is not asked for, and nothing rests on it: that a key was
//! made by this or that vendor is nobody's claim here.

mod cbor;
mod data;
mod key;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use url::{Host, Url};
use uuid::Uuid;

use crate::keys::{same_secret, sha256};
use cbor::Reader;
use data::AuthenticatorData;
use key::PublicKey;

pub use key::{ALGORITHMS, EDDSA, ES256, RS256};

/// Bytes of a challenge.
pub const CHALLENGE_BYTES: usize = 32;
/// Longest answer that is looked at, in bytes, of each of its parts.
const LONGEST: usize = 64 * 1024;

/// Whom credentials are for: this site, as browsers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelyingParty {
    /// The host name, without a port.
    pub id: String,
    /// Scheme, host, and port unless it goes without saying.
    pub origin: String,
}

impl RelyingParty {
    /// The site at this URL (CO-506). None when its host is an address: browsers make keys for names only.
    pub fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        match url.host()? {
            Host::Domain(name) => Some(Self { id: name.to_owned(), origin: url.origin().ascii_serialization() }),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }
}

/// How far an authenticator has to know its owner: by a PIN, a finger, a face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserVerification {
    /// Nothing is accepted without.
    Required,
    /// As the authenticator can.
    Optional,
}

/// One ceremony: whom it is for, and what was asked.
#[derive(Clone, Copy, Debug)]
pub struct Ceremony<'a> {
    /// This site.
    pub rp: &'a RelyingParty,
    /// The challenge that was sent.
    pub challenge: &'a [u8],
    /// Whether the owner must have been verified.
    pub user_verification: UserVerification,
}

/// A credential that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its id, chosen by the authenticator; at most 1023 bytes.
    pub credential_id: Vec<u8>,
    /// Its public key, as a COSE key.
    pub public_key: Vec<u8>,
    /// The model of the authenticator, as far as it says so; zero otherwise.
    pub aaguid: Uuid,
    /// How often it was used.
    pub sign_count: u32,
    /// Whether a copy is kept elsewhere, by whoever synchronizes passkeys.
    pub backed_up: bool,
}

/// A credential that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// How often it was used; zero when the authenticator does not count.
    pub sign_count: u32,
    /// Whether the authenticator knew its owner.
    pub user_verified: bool,
}

/// Why an answer does not count. Its text is for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It cannot be read.
    #[error("the answer cannot be read")]
    Unreadable,
    /// It answers another kind of question.
    #[error("the answer is for another ceremony")]
    Kind,
    /// It answers another question.
    #[error("the answer is to another challenge")]
    Challenge,
    /// It was given to another site.
    #[error("the answer was given to another origin")]
    Origin,
    /// The credential is another site's.
    #[error("the credential is for another site")]
    RelyingParty,
    /// Nobody touched the authenticator.
    #[error("nobody was there")]
    NotPresent,
    /// The authenticator does not know who touched it.
    #[error("the user was not verified")]
    NotVerified,
    /// It is signed by another key.
    #[error("the signature does not verify")]
    Signature,
}

/// What the browser says about a ceremony (§5.8.1). Members that are there twice make it unreadable.
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
}

impl Ceremony<'_> {
    /// Examines a new credential (§7.1).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn register(&self, client_data: &[u8], attestation_object: &[u8]) -> Result<Registered, Refused> {
        self.client_data("webauthn.create", client_data)?;
        let object = Attestation::read(attestation_object).ok_or(Refused::Unreadable)?;
        let data = self.authenticator_data(object.data)?;
        let attested = data.attested.as_ref().ok_or(Refused::Unreadable)?;
        // An authenticator that vouches for itself shows that it has the private key.
        if let Some((algorithm, signature)) = object.own {
            let signed = [object.data, &sha256(client_data)].concat();
            if algorithm != attested.key.algorithm || !attested.key.verifies(&signed, signature) {
                return Err(Refused::Signature);
            }
        }
        Ok(Registered {
            credential_id: attested.credential_id.to_vec(),
            public_key: attested.encoded.to_vec(),
            aaguid: attested.aaguid,
            sign_count: data.sign_count,
            backed_up: data.is_backed_up(),
        })
    }

    /// Examines that a credential is shown (§7.2), by its public key. Whether its count has grown is for whoever keeps it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(
        &self,
        public_key: &[u8],
        client_data: &[u8],
        authenticator_data: &[u8],
        signature: &[u8],
    ) -> Result<Shown, Refused> {
        self.client_data("webauthn.get", client_data)?;
        let data = self.authenticator_data(authenticator_data)?;
        let key = PublicKey::kept(public_key).ok_or(Refused::Unreadable)?;
        let signed = [authenticator_data, &sha256(client_data)].concat();
        if !key.verifies(&signed, signature) {
            return Err(Refused::Signature);
        }
        Ok(Shown { sign_count: data.sign_count, user_verified: data.user_verified() })
    }

    fn client_data(&self, kind: &str, bytes: &[u8]) -> Result<(), Refused> {
        if bytes.len() > LONGEST {
            return Err(Refused::Unreadable);
        }
        let data: ClientData = serde_json::from_slice(bytes).map_err(|_| Refused::Unreadable)?;
        let challenge = URL_SAFE_NO_PAD.encode(self.challenge);
        if data.kind != kind {
            Err(Refused::Kind)
        } else if self.challenge.len() != CHALLENGE_BYTES
            || !same_secret(data.challenge.as_bytes(), challenge.as_bytes())
        {
            Err(Refused::Challenge)
        } else if data.origin != self.rp.origin || data.cross_origin {
            // Nor in a frame of somebody else's page.
            Err(Refused::Origin)
        } else {
            Ok(())
        }
    }

    fn authenticator_data<'a>(&self, bytes: &'a [u8]) -> Result<AuthenticatorData<'a>, Refused> {
        let data = Some(bytes).filter(|bytes| bytes.len() <= LONGEST).and_then(AuthenticatorData::read);
        let data = data.ok_or(Refused::Unreadable)?;
        if data.rp_id_hash != sha256(self.rp.id.as_bytes()) {
            Err(Refused::RelyingParty)
        } else if !data.user_present() {
            Err(Refused::NotPresent)
        } else if self.user_verification == UserVerification::Required && !data.user_verified() {
            Err(Refused::NotVerified)
        } else {
            Ok(data)
        }
    }
}

/// An attestation object (§6.5.4).
struct Attestation<'a> {
    data: &'a [u8],
    /// Algorithm and signature of an authenticator that vouches for itself (§8.2).
    own: Option<(i64, &'a [u8])>,
}

impl<'a> Attestation<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Some(bytes).filter(|bytes| bytes.len() <= LONGEST).map(Reader::new)?;
        let (mut format, mut statement, mut data) = (None, None, None);
        let members = reader.map().filter(|members| *members <= 8)?;
        for _ in 0..members {
            let twice = match reader.text()? {
                "fmt" => format.replace(reader.text()?).is_some(),
                "attStmt" => statement.replace(reader.skip()?).is_some(),
                "authData" => data.replace(reader.bytes()?).is_some(),
                _ => reader.skip().is_none(),
            };
            if twice {
                return None;
            }
        }
        if !reader.rest().is_empty() {
            return None;
        }
        let (format, mut statement) = (format?, Reader::new(statement?));
        let members = statement.map().filter(|members| *members <= 8)?;
        let own = match format {
            "none" if members == 0 => None,
            "none" => return None,
            "packed" => own_statement(statement, members)?,
            // Vouched for by somebody whom nobody asked.
            _ => None,
        };
        Some(Self { data: data?, own })
    }
}

/// Algorithm and signature of a `packed` statement, if it is without certificates.
fn own_statement(mut reader: Reader<'_>, members: u64) -> Option<Option<(i64, &[u8])>> {
    let (mut algorithm, mut signature, mut certified) = (None, None, false);
    for _ in 0..members {
        match reader.text()? {
            "alg" => algorithm = Some(reader.integer()?),
            "sig" => signature = Some(reader.bytes()?),
            "x5c" => {
                reader.skip()?;
                certified = true;
            }
            _ => drop(reader.skip()?),
        }
    }
    let found = (algorithm?, signature?);
    Some((!certified).then_some(found))
}

/// Bytes of an answer, in base64 of either alphabet, padded or not: clients write both.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.trim_end_matches('=').chars().map(|c| if c == '+' { '-' } else { c }).collect();
    URL_SAFE_NO_PAD.decode(text.replace('/', "_")).ok()
}
