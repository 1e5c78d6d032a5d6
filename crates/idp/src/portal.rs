//! What a signed-in person sees of the applications.

use portcullis_core::id::UserPk;
use portcullis_store::application::{self, Application};
use portcullis_store::provider;

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
pub async fn open_to(ctx: &Context, user: UserPk) -> Result<Vec<Open>, Error> {
    let mut conn = ctx.db.read().await?;
    let Some(person) = directory::person(ctx, &mut conn, user).await? else { return Ok(Vec::new()) };
    let all = application::list(&mut conn, &application::Filter::default()).await?;
    let mut open = Vec::new();
    for application in access::visible(&mut conn, &person, all).await? {
        let provider = match application.provider {
            Some(pk) => provider::by_pk(&mut conn, pk).await?,
            None => None,
        };
        let external_host = provider.as_ref().map(|provider| provider.external_host.as_str());
        let href = applications::launch_url(&application, external_host, Some(&person));
        if let Some(href) = href.filter(|href| !application.meta_hide && applications::is_launchable(Some(href))) {
            open.push(Open { application, href });
        }
    }
    Ok(open)
}

/// Name of the application that an OAuth client belongs to.
///
/// # Errors
/// When the store fails.
pub async fn name_of_client(ctx: &Context, client_id: &str) -> Result<Option<String>, Error> {
    let mut conn = ctx.db.read().await?;
    let Some(provider) = provider::by_client_id(&mut conn, client_id).await? else { return Ok(None) };
    Ok(application::by_provider(&mut conn, provider.pk).await?.map(|application| application.name))
}
