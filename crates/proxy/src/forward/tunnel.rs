//! What follows a 101: bytes both ways (PX-280).

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::listener::Slot;
use crate::live::Held;

/// Copies bytes both ways until both sides are done, one breaks, or it is told to end.
///
/// One side's end is handed on while the other still speaks. `slot` keeps the connection counted.
pub(super) async fn run(
    client: OnUpgrade,
    upstream: OnUpgrade,
    (closing, session): (CancellationToken, Option<Held>),
    slot: Option<Slot>,
) {
    let ended = async {
        match &session {
            Some(held) => held.ends.cancelled().await,
            None => std::future::pending().await,
        }
    };
    let carry = async {
        let (client, upstream) = tokio::try_join!(client, upstream)?;
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        // An error here is one side's end, and tells nothing that the log should have.
        drop(tokio::io::copy_bidirectional(&mut client, &mut upstream).await);
        Ok::<(), hyper::Error>(())
    };
    tokio::select! {
        outcome = carry => if let Err(error) = outcome {
            tracing::debug!(%error, "a tunnel did not come to be");
        },
        () = ended => {}
        () = closing.cancelled() => {}
    }
    drop(slot);
}
