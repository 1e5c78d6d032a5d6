//! What keeps its identity when it comes from another installation.

use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_idp::directory::HIGHEST_KEPT_KEY;
use portcullis_idp::{Actor, takeover};
use portcullis_store::{account, federated};
use portcullis_web::api::blueprints::{Audience, Document, apply};
use serde_json::json;

use crate::blueprints_engine::{only, refused};
use crate::site::Site;

const UUID: &str = "0a000000-0000-4000-8000-00000000000b";

fn entries() -> String {
    format!(
        "  - model: authentik_core.user\n    identifiers: {{username: job}}\n    attrs: {{name: Job, type: service_account, \
         taken_over: {{pk: 700, uuid: {UUID}}}}}\n  \
         - model: authentik_core.user\n    identifiers: {{username: job}}\n    attrs:\n      taken_over: {{federated: {{\
         provider: !Find [authentik_providers_proxy.proxyprovider, [name, wiki]], \
         source: !Find [authentik_sources_oauth.oauthsource, [slug, cluster]], issuer: 'https://c', subject: s, until: 0}}}}\n  \
         - model: authentik_core.user\n    identifiers: {{username: app}}\n    attrs: {{name: App, type: service_account, \
         taken_over: {{generated_for: !Find [authentik_providers_proxy.proxyprovider, [name, wiki]]}}}}\n  \
         - {{model: authentik_providers_proxy.proxyprovider, identifiers: {{name: wiki}}, \
         attrs: {{taken_over: {{client_id: known-before}}}}}}\n"
    )
}

/// OA-931, OA-932, OA-934: users keep key and id, providers their client id, and accounts stand for their machines; a second
/// time nothing is left to do, and the account of a subject stays for a while although its last assertion has ended.
#[tokio::test]
async fn oa_934_what_is_taken_over_keeps_its_identity() {
    let site = Site::new().await;
    let provider = site.provider("wiki").await["pk"].as_i64().unwrap();
    let source = json!({"name": "cluster", "slug": "cluster", "provider_type": "openidconnect", "consumer_key": "key",
        "consumer_secret": "secret", "oidc_jwks": {"keys": []}});
    let source = site.post("/sources/oauth/", source).await["pk"].as_str().unwrap().parse().unwrap();
    let text = format!("version: 1\nentries:\n{}", entries());
    let document = Document { takes_over: true, ..Document::of_file("import", text) };
    for _ in 0..2 {
        apply(&site.ctx, &Actor::system(), &document, Audience::Ourselves).await.unwrap();
    }
    let again = apply(&site.ctx, &Actor::system(), &document, Audience::Ourselves).await.unwrap();
    assert!(again.log.iter().all(|line| line.event.ends_with("is as it should be")), "{:?}", again.log);
    let job = only(&site, "/core/users/?username=job").await;
    assert_eq!((&job["pk"], &job["uuid"]), (&json!(700), &json!(UUID)));
    assert_eq!(only(&site, "/providers/proxy/").await["client_id"], "known-before");
    let mut conn = site.ctx.db.read().await.unwrap();
    let provider = ProviderPk(i32::try_from(provider).unwrap());
    let stands = account::generated_for(&mut conn, provider).await.unwrap().unwrap();
    assert_eq!(stands.username, "app");
    let subject = federated::find(&mut conn, provider, source, "https://c", "s").await.unwrap();
    assert_eq!(subject, Some(UserPk(700)));
    let soon = site.ctx.now().plus_seconds(24 * 60 * 60);
    assert_eq!(federated::ended(&mut conn, soon, 9).await.unwrap(), []);
}

