//! Who names an object in what they write may use, change or fill it themselves (CO-705).

use std::sync::Arc;

use http::Method;
use portcullis_core::keys::Keyring;
use portcullis_idp::Context;
use portcullis_idp::expressions::{Engine, ForMappings, ForPolicies};
use portcullis_idp::policies::{ExpressionEngine, Support};
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

/// What a writer is told of the field at fault, and of no other.
async fn refused(site: &Site, key: &str, method: Method, path: &str, body: Value) -> Value {
    let (status, said) = site.send(key, method, path, Some(body.clone())).await;
    assert_eq!(status, 400, "{path} {body}: {said}");
    said
}

async fn accepted(site: &Site, key: &str, method: Method, path: &str, body: Value) -> Value {
    let (status, said) = site.send(key, method, path, Some(body.clone())).await;
    assert!(status.is_success(), "{path} {body}: {said}");
    said
}

/// A site with the engine that the product has, for policies and mappings.
async fn with_expressions() -> Site {
    let (site, engine) = (Site::new().await, Engine::new(false));
    let expressions = Some(Arc::new(ForPolicies(Arc::clone(&engine))) as Arc<dyn ExpressionEngine>);
    let ctx = Context {
        policies: Support { expressions, ..Support::default() },
        mapping_engine: Arc::new(ForMappings(engine)),
        ..site.renewed(Keyring::derive(b"0123456789abcdef0123456789abcdef"))
    };
    site.over(Arc::new(ctx))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// CO-704, CO-705: an outpost has the secrets of what it serves: who has it serve another provider may change that one.
#[tokio::test]
async fn co_705_outposts_serve_what_their_writer_may_change() {
    let site = Site::new().await;
    let (mine, other) = (site.provider("mine").await["pk"].clone(), site.provider("other").await["pk"].clone());
    let third = site.provider("third").await["pk"].clone();
    let (first, object) = ("/outposts/instances/", mine.to_string());
    let body =
        |name: &str, providers: &[&Value]| json!({"name": name, "type": "proxy", "providers": providers, "config": {}});
    let far = site.post(first, body("far", &[&other])).await;
    let far = format!("{first}{}/", text(&far["pk"]));
    let (_, key) = site
        .user_with(
            "ada",
            &[
                ("authentik_outposts.view_outpost", None),
                ("authentik_outposts.add_outpost", None),
                ("authentik_outposts.change_outpost", None),
                ("authentik_providers_proxy.view_proxyprovider", None),
                ("authentik_providers_proxy.change_proxyprovider", Some(&object)),
            ],
        )
        .await;
    let denied = json!({"providers": ["User does not have access to provider."]});
    assert_eq!(refused(&site, &key, Method::POST, first, body("new", &[&mine, &other])).await, denied);
    assert_eq!(refused(&site, &key, Method::PATCH, &far, json!({"providers": [other, third]})).await, denied);
    let both = json!({"providers": [other, mine]});
    assert_eq!(accepted(&site, &key, Method::PATCH, &far, both).await["providers"], json!([mine, other]));
    accepted(&site, &key, Method::POST, first, body("new", &[&mine])).await;
}

/// CO-569: whoever makes an outpost is answered with it, whether or not they may see outposts.
#[tokio::test]
async fn co_569_makers_of_outposts_see_what_they_made() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    let (_, key) = site
        .user_with(
            "ada",
            &[
                ("authentik_outposts.add_outpost", None),
                ("authentik_providers_proxy.view_proxyprovider", None),
                ("authentik_providers_proxy.change_proxyprovider", None),
            ],
        )
        .await;
    let body = json!({"name": "far", "type": "proxy", "providers": [provider], "config": {}});
    let (status, made) = site.send(&key, Method::POST, "/outposts/instances/", Some(body)).await;
    assert_eq!((status.as_u16(), &made["name"]), (201, &json!("far")), "{made}");
    let at = format!("/outposts/instances/{}/", text(&made["pk"]));
    assert_eq!(site.send(&key, Method::GET, &at, None).await.0, 403);
}

