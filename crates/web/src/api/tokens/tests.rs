//! Tokens, as their owners and administrators deal with them.

use super::*;
use crate::testing::{Site, TOKEN};
use authentik_client::models;
use http::Method;
use portcullis_core::epoch::Subject;

const DAY: i64 = 24 * 3600;

async fn app_password(site: &Site, identifier: &str, user: i64) -> Value {
    let body = json!({"identifier": identifier, "intent": "app_password", "user": user});
    let made = site.admin(Method::POST, "/core/tokens/", body).await;
    assert_eq!(made.status, 201, "{:?}", made.json);
    made.json
}

async fn key_of(site: &Site, identifier: &str) -> String {
    let shown = site.admin(Method::GET, &format!("/core/tokens/{identifier}/view_key/"), None).await;
    shown.json["key"].as_str().expect("a key").to_owned()
}

/// CO-549, CO-596, OA-590, OA-902: a token is created, read, changed and deleted; its key is in none of the answers.
#[tokio::test]
async fn co_549_tokens_live_and_go() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let made = app_password(&site, "laptop", user).await;
    serde_json::from_value::<models::Token>(made.clone()).expect("the client's type");
    assert_eq!((&made["user"], &made["user_obj"]["username"]), (&json!(user), &json!("ada")));
    assert_eq!(made["expires"], json!(site.ctx.now().plus_seconds(360 * DAY).to_string()));
    let key = key_of(&site, "laptop").await;
    assert!(key.len() == 60 && key.bytes().all(|b| b.is_ascii_alphanumeric()), "{key}");
    let list = site.admin(Method::GET, "/core/tokens/?intent=app_password&user__username=ADA", None).await;
    serde_json::from_value::<models::PaginatedTokenList>(list.json.clone()).expect("the client's type");
    assert_eq!(list.json["results"][0], made);
    assert!(!list.json.to_string().contains(&key));
    let changed = site.admin(Method::PATCH, "/core/tokens/laptop/", json!({"description": "d"})).await;
    assert_eq!((&changed.json["description"], &changed.json["expires"]), (&json!("d"), &made["expires"]));
    let renamed = site.admin(Method::PUT, "/core/tokens/laptop/", json!({"identifier": "desktop"})).await;
    assert_eq!((&renamed.json["identifier"], &renamed.json["pk"]), (&json!("desktop"), &made["pk"]));
    assert_eq!(site.admin(Method::DELETE, "/core/tokens/desktop/", None).await.status, 204);
    let absent = site.admin(Method::GET, "/core/tokens/desktop/", None).await;
    assert_eq!(absent.json, json!({"detail": "No Token matches the given query."}));
}

/// CO-523, OA-591: what is wrong with a token is told by field.
#[tokio::test]
async fn co_523_tokens_are_validated() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    app_password(&site, "taken", user).await;
    for (body, problems) in [
        (json!({}), json!({"identifier": ["This field is required."]})),
        (json!({"identifier": "taken"}), json!({"identifier": ["Token with this identifier already exists."]})),
        (json!({"identifier": "x", "intent": "recovery"}), json!({"intent": ["Invalid intent recovery"]})),
        (json!({"identifier": "x", "intent": "y"}), json!({"intent": ["\"y\" is not a valid choice."]})),
        (json!({"identifier": "x", "user": 4711}), json!({"user": ["Invalid pk \"4711\" - object does not exist."]})),
    ] {
        let reply = site.admin(Method::POST, "/core/tokens/", body.clone()).await;
        assert_eq!((reply.status.as_u16(), reply.json), (400, problems), "{body}");
    }
    for identifier in ["a b", "a/b", "ü", "a.b"] {
        let reply = site.admin(Method::POST, "/core/tokens/", json!({"identifier": identifier})).await;
        assert!(reply.json["identifier"].is_array(), "{identifier}");
    }
}

