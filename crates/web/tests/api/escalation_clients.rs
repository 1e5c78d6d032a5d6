//! Nobody gets at what they do not have by what stands for users: clients, sources, keys, and the tokens of these (CO-705).

use http::Method;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_store::{account, federated};
use serde_json::{Value, json};

use crate::escalation::{admins, refused};
use crate::site::{ADMIN, Site};

/// An OAuth2 client with these mappings: its path.
async fn client(site: &Site, name: &str, mappings: Value) -> (i64, String) {
    let mut body = site.provider_body(name, json!({"property_mappings": mappings})).await;
    body["redirect_uris"] = json!([{"matching_mode": "strict", "url": "https://a.example/"}]);
    let pk = site.post("/providers/oauth2/", body).await["pk"].as_i64().unwrap();
    (pk, format!("/providers/oauth2/{pk}/"))
}

/// Has a user be the account of a client.
async fn stands_for(site: &Site, user: i64, client: i64) {
    let mut tx = site.ctx.db.write().await.unwrap();
    let mut found = account::by_pk(&mut tx, UserPk(i32::try_from(user).unwrap())).await.unwrap().unwrap();
    found.generated_for = Some(ProviderPk(i32::try_from(client).unwrap()));
    account::update(&mut tx, &found).await.unwrap();
    tx.commit().await.unwrap();
}

/// Somebody who changes clients: the key of their token.
async fn changer(site: &Site) -> String {
    let rights = ["oauth2.view_oauth2provider", "oauth2.change_oauth2provider", "proxy.view_proxyprovider"];
    let mut rights: Vec<_> = rights.iter().map(|right| format!("authentik_providers_{right}")).collect();
    rights.push("authentik_providers_proxy.change_proxyprovider".to_owned());
    let rights: Vec<_> = rights.iter().map(|right| (right.as_str(), None)).collect();
    site.user_with("ada", &rights).await.1
}

/// CO-705, CO-521: the scope with which a client may use the API on behalf of its users is given by superusers, who are
/// among these users; and so is where such a client's users are sent.
#[tokio::test]
async fn co_705_the_scope_of_the_api_is_given_by_superusers() {
    const SCOPE: &str = "goauthentik.io/api";
    let site = Site::new().await;
    let verbs = ["view", "add", "change"].map(|verb| {
        [
            format!("authentik_providers_oauth2.{verb}_scopemapping"),
            format!("authentik_providers_oauth2.{verb}_oauth2provider"),
            format!("authentik_providers_proxy.{verb}_proxyprovider"),
        ]
    });
    let rights: Vec<_> = verbs.iter().flatten().map(|right| (right.as_str(), None)).collect();
    let (_, key) = site.user_with("ada", &rights).await;
    let (mappings, clients) = ("/propertymappings/provider/scope/", "/providers/oauth2/");
    let api = site.get(&format!("{mappings}?scope_name={SCOPE}")).await["results"][0]["pk"].clone();
    let mapping = |name: &str, scope: &str| json!({"name": name, "scope_name": scope, "expression": "return {}"});
    let plain = site.post(mappings, mapping("plain", "plain")).await["pk"].clone();
    let client = async |name: &str, mappings: Value| {
        let mut body = site.provider_body(name, json!({"property_mappings": mappings})).await;
        body["redirect_uris"] = json!([{"matching_mode": "strict", "url": "https://a.example/"}]);
        body
    };
    let at = |made: &Value| format!("{clients}{}/", made["pk"]);
    let has = at(&site.post(clients, client("has", json!([api])).await).await);
    let has_not = at(&site.post(clients, client("has not", json!([])).await).await);
    let served = site.provider_body("served", json!({"property_mappings": [api]})).await;
    let served = format!("/providers/proxy/{}/", site.post("/providers/proxy/", served).await["pk"]);
    let proxy = format!("/providers/proxy/{}/", site.provider("proxy").await["pk"]);
    let plain_at = format!("{mappings}{}/", plain.as_str().unwrap());
    let mine = json!([{"matching_mode": "strict", "url": "https://mine.example/"}]);
    for (method, path, body, field) in [
        (Method::POST, mappings, mapping("new", SCOPE), "scope_name"),
        (Method::PATCH, plain_at.as_str(), json!({"scope_name": SCOPE}), "scope_name"),
        (Method::POST, clients, client("new", json!([plain, api])).await, "property_mappings"),
        (Method::PATCH, has_not.as_str(), json!({"property_mappings": [plain, api]}), "property_mappings"),
        (Method::PATCH, proxy.as_str(), json!({"property_mappings": [api]}), "property_mappings"),
        (Method::PATCH, has.as_str(), json!({"redirect_uris": mine}), "redirect_uris"),
        (Method::PATCH, served.as_str(), json!({"external_host": "https://mine.example"}), "external_host"),
    ] {
        refused(&site, &key, method, path, body, field).await;
    }
    let api_at = format!("{mappings}{}/", api.as_str().unwrap());
    for (path, body) in [
        (
            &has,
            json!({"property_mappings": [api, plain], "name": "still", "redirect_uris": client("", json!([])).await["redirect_uris"]}),
        ),
        (&served, json!({"property_mappings": [api], "external_host": "https://served.example.com"})),
        (&has_not, json!({"property_mappings": [plain], "redirect_uris": mine})),
        (&api_at, json!({"scope_name": SCOPE, "description": "For scripts"})),
    ] {
        let (status, said) = site.send(&key, Method::PATCH, path, Some(body)).await;
        assert_eq!(status, 200, "{path}: {said}");
    }
    // What it came with is no way around.
    site.patch(&api_at, json!({"scope_name": "other"})).await;
    refused(&site, &key, Method::POST, &format!("{api_at}restore/"), json!({}), "scope_name").await;
}

