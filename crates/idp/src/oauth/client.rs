//! Clients, and how they prove themselves (OA-210 … OA-213, OA-710, OA-807).

pub(in crate::oauth) mod signed;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use portcullis_core::auth_via::AuthVia;
use portcullis_core::epoch::{Mark, Subject};
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::same_secret;
use portcullis_store::Conn;
use portcullis_store::application::{self, Application};
use portcullis_store::mapping::{self, ScopeMapping};
use portcullis_store::provider::{self, Provider};
use serde_json::json;

use super::params::Params;
use super::{OAuthError, examine};
use crate::access::Terms;
use crate::context::{Context, Visitor};
use crate::entitlements::Offered;
use crate::error::Error;
use crate::event::Keeping;
use crate::event::failing::record_failing;
use crate::limits::{self, Attempt};
use crate::providers::secrets::{self, Which};
use crate::{event, reputation};

pub use signed::{OwnAssertion, Signed};

/// A client with what it may ask for.
pub struct Client {
    /// Its registration.
    pub provider: Provider,
    /// The application it belongs to. Without one it can issue nothing (OA-049).
    pub application: Option<Application>,
    /// Its scope mappings.
    pub mappings: Vec<ScopeMapping>,
}

impl Client {
    /// The client of this provider.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn by_pk(conn: &mut Conn, pk: ProviderPk) -> Result<Option<Self>, Error> {
        match provider::by_pk(conn, pk).await? {
            Some(provider) => Self::of(conn, provider).await.map(Some),
            None => Ok(None),
        }
    }

    /// The client of this id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn by_id(conn: &mut Conn, client_id: &str) -> Result<Option<Self>, Error> {
        match provider::by_client_id(conn, client_id).await? {
            Some(provider) => Self::of(conn, provider).await.map(Some),
            None => Ok(None),
        }
    }

    async fn of(conn: &mut Conn, provider: Provider) -> Result<Self, Error> {
        let application = application::by_provider(conn, provider.pk).await?;
        let mappings = mapping::of_provider(conn, provider.pk).await?;
        Ok(Self { provider, application, mappings })
    }

    /// Which of the client's secrets this is, if it is one that holds. An empty one never is (OA-803).
    ///
    /// # Errors
    /// When a stored secret cannot be opened.
    pub fn secret(&self, ctx: &Context, secret: &str) -> Result<Option<Which>, Error> {
        secrets::shown(ctx, &self.provider, secret)
    }

    /// Whether the client has keys to prove itself with (OA-710).
    pub fn has_keys(&self) -> bool {
        has_keys(&self.provider)
    }

    /// Whether this is a proxy provider whose secret was shown with the request: its outpost asks, and nobody else.
    ///
    /// # Errors
    /// When the secret cannot be opened.
    pub fn is_proven_proxy(&self, ctx: &Context, credentials: &Credentials) -> Result<bool, Error> {
        Ok(self.provider.is_proxy() && !self.provider.is_public() && self.secret(ctx, &credentials.secret)?.is_some())
    }
}

/// Whether a client has keys to prove itself with (OA-710).
pub(super) fn has_keys(provider: &Provider) -> bool {
    !provider.is_public() && provider.client_jwks.get("keys").is_some()
}

/// What a client proved itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// One of its secrets.
    Secret(Which),
    /// A signature.
    Signed(Signed),
}

/// A client, and what its application rests on.
pub struct Served {
    /// The client.
    pub client: Client,
    /// Who may use its application; nobody without one.
    pub terms: Terms,
    /// What entitlements the application has; none without one.
    pub offered: Offered,
    /// How events are kept.
    pub(crate) keeping: Keeping,
}

/// Clients that outposts asked about, kept until something of them changes. Definitions only: who may use what is
/// decided each time anew (CO-177).
#[derive(Default)]
pub struct Known(Mutex<HashMap<ProviderPk, (Mark, Arc<Served>)>>);

impl Served {
    /// The client of this provider as it is at present.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn by_pk(ctx: &Context, pk: ProviderPk) -> Result<Option<Arc<Self>>, Error> {
        let Known(known) = &ctx.clients;
        if let Some((mark, served)) = known.lock().unwrap_or_else(PoisonError::into_inner).get(&pk)
            && ctx.epochs.stands(mark)
        {
            return Ok(Some(Arc::clone(served)));
        }
        // Before the reading: a change meanwhile is one to come.
        let built_at = ctx.epochs.present();
        let found = Self::read(ctx, pk).await?.map(Arc::new);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match &found {
            Some(served) => {
                let mark = ctx.epochs.mark(built_at, &[Subject::Provider(pk.0)]);
                known.insert(pk, (mark, Arc::clone(served)));
            }
            None => {
                known.remove(&pk);
            }
        }
        Ok(found)
    }

    async fn read(ctx: &Context, pk: ProviderPk) -> Result<Option<Self>, Error> {
        let mut conn = ctx.db.read().await?;
        let Some(client) = Client::by_pk(&mut conn, pk).await? else { return Ok(None) };
        let (terms, offered) = match &client.application {
            Some(application) => {
                (Terms::of(&mut conn, application).await?, Offered::of(&mut conn, application.uuid).await?)
            }
            None => Default::default(),
        };
        let keeping = Keeping::of(&mut conn, "").await?;
        Ok(Some(Self { client, terms, offered, keeping }))
    }
}