/// CO-523: texts without another limit end somewhere.
#[tokio::test]
async fn co_523_texts_have_a_limit() {
    let site = Site::new().await;
    let long = "é".repeat(2049);
    let said = json!(["Ensure this field has no more than 2048 characters."]);
    for (path, field, mut body) in [
        ("/core/tokens/", "description", json!({"identifier": "x"})),
        ("/core/users/", "name", json!({"username": "x"})),
        ("/core/users/", "path", json!({"username": "y", "name": "x"})),
        ("/core/groups/", "name", json!({})),
        ("/core/applications/", "meta_description", json!({"name": "x", "slug": "x"})),
    ] {
        body[field] = json!(long);
        let refused = site.admin(Method::POST, path, body.clone()).await;
        assert_eq!((refused.status.as_u16(), &refused.json), (400, &json!({field: said})), "{path} {field}");
        // What is found or sorted by it is limited in bytes as well.
        body[field] = if field.ends_with("description") { json!(&long[2..]) } else { json!("e".repeat(2048)) };
        assert_eq!(site.admin(Method::POST, path, body).await.status, 201, "{path} {field}");
    }
}

/// CO-101: an ordinary user makes a thousand tokens and no more; an administrator makes more for them.
#[tokio::test]
async fn co_101_tokens_of_a_user_are_bounded() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let key = site.api_key(user, "first").await;
    let mut tx = site.ctx.db.write().await.expect("writes");
    let first = portcullis_store::token::by_identifier(&mut tx, "first").await.expect("reads").expect("is there");
    for number in 1..1000 {
        let mut more = first.clone();
        more.uuid = portcullis_core::id::TokenId(site.ctx.entropy.uuid());
        more.identifier = format!("number-{number}");
        more.key_digest = number.to_string().into_bytes();
        portcullis_store::token::insert(&mut tx, &more).await.expect("stores");
    }
    tx.commit().await.expect("commits");
    let refused = site.bearer(&key, Method::POST, "/core/tokens/", json!({"identifier": "more"})).await;
    assert_eq!(refused.json, json!({"non_field_errors": ["You cannot have more than 1000 tokens."]}));
    site.api_key(user, "given").await;
}

/// CO-807, OA-592, OA-605, OA-900: an update never changes owner or intent, given or not.
#[tokio::test]
async fn co_807_owner_and_intent_stay() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    app_password(&site, "laptop", user).await;
    let put = site.admin(Method::PUT, "/core/tokens/laptop/", json!({"identifier": "laptop"})).await;
    assert_eq!((&put.json["user"], &put.json["intent"]), (&json!(user), &json!("app_password")));
    let me = site.admin(Method::GET, "/core/users/me/", None).await.json["user"]["pk"].clone();
    let moved = site.admin(Method::PATCH, "/core/tokens/laptop/", json!({"user": me, "intent": "api"})).await;
    assert_eq!(moved.status, 400);
    assert!(moved.json["user"].is_array() && moved.json["intent"].is_array(), "{:?}", moved.json);
    // Nor does an administrator become the owner, or an API token last longer.
    let key = site.api_key(user, "ada-api").await;
    let before = site.admin(Method::GET, "/core/tokens/ada-api/", None).await.json;
    site.clock.advance_seconds(DAY / 2);
    let after = site.admin(Method::PATCH, "/core/tokens/ada-api/", json!({"description": "x"})).await.json;
    assert_eq!((&after["expires"], &after["user"]), (&before["expires"], &json!(user)));
    site.clock.advance_seconds(DAY / 2);
    assert_eq!(site.bearer(&key, Method::GET, "/core/users/me/", None).await.status, 403);
}

/// CO-101, OA-602, OA-601, OA-900: who is no administrator owns what they make, and it expires, on updates too.
#[tokio::test]
async fn co_101_ordinary_users_make_their_own_expiring_tokens() {
    let site = Site::new().await;
    let user = site.user("eve").await;
    let key = site.api_key(user, "eve-api").await;
    let body = json!({"identifier": "mine", "intent": "app_password", "user": 1, "expiring": false});
    let made = site.bearer(&key, Method::POST, "/core/tokens/", body).await;
    assert_eq!(made.status, 201, "{:?}", made.json);
    assert_eq!((&made.json["user"], &made.json["expiring"]), (&json!(user), &json!(true)));
    let kept = site.bearer(&key, Method::PATCH, "/core/tokens/mine/", json!({"expiring": false})).await;
    assert_eq!(kept.json["expiring"], json!(true));
    let others = site.bearer(&key, Method::GET, "/core/tokens/authentik-bootstrap-token/", None).await;
    assert_eq!(others.status, 404);
    let others = site.bearer(&key, Method::GET, "/core/tokens/authentik-bootstrap-token/view_key/", None).await;
    assert_eq!(others.status, 404);
    let list = site.bearer(&key, Method::GET, "/core/tokens/", None).await;
    assert_eq!(list.json["pagination"]["count"], json!(2));
    // The user's own attribute lifts it; a group's does not.
    let path = format!("/core/users/{user}/");
    let lifts = json!({"attributes": {"goauthentik.io/user/token-expires": false}});
    site.admin(Method::PATCH, &path, lifts).await;
    let lasting = site.bearer(&key, Method::POST, "/core/tokens/", json!({"identifier": "lasting"})).await;
    assert_eq!((&lasting.json["expiring"], &lasting.json["expires"]), (&json!(false), &Value::Null));
}

