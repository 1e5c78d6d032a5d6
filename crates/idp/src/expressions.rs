//! Expressions of policies and mappings, run by `portcullis-expr` (CO section 10).
//!
//! An evaluation blocks its thread, so it has one of a pool. What it asks of the world travels to the task that waits
//! for it, which has the store at hand: [`asking`] puts the questions, [`answers`] answers them.

mod answers;
mod asking;
mod mappings;
mod objects;

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::clock::Timestamp;
use portcullis_core::permission::{Model, Verb};
use portcullis_expr::{Budget, Limits, Options, Outcome as Said, Pool, Program, Programs, RunError, Situation};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use self::answers::World;
use self::asking::{Asking, Start};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::policies::{Answer, Calls, ExpressionEngine, Failure, LogLine, Noted, Outcome, PolicyRequest};

pub use mappings::ForMappings;

/// Programs that are kept compiled (CO-227).
const KEPT: u64 = 1024;
/// Evaluations at a time, those aside that take too long, and how many wait for a turn (CO-225).
const THREADS: usize = 4;
const WAITING: usize = 256;

/// Refuses an expression, on `expression`, unless its writer may see every user: it looks up whom it likes, and says what it
/// found by what comes of it.
pub(crate) fn check_writer(actor: &Actor, problems: &mut Problems) {
    if !actor.may(Verb::View, Model::USER) {
        problems.add("expression", "Expressions read every user: who writes one may see all users.");
    }
}

/// Compiles and runs expressions.
pub struct Engine {
    programs: Programs,
    pool: Pool,
}

impl Engine {
    /// An engine; with `dns`, expressions may look up names and addresses (CO-245).
    pub fn new(dns: bool) -> Arc<Self> {
        let options = Options { dns, ..Options::default() };
        Arc::new(Self { programs: Programs::new(KEPT, options), pool: Pool::new(THREADS, WAITING) })
    }

    fn compiled(&self, source: &str, situation: Situation) -> Result<Arc<Program>, String> {
        self.programs.get(source, situation).map_err(|error| error.to_string())
    }

    /// Evaluates a program while this task answers what it asks.
    async fn run(
        self: &Arc<Self>,
        world: World<'_>,
        program: Arc<Program>,
        situation: Situation,
        start: Start,
        limits: Limits,
    ) -> Result<Said, String> {
        let (ask, mut asked) = mpsc::unbounded_channel();
        let engine = Arc::clone(self);
        let job = move || {
            let asking = Asking::new(engine, ask, start, situation);
            asking.run(&program, &Budget::new(limits))
        };
        // A moment more than the evaluation gives itself: it says better what was too much.
        let mut running = std::pin::pin!(self.pool.run(limits.wall + Duration::from_secs(1), job));
        loop {
            tokio::select! {
                said = &mut running => {
                    return match said {
                        Ok(said) => said.map_err(|error: RunError| error.traceback),
                        Err(error) => Err(error.to_string()),
                    };
                }
                Some(question) = asked.recv() => world.answer(question).await,
            }
        }
    }
}

/// The engine as policies know it.
pub struct ForPolicies(pub Arc<Engine>);

impl ExpressionEngine for ForPolicies {
    fn compile(&self, source: &str) -> Result<(), Vec<String>> {
        self.0.compiled(source, Situation::Policy).map(drop).map_err(|message| vec![message])
    }

    fn calls(&self, source: &str) -> Calls {
        self.0.compiled(source, Situation::Policy).into()
    }

    fn evaluate<'a>(
        &'a self,
        ctx: &'a Context,
        name: &'a str,
        source: &'a str,
        request: Arc<PolicyRequest>,
    ) -> Answer<'a, Outcome, Failure> {
        Box::pin(async move {
            let program = self.0.compiled(source, Situation::Policy).map_err(Failure::new)?;
            let world = World::new(ctx, &request);
            let start = world.start(name, &program).await.map_err(|error| Failure::new(unread(&error)))?;
            // The binding's own time-out ends it earlier, where it is shorter.
            let limits = Limits { wall: Duration::from_secs(60), ..Limits::default() };
            let said = self.0.run(world, program, Situation::Policy, start, limits).await.map_err(Failure::new)?;
            Ok(outcome(said, name, ctx.now()))
        })
    }
}

/// What administrators are told when an evaluation cannot begin; the reason is for the server's log.
fn unread(error: &Error) -> &'static str {
    tracing::error!(%error, "an expression's inputs cannot be read");
    "The database failed."
}

fn outcome(said: Said, name: &str, now: Timestamp) -> Outcome {
    let mut log: Vec<_> = said
        .log_lines
        .into_iter()
        .map(|line| LogLine {
            timestamp: now,
            level: line.level.as_str(),
            logger: name.to_owned(),
            event: line.message,
            attributes: line.fields,
        })
        .collect();
    if said.returned_none {
        log.push(LogLine::new(now, "warning", name, "The expression returned nothing, which is no."));
    }
    let mut context_changes = Map::new();
    for change in said.flow_changes {
        match change {
            portcullis_expr::FlowChange::Set(key, value) => context_changes.insert(key, value),
            portcullis_expr::FlowChange::Remove(key) => context_changes.insert(key, Value::Null),
            portcullis_expr::FlowChange::PendingUser(pk) => {
                context_changes.insert("pending_user".to_owned(), pk.into())
            }
        };
    }
    let noted =
        |event: portcullis_expr::CustomEvent| Noted { action: event.action, context: Value::Object(event.context) };
    Outcome {
        passing: said.truthy,
        messages: said.messages,
        raw: said.value,
        log,
        events: said.events.into_iter().map(noted).collect(),
        context_changes,
    }
}
