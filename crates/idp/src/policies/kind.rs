//! The kinds of policies, their fields and their names (CO section 9, CO-534).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::known::{ACTIONS, APPS, MODELS};
use super::shape::{DUMMY, EVENT_MATCHER, EXPRESSION, Field, PASSWORD, PASSWORD_EXPIRY, REPUTATION};
use crate::error::{Error, Problems};

/// Longest expression, in bytes (CO-224).
const LONGEST_EXPRESSION: usize = 64 * 1024;

/// A kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its row in CO section 9")]
pub enum Kind {
    Dummy,
    EventMatcher,
    Expression,
    Password,
    PasswordExpiry,
    Reputation,
}

/// What clients know a kind by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// `component`.
    pub component: &'static str,
    /// First half of `meta_model_name`.
    pub app: &'static str,
    /// Second half of `meta_model_name`.
    pub model: &'static str,
    /// `verbose_name`.
    pub verbose_name: &'static str,
    /// `verbose_name_plural`.
    pub verbose_name_plural: &'static str,
    /// What it is for.
    pub description: &'static str,
}

impl Descriptor {
    /// `meta_model_name`.
    pub fn meta_model_name(&self) -> String {
        format!("{}.{}", self.app, self.model)
    }
}

impl Kind {
    /// All kinds, by name.
    pub const ALL: [Self; 6] =
        [Self::Dummy, Self::EventMatcher, Self::Expression, Self::Password, Self::PasswordExpiry, Self::Reputation];

    /// The kind's name in the store and in paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dummy => "dummy",
            Self::EventMatcher => "event_matcher",
            Self::Expression => "expression",
            Self::Password => "password",
            Self::PasswordExpiry => "password_expiry",
            Self::Reputation => "reputation",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What clients know it by.
    pub const fn descriptor(self) -> Descriptor {
        match self {
            Self::Dummy => Descriptor {
                component: "ak-policy-dummy-form",
                app: "authentik_policies_dummy",
                model: "dummypolicy",
                verbose_name: "Dummy Policy",
                verbose_name_plural: "Dummy Policies",
                description: "Always has the result it is told to have, after a while. For trying things out.",
            },
            Self::EventMatcher => Descriptor {
                component: "ak-policy-event-matcher-form",
                app: "authentik_policies_event_matcher",
                model: "eventmatcherpolicy",
                verbose_name: "Event Matcher Policy",
                verbose_name_plural: "Event Matcher Policies",
                description: "Passes when an event is of a certain kind.",
            },
            Self::Expression => Descriptor {
                component: "ak-policy-expression-form",
                app: "authentik_policies_expression",
                model: "expressionpolicy",
                verbose_name: "Expression Policy",
                verbose_name_plural: "Expression Policies",
                description: "Passes when an expression comes to something true.",
            },
            Self::Password => Descriptor {
                component: "ak-policy-password-form",
                app: "authentik_policies_password",
                model: "passwordpolicy",
                verbose_name: "Password Policy",
                verbose_name_plural: "Password Policies",
                description: "Passes when a new password is good enough.",
            },
            Self::PasswordExpiry => Descriptor {
                component: "ak-policy-password-expiry-form",
                app: "authentik_policies_expiry",
                model: "passwordexpirypolicy",
                verbose_name: "Password Expiry Policy",
                verbose_name_plural: "Password Expiry Policies",
                description: "Passes while a password is not too old.",
            },
            Self::Reputation => Descriptor {
                component: "ak-policy-reputation-form",
                app: "authentik_policies_reputation",
                model: "reputationpolicy",
                verbose_name: "Reputation Policy",
                verbose_name_plural: "Reputation Policies",
                description: "Passes when sign-ins by this name or from this address have often failed of late.",
            },
        }
    }

    /// The fields that it has of its own.
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Dummy => DUMMY,
            Self::EventMatcher => EVENT_MATCHER,
            Self::Expression => EXPRESSION,
            Self::Password => PASSWORD,
            Self::PasswordExpiry => PASSWORD_EXPIRY,
            Self::Reputation => REPUTATION,
        }
    }
}

/// A policy with the fields of its kind.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is described by its row in CO section 9")]
pub enum PolicyKind {
    Dummy(Dummy),
    EventMatcher(EventMatcher),
    Expression(Expression),
    Password(Password),
    PasswordExpiry(PasswordExpiry),
    Reputation(Reputation),
}

/// CO-196.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub struct Dummy {
    pub result: bool,
    pub wait_min: i32,
    pub wait_max: i32,
}

