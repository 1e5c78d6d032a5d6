//! Accounts of subjects that a source vouches for (OA-330 … OA-335).

use portcullis_core::attributes::{Attributes, merge};
use portcullis_core::clock::Timestamp;
use portcullis_core::id::{MappingId, UserPk};
use portcullis_core::keys::sha256;
use portcullis_core::username::{LONGEST, replaced};
use portcullis_store::account::{self, Account};
use portcullis_store::application::Application;
use portcullis_store::federated::{self, Link};
use portcullis_store::source::Source;
use portcullis_store::{Conn, mapping};
use serde_json::{Map, Value, json};

use super::NOTE_SECONDS;
use super::assertion::instant;
use crate::change::{Change, Touched};
use crate::claims::ClaimSet;
use crate::context::{Context, Options, Visitor};
use crate::directory::{self, Person, lookup};
use crate::error::Error;
use crate::event::failing::record_failing_alone;
use crate::mappings::engine::{About, Question};
use crate::mappings::native::Native;
use crate::oauth::client::Client;
use crate::sessions::end_sessions;
use crate::sources::texts;
use crate::{bindings, event, mappings};

/// Attribute of accounts that nobody made by hand.
const GENERATED: &str = "goauthentik.io/user/generated";
/// When the latest assertion of such an account ends, in seconds since 1970.
const EXPIRES: &str = "goauthentik.io/user/expires";
/// Longest display name and e-mail address that a mapping sets, in characters.
const LONGEST_TEXT: usize = 254;

/// Whose account is meant.
pub(super) struct Whose<'a> {
    pub(super) client: &'a Client,
    pub(super) source: &'a Source,
    pub(super) issuer: &'a str,
    pub(super) subject: &'a str,
}

/// What the source's mappings say about somebody.
#[derive(Clone, Debug, Default)]
pub(super) struct Described {
    username: Option<String>,
    name: Option<String>,
    email: Option<String>,
    attributes: Attributes,
}

/// Asks the source's mappings, by name (OA-333). One that fails fails the request (OA-334).
///
/// # Errors
/// When the store fails.
pub(super) async fn describe(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    source: &Source,
    claims: &ClaimSet,
) -> Result<Result<Described, &'static str>, Error> {
    let mut chosen = Vec::new();
    let mut conn = ctx.db.read().await?;
    for pk in texts(&source.user_property_mappings) {
        if let Ok(pk) = pk.parse::<MappingId>()
            && let Some(found) = mapping::by_pk(&mut conn, pk).await?
        {
            chosen.push(found);
        }
    }
    drop(conn);
    chosen.sort_by(|left, right| (&left.name, left.pk).cmp(&(&right.name, right.pk)));
    let mut said = Map::new();
    for mapping in &chosen {
        if Native::of(&mapping.expression).is_some() {
            // These tell about a user, and there is none yet.
            continue;
        }
        let about = About::Source { source, claims, properties: &said };
        let question = Question { mapping: &mapping.name, expression: &mapping.expression, about, visitor };
        match ctx.mapping_engine.evaluate(ctx, &question).await {
            Ok(answer) => {
                if let Value::Object(mut more) = answer.value {
                    more.retain(|_, value| !value.is_null());
                    merge(&mut said, more);
                }
                mappings::record(ctx, &visitor.stranger(""), &mapping.name, &answer.events).await?;
            }
            Err(error) => {
                let context = json!({"message": error, "mapping": mappings::named(mapping),
                    "provider": client.provider.name});
                record_failing_alone(ctx, &visitor.stranger(""), "configuration_error", context).await?;
                return Ok(Err("mapping_failed"));
            }
        }
    }
    let text = |name: &str, longest: usize| -> Option<String> {
        let text = said.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())?;
        Some(text.chars().take(longest).collect())
    };
    let mut attributes = said.get("attributes").and_then(Value::as_object).cloned().unwrap_or_default();
    // These have a meaning of their own, and are ours to set.
    attributes.retain(|key, _| !key.starts_with(portcullis_core::attributes::RESERVED));
    Ok(Ok(Described {
        username: text("username", LONGEST),
        name: text("name", LONGEST_TEXT),
        email: text("email", LONGEST_TEXT),
        attributes,
    }))
}

