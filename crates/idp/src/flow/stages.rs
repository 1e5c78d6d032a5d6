//! What can be set about the steps of the default flows (CO-306), by the names that blueprints know.

use portcullis_core::duration;
use portcullis_store::stage::Stage;
use portcullis_store::{Conn, stage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::change::Change;
use crate::context::Context;
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::flows;
use crate::places::Places;
use crate::sessions::{TO_NETWORK, TO_PLACE};

/// Name of the identification stage.
pub const IDENTIFICATION: &str = "default-authentication-identification";
/// Name of the password stage.
pub const PASSWORD: &str = "default-authentication-password";
/// Name of the stage that asks for a second factor.
pub const VALIDATION: &str = "default-authentication-mfa-validation";
/// Name of the stage that starts the session.
pub const LOGIN: &str = "default-authentication-login";
/// Name of the consent stage.
pub const CONSENT: &str = "default-provider-authorization-consent";
/// Name of the stage that enrols an authenticator app.
pub const TOTP_SETUP: &str = "default-authenticator-totp-setup";
/// Name of the stage that makes recovery codes.
pub const STATIC_SETUP: &str = "default-authenticator-static-setup";

/// Name of the stage that enrols a security key or passkey.
pub const WEBAUTHN_SETUP: &str = "default-authenticator-webauthn-setup";

/// Name, kind, and the flows it is part of, in the order of the steps.
const STAGES: [(&str, &str, &[&str]); 15] = [
    (IDENTIFICATION, "authentik_stages_identification.identificationstage", &[flows::AUTHENTICATION]),
    (PASSWORD, "authentik_stages_password.passwordstage", &[flows::AUTHENTICATION]),
    ("default-recovery-identification", "authentik_stages_identification.identificationstage", &[flows::RECOVERY]),
    ("default-recovery-email", "authentik_stages_email.emailstage", &[flows::RECOVERY]),
    (
        VALIDATION,
        "authentik_stages_authenticator_validate.authenticatorvalidatestage",
        &[flows::AUTHENTICATION, flows::RECOVERY],
    ),
    (
        "default-password-change-prompt",
        "authentik_stages_prompt.promptstage",
        &[flows::RECOVERY, flows::PASSWORD_CHANGE],
    ),
    (
        "default-password-change-write",
        "authentik_stages_user_write.userwritestage",
        &[flows::RECOVERY, flows::PASSWORD_CHANGE],
    ),
    (LOGIN, "authentik_stages_user_login.userloginstage", &[flows::AUTHENTICATION, flows::RECOVERY]),
    ("default-invalidation-logout", "authentik_stages_user_logout.userlogoutstage", &[flows::INVALIDATION]),
    (CONSENT, "authentik_stages_consent.consentstage", &[flows::EXPLICIT_CONSENT]),
    ("default-user-settings", "authentik_stages_prompt.promptstage", &[flows::USER_SETTINGS]),
    ("default-user-settings-write", "authentik_stages_user_write.userwritestage", &[flows::USER_SETTINGS]),
    (TOTP_SETUP, "authentik_stages_authenticator_totp.authenticatortotpstage", &[flows::TOTP_SETUP]),
    (STATIC_SETUP, "authentik_stages_authenticator_static.authenticatorstaticstage", &[flows::STATIC_SETUP]),
    (WEBAUTHN_SETUP, "authentik_stages_authenticator_webauthn.authenticatorwebauthnstage", &[flows::WEBAUTHN_SETUP]),
];

/// How visitors say who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the tunable of the same name (CO-306)")]
pub struct Identification {
    pub user_fields: Vec<String>,
    pub password_stage: Option<String>,
    pub case_insensitive_matching: bool,
    pub show_matched_user: bool,
    pub pretend_user_exists: bool,
    pub enable_remember_me: bool,
    pub recovery_flow: Option<String>,
    pub sources: Vec<Uuid>,
}

impl Default for Identification {
    fn default() -> Self {
        Self {
            user_fields: vec!["email".to_owned(), "username".to_owned()],
            password_stage: None,
            case_insensitive_matching: true,
            show_matched_user: false,
            pretend_user_exists: true,
            enable_remember_me: false,
            recovery_flow: None,
            sources: Vec::new(),
        }
    }
}

/// How the password is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the tunable of the same name (CO-306)")]
pub struct Password {
    pub backends: Vec<String>,
    pub failed_attempts_before_cancel: u32,
    pub allow_show_password: bool,
}

/// Passwords of users.
const INBUILT: &str = "authentik.core.auth.InbuiltBackend";

impl Default for Password {
    fn default() -> Self {
        Self { backends: vec![INBUILT.to_owned()], failed_attempts_before_cancel: 5, allow_show_password: false }
    }
}

/// How a second factor is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the tunable of the same name (CO-306)")]
pub struct Validation {
    pub not_configured_action: String,
    /// Names or keys of the stages that enrol a second factor.
    pub configuration_stages: Vec<String>,
    pub device_classes: Vec<String>,
    pub last_auth_threshold: String,
    pub webauthn_user_verification: String,
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            not_configured_action: "skip".to_owned(),
            configuration_stages: Vec::new(),
            device_classes: ["static", "totp", "webauthn"].map(str::to_owned).to_vec(),
            last_auth_threshold: "seconds=0".to_owned(),
            webauthn_user_verification: "preferred".to_owned(),
        }
    }
}

