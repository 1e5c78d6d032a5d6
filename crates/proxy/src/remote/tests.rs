pub(super) mod core;

use std::net::IpAddr;

use portcullis_core::channel::{Feed, Message, REVOCATION, Revoked};
use portcullis_core::epoch::Subject;
use serde_json::{Value, json};

use self::core::{Core, NOW, TOKEN, until};
use super::sessions::tests::session;
use super::*;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const WIKI: ProviderPk = ProviderPk(7);
const TOKENS: &str = "/application/o/token/";
const INTROSPECTION: &str = "/application/o/introspect/";

/// A form as its pairs.
fn form(body: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn outcome<T>(answer: &Result<T, ControlError>) -> &'static str {
    match answer {
        Ok(_) => "granted",
        Err(ControlError::Refused) => "refused",
        Err(ControlError::Throttled { .. }) => "throttled",
        Err(ControlError::Unavailable(_)) => "unavailable",
    }
}

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
    core.say(instances, 200, &core.moved(include_str!("recorded/instances.json")));
    remote.read().await.unwrap();
    for (status, body) in [(200, r#"{"results":[]}"#), (200, "{}"), (403, "{}"), (200, "null")] {
        core.say(instances, status, body);
        assert!(remote.read().await.is_err(), "{status} {body}");
        assert_eq!(remote.configuration().borrow().providers.len(), 1);
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

/// PX-091, PX-111, PX-341, PX-359, PX-421: an app password is traded by exactly this request, and its id token is whom it
/// belongs to; an answer without what only our own control plane adds is as good.
#[tokio::test]
async fn px_091_an_app_password_is_traded() {
    let core = Core::start().await;
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &core.proxies(|said| said["name"] = json!("Wiki é")));
    let remote = core.outpost();
    remote.read().await.unwrap();
    let (id_token, access_token) =
        (core.token(&json!({"preferred_username": "ada"})), core.token(&json!({"jti": "the-jti"})));
    let answer =
        json!({"access_token": access_token, "id_token": id_token, "token_type": "Bearer", "expires_in": 3600});
    core.say(TOKENS, 200, &answer.to_string());
    let grant = remote.verify_password(WIKI, "ada", "pass & word", CLIENT).await.unwrap();
    assert_eq!((grant.claims.preferred_username.as_str(), &grant.raw_token), ("ada", &id_token));
    assert_eq!((grant.bearings.access_token.as_str(), &grant.access_token), ("the-jti", &access_token));
    assert_eq!((grant.upstream_token, grant.logout_hint), (None, None));
    assert_eq!(grant.expires, NOW.plus_seconds(60));
    let asked = core.asked(TOKENS).remove(0);
    let sent = [
        ("grant_type", "client_credentials"),
        ("client_id", "Yk3vX0cQm1"),
        ("username", "ada"),
        ("password", "pass & word"),
        ("scope", "openid profile email entitlements ak_proxy"),
    ];
    assert_eq!(form(&asked.body), sent.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    let agent = concat!("goauthentik.io/outpost/", env!("CARGO_PKG_VERSION"), " (provider=Wiki )");
    assert_eq!(asked.headers["user-agent"], agent);
    assert_eq!(asked.headers["x-authentik-remote-ip"], "192.0.2.7");
    assert_eq!(asked.headers["x-authentik-outpost-token"], TOKEN);
    assert_eq!(asked.headers["x-forwarded-proto"], "http");

    let ours =
        json!({"access_token": access_token, "id_token": id_token, "upstream_token": "a.b.c", "logout_hint": "h"});
    core.say(TOKENS, 200, &ours.to_string());
    let grant = remote.verify_password(WIKI, "ada", "w", CLIENT).await.unwrap();
    assert_eq!((grant.upstream_token.as_deref(), grant.logout_hint.as_deref()), (Some("a.b.c"), Some("h")));
}

/// PX-341: where browsers see another host, the two endpoints are told of that one, and dialled as they are.
#[tokio::test]
async fn px_341_the_host_of_browsers_is_told_to_the_endpoints() {
    let core = Core::start().await;
    let remote = core.outpost_with(|settings| settings.host_browser = "https://login.test:8443/".to_owned());
    remote.read().await.unwrap();
    let _ = remote.introspect(WIKI, &core.token(&json!({})), CLIENT).await;
    let asked = core.asked(INTROSPECTION).remove(0);
    assert_eq!(
        (&asked.headers["host"], &asked.headers["x-forwarded-proto"]),
        (&"login.test:8443".parse().unwrap(), &"https".parse().unwrap())
    );
    let configuration = remote.configuration().borrow().clone();
    assert!(configuration.providers[0].endpoints.issuer.starts_with("https://login.test:8443/"));
}

/// PX-092, PX-359, PX-418, PX-421: a token is asked about by exactly this request; one of another application is refused.
#[tokio::test]
async fn px_092_a_bearer_token_is_introspected() {
    let core = Core::start().await;
    let remote = core.outpost();
    remote.read().await.unwrap();
    let mut recorded: Value = serde_json::from_str(&core.moved(include_str!("recorded/introspection.json"))).unwrap();
    recorded["exp"] = json!(NOW.seconds() + 60);
    core.say(INTROSPECTION, 200, &recorded.to_string());
    let token = core.token(&json!({"jti": "j"}));
    let grant = remote.introspect(WIKI, &token, CLIENT).await.unwrap();
    assert_eq!((grant.claims.preferred_username.as_str(), grant.claims.groups.len()), ("ada", 1));
    assert_eq!((&grant.raw_token, grant.bearings.access_token.as_str()), (&token, "j"));
    assert_eq!(grant.bearings.sid, recorded["sid"].as_str().unwrap());
    // Without a user's id, a subject that cannot collide stands for them.
    assert_eq!(grant.bearings.user, format!("sub:{}", recorded["sub"].as_str().unwrap()));
    let sent = [("client_id", "Yk3vX0cQm1"), ("client_secret", "client-secret-of-wiki"), ("token", &token)];
    assert_eq!(form(&core.asked(INTROSPECTION)[0].body), sent.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for (name, value) in
        [("aud", json!("other")), ("exp", json!(NOW.seconds())), ("sub", json!(null)), ("active", json!(1))]
    {
        let mut odd = recorded.clone();
        odd[name] = value;
        core.say(INTROSPECTION, 200, &odd.to_string());
        assert_eq!(outcome(&remote.introspect(WIKI, &token, CLIENT).await), "refused", "{name}");
    }
}

/// PX-191, PX-198, PX-416: the user whom our own control plane names beside its tokens counts, whatever scopes the tokens
/// have.
#[tokio::test]
async fn px_198_the_user_beside_the_tokens_counts() {
    let core = Core::start().await;
    let remote = core.outpost();
    remote.read().await.unwrap();
    let uuid = "5d1c6a1e-2f0b-4a3e-9a57-0c1b8f6f2a33";
    let token = core.token(&json!({"nonce": "nonce"}));
    let answer = |uuid: Value| json!({"access_token": token, "id_token": token, "user_uuid": uuid}).to_string();
    core.say(TOKENS, 200, &answer(json!(uuid)));
    assert_eq!(remote.verify_password(WIKI, "ada", "w", CLIENT).await.unwrap().bearings.user, uuid);
    assert_eq!(remote.exchange_code(exchange()).await.unwrap().bearings.user, uuid);
    core.say(TOKENS, 200, &answer(json!("ada")));
    assert_eq!(remote.exchange_code(exchange()).await.unwrap().bearings.user, "sub:7:s");
}

/// PX-111, PX-341: the outpost's token and its clients' addresses go to the control plane alone, wherever else the
/// configuration has tokens asked for.
#[tokio::test]
async fn px_111_the_token_goes_to_the_control_plane_alone() {
    let (core, elsewhere) = (Core::start().await, Core::start().await);
    let proxies = core.proxies(|said| {
        for name in ["token_endpoint", "introspection_endpoint"] {
            let moved = said["oidc_configuration"][name].as_str().unwrap().replace(&core.base, &elsewhere.base);
            said["oidc_configuration"][name] = json!(moved);
        }
    });
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &proxies);
    let remote = core.outpost();
    remote.read().await.unwrap();
    let _ = remote.verify_password(WIKI, "ada", "w", CLIENT).await;
    let _ = remote.introspect(WIKI, &core.token(&json!({})), CLIENT).await;
    for target in [TOKENS, INTROSPECTION] {
        let asked = elsewhere.asked(target).remove(0);
        for name in ["x-authentik-outpost-token", "x-authentik-remote-ip", "authorization"] {
            assert!(!asked.headers.contains_key(name), "{target} {name}");
        }
    }
}

fn exchange<'a>() -> CodeExchange<'a> {
    CodeExchange {
        provider: WIKI,
        code: "the code",
        redirect_uri: "https://wiki.example/outpost.goauthentik.io/callback?X-authentik-auth-callback=true",
        code_verifier: "verifier",
        nonce: "nonce",
        client: CLIENT,
    }
}

/// PX-148, PX-150, PX-152: a code is traded by exactly this request; the access token says who it is, with the nonce of
/// the login, or else the id token has it.
#[tokio::test]
async fn px_148_a_code_is_traded() {
    let core = Core::start().await;
    let remote = core.outpost();
    remote.read().await.unwrap();
    let answer = |access: Value, id: Value| {
        json!({"access_token": core.token(&access), "id_token": core.token(&id), "logout_hint": "h"}).to_string()
    };
    core.say(TOKENS, 200, &answer(json!({"nonce": "nonce", "jti": "j", "sid": "sid"}), json!({})));
    let grant = remote.exchange_code(exchange()).await.unwrap();
    assert_eq!((grant.bearings.access_token.as_str(), grant.bearings.sid.as_str()), ("j", "sid"));
    assert_eq!(grant.logout_hint.as_deref(), Some("h"));
    let sent = [
        ("grant_type", "authorization_code"),
        ("code", "the code"),
        ("redirect_uri", exchange().redirect_uri),
        ("client_id", "Yk3vX0cQm1"),
        ("client_secret", "client-secret-of-wiki"),
        ("code_verifier", "verifier"),
    ];
    assert_eq!(form(&core.asked(TOKENS)[0].body), sent.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for (access, id, expected) in [
        (json!({}), json!({"nonce": "nonce"}), "granted"),
        (json!({}), json!({"nonce": "other"}), "refused"),
        (json!({}), json!({"nonce": "nonce", "sub": "somebody else"}), "refused"),
        (json!({"nonce": "other"}), json!({"nonce": "nonce"}), "refused"),
        (json!({}), json!({}), "refused"),
        (json!({"nonce": "nonce", "sub": null}), json!({}), "refused"),
        (json!({"nonce": "nonce", "iss": "https://elsewhere.example/"}), json!({}), "refused"),
    ] {
        core.say(TOKENS, 200, &answer(access.clone(), id.clone()));
        assert_eq!(outcome(&remote.exchange_code(exchange()).await), expected, "{access} {id}");
    }
}

/// PX-085, PX-091, PX-092, PX-109, PX-148, PX-421: recorded answers of other kinds refuse, put off or say nothing; none
/// of them grants anything.
#[tokio::test]
async fn px_421_odd_answers_never_grant() {
    let core = Core::start().await;
    let remote = core.outpost();
    remote.read().await.unwrap();
    let odd: Value = serde_json::from_str(include_str!("recorded/odd.json")).unwrap();
    let cases = |kind: &str| odd[kind].as_array().unwrap().clone();
    let say = |target: &str, case: &Value| {
        core.say(target, u16::try_from(case["status"].as_u64().unwrap()).unwrap(), case["body"].as_str().unwrap());
    };
    for case in cases("token") {
        say(TOKENS, &case);
        let expected = case["outcome"].as_str().unwrap();
        assert_eq!(outcome(&remote.verify_password(WIKI, "ada", "w", CLIENT).await), expected, "{case}");
        assert_eq!(outcome(&remote.exchange_code(exchange()).await), expected, "{case}");
    }
    let token = core.token(&json!({}));
    for case in cases("introspection") {
        say(INTROSPECTION, &case);
        assert_eq!(
            outcome(&remote.introspect(WIKI, &token, CLIENT).await),
            case["outcome"].as_str().unwrap(),
            "{case}"
        );
    }
    assert_eq!(outcome(&remote.introspect(ProviderPk(99), &token, CLIENT).await), "refused");
    let nowhere = Core::start().await.outpost_with(|settings| {
        settings.host = Url::parse("http://127.0.0.1:1/").unwrap();
    });
    assert!(nowhere.read().await.is_err());
}

/// PX-363: what an administrator has to mend is told with exactly these keys, the address without a port.
#[tokio::test]
async fn px_363_misconfiguration_is_told() {
    let core = Core::start().await;
    core.say("/api/v3/events/events/", 201, "{}");
    let report = ConfigurationError {
        provider: "wiki".to_owned(),
        message: "It is wrong.".to_owned(),
        details: json!({"lines": [1]}),
        client: Some("::ffff:192.0.2.7".parse().unwrap()),
    };
    core.outpost().report(report).await.unwrap();
    let asked = core.asked("/api/v3/events/events/").remove(0);
    assert_eq!(asked.method, "POST");
    let sent: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(
        sent,
        json!({
            "action": "configuration_error", "app": "authentik.providers.proxy", "client_ip": "192.0.2.7",
            "context": {"message": "It is wrong.", "provider": "wiki", "details": {"lines": [1]}},
        })
    );
}

async fn keep(remote: &Remote, value: &str, sub: &str, sid: &str) -> SessionRecord {
    let mut record = session(7, value, sub, sid);
    record.grant.built_at = remote.epochs().present();
    remote.put(&record).await.unwrap();
    record
}

fn active(more: &Value) -> String {
    let mut said = json!({"active": true});
    for (name, value) in more.as_object().unwrap() {
        said[name] = value.clone();
    }
    said.to_string()
}

/// PX-196, PX-198, PX-517: without a channel sessions are proven by their token; what nobody can tell is believed for a
/// while, but not after the control plane has named it.
#[tokio::test]
async fn px_196_sessions_are_proven_by_introspection() {
    let core = Core::start().await;
    let remote = core.outpost();
    remote.read().await.unwrap();
    let record = keep(&remote, "one", "ada", "s").await;
    let stands = async || outcome_of(&remote.still_stands(&record).await);
    core.say(INTROSPECTION, 200, &active(&json!({"sub": "ada"})));
    assert_eq!(stands().await, "stands");
    assert_eq!(form(&core.asked(INTROSPECTION)[0].body)[2].1, "access-token-of-a-session");
    for (status, body, expected) in [
        (200, r#"{"active":false}"#, "ended"),
        (200, r#"{"active":true,"sub":"somebody else"}"#, "ended"),
        // Nobody says that it ended: within the time of grace it is believed.
        (500, "", "stands"),
        (401, "{}", "stands"),
        (200, "{}", "stands"),
    ] {
        core.say(INTROSPECTION, status, body);
        assert_eq!(stands().await, expected, "{status} {body}");
    }
    remote.sessions.bump(Subject::User("uuid-of-ada"));
    assert_eq!(stands().await, "unknown", "what was named has to be proven, grace or not");
    core.say(INTROSPECTION, 200, &active(&json!({})));
    assert_eq!(stands().await, "stands");

    let strict = core.outpost_with(|settings| settings.grace = Duration::ZERO);
    strict.read().await.unwrap();
    let record = keep(&strict, "one", "ada", "s").await;
    core.say(INTROSPECTION, 503, "");
    assert_eq!(outcome_of(&strict.still_stands(&record).await), "unknown");
}

/// PX-196, PX-111: while the control plane cannot be reached at all, only one request in a while waits for that.
#[tokio::test]
async fn px_196_not_everybody_waits_in_vain() {
    let core = Core::start().await;
    let proxies = core.proxies(|said| {
        said["oidc_configuration"]["introspection_endpoint"] = json!("http://127.0.0.1:1/introspect/");
    });
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &proxies);
    let remote = core.outpost();
    remote.read().await.unwrap();
    let record = keep(&remote, "one", "ada", "s").await;
    assert!(!remote.link.is_futile());
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
    assert!(remote.link.is_futile());
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
    remote.sessions.bump(Subject::User("uuid-of-ada"));
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "unknown");
    remote.link.connected();
    assert!(!remote.link.is_futile());
}

/// PX-196, PX-111: a control plane that takes connections and says nothing is given up before whoever asks gives up, so
/// that sessions are believed, and only one request in a while waits for that.
#[tokio::test]
async fn px_196_a_silent_control_plane_is_given_up_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}/introspect/", silent.local_addr().unwrap());
    let core = Core::start().await;
    let proxies = core.proxies(|said| said["oidc_configuration"]["introspection_endpoint"] = json!(place));
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &proxies);
    let limit = Duration::from_secs(10);
    let remote = core.outpost_with(|settings| (settings.connect, settings.limit) = (limit * 9, limit));
    remote.read().await.unwrap();
    let record = keep(&remote, "one", "ada", "s").await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    assert!(remote.link.is_futile());
    drop(silent);
}

