use authentik_client::models;
use http::{Method, StatusCode};
use portcullis_idp::outpost;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const PAIRS: &str = "/crypto/certificatekeypairs/";

/// Certificate and key, made here and deleted again: as an administrator brings them from elsewhere.
async fn pem(site: &Site, name: &str) -> (String, String) {
    let pk = text(&generate(site, name).await["pk"]);
    let view = async |what: &str| text(&site.get(&format!("{PAIRS}{pk}/view_{what}/")).await["data"]);
    let both = (view("certificate").await, view("private_key").await);
    site.delete(&format!("{PAIRS}{pk}/")).await;
    both
}

async fn generate(site: &Site, name: &str) -> Value {
    let wanted = json!({"common_name": name, "validity_days": 30, "alg": "ecdsa"});
    let (status, made) = site.send(ADMIN, Method::POST, &format!("{PAIRS}generate/"), Some(wanted)).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    made
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// CO-568, CO-595, CO-596: a pair is created, read, listed, changed and deleted; its key is in none of the answers.
#[tokio::test]
async fn co_568_pairs_live_and_go() {
    let site = Site::new().await;
    let (certificate, key) = pem(&site, "a.example").await;
    let body = json!({
        "name": "mine",
        "certificate_data": format!("\n{certificate}\n"),
        "key_data": format!("{key}\n"),
    });
    let made = site.post(PAIRS, body.clone()).await;
    serde_json::from_value::<models::CertificateKeyPair>(made.clone()).unwrap();
    let path = format!("{PAIRS}{}/", text(&made["pk"]));
    assert_eq!((&made["name"], &made["cert_subject"]), (&json!("mine"), &json!("CN=a.example")));
    assert_eq!((&made["key_type"], &made["private_key_available"]), (&json!("ec"), &json!(true)));
    assert_eq!(made["cert_expiry"], json!(site.ctx.now().plus_seconds(30 * 24 * 3600).to_string()));
    assert_eq!(made["managed"], Value::Null);
    assert_eq!(text(&made["private_key_download_url"]), format!("/api/v3{path}view_private_key/?download"));
    assert_eq!(text(&made["certificate_download_url"]), format!("/api/v3{path}view_certificate/?download"));
    assert_eq!(text(&made["fingerprint_sha256"]).split(':').count(), 32);
    assert_eq!(text(&made["fingerprint_sha1"]).split(':').count(), 20);
    assert_eq!(site.get(&path).await, made);
    let list = site.get(PAIRS).await;
    serde_json::from_value::<models::PaginatedCertificateKeyPairList>(list.clone()).unwrap();
    assert_eq!(list["results"], json!([made]));
    assert!(!list.to_string().contains("PRIVATE KEY"), "{list}");

    let (status, same) = site.send(ADMIN, Method::PUT, &path, Some(body)).await;
    assert_eq!((status, &same), (StatusCode::OK, &made));
    let renamed = site.patch(&path, json!({"name": "ours"})).await;
    assert_eq!((&renamed["name"], &renamed["fingerprint_sha1"]), (&json!("ours"), &made["fingerprint_sha1"]));
    assert_eq!(text(&site.get(&format!("{path}view_certificate/")).await["data"]), certificate);
    assert_eq!(text(&site.get(&format!("{path}view_private_key/")).await["data"]), key);

    let (other, other_key) = pem(&site, "b.example").await;
    let renewed = site.patch(&path, json!({"certificate_data": other, "key_data": other_key})).await;
    assert_eq!(renewed["cert_subject"], "CN=b.example");
    assert_ne!(renewed["fingerprint_sha256"], made["fingerprint_sha256"]);
    let without = site.patch(&path, json!({"key_data": ""})).await;
    assert_eq!(without["private_key_available"], false);
    assert_eq!(site.get(&format!("{path}view_private_key/")).await["data"], "");

    site.delete(&path).await;
    let gone = site.send(ADMIN, Method::GET, &path, None).await;
    assert_eq!(gone, (StatusCode::NOT_FOUND, json!({"detail": "No CertificateKeyPair matches the given query."})));
}

/// CO-523, CO-568: what is wrong with a pair is told by field.
#[tokio::test]
async fn co_568_pairs_are_validated() {
    let site = Site::new().await;
    let ((certificate, key), (foreign, foreign_key)) = (pem(&site, "a").await, pem(&site, "b").await);
    let body = |more: Value| {
        let mut body = json!({"name": "new", "certificate_data": certificate, "key_data": key});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let stored = site.post(PAIRS, body(json!({"name": "taken"}))).await;
    let bad_key = "Unable to load private key (possibly encrypted?).";
    let not_its_key = "The private key does not belong to the certificate.";
    for (more, problems) in [
        (json!({"name": "taken"}), json!({"name": ["Certificate-Key Pair with this name already exists."]})),
        (json!({"name": " "}), json!({"name": ["This field may not be blank."]})),
        (json!({"name": "é".repeat(2048)}), json!({"name": ["Ensure this field has no more than 2048 bytes."]})),
        (json!({"certificate_data": "x"}), json!({"certificate_data": ["Unable to load certificate."]})),
        (json!({"key_data": "x"}), json!({"key_data": [bad_key]})),
        (json!({"key_data": foreign_key}), json!({"key_data": [not_its_key]})),
        (
            json!({"certificate_data": "x", "key_data": "x"}),
            json!({"certificate_data": ["Unable to load certificate."], "key_data": [bad_key]}),
        ),
        (
            json!({"certificate_data": format!("{certificate}\n{key}")}),
            json!({"certificate_data": ["The private key belongs into key_data: this is shown to everybody."]}),
        ),
    ] {
        assert_eq!(site.refused(Method::POST, PAIRS, body(more.clone())).await, problems, "{more}");
    }
    let required = json!({"name": ["This field is required."], "certificate_data": ["This field is required."]});
    assert_eq!(site.refused(Method::POST, PAIRS, json!({})).await, required);
    let path = format!("{PAIRS}{}/", text(&stored["pk"]));
    let refused = site.refused(Method::PATCH, &path, json!({"certificate_data": foreign})).await;
    assert_eq!(refused, json!({"certificate_data": [not_its_key]}));
    let refused = site.refused(Method::PATCH, &path, json!({"name": "x".repeat(2049)})).await;
    assert_eq!(refused, json!({"name": ["Ensure this field has no more than 2048 characters."]}));
    assert_eq!(site.get(&path).await, stored);

    let generate = format!("{PAIRS}generate/");
    for (wanted, field) in [
        (json!({"validity_days": 1}), "common_name"),
        (json!({"common_name": "taken", "validity_days": 1, "alg": "ecdsa"}), "common_name"),
        (json!({"common_name": "x"}), "validity_days"),
        (json!({"common_name": "x", "validity_days": 0}), "validity_days"),
        (json!({"common_name": "x", "validity_days": 1, "alg": "ed448"}), "alg"),
        (json!({"common_name": "x", "validity_days": 1, "subject_alt_name": "a.example, b c"}), "subject_alt_name"),
    ] {
        let refused = site.refused(Method::POST, &generate, wanted.clone()).await;
        assert!(refused[field].is_array(), "{wanted}: {refused}");
    }
    let wanted = json!({"common_name": "x", "validity_days": 1, "alg": "ed448"});
    let refused = site.refused(Method::POST, &generate, wanted).await;
    assert_eq!(refused["alg"], json!(["Keys of the kind ed448 cannot be made here. Use rsa, ecdsa or ed25519."]));
}

/// CO-568: lists are filtered by name, by having a key and by the key's type.
#[tokio::test]
async fn co_568_pairs_are_filtered() {
    let site = Site::new().await;
    let (certificate, _) = pem(&site, "a").await;
    site.post(PAIRS, json!({"name": "without", "certificate_data": certificate})).await;
    generate(&site, "with").await;
    let wanted = json!({"common_name": "edwards", "validity_days": 1, "alg": "ed25519"});
    assert_eq!(site.send(ADMIN, Method::POST, &format!("{PAIRS}generate/"), Some(wanted)).await.0, StatusCode::OK);
    for (query, names) in [
        ("", vec!["edwards", "with", "without"]),
        ("?ordering=-name", vec!["without", "with", "edwards"]),
        ("?ordering=private_key_available,-name", vec!["without", "with", "edwards"]),
        ("?ordering=-private_key_available,-name", vec!["with", "edwards", "without"]),
        ("?name=with", vec!["with"]),
        ("?search=WITH", vec!["with", "without"]),
        ("?has_key=true", vec!["edwards", "with"]),
        ("?has_key=false", vec!["without"]),
        ("?key_type=ed25519&key_type=rsa", vec!["edwards"]),
        ("?managed=x", vec![]),
    ] {
        let list = site.get(&format!("{PAIRS}{query}")).await;
        let found: Vec<_> = list["results"].as_array().unwrap().iter().map(|pair| text(&pair["name"])).collect();
        assert_eq!(found, names, "{query}");
    }
    let (status, refused) = site.send(ADMIN, Method::GET, &format!("{PAIRS}?key_type=x"), None).await;
    assert!(status == 400 && refused["key_type"].is_array(), "{refused}");
}

/// CO-466: what was shown is noted, and neither the event nor the database holds the key; it comes as a file, too.
#[tokio::test]
async fn co_466_shown_keys_are_noted() {
    let site = Site::new().await;
    let made = generate(&site, "a/b \"c\"").await;
    let path = format!("{PAIRS}{}/", text(&made["pk"]));
    assert!(site.events("secret_view").await.is_empty());
    let key = text(&site.get(&format!("{path}view_private_key/")).await["data"]);
    site.get(&format!("{path}view_certificate/?download=false")).await;
    let events = site.events("secret_view").await;
    let types: Vec<_> = events.iter().map(|event| (&event["type"], &event["secret"]["name"])).collect();
    assert_eq!(types, [(&json!("certificate"), &made["name"]), (&json!("private_key"), &made["name"])]);
    assert_eq!(events[0]["secret"]["model_name"], "certificatekeypair");

    let (headers, file) = site.file(&format!("{path}view_private_key/?download")).await;
    assert_eq!(file, key);
    assert_eq!(headers["content-type"], "application/x-pem-file");
    assert_eq!(headers["content-disposition"], "attachment; filename=\"a_b _c__private_key.pem\"");
    let secret = key.lines().nth(1).unwrap();
    for action in ["model_created", "secret_view"] {
        assert!(!site.events(action).await.iter().any(|event| event.to_string().contains(secret)), "{action}");
    }
    assert!(!site.database_holds(secret));
    assert!(site.database_holds("CERTIFICATE"));
}

/// CO-466, CO-568: certificates, and above all their keys, are for administrators alone.
#[tokio::test]
async fn co_466_others_see_nothing() {
    let site = Site::new().await;
    let path = format!("{PAIRS}{}/", text(&generate(&site, "a").await["pk"]));
    let (_, user) = site.user("eve").await;
    let body = json!({"name": "x", "certificate_data": "x", "common_name": "x", "validity_days": 1});
    for (method, path) in [
        (Method::GET, PAIRS.to_owned()),
        (Method::POST, PAIRS.to_owned()),
        (Method::POST, format!("{PAIRS}generate/")),
        (Method::GET, path.clone()),
        (Method::PUT, path.clone()),
        (Method::PATCH, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::GET, format!("{path}view_certificate/")),
        (Method::GET, format!("{path}view_private_key/")),
    ] {
        for key in [user.as_str(), ""] {
            let (status, _) = site.send(key, method.clone(), &path, Some(body.clone())).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
    assert!(site.events("secret_view").await.iter().all(|event| event["type"] == "token"));
}

/// PX-020, CO-594: a provider names a certificate that exists, and none once that is deleted.
#[tokio::test]
async fn co_594_a_deleted_certificate_is_named_no_longer() {
    let site = Site::new().await;
    let pair = generate(&site, "wiki.example.com").await["pk"].clone();
    let with = site.provider_body("wiki", json!({"certificate": pair})).await;
    let made = site.post("/providers/proxy/", with).await;
    assert_eq!(made["certificate"], pair);
    let path = format!("/providers/proxy/{}/", made["pk"]);
    let unknown = "8b2a4bd6-70a2-4b6f-9a7c-3f1d3f9d2c11";
    let refused = site.refused(Method::PATCH, &path, json!({"certificate": unknown})).await;
    assert_eq!(refused, json!({"certificate": [format!("Invalid pk \"{unknown}\" - object does not exist.")]}));
    site.delete(&format!("{PAIRS}{}/", text(&pair))).await;
    assert_eq!(site.get(&path).await["certificate"], Value::Null);
}

/// OA-124: a pair that signs, and one that has signed before, takes another key, and the one that it had again.
#[tokio::test]
async fn oa_124_a_pair_that_signs_takes_another_key() {
    let site = Site::new().await;
    let pem = async |name: &str| {
        let (certificate_data, key_data) = pem(&site, name).await;
        json!({"certificate_data": certificate_data, "key_data": key_data})
    };
    let (first, second) = (pem("first.example").await, pem("second.example").await);
    let pair = generate(&site, "signs.example").await["pk"].clone();
    let path = format!("{PAIRS}{}/", text(&pair));
    let client = site.provider_body("app", json!({"signing_key": pair, "redirect_uris": []})).await;
    let client = format!("/providers/oauth2/{}/", site.post("/providers/oauth2/", client).await["pk"]);
    for key in [json!(pair), Value::Null] {
        assert_eq!(site.patch(&client, json!({"signing_key": key})).await["signing_key"], key);
        for (body, subject) in
            [(&first, "CN=first.example"), (&second, "CN=second.example"), (&first, "CN=first.example")]
        {
            assert_eq!(site.patch(&path, body.clone()).await["cert_subject"], subject);
        }
    }
    site.delete(&path).await;
}

/// PX-300: of all certificates with a private key that are for the host of the public URL, the one that ends last is
/// shown there.
#[tokio::test]
async fn px_300_the_public_url_has_a_certificate() {
    let site = Site::new().await;
    let shown = async || {
        let configuration = outpost::configuration(&site.ctx).await.unwrap();
        let own = configuration.own_host?;
        assert_eq!((own.host.as_str(), configuration.certificates.len()), ("id.example", 1));
        Some(json!(own.certificate))
    };
    let make = async |name: &str, host: &str, days: i32| {
        let wanted = json!({"common_name": name, "subject_alt_name": host, "validity_days": days, "alg": "ecdsa"});
        let (status, made) = site.send(ADMIN, Method::POST, &format!("{PAIRS}generate/"), Some(wanted)).await;
        assert_eq!(status, StatusCode::OK, "{made}");
        made["pk"].clone()
    };
    make("another's", "wiki.example,sub.id.example", 90).await;
    assert_eq!(shown().await, None);
    let exact = make("exact", "id.example", 30).await;
    assert_eq!(shown().await, Some(exact.clone()));
    make("short", "id.example", 20).await;
    assert_eq!(shown().await, Some(exact.clone()));
    let wide = make("wide", "a.example,id.example", 40).await;
    assert_eq!(shown().await, Some(wide.clone()));
    let bare = site.get(&format!("{PAIRS}{}/view_certificate/", text(&wide))).await["data"].clone();
    site.delete(&format!("{PAIRS}{}/", text(&wide))).await;
    site.post(PAIRS, json!({"name": "without key", "certificate_data": bare})).await;
    assert_eq!(shown().await, Some(exact));
}

/// PX-020, PX-301, CO-466: an outpost is told the certificates, with their keys, of the providers that it serves, and
/// no others.
#[tokio::test]
async fn px_301_an_outpost_gets_the_certificates_it_shows() {
    let site = Site::new().await;
    let shared = generate(&site, "shared").await["pk"].clone();
    let unserved = generate(&site, "unserved").await["pk"].clone();
    let mut served = Vec::new();
    for (name, pair) in [("a", &shared), ("b", &shared), ("c", &Value::Null), ("d", &unserved)] {
        let body = site.provider_body(name, json!({"certificate": pair})).await;
        let pk = site.post("/providers/proxy/", body).await["pk"].clone();
        site.application(name, &pk).await;
        if name != "d" {
            served.push(pk);
        }
    }
    let embedded = text(&site.get("/outposts/instances/").await["results"][0]["pk"]);
    site.patch(&format!("/outposts/instances/{embedded}/"), json!({"providers": served})).await;

    let listed = site.get("/outposts/proxy/").await;
    let named: Vec<_> = listed["results"].as_array().unwrap().iter().map(|one| one["certificate"].clone()).collect();
    assert_eq!(named, [shared.clone(), shared.clone(), Value::Null, unserved.clone()], "CO-570: served or not");
    let configuration = outpost::configuration(&site.ctx).await.unwrap();
    let [certificate] = configuration.certificates.as_slice() else { panic!("{:?}", configuration.certificates) };
    assert_eq!((json!(certificate.pk), certificate.name.as_str()), (shared, "shared"));
    assert!(certificate.chain.contains("BEGIN CERTIFICATE") && certificate.key.contains("BEGIN PRIVATE KEY"));
    assert!(!format!("{configuration:?}").contains("PRIVATE KEY"));
}
