//! User name, password, session.

use super::*;

/// CO-302, CO-303, CO-533, CO-572: a client signs in by answering what it is asked; keys are those that clients know.
#[tokio::test]
async fn co_302_a_client_signs_in_step_by_step() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    let asked = client.show(&site, SIGN_IN, "next=/").await;
    for key in [
        "user_fields",
        "password_fields",
        "flow_designation",
        "primary_action",
        "show_source_labels",
        "allow_show_password",
        "recovery_url",
        "sources",
        "enable_remember_me",
        "passkey_challenge",
        "pending_user_identifier",
        "captcha_stage",
    ] {
        assert!(asked.get(key).is_some(), "{key}: {asked}");
    }
    assert_eq!((&asked["component"], &asked["password_fields"]), (&json!("ak-stage-identification"), &json!(false)));
    assert_eq!(asked["recovery_url"], "", "CO-533: never null");
    for key in ["title", "background", "background_themed_urls", "cancel_url", "layout"] {
        assert!(asked["flow_info"].get(key).is_some(), "{key}");
    }
    assert!(!client.cookies.contains_key("authentik_flow"), "nothing is kept of a visitor who only looks");
    let asked =
        client.answer(&site, SIGN_IN, "", json!({"component": "ak-stage-identification", "uid_field": "ada"})).await;
    assert_eq!((&asked["component"], &asked["pending_user"]), (&json!("ak-stage-password"), &json!("ada")));
    assert!(asked["pending_user_avatar"].as_str().expect("text").starts_with("data:image/"));
    let again = client.answer(&site, SIGN_IN, "", json!({"password": "wrong"})).await;
    assert_eq!(again["response_errors"], json!({"password": [{"string": "Invalid password", "code": "invalid"}]}));
    assert_eq!(client.whoami(&site).await, 403);
    let done = client.answer(&site, SIGN_IN, "next=/application/launch/wiki/", json!({"password": PASSWORD})).await;
    assert_eq!((&done["component"], &done["to"]), (&json!("xak-flow-redirect"), &json!("/application/launch/wiki/")));
    assert_eq!(client.whoami(&site).await, 200);
    let (count, login) = site.events("login").await;
    assert_eq!((count, &login["auth_method"]), (1, &json!("password")));
    assert_eq!(login["auth_method_args"]["identifier"], "ada");
    let there = client.show(&site, SIGN_IN, "next=/x").await;
    assert_eq!(there["to"], "/x", "CO-307: who is signed in goes on");
}

/// CO-302: an answer to another step is an error, never a skip.
#[tokio::test]
async fn co_302_an_answer_to_another_step_is_an_error() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    for component in [
        json!("ak-stage-password"),
        json!("ak-stage-user-login"),
        json!("ak-stage-authenticator-validate"),
        json!(7),
        json!(["ak-stage-identification"]),
    ] {
        let answer = json!({"component": component, "uid_field": "ada", "password": PASSWORD});
        let asked = client.answer(&site, SIGN_IN, "", answer).await;
        assert_eq!((&asked["component"], errors(&asked)), (&json!("ak-stage-identification"), vec!["component"]));
    }
    for blank in ["", "   "] {
        let empty = client.answer(&site, SIGN_IN, "", json!({"uid_field": blank})).await;
        assert_eq!(errors(&empty), ["uid_field"], "CO-535");
    }
    assert_eq!(client.whoami(&site).await, 403);
}

/// CO-304, CO-824: another flow discards the first; a run ends after an hour; what is stored is sealed.
#[tokio::test]
async fn co_304_one_flow_at_a_time_and_not_for_ever() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.answer(&site, SIGN_IN, "", json!({"uid_field": "ada-the-visitor"})).await;
    assert_eq!(client.show(&site, SIGN_IN, "").await["component"], "ak-stage-password");
    let files = site.file_bytes();
    assert!(!files.windows(15).any(|bytes| bytes == b"ada-the-visitor"), "sealed at rest");
    client.answer(&site, flows::RECOVERY, "", json!({"uid_field": "x"})).await;
    assert_eq!(client.show(&site, SIGN_IN, "").await["component"], "ak-stage-identification");
    client.answer(&site, SIGN_IN, "", json!({"uid_field": "ada"})).await;
    site.clock.advance_seconds(3599);
    assert_eq!(client.show(&site, SIGN_IN, "").await["component"], "ak-stage-password");
    site.clock.advance_seconds(2);
    assert_eq!(client.show(&site, SIGN_IN, "").await["component"], "ak-stage-identification");
    client.answer(&site, SIGN_IN, "", json!({"uid_field": "ada"})).await;
    let dropped = client.page(&site, "/flows/-/cancel/?next=//evil.example").await;
    assert_eq!((dropped.status.as_u16(), &dropped.headers["location"]), (303, &"/".parse().expect("a value")));
    assert_eq!(client.show(&site, SIGN_IN, "").await["component"], "ak-stage-identification", "CO-301");
}

