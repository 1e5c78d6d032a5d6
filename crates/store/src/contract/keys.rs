//! Keys that sign no more.

use portcullis_core::id::CertificateId;

use super::*;
use crate::certificate::{self, Certificate};
use crate::retired_key::{self, Replaced};

async fn pair(tx: &mut Conn, name: &str) -> CertificateId {
    let pair = Certificate {
        pk: CertificateId(uuid()),
        name: name.to_owned(),
        chain: String::new(),
        private_key_sealed: None,
        fingerprint_sha256: name.to_owned(),
        fingerprint_sha1: name.to_owned(),
        subject: String::new(),
        expires: NOW,
        key_type: None,
        managed: None,
        kid: None,
    };
    certificate::insert(tx, &pair).await.expect("is new");
    pair.pk
}

fn key(kid: &str) -> Replaced {
    Replaced { kid: kid.to_owned(), jwk: "{}".to_owned() }
}

async fn kids(tx: &mut Conn, provider: ProviderPk, at: Timestamp) -> Vec<String> {
    let kept = retired_key::replaced(tx, provider, at).await.expect("reads");
    kept.into_iter().map(|key| key.kid).collect()
}

on_both! {
    /// OA-124: a key that is retired or replaced once more is believed until the later of both times.
    async fn oa_124_keys_are_believed_until_the_later_time(place: Place) {
        let mut tx = place.db.write().await.expect("writes");
        let (provider, pair) = (provider(&mut tx).await, pair(&mut tx, "a").await);
        let (soon, late) = (NOW.plus_seconds(10), NOW.plus_seconds(20));
        for until in [soon, late, soon] {
            retired_key::insert(&mut tx, provider, pair, until).await.expect("stores");
            retired_key::keep_replaced(&mut tx, provider, pair, &key("k"), NOW, until).await.expect("stores");
        }
        assert_eq!(retired_key::of_provider(&mut tx, provider, soon).await.expect("reads").len(), 1);
        assert_eq!(kids(&mut tx, provider, soon).await, ["k"]);
        assert!(retired_key::of_provider(&mut tx, provider, late).await.expect("reads").is_empty());
        assert!(kids(&mut tx, provider, late).await.is_empty());
        let later = NOW.plus_seconds(30);
        retired_key::insert(&mut tx, provider, pair, later).await.expect("stores");
        retired_key::keep_retired(&mut tx, pair, &key("k"), NOW).await.expect("stores");
        assert_eq!(kids(&mut tx, provider, late).await, ["k"]);
        assert!(retired_key::of_provider(&mut tx, provider, NOW).await.expect("reads").is_empty());
    }

    /// OA-124: of the keys that were replaced, 16 are believed by each provider: the newest, however long others were to be believed.
    async fn oa_124_the_newest_replaced_keys_are_kept(place: Place) {
        let mut tx = place.db.write().await.expect("writes");
        let (provider, first) = (provider(&mut tx).await, pair(&mut tx, "a").await);
        let second = pair(&mut tx, "b").await;
        for number in 0..20 {
            let pair = if number % 2 == 0 { first } else { second };
            let (now, until) = (NOW.plus_seconds(number), NOW.plus_seconds(1000 - number));
            retired_key::keep_replaced(&mut tx, provider, pair, &key(&format!("{number:02}")), now, until)
                .await
                .expect("stores");
            retired_key::limit_replaced(&mut tx, pair).await.expect("deletes");
        }
        let newest: Vec<_> = (4..20).map(|number| format!("{number:02}")).collect();
        assert_eq!(kids(&mut tx, provider, NOW).await, newest);
    }
}
