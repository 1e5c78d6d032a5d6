//! What follows from the groups of a user, kept in memory until something changes that anybody rests on.
//!
//! Whoever belongs to hundreds of groups, with all their ancestors, would have them read and opened again at every
//! request, and twice for every token. Whatever changes where somebody belongs is written down in the same transaction
//! ([`crate::revocations`]), with numbers in the order of commits: while the latest number is still the one that was
//! seen before the groups were read, they are what they would be if they were read now.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::attributes::{Attributes, merge};
use portcullis_core::epoch::Mark;
use portcullis_core::id::UserPk;
use portcullis_store::team::{self, Team};
use portcullis_store::{Conn, revocation};
use serde_json::Value;

use super::team_attributes;
use crate::context::Context;
use crate::error::Error;

/// Bytes that are kept, about.
const MOST: u64 = 16 << 20;
/// It is read again after a minute: nothing tells of what is changed in the database by hand.
const LIFE: Duration = Duration::from_secs(60);

/// What follows from the groups of a user.
#[derive(Debug)]
pub(super) struct Belonging {
    /// All groups, ancestors included, by name (CO-061).
    pub(super) teams: Arc<Vec<Team>>,
    /// Names of the groups the user is a direct member of, by name.
    pub(super) direct: Vec<String>,
    /// Whether any of the groups is for administrators (CO-036).
    pub(super) is_superuser: bool,
    /// Attributes of all groups, merged (CO-064).
    pub(super) attributes: Attributes,
}

#[derive(Clone, Debug)]
struct Kept {
    /// The latest revocation before it was read.
    seq: i64,
    /// Ends when everything is to be looked at again, for whatever reason.
    mark: Mark,
    belonging: Arc<Belonging>,
}

/// What is kept in memory; start with the default.
#[derive(Debug)]
pub struct Belongings(moka::sync::Cache<UserPk, Kept>);

impl Default for Belongings {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(MOST).time_to_live(LIFE).weigher(|_, kept| weight(kept)).build())
    }
}

/// About the bytes in memory: sealed attributes are there once more, opened and merged. A value takes much more of it than of a
/// text, so that values are counted.
fn weight(kept: &Kept) -> u32 {
    let bytes = kept.belonging.teams.iter().map(|team| 200 + 2 * team.name.len() + team.attributes_sealed.len());
    let bytes = 500 + bytes.sum::<usize>() + attributes_weight(&kept.belonging.attributes);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn attributes_weight(attributes: &Attributes) -> usize {
    attributes.iter().map(|(key, value)| 50 + key.len() + value_weight(value)).sum()
}

fn value_weight(value: &Value) -> usize {
    let within = match value {
        Value::Object(object) => attributes_weight(object),
        Value::Array(list) => list.iter().map(value_weight).sum(),
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    100 + within
}

/// What follows from a user's groups at present, as `conn` sees it.
///
/// # Errors
/// When the store fails or a sealed value cannot be opened.
pub(super) async fn of(ctx: &Context, conn: &mut Conn, pk: UserPk) -> Result<Arc<Belonging>, Error> {
    if conn.is_writing() {
        // It may see what nobody else does, and never will if it is undone.
        return Ok(Arc::new(read(ctx, conn, pk).await?));
    }
    // Before it is read: of what comes in between, it is not known whether it was seen.
    let built_at = ctx.epochs.present();
    let seq = revocation::latest(conn).await?;
    if let Some(kept) = kept(ctx, pk, seq) {
        return Ok(kept);
    }
    let belonging = Arc::new(read(ctx, conn, pk).await?);
    let kept = Kept { seq, mark: ctx.epochs.mark(built_at, &[]), belonging: Arc::clone(&belonging) };
    ctx.belongings.0.insert(pk, kept);
    Ok(belonging)
}

/// The same in a transaction that has not changed where anybody belongs: what was read before it began is not read
/// again, if nothing was committed in between.
///
/// # Errors
/// When the store fails or a sealed value cannot be opened.
pub(super) async fn of_unchanged(ctx: &Context, conn: &mut Conn, pk: UserPk) -> Result<Arc<Belonging>, Error> {
    let latest = revocation::latest(conn).await?;
    as_of(ctx, conn, pk, latest).await
}

/// The same, where it is known already which revocation was the latest when the user was read.
///
/// # Errors
/// When the store fails or a sealed value cannot be opened.
pub(super) async fn as_of(ctx: &Context, conn: &mut Conn, pk: UserPk, latest: i64) -> Result<Arc<Belonging>, Error> {
    match kept(ctx, pk, latest) {
        Some(kept) => Ok(kept),
        None => of(ctx, conn, pk).await,
    }
}

fn kept(ctx: &Context, pk: UserPk, seq: i64) -> Option<Arc<Belonging>> {
    let kept = ctx.belongings.0.get(&pk)?;
    (kept.seq == seq && ctx.epochs.stands(&kept.mark)).then_some(kept.belonging)
}

async fn read(ctx: &Context, conn: &mut Conn, pk: UserPk) -> Result<Belonging, Error> {
    let joined = team::of_account_with_ancestors(conn, pk).await?;
    let direct = joined.iter().filter(|joined| joined.direct).map(|joined| joined.team.name.clone()).collect();
    let teams: Vec<_> = joined.into_iter().map(|joined| joined.team).collect();
    let mut attributes = Attributes::new();
    for team in &teams {
        merge(&mut attributes, team_attributes(ctx, team)?);
    }
    let is_superuser = teams.iter().any(|team| team.is_superuser);
    Ok(Belonging { teams: Arc::new(teams), direct, is_superuser, attributes })
}

#[cfg(test)]
mod tests {
    use portcullis_core::epoch::Epochs;
    use serde_json::json;

    use super::*;

    /// CO-064: what is kept of attributes weighs what their values take in memory, however short they are as text.
    #[test]
    fn co_064_short_values_weigh_what_they_take() {
        let weighs = |value: Value| {
            let attributes = Attributes::from_iter([("list".to_owned(), value)]);
            let belonging = Belonging { teams: Arc::default(), direct: Vec::new(), is_superuser: false, attributes };
            let epochs = Epochs::default();
            let mark = epochs.mark(epochs.present(), &[]);
            weight(&Kept { seq: 0, mark, belonging: Arc::new(belonging) })
        };
        assert!(weighs(json!(vec![0; 100_000])) > 100_000 * 72);
        assert!(weighs(json!(vec![json!({"a": [[]]}); 1000])) > 1000 * 300);
        assert!((1_000_000..1_001_000).contains(&weighs(json!("x".repeat(1_000_000)))));
        assert!(weighs(json!(null)) < 1000);
    }
}
