//! Pods of a Kubernetes cluster: their projected tokens, with keys that somebody pasted.

use futures_util::future::join_all;
use portcullis_testkit::peers::curl;
use portcullis_testkit::process::directory;
use portcullis_testkit::site::portcullis;
use portcullis_testkit::{Finished, Go as _, Recorder, Site, Visitor, api, run, until};
use serde_json::{Value, json};

use super::issuer::{JWT_BEARER, Keys, assert, claims, now, refused, site, source, traded, trust};
use crate::stage::Stage;

/// The example of the handbook.
const EXAMPLE: &str = include_str!("../../../../docs/src/examples/pods.yaml");
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const KEY: &str = "Dqy5vJ3lqAqDFCV6:RS256";

/// A cluster whose pods are named after namespace and service account, and get in by their namespace.
struct Cluster {
    stage: Stage<'static>,
    keys: Keys,
    slug: String,
}

impl Cluster {
    async fn new() -> Self {
        let stage = Stage::on(site().await, json!({})).await;
        let (api, keys) = (&stage.site.api, Keys::new());
        let expression = "pod = info['kubernetes.io']\n\
            name = pod['serviceaccount']['name']\n\
            return {\n\
            \x20   'username': f\"pod-{pod['namespace']}-{name}\",\n\
            \x20   'name': f\"{name} in {pod['namespace']}\",\n\
            \x20   'attributes': {'namespace': pod['namespace']},\n\
            }";
        let body = json!({"name": api::fresh("pods"), "scope_name": "pods", "expression": expression});
        let mapping = api.post("propertymappings/provider/scope/", body).await["pk"].clone();
        let more = json!({
            "oidc_jwks": {"keys": [keys.public(KEY).await]}, "expected_issuers": [ISSUER],
            "expected_audiences": ["https://apps.example.org"], "user_property_mappings": [mapping],
        });
        let (slug, pk) = source(stage.site, more).await;
        trust(&stage, &[&pk]).await;
        let expression = "return request.context['oauth_jwt']['kubernetes.io']['namespace'] == 'shop'";
        let body = json!({"name": api::fresh("namespace"), "expression": expression});
        let policy = api.post("policies/expression/", body).await["pk"].clone();
        api.bind(&stage.app, json!({"policy": policy})).await;
        Self { stage, keys, slug }
    }

    /// The projected token of a pod, as the cluster makes it.
    async fn token(&self, namespace: &str, account: &str, expires: i64) -> String {
        self.keys.sign(KEY, &self.claims(namespace, account, expires)).await
    }

    fn claims(&self, namespace: &str, account: &str, expires: i64) -> Value {
        pod(namespace, account, expires)
    }

    async fn accounts(&self) -> Vec<Value> {
        let found = self.stage.site.api.get(&format!("core/users/?path=goauthentik.io/sources/{}", self.slug)).await;
        found["results"].as_array().unwrap().clone()
    }

    async fn opens(&self, token: &str) -> u16 {
        let request = self.stage.get_as_stranger("/").header("authorization", format!("Bearer {token}"));
        request.go().await.status
    }
}

/// What a projected token says, as the cluster makes it.
fn pod(namespace: &str, account: &str, expires: i64) -> Value {
    json!({
        "aud": [ISSUER, "https://apps.example.org"],
        "exp": expires,
        "iat": now(),
        "iss": ISSUER,
        "jti": "0e5c1c5e-6a0f-4f7e-9a54-3f2f5c0e1d11",
        "kubernetes.io": {
            "namespace": namespace,
            "node": {"name": "worker-1", "uid": "53dd7ba2-8ad5-4c9c-8b0d-8a5d2a4d8f01"},
            "pod": {"name": format!("{account}-7c9d"), "uid": "a8f0c7d4-58a5-45b3-8a6e-0d3f5f1c2e02"},
            "serviceaccount": {"name": account, "uid": "6f0e2b8a-1f0d-4a3c-9a7b-7e5d4c3b2a03"},
            "warnafter": now() + 3607,
        },
        "nbf": now(),
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
    })
}

