//! An application that remembers what reached it, byte for byte.
//!
//! The path chooses how it behaves; see [`Recorder::start`]. It parses HTTP/1.1 itself, so that the case, order and
//! bytes of header fields are those on the wire.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::raw::find;
use crate::wait::until;

/// A request as it arrived.
#[derive(Clone)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Request target: path and query, untouched.
    pub target: String,
    /// Header fields in their order and spelling.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
    /// Size of the whole body.
    pub length: u64,
    /// Trailer fields.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Number of the connection it came on.
    pub connection: u64,
}

impl Seen {
    /// All values of a field, in any case, as text.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<String> {
        let these = self.fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        these.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The only value of a field.
    ///
    /// # Panics
    /// When there are several.
    #[must_use]
    pub fn one(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        assert!(all.len() < 2, "{name} several times: {self:?}");
        all.pop()
    }

    /// The names of all fields as spelled on the wire.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether these bytes occur anywhere in head, body or trailers.
    #[must_use]
    pub fn contains(&self, needle: &str) -> bool {
        let needle = needle.as_bytes();
        find(self.target.as_bytes(), needle).is_some()
            || find(&self.body, needle).is_some()
            || self.fields.iter().chain(&self.trailers).any(|(_, value)| find(value, needle).is_some())
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} {}", self.method, self.target)?;
        for (name, value) in self.fields.iter().chain(&self.trailers) {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value))?;
        }
        writeln!(f, "({} bytes)", self.length)
    }
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    gone: HashSet<String>,
    connections: u64,
    bytes: Vec<u8>,
}

/// The application.
pub struct Recorder {
    port: u16,
    state: Arc<Mutex<State>>,
    gate: Arc<tokio::sync::Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    /// Starts it on a free port. Paths ending in these words are special:
    ///
    /// | Path ends in | Behaviour |
    /// | --- | --- |
    /// | `/stream` | one server-sent event, a second one after [`Recorder::release`] |
    /// | `/hold` | answers only after [`Recorder::release`]; notes when the client leaves |
    /// | `/deaf` | takes no body and says nothing before [`Recorder::release`], then leaves |
    /// | `/endless` | streams until the client leaves, and notes that |
    /// | `/die` | stops in the middle of its body |
    /// | `/drop` | closes without an answer |
    /// | `/trailers` | ends its body with trailer fields, a forged identity among them |
    /// | `/size/N` | `N` bytes |
    /// | `/status/N` | answers with that status |
    /// | `/echo` | sends the body back while it arrives |
    /// | `/hop` | answers with hop-by-hop fields and cookies of the proxy's name |
    /// | `/plain` | a page without content type, encoding or length |
    /// | `/ws` | WebSocket echo |
    /// | `/tunnel` | upgrades to `echo/1`, echoes, and says `bye` after half-close |
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let (state2, gate2) = (Arc::clone(&state), Arc::clone(&gate));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut state = state2.lock().unwrap();
                    state.connections += 1;
                    state.connections
                };
                let connection = Connection {
                    stream,
                    buffer: Vec::new(),
                    number,
                    state: Arc::clone(&state2),
                    gate: Arc::clone(&gate2),
                };
                tokio::spawn(connection.serve());
            }
        });
        Self { port, state, gate, task }
    }

    /// Its address, for `internal_host`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything that arrived.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// How many requests arrived.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.lock().unwrap().seen.len()
    }

    /// The last request.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    pub fn last(&self) -> Seen {
        self.state.lock().unwrap().seen.last().expect("nothing reached the application").clone()
    }

    /// The first MiB of all bytes that arrived on any connection.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().bytes.clone()
    }

    /// Waits for a request whose target begins like this.
    pub async fn arrival(&self, target: &str) -> Seen {
        until(&format!("{target} at the application"), async || {
            self.seen().into_iter().rev().find(|seen| seen.target.starts_with(target))
        })
        .await
    }

    /// How many connections were opened to it.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.lock().unwrap().connections
    }

    /// Lets one waiting answer go on.
    pub fn release(&self) {
        self.gate.add_permits(1);
    }

    /// Waits until the client of a waiting answer has left.
    pub async fn departure(&self, target: &str) {
        until(&format!("the departure from {target}"), async || {
            self.state.lock().unwrap().gone.contains(target).then_some(())
        })
        .await;
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    number: u64,
    state: Arc<Mutex<State>>,
    gate: Arc<tokio::sync::Semaphore>,
}

