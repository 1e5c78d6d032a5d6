//! What can be wrong with an expression, at save and at run.

use std::fmt;

/// Why an expression cannot be saved. [`Display`](fmt::Display) is the text for the field `expression` (CO-190).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// What kind of trouble it is.
    pub kind: CompileErrorKind,
    /// The line in the text that was typed, from 1; 0 when it is about the whole.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// What kind of trouble an expression has at save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompileErrorKind {
    /// It is not in the language.
    Syntax,
    /// It uses a name that is not provided (CO-239).
    NotAvailable,
    /// It is too long.
    TooLong,
}

impl CompileError {
    pub(crate) fn syntax(line: u32, message: impl Into<String>) -> Self {
        Self { kind: CompileErrorKind::Syntax, line, message: message.into(), hint: None }
    }

    pub(crate) fn not_available(line: u32, name: &str) -> Self {
        let message = format!("{name} is not available in Portcullis expressions");
        Self { kind: CompileErrorKind::NotAvailable, line, message, hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            CompileErrorKind::Syntax => {
                write!(f, "Expression Syntax Error: line {}: {}", self.line, self.message)?;
                self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
            }
            // Clients look for exactly this text, so line and hint stay apart.
            CompileErrorKind::NotAvailable | CompileErrorKind::TooLong => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for CompileError {}

/// Why an evaluation came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{traceback}")]
pub struct RunError {
    /// What kind of trouble it was.
    pub kind: RunErrorKind,
    /// Where it was, in the user's lines, and as the last line what it was. No paths, no secrets (CO-228).
    pub traceback: String,
    /// The line in the text that was typed, from 1, when it is known.
    pub line: Option<u32>,
}

/// What kind of trouble an evaluation had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunErrorKind {
    /// The expression raised an error.
    Raised,
    /// A limit was reached.
    Limit(Limit),
    /// The world gave no answer.
    Host,
    /// The interpreter itself failed.
    Interpreter,
}

impl RunError {
    /// The last line: what it was, without where.
    #[must_use]
    pub fn message(&self) -> &str {
        self.traceback.lines().last().unwrap_or_default()
    }

    pub(crate) fn endless() -> Self {
        let traceback = "ValueError: the result contains itself".to_owned();
        Self { kind: RunErrorKind::Raised, traceback, line: None }
    }

    pub(crate) fn interpreter() -> Self {
        let traceback = "the interpreter failed".to_owned();
        Self { kind: RunErrorKind::Interpreter, traceback, line: None }
    }
}

impl From<Limit> for RunError {
    fn from(limit: Limit) -> Self {
        Self { kind: RunErrorKind::Limit(limit), traceback: limit.to_string(), line: None }
    }
}

/// A limit that an evaluation has reached (CO-224).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Function calls and loop iterations.
    #[error("the expression took more steps than it may")]
    Steps,
    /// Nested calls.
    #[error("the expression calls itself too deeply")]
    Depth,
    /// Memory of the interpreter.
    #[error("the expression used more memory than it may")]
    Memory,
    /// Time.
    #[error("the expression took more time than it may")]
    Time,
    /// The size of the result.
    #[error("the result of the expression is larger than it may be")]
    Result,
    /// Questions to the host.
    #[error("the expression looked up more than it may")]
    IoCalls,
    /// Memory that others hold, for as long as this one had time.
    #[error("other expressions use all the memory there is for expressions")]
    Busy,
}
