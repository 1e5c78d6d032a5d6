use authentik_client::models;
use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const APPLICATIONS: &str = "/core/applications/";

fn slugs(list: &Value) -> Vec<String> {
    let results = list["results"].as_array().unwrap();
    results.iter().map(|application| application["slug"].as_str().unwrap().to_owned()).collect()
}

/// CO-551, CO-005, CO-131: an application has its defaults, its key is its binding target, and generated clients read it.
#[tokio::test]
async fn co_551_an_application_has_its_defaults() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    let made = site.application("the-wiki", &provider).await;
    assert_eq!(made["pk"], made["pbm_uuid"]);
    for (field, value) in [
        ("provider", provider.clone()),
        ("backchannel_providers", json!([])),
        ("backchannel_providers_obj", json!([])),
        ("policy_engine_mode", json!("any")),
        ("group", json!("")),
        ("meta_hide", json!(false)),
        ("open_in_new_tab", json!(false)),
        ("meta_launch_url", json!("")),
        ("meta_icon_url", json!(null)),
        ("launch_url", json!("https://wiki.example.com")),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    assert_eq!(made["provider_obj"]["assigned_application_slug"], "the-wiki");
    let _: models::Application = serde_json::from_value(made).unwrap();
    let _: models::PaginatedApplicationList = serde_json::from_value(site.get(APPLICATIONS).await).unwrap();
    let provider = site.get(&format!("/providers/proxy/{provider}/")).await;
    assert_eq!(provider["assigned_application_name"], "the-wiki");
}

/// CO-551, OA-051, CO-131: slugs, engine modes, launch URLs and backchannel providers are checked.
#[tokio::test]
async fn oa_051_fields_of_an_application_are_checked() {
    let site = Site::new().await;
    for slug in ["authorize", "token", "device", "userinfo", "introspect", "revoke", "par", "register"] {
        let body = json!({"name": "a", "slug": slug});
        let words = format!("The slug '{slug}' is reserved and cannot be used for applications.");
        assert_eq!(site.refused(Method::POST, APPLICATIONS, body).await, json!({"slug": [words]}));
    }
    for (field, bad) in [
        ("slug", json!("a b")),
        ("slug", json!("ä")),
        ("slug", json!("")),
        ("name", json!("")),
        ("name", json!(null)),
        ("policy_engine_mode", json!("most")),
        ("meta_launch_url", json!("javascript:alert(1)")),
        ("meta_launch_url", json!("//example.com")),
        ("meta_launch_url", json!("file:///etc/passwd")),
        ("backchannel_providers", json!([1])),
        ("provider", json!(77)),
        ("provider", json!("x")),
    ] {
        let mut body = json!({"name": "a", "slug": "a"});
        body[field] = bad.clone();
        assert!(site.refused(Method::POST, APPLICATIONS, body).await[field].is_array(), "{field}: {bad}");
    }
    let missing = site.refused(Method::POST, APPLICATIONS, json!({})).await;
    assert_eq!(missing, json!({"name": ["This field is required."], "slug": ["This field is required."]}));
}

/// CO-551: a slug and a provider belong to one application.
#[tokio::test]
async fn co_551_slugs_and_providers_are_unique() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    site.application("a", &provider).await;
    let refused = site.refused(Method::POST, APPLICATIONS, json!({"name": "x", "slug": "a"})).await;
    assert_eq!(refused, json!({"slug": ["Application with this slug already exists."]}));
    let body = json!({"name": "x", "slug": "b", "provider": provider});
    let refused = site.refused(Method::POST, APPLICATIONS, body).await;
    assert_eq!(refused, json!({"provider": ["Application with this provider already exists."]}));
    site.application("b", &json!(null)).await;
    let refused = site.refused(Method::PATCH, &format!("{APPLICATIONS}b/"), json!({"provider": provider})).await;
    assert!(refused["provider"].is_array());
}

/// CO-130, OA-052: a deleted provider leaves the application, a deleted application its provider; bindings go.
#[tokio::test]
async fn co_130_deletion_leaves_the_other_half() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    let application = site.application("wiki", &provider).await;
    let (user, _) = site.user("ada").await;
    let binding = json!({"target": application["pk"], "order": 0, "user": user});
    site.post("/policies/bindings/", binding).await;

    site.delete(&format!("{APPLICATIONS}wiki/")).await;
    assert_eq!(site.get("/policies/bindings/").await["pagination"]["count"], 0);
    assert_eq!(site.get(&format!("/providers/proxy/{provider}/")).await["assigned_application_slug"], json!(null));

    site.application("again", &provider).await;
    site.delete(&format!("/providers/all/{provider}/")).await;
    let left = site.get(&format!("{APPLICATIONS}again/")).await;
    assert_eq!(
        (&left["provider"], &left["provider_obj"], &left["launch_url"]),
        (&json!(null), &json!(null), &json!(null))
    );
}

