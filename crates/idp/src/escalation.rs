//! Nobody gives away what they do not have (CO-705).
//!
//! Whoever writes memberships, parents or roles gives people what these bring. Superusers may give anything.

use portcullis_core::id::{GroupId, RoleId, UserPk};
use portcullis_core::permission::{Model, Verb, special};
use portcullis_store::{Conn, account, role, team};

use crate::change::Change;
use crate::context::Actor;
use crate::directory::users;
use crate::error::{Error, Problems};

/// What a writer is told who may not make superusers.
pub(crate) const SUPERUSER: &str = "User does not have permission to set superuser status to True.";
/// What a writer is told who may not unmake groups of superusers.
pub(crate) const NO_SUPERUSER: &str = "User does not have permission to set superuser status to False.";
/// What a writer is told who may not rename a group or a role. Blueprints find both by their names: what they give to one would
/// be given to whatever has its name then.
pub(crate) const RENAMES: &str = "Only superusers may rename this: it brings what you do not have.";
/// What a writer is told who would take from people, by a group or a role, what they have not themselves.
pub(crate) const STRIPS: &str = "People would lose what you do not have yourself: have a superuser do this.";
/// What a writer is told about somebody who may do more than they.
pub(crate) const BEYOND: &str = "This user may do more than you may.";

/// Refuses to give these roles, on `field`, unless the writer has them.
///
/// # Errors
/// When the store fails.
pub(crate) async fn by_roles(
    change: &mut Change<'_>,
    field: &str,
    roles: &[RoleId],
    problems: &mut Problems,
) -> Result<(), Error> {
    let actor = change.actor();
    if actor.is_superuser || roles.is_empty() {
        return Ok(());
    }
    let mine = of(change.conn(), actor.user).await?;
    for pk in roles.iter().filter(|pk| !mine.contains(pk)) {
        problems.add(field, format!("You cannot give the role \"{pk}\", which you do not have."));
    }
    Ok(())
}

/// Whether these groups, with those above them, or these roles bring what the writer has not.
///
/// # Errors
/// When the store fails.
pub(crate) async fn bring_more(change: &mut Change<'_>, groups: &[GroupId], roles: &[RoleId]) -> Result<bool, Error> {
    let mut refused = Problems::default();
    by_groups(change, "groups", groups, &mut refused).await?;
    by_roles(change, "roles", roles, &mut refused).await?;
    Ok(!refused.is_empty())
}

/// Whether anybody would be stripped of what the writer has not, if members of a group lost what these groups and roles bring:
/// whoever was, might be acted for afterwards. The writer is not concerned, who has what they have.
///
/// # Errors
/// When the store fails.
pub(crate) async fn strips(
    change: &mut Change<'_>,
    members_of: GroupId,
    groups: &[GroupId],
    roles: &[RoleId],
) -> Result<bool, Error> {
    Ok(bring_more(change, groups, roles).await? && team::has_members(change.conn(), members_of).await?)
}

/// Refuses to have anybody join these groups, on `field`, unless the writer may say who belongs to them.
pub(crate) fn by_joining(actor: &Actor, field: &str, groups: &[GroupId], problems: &mut Problems) {
    let may = |group: &GroupId| {
        actor.holds_on(special::ADD_USER_TO_GROUP, group) || actor.may_on(Verb::Change, Model::GROUP, group)
    };
    if !problems.has(field) && !groups.iter().all(may) {
        problems.add(field, "User does not have access to group.");
    }
}

/// Refuses to have anybody leave these groups, on `field`, unless the writer may say who belongs to them.
pub(crate) fn by_leaving(actor: &Actor, field: &str, groups: &[GroupId], problems: &mut Problems) {
    let may = |group: &GroupId| {
        actor.holds_on(special::REMOVE_USER_FROM_GROUP, group) || actor.may_on(Verb::Change, Model::GROUP, group)
    };
    if !problems.has(field) && !groups.iter().all(may) {
        problems.add(field, "User does not have access to group.");
    }
}

/// Refuses to give, on `field`, what membership in these groups brings, unless the writer has it.
///
/// # Errors
/// When the store fails.
pub(crate) async fn by_groups(
    change: &mut Change<'_>,
    field: &str,
    groups: &[GroupId],
    problems: &mut Problems,
) -> Result<(), Error> {
    if change.actor().is_superuser {
        return Ok(());
    }
    let mut roles = Vec::new();
    for group in groups {
        for above in team::with_ancestors(change.conn(), *group).await? {
            if above.is_superuser && !problems.has(field) {
                problems.add(field, SUPERUSER);
            }
            roles.extend(role::of_team(change.conn(), above.pk).await?.into_iter().map(|role| role.pk));
        }
    }
    roles.sort_unstable();
    roles.dedup();
    by_roles(change, field, &roles, problems).await
}

/// The fields that a write changes, of those that are guarded.
pub(crate) fn moved<const N: usize>(guarded: [(&'static str, bool); N]) -> Vec<&'static str> {
    guarded.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect()
}

/// Whether a user has what the actor has not. Who may act for such a user, with a password or key that they choose or
/// see, has it from then on.
///
/// # Errors
/// When the store fails.
pub(crate) async fn is_beyond(conn: &mut Conn, actor: &Actor, user: UserPk) -> Result<bool, Error> {
    if actor.is_superuser || actor.user == Some(user) {
        return Ok(false);
    }
    // What an outpost may do is in no role, and it reads secrets.
    let account = account::by_pk(conn, user).await?;
    if account.is_some_and(|account| account.kind == users::INTERNAL_SERVICE_ACCOUNT) {
        return Ok(true);
    }
    if team::of_account_with_ancestors(conn, user).await?.iter().any(|joined| joined.team.is_superuser) {
        return Ok(true);
    }
    let theirs = of(conn, Some(user)).await?;
    let mine = of(conn, actor.user).await?;
    Ok(theirs.iter().any(|pk| !mine.contains(pk)))
}

async fn of(conn: &mut Conn, user: Option<UserPk>) -> Result<Vec<RoleId>, Error> {
    let Some(user) = user else { return Ok(Vec::new()) };
    Ok(role::all_of_account(conn, user).await?.into_iter().map(|role| role.pk).collect())
}
