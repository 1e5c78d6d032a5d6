//! Another identity provider: its keys, its tokens, and its server on this machine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A key pair on P-256.
pub(in crate::oauth::tests) struct Key {
    kid: String,
    pair: rcgen::KeyPair,
}

impl Key {
    pub(in crate::oauth::tests) fn new(kid: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        Self { kid: kid.to_owned(), pair }
    }

    /// The public key: 4, and two coordinates.
    pub(in crate::oauth::tests) fn point(&self) -> Vec<u8> {
        self.pair.public_key_raw().to_vec()
    }

    pub(in crate::oauth::tests) fn jwk(&self) -> Value {
        let point = self.point();
        let (x, y) = point[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    pub(in crate::oauth::tests) fn sign(&self, claims: &Value) -> String {
        self.signed(Some(self.kid.clone()), claims)
    }

    pub(in crate::oauth::tests) fn sign_without_kid(&self, claims: &Value) -> String {
        self.signed(None, claims)
    }

    /// The same with another type in its header.
    pub(in crate::oauth::tests) fn sign_as(&self, typ: &str, claims: &Value) -> String {
        self.encoded(&Header { typ: Some(typ.to_owned()), ..self.header(Some(self.kid.clone())) }, claims)
    }

    fn signed(&self, kid: Option<String>, claims: &Value) -> String {
        self.encoded(&self.header(kid), claims)
    }

    fn header(&self, kid: Option<String>) -> Header {
        Header { kid, ..Header::new(Algorithm::ES256) }
    }

    fn encoded(&self, header: &Header, claims: &Value) -> String {
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).expect("a key");
        jsonwebtoken::encode(header, claims, &key).expect("signs")
    }
}

/// A token with this header and signature.
pub(in crate::oauth::tests) fn with_header(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// A token that is signed with a shared secret.
pub(in crate::oauth::tests) fn with_secret(secret: &[u8], kid: &str, claims: &Value) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).expect("signs")
}

/// A server with a discovery document and keys.
pub(in crate::oauth::tests) struct Issuer {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    keys: Mutex<Option<Value>>,
    name: Mutex<Option<String>>,
    asked: AtomicUsize,
}

fn set_of(keys: &[&Key]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()})
}

impl Issuer {
    pub(in crate::oauth::tests) async fn start(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            keys: Mutex::new(Some(set_of(keys))),
            name: Mutex::default(),
            asked: AtomicUsize::new(0),
        });
        let (ours, own) = (Arc::clone(&shared), url.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                    if stream.read_buf(&mut request).await.expect("reads") == 0 {
                        break;
                    }
                }
                let keys = ours.keys.lock().expect("a lock").clone();
                let name = ours.name.lock().expect("a lock").clone().unwrap_or_else(|| own.clone());
                let (status, body) = match (keys, request.starts_with(b"GET /keys ")) {
                    (None, _) => ("500 Internal Server Error", json!({"secret": "of the server"})),
                    (Some(keys), true) => {
                        ours.asked.fetch_add(1, Ordering::Relaxed);
                        ("200 OK", keys)
                    }
                    (Some(_), false) => ("200 OK", json!({"issuer": name, "jwks_uri": format!("{own}/keys")})),
                };
                let body = body.to_string();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.expect("writes");
            }
        });
        Self { url, shared }
    }

    pub(in crate::oauth::tests) fn url(&self) -> &str {
        &self.url
    }

    pub(in crate::oauth::tests) fn well_known(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.url)
    }

    /// How often its keys were asked for.
    pub(in crate::oauth::tests) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Has these keys from now on.
    pub(in crate::oauth::tests) fn rotate(&self, keys: &[&Key]) {
        *self.shared.keys.lock().expect("a lock") = Some(set_of(keys));
    }

    /// Calls itself this from now on.
    pub(in crate::oauth::tests) fn rename(&self, name: &str) {
        *self.shared.name.lock().expect("a lock") = Some(name.to_owned());
    }

    /// Answers with 500 from now on.
    pub(in crate::oauth::tests) fn fail(&self) {
        *self.shared.keys.lock().expect("a lock") = None;
    }
}
