//! Fields of an answer that are handed on as they came.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portcullis_core::cookie;

use super::head::{Framing, number};

/// Runs of lines that an answer's fields are handed on in. One field that ends here parts two of them.
const MOST_RUNS: usize = 4;

/// What an answer says of who made it, when that is us (PX-291).
const POWERED_BY: &[u8] = b"X-Powered-By: goauthentik.io\r\n";

/// Where runs of whole lines start and end; in the last place, the line with `X-Powered-By`. Places that are not used
/// are empty.
type Runs = [[u16; 2]; MOST_RUNS + 1];

/// Names in another case that are changed where they are.
const MOST_UNTITLED: usize = 32;

/// The fields of an answer in the upstream's own bytes, names in title case, without those that are meant for one hop alone (PX-222).
///
/// An answer that says nothing that has to be looked at more closely keeps its lines: taking them apart and writing
/// them anew would cost more than all the rest of it.
#[derive(Debug)]
pub(crate) struct Came {
    head: Bytes,
    runs: Runs,
    /// Whether what the upstream says of itself is replaced by what we say of us.
    powered_by_us: bool,
    pub(crate) has_date: bool,
}

/// What the fields of a head say that can be handed on as it came.
pub(super) struct Plain {
    runs: Runs,
    has_date: bool,
    /// Where lines start whose names might not be in title case.
    untitled: [u16; MOST_UNTITLED],
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
}

impl Plain {
    /// Looks at the fields of a head, which are parts of it; nothing if one of them has to be taken apart.
    pub(super) fn of(head: &[u8], fields: &[httparse::Header<'_>], status: StatusCode, is_1_1: bool) -> Option<Self> {
        let start = head.as_ptr().addr();
        let begin = |field: &httparse::Header<'_>| field.name.as_ptr().addr().wrapping_sub(start);
        // The empty line is none of theirs.
        let end = head.len().checked_sub(2)?;
        let (mut runs, mut run, mut powered_by) = ([[0; 2]; MOST_RUNS], 0, [0; 2]);
        let (mut untitled, mut left) = ([0; MOST_UNTITLED], 0..MOST_UNTITLED);
        let (mut has_date, mut keep_alive) = (false, is_1_1);
        let (mut closes, mut length, mut chunked) = (false, None, false);
        for (at, field) in fields.iter().enumerate() {
            let (begins, ends) = (begin(field), fields.get(at + 1).map_or(end, begin));
            let line = [u16::try_from(begins).ok()?, u16::try_from(ends).ok()?];
            if !head.get(..ends)?.ends_with(b"\r\n") {
                return None;
            }
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            let stays = match field.name.len() {
                4 => {
                    has_date |= is("date");
                    true
                }
                2 => !is("te"),
                7 => !is("upgrade"),
                10 if is("connection") => {
                    for token in field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                        match token {
                            _ if token.eq_ignore_ascii_case(b"close") => closes = true,
                            _ if token.eq_ignore_ascii_case(b"keep-alive") => keep_alive = true,
                            // It names other fields.
                            _ => return None,
                        }
                    }
                    false
                }
                10 if is("set-cookie") && cookie::sets_ours(field.value) => return None,
                10 => !is("keep-alive"),
                12 if is("x-powered-by") => {
                    if powered_by != [0; 2] {
                        return None;
                    }
                    powered_by = line;
                    false
                }
                14 if is("content-length") => {
                    // Not `010`, which some read as eight.
                    let is_plain = field.value == b"0" || field.value.first() != Some(&b'0');
                    let is_first = length.replace(number(field.value)?).is_none();
                    if !is_plain || !is_first || status == StatusCode::NO_CONTENT {
                        return None;
                    }
                    true
                }
                14 => !is("http2-settings"),
                16 => !is("proxy-connection"),
                17 if is("transfer-encoding") => {
                    if chunked || !is_1_1 || !field.value.eq_ignore_ascii_case(b"chunked") {
                        return None;
                    }
                    chunked = true;
                    false
                }
                18 => !is("proxy-authenticate"),
                19 => !is("proxy-authorization"),
                _ => true,
            };
            if !is_titled(field.name) {
                *untitled.get_mut(left.next()?)? = line[0];
            }
            if !stays {
                continue;
            }
            let present = runs.get_mut(run)?;
            if present[1] == line[0] {
                present[1] = line[1];
            } else if *present == [0; 2] {
                *present = line;
            } else {
                run += 1;
                *runs.get_mut(run)? = line;
            }
        }
        let [a, b, c, d] = runs;
        let framing = match (length, chunked) {
            (None, false) => Framing::Close,
            (Some(length), false) => Framing::Length(length),
            (None, true) => Framing::Chunked,
            (Some(_), true) => return None,
        };
        let runs = [a, b, c, d, powered_by];
        Some(Self { runs, has_date, untitled, framing, keep_alive: keep_alive && !closes })
    }

