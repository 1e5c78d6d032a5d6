//! What applications were given, as people see and revoke it.

use super::clients::App;
use super::login::member;
use super::*;

/// OA-645, CO-703, CO-596: people see and revoke their own codes and access tokens, administrators everybody's, others none; no value
/// is shown, nor anything that opens something; what was revoked holds no more at the next request.
#[tokio::test]
async fn oa_645_people_revoke_what_was_issued() {
    let app = App::new(json!({})).await;
    let hers = app.site.api_key(app.ada, "ada-api").await;
    let bob = app.site.user("bob").await;
    let his = app.site.api_key(bob, "bob-api").await;
    for kind in ["authorization_codes", "access_tokens"] {
        let path = format!("/oauth2/{kind}/");
        let tokens = app.login(true).await;
        let approved = app.authorize(&[]).await;
        let listed = app.site.bearer(&hers, Method::GET, &path, None).await;
        let shown = &listed.json["results"][0];
        assert_eq!((listed.status.as_u16(), &listed.json["pagination"]["count"]), (200, &json!(1)), "{}", listed.text);
        assert_eq!((&shown["scope"], &shown["is_expired"]), (&json!(["email", "openid", "profile"]), &json!(false)));
        assert_eq!((&shown["user"]["username"], &shown["provider"]["name"]), (&json!("ada"), &json!("app")));
        assert!(shown["provider"]["redirect_uris"][0]["url"].is_string(), "clients of 2026.2 need it (CO-596)");
        let is_token = kind == "access_tokens";
        assert_eq!((shown.get("id_token").is_some(), shown.get("revoked").is_some()), (is_token, is_token));
        if is_token {
            let said: Value = serde_json::from_str(shown["id_token"].as_str().expect("text")).expect("JSON");
            assert_eq!((&said["preferred_username"], said.get("ak_proxy")), (&json!("ada"), None));
        }
        let code = member(&approved, "code").expect("a code");
        for value in [code.as_str(), text(&tokens, "access_token"), text(&tokens, "id_token")] {
            assert!(!listed.text.contains(value), "{value}");
        }
        let one = format!("{path}{}/", shown["pk"]);
        assert_eq!(app.site.bearer(&his, Method::GET, &path, None).await.status, 403);
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(app.site.bearer(&his, method, &one, None).await.status, 404);
        }
        assert_eq!(
            app.site.admin(Method::GET, &format!("{path}?user={}", app.ada), None).await.json["pagination"]["count"],
            1
        );
        assert_eq!(
            app.site.admin(Method::GET, &format!("{path}?search=bob"), None).await.json["pagination"]["count"],
            0
        );
        assert_eq!(&app.site.admin(Method::GET, &one, None).await.json["pk"], &shown["pk"]);
        assert_eq!(app.site.bearer(&hers, Method::GET, &format!("{one}used_by/"), None).await.json, json!([]));
        assert_eq!(app.site.bearer(&hers, Method::DELETE, &one, None).await.status, 204);
        for _ in 0..2 {
            assert_eq!(app.site.bearer(&hers, Method::GET, &one, None).await.status, 404);
        }
        let goes_on = app.userinfo(text(&tokens, "access_token")).await.status == 200;
        assert_eq!(goes_on, !is_token);
        let redeemed = app.redeem(&approved, true).await;
        assert_eq!(redeemed.status == 200, is_token, "{}", redeemed.text);
        let event = app.site.events("model_deleted").await.1;
        assert_eq!(event["model"]["name"], "app");
        // Nothing is left for the other kind.
        let left = app.site.admin(Method::GET, "/oauth2/access_tokens/", None).await;
        for token in left.json["results"].as_array().expect("a list") {
            app.site.admin(Method::DELETE, &format!("/oauth2/access_tokens/{}/", token["pk"]), None).await;
        }
    }
}
