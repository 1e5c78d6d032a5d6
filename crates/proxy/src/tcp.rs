//! What every TCP connection of ours is set to, on both sides.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Small writes go out at once, and a peer that vanished without a word is noticed within two minutes: a tunnel
/// has no other limit (PX-280).
pub(crate) fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    SockRef::from(stream).set_tcp_keepalive(&keep_alive.with_retries(4))
}

/// The same for a connection to an upstream; also one that no longer confirms what is sent to it is noticed within two
/// minutes. The system does that by itself: however long an application thinks, no request is lost (PX-283).
pub(crate) fn set_up_upstream(stream: &TcpStream) -> io::Result<()> {
    set_up(stream)?;
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_user_timeout(Some(Duration::from_secs(120)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-280: a connection whose peer vanished is noticed.
    #[tokio::test]
    async fn px_280_connections_are_kept_alive() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set_up(&stream).unwrap();
        assert!(SockRef::from(&stream).keepalive().unwrap() && stream.nodelay().unwrap());
    }
    /// PX-283, PX-284: an upstream that confirms nothing more is noticed, whether something was sent or not.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn px_284_upstreams_that_vanish_are_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set_up_upstream(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(120)));
    }
}
