//! What someone gets who is not let in.

use portcullis_testkit::raw::{self, Raw};
use portcullis_testkit::{Go as _, Reply, run, until};
use serde_json::json;

use crate::stage::{Stage, basic};

/// PX-098, PX-063, PX-528, PX-529: the 401 names both schemes and the realm, sets nothing and ends where it says.
#[test]
fn px_098_the_401_is_exact() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let name = json!({"name": "Wiki \"of\\all\""});
        stage.site.api.patch(&format!("core/applications/{}/", stage.app.slug), name).await;
        until("the name", async || {
            let reply = stage.get_as_stranger("/").header("authorization", "Basic").go().await;
            reply.header("www-authenticate").filter(|challenge| challenge.contains("Wiki"))
        })
        .await;
        let mut raw = Raw::connect(stage.site.gate()).await;
        raw.send(format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: {}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
            stage.app.authority(),
            portcullis_testkit::api::fresh_address(),
            basic("nobody", "nothing")
        ))
        .await;
        let head = raw.head().await;
        let body = String::from_utf8(raw.rest().await).unwrap();
        assert_eq!(raw::status(&head), 401, "{head}");
        let challenges = raw::fields(&head, "www-authenticate");
        assert_eq!(
            challenges,
            [
                r#"Basic realm="Wiki \"of\\all\"", charset="UTF-8""#,
                r#"Bearer realm="Wiki \"of\\all\"", error="invalid_token""#
            ]
        );
        assert_eq!(raw::fields(&head, "location"), [""; 0]);
        assert_eq!(raw::fields(&head, "set-cookie"), [""; 0]);
        assert_eq!(raw::fields(&head, "content-length"), [body.len().to_string()]);
        assert!(raw::fields(&head, "content-type")[0].starts_with("text/html"), "{head}");
        assert!(raw::fields(&head, "cache-control")[0].contains("no-store"));
        assert_eq!(raw::fields(&head, "x-content-type-options"), ["nosniff"]);
        assert!(body.contains("Unauthenticated") && body.trim_end().ends_with("</html>"), "{body}");
    });
}

/// PX-098: who prefers JSON gets JSON, and neither form says which part was wrong.
#[test]
fn px_098_the_401_in_json() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let mut bodies = Vec::new();
        for header in [basic("nobody", "nothing"), basic(&stage.person.username, "wrong")] {
            let request =
                stage.get_as_stranger("/").header("authorization", header).header("accept", "application/json");
            let reply = request.go().await;
            assert_eq!(reply.status, 401);
            assert_eq!(reply.header("content-type").as_deref(), Some("application/json"));
            assert_eq!(reply.json()["error"], "invalid_credentials");
            bodies.push(reply.json()["detail"].clone());
        }
        assert!(bodies[0].is_string());
        assert_eq!(bodies[0], bodies[1]);
    });
}

/// PX-130, PX-544: the target keeps its path byte for byte, and its query.
#[test]
fn px_130_the_target_is_kept_byte_for_byte() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let answer = raw::exchange(
            stage.site.gate(),
            format!("GET /a%2Fb//c?x=1&y=2 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stage.app.authority()),
        )
        .await;
        assert_eq!(raw::status(&answer), 302, "{answer}");
        let encoded = stage.app.external.replace(':', "%3A").replace('/', "%2F");
        let expected = format!(
            "{}/outpost.goauthentik.io/start?rd={encoded}%2Fa%252Fb%2F%2Fc%3Fx%3D1%26y%3D2",
            stage.app.external
        );
        assert_eq!(raw::fields(&answer, "location"), [expected]);
        assert!(raw::fields(&answer, "cache-control")[0].contains("no-store"));
    });
}

async fn unauthenticated(stage: &Stage<'_>, method: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = stage.request(method, "/page");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.go().await
}

