//! Users and groups as somebody gets to see them: with what belongs to them, and secrets masked (CO-472).

use portcullis_core::attributes::{Attributes, SecretKeys};
use portcullis_core::id::{GroupId, UserPk};
use portcullis_store::Conn;
use portcullis_store::account::{self, Account};
use portcullis_store::select::{Listed, Slice};
use portcullis_store::team::{self, Team};

use super::{account_attributes, secret_keys, superuser_only, team_attributes, uid};
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
}

/// Looks at users and groups on somebody's behalf.
pub struct Viewer<'a> {
    ctx: &'a Context,
    /// Nothing is masked for those who may change the objects.
    mask: Option<SecretKeys>,
    secrets: SecretKeys,
}

impl<'a> Viewer<'a> {
    /// A viewer for `actor`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of(ctx: &'a Context, conn: &mut Conn, actor: &Actor) -> Result<Self, Error> {
        let secrets = secret_keys(ctx, conn).await?;
        Ok(Self { ctx, mask: (!actor.is_superuser).then(|| secrets.clone()), secrets })
    }

    /// A user with their groups.
    ///
    /// # Errors
    /// When the store fails or attributes cannot be opened.
    pub async fn user(&self, conn: &mut Conn, account: Account) -> Result<ShownUser, Error> {
        let all = team::of_account_with_ancestors(conn, account.pk).await?;
        let is_superuser = all.iter().any(|joined| joined.team.is_superuser);
        let groups = self.teams(all.into_iter().filter(|joined| joined.direct).map(|joined| joined.team).collect())?;
        Ok(ShownUser {
            uid: uid(self.ctx, account.pk),
            is_superuser,
            attributes: self.masked(account_attributes(self.ctx, &account)?),
            groups,
            account,
        })
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
            members: members.into_iter().map(|account| self.member(account)).collect::<Result<_, _>>()?,
            group: self.team(team)?,
        })
    }

    fn teams(&self, teams: Vec<Team>) -> Result<Vec<ShownTeam>, Error> {
        teams.into_iter().map(|team| self.team(team)).collect()
    }

    pub(crate) fn member(&self, account: Account) -> Result<ShownMember, Error> {
        let attributes = self.masked(account_attributes(self.ctx, &account)?);
        Ok(ShownMember { uid: uid(self.ctx, account.pk), attributes, account })
    }

    pub(crate) fn team(&self, team: Team) -> Result<ShownTeam, Error> {
        Ok(ShownTeam { attributes: self.masked(team_attributes(self.ctx, &team)?), team })
    }

    fn masked(&self, attributes: Attributes) -> Attributes {
        match &self.mask {
            None => attributes,
            Some(secrets) => secrets.masked(&attributes),
        }
    }
}

/// The users that meet conditions, for an administrator. `attributes` must all be found in the user's own
/// ones; `__` in a key steps into an object; secrets match nothing (CO-472, CO-540).
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators.
pub async fn users(
    ctx: &Context,
    actor: &Actor,
    filter: &account::Filter,
    attributes: &Attributes,
    slice: Slice,
) -> Result<Listed<ShownUser>, Error> {
    superuser_only(actor)?;
    let mut conn = ctx.db.read().await?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    let listed = if attributes.is_empty() {
        account::list(&mut conn, filter, slice).await?
    } else {
        // Attributes are sealed: the store cannot look into them.
        let all = account::list(&mut conn, filter, Slice::ALL).await?;
        let matches = |account: &Account| Ok(viewer.holds(&account_attributes(ctx, account)?, attributes));
        cut(all.rows, slice, matches)?
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

/// One user, for an administrator.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators, [`Error::NotFound`].
pub async fn user(ctx: &Context, actor: &Actor, pk: UserPk) -> Result<ShownUser, Error> {
    superuser_only(actor)?;
    let mut conn = ctx.db.read().await?;
    let account = account::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("User"))?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    viewer.user(&mut conn, account).await
}

/// All paths of users, for an administrator (CO-546).
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators.
pub async fn paths(ctx: &Context, actor: &Actor) -> Result<Vec<String>, Error> {
    superuser_only(actor)?;
    Ok(account::paths(&mut ctx.db.read().await?).await?)
}

/// The groups that meet conditions, for an administrator; `attributes` as in [`users`].
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators.
pub async fn groups(
    ctx: &Context,
    actor: &Actor,
    filter: &team::Filter,
    attributes: &Attributes,
    slice: Slice,
) -> Result<Listed<ShownGroup>, Error> {
    superuser_only(actor)?;
    let mut conn = ctx.db.read().await?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    let listed = if attributes.is_empty() {
        team::list(&mut conn, filter, slice).await?
    } else {
        let all = team::list(&mut conn, filter, Slice::ALL).await?;
        cut(all.rows, slice, |team| Ok(viewer.holds(&team_attributes(ctx, team)?, attributes)))?
    };
    let mut rows = Vec::with_capacity(listed.rows.len());
    for team in listed.rows {
        rows.push(viewer.group(&mut conn, team).await?);
    }
    Ok(Listed { rows, count: listed.count })
}

/// One group, for an administrator.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators, [`Error::NotFound`].
pub async fn group(ctx: &Context, actor: &Actor, pk: GroupId) -> Result<ShownGroup, Error> {
    superuser_only(actor)?;
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

/// The slice of those rows that match.
fn cut<T>(rows: Vec<T>, slice: Slice, matches: impl Fn(&T) -> Result<bool, Error>) -> Result<Listed<T>, Error> {
    let mut kept = Vec::new();
    for row in rows {
        if matches(&row)? {
            kept.push(row);
        }
    }
    let count = i64::try_from(kept.len()).unwrap_or(i64::MAX);
    let offset = usize::try_from(slice.offset).unwrap_or(usize::MAX);
    let limit = usize::try_from(slice.limit).unwrap_or(usize::MAX);
    Ok(Listed { rows: kept.into_iter().skip(offset).take(limit).collect(), count })
}
