//! What users change of themselves.

use super::*;

/// CO-041, CO-326: users change their password, by its rules; their other sessions end.
#[tokio::test]
async fn co_326_users_change_their_password() {
    let (site, _) = with_ada().await;
    let (mut client, mut other) = (Client::new(), Client::new());
    client.sign_in(&site, "ada", PASSWORD).await;
    other.sign_in(&site, "ada", PASSWORD).await;
    let slug = flows::PASSWORD_CHANGE;
    let asked = client.show(&site, slug, "next=/x").await;
    for key in
        ["field_key", "label", "type", "required", "placeholder", "initial_value", "order", "sub_text", "choices"]
    {
        assert!(asked["fields"][0].get(key).is_some(), "{key}");
    }
    let short = client.answer(&site, slug, "", json!({"password": "1234567", "password_repeat": "1234567"})).await;
    assert_eq!(errors(&short), ["password"]);
    for guessable in ["password123", "ada ada ada"] {
        let sent = json!({"password": guessable, "password_repeat": guessable});
        assert_eq!(errors(&client.answer(&site, slug, "", sent).await), ["password"], "{guessable}");
    }
    let rules = json!({
        "name": portcullis_idp::password_rules::POLICY, "amount_digits": 1, "error_message": "A digit, please."
    });
    let made = site.admin(Method::POST, "/policies/password/", rules).await;
    assert_eq!(made.status, 201, "{:?}", made.json);
    let sent = json!({"password": PASSWORD, "password_repeat": PASSWORD});
    let refused = client.answer(&site, slug, "", sent).await;
    assert_eq!(refused["response_errors"]["password"][0]["string"], "A digit, please.", "CO-306: as the policy says");
    let policy = format!("/policies/password/{}/", made.json["pk"].as_str().expect("a key"));
    assert_eq!(site.admin(Method::DELETE, &policy, None).await.status, 204);
    let new = "something else entirely";
    site.clock.advance_seconds(1);
    let done = client.answer(&site, slug, "next=/x", json!({"password": new, "password_repeat": new})).await;
    assert_eq!((&done["component"], &done["to"]), (&json!("xak-flow-redirect"), &json!("/x")));
    assert_eq!((client.whoami(&site).await, other.whoami(&site).await), (200, 403));
    assert_eq!(errors(&Client::new().sign_in(&site, "ada", PASSWORD).await), ["password"]);
    assert_eq!(Client::new().sign_in(&site, "ada", new).await["component"], "xak-flow-redirect");
    assert_eq!(site.events("password_set").await.0, 2);
}

/// CO-327: users change what they may of themselves, and nothing if anything is refused.
#[tokio::test]
async fn co_327_users_change_what_they_may() {
    let (site, ada) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let slug = flows::USER_SETTINGS;
    let asked = client.show(&site, slug, "").await;
    let value = |challenge: &Value, key: &str| {
        let fields = challenge["fields"].as_array().expect("a list").clone();
        fields.into_iter().find(|field| field["field_key"] == key).expect("is there")["initial_value"].clone()
    };
    assert_eq!((value(&asked, "username"), value(&asked, "name")), (json!("ada"), json!("ada")));
    let refused =
        client.answer(&site, slug, "", json!({"username": "eve", "name": "Eve", "email": "e@example.com"})).await;
    assert_eq!(refused["response_errors"]["username"][0]["string"], "Not allowed to change username.");
    assert_eq!(refused["response_errors"]["email"][0]["string"], "Not allowed to change email address.");
    assert_eq!(site.admin(Method::GET, &format!("/core/users/{ada}/"), None).await.json["name"], "ada");
    let all = json!({"username": "ada", "name": "Ada Lovelace", "email": "", "attributes.settings.locale": "de"});
    assert_eq!(client.answer(&site, slug, "", all).await["component"], "xak-flow-redirect");
    let user = site.admin(Method::GET, &format!("/core/users/{ada}/"), None).await.json;
    assert_eq!((&user["name"], &user["attributes"]["settings"]["locale"]), (&json!("Ada Lovelace"), &json!("de")));
    assert_eq!(site.events("user_write").await.1["diff"]["name"]["new"], "Ada Lovelace");
    let may = json!({"attributes": {"goauthentik.io/user/can-change-email": true, "goauthentik.io/user/can-change-name": false}});
    site.admin(Method::PATCH, &format!("/core/users/{ada}/"), may).await;
    assert_eq!(errors(&client.answer(&site, slug, "", json!({"email": "nonsense"})).await), ["email"]);
    assert_eq!(
        client.answer(&site, slug, "", json!({"email": "ada@example.com"})).await["component"],
        "xak-flow-redirect"
    );
    let refused = client.answer(&site, slug, "", json!({"name": "Ada"})).await;
    assert_eq!(refused["response_errors"]["name"][0]["string"], "Not allowed to change name.");
}

