use authentik_client::models;
use http::Method;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const ALL: &str = "/policies/all/";

/// Each kind with a body that makes one and the fields it then has of its own.
fn kinds() -> Vec<(&'static str, Value, Value)> {
    let symbols = r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~ "##;
    vec![
        ("dummy", json!({}), json!({"result": false, "wait_min": 5, "wait_max": 30})),
        (
            "event_matcher",
            json!({}),
            json!({"action": null, "client_ip": null, "app": null, "model": null, "query": null}),
        ),
        (
            "password",
            json!({}),
            json!({
                "password_field": "password", "amount_digits": 0, "amount_uppercase": 0, "amount_lowercase": 0,
                "amount_symbols": 0, "length_min": 0, "symbol_charset": symbols, "error_message": "",
                "check_static_rules": true, "check_have_i_been_pwned": false, "check_zxcvbn": false,
                "hibp_allowed_count": 0, "zxcvbn_score_threshold": 2,
            }),
        ),
        ("password_expiry", json!({"days": 90}), json!({"days": 90, "deny_only": false})),
        ("reputation", json!({}), json!({"check_ip": true, "check_username": true, "threshold": -5})),
    ]
}

/// CO-560, CO-562, CO-534: every kind is made with its defaults, listed, changed and deleted, with its descriptors, and
/// strict clients can read it.
#[tokio::test]
async fn co_562_policies_of_every_kind_are_kept() {
    let site = Site::new().await;
    for (kind, mut body, own) in kinds() {
        let path = format!("/policies/{kind}/");
        body["name"] = json!(format!("a {kind} policy"));
        let made = site.post(&path, body.clone()).await;
        for (field, value) in own.as_object().unwrap() {
            assert_eq!(&made[field], value, "{kind} {field}");
        }
        assert_eq!((&made["bound_to"], &made["execution_logging"]), (&json!(0), &json!(false)));
        assert_eq!(made.as_object().unwrap().len(), 8 + own.as_object().unwrap().len(), "{kind}: {made}");
        let one = format!("{path}{}/", made["pk"].as_str().unwrap());
        assert_eq!(site.get(&one).await, made);
        assert_eq!(site.get(&format!("{ALL}{}/", made["pk"].as_str().unwrap())).await, made);
        let taken = site.refused(Method::POST, &path, body).await;
        assert_eq!(taken, json!({"name": ["Policy with this name already exists."]}));
        let changed = site.patch(&one, json!({"execution_logging": true, "name": format!(" {kind} ")})).await;
        assert_eq!((&changed["name"], &changed["execution_logging"]), (&json!(kind), &json!(true)));
        let list = site.get(&format!("{path}?execution_logging=true&name={kind}")).await;
        assert_eq!(list["results"], json!([changed]));
        assert_eq!(site.get(&format!("{one}used_by/")).await, json!([]));
        let (other, ..) = kinds().into_iter().find(|(other, ..)| other != &kind).unwrap();
        let elsewhere = format!("/policies/{other}/{}/", made["pk"].as_str().unwrap());
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(site.send(ADMIN, method, &elsewhere, None).await.0, 404, "is of another kind");
        }
        match kind {
            "dummy" => drop(serde_json::from_value::<models::DummyPolicy>(made).unwrap()),
            "event_matcher" => drop(serde_json::from_value::<models::EventMatcherPolicy>(made).unwrap()),
            "password" => drop(serde_json::from_value::<models::PasswordPolicy>(made).unwrap()),
            "password_expiry" => drop(serde_json::from_value::<models::PasswordExpiryPolicy>(made).unwrap()),
            _ => drop(serde_json::from_value::<models::ReputationPolicy>(made).unwrap()),
        }
    }
    let list = site.get(ALL).await;
    let read: models::PaginatedPolicyList = serde_json::from_value(list.clone()).unwrap();
    let named: Vec<_> = read.results.iter().map(|policy| (policy.name.as_str(), policy.component.as_str())).collect();
    assert_eq!(
        named,
        [
            ("dummy", "ak-policy-dummy-form"),
            ("event_matcher", "ak-policy-event-matcher-form"),
            ("password", "ak-policy-password-form"),
            ("password_expiry", "ak-policy-password-expiry-form"),
            ("reputation", "ak-policy-reputation-form"),
        ]
    );
    assert_eq!(read.results[3].meta_model_name, "authentik_policies_expiry.passwordexpirypolicy");
    assert_eq!(read.results[4].verbose_name_plural, "Reputation Policies");
    assert_eq!(list["results"][3]["days"], 90, "with the fields of its kind");
    for policy in read.results {
        site.delete(&format!("{ALL}{}/", policy.pk)).await;
    }
    assert_eq!(site.get(ALL).await["pagination"]["count"], 0);
    assert_eq!(site.events("model_deleted").await.len(), 5);
    let types: Vec<models::TypeCreate> = serde_json::from_value(site.get("/policies/all/types/").await).unwrap();
    assert_eq!(types.iter().map(|kind| kind.model_name.as_str()).collect::<Vec<_>>().len(), 6);
    assert_eq!(site.get("/policies/all/cache_info/").await, json!({"count": 0}));
    assert_eq!(site.send(ADMIN, Method::POST, "/policies/all/cache_clear/", None).await.0, 204);
}

