//! Machines that bring a token of somebody whom the provider trusts (OA section 11.5).

mod accounts;
pub(super) mod issuer;
mod sources;
mod trades;

use base64::engine::general_purpose::STANDARD;

use super::clients::client;
use super::*;
use issuer::{Issuer, Key};

pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub(super) const KUBERNETES: &str = "https://kubernetes.default.svc.cluster.local";
const SUBJECT: &str = "system:serviceaccount:shop:backup";
const HOUR: i64 = 3600;

/// An instance with the client `shop`, which trusts the source `cluster`.
pub(super) struct Shop {
    pub(super) site: Site,
    provider: Value,
}

impl Shop {
    /// With a source that has `more`.
    async fn new(more: Value) -> Self {
        Self::at(Site::new().await, more).await
    }

    pub(super) async fn at(site: Site, more: Value) -> Self {
        let source = source(&site, "cluster", more).await;
        assert_eq!(source.status, 201, "{}", source.text);
        let provider = client(&site, "shop", json!({"jwt_federation_sources": [source.json["pk"]]})).await;
        Self { site, provider }
    }

    /// With pasted keys of a cluster.
    async fn of_cluster(keys: &[&Key]) -> Self {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        Self::new(json!({"oidc_jwks": {"keys": keys}, "expected_issuers": [KUBERNETES]})).await
    }

    fn id(&self) -> &str {
        self.provider["client_id"].as_str().expect("text")
    }

    pub(super) fn provider_pk(&self) -> ProviderPk {
        let pk = self.provider["pk"].as_i64().expect("a number");
        ProviderPk(i32::try_from(pk).expect("small"))
    }

    fn now(&self) -> i64 {
        self.site.ctx.now().seconds()
    }

    /// What a token of a pod says, as the cluster makes it.
    pub(super) fn pod(&self) -> Value {
        json!({
            "aud": [self.id()],
            "exp": self.now() + HOUR,
            "iat": self.now(),
            "iss": KUBERNETES,
            "jti": "7f1c2f3e-2d0b-4a1e-9f5e-1c2d3e4f5a6b",
            "kubernetes.io": {
                "namespace": "shop",
                "node": {"name": "n1", "uid": "e1d0b4a1-0000-4000-8000-000000000001"},
                "pod": {"name": "backup-0", "uid": "e1d0b4a1-0000-4000-8000-000000000002"},
                "serviceaccount": {"name": "backup", "uid": "e1d0b4a1-0000-4000-8000-000000000003"},
            },
            "nbf": self.now(),
            "sub": SUBJECT,
        })
    }

    /// The claims of a pod, some of them others; null takes one out.
    fn pod_with(&self, more: Value) -> Value {
        let mut claims = self.pod();
        let Value::Object(more) = more else { panic!("an object") };
        for (name, value) in more {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(&name)),
                value => claims[name] = value,
            }
        }
        claims
    }

    async fn token(&self, parameters: &[(&str, &str)]) -> Reply {
        let mut all = vec![("client_id", self.id()), ("grant_type", "client_credentials")];
        all.extend_from_slice(parameters);
        // From one address after the other: it is not the limits that are on trial.
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes();
        post_from(&self.site, [10, next[1], next[2], next[3]], "/application/o/token/", &all).await
    }

    pub(super) async fn assert(&self, jwt: &str) -> Reply {
        let all = [("client_assertion_type", JWT_BEARER), ("client_assertion", jwt), ("scope", "openid profile")];
        self.token(&all).await
    }

    pub(super) async fn refused(&self, jwt: &str, reason: &str) {
        let reply = self.assert(jwt).await;
        assert_eq!((reply.status.as_u16(), text(&reply, "error")), (400, "invalid_grant"), "{reason}");
        let (_, event) = self.site.events("login_failed").await;
        assert_eq!((&event["reason"], &event["variant"]), (&json!(reason), &json!("jwt")));
        assert!(!event.to_string().contains(jwt), "the assertion is in the event");
    }

    pub(super) async fn users(&self) -> Vec<Value> {
        let found = self.site.admin(Method::GET, "/core/users/?type=service_account", None).await;
        found.json["results"].as_array().expect("a list").clone()
    }
}

