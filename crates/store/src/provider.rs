//! Providers: how an application takes part in authentication (PX-020, OA section 2).

mod list;
mod narrow;
mod written;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{CertificateId, FlowId, MappingId, ProviderPk, SourceId};
use serde_json::Value;
use uuid::Uuid;

use crate::among;
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};

pub use list::{Filter, Order, list};
pub use narrow::{Home, Summary, homes, proxy_keys, summaries_of_outpost};
pub use written::{insert, update};

// By name, so that a test can ask the database how it runs them: there may be many.
const CODES: &str = "DELETE FROM authorization_code WHERE provider = $1";
const TOKENS: &str = "DELETE FROM access_token WHERE provider = $1";
const SESSIONS: &str = "DELETE FROM proxy_session WHERE provider = $1";

/// A provider. Durations are the administrator's text (CO-022).
#[derive(Clone, PartialEq)]
pub struct Provider {
    /// Key, never used again after deletion. Ignored by [`insert`].
    pub pk: ProviderPk,
    /// What sealed columns are named by: it is known before the key is.
    pub uuid: Uuid,
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
    /// OAuth client id, unique.
    pub client_id: String,
    /// `confidential` or `public`.
    pub client_type: String,
    /// OAuth client secret, sealed for `provider:<uuid>:client_secret`.
    pub client_secret_sealed: Vec<u8>,
    /// When the client secret ends; never if none.
    pub client_secret_expires: Option<Timestamp>,
    /// When the client proved itself with it last, to a minute.
    pub client_secret_used: Option<Timestamp>,
    /// Another client secret that is good at the same time (OA-807), sealed for `provider:<uuid>:second_secret`; empty if there
    /// is none.
    pub second_secret_sealed: Vec<u8>,
    /// When that one ends; never if none.
    pub second_secret_expires: Option<Timestamp>,
    /// When the client proved itself with that one last, to a minute.
    pub second_secret_used: Option<Timestamp>,
    /// Public keys that the client proves itself with (OA-710): a key set, or an empty object.
    pub client_jwks: Value,
    /// List of the grants it may use.
    pub grant_types: Value,
    /// List of `{matching_mode, url, redirect_uri_type}`.
    pub redirect_uris: Value,
    /// Lifetime of authorization codes.
    pub access_code_validity: String,
    /// Lifetime of access tokens and of sessions of the data plane.
    pub access_token_validity: String,
    /// Lifetime of refresh tokens.
    pub refresh_token_validity: String,
    /// A refresh token with less than this left is replaced.
    pub refresh_token_threshold: String,
    /// How long refresh tokens of one sign-in go on at most, whatever is rotated (OA-268); empty for no end.
    pub refresh_family_max_age: String,
    /// Whether the id token says what mappings say, or only user info does.
    pub include_claims_in_id_token: bool,
    /// What signs its tokens. None: for a proxy the installation's own key, else the client secret (OA-033, OA-072).
    pub signing_key: Option<CertificateId>,
    /// Whom its tokens are encrypted to (OA-034).
    pub encryption_key: Option<CertificateId>,
    /// How `sub` is made (OA-046).
    pub sub_mode: String,
    /// `per_provider` or `global` (OA-049).
    pub issuer_mode: String,
    /// Where it hears of sign-outs, or empty.
    pub logout_uri: String,
    /// `backchannel` or `frontchannel`.
    pub logout_method: String,
    /// List of source UUIDs.
    pub jwt_federation_sources: Value,
    /// List of provider keys.
    pub jwt_federation_providers: Value,
    /// List of `aud` that assertions may have besides the defaults (OA-328).
    pub federation_audiences: Value,
    /// Whether what is issued for an assertion ends no later than that (OA-336).
    pub cap_to_assertion_exp: bool,
    /// Whether a token may be exchanged by somebody who does not say who acts (OA-738).
    pub exchange_without_actor: bool,
    /// Whether a code is for who has the verifier of its challenge alone; see [`Provider::needs_pkce`] (OA-041).
    pub require_pkce: bool,
    /// Whether an app password counts beside the client's secret alone (OA-043).
    pub m2m_require_client_auth: bool,
    /// Whether the challenge of a code may be its verifier (OA-041).
    pub allow_pkce_plain: bool,
    /// How long a device waits for somebody to let it in (OA-042).
    pub device_code_validity: String,
    /// Whether a client that has a secret shows it for devices; see [`Provider::proves_devices`] (OA-043).
    pub device_require_client_auth: bool,
    /// List of origins whose pages may read answers, besides those of strict redirect URIs (OA-580).
    pub allowed_origins: Value,
    /// Whether an access token may come in the query at user information (OA-884).
    pub allow_query_token: bool,
    /// Whether patterns of redirect URIs may fit hosts that have nothing in common (OA-841).
    pub allow_broad_redirect_uris: bool,
    /// `proxy`, `forward_single` or `forward_domain`.
    pub mode: String,
    /// Where browsers reach the application.
    pub external_host: String,
    /// Where the application is.
    pub internal_host: String,
    /// Whether the upstream's certificate is verified.
    pub internal_host_ssl_validation: bool,
    /// What is shown to clients that ask for its host over TLS.
    pub certificate: Option<CertificateId>,
    /// One expression a line.
    pub skip_path_regex: String,
    /// Whether wrong credentials get a 401.
    pub intercept_header_auth: bool,
    /// Whether HTTP Basic is sent upstream.
    pub basic_auth_enabled: bool,
    /// Attribute that holds the upstream user name.
    pub basic_auth_user_attribute: String,
    /// Attribute that holds the upstream password.
    pub basic_auth_password_attribute: String,
    /// Domain of the session cookie, or empty.
    pub cookie_domain: String,
    /// Key of the state token, sealed for `provider:<uuid>:cookie_secret`.
    pub cookie_secret_sealed: Vec<u8>,
}

