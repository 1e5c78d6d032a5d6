//! The accounts of machines for whom somebody else vouches.

use portcullis_idp::outpost::{self, OutpostError};

use super::*;

/// OA-331, OA-828: what an assertion calls its subject takes over nobody's account.
#[tokio::test]
async fn oa_828_nobody_is_taken_over() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    shop.site.user("shop-akadmin").await;
    let more = json!({"sub": "akadmin", "preferred_username": "akadmin", "nickname": "akadmin", "username": "akadmin"});
    let reply = shop.assert(&key.sign(&shop.pod_with(more))).await;
    let name = claims(&reply.json["id_token"])["preferred_username"].as_str().expect("text").to_owned();
    assert!(name.starts_with("shop-akadmin-") && name.len() == "shop-akadmin-".len() + 8, "{name}");
    let human = shop.site.admin(Method::GET, "/core/users/?username=shop-akadmin", None).await;
    assert_eq!(human.json["results"][0]["type"], "internal");
}

/// OA-334, OA-335, OA-402, OA-830, OA-831: what an administrator sets stays; the end is raised; who was deactivated is
/// refused.
#[tokio::test]
async fn oa_334_what_administrators_set_stays() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let first = shop.assert(&key.sign(&shop.pod())).await;
    let user = shop.users().await.pop().expect("an account");
    let path = format!("/core/users/{}/", user["pk"]);
    let mut attributes = user["attributes"].clone();
    attributes["team"] = json!("blue");
    shop.site.admin(Method::PATCH, &path, json!({"attributes": attributes, "name": "Backup"})).await;
    shop.site.clock.advance_seconds(600);
    let again = shop.assert(&key.sign(&shop.pod())).await;
    assert_eq!(claims(&first.json["id_token"])["sub"], claims(&again.json["id_token"])["sub"]);
    let user = shop.site.admin(Method::GET, &path, None).await.json;
    assert_eq!((&user["name"], &user["attributes"]["team"]), (&json!("Backup"), &json!("blue")));
    assert_eq!(user["attributes"]["goauthentik.io/user/expires"], shop.now() + HOUR);
    let shorter = key.sign(&shop.pod_with(json!({"exp": shop.now() + 60})));
    let shorter = shop.assert(&shorter).await;
    assert_eq!(shorter.json["expires_in"], 60, "OA-336");
    let user = shop.site.admin(Method::GET, &path, None).await.json;
    assert_eq!(user["attributes"]["goauthentik.io/user/expires"], shop.now() + HOUR);
    shop.site.admin(Method::PATCH, &path, json!({"is_active": false})).await;
    shop.refused(&key.sign(&shop.pod()), "user_inactive").await;
    assert_eq!(shop.users().await.len(), 1);
}

/// OA-647, OA-648: an account goes long after its last assertion, and comes back as the same one until then.
#[tokio::test]
async fn oa_648_accounts_go_long_after_their_last_assertion() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    shop.assert(&key.sign(&shop.pod())).await;
    let day = 24 * HOUR;
    shop.site.clock.advance_seconds(29 * day);
    portcullis_idp::oauth::sweep(&shop.site.ctx).await.expect("sweeps");
    assert_eq!(shop.users().await.len(), 1);
    shop.assert(&key.sign(&shop.pod())).await;
    shop.site.clock.advance_seconds(29 * day);
    portcullis_idp::oauth::sweep(&shop.site.ctx).await.expect("sweeps");
    assert_eq!(shop.users().await.len(), 1, "it was used since");
    shop.site.clock.advance_seconds(2 * day);
    portcullis_idp::oauth::sweep(&shop.site.ctx).await.expect("sweeps");
    assert!(shop.users().await.is_empty());
}

/// OA-648: what an app password of such an account gives ends with its last assertion, and then nothing is given for it.
#[tokio::test]
async fn oa_648_app_passwords_end_with_the_last_assertion() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    shop.assert(&key.sign(&shop.pod())).await;
    let user = shop.users().await.pop().expect("an account");
    let [name, password] = [user["username"].as_str().expect("a name"), "app-password-of-a-pod-00000000000000001"];
    app_password(&shop.site, user["pk"].as_i64().expect("a key"), "pod-key", password).await;
    let from = std::net::Ipv4Addr::LOCALHOST.into();
    let given = async || outpost::verify_password(&shop.site.ctx, shop.provider_pk(), name, password, from).await;
    let token = async || shop.token(&[("username", name), ("password", password), ("scope", "openid")]).await;
    let end = shop.now() + HOUR;
    shop.site.clock.advance_seconds(HOUR - 60);
    let grant = given().await.expect("a grant");
    assert_eq!(grant.expires.seconds(), end);
    let token = token().await;
    assert_eq!(token.json["expires_in"], 60);
    let token = token.json["access_token"].as_str().expect("text");
    let stands = async || {
        let ctx = &shop.site.ctx;
        let session = outpost::still_stands(ctx, shop.provider_pk(), &grant.bearings).await.expect("looks");
        (session, outpost::introspect(ctx, shop.provider_pk(), token, from).await.is_ok())
    };
    assert_eq!(stands().await, (true, true));
    // An earlier end, set by hand, counts for what there is already.
    let mut attributes = user["attributes"].clone();
    attributes["goauthentik.io/user/expires"] = json!(shop.now());
    let path = format!("/core/users/{}/", user["pk"]);
    assert_eq!(shop.site.admin(Method::PATCH, &path, json!({"attributes": attributes})).await.status, 200);
    assert_eq!(stands().await, (false, false));
    assert!(matches!(given().await, Err(OutpostError::Refused)));
    let (_, event) = shop.site.events("login_failed").await;
    assert_eq!(event["reason"], "account_expired");
}

