use authentik_client::models;
use http::Method;
use portcullis_idp::outpost;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PROVIDERS: &str = "/providers/proxy/";

/// PX-020, CO-559: a provider has the defaults of the specification, and is read by generated clients.
#[tokio::test]
async fn px_020_a_provider_has_its_defaults() {
    let site = Site::new().await;
    let made = site.provider("wiki").await;
    for (field, value) in [
        ("mode", json!("proxy")),
        ("internal_host_ssl_validation", json!(true)),
        ("certificate", json!(null)),
        ("skip_path_regex", json!("")),
        ("intercept_header_auth", json!(true)),
        ("basic_auth_enabled", json!(false)),
        ("basic_auth_user_attribute", json!("")),
        ("basic_auth_password_attribute", json!("")),
        ("cookie_domain", json!("")),
        ("jwt_federation_sources", json!([])),
        ("jwt_federation_providers", json!([])),
        ("access_token_validity", json!("hours=1")),
        ("refresh_token_validity", json!("days=30")),
        ("authentication_flow", json!(null)),
        ("outpost_set", json!([])),
        ("component", json!("ak-provider-proxy-form")),
        ("meta_model_name", json!("authentik_providers_proxy.proxyprovider")),
        ("verbose_name_plural", json!("Proxy Providers")),
        ("assigned_application_slug", json!(null)),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    assert_eq!(made["client_id"].as_str().unwrap().len(), 40);
    assert!(made.get("client_secret").is_none() && made.get("cookie_secret").is_none());
    let _: models::ProxyProvider = serde_json::from_value(made.clone()).unwrap();
    let list: models::PaginatedProxyProviderList = serde_json::from_value(site.get(PROVIDERS).await).unwrap();
    assert_eq!(list.results.len(), 1);
    let _: models::PaginatedProviderList = serde_json::from_value(site.get("/providers/all/").await).unwrap();
    let _: Vec<models::TypeCreate> = serde_json::from_value(site.get("/providers/all/types/").await).unwrap();
    let any = site.get(&format!("/providers/all/{}/", made["pk"])).await;
    assert_eq!(any["name"], "wiki");
}

/// OA-037: a provider that is deleted is in nobody's list any more, and the others can be stored again.
#[tokio::test]
async fn oa_037_a_deleted_provider_is_forgotten() {
    let site = Site::new().await;
    let (gone, other) = (site.provider("gone").await, site.provider("other").await);
    let body = site.provider_body("wiki", json!({"jwt_federation_providers": [gone["pk"], other["pk"]]})).await;
    let path = format!("{PROVIDERS}{}/", site.post(PROVIDERS, body.clone()).await["pk"]);
    site.delete(&format!("{PROVIDERS}{}/", gone["pk"])).await;
    assert_eq!(site.get(&path).await["jwt_federation_providers"], json!([other["pk"]]));
    assert_eq!(site.refused(Method::PUT, &path, body).await.as_object().unwrap().len(), 1);
}

/// PX-021, PX-022: rules hold for what results; a change of something else passes.
#[tokio::test]
async fn px_021_rules_hold_for_the_merged_provider() {
    let site = Site::new().await;
    let without = site.provider_body("a", json!({"internal_host": ""})).await;
    let refused = site.refused(Method::POST, PROVIDERS, without).await;
    assert_eq!(refused, json!({"internal_host": ["Internal host cannot be empty when forward auth is disabled."]}));
    let forward = json!({"internal_host": "", "mode": "forward_single"});
    let path = format!("{PROVIDERS}{}/", site.post(PROVIDERS, site.provider_body("b", forward).await).await["pk"]);
    assert_eq!(site.patch(&path, json!({"name": "c"})).await["name"], "c");
    assert!(site.refused(Method::PATCH, &path, json!({"mode": "proxy"})).await["internal_host"].is_array());

    let refused = site.refused(Method::PATCH, &path, json!({"basic_auth_enabled": true})).await;
    let words = "User and password attributes must be set when basic auth is enabled.";
    assert_eq!(refused, json!({"basic_auth_enabled": [words]}));
    let both = json!({
        "basic_auth_enabled": true,
        "basic_auth_user_attribute": "wiki_user",
        "basic_auth_password_attribute": "wiki_password",
    });
    assert_eq!(site.patch(&path, both).await["basic_auth_enabled"], true);
    let refused = site.refused(Method::PATCH, &path, json!({"basic_auth_user_attribute": ""})).await;
    assert!(refused["basic_auth_enabled"].is_array());
}

/// PX-020, PX-275: an upstream is a URL that requests can be sent to.
#[tokio::test]
async fn px_020_an_upstream_can_be_reached() {
    let site = Site::new().await;
    for bad in
        ["app", "ftp://app", "http:app", "http://ada:secret@app", "http://ada@app", "http://app/?q", "http://app/#f"]
    {
        let body = site.provider_body("a", json!({"internal_host": bad})).await;
        let refused = site.refused(Method::POST, PROVIDERS, body).await;
        assert_eq!(refused, json!({"internal_host": ["Enter a valid URL."]}), "{bad}");
    }
    let good = json!({"internal_host": "http://bücher.example:8080/ein Regal/"});
    let body = site.provider_body("a", good.clone()).await;
    assert_eq!(site.post(PROVIDERS, body).await["internal_host"], good["internal_host"]);
}

/// PX-023: in domain mode the cookie domain covers the host, and is neither a public suffix nor an address.
#[tokio::test]
async fn px_023_the_cookie_domain_is_checked_in_domain_mode() {
    let site = Site::new().await;
    for bad in ["", "com", "co.uk", "example.org", "xample.com", "127.0.0.1", "a b", "[::1]"] {
        let body = site.provider_body("auth", json!({"mode": "forward_domain", "cookie_domain": bad})).await;
        assert!(site.refused(Method::POST, PROVIDERS, body).await["cookie_domain"].is_array(), "{bad}");
    }
    for (number, good) in ["example.com", ".example.com", "Example.COM"].iter().enumerate() {
        let more =
            json!({"mode": "forward_domain", "cookie_domain": good, "external_host": "https://auth.example.com"});
        let made = site.post(PROVIDERS, site.provider_body(&format!("p{number}"), more).await).await;
        assert_eq!(made["cookie_domain"], *good);
    }
    let body = site.provider_body("free", json!({"cookie_domain": "com"})).await;
    assert_eq!(site.post(PROVIDERS, body).await["mode"], "proxy");
}

/// PX-024: a bad expression is refused with its line; one that opens everything is worth a warning.
#[tokio::test]
async fn px_024_skip_expressions_are_checked() {
    let site = Site::new().await;
    let bad = site.provider_body("a", json!({"skip_path_regex": "^/public/\n\n(?=x)"})).await;
    let refused = site.refused(Method::POST, PROVIDERS, bad).await;
    assert!(refused["skip_path_regex"][0].as_str().unwrap().starts_with("Line 3: "), "{refused}");
    let text = "^/public/\n.*";
    let made = site.post(PROVIDERS, site.provider_body("a", json!({"skip_path_regex": text})).await).await;
    assert_eq!(made["skip_path_regex"], text);
    let warnings = site.events("configuration_warning").await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0]["message"].as_str().unwrap().contains("Line 2"));
}

