//! What one evaluation comes to.

use serde_json::{Map, Value as Json};

/// What an evaluation came to. Nothing of it has happened yet: the caller records events and applies changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The returned value as JSON. Objects are their names, instants RFC 3339, sets lists.
    pub value: Json,
    /// Whether the returned value counts as true.
    pub truthy: bool,
    /// Whether nothing was returned. A policy that returns nothing is false (CO-190), which is worth a warning.
    pub returned_none: bool,
    /// What the policy has to say to the person, in order.
    pub messages: Vec<String>,
    /// What was logged and printed, in order.
    pub log_lines: Vec<LogLine>,
    /// Events to record.
    pub events: Vec<CustomEvent>,
    /// Changes to the flow's context that are to be applied, in order of the context (CO-246). Changes that are not
    /// permitted are left out, with a warning among the log lines. `redirect` is still to be checked (CO-309).
    pub flow_changes: Vec<FlowChange>,
    /// Loop iterations and function calls it took.
    pub steps: u64,
}

/// One change to the flow's context.
#[derive(Debug, Clone, PartialEq)]
pub enum FlowChange {
    /// The key has this value now.
    Set(String, Json),
    /// The key is gone.
    Remove(String),
    /// `pending_user` is this user now, by number.
    PendingUser(i32),
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// How important it is.
    pub level: LogLevel,
    /// What it says.
    pub message: String,
    /// Details.
    pub fields: Map<String, Json>,
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words say it")]
pub enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl LogLevel {
    /// The level as the API names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// An event that an expression asked for (CO-243). The caller cleanses and records it.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomEvent {
    /// The stored action, `custom_` in front.
    pub action: String,
    /// The name of the policy or mapping.
    pub app: String,
    /// Keyword arguments of the call, and a summary of the request.
    pub context: Map<String, Json>,
}
