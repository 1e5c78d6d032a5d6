//! Roles, what they grant, and who has them (CO section 22).

use portcullis_core::id::{GroupId, RoleId, UserPk};
use portcullis_core::permission::Permissions;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Key.
    pub pk: RoleId,
    /// Unique name.
    pub name: String,
    /// What keeps it, if it was not made by an administrator.
    pub managed: Option<String>,
}

impl Record for Role {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self { pk: row.parsed("pk")?, name: row.text("name")?, managed: row.text_or_null("managed")? })
    }
}

/// A right that a role grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Such as `authentik_core.view_user`.
    pub permission: String,
    /// Key of the object; empty for everything of its kind.
    pub object: String,
}

impl Record for Right {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self { permission: row.text("permission")?, object: row.text("object")? })
    }
}

/// The role with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: RoleId) -> Result<Option<Role>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM role WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// The role with this name.
///
/// # Errors
/// When the database fails.
pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<Role>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM role WHERE name = $1").bind(name).fetch_optional(c).await))
}

/// The role with this permanent name.
///
/// # Errors
/// When the database fails.
pub async fn by_managed(conn: &mut Conn, managed: &str) -> Result<Option<Role>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM role WHERE managed = $1").bind(managed).fetch_optional(c).await))
}

/// Keeps a new role.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, role: &Role) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("INSERT INTO role (pk, name, managed) VALUES ($1, $2, $3)")
        .bind(role.pk.to_string()).bind(&role.name).bind(&role.managed).execute(c).await.map(drop))?;
    Ok(())
}

/// Stores every field of a role.
///
/// # Errors
/// When the database fails.
pub async fn update(conn: &mut Conn, role: &Role) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE role SET name = $2, managed = $3 WHERE pk = $1")
        .bind(role.pk.to_string()).bind(&role.name).bind(&role.managed).execute(c).await.map(drop))?;
    Ok(())
}

/// Deletes a role, with what it grants and to whom.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: RoleId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM role WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// Lets a role grant a right, as it may do already.
///
/// # Errors
/// When the database fails.
pub async fn grant(conn: &mut Conn, role: RoleId, right: &Right) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO role_permission (role, permission, object) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    ).bind(role.to_string()).bind(&right.permission).bind(&right.object).execute(c).await.map(drop))?;
    Ok(())
}

/// Takes a right from a role, if it grants it.
///
/// # Errors
/// When the database fails.
pub async fn withdraw(conn: &mut Conn, role: RoleId, right: &Right) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM role_permission WHERE role = $1 AND permission = $2 AND object = $3")
        .bind(role.to_string()).bind(&right.permission).bind(&right.object).execute(c).await.map(drop))?;
    Ok(())
}

/// What a role grants, by name.
///
/// # Errors
/// When the database fails.
pub async fn rights(conn: &mut Conn, role: RoleId) -> Result<Vec<Right>, StoreError> {
    let role = role.to_string();
    many(on!(conn, c => sqlx::query(
        "SELECT permission, object FROM role_permission WHERE role = $1 ORDER BY permission, object",
    ).bind(role).fetch_all(c).await))
}

/// The roles that a user has without the help of groups, by name.
///
/// # Errors
/// When the database fails.
pub async fn of_account(conn: &mut Conn, account: UserPk) -> Result<Vec<Role>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT role.* FROM role JOIN account_role ON account_role.role = role.pk
         WHERE account_role.account = $1 ORDER BY role.name",
    ).bind(account.0).fetch_all(c).await))
}

/// The roles of a group itself, by name.
///
/// # Errors
/// When the database fails.
pub async fn of_team(conn: &mut Conn, team: GroupId) -> Result<Vec<Role>, StoreError> {
    let team = team.to_string();
    many(on!(conn, c => sqlx::query(
        "SELECT role.* FROM role JOIN team_role ON team_role.role = role.pk
         WHERE team_role.team = $1 ORDER BY role.name",
    ).bind(team).fetch_all(c).await))
}

/// The roles that members of a group have through its ancestors, by name.
///
/// # Errors
/// When the database fails.
pub async fn inherited_by_team(conn: &mut Conn, team: GroupId) -> Result<Vec<Role>, StoreError> {
    let team = team.to_string();
    many(on!(conn, c => sqlx::query(
        "WITH RECURSIVE up (pk) AS (
             SELECT parent FROM team_parent WHERE child = $1
             UNION SELECT team_parent.parent FROM team_parent JOIN up ON team_parent.child = up.pk)
         SELECT role.* FROM role WHERE role.pk IN (
             SELECT team_role.role FROM up CROSS JOIN team_role WHERE team_role.team = up.pk)
         ORDER BY role.name",
    ).bind(team).fetch_all(c).await))
}

/// All roles of a user, those of their groups and of these groups' ancestors included, by name (CO-701).
///
/// # Errors
/// When the database fails.
pub async fn all_of_account(conn: &mut Conn, account: UserPk) -> Result<Vec<Role>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "WITH RECURSIVE mine (pk) AS (
             SELECT team FROM membership WHERE account = $1
             UNION SELECT team_parent.parent FROM team_parent JOIN mine ON team_parent.child = mine.pk)
         SELECT role.* FROM role WHERE role.pk IN (
             SELECT role FROM account_role WHERE account = $1
             UNION SELECT team_role.role FROM mine CROSS JOIN team_role WHERE team_role.team = mine.pk)
         ORDER BY role.name",
    ).bind(account.0).fetch_all(c).await))
}

