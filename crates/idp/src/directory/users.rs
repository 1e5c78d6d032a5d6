//! Users: made, changed, deactivated, deleted (CO-030 … CO-042).

use portcullis_core::attributes::{self, Attributes, changes_reserved};
use portcullis_core::id::{GroupId, RoleId, UserPk};
use portcullis_core::permission::{Model, Verb, special};
use portcullis_core::username;
use portcullis_store::account::Account;
use portcullis_store::{account, consent, role, team};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{HIGHEST_KEPT_KEY, account_attributes, lookup, pseudonym, secret_keys};
use crate::bindings;
use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{attributes_diff, diff, model};
use crate::sessions::{about_to_end, end_sessions, may_sign_in};
use crate::settings::Settings;
use crate::{escalation, outposts, password, password_rules, roles};

/// Users that people make; `internal_service_account` is made by outposts alone (CO-034).
pub const KINDS: [&str; 3] = ["internal", "external", "service_account"];
/// What the account of an outpost is (CO-034).
pub(crate) const INTERNAL_SERVICE_ACCOUNT: &str = "internal_service_account";
pub(crate) const TAKEN: &str = "User with this username already exists.";

/// What is to be stored of a user; absent members stay as they are, or have their default on creation.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO section 3)")]
pub struct Fields {
    pub username: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    pub is_active: Option<bool>,
    pub kind: Option<String>,
    pub path: Option<String>,
    pub groups: Option<Vec<GroupId>>,
    pub roles: Option<Vec<RoleId>>,
    pub attributes: Option<Value>,
    /// Key and permanent id that a new user brings from where they were before (OA-931); on others it means nothing.
    pub keys: Option<(UserPk, Uuid)>,
}

/// Makes a user without a password.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<UserPk, Error> {
    actor.need(Verb::Add, Model::USER)?;
    let mut change = Change::begin(ctx, actor).await?;
    let pk = create_in(ctx, &mut change, fields).await?;
    change.commit().await?;
    Ok(pk)
}

/// Makes a user as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create_in(ctx: &Context, change: &mut Change<'_>, fields: Fields) -> Result<UserPk, Error> {
    let now = ctx.now();
    let mut made = Account {
        pk: UserPk(0),
        uuid: ctx.entropy.uuid(),
        username: String::new(),
        name: String::new(),
        email: String::new(),
        is_active: true,
        kind: "internal".to_owned(),
        path: "users".to_owned(),
        attributes_sealed: Vec::new(),
        password_hash: None,
        password_changed: now,
        date_joined: now,
        last_updated: now,
        last_login: None,
        generated_for: None,
    };
    let mut problems = Problems::default();
    if fields.username.is_none() {
        problems.add("username", "This field is required.");
    }
    apply(&mut made, &fields, &mut problems);
    let own = new_attributes(change, &fields, &Attributes::new(), &mut problems).await?;
    check_groups(change, &fields, &[], &mut problems).await?;
    check_roles(change, &fields, &[], &mut problems).await?;
    if let Some((pk, uuid)) = fields.keys {
        let by_pk = account::by_pk(change.conn(), pk).await?;
        if pk.0 < 1 || by_pk.is_some() || account::by_uuid(change.conn(), uuid).await?.is_some() {
            problems.add("keys", format!("The key {pk} or the id {uuid} is somebody else's here."));
        }
        if pk.0 > HIGHEST_KEPT_KEY {
            problems
                .add("keys", format!("The key {pk} leaves too few for others: keep none above {HIGHEST_KEPT_KEY}."));
        }
    }
    problems.check()?;
    let taken = |error| Error::taken(error, "account.username_folded", "username", TAKEN);
    match fields.keys {
        Some((pk, uuid)) => {
            (made.pk, made.uuid) = (pk, uuid);
            account::insert_under_own_key(change.conn(), &made).await.map_err(taken)?;
        }
        None => made.pk = account::insert(change.conn(), &made).await.map_err(taken)?,
    }
    made.attributes_sealed = lookup::keep(ctx, change.conn(), made.pk, &own).await?;
    for group in fields.groups.iter().flatten() {
        team::add_member(change.conn(), *group, made.pk).await?;
    }
    if let Some(roles) = &fields.roles {
        role::set_of_account(change.conn(), made.pk, roles).await?;
    }
    change.event("model_created", json!({"model": named(&made)})).await?;
    Ok(made.pk)
}

