//! The refresh grant (OA section 10): access that goes on when nobody is there.

use portcullis_core::clock::Timestamp;
use portcullis_core::duration;
use portcullis_core::id::UserPk;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_store::grant;
use portcullis_store::login_session::LoginSession;
use portcullis_store::provider::Provider;
use portcullis_store::refresh_token::{self, RefreshToken};
use portcullis_store::{Conn, provider};
use serde_json::{Value, json};

use super::client::Client;
use super::code::context;
use super::issue::{self, Approval, Basis, Ground};
use super::{OAuthError, issuer};
use crate::access::{self, Judged};
use crate::change::{Change, Touched};
use crate::claims::{self, ACR, ClaimSet, Foretold};
use crate::context::{Context, Visitor};
use crate::directory::{self, Person, users};
use crate::error::Error;
use crate::{entitlements, event, limits};

/// The scope that it takes (OA-148, OA-247).
pub(crate) const OFFLINE: &str = "offline_access";
/// The grant's name on the wire.
pub(crate) const GRANT: &str = "refresh_token";

/// Length of a token (OA-006).
const CHARACTERS: usize = 128;
/// Longer ones are not looked up.
const LONGEST: usize = 512;
/// Lifetime when the provider's text says none, in seconds.
const VALIDITY_SECONDS: i64 = 30 * 24 * 3600;
/// Grants of one user at one provider that go on at a time: one more ends the one that was used least lately.
const MOST_FAMILIES: i64 = 1000;
/// Tokens of one grant that are remembered after they were rotated.
const MOST_ROTATED: i64 = 100;
/// A token may be shown once more so soon after it was rotated: a client that got no answer tries again (OA-265).
const GRACE_SECONDS: i64 = 5;

/// What a client brings.
pub(crate) struct Presented<'a> {
    /// The token.
    pub(crate) token: &'a str,
    /// The scopes it wants, if not all (OA-261).
    pub(crate) scope: Option<&'a str>,
}

/// What a token stands for.
pub(crate) struct Renewed {
    /// Its record.
    pub(crate) token: RefreshToken,
    /// The user.
    pub(crate) person: Person,
    /// Names of the entitlements for the application that they hold.
    pub(crate) entitlements: Vec<String>,
    /// Scopes of the new access token, sorted.
    pub(crate) scopes: Vec<String>,
    /// The token that takes its place, if it was rotated.
    pub(crate) next: Option<String>,
}

/// What was found out before a token is used.
#[derive(Default)]
pub(crate) struct Foreseen {
    judged: Judged,
    /// What expressions of mappings said.
    pub(crate) foretold: Option<Foretold>,
}

fn digest(ctx: &Context, token: &str) -> Digest {
    ctx.keys.digest(Purpose::GrantLookup, &[b"refresh", token.as_bytes()])
}

/// The record of a refresh token, whatever its state and whoever it was issued to.
///
/// # Errors
/// When the store fails.
pub(crate) async fn record(ctx: &Context, conn: &mut Conn, token: &str) -> Result<Option<RefreshToken>, Error> {
    if token.is_empty() || token.len() > LONGEST {
        return Ok(None);
    }
    Ok(refresh_token::by_digest(conn, &digest(ctx, token)).await?)
}

/// The record of a refresh token that a client may see: its own, or one of a provider that lists it as a federated one
/// (OA-493).
///
/// # Errors
/// When the store fails.
pub(crate) async fn visible(
    ctx: &Context,
    conn: &mut Conn,
    client: &Client,
    token: &str,
) -> Result<Option<RefreshToken>, Error> {
    let Some(record) = record(ctx, conn, token).await? else { return Ok(None) };
    if record.provider == client.provider.pk {
        return Ok(Some(record));
    }
    let issuer = provider::by_pk(conn, record.provider).await?;
    Ok(issuer.filter(|issuer| issuer.accepts_tokens_of(client.provider.pk)).map(|_| record))
}

