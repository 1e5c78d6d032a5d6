//! Objects are made, changed and deleted, each by the reader of the API and the service behind it (CO-724, CO-732).

use std::collections::BTreeSet;
use std::str::FromStr;

use portcullis_core::id::{BlueprintId, TokenId, UserPk};
use portcullis_idp::providers::Kind as Provider;
use portcullis_idp::{
    Change, Error, applications, bindings, blueprints, brands, certificates, directory, entitlements, mappings,
    outposts, policies, providers, roles, sources, tokens,
};
use serde_json::{Map, Value, json};

use super::export::concerns;
use super::extras::{Extras, PERMISSIONS, of_permissions};
use super::fixed::{Orders, flow, stage, stage_binding};
use super::granted::Granted;
use super::instance;
use super::meant::{as_stored, missing, more_providers, unmask, with_own_role};
use super::model::Model;
use crate::api;
use crate::api::answer::ApiError;
use crate::api::body::Body;

/// Why an object cannot be what it is to be.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nothing of this kind has this attribute.
    Unknown(String),
    /// A rule forbids it, or something failed.
    Broken(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Broken(error)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Broken(error.into())
    }
}

pub(super) fn refused(field: &str, message: &str) -> Refusal {
    Refusal::Broken(ApiError::field(field, message))
}

/// What was written.
pub(super) struct Written {
    /// Key of the object.
    pub(super) key: Value,
    /// A password that the user is to have. Passwords take their time, and are no business of this module.
    pub(super) password: Option<String>,
    /// Whether anything was different.
    pub(super) changed: bool,
    /// What whoever reads the log should know.
    pub(super) note: Option<&'static str>,
    /// Secrets that a new object has not, or has random ones for, because the blueprint does not say them.
    pub(super) missing: Vec<String>,
}

/// Makes an object, or changes the one that was found, so that it has these attributes.
///
/// # Errors
/// [`Refusal`]; then the transaction is not to be committed.
pub(super) async fn write(
    change: &mut Change<'_>,
    model: Model,
    found: Option<&Value>,
    attributes: Map<String, Value>,
    orders: &mut Orders,
    granted: &mut Granted,
    takes_over: bool,
) -> Result<Written, Refusal> {
    let mut body = Body::of(attributes);
    let extras = Extras::take(model, &mut body, takes_over)?;
    if let (Model::Outpost, Some(found)) = (model, found) {
        more_providers(found, &mut body)?;
    }
    if let Some(found) = found {
        unmask(change, found, &mut body).await?;
        as_stored(model, found, &mut body);
        if model == Model::User {
            with_own_role(change, found, &mut body).await?;
        }
    }
    if let Some(found) = found {
        let same = body.iter().all(|(field, value)| found.get(field).is_some_and(|stored| agree(field, stored, value)));
        let managed = extras.managed.as_ref().is_none_or(|managed| found.get("managed") == Some(&json!(managed)));
        if same && managed {
            let key = model.key(found);
            let changed = extras.write(change, model, &key, found, granted).await?;
            return Ok(Written { key, password: extras.password, changed, note: None, missing: Vec::new() });
        }
    }
    let missing = match found {
        Some(_) => Vec::new(),
        None => missing(change, model, &mut body, &extras),
    };
    let mut note = None;
    let key = match (model, found) {
        (Model::Flow, Some(found)) => flow(change, found, &body).await?,
        (Model::Stage(_), Some(found)) => stage(change, found, &body).await?,
        (Model::StageBinding, found) => stage_binding(change, found, &mut body, orders).await?,
        (Model::Flow | Model::Stage(_), None) => {
            return Err(refused("identifiers", "There is no such object, and flows and stages cannot be made."));
        }
        (Model::ScopeMapping, Some(found)) if is_shipped(found) => {
            note = Some("a mapping that comes with the installation stays as it is");
            model.key(found)
        }
        (model, found) => object(change, model, found, &mut body, &extras).await?,
    };
    let empty = json!({});
    extras.write(change, model, &key, found.unwrap_or(&empty), granted).await?;
    Ok(Written { key, password: extras.password, changed: note.is_none(), note, missing })
}

