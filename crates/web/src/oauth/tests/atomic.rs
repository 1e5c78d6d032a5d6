//! What is issued is stored, or nothing has happened (OA-646).

use std::sync::Arc;

use portcullis_core::entropy::Entropy;
use portcullis_idp::oauth::OAuthError;
use portcullis_idp::oauth::params::Params;
use portcullis_idp::oauth::token::exchange;
use portcullis_idp::{Context, Visitor};

use super::login::{callback, code, redeem, signed_in};
use super::*;

/// Draws the same each time, so that the second token cannot be stored beside the first.
struct Same;

impl Entropy for Same {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

async fn unlucky(site: &Site) -> Context {
    let mut ctx = crate::testing::context(site.ctx.db.clone(), Arc::clone(&site.clock)).await.expect("the right key");
    ctx.entropy = Arc::new(Same);
    ctx
}

async fn ask(ctx: &Context, parameters: &[(&str, &str)]) -> Result<(), OAuthError> {
    let params = Params::parse(encoded(parameters).as_bytes()).expect("reads");
    exchange(ctx, &Visitor::at([192, 0, 2, 1].into()), None, &params, None).await.map(drop)
}

/// OA-646: when something goes wrong at the very end, nothing has happened: the code is as good as before, nobody has a
/// token, and nothing is in the audit trail.
#[tokio::test]
async fn oa_646_what_fails_at_the_end_has_not_happened() {
    let (wiki, mut browser) = signed_in().await;
    let ctx = unlucky(&wiki.site).await;
    let machine = [
        ("client_id", wiki.client_id.as_str()),
        ("grant_type", "client_credentials"),
        ("username", "ada"),
        ("password", KEY),
    ];
    ask(&ctx, &machine).await.expect("the first one is stored");
    let spare = code(&wiki, &mut browser).await;
    let redirect_uri = callback();
    let by_code = [
        ("client_id", wiki.client_id.as_str()),
        ("client_secret", wiki.client_secret.as_str()),
        ("grant_type", "authorization_code"),
        ("code", spare.as_str()),
        ("redirect_uri", redirect_uri.as_str()),
        ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    ];
    let known = async || {
        let tokens = wiki.site.admin(Method::GET, "/oauth2/access_tokens/", None).await.json;
        (tokens["pagination"]["count"].clone(), wiki.site.admin(Method::GET, "/events/events/", None).await.json)
    };
    let before = known().await;
    assert_eq!(before.0, 1);
    for request in [&machine[..], &by_code[..]] {
        assert!(matches!(ask(&ctx, request).await, Err(OAuthError::Unavailable(_))));
        assert_eq!(known().await, before);
    }
    let tokens = redeem(&wiki, &spare, &[]).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    assert!(wiki.is_active(text(&tokens, "access_token")).await);
    assert_eq!(redeem(&wiki, &spare, &[]).await.json["error"], "invalid_grant");
    assert!(!wiki.is_active(text(&tokens, "access_token")).await, "the code was spent once and for all");
}
