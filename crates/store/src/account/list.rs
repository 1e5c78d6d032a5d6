//! Lists of users.

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{GroupId, RoleId, UserPk};
use portcullis_core::username::fold;
use uuid::Uuid;

use super::Account;
use super::administer::MIGHTY;
use crate::db::Conn;
use crate::error::StoreError;
use crate::select::{Listed, Select, Slice};

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
    select.search_also(&["username", "name", "email"], &["uuid"], &filter.search);
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
    // No two have the same user name: nothing is left to be put in order after it, and an index of more columns serves.
    if !filter.order.iter().any(|(order, _)| *order == Order::Username) {
        select.order("account.pk", false);
    }
    select.list(conn, "account", slice).await
}
