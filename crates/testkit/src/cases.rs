//! Hostile requests as data: what is sent, what must be answered, what may reach the application.
//!
//! ```text
//! == a name that says what is odd
//! < GET /private/page HTTP/1.1\r\nHost: {host}\r\n
//! < X_Authentik_Username: forged\r\n\r\n
//! > 302 kept
//! ```
//!
//! - `<` is what is sent, byte for byte; lines are put together, and a line's end must be spelled. `\r \n \t \0 \xNN \\`
//!   are bytes, `{host}` and its like stand for what the test knows, `{x*300}` repeats.
//! - `>` is what is answered: statuses in order, `400|431` for one of several, and at last `kept` if the connection
//!   answers a further request in turn, `closed` if it is closed.
//! - `@` is a request that reaches the application, in order: `@ GET /private/page as alice`, or without identity.
//!   Without such a line nothing does. `with Name: value` and `without Name` below it are about its fields.
//! - `#` begins a remark.

use std::fmt::Write as _;
use std::path::Path;

/// One case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// What is odd about it.
    pub name: String,
    /// What is sent, before it is spelled out.
    pub sent: String,
    /// What each answer's status may be.
    pub statuses: Vec<Vec<u16>>,
    /// Whether the connection goes on.
    pub kept: bool,
    /// What reaches the application.
    pub arrivals: Vec<Arrival>,
}

/// A request as it has to reach the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Method.
    pub method: String,
    /// Target.
    pub target: String,
    /// Whether with an identity.
    pub identified: bool,
    /// Fields that it has, each once, with this value.
    pub with: Vec<(String, String)>,
    /// Fields that it has not.
    pub without: Vec<String>,
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
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (mark, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no mark: {line}"));
        if mark == "==" {
            cases.push(Case { name: rest.trim().to_owned(), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("no case yet: {line}"));
        match mark {
            "<" => case.sent.push_str(rest),
            ">" => answers(rest, case),
            "@" => case.arrivals.push(arrival(rest)),
            "" => detail(rest.trim(), case.arrivals.last_mut().expect("a request to say this of")),
            _ => panic!("unknown mark: {line}"),
        }
    }
    cases
}

fn answers(text: &str, case: &mut Case) {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    case.kept = match words.pop() {
        Some("kept") => true,
        Some("closed") => false,
        other => panic!("{}: neither kept nor closed: {other:?}", case.name),
    };
    let status = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} is no status"));
    case.statuses = words.iter().map(|word| word.split('|').map(status).collect()).collect();
}

pub(crate) fn arrival(text: &str) -> Arrival {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (method, target, identified) = match words[..] {
        [method, target] => (method, target, false),
        [method, target, "as", "alice"] => (method, target, true),
        _ => panic!("no request: {text}"),
    };
    Arrival { method: method.to_owned(), target: target.to_owned(), identified, ..Arrival::default() }
}

pub(crate) fn detail(text: &str, arrival: &mut Arrival) {
    if let Some(name) = text.strip_prefix("without ") {
        arrival.without.push(name.to_owned());
        return;
    }
    let field = text.strip_prefix("with ").and_then(|field| field.split_once(':'));
    let (name, value) = field.unwrap_or_else(|| panic!("neither with nor without: {text}"));
    arrival.with.push((name.to_owned(), value.trim().to_owned()));
}

/// The bytes that a text stands for; `words` are what stands in braces.
///
/// # Panics
/// When an escape or a word is unknown.
#[must_use]
pub fn bytes(text: &str, words: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{']) {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = if rest[at..].starts_with('{') {
            let end = end_of_word(&rest[at + 1..]).unwrap_or_else(|| panic!("an open brace: {text}"));
            bytes.extend(word_bytes(&rest[at + 1..at + 1 + end], words));
            &rest[at + 2 + end..]
        } else {
            escape(&rest[at + 1..], &mut bytes)
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Where the brace closes that was opened before `text`.
fn end_of_word(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    text.char_indices().find_map(|(at, letter)| match letter {
        '}' if open == 0 => Some(at),
        '{' | '}' => {
            open = if letter == '{' { open + 1 } else { open - 1 };
            None
        }
        _ => None,
    })
}

fn word_bytes(word: &str, words: &[(&str, &str)]) -> Vec<u8> {
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == word) {
        return value.as_bytes().to_vec();
    }
    let repeated = word.rsplit_once('*').and_then(|(piece, times)| Some((piece, times.parse().ok()?)));
    let (piece, times): (&str, usize) = repeated.unwrap_or_else(|| panic!("unknown word {{{word}}}"));
    bytes(piece, words).repeat(times)
}

/// Reads what follows a backslash, and gives back what follows that.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> &'a str {
    let (byte, length) = match text.as_bytes() {
        [b'r', ..] => (b'\r', 1),
        [b'n', ..] => (b'\n', 1),
        [b't', ..] => (b'\t', 1),
        [b'0', ..] => (0, 1),
        [b'\\', ..] => (b'\\', 1),
        [b'x', high, low, ..] => {
            let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).expect("a hexadecimal digit")).unwrap();
            (digit(*high) * 16 + digit(*low), 3)
        }
        _ => panic!("unknown escape: \\{text}"),
    };
    bytes.push(byte);
    &text[length..]
}

/// Bytes as a reader of a failed test wants to see them.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in &bytes[..bytes.len().min(2000)] {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n\n"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => write!(text, "\\x{byte:02x}").unwrap(),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases read as they are written.
    #[test]
    fn cases_are_read() {
        let text = "# remark\n\n== two\n< GET / HTTP/1.1\\r\\n\n< \\r\\n\n> 200 400|431 closed\n@ GET /a as alice\n  with X-Mine: 1 2\n  without Cookie\n@ GET /b\n";
        let alice = Arrival {
            method: "GET".to_owned(),
            target: "/a".to_owned(),
            identified: true,
            with: vec![("X-Mine".to_owned(), "1 2".to_owned())],
            without: vec!["Cookie".to_owned()],
        };
        let nobody = Arrival { method: "GET".to_owned(), target: "/b".to_owned(), ..Arrival::default() };
        assert_eq!(
            parse(text),
            [Case {
                name: "two".to_owned(),
                sent: "GET / HTTP/1.1\\r\\n\\r\\n".to_owned(),
                statuses: vec![vec![200], vec![400, 431]],
                kept: false,
                arrivals: vec![alice, nobody],
            }]
        );
    }

    /// Escapes, words and repetitions become bytes.
    #[test]
    fn texts_become_bytes() {
        assert_eq!(
            bytes(r"a\r\n\0\x0bÿ\\{host}{{host}\n*2}", &[("host", "h:1")]),
            "a\r\n\0\x0bÿ\\h:1h:1\nh:1\n".as_bytes()
        );
        assert_eq!(bytes(r"\xff", &[]), [0xff]);
    }
}
