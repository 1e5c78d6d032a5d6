//! A mail server that keeps what it is sent.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::wait::until;

/// A mail as it was handed over.
#[derive(Clone, Debug)]
pub struct Received {
    /// From whom, by the envelope.
    pub from: String,
    /// To whom, by the envelope.
    pub to: Vec<String>,
    /// The message: head and body, with the encoding of its lines undone.
    pub text: String,
}

impl Received {
    /// The address of the first link to a path that begins so.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn link(&self, path: &str) -> String {
        let found = self.text.split_whitespace().find(|word| word.starts_with("http") && word.contains(path));
        found.unwrap_or_else(|| panic!("no link to {path} in {}", self.text)).to_owned()
    }
}

/// A mail server on a port of its own. It ends with the test process.
pub struct MailServer {
    /// Its port on 127.0.0.1.
    pub port: u16,
    mails: Arc<Mutex<Vec<Received>>>,
}

impl MailServer {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no socket.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move { converse(stream, &kept).await });
            }
        });
        Self { port, mails }
    }

    /// What has come so far.
    ///
    /// # Panics
    /// Never, unless a test has panicked meanwhile.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.mails.lock().unwrap().clone()
    }

    /// Waits until so many mails have come, and gives the newest.
    pub async fn wait_for(&self, count: usize) -> Received {
        until("mail", async || self.received().get(count - 1).cloned()).await
    }
}

/// As much of RFC 5321 as a client needs that asks for nothing special.
async fn converse(stream: TcpStream, kept: &Mutex<Vec<Received>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut from, mut to) = (String::new(), Vec::new());
    stream.write_all(b"220 mail.example ESMTP\r\n").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let path = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let answer = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => "250 mail.example",
            "MAIL" => {
                from = path();
                "250 OK"
            }
            "RCPT" => {
                to.push(path());
                "250 OK"
            }
            "DATA" => {
                stream.write_all(b"354 Go on\r\n").await?;
                let text = unfolded(&message(&mut stream).await?);
                kept.lock().unwrap().push(Received { from: from.clone(), to: std::mem::take(&mut to), text });
                "250 Taken"
            }
            "QUIT" => {
                stream.write_all(b"221 Bye\r\n").await?;
                return Ok(());
            }
            "RSET" | "NOOP" => "250 OK",
            _ => "502 Not here",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

async fn message(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line.trim_end() == "." {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

/// Undoes quoted-printable, as far as ASCII needs it.
fn unfolded(text: &str) -> String {
    if !text.contains("quoted-printable") {
        return text.to_owned();
    }
    text.replace("=\r\n", "").replace("=3D", "=")
}
