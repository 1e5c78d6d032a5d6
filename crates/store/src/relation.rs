//! Who names whom: the records that use another one, for `…/used_by/` (CO-532).

use sqlx::AssertSqlSafe;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many};

/// A way in which one record uses another: `ApplicationOfProvider` finds the applications of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each says what it finds, and of what")]
pub enum Relation {
    TokenOfAccount,
    SessionOfAccount,
    AuthenticatorOfAccount,
    ConsentOfAccount,
    RefreshTokenOfAccount,
    MemberOfTeam,
    ChildOfTeam,
    AccountWithRole,
    TeamWithRole,
    BrandOpeningApplication,
    ConsentOfApplication,
    ApplicationOfProvider,
    OutpostServingProvider,
    ConsentOfProvider,
    RefreshTokenOfProvider,
    ProviderWithMapping,
    SourceWithMapping,
    ProviderTrustingSource,
    ProviderSigningWithCertificate,
    ProviderEncryptingToCertificate,
    ProviderPresentingCertificate,
    BrandPresentingCertificate,
    BrandAcceptingCertificate,
}

/// A record that uses another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its key.
    pub pk: String,
    /// What it is called.
    pub name: String,
    /// Of what kind it is, where there are several: of a provider `proxy` or `oauth2`, of an authenticator its class.
    pub kind: String,
}

impl Record for Named {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self { pk: row.text("pk")?, name: row.text("name")?, kind: row.text("kind")? })
    }
}

impl Relation {
    /// What is selected, where `$1` is the key of what is used.
    const fn statement(self) -> (&'static str, &'static str) {
        match self {
            Self::TokenOfAccount => {
                ("uuid AS pk, identifier AS name, '' AS kind", "token WHERE account = CAST($1 AS INTEGER)")
            }
            Self::SessionOfAccount => (
                "uuid AS pk, 'Session ' || substr(uuid, 1, 8) AS name, '' AS kind",
                "login_session WHERE account = CAST($1 AS INTEGER)",
            ),
            Self::AuthenticatorOfAccount => {
                ("CAST(pk AS TEXT) AS pk, name, class AS kind", "authenticator WHERE account = CAST($1 AS INTEGER)")
            }
            Self::ConsentOfAccount => (
                "CAST(consent.pk AS TEXT) AS pk, application.name AS name, '' AS kind",
                "consent JOIN application ON application.uuid = consent.application
                 WHERE consent.account = CAST($1 AS INTEGER)",
            ),
            Self::RefreshTokenOfAccount => (
                "CAST(refresh_token.pk AS TEXT) AS pk, provider.name AS name, '' AS kind",
                "refresh_token JOIN provider ON provider.pk = refresh_token.provider
                 WHERE refresh_token.account = CAST($1 AS INTEGER)
                     AND refresh_token.rotated IS NULL AND refresh_token.revoked IS NULL",
            ),
            Self::MemberOfTeam => (
                "CAST(account.pk AS TEXT) AS pk, account.username AS name, '' AS kind",
                "membership JOIN account ON account.pk = membership.account WHERE membership.team = $1",
            ),
            Self::ChildOfTeam => (
                "team.pk AS pk, team.name AS name, '' AS kind",
                "team_parent JOIN team ON team.pk = team_parent.child WHERE team_parent.parent = $1",
            ),
            Self::AccountWithRole => (
                "CAST(account.pk AS TEXT) AS pk, account.username AS name, '' AS kind",
                "account_role JOIN account ON account.pk = account_role.account WHERE account_role.role = $1",
            ),
            Self::TeamWithRole => (
                "team.pk AS pk, team.name AS name, '' AS kind",
                "team_role JOIN team ON team.pk = team_role.team WHERE team_role.role = $1",
            ),
            Self::BrandOpeningApplication => ("pk, domain AS name, '' AS kind", "brand WHERE default_application = $1"),
            Self::ConsentOfApplication => (
                "CAST(consent.pk AS TEXT) AS pk, account.username AS name, '' AS kind",
                "consent JOIN account ON account.pk = consent.account WHERE consent.application = $1",
            ),
            Self::ApplicationOfProvider => {
                ("uuid AS pk, name, '' AS kind", "application WHERE provider = CAST($1 AS INTEGER)")
            }
            Self::OutpostServingProvider => (
                "outpost.pk AS pk, outpost.name AS name, '' AS kind",
                "outpost_provider JOIN outpost ON outpost.pk = outpost_provider.outpost
                 WHERE outpost_provider.provider = CAST($1 AS INTEGER)",
            ),
            Self::ConsentOfProvider => (
                "CAST(consent.pk AS TEXT) AS pk, account.username AS name, '' AS kind",
                "consent JOIN account ON account.pk = consent.account WHERE consent.provider = CAST($1 AS INTEGER)",
            ),
            Self::RefreshTokenOfProvider => (
                "CAST(refresh_token.pk AS TEXT) AS pk, account.username AS name, '' AS kind",
                "refresh_token JOIN account ON account.pk = refresh_token.account
                 WHERE refresh_token.provider = CAST($1 AS INTEGER)
                     AND refresh_token.rotated IS NULL AND refresh_token.revoked IS NULL",
            ),
            Self::ProviderWithMapping => (
                "CAST(provider.pk AS TEXT) AS pk, provider.name AS name, provider.kind AS kind",
                "provider_mapping JOIN provider ON provider.pk = provider_mapping.provider
                 WHERE provider_mapping.mapping = $1",
            ),
            // Keys are UUIDs: they stand in lists between quotes, and hold nothing that a pattern would read.
            Self::SourceWithMapping => (
                "pk, name, '' AS kind",
                "oauth_source WHERE user_property_mappings LIKE '%\"' || $1 || '\"%'
                                 OR group_property_mappings LIKE '%\"' || $1 || '\"%'",
            ),
            Self::ProviderTrustingSource => (
                "CAST(pk AS TEXT) AS pk, name, kind",
                "provider WHERE jwt_federation_sources LIKE '%\"' || $1 || '\"%'",
            ),
            Self::ProviderSigningWithCertificate => {
                ("CAST(pk AS TEXT) AS pk, name, kind", "provider WHERE signing_key = $1")
            }
            Self::ProviderEncryptingToCertificate => {
                ("CAST(pk AS TEXT) AS pk, name, kind", "provider WHERE encryption_key = $1")
            }
            Self::ProviderPresentingCertificate => {
                ("CAST(pk AS TEXT) AS pk, name, kind", "provider WHERE certificate = $1")
            }
            Self::BrandPresentingCertificate => ("pk, domain AS name, '' AS kind", "brand WHERE web_certificate = $1"),
            Self::BrandAcceptingCertificate => (
                "brand.pk AS pk, brand.domain AS name, '' AS kind",
                "brand_client_certificate JOIN brand ON brand.pk = brand_client_certificate.brand
                 WHERE brand_client_certificate.certificate = $1",
            ),
        }
    }
}

/// The records that use the one with this key in this way, by name.
///
/// # Errors
/// When the database fails.
pub async fn users_of(conn: &mut Conn, relation: Relation, key: &str) -> Result<Vec<Named>, StoreError> {
    let (columns, place) = relation.statement();
    // Only texts of this module; the key is bound.
    let text = format!("SELECT {columns} FROM {place} ORDER BY name, pk");
    many(on!(conn, c => sqlx::query(AssertSqlSafe(text)).bind(key).fetch_all(c).await))
}
