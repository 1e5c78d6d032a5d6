use super::*;

/// PX-201, PX-202: names are written in title case, values as they are, both ways.
#[tokio::test]
async fn px_201_names_are_title_case_and_px_202_values_are_raw() {
    let site = site().await;
    let mut client = site.send("GET / HTTP/1.1\r\nhost: app.example\r\nx-lower: a\r\n\r\n").await;
    let (_peer, head) =
        site.upstream.answer("HTTP/1.1 200 OK\r\nx-some-thing: \u{e9}\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(values(&head, "X-Authentik-Username"), ["ad\u{e9}"]);
    assert_eq!(values(&head, "X-Authentik-Groups"), ["staff|\u{1f980}"]);
    assert_eq!(values(&head, "X-Lower"), ["a"]);
    assert!(head.to_ascii_lowercase().contains("\r\nremote_user: ada\r\n"), "{head}");
    assert_eq!(values(&client.head().await, "X-Some-Thing"), ["\u{e9}"]);
}

/// PX-222: hop-by-hop fields end here, and a client's `Connection` cannot remove what we set.
#[tokio::test]
async fn px_222_hop_by_hop_fields_are_removed_before_ours_are_set() {
    let site = site().await;
    let request = "GET / HTTP/1.1\r\nHost: app.example\r\n\
         Connection: X-Authentik-Username, x-authentik-groups, X-Forwarded-For, Host, X-Gone\r\nConnection: keep-alive, remote_user\r\n\
         Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nProxy-Authenticate: x\r\n\
         TE: gzip, trailers\r\nTrailer: X-T\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-Gone: 1\r\nX-Kept: 1\r\n\r\n";
    let mut client = site.send(request).await;
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-Up-Gone, close\r\nKeep-Alive: 5\r\nProxy-Authenticate: x\r\n\
         X-Up-Gone: 1\r\nX-Up: 1\r\nUpgrade: h2\r\nContent-Length: 0\r\n\r\n";
    let (_peer, head) = site.upstream.answer(answer).await;
    for (name, expected) in [
        ("X-Authentik-Username", &["ad\u{e9}"][..]),
        ("X-Authentik-Groups", &["staff|\u{1f980}"]),
        ("X-Forwarded-For", &["127.0.0.1"]),
        ("Host", &["app.example"]),
        ("X-Kept", &["1"]),
        ("Te", &["trailers"]),
        ("Connection", &["te"]),
        ("X-Gone", &[]),
        ("Keep-Alive", &[]),
        ("Proxy-Connection", &[]),
        ("Proxy-Authorization", &[]),
        ("Proxy-Authenticate", &[]),
        ("Transfer-Encoding", &[]),
        ("Upgrade", &[]),
        ("Http2-Settings", &[]),
    ] {
        assert_eq!(values(&head, name), expected, "{name}");
    }
    let answer = client.head().await;
    assert_eq!(values(&answer, "X-Up"), ["1"]);
    for name in ["X-Up-Gone", "Keep-Alive", "Proxy-Authenticate", "Upgrade"] {
        assert!(values(&answer, name).is_empty(), "{name}");
    }
}

/// PX-275: path and query reach the upstream byte for byte.
#[tokio::test]
async fn px_275_paths_are_forwarded_byte_for_byte() {
    let site = site().await;
    for path in ["/", "//a", "/a/../b", "/a/./b//", "/%2F%2e%2E/%zz", "/a?b=%20&&c=/../", "/?", "/a;x=1", "/\u{e9}"] {
        let mut client = site.send(format!("GET {path} HTTP/1.1\r\nHost: app.example\r\n\r\n")).await;
        let (_peer, head) = site.upstream.answer(OK).await;
        assert_eq!(head.lines().next(), Some(&*format!("GET {path} HTTP/1.1")));
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
    }
}

/// PX-275: a base path stands in front, and no dot segment leaves it.
#[tokio::test]
async fn px_275_the_base_path_cannot_be_left() {
    let site = site_with(Options { base: "/base/", ..Options::default() }).await;
    for (path, sent) in [("/", "/base/"), ("//x?y", "/base//x?y"), ("/a..b/...", "/base/a..b/...")] {
        let mut client = site.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let (_peer, head) = site.upstream.answer(OK).await;
        assert_eq!(head.lines().next(), Some(&*format!("GET {sent} HTTP/1.1")));
        client.head().await;
    }
    for path in ["/..", "/a/../b", "/%2e%2E/x", "/.%2e", "/a/.", "/a%2f..%2fb", "/..;x/", "/a\\..\\b", "/a%5C..%5cb"] {
        let answer = site.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await.head().await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
}

/// PX-278: the upstream learns host, scheme and the chain of addresses from us.
#[tokio::test]
async fn px_278_forwarded_headers_are_ours() {
    let site = site().await;
    let request = "GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-Host: App.example\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-For: 6.6.6.6, 203.0.113.1\r\nX-Request-ID: 0123456789abcdef\r\nX-Real-IP: 203.0.113.1\r\n\r\n";
    let mut client = site.send(request).await;
    let (_peer, head) = site.upstream.answer(OK).await;
    client.head().await;
    for (name, expected) in [
        ("Host", "app.example"),
        ("X-Forwarded-Host", "app.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", "203.0.113.1, 127.0.0.1"),
        ("X-Request-Id", "0123456789abcdef"),
        ("X-Real-Ip", "203.0.113.1"),
    ] {
        assert_eq!(values(&head, name), [expected], "{name}");
    }
}

/// PX-284: upstream connections are used again.
#[tokio::test]
async fn px_284_upstream_connections_are_pooled() {
    let site = site().await;
    let mut client = site.send(GET).await;
    let (mut upstream, _) = site.upstream.answer(OK).await;
    assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
    client.write(GET).await;
    assert!(upstream.head().await.starts_with("GET / "));
    upstream.write(OK).await;
    assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
}

/// PX-284: upstream connections are used again after an answer without a body.
#[tokio::test]
async fn px_284_upstream_connections_are_pooled_after_an_answer_without_a_body() {
    let site = site().await;
    let mut client = site.send(GET).await;
    let (mut upstream, _) = site.upstream.answer("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 204"));
    client.write(GET).await;
    assert!(upstream.head().await.starts_with("GET / "));
    upstream.write(OK).await;
    assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
}

/// PX-284: an upstream that serves one connection at a time is reached by clients of every thread.
#[tokio::test]
async fn px_284_threads_share_what_connections_there_are() {
    let site = site_with(Options { threads: Threads::start().unwrap(), ..Options::default() }).await;
    let request = "GET / HTTP/1.1\r\nHost: app.example\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut first = site.send(request).await;
    let (mut peer, _) = site.upstream.answer(answer).await;
    first.head().await;
    // It stays open, and the next ones are given to other threads.
    for _ in 0..4 {
        let mut next = site.send(request).await;
        peer.head().await;
        peer.write(answer).await;
        next.head().await;
    }
}

/// PX-284: what an upstream says on a pooled connection without being asked is no answer to the next request.
#[tokio::test]
async fn px_284_what_is_said_unasked_is_no_answer() {
    let site = site().await;
    let mut client = site.send(GET).await;
    let (mut upstream, _) = site.upstream.answer(OK).await;
    client.until("\r\n\r\nok").await;
    upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    client.write(GET).await;
    site.upstream.answer(OK).await;
    assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
}

/// PX-284: a pooled connection that the upstream has closed costs no request.
#[tokio::test]
async fn px_284_a_dead_pooled_connection_is_replaced() {
    let site = site().await;
    let mut client = site.send(GET).await;
    let (upstream, _) = site.upstream.answer(OK).await;
    client.until("\r\n\r\nok").await;
    drop(upstream);
    client.write(GET).await;
    site.upstream.answer(OK).await;
    assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
}

/// PX-286: content encodings pass unchanged.
#[tokio::test]
async fn px_286_encodings_pass_unchanged() {
    let site = site().await;
    let mut client = site.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: zstd;q=0.3\r\n\r\n").await;
    let (_peer, head) =
        site.upstream.answer("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f?x").await;
    assert_eq!(values(&head, "Accept-Encoding"), ["zstd;q=0.3"]);
    let answer = client.until("\x1f?x").await;
    assert_eq!(values(&answer, "Content-Encoding"), ["gzip"]);
}

/// PX-287: methods pass, whatever they are called.
#[tokio::test]
async fn px_287_other_methods_pass() {
    let site = site().await;
    for method in ["PROPFIND", "MKCOL", "M-SEARCH", "DELETE", "OPTIONS"] {
        let mut client = site.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let (_peer, head) = site.upstream.answer(OK).await;
        assert!(head.starts_with(&format!("{method} / ")), "{head}");
        client.head().await;
    }
}

/// PX-288: an upstream that cannot be reached, or is gone before it answers, is a failure of its own kind.
#[tokio::test]
async fn px_288_failures_before_an_answer_are_told_apart() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let site = site_with(Options { target: Some(format!("http://{gone}")), ..Options::default() }).await;
    let answer = site.send(GET).await.until("))").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("Upstream(Connect"), "{answer}");

    let site = super::site().await;
    let mut client = site.send(GET).await;
    drop(site.upstream.accept().await);
    let answer = client.until("))").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("Upstream(Protocol"), "{answer}");

    let site = site_with(Options { target: Some(format!("https://{}", site.address)), ..Options::default() }).await;
    let answer = site.send(GET).await.until("))").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("Upstream(Tls"), "{answer}");
}