fn outcome_of(answer: &Result<bool, ControlError>) -> &'static str {
    match answer {
        Ok(true) => "stands",
        Ok(false) => "ended",
        Err(_) => "unknown",
    }
}

/// PX-380, PX-382, PX-388, PX-007: the channel is opened with these parameters and headers, HELLO is the first word, and
/// code 1000 the last.
#[tokio::test]
async fn px_382_the_channel_begins_with_hello_and_ends_in_order() {
    let core = Core::start().await;
    let (remote, stop, work) = core.running().await;
    let opened = core.memory().asked.iter().find(|asked| asked.target.starts_with("/ws/")).cloned().unwrap();
    let expected =
        format!("/ws/outpost/5d1c6a1e-2f0b-4a3e-9a57-0c1b8f6f2a11/?instance_uuid={}&attempt=0", remote.instance);
    assert_eq!(opened.target, expected);
    assert_eq!(opened.headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(opened.headers["user-agent"], concat!("goauthentik.io/outpost/", env!("CARGO_PKG_VERSION")));
    let hello = core.memory().hellos[0].clone();
    assert_eq!((hello.uuid.as_str(), hello.hostname.as_str()), (remote.instance.as_str(), "machine"));
    assert_eq!((hello.version.as_str(), hello.portcullis_seq), (env!("CARGO_PKG_VERSION"), None));
    assert_eq!(core.asked("/api/v3/root/config/").len(), 1);
    stop.cancel();
    work.await.unwrap();
    until("the end of the channel", || core.memory().closes == [1000]).await;
    assert!(!remote.link.is_alive());
}

/// PX-107, PX-196, PX-389: revocations are heard once they are announced; with the channel sessions need no proof.
#[tokio::test]
async fn px_107_revocations_are_heard_once_they_are_announced() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    assert!(!remote.hears_revocations());
    let record = keep(&remote, "one", "ada", "s").await;
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
    assert_eq!(core.asked(INTROSPECTION).len(), 0);
    core.send(&Message::Feed(Feed::Hello { features: vec!["another".to_owned()], seq: 3 }));
    core.send(&Message::Feed(Feed::Hello { features: vec![REVOCATION.to_owned()], seq: 3 }));
    until("the announcement", || remote.hears_revocations()).await;
    core.memory().refuses_channels = true;
    core.hang_up();
    until("the loss", || !remote.hears_revocations()).await;
}

