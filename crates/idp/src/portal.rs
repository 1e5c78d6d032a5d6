//! What a signed-in person sees of the applications.

use portcullis_core::id::UserPk;
use portcullis_store::application::{self, Application};

use crate::access::AccessContext;
use crate::context::Context;
use crate::error::Error;
use crate::{access, applications, directory};

/// An application and where it opens.
#[derive(Clone, Debug)]
pub struct Open {
    /// The application.
    pub application: Application,
    /// Its launch URL.
    pub href: String,
}

/// The applications that the policies open to a user, by name, but those without a place to go to or
/// hidden from the portal (CO-133, CO-137).
///
/// # Errors
/// When the store fails.
pub async fn open_to(ctx: &Context, user: UserPk, context: &AccessContext) -> Result<Vec<Open>, Error> {
    let mut conn = ctx.db.read().await?;
    let Some(person) = directory::person(ctx, &mut conn, user).await? else { return Ok(Vec::new()) };
    let all = application::list(&mut conn, &application::Filter::default()).await?;
    drop(conn);
    let usable = access::visible(ctx, &person, all, context).await?;
    let mut conn = ctx.db.read().await?;
    let urls = applications::launch_urls(&mut conn, &usable, &person).await?;
    let mut open = Vec::new();
    for (application, href) in usable.into_iter().zip(urls) {
        if let Some(href) = href.filter(|href| !application.meta_hide && applications::is_launchable(Some(href))) {
            open.push(Open { application, href });
        }
    }
    Ok(open)
}

/// What becomes of somebody who wants to open an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launch {
    /// They go there.
    To(String),
    /// The policies say no (CO-140).
    Denied {
        /// Name of the application.
        application: String,
        /// What the policies say.
        messages: Vec<String>,
        /// What each binding found, for whom that is (CO-140).
        trace: Vec<String>,
    },
}

/// Opens an application for a user (CO-139).
///
/// # Errors
/// [`Error::NotFound`] without such an application, or a place to go to; or when the store fails.
pub async fn launch(ctx: &Context, user: UserPk, slug: &str, context: &AccessContext) -> Result<Launch, Error> {
    let view = applications::get(ctx, slug).await?;
    let mut conn = ctx.db.read().await?;
    let person = directory::person(ctx, &mut conn, user).await?.ok_or(Error::NotFound("User"))?;
    drop(conn);
    let judged = access::judge(ctx, &person, &view.application, context).await?;
    if !judged.decision.passing {
        let trace = access::trace(ctx, &person, &judged).await?;
        return Ok(Launch::Denied { application: view.application.name, messages: judged.decision.messages, trace });
    }
    let href = view.launch_url(Some(&person)).filter(|href| applications::is_launchable(Some(href)));
    href.map(Launch::To).ok_or(Error::NotFound("Application"))
}

/// Where opening an application may lead a browser: its launch URL, and the host behind which it is.
///
/// # Errors
/// When the store fails.
pub async fn places_of(ctx: &Context, slug: &str) -> Result<Vec<String>, Error> {
    let view = match applications::get(ctx, slug).await {
        Err(Error::NotFound(_)) => return Ok(Vec::new()),
        found => found?,
    };
    let host = view.provider.as_ref().map(|view| view.provider.external_host.clone());
    Ok(view.launch_url(None).into_iter().chain(host).collect())
}

/// Name of the application that an OAuth client belongs to.
///
/// # Errors
/// When the store fails.
pub async fn name_of_client(ctx: &Context, client_id: &str) -> Result<Option<String>, Error> {
    let mut conn = ctx.db.read().await?;
    Ok(access::flows::wanted(&mut conn, client_id).await?.map(|application| application.name))
}

/// The OAuth client that sent a browser to a target on this site.
pub fn client_of(next: &str) -> Option<String> {
    parameter(next, "client_id")
}

/// Whom that client takes the browser's user for (OA-159): something to begin with, and no more.
pub fn hint_of(next: &str) -> Option<String> {
    parameter(next, "login_hint").map(|hint| hint.chars().take(LONGEST_HINT).collect())
}

/// Longest hint that is shown, in characters.
const LONGEST_HINT: usize = 254;

fn parameter(next: &str, name: &str) -> Option<String> {
    let query = next.strip_prefix("/application/o/authorize/?")?;
    url::form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name).map(|(_, text)| text.into_owned())
}
