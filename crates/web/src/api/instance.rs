//! What is to be known of the instance itself: `admin/version/`, `admin/system/`, `root/config/`, and
//! its permanent id.

use std::env::consts::{ARCH, OS};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::routing::get;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use portcullis_core::origin::{Origin, Scheme};
use portcullis_idp::settings::Settings;
use portcullis_idp::{Context, Error, brands, outposts};
use serde_json::{Map, Value, json};

use super::Routes;
use super::answer::ApiError;
use super::caller::Caller;
use super::needs::{Holds, to};

/// The compatibility level that clients see (CO-002, CO-590).
pub const COMPAT: &str = "2026.5.0";

/// Seconds for which clients may keep what they were told.
const CACHE_SECONDS: u32 = 300;

/// Headers that stand for somebody.
const CREDENTIALS: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "x-authentik-outpost-token", "x-authentik-csrf"];
/// Shorter texts are no credentials, and occur anywhere.
const SHORTEST_SECRET: usize = 8;

/// The routes of these resources. The configuration is public (CO-505).
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/admin/version/", get(version))
        .route("/admin/system/", get(system).post(system))
        .route("/root/config/", get(config))
        .route("/enterprise/license/install_id/", get(install_id))
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

/// No error reporting, and of the optional abilities whether it is known where addresses are, and whether
/// administrators may act as others (CO-592, PX-358).
async fn config(State(ctx): State<Arc<Context>>) -> Result<Json<Value>, ApiError> {
    let mut conn = ctx.db.read().await.map_err(Error::from)?;
    let settings = Settings::load(&mut conn).await?;
    let able = [
        ("can_geo_ip", ctx.places.cities.is_loaded()),
        ("can_asn", ctx.places.networks.is_loaded()),
        ("can_impersonate", settings.impersonation),
    ];
    let able: Vec<_> = able.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
    Ok(Json(json!({
        "error_reporting": {
            "enabled": false,
            "sentry_dsn": "",
            "environment": "",
            "send_pii": false,
            "traces_sample_rate": 0.0,
        },
        "capabilities": able,
        "cache_timeout": CACHE_SECONDS,
        "cache_timeout_flows": CACHE_SECONDS,
        "cache_timeout_policies": CACHE_SECONDS,
    })))
}

/// What the process is and how the caller reached it, for an administrator (CO-591).
async fn system(
    State(ctx): State<Arc<Context>>,
    _: Holds<to::ViewSystemInfo>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let mut conn = ctx.db.read().await.map_err(Error::from)?;
    let brand = brands::of_host(&mut conn, &origin.host).await?;
    let outpost = outposts::embedded(&mut conn).await?;
    let outpost_host = outpost.config.get("authentik_host").and_then(Value::as_str).unwrap_or_default();
    Ok(Json(json!({
        "http_headers": shown(&headers),
        "http_host": origin.host,
        "http_is_secure": origin.scheme == Scheme::Https,
        "runtime": {
            "python_version": "",
            "environment": "portcullis",
            "architecture": ARCH,
            "platform": OS,
            "uname": format!("{OS} {ARCH}"),
            "openssl_version": "",
            "openssl_fips_enabled": null,
            "authentik_version": COMPAT,
        },
        "brand": brand.domain,
        "server_time": ctx.now().to_string(),
        "embedded_outpost_disabled": false,
        "embedded_outpost_host": outpost_host,
        "base_url": ctx.base_url,
    })))
}

/// The permanent id of the installation, for whoever takes it elsewhere (OA-047). It opens nothing.
async fn install_id(State(ctx): State<Arc<Context>>, _: Holds<to::ViewSystemInfo>) -> Json<Value> {
    Json(json!({"install_id": *ctx.install_id.get()}))
}

/// The headers of a request without those that open something (CO-591).
fn shown(headers: &HeaderMap) -> Map<String, Value> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    // A credential that was also copied into another header is not shown there either.
    let cookies = headers.get_all(COOKIE).iter().map(text).collect::<Vec<_>>().join(";");
    let authorization = headers.get_all(AUTHORIZATION).iter().map(text).collect::<Vec<_>>().join(" ");
    let values = cookies.split(';').filter_map(|pair| Some(pair.split_once('=')?.1.trim()));
    let secrets: Vec<&str> =
        values.chain(authorization.split_whitespace()).filter(|secret| secret.len() >= SHORTEST_SECRET).collect();
    let mut shown = Map::new();
    for (name, value) in headers {
        let value = text(value);
        let opens = CREDENTIALS.contains(&name.as_str()) || secrets.iter().any(|secret| value.contains(secret));
        if !opens {
            shown.insert(name.as_str().to_owned(), value.into());
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-591, CO-840: no header with a credential is shown, under whatever name it comes.
    #[test]
    fn co_591_no_credential_is_echoed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "id.example"),
            ("authorization", "Bearer 0123456789abcdef"),
            ("cookie", "a=b; authentik_session=fedcba9876543210"),
            ("x-authentik-outpost-token", "x"),
            ("x-authentik-csrf", "x"),
            ("proxy-authorization", "x"),
            ("x-copy", "session fedcba9876543210 again"),
            ("x-token", "0123456789abcdef"),
            ("x-plain", "b"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let shown = shown(&headers);
        assert_eq!(shown.keys().map(String::as_str).collect::<Vec<_>>(), ["host", "x-plain"]);
    }
}
