//! Values of settings: text on one side, types on the other.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use portcullis_proxy::settings::{EmptyBasicPassword, ForwardJwt};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use url::Url;
use zeroize::Zeroizing;

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

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Value for Span {
    fn kind() -> String {
        "a duration such as `30s`, `5m`, `12h`, `1d` or `250ms`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        let total = number.parse::<u64>().ok()?.checked_mul(*milliseconds)?;
        // A century: longer is a slip of the finger, and some timers cannot count that far.
        (total <= 36_525 * 86_400_000).then(|| Self(Duration::from_millis(total)))
    }

    fn show(&self) -> String {
        let milliseconds = self.0.as_millis();
        let (unit, factor) = UNITS
            .iter()
            .rev()
            .find(|(_, factor)| milliseconds.is_multiple_of(u128::from(*factor)))
            .unwrap_or(&UNITS[0]);
        let (unit, factor) = if milliseconds == 0 { (&"s", &1) } else { (unit, factor) };
        format!("{}{unit}", milliseconds / u128::from(*factor))
    }
}

/// A length of time of at most a minute (PX-107, PX-109).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Minute(pub(crate) Duration);

impl Value for Minute {
    fn kind() -> String {
        "a duration up to `60s`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Span::read(text).filter(|span| span.0.as_secs() <= 60).map(|span| Self(span.0))
    }

    fn show(&self) -> String {
        Span(self.0).show()
    }
}

/// At most so many in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// How many.
    pub(crate) count: u32,
    /// The window.
    pub(crate) window: Span,
}

impl Value for Rate {
    fn kind() -> String {
        "a number and a duration such as `20/60s`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        let (count, window) = text.split_once('/')?;
        let rate = Self { count: count.trim().parse().ok()?, window: Span::read(window.trim())? };
        (rate.count > 0 && !rate.window.0.is_zero()).then_some(rate)
    }

    fn show(&self) -> String {
        format!("{}/{}", self.count, self.window.show())
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

/// A length of time, which may be written as a bare number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl Value for Seconds {
    fn kind() -> String {
        "a number of seconds, or a duration such as `30s`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        let span = Span::read(text).or_else(|| Span::read(&format!("{text}s")))?;
        (!span.0.is_zero()).then_some(Self(span.0))
    }

    fn show(&self) -> String {
        Span(self.0).show()
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

/// Gives a setting one of a few words.
macro_rules! words {
    ($Type:ty { $($word:literal => $variant:ident),+ $(,)? }) => {
        impl Value for $Type {
            fn kind() -> String {
                [$(concat!("`", $word, "`")),+].join(" or ")
            }

            fn read(text: &str) -> Option<Self> {
                match text {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn show(&self) -> String {
                match self {
                    $(Self::$variant => $word,)+
                }
                .to_owned()
            }
        }
    };
}

/// A limit that can be turned off (CO-441).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitName {
    PerNameAndAddress,
    PerAddress,
    Identifiers,
    PerName,
    Account,
    SecondFactor,
    FlowStarts,
    Api,
}

impl LimitName {
    /// As it is written.
    pub(crate) fn name(self) -> String {
        self.show()
    }
}

words!(LimitName {
    "per_name_and_address" => PerNameAndAddress,
    "per_address" => PerAddress,
    "identifiers" => Identifiers,
    "per_name" => PerName,
    "account" => Account,
    "second_factor" => SecondFactor,
    "flow_starts" => FlowStarts,
    "api" => Api,
});
words!(KeepSessions { "file" => File, "memory" => Memory });
words!(LogFormat { "text" => Text, "json" => Json });
words!(EmptyBasicPassword { "send" => Send, "omit" => Omit });
words!(ForwardJwt { "assertion" => Assertion, "full" => Full, "off" => Off });

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

/// An absolute `http` or `https` URL, whether or not it was written with a slash at its end (PX-005).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseUrl(Url);

impl BaseUrl {
    /// The URL without a slash at its end.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The URL, with a slash at its end.
    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    /// Whether it has a path.
    pub(crate) fn has_path(&self) -> bool {
        self.0.path() != "/"
    }
}

impl Value for BaseUrl {
    fn kind() -> String {
        "a URL such as `https://id.example.com`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        let mut url = Url::parse(text).ok()?;
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain || url.fragment().is_some() {
            return None;
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Some(Self(url))
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// PostgreSQL; the text may hold a password.
    Postgres(Arc<Secret>),
}

impl Value for DatabaseUrl {
    fn kind() -> String {
        "a URL such as `sqlite:/srv/portcullis.db` or `postgres://user:password@host/database`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Secret::read(text).filter(|_| is_understood(text)).map(|url| Self::Postgres(Arc::new(url)));
        }
        // `sqlite:PATH`, and `sqlite://PATH` as other programs write it. No options: ours are right.
        let rest = text.strip_prefix("sqlite:")?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let is_file = !path.is_empty() && !path.contains(['?', ':']);
        is_file.then(|| Self::Sqlite(path.into()))
    }

    fn show(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) => without_password(url.expose()),
        }
    }
}

/// What a URL of PostgreSQL may say besides; what is mistyped must not be ignored.
const PARAMETERS: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

fn is_understood(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.query_pairs().all(|(name, _)| PARAMETERS.contains(&name.as_ref())))
}

fn without_password(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return MASK.to_owned() };
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    if url.query().is_some() {
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let shown = pairs.iter().map(|(name, value)| (name, if name == "password" { MASK } else { value }));
        url.query_pairs_mut().clear().extend_pairs(shown);
    }
    url.into()
}

/// Where a stand-alone outpost keeps its sessions (PX-174).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepSessions {
    /// In a file that they survive a restart in.
    File,
    /// Nowhere else.
    Memory,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which messages are logged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogLevel(Targets);

impl LogLevel {
    /// Warnings and errors only.
    pub(crate) fn quiet() -> Self {
        Self(Targets::new().with_default(LevelFilter::WARN))
    }

