//! The places that settings come from: file, environment, flags, each stronger than the one before.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::value::Value;
use super::{declarations, indirect};

/// The process's environment.
pub(crate) type Environment = BTreeMap<String, String>;

/// Looked for in the working directory unless `--config` names another.
const FILE: &str = "portcullis.toml";
const PREFIX: &str = "PORTCULLIS_";
/// What other servers of this API begin their variables with; some settings are known by it, too.
const ALIAS: &str = "AUTHENTIK_";

/// Where a value was set.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A line of the file.
    File(PathBuf),
    /// A variable.
    Variable(String),
    /// A flag of the command line.
    Flag,
    /// Nowhere.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => name.fmt(f),
            Self::Flag => f.write_str("command line"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why there are no settings. One line each; never shows a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file named by `--config` is missing, or a file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}, line {line}: {problem}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What the parser says.
        problem: String,
    },
    /// No setting has this name.
    #[error("{}unknown setting {name}{}", unless_variable(place), suggestion(nearest.as_deref()))]
    Unknown {
        /// Where it was set.
        place: Place,
        /// As it was written.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// The value is not of the setting's kind.
    #[error("{place}: {key} must be {kind}{}", instead(found.as_deref()))]
    Kind {
        /// What was written, unless it may be a secret.
        found: Option<String>,
        /// Where it was set.
        place: Place,
        /// The setting.
        key: &'static str,
        /// What may be written.
        kind: String,
    },
    /// What a `file://` or `env://` value refers to cannot be read.
    #[error("{place}: {key} cannot be read: {problem}")]
    Reference {
        /// Where it was set.
        place: Place,
        /// The setting.
        key: &'static str,
        /// Why.
        problem: String,
    },
    /// A secret on the command line, where every user of the machine can read it.
    #[error("{0} is a secret: set it by file or environment, or as file://PATH or env://NAME")]
    SecretFlag(&'static str),
}

/// A variable's name says by itself where it was set.
fn unless_variable(place: &Place) -> String {
    if matches!(place, Place::Variable(_)) { String::new() } else { format!("{place}: ") }
}

fn instead(found: Option<&str>) -> String {
    found.map(|found| format!(", not {found:?}")).unwrap_or_default()
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(", did you mean {name}?")).unwrap_or_default()
}

/// What was set, and where. Texts, references resolved.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    values: BTreeMap<&'static str, Written>,
    /// Variables of a foreign prefix that are no settings of ours.
    ignored: Vec<String>,
}

#[derive(Debug)]
struct Written {
    text: String,
    place: Place,
    /// It stood elsewhere, in a file or variable that may hold a secret, meant for this setting or not.
    by_reference: bool,
}

impl Layers {
    /// Gathers what is set in `file` (or `portcullis.toml`, if there is one), environment and flags.
    ///
    /// # Errors
    /// For an unreadable file, an unknown name, a reference that leads nowhere.
    pub(crate) fn gather(
        file: Option<&Path>,
        environment: &Environment,
        flags: &[(String, String)],
    ) -> Result<Self, SettingsError> {
        let mut layers = Self::default();
        for (name, text, place) in from_file(file)? {
            layers.set(&name, &text, place, environment)?;
        }
        layers.with(environment, flags)
    }

    /// Gathers what is set in the environment and by flags; no file is looked for.
    ///
    /// # Errors
    /// As [`Layers::gather`].
    pub(crate) fn without_file(environment: &Environment, flags: &[(String, String)]) -> Result<Self, SettingsError> {
        Self::default().with(environment, flags)
    }

    fn with(self, environment: &Environment, flags: &[(String, String)]) -> Result<Self, SettingsError> {
        let mut layers = self;
        layers.ignored = ignored(environment);
        for (name, text, place) in from_environment(environment) {
            layers.set(&name, &text, place, environment)?;
        }
        for (name, text) in flags {
            let is_reference = text.starts_with("file://") || text.starts_with("env://");
            if let Some(secret) = declarations().find(|declared| declared.key == name && declared.secret)
                && !is_reference
            {
                return Err(SettingsError::SecretFlag(secret.key));
            }
            layers.set(name, text, Place::Flag, environment)?;
        }
        Ok(layers)
    }

    fn set(&mut self, name: &str, text: &str, place: Place, environment: &Environment) -> Result<(), SettingsError> {
        let Some(declared) = declarations().find(|declared| declared.key == name) else {
            return Err(unknown(name, place));
        };
        let key = declared.key;
        let resolved = indirect::resolve(text, environment).map_err(|problem| SettingsError::Reference {
            place: place.clone(),
            key,
            problem,
        })?;
        let by_reference = resolved != text;
        self.values.insert(key, Written { text: resolved, place, by_reference });
        Ok(())
    }

