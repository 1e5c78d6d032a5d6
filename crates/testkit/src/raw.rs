//! HTTP/1.1 as bytes: what no client library would send, and what it would tidy before a test can look.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wait::PATIENCE;

/// A connection to `127.0.0.1` on which every byte is the test's own.
pub struct Raw {
    /// The socket.
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub async fn connect(port: u16) -> Self {
        Self { stream: TcpStream::connect(("127.0.0.1", port)).await.unwrap(), buffer: Vec::new() }
    }

    /// Writes bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads up to and with `mark`.
    ///
    /// # Panics
    /// When the connection ends before, or nothing comes in time.
    pub async fn read_to(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = find(&self.buffer, mark.as_bytes()) {
                let rest = self.buffer.split_off(at + mark.len());
                let head = std::mem::replace(&mut self.buffer, rest);
                return String::from_utf8_lossy(&head).into_owned();
            }
            let so_far = String::from_utf8_lossy(&self.buffer).into_owned();
            assert!(self.fill().await > 0, "the connection ended before {mark:?}: {so_far:?}");
        }
    }

    /// The head of an answer: status line and fields, exactly as written.
    pub async fn head(&mut self) -> String {
        self.read_to("\r\n\r\n").await
    }

    /// Everything until the other side closes, or resets, the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Exactly `count` bytes.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill().await > 0, "the connection ended too early");
        }
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// One answer as a whole, by its own framing; nothing if the connection ends before.
    pub async fn answer(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((_, _, length)) = one_answer(&self.buffer) {
                let rest = self.buffer.split_off(length);
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> usize {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer));
        read.await.expect("nothing came in time").unwrap_or(0)
    }

    /// Whether the other side says nothing for `time` and keeps the connection open.
    pub async fn is_silent(&mut self, time: Duration) -> bool {
        self.buffer.is_empty() && tokio::time::timeout(time, self.stream.read_buf(&mut self.buffer)).await.is_err()
    }
}

/// Sends one request on a new connection and reads until the server closes it.
pub async fn exchange(port: u16, request: impl AsRef<[u8]>) -> String {
    let mut raw = Raw::connect(port).await;
    raw.send(request).await;
    String::from_utf8_lossy(&raw.rest().await).into_owned()
}

/// The status code of a raw answer.
#[must_use]
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {answer:?}"))
}

/// Statuses and bodies of answers that follow each other; nothing if one of them is no whole answer.
#[must_use]
pub fn answers(mut bytes: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let (status, body, length) = one_answer(bytes)?;
        answers.push((status, body));
        bytes = &bytes[length..];
    }
    Some(answers)
}

/// Status, body and length of the answer that `bytes` begin with, if it is there as a whole. Not for answers to HEAD.
fn one_answer(bytes: &[u8]) -> Option<(u16, Vec<u8>, usize)> {
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let code = head.starts_with("HTTP/1.").then(|| status(&head))?;
    if code < 200 || code == 204 || code == 304 {
        return Some((code, Vec::new(), end));
    }
    let (body, length) = match fields(&head, "content-length").first() {
        Some(length) => {
            let length: usize = length.parse().ok()?;
            (bytes.get(end..end + length)?.to_vec(), length)
        }
        None if fields(&head, "transfer-encoding").is_empty() => (bytes[end..].to_vec(), bytes.len() - end),
        None => unchunked(&bytes[end..])?,
    };
    Some((code, body, end + length))
}

/// A chunked body and its length on the wire, if it is there as a whole and has no trailers.
fn unchunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).ok()?, 16).ok()?;
        let start = at + line + 2;
        at = start + size + 2;
        let chunk = bytes.get(start..at)?;
        if size == 0 {
            return Some((body, at));
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// All values of a field in a raw head, whatever its case.
#[must_use]
pub fn fields(head: &str, name: &str) -> Vec<String> {
    let head = head.split("\r\n\r\n").next().unwrap_or(head);
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
}

/// Where `needle` begins in `hay`.
#[must_use]
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