/// CO-309: `next` leads to this site or home.
#[tokio::test]
async fn co_309_next_stays_on_this_site() {
    let (site, _) = with_ada().await;
    for (next, to) in [
        ("next=%2F%2Fevil.example", "/"),
        ("next=/%5Cevil", "/"),
        ("next=https%3A%2F%2Fevil.example", "/"),
        ("next=%2Fok%3Fa%3Db", "/ok?a=b"),
        ("", "/"),
    ] {
        let mut client = Client::new();
        client.answer(&site, SIGN_IN, next, json!({"uid_field": "ada"})).await;
        assert_eq!(client.answer(&site, SIGN_IN, next, json!({"password": PASSWORD})).await["to"], to, "{next}");
    }
}

/// CO-310, CO-816: an e-mail address that two users share, or that is somebody's name, picks nobody by chance.
#[tokio::test]
async fn co_310_a_shared_address_signs_nobody_in() {
    let (site, ada) = with_ada().await;
    let bob = site.user("bob").await;
    set_password(&site, bob, PASSWORD).await;
    let address = async |user: i64, email: &str| {
        site.admin(Method::PATCH, &format!("/core/users/{user}/"), json!({"email": email})).await;
    };
    address(ada, "both@example.com").await;
    address(bob, "both@example.com").await;
    let log_in = async |name: &str| Client::new().sign_in(&site, name, PASSWORD).await;
    assert_eq!(errors(&log_in("both@example.com").await), ["password"]);
    address(bob, "bob@example.com").await;
    assert_eq!(log_in("Both@Example.com").await["component"], "xak-flow-redirect");
    tune(&site, stages::IDENTIFICATION, json!({"user_fields": ["email"]})).await;
    assert_eq!(errors(&log_in("ada").await), ["password"], "CO-306");
    tune(&site, stages::IDENTIFICATION, json!({"user_fields": ["username"], "case_insensitive_matching": false})).await;
    assert_eq!(errors(&log_in("ADA").await), ["password"], "CO-306");
}

/// CO-306, CO-067, CO-310: where the stage says so, users sign in by their attribute `upn`, however it is written unless case
/// counts; one that is somebody else's address or `upn` as well picks nobody, and a user name comes first.
#[tokio::test]
async fn co_306_users_sign_in_by_upn() {
    let (site, ada) = with_ada().await;
    let bob = site.user("bob").await;
    set_password(&site, bob, "another good one").await;
    let set = async |user: i64, body: Value| {
        assert_eq!(site.admin(Method::PATCH, &format!("/core/users/{user}/"), body).await.status, 200);
    };
    let log_in = async |name: &str, password: &str| {
        Client::new().sign_in(&site, name, password).await["component"] == "xak-flow-redirect"
    };
    set(ada, json!({"attributes": {"upn": "Ada@Corp.example"}})).await;
    assert!(!log_in("Ada@Corp.example", PASSWORD).await, "nobody has said so");
    tune(&site, stages::IDENTIFICATION, json!({"user_fields": ["username", "email", "upn"]})).await;
    assert!(log_in("ada@corp.example", PASSWORD).await && log_in("ada", PASSWORD).await);
    let fields = ["username", "email", "upn"];
    tune(&site, stages::IDENTIFICATION, json!({"user_fields": fields, "case_insensitive_matching": false})).await;
    assert!(!log_in("ada@corp.example", PASSWORD).await && log_in("Ada@Corp.example", PASSWORD).await);
    set(bob, json!({"email": "ada@corp.example"})).await;
    assert!(
        !log_in("Ada@Corp.example", PASSWORD).await && !log_in("ada@corp.example", "another good one").await,
        "two are meant"
    );
    set(bob, json!({"email": "", "attributes": {"upn": "ada@corp.example"}})).await;
    assert!(
        !log_in("Ada@Corp.example", PASSWORD).await && !log_in("ada@corp.example", "another good one").await,
        "two are meant"
    );
    set(bob, json!({"attributes": {"upn": "ada"}})).await;
    assert!(log_in("Ada@Corp.example", PASSWORD).await && log_in("ada", PASSWORD).await, "a name comes first");
    assert!(!log_in("ada", "another good one").await);
    set(ada, json!({"attributes": {"upn": ["Ada@Corp.example"]}})).await;
    assert!(!log_in("Ada@Corp.example", PASSWORD).await, "no text");
    set(ada, json!({"is_active": false, "attributes": {"upn": "Ada@Corp.example"}})).await;
    assert!(!log_in("Ada@Corp.example", PASSWORD).await, "CO-037");
}

