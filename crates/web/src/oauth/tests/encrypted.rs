//! Clients whose tokens are encrypted to a key of theirs.

use super::assertions::JWT_BEARER;
use super::clients::{App, client};
use super::logout::{self, Hears};
use super::*;

/// Makes a key pair: its name here, and its private half.
async fn pair(site: &Site, name: &str, alg: &str) -> (Value, String) {
    let body = json!({"common_name": name, "validity_days": 365, "alg": alg});
    let made = site.admin(Method::POST, "/crypto/certificatekeypairs/generate/", body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let path = format!("/crypto/certificatekeypairs/{}/view_private_key/", made.json["pk"].as_str().expect("text"));
    let key = site.admin(Method::GET, &path, None).await.json["data"].as_str().expect("text").to_owned();
    (made.json["pk"].clone(), key)
}

/// The header of a token, and what is encrypted in it, as its client reads it: with the tools that made the key.
fn opened(token: &Value, private_key: &str) -> (Value, Value) {
    let token = token.as_str().expect("a token");
    let header = token.split('.').next().expect("a header");
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
    let kid = header["kid"].as_str().expect("text").to_owned();
    let signed = portcullis_idp::signing::jwe::decrypted(private_key, &kid, token).expect("opens");
    (header, claims(&json!(signed)))
}

/// OA-034, OA-108, OA-121, OA-126, OA-130: every token of a client with such a key is a signed one within an encrypted one;
/// the text that is sent is what introspection, user information and revocation know; the key is published, and not its
/// private half.
#[tokio::test]
async fn oa_130_tokens_are_encrypted() {
    let app = App::new(json!({})).await;
    let (key, private) = pair(&app.site, "of the client", "rsa").await;
    let discovery = "/application/o/app/.well-known/openid-configuration";
    assert!(get(&app.site, discovery, &[]).await.json.get("id_token_encryption_alg_values_supported").is_none());
    let (signing, _) = pair(&app.site, "of tokens", "ecdsa").await;
    app.change(json!({"encryption_key": key, "signing_key": signing})).await;
    let found = get(&app.site, discovery, &[]).await.json;
    assert_eq!(found["id_token_encryption_alg_values_supported"], json!(["RSA-OAEP-256"]));
    assert_eq!(found["id_token_encryption_enc_values_supported"], json!(["A256CBC-HS512"]));
    assert_eq!(found["id_token_signing_alg_values_supported"], json!(["ES256"]));
    let published = get(&app.site, "/application/o/app/jwks/", &[]).await.json["keys"].clone();
    assert_eq!((&published[0]["use"], &published[1]["use"]), (&json!("sig"), &json!("enc")));
    assert_eq!((&published[1]["alg"], &published[1]["enc"]), (&json!("RSA-OAEP-256"), &json!("A256CBC-HS512")));
    assert!(published[1]["x5c"][0].is_string() && published[1].get("d").is_none());

    let reply = app.login(true).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    for name in ["access_token", "id_token"] {
        let (header, said) = opened(&reply.json[name], &private);
        let kid = &published[1]["kid"];
        let expected = json!({"alg": "RSA-OAEP-256", "enc": "A256CBC-HS512", "typ": "JWE", "cty": "JWT", "kid": kid});
        assert_eq!(header, expected, "{name}");
        assert_eq!((&said["preferred_username"], &said["aud"]), (&json!("ada"), &json!(app.id())), "{name}");
    }
    let token = text(&reply, "access_token");
    let all = [("client_secret", app.secret()), ("token", token)];
    let told = app.ask("/application/o/introspect/", &all).await.json;
    assert_eq!((&told["active"], &told["preferred_username"]), (&json!(true), &json!("ada")));
    assert_eq!(app.userinfo(token).await.json["preferred_username"], "ada");
    let mut changed = token.to_owned();
    changed.truncate(token.len() - 2);
    assert_eq!(app.userinfo(&changed).await.status, 401);
    assert_eq!(app.ask("/application/o/revoke/", &all).await.json, json!({}));
    assert_eq!(app.userinfo(token).await.status, 401);
    let machine = [("grant_type", "client_credentials"), ("client_secret", app.secret())];
    let reply = app.ask("/application/o/token/", &machine).await;
    assert_eq!(opened(&reply.json["access_token"], &private).1["azp"], app.id());
}

/// OA-034, OA-340, OA-341, OA-321: an encrypted access token is good for a trade, an encrypted id token is not; it is found by
/// its text, and what is signed in it is verified again.
#[tokio::test]
async fn oa_341_encrypted_tokens_are_traded() {
    let app = App::new(json!({})).await;
    let (key, private) = pair(&app.site, "of the client", "rsa").await;
    let (signing, _) = pair(&app.site, "of tokens", "ecdsa").await;
    app.change(json!({"encryption_key": key, "signing_key": signing})).await;
    let second = client(&app.site, "second", json!({"jwt_federation_providers": [app.provider["pk"]]})).await;
    let given = app.login(true).await;
    let trade = async |jwt: &str| {
        let all = [
            ("client_id", second["client_id"].as_str().expect("text")),
            ("grant_type", "client_credentials"),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", jwt),
            ("scope", "openid profile"),
        ];
        post(&app.site, "/application/o/token/", &all, &[]).await
    };
    let traded = trade(text(&given, "access_token")).await;
    assert_eq!(traded.status, 200, "{}", traded.text);
    assert_eq!(
        claims(&traded.json["id_token"])["preferred_username"],
        "ada",
        "this client's tokens are for all to read"
    );
    for bad in [text(&given, "id_token"), "a.b.c.d.e", "....", &format!("{}x", text(&given, "access_token"))] {
        assert_eq!(text(&trade(bad).await, "error"), "invalid_grant");
    }
    // The token in it is no credential.
    let kid = opened(&given.json["access_token"], &private).0["kid"].as_str().expect("text").to_owned();
    let inner = portcullis_idp::signing::jwe::decrypted(&private, &kid, text(&given, "access_token")).expect("opens");
    assert_eq!(text(&trade(&inner).await, "error"), "invalid_grant");
    assert_eq!(app.userinfo(&inner).await.status, 401);
}

/// OA-034, OA-125: the private half need not be here; the certificate stays as long as tokens are encrypted to it; and what
/// cannot be encrypted is not issued in the clear.
#[tokio::test]
async fn oa_034_nothing_is_issued_in_the_clear() {
    let app = App::new(json!({})).await;
    let (pk, private) = pair(&app.site, "of the client", "rsa").await;
    let own = format!("/crypto/certificatekeypairs/{}/", pk.as_str().expect("text"));
    let path = format!("{own}view_certificate/");
    let chain = app.site.admin(Method::GET, &path, None).await.json["data"].clone();
    assert_eq!(app.site.admin(Method::DELETE, &own, None).await.status, 204);
    let body = json!({"name": "public half", "certificate_data": chain});
    let made = app.site.admin(Method::POST, "/crypto/certificatekeypairs/", body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    app.change(json!({"encryption_key": made.json["pk"]})).await;
    let reply = app.login(true).await;
    assert_eq!(opened(&reply.json["id_token"], &private).1["preferred_username"], "ada");
    assert_eq!(app.userinfo(text(&reply, "access_token")).await.status, 200);

    let own = format!("/crypto/certificatekeypairs/{}/", made.json["pk"].as_str().expect("text"));
    let refused = app.site.admin(Method::DELETE, &own, None).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let used = app.site.admin(Method::GET, &format!("{own}used_by/"), None).await.json;
    assert_eq!((&used[0]["name"], &used[0]["action"]), (&json!("app"), &json!("left_dangling")));
    // Another key takes the certificate's place, and it is none that can be encrypted to.
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let chain = rcgen::CertificateParams::default().self_signed(&pair).expect("a certificate").pem();
    let changed = app.site.admin(Method::PATCH, &own, json!({"certificate_data": chain})).await;
    assert_eq!(changed.status, 400, "{}", changed.text);
    assert!(changed.json["certificate_data"][0].is_string(), "{}", changed.text);
    let machine = [("grant_type", "client_credentials"), ("client_secret", app.secret())];
    let reply = app.ask("/application/o/token/", &machine).await;
    assert_eq!(opened(&reply.json["access_token"], &private).1["azp"], app.id());
    // However it came there: what cannot be encrypted is not issued.
    {
        let mut tx = app.site.ctx.db.write().await.expect("writes");
        let id = made.json["pk"].as_str().expect("text").parse().expect("a key");
        let found = portcullis_store::certificate::by_pk(&mut tx, id).await.expect("reads").expect("is there");
        let spoilt = portcullis_store::certificate::Certificate { chain, ..found };
        portcullis_store::certificate::update(&mut tx, &spoilt).await.expect("stores");
        tx.commit().await.expect("commits");
    }
    let reply = app.ask("/application/o/token/", &machine).await;
    assert_eq!((reply.status.as_u16(), reply.json.get("id_token")), (503, None), "{}", reply.text);
    app.change(json!({"encryption_key": null})).await;
    assert_eq!(app.ask("/application/o/token/", &machine).await.status, 200);
    assert_eq!(app.site.admin(Method::DELETE, &own, None).await.status, 204);
}

/// OA-130, OA-541, OA-557: logout tokens are encrypted as id tokens are; an encrypted id token is a hint where its private key is
/// known, and otherwise none.
#[tokio::test]
async fn oa_557_logout_tokens_are_encrypted() {
    let hears = Hears::start().await;
    let app = logout::app("backchannel", &hears.url).await;
    let (key, private) = pair(&app.site, "of the client", "rsa").await;
    app.change(json!({"encryption_key": key})).await;
    let (mut browser, tokens) = logout::signed_in(&app).await;
    let end = |hint: &str| {
        let all = [("id_token_hint", hint), ("post_logout_redirect_uri", "https://app.example/bye")];
        format!("/application/o/app/end-session/?{}", encoded(&all))
    };
    let hint = text(&tokens, "id_token");
    let (head, tail) = hint.rsplit_once('.').expect("five parts");
    let asked = browser.get(&app.site, &end(&format!("{head}.{}", "A".repeat(tail.len())))).await;
    assert_eq!(asked.status, 200, "people are asked first");
    let out = browser.get(&app.site, &end(hint)).await;
    assert_eq!((out.status.as_u16(), location(&out)), (302, "https://app.example/bye"));
    assert_eq!(logout::delivered(&app).await, 1);
    let heard = hears.tokens();
    let [token] = heard.as_slice() else { panic!("{heard:?}") };
    let (_, said) = opened(&json!(token), &private);
    assert_eq!((&said["aud"], &said["sid"]), (&json!(app.id()), &opened(&tokens.json["id_token"], &private).1["sid"]));
    assert!(said["events"].is_object() && said.get("nonce").is_none());
}

/// OA-341, OA-736: a token that was encrypted lives on when its client has another key, or its private half is not here, and is
/// traded as before: its record tells what it says.
#[tokio::test]
async fn oa_341_tokens_of_an_earlier_encryption_key_are_traded() {
    let app = App::new(json!({})).await;
    let (first, _) = pair(&app.site, "first", "rsa").await;
    let (second, _) = pair(&app.site, "second", "rsa").await;
    app.change(json!({"encryption_key": first})).await;
    let other = client(&app.site, "second", json!({"jwt_federation_providers": [app.provider["pk"]]})).await;
    let given = app.login(true).await;
    for key in [second, Value::Null] {
        app.change(json!({"encryption_key": key})).await;
        let all = [
            ("client_id", other["client_id"].as_str().expect("text")),
            ("grant_type", "client_credentials"),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", text(&given, "access_token")),
            ("scope", "openid profile"),
        ];
        let traded = post(&app.site, "/application/o/token/", &all, &[]).await;
        assert_eq!(traded.status, 200, "{}", traded.text);
        assert_eq!(claims(&traded.json["access_token"])["preferred_username"], "ada");
    }
}

/// OA-125, OA-223, OA-664: with a key that cannot be read nothing is issued, and nothing else signs; metadata leaves it out,
/// and an event says so.
#[tokio::test]
async fn oa_125_a_broken_key_signs_nothing() {
    let app = App::new(json!({"grant_types": ["client_credentials", "implicit"]})).await;
    let (signing, _) = pair(&app.site, "of tokens", "ecdsa").await;
    app.change(json!({"signing_key": signing})).await;
    let pk = signing.as_str().expect("text").parse().expect("a key");
    let mut tx = app.site.ctx.db.write().await.expect("writes");
    let mut found = portcullis_store::certificate::by_pk(&mut tx, pk).await.expect("reads").expect("is there");
    found.private_key_sealed = Some(b"not sealed by us".to_vec());
    portcullis_store::certificate::update(&mut tx, &found).await.expect("stores");
    tx.commit().await.expect("commits");
    let machine = [("grant_type", "client_credentials"), ("client_secret", app.secret())];
    let refused = app.ask("/application/o/token/", &machine).await;
    assert_eq!((refused.status.as_u16(), text(&refused, "error")), (503, "temporarily_unavailable"));
    let implicit = [("response_type", "id_token"), ("code_challenge", ""), ("code_challenge_method", "")];
    let reply = app.authorize(&implicit).await;
    assert!(location(&reply).contains("#error=server_error&"), "{}", location(&reply));
    let (count, event) = app.site.events("configuration_error").await;
    assert_eq!((count, &event["provider"]), (1, &json!("app")), "{event}");
    let found = get(&app.site, "/application/o/app/.well-known/openid-configuration", &[]).await;
    assert_eq!(found.json["id_token_signing_alg_values_supported"], json!([]));
    assert_eq!(get(&app.site, "/application/o/app/jwks/", &[]).await.json, json!({"keys": []}));
}

/// OA-125: a key pair that tokens are signed with is replaced by another one, and not by what signs nothing.
#[tokio::test]
async fn oa_125_a_signing_key_stays_one() {
    let app = App::new(json!({})).await;
    let (signing, _) = pair(&app.site, "of tokens", "ecdsa").await;
    app.change(json!({"signing_key": signing})).await;
    let own = format!("/crypto/certificatekeypairs/{}/", signing.as_str().expect("text"));
    let machine = [("grant_type", "client_credentials"), ("client_secret", app.secret())];
    let refused = app.site.admin(Method::PATCH, &own, json!({"key_data": ""})).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(refused.json["certificate_data"][0].is_string(), "{}", refused.text);
    assert_eq!(app.ask("/application/o/token/", &machine).await.status, 200);
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let chain = rcgen::CertificateParams::default().self_signed(&pair).expect("a certificate").pem();
    let body = json!({"certificate_data": chain, "key_data": pair.serialize_pem()});
    let changed = app.site.admin(Method::PATCH, &own, body).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(app.ask("/application/o/token/", &machine).await.status, 200);
}
