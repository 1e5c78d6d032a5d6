//! Setting a site up through `/api/v3`.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::http::{Go, Reply, http};

/// An API client with a token.
pub struct Api {
    base: String,
    token: String,
    attach: tokio::sync::Mutex<()>,
}

/// A user made for a test.
#[derive(Clone, Debug)]
pub struct Person {
    /// Primary key.
    pub pk: i64,
    /// Core user id.
    pub uuid: String,
    /// User name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// Password for the sign-in page.
    pub password: String,
}

/// An application with its proxy provider, attached to the embedded outpost.
#[derive(Clone, Debug)]
pub struct App {
    /// Primary key of the provider.
    pub provider: i64,
    /// OAuth client id of the provider.
    pub client_id: String,
    /// Primary key of the application, the target of bindings.
    pub uuid: String,
    /// Slug and name of the application.
    pub slug: String,
    /// External host, without a slash at the end.
    pub external: String,
}

impl App {
    /// An URL of this application.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.external)
    }

    /// `host:port` of the external host.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.external.split("//").nth(1).unwrap()
    }

    /// Name of its session cookie (PX-170).
    #[must_use]
    pub fn cookie_name(&self) -> String {
        let digest = crate::site::sha256_hex(self.client_id.as_bytes());
        format!("authentik_proxy_{}", &digest[..8])
    }
}

/// A name that no other test uses.
#[must_use]
pub fn fresh(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{stem}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An address from which no other test seems to come. The sites of the suite trust the loopback address, so a test
/// names its client in `X-Forwarded-For`.
#[must_use]
pub fn fresh_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("198.18.{}.{}", number / 250, number % 250 + 1)
}

impl Api {
    /// A client of the site at `base`, such as `http://localhost:9000`.
    #[must_use]
    pub fn new(base: &str, token: &str) -> Self {
        Self { base: base.to_owned(), token: token.to_owned(), attach: tokio::sync::Mutex::default() }
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = http().request(method, format!("{}/api/v3/{path}", self.base)).bearer_auth(&self.token);
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    /// Any call; `path` is relative to `/api/v3/`.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        self.request(method, path, body).go().await
    }

    /// A call to a server that may go away; only its success counts.
    pub async fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Reply> {
        self.request(method, path, body).try_go().await.filter(|reply| (200..300).contains(&reply.status))
    }

    async fn expect(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let reply = self.call(method, path, body).await;
        assert!((200..300).contains(&reply.status), "{method} {path} {body:?}: {} {}", reply.status, reply.text());
        if reply.body.is_empty() { Value::Null } else { reply.json() }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Value {
        self.expect("GET", path, None).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.expect("POST", path, Some(&body)).await
    }

    /// PATCH.
    pub async fn patch(&self, path: &str, body: Value) -> Value {
        self.expect("PATCH", path, Some(&body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) {
        self.expect("DELETE", path, None).await;
    }

    /// A new user with a password and attributes.
    pub async fn person_with(&self, stem: &str, attributes: Value) -> Person {
        let username = fresh(stem);
        let (email, password) = (format!("{username}@example.org"), format!("correct horse {username}"));
        let body = json!({"username": username, "name": format!("Name of {username}"), "email": email, "attributes": attributes});
        let user = self.post("core/users/", body).await;
        let pk = user["pk"].as_i64().unwrap();
        self.post(&format!("core/users/{pk}/set_password/"), json!({"password": password})).await;
        Person { pk, uuid: text(&user["uuid"]), username, email, password }
    }

    /// A new user with a password.
    pub async fn person(&self, stem: &str) -> Person {
        self.person_with(stem, json!({})).await
    }

    /// A new app password; its identifier and key.
    pub async fn app_password(&self, person: &Person) -> (String, String) {
        let identifier = fresh("app-password-");
        let body = json!({"identifier": identifier, "intent": "app_password", "user": person.pk, "description": "made by a test"});
        self.post("core/tokens/", body).await;
        let key = self.get(&format!("core/tokens/{identifier}/view_key/")).await;
        (identifier, text(&key["key"]))
    }

    /// A new group with attributes and members; its primary key.
    pub async fn group(&self, stem: &str, attributes: Value, members: &[&Person]) -> String {
        let users: Vec<i64> = members.iter().map(|person| person.pk).collect();
        let body = json!({"name": fresh(stem), "attributes": attributes, "users": users});
        text(&self.post("core/groups/", body).await["pk"])
    }

    /// Primary keys of the default authorization and invalidation flows.
    pub async fn flows(&self) -> (String, String) {
        let authorization = self.get("flows/instances/default-provider-authorization-implicit-consent/").await;
        let invalidation = self.get("flows/instances/default-provider-invalidation-flow/").await;
        (text(&authorization["pk"]), text(&invalidation["pk"]))
    }

    /// A new application at `external` before `internal`. `settings` are further fields of the provider.
    pub async fn app(&self, external: &str, internal: &str, settings: &Value) -> App {
        let app = self.unattached_app(external, internal, settings).await;
        self.attach(app.provider).await;
        app
    }

    /// The same, which no outpost serves yet.
    pub async fn unattached_app(&self, external: &str, internal: &str, settings: &Value) -> App {
        let (authorization, invalidation) = self.flows().await;
        let slug = fresh("app");
        let mut body = json!({
            "name": format!("Provider of {slug}"), "authorization_flow": authorization, "invalidation_flow": invalidation,
            "external_host": external, "internal_host": internal, "mode": "proxy",
        });
        for (key, value) in settings.as_object().unwrap() {
            body[key] = value.clone();
        }
        let provider = self.post("providers/proxy/", body).await;
        let pk = provider["pk"].as_i64().unwrap();
        let application = self.post("core/applications/", json!({"name": slug, "slug": slug, "provider": pk})).await;
        App {
            provider: pk,
            client_id: text(&provider["client_id"]),
            uuid: text(&application["pk"]),
            slug,
            external: external.trim_end_matches('/').to_owned(),
        }
    }

    /// Attaches a provider to the embedded outpost.
    pub async fn attach(&self, provider: i64) {
        let _one_at_a_time = self.attach.lock().await;
        let list = self.get("outposts/instances/?managed__iexact=goauthentik.io/outposts/embedded").await;
        let outpost = &list["results"][0];
        let mut providers: Vec<i64> =
            outpost["providers"].as_array().unwrap().iter().filter_map(Value::as_i64).collect();
        providers.push(provider);
        self.patch(&format!("outposts/instances/{}/", text(&outpost["pk"])), json!({"providers": providers})).await;
    }

    /// Binds a user or group to an application; the primary key of the binding.
    pub async fn bind(&self, app: &App, who: Value) -> String {
        let mut body = json!({"target": app.uuid, "order": 0});
        for (key, value) in who.as_object().unwrap() {
            body[key] = value.clone();
        }
        text(&self.post("policies/bindings/", body).await["pk"])
    }
}

/// A JSON string.
///
/// # Panics
/// When it is something else.
#[must_use]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}