/// Takes the scope away that a grant cannot have: a client that may not refresh gets nothing to do it with, and nobody
/// gives access in somebody else's name that outlives their session (CO-388).
pub(crate) fn without_offline(scopes: &mut Vec<String>, provider: &Provider, login: Option<&LoginSession>) {
    if !provider.may_use(GRANT) || login.is_some_and(|login| login.impersonator.is_some()) {
        scopes.retain(|scope| scope != OFFLINE);
    }
}

/// What a family begins with.
pub(crate) struct Beginning<'a> {
    /// What everything that descends from the authorization has in common.
    pub(crate) grant_id: &'a str,
    /// The user.
    pub(crate) account: UserPk,
    /// Public id of the session that approved it; empty when it has nothing to do with what is issued.
    pub(crate) sid: &'a str,
    /// How the user proved who they are.
    pub(crate) auth_method: &'a str,
    /// Whether they showed a second factor, too.
    pub(crate) second_factor: bool,
    /// When they did.
    pub(crate) auth_time: Timestamp,
    /// Granted scopes.
    pub(crate) scopes: &'a [String],
}

/// Begins a family: the first refresh token of a grant that people approved. Its value; none unless the grant goes on when
/// nobody is there.
///
/// # Errors
/// When the store fails.
pub(crate) async fn begin(
    ctx: &Context,
    change: &mut Change<'_>,
    client: &Client,
    beginning: &Beginning<'_>,
) -> Result<Option<String>, Error> {
    if !beginning.scopes.iter().any(|scope| scope == OFFLINE) {
        return Ok(None);
    }
    let record = RefreshToken {
        pk: 0,
        digest: Vec::new(),
        grant_id: beginning.grant_id.to_owned(),
        provider: client.provider.pk,
        account: beginning.account,
        sid: beginning.sid.to_owned(),
        auth_method: beginning.auth_method.to_owned(),
        second_factor: beginning.second_factor,
        auth_time: beginning.auth_time,
        scope: beginning.scopes.join(" "),
        subject: String::new(),
        began: ctx.now(),
        issued: ctx.now(),
        expires: ctx.now(),
        rotated: None,
        revoked: None,
    };
    let value = keep(ctx, change, &client.provider, record).await?;
    let (account, provider) = (beginning.account, client.provider.pk);
    for grant_id in refresh_token::bound_families(change.conn(), account, provider, MOST_FAMILIES).await? {
        revoke_family(change, &grant_id).await?;
    }
    Ok(Some(value))
}

/// Notes in the transaction that issues something beside a refresh token whom that is about, so that the token says the same
/// (OA-426).
///
/// # Errors
/// When the store fails.
pub(crate) async fn note_subject(
    conn: &mut Conn,
    basis: &Basis<'_>,
    claims: &ClaimSet,
    grant_id: &str,
) -> Result<(), Error> {
    if !basis.scopes.iter().any(|scope| scope == OFFLINE) {
        return Ok(());
    }
    let said = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    let is_own = claims::subject(&basis.client.provider, basis.person).is_some_and(|own| own == said);
    Ok(refresh_token::set_subject(conn, grant_id, if is_own { "" } else { said }).await?)
}

/// When everything ends that descends from one sign-in, if the provider says so (OA-268). What it says now counts, also for
/// what began before.
fn end_of_family(provider: &Provider, began: Timestamp) -> Option<Timestamp> {
    if provider.refresh_family_max_age.is_empty() {
        return None;
    }
    // A text that says no time is none that could be saved: what it meant was an end.
    let longest = duration::seconds_or(&provider.refresh_family_max_age, VALIDITY_SECONDS);
    Some(began.plus_seconds(longest))
}

/// Whether a token can be used: its family has not ended either.
fn holds(provider: &Provider, token: &RefreshToken, now: Timestamp) -> bool {
    token.holds(now) && end_of_family(provider, token.began).is_none_or(|end| end > now)
}

/// What a token rests on that is issued for a refresh token: it ends with the family.
pub(crate) fn ground<'a>(provider: &Provider, token: &RefreshToken) -> Ground<'a> {
    Ground { not_after: end_of_family(provider, token.began), ..Ground::default() }
}

