//! Whom the provider trusts, and by which keys.

use super::*;

/// OA-325, OA-827: a source that is disabled, deleted or no longer trusted vouches for nobody, and what it vouched for
/// ends at once.
#[tokio::test]
async fn oa_827_a_disabled_source_is_not_believed() {
    for end in ["disable", "delete", "distrust"] {
        let key = Key::new("k1");
        let shop = Shop::of_cluster(&[&key]).await;
        let reply = shop.assert(&key.sign(&shop.pod())).await;
        let bearer = format!("Bearer {}", text(&reply, "access_token"));
        let asks = async || get(&shop.site, "/application/o/userinfo/", &[("authorization", &bearer)]).await.status;
        assert_eq!(asks().await, 200);
        let ended = match end {
            "disable" => shop.site.admin(Method::PATCH, "/sources/oauth/cluster/", json!({"enabled": false})).await,
            "delete" => shop.site.admin(Method::DELETE, "/sources/all/cluster/", None).await,
            _ => {
                let path = format!("/providers/oauth2/{}/", shop.provider["pk"]);
                shop.site.admin(Method::PATCH, &path, json!({"jwt_federation_sources": []})).await
            }
        };
        assert!(ended.status.is_success(), "{}", ended.text);
        assert_eq!(asks().await, 401, "{end}");
        shop.refused(&key.sign(&shop.pod()), "assertion_issuer_unknown").await;
    }
}

/// OA-325, OA-822: without a key id there must be exactly one key that fits.
#[tokio::test]
async fn oa_822_without_a_key_id_one_key_must_fit() {
    let (first, second) = (Key::new("k1"), Key::new("k2"));
    let shop = Shop::of_cluster(&[&first]).await;
    let nameless = first.sign_without_kid(&shop.pod());
    assert_eq!(shop.assert(&nameless).await.status, 200);
    let keys = json!({"keys": [first.jwk(), second.jwk()]});
    shop.site.admin(Method::PATCH, "/sources/oauth/cluster/", json!({"oidc_jwks": keys})).await;
    shop.refused(&nameless, "assertion_signature").await;
    assert_eq!(shop.assert(&first.sign(&shop.pod())).await.status, 200);
}

/// OA-322, OA-826: of two sources that share a key id, the one whose key it is vouches.
#[tokio::test]
async fn oa_826_the_verifying_source_vouches() {
    let (first, second) = (Key::new("k"), Key::new("k"));
    let shop = Shop::of_cluster(&[&first]).await;
    let more = json!({"oidc_jwks": {"keys": [second.jwk()]}, "expected_issuers": [KUBERNETES]});
    let other = source(&shop.site, "another", more).await.json;
    let path = format!("/providers/oauth2/{}/", shop.provider["pk"]);
    let mut sources = shop.provider["jwt_federation_sources"].as_array().expect("a list").clone();
    sources.push(other["pk"].clone());
    shop.site.admin(Method::PATCH, &path, json!({"jwt_federation_sources": sources})).await;
    for (key, name) in [(&first, "cluster"), (&second, "another")] {
        assert_eq!(shop.assert(&key.sign(&shop.pod())).await.status, 200);
        assert_eq!(shop.site.events("login").await.1["auth_method_args"]["source"]["name"], name);
    }
    assert_eq!(shop.users().await.len(), 2, "each source vouches for its own");
}

