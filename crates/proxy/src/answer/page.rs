//! Pages for people: self-contained, without script (PX-310, PX-311).

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use portcullis_core::page::{STYLE, content_security_policy, escape};

use crate::body::Body;

/// One page.
pub struct Page<'a> {
    /// Its status.
    pub status: StatusCode,
    /// What happened, in a few words.
    pub title: &'a str,
    /// What it means.
    pub text: &'a str,
    /// What only some may see.
    pub detail: Option<&'a str>,
    /// Where to go from here: URL and label.
    pub link: Option<(&'a str, &'a str)>,
    /// A question to answer.
    pub form: Option<Form<'a>>,
    /// Finds the request in the log.
    pub request_id: &'a str,
}

/// One button that sends a POST to where the page came from.
pub struct Form<'a> {
    /// Where to.
    pub action: &'a str,
    /// The button's text.
    pub label: &'a str,
    /// Origins to which the answer to the POST may lead, as CSP sources.
    pub leads_to: &'a str,
}

impl Page<'_> {
    /// The page as an answer. Every value is escaped; nothing is kept by caches.
    pub fn response(&self) -> Response<Body> {
        let form_action = match &self.form {
            Some(form) => format!("'self' {}", form.leads_to),
            None => "'none'".to_owned(),
        };
        let mut response = Response::new(Body::from(self.html()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Without a referrer, browsers send a form with `Origin: null`, by which nobody can tell whose it is.
        let referrer = if self.form.is_some() { "same-origin" } else { "no-referrer" };
        headers.insert(REFERRER_POLICY, HeaderValue::from_static(referrer));
        let policy = HeaderValue::try_from(content_security_policy(&form_action));
        headers.insert(
            CONTENT_SECURITY_POLICY,
            policy.unwrap_or(const { HeaderValue::from_static("default-src 'none'") }),
        );
        response
    }

    fn html(&self) -> String {
        let title = escape(self.title);
        let text = escape(self.text);
        let code = if self.status.is_success() { String::new() } else { status_line(self.status) };
        let detail = self.detail.map(|detail| format!("<p><code>{}</code></p>", escape(detail))).unwrap_or_default();
        let form = self.form.as_ref().map(Form::html).unwrap_or_default();
        let link = self
            .link
            .map(|(url, label)| format!("<a class=\"button quiet\" href=\"{}\">{}</a>", escape(url), escape(label)))
            .unwrap_or_default();
        let actions = if form.is_empty() && link.is_empty() {
            String::new()
        } else {
            format!("<div class=\"actions\">{form}{link}</div>\n")
        };
        let id = escape(self.request_id);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<main class=\"card\">\n{code}<h1>{title}</h1>\n\
             <p>{text}</p>\n{detail}{actions}<p class=\"fine\">Request <code>{id}</code></p>\n\
             </main>\n</body>\n</html>\n"
        )
    }
}

impl Form<'_> {
    fn html(&self) -> String {
        format!(
            "<form method=\"post\" action=\"{}\"><button type=\"submit\">{}</button></form>",
            escape(self.action),
            escape(self.label)
        )
    }
}

fn status_line(status: StatusCode) -> String {
    format!("<p class=\"status\">{}</p>\n", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// PX-310, PX-311: a page brings all it needs, and whatever it shows is text.
    #[tokio::test]
    async fn px_311_a_page_shows_text_only() {
        let hostile = "<script>alert(1)</script>\"'";
        let page = Page {
            status: StatusCode::BAD_GATEWAY,
            title: hostile,
            text: hostile,
            detail: Some(hostile),
            link: Some((hostile, hostile)),
            form: Some(Form { action: hostile, label: hostile, leads_to: "https://id.example" }),
            request_id: hostile,
        };
        let response = page.response();
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("form-action 'self' https://id.example;") && policy.contains("default-src 'none'"));
        let html = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert!(!html.contains("<script") && !html.contains("http://") && html.contains("<html lang=\"en\">"));
        assert!(html.contains("502") && html.contains("&lt;script&gt;"));
    }
}
