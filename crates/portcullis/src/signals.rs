//! Signals: drain and end, break off, look again.

use std::sync::Arc;

use portcullis_idp::context::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// SIGTERM and SIGINT cancel `stop`, a second one `cut`; SIGUSR1 makes outposts read their configuration (PX-007).
///
/// # Errors
/// When the system takes no handler.
pub(crate) fn watch(stop: &CancellationToken, cut: &CancellationToken, context: Arc<Context>) -> Result<(), Failure> {
    let (stop, cut) = (stop.clone(), cut.clone());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut refresh = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = either(&mut terminate, &mut interrupt) => {
                    if stop.is_cancelled() {
                        cut.cancel();
                    } else {
                        tracing::info!("finishing requests in flight; a second signal breaks them off");
                        stop.cancel();
                    }
                }
                _ = refresh.recv() => context.revisions.add(),
            }
        }
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
