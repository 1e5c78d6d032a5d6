//! The text of an expression, and what becomes of it before it is compiled.
//!
//! Positions are bytes in the dedented text; lines are those of the text that was typed, as dedenting keeps them.

use std::borrow::Cow;

use ruff_python_ast::{
    PySourceType,
    token::{TokenKind, Tokens},
};
use ruff_python_parser::parse_unchecked_source;
use ruff_text_size::{TextRange, TextSize};

/// The readings of a text, likeliest first: as it stands, and with common indentation removed. The indentation of the
/// first line does not count in either, as clients trim it (CO-220). Both parse only where they mean the same.
pub(crate) fn readings(source: &str) -> Vec<String> {
    let source: Cow<'_, str> =
        if source.contains('\r') { source.replace("\r\n", "\n").replace('\r', "\n").into() } else { source.into() };
    let (first, rest) = source.split_once('\n').unwrap_or((&source, ""));
    let margin = rest.split('\n').filter(|line| !line.trim().is_empty()).map(indent).reduce(common).unwrap_or_default();
    let mut readings = vec![source.trim_start_matches([' ', '\t']).to_owned()];
    if !margin.is_empty() {
        let mut text = first.trim_start().to_owned();
        for line in rest.split('\n') {
            text.push('\n');
            text.push_str(line.strip_prefix(margin).unwrap_or_else(|| line.trim_start()));
        }
        readings.push(text);
    }
    readings
}