/// CO-486, CO-817: the first administrator is set up by whoever knows the code, and by nobody else.
#[tokio::test]
async fn co_486_set_up_takes_the_code() {
    let site = Site::new().await;
    let slug = flows::INITIAL_SETUP;
    assert_eq!(Client::new().show(&site, slug, "").await["component"], "ak-stage-access-denied", "no code was drawn");
    let code = portcullis_idp::setup::open(&site.ctx).await.expect("reads").expect("is open");
    let mut client = Client::new();
    assert_eq!(client.show(&site, slug, "").await["component"], "ak-stage-prompt");
    let answer = |code: &str| json!({"code": code, "email": "root@example.com", "password": PASSWORD, "password_repeat": PASSWORD});
    assert_eq!(errors(&client.answer(&site, slug, "", answer("0000")).await), ["code"]);
    let done = client.answer(&site, slug, "", answer(&code)).await;
    assert_eq!(done["component"], "xak-flow-redirect", "{done}");
    assert_eq!(client.whoami(&site).await, 200);
    assert_eq!(Client::new().show(&site, slug, "").await["component"], "ak-stage-access-denied");
}

/// CO-702: users remove their own second factors; others do not.
#[tokio::test]
async fn co_702_users_remove_their_own_second_factors() {
    let (site, ada) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    client.enrol(&site).await;
    let pk = |user: i64| portcullis_core::id::UserPk(i32::try_from(user).expect("small"));
    let actor = |user: i64| Actor { user: Some(pk(user)), is_superuser: false, ..Actor::system() };
    let eve = site.user("eve").await;
    let list = portcullis_idp::authenticators::list(&site.ctx, &actor(ada), pk(ada)).await.expect("a list");
    assert!(portcullis_idp::authenticators::list(&site.ctx, &actor(eve), pk(ada)).await.is_err());
    assert!(portcullis_idp::authenticators::remove(&site.ctx, &actor(eve), pk(ada), list[0].pk).await.is_err());
    assert!(portcullis_idp::authenticators::remove(&site.ctx, &actor(eve), pk(eve), list[0].pk).await.is_err());
    portcullis_idp::authenticators::remove(&site.ctx, &actor(ada), pk(ada), list[0].pk).await.expect("is removed");
    assert_eq!(Client::new().sign_in(&site, "ada", PASSWORD).await["component"], "xak-flow-redirect");
}

/// CO-314: who lost a second factor turns to an administrator, who finds and removes it.
#[tokio::test]
async fn co_314_administrators_remove_second_factors() {
    let (site, ada) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    client.enrol(&site).await;
    let key = site.api_key(ada, "ada-api").await;
    let list = format!("/authenticators/admin/all/?user={ada}");
    assert_eq!(site.bearer(&key, Method::GET, &list, None).await.status, 403);
    let found = site.admin(Method::GET, &list, None).await;
    let pk = found.json[0]["pk"].as_str().expect("a key").to_owned();
    let of = |class: &str| format!("/authenticators/admin/{class}/{pk}/");
    assert_eq!(site.bearer(&key, Method::DELETE, &of("totp"), None).await.status, 403);
    assert_eq!(site.admin(Method::DELETE, &of("static"), None).await.status, 404, "another class");
    assert_eq!(site.admin(Method::DELETE, &of("totp"), None).await.status, 204);
    assert_eq!(site.admin(Method::DELETE, &of("totp"), None).await.status, 404);
    assert_eq!(Client::new().sign_in(&site, "ada", PASSWORD).await["component"], "xak-flow-redirect");
    assert_eq!(site.events("model_deleted").await.0, 1);
}

