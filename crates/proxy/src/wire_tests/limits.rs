//! Time limits, over pipes in memory: with a paused clock nothing waits.

use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;

/// A connection over a pipe that holds `room` bytes, to a site whose application does as `path` says.
fn connection(room: usize) -> DuplexStream {
    speaking(Version::HTTP_11, room)
}

fn speaking(version: Version, room: usize) -> DuplexStream {
    let (client, ours) = duplex(room);
    let server = Server {
        plane: Odd,
        core: None,
        trust: Trust::default(),
        entropy: Arc::new(SystemEntropy),
        log: None,
        settings: Settings::default(),
        cut: CancellationToken::new(),
    };
    tokio::spawn(server.serve_stream(ours, [127, 0, 0, 1].into(), version));
    client
}

/// Reads the body, answers late, or answers much.
struct Odd;

impl Plane for Odd {
    async fn handle(&self, request: &mut Request<Body>, _: &Origin) -> Handled {
        let body = match request.uri().path() {
            "/late" => {
                tokio::time::sleep(Duration::from_secs(1000)).await;
                Body::from("late")
            }
            "/much" => Body::from("x".repeat(1_000_000)),
            "/parts" => {
                let part = || Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(&[b'x'; 1000])));
                Body::new(StreamBody::new(futures_util::stream::iter((0..1000).map(move |_| part()))))
            }
            _ => match std::mem::take(request.body_mut()).collect().await {
                Ok(_) => Body::from("read"),
                Err(error) => Body::from(format!("{error:?}")),
            },
        };
        Handled::Answered(Response::new(body), None)
    }
}

/// Seconds until the connection ends, and what came over it until then.
async fn end(client: &mut DuplexStream) -> (u64, String) {
    let started = Instant::now();
    let text = rest(client).await;
    (started.elapsed().as_secs(), text)
}

