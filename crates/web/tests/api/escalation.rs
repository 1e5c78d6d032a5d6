//! Nobody gives away what they do not have (CO-705, CO-822).

use http::Method;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_store::{account, federated};
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const FLAG: &str = "User does not have permission to set superuser status to True.";

/// What a manager of users and groups is granted.
const MANAGER: [(&str, Option<&str>); 12] = [
    ("authentik_core.view_user", None),
    ("authentik_core.add_user", None),
    ("authentik_core.change_user", None),
    ("authentik_core.view_group", None),
    ("authentik_core.add_group", None),
    ("authentik_core.change_group", None),
    ("authentik_core.add_user_to_group", None),
    ("authentik_core.enable_group_superuser", None),
    ("authentik_core.disable_group_superuser", None),
    ("authentik_core.reset_user_password", None),
    ("authentik_core.view_token", None),
    ("authentik_core.view_token_key", None),
];

async fn admins(site: &Site) -> String {
    let found = site.get("/core/groups/?name=authentik%20Admins").await;
    found["results"][0]["pk"].as_str().unwrap().to_owned()
}

/// What a writer is told, and that nothing was changed by it.
async fn refused(site: &Site, key: &str, method: Method, path: &str, body: Value, field: &str) -> Value {
    let before = site.get("/events/events/?page_size=1").await["pagination"]["count"].clone();
    let (status, said) = site.send(key, method, path, Some(body.clone())).await;
    assert_eq!(status, 400, "{path} {body}: {said}");
    assert!(said[field].is_array() && said.as_object().unwrap().len() == 1, "{path} {body}: {said}");
    let after = site.get("/events/events/?page_size=1").await["pagination"]["count"].clone();
    assert_eq!(before, after, "{path} {body}");
    said[field][0].clone()
}

/// CO-705, CO-822: who is no superuser makes nobody one, whichever way; the permissions to set the flag do not suffice.
#[tokio::test]
async fn co_705_only_superusers_make_superusers() {
    let site = Site::new().await;
    let (user, key) = site.user_with("ada", &MANAGER).await;
    let admins = admins(&site).await;
    let plain = site.post("/core/groups/", json!({"name": "plain"})).await["pk"].as_str().unwrap().to_owned();
    let child = json!({"name": "child", "parents": [admins]});
    let child = site.post("/core/groups/", child).await["pk"].as_str().unwrap().to_owned();
    let (me, group) = (format!("/core/users/{user}/"), format!("/core/groups/{plain}/"));
    let above = format!("/core/groups/{admins}/");
    for (method, path, body, field) in [
        (Method::PATCH, me.as_str(), json!({"groups": [admins]}), "groups"),
        (Method::PATCH, me.as_str(), json!({"groups": [child]}), "groups"),
        (Method::POST, "/core/users/", json!({"username": "eve", "name": "Eve", "groups": [admins]}), "groups"),
        (Method::PATCH, group.as_str(), json!({"is_superuser": true}), "is_superuser"),
        (Method::POST, "/core/groups/", json!({"name": "new", "is_superuser": true}), "is_superuser"),
        (Method::PATCH, group.as_str(), json!({"parents": [child]}), "parents"),
        (Method::POST, "/core/groups/", json!({"name": "new", "parents": [admins]}), "parents"),
        (Method::PATCH, above.as_str(), json!({"users": [user]}), "users"),
        (Method::POST, &format!("{above}add_user/"), json!({"pk": user}), "pk"),
        (Method::POST, &format!("/core/groups/{child}/add_user/"), json!({"pk": user}), "pk"),
    ] {
        assert_eq!(refused(&site, &key, method, path, body, field).await, FLAG, "{path}");
    }
    let down = refused(&site, &key, Method::PATCH, &above, json!({"is_superuser": false}), "is_superuser").await;
    assert_eq!(down, "User does not have permission to set superuser status to False.");
    assert_eq!(site.get(&me).await["is_superuser"], json!(false));
    // What changes nothing about it is no escalation.
    for (method, path, body) in [
        (Method::PATCH, me.as_str(), json!({"groups": [plain], "name": "Ada"})),
        (Method::PATCH, above.as_str(), json!({"is_superuser": true, "attributes": {"a": 1}})),
        (Method::POST, &format!("{group}add_user/"), json!({"pk": user})),
    ] {
        let (status, said) = site.send(&key, method, path, Some(body)).await;
        assert!(status.is_success(), "{path}: {said}");
    }
}

