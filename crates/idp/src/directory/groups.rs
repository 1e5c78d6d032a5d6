//! Groups: made, changed, deleted, joined and left (CO-060 … CO-063).

use std::collections::{HashMap, HashSet};

use portcullis_core::attributes::{self, Attributes, changes_reserved};
use portcullis_core::id::{GroupId, RoleId, UserPk};
use portcullis_core::permission::{Model, Verb, special};
use portcullis_store::team::Team;
use portcullis_store::{account, role, team};
use serde_json::{Value, json};

use super::users::left;
use super::{seal, secret_keys, team_attributes, team_place};
use crate::bindings;
use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{attributes_diff, diff, model};
use crate::{escalation, roles};

pub(crate) const TAKEN: &str = "Group with this name already exists.";
/// Groups in the longest chain from a group to an ancestor (CO-062).
const LONGEST_CHAIN: usize = 20;

/// What is to be stored of a group; absent members stay as they are, or have their default on creation.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO-060)")]
pub struct Fields {
    pub name: Option<String>,
    pub is_superuser: Option<bool>,
    pub parents: Option<Vec<GroupId>>,
    pub users: Option<Vec<UserPk>>,
    pub roles: Option<Vec<RoleId>>,
    pub attributes: Option<Value>,
}

/// Makes a group.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<GroupId, Error> {
    actor.need(Verb::Add, Model::GROUP)?;
    let mut change = Change::begin(ctx, actor).await?;
    let pk = create_in(ctx, &mut change, fields).await?;
    change.commit().await?;
    Ok(pk)
}

/// Makes a group as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create_in(ctx: &Context, change: &mut Change<'_>, fields: Fields) -> Result<GroupId, Error> {
    let pk = GroupId(ctx.entropy.uuid());
    let mut made = Team { pk, name: String::new(), is_superuser: false, attributes_sealed: Vec::new() };
    let mut problems = Problems::default();
    if fields.name.is_none() {
        problems.add("name", "This field is required.");
    }
    apply(&mut made, &fields, &mut problems);
    let own = new_attributes(change, &fields, &Attributes::new(), &mut problems).await?;
    check_links(change, pk, &fields, &mut problems).await?;
    check_escalation(change, pk, &fields, false, &mut problems).await?;
    problems.check()?;
    made.attributes_sealed = seal(ctx, &team_place(pk), &own);
    team::insert(change.conn(), &made).await.map_err(|error| Error::taken(error, "team.name", "name", TAKEN))?;
    store_links(change, pk, &fields).await?;
    change.event("model_created", json!({"model": named(&made)})).await?;
    Ok(pk)
}

/// Changes a group.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, pk: GroupId, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::GROUP, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields).await?;
    change.commit().await
}

/// Changes a group as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(change: &mut Change<'_>, pk: GroupId, fields: Fields) -> Result<(), Error> {
    let ctx = change.context();
    change.keeping_a_superuser().await?;
    let mut changed = team::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Group"))?;
    let before = snapshot(change, &changed).await?;
    let stored = team_attributes(ctx, &changed)?;
    let (was_superuser, was_called) = (changed.is_superuser, changed.name.clone());
    let mut problems = Problems::default();
    apply(&mut changed, &fields, &mut problems);
    if changed.name != was_called && escalation::bring_more(change, &[pk], &[]).await? {
        problems.add("name", escalation::RENAMES);
    }
    let own = new_attributes(change, &fields, &stored, &mut problems).await?;
    check_links(change, pk, &fields, &mut problems).await?;
    check_escalation(change, pk, &fields, was_superuser, &mut problems).await?;
    problems.check()?;
    if own != stored {
        changed.attributes_sealed = seal(ctx, &team_place(pk), &own);
    }
    team::update(change.conn(), &changed).await.map_err(|error| Error::taken(error, "team.name", "name", TAKEN))?;
    store_links(change, pk, &fields).await?;
    let after = snapshot(change, &changed).await?;
    // Name, flag, parents and attributes reach every member, also of descendants.
    change.touch(Touched::Everyone);
    let mut difference = diff(&before, &after);
    attributes_diff(&mut difference, &stored, &own);
    change.event("model_updated", json!({"model": named(&changed), "diff": difference})).await
}

