//! Authenticator apps and recovery codes.

use super::*;

/// CO-314, CO-315: who has an authenticator app signs in with its code, each once, and nobody without.
#[tokio::test]
async fn co_315_a_code_is_asked_for_and_counts_once() {
    let (site, ada) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let seed = client.enrol(&site).await;
    assert!(!site.file_bytes().windows(seed.len()).any(|bytes| bytes == seed), "CO-464: sealed at rest");
    let mut client = Client::new();
    let asked = client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(asked["component"], "ak-stage-authenticator-validate");
    let device = &asked["device_challenges"][0];
    assert_eq!((&device["device_class"], &device["challenge"]), (&json!("totp"), &json!({})));
    assert!(device["device_uid"].is_string() && device.get("last_used").is_some());
    assert_eq!(asked["configuration_stages"], json!([]));
    assert_eq!(client.whoami(&site).await, 403);
    let selected = client.answer(&site, SIGN_IN, "", json!({"selected_challenge": device})).await;
    assert_eq!((&selected["component"], errors(&selected)), (&asked["component"], vec![]));
    let used = totp::code(&seed, totp::step_at(site.ctx.now()), 6);
    let replayed = client.answer(&site, SIGN_IN, "", json!({"code": used})).await;
    assert_eq!(errors(&replayed), ["code"], "the code that enrolled it is used up");
    let code = next_code(&site, &seed);
    let done = client.answer(&site, SIGN_IN, "", json!({"code": code})).await;
    assert_eq!(done["component"], "xak-flow-redirect");
    assert_eq!(client.whoami(&site).await, 200);
    let (_, login) = site.events("login").await;
    assert_eq!(login["auth_method_args"]["mfa_devices"][0]["device_class"], "totp");
    let mut replay = Client::new();
    replay.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(errors(&replay.answer(&site, SIGN_IN, "", json!({"code": code})).await), ["code"]);
    let listed = site.admin(Method::GET, "/policies/reputation/scores/", json!({})).await.json;
    let scores = [&listed["results"][0]["identifier"], &listed["results"][0]["score"], &listed["pagination"]["count"]];
    // Signed in, refused a code, signed in, refused a code.
    assert_eq!(scores, [&json!("ada"), &json!(0), &json!(1)], "CO-440");
    let mut conn = site.ctx.db.read().await.expect("reads");
    let session = portcullis_store::login_session::of_account(
        &mut conn,
        portcullis_core::id::UserPk(i32::try_from(ada).expect("small")),
        site.ctx.now(),
    )
    .await
    .expect("reads");
    assert_eq!(session[0].second_factor, Some(site.ctx.now()), "CO-383");
}

/// CO-315, CO-465: recovery codes are twelve characters, shown once, kept as digests, and each signs in once.
#[tokio::test]
async fn co_315_recovery_codes_sign_in_once_each() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let shown = client.show(&site, flows::STATIC_SETUP, "").await;
    let codes: Vec<String> = serde_json::from_value(shown["codes"].clone()).expect("texts");
    assert_eq!(codes.len(), 6);
    assert!(codes.iter().all(|code| code.len() == 12));
    assert_eq!(
        client.show(&site, flows::STATIC_SETUP, "").await["codes"],
        shown["codes"],
        "the same until they are kept"
    );
    let done = client.answer(&site, flows::STATIC_SETUP, "", json!({})).await;
    assert_eq!(done["component"], "xak-flow-redirect");
    assert!(codes.iter().all(|code| !site.file_bytes().windows(12).any(|bytes| bytes == code.as_bytes())));
    for (code, works) in [(&codes[0], true), (&codes[0], false), (&codes[1].to_uppercase(), true)] {
        let mut client = Client::new();
        client.sign_in(&site, "ada", PASSWORD).await;
        let answered = client.answer(&site, SIGN_IN, "", json!({"code": code})).await;
        assert_eq!(answered["component"] == "xak-flow-redirect", works, "{code}: {answered}");
    }
    let actor = Actor { username: "ada".to_owned(), ..Actor::system() };
    let user = portcullis_store::account::by_username(&mut site.ctx.db.read().await.expect("reads"), "ada").await;
    let user = user.expect("reads").expect("known").pk;
    let devices = portcullis_idp::authenticators::list(&site.ctx, &actor, user).await.expect("a list");
    assert_eq!((devices.len(), devices[0].codes_left, devices[0].class.as_str()), (1, Some(4), "static"));
    let key = site.api_key(user.0.into(), "ada-api").await;
    let shown = site.bearer(&key, Method::GET, "/authenticators/all/", json!({})).await;
    assert_eq!(shown.status, 200);
    let device = &shown.json[0];
    assert_eq!(device["meta_model_name"], "authentik_stages_authenticator_static.staticdevice", "CO-578");
    assert_eq!((&device["confirmed"], &device["pk"]), (&json!(true), &json!(devices[0].pk.to_string())));
    let of_others = site.admin(Method::GET, "/authenticators/all/", json!({})).await;
    assert_eq!(of_others.json, json!([]), "one's own alone");
}

