//! The fields that each kind of policy has of its own, and how they are read (CO section 9).

use serde_json::Value;

/// How a field of a kind is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text, which may be empty.
    Text,
    /// Text that has at least one character.
    FilledText,
    /// Text in which every blank counts.
    ExactText,
    /// True or false.
    Flag,
    /// An integer.
    Integer,
    /// Text or null.
    TextOrNull,
}

impl Shape {
    /// What is wrong with a value, if it is not of this shape.
    pub(super) fn complaint(self, value: &Value) -> Option<&'static str> {
        match (self, value) {
            (Self::TextOrNull, Value::Null) => None,
            (_, Value::Null) => Some("This field may not be null."),
            (Self::FilledText, Value::String(text)) if text.is_empty() => Some("This field may not be blank."),
            (Self::Text | Self::FilledText | Self::ExactText | Self::TextOrNull, Value::String(_)) => None,
            (Self::Text | Self::FilledText | Self::ExactText | Self::TextOrNull, _) => Some("Not a valid string."),
            (Self::Flag, Value::Bool(_)) => None,
            (Self::Flag, _) => Some("Must be a valid boolean."),
            (Self::Integer, Value::Number(number)) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => None,
            (Self::Integer, _) => Some("A valid integer is required."),
        }
    }
}

/// A field that a kind of policy has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// How it is read.
    pub shape: Shape,
    /// Whether it has no default.
    pub required: bool,
}

const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: false }
}

pub(super) const DUMMY: &[Field] =
    &[field("result", Shape::Flag), field("wait_min", Shape::Integer), field("wait_max", Shape::Integer)];
pub(super) const EVENT_MATCHER: &[Field] = &[
    field("action", Shape::TextOrNull),
    field("client_ip", Shape::TextOrNull),
    field("app", Shape::TextOrNull),
    field("model", Shape::TextOrNull),
    field("query", Shape::TextOrNull),
];
pub(super) const EXPRESSION: &[Field] = &[Field { name: "expression", shape: Shape::FilledText, required: true }];
pub(super) const PASSWORD: &[Field] = &[
    field("password_field", Shape::FilledText),
    field("amount_digits", Shape::Integer),
    field("amount_uppercase", Shape::Integer),
    field("amount_lowercase", Shape::Integer),
    field("amount_symbols", Shape::Integer),
    field("length_min", Shape::Integer),
    // A blank is a symbol, too.
    field("symbol_charset", Shape::ExactText),
    field("error_message", Shape::Text),
    field("check_static_rules", Shape::Flag),
    field("check_have_i_been_pwned", Shape::Flag),
    field("check_zxcvbn", Shape::Flag),
    field("hibp_allowed_count", Shape::Integer),
    field("zxcvbn_score_threshold", Shape::Integer),
];
pub(super) const PASSWORD_EXPIRY: &[Field] =
    &[Field { name: "days", shape: Shape::Integer, required: true }, field("deny_only", Shape::Flag)];
pub(super) const REPUTATION: &[Field] =
    &[field("check_ip", Shape::Flag), field("check_username", Shape::Flag), field("threshold", Shape::Integer)];
