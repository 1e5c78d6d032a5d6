//! What is to be known of the instance itself: `admin/version/`, `root/config/`, `core/brands/current/`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use portcullis_idp::{Context, Error, access, flows};
use serde_json::{Value, json};

use super::Routes;
use super::answer::ApiError;
use super::caller::Caller;
use crate::assets;

/// The compatibility level that clients see (CO-002, CO-590).
pub const COMPAT: &str = "2026.5.0";

/// Seconds for which clients may keep what they were told.
const CACHE_SECONDS: u32 = 300;

/// The routes of these resources. Configuration and brand are public (CO-505).
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/admin/version/", get(version))
        .route("/root/config/", get(config))
        .route("/core/brands/current/", get(current_brand))
}

/// No update check exists: the latest version known is the present one (CO-590).
async fn version(_: Caller) -> Json<Value> {
    Json(json!({
        "version_current": COMPAT,
        "version_latest": COMPAT,
        "version_latest_valid": false,
        "build_hash": concat!("portcullis-", env!("CARGO_PKG_VERSION")),
        "outdated": false,
        "outpost_outdated": false,
    }))
}

/// No error reporting, and none of the optional abilities (CO-592, PX-358).
async fn config() -> Json<Value> {
    Json(json!({
        "error_reporting": {
            "enabled": false,
            "sentry_dsn": "",
            "environment": "",
            "send_pii": false,
            "traces_sample_rate": 0.0,
        },
        "capabilities": [],
        "cache_timeout": CACHE_SECONDS,
        "cache_timeout_flows": CACHE_SECONDS,
        "cache_timeout_policies": CACHE_SECONDS,
    }))
}

/// The default brand, which is the only one (CO-502).
async fn current_brand(State(ctx): State<Arc<Context>>) -> Result<Json<Value>, ApiError> {
    let mut conn = ctx.db.read().await.map_err(Error::from)?;
    let open_by_default = access::open_by_default(&mut conn).await?;
    let icon = assets::ICON.href();
    Ok(Json(json!({
        "matched_domain": "authentik-default",
        "branding_title": "Portcullis",
        "branding_logo": icon,
        "branding_logo_themed_urls": null,
        "branding_favicon": icon,
        "branding_favicon_themed_urls": null,
        "branding_custom_css": "",
        "branding_map_tiles": "",
        "ui_footer_links": [],
        "ui_theme": "automatic",
        "default_locale": "",
        "flow_authentication": flows::AUTHENTICATION,
        "flow_invalidation": flows::INVALIDATION,
        "flow_user_settings": flows::USER_SETTINGS,
        "flags": {
            "core_default_app_access": open_by_default,
            "enterprise_audit_include_expanded_diff": false,
            "flows_continuous_login": false,
            "flows_refresh_others": false,
        },
    })))
}