    /// Reads one setting.
    ///
    /// # Errors
    /// When the text is not of the setting's kind.
    pub(super) fn read<T: Value>(&self, key: &'static str, default: &'static str) -> Result<T, SettingsError> {
        let written = self.values.get(key).filter(|written| T::EMPTY_IS_A_VALUE || !written.text.is_empty());
        let text = written.map_or(default, |written| &written.text);
        T::read(text).ok_or_else(|| {
            // A URL with somebody's name in it may have their password, too.
            let is_open = !T::SECRET && !text.contains('@') && written.is_none_or(|written| !written.by_reference);
            let place = written.map_or(Place::Default, |written| written.place.clone());
            SettingsError::Kind {
                found: is_open.then(|| text.to_owned()),
                place,
                key,
                kind: T::kind().replace('`', ""),
            }
        })
    }

    /// Tells, by name, what is set for another server of this API and has no effect here.
    pub(crate) fn warn_about_ignored(&self) {
        if !self.ignored.is_empty() {
            tracing::warn!("no settings of Portcullis, and ignored: {}", self.ignored.join(", "));
        }
    }

    /// Whether nobody has set it.
    pub(crate) fn is_default(&self, key: &str) -> bool {
        matches!(self.place(key), Place::Default)
    }

    /// Where a setting was set.
    pub(crate) fn place(&self, key: &str) -> &Place {
        self.values.get(key).map_or(&Place::Default, |written| &written.place)
    }
}

fn unknown(name: &str, place: Place) -> SettingsError {
    // The prefix that all variables share says nothing about likeness.
    let prefix = if matches!(place, Place::Variable(_)) { PREFIX } else { "" };
    let written = name.strip_prefix(prefix).unwrap_or(name);
    let nearest = declarations()
        .map(|declared| if prefix.is_empty() { declared.key.to_owned() } else { declared.variable() })
        .map(|candidate| (strsim::jaro_winkler(written, &candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| format!("{prefix}{candidate}"));
    SettingsError::Unknown { place, name: name.to_owned(), nearest }
}

type Setting = (String, String, Place);

fn from_file(named: Option<&Path>) -> Result<Vec<Setting>, SettingsError> {
    let path = named.unwrap_or(Path::new(FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(SettingsError::Unreadable { path: path.to_owned(), source }),
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| SettingsError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1),
        problem: error.message().replace('\n', ", "),
    })?;
    let mut settings = Vec::new();
    flatten("", table, path, &mut settings);
    Ok(settings)
}

fn flatten(prefix: &str, table: toml::Table, path: &Path, settings: &mut Vec<Setting>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(inner) => flatten(&format!("{key}."), inner, path, settings),
            toml::Value::Array(items) => {
                let items: Vec<String> = items.into_iter().map(scalar).collect();
                settings.push((key, items.join(","), Place::File(path.to_owned())));
            }
            value => settings.push((key, scalar(value), Place::File(path.to_owned()))),
        }
    }
}

