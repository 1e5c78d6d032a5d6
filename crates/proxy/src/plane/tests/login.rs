//! Logins: start, state, callback (sections 9 and 10).

use std::collections::HashMap;

use http::{Method, Response, StatusCode};
use portcullis_core::outpost::Mode;
use url::Url;

use super::site::{Code, Site, ada, body, cookie_of, get, header, request_of, set_cookies};
use crate::body::Body;

const START: &str = "/outpost.goauthentik.io/start";
const PRE: &str = "authentik_proxy_01d4e0c9_pre";

/// A login that was started: where it leads, and the cookie that it set.
pub(super) struct Started {
    query: HashMap<String, String>,
    cookie: String,
}

pub(super) fn started(response: &Response<Body>) -> Started {
    assert_eq!(response.status(), StatusCode::FOUND);
    let url = Url::parse(header(response, "location")).unwrap();
    let cookies = set_cookies(response);
    assert_eq!(cookies.len(), 1);
    Started {
        query: url.query_pairs().into_owned().collect(),
        cookie: cookies[0].split(';').next().unwrap().to_owned(),
    }
}

impl Started {
    /// The identity provider issues a code for this login; gives the path of the callback.
    pub(super) fn code(&self, site: &Site) -> String {
        let code = super::site::random();
        let issued = Code {
            claims: ada(),
            challenge: self.query["code_challenge"].clone(),
            nonce: self.query["nonce"].clone(),
            redirect_uri: self.query["redirect_uri"].clone(),
        };
        site.core.memory().codes.insert(code.clone(), issued);
        self.callback(&format!("code={code}"))
    }

    fn callback(&self, result: &str) -> String {
        let state = &self.query["state"];
        format!("/outpost.goauthentik.io/callback?X-authentik-auth-callback=true&{result}&state={state}")
    }
}

async fn start(site: &Site, rd: &str) -> Started {
    started(&site.send(get(&format!("{START}?rd={rd}"))).await)
}

async fn refused(site: &Site, path: &str, cookie: &str) {
    let response = site.send(get(path).header("cookie", cookie)).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
    assert!(header(&response, "location").is_empty() && cookie_of(&response).is_none());
    let page = body(response).await;
    assert!(page.contains("The sign-in did not work") && page.contains("/outpost.goauthentik.io/start?rd="));
}

/// PX-140: where only what follows the host is encoded, as ingress-nginx does it, the target is whole, too.
#[tokio::test]
async fn px_140_a_target_that_is_encoded_in_part() {
    for (rd, target) in [
        ("https://wiki.example%2Fa%252Fb%3Fx%3D1%26y%3D2", "https://wiki.example/a%2Fb?x=1&y=2"),
        ("https://wiki.example%2Fa&other=1", "https://wiki.example/a"),
        ("https://wiki.example/a%2Fb?x=1&y=2", "https://wiki.example/a%2Fb?x=1&y=2"),
        ("https://evil.example%2Fwiki.example/", "https://wiki.example/"),
        ("https://wiki.example%40evil.example/", "https://wiki.example/"),
    ] {
        let site = Site::new().await;
        let login = start(&site, rd).await;
        let response = site.send(get(&login.code(&site)).header("cookie", &login.cookie)).await;
        assert_eq!(header(&response, "location"), target, "{rd}");
    }
}

/// PX-130, PX-544: whoever is unknown is sent to the login, and their target is kept whole.
#[tokio::test]
async fn px_130_the_target_is_kept_whole() {
    let site = Site::new().await;
    let response = site.send(get("/a%2Fb?x=1&y=2")).await;
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(
        header(&response, "location"),
        "https://wiki.example/outpost.goauthentik.io/start?rd=https%3A%2F%2Fwiki.example%2Fa%252Fb%3Fx%3D1%26y%3D2"
    );
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(set_cookies(&response), [""; 0]);
}

