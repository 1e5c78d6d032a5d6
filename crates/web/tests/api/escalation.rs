//! Nobody gives away what they do not have, or gets at it by another user (CO-705, CO-822): users, groups and roles. What
//! stands for users is in [`crate::escalation_clients`].

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

/// The key of the group whose members are superusers.
pub(crate) async fn admins(site: &Site) -> String {
    let found = site.get("/core/groups/?name=authentik%20Admins").await;
    found["results"][0]["pk"].as_str().unwrap().to_owned()
}

/// What a writer is told, and that nothing was changed by it.
pub(crate) async fn refused(site: &Site, key: &str, method: Method, path: &str, body: Value, field: &str) -> Value {
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

/// CO-705, CO-548: nobody is stripped by way of a group or a role either: by leaving it, by what it has or is below, or by its
/// end. Ordinary members leave, and what nobody has may go.
#[tokio::test]
async fn co_705_groups_do_not_strip_the_mighty() {
    let site = Site::new().await;
    let mut rights = MANAGER.to_vec();
    rights.extend([
        ("authentik_core.remove_user_from_group", None),
        ("authentik_core.delete_group", None),
        ("authentik_rbac.view_role", None),
        ("authentik_rbac.delete_role", None),
    ]);
    let (ada, key) = site.user_with("ada", &rights).await;
    let own = site.get(&format!("/core/users/{ada}/")).await["roles"][0].clone();
    let ((boss, _), (bob, _)) = (site.user("boss").await, site.user("bob").await);
    let (role, spare) = (site.role("other", &[]).await, site.role("spare", &[]).await);
    let group = async |body: Value| site.post("/core/groups/", body).await["pk"].as_str().unwrap().to_owned();
    let (admins, above) = (admins(&site).await, group(json!({"name": "above", "roles": [role]})).await);
    let mighty = group(json!({"name": "mighty", "parents": [above, admins], "users": [boss, bob]})).await;
    let plain = group(json!({"name": "plain", "roles": [own], "users": [bob, boss]})).await;
    let empty = group(json!({"name": "empty", "roles": [spare], "parents": [admins]})).await;
    let at = |group: &str| format!("/core/groups/{group}/");
    let leaves = |group: &str| format!("/core/groups/{group}/remove_user/");
    for (method, path, body, field) in [
        (Method::POST, leaves(&mighty), json!({"pk": boss}), "pk"),
        (Method::PATCH, at(&mighty), json!({"users": [bob]}), "users"),
        (Method::PATCH, at(&mighty), json!({"parents": [admins]}), "parents"),
        (Method::PATCH, at(&mighty), json!({"parents": [above]}), "parents"),
        (Method::PATCH, at(&above), json!({"roles": []}), "roles"),
        (Method::DELETE, at(&mighty), json!({}), "non_field_errors"),
        (Method::DELETE, at(&above), json!({}), "non_field_errors"),
        (Method::DELETE, format!("/rbac/roles/{role}/"), json!({}), "non_field_errors"),
    ] {
        let said = refused(&site, &key, method, &path, body, field).await;
        assert_eq!(said, "People would lose what you do not have yourself: have a superuser do this.", "{path}");
    }
    for (method, path, body) in [
        (Method::POST, leaves(&mighty), json!({"pk": ada})),
        (Method::PATCH, at(&mighty), json!({"users": [bob, boss], "parents": [admins, above]})),
        (Method::POST, leaves(&plain), json!({"pk": bob})),
        (Method::PATCH, at(&plain), json!({"users": [], "roles": []})),
        (Method::DELETE, at(&plain), json!({})),
        (Method::PATCH, at(&empty), json!({"roles": [], "parents": []})),
        (Method::DELETE, at(&empty), json!({})),
        (Method::DELETE, format!("/rbac/roles/{spare}/"), json!({})),
    ] {
        let (status, said) = site.send(&key, method, &path, Some(body)).await;
        assert!(status.is_success(), "{path}: {said}");
    }
    site.delete(&at(&mighty)).await;
    site.delete(&format!("/rbac/roles/{role}/")).await;
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
