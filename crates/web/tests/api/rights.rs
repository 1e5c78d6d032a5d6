//! Permissions of roles at work (CO section 22).

use authentik_client::models;
use http::Method;
use portcullis_core::permission::Permission;
use portcullis_idp::{Actor, Change, roles};
use serde_json::{Value, json};

use crate::site::Site;

async fn count(site: &Site, key: &str, path: &str) -> (u16, Value) {
    let (status, said) = site.send(key, Method::GET, path, None).await;
    (status.as_u16(), said["pagination"]["count"].clone())
}

/// CO-540, CO-547, CO-577: roles of users and groups are given, shown with what is inherited, and filtered by.
#[tokio::test]
async fn co_577_roles_belong_to_users_and_groups() {
    let site = Site::new().await;
    let (direct, above) = (site.role("direct", &[]).await, site.role("above", &[]).await);
    let (user, key) = site.user("ada").await;
    let parent = site.post("/core/groups/", json!({"name": "parent", "roles": [above]})).await;
    let child = json!({"name": "child", "parents": [parent["pk"]], "users": [user]});
    let child = site.post("/core/groups/", child).await;
    let path = format!("/core/users/{user}/");
    let shown = site.patch(&path, json!({"roles": [direct]})).await;
    let _: models::User = serde_json::from_value(shown.clone()).unwrap();
    assert_eq!((&shown["roles"], &shown["roles_obj"][0]["name"]), (&json!([direct]), &json!("direct")));
    assert_eq!(site.get(&format!("{path}?include_roles=false")).await["roles_obj"], Value::Null);
    assert_eq!(site.patch(&path, json!({"name": "Ada"})).await["roles"], json!([direct]), "unchanged");

    let at = format!("/core/groups/{}/", child["pk"].as_str().unwrap());
    assert_eq!(site.get(&at).await["inherited_roles_obj"], Value::Null);
    let group = site.get(&format!("{at}?include_inherited_roles=true")).await;
    let _: models::Group = serde_json::from_value(group.clone()).unwrap();
    assert_eq!((&group["roles"], &group["inherited_roles_obj"][0]["name"]), (&json!([]), &json!("above")));
    assert_eq!((&parent["roles"], &parent["roles_obj"][0]["name"]), (&json!([above]), &json!("above")));

    let (_, me) = site.send(&key, Method::GET, "/core/users/me/", None).await;
    let names: Vec<_> = me["user"]["roles"].as_array().unwrap().iter().map(|role| role["name"].clone()).collect();
    assert_eq!(names, ["above", "direct"]);
    for (query, expected) in [
        ("/core/users/?roles_by_name=direct".to_owned(), 1),
        ("/core/users/?roles_by_name=above".to_owned(), 0),
        (format!("/core/users/?roles_by_pk={direct}"), 1),
        (format!("/rbac/roles/?users={user}"), 1),
        (format!("/rbac/roles/?users={user}&inherited=true"), 2),
        (format!("/rbac/roles/?groups={}", parent["pk"].as_str().unwrap()), 1),
    ] {
        assert_eq!(site.get(&query).await["pagination"]["count"], expected, "{query}");
    }
    let events = site.events("model_updated").await;
    assert!(
        events
            .iter()
            .any(|event| event["diff"]["roles"]["new_value"].is_array() || event["diff"].to_string().contains(&direct))
    );
}

