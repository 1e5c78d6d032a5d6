//! App passwords, tokens and codes: what the control plane is asked about them, and what its answers mean.

use super::*;

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
    let mut recorded: Value =
        serde_json::from_str(&core.moved(include_str!("../recorded/introspection.json"))).unwrap();
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
    let odd: Value = serde_json::from_str(include_str!("../recorded/odd.json")).unwrap();
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