type Io<T> = std::io::Result<T>;

impl Connection {
    async fn serve(mut self) {
        while let Ok(true) = self.turn().await {}
    }

    /// One request and its answer; whether another may follow.
    async fn turn(&mut self) -> Io<bool> {
        let Some(head) = self.until_mark(b"\r\n\r\n").await? else { return Ok(false) };
        let mut lines =
            head[..head.len() - 4].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let mut words = first.split(' ').map(str::to_owned);
        let seen = Seen {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            fields: lines.map(field).collect(),
            body: Vec::new(),
            length: 0,
            trailers: Vec::new(),
            connection: self.number,
        };
        if seen.one("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let path = seen.target.split('?').next().unwrap_or_default().to_owned();
        if path.ends_with("/echo") {
            self.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/octet-stream\r\n\r\n",
            )
            .await?;
            let seen = self.body(seen, true).await?;
            self.note(seen);
            self.write(b"0\r\n\r\n").await?;
            return Ok(true);
        }
        if path.ends_with("/deaf") {
            self.note(seen);
            self.gate.acquire().await.unwrap().forget();
            return Ok(false);
        }
        let seen = self.body(seen, false).await?;
        self.note(seen.clone());
        self.answer(&seen, &path).await
    }

    fn note(&self, seen: Seen) {
        self.state.lock().unwrap().seen.push(seen);
    }

    async fn answer(&mut self, seen: &Seen, path: &str) -> Io<bool> {
        let last = path.rsplit('/').next().unwrap_or_default();
        let number = last.parse::<usize>().unwrap_or(0);
        match last {
            "stream" => {
                self.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await?;
                self.chunk(b"data: one\n\n").await?;
                if !self.wait_for_release(&seen.target).await? {
                    return Ok(false);
                }
                self.chunk(b"data: two\n\n").await?;
                self.write(b"0\r\n\r\n").await?;
            }
            "hold" => {
                if !self.wait_for_release(&seen.target).await? {
                    return Ok(false);
                }
                self.page(200, "released\n").await?;
            }
            "endless" => {
                self.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                while self.chunk(&[b'x'; 1024]).await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                self.state.lock().unwrap().gone.insert(seen.target.clone());
                return Ok(false);
            }
            "die" => {
                self.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this").await?;
                return Ok(false);
            }
            "drop" => return Ok(false),
            "trailers" => {
                self.write(b"HTTP/1.1 200 OK\r\nTrailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                self.chunk(b"body").await?;
                self.write(b"0\r\nX-Checksum: 42\r\n\r\n").await?;
            }
            "hop" => {
                self.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Internal\r\nX-Internal: 1\r\n\
                      Keep-Alive: timeout=5\r\nX-Kept: yes\r\nSet-Cookie: authentik_proxy_00000000=evil; Path=/\r\n\
                      Set-Cookie: mine=1; Path=/\r\n\r\nok",
                )
                .await?;
            }
            "plain" => {
                self.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nplain").await?;
                return Ok(false);
            }
            "ws" => {
                self.websocket(seen).await;
                return Ok(false);
            }
            "tunnel" => {
                self.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n")
                    .await?;
                loop {
                    if !self.buffer.is_empty() {
                        let bytes = std::mem::take(&mut self.buffer);
                        self.write(&bytes).await?;
                    }
                    if !self.fill().await? {
                        self.write(b"bye").await?;
                        return Ok(false);
                    }
                }
            }
            _ if path.contains("/size/") => {
                self.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {number}\r\n\r\n").as_bytes()).await?;
                let block = vec![b's'; 64 * 1024];
                let mut left = number;
                while left > 0 {
                    let now = left.min(block.len());
                    self.write(&block[..now]).await?;
                    left -= now;
                }
            }
            _ if path.contains("/status/") => {
                self.page(u16::try_from(number).unwrap(), if number == 204 { "" } else { "as asked\n" }).await?;
            }
            _ if seen.method == "HEAD" => {
                self.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await?;
            }
            _ => self.page(200, &format!("{} {}\n", seen.method, seen.target)).await?,
        }
        Ok(true)
    }

