//! What tokens say, and of what kind they are.

use super::clients::App;
use super::*;

/// OA-450, OA-451, OA-452, OA-453, OA-454, OA-455, OA-456, OA-458, OA-459, OA-460: what the tokens of a sign-in say, and of
/// what kind it is; what is unknown is left out.
#[tokio::test]
async fn oa_450_tokens_say_who_signed_in() {
    let app = App::new(json!({})).await;
    let tokens = app.login(true).await;
    let (access, id) = (claims(&tokens.json["access_token"]), claims(&tokens.json["id_token"]));
    let now = app.site.ctx.now().seconds();
    for said in [&access, &id] {
        assert_eq!((&said["iss"], &said["aud"]), (&json!("http://id.example/application/o/app/"), &json!(app.id())));
        assert_eq!((&said["exp"], &said["iat"], &said["auth_time"]), (&json!(now + 3600), &json!(now), &json!(now)));
        assert_eq!(said["acr"], "goauthentik.io/providers/oauth2/default");
        assert_eq!(
            (&said["amr"], &said["nonce"], &said["preferred_username"]),
            (&json!(["pwd"]), &json!("n-1"), &json!("ada"))
        );
        for (claim, length) in [("jti", 40), ("sid", 64), ("sub", 64)] {
            assert_eq!(said[claim].as_str().map(str::len), Some(length), "{claim}");
        }
        assert!(said.as_object().expect("an object").values().all(|value| !value.is_null()), "OA-460: {said}");
    }
    assert_ne!(access["jti"], id["jti"]);
    assert_eq!((&access["azp"], &access["scope"]), (&json!(app.id()), &json!("email openid profile")));
    assert_eq!(access["uid"].as_str().map(str::len), Some(40));
    assert!(["azp", "uid", "scope", "at_hash", "c_hash"].iter().all(|name| id.get(*name).is_none()));
    app.change(json!({"include_claims_in_id_token": false})).await;
    let tokens = app.login(true).await;
    for name in ["access_token", "id_token"] {
        assert!(claims(&tokens.json[name]).get("preferred_username").is_none(), "OA-030, OA-459: {name}");
    }
}

/// OA-441, OA-444, OA-445, OA-446, OA-072, OA-808: what proxies read has its types, superusers are told by any group, and
/// nothing of it that opens anything leaves the server; the key is published.
#[tokio::test]
async fn oa_446_what_proxies_read_has_its_types() {
    let wiki = Wiki::new().await;
    let scopes = "openid profile email entitlements ak_proxy";
    let issued = wiki.token_for_outpost(scopes).await;
    let said = claims(&issued.json["access_token"]);
    for name in ["sub", "email", "name", "preferred_username"] {
        assert!(said[name].is_string(), "{name}");
    }
    assert!(said["exp"].is_i64() && said["email_verified"].is_boolean() && said["ak_proxy"].is_object());
    assert!(said["groups"].is_array() && said["entitlements"].is_array());
    assert_eq!((&said["ak_proxy"]["is_superuser"], &said["ak_proxy"]["user_attributes"]), (&json!(false), &json!({})));
    for name in ["access_token", "id_token", "upstream_token"] {
        let header = text(&issued, name).split('.').next().expect("three parts").to_owned();
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
        assert_eq!(header["alg"], "RS256");
        assert!(!claims(&issued.json[name]).to_string().contains("open sesame"), "{name}");
    }
    assert!(claims(&issued.json["upstream_token"]).get("ak_proxy").is_none());
    let parent = json!({"name": "above", "is_superuser": true});
    let parent = wiki.site.admin(Method::POST, "/core/groups/", parent).await.json["pk"].clone();
    let child = json!({"name": "below", "parents": [parent], "users": [wiki.ada]});
    assert_eq!(wiki.site.admin(Method::POST, "/core/groups/", child).await.status, 201);
    let said = claims(&wiki.token_of_ada(scopes).await.json["access_token"]);
    assert_eq!((&said["ak_proxy"]["is_superuser"], &said["groups"]), (&json!(true), &json!(["below"])));
}

/// OA-073, OA-074, OA-070: a proxy provider encrypts nothing, and everything that its mappings offer is there to be asked
/// for.
#[tokio::test]
async fn oa_074_proxies_ask_for_everything() {
    let wiki = Wiki::new().await;
    let shown = wiki.site.admin(Method::GET, "/outposts/proxy/", None).await;
    let scopes = &shown.json["results"][0]["scopes_to_request"];
    let mut scopes: Vec<_> = scopes.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["ak_proxy", "email", "entitlements", "openid", "profile"]);
    let mut conn = wiki.site.ctx.db.read().await.expect("reads");
    let stored = portcullis_store::provider::by_pk(&mut conn, wiki.pk()).await.expect("reads").expect("is there");
    assert!(stored.client_type == "confidential" && stored.include_claims_in_id_token);
    let token = wiki.token_of_ada("openid").await;
    assert_eq!(text(&token, "access_token").split('.').count(), 3, "a plain JWS");
}