impl Provider {
    /// Whether it is the client of an outpost.
    pub fn is_proxy(&self) -> bool {
        self.kind == "proxy"
    }

    /// The attributes of users that its application is sent, secret or not (PX-415, CO-229, CO-284).
    pub fn used_attributes(&self) -> Vec<&str> {
        if !self.is_proxy() {
            return Vec::new();
        }
        let mut keys = vec!["additionalHeaders"];
        if self.basic_auth_enabled {
            keys.extend([self.basic_auth_user_attribute.as_str(), self.basic_auth_password_attribute.as_str()]);
        }
        keys.retain(|key| !key.is_empty());
        keys
    }

    /// Whether its client can keep no secret (RFC 6749 §2.1).
    pub fn is_public(&self) -> bool {
        self.client_type == "public"
    }

    /// Whether a code is for who has the verifier of its challenge alone: always where the client has no secret (OA-041).
    pub fn needs_pkce(&self) -> bool {
        self.require_pkce || self.is_public()
    }

    /// Whether its client shows its secret at the device endpoint and for a device's code: never one that has none (OA-043).
    pub fn proves_devices(&self) -> bool {
        self.device_require_client_auth && !self.is_public()
    }

    /// Whether its client may use a grant (OA-050).
    pub fn may_use(&self, grant: &str) -> bool {
        self.grant_types.as_array().is_some_and(|grants| grants.iter().any(|known| known == grant))
    }

    /// Whether it accepts what a source vouches for.
    pub fn trusts(&self, source: SourceId) -> bool {
        let source = source.to_string();
        self.jwt_federation_sources.as_array().is_some_and(|list| list.iter().any(|known| *known == *source))
    }

    /// Whether it accepts access tokens of another provider (OA-037).
    pub fn accepts_tokens_of(&self, other: ProviderPk) -> bool {
        let other = i64::from(other.0);
        self.jwt_federation_providers.as_array().is_some_and(|list| list.iter().any(|pk| pk.as_i64() == Some(other)))
    }
}

