//! Heads: read from bytes, and written to them.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};
use memchr::memchr_iter;

use super::came::{Came, Plain};
use super::spare;
use crate::body::Body;
use crate::origin::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_METHOD, X_FORWARDED_PROTO, X_FORWARDED_URI};

/// Fields that a head may have, as with hyper.
const MOST_FIELDS: usize = 100;

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    /// Not the syntax of RFC 9112 §4 and §5.
    #[error("the head is no HTTP/1.1: {0}")]
    Syntax(#[from] httparse::Error),
    /// A name or a value that no field may have.
    #[error("a field of the head is malformed")]
    Field,
    /// The end of the body could be in two places, or in none (RFC 9112 §6.3).
    #[error("the body's framing is ambiguous")]
    Framing,
}

/// What there is of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Its head is not here as a whole yet.
    Partial,
    /// It has no body, wants no other protocol, and asks for a path. Its bytes were taken. Whether the connection stays
    /// open behind it.
    Plain { stays: bool },
    /// Anything else, which hyper reads or refuses. Its bytes are where they were.
    Other,
}

/// An answer's head.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    /// Its fields, unless they can be handed on as they came.
    pub(crate) fields: HeaderMap,
    pub(crate) came: Option<Came>,
    /// What the fields say of the body; to be asked unless there can be none.
    pub(crate) framing: Framing,
    /// Whether the connection stays open behind it, if it has an end.
    pub(crate) keep_alive: bool,
}

/// Where a body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// Where its chunks say so.
    Chunked,
    /// With the connection.
    Close,
}

/// Where the fields of a head are in its bytes: starts and ends of names and values.
struct Places(Vec<[usize; 4]>);

thread_local! {
    static PLACES: RefCell<Vec<[usize; 4]>> = const { RefCell::new(Vec::new()) };
}

impl Places {
    /// Of fields whose names and values are parts of `bytes`.
    fn of(bytes: &[u8], fields: &[httparse::Header<'_>]) -> Self {
        let start = bytes.as_ptr().addr();
        let place = |part: &[u8]| {
            let begin = part.as_ptr().addr().wrapping_sub(start);
            [begin, begin.wrapping_add(part.len())]
        };
        let mut places = PLACES.take();
        places.extend(fields.iter().map(|field| {
            let ([name, name_end], [value, value_end]) = (place(field.name.as_bytes()), place(field.value));
            [name, name_end, value, value_end]
        }));
        Self(places)
    }

    /// The fields, whose values share the bytes of `head`, and which of those that matter here are among them.
    fn fields(mut self, head: &Bytes) -> Result<(HeaderMap, Present), HeadError> {
        let mut present = Present::default();
        let mut fields = spare::take();
        // A request gets some more on its way.
        fields.reserve(self.0.len() + 8);
        for [name, name_end, value, value_end] in self.0.drain(..) {
            let name = head.get(name..name_end).and_then(field_name);
            let value = if value < value_end && value_end <= head.len() {
                HeaderValue::from_maybe_shared(head.slice(value..value_end)).ok()
            } else {
                Some(HeaderValue::from_static(""))
            };
            let (Some(name), Some(value)) = (name, value) else { return Err(HeadError::Field) };
            present.note(&name);
            fields.append(name, value);
        }
        PLACES.set(self.0);
        Ok((fields, present))
    }
}

/// The name of a field.
fn field_name(name: &[u8]) -> Option<HeaderName> {
    // What proxies in front of us send with every request, and the map does not know: a new name would be one more piece
    // of memory.
    static KNOWN: [HeaderName; 5] =
        [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_FORWARDED_URI, X_FORWARDED_METHOD];
    let begins = |with: &[u8]| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let is_known = |known: &&HeaderName| name.eq_ignore_ascii_case(known.as_str().as_bytes());
    let known = if begins(b"x-forwarded-") { KNOWN.iter().find(is_known).cloned() } else { None };
    known.or_else(|| HeaderName::from_bytes(name).ok())
}

/// Fields that say how a message ends. Looking at each name once is cheaper than looking for each of these.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Present {
    pub(crate) connection: bool,
    pub(crate) content_length: bool,
    pub(crate) transfer_encoding: bool,
    pub(crate) date: bool,
}

impl Present {
    pub(crate) fn among(fields: &HeaderMap) -> Self {
        let mut present = Self::default();
        fields.keys().for_each(|name| present.note(name));
        present
    }

    fn note(&mut self, name: &HeaderName) {
        self.connection |= *name == CONNECTION;
        self.content_length |= *name == CONTENT_LENGTH;
        self.transfer_encoding |= *name == TRANSFER_ENCODING;
        self.date |= *name == DATE;
    }
}

/// How much of a head was looked at in vain. Without it, a head that comes byte by byte would be parsed as often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looked(usize);

