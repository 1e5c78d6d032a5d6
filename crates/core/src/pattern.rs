//! Patterns of redirect URIs (OA-045).

mod strangers;

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

/// Longest pattern, in bytes.
const LONGEST: usize = 1024;
/// Most memory of a compiled pattern, in bytes.
const LARGEST: usize = 256 * 1024;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// More than 1 KiB.
    #[error("A pattern has at most 1024 bytes.")]
    Long,
    /// It does not compile, or asks for look-around or back-references, which take more than linear time.
    #[error("This is no pattern that can be matched in linear time.")]
    Unusable,
}

fn compile(pattern: &str) -> Result<Regex, PatternError> {
    if pattern.len() > LONGEST {
        return Err(PatternError::Long);
    }
    // By itself first: an unbalanced parenthesis must not find its partner in ours.
    regex_syntax_of(pattern)?;
    RegexBuilder::new(&format!(r"\A(?:{pattern})\z"))
        .size_limit(LARGEST)
        .dfa_size_limit(LARGEST)
        .build()
        .map_err(|_| PatternError::Unusable)
}

fn regex_syntax_of(pattern: &str) -> Result<(), PatternError> {
    RegexBuilder::new(pattern).size_limit(LARGEST).build().map(drop).map_err(|_| PatternError::Unusable)
}

/// Whether a pattern can be used.
///
/// # Errors
/// [`PatternError`] says what is wrong with it.
pub fn check(pattern: &str) -> Result<(), PatternError> {
    compile(pattern).map(drop)
}

/// Whether a pattern fits all of a text, as it is written; one that cannot be used fits nothing.
pub fn matches_whole(pattern: &str, text: &str) -> bool {
    compile(pattern).is_ok_and(|compiled| compiled.is_match(text))
}

/// Most alternatives, and most paths of each, that are tried behind the hosts of strangers.
const MOST: usize = 16;

/// Whether a pattern fits addresses at hosts that have nothing in common (OA-841): with what it says itself behind the host, or
/// with something else.
pub fn is_broad(pattern: &str) -> bool {
    fits_strangers(pattern, |text| text.split_once("://").map_or("", |(_, rest)| rest))
}

/// The same, also where a stranger's address says in its path or query what the pattern means of the host, as
/// `https://two.test/.one.example/cb` does for `https://.*\.one\.example/cb`.
pub fn is_loose(pattern: &str) -> bool {
    is_broad(pattern) || fits_strangers(pattern, |text| text)
}

/// Whether a pattern fits addresses of strangers that end like the chosen part of what it says.
fn fits_strangers(pattern: &str, part: impl Fn(&str) -> &str) -> bool {
    let Ok(compiled) = compile(pattern) else { return false };
    let own = samples(pattern);
    let own = own.iter().take(MOST).flat_map(|text| {
        let text = part(text);
        let tails = text.match_indices(['/', ':', '?']).map(|(at, _)| text.get(at..).unwrap_or_default());
        tails.take(MOST)
    });
    let paths: BTreeSet<&str> = ["", "/", "/callback", "/a/b?c=d"].into_iter().chain(own).collect();
    let fits = |host: &str| {
        let mut all = ["https", "http"].iter().flat_map(|scheme| paths.iter().map(move |path| (scheme, path)));
        all.any(|(scheme, path)| compiled.is_match(&format!("{scheme}://{host}{path}")))
    };
    strangers::hosts(pattern).into_iter().filter(|hosts| hosts.iter().any(|host| fits(host))).nth(1).is_some()
}

/// Texts that a pattern likely fits: one for each of its alternatives, of those inside it the first. What that misses is no
/// address that somebody registers.
fn samples(pattern: &str) -> Vec<String> {
    let (mut done, mut text, mut item) = (Vec::new(), String::new(), 0);
    let (mut groups, mut skipped) = (Vec::new(), None::<usize>);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if let Some(depth) = skipped {
            // Further alternatives of a group.
            match c {
                '\\' => drop(chars.next()),
                '(' => skipped = Some(depth + 1),
                ')' if depth > 0 => skipped = Some(depth - 1),
                ')' => (skipped, item) = (None, groups.pop().unwrap_or_default()),
                _ => {}
            }
            continue;
        }
        match c {
            '(' => {
                groups.push(text.len());
                if chars.next_if_eq(&'?').is_some() && chars.by_ref().find(|c| ":>)".contains(*c)) == Some(')') {
                    groups.pop();
                }
            }
            ')' => item = groups.pop().unwrap_or_default(),
            '|' if groups.is_empty() => done.push(std::mem::take(&mut text)),
            '|' => skipped = Some(0),
            '^' | '$' | '*' | '+' | '?' => {}
            '{' => {
                let times: String = chars.by_ref().take_while(|c| *c != '}').take_while(char::is_ascii_digit).collect();
                let again = times.parse::<usize>().unwrap_or(1).min(64).saturating_sub(1);
                text.push_str(&text.get(item..).unwrap_or_default().repeat(again));
            }
            '[' => {
                item = text.len();
                let negated = chars.next_if_eq(&'^').is_some();
                let first = chars.next().filter(|first| *first != '\\').or_else(|| chars.next());
                while chars.next().is_some_and(|c| c != ']') {}
                text.push(first.filter(|_| !negated).map_or('a', of_class));
            }
            _ => {
                item = text.len();
                match c {
                    '.' => text.push('a'),
                    '\\' => text.extend(chars.next().filter(|c| !"Azb".contains(*c)).map(of_class)),
                    _ => text.push(c),
                }
            }
        }
    }
    done.push(text);
    done
}

