use authentik_client::models;
use http::Method;
use portcullis_core::id::{ApplicationId, ProviderPk, UserPk};
use portcullis_store::consent::{self, Consent};
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PATH: &str = "/core/user_consent/";

async fn agrees(site: &Site, user: i64, application: &Value, scope: &str) {
    let now = site.ctx.now();
    let agreed = Consent {
        pk: 0,
        account: UserPk(i32::try_from(user).unwrap()),
        provider: ProviderPk(i32::try_from(application["provider"].as_i64().unwrap()).unwrap()),
        application: application["pk"].as_str().unwrap().parse::<ApplicationId>().unwrap(),
        scope: scope.to_owned(),
        created: now,
        expires: now.plus_seconds(3600),
    };
    let mut tx = site.ctx.db.write().await.unwrap();
    consent::keep(&mut tx, &agreed).await.unwrap();
    tx.commit().await.unwrap();
}

/// CO-005, CO-578, CO-702: people see and take back what they agreed to, and nobody else's; numbers are not used again.
#[tokio::test]
async fn co_578_own_consents_without_permission() {
    let site = Site::new().await;
    let ((ada, key), (bob, other)) = (site.user("ada").await, site.user("bob").await);
    let provider = site.provider("wiki").await["pk"].clone();
    let wiki = site.application("wiki", &provider).await;
    assert_eq!(site.send(&key, Method::GET, PATH, None).await.0, 403, "nothing to see (CO-703)");
    agrees(&site, ada, &wiki, "openid email").await;
    agrees(&site, bob, &wiki, "openid").await;

    let (status, list) = site.send(&key, Method::GET, PATH, None).await;
    assert_eq!(status, 200, "{list}");
    let _: models::PaginatedUserConsentList = serde_json::from_value(list.clone()).unwrap();
    let mine = &list["results"][0];
    assert_eq!((&list["pagination"]["count"], &mine["permissions"]), (&json!(1), &json!("openid email")));
    assert_eq!((&mine["user"]["username"], &mine["application"]["slug"]), (&json!("ada"), &json!("wiki")));
    assert_eq!(mine["expiring"], json!(true));
    for (query, count) in [
        (String::new(), 2),
        (format!("user={ada}"), 1),
        (format!("application={}", wiki["pk"].as_str().unwrap()), 2),
        ("application=00000000-0000-4000-8000-000000000000".to_owned(), 0),
        ("search=bob".to_owned(), 1),
    ] {
        assert_eq!(site.get(&format!("{PATH}?{query}")).await["pagination"]["count"], count, "{query}");
    }
    assert_eq!(site.send(&key, Method::GET, &format!("{PATH}?user={bob}"), None).await.1["pagination"]["count"], 0);

    let at = format!("{PATH}{}/", mine["pk"]);
    assert_eq!(&site.send(&key, Method::GET, &at, None).await.1, mine);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(site.send(&other, method, &at, None).await.0, 404);
    }
    for method in [Method::PUT, Method::PATCH] {
        assert_eq!(site.send(ADMIN, method, &at, Some(json!({}))).await.0, 405);
    }
    let bobs = site.get(&format!("{PATH}?user={bob}")).await["results"][0]["pk"].as_i64().unwrap();
    site.delete(&format!("{PATH}{bobs}/")).await;
    assert_eq!(site.send(&key, Method::DELETE, &at, None).await.0, 204);
    assert_eq!(site.send(&key, Method::GET, &at, None).await.0, 404);
    assert_eq!(site.events("model_deleted").await[0]["model"]["model_name"], "userconsent");
    agrees(&site, bob, &wiki, "openid").await;
    let again = site.get(PATH).await["results"][0]["pk"].as_i64().unwrap();
    assert!(again > bobs, "{again} {bobs}");
}
