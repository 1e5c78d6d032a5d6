//! Other reverse proxies in front, with the configurations of `docs/src/integrations`.

use futures_util::{SinkExt, StreamExt};
use portcullis_testkit::fronts::{Front, Kind, Place, WANTED};
use portcullis_testkit::peers::UPSTREAM;
use portcullis_testkit::site::basic_upstream;
use portcullis_testkit::{App, Browser, Go as _, Person, Recorder, Site, Visitor, http, raw, run};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::stage::basic;

/// An application behind another reverse proxy that asks Portcullis.
struct Scene {
    kind: Kind,
    site: Site,
    recorder: Recorder,
    app: App,
    person: Person,
    key: String,
    port: u16,
    _front: Front,
}

impl Scene {
    async fn new(kind: Kind) -> Self {
        let settings = json!({"mode": "forward_single", "skip_path_regex": "^/public/"});
        Self::at(kind, Place::default(), settings).await
    }

    async fn at(kind: Kind, place: Place, more: Value) -> Self {
        Self::on(Site::start().await, kind, place, more).await
    }

    async fn on(site: Site, kind: Kind, place: Place, more: Value) -> Self {
        let recorder = Recorder::start().await;
        let mut settings = basic_upstream();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let app = site.app_at(&place.external(), "", &settings).await;
        let person = site.api.person("ada").await;
        let attributes = json!({"app_user": UPSTREAM.0, "app_password": UPSTREAM.1});
        site.api.group("notes-users", attributes, &[&person]).await;
        let (_, key) = site.api.app_password(&person).await;
        let upstream = recorder.url().rsplit(':').next().unwrap().parse().unwrap();
        let front = Front::start(kind, &place, upstream, site.gate(), &app.cookie_name()).await;
        Self { kind, site, recorder, app, person, key, port: place.port, _front: front }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        http().get(self.app.url(path))
    }

    fn basic(&self) -> String {
        basic(&self.person.username, &self.key)
    }

    /// The last request reached the application in the person's name, with credentials of its own.
    fn arrived_as_the_person(&self, target: &str) {
        let seen = self.recorder.last();
        assert_eq!(seen.target, target, "{:?}", self.kind);
        assert_eq!(seen.one("x-authentik-username"), Some(self.person.username.clone()), "{seen:?}");
        assert_eq!(seen.one("x-authentik-email"), Some(self.person.email.clone()));
        assert_eq!(seen.one("x-authentik-meta-app"), Some(self.app.slug.clone()));
        assert_eq!(seen.one("authorization"), Some(basic(UPSTREAM.0, UPSTREAM.1)), "{seen:?}");
        assert!(!seen.contains(&self.key), "{seen:?}");
    }

    /// Basic and Bearer let programs in, on the first request and later; wrong ones are refused.
    async fn programs(&self) {
        let bearer = format!("Bearer {}", self.site.access_token(&self.app, &self.person.username, &self.key).await);
        for authorization in [self.basic(), bearer] {
            for _ in 0..2 {
                let reply = self.get("/page?x=1&y=%20").header("authorization", &authorization).go().await;
                assert_eq!(reply.status, 200, "{:?}: {reply:?}", self.kind);
                self.arrived_as_the_person("/page?x=1&y=%20");
            }
        }
        let before = self.recorder.count();
        let first = self.get("/page").header("authorization", self.basic()).go().await;
        let cookie = first.cookie(&self.app.cookie_name()).unwrap_or_else(|| panic!("{:?}: {first:?}", self.kind));
        let with_cookie = format!("other=1; {}={cookie}; last=2", self.app.cookie_name());
        let reply = self.get("/by-cookie").header("cookie", with_cookie).go().await;
        assert_eq!(reply.status, 200);
        self.arrived_as_the_person("/by-cookie");
        let cookies = self.recorder.last().all("cookie").join("; ");
        assert!(cookies.contains("other=1") && cookies.contains("last=2"), "{:?}: {cookies}", self.kind);
        if !matches!(self.kind, Kind::Traefik | Kind::Envoy) {
            assert!(!cookies.contains("authentik_proxy_"), "{:?}: {cookies}", self.kind);
        }
        let wrong = self.get("/page").header("authorization", basic(&self.person.username, "wrong")).go().await;
        assert_eq!(wrong.status, 401, "{:?}: {wrong:?}", self.kind);
        assert!(wrong.all("www-authenticate").join(",").contains("Basic realm="), "{:?}: {wrong:?}", self.kind);
        let nobody = self.get("/page").header("accept", "application/json").go().await;
        assert_eq!(nobody.status, 401, "{:?}: {nobody:?}", self.kind);
        assert_eq!(self.recorder.count(), before + 2, "{:?}", self.kind);
    }