/// OA-330, OA-332, OA-333, OA-335, OA-336: a pod of one namespace gets in under the name that a mapping gave it, one of
/// another does not and leaves nothing behind; the account is there once, and its end follows the latest token.
#[test]
fn oa_330_pods_of_one_namespace_get_in() {
    run(async {
        let cluster = Cluster::new().await;
        let first = now() + 3600;
        let reply = assert(&cluster.stage, &cluster.token("shop", "backup", first).await).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let body = reply.json();
        assert!(body["expires_in"].as_i64().unwrap() <= 3600, "{body}");
        assert_eq!(claims(&api::text(&body["id_token"]))["exp"], first);
        assert_eq!(cluster.opens(&api::text(&body["access_token"])).await, 200);
        let seen = cluster.stage.recorder.last();
        let base = "pod-shop-backup";
        let name = seen.one("x-authentik-username").unwrap();
        assert!(name.starts_with(base), "{name}");
        assert_eq!(seen.one("x-authentik-name").as_deref(), Some("backup in shop"));
        let before = cluster.accounts().await.pop().expect("an account");
        let attributes = json!({
            "namespace": "shop", "goauthentik.io/user/generated": true, "goauthentik.io/user/expires": first,
        });
        assert_eq!((&before["attributes"], &before["type"]), (&attributes, &json!("service_account")));

        refused(&cluster.stage, &cluster.token("games", "backup", first).await, "denied_by_policy").await;
        let second = first + 60;
        traded(&cluster.stage, &cluster.token("shop", "backup", second).await).await;
        traded(&cluster.stage, &cluster.token("shop", "backup", first).await).await;
        let after = cluster.accounts().await;
        let [account] = after.as_slice() else { panic!("{after:#?}") };
        assert_eq!((&account["pk"], &account["username"]), (&before["pk"], &before["username"]));
        assert_eq!(account["attributes"]["goauthentik.io/user/expires"], second);

        // Another pod's account is another one.
        traded(&cluster.stage, &cluster.token("shop", "mailer", first).await).await;
        assert_eq!(cluster.accounts().await.len(), 2);
    });
}

/// OA-331, OA-332: pods that start at the same time, and bring the same account's token for the first time, share one.
#[test]
fn oa_331_first_uses_at_once_make_one_account() {
    run(async {
        let cluster = Cluster::new().await;
        let token = cluster.token("shop", "replica", now() + 600).await;
        let replies = join_all((0..20).map(|_| assert(&cluster.stage, &token))).await;
        let tokens: Vec<_> = replies
            .iter()
            .map(|reply| {
                assert_eq!(reply.status, 200, "{}", reply.text());
                api::text(&reply.json()["access_token"])
            })
            .collect();
        assert_eq!(cluster.accounts().await.len(), 1);
        assert_eq!(join_all(tokens.iter().map(|token| cluster.opens(token))).await, [200; 20]);
    });
}

/// OA-336, PX-105: what a bound token was traded for ends with it, at the proxy too, although it is remembered there.
#[test]
fn oa_336_what_a_bound_token_was_traded_for_ends_with_it() {
    run(async {
        let cluster = Cluster::new().await;
        let until_then = now() + 4;
        let jwt = cluster.token("shop", "brief", until_then).await;
        let token = traded(&cluster.stage, &jwt).await;
        assert_eq!(cluster.opens(&token).await, 200);
        until("the end of the token", async || (cluster.opens(&token).await == 401).then_some(())).await;
        assert!(now() >= until_then);
        refused(&cluster.stage, &jwt, "assertion_expired").await;
    });
}

