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
use crate::list::{Listed, Slice};
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
        super::launch_url(&self.application, self.provider.as_ref().map(|view| (&view.provider).into()), person)
    }
}

/// Which applications are to be listed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Conditions and order.
    pub filter: &'a Filter,
    /// Those that somebody may use (CO-137); all if none.
    pub usable_by: Option<&'a Person>,
    /// Those that can be opened, by this person (CO-551).
    pub launchable_by: Option<&'a Person>,
}

/// A part of the applications that are wanted, and how many these are. What is not visible counts for nothing, and only those
/// of the part are looked at closer.
///
/// # Errors
/// When the store fails.
pub async fn list(
    ctx: &Context,
    wanted: Wanted<'_>,
    context: &AccessContext,
    slice: &Slice,
) -> Result<Listed<View>, Error> {
    let mut applications = application::list(&mut ctx.db.read().await?, wanted.filter).await?;
    if let Some(person) = wanted.usable_by {
        applications = access::visible(ctx, person, applications, context).await?;
    }
    let mut conn = ctx.db.read().await?;
    if let Some(person) = wanted.launchable_by {
        let urls = super::launch_urls(&mut conn, &applications, person).await?;
        let both = applications.into_iter().zip(urls);
        applications = both.filter(|(_, url)| super::is_launchable(url.as_deref())).map(|(found, _)| found).collect();
    }
    let Listed { rows, count } = part(applications, slice);
    Ok(Listed { rows: views(&mut conn, rows).await?, count })
}

fn part<T>(all: Vec<T>, slice: &Slice) -> Listed<T> {
    let number = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
    Listed { rows: all.into_iter().skip(number(slice.offset)).take(number(slice.limit)).collect(), count }
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
    let keys: Vec<_> = applications.iter().filter_map(|application| application.provider).collect();
    let records = provider::by_pks(conn, &keys).await?;
    let mut views: HashMap<ProviderPk, providers::View> =
        providers::views(conn, records).await?.into_iter().map(|view| (view.provider.pk, view)).collect();
    let view = |application: Application| View {
        provider: application.provider.and_then(|pk| views.remove(&pk)),
        application,
    };
    Ok(applications.into_iter().map(view).collect())
}
