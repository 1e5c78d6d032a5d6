//! The OAuth 2.0 provider, without HTTP (OA sections 7 to 19).

pub mod authorize;
pub mod client;
pub(crate) mod code;
pub mod consent;
pub mod device;
pub mod discovery;
pub mod end_session;
mod exchange;
pub mod introspect;
pub mod issue;
pub mod logout;
pub mod machine;
pub mod marker;
pub mod origins;
pub mod params;
mod redirects;
pub(crate) mod refresh;
mod response_type;
pub mod revoke;
pub mod token;
pub mod userinfo;

use std::borrow::Cow;

use portcullis_core::clock::Timestamp;
use portcullis_store::{StoreError, application, consent as remembered, device_code, grant, provider, refresh_token};

use crate::BATCH;
use crate::context::{Context, Visitor};
use crate::error::Error;
use crate::limits::{self, Attempt, Cost, NotExamined, Turn};
use crate::signing::SigningError;

/// Why an OAuth request is refused. The text is the protocol's own word; which check failed is not told
/// (OA-011).
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// A parameter is missing, doubled or malformed.
    #[error("invalid_request")]
    InvalidRequest,
    /// The client is unknown or did not prove itself.
    #[error("invalid_client")]
    InvalidClient {
        /// Whether it tried by the `Authorization` header (OA-218).
        by_header: bool,
    },
    /// Code, user, password or policy say no (OA-219, OA-288).
    #[error("invalid_grant")]
    InvalidGrant,
    /// More than the refresh token's grant, or nothing to refresh (OA-220).
    #[error("invalid_scope")]
    InvalidScope,
    /// The token would be for somebody else than the client (RFC 8693 §2.2.2).
    #[error("invalid_target")]
    InvalidTarget,
    /// The grant is known but not for this client.
    #[error("unauthorized_client")]
    UnauthorizedClient,
    /// Nobody has answered for the device yet (OA-375).
    #[error("authorization_pending")]
    AuthorizationPending,
    /// The device asks too often (OA-375).
    #[error("slow_down")]
    SlowDown,
    /// Nobody answered for the device in time (OA-375).
    #[error("expired_token")]
    ExpiredToken,
    /// Somebody said no to the device (OA-374).
    #[error("access_denied")]
    AccessDenied,
    /// The grant is not known.
    #[error("unsupported_grant_type")]
    UnsupportedGrantType,
    /// Too many failures from this address; nothing was examined (OA-222).
    #[error("slow_down")]
    Throttled {
        /// Whole seconds until another attempt makes sense.
        retry_after_seconds: u32,
    },
    /// We cannot answer at present (OA-223).
    #[error("temporarily_unavailable")]
    Unavailable(#[source] Error),
    /// Nothing can be issued before an administrator has mended what this says (OA-047, OA-466).
    #[error("invalid_grant")]
    Unissuable(&'static str),
    /// No key signs before an administrator has mended it (OA-125).
    #[error("temporarily_unavailable")]
    NoKey(String),
}

impl From<Error> for OAuthError {
    fn from(error: Error) -> Self {
        Self::Unavailable(error)
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<SigningError> for OAuthError {
    fn from(error: SigningError) -> Self {
        match error {
            SigningError::Store(error) => error.into(),
            SigningError::NoKey(_) => Self::NoKey(error.to_string()),
        }
    }
}

/// An outpost that makes a request for one of its clients, and has shown its token (CO-389).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The client's address.
    pub client: std::net::IpAddr,
    /// The providers that the outpost serves.
    pub providers: Vec<portcullis_core::id::ProviderPk>,
}

impl Relay {
    /// Who asks on behalf of a provider: the outpost's client, where it serves the provider. Of others an outpost has no
    /// say: it could be at any address for them.
    fn seen<'a>(relay: Option<&Self>, visitor: &'a Visitor, provider: &provider::Provider) -> Cow<'a, Visitor> {
        match relay {
            Some(relay) if relay.providers.contains(&provider.pk) => {
                Cow::Owned(Visitor { client: relay.client, ..visitor.clone() })
            }
            _ => Cow::Borrowed(visitor),
        }
    }
}

/// `iss` of an application's tokens (OA-049).
pub fn issuer(ctx: &Context, provider: &provider::Provider, slug: &str) -> String {
    match provider.issuer_mode.as_str() {
        "global" => format!("{}/", ctx.base_url),
        _ => place(ctx, slug),
    }
}

/// Where the endpoints of an application begin.
pub fn place(ctx: &Context, slug: &str) -> String {
    format!("{}/application/o/{slug}/", ctx.base_url)
}

/// The application of this slug with its provider; none when there is no such pair (OA-095).
///
/// # Errors
/// When the store fails.
pub async fn by_slug(
    ctx: &Context,
    slug: &str,
) -> Result<Option<(application::Application, provider::Provider)>, Error> {
    let mut conn = ctx.db.read().await?;
    let Some(application) = application::by_slug(&mut conn, slug).await? else { return Ok(None) };
    let Some(pk) = application.provider else { return Ok(None) };
    Ok(provider::by_pk(&mut conn, pk).await?.map(|provider| (application, provider)))
}

/// Lets an attempt be examined, perhaps after a delay, or refuses it unexamined (OA-680).
async fn examine(ctx: &Context, attempt: &Attempt<'_>) -> Result<Turn, OAuthError> {
    Ok(limits::admit(ctx, attempt, Cost::Lookup).await?)
}

impl From<NotExamined> for OAuthError {
    fn from(error: NotExamined) -> Self {
        match error {
            NotExamined::Throttled { retry_after_seconds } => Self::Throttled { retry_after_seconds },
            NotExamined::Busy => Self::Unavailable(Error::Busy),
            NotExamined::Store(error) => Self::Unavailable(error.into()),
        }
    }
}

/// Consumed codes are remembered for so long after their end (OA-245), in seconds.
const TOMBSTONE_SECONDS: i64 = 600;

/// Removes codes, tokens, consents and generated accounts whose time is over, a batch at a time (OA-643, OA-647).
///
/// # Errors
/// When the store fails.
pub async fn sweep(ctx: &Context) -> Result<(), Error> {
    let now: Timestamp = ctx.now();
    loop {
        let mut tx = ctx.db.write().await?;
        let grants = grant::sweep(&mut tx, now, now.plus_seconds(-TOMBSTONE_SECONDS), BATCH.into()).await?;
        let offline = refresh_token::sweep(&mut tx, now, BATCH.into()).await?;
        let consents = remembered::sweep(&mut tx, now, BATCH.into()).await?;
        let devices = device_code::sweep(&mut tx, now.plus_seconds(-device::TOMBSTONE_SECONDS), BATCH.into()).await?;
        tx.commit().await?;
        if grants.max(offline).max(consents).max(devices) < BATCH.into() {
            break;
        }
    }
    machine::sweep(ctx).await
}
