//! App passwords that are good for certain applications and networks alone (OA-816).

use super::*;

/// Limits Ada's app password.
async fn limit(wiki: &Wiki, body: Value) -> Reply {
    wiki.site.admin(Method::PATCH, "/core/tokens/ada-key/", body).await
}

async fn asks_from(wiki: &Wiki, client: [u8; 4], client_id: &str) -> u16 {
    let all = [("client_id", client_id), ("grant_type", "password"), ("username", "ada"), ("password", KEY)];
    post_from(&wiki.site, client, "/application/o/token/", &all).await.status.as_u16()
}

/// OA-816, OA-596: an app password that is limited to an application opens no other one, and what it opened there
/// before has ended.
#[tokio::test]
async fn oa_816_app_passwords_open_chosen_applications() {
    let wiki = Wiki::new().await;
    let (_, other, _) = application(&wiki.site, "other", "http://other.example").await;
    let token = wiki.token_of_ada("openid").await;
    let token = text(&token, "access_token");
    assert!(wiki.is_active(token).await);
    let slug = wiki.site.admin(Method::GET, "/core/applications/other/", None).await.json;
    let limited = limit(&wiki, json!({"allowed_applications": [slug["pk"]]})).await;
    assert_eq!(limited.json["allowed_applications"], json!([slug["pk"]]));
    assert!(!wiki.is_active(token).await);
    assert_eq!(asks_from(&wiki, [192, 0, 2, 1], &wiki.client_id).await, 400);
    assert_eq!(wiki.site.events("login_failed").await.1["reason"], "application_not_allowed");
    assert_eq!(asks_from(&wiki, [192, 0, 2, 1], &other).await, 200);
    let freed = limit(&wiki, json!({"allowed_applications": []})).await;
    assert!(freed.json.get("allowed_applications").is_none());
    assert_eq!(asks_from(&wiki, [192, 0, 2, 1], &wiki.client_id).await, 200);
}

/// OA-816: an app password that is limited to networks is taken from nowhere else, at the token endpoint and at the
/// proxy; the grant says where it is good.
#[tokio::test]
async fn oa_816_app_passwords_stay_in_their_networks() {
    let wiki = Wiki::new().await;
    let limited = limit(&wiki, json!({"allowed_networks": ["198.51.100.7", " 192.0.2.9/24", "2001:DB8::/32"]})).await;
    assert_eq!(limited.json["allowed_networks"], json!(["198.51.100.7/32", "192.0.2.0/24", "2001:db8::/32"]));
    for (client, expected) in
        [([192, 0, 2, 200], 200), ([198, 51, 100, 7], 200), ([198, 51, 100, 8], 400), ([203, 0, 113, 1], 400)]
    {
        assert_eq!(asks_from(&wiki, client, &wiki.client_id).await, expected, "{client:?}");
    }
    assert_eq!(wiki.site.events("login_failed").await.1["reason"], "network_not_allowed");
    let verify = async |client: [u8; 4]| {
        portcullis_idp::outpost::verify_password(&wiki.site.ctx, wiki.pk(), "ada", KEY, client.into()).await
    };
    let grant = verify([192, 0, 2, 1]).await.expect("holds");
    assert_eq!(grant.bearings.networks, ["198.51.100.7/32", "192.0.2.0/24", "2001:db8::/32"]);
    assert!(verify([203, 0, 113, 2]).await.is_err());
    // A token that was obtained with it is good in no other network either.
    let token = wiki.token_of_ada("openid").await;
    let shown = async |client: [u8; 4]| {
        let token = text(&token, "access_token");
        portcullis_idp::outpost::introspect(&wiki.site.ctx, wiki.pk(), token, client.into()).await
    };
    assert_eq!(shown([192, 0, 2, 1]).await.expect("holds").bearings.networks.len(), 3);
    assert!(shown([203, 0, 113, 2]).await.is_err());
}

