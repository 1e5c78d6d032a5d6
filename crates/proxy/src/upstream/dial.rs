//! Opens connections to one upstream.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::via::Via;

/// Why no connection came to be.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("connect failed: {0}")]
    Connect(#[source] Arc<io::Error>),
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] Arc<io::Error>),
    #[error("not a host name that a certificate could have")]
    Name,
    #[error("took too long to connect")]
    Timeout,
}

/// Client configurations, made when the first https upstream is met: reading the system's
/// certificates costs tens of milliseconds.
pub(crate) struct Tls {
    authorities: Vec<CertificateDer<'static>>,
    verified: OnceLock<ClientConfig>,
    unverified: OnceLock<ClientConfig>,
}

impl Tls {
    pub(crate) fn new(authorities: Vec<CertificateDer<'static>>) -> Self {
        Self { authorities, verified: OnceLock::new(), unverified: OnceLock::new() }
    }

    pub(crate) fn connector(&self, verify: bool, http1_only: bool) -> TlsConnector {
        let config = if verify {
            self.verified.get_or_init(|| self.verified())
        } else {
            self.unverified.get_or_init(unverified)
        };
        let mut config = config.clone();
        config.alpn_protocols =
            if http1_only { vec![b"http/1.1".to_vec()] } else { vec![b"h2".to_vec(), b"http/1.1".to_vec()] };
        TlsConnector::from(Arc::new(config))
    }

    fn verified(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "cannot read some of the system's certificate authorities");
        }
        roots.add_parsable_certificates(system.certs);
        roots.add_parsable_certificates(self.authorities.iter().cloned());
        if roots.is_empty() {
            tracing::warn!("no certificate authorities: no https upstream can be verified");
        }
        builder().with_root_certificates(roots).with_no_client_auth()
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    #[expect(clippy::expect_used, reason = "the provider supports both versions, always")]
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3 are supported")
}

fn unverified() -> ClientConfig {
    builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(aws_lc_rs::default_provider())))
        .with_no_client_auth()
}

/// Accepts every certificate, for providers with verification off (PX-279).
#[derive(Debug)]
struct AnyCertificate(CryptoProvider);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Connects to one upstream, whatever the request's URI says: over HTTP/2 that is the name the
/// client asked for, and SNI must follow the dialled host (PX-277).
#[derive(Clone)]
pub(crate) struct Dial {
    host: Arc<str>,
    port: u16,
    tls: Option<TlsConnector>,
    limit: Duration,
    via: Option<Via>,
}

impl Dial {
    pub(crate) fn new(authority: &Authority, tls: Option<TlsConnector>, limit: Duration) -> Self {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').into();
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Self { host, port, tls, limit, via: None }
    }

    /// The same through a proxy, if there is one.
    pub(crate) fn through(self, via: Option<Via>) -> Self {
        Self { via, ..self }
    }

    /// A new connection, within the time for that.
    pub(crate) async fn dial(self) -> Result<Stream, DialError> {
        let limit = self.limit;
        tokio::time::timeout(limit, self.connect()).await.map_err(|_| DialError::Timeout)?
    }

    async fn connect(self) -> Result<Stream, DialError> {
        let tcp = match &self.via {
            None => match tokio::net::lookup_host((&*self.host, self.port)).await {
                Ok(addresses) => first_of(addresses.collect(), self.limit).await,
                Err(error) => Err(error),
            },
            Some(via) => via.connect(&self.host, self.port).await,
        };
        let tcp = tcp.and_then(|tcp| crate::tcp::set_up_upstream(&tcp).map(|()| tcp));
        let tcp = tcp.map_err(|error| DialError::Connect(error.into()))?;
        let Some(tls) = self.tls else { return Ok(Stream::Tcp(tcp)) };
        let name = ServerName::try_from(self.host.to_string()).map_err(|_| DialError::Name)?;
        let stream = tls.connect(name, tcp).await.map_err(|error| DialError::Tls(error.into()))?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// Connects to the first of several addresses that answers. None is waited for so long that no time is left for the others;
/// for the last there is what is left.
async fn first_of(addresses: Vec<SocketAddr>, limit: Duration) -> io::Result<TcpStream> {
    let end = Instant::now() + limit;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (address, left) in addresses.iter().zip((1..=u32::try_from(addresses.len()).unwrap_or(u32::MAX)).rev()) {
        let connecting = TcpStream::connect(address);
        let connected = match left {
            1 => connecting.await,
            left => tokio::time::timeout(end.saturating_duration_since(Instant::now()) / left, connecting)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl tower::Service<Uri> for Dial {
    type Response = TokioIo<Stream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { dial.dial().await.map(TokioIo::new) })
    }
}

/// A connection, encrypted or not.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether both sides agreed on HTTP/2.
    pub(crate) fn speaks_http2(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Self::Tcp(_) => false,
        }
    }

    /// Watched by the runtime of this thread from now on, if it is at rest: what a runtime that is busy knows of that is
    /// old. Encrypted ones cannot be moved.
    pub(super) fn moved_here(self) -> io::Result<Self> {
        let Self::Tcp(stream) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let stream = stream.into_std()?;
        match stream.peek(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => TcpStream::from_std(stream).map(Self::Tcp),
            Err(error) => Err(error),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Of the usual client's connections, which speak HTTP/1.1.
impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// PX-283: where an application has several addresses, one that does not answer leaves time for the others.
    #[tokio::test]
    async fn px_283_a_silent_address_leaves_time_for_the_others() {
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let silent = silent.listen(0).unwrap();
        let (dead, alive) = (silent.local_addr().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        // Nobody accepts: at some point the system takes no more.
        let mut waiting = Vec::new();
        while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(dead)).await {
            waiting.push(connected.unwrap());
        }
        let alive = alive.local_addr().unwrap();
        let found = first_of(vec![dead, alive], Duration::from_secs(1)).await.unwrap();
        assert_eq!(found.peer_addr().unwrap(), alive);
        assert!(first_of(Vec::new(), Duration::from_secs(1)).await.is_err());
    }
}