/// CO-133: the launch URL is filled from the caller, encoded; what cannot be filled stays as it is.
#[tokio::test]
async fn co_133_launch_urls_are_filled_for_the_caller() {
    let site = Site::new().await;
    for (number, (text, expected)) in [
        ("https://x.example/%(username)s?m=%(email)s", "https://x.example/akadmin?m=root%40example.com"),
        ("https://x.example/%(name)s", "https://x.example/authentik%20Default%20Admin"),
        ("https://x.example/%(path)s/%(type)s", "https://x.example/users/internal"),
        ("https://x.example/100%%", "https://x.example/100%"),
        ("https://x.example/a%20b/%(username)s", "https://x.example/a%20b/%(username)s"),
        ("https://x.example/%(password)s", "https://x.example/%(password)s"),
        ("https://x.example/%(username", "https://x.example/%(username"),
        ("ssh://%(username)s@x.example", "ssh://akadmin@x.example"),
    ]
    .iter()
    .enumerate()
    {
        let slug = format!("a{number}");
        let body = json!({"name": slug, "slug": slug, "meta_launch_url": text});
        let made = site.post(APPLICATIONS, body).await;
        assert_eq!((&made["launch_url"], &made["meta_launch_url"]), (&json!(expected), &json!(text)), "{text}");
    }
    site.post(APPLICATIONS, json!({"name": "h", "slug": "hidden", "meta_launch_url": "blank://blank"})).await;
    site.application("none", &json!(null)).await;
    let list = site.get(&format!("{APPLICATIONS}?only_with_launch_url=true&page_size=100")).await;
    assert_eq!(list["pagination"]["count"], 8);
}

/// CO-133: without a launch URL of its own an application is where its client's first address on the web is.
#[tokio::test]
async fn co_133_clients_are_found_at_their_first_redirect_uri() {
    let site = Site::new().await;
    let uri = |mode: &str, url: &str, kind: &str| json!({"matching_mode": mode, "url": url, "redirect_uri_type": kind});
    for (number, (uris, expected)) in [
        (json!([uri("strict", "https://x.example:8443/cb?a=b", "authorization")]), json!("https://x.example:8443")),
        (
            json!([
                uri("strict", "https://out.example/", "logout"),
                uri("regex", r"https://.*\.app\.example/cb", "authorization"),
                uri("strict", "app.example:/cb", "authorization"),
                uri("strict", "https://first.example/cb", "authorization"),
                uri("strict", "https://second.example/cb", "authorization"),
            ]),
            json!("https://first.example"),
        ),
        (json!([]), json!(null)),
    ]
    .into_iter()
    .enumerate()
    {
        let slug = format!("c{number}");
        let body = site.provider_body(&slug, json!({"redirect_uris": uris})).await;
        let provider = site.post("/providers/oauth2/", body).await;
        let made = site.application(&slug, &provider["pk"]).await;
        assert_eq!((&made["launch_url"], &made["meta_launch_url"]), (&expected, &json!("")), "{uris}");
    }
    let list = site.get(&format!("{APPLICATIONS}?only_with_launch_url=true")).await;
    assert_eq!(list["pagination"]["count"], 2);
}