    /// What a client says about itself reaches no application: on protected targets, on open ones, in any spelling.
    async fn spoofs(&self) {
        for (path, authorization) in [("/page", Some(self.basic())), ("/public/page", None)] {
            let mut request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.app.authority());
            for name in [
                "X-Authentik-Username",
                "X_Authentik_Username",
                "x-authentik-groups",
                "X_AUTHENTIK_UID",
                "X-Authentik_Name",
                "X_Authentik-Email",
                "X.Authentik.Groups",
                "X-Authentik-Meta_App",
            ] {
                request.push_str(&format!("{name}: forged\r\n"));
            }
            request.push_str("X-Forwarded-Host: forged.example\r\nX-Forwarded-Uri: /public/x\r\n");
            request.push_str("X-Original-URI: /public/x\r\nX-Forwarded-Method: OPTIONS\r\n");
            if let Some(authorization) = authorization {
                request.push_str(&format!("Authorization: {authorization}\r\n"));
            }
            let answer = raw::exchange(self.port, format!("{request}\r\n")).await;
            assert_eq!(raw::status(&answer), 200, "{:?} {path}: {answer}", self.kind);
            let seen = self.recorder.last();
            assert!(!seen.fields.iter().any(|(_, value)| value.as_slice() == b"forged"), "{:?}: {seen:?}", self.kind);
        }
        // None of it makes a protected target an open one.
        let before = self.recorder.count();
        for (name, value) in [
            ("X-Forwarded-Uri", "/public/x"),
            ("X-Original-URI", "/public/x"),
            ("X-Original-URL", "http://notes.localhost/public/x"),
            ("X-Forwarded-Method", "OPTIONS"),
            ("X-Envoy-Original-Path", "/public/x"),
        ] {
            let reply = self.get("/page").header(name, value).header("accept", "text/html").go().await;
            assert!((300..500).contains(&reply.status), "{:?} {name}: {reply:?}", self.kind);
        }
        assert_eq!(self.recorder.count(), before, "{:?}", self.kind);
        for path in ["/public/../page", "/public/%2e%2e/page", "/public%2f..%2fpage", "//public/page"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.app.authority());
            let status = raw::status(&raw::exchange(self.port, request).await);
            // A proxy may tidy a path up before it asks: then the application sees the tidy one, too.
            let tidied = status == 200 && path == "//public/page" && self.recorder.last().target == "/public/page";
            assert!(tidied || (300..500).contains(&status), "{:?} {path}: {status}", self.kind);
        }
    }

    /// Nobody asks Portcullis the questions of the proxy, to read what it tells about them (PX-555).
    async fn questions_of_strangers(&self) {
        let cookie = format!("{}={}", self.app.cookie_name(), self.session().await);
        // Asked as a client spells it: what a proxy takes for a page of the login is one, or nothing.
        for path in
            ["/auth/envoy/../../start", "/auth/envoy/%2e%2e/../../start", "/start/../auth/nginx", "//auth/nginx"]
        {
            let request = format!(
                "GET /outpost.goauthentik.io{path} HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n",
                self.app.authority()
            );
            let answer = raw::exchange(self.port, request).await.to_ascii_lowercase();
            assert!(!answer.contains("\r\nx-authentik-username"), "{:?} {path}: {answer}", self.kind);
            assert!(!answer.contains("\r\nauthorization:"), "{:?} {path}: {answer}", self.kind);
        }
        let asked = self.recorder.count();
        for path in ["/ping", "/static/x?y=1"] {
            self.get(&format!("/outpost.goauthentik.io{path}")).go().await;
        }
        assert_eq!(self.recorder.count(), asked, "{:?}: nobody passes without a login", self.kind);
        for path in ["/auth/traefik", "/auth/nginx", "/auth/caddy", "/auth/envoy/page", "/auth/", "/x"] {
            let reply = self
                .get(&format!("/outpost.goauthentik.io{path}"))
                .header("cookie", &cookie)
                .header("x-forwarded-uri", "/page")
                .header("x-original-url", self.app.url("/page"))
                .go()
                .await;
            assert!(reply.status >= 300 || path == "/x", "{:?} {path}: {reply:?}", self.kind);
            assert!(!reply.headers.keys().any(|name| name.as_str().starts_with("x-authentik-")), "{reply:?}");
            assert_eq!(reply.header("authorization"), None);
        }
        assert!(self.recorder.count() <= asked + 1);
    }

    /// Who may use another application does not get into this one by its name.
    async fn other_hosts(&self) {
        let other = self.site.app_at("http://other.localhost", "", &json!({"mode": "forward_single"})).await;
        let before = self.recorder.count();
        for target in ["/page", &format!("{}/page", self.app.external)] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
                other.authority(),
                self.basic()
            );
            raw::exchange(self.port, request).await;
        }
        let reached = self.recorder.seen().split_off(before);
        let as_other =
            |seen: &portcullis_testkit::Seen| seen.one("x-authentik-meta-app") != Some(self.app.slug.clone());
        assert!(!reached.iter().any(as_other), "{:?}: {reached:#?}", self.kind);
    }

    /// The value of a session cookie.
    async fn session(&self) -> String {
        let reply = self.get("/page").header("authorization", self.basic()).go().await;
        reply.cookie(&self.app.cookie_name()).unwrap_or_else(|| panic!("{:?}: {reply:?}", self.kind))
    }

    /// A browser signs in, is where it wanted to be, and signs out again.
    async fn browser(&self) {
        let browser = Browser::open().await;
        let wanted = self.app.url("/a%20page/?x=1&y=2&z=%2F");
        browser.go(&wanted).await;
        browser.sign_in(&self.person.username, &self.person.password).await;
        browser.sees("GET /a%20page/").await;
        assert_eq!(browser.url().await, wanted, "{:?}", self.kind);
        self.arrived_as_the_person_at_some_time("/a%20page/?x=1&y=2&z=%2F");
        browser.go(&self.app.url("/outpost.goauthentik.io/sign_out")).await;
        browser.sees("Signed out of").await;
        browser.go(&self.app.url("/again")).await;
        // Still signed in at the identity provider, so that the way leads back by itself with a session of its own.
        browser.sees("GET /again").await;
    }

    fn arrived_as_the_person_at_some_time(&self, target: &str) {
        let all = self.recorder.seen();
        let seen = all.iter().find(|seen| seen.target == target).unwrap_or_else(|| panic!("{target}: {all:#?}"));
        assert_eq!(seen.one("x-authentik-username"), Some(self.person.username.clone()));
    }

    /// A session that was ended opens nothing any more.
    async fn sign_out(&self) {
        let mut visitor = Visitor::new();
        let page = visitor.sign_in(&self.app.url("/signed-in"), &self.person).await;
        assert_eq!(page.reply.status, 200, "{:?}: {:#?}", self.kind, visitor.trace);
        let name = self.app.cookie_name();
        let cookie = format!("{name}={}", visitor.cookie(&self.app.external, &name).expect("a session cookie"));
        assert_eq!(self.get("/before").header("cookie", &cookie).go().await.status, 200);
        let left = self.get("/outpost.goauthentik.io/sign_out").header("cookie", &cookie).go().await;
        assert_eq!(left.status, 302, "{:?}: {left:?}", self.kind);
        let after = self.get("/after").header("cookie", &cookie).header("accept", "text/html").go().await;
        assert_eq!(after.status, 302, "{:?}: {after:?}", self.kind);
        assert!(after.location().contains("/application/o/authorize/?"), "{}", after.location());
    }

    /// A WebSocket is opened under an identity, and by nobody else.
    async fn websocket(&self) {
        let open = async |authorization: Option<String>| {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            let mut request = tokio_tungstenite::tungstenite::handshake::client::Request::builder()
                .uri(format!("ws://{}/chat/ws", self.app.authority()))
                .header("host", self.app.authority())
                .header("connection", "Upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            tokio_tungstenite::client_async(request.body(()).unwrap(), stream).await
        };
        let (mut socket, _) = open(Some(self.basic())).await.unwrap_or_else(|error| panic!("{:?}: {error}", self.kind));
        for size in [1, 100_000] {
            let text = "x".repeat(size);
            socket.send(Message::text(text.clone())).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().as_str(), text);
        }
        let seen = self.recorder.last();
        assert_eq!(seen.one("x-authentik-username"), Some(self.person.username.clone()), "{seen:?}");
        assert!(open(None).await.is_err(), "{:?}", self.kind);
    }

    /// A large upload arrives whole.
    async fn upload(&self) {
        let size = 64 << 20;
        let body = vec![b'x'; size];
        let put = http().put(self.app.url("/file")).header("authorization", self.basic()).body(body);
        let reply = put.go().await;
        assert_eq!((reply.status, self.recorder.last().length), (200, size as u64), "{:?}", self.kind);
    }

    /// Without Portcullis nobody gets in, not even where everybody may.
    async fn outage(&self) {
        let before = self.recorder.count();
        self.site.kill_gate();
        for path in ["/page", "/public/page"] {
            let reply = self.get(path).header("authorization", self.basic()).go().await;
            assert!(reply.status >= 500, "{:?} {path}: {reply:?}", self.kind);
        }
        assert_eq!(self.recorder.count(), before, "{:?}", self.kind);
    }
}

