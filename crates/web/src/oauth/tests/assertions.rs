//! Machines that bring a token of somebody whom the provider trusts (OA section 11.5).

pub(super) mod issuer;

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

/// OA-281, OA-325, OA-332, OA-335, OA-336, OA-348, OA-837: a pod's token is good for an account of its own, which ends
/// with it, and the event names who vouched and for whom, not everything that was said.
#[tokio::test]
async fn oa_281_a_pod_brings_its_token() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let reply = shop.assert(&key.sign(&shop.pod())).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.json.get("refresh_token").is_none());
    assert_eq!(reply.json["expires_in"], HOUR);
    let said = claims(&reply.json["id_token"]);
    assert_eq!(said["preferred_username"], "shop-system-serviceaccount-shop-backup");
    assert!(said.get("sid").is_none() && said.get("amr").is_none());
    let user = shop.users().await.pop().expect("an account");
    assert_eq!((&user["path"], &user["type"]), (&json!("goauthentik.io/sources/cluster"), &json!("service_account")));
    let attributes = json!({"goauthentik.io/user/generated": true, "goauthentik.io/user/expires": shop.now() + HOUR});
    assert_eq!(user["attributes"], attributes);
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

/// OA-331, OA-828: what an assertion calls its subject takes over nobody's account.
#[tokio::test]
async fn oa_828_nobody_is_taken_over() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    shop.site.user("shop-akadmin").await;
    let more = json!({"sub": "akadmin", "preferred_username": "akadmin", "nickname": "akadmin", "username": "akadmin"});
    let reply = shop.assert(&key.sign(&shop.pod_with(more))).await;
    let name = claims(&reply.json["id_token"])["preferred_username"].as_str().expect("text").to_owned();
    assert!(name.starts_with("shop-akadmin-") && name.len() == "shop-akadmin-".len() + 8, "{name}");
    let human = shop.site.admin(Method::GET, "/core/users/?username=shop-akadmin", None).await;
    assert_eq!(human.json["results"][0]["type"], "internal");
}

/// OA-334, OA-335, OA-402, OA-830, OA-831: what an administrator sets stays; the end is raised; who was deactivated is
/// refused.
#[tokio::test]
async fn oa_334_what_administrators_set_stays() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let first = shop.assert(&key.sign(&shop.pod())).await;
    let user = shop.users().await.pop().expect("an account");
    let path = format!("/core/users/{}/", user["pk"]);
    let mut attributes = user["attributes"].clone();
    attributes["team"] = json!("blue");
    shop.site.admin(Method::PATCH, &path, json!({"attributes": attributes, "name": "Backup"})).await;
    shop.site.clock.advance_seconds(600);
    let again = shop.assert(&key.sign(&shop.pod())).await;
    assert_eq!(claims(&first.json["id_token"])["sub"], claims(&again.json["id_token"])["sub"]);
    let user = shop.site.admin(Method::GET, &path, None).await.json;
    assert_eq!((&user["name"], &user["attributes"]["team"]), (&json!("Backup"), &json!("blue")));
    assert_eq!(user["attributes"]["goauthentik.io/user/expires"], shop.now() + HOUR);
    let shorter = key.sign(&shop.pod_with(json!({"exp": shop.now() + 60})));
    let shorter = shop.assert(&shorter).await;
    assert_eq!(shorter.json["expires_in"], 60, "OA-336");
    let user = shop.site.admin(Method::GET, &path, None).await.json;
    assert_eq!(user["attributes"]["goauthentik.io/user/expires"], shop.now() + HOUR);
    shop.site.admin(Method::PATCH, &path, json!({"is_active": false})).await;
    shop.refused(&key.sign(&shop.pod()), "user_inactive").await;
    assert_eq!(shop.users().await.len(), 1);
}

/// OA-647, OA-648: an account goes long after its last assertion, and comes back as the same one until then.
#[tokio::test]
async fn oa_648_accounts_go_long_after_their_last_assertion() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    shop.assert(&key.sign(&shop.pod())).await;
    let day = 24 * HOUR;
    shop.site.clock.advance_seconds(29 * day);
    portcullis_idp::oauth::sweep(&shop.site.ctx).await.expect("sweeps");
    assert_eq!(shop.users().await.len(), 1);
    shop.assert(&key.sign(&shop.pod())).await;
    shop.site.clock.advance_seconds(29 * day);
    portcullis_idp::oauth::sweep(&shop.site.ctx).await.expect("sweeps");
    assert_eq!(shop.users().await.len(), 1, "it was used since");
    shop.site.clock.advance_seconds(2 * day);
    portcullis_idp::oauth::sweep(&shop.site.ctx).await.expect("sweeps");
    assert!(shop.users().await.is_empty());
}

