//! What is noted of strangers, and of users who are gone.

use super::*;

on_both! {
    /// CO-440, CO-523: what a stranger has sent can be noted, whatever is in it; a name with what no name holds is nobody's.
    async fn co_440_what_strangers_send_can_be_noted(place: Place) {
        let strange = "a\0b";
        let mut tx = place.db.write().await.expect("a transaction");
        assert_eq!(account::for_sign_in(&mut tx, strange).await.expect("asks"), None);
        let nobody = token::of_username(&mut tx, strange, &[0; 32], failure::Tried::NOTHING).await.expect("asks");
        assert_eq!((nobody.account, nobody.token), (None, None));
        let note = event::Event {
            pk: uuid(),
            action: "login_failed".to_owned(),
            app: String::new(),
            account: json!({"username": strange}),
            context: json!({"username": strange, "model": {"pk": strange}}),
            brand: json!({"name": strange}),
            client_ip: None,
            created: NOW,
            expires: NOW,
        };
        event::insert(&mut tx, &note).await.expect("is noted");
        assert_eq!(event::by_pk(&mut tx, note.pk).await.expect("reads"), Some(note));
        let score = reputation::Reputation {
            pk: ReputationId(uuid()),
            identifier: strange.to_owned(),
            ip: String::new(),
            score: -1,
            ip_geo_data: json!({}),
            ip_asn_data: json!({}),
            updated: NOW,
            expires: NOW.plus_seconds(1),
        };
        let change = reputation::Change { by: -1, lowest: -5, highest: 5 };
        reputation::add(&mut tx, &score, change).await.expect("is noted");
        reputation::add(&mut tx, &score, change).await.expect("is noted");
        assert_eq!(reputation::sum(&mut tx, None, Some(strange), NOW).await.expect("reads"), -2);
    }

    /// CO-818: the events about a user are those that they did, in whose name they were done, that name them, or in which
    /// somebody tried to be them, however they wrote it; in the end under no name of theirs.
    async fn co_818_events_about_a_user_are_found(place: Place) {
        let mut tx = place.db.write().await.expect("a transaction");
        let user = |pk: &str| json!({"app": "authentik_core", "model_name": "user", "pk": pk});
        let mut add = async |action: &str, account, context| {
            let note = event::Event {
                pk: uuid(),
                action: action.to_owned(),
                app: String::new(),
                account,
                context,
                brand: json!({}),
                client_ip: None,
                created: NOW,
                expires: NOW,
            };
            event::insert(&mut tx, &note).await.expect("is noted");
            note
        };
        let about = [
            add("a", json!({"pk": 7}), json!({})).await,
            add("a", json!({"pk": 1, "on_behalf_of": {"pk": 7}}), json!({})).await,
            add("a", json!({}), json!({"model": user("7")})).await,
            add("a", json!({}), json!({"model": user("9"), "list": [user("7"), user("8")]})).await,
            add("login_failed", json!({}), json!({"username": "ada"})).await,
            add("login_failed", json!({}), json!({"username": " ADA"})).await,
            add("login_failed", json!({}), json!({"username": "ada@EXAMPLE.org"})).await,
        ];
        add("a", json!({"pk": 77}), json!({"username": "ada"})).await;
        add("a", json!({}), json!({"model": {"model_name": "provider", "pk": "7"}, "user": user("77")})).await;
        add("login_failed", json!({}), json!({"username": "adam"})).await;
        let sorted = |events: &[event::Event]| {
            let mut keys: Vec<_> = events.iter().map(|event| event.pk).collect();
            keys.sort();
            keys
        };
        let found = async |tx: &mut Conn, span: std::ops::RangeInclusive<Timestamp>| {
            let mut found = event::about(tx, UserPk(7)).await.expect("reads");
            for name in ["ada", "ada@example.org"] {
                found.extend(event::attempts(tx, name, span.clone()).await.expect("reads"));
            }
            sorted(&found)
        };
        assert_eq!(found(&mut tx, NOW..=NOW).await, sorted(&about));
        for outside in [Timestamp(0)..=Timestamp(NOW.0 - 1), NOW.plus_seconds(1)..=Timestamp(i64::MAX)] {
            assert_eq!(found(&mut tx, outside).await, sorted(&about[..4]), "attempts are those of a span of time");
        }
        for failed in &about[4..] {
            let renamed = event::Event { context: json!({"username": "x"}), ..failed.clone() };
            event::pseudonymise(&mut tx, &renamed).await.expect("stores");
        }
        assert_eq!(found(&mut tx, NOW..=NOW).await, sorted(&about[..4]));
    }
}
