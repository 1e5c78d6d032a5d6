//! Applications behind https: which connections are shared, and for how long.

use std::time::Duration;

use h2::server::SendResponse;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Where connections are carried to.
type To = Arc<std::sync::Mutex<std::net::SocketAddr>>;

fn to(address: std::net::SocketAddr) -> To {
    Arc::new(std::sync::Mutex::new(address))
}

/// Carries connections to a site, and tells of each when it comes and when it goes.
async fn counted(to: To) -> (String, mpsc::UnboundedReceiver<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let (told, events) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (told, to) = (told.clone(), *to.lock().unwrap());
            told.send("came").unwrap();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                let _ = told.send("went");
            });
        }
    });
    (url, events)
}

/// Everything that was told so far.
fn told(events: &mut mpsc::UnboundedReceiver<&'static str>) -> Vec<&'static str> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

async fn outer(target: String, upstreams: UpstreamSettings) -> Site {
    site_with(Options { target: Some(target), upstreams, ..Options::default() }).await
}

/// An application behind https that speaks whatever is accepted, and where it is.
pub(super) async fn secure_listener() -> (TcpListener, TlsAcceptor, String) {
    let given = tls::self_signed(vec!["localhost".to_owned()]).unwrap();
    let acceptor = TlsAcceptor::from(tls::config(Arc::default(), given).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    (listener, acceptor, url)
}

/// PX-284, PX-285, PX-589: connections over HTTP/2 are shared by the application's address, whatever host a client asks
/// for; the application hears that host.
#[tokio::test]
async fn px_284_http2_connections_are_shared_by_the_target() {
    let inner = site_with(Options { https: true, ..Options::default() }).await;
    let (url, mut events) = counted(to(inner.address)).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    for (number, host) in ["a.example", "b.example", "a.example:1", "a.example:2"].into_iter().enumerate() {
        let body = if number % 2 == 0 { "" } else { "hello" };
        let length = body.len();
        let request = format!("POST /x HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut client = outer.send(request).await;
        let (mut upstream, head) = inner.upstream.accept().await;
        assert_eq!(values(&head, "Host"), [host]);
        upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
        assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"), "{host}");
    }
    assert_eq!(told(&mut events), ["came"]);
}

/// PX-277, PX-285: over HTTP/2 the host is said once, where others look for it; an application hears that trailers are welcome.
#[tokio::test]
async fn px_285_http2_requests_say_their_host_once() {
    let (listener, acceptor, url) = secure_listener().await;
    tokio::spawn(async move {
        let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
            let fields = ["host", "connection", "te"].map(|name| request.headers().get(name).cloned());
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(format!("{} {fields:?}", request.uri()))))
        });
        let server = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        drop(server.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await);
    });
    let outer = outer(url, UpstreamSettings::default()).await;
    for body in ["", "hello"] {
        let head = "Host: a.example:1\r\nTE: trailers\r\nConnection: te, close";
        let answer =
            outer.send(format!("POST /x HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        let answer = { answer }.rest().await;
        assert!(answer.contains("https://a.example:1/x [None, None, Some(\"trailers\")]"), "{answer}");
    }
}

/// PX-284: a connection over HTTP/2 that nobody uses is closed after a while; the next request makes another.
#[tokio::test]
async fn px_284_unused_http2_connections_are_closed() {
    let inner = site_with(Options { https: true, ..Options::default() }).await;
    let (url, mut events) = counted(to(inner.address)).await;
    let brief = UpstreamSettings { idle: Duration::from_millis(50), ..UpstreamSettings::default() };
    let outer = outer(url, brief).await;
    for _ in 0..2 {
        let mut client = outer.send(GET).await;
        let (mut upstream, _) = inner.upstream.accept().await;
        upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
        client.until("\r\na\r\n").await;
        assert_eq!(events.recv().await, Some("came"));
        // Not while an answer is under way.
        let other = tokio::time::timeout(Duration::from_millis(200), events.recv()).await;
        assert!(other.is_err(), "{other:?}");
        upstream.write("0\r\n\r\n").await;
        client.until("0\r\n\r\n").await;
        assert_eq!(events.recv().await, Some("went"));
    }
}

/// PX-284: a connection over HTTP/2 that the application has closed costs no request.
#[tokio::test]
async fn px_284_a_dead_http2_connection_is_replaced() {
    let inner = site_with(Options { https: true, ..Options::default() }).await;
    let place = to(inner.address);
    let (url, mut events) = counted(place.clone()).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let mut client = outer.send(GET).await;
    inner.upstream.answer(answer).await;
    client.until("\r\n\r\nok").await;
    inner.stop.cancel();
    inner.serving.await.unwrap().unwrap();
    while events.recv().await != Some("went") {}
    let inner = site_with(Options { https: true, ..Options::default() }).await;
    *place.lock().unwrap() = inner.address;
    let mut client = outer.send(GET).await;
    inner.upstream.answer(answer).await;
    assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
    assert_eq!(told(&mut events), ["came"]);
}

/// PX-284, PX-285: an application that speaks HTTP/1.1 over TLS is asked once for more, and its connections are shared by
/// its address, too.
#[tokio::test]
async fn px_284_http1_connections_are_shared_by_the_target() {
    let given = tls::self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut config = (*tls::config(Arc::default(), given).unwrap()).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, mut events) = counted(to(listener.local_addr().unwrap())).await;
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.unwrap();
            let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
                let host = request.headers()["host"].to_str().unwrap().to_owned();
                Ok::<_, std::convert::Infallible>(Response::new(Body::from(format!("{host} {}", request.uri()))))
            });
            let stream = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
        }
    });
    let outer = outer(url, UpstreamSettings::default()).await;
    for host in ["a.example", "b.example", "a.example:1", "a.example:2"] {
        let mut client = outer.send(format!("GET /x?y HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert!(client.rest().await.ends_with(&format!("\r\n\r\n{host} /x?y")), "{host}");
    }
    let told = told(&mut events);
    assert_eq!(told.iter().filter(|event| **event == "came").count(), 2, "{told:?}");
}

/// PX-281, PX-285: clients that take nothing of their answers hold up nobody else's over the connection that they share.
#[tokio::test]
async fn px_281_stalled_answers_over_http2_hold_up_no_other() {
    let inner = site_with(Options { https: true, ..Options::default() }).await;
    let (url, mut events) = counted(to(inner.address)).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    let (mut deaf, sent) = (Vec::new(), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    for _ in 0..4 {
        deaf.push(outer.send(GET).await);
        let (mut upstream, _) = inner.upstream.accept().await;
        upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
        let sent = sent.clone();
        tokio::spawn(async move {
            let part = [b'x'; 64 * 1024];
            while upstream.0.write_all(&part).await.is_ok() {
                sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
    }
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = sent.load(std::sync::atomic::Ordering::Relaxed);
        if std::mem::replace(&mut before, now) == now {
            break;
        }
    }
    let mut client = outer.send(GET).await;
    inner.upstream.answer(OK).await;
    let answer = tokio::time::timeout(Duration::from_secs(10), client.until("\r\n\r\nok")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(told(&mut events), ["came"]);
}

/// PX-284, PX-285: where many requests last, as streams of events do, further ones go over another connection.
#[tokio::test]
async fn px_284_requests_that_last_keep_no_others_waiting() {
    let inner = site_with(Options { https: true, ..Options::default() }).await;
    let (url, mut events) = counted(to(inner.address)).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    let mut lasting = Vec::new();
    for number in 0..130 {
        let client = outer.send(GET).await;
        let accepted = tokio::time::timeout(Duration::from_secs(10), inner.upstream.accept()).await;
        lasting.push((client, accepted.unwrap_or_else(|_| panic!("request {number} waits"))));
    }
    assert_eq!(told(&mut events), ["came", "came"]);
    // A place that is free again is taken again.
    let (mut client, (mut upstream, _)) = lasting.remove(0);
    upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
    client.until("\r\n\r\nok").await;
    lasting.extend({
        let client = outer.send(GET).await;
        [(client, inner.upstream.accept().await)]
    });
    assert_eq!(told(&mut events), [""; 0]);
}

/// PX-284: a request without a body that is on its way when the application ends the connection, as many do after a thousand
/// requests, is sent again over another one; others are not, since nobody knows whether they were seen.
#[tokio::test]
async fn px_284_requests_on_their_way_survive_the_end_of_an_http2_connection() {
    let (listener, acceptor, url) = secure_listener().await;
    tokio::spawn(async move {
        loop {
            let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let (_, mut answer) = connection.accept().await.unwrap().unwrap();
                answer.send_response(Response::new(()), true).unwrap();
                // The second of a connection is never looked at.
                let _second = connection.accept().await;
                connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                while connection.accept().await.is_some() {}
            });
        }
    });
    let outer = outer(url, UpstreamSettings::default()).await;
    for (method, statuses) in [("GET", ["200", "200", "200"]), ("POST", ["502", "200", "502"])] {
        for status in statuses {
            let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let mut client = outer.send(head).await;
            let answer = tokio::time::timeout(Duration::from_secs(10), client.rest()).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method}: {answer}");
        }
    }
}

/// A request that came over the connection of that number.
type Came = (usize, SendResponse<bytes::Bytes>);

/// An application that speaks HTTP/2, takes so many requests at a time over one connection, and leaves those who connect once
/// more than so often without a word.
async fn bare(at_a_time: u32, connections: usize) -> (String, mpsc::UnboundedReceiver<Came>) {
    let (listener, acceptor, url) = secure_listener().await;
    let (told, came) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut left = Vec::new();
        for number in 0.. {
            let stream = listener.accept().await.unwrap().0;
            if number >= connections {
                left.push(stream);
                continue;
            }
            let (told, acceptor) = (told.clone(), acceptor.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let mut builder = h2::server::Builder::new();
                let mut connection = builder.max_concurrent_streams(at_a_time).handshake(stream).await.unwrap();
                while let Some(Ok((_, answer))) = connection.accept().await {
                    let _ = told.send((number, answer));
                }
            });
        }
    });
    (url, came)
}