/// CO-705, PX-300: what the sign-in pages show for themselves is chosen among all certificates for their host: these are
/// brought and made by superusers.
#[tokio::test]
async fn co_705_certificates_of_the_sign_in_pages_are_for_superusers() {
    let site = Site::new().await;
    let verbs = ["view", "add", "change"].map(|verb| format!("authentik_crypto.{verb}_certificatekeypair"));
    let rights: Vec<_> = verbs.iter().map(|right| (right.as_str(), None)).collect();
    let (_, key) = site.user_with("ada", &rights).await;
    let (pairs, generate) = ("/crypto/certificatekeypairs/", "/crypto/certificatekeypairs/generate/");
    let wanted = |name: &str, names: &str| json!({"common_name": name, "subject_alt_name": names, "validity_days": 3, "alg": "ecdsa"});
    let (_, ours) = site.send(ADMIN, Method::POST, generate, Some(wanted("id.example", ""))).await;
    let ours = format!("{pairs}{}/", ours["pk"].as_str().unwrap());
    let certificate = site.get(&format!("{ours}view_certificate/")).await["data"].clone();
    let private = site.get(&format!("{ours}view_private_key/")).await["data"].clone();
    let (status, theirs) = site.send(&key, Method::POST, generate, Some(wanted("a.example", ""))).await;
    assert_eq!(status, 200, "{theirs}");
    let theirs = format!("{pairs}{}/", theirs["pk"].as_str().unwrap());
    let pair = json!({"certificate_data": certificate, "key_data": private});
    for (method, path, body, field) in [
        (Method::POST, generate, wanted("b.example", "b.example,id.example"), "common_name"),
        (Method::POST, pairs, json!({"name": "x", "certificate_data": certificate}), "certificate_data"),
        (Method::PATCH, theirs.as_str(), pair.clone(), "certificate_data"),
        (Method::PATCH, ours.as_str(), pair, "certificate_data"),
    ] {
        refused(&site, &key, method, path, body, field).await;
    }
    let (status, said) = site.send(&key, Method::PATCH, &ours, Some(json!({"name": "ours"}))).await;
    assert_eq!((status.as_u16(), &said["name"]), (200, &json!("ours")), "{said}");
}

