//! Tokens as somebody gets to see them: never with their key.

use portcullis_core::permission::{Model, Verb};
use portcullis_store::account;
use portcullis_store::select::{Listed, Slice, Visible};
use portcullis_store::token::{self, Filter, Token};

use crate::change::Change;
use crate::context::{Actor, Context};
use crate::directory::shown::{ShownUser, Viewer};
use crate::error::Error;

/// A token with its owner.
#[derive(Clone, Debug)]
pub struct ShownToken {
    /// The record.
    pub token: Token,
    /// Its owner.
    pub owner: ShownUser,
}

/// The tokens that meet conditions: those of others for who has the permission, and anybody's own.
///
/// # Errors
/// [`Error::Forbidden`] for an ordinary user without any token (CO-703).
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<ShownToken>, Error> {
    actor.need_to_be_themselves()?;
    let mut conn = ctx.db.read().await?;
    let visible = actor.sees_with_own(Model::TOKEN);
    if let Visible::Only { keys, owner: Some(owner) } = &visible
        && keys.is_empty()
        && token::count_of_account(&mut conn, *owner).await? == 0
    {
        return Err(Error::Forbidden);
    }
    let listed = token::list(&mut conn, filter, slice.of(visible)).await?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    let mut rows = Vec::with_capacity(listed.rows.len());
    for token in listed.rows {
        let owner = account::by_pk(&mut conn, token.account).await?.ok_or(Error::NotFound("User"))?;
        rows.push(ShownToken { owner: viewer.user(&mut conn, owner).await?, token });
    }
    Ok(Listed { rows, count: listed.count })
}

/// The tokens that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails or attributes cannot be opened.
pub async fn list_in(change: &mut Change<'_>, filter: &Filter) -> Result<Vec<ShownToken>, Error> {
    let (ctx, actor) = (change.context(), change.actor());
    let conn = change.conn();
    let viewer = Viewer::of(ctx, conn, actor).await?;
    let mut rows = Vec::new();
    for token in token::list(conn, filter, Slice::ALL).await?.rows {
        let owner = account::by_pk(conn, token.account).await?.ok_or(Error::NotFound("User"))?;
        rows.push(ShownToken { owner: viewer.user(conn, owner).await?, token });
    }
    Ok(rows)
}

/// One token.
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see.
pub async fn get(ctx: &Context, actor: &Actor, identifier: &str) -> Result<ShownToken, Error> {
    actor.need_to_be_themselves()?;
    let mut conn = ctx.db.read().await?;
    let token = token::by_identifier(&mut conn, identifier).await?;
    let token = token.ok_or(Error::NotFound("Token"))?;
    actor.need_on_owned(Verb::View, Model::TOKEN, &token.uuid, token.account)?;
    let owner = account::by_pk(&mut conn, token.account).await?.ok_or(Error::NotFound("User"))?;
    let viewer = Viewer::of(ctx, &mut conn, actor).await?;
    Ok(ShownToken { owner: viewer.user(&mut conn, owner).await?, token })
}
