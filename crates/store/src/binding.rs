//! Policy bindings (CO section 8).

use portcullis_core::id::{ApplicationId, BindingId, GroupId, PolicyId, UserPk};
use uuid::Uuid;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// A binding. At most one of policy, group and user is set; none makes it an orphan, which denies (CO-180).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Key.
    pub pk: BindingId,
    /// What it is bound to.
    pub target: Uuid,
    /// The policy that decides.
    pub policy: Option<PolicyId>,
    /// The group whose members it is for.
    pub team: Option<GroupId>,
    /// The user it is for.
    pub account: Option<UserPk>,
    /// Place among the bindings of the target; `order` in the API.
    pub position: i32,
    /// Whether the outcome is inverted.
    pub negate: bool,
    /// Whether it counts.
    pub enabled: bool,
    /// The outcome when the policy cannot be evaluated.
    pub failure_result: bool,
    /// Seconds that the policy may take; 0 means 30.
    pub timeout: i32,
}

impl Record for Binding {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            target: row.parsed("target")?,
            policy: row.parsed_or_null("policy")?,
            team: row.parsed_or_null("team")?,
            account: row.small_or_null("account")?.map(UserPk),
            position: row.small("position")?,
            negate: row.flag("negate")?,
            enabled: row.flag("enabled")?,
            failure_result: row.flag("failure_result")?,
            timeout: row.small("timeout")?,
        })
    }
}

/// The binding with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: BindingId) -> Result<Option<Binding>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM binding WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// The bindings of a target that count, in the order of evaluation (CO-171).
///
/// # Errors
/// When the database fails.
pub async fn enabled_of(conn: &mut Conn, target: Uuid) -> Result<Vec<Binding>, StoreError> {
    let target = target.to_string();
    many(on!(conn, c => sqlx::query("SELECT * FROM binding WHERE target = $1 AND enabled ORDER BY position, pk")
        .bind(target).fetch_all(c).await))
}

/// All bindings that count, in the order of evaluation within each target: for decisions on many targets at once.
///
/// # Errors
/// When the database fails.
pub async fn all_enabled(conn: &mut Conn) -> Result<Vec<Binding>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM binding WHERE enabled ORDER BY target, position, pk")
        .fetch_all(c).await))
}

/// The bindings that name a group: they become orphans when it is deleted.
///
/// # Errors
/// When the database fails.
pub async fn of_team(conn: &mut Conn, team: GroupId) -> Result<Vec<Binding>, StoreError> {
    let team = team.to_string();
    many(on!(conn, c => sqlx::query("SELECT * FROM binding WHERE team = $1 ORDER BY target, position, pk")
        .bind(team).fetch_all(c).await))
}

/// The bindings that name a user: they become orphans when the user is deleted.
///
/// # Errors
/// When the database fails.
pub async fn of_account(conn: &mut Conn, account: UserPk) -> Result<Vec<Binding>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM binding WHERE account = $1 ORDER BY target, position, pk")
        .bind(account.0).fetch_all(c).await))
}

/// The bindings that name a policy: they become orphans when it is deleted.
///
/// # Errors
/// When the database fails.
pub async fn of_policy(conn: &mut Conn, policy: PolicyId) -> Result<Vec<Binding>, StoreError> {
    let policy = policy.to_string();
    many(on!(conn, c => sqlx::query("SELECT * FROM binding WHERE policy = $1 ORDER BY target, position, pk")
        .bind(policy).fetch_all(c).await))
}

/// The groups that the bindings of a target name, and what they are called.
///
/// # Errors
/// When the database fails.
pub async fn team_names(conn: &mut Conn, target: Uuid) -> Result<Vec<(GroupId, String)>, StoreError> {
    struct Named(GroupId, String);
    impl Record for Named {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(row.parsed("pk")?, row.text("name")?))
        }
    }
    let found: Vec<Named> = many(on!(conn, c => sqlx::query(
        "SELECT pk, name FROM team WHERE pk IN (SELECT team FROM binding WHERE target = $1)",
    ).bind(target.to_string()).fetch_all(c).await))?;
    Ok(found.into_iter().map(|Named(pk, name)| (pk, name)).collect())
}