/// CO-311, CO-813, CO-815: known, unknown, inactive users and service accounts are asked and answered alike.
#[tokio::test]
async fn co_311_nobody_learns_who_exists() {
    let (site, ada) = with_ada().await;
    site.admin(Method::PATCH, &format!("/core/users/{ada}/"), json!({"email": "ada@example.com", "name": "Ada L."}))
        .await;
    let gone = site.user("gone").await;
    set_password(&site, gone, PASSWORD).await;
    site.admin(Method::PATCH, &format!("/core/users/{gone}/"), json!({"is_active": false})).await;
    let robot = site.user("robot").await;
    set_password(&site, robot, PASSWORD).await;
    site.admin(Method::PATCH, &format!("/core/users/{robot}/"), json!({"type": "service_account"})).await;
    let mut seen = Vec::new();
    for (name, password) in
        [("ada@example.com", "wrong"), ("nobody", PASSWORD), ("gone", PASSWORD), ("robot", PASSWORD), ("ADA", "wrong")]
    {
        let mut client = Client::new();
        let named = client.answer(&site, SIGN_IN, "", json!({"uid_field": name})).await;
        let answered = client.answer(&site, SIGN_IN, "", json!({"password": password})).await;
        assert_eq!(client.whoami(&site).await, 403, "{name}");
        let text = format!("{named}{answered}").replace(&format!("\"{name}\""), "\"<typed>\"");
        assert!(!text.contains("Ada L."), "{text}");
        seen.push(text);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:#?}");
    tune(&site, stages::IDENTIFICATION, json!({"show_matched_user": true})).await;
    let mut client = Client::new();
    let named = client.answer(&site, SIGN_IN, "", json!({"uid_field": "ada@example.com"})).await;
    assert_eq!(named["pending_user"], "ada", "CO-306: when somebody wants it shown");
    tune(&site, stages::IDENTIFICATION, json!({"pretend_user_exists": false})).await;
    let named = Client::new().answer(&site, SIGN_IN, "", json!({"uid_field": "nobody"})).await;
    assert_eq!((&named["component"], errors(&named)), (&json!("ak-stage-identification"), vec!["non_field_errors"]));
}

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

/// CO-304, CO-311: a run that goes on and on ends all the same, so that nothing proved long ago counts.
#[tokio::test]
async fn co_304_a_run_has_an_end() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.answer(&site, SIGN_IN, "", json!({"uid_field": "ada"})).await;
    for _ in 0..4 {
        site.clock.advance_seconds(3000);
        let asked = client.answer(&site, SIGN_IN, "", json!({"password": "wrong"})).await;
        assert_eq!(asked["component"], "ak-stage-password", "{asked}");
    }
    site.clock.advance_seconds(3000);
    assert_eq!(client.show(&site, SIGN_IN, "").await["component"], "ak-stage-identification");
}