async fn next(came: &mut mpsc::UnboundedReceiver<Came>) -> Came {
    tokio::time::timeout(Duration::from_secs(5), came.recv()).await.expect("no request came").unwrap()
}

fn ok(mut answer: SendResponse<bytes::Bytes>) {
    answer.send_response(Response::new(()), true).unwrap();
}

/// PX-284: a request that the application says it did not look at is sent again over another connection, whatever its method;
/// three times in all.
#[tokio::test]
async fn px_284_refused_requests_are_sent_again() {
    let (url, mut came) = bare(100, usize::MAX).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    for (refusals, status) in [(2, "200"), (3, "502")] {
        let mut client =
            outer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        let mut connections = Vec::new();
        for _ in 0..refusals {
            let (number, mut answer) = next(&mut came).await;
            answer.send_reset(h2::Reason::REFUSED_STREAM);
            connections.push(number);
        }
        if refusals < 3 {
            let (number, answer) = next(&mut came).await;
            connections.push(number);
            ok(answer);
        }
        assert!(client.rest().await.starts_with(&format!("HTTP/1.1 {status}")));
        assert!(connections.is_sorted_by(|one, other| one < other), "{connections:?}");
        assert!(came.try_recv().is_err());
    }
    // Nobody knows whether what was taken back otherwise was seen.
    let mut client = outer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    next(&mut came).await.1.send_reset(h2::Reason::INTERNAL_ERROR);
    assert!(client.rest().await.starts_with("HTTP/1.1 502"));
    assert!(came.try_recv().is_err());
}

