//! What an expression changed in the context of its flow (CO-246).

use monty_types::MontyObject;

use crate::{outcome::FlowChange, run::Run, value::Object};

/// Keys of a flow's context that no expression may change (CO-246).
const FLOW_KEYS: [&str; 6] = ["pending_user", "auth_method", "auth_method_args", "is_restored", "source", "outpost"];

impl Run<'_> {
    /// What the expression changed in the flow's context (CO-246).
    pub(crate) fn flow_changes(&mut self, after: &MontyObject) {
        let (Some(MontyObject::Dict(before)), MontyObject::Dict(after)) = (self.flow.take(), after) else { return };
        let may_set_user = self.inputs.flow.as_ref().is_some_and(|flow| flow.may_set_pending_user);
        for (key, new) in after {
            let old = (&before).into_iter().find(|(known, _)| known == key).map(|(_, value)| value);
            if old == Some(new) {
                continue;
            }
            let key = self.bridge.text(key);
            let user = match self.bridge.object_of(new) {
                Some(Object::User(user)) => user.pk.filter(|pk| self.found.contains(pk)),
                _ => None,
            };
            match user {
                Some(pk) if key == "pending_user" && may_set_user => {
                    self.outcome.flow_changes.push(FlowChange::PendingUser(pk));
                }
                _ if is_protected(&key) || !is_plain(new) => {
                    self.warn(&format!("the change to '{key}' of the flow's context is not applied"));
                }
                _ => {
                    let json = self.bridge.json(new).unwrap_or_default();
                    self.outcome.flow_changes.push(FlowChange::Set(key, json));
                }
            }
        }
        for (key, _) in &before {
            if after.into_iter().any(|(known, _)| known == key) {
                continue;
            }
            let key = self.bridge.text(key);
            if is_protected(&key) {
                self.warn(&format!("'{key}' of the flow's context is not removed"));
            } else {
                self.outcome.flow_changes.push(FlowChange::Remove(key));
            }
        }
    }
}

fn is_protected(key: &str) -> bool {
    FLOW_KEYS.contains(&key) || key.starts_with("goauthentik.io/")
}

/// Whether a value is JSON all through.
fn is_plain(value: &MontyObject) -> bool {
    match value {
        MontyObject::None
        | MontyObject::Bool(_)
        | MontyObject::Int(_)
        | MontyObject::Float(_)
        | MontyObject::String(_) => true,
        MontyObject::List(items) | MontyObject::Tuple(items) => items.iter().all(is_plain),
        MontyObject::Dict(pairs) => {
            pairs.into_iter().all(|(key, value)| matches!(key, MontyObject::String(_)) && is_plain(value))
        }
        _ => false,
    }
}
