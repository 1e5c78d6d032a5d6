//! Groups, their parents and members (CO-060 … CO-063). `group` is reserved in SQL.

use portcullis_core::id::{GroupId, UserPk};

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// Key.
    pub pk: GroupId,
    /// Unique name.
    pub name: String,
    /// Whether members administer the instance (CO-036).
    pub is_superuser: bool,
    /// The group's attributes: a JSON object, sealed for `team:<pk>:attributes`.
    pub attributes_sealed: Vec<u8>,
}

impl Record for Team {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            name: row.text("name")?,
            is_superuser: row.flag("is_superuser")?,
            attributes_sealed: row.bytes("attributes_sealed")?,
        })
    }
}

/// The group with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: GroupId) -> Result<Option<Team>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM team WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// The group with this name.
///
/// # Errors
/// When the database fails.
pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<Team>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM team WHERE name = $1").bind(name).fetch_optional(c).await))
}

/// The groups a user is a direct member of, by name.
///
/// # Errors
/// When the database fails.
pub async fn of_account(conn: &mut Conn, account: UserPk) -> Result<Vec<Team>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT team.* FROM team JOIN membership ON membership.team = team.pk
         WHERE membership.account = $1 ORDER BY team.name",
    ).bind(account.0).fetch_all(c).await))
}

/// A group that somebody belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The group.
    pub team: Team,
    /// Whether they are a direct member, and not only one of a descendant.
    pub direct: bool,
}

impl Record for Joined {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self { team: Team::read(row)?, direct: row.flag("direct")? })
    }
}

/// The groups of a user and all their ancestors, in code-point order of their names (CO-061, CO-064).
///
/// # Errors
/// When the database fails.
pub async fn of_account_with_ancestors(conn: &mut Conn, account: UserPk) -> Result<Vec<Joined>, StoreError> {
    let mut teams: Vec<Joined> = many(on!(conn, c => sqlx::query(
        "WITH RECURSIVE mine (pk) AS (
             SELECT team FROM membership WHERE account = $1
             UNION SELECT team_parent.parent FROM team_parent JOIN mine ON team_parent.child = mine.pk)
         SELECT team.*,
             EXISTS (SELECT 1 FROM membership WHERE membership.account = $1 AND membership.team = team.pk) AS direct
         FROM mine CROSS JOIN team WHERE team.pk = mine.pk",
    ).bind(account.0).fetch_all(c).await))?;
    // Here and not in SQL: collations differ between engines.
    teams.sort_by(|left, right| left.team.name.cmp(&right.team.name));
    Ok(teams)
}

/// A group's parents, by name.
///
/// # Errors
/// When the database fails.
pub async fn parents(conn: &mut Conn, pk: GroupId) -> Result<Vec<Team>, StoreError> {
    let pk = pk.to_string();
    many(on!(conn, c => sqlx::query(
        "SELECT team.* FROM team JOIN team_parent ON team_parent.parent = team.pk
         WHERE team_parent.child = $1 ORDER BY team.name",
    ).bind(pk).fetch_all(c).await))
}

/// A group's children, by name.
///
/// # Errors
/// When the database fails.
pub async fn children(conn: &mut Conn, pk: GroupId) -> Result<Vec<Team>, StoreError> {
    let pk = pk.to_string();
    many(on!(conn, c => sqlx::query(
        "SELECT team.* FROM team JOIN team_parent ON team_parent.child = team.pk
         WHERE team_parent.parent = $1 ORDER BY team.name",
    ).bind(pk).fetch_all(c).await))
}

/// A group and all its ancestors.
///
/// # Errors
/// When the database fails.
pub async fn with_ancestors(conn: &mut Conn, pk: GroupId) -> Result<Vec<Team>, StoreError> {
    let pk = pk.to_string();
    many(on!(conn, c => sqlx::query(
        "WITH RECURSIVE up (pk) AS (
             SELECT pk FROM team WHERE pk = $1
             UNION SELECT team_parent.parent FROM team_parent JOIN up ON team_parent.child = up.pk)
         SELECT team.* FROM up CROSS JOIN team WHERE team.pk = up.pk ORDER BY team.name",
    ).bind(pk).fetch_all(c).await))
}