/// CO-705, CO-521: who gets tokens of a client that may use the API on behalf of its users, and by whose word, superusers say;
/// of clients whose tokens such a client accepts, too. What was shown may be sent back.
#[tokio::test]
async fn co_705_tokens_for_the_api_go_where_superusers_say() {
    // Whatever else a client has changes nothing about who gets its tokens.
    const HARMLESS: &str = "pk name authentication_flow authorization_flow invalidation_flow property_mappings component \
        assigned_application_slug assigned_application_name assigned_backchannel_application_slug \
        assigned_backchannel_application_name verbose_name verbose_name_plural meta_model_name client_secret \
        client_secret_expires client_secret_last_used second_client_secret second_client_secret_expires \
        second_client_secret_last_used client_jwks access_code_validity access_token_validity refresh_token_validity \
        refresh_token_threshold refresh_family_max_age device_code_validity include_claims_in_id_token signing_key \
        encryption_key sub_mode issuer_mode";
    const HARMLESS_OF_PROXIES: &str = "certificate skip_path_regex basic_auth_enabled basic_auth_user_attribute \
        basic_auth_password_attribute outpost_set";
    let site = Site::new().await;
    let key = changer(&site).await;
    let api =
        site.get("/propertymappings/provider/scope/?scope_name=goauthentik.io/api").await["results"][0]["pk"].clone();
    let (_, has) = client(&site, "has", json!([api])).await;
    let (trusted, traded) = client(&site, "traded", json!([])).await;
    let (further, before) = client(&site, "before", json!([])).await;
    let source = json!({"name": "ci", "slug": "ci", "provider_type": "openidconnect", "consumer_key": "k",
        "consumer_secret": "s"});
    let source = site.post("/sources/oauth/", source).await["pk"].clone();
    let mine = json!([{"matching_mode": "strict", "url": "https://mine.example/"}]);
    let guarded = [
        ("client_type", json!("public")),
        ("client_id", json!("another")),
        ("grant_types", json!(["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"])),
        ("redirect_uris", mine.clone()),
        ("allow_broad_redirect_uris", json!(true)),
        ("allowed_origins", json!(["https://mine.example"])),
        ("logout_uri", json!("https://mine.example/")),
        ("logout_method", json!("frontchannel")),
        ("jwt_federation_sources", json!([source])),
        ("jwt_federation_providers", json!([trusted])),
        ("federation_audiences", json!(["x"])),
        ("cap_to_assertion_exp", json!(false)),
        ("token_exchange_without_actor", json!(true)),
        ("require_pkce", json!(true)),
        ("allow_pkce_plain", json!(true)),
        ("m2m_require_client_auth", json!(true)),
        ("device_require_client_auth", json!(false)),
        ("allow_query_token", json!(true)),
    ];
    let shown = site.get(&has).await;
    for field in shown.as_object().unwrap().keys() {
        let is_known = HARMLESS.split(' ').chain(guarded.iter().map(|(known, _)| *known)).any(|known| known == field);
        assert!(is_known, "who may change {field}?");
    }
    let denied = async |path: &str, field: &str, value: &Value| {
        let (status, said) = site.send(&key, Method::PATCH, path, Some(json!({field: value}))).await;
        let told = said[field][0].as_str().unwrap_or_default();
        assert!(status == 400 && told.starts_with("Only superusers may change this: the client"), "{field}: {said}");
    };
    for (field, value) in &guarded {
        denied(&has, field, value).await;
    }
    let served = site.provider_body("served", json!({"property_mappings": [api]})).await;
    let served = format!("/providers/proxy/{}/", site.post("/providers/proxy/", served).await["pk"]);
    denied(&served, "jwt_federation_providers", &json!([trusted])).await;
    denied(&served, "jwt_federation_sources", &json!([source])).await;
    // The application may get the tokens themselves.
    let guarded_of_proxies = [
        ("external_host", json!("https://mine.example")),
        ("internal_host", json!("https://mine.example")),
        ("internal_host_ssl_validation", json!(false)),
        ("mode", json!("forward_single")),
        ("cookie_domain", json!("example.com")),
        ("intercept_header_auth", json!(false)),
    ];
    for (field, value) in &guarded_of_proxies {
        denied(&served, field, value).await;
    }
    let known = HARMLESS.split(' ').chain(HARMLESS_OF_PROXIES.split(' '));
    let known = known.chain(guarded.iter().chain(&guarded_of_proxies).map(|(known, _)| *known)).collect::<Vec<_>>();
    for field in site.get(&served).await.as_object().unwrap().keys() {
        assert!(known.contains(&field.as_str()), "who may change {field}?");
    }
    // Clients of the API send back what they were shown, in a public client's case what it is worth.
    for (client, name) in [(&has, "confidential"), (&has, "public")] {
        site.patch(client, json!({"client_type": name})).await;
        let (_, mut whole) = site.send(&key, Method::GET, client, None).await;
        whole["name"] = json!(name);
        whole["access_token_validity"] = json!("minutes=7");
        let (status, said) = site.send(&key, Method::PUT, client, Some(whole)).await;
        assert_eq!((status.as_u16(), &said["name"]), (200, &json!(name)), "{said}");
    }
    for path in [&traded, &before] {
        let (status, said) =
            site.send(&key, Method::PATCH, path, Some(json!({"logout_uri": "https://a.example/"}))).await;
        assert_eq!(status, 200, "nobody trusts it: {said}");
    }
    site.patch(&has, json!({"client_type": "confidential", "jwt_federation_providers": [trusted]})).await;
    site.patch(&traded, json!({"jwt_federation_providers": [further, trusted]})).await;
    denied(&traded, "redirect_uris", &mine).await;
    denied(&before, "redirect_uris", &mine).await;
}