/// Deletes a group with memberships and parent links; its children stay (CO-063).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] when no
/// active superuser would be left, or members would lose what the actor has not.
pub async fn delete(ctx: &Context, actor: &Actor, pk: GroupId) -> Result<(), Error> {
    actor.need_on(Verb::Delete, Model::GROUP, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, pk).await?;
    change.commit().await
}

/// Deletes a group as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, pk: GroupId) -> Result<(), Error> {
    change.keeping_a_superuser().await?;
    let gone = team::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Group"))?;
    if escalation::strips(change, pk, &[pk], &[]).await? {
        return Err(Error::whole(escalation::STRIPS));
    }
    bindings::before_group_is_deleted(change, pk).await?;
    team::delete(change.conn(), pk).await?;
    change.touch(Touched::Everyone);
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// Makes a user a direct member (`true`), or ends that (CO-548).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`] for an unknown group or user,
/// [`Error::Invalid`] when no active superuser would be left, or somebody would get or lose what the actor has not.
pub async fn set_member(ctx: &Context, actor: &Actor, pk: GroupId, user: UserPk, member: bool) -> Result<(), Error> {
    let right = if member { special::ADD_USER_TO_GROUP } else { special::REMOVE_USER_FROM_GROUP };
    actor.need_right_on(right, Model::GROUP, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    change.keeping_a_superuser().await?;
    let team = team::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Group"))?;
    let account = account::by_pk(change.conn(), user).await?.ok_or(Error::NotFound("User"))?;
    // The members of a group are shown with it. Others are there for those alone who may see them.
    let is_member = team::members(change.conn(), pk).await?.contains(&user);
    if !sees(actor, user) && !is_member {
        return Err(Error::NotFound("User"));
    }
    if member {
        let mut problems = Problems::default();
        escalation::by_groups(&mut change, "pk", &[pk], &mut problems).await?;
        problems.check()?;
        team::add_member(change.conn(), pk, user).await?;
    } else {
        if is_member && escalation::bring_more(&mut change, &[pk], &[]).await? {
            return Err(Error::field("pk", escalation::STRIPS));
        }
        team::remove_member(change.conn(), pk, user).await?;
    }
    change.touch(Touched::User(account.uuid));
    let field = if member { "users_added" } else { "users_removed" };
    change.event("model_updated", json!({"model": named(&team), "diff": {field: [user]}})).await?;
    change.commit().await
}

fn sees(actor: &Actor, user: UserPk) -> bool {
    actor.user == Some(user) || actor.may_on(Verb::View, Model::USER, &user)
}

fn named(team: &Team) -> Value {
    model("authentik_core", "group", team.pk, &team.name)
}

fn apply(team: &mut Team, fields: &Fields, problems: &mut Problems) {
    if let Some(name) = &fields.name {
        if name.is_empty() {
            problems.add("name", "This field may not be blank.");
        }
        problems.limit_indexed("name", name);
        team.name.clone_from(name);
    }
    if let Some(is_superuser) = fields.is_superuser {
        team.is_superuser = is_superuser;
    }
}

async fn new_attributes(
    change: &mut Change<'_>,
    fields: &Fields,
    stored: &Attributes,
    problems: &mut Problems,
) -> Result<Attributes, Error> {
    let Some(given) = &fields.attributes else { return Ok(stored.clone()) };
    match attributes::check(given.clone()) {
        Ok(given) => {
            let meant = secret_keys(change.context(), change.conn()).await?.restored(given, stored);
            if changes_reserved(stored, &meant) && !change.actor().is_superuser {
                problems.add("attributes", attributes::AttributesError::Reserved.to_string());
            }
            Ok(meant)
        }
        Err(error) => {
            problems.add("attributes", error.to_string());
            Ok(stored.clone())
        }
    }
}

async fn check_links(
    change: &mut Change<'_>,
    pk: GroupId,
    fields: &Fields,
    problems: &mut Problems,
) -> Result<(), Error> {
    let members = team::members(change.conn(), pk).await?;
    for user in fields.users.iter().flatten() {
        // Who may not be seen is not there.
        let is_seen = members.contains(user) || sees(change.actor(), *user);
        if !is_seen || account::by_pk(change.conn(), *user).await?.is_none() {
            problems.add("users", format!("Invalid pk \"{user}\" - object does not exist."));
        }
    }
    roles::check(change.conn(), fields.roles.as_deref(), problems).await?;
    let Some(parents) = &fields.parents else { return Ok(()) };
    for parent in parents {
        if *parent != pk && team::by_pk(change.conn(), *parent).await?.is_none() {
            problems.add("parents", format!("Invalid pk \"{parent}\" - object does not exist."));
        }
    }
    // Those above its parents and those below it: no others can be part of a circle, or of a chain, through it.
    let mut links = team::links_below(change.conn(), pk).await?;
    for parent in parents {
        links.extend(team::links_above(change.conn(), *parent).await?);
    }
    if let Err(message) = check_parents(&links, pk, parents) {
        problems.add("parents", message);
    }
    Ok(())
}

/// What members get or lose through this change has to be the writer's own (CO-705).
async fn check_escalation(
    change: &mut Change<'_>,
    pk: GroupId,
    fields: &Fields,
    was_superuser: bool,
    problems: &mut Problems,
) -> Result<(), Error> {
    if change.actor().is_superuser {
        return Ok(());
    }
    match fields.is_superuser {
        Some(true) if !was_superuser => problems.add("is_superuser", escalation::SUPERUSER),
        Some(false) if was_superuser => problems.add("is_superuser", escalation::NO_SUPERUSER),
        _ => {}
    }
    let parents: Vec<_> = team::parents(change.conn(), pk).await?.into_iter().map(|team| team.pk).collect();
    let above: Vec<_> = fields.parents.iter().flatten().copied().filter(|group| !parents.contains(group)).collect();
    escalation::by_groups(change, "parents", &above, problems).await?;
    escalation::by_joining(change.actor(), "parents", &above, problems);
    let roles: Vec<_> = role::of_team(change.conn(), pk).await?.into_iter().map(|role| role.pk).collect();
    let new: Vec<_> = fields.roles.iter().flatten().copied().filter(|role| !roles.contains(role)).collect();
    escalation::by_roles(change, "roles", &new, problems).await?;
    let members = team::members(change.conn(), pk).await?;
    if fields.users.iter().flatten().any(|user| !members.contains(user)) {
        escalation::by_groups(change, "users", &[pk], problems).await?;
    }
    let (left_parents, left_roles) = (left(&parents, fields.parents.as_deref()), left(&roles, fields.roles.as_deref()));
    let somebody_leaves = !left(&members, fields.users.as_deref()).is_empty();
    let stripping = escalation::moved([
        ("parents", escalation::strips(change, pk, &left_parents, &[]).await?),
        ("roles", escalation::strips(change, pk, &[], &left_roles).await?),
        ("users", somebody_leaves && escalation::bring_more(change, &[pk], &[]).await?),
    ]);
    problems.add_each(&stripping, escalation::STRIPS);
    Ok(())
}

/// Refuses parents that would make a circle, or a chain of more than [`LONGEST_CHAIN`] groups (CO-062).
fn check_parents(links: &[(GroupId, GroupId)], child: GroupId, parents: &[GroupId]) -> Result<(), &'static str> {
    let mut up: HashMap<GroupId, Vec<GroupId>> = HashMap::new();
    let mut down: HashMap<GroupId, Vec<GroupId>> = HashMap::new();
    let kept = links.iter().copied().filter(|(from, _)| *from != child);
    for (from, to) in kept.chain(parents.iter().map(|parent| (child, *parent))) {
        up.entry(from).or_default().push(to);
        down.entry(to).or_default().push(from);
    }
    let above = height(&up, child).ok_or("A group cannot be its own ancestor.")?;
    let below = height(&down, child).ok_or("A group cannot be its own ancestor.")?;
    if above + 1 + below > LONGEST_CHAIN { Err("Groups cannot be nested more than 20 deep.") } else { Ok(()) }
}