/// CO-134, CO-136, CO-137, CO-829: lists hold what the caller may use, superusers included; pages are made of that.
#[tokio::test]
async fn co_137_lists_hold_what_the_caller_may_use() {
    let site = Site::new().await;
    let (ada, ada_key) = site.user("ada").await;
    let (_, bob_key) = site.user("bob").await;
    for slug in ["a", "b", "c"] {
        let application = site.application(slug, &json!(null)).await;
        if slug != "b" {
            let binding = json!({"target": application["pk"], "order": 0, "user": ada});
            site.post("/policies/bindings/", binding).await;
        }
    }
    let list = async |key: String, query: &'static str| {
        site.send(&key, Method::GET, &format!("{APPLICATIONS}{query}"), None).await
    };
    assert_eq!(slugs(&list(ada_key.clone(), "").await.1), ["a", "b", "c"]);
    assert_eq!(slugs(&list(bob_key.clone(), "").await.1), ["b"]);
    assert_eq!(slugs(&list(bob_key.clone(), "?superuser_full_list=true").await.1), ["b"]);
    assert_eq!(slugs(&list(ADMIN.to_owned(), "").await.1), ["b"]);
    assert_eq!(slugs(&list(ADMIN.to_owned(), "?superuser_full_list=true").await.1), ["a", "b", "c"]);
    let page = list(ada_key.clone(), "?page_size=2&page=2").await.1;
    assert_eq!((slugs(&page), &page["pagination"]["count"]), (vec!["c".to_owned()], &json!(3)));
    assert_eq!(list(bob_key.clone(), "?page_size=1&page=2").await.0, 404);
    assert_eq!(slugs(&list(ADMIN.to_owned(), "?superuser_full_list=true&ordering=-slug").await.1), ["c", "b", "a"]);

    site.patch(&format!("{APPLICATIONS}c/"), json!({"meta_description": "last"})).await;
    assert_eq!(slugs(&list(ada_key.clone(), "?ordering=-meta_description,slug").await.1), ["c", "a", "b"]);

    let for_ada = format!("{APPLICATIONS}?for_user={ada}");
    assert_eq!(slugs(&site.get(&for_ada).await), ["a", "b", "c"]);
    assert_eq!(site.send(&bob_key, Method::GET, &for_ada, None).await.0, 403);
    assert_eq!(site.send(&bob_key, Method::GET, &format!("{APPLICATIONS}a/"), None).await.0, 404);
    assert_eq!(site.send(&bob_key, Method::GET, &format!("{APPLICATIONS}b/"), None).await.0, 200);
    assert_eq!(site.send(&ada_key, Method::GET, &format!("{APPLICATIONS}a/"), None).await.0, 200);
}

/// CO-138: anybody may ask whether they may; for others, and why, only administrators.
#[tokio::test]
async fn co_138_access_is_checked_for_oneself_and_by_administrators_for_others() {
    let site = Site::new().await;
    let (ada, ada_key) = site.user("ada").await;
    let (bob, bob_key) = site.user("bob").await;
    let application = site.application("wiki", &json!(null)).await;
    site.post("/policies/bindings/", json!({"target": application["pk"], "order": 0, "user": ada})).await;
    let path = format!("{APPLICATIONS}wiki/check_access/");
    let passing = |answer: (http::StatusCode, Value)| {
        assert_eq!(answer.0, 200);
        let result: models::PolicyTestResult = serde_json::from_value(answer.1).unwrap();
        result.passing
    };
    assert!(passing(site.send(&ada_key, Method::GET, &path, None).await));
    assert!(!passing(site.send(&bob_key, Method::GET, &path, None).await));
    assert!(!passing(site.send(ADMIN, Method::GET, &path, None).await));
    let for_user = |pk: i64| format!("{path}?for_user={pk}");
    assert!(passing(site.send(ADMIN, Method::GET, &for_user(ada), None).await));
    assert!(!passing(site.send(ADMIN, Method::GET, &for_user(bob), None).await));
    assert!(passing(site.send(&ada_key, Method::GET, &for_user(bob), None).await), "they ask about themselves");
    assert!(!passing(site.send(&bob_key, Method::GET, &for_user(ada), None).await));
    assert_eq!(site.send("", Method::GET, &path, None).await.0, 403);
    let unknown = format!("{APPLICATIONS}nothing/check_access/");
    assert_eq!(site.send(&bob_key, Method::GET, &unknown, None).await.0, 404);

    site.patch(&format!("/core/users/{ada}/"), json!({"is_active": false})).await;
    assert!(!passing(site.send(ADMIN, Method::GET, &for_user(ada), None).await));
}

/// CO-527, OA-052: a changed application keeps what was not sent; whoever used its provider is looked at again.
#[tokio::test]
async fn co_527_an_application_changes_by_field() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    let made = site.post(APPLICATIONS, json!({"name": "W", "slug": "w", "provider": provider, "group": "G"})).await;
    let present = site.ctx.epochs.present();
    let changed = site.patch(&format!("{APPLICATIONS}w/"), json!({"slug": "x", "open_in_new_tab": true})).await;
    assert!(site.ctx.epochs.present() > present);
    assert_eq!((&changed["pk"], &changed["group"], &changed["slug"]), (&made["pk"], &json!("G"), &json!("x")));
    assert_eq!(site.send(ADMIN, Method::GET, &format!("{APPLICATIONS}w/"), None).await.0, 404);
    let put = json!({"name": "W", "slug": "x", "provider": null});
    let (status, left) = site.send(ADMIN, Method::PUT, &format!("{APPLICATIONS}x/"), Some(put)).await;
    assert_eq!((status.as_u16(), &left["provider"], &left["group"]), (200, &json!(null), &json!("G")));
    let diff = &site.events("model_updated").await[0]["diff"];
    assert_eq!(diff["provider"]["previous"], provider);
}
