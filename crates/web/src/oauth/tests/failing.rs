//! Failures that repeat themselves in the audit trail (OA-666).

use portcullis_core::clock::Clock;
use portcullis_idp::event::failing::tell_repeated;
use portcullis_idp::limits::Limits;

use super::clients::App;
use super::*;

/// A client on an instance that slows nobody down.
async fn patient() -> App {
    let limits = Limits { per_name_and_address: 1000, per_address: 1000, ..Limits::default() };
    App::at(Site::limited(limits).await, json!({})).await
}

async fn fails(app: &App, password: &str) {
    let all = [("grant_type", "client_credentials"), ("username", "ada"), ("password", password)];
    assert_eq!(app.ask("/application/o/token/", &all).await.status, 400);
}

/// OA-666: equal failures are told one by one ten times, and from then on together, with how many there were and when;
/// once five minutes are over it begins anew.
#[tokio::test]
async fn oa_666_equal_failures_are_told_together() {
    let app = patient().await;
    let site = &app.site;
    let start = site.clock.now();
    for _ in 0..10 {
        fails(&app, "guess").await;
    }
    assert_eq!(site.events("login_failed").await.0, 10);
    for _ in 0..37 {
        site.clock.advance_seconds(3);
        fails(&app, "another guess, which is no part of the event").await;
    }
    tell_repeated(&site.ctx, false).await.expect("tells");
    assert_eq!(site.events("login_failed").await.0, 10);
    // Another failure is told meanwhile.
    let secret = [("token", "x"), ("client_secret", "guess")];
    assert_eq!(app.ask("/application/o/introspect/", &secret).await.status, 401);
    assert_eq!(site.events("login_failed").await.0, 11);
    site.clock.advance_seconds(300 - 111);
    tell_repeated(&site.ctx, false).await.expect("tells");
    let (count, event) = site.events("login_failed").await;
    assert_eq!((count, &event["count"], &event["reason"]), (12, &json!(37), &json!("wrong_app_password")));
    assert_eq!(event["first"], json!(start.plus_seconds(3).to_string()));
    assert_eq!(event["last"], json!(start.plus_seconds(111).to_string()));
    assert!(!event.to_string().contains("guess"));
    fails(&app, "guess").await;
    assert_eq!(site.events("login_failed").await.0, 13);
    tell_repeated(&site.ctx, true).await.expect("tells");
    assert_eq!(site.events("login_failed").await.0, 13, "nothing is told twice");
}

/// OA-666, OA-680: what is told together is counted one by one where guesses are, and the end of the process tells it.
#[tokio::test]
async fn oa_666_what_is_not_told_counts_all_the_same() {
    let limits = Limits { per_name_and_address: 13, ..Limits::default() };
    let app = App::at(Site::limited(limits).await, json!({})).await;
    for _ in 0..13 {
        fails(&app, "guess").await;
    }
    let all = [("grant_type", "client_credentials"), ("username", "ada"), ("password", KEY)];
    assert_eq!(app.ask("/application/o/token/", &all).await.status, 429);
    tell_repeated(&app.site.ctx, true).await.expect("tells");
    let (count, event) = app.site.events("login_failed").await;
    assert_eq!((count, &event["count"]), (11, &json!(3)));
}
