//! Users (CO section 3).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{GroupId, ProviderPk, RoleId, TokenId, UserPk};
use portcullis_core::username::{LONGEST, LONGEST_IDENTIFIER, exceeds, fold};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::db::{self, Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, NUL, Record, maybe};
use crate::rp_session;
use crate::select::{Listed, Select, Slice};

/// Digests that are stored with one statement: engines limit what it may have bound.
const DIGESTS_AT_ONCE: usize = 100;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Integer key.
    pub pk: UserPk,
    /// Permanent id.
    pub uuid: Uuid,
    /// User name as given; unique when folded (CO-030).
    pub username: String,
    /// Display name.
    pub name: String,
    /// E-mail address, or empty.
    pub email: String,
    /// Whether any authentication of this user can succeed (CO-037).
    pub is_active: bool,
    /// `internal`, `external`, `service_account` or `internal_service_account` (CO-034).
    pub kind: String,
    /// Where it is shown (CO-035).
    pub path: String,
    /// The user's own attributes: a JSON object, sealed for `account:<pk>:attributes`.
    pub attributes_sealed: Vec<u8>,
    /// Argon2id in PHC form. None matches no input.
    pub password_hash: Option<String>,
    /// When the password was last set.
    pub password_changed: Timestamp,
    /// When the user was created.
    pub date_joined: Timestamp,
    /// When the user was last changed.
    pub last_updated: Timestamp,
    /// When the user last signed in interactively.
    pub last_login: Option<Timestamp>,
    /// The provider whose client secret this account stands for (OA-331).
    pub generated_for: Option<ProviderPk>,
}

impl Record for Account {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: UserPk(row.small("pk")?),
            uuid: row.parsed("uuid")?,
            username: row.text("username")?,
            name: row.text("name")?,
            email: row.text("email")?,
            is_active: row.flag("is_active")?,
            kind: row.text("type")?,
            path: row.text("path")?,
            attributes_sealed: row.bytes("attributes_sealed")?,
            password_hash: row.text_or_null("password_hash")?,
            password_changed: row.instant("password_changed")?,
            date_joined: row.instant("date_joined")?,
            last_updated: row.instant("last_updated")?,
            last_login: row.instant_or_null("last_login")?,
            generated_for: row.small_or_null("generated_for")?.map(ProviderPk),
        })
    }
}

/// The user with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: UserPk) -> Result<Option<Account>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM account WHERE pk = $1").bind(pk.0).fetch_optional(c).await))
}

/// The user with this permanent id.
///
/// # Errors
/// When the database fails.
pub async fn by_uuid(conn: &mut Conn, uuid: Uuid) -> Result<Option<Account>, StoreError> {
    let uuid = uuid.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM account WHERE uuid = $1").bind(uuid).fetch_optional(c).await))
}

/// The user with this name: as given, else ignoring case and form (CO-030).
///
/// # Errors
/// When the database fails.
pub async fn by_username(conn: &mut Conn, username: &str) -> Result<Option<Account>, StoreError> {
    if exceeds(username, LONGEST) || username.contains(NUL) {
        return Ok(None);
    }
    // Folded names are unique, so the exact match, when there is one, is this row too.
    let folded = fold(username);
    maybe(on!(conn, c => sqlx::query("SELECT * FROM account WHERE username_folded = $1")
        .bind(folded).fetch_optional(c).await))
}

/// The user that somebody signs in as with a user name or an e-mail address; none when the address is
/// shared (CO-310).
///
/// # Errors
/// When the database fails.
pub async fn for_sign_in(conn: &mut Conn, identifier: &str) -> Result<Option<Account>, StoreError> {
    match by_username(conn, identifier).await? {
        Some(account) => Ok(Some(account)),
        None => by_own_email(conn, identifier).await,
    }
}

/// The person with this e-mail address; none when several share it (CO-310). Service accounts do not count: what
/// vouches for them may have said any address.
///
/// # Errors
/// When the database fails.
pub async fn by_own_email(conn: &mut Conn, identifier: &str) -> Result<Option<Account>, StoreError> {
    if identifier.is_empty() || exceeds(identifier, LONGEST_IDENTIFIER) || identifier.contains(NUL) {
        return Ok(None);
    }
    let folded = fold(identifier);
    let mut found: Vec<Account> = crate::row::many(on!(conn, c =>
        sqlx::query(
            "SELECT * FROM account WHERE email_folded = $1 AND type IN ('internal', 'external') LIMIT 2",
        ).bind(folded).fetch_all(c).await))?;
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// The account that stands for a provider's client secret (OA-331).
///
/// # Errors
/// When the database fails.
pub async fn generated_for(conn: &mut Conn, provider: ProviderPk) -> Result<Option<Account>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM account WHERE generated_for = $1")
        .bind(provider.0).fetch_optional(c).await))
}