/// PX-284: an application that takes few requests at a time over a connection is given no more: further ones go over another.
#[tokio::test]
async fn px_284_connections_get_what_the_application_takes() {
    let (url, mut came) = bare(2, usize::MAX).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    let (mut clients, mut numbers) = (Vec::new(), Vec::new());
    let mut answers = Vec::new();
    for _ in 0..5 {
        clients.push(outer.send(GET).await);
    }
    for _ in 0..5 {
        let (number, answer) = next(&mut came).await;
        numbers.push(number);
        answers.push(answer);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 0, 1, 1, 2]);
}

/// PX-283, PX-284: who waits for a connection that does not come takes a place that became free meanwhile.
#[tokio::test]
async fn px_284_free_places_are_taken_while_a_connection_is_made() {
    let (url, mut came) = bare(1, 1).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    let mut first = outer.send(GET).await;
    let (_, answer) = next(&mut came).await;
    let (mut second, mut third) = (outer.send(GET).await, outer.send(GET).await);
    assert!(tokio::time::timeout(Duration::from_millis(100), came.recv()).await.is_err());
    ok(answer);
    for _ in 0..2 {
        ok(next(&mut came).await.1);
    }
    for client in [&mut first, &mut second, &mut third] {
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
    }
}

/// PX-284: after many requests another connection is preferred, but the old one does until that is there.
#[tokio::test]
async fn px_284_a_connection_serves_until_its_successor_does() {
    for (connections, last) in [(1, 0), (2, 1)] {
        let (url, mut came) = bare(100, connections).await;
        let outer = outer(url, UpstreamSettings::default()).await;
        let mut client = outer.send("").await;
        let (mut number, mut sent) = (0, 0);
        // The successor is made aside, and takes over once it is there.
        while sent < 1000 || (number != last && sent < 50_000) {
            sent += 1;
            client.write(GET).await;
            let (over, answer) = next(&mut came).await;
            ok(answer);
            assert!(client.head().await.starts_with("HTTP/1.1 200"));
            number = over;
        }
        assert_eq!(number, last);
    }
}

