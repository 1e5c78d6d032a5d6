//! Where one message ends and the next begins, by RFC 9112, strictly.

use memchr::memchr3;

use super::Progress;

/// What the bytes just read are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Well-framed so far.
    Sound,
    /// The head is broken; the first so many bytes were still good.
    BrokenHead(usize),
    /// Something else is broken.
    Broken,
}

/// Where in a message the next byte belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before a request line; empty lines may precede it.
    #[default]
    Start,
    StartLf,
    RequestLine,
    RequestLineLf,
    /// At the start of a field line, in a head or in trailers.
    FieldStart,
    FieldName,
    FieldValue,
    FieldLf,
    /// After the CR of the empty line that ends a head or trailers.
    EndLf,
    /// So many bytes of the body are left.
    Body(u64),
    /// So many digits of a chunk's size were read.
    ChunkSize(u8),
    /// The extension may have so many bytes more.
    ChunkExtension(u16),
    ChunkSizeLf,
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    /// A request with `Upgrade` is at hand: nothing may follow until it is answered.
    AwaitsUpgrade,
    Tunnel,
    /// So many bytes of what an HTTP/2 client says first are left; its own parser frames all that follows.
    Preface(u8),
}

/// Which fields decide about framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Plain,
    ContentLength,
    TransferEncoding,
    Upgrade,
}

/// Progress within the value of a framing field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Value {
    #[default]
    Before,
    Inside(u8),
    After,
}

const CHUNKED: &[u8] = b"chunked";
/// Longer than any field name that matters here.
const NAME: usize = 18;
/// A chunk extension longer than this has no honest reason.
const EXTENSION: u16 = 4096;

/// The framing of one connection's requests.
#[derive(Debug, Default)]
pub(super) struct Frame {
    place: Place,
    /// The present name, when it came in pieces.
    name: [u8; NAME],
    name_length: usize,
    field: Field,
    value: Value,
    content_length: Option<u64>,
    chunked: bool,
    /// Size of the present chunk.
    chunk: u64,
    upgrade: bool,
    in_trailers: bool,
    /// Heads that were read as a whole; wraps around.
    heads: u32,
}

/// Bytes that every HTTP/2 client begins with (RFC 9113 §3.4).
const PREFACE: u8 = 24;

impl Frame {
    /// The framing of an HTTP/2 connection, of which only the beginning is looked at.
    pub(super) fn http2() -> Self {
        Self { place: Place::Preface(PREFACE), ..Self::default() }
    }

    pub(super) fn in_head(&self) -> bool {
        !self.in_trailers
            && matches!(
                self.place,
                Place::StartLf
                    | Place::RequestLine
                    | Place::RequestLineLf
                    | Place::FieldStart
                    | Place::FieldName
                    | Place::FieldValue
                    | Place::FieldLf
                    | Place::EndLf
                    | Place::Preface(_)
            )
    }

    pub(super) fn heads(&self) -> u32 {
        self.heads
    }

    pub(super) fn between_requests(&self) -> bool {
        self.place == Place::Start
    }

    pub(super) fn awaits_upgrade(&self) -> bool {
        self.place == Place::AwaitsUpgrade
    }

    /// The request with `Upgrade` was answered.
    pub(super) fn upgraded(&mut self, switched: bool) {
        self.place = if switched { Place::Tunnel } else { Place::Start };
    }

