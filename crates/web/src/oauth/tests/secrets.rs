//! Two secrets of a client, of which one takes the other's place.

use portcullis_core::clock::Timestamp;

use super::clients::App;
use super::*;

const NEW: &str = "the-secret-that-takes-the-place-of-the-old-one";

async fn shown(app: &App) -> Value {
    app.site.admin(Method::GET, &format!("/providers/oauth2/{}/", app.provider["pk"]), None).await.json
}

/// Asks with this secret: whether a token is looked at.
async fn introspects(app: &App, secret: &str) -> u16 {
    app.ask("/application/o/introspect/", &[("client_secret", secret), ("token", "x")]).await.status.as_u16()
}

async fn machine(app: &App, secret: &str) -> Reply {
    app.ask("/application/o/token/", &[("grant_type", "client_credentials"), ("client_secret", secret)]).await
}

fn at(app: &App, seconds: i64) -> String {
    Timestamp::from_seconds(app.site.ctx.now().seconds() + seconds).to_string()
}

/// OA-807, OA-024: two secrets are good at the same time, at every endpoint and for machines, until each one's own end;
/// neither is in the database in the clear.
#[tokio::test]
async fn oa_807_two_secrets_are_good_at_once() {
    let app = App::new(json!({})).await;
    let old = app.secret().to_owned();
    assert_eq!(introspects(&app, NEW).await, 401);
    app.change(
        json!({"client_secret": NEW, "second_client_secret": old, "second_client_secret_expires": at(&app, 3600)}),
    )
    .await;
    for secret in [NEW, &old] {
        assert_eq!(introspects(&app, secret).await, 200);
        assert_eq!(machine(&app, secret).await.status, 200);
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{}:{secret}", app.id()));
        let headers = [("authorization", &*format!("Basic {basic}"))];
        let reply = post(&app.site, "/application/o/revoke/", &[("token", "x")], &headers).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    let file = app.site.file_bytes();
    assert!([NEW, &old].iter().all(|secret| !file.windows(secret.len()).any(|bytes| bytes == secret.as_bytes())));
    app.site.clock.advance_seconds(3599);
    assert_eq!(introspects(&app, &old).await, 200);
    app.site.clock.advance_seconds(1);
    assert_eq!((introspects(&app, &old).await, introspects(&app, NEW).await), (401, 200));
    assert_eq!(text(&machine(&app, &old).await, "error"), "invalid_grant");
    // The first one may end, too; what remains is none.
    app.change(json!({"client_secret_expires": at(&app, -1)})).await;
    assert_eq!((introspects(&app, NEW).await, introspects(&app, "").await), (401, 401));
    app.change(json!({"client_secret_expires": null})).await;
    assert_eq!(introspects(&app, NEW).await, 200);
}

/// OA-807: which of the two was used is recorded: when last, to a minute, and in the event of a machine's login. A secret that
/// changes has not been used.
#[tokio::test]
async fn oa_807_uses_are_recorded() {
    let app = App::new(json!({})).await;
    app.change(json!({"second_client_secret": NEW})).await;
    let used = async || {
        let shown = shown(&app).await;
        [shown["client_secret_last_used"].clone(), shown["second_client_secret_last_used"].clone()]
    };
    assert_eq!(used().await, [Value::Null, Value::Null]);
    assert_eq!(introspects(&app, "a guess").await, 401);
    assert_eq!(used().await, [Value::Null, Value::Null]);
    let first = json!(at(&app, 0));
    introspects(&app, NEW).await;
    assert_eq!(used().await, [Value::Null, first.clone()]);
    app.site.clock.advance_seconds(59);
    introspects(&app, NEW).await;
    assert_eq!(used().await, [Value::Null, first.clone()], "once a minute");
    app.site.clock.advance_seconds(1);
    assert_eq!(machine(&app, NEW).await.status, 200);
    assert_eq!(used().await, [Value::Null, json!(at(&app, 0))]);
    for (secret, name) in [(NEW, "second"), (app.secret(), "first")] {
        assert_eq!(machine(&app, secret).await.status, 200);
        let (_, login) = app.site.events("login").await;
        assert_eq!(login["auth_method"], "oauth_client_secret");
        assert_eq!(login["auth_method_args"], json!({"matched": name}));
    }
    app.change(json!({"second_client_secret": format!("{NEW}-again")})).await;
    assert_eq!(used().await, [json!(at(&app, 0)), Value::Null]);
    app.change(json!({"name": "app"})).await;
    assert_eq!(used().await, [json!(at(&app, 0)), Value::Null], "another change forgets nothing");
}

/// OA-807, OA-808, OA-127: tokens are signed with the first secret, and once that has ended with the second one; what either
/// signed is known. Without one that holds nothing is issued.
#[tokio::test]
async fn oa_807_the_secret_in_force_signs() {
    let app = App::new(json!({})).await;
    let old = app.secret().to_owned();
    app.change(json!({"client_secret_expires": at(&app, 600), "second_client_secret": NEW})).await;
    let signed_with = |token: &Value, secret: &str| {
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_audience(&[app.id()]);
        let key = jsonwebtoken::DecodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::decode::<Value>(token.as_str().expect("a token"), &key, &validation).is_ok()
    };
    let token = machine(&app, &old).await.json["id_token"].clone();
    assert!(signed_with(&token, &old) && !signed_with(&token, NEW));
    app.site.clock.advance_seconds(600);
    let token = machine(&app, NEW).await.json["id_token"].clone();
    assert!(signed_with(&token, NEW) && !signed_with(&token, &old));
    app.change(json!({"second_client_secret_expires": at(&app, 0)})).await;
    let ada = [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY)];
    assert_eq!(app.ask("/application/o/token/", &ada).await.status, 503);
}