/// Lets time pass at once.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// PX-283, PX-284: a connection over which nothing comes for 20 seconds, though requests are under way, gets no further ones
/// once there is another; its own are waited for.
#[tokio::test]
async fn px_284_a_silent_http2_connection_gets_no_further_requests() {
    let (url, mut came) = bare(100, usize::MAX).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    let mut patient = outer.send(GET).await;
    let (_, late) = next(&mut came).await;
    pass(21).await;
    let mut waiting = Vec::new();
    // Until its successor is there it does.
    loop {
        let client = outer.send(GET).await;
        let (number, answer) = next(&mut came).await;
        if number == 1 {
            break ok(answer);
        }
        waiting.push((client, answer));
    }
    assert!((1..100).contains(&waiting.len()), "{}", waiting.len());
    ok(late);
    assert!(patient.head().await.starts_with("HTTP/1.1 200"));
    for _ in 0..5 {
        let mut client = outer.send(GET).await;
        let (number, answer) = next(&mut came).await;
        ok(answer);
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        assert_eq!(number, 1);
    }
    for (mut client, answer) in waiting {
        ok(answer);
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
    }
}

/// PX-284: that clients lose patience one after the other makes no silent connection a good one.
#[tokio::test]
async fn px_284_requests_that_are_given_up_tell_of_a_silent_connection() {
    let (url, mut came) = bare(100, usize::MAX).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    let mut numbers = Vec::new();
    while numbers.last() != Some(&1) && numbers.len() < 200 {
        let client = outer.send(GET).await;
        let (number, mut answer) = next(&mut came).await;
        numbers.push(number);
        pass(u64::from(numbers.len() < 4) * 7).await;
        drop(client);
        std::future::poll_fn(|cx| answer.poll_reset(cx)).await.unwrap();
    }
    assert!(numbers.starts_with(&[0, 0, 0, 0]), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&1), "{numbers:?}");
}

/// PX-284: a connection is not silent while anything of an answer comes, or a request is refused, nor while there are none.
#[tokio::test]
async fn px_284_an_http2_connection_that_is_heard_of_is_kept() {
    let (url, mut came) = bare(100, usize::MAX).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    let mut streaming = outer.send(GET).await;
    let (_, mut answer) = next(&mut came).await;
    pass(15).await;
    let mut stream = answer.send_response(Response::new(()), false).unwrap();
    streaming.head().await;
    for part in ["one", "two", "three"] {
        pass(15).await;
        stream.send_data(part.into(), false).unwrap();
        streaming.until(part).await;
    }
    pass(15).await;
    let mut given_up = outer.send(GET).await;
    let (number, mut answer) = next(&mut came).await;
    assert_eq!(number, 0);
    answer.send_reset(h2::Reason::INTERNAL_ERROR);
    assert!(given_up.head().await.starts_with("HTTP/1.1 502"));
    pass(15).await;
    let mut other = outer.send(GET).await;
    ok(next(&mut came).await.1);
    other.head().await;
    stream.send_data("four".into(), true).unwrap();
    streaming.until("four").await;
    streaming.until("0\r\n\r\n").await;
    pass(60).await;
    for _ in 0..20 {
        let mut client = outer.send(GET).await;
        let (number, answer) = next(&mut came).await;
        ok(answer);
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        assert_eq!(number, 0);
    }
}

/// PX-281: little of an answer waits for a client that takes nothing.
#[tokio::test]
async fn px_281_little_of_an_answer_waits_for_its_client() {
    let (url, mut came) = bare(100, 1).await;
    let outer = outer(url, UpstreamSettings::default()).await;
    let _client = outer.send(GET).await;
    let (_, mut answer) = next(&mut came).await;
    let mut stream = answer.send_response(Response::new(()), false).unwrap();
    stream.reserve_capacity(1 << 20);
    let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
    assert!((1..=128 * 1024).contains(&room), "{room}");
}