/// CO-311: who waits at the password is not told what becomes of the account meanwhile, and its new password counts.
#[tokio::test]
async fn co_311_waiting_at_the_password_tells_nothing() {
    let (site, ada) = with_ada().await;
    let (mut known, mut unknown) = (Client::new(), Client::new());
    for (client, name) in [(&mut known, "ada"), (&mut unknown, "eve")] {
        client.answer(&site, SIGN_IN, "", json!({"uid_field": name})).await;
    }
    let path = format!("/core/users/{ada}/");
    let mut same = async |what: &str| {
        let mut seen = Vec::new();
        for (client, name) in [(&mut known, "ada"), (&mut unknown, "eve")] {
            let shown = client.show(&site, SIGN_IN, "").await;
            let answered = client.answer(&site, SIGN_IN, "", json!({"password": "wrong"})).await;
            seen.push(format!("{shown}{answered}").replace(name, "<typed>"));
        }
        assert_eq!(seen[0], seen[1], "{what}");
    };
    site.clock.advance_seconds(1);
    set_password(&site, ada, "another good password").await;
    same("another password").await;
    site.admin(Method::PATCH, &path, json!({"is_active": false})).await;
    same("deactivated").await;
    site.admin(Method::PATCH, &path, json!({"is_active": true})).await;
    same("active again").await;
    let done = known.answer(&site, SIGN_IN, "", json!({"password": "another good password"})).await;
    assert_eq!(done["component"], "xak-flow-redirect", "{done}");
}

/// CO-312, CO-811: the sixth wrong password in one run ends it.
#[tokio::test]
async fn co_312_the_sixth_wrong_password_ends_the_run() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    for _ in 0..5 {
        assert_eq!(client.sign_in_again(&site, "wrong").await["component"], "ak-stage-password");
    }
    let over = client.answer(&site, SIGN_IN, "", json!({"password": "wrong"})).await;
    assert_eq!(over["component"], "ak-stage-access-denied");
    assert!(over.get("pending_user").is_some() && over.get("error_message").is_some());
    assert_eq!(client.show(&site, SIGN_IN, "").await["component"], "ak-stage-identification", "begins again");
}

impl Client {
    async fn sign_in_again(&mut self, site: &Site, password: &str) -> Value {
        if self.show(site, SIGN_IN, "").await["component"] == "ak-stage-identification" {
            self.answer(site, SIGN_IN, "", json!({"uid_field": "ada"})).await;
        }
        self.answer(site, SIGN_IN, "", json!({"password": password})).await
    }
}

/// CO-306: with a password stage, user name and password are asked for together.
#[tokio::test]
async fn co_306_name_and_password_may_be_asked_for_together() {
    let (site, _) = with_ada().await;
    tune(&site, stages::IDENTIFICATION, json!({"password_stage": stages::PASSWORD})).await;
    let mut client = Client::new();
    assert_eq!(client.show(&site, SIGN_IN, "").await["password_fields"], true);
    let wrong = client.answer(&site, SIGN_IN, "", json!({"uid_field": "ada", "password": "wrong"})).await;
    assert_eq!((&wrong["component"], errors(&wrong)), (&json!("ak-stage-identification"), vec!["non_field_errors"]));
    let done = client.answer(&site, SIGN_IN, "", json!({"uid_field": "ada", "password": PASSWORD})).await;
    assert_eq!(done["component"], "xak-flow-redirect");
}

/// CO-319, CO-384: the session is another one after every login, and the one before it has ended. A run has another
/// cookie once the password was right: whoever planted the first one cannot go on with it.
#[tokio::test]
async fn co_384_identifiers_change_with_what_they_are_worth() {
    let (site, _) = with_ada().await;
    tune(&site, stages::LOGIN, json!({"remember_me_offset": "days=1"})).await;
    let mut client = Client::new();
    client.answer(&site, SIGN_IN, "", json!({"uid_field": "ada"})).await;
    let planted = client.cookies.clone();
    assert_eq!(
        client.answer(&site, SIGN_IN, "", json!({"password": PASSWORD})).await["component"],
        "ak-stage-user-login"
    );
    let mut other = Client { cookies: planted, ..Client::new() };
    let theirs =
        other.answer(&site, SIGN_IN, "", json!({"component": "ak-stage-user-login", "remember_me": true})).await;
    assert_eq!(theirs["component"], "ak-stage-identification");
    client.answer(&site, SIGN_IN, "", json!({"remember_me": false})).await;
    let first = client.cookies["authentik_session"].clone();
    client.sign_in(&site, "ada", PASSWORD).await;
    client.answer(&site, SIGN_IN, "", json!({"remember_me": false})).await;
    assert_ne!(client.cookies["authentik_session"], first);
    let mut old = Client::new();
    old.cookies.insert("authentik_session".to_owned(), first);
    assert_eq!(old.whoami(&site).await, 403);
}