/// PX-195, PX-386, PX-387, PX-517, PX-518: the end of a session is heard at once, also behind a change whose reading waits
/// for the control plane; an empty id and nonsense do nothing.
#[tokio::test]
async fn px_387_ends_of_sessions_are_heard_at_once() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    let (one, other) = (keep(&remote, "one", "ada", "s").await, keep(&remote, "two", "bob", "").await);
    // From here on each reading fails, and is tried again for seconds.
    core.say("/api/v3/outposts/instances/", 502, "");
    let before = core.asked("/api/v3/outposts/instances/").len();
    core.send(&Message::TriggerUpdate);
    until("the reading", || core.asked("/api/v3/outposts/instances/").len() > before).await;
    for text in ["{", "[]", r#"{"instruction":9,"args":{}}"#, r#"{"instruction":3,"args":null}"#] {
        core.send_text(text);
    }
    core.send(&Message::SessionEnd(String::new()));
    core.send(&Message::SessionEnd("s".to_owned()));
    until("the end of the session", || remote.sessions.by_digest((WIKI, one.digest)).is_none()).await;
    assert!(remote.sessions.by_digest((WIKI, other.digest)).is_some());
}

/// PX-028, PX-386: a change is read.
#[tokio::test]
async fn px_386_a_change_is_read() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    let renamed = core.proxies(|said| said["name"] = json!("renamed"));
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &renamed);
    core.send(&Message::TriggerUpdate);
    until("the change", || remote.configuration().borrow().providers[0].name == "renamed").await;
    let again = core.proxies(|said| said["name"] = json!("again"));
    core.say("/api/v3/outposts/proxy/?page=1&page_size=100", 200, &again);
    remote.refresh();
    until("what SIGUSR1 asks for", || remote.configuration().borrow().providers[0].name == "again").await;
}

