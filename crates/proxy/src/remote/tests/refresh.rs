//! What an outpost reads: itself, its providers, their certificates.

use super::*;

/// PX-350, PX-351, PX-353, PX-355: an outpost reads itself and all pages of its providers, by the token, as an outpost.
#[tokio::test]
async fn px_353_all_pages_are_read() {
    let core = Core::start().await;
    let mut first: Value = serde_json::from_str(&core.proxies(|_| {})).unwrap();
    first["pagination"]["next"] = json!(2);
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &first.to_string());
    let second = core.proxies(|said| {
        said["pk"] = json!(8);
        said["name"] = json!("a blog");
    });
    // A page that fails is asked for again.
    core.say_in_turn("/api/v3/outposts/proxy/?page=2&page_size=100", &[(502, ""), (200, "<html>"), (200, &second)]);
    let remote = core.outpost();
    assert!(!remote.is_ready());
    remote.read().await.unwrap();
    assert!(remote.is_ready());
    let configuration = remote.configuration().borrow().clone();
    let names: Vec<_> = configuration.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!((configuration.outpost_name.as_str(), names), ("edge-1", vec!["a blog", "wiki"]));
    for asked in &core.memory().asked {
        assert_eq!(asked.headers["authorization"], format!("Bearer {TOKEN}"));
        assert_eq!(asked.headers["accept"], "application/json");
        assert_eq!(asked.headers["user-agent"], concat!("goauthentik.io/outpost/", env!("CARGO_PKG_VERSION")));
    }
    assert_eq!(core.asked("/api/v3/outposts/proxy/?page=2&page_size=100").len(), 3);
}

/// PX-005: a base URL with a path is kept, with or without a slash at its end.
#[tokio::test]
async fn px_005_calls_are_below_the_base_url() {
    for path in ["/auth", "/auth/"] {
        let core = Core::start().await;
        let base = format!("{}{path}", core.base);
        let remote = core.outpost_with(|settings| settings.host = Url::parse(&base).unwrap());
        assert!(remote.get("root/config/").await.is_err());
        assert_eq!(core.asked("/auth/api/v3/root/config/").len(), 1);
    }
}

/// PX-006, PX-354: without an answer, or with an empty list, there is no configuration, and the old one stays.
#[tokio::test]
async fn px_354_without_an_outpost_nothing_changes() {
    let core = Core::start().await;
    let remote = core.outpost();
    let instances = "/api/v3/outposts/instances/";
    core.say(instances, 200, r#"{"results":[]}"#);
    assert!(remote.read().await.is_err() && !remote.is_ready());
    core.say(instances, 200, &core.moved(include_str!("../recorded/instances.json")));
    remote.read().await.unwrap();
    for (status, body) in [(200, r#"{"results":[]}"#), (200, "{}"), (403, "{}"), (200, "null")] {
        core.say(instances, status, body);
        assert!(remote.read().await.is_err(), "{status} {body}");
        assert_eq!(remote.configuration().borrow().providers.len(), 1);
    }
}

/// PX-006: a control plane that was never reached is asked once at a time, in the rhythm that is promised.
#[tokio::test]
async fn px_006_each_attempt_is_one_question() {
    let core = Core::start().await;
    let remote = core.outpost();
    let instances = "/api/v3/outposts/instances/";
    core.say(instances, 503, "");
    for attempt in 1..=2 {
        assert!(remote.read().await.is_err() && !remote.is_ready());
        assert_eq!(core.asked(instances).len(), attempt);
    }
}

/// PX-008, PX-350: a provider that cannot be read any more stays as it was, and takes no other with it.
#[tokio::test]
async fn px_008_a_provider_that_cannot_be_read_stays_as_it_was() {
    let core = Core::start().await;
    let remote = core.outpost();
    remote.read().await.unwrap();
    let mut list: Value = serde_json::from_str(&core.proxies(|said| {
        said["mode"] = json!("ray");
        said["external_host"] = json!("https://changed.example");
    }))
    .unwrap();
    let mut blog = list["results"][0].clone();
    (blog["pk"], blog["mode"], blog["tomorrow"]) = (json!(8), json!("proxy"), json!({"x": [1]}));
    let results = list["results"].as_array_mut().unwrap();
    results.extend([blog, json!({"pk": 9, "mode": "ray"}), json!(null)]);
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &list.to_string());
    remote.read().await.unwrap();
    let hosts: Vec<_> =
        remote.configuration().borrow().providers.iter().map(|one| (one.pk.0, one.external_host.clone())).collect();
    assert_eq!(hosts, [(7, "https://wiki.example".to_owned()), (8, "https://changed.example".to_owned())]);
}

/// PX-301, PX-360, PX-361, PX-362: a certificate is fetched once for each fingerprint; failure keeps the one before.
#[tokio::test]
async fn px_301_certificates_are_fetched_by_fingerprint() {
    let core = Core::start().await;
    let pk = "5d1c6a1e-2f0b-4a3e-9a57-0c1b8f6f2a22";
    let at = |end: &str| format!("/api/v3/crypto/certificatekeypairs/{pk}/{end}");
    core.say(
        "/api/v3/outposts/proxy/?page=1&page_size=100",
        200,
        &core.proxies(|said| said["certificate"] = json!(pk)),
    );
    let about = |fingerprint: &str| {
        json!({"name": "wiki", "fingerprint_sha256": fingerprint, "cert_expiry": "2027-01-01T00:00:00Z"}).to_string()
    };
    core.say(&at(""), 200, &about("aa"));
    core.say(&at("view_certificate/"), 200, r#"{"data":"chain 1"}"#);
    core.say(&at("view_private_key/"), 200, r#"{"data":"key 1"}"#);
    let remote = core.outpost();
    let chain = || remote.configuration().borrow().certificates.first().map(|certificate| certificate.chain.clone());
    remote.read().await.unwrap();
    remote.read().await.unwrap();
    assert_eq!((core.asked(&at("view_private_key/")).len(), chain().as_deref()), (1, Some("chain 1")));
    core.say(&at(""), 200, &about("bb"));
    core.say(&at("view_certificate/"), 500, "");
    remote.read().await.unwrap();
    assert_eq!(chain().as_deref(), Some("chain 1"));
    core.say(&at("view_certificate/"), 200, r#"{"data":"chain 2"}"#);
    remote.read().await.unwrap();
    assert_eq!(chain().as_deref(), Some("chain 2"));
}