/// Steps of the longest way from `start`; none when a way leads back to it.
fn height(steps: &HashMap<GroupId, Vec<GroupId>>, start: GroupId) -> Option<usize> {
    let mut level = HashSet::from([start]);
    let mut height = 0;
    loop {
        level = level.iter().filter_map(|group| steps.get(group)).flatten().copied().collect();
        if level.contains(&start) {
            return None;
        }
        // Beyond the limit the exact number does not matter; a circle elsewhere ends here too.
        if level.is_empty() || height > LONGEST_CHAIN {
            return Some(height);
        }
        height += 1;
    }
}

async fn store_links(change: &mut Change<'_>, pk: GroupId, fields: &Fields) -> Result<(), Error> {
    if let Some(roles) = &fields.roles {
        role::set_of_team(change.conn(), pk, roles).await?;
    }
    if let Some(parents) = &fields.parents {
        team::set_parents(change.conn(), pk, parents).await?;
    }
    if let Some(users) = &fields.users {
        let before = team::members(change.conn(), pk).await?;
        for user in before.iter().filter(|user| !users.contains(user)) {
            team::remove_member(change.conn(), pk, *user).await?;
            touch_user(change, *user).await?;
        }
        for user in users.iter().filter(|user| !before.contains(user)) {
            team::add_member(change.conn(), pk, *user).await?;
            touch_user(change, *user).await?;
        }
    }
    Ok(())
}

