//! Questions of other proxies (section 15).

use http::{Method, StatusCode};
use portcullis_core::outpost::{Mode, Provider};

use super::login::started;
use super::site::{Site, basic, bearer_token, body, cookie_of, get, header, request_of, set_cookies};
use crate::identity_headers::NAMES;
use crate::settings::ProxySettings;

const DIALECTS: [&str; 4] = ["traefik", "caddy", "nginx", "envoy"];

fn single(provider: &mut Provider) {
    provider.mode = Mode::ForwardSingle;
    provider.internal_host = String::new();
}

async fn site() -> Site {
    Site::with(single, |_| {}).await
}

/// A question about `target` of `https://wiki.example`, as the proxy of a dialect asks it.
fn question(dialect: &str, target: &str) -> http::request::Builder {
    question_about(dialect, "wiki.example", target)
}

fn question_about(dialect: &str, host: &str, target: &str) -> http::request::Builder {
    let path = format!("/outpost.goauthentik.io/auth/{dialect}");
    match dialect {
        "nginx" => get(&path).header("x-original-url", format!("https://{host}{target}")),
        "envoy" => get(&format!("{path}{target}")).header("x-forwarded-proto", "https"),
        _ => get(&path)
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", host)
            .header("x-forwarded-uri", target)
            .header("x-forwarded-method", "GET"),
    }
}

/// PX-245, PX-200, PX-099, PX-256: right credentials pass in every dialect, with identity headers and a session cookie,
/// and without the credentials; with that cookie, nobody is asked any more.
#[tokio::test]
async fn px_245_right_credentials_pass() {
    for dialect in DIALECTS {
        for credentials in [basic("ada", "secret"), format!("Bearer {}", bearer_token())] {
            let site = site().await;
            let asked = question(dialect, "/page?x=1").header("authorization", &credentials).header("user-agent", "ua");
            let response = site.ask(asked).await;
            assert_eq!(response.status(), StatusCode::OK, "{dialect}");
            assert_eq!(header(&response, "x-authentik-username"), "ada");
            assert_eq!(header(&response, "x-authentik-groups"), "staff|maths");
            assert_eq!(header(&response, "x-authentik-meta-app"), "wiki");
            assert_eq!((header(&response, "user-agent"), header(&response, "cache-control")), ("ua", "no-store"));
            assert!(!response.headers().contains_key("authorization"));
            let removes = header(&response, "x-envoy-auth-headers-to-remove");
            assert_eq!(removes, if dialect == "envoy" { "authorization" } else { "" }, "PX-250");
            assert_eq!(set_cookies(&response).len(), 1);
            let cookie = cookie_of(&response).unwrap();
            let calls = site.core.memory().calls.len();
            let again = site.ask(question(dialect, "/other").header("cookie", &cookie)).await;
            assert_eq!((again.status(), header(&again, "x-authentik-username")), (StatusCode::OK, "ada"));
            assert!(set_cookies(&again).is_empty() && body(again).await.is_empty());
            assert_eq!(site.core.memory().calls.len(), calls, "PX-256");
        }
    }
}

/// PX-097, PX-098, PX-527: wrong credentials get 401 in every dialect when intercepting, else the login; nginx gets
/// 401 for it, too.
#[tokio::test]
async fn px_097_wrong_credentials_are_refused() {
    for dialect in DIALECTS {
        for intercept in [true, false] {
            let site = Site::with(
                |provider| {
                    single(provider);
                    provider.intercept_header_auth = intercept;
                },
                |_| {},
            )
            .await;
            let response = site.ask(question(dialect, "/").header("authorization", basic("ada", "wrong"))).await;
            let redirects = !intercept && dialect != "nginx";
            let status = if redirects { StatusCode::FOUND } else { StatusCode::UNAUTHORIZED };
            assert_eq!(response.status(), status, "{dialect} {intercept}");
            let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
            assert_eq!(challenges.len(), if intercept { 2 } else { usize::from(!redirects) }, "{dialect}");
            assert_eq!(set_cookies(&response).len(), usize::from(redirects));
        }
    }
}

