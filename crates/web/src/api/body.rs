//! Reading a JSON body field by field, collecting everything that is wrong with it (CO-523, CO-527).
//!
//! A field that is absent reads as `None` and is no problem unless it was [`Body::require`]d; unknown
//! fields are ignored. After the last field, [`Body::finish`] refuses the request if there was a problem.

mod doubled;
mod lossy;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header;
use portcullis_core::clock::Timestamp;
use portcullis_idp::{Context, Problems};
use serde_json::{Map, Value};

use super::answer::ApiError;
use super::caller::Caller;
use crate::body;
use lossy::Numbers;

const MAX_BYTES: usize = 1024 * 1024;
const NULL: &str = "This field may not be null.";
const BLANK: &str = "This field may not be blank.";
const DOUBLED: &str = "Value must be a dictionary, and not have any duplicate keys.";
const LOSSY: &str =
    "Write numbers of more than 64 bits, or with more digits than a double has, as text: they cannot be kept.";
const NO_UUID: &str = "Must be a valid UUID.";

/// The body of a write.
#[derive(Debug, Default)]
pub struct Body {
    object: Map<String, Value>,
    /// Fields that a parser has dropped something of.
    doubled: BTreeSet<String>,
    /// Fields with a number that a parser does not keep as it is.
    lossy: BTreeSet<String>,
    /// Fields that are numbers, as these were written.
    literals: BTreeMap<String, String>,
    problems: Problems,
    /// Fields that were asked for, if somebody wants to know.
    asked: Option<BTreeSet<String>>,
}

impl FromRequest<Arc<Context>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        let (mut head, body) = request.into_parts();
        let bytes = body::read(body, MAX_BYTES).await?;
        // Whoever was let in by the head may have lost credentials or session while the body was on its way.
        Caller::from_request_parts(&mut head, ctx).await?;
        let media_type = head.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes().to_vec());
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let media_type = media_type.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence != "application/json" {
            return Err(ApiError::MediaType(media_type));
        }
        Self::read(&bytes)
    }
}