/// How a session starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the tunable of the same name (CO-306)")]
pub struct Login {
    pub session_duration: String,
    pub remember_me_offset: String,
    pub remember_device: String,
    pub terminate_other_sessions: bool,
    pub network_binding: String,
    pub geoip_binding: String,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            session_duration: "seconds=0".to_owned(),
            remember_me_offset: "seconds=0".to_owned(),
            remember_device: "days=30".to_owned(),
            terminate_other_sessions: false,
            network_binding: "no_binding".to_owned(),
            geoip_binding: "no_binding".to_owned(),
        }
    }
}

impl Login {
    /// What sessions are bound to though nothing says it of any address: then each ends at its second address (CO-386).
    pub fn warnings(&self, places: &Places) -> Vec<String> {
        let bound = [
            ("network_binding", &self.network_binding, &places.networks, "asn"),
            ("geoip_binding", &self.geoip_binding, &places.cities, "geoip"),
        ];
        let unknown =
            bound.into_iter().filter(|(_, level, database, _)| level.as_str() != "no_binding" && !database.is_wanted());
        let told = |(field, level, _, setting): (&str, &String, _, &str)| {
            format!(
                "{field} is {level}, but there is no database of addresses (events.context_processors.{setting}): \
                 whoever comes from another address is signed out"
            )
        };
        unknown.map(told).collect()
    }
}

/// Tells the log what is likely a mistake in how sessions start.
///
/// # Errors
/// When the store fails.
pub async fn warn(ctx: &Context) -> Result<Vec<String>, Error> {
    let stages = Stages::load(&mut ctx.db.read().await?).await?;
    let warnings = stages.login.warnings(&ctx.places);
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(warnings)
}

/// How consent is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the tunable of the same name (CO-306)")]
pub struct Consent {
    pub mode: String,
    pub consent_expire_in: String,
}

impl Default for Consent {
    fn default() -> Self {
        Self { mode: "expiring".to_owned(), consent_expire_in: "weeks=4".to_owned() }
    }
}

/// Everything that is set, with the stages' keys.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each is the stage of the same name")]
pub struct Stages {
    pub identification: Identification,
    pub password: Password,
    pub validation: Validation,
    pub login: Login,
    pub consent: Consent,
    all: Vec<Stage>,
}

impl Stages {
    /// Reads what is set.
    ///
    /// # Errors
    /// When the store fails, or something was stored that cannot be read.
    pub async fn load(conn: &mut Conn) -> Result<Self, Error> {
        let all = stage::all(conn).await?;
        Ok(Self {
            identification: read(&all, IDENTIFICATION)?,
            password: read(&all, PASSWORD)?,
            validation: read(&all, VALIDATION)?,
            login: read(&all, LOGIN)?,
            consent: read(&all, CONSENT)?,
            all,
        })
    }

