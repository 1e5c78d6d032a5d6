//! Keys that are replaced while somebody still uses the old one (OA-608), and what keys look like (OA-613).

use super::*;
use portcullis_core::clock::{Clock, Timestamp};
use portcullis_idp::{Actor, outpost, tokens};

const HOUR: i64 = 3600;

/// Replaces the key of Ada's app password; the new one.
async fn rotate(wiki: &Wiki, overlap: &str) -> String {
    let reply = wiki.site.admin(Method::POST, "/core/tokens/ada-key/rotate/", json!({"overlap": overlap})).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    text(&reply, "key").to_owned()
}

async fn asks(wiki: &Wiki, key: &str) -> Reply {
    let all = [("grant_type", "client_credentials"), ("username", "ada"), ("password", key), ("scope", "openid")];
    wiki.token(&all).await
}

/// When an identity ends that the proxy builds with this key, if it builds one.
async fn until(wiki: &Wiki, key: &str) -> Option<Timestamp> {
    let grant = outpost::verify_password(&wiki.site.ctx, wiki.pk(), "ada", key, [192, 0, 2, 1].into()).await;
    grant.ok().map(|grant| grant.expires)
}

/// OA-608: an old key opens what it did for as long as was chosen and not an instant longer, what it buys ends with it,
/// and what it bought before goes on until then.
#[tokio::test]
async fn oa_608_an_old_key_holds_for_as_long_as_was_chosen() {
    let wiki = Wiki::new().await;
    let path = format!("/providers/proxy/{}/", wiki.provider);
    wiki.site.admin(Method::PATCH, &path, json!({"access_token_validity": "days=3"})).await;
    let before = asks(&wiki, KEY).await;
    let ends = wiki.site.clock.now().plus_seconds(12 * HOUR);
    let new = rotate(&wiki, "hours=12").await;
    let told = wiki.introspect(text(&before, "access_token")).await;
    assert_eq!(told.json["exp"], json!(ends.seconds()), "what it was issued for is no longer so");
    wiki.site.clock.advance_seconds(11 * HOUR);
    let (old_buys, new_buys) = (asks(&wiki, KEY).await, asks(&wiki, &new).await);
    assert_eq!((old_buys.status.as_u16(), new_buys.status.as_u16()), (200, 200));
    assert_eq!(old_buys.json["expires_in"], json!(HOUR));
    assert_eq!(new_buys.json["expires_in"], json!(3 * 24 * HOUR));
    assert_eq!(until(&wiki, KEY).await, Some(ends));
    assert!(until(&wiki, &new).await.is_some_and(|until| until > ends));
    for reply in [&before, &old_buys, &new_buys] {
        assert!(wiki.is_active(text(reply, "access_token")).await);
    }
    wiki.site.clock.advance_seconds(HOUR - 1);
    assert_eq!(asks(&wiki, KEY).await.status, 200);
    wiki.site.clock.advance_seconds(1);
    assert_eq!(asks(&wiki, KEY).await.json["error"], "invalid_grant");
    assert_eq!(until(&wiki, KEY).await, None);
    for (reply, holds) in [(&before, false), (&old_buys, false), (&new_buys, true)] {
        assert_eq!(wiki.is_active(text(reply, "access_token")).await, holds);
    }
    tokens::sweep(&wiki.site.ctx).await.expect("sweeps");
    let shown = wiki.site.admin(Method::GET, "/core/tokens/ada-key/", None).await.json;
    assert!(shown.get("old_key_ends").is_none() && shown.get("old_key_last_used").is_none());
    assert_eq!(
        (asks(&wiki, KEY).await.status, asks(&wiki, &new).await.status.as_u16()),
        (400.try_into().unwrap(), 200)
    );
}

/// OA-608: an old key ends early with its app password, by itself when somebody says so, and when the key is replaced
/// once more; what it opened ends then, and what the new key opened does not.
#[tokio::test]
async fn oa_608_an_old_key_can_be_ended() {
    for (method, path, last) in [
        (Method::DELETE, "/core/tokens/ada-key/old_key/", true),
        (Method::POST, "/core/tokens/ada-key/rotate/", false),
        (Method::DELETE, "/core/tokens/ada-key/", false),
    ] {
        let wiki = Wiki::new().await;
        let new = rotate(&wiki, "hours=24").await;
        let (by_old, by_new) = (asks(&wiki, KEY).await, asks(&wiki, &new).await);
        let grant = outpost::verify_password(&wiki.site.ctx, wiki.pk(), "ada", KEY, [192, 0, 2, 1].into()).await;
        let grant = grant.expect("holds");
        let mark = grant.bearings.mark(&wiki.site.ctx.epochs, grant.built_at, wiki.pk(), &[0; 32]);
        assert!(wiki.site.ctx.epochs.stands(&mark));
        assert!(outpost::still_stands(&wiki.site.ctx, wiki.pk(), &grant.bearings).await.expect("answers"));
        let done = wiki.site.admin(method.clone(), path, None).await;
        assert!(done.status.is_success(), "{path}: {}", done.text);
        assert!(!wiki.site.ctx.epochs.stands(&mark), "{path}");
        assert!(!outpost::still_stands(&wiki.site.ctx, wiki.pk(), &grant.bearings).await.expect("answers"), "{path}");
        assert_eq!(asks(&wiki, KEY).await.status, 400, "{path}");
        assert!(!wiki.is_active(text(&by_old, "access_token")).await, "{path}");
        assert_eq!(asks(&wiki, &new).await.status.is_success(), last, "{path}");
        assert_eq!(wiki.is_active(text(&by_new, "access_token")).await, last, "{path}");
        if last {
            let (count, event) = wiki.site.events("model_updated").await;
            assert!(count > 0 && event["message"] == "The key before the present one was ended.", "{event}");
        }
    }
}

