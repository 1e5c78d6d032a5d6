//! A control plane with a memory: recorded answers over HTTP, and a channel.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use portcullis_core::channel::{Hello, Message};
use portcullis_core::clock::ManualClock;
use portcullis_core::entropy::SystemEntropy;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use url::Url;
use zeroize::Zeroizing;

use super::super::{Remote, RemoteSettings, Sessions};
use portcullis_core::clock::Timestamp;

pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
pub(super) const TOKEN: &str = "token-of-the-outpost";

/// A request as the control plane saw it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

#[derive(Default)]
pub(super) struct Memory {
    pub(super) asked: Vec<Asked>,
    /// By path and query: answers one after the other, of which the last one stays.
    pub(super) answers: HashMap<String, VecDeque<(u16, String)>>,
    pub(super) hellos: Vec<Hello>,
    /// Codes that channels were closed with.
    pub(super) closes: Vec<u16>,
    pub(super) refuses_channels: bool,
}

/// The control plane.
pub(super) struct Core {
    pub(super) base: String,
    memory: Arc<Mutex<Memory>>,
    frames: broadcast::Sender<Option<String>>,
}

impl Core {
    /// One with an outpost of the name `edge-1`, whose providers are those that are recorded, signed with the secret.
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let core = Self { base, memory: Arc::default(), frames: broadcast::channel(64).0 };
        let (memory, frames) = (Arc::clone(&core.memory), core.frames.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (memory, frames) = (Arc::clone(&memory), frames.clone());
                let service =
                    hyper::service::service_fn(move |request| answer(Arc::clone(&memory), frames.clone(), request));
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                tokio::spawn(serving.with_upgrades());
            }
        });
        core.say("/api/v3/outposts/instances/", 200, &core.moved(include_str!("../recorded/instances.json")));
        core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &core.proxies(|_| {}));
        core.say("/api/v3/root/config/", 200, include_str!("../recorded/config.json"));
        core
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    /// Recorded text, as of this control plane.
    pub(super) fn moved(&self, text: &str) -> String {
        text.replace("https://id.example", &self.base)
    }

    /// The recorded list of providers with a change to its first.
    pub(super) fn proxies(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut list: Value = serde_json::from_str(&self.moved(include_str!("../recorded/proxies.json"))).unwrap();
        list["results"][0]["oidc_configuration"]["id_token_signing_alg_values_supported"] = json!(["HS256"]);
        change(&mut list["results"][0]);
        list.to_string()
    }

    /// From now on this is the answer.
    pub(super) fn say(&self, target: &str, status: u16, body: &str) {
        self.memory().answers.insert(target.to_owned(), VecDeque::from([(status, body.to_owned())]));
    }

    /// These are the next answers; the last one stays.
    pub(super) fn say_in_turn(&self, target: &str, answers: &[(u16, &str)]) {
        let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        self.memory().answers.insert(target.to_owned(), answers);
    }

    /// The requests to a target.
    pub(super) fn asked(&self, target: &str) -> Vec<Asked> {
        self.memory().asked.iter().filter(|asked| asked.target == target).cloned().collect()
    }

    /// Sends a frame to everybody.
    pub(super) fn send(&self, message: &Message) {
        let _ = self.frames.send(Some(message.encode()));
    }

    /// Sends a text to everybody.
    pub(super) fn send_text(&self, text: &str) {
        let _ = self.frames.send(Some(text.to_owned()));
    }

    /// Breaks all channels off.
    pub(super) fn hang_up(&self) {
        let _ = self.frames.send(None);
    }

    /// A token of the recorded provider that says this more.
    pub(super) fn token(&self, more: &Value) -> String {
        let mut claims = crate::remote::keys::tests::claims();
        claims["iss"] = json!(format!("{}/application/o/wiki/", self.base));
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let key = jsonwebtoken::EncodingKey::from_secret(b"client-secret-of-wiki");
        jsonwebtoken::encode(&jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256), &claims, &key).unwrap()
    }

    /// An outpost of it that has read nothing yet.
    pub(super) fn outpost(&self) -> Arc<Remote> {
        self.outpost_with(|_| {})
    }

    pub(super) fn outpost_with(&self, change: impl FnOnce(&mut RemoteSettings)) -> Arc<Remote> {
        outpost_of(&self.base, change)
    }

    /// An outpost at work.
    pub(super) async fn running(&self) -> (Arc<Remote>, CancellationToken, tokio::task::JoinHandle<()>) {
        let (remote, stop) = (self.outpost(), CancellationToken::new());
        let work = tokio::spawn(Arc::clone(&remote).run(stop.clone()));
        until("a channel", || !self.memory().hellos.is_empty() && remote.link.is_alive()).await;
        (remote, stop, work)
    }
}