/// CO-320, CO-381, CO-382: who wants to stay signed in does, by the offset; others end with the browser and after a
/// day without use; nobody stays beyond the absolute limit.
#[tokio::test]
async fn co_320_staying_signed_in_adds_the_offset() {
    let (site, _) = with_ada().await;
    tune(&site, stages::LOGIN, json!({"remember_me_offset": "days=10"})).await;
    for (stays, hours, status) in [(false, 23, 200), (false, 25, 403), (true, 239, 200), (true, 241, 403)] {
        let mut client = Client::new();
        client.sign_in(&site, "ada", PASSWORD).await;
        let reply = client.answered(&site, SIGN_IN, "", json!({"remember_me": stays})).await;
        let cookies: Vec<_> = reply.headers.get_all(header::SET_COOKIE).iter().collect();
        let session = cookies
            .iter()
            .filter_map(|cookie| cookie.to_str().ok())
            .find(|cookie| cookie.starts_with("authentik_session="));
        let session = session.expect("a session").to_owned();
        assert_eq!(session.contains("Max-Age="), stays, "{session}");
        assert!(session.contains("HttpOnly") && session.contains("SameSite=Lax"), "{session}");
        site.clock.advance_seconds(hours * 3600);
        assert_eq!(client.whoami(&site).await, status, "{stays} {hours}");
    }
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    client.answer(&site, SIGN_IN, "", json!({"remember_me": true})).await;
    for _ in 0..29 {
        site.clock.advance_seconds(24 * 3600);
        assert_eq!(client.whoami(&site).await, 200, "use keeps it");
    }
    site.clock.advance_seconds(24 * 3600);
    assert_eq!(client.whoami(&site).await, 403, "not for ever");
}

/// CO-385: a login may end all other sessions of the user.
#[tokio::test]
async fn co_385_a_login_may_end_the_others() {
    let (site, _) = with_ada().await;
    let (mut one, mut other) = (Client::new(), Client::new());
    one.sign_in(&site, "ada", PASSWORD).await;
    other.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!((one.whoami(&site).await, other.whoami(&site).await), (200, 200));
    tune(&site, stages::LOGIN, json!({"terminate_other_sessions": true})).await;
    let mut third = Client::new();
    third.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!([one.whoami(&site).await, other.whoami(&site).await, third.whoami(&site).await], [403, 403, 200]);
}

/// CO-387, CO-826: answers come as JSON and from here, also those of strangers; a signed-in browser repeats its cookie.
#[tokio::test]
async fn co_387_answers_come_from_here() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    let path = Client::path(SIGN_IN, "");
    let body = || Body::from(json!({"uid_field": "ada"}).to_string());
    let json_type = || Request::post(&path).header(header::CONTENT_TYPE, "application/json");
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(client.send(&site, json_type().header(name, value), body()).await.status, 403, "{name}: {value}");
    }
    assert_eq!(client.send(&site, json_type().header("origin", "http://id.example"), body()).await.status, 200);
    assert_eq!(client.send(&site, json_type(), Body::from("{")).await.status, 400);
    for media_type in ["application/x-www-form-urlencoded", "text/plain"] {
        let request = Request::post(&path).header(header::CONTENT_TYPE, media_type);
        assert_eq!(client.send(&site, request, body()).await.status, 415);
    }
    client.sign_in_again(&site, PASSWORD).await;
    assert_eq!(client.show(&site, flows::STATIC_SETUP, "").await["component"], "ak-stage-authenticator-static");
    let csrf = client.cookies.remove("authentik_csrf").expect("given by the first look");
    assert_eq!(client.answered(&site, flows::STATIC_SETUP, "", json!({})).await.status, 403);
    client.cookies.insert("authentik_csrf".to_owned(), csrf);
    assert_eq!(client.answer(&site, flows::STATIC_SETUP, "", json!({})).await["component"], "xak-flow-redirect");
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

