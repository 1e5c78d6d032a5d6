//! Machines and people of another identity provider, oidc-provider, whose tokens are good for ours.

use portcullis_testkit::{Go as _, api, run};
use serde_json::json;

use super::issuer::{Issuer, JWT_BEARER, Keys, ask, assert, claims, now, refused, site, source, traded, trust};
use crate::stage::{Stage, basic};

/// A stage, and another identity provider with tokens for it (`here`, `endpoint`), and for somebody else (`elsewhere`).
async fn begin(keys: &[&str]) -> (Stage<'static>, Issuer) {
    let stage = Stage::on(site().await, json!({})).await;
    let endpoint = stage.site.url("/application/o/token/");
    let audiences =
        [("here", stage.app.client_id.as_str()), ("endpoint", &endpoint), ("elsewhere", "https://elsewhere.example/")];
    let issuer = Issuer::start(&audiences, keys).await;
    (stage, issuer)
}

/// OA-281, OA-284, OA-325, OA-331, PX-092, PX-093, PX-418: a JWT of another provider, whatever signs it there, is a
/// machine's way through the proxy: traded for a token of ours it opens the application as Bearer and as password of
/// the reserved user, and one account stands for it. By itself it opens nothing.
#[test]
fn oa_281_tokens_of_another_provider_open_the_application() {
    run(async {
        for key in ["k:RS256", "k:ES256"] {
            let (stage, issuer) = begin(&[key]).await;
            let (slug, source) = source(stage.site, json!({"oidc_well_known_url": issuer.well_known()})).await;
            trust(&stage, &[&source]).await;
            let id = stage.app.client_id.as_str();
            let (here, endpoint) = (issuer.machine("here").await, issuer.machine("endpoint").await);
            let header = Some(basic(id, &here));
            let replies = [
                assert(&stage, &here).await,
                assert(&stage, &endpoint).await,
                ask(&stage, &[("client_id", id), ("client_secret", &here)], None).await,
                ask(
                    &stage,
                    &[("client_id", id), ("client_secret", &here), ("client_assertion_type", JWT_BEARER)],
                    None,
                )
                .await,
                ask(&stage, &[], header).await,
            ];
            let mut names = Vec::new();
            for reply in replies {
                assert_eq!(reply.status, 200, "{key}: {}", reply.text());
                let body = reply.json();
                assert!(body.get("refresh_token").is_none(), "OA-290");
                assert!(body["expires_in"].as_i64().unwrap() <= 600, "OA-336: {body}");
                let token = api::text(&body["access_token"]);
                for authorization in [format!("Bearer {token}"), basic("goauthentik.io/token", &token)] {
                    let reply = stage.get_as_stranger("/").header("authorization", authorization).go().await;
                    assert_eq!(reply.status, 200, "{key}: {}", reply.text());
                    names.push(stage.recorder.last().one("x-authentik-username").unwrap());
                }
            }
            names.dedup();
            let [name] = names.as_slice() else { panic!("{names:?}") };
            assert!(name.ends_with("-machine"), "OA-332: {name}");
            let found = stage.site.api.get(&format!("core/users/?path=goauthentik.io/sources/{slug}")).await;
            assert_eq!(found["pagination"]["count"], 1, "{found}");
            for authorization in [format!("Bearer {here}"), basic("goauthentik.io/token", &here), basic(name, &here)] {
                let reply = stage.get_as_stranger("/").header("authorization", authorization).go().await;
                assert_eq!(reply.status, 401, "{key}: {}", reply.text());
            }
        }
    });
}

/// OA-328, OA-332: the ID token of somebody who signed in there is an assertion, where its audience is expected.
#[test]
fn oa_328_id_tokens_of_another_provider_are_believed_if_expected() {
    run(async {
        for key in ["k:RS256", "k:ES256"] {
            let (stage, issuer) = begin(&[key]).await;
            let more = json!({"oidc_jwks_url": issuer.jwks(), "expected_issuers": [issuer.url()]});
            let (slug, source) = source(stage.site, more).await;
            trust(&stage, &[&source]).await;
            let token = issuer.person("grace").await;
            assert_eq!(claims(&token)["aud"], "portal");
            refused(&stage, &token, "assertion_audience").await;
            let path = format!("sources/oauth/{slug}/");
            stage.site.api.patch(&path, json!({"expected_audiences": ["portal"]})).await;
            let bearer = format!("Bearer {}", traded(&stage, &token).await);
            let reply = stage.get_as_stranger("/").header("authorization", bearer).go().await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            let name = stage.recorder.last().one("x-authentik-username").unwrap();
            assert!(name.ends_with("-grace"), "{name}");
        }
    });
}