    async fn page(&mut self, status: u16, text: &str) -> Io<()> {
        let length = text.len();
        let head = if status == 204 || status == 304 {
            format!("HTTP/1.1 {status} As Asked\r\n\r\n")
        } else {
            format!("HTTP/1.1 {status} As Asked\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}")
        };
        self.write(head.as_bytes()).await
    }

    async fn websocket(&mut self, seen: &Seen) {
        let key = seen.one("sec-websocket-key").unwrap_or_default();
        let accept = derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        if self.write(head.as_bytes()).await.is_err() {
            return;
        }
        let early = std::mem::take(&mut self.buffer);
        let mut socket = WebSocketStream::from_partially_read(&mut self.stream, early, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                break;
            }
        }
        self.state.lock().unwrap().gone.insert(seen.target.clone());
    }

    /// Whether the gate opened before the client left.
    async fn wait_for_release(&mut self, target: &str) -> Io<bool> {
        let gate = Arc::clone(&self.gate);
        let mut one = [0];
        tokio::select! {
            permit = gate.acquire() => {
                permit.unwrap().forget();
                Ok(true)
            }
            read = self.stream.read(&mut one) => {
                assert!(!matches!(read, Ok(1..)), "bytes behind a request that waits");
                self.state.lock().unwrap().gone.insert(target.to_owned());
                Ok(false)
            }
        }
    }

    /// Reads the body, perhaps echoing it in chunks, and its trailers.
    async fn body(&mut self, mut seen: Seen, echo: bool) -> Io<Seen> {
        let chunked = seen.one("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        if !chunked {
            let length = seen.one("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            self.part(&mut seen, length, echo).await?;
            return Ok(seen);
        }
        loop {
            let line = self.line().await?;
            let size = u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
            if size == 0 {
                break;
            }
            self.part(&mut seen, size, echo).await?;
            self.line().await?;
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(seen);
            }
            seen.trailers.push(field(line.as_bytes()));
        }
    }

    async fn part(&mut self, seen: &mut Seen, mut left: u64, echo: bool) -> Io<()> {
        while left > 0 {
            if self.buffer.is_empty() && !self.fill().await? {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let now = self.buffer.len().min(usize::try_from(left).unwrap());
            let bytes: Vec<u8> = self.buffer.drain(..now).collect();
            if seen.body.len() < 64 * 1024 {
                seen.body.extend_from_slice(&bytes);
            }
            seen.length += now as u64;
            left -= now as u64;
            if echo {
                self.chunk(&bytes).await?;
            }
        }
        Ok(())
    }

    async fn line(&mut self) -> Io<String> {
        let line = self.until_mark(b"\r\n").await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(&line[..line.len() - 2]).into_owned())
    }

    /// Bytes up to and with a mark; nothing when the connection ends first.
    async fn until_mark(&mut self, mark: &[u8]) -> Io<Option<Vec<u8>>> {
        loop {
            if let Some(at) = find(&self.buffer, mark) {
                let rest = self.buffer.split_off(at + mark.len());
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    async fn fill(&mut self) -> Io<bool> {
        self.buffer.reserve(64 * 1024);
        let before = self.buffer.len();
        let read = self.stream.read_buf(&mut self.buffer).await?;
        let bytes = &mut self.state.lock().unwrap().bytes;
        let room = (1_usize << 20).saturating_sub(bytes.len()).min(read);
        bytes.extend_from_slice(&self.buffer[before..before + room]);
        Ok(read > 0)
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Io<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Io<()> {
        self.stream.write_all(bytes).await
    }
}

fn field(line: &[u8]) -> (String, Vec<u8>) {
    let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let value = line.get(at + 1..).unwrap_or_default().trim_ascii().to_vec();
    (String::from_utf8_lossy(&line[..at]).into_owned(), value)
}
