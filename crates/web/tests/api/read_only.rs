use authentik_client::models;
use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

/// CO-283, CO-565: the mappings that come with the installation are listed in order.
#[tokio::test]
async fn co_283_managed_mappings_exist() {
    let site = Site::new().await;
    let list = site.get("/propertymappings/provider/scope/").await;
    let mappings: models::PaginatedScopeMappingList = serde_json::from_value(list).unwrap();
    let scopes: Vec<_> = mappings.results.iter().map(|mapping| mapping.scope_name.as_str()).collect();
    assert_eq!(
        scopes,
        ["ak_proxy", "email", "entitlements", "goauthentik.io/api", "offline_access", "openid", "profile"]
    );
    assert!(mappings.results.iter().all(|mapping| !mapping.expression.is_empty()));
    for (managed, scope) in [
        ("goauthentik.io/providers/oauth2/scope-openid", "openid"),
        ("goauthentik.io/providers/oauth2/scope-email", "email"),
        ("goauthentik.io/providers/oauth2/scope-profile", "profile"),
        ("goauthentik.io/providers/oauth2/scope-entitlements", "entitlements"),
        ("goauthentik.io/providers/oauth2/scope-offline_access", "offline_access"),
        ("goauthentik.io/providers/oauth2/scope-authentik_api", "goauthentik.io/api"),
        ("goauthentik.io/providers/proxy/scope-proxy", "ak_proxy"),
    ] {
        let found = site.get(&format!("/propertymappings/provider/scope/?managed={managed}")).await;
        assert_eq!(found["pagination"]["count"], 1, "{managed}");
        assert_eq!(found["results"][0]["scope_name"], scope);
        let pk = found["results"][0]["pk"].as_str().unwrap();
        assert_eq!(site.get(&format!("/propertymappings/provider/scope/{pk}/")).await, found["results"][0]);
        assert_eq!(site.get(&format!("/propertymappings/all/{pk}/")).await["managed"], managed);
    }
    let all = site.get("/propertymappings/all/?managed__isnull=true").await;
    assert_eq!(all["pagination"]["count"], 0);
    let all = site.get("/propertymappings/all/").await;
    let _: models::PaginatedPropertyMappingList = serde_json::from_value(all).unwrap();
    let types = site.get("/propertymappings/all/types/").await;
    let _: Vec<models::TypeCreate> = serde_json::from_value(types).unwrap();
}

/// CO-300, CO-571: the fixed flows are listed by slug, found by designation, and cannot be written.
#[tokio::test]
async fn co_300_flows_are_fixed() {
    let site = Site::new().await;
    let list = site.get("/flows/instances/").await;
    let flows: models::PaginatedFlowList = serde_json::from_value(list).unwrap();
    let slugs: Vec<_> = flows.results.iter().map(|flow| flow.slug.as_str()).collect();
    assert_eq!(
        slugs,
        [
            "default-authentication-flow",
            "default-authenticator-static-setup",
            "default-authenticator-totp-setup",
            "default-authenticator-webauthn-setup",
            "default-invalidation-flow",
            "default-password-change",
            "default-provider-authorization-explicit-consent",
            "default-provider-authorization-implicit-consent",
            "default-provider-invalidation-flow",
            "default-recovery-flow",
            "default-user-settings-flow",
            "initial-setup",
        ]
    );
    assert!(flows.results.iter().all(|flow| flow.pk == flow.policybindingmodel_ptr_id));
    let count =
        async |query: &str| site.get(&format!("/flows/instances/?{query}")).await["pagination"]["count"].clone();
    assert_eq!(count("designation=authorization").await, 2);
    assert_eq!(count("slug=initial-setup").await, 1);
    assert_eq!(count("denied_action=message_continue").await, 12);
    assert_eq!(count("denied_action=continue").await, 0);
    let one = site.get("/flows/instances/default-recovery-flow/").await;
    assert_eq!(one["authentication"], "require_unauthenticated");
    for (method, path) in [
        (Method::POST, "/flows/instances/"),
        (Method::PATCH, "/flows/instances/default-recovery-flow/"),
        (Method::PUT, "/flows/instances/default-recovery-flow/"),
        (Method::DELETE, "/flows/instances/default-recovery-flow/"),
    ] {
        let (status, body) = site.send(ADMIN, method.clone(), path, Some(json!({}))).await;
        assert_eq!((status.as_u16(), body), (405, json!({"detail": format!("Method \"{method}\" not allowed.")})));
    }
}

