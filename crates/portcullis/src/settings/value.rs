//! Values of settings: text on one side, types on the other.

#[cfg(test)]
mod tests;
mod times;
mod urls;
mod words;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::HeaderName;
use ipnet::IpNet;
use zeroize::Zeroizing;

pub(crate) use times::{Minute, Rate, Seconds, Span};
pub(crate) use urls::{BaseUrl, DatabaseUrl};
pub(crate) use words::{KeepSessions, LimitName, LogFormat, LogLevel};

/// Stands for a secret wherever settings are shown.
const MASK: &str = "********";

/// A type that a setting can have.
pub(crate) trait Value: Sized {
    /// Whether an empty text is a value. Otherwise it counts as not set (CO-482).
    const EMPTY_IS_A_VALUE: bool = false;

    /// Whether it must never be shown.
    const SECRET: bool = false;

    /// What may be written, in words: `a duration such as `30s``.
    fn kind() -> String;

    /// Reads the text; nothing if it is not of this kind.
    fn read(text: &str) -> Option<Self>;

    /// Text that reads as this value; what is secret is masked.
    fn show(&self) -> String;
}

impl<T: Value> Value for Option<T> {
    const EMPTY_IS_A_VALUE: bool = true;
    const SECRET: bool = T::SECRET;

    fn kind() -> String {
        T::kind()
    }

    fn read(text: &str) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::read(text).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}

/// A list is comma separated (PX-002).
impl<T: Value> Value for Vec<T> {
    const EMPTY_IS_A_VALUE: bool = true;

    fn kind() -> String {
        format!("a list, each item {}", T::kind())
    }

    fn read(text: &str) -> Option<Self> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::read).collect()
    }

    fn show(&self) -> String {
        self.iter().map(T::show).collect::<Vec<_>>().join(",")
    }
}

impl Value for bool {
    fn kind() -> String {
        "`true` or `false`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn kind() -> String {
        "a text".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    fn kind() -> String {
        "a path".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Some(text.into())
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for SocketAddr {
    fn kind() -> String {
        "a socket such as `[::]:9000`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for IpNet {
    fn kind() -> String {
        "a network such as `10.0.0.0/8`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// The name of a header field.
#[derive(Clone, Debug)]
pub(crate) struct FieldName(pub(crate) HeaderName);

impl Value for FieldName {
    fn kind() -> String {
        "a header name such as `User-Agent`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        HeaderName::from_bytes(text.as_bytes()).ok().map(Self)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// The name of an attribute, in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(pub(crate) String);

impl Value for Pattern {
    fn kind() -> String {
        "a name such as `*password*`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        // Everything would be secret, and nothing could be found any more.
        (!text.is_empty() && text.chars().any(|c| c != '*')).then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A port number.
impl Value for u16 {
    fn kind() -> String {
        "a port".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|port| *port > 0)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    fn kind() -> String {
        "a number".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A text that is never shown: not in logs, not by `portcullis config`. Wiped when dropped.
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    /// The text itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl Value for Secret {
    const SECRET: bool = true;

    fn kind() -> String {
        "a secret".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Some(Self(Zeroizing::new(text.to_owned())))
    }

    fn show(&self) -> String {
        MASK.to_owned()
    }
}