/// CO-314, CO-814: codes are checked against allowed classes only, and using the app leaves recovery codes alone.
#[tokio::test]
async fn co_314_only_allowed_classes_count() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let seed = client.enrol(&site).await;
    let codes = client.show(&site, flows::STATIC_SETUP, "").await["codes"].clone();
    client.answer(&site, flows::STATIC_SETUP, "", json!({})).await;
    tune(&site, stages::VALIDATION, json!({"device_classes": ["totp"]})).await;
    let mut client = Client::new();
    let asked = client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(asked["device_challenges"].as_array().expect("a list").len(), 1);
    assert_eq!(errors(&client.answer(&site, SIGN_IN, "", json!({"code": codes[0]})).await), ["code"]);
    for _ in 0..20 {
        let mut client = Client::new();
        client.sign_in(&site, "ada", PASSWORD).await;
        let code = next_code(&site, &seed);
        assert_eq!(client.answer(&site, SIGN_IN, "", json!({"code": code})).await["component"], "xak-flow-redirect");
    }
    tune(&site, stages::VALIDATION, json!({"device_classes": ["totp", "static"]})).await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(client.answer(&site, SIGN_IN, "", json!({"code": codes[0]})).await["component"], "xak-flow-redirect");
}

/// CO-314: who has no second factor is let in, refused, or made to enrol one, as the stage says, in its order.
#[tokio::test]
async fn co_314_without_a_second_factor_the_stage_decides() {
    let (site, _) = with_ada().await;
    tune(&site, stages::VALIDATION, json!({"not_configured_action": "deny"})).await;
    assert_eq!(Client::new().sign_in(&site, "ada", PASSWORD).await["component"], "ak-stage-access-denied");
    let both = json!([stages::STATIC_SETUP, stages::TOTP_SETUP]);
    tune(&site, stages::VALIDATION, json!({"not_configured_action": "configure", "configuration_stages": both})).await;
    let mut client = Client::new();
    let asked = client.sign_in(&site, "ada", PASSWORD).await;
    assert_eq!(asked["component"], "ak-stage-authenticator-validate");
    let setups = asked["configuration_stages"].as_array().expect("a list");
    assert_eq!(setups.len(), 2);
    for key in ["pk", "name", "verbose_name", "meta_model_name"] {
        assert!(setups[0][key].is_string(), "{key}");
    }
    assert_eq!(errors(&client.answer(&site, SIGN_IN, "", json!({"selected_stage": "x"})).await), ["selected_stage"]);
    let enrols = client.answer(&site, SIGN_IN, "", json!({"selected_stage": setups[1]["pk"]})).await;
    assert_eq!(enrols["component"], "ak-stage-authenticator-totp");
    assert_eq!(errors(&client.answer(&site, SIGN_IN, "", json!({"code": "000000"})).await), ["code"]);
    let seed = seed_of(enrols["config_url"].as_str().expect("a URL"));
    let code = totp::code(&seed, totp::step_at(site.ctx.now()), 6);
    assert_eq!(client.whoami(&site).await, 403);
    assert_eq!(client.answer(&site, SIGN_IN, "", json!({"code": code})).await["component"], "xak-flow-redirect");
    assert_eq!(client.whoami(&site).await, 200);
    tune(&site, stages::VALIDATION, json!({"configuration_stages": [stages::STATIC_SETUP]})).await;
    let bob = site.user("bob").await;
    set_password(&site, bob, PASSWORD).await;
    let direct = Client::new().sign_in(&site, "bob", PASSWORD).await;
    assert_eq!(direct["component"], "ak-stage-authenticator-static", "one option needs no choice");
}

/// CO-317, CO-810: a second factor is remembered for a while on this browser, for this user, as long as the device
/// and the password stay; nothing that others could know makes such a cookie.
#[tokio::test]
async fn co_317_a_second_factor_is_remembered() {
    let (site, ada) = with_ada().await;
    tune(&site, stages::VALIDATION, json!({"last_auth_threshold": "hours=1"})).await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let seed = client.enrol(&site).await;
    let log_in = async |client: &mut Client, username: &str| {
        client.sign_in(&site, username, PASSWORD).await["component"].clone()
    };
    let asks = json!("ak-stage-authenticator-validate");
    assert_eq!(log_in(&mut client, "ada").await, asks);
    let code = next_code(&site, &seed);
    client.answer(&site, SIGN_IN, "", json!({"code": code})).await;
    let cookie = client.cookies["authentik_mfa"].clone();
    assert_eq!(log_in(&mut client, "ada").await, "xak-flow-redirect");
    // Another user, with an app of their own, is asked on the same browser.
    let bob = site.user("bob").await;
    set_password(&site, bob, PASSWORD).await;
    let mut theirs = Client::new();
    theirs.sign_in(&site, "bob", PASSWORD).await;
    theirs.enrol(&site).await;
    let mut borrowed = Client::new();
    borrowed.cookies.insert("authentik_mfa".to_owned(), cookie.clone());
    assert_eq!(log_in(&mut borrowed, "bob").await, asks);
    let mut forged = Client::new();
    forged.cookies.insert("authentik_mfa".to_owned(), cookie[..cookie.len() - 4].to_owned() + "AAAA");
    assert_eq!(log_in(&mut forged, "ada").await, asks);
    site.clock.advance_seconds(3599);
    assert_eq!(log_in(&mut client, "ada").await, "xak-flow-redirect", "still within the hour");
    site.clock.advance_seconds(2);
    assert_eq!(log_in(&mut client, "ada").await, asks, "aged out");
    let code = next_code(&site, &seed);
    client.answer(&site, SIGN_IN, "", json!({"code": code})).await;
    assert_eq!(log_in(&mut client, "ada").await, "xak-flow-redirect");
    set_password(&site, ada, PASSWORD).await;
    assert_eq!(log_in(&mut client, "ada").await, asks, "the password was changed");
}