/// Keeps a new user under a fresh key, which it returns; `account.pk` is ignored.
///
/// Attributes are sealed for a place that names the key, and have digests: set them with [`set_attributes`] afterwards.
///
/// # Errors
/// [`StoreError::Taken`] when the folded name exists; else when the database fails.
pub async fn insert(conn: &mut Conn, account: &Account) -> Result<UserPk, StoreError> {
    let pk: i32 = on!(conn, c => sqlx::query_scalar(
        "INSERT INTO account (uuid, username, username_folded, name, email, email_folded, is_active, type, path,
             attributes_sealed, password_hash, password_changed, date_joined, last_updated, last_login, generated_for)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) RETURNING pk",
    )
    .bind(account.uuid.to_string())
    .bind(&account.username)
    .bind(fold(&account.username))
    .bind(&account.name)
    .bind(&account.email)
    .bind(fold(&account.email))
    .bind(account.is_active)
    .bind(&account.kind)
    .bind(&account.path)
    .bind(&account.attributes_sealed)
    .bind(&account.password_hash)
    .bind(account.password_changed.0)
    .bind(account.date_joined.0)
    .bind(account.last_updated.0)
    .bind(account.last_login.map(|at| at.0))
    .bind(account.generated_for.map(|provider| provider.0))
    .fetch_one(c)
    .await)?;
    Ok(UserPk(pk))
}

/// Keeps a new user under the key that it brings ([`insert`]). Keys that the database gives afterwards are higher.
///
/// # Errors
/// [`StoreError::Taken`] when the folded name, the key or the permanent id exists; else when the database fails.
pub async fn insert_under_own_key(conn: &mut Conn, account: &Account) -> Result<(), StoreError> {
    let given = insert(conn, account).await?;
    on!(&mut *conn, c => sqlx::query("UPDATE account SET pk = $2 WHERE pk = $1")
        .bind(given.0).bind(account.pk.0).execute(c).await.map(drop))?;
    // Engines raise the number by themselves only for rows that are inserted without a key.
    db::keys_begin_after(conn, "account", account.pk.0.max(given.0)).await
}

/// Stores every changeable field of a user but the attributes, which [`set_attributes`] sets. Recovery links that went to
/// another address end (CO-324).
///
/// # Errors
/// [`StoreError::Taken`] when the folded name belongs to another user; else when the database fails.
pub async fn update(conn: &mut Conn, account: &Account) -> Result<(), StoreError> {
    on!(&mut *conn, c => sqlx::query(
        "DELETE FROM recovery_link WHERE account = (SELECT pk FROM account WHERE pk = $1 AND email <> $2)",
    ).bind(account.pk.0).bind(&account.email).execute(c).await.map(drop))?;
    on!(conn, c => sqlx::query(
        "UPDATE account SET username = $2, username_folded = $3, name = $4, email = $5, email_folded = $6,
             is_active = $7, type = $8, path = $9, password_hash = $10, password_changed = $11, last_updated = $12,
             last_login = $13, generated_for = $14 WHERE pk = $1",
    )
    .bind(account.pk.0)
    .bind(&account.username)
    .bind(fold(&account.username))
    .bind(&account.name)
    .bind(&account.email)
    .bind(fold(&account.email))
    .bind(account.is_active)
    .bind(&account.kind)
    .bind(&account.path)
    .bind(&account.password_hash)
    .bind(account.password_changed.0)
    .bind(account.last_updated.0)
    .bind(account.last_login.map(|at| at.0))
    .bind(account.generated_for.map(|provider| provider.0))
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores a user's sealed attributes, and the digests that the user is found by ([`Filter::attributes`]).
///
/// # Errors
/// When the database fails.
pub async fn set_attributes(conn: &mut Conn, pk: UserPk, sealed: &[u8], digests: &[Vec<u8>]) -> Result<(), StoreError> {
    on!(&mut *conn, c => sqlx::query("UPDATE account SET attributes_sealed = $2 WHERE pk = $1")
        .bind(pk.0).bind(sealed).execute(c).await.map(drop))?;
    set_attribute_digests(conn, pk, digests).await
}

/// Stores the digests of attributes that a user is found by.
///
/// # Errors
/// When the database fails.
pub async fn set_attribute_digests(conn: &mut Conn, pk: UserPk, digests: &[Vec<u8>]) -> Result<(), StoreError> {
    on!(&mut *conn, c => sqlx::query("DELETE FROM account_attribute WHERE account = $1")
        .bind(pk.0).execute(c).await.map(drop))?;
    for some in digests.chunks(DIGESTS_AT_ONCE) {
        let rows: Vec<_> = (2..some.len() + 2).map(|place| format!("($1, ${place})")).collect();
        let text = format!("INSERT INTO account_attribute (account, digest) VALUES {}", rows.join(", "));
        on!(&mut *conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(text)).bind(pk.0);
            for digest in some {
                query = query.bind(digest);
            }
            query.execute(c).await.map(drop)
        })?;
    }
    Ok(())
}

