//! How a client is answered by way of the browser (OA section 7.3).

/// How the answer reaches the client (OA-145, OA-175).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the query of the redirect URI.
    Query,
    /// In its fragment.
    Fragment,
    /// In a form that the browser posts.
    FormPost,
}

/// An answer to a client, by way of the browser.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where it goes.
    pub redirect_uri: String,
    /// How.
    pub mode: Mode,
    /// What it says.
    pub members: Vec<(&'static str, String)>,
}

impl Answer {
    /// The redirect URI with the members in its query or fragment (OA-175, OA-176).
    pub fn url(&self) -> String {
        let mut encoded = url::form_urlencoded::Serializer::new(String::new());
        encoded.extend_pairs(&self.members);
        let members = encoded.finish();
        let joint = match self.mode {
            Mode::Fragment => '#',
            // `form_post` is rendered by a page; a browser that cannot is still answered.
            Mode::Query | Mode::FormPost if self.redirect_uri.contains('?') => '&',
            Mode::Query | Mode::FormPost => '?',
        };
        format!("{}{joint}{members}", self.redirect_uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-175, OA-176: members join an existing query, and state cannot add members of its own.
    #[test]
    fn oa_176_answers_are_encoded() {
        let answer = |mode, redirect_uri: &str| Answer {
            redirect_uri: redirect_uri.to_owned(),
            mode,
            members: vec![("code", "c".to_owned()), ("state", "a&code=x#".to_owned())],
        };
        assert_eq!(answer(Mode::Query, "https://a/?x=1").url(), "https://a/?x=1&code=c&state=a%26code%3Dx%23");
        assert_eq!(answer(Mode::Query, "app:cb").url(), "app:cb?code=c&state=a%26code%3Dx%23");
        assert_eq!(answer(Mode::Fragment, "https://a/").url(), "https://a/#code=c&state=a%26code%3Dx%23");
    }
}
