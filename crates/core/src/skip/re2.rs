//! Go's RE2 dialect, translated so that no expression changes its meaning (PX-231).
//!
//! Every construct is read as Go reads it and written in a spelling that the `regex` crate cannot take
//! for anything else: characters as escapes, classes as explicit sets. What Go rejects is rejected.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// The most memory that one compiled expression may take, in bytes (PX-239).
const LARGEST: usize = 1 << 20;
/// The largest repetition count, also of nested ones together.
const MOST_REPEATS: u32 = 1000;

/// Why an expression is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadExpression(pub &'static str);

/// Compiles an expression of Go's RE2 dialect.
///
/// # Errors
/// [`BadExpression`] when Go would reject it, or when it takes more than 1 MiB.
pub fn compile(expression: &str) -> Result<Regex, BadExpression> {
    let translated = translate(expression)?;
    RegexBuilder::new(&translated).size_limit(LARGEST).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => BadExpression("expression is too large"),
        _ => BadExpression("expression is not valid"),
    })
}

fn translate(expression: &str) -> Result<String, BadExpression> {
    let mut reader =
        Reader { rest: expression.chars().peekable(), out: String::new(), groups: Vec::new(), names: Vec::new() };
    reader.read()?;
    Ok(reader.out)
}

/// What stands before the reader, as far as repetition cares.
#[derive(Clone, Copy)]
enum Last {
    /// Nothing that could be repeated.
    Nothing,
    /// Something that may be repeated, and how often its contents repeat already.
    Atom(u32),
    /// A repetition, which may not be repeated again.
    Repetition(u32),
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// The largest repetition so far in each open group, outermost first.
    groups: Vec<u32>,
    names: Vec<String>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), BadExpression> {
        let mut last = Last::Nothing;
        let mut weight = 1;
        while let Some(c) = self.rest.next() {
            weight = match last {
                Last::Nothing => weight,
                Last::Atom(w) | Last::Repetition(w) => weight.max(w),
            };
            last = match c {
                '\\' => self.escape()?.map_or(last, Last::Atom),
                '[' => self.class()?,
                '(' => match self.open()? {
                    true => {
                        self.groups.push(weight);
                        weight = 1;
                        Last::Nothing
                    }
                    false => Last::Nothing,
                },
                ')' => {
                    let outer = self.groups.pop().ok_or(BadExpression("unexpected )"))?;
                    self.out.push(')');
                    let inner = std::mem::replace(&mut weight, outer);
                    Last::Atom(inner)
                }
                '|' => {
                    self.out.push('|');
                    Last::Nothing
                }
                '^' | '$' | '.' => {
                    self.out.push(c);
                    Last::Atom(1)
                }
                '*' | '+' | '?' => {
                    self.out.push(c);
                    self.repeated(last, 1)?
                }
                '{' => match self.count()? {
                    Some(times) => self.repeated(last, times)?,
                    None => {
                        self.literal('{');
                        Last::Atom(1)
                    }
                },
                c => {
                    self.literal(c);
                    Last::Atom(1)
                }
            };
        }
        if self.groups.is_empty() { Ok(()) } else { Err(BadExpression("missing )")) }
    }

    /// Takes the `?` of a lazy repetition, and checks what is repeated.
    fn repeated(&mut self, last: Last, times: u32) -> Result<Last, BadExpression> {
        let weight = match last {
            Last::Nothing => return Err(BadExpression("nothing to repeat")),
            Last::Repetition(_) => return Err(BadExpression("repetition of a repetition")),
            Last::Atom(weight) => weight.saturating_mul(times.max(1)),
        };
        if weight > MOST_REPEATS {
            return Err(BadExpression("too many repetitions"));
        }
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        Ok(Last::Repetition(weight))
    }

    /// Reads what follows `{`: a count, written out, or `None` where Go sees a plain brace.
    fn count(&mut self) -> Result<Option<u32>, BadExpression> {
        let mut ahead = self.rest.clone();
        let text: String = ahead.by_ref().take_while(|&c| c != '}').take(24).collect();
        let valid = |digits: &str| {
            !digits.is_empty()
                && digits.bytes().all(|b| b.is_ascii_digit())
                && !(digits.len() > 1 && digits.starts_with('0'))
        };
        let (low, high) = match text.split_once(',') {
            None => (text.as_str(), Some(text.as_str())),
            Some((low, "")) => (low, None),
            Some((low, high)) => (low, Some(high)),
        };
        let closed = self.rest.clone().take(text.chars().count() + 1).last() == Some('}');
        if !closed || !valid(low) || !high.is_none_or(valid) {
            return Ok(None);
        }
        let number = |digits: &str| digits.parse().ok().filter(|&n: &u32| n <= MOST_REPEATS);
        let too_many = BadExpression("too many repetitions");
        let low = number(low).ok_or(too_many)?;
        let high = high.map(|digits| number(digits).ok_or(too_many)).transpose()?;
        if high.is_some_and(|high| high < low) {
            return Err(BadExpression("repetition from more to less"));
        }
        let _ = write!(self.out, "{{{text}}}");
        self.rest = ahead;
        Ok(Some(high.unwrap_or(low)))
    }

    /// Reads what follows `(`. True if a group was opened, false for flags that stand alone.
    fn open(&mut self) -> Result<bool, BadExpression> {
        if self.rest.next_if_eq(&'?').is_none() {
            self.out.push_str("(?:");
            return Ok(true);
        }
        let mut flags = String::new();
        loop {
            match self.rest.next().ok_or(BadExpression("missing )"))? {
                c @ ('i' | 'm' | 's' | 'U') if !flags.contains(c) => flags.push(c),
                '-' if !flags.contains('-') => flags.push('-'),
                'P' if flags.is_empty() && self.rest.next_if_eq(&'<').is_some() => return self.name(),
                '<' if flags.is_empty() => return self.name(),
                _ if flags.ends_with('-') => return Err(BadExpression("invalid group")),
                ':' => {
                    let _ = write!(self.out, "(?{flags}:");
                    return Ok(true);
                }
                ')' => {
                    if !flags.is_empty() {
                        let _ = write!(self.out, "(?{flags})");
                    }
                    return Ok(false);
                }
                _ => return Err(BadExpression("invalid group")),
            }
        }
    }

    /// Reads a group's name; nobody asks for groups by name, so the group is written without it.
    fn name(&mut self) -> Result<bool, BadExpression> {
        let mut name = String::new();
        loop {
            match self.rest.next() {
                Some('>') if !name.is_empty() && !self.names.contains(&name) => break,
                Some(c) if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
                _ => return Err(BadExpression("invalid group")),
            }
        }
        self.names.push(name);
        self.out.push_str("(?:");
        Ok(true)
    }

    /// Reads what follows `\` outside a class; `None` if nothing was written.
    fn escape(&mut self) -> Result<Option<u32>, BadExpression> {
        match self.rest.peek().copied().ok_or(BadExpression("trailing \\"))? {
            'Q' => {
                self.rest.next();
                return Ok(self.quoted());
            }
            c @ ('A' | 'z') => {
                self.rest.next();
                self.out.push('\\');
                self.out.push(c);
            }
            c @ ('b' | 'B') => {
                self.rest.next();
                let _ = write!(self.out, "(?-u:\\{c})");
            }
            c if perl_class(c).is_some() || matches!(c, 'p' | 'P') => {
                self.out.push('[');
                self.class_escape()?;
                self.out.push(']');
            }
            _ => {
                let c = self.character()?;
                self.literal(c);
            }
        }
        Ok(Some(1))
    }

    fn quoted(&mut self) -> Option<u32> {
        let mut wrote = None;
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                break;
            }
            self.literal(c);
            wrote = Some(1);
        }
        wrote
    }

    /// Reads what follows `[`.
    fn class(&mut self) -> Result<Last, BadExpression> {
        let unclosed = BadExpression("missing ]");
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let c = self.rest.peek().copied().ok_or(unclosed)?;
            if c == ']' && !first {
                break;
            }
            first = false;
            if c == '[' && self.posix_class()? {
                continue;
            }
            let escaped = if c == '\\' { self.rest.clone().nth(1) } else { None };
            if escaped.is_some_and(|c| perl_class(c).is_some() || matches!(c, 'p' | 'P')) {
                self.rest.next();
                self.class_escape()?;
                continue;
            }
            let low = self.class_character()?;
            let mut ahead = self.rest.clone();
            let high = if ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']') {
                self.rest.next();
                self.class_character()?
            } else {
                low
            };
            if high < low {
                return Err(BadExpression("range from more to less"));
            }
            let _ = write!(self.out, "\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high));
        }
        self.rest.next();
        self.out.push(']');
        Ok(Last::Atom(1))
    }

    fn class_character(&mut self) -> Result<char, BadExpression> {
        match self.rest.next().ok_or(BadExpression("missing ]"))? {
            '\\' => self.character(),
            c => Ok(c),
        }
    }

    /// Reads `[:name:]` inside a class; false if it is none, which leaves a plain bracket.
    fn posix_class(&mut self) -> Result<bool, BadExpression> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
            "word", "xdigit",
        ];
        let text: String = self.rest.clone().collect();
        let Some((name, after)) = text.strip_prefix("[:").and_then(|text| text.split_once(":]")) else {
            return Ok(false);
        };
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(BadExpression("unknown class name"));
        }
        let _ = write!(self.out, "[:{name}:]");
        let taken = text.chars().count() - after.chars().count();
        self.rest.by_ref().take(taken).for_each(drop);
        Ok(true)
    }

    /// Reads a class escape such as `\d` or `\p{Greek}`, and writes it as part of a class.
    fn class_escape(&mut self) -> Result<(), BadExpression> {
        let letter = self.rest.next().ok_or(BadExpression("trailing \\"))?;
        if let Some(set) = perl_class(letter) {
            self.out.push_str(set);
            return Ok(());
        }
        let unknown = BadExpression("unknown character class");
        let mut name = match self.rest.next().ok_or(unknown)? {
            '{' => {
                let name: String = self.rest.by_ref().take_while(|&c| c != '}').collect();
                name
            }
            c => c.to_string(),
        };
        let mut negated = letter == 'P';
        if let Some(rest) = name.strip_prefix('^') {
            negated = !negated;
            name = rest.to_owned();
        }
        let spelled = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.chars().all(spelled) {
            return Err(unknown);
        }
        let property = match name.as_str() {
            "Any" => "any".to_owned(),
            short if short.len() <= 2 => format!("gc={short}"),
            script => format!("Script={script}"),
        };
        let _ = write!(self.out, "\\{}{{{property}}}", if negated { 'P' } else { 'p' });
        Ok(())
    }

    /// Reads what follows `\` where it stands for one character.
    fn character(&mut self) -> Result<char, BadExpression> {
        let invalid = BadExpression("invalid escape");
        let octal = |c: &char| ('0'..='7').contains(c);
        match self.rest.next().ok_or(BadExpression("trailing \\"))? {
            c @ '0'..='7' => {
                // One digit other than zero would be a reference to a group, which RE2 has not.
                if c != '0' && !self.rest.peek().is_some_and(octal) {
                    return Err(invalid);
                }
                let mut code = c.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.rest.next_if(octal).and_then(|c| c.to_digit(8)) else { break };
                    code = code * 8 + digit;
                }
                char::from_u32(code).ok_or(invalid)
            }
            'x' => self.hexadecimal().and_then(char::from_u32).ok_or(invalid),
            'a' => Ok('\u{7}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(invalid),
        }
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        if self.rest.next_if_eq(&'{').is_none() {
            let high = self.rest.next()?.to_digit(16)?;
            return Some(high * 16 + self.rest.next()?.to_digit(16)?);
        }
        let mut code = self.rest.next()?.to_digit(16)?;
        loop {
            match self.rest.next()? {
                '}' => return Some(code),
                c => code = code.checked_mul(16)?.checked_add(c.to_digit(16)?)?,
            }
        }
    }

    fn literal(&mut self, c: char) {
        if c.is_ascii_alphanumeric() {
            self.out.push(c);
        } else {
            let _ = write!(self.out, "\\x{{{:x}}}", u32::from(c));
        }
    }
}