/// CO-705: roles are given by those who have them, to users, to groups, and by memberships and parents.
#[tokio::test]
async fn co_705_roles_are_given_by_those_who_have_them() {
    let site = Site::new().await;
    let (user, key) = site.user_with("ada", &MANAGER).await;
    let own = site.get(&format!("/core/users/{user}/")).await["roles"][0].clone();
    let other = site.role("other", &[("authentik_brands.view_brand", None)]).await;
    assert_eq!(
        site.refused(Method::PATCH, &format!("/core/users/{user}/"), json!({"roles": ["x"]})).await["roles"][0]
            .as_str()
            .map(|said| said.contains("valid UUID")),
        Some(true)
    );
    let unknown = json!({"roles": ["00000000-0000-4000-8000-000000000000"]});
    assert!(site.refused(Method::PATCH, &format!("/core/users/{user}/"), unknown).await["roles"].is_array());
    let (bob, _) = site.user("bob").await;
    let powerful = json!({"name": "powerful", "roles": [other]});
    let powerful = site.post("/core/groups/", powerful).await["pk"].as_str().unwrap().to_owned();
    let plain = site.post("/core/groups/", json!({"name": "plain"})).await["pk"].as_str().unwrap().to_owned();
    let (bob, group) = (format!("/core/users/{bob}/"), format!("/core/groups/{plain}/"));
    for (method, path, body, field) in [
        (Method::PATCH, bob.as_str(), json!({"roles": [other]}), "roles"),
        (Method::PATCH, bob.as_str(), json!({"groups": [powerful]}), "groups"),
        (Method::PATCH, group.as_str(), json!({"roles": [other]}), "roles"),
        (Method::PATCH, group.as_str(), json!({"parents": [powerful]}), "parents"),
        (Method::PATCH, &format!("/core/groups/{powerful}/"), json!({"users": [user]}), "users"),
        (Method::POST, &format!("/core/groups/{powerful}/add_user/"), json!({"pk": user}), "pk"),
        (Method::POST, "/core/groups/", json!({"name": "new", "roles": [other]}), "roles"),
        (Method::POST, "/core/users/", json!({"username": "eve", "name": "", "roles": [other]}), "roles"),
    ] {
        refused(&site, &key, method, path, body, field).await;
    }
    for path in [&bob, &group] {
        let (status, said) = site.send(&key, Method::PATCH, path, Some(json!({"roles": [own]}))).await;
        assert_eq!((status.as_u16(), &said["roles"]), (200, &json!([own])), "{path}: {said}");
    }
}

