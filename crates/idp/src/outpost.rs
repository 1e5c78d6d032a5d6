//! What the embedded outpost is told, and what it asks.

mod answers;
mod configuration;
pub mod sessions;

pub use answers::{CodeExchange, OutpostError, exchange_code, introspect, sign, still_stands, verify_password};
pub use configuration::{configuration, configuration_after, proxies, told};

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::context::{Actor, Context};
use crate::error::Error;
use crate::event;

/// Whose events these are, the same as those that outposts elsewhere send.
const APP: &str = "authentik.providers.proxy";

/// Records what an outpost found to be configured wrongly (PX-363).
///
/// # Errors
/// When the store fails.
pub async fn report(
    ctx: &Context,
    provider: &str,
    message: &str,
    details: Value,
    client: Option<IpAddr>,
) -> Result<(), Error> {
    let actor = Actor { client, ..Actor::system() };
    let context = json!({"message": message, "provider": provider, "details": details});
    let mut tx = ctx.db.write().await?;
    let recorded = event::record_of(ctx, &mut tx, &actor, APP, "configuration_error", context).await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(())
}