impl Looked {
    /// Whether a head might end in what was read since.
    fn may_end(self, read: &[u8]) -> bool {
        let fresh = read.get(self.0.saturating_sub(3)..).unwrap_or_default();
        let ends =
            |at: usize| fresh.get(at + 1..).is_some_and(|rest| rest.starts_with(b"\n") || rest.starts_with(b"\r\n"));
        self.0 == 0 || memchr_iter(b'\n', fresh).any(ends)
    }
}

/// Takes the head of a plain request from `read`; of at most so many bytes, or it is hyper's to refuse. It takes the
/// place of the request before it: moving a new one about would cost more than filling this one.
pub(crate) fn read_request(
    read: &mut BytesMut,
    looked: &mut Looked,
    most: usize,
    request: &mut Request<Body>,
) -> Parsed {
    if read.is_empty() || (read.len() <= most && !looked.may_end(read)) {
        looked.0 = read.len();
        return Parsed::Partial;
    }
    looked.0 = read.len();
    let mut space = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let length = match head.parse_with_uninit_headers(read, &mut space) {
        Ok(httparse::Status::Complete(length)) if length <= most => length,
        Ok(httparse::Status::Partial) if read.len() <= most => return Parsed::Partial,
        _ => return Parsed::Other,
    };
    let (Some(method), Some(target), Some(1)) = (head.method, head.path, head.version) else { return Parsed::Other };
    if !target.starts_with('/') || head.headers.iter().any(|field| is_for_hyper(field.name)) {
        return Parsed::Other;
    }
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return Parsed::Other };
    let start = target.as_ptr().addr() - read.as_ptr().addr();
    let end = start + target.len();
    let places = Places::of(read, head.headers);
    // Followed by what was read behind it, it is whole again.
    let bytes = read.split_to(length).freeze();
    let (Ok(target), Ok((fields, present))) = (Uri::from_maybe_shared(bytes.slice(start..end)), places.fields(&bytes))
    else {
        let mut whole = BytesMut::from(bytes);
        whole.unsplit(std::mem::take(read));
        *read = whole;
        return Parsed::Other;
    };
    looked.0 = 0;
    let stays = !present.connection || keeps_alive(&fields, true);
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, target, fields);
    (*request.version_mut(), *request.body_mut()) = (Version::HTTP_11, Body::Empty);
    request.extensions_mut().clear();
    Parsed::Plain { stays }
}

/// Whether a field makes a request more than plain: a body, another protocol, trailers.
fn is_for_hyper(name: &str) -> bool {
    match name.len() {
        2 => name.eq_ignore_ascii_case("te"),
        6 => name.eq_ignore_ascii_case("expect"),
        7 => name.eq_ignore_ascii_case("upgrade"),
        14 => name.eq_ignore_ascii_case("content-length"),
        17 => name.eq_ignore_ascii_case("transfer-encoding"),
        _ => false,
    }
}

/// Takes the head of an answer from `read`; nothing if it is not here as a whole yet.
///
/// # Errors
/// When this is no answer of HTTP/1.
pub(crate) fn read_answer(read: &mut BytesMut, looked: &mut Looked) -> Result<Option<Answered>, HeadError> {
    if !looked.may_end(read) {
        looked.0 = read.len();
        return Ok(None);
    }
    looked.0 = read.len();
    let mut space = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut head = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let httparse::Status::Complete(length) = parser.parse_response_with_uninit_headers(&mut head, read, &mut space)?
    else {
        return Ok(None);
    };
    looked.0 = 0;
    let is_1_1 = head.version == Some(1);
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(HeadError::Field)?;
    let whole = read.get(..length).unwrap_or_default();
    if !status.is_informational()
        && let Some(plain) = Plain::of(whole, head.headers, status, is_1_1)
    {
        let came = Some(plain.came(read.split_to(length)));
        let (framing, keep_alive) = (plain.framing, plain.keep_alive);
        return Ok(Some(Answered { status, fields: spare::take(), came, framing, keep_alive }));
    }
    let places = Places::of(read, head.headers);
    let (mut fields, present) = places.fields(&read.split_to(length).freeze())?;
    let framing = framing(&fields, present, is_1_1)?;
    if let Framing::Length(length) = framing
        && !is_written_once(&fields, length)
    {
        // Whoever reads `5, 5` or `010` in another way would find another end.
        fields.insert(CONTENT_LENGTH, length.into());
    }
    let keep_alive = if present.connection { keeps_alive(&fields, is_1_1) } else { is_1_1 };
    Ok(Some(Answered { status, fields, came: None, framing, keep_alive }))
}

