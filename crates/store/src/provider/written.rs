//! Providers as they are written.

use portcullis_core::clock::Timestamp;
use portcullis_core::id::ProviderPk;
use portcullis_core::site;
use sqlx::AssertSqlSafe;

use super::Provider;
use crate::db::{Conn, on};
use crate::error::StoreError;

/// What is bound for a column.
enum Value<'a> {
    Text(&'a str),
    Own(String),
    Key(Option<String>),
    Bytes(&'a [u8]),
    Flag(bool),
    Instant(Option<Timestamp>),
}

fn key(key: Option<impl ToString>) -> Value<'static> {
    Value::Key(key.map(|key| key.to_string()))
}

/// Every column but key, kind and UUID, with what is bound for it.
fn columns(provider: &Provider) -> [(&'static str, Value<'_>); 52] {
    use Value::{Bytes, Flag, Instant, Own, Text};
    [
        ("name", Text(&provider.name)),
        ("authentication_flow", key(provider.authentication_flow)),
        ("authorization_flow", Own(provider.authorization_flow.to_string())),
        ("invalidation_flow", Own(provider.invalidation_flow.to_string())),
        ("client_id", Text(&provider.client_id)),
        ("client_secret_sealed", Bytes(&provider.client_secret_sealed)),
        ("redirect_uris", Own(provider.redirect_uris.to_string())),
        ("access_code_validity", Text(&provider.access_code_validity)),
        ("access_token_validity", Text(&provider.access_token_validity)),
        ("refresh_token_validity", Text(&provider.refresh_token_validity)),
        ("sub_mode", Text(&provider.sub_mode)),
        ("jwt_federation_sources", Own(provider.jwt_federation_sources.to_string())),
        ("jwt_federation_providers", Own(provider.jwt_federation_providers.to_string())),
        ("mode", Text(&provider.mode)),
        ("external_host", Text(&provider.external_host)),
        ("internal_host", Text(&provider.internal_host)),
        ("internal_host_ssl_validation", Flag(provider.internal_host_ssl_validation)),
        ("certificate", key(provider.certificate)),
        ("skip_path_regex", Text(&provider.skip_path_regex)),
        ("intercept_header_auth", Flag(provider.intercept_header_auth)),
        ("basic_auth_enabled", Flag(provider.basic_auth_enabled)),
        ("basic_auth_user_attribute", Text(&provider.basic_auth_user_attribute)),
        ("basic_auth_password_attribute", Text(&provider.basic_auth_password_attribute)),
        ("cookie_domain", Text(&provider.cookie_domain)),
        ("cookie_secret_sealed", Bytes(&provider.cookie_secret_sealed)),
        ("client_type", Text(&provider.client_type)),
        ("grant_types", Own(provider.grant_types.to_string())),
        ("refresh_token_threshold", Text(&provider.refresh_token_threshold)),
        ("include_claims_in_id_token", Flag(provider.include_claims_in_id_token)),
        ("signing_key", key(provider.signing_key)),
        ("issuer_mode", Text(&provider.issuer_mode)),
        ("logout_uri", Text(&provider.logout_uri)),
        ("logout_method", Text(&provider.logout_method)),
        ("federation_audiences", Own(provider.federation_audiences.to_string())),
        ("cap_to_assertion_exp", Flag(provider.cap_to_assertion_exp)),
        ("client_secret_expires", Instant(provider.client_secret_expires)),
        ("client_secret_used", Instant(provider.client_secret_used)),
        ("second_secret_sealed", Bytes(&provider.second_secret_sealed)),
        ("second_secret_expires", Instant(provider.second_secret_expires)),
        ("second_secret_used", Instant(provider.second_secret_used)),
        ("client_jwks", Own(provider.client_jwks.to_string())),
        ("encryption_key", key(provider.encryption_key)),
        ("refresh_family_max_age", Text(&provider.refresh_family_max_age)),
        ("exchange_without_actor", Flag(provider.exchange_without_actor)),
        ("require_pkce", Flag(provider.require_pkce)),
        ("m2m_require_client_auth", Flag(provider.m2m_require_client_auth)),
        ("allow_pkce_plain", Flag(provider.allow_pkce_plain)),
        ("device_code_validity", Text(&provider.device_code_validity)),
        ("device_require_client_auth", Flag(provider.device_require_client_auth)),
        ("allowed_origins", Own(provider.allowed_origins.to_string())),
        ("allow_query_token", Flag(provider.allow_query_token)),
        ("allow_broad_redirect_uris", Flag(provider.allow_broad_redirect_uris)),
    ]
}

/// The names of columns, and as many places from `$1` on.
fn named(columns: &[(&'static str, Value<'_>)]) -> (String, String) {
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let places: Vec<_> = (1..=columns.len()).map(|number| format!("${number}")).collect();
    (names.join(", "), places.join(", "))
}

macro_rules! bound {
    ($query:expr, $columns:expr) => {{
        let mut query = $query;
        for (_, value) in $columns {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Own(text) => query.bind(text),
                Value::Key(key) => query.bind(key),
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Flag(flag) => query.bind(flag),
                Value::Instant(at) => query.bind(at.map(|at| at.0)),
            };
        }
        query
    }};
}

/// Keeps a new provider and gives its key.
///
/// # Errors
/// [`StoreError::Taken`] when the name or the client id exists; else when the database fails.
pub async fn insert(conn: &mut Conn, provider: &Provider) -> Result<ProviderPk, StoreError> {
    let mut columns = Vec::from(columns(provider));
    columns.extend([("uuid", Value::Own(provider.uuid.to_string())), ("kind", Value::Text(&provider.kind))]);
    let (names, places) = named(&columns);
    // Only names of this module are in these statements.
    let text = format!("INSERT INTO provider ({names}) VALUES ({places}) RETURNING pk");
    let pk = on!(conn, c => bound!(sqlx::query_scalar::<_, i32>(AssertSqlSafe(text)), columns).fetch_one(c).await)?;
    set_origins(conn, ProviderPk(pk), provider).await?;
    Ok(ProviderPk(pk))
}

/// Stores every field of a provider but key, kind and uuid.
///
/// # Errors
/// [`StoreError::Taken`] when the name or the client id is another's; else when the database fails.
pub async fn update(conn: &mut Conn, provider: &Provider) -> Result<(), StoreError> {
    let columns = columns(provider);
    let (names, places) = named(&columns);
    let text = format!("UPDATE provider SET ({names}) = ({places}) WHERE pk = ${}", columns.len() + 1);
    on!(conn, c => bound!(sqlx::query(AssertSqlSafe(text)), columns).bind(provider.pk.0).execute(c).await.map(drop))?;
    set_origins(conn, provider.pk, provider).await
}

/// Keeps what [`super::has_origin`] looks for.
async fn set_origins(conn: &mut Conn, pk: ProviderPk, provider: &Provider) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM provider_origin WHERE provider = $1").bind(pk.0).execute(c).await.map(drop))?;
    for origin in site::of(&provider.redirect_uris, &provider.allowed_origins) {
        on!(conn, c => sqlx::query("INSERT INTO provider_origin (origin, provider) VALUES ($1, $2)")
            .bind(origin).bind(pk.0).execute(c).await.map(drop))?;
    }
    Ok(())
}
