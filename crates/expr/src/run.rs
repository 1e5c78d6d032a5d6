//! One evaluation: the interpreter runs until it asks for something, gets an answer, and runs on.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use monty::RunProgress;
use monty_types::{
    ExcType, ExtFunctionResult, MontyException, MontyObject, NameLookupResult, OsFunctionCall, PrintWriter,
    ResourceLimits, ResourceTracker,
};

use tokio::time::Instant;

use crate::{
    bridge::{Bridge, Entry, instant, truthy},
    error::{Limit, RunError, RunErrorKind},
    host::Host,
    inputs::Inputs,
    limits::Budget,
    memory::{self, Watched},
    objects::User,
    outcome::{FlowChange, LogLevel, LogLine, Outcome},
    prelude::Part,
    print::Print,
    program::{Options, Program, Situation},
    scan::Mentions,
    size::size,
    traceback::{Ended, explain},
};

/// Frames that are not calls of the expression: the module, `handler`, and helpers of the prelude at the top.
const FRAMES_BELOW: usize = 4;

/// A value that every run of a program starts with. Which ones is known when it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Steps that are left.
    Steps,
    /// `request`.
    Request,
    /// `context`, which is that of `request`.
    Context,
    /// `user`, in mappings.
    User,
    /// `http_request`, when there is one.
    HttpRequest,
    /// `provider`, when there is one.
    Provider,
    /// `token`, when there is one.
    Token,
    /// One of [`Inputs::OF_SOURCES`], when it has a value.
    OfSource(&'static str),
    /// `ak_client_ip`, when it is known.
    ClientIp,
    /// `ak_is_sso_flow`.
    IsSso,
    /// `ak_logger`.
    Logger,
    /// A class, for `isinstance`.
    Class(&'static str),
    /// A function in Rust.
    Function(&'static str),
}

/// Helpers that are functions in Rust, and whether only policies have them.
const FUNCTIONS: [(&str, bool); 13] = [
    ("ak_message", true),
    ("ak_is_group_member", false),
    ("ak_user_by", false),
    ("ak_user_has_authenticator", false),
    ("ak_create_event", false),
    ("regex_match", false),
    ("regex_replace", false),
    ("slugify", false),
    ("resolve_dns", false),
    ("reverse_dns", false),
    ("now", false),
    ("ip_address", false),
    ("ip_network", false),
];

/// The values that a program starts with: those it mentions.
pub(crate) fn inputs(
    mentions: &Mentions,
    parts: &BTreeSet<Part>,
    situation: Situation,
    options: &Options,
) -> Vec<Input> {
    let policy = situation == Situation::Policy;
    let mut inputs = vec![Input::Steps];
    let mut mentioned = |name: &str, input: Input| {
        if mentions.reads(name) {
            inputs.push(input);
        }
    };
    if policy {
        mentioned("ak_client_ip", Input::ClientIp);
        mentioned("ak_is_sso_flow", Input::IsSso);
    } else {
        mentioned("user", Input::User);
        mentioned("provider", Input::Provider);
        mentioned("token", Input::Token);
        for name in Inputs::OF_SOURCES {
            mentioned(name, Input::OfSource(name));
        }
    }
    mentioned("http_request", Input::HttpRequest);
    mentioned("ak_logger", Input::Logger);
    for class in crate::bridge::CLASSES {
        mentioned(class, Input::Class(class));
    }
    mentioned("Instant", Input::Class("Instant"));
    for (name, policies_only) in FUNCTIONS {
        let dns = name.ends_with("_dns");
        if (policy || !policies_only) && (options.dns || !dns) {
            mentioned(name, Input::Function(name));
        }
    }
    let context = policy && (mentions.reads("context") || mentions.flow_plan);
    if mentions.reads("request") || context {
        inputs.push(Input::Request);
    }
    if context {
        inputs.push(Input::Context);
    }
    let calls: BTreeSet<&'static str> = parts.iter().flat_map(|part| part.calls()).copied().collect();
    inputs.extend(calls.into_iter().map(Input::Function));
    inputs
}

impl Input {
    /// The name its value comes in by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Steps => "__pc_n",
            Self::Request => "request",
            Self::Context => "__pc_context",
            Self::User => "user",
            Self::HttpRequest => "__pc_http_request",
            Self::Provider => "__pc_provider",
            Self::Token => "__pc_token",
            Self::OfSource("info") => "__pc_info",
            Self::OfSource("oauth_userinfo") => "__pc_oauth_userinfo",
            Self::OfSource("properties") => "__pc_properties",
            Self::OfSource(_) => "__pc_source",
            Self::ClientIp => "__pc_ak_client_ip",
            Self::IsSso => "ak_is_sso_flow",
            Self::Logger => "ak_logger",
            Self::Class(name) | Self::Function(name) => name,
        }
    }

    /// What makes a name of it. Those without a value stay unknown, so that using them is an error (CO-230).
    pub(crate) fn prologue(self) -> Cow<'static, str> {
        match self {
            Self::HttpRequest | Self::Provider | Self::Token | Self::OfSource(_) | Self::ClientIp => {
                let name = self.name();
                let plain = name.trim_start_matches("__pc_");
                format!("if {name} is not None:\n    {plain} = {name}\n").into()
            }
            Self::Context => "context = request.context\n".into(),
            _ => "".into(),
        }
    }
}

