//! Users and groups as somebody gets to see them: with what belongs to them, and secrets masked (CO-472).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;

use portcullis_core::attributes::{Attributes, SecretKeys};
use portcullis_core::id::{GroupId, UserPk};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::Conn;
use portcullis_store::account::{self, Account};
use portcullis_store::role::{self, Role};
use portcullis_store::select::{Listed, Slice, Visible};
use portcullis_store::team::{self, Team};

use super::{account_attributes, lookup, secret_keys, team_attributes, uid};
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::error::Error;

/// A user for somebody's eyes.
#[derive(Clone, Debug)]
pub struct ShownUser {
    /// The record.
    pub account: Account,
    /// Hashed id (CO-033).
    pub uid: String,
    /// Whether the user administers the instance.
    pub is_superuser: bool,
    /// The user's own attributes.
    pub attributes: Attributes,
    /// Groups the user is a direct member of.
    pub groups: Vec<ShownTeam>,
    /// Roles that the user has without the help of groups.
    pub roles: Vec<Role>,
}

/// A group without what is around it, for somebody's eyes.
#[derive(Clone, Debug)]
pub struct ShownTeam {
    /// The record.
    pub team: Team,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A user without groups, for somebody's eyes.
#[derive(Clone, Debug)]
pub struct ShownMember {
    /// The record.
    pub account: Account,
    /// Hashed id (CO-033).
    pub uid: String,
    /// The user's own attributes.
    pub attributes: Attributes,
}

/// A group with its surroundings, for somebody's eyes.
#[derive(Clone, Debug)]
pub struct ShownGroup {
    /// The group.
    pub group: ShownTeam,
    /// Groups it belongs to.
    pub parents: Vec<ShownTeam>,
    /// Groups that belong to it.
    pub children: Vec<ShownTeam>,
    /// Its direct members.
    pub members: Vec<ShownMember>,
    /// Roles of the group itself.
    pub roles: Vec<Role>,
    /// Roles that its members have through its ancestors.
    pub inherited_roles: Vec<Role>,
}

/// Looks at users and groups on somebody's behalf.
pub struct Viewer<'a> {
    ctx: &'a Context,
    /// Nothing is masked for those who may change the object.
    actor: &'a Actor,
    secrets: SecretKeys,
}

impl<'a> Viewer<'a> {
    /// A viewer for `actor`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of(ctx: &'a Context, conn: &mut Conn, actor: &'a Actor) -> Result<Self, Error> {
        Ok(Self { ctx, actor, secrets: secret_keys(ctx, conn).await? })
    }

    /// A user with their groups.
    ///
    /// # Errors
    /// When the store fails or attributes cannot be opened.
    pub async fn user(&self, conn: &mut Conn, account: Account) -> Result<ShownUser, Error> {
        let all = team::of_account_with_ancestors(conn, account.pk).await?;
        let is_superuser = all.iter().any(|joined| joined.team.is_superuser);
        let groups = self.teams(all.into_iter().filter(|joined| joined.direct).map(|joined| joined.team).collect())?;
        let ShownMember { account, uid, attributes } = self.member(account)?;
        let roles = role::of_account(conn, account.pk).await?;
        Ok(ShownUser { uid, is_superuser, attributes, groups, roles, account })
    }

    /// A group with its surroundings.
    ///
    /// # Errors
    /// When the store fails or attributes cannot be opened.
    pub async fn group(&self, conn: &mut Conn, team: Team) -> Result<ShownGroup, Error> {
        let members = team::member_accounts(conn, team.pk).await?;
        Ok(ShownGroup {
            parents: self.teams(team::parents(conn, team.pk).await?)?,
            children: self.teams(team::children(conn, team.pk).await?)?,
            roles: role::of_team(conn, team.pk).await?,
            inherited_roles: role::inherited_by_team(conn, team.pk).await?,
            members: members.into_iter().map(|account| self.member(account)).collect::<Result<_, _>>()?,
            group: self.team(team)?,
        })
    }

    fn teams(&self, teams: Vec<Team>) -> Result<Vec<ShownTeam>, Error> {
        teams.into_iter().map(|team| self.team(team)).collect()
    }

    /// A user, perhaps beside a group, token or binding. Address and attributes are for those who may see the user as such, and
    /// for the user.
    pub(crate) fn member(&self, mut account: Account) -> Result<ShownMember, Error> {
        if self.actor.user != Some(account.pk) && !self.actor.may_on(Verb::View, Model::USER, &account.pk) {
            account.email.clear();
            return Ok(ShownMember { uid: uid(self.ctx, account.pk), attributes: Attributes::new(), account });
        }
        let attributes = self.masked(account_attributes(self.ctx, &account)?, Model::USER, &account.pk);
        Ok(ShownMember { uid: uid(self.ctx, account.pk), attributes, account })
    }

    /// A group, perhaps beside a user, group or binding. Attributes are for those who may see the group as such.
    pub(crate) fn team(&self, team: Team) -> Result<ShownTeam, Error> {
        if !self.actor.may_on(Verb::View, Model::GROUP, &team.pk) {
            return Ok(ShownTeam { attributes: Attributes::new(), team });
        }
        Ok(ShownTeam { attributes: self.masked(team_attributes(self.ctx, &team)?, Model::GROUP, &team.pk), team })
    }

    fn masked(&self, attributes: Attributes, model: Model, key: &impl Display) -> Attributes {
        // Whoever acts as somebody else sees no secret with the other's rights (CO-388).
        match self.actor.may_on(Verb::Change, model, key) && !self.actor.is_impersonated() {
            true => attributes,
            false => self.secrets.masked(&attributes),
        }
    }
}