/// PX-096: without interception, foreign credentials beside a session or on an open target go on to the application.
#[tokio::test]
async fn px_096_foreign_credentials_go_on() {
    let open = |provider: &mut Provider| {
        single(provider);
        provider.intercept_header_auth = false;
    };
    for dialect in DIALECTS {
        let site = Site::with(open, |_| {}).await;
        let first = site.ask(question(dialect, "/").header("authorization", basic("ada", "secret"))).await;
        let cookie = cookie_of(&first).unwrap();
        let foreign = basic("other", "foreign");
        for (asked, kept) in [
            (question(dialect, "/").header("cookie", &cookie).header("authorization", &foreign), foreign.as_str()),
            (question(dialect, "/").header("cookie", &cookie).header("authorization", basic("ada", "secret")), ""),
            (question(dialect, "/public/x").header("authorization", &foreign), foreign.as_str()),
        ] {
            let response = site.ask(asked).await;
            assert_eq!((response.status(), header(&response, "authorization")), (StatusCode::OK, kept), "{dialect}");
        }
    }
}

/// PX-245, PX-130, PX-142, PX-252: without credentials, a browser goes straight to the identity provider and comes
/// back to what it wanted; nginx gets a plain 401.
#[tokio::test]
async fn px_245_without_credentials_the_login_begins() {
    for dialect in DIALECTS {
        let site = site().await;
        let response = site.ask(question(dialect, "/a%2Fb?x=1&y=2").header("accept", "text/html")).await;
        if dialect == "nginx" {
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(header(&response, "www-authenticate"), r#"Bearer realm="The \"Wiki\"""#);
            assert!(set_cookies(&response).is_empty());
            assert_eq!(body(response).await, "unauthorized request");
            continue;
        }
        assert_eq!(response.status(), StatusCode::FOUND, "{dialect}");
        let location = header(&response, "location");
        assert!(location.starts_with("https://id.example/application/o/authorize/?client_id="), "{location}");
        let cookies = set_cookies(&response);
        assert!(cookies.len() == 1 && cookies[0].starts_with("authentik_proxy_01d4e0c9_pre="), "{cookies:?}");
        let back = started(&response).code(&site);
        // Handled where the proxy asks about it, as well as where the browser is sent directly.
        let asked = question(dialect, &back).header("cookie", cookies[0].split(';').next().unwrap());
        let home = site.ask(asked).await;
        assert_eq!(
            (home.status(), header(&home, "location")),
            (StatusCode::FOUND, "https://wiki.example/a%2Fb?x=1&y=2")
        );
        assert!(cookie_of(&home).is_some() && set_cookies(&home).len() == 1, "PX-179");
    }
}

/// PX-179: an answer to a question sets one cookie at most: a new session or the beginning of a login goes before the end
/// of a stale one.
#[tokio::test]
async fn px_179_one_cookie_at_most() {
    const NAME: &str = "authentik_proxy_01d4e0c9";
    for dialect in DIALECTS {
        let site = site().await;
        let stale = format!("{NAME}={}", super::site::random());
        let asked = |target: &str| question(dialect, target).header("accept", "text/html").header("cookie", &stale);
        let right = site.ask(asked("/").header("authorization", basic("ada", "secret"))).await;
        assert_eq!(right.status(), StatusCode::OK, "{dialect}");
        assert!(set_cookies(&right).len() == 1 && cookie_of(&right).is_some(), "{:?}", set_cookies(&right));
        let login = set_cookies(&site.ask(asked("/")).await);
        match dialect {
            "nginx" => assert!(login.len() <= 1, "{login:?}"),
            _ => assert!(login.len() == 1 && login[0].starts_with(&format!("{NAME}_pre=")), "{dialect} {login:?}"),
        }
        for target in ["/public/x", "/outpost.goauthentik.io/ping", "/outpost.goauthentik.io/auth/nginx"] {
            assert!(set_cookies(&site.ask(asked(target)).await).len() <= 1, "{dialect} {target}");
        }
    }
}

/// PX-542, PX-252: what a question says about its host never leads a login somewhere else.
#[tokio::test]
async fn px_542_a_login_ends_at_the_application() {
    for dialect in ["traefik", "caddy", "envoy"] {
        for (host, target) in [("evil.test", "/x"), ("wiki.example@evil.test", "/x"), ("wiki.example", "//evil.test/x")]
        {
            let site = site().await;
            let response = site.ask(question_about(dialect, host, target).header("accept", "text/html")).await;
            let back = started(&response).code(&site);
            let cookies = set_cookies(&response);
            let home = site.send(get(&back).header("cookie", cookies[0].split(';').next().unwrap())).await;
            assert_eq!(home.status(), StatusCode::FOUND);
            let location = header(&home, "location");
            assert!(location == "https://wiki.example" || location.starts_with("https://wiki.example/"), "{location}");
        }
    }
}

/// PX-253, PX-132: who sees no page gets 401, judged by the method and headers of the request that is asked about.
#[tokio::test]
async fn px_253_programs_get_401() {
    for dialect in ["traefik", "caddy"] {
        let site = site().await;
        let ajax = site.ask(question(dialect, "/").header("sec-fetch-mode", "cors")).await;
        assert_eq!(ajax.status(), StatusCode::UNAUTHORIZED);
        let post = get(&format!("/outpost.goauthentik.io/auth/{dialect}"))
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "wiki.example")
            .header("x-forwarded-uri", "/")
            .header("x-forwarded-method", "POST");
        assert_eq!(site.ask(post).await.status(), StatusCode::UNAUTHORIZED, "PX-132");
    }
}