fn protects(kind: Kind) {
    run(async { protected(Scene::new(kind).await).await });
}

async fn protected(scene: Scene) {
    scene.programs().await;
    scene.spoofs().await;
    scene.questions_of_strangers().await;
    scene.other_hosts().await;
    scene.browser().await;
    scene.sign_out().await;
    scene.websocket().await;
    scene.upload().await;
    scene.outage().await;
}

/// PX-001, PX-255: a stand-alone outpost answers the documented nginx as the embedded one does.
#[test]
fn px_001_nginx_before_an_outpost() {
    run(async {
        let site = Site::options().by_outpost().start().await;
        let settings = json!({"mode": "forward_single", "skip_path_regex": "^/public/"});
        protected(Scene::on(site, Kind::Nginx, Place::default(), settings).await).await;
    });
}

/// PX-255, PX-245, PX-097, PX-130: the documented nginx protects an application for browsers and programs.
#[test]
fn px_255_nginx() {
    protects(Kind::Nginx);
}

/// PX-255, PX-140, PX-250: the documented ingress-nginx, by what its controller makes of it, protects an application, and
/// leads a browser back to what it wanted although it encodes that in part.
#[test]
fn px_255_ingress_nginx() {
    run(async {
        let scene = Scene::new(Kind::IngressNginx).await;
        let asked = scene.get("/page").header("authorization", scene.basic()).header("x-authentik-username", "forged");
        let reply = asked.go().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.cookie(&scene.app.cookie_name()).is_some(), "{reply:?}");
        scene.arrived_as_the_person("/page");
        scene.questions_of_strangers().await;
        scene.other_hosts().await;
        let mut visitor = Visitor::new();
        let wanted = scene.app.url(WANTED);
        let page = visitor.sign_in(&wanted, &scene.person).await;
        assert_eq!((page.reply.status, page.url.as_str()), (200, wanted.as_str()), "{:#?}", visitor.trace);
        scene.arrived_as_the_person(WANTED);
        scene.outage().await;
    });
}

