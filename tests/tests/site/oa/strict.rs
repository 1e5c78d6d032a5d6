//! Clients of ours that check all they can: `openid-client`.

use portcullis_testkit::fronts::fetched;
use portcullis_testkit::{Finished, Person, Visitor, api, run};
use serde_json::{Value, json};

use super::issuer::{Keys, node};
use crate::stage::shared;

/// Where the client says that it is. Nothing listens there: whoever is sent there has arrived.
const BACK: &str = "http://client.localhost:1/back";
const BYE: &str = "http://client.localhost:1/bye";

/// A client at the site, as `openid-client` is told of it, the application's name, and the provider's key.
async fn client(alg: &str, how: &str) -> (Value, String, Value) {
    let (site, slug) = (shared().await, api::fresh("strict"));
    let key = match alg {
        "HS256" => Value::Null,
        _ => {
            let kind = if alg == "ES256" { "ecdsa" } else { "rsa" };
            let wish = json!({"common_name": slug, "validity_days": 2, "alg": kind});
            site.api.post("crypto/certificatekeypairs/generate/", wish).await["pk"].clone()
        }
    };
    let scopes = site.api.get("propertymappings/provider/scope/?managed__isnull=false").await;
    let scopes: Vec<&Value> = scopes["results"].as_array().unwrap().iter().map(|scope| &scope["pk"]).collect();
    let (authorization, invalidation) = site.api.flows().await;
    let body = json!({
        "name": slug, "authorization_flow": authorization, "invalidation_flow": invalidation, "signing_key": key,
        "client_type": if how == "none" { "public" } else { "confidential" },
        "redirect_uris": [
            {"matching_mode": "strict", "url": BACK},
            {"matching_mode": "strict", "url": BYE, "redirect_uri_type": "logout"},
        ],
        "property_mappings": scopes,
    });
    let provider = site.api.post("providers/oauth2/", body).await;
    site.api.post("core/applications/", json!({"name": slug, "slug": slug, "provider": provider["pk"]})).await;
    let settings = json!({
        "issuer": site.url(&format!("/application/o/{slug}/")), "id": provider["client_id"],
        "secret": provider["client_secret"], "how": how, "alg": alg, "back": BACK, "bye": BYE,
    });
    (settings, slug, provider["pk"].clone())
}

async fn drive(settings: &Value, more: &[&str]) -> Value {
    let mut node = node("client.js");
    node.arg(fetched("openid")).arg(settings.to_string()).args(more);
    serde_json::from_str(&Finished::run(node).await.ok()).unwrap()
}

/// Sends somebody to sign in for the client, and goes on where they come back.
async fn sign_in(settings: &Value, visitor: &mut Visitor, person: &Person) -> Value {
    let begun = drive(settings, &[]).await;
    let address = visitor.sign_in_until(&api::text(&begun["url"]), person, BACK).await;
    drive(settings, &[&begun["kept"].to_string(), &address]).await
}

/// Has a client prove itself with a key of its own, get encrypted tokens, and exchange them.
async fn with_keys(settings: &mut Value, keys: &Keys, pk: &Value) {
    let site = shared().await;
    let wish = json!({"common_name": api::fresh("opens"), "validity_days": 2, "alg": "rsa"});
    let pair = site.api.post("crypto/certificatekeypairs/generate/", wish).await["pk"].clone();
    let private = format!("crypto/certificatekeypairs/{}/view_private_key/", api::text(&pair));
    let change = json!({
        "client_jwks": {"keys": [keys.public("own:ES256").await]},
        "encryption_key": pair,
        "grant_types": ["authorization_code", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "jwt_federation_providers": [pk],
    });
    site.api.patch(&format!("providers/oauth2/{pk}/"), change).await;
    settings["signs"] = json!(keys.file("own"));
    settings["opens"] = site.api.get(&private).await["data"].clone();
}

/// OA-130, OA-161, OA-162, OA-196, OA-212, OA-225, OA-245, OA-450, OA-490, OA-500, OA-515, OA-540, OA-710, OA-738: a strict
/// client signs a person in, however it proves itself and whatever signs or encrypts its tokens; it finds nothing to complain
/// of in what it is told, and what it revokes, or uses a second time, ends.
#[test]
fn oa_450_a_strict_client_finds_nothing_to_complain_of() {
    run(async {
        let keys = Keys::new();
        let all = [("RS256", "basic"), ("ES256", "post"), ("HS256", "basic"), ("ES256", "key"), ("ES256", "none")];
        for (alg, how) in all {
            let (mut settings, slug, pk) = client(alg, how).await;
            if how == "key" {
                with_keys(&mut settings, &keys, &pk).await;
            }
            let person = shared().await.api.person("strict").await;
            let mut visitor = Visitor::new();
            let learned = sign_in(&settings, &mut visitor, &person).await;
            let at = format!("{alg} {how} {slug}");
            for told in [&learned["claims"], &learned["userinfo"]] {
                assert_eq!(told["preferred_username"], json!(person.username), "{at}");
                assert_eq!((&told["email"], &told["sub"]), (&json!(person.email), &learned["claims"]["sub"]), "{at}");
            }
            if how != "none" {
                let (introspected, own) = (&learned["introspected"], &learned["own"]);
                assert_eq!(
                    (&introspected["active"], &introspected["client_id"]),
                    (&json!(true), &settings["id"]),
                    "{at}"
                );
                assert_eq!(introspected["sub"], learned["claims"]["sub"], "{at}");
                assert_eq!(own["active"], true, "{at}: {own}");
                assert_eq!(learned["revoked"], json!({"active": false}), "{at}");
                if how == "key" {
                    let exchanged = &learned["exchanged"];
                    assert_eq!((&exchanged["sub"], &learned["parts"]), (&learned["claims"]["sub"], &json!(5)), "{at}");
                    assert_eq!(exchanged["act"]["sub"], own["sub"], "{at}: {exchanged}");
                }
            }
            assert_eq!(
                (&learned["again"], &learned["after"]),
                (&json!("invalid_grant"), &json!("invalid_token")),
                "{at}"
            );
            if alg == "ES256" {
                // OA-124: what the key of before has signed is a hint as good as any.
                let site = shared().await;
                let wish = json!({"common_name": api::fresh("next"), "validity_days": 2, "alg": "ecdsa"});
                let key = site.api.post("crypto/certificatekeypairs/generate/", wish).await["pk"].clone();
                site.api.patch(&format!("providers/oauth2/{pk}/"), json!({"signing_key": key})).await;
            }
            let bye = visitor.visit_until(&api::text(&learned["end"]), BYE).await;
            assert_eq!(bye, format!("{BYE}?state=of+the+end"), "OA-543: {at}");
        }
    });
}
