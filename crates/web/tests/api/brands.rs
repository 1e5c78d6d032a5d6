use authentik_client::models;
use http::Method;
use portcullis_idp::outpost;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PATH: &str = "/core/brands/";

/// CO-502, CO-556, CO-595: a brand is made, read, changed and deleted; every key reads back as it was written.
#[tokio::test]
async fn co_556_brands_live_and_go() {
    let site = Site::new().await;
    let flow = site.get("/flows/instances/default-recovery-flow/").await["pk"].clone();
    let provider = site.provider("wiki").await["pk"].clone();
    let application = site.application("wiki", &provider).await["pk"].clone();
    let certificate = json!({"common_name": "wiki.example", "validity_days": 10, "alg": "ecdsa"});
    let (_, certificate) =
        site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(certificate)).await;
    let body = json!({
        "domain": "Wiki.example", "default": false, "branding_title": "Wiki", "branding_logo": "https://cdn.example/l.png",
        "branding_favicon": "/f.ico", "branding_custom_css": "a{}", "branding_default_flow_background": "/b.jpg",
        "flow_authentication": null, "flow_invalidation": null, "flow_recovery": flow, "flow_unenrollment": null,
        "flow_user_settings": null, "flow_device_code": null, "default_application": application,
        "web_certificate": certificate["pk"], "client_certificates": [certificate["pk"]],
        "attributes": {"settings": {"locale": "de", "theme": {"base": "dark"}}, "z": [1, null]},
    });
    let made = site.post(PATH, body.clone()).await;
    let _: models::Brand = serde_json::from_value(made.clone()).unwrap();
    for (key, value) in body.as_object().unwrap() {
        assert_eq!(&made[key], value, "{key}");
    }
    let path = format!("{PATH}{}/", made["brand_uuid"].as_str().unwrap());
    assert_eq!(site.get(&path).await, made);
    for (query, count) in [
        ("domain=wiki.EXAMPLE", 1),
        ("default=false", 1),
        ("default=true", 1),
        ("branding_title=Wiki", 1),
        ("branding_title=wiki%20pedia", 0),
        ("search=wiki", 1),
        (&format!("flow_recovery={}", made["flow_recovery"].as_str().unwrap()), 1),
        (&format!("flow_device_code={}", made["flow_recovery"].as_str().unwrap()), 0),
        (&format!("web_certificate={}", made["web_certificate"].as_str().unwrap()), 1),
        (&format!("brand_uuid={}", made["brand_uuid"].as_str().unwrap()), 1),
        ("", 2),
    ] {
        let list = site.get(&format!("{PATH}?{query}")).await;
        assert_eq!(list["pagination"]["count"], count, "{query}");
        let _: models::PaginatedBrandList = serde_json::from_value(list).unwrap();
    }
    let (status, put) = site.send(ADMIN, Method::PUT, &path, Some(json!({"domain": "wiki.example"}))).await;
    assert_eq!((status.as_u16(), &put["branding_title"]), (200, &json!("Wiki")), "absent keys stay");
    let secret = site.patch(&path, json!({"attributes": {"api_secret": "hidden-from-events"}})).await;
    assert_eq!(secret["attributes"]["api_secret"], "hidden-from-events");
    assert!(!json!(site.events("model_updated").await).to_string().contains("hidden-from-events"));
    assert!(!site.database_holds("hidden-from-events"));

    site.delete("/core/applications/wiki/").await;
    site.delete(&format!("/crypto/certificatekeypairs/{}/", certificate["pk"].as_str().unwrap())).await;
    let left = site.get(&path).await;
    assert_eq!(
        (&left["default_application"], &left["web_certificate"], &left["client_certificates"]),
        (&Value::Null, &Value::Null, &json!([]))
    );
    site.delete(&path).await;
    let (status, gone) = site.send(ADMIN, Method::GET, &path, None).await;
    assert_eq!((status.as_u16(), gone), (404, json!({"detail": "No Brand matches the given query."})));
}

