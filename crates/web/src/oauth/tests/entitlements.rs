//! What applications are told of entitlements, and until when.

use portcullis_idp::outpost::{self, OutpostError};

use super::login::FROM;
use super::*;

/// Makes an entitlement of the application that `ada` holds: paths of entitlement and binding.
async fn held(wiki: &Wiki, name: &str) -> (String, String) {
    let app = wiki.site.admin(Method::GET, "/core/applications/wiki/", None).await.json["pk"].clone();
    let made =
        wiki.site.admin(Method::POST, "/core/application_entitlements/", json!({"name": name, "app": app})).await;
    assert_eq!(made.status, 201, "{:?}", made.json);
    let target = made.json["pbm_uuid"].as_str().expect("a key");
    let body = json!({"target": target, "order": 0, "user": wiki.ada});
    let binding = wiki.site.admin(Method::POST, "/policies/bindings/", body).await;
    assert_eq!(binding.status, 201, "{:?}", binding.json);
    let binding = binding.json["pk"].as_str().expect("a key");
    (format!("/core/application_entitlements/{target}/"), format!("/policies/bindings/{binding}/"))
}

/// CO-152, CO-283, OA-431, OA-433: tokens name the entitlements that the user holds, in order, twice, if the scope was granted.
#[tokio::test]
async fn co_283_tokens_name_entitlements() {
    let wiki = Wiki::new().await;
    held(&wiki, "write").await;
    held(&wiki, "read").await;
    let reply = wiki.token_for_outpost("openid entitlements").await;
    for token in ["access_token", "id_token", "upstream_token"] {
        let said = claims(&reply.json[token]);
        assert_eq!(said["entitlements"], json!(["read", "write"]), "{token}");
        assert_eq!(said["roles"], json!(["read", "write"]), "{token}");
    }
    let introspected = wiki.introspect(text(&reply, "access_token")).await;
    assert_eq!(introspected.json["entitlements"], json!(["read", "write"]));
    let without = wiki.token_of_ada("openid").await;
    assert_eq!(claims(&without.json["access_token"]).get("entitlements"), None);
}

/// CO-151, PX-198: what names an entitlement that was lost since is refused, and one that does not is not.
#[tokio::test]
async fn px_198_a_lost_entitlement_counts_like_a_lost_group() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    let (entitlement, binding) = held(&wiki, "write").await;
    for does in ["disable the binding", "rename the entitlement", "delete the entitlement"] {
        let with = wiki.token_of_ada("openid entitlements").await;
        let with = text(&with, "access_token");
        assert_eq!(outpost::introspect(ctx, wiki.pk(), with, FROM).await.expect("holds").claims.entitlements.len(), 1);
        let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
        assert_eq!(grant.claims.entitlements.len(), 1);
        assert!(outpost::still_stands(ctx, wiki.pk(), &grant.bearings).await.expect("answers"));
        let mark = grant.bearings.mark(&ctx.epochs, grant.built_at, wiki.pk(), &[0; 32]);
        let changed = match does {
            "disable the binding" => wiki.site.admin(Method::PATCH, &binding, json!({"enabled": false})).await,
            "rename the entitlement" => wiki.site.admin(Method::PATCH, &entitlement, json!({"name": "edit"})).await,
            _ => wiki.site.admin(Method::DELETE, &entitlement, None).await,
        };
        assert!(changed.status.is_success(), "{does}");
        assert!(!ctx.epochs.stands(&mark), "{does}");
        assert!(!wiki.is_active(with).await, "{does}");
        let refused = outpost::introspect(ctx, wiki.pk(), with, FROM).await;
        assert!(matches!(refused, Err(OutpostError::Refused)), "{does}");
        let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
        let told = if does == "rename the entitlement" { vec!["edit".to_owned()] } else { Vec::new() };
        assert_eq!(grant.claims.entitlements, told, "{does}");
        wiki.site.admin(Method::PATCH, &binding, json!({"enabled": true})).await;
    }
}

/// CO-151: entitlements that users gain or do not have disturb nobody.
#[tokio::test]
async fn co_151_a_gained_entitlement_disturbs_nobody() {
    let wiki = Wiki::new().await;
    let ctx = &wiki.site.ctx;
    held(&wiki, "read").await;
    let token = wiki.token_of_ada("openid entitlements").await;
    let grant = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds");
    let (entitlement, binding) = held(&wiki, "write").await;
    assert!(wiki.is_active(text(&token, "access_token")).await);
    assert!(outpost::still_stands(ctx, wiki.pk(), &grant.bearings).await.expect("answers"));
    let told = outpost::verify_password(ctx, wiki.pk(), "ada", KEY, FROM).await.expect("holds").claims.entitlements;
    assert_eq!(told, ["read", "write"], "and is told at the next look");
    wiki.site.admin(Method::DELETE, &binding, None).await;
    wiki.site.admin(Method::DELETE, &entitlement, None).await;
    assert!(wiki.is_active(text(&token, "access_token")).await, "nobody was told of it");
}
