//! OAuth2 clients of their own: sign-in, tokens, user information.

use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use portcullis_core::keys::sha256;

use super::browser::{Browser, set_password};
use super::login::member;
use super::*;

const PASSWORD: &str = "correct horse battery";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CALLBACK: &str = "https://app.example/cb";
const SCOPES: &str = "openid profile email";

/// An instance with Ada and a client of its own, `app`.
pub(super) struct App {
    pub(super) site: Site,
    pub(super) ada: i64,
    pub(super) provider: Value,
}

/// Makes a client with an application of the same name.
pub(super) async fn client(site: &Site, slug: &str, more: Value) -> Value {
    let flow = async |slug: &str| {
        let found = site.admin(Method::GET, &format!("/flows/instances/{slug}/"), None).await;
        found.json["pk"].clone()
    };
    let mut mappings = Vec::new();
    for name in ["openid", "profile", "email", "entitlements"] {
        let managed = format!("goauthentik.io/providers/oauth2/scope-{name}");
        let found = site.admin(Method::GET, &format!("/propertymappings/all/?managed={managed}"), None).await;
        mappings.push(found.json["results"][0]["pk"].clone());
    }
    let mut body = json!({
        "name": slug,
        "authorization_flow": flow("default-provider-authorization-implicit-consent").await,
        "invalidation_flow": flow("default-provider-invalidation-flow").await,
        "redirect_uris": [{"matching_mode": "strict", "url": CALLBACK}],
        "property_mappings": mappings,
    });
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    let made = site.admin(Method::POST, "/providers/oauth2/", body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let body = json!({"name": slug, "slug": slug, "provider": made.json["pk"]});
    let application = site.admin(Method::POST, "/core/applications/", body).await;
    assert_eq!(application.status, 201, "{}", application.text);
    made.json
}

impl App {
    pub(super) async fn new(more: Value) -> Self {
        Self::at(Site::new().await, more).await
    }

    pub(super) async fn at(site: Site, more: Value) -> Self {
        let ada = site.user("ada").await;
        set_password(&site, ada, PASSWORD).await;
        app_password(&site, ada, "ada-key", KEY).await;
        let provider = client(&site, "app", more).await;
        Self { site, ada, provider }
    }

    /// The same with a key pair that signs.
    async fn with_key(alg: &str) -> Self {
        let app = Self::new(json!({})).await;
        let body = json!({"common_name": "tokens", "validity_days": 365, "alg": alg});
        let made = app.site.admin(Method::POST, "/crypto/certificatekeypairs/generate/", body).await;
        assert_eq!(made.status, 200, "{}", made.text);
        app.change(json!({"signing_key": made.json["pk"]})).await;
        app
    }

    pub(super) async fn change(&self, body: Value) {
        let path = format!("/providers/oauth2/{}/", self.provider["pk"]);
        let changed = self.site.admin(Method::PATCH, &path, body).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
    }

    pub(super) fn id(&self) -> &str {
        self.provider["client_id"].as_str().expect("text")
    }

    pub(super) fn secret(&self) -> &str {
        self.provider["client_secret"].as_str().expect("text")
    }

    pub(super) async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        let mut all = vec![("client_id", self.id())];
        all.extend_from_slice(parameters);
        post(&self.site, path, &all, &[]).await
    }

    pub(super) async fn authorize(&self, more: &[(&str, &str)]) -> Reply {
        let mut browser = Browser::default();
        browser.sign_in(&self.site, "ada", PASSWORD).await;
        self.authorize_in(&mut browser, more).await
    }

    /// Asks for a code in a browser of its own.
    pub(super) async fn authorize_in(&self, browser: &mut Browser, more: &[(&str, &str)]) -> Reply {
        let challenge = URL_SAFE_NO_PAD.encode(sha256(VERIFIER.as_bytes()));
        let mut all = vec![
            ("client_id", self.id()),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", SCOPES),
            ("nonce", "n-1"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in more {
            all.retain(|(known, _)| known != name);
            all.push((name, value));
        }
        all.retain(|(_, value)| !value.is_empty());
        browser.get(&self.site, &format!("/application/o/authorize/?{}", encoded(&all))).await
    }

    /// Signs Ada in, and gives the answer of the token endpoint.
    pub(super) async fn login(&self, with_secret: bool) -> Reply {
        let reply = self.authorize(&[]).await;
        self.redeem(&reply, with_secret).await
    }

    /// Brings the code of a redirect to the token endpoint.
    pub(super) async fn redeem(&self, reply: &Reply, with_secret: bool) -> Reply {
        assert_eq!(reply.status, 302, "{}", reply.text);
        let code = member(reply, "code").expect("a code");
        let mut all = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        if with_secret {
            all.push(("client_secret", self.secret()));
        }
        self.ask("/application/o/token/", &all).await
    }

    pub(super) async fn userinfo(&self, token: &str) -> Reply {
        get(&self.site, "/application/o/userinfo/", &[("authorization", &format!("Bearer {token}"))]).await
    }

    async fn discovery(&self) -> Value {
        get(&self.site, "/application/o/app/.well-known/openid-configuration", &[]).await.json
    }
}

/// OA-033, OA-076, OA-107, OA-121, OA-224: a client of its own signs people in with the key that it names, and what it
/// gets verifies with the published one; nothing meant for proxies is in the answer.
#[tokio::test]
async fn oa_033_a_client_of_its_own_signs_people_in() {
    for (alg, expected) in [("ecdsa", Algorithm::ES256), ("rsa", Algorithm::RS256)] {
        let app = App::with_key(alg).await;
        let reply = app.login(true).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.json.get("upstream_token").is_none() && reply.json.get("logout_hint").is_none());
        let set = get(&app.site, "/application/o/app/jwks/", &[]).await.json;
        let set: JwkSet = serde_json::from_value(set).expect("a key set");
        let token = text(&reply, "id_token");
        let header = jsonwebtoken::decode_header(token).expect("a header");
        assert_eq!(header.alg, expected);
        let key = DecodingKey::from_jwk(set.find(&header.kid.expect("a kid")).expect("published")).expect("usable");
        let mut validation = Validation::new(expected);
        validation.validate_exp = false;
        validation.set_audience(&[app.id()]);
        validation.set_issuer(&["http://id.example/application/o/app/"]);
        let said: Value = jsonwebtoken::decode(token, &key, &validation).expect("verifies").claims;
        assert_eq!((&said["preferred_username"], &said["nonce"]), (&json!("ada"), &json!("n-1")));
        assert_eq!(app.discovery().await["id_token_signing_alg_values_supported"], json!([format!("{expected:?}")]));
    }
}

/// OA-124, OA-341, OA-896: when a client names another key pair, what the old one signed verifies as long as it may live, and
/// is good for a trade; it ends at once with its certificate.
#[tokio::test]
async fn oa_124_a_retired_key_is_believed() {
    let app = App::with_key("ecdsa").await;
    let second = client(&app.site, "second", json!({"jwt_federation_providers": [app.provider["pk"]]})).await;
    let published = async || -> Vec<Value> {
        let set = get(&app.site, "/application/o/app/jwks/", &[]).await.json;
        set["keys"].as_array().expect("a list").iter().map(|key| key["kid"].clone()).collect()
    };
    let made = async |alg: &str| {
        let body = json!({"common_name": format!("next {alg}"), "validity_days": 365, "alg": alg});
        app.site.admin(Method::POST, "/crypto/certificatekeypairs/generate/", body).await.json["pk"].clone()
    };
    let path = format!("/providers/oauth2/{}/", app.provider["pk"]);
    let first_key = app.site.admin(Method::GET, &path, None).await.json["signing_key"].clone();
    let first = published().await;
    let token = app.login(true).await;
    let token = text(&token, "access_token");
    app.change(json!({"signing_key": made("rsa").await})).await;
    let both = published().await;
    assert_eq!((both.len(), &both[1]), (2, &first[0]), "the one that signs is the first");
    let all = [
        ("client_id", second["client_id"].as_str().expect("text")),
        ("grant_type", "client_credentials"),
        ("client_secret", token),
        ("scope", "openid"),
    ];
    assert_eq!(post(&app.site, "/application/o/token/", &all, &[]).await.status, 200);

    app.change(json!({"signing_key": first_key})).await;
    assert_eq!(published().await, [first[0].clone(), both[0].clone()], "back again");
    app.change(json!({"signing_key": made("ecdsa").await, "refresh_token_validity": "hours=1"})).await;
    assert_eq!(published().await.len(), 3);
    app.site.clock.advance_seconds(29 * 24 * 3600);
    assert_eq!(published().await.len(), 3, "as long as a refresh token");
    app.site.clock.advance_seconds(24 * 3600);
    assert_eq!(published().await.len(), 1);

    let second_key = app.site.admin(Method::GET, &path, None).await.json["signing_key"].clone();
    app.change(json!({"signing_key": null})).await;
    assert_eq!(published().await.len(), 1, "a day at least");
    let gone = format!("/crypto/certificatekeypairs/{}/", second_key.as_str().expect("text"));
    assert_eq!(app.site.admin(Method::DELETE, &gone, None).await.status, 204);
    assert!(published().await.is_empty());
}

/// OA-124, OA-341: when a certificate is given another key, what the old one signed verifies as long as it may live, and is good
/// for a trade, for clients that it signs for and for those that it did before; it ends at once with the certificate.
#[tokio::test]
async fn oa_124_a_replaced_key_is_believed() {
    let app = App::with_key("ecdsa").await;
    let second = client(&app.site, "second", json!({"jwt_federation_providers": [app.provider["pk"]]})).await;
    let published = async || -> Vec<Value> {
        let set = get(&app.site, "/application/o/app/jwks/", &[]).await.json;
        set["keys"].as_array().expect("a list").iter().map(|key| key["kid"].clone()).collect()
    };
    let pair = async |name: &str, alg: &str| {
        let body = json!({"common_name": name, "validity_days": 365, "alg": alg});
        let made = app.site.admin(Method::POST, "/crypto/certificatekeypairs/generate/", body).await.json["pk"].clone();
        let path = format!("/crypto/certificatekeypairs/{}/", made.as_str().expect("text"));
        let view =
            async |what: &str| app.site.admin(Method::GET, &format!("{path}{what}/"), None).await.json["data"].clone();
        json!({"certificate_data": view("view_certificate").await, "key_data": view("view_private_key").await})
    };
    let path = format!("/providers/oauth2/{}/", app.provider["pk"]);
    let key = app.site.admin(Method::GET, &path, None).await.json["signing_key"].clone();
    let place = format!("/crypto/certificatekeypairs/{}/", key.as_str().expect("text"));
    let replace = async |body: Value| {
        let changed = app.site.admin(Method::PATCH, &place, body).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        published().await
    };
    let first = published().await;
    let reply = app.login(true).await;
    let token = text(&reply, "access_token");
    let trade = [
        ("client_id", second["client_id"].as_str().expect("text")),
        ("grant_type", "client_credentials"),
        ("client_secret", token),
        ("scope", "openid"),
    ];
    let another = pair("second", "rsa").await;
    let both = replace(another.clone()).await;
    assert_eq!((both.len(), &both[1]), (2, &first[0]), "the one that signs is the first");
    assert_eq!(replace(another).await, both, "the same key again");
    assert_eq!(replace(json!({"name": "renamed"})).await, both);
    assert_eq!(post(&app.site, "/application/o/token/", &trade, &[]).await.status, 200);

    app.change(json!({"signing_key": null})).await;
    let third = replace(pair("third", "ecdsa").await).await;
    assert_eq!(third.len(), 2, "what it signed for this client while it did: {third:?}");
    assert!(both.iter().all(|kid| third.contains(kid)), "{third:?}");
    assert_eq!(post(&app.site, "/application/o/token/", &trade, &[]).await.status, 200);
    app.site.clock.advance_seconds(29 * 24 * 3600);
    assert_eq!(published().await.len(), 2, "as long as a refresh token");
    app.site.clock.advance_seconds(24 * 3600);
    assert!(published().await.is_empty());

    app.change(json!({"signing_key": key})).await;
    assert_eq!(replace(pair("fourth", "rsa").await).await.len(), 2);
    assert_eq!(app.site.admin(Method::DELETE, &place, None).await.status, 204);
    assert!(published().await.is_empty());
}

/// OA-932, CO-595: the name under which clients know a key from elsewhere stays with the key, whoever writes the same one again.
#[tokio::test]
async fn oa_932_the_name_of_a_key_stays_with_it() {
    let app = App::with_key("ecdsa").await;
    let path = format!("/providers/oauth2/{}/", app.provider["pk"]);
    let key = app.site.admin(Method::GET, &path, None).await.json["signing_key"].as_str().expect("text").to_owned();
    let actor = portcullis_idp::Actor::system();
    let mut change = portcullis_idp::Change::begin(&app.site.ctx, &actor).await.expect("begins");
    let pk = key.parse().expect("a key");
    portcullis_idp::takeover::kid_in(&mut change, pk, "known-elsewhere").await.expect("is kept");
    change.commit().await.expect("commits");
    let place = format!("/crypto/certificatekeypairs/{key}/");
    let view =
        async |what: &str| app.site.admin(Method::GET, &format!("{place}{what}/"), None).await.json["data"].clone();
    let (chain, private) = (view("view_certificate").await, view("view_private_key").await);
    // As a client does that takes the newline at the end for its own.
    let private = private.as_str().expect("text").trim_end().to_owned();
    let body = json!({"name": "again", "certificate_data": chain, "key_data": private});
    let written = app.site.admin(Method::PUT, &place, body).await;
    assert_eq!(written.status, 200, "{}", written.text);
    let set = get(&app.site, "/application/o/app/jwks/", &[]).await.json;
    let kids: Vec<_> = set["keys"].as_array().expect("a list").iter().map(|key| key["kid"].clone()).collect();
    assert_eq!(kids, ["known-elsewhere"]);
}

/// OA-033, OA-107, OA-122: without a key the client secret signs, and is published nowhere.
#[tokio::test]
async fn oa_107_without_a_key_the_secret_signs() {
    let app = App::new(json!({})).await;
    let reply = app.login(true).await;
    let key = DecodingKey::from_secret(app.secret().as_bytes());
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.set_audience(&[app.id()]);
    let said: Value = jsonwebtoken::decode(text(&reply, "id_token"), &key, &validation).expect("verifies").claims;
    assert_eq!(said["email_verified"], false);
    assert_eq!(get(&app.site, "/application/o/app/jwks/", &[]).await.json, json!({"keys": []}));
    let document = app.discovery().await;
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["HS256"]));
    assert_eq!(document["grant_types_supported"], json!(["authorization_code", "refresh_token", "client_credentials"]));
    assert_eq!(document["userinfo_endpoint"], "http://id.example/application/o/userinfo/");
}