/// What the fields of an answer say about its body (RFC 9112 §6.3).
fn framing(fields: &HeaderMap, present: Present, is_1_1: bool) -> Result<Framing, HeadError> {
    if present.transfer_encoding
        && let Some(last) = fields.get_all(TRANSFER_ENCODING).iter().next_back()
    {
        // Two ends at once, or one of a version that has no chunks.
        if present.content_length || !is_1_1 {
            return Err(HeadError::Framing);
        }
        let coding = last.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
        return Ok(if coding.eq_ignore_ascii_case(b"chunked") { Framing::Chunked } else { Framing::Close });
    }
    if !present.content_length {
        return Ok(Framing::Close);
    }
    let mut all = members(fields, &CONTENT_LENGTH);
    let length = all.next().and_then(number).ok_or(HeadError::Framing)?;
    // Several are allowed when they say the same.
    if all.any(|other| number(other) != Some(length)) {
        return Err(HeadError::Framing);
    }
    Ok(Framing::Length(length))
}

/// Whether the only `Content-Length` is this number without anything around it.
fn is_written_once(fields: &HeaderMap, length: u64) -> bool {
    let digits = usize::try_from(length.checked_ilog10().unwrap_or(0)).unwrap_or_default() + 1;
    let mut values = fields.get_all(CONTENT_LENGTH).iter();
    values.next().is_some_and(|value| value.len() == digits) && values.next().is_none()
}

/// A number without a sign; none if it is none, or too large.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let append = |number: u64, byte: &u8| {
        let digit = Some(byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    };
    digits.iter().try_fold(0, append).filter(|_| !digits.is_empty())
}

/// The members of a list field. One of odd bytes does not hide the others.
pub(crate) fn members<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = fields.get_all(name).into_iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Whether the connection stays after a message with these fields (RFC 9112 §9.3).
pub(crate) fn keeps_alive(fields: &HeaderMap, is_1_1: bool) -> bool {
    let mut stays = is_1_1;
    for token in members(fields, &CONNECTION) {
        if token.eq_ignore_ascii_case(b"close") {
            return false;
        }
        stays |= token.eq_ignore_ascii_case(b"keep-alive");
    }
    stays
}

/// Writes fields with names in title case (PX-201).
pub(crate) fn write_fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        write_field(out, name, value);
    }
}

