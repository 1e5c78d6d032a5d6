//! Certificates, sources, mappings and policies.

use super::expressions::{Of, as_comment};
use super::{CERTIFICATE, Here, MAPPING, POLICIES, Plan, SOURCE, Snapshot, entry, get, named, picked, picture, text};
use crate::import::entry::{Entry, Node};
use portcullis_idp::certificates::OURS;
use serde_json::{Value, json};

pub(super) fn keys_and_rules(plan: &mut Plan, there: &Snapshot, here: &Here) {
    for certificate in &there.certificates {
        let name = text(certificate, "name");
        if text(certificate, "certificate_data").is_empty() {
            plan.note(&format!("Certificate {name:?} cannot be read with this token, or is the server's own."));
            continue;
        }
        let mut attrs = picked(certificate, &["certificate_data", "key_data"]);
        // The one of that name that is here already has a key, which would not fit.
        if name == OURS && text(certificate, "key_data").is_empty() {
            attrs.retain(|(field, _)| *field != "key_data");
            attrs.push(("key_data", json!("").into()));
        }
        // Clients have cached the keys under their names.
        if !text(certificate, "kid").is_empty() {
            attrs.push(("taken_over", Node::Map(vec![("kid", get(certificate, "kid").into())])));
        }
        plan.add("certificate", &name, [Entry { attrs, ..entry(CERTIFICATE, [named(certificate, "name")], []) }]);
    }
    for source in &there.sources {
        let slug = text(source, "slug");
        let fields = [
            "name",
            "enabled",
            "promoted",
            "provider_type",
            "consumer_key",
            "policy_engine_mode",
            "user_matching_mode",
            "group_matching_mode",
            "user_path_template",
            "request_token_url",
            "authorization_url",
            "access_token_url",
            "profile_url",
            "pkce",
            "additional_scopes",
            "oidc_well_known_url",
            "oidc_jwks_url",
            "oidc_jwks",
            "authorization_code_auth_method",
            "expected_issuers",
            "expected_audiences",
            "allowed_algs",
            "max_assertion_lifetime",
            "assertion_leeway",
            "audience_check",
            "require_exp",
            "single_use",
        ];
        // Every source needs a secret; a later run leaves the one alone that an administrator has set meanwhile.
        let secret = ("consumer_secret", Node::from(json!("to be set again")));
        let mut attrs = picked(source, &fields);
        attrs.extend(picture(plan, source, "icon", &format!("source {slug:?}")));
        let first = Entry {
            attrs: [attrs.clone(), vec![secret]].concat(),
            keeps: true,
            ..entry(SOURCE, [named(source, "slug")], [])
        };
        let rest = Entry { attrs, ..entry(SOURCE, [named(source, "slug")], []) };
        plan.note(&format!("The consumer secret of source {slug:?} is not given by the API: set it again."));
        plan.add("source", &slug, [first, rest]);
    }
    for mapping in &there.mappings {
        let (managed, name) = (text(mapping, "managed"), text(mapping, "name"));
        if !managed.is_empty() {
            match here.managed_mappings.get(&managed) {
                None => plan.note(&format!("Mapping {name:?} came with the server, and there is none like it here.")),
                Some(known) if known.trim() != text(mapping, "expression").trim() => plan.note(&format!(
                    "Mapping {name:?} reads otherwise at the server; that of this installation is used: review what clients need."
                )),
                Some(_) => {}
            }
        } else if text(mapping, "meta_model_name") == MAPPING {
            let rest = picked(mapping, &["scope_name", "description"]);
            let known = here.mappings.get(&name);
            let entries = with_expression(plan, here, mapping, known, Of::Mapping, MAPPING, rest);
            plan.add("mapping", &name, entries);
        } else {
            plan.note(&format!(
                "Mapping {name:?} is a {}: there is nothing like it here.",
                text(mapping, "verbose_name")
            ));
        }
    }
    for policy in &there.policies {
        let name = text(policy, "name");
        match POLICIES.iter().find(|(model, _)| *model == text(policy, "meta_model_name")) {
            Some((model, fields)) if **fields == ["expression"] => {
                let rest = picked(policy, &["execution_logging"]);
                let known = here.policies.get(&name);
                let entries = with_expression(plan, here, policy, known, Of::Policy, model, rest);
                plan.add("policy", &name, entries);
            }
            Some((model, fields)) => {
                let attrs = [picked(policy, &["execution_logging"]), picked(policy, fields)].concat();
                plan.add("policy", &name, [Entry { attrs, ..entry(model, [named(policy, "name")], []) }]);
            }
            None => plan.note(&format!(
                "Policy {name:?} is a {}: there is nothing like it here. Where it was bound, it denies.",
                text(policy, "verbose_name")
            )),
        }
    }
}

/// An object with an expression. One that nobody has read here comes as a comment, and does not take the place of what is
/// here under that name.
fn with_expression(
    plan: &mut Plan,
    here: &Here,
    object: &Value,
    known: Option<&String>,
    of: Of,
    model: &'static str,
    rest: Vec<(&'static str, Node)>,
) -> Vec<Entry> {
    let (name, expression) = (text(object, "name"), text(object, "expression"));
    let identified = || [named(object, "name")];
    let with = |expression: String| {
        let expression = ("expression", json!(expression).into());
        [rest.clone(), vec![expression]].concat()
    };
    if here.reviewed {
        return vec![Entry { attrs: with(expression), ..entry(model, identified(), []) }];
    }
    if known.is_none_or(|known| known.trim() != expression.trim()) {
        let kind = match of {
            Of::Mapping => "Mapping",
            Of::Policy => "Policy",
        };
        let what = match (known, of) {
            (Some(_), _) => "is another one here, which stays",
            (None, Of::Mapping) => "comes as a comment and says nothing",
            (None, Of::Policy) => "comes as a comment and lets nobody in",
        };
        plan.note(&format!("{kind} {name:?} has an expression of its own, which {what} until you review it."));
    }
    let first = Entry { attrs: with(as_comment(&expression, of)), keeps: true, ..entry(model, identified(), []) };
    if rest.is_empty() {
        return vec![first];
    }
    vec![first, Entry { attrs: rest, ..entry(model, identified(), []) }]
}