/// The users that meet conditions. `attributes` must all be found in the user's own
/// ones; `__` in a key steps into an object; secrets match nothing (CO-472, CO-540).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission.
pub async fn users(
    ctx: &Context,
    actor: &Actor,
    filter: &account::Filter,
    attributes: &Attributes,
    slice: Slice,
) -> Result<Listed<ShownUser>, Error> {
    let slice = slice.of(actor.sees(Model::USER)?);
    let mut conn = ctx.db.read().await?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    let question = lookup::question(ctx, &mut conn, &viewer.secrets, attributes).await?;
    let filter = &account::Filter { attributes: question.digests, ..filter.clone() };
    let listed = if question.is_certain {
        account::list(&mut conn, filter, slice).await?
    } else {
        // Attributes are sealed: of some the store cannot tell.
        let mut cut = Cut::new(&slice);
        for batch in 0.. {
            let batch = Slice { limit: BATCH, offset: batch * BATCH, visible: slice.visible.clone() };
            let end = batch.offset + BATCH;
            let some = account::list(&mut conn, filter, batch).await?;
            for account in some.rows {
                if viewer.holds(&account_attributes(ctx, &account)?, attributes) {
                    cut.add(account);
                }
            }
            if end >= some.count {
                break;
            }
        }
        cut.listed
    };
    let mut rows = Vec::with_capacity(listed.rows.len());
    for account in listed.rows {
        rows.push(viewer.user(&mut conn, account).await?);
    }
    Ok(Listed { rows, count: listed.count })
}

/// The users that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails or attributes cannot be opened.
pub async fn users_in(change: &mut Change<'_>, filter: &account::Filter) -> Result<Vec<ShownUser>, Error> {
    let (ctx, actor) = (change.context(), change.actor());
    let conn = change.conn();
    let viewer = Viewer::of(ctx, conn, actor).await?;
    let mut rows = Vec::new();
    for account in account::list(conn, filter, Slice::ALL).await?.rows {
        rows.push(viewer.user(conn, account).await?);
    }
    Ok(rows)
}

/// The groups that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails or attributes cannot be opened.
pub async fn groups_in(change: &mut Change<'_>, filter: &team::Filter) -> Result<Vec<ShownGroup>, Error> {
    let (ctx, actor) = (change.context(), change.actor());
    let conn = change.conn();
    let viewer = Viewer::of(ctx, conn, actor).await?;
    let mut rows = Vec::new();
    for team in team::list(conn, filter, Slice::ALL).await?.rows {
        rows.push(viewer.group(conn, team).await?);
    }
    Ok(rows)
}

/// Users by whom something else is to be found: whom somebody may not see is nobody, and nothing is found by them.
pub fn sought(actor: &Actor, users: impl IntoIterator<Item = UserPk>) -> Vec<UserPk> {
    let seen = |pk: &UserPk| actor.user == Some(*pk) || actor.may_on(Verb::View, Model::USER, pk);
    users.into_iter().map(|pk| if seen(&pk) { pk } else { NOBODY }).collect()
}

