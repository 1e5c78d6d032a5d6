//! Early hints on their way to clients (RFC 8297; PX-281).
//!
//! A request has one answer, and the steps that it goes through return that. What an upstream says before goes past them:
//! while the lane polls a request, it has a place open in this thread, and the upstream's connection, which is read in the
//! same poll, puts it there. Nobody else opens the place. So nothing is kept for clients of hyper's: those over HTTP/1.0,
//! which know no such answers, those over HTTP/2, and requests with a body.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, StatusCode};

use crate::forward::clean_aside;
use crate::http1::{give_back, write_fields};

/// `103 Early Hints`, which the library has no name for.
fn is_hint(status: StatusCode) -> bool {
    status.as_u16() == 103
}

/// How many of them go before one answer, and how many bytes they have together. The rest is left out.
const MOST: u8 = 8;
const MOST_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Closed,
    Open,
    Filled,
}

thread_local! {
    static PLACE: Cell<Place> = const { Cell::new(Place::Closed) };
    static WAITING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An open place. Whatever happens, nothing of one request is in it when it is opened for another.
struct Opened;

impl Opened {
    fn new() -> Self {
        PLACE.set(Place::Open);
        Self
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if PLACE.replace(Place::Closed) == Place::Filled {
            WAITING.with_borrow_mut(Vec::clear);
        }
    }
}

/// Polls the answer to a request of a client that takes informational answers; those that came are appended to `written`.
pub(crate) fn poll_answer<F: Future>(
    answering: Pin<&mut F>,
    cx: &mut Context<'_>,
    written: &mut Vec<u8>,
) -> Poll<F::Output> {
    let _opened = Opened::new();
    let polled = answering.poll(cx);
    if PLACE.get() == Place::Filled {
        WAITING.with_borrow_mut(|waiting| written.append(waiting));
    }
    polled
}

/// How much may still go before one answer.
pub(crate) struct Allowance {
    answers: u8,
    bytes: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { answers: MOST, bytes: MOST_BYTES }
    }
}

impl Allowance {
    /// Passes an informational answer on to the client of the request at hand, if that takes it: without what is not for
    /// clients in any answer, and without fields about a body, which it has not.
    #[cold]
    pub(crate) fn pass_on(&mut self, status: StatusCode, mut fields: HeaderMap) {
        if is_hint(status) && self.answers > 0 && PLACE.get() != Place::Closed {
            self.answers -= 1;
            clean_aside(&mut fields);
            let mut head = Vec::new();
            for part in ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
                head.extend_from_slice(part.as_bytes());
            }
            write_fields(&mut head, &fields);
            head.extend_from_slice(b"\r\n");
            if let Some(left) = self.bytes.checked_sub(head.len()) {
                self.bytes = left;
                WAITING.with_borrow_mut(|waiting| waiting.append(&mut head));
                PLACE.set(Place::Filled);
            }
        }
        give_back(fields);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::task::Waker;

    use http::HeaderValue;

    use super::*;

    fn pass_on(link: &'static str) {
        let fields = HeaderMap::from_iter([(http::header::LINK, HeaderValue::from_static(link))]);
        Allowance::default().pass_on(StatusCode::from_u16(103).unwrap(), fields);
    }

    fn polled(answering: impl Future) -> String {
        let mut written = Vec::new();
        let _ = poll_answer(pin!(answering), &mut Context::from_waker(Waker::noop()), &mut written);
        String::from_utf8(written).unwrap()
    }

    /// PX-281: an informational answer goes to the request in whose poll it was read, and to no other, whatever becomes of
    /// that.
    #[test]
    fn px_281_an_informational_answer_goes_to_nobody_else() {
        assert!(polled(async { pass_on("</a>") }).ends_with("\r\nLink: </a>\r\n\r\n"));
        assert_eq!(polled(async {}), "");
        pass_on("</of a client of hyper's>");
        assert_eq!(polled(async {}), "");
        let broken = || {
            polled(async {
                pass_on("</of one that panics>");
                panic!("asked to")
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(broken)).is_err());
        assert_eq!(polled(async {}), "");
    }
}