/// Whether what is stored is what is wanted, however it is written: objects that are named are a set, and the API trims
/// text, which a block of YAML ends with a line break.
fn agree(field: &str, stored: &Value, wanted: &Value) -> bool {
    const TRIMMED: [&str; 3] = ["description", "expression", "meta_description"];
    match (stored, wanted) {
        (Value::String(stored), Value::String(wanted)) if TRIMMED.contains(&field) => stored == wanted.trim(),
        (Value::Array(stored), Value::Array(wanted)) if field == "redirect_uris" => {
            let whole = |uri: &Value| {
                let mut uri = uri.clone();
                if let Some(members) = uri.as_object_mut() {
                    members.entry("redirect_uri_type").or_insert_with(|| "authorization".into());
                }
                uri
            };
            wanted.iter().map(whole).eq(stored.iter().cloned())
        }
        (Value::Array(stored), Value::Array(wanted)) if !Model::related(field).is_empty() => {
            wanted.iter().all(|one| stored.contains(one)) && stored.iter().all(|one| wanted.contains(one))
        }
        _ => stored == wanted,
    }
}

fn is_shipped(mapping: &Value) -> bool {
    mapping["managed"].as_str().is_some_and(mappings::is_shipped)
}

pub(super) fn parsed<T: FromStr>(key: &Value) -> Result<T, Refusal> {
    key.as_str().and_then(|key| key.parse().ok()).ok_or_else(|| refused("pk", "Must be a valid UUID."))
}

fn number(key: &Value) -> Result<i32, Refusal> {
    let number = key.as_i64().and_then(|number| i32::try_from(number).ok());
    number.ok_or_else(|| refused("pk", "A valid integer is required."))
}

pub(super) fn user(key: &Value) -> Result<UserPk, Refusal> {
    number(key).map(UserPk)
}

pub(super) fn provider(key: &Value) -> Result<portcullis_core::id::ProviderPk, Refusal> {
    number(key).map(portcullis_core::id::ProviderPk)
}

/// What a reader read, unless there is something that nobody has asked for.
fn known<T>(body: &Body, read: Result<T, ApiError>) -> Result<T, Refusal> {
    match body.unknown() {
        Some(field) => Err(Refusal::Unknown(field.to_owned())),
        None => Ok(read?),
    }
}

