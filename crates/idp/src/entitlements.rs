//! Entitlements: what users may do inside an application, and who holds them (CO section 7).

use std::collections::{HashMap, HashSet};

use portcullis_core::attributes::{self, Attributes, SecretKeys, merge};
use portcullis_core::id::{ApplicationId, EntitlementId};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::application::Application;
use portcullis_store::binding::Binding;
use portcullis_store::entitlement::{self, Entitlement};
use portcullis_store::grant::descent::Ended;
use portcullis_store::{Conn, StoreError, application, binding, provider};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::holds_membership;
use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::directory::{Person, open, seal, secret_keys};
use crate::error::{Error, Problems};
use crate::event::{attributes_diff, diff, model};
use crate::list::{Listed, Slice};
use crate::used_by::{self, Use};

pub use portcullis_store::entitlement::{Filter, Order};

/// What is to be stored of an entitlement; absent members stay as they are, or have their default on creation.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO section 7)")]
pub struct Fields {
    pub name: Option<String>,
    pub app: Option<ApplicationId>,
    pub attributes: Option<Value>,
}

/// An entitlement as it is shown.
#[derive(Clone, Debug)]
pub struct View {
    /// The record.
    pub entitlement: Entitlement,
    /// Its attributes.
    pub attributes: Attributes,
}

/// The entitlements that meet conditions.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission; or when the store fails.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<View>, Error> {
    let slice = slice.of(actor.sees(Model::ENTITLEMENT)?);
    let mut conn = ctx.db.read().await?;
    let Listed { rows, count } = entitlement::list(&mut conn, filter, slice).await?;
    let secrets = secret_keys(ctx, &mut conn).await?;
    let shown = |entitlement| Ok(shown(actor, &secrets, view(ctx, entitlement)?));
    let rows = rows.into_iter().map(shown).collect::<Result<_, Error>>()?;
    Ok(Listed { rows, count })
}

/// The entitlement with this key.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`]; or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, uuid: EntitlementId) -> Result<View, Error> {
    actor.need_on(Verb::View, Model::ENTITLEMENT, &uuid)?;
    let mut conn = ctx.db.read().await?;
    let view = view(ctx, stored(&mut conn, uuid).await?)?;
    Ok(shown(actor, &secret_keys(ctx, &mut conn).await?, view))
}

/// An entitlement for somebody's eyes: secrets are for those who may change it (CO-472).
fn shown(actor: &Actor, secrets: &SecretKeys, mut view: View) -> View {
    if !actor.may_on(Verb::Change, Model::ENTITLEMENT, &view.entitlement.uuid) {
        view.attributes = secrets.masked(&view.attributes);
    }
    view
}

/// The entitlements that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails or attributes cannot be opened.
pub async fn all_in(change: &mut Change<'_>, filter: &Filter) -> Result<Vec<View>, Error> {
    let ctx = change.context();
    let found = entitlement::list(change.conn(), filter, Slice::ALL).await?;
    found.rows.into_iter().map(|entitlement| view(ctx, entitlement)).collect()
}

fn view(ctx: &Context, entitlement: Entitlement) -> Result<View, Error> {
    Ok(View { attributes: attributes_of(ctx, &entitlement)?, entitlement })
}

async fn stored(conn: &mut Conn, uuid: EntitlementId) -> Result<Entitlement, Error> {
    entitlement::by_uuid(conn, uuid).await?.ok_or(Error::NotFound(Model::ENTITLEMENT.kind))
}

/// Makes an entitlement. Nobody holds it until a binding says so.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<EntitlementId, Error> {
    actor.need(Verb::Add, Model::ENTITLEMENT)?;
    let mut change = Change::begin(ctx, actor).await?;
    let uuid = create_in(ctx, &mut change, fields).await?;
    change.commit().await?;
    Ok(uuid)
}

/// Makes an entitlement as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create_in(ctx: &Context, change: &mut Change<'_>, fields: Fields) -> Result<EntitlementId, Error> {
    let mut problems = Problems::default();
    for (field, missing) in [("name", fields.name.is_none()), ("app", fields.app.is_none())] {
        if missing {
            problems.add(field, "This field is required.");
        }
    }
    let attributes = check(change.conn(), &fields, &mut problems).await?;
    check_application(change.actor(), None, &fields, &mut problems);
    problems.check()?;
    let (Some(name), Some(application)) = (fields.name, fields.app) else {
        return Err(Error::whole("This field is required."));
    };
    let uuid = EntitlementId(ctx.entropy.uuid());
    let attributes_sealed = seal(ctx, &place(uuid), &attributes.unwrap_or_default());
    let made = Entitlement { uuid, application, name, attributes_sealed };
    entitlement::insert(change.conn(), &made).await.map_err(taken)?;
    change.event("model_created", json!({"model": named(&made)})).await?;
    Ok(uuid)
}

/// Changes an entitlement.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, uuid: EntitlementId, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::ENTITLEMENT, &uuid)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, uuid, fields).await?;
    change.commit().await
}