/// OA-328, OA-329, OA-834: issuer and keys come from the source's own server; a new key is fetched when somebody brings
/// it, once a minute; the last good keys serve for a day when the server is gone.
#[tokio::test]
async fn oa_329_keys_are_fetched_and_rotated() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let issuer = Issuer::start(&[&old]).await;
    let shop = Shop::new(json!({"oidc_well_known_url": issuer.well_known()})).await;
    let shown = shop.site.admin(Method::GET, "/sources/oauth/cluster/", None).await.json;
    assert_eq!(shown["oidc_jwks"]["keys"][0]["kid"], "old");
    let says = |key: &Key| key.sign(&shop.pod_with(json!({"iss": issuer.url()})));
    assert_eq!(shop.assert(&says(&old)).await.status, 200);
    assert_eq!(issuer.asked(), 1, "when it was saved");
    issuer.rotate(&[&new]);
    assert_eq!(shop.assert(&says(&new)).await.status, 200);
    assert_eq!(issuer.asked(), 2);
    shop.refused(&says(&old), "assertion_signature").await;
    shop.refused(&says(&Key::new("x")), "assertion_signature").await;
    assert_eq!(issuer.asked(), 2, "not more than once a minute");
    shop.site.clock.advance_seconds(61);
    shop.refused(&says(&Key::new("x")), "assertion_signature").await;
    assert_eq!(issuer.asked(), 3);
    issuer.fail();
    shop.site.clock.advance_seconds(23 * HOUR);
    assert_eq!(shop.assert(&says(&new)).await.status, 200, "the last good keys");
    shop.site.clock.advance_seconds(2 * HOUR);
    shop.refused(&says(&new), "assertion_signature").await;
    let (_, event) = shop.site.events("configuration_error").await;
    assert_eq!(event["message"], "Keys of the source cannot be fetched");
}

/// OA-328, OA-329: a server that calls itself something else is believed under that name as soon as what is known of it is
/// stale, and no longer under the other one.
#[tokio::test]
async fn oa_328_a_server_changes_its_name() {
    let key = Key::new("k");
    let issuer = Issuer::start(&[&key]).await;
    let shop = Shop::new(json!({"oidc_well_known_url": issuer.well_known()})).await;
    let says = |name: &str| key.sign(&shop.pod_with(json!({"iss": name})));
    issuer.rename("https://login.example.org");
    shop.refused(&says("https://login.example.org"), "assertion_issuer_unknown").await;
    assert_eq!(issuer.asked(), 1, "not for everybody who comes along");
    shop.site.clock.advance_seconds(3 * HOUR + 1);
    assert_eq!(shop.assert(&says("https://login.example.org")).await.status, 200);
    shop.refused(&says(issuer.url()), "assertion_issuer_unknown").await;
    assert_eq!(issuer.asked(), 2);
}

/// OA-823: a source without a known issuer vouches for nobody, and that is said.
#[tokio::test]
async fn oa_823_a_source_needs_an_issuer() {
    let key = Key::new("k1");
    let shop = Shop::new(json!({"oidc_jwks": {"keys": [key.jwk()]}})).await;
    shop.refused(&key.sign(&shop.pod()), "assertion_issuer_unknown").await;
    shop.refused(&key.sign(&shop.pod()), "assertion_issuer_unknown").await;
    let (count, event) = shop.site.events("configuration_error").await;
    assert_eq!(count, 1);
    assert!(event["message"].as_str().expect("text").contains("no expected issuer"));
}

/// OA-683: what is too long, of a foreign issuer, over or signed by what signs nothing is refused before anybody is asked
/// for keys, let alone a signature verified.
#[tokio::test]
async fn oa_683_cheap_checks_come_first() {
    let key = Key::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let shop = Shop::new(json!({"oidc_well_known_url": issuer.well_known(), "expected_issuers": [KUBERNETES]})).await;
    let asked = issuer.asked();
    shop.site.clock.advance_seconds(4 * HOUR);
    let long = json!({"padding": "x".repeat(17_000)});
    let signed_by_nobody = issuer::with_header(&json!({"alg": "none", "kid": "k1"}), &shop.pod(), "AAAA");
    let signed_by_secret = issuer::with_header(&json!({"alg": "HS256", "kid": "k1"}), &shop.pod(), "AAAA");
    for jwt in [
        key.sign(&shop.pod_with(long)),
        key.sign(&shop.pod_with(json!({"iss": "https://evil.example"}))),
        key.sign(&shop.pod_with(json!({"exp": shop.now() - 1}))),
        key.sign(&shop.pod_with(json!({"exp": shop.now() + 400 * 24 * HOUR}))),
        signed_by_nobody,
        signed_by_secret,
        "a.b.c".to_owned(),
    ] {
        assert_eq!(text(&shop.assert(&jwt).await, "error"), "invalid_grant", "{}", &jwt[..jwt.len().min(60)]);
        assert_eq!(issuer.asked(), asked, "{}", &jwt[..jwt.len().min(60)]);
    }
    assert_eq!(shop.assert(&key.sign(&shop.pod())).await.status, 200);
    assert!(issuer.asked() > asked, "keys are looked at now");
}