async fn touch_user(change: &mut Change<'_>, user: UserPk) -> Result<(), Error> {
    if let Some(account) = account::by_pk(change.conn(), user).await? {
        change.touch(Touched::User(account.uuid));
    }
    Ok(())
}

async fn snapshot(change: &mut Change<'_>, team: &Team) -> Result<Value, Error> {
    let parents: Vec<_> = team::parents(change.conn(), team.pk).await?.into_iter().map(|team| team.pk).collect();
    let users = team::members(change.conn(), team.pk).await?;
    let roles: Vec<_> = role::of_team(change.conn(), team.pk).await?.into_iter().map(|role| role.pk).collect();
    Ok(json!({
        "name": team.name, "is_superuser": team.is_superuser, "parents": parents, "users": users, "roles": roles,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn group(n: u128) -> GroupId {
        GroupId(Uuid::from_u128(n))
    }

    /// CO-062, CO-842: circles of any length are refused, shared ancestors are not.
    #[test]
    fn co_062_parents_make_no_circle() {
        let links = [(group(1), group(2)), (group(2), group(3)), (group(4), group(3))];
        assert!(check_parents(&links, group(1), &[group(1)]).is_err());
        assert!(check_parents(&links, group(3), &[group(1)]).is_err());
        assert!(check_parents(&links, group(2), &[group(1)]).is_err());
        assert!(check_parents(&links, group(1), &[group(2), group(4)]).is_ok());
    }

    /// CO-062: a chain has at most twenty groups, wherever a link is added.
    #[test]
    fn co_062_chains_have_an_end() {
        let links: Vec<_> = (1..20).map(|n| (group(n), group(n + 1))).collect();
        assert!(check_parents(&links, group(20), &[group(21)]).is_err());
        assert!(check_parents(&links, group(0), &[group(1)]).is_err());
        assert!(check_parents(&links, group(0), &[group(2)]).is_ok());
        let halves: Vec<_> = (1..10).chain(11..20).map(|n| (group(n), group(n + 1))).collect();
        assert!(check_parents(&halves, group(10), &[group(11)]).is_ok());
        assert!(check_parents(&halves, group(10), &[group(11), group(12)]).is_ok());
        assert!(check_parents(&[halves, vec![(group(20), group(21))]].concat(), group(10), &[group(11)]).is_err());
    }
}