/// Evaluates a program.
pub(crate) fn run(program: &Program, inputs: &Inputs, host: &dyn Host, budget: &Budget) -> Result<Outcome, RunError> {
    loop {
        // Nothing begins while one that is to end for its memory still runs.
        memory::wait(budget.time_left())?;
        let watched = Watched::start(budget.limits().memory);
        let steps = budget.steps();
        // A panic of the interpreter or the host ends this evaluation and nothing else (CO-225).
        let answer = catch_unwind(AssertUnwindSafe(|| Run::new(program, inputs, host, budget, &watched).run()))
            .unwrap_or_else(|_| Err(RunError::interpreter()));
        let out_of_memory = matches!(&answer, Err(error) if error.kind == RunErrorKind::Limit(Limit::Memory));
        if out_of_memory && watched.is_innocent() && !budget.time_left().is_zero() {
            // Another evaluation filled the memory. Nothing of this one has had an effect, so it starts anew.
            budget.set_steps(steps);
            continue;
        }
        return answer;
    }
}

/// What a call or lookup comes to.
pub(crate) enum Answer {
    Value(MontyObject),
    /// There is no such attribute.
    Missing,
    /// An error that the expression can catch.
    Raise(ExcType, String),
    /// The end of the evaluation.
    End(Ended),
}

impl From<Limit> for Answer {
    fn from(limit: Limit) -> Self {
        Self::End(Ended::Limit(limit))
    }
}

/// The state of one evaluation.
pub(crate) struct Run<'a> {
    pub(crate) program: &'a Program,
    pub(crate) inputs: &'a Inputs,
    pub(crate) host: &'a dyn Host,
    pub(crate) budget: &'a Budget,
    pub(crate) bridge: Bridge<'a>,
    pub(crate) outcome: Outcome,
    pub(crate) anonymous: Arc<User>,
    /// Users that `ak_user_by` returned, which may become `pending_user`.
    pub(crate) found: Vec<i32>,
    pub(crate) ended: Option<Ended>,
    /// The flow's context as it went in.
    pub(crate) flow: Option<MontyObject>,
    watched: &'a Watched,
    print: Print,
    started: Instant,
    /// Time that may be spent computing.
    compute: Duration,
    /// Time spent in questions to the host, which is not time that the expression computes.
    waited: Duration,
}