/// CO-705: a provider shows a certificate, or signs with a key, that its writer may read the private key of; or the one
/// that it had.
#[tokio::test]
async fn co_705_providers_use_keys_that_their_writer_may_read() {
    let site = Site::new().await;
    let wanted = json!({"common_name": "a.example", "validity_days": 30, "alg": "rsa"});
    let (_, pair) = site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(wanted)).await;
    let pair = text(&pair["pk"]);
    let proxy = site.provider("proxy").await["pk"].clone();
    let mut client = site.provider_body("client", json!({})).await;
    client["redirect_uris"] = json!([]);
    let own = site.post("/providers/oauth2/", client.clone()).await["pk"].clone();
    let (proxies, clients) = ("/providers/proxy/", "/providers/oauth2/");
    let (proxy, own) = (format!("{proxies}{proxy}/"), format!("{clients}{own}/"));
    let mut rights = vec![("authentik_crypto.view_certificatekeypair", None)];
    let all: Vec<_> = ["view", "add", "change"]
        .iter()
        .flat_map(|verb| {
            [
                format!("authentik_providers_proxy.{verb}_proxyprovider"),
                format!("authentik_providers_oauth2.{verb}_oauth2provider"),
            ]
        })
        .collect();
    rights.extend(all.iter().map(|right| (right.as_str(), None)));
    let (_, key) = site.user_with("ada", &rights).await;
    rights.push(("authentik_crypto.view_certificatekeypair_key", Some(&pair)));
    let (_, reader) = site.user_with("bob", &rights).await;
    client["name"] = json!("new");
    client["signing_key"] = json!(pair);
    let served = site.provider_body("served", json!({"certificate": pair})).await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (method, path, body, field) in [
        (Method::POST, proxies, served.clone(), "certificate"),
        (Method::PATCH, &proxy, json!({"certificate": pair}), "certificate"),
        (Method::POST, clients, client.clone(), "signing_key"),
        (Method::PATCH, &own, json!({"signing_key": pair}), "signing_key"),
    ] {
        let said = refused(&site, &key, method.clone(), path, body.clone()).await;
        assert_eq!(said, json!({field: ["User does not have access to certificate."]}), "{path}");
        let mut nowhere = body.clone();
        nowhere[field] = json!(unknown);
        let said = refused(&site, &key, method.clone(), path, nowhere).await;
        assert_eq!(said[field][0], format!("Invalid pk \"{unknown}\" - object does not exist."), "{path}");
        accepted(&site, &reader, method, path, body).await;
    }
    // What is there already is no question.
    accepted(&site, &key, Method::PATCH, &proxy, json!({"certificate": pair, "name": "still"})).await;
    accepted(&site, &key, Method::PATCH, &own, json!({"signing_key": pair, "name": "still this"})).await;
}

