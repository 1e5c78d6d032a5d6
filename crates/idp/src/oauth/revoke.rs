//! Revocation (OA section 17).

use super::OAuthError;
use super::client::{self, Credentials};
use super::introspect::visible;
use super::params::Params;
use super::refresh;
use crate::change::{Change, Touched};
use crate::context::{Context, Visitor};
use portcullis_store::grant;

/// Answers a request to the revocation endpoint: an unknown or foreign token is no error (OA-512).
///
/// # Errors
/// [`OAuthError::InvalidClient`], [`OAuthError::InvalidRequest`] without a token, [`OAuthError::Throttled`].
pub async fn answer(
    ctx: &Context,
    visitor: &Visitor,
    authorization: Option<&[u8]>,
    params: &Params,
) -> Result<(), OAuthError> {
    let credentials = Credentials::read(authorization, params)?;
    let client = client::authenticate(ctx, visitor, &credentials).await?;
    let token = params.get("token").ok_or(OAuthError::InvalidRequest)?;
    let mut conn = ctx.db.read().await?;
    let own = |issued_by| issued_by == client.provider.pk || !client.provider.is_public();
    // Who names a public client may revoke its own tokens alone (OA-510).
    if let Some(record) = visible(ctx, &mut conn, &client, token).await? {
        drop(conn);
        return if own(record.provider) { revoke(ctx, visitor, What::Access(record.jti)).await } else { Ok(()) };
    }
    match refresh::visible(ctx, &mut conn, &client, token).await? {
        Some(record) if own(record.provider) => {
            drop(conn);
            revoke(ctx, visitor, What::Family(record.grant_id)).await
        }
        _ => Ok(()),
    }
}

enum What {
    /// One access token, by `jti`.
    Access(String),
    /// A refresh token, with everything that has the same grant (OA-513).
    Family(String),
}

async fn revoke(ctx: &Context, visitor: &Visitor, what: What) -> Result<(), OAuthError> {
    let actor = visitor.stranger("");
    let mut change = Change::begin(ctx, &actor).await?;
    match what {
        What::Access(jti) => {
            grant::revoke_token(change.conn(), &jti, ctx.now()).await?;
            // Before the answer leaves, whatever is built on it looks again (OA-514).
            change.touch(Touched::AccessToken(jti));
        }
        What::Family(grant_id) => refresh::revoke_family(&mut change, &grant_id).await?,
    }
    Ok(change.commit().await?)
}
