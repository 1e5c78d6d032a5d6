//! What a search of events looks at (CO-525): kept beside each event, short and in lower case, so that it is not looked for in
//! all that an event holds.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use super::Event;
use crate::row::storable;

/// Members that events have anyway: nobody looks for those that do.
const USUAL: [&str; 14] = [
    "app",
    "args",
    "asn",
    "email",
    "geo",
    "http_request",
    "method",
    "model",
    "model_name",
    "name",
    "path",
    "pk",
    "request_id",
    "username",
];

/// Key, action, part, address; what is known of who did it and what it is about: each word once.
pub(super) fn of(event: &Event) -> String {
    let key = event.pk.to_string();
    let mut found = Found::default();
    found.add(key.as_str());
    found.add(event.action.as_str());
    found.add(event.app.as_str());
    found.add(event.client_ip.as_deref().unwrap_or_default());
    found.add_all(&event.account);
    found.add_all(&event.context);
    storable(&found.text).into_owned()
}

#[derive(Default)]
struct Found<'a> {
    text: String,
    seen: BTreeSet<Cow<'a, str>>,
}

impl<'a> Found<'a> {
    fn add(&mut self, word: impl Into<Cow<'a, str>>) {
        let mut word = word.into();
        if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            word.to_mut().make_ascii_lowercase();
        }
        if word.is_empty() || self.seen.contains(&word) {
            return;
        }
        // No term of a search has a blank in it: none is found where one ends and the next begins.
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(&word);
        self.seen.insert(word);
    }

    fn add_all(&mut self, value: &'a Value) {
        match value {
            Value::String(text) => self.add(text.as_str()),
            Value::Number(number) => self.add(number.to_string()),
            Value::Array(list) => list.iter().for_each(|value| self.add_all(value)),
            Value::Object(object) => {
                for (name, value) in object {
                    if !USUAL.contains(&name.as_str()) {
                        self.add(name.as_str());
                    }
                    self.add_all(value);
                }
            }
            Value::Bool(_) | Value::Null => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::clock::Timestamp;
    use serde_json::json;
    use uuid::Uuid;

    /// CO-525: a search finds what an event says, wherever it is, and what unusual members are called; every word is there once.
    #[test]
    fn co_525_a_search_finds_what_events_say() {
        let model = json!({"app": "authentik_core", "model_name": "user", "pk": "7", "name": "Ada L"});
        let event = Event {
            pk: Uuid::nil(),
            action: "login".to_owned(),
            app: "authentik_core".to_owned(),
            account: json!({"pk": 7, "username": "Ada", "email": ""}),
            context: json!({"model": model, "auth_method_args": {"known_device": true, "list": ["x", 1.5, null]}}),
            brand: json!({"name": "unseen"}),
            client_ip: Some("192.0.2.1".to_owned()),
            created: Timestamp(0),
            expires: Timestamp(0),
        };
        let known = "00000000-0000-0000-0000-000000000000 login authentik_core 192.0.2.1 7 ada";
        assert!(of(&event).starts_with(known), "{}", of(&event));
        for word in ["known_device", "list", "x", "1.5", "user", "ada l"] {
            assert!(of(&event).contains(word), "{word}");
        }
        assert!(!of(&event).contains("unseen"));
    }
}