/// OA-816: another limit is a change of what identities rest on.
#[tokio::test]
async fn oa_816_a_new_limit_is_heard_of_at_once() {
    let wiki = Wiki::new().await;
    let shown = wiki.site.admin(Method::GET, "/core/tokens/ada-key/", None).await.json;
    let uuid = shown["pk"].as_str().expect("text").to_owned();
    let began = wiki.site.ctx.epochs.present();
    let mark = wiki.site.ctx.epochs.mark(began, &[portcullis_core::epoch::Subject::Credential(&uuid)]);
    assert!(wiki.site.ctx.epochs.stands(&mark));
    limit(&wiki, json!({"allowed_networks": ["192.0.2.0/24"]})).await;
    assert!(!wiki.site.ctx.epochs.stands(&mark));
    let (_, event) = wiki.site.events("model_updated").await;
    assert_eq!(event["diff"]["allowed_networks"]["new"], json!(["192.0.2.0/24"]));
}

/// OA-596: when and from where a token was last used is told once it was used.
#[tokio::test]
async fn oa_596_the_last_use_is_told() {
    let wiki = Wiki::new().await;
    let shown = async || wiki.site.admin(Method::GET, "/core/tokens/ada-key/", None).await.json;
    let before = shown().await;
    assert!(before.get("last_used_at").is_none() && before.get("last_used_from").is_none());
    assert_eq!(asks_from(&wiki, [192, 0, 2, 44], &wiki.client_id).await, 200);
    let after = shown().await;
    assert_eq!(after["last_used_at"], json!(wiki.site.ctx.now().to_string()));
    assert_eq!(after["last_used_from"], "192.0.2.44");
}

/// OA-816: limits name what exists, and are for app passwords alone.
#[tokio::test]
async fn oa_816_limits_are_validated() {
    let wiki = Wiki::new().await;
    let nobody = "5f1f0c7e-0000-4000-8000-000000000000";
    for (body, problems) in [
        (
            json!({"allowed_applications": [nobody]}),
            json!({"allowed_applications": [format!("Invalid pk \"{nobody}\" - object does not exist.")]}),
        ),
        (
            json!({"allowed_networks": ["10.0.0.0/33"]}),
            json!({"allowed_networks": ["\"10.0.0.0/33\" is no address or network."]}),
        ),
        (
            json!({"allowed_networks": "10.0.0.0/8"}),
            json!({"allowed_networks": ["Expected a list of items but got type \"str\"."]}),
        ),
    ] {
        let refused = limit(&wiki, body.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.json), (400, problems), "{body}");
    }
    let refused = limit(&wiki, json!({"allowed_scopes": ["openid profile"]})).await;
    assert_eq!(refused.json, json!({"allowed_scopes": ["\"openid profile\" is no name of a scope."]}));
    let body = json!({"identifier": "api", "intent": "api", "allowed_networks": ["10.0.0.0/8"]});
    let refused = wiki.site.admin(Method::POST, "/core/tokens/", body).await;
    assert_eq!(refused.json, json!({"allowed_networks": ["Only app passwords can be limited."]}));
}

/// OA-816, OA-596, OA-296: an app password that is limited to scopes buys nothing with another one, and what it bought before ends.
#[tokio::test]
async fn oa_816_app_passwords_buy_chosen_scopes() {
    let wiki = Wiki::new().await;
    let before = wiki.token_of_ada("openid email").await;
    assert_eq!(before.status, 200, "{}", before.text);
    let token = text(&before, "access_token");
    assert!(wiki.is_active(token).await);
    let limited = limit(&wiki, json!({"allowed_scopes": ["openid", "profile"]})).await;
    assert_eq!((limited.status.as_u16(), &limited.json["allowed_scopes"]), (200, &json!(["openid", "profile"])));
    assert!(!wiki.is_active(token).await);
    for good in ["", "openid", "profile openid", "openid unheard-of"] {
        assert_eq!(wiki.token_of_ada(good).await.status, 200, "{good}");
    }
    let refused = wiki.token_of_ada("openid email").await;
    assert_eq!((refused.status.as_u16(), text(&refused, "error")), (400, "invalid_grant"));
    assert_eq!(wiki.site.events("login_failed").await.1["reason"], "scope_not_allowed");
    let header =
        portcullis_idp::outpost::verify_password(&wiki.site.ctx, wiki.pk(), "ada", KEY, [192, 0, 2, 1].into()).await;
    assert!(header.is_err(), "a proxy asks for all scopes");
}
