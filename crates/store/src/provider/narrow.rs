//! Little of many providers: a row of them is wide, and lists of a thousand need a few columns.

use portcullis_core::id::{FlowId, OutpostId, ProviderPk};
use serde_json::Value;

use crate::among;
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many};

/// Where what a provider is for is found.
#[derive(Clone, Debug, PartialEq)]
pub struct Home {
    /// Key.
    pub pk: ProviderPk,
    /// The host that is guarded; empty for a client of OAuth.
    pub external_host: String,
    /// JSON list of `{matching_mode, url, redirect_uri_type}`.
    pub redirect_uris: Value,
}

impl Record for Home {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: ProviderPk(row.small("pk")?),
            external_host: row.text("external_host")?,
            redirect_uris: row.json("redirect_uris")?,
        })
    }
}

/// Where what these providers are for is found, in no particular order.
///
/// # Errors
/// When the database fails.
pub async fn homes(conn: &mut Conn, keys: &[ProviderPk]) -> Result<Vec<Home>, StoreError> {
    let statement = "SELECT pk, external_host, redirect_uris FROM provider WHERE pk IN (?)";
    among::of(conn, statement, &[], keys.iter().map(|key| key.0)).await
}

/// What names a provider, and what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Key.
    pub pk: ProviderPk,
    /// `proxy` or `oauth2`.
    pub kind: String,
    /// Unique name.
    pub name: String,
    /// Flow for signing in, if not the brand's.
    pub authentication_flow: Option<FlowId>,
    /// Flow for consent.
    pub authorization_flow: FlowId,
    /// Flow for signing out.
    pub invalidation_flow: FlowId,
    /// Slug and name of the application that uses it.
    pub application: Option<(String, String)>,
}

impl Record for Summary {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: ProviderPk(row.small("pk")?),
            kind: row.text("kind")?,
            name: row.text("name")?,
            authentication_flow: row.parsed_or_null("authentication_flow")?,
            authorization_flow: row.parsed("authorization_flow")?,
            invalidation_flow: row.parsed("invalidation_flow")?,
            application: row.text_or_null("application_slug")?.zip(row.text_or_null("application_name")?),
        })
    }
}

/// The providers attached to an outpost, by name.
///
/// # Errors
/// When the database fails.
pub async fn summaries_of_outpost(conn: &mut Conn, outpost: OutpostId) -> Result<Vec<Summary>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT provider.pk, provider.kind, provider.name, provider.authentication_flow, provider.authorization_flow,
             provider.invalidation_flow, application.slug AS application_slug, application.name AS application_name
         FROM outpost_provider JOIN provider ON provider.pk = outpost_provider.provider
         LEFT JOIN application ON application.provider = provider.pk
         WHERE outpost_provider.outpost = $1 ORDER BY provider.name",
    ).bind(outpost.to_string()).fetch_all(c).await))
}

/// The proxy providers that have an application, by name; those of this name, if it is given.
///
/// # Errors
/// When the database fails.
pub async fn proxy_keys(conn: &mut Conn, name: Option<&str>) -> Result<Vec<ProviderPk>, StoreError> {
    let keys: Vec<i32> = on!(conn, c => sqlx::query_scalar(
        "SELECT pk FROM provider WHERE kind = 'proxy' AND ($1 IS NULL OR name = $1)
           AND EXISTS (SELECT 1 FROM application WHERE application.provider = provider.pk)
         ORDER BY name",
    ).bind(name).fetch_all(c).await)?;
    Ok(keys.into_iter().map(ProviderPk).collect())
}
