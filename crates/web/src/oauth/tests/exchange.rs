//! Tokens that are exchanged for others, and who acts for whom (RFC 8693).

mod ends;

use super::assertions::issuer::Key;
use super::assertions::{KUBERNETES, source};
use super::clients::client;
use super::*;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// An instance with Ada, and two clients: `front`, where she has a token, and `back`, which exchanges them.
struct Shop {
    site: Site,
    ada: i64,
    front: Value,
    back: Value,
}

impl Shop {
    async fn new(more: Value) -> Self {
        Self::at(Site::new().await, more).await
    }

    async fn at(site: Site, more: Value) -> Self {
        let ada = site.user("ada").await;
        app_password(&site, ada, "ada-key", KEY).await;
        let front = client(&site, "front", json!({})).await;
        let mut body = json!({"grant_types": [GRANT, "client_credentials"], "jwt_federation_providers": [front["pk"]]});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let back = client(&site, "back", body).await;
        Self { site, ada, front, back }
    }

    async fn change(&self, body: Value) {
        let path = format!("/providers/oauth2/{}/", self.back["pk"]);
        let changed = self.site.admin(Method::PATCH, &path, body).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
    }

    /// Ada's token at `front`.
    async fn of_ada(&self) -> Reply {
        let own = ("client_id", text_of(&self.front, "client_id"));
        let all =
            [own, ("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY), ("scope", "openid")];
        post(&self.site, "/application/o/token/", &all, &[]).await
    }

    /// The token of the service that acts, at `front`: of the account that stands for that client.
    async fn of_service(&self) -> Reply {
        let own = [
            ("client_id", text_of(&self.front, "client_id")),
            ("client_secret", text_of(&self.front, "client_secret")),
        ];
        let all = [own[0], own[1], ("grant_type", "client_credentials"), ("scope", "openid")];
        post(&self.site, "/application/o/token/", &all, &[]).await
    }

    async fn exchange(&self, more: &[(&str, &str)]) -> Reply {
        self.exchange_at(&self.back, more).await
    }

    async fn exchange_at(&self, at: &Value, more: &[(&str, &str)]) -> Reply {
        let own = [("client_id", text_of(at, "client_id")), ("client_secret", text_of(at, "client_secret"))];
        let mut all = vec![own[0], own[1], ("grant_type", GRANT), ("scope", "openid profile")];
        for (name, value) in more {
            if *value == "-" {
                all.retain(|(known, _)| known != name);
            } else {
                all.push((*name, *value));
            }
        }
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes();
        post_from(&self.site, [10, next[1], next[2], next[3]], "/application/o/token/", &all).await
    }

    async fn userinfo(&self, token: &str) -> Reply {
        get(&self.site, "/application/o/userinfo/", &[("authorization", &format!("Bearer {token}"))]).await
    }
}

fn text_of<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().expect("text")
}

fn subject(token: &str) -> [(&str, &str); 2] {
    [("subject_token", token), ("subject_token_type", ACCESS_TOKEN)]
}

fn acting<'a>(token: &'a str, actor: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut all = subject(token).to_vec();
    all.extend([("actor_token", actor), ("actor_token_type", ACCESS_TOKEN)]);
    all
}

fn error(reply: &Reply) -> (u16, &str) {
    (reply.status.as_u16(), text(reply, "error"))
}

