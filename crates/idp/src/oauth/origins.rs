//! Which other sites may read answers, and where a sign-in may end (OA section 20).

use std::collections::BTreeSet;

use portcullis_core::host;
use portcullis_core::outpost::Mode;
use portcullis_store::provider::{self, Provider};
use serde_json::Value;
use url::Url;

use crate::context::Context;
use crate::error::Error;
use crate::providers;

/// Origins of a client's strict redirect URIs (OA-580).
pub fn of(provider: &Provider) -> BTreeSet<String> {
    all_of(&provider.redirect_uris).collect()
}

fn all_of(redirect_uris: &Value) -> impl Iterator<Item = String> {
    redirect_uris.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(origin)
}

/// Origin of the first of them.
pub fn first(provider: &Provider) -> Option<String> {
    provider.redirect_uris.as_array()?.iter().find_map(origin)
}

fn origin(entry: &Value) -> Option<String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let for_answers = text("redirect_uri_type").unwrap_or("authorization") == "authorization";
    let url = text("url").filter(|_| for_answers && text("matching_mode") == Some("strict"))?;
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    Some(url.origin().ascii_serialization())
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
    let mut places = of(&provider);
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
    let all = provider::all_redirect_uris(&mut conn).await?;
    Ok(all.iter().any(|uris| all_of(uris).any(|known| known == origin)))
}
