//! Tokens of another provider of ours, traded for one's own.

use super::*;

/// OA-037, OA-340, OA-344, OA-836, OA-833: an access token of a trusted provider is good for its user at this one,
/// until it ends or is revoked, in one direction, and no further.
#[tokio::test]
async fn oa_340_tokens_of_trusted_providers_are_traded() {
    let shop = Shop::of_cluster(&[]).await;
    let ada = shop.site.user("ada").await;
    app_password(&shop.site, ada, "ada-key", KEY).await;
    let grants = json!(["client_credentials"]);
    let first = client(&shop.site, "first", json!({"grant_types": grants})).await;
    let second = client(&shop.site, "second", json!({"jwt_federation_providers": [first["pk"]]})).await;
    let third = client(&shop.site, "third", json!({"jwt_federation_providers": [second["pk"]]})).await;
    let id = |provider: &Value| provider["client_id"].as_str().expect("text").to_owned();
    let own = [
        ("client_id", id(&first)),
        ("grant_type", "client_credentials".to_owned()),
        ("username", "ada".to_owned()),
        ("password", KEY.to_owned()),
        ("scope", "openid".to_owned()),
    ];
    let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let given = post(&shop.site, "/application/o/token/", &own, &[]).await;
    assert_eq!(given.status, 200, "{}", given.text);
    let trade = async |at: &Value, jwt: &str| {
        let all = [("client_id", id(at)), ("grant_type", "client_credentials".to_owned())];
        let mut all: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.extend([("client_assertion_type", JWT_BEARER), ("client_assertion", jwt), ("scope", "openid profile")]);
        post(&shop.site, "/application/o/token/", &all, &[]).await
    };
    shop.site.clock.advance_seconds(600);
    let access = text(&given, "access_token");
    let traded = trade(&second, access).await;
    assert_eq!(traded.status, 200, "{}", traded.text);
    assert_eq!(claims(&traded.json["id_token"])["preferred_username"], "ada");
    assert_eq!(claims(&traded.json["id_token"])["exp"], claims(&given.json["id_token"])["exp"]);
    let (_, login) = shop.site.events("login").await;
    assert_eq!(
        (&login["auth_method"], &login["auth_method_args"]["provider"]["name"]),
        (&json!("jwt"), &json!("first"))
    );
    for (at, jwt) in [(&second, text(&given, "id_token")), (&third, access), (&first, text(&traded, "access_token"))] {
        assert_eq!(text(&trade(at, jwt).await, "error"), "invalid_grant");
    }
    let further = trade(&third, text(&traded, "access_token")).await;
    assert_eq!(claims(&further.json["id_token"])["exp"], claims(&given.json["id_token"])["exp"], "OA-343");
    // Whatever it was obtained by ends what it was traded for.
    let bearer = format!("Bearer {}", text(&further, "access_token"));
    let asks = async || get(&shop.site, "/application/o/userinfo/", &[("authorization", &bearer)]).await.status;
    assert_eq!(asks().await, 200);
    // What limits the app password limits what its tokens are traded for (OA-816).
    let only = shop.site.admin(Method::GET, "/core/applications/first/", None).await.json["pk"].clone();
    let limited = json!({"allowed_applications": [only]});
    assert_eq!(shop.site.admin(Method::PATCH, "/core/tokens/ada-key/", limited).await.status, 200);
    assert_eq!(text(&trade(&second, access).await, "error"), "invalid_grant");
    shop.site.admin(Method::DELETE, "/core/tokens/ada-key/", None).await;
    assert_eq!(asks().await, 401);
    assert_eq!(text(&trade(&second, access).await, "error"), "invalid_grant");
}

/// OA-343, OA-827: what was traded for a token that a source vouched for holds as long as the source is believed, and no
/// longer.
#[tokio::test]
async fn oa_827_traded_tokens_end_with_the_source() {
    let key = Key::new("k1");
    let shop = Shop::of_cluster(&[&key]).await;
    let second = client(&shop.site, "second", json!({"jwt_federation_providers": [shop.provider["pk"]]})).await;
    let given = shop.assert(&key.sign(&shop.pod())).await;
    let all = [
        ("client_id", second["client_id"].as_str().expect("text")),
        ("grant_type", "client_credentials"),
        ("client_secret", text(&given, "access_token")),
        ("scope", "openid"),
    ];
    let traded = post(&shop.site, "/application/o/token/", &all, &[]).await;
    assert_eq!(traded.status, 200, "{}", traded.text);
    let bearer = format!("Bearer {}", text(&traded, "access_token"));
    let asks = async || get(&shop.site, "/application/o/userinfo/", &[("authorization", &bearer)]).await.status;
    assert_eq!(asks().await, 200);
    shop.site.admin(Method::PATCH, "/sources/oauth/cluster/", json!({"enabled": false})).await;
    assert_eq!(asks().await, 401);
}
