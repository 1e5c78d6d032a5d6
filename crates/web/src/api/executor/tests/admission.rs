//! Whom a flow is for: what its policies say, and who is signed in.

use super::*;

/// Makes a policy of this kind and binds it to the sign-in flow.
pub(super) async fn bind(site: &Site, kind: &str, mut policy: Value, negate: bool) -> Value {
    policy["name"] = json!(format!("{kind} of the flow"));
    let made = site.admin(Method::POST, &format!("/policies/{kind}/"), policy).await;
    assert_eq!(made.status, 201, "{:?}", made.json);
    let flow = site.admin(Method::GET, &format!("/flows/instances/{SIGN_IN}/"), None).await;
    let binding = json!({"target": flow.json["pk"], "policy": made.json["pk"], "order": 0, "negate": negate});
    let bound = site.admin(Method::POST, "/policies/bindings/", binding).await;
    assert_eq!(bound.status, 201, "{:?}", bound.json);
    made.json["pk"].clone()
}

/// CO-307: whom a policy of the flow refuses is not asked who they are, by pages or programs; others are.
#[tokio::test]
async fn co_307_a_policy_decides_who_may_sign_in() {
    let (site, _) = with_ada().await;
    bind(&site, "reputation", json!({"check_ip": true, "check_username": false, "threshold": -3}), true).await;
    let mut client = Client::at([192, 0, 2, 7]);
    client.show(&site, SIGN_IN, "").await;
    for _ in 0..3 {
        assert_eq!(client.sign_in_again(&site, "wrong").await["component"], "ak-stage-password");
    }
    let mut again = Client::at([192, 0, 2, 7]);
    let refused = again.show(&site, SIGN_IN, "").await;
    assert_eq!(refused["component"], "ak-stage-access-denied", "{refused}");
    let named = again.answer(&site, SIGN_IN, "", json!({"uid_field": "ada"})).await;
    assert_eq!(named["component"], "ak-stage-access-denied", "{named}");
    assert!(again.page(&site, "/if/flow/default-authentication-flow/").await.status != 200);
    let elsewhere = Client::at([192, 0, 2, 8]).sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(elsewhere["component"], "xak-flow-redirect");
}

/// CO-307: who is signed in and may not sign in again goes where they wanted to.
#[tokio::test]
async fn co_307_who_is_signed_in_goes_on() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    bind(&site, "dummy", json!({"result": false, "wait_min": 0, "wait_max": 0}), false).await;
    let next = "next=%2Fapplication%2Fo%2Fauthorize%2F%3Fclient_id%3Dnone";
    let on = client.show(&site, SIGN_IN, next).await;
    assert_eq!(on["component"], "xak-flow-redirect", "{on}");
    assert_eq!(on["to"], "/application/o/authorize/?client_id=none");
    assert_eq!(client.answer(&site, SIGN_IN, next, json!({})).await, on, "whatever it answers");
    assert_eq!(Client::new().show(&site, SIGN_IN, "").await["component"], "ak-stage-access-denied");
    // Sent here to sign in again, it would be sent here again and again.
    let marker = format!("next=%2Fapplication%2Fo%2Fauthorize%2F%3F{}%3D1", portcullis_idp::oauth::marker::NAME);
    assert_eq!(client.show(&site, SIGN_IN, &marker).await["component"], "ak-stage-access-denied");
}

/// CO-172, CO-307: users and groups cannot be bound where nobody is known yet: everybody would be kept out.
#[tokio::test]
async fn co_307_only_policies_are_bound_to_flows_of_strangers() {
    let (site, ada) = with_ada().await;
    for (slug, status) in [(SIGN_IN, 400), (flows::RECOVERY, 400), (flows::PASSWORD_CHANGE, 201)] {
        let flow = site.admin(Method::GET, &format!("/flows/instances/{slug}/"), None).await;
        let binding = json!({"target": flow.json["pk"], "user": ada, "order": 0});
        let made = site.admin(Method::POST, "/policies/bindings/", binding).await;
        assert_eq!(made.status, status, "{slug}: {:?}", made.json);
    }
}