/// CO-701, CO-703: a right on one object shows that object alone, in lists before pages are made, and a list without any
/// is refused.
#[tokio::test]
async fn co_703_rights_on_objects_show_these() {
    let site = Site::new().await;
    let (bob, _) = site.user("bob").await;
    let (eve, _) = site.user("eve").await;
    let object = bob.to_string();
    let (_, key) = site
        .user_with(
            "ada",
            &[
                ("authentik_core.view_user", Some(&object)),
                ("authentik_core.change_user", Some(&object)),
                ("authentik_core.delete_user", None),
            ],
        )
        .await;
    assert_eq!(count(&site, &key, "/core/users/?page_size=1").await, (200, json!(1)));
    assert_eq!(count(&site, &key, "/core/users/?username=eve").await, (200, json!(0)));
    assert_eq!(count(&site, &key, "/core/users/?attributes=%7B%22a%22%3A1%7D").await, (200, json!(0)));
    assert_eq!(site.send(&key, Method::GET, "/core/users/paths/", None).await.1, json!({"paths": ["users"]}));
    let asks = async |method: Method, pk: i64| {
        site.send(&key, method, &format!("/core/users/{pk}/"), Some(json!({}))).await.0.as_u16()
    };
    assert_eq!(asks(Method::GET, bob).await, 200);
    assert_eq!(asks(Method::PATCH, bob).await, 200);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        assert_eq!(asks(method, eve).await, 404, "what cannot be seen cannot be deleted either");
    }
    assert_eq!(count(&site, &key, "/core/groups/").await, (403, Value::Null));
    let (_, plain) = site.user("cat").await;
    for path in ["/core/users/", "/core/groups/", "/core/tokens/nothing/view_key/", "/events/events/", "/rbac/roles/"] {
        let (status, _) = site.send(&plain, Method::GET, path, None).await;
        assert!(status == 403 || status == 404, "{path}: {status}");
    }
}

/// CO-701: who may not is told so before what they sent is looked at: apart from what is one's own (CO-702) and from
/// signing in, no operation tells a user without roles what is wrong with a body.
#[tokio::test]
async fn co_701_refusal_comes_first() {
    let site = Site::new().await;
    let (_, key) = site.user("ada").await;
    let document: Value = serde_json::from_str(include_str!("../../src/api/openapi.json")).unwrap();
    let mut told = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let place = path.replace(['{', '}'], "");
        for method in methods.as_object().unwrap().keys().filter(|method| *method != "get") {
            let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let status = site.status(&key, verb, &place, Some(json!([]))).await.as_u16();
            if status != 403 {
                told.push(format!("{method} {path}"));
            }
        }
    }
    told.sort();
    assert_eq!(
        told,
        [
            "delete /authenticators/webauthn/{id}/",
            "delete /core/authenticated_sessions/bulk_delete/",
            "delete /core/authenticated_sessions/{uuid}/",
            "delete /core/tokens/{identifier}/",
            "delete /core/user_consent/{id}/",
            "delete /oauth2/access_tokens/{id}/",
            "delete /oauth2/authorization_codes/{id}/",
            "delete /oauth2/refresh_tokens/{id}/",
            "patch /authenticators/webauthn/{id}/",
            "patch /core/tokens/{identifier}/",
            "post /core/tokens/",
            "post /core/tokens/{identifier}/set_key/",
            "post /flows/executor/{flow_slug}/",
            "put /authenticators/webauthn/{id}/",
            "put /core/tokens/{identifier}/",
        ]
    );
}

/// CO-701: a right that is lost counts no more at the next request, whichever way it is lost.
#[tokio::test]
async fn co_701_lost_rights_are_lost_at_once() {
    let site = Site::new().await;
    let (user, key) = site.user("ada").await;
    let role = site.role("readers", &[("authentik_brands.view_brand", None)]).await;
    let group = site.post("/core/groups/", json!({"name": "g", "users": [user], "roles": [role]})).await;
    let group = format!("/core/groups/{}/", group["pk"].as_str().unwrap());
    let sees = async || count(&site, &key, "/core/brands/").await.0;
    assert_eq!(sees().await, 200);
    site.patch(&group, json!({"roles": []})).await;
    assert_eq!(sees().await, 403);
    site.patch(&group, json!({"roles": [role]})).await;
    assert_eq!(sees().await, 200);
    site.patch(&group, json!({"users": []})).await;
    assert_eq!(sees().await, 403);
    site.patch(&format!("/core/users/{user}/"), json!({"roles": [role]})).await;
    assert_eq!(sees().await, 200);
    site.delete(&format!("/rbac/roles/{role}/")).await;
    assert_eq!(sees().await, 403);
}