    /// The stages of a flow, in the order of its steps.
    pub fn of_flow(&self, slug: &str) -> Vec<Uuid> {
        let named = STAGES.iter().filter(|(_, _, flows)| flows.contains(&slug));
        named.filter_map(|(name, ..)| self.key(name)).collect()
    }

    /// All stages, by name.
    pub fn all(&self) -> &[Stage] {
        &self.all
    }

    /// The key of a stage.
    pub fn key(&self, name: &str) -> Option<Uuid> {
        self.all.iter().find(|stage| stage.name == name).map(|stage| stage.pk)
    }

    /// The stages that may enrol a second factor now, by name, in the order in which they were set.
    pub(super) fn setups(&self) -> Vec<&'static str> {
        let meant = |given: &String| {
            let named = |name: &&str| given == name || self.key(name).is_some_and(|key| *given == key.to_string());
            [TOTP_SETUP, STATIC_SETUP, WEBAUTHN_SETUP].into_iter().find(named)
        };
        let mut setups = Vec::new();
        for name in self.validation.configuration_stages.iter().filter_map(meant) {
            if !setups.contains(&name) {
                setups.push(name);
            }
        }
        setups
    }
}

fn read<T: DeserializeOwned + Default>(all: &[Stage], name: &str) -> Result<T, Error> {
    match all.iter().find(|stage| stage.name == name) {
        Some(stage) => {
            serde_json::from_value(stage.tunables.clone()).map_err(|_| Error::Unreadable(format!("stage {name}")))
        }
        None => Ok(T::default()),
    }
}

/// Adds the stages that are missing. Their keys stay the same for the life of the installation.
///
/// # Errors
/// When the store fails.
pub async fn bootstrap(ctx: &Context, conn: &mut Conn) -> Result<(), Error> {
    let known = stage::all(conn).await?;
    for (name, kind, _) in STAGES.iter().filter(|(name, ..)| known.iter().all(|stage| stage.name != *name)) {
        let (name, model) = ((*name).to_owned(), (*kind).to_owned());
        stage::insert(conn, &Stage { pk: ctx.entropy.uuid(), name, model, tunables: json!({}) }).await?;
    }
    Ok(())
}

/// All stages with what is in force, as part of a larger change: name, model and tunables.
///
/// # Errors
/// When the store fails.
pub async fn all_in(change: &mut Change<'_>) -> Result<Vec<Stage>, Error> {
    let mut all = stage::all(change.conn()).await?;
    for stage in &mut all {
        let mut tunables = defaults(&stage.name);
        tunables.extend(stage.tunables.as_object().cloned().unwrap_or_default());
        stage.tunables = Value::Object(tunables);
    }
    Ok(all)
}

/// The stages of a flow, by name, in the order of its steps.
pub fn names_of_flow(slug: &str) -> impl Iterator<Item = &'static str> {
    let slug = slug.to_owned();
    STAGES.iter().filter(move |(_, _, flows)| flows.contains(&slug.as_str())).map(|(name, ..)| *name)
}

/// Sets tunables of a stage as part of a larger change: those that are given; unknown ones are ignored. The actor's
/// right to do so is the caller's business.
///
/// # Errors
/// [`Error::NotFound`] when there is no such stage, [`Error::Invalid`] by tunable.
pub async fn set_in(change: &mut Change<'_>, name: &str, given: &Map<String, Value>) -> Result<(), Error> {
    let all = stage::all(change.conn()).await?;
    let found = all.iter().find(|stage| stage.name == name).ok_or(Error::NotFound("Stage"))?;
    let before = found.tunables.as_object().cloned().unwrap_or_default();
    let mut after = before.clone();
    let known = defaults(name);
    after.extend(
        given.iter().filter(|(key, _)| known.contains_key(*key)).map(|(key, value)| (key.clone(), value.clone())),
    );
    check(name, &after)?;
    let (before, after) = (Value::Object(before), Value::Object(after));
    if before == after {
        return Ok(());
    }
    stage::set_tunables(change.conn(), found.pk, &after).await?;
    let (app, kind) = found.model.split_once('.').unwrap_or_default();
    let named = model(app, kind, found.pk, name);
    change.event("model_updated", json!({"model": named, "diff": diff(&before, &after)})).await
}

