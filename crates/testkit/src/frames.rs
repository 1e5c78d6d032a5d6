//! Hostile HTTP/2 as data: frames that are sent, what becomes of each stream, what may reach the application.
//!
//! ```text
//! == a name that says what is odd
//! < HEADERS 1 end
//!   GET /private/page
//!   x_authentik_username: forged
//! > 1 302
//! > kept
//! ```
//!
//! - `<` is a frame: its type (a name of RFC 9113 §6, or a number such as `0xee`), its stream, flags, and behind `|` its
//!   payload, spelled as in [`crate::cases`]. A stream is a number, `next` for the next one that a client may open, or
//!   `same` for the last one. Flags are `end` (of the stream), `ack`, `padded`, `priority`, and `open` for a block of
//!   fields that goes on in another frame.
//! - Indented lines below it are fields that are added to the payload. `GET /path` stands for the four that begin a
//!   sound request, and `(200 times)` behind a field repeats it.
//! - `< RAW 0 | …` is no frame but bytes. Where it is the first line of a case, not even the preface is sent before.
//! - `( 500` and `)` around frames repeat them.
//! - `>` is what must become of a stream: the status of its answer, a reason of RFC 9113 §7, or `none`; `|` stands
//!   between several that may. `*` are all streams without a line of their own, of which else nothing may be heard.
//! - The last `>` is `kept`, if the connection answers a further request in turn, or `closed` with the reasons that the
//!   good-bye may have.
//! - `@` is a request that reaches the application, as in [`crate::cases`].

use std::path::Path;

use crate::cases::{self, Arrival, bytes};
use crate::http2::{Heard, KINDS, PREFACE, field, frame};

/// One case.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// What is odd about it.
    pub name: String,
    steps: Vec<Step>,
    outcomes: Vec<(Option<u32>, Vec<String>)>,
    good_byes: Option<Vec<String>>,
    /// What reaches the application.
    pub arrivals: Vec<Arrival>,
}

#[derive(Clone, Debug)]
enum Step {
    Frame { kind: Option<u8>, stream: String, flags: u8, payload: String, fields: Vec<String> },
    Repeat(usize),
    End,
}

/// The cases of a file.
///
/// # Panics
/// When a line makes no sense.
#[must_use]
pub fn read(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    parse(&text)
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut of_arrival = false;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        if mark == "==" {
            cases.push(Case { name: rest.trim().to_owned(), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("no case yet: {line}"));
        match mark {
            "<" => case.steps.push(step(rest)),
            "(" => case.steps.push(Step::Repeat(rest.trim().parse().unwrap())),
            ")" => case.steps.push(Step::End),
            ">" => case.answer(rest),
            "@" => case.arrivals.push(cases::arrival(rest)),
            "" if of_arrival => cases::detail(rest.trim(), case.arrivals.last_mut().unwrap()),
            "" => match case.steps.last_mut() {
                Some(Step::Frame { fields, .. }) => fields.push(rest[1..].to_owned()),
                _ => panic!("a field of no frame: {line}"),
            },
            _ => panic!("unknown mark: {line}"),
        }
        of_arrival = mark == "@" || (mark.is_empty() && of_arrival);
    }
    cases
}

fn step(text: &str) -> Step {
    let (head, payload) = text.split_once('|').unwrap_or((text, ""));
    let mut words = head.split_whitespace();
    let kind = match words.next().expect("a type") {
        "RAW" => None,
        number if number.starts_with("0x") => Some(u8::from_str_radix(&number[2..], 16).unwrap()),
        name => {
            let at = KINDS.iter().position(|known| *known == name);
            Some(u8::try_from(at.unwrap_or_else(|| panic!("unknown type: {name}"))).unwrap())
        }
    };
    let stream = words.next().expect("a stream").to_owned();
    // Fields end with their frame, unless it is said otherwise.
    let mut flags = if kind.is_some_and(|kind| matches!(kind, 1 | 5 | 9)) { 4 } else { 0 };
    for word in words {
        flags ^= match word {
            "end" | "ack" => 0x1,
            "open" => 0x4,
            "padded" => 0x8,
            "priority" => 0x20,
            other => panic!("unknown flag: {other}"),
        };
    }
    Step::Frame { kind, stream, flags, payload: payload.trim().to_owned(), fields: Vec::new() }
}

/// The stream on which a kept connection is asked once more: none that a case uses is higher.
const LAST: u32 = 1_000_001;

impl Case {
    fn answer(&mut self, text: &str) {
        let mut words = text.split_whitespace();
        let of = words.next().expect("a stream, kept or closed");
        let allowed: Vec<String> = words.next().unwrap_or_default().split('|').map(str::to_owned).collect();
        match of {
            "kept" => self.good_byes = None,
            "closed" => self.good_byes = Some(allowed),
            "*" => self.outcomes.push((None, allowed)),
            number => self.outcomes.push((Some(number.parse().unwrap()), allowed)),
        }
    }

    /// Whether the connection goes on.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.good_byes.is_none()
    }

    /// All that is sent; `words` are what stands in braces.
    #[must_use]
    pub fn sent(&self, words: &[(&str, &str)]) -> Vec<u8> {
        let bare = matches!(self.steps.first(), Some(Step::Frame { kind: None, .. }));
        let mut sent = if bare { Vec::new() } else { PREFACE.to_vec() };
        let mut streams = Streams { latest: 0 };
        let mut at = 0;
        while let Some(step) = self.steps.get(at) {
            at += 1;
            let Step::Repeat(times) = step else {
                step.write(&mut streams, words, &mut sent);
                continue;
            };
            let length = self.steps[at..].iter().position(|step| matches!(step, Step::End)).expect("an end");
            for step in self.steps[at..at + length].iter().cycle().take(length * times) {
                step.write(&mut streams, words, &mut sent);
            }
            at += length + 1;
        }
        sent
    }

    /// A sound request on a kept connection, and its stream.
    #[must_use]
    pub fn last(path: &str, words: &[(&str, &str)]) -> (u32, Vec<u8>) {
        (LAST, frame(1, 5, LAST, &block(&[format!("GET {path}")], words)))
    }

    /// Whether all was heard that has to be heard before the end.
    #[must_use]
    pub fn is_answered(&self, heard: &Heard) -> bool {
        let due = self.outcomes.iter().filter(|(_, allowed)| !allowed.iter().any(|outcome| outcome == "none"));
        due.filter_map(|(stream, _)| *stream).all(|stream| heard.ended.contains(&stream))
    }

    /// What is wrong with what was heard.
    ///
    /// # Errors
    /// When a stream ended, or the connection was closed, otherwise than the case says.
    pub fn judge(&self, heard: &Heard) -> Result<(), String> {
        let allowed = |stream: Option<u32>| self.outcomes.iter().find(|(known, _)| *known == stream);
        let all = heard.outcomes.iter().filter(|(stream, _)| **stream != LAST);
        for (stream, outcome) in all {
            let fits = allowed(Some(*stream)).or_else(|| allowed(None)).is_some_and(|(_, any)| any.contains(outcome));
            if !fits {
                return Err(format!("stream {stream} ended with {outcome}: {heard:?}"));
            }
        }
        if !self.is_answered(heard) {
            return Err(format!("streams are not answered: {heard:?}"));
        }
        match (&self.good_byes, heard.outcomes.get(&LAST)) {
            (None, Some(status)) if status == "204" => Ok(()),
            (Some(any), None) if heard.closed && any.contains(&heard.good_bye.clone().unwrap_or_default()) => Ok(()),
            (wanted, _) => Err(format!("should have ended with {wanted:?}: {heard:?}")),
        }
    }
}

