//! Certificates that we show to clients (section 17 of the proxy specification).

mod certificates;
mod sessions;
mod shown;
mod table;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use self::certificates::Certificates;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// Certificate and key do not fit.
    #[error("cannot use the certificate: {0}")]
    Unusable(#[from] rustls::Error),
}

/// A certificate made now and signed by itself, for names that no provider has one for (PX-300).
///
/// # Errors
/// When a name is no host name.
pub fn self_signed(names: Vec<String>) -> Result<Arc<CertifiedKey>, TlsError> {
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let chain = vec![made.cert.der().clone()];
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?))
}

/// What HTTPS listeners speak: TLS 1.2 and 1.3 with ALPN `h2` and `http/1.1` (PX-302), and the certificate that belongs
/// to the name which the client asks for, or else that of the default brand, or else `otherwise` (PX-300).
///
/// All suites of the library are of the kind that PX-302 wants, and it takes early data only if told to.
///
/// # Errors
/// When the library has no such versions.
pub fn config(certificates: Arc<Certificates>, otherwise: Arc<CertifiedKey>) -> Result<Arc<ServerConfig>, TlsError> {
    let sessions = certificates.sessions();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName { certificates, otherwise }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = sessions;
    Ok(Arc::new(config))
}

/// Chooses a certificate by the name that a client asks for.
#[derive(Debug)]
struct ByName {
    certificates: Arc<Certificates>,
    otherwise: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| self.certificates.find(name));
        Some(found.or_else(|| self.certificates.of_others()).unwrap_or_else(|| Arc::clone(&self.otherwise)))
    }
}

#[cfg(test)]
pub(crate) mod tests;
