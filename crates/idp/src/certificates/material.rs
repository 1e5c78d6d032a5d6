//! What is inside of certificates and private keys.

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::sha256;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};

pub(super) const NO_CERTIFICATE: &str = "Unable to load certificate.";
const NO_KEY: &str = "Unable to load private key (possibly encrypted?).";
const MISPLACED: &str = "The private key belongs into key_data: this is shown to everybody.";
const FOREIGN: &str = "The private key does not belong to the certificate.";

/// Types of keys by the algorithm of the public key (RFC 3279 §2.3, RFC 8410 §3).
const KEY_TYPES: [(&str, &str); 6] = [
    ("1.2.840.113549.1.1.1", "rsa"),
    ("1.2.840.113549.1.1.10", "rsa"),
    ("1.2.840.10045.2.1", "ec"),
    ("1.2.840.10040.4.1", "dsa"),
    ("1.3.101.112", "ed25519"),
    ("1.3.101.113", "ed448"),
];

/// A certificate and what it is signed with.
#[derive(Debug)]
pub(super) struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    pub(super) leaf: Leaf,
}

/// What the first certificate says.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) fingerprint_sha256: String,
    pub(super) fingerprint_sha1: String,
    pub(super) subject: String,
    pub(super) expires: Timestamp,
    pub(super) key_type: Option<&'static str>,
}

/// Reads PEM with one certificate or more.
pub(super) fn chain(pem: &str) -> Result<Chain, &'static str> {
    // Parsers of PEM skip what they are not asked for; this text is neither sealed nor secret.
    if pem.contains("PRIVATE KEY-----") {
        return Err(MISPLACED);
    }
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|_| NO_CERTIFICATE)?;
    let mut leaves = certificates.iter().map(leaf).collect::<Result<Vec<_>, _>>()?.into_iter();
    let leaf = leaves.next().ok_or(NO_CERTIFICATE)?;
    Ok(Chain { certificates, leaf })
}

fn leaf(der: &CertificateDer<'_>) -> Result<Leaf, &'static str> {
    let read = x509_cert::Certificate::from_der(der).map_err(|_| NO_CERTIFICATE)?;
    let tbs = read.tbs_certificate();
    let expires = tbs.validity().not_after.to_unix_duration().as_secs();
    let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, der);
    Ok(Leaf {
        fingerprint_sha256: with_colons(&sha256(der)),
        fingerprint_sha1: with_colons(sha1.as_ref()),
        subject: tbs.subject().to_string(),
        expires: Timestamp::from_seconds(i64::try_from(expires).unwrap_or(i64::MAX)),
        key_type: key_type(tbs.subject_public_key_info().algorithm.oid),
    })
}

fn key_type(algorithm: ObjectIdentifier) -> Option<&'static str> {
    let algorithm = algorithm.to_string();
    KEY_TYPES.iter().find(|(known, _)| *known == algorithm).map(|(_, name)| *name)
}

fn with_colons(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Reads PEM with one private key; nothing is none.
pub(super) fn key(pem: &str) -> Result<Option<PrivateKeyDer<'static>>, &'static str> {
    if pem.is_empty() {
        return Ok(None);
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map(Some).map_err(|_| NO_KEY)
}

/// Whether the first certificate is for a host, as a client would judge.
pub(super) fn is_for(pem: &str, host: &str) -> bool {
    let (Ok(leaf), Ok(host)) = (CertificateDer::from_pem_slice(pem.as_bytes()), ServerName::try_from(host)) else {
        return false;
    };
    ParsedCertificate::try_from(&leaf).and_then(|leaf| verify_server_name(&leaf, &host)).is_ok()
}

/// The public key of the first certificate.
pub(super) fn public_key(pem: &str) -> Option<Vec<u8>> {
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let read = x509_cert::Certificate::from_der(&leaf).ok()?;
    read.tbs_certificate().subject_public_key_info().to_der().ok()
}

/// Whether a key can be used, and is that of the first certificate, as those find who serve it.
pub(super) fn belongs(chain: &Chain, key: PrivateKeyDer<'static>) -> Result<(), &'static str> {
    match CertifiedKey::from_der(chain.certificates.clone(), key, &default_provider()) {
        Ok(_) => Ok(()),
        Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(FOREIGN),
        Err(_) => Err(NO_KEY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a pair");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    /// CO-568: a certificate is read with what it is signed with, and tells whose it is, until when, and by which key.
    #[test]
    fn co_568_certificates_are_read() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Ex, Inc.");
        params.distinguished_name.push(rcgen::DnType::CommonName, "a.example");
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let certificate = params.self_signed(&key).expect("a certificate");
        let (other, _) = pair();
        let read = chain(&format!("some words\n{}\n{other}", certificate.pem())).expect("reads");
        assert_eq!(read.certificates.len(), 2);
        assert_eq!(read.leaf.subject, "CN=a.example,O=Ex\\, Inc.");
        assert_eq!(read.leaf.expires.to_string(), "2030-01-02T00:00:00.000000Z");
        assert_eq!(read.leaf.key_type, Some("ec"));
        assert_eq!(read.leaf.fingerprint_sha256, with_colons(&sha256(certificate.der())));
        assert_eq!((read.leaf.fingerprint_sha256.len(), read.leaf.fingerprint_sha1.len()), (95, 59));
    }

    /// CO-568: what is no certificate, or breaks off, or brings its key along, is refused.
    #[test]
    fn co_568_what_is_no_certificate_is_refused() {
        let (certificate, key) = pair();
        let broken = certificate.replacen('M', "A", 3);
        let headless = certificate.replace("BEGIN", "BEGAN");
        let half = &certificate[..certificate.len() / 2];
        for bad in ["", "words", &broken, &headless, half, &format!("{certificate}{broken}")] {
            assert_eq!(chain(bad).expect_err(bad), NO_CERTIFICATE);
        }
        for key in [key.as_str(), "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----"] {
            assert_eq!(chain(&format!("{certificate}{key}")).expect_err("a key"), MISPLACED);
        }
    }

    /// CO-568: a key must be readable and the certificate's own.
    #[test]
    fn co_568_keys_belong_to_their_certificates() {
        let ((certificate, own), (_, foreign)) = (pair(), pair());
        let read = chain(&certificate).expect("reads");
        let parsed = |pem: &str| key(pem).map(|key| key.expect("a key"));
        assert_eq!(belongs(&read, parsed(&own).expect("reads")), Ok(()));
        assert_eq!(belongs(&read, parsed(&foreign).expect("reads")), Err(FOREIGN));
        assert!(key("").expect("none").is_none());
        assert_eq!(key(&certificate).expect_err("no key"), NO_KEY);
        let encrypted = own.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert_eq!(key(&encrypted).expect_err("encrypted"), NO_KEY);
        let broken = parsed("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----").expect("PEM");
        assert_eq!(belongs(&read, broken), Err(NO_KEY));
    }
}
