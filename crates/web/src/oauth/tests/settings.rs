//! What an administrator allows a client besides the usual.

use super::clients::App;
use super::login::member;
use super::*;

/// That of the codes which `App` asks for.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// OA-041, OA-114, OA-151, OA-846: the challenge is the verifier itself where the provider allows it, said or not, and has its
/// form; discovery tells so.
#[tokio::test]
async fn oa_151_a_plain_challenge_is_for_who_is_allowed_it() {
    let app = App::new(json!({})).await;
    let path = "/application/o/app/.well-known/openid-configuration";
    let methods = async || get(&app.site, path, &[]).await.json["code_challenge_methods_supported"].clone();
    let said = [("code_challenge", VERIFIER), ("code_challenge_method", "plain")];
    let unsaid = [("code_challenge", VERIFIER), ("code_challenge_method", "")];
    for asked in [&said, &unsaid] {
        assert_eq!(member(&app.authorize(asked).await, "error").as_deref(), Some("invalid_request"));
    }
    assert_eq!(methods().await, json!(["S256"]));
    app.change(json!({"allow_pkce_plain": true})).await;
    assert_eq!(methods().await, json!(["S256", "plain"]));
    for asked in [&said, &unsaid] {
        let reply = app.authorize(asked).await;
        let code = member(&reply, "code").expect("a code");
        let redeem = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", "https://app.example/cb"),
            ("code_verifier", VERIFIER),
            ("client_secret", app.secret()),
        ];
        assert_eq!(app.ask("/application/o/token/", &redeem).await.status, 200);
    }
    let reply = app.authorize(&said).await;
    let code = member(&reply, "code").expect("a code");
    let other = VERIFIER.replace('d', "e");
    let redeem = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", "https://app.example/cb"),
        ("code_verifier", &other),
        ("client_secret", app.secret()),
    ];
    assert_eq!(text(&app.ask("/application/o/token/", &redeem).await, "error"), "invalid_grant");
    let short = [("code_challenge", "short"), ("code_challenge_method", "plain")];
    let unknown = [("code_challenge", VERIFIER), ("code_challenge_method", "PLAIN")];
    for asked in [&short, &unknown] {
        assert_eq!(member(&app.authorize(asked).await, "error").as_deref(), Some("invalid_request"));
    }
    // A hash is no verifier of itself.
    assert_eq!(app.login(true).await.status, 200);
}

/// OA-525, OA-884, OA-705: a token in the query is looked at for who is allowed it, and never beside another one.
#[tokio::test]
async fn oa_884_a_token_in_the_query_is_for_who_is_allowed_it() {
    let app = App::new(json!({})).await;
    let reply = app.login(true).await;
    let token = text(&reply, "access_token");
    let path = format!("/application/o/userinfo/?access_token={token}");
    let status = async |headers: &[(&str, &str)]| get(&app.site, &path, headers).await.status.as_u16();
    assert_eq!(status(&[]).await, 401);
    let bearer = format!("Bearer {token}");
    let beside = [("authorization", bearer.as_str())];
    assert_eq!(status(&beside).await, 400);
    app.change(json!({"allow_query_token": true})).await;
    let told = get(&app.site, &path, &[]).await;
    assert_eq!((told.status.as_u16(), &told.json["preferred_username"]), (200, &json!("ada")));
    assert_eq!(status(&beside).await, 400);
    assert_eq!(post(&app.site, &path, &[("access_token", token)], &[]).await.status, 400);
    assert_eq!(get(&app.site, "/application/o/userinfo/?access_token=nonsense", &[]).await.status, 401);
    assert_eq!(get(&app.site, "/application/o/userinfo/?access_token=", &[]).await.status, 401);
}