/// Changes an entitlement as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(change: &mut Change<'_>, uuid: EntitlementId, fields: Fields) -> Result<(), Error> {
    let ctx = change.context();
    let before = stored(change.conn(), uuid).await?;
    let attributes = attributes_of(ctx, &before)?;
    let mut problems = Problems::default();
    let written = check(change.conn(), &fields, &mut problems).await?;
    check_application(change.actor(), Some(before.application), &fields, &mut problems);
    problems.check()?;
    let mut after = before.clone();
    after.name = fields.name.unwrap_or(after.name);
    after.application = fields.app.unwrap_or(after.application);
    let mut differ = diff(&snapshot(&before), &snapshot(&after));
    if let Some(written) = written {
        let written = secret_keys(ctx, change.conn()).await?.restored(written, &attributes);
        attributes_diff(&mut differ, &attributes, &written);
        after.attributes_sealed = seal(ctx, &place(uuid), &written);
    }
    entitlement::update(change.conn(), &after).await.map_err(taken)?;
    if (&before.name, before.application) != (&after.name, after.application) {
        withdrawn(change, &before).await?;
    }
    touch(change, before.application).await?;
    touch(change, after.application).await?;
    change.event("model_updated", json!({"model": named(&after), "diff": differ})).await
}

/// Whoever makes an entitlement, or moves one, has to see its application (CO-153).
fn check_application(actor: &Actor, before: Option<ApplicationId>, fields: &Fields, problems: &mut Problems) {
    if let Some(application) = fields.app.filter(|application| Some(*application) != before)
        && !actor.may_on(Verb::View, Model::APPLICATION, &application)
        && !problems.has("app")
    {
        problems.add("app", "User does not have access to application.");
    }
}

/// Deletes an entitlement with its bindings.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn delete(ctx: &Context, actor: &Actor, uuid: EntitlementId) -> Result<(), Error> {
    actor.need_on(Verb::Delete, Model::ENTITLEMENT, &uuid)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, uuid).await?;
    change.commit().await
}

/// Deletes an entitlement as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, uuid: EntitlementId) -> Result<(), Error> {
    let gone = stored(change.conn(), uuid).await?;
    withdrawn(change, &gone).await?;
    binding::delete_of(change.conn(), uuid.0).await?;
    entitlement::delete(change.conn(), uuid).await?;
    touch(change, gone.application).await?;
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// Call it before an application is deleted: the bindings of its entitlements go with it (CO-130).
///
/// # Errors
/// When the store fails.
pub async fn before_application_is_deleted(change: &mut Change<'_>, application: ApplicationId) -> Result<(), Error> {
    for gone in entitlement::of_application(change.conn(), application).await? {
        binding::delete_of(change.conn(), gone.uuid.0).await?;
    }
    Ok(())
}

/// What uses an entitlement: its bindings (CO-532).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn used_by(ctx: &Context, actor: &Actor, uuid: EntitlementId) -> Result<Vec<Use>, Error> {
    actor.need_on(Verb::View, Model::ENTITLEMENT, &uuid)?;
    let mut conn = ctx.db.read().await?;
    stored(&mut conn, uuid).await?;
    Ok(used_by::bindings(actor, &binding::of_target(&mut conn, uuid.0).await?, used_by::Action::Cascade))
}

/// The entitlements for an application that somebody holds: each once, by name (CO-151, CO-152). Two queries, however
/// many there are.
///
/// # Errors
/// When the store fails; treat that as none.
pub async fn held(
    conn: &mut Conn,
    person: &Person,
    application: ApplicationId,
) -> Result<Vec<Entitlement>, StoreError> {
    if !person.account.is_active {
        return Ok(Vec::new());
    }
    Ok(Offered::of(conn, application).await?.held_by(person).into_iter().cloned().collect())
}

/// The entitlements of an application, and who holds them, before anybody is looked at. It knows nothing of who belongs
/// where.
#[derive(Debug, Default)]
pub struct Offered {
    /// By name.
    all: Vec<Entitlement>,
    /// Bindings that count, by what they are bound to.
    bindings: HashMap<Uuid, Vec<Binding>>,
}

impl Offered {
    /// Those at present. Two queries, however many there are.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of(conn: &mut Conn, application: ApplicationId) -> Result<Self, StoreError> {
        let all = entitlement::of_application(conn, application).await?;
        let mut bindings: HashMap<_, Vec<Binding>> = HashMap::new();
        if !all.is_empty() {
            for binding in binding::of_entitlements(conn, application).await? {
                bindings.entry(binding.target).or_default().push(binding);
            }
        }
        Ok(Self { all, bindings })
    }

    /// Those that somebody holds: each once, by name (CO-151, CO-152). Someone deactivated holds none.
    fn held_by(&self, person: &Person) -> Vec<&Entitlement> {
        if self.all.is_empty() || !person.account.is_active {
            return Vec::new();
        }
        let groups: HashSet<_> = person.teams.iter().map(|team| team.pk).collect();
        let passes = |binding: &Binding| {
            // An orphan, or a policy, passes for nobody.
            holds_membership(person, &groups, binding).is_some_and(|member| member != binding.negate)
        };
        let holds = |entitlement: &&Entitlement| {
            self.bindings.get(&entitlement.uuid.0).is_some_and(|bindings| bindings.iter().any(passes))
        };
        self.all.iter().filter(holds).collect()
    }

    /// The names of those that somebody holds.
    pub fn names(&self, person: &Person) -> Vec<String> {
        self.held_by(person).into_iter().map(|entitlement| entitlement.name.clone()).collect()
    }
}