/// PX-198, PX-409: what is revoked ends, each kind; what is reset has to be proven.
#[tokio::test]
async fn px_409_the_feed_ends_and_doubts_sessions() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    let ended = |subject: Revoked, seq| Message::Feed(Feed::Revoke { seq, provider: Some(7), subject });
    for (seq, subject) in [
        (4, Revoked::Sid("s".to_owned())),
        (5, Revoked::Jti("jti-of-one".to_owned())),
        (6, Revoked::UserUuid("uuid-of-ada".to_owned())),
        (7, Revoked::Sub("ada".to_owned())),
    ] {
        let record = keep(&remote, "one", "ada", "s").await;
        core.send(&ended(subject.clone(), seq));
        until("the end", || remote.sessions.by_digest((WIKI, record.digest)).is_none()).await;
        until("the number", || remote.link.seq() == Some(seq)).await;
    }
    core.say(INTROSPECTION, 200, r#"{"active":false}"#);
    for (seq, provider, user) in [(8, Some(7), None), (9, None, Some("uuid-of-ada".to_owned())), (10, None, None)] {
        let record = keep(&remote, "one", "ada", "s").await;
        assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
        core.send(&Message::Feed(Feed::Reset { seq: Some(seq), provider, user }));
        until("the number", || remote.link.seq() == Some(seq)).await;
        assert_eq!(outcome_of(&remote.still_stands(&record).await), "ended");
    }
}