/// CO-307, CO-306: whom the policies of a flow refuse is told, goes where they wanted to, or goes home, as the flow says;
/// strangers at the sign-in page are told in any case. All policies count, or any.
#[tokio::test]
async fn co_307_what_becomes_of_whom_policies_refuse() {
    const DETAILS: &str = "default-user-settings-flow";
    let (site, _) = with_ada().await;
    let tuned = async |slug: &str, denied_action: &str, mode: &str| {
        let text = format!(
            "version: 1\nentries:\n  - model: authentik_flows.flow\n    identifiers: {{slug: {slug}}}\n    attrs: \
             {{denied_action: {denied_action}, policy_engine_mode: {mode}}}\n"
        );
        let instance = json!({"name": format!("{slug} {denied_action} {mode}"), "content": text});
        let made = site.admin(Method::POST, "/managed/blueprints/", instance).await;
        assert_eq!(made.status, 201, "{:?}", made.json);
    };
    let bound = async |slug: &str, name: &str, result: bool, order: i64| {
        let policy = json!({"name": name, "result": result, "wait_min": 0, "wait_max": 0});
        let policy = site.admin(Method::POST, "/policies/dummy/", policy).await.json["pk"].clone();
        let flow = site.admin(Method::GET, &format!("/flows/instances/{slug}/"), None).await.json["pk"].clone();
        let binding = json!({"target": flow, "policy": policy, "order": order});
        assert_eq!(site.admin(Method::POST, "/policies/bindings/", binding).await.status, 201);
    };
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    bound(DETAILS, "yes", true, 0).await;
    bound(DETAILS, "no", false, 1).await;
    assert_eq!(client.show(&site, DETAILS, "").await["component"], "ak-stage-prompt", "any");
    let (asked, elsewhere) = ("next=%2Faccount%2Fsecond-factors%2F", "next=https%3A%2F%2Fevil.example%2F");
    let told = "ak-stage-access-denied";
    for (action, expected) in [
        ("message_continue", [told, "/account/second-factors/", told]),
        ("message", [told, told, told]),
        ("continue", ["/", "/account/second-factors/", "/"]),
    ] {
        tuned(DETAILS, action, "all").await;
        for (query, expected) in ["", asked, elsewhere].into_iter().zip(expected) {
            client.answer(&site, SIGN_IN, "", json!({})).await;
            let shown = client.show(&site, DETAILS, query).await;
            let outcome = shown["to"].as_str().or(shown["component"].as_str());
            assert_eq!(outcome, Some(expected), "{action} {query}: {shown}");
            let answered = client.answer(&site, DETAILS, query, json!({"name": "x"})).await;
            let outcome = answered["to"].as_str().or(answered["component"].as_str());
            assert_eq!(outcome, Some(expected), "{action} {query}: {answered}");
        }
    }
    bound(SIGN_IN, "nobody", false, 0).await;
    tuned(SIGN_IN, "continue", "any").await;
    assert_eq!(Client::new().show(&site, SIGN_IN, asked).await["component"], told);
}

/// CO-150, CO-307: authorization flows are decided by the bindings of applications, and a binding there is refused.
#[tokio::test]
async fn co_307_authorization_flows_take_no_bindings() {
    let (site, ada) = with_ada().await;
    let flow = site.admin(Method::GET, &format!("/flows/instances/{}/", flows::IMPLICIT_CONSENT), None).await;
    let binding = json!({"target": flow.json["pk"], "user": ada, "order": 0});
    let refused = site.admin(Method::POST, "/policies/bindings/", binding).await;
    assert_eq!(refused.status, 400);
    assert!(refused.json["target"][0].as_str().expect("text").contains("application"), "{}", refused.json);
}