/// An outpost whose control plane is nowhere.
pub(in crate::remote) fn unconnected() -> Arc<Remote> {
    outpost_of("http://127.0.0.1:1", |_| {})
}

fn outpost_of(base: &str, change: impl FnOnce(&mut RemoteSettings)) -> Arc<Remote> {
    let mut settings = RemoteSettings {
        host: Url::parse(base).unwrap(),
        token: Zeroizing::new(TOKEN.to_owned()),
        insecure: false,
        host_browser: String::new(),
        connect: Duration::from_secs(5),
        limit: Duration::from_secs(10),
        authorities: Vec::new(),
        via: None,
        grace: Duration::from_secs(300),
        spread: Duration::ZERO,
        hostname: "machine".to_owned(),
        log_level: Box::new(|_| {}),
    };
    change(&mut settings);
    let clock = Arc::new(ManualClock::at(NOW));
    let sessions = Sessions::in_memory(TOKEN, Arc::clone(&clock) as _, Arc::new(SystemEntropy));
    Arc::new(Remote::new(settings, sessions, clock, Arc::new(SystemEntropy)))
}

/// Waits for something that becomes true by itself.
pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for {what}");
}

async fn answer(
    memory: Arc<Mutex<Memory>>,
    frames: broadcast::Sender<Option<String>>,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.uri().to_string();
    let (method, headers) = (request.method().to_string(), request.headers().clone());
    if let Some(key) = headers.get("sec-websocket-key") {
        memory.lock().unwrap().asked.push(Asked { method, target, headers: headers.clone(), body: String::new() });
        let mut response = Response::new(Full::default());
        if memory.lock().unwrap().refuses_channels {
            *response.status_mut() = StatusCode::FORBIDDEN;
            return Ok(response);
        }
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response.headers_mut().insert("sec-websocket-accept", derive_accept_key(key.as_bytes()).parse().unwrap());
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = TokioIo::new(upgrade.await.unwrap());
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            channel(memory, frames.subscribe(), socket).await;
        });
        return Ok(response);
    }
    let body = String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let (status, text) = {
        let mut memory = memory.lock().unwrap();
        memory.asked.push(Asked { method, target: target.clone(), headers, body });
        match memory.answers.get_mut(&target) {
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
            Some(answers) => answers.front().cloned().unwrap(),
            None => (404, "{}".to_owned()),
        }
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}

async fn channel(
    memory: Arc<Mutex<Memory>>,
    mut frames: broadcast::Receiver<Option<String>>,
    mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
) {
    loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Ok(Some(text)) => socket.send(tungstenite::Message::text(text)).await.unwrap(),
                _ => return,
            },
            message = socket.next() => match message {
                Some(Ok(tungstenite::Message::Text(text))) => {
                    if let Ok(Message::Hello(hello)) = Message::decode(&text) {
                        assert_exact(&text);
                        memory.lock().unwrap().hellos.push(hello);
                    }
                    let _ = socket.send(tungstenite::Message::text(Message::Ack.encode())).await;
                }
                Some(Ok(tungstenite::Message::Close(frame))) => {
                    memory.lock().unwrap().closes.push(frame.map_or(0, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

/// A HELLO has these keys and types, and no others (PX-383).
fn assert_exact(text: &str) {
    let frame: Value = serde_json::from_str(text).unwrap();
    let args = frame["args"].as_object().unwrap();
    for name in ["version", "buildHash", "uuid", "golangVersion", "opensslVersion", "hostname"] {
        assert!(args[name].is_string(), "{name}");
    }
    for name in ["opensslEnabled", "fipsEnabled"] {
        assert!(args[name].is_boolean(), "{name}");
    }
    let surplus = usize::from(args.get("portcullisSeq").is_some_and(Value::is_i64));
    assert_eq!(args.len(), 8 + surplus, "{text}");
}
