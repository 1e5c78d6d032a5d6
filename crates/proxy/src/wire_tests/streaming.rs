use super::*;

const WEBSOCKET: &str =
    "GET /ws HTTP/1.1\r\nHost: app.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";

/// PX-280: an upgrade becomes a tunnel that carries all bytes and hands on one side's end alone.
#[tokio::test]
async fn px_280_an_upgrade_is_a_tunnel_with_half_close() {
    let site = site().await;
    let mut client = site.send(WEBSOCKET).await;
    let (mut upstream, head) = site.upstream.answer(format!("{SWITCHING}early")).await;
    assert_eq!((values(&head, "Connection"), values(&head, "Upgrade")), (vec!["upgrade"], vec!["websocket"]));
    assert_eq!(values(&head, "X-Authentik-Username"), ["ad\u{e9}"]);
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert_eq!(values(&answer, "Upgrade"), ["websocket"]);
    assert_eq!(client.until("early").await, "early");
    client.write("\0\n\0GET").await;
    assert_eq!(upstream.until("GET").await, "\0\n\0GET");
    client.0.shutdown().await.unwrap();
    assert_eq!(upstream.rest().await, "");
    upstream.write("late").await;
    drop(upstream);
    assert_eq!(client.rest().await, "late");
}

/// PX-280: an upgrade that the upstream declines is an ordinary answer.
#[tokio::test]
async fn px_280_a_declined_upgrade_goes_on() {
    let site = site().await;
    let mut client = site.send(WEBSOCKET).await;
    let (mut upstream, _) = site.upstream.answer(OK).await;
    client.until("\r\n\r\nok").await;
    client.write(GET).await;
    tokio::select! {
        // Upgrades have connections of their own, so this may come on another one.
        (mut peer, _) = site.upstream.accept() => peer.write(OK).await,
        _ = upstream.head() => upstream.write(OK).await,
    }
    assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
}

/// PX-280: another HTTP inside a tunnel would pass unseen, so it is not asked for.
#[tokio::test]
async fn px_280_http_is_no_protocol_to_upgrade_to() {
    let site = site().await;
    for protocol in ["h2c", "HTTP/2.0", "TLS/1.0", "websocket, h2c"] {
        let ask =
            format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n\r\n");
        let mut client = site.send(ask).await;
        let (mut upstream, head) = site.upstream.accept().await;
        assert!(values(&head, "Upgrade").is_empty(), "{head}");
        upstream.write(SWITCHING).await;
        assert!(client.head().await.starts_with("HTTP/1.1 502"), "{protocol}");
    }
}

/// PX-197: tunnels and endless answers end with their session.
#[tokio::test]
async fn px_197_tunnels_and_streams_end_with_their_session() {
    let site = site_with(Options { bound_to_session: true, ..Options::default() }).await;
    let mut socket = site.send(WEBSOCKET).await;
    let (mut tunnel, _) = site.upstream.answer(SWITCHING).await;
    socket.head().await;
    let mut reader = site.send(GET).await;
    let (mut events, _) =
        site.upstream.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
    reader.until("one\r\n").await;
    site.ends.cancel();
    assert_eq!((socket.rest().await, tunnel.rest().await), (String::new(), String::new()));
    assert_eq!((reader.rest().await, events.rest().await), (String::new(), String::new()));
}

/// PX-281: answers are handed on as they come.
#[tokio::test]
async fn px_281_answers_are_streamed() {
    let site = site().await;
    let mut client = site.send(GET).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut upstream, _) = site.upstream.answer(head).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    for event in ["one", "two"] {
        upstream.write(format!("3\r\n{event}\r\n")).await;
        assert_eq!(client.until(&format!("{event}\r\n")).await, format!("3\r\n{event}\r\n"));
    }
    upstream.write("0\r\n\r\n").await;
    assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
}

/// PX-281: requests are handed on as they come, also those of methods that rarely have a body.
#[tokio::test]
async fn px_281_requests_are_streamed_with_any_method() {
    let site = site().await;
    for method in ["POST", "GET", "DELETE", "PROPFIND"] {
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut client = site.send(format!("{head}3\r\none\r\n")).await;
        let (mut upstream, head) = site.upstream.accept().await;
        assert_eq!(values(&head, "Transfer-Encoding"), ["chunked"], "{head}");
        assert_eq!(upstream.until("one\r\n").await, "3\r\none\r\n");
        client.write("3\r\ntwo\r\n0\r\n\r\n").await;
        assert_eq!(upstream.until("0\r\n\r\n").await, "3\r\ntwo\r\n0\r\n\r\n");
        upstream.write(OK).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
    }
}

/// PX-281: trailers pass both ways; those that pose as what only we may say do not.
#[tokio::test]
async fn px_281_trailers_pass_unless_they_pose_as_ours() {
    let site = site().await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum, X-Authentik-Username, X_Authentik_Groups, Authorization, Remote-User, X-Forwarded-For\r\n\r\n\
         1\r\nx\r\n0\r\nX-Sum: 7\r\nX-Authentik-Username: root\r\nX_Authentik_Groups: admin\r\nAuthorization: Basic eA==\r\n\
         Remote-User: root\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    let mut client = site.send(request).await;
    let (mut upstream, head) = site.upstream.accept().await;
    assert_eq!(values(&head, "Trailer"), ["X-Sum"]);
    let body = upstream.until("\r\n\r\n").await;
    assert_eq!(body.to_ascii_lowercase(), "1\r\nx\r\n0\r\nx-sum: 7\r\n\r\n");
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Grpc-Status, Connection, Set-Cookie\r\n\r\n2\r\nok\r\n0\r\n\
         Grpc-Status: 0\r\nConnection: x\r\nSet-Cookie: authentik_session=x\r\n\r\n";
    upstream.write(answer).await;
    client.head().await;
    assert_eq!(client.until("\r\n\r\n").await.to_ascii_lowercase(), "2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n");
}

/// PX-281: the client is asked for its body when the upstream wants it, and not when it answers at once.
#[tokio::test]
async fn px_281_expect_continue_works() {
    let site = site().await;
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut client = site.send(head).await;
    let (mut upstream, _) = site.upstream.answer("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 100"));
    client.write("hello").await;
    assert_eq!(upstream.until("hello").await, "hello");
    upstream.write(OK).await;
    assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));

    let mut client = site.send(head).await;
    let refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    tokio::select! {
        _ = upstream.head() => upstream.write(refusal).await,
        _ = site.upstream.answer(refusal) => {}
    }
    assert!(client.head().await.starts_with("HTTP/1.1 413"));
}

/// PX-282: a client that goes away takes its request to the upstream with it.
#[tokio::test]
async fn px_282_a_client_that_leaves_cancels_its_request() {
    let site = site().await;
    let client = site.send(GET).await;
    let (mut upstream, _) = site.upstream.accept().await;
    drop(client);
    assert_eq!(upstream.rest().await, "");

    let mut client = site.send(GET).await;
    let (mut upstream, _) =
        site.upstream.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
    client.until("one\r\n").await;
    drop(client);
    assert_eq!(upstream.rest().await, "");
}

/// PX-288: an upstream that dies within an answer takes the client's connection with it.
#[tokio::test]
async fn px_288_a_truncated_answer_is_visible() {
    let site = site().await;
    for (framing, sent) in [("Content-Length: 9", "one"), ("Transfer-Encoding: chunked", "3\r\none\r\n")] {
        let mut client = site.send(GET).await;
        drop(site.upstream.answer(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{sent}")).await);
        let answer = client.rest().await;
        assert!(answer.contains("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    }
}