/// OA-526, OA-527, OA-030: user information has what the mappings say, also where the tokens have not.
#[tokio::test]
async fn oa_527_user_information_has_what_mappings_say() {
    let app = App::new(json!({"include_claims_in_id_token": false})).await;
    let reply = app.login(true).await;
    for token in [claims(&reply.json["id_token"]), claims(&reply.json["access_token"])] {
        assert!(token.get("preferred_username").is_none() && token.get("email").is_none(), "{token}");
        assert_eq!(token["sub"].as_str().map(str::len), Some(64));
    }
    let told = app.userinfo(text(&reply, "access_token")).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(told.headers["cache-control"], "no-store");
    assert_eq!((&told.json["preferred_username"], &told.json["nonce"]), (&json!("ada"), &json!("n-1")));
    assert_eq!(told.json["sub"], claims(&reply.json["id_token"])["sub"]);
    assert!(["iss", "aud", "exp", "jti", "sid"].iter().all(|claim| told.json.get(*claim).is_none()));
}

/// OA-525, OA-528, OA-705, OA-884: one token, in the header or in a form; what is wrong is said in the challenge,
/// without a body.
#[tokio::test]
async fn oa_528_user_information_says_what_is_wrong() {
    let app = App::new(json!({})).await;
    let reply = app.login(true).await;
    let token = text(&reply, "access_token");
    let bearer = format!("bEARER {token}");
    let path = "/application/o/userinfo/";
    assert_eq!(get(&app.site, path, &[("authorization", &bearer)]).await.status, 200);
    assert_eq!(post(&app.site, path, &[("access_token", token)], &[]).await.status, 200);
    let both = post(&app.site, path, &[("access_token", token)], &[("authorization", &bearer)]).await;
    let none = get(&app.site, path, &[]).await;
    let in_query = get(&app.site, &format!("{path}?access_token={token}"), &[]).await;
    let unknown = app.userinfo("nonsense").await;
    let all = [("grant_type", "client_credentials"), ("client_secret", app.secret()), ("scope", "profile")];
    let narrow = app.ask("/application/o/token/", &all).await;
    let narrow = app.userinfo(text(&narrow, "access_token")).await;
    for (reply, status, error) in [
        (&both, 400, Some("invalid_request")),
        (&none, 401, None),
        (&in_query, 401, None),
        (&unknown, 401, Some("invalid_token")),
        (&narrow, 403, Some("insufficient_scope")),
    ] {
        let challenge = reply.headers["www-authenticate"].to_str().expect("text");
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (status, ""));
        assert!(challenge.starts_with("Bearer realm=\"id.example\""), "{challenge}");
        assert_eq!(challenge.contains("error="), error.is_some(), "{challenge}");
        assert!(error.is_none_or(|error| challenge.contains(&format!("error=\"{error}\""))), "{challenge}");
    }
    let ours = ("origin", "https://app.example");
    let shared = get(&app.site, path, &[("authorization", &bearer), ours]).await;
    assert_eq!(shared.headers["access-control-allow-origin"], "https://app.example");
    let other = get(&app.site, path, &[("authorization", &bearer), ("origin", "https://evil.example")]).await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
}