/// Changes a user. Deactivation ends sessions and revokes tokens in the same transaction (CO-037).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules, the last active superuser among them (CO-038).
pub async fn update(ctx: &Context, actor: &Actor, pk: UserPk, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::USER, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields).await?;
    change.commit().await
}

/// Changes a user as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(change: &mut Change<'_>, pk: UserPk, fields: Fields) -> Result<(), Error> {
    let ctx = change.context();
    change.keeping_a_superuser().await?;
    let found = account::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("User"))?;
    if found.kind == INTERNAL_SERVICE_ACCOUNT {
        return Err(Error::whole("Can't modify internal service account users"));
    }
    let mut changed = found.clone();
    let before = snapshot(change, &changed).await?;
    let (was_active, could_sign_in) = (changed.is_active, may_sign_in(&changed));
    let stored = account_attributes(ctx, &changed)?;
    let mut problems = Problems::default();
    apply(&mut changed, &fields, &mut problems);
    let own = new_attributes(change, &fields, &stored, &mut problems).await?;
    let groups: Vec<_> = team::of_account(change.conn(), pk).await?.into_iter().map(|team| team.pk).collect();
    check_groups(change, &fields, &groups, &mut problems).await?;
    let roles: Vec<_> = role::of_account(change.conn(), pk).await?.into_iter().map(|role| role.pk).collect();
    check_roles(change, &fields, &roles, &mut problems).await?;
    let left_groups = left(&groups, fields.groups.as_deref());
    escalation::by_leaving(change.actor(), "groups", &left_groups, &mut problems);
    let left_roles = left(&roles, fields.roles.as_deref());
    // A link that sets the password goes to the address; applications and policies know users by the rest. Whoever has lost
    // what the writer has not may be acted for.
    let guarded = escalation::moved([
        ("email", changed.email != found.email),
        ("username", changed.username != found.username),
        ("type", changed.kind != found.kind),
        ("is_active", changed.is_active != found.is_active),
        ("attributes", own != stored),
        ("groups", escalation::bring_more(change, &left_groups, &[]).await?),
        ("roles", escalation::bring_more(change, &[], &left_roles).await?),
    ]);
    let actor = change.actor();
    if !guarded.is_empty() && escalation::is_beyond(change.conn(), actor, pk).await? {
        problems.add_each(&guarded, escalation::BEYOND);
    }
    problems.check()?;
    if own != stored {
        changed.attributes_sealed = lookup::keep(ctx, change.conn(), pk, &own).await?;
    }
    changed.last_updated = ctx.now();
    let taken = |error| Error::taken(error, "account.username_folded", "username", TAKEN);
    account::update(change.conn(), &changed).await.map_err(taken)?;
    if let Some(groups) = &fields.groups {
        set_groups(change, pk, groups).await?;
    }
    if let Some(roles) = &fields.roles {
        role::set_of_account(change.conn(), pk, roles).await?;
    }
    if was_active && !changed.is_active {
        about_to_end(change, pk, "user_deactivated", None).await?;
        end_sessions(change, &changed, None, true).await?;
        change.touch(Touched::Gone(changed.uuid));
        consent::forget_of_account(change.conn(), pk).await?;
    } else if could_sign_in && !may_sign_in(&changed) {
        // What app passwords have opened goes on: that is what service accounts are for (CO-813).
        about_to_end(change, pk, "user_type_changed", None).await?;
        end_sessions(change, &changed, None, false).await?;
    }
    let after = snapshot(change, &changed).await?;
    change.touch(Touched::User(changed.uuid));
    let mut difference = diff(&before, &after);
    attributes_diff(&mut difference, &stored, &own);
    change.event("model_updated", json!({"model": named(&changed), "diff": difference})).await
}

/// Deletes a user with tokens, sessions and memberships, and takes their name out of past events unless the
/// setting `gdpr_compliance` is off (CO-038, CO-818).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for oneself
/// and for the last active superuser.
pub async fn delete(ctx: &Context, actor: &Actor, pk: UserPk) -> Result<(), Error> {
    actor.need_on(Verb::Delete, Model::USER, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, pk).await?;
    change.commit().await
}