impl<'a> Run<'a> {
    fn new(
        program: &'a Program,
        inputs: &'a Inputs,
        host: &'a dyn Host,
        budget: &'a Budget,
        watched: &'a Watched,
    ) -> Self {
        Self {
            program,
            inputs,
            host,
            budget,
            bridge: Bridge::new(&program.mentions.attributes),
            outcome: Outcome::default(),
            anonymous: Arc::new(User::anonymous()),
            found: Vec::new(),
            ended: None,
            flow: None,
            watched,
            print: Print::default(),
            started: Instant::now(),
            compute: budget.compute(),
            waited: Duration::ZERO,
        }
    }

    fn run(mut self) -> Result<Outcome, RunError> {
        let limits = *self.budget.limits();
        let steps = self.budget.steps();
        let values = self.values();
        let tracker = ResourceTracker::new(
            ResourceLimits::default()
                .max_duration(self.budget.compute().min(self.budget.time_left()))
                .max_memory(limits.memory)
                .max_recursion_depth(limits.depth + FRAMES_BELOW),
        );
        let mut progress = self.program.code().start(values, tracker, PrintWriter::Callback(&mut self.print));
        let value = loop {
            self.printed();
            progress = match progress {
                Ok(RunProgress::Complete(value)) => break value,
                Ok(suspended) => self.answer(suspended),
                Err(exception) => {
                    return Err(explain(self.program, &self.inputs.name, &exception, self.ended));
                }
            };
        };
        let MontyObject::Tuple(parts) = value else { return Err(RunError::interpreter()) };
        let [value, MontyObject::Int(left), flow] = parts.as_slice() else { return Err(RunError::interpreter()) };
        let left = u64::try_from(*left).unwrap_or(0);
        self.budget.set_steps(left);
        self.outcome.steps = steps.saturating_sub(left);
        self.flow_changes(flow);
        self.outcome.truthy = truthy(value);
        self.outcome.returned_none = matches!(value, MontyObject::None);
        self.outcome.value = self.bridge.json(value).ok_or_else(RunError::endless)?;
        let changes = self.outcome.flow_changes.iter().map(|change| match change {
            FlowChange::Set(_, value) => size(value),
            FlowChange::Remove(_) | FlowChange::PendingUser(_) => 0,
        });
        if size(&self.outcome.value).max(changes.sum()) > limits.result {
            return Err(Limit::Result.into());
        }
        Ok(self.outcome)
    }

    /// Whether the time is over. What helpers compute counts like what the interpreter does.
    fn is_late(&self, now: Instant) -> bool {
        let computed = (now - self.started).saturating_sub(self.waited);
        now >= self.budget.deadline() || computed > self.compute
    }

    /// An answer, unless the evaluation has used too much memory meanwhile.
    fn unless_doomed(&self, answer: Answer) -> Answer {
        if self.watched.is_doomed() { Limit::Memory.into() } else { answer }
    }

