use authentik_client::models;
use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PATH: &str = "/admin/settings/";

/// CO-500, CO-501: all settings and flags have their defaults, and read back as they were written.
#[tokio::test]
async fn co_500_settings_round_trip() {
    let site = Site::new().await;
    let defaults = site.get(PATH).await;
    let _: models::Settings = serde_json::from_value(defaults.clone()).unwrap();
    let flags = json!({
        "core_default_app_access": true, "enterprise_audit_include_expanded_diff": false,
        "flows_continuous_login": false, "flows_refresh_others": false, "policies_buffered_access_view": false,
    });
    let expected = json!({
        "avatars": "initials", "default_user_change_name": true, "default_user_change_email": false,
        "default_user_change_username": false, "event_retention": "days=365", "reputation_lower_limit": -5,
        "reputation_upper_limit": 5, "footer_links": [], "gdpr_compliance": true, "impersonation": true,
        "impersonation_require_reason": true, "default_token_duration": "days=1", "default_token_length": 60,
        "pagination_default_page_size": 20, "pagination_max_page_size": 100, "flags": flags,
        "base_url": "https://id.example",
    });
    assert_eq!(defaults, expected);

    let mut other = json!({
        "avatars": "gravatar,initials", "default_user_change_name": false, "default_user_change_email": true,
        "default_user_change_username": true, "event_retention": "weeks=2;days=1", "reputation_lower_limit": -10,
        "reputation_upper_limit": 0, "footer_links": [{"name": "Help", "href": "https://help.example"}],
        "gdpr_compliance": false, "impersonation": false, "impersonation_require_reason": false,
        "default_token_duration": "minutes=60", "default_token_length": 80, "pagination_default_page_size": 5,
        "pagination_max_page_size": 50,
        "flags": {"core_default_app_access": false, "flows_refresh_others": true, "unknown": true},
    });
    let (status, written) = site.send(ADMIN, Method::PUT, PATH, Some(other.clone())).await;
    assert_eq!(status, 200, "{written}");
    other["base_url"] = json!("https://id.example");
    other["flags"] = json!({
        "core_default_app_access": false, "enterprise_audit_include_expanded_diff": false,
        "flows_continuous_login": false, "flows_refresh_others": true, "policies_buffered_access_view": false,
    });
    assert_eq!((&written, &site.get(PATH).await), (&other, &other));
    let change = &site.events("model_updated").await[0];
    assert_eq!(change["diff"]["gdpr_compliance"], json!({"previous": true, "new": false}));
    let changed = site.patch(PATH, json!({"gdpr_compliance": true})).await;
    other["gdpr_compliance"] = json!(true);
    assert_eq!(changed, other);
}

/// CO-500, CO-020, CO-021, CO-504: values that break a rule are refused by name, and nothing is changed.
#[tokio::test]
async fn co_500_settings_are_checked() {
    let site = Site::new().await;
    let before = site.get(PATH).await;
    for (field, bad) in [
        ("event_retention", json!("1 year")),
        ("event_retention", json!("seconds=0")),
        ("default_token_duration", json!("hours=1,minutes=2")),
        ("default_token_duration", json!("")),
        ("default_token_length", json!(39)),
        ("default_token_length", json!(256)),
        ("reputation_lower_limit", json!(1)),
        ("reputation_upper_limit", json!(-1)),
        ("pagination_default_page_size", json!(0)),
        ("pagination_max_page_size", json!(1_000_000)),
        ("footer_links", json!([{"name": "x", "href": "javascript:alert(1)"}])),
        ("footer_links", json!("x")),
        ("gdpr_compliance", json!("perhaps")),
        ("avatars", json!(" ")),
        ("flags", json!([])),
        ("flags", json!({"core_default_app_access": "yes"})),
        ("base_url", json!("https://elsewhere.example")),
    ] {
        let mut body = json!({"default_user_change_email": true});
        body[field] = bad.clone();
        assert!(site.refused(Method::PATCH, PATH, body).await[field].is_array(), "{field} {bad}");
    }
    assert_eq!(site.refused(Method::PUT, PATH, json!({})).await, json!({"flags": ["This field is required."]}));
    assert_eq!(site.get(PATH).await, before);
    assert!(site.events("model_updated").await.is_empty());
}