/// PX-249, PX-553, PX-555: an address that is no trusted proxy gets nothing, whatever it shows.
#[tokio::test]
async fn px_249_strangers_get_nothing() {
    let site = site().await;
    let cookie = cookie_of(&site.ask(question("nginx", "/").header("authorization", basic("ada", "secret"))).await);
    for dialect in DIALECTS {
        let response = site.send(question(dialect, "/").header("cookie", cookie.clone().unwrap())).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{dialect}");
        assert!(!response.headers().keys().any(|name| name.as_str().starts_with("x-authentik-")));
    }
}

/// PX-257: in mode `proxy` there is nobody to ask.
#[tokio::test]
async fn px_257_nobody_asks_in_mode_proxy() {
    let site = Site::new().await;
    for dialect in DIALECTS {
        assert_eq!(site.ask(question(dialect, "/")).await.status(), StatusCode::NOT_FOUND, "{dialect}");
    }
}

/// PX-246, PX-247, PX-254, PX-554, PX-557: a question that does not say what it is about is an error, which is reported
/// once and without secrets.
#[tokio::test]
async fn px_246_incomplete_questions_are_errors() {
    type Fields = &'static [(&'static str, &'static str)];
    const PROTO: (&str, &str) = ("x-forwarded-proto", "https");
    const HOST: (&str, &str) = ("x-forwarded-host", "wiki.example");
    let cases: [(&str, Fields); 17] = [
        ("traefik", &[]),
        ("traefik", &[PROTO, HOST]),
        ("traefik", &[PROTO, ("x-forwarded-uri", "/")]),
        ("traefik", &[HOST, ("x-forwarded-uri", "/")]),
        ("caddy", &[PROTO, HOST, ("x-forwarded-uri", "")]),
        ("caddy", &[PROTO, HOST, ("x-forwarded-uri", "x/y")]),
        ("caddy", &[PROTO, HOST, ("x-forwarded-uri", "https://wiki.example/")]),
        ("caddy", &[PROTO, HOST, ("x-forwarded-uri", "/public/#/x")]),
        ("caddy", &[PROTO, HOST, ("x-forwarded-uri", "/"), ("x-forwarded-uri", "/public/")]),
        ("caddy", &[PROTO, HOST, ("x-forwarded-uri", "/"), ("x-forwarded-method", "G T")]),
        ("nginx", &[]),
        ("nginx", &[PROTO, HOST]),
        ("nginx", &[("x-original-url", "/page")]),
        ("nginx", &[("x-original-url", "ftp://wiki.example/")]),
        ("nginx", &[("x-original-url", "https://ada:x@wiki.example/")]),
        ("nginx", &[("x-original-url", "https://wiki.example/a"), ("x-original-uri", "/b")]),
        ("nginx", &[("x-original-uri", "page")]),
    ];
    for (dialect, fields) in cases {
        let site = site().await;
        for _ in 0..3 {
            let mut asked = get(&format!("/outpost.goauthentik.io/auth/{dialect}"))
                .header("authorization", basic("ada", "secret"))
                .header("cookie", "hidden=1");
            for (name, value) in fields {
                asked = asked.header(*name, *value);
            }
            let response = site.ask(asked).await;
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{dialect} {fields:?}");
            assert_eq!(body(response).await, "configuration error");
        }
        tokio::task::yield_now().await;
        let reports = site.core.memory().reports.clone();
        assert_eq!(reports.len(), 1);
        let told = format!("{reports:?}");
        assert!(told.contains("authorization") && !told.contains("Basic") && !told.contains("hidden"), "{told}");
    }
}

