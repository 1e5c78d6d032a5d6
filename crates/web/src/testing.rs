//! An instance in memory, for tests: the real router and services over a database of its own.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderMap, Method, Request, StatusCode, header};
use portcullis_core::auth_via::AuthVia;
use portcullis_core::clock::{ManualClock, Timestamp};
use portcullis_core::entropy::SystemEntropy;
use portcullis_core::epoch::Epochs;
use portcullis_core::keys::Keyring;
use portcullis_core::origin::{Origin, Scheme};
use portcullis_idp::expressions::{Engine, ForMappings, ForPolicies};
use portcullis_idp::mappings::engine::MappingEngine;
use portcullis_idp::{Context, bootstrap};
use portcullis_store::Db;
use portcullis_testkit::postgres::Database;
use serde_json::Value;
use tower::ServiceExt;

/// Key of the administrator's API token.
pub(crate) const TOKEN: &str = "bootstrap-token-of-these-tests-0001";
/// The root secret.
pub(crate) const ROOT: &[u8] = b"root secret of these tests, quite long";

/// One instance after its first start. Its clock stands still until it is moved.
pub(crate) struct Site {
    pub(crate) ctx: Arc<Context>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) database: Database,
    router: Router,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body as JSON, null if it is none.
    pub(crate) json: Value,
    /// The body as text.
    pub(crate) text: String,
    /// What the access log is told of the request's proof.
    pub(crate) via: Option<AuthVia>,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(bootstrap::Wishes { token: Some(TOKEN.to_owned()), ..bootstrap::Wishes::default() }).await
    }

    pub(crate) async fn with(wishes: bootstrap::Wishes) -> Self {
        Self::made(wishes, |_| {}).await
    }

    /// With somebody who evaluates the expressions of mappings.
    pub(crate) async fn with_engine(engine: impl MappingEngine + 'static) -> Self {
        let wishes = bootstrap::Wishes { token: Some(TOKEN.to_owned()), ..bootstrap::Wishes::default() };
        Self::made(wishes, |ctx| ctx.mapping_engine = Arc::new(engine)).await
    }

    /// With another base URL.
    pub(crate) async fn at(base_url: &str) -> Self {
        let wishes = bootstrap::Wishes { token: Some(TOKEN.to_owned()), ..bootstrap::Wishes::default() };
        Self::made(wishes, |ctx| base_url.clone_into(&mut ctx.base_url)).await
    }

    /// Where browsers are at this base URL, whatever they are asked for by.
    pub(crate) async fn reached_at(base_url: &str) -> Self {
        let wishes = bootstrap::Wishes { token: Some(TOKEN.to_owned()), ..bootstrap::Wishes::default() };
        Self::made(wishes, |ctx| {
            base_url.clone_into(&mut ctx.base_url);
            ctx.options.base_url_is_set = true;
        })
        .await
    }

    /// Where administrators may set only good passwords.
    pub(crate) async fn made_strict() -> Self {
        let wishes = bootstrap::Wishes { token: Some(TOKEN.to_owned()), ..bootstrap::Wishes::default() };
        Self::made(wishes, |ctx| ctx.options.strict_admin_set = true).await
    }

    /// Where keys are shown once and never again.
    pub(crate) async fn with_hidden_keys() -> Self {
        let wishes = bootstrap::Wishes { token: Some(TOKEN.to_owned()), ..bootstrap::Wishes::default() };
        Self::made(wishes, |ctx| ctx.options.hidden_keys = true).await
    }

    /// With other options.
    pub(crate) async fn with_options(change: impl FnOnce(&mut portcullis_idp::context::Options)) -> Self {
        let wishes = bootstrap::Wishes { token: Some(TOKEN.to_owned()), ..bootstrap::Wishes::default() };
        Self::made(wishes, |ctx| change(&mut ctx.options)).await
    }

    /// With these limits.
    pub(crate) async fn limited(limits: portcullis_idp::limits::Limits) -> Self {
        let wishes = bootstrap::Wishes { token: Some(TOKEN.to_owned()), ..bootstrap::Wishes::default() };
        Self::made(wishes, |ctx| ctx.limits = limits).await
    }

    /// With mail.
    pub(crate) async fn mailing(mail: portcullis_idp::mail::Mail) -> Self {
        let wishes = bootstrap::Wishes { token: Some(TOKEN.to_owned()), ..bootstrap::Wishes::default() };
        Self::made(wishes, |ctx| ctx.mail = mail).await
    }

    /// With the engine that the product has, for mappings and policies.
    pub(crate) async fn with_expressions() -> Self {
        let wishes = bootstrap::Wishes { token: Some(TOKEN.to_owned()), ..bootstrap::Wishes::default() };
        let engine = Engine::new(false);
        Self::made(wishes, |ctx| {
            ctx.policies.expressions = Some(Arc::new(ForPolicies(Arc::clone(&engine))));
            ctx.mapping_engine = Arc::new(ForMappings(engine));
        })
        .await
    }

    async fn made(wishes: bootstrap::Wishes, change: impl FnOnce(&mut Context)) -> Self {
        let database = Database::fresh();
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)));
        let db = open(&database).await;
        let mut ctx = context(db, Arc::clone(&clock)).await.expect("the right key");
        change(&mut ctx);
        let ctx = Arc::new(ctx);
        bootstrap::run(&ctx, &wishes).await.expect("sets itself up");
        let router = crate::router(Arc::clone(&ctx));
        Self { ctx, clock, database, router }
    }

    /// Sends a request as the administrator.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: impl Into<Option<Value>>) -> Reply {
        self.send(method, path, &[("authorization", &format!("Bearer {TOKEN}"))], body).await
    }

    /// Sends a request with a bearer token.
    pub(crate) async fn bearer(&self, key: &str, method: Method, path: &str, body: impl Into<Option<Value>>) -> Reply {
        self.send(method, path, &[("authorization", &format!("Bearer {key}"))], body).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Option<Value>>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("/api/v3{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body.into() {
            Some(json) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(json.to_string())
            }
            None => Body::empty(),
        };
        self.raw(request.body(body).expect("a request")).await
    }

    pub(crate) async fn raw(&self, request: Request<Body>) -> Reply {
        self.raw_from(request, [192, 0, 2, 1].into()).await
    }

    /// Sends a request to another process on the same database.
    pub(crate) async fn raw_elsewhere(&self, request: Request<Body>) -> Reply {
        let ctx = context(self.ctx.db.clone(), Arc::clone(&self.clock)).await.expect("the right key");
        Self::sent(crate::router(Arc::new(ctx)), request, [192, 0, 2, 1].into()).await
    }

    /// Sends a request from this address.
    pub(crate) async fn raw_from(&self, request: Request<Body>, client: IpAddr) -> Reply {
        Self::sent(self.router.clone(), request, client).await
    }

    async fn sent(router: Router, mut request: Request<Body>, client: IpAddr) -> Reply {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("id.example");
        let host = host.to_owned();
        request.extensions_mut().insert(Arc::new(Origin {
            scheme: Scheme::Http,
            host,
            client,
            peer: client,
            peer_trusted: false,
            request_id: "0123456789abcdef0123456789abcdef".into(),
            asked: None,
        }));
        let response = router.oneshot(request).await.expect("infallible");
        let (status, headers) = (response.status(), response.headers().clone());
        let via = response.extensions().get().copied();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Reply { status, headers, json: serde_json::from_slice(&bytes).unwrap_or_default(), text, via }
    }

    /// Makes a user, and returns its key.
    pub(crate) async fn user(&self, username: &str) -> i64 {
        let body = serde_json::json!({"username": username, "name": username});
        let made = self.admin(Method::POST, "/core/users/", body).await;
        assert_eq!(made.status, 201, "{:?}", made.json);
        made.json["pk"].as_i64().expect("an integer")
    }

    /// Makes an API token of a user, and returns its key.
    pub(crate) async fn api_key(&self, user: i64, identifier: &str) -> String {
        let body = serde_json::json!({"identifier": identifier, "user": user});
        let made = self.admin(Method::POST, "/core/tokens/", body).await;
        assert_eq!(made.status, 201, "{:?}", made.json);
        let shown = self.admin(Method::GET, &format!("/core/tokens/{identifier}/view_key/"), None).await;
        shown.json["key"].as_str().expect("a key").to_owned()
    }

    /// How many events with this action there are, and the newest one's context.
    pub(crate) async fn events(&self, action: &str) -> (usize, Value) {
        let mut conn = self.ctx.db.read().await.expect("reads");
        let events = portcullis_store::event::latest(&mut conn, Some(action), 100).await.expect("events");
        (events.len(), events.first().map(|event| event.context.clone()).unwrap_or_default())
    }

    /// Everything in the database.
    pub(crate) fn file_bytes(&self) -> Vec<u8> {
        self.database.contents()
    }
}