/// Sets tunables of a stage.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators; else as [`set_in`].
pub async fn set(ctx: &Context, actor: &crate::Actor, name: &str, given: &Map<String, Value>) -> Result<(), Error> {
    crate::directory::superuser_only(actor)?;
    let mut change = Change::begin(ctx, actor).await?;
    set_in(&mut change, name, given).await?;
    change.commit().await?;
    if name == LOGIN {
        warn(ctx).await?;
    }
    Ok(())
}

fn defaults(name: &str) -> Map<String, Value> {
    let value = match name {
        IDENTIFICATION => serde_json::to_value(Identification::default()),
        PASSWORD => serde_json::to_value(Password::default()),
        VALIDATION => serde_json::to_value(Validation::default()),
        LOGIN => serde_json::to_value(Login::default()),
        CONSENT => serde_json::to_value(Consent::default()),
        _ => Ok(json!({})),
    };
    value.ok().and_then(|value| value.as_object().cloned()).unwrap_or_default()
}

/// Checks all tunables of a stage: each by itself for its type, then what they mean.
fn check(name: &str, given: &Map<String, Value>) -> Result<(), Error> {
    let mut problems = Problems::default();
    for (key, value) in given {
        let alone = json!({key: value});
        let typed = match name {
            IDENTIFICATION => serde_json::from_value::<Identification>(alone).is_ok(),
            PASSWORD => serde_json::from_value::<Password>(alone).is_ok(),
            VALIDATION => serde_json::from_value::<Validation>(alone).is_ok(),
            LOGIN => serde_json::from_value::<Login>(alone).is_ok(),
            CONSENT => serde_json::from_value::<Consent>(alone).is_ok(),
            _ => true,
        };
        if !typed {
            problems.add(key, "Not a valid value.");
        }
        if let (Some(text), true) = (value.as_str(), DURATIONS.contains(&key.as_str()))
            && let Err(error) = duration::parse(text)
        {
            problems.add(key, error.to_string());
        }
        if let Some((_, choices)) = CHOICES.iter().find(|(known, _)| known == key) {
            let texts = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for text in texts.iter().filter_map(Value::as_str).filter(|text| !choices.contains(text)) {
                problems.add(key, format!("\"{text}\" is not a valid choice."));
            }
        }
    }
    problems.check()?;
    let text = |key: &str| given.get(key).and_then(Value::as_str).unwrap_or_default();
    let is_empty = |key: &str| given.get(key).and_then(Value::as_array).is_some_and(Vec::is_empty);
    let mut problems = Problems::default();
    for key in ["user_fields", "backends", "device_classes"].into_iter().filter(|key| is_empty(key)) {
        problems.add(key, "This list may not be empty.");
    }
    let unset = is_empty("configuration_stages") || !given.contains_key("configuration_stages");
    if text("not_configured_action") == "configure" && unset {
        problems.add("configuration_stages", "Name a stage that enrols a second factor.");
    }
    problems.check()
}

const DURATIONS: [&str; 5] =
    ["session_duration", "remember_me_offset", "remember_device", "last_auth_threshold", "consent_expire_in"];

/// What some tunables may be.
const CHOICES: [(&str, &[&str]); 8] = [
    ("user_fields", &["email", "username", "upn"]),
    ("backends", &[INBUILT]),
    ("not_configured_action", &["skip", "deny", "configure"]),
    ("device_classes", &["static", "totp", "webauthn"]),
    ("webauthn_user_verification", &["required", "preferred", "discouraged"]),
    ("mode", &["always_require", "permanent", "expiring"]),
    ("network_binding", &TO_NETWORK),
    ("geoip_binding", &TO_PLACE),
];

