//! Applications: made, changed, deleted, and where they are (CO-130 … CO-137).

mod view;

use std::collections::HashMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_core::id::{ApplicationId, ProviderPk};
use portcullis_core::permission::{Model, Verb};
use portcullis_core::policy::Mode;
use portcullis_store::application::Application;
use portcullis_store::grant::descent::Ended;
use portcullis_store::provider::Provider;
use portcullis_store::{Conn, StoreError, application, binding, provider};
use serde_json::{Value, json};

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::directory::Person;
use crate::entitlements;
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::oauth::origins;

pub use portcullis_store::application::{Filter, Order};
pub(crate) use view::one as view_of;
pub use view::{View, Wanted, all_in, check_access, get, get_usable, list, slug_of};

/// Slugs that would hide endpoints (CO section 6, OA-051).
const RESERVED: [&str; 8] = ["authorize", "token", "device", "userinfo", "introspect", "revoke", "par", "register"];
const SCHEMES: [&str; 5] = ["http", "https", "ssh", "sftp", "blank"];

/// What is to be stored of an application; absent members stay as they are, or have their default on
/// creation.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO section 6)")]
pub struct Fields {
    pub name: Option<String>,
    pub slug: Option<String>,
    pub provider: Option<Option<ProviderPk>>,
    pub backchannel_providers: Option<Vec<ProviderPk>>,
    pub group: Option<String>,
    pub policy_engine_mode: Option<String>,
    pub meta_launch_url: Option<String>,
    pub meta_icon: Option<String>,
    pub meta_description: Option<String>,
    pub meta_publisher: Option<String>,
    pub meta_hide: Option<bool>,
    pub open_in_new_tab: Option<bool>,
}

/// Makes an application.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<ApplicationId, Error> {
    actor.need(Verb::Add, Model::APPLICATION)?;
    let mut change = Change::begin(ctx, actor).await?;
    let uuid = create_in(ctx, &mut change, fields).await?;
    change.commit().await?;
    Ok(uuid)
}

/// Makes an application as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create_in(ctx: &Context, change: &mut Change<'_>, fields: Fields) -> Result<ApplicationId, Error> {
    let mut made = Application {
        uuid: ApplicationId(ctx.entropy.uuid()),
        name: String::new(),
        slug: String::new(),
        provider: None,
        portal_group: String::new(),
        policy_engine_mode: "any".to_owned(),
        meta_launch_url: String::new(),
        meta_icon: String::new(),
        meta_description: String::new(),
        meta_publisher: String::new(),
        meta_hide: false,
        open_in_new_tab: false,
    };
    let mut problems = Problems::default();
    for (field, missing) in [("name", fields.name.is_none()), ("slug", fields.slug.is_none())] {
        if missing {
            problems.add(field, "This field is required.");
        }
    }
    apply(&mut made, &fields);
    check(&made, &fields, &mut problems);
    check_provider(change, None, &fields, &mut problems).await?;
    problems.check()?;
    application::insert(change.conn(), &made).await.map_err(taken)?;
    if let Some(provider) = made.provider {
        change.touch(Touched::Provider(provider));
    }
    change.event("model_created", json!({"model": named(&made)})).await?;
    Ok(made.uuid)
}

/// Changes an application. A provider that it leaves loses everything that was granted (OA-052).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, slug: &str, fields: Fields) -> Result<ApplicationId, Error> {
    if !actor.may_somewhere(Verb::Change, Model::APPLICATION) {
        return Err(Error::Forbidden);
    }
    let mut change = Change::begin(ctx, actor).await?;
    let made = update_in(&mut change, slug, fields).await?;
    change.commit().await?;
    Ok(made)
}

/// Changes an application as part of a larger change.
///
/// # Errors
/// As [`update`].
pub async fn update_in(change: &mut Change<'_>, slug: &str, fields: Fields) -> Result<ApplicationId, Error> {
    let stored = application::by_slug(change.conn(), slug).await?.ok_or(Error::NotFound("Application"))?;
    change.actor().need_on(Verb::Change, Model::APPLICATION, &stored.uuid)?;
    let mut changed = stored.clone();
    apply(&mut changed, &fields);
    let mut problems = Problems::default();
    check(&changed, &fields, &mut problems);
    check_provider(change, stored.provider, &fields, &mut problems).await?;
    problems.check()?;
    application::update(change.conn(), &changed).await.map_err(taken)?;
    if let Some(left) = stored.provider.filter(|_| stored.provider != changed.provider) {
        change.end_tokens(&Ended::MadeOf(left)).await?;
        provider::end_grants(change.conn(), left).await?;
    }
    for provider in stored.provider.into_iter().chain(changed.provider) {
        change.touch(Touched::Provider(provider));
    }
    let context = json!({"model": named(&changed), "diff": diff(&snapshot(&stored), &snapshot(&changed))});
    change.event("model_updated", context).await?;
    Ok(changed.uuid)
}

