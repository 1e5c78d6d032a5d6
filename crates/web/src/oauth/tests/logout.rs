//! Clients hear that a session ended.

use std::sync::{Arc, Mutex};

use portcullis_idp::oauth::logout::deliver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::browser::{Browser, hidden, kept, lent};
use super::clients::App;
use super::*;

const PASSWORD: &str = "correct horse battery";

/// A client's server, which hears of sign-outs.
pub(super) struct Hears {
    pub(super) url: String,
    heard: Arc<Mutex<Vec<String>>>,
    status: Arc<Mutex<u16>>,
}

impl Hears {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let url = format!("http://{}/out?tenant=1", listener.local_addr().expect("an address"));
        let hears = Self { url, heard: Arc::default(), status: Arc::new(Mutex::new(204)) };
        let (heard, status) = (Arc::clone(&hears.heard), Arc::clone(&hears.status));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let mut part = [0; 4096];
                while !is_whole(&request) {
                    match stream.read(&mut part).await {
                        Ok(length) if length > 0 => request.extend_from_slice(&part[..length]),
                        _ => break,
                    }
                }
                heard.lock().expect("not poisoned").push(String::from_utf8_lossy(&request).into_owned());
                let status = *status.lock().expect("not poisoned");
                let answer =
                    format!("HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        hears
    }

    /// What came since this was asked last: request line, header of the token and its claims.
    fn heard(&self) -> Vec<(String, Value, Value)> {
        let heard: Vec<_> = self.heard.lock().expect("not poisoned").drain(..).collect();
        let read = |request: String| {
            let (head, body) = request.split_once("\r\n\r\n").expect("a body");
            assert!(head.to_lowercase().contains("content-type: application/x-www-form-urlencoded"), "{head}");
            let token = body.strip_prefix("logout_token=").expect("a token");
            let part = |number| {
                let part = token.split('.').nth(number).expect("three parts");
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
            };
            (head.lines().next().unwrap_or_default().to_owned(), part(0), part(1))
        };
        heard.into_iter().map(read).collect()
    }

    /// The tokens that came since this was asked last, as they came.
    pub(super) fn tokens(&self) -> Vec<String> {
        let heard: Vec<_> = self.heard.lock().expect("not poisoned").drain(..).collect();
        let token = |request: String| request.split_once("logout_token=").expect("a token").1.to_owned();
        heard.into_iter().map(token).collect()
    }

    fn answer(&self, status: u16) {
        *self.status.lock().expect("not poisoned") = status;
    }
}

/// Whether a request came to its end.
fn is_whole(request: &[u8]) -> bool {
    let request = String::from_utf8_lossy(request);
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase().split_once("content-length: ").map(|(_, rest)| rest.to_owned());
    let length = length.and_then(|rest| rest.lines().next().and_then(|length| length.trim().parse().ok()));
    length.is_none_or(|length: usize| body.len() >= length)
}

pub(super) async fn app(method: &str, uri: &str) -> App {
    let bye = json!([{"matching_mode": "strict", "url": "https://app.example/cb"},
        {"matching_mode": "strict", "url": "https://app.example/bye", "redirect_uri_type": "logout"}]);
    App::new(json!({"logout_uri": uri, "logout_method": method, "redirect_uris": bye})).await
}

pub(super) async fn signed_in(app: &App) -> (Browser, Reply) {
    let mut browser = Browser::default();
    assert_eq!(browser.sign_in(&app.site, "ada", PASSWORD).await.status, 303);
    let reply = app.authorize_in(&mut browser, &[]).await;
    let tokens = app.redeem(&reply, true).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    (browser, tokens)
}

pub(super) async fn delivered(app: &App) -> usize {
    deliver(&app.site.ctx).await.expect("delivers")
}

