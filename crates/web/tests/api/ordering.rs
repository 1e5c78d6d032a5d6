//! Lists are ordered by what they show (CO-525).

use std::cmp::Ordering;

use http::Method;
use serde_json::{Value, json};

use crate::expressions;
use crate::site::{ADMIN, Site};

/// What answers make of several things or of a secret each time: there is nothing to put rows in order by.
const MADE_UP: [&str; 13] = [
    "avatar",
    "callback_url",
    "certificate_download_url",
    "client_secret",
    "current",
    "export_url",
    "icon_url",
    "launch_url",
    "num_pk",
    "private_key_download_url",
    "refresh_interval_s",
    "uid",
    "content",
];

/// Nothing comes first, then false, then true; numbers by what they are, and texts by their bytes.
fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Number(left), Value::Number(right)) => left.as_f64().unwrap().total_cmp(&right.as_f64().unwrap()),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (left, right) => panic!("{left} and {right}"),
    }
}

async fn column(site: &Site, path: &str, more: &str, field: &str, order: &str) -> Vec<Value> {
    let listed = site.get(&format!("{path}?{more}&page_size=100&ordering={order}{field}")).await;
    listed["results"].as_array().unwrap().iter().map(|row| row[field].clone()).collect()
}

/// Two of everything, of which the second comes before the first.
async fn filled() -> Site {
    let site = expressions::site().await;
    let flow = site.get("/flows/instances/default-authentication-flow/").await["pk"].clone();
    for name in ["zoe", "ada"] {
        let is_second = name == "ada";
        let (user, _) = site.user(name).await;
        let change = json!({"email": format!("{name}@example.org"), "is_active": is_second, "path": name});
        site.patch(&format!("/core/users/{user}/"), change).await;
        let token = json!({"identifier": name, "user": user, "description": name, "intent":
            if is_second { "api" } else { "app_password" }});
        site.post("/core/tokens/", token).await;
        let group = site.post("/core/groups/", json!({"name": name, "is_superuser": is_second})).await;
        site.post("/rbac/roles/", json!({"name": name})).await;
        let provider = site
            .provider_body(
                name,
                json!({
                    "skip_path_regex": name, "basic_auth_enabled": is_second, "basic_auth_user_attribute": name,
                    "basic_auth_password_attribute": name, "intercept_header_auth": is_second, "cookie_domain": "",
                    "internal_host_ssl_validation": is_second, "authentication_flow": is_second.then_some(&flow),
                    "access_token_validity": if is_second { "hours=1" } else { "hours=2" },
                }),
            )
            .await;
        let provider = site.post("/providers/proxy/", provider).await;
        let application = site.application(name, &provider["pk"]).await;
        let shown = json!({"meta_publisher": name, "meta_description": name, "group": name, "meta_hide": is_second,
            "open_in_new_tab": is_second, "meta_icon": format!("https://{name}.example/i.png"),
            "meta_launch_url": format!("https://{name}.example/"),
            "policy_engine_mode": if is_second { "all" } else { "any" }});
        site.patch(&format!("/core/applications/{name}/"), shown).await;
        let client = json!({
            "name": format!("client-{name}"), "authorization_flow": provider["authorization_flow"],
            "invalidation_flow": provider["invalidation_flow"], "client_id": name,
            "redirect_uris": [], "include_claims_in_id_token": is_second, "logout_uri": format!("https://{name}.example/"),
            "refresh_token_threshold": if is_second { "hours=1" } else { "hours=2" },
            "access_code_validity": if is_second { "minutes=1" } else { "minutes=2" },
            "sub_mode": if is_second { "user_id" } else { "user_uuid" },
        });
        site.post("/providers/oauth2/", client).await;
        let policy = json!({"name": format!("dummy-{name}"), "execution_logging": is_second});
        let policy = site.post("/policies/dummy/", policy).await;
        site.post("/policies/password/", json!({"name": format!("password-{name}")})).await;
        for (kind, own) in [
            ("event_matcher", json!({"action": "login"})),
            ("expression", json!({"expression": "return True"})),
            ("password_expiry", json!({"days": 9})),
            ("reputation", json!({"check_ip": true, "check_username": true})),
        ] {
            let mut policy = json!({"name": format!("{kind}-{name}")});
            policy.as_object_mut().unwrap().append(&mut own.as_object().unwrap().clone());
            site.post(&format!("/policies/{kind}/"), policy).await;
        }
        let members = [json!({"policy": policy["pk"]}), json!({"group": group["pk"]}), json!({"user": user})];
        for (order, member) in members.into_iter().enumerate().skip(usize::from(!is_second)) {
            let mut binding = json!({"target": application["pk"], "order": order, "negate": is_second, "timeout": 30 - order,
                "enabled": is_second, "failure_result": is_second});
            binding.as_object_mut().unwrap().append(&mut member.as_object().unwrap().clone());
            site.post("/policies/bindings/", binding).await;
        }
        site.post("/core/application_entitlements/", json!({"name": name, "app": application["pk"]})).await;
        let source = json!({
            "name": name, "slug": name, "provider_type": "openidconnect", "consumer_key": name, "consumer_secret": "s3cret",
            "promoted": is_second, "enabled": is_second, "authentication_flow": is_second.then_some(&flow),
            "user_path_template": name, "additional_scopes": name, "pkce": if is_second { "S256" } else { "none" },
            "profile_url": format!("https://{name}.example/me"),
        });
        site.post("/sources/oauth/", source).await;
        let brand = json!({"domain": format!("{name}.example"), "branding_title": name, "branding_custom_css": name,
            "flow_recovery": is_second.then_some(&flow), "default_application": is_second.then_some(&application["pk"])});
        site.post("/core/brands/", brand).await;
        let pair = json!({"common_name": name, "validity_days": if is_second { 9 } else { 5 }});
        let path = "/crypto/certificatekeypairs/generate/";
        assert_eq!(site.status(ADMIN, Method::POST, path, Some(pair)).await, 200);
        site.post(
            "/outposts/instances/",
            json!({"name": name, "type": "proxy", "providers": [provider["pk"]], "config": {}}),
        )
        .await;
    }
    site
}