/// PX-024, PX-055: what opens a whole domain is worth a warning, and so is a host that another provider has.
#[tokio::test]
async fn px_055_a_host_that_another_provider_has_is_warned_of() {
    let site = Site::new().await;
    let more = json!({"mode": "forward_domain", "cookie_domain": "example.com", "external_host": "https://auth.example.com",
        "skip_path_regex": "^https://"});
    let made = site.post(PROVIDERS, site.provider_body("domain", more).await).await;
    let warnings = site.events("configuration_warning").await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["message"], "Line 1 of skip_path_regex opens every path: ^https://");

    let more = json!({"external_host": "https://AUTH.example.com:443/path"});
    let second = site.post(PROVIDERS, site.provider_body("second", more).await).await;
    let told = site.events("configuration_warning").await;
    let about = told.iter().find(|event| event["provider"]["name"] == "second").unwrap();
    assert!(about["message"].as_str().unwrap().contains("auth.example.com, is that of the provider domain"), "{about}");
    // Not again while the host stays, whatever else changes.
    site.patch(&format!("{PROVIDERS}{}/", second["pk"]), json!({"name": "renamed"})).await;
    site.patch(&format!("{PROVIDERS}{}/", made["pk"]), json!({"skip_path_regex": ""})).await;
    assert_eq!(site.events("configuration_warning").await.len(), 2);
}

