//! Requests without a body, which have a way of their own, and where that ends.

use super::*;

const FIVE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// PX-223, PX-281: requests that were sent ahead are answered in their order, also when one of them has a body.
#[tokio::test]
async fn px_281_requests_sent_ahead_are_answered_in_their_order() {
    let site = site().await;
    let sent = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut client = site.send(sent).await;
    let (mut peer, head) = site.upstream.answer(FIVE).await;
    assert!(head.starts_with("GET /1 "), "{head}");
    assert!(peer.head().await.starts_with("GET /2 "));
    peer.write(FIVE).await;
    // A body goes over a connection of another kind.
    let (mut other, head) = site.upstream.accept().await;
    assert!(head.starts_with("POST /3 ") && other.until("hi").await == "hi", "{head}");
    other.write(FIVE).await;
    assert!(peer.head().await.starts_with("GET /4 "));
    peer.write(FIVE).await;
    let answers = client.rest().await;
    assert_eq!(answers.matches("hello").count(), 4, "{answers}");
    assert_eq!(answers.matches("Connection: close").count(), 1, "{answers}");
}

/// PX-281: what the client is told of the end of a body is what the upstream has said, or as good.
#[tokio::test]
async fn px_281_a_body_ends_for_the_client_where_the_upstream_ended_it() {
    for (method, upstream, fields, body) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "Content-Length: 5", "hello"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "Content-Length: 0", ""),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5", ""),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", ""),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "", ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5", ""),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nhel\r\n2;e=1\r\nlo\r\n0\r\nX-T: 1\r\n\r\n",
            "Transfer-Encoding: chunked",
            "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nhello", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("GET", "HTTP/1.0 200 OK\r\n\r\nhello", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let site = site().await;
        let mut client = site.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        drop(site.upstream.answer(upstream).await);
        let answer = client.rest().await;
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        let framing: Vec<_> =
            head.lines().filter(|line| line.starts_with("Content-L") || line.starts_with("Transfer-E")).collect();
        assert_eq!((framing.join(","), rest), (fields.to_owned(), body), "{method} {upstream}");
        assert_eq!(values(head, "Connection"), ["close"], "{head}");
        assert_eq!(values(head, "Date").len(), 1, "{head}");
    }
}

/// A site whose clients are known to take early hints.
async fn hinting() -> Site {
    site_with(Options { settings: Settings { early_hints: true, ..Settings::default() }, ..Options::default() }).await
}

