//! Who there is: users, groups, memberships and attributes (CO sections 3 and 4).

mod belonging;
pub mod generated;
pub mod groups;
pub(crate) mod lookup;
mod pseudonym;
pub mod service_accounts;
pub mod shown;
pub mod users;

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_core::attributes::{Attributes, SecretKeys, merge};
use portcullis_core::id::{GroupId, UserPk};
use portcullis_core::json::text_of;
use portcullis_core::keys::sha256;
use portcullis_store::account::Account;
use portcullis_store::select::Slice;
use portcullis_store::team::{self, Team};
use portcullis_store::{Conn, account};

use crate::context::{Actor, Context, Request};
use crate::error::Error;
use crate::rights::Rights;

use belonging::Belonging;
pub use belonging::Belongings;

/// The highest key that a user brings along from another installation (OA-931): those who come later need keys above it.
pub const HIGHEST_KEPT_KEY: i32 = 1 << 30;

/// A user with everything that follows from groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// The record.
    pub account: Account,
    /// All groups, ancestors included, by name (CO-061).
    pub teams: Arc<Vec<Team>>,
    /// Names of the groups the user is a direct member of, by name.
    pub direct_groups: Vec<String>,
    /// Whether any of the groups is for administrators (CO-036).
    pub is_superuser: bool,
    /// The user's own attributes.
    pub own_attributes: Attributes,
    /// Attributes of all groups and the user's own, merged (CO-064).
    pub effective_attributes: Attributes,
    /// Hashed id (CO-033).
    pub uid: String,
}

impl Person {
    /// Whether they are a direct member of all these groups.
    pub fn is_direct_member_of(&self, groups: &[String]) -> bool {
        groups.iter().all(|group| self.direct_groups.contains(group))
    }
}

/// The user with this key, and what follows from their groups.
///
/// # Errors
/// When the store fails or a sealed value cannot be opened.
pub async fn person(ctx: &Context, conn: &mut Conn, pk: UserPk) -> Result<Option<Person>, Error> {
    match account::by_pk(conn, pk).await? {
        Some(account) => Ok(Some(person_of(ctx, conn, account).await?)),
        None => Ok(None),
    }
}

/// The same in a transaction that has not changed where anybody belongs, which costs less if they were looked at before
/// it began.
///
/// # Errors
/// As [`person`].
pub async fn person_unchanged(ctx: &Context, conn: &mut Conn, pk: UserPk) -> Result<Option<Person>, Error> {
    match account::by_pk(conn, pk).await? {
        Some(account) => Ok(Some(person_of_unchanged(ctx, conn, account).await?)),
        None => Ok(None),
    }
}

/// What follows from a user's groups.
///
/// # Errors
/// When the store fails or a sealed value cannot be opened.
pub async fn person_of(ctx: &Context, conn: &mut Conn, account: Account) -> Result<Person, Error> {
    let belonging = belonging::of(ctx, conn, account.pk).await?;
    whole(ctx, &belonging, account)
}

/// The same in a transaction that has not changed where anybody belongs ([`person_unchanged`]).
///
/// # Errors
/// As [`person_of`].
pub async fn person_of_unchanged(ctx: &Context, conn: &mut Conn, account: Account) -> Result<Person, Error> {
    let belonging = belonging::of_unchanged(ctx, conn, account.pk).await?;
    whole(ctx, &belonging, account)
}

/// The same, where it is known already which revocation was the latest when the user was read
/// ([`portcullis_store::revocation::latest`]).
///
/// # Errors
/// As [`person_of`].
pub async fn person_as_of(ctx: &Context, conn: &mut Conn, account: Account, latest: i64) -> Result<Person, Error> {
    let belonging = belonging::as_of(ctx, conn, account.pk, latest).await?;
    whole(ctx, &belonging, account)
}

