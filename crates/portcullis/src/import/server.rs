//! The API of the server that things are taken from, read only.

mod bounded;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use serde_json::Value;
use url::{Host, Url};
use zeroize::Zeroizing;

use self::bounded::Unread;
use crate::Failure;
use crate::https::Asker;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer, in bytes: a page of groups names all their members.
const LONGEST: usize = 64 * 1024 * 1024;
/// Most pages of a list.
const MOST_PAGES: u32 = 100_000;
/// Most bytes of all answers together: they are in memory at the same time.
const MOST_BYTES: usize = 1024 * 1024 * 1024;
/// Objects of a page.
const PAGE: usize = 100;
/// Most values of one answer, and of all answers together: a few bytes of text can be a hundred in memory.
const MOST_VALUES: (usize, usize) = (2_000_000, 10_000_000);

/// A server, and the token of somebody who administers it.
pub(super) struct Server {
    base: String,
    token: Zeroizing<String>,
    asker: Asker,
    /// Bytes so far.
    read: AtomicUsize,
    /// Values so far.
    values: AtomicUsize,
}

impl Server {
    /// The server at `url`. The token is read from `file`, or from `otherwise`, which the environment holds.
    ///
    /// # Errors
    /// One line when the URL is none of a server, would send the token in the clear, or there is no token.
    pub(super) fn new(url: &str, file: Option<&Path>, otherwise: Option<&str>) -> Result<Self, Failure> {
        let parsed = Url::parse(url).ok().filter(Url::has_host);
        let parsed = parsed.ok_or_else(|| format!("{url}: write it as https://id.example.com"))?;
        let is_here = match parsed.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if parsed.scheme() != "https" && !(parsed.scheme() == "http" && is_here) {
            return Err(format!("{url}: only https keeps the token secret on its way").into());
        }
        let token = match (file, otherwise) {
            (Some(file), _) => {
                fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?
            }
            (None, Some(token)) => token.to_owned(),
            (None, None) => return Err("a token is needed: --token-file, or PORTCULLIS_IMPORT_TOKEN".into()),
        };
        let base = parsed.origin().ascii_serialization() + parsed.path().trim_end_matches('/');
        Ok(Self {
            base,
            token: Zeroizing::new(token.trim().to_owned()),
            asker: Asker::new()?,
            read: AtomicUsize::new(0),
            values: AtomicUsize::new(0),
        })
    }

    /// Whether this is the server with that base URL.
    pub(super) fn is(&self, base_url: &str) -> bool {
        Url::parse(&self.base).is_ok_and(|here| Url::parse(base_url).is_ok_and(|other| here.origin() == other.origin()))
    }

    /// All objects of a list, such as `core/users/`; none when the server knows no such list.
    ///
    /// # Errors
    /// One line when the server does not answer as it should.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let mut objects = Vec::new();
        for page in 1..=MOST_PAGES {
            let with = if path.contains('?') { '&' } else { '?' };
            let address = format!("{path}{with}page={page}&page_size={PAGE}");
            let Some(mut answer) = self.get(&address).await? else {
                // Servers of other versions know fewer lists; a page that is gone is another matter.
                return if page == 1 { Ok(objects) } else { Err(format!("{path}: page {page} is gone").into()) };
            };
            objects.extend(results(path, &mut answer)?);
            match answer.pointer("/pagination/next").and_then(Value::as_u64) {
                Some(0) => return Ok(objects),
                Some(next) if next > u64::from(page) => {}
                // Whoever took this for the last page might leave things behind.
                _ => return Err(format!("{path} does not tell which page is next").into()),
            }
        }
        Err(format!("{path} does not end").into())
    }

    /// One object, or none when the token may not see it, or nobody may.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) async fn get_if_allowed(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.ask(path).await? {
            // Some servers show keys to nobody.
            (StatusCode::FORBIDDEN | StatusCode::GONE, _) => Ok(None),
            (status, body) => self.object(path, status, &body),
        }
    }

    /// One object; none when there is no such thing.
    ///
    /// # Errors
    /// One line when the server does not answer as it should.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Value>, Failure> {
        let (status, body) = self.ask(path).await?;
        self.object(path, status, &body)
    }

    /// A document outside of the API that everybody may read; none when there is no such thing.
    ///
    /// # Errors
    /// One line when the server does not answer.
    pub(super) async fn public(&self, path: &str) -> Result<Option<Value>, Failure> {
        let (status, body) = self.ask_at(&format!("{}/{path}", self.base), false).await?;
        Ok(if status == StatusCode::OK { self.json(&body)?.ok() } else { None })
    }

    fn object(&self, path: &str, status: StatusCode, body: &[u8]) -> Result<Option<Value>, Failure> {
        let address = format!("{}/api/v3/{path}", self.base);
        match status {
            StatusCode::OK => Ok(Some(self.json(body)?.map_err(|problem| format!("{address}: {problem}"))?)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(format!("{address}: the server does not take the token").into())
            }
            other => Err(format!("{address}: the server answered with status {other}").into()),
        }
    }

    /// What an answer says, or why that cannot be told.
    ///
    /// # Errors
    /// One line when it is more than can be kept beside what was read so far.
    fn json(&self, body: &[u8]) -> Result<Result<Value, Unread>, Failure> {
        let (answer, values) = bounded::read(body, MOST_VALUES.0);
        if self.values.fetch_add(values, Ordering::Relaxed) + values > MOST_VALUES.1 {
            return Err(format!("{}: more than {} values in all", self.base, MOST_VALUES.1).into());
        }
        Ok(answer)
    }

    async fn ask(&self, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        self.ask_at(&format!("{}/api/v3/{path}", self.base), true).await
    }

    async fn ask_at(&self, address: &str, with_token: bool) -> Result<(StatusCode, Bytes), Failure> {
        let mut request = Request::get(address);
        if with_token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", *self.token));
        }
        let request = request
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("Portcullis/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())?;
        let asked = tokio::time::timeout(PATIENCE, self.asker.ask(request, LONGEST)).await;
        let late = |_| format!("no answer within {} seconds", PATIENCE.as_secs());
        let (status, body) = asked.map_err(late).flatten().map_err(|problem| format!("{address}: {problem}"))?;
        let read = self.read.fetch_add(body.len(), Ordering::Relaxed) + body.len();
        if read > MOST_BYTES {
            return Err(format!("{}: more than {} MiB in all", self.base, MOST_BYTES >> 20).into());
        }
        Ok((status, body))
    }
}