/// What a client presents.
pub struct Credentials {
    /// Its id.
    pub client_id: String,
    /// Its secret, or nothing.
    pub secret: String,
    /// Whether they came by the `Authorization` header.
    pub by_header: bool,
    /// What it says about itself, or somebody else about somebody.
    assertion: Option<OwnAssertion>,
}

impl Credentials {
    /// Reads them from an `Authorization: Basic` header, else from the body (OA-210, OA-211).
    ///
    /// # Errors
    /// [`OAuthError::InvalidClient`] for a header that cannot be read, [`OAuthError::InvalidRequest`] when
    /// header and body name different clients.
    pub fn read(authorization: Option<&[u8]>, params: &Params) -> Result<Self, OAuthError> {
        let assertion = OwnAssertion::sent(params);
        let Some(encoded) = authorization.and_then(basic) else {
            // An assertion says whose it is (RFC 7521 §4.2).
            let of_assertion = assertion.as_ref().map_or("", OwnAssertion::issuer);
            return Ok(Self {
                client_id: params.get("client_id").unwrap_or(of_assertion).to_owned(),
                secret: params.text("client_secret").to_owned(),
                by_header: false,
                assertion,
            });
        };
        let unknown = OAuthError::InvalidClient { by_header: true };
        let Some((client_id, secret)) = decoded(encoded) else { return Err(unknown) };
        if params.get("client_id").is_some_and(|other| other != client_id) {
            return Err(OAuthError::InvalidRequest);
        }
        Ok(Self { client_id, secret, by_header: true, assertion })
    }

    /// The assertion that a client with keys made about itself: that is how it proves itself then, and in no other way.
    pub(super) fn own_assertion(&self, client: &Client) -> Option<&OwnAssertion> {
        self.assertion.as_ref().filter(|sent| client.has_keys() && sent.issuer() == client.provider.client_id)
    }

    fn refused(&self) -> OAuthError {
        OAuthError::InvalidClient { by_header: self.by_header }
    }
}

/// What follows the scheme `Basic`, whatever its case.
fn basic(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = authorization.split_at_checked(5)?;
    let rest = rest.strip_prefix(b" ")?;
    scheme.eq_ignore_ascii_case(b"basic").then_some(rest.trim_ascii())
}

fn decoded(encoded: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let plain = |half| percent_decode_str(half).decode_utf8().ok().filter(|text| !text.contains('\0'));
    Some((plain(id)?.into_owned(), plain(secret)?.into_owned()))
}

/// The client that is named, whether or not it proves itself. An unknown one costs the same work and counts
/// as a failure (OA-212, OA-680).
///
/// # Errors
/// [`OAuthError::InvalidClient`], [`OAuthError::Throttled`].
pub async fn identify(ctx: &Context, visitor: &Visitor, credentials: &Credentials) -> Result<Client, OAuthError> {
    let attempt = attempt(visitor, credentials);
    let mut conn = ctx.db.read().await?;
    if let Some(client) = Client::by_id(&mut conn, &credentials.client_id).await? {
        return Ok(client);
    }
    drop(conn);
    let _turn = examine(ctx, &attempt).await?;
    // The same comparison as with a known client; its outcome does not matter.
    let _ = same_secret(credentials.secret.as_bytes(), b"no client has this id");
    note_failure(ctx, visitor, &attempt, "invalid_client").await?;
    Err(credentials.refused())
}

/// The client that proves itself, with its secret or its key, or is public (OA-213).
///
/// # Errors
/// [`OAuthError::InvalidClient`], [`OAuthError::Throttled`].
pub async fn authenticate(ctx: &Context, visitor: &Visitor, credentials: &Credentials) -> Result<Client, OAuthError> {
    let client = identify(ctx, visitor, credentials).await?;
    prove(ctx, visitor, credentials, &client).await?;
    Ok(client)
}

/// Checks what a known client shows. A public client shows nothing, and is who it says it is (OA-213).
///
/// # Errors
/// [`OAuthError::InvalidClient`], [`OAuthError::Throttled`].
pub async fn prove(
    ctx: &Context,
    visitor: &Visitor,
    credentials: &Credentials,
    client: &Client,
) -> Result<(), OAuthError> {
    if client.provider.is_public() {
        return Ok(());
    }
    let attempt = attempt(visitor, credentials);
    let _turn = examine(ctx, &attempt).await?;
    match examined(ctx, credentials, client).await? {
        Ok(Proof::Secret(which)) => {
            visitor.request.succeeded(AuthVia::ClientSecret);
            note_use(ctx, client, which).await;
            Ok(())
        }
        Ok(Proof::Signed(_)) => {
            visitor.request.succeeded(AuthVia::Jwt);
            Ok(())
        }
        Err(reason) => {
            note_failure(ctx, visitor, &attempt, reason).await?;
            Err(credentials.refused())
        }
    }
}