/// OA-329, OA-834: when the other provider adds a key, tokens by it are good at once, without a restart, and so are those by
/// the old one; what is known of its keys is good for a while.
#[test]
fn oa_329_keys_of_another_provider_are_added() {
    run(async {
        let (stage, mut issuer) = begin(&["a:RS256"]).await;
        let (_, source) = source(stage.site, json!({"oidc_well_known_url": issuer.well_known()})).await;
        trust(&stage, &[&source]).await;
        let old = issuer.machine("here").await;
        traded(&stage, &old).await;
        issuer.rotate(&["a:RS256", "b:ES256"]).await;
        let new = issuer.machine("here").await;
        traded(&stage, &new).await;
        traded(&stage, &old).await;
        issuer.rotate(&["b:ES256"]).await;
        // Both keys are known, and fresh for a while.
        traded(&stage, &old).await;
        traded(&stage, &new).await;
    });
}

/// OA-329: what was signed with a key that the other provider gave up is refused as soon as somebody brings a new one.
#[test]
fn oa_329_a_key_that_is_gone_vouches_for_nobody() {
    run(async {
        let (stage, mut issuer) = begin(&["a:RS256"]).await;
        let (_, source) = source(stage.site, json!({"oidc_well_known_url": issuer.well_known()})).await;
        trust(&stage, &[&source]).await;
        let old = issuer.machine("here").await;
        traded(&stage, &old).await;
        issuer.rotate(&["b:RS256"]).await;
        traded(&stage, &issuer.machine("here").await).await;
        refused(&stage, &old, "assertion_signature").await;
    });
}

/// OA-288, OA-321, OA-325, OA-327, OA-328, OA-820, OA-829: what is for somebody else, by somebody else, over, or signed
/// with something that is no signature, gets the same answer as a wrong secret.
#[test]
fn oa_288_what_another_provider_does_not_vouch_for_is_refused() {
    run(async {
        let (stage, issuer) = begin(&["k:RS256"]).await;
        let (_, known) = source(stage.site, json!({"oidc_well_known_url": issuer.well_known()})).await;
        trust(&stage, &[&known]).await;
        let good = json!({
            "iss": issuer.url(), "aud": stage.app.client_id, "sub": "machine", "iat": now(), "exp": now() + 600,
        });
        let with = |name: &str, value: serde_json::Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        traded(&stage, &issuer.keys.sign("k:RS256", &good).await).await;
        refused(&stage, &issuer.machine("elsewhere").await, "assertion_audience").await;
        for (claims, reason) in [
            (with("exp", json!(now() - 1)), "assertion_expired"),
            (with("nbf", json!(now() + 600)), "assertion_of_the_future"),
            (with("iss", json!(format!("{}/", issuer.url()))), "assertion_issuer_unknown"),
            (with("iss", json!(stage.site.url("/application/o/any/"))), "assertion_issuer_unknown"),
            (with("aud", json!(["portal"])), "assertion_audience"),
            (with("sub", json!("")), "assertion_subject"),
        ] {
            refused(&stage, &issuer.keys.sign("k:RS256", &claims).await, reason).await;
        }
        // Its public key, of which everybody can make a shared secret; and no signature at all.
        refused(&stage, &issuer.keys.sign("k:hmac", &good).await, "assertion_issuer_unknown").await;
        let signed = issuer.keys.sign("k:RS256", &good).await;
        let (body, _) = signed.rsplit_once('.').unwrap();
        refused(&stage, &format!("{body}."), "assertion_malformed").await;
        // Another realm: a key of the same name, its own issuer or the name of the one that is trusted.
        let (_, other) = begin(&["k:RS256"]).await;
        let claims = with("iss", json!(other.url()));
        refused(&stage, &other.keys.sign("k:RS256", &claims).await, "assertion_issuer_unknown").await;
        refused(&stage, &other.keys.sign("k:RS256", &good).await, "assertion_signature").await;
        refused(&stage, &Keys::new().sign("k:ES256", &good).await, "assertion_signature").await;
        // Trusted by another client alone.
        let elsewhere = Stage::on(stage.site, json!({})).await;
        refused(&elsewhere, &issuer.machine("here").await, "assertion_issuer_unknown").await;
    });
}