/// CO-197: kinds that are not provided have no endpoints; nobody but administrators sees policies.
#[tokio::test]
async fn co_197_other_kinds_are_not_there() {
    let site = Site::new().await;
    for path in ["/policies/geoip/", "/policies/unique_password/"] {
        assert_eq!(site.send(ADMIN, Method::GET, path, None).await.0, 404, "{path}");
        assert_eq!(site.send(ADMIN, Method::POST, path, Some(json!({"name": "x"}))).await.0, 404, "{path}");
    }
    let (_, ada) = site.user("ada").await;
    for path in [ALL, "/policies/dummy/", "/policies/all/types/", "/policies/all/cache_info/"] {
        assert_eq!(site.send(&ada, Method::GET, path, None).await.0, 403, "{path}");
    }
}

/// CO-191, CO-193, CO-195, CO-523: bad fields are refused by name and change nothing; what is absent stays, on PUT as well.
#[tokio::test]
async fn co_195_bad_fields_are_refused() {
    let site = Site::new().await;
    let choice = |text: &str| json!([format!("\"{text}\" is not a valid choice.")]);
    let small = json!(["Ensure this value is greater than or equal to 0."]);
    for (kind, body, field, message) in [
        ("event_matcher", json!({"action": "sneeze"}), "action", choice("sneeze")),
        ("event_matcher", json!({"app": "authentik.nothing"}), "app", choice("authentik.nothing")),
        ("event_matcher", json!({"model": "core.user"}), "model", choice("core.user")),
        ("event_matcher", json!({"client_ip": "here"}), "client_ip", json!(["Enter a valid IPv4 or IPv6 address."])),
        ("event_matcher", json!({"query": "a = 1"}), "query", json!(["Queries are not supported."])),
        ("password", json!({"length_min": -1}), "length_min", small.clone()),
        ("password", json!({"amount_digits": "x"}), "amount_digits", json!(["A valid integer is required."])),
        ("password", json!({"password_field": " "}), "password_field", json!(["This field may not be blank."])),
        ("password_expiry", json!({"days": -1}), "days", small.clone()),
        ("password_expiry", json!({}), "days", json!(["This field is required."])),
        ("dummy", json!({"result": "maybe"}), "result", json!(["Must be a valid boolean."])),
    ] {
        let mut body = body;
        body["name"] = json!("p");
        let refused = site.refused(Method::POST, &format!("/policies/{kind}/"), body).await;
        assert_eq!(refused[field], message, "{kind} {field}");
    }
    assert_eq!(site.get(ALL).await["pagination"]["count"], 0);
    let unavailable = json!({"name": "e", "expression": "return True"});
    assert_eq!(
        site.refused(Method::POST, "/policies/expression/", unavailable).await,
        json!({"expression": ["Expression policies are not available in this build."]})
    );
    let missing = site.refused(Method::POST, "/policies/expression/", json!({})).await;
    assert_eq!(missing, json!({"name": ["This field is required."], "expression": ["This field is required."]}));

    let body = json!({"name": "m", "action": "login", "client_ip": "2001:db8::1", "app": "authentik.core",
        "model": "authentik_core.user"});
    let made = site.post("/policies/event_matcher/", body).await;
    let path = format!("/policies/event_matcher/{}/", made["pk"].as_str().unwrap());
    let (status, put) = site.send(ADMIN, Method::PUT, &path, Some(json!({"name": "n"}))).await;
    assert_eq!((status.as_u16(), &put["action"], &put["app"]), (200, &json!("login"), &json!("authentik.core")));
    let cleared = site.patch(&path, json!({"action": null, "client_ip": ""})).await;
    assert_eq!((&cleared["action"], &cleared["client_ip"]), (&json!(null), &json!(null)));
    let found = site.get("/policies/event_matcher/?model=authentik_core.user&app=authentik.core").await;
    assert_eq!(found["pagination"]["count"], 1);
    assert_eq!(site.get("/policies/event_matcher/?model=authentik_core.group").await["pagination"]["count"], 0);
    assert_eq!(site.send(ADMIN, Method::GET, "/policies/dummy/?wait_min=x", None).await.0, 400);
}