/// Whether anybody has one of these digests of attributes.
///
/// # Errors
/// When the database fails.
pub async fn any_attribute(conn: &mut Conn, digests: &[Vec<u8>]) -> Result<bool, StoreError> {
    for digest in digests {
        let found: Option<i32> = on!(&mut *conn, c => sqlx::query_scalar(
            "SELECT account FROM account_attribute WHERE digest = $1 LIMIT 1",
        ).bind(digest).fetch_optional(c).await)?;
        if found.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Stores a better hash of the same password, unless the password was changed meanwhile (CO-461).
///
/// # Errors
/// When the database fails.
pub async fn upgrade_hash(conn: &mut Conn, pk: UserPk, from: &str, to: &str) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE account SET password_hash = $3 WHERE pk = $1 AND password_hash = $2")
        .bind(pk.0).bind(from).bind(to).execute(c).await.map(drop))?;
    Ok(())
}

/// Notes an interactive login.
///
/// # Errors
/// When the database fails.
pub async fn signed_in(conn: &mut Conn, pk: UserPk, now: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE account SET last_login = $2 WHERE pk = $1")
        .bind(pk.0).bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Deletes a user with tokens, sessions and memberships; bindings that name it become orphans (CO-038).
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: UserPk) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM account WHERE pk = $1").bind(pk.0).execute(c).await.map(drop))?;
    Ok(())
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

/// Names of the attributes that hold upstream passwords of proxy providers (CO-472).
///
/// # Errors
/// When the database fails.
pub async fn upstream_password_attributes(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar(
        "SELECT DISTINCT basic_auth_password_attribute FROM provider WHERE basic_auth_password_attribute <> ''",
    ).fetch_all(c).await)?)
}

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

/// Conditions on a list of users (CO-540). Absent and empty conditions hold for everybody.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// This user alone.
    pub pk: Option<UserPk>,
    /// User name, folded before it is compared.
    pub username: Option<String>,
    /// E-mail address, folded before it is compared.
    pub email: Option<String>,
    /// Display name.
    pub name: Option<String>,
    /// Permanent id.
    pub uuid: Option<Uuid>,
    /// Path.
    pub path: Option<String>,
    /// Beginning of the path.
    pub path_startswith: Option<String>,
    /// One of these types.
    pub kinds: Vec<String>,
    /// Active or not.
    pub is_active: Option<bool>,
    /// Administrator or not (CO-036).
    pub is_superuser: Option<bool>,
    /// Direct member of one of these groups, by name.
    pub groups_by_name: Vec<String>,
    /// Direct member of one of these groups.
    pub groups_by_pk: Vec<GroupId>,
    /// Has one of these roles without the help of groups, by name.
    pub roles_by_name: Vec<String>,
    /// Has one of these roles without the help of groups.
    pub roles_by_pk: Vec<RoleId>,
    /// Instants: column, comparison, value.
    pub instants: Vec<(InstantColumn, Comparison, Timestamp)>,
    /// Whether the user never signed in.
    pub last_login_isnull: Option<bool>,
    /// Each of these must be met: one of these digests is an attribute's ([`set_attributes`]).
    pub attributes: Vec<Vec<Vec<u8>>>,
    /// Terms that must occur in user name, name, e-mail or UUID (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// An instant of a user that a list can be limited by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstantColumn {
    /// Creation.
    DateJoined,
    /// Last interactive login.
    LastLogin,
    /// Last change.
    LastUpdated,
}

