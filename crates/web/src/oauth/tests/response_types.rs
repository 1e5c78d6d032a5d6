//! Tokens that come by way of the browser.

use std::collections::BTreeMap;

use portcullis_core::keys::sha256;

use super::browser::Browser;
use super::clients::App;
use super::refresh::offer;
use super::*;

const PASSWORD: &str = "correct horse battery";
const ALL: [(&str, &[&str]); 6] = [
    ("code", &["code"]),
    ("id_token", &["expires_in", "id_token", "token_type"]),
    ("id_token token", &["access_token", "expires_in", "id_token", "token_type"]),
    ("code token", &["access_token", "code", "expires_in", "token_type"]),
    ("code id_token", &["code", "expires_in", "id_token", "token_type"]),
    ("code id_token token", &["access_token", "code", "expires_in", "id_token", "token_type"]),
];

async fn app() -> App {
    let grants = json!(["authorization_code", "implicit", "hybrid", "refresh_token"]);
    let app = App::new(json!({"grant_types": grants})).await;
    offer(&app.site, "oauth2", &app.provider["pk"], "offline_access").await;
    app
}

async fn signed_in(app: &App) -> Browser {
    let mut browser = Browser::default();
    assert_eq!(browser.sign_in(&app.site, "ada", PASSWORD).await.status, 303);
    browser
}

/// The members of an answer, and whether they are in the fragment.
fn members(reply: &Reply) -> (bool, BTreeMap<String, String>) {
    assert_eq!(reply.status, 302, "{}", reply.text);
    assert_eq!(
        (&reply.headers["referrer-policy"], &reply.headers["cache-control"]),
        (&"no-referrer".parse().expect("a value"), &"no-store".parse().expect("a value")),
        "OA-175"
    );
    let url = url::Url::parse(location(reply)).expect("a URL");
    let (fragment, encoded) = match url.fragment() {
        Some(fragment) => (true, fragment.to_owned()),
        None => (false, url.query().unwrap_or_default().to_owned()),
    };
    let pairs = url::form_urlencoded::parse(encoded.as_bytes()).into_owned().collect();
    (fragment, pairs)
}

fn half(value: &str) -> String {
    URL_SAFE_NO_PAD.encode(&sha256(value.as_bytes())[..16])
}

/// OA-104, OA-144, OA-145, OA-148, OA-169, OA-170, OA-171, OA-172, OA-173, OA-174, OA-457, OA-745, OA-852: each response type has
/// exactly its members, besides issuer and state; tokens come in the fragment, bound to what comes with them, and hold.
#[tokio::test]
async fn oa_174_each_response_type_has_its_members() {
    let app = app().await;
    let found = get(&app.site, "/application/o/app/.well-known/openid-configuration", &[]).await.json;
    assert_eq!(found["response_types_supported"], json!(ALL.map(|(kind, _)| kind)));
    assert_eq!(found["response_modes_supported"], json!(["query", "fragment", "form_post"]), "OA-105");
    assert!(found["grant_types_supported"].as_array().expect("a list").contains(&json!("implicit")), "OA-106");
    let mut browser = signed_in(&app).await;
    for (kind, expected) in ALL {
        for state in ["", "s&t#="] {
            let wanted = [("response_type", kind), ("state", state), ("scope", "openid email offline_access")];
            let (fragment, said) = members(&app.authorize_in(&mut browser, &wanted).await);
            assert_eq!(fragment, kind != "code", "{kind}");
            assert_eq!(said["iss"], "http://id.example/application/o/app/");
            assert_eq!(said.get("state").map(String::as_str), (!state.is_empty()).then_some(state), "OA-176");
            let names: Vec<_> =
                said.keys().map(String::as_str).filter(|name| !["iss", "state"].contains(name)).collect();
            assert_eq!(names, expected, "{kind}");
            if let Some(token) = said.get("access_token") {
                assert_eq!(app.userinfo(token).await.json["email"], "");
                let scope = claims(&json!(token))["scope"].clone();
                assert_eq!(scope == "email offline_access openid", kind.contains("code"), "{kind} {scope}");
            }
            if let Some(token) = said.get("id_token") {
                let told = claims(&json!(token));
                let hash = |of: &str| said.get(of).map(|value| json!(half(value)));
                assert_eq!(
                    (told.get("at_hash"), told.get("c_hash")),
                    (hash("access_token").as_ref(), hash("code").as_ref())
                );
                assert_eq!((&told["nonce"], &told["aud"]), (&json!("n-1"), &json!(app.id())));
            }
            if kind != "code" {
                assert_eq!((said["token_type"].as_str(), said["expires_in"].as_str()), ("Bearer", "3600"));
            }
        }
    }
    let turned = [("response_type", "token  code"), ("nonce", "")];
    assert_eq!(members(&app.authorize_in(&mut browser, &turned).await).1["error"], "unsupported_response_type");
    let turned = [("response_type", "token code"), ("nonce", "")];
    assert!(members(&app.authorize_in(&mut browser, &turned).await).1.contains_key("access_token"), "no nonce needed");
}

