//! A person with a cookie jar who follows redirects and fills in forms, without a browser's weight.

use std::collections::BTreeMap;

use url::Url;

use crate::api::Person;
use crate::http::{Go, Reply, http};

/// The visitor.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Cookies by host name and name.
    pub cookies: BTreeMap<(String, String), String>,
    address: String,
    via: Option<u16>,
    end: Option<String>,
    /// Every URL that was visited.
    pub trace: Vec<String>,
}

/// A page at which a visitor arrived.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its URL.
    pub url: Url,
    /// The answer.
    pub reply: Reply,
}

impl Default for Visitor {
    fn default() -> Self {
        Self::new()
    }
}

impl Visitor {
    /// A visitor from an address of their own.
    #[must_use]
    pub fn new() -> Self {
        Self { cookies: BTreeMap::new(), address: crate::api::fresh_address(), via: None, end: None, trace: Vec::new() }
    }

    /// Requests come from this address from now on.
    pub fn move_to(&mut self, address: &str) {
        address.clone_into(&mut self.address);
    }

    /// Whatever the port of an URL is, requests go to this one from now on, as a balancer may pass them on.
    pub fn go_via(&mut self, port: u16) {
        self.via = Some(port);
    }

    /// One GET as a browser navigates, without following redirects.
    pub async fn get(&mut self, url: &str) -> Reply {
        self.send("GET", &url.parse().unwrap(), None).await
    }

    /// Follows redirects until something else comes.
    pub async fn visit(&mut self, url: &str) -> Page {
        let url: Url = url.parse().unwrap();
        let reply = self.send("GET", &url, None).await;
        self.follow(url, reply).await
    }

    /// Follows redirects to an address that begins like this, where it does not go.
    ///
    /// # Panics
    /// When they lead elsewhere.
    pub async fn visit_until(&mut self, url: &str, end: &str) -> String {
        self.end = Some(end.to_owned());
        let page = self.visit(url).await;
        self.arrived(&page)
    }

    /// Visits an URL, signs in on the way, and follows redirects to an address that begins like this.
    ///
    /// # Panics
    /// When they lead elsewhere.
    pub async fn sign_in_until(&mut self, url: &str, person: &Person, end: &str) -> String {
        self.end = Some(end.to_owned());
        let page = self.sign_in(url, person).await;
        self.arrived(&page)
    }

    fn arrived(&mut self, page: &Page) -> String {
        let end = self.end.take().unwrap_or_default();
        assert!(page.url.as_str().starts_with(&end), "{:#?}: {}", self.trace, page.reply.text());
        page.url.to_string()
    }

    async fn follow(&mut self, mut url: Url, mut reply: Reply) -> Page {
        for _ in 0..20 {
            if !(300..400).contains(&reply.status) || reply.status == 304 {
                return Page { url, reply };
            }
            url = url.join(&reply.location()).unwrap();
            if self.end.as_ref().is_some_and(|end| url.as_str().starts_with(end)) {
                return Page { url, reply };
            }
            reply = self.send("GET", &url, None).await;
        }
        panic!("too many redirects: {:#?}", self.trace);
    }

    async fn send(&mut self, method: &str, url: &Url, form: Option<String>) -> Reply {
        self.trace.push(format!("{method} {url}"));
        let host = url.host_str().unwrap().to_owned();
        let jar: Vec<String> = self
            .cookies
            .iter()
            .filter(|((owner, _), _)| *owner == host)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let mut target = url.clone();
        if self.via.is_some() {
            target.set_port(self.via).unwrap();
        }
        let mut request = http()
            .request(method.parse().unwrap(), target)
            .header("host", url.authority())
            .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("x-forwarded-for", &self.address);
        if !jar.is_empty() {
            request = request.header("cookie", jar.join("; "));
        }
        if let Some(form) = form {
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .header("origin", url.origin().ascii_serialization())
                .body(form);
        }
        let reply = request.go().await;
        for line in reply.all("set-cookie") {
            self.keep(&host, &line);
        }
        reply
    }

