use authentik_client::models;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const BINDINGS: &str = "/policies/bindings/";

/// Whether a user may use an application.
async fn may(site: &Site, slug: &str, user: i64) -> bool {
    let path = format!("/core/applications/{slug}/check_access/?for_user={user}");
    site.get(&path).await["passing"].as_bool().unwrap()
}

async fn group(site: &Site, name: &str, parents: Value, users: Value) -> Value {
    site.post("/core/groups/", json!({"name": name, "parents": parents, "users": users})).await["pk"].clone()
}

/// CO-170, CO-561: a binding names exactly one group, policy or user; it has its defaults.
#[tokio::test]
async fn co_170_a_binding_names_exactly_one() {
    let site = Site::new().await;
    let (user, _) = site.user("ada").await;
    let staff = group(&site, "staff", json!([]), json!([])).await;
    let target = site.application("wiki", &json!(null)).await["pk"].clone();
    let none = site.refused(Method::POST, BINDINGS, json!({"target": target, "order": 0})).await;
    assert_eq!(none, json!({"non_field_errors": ["One of 'group', 'policy', 'user' must be set."]}));
    let both = json!({"target": target, "order": 0, "group": staff, "user": user});
    let both = site.refused(Method::POST, BINDINGS, both).await;
    assert_eq!(both, json!({"non_field_errors": ["Only one of 'group', 'policy', 'user' can be set."]}));
    let missing = site.refused(Method::POST, BINDINGS, json!({"user": user})).await;
    assert_eq!(missing, json!({"target": ["This field is required."], "order": ["This field is required."]}));
    let nobody = "00000000-0000-4000-8000-000000000000";
    let words = json!([format!("Invalid pk \"{nobody}\" - object does not exist.")]);
    for field in ["target", "group", "policy"] {
        let mut body = json!({"target": target, "order": 0});
        body[field] = json!(nobody);
        assert_eq!(site.refused(Method::POST, BINDINGS, body).await[field], words, "{field}");
    }
    let late = json!({"target": target, "order": 0, "user": user, "timeout": -1});
    assert!(site.refused(Method::POST, BINDINGS, late).await["timeout"].is_array());

    let made = site.post(BINDINGS, json!({"target": target, "order": -3, "group": staff})).await;
    for (field, value) in [
        ("order", json!(-3)),
        ("negate", json!(false)),
        ("enabled", json!(true)),
        ("failure_result", json!(false)),
        ("timeout", json!(30)),
        ("policy", json!(null)),
        ("policy_obj", json!(null)),
        ("user", json!(null)),
        ("user_obj", json!(null)),
        ("expires", json!(null)),
        ("expiring", json!(false)),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    assert_eq!(made["group_obj"]["name"], "staff");
    let _: models::PolicyBinding = serde_json::from_value(made.clone()).unwrap();
    let path = format!("{BINDINGS}{}/", made["pk"].as_str().unwrap());
    let changed = site.patch(&path, json!({"group": null, "user": user})).await;
    assert_eq!((&changed["user"], &changed["user_obj"]["username"]), (&json!(user), &json!("ada")));
    let _: models::PaginatedPolicyBindingList = serde_json::from_value(site.get(BINDINGS).await).unwrap();
    assert!(site.refused(Method::PATCH, &path, json!({"user": null})).await["non_field_errors"].is_array());
    site.delete(&path).await;
    assert_eq!(site.send(ADMIN, Method::GET, &path, None).await.0, 404);
}

/// CO-171, CO-172, CO-136: users, groups and groups above them decide; `negate` inverts; modes combine.
#[tokio::test]
async fn co_171_bindings_decide_about_access() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let (bob, _) = site.user("bob").await;
    let company = group(&site, "company", json!([]), json!([])).await;
    let staff = group(&site, "staff", json!([company]), json!([ada])).await;
    let application = site.application("wiki", &json!(null)).await;
    let path = "/core/applications/wiki/";
    assert!(may(&site, "wiki", ada).await && may(&site, "wiki", bob).await);

    let make = async |order: i32, more: Value| {
        let mut body = json!({"target": application["pk"], "order": order});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("{BINDINGS}{}/", site.post(BINDINGS, body).await["pk"].as_str().unwrap())
    };
    let of_company = make(0, json!({"group": company})).await;
    assert!(may(&site, "wiki", ada).await && !may(&site, "wiki", bob).await);
    site.patch(&of_company, json!({"negate": true})).await;
    assert!(!may(&site, "wiki", ada).await && may(&site, "wiki", bob).await);
    site.patch(&of_company, json!({"negate": false})).await;

    make(1, json!({"user": bob})).await;
    assert!(may(&site, "wiki", ada).await && may(&site, "wiki", bob).await);
    site.patch(path, json!({"policy_engine_mode": "all"})).await;
    assert!(!may(&site, "wiki", ada).await && !may(&site, "wiki", bob).await);
    site.patch(path, json!({"policy_engine_mode": "any"})).await;

    site.patch(&format!("/core/groups/{}/", staff.as_str().unwrap()), json!({"parents": []})).await;
    assert!(!may(&site, "wiki", ada).await);
    site.patch(&of_company, json!({"enabled": false})).await;
    assert!(!may(&site, "wiki", ada).await && may(&site, "wiki", bob).await);
}