/// OA-145, OA-147, OA-150, OA-843, OA-040, OA-050: what tokens need is needed, and errors come where the answer would;
/// without the grants there is nothing but a code.
#[tokio::test]
async fn oa_150_tokens_need_a_nonce() {
    let app = app().await;
    let mut browser = signed_in(&app).await;
    for (kind, _) in ALL.into_iter().skip(1) {
        for (name, value, error) in [
            ("response_mode", "query", "invalid_request"),
            ("scope", "email", "invalid_scope"),
            ("nonce", "", "invalid_request"),
        ] {
            let asked = app.authorize_in(&mut browser, &[("response_type", kind), (name, value)]).await;
            if name == "nonce" && kind == "code token" {
                continue;
            }
            let (fragment, said) = members(&asked);
            assert_eq!(
                (said["error"].as_str(), fragment),
                (error, name != "response_mode" || fragment),
                "{kind} {name}"
            );
            assert!(!said.contains_key("access_token") && !said.contains_key("id_token"));
        }
        let posted = app.authorize_in(&mut browser, &[("response_type", kind), ("response_mode", "form_post")]).await;
        assert!(posted.status == 200 && posted.text.contains("name=\"expires_in\""), "{}", posted.text);
    }
    let odd = app.authorize_in(&mut browser, &[("response_type", "id_token"), ("response_mode", "web_message")]).await;
    assert!(members(&odd).0, "an unknown mode is the default");
    app.change(json!({"grant_types": ["authorization_code"]})).await;
    for (kind, _) in ALL.into_iter().skip(1) {
        let (_, said) = members(&app.authorize_in(&mut browser, &[("response_type", kind)]).await);
        assert_eq!(said["error"], "unsupported_response_type", "{kind}");
    }
    let found = get(&app.site, "/application/o/app/.well-known/openid-configuration", &[]).await.json;
    assert_eq!(found["response_types_supported"], json!(["code"]));
}

/// OA-178, OA-245: what came by way of the browser ends with its session, and with a code that is used twice.
#[tokio::test]
async fn oa_178_front_channel_tokens_end_with_their_session() {
    let app = app().await;
    let mut browser = signed_in(&app).await;
    let (_, said) = members(&app.authorize_in(&mut browser, &[("response_type", "id_token token")]).await);
    let token = said["access_token"].clone();
    assert_eq!(app.userinfo(&token).await.status, 200);
    browser.post(&app.site, "/if/flow/default-invalidation-flow/", &[]).await;
    assert_eq!(app.userinfo(&token).await.status, 401);
    let mut browser = signed_in(&app).await;
    let (_, said) = members(&app.authorize_in(&mut browser, &[("response_type", "code token")]).await);
    let all = [
        ("grant_type", "authorization_code"),
        ("code", said["code"].as_str()),
        ("redirect_uri", "https://app.example/cb"),
        ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        ("client_secret", app.secret()),
    ];
    assert_eq!(app.ask("/application/o/token/", &all).await.status, 200);
    assert_eq!(app.userinfo(&said["access_token"]).await.status, 200);
    assert_eq!(text(&app.ask("/application/o/token/", &all).await, "error"), "invalid_grant");
    assert_eq!(app.userinfo(&said["access_token"]).await.status, 401);
}
