//! How deeply a source nests, found out before anything is built of it.
//!
//! Syntax trees are walked and dropped by recursion, so a source that nests without end would take the stack with it.
//! Long chains nest, too: in `a + b + c` each operand is one level above the next. The count here is never below that
//! of the tree, and sources that people write are far from it.

use ruff_python_ast::token::TokenKind;
use ruff_python_parser::{Mode, lexer::lex};

/// Levels of operators, calls, brackets and blocks in one place.
const DEPTH: usize = 150;

/// The length of the chain in one bracket.
#[derive(Clone, Copy, Default)]
struct Chain {
    /// Since the last comma.
    links: usize,
    /// Functions without a name. A comma among their parameters does not end the chain.
    lambdas: usize,
}

/// The line where a text nests too deeply, line ends within text not counted.
pub(crate) fn too_deep(text: &str) -> Option<u32> {
    let mut lexer = lex(text, Mode::Module);
    // For every open bracket, the length of the chain it is in; the first is that of the statement.
    let mut chains = vec![Chain::default()];
    let mut line = 1;
    let mut blocks = 0_usize;
    loop {
        let kind = lexer.next_token();
        let inside = chains.len() > 1;
        let chain = chains.last_mut()?;
        match kind {
            TokenKind::EndOfFile => return None,
            TokenKind::Comma => chain.links = 0,
            TokenKind::NonLogicalNewline => line += 1,
            TokenKind::Lambda => chain.lambdas += 1,
            TokenKind::Newline | TokenKind::Semi => {
                line += u32::from(kind == TokenKind::Newline);
                chains = vec![Chain::default()];
            }
            TokenKind::Indent => blocks += 1,
            TokenKind::Dedent => blocks = blocks.saturating_sub(1),
            TokenKind::Lpar
            | TokenKind::Lsqb
            | TokenKind::Lbrace
            | TokenKind::FStringStart
            | TokenKind::TStringStart => {
                chain.links += 1;
                chains.push(Chain::default());
            }
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace | TokenKind::FStringEnd | TokenKind::TStringEnd
                if inside =>
            {
                chains.pop();
            }
            TokenKind::Dot
            | TokenKind::Plus
            | TokenKind::Minus
            | TokenKind::Star
            | TokenKind::DoubleStar
            | TokenKind::Slash
            | TokenKind::DoubleSlash
            | TokenKind::Percent
            | TokenKind::At
            | TokenKind::Vbar
            | TokenKind::Amper
            | TokenKind::CircumFlex
            | TokenKind::LeftShift
            | TokenKind::RightShift
            | TokenKind::Tilde
            | TokenKind::Not
            | TokenKind::If
            | TokenKind::Else
            | TokenKind::For
            | TokenKind::Await
            | TokenKind::Yield
            | TokenKind::ColonEqual => chain.links += 1,
            _ => {}
        }
        let depth: usize = chains.iter().map(|chain| chain.links + chain.lambdas).sum();
        if depth + blocks > DEPTH {
            return Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-800: chains nest; lists, tables and long texts do not.
    #[test]
    fn co_800_only_what_nests_counts() {
        assert_eq!(too_deep(&format!("x = [{}]", "f(a + 1, b[0]), ".repeat(1000))), None);
        assert_eq!(too_deep(&"x = a + b\nif x: y()\n".repeat(1000)), None);
        assert_eq!(too_deep(&format!("x = {}y", "a or b and not c or ".repeat(40))), None);
        assert_eq!(too_deep(&format!("x = '{}'  # {}", "+".repeat(1000), "+".repeat(1000))), None);
        for chain in ["+a", ".a", "()", "[0]", " if a else b"] {
            assert!(too_deep(&format!("x = a{}", chain.repeat(151))).is_some(), "{chain}");
        }
        assert!(too_deep(&format!("x = f'{}'", "{f'".repeat(151))).is_some());
        assert!(too_deep(&format!("x = {}a", "lambda a, b: ".repeat(151))).is_some());
        assert_eq!(too_deep(&format!("x = 1\n\n[\n{}", "+a".repeat(151))), Some(4));
    }
}