/// Never prints the sealed columns.
impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("pk", &self.pk).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Record for Provider {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: ProviderPk(row.small("pk")?),
            uuid: row.parsed("uuid")?,
            kind: row.text("kind")?,
            name: row.text("name")?,
            authentication_flow: row.parsed_or_null("authentication_flow")?,
            authorization_flow: row.parsed("authorization_flow")?,
            invalidation_flow: row.parsed("invalidation_flow")?,
            client_id: row.text("client_id")?,
            client_type: row.text("client_type")?,
            client_secret_sealed: row.bytes("client_secret_sealed")?,
            client_secret_expires: row.instant_or_null("client_secret_expires")?,
            client_secret_used: row.instant_or_null("client_secret_used")?,
            second_secret_sealed: row.bytes("second_secret_sealed")?,
            second_secret_expires: row.instant_or_null("second_secret_expires")?,
            second_secret_used: row.instant_or_null("second_secret_used")?,
            client_jwks: row.json("client_jwks")?,
            grant_types: row.json("grant_types")?,
            redirect_uris: row.json("redirect_uris")?,
            access_code_validity: row.text("access_code_validity")?,
            access_token_validity: row.text("access_token_validity")?,
            refresh_token_validity: row.text("refresh_token_validity")?,
            refresh_token_threshold: row.text("refresh_token_threshold")?,
            refresh_family_max_age: row.text("refresh_family_max_age")?,
            include_claims_in_id_token: row.flag("include_claims_in_id_token")?,
            signing_key: row.parsed_or_null("signing_key")?,
            encryption_key: row.parsed_or_null("encryption_key")?,
            sub_mode: row.text("sub_mode")?,
            issuer_mode: row.text("issuer_mode")?,
            logout_uri: row.text("logout_uri")?,
            logout_method: row.text("logout_method")?,
            jwt_federation_sources: row.json("jwt_federation_sources")?,
            jwt_federation_providers: row.json("jwt_federation_providers")?,
            federation_audiences: row.json("federation_audiences")?,
            cap_to_assertion_exp: row.flag("cap_to_assertion_exp")?,
            exchange_without_actor: row.flag("exchange_without_actor")?,
            require_pkce: row.flag("require_pkce")?,
            m2m_require_client_auth: row.flag("m2m_require_client_auth")?,
            allow_pkce_plain: row.flag("allow_pkce_plain")?,
            device_code_validity: row.text("device_code_validity")?,
            device_require_client_auth: row.flag("device_require_client_auth")?,
            allowed_origins: row.json("allowed_origins")?,
            allow_query_token: row.flag("allow_query_token")?,
            allow_broad_redirect_uris: row.flag("allow_broad_redirect_uris")?,
            mode: row.text("mode")?,
            external_host: row.text("external_host")?,
            internal_host: row.text("internal_host")?,
            internal_host_ssl_validation: row.flag("internal_host_ssl_validation")?,
            certificate: row.parsed_or_null("certificate")?,
            skip_path_regex: row.text("skip_path_regex")?,
            intercept_header_auth: row.flag("intercept_header_auth")?,
            basic_auth_enabled: row.flag("basic_auth_enabled")?,
            basic_auth_user_attribute: row.text("basic_auth_user_attribute")?,
            basic_auth_password_attribute: row.text("basic_auth_password_attribute")?,
            cookie_domain: row.text("cookie_domain")?,
            cookie_secret_sealed: row.bytes("cookie_secret_sealed")?,
        })
    }
}

/// The provider with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: ProviderPk) -> Result<Option<Provider>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM provider WHERE pk = $1").bind(pk.0).fetch_optional(c).await))
}

/// The providers with these keys, in no particular order.
///
/// # Errors
/// When the database fails.
pub async fn by_pks(conn: &mut Conn, keys: &[ProviderPk]) -> Result<Vec<Provider>, StoreError> {
    among::of(conn, "SELECT * FROM provider WHERE pk IN (?)", &[], keys.iter().map(|key| key.0)).await
}

/// Those of these providers that an outpost serves and that have an application (PX-027), in no particular order.
///
/// # Errors
/// When the database fails.
pub async fn served_among(
    conn: &mut Conn,
    outpost: portcullis_core::id::OutpostId,
    keys: &[ProviderPk],
) -> Result<Vec<Provider>, StoreError> {
    let statement = "SELECT provider.* FROM provider JOIN outpost_provider ON outpost_provider.provider = provider.pk
         WHERE outpost_provider.outpost = $1 AND provider.pk IN (?)
           AND EXISTS (SELECT 1 FROM application WHERE application.provider = provider.pk)";
    among::of(conn, statement, &[&outpost.to_string()], keys.iter().map(|key| key.0)).await
}