    /// Follows the message through `bytes`.
    pub(super) fn read(&mut self, bytes: &[u8], progress: &Progress) -> Verdict {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let in_head = self.in_head() || self.between_requests();
            match self.step(rest, progress) {
                // An upgrade and more behind it: spoil the head's last byte, if it is at hand.
                Some(used) if self.awaits_upgrade() && used < rest.len() => {
                    return if in_head { Verdict::BrokenHead(at + used - 1) } else { Verdict::Broken };
                }
                Some(used) => at += used,
                None if in_head => return Verdict::BrokenHead(at),
                None => return Verdict::Broken,
            }
        }
        Verdict::Sound
    }

    /// Takes at least one byte and says how many; none if they cannot be.
    ///
    /// In a head, the bytes of the refused step are not passed on: they must leave the parser without
    /// a complete head, and every step ends at latest with the LF that completes one.
    fn step(&mut self, rest: &[u8], progress: &Progress) -> Option<usize> {
        let &first = rest.first()?;
        let (used, place) = match self.place {
            Place::Start => match first {
                b'\r' => (1, Place::StartLf),
                byte if byte.is_ascii_graphic() => {
                    self.begin();
                    (1, Place::RequestLine)
                }
                _ => return None,
            },
            Place::StartLf if first == b'\n' => (1, Place::Start),
            Place::RequestLine => line(rest, Place::RequestLine, Place::RequestLineLf)?,
            Place::RequestLineLf | Place::FieldLf if first == b'\n' => (1, Place::FieldStart),
            Place::FieldStart if first == b'\r' => (1, Place::EndLf),
            Place::FieldStart | Place::FieldName => self.field_name(rest)?,
            Place::FieldValue if self.field == Field::Plain || self.field == Field::Upgrade => {
                line(rest, Place::FieldValue, Place::FieldLf)?
            }
            Place::FieldValue => (1, self.framing_value(first)?),
            Place::EndLf if first == b'\n' => (1, self.end_of_fields(progress)?),
            Place::Body(left) => match count(rest, left) {
                (used, 0) => (used, self.end_of_message()),
                (used, left) => (used, Place::Body(left)),
            },
            Place::ChunkSize(digits) => (1, self.chunk_size(first, digits)?),
            Place::ChunkExtension(_) if first == b'\r' => (1, Place::ChunkSizeLf),
            Place::ChunkExtension(left) if left > 0 && (first >= b' ' || first == b'\t') && first != 0x7f => {
                (1, Place::ChunkExtension(left - 1))
            }
            Place::ChunkSizeLf if first == b'\n' && self.chunk == 0 => {
                self.in_trailers = true;
                (1, Place::FieldStart)
            }
            Place::ChunkSizeLf if first == b'\n' => (1, Place::Chunk(self.chunk)),
            Place::Chunk(left) => match count(rest, left) {
                (used, 0) => (used, Place::ChunkCr),
                (used, left) => (used, Place::Chunk(left)),
            },
            Place::ChunkCr if first == b'\r' => (1, Place::ChunkLf),
            Place::ChunkLf if first == b'\n' => (1, self.next_chunk()),
            Place::Tunnel => (rest.len(), Place::Tunnel),
            // What is no preface is refused by the parser of HTTP/2.
            Place::Preface(left) => match rest.len() {
                some if some < usize::from(left) => (some, Place::Preface(left - u8::try_from(some).unwrap_or(left))),
                all => (all, Place::Tunnel),
            },
            Place::StartLf
            | Place::RequestLineLf
            | Place::FieldLf
            | Place::EndLf
            | Place::ChunkExtension(_)
            | Place::ChunkSizeLf
            | Place::ChunkCr
            | Place::ChunkLf
            | Place::AwaitsUpgrade => return None,
        };
        self.place = place;
        Some(used)
    }

    fn begin(&mut self) {
        *self = Self { heads: self.heads, ..Self::default() };
    }

    fn field_name(&mut self, rest: &[u8]) -> Option<(usize, Place)> {
        let end = rest.iter().position(|&byte| !is_token(byte));
        let piece = end.map_or(rest, |end| rest.get(..end).unwrap_or_default());
        let whole = self.name_length == 0 && end.is_some();
        if !whole {
            for &byte in piece {
                if let Some(place) = self.name.get_mut(self.name_length) {
                    *place = byte;
                    self.name_length += 1;
                }
            }
        }
        let Some(end) = end else { return Some((rest.len(), Place::FieldName)) };
        let name = if whole { piece } else { self.name.get(..self.name_length)? };
        // No name: an empty one, or a line that starts with a space (RFC 9112 §5.2). Nothing may
        // stand between name and colon (§5.1).
        if name.is_empty() || rest.get(end) != Some(&b':') {
            return None;
        }
        self.field = match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => Field::Upgrade,
            14 if name.eq_ignore_ascii_case(b"content-length") => Field::ContentLength,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => Field::TransferEncoding,
            _ => Field::Plain,
        };
        self.name_length = 0;
        self.value = Value::Before;
        match self.field {
            Field::Plain => {}
            Field::Upgrade => self.upgrade |= !self.in_trailers,
            // Once, in the head, and never both (RFC 9112 §6.3).
            Field::ContentLength | Field::TransferEncoding => {
                if self.in_trailers || self.content_length.is_some() || self.chunked {
                    return None;
                }
            }
        }
        Some((end + 1, Place::FieldValue))
    }

    /// One byte of `Content-Length` or `Transfer-Encoding`: a number, or `chunked`, and nothing else.
    fn framing_value(&mut self, byte: u8) -> Option<Place> {
        let complete = match (self.field, self.value) {
            (_, Value::Before) => false,
            (Field::TransferEncoding, Value::Inside(letters)) => usize::from(letters) == CHUNKED.len(),
            _ => true,
        };
        self.value = match (byte, self.value) {
            (b'\r', _) if complete => {
                self.chunked |= self.field == Field::TransferEncoding;
                return Some(Place::FieldLf);
            }
            (b' ' | b'\t', Value::Before) => Value::Before,
            (b' ' | b'\t', _) if complete => Value::After,
            (b'0'..=b'9', Value::Before | Value::Inside(_)) if self.field == Field::ContentLength => {
                let length = self.content_length.unwrap_or(0).checked_mul(10)?;
                self.content_length = Some(length.checked_add(u64::from(byte - b'0'))?);
                Value::Inside(0)
            }
            (_, Value::Before) if self.field == Field::TransferEncoding && byte.eq_ignore_ascii_case(&b'c') => {
                Value::Inside(1)
            }
            (_, Value::Inside(letters))
                if self.field == Field::TransferEncoding
                    && CHUNKED.get(usize::from(letters)).is_some_and(|letter| letter.eq_ignore_ascii_case(&byte)) =>
            {
                Value::Inside(letters + 1)
            }
            _ => return None,
        };
        Some(Place::FieldValue)
    }

    fn end_of_fields(&mut self, progress: &Progress) -> Option<Place> {
        if self.in_trailers {
            self.in_trailers = false;
            return Some(self.end_of_message());
        }
        if self.chunked && self.content_length.is_some() {
            return None;
        }
        self.heads = self.heads.wrapping_add(1);
        progress.begin(self.upgrade);
        Some(match self.content_length {
            _ if self.chunked => self.next_chunk(),
            Some(length) if length > 0 => Place::Body(length),
            _ => self.end_of_message(),
        })
    }

    fn end_of_message(&self) -> Place {
        if self.upgrade { Place::AwaitsUpgrade } else { Place::Start }
    }

    fn next_chunk(&mut self) -> Place {
        self.chunk = 0;
        Place::ChunkSize(0)
    }

    fn chunk_size(&mut self, byte: u8, digits: u8) -> Option<Place> {
        match byte {
            b'\r' if digits > 0 => Some(Place::ChunkSizeLf),
            b';' if digits > 0 => Some(Place::ChunkExtension(EXTENSION)),
            // Sixteen digits could overflow what others count with.
            _ if digits < 15 => {
                let digit = char::from(byte).to_digit(16)?;
                self.chunk = self.chunk * 16 + u64::from(digit);
                Some(Place::ChunkSize(digits + 1))
            }
            _ => None,
        }
    }
}

