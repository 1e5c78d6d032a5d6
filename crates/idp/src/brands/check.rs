//! What brands must be (CO-504).

use portcullis_core::host::Host;
use portcullis_core::origin::Scheme;
use url::Url;

use crate::error::Problems;

/// Longest stylesheet, in bytes.
const LONGEST_CSS: usize = 256 * 1024;

/// A domain in the form in which hosts are compared; none if it is no host name.
pub(super) fn normal(domain: &str) -> Option<String> {
    let host = Host::parse(domain.strip_prefix('.').unwrap_or(domain), Scheme::Https)?;
    Some(host.name().to_owned())
}

/// What a brand is for.
pub(super) fn domain(domain: &str, problems: &mut Problems) {
    if domain.is_empty() {
        problems.add("domain", "This field may not be blank.");
    } else if domain.len() > 253 || normal(domain).is_none() {
        problems.add("domain", "Enter a host name, without a scheme and a path.");
    }
}

/// Where a picture is: nowhere, on this server, on the web, or in the text itself.
pub(super) fn picture(field: &str, text: &str, problems: &mut Problems) {
    if text.len() > LONGEST_CSS {
        problems.add(field, format!("Ensure this field has no more than {LONGEST_CSS} characters."));
    } else if !(text.is_empty() || is_local(text) || is_web(text)) {
        problems.add(field, "Enter a path that begins with a slash, an http or https URL, or a data:image/ URI.");
    }
}

/// Whether a picture needs nobody else: pages show no other (CO-504).
pub(super) fn is_local(text: &str) -> bool {
    let path = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
    path || text.starts_with("data:image/")
}

fn is_web(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// A stylesheet.
pub(super) fn css(text: &str, problems: &mut Problems) {
    if text.len() > LONGEST_CSS {
        problems.add("branding_custom_css", format!("Ensure this field has no more than {LONGEST_CSS} bytes."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-502, CO-504: domains are compared in lower case; pictures are paths, web addresses or data.
    #[test]
    fn co_504_domains_and_pictures_are_checked() {
        assert_eq!(normal(".Example.COM."), Some("example.com".to_owned()));
        assert_eq!(normal("localhost:9000"), Some("localhost".to_owned()));
        for (text, good) in [
            ("wiki.example", true),
            ("Wiki.Example", true),
            ("", false),
            (".", false),
            ("https://x.example", false),
            ("a b", false),
            ("x/y", false),
        ] {
            let mut problems = Problems::default();
            domain(text, &mut problems);
            assert_eq!(problems.is_empty(), good, "{text}");
        }
        for (text, good, local) in [
            ("", true, false),
            ("/static/logo.svg", true, true),
            ("data:image/png;base64,AAAA", true, true),
            ("https://cdn.example/logo.svg", true, false),
            ("//cdn.example/logo.svg", false, false),
            ("/\\cdn.example/logo.svg", false, false),
            ("javascript:alert(1)", false, false),
            ("data:text/html,x", false, false),
            ("logo.svg", false, false),
        ] {
            let mut problems = Problems::default();
            picture("branding_logo", text, &mut problems);
            assert_eq!((problems.is_empty(), is_local(text)), (good, local), "{text}");
        }
    }
}
