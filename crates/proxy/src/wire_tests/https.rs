//! HTTPS: which certificate is shown, what is spoken, and the PROXY protocol in front of it.

use portcullis_core::clock::Timestamp;
use portcullis_core::outpost::Certificate;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::tls::Certificates;
use crate::tls::tests::{configuration, pair};

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

async fn https(certificates: &Arc<Certificates>) -> Site {
    site_with(Options { https: true, certificates: Arc::clone(certificates), ..Options::default() }).await
}

fn der(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certificate.chain.as_bytes()).unwrap()
}

/// A client that knows one certificate and accepts no other.
fn knowing(known: CertificateDer<'static>) -> ClientConfig {
    speaking(aws_lc_rs::default_provider(), rustls::ALL_VERSIONS, known)
}

fn speaking(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    known: CertificateDer<'static>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(known).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// A handshake that asks for `name`.
async fn shake(site: &Site, client: &Arc<ClientConfig>, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::clone(client)).connect(name, site.connect().await.0).await
}

/// Asks for something over a connection that is open, and gives the head that the application saw.
async fn ask(site: &Site, stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(GET.as_bytes()).await.unwrap();
    let (_peer, head) = site.upstream.answer(OK).await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    head
}

fn kind(stream: &TlsStream<TcpStream>) -> Option<HandshakeKind> {
    stream.get_ref().1.handshake_kind()
}