/// The same of what is issued beside the first token of a family, if one begins.
pub(crate) fn ground_of_first<'a>(provider: &Provider, token: Option<&str>, now: Timestamp) -> Ground<'a> {
    Ground { not_after: token.and_then(|_| end_of_family(provider, now)), ..Ground::default() }
}

/// Gives a record a value and a full lifetime, and keeps it.
async fn keep(
    ctx: &Context,
    change: &mut Change<'_>,
    provider: &Provider,
    record: RefreshToken,
) -> Result<String, Error> {
    let (now, value) = (ctx.now(), ctx.entropy.alphanumeric(CHARACTERS));
    let validity = duration::seconds_or(&provider.refresh_token_validity, VALIDITY_SECONDS).max(1);
    let digest = digest(ctx, &value).to_vec();
    let mut expires = now.plus_seconds(validity);
    if let Some(end) = end_of_family(provider, record.began) {
        expires = expires.min(end);
    }
    let record = RefreshToken { digest, issued: now, expires, ..record };
    refresh_token::insert(change.conn(), &record).await?;
    refresh_token::bound_family(change.conn(), &record.grant_id, MOST_ROTATED).await?;
    Ok(value)
}

/// Asks the policies about whoever a token stands for, and the mappings if they pass, before the transaction that uses it.
/// Says nothing about a token that cannot be used; that a revoked one was shown is recorded (OA-663).
///
/// # Errors
/// When the store fails.
pub(crate) async fn foresee(
    ctx: &Context,
    visitor: &Visitor,
    client: &Client,
    presented: &Presented<'_>,
) -> Result<Foreseen, Error> {
    let mut conn = ctx.db.read().await?;
    let known = record(ctx, &mut conn, presented.token).await?;
    let Some(known) = known.filter(|known| known.provider == client.provider.pk) else {
        return Ok(Foreseen::default());
    };
    if known.revoked.is_some() {
        drop(conn);
        note_revoked(ctx, visitor, client, &known).await?;
        return Ok(Foreseen::default());
    }
    let (Ok(scopes), Some(application)) = (wanted(client, &known, presented), client.application.as_ref()) else {
        return Ok(Foreseen::default());
    };
    if !holds(&client.provider, &known, ctx.now()) {
        return Ok(Foreseen::default());
    }
    let Some(person) = directory::person(ctx, &mut conn, known.account).await? else { return Ok(Foreseen::default()) };
    let takes_time = client.mappings.iter().any(|mapping| claims::is_foretold(mapping, &scopes));
    let entitlements = match takes_time {
        true => entitlements::names(&mut conn, &person, application.uuid).await?,
        false => Vec::new(),
    };
    let entries = json!({"oauth_scopes": scopes, "oauth_grant_type": GRANT});
    let judged = access::judge_after(ctx, conn, &person, application, &context(entries).from(visitor)).await?;
    if !(takes_time && judged.decision.passing) {
        return Ok(Foreseen { judged, foretold: None });
    }
    let basis = Basis {
        client,
        application,
        person: &person,
        entitlements: &entitlements,
        scopes: &scopes,
        login: Some(Approval::offline(&known)),
        nonce: None,
        ground: ground(&client.provider, &known),
        visitor,
        foretold: None,
    };
    let foretold = Some(issue::foretell(ctx, &basis).await);
    Ok(Foreseen { judged, foretold })
}

/// The scopes of the new access token: all of the grant, or fewer (OA-261, OA-263). What the client is not offered any more
/// it does not get.
fn wanted(client: &Client, known: &RefreshToken, presented: &Presented<'_>) -> Result<Vec<String>, OAuthError> {
    let granted: Vec<_> = known.scope.split_ascii_whitespace().collect();
    if !granted.contains(&OFFLINE) {
        return Err(OAuthError::InvalidScope);
    }
    let Some(asked) = presented.scope else { return Ok(claims::granted_scopes(&known.scope, &client.mappings)) };
    let mut names = asked.split_ascii_whitespace();
    if !names.clone().any(|name| name == OFFLINE) || names.any(|name| !granted.contains(&name)) {
        return Err(OAuthError::InvalidScope);
    }
    Ok(claims::granted_scopes(asked, &client.mappings))
}