/// The account of a subject, found by its link alone (OA-331), or what it would be if it was made now.
pub(super) async fn person(
    ctx: &Context,
    conn: &mut Conn,
    whose: &Whose<'_>,
    described: &Described,
) -> Result<Person, Error> {
    if let Some(account) = linked(conn, whose).await? {
        return directory::person_of_unchanged(ctx, conn, account).await;
    }
    let now = ctx.now();
    // Policies are asked about the name that it will have: never about somebody else's.
    let wanted = username(whose, described);
    let is_taken = account::by_username(conn, &wanted).await?.is_some();
    let account = Account {
        pk: UserPk(-1),
        uuid: ctx.entropy.uuid(),
        username: if is_taken { distinct(whose, &wanted) } else { wanted },
        name: String::new(),
        email: described.email.clone().unwrap_or_default(),
        is_active: true,
        kind: "service_account".to_owned(),
        path: whose.source.user_path_template.replace("%(slug)s", &whose.source.slug),
        attributes_sealed: Vec::new(),
        password_hash: None,
        password_changed: now,
        date_joined: now,
        last_updated: now,
        last_login: None,
        generated_for: None,
    };
    let mut attributes = described.attributes.clone();
    attributes.insert(GENERATED.to_owned(), json!(true));
    Ok(Person {
        account,
        teams: std::sync::Arc::default(),
        direct_groups: Vec::new(),
        is_superuser: false,
        own_attributes: attributes.clone(),
        effective_attributes: attributes,
        uid: String::new(),
    })
}

async fn linked(conn: &mut Conn, whose: &Whose<'_>) -> Result<Option<Account>, Error> {
    let Whose { client, source, issuer, subject } = whose;
    match federated::find(conn, client.provider.pk, source.pk, issuer, subject).await? {
        Some(account) => Ok(account::by_pk(conn, account).await?),
        None => Ok(None),
    }
}

/// Makes the account at its first use, afterwards refreshes what mappings say, and nothing that an administrator has
/// set (OA-332, OA-334, OA-335).
pub(super) async fn keep(
    ctx: &Context,
    change: &mut Change<'_>,
    whose: &Whose<'_>,
    described: &Described,
    application: &Application,
    expires: Timestamp,
    person: &mut Person,
) -> Result<(), Error> {
    let known = linked(change.conn(), whose).await?;
    let (mut account, mut attributes) = match known {
        Some(account) => {
            let attributes = directory::account_attributes(ctx, &account)?;
            (account, attributes)
        }
        None => (make(change, whose, application, person).await?, person.own_attributes.clone()),
    };
    let until = instant(&attributes, EXPIRES).unwrap_or(0).max(expires.seconds());
    refresh(ctx, change, described, until, &mut account, &mut attributes).await?;
    let link = Link {
        account: account.pk,
        provider: whose.client.provider.pk,
        source: whose.source.pk,
        issuer: whose.issuer.to_owned(),
        subject: whose.subject.to_owned(),
        expires: Timestamp::from_seconds(until),
    };
    federated::keep(change.conn(), &link).await?;
    *person = directory::person_of(ctx, change.conn(), account).await?;
    Ok(())
}

async fn make(
    change: &mut Change<'_>,
    whose: &Whose<'_>,
    application: &Application,
    person: &Person,
) -> Result<Account, Error> {
    let mut account = person.account.clone();
    account.name = format!("{} at {} ({})", whose.subject, application.name, whose.source.name);
    account.name = account.name.chars().take(LONGEST_TEXT).collect();
    if account::by_username(change.conn(), &account.username).await?.is_some() {
        // Somebody else has the name, and keeps it (OA-312, OA-828).
        account.username = distinct(whose, &account.username);
    }
    account.pk = account::insert(change.conn(), &account).await?;
    Ok(account)
}