/// Deletes a user as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, pk: UserPk) -> Result<(), Error> {
    if change.actor().user == Some(pk) {
        return Err(Error::whole("You cannot delete your own user."));
    }
    change.keeping_a_superuser().await?;
    let gone = account::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("User"))?;
    about_to_end(change, pk, "user_deleted", None).await?;
    end_sessions(change, &gone, None, true).await?;
    bindings::before_user_is_deleted(change, pk).await?;
    account::delete(change.conn(), pk).await?;
    change.touch(Touched::Gone(gone.uuid));
    let mut remembered = gone.clone();
    if Settings::load(change.conn()).await?.gdpr_compliance {
        pseudonym::apply(change, &gone).await?;
        remembered.username = pseudonym::of(&gone);
    }
    change.event("model_deleted", json!({"model": named(&remembered)})).await?;
    // An outpost is not left without an account to sign in with (CO-106).
    match outposts::service::of_account(change.conn(), &gone).await? {
        Some(outpost) => outposts::service::ensure(change, &outpost).await,
        None => Ok(()),
    }
}

/// Whether a user is there whose password the actor may set.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn may_set_password(ctx: &Context, actor: &Actor, pk: UserPk) -> Result<(), Error> {
    actor.need_to_be_themselves()?;
    actor.need_right_on(special::RESET_USER_PASSWORD, Model::USER, &pk)?;
    account::by_pk(&mut ctx.db.read().await?, pk).await?.map(drop).ok_or(Error::NotFound("User"))
}

/// Sets a user's password and ends their other sessions; the session `keep` survives (CO-040, CO-041).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for an empty
/// or overlong password.
pub async fn set_password(
    ctx: &Context,
    actor: &Actor,
    pk: UserPk,
    new: &str,
    keep: Option<&str>,
) -> Result<(), Error> {
    actor.need_to_be_themselves()?;
    actor.need_right_on(special::RESET_USER_PASSWORD, Model::USER, &pk)?;
    let account = account::by_pk(&mut ctx.db.read().await?, pk).await?.ok_or(Error::NotFound("User"))?;
    let judged = judge_password(ctx, new, &account).await?;
    if ctx.options.strict_admin_set && !judged.rules.is_empty() {
        let mut problems = Problems::default();
        judged.rules.iter().for_each(|rule| problems.add("password", rule.clone()));
        return Err(Error::Invalid(problems));
    }
    let mut change = Change::begin(ctx, actor).await?;
    if escalation::is_beyond(change.conn(), actor, pk).await? {
        return Err(Error::field("password", escalation::BEYOND));
    }
    // Administrators may set weak ones unless told otherwise, and it is remembered that they did (CO-326).
    set_judged_hash_in(ctx, &mut change, pk, judged.hash, keep, &judged.rules).await?;
    change.commit().await
}

/// A password that is to be set, as far as that takes its time.
#[derive(Clone, Debug)]
pub struct JudgedPassword {
    /// Its hash.
    hash: String,
    /// The rules that it breaks, in words for people.
    rules: Vec<String>,
}

/// Hashes a password and looks at the rules for it. Never call it inside a transaction.
///
/// # Errors
/// [`Error::Invalid`] on `password` when it cannot be one; or when the store fails.
pub async fn judge_password(ctx: &Context, new: &str, account: &Account) -> Result<JudgedPassword, Error> {
    let hash = hash_of(ctx, new).await?;
    Ok(JudgedPassword { hash, rules: password_rules::check(ctx, new, account).await? })
}

/// Sets a password as part of a larger change. The actor's right to do so is the caller's business; so are weak ones,
/// of which a warning remains (CO-732).
///
/// # Errors
/// [`Error::NotFound`], or when the store fails.
pub async fn set_password_in(change: &mut Change<'_>, pk: UserPk, judged: JudgedPassword) -> Result<(), Error> {
    let ctx = change.context();
    change.actor().need_to_be_themselves()?;
    set_judged_hash_in(ctx, change, pk, judged.hash, None, &judged.rules).await?;
    if judged.rules.is_empty() {
        return Ok(());
    }
    let account = account::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("User"))?;
    let message = "A password that breaks rules was set.";
    let context = json!({"model": named(&account), "message": message, "rules": judged.rules});
    change.event("configuration_warning", context).await
}

