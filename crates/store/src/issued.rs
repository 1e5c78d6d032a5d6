//! Authorization codes and access tokens as lists show them (OA-645). Neither has a value that could be shown.

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, UserPk};
use sqlx::AssertSqlSafe;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::refresh_token::Filter;
use crate::row::{Columns, Record, maybe};
use crate::select::{Listed, Slice};

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Authorization codes.
    Code,
    /// Access tokens.
    AccessToken,
}

impl What {
    const fn table(self) -> &'static str {
        match self {
            Self::Code => "authorization_code",
            Self::AccessToken => "access_token",
        }
    }

    /// What holds for those that can be used, before the time is looked at.
    const fn usable(self) -> &'static str {
        match self {
            Self::Code => "consumed IS NULL",
            Self::AccessToken => "revoked IS NULL",
        }
    }
}

/// Something that was issued and can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its key.
    pub pk: i64,
    /// The client.
    pub provider: ProviderPk,
    /// The user.
    pub account: UserPk,
    /// Granted scopes, joined by spaces.
    pub scope: String,
    /// When it ends.
    pub expires: Timestamp,
    /// Id of an access token.
    pub jti: Option<String>,
    /// The complete claims of an access token, sealed.
    pub claims_sealed: Option<Vec<u8>>,
}

struct Code(Issued);
struct Token(Issued);

impl Record for Code {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self(Issued {
            pk: row.integer("pk")?,
            provider: ProviderPk(row.small("provider")?),
            account: UserPk(row.small("account")?),
            scope: row.text("scope")?,
            expires: row.instant("expires")?,
            jti: None,
            claims_sealed: None,
        }))
    }
}

impl Record for Token {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        let Code(issued) = Code::read(row)?;
        Ok(Self(Issued { jti: Some(row.text("jti")?), claims_sealed: Some(row.bytes("claims_sealed")?), ..issued }))
    }
}

/// Those that meet conditions and can be used.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    what: What,
    filter: &Filter,
    now: Timestamp,
    slice: Slice,
) -> Result<Listed<Issued>, StoreError> {
    let table = what.table();
    let select = filter.select(table, what.usable(), now);
    match what {
        What::Code => {
            let Listed { rows, count } = select.list::<Code>(conn, table, slice).await?;
            Ok(Listed { rows: rows.into_iter().map(|Code(issued)| issued).collect(), count })
        }
        What::AccessToken => {
            let Listed { rows, count } = select.list::<Token>(conn, table, slice).await?;
            Ok(Listed { rows: rows.into_iter().map(|Token(issued)| issued).collect(), count })
        }
    }
}

/// The one with this key, if it can be used.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, what: What, pk: i64, now: Timestamp) -> Result<Option<Issued>, StoreError> {
    let text = format!("SELECT * FROM {} WHERE pk = $1 AND {} AND expires > $2", what.table(), what.usable());
    let found = on!(conn, c => sqlx::query(AssertSqlSafe(text)).bind(pk).bind(now.0).fetch_optional(c).await);
    match what {
        What::Code => Ok(maybe(found)?.map(|Code(issued)| issued)),
        What::AccessToken => Ok(maybe(found)?.map(|Token(issued)| issued)),
    }
}

/// Removes a code: nobody redeems it any more.
///
/// # Errors
/// When the database fails.
pub async fn delete_code(conn: &mut Conn, pk: i64) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM authorization_code WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}