/// CO-705, CO-135: who makes, changes or ends a binding says who gets to what it is bound to, and has to be allowed to
/// change that; what is bound to flows is for superusers.
#[tokio::test]
async fn co_705_bindings_are_for_those_who_change_the_target() {
    let site = Site::new().await;
    let (first, second) = (site.provider("one").await["pk"].clone(), site.provider("two").await["pk"].clone());
    let first = text(&site.application("one", &first).await["pk"]);
    let second = text(&site.application("two", &second).await["pk"]);
    let entitlement = async |app: &str| {
        text(&site.post("/core/application_entitlements/", json!({"name": "e", "app": app})).await["pbm_uuid"])
    };
    let (within, without) = (entitlement(&first).await, entitlement(&second).await);
    let flow = text(&site.get("/flows/instances/default-password-change/").await["pk"]);
    let (bob, _) = site.user("bob").await;
    let bindings = "/policies/bindings/";
    let bind = |target: &str, order: i64| json!({"target": target, "order": order, "user": bob});
    let bound = async |target: &str| {
        let made = site.post(bindings, bind(target, 0)).await;
        format!("{bindings}{}/", text(&made["pk"]))
    };
    let mine = bound(&first).await;
    let others = [bound(&second).await, bound(&without).await, bound(&flow).await];
    let all = ["view", "add", "change", "delete"].map(|verb| format!("authentik_policies.{verb}_policybinding"));
    let mut rights: Vec<(&str, Option<&str>)> = all.iter().map(|right| (right.as_str(), None)).collect();
    rights.push(("authentik_core.view_application", None));
    rights.push(("authentik_core.change_application", Some(&first)));
    rights.push(("authentik_core.change_applicationentitlement", None));
    rights.push(("authentik_flows.change_flow", None));
    let (_, key) = site.user_with("ada", &rights).await;
    let denied = json!({"target": ["User does not have access to target."]});
    for target in [&second, &without, &flow] {
        assert_eq!(refused(&site, &key, Method::POST, bindings, bind(target, 1)).await, denied);
        assert_eq!(refused(&site, &key, Method::PATCH, &mine, json!({"target": target})).await, denied);
    }
    for path in &others {
        for body in [json!({"enabled": false}), json!({"order": 4}), json!({"target": first}), json!({})] {
            assert_eq!(site.send(&key, Method::PATCH, path, Some(body)).await.0, 403, "{path}");
        }
        assert_eq!(site.send(&key, Method::DELETE, path, None).await.0, 403, "{path}");
        assert_eq!(site.get(path).await["enabled"], true);
    }
    accepted(&site, &key, Method::POST, bindings, bind(&first, 1)).await;
    accepted(&site, &key, Method::POST, bindings, bind(&within, 1)).await;
    accepted(&site, &key, Method::PATCH, &mine, json!({"target": within, "order": 5, "negate": true})).await;
    accepted(&site, &key, Method::DELETE, &mine, Value::Null).await;
}

/// CO-705, CO-548: who has somebody join a group, by whatever way, may fill or change that group.
#[tokio::test]
async fn co_705_groups_are_joined_through_those_who_may_fill_them() {
    let site = Site::new().await;
    let group = async |name: &str| text(&site.post("/core/groups/", json!({"name": name})).await["pk"]);
    let (mine, open, closed) = (group("mine").await, group("open").await, group("closed").await);
    let (_, key) = site
        .user_with(
            "ada",
            &[
                ("authentik_core.view_user", None),
                ("authentik_core.add_user", None),
                ("authentik_core.change_user", None),
                ("authentik_core.add_token", None),
                ("authentik_core.view_group", None),
                ("authentik_core.add_group", None),
                ("authentik_core.change_group", Some(&mine)),
                ("authentik_core.add_user_to_group", Some(&open)),
            ],
        )
        .await;
    let (bob, _) = site.user("bob").await;
    let (user, own) = (format!("/core/users/{bob}/"), format!("/core/groups/{mine}/"));
    for (method, path, body, field) in [
        (Method::PATCH, user.as_str(), json!({"groups": [closed]}), "groups"),
        (Method::PATCH, user.as_str(), json!({"groups": [open, closed]}), "groups"),
        (Method::POST, "/core/users/", json!({"username": "eve", "name": "", "groups": [closed]}), "groups"),
        (Method::PATCH, own.as_str(), json!({"parents": [closed]}), "parents"),
        (Method::POST, "/core/groups/", json!({"name": "new", "parents": [closed]}), "parents"),
    ] {
        let said = refused(&site, &key, method, path, body).await;
        assert_eq!(said, json!({field: ["User does not have access to group."]}), "{path}");
    }
    let joins = format!("/core/groups/{closed}/add_user/");
    assert_eq!(site.send(&key, Method::POST, &joins, Some(json!({"pk": bob}))).await.0, 403);
    accepted(&site, ADMIN, Method::POST, &joins, json!({"pk": bob})).await;
    for (method, path, body) in [
        (Method::PATCH, user.as_str(), json!({"groups": [open, mine, closed]})),
        (Method::PATCH, own.as_str(), json!({"parents": [open], "users": [bob]})),
        (Method::POST, "/core/groups/", json!({"name": "new", "parents": [open, mine], "users": [bob]})),
        (Method::POST, "/core/users/service_account/", json!({"name": "robot", "create_group": true})),
    ] {
        accepted(&site, &key, method, path, body).await;
    }
    let robots = site.get("/core/groups/?name=robot").await;
    assert_eq!(robots["results"][0]["users_obj"][0]["username"], "robot");
}

