//! The end of what users have opened (CO-037, CO-385).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{TokenId, UserPk};

use super::Account;
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::rp_session;

/// Ends everything that a user's logins and credentials opened (CO-037, CO-385), and gives the public ids of the sessions
/// that this ended. With `keep`, only what logins other than that session opened (CO-041).
///
/// # Errors
/// When the database fails.
pub async fn end_sessions(
    conn: &mut Conn,
    account: &Account,
    keep: Option<&str>,
    all: bool,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    // The empty text is no session's id.
    let keep = keep.unwrap_or_default();
    let uuid = account.uuid.to_string();
    rp_session::ended_of_account(conn, account.pk, keep, now).await?;
    let ended = crate::login_session::delete_of_account(conn, account.pk, keep).await?;
    on!(conn, c => {
        sqlx::query("DELETE FROM authorization_code WHERE account = $1 AND sid <> $2")
            .bind(account.pk.0).bind(keep).execute(&mut *c).await?;
        sqlx::query("DELETE FROM device_code WHERE account = $1").bind(account.pk.0).execute(&mut *c).await?;
        sqlx::query(
            "UPDATE access_token SET revoked = $3
             WHERE account = $1 AND revoked IS NULL AND ($4 OR (sid IS NOT NULL AND sid <> $2))",
        ).bind(account.pk.0).bind(keep).bind(now.0).bind(all).execute(&mut *c).await?;
        // What goes on without its session, and what was obtained with it.
        sqlx::query(
            "UPDATE access_token SET revoked = $2 WHERE sid IS NULL AND revoked IS NULL
                 AND grant_id IN (SELECT grant_id FROM refresh_token WHERE account = $1)",
        ).bind(account.pk.0).bind(now.0).execute(&mut *c).await?;
        sqlx::query("UPDATE refresh_token SET revoked = $2 WHERE account = $1 AND revoked IS NULL")
            .bind(account.pk.0).bind(now.0).execute(&mut *c).await?;
        sqlx::query("DELETE FROM proxy_session WHERE user_uuid = $1 AND ($3 OR (sid <> '' AND sid <> $2))")
            .bind(uuid).bind(keep).bind(all).execute(&mut *c).await.map(drop)
    })?;
    Ok(ended)
}

/// Ends everything that one app password opened: access tokens obtained with it, with `key` only those obtained with the
/// key of this mark, and the data plane's sessions that this user made with credentials of any kind (they are made again
/// on the next request). Gives the ids of the access tokens, of those that had not ended by themselves.
///
/// # Errors
/// When the database fails.
pub async fn end_credential(
    conn: &mut Conn,
    owner: UserPk,
    token: TokenId,
    key: Option<&str>,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    let token = token.to_string();
    let revoked = on!(&mut *conn, c => sqlx::query_scalar(
        "UPDATE access_token SET revoked = $2 WHERE app_password = $1 AND revoked IS NULL AND expires > $2
             AND ($3 IS NULL OR app_password_key = $3) RETURNING jti",
    ).bind(token).bind(now.0).bind(key).fetch_all(c).await)?;
    end_fingerprints(conn, owner).await?;
    Ok(revoked)
}

/// Has everything that one app password opened until now end at `until` at the latest: access tokens obtained with it
/// do, and the data plane's sessions are made again on the next request.
///
/// # Errors
/// When the database fails.
pub async fn shorten_credential(
    conn: &mut Conn,
    owner: UserPk,
    token: TokenId,
    until: Timestamp,
) -> Result<(), StoreError> {
    let token = token.to_string();
    on!(&mut *conn, c => sqlx::query("UPDATE access_token SET expires = $2 WHERE app_password = $1 AND expires > $2")
        .bind(token).bind(until.0).execute(c).await.map(drop))?;
    end_fingerprints(conn, owner).await
}

/// Ends the data plane's sessions that a user made with credentials.
async fn end_fingerprints(conn: &mut Conn, owner: UserPk) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "DELETE FROM proxy_session WHERE fingerprint IS NOT NULL
         AND user_uuid = (SELECT uuid FROM account WHERE pk = $1)",
    ).bind(owner.0).execute(c).await.map(drop))?;
    Ok(())
}