/// The text with parentheses around names that are words of statements elsewhere: `x = 1; match = 2`. What follows a
/// semicolon or a colon in a line is no such statement, but the parser takes it for one.
pub(crate) fn names_apart(text: &str) -> String {
    let parsed = parse_unchecked_source(text, PySourceType::Python);
    let tokens: Vec<_> = parsed.tokens().iter().map(|token| (token.kind(), range_of(token))).collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (place, (kind, range)) in tokens.iter().enumerate().skip(1) {
        let before = tokens.get(place - 1).map(|(kind, _)| *kind);
        let after = tokens.get(place + 1).map(|(kind, _)| *kind);
        let text_of = |range: &TextRange| text.get(range.to_std_range()).unwrap_or_default();
        let word = !matches!(kind, TokenKind::String) && matches!(text_of(range), "match" | "case" | "type");
        if word && matches!(before, Some(TokenKind::Semi | TokenKind::Colon)) && after != Some(TokenKind::Name) {
            out.push_str(text.get(at..range.start().to_usize()).unwrap_or_default());
            out.push('(');
            out.push_str(text_of(range));
            out.push(')');
            at = range.end().to_usize();
        }
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

fn indent(line: &str) -> &str {
    line.get(..line.len() - line.trim_start().len()).unwrap_or_default()
}

fn common<'a>(left: &'a str, right: &'a str) -> &'a str {
    let same = left.bytes().zip(right.bytes()).take_while(|(a, b)| a == b).count();
    left.get(..same).unwrap_or_default()
}

/// Where lines begin, for positions to become line numbers.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line of a position, from 1.
    pub(crate) fn line(&self, at: TextSize) -> u32 {
        u32::try_from(self.0.partition_point(|start| *start <= at.to_usize())).unwrap_or(u32::MAX)
    }
}

/// Edits of a text, collected in any order. Insertions at one place keep the order that nesting demands.
#[derive(Default)]
pub(crate) struct Edits {
    edits: Vec<Edit>,
    order: i32,
}

struct Edit {
    range: TextRange,
    /// At one place: what closes comes before what opens, inner closings before outer, outer openings before inner.
    rank: (u8, i32),
    text: Cow<'static, str>,
}

impl Edits {
    /// Puts `open` and `close` around a range.
    pub(crate) fn wrap(
        &mut self,
        range: TextRange,
        open: impl Into<Cow<'static, str>>,
        close: impl Into<Cow<'static, str>>,
    ) {
        self.order += 1;
        self.push(TextRange::empty(range.start()), (2, self.order), open.into());
        self.push(TextRange::empty(range.end()), (0, -self.order), close.into());
    }

    /// Puts `text` in front of a position.
    pub(crate) fn insert(&mut self, at: TextSize, text: impl Into<Cow<'static, str>>) {
        self.order += 1;
        self.push(TextRange::empty(at), (1, self.order), text.into());
    }

    /// Puts `text` behind whatever ends at a position.
    pub(crate) fn append(&mut self, at: TextSize, text: impl Into<Cow<'static, str>>) {
        self.order += 1;
        self.push(TextRange::empty(at), (0, -self.order), text.into());
    }

    /// Replaces a range.
    pub(crate) fn replace(&mut self, range: TextRange, text: impl Into<Cow<'static, str>>) {
        self.push(range, (3, 0), text.into());
    }

    fn push(&mut self, range: TextRange, rank: (u8, i32), text: Cow<'static, str>) {
        self.edits.push(Edit { range, rank, text });
    }

    /// The text with all edits applied, and for each of its lines the line it came from.
    pub(crate) fn apply(mut self, text: &str) -> (String, Vec<u32>) {
        self.edits.sort_by_key(|edit| (edit.range.start(), edit.rank));
        let mut out = String::with_capacity(text.len() + self.edits.iter().map(|edit| edit.text.len()).sum::<usize>());
        let (mut lines, mut line, mut at) = (vec![1], 1, 0);
        for edit in &self.edits {
            let (start, end) = (edit.range.start().to_usize(), edit.range.end().to_usize());
            copy(text.get(at..start).unwrap_or_default(), &mut out, &mut lines, &mut line);
            // What is inserted belongs to the line it is inserted in; what replaces several lines keeps them.
            let gone = text.get(start..end).unwrap_or_default().matches('\n').count();
            let gone = u32::try_from(gone).unwrap_or(0);
            for (at, _) in (1..).zip(edit.text.matches('\n')) {
                lines.push(line + gone.min(at));
            }
            line += gone;
            out.push_str(&edit.text);
            at = end.max(at);
        }
        copy(text.get(at..).unwrap_or_default(), &mut out, &mut lines, &mut line);
        (out, lines)
    }
}

fn copy(text: &str, out: &mut String, lines: &mut Vec<u32>, line: &mut u32) {
    for _ in text.matches('\n') {
        *line += 1;
        lines.push(*line);
    }
    out.push_str(text);
}

/// Indents every line that does not begin inside of a string.
pub(crate) fn indent_lines(text: &str, tokens: &Tokens, edits: &mut Edits) {
    let mut strings = Vec::new();
    let mut open = Vec::new();
    for token in tokens.iter() {
        match token.kind() {
            TokenKind::String => strings.push(range_of(token)),
            TokenKind::FStringStart | TokenKind::TStringStart => open.push(range_of(token).start()),
            TokenKind::FStringEnd | TokenKind::TStringEnd => {
                if let Some(start) = open.pop() {
                    strings.push(TextRange::new(start, range_of(token).end()));
                }
            }
            _ => {}
        }
    }
    let inside = |at: usize| strings.iter().any(|range| range.start().to_usize() < at && at < range.end().to_usize());
    for at in std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)) {
        if !inside(at)
            && let Ok(at) = TextSize::try_from(at)
        {
            edits.push(TextRange::empty(at), (0, i32::MIN), Cow::Borrowed(" "));
        }
    }
}

fn range_of(token: &ruff_python_ast::token::Token) -> TextRange {
    ruff_text_size::Ranged::range(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-220: common indentation is removed; that of the first line does not count.
    #[test]
    fn co_220_common_indentation_is_removed() {
        assert_eq!(readings("a\n    b\n      c\n\n    d"), ["a\n    b\n      c\n\n    d", "a\nb\n  c\n\nd"]);
        assert_eq!(readings("    a\r\n    b"), ["a\n    b", "a\nb"]);
        assert_eq!(readings("if a:\n    return 1\nreturn 2"), ["if a:\n    return 1\nreturn 2"]);
    }

    /// CO-220: every line of the edited text knows the line it came from.
    #[test]
    fn co_220_inserted_lines_belong_to_the_line_they_are_inserted_in() {
        let mut edits = Edits::default();
        edits.insert(TextSize::new(2), "x\n");
        edits.replace(TextRange::new(TextSize::new(2), TextSize::new(5)), "y");
        let (text, lines) = edits.apply("a\nb\nc\nd");
        assert_eq!(text, "a\nx\ny\nd");
        assert_eq!(lines, [1, 2, 2, 4]);
    }
}
