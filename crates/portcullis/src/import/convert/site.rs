//! What pages look like, and how people sign in: brands, and what is tuned about the stages that are here as well.

use serde_json::{Value, json};

use super::{
    APPLICATION, BRAND, CERTIFICATE, FLOW, Here, Names, Plan, Snapshot, attributes, entry, get, key_of, named, picked,
    text,
};
use crate::import::entry::{Entry, Node};

/// A server's own pictures and name, which say nothing about whose it is.
const OWN_FILES: [&str; 2] = ["/static/", "/media/"];
const OWN_TITLE: &str = "authentik";

pub(super) fn brands(plan: &mut Plan, there: &Snapshot, here: &Here, names: &Names) {
    for brand in &there.brands {
        let domain = text(brand, "domain");
        let title = picked(brand, &["branding_title"]);
        let mut attrs: Vec<_> = title.into_iter().filter(|_| text(brand, "branding_title") != OWN_TITLE).collect();
        for field in ["branding_logo", "branding_favicon", "branding_default_flow_background"] {
            let value = text(brand, field);
            match OWN_FILES.iter().any(|own| value.starts_with(own)) {
                true if value.starts_with("/media/") => {
                    plan.note(&format!("Brand {domain:?}: its {} is a file of the server.", field.replace('_', " ")));
                }
                true => {}
                false => attrs.extend(picked(brand, &[field])),
            }
        }
        attrs.extend(picked(brand, &["branding_custom_css"]));
        attrs.push(("attributes", attributes(plan, brand, &format!("brand {domain:?}")).into()));
        for field in
            ["flow_authentication", "flow_invalidation", "flow_recovery", "flow_user_settings", "flow_device_code"]
        {
            let Some(key) = brand.get(field).filter(|key| !key.is_null()) else { continue };
            let slug = names.flows.get(&super::plain(key)).cloned().unwrap_or_default();
            match here.flows.contains(&slug) {
                true => attrs.push((field, Node::Find(FLOW, "slug", slug))),
                false => plan
                    .note(&format!("Brand {domain:?} has a flow {slug:?} of its own: there is nothing like it here.")),
            }
        }
        if let Some(slug) = names.applications.get(&key_of(brand, "default_application")) {
            attrs.push(("default_application", Node::Find(APPLICATION, "slug", slug.clone())));
        }
        if let Some(name) = names.certificates.get(&key_of(brand, "web_certificate")) {
            attrs.push(("web_certificate", Node::Find(CERTIFICATE, "name", name.clone())));
        }
        if get(brand, "default") == json!(true) && domain != "authentik-default" {
            plan.note(&format!("Brand {domain:?} is the default one there: make it so here if that is wanted."));
        }
        plan.add("brand", &domain, [Entry { attrs, ..entry(BRAND, [named(brand, "domain")], []) }]);
    }
}

/// What can be tuned about stages of a kind, and names nothing else.
const TUNABLES: [(&str, &[&str]); 5] = [
    (
        "authentik_stages_identification.identificationstage",
        &["user_fields", "case_insensitive_matching", "show_matched_user", "pretend_user_exists", "enable_remember_me"],
    ),
    ("authentik_stages_password.passwordstage", &["failed_attempts_before_cancel", "allow_show_password"]),
    (
        "authentik_stages_authenticator_validate.authenticatorvalidatestage",
        &["not_configured_action", "device_classes", "last_auth_threshold", "webauthn_user_verification"],
    ),
    (
        "authentik_stages_user_login.userloginstage",
        &[
            "session_duration",
            "remember_me_offset",
            "remember_device",
            "terminate_other_sessions",
            "network_binding",
            "geoip_binding",
        ],
    ),
    ("authentik_stages_consent.consentstage", &["mode", "consent_expire_in"]),
];

