//! Clients in great number that do little or nothing: memory stays bounded, and others are answered.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _};
use portcullis_testkit::raw::{self, Raw};
use portcullis_testkit::{Site, process, run};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::stage::Stage;

/// How long anybody may have to wait beside all the others; a request takes a few milliseconds otherwise.
const PROMPT: Duration = Duration::from_secs(2);

/// Connections that the listener has at a time.
const MOST: usize = 10_000;

const PING: &str = "GET /outpost.goauthentik.io/ping HTTP/1.1\r\nHost: localhost\r\n";

/// A site, and how many files it and the tests may open; it allows itself what it can.
async fn roomy() -> (Site, usize) {
    let files = process::raise_open_files(std::process::id());
    // Time limits long enough that none of the tests depends on how fast it is.
    let site = Site::options().env("PORTCULLIS_WEB__TIMEOUT_HTTP_IDLE", "600s").start().await;
    (site, usize::try_from(files).unwrap())
}

/// Asks on a new connection, and says how long it took.
async fn ask(site: &Site) -> Duration {
    let began = Instant::now();
    let answer = raw::exchange(site.port, format!("{PING}Connection: close\r\n\r\n")).await;
    assert_eq!(raw::status(&answer), 204, "{answer}");
    began.elapsed()
}

/// Connects `count` times, a hundred at a time.
async fn connect<T, F: Future<Output = T>>(count: usize, one: impl Fn(usize) -> F) -> Vec<T> {
    let mut all = Vec::with_capacity(count);
    for start in (0..count).step_by(100) {
        all.extend(join_all((start..count.min(start + 100)).map(&one)).await);
    }
    all
}

fn kib_each(site: &Site, before: u64, count: usize) -> u64 {
    let now = site.process().resident_kib();
    eprintln!("{count} connections: {before} KiB before, {now} KiB now");
    now.saturating_sub(before) / count as u64
}

/// PX-009, PX-283: ten thousand idle connections take at most 40 KiB each and keep nobody out: a further client gets the
/// place of the one that was idle for longest, and not that of one who waits for an answer.
#[test]
fn px_009_idle_connections_keep_nobody_out() {
    run(async {
        let (site, files) = roomy().await;
        let stage = Stage::on(&site, json!({"skip_path_regex": "^/public/"})).await;
        let mut waits = Raw::connect(site.port).await;
        waits.send(format!("GET /public/hold HTTP/1.1\r\nHost: {}\r\n\r\n", stage.app.authority())).await;
        stage.recorder.arrival("/public/hold").await;
        let count = files.saturating_sub(2000).clamp(100, MOST);
        let before = site.process().resident_kib();
        let mut idle = connect(count, async |_| {
            let mut raw = Raw::connect(site.port).await;
            raw.send(format!("{PING}\r\n")).await;
            assert!(raw.head().await.starts_with("HTTP/1.1 204"));
            raw
        })
        .await;
        let each = kib_each(&site, before, count);
        assert!(each <= 40, "{each} KiB for each idle connection");
        for _ in 0..20 {
            let took = ask(&site).await;
            assert!(took < PROMPT, "{took:?}");
        }
        // The youngest is served as before, and so is who waited all the time.
        let youngest = idle.last_mut().unwrap();
        youngest.send(format!("{PING}\r\n")).await;
        assert!(youngest.head().await.starts_with("HTTP/1.1 204"));
        stage.recorder.release();
        assert!(waits.head().await.starts_with("HTTP/1.1 200"));
    });
}

/// PX-009, PX-283: heads that drip in, byte by byte, are cut off in time, and others are answered meanwhile.
#[test]
fn px_283_dripping_heads_are_cut_off() {
    run(async {
        let options = Site::options().env("PORTCULLIS_WEB__TIMEOUT_HTTP_READ_HEADER", "2s");
        let site = options.start().await;
        let mut drips = connect(300, async |_| {
            let mut raw = Raw::connect(site.port).await;
            raw.send(format!("{PING}X-Drip: ")).await;
            raw
        })
        .await;
        let began = Instant::now();
        // A byte for each, then a request of somebody else: so it goes on until the last of them is cut off.
        while !drips.is_empty() {
            let took = ask(&site).await;
            assert!(took < PROMPT && began.elapsed() < PROMPT * 5, "{took:?}, {} are left", drips.len());
            let written = join_all(drips.iter_mut().map(|raw| raw.stream.write_all(b"x"))).await;
            let mut written = written.into_iter();
            drips.retain(|_| written.next().unwrap().is_ok());
        }
        assert!(began.elapsed() >= PROMPT / 2, "nothing was waited for: {:?}", began.elapsed());
    });
}

/// PX-009, PX-280: two thousand open WebSockets take at most 40 KiB each, all of them live, and others are answered.
#[test]
fn px_280_thousands_of_websockets() {
    run(async {
        let (site, files) = roomy().await;
        let stage = Stage::on(&site, json!({"skip_path_regex": "^/public/"})).await;
        let cookie = stage.header_cookie(&stage.basic()).await;
        let count = (files.saturating_sub(2000) / 3).clamp(100, 2000);
        let before = site.process().resident_kib();
        let url = format!("ws://{}/private/ws", stage.app.authority());
        let mut sockets = connect(count, async |_| open(&site, &url, &cookie).await).await;
        let each = kib_each(&site, before, count);
        assert!(each <= 40, "{each} KiB for each WebSocket");
        let took = ask(&site).await;
        assert!(took < PROMPT, "{took:?}");
        let echoes = sockets.iter_mut().enumerate().map(async |(number, socket)| {
            socket.send(Message::text(number.to_string())).await.unwrap();
            socket.next().await.unwrap().unwrap() == Message::text(number.to_string())
        });
        assert!(join_all(echoes).await.into_iter().all(|echoed| echoed));
    });
}

async fn open(site: &Site, url: &str, cookie: &str) -> WebSocketStream<TcpStream> {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    let stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}
