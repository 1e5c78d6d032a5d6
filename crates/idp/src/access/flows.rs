//! What is bound to flows: who may run one (CO-307), and whose password is too old to sign in with (CO-318).
//!
//! Policies on the age of a password say nothing about strangers. They are asked apart from the others, when it is known
//! who signs in.

use std::sync::Arc;

use portcullis_core::policy::Mode;
use portcullis_store::flow::Flow;
use portcullis_store::policy::Policy;
use portcullis_store::{Conn, binding, policy as policies_of};

use super::{AccessContext, Case, Decision, Terms, by_key, record};
use crate::context::Context;
use crate::directory::Person;
use crate::error::Error;
use crate::policies::PolicyKind;

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

/// Whether somebody, or a stranger, may run a flow. Everybody may where nothing is bound to it.
///
/// # Errors
/// When the store fails; treat that as no.
pub async fn admits(
    ctx: &Context,
    flow: &Flow,
    person: Option<&Person>,
    context: &AccessContext,
) -> Result<Decision, Error> {
    let mut terms = terms(&mut ctx.db.read().await?, flow).await?;
    let Terms { bindings, policies, .. } = &mut terms;
    bindings.retain(|binding| expiry(binding.policy.and_then(|pk| policies.get(&pk))).is_none());
    let mode = Mode::parse(&flow.policy_engine_mode).unwrap_or(Mode::All);
    let case = Case { terms: &terms, person, application: None, mode, found: Vec::new() };
    let case = case.heard(ctx, context).await;
    record::alone(ctx, &case, context).await?;
    Ok(case.judged().decision)
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
