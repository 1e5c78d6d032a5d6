//! Lists: conditions, order, searches.

use super::*;

on_both! {
    /// CO-540: users are found by digests of their attributes, each of several conditions by one of several; never by those that
    /// they had.
    async fn co_540_users_are_found_by_digests(place: Place) {
        let mut tx = place.db.write().await.expect("writes");
        let ada = account::insert(&mut tx, &person("ada")).await.expect("inserts");
        let eve = account::insert(&mut tx, &person("eve")).await.expect("inserts");
        let digest = |number: u16| number.to_be_bytes().to_vec();
        let many: Vec<_> = (0..250).map(digest).collect();
        account::set_attributes(&mut tx, ada, &[1], &many).await.expect("stores");
        account::set_attributes(&mut tx, eve, &[2], &[digest(7)]).await.expect("stores");
        let found = async |tx: &mut Conn, attributes: &[&[u16]]| {
            let attributes = attributes.iter().map(|some| some.iter().copied().map(digest).collect()).collect();
            let filter = account::Filter { attributes, ..account::Filter::default() };
            let listed = account::list(tx, &filter, Slice::ALL).await.expect("reads");
            listed.rows.into_iter().map(|account| account.pk).collect::<Vec<_>>()
        };
        assert_eq!(found(&mut tx, &[&[7]]).await, [ada, eve]);
        assert_eq!(found(&mut tx, &[&[7], &[249, 999]]).await, [ada]);
        assert!(found(&mut tx, &[&[]]).await.is_empty() && found(&mut tx, &[&[999]]).await.is_empty());
        assert!(account::any_attribute(&mut tx, &[digest(999), digest(249)]).await.expect("reads"));
        account::set_attributes(&mut tx, ada, &[1], &[digest(8)]).await.expect("stores");
        assert_eq!(found(&mut tx, &[&[7]]).await, [eve]);
        account::delete(&mut tx, eve).await.expect("deletes");
        assert!(!account::any_attribute(&mut tx, &[digest(7)]).await.expect("reads"));
    }

    /// CO-525: lists are in the order of code points; nothing comes first, and last when the order is turned round.
    async fn co_525_lists_have_one_order(place: Place) {
        for (username, last_login) in [("zoe", Some(2)), ("Zoe B", None), ("_x", Some(1)), ("émile", None), ("Adam", Some(3)), ("a-b", None)] {
            add(&place.db, &Account { last_login: last_login.map(Timestamp), ..person(username) }).await;
        }
        let listed = async |order, descending| {
            let filter = account::Filter { order: vec![(order, descending)], ..account::Filter::default() };
            let mut conn = place.db.read().await.expect("reads");
            let listed = account::list(&mut conn, &filter, Slice::ALL).await.expect("reads");
            assert_eq!(listed.count, 6);
            listed.rows.into_iter().map(|account| account.username).collect::<Vec<_>>()
        };
        let by_name = listed(account::Order::Username, false).await;
        assert_eq!(by_name, ["Adam", "Zoe B", "_x", "a-b", "zoe", "émile"]);
        let latest = listed(account::Order::LastLogin, true).await;
        assert_eq!(latest[..3], ["Adam", "zoe", "_x"]);
        let oldest = listed(account::Order::LastLogin, false).await;
        assert_eq!(oldest[3..], ["_x", "zoe", "Adam"]);
        let mightiest = listed(account::Order::IsSuperuser, true).await;
        assert_eq!(mightiest, ["zoe", "Zoe B", "_x", "émile", "Adam", "a-b"], "all alike: by key");
    }

    /// CO-525: a search finds parts of texts whatever the case of ASCII letters, and takes every sign for itself.
    async fn co_525_searches_find_the_same(place: Place) {
        for username in ["Straße_1", "STRASSE 100%", "Übung\\", "o'neil"] {
            add(&place.db, &person(username)).await;
        }
        let found = async |search: &str| {
            let mut conn = place.db.read().await.expect("reads");
            let filter = account::Filter { search: search.to_owned(), ..account::Filter::default() };
            account::list(&mut conn, &filter, Slice::ALL).await.expect("reads").count
        };
        for (search, count) in [("stra", 2), ("STRA 100%", 1), ("_1", 1), ("%", 1), ("\\", 1), ("'", 1), ("übung", 0), ("Übung", 1), ("ÜBUNG", 1)] {
            assert_eq!(found(search).await, count, "{search}");
        }
    }

    /// CO-569: filters that ignore case ignore that of ASCII letters, on both sides.
    async fn co_569_filters_ignore_the_same_case(place: Place) {
        let mut tx = place.db.write().await.expect("a transaction");
        let new = Outpost { pk: portcullis_core::id::OutpostId(uuid()), name: "ÄB Gate".to_owned(), kind: "proxy".to_owned(), config: json!({}), managed: None };
        outpost::insert(&mut tx, &new).await.expect("is new");
        tx.commit().await.expect("commits");
        for (name, count) in [("ÄB Gate", 1), ("Äb gATE", 1), ("äb gate", 0)] {
            let filter = outpost::Filter { name: Some(name.to_owned()), ..outpost::Filter::default() };
            let listed = outpost::list(&mut place.db.read().await.expect("reads"), &filter, Slice::ALL).await;
            assert_eq!(listed.expect("reads").count, count, "{name}");
        }
    }
}
