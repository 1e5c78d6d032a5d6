//! Access that goes on when nobody is there.

use super::browser::{Browser, set_password};
use super::clients::App;
use super::*;

const PASSWORD: &str = "correct horse battery";
const SCOPES: &str = "openid profile email offline_access";

/// Adds a scope that came with the installation to those of a provider.
pub(super) async fn offer(site: &Site, kind: &str, provider: impl std::fmt::Display, scope: &str) {
    let path = format!("/providers/{kind}/{provider}/");
    let mut mappings = site.admin(Method::GET, &path, None).await.json["property_mappings"].take();
    let managed = format!("goauthentik.io/providers/oauth2/scope-{scope}");
    let found = site.admin(Method::GET, &format!("/propertymappings/all/?managed={managed}"), None).await;
    mappings.as_array_mut().expect("a list").push(found.json["results"][0]["pk"].clone());
    let changed = site.admin(Method::PATCH, &path, json!({"property_mappings": mappings})).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
}

/// An instance whose client may ask for access offline.
async fn app(more: Value) -> App {
    let app = App::new(more).await;
    offer(&app.site, "oauth2", &app.provider["pk"], "offline_access").await;
    app
}

/// Signs Ada in and gives the answer of the token endpoint.
async fn login(app: &App) -> Reply {
    let reply = app.authorize(&[("scope", SCOPES)]).await;
    let tokens = app.redeem(&reply, true).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    tokens
}

async fn refresh(app: &App, token: &str, more: &[(&str, &str)]) -> Reply {
    let mut all = vec![("grant_type", "refresh_token"), ("refresh_token", token), ("client_secret", app.secret())];
    all.extend_from_slice(more);
    app.ask("/application/o/token/", &all).await
}

async fn refused(app: &App, token: &str, more: &[(&str, &str)]) -> String {
    let reply = refresh(app, token, more).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    text(&reply, "error").to_owned()
}

