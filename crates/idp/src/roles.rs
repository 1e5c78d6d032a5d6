//! Roles: made, changed, deleted, and what they grant (CO-577, CO-701).

use portcullis_core::id::{RoleId, UserPk};
use portcullis_core::permission::{Model, Permission, Verb};
use portcullis_store::role::{self, Role};
use portcullis_store::{Conn, account};
use serde_json::{Value, json};

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::list::{Listed, Slice};
use crate::{escalation, managed};

pub use portcullis_store::role::{Filter, Order, Right};

/// What the permanent names of roles begin with that grant one user what is granted to them alone; their key follows.
pub const OF_USER: &str = "goauthentik.io/rbac/roles/user-";
pub(crate) const TAKEN: &str = "Role with this name already exists.";

/// What is to be stored of a role; an absent member stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// Unique name.
    pub name: Option<String>,
}

/// The roles that meet conditions.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, or when the store fails.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<Role>, Error> {
    let slice = slice.of(actor.sees(Model::ROLE)?);
    let mut conn = ctx.db.read().await?;
    Ok(role::list(&mut conn, filter, slice).await?)
}

/// The role with this key.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn get(ctx: &Context, actor: &Actor, pk: RoleId) -> Result<Role, Error> {
    actor.need_on(Verb::View, Model::ROLE, &pk)?;
    let mut conn = ctx.db.read().await?;
    role::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("Role"))
}

/// The roles that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails.
pub async fn all_in(change: &mut Change<'_>, filter: &Filter) -> Result<Vec<Role>, Error> {
    Ok(role::list(change.conn(), filter, Slice::ALL).await?.rows)
}

/// The role that grants a user what is granted to them alone; it is made when it is missing.
///
/// # Errors
/// [`Error::NotFound`] when there is no such user; else when the store fails.
pub async fn own_of_in(change: &mut Change<'_>, user: UserPk) -> Result<RoleId, Error> {
    let name = format!("ak-managed-role--user-{user}");
    // Names are for others to take as well.
    let managed = managed_name(user);
    if account::by_pk(change.conn(), user).await?.is_none() {
        return Err(Error::NotFound("User"));
    }
    let pk = match role::by_managed(change.conn(), &managed).await? {
        Some(role) => role.pk,
        None => {
            let ctx = change.context();
            let name = match role::by_name(change.conn(), &name).await? {
                Some(_) => format!("{name}-{}", ctx.entropy.uuid()),
                None => name,
            };
            let pk = create_in(ctx, change, Fields { name: Some(name) }).await?;
            managed::set_in(change, managed::Kind::Role, &pk.to_string(), &managed).await?;
            pk
        }
    };
    let mut roles: Vec<_> = role::of_account(change.conn(), user).await?.into_iter().map(|role| role.pk).collect();
    if !roles.contains(&pk) {
        roles.push(pk);
        role::set_of_account(change.conn(), user, &roles).await?;
    }
    Ok(pk)
}

/// The role that grants a user what is granted to them alone, if there is one.
///
/// # Errors
/// When the store fails.
pub async fn known_of_in(change: &mut Change<'_>, user: UserPk) -> Result<Option<RoleId>, Error> {
    Ok(role::by_managed(change.conn(), &managed_name(user)).await?.map(|role| role.pk))
}

fn managed_name(user: UserPk) -> String {
    format!("{OF_USER}{user}")
}

/// Makes a role, which grants nothing yet.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<RoleId, Error> {
    actor.need(Verb::Add, Model::ROLE)?;
    let mut change = Change::begin(ctx, actor).await?;
    let pk = create_in(ctx, &mut change, fields).await?;
    change.commit().await?;
    Ok(pk)
}

/// Makes a role as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create_in(ctx: &Context, change: &mut Change<'_>, fields: Fields) -> Result<RoleId, Error> {
    let mut made = Role { pk: RoleId(ctx.entropy.uuid()), name: String::new(), managed: None };
    let mut problems = Problems::default();
    if fields.name.is_none() {
        problems.add("name", "This field is required.");
    }
    apply(&mut made, fields, &mut problems);
    problems.check()?;
    role::insert(change.conn(), &made).await.map_err(|error| Error::taken(error, "role.name", "name", TAKEN))?;
    change.event("model_created", json!({"model": named(&made)})).await?;
    Ok(made.pk)
}

/// Changes a role.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken rules.
pub async fn update(ctx: &Context, actor: &Actor, pk: RoleId, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::ROLE, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields).await?;
    change.commit().await
}

