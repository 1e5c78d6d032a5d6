//! The lane of plain requests: those over HTTP/1.1 that have no body and ask for no other protocol.
//!
//! They are nearly all there are, and between the socket and their answer they need none of what other requests need.
//! The first request on a connection that is not plain, or not quite in order, goes to hyper with its bytes as they
//! came, and so does whatever follows it.

use std::io::{self, IoSlice, Write};
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;

use super::connection::{Answer, Way};
use super::{Plane, Settings};
use crate::body::BodyError;
use crate::http1::{Looked, Parsed, Present, give_back, keeps_alive, read_request, write_fields, write_today};
use crate::informational;
use crate::lines::Ready;
use crate::splice::{Pipe, Sink};
use crate::stages;

/// Room to read heads into.
const ROOM: usize = 8 * 1024;
/// Parts of a body that are not longer are copied, so that they share a write with what is before them.
const COPIED: usize = 4 * 1024;
/// The length of bodies that go through a pipe. Others are copied: shorter ones cost no more so, and what does not fit into a pipe
/// wakes client and upstream too often (decision 0018).
const PIPED: RangeInclusive<u64> = 24 * 1024..=72 * 1024;
/// What waits to be written at most, while there is more to copy.
const HELD: usize = 16 * 1024;

/// A connection on which a request came that is not plain.
pub(super) struct Left {
    /// What was read already, from the first byte of that request on.
    pub(super) read: Bytes,
    /// Whether it is to be the last.
    pub(super) last: bool,
}

/// Answers plain requests for as long as they come; nothing is left when the connection has ended. `over` says that the
/// present request is to be the last, and is not asked again then.
pub(super) async fn serve<S, P, F>(stream: &mut S, way: &Way<P>, over: &mut F) -> Option<Left>
where
    S: AsyncRead + AsyncWrite + Sink + Unpin,
    P: Plane,
    F: Future<Output = ()> + Unpin,
{
    let Settings { head_bytes: most, early_hints: hints, .. } = way.connection.server.settings;
    let mut lane = Lane { stream, read: BytesMut::new(), written: Vec::new(), ahead: false };
    let (mut last, mut looked) = (false, Looked::default());
    let mut request = Request::default();
    loop {
        let stays = loop {
            if lane.skip_empty_lines() {
                looked = Looked::default();
            }
            match read_request(&mut lane.read, &mut looked, most, &mut request) {
                Parsed::Plain { stays } => break stays,
                Parsed::Other => return Some(Left { read: lane.read.freeze(), last }),
                Parsed::Partial => {}
            }
            let read = std::future::poll_fn(|cx| {
                last = last || over.poll_unpin(cx).is_ready();
                if last && lane.is_between_requests() { Poll::Ready(Ok(0)) } else { lane.poll_read(cx) }
            });
            match read.await {
                Ok(0) | Err(_) if lane.is_between_requests() => {
                    lane.close().await;
                    return None;
                }
                // Broken off in the middle of a head.
                Ok(0) | Err(_) => return Some(Left { read: lane.read.freeze(), last }),
                Ok(_) => {}
            }
        };
        stages::next().await;
        let method = request.method().clone();
        let answer = {
            let mut answering = pin!(way.answer(&mut request));
            let answer = std::future::poll_fn(|cx| {
                last = last || over.poll_unpin(cx).is_ready();
                let polled = if hints {
                    informational::poll_answer(answering.as_mut(), cx, &mut lane.written)
                } else {
                    answering.as_mut().poll(cx)
                };
                match polled {
                    Poll::Ready(answer) => Poll::Ready(Some(answer)),
                    Poll::Pending if hints && lane.poll_ahead(cx).is_err() => Poll::Ready(None),
                    Poll::Pending => lane.poll_gone(cx).map(|()| None),
                }
            });
            // Whoever is gone wants no answer (PX-282).
            answer.await?
        };
        // While nothing comes, nothing is kept of what did.
        give_back(std::mem::take(request.headers_mut()));
        *request.uri_mut() = Uri::default();
        match lane.send(answer, &method, stays && !last).await {
            Ok(true) => {}
            Ok(false) => {
                lane.close().await;
                return None;
            }
            Err(error) => {
                tracing::debug!(%error, "a connection broke");
                return None;
            }
        }
    }
}

/// A connection, what was read from it ahead, and what is to be written to it.
struct Lane<'a, S> {
    stream: &'a mut S,
    read: BytesMut,
    written: Vec<u8>,
    /// Whether something that came before the answer is on its way to the client.
    ahead: bool,
}

