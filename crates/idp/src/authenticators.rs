//! Second factors: authenticator apps, recovery codes, security keys and passkeys (CO-314, CO-315, CO-465).

use std::collections::HashMap;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::UserPk;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_core::totp::{self, Matched};
use portcullis_store::account::{self, Account};
use portcullis_store::authenticator::{self, Authenticator, RecoveryCode};
use portcullis_store::webauthn as credentials;
use portcullis_store::{Conn, StoreError};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::directory;
use crate::error::{Error, Problems};
use crate::event::{diff, model};

/// Class of authenticator apps.
pub const TOTP: &str = "totp";
/// Class of recovery codes.
pub const RECOVERY_CODES: &str = "static";
/// Class of security keys and passkeys.
pub const WEBAUTHN: &str = "webauthn";

/// Characters of the name that a second factor is given.
const LONGEST_NAME: usize = 64;

/// Recovery codes that are made at once, and their characters.
const CODES: usize = 6;
const CODE_CHARS: usize = 12;

/// A second factor, as its owner and administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Key, unique over all classes.
    pub pk: i32,
    /// Whose.
    pub account: UserPk,
    /// What its owner calls it.
    pub name: String,
    /// `totp`, `static` or `webauthn`.
    pub class: String,
    /// Its kind, for machines: `authentik_stages_authenticator_totp.totpdevice`.
    pub model: &'static str,
    /// Its kind, for people.
    pub verbose_name: &'static str,
    /// When it was enrolled.
    pub created: Timestamp,
    /// When it was used last.
    pub last_used: Option<Timestamp>,
    /// Recovery codes that are left; none for other classes.
    pub codes_left: Option<usize>,
    /// Model of a security key, zero when it does not say; none for other classes.
    pub aaguid: Option<Uuid>,
}

/// A user's second factors: their own, or anybody's for an administrator. All of them are confirmed: one that its
/// owner has not shown to work is not kept.
///
/// # Errors
/// [`Error::Forbidden`] for others; else when the store fails.
pub async fn list(ctx: &Context, actor: &Actor, user: UserPk) -> Result<Vec<Shown>, Error> {
    actor.need_to_be_themselves()?;
    if actor.user != Some(user) && !actor.is_superuser {
        return Err(Error::Forbidden);
    }
    let mut conn = ctx.db.read().await?;
    let mut list = Vec::new();
    let keys = credentials::of_account(&mut conn, user).await?;
    for device in authenticator::of_account(&mut conn, user).await? {
        let codes_left = match device.class.as_str() {
            RECOVERY_CODES => Some(authenticator::code_salts(&mut conn, device.pk).await?.len()),
            _ => None,
        };
        let aaguid = keys.iter().find(|key| key.authenticator == device.pk).map(|key| key.aaguid);
        list.push(Shown { aaguid, ..shown(device, codes_left) });
    }
    Ok(list)
}

/// Everybody's second factors, for an administrator. As many statements as for one user, however many there are.
///
/// # Errors
/// [`Error::Forbidden`] for others; else when the store fails.
pub async fn list_all(ctx: &Context, actor: &Actor) -> Result<Vec<Shown>, Error> {
    actor.need_to_be_themselves()?;
    if !actor.is_superuser {
        return Err(Error::Forbidden);
    }
    let mut conn = ctx.db.read().await?;
    let keys = credentials::all(&mut conn).await?.into_iter().map(|key| (key.authenticator, key.aaguid));
    let (keys, left): (HashMap<_, _>, _) = (keys.collect(), authenticator::codes_left(&mut conn).await?);
    let devices = authenticator::all(&mut conn).await?.into_iter();
    let shown = devices.map(|device| {
        let is_codes = device.class == RECOVERY_CODES;
        let codes_left = is_codes.then(|| left.get(&device.pk).copied().unwrap_or_default());
        Shown { aaguid: keys.get(&device.pk).copied(), ..shown(device, codes_left) }
    });
    Ok(shown.collect())
}

fn shown(device: Authenticator, codes_left: Option<usize>) -> Shown {
    let (model, verbose_name) = match device.class.as_str() {
        TOTP => ("authentik_stages_authenticator_totp.totpdevice", "TOTP Device"),
        WEBAUTHN => ("authentik_stages_authenticator_webauthn.webauthndevice", "WebAuthn Device"),
        _ => ("authentik_stages_authenticator_static.staticdevice", "Static Device"),
    };
    Shown {
        pk: device.pk,
        account: device.account,
        name: device.name,
        class: device.class,
        model,
        verbose_name,
        created: device.created,
        last_used: device.last_used,
        codes_left,
        aaguid: None,
    }
}

