use std::io::{self, Write};
use std::time::Duration;

use portcullis_core::clock::{ManualClock, Timestamp};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::*;
use crate::access_log::Format;
use crate::guard::Limits;
use crate::splice::Pipe;

/// So many bytes, of which those a little apart are never the same.
fn bytes(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| number.to_be_bytes()).take(length).collect()
}

fn answer(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

impl Peer {
    /// Reads an answer's head and so many bytes of its body.
    async fn body(&mut self, length: usize) -> Vec<u8> {
        assert!(self.head().await.starts_with("HTTP/1.1 200"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        body
    }
}

/// PX-281: long answers arrive as they were sent, whatever their length and the parts they come in, and the connections go on. Where
/// the system can, nobody reads them on the way.
#[tokio::test]
async fn px_281_long_answers_arrive_as_they_were_sent() {
    let site = site().await;
    let mut client = site.connect().await;
    client.write(GET).await;
    let (mut upstream, _) = site.upstream.answer(OK).await;
    client.until("\r\n\r\nok").await;
    for length in [16_000, 24_576, 24_577, 40_000, 65_536, 72_000, 73_728, 100_000, 16_000_000] {
        for parts in [1, 3] {
            client.write(GET).await;
            upstream.head().await;
            let body = bytes(length);
            let sent = answer(&body);
            let sending = async {
                for part in sent.chunks(sent.len().div_ceil(parts)) {
                    upstream.write(part).await;
                    tokio::task::yield_now().await;
                }
            };
            let ((), read) = tokio::join!(sending, client.body(length));
            assert!(read == body, "{length} in {parts}");
        }
    }
    assert_eq!(Pipe::kept(), usize::from(cfg!(target_os = "linux")));
}

/// PX-281: what a client sends ahead while a long answer is on its way has its turn behind it.
#[tokio::test]
async fn px_281_a_request_sent_ahead_waits_for_a_long_answer() {
    let site = site().await;
    let mut client = site.send(GET).await;
    let body = bytes(60_000);
    let sent = answer(&body);
    let (first, rest) = sent.split_at(30_000);
    let (mut upstream, _) = site.upstream.answer(first).await;
    client.write(GET).await;
    let going_on = async {
        upstream.write(rest).await;
        upstream.head().await;
        upstream.write(OK).await;
    };
    let ((), read) = tokio::join!(going_on, client.body(body.len()));
    assert!(read == body);
    assert!(client.until("\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
}

/// PX-282, PX-283: a client that leaves in the middle of a long answer is sent no more, and neither is one that takes nothing for too
/// long. The application's connection goes back to the others, and is closed with them.
#[tokio::test]
async fn px_282_long_answers_end_when_nobody_takes_them() {
    const ASKED: usize = 400;
    let limits = Limits { write: Duration::from_millis(50), ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let upstreams = || UpstreamSettings { idle: Duration::from_millis(1), ..UpstreamSettings::default() };
    let sent = answer(&bytes(60_000));
    for leaves in [true, false] {
        let site = site_with(Options { settings, upstreams: upstreams(), ..Options::default() }).await;
        let mut client = site.send(GET.repeat(ASKED)).await;
        let (mut upstream, _) = site.upstream.answer(&sent).await;
        client.head().await;
        let kept = (!leaves).then_some(client);
        let mut answered = 1;
        while !upstream.head().await.is_empty() && upstream.0.write_all(&sent).await.is_ok() {
            answered += 1;
        }
        assert!(answered < ASKED, "{leaves}");
        let Some(mut client) = kept else { continue };
        let mut read = Vec::new();
        // It may end by a reset.
        let _ = client.0.read_to_end(&mut read).await;
        assert!(read.len() < answered * sent.len(), "{}", read.len());
    }
}

/// PX-282: a client that leaves while more of a long answer is waited for takes its request to the upstream with it.
#[tokio::test]
async fn px_282_a_client_that_leaves_ends_a_long_answer() {
    let site = site().await;
    let mut client = site.send(GET).await;
    let (mut upstream, _) = site.upstream.answer(&answer(&bytes(60_000))[..30_000]).await;
    client.body(29_000).await;
    drop(client);
    assert_eq!(upstream.rest().await, "");
}

/// PX-288: a connection on which more came than a long answer takes no other request.
#[tokio::test]
async fn px_288_what_follows_a_long_answer_unasked_reaches_nobody() {
    let site = site().await;
    let mut client = site.send(GET).await;
    let body = bytes(60_000);
    let sent = [answer(&body), OK.replace("ok", "no").into_bytes()].concat();
    let ((mut first, _), read) = tokio::join!(site.upstream.answer(sent), client.body(body.len()));
    assert!(read == body);
    client.write(GET).await;
    let (_second, _) = site.upstream.answer(OK).await;
    assert!(client.until("\r\n\r\nok").await.ends_with("ok"));
    assert_eq!(first.rest().await, "");
}

/// PX-320: the bytes of a long answer are counted like those of others.
#[tokio::test]
async fn px_320_long_answers_are_logged_with_their_size() {
    struct Lines(UnboundedSender<Vec<u8>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map(|()| bytes.len()).map_err(io::Error::other)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (tell, mut told) = unbounded_channel();
    let clock = Arc::new(ManualClock::at(Timestamp(1_790_000_000_123_456)));
    let log = AccessLog::start(Format::Json, &[], clock, Box::new(Lines(tell))).unwrap();
    let site = site_with(Options { log: Some(log), ..Options::default() }).await;
    let mut client = site.send(GET).await;
    let (_upstream, _) = tokio::join!(site.upstream.answer(answer(&bytes(60_000))), client.body(60_000));
    let line: serde_json::Value = serde_json::from_slice(&told.recv().await.unwrap()).unwrap();
    assert_eq!(line["size"], 60_000);
}

/// PX-288: an upstream that dies within a long answer takes the client's connection with it, once all has arrived that came.
#[tokio::test]
async fn px_288_a_long_answer_that_is_cut_is_visible() {
    let site = site().await;
    for length in [0, 9_000, 20_000, 59_999] {
        let mut client = site.send(GET).await;
        let body = bytes(length);
        let (upstream, _) =
            site.upstream.answer([b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", &*body].concat()).await;
        drop(upstream);
        client.head().await;
        let mut read = Vec::new();
        client.0.read_to_end(&mut read).await.unwrap();
        assert!(read == body, "{} of {length}", read.len());
    }
}

/// PX-281: without pipes, long answers are copied.
#[tokio::test]
async fn px_281_long_answers_need_no_pipe() {
    let site = site().await;
    Pipe::are_gone();
    let mut client = site.send(GET).await;
    let body = bytes(60_000);
    let sent = answer(&body);
    let (_upstream, read) = tokio::join!(site.upstream.answer(sent), client.body(body.len()));
    assert!(read == body);
}