/// CO-705, CO-104: who may set passwords or see keys does not get at the rights of those who may do more.
#[tokio::test]
async fn co_705_nobody_acts_for_those_who_may_do_more() {
    let site = Site::new().await;
    let (_, key) = site.user_with("ada", &MANAGER).await;
    let (bob, _) = site.user("bob").await;
    let (eve, _) = site.user_with("eve", &[("authentik_brands.view_brand", None)]).await;
    let admin = site.get("/core/users/me/").await["user"]["pk"].as_i64().unwrap();
    let password = json!({"password": "correct horse battery"});
    for mighty in [admin, eve] {
        let path = format!("/core/users/{mighty}/");
        refused(&site, &key, Method::POST, &format!("{path}set_password/"), password.clone(), "password").await;
        for (field, value) in [
            ("email", json!("mine@example.com")),
            ("username", json!("somebody")),
            ("type", json!("external")),
            ("is_active", json!(false)),
            ("attributes", json!({"department": "board"})),
        ] {
            refused(&site, &key, Method::PATCH, &path, json!({field: value}), field).await;
        }
        let mut same = site.get(&path).await;
        same["name"] = json!("Somebody");
        let (status, said) = site.send(&key, Method::PATCH, &path, Some(same)).await;
        assert_eq!(status, 200, "what stays as it is is no matter: {said}");
        assert_eq!(site.send(&key, Method::POST, &format!("{path}recovery/"), Some(json!({}))).await.0, 403);
    }
    let outpost = site.get("/outposts/instances/").await["results"][0]["pk"].as_str().unwrap().to_owned();
    site.outpost_account(&outpost).await;
    for token in ["authentik-bootstrap-token", "eve-token", &format!("{}-token", &outpost[..8])] {
        assert_eq!(site.send(&key, Method::GET, &format!("/core/tokens/{token}/view_key/"), None).await.0, 403);
    }
    let path = format!("/core/users/{bob}/set_password/");
    assert_eq!(site.send(&key, Method::POST, &path, Some(password)).await.0, 204);
    assert_eq!(site.send(&key, Method::GET, "/core/tokens/bob-token/view_key/", None).await.0, 200);
    // A token for somebody else is one for oneself (CO-101).
    let (status, made) =
        site.send(&key, Method::POST, "/core/tokens/", Some(json!({"identifier": "x", "user": admin}))).await;
    assert_eq!((status.as_u16(), &made["user_obj"]["username"]), (201, &json!("ada")));
}

