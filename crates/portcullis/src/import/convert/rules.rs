//! Certificates, sources, mappings and policies.

use super::{CERTIFICATE, Here, MAPPING, POLICIES, Plan, SOURCE, Snapshot, entry, named, picked, text};
use crate::import::entry::{Entry, Node};
use serde_json::json;

pub(super) fn keys_and_rules(plan: &mut Plan, there: &Snapshot, here: &Here) {
    for certificate in &there.certificates {
        let name = text(certificate, "name");
        if text(certificate, "certificate_data").is_empty() {
            plan.note(&format!("Certificate {name:?} cannot be read with this token, or is the server's own."));
            continue;
        }
        let attrs = picked(certificate, &["certificate_data", "key_data"]);
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
        ];
        // Every source needs a secret; a later run leaves the one alone that an administrator has set meanwhile.
        let secret = ("consumer_secret", Node::from(json!("to be set again")));
        let first = Entry {
            attrs: [picked(source, &fields), vec![secret]].concat(),
            keeps: true,
            ..entry(SOURCE, [named(source, "slug")], [])
        };
        let rest = Entry { attrs: picked(source, &fields), ..entry(SOURCE, [named(source, "slug")], []) };
        plan.note(&format!("The consumer secret of source {slug:?} is not given by the API: set it again."));
        plan.add("source", &slug, [first, rest]);
    }
    for mapping in &there.mappings {
        let (managed, name) = (text(mapping, "managed"), text(mapping, "name"));
        if !managed.is_empty() {
            if !here.managed_mappings.contains(&managed) {
                plan.note(&format!("Mapping {name:?} came with the server, and there is none like it here."));
            }
        } else if text(mapping, "meta_model_name") == MAPPING {
            let attrs = picked(mapping, &["scope_name", "description", "expression"]);
            plan.add("mapping", &name, [Entry { attrs, ..entry(MAPPING, [named(mapping, "name")], []) }]);
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