/// OA-529: a revoked token tells nothing more, and its use is noticed.
#[tokio::test]
async fn oa_529_a_revoked_token_tells_nothing() {
    let app = App::new(json!({})).await;
    let reply = app.login(true).await;
    let token = text(&reply, "access_token");
    let all = [("client_secret", app.secret()), ("token", token)];
    let told = app.ask("/application/o/introspect/", &all).await;
    assert_eq!((&told.json["active"], &told.json["client_id"]), (&json!(true), &json!(app.id())));
    assert!(told.json.get("upstream_token").is_none());
    assert_eq!(app.ask("/application/o/revoke/", &all).await.json, json!({}));
    assert_eq!(app.userinfo(token).await.status, 401);
    let (count, event) = app.site.events("suspicious_request").await;
    assert_eq!(
        (count, &event["provider"], &event["affected_user"]["name"]),
        (1, &json!("app"), &json!("ada")),
        "OA-529"
    );
    assert_eq!(app.ask("/application/o/introspect/", &all).await.json, json!({"active": false}));
}

/// OA-022, OA-041, OA-213, OA-491, OA-510, OA-741, OA-846, OA-701: a public client needs PKCE and no secret; it can revoke its
/// own tokens and learn nothing of any.
#[tokio::test]
async fn oa_041_public_clients_need_pkce() {
    let app = App::with_key("rsa").await;
    app.change(json!({"client_type": "public", "client_secret": ""})).await;
    let refused = app.authorize(&[("code_challenge", ""), ("code_challenge_method", "")]).await;
    assert_eq!(member(&refused, "error").as_deref(), Some("invalid_request"));
    let plain = app.authorize(&[("code_challenge_method", "plain")]).await;
    assert_eq!(member(&plain, "error").as_deref(), Some("invalid_request"));
    let reply = app.login(false).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let token = text(&reply, "access_token");
    assert_eq!(app.ask("/application/o/introspect/", &[("token", token)]).await.json, json!({"active": false}));
    assert_eq!(app.userinfo(token).await.status, 200);
    assert_eq!(app.ask("/application/o/revoke/", &[("token", token)]).await.json, json!({}));
    assert_eq!(app.userinfo(token).await.status, 401);
    // No secret is never the right one (OA-803).
    let reply = app.ask("/application/o/token/", &[("grant_type", "client_credentials")]).await;
    assert_eq!(text(&reply, "error"), "invalid_grant");
    assert!(
        app.discovery().await["token_endpoint_auth_methods_supported"]
            .as_array()
            .expect("list")
            .contains(&json!("none"))
    );
}