impl Body {
    fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(bytes).map_err(|error| ApiError::Unparsable(error.to_string()))? {
            Value::Object(object) => {
                let (doubled, Numbers { lossy, literals }) = (doubled::fields(bytes), lossy::numbers(bytes));
                Ok(Self { object, doubled, lossy, literals, ..Self::default() })
            }
            _ => Err(ApiError::field("non_field_errors", "Invalid data. Expected a dictionary.")),
        }
    }

    /// Fields that did not come as a request: [`Body::unknown`] tells which of them nobody has asked for.
    pub fn of(object: Map<String, Value>) -> Self {
        Self { object, asked: Some(BTreeSet::new()), ..Self::default() }
    }

    /// Takes a field out, before anybody reads it.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.literals.remove(field);
        self.object.remove(field)
    }

    /// Puts a field in.
    pub fn put(&mut self, field: &str, value: Value) {
        self.literals.remove(field);
        self.object.insert(field.to_owned(), value);
    }

    /// The fields that are there.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.object.iter().map(|(field, value)| (field.as_str(), value))
    }

    /// A field that is there and that nobody has asked for.
    pub fn unknown(&self) -> Option<&str> {
        let asked = self.asked.as_ref()?;
        self.object.keys().map(String::as_str).find(|field| !asked.contains(*field))
    }

    /// The fields that were asked for.
    pub fn into_asked(self) -> BTreeSet<String> {
        self.asked.unwrap_or_default()
    }

    fn note(&mut self, field: &str) {
        if let Some(asked) = &mut self.asked {
            asked.insert(field.to_owned());
        }
    }

    /// The fields that must be present, except on a partial update.
    pub fn require(&mut self, fields: &[&str], partial: bool) {
        for field in fields.iter().filter(|field| !partial && !self.object.contains_key(**field)) {
            self.problems.add(field, "This field is required.");
        }
    }

    /// Adds a problem.
    pub fn problem(&mut self, field: &str, message: impl Into<String>) {
        self.problems.add(field, message);
    }

    /// Refuses the request if any field had a problem.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with all problems found.
    pub fn finish(&mut self) -> Result<(), ApiError> {
        let problems = std::mem::take(&mut self.problems);
        if problems.is_empty() { Ok(()) } else { Err(ApiError::Invalid(problems)) }
    }

    /// Text without surrounding blanks; may be empty.
    pub fn text(&mut self, field: &str) -> Option<String> {
        Some(self.exact_text(field)?.trim().to_owned())
    }

    /// Text without surrounding blanks that has at least one character.
    pub fn filled_text(&mut self, field: &str) -> Option<String> {
        let text = self.text(field)?;
        if text.is_empty() {
            self.problems.add(field, BLANK);
            return None;
        }
        Some(text)
    }

    /// Text of at most `longest` characters.
    pub fn short_text(&mut self, field: &str, longest: usize) -> Option<String> {
        let text = self.text(field)?;
        if text.chars().count() > longest {
            self.problems.add(field, format!("Ensure this field has no more than {longest} characters."));
            return None;
        }
        Some(text)
    }

    /// Text exactly as sent: passwords, keys, expressions. A number is the text that it was written as.
    pub fn exact_text(&mut self, field: &str) -> Option<String> {
        match self.some(field)? {
            Value::String(text) if text.contains('\0') => {
                self.problems.add(field, "Null characters are not allowed.");
                None
            }
            Value::String(text) => Some(text),
            Value::Number(number) => Some(self.literals.get(field).cloned().unwrap_or_else(|| number.to_string())),
            _ => self.bad(field, "Not a valid string."),
        }
    }

    /// Text or null: `Some(None)` is an explicit null.
    pub fn text_or_null(&mut self, field: &str) -> Option<Option<String>> {
        if self.is_null(field) { Some(None) } else { self.text(field).map(Some) }
    }

    /// One of the given texts.
    pub fn choice(&mut self, field: &str, choices: &[&str]) -> Option<String> {
        let value = self.some(field)?;
        match value.as_str() {
            Some(text) if choices.contains(&text) => Some(text.to_owned()),
            Some(text) => self.bad(field, format!("\"{text}\" is not a valid choice.")),
            None => self.bad(field, format!("\"{value}\" is not a valid choice.")),
        }
    }

    /// A 32-bit integer.
    pub fn integer(&mut self, field: &str) -> Option<i32> {
        let value = self.some(field)?;
        integer_of(&value).or_else(|| self.bad(field, "A valid integer is required."))
    }

    /// An integer or null: `Some(None)` is an explicit null.
    pub fn integer_or_null(&mut self, field: &str) -> Option<Option<i32>> {
        if self.is_null(field) { Some(None) } else { self.integer(field).map(Some) }
    }

    /// A list of integers.
    pub fn integers(&mut self, field: &str) -> Option<Vec<i32>> {
        self.items(field)?
            .iter()
            .map(|value| integer_of(value).or_else(|| self.bad(field, "A valid integer is required.")))
            .collect()
    }

    /// True or false.
    pub fn flag(&mut self, field: &str) -> Option<bool> {
        match self.some(field)? {
            Value::Bool(flag) => Some(flag),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => self.bad(field, "Must be a valid boolean."),
        }
    }

    /// A UUID, as one of our typed ids.
    pub fn uuid<T: FromStr>(&mut self, field: &str) -> Option<T> {
        let value = self.some(field)?;
        uuid_of(&value).or_else(|| self.bad(field, NO_UUID))
    }

    /// A UUID or null: `Some(None)` is an explicit null.
    pub fn uuid_or_null<T: FromStr>(&mut self, field: &str) -> Option<Option<T>> {
        if self.is_null(field) { Some(None) } else { self.uuid(field).map(Some) }
    }

    /// A list of UUIDs.
    pub fn uuids<T: FromStr>(&mut self, field: &str) -> Option<Vec<T>> {
        self.items(field)?.iter().map(|value| uuid_of(value).or_else(|| self.bad(field, NO_UUID))).collect()
    }

    /// An instant or null: `Some(None)` is an explicit null.
    pub fn instant_or_null(&mut self, field: &str) -> Option<Option<Timestamp>> {
        if self.is_null(field) {
            return Some(None);
        }
        let value = self.some(field)?;
        let instant = value.as_str().and_then(Timestamp::parse_iso8601);
        instant.map(Some).or_else(|| {
            let formats = "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]";
            self.bad(field, format!("Datetime has wrong format. Use one of these formats instead: {formats}."))
        })
    }

    /// Any JSON but null, in which no key occurs twice and every number keeps its digits (CO-069).
    pub fn json(&mut self, field: &str) -> Option<Value> {
        if self.doubled.contains(field) {
            return self.bad(field, DOUBLED);
        }
        if self.lossy.contains(field) {
            return self.bad(field, LOSSY);
        }
        self.some(field)
    }

    /// A list of texts without surrounding blanks.
    pub fn texts(&mut self, field: &str) -> Option<Vec<String>> {
        let items = self.items(field)?;
        let texts: Option<Vec<_>> = items.iter().map(|item| Some(item.as_str()?.trim().to_owned())).collect();
        texts
            .filter(|texts| !texts.iter().any(|text| text.contains('\0')))
            .or_else(|| self.bad(field, "Not a valid string."))
    }

    /// A list of anything.
    pub fn items(&mut self, field: &str) -> Option<Vec<Value>> {
        match self.some(field)? {
            Value::Array(items) => Some(items),
            other => self.bad(field, format!("Expected a list of items but got type \"{}\".", kind_of(&other))),
        }
    }

    fn is_null(&mut self, field: &str) -> bool {
        self.note(field);
        self.object.get(field).is_some_and(Value::is_null)
    }

    fn some(&mut self, field: &str) -> Option<Value> {
        self.note(field);
        match self.object.get(field)? {
            Value::Null => {
                self.problems.add(field, NULL);
                None
            }
            value => Some(value.clone()),
        }
    }

    fn bad<T>(&mut self, field: &str, message: impl Into<String>) -> Option<T> {
        self.problems.add(field, message);
        None
    }
}

