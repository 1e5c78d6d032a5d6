//! What settings must be (CO-020, CO-504).

use portcullis_core::duration;
use serde_json::Value;
use url::Url;

use crate::error::Problems;

/// Most links below the pages.
const MOST_LINKS: usize = 50;

/// A duration of which something is left.
pub(super) fn lasting(field: &str, text: &str, problems: &mut Problems) {
    match duration::parse(text) {
        Err(error) => problems.add(field, error.to_string()),
        Ok(microseconds) if microseconds < 1_000_000 => {
            problems.add(field, "Ensure this value is at least one second.");
        }
        Ok(_) => {}
    }
}

/// A number within bounds.
pub(super) fn within(field: &str, number: i32, least: i32, most: i32, problems: &mut Problems) {
    if number < least {
        problems.add(field, format!("Ensure this value is greater than or equal to {least}."));
    } else if number > most {
        problems.add(field, format!("Ensure this value is less than or equal to {most}."));
    }
}

/// Whether a footer link may lead there (CO-504).
pub(super) fn is_link(href: &str) -> bool {
    Url::parse(href).is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "mailto"))
}

/// Links below the pages: a list of `{"name": …, "href": …}`, of which `href` may be absent or null.
pub(super) fn footer_links(links: &Value, problems: &mut Problems) {
    const FIELD: &str = "footer_links";
    let Some(links) = links.as_array() else {
        return problems.add(FIELD, "Value must be a list of objects with a name and, perhaps, an href.");
    };
    if links.len() > MOST_LINKS {
        problems.add(FIELD, format!("Ensure this field has no more than {MOST_LINKS} elements."));
    }
    for link in links {
        let name = link.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() || name.chars().count() > 255 {
            problems.add(FIELD, "Each link must have a name of at most 255 characters.");
        }
        match link.get("href") {
            None | Some(Value::Null) => {}
            Some(Value::String(href)) if href.len() <= 2048 && is_link(href) => {}
            Some(_) => problems.add(FIELD, "Links may lead to http, https and mailto only."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// CO-504: footer links lead to the web or to a mailbox, never into script.
    #[test]
    fn co_504_footer_links_are_web_or_mail() {
        let ok = |links: Value| {
            let mut problems = Problems::default();
            footer_links(&links, &mut problems);
            problems.is_empty()
        };
        assert!(ok(json!([])));
        assert!(ok(
            json!([{"name": "Help", "href": "https://help.example"}, {"name": "Us", "href": "mailto:a@b.example"}])
        ));
        assert!(ok(json!([{"name": "Just text", "href": null}, {"name": "No key"}])));
        for href in
            ["javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "//evil.example", "/path", "", "ftp://x"]
        {
            assert!(!ok(json!([{"name": "x", "href": href}])), "{href}");
        }
        for bad in [json!({}), json!("x"), json!(["x"]), json!([{"href": "https://x.example"}]), json!([{"name": 7}])] {
            assert!(!ok(bad.clone()), "{bad}");
        }
    }

    /// CO-021: a duration without anything in it is none here.
    #[test]
    fn co_021_settings_take_durations_that_last() {
        for (text, good) in [("days=1", true), ("seconds=1", true), ("seconds=0", false), ("1 day", false), ("", false)]
        {
            let mut problems = Problems::default();
            lasting("event_retention", text, &mut problems);
            assert_eq!(problems.is_empty(), good, "{text}");
        }
    }
}