/// Tunables of the default stages. What they name stays as it is here.
pub(super) fn stages(plan: &mut Plan, there: &Snapshot, here: &Here) {
    for stage in &there.stages {
        let (name, model) = (text(stage, "name"), text(stage, "meta_model_name"));
        let can_be_tuned = here.stages.get(&name).and_then(Value::as_object).is_some_and(|known| !known.is_empty());
        let Some((model, fields)) = TUNABLES.iter().find(|(known, _)| *known == model).filter(|_| can_be_tuned) else {
            plan.note(&format!("Stage {name:?} is none of those that can be tuned here."));
            continue;
        };
        let mut attrs = picked(stage, fields);
        // Nobody has a second factor here yet, and addresses may be found nowhere: then nobody could sign in.
        attrs.retain(|(field, value)| {
            let harmless = match *field {
                "not_configured_action" => "skip",
                "network_binding" | "geoip_binding" => "no_binding",
                _ => return true,
            };
            let keeps = *value == Node::from(json!(harmless));
            if !keeps {
                let wanted = text(stage, field);
                plan.note(&format!(
                    "Stage {name:?}: {field} is {wanted:?} there, and not carried over, since people might not get in by it. Set \
                     it here when they can."
                ));
            }
            keeps
        });
        for (field, value) in &mut attrs {
            let known = match *field {
                "device_classes" => &["static", "totp", "webauthn"][..],
                "user_fields" => &["email", "username"],
                _ => continue,
            };
            *value = among(&get(stage, field), known).into();
        }
        if !attrs.is_empty() {
            plan.add("stage", &name, [Entry { attrs, ..entry(model, [named(stage, "name")], []) }]);
        }
    }
}

fn among(value: &Value, known: &[&str]) -> Value {
    let items = value.as_array().into_iter().flatten();
    items.filter(|item| item.as_str().is_some_and(|item| known.contains(&item))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::convert::{Refused, applications};

    /// OA-930: brands come with what they name here; pictures that are files of the server, flows of its own and the flag of the
    /// default are told.
    #[test]
    fn oa_930_brands_are_taken_over() {
        let there = Snapshot {
            brands: vec![json!({"domain": "wiki.example", "default": true, "branding_title": "Wiki",
                "branding_logo": "/media/public/logo.png", "branding_favicon": "/static/dist/icon.png",
                "branding_custom_css": "a {}", "flow_recovery": "f", "flow_authentication": "g",
                "default_application": "a", "attributes": {"b": 1}})],
            flows: vec![json!({"pk": "f", "slug": "default-recovery-flow"}), json!({"pk": "g", "slug": "their-own"})],
            applications: vec![json!({"pk": "a", "slug": "wiki", "name": "Wiki"})],
            ..Snapshot::default()
        };
        let here = Here { flows: ["default-recovery-flow".to_owned()].into(), ..Here::default() };
        let plan = applications(&there, &here, &Refused::new());
        let text = plan.items.iter().find(|item| item.name == "brand wiki.example").expect("is planned").document();
        for part in ["branding_title: \"Wiki\"", "default-recovery-flow", "[slug, \"wiki\"]", "branding_custom_css"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("logo") && !text.contains("favicon") && !text.contains("default:"), "{text}");
        for part in ["branding logo", "their-own", "the default one there"] {
            assert!(plan.notes.iter().any(|note| note.contains(part)), "{part}: {:?}", plan.notes);
        }
    }

    /// OA-930: what is tuned about the default stages is taken over, as far as it means something here.
    #[test]
    fn oa_930_tuned_stages_are_taken_over() {
        let stage = |name: &str, model: &str, tuned: Value| {
            let mut stage = json!({"pk": "s", "name": name, "meta_model_name": model});
            stage.as_object_mut().expect("an object").extend(tuned.as_object().expect("an object").clone());
            stage
        };
        let validate = "authentik_stages_authenticator_validate.authenticatorvalidatestage";
        let name = "default-authentication-mfa-validation";
        let tuned =
            json!({"device_classes": ["totp", "sms"], "not_configured_action": "deny", "configuration_stages": ["x"]});
        let there = Snapshot {
            stages: vec![stage(name, validate, tuned), stage("their-own", validate, json!({}))],
            ..Snapshot::default()
        };
        let here = Here { stages: [(name.to_owned(), json!({"device_classes": []}))].into(), ..Here::default() };
        let plan = applications(&there, &here, &Refused::new());
        assert_eq!(plan.items.len(), 1, "{:?}", plan.items);
        let text = plan.items[0].document();
        assert!(text.contains(r#"device_classes: !ParseJSON "[\"totp\"]""#), "{text}");
        assert!(!text.contains("not_configured_action") && !text.contains("configuration_stages"), "{text}");
        assert!(plan.notes.iter().any(|note| note.contains("their-own")), "{:?}", plan.notes);
    }
}