/// OA-735, OA-738: nobody exchanges tokens whose client was not told to, is public, or has not proven itself; and without an
/// actor only where that is allowed.
#[tokio::test]
async fn oa_735_token_exchange_is_off_by_default() {
    let shop = Shop::new(json!({})).await;
    let (ada, service) = (shop.of_ada().await, shop.of_service().await);
    let (ada, service) = (text(&ada, "access_token"), text(&service, "access_token"));
    let all = acting(ada, service);
    let plain = client(&shop.site, "plain", json!({"jwt_federation_providers": [shop.front["pk"]]})).await;
    assert_eq!(error(&shop.exchange_at(&plain, &all).await), (400, "unauthorized_client"));
    let mut guessed = all.clone();
    guessed.extend([("client_secret", "-"), ("client_secret", "a guess")]);
    assert_eq!(error(&shop.exchange(&guessed).await), (400, "invalid_client"));
    assert_eq!(error(&shop.exchange(&subject(ada)).await), (400, "invalid_request"), "nobody says who acts");
    assert_eq!(shop.exchange(&all).await.status, 200);
    shop.change(json!({"token_exchange_without_actor": true})).await;
    let reply = shop.exchange(&subject(ada)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(claims(&reply.json["access_token"]).get("act").is_none());
    let offered = async || {
        let found = get(&shop.site, "/application/o/back/.well-known/openid-configuration", &[]).await.json;
        found["grant_types_supported"].as_array().expect("a list").contains(&json!(GRANT))
    };
    assert!(offered().await, "OA-106");
    let key = json!({"common_name": "tokens", "validity_days": 365, "alg": "ecdsa"});
    let key = shop.site.admin(Method::POST, "/crypto/certificatekeypairs/generate/", key).await.json["pk"].clone();
    shop.change(json!({"client_type": "public", "signing_key": key})).await;
    assert_eq!(error(&shop.exchange(&all).await), (400, "unauthorized_client"));
    assert!(!offered().await);
}

/// OA-736, OA-737, OA-738, OA-343: the new token is about the subject and says who acts; it ends no later than what was
/// brought, and the event names both.
#[tokio::test]
async fn oa_738_the_new_token_says_who_acts() {
    let shop = Shop::new(json!({})).await;
    let ada = shop.of_ada().await;
    shop.site.clock.advance_seconds(600);
    let service = shop.of_service().await;
    shop.site.clock.advance_seconds(600);
    let all = acting(text(&ada, "access_token"), text(&service, "access_token"));
    let reply = shop.exchange(&all).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!((text(&reply, "issued_token_type"), text(&reply, "token_type")), (ACCESS_TOKEN, "Bearer"));
    assert_eq!((&reply.json["expires_in"], text(&reply, "scope")), (&json!(2400), "openid profile"));
    assert!(reply.json.get("refresh_token").is_none());
    let front = claims(&service.json["access_token"]);
    let act = json!({"iss": front["iss"], "sub": front["sub"]});
    for name in ["access_token", "id_token"] {
        let said = claims(&reply.json[name]);
        assert_eq!((&said["preferred_username"], &said["act"]), (&json!("ada"), &act), "{name}");
        assert_eq!(said["aud"], shop.back["client_id"], "{name}");
    }
    let token = text(&reply, "access_token");
    let own =
        [("client_id", text_of(&shop.back, "client_id")), ("client_secret", text_of(&shop.back, "client_secret"))];
    let told = post(&shop.site, "/application/o/introspect/", &[own[0], own[1], ("token", token)], &[]).await;
    assert_eq!((&told.json["active"], &told.json["act"]), (&json!(true), &act));
    let (_, login) = shop.site.events("login").await;
    let args = &login["auth_method_args"];
    assert_eq!((&login["auth_method"], &args["provider"]["name"]), (&json!("token_exchange"), &json!("front")));
    let ada_sub = &claims(&ada.json["access_token"])["sub"];
    assert_eq!((&args["sub"], &args["actor"]["sub"]), (ada_sub, &front["sub"]));
    assert_eq!(args["actor"]["username"], "ak-front-client_credentials");
    // It is no key to the API, where it would be Ada who did something.
    assert_eq!(shop.userinfo(token).await.status, 200);
    // Claims of mappings left out, the actor is told all the same.
    shop.change(json!({"include_claims_in_id_token": false})).await;
    assert_eq!(claims(&shop.exchange(&all).await.json["access_token"])["act"], act);
    // The actor's token ends first.
    shop.site.clock.advance_seconds(2400);
    assert_eq!(error(&shop.exchange(&all).await), (400, "invalid_request"), "Ada's has ended");
    assert_eq!(shop.userinfo(token).await.status, 401);
}

/// OA-738, OA-463: what somebody acts with ends when they, or whom they act for, are deactivated; those who are gone act for
/// nobody.
#[tokio::test]
async fn oa_738_it_ends_with_either_party() {
    let shop = Shop::new(json!({})).await;
    let (ada, service) = (shop.of_ada().await, shop.of_service().await);
    let all = acting(text(&ada, "access_token"), text(&service, "access_token"));
    let reply = shop.exchange(&all).await;
    let token = text(&reply, "access_token");
    let found = shop.site.admin(Method::GET, "/core/users/?username=ak-front-client_credentials", None).await;
    let path = format!("/core/users/{}/", found.json["results"][0]["pk"]);
    shop.site.admin(Method::PATCH, &path, json!({"is_active": false})).await;
    assert_eq!(shop.userinfo(token).await.status, 401);
    assert_eq!(error(&shop.exchange(&all).await), (400, "invalid_request"));
    shop.site.admin(Method::PATCH, &path, json!({"is_active": true})).await;
    let service = shop.of_service().await;
    let all = acting(text(&ada, "access_token"), text(&service, "access_token"));
    let reply = shop.exchange(&all).await;
    let token = text(&reply, "access_token");
    assert_eq!(shop.userinfo(token).await.status, 200);
    shop.site.admin(Method::DELETE, &path, None).await;
    assert_eq!(shop.userinfo(token).await.status, 401);
    let service = shop.of_service().await;
    let all = acting(text(&ada, "access_token"), text(&service, "access_token"));
    let reply = shop.exchange(&all).await;
    let token = text(&reply, "access_token");
    let ada = format!("/core/users/{}/", shop.ada);
    shop.site.admin(Method::PATCH, &ada, json!({"is_active": false})).await;
    assert_eq!(shop.userinfo(token).await.status, 401);
    assert_eq!(error(&shop.exchange(&all).await), (400, "invalid_request"));
}

/// OA-736, OA-737: other types, half of what is needed, another target and what is twice there are refused; of several targets
/// each has to be the client.
#[tokio::test]
async fn oa_736_what_is_asked_for_is_read_strictly() {
    let shop = Shop::new(json!({"token_exchange_without_actor": true})).await;
    let ada = shop.of_ada().await;
    let (access, id) = (text(&ada, "access_token"), text(&ada, "id_token"));
    let saml = "urn:ietf:params:oauth:token-type:saml2";
    let refresh = "urn:ietf:params:oauth:token-type:refresh_token";
    for (more, expected) in [
        (vec![], "invalid_request"),
        (vec![("subject_token", access)], "invalid_request"),
        (vec![("subject_token_type", ACCESS_TOKEN)], "invalid_request"),
        (vec![("subject_token", access), ("subject_token_type", ID_TOKEN)], "invalid_request"),
        (vec![("subject_token", access), ("subject_token_type", refresh)], "invalid_request"),
        (vec![("subject_token", access), ("subject_token_type", saml)], "invalid_request"),
        // No source vouches for a token of ours.
        (vec![("subject_token", access), ("subject_token_type", JWT)], "invalid_request"),
        (subject(id).to_vec(), "invalid_request"),
        (subject("a.b.c").to_vec(), "invalid_request"),
        (subject("words").to_vec(), "invalid_request"),
        ([subject(access).to_vec(), vec![("actor_token", access)]].concat(), "invalid_request"),
        ([subject(access).to_vec(), vec![("actor_token_type", ACCESS_TOKEN)]].concat(), "invalid_request"),
        ([subject(access).to_vec(), subject(access).to_vec()].concat(), "invalid_request"),
        ([subject(access).to_vec(), vec![("requested_token_type", refresh)]].concat(), "invalid_request"),
        ([subject(access).to_vec(), vec![("requested_token_type", saml)]].concat(), "invalid_request"),
        ([subject(access).to_vec(), vec![("audience", "front")]].concat(), "invalid_target"),
        ([subject(access).to_vec(), vec![("resource", "https://elsewhere.example/")]].concat(), "invalid_target"),
    ] {
        let reply = shop.exchange(&more).await;
        assert_eq!(error(&reply), (400, expected), "{more:?}");
        assert!(!reply.text.contains(access), "OA-011");
    }
    let long = "x".repeat(17 * 1024);
    assert_eq!(error(&shop.exchange(&subject(&long)).await), (400, "invalid_request"));
    let own = text_of(&shop.back, "client_id");
    let issuer = "http://id.example/application/o/back/";
    let mut meant = subject(access).to_vec();
    meant.extend([("audience", own), ("audience", issuer), ("resource", issuer)]);
    let reply = shop.exchange(&meant).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    meant.push(("audience", "front"));
    assert_eq!(error(&shop.exchange(&meant).await), (400, "invalid_target"));
    // Nothing is granted that is not asked for (OA-216).
    let mut less = subject(access).to_vec();
    less.push(("scope", "-"));
    assert_eq!(text(&shop.exchange(&less).await, "scope"), "");
    // An id token alone opens nothing.
    let mut wanted = subject(access).to_vec();
    wanted.push(("requested_token_type", ID_TOKEN));
    let reply = shop.exchange(&wanted).await;
    assert_eq!((text(&reply, "issued_token_type"), text(&reply, "token_type")), (ID_TOKEN, "N_A"));
    assert!(reply.json.get("id_token").is_none() && reply.json.get("refresh_token").is_none());
    assert_eq!(claims(&reply.json["access_token"])["preferred_username"], "ada");
    assert_eq!(shop.userinfo(text(&reply, "access_token")).await.status, 401);
    // A token of a client that this one does not name.
    shop.change(json!({"jwt_federation_providers": []})).await;
    assert_eq!(error(&shop.exchange(&subject(access)).await), (400, "invalid_request"));
}

/// OA-738: chains of those who act are told in full, three deep at most, and nobody leaves them by exchanging once more, or by
/// trading the token in another way.
#[tokio::test]
async fn oa_738_chains_end_at_three() {
    let shop = Shop::new(json!({})).await;
    let (ada, service) = (shop.of_ada().await, shop.of_service().await);
    let service = text(&service, "access_token");
    let mut token = text(&ada, "access_token").to_owned();
    let mut at = shop.back.clone();
    let mut from = shop.front.clone();
    for depth in 1..=4 {
        let reply = shop.exchange_at(&at, &acting(&token, service)).await;
        if depth == 4 {
            assert_eq!(error(&reply), (400, "invalid_request"));
            assert_eq!(shop.site.events("login_failed").await.1["reason"], "too_many_actors");
            break;
        }
        assert_eq!(reply.status, 200, "{}", reply.text);
        token = text(&reply, "access_token").to_owned();
        let mut act = claims(&json!(token))["act"].clone();
        let mut found = 0;
        while act.is_object() {
            found += 1;
            act = act["act"].take();
        }
        assert_eq!(found, depth);
        from = at;
        let federated = json!([from["pk"], shop.front["pk"]]);
        let more = json!({"grant_types": [GRANT, "client_credentials"], "jwt_federation_providers": federated});
        at = client(&shop.site, &format!("back-{depth}"), more).await;
    }
    assert_eq!(shop.site.admin(Method::GET, "/core/applications/", None).await.json["pagination"]["count"], 5);
    let plain = [
        ("client_id", text_of(&at, "client_id")),
        ("grant_type", "client_credentials"),
        ("client_assertion_type", super::assertions::JWT_BEARER),
        ("client_assertion", &token),
        ("scope", "openid"),
    ];
    let traded = post(&shop.site, "/application/o/token/", &plain, &[]).await;
    assert_eq!(claims(&traded.json["access_token"])["act"], claims(&json!(token))["act"], "{} {from}", traded.text);
    // One that acts is none that is acted for.
    let reply = shop.exchange_at(&at, &acting(text(&ada, "access_token"), &token)).await;
    assert_eq!(error(&reply), (400, "invalid_request"));
    assert_eq!(shop.site.events("login_failed").await.1["reason"], "actor_is_acted_for");
}

/// OA-736, OA-738, OA-336: subjects of sources are exchanged, too; where their token says who may act for them, nobody else
/// does; and nothing outlives it, whatever else is said of assertions.
#[tokio::test]
async fn oa_738_may_act_of_a_source_is_honoured() {
    let shop = Shop::new(json!({})).await;
    let key = Key::new("k1");
    let set = json!({"oidc_jwks": {"keys": [key.jwk()]}, "expected_issuers": [KUBERNETES]});
    let trusted = source(&shop.site, "cluster", set).await;
    assert_eq!(trusted.status, 201, "{}", trusted.text);
    shop.change(json!({"jwt_federation_sources": [trusted.json["pk"]], "cap_to_assertion_exp": false})).await;
    let now = shop.site.ctx.now().seconds();
    let pod = |name: &str, more: Value| {
        let mut said = json!({"iss": KUBERNETES, "sub": name, "aud": text_of(&shop.back, "client_id"), "exp": now + 600,
            "iat": now, "jti": name});
        for (name, value) in more.as_object().expect("an object") {
            said[name] = value.clone();
        }
        key.sign(&said)
    };
    let exchange = async |subject: &str, actor: &str| {
        let all = [
            ("subject_token", subject),
            ("subject_token_type", JWT),
            ("actor_token", actor),
            ("actor_token_type", JWT),
        ];
        shop.exchange(&all).await
    };
    let (job, runner) = (pod("job", json!({"may_act": {"sub": "runner"}})), pod("runner", json!({})));
    let reply = exchange(&job, &runner).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(claims(&reply.json["access_token"])["act"], json!({"iss": KUBERNETES, "sub": "runner"}));
    assert_eq!(reply.json["expires_in"], 600);
    let found = shop.site.admin(Method::GET, "/core/users/?type=service_account", None).await;
    let names = found.json["results"].to_string();
    assert!(names.contains("back-job") && !names.contains("back-runner"), "nobody gets an account by acting");
    let short = pod("runner", json!({"exp": now + 60}));
    assert_eq!(exchange(&job, &short).await.json["expires_in"], 60);
    assert_eq!(error(&exchange(&job, &pod("other", json!({}))).await), (400, "invalid_request"));
    assert_eq!(shop.site.events("login_failed").await.1["reason"], "may_not_act");
    shop.change(json!({"token_exchange_without_actor": true})).await;
    let alone = [("subject_token", job.as_str()), ("subject_token_type", JWT)];
    assert_eq!(error(&shop.exchange(&alone).await), (400, "invalid_request"), "it says who may");
    let chained = pod("job", json!({"act": {"sub": "a", "act": {"sub": "b", "act": {"sub": "c"}}}}));
    assert_eq!(error(&exchange(&chained, &runner).await), (400, "invalid_request"));
    let strange = pod("job", json!({"act": "a"}));
    assert_eq!(error(&exchange(&strange, &runner).await), (400, "invalid_request"));
    let foreign = Key::new("k1").sign(&json!({"iss": KUBERNETES, "sub": "job"}));
    assert_eq!(error(&exchange(&foreign, &runner).await), (400, "invalid_request"));
    assert_eq!(error(&exchange(&job, &foreign).await), (400, "invalid_request"));
}

/// OA-738, OA-030: a mapping may say who may act for somebody, whether their tokens show it or not.
#[tokio::test]
async fn oa_738_a_mapping_says_who_may_act() {
    let shop = Shop::at(Site::with_expressions().await, json!({})).await;
    let service = shop.of_service().await;
    let service = text(&service, "access_token");
    let path = format!("/providers/oauth2/{}/", shop.front["pk"]);
    let mut mappings = shop.front["property_mappings"].clone();
    let may = async |name: &str, sub: &Value| {
        let expression = format!("return {{\"may_act\": {{\"sub\": {sub}}}}}");
        let body = json!({"name": name, "scope_name": "openid", "expression": expression});
        let made = shop.site.admin(Method::POST, "/propertymappings/provider/scope/", body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.json["pk"].clone()
    };
    let (nobody, it) = (may("nobody", &json!("nobody")).await, may("it", &claims(&json!(service))["sub"]).await);
    for (mapping, shows, status) in [(&nobody, true, 400), (&nobody, false, 400), (&it, true, 200), (&it, false, 200)] {
        let list = mappings.as_array_mut().expect("a list");
        list.push(mapping.clone());
        let body = json!({"property_mappings": list, "include_claims_in_id_token": shows});
        assert_eq!(shop.site.admin(Method::PATCH, &path, body).await.status, 200);
        list.pop();
        let ada = shop.of_ada().await;
        let ada = text(&ada, "access_token");
        assert_eq!(claims(&json!(ada)).get("may_act").is_some(), shows);
        assert_eq!(shop.exchange(&acting(ada, service)).await.status, status, "{shows}");
    }
}

/// OA-738, OA-435: what somebody acts with is no key to the API, where everything is done under the user's name.
#[tokio::test]
async fn oa_738_nobody_acts_at_the_api() {
    let shop = Shop::new(json!({"token_exchange_without_actor": true})).await;
    super::refresh::offer(&shop.site, "oauth2", &shop.back["pk"], "authentik_api").await;
    let (ada, service) = (shop.of_ada().await, shop.of_service().await);
    let scope = [("scope", "-"), ("scope", "goauthentik.io/api")];
    let plain = [subject(text(&ada, "access_token")).to_vec(), scope.to_vec()].concat();
    let reply = shop.exchange(&plain).await;
    let me = shop.site.bearer(text(&reply, "access_token"), Method::GET, "/core/users/me/", None).await;
    assert_eq!(me.status, 200, "{}", me.text);
    let all = [acting(text(&ada, "access_token"), text(&service, "access_token")), scope.to_vec()].concat();
    let reply = shop.exchange(&all).await;
    assert_eq!(text(&reply, "scope"), "goauthentik.io/api");
    let me = shop.site.bearer(text(&reply, "access_token"), Method::GET, "/core/users/me/", None).await;
    assert_eq!(me.status, 403, "{}", me.text);
}

/// OA-736, OA-130, OA-710: a client that names itself exchanges its own tokens, also encrypted ones, and proves itself with its
/// key.
#[tokio::test]
async fn oa_736_a_client_exchanges_its_own_tokens() {
    let key = Key::new("k1");
    let shop = Shop::new(json!({"client_jwks": {"keys": [key.jwk()]}})).await;
    let pair = async |alg: &str| {
        let body = json!({"common_name": alg, "validity_days": 365, "alg": alg});
        shop.site.admin(Method::POST, "/crypto/certificatekeypairs/generate/", body).await.json["pk"].clone()
    };
    let keys = json!({"signing_key": pair("ecdsa").await, "encryption_key": pair("rsa").await});
    shop.change(keys).await;
    shop.change(json!({"jwt_federation_providers": [shop.back["pk"]]})).await;
    let id = text_of(&shop.back, "client_id");
    let ask = async |more: &[(&str, &str)]| {
        let now = shop.site.ctx.now().seconds();
        let jti = shop.site.ctx.entropy.alphanumeric(20);
        let own = json!({"iss": id, "sub": id, "aud": "http://id.example/application/o/back/", "exp": now + 60, "iat": now,
            "nbf": now, "jti": jti});
        let jwt = key.sign(&own);
        let mut all =
            vec![("client_assertion_type", super::assertions::JWT_BEARER), ("client_assertion", jwt.as_str())];
        all.extend_from_slice(more);
        all.extend([("client_id", id), ("scope", "openid profile")]);
        post(&shop.site, "/application/o/token/", &all, &[]).await
    };
    let own = ask(&[("grant_type", "client_credentials")]).await;
    let ada = [("client_id", id), ("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY)];
    let ada = post(&shop.site, "/application/o/token/", &ada, &[]).await;
    let mut all = vec![("grant_type", GRANT)];
    all.extend(acting(text(&ada, "access_token"), text(&own, "access_token")));
    let reply = ask(&all).await;
    assert_eq!(reply.status, 200, "{} {}", reply.text, shop.site.events("login_failed").await.1);
    assert_eq!(text(&reply, "access_token").split('.').count(), 5);
}

/// OA-682, OA-661: tokens that do not hold are recorded, and say nothing of the client that brought them, which has proven
/// itself: it is not kept waiting, and its reputation stays.
#[tokio::test]
async fn oa_682_bad_tokens_do_not_keep_their_client_waiting() {
    let shop = Shop::new(json!({"token_exchange_without_actor": true})).await;
    let ada = shop.of_ada().await;
    let brings = async |token: &str| {
        let own =
            [("client_id", text_of(&shop.back, "client_id")), ("client_secret", text_of(&shop.back, "client_secret"))];
        let all = [&own[..], &[("grant_type", GRANT), ("scope", "openid")], &subject(token)].concat();
        post_from(&shop.site, [203, 0, 113, 7], "/application/o/token/", &all).await
    };
    for _ in 0..12 {
        assert_eq!(error(&brings("a.b.c").await), (400, "invalid_request"));
    }
    let reply = brings(text(&ada, "access_token")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let (count, failed) = shop.site.events("login_failed").await;
    assert!(count > 0);
    assert_eq!(failed["variant"], "token_exchange");
    let scores = shop.site.admin(Method::GET, "/policies/reputation/scores/", None).await;
    assert_eq!(scores.json["pagination"]["count"], 0, "{}", scores.text);
}

/// OA-738: who trades an assertion in another way says nothing of who acts: a token that says who may act for its subject is not
/// for them, and one that says who does goes on saying so.
#[tokio::test]
async fn oa_738_nobody_goes_round_who_may_act() {
    let shop = Shop::new(json!({})).await;
    let key = Key::new("k1");
    let set = json!({"oidc_jwks": {"keys": [key.jwk()]}, "expected_issuers": [KUBERNETES]});
    let trusted = source(&shop.site, "cluster", set).await;
    shop.change(json!({"jwt_federation_sources": [trusted.json["pk"]]})).await;
    let now = shop.site.ctx.now().seconds();
    let trade = async |more: Value| {
        let mut said = json!({"iss": KUBERNETES, "sub": "job", "aud": text_of(&shop.back, "client_id"),
            "exp": now + 600, "iat": now});
        for (name, value) in more.as_object().expect("an object") {
            said[name] = value.clone();
        }
        let jwt = key.sign(&said);
        let all = [
            ("client_id", text_of(&shop.back, "client_id")),
            ("grant_type", "client_credentials"),
            ("client_assertion_type", super::assertions::JWT_BEARER),
            ("client_assertion", jwt.as_str()),
            ("scope", "openid"),
        ];
        post(&shop.site, "/application/o/token/", &all, &[]).await
    };
    assert_eq!(trade(json!({})).await.status, 200);
    assert_eq!(error(&trade(json!({"may_act": {"sub": "runner"}})).await), (400, "invalid_grant"));
    assert_eq!(shop.site.events("login_failed").await.1["reason"], "may_not_act");
    let act = json!({"iss": KUBERNETES, "sub": "runner"});
    let reply = trade(json!({"act": act})).await;
    assert_eq!(claims(&reply.json["access_token"])["act"], act, "{}", reply.text);
    assert_eq!(error(&trade(json!({"act": "runner"})).await), (400, "invalid_grant"));
}