    /// Answers what the interpreter asks, and lets it run on.
    fn answer(&mut self, suspended: RunProgress) -> Result<RunProgress, MontyException> {
        let asked = Instant::now();
        let late = self.is_late(asked);
        let questions = self.budget.io_calls();
        match suspended {
            RunProgress::FunctionCall(mut call) => {
                let answer = if late {
                    Limit::Time.into()
                } else if let Some(id) = call.object_id {
                    match self.bridge.entry(id).cloned() {
                        Some(entry) => self.method(&entry, &call.function_name, &call.args, &call.kwargs),
                        None => Answer::Raise(ExcType::TypeError, "this class cannot be called".to_owned()),
                    }
                } else if call.function_name == "__pc_call" {
                    // Caller and callee share what is left of the time to compute.
                    self.budget.spend_compute(call.tracker().elapsed());
                    let answer = self.call_policy(&call.args);
                    call.tracker_mut().set_max_duration(self.budget.compute());
                    answer
                } else {
                    self.function(&call.function_name, &call.args, &call.kwargs)
                };
                if self.budget.io_calls() != questions {
                    self.waited += asked.elapsed();
                }
                let answer = self.unless_doomed(answer);
                let print = PrintWriter::Callback(&mut self.print);
                match answer {
                    Answer::Value(value) => call.resume(ExtFunctionResult::Return(value), print),
                    Answer::Missing => {
                        let class = call.object_id.and_then(|id| self.bridge.entry(id)).map(Entry::class);
                        let message =
                            format!("'{}' object has no attribute '{}'", class.unwrap_or("?"), call.function_name);
                        let error = MontyException::new(ExcType::AttributeError, Some(message));
                        call.resume(ExtFunctionResult::Error(error), print)
                    }
                    Answer::Raise(kind, message) => {
                        let error = MontyException::new(kind, Some(message));
                        call.resume(ExtFunctionResult::Error(error), print)
                    }
                    Answer::End(ended) => {
                        self.ended = Some(ended);
                        call.abort(stop(), print)
                    }
                }
            }
            RunProgress::NameLookup(lookup) => {
                let answer = match lookup.object_id().and_then(|id| self.bridge.entry(id).cloned()) {
                    _ if late => Limit::Time.into(),
                    Some(entry) => self.lazy(&entry, &lookup.name),
                    None => Answer::Missing,
                };
                if self.budget.io_calls() != questions {
                    self.waited += asked.elapsed();
                }
                let answer = self.unless_doomed(answer);
                let print = PrintWriter::Callback(&mut self.print);
                match answer {
                    Answer::Value(value) => lookup.resume(value, print),
                    Answer::Missing => lookup.resume(NameLookupResult::Undefined, print),
                    Answer::Raise(kind, message) => lookup.resume(MontyException::new(kind, Some(message)), print),
                    Answer::End(ended) => {
                        self.ended = Some(ended);
                        lookup.abort(stop(), print)
                    }
                }
            }
            RunProgress::OsCall(call) => {
                let now = self.host.now();
                let print = PrintWriter::Callback(&mut self.print);
                match &call.function_call {
                    OsFunctionCall::DateTimeNow(zone) => {
                        let zone = zone.clone();
                        call.resume(ExtFunctionResult::Return(in_zone(now, zone)), print)
                    }
                    OsFunctionCall::DateToday => call.resume(ExtFunctionResult::Return(today(now)), print),
                    _ => {
                        let message = Some("files and the environment are out of reach".to_owned());
                        let error = MontyException::new(ExcType::PermissionError, message);
                        call.resume(ExtFunctionResult::Error(error), print)
                    }
                }
            }
            RunProgress::ResolveFutures(futures) => futures.abort(stop(), PrintWriter::Callback(&mut self.print)),
            done @ RunProgress::Complete(_) => Ok(done),
        }
    }

    /// The values to start with, in the order of the program's inputs.
    fn values(&mut self) -> Vec<MontyObject> {
        let program = self.program;
        program.inputs.iter().map(|input| self.input(*input)).collect()
    }

    fn input(&mut self, input: Input) -> MontyObject {
        let inputs = self.inputs;
        match input {
            Input::Steps => MontyObject::Int(i64::try_from(self.budget.steps()).unwrap_or(i64::MAX)),
            Input::Request => self.request(),
            Input::Context => MontyObject::None,
            Input::User => inputs.user.as_ref().map_or(MontyObject::None, |user| self.bridge.user(user)),
            Input::HttpRequest => {
                inputs.http_request.as_ref().map_or(MontyObject::None, |request| self.bridge.request(request))
            }
            Input::Provider => {
                inputs.provider.clone().map_or(MontyObject::None, |provider| self.bridge.value(&provider.into()))
            }
            Input::Token => inputs.token.clone().map_or(MontyObject::None, |token| self.bridge.value(&token.into())),
            Input::OfSource(name) => {
                let found = inputs.of_source.iter().find(|(known, _)| known == name);
                found.map_or(MontyObject::None, |(_, value)| self.bridge.value(value))
            }
            Input::ClientIp => inputs.client_ip.map_or(MontyObject::None, |ip| self.bridge.address(ip)),
            Input::IsSso => {
                let sso = inputs.context.iter().find(|(key, _)| key == "is_sso");
                MontyObject::Bool(sso.is_some_and(|(_, value)| truthy(&self.bridge.value(value))))
            }
            Input::Logger => self.bridge.instance(Entry::Logger, Vec::new()),
            Input::Class("Instant") => MontyObject::Type(monty_types::MontyType::DateTime),
            Input::Class(name) => crate::bridge::class(name),
            Input::Function(name) => MontyObject::Function { name: name.to_owned(), docstring: None },
        }
    }