async fn introspected(app: &App, token: &str) -> Value {
    let reply = app.ask("/application/o/introspect/", &[("client_secret", app.secret()), ("token", token)]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json
}

async fn is_active(app: &App, token: &str) -> bool {
    introspected(app, token).await["active"] == true
}

/// OA-052, OA-269: nothing that a client was granted at an application goes on at another one, or at the same one later.
#[tokio::test]
async fn oa_052_offline_access_ends_with_the_application() {
    let app = app(json!({})).await;
    let put = async |slug: &str, provider: Value| {
        let path = format!("/core/applications/{slug}/");
        let changed = app.site.admin(Method::PATCH, &path, json!({"provider": provider})).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
    };
    let detached = login(&app).await;
    put("app", Value::Null).await;
    put("app", app.provider["pk"].clone()).await;
    assert_eq!(refused(&app, text(&detached, "refresh_token"), &[]).await, "invalid_grant");
    let deleted = login(&app).await;
    assert_eq!(app.site.admin(Method::DELETE, "/core/applications/app/", None).await.status, 204);
    let body = json!({"name": "other", "slug": "other", "provider": app.provider["pk"]});
    assert_eq!(app.site.admin(Method::POST, "/core/applications/", body).await.status, 201);
    assert_eq!(refused(&app, text(&deleted, "refresh_token"), &[]).await, "invalid_grant");
    assert!(!is_active(&app, text(&deleted, "refresh_token")).await);
    let stays = login(&app).await;
    let renamed = app.site.admin(Method::PATCH, "/core/applications/other/", json!({"name": "Other"})).await;
    assert_eq!(renamed.status, 200, "{}", renamed.text);
    assert_eq!(refresh(&app, text(&stays, "refresh_token"), &[]).await.status, 200);
}

/// OA-247, OA-106, OA-148, OA-434: a refresh token comes with `offline_access` alone, and only to a client that may use it.
#[tokio::test]
async fn oa_247_offline_access_gives_a_refresh_token() {
    let app = app(json!({})).await;
    let found = get(&app.site, "/application/o/app/.well-known/openid-configuration", &[]).await.json;
    assert_eq!(found["grant_types_supported"], json!(["authorization_code", "refresh_token", "client_credentials"]));
    let plain = app.login(true).await;
    assert!(plain.json.get("refresh_token").is_none(), "{}", plain.text);
    let tokens = login(&app).await;
    let token = text(&tokens, "refresh_token");
    assert!(token.len() == 128 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "OA-006");
    assert_eq!(text(&tokens, "scope"), "email offline_access openid profile");
    app.change(json!({"grant_types": ["authorization_code"]})).await;
    let tokens = login(&app).await;
    assert_eq!((tokens.json.get("refresh_token"), text(&tokens, "scope")), (None, "email openid profile"));
    assert_eq!(refused(&app, token, &[]).await, "unauthorized_client");
}

/// OA-262, OA-264, OA-224, OA-461: each use gives new tokens of the same login, without its nonce, and another refresh
/// token of full length.
#[tokio::test]
async fn oa_262_each_use_rotates() {
    let app = app(json!({"refresh_token_validity": "days=2"})).await;
    let first = login(&app).await;
    app.site.clock.advance_seconds(86_400 + 43_200);
    let second = refresh(&app, text(&first, "refresh_token"), &[]).await;
    assert_eq!(second.status, 200, "{}", second.text);
    for name in ["access_token", "id_token"] {
        let (old, new) = (claims(&first.json[name]), claims(&second.json[name]));
        for same in ["sub", "sid", "auth_time", "acr", "amr", "aud", "iss", "email"] {
            assert_eq!(old[same], new[same], "{same}");
        }
        assert_eq!((old["nonce"].as_str(), new.get("nonce")), (Some("n-1"), None));
        assert!(new["iat"].as_i64() > old["iat"].as_i64() && new["jti"] != old["jti"]);
    }
    assert_eq!(second.json["expires_in"], 3600);
    assert_ne!(text(&first, "refresh_token"), text(&second, "refresh_token"));
    assert!(is_active(&app, text(&second, "access_token")).await);
    assert_eq!(app.userinfo(text(&second, "access_token")).await.json["preferred_username"], "ada");
    app.site.clock.advance_seconds(86_400 + 43_200);
    let third = refresh(&app, text(&second, "refresh_token"), &[]).await;
    assert_eq!(third.status, 200, "{}", third.text);
    app.site.clock.advance_seconds(2 * 86_400);
    assert_eq!(refused(&app, text(&third, "refresh_token"), &[]).await, "invalid_grant");
}

/// OA-262, OA-029: with a threshold the token stays until less than that is left of it.
#[tokio::test]
async fn oa_262_a_threshold_puts_rotation_off() {
    let app = app(json!({"refresh_token_validity": "days=2", "refresh_token_threshold": "hours=1"})).await;
    let token = text(&login(&app).await, "refresh_token").to_owned();
    for _ in 0..2 {
        let reply = refresh(&app, &token, &[]).await;
        assert_eq!((reply.status.as_u16(), reply.json.get("refresh_token")), (200, None), "{}", reply.text);
    }
    app.site.clock.advance_seconds(2 * 86_400 - 1800);
    let next = refresh(&app, &token, &[]).await;
    let next = text(&next, "refresh_token").to_owned();
    assert_eq!(refused(&app, &token, &[]).await, "invalid_grant");
    app.site.clock.advance_seconds(3600);
    assert_eq!(refresh(&app, &next, &[]).await.status, 200);
}

/// OA-261, OA-263, OA-220, OA-865: fewer scopes are honoured for the access token alone; others, or none to refresh with, are not.
#[tokio::test]
async fn oa_263_scopes_can_be_narrowed() {
    let app = app(json!({})).await;
    let token = text(&login(&app).await, "refresh_token").to_owned();
    for wider in ["openid offline_access entitlements", "openid", "offline_access nonsense"] {
        assert_eq!(refused(&app, &token, &[("scope", wider)]).await, "invalid_scope", "{wider}");
    }
    let narrow = refresh(&app, &token, &[("scope", "openid offline_access")]).await;
    assert_eq!(text(&narrow, "scope"), "offline_access openid");
    assert!(claims(&narrow.json["access_token"]).get("email").is_none());
    let whole = refresh(&app, text(&narrow, "refresh_token"), &[]).await;
    assert_eq!(text(&whole, "scope"), "email offline_access openid profile");
}

/// OA-260, OA-213, OA-704: what is missing, unknown or another client's is refused in one way, and a client proves itself.
#[tokio::test]
async fn oa_260_what_cannot_be_refreshed() {
    let app = app(json!({})).await;
    let tokens = login(&app).await;
    let token = text(&tokens, "refresh_token");
    let long = "x".repeat(10_000);
    for bad in ["", "unknown", &long, text(&tokens, "access_token")] {
        assert_eq!(refused(&app, bad, &[]).await, "invalid_grant");
    }
    let other = super::clients::client(&app.site, "other", json!({})).await;
    let all = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", other["client_id"].as_str().expect("text")),
        ("client_secret", other["client_secret"].as_str().expect("text")),
    ];
    let foreign = post(&app.site, "/application/o/token/", &all, &[]).await;
    assert_eq!(text(&foreign, "error"), "invalid_grant");
    let without = [("grant_type", "refresh_token"), ("refresh_token", token)];
    assert_eq!(text(&app.ask("/application/o/token/", &without).await, "error"), "invalid_client");
    assert_eq!(refresh(&app, token, &[]).await.status, 200, "nothing of this used it up");
}

