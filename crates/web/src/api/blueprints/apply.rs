//! A document is applied: tried out first, then in one transaction, all of it or nothing (CO-725, CO-004).

use std::fmt;
use std::time::Duration;

use portcullis_blueprint::Fault;
use portcullis_core::id::BlueprintId;
use portcullis_idp::blueprints::{self, Names, Outcome};
use portcullis_idp::flow::stages;
use portcullis_idp::policies::LogLine;
use portcullis_idp::{Actor, Change, Context, Error};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::files::Files;
use super::passwords::Passwords;
use super::run::{LOGGER, Report, Run};
use super::write::Refusal;
use crate::api::answer::ApiError;

/// How long an application by the API may take (CO-734). Nobody else can write meanwhile.
pub(super) const BY_API: Duration = Duration::from_secs(30);
/// How long one by a command, or of the watched folder, may take.
const BY_FILE: Duration = Duration::from_secs(600);

/// The stage that says what sessions are bound to.
const LOGIN: &str = "authentik_stages_user_login.userloginstage";

/// A blueprint that is to be applied.
#[derive(Clone, Debug)]
pub struct Document {
    /// What the log calls it: the path of its file, or the name of its instance.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What it is told besides; stronger than its own context (CO-728).
    pub context: Map<String, Value>,
    /// Which variables and files its tags may read.
    pub names: Names,
    /// The instance that stands for it, which remembers what came of it.
    pub instance: Option<BlueprintId>,
    /// How long it may take until it is in force; nothing of it is when the time is over.
    pub within: Duration,
    /// Whether it takes over another installation: then objects may keep what others know them by (OA-931).
    pub takes_over: bool,
}

impl Document {
    /// A file of the machine that nothing stands for.
    pub fn of_file(name: &str, text: String) -> Self {
        Self {
            name: name.to_owned(),
            text,
            context: Map::new(),
            names: Names::AllButOurs,
            instance: None,
            within: BY_FILE,
            takes_over: false,
        }
    }
}

/// What was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Whether something was left out that should have been there (CO-731).
    pub warned: bool,
    /// Models of what was touched.
    pub models: Vec<String>,
    /// What was done, line by line.
    pub log: Vec<LogLine>,
}

/// What kind of reason there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// Something is wrong with the document, or does not fit what is there.
    #[default]
    Document,
    /// The store could not do it now, and may do it in a while: the document may be right.
    Passing,
    /// It took too long.
    Time,
}

/// Why a blueprint was not applied. Nothing of it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// Number of the entry at fault, from 1.
    pub entry: Option<usize>,
    /// Line of the document, from 1.
    pub line: Option<u32>,
    /// Model of the entry.
    pub model: Option<Box<str>>,
    /// The attribute at fault.
    pub field: Option<Box<str>>,
    /// What is wrong.
    pub message: String,
    /// The blueprints that led to the one at fault, the outermost first.
    pub path: Vec<String>,
    /// What kind of reason it is.
    pub cause: Cause,
    /// What is not for everybody to read.
    for_the_log: Option<Box<ForTheLog>>,
}

/// What a refusal rests on, in words for whoever runs the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ForTheLog(String);

/// How a message ends whose cause is not told.
const IN_THE_LOG: &str = "; the log tells why.";

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.path {
            write!(f, "{name}: ")?;
        }
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}")?;
            if let Some(model) = &self.model {
                write!(f, " ({model})")?;
            }
            write!(f, ", ")?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Refused {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    pub(super) fn about(self, field: &str) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    pub(super) fn on(self, model: &str) -> Self {
        Self { model: self.model.or_else(|| Some(model.into())), ..self }
    }

    /// Names the tags that have come to nothing, by line: an entry that is refused is often refused for that.
    pub(super) fn mind(mut self, nothing: &[(usize, &'static str)]) -> Self {
        // What another blueprint is refused for has named its own.
        if self.entry.is_none() && self.cause == Cause::Document {
            for (line, tag) in nothing {
                self.message.push_str(&format!(" ({tag} in line {line} has come to nothing.)"));
            }
        }
        self
    }

    /// What went wrong inside another blueprint keeps its own place.
    pub(super) fn at(self, entry: usize, line: usize) -> Self {
        if self.entry.is_some() {
            return self;
        }
        Self { entry: Some(entry), line: self.line.or(number(line)), ..self }
    }

    pub(super) fn within(mut self, name: &str) -> Self {
        self.path.insert(0, name.to_owned());
        self
    }

    pub(super) fn of_text(fault: Fault) -> Self {
        Self { line: number(fault.line), ..Self::new(fault.message) }
    }

    pub(super) fn of_entry(fault: Fault) -> Self {
        Self { line: number(fault.line).filter(|line| *line > 0), ..Self::new(fault.message) }
    }

    pub(super) fn of_error(error: Error) -> Self {
        Self::of_answer(error.into())
    }

    pub(super) fn of_refusal(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown(field) => Self::new("This attribute is not known.").about(&field),
            Refusal::Broken(error) => Self::of_answer(error),
        }
    }

    pub(super) fn of_answer(error: ApiError) -> Self {
        match error {
            ApiError::Invalid(problems) => {
                let mut all = problems.iter();
                let Some((field, messages)) = all.next() else { return Self::new("Something is wrong.") };
                let mut message = messages.join(" ");
                for (field, messages) in all {
                    message.push_str(&format!("; {field}: {}", messages.join(" ")));
                }
                let said = Self::new(message);
                if field == "non_field_errors" { said } else { said.about(field) }
            }
            ApiError::NotFound(kind) => Self::new(format!("No {kind} matches.")),
            ApiError::Forbidden => Self::new("You do not have permission to perform this action."),
            ApiError::Unavailable { why, cause } => {
                tracing::error!(why, cause, "a blueprint was not applied: the database is not available");
                Self { cause: Cause::Passing, ..Self::for_the_log("The database is not available", cause) }
            }
            ApiError::Throttled { .. } => {
                Self { cause: Cause::Passing, ..Self::new("Too much is asked for at the same time.") }
            }
            // Causes are for the log alone.
            ApiError::Internal(cause) => {
                tracing::error!(cause, "a blueprint was not applied");
                Self::for_the_log("The store failed", cause)
            }
            other => {
                tracing::error!(cause = ?other, "a blueprint was not applied");
                Self::for_the_log("The store failed", format!("{other:?}"))
            }
        }
    }

    fn for_the_log(message: &str, cause: String) -> Self {
        Self { for_the_log: Some(Box::new(ForTheLog(cause))), ..Self::new(format!("{message}{IN_THE_LOG}")) }
    }

    /// The same with its cause, for whoever runs the installation and has no log to look at: a command.
    pub fn with_cause(&self) -> String {
        let mut told = self.clone();
        if let (Some(ForTheLog(cause)), Some(message)) =
            (self.for_the_log.as_deref(), self.message.strip_suffix(IN_THE_LOG))
        {
            told.message = format!("{message}: {cause}");
        }
        told.to_string()
    }

    pub(super) fn too_late(within: Duration) -> Self {
        let message = format!("It takes longer than {} seconds: divide the blueprint.", within.as_secs());
        Self { cause: Cause::Time, ..Self::new(message) }
    }

    /// Without texts that must not be seen.
    pub(super) fn without<'a>(mut self, texts: impl Iterator<Item = &'a str>) -> Self {
        const MASK: &str = "********";
        for text in texts {
            self.message = self.message.replace(text, MASK);
            if let Some(cause) = &mut self.for_the_log {
                cause.0 = cause.0.replace(text, MASK);
            }
            for place in [&mut self.model, &mut self.field].into_iter().flatten() {
                *place = place.replace(text, MASK).into();
            }
        }
        self
    }
}

