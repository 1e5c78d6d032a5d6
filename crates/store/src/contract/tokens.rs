//! App passwords, as they are looked for when somebody shows one.

use portcullis_core::id::TokenId;

use super::*;
use crate::failure::{Failures, Tried};
use crate::token::{OldKey, Token};

const KEY: [u8; 32] = [7; 32];

fn app_password(account: UserPk, identifier: &str, expires: Option<Timestamp>) -> Token {
    Token {
        uuid: TokenId(uuid()),
        identifier: identifier.to_owned(),
        intent: "app_password".to_owned(),
        account,
        description: String::new(),
        key_digest: KEY.to_vec(),
        key_sealed: Vec::new(),
        expiring: expires.is_some(),
        expires,
        managed: None,
        allowed_applications: Vec::new(),
        allowed_networks: Vec::new(),
        allowed_scopes: Vec::new(),
        created: NOW,
        last_used: None,
        last_used_from: None,
        old_key: None,
        reminded: 0,
        needs_rotation: false,
    }
}

on_both! {
    /// OA-298, OA-608: of a user's app passwords with a key the one that it is now and that lasts longest is found; those of others, and
    /// tokens of another kind, are not.
    async fn oa_298_the_best_app_password_is_found(place: Place) {
        let (ada, bob) = (add(&place.db, &person("ada")).await, add(&place.db, &person("Bob")).await);
        let mut tx = place.db.write().await.expect("a transaction");
        let old_key = Some(OldKey { digest: KEY.to_vec(), ends: NOW.plus_seconds(90), last_used: None });
        let others = [
            Token { intent: "api".to_owned(), ..app_password(ada, "api", None) },
            app_password(bob, "of-bob", None),
            Token { key_digest: vec![1; 32], ..app_password(ada, "other", None) },
        ];
        for token in &others {
            token::insert(&mut tx, token).await.expect("is new");
        }
        let better = [
            Token { key_digest: vec![1; 32], old_key, ..app_password(ada, "by-old-key", None) },
            app_password(ada, "ended", Some(NOW)),
            app_password(ada, "ends", Some(NOW.plus_seconds(60))),
            app_password(ada, "lasts", None),
        ];
        let found = token::of_username(&mut tx, "ada", &KEY, Tried::NOTHING).await.expect("asks");
        assert_eq!((found.account.map(|account| account.pk), found.token), (Some(ada), None));
        for token in better {
            token::insert(&mut tx, &token).await.expect("is new");
            let found = token::of_username(&mut tx, "ada", &KEY, Tried::NOTHING).await.expect("asks");
            assert_eq!(found.token.map(|token| token.identifier), Some(token.identifier));
        }
        let found = token::of_username(&mut tx, "BOB", &KEY, Tried::NOTHING).await.expect("asks");
        assert_eq!(found.token.map(|token| token.identifier).as_deref(), Some("of-bob"));
        let nobody = token::of_username(&mut tx, "eve", &KEY, Tried::NOTHING).await.expect("asks");
        assert_eq!((nobody.account, nobody.token), (None, None));
    }

    /// OA-680: with it comes what was tried before, in the order that was asked for; windows that are over are nothing. Where that
    /// is enough, nothing else comes.
    async fn oa_680_failures_come_with_the_app_password(place: Place) {
        let ada = add(&place.db, &person("ada")).await;
        let mut tx = place.db.write().await.expect("a transaction");
        token::insert(&mut tx, &app_password(ada, "one", None)).await.expect("is new");
        let ends = NOW.plus_seconds(60);
        for (bucket, often, ends) in [([1; 32], 2, ends), ([2; 32], 1, NOW), ([4; 32], 1, ends)] {
            for _ in 0..often {
                failure::add(&mut tx, &bucket, NOW.plus_seconds(-1), ends).await.expect("counts");
            }
        }
        let asked = [Some(&[4; 32]), Some(&[2; 32]), None, Some(&[1; 32])];
        let some = |count| Some(Failures { count, last: NOW.plus_seconds(-1), window_ends: ends });
        let expected = [some(1), None, None, some(2)];
        for (enough, is_told) in [([2, 9, 9, 3], true), ([1, 9, 9, 3], false), ([2, 9, 9, 2], false)] {
            let tried = Tried { buckets: asked, enough, now: NOW };
            let found = token::of_username(&mut tx, "ada", &KEY, tried).await.expect("asks");
            assert_eq!((found.failures, found.account.is_some(), found.token.is_some()), (expected, is_told, is_told));
        }
        assert_eq!(failure::get_each(&mut tx, asked, NOW).await.expect("asks"), expected);
    }
}