/// PX-300: over the wire, each name gets its certificate, and one that nobody has, or none at all, the default.
#[tokio::test]
async fn px_300_each_name_gets_its_certificate() {
    let (a, b) = (pair(1, &["a.example"]), pair(2, &["b.example"]));
    let certificates = Arc::<Certificates>::default();
    let providers = [(1, "https://a.example:8443", "", 1), (2, "https://b.example", "", 2)];
    certificates.update(&configuration(&providers, vec![a.clone(), b.clone()]), NOW);
    let otherwise = tls::self_signed(vec!["c.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let default = otherwise.cert[0].clone();
    let options = Options { https: true, certificates, otherwise: Some(otherwise), ..Options::default() };
    let site = site_with(options).await;
    for (name, known) in
        [("a.example", der(&a)), ("b.example", der(&b)), ("c.example", default.clone()), ("127.0.0.1", default)]
    {
        let mut stream = shake(&site, &Arc::new(knowing(known)), name).await.unwrap();
        assert_eq!(values(&ask(&site, &mut stream).await, "X-Forwarded-Proto"), ["https"], "{name}");
    }
    assert!(shake(&site, &Arc::new(knowing(der(&a))), "b.example").await.is_err());
}

/// PX-029, PX-301, PX-302: another certificate is shown from the next handshake on, also to a client that would have
/// taken its session up again; what is open stays open.
#[tokio::test]
async fn px_029_the_next_handshake_shows_the_new_certificate() {
    let (old, new) = (pair(1, &["a.example"]), pair(1, &["a.example"]));
    let providers = [(1, "https://a.example", "", 1)];
    let certificates = Arc::<Certificates>::default();
    certificates.update(&configuration(&providers, vec![old.clone()]), NOW);
    let site = https(&certificates).await;
    let client = Arc::new(knowing(der(&old)));
    let mut open = shake(&site, &client, "a.example").await.unwrap();
    ask(&site, &mut open).await;
    assert_eq!(kind(&open), Some(HandshakeKind::Full));
    let mut again = shake(&site, &client, "a.example").await.unwrap();
    ask(&site, &mut again).await;
    assert_eq!(kind(&again), Some(HandshakeKind::Resumed));

    certificates.update(&configuration(&providers, vec![old.clone()]), NOW);
    assert_eq!(kind(&shake(&site, &client, "a.example").await.unwrap()), Some(HandshakeKind::Resumed));
    certificates.update(&configuration(&providers, vec![new.clone()]), NOW);
    assert!(shake(&site, &client, "a.example").await.is_err());
    let next = shake(&site, &Arc::new(knowing(der(&new))), "a.example").await.unwrap();
    assert_eq!(kind(&next), Some(HandshakeKind::Full));
    ask(&site, &mut open).await;
}

/// PX-302: TLS 1.2 and 1.3 with every suite that has forward secrecy and AEAD, and no others; both protocols; sessions
/// are taken up again, without early data.
#[tokio::test]
async fn px_302_what_is_spoken() {
    let given = pair(1, &["a.example"]);
    let certificates = Arc::<Certificates>::default();
    certificates.update(&configuration(&[(1, "https://a.example", "", 1)], vec![given.clone()]), NOW);
    let site = https(&certificates).await;
    let known = der(&given);
    for suite in aws_lc_rs::ALL_CIPHER_SUITES {
        let name = format!("{:?}", suite.suite());
        assert!(name.contains("_GCM_") || name.contains("_POLY1305_"), "{name}");
        assert!(name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"), "{name}");
        if name.contains("_RSA_") {
            continue; // Not with this certificate.
        }
        let provider = CryptoProvider { cipher_suites: vec![*suite], ..aws_lc_rs::default_provider() };
        let versions: &[_] =
            if name.starts_with("TLS13_") { &[&rustls::version::TLS13] } else { &[&rustls::version::TLS12] };
        let client = Arc::new(speaking(provider, versions, known.clone()));
        let mut stream = shake(&site, &client, "a.example").await.unwrap();
        ask(&site, &mut stream).await;
        assert_eq!(stream.get_ref().1.negotiated_cipher_suite().map(|found| found.suite()), Some(suite.suite()));
        assert_eq!(kind(&shake(&site, &client, "a.example").await.unwrap()), Some(HandshakeKind::Resumed), "{name}");
    }
    for (offered, chosen) in
        [(vec!["h2", "http/1.1"], Some("h2")), (vec!["http/1.1"], Some("http/1.1")), (vec![], None)]
    {
        let mut client = knowing(known.clone());
        client.resumption = Resumption::disabled();
        client.enable_early_data = true;
        client.alpn_protocols = offered.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = shake(&site, &Arc::new(client), "a.example").await.unwrap();
        let connection = stream.get_ref().1;
        assert_eq!(connection.alpn_protocol(), chosen.map(str::as_bytes));
        assert_eq!(connection.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    }
    let mut other = knowing(known);
    other.alpn_protocols = vec![b"spdy/3".to_vec()];
    assert!(shake(&site, &Arc::new(other), "a.example").await.is_err());
    let config = tls::config(certificates, tls::self_signed(vec!["localhost".to_owned()]).unwrap()).unwrap();
    assert_eq!((config.max_early_data_size, config.send_half_rtt_data), (0, false));
}

/// PX-041, PX-300: the PROXY protocol comes before the handshake, and tells the peer behind it; who is not trusted and
/// sends one cannot shake hands.
#[tokio::test]
async fn px_041_a_header_may_come_before_the_handshake() {
    let given = pair(1, &["a.example"]);
    let certificates = Arc::<Certificates>::default();
    certificates.update(&configuration(&[(1, "https://a.example", "", 1)], vec![given.clone()]), NOW);
    let client = Arc::new(knowing(der(&given)));
    let site = https(&certificates).await;
    let untrusting = Options { https: true, certificates, trust: Trust::new(Vec::new()), ..Options::default() };
    let untrusting = site_with(untrusting).await;
    let introduced = async |site: &Site| {
        let mut socket = site.connect().await;
        socket.write("PROXY TCP4 203.0.113.9 192.0.2.1 54321 443\r\n").await;
        let name = ServerName::try_from("a.example").unwrap();
        TlsConnector::from(Arc::clone(&client)).connect(name, socket.0).await
    };
    let mut stream = introduced(&site).await.unwrap();
    let head = ask(&site, &mut stream).await;
    assert_eq!(values(&head, "X-Forwarded-For"), ["203.0.113.9"]);
    assert_eq!(values(&head, "X-Forwarded-Proto"), ["https"]);
    let mut stream = shake(&site, &client, "a.example").await.unwrap();
    assert_eq!(values(&ask(&site, &mut stream).await, "X-Forwarded-For"), ["127.0.0.1"]);
    assert!(introduced(&untrusting).await.is_err());
}
