//! Sessions of the embedded outpost, sealed in the store (PX section 11).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::claims::Claims;
use portcullis_core::clock::Timestamp;
use portcullis_core::header;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_core::outpost::{Bearings, Grant, SessionRecord, Source};
use portcullis_store::Tx;
use portcullis_store::proxy_session::{self, ProxySession};
use serde::{Deserialize, Serialize};

use crate::change::{Embedded, Touched, tell};
use crate::context::Context;
use crate::error::Error;
use crate::revocations;

/// Sessions that are kept at most (PX-176).
const MOST: i64 = 1_000_000;
const BATCH: i64 = 1000;
/// Header names that are remembered of one person's claims.
const MOST_HEADERS: usize = 256;

/// A grant as it is sealed. When it was built means nothing to another process.
#[derive(Serialize, Deserialize)]
struct Kept {
    claims: Claims,
    raw_token: String,
    upstream_token: Option<String>,
    expires: i64,
    bearings: Bearings,
    logout_hint: Option<String>,
}

fn place(provider: ProviderPk, digest: &[u8]) -> String {
    format!("proxy_session:{provider}:{}", hex::encode(digest))
}

/// Keyed digest of a session cookie's value (PX-171).
pub fn digest(ctx: &Context, provider: ProviderPk, value: &str) -> Digest {
    ctx.keys.digest(Purpose::SessionLookup, &[b"proxy", &provider.0.to_be_bytes(), value.as_bytes()])
}

/// Keyed digest of an `Authorization` value (PX-106).
pub fn fingerprint(ctx: &Context, provider: ProviderPk, header: &[u8]) -> Digest {
    ctx.keys.digest(Purpose::CredentialFingerprint, &[&provider.0.to_be_bytes(), header])
}

/// The cookie value of a header-authenticated session, which is made again from its salt (PX-100).
pub fn value(ctx: &Context, provider: ProviderPk, salt: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(ctx.keys.digest(Purpose::SessionValue, &[&provider.0.to_be_bytes(), salt]))
}

/// Keeps a session; one with the same provider and fingerprint is replaced in the same step.
///
/// # Errors
/// When the store fails, or the provider is gone.
pub async fn put(ctx: &Context, session: &SessionRecord) -> Result<(), Error> {
    let grant = &session.grant;
    let kept = Kept {
        claims: grant.claims.clone(),
        raw_token: grant.raw_token.clone(),
        upstream_token: grant.upstream_token.clone(),
        expires: grant.expires.0,
        bearings: grant.bearings.clone(),
        logout_hint: grant.logout_hint.clone(),
    };
    let text = serde_json::to_vec(&kept).map_err(|error| Error::Unreadable(error.to_string()))?;
    let place = place(session.provider, &session.digest);
    let row = ProxySession {
        provider: session.provider,
        digest: session.digest.to_vec(),
        salt: session.salt.to_vec(),
        source: session.source.as_str().to_owned(),
        fingerprint: session.fingerprint.map(|fingerprint| fingerprint.to_vec()),
        user_uuid: grant.bearings.user.clone(),
        sid: grant.bearings.sid.clone(),
        grant_sealed: ctx.keys.seal(&place, &text, &*ctx.entropy),
        created: ctx.now(),
        expires: session.expires,
    };
    let mut tx = ctx.db.write().await?;
    let replaced = proxy_session::put(&mut tx, &row).await?;
    let added: Vec<_> = header::added_names(&grant.claims.ak_proxy.user_attributes).take(MOST_HEADERS).collect();
    proxy_session::remember_headers(&mut tx, session.provider, &added).await?;
    commit(ctx, tx, replaced.into_iter().map(Embedded::Session)).await
}

/// Commits, and has whoever holds one of the sessions in memory that are gone now look again.
async fn commit(ctx: &Context, mut tx: Tx, gone: impl IntoIterator<Item = Embedded>) -> Result<(), Error> {
    let gone: Vec<_> = gone.into_iter().map(Touched::Embedded).collect();
    if ctx.db.is_shared() {
        revocations::note(&mut tx, ctx.now(), &gone).await?;
    }
    tx.commit().await?;
    gone.iter().for_each(|gone| tell(ctx, gone));
    Ok(())
}