impl Default for Dummy {
    fn default() -> Self {
        Self { result: false, wait_min: 5, wait_max: 30 }
    }
}

/// CO-195. What is null is not compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub struct EventMatcher {
    pub action: Option<String>,
    pub client_ip: Option<String>,
    pub app: Option<String>,
    pub model: Option<String>,
    pub query: Option<String>,
}

/// CO-190.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub struct Expression {
    pub expression: String,
}

/// CO-191, CO-192.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub struct Password {
    pub password_field: String,
    pub amount_digits: i32,
    pub amount_uppercase: i32,
    pub amount_lowercase: i32,
    pub amount_symbols: i32,
    pub length_min: i32,
    pub symbol_charset: String,
    pub error_message: String,
    pub check_static_rules: bool,
    pub check_have_i_been_pwned: bool,
    pub check_zxcvbn: bool,
    pub hibp_allowed_count: i32,
    pub zxcvbn_score_threshold: i32,
}

impl Default for Password {
    fn default() -> Self {
        Self {
            password_field: "password".to_owned(),
            amount_digits: 0,
            amount_uppercase: 0,
            amount_lowercase: 0,
            amount_symbols: 0,
            length_min: 0,
            symbol_charset: r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~ "##.to_owned(),
            error_message: String::new(),
            check_static_rules: true,
            check_have_i_been_pwned: false,
            check_zxcvbn: false,
            hibp_allowed_count: 0,
            zxcvbn_score_threshold: 2,
        }
    }
}

/// CO-193.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub struct PasswordExpiry {
    pub days: i32,
    pub deny_only: bool,
}

/// CO-194.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub struct Reputation {
    pub check_ip: bool,
    pub check_username: bool,
    pub threshold: i32,
}

impl Default for Reputation {
    fn default() -> Self {
        Self { check_ip: true, check_username: true, threshold: -5 }
    }
}

impl PolicyKind {
    /// Reads the fields of a kind; what is absent has its default.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when they are not such fields.
    pub fn read(kind: &str, settings: &Value) -> Result<Self, Error> {
        fn fields<T: serde::de::DeserializeOwned>(settings: &Value) -> Result<T, Error> {
            T::deserialize(settings).map_err(|error| Error::Unreadable(format!("policy.settings: {error}")))
        }
        Ok(match Kind::parse(kind) {
            Some(Kind::Dummy) => Self::Dummy(fields(settings)?),
            Some(Kind::EventMatcher) => Self::EventMatcher(fields(settings)?),
            Some(Kind::Expression) => Self::Expression(fields(settings)?),
            Some(Kind::Password) => Self::Password(fields(settings)?),
            Some(Kind::PasswordExpiry) => Self::PasswordExpiry(fields(settings)?),
            Some(Kind::Reputation) => Self::Reputation(fields(settings)?),
            None => return Err(Error::Unreadable(format!("policy.kind: {kind}"))),
        })
    }

    /// The fields of the kind, each with its value.
    pub fn settings(&self) -> Map<String, Value> {
        let value = match self {
            Self::Dummy(fields) => serde_json::to_value(fields),
            Self::EventMatcher(fields) => serde_json::to_value(fields),
            Self::Expression(fields) => serde_json::to_value(fields),
            Self::Password(fields) => serde_json::to_value(fields),
            Self::PasswordExpiry(fields) => serde_json::to_value(fields),
            Self::Reputation(fields) => serde_json::to_value(fields),
        };
        match value {
            Ok(Value::Object(fields)) => fields,
            // Structs of plain fields always are objects.
            Ok(_) | Err(_) => Map::new(),
        }
    }