/// CO-284, CO-472, CO-705: an attribute in which another provider has its passwords is named by those who may change that one;
/// while people have what a name makes secret, superusers alone give the name up.
#[tokio::test]
async fn co_284_passwords_of_other_applications_are_not_named() {
    let site = Site::new().await;
    let made = async |name: &str, attribute: &str| {
        let names = json!({"basic_auth_user_attribute": "who", "basic_auth_password_attribute": attribute});
        let body = site.provider_body(name, names).await;
        site.post("/providers/proxy/", body).await["pk"].to_string()
    };
    let (mine, other) = (made("mine", "my_pin").await, made("other", "legacy_pin").await);
    let twin = made("twin", "shared_pin").await;
    made("stranger", "shared_pin").await;
    let (bob, _) = site.user("bob").await;
    let (proxies, own) = ("/providers/proxy/", format!("/providers/proxy/{mine}/"));
    let (view, change) =
        ("authentik_providers_proxy.view_proxyprovider", "authentik_providers_proxy.change_proxyprovider");
    let rights = [
        (view, Some(mine.as_str())),
        (change, Some(&mine)),
        (view, Some(&twin)),
        (change, Some(&twin)),
        ("authentik_providers_proxy.add_proxyprovider", None),
        ("authentik_providers_proxy.delete_proxyprovider", None),
        ("authentik_core.view_provider", None),
        ("authentik_core.delete_provider", None),
    ];
    let (_, key) = site.user_with("ada", &rights).await;
    let (user, password) = ("basic_auth_user_attribute", "basic_auth_password_attribute");
    let denied = "Another provider has its passwords in this attribute: name one of its own.";
    for (field, name) in [(password, "legacy_pin"), (user, "legacy_pin"), (password, "shared_pin")] {
        let said = refused(&site, &key, Method::PATCH, &own, json!({field: name})).await;
        assert_eq!(said, json!({field: [denied]}), "{name}");
        let body = site.provider_body("new", json!({field: name})).await;
        assert_eq!(refused(&site, &key, Method::POST, proxies, body).await, json!({field: [denied]}), "{name}");
    }
    // What is there already is no question, and nobody has it yet.
    accepted(&site, &key, Method::PATCH, &format!("{proxies}{twin}/"), json!({password: "shared_pin"})).await;
    accepted(&site, &key, Method::PATCH, &own, json!({user: "", password: ""})).await;
    accepted(&site, &key, Method::PATCH, &own, json!({user: "who", password: "my_pin"})).await;
    accepted(&site, &key, Method::PATCH, &own, json!({user: "my_pin", password: "pin"})).await;
    let event = site.events("model_updated").await[0]["diff"][password].clone();
    assert_eq!(event, json!({"previous": "my_pin", "new": "pin"}), "a name is no secret");

    site.patch(&format!("/core/users/{bob}/"), json!({"attributes": {"pin": "4711"}})).await;
    let said = refused(&site, &key, Method::PATCH, &own, json!({password: "other"})).await;
    assert!(said[password][0].as_str().unwrap().contains("have a superuser do this"), "{said}");
    accepted(&site, &key, Method::PATCH, &own, json!({password: "pin", "name": "still"})).await;
    for path in [&own, &format!("/providers/all/{mine}/")] {
        let said = refused(&site, &key, Method::DELETE, path, json!({})).await;
        assert!(said["non_field_errors"][0].as_str().unwrap().contains("have a superuser do this"), "{said}");
    }
    accepted(&site, ADMIN, Method::PATCH, &own, json!({password: "legacy_pin"})).await;
    accepted(&site, &key, Method::DELETE, &format!("{proxies}{twin}/"), json!({})).await;
    assert_eq!(site.get(&format!("{proxies}{other}/")).await[password], "legacy_pin");
    accepted(&site, &key, Method::DELETE, &own, json!({})).await;
}

