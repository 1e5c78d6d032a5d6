//! Where others are.

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::{MASK, Secret, Value};

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