/// OA-648, CO-180: what names an account that goes is looked at again, and somebody is told that it names nobody now.
#[tokio::test]
async fn co_180_bindings_outlive_generated_accounts() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    shop.assert(&key.sign(&shop.pod())).await;
    let user = shop.users().await.pop().expect("an account");
    let application = shop.site.admin(Method::GET, "/core/applications/shop/", None).await.json;
    let body = json!({"target": application["pk"], "user": user["pk"], "negate": true, "order": 0});
    assert_eq!(shop.site.admin(Method::POST, "/policies/bindings/", body).await.status, 201);
    shop.site.clock.advance_seconds(31 * 24 * HOUR);
    let epochs = &shop.site.ctx.epochs;
    let provider = i32::try_from(application["provider"].as_i64().expect("a number")).expect("a key");
    let mark = epochs.mark(epochs.present(), &[portcullis_core::epoch::Subject::Provider(provider)]);
    portcullis_idp::oauth::sweep(&shop.site.ctx).await.expect("sweeps");
    assert!(shop.users().await.is_empty() && !epochs.stands(&mark));
    let told = shop.site.admin(Method::GET, "/events/events/?action=configuration_warning", None).await.json;
    let message = told["results"][0]["context"]["message"].as_str().expect("a text");
    assert!(message.contains("has lost what it named"), "{message}");
}

/// OA-648, OA-647: how long it stays is a setting; an end with a fraction is one.
#[tokio::test]
async fn oa_648_how_long_accounts_stay_is_a_setting() {
    let key = Key::new("k1");
    let site = Site::with_options(|options| options.generated_account_retention = Some(HOUR)).await;
    let shop = Shop::at(site, json!({"oidc_jwks": {"keys": [key.jwk()]}, "expected_issuers": [KUBERNETES]})).await;
    assert_eq!(shop.assert(&key.sign(&shop.pod())).await.status, 200);
    let user = shop.users().await.pop().expect("an account");
    let mut attributes = user["attributes"].clone();
    let end = attributes["goauthentik.io/user/expires"].as_i64().expect("a number");
    attributes["goauthentik.io/user/expires"] = json!(end as f64 + 0.5);
    let path = format!("/core/users/{}/", user["pk"]);
    assert_eq!(shop.site.admin(Method::PATCH, &path, json!({"attributes": attributes})).await.status, 200);
    shop.site.clock.advance_seconds(2 * HOUR);
    portcullis_idp::oauth::sweep(&shop.site.ctx).await.expect("sweeps");
    assert_eq!(shop.users().await.len(), 1);
    shop.site.clock.advance_seconds(1);
    portcullis_idp::oauth::sweep(&shop.site.ctx).await.expect("sweeps");
    assert!(shop.users().await.is_empty());
}

/// OA-330, OA-832: policies decide about the account that is linked, and about nobody before there is one: who is
/// denied leaves nothing behind.
#[tokio::test]
async fn oa_330_policies_decide_first() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let application = shop.site.admin(Method::GET, "/core/applications/shop/", None).await.json;
    let group = shop.site.admin(Method::POST, "/core/groups/", json!({"name": "machines"})).await.json;
    let body = json!({"target": application["pk"], "group": group["pk"], "order": 0, "enabled": true});
    let binding = shop.site.admin(Method::POST, "/policies/bindings/", body).await;
    assert_eq!(binding.status, 201, "{}", binding.text);
    shop.refused(&key.sign(&shop.pod()), "denied_by_policy").await;
    assert!(shop.users().await.is_empty());
    let path = format!("/policies/bindings/{}/", binding.json["pk"].as_str().expect("text"));
    shop.site.admin(Method::PATCH, &path, json!({"enabled": false})).await;
    shop.assert(&key.sign(&shop.pod())).await;
    shop.site.admin(Method::PATCH, &path, json!({"enabled": true})).await;
    shop.refused(&key.sign(&shop.pod()), "denied_by_policy").await;
    let user = shop.users().await.pop().expect("an account");
    let path = format!("/core/groups/{}/add_user/", group["pk"].as_str().expect("text"));
    shop.site.admin(Method::POST, &path, json!({"pk": user["pk"]})).await;
    assert_eq!(shop.assert(&key.sign(&shop.pod())).await.status, 200);
}
