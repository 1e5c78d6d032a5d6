//! The endpoints as a client and a browser meet them, on an instance in memory.

mod asking;
mod assertions;
mod atomic;
mod auth_via;
mod browser;
mod clients;
mod consent;
mod device;
mod encrypted;
mod entitlements;
mod exchange;
mod expressions;
mod failing;
mod front;
mod impersonation;
mod introspection;
mod issued;
mod leaving;
mod limited;
mod login;
mod logout;
mod machine;
mod mappings;
mod metadata;
mod outpost;
mod policies;
mod refresh;
mod response_types;
mod rotation;
mod said;
mod scopes;
mod secrets;
mod settings;
mod signed;
mod wire;

use std::net::IpAddr;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request, header};
use portcullis_core::id::ProviderPk;
use serde_json::{Value, json};

use crate::testing::{Reply, Site};

/// Ada's app password.
const KEY: &str = "app-password-of-ada-0000000000000000001";
/// Where the application is.
const EXTERNAL: &str = "http://wiki.example";

/// An instance with the user `ada`, her app password, and the application `wiki` behind a proxy provider.
struct Wiki {
    site: Site,
    ada: i64,
    provider: i64,
    client_id: String,
    client_secret: String,
}

impl Wiki {
    async fn new() -> Self {
        let site = Site::new().await;
        let ada = site.user("ada").await;
        let attributes = json!({"app_username": "upstream", "app_password": "open sesame", "other_password": "x"});
        site.admin(Method::PATCH, &format!("/core/users/{ada}/"), json!({"attributes": attributes})).await;
        app_password(&site, ada, "ada-key", KEY).await;
        let (provider, client_id, client_secret) = application(&site, "wiki", EXTERNAL).await;
        Self { site, ada, provider, client_id, client_secret }
    }

    fn pk(&self) -> ProviderPk {
        ProviderPk(i32::try_from(self.provider).expect("small"))
    }

    /// Asks the token endpoint, as this client.
    async fn token(&self, parameters: &[(&str, &str)]) -> Reply {
        let mut all = vec![("client_id", self.client_id.as_str())];
        all.extend_from_slice(parameters);
        post(&self.site, "/application/o/token/", &all, &[]).await
    }

    /// Asks for a token with Ada's app password.
    async fn token_of_ada(&self, scope: &str) -> Reply {
        let all = [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY), ("scope", scope)];
        self.token(&all).await
    }

    /// The same as the outpost asks, which has the client's secret.
    async fn token_for_outpost(&self, scope: &str) -> Reply {
        let secret = ("client_secret", self.client_secret.as_str());
        let all =
            [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY), ("scope", scope), secret];
        self.token(&all).await
    }

    async fn introspect(&self, token: &str) -> Reply {
        let all = [("client_id", self.client_id.as_str()), ("client_secret", &self.client_secret), ("token", token)];
        post(&self.site, "/application/o/introspect/", &all, &[]).await
    }

    async fn is_active(&self, token: &str) -> bool {
        let reply = self.introspect(token).await;
        assert_eq!(reply.status, 200, "{:?}", reply.json);
        if reply.json["active"] == false {
            assert_eq!(reply.json, json!({"active": false}), "OA-495");
        }
        reply.json["active"] == true
    }

    /// Lets nobody but a user into the application.
    async fn bind_to(&self, user: i64) -> String {
        let application = self.site.admin(Method::GET, "/core/applications/wiki/", None).await;
        let body = json!({"target": application.json["pk"], "user": user, "order": 0, "enabled": true});
        let made = self.site.admin(Method::POST, "/policies/bindings/", body).await;
        assert_eq!(made.status, 201, "{:?}", made.json);
        made.json["pk"].as_str().expect("a key").to_owned()
    }
}

async fn app_password(site: &Site, user: i64, identifier: &str, key: &str) {
    let body = json!({"identifier": identifier, "user": user, "intent": "app_password", "expiring": false});
    let made = site.admin(Method::POST, "/core/tokens/", body).await;
    assert_eq!(made.status, 201, "{:?}", made.json);
    let path = format!("/core/tokens/{identifier}/set_key/");
    let set = site.admin(Method::POST, &path, json!({"key": key})).await;
    assert!(set.status.is_success(), "{:?}", set.json);
}

/// Makes an application with its provider: integer key, client id and client secret.
async fn application(site: &Site, slug: &str, external_host: &str) -> (i64, String, String) {
    let flow = async |slug: &str| {
        let found = site.admin(Method::GET, &format!("/flows/instances/{slug}/"), None).await;
        found.json["pk"].clone()
    };
    let body = json!({
        "name": slug,
        "authorization_flow": flow("default-provider-authorization-implicit-consent").await,
        "invalidation_flow": flow("default-provider-invalidation-flow").await,
        "external_host": external_host,
        "internal_host": "http://127.0.0.1:1",
        "basic_auth_enabled": true,
        "basic_auth_user_attribute": "app_username",
        "basic_auth_password_attribute": "app_password",
    });
    let made = site.admin(Method::POST, "/providers/proxy/", body).await;
    assert_eq!(made.status, 201, "{:?}", made.json);
    let pk = made.json["pk"].as_i64().expect("an integer");
    let body = json!({"name": slug, "slug": slug, "provider": pk});
    let application = site.admin(Method::POST, "/core/applications/", body).await;
    assert_eq!(application.status, 201, "{:?}", application.json);
    let mut conn = site.ctx.db.read().await.expect("reads");
    let pk32 = ProviderPk(i32::try_from(pk).expect("small"));
    let record = portcullis_store::provider::by_pk(&mut conn, pk32).await.expect("reads").expect("is there");
    let secret = portcullis_idp::providers::client_secret(&site.ctx, &record).expect("opens");
    (pk, record.client_id, secret)
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn form(path: &str, parameters: &[(&str, &str)], headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(Method::POST).uri(path);
    request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(encoded(parameters))).expect("a request")
}

async fn post(site: &Site, path: &str, parameters: &[(&str, &str)], headers: &[(&str, &str)]) -> Reply {
    site.raw(form(path, parameters, headers)).await
}

async fn post_from(site: &Site, client: [u8; 4], path: &str, parameters: &[(&str, &str)]) -> Reply {
    site.raw_from(form(path, parameters, &[]), IpAddr::from(client)).await
}

async fn get(site: &Site, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    site.raw(request.body(Body::empty()).expect("a request")).await
}

/// The claims of a token, unverified.
fn claims(token: &Value) -> Value {
    let payload = token.as_str().expect("a token").split('.').nth(1).expect("three parts").to_owned();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

fn text<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.json[name].as_str().unwrap_or_else(|| panic!("{name} in {}", reply.text))
}

fn location(reply: &Reply) -> &str {
    reply.headers.get(header::LOCATION).expect("a redirect").to_str().expect("text")
}