/// The set that a Perl class stands for in RE2, as part of a class.
fn perl_class(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "0-9",
        'D' => "[^0-9]",
        'w' => "0-9A-Za-z_",
        'W' => "[^0-9A-Za-z_]",
        's' => r"\t\n\x{c}\r ",
        'S' => r"[^\t\n\x{c}\r ]",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-231: expressions mean what they mean in RE2.
    #[test]
    fn px_231_expressions_keep_their_meaning() {
        for (expression, matching, other) in [
            (r"^\d+$", "123", "\u{0661}"),
            (r"^\w$", "_", "é"),
            (r"^\s$", "\u{c}", "\u{b}"),
            (r"^[\s]$", " ", "\u{b}"),
            (r"^[^\W]$", "a", "-"),
            (r"\bcat\b", "a cat", "cats"),
            (r"^\Qa.b*\E$", "a.b*", "aXb"),
            (r"^\Qab\E*$", "abbb", "abab"),
            (r"^\<x\>$", "<x>", "x"),
            (r"^\101\060$", "A0", "101060"),
            (r"^\0$", "\0", "0"),
            ("^a{,2}$", "a{,2}", "aa"),
            ("^a{$", "a{", "a"),
            ("^x{01}$", "x{01}", "x"),
            ("^a{2}$", "aa", "a"),
            ("^a{1,}?$", "aaa", ""),
            ("^[[a]$", "[", "b"),
            ("^[a&&b]+$", "a&b", "c"),
            ("^[a~~b]+$", "~", "c"),
            (r"^[\d-z]+$", "5-z", "y"),
            ("^[]a]$", "]", "b"),
            ("^[^]]$", "a", "]"),
            ("^[a-]$", "-", "b"),
            ("^[[:word:][:^ascii:]]$", "é", "-"),
            (r"^\b{start}", "{start}", "start"),
            (r"^(?P<n>a)(?<m>b)$", "ab", "a"),
            ("(?i)^ABC$", "abc", "abd"),
            ("(?s)^a.b$", "a\nb", "ab"),
            ("(?m)^b$", "a\nb", "ab"),
            ("^a(?i:b)c$", "aBc", "abC"),
            (r"^\pL\p{Greek}\PL$", "aα1", "aa1"),
            (r"^\p{^L}$", "1", "a"),
            (r"^\x41\x{42}$", "AB", "ab"),
            (r"\Ax\z", "x", "xx"),
            ("^(a|)$", "", "b"),
            ("^#x y$", "#x y", "x"),
            ("^a}]$", "a}]", "a"),
        ] {
            // `\b` at the start of `^\b{start}` needs a word character, so only its literal braces are tried.
            if expression.starts_with(r"^\b{") {
                assert!(translate(expression).is_ok_and(|t| t.contains(r"\x{7b}start\x{7d}")));
                continue;
            }
            let regex = compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert!(regex.is_match(matching), "{expression} matches {matching:?}");
            assert!(!regex.is_match(other), "{expression} does not match {other:?}");
        }
    }

    /// PX-231: what Go rejects is rejected.
    #[test]
    fn px_231_what_go_rejects_is_rejected() {
        for bad in [
            "[a--b]",
            "[[:foo:]]",
            r"\u0041",
            r"\Z",
            r"\C",
            "(?x)a",
            "(?R)a",
            "(?u)a",
            "a**",
            "a{2}{3}",
            "a{1001}",
            "a+*",
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<!a)",
            r"(a)\1",
            r"\8",
            "(",
            ")",
            "[",
            "[]",
            "[a",
            "*a",
            "a|*",
            "{2}",
            "a{3,2}",
            r"\",
            r"\E",
            r"\q",
            r"[\b]",
            r"[a-\d]",
            "[z-a]",
            r"\p{Alphabetic}",
            r"\p{greek}",
            r"\pé",
            r"\p{",
            "(?P<n>a)(?P<n>b)",
            "(?P<>a)",
            "(?P=n)",
            "(?i",
            "(?i-)",
            "(a{100}){11}",
            r"\x{110000}",
            r"\xg0",
            "((a{100}){10}){2}",
        ] {
            assert!(compile(bad).is_err(), "{bad}");
        }
    }

    /// PX-239: an expression that would take much memory is refused.
    #[test]
    fn px_239_large_expressions_are_refused() {
        assert_eq!(compile(r"\pL{1000}").err(), Some(BadExpression("expression is too large")));
    }
}
