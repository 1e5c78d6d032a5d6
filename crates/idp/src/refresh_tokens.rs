//! Refresh tokens as people see and revoke them: their own, and an administrator everybody's (OA-645).

use portcullis_core::permission::{Model, Verb};
use portcullis_store::refresh_token::{self, Filter, RefreshToken};
use portcullis_store::{Conn, account};
use serde_json::{Value, json};

use crate::change::Change;
use crate::context::{Actor, Context};
use crate::directory;
use crate::directory::shown::{ShownUser, Viewer};
use crate::error::Error;
use crate::event::model;
use crate::list::{Listed, Slice, Visible};
use crate::oauth::refresh;
use crate::providers;

const KIND: &str = Model::REFRESH_TOKEN.kind;

/// A refresh token with the user and the provider that it is about. Its value is not known.
#[derive(Clone, Debug)]
pub struct View {
    /// The record.
    pub token: RefreshToken,
    /// In whose name it is used.
    pub user: ShownUser,
    /// Whose client uses it.
    pub provider: providers::View,
    /// What it keeps of the login, as JSON.
    pub context: String,
}

/// The refresh tokens that meet conditions and can be used: those of others for who has the permission, and anybody's
/// own.
///
/// # Errors
/// [`Error::Forbidden`] for an ordinary user without any (CO-703).
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<View>, Error> {
    let mut conn = ctx.db.read().await?;
    let visible = actor.sees_with_own(Model::REFRESH_TOKEN);
    if let Visible::Only { owner: Some(_), .. } = &visible {
        let any = Slice { limit: 1, ..Slice::ALL }.of(visible.clone());
        if refresh_token::list(&mut conn, &Filter::default(), ctx.now(), any).await?.count == 0 {
            return Err(Error::Forbidden);
        }
    }
    let listed = refresh_token::list(&mut conn, filter, ctx.now(), slice.of(visible)).await?;
    let mut rows = Vec::with_capacity(listed.rows.len());
    for token in listed.rows {
        rows.push(view(ctx, &mut conn, actor, token).await?);
    }
    Ok(Listed { rows, count: listed.count })
}

/// One refresh token.
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see.
pub async fn get(ctx: &Context, actor: &Actor, pk: i32) -> Result<View, Error> {
    let mut conn = ctx.db.read().await?;
    let found = found(ctx, &mut conn, actor, Verb::View, pk).await?;
    view(ctx, &mut conn, actor, found).await
}

/// Revokes a refresh token with its whole family: the application gets nothing more (OA-513).
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see.
pub async fn delete(ctx: &Context, actor: &Actor, pk: i32) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let gone = found(ctx, change.conn(), actor, Verb::Delete, pk).await?;
    let provider = providers::view_of(change.conn(), gone.provider).await?;
    refresh::revoke_family(&mut change, &gone.grant_id).await?;
    let named = model("authentik_providers_oauth2", "refreshtoken", pk, &provider.provider.name);
    change.event("model_deleted", json!({"model": named})).await?;
    change.commit().await
}

async fn found(ctx: &Context, conn: &mut Conn, actor: &Actor, verb: Verb, pk: i32) -> Result<RefreshToken, Error> {
    let found = refresh_token::by_pk(conn, pk, ctx.now()).await?.ok_or(Error::NotFound(KIND))?;
    actor.need_on_owned(verb, Model::REFRESH_TOKEN, &pk, found.account)?;
    Ok(found)
}

async fn view(ctx: &Context, conn: &mut Conn, actor: &Actor, token: RefreshToken) -> Result<View, Error> {
    let user = account::by_pk(conn, token.account).await?.ok_or(Error::NotFound(KIND))?;
    let person = directory::person_of(ctx, conn, user.clone()).await?;
    let provider = providers::view_of(conn, token.provider).await?;
    let slug = provider.application.as_ref().map(|application| application.slug.as_str()).unwrap_or_default();
    let context = refresh::frozen(ctx, &provider.provider, slug, &person, &token);
    let viewer = Viewer::of(ctx, conn, actor).await?;
    Ok(View { user: viewer.user(conn, user).await?, provider, context: Value::Object(context).to_string(), token })
}