/// Finds a session by its cookie. Whether it still stands is for the caller to ask.
///
/// # Errors
/// When the store fails or the session cannot be opened.
pub async fn by_digest(ctx: &Context, provider: ProviderPk, digest: Digest) -> Result<Option<SessionRecord>, Error> {
    let mut conn = ctx.db.read().await?;
    let row = proxy_session::by_digest(&mut conn, provider, &digest, ctx.now()).await?;
    row.map(|row| open(ctx, &row)).transpose()
}

/// Finds a session by the credential that made it. Whether it still stands is for the caller to ask.
///
/// # Errors
/// When the store fails or the session cannot be opened.
pub async fn by_fingerprint(
    ctx: &Context,
    provider: ProviderPk,
    fingerprint: Digest,
) -> Result<Option<SessionRecord>, Error> {
    let mut conn = ctx.db.read().await?;
    let row = proxy_session::by_fingerprint(&mut conn, provider, &fingerprint, ctx.now()).await?;
    row.map(|row| open(ctx, &row)).transpose()
}

fn open(ctx: &Context, row: &ProxySession) -> Result<SessionRecord, Error> {
    let place = place(row.provider, &row.digest);
    let text =
        ctx.keys.open(&place, &row.grant_sealed).map_err(|source| Error::Sealed { place: place.clone(), source })?;
    let unreadable = || Error::Unreadable(place.clone());
    let kept: Kept = serde_json::from_slice(&text).map_err(|_| unreadable())?;
    let fixed = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| unreadable());
    Ok(SessionRecord {
        provider: row.provider,
        digest: fixed(&row.digest)?,
        salt: fixed(&row.salt)?,
        source: Source::parse(&row.source).ok_or_else(unreadable)?,
        fingerprint: row.fingerprint.as_deref().map(fixed).transpose()?,
        expires: row.expires,
        grant: Grant {
            claims: kept.claims,
            raw_token: kept.raw_token,
            access_token: String::new(),
            upstream_token: kept.upstream_token,
            statement: None,
            expires: Timestamp(kept.expires),
            bearings: kept.bearings,
            // Built before anything that this process knows of.
            built_at: 0,
            logout_hint: kept.logout_hint,
        },
    })
}

/// Ends one session.
///
/// # Errors
/// When the store fails.
pub async fn end(ctx: &Context, provider: ProviderPk, digest: Digest) -> Result<(), Error> {
    let mut conn = ctx.db.read().await?;
    // Most presented cookies name nothing: look before taking the write lock.
    if proxy_session::by_digest(&mut conn, provider, &digest, ctx.now()).await?.is_none() {
        return Ok(());
    }
    drop(conn);
    let mut tx = ctx.db.write().await?;
    proxy_session::end(&mut tx, provider, &digest).await?;
    revocations::note_embedded(ctx, &mut tx, Embedded::Session(digest)).await?;
    Ok(tx.commit().await?)
}

/// Ends all sessions of a user, in every provider (PX-190, PX-191).
///
/// # Errors
/// When the store fails.
pub async fn end_of_user(ctx: &Context, user: &str) -> Result<(), Error> {
    let mut tx = ctx.db.write().await?;
    proxy_session::end_of_user(&mut tx, user).await?;
    revocations::note_embedded(ctx, &mut tx, Embedded::OfUser(user.to_owned())).await?;
    Ok(tx.commit().await?)
}

/// Ends all sessions that came from one login session (PX-195). An empty id matches nothing.
///
/// # Errors
/// When the store fails.
pub async fn end_of_sid(ctx: &Context, sid: &str) -> Result<(), Error> {
    let mut tx = ctx.db.write().await?;
    proxy_session::end_of_sid(&mut tx, sid, None).await?;
    revocations::note_embedded(ctx, &mut tx, Embedded::OfSid(sid.to_owned())).await?;
    Ok(tx.commit().await?)
}

/// Removes sessions whose time is over, and the oldest beyond the bound, some at a time (PX-176).
///
/// # Errors
/// When the store fails.
pub async fn sweep(ctx: &Context) -> Result<(), Error> {
    loop {
        let mut tx = ctx.db.write().await?;
        let removed = proxy_session::sweep(&mut tx, ctx.now(), BATCH).await?;
        let excess = proxy_session::count(&mut tx).await?.saturating_sub(MOST);
        if excess > 0 {
            proxy_session::shed(&mut tx, excess.min(BATCH)).await?;
        }
        commit(ctx, tx, (excess > 0).then_some(Embedded::Many)).await?;
        if i64::try_from(removed).unwrap_or(BATCH) < BATCH && excess <= BATCH {
            return Ok(());
        }
    }
}
