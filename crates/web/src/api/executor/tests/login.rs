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
