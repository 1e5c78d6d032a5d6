//! Expressions that come from elsewhere: nobody has read them here, and so nothing evaluates them before somebody has
//! (OA-933).

use portcullis_core::keys::sha256;
use serde_json::Value;

use super::{Here, MAPPING, Snapshot, text};

const POLICY: &str = "authentik_policies_expression.expressionpolicy";

/// What an expression is for.
#[derive(Clone, Copy)]
pub(super) enum Of {
    /// It says something about people: unread, nothing.
    Mapping,
    /// It lets people in: unread, nobody.
    Policy,
}

/// An expression as a comment, for somebody to read and to bring into force.
pub(super) fn as_comment(expression: &str, of: Of) -> String {
    let result = match of {
        Of::Mapping => "{}",
        Of::Policy => "False",
    };
    let lines: String = lines(expression).map(|line| format!("# {line}\n")).collect();
    format!(
        "# Taken over from another server, and not reviewed. To use it, remove these two lines and the marks below.\n\
         return {result}\n{lines}"
    )
}

/// Whether a policy is here, or comes, with another expression than that of the server, which nobody has reviewed.
pub(super) fn is_unread(there: &Snapshot, here: &Here, model: &str, name: &str) -> bool {
    let is_it = |policy: &&Value| text(policy, "meta_model_name") == POLICY && text(policy, "name") == name;
    let Some(policy) = there.policies.iter().find(is_it).filter(|_| model == POLICY && !here.reviewed) else {
        return false;
    };
    here.policies.get(name).is_none_or(|known| known.trim() != text(policy, "expression").trim())
}

/// The lines of an expression as its evaluator sees them: a carriage return alone ends one, too.
pub(in crate::import) fn lines(expression: &str) -> impl Iterator<Item = &str> {
    expression.lines().flat_map(|line| line.split('\r'))
}

/// Those that somebody wrote, with their names, in order.
pub(in crate::import) fn own(there: &Snapshot) -> Vec<(String, String)> {
    let mappings = there
        .mappings
        .iter()
        .filter(|mapping| text(mapping, "managed").is_empty() && text(mapping, "meta_model_name") == MAPPING);
    let policies = there.policies.iter().filter(|policy| text(policy, "meta_model_name") == POLICY);
    let named = |kind: &str, object: &Value| (format!("{kind} {:?}", text(object, "name")), text(object, "expression"));
    let mut all: Vec<_> = mappings.map(|found| named("The expression of mapping", found)).collect();
    all.extend(policies.map(|found| named("The expression of policy", found)));
    all.sort();
    all
}

/// What tells whether they are still those that somebody has read.
pub(in crate::import) fn mark(there: &Snapshot) -> String {
    let all: String =
        own(there).iter().map(|(name, text)| format!("{}:{name}{}:{text}", name.len(), text.len())).collect();
    // All of it: whoever runs the server could look for two texts that begin alike.
    sha256(all.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::import::convert::{Here, foundations};

    fn there(expression: &str) -> Snapshot {
        Snapshot {
            mappings: vec![
                json!({"pk": "m", "name": "colour", "scope_name": "colour", "expression": expression,
                    "meta_model_name": MAPPING, "managed": null}),
                json!({"pk": "n", "name": "mail", "scope_name": "email", "expression": "return {'email': 'x'}",
                    "meta_model_name": MAPPING, "managed": "goauthentik.io/providers/oauth2/scope-email"}),
            ],
            policies: vec![json!({"pk": "p", "name": "by day", "expression": expression, "meta_model_name": POLICY})],
            ..Snapshot::default()
        }
    }

    fn here(reviewed: bool) -> Here {
        let managed = ("goauthentik.io/providers/oauth2/scope-email".to_owned(), "return {}".to_owned());
        Here { reviewed, managed_mappings: [managed].into(), ..Here::default() }
    }

    /// OA-933: an expression that nobody has read comes as a comment, in what says nothing or lets nobody in, and is told; what
    /// is here under that name stays. One that was read comes as it is. Managed mappings are those of this installation, and
    /// told when they read otherwise there.
    #[test]
    fn oa_933_expressions_are_not_used_unread() {
        let plan = foundations(&there("import os\nreturn {'a': os}"), &here(false));
        let document = |name: &str| plan.items.iter().find(|item| item.name == name).expect("planned").document();
        let (mapping, policy) = (document("mapping colour"), document("policy by day"));
        assert!(mapping.contains("return {}\\U0000000a# import os") && !mapping.contains("\"import os"), "{mapping}");
        assert!(policy.contains("return False\\U0000000a# import os"), "{policy}");
        for text in [&mapping, &policy] {
            let uses: Vec<_> = text.lines().filter(|line| line.contains("import os")).collect();
            assert!(matches!(uses.as_slice(), [one] if one.contains("state: created")), "{text}");
        }
        for name in ["colour", "by day", "mail"] {
            assert!(plan.notes.iter().any(|note| note.contains(name) && note.contains("review")), "{:?}", plan.notes);
        }
        let plan = foundations(&there("return {'a': 1}"), &here(true));
        assert!(plan.items.iter().any(|item| item.document().contains("expression: \"return {'a': 1}\"")));
        assert!(plan.items.iter().all(|item| !item.name.contains("mail")));
    }

    /// OA-933: what was reviewed is what was shown: another text has another mark.
    #[test]
    fn oa_933_a_review_is_of_these_texts() {
        assert_eq!(mark(&there("return {}")), mark(&there("return {}")));
        assert_ne!(mark(&there("return {}")), mark(&there("return { }")));
        assert_eq!(own(&there("return {}")).len(), 2);
        assert_eq!(mark(&there("return {}")).len(), 64, "256 bits");
    }

    /// OA-933: what ends a line for the evaluator ends one where somebody reads it, and no line leaves the comment.
    #[test]
    fn oa_933_every_line_is_a_comment() {
        let text = "# harmless\rreturn True\r\nlast\r";
        assert_eq!(lines(text).collect::<Vec<_>>(), ["# harmless", "return True", "last", ""]);
        let comment = as_comment(text, Of::Policy);
        assert!(comment.ends_with("\n# # harmless\n# return True\n# last\n# \n"), "{comment:?}");
        assert!(!comment.contains('\r'));
    }
}