/// How the end of an answer's body is told.
enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked,
    /// There is no body, whatever the fields say.
    None,
}

/// What comes next while an answer is sent.
enum Step {
    Frame(Option<Result<Frame<Bytes>, BodyError>>),
    /// Nothing for now: what there is goes out.
    Flush,
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Sink + Unpin> Lane<'_, S> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // What is left does for a while: the rest of the buffer may still be in use by the request at hand.
        if self.read.capacity() - self.read.len() < ROOM / 4 {
            self.read.reserve(ROOM);
        }
        poll_read_buf(Pin::new(&mut *self.stream), cx, &mut self.read)
    }

    /// Takes away the empty lines that may stand in front of a request (RFC 9112 §2.2); whether there were some.
    fn skip_empty_lines(&mut self) -> bool {
        let before = self.read.len();
        while self.read.starts_with(b"\r\n") {
            self.read.advance(2);
        }
        self.read.len() < before
    }

    /// Whether nothing of a request was read; half an empty line is nothing.
    fn is_between_requests(&self) -> bool {
        self.read.is_empty() || *self.read == b"\r"[..]
    }

    /// Ready when the client has left. Once it has sent another request ahead, that is not looked at before its turn comes:
    /// to the guard, one that is refused is the end of what there is to read.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.skip_empty_lines();
        while self.read.is_empty() {
            match ready!(self.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => self.skip_empty_lines(),
            };
        }
        Poll::Pending
    }

    /// Sends what came before the answer, as far as the client takes it now. The rest goes out with the answer.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.ahead |= !self.written.is_empty();
        if !self.ahead {
            return Ok(());
        }
        while !self.written.is_empty() {
            match Pin::new(&mut *self.stream).poll_write(cx, &self.written)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => drop(self.written.drain(..count)),
                Poll::Pending => return Ok(()),
            }
        }
        self.ahead = Pin::new(&mut *self.stream).poll_flush(cx)?.is_pending();
        Ok(())
    }

    /// Sends an answer; whether the connection stays open.
    async fn send(&mut self, answer: Response<Answer>, method: &Method, stays: bool) -> io::Result<bool> {
        let (parts, mut body) = answer.into_parts();
        let (status, mut fields) = (parts.status, parts.headers);
        let present = Present::among(&fields);
        let stays = stays && (!present.connection || keeps_alive(&fields, true));
        let exact = body.size_hint().exact();
        let ready = body.body.take_ready();
        let (mut framing, has_date) = match &ready {
            Some(Ready::Came(came)) if has_no_body(status, method) => (Framing::None, came.has_date),
            // It says itself how long its body is.
            Some(Ready::Came(came)) => (exact.map_or(Framing::Chunked, Framing::Length), came.has_date),
            _ => (frame(status, method, &mut fields, present, exact), present.date),
        };
        self.write_head(status, &fields, ready.as_ref(), &framing, stays);
        // A stream that lasts keeps no head.
        drop(ready);
        if !has_date {
            write_today(&mut self.written);
        }
        self.written.extend_from_slice(b"\r\n");
        give_back(fields);
        let mut pipes = self.stream.splices() && matches!(framing, Framing::Length(length) if PIPED.contains(&length));
        while !matches!(framing, Framing::None | Framing::Length(0)) {
            if pipes
                && body.splices()
                && let Framing::Length(left) = &mut framing
            {
                pipes = self.splice(&mut body, left).await?;
                continue;
            }
            let step = std::future::poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(frame) => Poll::Ready(Step::Frame(frame)),
                Poll::Pending if !self.written.is_empty() => Poll::Ready(Step::Flush),
                Poll::Pending => self.poll_gone(cx).map(|()| Step::Gone),
            });
            match step.await {
                Step::Flush => self.write(&[]).await?,
                Step::Gone => return Err(io::ErrorKind::ConnectionAborted.into()),
                Step::Frame(Some(Ok(frame))) => {
                    // Trailers are for clients that ask for them, which are hyper's.
                    if let Ok(data) = frame.into_data() {
                        self.send_part(&data, &mut framing).await?;
                    }
                }
                Step::Frame(Some(Err(error))) => return Err(io::Error::other(error)),
                Step::Frame(None) if matches!(framing, Framing::Chunked) => {
                    self.written.extend_from_slice(b"0\r\n\r\n");
                    framing = Framing::None;
                }
                Step::Frame(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        if !self.written.is_empty() {
            stages::next().await;
            self.write(&[]).await?;
        }
        Ok(stays)
    }

    /// Writes the first line of an answer, and its fields.
    fn write_head(
        &mut self,
        status: StatusCode,
        fields: &HeaderMap,
        finished: Option<&Ready>,
        framing: &Framing,
        stays: bool,
    ) {
        let out = &mut self.written;
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
        write_fields(out, fields);
        if let Some(finished) = finished {
            finished.write(out, fields);
        }
        if matches!(framing, Framing::Chunked) {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !stays {
            out.extend_from_slice(b"Connection: close\r\n");
        }
    }

    /// Sends one part of a body.
    async fn send_part(&mut self, data: &Bytes, framing: &mut Framing) -> io::Result<()> {
        match framing {
            Framing::Length(left) => {
                let rest = u64::try_from(data.len()).ok().and_then(|length| left.checked_sub(length));
                *left = rest.ok_or(io::ErrorKind::InvalidData)?;
            }
            // A chunk of no bytes would be the last.
            Framing::Chunked if data.is_empty() => return Ok(()),
            Framing::Chunked => write!(self.written, "{:x}\r\n", data.len())?,
            Framing::None => return Ok(()),
        }
        if data.len() <= COPIED {
            self.written.extend_from_slice(data);
            if self.written.len() >= HELD {
                self.write(&[]).await?;
            }
        } else {
            self.write(data).await?;
        }
        if matches!(framing, Framing::Chunked) {
            self.written.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Sends the rest of a body through a pipe; `false` where there is none, and something is left.
    async fn splice(&mut self, body: &mut Answer, left: &mut u64) -> io::Result<bool> {
        self.write(&[]).await?;
        let mut pipe = None;
        std::future::poll_fn(|cx| {
            loop {
                let Some(mut held) = pipe.take().or_else(Pipe::take) else { return Poll::Ready(Ok(false)) };
                // Only then is there room for sure. A full pipe looks like a connection that has nothing.
                if held.is_empty() {
                    match body.poll_fill(cx, &mut held)? {
                        Poll::Ready(count) => *left = left.saturating_sub(count.try_into().unwrap_or(u64::MAX)),
                        // While nothing comes, others can have the pipe.
                        Poll::Pending => {
                            held.give_back();
                            return self.poll_gone(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into()));
                        }
                    }
                }
                if held.is_empty() {
                    held.give_back();
                    return Poll::Ready(Ok(true));
                }
                let sent = self.stream.poll_splice(cx, &mut held);
                pipe = Some(held);
                ready!(sent)?;
            }
        })
        .await
    }

    /// Writes what waits to be written, and `more` behind it.
    async fn write(&mut self, mut more: &[u8]) -> io::Result<()> {
        let mut waiting = self.written.as_slice();
        while !waiting.is_empty() || !more.is_empty() {
            let count = match (waiting, more) {
                (one, []) | ([], one) => self.stream.write(one).await?,
                _ => self.stream.write_vectored(&[IoSlice::new(waiting), IoSlice::new(more)]).await?,
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let of_waiting = count.min(waiting.len());
            waiting = waiting.get(of_waiting..).unwrap_or_default();
            more = more.get(count - of_waiting..).unwrap_or_default();
        }
        self.written.clear();
        if self.written.capacity() > HELD {
            self.written = Vec::new();
        }
        self.stream.flush().await
    }

    async fn close(&mut self) {
        if let Err(error) = self.stream.shutdown().await {
            tracing::debug!(%error, "a connection broke when it was closed");
        }
    }
}

/// Whether an answer ends with its head (RFC 9112 §6.3).
fn has_no_body(status: StatusCode, method: &Method) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// How long the body of an answer is said to be (RFC 9112 §6).
fn frame(status: StatusCode, method: &Method, fields: &mut HeaderMap, present: Present, exact: Option<u64>) -> Framing {
    if present.connection {
        fields.remove(CONNECTION);
    }
    if present.transfer_encoding {
        fields.remove(TRANSFER_ENCODING);
    }
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        fields.remove(CONTENT_LENGTH);
        return Framing::None;
    }
    let said = fields.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if has_no_body(status, method) {
        // What a GET would have been answered; an empty body says nothing about that.
        if let (None, Some(length)) = (said, exact.filter(|length| *length > 0)) {
            fields.insert(CONTENT_LENGTH, length.into());
        }
        return Framing::None;
    }
    match exact {
        Some(0) if said != exact => {
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Some(length) if said != exact => {
            fields.insert(CONTENT_LENGTH, length.into());
        }
        Some(_) => {}
        None => {
            fields.remove(CONTENT_LENGTH);
        }
    }
    exact.map_or(Framing::Chunked, Framing::Length)
}
