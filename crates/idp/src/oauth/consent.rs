//! Consent: a user agrees before an application learns who they are (OA-164, OA-166, OA-167, CO-321).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::clock::Timestamp;
use portcullis_store::StoreError;
use portcullis_store::login_session::LoginSession;
use portcullis_store::mapping::ScopeMapping;

use super::authorize::Answer;
use crate::context::Context;
use crate::limits;

/// How long the page that asks can be answered.
const ASK_SECONDS: i64 = 600;
/// How long an answer is remembered when the stage does not say: four weeks.
pub(super) const REMEMBERED_SECONDS: i64 = 4 * 7 * 24 * 3600;
/// How long a permanent answer is remembered: a century.
pub(super) const FOR_EVER_SECONDS: i64 = 36_525 * 24 * 3600;

/// What a page asks somebody who may use the application.
#[derive(Debug)]
pub struct Question {
    /// Name of the application.
    pub application: String,
    /// User name of whoever is asked.
    pub username: String,
    /// What they agreed to earlier.
    pub known: Vec<Permission>,
    /// What is new.
    pub additional: Vec<Permission>,
    /// What the page sends with a yes. It counts once, for this request and this session alone.
    pub token: String,
    /// Whether a yes was sent that did not count.
    pub again: bool,
    /// Back to the client with `access_denied`.
    pub back: Answer,
}

/// What an application will know or may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Name of the scope.
    pub scope: String,
    /// In the words of the scope mapping.
    pub description: String,
}

/// Descriptions of the granted scopes, each once: those that `known` covers, and the others.
pub(super) fn described(
    mappings: &[ScopeMapping],
    scopes: &[String],
    known: &str,
) -> (Vec<Permission>, Vec<Permission>) {
    let (mut old, mut new): (Vec<Permission>, Vec<Permission>) = (Vec::new(), Vec::new());
    for mapping in mappings.iter().filter(|mapping| scopes.contains(&mapping.scope_name)) {
        let list = if has(known, &mapping.scope_name) { &mut old } else { &mut new };
        let is_told = list.iter().any(|permission| permission.description == mapping.description);
        if !mapping.description.is_empty() && !is_told {
            let (scope, description) = (mapping.scope_name.clone(), mapping.description.clone());
            list.push(Permission { scope, description });
        }
    }
    (old, new)
}

/// Whether a consent to `known` covers these scopes: the same, or fewer.
pub(super) fn covers(known: &str, scopes: &[String]) -> bool {
    scopes.iter().all(|scope| has(known, scope))
}

fn has(known: &str, scope: &str) -> bool {
    known.split(' ').any(|word| word == scope)
}

/// The token for a page that asks now. `binding` tells the request from every other.
pub(super) fn seal(ctx: &Context, binding: &str, login: &LoginSession) -> String {
    let plain = format!("{} {}", ctx.now().0, login.sid);
    URL_SAFE_NO_PAD.encode(ctx.keys.seal(&place(binding), plain.as_bytes(), &*ctx.entropy))
}

/// Whether a token says yes to this request in this session. It is spent by that.
///
/// # Errors
/// When the store fails.
pub(super) async fn spend(ctx: &Context, binding: &str, login: &LoginSession, token: &str) -> Result<bool, StoreError> {
    let Some(sealed) = opened(ctx, binding, login, token) else { return Ok(false) };
    match limits::first_of(ctx, &[b"consent", &sealed], ASK_SECONDS).await? {
        Some(tx) => tx.commit().await.map(|()| true),
        None => Ok(false),
    }
}

/// The token's bytes, if it is ours, of this request and session, and not too old.
fn opened(ctx: &Context, binding: &str, login: &LoginSession, token: &str) -> Option<Vec<u8>> {
    let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
    let plain = String::from_utf8(ctx.keys.open(&place(binding), &sealed).ok()?).ok()?;
    let (asked, sid) = plain.split_once(' ')?;
    let ends = Timestamp(asked.parse().ok()?).plus_seconds(ASK_SECONDS);
    (sid == login.sid && ctx.now() < ends).then_some(sealed)
}

fn place(binding: &str) -> String {
    format!("consent:{binding}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::id::MappingId;
    use uuid::Uuid;

    /// OA-166, OA-167: a scope without a description is not listed, what was agreed to is told from what is new, and
    /// only whole names of scopes count.
    #[test]
    fn oa_166_scopes_are_told_by_their_descriptions() {
        let mapping = |scope: &str, description: &str| ScopeMapping {
            pk: MappingId(Uuid::nil()),
            name: scope.to_owned(),
            scope_name: scope.to_owned(),
            description: description.to_owned(),
            expression: String::new(),
            managed: None,
        };
        let mappings = [
            mapping("email", "Address"),
            mapping("mail", "Address"),
            mapping("openid", ""),
            mapping("profile", "Name"),
        ];
        let scopes = ["email", "mail", "openid"].map(str::to_owned);
        let one = |scope: &str| vec![Permission { scope: scope.to_owned(), description: "Address".to_owned() }];
        assert_eq!(described(&mappings, &scopes, ""), (Vec::new(), one("email")));
        assert_eq!(described(&mappings, &scopes, "email"), (one("email"), one("mail")));
        assert_eq!(described(&mappings, &scopes, "email mail openid"), (one("email"), Vec::new()));
        assert!(covers("email mail openid profile", &scopes) && covers("", &[]));
        assert!(!covers("email openid", &scopes) && !covers("", &scopes));
    }
}
