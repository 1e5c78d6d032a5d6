//! By what requests proved who sends them, as the access log tells it (OA-669, OA-904).

use portcullis_core::auth_via::AuthVia;

use super::browser::{Browser, set_password};
use super::clients::App;
use super::*;

fn via(reply: &Reply) -> &'static str {
    reply.via.map_or("missing", AuthVia::as_str)
}

/// OA-669, OA-904: what a client shows counts once it has been verified; where it does not hold, the request stays one of
/// nobody, whatever else is wrong with it.
#[tokio::test]
async fn oa_904_credentials_count_once_they_hold() {
    let app = App::new(json!({})).await;
    let machine = |more: &[(&'static str, &str)]| {
        let mut all = vec![("client_id", app.id().to_owned()), ("grant_type", "client_credentials".to_owned())];
        all.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let app = &app;
        async move {
            let all: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
            post(&app.site, "/application/o/token/", &all, &[]).await
        }
    };
    let packed = |key: &str| base64::engine::general_purpose::STANDARD.encode(format!("ada:{key}"));
    let tokens = machine(&[("username", "ada"), ("password", KEY), ("scope", "openid")]).await;
    let token = text(&tokens, "access_token");
    let (code, secret) = (("grant_type", "authorization_code"), ("client_secret", app.secret()));
    for (reply, expected) in [
        (&tokens, "api_token"),
        (&machine(&[("username", "ada"), ("password", "guess")]).await, "unauthenticated"),
        (&machine(&[("client_secret", &packed(KEY))]).await, "api_token"),
        (&machine(&[("client_secret", &packed("guess"))]).await, "unauthenticated"),
        (&machine(&[("client_secret", app.secret())]).await, "oauth_client_secret"),
        (&machine(&[("client_secret", "guess")]).await, "unauthenticated"),
        (&app.ask("/application/o/introspect/", &[("token", token), secret]).await, "oauth_client_secret"),
        (&app.ask("/application/o/token/", &[code, ("code", "guess"), secret]).await, "oauth_client_secret"),
        (&app.ask("/application/o/token/", &[code, ("code", "guess")]).await, "unauthenticated"),
        (&app.userinfo(token).await, "oauth_token"),
        (&app.userinfo("guess").await, "unauthenticated"),
        (&get(&app.site, "/application/o/app/jwks/", &[("authorization", "Basic YTpi")]).await, "unauthenticated"),
    ] {
        assert_eq!(via(reply), expected, "{} {}", reply.status, reply.text);
    }
    for (path, secret) in [("introspect", "guess"), ("revoke", "guess"), ("device", "guess"), ("introspect", "")] {
        let all = [("client_id", app.id()), ("client_secret", secret), ("token", token)];
        let refused = post(&app.site, &format!("/application/o/{path}/"), &all, &[]).await;
        assert!(refused.status.is_client_error(), "{path}");
        assert_eq!(via(&refused), "unauthenticated", "{path}");
    }
}

/// OA-669, OA-904: who relays a request proves nothing for the client that makes it.
#[tokio::test]
async fn oa_904_a_relay_proves_nothing_for_a_client() {
    let app = App::new(json!({})).await;
    let relayed = [("x-authentik-remote-ip", "203.0.113.9"), ("x-authentik-outpost-token", crate::testing::TOKEN)];
    for path in ["token", "introspect"] {
        let own =
            [("client_id", app.id()), ("client_secret", "guess"), ("token", "x"), ("grant_type", "client_credentials")];
        let refused = post(&app.site, &format!("/application/o/{path}/"), &own, &relayed).await;
        assert!(refused.status.is_client_error(), "{path}");
        assert_eq!(via(&refused), "unauthenticated", "{path}");
    }
}

/// OA-669: the API tells tokens from sessions; a session that another site makes use of proves nothing.
#[tokio::test]
async fn oa_669_the_api_says_who_came_how() {
    let wiki = Wiki::new().await;
    set_password(&wiki.site, wiki.ada, "correct horse battery staple").await;
    let mut browser = Browser::default();
    assert_eq!(via(&browser.sign_in(&wiki.site, "ada", "correct horse battery staple").await), "unauthenticated");
    assert_eq!(via(&browser.get(&wiki.site, "/").await), "session");
    let cookie = browser.cookie.clone().expect("a session");
    let api =
        async |method: Method, headers: &[(&str, &str)]| wiki.site.send(method, "/core/users/me/", headers, None).await;
    let key = wiki.site.api_key(wiki.ada, "ada-api").await;
    for (method, headers, expected) in [
        (Method::GET, vec![("authorization", format!("Bearer {key}"))], "api_token"),
        (Method::GET, vec![("authorization", format!("Bearer {key}x"))], "unauthenticated"),
        (Method::GET, vec![("cookie", cookie.clone())], "session"),
        (Method::GET, vec![("cookie", format!("{cookie}x"))], "unauthenticated"),
        (Method::GET, vec![], "unauthenticated"),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(via(&api(method, &headers).await), expected, "{headers:?}");
    }
    let elsewhere = [("cookie", cookie.as_str()), ("origin", "http://evil.example")];
    let refused = wiki.site.send(Method::POST, "/core/tokens/", &elsewhere, json!({"identifier": "x"})).await;
    assert_eq!((refused.status.as_u16(), via(&refused)), (403, "unauthenticated"));
}