/// OA-330, OA-832: policies decide about the account that is linked, and about nobody before there is one: who is
/// denied leaves nothing behind.
#[tokio::test]
async fn oa_330_policies_decide_first() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let application = shop.site.admin(Method::GET, "/core/applications/shop/", None).await.json;
    let group = shop.site.admin(Method::POST, "/core/groups/", json!({"name": "machines"})).await.json;
    let body = json!({"target": application["pk"], "group": group["pk"], "order": 0, "enabled": true});
    let binding = shop.site.admin(Method::POST, "/policies/bindings/", body).await;
    assert_eq!(binding.status, 201, "{}", binding.text);
    shop.refused(&key.sign(&shop.pod()), "denied_by_policy").await;
    assert!(shop.users().await.is_empty());
    let path = format!("/policies/bindings/{}/", binding.json["pk"].as_str().expect("text"));
    shop.site.admin(Method::PATCH, &path, json!({"enabled": false})).await;
    shop.assert(&key.sign(&shop.pod())).await;
    shop.site.admin(Method::PATCH, &path, json!({"enabled": true})).await;
    shop.refused(&key.sign(&shop.pod()), "denied_by_policy").await;
    let user = shop.users().await.pop().expect("an account");
    let path = format!("/core/groups/{}/add_user/", group["pk"].as_str().expect("text"));
    shop.site.admin(Method::POST, &path, json!({"pk": user["pk"]})).await;
    assert_eq!(shop.assert(&key.sign(&shop.pod())).await.status, 200);
}

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

/// OA-037, OA-340, OA-344, OA-836, OA-833: an access token of a trusted provider is good for its user at this one,
/// until it ends or is revoked, in one direction, and no further.
#[tokio::test]
async fn oa_340_tokens_of_trusted_providers_are_traded() {
    let shop = Shop::of_cluster(&[]).await;
    let ada = shop.site.user("ada").await;
    app_password(&shop.site, ada, "ada-key", KEY).await;
    let grants = json!(["client_credentials"]);
    let first = client(&shop.site, "first", json!({"grant_types": grants})).await;
    let second = client(&shop.site, "second", json!({"jwt_federation_providers": [first["pk"]]})).await;
    let third = client(&shop.site, "third", json!({"jwt_federation_providers": [second["pk"]]})).await;
    let id = |provider: &Value| provider["client_id"].as_str().expect("text").to_owned();
    let own = [
        ("client_id", id(&first)),
        ("grant_type", "client_credentials".to_owned()),
        ("username", "ada".to_owned()),
        ("password", KEY.to_owned()),
        ("scope", "openid".to_owned()),
    ];
    let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let given = post(&shop.site, "/application/o/token/", &own, &[]).await;
    assert_eq!(given.status, 200, "{}", given.text);
    let trade = async |at: &Value, jwt: &str| {
        let all = [("client_id", id(at)), ("grant_type", "client_credentials".to_owned())];
        let mut all: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.extend([("client_assertion_type", JWT_BEARER), ("client_assertion", jwt), ("scope", "openid profile")]);
        post(&shop.site, "/application/o/token/", &all, &[]).await
    };
    shop.site.clock.advance_seconds(600);
    let access = text(&given, "access_token");
    let traded = trade(&second, access).await;
    assert_eq!(traded.status, 200, "{}", traded.text);
    assert_eq!(claims(&traded.json["id_token"])["preferred_username"], "ada");
    assert_eq!(claims(&traded.json["id_token"])["exp"], claims(&given.json["id_token"])["exp"]);
    let (_, login) = shop.site.events("login").await;
    assert_eq!(
        (&login["auth_method"], &login["auth_method_args"]["provider"]["name"]),
        (&json!("jwt"), &json!("first"))
    );
    for (at, jwt) in [(&second, text(&given, "id_token")), (&third, access), (&first, text(&traded, "access_token"))] {
        assert_eq!(text(&trade(at, jwt).await, "error"), "invalid_grant");
    }
    let further = trade(&third, text(&traded, "access_token")).await;
    assert_eq!(claims(&further.json["id_token"])["exp"], claims(&given.json["id_token"])["exp"], "OA-343");
    // Whatever it was obtained by ends what it was traded for.
    let bearer = format!("Bearer {}", text(&further, "access_token"));
    let asks = async || get(&shop.site, "/application/o/userinfo/", &[("authorization", &bearer)]).await.status;
    assert_eq!(asks().await, 200);
    // What limits the app password limits what its tokens are traded for (OA-816).
    let only = shop.site.admin(Method::GET, "/core/applications/first/", None).await.json["pk"].clone();
    let limited = json!({"allowed_applications": [only]});
    assert_eq!(shop.site.admin(Method::PATCH, "/core/tokens/ada-key/", limited).await.status, 200);
    assert_eq!(text(&trade(&second, access).await, "error"), "invalid_grant");
    shop.site.admin(Method::DELETE, "/core/tokens/ada-key/", None).await;
    assert_eq!(asks().await, 401);
    assert_eq!(text(&trade(&second, access).await, "error"), "invalid_grant");
}

/// OA-343, OA-827: what was traded for a token that a source vouched for holds as long as the source is believed, and no
/// longer.
#[tokio::test]
async fn oa_827_traded_tokens_end_with_the_source() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let second = client(&shop.site, "second", json!({"jwt_federation_providers": [shop.provider["pk"]]})).await;
    let given = shop.assert(&key.sign(&shop.pod())).await;
    let all = [
        ("client_id", second["client_id"].as_str().expect("text")),
        ("grant_type", "client_credentials"),
        ("client_secret", text(&given, "access_token")),
        ("scope", "openid"),
    ];
    let traded = post(&shop.site, "/application/o/token/", &all, &[]).await;
    assert_eq!(traded.status, 200, "{}", traded.text);
    let bearer = format!("Bearer {}", text(&traded, "access_token"));
    let asks = async || get(&shop.site, "/application/o/userinfo/", &[("authorization", &bearer)]).await.status;
    assert_eq!(asks().await, 200);
    shop.site.admin(Method::PATCH, "/sources/oauth/cluster/", json!({"enabled": false})).await;
    assert_eq!(asks().await, 401);
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