/// PX-131, PX-133, PX-530: programs get 401 without a prompt, and the place of a login.
#[tokio::test]
async fn px_133_programs_get_the_place_of_a_login() {
    let site = Site::new().await;
    let fetch = get("/api").header("sec-fetch-mode", "cors").header("accept", "application/json");
    let response = site.send(fetch.header("referer", "https://wiki.example/page?q")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, [r#"Bearer realm="The \"Wiki\"""#]);
    let answer: serde_json::Value = serde_json::from_str(&body(response).await).unwrap();
    let url = "https://wiki.example/outpost.goauthentik.io/start?rd=https%3A%2F%2Fwiki.example%2Fpage%3Fq";
    assert_eq!(answer["login_url"], url);
    let response = site.send(request_of(Method::POST, "/api").header("referer", "https://evil.test/")).await;
    assert_eq!(header(&response, "content-type"), "text/plain; charset=utf-8");
    assert!(body(response).await.contains("start?rd=https%3A%2F%2Fwiki.example%2F\n"));
    let off = Site::with(|_| {}, |settings| settings.negotiate_unauthenticated = false).await;
    assert_eq!(off.send(request_of(Method::POST, "/api")).await.status(), StatusCode::FOUND);
}

/// PX-141, PX-142, PX-143: the authorization request, and the pre-auth cookie.
#[tokio::test]
async fn px_141_the_authorization_request() {
    let site = Site::new().await;
    let response = site.send(get(START)).await;
    let login = started(&response);
    assert!(header(&response, "location").starts_with("https://id.example/application/o/authorize/?"));
    assert_eq!(login.query["client_id"], "Yk3vX0cQm1");
    assert_eq!(
        login.query["redirect_uri"],
        "https://wiki.example/outpost.goauthentik.io/callback?X-authentik-auth-callback=true"
    );
    assert_eq!(login.query["response_type"], "code");
    assert_eq!(login.query["scope"], "openid ak_proxy");
    assert_eq!(login.query["code_challenge_method"], "S256");
    assert!(login.query["nonce"].len() >= 22 && login.query["code_challenge"].len() == 43);
    assert!(login.cookie.starts_with(&format!("{PRE}=")));
    assert!(set_cookies(&response)[0].contains("; Max-Age=3600") && set_cookies(&response)[0].contains("; Secure"));
    let again = started(&site.send(get(START).header("cookie", &login.cookie)).await);
    assert_eq!(again.cookie, login.cookie);
    let odd = started(&site.send(get(START).header("cookie", format!("{PRE}=chosen"))).await);
    assert_ne!(odd.cookie, format!("{PRE}=chosen"));
}

/// PX-144, PX-506: the state reveals nothing and is at most 2 KiB; a long target loses its query, then its path.
#[tokio::test]
async fn px_144_the_state_is_opaque_and_short() {
    let site = Site::new().await;
    for (rd, target) in [
        ("/short?q=1".to_owned(), "https://wiki.example/short?q=1".to_owned()),
        (format!("/path?{}", "q".repeat(3000)), "https://wiki.example/path".to_owned()),
        (format!("/{}", "p".repeat(3000)), "https://wiki.example/".to_owned()),
    ] {
        let login = start(&site, &rd).await;
        assert!(login.query["state"].len() <= 2048 && !login.query["state"].contains("wiki"));
        let response = site.send(get(&login.code(&site)).header("cookie", &login.cookie)).await;
        assert_eq!(header(&response, "location"), target);
    }
}

/// PX-140, PX-160, PX-165, PX-546: encoded and unencoded targets both arrive whole; others are replaced.
#[tokio::test]
async fn px_140_targets_arrive_whole() {
    let site = Site::new().await;
    for (rd, target) in [
        ("https%3A%2F%2Fwiki.example%2Fx%3Fa%3D1%26b%3D2", "https://wiki.example/x?a=1&b=2"),
        ("https://wiki.example/x?a=1&b=2", "https://wiki.example/x?a=1&b=2"),
        ("/x", "https://wiki.example/x"),
        ("https://evil.test/", "https://wiki.example/"),
        ("//evil.test/", "https://wiki.example/"),
        ("/outpost.goauthentik.io/sign_out", "https://wiki.example/"),
        ("http://wiki.example/x", "https://wiki.example/x"),
        ("", "https://wiki.example/"),
    ] {
        let login = start(&site, rd).await;
        let response = site.send(get(&login.code(&site)).header("cookie", &login.cookie)).await;
        assert_eq!(header(&response, "location"), target, "{rd}");
    }
}

/// PX-151, PX-503: a login makes a new session; the ones before it and the pre-auth cookie are gone.
#[tokio::test]
async fn px_151_a_login_makes_a_new_session() {
    let site = Site::new().await;
    let old = site.session().await;
    let login = start(&site, "/page").await;
    let chosen = format!("authentik_proxy_01d4e0c9={}", super::site::random());
    let cookies = format!("{}; {old}; {chosen}", login.cookie);
    let response = site.send(get(&login.code(&site)).header("cookie", cookies)).await;
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(header(&response, "location"), "https://wiki.example/page");
    let new = cookie_of(&response).unwrap();
    assert!(new != old && new != chosen);
    assert!(set_cookies(&response).iter().any(|line| line.starts_with(&format!("{PRE}=;"))));
    assert_eq!(site.core.memory().sessions.len(), 1);
    assert_eq!(site.send(get("/page").header("cookie", new)).await.status(), StatusCode::OK);
    assert_eq!(site.send(get("/page").header("cookie", old)).await.status(), StatusCode::FOUND);
    assert_eq!(site.send(get("/page").header("cookie", chosen)).await.status(), StatusCode::FOUND);
}

/// PX-143: two tabs can log in at the same time.
#[tokio::test]
async fn px_143_two_tabs_log_in() {
    let site = Site::new().await;
    let one = start(&site, "/one").await;
    let two = started(&site.send(get(&format!("{START}?rd=/two")).header("cookie", &one.cookie)).await);
    for (login, target) in [(one, "https://wiki.example/one"), (two, "https://wiki.example/two")] {
        let response = site.send(get(&login.code(&site)).header("cookie", &login.cookie)).await;
        assert_eq!(header(&response, "location"), target);
    }
}

/// PX-145: another replica with the same provider completes a login.
#[tokio::test]
async fn px_145_another_replica_completes_a_login() {
    let (one, two) = (Site::new().await, Site::new().await);
    let login = start(&one, "/x").await;
    let response = two.send(get(&login.code(&two)).header("cookie", &login.cookie)).await;
    assert_eq!(header(&response, "location"), "https://wiki.example/x");
}

/// PX-146, PX-545: a state that is missing, damaged, expired, used, foreign or from another browser is refused.
#[tokio::test]
async fn px_146_bad_states_are_refused() {
    let site = Site::new().await;
    let login = start(&site, "/x").await;
    let callback = login.code(&site);
    refused(&site, "/outpost.goauthentik.io/callback?code=x", &login.cookie).await;
    refused(&site, "/outpost.goauthentik.io/callback?code=x&state=AAAA", &login.cookie).await;
    refused(&site, "/outpost.goauthentik.io/callback", &login.cookie).await;
    refused(&site, &callback, "a=b").await;
    refused(&site, &callback, &format!("{PRE}={}", super::site::random())).await;
    let foreign = Site::with(|provider| provider.cookie_secret = "ANOTHER".to_owned(), |_| {}).await;
    refused(&foreign, &callback, &login.cookie).await;
    refused(&site, &format!("{callback}&iss=https%3A%2F%2Fevil.test%2F"), &login.cookie).await;
    let response = site.send(get(&callback).header("cookie", &login.cookie)).await;
    assert_eq!(response.status(), StatusCode::FOUND);
    refused(&site, &callback, &login.cookie).await;
    let late = start(&site, "/x").await;
    site.clock.advance_seconds(3600);
    refused(&site, &late.code(&site), &late.cookie).await;
}

/// PX-146: a browser that is signed in already is sent home instead.
#[tokio::test]
async fn px_146_who_is_signed_in_goes_home() {
    let site = Site::new().await;
    let cookie = site.session().await;
    let request = get("/outpost.goauthentik.io/callback?code=x&state=AAAA").header("cookie", cookie);
    let response = site.send(request).await;
    assert_eq!(header(&response, "location"), "https://wiki.example/");
}

/// PX-147, PX-311: errors of the identity provider end on a page; their text is escaped and cut.
#[tokio::test]
async fn px_147_errors_end_on_a_page() {
    let site = Site::new().await;
    let login = start(&site, "/x").await;
    let path = login.callback("error=access_denied&error_description=%3Cb%3Eno%3C%2Fb%3E");
    let response = site.send(get(&path).header("cookie", &login.cookie)).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(header(&response, "content-security-policy").starts_with("default-src 'none'"));
    assert!(body(response).await.contains("&lt;b&gt;no&lt;/b&gt;"));
    let path = login.callback(&format!("error=server_error&error_description={}", "x".repeat(300)));
    let response = site.send(get(&path).header("cookie", &login.cookie)).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let page = body(response).await;
    assert!(page.contains(&"x".repeat(200)) && !page.contains(&"x".repeat(201)));
}

/// PX-148, PX-150: a code that is refused gives 400, an outage 503; neither gives a session.
#[tokio::test]
async fn px_148_failed_exchanges_give_no_session() {
    let site = Site::new().await;
    let login = start(&site, "/x").await;
    let wrong = start(&site, "/x").await;
    let path = login.callback("code=unknown");
    refused(&site, &path, &login.cookie).await;
    wrong.code(&site);
    site.core.memory().codes.values_mut().for_each(|code| code.nonce = "other".to_owned());
    let code = site.core.memory().codes.keys().next().unwrap().clone();
    refused(&site, &wrong.callback(&format!("code={code}")), &wrong.cookie).await;
    let down = start(&site, "/x").await;
    let path = down.code(&site);
    site.core.memory().core_is_down = true;
    let response = site.send(get(&path).header("cookie", &down.cookie)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(header(&response, "retry-after") == "5" && cookie_of(&response).is_none());
    assert!(body(response).await.contains("/outpost.goauthentik.io/start"));
    assert!(site.core.memory().sessions.is_empty());
}

/// PX-064, PX-065: a callback by query signature counts on any path, but only if it is complete.
#[tokio::test]
async fn px_065_an_incomplete_callback_is_an_ordinary_request() {
    let site = Site::new().await;
    let login = start(&site, "/x").await;
    let path = login.code(&site).replace("/outpost.goauthentik.io/callback", "/any/path");
    let response = site.send(get(&path).header("cookie", &login.cookie)).await;
    assert_eq!(header(&response, "location"), "https://wiki.example/x");
    for ordinary in [
        "/p?X-authentik-auth-callback=true&code=x",
        "/p?X-authentik-auth-callback=1&code=x&state=y",
        "/p?x-authentik-auth-callback=true&code=x&state=y",
    ] {
        let response = site.send(get(ordinary)).await;
        assert!(header(&response, "location").contains("/start?rd="), "{ordinary}");
    }
}

/// PX-064, PX-140: signatures count on the reserved endpoints, too, where a callback wins; not in a target that is not
/// encoded.
#[tokio::test]
async fn px_064_signatures_on_reserved_endpoints() {
    for endpoint in ["start", "sign_out", "unknown", "callback"] {
        let site = Site::new().await;
        let login = start(&site, "/x").await;
        let path = format!("{}&X-authentik-logout=true", login.code(&site));
        let path = path.replace("/callback?", &format!("/{endpoint}?"));
        let response = site.send(get(&path).header("cookie", &login.cookie)).await;
        assert_eq!(header(&response, "location"), "https://wiki.example/x", "{endpoint}");
        assert_eq!(site.core.memory().sessions.len(), 1, "{endpoint}");
    }
    let site = Site::new().await;
    let cookie = site.session().await;
    let bare = get("/outpost.goauthentik.io/start?rd=https://wiki.example/?a&X-authentik-logout=true");
    started(&site.send(bare.header("cookie", &cookie)).await);
    assert_eq!(site.core.memory().sessions.len(), 1);
    let signed = get("/outpost.goauthentik.io/start?X-authentik-logout=true").header("cookie", &cookie);
    assert!(header(&site.send(signed).await, "location").contains("/end-session/"));
    assert!(site.core.memory().sessions.is_empty());
}

/// PX-061, PX-166, PX-547: with a path in `external_host` all of this happens below it.
#[tokio::test]
async fn px_061_a_host_with_a_path() {
    let site = Site::with(|provider| provider.external_host = "https://wiki.example/wiki".to_owned(), |_| {}).await;
    let response = site.send(get("/wiki/page")).await;
    assert_eq!(
        header(&response, "location"),
        "https://wiki.example/wiki/outpost.goauthentik.io/start?rd=https%3A%2F%2Fwiki.example%2Fwiki%2Fpage"
    );
    let login = started(&site.send(get("/wiki/outpost.goauthentik.io/start")).await);
    assert_eq!(
        login.query["redirect_uri"],
        "https://wiki.example/wiki/outpost.goauthentik.io/callback?X-authentik-auth-callback=true"
    );
    let response = site.send(get(&login.code(&site)).header("cookie", &login.cookie)).await;
    assert_eq!(header(&response, "location"), "https://wiki.example/wiki");
}

/// PX-062: start and callback take GET only.
#[tokio::test]
async fn px_062_other_methods_are_not_allowed() {
    let site = Site::new().await;
    for (path, allow) in [("/start", "GET"), ("/callback", "GET"), ("/sign_out", "GET, POST")] {
        let path = format!("/outpost.goauthentik.io{path}");
        let response = site.send(request_of(Method::PUT, &path)).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&response, "allow"), allow);
    }
}

/// PX-172, PX-023: the cookie's domain is the provider's, without a leading dot.
#[tokio::test]
async fn px_172_the_cookie_domain() {
    let domain = |provider: &mut portcullis_core::outpost::Provider| {
        provider.mode = Mode::ForwardDomain;
        provider.cookie_domain = ".Example".to_owned();
    };
    let site = Site::with(domain, |_| {}).await;
    let response = site.send(get(&format!("{START}?rd=https%3A%2F%2Fother.example%2Fx"))).await;
    assert!(set_cookies(&response)[0].contains("; Domain=example;"));
    let login = started(&response);
    let response = site.send(get(&login.code(&site)).header("cookie", &login.cookie)).await;
    assert_eq!(header(&response, "location"), "https://other.example/x");
}
