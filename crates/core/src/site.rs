//! Which sites a client's answers are for (OA-580).

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;

/// Longest origin, in bytes: no browser has a longer one, as no host has a longer name.
const LONGEST: usize = 280;

/// Whether a text is an origin as browsers send it: no path, no port that goes without saying, and no pattern.
pub fn is_origin(text: &str) -> bool {
    !text.contains('*') && origin_of(text).is_some_and(|origin| origin == text)
}

/// Origin of an address on the web.
fn origin_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    Some(url.origin().ascii_serialization()).filter(|origin| origin.len() <= LONGEST)
}

/// Origin of an entry of redirect URIs, if it is strict and for answers: a list has `{matching_mode, url, redirect_uri_type}`.
pub fn of_entry(entry: &Value) -> Option<String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let for_answers = text("redirect_uri_type").unwrap_or("authorization") == "authorization";
    origin_of(text("url").filter(|_| for_answers && text("matching_mode") == Some("strict"))?)
}

/// Origins of the strict ones of a list of redirect URIs.
pub fn of_redirects(redirect_uris: &Value) -> BTreeSet<String> {
    redirect_uris.as_array().into_iter().flatten().filter_map(of_entry).collect()
}

/// The same, and those that are listed besides.
pub fn of(redirect_uris: &Value, listed: &Value) -> BTreeSet<String> {
    let mut origins = of_redirects(redirect_uris);
    origins.extend(listed.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    origins
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// OA-580: strict entries for answers have an origin, and what is listed is one.
    #[test]
    fn oa_580_origins_are_those_of_strict_entries_and_of_the_list() {
        let uris = json!([
            {"matching_mode": "strict", "url": "HTTPS://App.Example:443/cb?x=1"},
            {"matching_mode": "strict", "url": "http://[::1]:8080", "redirect_uri_type": "authorization"},
            {"matching_mode": "strict", "url": "https://bye.example/", "redirect_uri_type": "logout"},
            {"matching_mode": "regex", "url": "https://rx.example/cb"},
            {"matching_mode": "strict", "url": "app.example:/cb"},
            {"matching_mode": "strict", "url": format!("https://{}.example/", "x".repeat(300))},
            {"url": 1},
        ]);
        let found: Vec<_> = of(&uris, &json!(["https://page.example"])).into_iter().collect();
        assert_eq!(found, ["http://[::1]:8080", "https://app.example", "https://page.example"]);
        for good in ["https://page.example", "http://localhost:5173", "https://xn--bcher-kva.example", "http://[::1]"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "page.example",
            "https://page.example/",
            "https://page.example:443",
            "ftp://x",
            "https://PAGE.example",
            "https://*.example",
            "https://u@page.example",
            "https://b\u{fc}cher.example",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
