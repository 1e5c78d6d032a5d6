//! What an event says of the request that it belongs to (CO-411).

use portcullis_core::origin::Asked;
use serde_json::{Map, Value, json};

use super::{CLEANSED, cleanse};
use crate::context::Request;

/// Longest texts that are kept, in characters.
const LONGEST: usize = 512;
/// Most parameters that are kept.
const MOST: usize = 50;
/// Parameters that stand for a credential or for the state of a sign-in, besides those whose name says so.
const OPAQUE: [&str; 8] =
    ["code", "code_challenge", "code_verifier", "state", "nonce", "logout_hint", "assertion", "samlrequest"];
/// Pages that work on a request to another place, which is in one of their parameters; of programs, inside another one.
const OF_FLOWS: [(&str, &[&str]); 2] = [("/if/flow/", &["next"]), ("/api/v3/flows/executor/", &["query", "next"])];

/// The request as `http_request`; nothing without a request.
pub(super) fn told(request: &Request) -> Option<Value> {
    if request.id.is_empty() && request.asked.is_none() {
        return None;
    }
    let Some(asked) = &request.asked else { return Some(json!({"request_id": request.id})) };
    Some(json!({
        "path": shortened(&asked.path),
        "method": asked.method,
        "args": args(asked),
        "user_agent": shortened(&asked.user_agent),
        "request_id": request.id,
    }))
}

/// The parameters by name; of a page of a flow, those of the request inside.
fn args(asked: &Asked) -> Value {
    let inside = OF_FLOWS.iter().find(|(path, _)| asked.path.starts_with(path)).map_or(&[][..], |(_, names)| *names);
    let opened = inside.iter().fold(parsed(&asked.query), |outer, name| opened(&outer, name).unwrap_or(outer));
    let mut args = Map::new();
    for (name, value) in opened.into_iter().take(MOST) {
        let opaque = OPAQUE.contains(&name.to_lowercase().as_str());
        let value = if opaque { CLEANSED.to_owned() } else { shortened(&without_query(value)) };
        match args.entry(shortened(&name)).or_insert(Value::Null) {
            first @ Value::Null => *first = value.into(),
            Value::Array(values) => values.push(value.into()),
            one => *one = json!([one.take(), value]),
        }
    }
    cleanse(Value::Object(args))
}

/// The parameters inside a parameter: a query, or an address that may have one.
fn opened(outer: &[(String, String)], name: &str) -> Option<Vec<(String, String)>> {
    let (_, value) = outer.iter().find(|(key, _)| key == name)?;
    match value.split_once('?') {
        _ if name == "query" => Some(parsed(value)),
        Some((_, query)) => Some(parsed(query)),
        None => None,
    }
}

/// An address without what may be a credential in its query.
fn without_query(value: String) -> String {
    match value.split_once('?') {
        Some((path, _)) if path.starts_with('/') => format!("{path}?{CLEANSED}"),
        _ => value,
    }
}

fn parsed(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn of(path: &str, query: &str) -> Value {
        let asked = Asked {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            user_agent: "x".repeat(1000),
            ..Asked::default()
        };
        told(&Request { id: "77".to_owned(), host: String::new(), asked: Some(Arc::new(asked)), impersonator: None })
            .expect("a request")
    }

    /// CO-411: an event says what was asked for, and by which client; credentials in the query are cleansed.
    #[test]
    fn co_411_the_request_is_told() {
        let told = of(
            "/api/v3/core/users/",
            "page=2&type=a&type=b&type=c&id_token_hint=x&code=y&code_challenge=c&State=z&flag",
        );
        assert_eq!((&told["path"], &told["method"]), (&json!("/api/v3/core/users/"), &json!("GET")));
        assert_eq!(told["request_id"], "77");
        assert_eq!(told["user_agent"].as_str().map(str::len), Some(LONGEST));
        assert_eq!(
            told["args"],
            json!({
                "page": "2", "type": ["a", "b", "c"], "id_token_hint": CLEANSED, "code": CLEANSED, "State": CLEANSED,
                "code_challenge": CLEANSED,
                "flag": "",
            })
        );
    }

    /// CO-411: of a page of a flow, the parameters are those of the request that it leads back to.
    #[test]
    fn co_411_flows_tell_the_request_inside() {
        let next = "next=%2Fapplication%2Fo%2Fauthorize%2F%3Fclient_id%3Dwiki%26scope%3Dopenid%26nonce%3D1";
        let told = of("/if/flow/default-authentication-flow/", next);
        assert_eq!(told["args"], json!({"client_id": "wiki", "scope": "openid", "nonce": CLEANSED}));
        let told = of("/api/v3/flows/executor/default/", "query=client_id%3Dwiki");
        assert_eq!(told["args"], json!({"client_id": "wiki"}));
        assert_eq!(of("/if/flow/x/", "")["args"], json!({}));
        assert_eq!(of("/if/flow/x/", "next=%2Fx")["args"], json!({"next": "/x"}));
    }

    /// CO-411, CO-414: a credential in the address that a flow leads to is cleansed, wherever that is.
    #[test]
    fn co_414_credentials_inside_addresses_are_cleansed() {
        let next = "next%3D%252Faccount%252Femail%252F%253Ftoken%253DTOPSECRET%2526x%253D1";
        let told = of("/api/v3/flows/executor/default/", &format!("query={next}"));
        assert_eq!(told["args"], json!({"token": CLEANSED, "x": "1"}));
        for (path, query) in [
            ("/if/flow/x/", "next=%2Fif%2Fflow%2Fx%2F%3Fnext%3D%252Fa%253Fflow_token%253DTOPSECRET"),
            ("/flows/-/default/authentication/", "next=%2Fa%3Fflow_token%3DTOPSECRET"),
        ] {
            let told = of(path, query)["args"].clone();
            assert_eq!(told["next"], format!("/a?{CLEANSED}"), "{path}");
        }
    }

    /// CO-411: what the process does by itself tells of no request.
    #[test]
    fn co_411_without_a_request_nothing_is_told() {
        assert_eq!(told(&Request::default()), None);
        let named = Request { id: "77".to_owned(), ..Request::default() };
        assert_eq!(told(&named), Some(json!({"request_id": "77"})));
    }
}