/// PX-025, OA-070: the five managed mappings are always there, and chosen ones stay.
#[tokio::test]
async fn oa_070_managed_mappings_are_always_there() {
    let site = Site::new().await;
    let mappings = site.get("/propertymappings/provider/scope/").await;
    let key = |scope: &str| {
        let found = mappings["results"].as_array().unwrap().iter().find(|mapping| mapping["scope_name"] == scope);
        found.unwrap()["pk"].clone()
    };
    let more = json!({"property_mappings": [key("offline_access"), key("email")], "client_id": "mine"});
    let made = site.post(PROVIDERS, site.provider_body("wiki", more).await).await;
    let wanted: Vec<_> = ["offline_access", "email", "openid", "profile", "entitlements", "ak_proxy"].map(key).into();
    assert_eq!(made["property_mappings"], json!(wanted));
    assert_ne!(made["client_id"], "mine");
    let path = format!("{PROVIDERS}{}/", made["pk"]);
    let changed = site.patch(&path, json!({"property_mappings": []})).await;
    assert_eq!(changed["property_mappings"].as_array().unwrap().len(), 5);
    assert_eq!(changed["client_id"], made["client_id"]);
}

/// PX-026, OA-071: redirect URIs are computed, follow the external host, and cannot be set.
#[tokio::test]
async fn oa_071_redirect_uris_follow_the_external_host() {
    let site = Site::new().await;
    let made = site.post(PROVIDERS, site.provider_body("wiki", json!({"redirect_uris": []})).await).await;
    let uri = |url: &str| json!({"matching_mode": "strict", "url": url, "redirect_uri_type": "authorization"});
    assert_eq!(
        made["redirect_uris"],
        json!([
            uri("https://wiki.example.com/outpost.goauthentik.io/callback?X-authentik-auth-callback=true"),
            uri("https://wiki.example.com?X-authentik-auth-callback=true"),
        ])
    );
    let path = format!("{PROVIDERS}{}/", made["pk"]);
    let moved = site.patch(&path, json!({"external_host": "https://example.com/apps/wiki/"})).await;
    assert_eq!(
        moved["redirect_uris"],
        json!([
            uri("https://example.com/apps/wiki/outpost.goauthentik.io/callback?X-authentik-auth-callback=true"),
            uri("https://example.com/apps/wiki?X-authentik-auth-callback=true"),
            uri("https://example.com/apps/outpost.goauthentik.io/callback?X-authentik-auth-callback=true"),
        ])
    );
}

/// PX-020: an external host is an http or https URL with a host and perhaps a path, and nothing else.
#[tokio::test]
async fn px_020_external_hosts_are_checked() {
    let site = Site::new().await;
    for bad in [
        "wiki.example.com",
        "ftp://wiki.example.com",
        "https://user@wiki.example.com",
        "https://wiki.example.com/?a=b",
        "https://wiki.example.com/#x",
        "https://",
        "javascript:alert(1)",
    ] {
        let body = site.provider_body("a", json!({"external_host": bad})).await;
        assert!(site.refused(Method::POST, PROVIDERS, body).await["external_host"].is_array(), "{bad}");
    }
    let body = site.provider_body("a", json!({"external_host": "http://wiki:8080/path"})).await;
    assert_eq!(site.post(PROVIDERS, body).await["external_host"], "http://wiki:8080/path");
}

/// PX-058: an application whose every request is answered by the data plane cannot have the host of the sign-in pages; one
/// in another mode leaves them alone.
#[tokio::test]
async fn px_058_no_application_takes_the_host_of_the_core() {
    let site = Site::new().await;
    for taken in ["https://id.example", "https://ID.example:443/below"] {
        let body = site.provider_body("a", json!({"external_host": taken})).await;
        let refused = site.refused(Method::POST, PROVIDERS, body).await;
        assert!(refused["external_host"][0].as_str().unwrap().contains("base_url"), "{refused}");
    }
    let forwarding = json!({"external_host": "https://id.example", "mode": "forward_single"});
    let made = site.post(PROVIDERS, site.provider_body("a", forwarding).await).await;
    let path = format!("{PROVIDERS}{}/", made["pk"]);
    let refused = site.refused(Method::PATCH, &path, json!({"mode": "proxy", "internal_host": "http://a"})).await;
    assert!(refused["external_host"].is_array(), "{refused}");
    let other = site.provider_body("b", json!({"external_host": "https://id.example:8443"})).await;
    site.post(PROVIDERS, other).await;
}