/// OA-079: nobody may have the user name that means a token.
#[tokio::test]
async fn oa_079_a_name_is_reserved() {
    let site = Site::new().await;
    let reserved = json!({"username": "goauthentik.io/token", "name": "x"});
    let refused = site.admin(Method::POST, "/core/users/", reserved.clone()).await;
    assert!(refused.status == 400 && refused.json.get("username").is_some(), "{}", refused.text);
    let ada = site.user("ada").await;
    let renamed = site.admin(Method::PATCH, &format!("/core/users/{ada}/"), reserved).await;
    assert!(renamed.status == 400 && renamed.json.get("username").is_some(), "{}", renamed.text);
}

/// OA-465, OA-126, OA-497, OA-894: access tokens are of the type that outposts read, and are no credential of a client that asks about
/// tokens.
#[tokio::test]
async fn oa_497_a_token_is_no_client() {
    let app = App::new(json!({"grant_types": ["password"]})).await;
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY), ("scope", "openid")];
    let issued = app.ask("/application/o/token/", &all).await;
    let token = text(&issued, "access_token");
    let header = token.split('.').next().expect("three parts");
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
    assert_eq!(header, json!({"alg": "HS256", "typ": "JWT"}));
    let bearer = format!("Bearer {token}");
    for path in ["introspect", "revoke"] {
        let path = format!("/application/o/{path}/");
        for client in [vec![("token", token)], vec![("token", token), ("client_id", app.id())]] {
            let refused = post(&app.site, &path, &client, &[("authorization", &bearer)]).await;
            assert_eq!((refused.status.as_u16(), text(&refused, "error")), (401, "invalid_client"), "{path}");
        }
    }
    assert_eq!(app.userinfo(token).await.status, 200);
}

/// OA-466: a token that would be too long is not issued; the answer does not say why, an event does. One that is merely long is
/// issued, with a warning that names the mapping.
#[tokio::test]
async fn oa_466_a_token_that_is_too_long_is_not_issued() {
    let app = App::new(json!({"grant_types": ["password"]})).await;
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY), ("scope", "profile")];
    for (count, status) in [(100, 200), (700, 400)] {
        for number in 0..count {
            let body = json!({"name": format!("{}-{count}-{number}", "g".repeat(100)), "users": [app.ada]});
            assert_eq!(app.site.admin(Method::POST, "/core/groups/", body).await.status, 201);
        }
        let reply = app.ask("/application/o/token/", &all).await;
        assert_eq!(reply.status, status, "{count}");
        assert!(status == 200 || text(&reply, "error") == "invalid_grant", "{}", reply.text);
        app.ask("/application/o/token/", &all).await;
        let (warnings, warning) = app.site.events("configuration_warning").await;
        assert_eq!((warnings, &warning["provider"]), (1, &json!("app")), "{warning}");
        assert!(warning["mapping"]["name"].as_str().is_some_and(|name| name.contains("'profile'")), "{warning}");
        let (errors, error) = app.site.events("configuration_error").await;
        assert_eq!(errors, usize::from(status == 400), "{error}");
        assert!(errors == 0 || error["message"].as_str().is_some_and(|said| said.contains("too long")), "{error}");
    }
}

/// OA-047, OA-664: who has no subject at a client gets no token of it, by whatever way, and an event says why.
#[tokio::test]
async fn oa_047_nobody_is_without_a_subject() {
    let grants = json!(["password", "implicit", "authorization_code", "refresh_token"]);
    let app = App::new(json!({"grant_types": grants, "sub_mode": "user_email"})).await;
    let path = format!("/core/users/{}/", app.ada);
    assert_eq!(app.site.admin(Method::PATCH, &path, json!({"email": ""})).await.status, 200);
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY), ("scope", "profile")];
    let refused = app.ask("/application/o/token/", &all).await;
    assert_eq!((refused.status.as_u16(), text(&refused, "error")), (400, "invalid_grant"));
    let (count, event) = app.site.events("configuration_error").await;
    assert_eq!((count, &event["provider"]), (1, &json!("app")));
    assert!(event["message"].as_str().is_some_and(|said| said.contains("no subject")), "{event}");
    let by_code = app.login(true).await;
    assert_eq!((by_code.status.as_u16(), text(&by_code, "error")), (400, "invalid_grant"));
    app.site.clock.advance_seconds(3601);
    let implicit = [("response_type", "id_token"), ("code_challenge", ""), ("code_challenge_method", "")];
    let reply = app.authorize(&implicit).await;
    assert!(location(&reply).contains("#error=server_error&"), "{}", location(&reply));
    assert_eq!(app.site.events("configuration_error").await.0, 2, "once an hour");
}
