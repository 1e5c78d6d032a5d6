//! Asks the range service of Pwned Passwords about the beginning of a digest (CO-192).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use portcullis_idp::policies::{Answer, BreachService};

use crate::https::Asker;
use crate::settings::BaseUrl;

/// Longest wait for an answer. Somebody waits before a form meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer with its padding has some 40 KB.
const LONGEST: usize = 1024 * 1024;

/// The service at a URL.
pub(crate) struct Range {
    url: String,
    // Made when it is first needed: most instances never ask.
    asker: OnceLock<Result<Asker, String>>,
}

impl Range {
    /// The service at a URL. Nothing is asked yet.
    pub(crate) fn at(url: &BaseUrl) -> Arc<dyn BreachService> {
        Arc::new(Self { url: url.as_str().to_owned(), asker: OnceLock::new() })
    }

    async fn ask(&self, prefix: &str) -> Result<String, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let request = Request::get(format!("{}/{prefix}", self.url))
            .header("Add-Padding", HeaderValue::from_static("true"))
            .header(header::USER_AGENT, concat!("Portcullis/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| text(&error))?;
        let asker = self.asker.get_or_init(Asker::new).as_ref().map_err(Clone::clone)?;
        match asker.ask(request, LONGEST).await? {
            (StatusCode::OK, body) => String::from_utf8(body.into()).map_err(|error| text(&error)),
            (status, _) => Err(format!("status {status}")),
        }
    }
}

impl BreachService for Range {
    fn range<'a>(&'a self, prefix: &'a str) -> Answer<'a, String, String> {
        Box::pin(async move {
            match tokio::time::timeout(PATIENCE, self.ask(prefix)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {} seconds", PATIENCE.as_secs())),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Asks a server that gives this answer: what comes back, and what it was sent.
    async fn asked(answer: &'static str) -> (Result<String, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let url = format!("http://{}/range/", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a byte"));
            }
            stream.write_all(answer.as_bytes()).await.expect("is taken");
            String::from_utf8(head).expect("text")
        });
        let service = Range::at(&BaseUrl::read(&url).expect("a URL"));
        let found = service.range("5BAA6").await;
        (found, server.await.expect("ends").to_ascii_lowercase())
    }

    /// CO-192: five hex digits are asked for, with padding; anything but a good answer is a failure.
    #[tokio::test]
    async fn co_192_the_range_service_is_asked() {
        let (found, head) = asked("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nABC:7").await;
        assert_eq!(found.as_deref(), Ok("ABC:7"));
        assert!(head.starts_with("get /range/5baa6 http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nadd-padding: true\r\n"), "{head}");
        for bad in [
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nABC:7",
            "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nABC:7",
            "nonsense\r\n\r\n",
        ] {
            assert!(asked(bad).await.0.is_err(), "{bad}");
        }
    }
}
