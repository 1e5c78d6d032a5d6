//! Who administers the instance (CO-036).

use portcullis_core::id::UserPk;
use sqlx::AssertSqlSafe;

use crate::db::{Conn, on};
use crate::error::StoreError;

/// Those who administer. SQLite takes the tables of a `CROSS JOIN` in this order: in another one, everybody would be
/// looked at.
pub(super) const MIGHTY: &str = "account.pk IN (WITH RECURSIVE mighty (pk) AS (
        SELECT pk FROM team WHERE is_superuser
        UNION SELECT team_parent.child FROM team_parent JOIN mighty ON team_parent.parent = mighty.pk)
    SELECT membership.account FROM mighty CROSS JOIN membership WHERE membership.team = mighty.pk)";

/// That the user `$1` administers: looks at their own groups alone, because it is asked at every change.
const IS_MIGHTY: &str = "EXISTS (WITH RECURSIVE mine (pk) AS (
        SELECT team FROM membership WHERE account = $1
        UNION SELECT team_parent.parent FROM team_parent JOIN mine ON team_parent.child = mine.pk)
    SELECT 1 FROM mine CROSS JOIN team WHERE team.pk = mine.pk AND team.is_superuser)";

/// Whether a user is active and, if asked, administers the instance (CO-036, CO-037).
///
/// # Errors
/// When the database fails.
pub async fn may_act(conn: &mut Conn, pk: UserPk, as_superuser: bool) -> Result<bool, StoreError> {
    let rights = if as_superuser { IS_MIGHTY } else { "TRUE" };
    let text = format!("SELECT count(*) FROM account WHERE pk = $1 AND is_active AND {rights}");
    let found: i64 = on!(conn, c => sqlx::query_scalar(AssertSqlSafe(text)).bind(pk.0).fetch_one(c).await)?;
    Ok(found > 0)
}

/// Groups whose members are asked about in one query.
const GROUPS_AT_A_TIME: usize = 256;

/// Whether there is an active superuser (CO-038).
///
/// # Errors
/// When the database fails.
pub async fn any_active_superuser(conn: &mut Conn) -> Result<bool, StoreError> {
    let mighty: Vec<String> = on!(&mut *conn, c => sqlx::query_scalar(
        "WITH RECURSIVE mighty (pk) AS (
             SELECT pk FROM team WHERE is_superuser
             UNION SELECT team_parent.child FROM team_parent JOIN mighty ON team_parent.parent = mighty.pk)
         SELECT pk FROM mighty",
    ).fetch_all(c).await)?;
    // Some groups at a time: asked of all in one, PostgreSQL looks at everybody, and asked of each, it takes a while.
    for teams in mighty.chunks(GROUPS_AT_A_TIME) {
        let places: Vec<_> = (1..=teams.len()).map(|n| format!("${n}")).collect();
        let text = format!(
            "SELECT account.pk FROM membership CROSS JOIN account
             WHERE membership.team IN ({}) AND account.pk = membership.account AND account.is_active LIMIT 1",
            places.join(", "),
        );
        let found: Option<i32> = on!(&mut *conn, c => {
            let mut query = sqlx::query_scalar(AssertSqlSafe(text));
            for team in teams {
                query = query.bind(team);
            }
            query.fetch_optional(c).await
        })?;
        if found.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