/// CO-102, OA-603, OA-604: app passwords end within the maximum; an API token's end is not asked for.
#[tokio::test]
async fn co_102_lifetimes_have_a_maximum() {
    let site = Site::new().await;
    let user = site.user("eve").await;
    let key = site.api_key(user, "eve-api").await;
    let at = |days: i64| site.ctx.now().plus_seconds(days * DAY).to_string();
    let ask = async |identifier: &str, intent: &str, expires: String| {
        let body = json!({"identifier": identifier, "intent": intent, "expires": expires});
        site.bearer(&key, Method::POST, "/core/tokens/", body).await
    };
    let long = ask("a", "app_password", at(361)).await;
    assert_eq!(long.status, 400);
    assert!(long.json["expires"][0].as_str().expect("text").starts_with("Token expires exceeds maximum lifetime ("));
    assert_eq!(ask("b", "app_password", at(359)).await.json["expires"], json!(at(359)));
    assert_eq!(ask("c", "api", at(359)).await.json["expires"], json!(at(1)));
    let lower = json!({"attributes": {"goauthentik.io/user/token-maximum-lifetime": "days=2"}});
    site.admin(Method::PATCH, &format!("/core/users/{user}/"), lower).await;
    assert_eq!(ask("d", "app_password", at(3)).await.status, 400);
    let update = site.bearer(&key, Method::PATCH, "/core/tokens/b/", json!({"expires": at(3)})).await;
    assert_eq!(update.status, 400);
    let for_other = json!({"identifier": "e", "intent": "app_password", "user": user, "expires": at(999)});
    assert_eq!(site.admin(Method::POST, "/core/tokens/", for_other).await.status, 201);
}

/// OA-603: an attribute that is no duration counts as none, and whoever relies on it is warned.
#[tokio::test]
async fn oa_603_an_attribute_that_is_no_duration_is_told() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let key = site.api_key(user, "ada-api").await;
    for (number, bad) in [json!("soon"), json!(30), json!("")].into_iter().enumerate() {
        let body = json!({"attributes": {"goauthentik.io/user/token-maximum-lifetime": bad}});
        assert_eq!(site.admin(Method::PATCH, &format!("/core/users/{user}/"), body).await.status, 200);
        let warned = site.events("configuration_warning").await.0;
        let asked = |days: i64| {
            let expires = site.ctx.now().plus_seconds(days * DAY).to_string();
            json!({"identifier": format!("t{number}"), "intent": "app_password", "expires": expires})
        };
        assert_eq!(site.bearer(&key, Method::POST, "/core/tokens/", asked(361)).await.status, 400);
        assert_eq!(site.bearer(&key, Method::POST, "/core/tokens/", asked(359)).await.status, 201);
        let (count, event) = site.events("configuration_warning").await;
        assert_eq!((count, &event["owner"]["name"]), (warned + 1, &json!("ada")), "{event}");
        assert!(event["message"].as_str().expect("text").contains("token-maximum-lifetime"), "{event}");
    }
    let warned = site.events("configuration_warning").await.0;
    let named = site.bearer(&key, Method::PATCH, "/core/tokens/t0/", json!({"description": "x"})).await;
    assert_eq!((named.status.as_u16(), site.events("configuration_warning").await.0), (200, warned));
}

