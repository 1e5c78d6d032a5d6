//! One instance: data directory, database, keys, and what every service needs.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use portcullis_core::attributes::Patterns;
use portcullis_core::clock::Clock;
use portcullis_core::entropy::Entropy;
use portcullis_core::keys::Keyring;
use portcullis_idp::blueprints::Reach;
use portcullis_idp::bootstrap::{self, BootstrapError, Wishes};
use portcullis_idp::context::{Actor, Context, Options, Revisions};
use portcullis_idp::expressions::{Engine, ForMappings, ForPolicies};
use portcullis_idp::limits::Rates;
use portcullis_idp::mail::Mail;
use portcullis_idp::oauth::client::Known;
use portcullis_idp::oauth::machine::Notes;
use portcullis_idp::outbound::{Outbound, Policy};
use portcullis_idp::outposts::channel::Channels;
use portcullis_idp::sources::jwks;
use portcullis_idp::{event, policies, setup, signing};
use portcullis_proxy::access_log::Format;
use portcullis_store::Db;
use serde_json::json;

use crate::Failure;
use crate::breaches;
use crate::data_dir::{self, DataDir};
use crate::mail;
use crate::observe;
use crate::places;
use crate::settings::{Secret, Settings};

/// Why a node that has drawn a key for itself cannot use the database of others.
const FOREIGN: &str = "this node has no secret key, and the database was made with one: \
    set secret_key to the key that the other nodes have, or bring their secret.key here";

/// An opened instance. The data directory is ours while this lives.
pub(crate) struct Instance {
    /// What every service needs.
    pub(crate) context: Arc<Context>,
    /// Opens the setup page, while nobody has set the instance up (CO-486).
    pub(crate) setup_code: Option<String>,
    _data_dir: DataDir,
}