/// Objects that the API makes and changes.
async fn object(
    change: &mut Change<'_>,
    model: Model,
    found: Option<&Value>,
    body: &mut Body,
    extras: &Extras,
) -> Result<Value, Refusal> {
    let ctx = change.context();
    let partial = found.is_some();
    let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or_default().to_owned();
    let pk = found.map(|found| model.key(found));
    // Every model is read, and then changed or made, by what its own endpoints use.
    macro_rules! written {
        ($read:expr, |$pk:ident, $fields:ident| $update:expr, $create:expr) => {{
            let read = $read;
            let $fields = known(body, read)?;
            match pk {
                Some($pk) => {
                    $update.await?;
                    $pk
                }
                None => json!($create.await?),
            }
        }};
    }
    Ok(match model {
        Model::User => written!(
            api::users::fields(body, partial),
            |pk, fields| directory::users::update_in(change, user(&pk)?, fields),
            {
                let fields = directory::users::Fields { keys: extras.taken_over.keys(), ..fields };
                directory::users::create_in(ctx, change, fields)
            }
        ),
        Model::Group => written!(
            api::groups::fields(body, partial),
            |pk, fields| directory::groups::update_in(change, parsed(&pk)?, fields),
            directory::groups::create_in(ctx, change, fields)
        ),
        Model::Token => written!(
            api::tokens::fields(body, partial),
            |pk, fields| tokens::update_in(change, &text("identifier"), fields),
            token(change, fields, extras)
        ),
        Model::Application => {
            let read = api::applications::read(body, partial);
            let fields = known(body, read)?;
            match pk {
                Some(_) => json!(applications::update_in(change, &text("slug"), fields).await?),
                None => json!(applications::create_in(ctx, change, fields).await?),
            }
        }
        Model::Entitlement => written!(
            api::entitlements::read(body, partial),
            |pk, fields| entitlements::update_in(change, parsed(&pk)?, fields),
            entitlements::create_in(ctx, change, fields)
        ),
        Model::Binding => written!(
            api::bindings::read(body, partial),
            |pk, fields| bindings::update_in(change, parsed(&pk)?, fields),
            bindings::create_in(ctx, change, fields)
        ),
        Model::Policy(kind) => written!(
            api::policies::read(body, kind, partial),
            |pk, fields| policies::update_in(change, kind, parsed(&pk)?, fields),
            policies::create_in(ctx, change, kind, fields)
        ),
        Model::OAuth2Provider => written!(
            api::providers::oauth2::read(body, partial),
            |pk, fields| providers::oauth2::update_in(change, provider(&pk)?, fields),
            providers::oauth2::create_in(change, fields)
        ),
        Model::ProxyProvider => written!(
            api::providers::read(body, partial),
            |pk, fields| providers::update_in(change, provider(&pk)?, fields, None),
            providers::create_in(ctx, change, fields)
        ),
        Model::ScopeMapping => written!(
            api::mappings::read(body, partial),
            |pk, fields| mappings::update_in(change, parsed(&pk)?, fields),
            mappings::create_in(change, fields)
        ),
        Model::OAuthSource => written!(
            api::sources::read(body, partial),
            |pk, fields| sources::update_in(change, parsed(&pk)?, fields),
            async { sources::create_in(change, fields).await.map(|made| made.pk) }
        ),
        Model::Certificate => written!(
            api::certificates::read(body, partial),
            |pk, fields| certificates::update_in(change, parsed(&pk)?, fields),
            certificates::create_in(change, fields)
        ),
        Model::Outpost => written!(
            api::outposts::read(body, partial),
            |pk, fields| outposts::update_in(change, parsed(&pk)?, fields),
            outposts::create_in(change, fields)
        ),
        Model::Brand => written!(
            api::brands::fields(body, partial),
            |pk, fields| brands::update_in(change, parsed(&pk)?, fields),
            brands::create_in(change, fields)
        ),
        Model::Role => written!(
            api::roles::read(body, partial),
            |pk, fields| roles::update_in(change, parsed(&pk)?, fields),
            roles::create_in(ctx, change, fields)
        ),
        Model::Instance => written!(
            instance::read(ctx, body, None, partial).await,
            |pk, fields| blueprints::update_in(change, parsed::<BlueprintId>(&pk)?, fields),
            blueprints::create_in(change, fields)
        ),
        Model::Flow | Model::Stage(_) | Model::StageBinding => pk.unwrap_or_default(),
    })
}

/// Makes a token, with the key it is to have.
async fn token(change: &mut Change<'_>, fields: tokens::Fields, extras: &Extras) -> Result<TokenId, Refusal> {
    if fields.intent.is_none() {
        return Err(refused("intent", "This field is required."));
    }
    if fields.user.is_none() {
        return Err(refused("user", "This field is required."));
    }
    // Whoever applies a blueprint makes it for somebody else; the number 0 is nobody's.
    let caller = change.actor().user.unwrap_or(UserPk(0));
    let made = tokens::create_in(change.context(), change, caller, fields, None).await?;
    if let Some(key) = &extras.key {
        tokens::keys::set_in(change, &made.identifier, key).await?;
    }
    Ok(made.uuid)
}

/// The fields of an object that its reader reads.
pub(super) fn writable(model: Model, object: &Value) -> BTreeSet<String> {
    let mut body = Body::of(object.as_object().cloned().unwrap_or_default());
    let of = &mut body;
    // What is wrong with it is no matter here: only which fields are asked for.
    match model {
        Model::User => drop(api::users::fields(of, true)),
        Model::Group => drop(api::groups::fields(of, true)),
        Model::Token => drop(api::tokens::fields(of, true)),
        Model::Application => drop(api::applications::read(of, true)),
        Model::Entitlement => drop(api::entitlements::read(of, true)),
        Model::Binding => drop(api::bindings::read(of, true)),
        Model::Policy(kind) => drop(api::policies::read(of, kind, true)),
        Model::OAuth2Provider => drop(api::providers::oauth2::read(of, true)),
        Model::ProxyProvider => drop(api::providers::read(of, true)),
        Model::ScopeMapping => drop(api::mappings::read(of, true)),
        Model::OAuthSource => drop(api::sources::read(of, true)),
        Model::Certificate => drop(api::certificates::read(of, true)),
        Model::Outpost => drop(api::outposts::read(of, true)),
        Model::Brand => drop(api::brands::fields(of, true)),
        Model::Role => drop(api::roles::read(of, true)),
        Model::Instance => drop(instance::fields(None, of, None, true)),
        Model::Flow | Model::Stage(_) | Model::StageBinding => {}
    }
    body.into_asked()
}

