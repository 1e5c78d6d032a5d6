//! What keeps its identity when it comes from another installation: the id by which subjects are made (OA-931), client ids
//! and names of keys (OA-932), accounts of machines (OA-934), and what people agreed to (OA-930).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{CertificateId, ProviderPk, SourceId, UserPk};
use portcullis_store::account::{self, Account};
use portcullis_store::consent::{self, Consent};
use portcullis_store::federated::{self, Link};
use portcullis_store::{application, certificate, instance, provider};
use serde_json::json;
use uuid::Uuid;

use crate::bootstrap::ADMINISTRATOR;
use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::event::model;
use crate::list::Slice;
use crate::mappings::API_SCOPE;
use crate::{applications, certificates, directory, providers};

/// Most characters of the name of a key.
const LONGEST_KID: usize = 255;
/// Seconds for which a consent holds that says no end, as if it were given now; and for which the account of a subject stays
/// whose last assertion has ended: it may come again.
const WEEKS: i64 = 28 * 24 * 60 * 60;
/// Longest that a consent holds that was given elsewhere, in seconds.
const YEAR: i64 = 365 * 24 * 60 * 60;

/// Gives this installation the permanent id of another one, if nobody is known by its own yet: only the first
/// administrator and the accounts of outposts are here. Tells whether it has that id now.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but superusers, [`Error::Invalid`] when it is no id; or when the store fails.
pub async fn install_id(ctx: &Context, actor: &Actor, id: &str) -> Result<bool, Error> {
    directory::superuser_only(actor)?;
    let id = parsed(id)?;
    let mut change = Change::begin(ctx, actor).await?;
    let present = match id_in(&mut change, &id).await? {
        Present::Is => return Ok(true),
        Present::Stays => return Ok(false),
        Present::Changes(present) => present,
    };
    instance::set_install_id(change.conn(), &id).await?;
    let named = model("authentik_tenants", "tenant", &id, "Settings");
    let difference = json!({"install_id": {"previous": present, "new": id}});
    change.event("model_updated", json!({"model": named, "diff": difference})).await?;
    change.touch(Touched::Everyone);
    // A process that serves the instance reads it again.
    change.announce().await?;
    change.commit().await?;
    ctx.install_id.set(id);
    Ok(true)
}

/// Whether [`install_id`] would give this installation that id, or it has it.
///
/// # Errors
/// As [`install_id`].
pub async fn takes_install_id(ctx: &Context, actor: &Actor, id: &str) -> Result<bool, Error> {
    directory::superuser_only(actor)?;
    let id = parsed(id)?;
    // Never committed: only for reading.
    let mut change = Change::begin(ctx, actor).await?;
    Ok(!matches!(id_in(&mut change, &id).await?, Present::Stays))
}

/// What becomes of the id that an installation has.
enum Present {
    /// It is the other one already.
    Is,
    /// People are known by it.
    Stays,
    /// This one is replaced.
    Changes(String),
}

fn parsed(id: &str) -> Result<String, Error> {
    Ok(Uuid::parse_str(id).map_err(|_| Error::field("install_id", "Must be a valid UUID."))?.to_string())
}

async fn id_in(change: &mut Change<'_>, id: &str) -> Result<Present, Error> {
    let present = instance::get(change.conn()).await?.map(|instance| instance.install_id).unwrap_or_default();
    if present == id {
        return Ok(Present::Is);
    }
    let kinds = ["internal", "external", "service_account"].map(str::to_owned).to_vec();
    let people = account::Filter { kinds, ..account::Filter::default() };
    let few = Slice { limit: 2, ..Slice::ALL };
    let people = account::list(change.conn(), &people, few).await?.rows;
    match people.iter().any(|account| account.username != ADMINISTRATOR) {
        true => Ok(Present::Stays),
        false => Ok(Present::Changes(present)),
    }
}

/// Has an account stand for a provider's client secret, as part of a larger change; tells whether it did not already. A
/// provider that has such an account keeps it.
///
/// # Errors
/// [`Error::Invalid`] when it is no service account; or when the store fails.
pub async fn generated_in(change: &mut Change<'_>, user: UserPk, of: ProviderPk) -> Result<bool, Error> {
    let mut account = machine(change, user).await?;
    if provider::by_pk(change.conn(), of).await?.is_none() {
        return Err(Error::NotFound("Provider"));
    }
    if account.generated_for.is_some() || account::generated_for(change.conn(), of).await?.is_some() {
        return Ok(false);
    }
    account.generated_for = Some(of);
    account::update(change.conn(), &account).await?;
    linked(change, &account, json!({"provider": of})).await?;
    Ok(true)
}