/// PX-356, CO-569, CO-593: the embedded outpost is as strict clients expect it; only its name is fixed.
#[tokio::test]
async fn px_356_the_embedded_outpost_is_as_strict_clients_expect() {
    let site = Site::new().await;
    let list = site.get("/outposts/instances/").await;
    let outposts: models::PaginatedOutpostList = serde_json::from_value(list.clone()).unwrap();
    let embedded = &list["results"][0];
    assert_eq!(outposts.results.len(), 1);
    assert_eq!((&embedded["name"], &embedded["type"]), (&json!("authentik Embedded Outpost"), &json!("proxy")));
    assert_eq!(embedded["managed"], "goauthentik.io/outposts/embedded");
    assert_eq!((&embedded["refresh_interval_s"], &embedded["providers"]), (&json!(300), &json!([])));
    assert!(embedded["config"]["authentik_host"].is_string() && embedded["config"]["log_level"].is_string());
    let path = format!("/outposts/instances/{}/", embedded["pk"].as_str().unwrap());

    let provider = site.provider("wiki").await["pk"].clone();
    let changed = site.patch(&path, json!({"providers": [provider]})).await;
    assert_eq!((&changed["providers"], &changed["providers_obj"][0]["name"]), (&json!([provider]), &json!("wiki")));
    let _: models::Outpost = serde_json::from_value(changed).unwrap();
    assert_eq!(site.get(&format!("/outposts/instances/?providers_by_pk={provider}")).await["pagination"]["count"], 1);
    assert_eq!(site.get("/outposts/instances/?providers__isnull=true").await["pagination"]["count"], 0);
    assert_eq!(site.get("/outposts/instances/?name__icontains=EMBEDDED").await["pagination"]["count"], 1);

    let config = json!({"authentik_host": "https://id.example", "refresh_interval": "seconds=90", "own": {"a": [1]}});
    let changed = site.patch(&path, json!({"config": config})).await;
    assert_eq!((&changed["config"], &changed["refresh_interval_s"]), (&config, &json!(90)));
    assert_eq!(changed["providers"], json!([provider]));
    for (field, bad) in [
        ("name", json!("mine")),
        ("type", json!("ldap")),
        ("providers", json!([4711])),
        ("config", json!([])),
        ("config", json!({"refresh_interval": "often"})),
        ("service_connection", json!("00000000-0000-4000-8000-000000000000")),
    ] {
        let mut body = json!({});
        body[field] = bad;
        assert!(site.refused(Method::PATCH, &path, body).await[field].is_array(), "{field}");
    }
    let name = site.refused(Method::PATCH, &path, json!({"name": "mine"})).await;
    assert_eq!(name, json!({"name": ["Embedded outpost's name cannot be changed"]}));
    assert_eq!(site.get(&format!("{path}health/")).await.as_array().unwrap().len(), 1);
    let defaults = site.get("/outposts/instances/default_settings/").await;
    let _: models::OutpostDefaultConfig = serde_json::from_value(defaults).unwrap();
    site.patch(&path, json!({"providers": []})).await;
}

/// CO-524, CO-560: a list of nothing is one empty page, and what is not there is not found.
#[tokio::test]
async fn co_524_a_list_of_nothing_is_one_page() {
    let site = Site::new().await;
    let list = site.get("/policies/all/").await;
    assert_eq!(
        list["pagination"],
        json!({
            "next": 0, "previous": 0, "count": 0, "current": 1, "total_pages": 1, "start_index": 0, "end_index": 0,
        })
    );
    let _: models::PaginatedPolicyList = serde_json::from_value(list).unwrap();
    let unknown = "/policies/all/00000000-0000-4000-8000-000000000000/";
    let (status, body) = site.send(ADMIN, Method::GET, unknown, None).await;
    assert_eq!((status.as_u16(), body), (404, json!({"detail": "No Policy matches the given query."})));
}

/// CO-505, CO-590, CO-592, PX-358: configuration and brand are public; the version is for those who are known.
#[tokio::test]
async fn co_505_configuration_and_brand_are_public() {
    let site = Site::new().await;
    let public = async |path: &'static str| -> Value {
        let (status, value) = site.send("", Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}");
        value
    };
    let config: models::Config = serde_json::from_value(public("/root/config/").await).unwrap();
    assert!(!config.error_reporting.enabled && config.error_reporting.sentry_dsn.is_empty());
    let brand = public("/core/brands/current/").await;
    assert_eq!(brand["flow_authentication"], "default-authentication-flow");
    assert!(brand.get("flow_recovery").is_none());
    assert_eq!(brand["flags"].as_object().unwrap().len(), 5);
    let _: models::CurrentBrand = serde_json::from_value(brand).unwrap();

    assert_eq!(site.send("", Method::GET, "/admin/version/", None).await.0, 403);
    let (_, key) = site.user("ada").await;
    let (status, version) = site.send(&key, Method::GET, "/admin/version/", None).await;
    assert_eq!(status, 200);
    let version: models::Version = serde_json::from_value(version).unwrap();
    assert_eq!((version.version_current.as_str(), version.outdated), ("2026.5.0", false));
    assert!(version.build_hash.starts_with("portcullis-"));
}
