//! The settings as the administrator sees and changes them.

use portcullis_core::permission::special;
use portcullis_store::{Conn, instance};
use serde_json::{Map, Value, json};

use super::{check, defaults, stored};
use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{diff, model};

/// Longest page that may be set.
const LONGEST_PAGE: i32 = 1000;

/// What is to be changed of the settings; absent members stay as they are.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the setting of the same name (CO-500)")]
pub struct Fields {
    pub avatars: Option<String>,
    pub default_user_change_name: Option<bool>,
    pub default_user_change_email: Option<bool>,
    pub default_user_change_username: Option<bool>,
    pub event_retention: Option<String>,
    pub reputation_lower_limit: Option<i32>,
    pub reputation_upper_limit: Option<i32>,
    pub footer_links: Option<Value>,
    pub gdpr_compliance: Option<bool>,
    pub impersonation: Option<bool>,
    pub impersonation_require_reason: Option<bool>,
    pub default_token_duration: Option<String>,
    pub default_token_length: Option<i32>,
    pub pagination_default_page_size: Option<i32>,
    pub pagination_max_page_size: Option<i32>,
    pub flags: Option<Value>,
    /// What is said in the settings file cannot be changed here.
    pub base_url: Option<String>,
}

/// A link below the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FooterLink {
    /// What it says.
    pub name: String,
    /// Where it leads; text only without.
    pub href: Option<String>,
}

/// The links below the pages.
///
/// # Errors
/// When the store fails.
pub async fn footer_links(conn: &mut Conn) -> Result<Vec<FooterLink>, Error> {
    let settings = stored(conn).await?;
    let links = settings.get("footer_links").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |link: &Value, member: &str| link.get(member).and_then(Value::as_str).map(str::to_owned);
    let link = |link: &Value| {
        let href = text(link, "href").filter(|href| check::is_link(href));
        Some(FooterLink { name: text(link, "name")?, href })
    };
    Ok(links.iter().filter_map(link).collect())
}

/// The flags, which everybody may see (CO-501).
///
/// # Errors
/// When the store fails.
pub async fn shown_flags(conn: &mut Conn) -> Result<Value, Error> {
    Ok(complete(&stored(conn).await?).remove("flags").unwrap_or_default())
}

/// All settings.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission.
pub async fn shown(ctx: &Context, actor: &Actor) -> Result<Map<String, Value>, Error> {
    // Who changes them sees them in the answer.
    if !actor.holds(special::EDIT_SYSTEM_SETTINGS) {
        actor.need_right(special::VIEW_SYSTEM_SETTINGS)?;
    }
    let settings = stored(&mut ctx.db.read().await?).await?;
    let mut shown = complete(&settings);
    shown.insert("base_url".to_owned(), json!(ctx.base_url));
    Ok(shown)
}

/// The settings as expressions see them (CO-238).
pub(crate) async fn tenant(ctx: &Context, conn: &mut Conn) -> Result<Map<String, Value>, Error> {
    let mut settings = complete(&stored(conn).await?);
    settings.insert("base_url".to_owned(), json!(ctx.base_url));
    Ok(settings)
}

/// Changes settings.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for values that break a rule.
pub async fn update(ctx: &Context, actor: &Actor, fields: Fields) -> Result<(), Error> {
    actor.need_right(special::EDIT_SYSTEM_SETTINGS)?;
    let mut problems = Problems::default();
    if fields.base_url.as_ref().is_some_and(|url| url.trim_end_matches('/') != ctx.base_url) {
        problems.add("base_url", "The base URL is set in the settings file (base_url).");
    }
    let mut change = Change::begin(ctx, actor).await?;
    let mut settings = stored(change.conn()).await?;
    let before = complete(&settings);
    apply(&mut settings, fields, &before, &mut problems);
    problems.check()?;
    let after = complete(&settings);
    if after == before {
        return Ok(());
    }
    instance::set_settings(change.conn(), &Value::Object(settings)).await?;
    // Applications without bindings may open or close, and what is kept of settings is read again.
    change.touch(Touched::Everyone);
    let difference = diff(&Value::Object(before), &Value::Object(after));
    let named = model("authentik_tenants", "tenant", ctx.install_id.get(), "Settings");
    change.event("model_updated", json!({"model": named, "diff": difference})).await?;
    change.commit().await
}

