//! What a password must be before a user may choose it (CO-326). Every prompt for a new password asks here.

use portcullis_store::account::Account;

/// Shortest password.
const SHORTEST: usize = 8;

/// What is wrong with a password that a user wants, in words for them; nothing when it will do. The one place at
/// which the password policy is asked.
pub fn check(candidate: &str, _user: &Account) -> Vec<String> {
    let mut problems = Vec::new();
    if candidate.chars().count() < SHORTEST {
        problems.push(format!("The password needs at least {SHORTEST} characters."));
    }
    problems
}
