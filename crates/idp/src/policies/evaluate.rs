//! What each kind of policy says (CO-190 … CO-196).

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::clock::Timestamp;
use portcullis_store::policy::{self, Policy};
use serde_json::Value;

use super::kind::{Dummy, EventMatcher, PasswordExpiry, PolicyKind, Reputation};
use super::password;
use super::request::{Failure, Outcome, PolicyRequest};
use super::support::Answer;
use crate::context::Context;
use crate::reputation;

/// How deep policies may call each other (CO-242).
pub(super) const DEEPEST: usize = 5;
const DAY_SECONDS: i64 = 24 * 3600;

/// Evaluates a policy. It changes nothing; what it wants recorded is in the outcome (CO-179). How long it may take
/// is for the caller to say: dropping it ends it.
pub fn evaluate<'a>(ctx: &'a Context, policy: &'a Policy, request: Arc<PolicyRequest>) -> Answer<'a, Outcome, Failure> {
    Box::pin(async move {
        let kind = PolicyKind::read(&policy.kind, &policy.settings).map_err(|error| {
            tracing::error!(%error, policy = policy.name, "a stored policy cannot be read");
            Failure::new("The policy cannot be read.")
        })?;
        match &kind {
            PolicyKind::Dummy(dummy) => Ok(wait(ctx, dummy).await),
            PolicyKind::EventMatcher(matcher) => Ok(matches(matcher, request.context.get("event"))),
            PolicyKind::Expression(expression) => {
                let engine = ctx.policies.expressions.as_ref();
                let engine =
                    engine.ok_or_else(|| Failure::new("Expression policies are not available in this build."))?;
                engine.evaluate(ctx, &policy.name, &expression.expression, request).await
            }
            PolicyKind::Password(rules) => password::evaluate(&ctx.policies, rules, &request).await,
            PolicyKind::PasswordExpiry(expiry) => expires(expiry, &request, ctx.now()),
            PolicyKind::Reputation(rules) => is_bad(ctx, rules, &request).await,
        }
    })
}

/// Evaluates the policy of this name for a policy that asks for it (CO-242). `context` is what the called one sees.
///
/// The caller's key must be the last of `request.callers`.
///
/// # Errors
/// When there is no such policy, when it is one of its own callers, or too many have called each other.
pub async fn call(
    ctx: &Context,
    name: &str,
    request: &PolicyRequest,
    context: serde_json::Map<String, Value>,
) -> Result<Outcome, Failure> {
    let database = |error: portcullis_store::StoreError| {
        tracing::error!(%error, "a policy cannot be read");
        Failure::new("The database failed.")
    };
    let mut conn = ctx.db.read().await.map_err(database)?;
    let found = policy::by_name(&mut conn, name).await.map_err(database)?;
    drop(conn);
    let found = found.ok_or_else(|| Failure::new(format!("There is no policy named {name:?}.")))?;
    if request.callers.contains(&found.pk) {
        return Err(Failure::new(format!("Policy {name:?} calls itself.")));
    }
    if request.callers.len() >= DEEPEST {
        return Err(Failure::new(format!("Policies call each other more than {DEEPEST} deep.")));
    }
    let mut request = PolicyRequest { context, ..request.clone() };
    request.callers.push(found.pk);
    evaluate(ctx, &found, Arc::new(request)).await
}

/// Waits for a random whole number of seconds (CO-196).
async fn wait(ctx: &Context, dummy: &Dummy) -> Outcome {
    let seconds = seconds_between(dummy.wait_min, dummy.wait_max, u64::from_le_bytes(ctx.entropy.bytes()));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Outcome { messages: vec!["dummy".to_owned()], ..Outcome::of(dummy.result) }
}

/// In `[least, most)`, or `least` where that is empty.
fn seconds_between(least: i32, most: i32, random: u64) -> u64 {
    let width = u64::try_from(i64::from(most) - i64::from(least)).unwrap_or(0);
    let more = i64::try_from(random.checked_rem(width).unwrap_or(0)).unwrap_or(0);
    u64::try_from(i64::from(least) + more).unwrap_or(0)
}