/// Uses a token, rotating it if that is due (OA-260 … OA-267). `foreseen` is what [`foresee`] found.
///
/// # Errors
/// [`OAuthError::InvalidGrant`] for everything that is wrong with it: the change must be committed then, too.
/// [`OAuthError::InvalidScope`], which changed nothing.
pub(crate) async fn renew(
    ctx: &Context,
    change: &mut Change<'_>,
    client: &Client,
    presented: &Presented<'_>,
    foreseen: &Foreseen,
) -> Result<Renewed, OAuthError> {
    let now = ctx.now();
    let known = record(ctx, change.conn(), presented.token).await?;
    let token = known.filter(|known| known.provider == client.provider.pk).ok_or(OAuthError::InvalidGrant)?;
    if let (Some(rotated), None) = (token.rotated, token.revoked) {
        reused(change, client, &token, rotated).await?;
        return Err(OAuthError::InvalidGrant);
    }
    if !holds(&client.provider, &token, now) {
        return Err(OAuthError::InvalidGrant);
    }
    let scopes = wanted(client, &token, presented)?;
    let person = directory::person_unchanged(ctx, change.conn(), token.account).await?;
    let Some(person) = person.filter(|person| person.account.is_active) else {
        revoke_family(change, &token.grant_id).await?;
        return Err(OAuthError::InvalidGrant);
    };
    let application = client.application.as_ref().ok_or(OAuthError::InvalidGrant)?;
    let conn = change.conn();
    if !access::confirm(conn, &person, application, &foreseen.judged).await?.passing {
        return Err(OAuthError::InvalidGrant);
    }
    let entitlements = entitlements::names(conn, &person, application.uuid).await?;
    let next = if is_due(&client.provider, &token, now) {
        if !refresh_token::rotate(conn, token.pk, now).await? {
            return Err(OAuthError::InvalidGrant);
        }
        Some(keep(ctx, change, &client.provider, token.clone()).await?)
    } else {
        None
    };
    Ok(Renewed { token, person, entitlements, scopes, next })
}

/// Whether another token takes this one's place (OA-262). Public clients, who prove themselves by nothing else, get another
/// one each time, whatever was written (OA-029).
fn is_due(provider: &Provider, token: &RefreshToken, now: Timestamp) -> bool {
    let threshold = duration::seconds_or(&provider.refresh_token_threshold, 0);
    threshold <= 0 || provider.is_public() || token.expires < now.plus_seconds(threshold)
}

/// A token that is used after another one took its place was stolen, this one or the other (OA-265).
async fn reused(
    change: &mut Change<'_>,
    client: &Client,
    token: &RefreshToken,
    rotated: Timestamp,
) -> Result<(), Error> {
    if change.context().now() <= rotated.plus_seconds(GRACE_SECONDS) {
        return Ok(());
    }
    revoke_family(change, &token.grant_id).await?;
    let user = portcullis_store::account::by_pk(change.conn(), token.account).await?;
    let context = json!({"message": "Refresh token was used again after it was replaced",
        "provider": client.provider.name, "affected_user": user.as_ref().map(users::named)});
    change.event("suspicious_request", context).await
}

/// Revokes everything that descends from one authorization (OA-265, OA-513).
///
/// # Errors
/// When the store fails.
pub(crate) async fn revoke_family(change: &mut Change<'_>, grant_id: &str) -> Result<(), Error> {
    let now = change.context().now();
    for jti in grant::revoke_grant(change.conn(), grant_id, now).await? {
        change.touch(Touched::AccessToken(jti));
    }
    Ok(())
}