/// The names of the entitlements for an application that somebody holds.
///
/// # Errors
/// When the store fails; treat that as none.
pub async fn names(conn: &mut Conn, person: &Person, application: ApplicationId) -> Result<Vec<String>, StoreError> {
    let held = held(conn, person, application).await?;
    Ok(held.into_iter().map(|entitlement| entitlement.name).collect())
}

/// The attributes of the entitlements for an application that somebody holds, merged in the order of names (CO-152).
///
/// # Errors
/// When the store fails or a sealed value cannot be opened.
pub async fn merged_attributes(
    ctx: &Context,
    conn: &mut Conn,
    person: &Person,
    application: ApplicationId,
) -> Result<Attributes, Error> {
    let mut merged = Attributes::new();
    for entitlement in held(conn, person, application).await? {
        merge(&mut merged, attributes_of(ctx, &entitlement)?);
    }
    Ok(merged)
}

/// Whether nothing of what was said of somebody's entitlements is over: the application must not be told what was
/// lost since. A name that none of the application's entitlements has is a mapping's own word.
///
/// # Errors
/// When the store fails; treat that as no.
pub(crate) async fn still_held(
    conn: &mut Conn,
    person: &Person,
    application: ApplicationId,
    said: &[String],
) -> Result<bool, StoreError> {
    if said.is_empty() {
        return Ok(true);
    }
    let held = names(conn, person, application).await?;
    let all = entitlement::of_application(conn, application).await?;
    Ok(all.iter().all(|entitlement| !said.contains(&entitlement.name) || held.contains(&entitlement.name)))
}

/// Ends what was granted at the application, where somebody may have been told of an entitlement that goes: nothing
/// else would find the name in their tokens wrong.
async fn withdrawn(change: &mut Change<'_>, entitlement: &Entitlement) -> Result<(), Error> {
    if binding::count_enabled(change.conn(), entitlement.uuid.0).await? == 0 {
        return Ok(());
    }
    let application = application::by_uuid(change.conn(), entitlement.application).await?;
    if let Some(provider) = application.and_then(|application| application.provider) {
        change.end_tokens(&Ended::MadeOf(provider)).await?;
        provider::revoke_grants(change.conn(), provider).await?;
    }
    Ok(())
}

async fn touch(change: &mut Change<'_>, application: ApplicationId) -> Result<(), Error> {
    let application = application::by_uuid(change.conn(), application).await?;
    if let Some(provider) = application.and_then(|application| application.provider) {
        change.touch(Touched::Provider(provider));
    }
    Ok(())
}

/// The attributes that were written, if they may be stored.
async fn check(conn: &mut Conn, fields: &Fields, problems: &mut Problems) -> Result<Option<Attributes>, Error> {
    if let Some(name) = &fields.name {
        if name.is_empty() {
            problems.add("name", "This field may not be blank.");
        }
        problems.limit_indexed("name", name);
    }
    if let Some(app) = fields.app
        && application::by_uuid(conn, app).await?.is_none()
    {
        problems.add("app", format!("Invalid pk \"{app}\" - object does not exist."));
    }
    match fields.attributes.clone().map(attributes::check).transpose() {
        Ok(written) => Ok(written),
        Err(error) => {
            problems.add("attributes", error.to_string());
            Ok(None)
        }
    }
}

fn taken(error: StoreError) -> Error {
    let message = "The fields app, name must make a unique set.";
    Error::taken(error, "entitlement.application", "non_field_errors", message)
}

fn place(uuid: EntitlementId) -> String {
    format!("entitlement:{uuid}:attributes")
}

pub(crate) fn attributes_of(ctx: &Context, entitlement: &Entitlement) -> Result<Attributes, Error> {
    open(ctx, &place(entitlement.uuid), &entitlement.attributes_sealed)
}

/// How an entitlement is named in events.
pub(crate) fn named(entitlement: &Entitlement) -> Value {
    model("authentik_core", "applicationentitlement", entitlement.uuid, &entitlement.name)
}

/// The application that an entitlement is of, as a record.
pub(crate) async fn application_of(conn: &mut Conn, target: uuid::Uuid) -> Result<Option<Application>, StoreError> {
    match entitlement::by_uuid(conn, EntitlementId(target)).await? {
        Some(entitlement) => application::by_uuid(conn, entitlement.application).await,
        None => application::by_uuid(conn, ApplicationId(target)).await,
    }
}

fn snapshot(entitlement: &Entitlement) -> Value {
    json!({"name": entitlement.name, "app": entitlement.application})
}
