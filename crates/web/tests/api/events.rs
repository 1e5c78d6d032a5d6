use authentik_client::models;
use http::Method;
use portcullis_core::clock::Timestamp;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

async fn listed(site: &Site, query: &str) -> Vec<Value> {
    let list = site.get(&format!("/events/events/?page_size=100&{query}")).await;
    let _: models::PaginatedEventList = serde_json::from_value(list.clone()).unwrap();
    list["results"].as_array().unwrap().clone()
}

/// CO-410, CO-411, CO-573: an event says who did what to what, when, from where, by which request and under which brand.
#[tokio::test]
async fn co_410_events_have_all_their_fields() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    site.patch(&format!("/core/users/{ada}/?x=1&token=hidden"), json!({"email": "ada@example.com"})).await;
    let newest = listed(&site, "").await.remove(0);
    let keys: Vec<_> = newest.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["pk", "user", "action", "app", "context", "client_ip", "created", "expires", "brand"]);
    assert_eq!((&newest["action"], &newest["app"]), (&json!("model_updated"), &json!("portcullis")));
    assert_eq!(newest["user"], json!({"pk": 1, "username": "akadmin", "email": "root@example.com"}));
    let context = &newest["context"];
    assert_eq!(context["model"]["pk"], ada.to_string());
    assert_eq!(context["diff"]["email"], json!({"previous": "", "new": "ada@example.com"}));
    assert_eq!(
        context["http_request"],
        json!({
            "path": format!("/api/v3/core/users/{ada}/"), "method": "PATCH",
            "args": {"x": "1", "token": "********************"}, "user_agent": "",
            "request_id": "0123456789abcdef0123456789abcdef",
        })
    );
    assert_eq!((&newest["client_ip"], &newest["brand"]["name"]), (&json!("192.0.2.7"), &json!("authentik-default")));
    assert_eq!(newest["brand"]["pk"].as_str().unwrap().len(), 32);
    assert_eq!(site.get(&format!("/events/events/{}/", newest["pk"].as_str().unwrap())).await, newest);
}

/// CO-573, CO-526: every filter, the search and the order; several filters must all hold.
#[tokio::test]
async fn co_573_events_are_found() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let (bob, _) = site.user("bob").await;
    site.patch(&format!("/core/users/{bob}/"), json!({"name": "Robert"})).await;
    let group = site.post("/core/groups/", json!({"name": "staff"})).await["pk"].as_str().unwrap().to_owned();
    for (query, count) in [
        ("actions=model_updated", 1),
        ("actions=model_updated&actions=secret_view", 3),
        ("actions=model_updated&username=nobody", 0),
        ("action=MODEL_UPD", 1),
        ("username=AKADM&action=model_updated", 1),
        ("client_ip=192.0.2&action=model_updated", 1),
        ("client_ip=198.51&action=model_updated", 0),
        ("brand_name=authentik-def&action=model_updated", 1),
        ("brand_name=other", 0),
        ("context_model_app=authentik_core&context_model_name=group&context_model_pk=GROUP", 1),
        ("context_model_name=user&context_model_pk=BOB", 2),
        ("context_model_name=user&context_model_pk=ADA&action=updated", 0),
        ("search=Robert", 1),
        ("search=Robert,nowhere", 0),
        ("context_authorized_app=GROUP", 0),
    ] {
        let query = query.replace("GROUP", &group).replace("BOB", &bob.to_string()).replace("ADA", &ada.to_string());
        assert_eq!(listed(&site, &query).await.len(), count, "{query}");
    }
    let actions: Vec<_> =
        listed(&site, "ordering=action").await.into_iter().map(|event| event["action"].clone()).collect();
    assert!(actions.is_sorted_by_key(|action| action.as_str().unwrap().to_owned()), "{actions:?}");
}

/// CO-415: nobody changes or removes an event, and only administrators look at them.
#[tokio::test]
async fn co_415_events_are_append_only() {
    let site = Site::new().await;
    let (_, key) = site.user("ada").await;
    let one = listed(&site, "").await.remove(0);
    let path = format!("/events/events/{}/", one["pk"].as_str().unwrap());
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let (status, body) = site.send(ADMIN, method.clone(), &path, Some(json!({"action": "login"}))).await;
        assert_eq!((status.as_u16(), body), (405, json!({"detail": format!("Method \"{method}\" not allowed.")})));
    }
    assert_eq!(site.get(&path).await, one);
    for (method, path) in [
        (Method::GET, "/events/events/"),
        (Method::GET, path.as_str()),
        (Method::GET, "/events/events/actions/"),
        (Method::POST, "/events/events/"),
    ] {
        let body = (method == Method::POST).then(|| json!({"action": "login", "app": "x"}));
        assert_eq!(site.send(&key, method.clone(), path, body).await.0, 403, "{method} {path}");
    }
    let unknown = "/events/events/00000000-0000-4000-8000-000000000000/";
    assert_eq!(
        site.send(ADMIN, Method::GET, unknown, None).await.1,
        json!({"detail": "No Event matches the given query."})
    );
}

