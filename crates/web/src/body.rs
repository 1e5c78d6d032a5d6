//! Bodies of requests to the control plane: short, and read within a time of their own. What is known of the
//! sender when the head arrives may not hold any more when the body ends.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;

/// How long a whole body may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is too long, or broke off.
    TooLong,
    /// It did not end in time.
    TooSlow,
}

/// Reads a body of at most `longest` bytes.
///
/// # Errors
/// [`Unread`].
pub(crate) async fn read(body: Body, longest: usize) -> Result<Bytes, Unread> {
    match tokio::time::timeout(PATIENCE, to_bytes(body, longest)).await {
        Ok(read) => read.map_err(|_| Unread::TooLong),
        Err(_) => Err(Unread::TooSlow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    /// OA-004: a body that is too long, or that never ends, is given up.
    #[tokio::test(start_paused = true)]
    async fn oa_004_bodies_end_in_time() {
        assert_eq!(read(Body::from("1234"), 4).await, Ok(Bytes::from_static(b"1234")));
        assert_eq!(read(Body::from("12345"), 4).await, Err(Unread::TooLong));
        let drip = stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
        });
        assert_eq!(read(Body::from_stream(drip), 1024).await, Err(Unread::TooSlow));
    }
}
