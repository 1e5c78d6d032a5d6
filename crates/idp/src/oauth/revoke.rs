//! Revocation (OA section 17).

use super::OAuthError;
use super::client::{self, Credentials};
use super::introspect::visible;
use super::params::Params;
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
    let Some(record) = visible(ctx, &mut conn, &client, token).await? else { return Ok(()) };
    if client.provider.is_public() && record.provider != client.provider.pk {
        // Who names a public client may revoke its own tokens alone (OA-510).
        return Ok(());
    }
    drop(conn);
    let actor = visitor.stranger("");
    let mut change = Change::begin(ctx, &actor).await?;
    grant::revoke_token(change.conn(), &record.jti, ctx.now()).await?;
    // Before the answer leaves, whatever is built on it looks again (OA-514).
    change.touch(Touched::AccessToken(record.jti));
    Ok(change.commit().await?)
}
