//! The PROXY protocol, versions 1 and 2: a balancer that carries bytes says first whose they are (PX-041).
//!
//! The header is optional, so whatever does not begin like one is left alone. What was read to find that out is given
//! back by [`Replay`], which is also what stands behind a header.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::splice::{Pipe, Sink};

const V1: &[u8] = b"PROXY ";
/// The longest line that version 1 can make.
const V1_LONGEST: usize = 107;
const V2: &[u8] = v2::PROTOCOL_PREFIX;
/// Signature, version and command, family and protocol, length.
const V2_HEAD: usize = 16;
/// Most bytes behind the head of version 2. Addresses take at most 216; what follows them is of no use to us.
const V2_LONGEST: usize = 4096;

/// A request's head mostly fits, and is then read with one call as if nothing had been looked for.
const ROOM: usize = 2048;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// No header, or a malformed one, which is no HTTP either.
    Ordinary,
    /// Perhaps a header; the next byte may tell.
    Partial,
    /// A header of so many bytes, and the address in it, if it tells one.
    Header(usize, Option<IpAddr>),
}

/// Takes the header off a stream. The address is none without a header, and where the balancer speaks for itself
/// (`LOCAL`) or does not know (`UNKNOWN`, a socket that is no network's).
pub(super) async fn take<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Replay<S>, Option<IpAddr>)> {
    let mut read = BytesMut::with_capacity(ROOM);
    loop {
        // The end of the stream is for whoever reads it next.
        if stream.read_buf(&mut read).await? == 0 {
            return Ok((Replay { stream, read: read.freeze() }, None));
        }
        match beginning(&read) {
            Beginning::Partial => {}
            Beginning::Ordinary => return Ok((Replay { stream, read: read.freeze() }, None)),
            Beginning::Header(length, source) => {
                read.advance(length);
                return Ok((Replay { stream, read: read.freeze() }, source));
            }
        }
    }
}

fn beginning(read: &[u8]) -> Beginning {
    if begins(read, V2) {
        v2_beginning(read)
    } else if begins(read, V1) {
        v1_beginning(read)
    } else {
        Beginning::Ordinary
    }
}

/// Whether one is the beginning of the other.
fn begins(read: &[u8], signature: &[u8]) -> bool {
    read.iter().zip(signature).all(|(left, right)| left == right)
}

fn v1_beginning(read: &[u8]) -> Beginning {
    let Some(end) = read.iter().take(V1_LONGEST).position(|byte| *byte == b'\n') else {
        return if read.len() < V1_LONGEST { Beginning::Partial } else { Beginning::Ordinary };
    };
    let line = read.get(..=end).unwrap_or_default();
    match v1_source(line) {
        Some(source) => Beginning::Header(line.len(), source),
        None => Beginning::Ordinary,
    }
}

/// The address in a whole line; none if it is no header.
fn v1_source(line: &[u8]) -> Option<Option<IpAddr>> {
    if !line.ends_with(b"\r\n") {
        return None;
    }
    // Whatever follows is to be ignored.
    if line.strip_prefix(b"PROXY UNKNOWN").is_some_and(|rest| matches!(rest.first(), Some(b' ' | b'\r'))) {
        return Some(None);
    }
    let header = v1::Header::try_from(line).ok().filter(|header| header.header.len() == line.len())?;
    Some(match header.addresses {
        v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Unknown => None,
    })
}

fn v2_beginning(read: &[u8]) -> Beginning {
    let Some((_, [high, low])) = read.get(..V2_HEAD).and_then(<[u8]>::split_last_chunk::<2>) else {
        return Beginning::Partial;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > V2_LONGEST {
        return Beginning::Ordinary;
    }
    let Some(header) = read.get(..V2_HEAD + length) else { return Beginning::Partial };
    match v2::Header::try_from(header) {
        Ok(header) => Beginning::Header(V2_HEAD + length, v2_source(&header)),
        Err(_) => Beginning::Ordinary,
    }
}

fn v2_source(header: &v2::Header<'_>) -> Option<IpAddr> {
    match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => Some(addresses.source_address.into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => Some(addresses.source_address.into()),
        (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
    }
}

/// A stream of which something was read already.
pub(super) struct Replay<S> {
    stream: S,
    read: Bytes,
}

impl<S> Replay<S> {
    /// A stream of which nothing was read.
    pub(super) const fn nothing(stream: S) -> Self {
        Self { stream, read: Bytes::new() }
    }

    /// A stream of which this was read.
    pub(super) const fn behind(read: Bytes, stream: S) -> Self {
        Self { stream, read }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read.split_to(count));
        if self.read.is_empty() {
            // An empty part still holds what it is a part of.
            self.read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Sink> Sink for Replay<S> {
    fn splices(&self) -> bool {
        self.stream.splices()
    }

    fn poll_splice(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<()>> {
        self.stream.poll_splice(cx, pipe)
    }
}

#[cfg(test)]
mod tests;