/// CO-701: rights are looked at again in the transaction that makes the change.
#[tokio::test]
async fn co_701_rights_count_in_the_transaction() {
    let site = Site::new().await;
    let (user, _) = site.user_with("ada", &[("authentik_core.add_group", None)]).await;
    let mut conn = site.ctx.db.read().await.unwrap();
    let pk = portcullis_core::id::UserPk(i32::try_from(user).unwrap());
    let account = portcullis_store::account::by_pk(&mut conn, pk).await.unwrap().unwrap();
    let rights = portcullis_idp::Rights::of(&mut conn, &account).await.unwrap();
    drop(conn);
    let actor = Actor { user: Some(pk), is_superuser: false, rights, ..Actor::system() };
    assert!(Change::begin(&site.ctx, &actor).await.is_ok());
    site.patch(&format!("/core/users/{user}/"), json!({"roles": []})).await;
    assert!(matches!(Change::begin(&site.ctx, &actor).await, Err(portcullis_idp::Error::Forbidden)));
}

/// CO-480: members of the group for readers see everything that has a permission to see it, and change nothing.
#[tokio::test]
async fn co_480_readers_see_and_change_nothing() {
    let site = Site::new().await;
    let (user, key) = site.user("ada").await;
    let group = site.get("/core/groups/?name=authentik%20Read-only").await["results"][0].clone();
    assert_eq!(group["roles_obj"][0]["name"], "authentik Read-only");
    let member = format!("/core/groups/{}/add_user/", group["pk"].as_str().unwrap());
    assert_eq!(site.send(crate::site::ADMIN, Method::POST, &member, Some(json!({"pk": user}))).await.0, 204);
    for path in [
        "/core/users/",
        "/core/groups/",
        "/core/tokens/",
        "/core/brands/",
        "/events/events/",
        "/providers/proxy/",
        "/providers/oauth2/",
        "/policies/all/",
        "/policies/bindings/",
        "/propertymappings/all/",
        "/sources/all/",
        "/flows/instances/",
        "/outposts/instances/",
        "/crypto/certificatekeypairs/",
        "/rbac/roles/",
    ] {
        assert_eq!(count(&site, &key, path).await.0, 200, "{path}");
    }
    for (method, path, body) in [
        (Method::POST, "/core/users/".to_owned(), json!({"username": "x", "name": "x"})),
        (Method::PATCH, format!("/core/users/{user}/"), json!({"name": "x"})),
        (Method::DELETE, format!("/core/users/{user}/"), json!({})),
        (Method::PATCH, "/admin/settings/".to_owned(), json!({})),
        (Method::GET, "/core/tokens/authentik-bootstrap-token/view_key/".to_owned(), json!({})),
    ] {
        assert_eq!(site.send(&key, method, &path, Some(body)).await.0, 403, "{path}");
    }
}

/// CO-472, CO-821: secret attributes are masked for those who may look but not change.
#[tokio::test]
async fn co_821_secret_attributes_are_masked_for_readers() {
    let site = Site::new().await;
    let (bob, _) = site.user("bob").await;
    let path = format!("/core/users/{bob}/");
    site.patch(&path, json!({"attributes": {"app_password": "s3cr3t", "plain": "text"}})).await;
    let group = json!({"name": "g", "users": [bob], "attributes": {"api_token": "s3cr3t"}});
    site.post("/core/groups/", group).await;
    let looks = [("authentik_core.view_user", None), ("authentik_core.view_group", None)];
    let (_, reader) = site.user_with("ada", &looks).await;
    let (_, writer) = site.user_with("eve", &[looks[0], looks[1], ("authentik_core.change_user", None)]).await;
    for list in ["/core/users/", "/core/groups/", &path] {
        let (_, said) = site.send(&reader, Method::GET, list, None).await;
        assert!(!said.to_string().contains("s3cr3t") && said.to_string().contains("********"), "{list}: {said}");
    }
    let (_, said) = site.send(&writer, Method::GET, &path, None).await;
    assert_eq!(said["attributes"], json!({"app_password": "s3cr3t", "plain": "text"}));
    assert!(!said["groups_obj"].to_string().contains("s3cr3t"));
}