/// CO-593, CO-705: superusers alone have an outpost send people to another origin to sign in than that of the base URL.
#[tokio::test]
async fn co_705_outposts_send_people_where_superusers_say() {
    let site = Site::new().await;
    let outposts = site.get("/outposts/instances/").await;
    let path = format!("/outposts/instances/{}/", text(&outposts["results"][0]["pk"]));
    let rights = ["view", "change", "add"].map(|verb| format!("authentik_outposts.{verb}_outpost"));
    let (_, key) = site.user_with("ada", &rights.each_ref().map(|right| (right.as_str(), None))).await;
    let base = site.ctx.base_url.clone();
    let config = |field: &str, host: &str| json!({"config": {field: host, "log_level": "debug"}});
    for field in ["authentik_host", "authentik_host_browser"] {
        let evil = config(field, "https://evil.example");
        let denied = format!("{field}: Only superusers may name another origin than that of base_url.");
        let made = json!({"name": "another", "type": "proxy", "providers": [], "config": evil["config"]});
        let said = refused(&site, &key, Method::POST, "/outposts/instances/", made).await;
        assert_eq!(said["config"], json!([denied]));
        for host in ["https://evil.example", "https://evil.example:8443/", "mailto:x", "evil.example"] {
            let said = refused(&site, &key, Method::PATCH, &path, config(field, host)).await;
            assert_eq!(said, json!({"config": [denied]}), "{host}");
        }
        for host in ["", &base, &format!("{base}/")] {
            accepted(&site, &key, Method::PATCH, &path, config(field, host)).await;
        }
        accepted(&site, ADMIN, Method::PATCH, &path, evil).await;
        let mut whole = site.get(&path).await;
        whole["config"]["log_level"] = json!("trace");
        accepted(&site, &key, Method::PUT, &path, whole).await;
        accepted(&site, &key, Method::PATCH, &path, config(field, "https://evil.example/")).await;
    }
}

/// CO-130, CO-705: an application says who gets through its provider: who newly names one may change it, and is not told of
/// those that they may not see.
#[tokio::test]
async fn co_705_applications_take_providers_that_their_writer_may_change() {
    let site = Site::new().await;
    let pk = async |name: &str| site.provider(name).await["pk"].to_string();
    let (mine, seen, hidden) = (pk("mine").await, pk("seen").await, pk("hidden").await);
    let (view, change) =
        ("authentik_providers_proxy.view_proxyprovider", "authentik_providers_proxy.change_proxyprovider");
    let rights = [
        ("authentik_core.view_application", None),
        ("authentik_core.add_application", None),
        ("authentik_core.change_application", None),
        (view, Some(mine.as_str())),
        (change, Some(&mine)),
        (view, Some(&seen)),
    ];
    let (_, key) = site.user_with("ada", &rights).await;
    let number = |pk: &str| pk.parse::<i64>().unwrap();
    let path = "/core/applications/";
    let body = |pk: &str| json!({"name": "wiki", "slug": "wiki", "provider": number(pk)});
    let unknown = |pk: &str| json!({"provider": [format!("Invalid pk \"{pk}\" - object does not exist.")]});
    let denied = json!({"provider": ["User does not have access to provider."]});
    assert_eq!(refused(&site, &key, Method::POST, path, body(&hidden)).await, unknown(&hidden));
    assert_eq!(refused(&site, &key, Method::POST, path, body("4711")).await, unknown("4711"));
    assert_eq!(refused(&site, &key, Method::POST, path, body(&seen)).await, denied);
    accepted(&site, &key, Method::POST, path, body(&mine)).await;
    let wiki = format!("{path}wiki/");
    assert_eq!(refused(&site, &key, Method::PATCH, &wiki, json!({"provider": number(&seen)})).await, denied);
    // What is there already is no question.
    site.patch(&wiki, json!({"provider": number(&hidden)})).await;
    accepted(&site, &key, Method::PUT, &wiki, body(&hidden)).await;
    accepted(&site, &key, Method::PATCH, &wiki, json!({"provider": null})).await;
}