/// Brings an account to what mappings say now; whoever is known by it is looked at again if that is something else.
async fn refresh(
    ctx: &Context,
    change: &mut Change<'_>,
    described: &Described,
    until: i64,
    account: &mut Account,
    attributes: &mut Attributes,
) -> Result<(), Error> {
    let now = ctx.now();
    let (name, email) = (account.name.clone(), account.email.clone());
    account.name = described.name.clone().unwrap_or(name.clone());
    account.email = described.email.clone().unwrap_or(email.clone());
    let before = attributes.clone();
    say_anew(attributes, &described.attributes);
    let others_changed = *attributes != before || account.name != name || account.email != email;
    attributes.insert(GENERATED.to_owned(), json!(true));
    attributes.insert(EXPIRES.to_owned(), json!(until));
    let fresh = account.last_login.is_some_and(|last| last > now.plus_seconds(-NOTE_SECONDS));
    if others_changed || !fresh {
        account.last_login = Some(now);
        account::update(change.conn(), account).await?;
    }
    if *attributes != before {
        account.attributes_sealed = lookup::keep(ctx, change.conn(), account.pk, attributes).await?;
    }
    if others_changed {
        change.touch(Touched::User(account.uuid));
    }
    Ok(())
}

/// Merges what was said into what there is. A list is not to grow with every use: it takes the place of the other one.
fn say_anew(known: &mut Attributes, said: &Attributes) {
    for (key, value) in said {
        match (known.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(said)) => say_anew(known, said),
            _ => drop(known.insert(key.clone(), value.clone())),
        }
    }
}

fn username(whose: &Whose<'_>, described: &Described) -> String {
    let own = || format!("{}-{}", whose.client.provider.name, whose.subject);
    let name = replaced(&described.username.clone().unwrap_or_else(own));
    let name: String = name.chars().take(LONGEST).collect();
    // Names with a meaning of their own are nobody's.
    if portcullis_core::username::check(&name).is_ok() { name } else { distinct(whose, "federated") }
}

fn distinct(whose: &Whose<'_>, username: &str) -> String {
    let Whose { client, source, issuer, subject } = whose;
    let all = format!("{}\n{}\n{issuer}\n{subject}", client.provider.uuid, source.pk);
    let suffix: String = sha256(all.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let start: String = username.chars().take(LONGEST - suffix.len() - 1).collect();
    format!("{start}-{suffix}")
}

/// When the latest assertion of a generated account ends: from then on its app passwords are good for nothing (OA-648).
pub(in crate::oauth) fn account_end(person: &Person) -> Option<Timestamp> {
    let own = &person.own_attributes;
    let generated = own.get(GENERATED).and_then(Value::as_bool).unwrap_or(false);
    instant(own, EXPIRES).filter(|_| generated).map(Timestamp::from_seconds)
}

/// Whether a generated account has ended.
pub(crate) fn account_has_ended(person: &Person, now: Timestamp) -> bool {
    account_end(person).is_some_and(|end| end <= now)
}

/// Deletes accounts whose latest assertion ended long ago, with everything of theirs (OA-647, OA-648). One that an
/// administrator took the end from stays.
///
/// # Errors
/// When the store fails.
pub(in crate::oauth) async fn sweep(ctx: &Context) -> Result<(), Error> {
    const BATCH: i64 = 100;
    let retention = ctx.options.generated_account_retention.unwrap_or(Options::GENERATED_ACCOUNT_RETENTION);
    let before = ctx.now().plus_seconds(-retention);
    let actor = crate::context::Actor::system();
    let mut change = Change::begin(ctx, &actor).await?;
    for pk in federated::ended(change.conn(), before, BATCH).await? {
        let Some(account) = account::by_pk(change.conn(), pk).await? else { continue };
        let attributes = directory::account_attributes(ctx, &account)?;
        match instant(&attributes, EXPIRES).map(Timestamp::from_seconds) {
            Some(until) if until < before => {
                end_sessions(&mut change, &account, None, true).await?;
                bindings::before_user_is_deleted(&mut change, account.pk).await?;
                account::delete(change.conn(), account.pk).await?;
                change.touch(Touched::Gone(account.uuid));
                let named = event::model("authentik_core", "user", account.pk, &account.username);
                change.event("model_deleted", json!({"model": named})).await?;
            }
            until => {
                // Changed by hand: looked at again then, or in a long while.
                federated::postpone(change.conn(), pk, until.unwrap_or_else(|| ctx.now())).await?;
            }
        }
    }
    change.commit().await
}
