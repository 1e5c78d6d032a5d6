//! An answer's body, as it is read from a connection.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use http_body::SizeHint;

use super::chunks::{ChunkError, Chunks, Piece};
use super::head::{Answered, Framing};

/// What is left of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Received {
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// All until the connection ends.
    UntilClose,
    /// Nothing.
    Over,
}

/// What comes next in a body.
#[derive(Debug)]
pub(crate) enum Next {
    Data(Bytes),
    /// The end, with trailers or without.
    End(Option<HeaderMap>),
    /// More must be read first.
    Read,
}

impl Received {
    /// The body of an answer to a request of this method (RFC 9112 §6.3).
    pub(crate) fn of(answered: &Answered, method: &Method) -> Self {
        if *method == Method::HEAD || matches!(answered.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Self::Over;
        }
        match answered.framing {
            Framing::Length(0) => Self::Over,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::Close => Self::UntilClose,
        }
    }

    /// Takes what there is of the body from `read`.
    ///
    /// # Errors
    /// When its chunks are malformed.
    pub(crate) fn next(&mut self, read: &mut BytesMut) -> Result<Next, ChunkError> {
        match self {
            Self::Over => Ok(Next::End(None)),
            _ if read.is_empty() => Ok(Next::Read),
            Self::UntilClose => Ok(Next::Data(read.split().freeze())),
            Self::Length(left) => {
                let here = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
                *left = left.saturating_sub(here.try_into().unwrap_or(*left));
                if *left == 0 {
                    *self = Self::Over;
                }
                Ok(Next::Data(read.split_to(here).freeze()))
            }
            Self::Chunked(chunks) => match chunks.next(read)? {
                None => Ok(Next::Read),
                Some(Piece::Data(data)) => Ok(Next::Data(data)),
                Some(Piece::End(trailers)) => {
                    *self = Self::Over;
                    Ok(Next::End(trailers))
                }
            },
        }
    }

    /// So many bytes of a body of known length went another way.
    pub(crate) fn skip(&mut self, count: usize) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(count.try_into().unwrap_or(u64::MAX));
            if *left == 0 {
                *self = Self::Over;
            }
        }
    }

    /// How much of it is still to come.
    pub(crate) fn size(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Over => SizeHint::with_exact(0),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }
}
