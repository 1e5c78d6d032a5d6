//! Who reads the answer: a person with a browser, or a program (PX-131, PX-098, PX-290).

use http::header::{ACCEPT, UPGRADE};
use http::{HeaderMap, Method};

/// Whether a person would see the login page if this request were redirected (PX-131).
pub fn shows_to_a_person(method: &Method, headers: &HeaderMap) -> bool {
    if let Some(mode) = headers.get("sec-fetch-mode")
        && mode.as_bytes() != b"navigate"
    {
        return false;
    }
    let ajax = headers.get("x-requested-with").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"xmlhttprequest"));
    if ajax || headers.contains_key(UPGRADE) || method == Method::OPTIONS {
        return false;
    }
    let accept = Accept::of(headers);
    if accept.present && !accept.takes_a_page() {
        return false;
    }
    method == Method::GET || method == Method::HEAD || accept.html > 0
}

/// Whether an answer of ours should be JSON rather than a page.
pub fn prefers_json(headers: &HeaderMap) -> bool {
    let accept = Accept::of(headers);
    accept.json > 0 && accept.json > accept.html && accept.json >= accept.text.max(accept.any)
}

/// Whether the client takes pages at all, as far as `Accept` tells (PX-290).
pub fn takes_pages(headers: &HeaderMap) -> bool {
    let accept = Accept::of(headers);
    !accept.present || accept.takes_a_page()
}

/// Weights in thousandths of the media ranges that matter.
#[derive(Default)]
struct Accept {
    present: bool,
    html: u16,
    text: u16,
    any: u16,
    json: u16,
}

impl Accept {
    fn of(headers: &HeaderMap) -> Self {
        let mut accept = Self::default();
        for value in headers.get_all(ACCEPT) {
            let Ok(text) = value.to_str() else { continue };
            for range in text.split(',') {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
                if kind.is_empty() {
                    continue;
                }
                accept.present = true;
                let weight =
                    parts.find_map(|p| p.strip_prefix("q=").or(p.strip_prefix("Q="))).map_or(1000, thousandths);
                let place = match kind.as_str() {
                    "text/html" | "application/xhtml+xml" => &mut accept.html,
                    "text/*" => &mut accept.text,
                    "*/*" => &mut accept.any,
                    "application/json" | "application/problem+json" => &mut accept.json,
                    _ => continue,
                };
                *place = weight.max(*place);
            }
        }
        accept
    }

    fn takes_a_page(&self) -> bool {
        self.html.max(self.text).max(self.any) > 0
    }
}

fn thousandths(q: &str) -> u16 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 … 1000")]
    q.parse::<f32>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines.split('|').filter_map(|line| line.split_once('=')) {
            map.append(http::HeaderName::from_bytes(name.as_bytes()).expect("name"), value.parse().expect("value"));
        }
        map
    }

    /// PX-131, PX-530: the decision table of who is redirected to a login.
    #[test]
    fn px_131_only_requests_that_a_person_sees_are_redirected() {
        for (method, lines, person) in [
            ("GET", "", true),
            ("GET", "accept=*/*", true),
            ("HEAD", "accept=*/*", true),
            ("GET", "accept=text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", true),
            ("GET", "sec-fetch-mode=navigate|accept=text/html", true),
            ("GET", "sec-fetch-mode=cors|accept=text/html", false),
            ("GET", "sec-fetch-mode=no-cors|accept=image/avif,*/*", false),
            ("GET", "x-requested-with=XMLHttpRequest|accept=text/html", false),
            ("GET", "upgrade=websocket", false),
            ("OPTIONS", "accept=text/html", false),
            ("GET", "accept=application/json", false),
            ("GET", "accept=image/*", false),
            ("GET", "accept=application/json, text/plain, */*", true),
            ("GET", "accept=text/*", true),
            ("GET", "accept=text/html;q=0", false),
            ("POST", "accept=text/html", true),
            ("POST", "accept=*/*", false),
            ("POST", "", false),
            ("PROPFIND", "accept=*/*", false),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("method");
            assert_eq!(shows_to_a_person(&method, &headers(lines)), person, "{method} {lines}");
        }
    }

    /// PX-098, PX-290: JSON is for those who prefer it, a page is the default.
    #[test]
    fn px_098_json_is_for_those_who_prefer_it() {
        for (lines, json) in [
            ("", false),
            ("accept=*/*", false),
            ("accept=application/json", true),
            ("accept=application/json, text/plain, */*", true),
            ("accept=text/html,application/json;q=0.9", false),
            ("accept=application/json;q=0.5,*/*", false),
            ("accept=application/json;q=0", false),
        ] {
            assert_eq!(prefers_json(&headers(lines)), json, "{lines}");
        }
    }
}
