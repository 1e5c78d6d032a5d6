//! Which targets are open to everybody: the skip expressions of a provider (PX-230 … PX-239).

mod re2;
mod rule;

use crate::outpost::Mode;
use crate::path;

pub use re2::{BadExpression, compile};
use rule::Rule;

/// The most expressions that one provider may have (PX-239).
const MOST: usize = 200;

/// A line that is no expression; the other lines stay in force (PX-232).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: BadExpression,
}

/// The compiled skip expressions of one provider.
#[derive(Clone, Debug, Default)]
pub struct SkipSet {
    expressions: Vec<Expression>,
    whole_url: bool,
}

#[derive(Clone, Debug)]
struct Expression {
    rule: Rule,
    with_query: bool,
}

impl SkipSet {
    /// Compiles the lines of `text`; empty lines mean nothing (PX-230).
    pub fn compile(text: &str, mode: Mode) -> (Self, Vec<BadLine>) {
        let whole_url = mode == Mode::ForwardDomain;
        let mut set = Self { expressions: Vec::new(), whole_url };
        let mut bad = Vec::new();
        for (number, line) in text.split('\n').map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
            let compiled = if set.expressions.len() < MOST {
                Expression::compile(line, whole_url)
            } else {
                Err(BadExpression("too many expressions"))
            };
            match compiled {
                Ok(expression) => set.expressions.push(expression),
                Err(reason) => bad.push(BadLine { line: number + 1, reason }),
            }
        }
        (set, bad)
    }

    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.expressions.is_empty()
    }

    /// Whether the expressions are compared with whole URLs (PX-235), and not with paths alone.
    pub fn takes_origin(&self) -> bool {
        self.whole_url
    }

    /// Whether a target is open to everybody.
    ///
    /// A path that is not in normal form never is (PX-233): someone behind us could read it otherwise.
    /// `origin` is scheme and host in normal form; domain mode compares it too (PX-235).
    pub fn opens(&self, origin: &str, raw_path: &str, query: Option<&str>) -> bool {
        if self.is_empty() {
            return false;
        }
        let Some(decoded) = path::decode_normal(raw_path) else { return false };
        if !self.whole_url {
            return self.expressions.iter().any(|expression| expression.rule.fits(&decoded));
        }
        let url = format!("{origin}{decoded}");
        self.expressions.iter().any(|expression| match query {
            Some(query) if expression.with_query => expression.rule.fits(&format!("{url}?{query}")),
            _ => expression.rule.fits(&url),
        })
    }
}

impl Expression {
    fn compile(line: &str, whole_url: bool) -> Result<Self, BadExpression> {
        if !whole_url {
            return Ok(Self { rule: Rule::compile(line)?, with_query: false });
        }
        // A rule for one URL must not be satisfied by that URL inside another one (PX-236).
        let anchored = ["http:", "https:", "http[s]", "https?", "(http", "(?:http"].iter().any(|s| line.starts_with(s));
        let rule = Rule::compile(line)?;
        let rule = if anchored { rule.at_the_start(line)? } else { rule };
        Ok(Self { rule, with_query: line.starts_with('^') && line.contains("\\?") })
    }
}