/// The parent links of a group and of all its ancestors, `(child, parent)`.
///
/// # Errors
/// When the database fails.
pub async fn links_above(conn: &mut Conn, pk: GroupId) -> Result<Vec<(GroupId, GroupId)>, StoreError> {
    let pk = pk.to_string();
    links(many(on!(conn, c => sqlx::query(
        "WITH RECURSIVE up (child, parent) AS (
             SELECT child, parent FROM team_parent WHERE child = $1
             UNION SELECT team_parent.child, team_parent.parent FROM team_parent JOIN up ON team_parent.child = up.parent)
         SELECT child, parent FROM up",
    ).bind(pk).fetch_all(c).await)))
}

/// The links by which all its descendants belong to a group, `(child, parent)`.
///
/// # Errors
/// When the database fails.
pub async fn links_below(conn: &mut Conn, pk: GroupId) -> Result<Vec<(GroupId, GroupId)>, StoreError> {
    let pk = pk.to_string();
    links(many(on!(conn, c => sqlx::query(
        "WITH RECURSIVE down (child, parent) AS (
             SELECT child, parent FROM team_parent WHERE parent = $1
             UNION SELECT team_parent.child, team_parent.parent FROM team_parent
                 JOIN down ON team_parent.parent = down.child)
         SELECT child, parent FROM down",
    ).bind(pk).fetch_all(c).await)))
}

fn links(found: Result<Vec<Link>, StoreError>) -> Result<Vec<(GroupId, GroupId)>, StoreError> {
    Ok(found?.into_iter().map(|Link(child, parent)| (child, parent)).collect())
}

struct Link(GroupId, GroupId);

impl Record for Link {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self(row.parsed("child")?, row.parsed("parent")?))
    }
}

/// Keys of a group's direct members, ascending.
///
/// # Errors
/// When the database fails.
pub async fn members(conn: &mut Conn, pk: GroupId) -> Result<Vec<UserPk>, StoreError> {
    let pk = pk.to_string();
    let members: Vec<i32> = on!(conn, c => sqlx::query_scalar(
        "SELECT account FROM membership WHERE team = $1 ORDER BY account",
    ).bind(pk).fetch_all(c).await)?;
    Ok(members.into_iter().map(UserPk).collect())
}

/// Whether anybody is a member of a group or of one below it.
///
/// # Errors
/// When the database fails.
pub async fn has_members(conn: &mut Conn, pk: GroupId) -> Result<bool, StoreError> {
    let pk = pk.to_string();
    let found: Option<i32> = on!(conn, c => sqlx::query_scalar(
        "WITH RECURSIVE down (pk) AS (
             SELECT pk FROM team WHERE pk = $1
             UNION SELECT team_parent.child FROM team_parent JOIN down ON team_parent.parent = down.pk)
         SELECT membership.account FROM down CROSS JOIN membership WHERE membership.team = down.pk LIMIT 1",
    ).bind(pk).fetch_optional(c).await)?;
    Ok(found.is_some())
}

/// A group's direct members, by key.
///
/// # Errors
/// When the database fails.
pub async fn member_accounts(conn: &mut Conn, pk: GroupId) -> Result<Vec<crate::account::Account>, StoreError> {
    let pk = pk.to_string();
    many(on!(conn, c => sqlx::query(
        "SELECT account.* FROM account JOIN membership ON membership.account = account.pk
         WHERE membership.team = $1 ORDER BY account.pk",
    ).bind(pk).fetch_all(c).await))
}