/// CO-574: settings are for administrators.
#[tokio::test]
async fn co_574_settings_are_for_administrators() {
    let site = Site::new().await;
    let (_, key) = site.user("ada").await;
    for method in [Method::GET, Method::PUT, Method::PATCH] {
        let body = (method != Method::GET).then(|| json!({"flags": {}, "gdpr_compliance": false}));
        assert_eq!(site.send(&key, method.clone(), PATH, body.clone()).await.0, 403, "{method}");
        assert_eq!(site.send("", method.clone(), PATH, body).await.0, 403, "{method}");
    }
    assert_eq!(site.send(ADMIN, Method::DELETE, PATH, None).await.0, 405);
    assert_eq!(site.get(PATH).await["gdpr_compliance"], json!(true));
    for method in [Method::GET, Method::POST] {
        assert_eq!(site.send(&key, method.clone(), "/admin/system/", None).await.0, 403);
        let (status, system) = site.send(ADMIN, method, "/admin/system/", None).await;
        assert_eq!(status, 200);
        let system: models::SystemInfo = serde_json::from_value(system).unwrap();
        assert_eq!((system.brand.as_str(), system.base_url.as_str()), ("authentik-default", "https://id.example"));
        assert_eq!((system.http_host.as_str(), system.http_is_secure), ("id.example", true));
        assert_eq!((system.runtime.python_version.as_str(), system.runtime.environment.as_str()), ("", "portcullis"));
        assert!(!system.http_headers.contains_key("authorization"));
    }
}

/// CO-500, CO-524: pages are as long as the settings say.
#[tokio::test]
async fn co_524_page_sizes_are_settings() {
    let site = Site::new().await;
    site.patch(PATH, json!({"pagination_default_page_size": 2, "pagination_max_page_size": 3})).await;
    let length =
        async |query: &str| site.get(&format!("/flows/instances/?{query}")).await["results"].as_array().unwrap().len();
    assert_eq!((length("").await, length("page_size=1").await, length("page_size=99").await), (2, 1, 3));
}

/// CO-500, OA-593, OA-594: new tokens are as long, and live as long, as the settings say.
#[tokio::test]
async fn co_500_tokens_follow_the_settings() {
    let site = Site::new().await;
    site.patch(PATH, json!({"default_token_length": 45, "default_token_duration": "hours=2"})).await;
    let made = site.post("/core/tokens/", json!({"identifier": "t"})).await;
    assert_eq!(made["expires"], json!(site.ctx.now().plus_seconds(7200).to_string()));
    assert_eq!(site.get("/core/tokens/t/view_key/").await["key"].as_str().unwrap().len(), 45);
}

/// CO-134, CO-501: the flag opens and closes applications without bindings at the next request.
#[tokio::test]
async fn co_501_applications_without_bindings_follow_the_flag() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    site.application("wiki", &provider).await;
    let (_, key) = site.user("ada").await;
    let passing = async || {
        let (_, result) = site.send(&key, Method::GET, "/core/applications/wiki/check_access/", None).await;
        result.get("passing").cloned().unwrap_or(Value::Null)
    };
    assert_eq!(passing().await, json!(true));
    let mark = site.ctx.epochs.present();
    let mark = site.ctx.epochs.mark(mark, &[]);
    site.patch(PATH, json!({"flags": {"core_default_app_access": false}})).await;
    assert_ne!(passing().await, json!(true));
    assert!(!site.ctx.epochs.stands(&mark), "identities that are remembered are looked at again");
    assert_eq!(
        site.send("", Method::GET, "/core/brands/current/", None).await.1["flags"]["core_default_app_access"],
        json!(false)
    );
}