pub(super) async fn source(site: &Site, slug: &str, more: Value) -> Reply {
    let mut body = json!({
        "name": slug, "slug": slug, "provider_type": "openidconnect", "consumer_key": "x", "consumer_secret": "y",
    });
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    site.admin(Method::POST, "/sources/oauth/", body).await
}

/// OA-281, OA-325, OA-332, OA-335, OA-336, OA-348, OA-837, OA-624: a pod's token is good for an account of its own, which ends
/// with it, and the event names who vouched and for whom, not everything that was said.
#[tokio::test]
async fn oa_281_a_pod_brings_its_token() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let reply = shop.assert(&key.sign(&shop.pod())).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.via.map(portcullis_core::auth_via::AuthVia::as_str), Some("jwt"), "OA-669");
    assert!(reply.json.get("refresh_token").is_none());
    assert_eq!(reply.json["expires_in"], HOUR);
    let said = claims(&reply.json["id_token"]);
    assert_eq!(said["preferred_username"], "shop-system-serviceaccount-shop-backup");
    assert!(said.get("sid").is_none() && said.get("amr").is_none());
    let user = shop.users().await.pop().expect("an account");
    assert_eq!((&user["path"], &user["type"]), (&json!("goauthentik.io/sources/cluster"), &json!("service_account")));
    let attributes = json!({"goauthentik.io/user/generated": true, "goauthentik.io/user/expires": shop.now() + HOUR});
    assert_eq!(user["attributes"], attributes);
    let shown = shop.site.admin(Method::GET, &format!("/core/users/{}/", user["pk"]), None).await.json;
    let generated = json!({"provider": shop.provider_pk(), "provider_name": "shop", "source": "cluster",
        "issuer": KUBERNETES, "subject": SUBJECT});
    assert_eq!((&shown["generated"], &shown["last_login"]), (&generated, &json!(shop.site.ctx.now().to_string())));
    let (count, login) = shop.site.events("login").await;
    assert_eq!((count, &login["auth_method"]), (1, &json!("jwt")));
    let args = &login["auth_method_args"];
    assert_eq!((&args["iss"], &args["sub"], &args["kid"]), (&json!(KUBERNETES), &json!(SUBJECT), &json!("k1")));
    assert_eq!(args["source"]["name"], "cluster");
    assert!(!login.to_string().contains("backup-0"));
    assert_eq!(shop.site.events("model_created").await.1["model"]["model_name"], "application", "OA-665");
}

/// OA-284, OA-320, OA-835: the token may come as the client secret, with or without the type, in body or header; a
/// present but empty assertion is none.
#[tokio::test]
async fn oa_284_a_bare_jwt_is_a_client_secret() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let jwt = key.sign(&shop.pod());
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{jwt}", shop.id())));
    let all = [("grant_type", "client_credentials")];
    assert_eq!(shop.token(&[("client_secret", &jwt)]).await.status, 200);
    assert_eq!(shop.token(&[("client_secret", &jwt), ("client_assertion_type", JWT_BEARER)]).await.status, 200);
    assert_eq!(post(&shop.site, "/application/o/token/", &all, &[("authorization", &basic)]).await.status, 200);
    for bad in [
        vec![("client_assertion_type", JWT_BEARER), ("client_assertion", ""), ("client_secret", jwt.as_str())],
        vec![("client_assertion_type", "urn:other"), ("client_assertion", jwt.as_str())],
        vec![("client_assertion_type", JWT_BEARER)],
    ] {
        assert_eq!(text(&shop.token(&bad).await, "error"), "invalid_grant", "{bad:?}");
    }
}