/// CO-135: the default applies again when the last enabled binding goes, and a warning says so.
#[tokio::test]
async fn co_135_losing_the_last_binding_is_warned_of() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let (bob, _) = site.user("bob").await;
    let target = site.application("wiki", &json!(null)).await["pk"].clone();
    let mut paths = Vec::new();
    for (order, user) in [(0, ada), (1, ada)] {
        let made = site.post(BINDINGS, json!({"target": target, "order": order, "user": user})).await;
        paths.push(format!("{BINDINGS}{}/", made["pk"].as_str().unwrap()));
    }
    site.patch(&paths[0], json!({"enabled": false})).await;
    assert!(site.events("configuration_warning").await.is_empty() && !may(&site, "wiki", bob).await);
    site.patch(&paths[1], json!({"enabled": false})).await;
    let warnings = site.events("configuration_warning").await;
    assert_eq!((warnings.len(), &warnings[0]["application"]["name"]), (1, &json!("wiki")));
    assert!(may(&site, "wiki", bob).await);
    site.patch(&paths[1], json!({"enabled": true})).await;
    site.delete(&paths[1]).await;
    assert_eq!(site.events("configuration_warning").await.len(), 2);
}

/// CO-180: a binding whose group or user is deleted stays, denies, and is warned of.
#[tokio::test]
async fn co_180_orphans_stay_and_deny() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let (bob, _) = site.user("bob").await;
    let staff = group(&site, "staff", json!([]), json!([bob])).await;
    for (slug, member) in [("wiki", json!({"user": ada})), ("blog", json!({"group": staff}))] {
        let target = site.application(slug, &json!(null)).await["pk"].clone();
        let mut body = json!({"target": target, "order": 0, "negate": true, "failure_result": true});
        body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        site.post(BINDINGS, body).await;
    }
    assert!(may(&site, "wiki", bob).await && !may(&site, "blog", bob).await);
    site.delete(&format!("/core/users/{ada}/")).await;
    site.delete(&format!("/core/groups/{}/", staff.as_str().unwrap())).await;
    assert!(!may(&site, "wiki", bob).await && !may(&site, "blog", bob).await);
    assert_eq!(site.events("configuration_warning").await.len(), 2);
    let list = site.get(BINDINGS).await;
    assert_eq!(list["pagination"]["count"], 2);
    for orphan in list["results"].as_array().unwrap() {
        assert_eq!((&orphan["user"], &orphan["group"], &orphan["policy"]), (&json!(null), &json!(null), &json!(null)));
        let _: models::PolicyBinding = serde_json::from_value(orphan.clone()).unwrap();
    }
}

/// CO-170, CO-180: an orphan can be disabled and moved, by a part of it or the whole as it was read, and nothing else.
#[tokio::test]
async fn co_170_an_orphan_can_be_disabled() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let (bob, _) = site.user("bob").await;
    let target = site.application("wiki", &json!(null)).await["pk"].clone();
    let other = site.application("blog", &json!(null)).await["pk"].clone();
    let made = site.post(BINDINGS, json!({"target": target, "order": 0, "user": ada})).await;
    let path = format!("{BINDINGS}{}/", made["pk"].as_str().unwrap());
    let nothing = json!({"user": null});
    assert!(site.refused(Method::PATCH, &path, nothing.clone()).await["non_field_errors"].is_array());
    site.delete(&format!("/core/users/{ada}/")).await;
    assert!(!may(&site, "wiki", bob).await);

    let moved = json!({"target": other});
    assert!(site.refused(Method::PATCH, &path, moved).await["non_field_errors"].is_array());
    assert_eq!(site.patch(&path, json!({"order": 3})).await["order"], 3);
    let mut whole = site.get(&path).await;
    whole["enabled"] = json!(false);
    let (status, changed) = site.send(ADMIN, Method::PUT, &path, Some(whole)).await;
    assert_eq!((status, &changed["enabled"]), (StatusCode::OK, &json!(false)));
    assert!(may(&site, "wiki", bob).await);
    assert_eq!(site.patch(&path, json!({"user": bob})).await["user"], bob);
    assert!(site.refused(Method::PATCH, &path, nothing).await["non_field_errors"].is_array());
}

