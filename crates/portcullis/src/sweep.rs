//! Removes what has expired, now and then. Nothing depends on it: what has expired does not hold anyway.

use std::sync::Arc;
use std::time::Duration;

use portcullis_idp::context::Context;
use portcullis_idp::{event, limits, oauth, outpost, sessions, tokens};

/// How often. Expired rows cost space only.
const EVERY: Duration = Duration::from_secs(60);

/// Sweeps for ever.
pub(crate) async fn run(context: Arc<Context>) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = tokens::sweep(&context).await {
            tracing::warn!(%error, "cannot remove expired tokens");
        }
        if let Err(error) = sessions::sweep(&context).await {
            tracing::warn!(%error, "cannot remove expired sessions");
        }
        if let Err(error) = outpost::sessions::sweep(&context).await {
            tracing::warn!(%error, "cannot remove expired sessions of applications");
        }
        if let Err(error) = oauth::sweep(&context).await {
            tracing::warn!(%error, "cannot remove expired codes and access tokens");
        }
        if let Err(error) = limits::sweep(&context).await {
            tracing::warn!(%error, "cannot remove counters of failed attempts that are over");
        }
        if let Err(error) = event::sweep(&context).await {
            tracing::warn!(%error, "cannot remove events whose time is over");
        }
    }
}
