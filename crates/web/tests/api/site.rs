//! An instance in memory, on a temporary database, asked without a network.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use portcullis_core::clock::{Clock, ManualClock, Timestamp};
use portcullis_core::entropy::SystemEntropy;
use portcullis_core::id::UserPk;
use portcullis_core::keys::Keyring;
use portcullis_core::origin::{Origin, Scheme};
use portcullis_idp::blueprints::Reach;
use portcullis_idp::bootstrap::{self, Wishes};
use portcullis_idp::context::{Options, Revisions};
use portcullis_idp::limits::Limits;
use portcullis_idp::mappings::engine::NoEngine;
use portcullis_idp::oauth::client::Known;
use portcullis_idp::oauth::machine::Notes;
use portcullis_idp::outbound::{Outbound, Policy};
use portcullis_idp::outposts::channel::Channels;
use portcullis_idp::places::Places;
use portcullis_idp::sources::jwks;
use portcullis_idp::{Actor, Change, Context, policies, roles, sessions, setup, signing};
use portcullis_store::Db;
use portcullis_store::account;
use portcullis_store::authenticator::{self, Authenticator};
use portcullis_testkit::postgres::Database;
use serde_json::{Value, json};
use tower::ServiceExt;

/// Key of the first administrator's API token.
pub(crate) const ADMIN: &str = "an-api-token-of-the-first-administrator-0123456789-0123456789";