/// CO-323: a look at the sign-out flow changes nothing; its answer ends the session.
#[tokio::test]
async fn co_323_signing_out_takes_an_answer() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let asked = client.show(&site, flows::INVALIDATION, "").await;
    assert_eq!((&asked["component"], &asked["pending_user"]), (&json!("ak-stage-session-end"), &json!("ada")));
    assert_eq!(client.whoami(&site).await, 200);
    assert_eq!(client.answer(&site, flows::INVALIDATION, "next=/bye", json!({})).await["to"], "/bye");
    assert_eq!(client.whoami(&site).await, 403);
    assert_eq!(site.events("logout").await.0, 1);
}

/// CO-571: flows name their stages; unknown ones are not there.
#[tokio::test]
async fn co_571_flows_name_their_stages() {
    let site = Site::new().await;
    let flow = site.admin(Method::GET, &format!("/flows/instances/{SIGN_IN}/"), None).await;
    assert_eq!(flow.json["stages"].as_array().expect("a list").len(), 4, "{}", flow.json);
    let again = site.admin(Method::GET, &format!("/flows/instances/{SIGN_IN}/"), None).await;
    assert_eq!(flow.json["stages"], again.json["stages"]);
    let mut client = Client::new();
    let unknown = client.send(&site, Request::get(Client::path("nothing", "")), Body::empty()).await;
    assert_eq!((unknown.status.as_u16(), unknown.json), (404, json!({"detail": "No Flow matches the given query."})));
}

/// CO-313, CO-812: an app password is no way through the sign-in page, however it is asked for, and administrators cannot make
/// it one.
#[tokio::test]
async fn co_313_app_passwords_do_not_sign_in() {
    let (site, ada) = with_ada().await;
    let token = json!({"identifier": "script", "intent": "app_password", "user": ada});
    assert_eq!(site.admin(Method::POST, "/core/tokens/", token).await.status, 201);
    let key = site.admin(Method::GET, "/core/tokens/script/view_key/", None).await.json["key"].clone();
    let key = key.as_str().expect("a key");
    let mut client = Client::new();
    let refused = client.sign_in(&site, "ada", key).await;
    assert_eq!((refused["component"].as_str(), errors(&refused)), (Some("ak-stage-password"), vec!["password"]));
    assert_eq!(client.whoami(&site).await, 403);
    tune(&site, stages::IDENTIFICATION, json!({"password_stage": stages::PASSWORD})).await;
    let both = json!({"uid_field": "ada", "password": key});
    let refused = Client::new().answer(&site, SIGN_IN, "", both).await;
    assert_eq!(refused["component"], "ak-stage-identification", "{refused}");
    assert_eq!((site.events("login").await.0, site.events("login_failed").await.0), (0, 2));
    for backends in [
        json!(["authentik.core.auth.TokenBackend"]),
        json!(["authentik.core.auth.InbuiltBackend", "authentik.core.auth.TokenBackend"]),
    ] {
        let wish = json!({"backends": backends}).as_object().expect("an object").clone();
        assert!(stages::set(&site.ctx, &Actor::system(), stages::PASSWORD, &wish).await.is_err(), "{backends}");
    }
}

/// CO-412, CO-385: who signs in as somebody else ends the session that was there, and who ends all others by signing in does: each
/// is recorded.
#[tokio::test]
async fn co_412_sessions_that_a_login_ends_are_recorded() {
    let (site, _) = with_ada().await;
    let bob = site.user("bob").await;
    set_password(&site, bob, PASSWORD).await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(site.events("logout").await.0, 0, "the same user");
    let signed_in =
        client.form(&site, "/if/flow/default-authentication-flow/", &[("uid_field", "bob"), ("password", PASSWORD)]);
    assert_eq!(signed_in.await.status, 303);
    let (count, event) = site.events("logout").await;
    assert_eq!((count, &event["logout_reason"], &event["model"]["name"]), (1, &json!("replaced"), &json!("ada")));
    tune(&site, stages::LOGIN, json!({"terminate_other_sessions": true})).await;
    Client::new().sign_in(&site, "bob", PASSWORD).await;
    let (count, event) = site.events("logout").await;
    assert_eq!((count, &event["logout_reason"]), (2, &json!("terminate_other_sessions")));
    assert_eq!((&event["model"]["name"], &event["sessions"]), (&json!("bob"), &json!(1)));
}