/// CO-472, CO-570: client and cookie secrets are for those who may change the provider, and for outposts.
#[tokio::test]
async fn co_570_secrets_of_clients_are_for_those_who_change_them() {
    let site = Site::new().await;
    let served = site.provider("wiki").await["pk"].clone();
    site.application("wiki", &served).await;
    let mut body = site.provider_body("client", json!({})).await;
    body["redirect_uris"] = json!([]);
    let own = site.post("/providers/oauth2/", body.clone()).await;
    let outpost = site.get("/outposts/instances/").await["results"][0]["pk"].as_str().unwrap().to_owned();
    site.patch(&format!("/outposts/instances/{outpost}/"), json!({"providers": [served]})).await;
    let (proxy, oauth2) = ("authentik_providers_proxy", "authentik_providers_oauth2");
    let looks = [format!("{proxy}.view_proxyprovider"), format!("{oauth2}.view_oauth2provider")];
    let looks: Vec<_> = looks.iter().map(|right| (right.as_str(), None)).collect();
    let changes = [format!("{proxy}.change_proxyprovider"), format!("{oauth2}.change_oauth2provider")];
    let changes: Vec<_> = looks.iter().copied().chain(changes.iter().map(|right| (right.as_str(), None))).collect();
    let makes = format!("{oauth2}.add_oauth2provider");
    let (_, maker) = site.user_with("maker", &[(makes.as_str(), None)]).await;
    let (_, reader) = site.user_with("reader", &looks).await;
    let (_, writer) = site.user_with("writer", &changes).await;
    let secrets = async |key: &str| {
        let (_, list) = site.send(key, Method::GET, "/outposts/proxy/", None).await;
        let (_, one) = site.send(key, Method::GET, &format!("/providers/oauth2/{}/", own["pk"]), None).await;
        let listed = &list["results"][0];
        [listed["client_secret"].clone(), listed["cookie_secret"].clone(), one["client_secret"].clone()]
    };
    assert_eq!(secrets(&reader).await, ["********"; 3].map(Value::from));
    let told = secrets(&writer).await;
    assert!(told.iter().all(|secret| secret.as_str().unwrap().len() > 20), "{told:?}");
    assert_eq!(told[2], own["client_secret"]);
    let account = site.outpost_account(&outpost).await;
    assert_eq!(secrets(&account).await[..2], told[..2]);
    body["name"] = json!("another");
    let (status, made) = site.send(&maker, Method::POST, "/providers/oauth2/", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    assert!(made["client_secret"].as_str().unwrap().len() > 20, "who makes one is told its secret");
}

/// CO-153: whoever makes or moves an entitlement has to see its application.
#[tokio::test]
async fn co_153_entitlements_are_for_applications_that_are_seen() {
    let site = Site::new().await;
    let (first, second) = (site.provider("one").await["pk"].clone(), site.provider("two").await["pk"].clone());
    let (first, second) = (site.application("one", &first).await, site.application("two", &second).await);
    let seen = first["pk"].as_str().unwrap();
    let (_, key) = site
        .user_with(
            "ada",
            &[
                ("authentik_core.view_application", Some(seen)),
                ("authentik_core.view_applicationentitlement", None),
                ("authentik_core.add_applicationentitlement", None),
                ("authentik_core.change_applicationentitlement", None),
            ],
        )
        .await;
    let path = "/core/application_entitlements/";
    let denied = json!({"app": ["User does not have access to application."]});
    let (status, said) = site.send(&key, Method::POST, path, Some(json!({"name": "e", "app": second["pk"]}))).await;
    assert_eq!((status.as_u16(), said), (400, denied.clone()));
    let (status, made) = site.send(&key, Method::POST, path, Some(json!({"name": "e", "app": seen}))).await;
    assert_eq!(status, 201, "{made}");
    let at = format!("{path}{}/", made["pbm_uuid"].as_str().unwrap());
    let (status, said) = site.send(&key, Method::PATCH, &at, Some(json!({"app": second["pk"]}))).await;
    assert_eq!((status.as_u16(), said), (400, denied));
    assert_eq!(site.send(&key, Method::PATCH, &at, Some(json!({"name": "f"}))).await.0, 200);
}

/// CO-704, CO-703: the account of an outpost sees its outpost, what it serves and the certificates of that, and nothing
/// else; what it sees follows what it serves.
#[tokio::test]
async fn co_704_outposts_see_what_they_serve() {
    let site = Site::new().await;
    let outpost = site.get("/outposts/instances/").await["results"][0]["pk"].as_str().unwrap().to_owned();
    let key = site.outpost_account(&outpost).await;
    let pair = json!({"common_name": "a.example", "validity_days": 30, "alg": "ecdsa"});
    let (_, pair) =
        site.send(crate::site::ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(pair)).await;
    let pair = pair["pk"].as_str().unwrap().to_owned();
    let body = site.provider_body("wiki", json!({"certificate": pair})).await;
    let provider = site.post("/providers/proxy/", body).await["pk"].clone();
    site.application("wiki", &provider).await;
    let key_path = format!("/crypto/certificatekeypairs/{pair}/view_private_key/");
    let ask = async |path: &str| count(&site, &key, path).await;
    assert_eq!(ask("/outposts/instances/").await, (200, json!(1)));
    assert_eq!(ask("/outposts/proxy/").await, (200, json!(0)));
    assert_eq!(ask("/crypto/certificatekeypairs/").await, (200, json!(0)));
    assert_eq!(ask(&key_path).await.0, 403);
    let at = format!("/outposts/instances/{outpost}/");
    site.patch(&at, json!({"providers": [provider]})).await;
    assert_eq!(ask("/outposts/proxy/").await, (200, json!(1)));
    assert_eq!(ask("/crypto/certificatekeypairs/").await, (200, json!(1)));
    assert_eq!(ask(&key_path).await.0, 200);
    for path in ["/core/users/", "/core/tokens/", "/providers/proxy/", "/core/applications/", "/events/events/"] {
        assert_eq!(ask(path).await, (200, json!(0)), "{path}");
    }
    let told = json!({"action": "login", "app": "outpost"});
    assert_eq!(site.send(&key, Method::POST, "/events/events/", Some(told)).await.0, 201);
    for (method, path, body) in [
        (Method::PATCH, at.as_str(), json!({})),
        (Method::POST, "/core/tokens/", json!({"identifier": "x"})),
        (Method::POST, "/core/users/", json!({"username": "x", "name": "x"})),
    ] {
        assert_eq!(site.send(&key, method, path, Some(body)).await.0, 403, "{path}");
    }
    site.patch(&at, json!({"providers": []})).await;
    assert_eq!(ask(&key_path).await.0, 403);
}

/// CO-701: a role is granted rights that exist, once each, with an event; the granting is what blueprints do.
#[tokio::test]
async fn co_701_roles_are_granted_rights_that_exist() {
    let site = Site::new().await;
    let pk: portcullis_core::id::RoleId = site.role("readers", &[]).await.parse().unwrap();
    let system = Actor::system();
    let mut change = Change::begin(&site.ctx, &system).await.unwrap();
    for (name, object) in [("authentik_core.view_user", None), ("authentik_core.change_user", Some("7"))] {
        for _ in 0..2 {
            roles::grant_in(&mut change, pk, name, object).await.unwrap();
        }
    }
    for name in ["authentik_core.read_user", "view_user", ""] {
        assert!(roles::grant_in(&mut change, pk, name, None).await.is_err(), "{name}");
    }
    change.commit().await.unwrap();
    let mut conn = site.ctx.db.read().await.unwrap();
    let granted = portcullis_store::role::permissions_granted_by(&mut conn, &[pk]).await.unwrap();
    assert_eq!(granted.names(), ["authentik_core.view_user"]);
    assert!(granted.hold_on("authentik_core.change_user", "7") && !granted.hold("authentik_core.change_user"));
    assert!(Permission::parse("authentik_core.view_user").is_some());
    let events = site.events("model_updated").await;
    assert_eq!(events.iter().filter(|event| event["diff"]["granted"].is_object()).count(), 2);
}

/// CO-137: whoever may see a user's applications asks for them; whoever may not is refused.
#[tokio::test]
async fn co_137_applications_of_others_need_a_right() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    site.application("wiki", &provider).await;
    let (bob, _) = site.user("bob").await;
    let object = bob.to_string();
    let (ada, key) = site.user_with("ada", &[("authentik_core.view_user_applications", Some(&object))]).await;
    assert_eq!(count(&site, &key, &format!("/core/applications/?for_user={bob}")).await, (200, json!(1)));
    let (eve, _) = site.user("eve").await;
    assert_eq!(count(&site, &key, &format!("/core/applications/?for_user={eve}")).await.0, 403);
    assert_eq!(site.send(&key, Method::GET, "/core/applications/wiki/check_access/", None).await.0, 200);
    let other = format!("/core/applications/wiki/check_access/?for_user={bob}");
    assert_eq!(site.send(&key, Method::GET, &other, None).await.0, 200, "about themselves (CO-138)");
    assert!(ada != eve);
}