/// OA-544, OA-543: line breaks in a wish survive the question, which may end wherever the client sends people; nothing of its form
/// counts but the wish that it keeps.
#[tokio::test]
async fn oa_544_line_breaks_survive_the_question() {
    let app = app("backchannel", "").await;
    let (mut browser, _) = signed_in(&app).await;
    let path = "/application/o/app/end-session/";
    for (state, encoded_state) in [("a\nb", "a%0Ab"), ("a\rb", "a%0Db"), ("a\r\nb", "a%0D%0Ab")] {
        assert_eq!(browser.sign_in(&app.site, "ada", PASSWORD).await.status, 303);
        let wish = [("post_logout_redirect_uri", "https://app.example/bye"), ("state", state)];
        let asked = browser.get(&app.site, &format!("{path}?{}", encoded(&wish))).await;
        let policy = asked.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("form-action 'self' http: https:;") && !policy.contains("script-src"), "{policy}");
        let posted = hidden(&asked.text);
        assert_eq!(posted, kept(&wish));
        let mut posted = lent(&posted);
        posted.extend([("state", "other"), ("post_logout_redirect_uri", "data:x")]);
        let out = browser.post(&app.site, &format!("{path}?answered"), &posted).await;
        assert_eq!(location(&out), format!("https://app.example/bye?state={encoded_state}"));
    }
    assert_eq!(browser.sign_in(&app.site, "ada", PASSWORD).await.status, 303);
    let nowhere = browser.get(&app.site, path).await;
    let policy = nowhere.headers["content-security-policy"].to_str().expect("text");
    assert!(nowhere.text.contains("Sign out of") && policy.contains("form-action 'self';"), "{policy}");
}

/// OA-540, OA-542, OA-543, OA-547, OA-556, OA-557, OA-559, OA-892: a client of its own signs its user out with an id token,
/// gets the browser back with its state, and is told by a token that says which session ended, even after its access token
/// has. Nobody waits for that.
#[tokio::test]
async fn oa_557_a_client_is_told_of_the_end_of_a_session() {
    let hears = Hears::start().await;
    let app = app("backchannel", &hears.url).await;
    let (mut browser, tokens) = signed_in(&app).await;
    let id_token = claims(&tokens.json["id_token"]);
    assert_eq!(delivered(&app).await, 0, "the session goes on");
    app.site.clock.advance_seconds(4000);
    let end = |more: &[(&str, &str)]| {
        let mut all = vec![("id_token_hint", text(&tokens, "id_token")), ("state", "s&t")];
        all.extend_from_slice(more);
        format!("/application/o/app/end-session/?{}", encoded(&all))
    };
    let forbidden = browser.get(&app.site, &end(&[("post_logout_redirect_uri", "javascript:alert(1)")])).await;
    assert_eq!(forbidden.status, 400);
    let out = browser.get(&app.site, &end(&[("post_logout_redirect_uri", "https://app.example/bye")])).await;
    assert_eq!((out.status.as_u16(), location(&out)), (302, "https://app.example/bye?state=s%26t"));
    assert!(hears.heard().is_empty(), "OA-559");
    assert_eq!(delivered(&app).await, 1);
    let heard = hears.heard();
    let [(line, header, said)] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((line.as_str(), &header["typ"]), ("POST /out?tenant=1 HTTP/1.1", &json!("logout+jwt")));
    for same in ["iss", "aud", "sub", "sid"] {
        assert_eq!(said[same], id_token[same], "{same}");
    }
    assert_eq!(said["events"], json!({"http://schemas.openid.net/event/backchannel-logout": {}}));
    let now = app.site.ctx.now().seconds();
    assert_eq!((&said["iat"], &said["exp"]), (&json!(now), &json!(now + 120)));
    assert!(said["jti"].as_str().is_some_and(|jti| jti.len() == 40) && said.get("nonce").is_none());
    assert_eq!(delivered(&app).await, 0, "once");
    // The session here goes on, and another sign-in at the client is another thing to hear of.
    let unregistered = browser.get(&app.site, &end(&[("post_logout_redirect_uri", "https://evil.example/")])).await;
    assert_eq!(unregistered.status, 200);
    assert!(unregistered.text.contains("Signed out of app") && !unregistered.text.contains("evil.example"));
    assert_eq!(delivered(&app).await, 0, "it knows already");
}