/// CO-104, CO-705: who may change a client does not get at the rights of its account if that may do more than they: they see no
/// secret of it, and set none.
#[tokio::test]
async fn co_705_secrets_of_mighty_clients_are_not_shown() {
    const KEYS: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    let site = Site::new().await;
    let key = changer(&site).await;
    let (pk, path) = client(&site, "robot", json!([])).await;
    let served = site.provider("served").await["pk"].as_i64().unwrap();
    site.application("served", &json!(served)).await;
    let (robot, _) = site.user("robot").await;
    let (other, _) = site.user("other").await;
    stands_for(&site, robot, pk).await;
    stands_for(&site, other, served).await;
    let secret = site.get(&path).await["client_secret"].clone();
    let seen = async || site.send(&key, Method::GET, &path, None).await.1["client_secret"].clone();
    let listed = async || {
        site.send(&key, Method::GET, "/providers/oauth2/", None).await.1["results"][0]["client_secret"].clone()
    };
    let of_proxy =
        async || site.send(&key, Method::GET, "/outposts/proxy/", None).await.1["results"][0]["client_secret"].clone();
    assert_eq!((seen().await, listed().await), (secret.clone(), secret.clone()), "it may do nothing");
    assert_ne!(of_proxy().await, "********");
    let role = site.role("mighty", &[("authentik_brands.view_brand", None)]).await;
    for user in [robot, other] {
        site.patch(&format!("/core/users/{user}/"), json!({"roles": [role]})).await;
    }
    assert_eq!(
        (seen().await, listed().await, of_proxy().await),
        (json!("********"), json!("********"), json!("********"))
    );
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": KEYS});
    for (field, value) in [
        ("client_secret", json!("a secret of mine that is long enough for anything")),
        ("second_client_secret", json!("another secret of mine that is long enough for anything")),
        ("client_secret_expires", json!("2031-01-02T03:04:05.000000Z")),
        ("client_jwks", json!({"keys": [jwk]})),
    ] {
        refused(&site, &key, Method::PATCH, &path, json!({field: value}), field).await;
    }
    let (_, mut whole) = site.send(&key, Method::GET, &path, None).await;
    whole["name"] = json!("renamed");
    let (status, said) = site.send(&key, Method::PUT, &path, Some(whole)).await;
    assert_eq!((status.as_u16(), &said["client_secret"]), (200, &json!("********")), "{said}");
    assert_eq!(site.get(&path).await["client_secret"], secret, "a mask is no secret");
    site.patch(&path, json!({"client_secret": "a secret of ours that is long enough for anything"})).await;
}

