//! What a mail says: plain text, and the same as simple HTML that loads nothing from anywhere.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use portcullis_core::clock::Timestamp;
use serde_json::Value;

/// An e-mail address, perhaps with a name: `Portcullis <id@example.com>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(pub(super) Mailbox);

/// A text is no address that mail can be sent to.
#[derive(Clone, Debug, thiserror::Error)]
#[error("this is no e-mail address")]
pub struct BadAddress;

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        text.parse().map(Self).map_err(|_| BadAddress)
    }

    /// The address of somebody with a name.
    pub(crate) fn of(name: &str, address: &str) -> Result<Self, BadAddress> {
        let name = one_line(name);
        let address = address.parse().map_err(|_| BadAddress)?;
        Ok(Self(Mailbox::new((!name.is_empty()).then_some(name), address)))
    }
}

/// The bare address.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.email.fmt(f)
    }
}

/// A mail to somebody.
pub(crate) struct Letter {
    /// Who gets it.
    pub(crate) to: Address,
    /// What events call it.
    pub(crate) about: &'static str,
    /// The user that it is about, as events name them.
    pub(crate) user: Value,
    /// Its subject.
    pub(crate) subject: String,
    /// What it says before the link.
    pub(crate) before: Vec<String>,
    /// What the link is called, and where it leads.
    pub(crate) link: Option<(&'static str, String)>,
    /// What it says after the link.
    pub(crate) after: Vec<String>,
}

impl Letter {
    /// The message as it is sent. `id` makes its `Message-ID`.
    pub(super) fn written(&self, from: &Address, now: Timestamp, id: &str) -> Result<Vec<u8>, String> {
        let seconds = u64::try_from(now.seconds()).unwrap_or_default();
        let message_id = format!("<{id}@{}>", from.0.email.domain());
        let mut message = Message::builder()
            .from(from.0.clone())
            .to(self.to.0.clone())
            .subject(one_line(&self.subject))
            .date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(message_id))
            .multipart(MultiPart::alternative_plain_html(self.text(), self.html()))
            .map_err(|error| error.to_string())?;
        // Nobody's holiday notice answers it.
        let name = HeaderName::new_from_ascii_str("Auto-Submitted");
        message.headers_mut().insert_raw(HeaderValue::new(name, "auto-generated".to_owned()));
        Ok(message.formatted())
    }

    fn text(&self) -> String {
        let link = self.link.iter().map(|(_, url)| url.as_str());
        let parts: Vec<_> = self.before.iter().map(String::as_str).chain(link).collect();
        let parts: Vec<_> = parts.into_iter().chain(self.after.iter().map(String::as_str)).collect();
        parts.join("\n\n") + "\n"
    }

    fn html(&self) -> String {
        let mut html = String::from("<!doctype html>\n<html>\n<body>\n");
        let paragraph = |text: &String| format!("<p>{}</p>\n", escaped(text));
        self.before.iter().for_each(|text| html.push_str(&paragraph(text)));
        if let Some((name, url)) = &self.link {
            let _ = writeln!(html, "<p><a href=\"{}\">{}</a></p>", escaped(url), escaped(name));
        }
        self.after.iter().for_each(|text| html.push_str(&paragraph(text)));
        html.push_str("</body>\n</html>\n");
        html
    }
}

/// A text without what would begin another line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-324: a mail says the same in plain text and in HTML, names and titles cannot add lines or markup, and nothing is
    /// loaded from anywhere.
    #[test]
    fn co_324_a_mail_is_what_it_says() {
        let letter = Letter {
            to: Address::of("Ada\r\nBcc: eve@evil.example", "ada@example.org").expect("an address"),
            about: "recovery",
            user: Value::Null,
            subject: "Hello\r\nX-Evil: yes".to_owned(),
            before: vec!["<img src=\"https://evil.example/\"> & more".to_owned()],
            link: Some(("Go on", "https://id.example/?a=1&b=2".to_owned())),
            after: vec!["Bye".to_owned()],
        };
        let from = Address::parse("Portcullis <id@example.org>").expect("an address");
        let message = letter.written(&from, Timestamp::from_seconds(1_790_000_000), "x1").expect("is written");
        let message = String::from_utf8(message).expect("text");
        let (head, body) = message.split_once("\r\n\r\n").expect("a head");
        for line in
            ["Message-ID: <x1@example.org>", "Auto-Submitted: auto-generated", "From: Portcullis <id@example.org>"]
        {
            assert!(head.lines().any(|found| found == line), "{line}: {head}");
        }
        assert!(head.lines().all(|line| !line.starts_with("Bcc") && !line.starts_with("X-Evil")), "{head}");
        assert!(body.contains("https://id.example/?a=1&b=2") && body.contains("<img"), "plain text: {body}");
        let html = letter.html();
        assert!(
            html.contains("<a href=\"https://id.example/?a=1&amp;b=2\">Go on</a>") && !html.contains("<img"),
            "{html}"
        );
    }

    /// CO-324: what is no address gets no mail.
    #[test]
    fn co_324_addresses_are_read() {
        for bad in ["", "ada", "ada@", "a b@example.org", "ada@example.org\r\nBcc: eve@evil.example"] {
            assert!(Address::of("", bad).is_err() && Address::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Address::parse("Id <id@example.org>").expect("an address").to_string(), "id@example.org");
    }
}
