//! Little of many providers: a row of them is wide, and lists of a thousand need a few columns.

use portcullis_core::id::ProviderPk;
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

/// The proxy providers that have an application, by name; those of this name, if it is given.
///
/// # Errors
/// When the database fails.
pub async fn proxy_keys(conn: &mut Conn, name: Option<&str>) -> Result<Vec<ProviderPk>, StoreError> {
    struct Key(ProviderPk);
    impl Record for Key {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(ProviderPk(row.small("pk")?)))
        }
    }
    let keys: Vec<Key> = many(on!(conn, c => sqlx::query(
        "SELECT pk FROM provider WHERE kind = 'proxy' AND ($1 IS NULL OR name = $1)
           AND EXISTS (SELECT 1 FROM application WHERE application.provider = provider.pk)
         ORDER BY name",
    ).bind(name).fetch_all(c).await))?;
    Ok(keys.into_iter().map(|Key(pk)| pk).collect())
}