/// What stands for a class of this letter, or itself.
const fn of_class(letter: char) -> char {
    match letter {
        'd' => '0',
        'w' => 'a',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-045: a pattern fits the whole of a text, with its case; a dot is no line break.
    #[test]
    fn oa_045_patterns_fit_the_whole() {
        assert!(matches_whole(r"https://[a-z]+\.example/cb", "https://wiki.example/cb"));
        assert!(matches_whole("a|b", "b") && !matches_whole("a|b", "ab"));
        for bad in ["https://wiki.example/cb/", "xhttps://wiki.example/cb", "https://WIKI.example/cb"] {
            assert!(!matches_whole(r"https://[a-z]+\.example/cb", bad), "{bad}");
        }
        assert!(!matches_whole("a.b", "a\nb"));
    }

    /// OA-045: what does not compile, is not linear or is too long is refused, and fits nothing.
    #[test]
    fn oa_045_other_patterns_are_refused() {
        for bad in ["(", "a)(b", r"(a)\1", "(?=a)", "(?<!a)b", "a{1000}{1000}"] {
            assert_eq!(check(bad), Err(PatternError::Unusable), "{bad}");
            assert!(!matches_whole(bad, "a"));
        }
        assert_eq!(check(&"a".repeat(1025)), Err(PatternError::Long));
        assert_eq!(check(&"a".repeat(1024)), Ok(()));
    }

    /// OA-045: a pattern that would take exponential time elsewhere takes linear time.
    #[test]
    fn oa_045_no_pattern_is_slow() {
        assert!(!matches_whole("(a+)+b", &"a".repeat(100_000)));
    }

    /// OA-841: a pattern that fits anything is noticed.
    #[test]
    fn oa_841_broad_patterns_are_noticed() {
        for broad in [
            ".*",
            "https?://.+",
            "https://.*",
            "http://.*/",
            "https://.*/oauth2/callback",
            r"^https://[a-z.]+/(login|oauth)/cb\?x=1$",
            r"https://app\.example/cb|https://.*",
            r"(https://[^/]+:8443/cb)",
            r"https://(?:[a-z0-9-]+\.)+[a-z]{2,}/auth/v\d{2}/[A-Z]x",
            r"https?://(?P<host>.*)/(a(b|c)|d)+/end",
            r"https?://.+\.(com|org|net|io|dev)(/.*)?",
            "https://.*com/cb",
            r"https://[^/]+\.com/cb",
            r"https://[a-z]+\.[a-z]{2,3}/cb",
            "https://[a-z.]{4,10}/cb",
            "https://[^/]{3,10}/.*",
            r"https://www\..*",
            r"https://app\..*",
            "https://app.*",
            r"https://my\.app\..*",
            r"https://my-app-.*/cb",
            r"https://.*example\.com/cb",
            r"https://app\.example\.com.*",
            r"https://[a-z]{8}\.shop/cb",
            r"https://[0-9]+\.dev/cb",
            r"https://[a-z]+-[a-z]+\.app/cb",
            r"https://[^.]+\.co\.uk/cb",
        ] {
            assert!(is_broad(broad) && is_loose(broad), "{broad}");
        }
        for narrow in [
            r"https://one\.example/.*",
            r"https://.*\.one\.example/cb",
            r"https://(one\.example|one\.test)/cb",
            r"http://127\.0\.0\.1:\d+/.*",
            r"app://.*",
            r"https://[a-z]{3}\.one\.example/(a|b",
            r"https://(a|one\.example)/cb",
            r"https://app\.example\.com/cb",
            "https://app.example.com/cb",
            r"https://(one\.com|two\.com|q\.io|k\.io)/cb",
            r"https?://app\.example\.com(:\d+)?/.*",
            r"https://.*\.example\.com/cb",
            r"https://app-[0-9]+\.example\.com/.*",
            r"https://[a-z]+\.app\.example/cb",
            r"https://[a-z]+\.(dev|prod)\.example\.com/cb",
            r"https://[a-z0-9-]+\.corp/cb",
            r"http://localhost:\d+/.*",
            r"http://192\.168\.\d+\.\d+/cb",
            "(",
        ] {
            assert!(!is_broad(narrow), "{narrow}");
            assert_eq!(is_loose(narrow), narrow.starts_with(r"https://.*\."), "{narrow}");
        }
    }
}