/// OA-041, OA-151: a client with a secret needs PKCE where its provider says so, and one without always does, also once it has
/// a secret, until its provider says otherwise.
#[tokio::test]
async fn oa_041_pkce_can_be_asked_of_every_client() {
    let app = App::with_key("rsa").await;
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    assert!(member(&app.authorize(&without).await, "code").is_some());
    app.change(json!({"require_pkce": true})).await;
    assert_eq!(member(&app.authorize(&without).await, "error").as_deref(), Some("invalid_request"));
    assert_eq!(app.login(true).await.status, 200);
    app.change(json!({"require_pkce": false, "client_type": "confidential"})).await;
    let path = format!("/providers/oauth2/{}/", app.provider["pk"]);
    let body = json!({"client_type": "public", "require_pkce": false});
    let refused = app.site.admin(Method::PATCH, &path, body).await;
    assert!(refused.status == 400 && refused.json.get("require_pkce").is_some(), "{}", refused.text);
    let public = app.site.admin(Method::PATCH, &path, json!({"client_type": "public"})).await;
    assert_eq!((public.status.as_u16(), &public.json["require_pkce"]), (200, &json!(true)));
    let secret = json!({"client_type": "confidential"});
    let confidential = app.site.admin(Method::PATCH, &path, secret).await;
    assert_eq!((confidential.status.as_u16(), &confidential.json["require_pkce"]), (200, &json!(true)));
    let without = app.site.admin(Method::PATCH, &path, json!({"require_pkce": false})).await;
    assert_eq!((without.status.as_u16(), &without.json["require_pkce"]), (200, &json!(false)));
}