fn scalar(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Variables in ascending strength: the alias first, so that our own prefix wins (PX-002).
fn from_environment(environment: &Environment) -> impl Iterator<Item = Setting> {
    let aliases = declarations().flat_map(|declared| {
        declared.aliases.iter().filter_map(|prefix| {
            let name = format!("{prefix}{}", declared.variable());
            Some((declared.key.to_owned(), environment.get(&name)?.clone(), Place::Variable(name)))
        })
    });
    let own = environment.iter().filter(|(name, _)| name.starts_with(PREFIX) && !is_elsewhere_read(name)).map(
        |(name, text)| {
            let variable = name.trim_start_matches(PREFIX);
            let key = declarations().find(|declared| declared.variable() == variable).map(|declared| declared.key);
            (key.unwrap_or(name).to_owned(), text.clone(), Place::Variable(name.clone()))
        },
    );
    aliases.chain(own)
}

/// Variables of the alias prefix that no setting has, and that are not for blueprints to read.
fn ignored(environment: &Environment) -> Vec<String> {
    let is_setting =
        |rest: &str| declarations().any(|declared| declared.aliases.contains(&ALIAS) && declared.variable() == rest);
    let is_of_use = |rest: &str| {
        is_setting(rest) || is_service_link(rest) || rest.starts_with("BLUEPRINT_") || rest.starts_with("BOOTSTRAP_")
    };
    let foreign = environment.keys().filter(|name| name.strip_prefix(ALIAS).is_some_and(|rest| !is_of_use(rest)));
    foreign.cloned().collect()
}

/// Variables that are no settings although they begin like one.
fn is_elsewhere_read(name: &str) -> bool {
    is_service_link(name.trim_start_matches(PREFIX))
        || name.starts_with("PORTCULLIS_BLUEPRINT_")
        || name == crate::import::TOKEN
}

/// Variables that Kubernetes gives to every container when a service is called like the prefix, by what follows that.
fn is_service_link(rest: &str) -> bool {
    rest == "PORT" || rest.starts_with("PORT_") || rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT")
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
        Layers::gather(None, &environment(variables), &[])
            .and_then(|layers| Settings::read(&layers))
            .map_err(|error| error.to_string())
    }

    fn load_file(text: &str) -> Result<Settings, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portcullis.toml");
        std::fs::write(&path, text).unwrap();
        Layers::gather(Some(&path), &Environment::new(), &[])
            .and_then(|layers| Settings::read(&layers))
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    /// PX-002: settings come from the environment under both prefixes, and our own prefix wins.
    #[test]
    fn px_002_both_prefixes_are_read_and_our_own_wins() {
        let alias = load(&[("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:1,127.0.0.1:2"), ("AUTHENTIK_TOKEN", "t")]).unwrap();
        assert_eq!(alias.listen.http.len(), 2);
        assert_eq!(alias.general.token.unwrap().expose(), "t");
        let both = load(&[("AUTHENTIK_LOG_LEVEL", "debug"), ("PORTCULLIS_LOG_LEVEL", "error")]).unwrap();
        assert_eq!(both.general.log_level.filter().to_string(), "error");
    }

    /// PX-002, PX-010, PX-174: what a stand-alone outpost can be told, by both prefixes, and its defaults.
    #[test]
    fn px_002_settings_of_outposts() {
        let none = load(&[]).unwrap();
        assert!(none.general.host.is_none() && none.general.token.is_none() && !none.general.insecure);
        assert_eq!((none.general.host_browser.as_deref(), none.proxy.single_app_fallback), (None, None));
        assert_eq!(none.proxy.revalidation_grace.0.as_secs(), 300);
        assert_eq!((none.proxy.core_timeout.0.as_secs(), none.proxy.core_connect_timeout.0.as_secs()), (10, 5));
        assert_eq!(
            (none.outpost.refresh_spread.0.as_secs(), none.outpost.sessions),
            (9, super::super::KeepSessions::File)
        );
        for prefix in ["PORTCULLIS_", "AUTHENTIK_"] {
            let name = |name: &str| format!("{prefix}{name}");
            let (host, browser, insecure) = (name("HOST"), name("HOST_BROWSER"), name("INSECURE"));
            let told = load(&[(&host, "https://id.example/auth"), (&browser, "no URL"), (&insecure, "true")]).unwrap();
            assert_eq!(told.general.host.unwrap().url().as_str(), "https://id.example/auth/");
            assert!(told.general.insecure && told.general.host_browser.as_deref() == Some("no URL"));
        }
    }

    /// PX-002: without any setting, sockets and time limits have their documented defaults, and only loopback
    /// is trusted.
    #[test]
    fn px_002_defaults() {
        let settings = load(&[]).unwrap();
        assert_eq!(settings.listen.http, ["[::]:9000".parse().unwrap()]);
        assert_eq!(settings.listen.https, ["[::]:9443".parse().unwrap()]);
        assert_eq!(settings.listen.metrics, ["127.0.0.1:9300".parse().unwrap()]);
        let trusted: Vec<_> = settings.listen.trusted_proxy_cidrs.iter().map(ToString::to_string).collect();
        assert_eq!(trusted, ["127.0.0.0/8", "::1/128"]);
        assert_eq!(settings.web.timeout_http_read_header.0.as_secs(), 5);
        assert_eq!(settings.general.base_url.as_str(), "http://localhost:9000");
    }

    /// CO-008: an unknown name is an error that suggests the nearest one, in the file and in the environment.
    #[test]
    fn co_008_unknown_names_are_refused_with_a_suggestion() {
        assert_eq!(
            load(&[("PORTCULLIS_LISTN__HTTP", "")]).unwrap_err(),
            "unknown setting PORTCULLIS_LISTN__HTTP, did you mean PORTCULLIS_LISTEN__HTTP?"
        );
        assert_eq!(
            load_file("[listen]\nhtp = '127.0.0.1:1'").unwrap_err(),
            "FILE: unknown setting listen.htp, did you mean listen.http?"
        );
        assert_eq!(load_file("zzz = 1").unwrap_err(), "FILE: unknown setting zzz");
        assert_eq!(load(&[("PORTCULLIS_NONSENSE", "")]).unwrap_err(), "unknown setting PORTCULLIS_NONSENSE");
    }

    /// CO-008: unknown variables of the alias prefix, and those of a Kubernetes service of our name, are ignored.
    #[test]
    fn co_008_foreign_variables_are_ignored() {
        let foreign = [
            ("AUTHENTIK_POSTGRESQL__HOST", "db"),
            ("PORTCULLIS_PORT", "tcp://10.0.0.1:9000"),
            ("PORTCULLIS_SERVICE_HOST", "10.0.0.1"),
            ("PORTCULLIS_PORT_9000_TCP_ADDR", "10.0.0.1"),
        ];
        assert!(load(&foreign).is_ok());
    }

    /// CO-008: variables of the alias prefix that are ignored are known by name, to be told at the start.
    #[test]
    fn co_008_ignored_variables_are_known_by_name() {
        let set = [
            ("AUTHENTIK_POSTGRESQL__HOST", "db"),
            ("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:1"),
            ("AUTHENTIK_SERVICE_HOST", "10.0.0.1"),
            ("AUTHENTIK_BLUEPRINT_KEY", "for a blueprint"),
            ("AUTHENTIK_SECRET_KEY", "hunter2"),
        ];
        let layers = Layers::gather(None, &environment(&set), &[]).unwrap();
        assert_eq!(layers.ignored, ["AUTHENTIK_POSTGRESQL__HOST", "AUTHENTIK_SECRET_KEY"]);
    }

    /// CO-008: a value of the wrong kind is one line that names setting, place and kind, and the value unless it may be
    /// a secret.
    #[test]
    fn co_008_wrong_values_are_named_by_place_and_kind() {
        assert_eq!(
            load(&[("PORTCULLIS_WEB__DRAIN_TIMEOUT", "soon")]).unwrap_err(),
            "PORTCULLIS_WEB__DRAIN_TIMEOUT: web.drain_timeout must be a duration such as 30s, 5m, 12h, 1d or 250ms, not \"soon\""
        );
        assert_eq!(
            load_file("log.access = 'maybe'").unwrap_err(),
            "FILE: log.access must be true or false, not \"maybe\""
        );
        let url = load(&[("PORTCULLIS_DATABASE__URL", "mysql://u:hunter2@db")]).unwrap_err();
        let file = load(&[("PORTCULLIS_LISTEN__HTTP", "env://KEY"), ("KEY", "hunter2")]).unwrap_err();
        assert!(!url.contains("hunter2") && !file.contains("hunter2"), "{url}, {file}");
        assert!(load_file("a = \n").unwrap_err().starts_with("FILE, line 1: "));
    }

    /// CO-008: the file takes TOML's own types; the environment is stronger, and flags are strongest.
    #[test]
    fn co_008_file_then_environment_then_flags() {
        let settings = load_file("log.access = false\n[listen]\nhttp = ['127.0.0.1:1', '[::1]:1']\n").unwrap();
        assert!(!settings.log.access);
        assert_eq!(settings.listen.http.len(), 2);

        let flags = [("general.x".to_owned(), String::new())];
        assert!(Layers::gather(None, &Environment::new(), &flags).is_err());
        let variables = environment(&[("PORTCULLIS_DATA_DIR", "/from/environment")]);
        let flags = [("data_dir".to_owned(), "/from/flag".to_owned())];
        let layers = Layers::gather(None, &variables, &flags).unwrap();
        assert_eq!(Settings::read(&layers).unwrap().general.data_dir, Path::new("/from/flag"));
    }

    /// CO-482: empty bootstrap values count as unset, and a secret is not accepted on the command line.
    #[test]
    fn co_482_empty_is_unset_and_secrets_are_no_flags() {
        assert!(load(&[("PORTCULLIS_BOOTSTRAP_PASSWORD", "")]).unwrap().general.bootstrap_password.is_none());
        let flags = [("secret_key".to_owned(), "hunter2".to_owned())];
        let refused = Layers::gather(None, &Environment::new(), &flags).unwrap_err().to_string();
        assert!(refused.contains("secret_key is a secret") && !refused.contains("hunter2"));
    }

    /// PX-004: a reference that leads nowhere is one line that names setting, place and reason.
    #[test]
    fn px_004_a_reference_that_leads_nowhere_is_an_error() {
        let refused = load(&[("PORTCULLIS_BOOTSTRAP_TOKEN", "file:///nowhere/at/all")]).unwrap_err();
        assert!(
            refused.starts_with("PORTCULLIS_BOOTSTRAP_TOKEN: bootstrap_token cannot be read: /nowhere/at/all: "),
            "{refused}"
        );
        let token = load(&[("PORTCULLIS_BOOTSTRAP_TOKEN", "env://KEY"), ("KEY", "k")]).unwrap();
        assert_eq!(token.general.bootstrap_token.unwrap().expose(), "k");
    }
}
