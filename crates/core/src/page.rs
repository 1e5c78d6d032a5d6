//! The one look of all pages, of both planes: style, escaping and content security policy.
//!
//! A page carries its style within, so that it needs nothing from elsewhere, and allows nothing but
//! that style: its hash stands in the policy (PX-063, PX-310).

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::keys::sha256;

/// The stylesheet. Put it unchanged between `<style>` and `</style>`.
pub const STYLE: &str = include_str!("../assets/page.css");

/// The CSP source that allows [`STYLE`] and no other inline style, as `'sha256-…'`.
pub fn style_source() -> &'static str {
    static SOURCE: LazyLock<String> =
        LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(sha256(STYLE.as_bytes()))));
    &SOURCE
}

/// The `Content-Security-Policy` of a page without script (PX-063).
///
/// `form_action` is the value of that directive: `'none'` for a page without forms.
pub fn content_security_policy(form_action: &str) -> String {
    format!(
        "default-src 'none'; style-src {}; img-src data:; form-action {form_action}; base-uri 'none'; \
         frame-ancestors 'none'",
        style_source()
    )
}

/// Makes text safe inside HTML elements and quoted attributes (PX-311).
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-311: interpolated text cannot open a tag or leave an attribute.
    #[test]
    fn px_311_text_is_escaped() {
        assert_eq!(escape(r#"<a href="x" o='y'>&"#), "&lt;a href=&quot;x&quot; o=&#39;y&#39;&gt;&amp;");
    }

    /// PX-063: the policy allows the page's own style and no script.
    #[test]
    fn px_063_the_policy_allows_no_script() {
        let policy = content_security_policy("'none'");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"));
        assert!(!STYLE.contains("</"));
    }
}
