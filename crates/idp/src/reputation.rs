//! How those who tried to sign in under a name, or from an address, have done (CO-440).

use std::net::IpAddr;

use portcullis_core::id::ReputationId;
use portcullis_core::permission::{Model, Verb};
use portcullis_core::username::LONGEST_IDENTIFIER;
use portcullis_store::reputation::Change as Score;
use portcullis_store::{Conn, StoreError, instance, reputation};
use serde_json::{Value, json};

use crate::BATCH;
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::event::model;
use crate::list::{Listed, Slice};

pub use portcullis_store::reputation::{Filter, Order, Reputation};

/// Forgotten so long after the last change.
const DAY_SECONDS: i64 = 24 * 3600;
/// Limits of scores where the settings name none.
const LOWEST: i64 = -5;
const HIGHEST: i64 = 5;

/// Somebody proved who they are, or failed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// One point less.
    Failed,
    /// One point more: for people who signed in, never for machines.
    SignedIn,
}

/// Counts an attempt for a name and an address together. `identifier` is the user's name where the user is known,
/// else what was given.
///
/// # Errors
/// When the store fails.
pub async fn note(
    ctx: &Context,
    conn: &mut Conn,
    client: IpAddr,
    identifier: &str,
    attempt: Attempt,
) -> Result<(), StoreError> {
    let settings = instance::get(conn).await?.map(|instance| instance.settings).unwrap_or_default();
    let limit = |key: &str, otherwise| settings.get(key).and_then(Value::as_i64).unwrap_or(otherwise);
    let lowest = limit("reputation_lower_limit", LOWEST);
    let highest = limit("reputation_upper_limit", HIGHEST).max(lowest);
    let by = match attempt {
        Attempt::Failed => -1,
        Attempt::SignedIn => 1,
    };
    let now = ctx.now();
    let row = Reputation {
        pk: ReputationId(ctx.entropy.uuid()),
        identifier: identifier.chars().take(LONGEST_IDENTIFIER).collect(),
        ip: client.to_canonical().to_string(),
        score: by.clamp(lowest, highest),
        ip_geo_data: ctx.places.place(client).map_or_else(|| json!({}), |place| place.shown()),
        ip_asn_data: ctx.places.network(client).map_or_else(|| json!({}), |network| network.shown()),
        updated: now,
        expires: now.plus_seconds(DAY_SECONDS),
    };
    reputation::add(conn, &row, Score { by, lowest, highest }).await
}

/// The sum of all scores of an address or a user name; each row counts once (CO-194).
///
/// # Errors
/// When the store fails.
pub async fn score(ctx: &Context, client: Option<IpAddr>, username: Option<&str>) -> Result<i64, StoreError> {
    let client = client.map(|client| client.to_canonical().to_string());
    reputation::sum(&mut ctx.db.read().await?, client.as_deref(), username, ctx.now()).await
}

/// The scores that meet conditions.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission; or when the store fails.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<Reputation>, Error> {
    let slice = slice.of(actor.sees(Model::REPUTATION)?);
    Ok(reputation::list(&mut ctx.db.read().await?, filter, slice, ctx.now()).await?)
}

/// The score with this key.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`]; or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, pk: ReputationId) -> Result<Reputation, Error> {
    actor.need_on(Verb::View, Model::REPUTATION, &pk)?;
    let found = reputation::by_pk(&mut ctx.db.read().await?, pk, ctx.now()).await?;
    found.ok_or(Error::NotFound("Reputation"))
}

/// Forgets a score.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn delete(ctx: &Context, actor: &Actor, pk: ReputationId) -> Result<(), Error> {
    actor.need_on(Verb::Delete, Model::REPUTATION, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    let gone = reputation::by_pk(change.conn(), pk, ctx.now()).await?.ok_or(Error::NotFound("Reputation"))?;
    reputation::delete(change.conn(), pk).await?;
    let name = format!("{} from {}", gone.identifier, gone.ip);
    let gone = model("authentik_policies_reputation", "reputation", pk, &name);
    change.event("model_deleted", json!({"model": gone})).await?;
    change.commit().await
}

/// Forgets the scores of a user name from all addresses (CO-445). Tells how many there were.
///
/// # Errors
/// When the store fails.
pub async fn forget_in(change: &mut Change<'_>, username: &str) -> Result<u64, StoreError> {
    reputation::delete_of(change.conn(), username).await
}

/// Removes scores whose time is over, a batch at a time.
///
/// # Errors
/// When the store fails.
pub async fn sweep(ctx: &Context) -> Result<(), StoreError> {
    loop {
        let mut tx = ctx.db.write().await?;
        let removed = reputation::sweep(&mut tx, ctx.now(), BATCH.into()).await?;
        tx.commit().await?;
        if removed < BATCH.into() {
            return Ok(());
        }
    }
}
