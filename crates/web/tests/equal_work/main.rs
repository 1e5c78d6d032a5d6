//! The work that decisions cost, counted in statements. A process of its own, one test at a time: it counts what all threads do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on may panic")]

#[allow(dead_code, reason = "other tests need more of it")]
#[path = "../api/site.rs"]
mod site;

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use portcullis_core::id::ProviderPk;
use portcullis_idp::outpost::verify_password;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use site::{ADMIN, Site};

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

/// Has statements counted for one test, while others wait.
async fn counting() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    // The second time it is there already.
    let _ = tracing::subscriber::set_global_default(Counts);
    turn
}

/// OA-298, OA-810: an unknown user, an inactive one and a wrong key cost the same statements, so that nobody learns from the
/// time it takes who is there.
#[tokio::test]
async fn oa_298_every_refusal_costs_the_same() {
    let _turn = counting().await;
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

/// CO-175, CO-174: deciding, and telling why, costs the same statements with one binding of groups and users as with a thousand;
/// what policies say comes in the order of their bindings, between the others.
#[tokio::test]
async fn co_175_bindings_do_not_add_statements() {
    let _turn = counting().await;
    let site = Site::new().await;
    let (ada, key) = site.user("ada").await;
    let group = site.post("/core/groups/", json!({"name": "staff", "users": [ada]})).await["pk"].clone();
    let other = site.post("/core/groups/", json!({"name": "others"})).await["pk"].clone();
    let provider = site.provider("wiki").await["pk"].clone();
    let target = site.application("wiki", &provider).await["pk"].clone();
    let bind = async |order: usize, member: &Value| {
        let mut binding = json!({"target": target, "order": order});
        binding.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        site.post("/policies/bindings/", binding).await;
    };
    let explained = format!("/core/applications/wiki/check_access/?for_user={ada}");
    let cost = async || {
        let mut costs = Vec::new();
        for (key, path) in [
            (ADMIN, explained.as_str()),
            (key.as_str(), "/core/applications/wiki/check_access/"),
            (key.as_str(), "/core/applications/"),
        ] {
            let before = STATEMENTS.load(Ordering::SeqCst);
            let (status, answer) = site.send(key, Method::GET, path, None).await;
            costs.push(STATEMENTS.load(Ordering::SeqCst) - before);
            assert_eq!(status, 200, "{answer}");
        }
        costs
    };
    bind(0, &json!({"group": group})).await;
    bind(1, &json!({"user": ada})).await;
    // What is kept in memory is read first.
    cost().await;
    let few = cost().await;
    assert!(few.iter().all(|cost| *cost > 1), "statements are counted: {few:?}");
    let members = [json!({"group": other}), json!({"user": ada}), json!({"group": group})];
    for (order, member) in (2..1000).zip(members.iter().cycle()) {
        bind(order, member).await;
    }
    cost().await;
    assert_eq!(cost().await, few);
    for order in [500, 700] {
        let policy = json!({"name": format!("at {order}"), "result": false, "wait_min": 0, "wait_max": 0});
        let policy = site.post("/policies/dummy/", policy).await["pk"].clone();
        bind(order, &json!({"policy": policy})).await;
    }
    let told = site.get(&explained).await;
    assert_eq!((&told["passing"], &told["messages"]), (&json!(true), &json!(["dummy", "dummy"])));
    let lines = told["log_messages"].as_array().unwrap();
    let orders: Vec<_> = lines.iter().filter_map(|line| line["attributes"]["order"].as_i64()).collect();
    assert_eq!((orders.len(), orders.is_sorted()), (1002, true));
    let policies: Vec<_> = lines.iter().filter_map(|line| line["attributes"]["policy"].as_str()).collect();
    assert_eq!(policies, ["at 500", "at 700"]);
}