/// OA-265, OA-644, OA-862: a token that was replaced is refused, soon afterwards without more, later with everything that
/// came of the grant, which is reported.
#[tokio::test]
async fn oa_265_reuse_revokes_the_family() {
    let app = app(json!({})).await;
    let first = login(&app).await;
    let second = refresh(&app, text(&first, "refresh_token"), &[]).await;
    app.site.clock.advance_seconds(5);
    assert_eq!(refused(&app, text(&first, "refresh_token"), &[]).await, "invalid_grant");
    assert!(is_active(&app, text(&second, "access_token")).await, "within the grace");
    let third = refresh(&app, text(&second, "refresh_token"), &[]).await;
    assert_eq!((third.status.as_u16(), app.site.events("suspicious_request").await.0), (200, 0));
    app.site.clock.advance_seconds(6);
    assert_eq!(refused(&app, text(&first, "refresh_token"), &[]).await, "invalid_grant");
    let (count, event) = app.site.events("suspicious_request").await;
    assert_eq!((count, &event["affected_user"]["name"]), (1, &json!("ada")), "{event}");
    for tokens in [&first, &second, &third] {
        assert!(!is_active(&app, text(tokens, "access_token")).await);
    }
    assert_eq!(refused(&app, text(&third, "refresh_token"), &[]).await, "invalid_grant");
    assert_eq!(refused(&app, text(&third, "refresh_token"), &[]).await, "invalid_grant");
    assert!(app.site.events("suspicious_request").await.0 <= 5, "said once for each kind");
}

/// OA-265, OA-644: of a family that goes on for long the tokens that were rotated last are remembered; older ones are
/// unknown, and good for nothing.
#[tokio::test]
async fn oa_644_families_are_bounded() {
    let app = app(json!({})).await;
    let first = text(&login(&app).await, "refresh_token").to_owned();
    let mut all = vec![first.clone()];
    for _ in 0..102 {
        let next = refresh(&app, &all[all.len() - 1], &[]).await;
        assert_eq!(next.status, 200, "{}", next.text);
        all.push(text(&next, "refresh_token").to_owned());
    }
    app.site.clock.advance_seconds(60);
    assert_eq!(refused(&app, &first, &[]).await, "invalid_grant");
    assert!(is_active(&app, &all[102]).await, "nobody knows what it was");
    assert_eq!(refused(&app, &all[2], &[]).await, "invalid_grant");
    assert!(!is_active(&app, &all[102]).await, "the hundred before the newest are remembered");
}