/// CO-705, CO-177: a policy decides about what it is bound to: who has it decide otherwise may change all of that.
#[tokio::test]
async fn co_705_bound_policies_are_for_those_who_change_the_target() {
    let site = crate::expressions::site().await;
    let (first, second) = (site.application("one", &json!(null)).await, site.application("two", &json!(null)).await);
    let (first, second) = (text(&first["pk"]), text(&second["pk"]));
    let made = async |path: &str, body: Value| {
        let made = text(&site.post(path, body).await["pk"]);
        format!("{path}{made}/")
    };
    let bind = async |path: &str, target: &str| {
        let policy = path.trim_end_matches('/').rsplit('/').next().unwrap();
        site.post("/policies/bindings/", json!({"target": target, "order": 0, "policy": policy})).await;
    };
    let expression = |name: &str, text: &str| json!({"name": name, "expression": text});
    let gate = made("/policies/expression/", expression("gate", "return False")).await;
    let dummy = made("/policies/dummy/", json!({"name": "dummy", "result": false})).await;
    let age = made("/policies/password_expiry/", json!({"name": "age", "days": 30})).await;
    let flow = text(&site.get("/flows/instances/default-authentication-flow/").await["pk"]);
    bind(&gate, &first).await;
    bind(&dummy, &flow).await;
    bind(&age, &flow).await;
    let kinds = [("expression", "expression"), ("dummy", "dummy"), ("expiry", "passwordexpiry")];
    let rights: Vec<_> = kinds
        .iter()
        .flat_map(|(app, kind)| ["view", "change"].map(|verb| format!("authentik_policies_{app}.{verb}_{kind}policy")))
        .collect();
    let mut rights: Vec<(&str, Option<&str>)> = rights.iter().map(|right| (right.as_str(), None)).collect();
    rights.push(("authentik_core.view_user", None));
    rights.push(("authentik_core.view_application", None));
    rights.push(("authentik_core.change_application", Some(&first)));
    let (_, key) = site.user_with("ada", &rights).await;
    let open = json!({"expression": "return True"});
    accepted(&site, &key, Method::PATCH, &gate, open.clone()).await;
    bind(&gate, &second).await;
    let denied = json!({"non_field_errors": [
        "The policy is bound to what you may not change: make another one for your own bindings."
    ]});
    let close = json!({"expression": "return False"});
    assert_eq!(refused(&site, &key, Method::PATCH, &gate, close.clone()).await, denied);
    assert_eq!(refused(&site, &key, Method::PATCH, &dummy, json!({"result": true})).await, denied);
    accepted(&site, &key, Method::PUT, &gate, expression("called otherwise", "return True")).await;
    assert_eq!(refused(&site, &key, Method::PATCH, &age, json!({"days": 90})).await, denied);
    accepted(&site, ADMIN, Method::PATCH, &gate, close).await;
}

