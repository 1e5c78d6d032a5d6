//! Header fields that are set on many messages, finished for the wire.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use portcullis_core::header;

use crate::body::Body;
use crate::http1::{Came, write_field};

/// Fields as they are set on a message, and as they are written in HTTP/1.1. Shared, and never changed.
#[derive(Clone)]
pub struct Lines(Arc<Written>);

struct Written {
    names: Arc<Names>,
    /// A value for each name. All are parts of `wire`: it is counted once when they are copied into a message, and costs
    /// each of them no memory of its own.
    values: Box<[HeaderValue]>,
    wire: Bytes,
}

/// The names of fields: the same for nearly everybody, and so kept once for all who have the same.
struct Names {
    /// None occurs twice.
    all: Box<[HeaderName]>,
    /// Those that are not of identity headers.
    others: Box<[HeaderName]>,
}

/// Lists of names that are in use.
static KNOWN: Mutex<Vec<Weak<Names>>> = Mutex::new(Vec::new());
/// How many lists are looked through; beyond, the one that was kept for longest is found no more.
const MOST_KNOWN: usize = 32;

impl Names {
    /// The list of these names.
    fn shared(all: Vec<HeaderName>) -> Arc<Self> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.iter().filter_map(Weak::upgrade).find(|names| *names.all == *all) {
            return same;
        }
        let others = all.iter().filter(|name| !header::is_identity(name.as_str())).cloned().collect();
        let names = Arc::new(Self { all: all.into(), others });
        known.retain(|names| names.strong_count() > 0);
        if known.len() >= MOST_KNOWN {
            known.remove(0);
        }
        known.push(Arc::downgrade(&names));
        names
    }
}

impl Lines {
    /// Finishes fields, of which later ones replace earlier ones.
    pub fn new(fields: &[(HeaderName, HeaderValue)]) -> Self {
        Self::spelled(fields, |_| None)
    }

    /// The same, with names as they are given in HTTP/1.1 where `given` knows better than title case (PX-219).
    pub(crate) fn spelled<'a>(
        fields: &[(HeaderName, HeaderValue)],
        given: impl Fn(&HeaderName) -> Option<&'a str>,
    ) -> Self {
        let is_last = |at: usize, name| fields.iter().skip(at + 1).all(|(later, _)| later != name);
        let last = || fields.iter().enumerate().filter(|(at, (name, _))| is_last(*at, name)).map(|(_, field)| field);
        let mut wire = Vec::new();
        for (name, value) in last() {
            let start = wire.len();
            write_field(&mut wire, name, value);
            let spelled = given(name).filter(|spelled| name.as_str().eq_ignore_ascii_case(spelled));
            if let (Some(spelled), Some(line)) = (spelled, wire.get_mut(start..start + name.as_str().len())) {
                line.copy_from_slice(spelled.as_bytes());
            }
        }
        let wire = Bytes::from(wire.into_boxed_slice());
        let mut rest = wire.clone();
        let finish = |(name, value): &(HeaderName, HeaderValue)| {
            let mut line = rest.split_to(name.as_str().len() + value.len() + 4);
            let value_bytes = line.split_off(name.as_str().len() + 2).split_to(value.len());
            let mut finished = HeaderValue::from_maybe_shared(value_bytes).unwrap_or_else(|_| value.clone());
            finished.set_sensitive(value.is_sensitive());
            finished
        };
        let values = last().map(finish).collect();
        let names = Names::shared(last().map(|(name, _)| name.clone()).collect());
        Self(Arc::new(Written { names, values, wire }))
    }

    /// The fields.
    pub fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.names().iter().zip(&self.0.values)
    }

    /// The names of the fields.
    pub(crate) fn names(&self) -> &[HeaderName] {
        &self.0.names.all
    }

    /// The fields as lines of HTTP/1.1, with names in title case (PX-201).
    pub(crate) fn wire(&self) -> &[u8] {
        &self.0.wire
    }

    /// Sets the fields in place of all that have their names.
    pub(crate) fn set(&self, headers: &mut HeaderMap) {
        for (name, value) in self.fields() {
            headers.insert(name, value.clone());
        }
    }

    /// Whether none of the fields has one of their names.
    pub(crate) fn are_missing(&self, headers: &HeaderMap) -> bool {
        self.names().iter().all(|name| !headers.contains_key(name))
    }

    /// Whether a field of this name, which is no identity header's, is among them.
    pub(crate) fn sets(&self, name: &HeaderName) -> bool {
        self.0.names.others.contains(name)
    }

    /// Removes all fields that have their names.
    pub(crate) fn unset(&self, headers: &mut HeaderMap) {
        for name in &self.0.names.others {
            headers.remove(name);
        }
        // Mostly there are none: they were taken out when the request came in.
        if headers.keys().any(|name| header::is_identity(name.as_str())) {
            for name in self.names() {
                headers.remove(name);
            }
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.fields()).finish()
    }
}