    fn keep(&mut self, host: &str, line: &str) {
        let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
        let (name, value) = pair.split_once('=').unwrap();
        let key = (host.to_owned(), name.trim().to_owned());
        let removed = attributes.split(';').any(|part| part.trim().eq_ignore_ascii_case("max-age=0"));
        if removed {
            self.cookies.remove(&key);
        } else {
            self.cookies.insert(key, value.to_owned());
        }
    }

    /// Submits the first form of a page, with these fields changed, and follows redirects.
    ///
    /// # Panics
    /// When the page has no form or lacks one of the fields.
    pub async fn submit(&mut self, page: &Page, changes: &[(&str, &str)]) -> Page {
        let html = page.reply.text();
        let form = Form::first(&html).unwrap_or_else(|| panic!("no form at {}: {html}", page.url));
        let url = page.url.join(&form.action).unwrap();
        let mut fields = form.fields;
        for (name, value) in changes {
            let field = fields.iter_mut().find(|(key, _)| key == name);
            field.unwrap_or_else(|| panic!("no field {name} at {}: {html}", page.url)).1 = (*value).to_owned();
        }
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let reply = self.send("POST", &url, Some(body)).await;
        self.follow(url, reply).await
    }

    /// Visits an URL and signs in on the way if asked to; returns where that leads.
    pub async fn sign_in(&mut self, url: &str, person: &Person) -> Page {
        self.sign_in_as(url, &person.username, &person.password).await
    }

    /// The same with a user name and password.
    pub async fn sign_in_as(&mut self, url: &str, username: &str, password: &str) -> Page {
        let page = self.visit(url).await;
        let html = page.reply.text();
        let form = Form::first(&html).unwrap_or_else(|| panic!("no sign-in form at {}: {html}", page.url));
        let by_kind = |kind: &str| form.kinds.iter().find(|(_, k)| k == kind).map(|(name, _)| name.clone());
        let secret = by_kind("password").unwrap_or_else(|| panic!("no password field at {}: {html}", page.url));
        let name = by_kind("text").or_else(|| by_kind("email")).expect("a field for the user name");
        self.submit(&page, &[(&name, username), (&secret, password)]).await
    }

    /// The value of a cookie for an URL's host.
    #[must_use]
    pub fn cookie(&self, url: &str, name: &str) -> Option<&String> {
        let host = url.parse::<Url>().unwrap().host_str().unwrap().to_owned();
        self.cookies.get(&(host, name.to_owned()))
    }
}

/// A form in a page.
#[derive(Debug, Default)]
pub struct Form {
    /// Where it goes; empty means the page itself.
    pub action: String,
    /// Names and values of its fields.
    pub fields: Vec<(String, String)>,
    /// Names and types of its fields.
    pub kinds: Vec<(String, String)>,
}

impl Form {
    /// The first form of a page.
    #[must_use]
    pub fn first(html: &str) -> Option<Self> {
        let start = html.find("<form")?;
        let whole = &html[start..start + html[start..].find("</form>")?];
        let mut form = Self { action: attribute(tag(whole), "action").unwrap_or_default(), ..Self::default() };
        for (at, _) in whole.match_indices("<input") {
            let tag = tag(&whole[at..]);
            let Some(name) = attribute(tag, "name") else { continue };
            let kind = attribute(tag, "type").unwrap_or_else(|| "text".to_owned());
            if kind == "checkbox" {
                continue;
            }
            form.fields.push((name.clone(), attribute(tag, "value").unwrap_or_default()));
            form.kinds.push((name, kind));
        }
        Some(form)
    }
}

fn tag(text: &str) -> &str {
    &text[..text.find('>').unwrap_or(text.len())]
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = format!(" {name}=\"");
    let tag = tag.replace('\n', " ");
    let from = tag.find(&start)? + start.len();
    let value = &tag[from..from + tag[from..].find('"')?];
    let entities = [("&quot;", "\""), ("&#34;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&lt;", "<"), ("&#60;", "<")];
    let mut text = value.to_owned();
    for (entity, character) in entities.iter().chain(&[("&gt;", ">"), ("&#62;", ">"), ("&#38;", "&"), ("&amp;", "&")]) {
        text = text.replace(entity, character);
    }
    Some(text)
}