/// OA-555, OA-560, OA-556: it is told however a session ends: by sign-out, deletion, expiry, or because its user is
/// deactivated or deleted.
#[tokio::test]
async fn oa_555_a_client_is_told_however_a_session_ends() {
    let hears = Hears::start().await;
    let app = app("backchannel", &hears.url).await;
    let told = async |why: &str, sid: &Value| {
        assert_eq!(delivered(&app).await, 1, "{why}");
        let heard = hears.heard();
        assert_eq!(heard.iter().map(|(_, _, said)| &said["sid"]).collect::<Vec<_>>(), [sid], "{why}");
    };
    let user = format!("/core/users/{}/", app.ada);
    for why in ["sign-out", "deletion", "expiry", "deactivation", "user deletion"] {
        let (mut browser, tokens) = signed_in(&app).await;
        let sid = claims(&tokens.json["id_token"])["sid"].clone();
        match why {
            "sign-out" => {
                browser.post(&app.site, "/if/flow/default-invalidation-flow/", &[]).await;
            }
            "deletion" => {
                let sessions = app.site.admin(Method::GET, "/core/authenticated_sessions/", None).await;
                let path = format!(
                    "/core/authenticated_sessions/{}/",
                    sessions.json["results"][0]["uuid"].as_str().expect("a key")
                );
                assert_eq!(app.site.admin(Method::DELETE, &path, None).await.status, 204);
            }
            "expiry" => {
                app.site.clock.advance_seconds(40 * 86_400);
                portcullis_idp::sessions::sweep(&app.site.ctx).await.expect("sweeps");
            }
            "deactivation" => {
                app.site.admin(Method::PATCH, &user, json!({"is_active": false})).await;
                app.site.admin(Method::PATCH, &user, json!({"is_active": true})).await;
            }
            _ => {
                assert_eq!(app.site.admin(Method::DELETE, &user, None).await.status, 204);
            }
        }
        told(why, &sid).await;
    }
}

/// OA-558, OA-893: a client that does not take it is tried five times within an hour, no redirect is followed, and then
/// an event says so, once.
#[tokio::test]
async fn oa_558_a_silent_client_is_tried_again() {
    let hears = Hears::start().await;
    let app = app("backchannel", &hears.url).await;
    for status in [302, 500] {
        hears.answer(status);
        let (mut browser, _) = signed_in(&app).await;
        browser.post(&app.site, "/if/flow/default-invalidation-flow/", &[]).await;
        let mut attempts = 0;
        for _ in 0..80 {
            attempts += delivered(&app).await;
            app.site.clock.advance_seconds(60);
        }
        assert_eq!((attempts, hears.heard().len()), (5, 5), "{status}");
    }
    let (count, event) = app.site.events("configuration_error").await;
    assert!(count == 2 && event["provider"] == "app", "{count} {event}");
    hears.answer(200);
    let (mut browser, _) = signed_in(&app).await;
    browser.post(&app.site, "/if/flow/default-invalidation-flow/", &[]).await;
    assert_eq!((delivered(&app).await, delivered(&app).await, hears.heard().len()), (1, 0, 1));
    assert!(!app.site.events("configuration_error").await.1.to_string().contains("logout_token"));
}