/// CO-705: whose word a source takes is not for those to say who may do less than a user that it vouches for.
#[tokio::test]
async fn co_705_sources_of_mighty_users_keep_their_keys() {
    let site = Site::new().await;
    let rights = ["authentik_sources_oauth.view_oauthsource", "authentik_sources_oauth.change_oauthsource"];
    let (_, key) = site.user_with("ada", &rights.map(|right| (right, None))).await;
    let (provider, _) = client(&site, "deploys", json!([])).await;
    let keys = |kid: &str| json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": kid, "x": "A".repeat(43), "y": "A".repeat(43)}]});
    let body = json!({"name": "ci", "slug": "ci", "provider_type": "openidconnect", "consumer_key": "k",
        "consumer_secret": "s", "oidc_jwks": keys("a")});
    let source = site.post("/sources/oauth/", body).await["pk"].as_str().unwrap().to_owned();
    let path = "/sources/oauth/ci/";
    let (robot, _) = site.user("robot").await;
    let link = federated::Link {
        account: UserPk(i32::try_from(robot).unwrap()),
        provider: ProviderPk(i32::try_from(provider).unwrap()),
        source: source.parse().unwrap(),
        issuer: "https://ci.example".to_owned(),
        subject: "deploy".to_owned(),
        expires: Timestamp::from_seconds(2_000_000_000),
    };
    let mut tx = site.ctx.db.write().await.unwrap();
    federated::keep(&mut tx, &link).await.unwrap();
    tx.commit().await.unwrap();
    let (status, said) = site.send(&key, Method::PATCH, path, Some(json!({"oidc_jwks": keys("b")}))).await;
    assert_eq!(status, 200, "it may do nothing: {said}");
    let admins = admins(&site).await;
    site.patch(&format!("/core/users/{robot}/"), json!({"groups": [admins]})).await;
    for (field, value) in [
        ("oidc_jwks", keys("c")),
        ("expected_issuers", json!(["https://mine.example"])),
        ("expected_audiences", json!(["mine"])),
        ("audience_check", json!(false)),
        ("require_exp", json!(false)),
        ("allowed_algs", json!(["EdDSA"])),
    ] {
        refused(&site, &key, Method::PATCH, path, json!({field: value}), field).await;
    }
    let (_, mut whole) = site.send(&key, Method::GET, path, None).await;
    whole["name"] = json!("renamed");
    whole["consumer_secret"] = json!("s");
    let (status, said) = site.send(&key, Method::PUT, path, Some(whole)).await;
    assert_eq!((status.as_u16(), &said["name"]), (200, &json!("renamed")), "{said}");
    site.patch(path, json!({"oidc_jwks": keys("d")})).await;
}