fn integer_of(value: &Value) -> Option<i32> {
    match value {
        Value::Number(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn uuid_of<T: FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::id::GroupId;
    use serde_json::json;

    fn body(value: &Value) -> Body {
        Body { object: value.as_object().expect("object").clone(), ..Body::default() }
    }

    fn messages(mut body: Body) -> Vec<(String, Vec<String>)> {
        let Err(ApiError::Invalid(problems)) = body.finish() else { return Vec::new() };
        problems.iter().map(|(field, messages)| (field.to_owned(), messages.to_vec())).collect()
    }

    /// CO-523: all problems of a body are found at once, in the standard words.
    #[test]
    fn co_523_problems_are_collected() {
        let mut body = body(&json!({
            "blank": " ", "null": null, "int": "x", "text": [], "flag": 7, "id": 3, "list": {}, "big": 1_u64 << 40,
        }));
        body.require(&["missing", "blank"], false);
        assert_eq!(body.filled_text("blank"), None);
        assert_eq!(body.text("null"), None);
        assert_eq!(body.integer("int"), None);
        assert_eq!(body.integer("big"), None);
        assert_eq!(body.text("text"), None);
        assert_eq!(body.flag("flag"), None);
        assert_eq!(body.uuid::<GroupId>("id"), None);
        assert_eq!(body.uuids::<GroupId>("list"), None);
        let found = messages(body);
        let words: Vec<_> = found.iter().map(|(field, words)| (field.as_str(), words[0].as_str())).collect();
        assert_eq!(
            words,
            [
                ("missing", "This field is required."),
                ("blank", "This field may not be blank."),
                ("null", "This field may not be null."),
                ("int", "A valid integer is required."),
                ("big", "A valid integer is required."),
                ("text", "Not a valid string."),
                ("flag", "Must be a valid boolean."),
                ("id", "Must be a valid UUID."),
                ("list", "Expected a list of items but got type \"dict\"."),
            ]
        );
    }

    /// CO-069, CO-451: a number that stands for a text is the text that it was written as, and not the number that it is
    /// read as; in JSON every number keeps its digits or is refused.
    #[test]
    fn co_069_numbers_are_the_text_that_they_were_written_as() {
        let sent = br#"{"a": 1.50, "b": 12345678901234567890123, "c": 1E5, "d": 7, "e": 0.9435702537977213, "a": 1.0}"#;
        let mut body = Body::read(sent).expect("an object");
        for (field, text) in [("a", "1.0"), ("b", "12345678901234567890123"), ("c", "1E5"), ("d", "7")] {
            assert_eq!(body.exact_text(field).as_deref(), Some(text));
        }
        assert_eq!(body.json("e"), Some(json!(0.943_570_253_797_721_3)));
        assert_eq!(body.json("b"), None);
        body.put("a", json!(2));
        assert_eq!(body.exact_text("a").as_deref(), Some("2"));
        assert_eq!(messages(body), [("b".to_owned(), vec![LOSSY.to_owned()])]);
    }

    /// CO-527: absent fields read as absent, an explicit null is told apart, required ones may be left out
    /// of a partial update.
    #[test]
    fn co_527_absent_and_null_differ() {
        let mut body = body(&json!({"a": null, "b": " x "}));
        body.require(&["c"], true);
        assert_eq!(body.text_or_null("a"), Some(None));
        assert_eq!(body.text_or_null("b"), Some(Some("x".to_owned())));
        assert_eq!(body.exact_text("b"), Some(" x ".to_owned()));
        assert_eq!(body.text_or_null("c"), None);
        assert!(messages(body).is_empty());
    }
}