/// Changes a role as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] for broken rules.
pub async fn update_in(change: &mut Change<'_>, pk: RoleId, fields: Fields) -> Result<(), Error> {
    let stored = role::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Role"))?;
    let mut changed = stored.clone();
    let mut problems = Problems::default();
    apply(&mut changed, fields, &mut problems);
    if changed.name != stored.name && escalation::bring_more(change, &[], &[pk]).await? {
        problems.add("name", escalation::RENAMES);
    }
    problems.check()?;
    role::update(change.conn(), &changed).await.map_err(|error| Error::taken(error, "role.name", "name", TAKEN))?;
    // Expressions know roles by their names.
    change.touch(Touched::Everyone);
    let difference = diff(&json!({"name": stored.name}), &json!({"name": changed.name}));
    change.event("model_updated", json!({"model": named(&changed), "diff": difference})).await
}

/// Deletes a role. Who had it loses what it granted.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] when somebody would lose
/// a role that the actor has not.
pub async fn delete(ctx: &Context, actor: &Actor, pk: RoleId) -> Result<(), Error> {
    actor.need_on(Verb::Delete, Model::ROLE, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, pk).await?;
    change.commit().await
}

/// Deletes a role as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, pk: RoleId) -> Result<(), Error> {
    let gone = role::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Role"))?;
    if escalation::bring_more(change, &[], &[pk]).await? && role::is_given(change.conn(), pk).await? {
        return Err(Error::whole(escalation::STRIPS));
    }
    role::delete(change.conn(), pk).await?;
    change.touch(Touched::Everyone);
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// Lets a role grant a right, on one object or on everything of its kind; tells whether it did not already.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] on `permission` when there is no such right.
pub async fn grant_in(
    change: &mut Change<'_>,
    pk: RoleId,
    permission: &str,
    object: Option<&str>,
) -> Result<bool, Error> {
    let granting = role::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Role"))?;
    let permission = Permission::parse(permission)
        .ok_or_else(|| Error::field("permission", format!("\"{permission}\" is not a valid choice.")))?;
    let right = Right { permission: permission.to_string(), object: object.unwrap_or_default().to_owned() };
    if role::rights(change.conn(), pk).await?.contains(&right) {
        return Ok(false);
    }
    role::grant(change.conn(), pk, &right).await?;
    let granted = json!({"permission": right.permission, "object": object});
    change.event("model_updated", json!({"model": named(&granting), "diff": {"granted": granted}})).await?;
    Ok(true)
}

/// Takes a right from a role, on one object or on everything of its kind; tells whether the role granted it.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn withdraw_in(
    change: &mut Change<'_>,
    pk: RoleId,
    permission: &str,
    object: Option<&str>,
) -> Result<bool, Error> {
    let granting = role::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Role"))?;
    let right = Right { permission: permission.to_owned(), object: object.unwrap_or_default().to_owned() };
    if !role::rights(change.conn(), pk).await?.contains(&right) {
        return Ok(false);
    }
    role::withdraw(change.conn(), pk, &right).await?;
    let withdrawn = json!({"permission": right.permission, "object": object});
    change.event("model_updated", json!({"model": named(&granting), "diff": {"withdrawn": withdrawn}})).await?;
    Ok(true)
}

/// What a role grants, by name, as part of a larger change.
///
/// # Errors
/// When the store fails.
pub async fn rights_in(change: &mut Change<'_>, pk: RoleId) -> Result<Vec<Right>, Error> {
    Ok(role::rights(change.conn(), pk).await?)
}

/// What a role is called, as part of a larger change.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn name_in(change: &mut Change<'_>, pk: RoleId) -> Result<String, Error> {
    Ok(role::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Role"))?.name)
}

/// Refuses roles that do not exist, on `roles`.
///
/// # Errors
/// When the store fails.
pub(crate) async fn check(conn: &mut Conn, given: Option<&[RoleId]>, problems: &mut Problems) -> Result<(), Error> {
    for pk in given.into_iter().flatten() {
        if role::by_pk(conn, *pk).await?.is_none() {
            problems.add("roles", format!("Invalid pk \"{pk}\" - object does not exist."));
        }
    }
    Ok(())
}

/// All roles of a user, those of their groups included, by name.
///
/// # Errors
/// When the store fails.
pub async fn of_user(ctx: &Context, user: UserPk) -> Result<Vec<Role>, Error> {
    Ok(role::all_of_account(&mut ctx.db.read().await?, user).await?)
}

fn apply(role: &mut Role, fields: Fields, problems: &mut Problems) {
    if let Some(name) = fields.name {
        if name.is_empty() {
            problems.add("name", "This field may not be blank.");
        }
        problems.limit_indexed("name", &name);
        role.name = name;
    }
}

pub(crate) fn named(role: &Role) -> Value {
    model("authentik_rbac", "role", role.pk, &role.name)
}