/// The provider with this OAuth client id, compared byte for byte (OA-023).
///
/// # Errors
/// When the database fails.
pub async fn by_client_id(conn: &mut Conn, client_id: &str) -> Result<Option<Provider>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM provider WHERE client_id = $1")
        .bind(client_id).fetch_optional(c).await))
}

/// The provider with this name.
///
/// # Errors
/// When the database fails.
pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<Provider>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM provider WHERE name = $1").bind(name).fetch_optional(c).await))
}

/// The providers attached to an outpost that have an application, by name (PX-027).
///
/// # Errors
/// When the database fails.
pub async fn served_by(conn: &mut Conn, outpost: portcullis_core::id::OutpostId) -> Result<Vec<Provider>, StoreError> {
    let mut providers: Vec<Provider> = many(on!(conn, c => sqlx::query(
        "SELECT provider.* FROM provider JOIN outpost_provider ON outpost_provider.provider = provider.pk
         WHERE outpost_provider.outpost = $1
           AND EXISTS (SELECT 1 FROM application WHERE application.provider = provider.pk)",
    ).bind(outpost.to_string()).fetch_all(c).await))?;
    // Here and not in SQL: collations differ between engines.
    providers.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(providers)
}

/// The clients of outposts, by name.
///
/// # Errors
/// When the database fails.
pub async fn proxies(conn: &mut Conn) -> Result<Vec<Provider>, StoreError> {
    let mut providers: Vec<Provider> =
        many(on!(conn, c => sqlx::query("SELECT * FROM provider WHERE kind = 'proxy'").fetch_all(c).await))?;
    providers.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(providers)
}

/// The providers that accept tokens of others.
///
/// # Errors
/// When the database fails.
pub async fn federating(conn: &mut Conn) -> Result<Vec<Provider>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM provider WHERE jwt_federation_providers <> '[]'")
        .fetch_all(c).await))
}

/// The providers that accept what a source vouches for.
///
/// # Errors
/// When the database fails.
pub async fn trusting(conn: &mut Conn, source: SourceId) -> Result<Vec<Provider>, StoreError> {
    let mut all: Vec<Provider> = many(on!(conn, c => sqlx::query(
        "SELECT * FROM provider WHERE jwt_federation_sources <> '[]'",
    ).fetch_all(c).await))?;
    all.retain(|provider| provider.trusts(source));
    Ok(all)
}

/// The providers whose tokens a key pair signs.
///
/// # Errors
/// When the database fails.
pub async fn signed_by(conn: &mut Conn, key: CertificateId) -> Result<Vec<Provider>, StoreError> {
    let key = key.to_string();
    many(on!(conn, c => sqlx::query("SELECT * FROM provider WHERE signing_key = $1").bind(key).fetch_all(c).await))
}

/// The providers whose tokens are encrypted to a key.
///
/// # Errors
/// When the database fails.
pub async fn encrypted_to(conn: &mut Conn, key: CertificateId) -> Result<Vec<Provider>, StoreError> {
    let key = key.to_string();
    many(on!(conn, c => sqlx::query("SELECT * FROM provider WHERE encryption_key = $1").bind(key).fetch_all(c).await))
}

/// Notes that a client proved itself with its first or second secret (OA-807).
///
/// # Errors
/// When the database fails.
pub async fn note_secret(conn: &mut Conn, pk: ProviderPk, second: bool, now: Timestamp) -> Result<(), StoreError> {
    let text = match second {
        false => "UPDATE provider SET client_secret_used = $2 WHERE pk = $1",
        true => "UPDATE provider SET second_secret_used = $2 WHERE pk = $1",
    };
    on!(conn, c => sqlx::query(text).bind(pk.0).bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Whether a page of this origin belongs to any client (OA-583).
///
/// # Errors
/// When the database fails.
pub async fn has_origin(conn: &mut Conn, origin: &str) -> Result<bool, StoreError> {
    let text = "SELECT COUNT(*) FROM (SELECT 1 FROM provider_origin WHERE origin = $1 LIMIT 1) AS found";
    let count = on!(conn, c => sqlx::query_scalar::<_, i64>(text).bind(origin).fetch_one(c).await)?;
    Ok(count > 0)
}

/// Deletes a provider with all that was granted through it; its application stays (CO-130).
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: ProviderPk) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM provider WHERE pk = $1").bind(pk.0).execute(c).await.map(drop))?;
    Ok(())
}

