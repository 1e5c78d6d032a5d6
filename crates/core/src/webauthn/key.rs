//! Public keys of credentials (RFC 9052 §7, RFC 9053; WebAuthn Level 3 §5.8.5), verified by aws-lc-rs.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};

use super::cbor::Reader;

/// ECDSA with P-256 and SHA-256.
pub const ES256: i64 = -7;
/// Ed25519.
pub const EDDSA: i64 = -8;
/// RSASSA-PKCS1-v1_5 with SHA-256.
pub const RS256: i64 = -257;
/// Algorithms of credentials, best first.
pub const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];

/// Members of a key that may be looked at; there are five of interest.
const MOST_MEMBERS: u64 = 16;

/// A public key that is one.
#[derive(Debug)]
pub(super) struct PublicKey {
    pub(super) algorithm: i64,
    key: ParsedPublicKey,
}

/// What the members of a COSE key say. Labels -1 to -3 mean one thing per type.
#[derive(Default)]
struct Members<'a> {
    kind: Option<i64>,
    algorithm: Option<i64>,
    curve: Option<i64>,
    first: Option<&'a [u8]>,
    second: Option<&'a [u8]>,
    third: Option<&'a [u8]>,
}

impl PublicKey {
    /// Reads a COSE key, and no further.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let members = Members::read(reader)?;
        let key = match (members.kind?, members.algorithm?, members.curve) {
            // EC2 on P-256: both coordinates, uncompressed. aws-lc refuses what is no point on the curve.
            (2, ES256, Some(1)) => {
                let (x, y) = (members.second?, members.third?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                let point = [&[4], x, y].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).ok()?
            }
            // OKP on Ed25519.
            (1, EDDSA, Some(6)) => {
                let x = members.second.filter(|x| x.len() == 32)?;
                ParsedPublicKey::new(&ED25519, x).ok()?
            }
            // RSA: modulus and exponent, without leading zeros.
            (3, RS256, None) => {
                let (n, e) = (members.first?, members.second?);
                let sound = matches!(n.len(), 256..=1024) && matches!(e.len(), 1..=8) && e.last()? % 2 == 1;
                if !sound || n.first() == Some(&0) || e.first() == Some(&0) || e == [1] {
                    return None;
                }
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?
            }
            _ => return None,
        };
        Some(Self { algorithm: members.algorithm?, key })
    }

    /// The key that was kept, whole.
    pub(super) fn kept(encoded: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(encoded);
        let key = Self::read(&mut reader)?;
        reader.rest().is_empty().then_some(key)
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl<'a> Members<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut members = Self::default();
        let count = reader.map().filter(|count| *count <= MOST_MEMBERS)?;
        for _ in 0..count {
            match reader.integer()? {
                1 => once(&mut members.kind, reader.integer()?)?,
                3 => once(&mut members.algorithm, reader.integer()?)?,
                // A curve, or the modulus of RSA.
                -1 => {
                    let mut ahead = *reader;
                    match ahead.integer() {
                        Some(curve) => {
                            *reader = ahead;
                            once(&mut members.curve, curve)?;
                        }
                        None => once(&mut members.first, reader.bytes()?)?,
                    }
                }
                -2 => once(&mut members.second, reader.bytes()?)?,
                -3 => once(&mut members.third, reader.bytes()?)?,
                _ => drop(reader.skip()?),
            }
        }
        Some(members)
    }
}

/// A member that is there twice means nothing.
fn once<T>(member: &mut Option<T>, value: T) -> Option<()> {
    member.replace(value).is_none().then_some(())
}