fn matches(matcher: &EventMatcher, event: Option<&Value>) -> Outcome {
    let Some(event) = event.filter(|event| event.is_object()) else { return Outcome::of(false) };
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let model = format!("{}.{}", text("/context/model/app"), text("/context/model/model_name"));
    let criteria = [
        (&matcher.action, text("/action")),
        (&matcher.client_ip, text("/client_ip")),
        (&matcher.app, text("/app")),
        (&matcher.model, model.as_str()),
    ];
    Outcome::of(criteria.into_iter().all(|(wanted, found)| wanted.as_deref().is_none_or(|wanted| wanted == found)))
}

/// CO-193. Nothing is done to the password.
fn expires(expiry: &PasswordExpiry, request: &PolicyRequest, now: Timestamp) -> Result<Outcome, Failure> {
    let person = request.person.as_ref().ok_or_else(|| Failure::new("Nobody is known whose password could expire."))?;
    let age = now.seconds().saturating_sub(person.account.password_changed.seconds()).div_euclid(DAY_SECONDS);
    let over = age.saturating_sub(expiry.days.into());
    Ok(match (over >= 0, expiry.deny_only) {
        (false, _) => Outcome::pass(),
        (true, true) => Outcome::refuse("Password has expired."),
        (true, false) => Outcome::refuse(format!("Password expired {over} days ago. Please update your password.")),
    })
}

/// CO-194. True for a bad reputation.
async fn is_bad(ctx: &Context, rules: &Reputation, request: &PolicyRequest) -> Result<Outcome, Failure> {
    let client = request.client.filter(|_| rules.check_ip);
    let username = request.person.as_ref().filter(|_| rules.check_username).map(|person| &person.account.username);
    if client.is_none() && username.is_none() {
        return Err(Failure::new("Neither an address nor a user is known whose reputation could be looked at."));
    }
    let score = reputation::score(ctx, client, username.map(String::as_str)).await.map_err(|error| {
        tracing::error!(%error, "reputation cannot be read");
        Failure::new("The database failed.")
    })?;
    Ok(Outcome { raw: Value::from(score), ..Outcome::of(score <= i64::from(rules.threshold)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// CO-195: every criterion that is set must equal the event's; without an event nothing matches.
    #[test]
    fn co_195_events_are_matched() {
        let event = json!({
            "action": "login", "client_ip": "192.0.2.1", "app": "authentik.core",
            "context": {"model": {"app": "authentik_core", "model_name": "user"}},
        });
        let matcher = |field: &str, value: &str| -> EventMatcher {
            serde_json::from_value(json!({field: value})).expect("a matcher")
        };
        assert!(matches(&EventMatcher::default(), Some(&event)).passing);
        for (field, yes, no) in [
            ("action", "login", "logout"),
            ("client_ip", "192.0.2.1", "192.0.2.10"),
            ("app", "authentik.core", "authentik.co"),
            ("model", "authentik_core.user", "authentik_core.group"),
        ] {
            assert!(matches(&matcher(field, yes), Some(&event)).passing, "{field}");
            assert!(!matches(&matcher(field, no), Some(&event)).passing, "{field}");
            for nothing in [None, Some(&json!(null)), Some(&json!({}))] {
                assert!(!matches(&matcher(field, yes), nothing).passing, "{field}");
            }
        }
        let both = EventMatcher { app: Some("other".to_owned()), ..matcher("action", "login") };
        assert!(!matches(&both, Some(&event)).passing);
    }

    /// CO-196: a whole number of seconds, below the upper end; the lower end where nothing is between them.
    #[test]
    fn co_196_seconds_between() {
        for random in 0..40 {
            assert!((2..5).contains(&seconds_between(2, 5, random)));
            assert_eq!(seconds_between(3, 3, random), 3);
            assert_eq!(seconds_between(3, 1, random), 3);
            assert_eq!(seconds_between(-4, -9, random), 0);
        }
        assert_eq!(seconds_between(0, i32::MAX, u64::MAX), u64::MAX % 2_147_483_647);
    }
}
