//! Keys of tokens that are replaced, and reminders of their end (OA-608, OA-612).

use http::Method;
use portcullis_idp::tokens;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

async fn rotated(site: &Site, key: &str, identifier: &str, body: Value) -> (u16, Value) {
    let path = format!("/core/tokens/{identifier}/rotate/");
    let (status, answer) = site.send(key, Method::POST, &path, Some(body)).await;
    (status.as_u16(), answer)
}

/// OA-608: the owner chooses for how long the old key holds as well, a day at most; an API token's opens the API until
/// then, under the same identity.
#[tokio::test]
async fn oa_608_api_tokens_are_rotated_with_an_overlap() {
    let site = Site::new().await;
    let (_, old) = site.user("ada").await;
    let (_, strangers) = site.user("bob").await;
    let me = async |key: &str| {
        let (status, answer) = site.send(key, Method::GET, "/core/users/me/", None).await;
        (status.as_u16(), answer["user"]["username"].clone())
    };
    assert_eq!(rotated(&site, &strangers, "ada-token", json!({"overlap": "hours=1"})).await.0, 404);
    for wrong in ["hours=25", "an hour", "hours=-1", "days=1;seconds=1", ""] {
        let (status, problem) = rotated(&site, &old, "ada-token", json!({"overlap": wrong})).await;
        assert!(status == 400 && problem["overlap"].is_array(), "{wrong}: {problem}");
    }
    assert_eq!(me(&old).await, (200, json!("ada")));
    let (status, answer) = rotated(&site, &old, "ada-token", json!({"overlap": "hours=23"})).await;
    assert_eq!((status, &answer["old_key_ends"]), (200, &json!(site.ctx.now().plus_seconds(23 * HOUR).to_string())));
    let new = answer["key"].as_str().unwrap().to_owned();
    assert_eq!((me(&old).await, me(&new).await), ((200, json!("ada")), (200, json!("ada"))));
    let shown = site.get("/core/tokens/ada-token/").await;
    assert_eq!(shown["old_key_last_used"], json!(site.ctx.now().to_string()));
    let event = site.events("secret_rotate").await.remove(0);
    assert_eq!(event["overlap_ends"], answer["old_key_ends"]);
    assert!(!event.to_string().contains(&new) && !event.to_string().contains(&old));
    site.clock.advance_seconds(23 * HOUR);
    assert_eq!((me(&old).await.0, me(&new).await.0), (403, 200));
    // At the end of the token both end, whatever was left of the overlap.
    let (_, answer) = rotated(&site, &new, "ada-token", json!({"overlap": "hours=24"})).await;
    assert_eq!(me(&new).await.0, 200);
    site.clock.advance_seconds(HOUR);
    assert_eq!((me(&new).await.0, me(answer["key"].as_str().unwrap()).await.0), (403, 403));
}

/// OA-608, CO-104: nobody but its owner, or who may set keys, ends an old key; and there need not be one.
#[tokio::test]
async fn oa_608_old_keys_are_ended_by_their_owner() {
    let site = Site::new().await;
    let (_, old) = site.user("ada").await;
    let (_, strangers) = site.user("bob").await;
    let path = "/core/tokens/ada-token/old_key/";
    assert_eq!(site.status(&old, Method::DELETE, path, None).await, 204);
    let (_, answer) = rotated(&site, &old, "ada-token", json!({"overlap": "hours=1"})).await;
    assert_eq!(site.status(&strangers, Method::DELETE, path, None).await, 404);
    assert_eq!(site.status(&old, Method::GET, "/core/users/me/", None).await, 200);
    assert_eq!(site.status(answer["key"].as_str().unwrap(), Method::DELETE, path, None).await, 204);
    assert_eq!(site.status(&old, Method::GET, "/core/users/me/", None).await, 403);
}

