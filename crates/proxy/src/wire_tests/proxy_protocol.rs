//! The PROXY protocol in front of requests.

use super::*;

const HEADER: &str = "PROXY TCP4 203.0.113.9 192.0.2.1 54321 80\r\n";

/// The chain of addresses that the application is told, after these bytes on a connection from this host.
async fn chain(bytes: impl AsRef<[u8]>) -> Vec<String> {
    let site = site().await;
    let mut client = site.send(bytes).await;
    let (_peer, head) = site.upstream.answer(OK).await;
    assert!(client.until("ok").await.starts_with("HTTP/1.1 200 "));
    values(&head, "X-Forwarded-For").into_iter().map(str::to_owned).collect()
}

fn asking(forwarded_for: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: app.example\r\nX-Forwarded-For: {forwarded_for}\r\n\r\n")
}

/// PX-041: a trusted peer says whose connection it carries, and that address is the peer from then on: its forwarded
/// headers are believed if it is trusted itself, and else dropped.
#[tokio::test]
async fn px_041_the_peer_is_the_one_in_the_header() {
    assert_eq!(chain(format!("{HEADER}{GET}")).await, ["203.0.113.9"]);
    assert_eq!(chain(format!("{HEADER}{}", asking("198.51.100.1"))).await, ["203.0.113.9"]);
    let trusted = HEADER.replace("203.0.113.9", "127.0.0.9");
    assert_eq!(chain(format!("{trusted}{}", asking("198.51.100.1"))).await, ["198.51.100.1, 127.0.0.9"]);
    assert_eq!(chain(format!("PROXY UNKNOWN\r\n{}", asking("198.51.100.1"))).await, ["198.51.100.1, 127.0.0.1"]);
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\xd4\x31\0\x50";
    assert_eq!(chain([v2, GET.as_bytes()].concat()).await, ["203.0.113.9"]);
    assert_eq!(chain(GET).await, ["127.0.0.1"]);
}

/// PX-041: the address is that of the whole connection, not of its first request alone.
#[tokio::test]
async fn px_041_the_peer_stays() {
    let site = site().await;
    let mut client = site.send(format!("{HEADER}{GET}")).await;
    let (mut upstream, _) = site.upstream.answer(OK).await;
    client.until("ok").await;
    client.write(asking("198.51.100.1")).await;
    assert_eq!(values(&upstream.head().await, "X-Forwarded-For"), ["203.0.113.9"]);
}

/// PX-041: a header that comes in pieces is waited for.
#[tokio::test]
async fn px_041_a_header_may_come_in_pieces() {
    let site = site().await;
    let mut client = site.connect().await;
    client.0.set_nodelay(true).unwrap();
    for byte in HEADER.as_bytes().chunks(1) {
        client.write(byte).await;
        tokio::task::yield_now().await;
    }
    client.write(GET).await;
    let (_peer, head) = site.upstream.answer(OK).await;
    assert_eq!(values(&head, "X-Forwarded-For"), ["203.0.113.9"]);
}

/// PX-041: from a peer that is not trusted the header is a malformed request, and so is a malformed header from any.
#[tokio::test]
async fn px_041_others_are_not_heard() {
    let untrusting = site_with(Options { trust: Trust::new(Vec::new()), ..Options::default() }).await;
    let mut client = untrusting.send(format!("{HEADER}{GET}")).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
    let site = site().await;
    let malformed = HEADER.replace("TCP4", "TCP6");
    let mut client = site.send(format!("{malformed}{GET}")).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
    let twice = format!("{HEADER}{HEADER}{GET}");
    let mut client = site.send(twice).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
}