/// Deletes an application with its bindings; its provider stays, without what was granted (CO-130, OA-052).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn delete(ctx: &Context, actor: &Actor, slug: &str) -> Result<(), Error> {
    if !actor.may_somewhere(Verb::Delete, Model::APPLICATION) {
        return Err(Error::Forbidden);
    }
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, slug).await?;
    change.commit().await
}

/// Deletes an application as part of a larger change.
///
/// # Errors
/// As [`delete`].
pub async fn delete_in(change: &mut Change<'_>, slug: &str) -> Result<(), Error> {
    let gone = application::by_slug(change.conn(), slug).await?.ok_or(Error::NotFound("Application"))?;
    change.actor().need_on(Verb::Delete, Model::APPLICATION, &gone.uuid)?;
    binding::delete_of(change.conn(), gone.uuid.0).await?;
    entitlements::before_application_is_deleted(change, gone.uuid).await?;
    application::delete(change.conn(), gone.uuid).await?;
    if let Some(provider) = gone.provider {
        change.end_tokens(&Ended::MadeOf(provider)).await?;
        provider::end_grants(change.conn(), provider).await?;
        change.touch(Touched::Provider(provider));
    }
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// Where what a provider is for is found: all that launch URLs need of it.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    external_host: &'a str,
    redirect_uris: &'a Value,
}

impl<'a> From<&'a Provider> for Home<'a> {
    fn from(provider: &'a Provider) -> Self {
        Self { external_host: &provider.external_host, redirect_uris: &provider.redirect_uris }
    }
}

impl<'a> From<&'a provider::Home> for Home<'a> {
    fn from(home: &'a provider::Home) -> Self {
        Self { external_host: &home.external_host, redirect_uris: &home.redirect_uris }
    }
}

impl Home<'_> {
    /// The host that is guarded, or that of the first address that answers are sent to. A pattern of addresses is none.
    fn url(self) -> Option<String> {
        let host = Some(self.external_host).filter(|host| !host.is_empty()).map(str::to_owned);
        host.or_else(|| origins::first(self.redirect_uris))
    }
}

/// Where the application is: its own launch URL, or where its provider says (CO-133). With a person, placeholders
/// are filled from what is known of them; if that cannot be done the text stays as it is.
pub fn launch_url(application: &Application, home: Option<Home<'_>>, person: Option<&Person>) -> Option<String> {
    let text = match application.meta_launch_url.as_str() {
        "" => return home.and_then(Home::url),
        own => own,
    };
    Some(person.and_then(|person| filled(text, person)).unwrap_or_else(|| text.to_owned()))
}

/// Whether the portal offers to open the application at all.
pub fn is_launchable(launch_url: Option<&str>) -> bool {
    launch_url.is_some_and(|url| url != "blank://blank")
}

/// Where each of these applications opens for somebody.
///
/// # Errors
/// When the store fails.
pub(crate) async fn launch_urls(
    conn: &mut Conn,
    applications: &[Application],
    person: &Person,
) -> Result<Vec<Option<String>>, Error> {
    // Only those without an address of their own are where their provider says.
    let asking = applications.iter().filter(|application| application.meta_launch_url.is_empty());
    let keys: Vec<_> = asking.filter_map(|application| application.provider).collect();
    let homes: HashMap<_, _> = provider::homes(conn, &keys).await?.into_iter().map(|home| (home.pk, home)).collect();
    let of = |application: &Application| {
        let home = application.provider.and_then(|pk| homes.get(&pk));
        launch_url(application, home.map(Home::from), Some(person))
    };
    Ok(applications.iter().map(of).collect())
}

