//! Hosts that somebody registers for whom a pattern is not meant (OA-841).

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// Names that anybody may have registered: of every usual length and kind, two of each.
const NAMES: &str = "q k qq kk one two qqqq kkkk qqqqq kkkkk qqqqqq kkkkkk qqqqqqq kkkkkkk stranger somebody \
                     qqqqqqqqq kkkkkkkkk qqqqqqqqqq kkkkkkkkkk qqqqqqqqqqqq kkkkkkkkkkkk 47 58 q4 k5 q-q k-k";
/// Those of them that are joined with what a pattern says.
const JOINED: [&str; 4] = ["q", "k", "one", "two"];
/// Where names are registered, whatever a pattern says.
const SUFFIXES: [&str; 7] = ["com", "example", "test", "net", "io", "co.uk", "com.au"];
/// Top-level names under which nobody registers anything: what is there is one's own.
const OWN: [&str; 8] = ["local", "localhost", "localdomain", "lan", "corp", "home", "internal", "intranet"];
/// Most pieces of a pattern that are tried.
const MOST: usize = 12;

/// The hosts of strangers that a pattern might fit, made of what it says itself, too: by the names of the strangers. Hosts that
/// it lists are nobody else's.
pub(super) fn hosts(pattern: &str) -> Vec<BTreeSet<String>> {
    let runs = runs(pattern);
    let labels: BTreeSet<&str> = runs.iter().flat_map(|run| run.split('.')).filter(|label| !label.is_empty()).collect();
    let is_top =
        |label: &&str| label.len() > 1 && label.bytes().all(|byte| byte.is_ascii_alphabetic()) && !OWN.contains(label);
    let own: BTreeSet<&str> = runs.iter().filter_map(|run| run.rsplit('.').next()).filter(is_top).take(MOST).collect();
    let pieces: BTreeSet<&str> = runs.iter().map(|run| run.trim_matches('.')).chain(labels.iter().copied()).collect();
    let pieces: Vec<&str> = pieces.into_iter().filter(|piece| !piece.is_empty()).take(MOST).collect();
    let mut all = Vec::new();
    for name in NAMES.split(' ').filter(|name| !labels.contains(name)) {
        let mut hosts = BTreeSet::new();
        for suffix in SUFFIXES.iter().chain(&own) {
            hosts.insert(format!("{name}.{suffix}"));
        }
        for suffix in SUFFIXES.iter().take(1).chain(&own).filter(|_| JOINED.contains(&name)) {
            for piece in &pieces {
                for joint in [".", "-", ""] {
                    hosts.insert(format!("{piece}{joint}{name}.{suffix}"));
                }
                // The piece is part of the registered name then; with a dot it would be the owner's own.
                for joint in ["-", ""] {
                    let registered = piece.rsplit_once('.').map_or(*piece, |(first, _)| first);
                    if !registered.contains('.') {
                        hosts.insert(format!("{name}{joint}{registered}.{suffix}"));
                    }
                }
            }
        }
        all.push(hosts);
    }
    all
}

/// The literal pieces of the hosts in a pattern: letters, digits, hyphens and dots that follow each other. What may be anything
/// ends a piece.
fn runs(pattern: &str) -> BTreeSet<String> {
    let mut runs = BTreeSet::new();
    let parts: Vec<&str> = pattern.split("://").collect();
    for part in if parts.len() > 1 { parts.get(1..).unwrap_or_default() } else { &parts } {
        let (mut run, mut chars) = (String::new(), part.chars().peekable());
        while let Some(c) = chars.next() {
            match literal(c, &mut chars) {
                Some(c) => run.push(c),
                None if c == '/' => break,
                None => drop(runs.insert(std::mem::take(&mut run))),
            }
        }
        runs.insert(run);
    }
    runs
}

/// What a character of a pattern says of a host by itself. Skips what belongs to a character that says nothing.
fn literal(c: char, chars: &mut Peekable<Chars<'_>>) -> Option<char> {
    match c {
        '\\' => chars.next().filter(|c| matches!(c, '.' | '-')),
        '.' => chars.peek().is_none_or(|next| !"*+?{".contains(*next)).then_some('.'),
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => Some(c.to_ascii_lowercase()),
        '[' => {
            chars.next_if_eq(&'^');
            let mut escaped = chars.next() == Some('\\');
            while let Some(c) = chars.next_if(|c| escaped || *c != ']') {
                escaped = !escaped && c == '\\';
            }
            chars.next();
            None
        }
        '{' => {
            chars.by_ref().find(|c| *c == '}');
            None
        }
        '(' if chars.next_if_eq(&'?').is_some() => {
            chars.by_ref().find(|c| ":>)".contains(*c));
            None
        }
        _ => None,
    }
}