/// CO-502, PX-300, PX-029: what brands show for the control plane is told to its listeners at once; the default brand's goes
/// before what is found for the host of the public URL, if it is for that.
#[tokio::test]
async fn co_502_listeners_are_told_what_brands_show() {
    let site = Site::new().await;
    let make = async |name: &str, host: &str, days: i32| {
        let wanted = json!({"common_name": name, "subject_alt_name": host, "validity_days": days, "alg": "ecdsa"});
        let (status, made) =
            site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(wanted)).await;
        assert_eq!(status, 200, "{made}");
        made["pk"].clone()
    };
    let told = async || {
        let configuration = outpost::configuration(&site.ctx).await.unwrap();
        let brands = configuration.brands.iter();
        let brands: Vec<_> = brands.map(|b| json!([b.domain, b.is_default, b.certificate])).collect();
        (json!(brands), json!(configuration.own_host.map(|own| own.certificate)), configuration.certificates.len())
    };
    let found = make("found", "id.example", 90).await;
    let chosen = make("chosen", "id.example", 30).await;
    let other = make("other", "x.example", 9).await;
    assert_eq!(told().await, (json!([]), found.clone(), 1));
    let default = site.get(&format!("{PATH}?default=true")).await["results"][0]["brand_uuid"].clone();
    let default = format!("{PATH}{}/", default.as_str().unwrap());
    let revision = site.ctx.revisions.present();
    site.patch(&default, json!({"web_certificate": chosen})).await;
    assert!(site.ctx.revisions.present() > revision);
    let of_default = json!(["authentik-default", true, chosen]);
    assert_eq!(told().await, (json!([of_default]), chosen.clone(), 1));
    let wiki = json!({"domain": ".Wiki.Example", "web_certificate": other});
    let wiki = format!("{PATH}{}/", site.post(PATH, wiki).await["brand_uuid"].as_str().unwrap());
    let of_wiki = json!(["wiki.example", false, other]);
    assert_eq!(told().await, (json!([of_wiki, of_default]), chosen.clone(), 2));
    let revision = site.ctx.revisions.present();
    site.patch(&wiki, json!({"branding_title": "Wiki"})).await;
    assert_eq!(site.ctx.revisions.present(), revision);
    site.patch(&wiki, json!({"domain": "w.example"})).await;
    assert!(site.ctx.revisions.present() > revision);
    site.patch(&default, json!({"web_certificate": other})).await;
    assert_eq!(told().await.1, found, "one that is for the host");
    let revision = site.ctx.revisions.present();
    site.delete(&wiki).await;
    assert!(site.ctx.revisions.present() > revision);
    site.patch(&default, json!({"web_certificate": null})).await;
    assert_eq!(told().await, (json!([]), found, 1));
}