/// How a value compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Is,
    /// Later.
    After,
    /// Earlier.
    Before,
}

/// What users can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Uuid,
    Username,
    Name,
    Email,
    IsActive,
    Kind,
    Path,
    DateJoined,
    LastUpdated,
    LastLogin,
    PasswordChanged,
    IsSuperuser,
}

/// Those who administer. SQLite takes the tables of a `CROSS JOIN` in this order: in another one, everybody would be
/// looked at.
const MIGHTY: &str = "account.pk IN (WITH RECURSIVE mighty (pk) AS (
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

/// The users that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Account>, StoreError> {
    let mut select = Select::default();
    if let Some(pk) = filter.pk {
        select.integer("account.pk = ?", pk.0.into());
    }
    if let Some(username) = &filter.username {
        select.text("username_folded = ?", fold(username));
    }
    if let Some(email) = &filter.email {
        select.text("email_folded = ?", fold(email));
    }
    if let Some(name) = &filter.name {
        select.text("name = ?", name);
    }
    if let Some(uuid) = filter.uuid {
        select.text("uuid = ?", uuid.to_string());
    }
    if let Some(path) = &filter.path {
        select.text("path = ?", path);
    }
    if let Some(start) = &filter.path_startswith {
        select.text("substr(path, 1, length(?)) = ?", start);
    }
    select.any_text("type IN (?)", &filter.kinds);
    if let Some(is_active) = filter.is_active {
        select.flag("is_active = ?", is_active);
    }
    if let Some(is_superuser) = filter.is_superuser {
        select.always(&if is_superuser { MIGHTY.to_owned() } else { format!("NOT {MIGHTY}") });
    }
    select.any_text(
        "account.pk IN (SELECT membership.account FROM membership JOIN team ON team.pk = membership.team
                        WHERE team.name IN (?))",
        &filter.groups_by_name,
    );
    let groups: Vec<_> = filter.groups_by_pk.iter().map(ToString::to_string).collect();
    select.any_text("account.pk IN (SELECT membership.account FROM membership WHERE membership.team IN (?))", &groups);
    select.any_text(
        "EXISTS (SELECT 1 FROM account_role JOIN role ON role.pk = account_role.role
                 WHERE account_role.account = account.pk AND role.name IN (?))",
        &filter.roles_by_name,
    );
    let roles: Vec<_> = filter.roles_by_pk.iter().map(ToString::to_string).collect();
    select.any_text(
        "EXISTS (SELECT 1 FROM account_role WHERE account_role.account = account.pk AND account_role.role IN (?))",
        &roles,
    );
    for digests in &filter.attributes {
        select.any_bytes("account.pk IN (SELECT account FROM account_attribute WHERE digest IN (?))", digests);
    }
    for (column, comparison, at) in &filter.instants {
        let column = match column {
            InstantColumn::DateJoined => "date_joined",
            InstantColumn::LastLogin => "last_login",
            InstantColumn::LastUpdated => "last_updated",
        };
        let sign = match comparison {
            Comparison::Is => "=",
            Comparison::After => ">",
            Comparison::Before => "<",
        };
        select.integer(&format!("{column} {sign} ?"), at.0);
    }
    if let Some(never) = filter.last_login_isnull {
        select.always(if never { "last_login IS NULL" } else { "last_login IS NOT NULL" });
    }
    select.search(&["username", "name", "email", "uuid"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Uuid => "uuid",
            Order::Username => "username",
            Order::Name => "name",
            Order::Email => "email",
            Order::IsActive => "is_active",
            Order::Kind => "type",
            Order::Path => "path",
            Order::DateJoined => "date_joined",
            Order::LastUpdated => "last_updated",
            Order::LastLogin => "last_login",
            Order::PasswordChanged => "password_changed",
            Order::IsSuperuser => MIGHTY,
        };
        select.order(column, *descending);
    }
    select.order("account.pk", false);
    select.list(conn, "account", slice).await
}

/// All paths in use, in order.
///
/// # Errors
/// When the database fails.
pub async fn paths(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar("SELECT DISTINCT path FROM account ORDER BY path").fetch_all(c).await)?)
}
