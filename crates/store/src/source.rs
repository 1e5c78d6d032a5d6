//! Other identity providers, whose assertions machines can bring (CO-567, OA section 11.5).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{FlowId, SourceId};
use serde_json::Value;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// Another identity provider.
#[derive(Clone, PartialEq)]
pub struct Source {
    /// Key.
    pub pk: SourceId,
    /// Unique name.
    pub name: String,
    /// Unique short name; its address in the API.
    pub slug: String,
    /// Whether it is believed.
    pub enabled: bool,
    /// Whether it is shown first.
    pub promoted: bool,
    /// Flow for those who are known.
    pub authentication_flow: Option<FlowId>,
    /// Flow for those who are not.
    pub enrollment_flow: Option<FlowId>,
    /// List of mapping keys: what its users are called here.
    pub user_property_mappings: Value,
    /// List of mapping keys.
    pub group_property_mappings: Value,
    /// `any` or `all`.
    pub policy_engine_mode: String,
    /// How users are matched in sign-ins.
    pub user_matching_mode: String,
    /// How groups are matched in sign-ins.
    pub group_matching_mode: String,
    /// Where its users are kept; `%(slug)s` is the slug.
    pub user_path_template: String,
    /// Picture.
    pub icon: String,
    /// What kind of identity provider it is.
    pub provider_type: String,
    /// OAuth 1 request tokens.
    pub request_token_url: Option<String>,
    /// Authorization endpoint.
    pub authorization_url: Option<String>,
    /// Token endpoint.
    pub access_token_url: Option<String>,
    /// User information.
    pub profile_url: Option<String>,
    /// `none`, `plain` or `S256`.
    pub pkce: String,
    /// Our client id there.
    pub consumer_key: String,
    /// Our client secret there, sealed for `oauth_source:<pk>:consumer_secret`.
    pub consumer_secret_sealed: Vec<u8>,
    /// Scopes beyond the usual.
    pub additional_scopes: String,
    /// Discovery document, or empty.
    pub oidc_well_known_url: String,
    /// Keys, or empty.
    pub oidc_jwks_url: String,
    /// Keys that were pasted: a JSON Web Key Set, or an empty object.
    pub oidc_jwks: Value,
    /// `basic_auth` or `post_body`.
    pub authorization_code_auth_method: String,
    /// List of `iss` that are believed; empty: the discovered one.
    pub expected_issuers: Value,
    /// List of `aud` that are accepted besides the defaults.
    pub expected_audiences: Value,
    /// List of algorithms of keys that name none; empty: the defaults.
    pub allowed_algorithms: Value,
    /// Longest lifetime of an assertion, a duration as typed.
    pub max_assertion_lifetime: String,
    /// How far clocks may differ in `nbf` and `iat`, a duration as typed (OA-044).
    pub assertion_leeway: String,
    /// Whether an assertion must be for the client (OA-824).
    pub audience_check: bool,
    /// Whether an assertion must say when it ends (OA-825).
    pub require_exp: bool,
    /// Whether an assertion counts once (OA-349).
    pub single_use: bool,
    /// `issuer` of the discovery document; empty while unknown.
    pub discovered_issuer: String,
    /// The last good keys from a URL: a JSON Web Key Set, or an empty object.
    pub fetched_jwks: Value,
    /// When they were fetched.
    pub fetched_at: Option<Timestamp>,
    /// Until when they are fresh.
    pub fresh_until: Option<Timestamp>,
}

/// Never prints the sealed column.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("pk", &self.pk).field("slug", &self.slug).finish_non_exhaustive()
    }
}

impl Record for Source {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            name: row.text("name")?,
            slug: row.text("slug")?,
            enabled: row.flag("enabled")?,
            promoted: row.flag("promoted")?,
            authentication_flow: row.parsed_or_null("authentication_flow")?,
            enrollment_flow: row.parsed_or_null("enrollment_flow")?,
            user_property_mappings: row.json("user_property_mappings")?,
            group_property_mappings: row.json("group_property_mappings")?,
            policy_engine_mode: row.text("policy_engine_mode")?,
            user_matching_mode: row.text("user_matching_mode")?,
            group_matching_mode: row.text("group_matching_mode")?,
            user_path_template: row.text("user_path_template")?,
            icon: row.text("icon")?,
            provider_type: row.text("provider_type")?,
            request_token_url: row.text_or_null("request_token_url")?,
            authorization_url: row.text_or_null("authorization_url")?,
            access_token_url: row.text_or_null("access_token_url")?,
            profile_url: row.text_or_null("profile_url")?,
            pkce: row.text("pkce")?,
            consumer_key: row.text("consumer_key")?,
            consumer_secret_sealed: row.bytes("consumer_secret_sealed")?,
            additional_scopes: row.text("additional_scopes")?,
            oidc_well_known_url: row.text("oidc_well_known_url")?,
            oidc_jwks_url: row.text("oidc_jwks_url")?,
            oidc_jwks: row.json("oidc_jwks")?,
            authorization_code_auth_method: row.text("authorization_code_auth_method")?,
            expected_issuers: row.json("expected_issuers")?,
            expected_audiences: row.json("expected_audiences")?,
            allowed_algorithms: row.json("allowed_algorithms")?,
            max_assertion_lifetime: row.text("max_assertion_lifetime")?,
            assertion_leeway: row.text("assertion_leeway")?,
            audience_check: row.flag("audience_check")?,
            require_exp: row.flag("require_exp")?,
            single_use: row.flag("single_use")?,
            discovered_issuer: row.text("discovered_issuer")?,
            fetched_jwks: row.json("fetched_jwks")?,
            fetched_at: row.instant_or_null("fetched_at")?,
            fresh_until: row.instant_or_null("fresh_until")?,
        })
    }
}