/// The database, with its tables.
pub(crate) async fn open(database: &Database) -> Db {
    match database {
        Database::File { path, .. } => Db::open_sqlite(path).await,
        Database::Postgres { url } => Db::open_postgres(url, 4).await,
    }
    .expect("a database")
}

/// What may be asked in tests: servers of theirs, on this machine, without TLS.
fn outbound() -> portcullis_idp::outbound::Outbound {
    let allowed_networks = vec!["127.0.0.0/8".parse().expect("a network")];
    portcullis_idp::outbound::Outbound::new(portcullis_idp::outbound::Policy { allow_http: true, allowed_networks })
}

/// A context over a database, with a fresh process's state.
pub(crate) async fn context(db: Db, clock: Arc<ManualClock>) -> Result<Context, bootstrap::BootstrapError> {
    context_with(db, clock, ROOT).await
}

/// The same with another root secret.
pub(crate) async fn context_with(
    db: Db,
    clock: Arc<ManualClock>,
    root: &[u8],
) -> Result<Context, bootstrap::BootstrapError> {
    let keys = Keyring::derive(root);
    let install_id = bootstrap::install_id(&db, &keys, &SystemEntropy).await?;
    Ok(Context {
        db,
        keys,
        clock,
        entropy: Arc::new(SystemEntropy),
        epochs: Arc::new(Epochs::default()),
        base_url: "http://id.example".to_owned(),
        install_id: install_id.into(),
        options: portcullis_idp::context::Options::default(),
        limits: portcullis_idp::limits::Limits::default(),
        rates: portcullis_idp::limits::Rates::default(),
        sessions: portcullis_idp::sessions::Lifetimes::default(),
        places: portcullis_idp::places::Places::default(),
        policies: portcullis_idp::policies::Support::default(),
        signing: portcullis_idp::signing::Cache::default(),
        belongings: portcullis_idp::directory::Belongings::default(),
        clients: portcullis_idp::oauth::client::Known::default(),
        notes: portcullis_idp::oauth::machine::Notes::default(),
        failing: portcullis_idp::event::failing::Failing::default(),
        setup: portcullis_idp::setup::Code::default(),
        pressed: portcullis_idp::flow::Pressed::default(),
        revisions: portcullis_idp::context::Revisions::default(),
        channels: portcullis_idp::outposts::channel::Channels::default(),
        mapping_engine: Arc::new(portcullis_idp::mappings::engine::NoEngine),
        outbound: outbound(),
        jwks: portcullis_idp::sources::jwks::Asked::default(),
        mail: portcullis_idp::mail::Mail::default(),
        blueprints: portcullis_idp::blueprints::Reach::default(),
    })
}