/// OA-321, OA-326, OA-820, OA-746: the key decides about the algorithm. Without a signature, with the public key as a
/// shared secret, with another's signature or with extensions, nothing is believed.
#[tokio::test]
async fn oa_321_algorithms_are_not_confused() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let claims = shop.pod();
    let unsigned = issuer::with_header(&json!({"alg": "none", "kid": "k1"}), &claims, "");
    shop.refused(&unsigned, "assertion_malformed").await;
    let unsigned = issuer::with_header(&json!({"alg": "none", "kid": "k1"}), &claims, "AAAA");
    shop.refused(&unsigned, "assertion_issuer_unknown").await;
    for secret in [key.point(), key.jwk().to_string().into_bytes()] {
        shop.refused(&issuer::with_secret(&secret, "k1", &claims), "assertion_issuer_unknown").await;
    }
    shop.refused(&Key::new("k1").sign(&claims), "assertion_signature").await;
    shop.refused(&Key::new("k2").sign(&claims), "assertion_signature").await;
    let crit = issuer::with_header(&json!({"alg": "ES256", "kid": "k1", "crit": ["exp"]}), &claims, "AAAA");
    shop.refused(&crit, "assertion_malformed").await;
    let brought = json!({"alg": "ES256", "jwk": Key::new("k1").jwk()});
    shop.refused(&issuer::with_header(&brought, &claims, "AAAA"), "assertion_signature").await;
    shop.refused(&"a".repeat(17 * 1024), "assertion_malformed").await;
    let mut tampered = key.sign(&claims);
    tampered.pop();
    shop.refused(&tampered, "assertion_signature").await;
    assert!(shop.users().await.is_empty(), "nobody was made");
}

/// OA-005, OA-327, OA-328, OA-829, OA-711, OA-824, OA-825: whose it is, for whom and until when has to be said, and to
/// be right.
#[tokio::test]
async fn oa_327_every_claim_counts() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let now = shop.now();
    for (more, reason) in [
        (json!({"iss": "https://kubernetes.default.svc.elsewhere"}), "assertion_issuer_unknown"),
        (json!({"iss": null}), "assertion_issuer_unknown"),
        (json!({"iss": 7}), "assertion_issuer_unknown"),
        (json!({"aud": ["https://kubernetes.default.svc"]}), "assertion_audience"),
        (json!({"aud": null}), "assertion_audience"),
        (json!({"aud": 7}), "assertion_audience"),
        (json!({"exp": now}), "assertion_expired"),
        (json!({"exp": null}), "assertion_without_end"),
        (json!({"exp": "tomorrow"}), "assertion_without_end"),
        (json!({"exp": now + 25 * HOUR}), "assertion_lives_too_long"),
        (json!({"iat": null, "exp": now + 25 * HOUR}), "assertion_lives_too_long"),
        (json!({"nbf": now + 31}), "assertion_of_the_future"),
        (json!({"iat": now + 31}), "assertion_of_the_future"),
        (json!({"iat": "now"}), "assertion_malformed"),
        (json!({"sub": null}), "assertion_subject"),
        (json!({"sub": ""}), "assertion_subject"),
        (json!({"sub": 7}), "assertion_subject"),
        (json!({"sub": "s".repeat(256)}), "assertion_subject"),
    ] {
        shop.refused(&key.sign(&shop.pod_with(more)), reason).await;
    }
    for audience in [
        json!(shop.id()),
        json!(["other", "http://id.example/application/o/shop/"]),
        json!("http://id.example/application/o/token/"),
    ] {
        let good = key.sign(&shop.pod_with(json!({"aud": audience, "iat": now + 29, "nbf": now + 29})));
        assert_eq!(shop.assert(&good).await.status, 200);
    }
}