/// OA-931, CO-731: nobody but who takes over an installation chooses keys, and nobody gets a key that is somebody else's.
#[tokio::test]
async fn oa_931_keys_are_not_chosen() {
    let site = Site::new().await;
    let unknown = refused(&site, &entries()).await;
    assert_eq!(unknown.field.as_deref(), Some("taken_over"), "{unknown}");
    let taken = format!(
        "version: 1\nentries:\n  - {{model: authentik_core.user, identifiers: {{username: eve}}, attrs: {{name: Eve, \
         taken_over: {{pk: 1, uuid: {UUID}}}}}}}\n"
    );
    let document = Document { takes_over: true, ..Document::of_file("import", taken) };
    let taken = apply(&site.ctx, &Actor::system(), &document, Audience::Ourselves).await.unwrap_err();
    assert_eq!(taken.field.as_deref(), Some("keys"), "{taken}");
}

/// OA-931: who comes later needs a key as well: none is kept that leaves no room above it.
#[tokio::test]
async fn oa_931_there_is_room_for_others() {
    let site = Site::new().await;
    let with = |pk: i32| {
        let text = format!(
            "version: 1\nentries:\n  - {{model: authentik_core.user, identifiers: {{username: eve}}, attrs: {{name: Eve, \
             taken_over: {{pk: {pk}, uuid: {UUID}}}}}}}\n"
        );
        Document { takes_over: true, ..Document::of_file("import", text) }
    };
    for pk in [i32::MAX, HIGHEST_KEPT_KEY + 1] {
        let refused = apply(&site.ctx, &Actor::system(), &with(pk), Audience::Ourselves).await.unwrap_err();
        assert_eq!(refused.field.as_deref(), Some("keys"), "{refused}");
    }
    apply(&site.ctx, &Actor::system(), &with(HIGHEST_KEPT_KEY), Audience::Ourselves).await.unwrap();
    let (next, _) = site.user("bob").await;
    assert!(next > i64::from(HIGHEST_KEPT_KEY), "{next}");
}

/// OA-931: what an installation would do about its id is told without doing it.
#[tokio::test]
async fn oa_931_the_id_is_not_changed_by_asking() {
    let site = Site::new().await;
    let system = Actor::system();
    let before = site.ctx.install_id.get();
    assert!(takeover::takes_install_id(&site.ctx, &system, UUID).await.unwrap());
    assert_eq!(site.ctx.install_id.get(), before);
    site.user("ada").await;
    assert!(!takeover::takes_install_id(&site.ctx, &system, UUID).await.unwrap());
    assert!(takeover::takes_install_id(&site.ctx, &system, "nonsense").await.is_err());
}

/// OA-930: what somebody agreed to elsewhere counts here until it ends; what they agreed to here stays, and what has ended or is
/// of nobody who is here is not kept.
#[tokio::test]
async fn oa_930_consents_are_taken_over() {
    let site = Site::new().await;
    site.user("ada").await;
    let provider = site.provider("wiki").await["pk"].clone();
    site.application("wiki", &provider).await;
    let (system, now) = (Actor::system(), site.ctx.now());
    let agree = async |who: &str, scope: &str, ends: i64| {
        takeover::consent(&site.ctx, &system, who, "wiki", scope, Some(now.plus_seconds(ends))).await
    };
    assert!(!agree("ada", "openid", -1).await.unwrap(), "has ended");
    assert!(agree("ada", "openid email", 60).await.unwrap());
    assert!(!agree("ada", "openid", 9000).await.unwrap(), "a second time");
    assert!(agree("nobody", "openid", 60).await.is_err());
    let kept = only(&site, "/core/user_consent/").await;
    let year = 365 * 24 * 60 * 60;
    let (bob, _) = site.user("bob").await;
    assert!(!agree("bob", "openid goauthentik.io/api", 60).await.unwrap(), "lets an application act through our API");
    assert!(agree("bob", "openid", 40 * year).await.unwrap());
    let longest = only(&site, &format!("/core/user_consent/?user={bob}")).await;
    assert_eq!(longest["expires"], json!(now.plus_seconds(year).to_string()));
    assert_eq!((&kept["permissions"], &kept["user"]["username"]), (&json!("openid email"), &json!("ada")));
    assert_eq!(kept["expires"], json!(now.plus_seconds(60).to_string()));
}
