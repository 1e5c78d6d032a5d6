//! Lists of providers.

use portcullis_core::id::{CertificateId, FlowId, MappingId};
use uuid::Uuid;

use super::Provider;
use crate::db::Conn;
use crate::error::StoreError;
use crate::select::{Listed, Select, Slice};

/// Conditions on a list of providers (CO-557, CO-559). Absent and empty conditions hold for every provider.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `proxy` or `oauth2`.
    pub kind: Option<&'static str>,
    /// Name, whatever its case.
    pub name: Option<String>,
    /// External host, whatever its case.
    pub external_host: Option<String>,
    /// Internal host, whatever its case.
    pub internal_host: Option<String>,
    /// Mode, whatever its case.
    pub mode: Option<String>,
    /// Cookie domain, whatever its case.
    pub cookie_domain: Option<String>,
    /// Slug of the authorization flow, whatever its case.
    pub authorization_flow: Option<String>,
    /// Key of the authorization flow.
    pub authorization_flow_pk: Option<FlowId>,
    /// Name, byte for byte.
    pub exact_name: Option<String>,
    /// Client id, byte for byte.
    pub client_id: Option<String>,
    /// Kind of client.
    pub client_type: Option<String>,
    /// How `sub` is made.
    pub sub_mode: Option<String>,
    /// How `iss` is made.
    pub issuer_mode: Option<String>,
    /// What signs.
    pub signing_key: Option<CertificateId>,
    /// One of these mappings.
    pub mappings: Vec<MappingId>,
    /// The application that uses it.
    pub application: Option<Uuid>,
    /// Whether no application uses it.
    pub without_application: Option<bool>,
    /// Terms that must occur in the name (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What providers can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    ExternalHost,
    InternalHost,
    Mode,
    ClientId,
    ClientType,
    SubMode,
    IssuerMode,
    Kind,
    AuthenticationFlow,
    AuthorizationFlow,
    InvalidationFlow,
    ApplicationSlug,
    ApplicationName,
    AccessTokenValidity,
    RefreshTokenValidity,
    SslValidation,
    Certificate,
    SkipPathRegex,
    BasicAuthEnabled,
    BasicAuthUserAttribute,
    BasicAuthPasswordAttribute,
    InterceptHeaderAuth,
    CookieDomain,
    AccessCodeValidity,
    RefreshTokenThreshold,
    IncludeClaims,
    SigningKey,
    EncryptionKey,
    LogoutUri,
    LogoutMethod,
}

/// The providers that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Provider>, StoreError> {
    let mut select = Select::default();
    for (column, value) in [
        ("name", &filter.name),
        ("external_host", &filter.external_host),
        ("internal_host", &filter.internal_host),
        ("mode", &filter.mode),
        ("cookie_domain", &filter.cookie_domain),
    ] {
        if let Some(value) = value {
            select.same(&format!("provider.{column}"), value);
        }
    }
    if let Some(slug) = &filter.authorization_flow {
        select.text(
            "EXISTS (SELECT 1 FROM flow WHERE flow.pk = provider.authorization_flow AND lower(flow.slug) = ?)",
            slug.to_ascii_lowercase(),
        );
    }
    if let Some(kind) = filter.kind {
        select.text("provider.kind = ?", kind);
    }
    for (column, value) in [
        ("name", &filter.exact_name),
        ("client_id", &filter.client_id),
        ("client_type", &filter.client_type),
        ("sub_mode", &filter.sub_mode),
        ("issuer_mode", &filter.issuer_mode),
        ("signing_key", &filter.signing_key.map(|pk| pk.to_string())),
        ("authorization_flow", &filter.authorization_flow_pk.map(|pk| pk.to_string())),
    ] {
        if let Some(value) = value {
            select.text(&format!("provider.{column} = ?"), value);
        }
    }
    let mappings: Vec<_> = filter.mappings.iter().map(ToString::to_string).collect();
    select.any_text(
        "EXISTS (SELECT 1 FROM provider_mapping WHERE provider_mapping.provider = provider.pk
                 AND provider_mapping.mapping IN (?))",
        &mappings,
    );
    if let Some(application) = filter.application {
        select.text(
            "EXISTS (SELECT 1 FROM application WHERE application.provider = provider.pk AND application.uuid = ?)",
            application.to_string(),
        );
    }
    match filter.without_application {
        Some(true) => {
            select.always("NOT EXISTS (SELECT 1 FROM application WHERE application.provider = provider.pk)");
        }
        Some(false) => select.always("EXISTS (SELECT 1 FROM application WHERE application.provider = provider.pk)"),
        None => {}
    }
    select.search(&["provider.name"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "provider.pk",
            Order::Name => "provider.name",
            Order::ExternalHost => "provider.external_host",
            Order::InternalHost => "provider.internal_host",
            Order::Mode => "provider.mode",
            Order::ClientId => "provider.client_id",
            Order::ClientType => "provider.client_type",
            Order::SubMode => "provider.sub_mode",
            Order::IssuerMode => "provider.issuer_mode",
            Order::Kind => "provider.kind",
            Order::AuthenticationFlow => "provider.authentication_flow",
            Order::AuthorizationFlow => "provider.authorization_flow",
            Order::InvalidationFlow => "provider.invalidation_flow",
            Order::ApplicationSlug => {
                "(SELECT application.slug FROM application WHERE application.provider = provider.pk)"
            }
            Order::ApplicationName => {
                "(SELECT application.name FROM application WHERE application.provider = provider.pk)"
            }
            Order::AccessTokenValidity => "provider.access_token_validity",
            Order::RefreshTokenValidity => "provider.refresh_token_validity",
            Order::SslValidation => "provider.internal_host_ssl_validation",
            Order::Certificate => "provider.certificate",
            Order::SkipPathRegex => "provider.skip_path_regex",
            Order::BasicAuthEnabled => "provider.basic_auth_enabled",
            Order::BasicAuthUserAttribute => "provider.basic_auth_user_attribute",
            Order::BasicAuthPasswordAttribute => "provider.basic_auth_password_attribute",
            Order::InterceptHeaderAuth => "provider.intercept_header_auth",
            Order::CookieDomain => "provider.cookie_domain",
            Order::AccessCodeValidity => "provider.access_code_validity",
            Order::RefreshTokenThreshold => "provider.refresh_token_threshold",
            Order::IncludeClaims => "provider.include_claims_in_id_token",
            Order::SigningKey => "provider.signing_key",
            Order::EncryptionKey => "provider.encryption_key",
            Order::LogoutUri => "provider.logout_uri",
            Order::LogoutMethod => "provider.logout_method",
        };
        select.order(column, *descending);
    }
    select.order("provider.pk", false);
    select.list(conn, "provider", slice).await
}