/// CO-525: every list can be ordered by every field of its rows that holds one value, both ways; nothing comes first.
#[tokio::test]
async fn co_525_lists_are_ordered_by_what_they_show() {
    let site = filled().await;
    let mut wrong = Vec::new();
    let mut tried = 0;
    for path in [
        "/core/users/",
        "/core/groups/",
        "/core/tokens/",
        "/core/applications/?superuser_full_list=true",
        "/core/application_entitlements/",
        "/core/brands/",
        "/providers/all/",
        "/providers/proxy/",
        "/providers/oauth2/",
        "/policies/all/",
        "/policies/bindings/",
        "/propertymappings/provider/scope/",
        "/propertymappings/all/",
        "/sources/all/",
        "/sources/oauth/",
        "/crypto/certificatekeypairs/",
        "/outposts/instances/",
        "/flows/instances/",
        "/events/events/",
        "/rbac/roles/",
    ] {
        let (path, more) = path.split_once('?').unwrap_or((path, ""));
        let path_with = format!("{path}?{more}&page_size=100");
        let rows = site.get(&path_with).await["results"].as_array().unwrap().clone();
        assert!(rows.len() > 1, "{path}");
        let fields = rows[0].as_object().unwrap().keys().cloned();
        let plain = |field: &String| {
            rows.iter().all(|row| row.get(field).is_some_and(|value| !value.is_object() && !value.is_array()))
        };
        for field in fields.filter(plain).filter(|field| !MADE_UP.contains(&field.as_str())) {
            if rows.iter().all(|row| row[&field] == rows[0][&field]) {
                continue;
            }
            tried += 1;
            for (sign, wanted) in [("", Ordering::Greater), ("-", Ordering::Less)] {
                let found = column(&site, path, more, &field, sign).await;
                if found.windows(2).any(|pair| compare(&pair[0], &pair[1]) == wanted) {
                    wrong.push(format!("{path}?ordering={sign}{field}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(tried > 100, "{tried} fields differ");
}
