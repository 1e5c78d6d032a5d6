//! Chunks of a body (RFC 9112 §7.1).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

/// Longest line with a chunk's size, extensions included.
const LONGEST_LINE: usize = 4096;
/// Most bytes and fields of trailers.
const LONGEST_TRAILERS: usize = 16 * 1024;
const MOST_TRAILERS: usize = 100;

/// Why bytes are no chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk of the body is malformed")]
pub(crate) struct ChunkError;

/// What comes next in a chunked body.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    Data(Bytes),
    /// The end, with trailers or without.
    End(Option<HeaderMap>),
}

/// Where in a chunked body the next byte belongs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Chunks {
    /// A line with a chunk's size.
    #[default]
    Size,
    /// So many bytes of a chunk are left.
    Data(u64),
    /// The line's end behind a chunk.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
}

impl Chunks {
    /// Takes what there is of the body from `read`; nothing if more must be read first.
    ///
    /// # Errors
    /// When these are no chunks, or lines or trailers have no end.
    pub(crate) fn next(&mut self, read: &mut BytesMut) -> Result<Option<Piece>, ChunkError> {
        loop {
            match *self {
                Self::Size => {
                    let line = read.get(..read.len().min(LONGEST_LINE)).unwrap_or_default();
                    let Some(end) = memchr(b'\n', line) else {
                        return if line.len() < LONGEST_LINE { Ok(None) } else { Err(ChunkError) };
                    };
                    let size = size(line.get(..end).unwrap_or_default()).ok_or(ChunkError)?;
                    read.advance(end + 1);
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(left) => {
                    if read.is_empty() {
                        return Ok(None);
                    }
                    let here = usize::try_from(left).map_or(read.len(), |left| left.min(read.len()));
                    let left = left.saturating_sub(here.try_into().unwrap_or(left));
                    *self = if left == 0 { Self::DataEnd } else { Self::Data(left) };
                    return Ok(Some(Piece::Data(read.split_to(here).freeze())));
                }
                Self::DataEnd => {
                    match (read.first(), read.get(1)) {
                        (Some(b'\r'), Some(b'\n')) => {}
                        (None, _) | (Some(b'\r'), None) => return Ok(None),
                        _ => return Err(ChunkError),
                    }
                    read.advance(2);
                    *self = Self::Size;
                }
                Self::Trailers => {
                    let mut fields = [httparse::EMPTY_HEADER; MOST_TRAILERS];
                    let (length, fields) = match httparse::parse_headers(read, &mut fields) {
                        Ok(httparse::Status::Complete((length, fields))) if length <= LONGEST_TRAILERS => {
                            (length, trailers(fields)?)
                        }
                        Ok(httparse::Status::Partial) if read.len() < LONGEST_TRAILERS => return Ok(None),
                        _ => return Err(ChunkError),
                    };
                    read.advance(length);
                    return Ok(Some(Piece::End(fields)));
                }
            }
        }
    }
}

/// The size in a line, without its LF.
fn size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r")?;
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    // Sixteen digits could overflow what others count with.
    if digits.is_empty() || digits.len() > 15 || line.contains(&b'\r') {
        return None;
    }
    digits.iter().try_fold(0, |size: u64, digit| Some(size * 16 + u64::from(char::from(*digit).to_digit(16)?)))
}

fn trailers(fields: &[httparse::Header<'_>]) -> Result<Option<HeaderMap>, ChunkError> {
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| ChunkError)?;
        trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| ChunkError)?);
    }
    Ok((!trailers.is_empty()).then_some(trailers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a body that comes in pieces of `step` bytes: what it holds, its trailers, what is left behind it.
    fn read(text: &str, step: usize) -> Result<(Vec<u8>, Option<HeaderMap>, BytesMut), ChunkError> {
        let (mut read, mut chunks, mut body) = (BytesMut::new(), Chunks::default(), Vec::new());
        let mut pieces = text.as_bytes().chunks(step);
        loop {
            match chunks.next(&mut read)? {
                Some(Piece::Data(data)) => body.extend_from_slice(&data),
                Some(Piece::End(trailers)) => return Ok((body, trailers, read)),
                None => match pieces.next() {
                    Some(piece) => read.extend_from_slice(piece),
                    None => return Err(ChunkError),
                },
            }
        }
    }

    /// PX-281: chunks are put together whatever pieces they come in, trailers included, and not a byte more is taken.
    #[test]
    fn px_281_chunks_are_put_together() {
        let text = "4\r\na\r\nb\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\nGrpc-Status: 0\r\n\r\n";
        for step in 1..=text.len() {
            let (body, trailers, rest) = read(text, step).unwrap();
            assert_eq!((body.as_slice(), rest.is_empty()), (&b"a\r\nb0123456789"[..], true), "{step}");
            assert_eq!(trailers.unwrap()["grpc-status"], "0");
        }
        let (body, trailers, rest) = read("1 \r\nx\r\n000\r\n\r\nHTTP/1.1", 64).unwrap();
        assert_eq!((body.as_slice(), trailers, &rest[..]), (&b"x"[..], None, &b"HTTP/1.1"[..]));
    }

    /// PX-281: what is no chunk breaks the body off, and so does what has no end.
    #[test]
    fn px_281_what_is_no_chunk_breaks_off() {
        for text in [
            "\r\n",
            "x\r\n",
            "-1\r\nx\r\n0\r\n\r\n",
            "+1\r\nx\r\n0\r\n\r\n",
            "1\nx\r\n0\r\n\r\n",
            "1\r\nxy\r\n0\r\n\r\n",
            "1\r\nx\n0\r\n\r\n",
            "1\r;\r\nx\r\n0\r\n\r\n",
            "0000000000000001\r\nx\r\n0\r\n\r\n",
            "ffffffffffffffff\r\nx",
            "0\r\nA b: c\r\n\r\n",
            &format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(LONGEST_LINE)),
            &format!("0\r\n{}\r\n", "A: b\r\n".repeat(MOST_TRAILERS + 1)),
            &format!("0\r\nA: {}\r\n\r\n", "b".repeat(LONGEST_TRAILERS)),
        ] {
            assert!(read(text, 512).is_err(), "{text}");
        }
    }

    proptest! {
        /// PX-281: no bytes make the reader panic, or read for ever.
        #[test]
        fn px_281_any_bytes_come_to_an_end(text in "[0-9a-f;\r\n x]{0,64}", step in 1_usize..9) {
            let _ = read(&text, step);
        }
    }
}