/// Has an account stand for a subject that a source vouches for, as part of a larger change; tells whether it did not
/// already. A subject that has an account keeps it.
///
/// # Errors
/// [`Error::Invalid`] when it is no service account; or when the store fails.
pub async fn federated_in(
    change: &mut Change<'_>,
    user: UserPk,
    of: ProviderPk,
    source: SourceId,
    (issuer, subject): (&str, &str),
    until: Timestamp,
) -> Result<bool, Error> {
    let account = machine(change, user).await?;
    if federated::find(change.conn(), of, source, issuer, subject).await?.is_some() {
        return Ok(false);
    }
    let until = until.max(change.context().now().plus_seconds(WEEKS));
    let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
    let link = Link { account: user, provider: of, source, issuer, subject, expires: until };
    federated::keep(change.conn(), &link).await?;
    linked(change, &account, json!({"provider": of, "source": source, "issuer": link.issuer})).await?;
    Ok(true)
}

async fn machine(change: &mut Change<'_>, user: UserPk) -> Result<Account, Error> {
    let account = account::by_pk(change.conn(), user).await?.ok_or(Error::NotFound("User"))?;
    match account.kind.as_str() {
        "service_account" => Ok(account),
        _ => Err(Error::field("type", "Only service accounts stand for machines.")),
    }
}

async fn linked(change: &mut Change<'_>, account: &Account, to: serde_json::Value) -> Result<(), Error> {
    change.touch(Touched::User(account.uuid));
    let named = model("authentik_core", "user", account.pk, &account.username);
    change.event("model_updated", json!({"model": named, "diff": {"stands_for": to}})).await
}

/// Gives a provider the client id by which its clients know it, as part of a larger change; tells whether it had another.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] on `client_id` when another has it.
pub async fn client_id_in(change: &mut Change<'_>, pk: ProviderPk, client_id: &str) -> Result<bool, Error> {
    let mut changed = provider::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Provider"))?;
    if changed.client_id == client_id {
        return Ok(false);
    }
    if client_id.is_empty()
        || client_id.len() > 255
        || provider::by_client_id(change.conn(), client_id).await?.is_some()
    {
        return Err(Error::field("client_id", "This field must be unique."));
    }
    let previous = std::mem::replace(&mut changed.client_id, client_id.to_owned());
    provider::update(change.conn(), &changed).await?;
    change.touch(Touched::Provider(pk));
    let difference = json!({"client_id": {"previous": previous, "new": client_id}});
    change.event("model_updated", json!({"model": providers::named(&changed), "diff": difference})).await?;
    Ok(true)
}

/// Has tokens name a key as they did before, as part of a larger change; tells whether they would not have.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] on `kid`.
pub async fn kid_in(change: &mut Change<'_>, pk: CertificateId, kid: &str) -> Result<bool, Error> {
    let mut changed = certificate::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("CertificateKeyPair"))?;
    if changed.kid.as_deref() == Some(kid) {
        return Ok(false);
    }
    if kid.is_empty() || kid.len() > LONGEST_KID {
        return Err(Error::field("kid", "This is not the name of a key."));
    }
    let previous = changed.kid.replace(kid.to_owned());
    certificate::update(change.conn(), &changed).await?;
    change.touch(Touched::Configuration);
    let difference = json!({"kid": {"previous": previous, "new": kid}});
    change.event("model_updated", json!({"model": certificates::named(&changed), "diff": difference})).await?;
    Ok(true)
}

/// Whether scopes, apart by spaces, let an application act through our API as whoever agreed.
pub fn reaches_api(scope: &str) -> bool {
    scope.split_whitespace().any(|scope| scope == API_SCOPE)
}

/// Keeps that somebody agreed to an application elsewhere; tells whether that was not known. What they agreed to here, and
/// what has ended, stays as it is. Without an end it is as if they agreed now, and no end is later than in a year. What lets an
/// application act through our API is asked for anew.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but superusers, [`Error::NotFound`]; or when the store fails.
pub async fn consent(
    ctx: &Context,
    actor: &Actor,
    username: &str,
    slug: &str,
    scope: &str,
    expires: Option<Timestamp>,
) -> Result<bool, Error> {
    directory::superuser_only(actor)?;
    let view = applications::get(ctx, slug).await?;
    let now = ctx.now();
    let expires = expires.unwrap_or_else(|| now.plus_seconds(WEEKS)).min(now.plus_seconds(YEAR));
    if reaches_api(scope) {
        return Ok(false);
    }
    let mut change = Change::begin(ctx, actor).await?;
    let account = account::by_username(change.conn(), username).await?.ok_or(Error::NotFound("User"))?;
    let found =
        application::by_uuid(change.conn(), view.application.uuid).await?.ok_or(Error::NotFound("Application"))?;
    let Some(of) = found.provider else { return Ok(false) };
    let known = consent::scope(change.conn(), account.pk, of, found.uuid, now).await?;
    if expires <= now || known.is_some() {
        return Ok(false);
    }
    let (application, scope) = (found.uuid, scope.to_owned());
    let given = Consent { pk: 0, account: account.pk, provider: of, application, scope, created: now, expires };
    consent::keep(change.conn(), &given).await?;
    let named = model("authentik_core", "userconsent", account.pk, &found.name);
    change.event("model_created", json!({"model": named, "user": account.username})).await?;
    change.commit().await?;
    Ok(true)
}