/// The users that the bindings of a target name, and what they are called.
///
/// # Errors
/// When the database fails.
pub async fn account_names(conn: &mut Conn, target: Uuid) -> Result<Vec<(UserPk, String)>, StoreError> {
    struct Named(UserPk, String);
    impl Record for Named {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(UserPk(row.small("pk")?), row.text("username")?))
        }
    }
    let found: Vec<Named> = many(on!(conn, c => sqlx::query(
        "SELECT pk, username FROM account WHERE pk IN (SELECT account FROM binding WHERE target = $1)",
    ).bind(target.to_string()).fetch_all(c).await))?;
    Ok(found.into_iter().map(|Named(pk, username)| (pk, username)).collect())
}

/// All bindings of a target, in the order of evaluation.
///
/// # Errors
/// When the database fails.
pub async fn of_target(conn: &mut Conn, target: Uuid) -> Result<Vec<Binding>, StoreError> {
    let target = target.to_string();
    many(on!(conn, c => sqlx::query("SELECT * FROM binding WHERE target = $1 ORDER BY position, pk")
        .bind(target).fetch_all(c).await))
}

/// The bindings that count of all entitlements of an application: one query, however many there are.
///
/// # Errors
/// When the database fails.
pub async fn of_entitlements(conn: &mut Conn, application: ApplicationId) -> Result<Vec<Binding>, StoreError> {
    let application = application.to_string();
    many(on!(conn, c => sqlx::query(
        "SELECT binding.* FROM binding JOIN entitlement ON entitlement.uuid = binding.target
         WHERE entitlement.application = $1 AND binding.enabled ORDER BY binding.target, position, pk",
    ).bind(application).fetch_all(c).await))
}

/// How many bindings name a policy.
///
/// # Errors
/// When the database fails.
pub async fn count_of_policy(conn: &mut Conn, policy: PolicyId) -> Result<i64, StoreError> {
    let policy = policy.to_string();
    Ok(on!(conn, c => sqlx::query_scalar::<_, i64>("SELECT count(*) FROM binding WHERE policy = $1")
        .bind(policy).fetch_one(c).await)?)
}

/// How many bindings name each policy. Those that none names are left out.
///
/// # Errors
/// When the database fails.
pub async fn counts(conn: &mut Conn) -> Result<Vec<(PolicyId, i64)>, StoreError> {
    struct Bound(PolicyId, i64);
    impl Record for Bound {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(row.parsed("policy")?, row.integer("bound")?))
        }
    }
    let found: Vec<Bound> = many(on!(conn, c => sqlx::query(
        "SELECT policy, count(*) AS bound FROM binding WHERE policy IS NOT NULL GROUP BY policy",
    ).fetch_all(c).await))?;
    Ok(found.into_iter().map(|Bound(policy, bound)| (policy, bound)).collect())
}

/// How many bindings of a target count.
///
/// # Errors
/// When the database fails.
pub async fn count_enabled(conn: &mut Conn, target: Uuid) -> Result<i64, StoreError> {
    let target = target.to_string();
    Ok(on!(conn, c => sqlx::query_scalar::<_, i64>("SELECT count(*) FROM binding WHERE target = $1 AND enabled")
        .bind(target).fetch_one(c).await)?)
}

/// Whether another binding has the same policy, target and order (CO-170).
///
/// # Errors
/// When the database fails.
pub async fn collides(conn: &mut Conn, binding: &Binding) -> Result<bool, StoreError> {
    let Some(policy) = binding.policy else { return Ok(false) };
    Ok(on!(conn, c => sqlx::query_scalar::<_, i64>(
        "SELECT count(*) FROM binding WHERE policy = $1 AND target = $2 AND position = $3 AND pk <> $4",
    )
    .bind(policy.to_string())
    .bind(binding.target.to_string())
    .bind(binding.position)
    .bind(binding.pk.to_string())
    .fetch_one(c)
    .await)?
        > 0)
}