/// Whether the attributes of any user are such. All are opened for that.
///
/// # Errors
/// When the store fails or attributes cannot be opened.
pub(super) async fn any_user(ctx: &Context, conn: &mut Conn, are: impl Fn(&Attributes) -> bool) -> Result<bool, Error> {
    for batch in 0.. {
        let slice = Slice { limit: BATCH, offset: batch * BATCH, ..Slice::ALL };
        let Listed { rows, count } = account::list(conn, &account::Filter::default(), slice).await?;
        for account in rows {
            if are(&account_attributes(ctx, &account)?) {
                return Ok(true);
            }
        }
        if (batch + 1) * BATCH >= count {
            break;
        }
    }
    Ok(false)
}

/// One user.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn user(ctx: &Context, actor: &Actor, pk: UserPk) -> Result<ShownUser, Error> {
    actor.need_on(Verb::View, Model::USER, &pk)?;
    let mut conn = ctx.db.read().await?;
    let account = account::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("User"))?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    viewer.user(&mut conn, account).await
}

/// All paths of users (CO-546).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission.
pub async fn paths(ctx: &Context, actor: &Actor) -> Result<Vec<String>, Error> {
    let mut conn = ctx.db.read().await?;
    match actor.sees(Model::USER)? {
        Visible::All => Ok(account::paths(&mut conn).await?),
        some @ Visible::Only { .. } => {
            let seen = account::list(&mut conn, &account::Filter::default(), Slice::ALL.of(some)).await?;
            Ok(seen.rows.into_iter().map(|account| account.path).collect::<BTreeSet<_>>().into_iter().collect())
        }
    }
}

/// The groups that meet conditions; `attributes` as in [`users`].
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission.
pub async fn groups(
    ctx: &Context,
    actor: &Actor,
    filter: &team::Filter,
    attributes: &Attributes,
    slice: Slice,
) -> Result<Listed<ShownGroup>, Error> {
    let slice = slice.of(actor.sees(Model::GROUP)?);
    let mut conn = ctx.db.read().await?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    let listed = if attributes.is_empty() {
        team::list(&mut conn, filter, slice).await?
    } else {
        let mut cut = Cut::new(&slice);
        for team in team::list(&mut conn, filter, Slice::ALL.of(slice.visible.clone())).await?.rows {
            if viewer.holds(&team_attributes(ctx, &team)?, attributes) {
                cut.add(team);
            }
        }
        cut.listed
    };
    let mut rows = Vec::with_capacity(listed.rows.len());
    for team in listed.rows {
        rows.push(viewer.group(&mut conn, team).await?);
    }
    Ok(Listed { rows, count: listed.count })
}

/// One group.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn group(ctx: &Context, actor: &Actor, pk: GroupId) -> Result<ShownGroup, Error> {
    actor.need_on(Verb::View, Model::GROUP, &pk)?;
    let mut conn = ctx.db.read().await?;
    let team = team::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("Group"))?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    viewer.group(&mut conn, team).await
}

impl Viewer<'_> {
    fn holds(&self, attributes: &Attributes, wanted: &Attributes) -> bool {
        let visible = self.secrets.masked(attributes);
        let found = |path: &str| {
            let mut steps = path.split("__");
            let first = visible.get(steps.next()?)?;
            steps.try_fold(first, |value, step| value.get(step))
        };
        wanted.iter().all(|(path, value)| {
            found(path).is_some_and(|found| found == value && found.as_str() != Some(portcullis_core::attributes::MASK))
        })
    }
}

/// The key that no user has.
const NOBODY: UserPk = UserPk(0);
/// Users that are in memory at a time while attributes are looked into.
const BATCH: i64 = 5000;

/// The slice of rows that match, of which all are seen and few are kept.
struct Cut<T> {
    wanted: Range<i64>,
    listed: Listed<T>,
}

impl<T> Cut<T> {
    fn new(slice: &Slice) -> Self {
        let wanted = slice.offset..slice.offset.saturating_add(slice.limit);
        Self { wanted, listed: Listed { rows: Vec::new(), count: 0 } }
    }

    fn add(&mut self, row: T) {
        if self.wanted.contains(&self.listed.count) {
            self.listed.rows.push(row);
        }
        self.listed.count += 1;
    }
}
