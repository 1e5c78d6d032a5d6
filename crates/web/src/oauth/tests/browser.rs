//! A browser with a cookie jar, as far as these tests need one.

use super::*;

/// What a browser remembers.
#[derive(Default)]
pub(super) struct Browser {
    pub(super) cookie: Option<String>,
}

impl Browser {
    /// Opens a page.
    pub(super) async fn get(&mut self, site: &Site, path: &str) -> Reply {
        let mut headers = vec![("sec-fetch-site", "none")];
        if let Some(cookie) = &self.cookie {
            headers.push(("cookie", cookie));
        }
        let reply = get(site, path, &headers).await;
        self.remember(&reply);
        reply
    }

    /// Sends a form of a page of ours.
    pub(super) async fn post(&mut self, site: &Site, path: &str, parameters: &[(&str, &str)]) -> Reply {
        let mut headers = vec![("origin", "http://id.example"), ("sec-fetch-site", "same-origin")];
        if let Some(cookie) = &self.cookie {
            headers.push(("cookie", cookie));
        }
        let reply = post(site, path, parameters, &headers).await;
        self.remember(&reply);
        reply
    }

    /// Signs in and follows to `next`.
    pub(super) async fn sign_in(&mut self, site: &Site, username: &str, password: &str) -> Reply {
        let all = [("uid_field", username), ("password", password)];
        self.post(site, "/if/flow/default-authentication-flow/", &all).await
    }

    fn remember(&mut self, reply: &Reply) {
        for value in reply.headers.get_all("set-cookie") {
            let cookie = value.to_str().expect("text").split(';').next().expect("a cookie").to_owned();
            self.cookie = (!cookie.ends_with('=')).then_some(cookie);
        }
    }
}

/// What the forms of a page send besides what people enter. As browsers do, each line break becomes a carriage return and a line
/// feed.
pub(super) fn hidden(page: &str) -> Vec<(String, String)> {
    let read = |text: &str| {
        let plain = text.replace("&#60;", "<").replace("&#62;", ">").replace("&#34;", "\"").replace("&#39;", "'");
        plain.replace("&#38;", "&").replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
    };
    let fields = page.split("<input type=\"hidden\" name=\"").skip(1).map(|rest| {
        let (name, rest) = rest.split_once("\" value=\"").expect("a value");
        (read(name), read(rest.split_once("\">").expect("its end").0))
    });
    fields.collect()
}

/// What a page of ours posts that keeps a request of these parameters.
pub(super) fn kept(parameters: &[(&str, &str)]) -> Vec<(String, String)> {
    vec![("portcullis_request".to_owned(), encoded(parameters))]
}

/// Pairs as they are posted.
pub(super) fn lent(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Gives a user a password.
pub(super) async fn set_password(site: &Site, user: i64, password: &str) {
    let path = format!("/core/users/{user}/set_password/");
    let set = site.admin(Method::POST, &path, json!({"password": password})).await;
    assert!(set.status.is_success(), "{:?}", set.json);
}
