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

/// Most paths that are tried behind the hosts of strangers.
const MOST_PATHS: usize = 32;

/// Whether a pattern fits addresses at hosts that have nothing in common (OA-841): with what it says itself behind the host, or
/// with something else.
pub fn is_broad(pattern: &str) -> bool {
    let Ok(compiled) = compile(pattern) else { return false };
    // What it says, were it a text.
    let said: String = pattern.chars().filter(|c| !r"\^$()".contains(*c)).collect();
    let own = said.match_indices(['/', ':', '?']).map(|(at, _)| said.get(at..).unwrap_or_default());
    let paths: Vec<&str> = ["", "/", "/callback", "/a/b?c=d"].into_iter().chain(own).take(MOST_PATHS).collect();
    let fits = |host: &str| {
        let mut all = ["https", "http"].iter().flat_map(|scheme| paths.iter().map(move |path| (scheme, path)));
        all.any(|(scheme, path)| compiled.is_match(&format!("{scheme}://{host}{path}")))
    };
    ["one.example", "two.test"].into_iter().all(fits)
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
        ] {
            assert!(is_broad(broad), "{broad}");
        }
        for narrow in [
            r"https://one\.example/.*",
            r"https://.*\.one\.example/cb",
            r"https://(one\.example|one\.test)/cb",
            r"http://127\.0\.0\.1:\d+/.*",
            r"app://.*",
            "(",
        ] {
            assert!(!is_broad(narrow), "{narrow}");
        }
    }
}