/// Fields of an answer that are ready to be written; none of them is among its others.
pub(crate) enum Ready {
    /// As they came from the upstream.
    Came(Came),
    /// What is set in somebody's name.
    Set([Option<Lines>; 2]),
}

impl Ready {
    /// Writes them as lines of HTTP/1.1, beside the others.
    pub(crate) fn write(&self, out: &mut Vec<u8>, others: &HeaderMap) {
        match self {
            Self::Came(came) => came.lines().for_each(|lines| out.extend_from_slice(lines)),
            Self::Set(all) => {
                for lines in all.iter().flatten() {
                    debug_assert!(lines.are_missing(others), "they would be there twice");
                    out.extend_from_slice(lines.wire());
                }
            }
        }
    }
}

/// Puts the fields of an answer that are ready to be written among its others, for whoever cannot write them as they are.
pub fn settle<B: AsMut<Body>>(answer: &mut Response<B>) {
    match answer.body_mut().as_mut().take_ready() {
        None => {}
        Some(Ready::Came(came)) => came.add_to(answer.headers_mut()),
        Some(Ready::Set(all)) => all.iter().flatten().for_each(|lines| lines.set(answer.headers_mut())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    }

    /// PX-201, PX-222: finished lines say the same as the fields, and take the place of what has their names.
    #[test]
    fn px_222_finished_lines_take_the_place_of_what_has_their_names() {
        let secret = {
            let mut value = HeaderValue::from_static("Basic YTpi");
            value.set_sensitive(true);
            (HeaderName::from_static("authorization"), value)
        };
        let lines =
            Lines::new(&[field("x-authentik-name", "old"), secret, field("x-authentik-name", ""), field("x", "y")]);
        assert_eq!(lines.wire(), b"Authorization: Basic YTpi\r\nX-Authentik-Name: \r\nX: y\r\n");
        assert!(lines.fields().next().unwrap().1.is_sensitive() && !format!("{lines:?}").contains("YTpi"));

        let sent = HeaderMap::from_iter([field("x-authentik-name", "mallory"), field("x", "z"), field("x-kept", "k")]);
        let (mut set, mut unset) = (sent.clone(), sent);
        lines.set(&mut set);
        lines.unset(&mut unset);
        assert_eq!(unset, HeaderMap::from_iter([field("x-kept", "k")]));
        unset.extend(lines.fields().map(|(name, value)| (Some(name.clone()), value.clone())));
        assert_eq!(set, unset);
    }

    /// PX-219: a name that is given with underscores is written as it is given; one that is not that name changes nothing.
    #[test]
    fn px_219_names_are_written_as_they_are_given() {
        let given = |name: &HeaderName| Some(if name == "remote_user" { "REMOTE_USER" } else { "other" });
        let lines = Lines::spelled(&[field("x-a", "1"), field("remote_user", "ada"), field("x-b", "2")], given);
        assert_eq!(lines.wire(), b"X-A: 1\r\nREMOTE_USER: ada\r\nX-B: 2\r\n");
        assert_eq!(
            lines.fields().nth(1).unwrap(),
            (&HeaderName::from_static("remote_user"), &HeaderValue::from_static("ada"))
        );
    }

    /// PX-100: lines with the same names in the same order share their list; others do not, however many there were.
    #[test]
    fn px_100_names_are_kept_once() {
        let of = |names: &[&'static str]| Lines::new(&names.iter().map(|name| field(name, "v")).collect::<Vec<_>>());
        let (one, other, reversed) =
            (of(&["x-kept-a", "x-kept-b"]), of(&["x-kept-a", "x-kept-b"]), of(&["x-kept-b", "x-kept-a"]));
        assert!(Arc::ptr_eq(&one.0.names, &other.0.names) && !Arc::ptr_eq(&one.0.names, &reversed.0.names));
        assert_eq!(reversed.wire(), b"X-Kept-B: v\r\nX-Kept-A: v\r\n");
        let many: Vec<_> = (0..100)
            .map(|number| {
                Lines::new(&[(HeaderName::try_from(format!("x-{number}")).unwrap(), HeaderValue::from_static("v"))])
            })
            .collect();
        for (number, lines) in many.iter().enumerate() {
            assert_eq!(lines.names(), [format!("x-{number}").as_str()]);
        }
        assert!(KNOWN.lock().unwrap().len() <= MOST_KNOWN);
    }
}