/// CO-578, CO-314: administrators see the second factors of everybody, or of the one whom they ask for; nobody else does.
#[tokio::test]
async fn co_578_administrators_see_all_second_factors() {
    let (site, ada) = with_ada().await;
    let bob = site.user("bob").await;
    set_password(&site, bob, PASSWORD).await;
    for name in ["ada", "bob"] {
        let mut client = Client::new();
        client.sign_in(&site, name, PASSWORD).await;
        client.enrol(&site).await;
        client.show(&site, flows::STATIC_SETUP, "").await;
        client.answer(&site, flows::STATIC_SETUP, "", json!({})).await;
    }
    let listed = async |query: &str| {
        let path = format!("/authenticators/admin/all/{query}");
        site.admin(Method::GET, &path, None).await.json.as_array().expect("a list").clone()
    };
    let (all, of_ada) = (listed("").await, listed(&format!("?user={ada}")).await);
    let of_both = [of_ada, listed(&format!("?user={bob}")).await].concat();
    assert_eq!((all.len(), all), (4, of_both));
    let key = site.api_key(ada, "ada-api").await;
    assert_eq!(site.bearer(&key, Method::GET, "/authenticators/admin/all/", None).await.status, 403);
}

/// CO-326: where the strict mode is on, an administrator is told which rules a password fails, and nothing is set.
#[tokio::test]
async fn co_326_strict_mode_refuses_weak_passwords() {
    let site = Site::made_strict().await;
    let ada = site.user("ada").await;
    set_password(&site, ada, PASSWORD).await;
    let path = format!("/core/users/{ada}/set_password/");
    let refused = site.admin(Method::POST, &path, json!({"password": "short"})).await;
    assert_eq!(refused.status, 400);
    assert!(refused.json["password"][0].as_str().expect("text").contains("8 characters"), "{}", refused.json);
    assert_eq!(Client::new().sign_in(&site, "ada", PASSWORD).await["component"], "xak-flow-redirect");
}

/// CO-326, CO-828: an administrator may set a weak password, and the event says so.
#[tokio::test]
async fn co_326_a_weak_password_set_by_an_administrator_is_remembered() {
    let (site, ada) = with_ada().await;
    assert_eq!(site.events("password_set").await.1.get("weak"), None);
    set_password(&site, ada, "short").await;
    let (count, event) = site.events("password_set").await;
    assert_eq!((count, &event["weak"]), (2, &json!(true)));
    assert!(event["rules"][0].as_str().expect("text").contains("8 characters"));
}

/// CO-523, CO-302: what is no text, or no text that a database takes, is refused by its field, and what is announced as required
/// has to be there.
#[tokio::test]
async fn co_523_own_fields_are_texts() {
    let (site, ada) = with_ada().await;
    let slug = flows::USER_SETTINGS;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let told = async |client: &mut Client, answer: Value| {
        let asked = client.answer(&site, slug, "", answer).await;
        let errors = asked["response_errors"].as_object().cloned().unwrap_or_default();
        errors.into_iter().map(|(field, error)| (field, error[0]["string"].clone())).collect::<Vec<_>>()
    };
    let one = |field: &str, text: &str| vec![(field.to_owned(), json!(text))];
    assert_eq!(told(&mut client, json!({"name": "a\u{0}b"})).await, one("name", "Null characters are not allowed."));
    for bad in [json!(true), json!(["x"]), json!(1.5)] {
        assert_eq!(told(&mut client, json!({"name": bad})).await, one("name", "Not a valid string."), "{bad}");
    }
    assert_eq!(told(&mut client, json!({"name": 5, "email": null})).await, []);
    let may = json!({"attributes": {"goauthentik.io/user/can-change-username": true}});
    site.admin(Method::PATCH, &format!("/core/users/{ada}/"), may).await;
    assert_eq!(told(&mut client, json!({"name": "x"})).await, one("username", "This field is required."));
    assert_eq!(told(&mut client, json!({"username": "ada", "name": "Ada"})).await, []);
    assert_eq!(site.admin(Method::GET, &format!("/core/users/{ada}/"), None).await.json["name"], "Ada");
    let page =
        client.form(&site, "/if/flow/default-user-settings-flow/", &[("username", "ada"), ("name", "a\0b")]).await;
    assert!(page.status == 200 && page.text.contains("Null characters"), "{}", page.text);
}

/// CO-327: what was typed stays in the form while something in it is to be mended.
#[tokio::test]
async fn co_327_what_was_typed_is_not_lost() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let path = format!("/if/flow/{}/", flows::USER_SETTINGS);
    let typed = [("username", "eve"), ("name", "Ada Lovelace"), ("attributes.settings.locale", "klingon!")];
    let page = client.form(&site, &path, &typed).await.text;
    assert!(page.contains("value=\"Ada Lovelace\"") && page.contains("value=\"klingon!\""), "{page}");
    assert!(page.contains("value=\"ada\"") && !page.contains("value=\"eve\""), "what is not theirs to change: {page}");
    assert!(!client.page(&site, &path).await.text.contains("Lovelace"), "nothing was saved");
}