/// CO-021, CO-022, CO-523: bad durations, unknown references, taken and missing names are refused field by field.
#[tokio::test]
async fn co_523_problems_of_a_provider_are_told_by_field() {
    let site = Site::new().await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let more = json!({
        "access_token_validity": "soon",
        "refresh_token_validity": "seconds=0",
        "certificate": nobody,
        "authentication_flow": nobody,
        "property_mappings": [nobody],
        "jwt_federation_sources": [nobody],
        "jwt_federation_providers": [99],
    });
    let refused = site.refused(Method::POST, PROVIDERS, site.provider_body("wiki", more).await).await;
    let missing = format!("Invalid pk \"{nobody}\" - object does not exist.");
    for field in ["certificate", "authentication_flow", "property_mappings", "jwt_federation_sources"] {
        assert_eq!(refused[field], json!([missing]), "{field}");
    }
    assert_eq!(refused["jwt_federation_providers"], json!(["Invalid pk \"99\" - object does not exist."]));
    let words = "soon is not in the correct format of 'hours=3;minutes=1'.";
    assert_eq!(refused["access_token_validity"], json!([words]));
    assert!(refused["refresh_token_validity"].is_array());

    let refused = site.refused(Method::POST, PROVIDERS, json!({"mode": "sideways"})).await;
    assert_eq!(refused["mode"], json!(["\"sideways\" is not a valid choice."]));
    for field in ["name", "authorization_flow", "invalidation_flow", "external_host"] {
        assert_eq!(refused[field], json!(["This field is required."]), "{field}");
    }
    site.provider("wiki").await;
    let again = site.refused(Method::POST, PROVIDERS, site.provider_body("wiki", json!({})).await).await;
    assert_eq!(again, json!({"name": ["Provider with this name already exists."]}));
}

/// CO-322, CO-523: a provider takes every flow of the designation that the field is for, and no other.
#[tokio::test]
async fn co_322_flows_are_chosen_by_designation() {
    let site = Site::new().await;
    let list = site.get("/flows/instances/").await;
    for (field, designation, fitting) in
        [("authorization_flow", "authorization", 2), ("invalidation_flow", "invalidation", 2)]
    {
        let mut taken = 0;
        for flow in list["results"].as_array().unwrap() {
            let slug = flow["slug"].as_str().unwrap();
            let body = site.provider_body(&format!("{field}-{slug}"), json!({field: flow["pk"]})).await;
            if flow["designation"] == designation {
                assert_eq!(site.post(PROVIDERS, body).await[field], flow["pk"]);
                taken += 1;
            } else {
                let other = format!("Choose a flow of the designation {designation}.");
                assert_eq!(site.refused(Method::POST, PROVIDERS, body).await, json!({field: [other]}), "{slug}");
            }
        }
        assert_eq!(taken, fitting);
    }
}

/// CO-527, CO-595: what was sent is kept to the letter; absent keys stay on both kinds of update.
#[tokio::test]
async fn co_527_absent_keys_stay() {
    let site = Site::new().await;
    let sent = json!({"access_token_validity": "Hours = 2 ; minutes=0", "intercept_header_auth": false});
    let body = site.provider_body("wiki", sent.clone()).await;
    let made = site.post(PROVIDERS, body.clone()).await;
    let path = format!("{PROVIDERS}{}/", made["pk"]);
    let mut required = body;
    required.as_object_mut().unwrap().remove("access_token_validity");
    required.as_object_mut().unwrap().remove("intercept_header_auth");
    let (status, put) = site.send(ADMIN, Method::PUT, &path, Some(required)).await;
    assert_eq!((status.as_u16(), &put), (200, &made));
    assert_eq!(put["access_token_validity"], sent["access_token_validity"]);
    let (status, refused) = site.send(ADMIN, Method::PUT, &path, Some(json!({"name": "x"}))).await;
    assert_eq!((status.as_u16(), refused["external_host"].is_array()), (400, true));
    assert_eq!(site.get(&path).await, made);
    site.delete(&path).await;
    assert_eq!(site.send(ADMIN, Method::GET, &path, None).await.0, 404);
    assert_ne!(site.provider("wiki").await["pk"], made["pk"]);
}