/// Gives a second factor of one's own another name.
///
/// # Errors
/// [`Error::Invalid`] when the name is empty or too long, [`Error::NotFound`] when there is none, [`Error::Forbidden`] for
/// others; else when the store fails.
pub async fn rename(ctx: &Context, actor: &Actor, user: UserPk, pk: i32, name: &str) -> Result<(), Error> {
    actor.need_to_be_themselves()?;
    if actor.user != Some(user) {
        return Err(Error::Forbidden);
    }
    let mut problems = Problems::default();
    match name.trim() {
        "" => problems.add("name", "This field may not be blank."),
        name if name.chars().count() > LONGEST_NAME => {
            problems.add("name", format!("Ensure this field has no more than {LONGEST_NAME} characters."));
        }
        _ => {}
    }
    problems.check()?;
    let mut change = Change::begin(ctx, actor).await?;
    let devices = authenticator::of_account(change.conn(), user).await?;
    let mut device = devices.into_iter().find(|device| device.pk == pk).ok_or(Error::NotFound("Device"))?;
    let before = std::mem::replace(&mut device.name, name.trim().to_owned());
    if before == device.name {
        return Ok(());
    }
    authenticator::rename(change.conn(), user, pk, &device.name).await?;
    let diff = diff(&json!({"name": before}), &json!({"name": device.name}));
    change.event("model_updated", json!({"model": named(&device), "diff": diff})).await?;
    change.commit().await
}

/// Removes a second factor: one's own, or anybody's for an administrator. Recovery codes go with the last other one: they
/// stand in for it, and alone they would be asked for until none is left (CO-314).
///
/// # Errors
/// [`Error::NotFound`] when there is none, [`Error::Forbidden`] for others; else when the store fails.
pub async fn remove(ctx: &Context, actor: &Actor, user: UserPk, pk: i32) -> Result<(), Error> {
    actor.need_to_be_themselves()?;
    if actor.user != Some(user) && !actor.is_superuser {
        return Err(Error::Forbidden);
    }
    let mut change = Change::begin(ctx, actor).await?;
    let devices = authenticator::of_account(change.conn(), user).await?;
    let device = devices.into_iter().find(|device| device.pk == pk).ok_or(Error::NotFound("Device"))?;
    remove_with_codes_in(&mut change, &device).await?;
    change.commit().await
}

/// Removes a second factor of this class, whoever has it, for an administrator; recovery codes as [`remove`] does.
///
/// # Errors
/// [`Error::Forbidden`] for anyone else, [`Error::NotFound`] when there is none; else when the store fails.
pub async fn remove_of_anybody(ctx: &Context, actor: &Actor, class: &str, pk: i32) -> Result<(), Error> {
    actor.need_to_be_themselves()?;
    directory::superuser_only(actor)?;
    let mut change = Change::begin(ctx, actor).await?;
    let device = authenticator::by_pk(change.conn(), pk).await?.filter(|device| device.class == class);
    remove_with_codes_in(&mut change, &device.ok_or(Error::NotFound("Device"))?).await?;
    change.commit().await
}

/// Removes all second factors of a user as part of a larger change; tells how many there were.
///
/// # Errors
/// When the store fails.
pub async fn remove_all_in(change: &mut Change<'_>, user: UserPk) -> Result<usize, Error> {
    change.actor().need_to_be_themselves()?;
    let devices = authenticator::of_account(change.conn(), user).await?;
    for device in &devices {
        remove_in(change, device).await?;
    }
    Ok(devices.len())
}

async fn remove_with_codes_in(change: &mut Change<'_>, device: &Authenticator) -> Result<(), Error> {
    remove_in(change, device).await?;
    let left = authenticator::of_account(change.conn(), device.account).await?;
    if device.class != RECOVERY_CODES && left.iter().all(|left| left.class == RECOVERY_CODES) {
        for codes in &left {
            remove_in(change, codes).await?;
        }
    }
    Ok(())
}

async fn remove_in(change: &mut Change<'_>, device: &Authenticator) -> Result<(), Error> {
    let owner = account::by_pk(change.conn(), device.account).await?.ok_or(Error::NotFound("User"))?;
    authenticator::delete(change.conn(), device.account, device.pk).await?;
    change.touch(Touched::User(owner.uuid));
    change.event("model_deleted", json!({"model": named(device)})).await
}

fn named(device: &Authenticator) -> Value {
    match device.class.as_str() {
        TOTP => model("authentik_stages_authenticator_totp", "totpdevice", device.pk, &device.name),
        WEBAUTHN => model("authentik_stages_authenticator_webauthn", "webauthndevice", device.pk, &device.name),
        _ => model("authentik_stages_authenticator_static", "staticdevice", device.pk, &device.name),
    }
}

/// A user's second factors, oldest first.
pub(crate) async fn of_account(conn: &mut Conn, user: UserPk) -> Result<Vec<Authenticator>, StoreError> {
    authenticator::of_account(conn, user).await
}

/// Fresh recovery codes.
pub(crate) fn draw_codes(ctx: &Context) -> Vec<String> {
    (0..CODES).map(|_| ctx.entropy.alphanumeric(CODE_CHARS).to_lowercase()).collect()
}