/// Every setting that the API knows, with its default where nothing is stored.
fn complete(settings: &Map<String, Value>) -> Map<String, Value> {
    let mut complete = defaults();
    for (key, value) in &mut complete {
        match (settings.get(key), value) {
            (Some(Value::Object(stored)), Value::Object(flags)) => {
                for (flag, value) in flags {
                    if let Some(set) = stored.get(flag) {
                        value.clone_from(set);
                    }
                }
            }
            (Some(stored), value) => value.clone_from(stored),
            (None, _) => {}
        }
    }
    complete
}

fn apply(settings: &mut Map<String, Value>, fields: Fields, before: &Map<String, Value>, problems: &mut Problems) {
    for (field, text) in
        [("event_retention", &fields.event_retention), ("default_token_duration", &fields.default_token_duration)]
    {
        if let Some(text) = text {
            check::lasting(field, text, problems);
        }
    }
    if let Some(avatars) = &fields.avatars {
        problems.limit("avatars", avatars);
    }
    for (field, number, least, most) in [
        ("reputation_lower_limit", fields.reputation_lower_limit, -1_000_000, 0),
        ("reputation_upper_limit", fields.reputation_upper_limit, 0, 1_000_000),
        ("default_token_length", fields.default_token_length, 40, 255),
        ("pagination_default_page_size", fields.pagination_default_page_size, 1, LONGEST_PAGE),
        ("pagination_max_page_size", fields.pagination_max_page_size, 1, LONGEST_PAGE),
    ] {
        if let Some(number) = number {
            check::within(field, number, least, most, problems);
        }
    }
    if let Some(links) = &fields.footer_links {
        check::footer_links(links, problems);
    }
    let flags = fields.flags.map(|given| flags(&given, before, problems));
    let given = [
        ("avatars", fields.avatars.map(Value::from)),
        ("default_user_change_name", fields.default_user_change_name.map(Value::from)),
        ("default_user_change_email", fields.default_user_change_email.map(Value::from)),
        ("default_user_change_username", fields.default_user_change_username.map(Value::from)),
        ("event_retention", fields.event_retention.map(Value::from)),
        ("reputation_lower_limit", fields.reputation_lower_limit.map(Value::from)),
        ("reputation_upper_limit", fields.reputation_upper_limit.map(Value::from)),
        ("footer_links", fields.footer_links),
        ("gdpr_compliance", fields.gdpr_compliance.map(Value::from)),
        ("impersonation", fields.impersonation.map(Value::from)),
        ("impersonation_require_reason", fields.impersonation_require_reason.map(Value::from)),
        ("default_token_duration", fields.default_token_duration.map(Value::from)),
        ("default_token_length", fields.default_token_length.map(Value::from)),
        ("pagination_default_page_size", fields.pagination_default_page_size.map(Value::from)),
        ("pagination_max_page_size", fields.pagination_max_page_size.map(Value::from)),
        ("flags", flags),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            settings.insert(key.to_owned(), value);
        }
    }
}

/// The flags with those that are given; names that nobody knows are ignored.
fn flags(given: &Value, before: &Map<String, Value>, problems: &mut Problems) -> Value {
    let mut flags = before.get("flags").cloned().unwrap_or_default();
    let (Some(given), Some(known)) = (given.as_object(), flags.as_object_mut()) else {
        problems.add("flags", "Value must be a dictionary, and not have any duplicate keys.");
        return flags;
    };
    for (flag, value) in known.iter_mut() {
        match given.get(flag) {
            Some(Value::Bool(new)) => *value = json!(new),
            Some(_) => problems.add("flags", format!("{flag}: Must be a valid boolean.")),
            None => {}
        }
    }
    flags
}
