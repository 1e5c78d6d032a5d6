//! Waiting for something to become true, with a deadline.

use std::time::Duration;

use tokio::time::Instant;

/// How long anything may take before the test is given up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until `probe` has an answer.
///
/// # Panics
/// When there is none within [`PATIENCE`]; the message says `what` was awaited.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}
