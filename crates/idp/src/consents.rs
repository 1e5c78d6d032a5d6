//! What users agreed to, as they look at it and take it back (CO-578, CO-702).

use portcullis_core::permission::{Model, Verb};
use portcullis_store::consent::{self, Consent, Filter};
use portcullis_store::{Conn, account, application};
use serde_json::json;

use crate::applications;
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::directory::shown::{ShownUser, Viewer};
use crate::error::Error;
use crate::event::model;
use crate::list::{Listed, Slice, Visible};

const KIND: &str = Model::CONSENT.kind;

/// A consent with the user and the application that it is about.
#[derive(Clone, Debug)]
pub struct View {
    /// The record.
    pub consent: Consent,
    /// Who agreed.
    pub user: ShownUser,
    /// To what.
    pub application: applications::View,
}

/// The consents that meet conditions: those of others for who has the permission, and anybody's own.
///
/// # Errors
/// [`Error::Forbidden`] for an ordinary user without any consent (CO-703).
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<View>, Error> {
    let mut conn = ctx.db.read().await?;
    let visible = actor.sees_with_own(Model::CONSENT);
    if let Visible::Only { owner: Some(_), .. } = &visible {
        let any = Slice { limit: 1, ..Slice::ALL }.of(visible.clone());
        if consent::list(&mut conn, &Filter::default(), ctx.now(), any).await?.count == 0 {
            return Err(Error::Forbidden);
        }
    }
    let listed = consent::list(&mut conn, filter, ctx.now(), slice.of(visible)).await?;
    let mut rows = Vec::with_capacity(listed.rows.len());
    for consent in listed.rows {
        rows.push(view(ctx, &mut conn, actor, consent).await?);
    }
    Ok(Listed { rows, count: listed.count })
}

/// One consent.
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see.
pub async fn get(ctx: &Context, actor: &Actor, pk: i32) -> Result<View, Error> {
    let mut conn = ctx.db.read().await?;
    let found = found(ctx, &mut conn, actor, Verb::View, pk).await?;
    view(ctx, &mut conn, actor, found).await
}

/// Takes a consent back: the application asks again.
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see.
pub async fn delete(ctx: &Context, actor: &Actor, pk: i32) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let gone = found(ctx, change.conn(), actor, Verb::Delete, pk).await?;
    let application = application::by_uuid(change.conn(), gone.application).await?;
    consent::forget(change.conn(), pk).await?;
    let name = application.map(|application| application.name).unwrap_or_default();
    let named = model("authentik_core", "userconsent", pk, &name);
    change.event("model_deleted", json!({"model": named})).await?;
    change.commit().await
}

async fn found(ctx: &Context, conn: &mut Conn, actor: &Actor, verb: Verb, pk: i32) -> Result<Consent, Error> {
    let found = consent::by_pk(conn, pk, ctx.now()).await?.ok_or(Error::NotFound(KIND))?;
    actor.need_on_owned(verb, Model::CONSENT, &pk, found.account)?;
    Ok(found)
}

async fn view(ctx: &Context, conn: &mut Conn, actor: &Actor, consent: Consent) -> Result<View, Error> {
    let user = account::by_pk(conn, consent.account).await?.ok_or(Error::NotFound(KIND))?;
    let application = application::by_uuid(conn, consent.application).await?.ok_or(Error::NotFound(KIND))?;
    let viewer = Viewer::of(ctx, conn, actor).await?;
    Ok(View {
        user: viewer.user(conn, user).await?,
        application: applications::view_of(conn, application).await?,
        consent,
    })
}
