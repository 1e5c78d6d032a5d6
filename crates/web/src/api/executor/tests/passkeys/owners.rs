//! Whose keys they are: their list, and the pages.

use super::*;

/// CO-702: owners list, look at, rename and remove their own keys by the API, and nobody else's.
#[tokio::test]
async fn co_702_owners_keep_their_keys() {
    let (site, ada, _) = with_key().await;
    let eve = site.user("eve").await;
    let (own, other) = (site.api_key(ada, "ada-api").await, site.api_key(eve, "eve-api").await);
    let list = "/authenticators/webauthn/";
    let found = site.bearer(&own, Method::GET, list, None).await.json;
    let key = &found["results"][0];
    for name in ["pk", "name", "created_on", "device_type", "aaguid", "user"] {
        assert!(key.get(name).is_some(), "{name}");
    }
    assert_eq!((&key["name"], &key["user"]["username"]), (&json!("Passkey"), &json!("ada")));
    assert_eq!(key["aaguid"], "07070707-0707-0707-0707-070707070707");
    assert_eq!(site.bearer(&own, Method::GET, &format!("{list}?name=Other"), None).await.json["results"], json!([]));
    assert_eq!(
        site.bearer(&own, Method::GET, &format!("{list}?search=PASS"), None).await.json["pagination"]["count"],
        1
    );
    let place = format!("{list}{}/", key["pk"]);
    assert_eq!(site.bearer(&other, Method::GET, list, None).await.json["pagination"]["count"], 0);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(site.bearer(&other, method, &place, None).await.status, 404);
    }
    let named = json!({"name": "Blue key", "pk": 7, "aaguid": "x"});
    assert_eq!(site.bearer(&other, Method::PUT, &place, named.clone()).await.status, 404);
    let renamed = site.bearer(&own, Method::PUT, &place, named).await;
    assert_eq!((renamed.status.as_u16(), &renamed.json["name"]), (200, &json!("Blue key")));
    assert_eq!(site.bearer(&own, Method::PATCH, &place, json!({})).await.json["name"], "Blue key");
    for bad in [json!({}), json!({"name": " "}), json!({"name": "x".repeat(65)})] {
        let refused = site.bearer(&own, Method::PUT, &place, bad).await;
        assert!(refused.status == 400 && refused.json["name"].is_array(), "{:?}", refused.json);
    }
    let updated = site.events("model_updated").await;
    assert_eq!((updated.0, &updated.1["diff"]["name"]["new"]), (1, &json!("Blue key")));
    let listed = site.bearer(&own, Method::GET, "/authenticators/all/", None).await.json;
    assert_eq!((&listed[0]["name"], &listed[0]["verbose_name"]), (&json!("Blue key"), &json!("WebAuthn Device")));
    assert_eq!(site.bearer(&own, Method::DELETE, &place, None).await.status, 204);
    assert_eq!(site.bearer(&own, Method::GET, list, None).await.json["results"], json!([]));
    assert_eq!(site.events("model_deleted").await.1["model"]["model_name"], "webauthndevice");
}

/// CO-316, CO-301, PX-310: the pages ask browsers for passkeys by one file of ours, which the policy of those pages allows; forms
/// bring the answers.
#[tokio::test]
async fn co_316_pages_ask_for_passkeys() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let setup = format!("/if/flow/{SETUP}/?next=%2Fx");
    let options = |page: &Reply| {
        let text = page.text.split("data-options=\"").nth(1).expect("options").split('"').next().expect("text");
        serde_json::from_str::<Value>(&text.replace("&#34;", "\"").replace("&#38;", "&")).expect("JSON")
    };
    let page = client.page(&site, &setup).await;
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("; script-src 'self'; ") && !policy.contains("unsafe"), "{policy}");
    let script =
        page.text.split("<script src=\"").nth(1).expect("a script").split('"').next().expect("text").to_owned();
    assert_eq!(page.text.matches("<script").count(), 1);
    assert!(page.text.contains("data-origin=\"http://id.example\""), "{}", page.text);
    let file = client.page(&site, &script).await;
    assert_eq!(
        (file.status.as_u16(), &file.headers["content-type"]),
        (200, &"text/javascript; charset=utf-8".parse().expect("a value"))
    );
    let mut key = Key::new();
    let wrong = client.form(&site, &setup, &[("response", "{}")]).await;
    assert!(wrong.text.contains("Please try again"), "{}", wrong.text);
    let response = key.create(&options(&wrong)).to_string();
    let done = client.form(&site, &setup, &[("response", &response), ("name", "Blue key")]).await;
    assert_eq!((done.status.as_u16(), &done.headers["location"]), (303, &"/x".parse().expect("a value")));
    let page = "/account/second-factors/";
    let shown = client.page(&site, page).await.text;
    assert!(shown.contains("Blue key") && shown.contains("Rename"), "{shown}");
    let pk = shown.split("name=\"pk\" value=\"").nth(1).expect("a key").split('"').next().expect("text").to_owned();
    assert_eq!(client.form(&site, page, &[("pk", &pk), ("name", "Red key")]).await.status, 303);
    assert!(client.page(&site, page).await.text.contains("Red key"));

    let sign_in = format!("/if/flow/{SIGN_IN}/");
    let mut client = Client::new();
    let asks = client.form(&site, &sign_in, &[("uid_field", "ada"), ("password", PASSWORD)]).await;
    assert!(asks.text.contains("Use your passkey") && !asks.text.contains("one-time-code"), "{}", asks.text);
    let answer = key.get(&options(&asks)).to_string();
    let done = client.form(&site, &sign_in, &[("webauthn", &answer)]).await;
    assert_eq!(done.status, 303, "{}", done.text);
    let mut client = Client::new();
    let asks = client.page(&site, &sign_in).await;
    assert!(asks.text.contains("autocomplete=\"username webauthn\""), "{}", asks.text);
    // A mistyped password is no obstacle.
    let again = client.form(&site, &sign_in, &[("uid_field", "ada"), ("password", "wrong")]).await;
    assert_ne!(options(&again)["challenge"], options(&asks)["challenge"], "fresh every time");
    let answer = key.get(&options(&again)).to_string();
    let done = client.form(&site, &sign_in, &[("passkey", &answer)]).await;
    assert_eq!(done.status, 303, "{}", done.text);
    assert_eq!(client.whoami(&site).await, 200);
    let mut client = Client::new();
    let asks = client.page(&site, &sign_in).await;
    let answer = Key { user: key.user, ..Key::new() }.get(&options(&asks)).to_string();
    let refused = client.form(&site, &sign_in, &[("passkey", &answer)]).await;
    assert!(refused.text.contains("not known here"), "{}", refused.text);
}