/// PX-281: by default nobody hears of an answer but the answer: a proxy in front may take a hint for it (RFC 8297 §3).
#[tokio::test]
async fn px_281_by_default_there_is_one_answer() {
    let site = site().await;
    let mut client = site.send("HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let (_peer, _) = site.upstream.answer(format!("HTTP/1.1 100 Continue\r\n\r\n{hint}HTTP/1.1 200 OK\r\n\r\n")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

/// PX-281: where they are wanted, early hints of the upstream reach the client before the answer is there, without what is
/// not for clients in any answer; other informational answers do not.
#[tokio::test]
async fn px_281_early_hints_are_passed_on_at_once() {
    let site = hinting().await;
    let mut client = site.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nX-Kept: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X\r\nContent-Length: 5\r\nProxy-Authenticate: Basic\r\n\
         Set-Cookie: authentik_session=x\r\nSet-Cookie: theirs=1\r\n\r\n";
    let (mut peer, _) = site.upstream.answer(hints).await;
    let head = client.head().await;
    let passed = ["Link: </a.css>; rel=preload", "X-Kept: 1", "Set-Cookie: theirs=1"].join("\r\n");
    assert_eq!(head.split_once("\r\n").unwrap().1, format!("{passed}\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 103 "), "{head}");
    for status in ["100", "102", "199"] {
        peer.write(format!("HTTP/1.1 {status} X\r\nX-Status: {status}\r\n\r\n")).await;
    }
    peer.write(FIVE).await;
    assert!(client.until("hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    // Both connections go on, and nothing is left over on either.
    client.write("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(peer.head().await.starts_with("GET /2 "));
    peer.write(format!("HTTP/1.1 103 Early Hints\r\nX-Second: 1\r\n\r\n{FIVE}")).await;
    let answers = client.until("hello").await;
    assert!(answers.starts_with("HTTP/1.1 103 ") && answers.matches("HTTP/1.1 ").count() == 2, "{answers}");
}

/// PX-281: a client over HTTP/1.0 hears the answer alone.
#[tokio::test]
async fn px_281_http_1_0_knows_no_informational_answers() {
    let site = site().await;
    let mut client = site.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    drop(site.upstream.answer(format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{FIVE}")).await);
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.0 200") && !answer.contains("Link"), "{answer}");
}

/// PX-281: so many early hints are passed on, and so many bytes; what is more is left out, and the answer comes.
#[tokio::test]
async fn px_281_early_hints_are_bounded() {
    let hint = |filling| format!("HTTP/1.1 103 Early Hints\r\nLink: </{}>\r\n\r\n", "a".repeat(filling));
    for (hints, passed) in [(hint(1).repeat(30), 8), (hint(5000).repeat(4), 3), (hint(20_000) + &hint(1), 1)] {
        let site = hinting().await;
        let mut client = site.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        drop(site.upstream.answer(hints + FIVE).await);
        let answer = client.rest().await;
        assert_eq!(answer.matches("HTTP/1.1 103").count(), passed);
        assert!(answer.contains("HTTP/1.1 200 OK") && answer.ends_with("hello"));
    }
}

/// PX-288: an answer that is no HTTP, or whose end could be in two places, is none; what is cut off is seen to be.
#[tokio::test]
async fn px_288_what_the_upstream_breaks_off_is_seen_to_be_broken_off() {
    for upstream in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
        &format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(300_000)),
    ] {
        let site = site().await;
        let mut client = site.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (mut peer, _) = site.upstream.accept().await;
        // It may be refused before all of it is sent.
        let _ = peer.0.write_all(upstream.as_bytes()).await;
        drop(peer);
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 502"), "{} gives {head}", &upstream[..upstream.len().min(80)]);
    }
    for (upstream, given) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "hel"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", "3\r\nhel\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhelX", "3\r\nhel\r\n"),
    ] {
        let site = site().await;
        let mut client = site.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        drop(site.upstream.answer(upstream).await);
        let answer = client.rest().await;
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, given, "{upstream}");
    }
}

/// PX-284: a pooled connection that dies under a request costs nobody an answer if asking twice does no harm, and is
/// not asked twice if it could.
#[tokio::test]
async fn px_284_a_request_is_sent_again_when_its_pooled_connection_dies() {
    for (method, is_sent_again) in [("GET", true), ("DELETE", true), ("POST", false)] {
        let site = site().await;
        let mut client = site.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (mut peer, _) = site.upstream.answer(FIVE).await;
        client.until("hello").await;
        client.write(format!("{method} /second HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(peer.head().await.starts_with(method));
        drop(peer);
        if is_sent_again {
            let (_peer, head) = site.upstream.answer(FIVE).await;
            assert!(head.starts_with(&format!("{method} /second ")), "{head}");
            assert!(client.until("hello").await.starts_with("HTTP/1.1 200"));
        } else {
            assert!(client.head().await.starts_with("HTTP/1.1 502"));
        }
    }
}

/// PX-284: an upstream that says more than it was asked is not asked again over that connection.
#[tokio::test]
async fn px_284_what_an_upstream_says_unasked_answers_no_request() {
    let site = site().await;
    let mut client = site.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let _first = site.upstream.answer(format!("{FIVE}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")).await;
    client.until("hello").await;
    client.write("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (_second, head) = site.upstream.answer(FIVE).await;
    assert!(head.starts_with("GET /2 "), "{head}");
    assert!(client.until("hello").await.ends_with("hello"));
}

/// PX-007: when we stop, an answer that is under way is the connection's last, and says so; an idle connection closes.
#[tokio::test]
async fn px_007_the_answer_under_way_is_the_last() {
    let site = site().await;
    let mut busy = site.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut peer, _) = site.upstream.accept().await;
    let mut idle = site.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let _other = site.upstream.answer(FIVE).await;
    idle.until("hello").await;
    site.stop.cancel();
    assert_eq!(idle.rest().await, "");
    peer.write(FIVE).await;
    let answer = busy.rest().await;
    assert!(answer.ends_with("hello") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
    site.serving.await.unwrap().unwrap();
}

/// PX-007: an empty line behind an answer is no request: the connection is idle, and ends when we stop.
#[tokio::test]
async fn px_007_an_empty_line_keeps_no_connection() {
    for ahead in ["\r\n", "\r\n\r\n\r\n", "\r"] {
        let site = site().await;
        let mut client = site.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (mut peer, _) = site.upstream.answer(FIVE).await;
        client.until("hello").await;
        // Answered when the line before it was read for certain.
        client.write(format!("\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n{ahead}")).await;
        assert!(peer.head().await.starts_with("GET /2 "));
        peer.write(FIVE).await;
        client.until("hello").await;
        site.stop.cancel();
        assert_eq!(client.rest().await, "", "{ahead:?}");
        site.serving.await.unwrap().unwrap();
    }
}

/// PX-282: a client that has sent an empty line before it left is gone, too.
#[tokio::test]
async fn px_282_an_empty_line_hides_nobody_who_left() {
    let site = site().await;
    let client = site.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\n").await;
    let (mut peer, _) = site.upstream.accept().await;
    drop(client);
    assert_eq!(peer.rest().await, "");
}

/// PX-284: what an upstream has begun to answer is not sent again.
#[tokio::test]
async fn px_284_what_was_begun_is_not_sent_again() {
    let site = site().await;
    let mut client = site.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut peer, _) = site.upstream.answer(FIVE).await;
    client.until("hello").await;
    client.write("DELETE /second HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(peer.head().await.starts_with("DELETE"));
    peer.write("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    drop(peer);
    assert!(client.head().await.starts_with("HTTP/1.1 502"));
}

/// PX-007: a server without sockets waits as well: what shares its end goes on until then.
#[tokio::test]
async fn px_007_a_server_without_sockets_ends_nothing_early() {
    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    let server = Server {
        plane: (),
        core: None,
        trust: Trust::default(),
        entropy: Arc::new(SystemEntropy),
        log: None,
        settings: Settings::default(),
        cut: cut.clone(),
    };
    let mut serving = std::pin::pin!(server.serve(Vec::new(), Threads::default(), stop.clone()));
    assert!(futures_util::poll!(serving.as_mut()).is_pending() && !cut.is_cancelled());
    stop.cancel();
    serving.await.unwrap();
    assert!(cut.is_cancelled());
}
