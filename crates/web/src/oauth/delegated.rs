//! Requests that an outpost makes for one of its clients (CO-389): the client's address counts, not the outpost's.

use std::net::IpAddr;

use http::HeaderMap;
use portcullis_core::origin::Origin;
use portcullis_idp::Context;
use portcullis_idp::oauth::Relay;

use crate::api::caller::beside;

const ADDRESS: &str = "x-authentik-remote-ip";
const TOKEN: &str = "x-authentik-outpost-token";

/// The outpost that asks, if one says so with its token. A wrong token is as good as none: whoever shows it is not told.
pub(super) async fn relay(ctx: &Context, origin: &Origin, headers: &HeaderMap) -> Option<Relay> {
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    };
    let (address, token) = (one(ADDRESS)?.parse::<IpAddr>().ok()?, one(TOKEN)?);
    let caller = beside(ctx, origin, token).await.ok()?;
    let serving = caller.actor.serving().filter(|serving| serving.outpost.is_some())?;
    Some(Relay { client: address.to_canonical(), providers: serving.providers.clone() })
}
