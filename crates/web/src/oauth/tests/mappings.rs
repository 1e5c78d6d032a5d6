//! Mappings with expressions of administrators, as far as they do not depend on the language: the engine of these tests
//! reads JSON.

use portcullis_idp::Context;
use portcullis_idp::mappings::engine::{About, MappingEngine, Outcome, Question};

use super::assertions::issuer::Key;
use super::assertions::{KUBERNETES, Shop};
use super::clients::App;
use super::refresh::offer;
use super::*;

/// Expressions are JSON; `fail` fails, and `claims` gives what a source vouches for.
struct Json;

impl MappingEngine for Json {
    fn check(&self, expression: &str) -> Result<(), String> {
        if expression == "wrong" { Err("Line 1: wrong".to_owned()) } else { Ok(()) }
    }

    fn evaluate<'a>(&'a self, _: &'a Context, question: &'a Question<'a>) -> Outcome<'a> {
        Box::pin(async move {
            match (question.expression, &question.about) {
                ("fail", _) => Err("division by zero".to_owned()),
                ("claims", About::Source { claims, .. }) => {
                    let attributes = json!({"pod": claims["sub"], "goauthentik.io/x": 1});
                    let said = json!({"username": claims["sub"], "name": null, "email": "pod@example.com",
                        "attributes": attributes});
                    Ok(said.into())
                }
                ("scopes", About::Token { token, person, .. }) => {
                    Ok(json!({"asked": token.scopes, "who": person.account.username}).into())
                }
                (text, _) => Ok(serde_json::from_str::<Value>(text).expect("JSON").into()),
            }
        })
    }
}