fn number(line: usize) -> Option<u32> {
    u32::try_from(line).ok()
}

/// What becomes of a run that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// This process serves the instance.
    Ourselves,
    /// Perhaps another process does: it is told.
    Others,
}

/// Applies a document for somebody who administers the instance (CO-706).
///
/// # Errors
/// [`Refused`]: nothing was changed, and nothing is told to anybody.
pub async fn apply(ctx: &Context, actor: &Actor, document: &Document, audience: Audience) -> Result<Applied, Refused> {
    if !actor.is_superuser {
        return Err(Refused::of_error(Error::Forbidden));
    }
    let done = attempt(ctx, actor, document, audience).await;
    if let (Err(refused), Some(instance)) = (&done, document.instance) {
        let outcome = Outcome { status: "error", models: None, hash: None };
        tracing::warn!(blueprint = document.name, %refused, "a blueprint was not applied");
        if let Err(error) = record(ctx, actor, instance, &outcome).await {
            tracing::error!(%error, "it cannot be kept that a blueprint was not applied");
        }
    }
    done
}

/// Keeps what came of an instance by itself.
pub(super) async fn record(
    ctx: &Context,
    actor: &Actor,
    instance: BlueprintId,
    outcome: &Outcome,
) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    blueprints::record_in(&mut change, instance, outcome).await?;
    change.commit().await
}

async fn attempt(ctx: &Context, actor: &Actor, document: &Document, audience: Audience) -> Result<Applied, Refused> {
    let until = Instant::now() + document.within;
    let (mut passwords, mut files) = (Passwords::default(), Files::default());
    files.read_before(ctx, actor, document).await.map_err(Refused::of_error)?;
    let mut dry = Change::begin(ctx, actor).await.map_err(Refused::of_error)?;
    Run::new(&mut dry, &mut passwords, &mut files, until).document(document).await?;
    drop(dry);
    passwords.prepare(ctx, until, document.within).await?;
    let mut change = Change::begin(ctx, actor).await.map_err(Refused::of_error)?;
    let mut run = Run::new(&mut change, &mut passwords, &mut files, until);
    run.document(document).await?;
    let Report { warned, models, mut log } = run.report;
    if audience == Audience::Others {
        change.announce().await.map_err(Refused::of_error)?;
    }
    change.commit().await.map_err(Refused::of_error)?;
    if models.contains(LOGIN) {
        // It is in force, whatever becomes of the warning.
        let warnings = stages::warn(ctx).await.unwrap_or_default();
        log.extend(warnings.into_iter().map(|warning| LogLine::new(ctx.now(), "warning", LOGGER, warning)));
    }
    Ok(Applied { warned, models: models.into_iter().collect(), log })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-725: causes that are for the log alone are not told.
    #[test]
    fn co_725_causes_are_for_the_log() {
        for error in [
            ApiError::Unavailable { why: "full", cause: "a cause".to_owned() },
            ApiError::Internal("a cause".to_owned()),
            ApiError::Unparsable("a cause".to_owned()),
        ] {
            let refused = Refused::of_answer(error);
            let told = refused.to_string();
            assert!(!told.contains("cause") && told.contains("the log tells why"), "{told}");
            let told = refused.at(2, 7).without(["cau"].into_iter()).with_cause();
            assert!(told.starts_with("entry 2, line 7: The ") && told.contains("a ********se"), "{told}");
            assert!(!told.contains("the log"), "{told}");
        }
    }

    /// CO-725: what must not be seen is seen nowhere in a refusal.
    #[test]
    fn co_725_secrets_are_masked() {
        let refused = Refused::new("Invalid pk \"hunter2\".").about("hunter2").on("a.hunter2");
        assert_eq!(refused.without(["hunter2"].into_iter()).to_string(), "********: Invalid pk \"********\".");
    }
}