/// OA-043, OA-805, OA-287, OA-288: where the provider says so, an app password counts beside the client's secret alone; a wrong
/// one is told as every other failure.
#[tokio::test]
async fn oa_805_app_passwords_can_need_the_clients_secret() {
    let app = App::new(json!({})).await;
    let packed = STANDARD.encode(format!("ada:{KEY}"));
    let named = [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY)];
    let with = |more: &'static str| [named.as_slice(), &[("client_secret", more)]].concat();
    let in_secret = [("grant_type", "client_credentials"), ("client_secret", packed.as_str())];
    let own = [("grant_type", "client_credentials"), ("client_secret", app.secret())];
    for all in [named.as_slice(), &with("wrong"), &in_secret, &own] {
        assert_eq!(app.ask("/application/o/token/", all).await.status, 200);
    }
    app.change(json!({"m2m_require_client_auth": true})).await;
    for all in [named.as_slice(), &with("wrong"), &in_secret] {
        let refused = app.ask("/application/o/token/", all).await;
        assert_eq!((refused.status.as_u16(), text(&refused, "error")), (400, "invalid_grant"));
    }
    assert_eq!(app.site.events("login_failed").await.1["reason"], "client_not_authenticated");
    let both = [named.as_slice(), &[("client_secret", app.secret())]].concat();
    let issued = app.ask("/application/o/token/", &both).await;
    assert_eq!(issued.status, 200, "{}", issued.text);
    assert_eq!(app.ask("/application/o/token/", &own).await.status, 200);
    let path = format!("/providers/oauth2/{}/", app.provider["pk"]);
    let refused = app.site.admin(Method::PATCH, &path, json!({"client_type": "public"})).await;
    assert!(refused.status == 400 && refused.json.get("m2m_require_client_auth").is_some(), "{}", refused.text);
}