/// The objects of a page, no more than were asked for.
///
/// # Errors
/// One line when there are more, or it is no page.
fn results(path: &str, page: &mut Value) -> Result<Vec<Value>, Failure> {
    let Some(Value::Array(objects)) = page.get_mut("results").map(Value::take) else {
        return Err(format!("{path} is no list at this server").into());
    };
    if objects.len() > PAGE {
        return Err(format!("{path}: a page of {} objects, where {PAGE} were asked for", objects.len()).into());
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers every question with this status.
    async fn answering(status: &'static str) -> Server {
        saying(status, "{}").await
    }

    /// A server that answers every question with this status and body.
    async fn saying(status: &'static str, body: &'static str) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let answer = head + body;
                let mut question = [0; 1024];
                // The question is one packet, and nothing in it matters.
                let _ = stream.read(&mut question).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Server::new(&url, None, Some("token")).expect("a server")
    }

    /// OA-930: a server that shows a key to nobody, as one that does not show it to this token, has it left out; other failures
    /// end the import.
    #[tokio::test]
    async fn oa_930_keys_that_nobody_sees_are_left_out() {
        for status in ["403 Forbidden", "410 Gone", "404 Not Found"] {
            let found = answering(status).await.get_if_allowed("core/tokens/x/view_key/").await;
            assert!(matches!(found, Ok(None)), "{status}: {found:?}");
        }
        assert!(answering("200 OK").await.get_if_allowed("x/").await.expect("is shown").is_some());
        for status in ["401 Unauthorized", "500 Internal Server Error"] {
            assert!(answering(status).await.get_if_allowed("x/").await.is_err(), "{status}");
        }
        assert!(answering("410 Gone").await.get("x/").await.is_err());
    }

    /// OA-930: a page has as many objects as were asked for at most, and a list has pages.
    #[test]
    fn oa_930_pages_are_as_long_as_asked_for() {
        assert_eq!(results("core/users/", &mut json!({"results": vec![1; 100]})).expect("a page").len(), 100);
        for (mut page, said) in [
            (json!({"results": vec![json!({}); 101]}), "core/users/: a page of 101 objects, where 100 were asked for"),
            (json!({"results": {}}), "core/users/ is no list at this server"),
            (json!([]), "core/users/ is no list at this server"),
        ] {
            assert_eq!(results("core/users/", &mut page).expect_err("none").to_string(), said);
        }
    }

    /// OA-930: nothing is left behind because a page does not tell which one is next.
    #[tokio::test]
    async fn oa_930_pages_tell_which_one_is_next() {
        let last = r#"{"results": [{}], "pagination": {"next": 0}}"#;
        assert_eq!(saying("200 OK", last).await.list("core/users/").await.expect("a list").len(), 1);
        let vague = [
            r#"{"results": [{}]}"#,
            r#"{"results": [{}], "pagination": {"next": null}}"#,
            r#"{"results": [{}], "pagination": {"next": "2"}}"#,
            r#"{"results": [{}], "pagination": {"next": 1}}"#,
        ];
        for answer in vague {
            let said = saying("200 OK", answer).await.list("core/users/").await.expect_err("vague").to_string();
            assert_eq!(said, "core/users/ does not tell which page is next", "{answer}");
        }
    }

    /// OA-930: all answers together hold a bounded number of values.
    #[test]
    fn oa_930_what_is_read_is_bounded() {
        let server = Server::new("http://localhost", None, Some("token")).expect("a server");
        let answer = json!({"results": vec![0; 999_997]}).to_string();
        let read = || server.json(answer.as_bytes()).map(|read| read.is_ok());
        for _ in 0..10 {
            assert!(read().expect("within bounds"));
        }
        assert!(read().expect_err("too much").to_string().contains("10000000 values in all"));
    }
}