/// Whole seconds of a tunable that was checked when it was set.
pub(crate) fn seconds(text: &str) -> i64 {
    duration::seconds_or(text, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Database;

    /// CO-386: binding sessions to what is known of addresses is told to be a mistake where nothing is.
    #[test]
    fn co_386_bindings_without_a_database_are_told() {
        let login = |network: &str, place: &str| Login {
            network_binding: network.to_owned(),
            geoip_binding: place.to_owned(),
            ..Login::default()
        };
        let none = Places::default();
        assert_eq!(login("no_binding", "no_binding").warnings(&none), [""; 0]);
        let (network, place) = (login("bind_asn", "no_binding"), login("no_binding", "bind_continent"));
        let both = login("bind_asn", "bind_continent").warnings(&none);
        assert_eq!(both, [network.warnings(&none), place.warnings(&none)].concat());
        assert!(both[0].starts_with("network_binding is bind_asn, ") && both[0].contains("processors.asn"), "{both:?}");
        assert!(
            both[1].starts_with("geoip_binding is bind_continent, ") && both[1].contains("processors.geoip"),
            "{both:?}"
        );
        // One that is not there yet is waited for, and its absence told elsewhere.
        let awaited = Places { cities: Database::wanted(), networks: Database::default() };
        assert_eq!(login("bind_asn", "bind_continent").warnings(&awaited), network.warnings(&none));
    }

    /// CO-306: tunables are checked by type, by choice and as durations; their defaults are the documented ones.
    #[test]
    fn co_306_tunables_are_checked() {
        let problems = |name: &str, given: Value| match check(name, given.as_object().expect("an object")) {
            Err(Error::Invalid(problems)) => problems.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        for (name, good) in [
            (IDENTIFICATION, json!({"user_fields": ["email"], "show_matched_user": true})),
            (IDENTIFICATION, json!({"user_fields": ["upn", "username"]})),
            (PASSWORD, json!({"failed_attempts_before_cancel": 2})),
            (VALIDATION, json!({"not_configured_action": "deny", "last_auth_threshold": "hours=1"})),
            (VALIDATION, json!({"not_configured_action": "configure", "configuration_stages": [TOTP_SETUP]})),
            (LOGIN, json!({"remember_me_offset": "days=30", "terminate_other_sessions": true})),
            (LOGIN, json!({"network_binding": "bind_asn_network_ip", "geoip_binding": "bind_continent_country"})),
        ] {
            assert_eq!(problems(name, good), Vec::<String>::new(), "{name}");
        }
        for (name, bad, key) in [
            (IDENTIFICATION, json!({"user_fields": ["name"]}), "user_fields"),
            (IDENTIFICATION, json!({"user_fields": []}), "user_fields"),
            (IDENTIFICATION, json!({"show_matched_user": "yes"}), "show_matched_user"),
            (PASSWORD, json!({"backends": ["authentik.core.auth.TokenBackend"]}), "backends"),
            (PASSWORD, json!({"failed_attempts_before_cancel": -1}), "failed_attempts_before_cancel"),
            (VALIDATION, json!({"not_configured_action": "configure"}), "configuration_stages"),
            (VALIDATION, json!({"last_auth_threshold": "soon"}), "last_auth_threshold"),
            (LOGIN, json!({"network_binding": "bind_continent"}), "network_binding"),
            (LOGIN, json!({"geoip_binding": "bind_city"}), "geoip_binding"),
            (CONSENT, json!({"mode": "never"}), "mode"),
        ] {
            assert_eq!(problems(name, bad), [key], "{name}");
        }
        let login = serde_json::to_value(Login::default()).expect("serializes");
        assert_eq!(
            (login["session_duration"].as_str(), login["remember_device"].as_str()),
            (Some("seconds=0"), Some("days=30"))
        );
    }
}