/// PX-283: a head must be there within five seconds, however slowly its bytes drip.
#[tokio::test(start_paused = true)]
async fn px_283_a_head_has_five_seconds() {
    assert_eq!(end(&mut connection(4096)).await, (5, String::new()));
    let mut client = connection(4096);
    let started = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nHost: a".chunks(1) {
        if client.write_all(byte).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    rest(&mut client).await;
    assert!((5..=7).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// PX-041, PX-283: a header of the PROXY protocol must be there in time like any other, however it drips; a request
/// behind it has its own time.
#[tokio::test(start_paused = true)]
async fn px_041_a_header_has_five_seconds() {
    let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 54321 443\r\n";
    for begun in [&header[..30], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x01\x00"] {
        let mut client = connection(4096);
        let started = Instant::now();
        for byte in begun.chunks(1) {
            if client.write_all(byte).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(rest(&mut client).await, "");
        assert!((5..=7).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    }
    let mut client = connection(4096);
    client.write_all(header).await.unwrap();
    assert_eq!(end(&mut client).await, (5, String::new()));
}

/// PX-283: an idle connection is kept for 120 seconds, and one that waits for an answer for as long as it takes.
#[tokio::test(start_paused = true)]
async fn px_283_idle_is_not_waiting() {
    let mut client = connection(4096);
    client.write_all(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (seconds, text) = end(&mut client).await;
    assert!(text.ends_with("late"), "{text}");
    assert_eq!(seconds, 1000 + 120);
}

/// PX-283: a body may take as long as it likes while it goes on, and 30 seconds when it does not.
#[tokio::test(start_paused = true)]
async fn px_283_a_body_must_make_progress() {
    let mut client = connection(4096);
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n").await.unwrap();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(29)).await;
        client.write_all(b"x").await.unwrap();
    }
    let (seconds, text) = end(&mut client).await;
    assert!(text.ends_with("Stalled"), "{text}");
    assert_eq!(seconds, 30);
}

/// PX-283: a client that takes nothing of its answer for 60 seconds is left; a slow one is served.
#[tokio::test(start_paused = true)]
async fn px_283_an_answer_must_make_progress() {
    let ask = b"GET /much HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut client = connection(4096);
    client.write_all(ask).await.unwrap();
    let mut read = 0;
    let mut buffer = [0; 4096];
    while read < 500_000 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        let count = client.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "cut after {read}");
        read += count;
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    let (_, left) = end(&mut client).await;
    assert!(read + left.len() < 600_000, "{read} {}", left.len());
}

/// PX-283: over HTTP/2, too, a client that says nothing, or drips what it says first, is not waited for.
#[tokio::test(start_paused = true)]
async fn px_283_http2_must_begin() {
    assert_eq!(end(&mut speaking(Version::HTTP_2, 4096)).await.0, 5);
    let mut client = speaking(Version::HTTP_2, 4096);
    let started = Instant::now();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".chunks(1) {
        if client.write_all(byte).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(started.elapsed().as_secs() <= 12, "{:?}", started.elapsed());
}

/// A client of HTTP/2 that lets so many bytes of an answer in before it reads them, and its connection.
async fn http2_client(window: u32) -> (http2::SendRequest<Body>, tokio::task::JoinHandle<()>) {
    let stream = TokioIo::new(speaking(Version::HTTP_2, 65_536));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).initial_stream_window_size(window);
    let (client, connection) = builder.handshake(stream).await.unwrap();
    (client, tokio::spawn(async move { drop(connection.await) }))
}

fn ask(path: &str) -> Request<Body> {
    Request::builder().uri(format!("http://a{path}")).body(Body::Empty).unwrap()
}

/// PX-283: an idle HTTP/2 connection is kept for 120 seconds, whatever its client answers to our pings.
#[tokio::test(start_paused = true)]
async fn px_283_http2_connections_do_not_idle_for_ever() {
    let (mut client, connection) = http2_client(65_535).await;
    let started = Instant::now();
    assert_eq!(client.send_request(ask("/late")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(started.elapsed().as_secs(), 1000);
    connection.await.unwrap();
    assert!((1120..=1130).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// PX-283: an HTTP/2 stream of which nothing is taken for 60 seconds is reset; the others go on.
#[tokio::test(start_paused = true)]
async fn px_283_http2_streams_must_make_progress() {
    let (mut client, _connection) = http2_client(1000).await;
    let deaf = client.send_request(ask("/parts")).await.unwrap();
    let mut slow = client.send_request(ask("/parts")).await.unwrap().into_body();
    let mut read = 0;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        read += slow.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    assert!(read >= 2000, "{read}");
    let cut = deaf.into_body().collect().await;
    assert!(cut.is_err());
    assert_eq!(client.send_request(ask("/")).await.unwrap().status(), StatusCode::OK);
}

/// PX-283: over HTTP/2, too, a client that takes a long answer slowly is served, however much of it is at hand at once.
#[tokio::test(start_paused = true)]
async fn px_283_http2_clients_may_be_slow() {
    let (mut client, _connection) = http2_client(1000).await;
    let mut answer = client.send_request(ask("/much")).await.unwrap().into_body();
    assert_eq!(answer.size_hint().exact(), Some(1_000_000));
    let mut read = 0;
    while let Some(frame) = answer.frame().await {
        let count = frame.unwrap().into_data().unwrap().len();
        // A thousand bytes a second.
        tokio::time::sleep(Duration::from_millis(count.try_into().unwrap())).await;
        read += count;
    }
    assert_eq!(read, 1_000_000);
}

/// PX-281, PX-283: over HTTP/2, request bodies that nobody takes hold up no other request of their connection.
#[tokio::test(start_paused = true)]
async fn px_281_http2_bodies_that_wait_hold_up_no_other() {
    let (mut client, _connection) = http2_client(65_535).await;
    let post = |path: &str, length: usize| {
        let body = Body::from(vec![b'x'; length]);
        Request::post(format!("http://a{path}")).body(body).unwrap()
    };
    let started = Instant::now();
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(client.send_request(post("/late", 4_000_000)))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.send_request(post("/", 100_000)).await.unwrap().status(), StatusCode::OK);
    assert_eq!(started.elapsed().as_secs(), 1);
    drop(waiting);
}
