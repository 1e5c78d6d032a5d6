//! Which other sites may read answers, and where a sign-in may end (OA section 20).

use std::collections::BTreeSet;

use portcullis_store::provider::{self, Provider};
use portcullis_store::select::Slice;
use serde_json::Value;
use url::Url;

use crate::context::Context;
use crate::error::Error;

/// Origins of a client's strict redirect URIs (OA-580).
pub fn of(provider: &Provider) -> BTreeSet<String> {
    let entries = provider.redirect_uris.as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(origin).collect()
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

/// Whether any client has this origin: before a request, its client is not known (OA-583).
///
/// # Errors
/// When the store fails.
pub async fn is_of_any(ctx: &Context, origin: &str) -> Result<bool, Error> {
    let mut conn = ctx.db.read().await?;
    let all = provider::list(&mut conn, &provider::Filter::default(), Slice::ALL).await?;
    Ok(all.rows.iter().any(|provider| of(provider).contains(origin)))
}