/// Lines that open more than their author is likely to mean, each with its number from 1 (PX-024). `domain` is that of the
/// cookies, in domain mode.
pub fn broad_lines<'a>(text: &'a str, mode: Mode, domain: &str) -> Vec<(usize, &'a str)> {
    let paths = ["", "/", "/zq7-x1/probe-93.k"];
    let whole_url = mode == Mode::ForwardDomain;
    let domain = domain.trim_start_matches('.');
    let hosts = [format!("https://zq7-x1.{domain}"), format!("http://zq7-x1.{domain}"), format!("https://{domain}")];
    // What matches a path alone matches it in any URL, unless it is anchored.
    let urls = hosts.iter().flat_map(|host| paths.map(|path| format!("{host}{path}")));
    let probes: Vec<String> = if whole_url { urls.collect() } else { paths.map(str::to_owned).to_vec() };
    let is_broad = |line: &str| {
        let compiled = Expression::compile(line, whole_url);
        compiled.is_ok_and(|expression| probes.iter().any(|probe| expression.rule.fits(probe)))
    };
    let lines = text.split('\n').map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    lines.filter(|(_, line)| is_broad(line)).map(|(number, line)| (number + 1, line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(text: &str, path: &str) -> bool {
        SkipSet::compile(text, Mode::Proxy).0.opens("https://wiki.example", path, None)
    }

    /// PX-230, PX-561: line ends of both kinds, blanks around, and empty lines that open nothing.
    #[test]
    fn px_230_lines_are_trimmed_and_empty_ones_ignored() {
        let text = "\r\n  ^/public/  \r\n\n^/health$\n";
        assert!(opens(text, "/public/a") && opens(text, "/health"));
        assert!(!opens(text, "/") && !opens(text, "/private") && !opens("", "/") && !opens("\n\n", "/x"));
    }

    /// PX-232, PX-239: a bad line is reported and skipped, the others stay; the set is bounded.
    #[test]
    fn px_232_a_bad_line_leaves_the_others_in_force() {
        let (set, bad) = SkipSet::compile("^/a\n(\n^/b", Mode::Proxy);
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2]);
        assert!(set.opens("", "/a", None) && set.opens("", "/b", None) && !set.opens("", "/c", None));
        let (set, bad) = SkipSet::compile(&"^/a\n".repeat(201), Mode::Proxy);
        assert_eq!((set.expressions.len(), bad.len()), (200, 1));
    }

    /// PX-233, PX-562: traversal out of a public prefix is not open.
    #[test]
    fn px_233_traversal_is_not_open() {
        for path in ["/public/../admin", "/public%2f..%2fadmin", "/public/%2e%2e/admin", "/public//x", "/public/..;/a"]
        {
            assert!(!opens("^/public/", path), "{path}");
        }
        assert!(opens("^/p b", "/p%20b"));
    }

    /// PX-234: the query takes no part in path rules.
    #[test]
    fn px_234_the_query_takes_no_part() {
        let (set, _) = SkipSet::compile("public", Mode::ForwardSingle);
        assert!(!set.opens("https://a.example", "/private", Some("x=public")));
    }

    /// PX-235, PX-236, PX-563: domain rules see the whole URL, and cannot match inside another one.
    #[test]
    fn px_235_domain_rules_see_the_whole_url() {
        let set = |text: &str| SkipSet::compile(text, Mode::ForwardDomain).0;
        let open = set("https://a\\.example\\.com/public");
        assert!(open.opens("https://a.example.com", "/public/x", None));
        assert!(!open.opens("https://b.example.com", "/https://a.example.com/public", None));
        assert!(!open.opens("https://b.example.com", "/", Some("https://a.example.com/public")));
        let with_query = set("^https://a\\.example\\.com/x\\?open=1$");
        assert!(with_query.opens("https://a.example.com", "/x", Some("open=1")));
        assert!(!with_query.opens("https://a.example.com", "/x", Some("open=1&y")));
        assert!(set("https?://a|b").opens("https://a", "/", None));
    }

    /// PX-024: an expression that opens everything is called broad, in domain mode also one that opens every site.
    #[test]
    fn px_024_broad_expressions_are_found() {
        for broad in ["/", ".*", "^/", "x*", "^/$"] {
            assert_eq!(broad_lines(&format!("^/public/\n\n{broad}"), Mode::Proxy, ""), [(3, broad)]);
        }
        for broad in ["/", ".*", "https://", "^https?://", "^https://.*\\.example\\.com/", "example.com/$", "://[^/]+$"]
        {
            assert_eq!(broad_lines(broad, Mode::ForwardDomain, ".example.com"), [(1, broad)]);
        }
        let narrow = "^https://wiki\\.example\\.com/\n/public/\n^/\n^https://[^/]*/healthz$\n(";
        assert_eq!(broad_lines(narrow, Mode::ForwardDomain, "example.com"), []);
    }
}