/// CO-472, CO-821: secret attributes of brands and entitlements are masked for those who may look but not change.
#[tokio::test]
async fn co_821_secret_attributes_of_brands_and_entitlements_are_masked() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    let app = site.application("wiki", &provider).await["pk"].clone();
    let attributes = json!({"api_token": "s3cr3t", "plain": "text"});
    let made = json!({"name": "e", "app": app, "attributes": attributes});
    let made = site.post("/core/application_entitlements/", made).await["pbm_uuid"].as_str().unwrap().to_owned();
    let brand = site.get("/core/brands/").await["results"][0]["brand_uuid"].as_str().unwrap().to_owned();
    let (brands, entitlements) = ("/core/brands/".to_owned(), "/core/application_entitlements/".to_owned());
    let (brand, entitlement) = (format!("{brands}{brand}/"), format!("{entitlements}{made}/"));
    site.patch(&brand, json!({"attributes": attributes})).await;
    let looks = [("authentik_brands.view_brand", None), ("authentik_core.view_applicationentitlement", None)];
    let changes = [("authentik_brands.change_brand", None), ("authentik_core.change_applicationentitlement", None)];
    let (_, reader) = site.user_with("reader", &looks).await;
    let (_, writer) = site.user_with("writer", &[looks, changes].concat()).await;
    for path in [&brands, &brand, &entitlements, &entitlement] {
        let (_, said) = site.send(&reader, Method::GET, path, None).await;
        let said = said.to_string();
        assert!(!said.contains("s3cr3t") && said.contains("********") && said.contains("text"), "{path}: {said}");
        let (_, said) = site.send(&writer, Method::GET, path, None).await;
        assert!(said.to_string().contains("s3cr3t"), "{path}: {said}");
    }
    // Who writes another attribute keeps the secret.
    site.send(&writer, Method::PATCH, &brand, Some(json!({"branding_title": "Ours"}))).await;
    assert_eq!(site.get(&brand).await["attributes"], attributes);
}