/// The record of a user.
///
/// # Errors
/// [`Error::NotFound`], or when the store fails.
pub async fn record_in(change: &mut Change<'_>, pk: UserPk) -> Result<Account, Error> {
    account::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("User"))
}

/// Hashes a password, naming the field when it cannot be one.
///
/// # Errors
/// [`Error::Invalid`] on `password`, or no memory.
pub async fn hash_of(ctx: &Context, new: &str) -> Result<String, Error> {
    password::hash(&*ctx.entropy, new).await.map_err(|error| match error {
        password::PasswordError::Hash(_) => Error::Hash(error),
        other => Error::field("password", other.to_string()),
    })
}

/// Stores a password's hash as part of a larger change.
///
/// # Errors
/// [`Error::NotFound`], or when the store fails.
pub async fn set_hash_in(
    ctx: &Context,
    change: &mut Change<'_>,
    pk: UserPk,
    hash: String,
    keep: Option<&str>,
) -> Result<(), Error> {
    set_judged_hash_in(ctx, change, pk, hash, keep, &[]).await
}

/// Stores the hash of a password that breaks some rules.
async fn set_judged_hash_in(
    ctx: &Context,
    change: &mut Change<'_>,
    pk: UserPk,
    hash: String,
    keep: Option<&str>,
    rules: &[String],
) -> Result<(), Error> {
    let mut changed = account::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("User"))?;
    if changed.kind == INTERNAL_SERVICE_ACCOUNT {
        return Err(Error::whole("Can't modify internal service account users"));
    }
    changed.password_hash = Some(hash);
    changed.password_changed = ctx.now();
    changed.last_updated = ctx.now();
    account::update(change.conn(), &changed).await?;
    about_to_end(change, pk, "password_changed", keep).await?;
    end_sessions(change, &changed, keep, false).await?;
    change.touch(Touched::User(changed.uuid));
    let context = match rules {
        [] => json!({"model": named(&changed)}),
        _ => json!({"model": named(&changed), "weak": true, "rules": rules}),
    };
    change.event("password_set", context).await
}

pub(crate) fn named(account: &Account) -> Value {
    model("authentik_core", "user", account.pk, &account.username)
}

fn apply(account: &mut Account, fields: &Fields, problems: &mut Problems) {
    if let Some(name) = &fields.username
        && *name != account.username
    {
        if let Err(error) = username::check(name) {
            problems.add("username", error.to_string());
        }
        account.username.clone_from(name);
    }
    if let Some(name) = &fields.name {
        problems.limit_indexed("name", name);
        account.name.clone_from(name);
    }
    if let Some(email) = &fields.email {
        if email.chars().count() > 254 {
            problems.add("email", "Ensure this field has no more than 254 characters.");
        } else if !email.is_empty() && !is_email(email) {
            problems.add("email", "Enter a valid email address.");
        }
        account.email.clone_from(email);
    }
    if let Some(kind) = &fields.kind {
        if kind == INTERNAL_SERVICE_ACCOUNT {
            problems.add("type", "Setting a user to internal service account is not allowed.");
        } else if !KINDS.contains(&kind.as_str()) {
            problems.add("type", format!("\"{kind}\" is not a valid choice."));
        }
        account.kind.clone_from(kind);
    }
    if let Some(path) = &fields.path {
        problems.limit_indexed("path", path);
        if let Err(message) = check_path(path) {
            problems.add("path", message);
        }
        account.path.clone_from(path);
    }
    if let Some(is_active) = fields.is_active {
        account.is_active = is_active;
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("This field may not be blank.");
    }
    if path.starts_with('/') || path.ends_with('/') {
        return Err("No leading or trailing slashes allowed.");
    }
    if path.split('/').any(str::is_empty) {
        return Err("No empty segments in user path allowed.");
    }
    Ok(())
}

pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[],;:\\\"@".contains(c);
    !local.is_empty()
        && local.chars().all(plain)
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
        && (domain.contains('.') || domain.eq_ignore_ascii_case("localhost"))
}