/// CO-103, OA-610, OA-642: an expired token is refused at once, swept or not.
#[tokio::test]
async fn oa_610_expiry_holds_at_use() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let key = site.api_key(user, "ada-api").await;
    app_password(&site, "laptop", user).await;
    let app_key = key_of(&site, "laptop").await;
    let pk = UserPk(i32::try_from(user).expect("small"));
    let opens = async || {
        let mut conn = site.ctx.db.read().await.expect("reads");
        tokens::app_password(&site.ctx, &mut conn, pk, &app_key).await.expect("reads").is_some()
    };
    site.clock.advance_seconds(DAY - 1);
    assert_eq!(site.bearer(&key, Method::GET, "/core/users/me/", None).await.status, 200);
    site.clock.advance_seconds(1);
    let refused = site.bearer(&key, Method::GET, "/core/users/me/", None).await;
    assert_eq!(refused.json, json!({"detail": "Token invalid/expired"}));
    assert!(opens().await);
    site.clock.advance_seconds(359 * DAY);
    assert!(!opens().await);
}

/// CO-103, OA-609, OA-903: the sweep rotates expired API tokens to a key nobody knows, and deletes the others.
#[tokio::test]
async fn oa_609_expired_tokens_are_swept() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let key = site.api_key(user, "ada-api").await;
    app_password(&site, "laptop", user).await;
    site.clock.advance_seconds(361 * DAY);
    tokens::sweep(&site.ctx).await.expect("sweeps");
    assert_eq!(site.admin(Method::GET, "/core/tokens/laptop/", None).await.status, 404);
    let rotated = site.admin(Method::GET, "/core/tokens/ada-api/", None).await;
    assert_eq!(rotated.json["expires"], json!(site.ctx.now().plus_seconds(DAY).to_string()));
    assert_ne!(key_of(&site, "ada-api").await, key);
    assert_eq!(site.bearer(&key, Method::GET, "/core/users/me/", None).await.status, 403);
    assert_eq!(site.events("secret_rotate").await.0, 1);
    // Until somebody draws or sets a key; other changes leave it at that.
    let marked =
        async || site.admin(Method::GET, "/core/tokens/ada-api/", None).await.json.get("needs_rotation").cloned();
    site.admin(Method::PATCH, "/core/tokens/ada-api/", json!({"description": "x"})).await;
    assert_eq!(marked().await, Some(json!(true)));
    assert_eq!(site.admin(Method::POST, "/core/tokens/ada-api/rotate/", json!({})).await.status, 200);
    assert_eq!(marked().await, None);
    site.clock.advance_seconds(2 * DAY);
    tokens::sweep(&site.ctx).await.expect("sweeps");
    assert_eq!(marked().await, Some(json!(true)));
    let body = json!({"key": "a key that somebody has chosen for themselves"});
    assert_eq!(site.admin(Method::POST, "/core/tokens/ada-api/set_key/", body).await.status, 204);
    assert_eq!(marked().await, None);
    assert_eq!(site.bearer(TOKEN, Method::GET, "/core/users/me/", None).await.status, 200);
}

/// CO-104, OA-606, OA-665: showing a key is noted, with who and which, and without the key.
#[tokio::test]
async fn co_104_shown_keys_are_noted() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    app_password(&site, "laptop", user).await;
    assert_eq!(site.events("secret_view").await.0, 0);
    let shown = site.admin(Method::GET, "/core/tokens/laptop/view_key/", None).await;
    serde_json::from_value::<models::TokenView>(shown.json.clone()).expect("the client's type");
    let (count, context) = site.events("secret_view").await;
    assert_eq!((count, &context["secret"]["name"]), (1, &json!("laptop")));
    assert!(!context.to_string().contains(shown.json["key"].as_str().expect("text")));
}