/// The source with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: SourceId) -> Result<Option<Source>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM oauth_source WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// The source with this slug.
///
/// # Errors
/// When the database fails.
pub async fn by_slug(conn: &mut Conn, slug: &str) -> Result<Option<Source>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM oauth_source WHERE slug = $1").bind(slug).fetch_optional(c).await))
}

/// Keeps a new source.
///
/// # Errors
/// [`StoreError::Taken`] when the name or the slug exists; else when the database fails.
pub async fn insert(conn: &mut Conn, source: &Source) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO oauth_source (pk, name, slug, enabled, promoted, authentication_flow, enrollment_flow,
             user_property_mappings, group_property_mappings, policy_engine_mode, user_matching_mode,
             group_matching_mode, user_path_template, icon, provider_type, request_token_url, authorization_url,
             access_token_url, profile_url, pkce, consumer_key, consumer_secret_sealed, additional_scopes,
             oidc_well_known_url, oidc_jwks_url, oidc_jwks, authorization_code_auth_method, expected_issuers,
             expected_audiences, allowed_algorithms, max_assertion_lifetime, discovered_issuer, fetched_jwks,
             fetched_at, single_use, assertion_leeway, audience_check, require_exp)
         VALUES ($1, $2, $3, FALSE, FALSE, NULL, NULL, '[]', '[]', '', '', '', '', '', '', NULL, NULL, NULL, NULL, '',
             '', $4, '', '', '', '{}', '', '[]', '[]', '[]', '', '', '{}', NULL, FALSE, '', TRUE, TRUE)",
    ).bind(source.pk.to_string()).bind(&source.name).bind(&source.slug)
    .bind(&source.consumer_secret_sealed).execute(c).await.map(drop))?;
    update(conn, source).await
}

/// Stores every field of a source but its key.
///
/// # Errors
/// [`StoreError::Taken`] when the name or the slug is another's; else when the database fails.
pub async fn update(conn: &mut Conn, source: &Source) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE oauth_source SET name = $2, slug = $3, enabled = $4, promoted = $5, authentication_flow = $6,
             enrollment_flow = $7, user_property_mappings = $8, group_property_mappings = $9, policy_engine_mode = $10,
             user_matching_mode = $11, group_matching_mode = $12, user_path_template = $13, icon = $14,
             provider_type = $15, request_token_url = $16, authorization_url = $17, access_token_url = $18,
             profile_url = $19, pkce = $20, consumer_key = $21, consumer_secret_sealed = $22, additional_scopes = $23,
             oidc_well_known_url = $24, oidc_jwks_url = $25, oidc_jwks = $26, authorization_code_auth_method = $27,
             expected_issuers = $28, expected_audiences = $29, allowed_algorithms = $30, max_assertion_lifetime = $31,
             discovered_issuer = $32, fetched_jwks = $33, fetched_at = $34,
             fresh_until = $35, single_use = $36, assertion_leeway = $37, audience_check = $38, require_exp = $39
         WHERE pk = $1",
    )
    .bind(source.pk.to_string())
    .bind(&source.name)
    .bind(&source.slug)
    .bind(source.enabled)
    .bind(source.promoted)
    .bind(source.authentication_flow.map(|pk| pk.to_string()))
    .bind(source.enrollment_flow.map(|pk| pk.to_string()))
    .bind(source.user_property_mappings.to_string())
    .bind(source.group_property_mappings.to_string())
    .bind(&source.policy_engine_mode)
    .bind(&source.user_matching_mode)
    .bind(&source.group_matching_mode)
    .bind(&source.user_path_template)
    .bind(&source.icon)
    .bind(&source.provider_type)
    .bind(&source.request_token_url)
    .bind(&source.authorization_url)
    .bind(&source.access_token_url)
    .bind(&source.profile_url)
    .bind(&source.pkce)
    .bind(&source.consumer_key)
    .bind(&source.consumer_secret_sealed)
    .bind(&source.additional_scopes)
    .bind(&source.oidc_well_known_url)
    .bind(&source.oidc_jwks_url)
    .bind(source.oidc_jwks.to_string())
    .bind(&source.authorization_code_auth_method)
    .bind(source.expected_issuers.to_string())
    .bind(source.expected_audiences.to_string())
    .bind(source.allowed_algorithms.to_string())
    .bind(&source.max_assertion_lifetime)
    .bind(&source.discovered_issuer)
    .bind(source.fetched_jwks.to_string())
    .bind(source.fetched_at.map(|at| at.0))
    .bind(source.fresh_until.map(|at| at.0))
    .bind(source.single_use)
    .bind(&source.assertion_leeway)
    .bind(source.audience_check)
    .bind(source.require_exp)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores what was fetched for a source, if it still is where it was fetched from.
