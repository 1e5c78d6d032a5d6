use authentik_client::models;
use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PATH: &str = "/core/authenticated_sessions/";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// CO-554, CO-702: people see and end their own sessions and nobody else's; one of them is the current one.
#[tokio::test]
async fn co_554_own_sessions_without_permission() {
    let site = Site::new().await;
    let ((ada, key), (bob, _)) = (site.user("ada").await, site.user("bob").await);
    assert_eq!(site.send(&key, Method::GET, PATH, None).await.0, 403, "nothing to see (CO-703)");
    let (cookie, current) = site.sign_in(ada, FIREFOX).await;
    let (_, other) = site.sign_in(ada, "").await;
    let (_, foreign) = site.sign_in(bob, "curl/8.14.1").await;
    let (status, list) = site.with(&[("cookie", &cookie)], Method::GET, PATH).await;
    assert_eq!(status, 200, "{list}");
    let _: models::PaginatedAuthenticatedSessionList = serde_json::from_value(list.clone()).unwrap();
    let sessions = list["results"].as_array().unwrap();
    let is_current = |uuid: &str| sessions.iter().find(|s| s["uuid"] == uuid).map(|s| s["current"] == json!(true));
    assert_eq!((is_current(&current), is_current(&other), is_current(&foreign)), (Some(true), Some(false), None));

    let mine = sessions.iter().find(|session| session["uuid"] == current.as_str()).unwrap();
    assert_eq!(
        (&mine["user"], &mine["last_ip"], &mine["last_user_agent"]),
        (&json!(ada), &json!("192.0.2.9"), &json!(FIREFOX))
    );
    assert_eq!((&mine["geo_ip"], &mine["asn"]), (&Value::Null, &Value::Null));
    let agent = &mine["user_agent"];
    assert_eq!((&agent["user_agent"]["family"], &agent["user_agent"]["major"]), (&json!("Firefox"), &json!("140")));
    assert_eq!(
        (&agent["os"]["family"], &agent["os"]["major"], &agent["string"]),
        (&json!("Linux"), &json!(""), &json!(FIREFOX))
    );
    assert!(!list.to_string().contains(cookie.split_once('=').unwrap().1));

    let at = |uuid: &str| format!("{PATH}{uuid}/");
    assert_eq!(site.send(&key, Method::GET, &at(&other), None).await.1["current"], json!(false));
    for method in [Method::GET, Method::DELETE] {
        let (status, body) = site.send(&key, method, &at(&foreign), None).await;
        assert_eq!(
            (status.as_u16(), body),
            (404, json!({"detail": "No AuthenticatedSession matches the given query."}))
        );
    }
    assert_eq!(site.send(&key, Method::DELETE, &at(&other), None).await.0, 204);
    assert_eq!(site.send(&key, Method::GET, &at(&other), None).await.0, 404);
    assert_eq!(site.with(&[("cookie", &cookie)], Method::GET, "/core/users/me/").await.0, 200);
    assert_eq!(site.send(&key, Method::DELETE, &at(&current), None).await.0, 204);
    assert_eq!(site.with(&[("cookie", &cookie)], Method::GET, "/core/users/me/").await.0, 403);
    let ended = site.events("logout").await;
    assert_eq!((ended.len(), &ended[0]["logout_reason"]), (2, &json!("session_deleted")));
    assert_eq!(ended[0]["model"]["name"], "ada");
}

/// CO-554: an administrator sees everybody's, by user, address and browser.
#[tokio::test]
async fn co_554_sessions_are_found() {
    let site = Site::new().await;
    let ((ada, _), (bob, _)) = (site.user("ada").await, site.user("bob").await);
    site.sign_in(ada, FIREFOX).await;
    site.sign_in(bob, "curl/8.14.1").await;
    for (query, count) in [
        ("", 2),
        ("user__username=ADA", 1),
        ("user__username=eve", 0),
        ("session__last_ip=192.0.2.9", 2),
        ("session__last_ip=192.0.2.8", 0),
        ("session__last_user_agent=curl/8.14.1", 1),
        ("search=firefox", 1),
        ("search=bob", 1),
    ] {
        assert_eq!(site.get(&format!("{PATH}?{query}")).await["pagination"]["count"], count, "{query}");
    }
    let first = async |order: &str| site.get(&format!("{PATH}?ordering={order}")).await["results"][0]["user"].clone();
    assert_eq!((first("user__username").await, first("-user__username").await), (json!(ada), json!(bob)));
}