/// Goes to the CR that ends a line of a head; a bare LF, a CR elsewhere and NUL have no place in it.
fn line(rest: &[u8], same: Place, end: Place) -> Option<(usize, Place)> {
    match memchr3(b'\r', b'\n', 0, rest) {
        None => Some((rest.len(), same)),
        Some(at) if rest.get(at) == Some(&b'\r') => Some((at + 1, end)),
        Some(_) => None,
    }
}

/// How many of the `left` bytes are at hand, and how many are left after them.
fn count(rest: &[u8], left: u64) -> (usize, u64) {
    let used = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
    (used, left.saturating_sub(u64::try_from(used).unwrap_or(left)))
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    #[expect(clippy::indexing_slicing, reason = "evaluated when compiled; the index is below 128")]
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            table[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
            byte += 1;
        }
        table
    };
    TABLE.get(usize::from(byte)).is_some_and(|&token| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t z\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\n\0GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-LENGTH:0003 \r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\na\r\n\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "GET / HTTP/1.1\r\nX: \u{e9}\u{ff}\r\n\r\n",
    ];

    const BROKEN: &[&str] = &[
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3 3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunke\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunkedd\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
        "GET /\0 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\r\n\r\n",
        "GET / HTTP/1.1\r\n: a\r\n\r\n",
        "GET / HTTP/1.1\r\nH(st: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\n X: a\r\n\r\n",
        "\nGET / HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\nmore",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\na\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nb\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n 3\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0000000000000003\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : 3\r\n\r\n",
    ];

    /// Reads `bytes` in two pieces; where it broke, counted from the start, if it did.
    fn read_in_two(bytes: &[u8], cut: usize) -> Option<(usize, bool)> {
        let (mut frame, progress) = (Frame::default(), Progress::default());
        let (first, second) = bytes.split_at(cut);
        for (piece, offset) in [(first, 0), (second, cut)] {
            match frame.read(piece, &progress) {
                Verdict::Sound => {}
                Verdict::BrokenHead(good) => return Some((offset + good, true)),
                Verdict::Broken => return Some((offset, false)),
            }
        }
        None
    }

    /// PX-223: well-framed requests pass, however they are cut into pieces.
    #[test]
    fn px_223_sound_requests_pass_in_any_pieces() {
        for text in SOUND {
            for cut in 0..=text.len() {
                assert_eq!(read_in_two(text.as_bytes(), cut), None, "{text:?} cut at {cut}");
            }
            let (mut frame, progress) = (Frame::default(), Progress::default());
            for byte in text.as_bytes().chunks(1) {
                assert_eq!(frame.read(byte, &progress), Verdict::Sound, "{text:?}");
            }
        }
    }

    /// PX-223: doubtful framing is refused, however it is cut into pieces, and before a head is complete.
    #[test]
    fn px_223_doubtful_framing_is_refused_in_any_pieces() {
        for text in BROKEN {
            for cut in 0..=text.len() {
                let Some((good, in_head)) = read_in_two(text.as_bytes(), cut) else {
                    panic!("{text:?} cut at {cut} passed");
                };
                if in_head {
                    assert!(!text[..good].contains("\r\n\r\n"), "{text:?} cut at {cut}: the parser saw a whole head");
                }
            }
        }
    }

    /// PX-280: after an upgrade was declined the connection goes on; after it was made all bytes pass.
    #[test]
    fn px_280_the_answer_to_an_upgrade_decides_what_follows() {
        let ask = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        for (switched, next, verdict) in [
            (true, &b"\0\n\0"[..], Verdict::Sound),
            (false, b"GET / HTTP/1.1\r\n\r\n", Verdict::Sound),
            (false, b"\0\n\0", Verdict::BrokenHead(0)),
        ] {
            let (mut frame, progress) = (Frame::default(), Progress::default());
            assert_eq!(frame.read(ask, &progress), Verdict::Sound);
            assert!(frame.awaits_upgrade());
            frame.upgraded(switched);
            assert_eq!(frame.read(next, &progress), verdict);
        }
    }
}