/// CO-412, CO-387: what another site has a browser send with a session's cookie is recorded at every door; of strangers nothing is.
#[tokio::test]
async fn co_412_requests_of_other_sites_are_recorded() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    let executor = Client::path(SIGN_IN, "");
    let doors = [
        executor.as_str(),
        "/if/flow/default-authentication-flow/",
        "/if/flow/default-invalidation-flow/",
        "/account/second-factors/",
    ];
    let knock = async |client: &mut Client, door: &str| {
        let request = Request::post(door).header(header::ORIGIN, "http://evil.example");
        let reply = client.send(&site, request, Body::empty()).await;
        assert_eq!(reply.status, 403, "{door}");
        assert_ne!(reply.via, Some(portcullis_core::auth_via::AuthVia::Session), "{door}");
    };
    for door in doors {
        knock(&mut client, door).await;
    }
    assert_eq!(site.events("suspicious_request").await.0, 0);
    client.sign_in(&site, "ada", PASSWORD).await;
    for (door, count) in doors.iter().zip(1..) {
        knock(&mut client, door).await;
        assert_eq!(site.events("suspicious_request").await.0, count, "{door}");
    }
    assert_eq!(client.whoami(&site).await, 200);
}

/// CO-381: a cookie that a sibling domain has planted keeps nobody from the API.
#[tokio::test]
async fn co_381_planted_cookies_are_passed_over() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let cookie = client.cookies["authentik_session"].clone();
    for planted in ["planted".to_owned(), "a".repeat(cookie.len())] {
        let cookies = format!("authentik_session={planted}; authentik_session={cookie}");
        let request = Request::get("/api/v3/core/users/me/").header(header::COOKIE, cookies);
        assert_eq!(Client::new().send(&site, request, Body::empty()).await.status, 200, "{planted}");
    }
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

/// CO-303: a path that names no flow is answered as one, whatever its bytes are.
#[tokio::test]
async fn co_303_odd_names_name_no_flow() {
    let site = Site::new().await;
    let mut client = Client::new();
    let told = client.send(&site, Request::get("/api/v3/flows/executor/%FF/"), Body::empty()).await;
    assert_eq!((told.status.as_u16(), &told.json["detail"]), (404, &json!("Not found.")));
    let page = client.page(&site, "/if/flow/%FF/").await;
    assert!(page.status == 404 && page.text.contains("There is no such page"), "{}", page.text);
}

/// CO-504: what the instance calls itself is told to authenticator apps, programs and people who have left an application.
#[tokio::test]
async fn co_504_flows_tell_what_the_instance_calls_itself() {
    let (site, _) = with_ada().await;
    let mut conn = site.ctx.db.read().await.expect("reads");
    let brand = portcullis_idp::brands::of_host(&mut conn, "id.example").await.expect("reads");
    drop(conn);
    let path = format!("/core/brands/{}/", brand.pk);
    assert_eq!(site.admin(Method::PATCH, &path, json!({"branding_title": "The Gate"})).await.status, 200);
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(client.show(&site, flows::PROVIDER_INVALIDATION, "").await["brand_name"], "The Gate");
    let page = client.page(&site, &format!("/if/flow/{}/", flows::PROVIDER_INVALIDATION)).await.text;
    assert!(page.contains("still signed in to The Gate"), "{page}");
    let url = client.show(&site, flows::TOTP_SETUP, "").await["config_url"].clone();
    assert!(url.as_str().expect("a URL").contains("&issuer=The%20Gate&"), "{url}");
}

/// CO-303, CO-530: the document of the API describes every step that a flow may be at.
#[test]
fn co_303_the_document_has_every_step() {
    let document: Value = serde_json::from_str(include_str!("../../openapi.json")).expect("JSON");
    let steps = &document["components"]["schemas"]["ChallengeTypes"]["discriminator"]["mapping"];
    assert!(steps["ak-provider-iframe-logout"].is_string() && steps["ak-stage-prompt"].is_string(), "{steps}");
}