/// CO-705, CO-177, CO-242: what an expression calls decides with it: who may not change all that it is bound to neither changes
/// nor deletes the policies that it leads to, nor has others take their names.
#[tokio::test]
async fn co_705_called_policies_are_as_bound_as_their_callers() {
    let site = with_expressions().await;
    let (first, second) = (site.application("one", &json!(null)).await, site.application("two", &json!(null)).await);
    let expression = |name: &str, text: &str| json!({"name": name, "expression": text});
    let (expressions, dummies) = ("/policies/expression/", "/policies/dummy/");
    let made = async |path: &str, body: Value| format!("{path}{}/", text(&site.post(path, body).await["pk"]));
    let bind = async |path: &str, target: &Value| {
        let policy = path.trim_end_matches('/').rsplit('/').next().unwrap();
        site.post("/policies/bindings/", json!({"target": target["pk"], "order": 0, "policy": policy})).await;
    };
    let outer = "if 'x' in context:\n  return ak_call_policy('later').passing\nreturn ak_call_policy('inner').passing";
    bind(&made(expressions, expression("outer", outer)).await, &second).await;
    let inner = made(expressions, expression("inner", "return ak_call_policy('deepest').passing")).await;
    let deepest = made(dummies, json!({"name": "deepest", "result": false})).await;
    let mine = made(expressions, expression("mine", "return ak_call_policy('helper').passing")).await;
    bind(&mine, &first).await;
    let helper = made(dummies, json!({"name": "helper", "result": false})).await;
    let claims = "return {'a': ak_call_policy('claims').passing}";
    let mapping = json!({"name": "says", "scope_name": "says", "expression": claims});
    let mapping = text(&site.post("/propertymappings/provider/scope/", mapping).await["pk"]);
    let kinds = [("expression", "expression"), ("dummy", "dummy")];
    let rights: Vec<_> = kinds
        .iter()
        .flat_map(|(app, kind)| {
            ["view", "add", "change", "delete"].map(|verb| format!("authentik_policies_{app}.{verb}_{kind}policy"))
        })
        .collect();
    let mut rights: Vec<(&str, Option<&str>)> = rights.iter().map(|right| (right.as_str(), None)).collect();
    rights.push(("authentik_core.view_user", None));
    rights.push(("authentik_core.view_application", None));
    let of_mine = text(&first["pk"]);
    rights.push(("authentik_core.change_application", Some(&of_mine)));
    let (_, key) = site.user_with("ada", &rights).await;
    let words = "An expression of what you may not change calls a policy of this name: leave that one as it is, and choose \
                 another name for yours.";
    let open = json!({"expression": "return True"});
    for (method, path, body, field) in [
        (Method::PATCH, inner.as_str(), open.clone(), "non_field_errors"),
        (Method::PATCH, inner.as_str(), json!({"name": "aside"}), "name"),
        (Method::DELETE, inner.as_str(), json!({}), "non_field_errors"),
        (Method::PATCH, deepest.as_str(), json!({"result": true}), "non_field_errors"),
        (Method::PATCH, deepest.as_str(), json!({"name": "aside"}), "name"),
        (Method::DELETE, deepest.as_str(), json!({}), "non_field_errors"),
        (Method::POST, dummies, json!({"name": "later", "result": true}), "name"),
        (Method::POST, expressions, expression("later", "return True"), "name"),
        (Method::PATCH, mine.as_str(), json!({"name": "later"}), "name"),
        (Method::POST, dummies, json!({"name": "claims", "result": true}), "name"),
    ] {
        assert_eq!(refused(&site, &key, method, path, body).await, json!({field: [words]}), "{path}");
    }
    for (method, path, body) in [
        (Method::PUT, inner.as_str(), expression("inner", "return ak_call_policy('deepest').passing")),
        (Method::PATCH, &deepest, json!({"execution_logging": true})),
        (Method::PATCH, &helper, json!({"result": true})),
        (Method::PATCH, &helper, json!({"name": "another"})),
        (Method::POST, dummies, json!({"name": "helper", "result": true})),
        (Method::DELETE, &helper, json!({})),
        (Method::PATCH, &mine, expression("still mine", "return True")),
    ] {
        accepted(&site, &key, method, path, body).await;
    }
    accepted(&site, ADMIN, Method::PATCH, &inner, open).await;
    accepted(&site, &key, Method::PATCH, &deepest, json!({"result": true})).await;
    rights.push(("authentik_providers_oauth2.view_scopemapping", Some(&mapping)));
    rights.push(("authentik_providers_oauth2.change_scopemapping", Some(&mapping)));
    let (_, mapper) = site.user_with("bob", &rights).await;
    accepted(&site, &mapper, Method::POST, dummies, json!({"name": "claims", "result": true})).await;
    let made_up = expression("made up", "return ak_call_policy(context.get('x', 'none')).passing");
    bind(&made(expressions, made_up).await, &second).await;
    let words = "An expression of what you may not change calls policies by names that it makes up, and may call this one: \
                 have a superuser do this.";
    let new = json!({"name": "of no matter what name", "result": true});
    assert_eq!(refused(&site, &mapper, Method::POST, dummies, new).await, json!({"name": [words]}));
}