/// OA-680: assertions that are refused slow the guesser's address down.
#[tokio::test]
async fn oa_680_refused_assertions_count() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let bad = Key::new("k1").sign(&shop.pod());
    let all = |jwt| [("client_id", shop.id()), ("grant_type", "client_credentials"), ("client_secret", jwt)];
    for _ in 0..10 {
        assert_eq!(post_from(&shop.site, [192, 0, 2, 77], "/application/o/token/", &all(&bad)).await.status, 400);
    }
    assert_eq!(post_from(&shop.site, [192, 0, 2, 77], "/application/o/token/", &all(&bad)).await.status, 429);
    let good = key.sign(&shop.pod());
    assert_eq!(post_from(&shop.site, [192, 0, 2, 78], "/application/o/token/", &all(&good)).await.status, 200);
}

/// OA-044, OA-328: the provider says which further audiences its assertions may have.
#[tokio::test]
async fn oa_328_the_provider_names_audiences() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let meant = key.sign(&shop.pod_with(json!({"aud": "https://shop.example"})));
    shop.refused(&meant, "assertion_audience").await;
    let path = format!("/providers/oauth2/{}/", shop.provider["pk"]);
    let more = json!({"federation_audiences": ["https://shop.example"]});
    assert_eq!(shop.site.admin(Method::PATCH, &path, more).await.status, 200);
    assert_eq!(shop.assert(&meant).await.status, 200);
}

/// OA-336: what is issued ends with the assertion, unless the provider says otherwise.
#[tokio::test]
async fn oa_336_the_end_of_the_assertion_can_be_let_go() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let short = shop.pod_with(json!({"exp": shop.now() + 600}));
    assert_eq!(shop.assert(&key.sign(&short)).await.json["expires_in"], 600);
    let path = format!("/providers/oauth2/{}/", shop.provider["pk"]);
    assert_eq!(shop.site.admin(Method::PATCH, &path, json!({"cap_to_assertion_exp": false})).await.status, 200);
    assert_eq!(shop.assert(&key.sign(&short)).await.json["expires_in"], HOUR);
}

/// OA-349, OA-663: assertions may be used until they end; where the source says so each counts once, a second use is
/// reported, and one without an id is refused.
#[tokio::test]
async fn oa_349_assertions_can_count_once() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let jwt = key.sign(&shop.pod());
    for _ in 0..2 {
        assert_eq!(shop.assert(&jwt).await.status, 200);
    }
    assert_eq!(
        shop.site.admin(Method::PATCH, "/sources/oauth/cluster/", json!({"single_use": true})).await.status,
        200
    );
    assert_eq!(shop.assert(&jwt).await.status, 200, "not counted before");
    shop.refused(&jwt, "assertion_replayed").await;
    let (_, event) = shop.site.events("suspicious_request").await;
    assert_eq!(event["message"], "Assertion was used again", "{event}");
    assert_eq!(shop.assert(&key.sign(&shop.pod_with(json!({"jti": "another"})))).await.status, 200);
    shop.refused(&key.sign(&shop.pod_with(json!({"jti": null}))), "assertion_without_id").await;
    // What is refused for another reason is not used up.
    let bad = shop.pod_with(json!({"jti": "third", "aud": "elsewhere"}));
    shop.refused(&key.sign(&bad), "assertion_audience").await;
    assert_eq!(shop.assert(&key.sign(&shop.pod_with(json!({"jti": "third"})))).await.status, 200);
}

/// OA-349: of several uses of an assertion at once, one counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn oa_349_one_of_many_uses_counts() {
    let key = Key::new("k1");
    let keys = json!({"keys": [key.jwk()]});
    let more = json!({"oidc_jwks": keys, "expected_issuers": [KUBERNETES], "single_use": true});
    let shop = std::sync::Arc::new(Shop::new(more).await);
    let jwt = key.sign(&shop.pod());
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let (shop, jwt) = (std::sync::Arc::clone(&shop), jwt.clone());
            tokio::spawn(async move { shop.assert(&jwt).await.status.as_u16() })
        })
        .collect();
    let mut won = 0;
    for attempt in tries {
        won += i32::from(attempt.await.expect("no panic") == 200);
    }
    assert_eq!(won, 1);
}
