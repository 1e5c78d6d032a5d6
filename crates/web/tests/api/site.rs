//! An instance in memory, on a temporary database, asked without a network.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use portcullis_core::clock::{ManualClock, Timestamp};
use portcullis_core::entropy::SystemEntropy;
use portcullis_core::keys::Keyring;
use portcullis_core::origin::{Origin, Scheme};
use portcullis_idp::bootstrap::{self, Wishes};
use portcullis_idp::context::Revisions;
use portcullis_idp::limits::Limits;
use portcullis_idp::{Context, setup, signing};
use portcullis_store::Db;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// Key of the first administrator's API token.
pub(crate) const ADMIN: &str = "an-api-token-of-the-first-administrator-0123456789-0123456789";

pub(crate) struct Site {
    pub(crate) ctx: Arc<Context>,
    router: Router,
    directory: TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&directory.path().join("portcullis.db")).await.unwrap();
        let keys = Keyring::derive(b"0123456789abcdef0123456789abcdef");
        let ctx = Context {
            install_id: bootstrap::install_id(&db, &keys, &SystemEntropy).await.unwrap(),
            db,
            keys,
            clock: Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000))),
            entropy: Arc::new(SystemEntropy),
            epochs: Arc::default(),
            base_url: "https://id.example".to_owned(),
            limits: Limits::default(),
            rates: portcullis_idp::limits::Rates::default(),
            sessions: portcullis_idp::sessions::Lifetimes::default(),
            signing: signing::Cache::default(),
            setup: setup::Code::default(),
            revisions: Revisions::default(),
        };
        let wishes = Wishes { token: Some(ADMIN.to_owned()), ..Wishes::default() };
        bootstrap::run(&ctx, &wishes).await.unwrap();
        let ctx = Arc::new(ctx);
        Self { router: portcullis_web::api::router(ctx.clone()), ctx, directory }
    }

    /// Sends a request below `/api/v3` with the bearer token `key`, if it is not empty.
    pub(crate) async fn send(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let response = self.answer(key, method, path, body).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        (status, value)
    }

    /// A file that the administrator downloads.
    pub(crate) async fn file(&self, path: &str) -> (HeaderMap, String) {
        let (head, body) = self.answer(ADMIN, Method::GET, path, None).await.into_parts();
        assert_eq!(head.status, 200, "{path}");
        (head.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    /// Whether these bytes are anywhere in the files of the database.
    pub(crate) fn database_holds(&self, text: &str) -> bool {
        let mut files = std::fs::read_dir(self.directory.path()).unwrap();
        files.any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
    }

    async fn answer(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(format!("/api/v3{path}"));
        if !key.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let mut request = request.body(body).unwrap();
        let origin = Origin {
            scheme: Scheme::Https,
            host: "id.example".to_owned(),
            client: "192.0.2.7".parse().unwrap(),
            peer: "192.0.2.7".parse().unwrap(),
            peer_trusted: false,
            request_id: "0123456789abcdef0123456789abcdef".to_owned(),
        };
        request.extensions_mut().insert(Arc::new(origin));
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// What the administrator gets, which must be there.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, value) = self.send(ADMIN, Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    /// What the administrator makes.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.send(ADMIN, Method::POST, path, Some(body)).await;
        assert_eq!(status, 201, "{path}: {value}");
        value
    }

    /// What the administrator changes.
    pub(crate) async fn patch(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.send(ADMIN, Method::PATCH, path, Some(body)).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    /// What the administrator deletes.
    pub(crate) async fn delete(&self, path: &str) {
        let (status, value) = self.send(ADMIN, Method::DELETE, path, None).await;
        assert_eq!(status, 204, "{path}: {value}");
    }

    /// How a write of the administrator is refused.
    pub(crate) async fn refused(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, value) = self.send(ADMIN, method, path, Some(body)).await;
        assert_eq!(status, 400, "{path}: {value}");
        value
    }

    /// A body that makes a proxy provider, with `more` on top.
    pub(crate) async fn provider_body(&self, name: &str, more: Value) -> Value {
        let flow =
            |slug: &'static str| async move { self.get(&format!("/flows/instances/{slug}/")).await["pk"].clone() };
        let mut body = json!({
            "name": name,
            "authorization_flow": flow("default-provider-authorization-implicit-consent").await,
            "invalidation_flow": flow("default-provider-invalidation-flow").await,
            "external_host": format!("https://{name}.example.com"),
            "internal_host": "http://127.0.0.1:8080",
        });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    pub(crate) async fn provider(&self, name: &str) -> Value {
        self.post("/providers/proxy/", self.provider_body(name, json!({})).await).await
    }

    pub(crate) async fn application(&self, slug: &str, provider: &Value) -> Value {
        self.post("/core/applications/", json!({"name": slug, "slug": slug, "provider": provider})).await
    }

    /// A user with an API token: the user's key, and the token's.
    pub(crate) async fn user(&self, name: &str) -> (i64, String) {
        let user = self.post("/core/users/", json!({"username": name, "name": name})).await["pk"].as_i64().unwrap();
        let token = json!({"identifier": format!("{name}-token"), "intent": "api", "user": user});
        self.post("/core/tokens/", token).await;
        let view = self.get(&format!("/core/tokens/{name}-token/view_key/")).await;
        (user, view["key"].as_str().unwrap().to_owned())
    }

    /// Events of one kind, latest first.
    pub(crate) async fn events(&self, action: &str) -> Vec<Value> {
        let mut conn = self.ctx.db.read().await.unwrap();
        let events = portcullis_store::event::latest(&mut conn, Some(action), 50).await.unwrap();
        events.into_iter().map(|event| event.context).collect()
    }
}
