//! Expression policies, run by the engine that the product has.

use std::sync::Arc;

use http::Method;
use portcullis_idp::expressions::{Engine, ForPolicies};
use portcullis_idp::policies::Support;
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const POLICIES: &str = "/policies/expression/";

pub(crate) async fn site() -> Site {
    with(Engine::new(true)).await
}

async fn with(engine: Arc<Engine>) -> Site {
    let expressions = ForPolicies(engine);
    Site::supported(Support { expressions: Some(Arc::new(expressions)), ..Support::default() }).await
}

/// What the test endpoint says of an expression for a user.
async fn said(site: &Site, user: i64, expression: &str, context: Value) -> Value {
    let list = site.get(&format!("{POLICIES}?name=tried")).await;
    let pk = match list["results"][0]["pk"].as_str() {
        Some(pk) => {
            let path = format!("{POLICIES}{pk}/");
            site.patch(&path, json!({"expression": expression})).await;
            pk.to_owned()
        }
        None => {
            let made = site.post(POLICIES, json!({"name": "tried", "expression": expression})).await;
            made["pk"].as_str().unwrap().to_owned()
        }
    };
    let body = json!({"user": user, "context": context});
    let (status, answer) = site.send(ADMIN, Method::POST, &format!("/policies/all/{pk}/test/"), Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// CO-190, CO-220, CO-231, CO-232, CO-237, CO-240, CO-242: expressions see the directory: the user, their groups with what is above, attributes,
/// entitlements, other users and other policies.
#[tokio::test]
async fn co_231_expressions_see_the_directory() {
    let site = site().await;
    let (ada, _) = site.user("ada").await;
    let all = site.post("/core/groups/", json!({"name": "all", "attributes": {"floor": 3, "nested": {"a": 1}}})).await;
    let staff = json!({"name": "staff", "parents": [all["pk"]], "users": [ada]});
    site.post("/core/groups/", staff).await;
    let attributes = json!({"attributes": {"city": "Berlin", "app_password": "hidden"}, "email": "ada@example.org"});
    site.patch(&format!("/core/users/{ada}/"), attributes).await;
    site.post("/policies/dummy/", json!({"name": "no", "result": false, "wait_min": 0, "wait_max": 0})).await;
    site.post(POLICIES, json!({"name": "yes", "expression": "return context['word'] == 'open'"})).await;
    site.authenticator_app(ada).await;
    site.authenticator(ada, "webauthn").await;
    for (expression, passing) in [
        ("return request.user.username == 'ada'", true),
        ("return ak_user_has_authenticator(request.user)", true),
        ("return ak_user_has_authenticator(request.user, device_type='totp')", true),
        ("return ak_user_has_authenticator(request.user, device_type='static')", false),
        ("return ak_user_has_authenticator(request.user, device_type='webauthn')", true),
        ("return ak_user_has_authenticator(ak_user_by(username='akadmin'))", false),
        ("return ak_is_group_member(request.user, name='staff')", true),
        ("return [group.name for group in request.user.all_groups()] == ['all', 'staff']", true),
        ("return request.user.ak_groups.filter(name='all').exists()", false),
        ("return request.user.groups.first().parents.first().name == 'all'", true),
        ("return request.user.group_attributes(request)['floor'] == 3", true),
        ("return request.user.attributes.get('city') == 'Berlin'", true),
        ("return 'app_password' in request.user.group_attributes()", false),
        ("return 'app_password' in request.user.attributes", false),
        ("return ak_user_by(email='ada@example.org').pk == request.user.pk", true),
        ("return ak_user_by(username='nobody') is None", true),
        ("return ak_user_by(attributes__city__startswith='Ber').username == 'ada'", true),
        ("return ak_call_policy('yes', word='open').passing", true),
        ("return ak_call_policy('no').passing", false),
        ("return context.get('given', {}).get('a') == [1, 2]", true),
        ("return request.user.is_superuser or request.obj is not None", false),
        ("return (now() - request.user.date_joined) >= 0", true),
    ] {
        let answer = said(&site, ada, expression, json!({"given": {"a": [1, 2]}})).await;
        assert_eq!((&answer["passing"], &answer["messages"]), (&json!(passing), &json!([])), "{expression}: {answer}");
    }
}

/// CO-173, CO-174, CO-220, CO-228: messages are told in order, and an error with the line that was typed.
#[tokio::test]
async fn co_228_errors_name_the_line() {
    let site = site().await;
    let (ada, _) = site.user("ada").await;
    let text = "ak_message('first')\nak_message('second')\nak_logger.info('a line', n=1)\nreturn False";
    let answer = said(&site, ada, text, json!({})).await;
    assert_eq!(answer["messages"], json!(["first", "second"]));
    assert!(answer["log_messages"].as_array().unwrap().iter().any(|line| line["event"] == "a line"), "{answer}");
    let answer = said(&site, ada, "x = 1\n\nreturn x / 0", json!({})).await;
    let message = answer["messages"][0].as_str().unwrap();
    assert!(message.contains("line 3") && message.contains("ZeroDivisionError"), "{message}");
    let answer = said(&site, ada, "return ak_call_policy('tried')", json!({})).await;
    assert!(answer["messages"][0].as_str().unwrap().contains("calls itself"), "{answer}");
    let answer = said(&site, ada, "return ak_user_by(password__startswith='x')", json!({})).await;
    assert!(answer["messages"][0].as_str().unwrap().contains("password__startswith"), "{answer}");
}

/// CO-190, CO-223, CO-239: what cannot run is refused when it is saved, and says why.
#[tokio::test]
async fn co_239_what_cannot_run_is_refused_when_it_is_saved() {
    let site = site().await;
    for (expression, words) in [
        ("return (", "Expression Syntax Error: line 1"),
        ("x = 1\nreturn requests.get('http://example.org')", "requests is not available in Portcullis expressions"),
        ("import os\nreturn True", "Expression Syntax Error: line 1"),
    ] {
        let refused = site.refused(Method::POST, POLICIES, json!({"name": "x", "expression": expression})).await;
        let message = refused["expression"][0].as_str().unwrap();
        assert!(message.starts_with(words), "{message}");
    }
}

/// CO-132, CO-800: an expression decides who may use an application, and one that never ends denies.
#[tokio::test]
async fn co_132_an_expression_decides_about_an_application() {
    let site = site().await;
    let (ada, _) = site.user("ada").await;
    let (bob, _) = site.user("bob").await;
    let target = site.application("wiki", &json!(null)).await["pk"].clone();
    let policy = json!({"name": "only ada", "expression": "return request.user.username == 'ada' and request.obj.slug == 'wiki'"});
    let policy = site.post(POLICIES, policy).await["pk"].clone();
    site.post("/policies/bindings/", json!({"target": target, "policy": policy, "order": 0})).await;
    let passes = async |user: i64| {
        site.get(&format!("/core/applications/wiki/check_access/?for_user={user}")).await["passing"].clone()
    };
    assert_eq!((passes(ada).await, passes(bob).await), (json!(true), json!(false)));
    let path = format!("{POLICIES}{}/", policy.as_str().unwrap());
    site.patch(&path, json!({"expression": "while True:\n    pass"})).await;
    assert_eq!(passes(ada).await, json!(false));
}

/// CO-064, CO-233, CO-238: the HTTP request knows who sends it, the brand of its host and the settings, and it brings
/// the brand's attributes; without it they are those of groups and user.
#[tokio::test]
async fn co_238_requests_know_brand_settings_and_sender() {
    let site = site().await;
    let (ada, _) = site.user("ada").await;
    let staff = json!({"name": "staff", "users": [ada], "attributes": {"floor": 3}});
    site.post("/core/groups/", staff).await;
    let brands = site.get("/core/brands/?default=true").await;
    let brand = brands["results"][0]["brand_uuid"].as_str().unwrap().to_owned();
    let attributes = json!({"floor": 1, "house": "north", "smtp_password": "hidden"});
    site.patch(&format!("/core/brands/{brand}/"), json!({"branding_title": "Example", "attributes": attributes})).await;
    for (expression, passing) in [
        ("return http_request.user.username == 'akadmin' and request.user.username == 'ada'", true),
        ("return http_request.brand.branding_title == 'Example'", true),
        ("return http_request.brand.attributes == {'floor': 1, 'house': 'north'}", true),
        ("return getattr(http_request, 'brand').domain == 'authentik-default'", true),
        ("return http_request.tenant.default_token_duration == 'days=1'", true),
        ("return http_request.tenant.flags['core_default_app_access']", true),
        ("return request.user.group_attributes(http_request) == {'floor': 3, 'house': 'north'}", true),
        ("return request.user.group_attributes(request) == {'floor': 3}", true),
        ("return request.user.group_attributes() == {'floor': 3}", true),
    ] {
        let answer = said(&site, ada, expression, json!({})).await;
        assert_eq!(answer["passing"], passing, "{expression}: {answer}");
    }
}

/// CO-140, CO-238: who asks as a superuser whether somebody else may use an application is who sends the request.
#[tokio::test]
async fn co_238_who_asks_about_another_one_sends_the_request() {
    let site = site().await;
    let (ada, key) = site.user("ada").await;
    let application = site.application("wiki", &json!(null)).await;
    let source = "ak_message(http_request.user.username + ' asks about ' + request.user.username)\nreturn False";
    let policy = site.post(POLICIES, json!({"name": "says", "expression": source})).await;
    let binding = json!({"target": application["pk"], "order": 0, "policy": policy["pk"]});
    site.post("/policies/bindings/", binding).await;
    let answer = site.get(&format!("/core/applications/wiki/check_access/?for_user={ada}")).await;
    assert_eq!(answer["messages"], json!(["akadmin asks about ada"]));
    site.patch(
        &format!("{POLICIES}{}/", policy["pk"].as_str().unwrap()),
        json!({"expression": "return http_request.user.username == 'ada'"}),
    )
    .await;
    let own = site.send(&key, Method::GET, "/core/applications/wiki/check_access/", None).await.1;
    assert_eq!(own["passing"], true);
}

/// CO-238, CO-700: whoever tries an expression out finds the settings in it if they may see them.
#[tokio::test]
async fn co_238_settings_are_for_those_who_may_see_them() {
    let site = site().await;
    let source = "return getattr(http_request.tenant, 'base_url', None) is not None";
    let policy = site.post(POLICIES, json!({"name": "looks", "expression": source})).await;
    let path = format!("/policies/all/{}/test/", policy["pk"].as_str().unwrap());
    let looks = [("authentik_policies.view_policy", None), ("authentik_core.view_user", None)];
    let (ada, plain) = site.user_with("ada", &looks).await;
    let sees = [&looks[..], &[("authentik_rbac.view_system_settings", None)]].concat();
    let (_, trusted) = site.user_with("bob", &sees).await;
    for (key, passing) in [(plain.as_str(), false), (trusted.as_str(), true), (ADMIN, true)] {
        let (status, answer) = site.send(key, Method::POST, &path, Some(json!({"user": ada}))).await;
        assert_eq!((status.as_u16(), &answer["passing"]), (200, &json!(passing)), "{answer}");
        assert!(!answer.to_string().contains("Error"), "{answer}");
    }
}

/// CO-140, CO-173, CO-228: who is refused reads what an expression failed with, not its lines; these are for
/// administrators.
#[tokio::test]
async fn co_173_failures_show_no_lines_of_an_expression() {
    let site = site().await;
    let (ada, _) = site.user("ada").await;
    let application = site.application("wiki", &json!(null)).await;
    let source = "x = 'guarded'\nreturn 1 / 0";
    let policy = site.post(POLICIES, json!({"name": "broken", "expression": source})).await;
    let binding = json!({"target": application["pk"], "order": 0, "policy": policy["pk"]});
    site.post("/policies/bindings/", binding).await;
    let answer = site.get(&format!("/core/applications/wiki/check_access/?for_user={ada}")).await;
    assert_eq!(answer["passing"], false);
    assert_eq!(answer["messages"], json!(["ZeroDivisionError: division by zero"]));
    assert!(answer["log_messages"].to_string().contains("return 1 / 0"), "{answer}");
}

/// CO-137, CO-238: who asks what another may use is who sends the request, for expressions too.
#[tokio::test]
async fn co_238_who_asks_about_others_sends_the_request() {
    let site = site().await;
    let (ada, ada_key) = site.user("ada").await;
    let target = site.application("wiki", &json!(null)).await["pk"].clone();
    let expression = "return (request.user.username, http_request.user.username) == ('ada', 'akadmin')";
    let policy = site.post("/policies/expression/", json!({"name": "both", "expression": expression})).await;
    site.post("/policies/bindings/", json!({"target": target, "order": 0, "policy": policy["pk"]})).await;
    let for_ada = format!("/core/applications/?for_user={ada}");
    assert_eq!(site.get(&for_ada).await["pagination"]["count"], 1);
    let (_, own) = site.send(&ada_key, Method::GET, "/core/applications/", None).await;
    assert_eq!(own["pagination"]["count"], 0);
}

/// CO-137, CO-238: a list holds what the decision lets pass, whatever a policy asks of the settings; so it is for those who
/// ask about others.
#[tokio::test]
async fn co_137_lists_agree_with_decisions_about_settings() {
    let site = site().await;
    let (ada, key) = site.user("ada").await;
    let target = site.application("wiki", &json!(null)).await["pk"].clone();
    let expression = "return http_request.tenant.default_user_change_email in (True, False)";
    let policy = site.post(POLICIES, json!({"name": "asks", "expression": expression})).await;
    site.post("/policies/bindings/", json!({"target": target, "order": 0, "policy": policy["pk"]})).await;
    let asks = [("authentik_core.view_user_applications", None)];
    let (_, delegate) = site.user_with("bob", &asks).await;
    let for_ada = format!("/core/applications/?for_user={ada}");
    for (key, path) in
        [(key.as_str(), "/core/applications/"), (delegate.as_str(), for_ada.as_str()), (ADMIN, for_ada.as_str())]
    {
        let (status, list) = site.send(key, Method::GET, path, None).await;
        assert_eq!((status.as_u16(), &list["pagination"]["count"]), (200, &json!(1)), "{path}: {list}");
    }
    let own = site.send(&key, Method::GET, "/core/applications/wiki/check_access/", None).await.1;
    assert_eq!(own["passing"], true);
}

/// CO-245: where look-ups are switched off, names that look up are not there when an expression is saved.
#[tokio::test]
async fn co_245_look_ups_can_be_switched_off() {
    for (dns, status) in [(true, 201), (false, 400)] {
        let site = with(Engine::new(dns)).await;
        for (name, look_up) in [("there", "resolve_dns('example.org')"), ("back", "reverse_dns('192.0.2.1')")] {
            let body = json!({"name": name, "expression": format!("return {look_up} != []")});
            let (answered, said) = site.send(ADMIN, Method::POST, POLICIES, Some(body)).await;
            assert_eq!(answered, status, "{said}");
            assert!(
                dns || said["expression"][0].as_str().unwrap().ends_with("is not available in Portcullis expressions"),
                "{said}"
            );
        }
    }
}