/// OA-608: that the old key is still in use is told: when it was, in the token, and in the event of each login.
#[tokio::test]
async fn oa_608_uses_of_the_old_key_are_marked() {
    let wiki = Wiki::new().await;
    let new = rotate(&wiki, "hours=24").await;
    let shown = async || wiki.site.admin(Method::GET, "/core/tokens/ada-key/", None).await.json;
    assert_eq!(asks(&wiki, &new).await.status, 200);
    assert!(wiki.site.events("login").await.1["auth_method_args"].get("rotated").is_none());
    let before = shown().await;
    assert!(before["old_key_ends"].is_string() && before.get("old_key_last_used").is_none());
    // In the same minute, so that a use of the token is noted already.
    wiki.site.clock.advance_seconds(7);
    assert_eq!(asks(&wiki, KEY).await.status, 200);
    let used = wiki.site.clock.now();
    let method = wiki.site.events("login").await.1["auth_method_args"].clone();
    assert_eq!(method, json!({"identifier": "ada-key", "rotated": true}));
    assert_eq!(shown().await["old_key_last_used"], json!(used.to_string()));
    wiki.site.clock.advance_seconds(120);
    assert_eq!(asks(&wiki, &new).await.status, 200);
    let after = shown().await;
    assert_eq!(after["old_key_last_used"], json!(used.to_string()));
    assert_eq!(after["last_used_at"], json!(wiki.site.clock.now().to_string()));
}

/// OA-613: where keys are labelled, they begin with what they are and end with a checksum; keys without hold as well,
/// and labels of another kind do, too.
#[tokio::test]
async fn oa_613_labels_are_not_asked_for() {
    let wiki = Wiki::new().await;
    let (db, clock) = (wiki.site.ctx.db.clone(), std::sync::Arc::clone(&wiki.site.clock));
    let mut ctx = crate::testing::context(db, clock).await.expect("the right key");
    ctx.options.labelled_keys = true;
    let rotate = async |identifier: &str| {
        tokens::keys::rotate(&ctx, &Actor::system(), identifier, 60).await.expect("rotates").key
    };
    let key = rotate("ada-key").await;
    assert!(key.starts_with("pcap_") && key.len() == 5 + 60 + 6, "{key}");
    assert_eq!(portcullis_core::label::labelled("pcap_", &key[5..65]), key);
    assert_eq!(
        (asks(&wiki, &key).await.status, asks(&wiki, KEY).await.status.as_u16()),
        (200.try_into().unwrap(), 200)
    );
    wiki.site.api_key(wiki.ada, "ada-api").await;
    let key = rotate("ada-api").await;
    assert!(key.starts_with("pcat_"));
    assert_eq!(wiki.site.bearer(&key, Method::GET, "/core/users/me/", None).await.status, 200);
    for chosen in ["pcat_but-an-app-password-with-a-wrong-sum", "pcap_"] {
        let path = "/core/tokens/ada-key/set_key/";
        let chosen = format!("{chosen}000");
        assert_eq!(wiki.site.admin(Method::POST, path, json!({"key": chosen})).await.status, 204);
        assert_eq!(asks(&wiki, &chosen).await.status, 200);
    }
}

/// OA-901, OA-606: where keys are shown once, nobody sees one again, and who lost it rotates the token.
#[tokio::test]
async fn oa_901_keys_can_be_shown_once_alone() {
    let site = Site::with_hidden_keys().await;
    let ada = site.user("ada").await;
    app_password(&site, ada, "ada-key", KEY).await;
    let hidden = site.admin(Method::GET, "/core/tokens/ada-key/view_key/", None).await;
    assert_eq!(hidden.status, 410);
    assert!(hidden.json["detail"].is_string() && !hidden.text.contains(KEY));
    assert_eq!(site.events("secret_view").await.0, 0);
    assert_eq!(site.admin(Method::GET, "/core/tokens/nobodys/view_key/", None).await.status, 404);
    let rotated = site.admin(Method::POST, "/core/tokens/ada-key/rotate/", json!({})).await;
    assert_eq!(text(&rotated, "key").len(), 60);
}