/// Whether any user has this role, be it through groups.
///
/// # Errors
/// When the database fails.
pub async fn is_given(conn: &mut Conn, role: RoleId) -> Result<bool, StoreError> {
    let role = role.to_string();
    let found: Option<i32> = on!(conn, c => sqlx::query_scalar(
        "WITH RECURSIVE down (pk) AS (
             SELECT team FROM team_role WHERE role = $1
             UNION SELECT team_parent.child FROM team_parent JOIN down ON team_parent.parent = down.pk)
         SELECT account FROM account_role WHERE role = $1
         UNION ALL SELECT membership.account FROM down CROSS JOIN membership WHERE membership.team = down.pk LIMIT 1",
    ).bind(role).fetch_optional(c).await)?;
    Ok(found.is_some())
}

/// What all roles of a user grant together (CO-701).
///
/// # Errors
/// When the database fails.
pub async fn permissions_of(conn: &mut Conn, account: UserPk) -> Result<Permissions, StoreError> {
    let rights: Vec<Right> = many(on!(conn, c => sqlx::query(
        "WITH RECURSIVE mine (pk) AS (
             SELECT team FROM membership WHERE account = $1
             UNION SELECT team_parent.parent FROM team_parent JOIN mine ON team_parent.child = mine.pk)
         SELECT DISTINCT permission, object FROM role_permission WHERE role IN (
             SELECT role FROM account_role WHERE account = $1
             UNION SELECT team_role.role FROM mine CROSS JOIN team_role WHERE team_role.team = mine.pk)",
    ).bind(account.0).fetch_all(c).await))?;
    Ok(together(rights))
}

/// What some roles grant together.
///
/// # Errors
/// When the database fails.
pub async fn permissions_granted_by(conn: &mut Conn, roles: &[RoleId]) -> Result<Permissions, StoreError> {
    let mut all = Vec::new();
    for role in roles {
        all.extend(rights(conn, *role).await?);
    }
    Ok(together(all))
}

fn together(rights: Vec<Right>) -> Permissions {
    let mut permissions = Permissions::default();
    for right in rights {
        permissions.grant(&right.permission, Some(right.object.as_str()).filter(|object| !object.is_empty()));
    }
    permissions
}

/// Gives a user exactly these roles.
///
/// # Errors
/// When the database fails.
pub async fn set_of_account(conn: &mut Conn, account: UserPk, roles: &[RoleId]) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM account_role WHERE account = $1").bind(account.0).execute(c).await.map(drop))?;
    for role in roles {
        on!(conn, c => sqlx::query(
            "INSERT INTO account_role (account, role) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        ).bind(account.0).bind(role.to_string()).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Gives a group exactly these roles.
///
/// # Errors
/// When the database fails.
pub async fn set_of_team(conn: &mut Conn, team: GroupId, roles: &[RoleId]) -> Result<(), StoreError> {
    let team = team.to_string();
    on!(conn, c => sqlx::query("DELETE FROM team_role WHERE team = $1").bind(&team).execute(c).await.map(drop))?;
    for role in roles {
        on!(conn, c => sqlx::query("INSERT INTO team_role (team, role) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(&team).bind(role.to_string()).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Conditions on a list of roles (CO-577). Absent and empty conditions hold for every role.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name, exactly.
    pub name: Option<String>,
    /// What keeps it.
    pub managed: Vec<String>,
    /// Whether something keeps it.
    pub is_managed: Option<bool>,
    /// One of these users has it; with `inherited`, also through groups.
    pub users: Vec<UserPk>,
    /// One of these groups has it itself.
    pub groups: Vec<GroupId>,
    /// Whether roles count that a user has through groups.
    pub inherited: bool,
    /// Terms that must occur in the name (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What roles can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    Managed,
}

/// The roles that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Role>, StoreError> {
    let mut select = Select::default();
    if let Some(name) = &filter.name {
        select.text("name = ?", name);
    }
    select.any_text("managed IN (?)", &filter.managed);
    match filter.is_managed {
        Some(true) => select.always("managed IS NOT NULL"),
        Some(false) => select.always("managed IS NULL"),
        None => {}
    }
    if !filter.users.is_empty() {
        // The keys are integers: they may stand in the text.
        let users = filter.users.iter().map(|pk| pk.0.to_string()).collect::<Vec<_>>().join(", ");
        let direct = format!("pk IN (SELECT role FROM account_role WHERE account IN ({users}))");
        let through = format!(
            "pk IN (WITH RECURSIVE mine (pk) AS (
                 SELECT team FROM membership WHERE account IN ({users})
                 UNION SELECT team_parent.parent FROM team_parent JOIN mine ON team_parent.child = mine.pk)
             SELECT team_role.role FROM mine CROSS JOIN team_role WHERE team_role.team = mine.pk)"
        );
        select.always(&if filter.inherited { format!("({direct} OR {through})") } else { direct });
    }
    let groups: Vec<_> = filter.groups.iter().map(GroupId::to_string).collect();
    select.any_text("pk IN (SELECT role FROM team_role WHERE team IN (?))", &groups);
    select.search(&["name"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Name => "name",
            Order::Managed => "managed",
        };
        select.order(column, *descending);
    }
    select.order("role.pk", false);
    select.list(conn, "role", slice).await
}
