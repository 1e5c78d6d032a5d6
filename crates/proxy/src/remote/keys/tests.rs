use std::cell::Cell;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::json;

use super::*;
use crate::remote::reading::{self, Views};

const NOW: i64 = 1_790_000_000;

/// A provider as it is recorded, whose tokens are signed with a key or with the secret.
pub(in crate::remote) fn served(symmetric: bool) -> Served {
    let list: Value = serde_json::from_str(include_str!("../recorded/proxies.json")).unwrap();
    let mut served = reading::provider(&list["results"][0], &Views::default()).unwrap();
    served.symmetric = symmetric;
    served
}

/// Claims that hold at [`NOW`] for that provider.
pub(in crate::remote) fn claims() -> Value {
    json!({
        "iss": "https://id.example/application/o/wiki/", "aud": "Yk3vX0cQm1", "sub": "s",
        "exp": NOW + 60, "iat": NOW - 1, "nbf": NOW - 1,
    })
}

struct Key {
    algorithm: Algorithm,
    signs: EncodingKey,
    published: Value,
}

impl Key {
    fn new(algorithm: Algorithm, kid: &str) -> Self {
        let pair = match algorithm {
            Algorithm::ES256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Algorithm::ES384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Algorithm::EdDSA => KeyPair::generate_for(&PKCS_ED25519),
            _ => KeyPair::generate_for(&PKCS_RSA_SHA256),
        }
        .unwrap();
        let pem = pair.serialize_pem();
        let signs = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        let signs = signs.unwrap();
        let mut published = match algorithm {
            Algorithm::EdDSA => {
                let x = URL_SAFE_NO_PAD.encode(rcgen::PublicKeyData::der_bytes(&pair));
                json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x})
            }
            _ => json!(Jwk::from_encoding_key(&signs, algorithm).unwrap()),
        };
        published["kid"] = json!(kid);
        Self { algorithm, signs, published }
    }

    fn sign(&self, claims: &Value) -> String {
        let kid = self.published["kid"].as_str().map(str::to_owned);
        jsonwebtoken::encode(&Header { kid, ..Header::new(self.algorithm) }, claims, &self.signs).unwrap()
    }
}

async fn verify(served: &Served, token: &str, published: &[&Value]) -> Result<ClaimSet, Bad> {
    Keys::default().verify(served, token, NOW, || async { Ok(json!({"keys": published})) }).await
}

/// PX-149, PX-548: tokens signed with RSA, elliptic curves and Edwards curves hold; with another key they do not.
#[tokio::test]
async fn px_149_tokens_of_every_kind_of_key_hold() {
    let served = served(false);
    for algorithm in [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ] {
        let (key, other) = (Key::new(algorithm, "k"), Key::new(algorithm, "k"));
        let token = key.sign(&claims());
        assert!(verify(&served, &token, &[&key.published]).await.is_ok(), "{algorithm:?}");
        assert!(verify(&served, &token, &[&other.published]).await.is_err(), "{algorithm:?}");
        assert!(verify(&served, &token, &[]).await.is_err(), "{algorithm:?}");
    }
}

/// PX-149: a provider that lists HS256 takes its secret alone, any other takes published keys alone; never `none`.
#[tokio::test]
async fn px_149_algorithms_are_not_mixed() {
    let key = Key::new(Algorithm::ES256, "k");
    let secret = EncodingKey::from_secret(b"client-secret-of-wiki");
    let by_secret = |alg| jsonwebtoken::encode(&Header::new(alg), &claims(), &secret).unwrap();
    assert!(verify(&served(true), &by_secret(Algorithm::HS256), &[]).await.is_ok());
    assert!(verify(&served(true), &by_secret(Algorithm::HS384), &[]).await.is_err());
    assert!(verify(&served(true), &key.sign(&claims()), &[&key.published]).await.is_err());
    assert!(verify(&served(false), &by_secret(Algorithm::HS256), &[&key.published]).await.is_err());

    let mut without_secret = served(true);
    without_secret.provider.client_secret = String::new();
    let by_nothing =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(b"")).unwrap();
    assert!(verify(&without_secret, &by_nothing, &[]).await.is_err());

    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "NONE", "", "ES512", "RS256"] {
        let token = format!("{}.{}.c2ln", part(json!({"alg": alg, "kid": "k"})), part(claims()));
        assert!(verify(&served(false), &token, &[&key.published]).await.is_err(), "{alg}");
        let unsigned = format!("{}.{}.", part(json!({"alg": alg})), part(claims()));
        assert!(verify(&served(false), &unsigned, &[&key.published]).await.is_err(), "{alg}");
    }
    let critical = format!("{}.{}.c2ln", part(json!({"alg": "ES256", "crit": ["x"]})), part(claims()));
    assert_eq!(
        verify(&served(false), &critical, &[&key.published]).await,
        Err(Bad::Token("its header wants what we do not know"))
    );
}