/// OA-644, OA-247: a user has only so many grants at a client that go on; another one ends the one that was used least
/// lately.
#[tokio::test]
async fn oa_644_grants_that_go_on_are_bounded() {
    use portcullis_store::refresh_token::{self, RefreshToken};
    let app = app(json!({})).await;
    let oldest = text(&login(&app).await, "refresh_token").to_owned();
    let access = login(&app).await;
    let mut tx = app.site.ctx.db.write().await.expect("writes");
    let now = app.site.ctx.now();
    let filter = refresh_token::Filter::default();
    let slice = || portcullis_store::select::Slice::ALL;
    let known = refresh_token::list(&mut tx, &filter, now, slice()).await.expect("reads").rows.remove(0);
    for number in 0..998_u32 {
        let (digest, grant_id) = (number.to_be_bytes().to_vec(), format!("grant-{number}"));
        refresh_token::insert(&mut tx, &RefreshToken { digest, grant_id, ..known.clone() }).await.expect("stores");
    }
    tx.commit().await.expect("stores");
    assert!(is_active(&app, &oldest).await);
    // Use keeps it: the second one is the oldest then.
    let kept = refresh(&app, &oldest, &[]).await;
    let newest = login(&app).await;
    assert!(
        !is_active(&app, text(&access, "refresh_token")).await && !is_active(&app, text(&access, "access_token")).await
    );
    for token in [&kept, &newest] {
        assert!(
            is_active(&app, text(token, "refresh_token")).await && is_active(&app, text(token, "access_token")).await
        );
    }
    let mut conn = app.site.ctx.db.read().await.expect("reads");
    assert_eq!(refresh_token::list(&mut conn, &filter, now, slice()).await.expect("reads").count, 1000);
}

