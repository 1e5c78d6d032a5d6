use super::*;

/// PX-223: a request whose framing can be read in two ways is answered with 400 and never forwarded.
#[tokio::test]
async fn px_223_doubtful_requests_get_400_and_the_connection_closes() {
    let site = site().await;
    for text in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        // What follows must not be read as a request, and must not cost the client its answer.
        let mut client = site.send(format!("{text}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{text:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{text:?}: {answer}");
    }
    let unused = std::future::poll_fn(|cx| std::task::Poll::Ready(site.upstream.0.poll_accept(cx).is_pending())).await;
    assert!(unused, "nothing reached the upstream");
}

/// PX-223: what came before a doubtful request on the same connection is answered.
#[tokio::test]
async fn px_223_a_sound_request_before_a_doubtful_one_is_served() {
    let site = site().await;
    let mut client = site.send(format!("{GET}GET / HTTP/1.1\nHost: a\n\n")).await;
    site.upstream.answer(OK).await;
    let answers = client.rest().await;
    assert!(answers.starts_with("HTTP/1.1 200") && answers.contains("\r\n\r\nokHTTP/1.1 400"), "{answers}");
}

/// PX-223: a body that breaks its framing breaks the connection, on both sides.
#[tokio::test]
async fn px_223_a_broken_body_reaches_nobody_as_complete() {
    let site = site().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = site.send(format!("{head}3\r\nabc\r\n")).await;
    let (mut upstream, _) = site.upstream.accept().await;
    assert_eq!(upstream.until("abc\r\n").await, "3\r\nabc\r\n");
    client.write("3\nabc\r\n0\r\n\r\n").await;
    assert_eq!(upstream.rest().await, "");
    assert!(!client.rest().await.contains("200"));
}

/// PX-223: an over-long head is answered with 431.
#[tokio::test]
async fn px_223_an_over_long_head_gets_431() {
    let site = site().await;
    let mut client = site.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(60_000))).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431"));
    let fields: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let mut client = site.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431"));
}

/// PX-044: a request that names no host or several is answered with 400.
#[tokio::test]
async fn px_044_a_request_without_a_clear_host_gets_400() {
    let site = site().await;
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: b, c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: gopher\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = site.send(text).await.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{text:?}: {answer}");
    }
}

/// PX-310, PX-323: a page about a request that is refused at once has a request id, which is a trusted peer's if that gave one.
#[tokio::test]
async fn px_310_pages_of_refused_requests_have_a_request_id() {
    let site = site().await;
    let head = "X-Request-Id: from-a-trusted-peer\r\nConnection: close\r\n\r\n";
    for start in ["GET / HTTP/1.1\r\nHost: a b\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\n"] {
        let answer = site.send(format!("{start}{head}")).await.rest().await;
        assert!(answer.contains("Request <code>from-a-trusted-peer</code>"), "{answer}");
    }
    let strange = site_with(Options { trust: Trust::new(Vec::new()), ..Options::default() }).await;
    let answer = strange.send(format!("GET / HTTP/1.1\r\nHost: a b\r\n{head}")).await.rest().await;
    let id = answer.split_once("Request <code>").unwrap().1.split_once('<').unwrap().0;
    assert!(id.len() == 32 && !answer.contains("from-a-trusted-peer"), "{answer}");
}

/// PX-287: TRACE and CONNECT are not served.
#[tokio::test]
async fn px_287_trace_and_connect_get_405() {
    let site = site().await;
    for text in ["TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"] {
        let answer = site.send(text).await.head().await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        assert_eq!(values(&answer, "Allow").len(), 1);
    }
}

/// PX-009: a panic becomes a 500 page, and the connection lives on.
#[tokio::test]
async fn px_009_a_panic_is_a_500() {
    let site = site().await;
    let mut client = site.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.until("</html>").await.starts_with("HTTP/1.1 500"));
    client.write(GET).await;
    site.upstream.answer(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
}
