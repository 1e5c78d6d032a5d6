//! Whether a password is good enough (CO-191, CO-192).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use portcullis_store::account::Account;
use serde_json::{Map, Value};
use zxcvbn::Score;

use super::kind::Password;
use super::request::{Failure, Outcome, PolicyRequest};
use super::support::Support;

/// What cannot be guessed is not what is behind this many characters; looking further costs much time.
const LOOKED_AT: usize = 72;
const INVALID: &str = "Invalid password.";
/// Name of the instance, which people put into passwords.
const BRAND: &str = "Portcullis";

/// Checks the password in the context.
pub(super) async fn evaluate(
    support: &Support,
    policy: &Password,
    request: &PolicyRequest,
) -> Result<Outcome, Failure> {
    let Some(password) = candidate(policy, &request.context) else {
        return Ok(Outcome::refuse("Password not set in context"));
    };
    judge(support, policy, password, request.person.as_ref().map(|person| &person.account)).await
}

/// Checks a password that a user wants. The first check that fails answers.
///
/// # Errors
/// When it could not be rated, or the service for breached passwords did not answer.
pub(crate) async fn judge(
    support: &Support,
    policy: &Password,
    password: &str,
    user: Option<&Account>,
) -> Result<Outcome, Failure> {
    if policy.check_static_rules && !meets_static_rules(policy, password) {
        let message = if policy.error_message.is_empty() { INVALID } else { &policy.error_message };
        return Ok(Outcome::refuse(message));
    }
    if policy.check_have_i_been_pwned {
        let count = breaches(support, password).await?;
        if count > u64::try_from(policy.hibp_allowed_count).unwrap_or(0) {
            return Ok(Outcome::refuse(format!("Password exists on {count} online lists.")));
        }
    }
    if policy.check_zxcvbn
        && let Some(message) = too_easy(policy, password, user).await?
    {
        return Ok(Outcome::refuse(message));
    }
    Ok(Outcome::pass())
}

fn candidate<'a>(policy: &Password, context: &'a Map<String, Value>) -> Option<&'a str> {
    let field = policy.password_field.as_str();
    let typed = context.get("prompt_data").and_then(|typed| typed.get(field));
    typed.or_else(|| context.get(field)).and_then(Value::as_str)
}

fn meets_static_rules(policy: &Password, password: &str) -> bool {
    let count = |counts: &dyn Fn(char) -> bool| password.chars().filter(|c| counts(*c)).count();
    let rules = [
        (policy.amount_digits, count(&|c| c.is_ascii_digit())),
        (policy.amount_uppercase, count(&|c| c.is_ascii_uppercase())),
        (policy.amount_lowercase, count(&|c| c.is_ascii_lowercase())),
        (policy.amount_symbols, count(&|c| policy.symbol_charset.contains(c))),
        (policy.length_min, count(&|_| true)),
    ];
    rules.into_iter().all(|(wanted, found)| found >= usize::try_from(wanted).unwrap_or(0))
}

/// On how many lists the password is. The service learns five hex digits of its SHA-1 (CO-192).
async fn breaches(support: &Support, password: &str) -> Result<u64, Failure> {
    let service =
        support.breaches.as_ref().ok_or_else(|| Failure::new("No service for breached passwords is set up."))?;
    let digits = hex::encode_upper(digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()));
    let (prefix, rest) = digits.split_at(5);
    let list = service.range(prefix).await.map_err(|error| {
        tracing::warn!(error, "the service for breached passwords did not answer");
        Failure::new("The service for breached passwords did not answer.")
    })?;
    let entries = list.lines().filter_map(|line| line.trim().split_once(':'));
    let mut counts = entries.filter(|(digits, _)| digits.eq_ignore_ascii_case(rest)).map(|(_, count)| count);
    match counts.next() {
        // Padding counts nothing (CO-192).
        Some(count) => {
            count.parse().map_err(|_| Failure::new("The service for breached passwords cannot be understood."))
        }
        None => Ok(0),
    }
}

