//! One certificate, ready to be shown.

use std::sync::Arc;

use portcullis_core::clock::Timestamp;
use portcullis_core::outpost::Certificate;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

/// A certificate that can be shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) name: String,
    pub(super) expires: Timestamp,
}

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the certificate is no PEM")]
    Chain,
    #[error("the private key is no PEM")]
    Key,
    #[error("{0}")]
    Unusable(#[from] rustls::Error),
}

impl Shown {
    /// Reads a certificate that has a private key.
    pub(super) fn read(certificate: &Certificate) -> Result<Self, Broken> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| Broken::Chain)?;
        if chain.is_empty() {
            return Err(Broken::Chain);
        }
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).map_err(|_| Broken::Key)?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
        Ok(Self { key: Arc::new(key), name: certificate.name.clone(), expires: certificate.expires })
    }

    /// Whether it is for this host, as a client would judge.
    pub(super) fn covers(&self, host: &str) -> bool {
        let Ok(host) = ServerName::try_from(host) else { return false };
        let leaf = self.key.end_entity_cert().and_then(ParsedCertificate::try_from);
        leaf.and_then(|leaf| verify_server_name(&leaf, &host)).is_ok()
    }
}