/// CO-547, CO-701: beside groups and bindings, addresses and attributes of users are for those who may see the users.
#[tokio::test]
async fn co_701_members_are_shown_to_those_who_may_see_them() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    let app = site.application("wiki", &provider).await["pk"].clone();
    let bob =
        json!({"username": "bob", "name": "Bob", "email": "bob@example.com", "attributes": {"desk": "fourth floor"}});
    let bob = site.post("/core/users/", bob).await["pk"].clone();
    site.post("/core/groups/", json!({"name": "g", "users": [bob]})).await;
    site.post("/policies/bindings/", json!({"target": app, "order": 0, "user": bob})).await;
    let looks = [("authentik_core.view_group", None), ("authentik_policies.view_policybinding", None)];
    let (_, narrow) = site.user_with("narrow", &looks).await;
    let object = bob.to_string();
    let (_, wide) = site.user_with("wide", &[looks[0], looks[1], ("authentik_core.view_user", Some(&object))]).await;
    for (path, place) in
        [("/core/groups/?name=g", "/results/0/users_obj/0"), ("/policies/bindings/", "/results/0/user_obj")]
    {
        let seen = async |key: &str| {
            let (_, said) = site.send(key, Method::GET, path, None).await;
            let user = said.pointer(place).unwrap_or_else(|| panic!("{path}: {said}")).clone();
            (user["username"].clone(), user["email"].clone(), user["attributes"].clone())
        };
        assert_eq!(seen(&narrow).await, (json!("bob"), json!(""), json!({})), "{path}");
        assert_eq!(
            seen(&wide).await,
            (json!("bob"), json!("bob@example.com"), json!({"desk": "fourth floor"})),
            "{path}"
        );
    }
}

