//! Programs: expressions that have been read and found to be in the language.

use std::{
    borrow::Cow,
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use monty::MontyRun;
use monty_types::{AssertMessageAnnotations, CompileOptions, MontyException};
use ruff_python_parser::parse_module;
use ruff_text_size::Ranged;

use crate::{
    check::{self, MODULES},
    error::{CompileError, CompileErrorKind, RunError},
    host::Host,
    inputs::Inputs,
    limits::{Budget, Limits},
    nesting::too_deep,
    outcome::Outcome,
    rewrite::rewrite,
    run::{self, Input},
    scan::{self, Mentions},
    source::{Lines, indent_lines, names_apart, readings},
};

/// What an expression is for: which names it has (CO-230).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Situation {
    /// A policy, which passes or not.
    Policy,
    /// A property mapping, which makes claims or attributes.
    Mapping,
}

/// How expressions are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    /// Whether names may be looked up (CO-245).
    pub dns: bool,
    /// Longest source, in bytes.
    pub source: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { dns: true, source: Limits::default().source }
    }
}

/// An expression that has been compiled. Running it changes nothing in it, so it may be kept and shared.
#[derive(Debug)]
pub struct Program {
    /// Every run consumes a copy. The original is not for several threads at once.
    code: Mutex<MontyRun>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) mentions: Mentions,
    source: String,
    /// For each line of the code the line it came from; 0 for our own.
    lines: Vec<u32>,
}

impl Program {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is not in the language, uses what is not available, or is too long.
    pub fn compile(source: &str, situation: Situation, options: &Options) -> Result<Self, CompileError> {
        // The parser is a library that has met every program but this one.
        catch_unwind(AssertUnwindSafe(|| compile(source, situation, options)))
            .unwrap_or_else(|_| Err(CompileError::syntax(1, "the parser failed")))
    }

    /// Evaluates it, on this thread.
    ///
    /// # Errors
    /// When it raises an error, reaches a limit, or the host gives no answer.
    pub fn run(&self, inputs: &Inputs, host: &dyn Host, budget: &Budget) -> Result<Outcome, RunError> {
        run::run(self, inputs, host, budget)
    }

    /// Whether a run may read what surrounds an HTTP request: its brand and the instance's settings. They need not be
    /// looked up for one that does not.
    pub fn reads_surroundings(&self) -> bool {
        // By name, or by a text that is one; what it calls may read more than it does itself.
        ["brand", "tenant"].iter().any(|name| self.mentions.attributes.contains(*name))
            || ["getattr", "hasattr", scan::CALL_POLICY].iter().any(|name| self.mentions.reads(name))
    }

    /// The names of the policies that a run may ask (CO-242), or nothing if it makes names up and may ask any.
    pub fn called(&self) -> Option<&HashSet<String>> {
        self.mentions.called()
    }

