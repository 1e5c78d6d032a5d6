//! Somebody else who vouches for machines and people: oidc-provider on this machine, and keys of a cluster.

use std::path::Path;
use std::process::Command;

use portcullis_core::clock::Clock as _;
use portcullis_testkit::fronts::fetched;
use portcullis_testkit::process::{command, directory, free_port};
use portcullis_testkit::{Finished, Go as _, Process, Reply, Site, Visitor, api, http, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::flows::Now;
use crate::stage::Stage;

pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A site that may ask servers on this machine.
pub(super) async fn site() -> &'static Site {
    static SITE: OnceCell<Site> = OnceCell::const_new();
    let options = Site::options().env("PORTCULLIS_OUTBOUND__ALLOW_HTTP", "true");
    SITE.get_or_init(|| options.env("PORTCULLIS_OUTBOUND__ALLOWED_NETWORKS", "127.0.0.0/8").start()).await
}

/// A script of `tests/clients/openid`.
pub(super) fn node(name: &str) -> Command {
    let mut node = command(fetched("node"));
    node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/openid").join(name));
    node
}

/// Keys in a folder, by which whatever a test says is signed.
pub(super) struct Keys(TempDir);

impl Keys {
    pub(super) fn new() -> Self {
        Self(directory("keys"))
    }

    /// The public part of a key, such as `k1:RS256`.
    pub(super) async fn public(&self, key: &str) -> Value {
        serde_json::from_str(&self.run(&[key]).await).unwrap()
    }

    /// Where a key of this name is, with its private part.
    pub(super) fn file(&self, kid: &str) -> std::path::PathBuf {
        self.0.path().join(format!("{kid}.json"))
    }

    /// A JWT with these claims. With `k1:hmac`, the public key is a shared secret.
    pub(super) async fn sign(&self, key: &str, claims: &Value) -> String {
        self.run(&[key, &claims.to_string()]).await
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let mut node = node("token.js");
        node.arg(self.0.path()).args(arguments);
        Finished::run(node).await.ok()
    }
}

/// Another identity provider.
pub(super) struct Issuer {
    port: u16,
    pub(super) keys: Keys,
    audiences: Vec<String>,
    process: Process,
}

impl Issuer {
    /// With tokens for these audiences, each by its resource, which sign with the last of the keys.
    pub(super) async fn start(audiences: &[(&str, &str)], keys: &[&str]) -> Self {
        let (port, folder) = (free_port(), Keys::new());
        let audiences: Vec<_> =
            audiences.iter().map(|(name, audience)| format!("urn:test:{name}={audience}")).collect();
        let process = launch(port, &folder, &audiences, keys);
        let issuer = Self { port, keys: folder, audiences, process };
        issuer.ready().await;
        issuer
    }

    /// It comes back with other keys at the same address.
    pub(super) async fn rotate(&mut self, keys: &[&str]) {
        self.process.kill();
        self.process = launch(self.port, &self.keys, &self.audiences, keys);
        self.ready().await;
    }

    async fn ready(&self) {
        until("the other identity provider", async || {
            assert!(self.process.ended().is_none(), "it ended: {}", self.process.log());
            http().get(self.well_known()).try_go().await.filter(|reply| reply.status == 200)
        })
        .await;
    }

    /// What it calls itself.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn well_known(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.url())
    }

    pub(super) fn jwks(&self) -> String {
        format!("{}/jwks", self.url())
    }

    async fn token(&self, client: &str, pairs: &[(&str, &str)]) -> Value {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = http().post(format!("{}/token", self.url())).body(form);
        let request = request.basic_auth(client, Some(format!("secret-of-the-{client}")));
        let reply = request.header("content-type", "application/x-www-form-urlencoded").go().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// An access token of the client `machine` for the audience of a resource.
    pub(super) async fn machine(&self, resource: &str) -> String {
        let resource = format!("urn:test:{resource}");
        let pairs = [("grant_type", "client_credentials"), ("resource", resource.as_str())];
        api::text(&self.token("machine", &pairs).await["access_token"])
    }

    /// The ID token of somebody who signs in there, in a browser.
    pub(super) async fn person(&self, name: &str) -> String {
        let back = format!("{}/back", self.url());
        let query = [("client_id", "portal"), ("response_type", "code"), ("scope", "openid"), ("redirect_uri", &back)];
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let mut visitor = Visitor::new();
        let page = visitor.visit(&format!("{}/auth?{query}", self.url())).await;
        let page = visitor.submit(&page, &[("login", name), ("password", "whatever")]).await;
        let page = visitor.submit(&page, &[]).await;
        let (_, code) = page.url.query_pairs().find(|(name, _)| name == "code").expect("a code");
        let pairs = [("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", &back)];
        api::text(&self.token("portal", &pairs).await["id_token"])
    }
}