/// CO-286, CO-564, CO-701: expressions look up whomever they like: who tries one out may see every user.
#[tokio::test]
async fn co_701_expressions_are_tried_by_those_who_see_everybody() {
    let site = crate::expressions::site().await;
    let policy =
        json!({"name": "p", "expression": "return ak_user_by(username='akadmin').email == 'root@example.com'"});
    let policy = site.post("/policies/expression/", policy).await["pk"].as_str().unwrap().to_owned();
    let dummy = json!({"name": "d", "result": true, "wait_min": 0, "wait_max": 0});
    let dummy = site.post("/policies/dummy/", dummy).await["pk"].as_str().unwrap().to_owned();
    let mapping = portcullis_store::mapping::ScopeMapping {
        pk: portcullis_core::id::MappingId(site.ctx.entropy.uuid()),
        name: "m".to_owned(),
        scope_name: "m".to_owned(),
        description: String::new(),
        expression: "return {'email': ak_user_by(username='akadmin').email}".to_owned(),
        managed: None,
    };
    let mut tx = site.ctx.db.write().await.unwrap();
    portcullis_store::mapping::insert(&mut tx, &mapping).await.unwrap();
    tx.commit().await.unwrap();
    let shipped = "/propertymappings/all/?managed=goauthentik.io/providers/oauth2/scope-profile";
    let shipped = site.get(shipped).await["results"][0]["pk"].as_str().unwrap().to_owned();
    let client = async |name: &str, mapping: &str| {
        let mut body = site.provider_body(name, json!({"property_mappings": [mapping]})).await;
        body["redirect_uris"] = json!([]);
        let made = site.post("/providers/oauth2/", body).await["pk"].clone();
        site.application(name, &made).await;
        made
    };
    let (telling, plain) = (client("telling", &mapping.pk.to_string()).await, client("plain", &shipped).await);
    let (bob, _) = site.user("bob").await;
    let object = bob.to_string();
    let looks = [
        ("authentik_policies.view_policy", None),
        ("authentik_core.view_propertymapping", None),
        ("authentik_providers_oauth2.view_oauth2provider", None),
        ("authentik_core.preview_user", None),
    ];
    let (_, narrow) =
        site.user_with("narrow", &[&looks[..], &[("authentik_core.view_user", Some(&*object))]].concat()).await;
    let (_, wide) = site.user_with("wide", &[&looks[..], &[("authentik_core.view_user", None)]].concat()).await;
    let tried = async |key: &str, method: Method, path: String| {
        site.send(key, method, &path, Some(json!({"user": bob}))).await.0.as_u16()
    };
    let preview = |client: &Value| format!("/providers/oauth2/{client}/preview_user/?for_user={bob}");
    for (method, looking, harmless) in [
        (Method::POST, format!("/policies/all/{policy}/test/"), format!("/policies/all/{dummy}/test/")),
        (
            Method::POST,
            format!("/propertymappings/all/{}/test/", mapping.pk),
            format!("/propertymappings/all/{shipped}/test/"),
        ),
        (Method::GET, preview(&telling), preview(&plain)),
    ] {
        assert_eq!(tried(&narrow, method.clone(), looking.clone()).await, 403, "{looking}");
        assert_eq!(tried(&narrow, method.clone(), harmless.clone()).await, 200, "{harmless}");
        assert_ne!(tried(&wide, method, looking.clone()).await, 403, "{looking}");
    }
}

/// CO-703: who may see objects that are all gone sees nothing, and is refused; who may see one that is there is answered,
/// also when the conditions of the list leave it out.
#[tokio::test]
async fn co_703_what_is_gone_is_not_visible() {
    let site = Site::new().await;
    let group =
        async |name: &str| site.post("/core/groups/", json!({"name": name})).await["pk"].as_str().unwrap().to_owned();
    let (one, other) = (group("one").await, group("other").await);
    let policy = site.post("/policies/dummy/", json!({"name": "p", "wait_min": 0, "wait_max": 0})).await;
    let policy = policy["pk"].as_str().unwrap();
    let view = "authentik_core.view_group";
    let rights =
        [(view, Some(one.as_str())), (view, Some(other.as_str())), ("authentik_policies.view_policy", Some(policy))];
    let (_, key) = site.user_with("viewer", &rights).await;
    let list = async |path: &str| {
        let (status, list) = site.send(&key, Method::GET, path, None).await;
        (status.as_u16(), list["pagination"]["count"].clone())
    };
    assert_eq!(list("/core/groups/").await, (200, json!(2)));
    site.delete(&format!("/core/groups/{one}/")).await;
    assert_eq!(list("/core/groups/").await, (200, json!(1)));
    assert_eq!(list("/core/groups/?name=nothing").await, (200, json!(0)));
    site.delete(&format!("/core/groups/{other}/")).await;
    for path in ["/core/groups/", "/core/groups/?name=nothing", "/core/groups/?page=2"] {
        assert_eq!(list(path).await, (403, Value::Null), "{path}");
    }
    assert_eq!(list("/policies/all/").await, (200, json!(1)));
    site.delete(&format!("/policies/dummy/{policy}/")).await;
    assert_eq!(list("/policies/all/").await.0, 403);
}

