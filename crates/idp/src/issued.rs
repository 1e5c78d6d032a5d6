//! Authorization codes and access tokens as people see and revoke them: their own, and an administrator everybody's
//! (OA-645). Their values are known to nobody here.

use portcullis_core::permission::{Model, Verb};
use portcullis_store::issued::{self, Issued};
use portcullis_store::refresh_token::Filter;
use portcullis_store::{Conn, account, grant};
use serde_json::{Value, json};

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::directory::shown::{ShownUser, Viewer};
use crate::error::Error;
use crate::event::model;
use crate::list::{Listed, Slice, Visible};
use crate::oauth::issue;
use crate::providers;

pub use portcullis_store::issued::What;

/// Something that was issued, with the user and the provider that it is about.
#[derive(Clone, Debug)]
pub struct View {
    /// The record.
    pub issued: Issued,
    /// Whom it stands for.
    pub user: ShownUser,
    /// Whose client uses it.
    pub provider: providers::View,
    /// What an access token says of the user, as JSON; nothing that opens anything.
    pub claims: String,
}

const fn kind(what: What) -> Model {
    match what {
        What::Code => Model::AUTHORIZATION_CODE,
        What::AccessToken => Model::ACCESS_TOKEN,
    }
}

/// Those that meet conditions and can be used: of others for who has the permission, and anybody's own.
///
/// # Errors
/// [`Error::Forbidden`] for an ordinary user without any (CO-703).
pub async fn list(
    ctx: &Context,
    actor: &Actor,
    what: What,
    filter: &Filter,
    slice: Slice,
) -> Result<Listed<View>, Error> {
    let mut conn = ctx.db.read().await?;
    let visible = actor.sees_with_own(kind(what));
    if let Visible::Only { owner: Some(_), .. } = &visible {
        let any = Slice { limit: 1, ..Slice::ALL }.of(visible.clone());
        if issued::list(&mut conn, what, &Filter::default(), ctx.now(), any).await?.count == 0 {
            return Err(Error::Forbidden);
        }
    }
    let listed = issued::list(&mut conn, what, filter, ctx.now(), slice.of(visible)).await?;
    let mut rows = Vec::with_capacity(listed.rows.len());
    for found in listed.rows {
        rows.push(view(ctx, &mut conn, actor, what, found).await?);
    }
    Ok(Listed { rows, count: listed.count })
}

/// One of them.
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see.
pub async fn get(ctx: &Context, actor: &Actor, what: What, pk: i64) -> Result<View, Error> {
    let mut conn = ctx.db.read().await?;
    let found = found(ctx, &mut conn, actor, Verb::View, what, pk).await?;
    view(ctx, &mut conn, actor, what, found).await
}

/// Revokes one: a code is redeemed no more, an access token is refused from the next request on.
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see.
pub async fn delete(ctx: &Context, actor: &Actor, what: What, pk: i64) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let gone = found(ctx, change.conn(), actor, Verb::Delete, what, pk).await?;
    let provider = providers::view_of(change.conn(), gone.provider).await?;
    match gone.jti {
        Some(jti) => {
            grant::revoke_token(change.conn(), &jti, ctx.now()).await?;
            change.touch(Touched::AccessToken(jti));
        }
        None => issued::delete_code(change.conn(), pk).await?,
    }
    let Model { app, name, .. } = kind(what);
    let named = model(app, name, pk, &provider.provider.name);
    change.event("model_deleted", json!({"model": named})).await?;
    change.commit().await
}

async fn found(
    ctx: &Context,
    conn: &mut Conn,
    actor: &Actor,
    verb: Verb,
    what: What,
    pk: i64,
) -> Result<Issued, Error> {
    let found = issued::by_pk(conn, what, pk, ctx.now()).await?.ok_or(Error::NotFound(kind(what).kind))?;
    actor.need_on_owned(verb, kind(what), &pk, found.account)?;
    Ok(found)
}

async fn view(ctx: &Context, conn: &mut Conn, actor: &Actor, what: What, issued: Issued) -> Result<View, Error> {
    let user = account::by_pk(conn, issued.account).await?.ok_or(Error::NotFound(kind(what).kind))?;
    let provider = providers::view_of(conn, issued.provider).await?;
    let claims = match (&issued.jti, &issued.claims_sealed) {
        (Some(jti), Some(sealed)) => {
            let mut claims = issue::opened(ctx, jti, sealed)?;
            // What proxies need: upstream credentials may be in it.
            claims.remove("ak_proxy");
            Value::Object(claims).to_string()
        }
        _ => String::new(),
    };
    let viewer = Viewer::of(ctx, conn, actor).await?;
    Ok(View { user: viewer.user(conn, user).await?, provider, claims, issued })
}