/// OA-040, OA-050, OA-819, OA-844, OA-845: a client uses the grants that it is allowed, and no others.
#[tokio::test]
async fn oa_050_clients_use_their_own_grants() {
    let app = App::new(json!({})).await;
    let all = [("grant_type", "password"), ("username", "ada"), ("password", KEY)];
    assert_eq!(text(&app.ask("/application/o/token/", &all).await, "error"), "unauthorized_client");
    app.change(json!({"grant_types": ["password"]})).await;
    let reply = app.ask("/application/o/token/", &all).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let refused = app.authorize(&[]).await;
    assert_eq!(member(&refused, "error").as_deref(), Some("unsupported_response_type"));
    let refused = app.authorize(&[("response_type", "id_token")]).await;
    assert_eq!(member(&refused, "error").as_deref(), Some("unsupported_response_type"));
    let document = app.discovery().await;
    assert_eq!(document["response_types_supported"], json!([]));
    assert_eq!(document["grant_types_supported"], json!(["password"]));
}

/// OA-025, OA-045: patterns of redirect URIs fit the whole of one.
#[tokio::test]
async fn oa_045_patterns_of_redirect_uris_fit_the_whole() {
    let uris = json!([{"matching_mode": "regex", "url": r"https://[a-z]+\.app\.example/cb"}]);
    let app = App::new(json!({"redirect_uris": uris})).await;
    let good = app.authorize(&[("redirect_uri", "https://blue.app.example/cb")]).await;
    assert!(location(&good).starts_with("https://blue.app.example/cb?code="));
    for bad in ["https://blue.app.example/cb/x", "https://evil.example/https://blue.app.example/cb", CALLBACK] {
        let refused = app.authorize(&[("redirect_uri", bad)]).await;
        assert_eq!(refused.status, 400, "{bad}");
    }
}