/// CO-170, CO-532, CO-561: a binding shows the policy it names; the same policy, target and order are taken once; a
/// policy says how many bindings name it, and which.
#[tokio::test]
async fn co_170_bindings_name_policies() {
    let site = Site::new().await;
    let target = site.application("wiki", &json!(null)).await["pk"].clone();
    let policy = site.post("/policies/dummy/", json!({"name": "d"})).await["pk"].clone();
    let path = format!("{ALL}{}/", policy.as_str().unwrap());
    assert_eq!(site.get(&format!("{ALL}?bindings__isnull=false")).await["pagination"]["count"], 0);
    let body = json!({"target": target, "order": 3, "policy": policy});
    let made = site.post("/policies/bindings/", body.clone()).await;
    assert_eq!((&made["policy"], &made["policy_obj"]["name"]), (&policy, &json!("d")));
    assert_eq!(made["policy_obj"]["bound_to"], 1);
    let _: models::PolicyBinding = serde_json::from_value(made.clone()).unwrap();
    let taken = site.refused(Method::POST, "/policies/bindings/", body).await;
    assert_eq!(taken, json!({"non_field_errors": ["The fields policy, target, order must make a unique set."]}));
    site.post("/policies/bindings/", json!({"target": target, "order": 4, "policy": policy})).await;
    assert_eq!(site.get(&path).await["bound_to"], 2);
    assert_eq!(site.get("/policies/dummy/").await["results"][0]["bound_to"], 2);
    assert_eq!(site.get(&format!("{ALL}?bindings__isnull=true")).await["pagination"]["count"], 0);
    assert_eq!(site.get(&format!("{ALL}?bindings__isnull=false")).await["pagination"]["count"], 1);
    let used = site.get(&format!("{path}used_by/")).await;
    assert_eq!(used.as_array().unwrap().len(), 2);
    assert_eq!((&used[0]["pk"], &used[0]["action"]), (&made["pk"], &json!("set_null")));
    let binding = format!("/policies/bindings/{}/", made["pk"].as_str().unwrap());
    assert_eq!(site.get(&format!("{binding}used_by/")).await, json!([]));
    let listed = site.get(&format!("/policies/bindings/?policy={}", policy.as_str().unwrap())).await;
    assert_eq!(listed["pagination"]["count"], 2);
}

/// CO-180, CO-804: a binding whose policy is deleted stays, with nulls, denies, and is warned of.
#[tokio::test]
async fn co_180_a_binding_outlives_its_policy() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let target = site.application("wiki", &json!(null)).await["pk"].clone();
    let may = async || {
        let found = site.get(&format!("/core/applications/wiki/check_access/?for_user={ada}")).await;
        found["passing"].as_bool().unwrap()
    };
    let dummy = json!({"name": "d", "result": true, "wait_min": 0, "wait_max": 0});
    let policy = site.post("/policies/dummy/", dummy).await["pk"].clone();
    let body = json!({"target": target, "order": 0, "policy": policy, "negate": true, "failure_result": true});
    let made = site.post("/policies/bindings/", body).await;
    let binding = format!("/policies/bindings/{}/", made["pk"].as_str().unwrap());
    site.patch(&binding, json!({"negate": false})).await;
    assert!(may().await);
    site.delete(&format!("/policies/dummy/{}/", policy.as_str().unwrap())).await;
    let orphan = site.get(&binding).await;
    assert_eq!((&orphan["policy"], &orphan["policy_obj"]), (&json!(null), &json!(null)));
    assert!(!may().await);
    assert_eq!(site.events("configuration_warning").await.len(), 1);
    site.patch(&binding, json!({"user": ada, "negate": false})).await;
    assert!(may().await);
}

