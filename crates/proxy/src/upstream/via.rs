//! Connections through a proxy of the network's (RFC 9110 §9.3.6): how outposts reach a control plane that they cannot
//! connect to (PX-380).

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

/// The longest head of an answer, in bytes.
const LONGEST: usize = 8 * 1024;

/// A proxy that opens connections to others with `CONNECT`.
#[derive(Clone)]
pub struct Via {
    host: String,
    port: u16,
    authorization: Option<String>,
}

/// Never prints the password.
impl std::fmt::Debug for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Via").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Via {
    /// Reads the URL of a proxy, such as `http://user:password@proxy.example:3128`; none if it is of another kind.
    pub fn parse(text: &str) -> Option<Self> {
        let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) }.ok()?;
        let host = url.host_str().filter(|_| url.scheme() == "http")?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let authorization = (!url.username().is_empty()).then(|| {
            let pair = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
            STANDARD.encode(pair)
        });
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self { host, port: url.port_or_known_default()?, authorization })
    }

    /// A connection to `host`, as if it were a direct one.
    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
        if let Some(authorization) = &self.authorization {
            head = format!("{head}Proxy-Authorization: Basic {authorization}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        // One byte at a time: what follows the head is for whoever uses the connection.
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
            if answer.len() > LONGEST {
                return Err(io::Error::other("the proxy answers at too great a length"));
            }
        }
        let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if answer.starts_with(b"HTTP/1.") && status.len() == 3 && status.starts_with(b"2") {
            return Ok(stream);
        }
        Err(io::Error::other(format!("the proxy answers {}", String::from_utf8_lossy(status).escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// PX-380: proxies are named by URL, with or without a scheme and credentials.
    #[test]
    fn px_380_proxies_are_named_by_url() {
        let via = Via::parse("http://ada:s%40crat@proxy.example:3128/").unwrap();
        assert_eq!((via.host.as_str(), via.port), ("proxy.example", 3128));
        assert_eq!(via.authorization, Some(STANDARD.encode("ada:s@crat")));
        assert!(!format!("{via:?}").contains(&STANDARD.encode("ada:s@crat")));
        assert_eq!(Via::parse("proxy:8080").unwrap().port, 8080);
        assert_eq!(Via::parse("http://[::1]").map(|via| (via.host, via.port)), Some(("::1".to_owned(), 80)));
        for other in ["https://proxy", "socks5://proxy:1080", "", "http://"] {
            assert!(Via::parse(other).is_none(), "{other}");
        }
    }

    /// PX-380: a connection goes through once the proxy agrees, and not one byte is lost.
    #[tokio::test]
    async fn px_380_connections_go_through_a_proxy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let answers =
            ["HTTP/1.1 200 Connection established\r\nX: y\r\n\r\nhello", "HTTP/1.1 407 No\r\n\r\n", "nonsense\r\n\r\n"];
        let proxy = tokio::spawn(async move {
            let mut heads = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
                heads.push(String::from_utf8(head).unwrap());
            }
            heads
        });
        let via = Via::parse(&format!("http://a:b@{place}")).unwrap();
        let mut through = via.connect("id.example", 443).await.unwrap();
        let mut text = String::new();
        through.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
        assert_eq!(via.connect("::1", 443).await.unwrap_err().to_string(), "the proxy answers 407");
        assert!(via.connect("id.example", 443).await.is_err());
        let heads = proxy.await.unwrap();
        let expected =
            "CONNECT id.example:443 HTTP/1.1\r\nHost: id.example:443\r\nProxy-Authorization: Basic YTpi\r\n\r\n";
        assert_eq!(heads[0], expected);
        assert!(heads[1].starts_with("CONNECT [::1]:443 "), "{}", heads[1]);
    }
}
