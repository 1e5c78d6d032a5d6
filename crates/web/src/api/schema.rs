//! `schema/`: what this API accepts and answers, as an OpenAPI document (CO-530, CO-575).
//!
//! The document lies beside this file and is made by `tools/openapi.py`; a test asks every operation that it names.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::Routes;
use super::params::Params;

/// The document as JSON.
const JSON: &str = include_str!("openapi.json");

/// The same as YAML, made when it is first asked for.
static YAML: LazyLock<String> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(JSON).unwrap_or_default();
    let mut text = String::with_capacity(JSON.len());
    block(&mut text, &document, 0);
    text
});

/// The route.
pub(super) fn routes() -> Routes {
    Routes::new().route("/schema/", get(document))
}

async fn document(params: Params) -> Response {
    let (kind, text) = match params.text("format").as_deref() {
        Some("json") => ("application/vnd.oai.openapi+json", JSON),
        _ => ("application/vnd.oai.openapi", YAML.as_str()),
    };
    ([(CONTENT_TYPE, kind)], text).into_response()
}

/// Writes a list or object in block style; whatever else there is as JSON, which YAML reads, too.
fn block(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let member = |out: &mut String, head: String, value: &Value| match value {
        Value::Array(items) if !items.is_empty() => {
            let _ = writeln!(out, "{indent}{head}");
            block(out, value, depth + 1);
        }
        Value::Object(members) if !members.is_empty() => {
            let _ = writeln!(out, "{indent}{head}");
            block(out, value, depth + 1);
        }
        plain => {
            let _ = writeln!(out, "{indent}{head} {plain}");
        }
    };
    match value {
        Value::Array(items) => items.iter().for_each(|item| member(out, "-".to_owned(), item)),
        Value::Object(members) => {
            members.iter().for_each(|(key, value)| member(out, format!("{}:", Value::from(key.as_str())), value));
        }
        plain => {
            let _ = writeln!(out, "{indent}{plain}");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::testing::Site;

    /// CO-530: nobody needs to sign in for the document, which is the same in both forms.
    #[tokio::test]
    async fn co_530_the_document_is_public() {
        let site = Site::new().await;
        let json = site.send(Method::GET, "/schema/?format=json", &[], None).await;
        assert_eq!((json.status.as_u16(), &json.json["openapi"]), (200, &Value::from("3.0.3")));
        assert_eq!(json.headers[CONTENT_TYPE], "application/vnd.oai.openapi+json");
        let yaml = site.send(Method::GET, "/schema/", &[], None).await;
        assert_eq!(yaml.headers[CONTENT_TYPE], "application/vnd.oai.openapi");
        let read = portcullis_blueprint::read_yaml(&YAML).expect("YAML");
        assert_eq!(read, json.json);
    }

    /// CO-530, CO-520: every operation of the document is served: nobody who is not signed in gets more than 403.
    #[tokio::test]
    async fn co_530_every_operation_is_served() {
        let site = Site::new().await;
        let document: Value = serde_json::from_str(JSON).expect("JSON");
        let mut missing = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let place = path.replace(['{', '}'], "");
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
                let status = site.send(method.clone(), &place, &[], None).await.status.as_u16();
                let public = operation["security"].as_array().is_some_and(|ways| ways.len() > 1);
                if status != 403 && !public || matches!(status, 405) {
                    missing.push(format!("{method} {path}: {status}"));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