/// The attributes that a request means, with masks replaced by what is stored.
async fn new_attributes(
    change: &mut Change<'_>,
    fields: &Fields,
    stored: &Attributes,
    problems: &mut Problems,
) -> Result<Attributes, Error> {
    let Some(given) = &fields.attributes else { return Ok(stored.clone()) };
    let secrets = secret_keys(change.context(), change.conn()).await?;
    match attributes::check(given.clone()) {
        Ok(given) => {
            let meant = secrets.restored(given, stored);
            if changes_reserved(stored, &meant) && !change.actor().is_superuser {
                problems.add("attributes", attributes::AttributesError::Reserved.to_string());
            }
            Ok(meant)
        }
        Err(error) => {
            problems.add("attributes", error.to_string());
            Ok(stored.clone())
        }
    }
}

/// Groups have to be there, and new ones bring nothing that the writer has not (CO-705).
async fn check_groups(
    change: &mut Change<'_>,
    fields: &Fields,
    before: &[GroupId],
    problems: &mut Problems,
) -> Result<(), Error> {
    for group in fields.groups.iter().flatten() {
        if team::by_pk(change.conn(), *group).await?.is_none() {
            problems.add("groups", format!("Invalid pk \"{group}\" - object does not exist."));
        }
    }
    let new: Vec<_> = fields.groups.iter().flatten().copied().filter(|group| !before.contains(group)).collect();
    escalation::by_groups(change, "groups", &new, problems).await?;
    escalation::by_joining(change.actor(), "groups", &new, problems);
    Ok(())
}

/// Roles have to be there, and new ones are the writer's own (CO-705).
async fn check_roles(
    change: &mut Change<'_>,
    fields: &Fields,
    before: &[RoleId],
    problems: &mut Problems,
) -> Result<(), Error> {
    roles::check(change.conn(), fields.roles.as_deref(), problems).await?;
    let new: Vec<_> = fields.roles.iter().flatten().copied().filter(|role| !before.contains(role)).collect();
    escalation::by_roles(change, "roles", &new, problems).await
}

/// What somebody, or a group, has and is to have no more.
pub(super) fn left<T: Copy + PartialEq>(before: &[T], given: Option<&[T]>) -> Vec<T> {
    let given = given.unwrap_or(before);
    before.iter().copied().filter(|known| !given.contains(known)).collect()
}

async fn set_groups(change: &mut Change<'_>, pk: UserPk, groups: &[GroupId]) -> Result<(), Error> {
    for team in team::of_account(change.conn(), pk).await? {
        if !groups.contains(&team.pk) {
            team::remove_member(change.conn(), team.pk, pk).await?;
        }
    }
    for group in groups {
        team::add_member(change.conn(), *group, pk).await?;
    }
    Ok(())
}

/// What a diff compares, attributes apart.
async fn snapshot(change: &mut Change<'_>, account: &Account) -> Result<Value, Error> {
    let groups: Vec<_> = team::of_account(change.conn(), account.pk).await?.into_iter().map(|team| team.pk).collect();
    let roles: Vec<_> = role::of_account(change.conn(), account.pk).await?.into_iter().map(|role| role.pk).collect();
    Ok(json!({
        "username": account.username, "name": account.name, "email": account.email,
        "is_active": account.is_active, "type": account.kind, "path": account.path, "groups": groups,
        "roles": roles,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-035: paths have segments, and no slash at either end.
    #[test]
    fn co_035_paths_are_checked() {
        assert_eq!(check_path("users/staff"), Ok(()));
        assert_eq!(check_path("/users"), Err("No leading or trailing slashes allowed."));
        assert_eq!(check_path("users/"), Err("No leading or trailing slashes allowed."));
        assert_eq!(check_path("a//b"), Err("No empty segments in user path allowed."));
        assert_eq!(check_path(""), Err("This field may not be blank."));
    }

    /// CO-523: an e-mail address has one `@`, a local part and a domain.
    #[test]
    fn co_523_addresses_are_checked() {
        for good in ["a@b.example", "ada.lovelace+x@mail.example.com", "root@localhost", "ü@müller.example"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["a", "@b.example", "a@", "a@b", "a b@c.example", "a@b..example", "a@-b.example", "a@b@c.example"] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
