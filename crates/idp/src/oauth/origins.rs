//! Which other sites may read answers, and where a sign-in may end (OA section 20).

use std::collections::BTreeSet;

use portcullis_core::outpost::Mode;
use portcullis_core::{host, site};
use portcullis_store::provider::{self, Provider};
use serde_json::Value;

use crate::context::Context;
use crate::error::Error;
use crate::providers;

/// Origins of a client's strict redirect URIs, and those that are listed besides (OA-580).
pub fn of(provider: &Provider) -> BTreeSet<String> {
    site::of(&provider.redirect_uris, &provider.allowed_origins)
}

/// Origin of the first of a list of redirect URIs that has one.
pub fn first(redirect_uris: &Value) -> Option<String> {
    redirect_uris.as_array()?.iter().find_map(site::of_entry)
}

/// Origins of the client of this id; none for an unknown one.
///
/// # Errors
/// When the store fails.
pub async fn of_client(ctx: &Context, client_id: &str) -> Result<BTreeSet<String>, Error> {
    let mut conn = ctx.db.read().await?;
    Ok(provider::by_client_id(&mut conn, client_id).await?.as_ref().map(of).unwrap_or_default())
}

/// Where a sign-in for the client of this id may end: its origins and, for a proxy provider of a whole domain, every
/// host of it, as `https://*.example.com`.
///
/// # Errors
/// When the store fails.
pub async fn where_sign_in_ends(ctx: &Context, client_id: &str) -> Result<BTreeSet<String>, Error> {
    let mut conn = ctx.db.read().await?;
    let Some(provider) = provider::by_client_id(&mut conn, client_id).await? else { return Ok(BTreeSet::new()) };
    let mut places = site::of_redirects(&provider.redirect_uris);
    let domain = host::cookie_domain(&provider.cookie_domain);
    if providers::mode(&provider.mode) == Some(Mode::ForwardDomain) && !domain.is_empty() {
        // Targets are upgraded where the provider's own host is https (PX-164).
        let schemes = if provider.external_host.starts_with("https:") { &["https"][..] } else { &["http", "https"] };
        for scheme in schemes {
            places.extend([format!("{scheme}://{domain}"), format!("{scheme}://*.{domain}")]);
        }
    }
    Ok(places)
}

/// Whether any client has this origin: before a request, its client is not known (OA-583).
///
/// # Errors
/// When the store fails.
pub async fn is_of_any(ctx: &Context, origin: &str) -> Result<bool, Error> {
    let mut conn = ctx.db.read().await?;
    Ok(provider::has_origin(&mut conn, origin).await?)
}