/// Opens the instance that the settings describe; makes a new one where there is none (CO-480).
///
/// Bootstrap values are taken out of the settings: they are used here and nowhere else (CO-482).
///
/// # Errors
/// One line: the data directory, the database or the secret key cannot be used.
pub(crate) async fn open(
    settings: &mut Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Instance, Failure> {
    let base_url = &settings.general.base_url;
    if base_url.has_path() {
        return Err(format!("base_url: {} has a path, which is not supported", base_url.as_str()).into());
    }
    let data_dir = data_dir::open(settings, &*entropy)?;
    settings.general.secret_key = None;
    settings.general.previous_secret_key = None;
    let opened = match data_dir.database.connect().await {
        Ok(db) => {
            let opened = on_database(settings, &data_dir, db.clone(), clock, entropy).await;
            if opened.is_err() {
                // Before anything is removed: what is in the log goes into the database.
                db.close().await;
            }
            opened
        }
        Err(error) => Err(error.into()),
    };
    match opened {
        Ok((context, setup_code)) => Ok(Instance { context: Arc::new(context), setup_code, _data_dir: data_dir }),
        Err(failure) => {
            data_dir.undo();
            Err(failure)
        }
    }
}

async fn on_database(
    settings: &mut Settings,
    data_dir: &DataDir,
    db: Db,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(Context, Option<String>), Failure> {
    let mail = mail::of(settings)?;
    let keys = Keyring::derive(&data_dir.root_secret);
    match bootstrap::check_key(&db, &keys).await {
        Err(BootstrapError::WrongKey) if data_dir.is_new => return Err(FOREIGN.into()),
        checked => checked?,
    }
    db.migrate().await?;
    let install_id = bootstrap::install_id(&db, &keys, &*entropy).await?;
    let context = Context { mail, ..context(settings, db, keys, install_id, clock, entropy) };
    let general = &mut settings.general;
    let text = |secret: Option<Secret>| secret.map(|secret| secret.expose().to_owned());
    let wishes = Wishes {
        password: text(general.bootstrap_password.take()),
        password_hash: text(general.bootstrap_password_hash.take()),
        token: text(general.bootstrap_token.take()),
        email: general.bootstrap_email.take(),
        certificate: true,
    };
    bootstrap::run(&context, &wishes).await?;
    let setup_code = setup::open(&context).await?;
    warn_about_limits(settings, &context).await?;
    Ok((context, setup_code))
}

/// What every service needs, over an opened database. It sends no mail.
pub(crate) fn context(
    settings: &Settings,
    db: Db,
    keys: Keyring,
    install_id: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Context {
    let engine = Engine::new(settings.expressions.dns);
    let patterns = settings.general.secret_attributes.iter().map(|pattern| pattern.0.as_str());
    Context {
        install_id: install_id.into(),
        db,
        keys,
        clock,
        entropy,
        epochs: Arc::default(),
        base_url: settings.general.base_url.as_str().to_owned(),
        options: Options {
            secret_attributes: Patterns::of(patterns),
            verbatim_custom_actions: settings.events.verbatim_custom_actions,
            strict_admin_set: settings.passwords.strict_admin_set,
            hidden_keys: !settings.tokens.viewable_keys,
            labelled_keys: settings.tokens.labelled_keys,
            generated_account_retention: i64::try_from(settings.tokens.generated_account_retention.0.as_secs()).ok(),
            base_url_is_set: settings.own_base_url().is_some(),
        },
        limits: settings.limits.of_sign_in(),
        rates: Rates::default(),
        sessions: settings.sessions.lifetimes(),
        places: places::wanted(&settings.context_processors),
        policies: policies::Support {
            expressions: Some(Arc::new(ForPolicies(Arc::clone(&engine)))),
            breaches: settings.policies.breached_passwords_url.as_ref().map(breaches::Range::at),
        },
        signing: signing::Cache::default(),
        belongings: portcullis_idp::directory::Belongings::default(),
        clients: Known::default(),
        notes: Notes::default(),
        failing: portcullis_idp::event::failing::Failing::default(),
        setup: setup::Code::default(),
        pressed: portcullis_idp::flow::Pressed::default(),
        revisions: Revisions::default(),
        channels: Channels::default(),
        mapping_engine: Arc::new(ForMappings(engine)),
        outbound: Outbound::new(Policy {
            allow_http: settings.outbound.allow_http,
            allowed_networks: settings.outbound.allowed_networks.clone(),
        }),
        jwks: jwks::Asked::default(),
        mail: Mail::default(),
        blueprints: Reach::new(settings.general.blueprints_dir.clone(), crate::environment()),
    }
}

/// An instance that is there, beside the process that may serve it, for commands that add or remove a row.
///
/// # Errors
/// One line when there is none, or it was last served by another release.
pub(crate) async fn beside(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Context, Failure> {
    let (database, secret) = data_dir::existing(settings)?;
    let (db, keys) = (database.connect().await?, Keyring::derive(&secret));
    bootstrap::check_key(&db, &keys).await?;
    if !db.has_table("blueprint").await? {
        return Err("this instance was last served by an older release: run `portcullis serve` once".into());
    }
    let install_id = bootstrap::install_id(&db, &keys, &*entropy).await?;
    Ok(context(settings, db, keys, install_id, clock, entropy))
}

/// Limits that are off are a weakness that those who read events know of (CO-441).
async fn warn_about_limits(settings: &Settings, context: &Context) -> Result<(), Failure> {
    let off: Vec<_> = settings.limits.off.iter().map(|limit| limit.name()).collect();
    if off.is_empty() {
        return Ok(());
    }
    let message = format!("Limits of failed attempts are off: {}.", off.join(", "));
    tracing::warn!("{message}");
    event::record_alone(context, &Actor::system(), "configuration_warning", json!({"message": message})).await?;
    Ok(())
}

impl Instance {
    /// Tells the operator how to finish the set-up: on the console, or in a file of their choice.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn announce_setup(&self, settings: &Settings) -> Result<(), Failure> {
        let Some(code) = &self.setup_code else { return Ok(()) };
        let url = format!("{}/if/flow/initial-setup/", self.context.base_url);
        if let Some(path) = &settings.general.setup_code_file {
            write_private(path, code)
                .map_err(|error| format!("setup_code_file: cannot write {}: {error}", path.display()))?;
            tracing::info!(setup.url = url, "the instance waits for its set-up; the code is in the setup_code_file");
            return Ok(());
        }
        let note = match observe::form(settings.log.format) {
            Format::Json => {
                let message = format!(
                    "This instance is new. Choose the administrator's password in a browser: {url} setup code: {code}"
                );
                let line = json!({
                    "timestamp": self.context.clock.now().to_string(),
                    "level": "INFO",
                    "message": message,
                    "setup.url": url,
                    "setup.code": code,
                });
                format!("{line}\n")
            }
            Format::Text => format!(
                "\n  This instance is new. Choose the administrator's password in a browser:\n\n\
                 \x20     {url}\n      setup code: {code}\n\n\
                 \x20 The code is good until it is used or the process ends.\n\n"
            ),
        };
        // Whatever is logged otherwise: without the code nobody gets in. Nor without a console; the next start shows
        // another one.
        let _ = std::io::stderr().write_all(note.as_bytes());
        Ok(())
    }
}

fn write_private(path: &Path, code: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    // One that was there before may be open to others.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(format!("{code}\n").as_bytes())
}
