//! Where users come from. There is the directory of the instance itself, which cannot be changed (CO-480, CO-566).

use portcullis_core::keys::sha256;
use uuid::{Builder, Uuid};

use crate::context::{Actor, Context};
use crate::directory::superuser_only;
use crate::error::Error;

/// Slug of the built-in source.
pub const BUILT_IN: &str = "authentik-built-in";

/// A source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Key, which is also the target of its policy bindings (CO-005).
    pub pk: Uuid,
    /// Name.
    pub name: &'static str,
    /// Slug.
    pub slug: &'static str,
    /// What it is managed as.
    pub managed: &'static str,
}

/// The sources, for an administrator.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators.
pub fn all(ctx: &Context, actor: &Actor) -> Result<Vec<Source>, Error> {
    superuser_only(actor)?;
    // The same for the life of the installation, and as good as random to everybody else.
    let digest = sha256(format!("built-in source of {}", ctx.install_id).as_bytes());
    let bytes = digest.first_chunk::<16>().copied().unwrap_or_default();
    Ok(vec![Source {
        pk: Builder::from_random_bytes(bytes).into_uuid(),
        name: "authentik Built-in",
        slug: BUILT_IN,
        managed: "goauthentik.io/sources/inbuilt",
    }])
}

/// The source with this slug, for an administrator.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators, [`Error::NotFound`].
pub fn get(ctx: &Context, actor: &Actor, slug: &str) -> Result<Source, Error> {
    all(ctx, actor)?.into_iter().find(|source| source.slug == slug).ok_or(Error::NotFound("Source"))
}

/// Deletes a source, which the built-in one does not allow.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators, [`Error::NotFound`], [`Error::Invalid`].
pub fn delete(ctx: &Context, actor: &Actor, slug: &str) -> Result<(), Error> {
    get(ctx, actor, slug)?;
    Err(Error::whole("The built-in source cannot be deleted."))
}