fn whole(ctx: &Context, belonging: &Belonging, account: Account) -> Result<Person, Error> {
    let own_attributes = account_attributes(ctx, &account)?;
    let mut effective_attributes = belonging.attributes.clone();
    merge(&mut effective_attributes, own_attributes.clone());
    Ok(Person {
        uid: uid(ctx, account.pk),
        is_superuser: belonging.is_superuser,
        direct_groups: belonging.direct.clone(),
        teams: Arc::clone(&belonging.teams),
        own_attributes,
        effective_attributes,
        account,
    })
}

/// The actor that a user is.
pub fn actor_of(person: &Person) -> Actor {
    Actor {
        user: Some(person.account.pk),
        username: person.account.username.clone(),
        is_superuser: person.is_superuser,
        rights: Rights::default(),
        client: None,
        request: Request::default(),
    }
}

/// Hashed id of a user: hex SHA-256 of `<pk>-<install id>` (CO-033).
pub fn uid(ctx: &Context, pk: UserPk) -> String {
    hex::encode(sha256(format!("{pk}-{}", ctx.install_id.get()).as_bytes()))
}

/// A user's own attributes.
///
/// # Errors
/// When they cannot be opened.
pub fn account_attributes(ctx: &Context, account: &Account) -> Result<Attributes, Error> {
    open(ctx, &account_place(account.pk), &account.attributes_sealed)
}

/// A group's own attributes.
///
/// # Errors
/// When they cannot be opened.
pub fn team_attributes(ctx: &Context, team: &Team) -> Result<Attributes, Error> {
    open(ctx, &team_place(team.pk), &team.attributes_sealed)
}

pub(crate) fn account_place(pk: UserPk) -> String {
    format!("account:{pk}:attributes")
}

pub(crate) fn team_place(pk: GroupId) -> String {
    format!("team:{pk}:attributes")
}

pub(crate) fn seal(ctx: &Context, place: &str, attributes: &Attributes) -> Vec<u8> {
    let text = text_of(attributes);
    ctx.keys.seal(place, text.as_bytes(), &*ctx.entropy)
}

pub(crate) fn open(ctx: &Context, place: &str, sealed: &[u8]) -> Result<Attributes, Error> {
    if sealed.is_empty() {
        return Ok(Attributes::new());
    }
    let text = ctx.keys.open(place, sealed).map_err(|source| Error::Sealed { place: place.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|_| Error::Unreadable(place.to_owned()))
}

/// Which attributes are secret at present (CO-472).
///
/// # Errors
/// When the store fails.
pub async fn secret_keys(ctx: &Context, conn: &mut Conn) -> Result<SecretKeys, Error> {
    let names = account::upstream_password_attributes(conn).await?;
    Ok(SecretKeys {
        upstream_passwords: names.into_iter().collect::<BTreeSet<_>>(),
        patterns: ctx.options.secret_attributes.clone(),
    })
}

/// Whether users or groups have an attribute of this name that is secret only while a provider has its passwords there
/// (CO-472). All attributes are opened for that: never call it inside a transaction that writes.
///
/// # Errors
/// When the store fails or attributes cannot be opened.
pub(crate) async fn would_unmask(ctx: &Context, conn: &mut Conn, name: &str) -> Result<bool, Error> {
    let kept = SecretKeys { upstream_passwords: BTreeSet::new(), patterns: ctx.options.secret_attributes.clone() };
    if name.is_empty() || kept.names(name, true) {
        return Ok(false);
    }
    for team in team::list(conn, &team::Filter::default(), Slice::ALL).await?.rows {
        if team_attributes(ctx, &team)?.contains_key(name) {
            return Ok(true);
        }
    }
    shown::any_user(ctx, conn, |attributes| attributes.contains_key(name)).await
}

/// Refuses everyone but administrators: for what no role can grant (CO-700).
pub(crate) fn superuser_only(actor: &Actor) -> Result<(), Error> {
    if actor.is_superuser { Ok(()) } else { Err(Error::Forbidden) }
}