/// Ends what a client may go on with after the session that approved it: it asked for the sign-out itself (OA-269, OA-547).
///
/// # Errors
/// When the store fails.
pub(crate) async fn end_of_session(
    change: &mut Change<'_>,
    sid: &str,
    provider: portcullis_core::id::ProviderPk,
) -> Result<(), Error> {
    let now = change.context().now();
    for grant_id in refresh_token::grants_of_session(change.conn(), sid, provider, now).await? {
        revoke_family(change, &grant_id).await?;
    }
    Ok(())
}

/// What introspection tells of a refresh token, if it holds at this moment: what goes on of the login (OA-464, OA-494).
///
/// # Errors
/// When the store fails.
pub(crate) async fn told(
    ctx: &Context,
    mut conn: Conn,
    visitor: &Visitor,
    token: &RefreshToken,
) -> Result<Option<ClaimSet>, Error> {
    let Some(issuing) = Client::by_pk(&mut conn, token.provider).await? else { return Ok(None) };
    if !holds(&issuing.provider, token, ctx.now()) {
        return Ok(None);
    }
    let (Some(application), true) = (&issuing.application, issuing.provider.may_use(GRANT)) else { return Ok(None) };
    let Some(person) = directory::person(ctx, &mut conn, token.account).await? else { return Ok(None) };
    let scopes: Vec<_> = token.scope.split_ascii_whitespace().collect();
    let entries = json!({"oauth_scopes": scopes, "oauth_grant_type": GRANT});
    let asked = context(entries).from(visitor);
    if !person.account.is_active
        || !access::judge_after(ctx, conn, &person, application, &asked).await?.decision.passing
    {
        return Ok(None);
    }
    let mut said = frozen(ctx, &issuing.provider, &application.slug, &person, token);
    for (name, value) in [
        ("active", json!(true)),
        ("scope", json!(token.scope)),
        ("client_id", json!(issuing.provider.client_id)),
        ("username", json!(person.account.username)),
    ] {
        said.insert(name.to_owned(), value);
    }
    Ok(Some(said))
}

/// What a token keeps of the login for later id tokens (OA-464).
pub(crate) fn frozen(ctx: &Context, issuing: &Provider, slug: &str, person: &Person, token: &RefreshToken) -> ClaimSet {
    let mut said = ClaimSet::new();
    let mut say = |name: &str, value: Value| said.insert(name.to_owned(), value);
    say("iss", json!(issuer(ctx, issuing, slug)));
    let of_mapping = Some(token.subject.clone()).filter(|subject| !subject.is_empty());
    if let Some(subject) = of_mapping.or_else(|| claims::subject(issuing, person)) {
        say("sub", json!(subject));
    }
    say("aud", json!(issuing.client_id));
    let ends = end_of_family(issuing, token.began).map_or(token.expires, |end| end.min(token.expires));
    say("exp", json!(ends.seconds()));
    say("iat", json!(token.issued.seconds()));
    say("auth_time", json!(token.auth_time.seconds()));
    say("acr", json!(ACR));
    if !token.sid.is_empty() {
        say("sid", json!(token.sid));
    }
    if let Some(methods) = issue::methods(&token.auth_method, token.second_factor) {
        say("amr", methods);
    }
    said
}

/// Somebody still uses a revoked token: said once per family and hour (OA-663).
async fn note_revoked(ctx: &Context, visitor: &Visitor, client: &Client, token: &RefreshToken) -> Result<(), Error> {
    const HOUR: i64 = 3600;
    if let Some(mut tx) = limits::first_of(ctx, &[b"revoked", token.grant_id.as_bytes()], HOUR).await? {
        let user = portcullis_store::account::by_pk(&mut tx, token.account).await?;
        let context = json!({"message": "Revoked refresh token was used", "provider": client.provider.name,
            "affected_user": user.as_ref().map(users::named)});
        let recorded = event::record(ctx, &mut tx, &visitor.stranger(""), "suspicious_request", context).await?;
        tx.commit().await?;
        event::log(&recorded);
    }
    Ok(())
}
