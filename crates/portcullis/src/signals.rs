//! Signals: drain and end, break off, look again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Failure;
use crate::listeners::Tokens;

/// SIGTERM and SIGINT cancel `stop`, a second one `cut`; SIGUSR1 makes outposts read their configuration (PX-007).
///
/// # Errors
/// When the system takes no handler.
pub(crate) fn watch(tokens: &Tokens, look_again: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let Tokens { stop, cut } = tokens.clone();
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
                _ = refresh.recv() => look_again(),
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