    /// A copy to run.
    pub(crate) fn code(&self) -> MontyRun {
        self.code.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it may call a function in Rust.
    pub(crate) fn provides(&self, name: &str) -> bool {
        self.inputs.iter().any(|input| matches!(input, Input::Function(known) if *known == name))
    }

    /// The line of the source that a line of the code came from.
    pub(crate) fn line(&self, line: u32) -> Option<u32> {
        let at = usize::try_from(line.checked_sub(1)?).ok()?;
        self.lines.get(at).copied().filter(|line| *line > 0)
    }

    pub(crate) fn source_line(&self, line: u32) -> &str {
        let at = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        self.source.lines().nth(at).unwrap_or_default()
    }
}

fn compile(source: &str, situation: Situation, options: &Options) -> Result<Program, CompileError> {
    if source.len() > options.source {
        let message = format!("The expression is longer than {} bytes.", options.source);
        return Err(CompileError { kind: CompileErrorKind::TooLong, line: 0, message, hint: None });
    }
    let (text, parsed) = parse(source)?;
    let lines = Lines::of(&text);
    let body = &parsed.syntax().body;
    let mentions = Mentions::of(body);
    check::check(body, &mentions, options.dns, &lines)?;

    let mut rewritten = rewrite(&text, body, parsed.tokens(), &mentions);
    indent_lines(&text, parsed.tokens(), &mut rewritten.edits);
    let (body, body_lines) = rewritten.edits.apply(&text);

    let inputs = run::inputs(&mentions, &rewritten.parts, situation, options);
    let mut code = String::new();
    for module in MODULES {
        if mentions.reads(module) && !mentions.assigned.contains(module) {
            code.push_str(&format!("import {module}\n"));
        }
    }
    for part in &rewritten.parts {
        code.push_str(part.text());
    }
    for input in &inputs {
        code.push_str(&input.prologue());
    }
    let flow = mentions.flow_plan && situation == Situation::Policy;
    if flow {
        code.push_str("__pc_f = context.get('flow_plan')\n");
    }
    code.push_str("def handler():\n");
    let mut code_lines = vec![0; code.matches('\n').count()];
    code_lines.extend(body_lines);
    code.push_str(&body);
    // A body of comments is one that does nothing.
    code.push_str("\n pass\n__pc_o = handler()\n");
    code.push_str(if flow {
        "(__pc_o, __pc_n, None if __pc_f is None else __pc_f.context)"
    } else {
        "(__pc_o, __pc_n, None)"
    });

    let names = inputs.iter().map(|input| input.name().to_owned()).collect();
    // Messages of assertions are the user's own.
    let options = CompileOptions { assert_message_annotations: AssertMessageAnnotations::Off };
    let code =
        MontyRun::new(code, "expression", names, options).map_err(|exception| unsupported(&exception, &code_lines))?;
    Ok(Program { code: Mutex::new(code), inputs, mentions, source: source.replace("\r\n", "\n"), lines: code_lines })
}

type Parsed = ruff_python_parser::Parsed<ruff_python_ast::ModModule>;

fn parse(source: &str) -> Result<(String, Parsed), CompileError> {
    let mut furthest: Option<CompileError> = None;
    let readings = readings(source);
    // Only what cannot be read otherwise is looked through for names that are words of statements elsewhere.
    for (again, text) in [false, true].into_iter().flat_map(|again| readings.iter().map(move |text| (again, text))) {
        if let Some(line) = too_deep(text) {
            return Err(CompileError::syntax(line, "too deeply nested"));
        }
        let text = if again { Cow::Owned(names_apart(text)) } else { Cow::Borrowed(text.as_str()) };
        match parse_module(&text) {
            Ok(parsed) => return Ok((text.into_owned(), parsed)),
            Err(error) if !again => {
                let line = Lines::of(&text).line(error.range().start());
                if furthest.as_ref().is_none_or(|furthest| line > furthest.line) {
                    furthest = Some(CompileError::syntax(line, error.error.to_string()));
                }
            }
            Err(_) => {}
        }
    }
    Err(furthest.unwrap_or_else(|| CompileError::syntax(1, "not an expression")))
}

/// What the interpreter's compiler refuses and `check` does not know.
fn unsupported(exception: &MontyException, lines: &[u32]) -> CompileError {
    let line = exception.traceback().last().and_then(|frame| {
        let at = usize::try_from(frame.start.line.checked_sub(1)?).ok()?;
        lines.get(at).copied()
    });
    let message = exception.message().unwrap_or("it cannot be compiled");
    let message = match message.strip_prefix("The monty syntax parser does not yet support ") {
        Some(what) => format!("not supported here: {what}"),
        None => message.replace(check::RESERVED, ""),
    };
    CompileError::syntax(line.unwrap_or(1).max(1), message)
}

/// Compiled programs by what they were compiled from, so that a policy is read once and not at every login (CO-227).
#[derive(Debug)]
pub struct Programs {
    options: Options,
    known: moka::sync::Cache<(Situation, String), Result<Arc<Program>, CompileError>>,
}

impl Programs {
    /// Keeps up to `count` programs.
    #[must_use]
    pub fn new(count: u64, options: Options) -> Self {
        Self { options, known: moka::sync::Cache::new(count) }
    }

    /// The program of a source.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn get(&self, source: &str, situation: Situation) -> Result<Arc<Program>, CompileError> {
        let key = (situation, source.to_owned());
        self.known.get_with(key, || Program::compile(source, situation, &self.options).map(Arc::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-242: which policies an expression may ask is told by the names that it writes down; one that makes a name up, or hands
    /// the function on, may ask any.
    #[test]
    fn co_242_expressions_tell_whom_they_may_ask() {
        let may_call = |source: &str| {
            let program = Program::compile(source, Situation::Policy, &Options::default()).expect(source);
            ["inner", "other"].map(|policy| program.called().is_none_or(|called| called.contains(policy)))
        };
        for (source, asks) in [
            ("return True", [false, false]),
            ("return 'inner' == 'other'", [false, false]),
            ("return ak_call_policy('inner').passing", [true, false]),
            ("return ak_call_policy(name='inner', x='other').passing", [true, false]),
            ("return ak_call_policy('in' 'n\\x65r', x=1).passing", [true, false]),
            ("if ak_call_policy('inner').passing:\n  return ak_call_policy('other').passing", [true, true]),
            ("return ak_call_policy('in' + 'ner').passing", [true, true]),
            ("return ak_call_policy(context['name']).passing", [true, true]),
            ("return ak_call_policy(*['inner']).passing", [true, true]),
            ("call = ak_call_policy\nreturn call('inner').passing", [true, true]),
            ("return all([ask('x').passing for ask in [ak_call_policy]])", [true, true]),
        ] {
            assert_eq!(may_call(source), asks, "{source}");
        }
    }
}