/// OA-031, OA-032, OA-046, OA-049: subject and issuer are made as the client says.
#[tokio::test]
async fn oa_046_subjects_and_issuers_are_as_the_client_says() {
    let app = App::new(json!({"issuer_mode": "global"})).await;
    let user = app.site.admin(Method::GET, &format!("/core/users/{}/", app.ada), None).await.json;
    for (mode, expected) in [
        ("user_id", app.ada.to_string()),
        ("user_username", "ada".to_owned()),
        ("user_uuid", user["uuid"].as_str().expect("text").to_owned()),
        ("hashed_user_id", user["uid"].as_str().expect("text").to_owned()),
    ] {
        app.change(json!({"sub_mode": mode})).await;
        let reply = app.login(true).await;
        let said = claims(&reply.json["id_token"]);
        assert_eq!((&said["sub"], &said["iss"]), (&json!(expected), &json!("http://id.example/")), "{mode}");
    }
    app.change(json!({"sub_mode": "user_email"})).await;
    assert_eq!(text(&app.login(true).await, "error"), "invalid_grant", "OA-047");
    let document = app.discovery().await;
    assert_eq!(document["issuer"], "http://id.example/");
    assert_eq!(document["jwks_uri"], "http://id.example/application/o/app/jwks/");
}

/// OA-283, OA-210: the secret of a client of its own is good for its generated account, in body or header.
#[tokio::test]
async fn oa_283_the_secret_is_good_for_the_generated_account() {
    let app = App::new(json!({})).await;
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", app.id(), app.secret())));
    let all = [("grant_type", "client_credentials"), ("scope", "profile")];
    let reply = post(&app.site, "/application/o/token/", &all, &[("authorization", &basic)]).await;
    assert_eq!(claims(&reply.json["id_token"])["preferred_username"], "ak-app-client_credentials");
}

