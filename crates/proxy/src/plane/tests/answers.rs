//! What the data plane answers by itself (sections 8 and 18).

use http::StatusCode;

use super::site::{Site, basic, body, get, header};

/// PX-063, PX-310: pages are whole in themselves, are not kept, and allow no script.
#[tokio::test]
async fn px_063_pages_are_self_contained() {
    let site = Site::new().await;
    let response = site.send(get("/").header("authorization", basic("ada", "wrong"))).await;
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(header(&response, "referrer-policy"), "no-referrer");
    let policy = header(&response, "content-security-policy").to_owned();
    assert!(policy.contains(portcullis_core::page::style_source()) && !policy.contains("script"));
    let page = body(response).await;
    assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
    assert!(page.contains("0123456789abcdef0123456789abcdef") && page.contains("color-scheme"));
    for foreign in ["<script", "<link", "<img", "url(", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

/// PX-063: every answer of ours forbids storing it.
#[tokio::test]
async fn px_063_answers_are_not_stored() {
    let site = Site::new().await;
    for path in [
        "/",
        "/outpost.goauthentik.io/start",
        "/outpost.goauthentik.io/callback",
        "/outpost.goauthentik.io/sign_out",
        "/outpost.goauthentik.io/x",
        "/outpost.goauthentik.io/ping",
    ] {
        assert_eq!(header(&site.send(get(path)).await, "cache-control"), "no-store", "{path}");
    }
}

/// PX-311: names of the provider are escaped on pages.
#[tokio::test]
async fn px_311_names_are_escaped() {
    let site = Site::with(|provider| provider.application_name = "<b>\"Wiki\"".to_owned(), |_| {}).await;
    let page = body(site.send(get("/outpost.goauthentik.io/x")).await).await;
    assert!(page.contains("&lt;b&gt;&quot;Wiki&quot;") && !page.contains("<b>"));
}

/// PX-057: the answer for a host that no application has.
#[tokio::test]
async fn px_057_no_application() {
    let response = crate::answer::no_application(&super::hosts::origin("x.example"));
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(header(&response, "content-type"), "application/json");
    let answer: serde_json::Value = serde_json::from_str(&body(response).await).unwrap();
    let keys: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["Message", "Host", "Detail"]);
    assert_eq!(answer["Message"], "no app for hostname");
}