/// OA-550, OA-551, OA-548: a client that hears by the browser is loaded by the page of the sign-out, which frames nobody
/// else and goes on by itself; it is told nothing from server to server.
#[tokio::test]
async fn oa_550_a_client_is_told_by_the_browser() {
    let app = app("frontchannel", "https://app.example:8443/out?tenant=1").await;
    let (mut browser, tokens) = signed_in(&app).await;
    let sid = claims(&tokens.json["id_token"])["sid"].as_str().expect("text").to_owned();
    let framed = |page: &Reply| {
        assert_eq!(page.status, 200, "{}", page.text);
        let policy = page.headers["content-security-policy"].to_str().expect("text").to_owned();
        assert!(policy.ends_with("; frame-src https://app.example:8443"), "{policy}");
        let iss = "http%3A%2F%2Fid.example%2Fapplication%2Fo%2Fapp%2F";
        let uri = format!("https://app.example:8443/out?tenant=1&amp;iss={iss}&amp;sid={sid}");
        let shown = page.text.replace("&#38;", "&amp;");
        assert!(shown.contains(&format!("<iframe hidden src=\"{uri}\"")), "{shown}");
        page.headers["refresh"].to_str().expect("text").to_owned()
    };
    let end = format!(
        "/application/o/app/end-session/?{}",
        encoded(&[
            ("id_token_hint", text(&tokens, "id_token")),
            ("post_logout_redirect_uri", "https://app.example/bye")
        ])
    );
    assert_eq!(framed(&browser.get(&app.site, &end).await), "5;url=https://app.example/bye");
    assert_eq!(browser.get(&app.site, &end).await.status, 302, "it knows already");
    let reply = app.authorize_in(&mut browser, &[]).await;
    assert_eq!(app.redeem(&reply, true).await.status, 200);
    let out = browser.post(&app.site, "/if/flow/default-invalidation-flow/", &[]).await;
    assert_eq!(framed(&out), "5;url=/if/flow/default-invalidation-flow/");
    assert!(browser.cookie.is_none());
    assert!(browser.get(&app.site, "/if/flow/default-invalidation-flow/").await.text.contains("You are signed out"));
    assert_eq!(delivered(&app).await, 0);
}

/// OA-115: discovery says that clients are told.
#[tokio::test]
async fn oa_115_discovery_says_that_clients_are_told() {
    let app = App::new(json!({})).await;
    let found = get(&app.site, "/application/o/app/.well-known/openid-configuration", &[]).await.json;
    for channel in ["backchannel", "frontchannel"] {
        assert_eq!(found[format!("{channel}_logout_supported")], true);
        assert_eq!(found[format!("{channel}_logout_session_supported")], true);
    }
}

/// OA-558, OA-643: several processes that serve one database tell a client once; what nobody settled is told again later; a
/// client that wants nothing any more gets nothing.
#[tokio::test]
async fn oa_558_several_processes_tell_once() {
    let hears = Hears::start().await;
    let app = app("backchannel", &hears.url).await;
    for _ in 0..6 {
        let (mut browser, _) = signed_in(&app).await;
        browser.post(&app.site, "/if/flow/default-invalidation-flow/", &[]).await;
    }
    let (first, second, third) = tokio::join!(delivered(&app), delivered(&app), delivered(&app));
    assert!(first + second + third >= 4, "four of one client at once");
    while delivered(&app).await > 0 {}
    let mut heard: Vec<_> = hears.heard().into_iter().map(|(_, _, said)| said["sid"].to_string()).collect();
    assert_eq!(heard.len(), 6, "each once");
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), 6);
    let (mut browser, _) = signed_in(&app).await;
    browser.post(&app.site, "/if/flow/default-invalidation-flow/", &[]).await;
    app.change(json!({"logout_uri": ""})).await;
    while delivered(&app).await > 0 {}
    assert!(hears.heard().is_empty());
    assert_eq!(app.site.events("configuration_error").await.0, 0);
}