/// PX-198, PX-409: what is told of a user is asked about for those, too, of whom nothing but the subject is known.
#[tokio::test]
async fn px_198_whoever_may_be_the_user_is_proven_anew() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    let mut record = session(7, "one", "ada", "");
    record.grant.bearings.user = "sub:7:ada".to_owned();
    core.say(INTROSPECTION, 200, r#"{"active":false}"#);
    let revoked = Feed::Revoke { seq: 4, provider: None, subject: Revoked::UserUuid("uuid".to_owned()) };
    let reset = Feed::Reset { seq: Some(5), provider: None, user: Some("uuid".to_owned()) };
    for (seq, feed) in [(4, revoked), (5, reset)] {
        record.grant.built_at = remote.epochs().present();
        remote.put(&record).await.unwrap();
        assert_eq!(outcome_of(&remote.still_stands(&record).await), "stands");
        core.send(&Message::Feed(feed));
        until("the number", || remote.link.seq() == Some(seq)).await;
        assert_eq!(outcome_of(&remote.still_stands(&record).await), "ended");
    }
}

/// PX-355, PX-384, PX-409: a channel that breaks is opened again at once; the outpost says how far it has heard, and reads
/// its configuration.
#[tokio::test]
async fn px_384_a_broken_channel_is_opened_again() {
    let core = Core::start().await;
    let (remote, ..) = core.running().await;
    core.send(&Message::Feed(Feed::Hello { features: vec![REVOCATION.to_owned()], seq: 41 }));
    until("the announcement", || remote.hears_revocations()).await;
    let read = core.asked("/api/v3/outposts/instances/").len();
    core.hang_up();
    until("another channel", || core.memory().hellos.len() > 1).await;
    assert_eq!(core.memory().hellos.last().unwrap().portcullis_seq, Some(41));
    until("a reading", || core.asked("/api/v3/outposts/instances/").len() > read).await;
    let attempts: Vec<_> =
        core.memory().asked.iter().filter(|asked| asked.target.contains("attempt=1")).cloned().collect();
    assert_eq!(attempts.len(), 1);

    // A feed whose numbers went back is another one: everything has to be proven.
    let record = keep(&remote, "one", "ada", "s").await;
    core.say(INTROSPECTION, 200, r#"{"active":false}"#);
    core.send(&Message::Feed(Feed::Hello { features: vec![REVOCATION.to_owned()], seq: 3 }));
    until("the number", || remote.link.seq() == Some(3)).await;
    assert_eq!(outcome_of(&remote.still_stands(&record).await), "ended");
}