/// CO-502, CO-466, PX-303: a brand shows the certificate of those alone who may use its private key; while it does, the key
/// stays.
#[tokio::test]
async fn co_502_a_brand_s_certificate_keeps_its_key() {
    let site = Site::new().await;
    let wanted = json!({"common_name": "wiki.example", "validity_days": 9, "alg": "ecdsa"});
    let (_, pair) = site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(wanted)).await;
    let pk = pair["pk"].as_str().unwrap();
    let brand = site.post(PATH, json!({"domain": "wiki.example"})).await["brand_uuid"].clone();
    let brand = format!("{PATH}{}/", brand.as_str().unwrap());
    let mut rights = vec![("authentik_brands.view_brand", None), ("authentik_brands.change_brand", None)];
    let (_, key) = site.user_with("ada", &rights).await;
    let show = json!({"web_certificate": pk});
    let (status, said) = site.send(&key, Method::PATCH, &brand, Some(show.clone())).await;
    let refused = json!({"web_certificate": ["User does not have access to certificate."]});
    assert_eq!((status.as_u16(), said), (400, refused));
    rights.push(("authentik_crypto.view_certificatekeypair_key", Some(pk)));
    let (_, key_of_reader) = site.user_with("bob", &rights).await;
    let (status, said) = site.send(&key_of_reader, Method::PATCH, &brand, Some(show.clone())).await;
    assert_eq!(status, 200, "{said}");
    let (status, said) = site.send(&key, Method::PATCH, &brand, Some(show)).await;
    assert_eq!(status, 200, "as it was: {said}");

    let path = format!("/crypto/certificatekeypairs/{pk}/");
    let refused = site.refused(Method::PATCH, &path, json!({"key_data": ""})).await;
    assert_eq!(refused, json!({"key_data": ["The brand \"wiki.example\" shows this certificate."]}));
    assert_eq!(site.get(&path).await["private_key_available"], true);
    site.patch(&path, json!({"name": "renamed"})).await;
    site.patch(&brand, json!({"web_certificate": null})).await;
    assert_eq!(site.patch(&path, json!({"key_data": ""})).await["private_key_available"], false);
    // One that never had a key may be named, as providers may: it is not shown.
    site.patch(&brand, json!({"web_certificate": pk})).await;
    site.patch(&path, json!({"name": "renamed again", "key_data": ""})).await;
}

/// CO-503, CO-504: one default, one brand for a domain, and values that are what they should be.
#[tokio::test]
async fn co_503_brands_are_checked() {
    let site = Site::new().await;
    let second = site.refused(Method::POST, PATH, json!({"domain": "wiki.example", "default": true})).await;
    assert_eq!(second, json!({"default": ["Only a single brand can be set as default."]}));
    site.post(PATH, json!({"domain": "wiki.example"})).await;
    let taken = site.refused(Method::POST, PATH, json!({"domain": "WIKI.example"})).await;
    assert_eq!(taken, json!({"domain": ["Brand with this domain already exists."]}));
    assert_eq!(site.refused(Method::POST, PATH, json!({})).await, json!({"domain": ["This field is required."]}));
    let unknown = json!("00000000-0000-4000-8000-000000000000");
    for (field, bad) in [
        ("domain", json!("https://x.example/")),
        ("branding_logo", json!("javascript:alert(1)")),
        ("branding_favicon", json!("//evil.example/x")),
        ("flow_recovery", unknown.clone()),
        ("flow_recovery", json!("no uuid")),
        ("default_application", unknown.clone()),
        ("web_certificate", unknown.clone()),
        ("client_certificates", json!([unknown])),
        ("attributes", json!([])),
    ] {
        let mut body = json!({"domain": "other.example"});
        body[field] = bad.clone();
        assert!(site.refused(Method::POST, PATH, body).await[field].is_array(), "{field} {bad}");
    }
    assert_eq!(site.get(PATH).await["pagination"]["count"], 2);
}