/// PX-131, PX-530: requests that no person would see get 401; all others are sent to sign in.
#[test]
fn px_131_requests_that_nobody_sees_get_401() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let refused: &[(&str, &[(&str, &str)])] = &[
            ("GET", &[("sec-fetch-mode", "cors"), ("accept", "text/html")]),
            ("GET", &[("sec-fetch-mode", "no-cors"), ("accept", "image/avif,*/*")]),
            ("GET", &[("x-requested-with", "XMLHttpRequest"), ("accept", "text/html")]),
            ("GET", &[("connection", "upgrade"), ("upgrade", "websocket")]),
            ("OPTIONS", &[("accept", "*/*")]),
            ("GET", &[("accept", "application/json")]),
            ("GET", &[("accept", "image/png, application/json")]),
            ("POST", &[("accept", "*/*")]),
            ("PUT", &[]),
            ("DELETE", &[]),
        ];
        for (method, headers) in refused {
            let reply = unauthenticated(&stage, method, headers).await;
            assert_eq!(reply.status, 401, "{method} {headers:?}");
            assert_eq!(reply.header("location"), None);
        }
        let sent_to_login: &[(&str, &[(&str, &str)])] = &[
            ("GET", &[]),
            ("HEAD", &[]),
            ("GET", &[("accept", "*/*")]),
            ("GET", &[("sec-fetch-mode", "navigate"), ("accept", "text/html")]),
            ("GET", &[("accept", "text/*")]),
            ("GET", &[("accept", "application/xhtml+xml")]),
            ("POST", &[("accept", "text/html,*/*")]),
        ];
        for (method, headers) in sent_to_login {
            assert_eq!(unauthenticated(&stage, method, headers).await.status, 302, "{method} {headers:?}");
        }
        assert_eq!(stage.recorder.count(), 0);
    });
}

/// PX-133: the negotiated 401 opens no password prompt and says where to sign in.
#[test]
fn px_133_the_negotiated_401_names_the_login() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let referer = stage.app.url("/list?page=2");
        for (referer, target) in [
            (Some(referer.as_str()), referer.as_str()),
            (Some("http://evil.example/"), &stage.app.external),
            (None, &stage.app.external),
        ] {
            let mut headers = vec![("accept", "application/json")];
            headers.extend(referer.map(|value| ("referer", value)));
            let reply = unauthenticated(&stage, "GET", &headers).await;
            assert_eq!(reply.status, 401);
            assert_eq!(reply.all("www-authenticate"), [format!("Bearer realm=\"{}\"", stage.app.slug)]);
            let login = reply.json()["login_url"].as_str().unwrap().to_owned();
            let login: url::Url = login.parse().unwrap();
            assert_eq!(login.path(), "/outpost.goauthentik.io/start");
            let rd = login.query_pairs().find(|(key, _)| key == "rd").unwrap().1.into_owned();
            assert_eq!(rd.trim_end_matches('/'), target.trim_end_matches('/'));
        }
    });
}

/// PX-131, PX-010: negotiation can be switched off, and then everyone is sent to sign in.
#[test]
fn px_131_negotiation_can_be_switched_off() {
    run(async {
        let options = portcullis_testkit::Site::options().env("PORTCULLIS_PROXY__NEGOTIATE_UNAUTHENTICATED", "false");
        let site = options.start().await;
        let stage = Stage::on(&site, json!({})).await;
        assert_eq!(unauthenticated(&stage, "GET", &[("accept", "application/json")]).await.status, 302);
        assert_eq!(unauthenticated(&stage, "OPTIONS", &[]).await.status, 302);
    });
}

/// PX-134, PX-010: a CORS preflight passes anonymously only where the operator allows it.
#[test]
fn px_134_preflight_passes_only_if_allowed() {
    run(async {
        let preflight = [("origin", "http://elsewhere"), ("access-control-request-method", "PUT")];
        let stage = Stage::new(json!({})).await;
        assert_eq!(unauthenticated(&stage, "OPTIONS", &preflight).await.status, 401);
        let options = portcullis_testkit::Site::options().env("PORTCULLIS_PROXY__ALLOW_CORS_PREFLIGHT", "true");
        let site = options.start().await;
        let stage = Stage::on(&site, json!({})).await;
        let mut forged = preflight.to_vec();
        forged.push(("x-authentik-username", "forged"));
        assert_eq!(unauthenticated(&stage, "OPTIONS", &forged).await.status, 200);
        assert_eq!(stage.recorder.last().all("x-authentik-username"), [""; 0]);
        assert_eq!(unauthenticated(&stage, "OPTIONS", &preflight[..1]).await.status, 401);
    });
}

/// PX-110: after too many failures an address has to wait; other addresses and a right password elsewhere do not.
#[test]
fn px_110_failures_are_limited_per_address() {
    run(async {
        let site = portcullis_testkit::Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let mut statuses = Vec::new();
        for attempt in 0..30 {
            let header = basic(&stage.person.username, &format!("guess {attempt}"));
            statuses.push(stage.get("/").header("authorization", header).go().await);
        }
        assert_eq!(statuses[0].status, 401);
        let last = statuses.last().unwrap();
        assert_eq!(last.status, 429, "{}", last.text());
        assert!(last.header("retry-after").unwrap().parse::<u32>().unwrap() <= 60);
        let verified = site.core_calls("verify_password").await;
        assert!(verified <= 20, "the core verified {verified} guesses");
        let right = stage.get_as_stranger("/").header("authorization", stage.basic()).go().await;
        assert_eq!(right.status, 200, "a right password from elsewhere");
    });
}