/// CO-705, OA-034: another key for a certificate that clients sign or encrypt with is brought by whoever may use the one that it
/// has; the same key may be certified anew.
#[tokio::test]
async fn co_705_keys_of_clients_are_replaced_by_who_may_use_them() {
    let site = Site::new().await;
    let verbs = ["view", "change"].map(|verb| format!("authentik_crypto.{verb}_certificatekeypair"));
    let mut rights: Vec<(&str, Option<&str>)> = verbs.iter().map(|right| (right.as_str(), None)).collect();
    let (_, key) = site.user_with("ada", &rights).await;
    let pairs = "/crypto/certificatekeypairs/";
    let pair = async |name: &str| {
        let wanted = json!({"common_name": name, "validity_days": 30, "alg": "rsa"});
        let (status, made) = site.send(ADMIN, Method::POST, &format!("{pairs}generate/"), Some(wanted)).await;
        assert_eq!(status, 200, "{made}");
        made["pk"].as_str().unwrap().to_owned()
    };
    let both = async |pk: &str| {
        let view = async |what: &str| site.get(&format!("{pairs}{pk}/view_{what}/")).await["data"].clone();
        json!({"certificate_data": view("certificate").await, "key_data": view("private_key").await})
    };
    let (signs, reads, shown) = (pair("signs").await, pair("reads").await, pair("shown").await);
    let (mine, same) = (both(&pair("mine").await).await, both(&signs).await);
    let (_, path) = client(&site, "app", json!([])).await;
    site.patch(&path, json!({"signing_key": signs, "encryption_key": reads})).await;
    rights.push(("authentik_crypto.view_certificatekeypair_key", Some(&signs)));
    let (_, reader) = site.user_with("bob", &rights).await;
    let at = |pk: &str| format!("{pairs}{pk}/");
    for pk in [&signs, &reads] {
        refused(&site, &key, Method::PATCH, &at(pk), mine.clone(), "certificate_data").await;
    }
    for (who, pk, body) in [
        (&key, &signs, json!({"name": "renamed"})),
        (&key, &signs, same.clone()),
        (&key, &signs, json!({"certificate_data": same["certificate_data"]})),
        (&key, &shown, mine.clone()),
        (&reader, &signs, mine.clone()),
    ] {
        let (status, said) = site.send(who, Method::PATCH, &at(pk), Some(body)).await;
        assert_eq!(status, 200, "{said}");
    }
}

/// CO-704, CO-705: an outpost has the secrets of what it serves, and its users' tokens: superusers alone have one serve what may
/// use the API on behalf of its users, and those who may do as much what has an account.
#[tokio::test]
async fn co_705_outposts_serve_no_mighty_clients() {
    let site = Site::new().await;
    let api =
        site.get("/propertymappings/provider/scope/?scope_name=goauthentik.io/api").await["results"][0]["pk"].clone();
    let proxy = async |name: &str, more: Value| {
        let body = site.provider_body(name, more).await;
        site.post("/providers/proxy/", body).await["pk"].as_i64().unwrap()
    };
    let (plain, traded) = (proxy("plain", json!({})).await, proxy("traded", json!({})).await);
    let has = proxy("has", json!({"property_mappings": [api], "jwt_federation_providers": [traded]})).await;
    let (mighty, robot) = (proxy("mighty", json!({})).await, proxy("robot", json!({})).await);
    let (boss, _) = site.user_with("boss", &[("authentik_brands.view_brand", None)]).await;
    let (hand, _) = site.user("hand").await;
    stands_for(&site, boss, mighty).await;
    stands_for(&site, hand, robot).await;
    let rights = ["outposts.view_outpost", "outposts.add_outpost", "outposts.change_outpost"];
    let rights = rights.iter().chain(&["providers_proxy.view_proxyprovider", "providers_proxy.change_proxyprovider"]);
    let rights: Vec<_> = rights.map(|right| format!("authentik_{right}")).collect();
    let rights: Vec<_> = rights.iter().map(|right| (right.as_str(), None)).collect();
    let (_, key) = site.user_with("ada", &rights).await;
    let first = "/outposts/instances/";
    let body =
        |name: &str, providers: Value| json!({"name": name, "type": "proxy", "providers": providers, "config": {}});
    let far = site.post(first, body("far", json!([plain]))).await["pk"].as_str().unwrap().to_owned();
    let far = format!("{first}{far}/");
    for client in [has, traded, mighty] {
        let said = refused(&site, &key, Method::POST, first, body("new", json!([plain, client])), "providers").await;
        assert!(said.as_str().unwrap().ends_with("have a superuser do this."), "{said}");
        refused(&site, &key, Method::PATCH, &far, json!({"providers": [plain, client]}), "providers").await;
    }
    let (status, said) = site.send(&key, Method::PATCH, &far, Some(json!({"providers": [plain, robot]}))).await;
    assert_eq!(status, 200, "it may do nothing: {said}");
    // What is there already is no question.
    let all = json!({"providers": [plain, has, traded, mighty]});
    site.patch(&far, all.clone()).await;
    let (status, said) = site.send(&key, Method::PATCH, &far, Some(all)).await;
    assert_eq!(status, 200, "{said}");
}
