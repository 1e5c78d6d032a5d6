//! The host of an evaluation: puts each question to the task that waits for it.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use portcullis_expr::{
    AddressFamily, Application, Authenticator, Budget, Called, Entitlement, Filter, Group, Host, HostError, Inputs,
    NamedObject, Outcome, PolicyCall, PolicyResult, Program, RunError, Situation, User,
};
use serde_json::{Map, Value as Json};
use tokio::sync::{mpsc, oneshot};

use super::Engine;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, HostError>>;

/// What an evaluation asks.
pub(super) enum Question {
    Now(Reply<DateTime<Utc>>),
    FindUser(Vec<Filter>, Reply<Option<User>>),
    /// Of a user; those of ancestors, too, if `true`.
    Groups(Option<i32>, bool, Reply<Vec<Group>>),
    Roles(Option<i32>, bool, Reply<Vec<NamedObject>>),
    /// Of a user and their groups.
    Attributes {
        user: Option<i32>,
        /// Whether a mapping asks, which may see what its provider uses.
        mapping: bool,
        with_brand: bool,
        reply: Reply<Map<String, Json>>,
    },
    Entitlements(Option<i32>, String, Reply<Vec<Entitlement>>),
    /// Of this kind, or of any.
    HasAuthenticator(Option<i32>, Option<Authenticator>, Reply<bool>),
    /// Above a group, or below it if `false`.
    Relatives(String, bool, Reply<Vec<Group>>),
    GroupRoles(String, Reply<Vec<NamedObject>>),
    /// The source of an expression policy, or what a policy of another kind says.
    Policy(String, Vec<(String, Json)>, Reply<Callee>),
    Resolve(String, Option<AddressFamily>, Reply<Vec<IpAddr>>),
    Reverse(IpAddr, Reply<Option<String>>),
}

/// A policy that is called by another.
pub(super) enum Callee {
    /// It is to be run here, with what is left of the caller's budget.
    Expression(String),
    /// It was asked already.
    Answered(Called),
}

/// Asks over a channel, and waits for the answer on the evaluation's own thread.
pub(super) struct Asking {
    engine: Arc<Engine>,
    ask: mpsc::UnboundedSender<Question>,
    start: Start,
    /// Whether this is a policy, which sees no secret whoever calls it (CO-229).
    policy: bool,
}

/// What an evaluation begins with.
pub(super) struct Start {
    pub(super) inputs: Inputs,
    /// The user as policies see them.
    pub(super) plain: Option<Arc<User>>,
}

impl Asking {
    pub(super) fn new(
        engine: Arc<Engine>,
        ask: mpsc::UnboundedSender<Question>,
        start: Start,
        situation: Situation,
    ) -> Self {
        Self { engine, ask, start, policy: situation == Situation::Policy }
    }

    pub(super) fn run(&self, program: &Program, budget: &Budget) -> Result<Outcome, RunError> {
        program.run(&self.start.inputs, self, budget)
    }

    fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Question) -> Result<T, HostError> {
        let gone = || HostError::new("nobody waits for the answer any more");
        let (reply, answer) = oneshot::channel();
        self.ask.send(question(reply)).map_err(|_| gone())?;
        answer.blocking_recv().map_err(|_| gone())?
    }
}

impl Host for Asking {
    fn now(&self) -> DateTime<Utc> {
        self.ask(Question::Now).unwrap_or(DateTime::UNIX_EPOCH)
    }

    fn find_user(&self, filters: &[Filter]) -> Result<Option<User>, HostError> {
        self.ask(|reply| Question::FindUser(filters.to_vec(), reply))
    }

    fn groups(&self, user: &User) -> Result<Vec<Group>, HostError> {
        self.ask(|reply| Question::Groups(user.pk, false, reply))
    }

    fn all_groups(&self, user: &User) -> Result<Vec<Group>, HostError> {
        self.ask(|reply| Question::Groups(user.pk, true, reply))
    }

    fn roles(&self, user: &User, inherited: bool) -> Result<Vec<NamedObject>, HostError> {
        self.ask(|reply| Question::Roles(user.pk, inherited, reply))
    }

    fn group_attributes(&self, user: &User, with_brand: bool) -> Result<Map<String, Json>, HostError> {
        let mapping = !self.policy;
        self.ask(|reply| Question::Attributes { user: user.pk, mapping, with_brand, reply })
    }

    fn entitlements(&self, user: &User, application: &Application) -> Result<Vec<Entitlement>, HostError> {
        self.ask(|reply| Question::Entitlements(user.pk, application.pk.clone(), reply))
    }

    fn has_authenticator(&self, user: &User, kind: Option<Authenticator>) -> Result<bool, HostError> {
        self.ask(|reply| Question::HasAuthenticator(user.pk, kind, reply))
    }

    fn parents(&self, group: &Group) -> Result<Vec<Group>, HostError> {
        self.ask(|reply| Question::Relatives(group.pk.clone(), true, reply))
    }

    fn children(&self, group: &Group) -> Result<Vec<Group>, HostError> {
        self.ask(|reply| Question::Relatives(group.pk.clone(), false, reply))
    }

    fn group_roles(&self, group: &Group) -> Result<Vec<NamedObject>, HostError> {
        self.ask(|reply| Question::GroupRoles(group.pk.clone(), reply))
    }

    fn call_policy(&self, call: PolicyCall<'_>) -> Result<Called, HostError> {
        let added: Vec<_> = call.kwargs.iter().map(|(key, value)| (key.clone(), super::objects::json(value))).collect();
        match self.ask(|reply| Question::Policy(call.name.to_owned(), added, reply))? {
            Callee::Answered(called) => Ok(called),
            Callee::Expression(source) => {
                let program = self.engine.compiled(&source, Situation::Policy).map_err(HostError::new)?;
                let user = self.start.plain.clone();
                let mut inputs = Inputs { name: call.name.to_owned(), user, ..self.start.inputs.clone() };
                inputs.context.retain(|(key, _)| !call.kwargs.iter().any(|(added, _)| added == key));
                inputs.context.extend(call.kwargs);
                let start = Start { inputs: self.start.inputs.clone(), plain: self.start.plain.clone() };
                let host = Self { engine: Arc::clone(&self.engine), ask: self.ask.clone(), start, policy: true };
                let said = program.run(&inputs, &host, call.budget).map_err(|error| HostError::new(error.message()))?;
                let result = PolicyResult { passing: said.truthy, messages: said.messages, raw_result: said.value };
                Ok(Called { result, log_lines: said.log_lines, events: said.events })
            }
        }
    }

    fn resolve(&self, name: &str, family: Option<AddressFamily>) -> Vec<IpAddr> {
        self.ask(|reply| Question::Resolve(name.to_owned(), family, reply)).unwrap_or_default()
    }

    fn reverse(&self, address: IpAddr) -> Option<String> {
        self.ask(|reply| Question::Reverse(address, reply)).ok().flatten()
    }
}
