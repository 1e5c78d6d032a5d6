//! Removes what has expired, now and then, and reminds of what is about to. Nothing depends on it: what has expired does
//! not hold anyway.

use std::sync::Arc;
use std::time::Duration;

use portcullis_idp::context::Context;
use portcullis_idp::{event, flow, limits, oauth, outpost, recovery, reputation, revocations, sessions, tokens};

/// How often. Expired rows cost space only.
const EVERY: Duration = Duration::from_secs(60);

/// Sweeps for ever.
pub(crate) async fn run(context: Arc<Context>) {
    loop {
        tokio::time::sleep(EVERY).await;
        told("tokens", tokens::sweep(&context).await);
        remembered("owners of app passwords", tokens::remind(&context).await);
        told("sessions", sessions::sweep(&context).await);
        told("sessions of applications", outpost::sessions::sweep(&context).await);
        told("codes, access tokens and consents", oauth::sweep(&context).await);
        told("counters of failed attempts", limits::sweep(&context).await);
        told("flows", flow::sweep(&context).await);
        told("recovery links", recovery::sweep(&context).await);
        told("reputation", reputation::sweep(&context).await);
        told("revocations", revocations::sweep(&context).await);
        remembered("people of what fails again and again", event::failing::tell_repeated(&context, false).await);
        told("events", event::sweep(&context).await);
    }
}

fn remembered<T, E: std::fmt::Display>(whom: &str, outcome: Result<T, E>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "cannot remind {whom}");
    }
}

fn told<T, E: std::fmt::Display>(what: &str, outcome: Result<T, E>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "cannot remove expired {what}");
    }
}