/// Keeps an authenticator app that has shown its first code.
pub(crate) async fn enrol_totp(
    ctx: &Context,
    change: &mut Change<'_>,
    account: &Account,
    seed: &[u8],
    matched: Matched,
) -> Result<i32, Error> {
    let mut new = fresh(ctx, account, TOTP, "Authenticator app");
    (new.drift, new.last_step) = (matched.drift, matched.step);
    new.pk = authenticator::insert(change.conn(), &new).await?;
    let sealed = ctx.keys.seal(&place(new.pk), seed, &*ctx.entropy);
    authenticator::set_seed(change.conn(), new.pk, &sealed).await?;
    change.event("model_created", json!({"model": named(&new)})).await?;
    Ok(new.pk)
}

/// Keeps recovery codes in place of those that the user had.
pub(crate) async fn enrol_codes(
    ctx: &Context,
    change: &mut Change<'_>,
    account: &Account,
    codes: &[String],
) -> Result<i32, Error> {
    for old in authenticator::of_account(change.conn(), account.pk).await? {
        if old.class == RECOVERY_CODES {
            authenticator::delete(change.conn(), account.pk, old.pk).await?;
            change.event("model_deleted", json!({"model": named(&old)})).await?;
        }
    }
    let mut new = fresh(ctx, account, RECOVERY_CODES, "Recovery codes");
    new.pk = authenticator::insert(change.conn(), &new).await?;
    let kept: Vec<_> = codes
        .iter()
        .map(|code| {
            let salt = ctx.entropy.bytes::<16>();
            RecoveryCode { digest: digest(ctx, &salt, code), salt: salt.to_vec() }
        })
        .collect();
    authenticator::insert_codes(change.conn(), new.pk, &kept).await?;
    change.event("model_created", json!({"model": named(&new)})).await?;
    Ok(new.pk)
}

/// Keeps that a user has a security key or passkey; what else is known of it is for [`crate::passkeys`].
pub(crate) async fn enrol_key(
    ctx: &Context,
    change: &mut Change<'_>,
    account: &Account,
    name: &str,
) -> Result<i32, Error> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    let name = if name.is_empty() { "Passkey" } else { &name };
    let mut new = fresh(ctx, account, WEBAUTHN, name);
    new.pk = authenticator::insert(change.conn(), &new).await?;
    change.event("model_created", json!({"model": named(&new)})).await?;
    Ok(new.pk)
}

fn fresh(ctx: &Context, account: &Account, class: &str, name: &str) -> Authenticator {
    Authenticator {
        pk: 0,
        account: account.pk,
        class: class.to_owned(),
        name: name.to_owned(),
        seed_sealed: Vec::new(),
        digits: 6,
        drift: 0,
        last_step: 0,
        created: ctx.now(),
        last_used: None,
    }
}

fn place(pk: i32) -> String {
    format!("authenticator:{pk}:seed")
}

fn digest(ctx: &Context, salt: &[u8], code: &str) -> Digest {
    ctx.keys.digest(Purpose::TokenLookup, &[b"recovery-code", salt, code.as_bytes()])
}

/// The second factor of these that a code is of. The code is used up by that.
///
/// # Errors
/// When the store fails, or a seed cannot be opened.
pub(crate) async fn check(
    ctx: &Context,
    conn: &mut Conn,
    devices: &[Authenticator],
    given: &str,
) -> Result<Option<Authenticator>, Error> {
    let given: String = given.chars().filter(|c| !c.is_whitespace() && *c != '-').take(64).collect();
    for device in devices {
        let right = match device.class.as_str() {
            TOTP => is_totp(ctx, conn, device, &given).await?,
            RECOVERY_CODES => is_recovery_code(ctx, conn, device, &given.to_lowercase()).await?,
            _ => false,
        };
        if right {
            return Ok(Some(device.clone()));
        }
    }
    Ok(None)
}

async fn is_totp(ctx: &Context, conn: &mut Conn, device: &Authenticator, given: &str) -> Result<bool, Error> {
    let place = place(device.pk);
    let seed = ctx.keys.open(&place, &device.seed_sealed).map_err(|source| Error::Sealed { place, source })?;
    let digits = u32::try_from(device.digits).unwrap_or(6);
    let found = totp::find(&seed, given, digits, device.drift, device.last_step, ctx.now());
    match found {
        // The row decides: of two that come at once, one finds the step used.
        Some(Matched { step, drift }) => Ok(authenticator::accept_step(conn, device.pk, step, drift, ctx.now()).await?),
        None => Ok(false),
    }
}

async fn is_recovery_code(ctx: &Context, conn: &mut Conn, device: &Authenticator, given: &str) -> Result<bool, Error> {
    if given.len() != CODE_CHARS {
        return Ok(false);
    }
    for salt in authenticator::code_salts(conn, device.pk).await? {
        if authenticator::take_code(conn, device.pk, &digest(ctx, &salt, given)).await? {
            authenticator::used(conn, device.pk, ctx.now()).await?;
            return Ok(true);
        }
    }
    Ok(false)
}