/// PX-149, PX-340, PX-412: issuer, audience and times have to be right; clocks may be five minutes apart.
#[tokio::test]
async fn px_149_issuer_audience_and_times() {
    let (served, key) = (served(false), Key::new(Algorithm::ES256, "k"));
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        key.sign(&claims)
    };
    for (name, value) in [
        ("aud", json!(["x", "Yk3vX0cQm1"])),
        ("exp", json!(NOW + 1)),
        ("exp", json!(f64::from(1_790_000_001) + 0.5)),
        ("nbf", json!(NOW + 300)),
        ("iat", json!(NOW + 300)),
    ] {
        assert!(verify(&served, &with(name, value.clone()), &[&key.published]).await.is_ok(), "{name} {value}");
    }
    for (name, value) in [
        ("iss", json!("https://id.example/application/o/wiki")),
        ("iss", json!(null)),
        ("aud", json!("other")),
        ("aud", json!(["x"])),
        ("aud", json!(null)),
        ("exp", json!(NOW)),
        ("exp", json!("1990000000")),
        ("exp", json!(null)),
        ("nbf", json!(NOW + 301)),
        ("iat", json!(NOW + 301)),
        ("iat", json!("now")),
    ] {
        assert!(verify(&served, &with(name, value.clone()), &[&key.published]).await.is_err(), "{name} {value}");
    }
}

/// PX-149: keys are kept for an hour; an unknown key id has them fetched again, but not more than once in 30 s.
#[tokio::test(start_paused = true)]
async fn px_149_keys_are_fetched_seldom() {
    let (served, keys) = (served(false), Keys::default());
    let (old, new) = (Key::new(Algorithm::ES256, "old"), Key::new(Algorithm::ES256, "new"));
    let fetches = Cell::new(0);
    let ask = async |key: &Key, published: &[&Key]| {
        let set: Vec<_> = published.iter().map(|key| &key.published).collect();
        let fetch = || {
            fetches.set(fetches.get() + 1);
            let set = json!({"keys": set});
            async move { Ok(set) }
        };
        keys.verify(&served, &key.sign(&claims()), NOW, fetch).await.is_ok()
    };
    assert!(ask(&old, &[&old]).await && ask(&old, &[&old]).await);
    assert_eq!(fetches.get(), 1);
    assert!(!ask(&new, &[&old, &new]).await, "not again at once");
    tokio::time::advance(PAUSE).await;
    assert!(ask(&new, &[&old, &new]).await);
    assert_eq!(fetches.get(), 2);
    tokio::time::advance(FRESH).await;
    assert!(!ask(&old, &[&new]).await, "a key that was withdrawn is believed for an hour at most");
    assert_eq!(fetches.get(), 3);
    let gone = keys.verify(&served, &new.sign(&claims()), NOW, || async { Err("away".to_owned()) }).await;
    assert!(gone.is_ok(), "what is fresh needs no answer");
    tokio::time::advance(FRESH).await;
    let gone = keys.verify(&served, &new.sign(&claims()), NOW, || async { Err("away".to_owned()) }).await;
    assert_eq!(gone, Err(Bad::Keys("away".to_owned())));
}

/// PX-149, PX-111: when keys cannot be had, those who wait share the failure instead of waiting one after the other; soon
/// they are asked for again.
#[tokio::test(start_paused = true)]
async fn px_149_whoever_waits_shares_the_failure() {
    let (served, keys, key) = (served(false), Keys::default(), Key::new(Algorithm::ES256, "k"));
    let (token, fetches) = (key.sign(&claims()), Cell::new(0));
    let ask = || {
        keys.verify(&served, &token, NOW, || async {
            fetches.set(fetches.get() + 1);
            tokio::time::sleep(Duration::from_secs(8)).await;
            Err("away".to_owned())
        })
    };
    let began = Instant::now();
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for outcome in [one, two, three] {
        assert_eq!(outcome, Err(Bad::Keys("away".to_owned())));
    }
    assert_eq!((fetches.get(), began.elapsed().as_secs()), (1, 8));
    tokio::time::advance(FAILED).await;
    let set = json!({"keys": [key.published]});
    assert!(keys.verify(&served, &token, NOW, || async { Ok(set) }).await.is_ok());
}

/// PX-149: what is symmetric, private, for encryption, too small or of another kind verifies nothing.
#[test]
fn px_149_only_keys_that_fit_verify() {
    let key = Key::new(Algorithm::RS256, "k").published;
    let fits = |more: Value, algorithm: &str| {
        let mut key = key.clone();
        for (name, value) in more.as_object().unwrap() {
            key[name] = value.clone();
        }
        usable(&key, algorithm).is_some()
    };
    assert!(fits(json!({}), "RS256") && fits(json!({"use": "sig"}), "RS256"));
    for (more, algorithm) in [
        (json!({}), "RS512"),
        (json!({"alg": null}), "HS256"),
        (json!({"alg": null}), "ES256"),
        (json!({"use": "enc"}), "RS256"),
        (json!({"d": "AQAB"}), "RS256"),
        (json!({"n": "AQAB"}), "RS256"),
        (json!({"kty": "oct", "k": "AQAB"}), "RS256"),
    ] {
        assert!(!fits(more.clone(), algorithm), "{more} {algorithm}");
    }
}
