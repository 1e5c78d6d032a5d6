//! The first start of an instance (CO-480 … CO-486).

use portcullis_core::entropy::Entropy;
use portcullis_core::id::UserPk;
use portcullis_core::keys::Keyring;
use portcullis_core::permission::Permission;
use portcullis_store::instance::{self, Instance};
use portcullis_store::role::{self, Right};
use portcullis_store::{Db, StoreError};
use serde_json::json;

use crate::change::Change;
use crate::context::{Actor, Context};
use crate::directory::{groups, users};
use crate::error::Error;
use crate::flow::stages;
use crate::password::{self, PasswordError};
use crate::{brands, certificates, flows, mappings, outposts, roles, setup, signing, tokens};

/// User name of the first administrator.
pub const ADMINISTRATOR: &str = "akadmin";
/// Group of the administrators.
pub const ADMINISTRATORS: &str = "authentik Admins";
/// Group of those who may look at everything, and the role that lets them.
pub const READ_ONLY: &str = "authentik Read-only";
/// Name of the API token that comes with the installation.
pub const TOKEN: &str = "authentik-bootstrap-token";

const KEY_CHECK_PLACE: &str = "instance:1:key_check";
const KEY_CHECK: &[u8] = b"portcullis";

/// Why an instance cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The database was made with another secret key.
    #[error(
        "the secret key is not the one that this database was made with: bring back its secret.key, or set secret_key to it"
    )]
    WrongKey,
    /// Another process made the installation at the same moment.
    #[error("another process has just set up this database; start again")]
    Raced,
    /// The bootstrap password hash is none.
    #[error("the bootstrap password hash is {0}")]
    PasswordHash(PasswordError),
    /// The bootstrap password, token or e-mail address breaks a rule.
    #[error("cannot set up this instance: {0}")]
    Service(#[from] Error),
    /// No signing key.
    #[error(transparent)]
    Signing(#[from] signing::SigningError),
}

impl From<StoreError> for BootstrapError {
    fn from(error: StoreError) -> Self {
        Self::Service(error.into())
    }
}

/// What the administrator asks for; looked at when the store is empty, and never again (CO-482).
#[derive(Default)]
pub struct Wishes {
    /// Password of the first administrator.
    pub password: Option<String>,
    /// The same as a ready hash; wins over the plain form.
    pub password_hash: Option<String>,
    /// Key of an API token that does not end.
    pub token: Option<String>,
    /// E-mail address of the first administrator.
    pub email: Option<String>,
    /// Whether there is to be a certificate to sign with, which takes a moment (CO-480).
    pub certificate: bool,
}

/// Checks that a database, migrated or not, belongs to these keys: nothing is changed in another one.
///
/// # Errors
/// [`BootstrapError::WrongKey`] when it belongs to another secret key.
pub async fn check_key(db: &Db, keys: &Keyring) -> Result<(), BootstrapError> {
    let Some(sealed) = instance::key_check(db).await? else { return Ok(()) };
    match keys.open(KEY_CHECK_PLACE, &sealed) {
        Ok(check) if check == KEY_CHECK => Ok(()),
        _ => Err(BootstrapError::WrongKey),
    }
}

/// The installation's permanent id (CO-007): the stored one, or a new one that [`run`] will store.
///
/// # Errors
/// [`BootstrapError::WrongKey`] when the database belongs to another secret key.
pub async fn install_id(db: &Db, keys: &Keyring, entropy: &dyn Entropy) -> Result<String, BootstrapError> {
    check_key(db, keys).await?;
    let known = instance::get(&mut db.read().await?).await?;
    Ok(known.map_or_else(|| entropy.uuid().to_string(), |known| known.install_id))
}

/// Makes an empty store an installation, in one transaction; does nothing to one that is (CO-484).
///
/// # Errors
/// [`BootstrapError`]; then nothing was stored.
pub async fn run(ctx: &Context, wishes: &Wishes) -> Result<(), BootstrapError> {
    if let Some(known) = instance::get(&mut ctx.db.read().await?).await? {
        return if known.install_id == *ctx.install_id.get() { Ok(()) } else { Err(BootstrapError::Raced) };
    }
    let hash = password_hash(ctx, wishes).await?;
    let certificate = if wishes.certificate { Some(certificates::ours(ctx).await?) } else { None };
    let system = Actor::system();
    let mut change = Change::begin(ctx, &system).await?;
    let made = Instance {
        install_id: ctx.install_id.get().to_string(),
        key_check: ctx.keys.seal(KEY_CHECK_PLACE, KEY_CHECK, &*ctx.entropy),
        settings: if hash.is_none() { json!({setup::OPEN: true}) } else { json!({}) },
        created: ctx.now(),
    };
    instance::insert(change.conn(), &made).await.map_err(|error| match error {
        StoreError::Taken(_) => BootstrapError::Raced,
        other => other.into(),
    })?;
    signing::ensure(ctx, change.conn()).await?;
    if let Some(fields) = certificate {
        certificates::create_in(&mut change, fields).await?;
    }
    flows::bootstrap(ctx, change.conn()).await?;
    stages::bootstrap(ctx, change.conn()).await?;
    brands::bootstrap(ctx, change.conn()).await?;
    mappings::bootstrap(ctx, change.conn()).await?;
    outposts::bootstrap(ctx, change.conn()).await?;
    let first = people(ctx, &mut change, wishes).await?;
    if let Some(hash) = hash {
        users::set_hash_in(ctx, &mut change, first, hash, None).await?;
    }
    if let Some(key) = given(wishes.token.as_ref()) {
        api_token(ctx, &mut change, first, key).await?;
    }
    warn(&mut change, wishes).await?;
    change.commit().await?;
    ctx.revisions.add();
    Ok(())
}

/// Empty values count as unset (CO-482).
fn given(value: Option<&String>) -> Option<&String> {
    value.filter(|value| !value.is_empty())
}

async fn password_hash(ctx: &Context, wishes: &Wishes) -> Result<Option<String>, BootstrapError> {
    if let Some(hash) = given(wishes.password_hash.as_ref()) {
        password::check_hash(hash).map_err(BootstrapError::PasswordHash)?;
        return Ok(Some(hash.clone()));
    }
    match given(wishes.password.as_ref()) {
        Some(password) => Ok(Some(users::hash_of(ctx, password).await?)),
        None => Ok(None),
    }
}

async fn people(ctx: &Context, change: &mut Change<'_>, wishes: &Wishes) -> Result<UserPk, Error> {
    let named = |name: &str, is_superuser| groups::Fields {
        name: Some(name.to_owned()),
        is_superuser: Some(is_superuser),
        ..groups::Fields::default()
    };
    let administrators = groups::create_in(ctx, change, named(ADMINISTRATORS, true)).await?;
    let looks = roles::create_in(ctx, change, roles::Fields { name: Some(READ_ONLY.to_owned()) }).await?;
    for view in Permission::all_views() {
        let right = Right { permission: view.to_string(), object: String::new() };
        role::grant(change.conn(), looks, &right).await?;
    }
    let readers = groups::Fields { roles: Some(vec![looks]), ..named(READ_ONLY, false) };
    groups::create_in(ctx, change, readers).await?;
    let email = given(wishes.email.as_ref()).map_or("root@example.com", String::as_str);
    let first = users::Fields {
        username: Some(ADMINISTRATOR.to_owned()),
        name: Some("authentik Default Admin".to_owned()),
        email: Some(email.to_owned()),
        groups: Some(vec![administrators]),
        ..users::Fields::default()
    };
    users::create_in(ctx, change, first).await
}

async fn api_token(ctx: &Context, change: &mut Change<'_>, owner: UserPk, key: &str) -> Result<(), Error> {
    let fields = tokens::Fields {
        identifier: Some(TOKEN.to_owned()),
        description: Some("Made when this instance was set up.".to_owned()),
        expiring: Some(false),
        ..tokens::Fields::default()
    };
    tokens::create_in(ctx, change, owner, fields, Some(key.to_owned())).await.map(drop)
}

/// Short secrets are taken, and remembered (CO-483).
async fn warn(change: &mut Change<'_>, wishes: &Wishes) -> Result<(), Error> {
    if given(wishes.token.as_ref()).is_some_and(|key| key.chars().count() < 20) {
        change
            .event("configuration_warning", json!({"message": "The bootstrap token has fewer than 20 characters."}))
            .await?;
    }
    let short = |password: &String| password.chars().count() < 8;
    if given(wishes.password_hash.as_ref()).is_none() && given(wishes.password.as_ref()).is_some_and(short) {
        change
            .event("configuration_warning", json!({"message": "The bootstrap password has fewer than 8 characters."}))
            .await?;
    }
    Ok(())
}
