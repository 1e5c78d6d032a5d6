//! Patterns of redirect URIs (OA-045).

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

/// Whether a pattern fits addresses that have nothing in common (OA-841).
pub fn is_broad(pattern: &str) -> bool {
    ["https://one.example/callback", "http://two.test/"].iter().all(|text| matches_whole(pattern, text))
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
        assert!(is_broad(".*") && is_broad("https?://.+"));
        assert!(!is_broad(r"https://one\.example/.*"));
    }
}