    /// `request`, with `context` and, in flows, the flow's plan within it.
    fn request(&mut self) -> MontyObject {
        let inputs = self.inputs;
        let user = inputs.user.clone().unwrap_or_else(|| Arc::clone(&self.anonymous));
        let mut attributes = Vec::new();
        if self.bridge.mentions("user") {
            attributes.push(("user", self.bridge.user(&user)));
        }
        if self.bridge.mentions("http_request") {
            let request = inputs.http_request.as_ref();
            attributes.push(("http_request", request.map_or(MontyObject::None, |r| self.bridge.request(r))));
        }
        if self.bridge.mentions("obj") {
            attributes.push(("obj", self.bridge.value(&inputs.obj)));
        }
        if self.bridge.mentions("context") || self.program.inputs.contains(&Input::Context) {
            let plan = inputs.flow.as_ref().map(|flow| {
                let context = self.bridge.dict(&flow.context, Vec::new());
                self.flow = Some(context.clone());
                let plan = self.bridge.instance(Entry::FlowPlan, vec![("context", context)]);
                (MontyObject::String("flow_plan".to_owned()), plan)
            });
            let context = self.bridge.dict(&inputs.context, plan.into_iter().collect());
            attributes.push(("context", context));
        }
        attributes.push(("debug", MontyObject::Bool(inputs.debug)));
        self.bridge.instance(Entry::Request, attributes)
    }

    /// Adds a log line; those beyond the limit are dropped, with one warning.
    pub(crate) fn log(&mut self, line: LogLine) {
        let limit = self.budget.limits().log_lines;
        let lines = &mut self.outcome.log_lines;
        match lines.len().cmp(&limit) {
            std::cmp::Ordering::Less => lines.push(line),
            std::cmp::Ordering::Equal => lines.push(warning("further log lines are dropped")),
            std::cmp::Ordering::Greater => {}
        }
    }

    pub(crate) fn warn(&mut self, message: &str) {
        self.log(warning(message));
    }

    /// Turns what was printed into log lines (CO-223).
    fn printed(&mut self) {
        for message in std::mem::take(&mut self.print.lines) {
            self.log(LogLine { level: LogLevel::Debug, message, fields: serde_json::Map::new() });
        }
    }
}

fn warning(message: &str) -> LogLine {
    LogLine { level: LogLevel::Warning, message: message.to_owned(), fields: serde_json::Map::new() }
}

/// What ends an evaluation from outside; the expression cannot catch it.
fn stop() -> MontyException {
    MontyException::new(ExcType::RuntimeError, None)
}

fn in_zone(now: chrono::DateTime<chrono::Utc>, zone: Option<monty_types::MontyTimeZone>) -> MontyObject {
    let Some(zone) = zone else {
        // Without a zone Python means the server's; all our times are UTC.
        let MontyObject::DateTime(mut naive) = instant(now) else { return MontyObject::None };
        naive.offset_seconds = None;
        return MontyObject::DateTime(naive);
    };
    let shifted = now + chrono::TimeDelta::seconds(zone.offset_seconds.into());
    let MontyObject::DateTime(mut local) = instant(shifted) else { return MontyObject::None };
    local.offset_seconds = Some(zone.offset_seconds);
    local.timezone_name = zone.name;
    MontyObject::DateTime(local)
}

fn today(now: chrono::DateTime<chrono::Utc>) -> MontyObject {
    match instant(now) {
        MontyObject::DateTime(at) => {
            MontyObject::Date(monty_types::MontyDate { year: at.year, month: at.month, day: at.day })
        }
        other => other,
    }
}