/// The same at the device endpoint and for a device's code. Where the provider does not ask for it, who shows nothing is taken at
/// their word (OA-043, OA-370); what is shown has to be right.
///
/// # Errors
/// [`OAuthError::InvalidClient`], [`OAuthError::Throttled`].
pub(super) async fn prove_device(
    ctx: &Context,
    visitor: &Visitor,
    credentials: &Credentials,
    client: &Client,
) -> Result<(), OAuthError> {
    let shows_nothing = credentials.secret.is_empty() && credentials.assertion.is_none();
    if shows_nothing && !client.provider.proves_devices() {
        return Ok(());
    }
    prove(ctx, visitor, credentials, client).await
}

/// Notes which secret was used. Where that cannot be written at present the client is answered all the same.
pub(super) async fn note_use(ctx: &Context, client: &Client, which: Which) {
    if !secrets::is_to_be_noted(ctx, &client.provider, which) {
        return;
    }
    let noted = async {
        let mut conn = ctx.db.write_one().await?;
        secrets::note(ctx, &mut conn, &client.provider, which).await
    };
    if let Err(error) = noted.await {
        tracing::warn!(%error, provider = client.provider.name, "use of a client secret was not noted");
    }
}

/// What proves a client, or the reason that only the event tells.
async fn examined(
    ctx: &Context,
    credentials: &Credentials,
    client: &Client,
) -> Result<Result<Proof, &'static str>, Error> {
    let Some(assertion) = credentials.own_assertion(client) else {
        return Ok(client.secret(ctx, &credentials.secret)?.map(Proof::Secret).ok_or("invalid_client"));
    };
    signed_proof(ctx, credentials, client, assertion).await
}

/// Checks the assertion that a client makes about itself, and uses it up. With a secret beside it, it is refused: RFC 6749
/// §2.3 allows one way at a time.
///
/// # Errors
/// When the store fails.
async fn signed_proof(
    ctx: &Context,
    credentials: &Credentials,
    client: &Client,
    assertion: &OwnAssertion,
) -> Result<Result<Proof, &'static str>, Error> {
    if credentials.by_header || !credentials.secret.is_empty() {
        return Ok(Err("two_ways_of_authentication"));
    }
    Ok(assertion.verify(ctx, client).await?.map(Proof::Signed))
}

fn attempt<'a>(visitor: &Visitor, credentials: &'a Credentials) -> Attempt<'a> {
    Attempt { address: visitor.client, client: &credentials.client_id, username: "" }
}

async fn note_failure(ctx: &Context, visitor: &Visitor, attempt: &Attempt<'_>, reason: &str) -> Result<(), OAuthError> {
    let client_id: String = attempt.client.chars().take(255).collect();
    let context = json!({"stage": "token_endpoint", "client_id": client_id, "reason": reason});
    let mut tx = ctx.db.write().await?;
    limits::failed(ctx, &mut tx, attempt).await?;
    reputation::note(ctx, &mut tx, visitor.client, &client_id, reputation::Attempt::Failed).await?;
    let stranger = visitor.stranger("");
    let failed = record_failing(ctx, &mut tx, &stranger, "login_failed", context).await?;
    let mut recorded: Vec<_> = failed.into_iter().collect();
    if reason == signed::REPLAYED {
        let context = json!({"message": "Assertion of a client was used again", "client_id": client_id});
        recorded.push(event::record(ctx, &mut tx, &stranger, "suspicious_request", context).await?);
    }
    tx.commit().await?;
    recorded.iter().for_each(event::log);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(authorization: Option<&str>, body: &str) -> Result<Credentials, OAuthError> {
        Credentials::read(authorization.map(str::as_bytes), &Params::parse(body.as_bytes()).expect("reads"))
    }

    /// OA-210, OA-211, OA-701: the header wins over the body; halves are percent-decoded and a plus stays a plus.
    #[test]
    fn oa_211_basic_client_credentials_are_decoded() {
        let header = format!("bAsIc {}", STANDARD.encode("i%64:s+%3A:x"));
        let found = read(Some(&header), "client_secret=other").expect("reads");
        assert_eq!((found.client_id.as_str(), found.secret.as_str(), found.by_header), ("id", "s+::x", true));
        let found = read(Some("Bearer x"), "client_id=b&client_secret=c").expect("reads");
        assert_eq!((found.client_id.as_str(), found.secret.as_str(), found.by_header), ("b", "c", false));
        assert!(matches!(read(Some(&header), "client_id=other"), Err(OAuthError::InvalidRequest)));
        for bad in ["Basic !", "Basic", "Basic Zm9v", "Basic /w=="] {
            let error = read(Some(bad), "").err();
            let expected = bad != "Basic";
            assert_eq!(matches!(error, Some(OAuthError::InvalidClient { by_header: true })), expected, "{bad}");
        }
    }
}