/// CO-068, CO-543: reserved attributes are for superusers to write, in groups too; a service account gets its own from
/// whoever may make one.
#[tokio::test]
async fn co_068_reserved_attributes_are_for_superusers() {
    let site = Site::new().await;
    let mut rights = MANAGER.to_vec();
    rights.push(("authentik_core.add_token", None));
    let (_, key) = site.user_with("ada", &rights).await;
    let reserved = json!({"goauthentik.io/user/debug": true});
    for (path, mut body) in
        [("/core/users/", json!({"username": "x", "name": "x"})), ("/core/groups/", json!({"name": "x"}))]
    {
        body["attributes"] = reserved.clone();
        refused(&site, &key, Method::POST, path, body, "attributes").await;
    }
    let robot = json!({"name": "robot", "create_group": true, "expiring": false});
    let (status, made) = site.send(&key, Method::POST, "/core/users/service_account/", Some(robot)).await;
    assert_eq!(status, 200, "{made}");
    let account = site.get(&format!("/core/users/{}/", made["user_pk"])).await;
    assert_eq!(account["attributes"], json!({"goauthentik.io/user/token-expires": false}));
    let token = site.get("/core/tokens/service-account-robot-password/").await;
    assert_eq!((&token["user"], &token["expiring"]), (&made["user_pk"], &json!(false)));
    let (_, without) = site.user_with("bob", &[("authentik_core.add_user", None)]).await;
    let refused = site.send(&without, Method::POST, "/core/users/service_account/", Some(json!({"name": "r2"}))).await;
    assert_eq!(refused.0, 403);
    assert_eq!(site.send(ADMIN, Method::GET, "/core/users/?username=r2", None).await.1["pagination"]["count"], 0);
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

/// An OAuth2 client with these mappings: its path.
async fn client(site: &Site, name: &str, mappings: Value) -> (i64, String) {
    let mut body = site.provider_body(name, json!({"property_mappings": mappings})).await;
    body["redirect_uris"] = json!([{"matching_mode": "strict", "url": "https://a.example/"}]);
    let pk = site.post("/providers/oauth2/", body).await["pk"].as_i64().unwrap();
    (pk, format!("/providers/oauth2/{pk}/"))
}

/// Somebody who changes clients: the key of their token.
async fn changer(site: &Site) -> String {
    let rights = ["oauth2.view_oauth2provider", "oauth2.change_oauth2provider", "proxy.view_proxyprovider"];
    let mut rights: Vec<_> = rights.iter().map(|right| format!("authentik_providers_{right}")).collect();
    rights.push("authentik_providers_proxy.change_proxyprovider".to_owned());
    let rights: Vec<_> = rights.iter().map(|right| (right.as_str(), None)).collect();
    site.user_with("ada", &rights).await.1
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
    let stands_for = async |user: i64, provider: i64| {
        let mut tx = site.ctx.db.write().await.unwrap();
        let mut found = account::by_pk(&mut tx, UserPk(i32::try_from(user).unwrap())).await.unwrap().unwrap();
        found.generated_for = Some(ProviderPk(i32::try_from(provider).unwrap()));
        account::update(&mut tx, &found).await.unwrap();
        tx.commit().await.unwrap();
    };
    let (robot, _) = site.user("robot").await;
    let (other, _) = site.user("other").await;
    stands_for(robot, pk).await;
    stands_for(other, served).await;
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

/// CO-705: blueprints find groups and roles by their names, so that those are renamed by who has what they bring.
#[tokio::test]
async fn co_705_names_of_the_mighty_are_not_taken() {
    let site = Site::new().await;
    let mut rights = MANAGER.to_vec();
    rights.extend([("authentik_rbac.view_role", None), ("authentik_rbac.change_role", None)]);
    let (user, key) = site.user_with("ada", &rights).await;
    let own = site.get(&format!("/core/users/{user}/")).await["roles"][0].as_str().unwrap().to_owned();
    let role = site.role("other", &[("authentik_brands.view_brand", None)]).await;
    let group = async |name: &str, more: Value| {
        let mut body = json!({"name": name});
        more.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
        format!("/core/groups/{}/", site.post("/core/groups/", body).await["pk"].as_str().unwrap())
    };
    let admins = admins(&site).await;
    let child = group("child", json!({"parents": [admins]})).await;
    let powerful = group("powerful", json!({"roles": [role]})).await;
    let plain = group("plain", json!({"roles": [own]})).await;
    let (admins, role) = (format!("/core/groups/{admins}/"), format!("/rbac/roles/{role}/"));
    for path in [&admins, &child, &powerful, &role] {
        let said = refused(&site, &key, Method::PATCH, path, json!({"name": "mine"}), "name").await;
        assert_eq!(said, "Only superusers may rename this: it brings what you do not have.", "{path}");
        let (_, whole) = site.send(&key, Method::GET, path, None).await;
        let (status, said) = site.send(&key, Method::PUT, path, Some(json!({"name": whole["name"]}))).await;
        assert_eq!(status, 200, "the same name is no other: {said}");
    }
    for path in [&plain, &format!("/rbac/roles/{own}/")] {
        let (status, said) = site.send(&key, Method::PATCH, path, Some(json!({"name": "mine"}))).await;
        assert_eq!(status, 200, "{path}: {said}");
    }
    site.patch(&admins, json!({"name": "Root"})).await;
}

/// CO-705, CO-548: nobody is stripped of what the writer has not, to be acted for afterwards; and a group is left by whoever may
/// have people leave it.
#[tokio::test]
async fn co_705_the_mighty_are_not_stripped() {
    let site = Site::new().await;
    let (_, key) = site.user_with("ada", &MANAGER).await;
    let (boss, _) = site.user("boss").await;
    let (eve, _) = site.user_with("eve", &[("authentik_brands.view_brand", None)]).await;
    let admins = admins(&site).await;
    let plain = site.post("/core/groups/", json!({"name": "plain"})).await["pk"].clone();
    let boss = format!("/core/users/{boss}/");
    site.patch(&boss, json!({"groups": [admins, plain]})).await;
    for (path, body, field) in [
        (&boss, json!({"groups": []}), "groups"),
        (&boss, json!({"groups": [plain]}), "groups"),
        (&format!("/core/users/{eve}/"), json!({"roles": []}), "roles"),
    ] {
        let said = refused(&site, &key, Method::PATCH, path, body, field).await;
        assert_eq!(said, "This user may do more than you may.");
    }
    // What the writer has as well, or what brings nothing, they may take.
    let (status, said) = site.send(&key, Method::PATCH, &boss, Some(json!({"groups": [admins]}))).await;
    assert_eq!((status.as_u16(), &said["groups"]), (200, &json!([admins])), "{said}");

    let users = [("authentik_core.view_user", None), ("authentik_core.change_user", None)];
    let (bob, bobs) = site.user_with("bob", &users).await;
    let closed = site.post("/core/groups/", json!({"name": "closed", "users": [bob]})).await["pk"].clone();
    let closed = closed.as_str().unwrap();
    let me = format!("/core/users/{bob}/");
    let said = refused(&site, &bobs, Method::PATCH, &me, json!({"groups": []}), "groups").await;
    assert_eq!(said, "User does not have access to group.");
    let leaves = format!("/core/groups/{closed}/remove_user/");
    assert_eq!(site.send(&bobs, Method::POST, &leaves, Some(json!({"pk": bob}))).await.0, 403);
    let mut users = users.to_vec();
    users.push(("authentik_core.remove_user_from_group", Some(closed)));
    let (_, carols) = site.user_with("carol", &users).await;
    let (status, said) = site.send(&carols, Method::PATCH, &me, Some(json!({"groups": []}))).await;
    assert_eq!((status.as_u16(), &said["groups"]), (200, &json!([])), "{said}");
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

/// CO-522, CO-548: users join a group by whoever may see them; for others they are not there.
#[tokio::test]
async fn co_548_who_is_not_seen_is_not_joined() {
    let site = Site::new().await;
    let (bob, _) = site.user("bob").await;
    let (eve, _) = site.user("eve").await;
    let group = site.post("/core/groups/", json!({"name": "mine", "users": [eve]})).await["pk"].clone();
    let group = group.as_str().unwrap();
    let of_group = ["view_group", "change_group", "add_user_to_group", "remove_user_from_group"];
    let of_group = of_group.map(|right| format!("authentik_core.{right}"));
    let mut rights: Vec<_> = of_group.iter().map(|right| (right.as_str(), Some(group))).collect();
    rights.push(("authentik_core.add_group", None));
    let (ada, key) = site.user_with("ada", &rights).await;
    let path = format!("/core/groups/{group}/");
    let unknown = |user: i64| json!([format!("Invalid pk \"{user}\" - object does not exist.")]);
    for user in [bob, 99_999] {
        for action in ["add_user", "remove_user"] {
            let answer = site.send(&key, Method::POST, &format!("{path}{action}/"), Some(json!({"pk": user}))).await;
            assert_eq!((answer.0.as_u16(), &answer.1["detail"]), (404, &json!("No User matches the given query.")));
        }
        let (status, said) = site.send(&key, Method::PATCH, &path, Some(json!({"users": [eve, user]}))).await;
        assert_eq!((status.as_u16(), said), (400, json!({"users": unknown(user)})));
        let (status, said) =
            site.send(&key, Method::POST, "/core/groups/", Some(json!({"name": "x", "users": [user]}))).await;
        assert_eq!((status.as_u16(), said), (400, json!({"users": unknown(user)})));
    }
    // Those who are there are shown with the group, and everybody knows themselves.
    let (status, said) = site.send(&key, Method::PATCH, &path, Some(json!({"users": [eve, ada]}))).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(site.send(&key, Method::POST, &format!("{path}remove_user/"), Some(json!({"pk": eve}))).await.0, 204);
    let seen = bob.to_string();
    rights.push(("authentik_core.view_user", Some(&seen)));
    let (_, seeing) = site.user_with("carol", &rights).await;
    let joined = site.send(&seeing, Method::POST, &format!("{path}add_user/"), Some(json!({"pk": bob}))).await;
    assert_eq!(joined.0, 204);
}