pub(crate) struct Site {
    pub(crate) ctx: Arc<Context>,
    pub(crate) clock: Arc<ManualClock>,
    router: Router,
    database: Database,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::supported(policies::Support::default()).await
    }

    /// One whose policies have these helpers.
    pub(crate) async fn supported(support: policies::Support) -> Self {
        Self::built(support, Reach::default()).await
    }

    /// One whose blueprints may read this.
    pub(crate) async fn reaching(reach: Reach) -> Self {
        Self::built(policies::Support::default(), reach).await
    }

    async fn built(support: policies::Support, reach: Reach) -> Self {
        let database = Database::fresh();
        let db = open(&database).await;
        let keys = Keyring::derive(b"0123456789abcdef0123456789abcdef");
        let install_id = bootstrap::install_id(&db, &keys, &SystemEntropy).await.unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)));
        let ctx = Context { blueprints: reach, ..context(db, keys, install_id, clock.clone(), support) };
        let wishes = Wishes { token: Some(ADMIN.to_owned()), ..Wishes::default() };
        bootstrap::run(&ctx, &wishes).await.unwrap();
        let ctx = Arc::new(ctx);
        Self { router: portcullis_web::api::router(ctx.clone()), ctx, clock, database }
    }

    /// A context over the same database with other keys.
    pub(crate) fn renewed(&self, keys: Keyring) -> Context {
        context(
            self.ctx.db.clone(),
            keys,
            self.ctx.install_id.get().to_string(),
            Arc::clone(&self.ctx.clock),
            policies::Support::default(),
        )
    }

    /// The same site with another context.
    pub(crate) fn over(self, ctx: Arc<Context>) -> Self {
        Self { router: portcullis_web::api::router(ctx.clone()), ctx, ..self }
    }

    /// Sends a request below `/api/v3` with the bearer token `key`, if it is not empty.
    pub(crate) async fn send(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let response = self.answer(key, method, path, body).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        (status, value)
    }

    /// The status of the answer to a request like those of [`Site::send`].
    pub(crate) async fn status(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> StatusCode {
        self.answer(key, method, path, body).await.status()
    }

    /// A file that the administrator downloads.
    pub(crate) async fn file(&self, path: &str) -> (HeaderMap, String) {
        let (head, body) = self.answer(ADMIN, Method::GET, path, None).await.into_parts();
        assert_eq!(head.status, 200, "{path}");
        (head.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    /// Whether these bytes are anywhere in the database.
    pub(crate) fn database_holds(&self, text: &str) -> bool {
        self.database.contents().windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// Signs a user in, and returns the session's `Cookie` header and key.
    pub(crate) async fn sign_in(&self, user: i64, user_agent: &str) -> (String, String) {
        let mut tx = self.ctx.db.write().await.unwrap();
        let user = UserPk(i32::try_from(user).unwrap());
        let client = [192, 0, 2, 9].into();
        let started = sessions::start(&self.ctx, &mut tx, user, "password", client, user_agent).await.unwrap();
        tx.commit().await.unwrap();
        (format!("authentik_session={}", started.cookie), started.session.uuid.to_string())
    }

    /// Sends a request with these headers.
    pub(crate) async fn with(&self, headers: &[(&str, &str)], method: Method, path: &str) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(format!("/api/v3{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        let host = headers.iter().find(|(name, _)| *name == "host").map_or("id.example", |(_, host)| host);
        request.extensions_mut().insert(Arc::new(origin(host)));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() })
    }

    /// Sends what a page of ours would send from a signed-in browser, and gives the session's cookie as it is then.
    pub(crate) async fn browser(
        &self,
        cookie: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value, String) {
        let request = Request::builder().method(method).uri(format!("/api/v3{path}"));
        let request = request
            .header(header::COOKIE, format!("{cookie}; authentik_csrf=xyz"))
            .header("x-authentik-csrf", "xyz")
            .header("origin", "https://id.example")
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(Arc::new(origin("id.example")));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let set = response.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        let set = set.filter_map(|value| value.split(';').next()).find(|value| value.starts_with("authentik_session="));
        let cookie = set.unwrap_or(cookie).to_owned();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() }, cookie)
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
        request.extensions_mut().insert(Arc::new(origin("id.example")));
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sends a form below `/api/v3` with the bearer token `key`.
    pub(crate) async fn form(&self, key: &str, path: &str, parts: &[(&str, &str)]) -> (StatusCode, Value) {
        let part = |(name, text): &(&str, &str)| {
            format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n{text}\r\n")
        };
        let body = parts.iter().map(part).collect::<String>() + "--xyz--\r\n";
        let mut request = Request::post(format!("/api/v3{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=xyz")
            .body(Body::from(body))
            .unwrap();
        request.extensions_mut().insert(Arc::new(origin("id.example")));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() })
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

    /// A role of this name that grants rights: on one object, or on everything of its kind.
    pub(crate) async fn role(&self, name: &str, rights: &[(&str, Option<&str>)]) -> String {
        let pk = self.post("/rbac/roles/", json!({"name": name})).await["pk"].as_str().unwrap().to_owned();
        let system = Actor::system();
        let mut change = Change::begin(&self.ctx, &system).await.unwrap();
        for (right, object) in rights {
            roles::grant_in(&mut change, pk.parse().unwrap(), right, *object).await.unwrap();
        }
        change.commit().await.unwrap();
        pk
    }

    /// A user with an API token and a role of the same name: the user's key, and the token's.
    pub(crate) async fn user_with(&self, name: &str, rights: &[(&str, Option<&str>)]) -> (i64, String) {
        let (user, key) = self.user(name).await;
        let role = self.role(name, rights).await;
        self.patch(&format!("/core/users/{user}/"), json!({"roles": [role]})).await;
        (user, key)
    }

    /// The service account of an outpost, with its token: the token's key.
    pub(crate) async fn outpost_account(&self, outpost: &str) -> String {
        let name = format!("ak-outpost-{}", outpost.replace('-', ""));
        let (user, key) = self.user(&outpost[..8]).await;
        let mut tx = self.ctx.db.write().await.unwrap();
        let mut account = account::by_pk(&mut tx, UserPk(i32::try_from(user).unwrap())).await.unwrap().unwrap();
        (account.username, account.kind) = (name, "internal_service_account".to_owned());
        account::update(&mut tx, &account).await.unwrap();
        tx.commit().await.unwrap();
        key
    }

    /// Gives a user an authenticator app.
    pub(crate) async fn authenticator_app(&self, user: i64) {
        self.authenticator(user, "totp").await;
    }

    /// Gives a user a second factor of this class.
    pub(crate) async fn authenticator(&self, user: i64, class: &str) {
        let mut tx = self.ctx.db.write().await.unwrap();
        let app = Authenticator {
            pk: 0,
            account: UserPk(i32::try_from(user).unwrap()),
            class: class.to_owned(),
            name: "Authenticator app".to_owned(),
            seed_sealed: Vec::new(),
            digits: 6,
            drift: 0,
            last_step: 0,
            created: self.ctx.now(),
            last_used: None,
        };
        let pk = authenticator::insert(&mut tx, &app).await.unwrap();
        let seed = self.ctx.keys.seal(&format!("authenticator:{pk}:seed"), b"12345678901234567890", &SystemEntropy);
        authenticator::set_seed(&mut tx, pk, &seed).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Events of one kind, latest first.
    pub(crate) async fn events(&self, action: &str) -> Vec<Value> {
        let mut conn = self.ctx.db.read().await.unwrap();
        let events = portcullis_store::event::latest(&mut conn, Some(action), 50).await.unwrap();
        events.into_iter().map(|event| event.context).collect()
    }
}

/// The database, with its tables.
async fn open(database: &Database) -> Db {
    match database {
        Database::File { path, .. } => Db::open_sqlite(path).await,
        Database::Postgres { url } => Db::open_postgres(url, 4).await,
    }
    .unwrap()
}

fn context(db: Db, keys: Keyring, install_id: String, clock: Arc<dyn Clock>, support: policies::Support) -> Context {
    Context {
        install_id: install_id.into(),
        db,
        keys,
        clock,
        entropy: Arc::new(SystemEntropy),
        epochs: Arc::default(),
        base_url: "https://id.example".to_owned(),
        options: Options::default(),
        limits: Limits::default(),
        rates: portcullis_idp::limits::Rates::default(),
        sessions: sessions::Lifetimes::default(),
        places: Places::default(),
        policies: support,
        signing: signing::Cache::default(),
        belongings: portcullis_idp::directory::Belongings::default(),
        clients: Known::default(),
        notes: Notes::default(),
        failing: portcullis_idp::event::failing::Failing::default(),
        setup: setup::Code::default(),
        pressed: portcullis_idp::flow::Pressed::default(),
        revisions: Revisions::default(),
        channels: Channels::default(),
        mapping_engine: Arc::new(NoEngine),
        outbound: Outbound::new(Policy { allow_http: true, allowed_networks: vec!["127.0.0.0/8".parse().unwrap()] }),
        jwks: jwks::Asked::default(),
        mail: portcullis_idp::mail::Mail::default(),
        blueprints: Reach::default(),
    }
}

pub(crate) fn origin(host: &str) -> Origin {
    Origin {
        scheme: Scheme::Https,
        host: host.to_owned(),
        client: "192.0.2.7".parse().unwrap(),
        peer: "192.0.2.7".parse().unwrap(),
        peer_trusted: false,
        request_id: "0123456789abcdef0123456789abcdef".into(),
        asked: None,
    }
}