/// Fills `%(key)s`; `%%` is a percent sign. None for any other percent sign and for unknown keys.
fn filled(text: &str, person: &Person) -> Option<String> {
    /// What needs no encoding in any part of a URL.
    const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (key, after) = after.strip_prefix('(')?.split_once(")s")?;
        let account = &person.account;
        let value = match key {
            "username" => account.username.clone(),
            "email" => account.email.clone(),
            "name" => account.name.clone(),
            "uid" => person.uid.clone(),
            "uuid" => account.uuid.to_string(),
            "pk" => account.pk.to_string(),
            "path" => account.path.clone(),
            "type" => account.kind.clone(),
            _ => return None,
        };
        out.extend(utf8_percent_encode(&value, UNRESERVED));
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

fn apply(application: &mut Application, fields: &Fields) {
    fn set<T: Clone>(stored: &mut T, written: &Option<T>) {
        if let Some(written) = written {
            stored.clone_from(written);
        }
    }
    set(&mut application.name, &fields.name);
    set(&mut application.slug, &fields.slug);
    set(&mut application.provider, &fields.provider);
    set(&mut application.portal_group, &fields.group);
    set(&mut application.policy_engine_mode, &fields.policy_engine_mode);
    set(&mut application.meta_launch_url, &fields.meta_launch_url);
    set(&mut application.meta_icon, &fields.meta_icon);
    set(&mut application.meta_description, &fields.meta_description);
    set(&mut application.meta_publisher, &fields.meta_publisher);
    set(&mut application.meta_hide, &fields.meta_hide);
    set(&mut application.open_in_new_tab, &fields.open_in_new_tab);
}

/// An application says who gets through the provider that it names: who newly names one may change it, and learns of others no
/// more than that they may not.
async fn check_provider(
    change: &mut Change<'_>,
    before: Option<ProviderPk>,
    fields: &Fields,
    problems: &mut Problems,
) -> Result<(), Error> {
    let Some(pk) = fields.provider.flatten().filter(|pk| Some(*pk) != before) else { return Ok(()) };
    let found = provider::by_pk(change.conn(), pk).await?;
    let may = |verb, provider: &Provider| {
        let kind = if provider.is_proxy() { Model::PROXY_PROVIDER } else { Model::OAUTH2_PROVIDER };
        change.actor().may_on(verb, kind, &pk)
    };
    match found {
        Some(provider) if may(Verb::Change, &provider) => {}
        Some(provider) if may(Verb::View, &provider) => {
            problems.add("provider", "User does not have access to provider.");
        }
        _ => problems.add("provider", format!("Invalid pk \"{pk}\" - object does not exist.")),
    }
    Ok(())
}

fn check(application: &Application, fields: &Fields, problems: &mut Problems) {
    for (field, text) in [("name", &fields.name), ("slug", &fields.slug)] {
        if text.as_ref().is_some_and(String::is_empty) {
            problems.add(field, "This field may not be blank.");
        }
    }
    for (field, text) in [
        ("name", &application.name),
        ("slug", &application.slug),
        ("group", &application.portal_group),
        ("meta_launch_url", &application.meta_launch_url),
        ("meta_icon", &application.meta_icon),
        ("meta_description", &application.meta_description),
        ("meta_publisher", &application.meta_publisher),
    ] {
        problems.limit(field, text);
    }
    let slug = application.slug.as_str();
    if !slug.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        problems.add("slug", "Enter a valid \"slug\" consisting of letters, numbers, underscores or hyphens.");
    } else if RESERVED.contains(&slug) {
        problems.add("slug", format!("The slug '{slug}' is reserved and cannot be used for applications."));
    }
    if Mode::parse(&application.policy_engine_mode).is_none() {
        let mode = &application.policy_engine_mode;
        problems.add("policy_engine_mode", format!("\"{mode}\" is not a valid choice."));
    }
    let launch = application.meta_launch_url.as_str();
    let scheme = launch.split_once("://").filter(|(_, rest)| !rest.is_empty()).map(|(scheme, _)| scheme);
    if !launch.is_empty() && !scheme.is_some_and(|scheme| SCHEMES.contains(&scheme.to_ascii_lowercase().as_str())) {
        problems.add("meta_launch_url", "Enter a valid URL.");
    }
    for pk in fields.backchannel_providers.iter().flatten() {
        problems.add("backchannel_providers", format!("Invalid pk \"{pk}\" - object does not exist."));
    }
}

fn taken(error: StoreError) -> Error {
    match error {
        StoreError::Taken(column) if column == "application.provider" => {
            Error::field("provider", "Application with this provider already exists.")
        }
        other => Error::taken(other, "application.slug", "slug", "Application with this slug already exists."),
    }
}

pub(crate) fn named(application: &Application) -> Value {
    model("authentik_core", "application", application.uuid, &application.name)
}

fn snapshot(application: &Application) -> Value {
    json!({
        "name": application.name,
        "slug": application.slug,
        "provider": application.provider,
        "group": application.portal_group,
        "policy_engine_mode": application.policy_engine_mode,
        "meta_launch_url": application.meta_launch_url,
        "meta_icon": application.meta_icon,
        "meta_description": application.meta_description,
        "meta_publisher": application.meta_publisher,
        "meta_hide": application.meta_hide,
        "open_in_new_tab": application.open_in_new_tab,
    })
}