/// The mappings of a provider, in the order they were given.
///
/// # Errors
/// When the database fails.
pub async fn mapping_keys(conn: &mut Conn, pk: ProviderPk) -> Result<Vec<MappingId>, StoreError> {
    struct Key(MappingId);
    impl Record for Key {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(row.parsed("mapping")?))
        }
    }
    let keys: Vec<Key> = many(on!(conn, c => sqlx::query(
        "SELECT mapping FROM provider_mapping WHERE provider = $1 ORDER BY position, mapping",
    ).bind(pk.0).fetch_all(c).await))?;
    Ok(keys.into_iter().map(|Key(key)| key).collect())
}

/// The mappings of these providers; those of each in the order they were given.
///
/// # Errors
/// When the database fails.
pub async fn mapping_links(conn: &mut Conn, keys: &[ProviderPk]) -> Result<Vec<(ProviderPk, MappingId)>, StoreError> {
    struct Link(ProviderPk, MappingId);
    impl Record for Link {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(ProviderPk(row.small("provider")?), row.parsed("mapping")?))
        }
    }
    let statement = "SELECT provider, mapping FROM provider_mapping WHERE provider IN (?)
         ORDER BY provider, position, mapping";
    let links: Vec<Link> = among::of(conn, statement, &[], keys.iter().map(|key| key.0)).await?;
    Ok(links.into_iter().map(|Link(provider, mapping)| (provider, mapping)).collect())
}

/// Replaces the mappings of a provider.
///
/// # Errors
/// When a mapping does not exist, or the database fails.
pub async fn set_mappings(conn: &mut Conn, pk: ProviderPk, mappings: &[MappingId]) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM provider_mapping WHERE provider = $1")
        .bind(pk.0).execute(c).await.map(drop))?;
    for (position, mapping) in (0i32..).zip(mappings) {
        on!(conn, c => sqlx::query(
            "INSERT INTO provider_mapping (provider, mapping, position) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        ).bind(pk.0).bind(mapping.to_string()).bind(position).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Ends what says who somebody is at a provider: codes, access tokens, sessions of the data plane. What goes on without them
/// says it anew.
///
/// # Errors
/// When the database fails.
pub async fn revoke_grants(conn: &mut Conn, pk: ProviderPk) -> Result<(), StoreError> {
    for statement in [CODES, TOKENS, SESSIONS] {
        on!(conn, c => sqlx::query(statement).bind(pk.0).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Ends everything that was granted through a provider, also what goes on when nobody is there, and devices that wait.
///
/// # Errors
/// When the database fails.
pub async fn end_grants(conn: &mut Conn, pk: ProviderPk) -> Result<(), StoreError> {
    revoke_grants(conn, pk).await?;
    for statement in ["DELETE FROM refresh_token WHERE provider = $1", "DELETE FROM device_code WHERE provider = $1"] {
        on!(conn, c => sqlx::query(statement).bind(pk.0).execute(c).await.map(drop))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    struct Step(String);

    impl Record for Step {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(row.text("detail")?))
        }
    }

    /// OA-052: what a provider has granted is found by an index when it ends, however much others have.
    #[tokio::test]
    async fn oa_052_grants_are_not_looked_for_among_all() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&directory.path().join("test.db")).await.unwrap();
        let mut conn = db.read().await.unwrap();
        for statement in [CODES, TOKENS, SESSIONS] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let plan: Vec<Step> = many(on!(&mut conn, c => sqlx::query(explain).fetch_all(c).await)).unwrap();
            let steps: Vec<&str> = plan.iter().map(|step| step.0.as_str()).collect();
            assert!(!steps.is_empty() && steps.iter().all(|step| step.starts_with("SEARCH")), "{statement}: {steps:?}");
        }
    }
}
