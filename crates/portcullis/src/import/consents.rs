//! What people agreed to (OA-930).

use portcullis_core::clock::Timestamp;
use portcullis_idp::context::{Actor, Context};
use portcullis_idp::{Error, takeover};
use serde_json::Value;

use super::convert::{Refused, Snapshot, is_carried};
use super::say;
use crate::Failure;

/// Keeps consents of those who have come, to applications that have come: others of the same names may be here. What anybody
/// agreed to here stays as it is.
pub(super) async fn take_over(ctx: &Context, there: &Snapshot, refused: &Refused) -> Result<(), Failure> {
    let (mut kept, mut left, mut powerful) = (0, 0, 0);
    for consent in &there.consents {
        let text = |path: &str| consent.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let expires = consent.get("expires").and_then(Value::as_str).and_then(Timestamp::parse_iso8601);
        let (username, slug, scope) = (text("/user/username"), text("/application/slug"), text("/permissions"));
        if !is_carried(there, refused, username, slug) {
            left += 1;
            continue;
        }
        if takeover::reaches_api(scope) {
            powerful += 1;
            continue;
        }
        match takeover::consent(ctx, &Actor::system(), username, slug, scope, expires).await {
            Ok(is_new) => kept += usize::from(is_new),
            Err(Error::NotFound(_)) => left += 1,
            Err(error) => return Err(error.into()),
        }
    }
    if kept > 0 {
        say(&format!("{kept} consents were taken over"))?;
    }
    if left > 0 {
        say(&format!("{left} consents are of people or to applications that have not come"))?;
    }
    if powerful > 0 {
        say(&format!("{powerful} consents let applications act through the API: people are asked again"))?;
    }
    Ok(())
}