///
/// # Errors
/// When the database fails.
pub async fn fetched(conn: &mut Conn, source: &Source) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE oauth_source SET discovered_issuer = $2, fetched_jwks = $3, fetched_at = $4, fresh_until = $7
         WHERE pk = $1 AND oidc_well_known_url = $5 AND oidc_jwks_url = $6",
    )
    .bind(source.pk.to_string())
    .bind(&source.discovered_issuer)
    .bind(source.fetched_jwks.to_string())
    .bind(source.fetched_at.map(|at| at.0))
    .bind(&source.oidc_well_known_url)
    .bind(&source.oidc_jwks_url)
    .bind(source.fresh_until.map(|at| at.0))
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Deletes a source with the links to its accounts; the accounts stay.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: SourceId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM oauth_source WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// Conditions on a list of sources (CO-566, CO-567). Absent and empty conditions hold for every source.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Key.
    pub pk: Option<SourceId>,
    /// Name.
    pub name: Option<String>,
    /// Short name.
    pub slug: Option<String>,
    /// Whether it is believed.
    pub enabled: Option<bool>,
    /// Kind of identity provider.
    pub provider_type: Option<String>,
    /// Our client id there.
    pub consumer_key: Option<String>,
    /// Whether it has keys, pasted or fetched.
    pub has_jwks: Option<bool>,
    /// Terms that must occur in name or slug (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What sources can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    Slug,
    Enabled,
    ProviderType,
    Promoted,
    AuthenticationFlow,
    EnrollmentFlow,
    PolicyEngineMode,
    UserMatchingMode,
    GroupMatchingMode,
    UserPathTemplate,
    Icon,
    RequestTokenUrl,
    AuthorizationUrl,
    AccessTokenUrl,
    ProfileUrl,
    Pkce,
    ConsumerKey,
    AdditionalScopes,
    OidcWellKnownUrl,
    OidcJwksUrl,
    AuthorizationCodeAuthMethod,
    Component,
    Managed,
}

/// The sources that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Source>, StoreError> {
    let mut select = Select::default();
    for (column, value) in [
        ("pk", &filter.pk.map(|pk| pk.to_string())),
        ("name", &filter.name),
        ("slug", &filter.slug),
        ("provider_type", &filter.provider_type),
        ("consumer_key", &filter.consumer_key),
    ] {
        if let Some(value) = value {
            select.text(&format!("{column} = ?"), value);
        }
    }
    if let Some(enabled) = filter.enabled {
        select.flag("enabled = ?", enabled);
    }
    match filter.has_jwks {
        Some(true) => select.always("(oidc_jwks <> '{}' OR fetched_jwks <> '{}')"),
        Some(false) => select.always("(oidc_jwks = '{}' AND fetched_jwks = '{}')"),
        None => {}
    }
    select.search(&["name", "slug"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Name => "name",
            Order::Slug => "slug",
            Order::Enabled => "enabled",
            Order::ProviderType => "provider_type",
            Order::Promoted => "promoted",
            Order::AuthenticationFlow => "authentication_flow",
            Order::EnrollmentFlow => "enrollment_flow",
            Order::PolicyEngineMode => "policy_engine_mode",
            Order::UserMatchingMode => "user_matching_mode",
            Order::GroupMatchingMode => "group_matching_mode",
            Order::UserPathTemplate => "user_path_template",
            Order::Icon => "icon",
            Order::RequestTokenUrl => "request_token_url",
            Order::AuthorizationUrl => "authorization_url",
            Order::AccessTokenUrl => "access_token_url",
            Order::ProfileUrl => "profile_url",
            Order::Pkce => "pkce",
            Order::ConsumerKey => "consumer_key",
            Order::AdditionalScopes => "additional_scopes",
            Order::OidcWellKnownUrl => "oidc_well_known_url",
            Order::OidcJwksUrl => "oidc_jwks_url",
            Order::AuthorizationCodeAuthMethod => "authorization_code_auth_method",
            // The same for all of these.
            Order::Component | Order::Managed => continue,
        };
        select.order(column, *descending);
    }
    select.order("oauth_source.pk", false);
    select.list(conn, "oauth_source", slice).await
}

/// Every source, by slug.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> Result<Vec<Source>, StoreError> {
    let mut all: Vec<Source> = many(on!(conn, c => sqlx::query("SELECT * FROM oauth_source").fetch_all(c).await))?;
    // Here and not in SQL: collations differ between engines.
    all.sort_by(|left, right| left.slug.cmp(&right.slug));
    Ok(all)
}