/// OA-044, OA-005, OA-327: clocks may differ by what the source allows, which is half a minute where it says nothing.
#[tokio::test]
async fn oa_044_clocks_differ_as_the_source_allows() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let ahead = async |seconds: i64| {
        let at = shop.now() + seconds;
        key.sign(&shop.pod_with(json!({"iat": at, "nbf": at})))
    };
    assert_eq!(shop.assert(&ahead(30).await).await.status, 200);
    shop.refused(&ahead(31).await, "assertion_of_the_future").await;
    let set = shop.site.admin(Method::PATCH, "/sources/oauth/cluster/", json!({"assertion_leeway": "seconds=0"})).await;
    assert_eq!(set.status, 200, "{}", set.text);
    shop.refused(&ahead(1).await, "assertion_of_the_future").await;
    assert_eq!(shop.assert(&ahead(0).await).await.status, 200);
}

/// OA-044, OA-349, OA-824, OA-825: what a source need not check is not checked, a warning a day says so, and what names no end ends when
/// the longest one would, if it says since when it lives: otherwise a use could be forgotten before its end.
#[tokio::test]
async fn oa_824_a_source_can_check_less() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let elsewhere = key.sign(&shop.pod_with(json!({"aud": "somebody else"})));
    let endless = key.sign(&shop.pod_with(json!({"exp": null})));
    shop.refused(&elsewhere, "assertion_audience").await;
    shop.refused(&endless, "assertion_without_end").await;
    let set = async |more: Value| {
        let set = shop.site.admin(Method::PATCH, "/sources/oauth/cluster/", more).await;
        assert_eq!(set.status, 200, "{}", set.text);
    };
    set(json!({"audience_check": false})).await;
    assert_eq!(shop.site.events("configuration_warning").await.0, 0);
    for _ in 0..2 {
        assert_eq!(shop.assert(&elsewhere).await.status, 200);
        let (count, event) = shop.site.events("configuration_warning").await;
        assert_eq!((count, &event["source"]["name"]), (1, &json!("cluster")));
    }
    shop.refused(&endless, "assertion_without_end").await;
    set(json!({"audience_check": true, "require_exp": false, "max_assertion_lifetime": "minutes=10"})).await;
    let issued = shop.assert(&endless).await;
    assert_eq!((issued.status.as_u16(), &issued.json["expires_in"]), (200, &json!(600)));
    assert_eq!(shop.site.events("configuration_warning").await.0, 2);
    shop.refused(&key.sign(&shop.pod_with(json!({"exp": "never"}))), "assertion_without_end").await;
    shop.refused(&key.sign(&shop.pod_with(json!({"exp": null, "iat": null}))), "assertion_without_end").await;
    shop.refused(&key.sign(&shop.pod_with(json!({"exp": shop.now()}))), "assertion_expired").await;
    shop.site.clock.advance_seconds(600);
    shop.refused(&endless, "assertion_expired").await;
    let shorter = shop.pod_with(json!({"aud": "somebody else", "exp": shop.now() + 300, "iat": shop.now()}));
    shop.refused(&key.sign(&shorter), "assertion_audience").await;
}