/// PX-255, PX-245, PX-097, PX-130: the documented Traefik protects an application for browsers and programs.
#[test]
fn px_255_traefik() {
    protects(Kind::Traefik);
}

/// PX-255, PX-245, PX-097, PX-130: the documented Caddy protects an application for browsers and programs.
#[test]
fn px_255_caddy() {
    protects(Kind::Caddy);
}

/// PX-255, PX-245, PX-248, PX-250: the documented Envoy protects an application for browsers and programs.
#[test]
fn px_255_envoy() {
    protects(Kind::Envoy);
}

/// PX-255, PX-245, PX-097, PX-130: the documented HAProxy protects an application for browsers and programs.
#[test]
fn px_255_haproxy() {
    protects(Kind::Haproxy);
}

/// One login is good for all hosts of a domain, and leads back to the host that was asked for.
fn protects_a_domain(kind: Kind) {
    run(async {
        let domain = json!({"mode": "forward_domain", "cookie_domain": "notes.localhost",
            "skip_path_regex": "^http://open\\.notes\\.localhost:[0-9]+/public/"});
        let scene = Scene::at(kind, Place::of_domain(), domain).await;
        let at = |host: &str, path: &str| format!("http://{host}.notes.localhost:{}{path}", scene.port);
        let browser = Browser::open().await;
        browser.go(&at("one", "/page?x=1&y=2")).await;
        browser.sign_in(&scene.person.username, &scene.person.password).await;
        browser.sees("GET /page").await;
        assert_eq!(browser.url().await, at("one", "/page?x=1&y=2"));
        browser.go(&at("two", "/other")).await;
        browser.sees("GET /other").await;
        scene.arrived_as_the_person_at_some_time("/other");
        for (host, path, passes) in [("open", "/public/x", true), ("one", "/public/x", false), ("open", "/x", false)] {
            let reply = http().get(at(host, path)).header("accept", "text/html").go().await;
            assert_eq!(reply.status == 200, passes, "{kind:?} {host}{path}: {reply:?}");
        }
        let elsewhere = http().get(format!("http://127.0.0.1:{}/", scene.port)).header("host", "evilnotes.localhost");
        let before = scene.recorder.count();
        elsewhere.go().await;
        assert_eq!(scene.recorder.count(), before, "a look-alike is another site");
    });
}

/// PX-255, PX-163, PX-235: one login protects a whole domain behind the documented nginx.
#[test]
fn px_255_nginx_for_a_domain() {
    protects_a_domain(Kind::Nginx);
}

/// PX-255, PX-163, PX-235: one login protects a whole domain behind the documented Traefik.
#[test]
fn px_255_traefik_for_a_domain() {
    protects_a_domain(Kind::Traefik);
}

/// PX-255, PX-163, PX-235: one login protects a whole domain behind the documented Caddy.
#[test]
fn px_255_caddy_for_a_domain() {
    protects_a_domain(Kind::Caddy);
}

/// PX-255, PX-163, PX-235: one login protects a whole domain behind the documented Envoy.
#[test]
fn px_255_envoy_for_a_domain() {
    protects_a_domain(Kind::Envoy);
}

/// PX-255, PX-163, PX-235: one login protects a whole domain behind the documented HAProxy.
#[test]
fn px_255_haproxy_for_a_domain() {
    protects_a_domain(Kind::Haproxy);
}