/// Why a password is too easy to guess, if it is.
async fn too_easy(policy: &Password, password: &str, user: Option<&Account>) -> Result<Option<String>, Failure> {
    let looked_at: String = password.chars().take(LOOKED_AT).collect();
    let mut known = vec![BRAND.to_owned()];
    if let Some(account) = user {
        known.extend([account.username.clone(), account.name.clone(), account.email.clone()]);
    }
    let guess = move || {
        let known: Vec<_> = known.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let estimate = zxcvbn::zxcvbn(&looked_at, &known);
        let warning = estimate.feedback().and_then(|feedback| feedback.warning()).map(|warning| warning.to_string());
        (number(estimate.score()), warning)
    };
    // It may take some milliseconds of computing.
    let guessed = tokio::task::spawn_blocking(guess).await;
    let (score, warning) = guessed.map_err(|_| Failure::new("The password could not be rated."))?;
    if score > policy.zxcvbn_score_threshold {
        return Ok(None);
    }
    Ok(Some(match warning {
        Some(warning) => format!("{warning} Choose another one."),
        None => "Password is too weak.".to_owned(),
    }))
}

fn number(score: Score) -> i32 {
    u8::from(score).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::support::{Answer, BreachService};
    use serde_json::json;
    use std::sync::{Arc, Mutex};

    fn asked(context: &Value) -> PolicyRequest {
        PolicyRequest {
            sender: None,
            explained: false,
            person: None,
            application: None,
            provider: None,
            client: None,
            flow: None,
            http: None,
            request: Default::default(),
            context: context.as_object().cloned().unwrap_or_default(),
            debug: false,
            callers: Vec::new(),
        }
    }

    async fn rate(policy: &Password, password: &str) -> Outcome {
        let request = asked(&json!({"password": password}));
        evaluate(&Support::default(), policy, &request).await.expect("is evaluated")
    }

    /// CO-191: each static rule counts ASCII characters of its class; the message is the policy's, or the default.
    #[tokio::test]
    async fn co_191_static_rules() {
        let none = Password::default();
        assert!(rate(&none, "").await.passing);
        let rule = |change: fn(&mut Password)| {
            let mut policy = Password::default();
            change(&mut policy);
            policy
        };
        let cases: [(Password, &str, &str); 6] = [
            (rule(|p| p.amount_digits = 2), "a1b2", "a1b\u{0661}"),
            (rule(|p| p.amount_uppercase = 2), "AB", "A\u{00c4}"),
            (rule(|p| p.amount_lowercase = 3), "aab", "aB\u{00e4}b"),
            (rule(|p| p.amount_symbols = 2), "a! ", "a!\u{00a7}"),
            (rule(|p| p.length_min = 4), "\u{00e4}\u{00e4}\u{00e4}\u{00e4}", "aaa"),
            (
                rule(|p| {
                    p.amount_symbols = 1;
                    p.symbol_charset = "a".to_owned();
                }),
                "a",
                "!",
            ),
        ];
        for (policy, good, bad) in cases {
            assert!(rate(&policy, good).await.passing, "{good}");
            let refused = rate(&policy, bad).await;
            assert_eq!((refused.passing, refused.messages), (false, vec![INVALID.to_owned()]), "{bad}");
        }
        let named = rule(|p| {
            p.length_min = 9;
            p.error_message = "Nine, please.".to_owned();
        });
        assert_eq!(rate(&named, "a").await.messages, ["Nine, please."]);
        let off = rule(|p| {
            p.length_min = 9;
            p.check_static_rules = false;
        });
        assert!(rate(&off, "a").await.passing);
    }

    /// CO-191: what was typed into the form comes before the context; without either the policy does not pass.
    #[tokio::test]
    async fn co_191_where_the_password_is() {
        let policy = Password { length_min: 4, password_field: "pw".to_owned(), ..Password::default() };
        for (context, passing) in [
            (json!({"prompt_data": {"pw": "long enough"}, "pw": "x"}), true),
            (json!({"prompt_data": {"pw": "x"}, "pw": "long enough"}), false),
            (json!({"prompt_data": {"other": "x"}, "pw": "long enough"}), true),
        ] {
            let outcome = evaluate(&Support::default(), &policy, &asked(&context)).await.expect("is evaluated");
            assert_eq!(outcome.passing, passing);
        }
        for absent in [json!({}), json!({"password": "long enough"}), json!({"pw": 7})] {
            let outcome = evaluate(&Support::default(), &policy, &asked(&absent)).await.expect("is evaluated");
            assert_eq!((outcome.passing, outcome.messages), (false, vec!["Password not set in context".to_owned()]));
        }
    }

    /// CO-191: a password passes when its score is above the threshold, and only its first 72 characters are rated.
    #[tokio::test]
    async fn co_191_the_score_is_above_the_threshold() {
        let policy =
            |zxcvbn_score_threshold| Password { check_zxcvbn: true, zxcvbn_score_threshold, ..Password::default() };
        for (password, score) in [("password", 0), ("correct horse battery staple", 4)] {
            for threshold in 0..=4 {
                let outcome = rate(&policy(threshold), password).await;
                assert_eq!(outcome.passing, score > threshold, "{password} {threshold}");
                assert_eq!(outcome.messages.is_empty(), outcome.passing);
            }
        }
        let long = format!("{}correct horse battery staple", "a".repeat(72));
        assert!(!rate(&policy(1), &long).await.passing);
    }

    /// A service that knows one list.
    struct List(Result<&'static str, &'static str>, Mutex<Vec<String>>);

    impl BreachService for List {
        fn range<'a>(&'a self, prefix: &'a str) -> Answer<'a, String, String> {
            self.1.lock().expect("not poisoned").push(prefix.to_owned());
            Box::pin(async move { self.0.map(str::to_owned).map_err(str::to_owned) })
        }
    }

    /// CO-192: five hex digits leave the process; padding counts nothing; a service that is down or cannot be
    /// understood is a failure, and no pass.
    #[tokio::test]
    async fn co_192_breached_passwords() {
        // The SHA-1 of `password` is 5BAA6 1E4C9B93F3F0682250B6CF8331B7EE68FD8.
        let ask = async |list, allowed| {
            let service = Arc::new(List(list, Mutex::default()));
            let support = Support { breaches: Some(service.clone()), ..Support::default() };
            let policy = Password { check_have_i_been_pwned: true, hibp_allowed_count: allowed, ..Password::default() };
            let outcome = evaluate(&support, &policy, &asked(&json!({"password": "password"}))).await;
            assert_eq!(*service.1.lock().expect("not poisoned"), ["5BAA6"]);
            outcome.map(|outcome| (outcome.passing, outcome.messages))
        };
        let listed = "0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n1E4C9B93F3F0682250B6CF8331B7EE68FD8:7\r\n";
        let message = vec!["Password exists on 7 online lists.".to_owned()];
        assert_eq!(ask(Ok(listed), 6).await, Ok((false, message)));
        assert_eq!(ask(Ok(listed), 7).await, Ok((true, Vec::new())));
        assert_eq!(ask(Ok("1E4C9B93F3F0682250B6CF8331B7EE68FD8:0"), 0).await, Ok((true, Vec::new())));
        assert_eq!(ask(Ok(""), 0).await, Ok((true, Vec::new())));
        assert!(ask(Err("down"), 0).await.is_err());
        assert!(ask(Ok("1E4C9B93F3F0682250B6CF8331B7EE68FD8:many"), 0).await.is_err());
        let policy = Password { check_have_i_been_pwned: true, ..Password::default() };
        assert!(evaluate(&Support::default(), &policy, &asked(&json!({"password": "x"}))).await.is_err());
    }
}