/// Keeps a new group.
///
/// # Errors
/// [`StoreError::Taken`] when the name exists; else when the database fails.
pub async fn insert(conn: &mut Conn, team: &Team) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("INSERT INTO team (pk, name, is_superuser, attributes_sealed) VALUES ($1, $2, $3, $4)")
        .bind(team.pk.to_string())
        .bind(&team.name)
        .bind(team.is_superuser)
        .bind(&team.attributes_sealed)
        .execute(c).await.map(drop))?;
    Ok(())
}

/// Stores a group's fields.
///
/// # Errors
/// [`StoreError::Taken`] when the name belongs to another group; else when the database fails.
pub async fn update(conn: &mut Conn, team: &Team) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE team SET name = $2, is_superuser = $3, attributes_sealed = $4 WHERE pk = $1")
        .bind(team.pk.to_string())
        .bind(&team.name)
        .bind(team.is_superuser)
        .bind(&team.attributes_sealed)
        .execute(c).await.map(drop))?;
    Ok(())
}

/// Deletes a group with memberships and parent links; bindings that name it become orphans (CO-063).
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: GroupId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM team WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// Makes a user a direct member; nothing happens when it is one.
///
/// # Errors
/// When the database fails.
pub async fn add_member(conn: &mut Conn, team: GroupId, account: UserPk) -> Result<(), StoreError> {
    let team = team.to_string();
    on!(conn, c => sqlx::query("INSERT INTO membership (account, team) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(account.0).bind(team).execute(c).await.map(drop))?;
    Ok(())
}

/// Ends a direct membership, if there is one.
///
/// # Errors
/// When the database fails.
pub async fn remove_member(conn: &mut Conn, team: GroupId, account: UserPk) -> Result<(), StoreError> {
    let team = team.to_string();
    on!(conn, c => sqlx::query("DELETE FROM membership WHERE account = $1 AND team = $2")
        .bind(account.0).bind(team).execute(c).await.map(drop))?;
    Ok(())
}

/// Replaces a group's parents.
///
/// # Errors
/// When the database fails.
pub async fn set_parents(conn: &mut Conn, child: GroupId, parents: &[GroupId]) -> Result<(), StoreError> {
    let child = child.to_string();
    on!(conn, c => sqlx::query("DELETE FROM team_parent WHERE child = $1").bind(&child).execute(c).await.map(drop))?;
    for parent in parents {
        let parent = parent.to_string();
        on!(conn, c => sqlx::query("INSERT INTO team_parent (child, parent) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(&child).bind(parent).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Conditions on a list of groups (CO-547). Absent and empty conditions hold for every group.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name.
    pub name: Option<String>,
    /// Flag of the group itself.
    pub is_superuser: Option<bool>,
    /// One of these users is a direct member, by name.
    pub members_by_username: Vec<String>,
    /// One of these users is a direct member.
    pub members_by_pk: Vec<UserPk>,
    /// Terms that must occur in the name (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What groups can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    IsSuperuser,
}

/// The groups that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Team>, StoreError> {
    let mut select = Select::default();
    if let Some(name) = &filter.name {
        select.text("name = ?", name);
    }
    if let Some(is_superuser) = filter.is_superuser {
        select.flag("is_superuser = ?", is_superuser);
    }
    let folded: Vec<_> = filter.members_by_username.iter().map(|name| portcullis_core::username::fold(name)).collect();
    select.any_text(
        "EXISTS (SELECT 1 FROM membership JOIN account ON account.pk = membership.account
                 WHERE membership.team = team.pk AND account.username_folded IN (?))",
        &folded,
    );
    if !filter.members_by_pk.is_empty() {
        let keys: Vec<_> = filter.members_by_pk.iter().map(|pk| pk.0.to_string()).collect();
        // The keys are integers: they may stand in the text.
        select.always(&format!(
            "EXISTS (SELECT 1 FROM membership WHERE membership.team = team.pk AND membership.account IN ({}))",
            keys.join(", ")
        ));
    }
    select.search(&["name"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Name => "name",
            Order::IsSuperuser => "is_superuser",
        };
        select.order(column, *descending);
    }
    select.order("team.pk", false);
    select.list(conn, "team", slice).await
}