/// CO-522, CO-528, CO-703: users and groups beside something else keep addresses and attributes from those who may not see them;
/// one's own are there. Roles are not found by users whom somebody may not see.
#[tokio::test]
async fn co_703_what_stands_beside_something_tells_no_more() {
    let site = Site::new().await;
    let looks = [
        ("authentik_core.view_token", None),
        ("authentik_policies.view_policybinding", None),
        ("authentik_rbac.view_role", None),
        ("authentik_core.view_user", None),
        ("authentik_core.view_group", None),
    ];
    let (_, blind) = site.user_with("blind", &looks[..3]).await;
    let (_, half) = site.user_with("half", &looks[..4]).await;
    let (_, seeing) = site.user_with("seeing", &looks).await;
    let parent = json!({"name": "parent", "attributes": {"of": "parent"}});
    let parent = site.post("/core/groups/", parent).await["pk"].clone();
    let (bob, own) = site.user("bob").await;
    let inner = json!({"name": "inner", "users": [bob], "parents": [parent], "attributes": {"of": "inner"}});
    let inner = site.post("/core/groups/", inner).await["pk"].clone();
    let path = format!("/core/users/{bob}/");
    site.patch(&path, json!({"email": "bob@example.com", "attributes": {"of": "bob"}})).await;
    let wiki = site.application("wiki", &Value::Null).await["pk"].clone();
    let bound = site.post("/policies/bindings/", json!({"target": wiki, "order": 0, "group": inner})).await;
    let bound = format!("/policies/bindings/{}/", bound["pk"].as_str().unwrap());
    let token = "/core/tokens/bob-token/";
    let told = async |key: &str, path: &str| {
        let (status, told) = site.send(key, Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {told}");
        told
    };
    let nothing = json!({});
    for (key, email, of_user, of_group) in [
        (&blind, "", &nothing, &nothing),
        (&half, "bob@example.com", &json!({"of": "bob"}), &nothing),
        (&own, "bob@example.com", &json!({"of": "bob"}), &nothing),
        (&seeing, "bob@example.com", &json!({"of": "bob"}), &json!({"of": "inner"})),
    ] {
        let shown = told(key, token).await;
        let _: models::Token = serde_json::from_value(shown.clone()).unwrap();
        let user = &shown["user_obj"];
        assert_eq!((&user["email"], &user["attributes"]), (&json!(email), of_user));
        assert_eq!((&user["username"], &user["groups_obj"][0]["attributes"]), (&json!("bob"), of_group));
        if *key != own {
            assert_eq!(&told(key, &bound).await["group_obj"]["attributes"], of_group);
        }
    }
    assert_eq!(told(&half, &path).await["groups_obj"][0]["attributes"], nothing);
    let at = |pk: &Value| format!("/core/groups/{}/", pk.as_str().unwrap());
    let one = inner.as_str().unwrap();
    let (_, only) = site.user_with("only", &[("authentik_core.view_group", Some(one))]).await;
    let group = told(&only, &(at(&inner) + "?include_parents=true")).await;
    assert_eq!((&group["attributes"], &group["parents_obj"][0]["attributes"]), (&json!({"of": "inner"}), &nothing));
    let group = told(&seeing, &(at(&parent) + "?include_children=true")).await;
    assert_eq!(group["children_obj"][0]["attributes"], json!({"of": "inner"}));

    let role = site.role("of bob", &[]).await;
    site.patch(&path, json!({"roles": [role]})).await;
    let of_bob = format!("/rbac/roles/?users={bob}&inherited=true");
    assert_eq!(count(&site, &blind, &of_bob).await, (200, json!(0)));
    assert_eq!(count(&site, &half, &of_bob).await, (200, json!(1)));
}
