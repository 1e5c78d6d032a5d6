//! Errors of the interpreter in terms of what the user typed.

use std::fmt::Write;

use monty_types::{ExcType, MontyException, StackFrame};

use crate::{
    error::{Limit, RunError, RunErrorKind},
    program::Program,
};

/// Frames of one traceback; a deep recursion repeats itself.
const FRAMES: usize = 16;

/// Characters of a line or a message.
const WIDTH: usize = 500;

/// What an evaluation was ended for, when it was not for an error of its own.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    Limit(Limit),
    Host(String),
}

/// Turns an exception into what its reader can use. `ended` says why the host ended the evaluation, if it did.
pub(crate) fn explain(program: &Program, name: &str, exception: &MontyException, ended: Option<Ended>) -> RunError {
    let (kind, what) = match ended {
        Some(Ended::Limit(limit)) => (RunErrorKind::Limit(limit), limit.to_string()),
        Some(Ended::Host(reason)) => (RunErrorKind::Host, reason),
        None => match limit(exception) {
            Some(limit) => (RunErrorKind::Limit(limit), limit.to_string()),
            None => (RunErrorKind::Raised, message(exception)),
        },
    };
    let frames: Vec<(u32, &StackFrame)> =
        exception.traceback().iter().filter_map(|frame| Some((program.line(frame.start.line)?, frame))).collect();
    let line = frames.last().map(|(line, _)| *line);
    let mut traceback = String::new();
    if !frames.is_empty() {
        traceback.push_str("Traceback (most recent call last):\n");
    }
    let skipped = frames.len().saturating_sub(FRAMES);
    for (at, (line, frame)) in frames.into_iter().enumerate() {
        if at == FRAMES / 2 && skipped > 0 {
            let _ = writeln!(traceback, "  [{skipped} more]");
        }
        if (FRAMES / 2..FRAMES / 2 + skipped).contains(&at) {
            continue;
        }
        let function = frame.frame_name.as_deref().unwrap_or("handler");
        let _ = writeln!(traceback, "  File \"{name}\", line {line}, in {function}");
        let text = program.source_line(line).trim();
        if !text.is_empty() {
            let _ = writeln!(traceback, "    {}", short(text));
        }
    }
    traceback.push_str(&short(&what));
    RunError { kind, traceback, line }
}

/// The limit that an exception of the interpreter stands for.
fn limit(exception: &MontyException) -> Option<Limit> {
    let message = exception.message().unwrap_or_default();
    match exception.exc_type() {
        ExcType::MemoryError if message.starts_with("memory limit exceeded") => Some(Limit::Memory),
        ExcType::TimeoutError if message.starts_with("time limit exceeded") => Some(Limit::Time),
        ExcType::RecursionError => Some(Limit::Depth),
        // The count ran out where the interpreter cannot be suspended, such as in a sort key.
        ExcType::NotImplementedError if message.contains("__pc_over") => Some(Limit::Steps),
        _ => None,
    }
}

fn message(exception: &MontyException) -> String {
    let kind = exception.exc_type();
    let message = exception.message().unwrap_or_default();
    if kind == ExcType::NotImplementedError
        && message.ends_with("is not yet supported in this context")
        && let Some(function) = message.split('\'').nth(1)
    {
        let function = function.trim_start_matches("__pc_");
        return format!(
            "{kind}: {function} cannot be used in a function given to map, filter or sorted; use a comprehension"
        );
    }
    if message.is_empty() { kind.to_string() } else { format!("{kind}: {message}") }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