/// CO-502, CO-003, CO-505: the longest domain around the host wins, whatever case and port; else the default; without a
/// default, what the installation began with.
#[tokio::test]
async fn co_502_the_brand_of_a_host() {
    let site = Site::new().await;
    let theme = json!({"settings": {"theme": {"base": "dark"}, "locale": "fr"}});
    for (domain, title) in [("example.com", "Outer"), ("wiki.example.com", "Inner")] {
        site.post(PATH, json!({"domain": domain, "branding_title": title, "attributes": theme})).await;
    }
    let current = async |host: &str| {
        let (status, brand) = site.with(&[("host", host)], Method::GET, "/core/brands/current/").await;
        assert_eq!(status, 200);
        let _: models::CurrentBrand = serde_json::from_value(brand.clone()).unwrap();
        brand
    };
    for (host, title) in [
        ("example.com", "Outer"),
        ("other.example.com:8443", "Outer"),
        ("WIKI.Example.com", "Inner"),
        ("a.wiki.example.com", "Inner"),
        ("evilexample.com", "Portcullis"),
        ("example.com.evil", "Portcullis"),
        ("192.0.2.1", "Portcullis"),
    ] {
        assert_eq!(current(host).await["branding_title"], title, "{host}");
    }
    let inner = current("wiki.example.com").await;
    assert_eq!((&inner["ui_theme"], &inner["default_locale"]), (&json!("dark"), &json!("fr")));
    assert!(inner.get("attributes").is_none() && inner.get("flow_authentication").is_none());
    assert!(inner["branding_logo"].as_str().unwrap().starts_with("/static/"));

    let default = site.get(&format!("{PATH}?default=true")).await["results"][0]["brand_uuid"].clone();
    site.patch("/admin/settings/", json!({"footer_links": [{"name": "Text"}]})).await;
    let before = current("192.0.2.1").await;
    assert_eq!(before["ui_footer_links"], json!([{"name": "Text", "href": null}]));
    assert_eq!(before["flow_user_settings"], "default-user-settings-flow");
    site.delete(&format!("{PATH}{}/", default.as_str().unwrap())).await;
    assert_eq!(current("192.0.2.1").await, before);
}

/// CO-556: brands are for administrators.
#[tokio::test]
async fn co_556_brands_are_for_administrators() {
    let site = Site::new().await;
    let (_, key) = site.user("ada").await;
    let default = site.get(PATH).await["results"][0]["brand_uuid"].as_str().unwrap().to_owned();
    let one = format!("{PATH}{default}/");
    for (method, path) in [
        (Method::GET, PATH),
        (Method::POST, PATH),
        (Method::GET, one.as_str()),
        (Method::PUT, one.as_str()),
        (Method::PATCH, one.as_str()),
        (Method::DELETE, one.as_str()),
    ] {
        let body = (method != Method::GET && method != Method::DELETE).then(|| json!({"domain": "x.example"}));
        assert_eq!(site.send(&key, method.clone(), path, body).await.0, 403, "{method} {path}");
    }
    assert_eq!(site.get(PATH).await["pagination"]["count"], 1);
}

/// CO-566: there is the built-in source, which cannot be deleted.
#[tokio::test]
async fn co_566_the_built_in_source_stays() {
    let site = Site::new().await;
    let list = site.get("/sources/all/").await;
    let _: models::PaginatedSourceList = serde_json::from_value(list.clone()).unwrap();
    let source = &list["results"][0];
    assert_eq!((&list["pagination"]["count"], &source["slug"]), (&json!(1), &json!("authentik-built-in")));
    let one = "/sources/all/authentik-built-in/";
    assert_eq!(&site.get(one).await, source);
    let pk = source["pk"].as_str().unwrap();
    for (query, count) in [
        (format!("pbm_uuid={pk}"), 1),
        ("slug=authentik-built-in&managed=goauthentik.io/sources/inbuilt".to_owned(), 1),
        ("name=other".to_owned(), 0),
        ("search=BUILT".to_owned(), 1),
        ("search=built,other".to_owned(), 0),
    ] {
        assert_eq!(site.get(&format!("/sources/all/?{query}")).await["pagination"]["count"], count, "{query}");
    }
    assert!(site.refused(Method::DELETE, one, json!({})).await["non_field_errors"].is_array());
    assert_eq!(site.send(ADMIN, Method::DELETE, "/sources/all/other/", None).await.0, 404);
    let types: Vec<models::TypeCreate> = serde_json::from_value(site.get("/sources/all/types/").await).unwrap();
    assert!(types.iter().all(|kind| kind.model_name == "oauthsource"), "a built-in source cannot be made");
    let (_, key) = site.user("ada").await;
    for path in ["/sources/all/", one, "/sources/all/types/"] {
        assert_eq!(site.send(&key, Method::GET, path, None).await.0, 403, "{path}");
    }
}
