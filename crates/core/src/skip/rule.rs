//! One skip expression, compiled to the least that does what it says.

use regex::Regex;

use super::re2::{BadExpression, compile};

/// A skip expression.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// Plain characters, as in nearly all of them: a compiled expression would take kilobytes for each application, none of
    /// which is in the processor's caches when there are many.
    Plain(Plain),
    /// Any other.
    Regex(Regex),
}

/// Plain characters, and where they have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    text: Box<str>,
    /// The text begins with them: `^`.
    at_the_start: bool,
    /// It ends with them: `$`.
    at_the_end: bool,
}

impl Rule {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`BadExpression`] says what is wrong with it.
    pub(super) fn compile(line: &str) -> Result<Self, BadExpression> {
        match Plain::read(line) {
            Some(plain) => Ok(Self::Plain(plain)),
            None => compile(line).map(Self::Regex),
        }
    }

    /// The rule of `line`, which this is, where it has to fit from the start, with all of its alternatives.
    ///
    /// # Errors
    /// [`BadExpression`] when it is too long then.
    pub(super) fn at_the_start(self, line: &str) -> Result<Self, BadExpression> {
        match self {
            Self::Plain(plain) => Ok(Self::Plain(Plain { at_the_start: true, ..plain })),
            Self::Regex(_) => compile(&format!("^(?:{line})")).map(Self::Regex),
        }
    }

    /// Whether it fits a text, or a part of it.
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Plain(plain) => plain.fits(text),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl Plain {
    /// Reads an expression that is plain characters between `^` and `$`, or `.*` after which nothing follows: that fits
    /// whatever comes.
    fn read(line: &str) -> Option<Self> {
        let (at_the_start, mut rest) = line.strip_prefix('^').map_or((false, line), |rest| (true, rest));
        let (mut text, mut at_the_end) = (String::new(), false);
        while let Some(first) = rest.chars().next() {
            rest = rest.get(first.len_utf8()..)?;
            match first {
                '$' if rest.is_empty() => at_the_end = true,
                '.' if rest == "*" => rest = "",
                '\\' => {
                    let escaped = rest.chars().next().filter(|escaped| ['.', '/', '-'].contains(escaped))?;
                    text.push(escaped);
                    rest = rest.get(1..)?;
                }
                plain if plain.is_ascii_alphanumeric() || "/_-~:@=&%,".contains(plain) => text.push(plain),
                _ => return None,
            }
        }
        (!text.is_empty()).then(|| Self { text: text.into(), at_the_start, at_the_end })
    }

    fn fits(&self, text: &str) -> bool {
        match (self.at_the_start, self.at_the_end) {
            (true, true) => *text == *self.text,
            (true, false) => text.starts_with(&*self.text),
            (false, true) => text.ends_with(&*self.text),
            (false, false) => text.contains(&*self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-231, PX-233: what is read as plain characters fits what the expression fits, and nothing else.
    #[test]
    fn px_231_plain_characters_are_what_the_expression_says() {
        let plain = [
            "^/public/",
            "/public",
            "^/health$",
            "/health$",
            "a",
            "^/a.*",
            "/a.*",
            r"^/a\.b",
            r"^/a\/b\-c$",
            "^/x-y_z~",
            r"https://a\.example\.com/public",
            r"^https://wiki\.example:8443/a",
            "^/@me/a=b&c%d,e",
            r"^/a\..*",
        ];
        let others = [
            "",
            "^",
            "$",
            ".*",
            "^.*",
            "^$",
            r"^/a\.*",
            "^/a.*$",
            "^/a+",
            "^/a?",
            "^/a*",
            "a|b",
            "^/a|^/b",
            "^/[ab]",
            "^/a{2}",
            "(?i)^/a",
            "^/(a)",
            r"^/\d",
            r"^/a\z",
            "^/a b",
            "^/ä",
            "^^/a",
            "/a$$",
            "^/a.b",
            r"\Q/a.b\E",
            "^/a.*b",
            "#/a",
            "^/a.*.*",
        ];
        let texts = [
            "",
            "/",
            "/a",
            "/a.",
            "/a..",
            "/a.b",
            "/axb",
            "/a/b-c",
            "/a/b-c/",
            "/aa",
            "/A",
            "/b",
            "/a b",
            "/ä",
            "/public",
            "/public/",
            "/public/x",
            "/x/public/",
            "/health",
            "/health/",
            "/healthz",
            "/x/health",
            "/a\n",
            "/a\nb",
            "\n/a",
            "/health\n",
            "https://a.example.com/public/x",
            "https://axexample.com/public",
            "https://b/https://a.example.com/public",
            "https://wiki.example:8443/ab",
            "/x-y_z~",
            "/@me/a=b&c%d,e",
            "/a.*",
            "/a{2}",
            "^/a",
            "/a$",
            "#/a",
            "/1",
        ];
        for line in plain.into_iter().chain(others) {
            assert_eq!(Plain::read(line).is_some(), plain.contains(&line), "{line}");
            let (rule, expression) = (Rule::compile(line).unwrap(), compile(line).unwrap());
            let (from_start, anchored) =
                (rule.clone().at_the_start(line).unwrap(), compile(&format!("^(?:{line})")).unwrap());
            for text in texts {
                assert_eq!(rule.fits(text), expression.is_match(text), "{line} {text}");
                assert_eq!(from_start.fits(text), anchored.is_match(text), "^{line} {text}");
            }
        }
    }
}
