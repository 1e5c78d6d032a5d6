//! Rules for header fields that come from or go to an identity (PX-203 … PX-221).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// How names are compared: lower case, and every character other than a letter or digit reads as `-`.
///
/// Servers behind us fold names into variables (`HTTP_X_AUTHENTIK_UID`) in which such characters
/// cannot be told apart.
pub fn alias(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// The headers that `additionalHeaders` of someone's attributes add, as [`alias`] writes them: what clients may not
/// send themselves from then on (PX-221). `Authorization` is treated on its own; forbidden names add nothing.
pub fn added_names(attributes: &serde_json::Map<String, Value>) -> impl Iterator<Item = String> {
    let added = attributes.get("additionalHeaders").and_then(Value::as_object);
    let names = added.into_iter().flat_map(serde_json::Map::keys).filter(|name| !is_forbidden(name));
    names.map(|name| alias(name)).filter(|name| name != "authorization")
}

/// Whether a name reads as one of the identity headers, `X-authentik-*` (PX-220).
pub fn is_identity(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-authentik-";
    let name = name.as_bytes();
    name.len() >= PREFIX.len()
        && name.iter().zip(PREFIX).all(|(&have, &want)| {
            if want == b'-' { !have.is_ascii_alphanumeric() } else { have.to_ascii_lowercase() == want }
        })
}

/// Whether an attribute may not set this header, because others or we rely on it (PX-218).
pub fn is_forbidden(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "cookie",
        "set-cookie",
        "location",
        "www-authenticate",
        "cache-control",
        "forwarded",
        "x-real-ip",
        "x-sendfile",
        "via",
        "date",
        "server",
    ];
    const PREFIXES: &[&str] = &["x-authentik-", "x-forwarded-", "x-original-", "x-accel-", "x-envoy-"];
    let name = alias(name);
    NAMES.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a value holds a control byte, which no header may.
pub fn has_control(value: &str) -> bool {
    value.bytes().any(|b| b < 0x20 || b == 0x7f)
}

/// Whether a value can be trusted to name somebody: no control byte, no outer white space (PX-203).
pub fn is_clean(value: &str) -> bool {
    !has_control(value) && value.trim() == value
}

/// Joins names with `|`; those that hold the separator or a control byte are left out (PX-205).
///
/// Returns the joined text and how many were left out.
pub fn join(names: &[String]) -> (String, usize) {
    let mut joined = String::new();
    let mut left_out = 0;
    let mut first = true;
    for name in names {
        if name.contains('|') || has_control(name) {
            left_out += 1;
            continue;
        }
        if !first {
            joined.push('|');
        }
        joined.push_str(name);
        first = false;
    }
    (joined, left_out)
}

/// An attribute as a user name or password: strings and numbers only (PX-213).
pub fn usable(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(shortest(number)),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) | Value::Null => None,
    }
}

/// The value of an additional header (PX-217); `None` removes the header.
pub fn additional_value(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Array(items) => Some(items.iter().filter_map(scalar).collect::<Vec<_>>().join("|")),
        Value::Object(_) => Some(value.to_string()),
        Value::String(_) | Value::Number(_) | Value::Bool(_) => scalar(value),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(shortest(number)),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number in its shortest decimal form: `7`, not `7.0`.
fn shortest(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => format!("{float}"),
        _ => number.to_string(),
    }
}

/// The `Authorization` value for an upstream (PX-214); `None` if the user name cannot be sent (PX-213).
pub fn basic(username: &str, password: &str) -> Option<String> {
    if username.contains(':') || has_control(username) {
        return None;
    }
    Some(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

/// A text as a quoted string (RFC 9110 §5.6.4); control characters are left out.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// PX-220, PX-578: every spelling of an identity header is one.
    #[test]
    fn px_220_aliases_of_identity_headers_are_recognised() {
        for name in ["X-authentik-username", "x_authentik_uid", "X-Authentik_Groups", "x.authentik.jwt", "x-authentik-"]
        {
            assert!(is_identity(name), "{name}");
        }
        for name in ["x-authentik", "xauthentik-uid", "remote_user", "x-authentiks-uid", ""] {
            assert!(!is_identity(name), "{name}");
        }
        assert_eq!(alias("Remote_User.X"), "remote-user-x");
    }

    /// PX-218, PX-570: no attribute sets a header that others rely on.
    #[test]
    fn px_218_forbidden_names() {
        for name in [
            "X-authentik-uid",
            "x_authentik_uid",
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "Content-Type",
            "Content-Encoding",
            "Cookie",
            "Set-Cookie",
            "Location",
            "WWW-Authenticate",
            "Cache-Control",
            "X-Forwarded-For",
            "X_Forwarded_Host",
            "Forwarded",
            "X-Real-IP",
            "X-Original-URL",
            "X-Accel-Redirect",
            "X-Envoy-Internal",
            "X-Sendfile",
            "Via",
            "Date",
            "Server",
            "Proxy-Authorization",
            "Proxy-Authenticate",
        ] {
            assert!(is_forbidden(name), "{name}");
        }
        for name in ["Authorization", "REMOTE_USER", "X-Tenant", "X-Forwarded", "Dateline"] {
            assert!(!is_forbidden(name), "{name}");
        }
    }

    /// PX-217, PX-572: the conversion table of additional headers.
    #[test]
    fn px_217_values_are_converted() {
        for (value, text) in [
            (json!("a b"), Some("a b")),
            (json!(7), Some("7")),
            (json!(7.0), Some("7")),
            (json!(-1.5), Some("-1.5")),
            (json!(true), Some("true")),
            (json!(["a", 1, false, null, ["x"]]), Some("a|1|false")),
            (json!({"a": [1, 2]}), Some(r#"{"a":[1,2]}"#)),
            (json!(null), None),
        ] {
            assert_eq!(additional_value(&value).as_deref(), text, "{value}");
        }
    }

    /// PX-213, PX-581: strings and numbers name somebody, other values do not, a colon suppresses.
    #[test]
    fn px_213_usable_values() {
        assert_eq!(usable(Some(&json!("u"))).as_deref(), Some("u"));
        assert_eq!(usable(Some(&json!(42))).as_deref(), Some("42"));
        for odd in [json!(true), json!(["u"]), json!({}), json!(null)] {
            assert_eq!(usable(Some(&odd)), None, "{odd}");
        }
        assert_eq!(basic("a:b", "c"), None);
        assert_eq!(basic("a\n", "c"), None);
        assert_eq!(basic("ädа", "").as_deref(), Some("Basic w6Rk0LA6"));
    }

    /// PX-205, PX-574: a name with the separator cannot forge further names.
    #[test]
    fn px_205_names_with_the_separator_are_left_out() {
        let names = ["a", "b|admins", "c\n", "", "d"].map(str::to_owned);
        assert_eq!(join(&names), ("a||d".to_owned(), 2));
    }

    /// PX-203: values that name somebody are clean or not used.
    #[test]
    fn px_203_clean_values() {
        assert!(is_clean("ada") && is_clean("") && is_clean("é ü"));
        assert!(!is_clean(" ada") && !is_clean("ada\t") && !is_clean("a\0b") && !is_clean("a\x7f"));
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c""#);
    }
}
