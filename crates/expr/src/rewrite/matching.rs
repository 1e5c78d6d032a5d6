//! `match`, which becomes `if` and `elif` in its place.

use ruff_python_ast::{Expr, Pattern, StmtMatch, token::TokenKind};
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::{Rewrite, statements::KEPT};

/// Classes whose one positional pattern is about the value itself.
const OF_ITSELF: [&str; 9] = ["bool", "bytes", "dict", "float", "frozenset", "int", "list", "set", "str"];

/// Functions that are counted by whatever name they go.
const HELD: [&str; 4] = ["findall", "finditer", "split", "loads"];

/// The first pattern in this one that does not become a condition.
pub(crate) fn unmatchable(pattern: &Pattern) -> Option<&Pattern> {
    match pattern {
        Pattern::MatchValue(_) | Pattern::MatchSingleton(_) | Pattern::MatchStar(_) => None,
        Pattern::MatchAs(named) => named.pattern.as_deref().and_then(unmatchable),
        Pattern::MatchOr(any) => any.patterns.iter().find_map(unmatchable),
        Pattern::MatchSequence(items) => items.patterns.iter().find_map(unmatchable),
        Pattern::MatchMapping(items) => items.patterns.iter().find_map(unmatchable),
        Pattern::MatchClass(class) => {
            let positional = &class.arguments.patterns;
            let itself = matches!(&*class.cls, Expr::Name(name) if OF_ITSELF.contains(&name.id.as_str()))
                && positional.len() == 1;
            if !positional.is_empty() && !itself {
                return Some(pattern);
            }
            let keywords = class.arguments.keywords.iter().map(|keyword| &keyword.pattern);
            positional.iter().chain(keywords).find_map(unmatchable)
        }
    }
}

impl Rewrite<'_> {
    /// Puts conditions in the place of patterns.
    pub(super) fn matching(&mut self, stmt: &StmtMatch) {
        let subject = format!("__pc_m{}", self.matches);
        self.matches += 1;
        if self.keeps() {
            self.parts.extend(KEPT);
        }
        let Some(colon) = self.token(TokenKind::Colon, stmt.subject.end()) else { return };
        self.edits.replace(TextRange::at(stmt.start(), TextSize::of("match")), format!("if [{subject}:=("));
        self.edits.replace(colon, ")]:");
        for (at, case) in stmt.cases.iter().enumerate() {
            let word = if at == 0 { "if" } else { "elif" };
            let condition = self.condition(&case.pattern, &subject);
            let last = if case.guard.is_some() { TokenKind::If } else { TokenKind::Colon };
            let Some(last) = self.token(last, case.pattern.end()) else { return };
            let range = TextRange::new(case.start(), last.end());
            let breaks = self.text.get(range.to_std_range()).unwrap_or_default().matches('\n').count();
            let breaks = "\n".repeat(breaks);
            if let Some(guard) = &case.guard {
                let Some(colon) = self.token(TokenKind::Colon, guard.end()) else { return };
                self.edits.replace(range, format!("{word} ({breaks}{condition})and("));
                self.edits.replace(colon, "):");
            } else {
                self.edits.replace(range, format!("{word} ({breaks}{condition}):"));
            }
        }
    }

    /// Whether a value, by what it is called, matches a pattern. Names are bound on the way.
    fn condition(&self, pattern: &Pattern, of: &str) -> String {
        match pattern {
            Pattern::MatchValue(value) => format!("{of}==({})", self.source(value.value.range())),
            Pattern::MatchSingleton(_) => format!("{of} is {}", self.source(pattern.range())),
            Pattern::MatchStar(_) => "True".to_owned(),
            Pattern::MatchAs(named) => {
                let inner = named.pattern.as_deref().map(|inner| self.condition(inner, of));
                let name = named.name.as_ref().map(|name| format!("[{name}:={of}]"));
                let parts: Vec<String> = inner.into_iter().chain(name).collect();
                if parts.is_empty() { "True".to_owned() } else { all(&parts) }
            }
            Pattern::MatchOr(any) => {
                let any: Vec<String> = any.patterns.iter().map(|pattern| self.condition(pattern, of)).collect();
                format!("({})", any.join(" or "))
            }
            Pattern::MatchSequence(items) => self.items(&items.patterns, of),
            Pattern::MatchMapping(items) => {
                let mut parts = vec![format!("isinstance({of},dict)")];
                let keys: Vec<&str> = items.keys.iter().map(|key| self.source(key.range())).collect();
                for (key, pattern) in keys.iter().zip(&items.patterns) {
                    parts.push(format!("({key})in {of}"));
                    parts.push(self.condition(pattern, &format!("{of}[{key}]")));
                }
                if let Some(rest) = &items.rest {
                    let keys = keys.join(",");
                    parts.push(format!(
                        "[{rest}:={{__pc_x:{of}[__pc_x] for __pc_x in {of} if __pc_x not in [{keys}]}}]"
                    ));
                }
                all(&parts)
            }
            Pattern::MatchClass(class) => {
                let is = if self.mentions.versions { "__pc_isinstance" } else { "isinstance" };
                let version = class.cls.as_attribute_expr().and_then(|of| crate::check::of_version(&of.attr));
                let mut parts = vec![match version {
                    Some(stands) => format!("{is}({of},{stands})"),
                    None => format!("{is}({of},{})", self.source(class.cls.range())),
                }];
                parts.extend(class.arguments.patterns.iter().map(|pattern| self.condition(pattern, of)));
                for keyword in &class.arguments.keywords {
                    parts.push(format!("hasattr({of},'{}')", keyword.attr));
                    let reads = if self.keeps() && HELD.contains(&keyword.attr.as_str()) {
                        format!("__pc_getattr({of},'{}')", keyword.attr)
                    } else {
                        format!("{of}.{}", keyword.attr)
                    };
                    parts.push(self.condition(&keyword.pattern, &reads));
                }
                all(&parts)
            }
        }
    }

    fn items(&self, patterns: &[Pattern], of: &str) -> String {
        let star = patterns.iter().position(Pattern::is_match_star);
        let least = patterns.len() - usize::from(star.is_some());
        let count = if star.is_some() { ">=" } else { "==" };
        let mut parts = vec![format!("isinstance({of},(list,tuple))"), format!("len({of}){count}{least}")];
        for (at, pattern) in patterns.iter().enumerate() {
            let behind = patterns.len() - at;
            match pattern {
                Pattern::MatchStar(rest) => {
                    let name = rest.name.as_ref();
                    parts.extend(name.map(|name| format!("[{name}:=list({of}[{at}:len({of})-{}])]", behind - 1)));
                }
                _ if star.is_some_and(|star| star < at) => {
                    parts.push(self.condition(pattern, &format!("{of}[-{behind}]")));
                }
                _ => parts.push(self.condition(pattern, &format!("{of}[{at}]"))),
            }
        }
        all(&parts)
    }

    fn source(&self, range: TextRange) -> &str {
        self.text.get(range.to_std_range()).unwrap_or_default()
    }
}

fn all(parts: &[String]) -> String {
    format!("({})", parts.join(" and "))
}
