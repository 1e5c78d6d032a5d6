//! What is bound to flows: who may run one (CO-307), and whose password is too old to sign in with (CO-318).
//!
//! Policies on the age of a password say nothing about strangers. They are asked apart from the others, when it is known
//! who signs in.

use std::sync::Arc;

use portcullis_core::id::UserPk;
use portcullis_core::policy::Mode;
use portcullis_core::target::local_target;
use portcullis_store::application::{self, Application};
use portcullis_store::flow::Flow;
use portcullis_store::policy::Policy;
use portcullis_store::{Conn, StoreError, binding, policy as policies_of, provider};
use serde_json::{Map, Value};

use super::{AccessContext, Case, Decision, Terms, by_key, record};
use crate::context::Context;
use crate::directory::{self, Person};
use crate::error::Error;
use crate::policies::{FlowFacts, PolicyKind};

/// What becomes of somebody whose password was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Age {
    /// They are signed in.
    Good,
    /// They choose another password first.
    Expired,
    /// They are not signed in.
    Denied(Vec<String>),
}

/// How far a flow is, for policies (CO-305).
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Whom it is about.
    pub pending: Option<UserPk>,
    /// Whether a policy may say whom it is about: nobody has shown who they are (CO-246).
    pub open: bool,
    /// The client that the browser wants to reach.
    pub client_id: Option<String>,
    /// The rest, by key.
    pub entries: Map<String, Value>,
}

impl Gathered {
    /// What policies see of it.
    async fn facts(self, ctx: &Context, conn: &mut Conn) -> Result<FlowFacts, Error> {
        let pending = match self.pending {
            Some(pk) => directory::person(ctx, conn, pk).await?.map(Arc::new),
            None => None,
        };
        let application = match self.client_id {
            Some(client_id) => wanted(conn, &client_id).await?.map(Arc::new),
            None => None,
        };
        Ok(FlowFacts { pending, application, open: self.open, entries: self.entries })
    }
}

/// The application of a client.
///
/// # Errors
/// When the store fails.
pub(crate) async fn wanted(conn: &mut Conn, client_id: &str) -> Result<Option<Application>, StoreError> {
    match provider::by_client_id(conn, client_id).await? {
        Some(client) => application::by_provider(conn, client.pk).await,
        None => Ok(None),
    }
}

/// What policies that pass have written into the context of a flow, as far as it changes what comes (CO-246). Of several
/// that write the same, the last counts.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Where the browser goes afterwards: a target on this site.
    pub redirect: Option<String>,
    /// Whom the flow is about.
    pub pending: Option<UserPk>,
    /// The name that is offered to whoever signs in.
    pub identifier: Option<String>,
}

impl Written {
    fn of<'a>(outcomes: impl Iterator<Item = &'a Map<String, Value>>) -> Self {
        let mut written = Self::default();
        for changes in outcomes {
            let redirect =
                changes.get("redirect").and_then(Value::as_str).filter(|target| local_target(target) == *target);
            written.redirect = redirect.map(str::to_owned).or(written.redirect);
            let pending = changes.get("pending_user").and_then(Value::as_i64).and_then(|pk| i32::try_from(pk).ok());
            written.pending = pending.map(UserPk).or(written.pending);
            let identifier = changes.get("pending_user_identifier").and_then(Value::as_str);
            written.identifier = identifier.map(str::to_owned).or(written.identifier);
        }
        written
    }
}

/// Whether somebody, or a stranger, may run a flow, and what the policies that pass have made of its context. Everybody
/// may where nothing is bound to it.
///
/// # Errors
/// When the store fails; treat that as no.
pub async fn admits(
    ctx: &Context,
    flow: &Flow,
    person: Option<&Person>,
    context: AccessContext,
    gathered: Gathered,
) -> Result<(Decision, Written), Error> {
    let mut conn = ctx.db.read().await?;
    let mut terms = terms(&mut conn, flow).await?;
    let Terms { bindings, policies, .. } = &mut terms;
    bindings.retain(|binding| expiry(binding.policy.and_then(|pk| policies.get(&pk))).is_none());
    let flow_facts = if bindings.is_empty() { None } else { Some(gathered.facts(ctx, &mut conn).await?) };
    drop(conn);
    let context = &AccessContext { flow: flow_facts, ..context };
    let mode = Mode::parse(&flow.policy_engine_mode).unwrap_or(Mode::All);
    let case = Case { terms: &terms, person, application: None, mode, found: Vec::new() };
    let case = case.heard(ctx, context).await;
    record::alone(ctx, &case, context).await?;
    let passed = case.found.iter().filter_map(|found| found.answer.as_ref().ok()).filter(|outcome| outcome.passing);
    let written = Written::of(passed.map(|outcome| &outcome.context_changes));
    Ok((case.judged().decision, written))
}

/// What the policies on the age of passwords that are bound to a flow say about somebody. Each of them counts.
///
/// # Errors
/// When the store fails; treat that as denied.
pub async fn password(ctx: &Context, flow: &Flow, person: &Person, context: &AccessContext) -> Result<Age, Error> {
    let mut terms = terms(&mut ctx.db.read().await?, flow).await?;
    let Terms { bindings, policies, .. } = &mut terms;
    bindings.retain(|binding| expiry(binding.policy.and_then(|pk| policies.get(&pk))).is_some());
    let case = Case { terms: &terms, person: Some(person), application: None, mode: Mode::All, found: Vec::new() };
    let case = case.heard(ctx, context).await;
    record::alone(ctx, &case, context).await?;
    let decision = case.judged().decision;
    if decision.passing {
        return Ok(Age::Good);
    }
    let refused = |binding: &&binding::Binding| decision.trace.contains(&(binding.pk, false));
    let kinds =
        terms.bindings.iter().filter(refused).map(|binding| binding.policy.and_then(|pk| terms.policies.get(&pk)));
    let denies = kinds.into_iter().any(|policy| expiry(policy) != Some(false));
    Ok(if denies { Age::Denied(decision.messages) } else { Age::Expired })
}

async fn terms(conn: &mut Conn, flow: &Flow) -> Result<Terms, Error> {
    let bindings = binding::enabled_of(conn, flow.pk.0).await?;
    let policies = match bindings.is_empty() {
        true => Vec::new(),
        false => policies_of::bound_to(conn, flow.pk.0).await?,
    };
    Ok(Terms { bindings, policies: Arc::new(by_key(policies)), provider: None, empty: true })
}

/// Whether a policy on the age of passwords denies; none for other policies.
fn expiry(policy: Option<&Policy>) -> Option<bool> {
    let policy = policy?;
    match PolicyKind::read(&policy.kind, &policy.settings) {
        Ok(PolicyKind::PasswordExpiry(rules)) => Some(rules.deny_only),
        _ => None,
    }
}