/// CO-104, OA-607, OA-817: a replaced key opens at once, the old one no longer; short and taken keys are refused.
#[tokio::test]
async fn co_104_keys_are_replaced() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    let old = site.api_key(user, "ada-api").await;
    let uuid = site.admin(Method::GET, "/core/tokens/ada-api/", None).await.json["pk"].clone();
    let mark = site.ctx.epochs.mark(site.ctx.epochs.present(), &[Subject::Credential(uuid.as_str().expect("text"))]);
    let set = async |key: &str| site.admin(Method::POST, "/core/tokens/ada-api/set_key/", json!({"key": key})).await;
    for bad in ["short67", "", TOKEN] {
        let refused = set(bad).await;
        assert_eq!(refused.status, 400, "{bad}");
        assert!(refused.json["key"].is_array(), "{bad}");
    }
    assert!(site.ctx.epochs.stands(&mark));
    assert_eq!(set("a key of quite some length").await.status, 204);
    assert!(!site.ctx.epochs.stands(&mark));
    assert_eq!(site.bearer(&old, Method::GET, "/core/users/me/", None).await.status, 403);
    assert_eq!(site.bearer("a key of quite some length", Method::GET, "/core/users/me/", None).await.status, 200);
    assert_eq!(site.events("configuration_warning").await.0, 0);
    assert_eq!(set("8letters").await.status, 204);
    assert_eq!(site.events("configuration_warning").await.0, 1);
}

/// OA-297, OA-607, OA-817: an app password may have the key that somebody else's has; that an API key is in use is told
/// ten times and no more.
#[tokio::test]
async fn oa_297_keys_of_others_are_not_told() {
    let site = Site::new().await;
    let (ada, bob) = (site.user("ada").await, site.user("bob").await);
    let caller = site.api_key(bob, "bob-api").await;
    for (identifier, user) in [("hers", ada), ("his", bob), ("his-other", bob)] {
        app_password(&site, identifier, user).await;
    }
    let set = async |identifier: &str, key: &str| {
        let path = format!("/core/tokens/{identifier}/set_key/");
        site.bearer(&caller, Method::POST, &path, json!({"key": key})).await.status.as_u16()
    };
    let hers = key_of(&site, "hers").await;
    assert_eq!((set("his", &hers).await, set("his-other", &hers).await), (204, 400));
    for _ in 1..10 {
        assert_eq!(set("bob-api", TOKEN).await, 400);
    }
    assert_eq!((set("bob-api", TOKEN).await, set("his", "a key of quite some length").await), (429, 429));
    site.clock.advance_seconds(301);
    assert_eq!(set("his", "a key of quite some length").await, 204);
}

/// OA-608, CO-104: a key is replaced by one that is drawn here and told once; the old one opens nothing more, an event
/// says so without either, and nobody does it to other people's.
#[tokio::test]
async fn oa_608_keys_are_rotated() {
    let site = Site::new().await;
    let (ada, bob) = (site.user("ada").await, site.user("bob").await);
    let (old, strangers) = (site.api_key(ada, "ada-api").await, site.api_key(bob, "bob-api").await);
    let path = "/core/tokens/ada-api/rotate/";
    assert_eq!(site.bearer(&strangers, Method::POST, path, None).await.status, 404);
    let rotated = site.bearer(&old, Method::POST, path, None).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    let new = rotated.json["key"].as_str().expect("a key");
    assert!(new.len() == 60 && new != old && new.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(site.bearer(&old, Method::GET, "/core/users/me/", None).await.status, 403);
    assert_eq!(site.bearer(new, Method::GET, "/core/users/me/", None).await.status, 200);
    assert_eq!(key_of(&site, "ada-api").await, new);
    let (count, event) = site.events("secret_rotate").await;
    assert_eq!((count, &event["secret"]["name"]), (1, &json!("ada-api")));
    assert!(!event.to_string().contains(new) && !event.to_string().contains(&old));
}

/// CO-100, OA-600, OA-003: an app password is no API token, and an API token no app password.
#[tokio::test]
async fn co_100_intents_do_not_mix() {
    let site = Site::new().await;
    let user = site.user("ada").await;
    app_password(&site, "laptop", user).await;
    let key = key_of(&site, "laptop").await;
    assert_eq!(site.bearer(&key, Method::GET, "/core/users/me/", None).await.status, 403);
    let api = site.api_key(user, "ada-api").await;
    let pk = UserPk(i32::try_from(user).expect("small"));
    let mut conn = site.ctx.db.read().await.expect("reads");
    assert!(tokens::app_password(&site.ctx, &mut conn, pk, &api).await.expect("reads").is_none());
    assert!(tokens::app_password(&site.ctx, &mut conn, pk, &key).await.expect("reads").is_some());
    assert!(tokens::app_password(&site.ctx, &mut conn, UserPk(1), &key).await.expect("reads").is_none());
}
