//! Nobody gives away what they do not have (CO-705, CO-822).

use http::Method;
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