/// CO-560, CO-178, CO-179: a policy is tried out on a user, nothing is recorded and nothing changes.
#[tokio::test]
async fn co_560_policies_are_tried_out() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let body = json!({"name": "p", "length_min": 9, "execution_logging": true, "check_have_i_been_pwned": false});
    let policy = site.post("/policies/password/", body).await["pk"].clone();
    let path = format!("{ALL}{}/test/", policy.as_str().unwrap());
    let before = site.get(&format!("/core/users/{ada}/")).await;
    let test = async |context: Value| -> models::PolicyTestResult {
        let (status, found) =
            site.send(ADMIN, Method::POST, &path, Some(json!({"user": ada, "context": context}))).await;
        assert_eq!(status, 200, "{found}");
        serde_json::from_value(found).unwrap()
    };
    assert!(test(json!({"password": "long enough"})).await.passing);
    let refused = test(json!({"prompt_data": {"password": "short"}})).await;
    assert_eq!((refused.passing, refused.messages), (false, vec!["Invalid password.".to_owned()]));
    // A service that cannot be asked is a failure, with a line in the log.
    site.patch(&format!("/policies/password/{}/", policy.as_str().unwrap()), json!({"check_have_i_been_pwned": true}))
        .await;
    let failed = test(json!({"password": "long enough"})).await;
    assert_eq!((failed.passing, failed.messages.len(), failed.log_messages.len()), (false, 1, 1));
    assert_eq!(failed.log_messages[0].logger, "p");
    for action in ["policy_execution", "policy_exception"] {
        assert!(site.events(action).await.is_empty(), "{action}");
    }
    assert_eq!(site.get(&format!("/core/users/{ada}/")).await, before);
    assert_eq!(site.refused(Method::POST, &path, json!({})).await, json!({"user": ["This field is required."]}));
    let unknown = json!({"user": ["Invalid pk \"99\" - object does not exist."]});
    assert_eq!(site.refused(Method::POST, &path, json!({"user": 99})).await, unknown);
    assert!(site.refused(Method::POST, &path, json!({"user": ada, "context": []})).await["context"].is_array());
    let (_, key) = site.user("bob").await;
    assert_eq!(site.send(&key, Method::POST, &path, Some(json!({"user": ada}))).await.0, 403);
    let nothing = format!("{ALL}00000000-0000-4000-8000-000000000000/test/");
    assert_eq!(site.send(ADMIN, Method::POST, &nothing, Some(json!({"user": ada}))).await.0, 404);
}

/// CO-193, CO-806: a password expires on the day the policy says, and stays what it is.
#[tokio::test]
async fn co_193_passwords_expire() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    site.send(
        ADMIN,
        Method::POST,
        &format!("/core/users/{ada}/set_password/"),
        Some(json!({"password": "s3cret s3cret"})),
    )
    .await;
    let made = site.post("/policies/password_expiry/", json!({"name": "x", "days": 3})).await;
    let policy = made["pk"].as_str().unwrap().to_owned();
    let test = async || {
        let body = Some(json!({"user": ada}));
        let found = site.send(ADMIN, Method::POST, &format!("{ALL}{policy}/test/"), body).await.1;
        (found["passing"].as_bool().unwrap(), found["messages"].clone())
    };
    site.clock.advance_seconds(3 * 86_400 - 1);
    assert_eq!(test().await, (true, json!([])));
    site.clock.advance_seconds(1);
    assert_eq!(test().await, (false, json!(["Password expired 0 days ago. Please update your password."])));
    site.clock.advance_seconds(2 * 86_400);
    assert_eq!(test().await.1, json!(["Password expired 2 days ago. Please update your password."]));
    site.patch(&format!("/policies/password_expiry/{policy}/"), json!({"deny_only": true})).await;
    assert_eq!(test().await, (false, json!(["Password has expired."])));
    let mut conn = site.ctx.db.read().await.unwrap();
    let ada = portcullis_store::account::by_username(&mut conn, "ada").await.unwrap().unwrap();
    assert!(portcullis_idp::password::verify("s3cret s3cret", ada.password_hash.as_deref()).await.is_right());
}

/// CO-177: a changed policy decides at the very next request, and is told to whatever rests on the application.
#[tokio::test]
async fn co_177_a_changed_policy_decides_at_once() {
    let site = Site::new().await;
    let (ada, key) = site.user("ada").await;
    let provider = site.provider("wiki").await["pk"].clone();
    let target = site.application("wiki", &provider).await["pk"].clone();
    let dummy = json!({"name": "d", "result": true, "wait_min": 0, "wait_max": 0});
    let policy = site.post("/policies/dummy/", dummy).await["pk"].clone();
    site.post("/policies/bindings/", json!({"target": target, "order": 0, "policy": policy})).await;
    let visible =
        async || site.send(&key, Method::GET, "/core/applications/", None).await.1["pagination"]["count"].clone();
    assert_eq!(visible().await, 1);
    let epochs = &site.ctx.epochs;
    let pk = i32::try_from(provider.as_i64().unwrap()).unwrap();
    let before = epochs.mark(epochs.present(), &[portcullis_core::epoch::Subject::Provider(pk)]);
    site.patch(&format!("/policies/dummy/{}/", policy.as_str().unwrap()), json!({"result": false})).await;
    assert!(!epochs.stands(&before));
    assert_eq!(visible().await, 0);
    assert_eq!(site.send(&key, Method::GET, "/core/applications/wiki/", None).await.0, 404);
    let found = site.get(&format!("/core/applications/wiki/check_access/?for_user={ada}")).await;
    assert_eq!((&found["passing"], &found["messages"]), (&json!(false), &json!(["dummy"])));
}
