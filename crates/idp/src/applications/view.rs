//! Applications as the portal and those who look after them see them.

use std::collections::HashMap;

use portcullis_core::id::{ApplicationId, ProviderPk};
use portcullis_store::application::{Application, Filter};
use portcullis_store::{Conn, application, provider};

use crate::access::{self, AccessContext, Decision};
use crate::change::Change;
use crate::context::Context;
use crate::directory::Person;
use crate::error::Error;
use crate::policies::LogLine;
use crate::providers;

/// An application with its provider.
#[derive(Clone, Debug)]
pub struct View {
    /// The record.
    pub application: Application,
    /// Its provider.
    pub provider: Option<providers::View>,
}

impl View {
    /// Where the application is, for somebody (CO-133).
    pub fn launch_url(&self, person: Option<&Person>) -> Option<String> {
        super::launch_url(&self.application, self.provider.as_ref().map(|view| &view.provider), person)
    }
}

/// The applications that meet conditions: all of them, or those that somebody may use (CO-137).
///
/// # Errors
/// When the store fails.
pub async fn list(
    ctx: &Context,
    filter: &Filter,
    usable_by: Option<&Person>,
    context: &AccessContext,
) -> Result<Vec<View>, Error> {
    let mut applications = application::list(&mut ctx.db.read().await?, filter).await?;
    if let Some(person) = usable_by {
        applications = access::visible(ctx, person, applications, context).await?;
    }
    views(&mut ctx.db.read().await?, applications).await
}

/// The application with this slug.
///
/// # Errors
/// [`Error::NotFound`]; or when the store fails.
pub async fn get(ctx: &Context, slug: &str) -> Result<View, Error> {
    let mut conn = ctx.db.read().await?;
    let found = application::by_slug(&mut conn, slug).await?.ok_or(Error::NotFound("Application"))?;
    views(&mut conn, vec![found]).await?.pop().ok_or(Error::NotFound("Application"))
}

/// The application with this slug, if somebody may use it.
///
/// # Errors
/// [`Error::NotFound`], also for an application that is not for them to see; or when the store fails.
pub async fn get_usable(ctx: &Context, slug: &str, person: &Person, context: &AccessContext) -> Result<View, Error> {
    let view = get(ctx, slug).await?;
    let judged = access::judge(ctx, person, &view.application, context).await?;
    if judged.decision.passing { Ok(view) } else { Err(Error::NotFound("Application")) }
}

/// Whether somebody may use the application with this slug, and with `explained` why (CO-138).
///
/// # Errors
/// [`Error::NotFound`] for an unknown slug; or when the store fails.
pub async fn check_access(
    ctx: &Context,
    slug: &str,
    person: &Person,
    context: &AccessContext,
    explained: bool,
) -> Result<(Decision, Vec<LogLine>), Error> {
    let found = application::by_slug(&mut ctx.db.read().await?, slug).await?.ok_or(Error::NotFound("Application"))?;
    let judged = access::judge(ctx, person, &found, context).await?;
    let lines = match explained {
        true => access::explain(ctx, &mut ctx.db.read().await?, person, &judged).await?,
        false => Vec::new(),
    };
    Ok((judged.decision, lines))
}

/// The applications that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails.
pub async fn all_in(change: &mut Change<'_>, filter: &Filter) -> Result<Vec<View>, Error> {
    let applications = application::list(change.conn(), filter).await?;
    views(change.conn(), applications).await
}

/// The slug of an application, if there is one with this key.
///
/// # Errors
/// When the store fails.
pub async fn slug_of(conn: &mut Conn, uuid: ApplicationId) -> Result<Option<String>, Error> {
    Ok(application::by_uuid(conn, uuid).await?.map(|application| application.slug))
}

/// An application with its provider, for whoever may see it.
///
/// # Errors
/// When the store fails.
pub(crate) async fn one(conn: &mut Conn, application: Application) -> Result<View, Error> {
    views(conn, vec![application]).await?.pop().ok_or(Error::NotFound("Application"))
}

async fn views(conn: &mut Conn, applications: Vec<Application>) -> Result<Vec<View>, Error> {
    let records = match applications.as_slice() {
        [Application { provider: Some(pk), .. }] => provider::by_pk(conn, *pk).await?.into_iter().collect(),
        [] | [Application { provider: None, .. }] => Vec::new(),
        _ => provider::list(conn, &provider::Filter::default(), crate::list::Slice::ALL).await?.rows,
    };
    let mut views: HashMap<ProviderPk, providers::View> =
        providers::views(conn, records).await?.into_iter().map(|view| (view.provider.pk, view)).collect();
    let view = |application: Application| View {
        provider: application.provider.and_then(|pk| views.remove(&pk)),
        application,
    };
    Ok(applications.into_iter().map(view).collect())
}