/// PX-247, PX-551: the URI of nginx is a path and a query, and the two ways to name it may be used together.
#[tokio::test]
async fn px_247_the_uri_of_nginx_has_a_query() {
    let site = site().await;
    let asked = |target: &str| get("/outpost.goauthentik.io/auth/nginx").header("x-original-uri", target);
    assert_eq!(site.ask(asked("/public/x?y=1")).await.status(), StatusCode::OK);
    assert_eq!(site.ask(asked("/x?y=/public/")).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(site.ask(asked("/x%3Fpublic")).await.status(), StatusCode::UNAUTHORIZED);
    let both = asked("/public/x?y").header("x-original-url", "https://wiki.example/public/x?y");
    assert_eq!(site.ask(both).await.status(), StatusCode::OK);
}

/// PX-246, PX-247: what clients write into URLs without encoding it is asked about like everything else; no reverse proxy is
/// said to be configured wrongly because of it.
#[tokio::test]
async fn px_246_odd_bytes_of_clients_are_no_misconfiguration() {
    let site = site().await;
    let fields = [
        ("caddy", "x-forwarded-uri", ""),
        ("traefik", "x-forwarded-uri", ""),
        ("nginx", "x-original-url", "https://wiki.example"),
        ("nginx", "x-original-uri", ""),
    ];
    for (dialect, name, before) in fields {
        for (target, is_open) in [("/ü?q=ü", false), ("/a?q=<b>", false), ("/\"a`b\"", false), ("/public/<ü>", true)]
        {
            let value = format!("{before}{target}");
            let asked = get(&format!("/outpost.goauthentik.io/auth/{dialect}"))
                .header("x-forwarded-proto", "https")
                .header("x-forwarded-host", "wiki.example")
                .header(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            let expected = match (is_open, dialect) {
                (true, _) => StatusCode::OK,
                (false, "nginx") => StatusCode::UNAUTHORIZED,
                (false, _) => StatusCode::FOUND,
            };
            assert_eq!(site.ask(asked).await.status(), expected, "{dialect} {name} {target}");
        }
    }
    assert!(site.core.memory().reports.is_empty());
}

/// PX-238, PX-556: on an open target nobody's identity headers are there, and empty.
#[tokio::test]
async fn px_238_nobody_has_empty_headers() {
    for dialect in DIALECTS {
        let site = site().await;
        let response = site.ask(question(dialect, "/public/x?y")).await;
        assert_eq!(response.status(), StatusCode::OK, "{dialect}");
        for name in NAMES {
            assert_eq!(response.headers().get(name).map(|value| value.as_bytes()), Some(&b""[..]), "{dialect} {name}");
        }
        assert!(set_cookies(&response).is_empty());
        // Whoever has a session is known there, too (PX-237).
        let cookie = cookie_of(&site.ask(question(dialect, "/").header("authorization", basic("ada", "secret"))).await);
        let known = site.ask(question(dialect, "/public/x").header("cookie", cookie.unwrap())).await;
        assert_eq!(header(&known, "x-authentik-username"), "ada");
    }
}

/// PX-233, PX-251, PX-550, PX-562: no spelling of a path gets through that somebody might read as another.
#[tokio::test]
async fn px_251_no_spelling_opens_a_path() {
    for dialect in DIALECTS {
        let site = site().await;
        let denied = if dialect == "nginx" { StatusCode::UNAUTHORIZED } else { StatusCode::FOUND };
        for path in [
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public%2f..%2fadmin",
            "/public/..;/admin",
            "/public//x",
            "//public/x",
            "/outpost.goauthentik.iox",
            "/outpost.goauthentik.io/pingx",
            "/outpost.goauthentik.io/../admin",
            "/outpost.goauthentik.io/ping/../../admin",
            "/outpost.goauthentik.io/static/../../admin",
            "/outpost.goauthentik.io/static/%2e%2e/%2e%2e/admin",
            "/outpost.goauthentik.io",
            "/Outpost.goauthentik.io/ping",
        ] {
            let response = site.ask(question(dialect, path)).await;
            assert_eq!(response.status(), denied, "{dialect} {path}");
        }
        for path in
            ["/outpost.goauthentik.io/start", "/outpost.goauthentik.io/ping", "/outpost.goauthentik.io/static/x"]
        {
            let response = site.ask(question(dialect, path)).await;
            assert_eq!(response.status(), StatusCode::OK, "{dialect} {path}");
            assert!(!response.headers().contains_key("x-authentik-username"));
        }
        for path in [
            "/outpost.goauthentik.io/auth/nginx",
            "/outpost.goauthentik.io/auth",
            "/%6futpost.goauthentik.io/auth/nginx",
            "//outpost.goauthentik.io/auth/traefik",
            "/x/../outpost.goauthentik.io/auth/caddy",
        ] {
            let cookie =
                cookie_of(&site.ask(question(dialect, "/").header("authorization", basic("ada", "secret"))).await);
            let response = site.ask(question(dialect, path).header("cookie", cookie.unwrap())).await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{dialect} {path}");
            assert!(!response.headers().contains_key("x-authentik-username"));
        }
    }
}

/// PX-251: who is refused because of what they ask for is not told that their address is the reason.
#[tokio::test]
async fn px_251_the_reason_is_told() {
    let site = site().await;
    let about_us = site.ask(question("traefik", "/outpost.goauthentik.io/auth/traefik")).await;
    assert_eq!(about_us.status(), StatusCode::FORBIDDEN);
    assert_eq!(body(about_us).await, "this address is for reverse proxies alone");
}

/// PX-251, PX-555: a question of Envoy's that somebody in front might take for a page tells nothing, whoever asks.
#[tokio::test]
async fn px_251_envoy_tells_nothing_about_paths_that_climb() {
    let site = site().await;
    let cookie = cookie_of(&site.ask(question("envoy", "/").header("authorization", basic("ada", "secret"))).await);
    for path in ["/../../start", "/a/%2e%2e/%2e%2e/%2e%2e/start", "/a%252fb/../../../start"] {
        let response = site.ask(question("envoy", path).header("cookie", cookie.clone().unwrap())).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        assert!(!response.headers().contains_key("x-authentik-username"));
    }
}

/// PX-054: Traefik and Caddy ask under the application's own host; a client's `X-Original-URL` chooses none for them.
#[tokio::test]
async fn px_054_only_nginx_asks_under_another_name() {
    let site = site().await;
    for dialect in ["traefik", "caddy", "envoy"] {
        let asked =
            question_about(dialect, "foo.example", "/").header("x-original-url", "https://wiki.example/public/");
        assert_eq!(site.ask_as("foo.example", asked).await.unwrap().status(), StatusCode::BAD_REQUEST, "{dialect}");
    }
}

/// PX-054, PX-058: where nginx asks under a name of its own, the URL that it asks about decides.
#[tokio::test]
async fn px_054_nginx_may_ask_under_another_name() {
    let site = Site::several(
        single,
        |_| {},
        |first| {
            let second = Provider {
                pk: portcullis_core::id::ProviderPk(8),
                external_host: "https://blog.example".to_owned(),
                client_id: "other".to_owned(),
                skip_path_regex: String::new(),
                ..first.clone()
            };
            vec![second]
        },
    )
    .await;
    let asked = |url: &str| get("/outpost.goauthentik.io/auth/nginx").header("x-original-url", url);
    let ask = async |host: &str, url: &str| site.ask_as(host, asked(url)).await.unwrap().status();
    assert_eq!(ask("auth.internal:9000", "https://wiki.example/public/").await, StatusCode::OK);
    assert_eq!(ask("auth.internal:9000", "https://blog.example/public/").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("wiki.example", "https://blog.example/public/").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("auth.internal:9000", "https://evil.example/").await, StatusCode::BAD_REQUEST);
}

/// PX-053, PX-235, PX-163, PX-540: in domain mode every host of the domain is asked about, and no look-alike.
#[tokio::test]
async fn px_235_domain_mode_covers_its_hosts() {
    let domain = |provider: &mut Provider| {
        single(provider);
        provider.mode = Mode::ForwardDomain;
        provider.external_host = "https://auth.example.com".to_owned();
        provider.cookie_domain = ".example.com".to_owned();
        provider.skip_path_regex = "https://a\\.example\\.com/public/".to_owned();
    };
    let site = Site::with(domain, |_| {}).await;
    let ask = async |host: &str, target: &str| site.ask_as(host, question_about("caddy", host, target)).await;
    assert_eq!(ask("a.example.com", "/public/x").await.unwrap().status(), StatusCode::OK);
    let login = ask("b.example.com", "/public/x").await.unwrap();
    assert_eq!(login.status(), StatusCode::FOUND);
    let cookie = &set_cookies(&login)[0];
    assert!(cookie.contains("Domain=example.com"), "{cookie}");
    assert_eq!(ask("badexample.com", "/").await.unwrap().status(), StatusCode::BAD_REQUEST);
}

/// PX-258, PX-193, PX-194: signing out in a question never answers with a page.
#[tokio::test]
async fn px_258_sign_out_is_no_page() {
    for dialect in ["traefik", "caddy", "envoy"] {
        let site = site().await;
        let leave = "/page?X-authentik-logout=true";
        let alone = site.ask(question(dialect, leave)).await;
        let there = "https://wiki.example/outpost.goauthentik.io/sign_out";
        assert_eq!((alone.status(), header(&alone, "location")), (StatusCode::FOUND, there), "{dialect}");
        let cookie = cookie_of(&site.ask(question(dialect, "/").header("authorization", basic("ada", "secret"))).await);
        let left = site.ask(question(dialect, leave).header("cookie", cookie.unwrap())).await;
        assert_eq!(left.status(), StatusCode::FOUND);
        assert!(header(&left, "location").starts_with("https://id.example/application/o/wiki/end-session/"));
        assert!(site.core.memory().sessions.is_empty() && set_cookies(&left).len() == 1);
    }
    // nginx asks about the page, and the signature is the page's own business.
    let site = site().await;
    let ignored = site.ask(question("nginx", "/page?X-authentik-logout=true")).await;
    assert_eq!(ignored.status(), StatusCode::UNAUTHORIZED);
}

/// PX-248, PX-552: Envoy asks with its own path and query; the scheme is that of the application unless it tells one.
#[tokio::test]
async fn px_248_envoy_asks_with_the_request_itself() {
    let site = site().await;
    let plain = request_of(Method::GET, "/outpost.goauthentik.io/auth/envoy/a?x=1").header("accept", "text/html");
    let login = site.ask(plain).await;
    let state = url::Url::parse(header(&login, "location")).unwrap();
    assert!(state.query().unwrap().contains("state="));
    let post = request_of(Method::POST, "/outpost.goauthentik.io/auth/envoy/a").header("accept", "*/*");
    assert_eq!(site.ask(post).await.status(), StatusCode::UNAUTHORIZED);
}

/// PX-245, PX-248: the scheme is that of the request, which the proxy tells; a question that comes over TLS may be about
/// one that did not.
#[tokio::test]
async fn px_245_the_scheme_is_that_of_the_request() {
    let plain = |provider: &mut Provider| {
        provider.mode = Mode::ForwardDomain;
        provider.external_host = "http://wiki.example".to_owned();
        provider.cookie_domain = "wiki.example".to_owned();
        provider.skip_path_regex = "^http://wiki\\.example/".to_owned();
    };
    // Questions of tests come over TLS.
    let site = Site::with(plain, |_| {}).await;
    for dialect in ["traefik", "caddy"] {
        for (proto, status) in [("http", 200), ("ws", 200), ("https", 302)] {
            let asked = get(&format!("/outpost.goauthentik.io/auth/{dialect}"))
                .header("x-forwarded-proto", proto)
                .header("x-forwarded-host", "wiki.example")
                .header("x-forwarded-uri", "/page");
            assert_eq!(site.ask(asked).await.status(), status, "{dialect} {proto}");
        }
    }
    for (proto, status) in [(None, 200), (Some("http"), 200), (Some("https"), 302)] {
        let asked = get("/outpost.goauthentik.io/auth/envoy/page");
        let asked = match proto {
            Some(proto) => asked.header("x-forwarded-proto", proto),
            None => asked,
        };
        assert_eq!(site.ask(asked).await.status(), status, "{proto:?}");
    }
}

/// PX-134: a preflight passes without identity only if that is allowed.
#[tokio::test]
async fn px_134_preflights_in_questions() {
    for allowed in [true, false] {
        let site = Site::with(single, |settings: &mut ProxySettings| settings.allow_cors_preflight = allowed).await;
        let asked = get("/outpost.goauthentik.io/auth/traefik")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "wiki.example")
            .header("x-forwarded-uri", "/api")
            .header("x-forwarded-method", "OPTIONS")
            .header("origin", "https://else.example")
            .header("access-control-request-method", "PUT");
        let status = site.ask(asked).await.status();
        assert_eq!(status, if allowed { StatusCode::OK } else { StatusCode::UNAUTHORIZED });
    }
}