fn launch(port: u16, keys: &Keys, audiences: &[String], names: &[&str]) -> Process {
    let mut node = node("issuer.js");
    node.arg(fetched("openid")).arg(port.to_string()).arg(keys.0.path()).args(audiences).arg("--").args(names);
    Process::start("node", node)
}

/// A source on the site, with more than its name; its slug.
pub(super) async fn source(site: &Site, more: Value) -> (String, Value) {
    let slug = api::fresh("source");
    let mut body = json!({
        "name": slug, "slug": slug, "provider_type": "openidconnect", "consumer_key": "-", "consumer_secret": "-",
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    (slug, site.api.post("sources/oauth/", body).await["pk"].clone())
}

/// Lets a stage's provider trust sources.
pub(super) async fn trust(stage: &Stage<'_>, sources: &[&Value]) {
    let path = format!("providers/proxy/{}/", stage.app.provider);
    stage.site.api.patch(&path, json!({"jwt_federation_sources": sources})).await;
}

/// A request to the token endpoint, from an address of its own.
pub(super) async fn ask(stage: &Stage<'_>, pairs: &[(&str, &str)], authorization: Option<String>) -> Reply {
    let mut all = vec![("grant_type", "client_credentials"), ("scope", "openid profile email ak_proxy")];
    all.extend(pairs);
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish();
    let request = http().post(stage.site.url("/application/o/token/")).body(form);
    let mut request = request.header("content-type", "application/x-www-form-urlencoded");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    request.header("x-forwarded-for", api::fresh_address()).go().await
}

/// The same with an assertion.
pub(super) async fn assert(stage: &Stage<'_>, jwt: &str) -> Reply {
    let pairs =
        [("client_id", stage.app.client_id.as_str()), ("client_assertion_type", JWT_BEARER), ("client_assertion", jwt)];
    ask(stage, &pairs, None).await
}

/// The access token that an assertion is good for.
pub(super) async fn traded(stage: &Stage<'_>, jwt: &str) -> String {
    let reply = assert(stage, jwt).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    api::text(&reply.json()["access_token"])
}

/// That an assertion is good for nothing: the client is told nothing, only the event knows why.
pub(super) async fn refused(stage: &Stage<'_>, jwt: &str, reason: &str) {
    let reply = assert(stage, jwt).await;
    assert_eq!(reply.status, 400, "{reason}: {}", reply.text());
    let mut told = reply.json();
    told["request_id"] = json!(null);
    let wrong = ask(stage, &[("client_id", &stage.app.client_id), ("client_secret", "wrong")], None).await;
    let mut untold = wrong.json();
    untold["request_id"] = json!(null);
    assert_eq!((&told["error"], &told), (&json!("invalid_grant"), &untold), "{reason}");
    let events = stage.site.api.get("events/events/?action=login_failed&ordering=-created&page_size=50").await;
    let of_this = events["results"].as_array().unwrap().iter().find(|event| {
        event["context"]["client_id"] == json!(stage.app.client_id) && event["context"]["variant"] == "jwt"
    });
    assert_eq!(of_this.expect("an event")["context"]["reason"], json!(reason));
}

/// What a JWT says, unverified.
pub(super) fn claims(jwt: &str) -> Value {
    use base64::Engine as _;
    let part = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    Now.now().seconds()
}