/// CO-132: a changed binding is told to everything that rests on the application's provider.
#[tokio::test]
async fn co_132_a_changed_binding_is_told_at_once() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let provider = site.provider("wiki").await["pk"].clone();
    let target = site.application("wiki", &provider).await["pk"].clone();
    let epochs = &site.ctx.epochs;
    let pk = i32::try_from(provider.as_i64().unwrap()).unwrap();
    let mark = || epochs.mark(epochs.present(), &[portcullis_core::epoch::Subject::Provider(pk)]);
    let before = mark();
    let made = site.post(BINDINGS, json!({"target": target, "order": 0, "user": ada})).await;
    assert!(!epochs.stands(&before));
    let before = mark();
    site.delete(&format!("{BINDINGS}{}/", made["pk"].as_str().unwrap())).await;
    assert!(!epochs.stands(&before));
}

/// CO-525, CO-526, CO-561: bindings are listed in order, by target and by switch.
#[tokio::test]
async fn co_561_bindings_are_listed_by_filter() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let mut targets = Vec::new();
    for slug in ["wiki", "blog"] {
        let target = site.application(slug, &json!(null)).await["pk"].as_str().unwrap().to_owned();
        for order in [2, 1] {
            let body = json!({"target": target, "order": order, "user": ada, "enabled": order == 1});
            site.post(BINDINGS, body).await;
        }
        targets.push(target);
    }
    let orders = async |query: String| -> Vec<i64> {
        let list = site.get(&format!("{BINDINGS}?{query}")).await;
        list["results"].as_array().unwrap().iter().map(|binding| binding["order"].as_i64().unwrap()).collect()
    };
    let [wiki, blog] = [&targets[0], &targets[1]];
    assert_eq!(orders(String::new()).await, [1, 1, 2, 2]);
    assert_eq!(orders(format!("target={wiki}")).await, [1, 2]);
    assert_eq!(orders(format!("target_in={wiki}&target_in={blog}&enabled=true")).await, [1, 1]);
    assert_eq!(orders(format!("target={wiki}&target_in={blog}")).await, [0; 0]);
    assert_eq!(orders(format!("target={wiki}&ordering=-order")).await, [2, 1]);
    assert_eq!(orders("order=2".to_owned()).await, [2, 2]);
    assert_eq!(orders("policy__isnull=true".to_owned()).await.len(), 4);
    assert_eq!(orders("policy__isnull=false".to_owned()).await.len(), 0);
    assert_eq!(site.send(ADMIN, Method::GET, &format!("{BINDINGS}?target=x"), None).await.0, 400);
}

/// CO-172: who runs a flow before they are known is asked by policies alone, also where a binding is changed later.
#[tokio::test]
async fn co_172_no_binding_of_a_sign_in_flow_becomes_that_of_a_user() {
    let site = Site::new().await;
    let (user, _) = site.user("ada").await;
    let staff = group(&site, "staff", json!([]), json!([])).await;
    let flow = site.get("/flows/instances/default-authentication-flow/").await["pk"].clone();
    let policy = json!({"name": "yes", "result": true, "wait_min": 0, "wait_max": 0});
    let policy = site.post("/policies/dummy/", policy).await["pk"].clone();
    let made = site.post(BINDINGS, json!({"target": flow, "order": 0, "policy": policy})).await;
    let path = format!("{BINDINGS}{}/", made["pk"].as_str().unwrap());
    let words = json!(["Nobody is known when this flow begins: only policies can be bound to it."]);
    for (field, value) in [("user", json!(user)), ("group", staff)] {
        let mut body = json!({"policy": null});
        body[field] = value;
        let refused = site.refused(Method::PATCH, &path, body.clone()).await;
        assert_eq!(refused[field], words, "{body}: {refused}");
        assert_eq!(site.get(&path).await["policy"], policy);
    }
    site.patch(&path, json!({"order": 1, "policy": policy})).await;
}
