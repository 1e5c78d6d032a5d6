//! Certificates, perhaps with their private keys (CO-568).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{CertificateId, OutpostId};

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// A certificate, perhaps with its private key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Key.
    pub pk: CertificateId,
    /// Unique name.
    pub name: String,
    /// The certificate and what it is signed with, PEM, leaf first.
    pub chain: String,
    /// The private key, PEM, sealed for `certificate:<pk>:private_key`.
    pub private_key_sealed: Option<Vec<u8>>,
    /// SHA-256 of the leaf, pairs of hex digits with colons between them.
    pub fingerprint_sha256: String,
    /// SHA-1 of the leaf, in the same form.
    pub fingerprint_sha1: String,
    /// Whose it is, as RFC 4514 writes it.
    pub subject: String,
    /// When the leaf ends.
    pub expires: Timestamp,
    /// `rsa`, `ec`, `dsa`, `ed25519` or `ed448`, if it is one of these.
    pub key_type: Option<String>,
    /// Permanent name of one that comes with the installation.
    pub managed: Option<String>,
    /// By what tokens name the key, if that is not its thumbprint (OA-932).
    pub kid: Option<String>,
}

/// Never prints the sealed column.
impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("pk", &self.pk).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Record for Certificate {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            name: row.text("name")?,
            chain: row.text("chain")?,
            private_key_sealed: row.bytes_or_null("private_key_sealed")?,
            fingerprint_sha256: row.text("fingerprint_sha256")?,
            fingerprint_sha1: row.text("fingerprint_sha1")?,
            subject: row.text("subject")?,
            expires: row.instant("expires")?,
            key_type: row.text_or_null("key_type")?,
            managed: row.text_or_null("managed")?,
            kid: row.text_or_null("kid")?,
        })
    }
}

/// The certificate with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: CertificateId) -> Result<Option<Certificate>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM certificate WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// The certificates of the providers that an outpost serves, each once.
///
/// # Errors
/// When the database fails.
pub async fn of_outpost(conn: &mut Conn, outpost: OutpostId) -> Result<Vec<Certificate>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM certificate WHERE pk IN (
             SELECT provider.certificate FROM provider
             JOIN outpost_provider ON outpost_provider.provider = provider.pk WHERE outpost_provider.outpost = $1)
         ORDER BY pk",
    ).bind(outpost.to_string()).fetch_all(c).await))
}

/// All certificates that have a private key, the one that ends last first.
///
/// # Errors
/// When the database fails.
pub async fn with_key(conn: &mut Conn) -> Result<Vec<Certificate>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM certificate WHERE private_key_sealed IS NOT NULL ORDER BY expires DESC, pk",
    ).fetch_all(c).await))
}

/// Keeps a new certificate.
///
/// # Errors
/// [`StoreError::Taken`] when the name exists; else when the database fails.
pub async fn insert(conn: &mut Conn, certificate: &Certificate) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO certificate (pk, name, chain, private_key_sealed, fingerprint_sha256, fingerprint_sha1, subject,
             expires, key_type, managed, kid)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(certificate.pk.to_string())
    .bind(&certificate.name)
    .bind(&certificate.chain)
    .bind(&certificate.private_key_sealed)
    .bind(&certificate.fingerprint_sha256)
    .bind(&certificate.fingerprint_sha1)
    .bind(&certificate.subject)
    .bind(certificate.expires.0)
    .bind(&certificate.key_type)
    .bind(&certificate.managed)
    .bind(&certificate.kid)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores every field of a certificate but key and permanent name.
///
/// # Errors
/// [`StoreError::Taken`] when the name is another's; else when the database fails.
pub async fn update(conn: &mut Conn, certificate: &Certificate) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE certificate SET name = $2, chain = $3, private_key_sealed = $4, fingerprint_sha256 = $5,
             fingerprint_sha1 = $6, subject = $7, expires = $8, key_type = $9, kid = $10
         WHERE pk = $1",
    )
    .bind(certificate.pk.to_string())
    .bind(&certificate.name)
    .bind(&certificate.chain)
    .bind(&certificate.private_key_sealed)
    .bind(&certificate.fingerprint_sha256)
    .bind(&certificate.fingerprint_sha1)
    .bind(&certificate.subject)
    .bind(certificate.expires.0)
    .bind(&certificate.key_type)
    .bind(&certificate.kid)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Deletes a certificate; what named it names none then (CO-594).
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: CertificateId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM certificate WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// Conditions on a list of certificates (CO-568). Absent and empty conditions hold for every certificate.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name.
    pub name: Option<String>,
    /// Permanent name.
    pub managed: Option<String>,
    /// Whether the private key is there.
    pub has_key: Option<bool>,
    /// One of these types of keys.
    pub key_types: Vec<String>,
    /// Terms that must occur in the name (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What certificates can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    Subject,
    Expires,
    KeyType,
    Managed,
    Sha256,
    Sha1,
    HasKey,
}

/// The certificates that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Certificate>, StoreError> {
    let mut select = Select::default();
    if let Some(name) = &filter.name {
        select.text("name = ?", name);
    }
    if let Some(managed) = &filter.managed {
        select.text("managed = ?", managed);
    }
    match filter.has_key {
        Some(true) => select.always("private_key_sealed IS NOT NULL"),
        Some(false) => select.always("private_key_sealed IS NULL"),
        None => {}
    }
    select.any_text("key_type IN (?)", &filter.key_types);
    select.search(&["name"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Name => "name",
            Order::Subject => "subject",
            Order::Expires => "expires",
            Order::KeyType => "key_type",
            Order::Managed => "managed",
            Order::Sha256 => "fingerprint_sha256",
            Order::Sha1 => "fingerprint_sha1",
            Order::HasKey => "(private_key_sealed IS NOT NULL)",
        };
        select.order(column, *descending);
    }
    select.order("certificate.pk", false);
    select.list(conn, "certificate", slice).await
}
