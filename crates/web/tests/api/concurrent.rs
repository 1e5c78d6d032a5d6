//! Several clients at the same time.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

/// How often two clients try to get in each other's way.
const ROUNDS: u32 = 12;

/// Something that is changed, with two of its fields and a value for each that is another in every round.
struct Target {
    path: String,
    left: (&'static str, fn(u32) -> Value),
    right: (&'static str, fn(u32) -> Value),
}

fn text(round: u32) -> Value {
    json!(format!("round-{round}"))
}

fn flag(round: u32) -> Value {
    json!(round.is_multiple_of(2))
}

fn number(round: u32) -> Value {
    json!(round + 1)
}

fn attributes(round: u32) -> Value {
    json!({"round": [round]})
}

fn url(round: u32) -> Value {
    json!(format!("https://round-{round}.example"))
}

fn minutes(round: u32) -> Value {
    json!(format!("minutes={}", round + 5))
}

async fn targets(site: &Site) -> Vec<Target> {
    let (ada, _) = site.user("ada").await;
    let group = site.post("/core/groups/", json!({"name": "all"})).await["pk"].clone();
    let proxy = site.provider("wiki").await["pk"].clone();
    site.application("wiki", &proxy).await;
    let mut oauth2 = site.provider_body("app", json!({"redirect_uris": []})).await;
    for only_of_proxies in ["external_host", "internal_host"] {
        oauth2.as_object_mut().unwrap().remove(only_of_proxies);
    }
    let oauth2 = site.post("/providers/oauth2/", oauth2).await["pk"].clone();
    let mapping = json!({"name": "Extra", "scope_name": "extra", "expression": "return {}"});
    let mapping = site.post("/propertymappings/provider/scope/", mapping).await["pk"].clone();
    let policy = site.post("/policies/password/", json!({"name": "length"})).await["pk"].clone();
    let binding = site.get("/core/applications/wiki/").await["pk"].clone();
    let binding = json!({"target": binding, "order": 0, "user": ada});
    let binding = site.post("/policies/bindings/", binding).await["pk"].clone();
    let source = json!({"name": "ci", "slug": "ci", "provider_type": "openidconnect", "consumer_key": "a",
        "consumer_secret": "b", "oidc_jwks": {"keys": []}});
    site.post("/sources/oauth/", source).await;
    let brand = site.post("/core/brands/", json!({"domain": "a.example"})).await["brand_uuid"].clone();
    let outpost = json!({"name": "edge", "type": "proxy", "providers": [proxy], "config": {}});
    let outpost = site.post("/outposts/instances/", outpost).await["pk"].clone();
    let at = |place: &str, key: &Value| format!("{place}{}/", key.as_str().map_or(key.to_string(), str::to_owned));
    vec![
        Target { path: at("/core/users/", &json!(ada)), left: ("name", text), right: ("attributes", attributes) },
        Target { path: at("/core/groups/", &group), left: ("name", text), right: ("attributes", attributes) },
        Target { path: "/core/tokens/ada-token/".to_owned(), left: ("description", text), right: ("expiring", flag) },
        Target { path: "/core/applications/wiki/".to_owned(), left: ("name", text), right: ("open_in_new_tab", flag) },
        Target { path: at("/providers/proxy/", &proxy), left: ("name", text), right: ("external_host", url) },
        Target {
            path: at("/providers/oauth2/", &oauth2),
            left: ("access_token_validity", minutes),
            right: ("logout_uri", url),
        },
        Target {
            path: at("/propertymappings/provider/scope/", &mapping),
            left: ("scope_name", text),
            right: ("description", text),
        },
        Target {
            path: at("/policies/password/", &policy),
            left: ("length_min", number),
            right: ("error_message", text),
        },
        Target { path: at("/policies/bindings/", &binding), left: ("order", number), right: ("enabled", flag) },
        Target { path: "/sources/oauth/ci/".to_owned(), left: ("consumer_key", text), right: ("enabled", flag) },
        Target { path: at("/core/brands/", &brand), left: ("branding_title", text), right: ("attributes", attributes) },
        Target { path: at("/outposts/instances/", &outpost), left: ("name", text), right: ("config", attributes) },
        Target {
            path: "/admin/settings/".to_owned(),
            left: ("default_token_length", |round| json!(64 + round)),
            right: ("gdpr_compliance", flag),
        },
    ]
}

/// CO-527: of two clients that change different fields of the same object at the same moment, neither undoes what the
/// other did.
///
/// An object is read, changed and written back under the write lock; had it been read before, the later one would
/// write back what the earlier one has just replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn co_527_writers_at_the_same_time_lose_nothing() {
    let site = Arc::new(Site::new().await);
    for Target { path, left, right } in targets(&site).await {
        for round in 0..ROUNDS {
            let writers = [left, right].map(|(field, value)| {
                let (site, path) = (Arc::clone(&site), path.clone());
                tokio::spawn(
                    async move { site.send(ADMIN, Method::PATCH, &path, Some(json!({field: value(round)}))).await },
                )
            });
            for writer in writers {
                let (status, answer) = writer.await.unwrap();
                assert_eq!(status, 200, "{path}: {answer}");
            }
            let found = site.get(&path).await;
            for (field, value) in [left, right] {
                assert_eq!(found[field], value(round), "{path} {field}, round {round}");
            }
        }
    }
}

/// CO-523: of several clients that take the same name at the same moment, one gets it, and the others are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn co_523_a_name_is_given_once() {
    let site = Arc::new(Site::new().await);
    for round in 0..ROUNDS {
        let name = text(round);
        let makers = [(); 4].map(|()| {
            let (site, body) = (Arc::clone(&site), json!({"name": name}));
            tokio::spawn(async move { site.send(ADMIN, Method::POST, "/core/groups/", Some(body)).await.0.as_u16() })
        });
        let mut answers = Vec::new();
        for maker in makers {
            answers.push(maker.await.unwrap());
        }
        answers.sort_unstable();
        assert_eq!(answers, [201, 400, 400, 400], "{name}");
    }
}