/// Deletes an object, with what goes with it.
///
/// # Errors
/// [`Refusal`]; then the transaction is not to be committed.
pub(super) async fn delete(change: &mut Change<'_>, model: Model, found: &Value) -> Result<(), Refusal> {
    let pk = model.key(found);
    let text = |field: &str| found[field].as_str().unwrap_or_default();
    match model {
        Model::User => directory::users::delete_in(change, user(&pk)?).await?,
        Model::Group => directory::groups::delete_in(change, parsed(&pk)?).await?,
        Model::Token => tokens::delete_in(change, text("identifier")).await?,
        Model::Application => applications::delete_in(change, text("slug")).await?,
        Model::Entitlement => entitlements::delete_in(change, parsed(&pk)?).await?,
        Model::Binding => bindings::delete_in(change, parsed(&pk)?).await?,
        Model::Policy(kind) => policies::delete_in(change, Some(kind), parsed(&pk)?).await?,
        Model::OAuth2Provider => providers::delete_in(change, provider(&pk)?, Provider::OAuth2, None).await?,
        Model::ProxyProvider => providers::delete_in(change, provider(&pk)?, Provider::Proxy, None).await?,
        Model::ScopeMapping => mappings::delete_in(change, parsed(&pk)?, "ScopeMapping").await?,
        Model::OAuthSource => sources::delete_in(change, text("slug"), "OAuthSource").await?,
        Model::Certificate => certificates::delete_in(change, parsed(&pk)?).await?,
        Model::Brand => brands::delete_in(change, parsed(&pk)?).await?,
        Model::Role => roles::delete_in(change, parsed(&pk)?).await?,
        Model::Instance => blueprints::delete_in(change, parsed(&pk)?).await?,
        Model::Outpost => outposts::delete_in(change, parsed(&pk)?).await?,
        Model::Flow | Model::Stage(_) | Model::StageBinding => {
            return Err(refused("state", "Objects of this kind cannot be deleted."));
        }
    }
    Ok(())
}

/// Lets a user or a role have a right on one object (CO-721).
///
/// # Errors
/// [`Refusal`]; then the transaction is not to be committed.
pub(super) async fn grant(
    change: &mut Change<'_>,
    model: Model,
    permission: &portcullis_blueprint::Permission,
    object: &Value,
    granted: &mut Granted,
) -> Result<bool, Refusal> {
    let role = match (&permission.user, &permission.role) {
        (Some(key), None) => roles::own_of_in(change, user(key)?).await?,
        (None, Some(role)) => parsed(role)?,
        _ => return Err(refused(PERMISSIONS, "One of 'user', 'role' must be set, and not both.")),
    };
    let object = match object {
        Value::String(key) => key.clone(),
        key => key.to_string(),
    };
    let permission = whole(&permission.permission, model);
    if !concerns(&permission, model) {
        let message = format!("'{permission}' is not about objects of {}.", model.name());
        return Err(refused(PERMISSIONS, &message));
    }
    granted.name(role, &permission, &object);
    let done = roles::grant_in(change, role, &permission, Some(&object)).await;
    done.map_err(|error| of_permissions(PERMISSIONS, error))
}

/// A right by its whole name: one without its app is of that of the entry's objects.
fn whole(permission: &str, model: Model) -> String {
    match model.name().split_once('.') {
        Some((app, _)) if !permission.contains('.') => format!("{app}.{permission}"),
        _ => permission.to_owned(),
    }
}
