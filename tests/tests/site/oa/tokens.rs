//! The token endpoint and its neighbours, as scripts use them.

use base64::Engine as _;
use portcullis_testkit::{Go as _, Reply, http, run};
use serde_json::json;

use crate::stage::Stage;

async fn post(stage: &Stage<'_>, path: &str, pairs: &[(&str, &str)]) -> Reply {
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let request = http().post(stage.site.url(path)).header("x-forwarded-for", portcullis_testkit::api::fresh_address());
    request.header("content-type", "application/x-www-form-urlencoded").body(form).go().await
}

async fn token(stage: &Stage<'_>, pairs: &[(&str, &str)]) -> Reply {
    let mut all = vec![("client_id", stage.app.client_id.as_str()), ("scope", "openid profile email ak_proxy")];
    all.extend(pairs);
    post(stage, "/application/o/token/", &all).await
}

/// OA-282, OA-285, OA-283, PX-411, PX-092: all ways to a machine's token give one that opens the application as Bearer.
#[test]
fn px_411_every_machine_grant_gives_a_bearer_token() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let packed = format!("{}:{}", stage.person.username, stage.key);
        let packed = base64::engine::general_purpose::STANDARD.encode(packed);
        let secret = stage.client_secret().await;
        let ways: [(&str, Vec<(&str, &str)>); 4] = [
            ("client_credentials", vec![("username", &stage.person.username), ("password", &stage.key)]),
            ("password", vec![("username", &stage.person.username), ("password", &stage.key)]),
            ("client_credentials", vec![("client_secret", &packed)]),
            ("client_credentials", vec![("client_secret", &secret)]),
        ];
        for (grant, pairs) in ways {
            let mut all = vec![("grant_type", grant)];
            all.extend(pairs);
            let reply = token(&stage, &all).await;
            assert_eq!(reply.status, 200, "{grant}: {}", reply.text());
            let body = reply.json();
            assert_eq!(body["token_type"], "Bearer");
            assert!(body["expires_in"].is_u64() && body["id_token"].is_string(), "{body}");
            assert!(body.get("refresh_token").is_none(), "OA-290");
            let bearer = format!("Bearer {}", body["access_token"].as_str().unwrap());
            let reply = stage.get_as_stranger("/").header("authorization", bearer).go().await;
            assert_eq!(reply.status, 200, "{grant}: {}", reply.text());
        }
        let last = stage.recorder.last().one("x-authentik-username").unwrap();
        assert!(last.starts_with("ak-") && last.ends_with("-client_credentials"), "OA-310: {last}");
    });
}

/// OA-288, OA-295, OA-296: every failure of the machine grant has the same body.
#[test]
fn oa_288_failures_are_all_alike() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let inactive = stage.site.api.person("inactive").await;
        let (_, inactive_key) = stage.site.api.app_password(&inactive).await;
        let path = format!("core/users/{}/", inactive.pk);
        stage.site.api.patch(&path, json!({"is_active": false})).await;
        let denied = Stage::new(json!({})).await;
        denied.site.api.bind(&denied.app, json!({"user": inactive.pk})).await;
        let (me, key) = (stage.person.username.as_str(), stage.key.as_str());
        let upper = me.to_uppercase();
        let mut bodies = Vec::new();
        for (username, password) in [
            (me, "wrong"),
            ("nobody", key),
            (me, ""),
            (me, &stage.person.password),
            (&stage.person.email, key),
            (&upper, key),
            (&inactive.username, &inactive_key),
        ] {
            let pairs = [("grant_type", "client_credentials"), ("username", username), ("password", password)];
            let reply = token(&stage, &pairs).await;
            assert_eq!(reply.status, 400, "{username}: {}", reply.text());
            bodies.push(reply.json());
        }
        let pairs = [("grant_type", "client_credentials"), ("username", me), ("password", key)];
        let reply = token(&denied, &pairs).await;
        assert_eq!(reply.status, 400, "denied by policy");
        bodies.push(reply.json());
        bodies.push(token(&stage, &[("grant_type", "client_credentials"), ("client_secret", "wrong")]).await.json());
        assert_eq!(bodies[0]["error"], "invalid_grant");
        for body in &mut bodies {
            body["request_id"] = json!(null);
        }
        for body in &bodies {
            assert_eq!(body, &bodies[0]);
        }
    });
}