struct Streams {
    latest: u32,
}

impl Streams {
    fn of(&mut self, word: &str) -> u32 {
        match word {
            "same" => self.latest,
            "next" => {
                self.latest = if self.latest == 0 { 1 } else { self.latest + 2 };
                self.latest
            }
            number => number.parse().unwrap_or_else(|_| panic!("no stream: {number}")),
        }
    }
}

impl Step {
    fn write(&self, streams: &mut Streams, words: &[(&str, &str)], sent: &mut Vec<u8>) {
        let Self::Frame { kind, stream, flags, payload, fields } = self else { panic!("a repetition in another") };
        let payload = [bytes(payload, words), block(fields, words)].concat();
        match kind {
            None => sent.extend(payload),
            Some(kind) => sent.extend(frame(*kind, *flags, streams.of(stream), &payload)),
        }
    }
}

fn block(fields: &[String], words: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for line in fields {
        if let Some((method @ ("GET" | "HEAD" | "POST" | "TRACE"), path)) = line.split_once(' ') {
            for (name, value) in [(":method", method), (":scheme", "https"), (":authority", "{host}"), (":path", path)]
            {
                block.extend(field(name.as_bytes(), &bytes(value, words)));
            }
            continue;
        }
        let (line, times) = match line.strip_suffix(" times)").and_then(|line| line.rsplit_once(" (")) {
            Some((line, times)) => (line, times.parse().unwrap_or_else(|_| panic!("no number: {times}"))),
            None => (line.as_str(), 1),
        };
        let (name, value) = line.split_once(": ").or_else(|| Some((line.strip_suffix(':')?, ""))).expect("a field");
        let one = field(&bytes(name, words), &bytes(value, words));
        block.extend(one.repeat(times));
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases read as they are written.
    #[test]
    fn cases_are_read() {
        let text = "== one\n( 2\n< HEADERS next end open\n  :path: /{a*3}\n  x: (2 times)\n)\n< CONTINUATION same | \\xff\n> 1 302|none\n> closed PROTOCOL_ERROR\n@ GET /a as alice\n  without x\n";
        let case = &parse(text)[0];
        let fields = [field(b":path", b"/aaa"), field(b"x", b""), field(b"x", b"")].concat();
        let expected = [PREFACE.to_vec(), frame(1, 1, 1, &fields), frame(1, 1, 3, &fields), frame(9, 4, 3, b"\xff")];
        assert_eq!(case.sent(&[]), expected.concat());
        assert_eq!((case.arrivals[0].identified, &*case.arrivals[0].without[0]), (true, "x"));
        let mut heard = Heard { closed: true, good_bye: Some("PROTOCOL_ERROR".to_owned()), ..Heard::default() };
        case.judge(&heard).unwrap();
        heard.outcomes.insert(1, "302".to_owned());
        case.judge(&heard).unwrap();
        heard.outcomes.insert(3, "302".to_owned());
        case.judge(&heard).unwrap_err();
    }

    /// Without a frame before them, bytes are all that is sent.
    #[test]
    fn bytes_are_sent_bare() {
        assert_eq!(parse("== bare\n< RAW 0 | a\\r\\n\n> closed\n")[0].sent(&[]), b"a\r\n");
    }
}