    /// The fields, with names in title case (PX-201); `head` holds the bytes that were looked at.
    pub(super) fn came(&self, mut head: BytesMut) -> Came {
        for line in self.untitled.iter().take_while(|line| **line > 0) {
            title(head.get_mut(usize::from(*line)..).unwrap_or_default());
        }
        Came { head: head.freeze(), runs: self.runs, powered_by_us: false, has_date: self.has_date }
    }
}

fn places(runs: &Runs) -> impl Iterator<Item = [usize; 2]> {
    runs.iter().filter(|[begins, ends]| begins < ends).map(|place| place.map(usize::from))
}

/// Whether a name is in title case for sure: one of those that nearly all answers have.
fn is_titled(name: &str) -> bool {
    matches!(
        name,
        "Accept-Ranges"
            | "Cache-Control"
            | "Content-Encoding"
            | "Content-Length"
            | "Content-Type"
            | "Date"
            | "Expires"
            | "Last-Modified"
            | "Location"
            | "Server"
            | "Set-Cookie"
            | "Vary"
    )
}

/// Puts the name at the beginning of a line into title case.
fn title(line: &mut [u8]) {
    let mut begins = true;
    for byte in line {
        match byte {
            b':' => return,
            _ if begins => byte.make_ascii_uppercase(),
            _ => byte.make_ascii_lowercase(),
        }
        begins = *byte == b'-';
    }
}

impl Came {
    /// Says who we are in the place of what the upstream says of itself.
    pub(crate) fn powered_by_us(&mut self) {
        let [.., powered_by] = &mut self.runs;
        *powered_by = [0; 2];
        self.powered_by_us = true;
    }