/// CO-524, CO-525, CO-526, CO-559: providers are listed by page, order and filter.
#[tokio::test]
async fn co_524_providers_are_listed_by_page_order_and_filter() {
    let site = Site::new().await;
    for name in ["b", "a", "c"] {
        site.provider(name).await;
    }
    site.application("a", &site.get(&format!("{PROVIDERS}?name__iexact=A")).await["results"][0]["pk"]).await;
    let names = |list: Value| -> Vec<String> {
        let results = list["results"].as_array().unwrap();
        results.iter().map(|provider| provider["name"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("", vec!["a", "b", "c"]),
        ("?ordering=-name", vec!["c", "b", "a"]),
        ("?page_size=2&page=2", vec!["c"]),
        ("?application__isnull=true", vec!["b", "c"]),
        ("?application__isnull=False", vec!["a"]),
        ("?external_host__iexact=HTTPS://B.example.com", vec!["b"]),
        ("?mode__iexact=PROXY&search=c", vec!["c"]),
        ("?mode__iexact=forward_single", vec![]),
        ("?authorization_flow__slug__iexact=default-provider-authorization-explicit-consent", vec![]),
        ("?name__iexact=%25", vec![]),
    ] {
        assert_eq!(names(site.get(&format!("{PROVIDERS}{query}")).await), expected, "{query}");
    }
    let page = site.get(&format!("{PROVIDERS}?page_size=2")).await;
    assert_eq!(
        page["pagination"],
        json!({
            "next": 2, "previous": 0, "count": 3, "current": 1, "total_pages": 2, "start_index": 1, "end_index": 2,
        })
    );
    assert_eq!(site.send(ADMIN, Method::GET, &format!("{PROVIDERS}?page=2"), None).await.0, 404);
    assert_eq!(site.send(ADMIN, Method::GET, &format!("{PROVIDERS}?application__isnull=x"), None).await.0, 400);
}

/// PX-027, PX-028, PX-357: the embedded outpost serves attached providers that have an application, by name.
#[tokio::test]
async fn px_027_only_providers_with_an_application_are_served() {
    let site = Site::new().await;
    let mut keys = Vec::new();
    for name in ["wiki", "blog", "lost"] {
        keys.push(site.provider(name).await["pk"].clone());
    }
    site.application("the-wiki", &keys[0]).await;
    site.application("the-blog", &keys[1]).await;
    assert!(outpost::configuration(&site.ctx).await.unwrap().providers.is_empty());

    let embedded = site.get("/outposts/instances/").await["results"][0]["pk"].as_str().unwrap().to_owned();
    let before = site.ctx.revisions.present();
    site.patch(&format!("/outposts/instances/{embedded}/"), json!({"providers": keys})).await;
    assert_ne!(site.ctx.revisions.present(), before);

    let configuration = outpost::configuration(&site.ctx).await.unwrap();
    assert_eq!(configuration.outpost_name, "authentik Embedded Outpost");
    let names: Vec<_> = configuration.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, ["blog", "wiki"]);
    let wiki = &configuration.providers[1];
    assert_eq!(wiki.application_slug, "the-wiki");
    assert_eq!(wiki.access_token_validity, 3600);
    assert_eq!(wiki.client_secret.len(), 128);
    assert!(
        wiki.cookie_secret.len() == 32
            && wiki.cookie_secret.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    );
    assert_eq!(wiki.scopes_to_request, ["openid", "profile", "email", "entitlements", "ak_proxy"]);
    assert_eq!(wiki.endpoints.issuer, "https://id.example/application/o/the-wiki/");
    assert!(!format!("{wiki:?}").contains(&wiki.client_secret));
    assert_eq!(site.get(&format!("{PROVIDERS}{}/", keys[0])).await["outpost_set"], json!([configuration.outpost_name]));

    let present = site.ctx.epochs.present();
    site.delete(&format!("{PROVIDERS}{}/", keys[0])).await;
    assert!(site.ctx.epochs.present() > present);
    assert_eq!(outpost::configuration(&site.ctx).await.unwrap().providers.len(), 1);
}

/// CO-703, CO-522: only administrators see and change providers.
#[tokio::test]
async fn co_703_providers_are_for_administrators() {
    let site = Site::new().await;
    let path = format!("{PROVIDERS}{}/", site.provider("wiki").await["pk"]);
    let (_, key) = site.user("ada").await;
    for (method, path) in [
        (Method::GET, PROVIDERS),
        (Method::POST, PROVIDERS),
        (Method::GET, path.as_str()),
        (Method::PATCH, path.as_str()),
        (Method::DELETE, path.as_str()),
        (Method::GET, "/providers/all/"),
        (Method::GET, "/outposts/instances/"),
        (Method::GET, "/policies/bindings/"),
        (Method::GET, "/policies/all/"),
        (Method::GET, "/propertymappings/provider/scope/"),
        (Method::GET, "/flows/instances/"),
        (Method::POST, "/core/applications/"),
    ] {
        for caller in [key.as_str(), ""] {
            assert_eq!(site.send(caller, method.clone(), path, Some(json!({}))).await.0, 403, "{method} {path}");
        }
    }
    assert_eq!(site.get(&path).await["name"], "wiki");
}