/// Keeps a new binding.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, binding: &Binding) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO binding (pk, target, policy, team, account, position, negate, enabled, failure_result, timeout)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(binding.pk.to_string())
    .bind(binding.target.to_string())
    .bind(binding.policy.map(|pk| pk.to_string()))
    .bind(binding.team.map(|pk| pk.to_string()))
    .bind(binding.account.map(|pk| pk.0))
    .bind(binding.position)
    .bind(binding.negate)
    .bind(binding.enabled)
    .bind(binding.failure_result)
    .bind(binding.timeout)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores every field of a binding.
///
/// # Errors
/// When the database fails.
pub async fn update(conn: &mut Conn, binding: &Binding) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE binding SET target = $2, policy = $3, team = $4, account = $5, position = $6, negate = $7,
             enabled = $8, failure_result = $9, timeout = $10
         WHERE pk = $1",
    )
    .bind(binding.pk.to_string())
    .bind(binding.target.to_string())
    .bind(binding.policy.map(|pk| pk.to_string()))
    .bind(binding.team.map(|pk| pk.to_string()))
    .bind(binding.account.map(|pk| pk.0))
    .bind(binding.position)
    .bind(binding.negate)
    .bind(binding.enabled)
    .bind(binding.failure_result)
    .bind(binding.timeout)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Deletes a binding.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: BindingId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM binding WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// Deletes all bindings of a target (CO-130).
///
/// # Errors
/// When the database fails.
pub async fn delete_of(conn: &mut Conn, target: Uuid) -> Result<(), StoreError> {
    let target = target.to_string();
    on!(conn, c => sqlx::query("DELETE FROM binding WHERE target = $1").bind(target).execute(c).await.map(drop))?;
    Ok(())
}

/// Conditions on a list of bindings (CO-561). Absent and empty conditions hold for every binding.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Policy.
    pub policy: Option<PolicyId>,
    /// Whether it names no policy.
    pub without_policy: Option<bool>,
    /// Target.
    pub target: Option<Uuid>,
    /// One of these targets.
    pub targets: Vec<Uuid>,
    /// Whether it counts.
    pub enabled: Option<bool>,
    /// Order number.
    pub position: Option<i32>,
    /// Seconds.
    pub timeout: Option<i32>,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What bindings can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Order,
    Target,
    Policy,
    Enabled,
    Timeout,
    Group,
    User,
    Negate,
    FailureResult,
}

/// The bindings that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Binding>, StoreError> {
    let mut select = Select::default();
    if let Some(policy) = filter.policy {
        select.text("policy = ?", policy.to_string());
    }
    match filter.without_policy {
        Some(true) => select.always("policy IS NULL"),
        Some(false) => select.always("policy IS NOT NULL"),
        None => {}
    }
    if let Some(target) = filter.target {
        select.text("target = ?", target.to_string());
    }
    let targets: Vec<_> = filter.targets.iter().map(Uuid::to_string).collect();
    select.any_text("target IN (?)", &targets);
    if let Some(enabled) = filter.enabled {
        select.flag("enabled = ?", enabled);
    }
    if let Some(position) = filter.position {
        select.integer("position = ?", position.into());
    }
    if let Some(timeout) = filter.timeout {
        select.integer("timeout = ?", timeout.into());
    }
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Order => "position",
            Order::Target => "target",
            Order::Policy => "policy",
            Order::Enabled => "enabled",
            Order::Timeout => "timeout",
            Order::Group => "team",
            Order::User => "account",
            Order::Negate => "negate",
            Order::FailureResult => "failure_result",
        };
        select.order(column, *descending);
    }
    select.order("binding.pk", false);
    select.list(conn, "binding", slice).await
}