/// OA-052: whatever a client was granted ends with it, and its key cannot be replaced by nothing.
#[tokio::test]
async fn oa_052_grants_end_with_their_client() {
    let app = App::with_key("ecdsa").await;
    let reply = app.login(true).await;
    let token = text(&reply, "access_token").to_owned();
    assert_eq!(app.userinfo(&token).await.status, 200);
    let path = format!("/providers/oauth2/{}/", app.provider["pk"]);
    assert_eq!(app.site.admin(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(app.userinfo(&token).await.status, 401);
    assert_eq!(get(&app.site, "/application/o/app/jwks/", &[]).await.status, 404);
}

/// CO-521, OA-435: an access token with the scope for it is good for the API, as its user; any other is not.
#[tokio::test]
async fn co_521_access_tokens_with_the_scope_open_the_api() {
    let app = App::new(json!({})).await;
    let managed = "goauthentik.io/providers/oauth2/scope-authentik_api";
    let found = app.site.admin(Method::GET, &format!("/propertymappings/all/?managed={managed}"), None).await;
    let mut mappings = app.provider["property_mappings"].as_array().expect("a list").clone();
    mappings.push(found.json["results"][0]["pk"].clone());
    app.change(json!({"property_mappings": mappings})).await;
    let token = async |scope: &str| {
        let all = [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY), ("scope", scope)];
        text(&app.ask("/application/o/token/", &all).await, "access_token").to_owned()
    };
    let key = token("openid goauthentik.io/api").await;
    let me = app.site.bearer(&key, Method::GET, "/core/users/me/", None).await;
    assert_eq!((me.status.as_u16(), &me.json["user"]["username"]), (200, &json!("ada")));
    assert_eq!(app.site.bearer(&key, Method::GET, "/core/users/", None).await.status, 403);
    let other = token("openid").await;
    let refused = app.site.bearer(&other, Method::GET, "/core/users/me/", None).await;
    assert_eq!(refused.json, json!({"detail": "Token invalid/expired"}));
    app.site.admin(Method::DELETE, "/core/tokens/ada-key/", None).await;
    assert_eq!(app.site.bearer(&key, Method::GET, "/core/users/me/", None).await.status, 403);
}

/// OA-756: nobody is a client by a certificate: the metadata names no such method, a client cannot be told to use one, and what a
/// header says of a certificate counts for nothing.
#[tokio::test]
async fn oa_756_certificates_of_clients_count_for_nothing() {
    let app = App::new(json!({})).await;
    let metadata = get(&app.site, "/application/o/app/.well-known/openid-configuration", &[]).await;
    assert_eq!(metadata.status, 200);
    assert!(!metadata.text.contains("tls_client") && !metadata.text.contains("mtls"), "{}", metadata.text);
    let asked = [("grant_type", "client_credentials"), ("client_id", app.id())];
    let plain = post(&app.site, "/application/o/token/", &asked, &[]).await;
    assert!(plain.status.is_client_error() && plain.json["error"].is_string(), "{}", plain.text);
    for header in ["x-forwarded-client-cert", "x-ssl-client-cert", "ssl-client-cert", "client-cert"] {
        let refused = post(&app.site, "/application/o/token/", &asked, &[(header, ":MIIBojCCAUigAwIBAgI=:")]).await;
        assert_eq!((refused.status, &refused.json["error"]), (plain.status, &plain.json["error"]), "{header}");
    }
}