/// CO-318, CO-193: a password that is too old is replaced on the way in, by another one that meets the rules.
#[tokio::test]
async fn co_318_an_old_password_is_replaced_on_the_way_in() {
    let (site, _) = with_ada().await;
    let policy = bind(&site, "password_expiry", json!({"days": 30, "deny_only": false}), false).await;
    assert_eq!(Client::new().sign_in(&site, "ada", PASSWORD).await["component"], "xak-flow-redirect", "young enough");
    site.clock.advance_seconds(31 * 24 * 3600);
    assert_eq!(Client::new().sign_in(&site, "ada", "wrong").await["component"], "ak-stage-password");
    let mut client = Client::new();
    let asked = client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(asked["component"], "ak-stage-prompt", "{asked}");
    assert_eq!(client.whoami(&site).await, 403, "no session yet");
    for bad in ["short", PASSWORD] {
        let answer = json!({"password": bad, "password_repeat": bad});
        assert_eq!(errors(&client.answer(&site, SIGN_IN, "", answer).await), ["password"], "{bad}");
    }
    let new = "a brand new password";
    let done = client.answer(&site, SIGN_IN, "", json!({"password": new, "password_repeat": new})).await;
    assert_eq!(done["component"], "xak-flow-redirect", "{done}");
    assert_eq!(client.whoami(&site).await, 200);
    assert_eq!(Client::new().sign_in(&site, "ada", PASSWORD).await["component"], "ak-stage-password", "the old one");
    site.clock.advance_seconds(31 * 24 * 3600);
    let path = format!("/policies/password_expiry/{}/", policy.as_str().expect("a key"));
    let denies = site.admin(Method::PATCH, &path, json!({"deny_only": true})).await;
    assert_eq!(denies.status, 200, "{:?}", denies.json);
    let denied = Client::new().sign_in(&site, "ada", new).await;
    assert_eq!(denied["component"], "ak-stage-access-denied");
    assert_eq!(denied["error_message"], "Password has expired.");
}

/// CO-308: a flow for signed-in users asks nothing of others, also when the session ends on the way.
#[tokio::test]
async fn co_308_who_may_run_a_flow_is_asked_every_time() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    for slug in
        [flows::PASSWORD_CHANGE, flows::USER_SETTINGS, flows::TOTP_SETUP, flows::STATIC_SETUP, flows::EXPLICIT_CONSENT]
    {
        let refused = client.show(&site, slug, "").await;
        assert_eq!(refused["component"], "ak-stage-access-denied", "{slug}");
    }
    client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(client.show(&site, flows::PASSWORD_CHANGE, "").await["component"], "ak-stage-prompt");
    assert_eq!(client.show(&site, flows::RECOVERY, "").await["component"], "ak-stage-access-denied");
    let ended = client.answer(&site, flows::INVALIDATION, "", json!({})).await;
    assert_eq!(ended["component"], "xak-flow-redirect");
    let answer = json!({"password": "another good one", "password_repeat": "another good one"});
    assert_eq!(client.answer(&site, flows::PASSWORD_CHANGE, "", answer).await["component"], "ak-stage-access-denied");
    assert_eq!(client.sign_in(&site, "ada", PASSWORD).await["component"], "xak-flow-redirect", "nothing was changed");
}

/// CO-307, CO-323: no policy keeps anybody from signing out, by pages or programs.
#[tokio::test]
async fn co_307_nobody_is_kept_from_signing_out() {
    let (site, _) = with_ada().await;
    let policy = json!({"name": "no", "result": false, "wait_min": 0, "wait_max": 0});
    let policy = site.admin(Method::POST, "/policies/dummy/", policy).await.json["pk"].clone();
    let flow = site.admin(Method::GET, &format!("/flows/instances/{}/", flows::INVALIDATION), None).await;
    let binding = json!({"target": flow.json["pk"], "policy": policy, "order": 0});
    assert_eq!(site.admin(Method::POST, "/policies/bindings/", binding).await.status, 201);
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(client.show(&site, flows::INVALIDATION, "").await["component"], "ak-stage-session-end");
    assert_eq!(client.answer(&site, flows::INVALIDATION, "", json!({})).await["component"], "xak-flow-redirect");
    assert_eq!(client.whoami(&site).await, 403);
}