/// CO-413, CO-414, CO-573, CO-830: what others tell is recorded under the name of whoever tells it, cleansed; a custom action
/// lists as `custom_` with its name in the context, and is found by that name.
#[tokio::test]
async fn co_413_custom_events_are_told() {
    let site = Site::new().await;
    let told = json!({
        "action": "custom_backup", "app": "cron", "context": {"ok": true, "password": "hidden"},
        "user": {"pk": 77, "username": "forged"}, "client_ip": "203.0.113.1", "expires": "2199-01-01T00:00:00Z",
    });
    let made = site.post("/events/events/", told).await;
    let _: models::Event = serde_json::from_value(made.clone()).unwrap();
    assert_eq!((&made["action"], &made["app"]), (&json!("custom_"), &json!("cron")));
    let context = &made["context"];
    assert_eq!((&context["custom_action"], &context["ok"]), (&json!("custom_backup"), &json!(true)));
    assert_eq!(context["password"], "********************");
    assert_eq!((&made["user"]["username"], &made["client_ip"]), (&json!("akadmin"), &json!("192.0.2.7")));
    assert!(!made["expires"].as_str().unwrap().starts_with("2199"));
    for query in ["actions=custom_backup", "action=BACKUP", "action=custom_"] {
        assert_eq!(listed(&site, query).await[0]["pk"], made["pk"], "{query}");
    }
    let named = json!({"action": "custom_", "app": "cron", "context": {"custom_action": "custom_other"}});
    assert_eq!(site.post("/events/events/", named).await["context"]["custom_action"], "custom_other");
    let plain = site.post("/events/events/", json!({"action": "email_sent", "app": "mail"})).await;
    assert_eq!((&plain["action"], &plain["context"]["custom_action"]), (&json!("email_sent"), &Value::Null));
    for (body, field) in [
        (json!({"app": "x"}), "action"),
        (json!({"action": "login"}), "app"),
        (json!({"action": "invented", "app": "x"}), "action"),
        (json!({"action": "login", "app": "x", "context": []}), "context"),
    ] {
        assert!(site.refused(Method::POST, "/events/events/", body.clone()).await[field].is_array(), "{body}");
    }
}

/// CO-412: the actions are listed with names that strict clients know.
#[tokio::test]
async fn co_412_actions_are_listed() {
    let site = Site::new().await;
    let types: Vec<models::TypeCreate> = serde_json::from_value(site.get("/events/events/actions/").await).unwrap();
    assert_eq!(types.len(), 24);
    for kind in types {
        let _: models::EventActions = serde_json::from_value(json!(kind.component)).unwrap();
    }
}

/// CO-410, CO-500: an event ends when the retention that was set at its time is over.
#[tokio::test]
async fn co_410_retention_is_a_setting() {
    let site = Site::new().await;
    let lasts = |event: &Value| {
        let at = |key: &str| Timestamp::parse_rfc3339(event[key].as_str().unwrap()).unwrap().0;
        (at("expires") - at("created")) / (24 * 3600 * 1_000_000)
    };
    assert_eq!(lasts(&listed(&site, "").await[0]), 365);
    site.patch("/admin/settings/", json!({"event_retention": "days=7"})).await;
    assert_eq!(lasts(&listed(&site, "").await[0]), 7);
}

/// CO-818: with `gdpr_compliance` past events forget who a deleted user was; without it they keep it.
#[tokio::test]
async fn co_818_events_forget_deleted_users() {
    for forgets in [true, false] {
        let site = Site::new().await;
        site.patch("/admin/settings/", json!({"gdpr_compliance": forgets})).await;
        let (ada, key) = site.user("ada-lovelace").await;
        let own = json!({"identifier": "mine", "intent": "app_password"});
        assert_eq!(site.send(&key, Method::POST, "/core/tokens/?q=ada-lovelace", Some(own)).await.0, 201);
        let hers = listed(&site, "username=ada-lovelace").await;
        assert_eq!(hers.len(), 1);
        site.delete(&format!("/core/users/{ada}/")).await;
        let event = site.get(&format!("/events/events/{}/", hers[0]["pk"].as_str().unwrap())).await;
        assert_eq!(event["user"]["pk"], json!(ada));
        let all = json!(listed(&site, &format!("context_model_pk={ada}")).await).to_string();
        if forgets {
            assert!(event["user"]["username"].as_str().unwrap().starts_with("deleted-"));
            assert_eq!(event["client_ip"], Value::Null);
            assert!(!event.to_string().contains("ada-lovelace") && !all.contains("ada-lovelace"), "{event} {all}");
            assert!(listed(&site, "username=ada-lovelace").await.is_empty());
            assert_eq!(listed(&site, "username=deleted-").await.len(), 1);
        } else {
            assert_eq!(event["user"]["username"], "ada-lovelace");
            assert_eq!(event["client_ip"], "192.0.2.7");
            assert!(all.contains("ada-lovelace"));
        }
    }
}

/// CO-818: a deleted user is found in events wherever they are named, under whichever name; others are left as they are.
#[tokio::test]
async fn co_818_deleted_users_are_found_in_all_events() {
    let site = Site::new().await;
    site.patch("/admin/settings/", json!({"gdpr_compliance": true})).await;
    let made =
        async |name: &str| site.post("/core/users/", json!({"username": name, "name": name})).await["pk"].clone();
    let (ada, eve) = (made("ada-lovelace").await, made("eve").await);
    let path = format!("/core/users/{ada}/");
    site.patch(&path, json!({"username": "countess", "email": "countess@example.org"})).await;
    site.patch(&format!("/core/users/{eve}/"), json!({"name": "countess's friend"})).await;
    let group = site.post("/core/groups/", json!({"name": "g"})).await["pk"].as_str().unwrap().to_owned();
    let join = format!("/core/groups/{group}/add_user/");
    assert_eq!(site.send(ADMIN, Method::POST, &join, Some(json!({"pk": ada}))).await.0, 204);
    site.delete(&path).await;
    let all = json!(listed(&site, "").await);
    let named: Vec<_> = all.as_array().unwrap().iter().filter(|one| one.to_string().contains("countess")).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!(named[0]["context"]["model"]["pk"], eve.to_string());
    assert!(!all.to_string().contains("ada-lovelace"), "{all}");
}
