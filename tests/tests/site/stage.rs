//! A site, an application that records, and a person with an app password.

use portcullis_testkit::{App, Go as _, Person, Recorder, Site, Visitor, api, http};
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::sync::OnceCell;

/// The site that most tests share.
pub(crate) async fn shared() -> &'static Site {
    static SITE: OnceCell<Site> = OnceCell::const_new();
    SITE.get_or_init(Site::start).await
}

/// An application of its own on some site.
pub(crate) struct Stage<'a> {
    pub(crate) site: &'a Site,
    pub(crate) recorder: Recorder,
    pub(crate) app: App,
    pub(crate) person: Person,
    pub(crate) identifier: String,
    pub(crate) key: String,
    pub(crate) address: String,
}

impl Stage<'static> {
    /// On the shared site, with these settings of the provider.
    pub(crate) async fn new(settings: Value) -> Self {
        Self::on(shared().await, settings).await
    }
}

impl<'a> Stage<'a> {
    /// On a site of the test's own.
    pub(crate) async fn on(site: &'a Site, settings: Value) -> Self {
        let person = site.api.person("alice").await;
        Self::with(site, person, settings).await
    }

    /// With a given person.
    pub(crate) async fn with(site: &'a Site, person: Person, settings: Value) -> Self {
        let recorder = Recorder::start().await;
        let app = site.app(&recorder, settings).await;
        let (identifier, key) = site.api.app_password(&person).await;
        Self { site, recorder, app, person, identifier, key, address: api::fresh_address() }
    }

    /// A request to the application from this stage's address.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse().unwrap();
        http().request(method, self.app.url(path)).header("x-forwarded-for", &self.address)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request("GET", path)
    }

    /// The same from an address that no request came from before, so that failures are not added up.
    pub(crate) fn get_as_stranger(&self, path: &str) -> RequestBuilder {
        http().get(self.app.url(path)).header("x-forwarded-for", api::fresh_address())
    }

    /// `Authorization` with the person's app password.
    pub(crate) fn basic(&self) -> String {
        basic(&self.person.username, &self.key)
    }

    /// `Authorization` with an access token for the application.
    pub(crate) async fn bearer(&self) -> String {
        format!("Bearer {}", self.site.access_token(&self.app, &self.person.username, &self.key).await)
    }

    /// The client secret of the provider (CO-570).
    pub(crate) async fn client_secret(&self) -> String {
        let name = format!("outposts/proxy/?name=Provider%20of%20{}", self.app.slug);
        api::text(&self.site.api.get(&name).await["results"][0]["client_secret"])
    }

    /// `Cookie` of a session made on the sign-in page.
    pub(crate) async fn login_cookie(&self) -> String {
        let mut visitor = Visitor::new();
        let page = visitor.sign_in(&self.app.url("/signed-in"), &self.person).await;
        assert_eq!(page.reply.status, 200, "{:#?}: {}", visitor.trace, page.reply.text());
        let name = self.app.cookie_name();
        let value = visitor.cookie(&self.app.external, &name).expect("a session cookie");
        format!("{name}={value}")
    }

    /// `Cookie` of a session made by this `Authorization`.
    pub(crate) async fn header_cookie(&self, authorization: &str) -> String {
        let reply = self.get("/first").header("authorization", authorization).go().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let name = self.app.cookie_name();
        format!("{name}={}", reply.cookie(&name).expect("a session cookie"))
    }

    /// The start of the sign-in that a request to `path` is sent to (PX-130).
    pub(crate) fn start_of_login(&self, path: &str) -> String {
        let target: String = url::form_urlencoded::byte_serialize(self.app.url(path).as_bytes()).collect();
        format!("{}/outpost.goauthentik.io/start?rd={target}", self.app.external)
    }
}

/// `Authorization` for a user name and password.
pub(crate) fn basic(username: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}")))
}