/// Writes one field with its name in title case.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    write_name(out, name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes the field that says when an answer was made.
pub(crate) fn write_today(out: &mut Vec<u8>) {
    thread_local! {
        /// The second for which the text was made.
        static TODAY: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    #[expect(clippy::disallowed_methods, reason = "of no consequence; hyper takes it from here, too")]
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    TODAY.with_borrow_mut(|(of, text)| {
        if *of != second {
            (*of, *text) = (second, httpdate::fmt_http_date(now));
        }
        for part in ["Date: ", text, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    });
}

fn write_name(out: &mut Vec<u8>, name: &[u8]) {
    let start = out.len();
    out.extend_from_slice(name);
    let mut begins = true;
    for byte in out.get_mut(start..).unwrap_or_default() {
        if begins {
            byte.make_ascii_uppercase();
        }
        begins = *byte == b'-';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> (Parsed, Request<Body>, BytesMut) {
        // Nothing of the request before it is left.
        let mut request = Request::post("http://h/old").version(Version::HTTP_2).body(Body::from("old")).unwrap();
        request.headers_mut().insert("x-old", HeaderValue::from_static("old"));
        request.extensions_mut().insert(1_u8);
        let mut read = BytesMut::from(text);
        (read_request(&mut read, &mut Looked::default(), 100_000, &mut request), request, read)
    }

    /// PX-223: only a request without a body, another protocol or anything doubtful is read here; of all others not a
    /// byte is taken.
    #[test]
    fn px_223_a_request_that_is_more_than_plain_is_left_as_it_is() {
        let (parsed, request_read, rest) = request("GET /a?b HTTP/1.1\r\nHost: h\r\nX-Empty:\r\nX:  y \r\n\r\nGET ");
        assert_eq!(parsed, Parsed::Plain { stays: true });
        assert!(request_read.extensions().is_empty() && matches!(request_read.body(), Body::Empty));
        assert_eq!(request_read.version(), Version::HTTP_11);
        assert_eq!((request_read.method(), request_read.uri().to_string().as_str()), (&Method::GET, "/a?b"));
        let fields: Vec<_> =
            request_read.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(fields, [("host", &b"h"[..]), ("x-empty", b""), ("x", b"y")]);
        assert_eq!(rest, "GET ");

        assert_eq!(request("GET / HTTP/1.1\r\nConnection: x, close\r\n\r\n").0, Parsed::Plain { stays: false });
        assert_eq!(request("GET / HTTP/1.1\r\nHost: h\r\n").0, Parsed::Partial);
        for text in ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"] {
            let parsed = read_request(&mut BytesMut::from(text), &mut Looked::default(), 20, &mut Request::default());
            assert_eq!(parsed, Parsed::Other);
        }
        for text in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "CONNECT h:80 HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-ENCODING: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nTE: trailers\r\n\r\n",
            "GET / HTTP/1.1\r\nA b: c\r\n\r\n",
            "GET /\0 HTTP/1.1\r\n\r\n",
            &format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MOST_FIELDS + 1)),
            &format!("GET /{} HTTP/1.1\r\n\r\nrest", "a".repeat(70_000)),
        ] {
            let (parsed, _, rest) = request(text);
            assert_eq!(parsed, Parsed::Other, "{text}");
            assert_eq!(rest, text);
        }
    }

    fn answer(text: &str) -> Result<Option<Answered>, HeadError> {
        read_answer(&mut BytesMut::from(text), &mut Looked::default())
    }

    /// PX-281: an answer's body ends in one place, or the answer is refused.
    #[test]
    fn px_281_an_answer_s_body_ends_in_one_place() {
        for (fields, framing, keep_alive) in [
            ("Content-Length: 5\r\n", Framing::Length(5), true),
            ("Content-Length: 5\r\nContent-Length: 5, 5\r\n", Framing::Length(5), true),
            ("Content-Length: 5\r\nConnection: x, Close\r\n", Framing::Length(5), false),
            ("Transfer-Encoding: Chunked\r\n", Framing::Chunked, true),
            ("Transfer-Encoding: gzip, chunked\r\n", Framing::Chunked, true),
            ("Transfer-Encoding: gzip\r\n", Framing::Close, true),
            ("", Framing::Close, true),
        ] {
            let answered = answer(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).unwrap().unwrap();
            assert_eq!((answered.framing, answered.keep_alive), (framing, keep_alive), "{fields}");
        }
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 6\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
        ] {
            let refused = answer(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
            assert_eq!(refused.err(), Some(HeadError::Framing), "{fields}");
        }
        for (fields, length) in [("5, 5", "5"), ("5\r\nContent-Length: 5", "5"), ("010", "10"), ("00", "0"), ("0", "0")]
        {
            let answered = answer(&format!("HTTP/1.1 200 OK\r\nContent-Length: {fields}\r\n\r\n")).unwrap().unwrap();
            let mut all = answered.fields;
            answered.came.iter().for_each(|came| came.add_to(&mut all));
            let said: Vec<_> = all.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(said, [length], "{fields}");
        }
        // HTTP/1.0 keeps a connection when it says so, and has no chunks.
        let kept = answer("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n").unwrap().unwrap();
        assert!(
            kept.keep_alive && !answer("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap().unwrap().keep_alive
        );
        assert_eq!(answer("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").err(), Some(HeadError::Framing));
        assert!(answer("HTTP/1.1 200 OK\r\nA:").unwrap().is_none());
        assert!(matches!(answer("SSH-2.0-OpenSSH\r\n"), Err(HeadError::Syntax(_))));
    }

    /// PX-283: a head that comes byte by byte is read when it is there, and looked at as a whole no earlier.
    #[test]
    fn px_283_a_head_may_come_byte_by_byte() {
        let (mut read, mut looked, mut tries) = (BytesMut::new(), Looked::default(), 0);
        let text = b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
        for (at, byte) in text.iter().enumerate() {
            read.extend_from_slice(&[*byte]);
            tries += u32::from(looked.may_end(&read));
            let parsed = read_request(&mut read, &mut looked, 100, &mut Request::default());
            assert_eq!(parsed == Parsed::Plain { stays: true }, at + 1 == text.len());
        }
        assert_eq!(tries, 2);
        for text in ["HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 200 OK\nA: b\n\r\n"] {
            let (mut read, mut looked) = (BytesMut::new(), Looked::default());
            let mut answers = text.bytes().map(|byte| {
                read.extend_from_slice(&[byte]);
                read_answer(&mut read, &mut looked).unwrap()
            });
            assert!(answers.by_ref().take(text.len() - 1).all(|none| none.is_none()));
            assert!(answers.next().unwrap().is_some(), "{text}");
        }
    }

    /// PX-201: names are written in title case, and values byte for byte.
    #[test]
    fn px_201_names_are_written_in_title_case() {
        let mut fields = HeaderMap::new();
        fields.append("x-authentik-username", HeaderValue::from_bytes("Zoë".as_bytes()).unwrap());
        fields.append("a", HeaderValue::from_static("1"));
        fields.append("a", HeaderValue::from_static("2"));
        fields.append("x--1a-b-", HeaderValue::from_static(""));
        let mut out = Vec::new();
        write_fields(&mut out, &fields);
        assert_eq!(String::from_utf8(out).unwrap(), "X-Authentik-Username: Zoë\r\nA: 1\r\nA: 2\r\nX--1a-B-: \r\n");
    }
}