/// OA-327, OA-334: tokens without an end, of the kind that is kept in a secret, are refused; so is a pod whose claims the
/// mapping does not find, and one whose account an administrator deactivated.
#[test]
fn oa_327_tokens_without_an_end_are_refused() {
    run(async {
        let cluster = Cluster::new().await;
        let legacy = json!({
            "iss": ISSUER, "aud": "https://apps.example.org", "sub": "system:serviceaccount:shop:backup",
            "kubernetes.io/serviceaccount/namespace": "shop",
            "kubernetes.io/serviceaccount/service-account.name": "backup",
        });
        refused(&cluster.stage, &cluster.keys.sign(KEY, &legacy).await, "assertion_without_end").await;
        let mut nameless = cluster.claims("shop", "backup", now() + 600);
        nameless.as_object_mut().unwrap().remove("kubernetes.io");
        refused(&cluster.stage, &cluster.keys.sign(KEY, &nameless).await, "mapping_failed").await;
        let year = cluster.token("shop", "backup", now() + 365 * 86_400).await;
        refused(&cluster.stage, &year, "assertion_lives_too_long").await;
        assert!(cluster.accounts().await.is_empty());
        let token = cluster.token("shop", "backup", now() + 600).await;
        let given = traded(&cluster.stage, &token).await;
        assert_eq!(cluster.opens(&given).await, 200);
        let path = format!("core/users/{}/", cluster.accounts().await[0]["pk"]);
        cluster.stage.site.api.patch(&path, json!({"is_active": false})).await;
        assert_eq!(cluster.opens(&given).await, 401);
        refused(&cluster.stage, &token, "user_inactive").await;
    });
}

/// OA-281, OA-330, CO-730: the example of the handbook lets pods of one namespace in, with the requests that it shows.
#[test]
fn oa_281_the_example_of_the_handbook_lets_pods_in() {
    run(async {
        let (site, keys, recorder, folder) =
            (Site::start().await, Keys::new(), Recorder::start().await, directory("pods"));
        let external = format!("http://notes.localhost:{}", site.port);
        let text = EXAMPLE
            .replace("https://orders.example.com", &external)
            .replace("http://127.0.0.1:8080", &recorder.url())
            .replace("{\"keys\": []}", &json!({"keys": [keys.public(KEY).await]}).to_string());
        let file = folder.path().join("pods.yaml");
        std::fs::write(&file, text).unwrap();
        let mut apply = portcullis(folder.path(), &["apply", file.to_str().unwrap()]);
        apply.env("PORTCULLIS_DATA_DIR", site.data());
        Finished::run(apply).await.ok();
        let list = site.api.get("outposts/proxy/?name=Orders").await;
        let id = api::text(&list["results"][0]["client_id"]);
        let endpoint = site.url("/application/o/token/");
        let ask = async |namespace: &str| {
            let mut claims = pod(namespace, "backup", now() + 3600);
            claims["aud"] = json!([external]);
            let token = folder.path().join("portcullis");
            std::fs::write(&token, keys.sign(KEY, &claims).await).unwrap();
            let (id, assertion) = (format!("client_id={id}"), format!("client_assertion@{}", token.display()));
            let kind = format!("client_assertion_type={JWT_BEARER}");
            let mut arguments =
                vec![endpoint.as_str(), "-d", "grant_type=client_credentials", "-d", &id, "-d", "scope=profile"];
            arguments.extend(["-d", &kind, "--data-urlencode", &assertion]);
            serde_json::from_str::<Value>(&curl(&arguments).await.ok()).unwrap()
        };
        let given = ask("shop").await;
        let bearer = format!("Authorization: Bearer {}", api::text(&given["access_token"]));
        // The server hears within a second of what was applied beside it.
        until("the page", async || {
            let page = curl(&[&external, "-H", &bearer]).await.ok();
            (page == "GET /\n").then_some(())
        })
        .await;
        assert_eq!(recorder.last().one("x-authentik-username").as_deref(), Some("pod-shop-backup"));
        assert_eq!(ask("games").await["error"], "invalid_grant");
        let person = site.api.person("human").await;
        let page = Visitor::new().sign_in(&external, &person).await;
        assert_eq!(page.reply.status, 403, "{}", page.reply.text());
    });
}
