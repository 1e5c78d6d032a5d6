//! The wire side as a whole: a real listener, a client and an upstream that are bare sockets.

mod framing;
mod grpc;
mod https;
mod https_upstream;
mod lane;
mod limits;
mod proxy_protocol;
mod proxying;
mod splicing;
mod streaming;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use portcullis_core::entropy::SystemEntropy;
use portcullis_core::origin::Origin;
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::access_log::AccessLog;
use crate::body::Body;
use crate::forward::{ForwardError, Forwarder, Plan, Watch};
use crate::lines::Lines;
use crate::listener::{Handled, Plane, Server, Settings, Socket};
use crate::live::Held;
use crate::origin::Trust;
use crate::threads::Threads;
use crate::tls;
use crate::upstream::{Target, UpstreamError, UpstreamSettings, Upstreams};

/// A data plane that forwards everything under one identity.
struct Through {
    forwarder: Forwarder,
    target: Target,
    set: Vec<(HeaderName, HeaderValue)>,
    ends: Option<CancellationToken>,
}

impl Plane for Through {
    async fn handle(&self, request: &mut Request<Body>, origin: &Origin) -> Handled {
        if request.uri().path() == "/panic" {
            panic!("asked to");
        }
        let watch = self.ends.clone().map(|ends| move |_| Held::by(ends.clone()));
        let session = watch.as_ref().map(|watch| watch as &Watch<'_>);
        let lines = Lines::new(&self.set);
        let plan = Plan { target: &self.target, host: None, set: [Some(&lines), None], forbidden: None, session };
        let answer = match self.forwarder.forward(request, origin, plan).await {
            Ok(answer) => answer,
            Err(error) => {
                let status = match &error {
                    ForwardError::BadRequest(_) | ForwardError::Body(_) => StatusCode::BAD_REQUEST,
                    ForwardError::Upstream(UpstreamError::Timeout) => StatusCode::GATEWAY_TIMEOUT,
                    ForwardError::Upstream(_) => StatusCode::BAD_GATEWAY,
                };
                Response::builder().status(status).body(Body::from(format!("{error:?}"))).unwrap()
            }
        };
        Handled::Answered(answer, None)
    }
}

/// A site of one application.
struct Site {
    address: std::net::SocketAddr,
    upstream: Upstream,
    stop: CancellationToken,
    ends: CancellationToken,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

#[derive(Default)]
struct Options {
    settings: Settings,
    base: &'static str,
    https: bool,
    certificates: Arc<tls::Certificates>,
    otherwise: Option<Arc<CertifiedKey>>,
    target: Option<String>,
    upstreams: UpstreamSettings,
    bound_to_session: bool,
    powered_by: bool,
    log: Option<AccessLog>,
    trust: Trust,
    threads: Threads,
}

async fn site() -> Site {
    site_with(Options::default()).await
}

async fn site_with(options: Options) -> Site {
    let upstream = Upstream(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = options.target.unwrap_or(format!("http://{}{}", upstream.0.local_addr().unwrap(), options.base));
    let (stop, cut, ends) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let upstreams = Upstreams::new(options.upstreams);
    let set = [("x-authentik-username", "ad\u{e9}"), ("x-authentik-groups", "staff|\u{1f980}"), ("remote_user", "ada")];
    let plane = Through {
        forwarder: Forwarder::new(upstreams, options.powered_by, cut.clone()),
        target: Target::parse(&url, false).unwrap(),
        set: set
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect(),
        ends: options.bound_to_session.then(|| ends.clone()),
    };
    let server = Server {
        plane,
        core: None,
        trust: options.trust,
        entropy: Arc::new(SystemEntropy),
        log: options.log,
        settings: options.settings,
        cut,
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let tls = options.https.then(|| {
        let otherwise = options.otherwise.unwrap_or_else(|| tls::self_signed(vec!["localhost".to_owned()]).unwrap());
        tls::config(options.certificates, otherwise).unwrap()
    });
    let serving = tokio::spawn(server.serve(vec![Socket { listener, tls }], options.threads, stop.clone()));
    Site { address, upstream, stop, ends, serving }
}

impl Site {
    async fn connect(&self) -> Peer {
        Peer(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends a request on a new connection.
    async fn send(&self, bytes: impl AsRef<[u8]>) -> Peer {
        let mut peer = self.connect().await;
        peer.write(bytes).await;
        peer
    }
}

/// The application's socket.
struct Upstream(TcpListener);

impl Upstream {
    /// The next connection and the head of its first request.
    async fn accept(&self) -> (Peer, String) {
        let mut peer = Peer(self.0.accept().await.unwrap().0);
        let head = peer.head().await;
        (peer, head)
    }

    /// Answers one request, and shows its head.
    async fn answer(&self, bytes: impl AsRef<[u8]>) -> (Peer, String) {
        let (mut peer, head) = self.accept().await;
        peer.write(bytes).await;
        (peer, head)
    }
}

/// One end of a connection.
struct Peer(TcpStream);

impl Peer {
    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads up to and with the empty line.
    async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// Reads up to and with `end`, or to the end of the connection.
    async fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            match self.0.read_u8().await {
                Ok(byte) => read.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Everything up to the end of the connection.
    async fn rest(&mut self) -> String {
        rest(&mut self.0).await
    }
}

async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        read.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// The values of a field in a head, under exactly this spelling.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let field = |line: &'a str| line.split_once(": ").filter(|(found, _)| *found == name).map(|(_, value)| value);
    head.split("\r\n").filter_map(field).collect()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: app.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