/// OA-891, OA-546: a sign-out is one although the browser is in the middle of another flow, and says so only because it was.
#[tokio::test]
async fn oa_891_a_sign_out_waits_for_no_other_flow() {
    let app = app("backchannel", "").await;
    let flow = app.site.admin(Method::GET, "/flows/instances/default-invalidation-flow/", None).await;
    app.change(json!({"invalidation_flow": flow.json["pk"]})).await;
    let (mut browser, tokens) = signed_in(&app).await;
    let begun = browser.get(&app.site, "/if/flow/default-password-change/").await;
    assert_eq!(begun.status, 200, "{}", begun.text);
    let token = text(&tokens, "access_token");
    assert_eq!(app.userinfo(token).await.status, 200);
    let hint = encoded(&[("id_token_hint", text(&tokens, "id_token"))]);
    let before = browser.cookie.clone();
    let out = browser.get(&app.site, &format!("/application/o/app/end-session/?{hint}")).await;
    assert!(out.text.contains("You are signed out"), "{}", out.text);
    assert_eq!(app.userinfo(token).await.status, 401);
    browser.cookie = before;
    assert!(!browser.get(&app.site, "/").await.text.contains("Signed in as"), "the session is over");
}

/// OA-550, CO-303: a client of the flows is told what its browser is to load; the session has ended by then, and the flow goes
/// on whether it was loaded or not.
#[tokio::test]
async fn oa_550_clients_of_flows_are_told_what_to_load() {
    let app = app("frontchannel", "https://app.example:8443/out?tenant=1").await;
    let (browser, tokens) = signed_in(&app).await;
    let sid = claims(&tokens.json["id_token"])["sid"].as_str().expect("text").to_owned();
    let mut cookies = vec![browser.cookie.clone().expect("a session"), "authentik_csrf=xyz".to_owned()];
    let path = "/api/v3/flows/executor/default-invalidation-flow/?query=next%3D%2Fbye";
    let answer = async |cookies: &[String], component: &str| {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("cookie", cookies.join("; "))
            .header("x-authentik-csrf", "xyz");
        let body = Body::from(json!({"component": component}).to_string());
        app.site.raw(request.body(body).expect("a request")).await
    };
    let told = answer(&cookies, "ak-stage-session-end").await;
    assert_eq!(told.json["component"], "ak-provider-iframe-logout", "{}", told.text);
    serde_json::from_value::<authentik_client::models::IframeLogoutChallenge>(told.json.clone()).expect("its type");
    let iss = "http%3A%2F%2Fid.example%2Fapplication%2Fo%2Fapp%2F";
    let url = format!("https://app.example:8443/out?tenant=1&iss={iss}&sid={sid}");
    assert_eq!(told.json["logout_urls"][0]["url"], json!(url));
    assert_eq!(app.userinfo(text(&tokens, "access_token")).await.status, 401);
    cookies.remove(0);
    for set in told.headers.get_all("set-cookie") {
        let set = set.to_str().expect("text").split(';').next().expect("a cookie").to_owned();
        if !set.ends_with('=') {
            cookies.push(set);
        }
    }
    let done = answer(&cookies, "ak-provider-iframe-logout").await;
    assert_eq!(
        (&done.json["component"], &done.json["to"]),
        (&json!("xak-flow-redirect"), &json!("/bye")),
        "{}",
        done.text
    );
}

/// OA-548, OA-550: whoever signs out of one application, and hears nothing of where to go, is told so once its frames are
/// loaded.
#[tokio::test]
async fn oa_548_the_page_after_frames_says_what_ended() {
    let app = app("frontchannel", "https://app.example/out").await;
    let (mut browser, tokens) = signed_in(&app).await;
    let end = format!("/application/o/app/end-session/?{}", encoded(&[("id_token_hint", text(&tokens, "id_token"))]));
    let framing = browser.get(&app.site, &end).await;
    let refresh = framing.headers["refresh"].to_str().expect("text").to_owned();
    let next = refresh.strip_prefix("5;url=").expect("an address");
    let page = browser.get(&app.site, next).await;
    assert!(page.status == 200 && page.text.contains("Signed out of app"), "{}", page.text);
    assert!(page.text.contains("Sign out of everything"));
    let stranger = Browser::default().get(&app.site, next).await;
    assert!(stranger.text.contains("You are signed out"), "{}", stranger.text);
    let unknown = browser.get(&app.site, "/application/o/nothing/signed-out/").await;
    assert_eq!(unknown.status, 404);
}