/// OA-217, OA-218, OA-221: what is wrong with the client or the request says so, and never with a 5xx.
#[test]
fn oa_221_errors_of_the_token_endpoint() {
    run(async {
        let stage = Stage::new(json!({})).await;
        type Case<'a> = (&'a [(&'a str, &'a str)], u16, &'a str);
        let cases: [Case<'_>; 5] = [
            (&[("grant_type", "client_credentials"), ("client_id", "unknown")], 400, "invalid_client"),
            (
                &[("grant_type", "authorization_code"), ("client_id", &stage.app.client_id), ("code", "x")],
                400,
                "invalid_client",
            ),
            (&[("grant_type", "magic"), ("client_id", &stage.app.client_id)], 400, "unsupported_grant_type"),
            (&[("client_id", &stage.app.client_id)], 400, "unsupported_grant_type"),
            (&[], 400, "invalid_client"),
        ];
        for (pairs, status, error) in cases {
            let reply = post(&stage, "/application/o/token/", pairs).await;
            assert_eq!(reply.status, status, "{pairs:?}: {}", reply.text());
            assert!(reply.json()["error"].is_string());
            if pairs.len() > 1 {
                assert_eq!(reply.json()["error"], error, "{pairs:?}");
            }
            assert!(reply.header("cache-control").unwrap().contains("no-store"));
        }
        let get = http().get(stage.site.url("/application/o/token/")).go().await;
        assert_eq!(get.status, 405, "OA-226");
    });
}

/// OA-490, PX-359: introspection tells the provider's own client about a token, and others nothing.
#[test]
fn oa_490_introspection() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let other = Stage::new(json!({})).await;
        let bearer = stage.bearer().await;
        let token = bearer.trim_start_matches("Bearer ");
        let secret = stage.client_secret().await;
        let ask = async |id: &str, secret: &str, token: &str| {
            let pairs = [("client_id", id), ("client_secret", secret), ("token", token)];
            post(&stage, "/application/o/introspect/", &pairs).await
        };
        let answer = ask(&stage.app.client_id, &secret, token).await.json();
        assert_eq!(answer["active"], true, "{answer}");
        assert_eq!(answer["preferred_username"], json!(stage.person.username));
        assert_eq!(answer["iss"], format!("{}/application/o/{}/", stage.site.base(), stage.app.slug));
        assert!(answer["ak_proxy"].is_object());
        let answer = ask(&stage.app.client_id, &secret, "nonsense").await;
        assert_eq!((answer.status, answer.json()), (200, json!({"active": false})));
        let foreign = ask(&other.app.client_id, &other.client_secret().await, token).await;
        assert_eq!(foreign.json(), json!({"active": false}));
        let wrong = ask(&stage.app.client_id, "wrong", token).await;
        assert!([400, 401].contains(&wrong.status), "{}", wrong.text());
    });
}

/// OA-120, OA-122: discovery names the endpoints, and the key set holds public keys only.
#[test]
fn oa_120_discovery_and_keys() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let base = format!("{}/application/o/{}/", stage.site.base(), stage.app.slug);
        let document = http().get(format!("{base}.well-known/openid-configuration")).go().await.json();
        assert_eq!(document["issuer"], json!(base));
        let endpoint = |name: &str| document[name].as_str().unwrap_or_else(|| panic!("{name}: {document}")).to_owned();
        assert_eq!(endpoint("authorization_endpoint"), stage.site.url("/application/o/authorize/"));
        assert_eq!(endpoint("token_endpoint"), stage.site.url("/application/o/token/"));
        assert_eq!(endpoint("introspection_endpoint"), stage.site.url("/application/o/introspect/"));
        let keys = http().get(endpoint("jwks_uri")).go().await.json();
        let keys = keys["keys"].as_array().unwrap();
        assert!(!keys.is_empty());
        for key in keys {
            assert!(key["kid"].is_string() && key.get("d").is_none() && key["use"] == "sig", "{key}");
        }
    });
}

/// OA-141: the authorization endpoint never redirects to an address that is not registered.
#[test]
fn oa_141_unregistered_redirect_uris_are_refused_in_place() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let good = format!("{}/outpost.goauthentik.io/callback?X-authentik-auth-callback=true", stage.app.external);
        for uri in ["http://evil.example/", "", &good.replace("callback?", "callback/x?"), &format!("{good}&x=1")] {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([
                    ("client_id", stage.app.client_id.as_str()),
                    ("response_type", "code"),
                    ("redirect_uri", uri),
                ])
                .finish();
            let reply = http().get(stage.site.url(&format!("/application/o/authorize/?{query}"))).go().await;
            assert_eq!(reply.status, 400, "{uri}: {:?}", reply.header("location"));
        }
    });
}
