//! What a password must be before a user may choose it (CO-326). Every prompt for a new password asks here.

use portcullis_store::account::Account;
use portcullis_store::policy;

use crate::context::Context;
use crate::error::Error;
use crate::policies::{self, Password, PolicyKind};

/// Name of the policy that every prompt for a new password asks (CO-306).
pub const POLICY: &str = "default-password-change-password-policy";

/// Shortest password, and the score that one must be above, unless the policy says otherwise (CO-306).
const SHORTEST: i32 = 8;
const SCORE: i32 = 2;

/// What is wrong with a password that a user wants, in words for them; nothing when it will do. The one place at
/// which the password policy is asked. Never call it inside a transaction: it computes, and may ask others.
///
/// # Errors
/// When the store fails.
pub async fn check(ctx: &Context, candidate: &str, user: &Account) -> Result<Vec<String>, Error> {
    let rules = rules(ctx).await?;
    Ok(match policies::judge(&ctx.policies, &rules, candidate, Some(user)).await {
        Ok(outcome) if outcome.passing => Vec::new(),
        Ok(outcome) => outcome.messages,
        Err(failure) => vec![failure.message],
    })
}

/// The policy of that name if there is one, else what it would be.
async fn rules(ctx: &Context) -> Result<Password, Error> {
    if let Some(policy) = policy::by_name(&mut ctx.db.read().await?, POLICY).await?
        && let PolicyKind::Password(rules) = PolicyKind::read(&policy.kind, &policy.settings)?
    {
        return Ok(rules);
    }
    Ok(Password {
        length_min: SHORTEST,
        error_message: format!("The password needs at least {SHORTEST} characters."),
        check_zxcvbn: true,
        zxcvbn_score_threshold: SCORE,
        ..Password::default()
    })
}