/// CO-385, CO-555: all sessions of users end at once, and whatever rests on them is looked at again.
#[tokio::test]
async fn co_555_sessions_end_in_bulk() {
    let site = Site::new().await;
    let ((ada, key), (bob, _)) = (site.user("ada").await, site.user("bob").await);
    let (first, _) = site.sign_in(ada, "").await;
    site.sign_in(ada, "").await;
    let (theirs, _) = site.sign_in(bob, "").await;
    let bulk = async |key: &str, query: &str| {
        site.send(key, Method::DELETE, &format!("{PATH}bulk_delete/?{query}"), None).await
    };
    assert_eq!(bulk(&key, &format!("user_pks={ada}&user_pks={bob}")).await.0, 403);
    assert_eq!(bulk(ADMIN, "").await.0, 400);
    assert_eq!(bulk(ADMIN, "user_pks=x").await.0, 400);
    let alive = async |cookie: &str| site.with(&[("cookie", cookie)], Method::GET, "/core/users/me/").await.0 == 200;
    assert!(alive(&first).await && alive(&theirs).await);
    let (status, answer) = bulk(ADMIN, &format!("user_pks={ada}&user_pks=4711")).await;
    let answer: models::BulkDeleteSessionResponse = serde_json::from_value(answer).unwrap();
    assert_eq!((status.as_u16(), answer.deleted), (200, 2));
    assert!(!alive(&first).await && alive(&theirs).await);
    let (_, own) = site.user("eve").await;
    assert_eq!(bulk(&own, "user_pks=4711").await.0, 403);
    assert_eq!(site.events("logout").await.len(), 1);
}

/// CO-385, CO-412: each way in which the server ends sessions says so, once, and why.
#[tokio::test]
async fn co_412_the_end_of_sessions_is_recorded() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let path = format!("/core/users/{ada}/");
    let reasons = async || {
        let events = site.events("logout").await;
        events.iter().rev().map(|event| event["logout_reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    site.patch(&path, json!({"is_active": false})).await;
    assert!(reasons().await.is_empty(), "there was no session");
    site.patch(&path, json!({"is_active": true})).await;
    for change in [json!({"is_active": false}), json!({"is_active": true}), json!({"type": "service_account"})] {
        site.sign_in(ada, "").await;
        site.patch(&path, change).await;
    }
    site.patch(&path, json!({"type": "internal"})).await;
    site.sign_in(ada, "").await;
    let password = json!({"password": "long enough"});
    assert_eq!(site.send(ADMIN, Method::POST, &format!("{path}set_password/"), Some(password)).await.0, 204);
    site.sign_in(ada, "").await;
    site.delete(&path).await;
    assert_eq!(reasons().await, ["user_deactivated", "user_type_changed", "password_changed", "user_deleted"]);
    let events = json!(site.events("logout").await).to_string();
    assert!(events.contains("deleted-") && !events.contains("\"ada\""), "{events}");
}

/// CO-578: the list of second factors is there for everybody who is known, and empty.
#[tokio::test]
async fn co_578_there_are_no_second_factors_yet() {
    let site = Site::new().await;
    let (_, key) = site.user("ada").await;
    assert_eq!(site.send(&key, Method::GET, "/authenticators/all/", None).await, (http::StatusCode::OK, json!([])));
    assert_eq!(site.send("", Method::GET, "/authenticators/all/", None).await.0, 403);
}