/// CO-242: policies that call each other in a row are guarded as far as one decides about another, and no further.
#[tokio::test]
async fn co_242_a_long_row_of_callers_is_followed_as_far_as_it_decides() {
    let site = with_expressions().await;
    let application = site.application("one", &json!(null)).await;
    let mut row = Vec::new();
    for number in 0..8 {
        let calls = format!("return ak_call_policy('row-{}').passing", number - 1);
        let body =
            json!({"name": format!("row-{number}"), "expression": if number == 0 { "return True" } else { &calls }});
        row.push(text(&site.post("/policies/expression/", body).await["pk"]));
    }
    let rights = [
        ("authentik_policies_expression.view_expressionpolicy", None),
        ("authentik_policies_expression.change_expressionpolicy", None),
        ("authentik_core.view_user", None),
    ];
    let (_, key) = site.user_with("ada", &rights).await;
    let change = async |said: &str| {
        let path = format!("/policies/expression/{}/", row[0]);
        site.send(&key, Method::PATCH, &path, Some(json!({"expression": format!("return {said}")}))).await.0.as_u16()
    };
    for (policy, said, status) in [(&row[7], "1 == 1", 200), (&row[4], "2 == 2", 400)] {
        let body = json!({"target": application["pk"], "order": 0, "policy": policy});
        site.post("/policies/bindings/", body).await;
        assert_eq!(change(said).await, status, "{said}");
    }
}

/// CO-229, CO-705: expressions read every user: who writes one may see all of them.
#[tokio::test]
async fn co_229_expressions_are_written_by_those_who_see_all_users() {
    let site = with_expressions().await;
    let kinds = ["authentik_policies_expression.VERB_expressionpolicy", "authentik_providers_oauth2.VERB_scopemapping"];
    let rights: Vec<_> =
        kinds.iter().flat_map(|kind| ["view", "add", "change"].map(|verb| kind.replace("VERB", verb))).collect();
    let mut rights: Vec<(&str, Option<&str>)> = rights.iter().map(|right| (right.as_str(), None)).collect();
    let bob = site.user("bob").await.0.to_string();
    rights.push(("authentik_core.view_user", Some(&bob)));
    let (_, key) = site.user_with("ada", &rights).await;
    rights.push(("authentik_core.view_user", None));
    let (_, writer) = site.user_with("eve", &rights).await;
    let denied = json!({"expression": ["Expressions read every user: who writes one may see all users."]});
    let (policies, mappings) = ("/policies/expression/", "/propertymappings/provider/scope/");
    let body = |name: &str, text: &str| json!({"name": name, "scope_name": "x", "expression": text});
    let finds = "return ak_user_by(username='bob').attributes";
    for path in [policies, mappings] {
        let made = site.post(path, body("there", "return {'a': 1}")).await;
        let at = format!("{path}{}/", text(&made["pk"]));
        assert_eq!(refused(&site, &key, Method::POST, path, body("new", finds)).await, denied);
        assert_eq!(refused(&site, &key, Method::PATCH, &at, json!({"expression": finds})).await, denied);
        accepted(&site, &key, Method::PUT, &at, body("renamed", "return {'a': 1}")).await;
        accepted(&site, &writer, Method::POST, path, body("new", finds)).await;
        accepted(&site, &writer, Method::PATCH, &at, json!({"expression": finds})).await;
    }
    // One that came with the installation reads nobody else.
    accepted(&site, &key, Method::POST, mappings, body("empty", "return {}")).await;
}

/// CO-523: names that an index cannot hold are refused by field, however few characters they have.
#[tokio::test]
async fn co_523_names_that_no_index_holds_are_refused() {
    let site = Site::new().await;
    let mut letter = 1_u32;
    let mut name = |length: usize| -> String {
        let mut next = || {
            letter = letter.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_u32(0x4e00 + (letter >> 8) % 0x5000).unwrap()
        };
        (0..length).map(|_| next()).collect()
    };
    let words = json!(["Ensure this field has no more than 2048 bytes."]);
    let (long, longest) = (name(2048), name(682));
    let user = json!({"username": "ada", "name": long, "groups": []});
    assert_eq!(site.refused(Method::POST, "/core/users/", user).await["name"], words);
    let path = json!({"username": "ada", "name": "Ada", "path": long, "groups": []});
    assert_eq!(site.refused(Method::POST, "/core/users/", path).await["path"], words);
    assert_eq!(site.refused(Method::POST, "/core/groups/", json!({"name": long})).await["name"], words);
    assert_eq!(site.refused(Method::POST, "/rbac/roles/", json!({"name": long})).await["name"], words);
    let username = name(150);
    site.post("/core/users/", json!({"username": username, "name": longest, "path": longest, "groups": []})).await;
    site.post("/core/groups/", json!({"name": longest})).await;
}