/// OA-266: of many uses at once exactly one succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn oa_266_one_of_many_uses_wins() {
    let app = std::sync::Arc::new(app(json!({})).await);
    let token = text(&login(&app).await, "refresh_token").to_owned();
    let tries: Vec<_> = (0..12)
        .map(|_| {
            let (app, token) = (std::sync::Arc::clone(&app), token.clone());
            tokio::spawn(async move { refresh(&app, &token, &[]).await })
        })
        .collect();
    let mut won = Vec::new();
    for attempt in tries {
        let reply = attempt.await.expect("no panic");
        if reply.status == 200 {
            won.push(text(&reply, "refresh_token").to_owned());
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(refresh(&app, &won[0], &[]).await.status, 200, "the family lives on");
}

/// OA-267, CO-132, CO-838, OA-406, OA-863: who lost the application gets nothing more; with it again, the token goes on.
#[tokio::test]
async fn oa_267_policies_decide_again() {
    let app = app(json!({})).await;
    let token = text(&login(&app).await, "refresh_token").to_owned();
    let application = app.site.admin(Method::GET, "/core/applications/app/", None).await;
    let bob = app.site.user("bob").await;
    let bind = json!({"target": application.json["pk"], "user": bob, "order": 0, "enabled": true});
    let bound = app.site.admin(Method::POST, "/policies/bindings/", bind).await;
    assert_eq!(refused(&app, &token, &[]).await, "invalid_grant");
    assert_eq!(introspected(&app, &token).await, json!({"active": false}));
    let path = format!("/policies/bindings/{}/", bound.json["pk"].as_str().expect("a key"));
    assert_eq!(app.site.admin(Method::DELETE, &path, None).await.status, 204);
    let reply = refresh(&app, &token, &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let detached = json!({"name": "app", "slug": "app", "provider": null});
    assert_eq!(app.site.admin(Method::PUT, "/core/applications/app/", detached).await.status, 200);
    assert_eq!(refused(&app, text(&reply, "refresh_token"), &[]).await, "invalid_grant");
}

/// OA-269, OA-463: access goes on when the session ends, and so do tokens that were obtained without it.
#[tokio::test]
async fn oa_269_access_outlives_the_session() {
    let app = app(json!({})).await;
    let first = login(&app).await;
    let second = refresh(&app, text(&first, "refresh_token"), &[]).await;
    let ended = app.site.admin(Method::GET, "/core/authenticated_sessions/", None).await;
    for session in ended.json["results"].as_array().expect("a list") {
        let path = format!("/core/authenticated_sessions/{}/", session["uuid"].as_str().expect("a key"));
        assert_eq!(app.site.admin(Method::DELETE, &path, None).await.status, 204);
    }
    assert!(!is_active(&app, text(&first, "access_token")).await, "bound to the session");
    assert!(is_active(&app, text(&second, "access_token")).await);
    assert_eq!(refresh(&app, text(&second, "refresh_token"), &[]).await.status, 200);
}

/// OA-269, CO-037, CO-041, CO-385, CO-802: it ends when the user is deactivated or deleted, when the password changes and
/// when the client is deleted, with everything obtained by it.
#[tokio::test]
async fn oa_269_what_ends_access() {
    let app = app(json!({})).await;
    let user = format!("/core/users/{}/", app.ada);
    let begin = async || {
        let first = login(&app).await;
        let second = refresh(&app, text(&first, "refresh_token"), &[]).await;
        (text(&second, "refresh_token").to_owned(), text(&second, "access_token").to_owned())
    };
    let (token, access) = begin().await;
    set_password(&app.site, app.ada, PASSWORD).await;
    assert_eq!((refused(&app, &token, &[]).await, is_active(&app, &access).await), ("invalid_grant".to_owned(), false));

    let (token, access) = begin().await;
    app.site.admin(Method::PATCH, &user, json!({"is_active": false})).await;
    assert_eq!((refused(&app, &token, &[]).await, is_active(&app, &access).await), ("invalid_grant".to_owned(), false));
    app.site.admin(Method::PATCH, &user, json!({"is_active": true})).await;
    assert_eq!(refused(&app, &token, &[]).await, "invalid_grant", "for good");

    let (token, access) = begin().await;
    assert_eq!(app.site.admin(Method::DELETE, &user, None).await.status, 204);
    assert_eq!((refused(&app, &token, &[]).await, is_active(&app, &access).await), ("invalid_grant".to_owned(), false));
}

/// OA-269, OA-547: a client that signs somebody out ends its own offline access, and nobody else's.
#[tokio::test]
async fn oa_269_sign_out_by_the_client_ends_it() {
    for invalidation in ["default-provider-invalidation-flow", "default-invalidation-flow"] {
        let app = app(json!({})).await;
        let flow = app.site.admin(Method::GET, &format!("/flows/instances/{invalidation}/"), None).await;
        app.change(json!({"invalidation_flow": flow.json["pk"]})).await;
        let other = login(&app).await;
        let mut browser = Browser::default();
        assert_eq!(browser.sign_in(&app.site, "ada", PASSWORD).await.status, 303);
        let reply = app.authorize_in(&mut browser, &[("scope", SCOPES)]).await;
        let first = app.redeem(&reply, true).await;
        let second = refresh(&app, text(&first, "refresh_token"), &[]).await;
        let path = format!("/application/o/app/end-session/?id_token_hint={}", text(&second, "id_token"));
        let left = browser.get(&app.site, &path).await;
        assert_eq!(left.status, 200, "{}", left.text);
        assert_eq!(refused(&app, text(&second, "refresh_token"), &[]).await, "invalid_grant", "{invalidation}");
        assert!(!is_active(&app, text(&second, "access_token")).await);
        assert_eq!(refresh(&app, text(&other, "refresh_token"), &[]).await.status, 200, "of another session");
    }
}

/// OA-245, OA-513, OA-512, OA-708, OA-883: revoking a refresh token, and using its code twice, ends the whole family; an
/// access token that is revoked goes alone.
#[tokio::test]
async fn oa_513_revocation_takes_the_family() {
    let app = app(json!({})).await;
    let revoke = async |token: &str| {
        let all = [("client_secret", app.secret()), ("token", token), ("token_type_hint", "access_token")];
        let reply = app.ask("/application/o/revoke/", &all).await;
        assert_eq!((reply.status.as_u16(), &reply.json), (200, &json!({})), "{}", reply.text);
    };
    let first = login(&app).await;
    revoke(text(&first, "access_token")).await;
    assert!(!is_active(&app, text(&first, "access_token")).await);
    let second = refresh(&app, text(&first, "refresh_token"), &[]).await;
    revoke(text(&second, "refresh_token")).await;
    assert!(!is_active(&app, text(&second, "access_token")).await);
    assert_eq!(refused(&app, text(&second, "refresh_token"), &[]).await, "invalid_grant");
    let (_, event) = app.site.events("suspicious_request").await;
    assert_eq!(event["message"], "Revoked refresh token was used", "OA-663");

    let reply = app.authorize(&[("scope", SCOPES)]).await;
    let first = app.redeem(&reply, true).await;
    assert_eq!(text(&app.redeem(&reply, true).await, "error"), "invalid_grant");
    assert_eq!(refused(&app, text(&first, "refresh_token"), &[]).await, "invalid_grant");
}

/// OA-464, OA-493, OA-494: introspection tells of a refresh token what it keeps of the login; no other client is told, and
/// it opens nothing itself.
#[tokio::test]
async fn oa_494_introspection_of_refresh_tokens() {
    let app = app(json!({})).await;
    let tokens = login(&app).await;
    let token = text(&tokens, "refresh_token");
    let (said, issued) = (introspected(&app, token).await, claims(&tokens.json["id_token"]));
    for same in ["sub", "sid", "auth_time", "acr", "amr", "aud", "iss"] {
        assert_eq!(said[same], issued[same], "{same}");
    }
    assert_eq!((&said["active"], &said["username"]), (&json!(true), &json!("ada")));
    assert_eq!((&said["scope"], said.get("token_type")), (&json!("email offline_access openid profile"), None));
    let (_, id, secret) = application(&app.site, "wiki", EXTERNAL).await;
    let all = [("client_id", id.as_str()), ("client_secret", &secret), ("token", token)];
    assert_eq!(post(&app.site, "/application/o/introspect/", &all, &[]).await.json, json!({"active": false}));
    assert_eq!(app.userinfo(token).await.status, 401);
}

/// OA-041, OA-741, OA-510: a public client refreshes by its id alone, gets another token each time, and revokes its own.
#[tokio::test]
async fn oa_741_public_clients_rotate_always() {
    let app = app(json!({"client_type": "public"})).await;
    let reply = app.authorize(&[("scope", SCOPES)]).await;
    let first = app.redeem(&reply, false).await;
    let all = [("grant_type", "refresh_token"), ("refresh_token", text(&first, "refresh_token"))];
    let second = app.ask("/application/o/token/", &all).await;
    assert_eq!(second.status, 200, "{}", second.text);
    assert_ne!(text(&first, "refresh_token"), text(&second, "refresh_token"));
    let revoked = app.ask("/application/o/revoke/", &[("token", text(&second, "refresh_token"))]).await;
    assert_eq!(revoked.status, 200);
    let all = [("grant_type", "refresh_token"), ("refresh_token", text(&second, "refresh_token"))];
    assert_eq!(text(&app.ask("/application/o/token/", &all).await, "error"), "invalid_grant");
}

/// OA-641, OA-643, OA-644, OA-800, OA-704: no value is stored; what was replaced stays until it would have ended, and goes then.
#[tokio::test]
async fn oa_644_values_are_not_stored() {
    let app = app(json!({"refresh_token_validity": "hours=1"})).await;
    let first = login(&app).await;
    let second = refresh(&app, text(&first, "refresh_token"), &[]).await;
    let stored = String::from_utf8_lossy(&app.site.file_bytes()).into_owned();
    for tokens in [&first, &second] {
        assert!(!stored.contains(text(tokens, "refresh_token")));
    }
    let count = async || {
        let mut conn = app.site.ctx.db.read().await.expect("reads");
        let ada = portcullis_core::id::UserPk(i32::try_from(app.ada).expect("small"));
        let relation = portcullis_store::relation::Relation::RefreshTokenOfAccount;
        portcullis_store::relation::users_of(&mut conn, relation, &ada.to_string()).await.expect("reads").len()
    };
    portcullis_idp::oauth::sweep(&app.site.ctx).await.expect("sweeps");
    assert_eq!(count().await, 1);
    app.site.clock.advance_seconds(11);
    assert_eq!(refused(&app, text(&first, "refresh_token"), &[]).await, "invalid_grant");
    app.site.clock.advance_seconds(3600);
    portcullis_idp::oauth::sweep(&app.site.ctx).await.expect("sweeps");
    let mut conn = app.site.ctx.db.read().await.expect("reads");
    let any = portcullis_store::refresh_token::by_pk(&mut conn, 1, portcullis_core::clock::Timestamp::from_seconds(0));
    assert_eq!(any.await.expect("reads"), None);
}

/// OA-645, OA-532, CO-703: people see and revoke what goes on in their name, and nobody else's; no value is shown.
#[tokio::test]
async fn oa_645_people_see_and_revoke_their_own() {
    let app = app(json!({})).await;
    let tokens = login(&app).await;
    let (ada, bob) = (app.site.api_key(app.ada, "ada-api").await, app.site.user("bob").await);
    let bob = app.site.api_key(bob, "bob-api").await;
    let path = "/oauth2/refresh_tokens/";
    assert_eq!(app.site.bearer(&bob, Method::GET, path, None).await.status, 403, "nothing to see");
    let list = app.site.bearer(&ada, Method::GET, path, None).await;
    let mine = &list.json["results"][0];
    assert_eq!((&list.json["pagination"]["count"], &mine["user"]["username"]), (&json!(1), &json!("ada")));
    assert_eq!((&mine["provider"]["name"], &mine["revoked"]), (&json!("app"), &json!(false)));
    assert_eq!(mine["scope"], json!(["email", "offline_access", "openid", "profile"]));
    let kept: Value = serde_json::from_str(mine["id_token"].as_str().expect("text")).expect("JSON");
    assert_eq!(kept["sub"], claims(&tokens.json["id_token"])["sub"]);
    assert!(!list.text.contains(text(&tokens, "refresh_token")));
    let own = format!("{path}{}/", mine["pk"]);
    assert_eq!(&app.site.bearer(&ada, Method::GET, &own, None).await.json, mine);
    for query in ["?user=1", "?provider=4711", "?search=nobody"] {
        let found = app.site.admin(Method::GET, &format!("{path}{query}"), None).await;
        assert_eq!(found.json["pagination"]["count"], 0, "{query}");
    }
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(app.site.bearer(&bob, method, &own, None).await.status, 404);
    }
    let used = app.site.admin(Method::GET, &format!("/core/users/{}/used_by/", app.ada), None).await;
    let named = used.json.as_array().expect("a list").iter().find(|found| found["model_name"] == "refreshtoken");
    assert_eq!(named.map(|found| &found["name"]), Some(&json!("app")), "{}", used.text);
    assert_eq!(app.site.bearer(&ada, Method::DELETE, &own, None).await.status, 204);
    assert_eq!(app.site.bearer(&ada, Method::GET, &own, None).await.status, 404);
    assert_eq!(refused(&app, text(&tokens, "refresh_token"), &[]).await, "invalid_grant");
    assert!(!is_active(&app, text(&tokens, "access_token")).await, "OA-513");
    assert_eq!(app.site.events("model_deleted").await.1["model"]["model_name"], "refreshtoken");
}

/// OA-268, OA-262: a family ends when the provider says, however often its token is replaced; nothing that comes of it lives
/// longer. What the provider says later counts for those that have begun, and nothing said is no end.
#[tokio::test]
async fn oa_268_a_family_has_an_end() {
    let more = json!({"refresh_token_validity": "days=2", "refresh_family_max_age": "days=3"});
    let app = app(more).await;
    let mut token = text(&login(&app).await, "refresh_token").to_owned();
    for _ in 0..2 {
        app.site.clock.advance_seconds(86_400);
        token = text(&refresh(&app, &token, &[]).await, "refresh_token").to_owned();
    }
    let told = introspected(&app, &token).await;
    assert_eq!(told["exp"], app.site.ctx.now().seconds() + 86_400);
    app.site.clock.advance_seconds(86_400 - 600);
    let last = refresh(&app, &token, &[]).await;
    assert_eq!((last.status.as_u16(), &last.json["expires_in"]), (200, &json!(600)), "{}", last.text);
    app.site.clock.advance_seconds(600);
    let (next, access) = (text(&last, "refresh_token"), text(&last, "access_token"));
    assert_eq!(refused(&app, next, &[]).await, "invalid_grant");
    assert!(!is_active(&app, next).await && !is_active(&app, access).await);

    app.change(json!({"refresh_family_max_age": ""})).await;
    let free = text(&login(&app).await, "refresh_token").to_owned();
    app.site.clock.advance_seconds(86_400);
    assert!(is_active(&app, &free).await);
    app.change(json!({"refresh_family_max_age": "hours=24"})).await;
    assert!(!is_active(&app, &free).await);
    assert_eq!(refused(&app, &free, &[]).await, "invalid_grant");
    app.change(json!({"refresh_family_max_age": "hours=25"})).await;
    assert_eq!(refresh(&app, &free, &[]).await.status, 200);
    // What is issued beside the first token is of the family, too; without one there is none.
    app.change(json!({"refresh_family_max_age": "minutes=10"})).await;
    assert_eq!(login(&app).await.json["expires_in"], 600);
    assert_eq!(app.login(true).await.json["expires_in"], 3600);
}
