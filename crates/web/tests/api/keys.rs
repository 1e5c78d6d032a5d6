//! Keys that stay.

use http::Method;
use portcullis_idp::reputation::{self, Attempt};
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const KEYS: &str = include_str!("keys.txt");

/// One object of each kind: how their paths begin.
async fn furnished(site: &Site) -> Vec<(&'static str, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (user, _) = site.user("ada").await;
    site.sign_in(user, "").await;
    let role = site.role("readers", &[("authentik_core.view_user", None)]).await;
    let above = site.post("/core/groups/", json!({"name": "all"})).await;
    let group = json!({"name": "staff", "parents": [above["pk"]], "users": [user], "roles": [role]});
    let group = site.post("/core/groups/", group).await;
    site.patch(&format!("/core/users/{user}/"), json!({"roles": [role]})).await;
    let token = json!({"identifier": "script", "intent": "app_password", "user": user});
    site.post("/core/tokens/", token).await;
    let proxy = site.provider("wiki").await;
    let application = site.application("wiki", &proxy["pk"]).await;
    let entitlement = json!({"name": "editor", "app": application["pk"]});
    let entitlement = site.post("/core/application_entitlements/", entitlement).await;
    let outpost = site.get("/outposts/instances/").await["results"][0]["pk"].clone();
    site.patch(&format!("/outposts/instances/{}/", text(&outpost)), json!({"providers": [proxy["pk"]]})).await;
    let client = json!({
        "name": "client", "authorization_flow": proxy["authorization_flow"], "invalidation_flow": proxy["invalidation_flow"],
        "redirect_uris": [{"matching_mode": "strict", "url": "https://client.example/"}],
    });
    let client = site.post("/providers/oauth2/", client).await;
    site.application("client", &client["pk"]).await;
    let policy = site.post("/policies/dummy/", json!({"name": "dummy"})).await;
    for member in [json!({"policy": policy["pk"]}), json!({"group": group["pk"]})] {
        let mut binding = json!({"target": application["pk"], "order": 0});
        binding.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        site.post("/policies/bindings/", binding).await;
    }
    let source = json!({
        "name": "CI", "slug": "ci", "provider_type": "openidconnect", "consumer_key": "x", "consumer_secret": "y",
    });
    site.post("/sources/oauth/", source).await;
    let pair = json!({"common_name": "id.example", "validity_days": 30, "alg": "ecdsa"});
    let (status, pair) = site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(pair)).await;
    assert_eq!(status, 200, "{pair}");
    let mut tx = site.ctx.db.write().await.unwrap();
    reputation::note(&site.ctx, &mut tx, [192, 0, 2, 7].into(), "ada", Attempt::Failed).await.unwrap();
    tx.commit().await.unwrap();
    let blueprint = json!({"name": "nothing", "content": "version: 1\nmetadata: {name: nothing}\nentries: []\n"});
    site.post("/managed/blueprints/", blueprint).await;
    vec![
        ("{user}", user.to_string()),
        ("{role}", role),
        ("{group}", text(&group["pk"])),
        ("{proxy}", text(&proxy["pk"])),
        ("{oauth2}", text(&client["pk"])),
        ("{entitlement}", text(&entitlement["pbm_uuid"])),
        ("{policy}", text(&policy["pk"])),
    ]
}

/// CO-002, CO-528: every object has the keys that clients made from any of the versions demand, whatever it has besides.
#[tokio::test]
async fn co_002_no_key_is_missing() {
    let site = Site::new().await;
    let places = furnished(&site).await;
    let mut missing = Vec::new();
    for line in KEYS.lines().filter(|line| !line.starts_with('#')) {
        let [path, at, keys @ ..] = &line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let path = places.iter().fold((*path).to_owned(), |path, (name, key)| path.replace(name, key));
        let (status, answer) = site.send(ADMIN, Method::GET, &path, None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        let object = answer.pointer(at.trim_start_matches('-')).and_then(Value::as_object);
        let lacks = |key: &str| object.is_none_or(|object| !object.contains_key(key));
        missing.extend(keys.iter().filter(|key| lacks(key)).map(|key| format!("{path} {at} {key}")));
    }
    assert_eq!(missing, [""; 0]);
}