    /// Which kind this is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Dummy(_) => Kind::Dummy,
            Self::EventMatcher(_) => Kind::EventMatcher,
            Self::Expression(_) => Kind::Expression,
            Self::Password(_) => Kind::Password,
            Self::PasswordExpiry(_) => Kind::PasswordExpiry,
            Self::Reputation(_) => Kind::Reputation,
        }
    }

    /// Lays what was written over the fields that are known. What is no field of the kind is ignored, what is not of its
    /// field's shape is a problem.
    pub(super) fn overlaid(
        kind: Kind,
        mut known: Map<String, Value>,
        written: &Map<String, Value>,
        problems: &mut Problems,
    ) -> Result<Self, Error> {
        for field in kind.fields() {
            let Some(value) = written.get(field.name) else { continue };
            match field.shape.complaint(value) {
                Some(complaint) => problems.add(field.name, complaint),
                None => drop(known.insert(field.name.to_owned(), value.clone())),
            }
        }
        let mut overlaid = Self::read(kind.name(), &Value::Object(known))?;
        if let Self::EventMatcher(matcher) = &mut overlaid {
            matcher.without_blanks();
        }
        overlaid.check(problems);
        Ok(overlaid)
    }

    /// What of it could not be stored. Whether an expression can be compiled is for the engine to say.
    fn check(&self, problems: &mut Problems) {
        match self {
            Self::Dummy(_) => {}
            Self::EventMatcher(matcher) => matcher.check(problems),
            Self::Expression(Expression { expression }) if expression.len() > LONGEST_EXPRESSION => {
                problems.add("expression", format!("Ensure this field has no more than {LONGEST_EXPRESSION} bytes."));
            }
            Self::Expression(_) => {}
            Self::Password(password) => password.check(problems),
            Self::PasswordExpiry(PasswordExpiry { days, .. }) => at_least_nothing(problems, "days", *days),
            Self::Reputation(reputation) => {
                if !(reputation.check_ip || reputation.check_username) {
                    problems.add("non_field_errors", "Either IP or Username must be checked");
                }
            }
        }
    }
}

impl EventMatcher {
    /// An empty text is as good as none.
    fn without_blanks(&mut self) {
        for field in [&mut self.action, &mut self.client_ip, &mut self.app, &mut self.model, &mut self.query] {
            field.take_if(|text| text.is_empty());
        }
    }

    fn check(&self, problems: &mut Problems) {
        let mut choice = |field: &str, chosen: &Option<String>, known: &[&str]| {
            if let Some(chosen) = chosen
                && !known.contains(&chosen.as_str())
            {
                problems.add(field, format!("\"{chosen}\" is not a valid choice."));
            }
        };
        choice("action", &self.action, &ACTIONS);
        choice("app", &self.app, &APPS);
        choice("model", &self.model, &MODELS);
        if self.client_ip.as_ref().is_some_and(|text| text.parse::<IpAddr>().is_err()) {
            problems.add("client_ip", "Enter a valid IPv4 or IPv6 address.");
        }
        if self.query.is_some() {
            problems.add("query", "Queries are not supported.");
        }
    }
}

impl Password {
    fn check(&self, problems: &mut Problems) {
        problems.limit("password_field", &self.password_field);
        problems.limit("symbol_charset", &self.symbol_charset);
        problems.limit("error_message", &self.error_message);
        for (field, number) in [
            ("amount_digits", self.amount_digits),
            ("amount_uppercase", self.amount_uppercase),
            ("amount_lowercase", self.amount_lowercase),
            ("amount_symbols", self.amount_symbols),
            ("length_min", self.length_min),
            ("hibp_allowed_count", self.hibp_allowed_count),
            ("zxcvbn_score_threshold", self.zxcvbn_score_threshold),
        ] {
            at_least_nothing(problems, field, number);
        }
    }
}

fn at_least_nothing(problems: &mut Problems, field: &str, number: i32) {
    if number < 0 {
        problems.add(field, "Ensure this value is greater than or equal to 0.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// CO-191: every kind has exactly the fields that its table names, and each survives a round trip.
    #[test]
    fn co_191_fields_and_settings_agree() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
            let defaults = PolicyKind::read(kind.name(), &json!({})).expect("has defaults");
            let named: Vec<_> = kind.fields().iter().map(|field| field.name).collect();
            let settings = defaults.settings();
            assert_eq!(settings.keys().map(String::as_str).collect::<Vec<_>>(), named, "{kind:?}");
            assert_eq!(PolicyKind::read(kind.name(), &Value::Object(settings)).expect("reads"), defaults);
            assert_eq!(defaults.kind(), kind);
        }
        let written = json!({"wait_min": 1_u64 << 40, "wait_max": 7, "result": "yes", "other": 1});
        let mut problems = Problems::default();
        let written = written.as_object().expect("object");
        let overlaid = PolicyKind::overlaid(Kind::Dummy, Map::new(), written, &mut problems).expect("reads");
        assert_eq!(overlaid, PolicyKind::Dummy(Dummy { wait_max: 7, ..Dummy::default() }));
        assert_eq!(problems.iter().map(|(field, _)| field).collect::<Vec<_>>(), ["result", "wait_min"]);
        assert!(PolicyKind::read("geoip", &json!({})).is_err(), "CO-197");
        assert!(PolicyKind::read("dummy", &json!({"result": 7})).is_err());
    }
}