/// PX-178, PX-291, PX-292: answers pass as they are, but for cookies of ours and `X-Powered-By`.
#[tokio::test]
async fn px_292_answers_pass_as_they_are() {
    let answer = "HTTP/1.1 418 I'm a teapot\r\nSet-Cookie: a=1\r\nSet-Cookie: authentik_proxy_x=forged\r\nSet-Cookie: authentik_session=forged; Domain=example\r\nSet-Cookie: b=2\r\n\
         X-Powered-By: PHP\r\nServer: teapot\r\nContent-Length: 0\r\n\r\n";
    for (powered_by, expected) in [(true, "goauthentik.io"), (false, "PHP")] {
        let site = site_with(Options { powered_by, ..Options::default() }).await;
        let mut client = site.send(GET).await;
        let _peer = site.upstream.answer(answer).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 418"), "{head}");
        assert_eq!(values(&head, "Set-Cookie"), ["a=1", "b=2"]);
        assert_eq!(values(&head, "X-Powered-By"), [expected]);
        assert_eq!(values(&head, "Server"), ["teapot"]);
    }
}

/// PX-292: answers without a body leave the connection in order; that to HEAD keeps the length it tells.
#[tokio::test]
async fn px_292_answers_without_a_body_pass() {
    for (method, status) in [("HEAD", "200 OK"), ("GET", "304 Not Modified")] {
        let site = site().await;
        let mut client = site.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let (mut upstream, _) =
            site.upstream.answer(format!("HTTP/1.1 {status}\r\nContent-Length: 4711\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert!(method == "GET" || values(&head, "Content-Length") == ["4711"], "{head}");
        client.write(GET).await;
        assert!(upstream.head().await.starts_with("GET"));
        upstream.write(OK).await;
        assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
    }
}

/// PX-279, PX-285, PX-302: HTTP/2 is negotiated on TLS, towards clients and upstreams, and carries the
/// client's host.
#[tokio::test]
async fn px_285_http2_is_negotiated_by_alpn() {
    let inner = site_with(Options { https: true, ..Options::default() }).await;
    let target = format!("https://localhost:{}", inner.address.port());
    let outer = site_with(Options { target: Some(target), ..Options::default() }).await;
    let mut client = outer.send("POST /x HTTP/1.1\r\nHost: app.example\r\nContent-Length: 5\r\n\r\nhello").await;
    let (mut upstream, head) = inner.upstream.accept().await;
    assert_eq!(upstream.until("hello").await, "hello");
    // The inner site trusts the outer: what it was told over HTTP/2 went on.
    assert_eq!(values(&head, "Host"), ["app.example"]);
    assert_eq!(values(&head, "X-Forwarded-Proto"), ["https"]);
    assert_eq!(values(&head, "X-Forwarded-For"), ["127.0.0.1, 127.0.0.1"]);
    upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    assert!(client.until("0\r\n\r\n").await.ends_with("2\r\nok\r\n0\r\n\r\n"));
}

/// PX-007: stopping ends idle connections at once and lets running requests finish.
#[tokio::test]
async fn px_007_stopping_drains() {
    let site = site().await;
    let mut idle = site.send(GET).await;
    let (mut first, _) = site.upstream.answer(OK).await;
    idle.until("\r\n\r\nok").await;
    let mut busy = site.send(GET).await;
    first.head().await;
    site.stop.cancel();
    assert_eq!(idle.rest().await, "");
    first.write(OK).await;
    assert!(busy.rest().await.ends_with("ok"));
    site.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(site.address).await.is_err());
}