pub(super) async fn mapping(site: &Site, name: &str, scope: &str, expression: &str) -> Value {
    let body = json!({"name": name, "scope_name": scope, "expression": expression});
    let made = site.admin(Method::POST, "/propertymappings/provider/scope/", body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json["pk"].clone()
}

/// An application whose client has these mappings, all of scope `openid`, by name.
async fn app(expressions: &[(&str, &str)]) -> App {
    let app = App::at(Site::with_engine(Json).await, json!({})).await;
    let mut mappings = Vec::new();
    for (name, expression) in expressions {
        mappings.push(mapping(&app.site, name, "openid", expression).await);
    }
    app.change(json!({"property_mappings": mappings})).await;
    app
}

/// CO-280, CO-422, OA-424, OA-421: mappings are asked in the order of their names, and merged: objects into each other, lists
/// one after the other; they know the token.
#[tokio::test]
async fn co_280_mappings_are_merged_in_order() {
    let app = app(&[
        ("b", r#"{"team": {"x": 2, "z": 3}, "roles": ["b"], "last": "b"}"#),
        ("a", r#"{"team": {"x": 1, "y": 1}, "roles": ["a"], "last": "a", "gone": null}"#),
        ("c", "scopes"),
    ])
    .await;
    let said = claims(&app.login(true).await.json["id_token"]);
    assert_eq!(said["team"], json!({"x": 2, "y": 1, "z": 3}));
    assert_eq!((&said["roles"], &said["last"]), (&json!(["a", "b"]), &json!("b")));
    assert_eq!((&said["asked"], &said["who"]), (&json!(["openid"]), &json!("ada")));
    assert!(said.get("gone").is_none());
}

/// CO-281, OA-423: a mapping that fails or gives no object says nothing; the others do, and the login goes on.
#[tokio::test]
async fn co_281_a_failing_mapping_fails_no_login() {
    let app = app(&[("a", "fail"), ("b", "null"), ("c", "[1]"), ("d", r#"{"team": "blue"}"#)]).await;
    let reply = app.login(true).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(claims(&reply.json["id_token"])["team"], "blue");
    let (count, event) = app.site.events("property_mapping_exception").await;
    assert_eq!((count, &event["message"], &event["expression"]), (1, &json!("division by zero"), &json!("fail")));
    assert_eq!(event["exception"], "division by zero");
    assert_eq!((&event["mapping"]["name"], &event["provider"]), (&json!("a"), &json!("app")));
    assert_eq!(app.site.events("configuration_error").await.0, 1);
}

/// Writes, and waits until it could.
struct Writes;

impl MappingEngine for Writes {
    fn check(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn evaluate<'a>(&'a self, ctx: &'a Context, question: &'a Question<'a>) -> Outcome<'a> {
        Box::pin(async move {
            let About::Token { token, person, .. } = &question.about else { return Err("no token".to_owned()) };
            let patience = std::time::Duration::from_secs(5);
            let free = tokio::time::timeout(patience, ctx.db.write()).await.is_ok_and(|tx| tx.is_ok());
            Ok(json!({"free": free, "session": token.session, "who": person.account.username}).into())
        })
    }
}

/// CO-801: while an expression takes its time, others can write: with a code, with an app password and at the proxy.
#[tokio::test]
async fn co_801_nobody_waits_for_an_expression() {
    let app = App::at(Site::with_engine(Writes).await, json!({})).await;
    let own = mapping(&app.site, "own", "openid", "own").await;
    app.change(json!({"property_mappings": [own]})).await;
    let said = claims(&app.login(true).await.json["id_token"]);
    assert_eq!((&said["free"], &said["session"], &said["who"]), (&json!(true), &json!(true), &json!("ada")));
    let machine = [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY), ("scope", "openid")];
    let reply = app.ask("/application/o/token/", &machine).await;
    let said = claims(&reply.json["access_token"]);
    assert_eq!((&said["free"], &said["session"]), (&json!(true), &json!(false)), "{}", reply.text);
    let (pk, _, _) = application(&app.site, "wiki", EXTERNAL).await;
    let body = json!({"property_mappings": [own]});
    app.site.admin(Method::PATCH, &format!("/providers/proxy/{pk}/"), body).await;
    let (pk, from) = (ProviderPk(i32::try_from(pk).expect("small")), [192, 0, 2, 1].into());
    let grant = portcullis_idp::outpost::verify_password(&app.site.ctx, pk, "ada", KEY, from).await.expect("holds");
    assert_eq!(grant.statement.expect("a statement")["free"], true);
}

/// CO-282, OA-425, CO-835, OA-894: no mapping sets a claim of the protocol; who tries is told of once a day.
#[tokio::test]
async fn co_282_claims_of_the_protocol_are_protected() {
    let evil = r#"{"iss": "evil", "aud": "evil", "exp": 9999999999, "nonce": "evil", "client_id": "evil", "sub": "",
        "team": "blue"}"#;
    let app = app(&[("a", evil)]).await;
    for expected in [1, 1] {
        let reply = app.login(true).await;
        let said = claims(&reply.json["access_token"]);
        assert!(!said.to_string().contains("evil") && said["exp"] != 9_999_999_999_i64, "{said}");
        assert_eq!((said["sub"].as_str().map(str::len), &said["team"]), (Some(64), &json!("blue")));
        assert_eq!(app.site.events("configuration_warning").await.0, expected);
    }
    app.site.clock.advance_seconds(24 * 3600 + 1);
    app.login(true).await;
    assert_eq!(app.site.events("configuration_warning").await.0, 2);
}

/// OA-425, OA-426: a subject of a mapping's is the same everywhere.
#[tokio::test]
async fn oa_426_another_subject_is_the_same_everywhere() {
    let app = app(&[("a", r#"{"sub": "me@example.com"}"#)]).await;
    let reply = app.login(true).await;
    let token = text(&reply, "access_token");
    let all = [("client_secret", app.secret()), ("token", token)];
    let told = app.ask("/application/o/introspect/", &all).await;
    for said in [
        &claims(&reply.json["id_token"]),
        &claims(&reply.json["access_token"]),
        &app.userinfo(token).await.json,
        &told.json,
    ] {
        assert_eq!(said["sub"], "me@example.com");
    }
}

/// OA-426, OA-464: a refresh token is about whom its grant is about, also after it was rotated and when the mapping says
/// something else.
#[tokio::test]
async fn oa_426_a_refresh_token_has_the_subject_of_its_grant() {
    let app = app(&[("a", r#"{"sub": "me@example.com"}"#)]).await;
    offer(&app.site, "oauth2", &app.provider["pk"], "offline_access").await;
    let reply = app.authorize(&[("scope", "openid offline_access")]).await;
    let issued = app.redeem(&reply, true).await;
    let told = async |token: &str| {
        let all = [("client_secret", app.secret()), ("token", token)];
        app.ask("/application/o/introspect/", &all).await.json["sub"].clone()
    };
    let first = text(&issued, "refresh_token").to_owned();
    assert_eq!(told(&first).await, "me@example.com");
    let renew = async |token: &str| {
        let all = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_secret", app.secret())];
        app.ask("/application/o/token/", &all).await
    };
    let renewed = renew(&first).await;
    let second = text(&renewed, "refresh_token").to_owned();
    assert_eq!(
        (told(&second).await, &claims(&renewed.json["id_token"])["sub"]),
        (json!("me@example.com"), &json!("me@example.com"))
    );
    app.change(json!({"property_mappings": []})).await;
    offer(&app.site, "oauth2", &app.provider["pk"], "openid").await;
    offer(&app.site, "oauth2", &app.provider["pk"], "offline_access").await;
    let plain = renew(&second).await;
    assert_eq!(told(text(&plain, "refresh_token")).await, claims(&plain.json["access_token"])["sub"]);
    assert_ne!(claims(&plain.json["access_token"])["sub"], "me@example.com");
}

/// CO-284: secret attributes of other applications are in no proxy's claim, whatever a mapping gives.
#[tokio::test]
async fn co_284_secrets_of_others_are_taken_out() {
    let site = Site::with_engine(Json).await;
    let ada = site.user("ada").await;
    app_password(&site, ada, "ada-key", KEY).await;
    let (pk, client_id, _) = application(&site, "wiki", EXTERNAL).await;
    let all = r#"{"ak_proxy": {"user_attributes": {"app_username": "u", "app_password": "p", "mail_password": "x",
        "notes": "n"}}}"#;
    let own = mapping(&site, "zz all attributes", "ak_proxy", all).await;
    let path = format!("/providers/proxy/{pk}/");
    site.admin(Method::PATCH, &path, json!({"property_mappings": [own]})).await;
    let pk = ProviderPk(i32::try_from(pk).expect("small"));
    let from = [192, 0, 2, 1].into();
    let grant = portcullis_idp::outpost::verify_password(&site.ctx, pk, "ada", KEY, from).await.expect("holds");
    let attributes = json!(grant.claims.ak_proxy.user_attributes);
    assert_eq!(attributes, json!({"app_username": "u", "app_password": "p", "notes": "n"}), "{client_id}");
}

/// CO-565: the engine says what is wrong with an expression before it is saved.
#[tokio::test]
async fn co_565_the_engine_checks_expressions() {
    let site = Site::with_engine(Json).await;
    let body = json!({"name": "a", "scope_name": "a", "expression": "wrong"});
    let refused = site.admin(Method::POST, "/propertymappings/provider/scope/", body).await;
    assert_eq!((refused.status.as_u16(), refused.json), (400, json!({"expression": ["Line 1: wrong"]})));
}

/// OA-332, OA-333, OA-334: a source's mappings describe its machines, but set nothing that is ours to set; one that
/// fails fails the request, and nobody is made.
#[tokio::test]
async fn oa_333_mappings_of_a_source_describe_its_machines() {
    let key = Key::new("k1");
    let site = Site::with_engine(Json).await;
    let claims_of = mapping(&site, "claims", "none", "claims").await;
    let fails = mapping(&site, "fails", "none", "fail").await;
    let keys = json!({"keys": [key.jwk()]});
    let more = json!({"oidc_jwks": keys, "expected_issuers": [KUBERNETES], "user_property_mappings": [fails]});
    let shop = Shop::at(site, more).await;
    shop.refused(&key.sign(&shop.pod()), "mapping_failed").await;
    assert!(shop.users().await.is_empty());
    assert_eq!(shop.site.events("configuration_error").await.0, 1);
    let change = json!({"user_property_mappings": [claims_of]});
    shop.site.admin(Method::PATCH, "/sources/oauth/cluster/", change).await;
    for _ in 0..2 {
        assert_eq!(shop.assert(&key.sign(&shop.pod())).await.status, 200);
    }
    let user = shop.users().await.pop().expect("an account");
    assert_eq!(user["username"], "system-serviceaccount-shop-backup");
    assert_eq!((&user["email"], &user["attributes"]["pod"]), (&json!("pod@example.com"), &shop.pod()["sub"]));
    assert!(user["attributes"].get("goauthentik.io/x").is_none());
}

/// OA-886, OA-112: discovery asks no expression of anybody.
#[tokio::test]
async fn oa_886_discovery_asks_no_expression() {
    struct Refuses;
    impl MappingEngine for Refuses {
        fn check(&self, _: &str) -> Result<(), String> {
            Ok(())
        }

        fn evaluate<'a>(&'a self, _: &'a Context, _: &'a Question<'a>) -> Outcome<'a> {
            panic!("nobody is to ask")
        }
    }
    let app = App::at(Site::with_engine(Refuses).await, json!({})).await;
    let own = mapping(&app.site, "own", "team", "return {}").await;
    app.change(json!({"property_mappings": [own]})).await;
    for path in ["/application/o/app/.well-known/openid-configuration", "/application/o/app/jwks/"] {
        let found = get(&app.site, path, &[]).await;
        assert_eq!(found.status, 200, "{path}");
        if path.contains("openid") {
            assert_eq!(found.json["scopes_supported"], json!(["openid", "team"]));
        }
    }
}