/// OA-612: the end of an app password is told two weeks before and a day before, once each, however many processes look;
/// of what was made for less, and of API tokens, nothing is told.
#[tokio::test]
async fn oa_612_the_end_of_app_passwords_is_told_in_time() {
    let site = Site::new().await;
    let (user, _) = site.user("ada").await;
    for (identifier, intent, days) in
        [("long", "app_password", 30), ("short", "app_password", 10), ("api", "api", 1), ("shorter", "app_password", 1)]
    {
        let expires = site.ctx.now().plus_seconds(days * DAY).to_string();
        let body = json!({"identifier": identifier, "intent": intent, "user": user, "expires": expires});
        site.post("/core/tokens/", body).await;
    }
    let other = site.renewed(portcullis_core::keys::Keyring::derive(b"0123456789abcdef0123456789abcdef"));
    let told = async || {
        for _ in 0..2 {
            let (one, two) = tokio::join!(tokens::remind(&site.ctx), tokens::remind(&other));
            one.and(two).unwrap();
        }
        let events = site.events("configuration_warning").await;
        let told = events.iter().map(|event| (event["model"]["name"].clone(), event["days"].clone()));
        told.collect::<Vec<_>>()
    };
    let seen = |name: &str, days: i32| (json!(name), json!(days));
    assert_eq!(told().await, []);
    site.clock.advance_seconds(9 * DAY - 1);
    assert_eq!(told().await, []);
    site.clock.advance_seconds(1);
    assert_eq!(told().await, [seen("short", 1)]);
    site.clock.advance_seconds(7 * DAY);
    assert_eq!(told().await, [seen("long", 14), seen("short", 1)]);
    let event = site.events("configuration_warning").await.remove(0);
    assert_eq!(event["owner"]["name"], "ada");
    assert_eq!(event["expires"], json!(site.ctx.now().plus_seconds(14 * DAY).to_string()));
    // Another end, another reminder.
    let later = site.ctx.now().plus_seconds(20 * DAY).to_string();
    site.patch("/core/tokens/long/", json!({"expires": later})).await;
    assert_eq!(told().await.len(), 2);
    site.clock.advance_seconds(6 * DAY);
    assert_eq!(told().await.len(), 3);
    // Who was not there for the first hears of the last alone.
    site.clock.advance_seconds(13 * DAY);
    assert_eq!(told().await.first(), Some(&seen("long", 1)));
    site.clock.advance_seconds(DAY);
    assert_eq!(told().await.len(), 4);
    assert_eq!(site.status(ADMIN, Method::GET, "/core/tokens/long/", None).await, 200);
}

/// OA-595: what a token is for is free text, and what manages it nobody writes; a managed one is changed and deleted by
/// superusers alone, whatever rights others have.
#[tokio::test]
async fn oa_595_managed_tokens_are_looked_after() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    let body = json!({"name": "edge", "type": "proxy", "providers": [provider], "config": {}});
    let outpost = site.post("/outposts/instances/", body).await;
    let path = format!("/core/tokens/{}/", outpost["token_identifier"].as_str().unwrap());
    let token = site.get(&path).await;
    assert_eq!(token["managed"], json!(format!("goauthentik.io/outpost/{}", token["identifier"].as_str().unwrap())));
    let rights = ["view_token", "change_token", "delete_token"].map(|right| format!("authentik_core.{right}"));
    let rights: Vec<_> = rights.iter().map(|right| (right.as_str(), None)).collect();
    let (_, helper) = site.user_with("helper", &rights).await;
    let (_, ada) = site.user("ada").await;
    let change = json!({"description": "mine now"});
    for (method, body) in [(Method::PATCH, Some(change.clone())), (Method::DELETE, None)] {
        assert_eq!(site.status(&helper, method.clone(), &path, body).await, 403, "{method}");
    }
    assert_eq!(site.status(&helper, Method::PATCH, "/core/tokens/ada-token/", Some(change.clone())).await, 200);
    let own = json!({"description": "für <b>alles</b>", "managed": "goauthentik.io/mine"});
    let (status, changed) = site.send(&ada, Method::PATCH, "/core/tokens/ada-token/", Some(own)).await;
    assert_eq!(
        (status.as_u16(), &changed["description"], &changed["managed"]),
        (200, &json!("für <b>alles</b>"), &Value::Null)
    );
    assert_eq!(site.patch(&path, change).await["description"], "mine now");
}

/// OA-623: an outpost's account is neither made, converted nor edited through the API, and a service account has no way to a
/// page where it could sign in or be given factors.
#[tokio::test]
async fn oa_623_accounts_of_machines_do_not_sign_in() {
    let site = Site::new().await;
    let internal = json!({"username": "x", "name": "x", "type": "internal_service_account"});
    assert!(site.refused(Method::POST, "/core/users/", internal.clone()).await["type"].is_array());
    let made = site.post("/core/users/", json!({"username": "svc", "name": "svc", "type": "service_account"})).await;
    let path = format!("/core/users/{}/", made["pk"]);
    assert!(site.refused(Method::PATCH, &path, json!({"type": "internal_service_account"})).await["type"].is_array());
    let provider = site.provider("wiki").await["pk"].clone();
    let body = json!({"name": "edge", "type": "proxy", "providers": [provider], "config": {}});
    site.post("/outposts/instances/", body).await;
    let found = site.get("/core/users/?type=internal_service_account").await["results"][0].clone();
    let outposts = format!("/core/users/{}/", found["pk"]);
    for change in [json!({"name": "y"}), json!({"type": "internal"}), json!({"is_active": false})] {
        site.refused(Method::PATCH, &outposts, change).await;
    }
    assert_eq!(site.get(&outposts).await["name"], found["name"]);
    // Neither a session nor a recovery link, by which anybody would get to factors.
    for account in [&made, &found] {
        let pk = account["pk"].as_i64().unwrap();
        let (cookie, _) = site.sign_in(pk, "curl").await;
        assert_eq!(site.with(&[("cookie", &cookie)], Method::GET, "/core/users/me/").await.0, 403);
        let (status, _) = site.send(ADMIN, Method::POST, &format!("/core/users/{pk}/recovery/"), None).await;
        assert_eq!(status, 400);
    }
}