    /// The filter itself.
    pub(crate) fn filter(&self) -> Targets {
        self.0.clone()
    }
}

impl Value for LogLevel {
    fn kind() -> String {
        "`trace`, `debug`, `info`, `warning` or `error`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        // The wire dialect says `warning`, the filter `warn`.
        let text = text.replace("warning", "warn");
        // A word alone is a level. The filter takes any other one for a part of the program, and hides the rest.
        let is_known = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
        text.split(',').all(is_known).then(|| text.parse().ok().map(Self)).flatten()
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// PX-283: durations are a number and a unit, and are written back in the largest unit that fits.
    #[test]
    fn px_283_durations_are_a_number_and_a_unit() {
        for (text, milliseconds, shown) in [
            ("30s", 30_000, "30s"),
            ("90s", 90_000, "90s"),
            ("120s", 120_000, "2m"),
            ("250ms", 250, "250ms"),
            ("0s", 0, "0s"),
        ] {
            let span = Span::read(text).unwrap();
            assert_eq!(span.0.as_millis(), milliseconds, "{text}");
            assert_eq!(span.show(), shown);
        }
        for text in ["", "30", "s", "1.5s", "-1s", "3 weeks", "99999999999999999999s", "90000d"] {
            assert_eq!(Span::read(text), None, "{text}");
        }
    }

    /// PX-010: cache lifetimes are at most a minute, limits are a number in a window, words are words.
    #[test]
    fn px_010_kinds_of_the_data_planes_settings() {
        assert_eq!(Minute::read("60s").map(|minute| minute.0.as_secs()), Some(60));
        assert_eq!(Minute::read("61s"), None);
        assert_eq!(Rate::read("20/60s").unwrap().show(), "20/1m");
        for text in ["20", "0/60s", "20/0s", "-1/60s", "20/60"] {
            assert_eq!(Rate::read(text), None, "{text}");
        }
        assert_eq!(ForwardJwt::read("off"), Some(ForwardJwt::Off));
        assert_eq!(EmptyBasicPassword::read("Send"), None);
    }

    /// PX-005: a base URL means the same with and without a slash at its end, and carries no secrets.
    #[test]
    fn px_005_a_base_url_is_the_same_with_and_without_a_slash() {
        assert_eq!(BaseUrl::read("https://id.example/auth"), BaseUrl::read("https://id.example/auth/"));
        assert_eq!(BaseUrl::read("http://localhost:9000/").unwrap().as_str(), "http://localhost:9000");
        for text in ["id.example", "ftp://id.example", "https://u:p@id.example", "https://id.example?x", "https://"] {
            assert_eq!(BaseUrl::read(text), None, "{text}");
        }
    }

    /// CO-008: a time for mail is a duration or a number of seconds, and a port is one.
    #[test]
    fn co_008_numbers_of_mail_are_read() {
        assert_eq!(Seconds::read("30"), Seconds::read("30s"));
        assert_eq!(Seconds::read("2m").unwrap().show(), "2m");
        assert!(Seconds::read("0").is_none() && Seconds::read("soon").is_none() && Seconds::read("").is_none());
        assert_eq!(u16::read("587"), Some(587));
        assert!(<u16 as Value>::read("0").is_none() && <u16 as Value>::read("70000").is_none());
    }

    /// CO-008: sockets, networks and switches are read as types; what is none of the kind is no value.
    #[test]
    fn co_008_values_are_read_as_types() {
        assert_eq!(Vec::<SocketAddr>::read("[::]:9000, 127.0.0.1:80").unwrap().len(), 2);
        assert_eq!(Vec::<SocketAddr>::read("").unwrap().len(), 0);
        assert!(Vec::<SocketAddr>::read("localhost:9000").is_none());
        assert_eq!(Vec::<IpNet>::read("10.0.0.0/8,192.0.2.7").unwrap().show(), "10.0.0.0/8,192.0.2.7/32");
        assert_eq!(bool::read("Yes"), Some(true));
        assert_eq!(bool::read("maybe"), None);
        assert_eq!(LogLevel::read("warning").unwrap().show(), "warn");
        assert!(LogLevel::read("portcullis=loud").is_none());
        assert!(LogLevel::read("inof").is_none() && LogLevel::read("portcullis").is_none());
        assert!(LogLevel::read("info,portcullis=debug").is_some());
    }

    /// CO-008: a database URL names a SQLite file, or PostgreSQL; anything else is refused.
    #[test]
    fn co_008_database_urls() {
        for text in ["sqlite:/srv/p.db", "sqlite:///srv/p.db"] {
            assert!(
                matches!(DatabaseUrl::read(text), Some(DatabaseUrl::Sqlite(path)) if path == Path::new("/srv/p.db"))
            );
        }
        assert_eq!(DatabaseUrl::read("postgres://u:p@db/x").unwrap().show(), "postgres://u:********@db/x");
        let url = "postgres://db/x?sslmode=require&password=hunter2";
        let shown = DatabaseUrl::read(url).unwrap().show();
        assert_eq!(shown, "postgres://db/x?sslmode=require&password=********");
        assert!(!format!("{:?}", DatabaseUrl::read(url)).contains("hunter2"));
        assert!(DatabaseUrl::read("postgres://db/x?slmode=require").is_none(), "a mistake must not be ignored");
        for text in ["mysql://db/x", "/srv/p.db", "sqlite:", "sqlite::memory:", "sqlite:x.db?mode=ro"] {
            assert!(DatabaseUrl::read(text).is_none(), "{text}");
        }
    }

    /// CO-482: a secret never shows itself when printed for debugging.
    #[test]
    fn co_482_secrets_do_not_show_themselves() {
        let secret = Secret::read("hunter2");
        assert_eq!(format!("{secret:?}"), "Some([REDACTED])");
        assert_eq!(secret.show(), "********");
    }
}
