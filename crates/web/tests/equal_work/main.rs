//! The work that a refusal costs, counted in statements. A process of its own: it counts what all threads do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on may panic")]

#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../api/site.rs"]
mod site;

use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_core::id::ProviderPk;
use portcullis_idp::outpost::verify_password;
use serde_json::json;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use site::Site;

static STATEMENTS: AtomicUsize = AtomicUsize::new(0);

/// Counts the statements that the database's driver tells of.
struct Counts;

impl Subscriber for Counts {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        STATEMENTS.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// OA-298, OA-810: an unknown user, an inactive one and a wrong key cost the same statements, so that nobody learns from the
/// time it takes who is there.
#[tokio::test]
async fn oa_298_every_refusal_costs_the_same() {
    tracing::subscriber::set_global_default(Counts).unwrap();
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].clone();
    site.application("wiki", &provider).await;
    let pk = ProviderPk(i32::try_from(provider.as_i64().unwrap()).unwrap());
    for name in ["ada", "bob"] {
        let (user, _) = site.user(name).await;
        let body = json!({"identifier": format!("{name}-key"), "intent": "app_password", "user": user});
        site.post("/core/tokens/", body).await;
        if name == "bob" {
            site.patch(&format!("/core/users/{user}/"), json!({"is_active": false})).await;
        }
    }
    let key = async |name: &str| {
        let view = site.get(&format!("/core/tokens/{name}-key/view_key/")).await;
        view["key"].as_str().unwrap().to_owned()
    };
    let (ada, bob) = (key("ada").await, key("bob").await);
    let cost = async |username: &str, password: &str, last: u8| {
        let before = STATEMENTS.load(Ordering::SeqCst);
        let found = verify_password(&site.ctx, pk, username, password, [203, 0, 113, last].into()).await;
        (found.is_ok(), STATEMENTS.load(Ordering::SeqCst) - before)
    };
    // What is kept in memory is read first.
    assert!(cost("ada", &ada, 1).await.0);
    let (found, unknown) = cost("nobody", &ada, 2).await;
    assert!(!found && unknown > 3, "statements are counted: {unknown}");
    for (username, password, last) in
        [("ada", "wrong", 3), ("ada", bob.as_str(), 4), ("bob", bob.as_str(), 5), ("bob", "wrong", 6), ("ADA", &ada, 7)]
    {
        assert_eq!(cost(username, password, last).await, (false, unknown), "{username}");
    }
}