    /// Lines, whole ones.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let came = places(&self.runs).map(|[begins, ends]| self.head.get(begins..ends).unwrap_or_default());
        came.chain(self.powered_by_us.then_some(POWERED_BY))
    }

    /// Adds the fields to others, for whoever needs them taken apart.
    pub(crate) fn add_to(&self, fields: &mut HeaderMap) {
        let came = places(&self.runs).map(|[begins, ends]| self.head.slice(begins..ends.min(self.head.len())));
        for mut lines in came.chain(self.powered_by_us.then_some(Bytes::from_static(POWERED_BY))) {
            while let Some(end) = memchr::memchr(b'\n', &lines) {
                let line = lines.split_to(end + 1);
                let text = line.trim_ascii();
                let colon = memchr::memchr(b':', text).unwrap_or(text.len());
                let (name, value) = text.split_at_checked(colon).unwrap_or_default();
                let value = line.slice_ref(value.strip_prefix(b":").unwrap_or_default().trim_ascii());
                let field = (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value));
                debug_assert!(field.0.is_ok() && field.1.is_ok(), "the parser takes what the map takes");
                if let (Ok(name), Ok(value)) = field {
                    fields.append(name, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Looked, read_answer};

    /// An answer's fields, and whether they are handed on as they came.
    fn read(text: &str) -> (String, HeaderMap, bool) {
        let mut answered = read_answer(&mut BytesMut::from(text), &mut Looked::default()).unwrap().unwrap();
        let lines = answered.came.iter().flat_map(Came::lines).collect::<Vec<_>>().concat();
        if let Some(came) = &answered.came {
            came.add_to(&mut answered.fields);
        }
        (String::from_utf8(lines).unwrap(), answered.fields, answered.came.is_some())
    }

    /// PX-201, PX-222: an answer that is handed on as it came has names in title case, and nothing that is meant for one
    /// hop alone.
    #[test]
    fn px_222_an_answer_is_handed_on_without_what_is_meant_for_one_hop() {
        let (lines, fields, came) = read(
            "HTTP/1.1 200 OK\r\nserver: x \r\nVary:\r\nvARY:\r\nX-ODD--1a-name:\r\nKeep-Alive: timeout=5\r\nConnection: Keep-Alive\r\nDate: d\r\nA:b\r\nX-Empty:\r\n\
             TE: x\r\nUpgrade: h2c\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nProxy-Connection: x\r\nTransfer-Encoding: Chunked\r\n\
             HTTP2-Settings: x\r\nProxy-Authenticate: Basic\r\nContent-Type: a\r\nProxy-Authorization: x\r\n\r\n0\r\n\r\n",
        );
        assert!(came);
        assert_eq!(
            lines,
            "Server: x \r\nVary:\r\nVary:\r\nX-Odd--1a-Name:\r\nDate: d\r\nA:b\r\nX-Empty:\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Type: a\r\n"
        );
        let apart: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let expected = [
            ("server", "x"),
            ("vary", ""),
            ("vary", ""),
            ("x-odd--1a-name", ""),
            ("date", "d"),
            ("a", "b"),
            ("x-empty", ""),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("content-type", "a"),
        ];
        assert_eq!(apart, expected);
        // None of several fields that end here is kept.
        let (lines, ..) = read("HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: x\r\n\r\n");
        assert_eq!(lines, "");
    }

    /// PX-291: what the upstream says of itself can be replaced by what we say of us.
    #[test]
    fn px_291_what_an_upstream_says_of_itself_can_be_replaced() {
        let text = "HTTP/1.1 200 OK\r\nA: b\r\nx-powered-by: PHP\r\nC: d\r\nContent-Length: 0\r\n\r\n";
        let mut answered = read_answer(&mut BytesMut::from(text), &mut Looked::default()).unwrap().unwrap();
        let mut came = answered.came.take().unwrap();
        let lines = |came: &Came| String::from_utf8(came.lines().collect::<Vec<_>>().concat()).unwrap();
        assert_eq!(lines(&came), "A: b\r\nC: d\r\nContent-Length: 0\r\nX-Powered-By: PHP\r\n");
        came.powered_by_us();
        assert_eq!(lines(&came), "A: b\r\nC: d\r\nContent-Length: 0\r\nX-Powered-By: goauthentik.io\r\n");
        came.add_to(&mut answered.fields);
        let said = &answered.fields["x-powered-by"];
        assert_eq!((answered.fields.len(), said.as_bytes()), (4, &b"goauthentik.io"[..]));
    }

    /// PX-178, PX-222, PX-281: an answer with a field that has to be looked at is taken apart.
    #[test]
    fn px_281_an_answer_that_has_to_be_looked_at_is_taken_apart() {
        for fields in [
            "Connection: X-Secret\r\n",
            "Set-Cookie: authentik_proxy_1=x\r\n",
            "Content-Length: 010\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "X-Powered-By: a\r\nX-Powered-By: b\r\n",
            "A: b\n",
            "A: b\r\nTE: x\r\nA: b\r\nTE: x\r\nA: b\r\nTE: x\r\nA: b\r\nTE: x\r\nA: b\r\n",
            &format!("A: {}\r\n", "b".repeat(70_000)),
        ] {
            assert!(!read(&format!("HTTP/1.1 200 OK\r\nB: c\r\n{fields}\r\n")).2, "{fields}");
        }
        assert!(!read("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").2);
        assert!(!read("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n").2);
        assert!(read("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n").2);
    }
}
