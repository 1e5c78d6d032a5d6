//! What is here under the names of what comes, and what is not to be lost by it.

use std::collections::{BTreeSet, HashMap, HashSet};

use portcullis_idp::Context;
use portcullis_idp::bootstrap::ADMINISTRATOR;
use portcullis_idp::list::Slice;
use portcullis_store::{account, application, provider, role, team};
use serde_json::Value;

use super::convert::Snapshot;
use super::convert::present::{Known, Person};
use super::people;
use crate::Failure;

/// People, groups, applications and providers.
pub(super) async fn of(ctx: &Context, there: &Snapshot) -> Result<Known, Failure> {
    let people = people(ctx).await?;
    let mut conn = ctx.db.read().await?;
    let mut known = Known::default();
    let mut groups: HashMap<_, BTreeSet<_>> = HashMap::new();
    for group in team::list(&mut conn, &team::Filter::default(), Slice::ALL).await?.rows {
        for member in team::members(&mut conn, group.pk).await? {
            groups.entry(member).or_default().insert(group.name.clone());
        }
        known.groups.insert(group.name, group.is_superuser);
    }
    for account in people {
        let person = Person {
            key: account.pk.0,
            name: account.name,
            email: account.email,
            kind: account.kind,
            is_active: account.is_active,
            groups: groups.remove(&account.pk).unwrap_or_default(),
        };
        known.people.insert(account.username, person);
    }
    let applications = application::list(&mut conn, &application::Filter::default()).await?;
    known.applications = applications.into_iter().map(|application| application.slug).collect();
    for found in there.oauth2_providers.iter().chain(&there.proxy_providers) {
        let name = found.get("name").and_then(Value::as_str).unwrap_or_default();
        if provider::by_name(&mut conn, name).await?.is_some() {
            known.providers.insert(name.to_owned());
        }
    }
    Ok(known)
}

/// The groups by which the administrator here is a superuser, and those of their groups that lead to one by their parents.
pub(super) async fn groups_in_charge(ctx: &Context) -> Result<(HashSet<String>, HashSet<String>), Failure> {
    let mut conn = ctx.db.read().await?;
    let (mut make, mut lead) = (HashSet::new(), HashSet::new());
    let Some(administrator) = account::by_username(&mut conn, ADMINISTRATOR).await? else { return Ok((make, lead)) };
    for joined in team::of_account_with_ancestors(&mut conn, administrator.pk).await? {
        let team = joined.team;
        let all = team::with_ancestors(&mut conn, team.pk).await?;
        if all.iter().any(|ancestor| ancestor.is_superuser && ancestor.pk != team.pk) {
            lead.insert(team.name.clone());
        }
        if team.is_superuser {
            make.insert(team.name);
        }
    }
    Ok((make, lead))
}

/// Names of roles that keep themselves.
pub(super) async fn managed_roles(ctx: &Context) -> Result<HashSet<String>, Failure> {
    let mut conn = ctx.db.read().await?;
    let managed = role::Filter { is_managed: Some(true), ..role::Filter::default() };
    Ok(role::list(&mut conn, &managed, Slice::ALL).await?.rows.into_iter().map(|role| role.name).collect())
}
