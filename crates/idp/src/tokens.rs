//! API tokens and app passwords (CO section 5, OA section 21).

pub mod keys;
mod remind;
pub mod shown;
mod sweep;

use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_core::clock::Timestamp;
use portcullis_core::duration;
use portcullis_core::id::{ApplicationId, TokenId, UserPk};
use portcullis_core::keys::{Digest, Purpose};
use portcullis_core::permission::{Model, Verb};
use portcullis_core::username::exceeds;
use portcullis_store::account::Account;
use portcullis_store::grant::descent::Ended;
use portcullis_store::token::Token;
use portcullis_store::{Conn, StoreError, account, application, token};
use serde_json::{Value, json};

pub use remind::remind;
pub use sweep::sweep;

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::directory::{self, Person};
use crate::error::{Error, Problems};
use crate::escalation;
use crate::event::{diff, model};
use crate::outposts::service;
use crate::settings::Settings;

/// Authenticates API calls and nothing else (OA-600).
pub const API: &str = "api";
/// A password of machines: token endpoint and HTTP Basic (OA-600).
pub const APP_PASSWORD: &str = "app_password";
/// When false, tokens that this user makes do not end (CO-067).
pub const TOKEN_EXPIRES: &str = "goauthentik.io/user/token-expires";
/// Longest lifetime of this user's app passwords (CO-067).
pub const MAXIMUM_LIFETIME: &str = "goauthentik.io/user/token-maximum-lifetime";

/// Most tokens that an ordinary user makes.
const MOST: i64 = 1000;

const TAKEN: &str = "Token with this identifier already exists.";

/// What is to be stored of a token; absent members stay as they are, or have their default on creation.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO section 5)")]
pub struct Fields {
    pub identifier: Option<String>,
    pub intent: Option<String>,
    pub user: Option<UserPk>,
    pub description: Option<String>,
    /// Some(None) is an explicit null.
    pub expires: Option<Option<Timestamp>>,
    pub expiring: Option<bool>,
    /// The only applications an app password opens; empty for every one (OA-816).
    pub allowed_applications: Option<Vec<ApplicationId>>,
    /// The only networks an app password is taken from; empty for every one.
    pub allowed_networks: Option<Vec<String>>,
    /// The only scopes that may be asked for with an app password; empty for every one.
    pub allowed_scopes: Option<Vec<String>>,
}

/// The keyed digest that a key is found by (CO-105, CO-463).
pub fn digest(ctx: &Context, key: &str) -> Digest {
    ctx.keys.digest(Purpose::TokenLookup, &[key.as_bytes()])
}

/// The owner of an API key, if it holds now and its owner is active (CO-100, OA-610, OA-611).
///
/// # Errors
/// When the store fails.
pub async fn authenticate_api(ctx: &Context, conn: &mut Conn, key: &str) -> Result<Option<(Token, Account)>, Error> {
    let digest = digest(ctx, key);
    let found = token::api_by_digest(conn, &digest).await?;
    let Some(found) = found.and_then(|found| found.shown(&digest, ctx.now())) else { return Ok(None) };
    let owner = account::by_pk(conn, found.account).await?.filter(|owner| owner.is_active);
    Ok(owner.map(|owner| (found, owner)))
}

/// A user's app password, if this is its key and it holds now. Whether the owner is active is for the
/// caller to check.
///
/// # Errors
/// When the store fails.
pub async fn app_password(ctx: &Context, conn: &mut Conn, owner: UserPk, key: &str) -> Result<Option<Token>, Error> {
    let digest = digest(ctx, key);
    Ok(token::by_digest(conn, owner, &digest).await?.and_then(|found| found.shown(&digest, ctx.now())))
}

/// Whether an app password opens an application (OA-816).
pub fn opens(token: &Token, application: ApplicationId) -> bool {
    token.allowed_applications.is_empty() || token.allowed_applications.contains(&application)
}

/// Whether an app password is taken from an address (OA-816). What cannot be read admits nobody.
pub fn is_taken_from(token: &Token, address: IpAddr) -> bool {
    let address = address.to_canonical();
    let holds = |network: &String| network.parse::<IpNet>().is_ok_and(|network| network.contains(&address));
    token.allowed_networks.is_empty() || token.allowed_networks.iter().any(holds)
}

/// Whether an app password is good for all of these scopes (OA-816).
pub fn covers(token: &Token, scopes: &[String]) -> bool {
    token.allowed_scopes.is_empty() || scopes.iter().all(|scope| token.allowed_scopes.contains(scope))
}

const OF_OUTPOST: &str = "This identifier is that of an outpost's token.";

/// Most applications, networks and scopes that one token is limited to.
const MOST_LIMITS: usize = 100;
/// Longest name of a scope, in characters.
const LONGEST_SCOPE: usize = 255;

/// Limits an app password to applications, networks and scopes (OA-816). Networks are written down as addresses of networks:
/// a single address is one of its own.
async fn limit(conn: &mut Conn, token: &mut Token, fields: &Fields, problems: &mut Problems) -> Result<(), Error> {
    const ONLY: &str = "Only app passwords can be limited.";
    let too_many = format!("Ensure this field has no more than {MOST_LIMITS} elements.");
    if let Some(applications) = &fields.allowed_applications {
        if !applications.is_empty() && token.intent != APP_PASSWORD {
            problems.add("allowed_applications", ONLY);
        } else if applications.len() > MOST_LIMITS {
            problems.add("allowed_applications", too_many.clone());
        } else {
            for pk in applications {
                if application::by_uuid(conn, *pk).await?.is_none() {
                    let message = format!("Invalid pk \"{pk}\" - object does not exist.");
                    problems.add("allowed_applications", message);
                }
            }
        }
        token.allowed_applications.clone_from(applications);
    }
    if let Some(networks) = &fields.allowed_networks {
        if !networks.is_empty() && token.intent != APP_PASSWORD {
            problems.add("allowed_networks", ONLY);
        } else if networks.len() > MOST_LIMITS {
            problems.add("allowed_networks", too_many.clone());
        }
        token.allowed_networks.clear();
        for text in networks.iter().take(MOST_LIMITS) {
            let alone = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
            match text.parse::<IpNet>().ok().or_else(alone) {
                Some(network) => token.allowed_networks.push(network.trunc().to_string()),
                None => problems.add("allowed_networks", format!("\"{text}\" is no address or network.")),
            }
        }
    }
    if let Some(scopes) = &fields.allowed_scopes {
        if !scopes.is_empty() && token.intent != APP_PASSWORD {
            problems.add("allowed_scopes", ONLY);
        } else if scopes.len() > MOST_LIMITS {
            problems.add("allowed_scopes", too_many);
        }
        for text in scopes.iter().take(MOST_LIMITS) {
            if text.is_empty() || text.contains(char::is_whitespace) || exceeds(text, LONGEST_SCOPE) {
                problems.add("allowed_scopes", format!("\"{text}\" is no name of a scope."));
            }
        }
        token.allowed_scopes.clone_from(scopes);
    }
    Ok(())
}

/// Makes a token with a generated key, for the actor or, by an administrator, for anyone (CO-101).
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<Token, Error> {
    // Outposts have the token that they came with (CO-704).
    let caller = actor.user.filter(|_| actor.serving().is_none()).ok_or(Error::Forbidden)?;
    let mut change = Change::begin(ctx, actor).await?;
    let made = make(ctx, &mut change, caller, fields, None, actor.is_superuser).await?;
    change.commit().await?;
    Ok(made)
}

/// Makes a token as part of a larger change, for whomever the fields name; with `key`, that key instead of a generated
/// one. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create_in(
    ctx: &Context,
    change: &mut Change<'_>,
    caller: UserPk,
    fields: Fields,
    key: Option<String>,
) -> Result<Token, Error> {
    make(ctx, change, caller, fields, key, true).await
}

async fn make(
    ctx: &Context,
    change: &mut Change<'_>,
    caller: UserPk,
    fields: Fields,
    key: Option<String>,
    by_admin: bool,
) -> Result<Token, Error> {
    change.actor().need_to_be_themselves()?;
    let settings = Settings::load(change.conn()).await?;
    let owner = if by_admin { fields.user.unwrap_or(caller) } else { caller };
    let mut problems = Problems::default();
    check_identifier(fields.identifier.as_deref(), &mut problems);
    check_outposts(change.conn(), fields.identifier.as_deref(), &mut problems).await?;
    let intent = fields.intent.clone().unwrap_or_else(|| API.to_owned());
    check_intent(&intent, &mut problems);
    problems.limit("description", fields.description.as_deref().unwrap_or_default());
    if !by_admin && token::count_of_account(change.conn(), owner).await? >= MOST {
        problems.add("non_field_errors", format!("You cannot have more than {MOST} tokens."));
    }
    let Some(person) = directory::person(ctx, change.conn(), owner).await? else {
        problems.add("user", format!("Invalid pk \"{owner}\" - object does not exist."));
        return Err(Error::Invalid(problems));
    };
    let key = key.unwrap_or_else(|| keys::generate(ctx, &intent, &settings));
    let uuid = TokenId(ctx.entropy.uuid());
    let now = ctx.now();
    let mut made = Token {
        uuid,
        identifier: fields.identifier.clone().unwrap_or_default(),
        intent,
        account: owner,
        description: fields.description.clone().unwrap_or_default(),
        key_digest: digest(ctx, &key).to_vec(),
        key_sealed: keys::seal(ctx, uuid, &key),
        expiring: true,
        expires: None,
        managed: None,
        allowed_applications: Vec::new(),
        allowed_networks: Vec::new(),
        allowed_scopes: Vec::new(),
        created: now,
        last_used: None,
        last_used_from: None,
        old_key: None,
        reminded: 0,
        needs_rotation: false,
    };
    let for_other = owner != caller && change.actor().is_superuser;
    let rules = Lifetime { settings: &settings, person: &person, by_admin, for_other, now };
    rules.apply(&mut made, &fields, true, &mut problems);
    limit(change.conn(), &mut made, &fields, &mut problems).await?;
    problems.check()?;
    token::insert(change.conn(), &made).await.map_err(taken)?;
    change.event("model_created", json!({"model": named(&made)})).await?;
    rules.note(change, &made).await?;
    Ok(made)
}

/// Changes a token of one's own, or, by an administrator, anyone's. Owner and intent stay (CO-807).
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see, [`Error::Invalid`] for broken rules.
pub async fn update(ctx: &Context, actor: &Actor, identifier: &str, fields: Fields) -> Result<Token, Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let changed = update_in(&mut change, identifier, fields).await?;
    change.commit().await?;
    Ok(changed)
}

/// Changes a token as part of a larger change.
///
/// # Errors
/// As [`update`].
pub async fn update_in(change: &mut Change<'_>, identifier: &str, fields: Fields) -> Result<Token, Error> {
    let (ctx, actor) = (change.context(), change.actor());
    let before = permitted(change, Verb::Change, identifier).await?;
    let settings = Settings::load(change.conn()).await?;
    let mut changed = before.clone();
    let mut problems = Problems::default();
    if let Some(identifier) = fields.identifier.as_ref().filter(|identifier| **identifier != before.identifier) {
        check_identifier(Some(identifier), &mut problems);
        check_outposts(change.conn(), Some(identifier), &mut problems).await?;
        changed.identifier.clone_from(identifier);
    }
    // What an outpost signs in with keeps its name, and does not end (CO-106).
    if before.managed.is_some() && service::of_token(change.conn(), &before.identifier).await?.is_some() {
        if fields.identifier.as_ref().is_some_and(|identifier| *identifier != before.identifier) {
            problems.add("identifier", OF_OUTPOST);
        }
        if fields.expiring == Some(true) {
            problems.add("expiring", "The token of an outpost does not expire.");
        }
    }
    if fields.intent.as_ref().is_some_and(|intent| *intent != before.intent) {
        problems.add("intent", "The intent of a token cannot be changed.");
    }
    if fields.user.is_some_and(|user| user != before.account) {
        problems.add("user", "The owner of a token cannot be changed.");
    }
    if let Some(description) = &fields.description {
        problems.limit("description", description);
        changed.description.clone_from(description);
    }
    let person = directory::person(ctx, change.conn(), before.account).await?.ok_or(Error::NotFound("User"))?;
    let for_other = actor.user != Some(before.account);
    let rules =
        Lifetime { settings: &settings, person: &person, by_admin: actor.is_superuser, for_other, now: ctx.now() };
    rules.apply(&mut changed, &fields, false, &mut problems);
    limit(change.conn(), &mut changed, &fields, &mut problems).await?;
    problems.check()?;
    if changed.expires != before.expires {
        changed.reminded = 0;
    }
    token::update(change.conn(), &changed).await.map_err(taken)?;
    let limits = |token: &Token| {
        (token.allowed_applications.clone(), token.allowed_networks.clone(), token.allowed_scopes.clone())
    };
    if limits(&before) != limits(&changed) || !changed.holds(ctx.now()) {
        // What it opened elsewhere, or from elsewhere, ends; the rest is made again, if the token still holds.
        end_what_it_opened(change, &changed).await?;
    }
    change.touch(Touched::Token(changed.uuid));
    let difference = diff(&snapshot(&before), &snapshot(&changed));
    change.event("model_updated", json!({"model": named(&changed), "diff": difference})).await?;
    if fields.expires.is_some() {
        rules.note(change, &changed).await?;
    }
    Ok(changed)
}

/// Deletes a token and ends what it opened.
///
/// # Errors
/// [`Error::NotFound`] when it is not the actor's to see.
pub async fn delete(ctx: &Context, actor: &Actor, identifier: &str) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, identifier).await?;
    change.commit().await
}

/// Deletes a token as part of a larger change.
///
/// # Errors
/// As [`delete`].
pub async fn delete_in(change: &mut Change<'_>, identifier: &str) -> Result<(), Error> {
    let gone = permitted(change, Verb::Delete, identifier).await?;
    end(change, &gone).await?;
    change.event("model_deleted", json!({"model": named(&gone)})).await?;
    // An outpost is not left without: it has another key from now on (CO-106).
    match service::of_token(change.conn(), &gone.identifier).await? {
        Some(outpost) => service::ensure(change, &outpost).await,
        None => Ok(()),
    }
}

/// Deletes a token whoever owns it, and says nothing of it.
pub(crate) async fn end(change: &mut Change<'_>, gone: &Token) -> Result<(), Error> {
    end_what_it_opened(change, gone).await?;
    token::delete(change.conn(), gone.uuid).await?;
    change.touch(Touched::Token(gone.uuid));
    Ok(())
}

/// Most access tokens that are named one by one when they end together.
const MOST_NAMED: usize = 100;

/// Ends what was opened with a token, here and at outposts elsewhere (PX-198).
pub(crate) async fn end_what_it_opened(change: &mut Change<'_>, token: &Token) -> Result<(), Error> {
    end_what_a_key_opened(change, token, None).await
}

/// The same, of one key of the token alone if it is given, by its mark.
async fn end_what_a_key_opened(change: &mut Change<'_>, token: &Token, key: Option<&str>) -> Result<(), Error> {
    let now = change.context().now();
    let revoked = account::end_credential(change.conn(), token.account, token.uuid, key, now).await?;
    if revoked.len() <= MOST_NAMED {
        revoked.into_iter().for_each(|jti| change.touch(Touched::AccessToken(jti)));
    } else {
        change.end_tokens(&Ended::OfPassword(token.uuid)).await?;
    }
    // The record of an access token may have made room for others, and an outpost goes on with what it was told then.
    prove_owner_anew(change, token).await
}

/// Whatever is known anywhere of the owner is proven anew.
async fn prove_owner_anew(change: &mut Change<'_>, token: &Token) -> Result<(), Error> {
    if let Some(owner) = account::by_pk(change.conn(), token.account).await? {
        change.touch(Touched::User(owner.uuid));
    }
    Ok(())
}

/// The token of this name, if the actor owns it or may do this to it (CO-101, CO-702).
async fn permitted(change: &mut Change<'_>, verb: Verb, identifier: &str) -> Result<Token, Error> {
    change.actor().need_to_be_themselves()?;
    let found = token::by_identifier(change.conn(), identifier).await?.ok_or(Error::NotFound("Token"))?;
    change.actor().need_on_owned(verb, Model::TOKEN, &found.uuid, found.account)?;
    if found.managed.is_some() && !change.actor().is_superuser {
        // Something else looks after it (OA-595).
        return Err(Error::Forbidden);
    }
    Ok(found)
}

/// The token of this name, if the actor owns it or holds the right on it, and its owner may do nothing that the actor
/// may not: whoever has the key may do what its owner may (CO-104, CO-705).
pub(crate) async fn with_right(change: &mut Change<'_>, right: &str, identifier: &str) -> Result<Token, Error> {
    let actor = change.actor();
    actor.need_to_be_themselves()?;
    let found = token::by_identifier(change.conn(), identifier).await?.ok_or(Error::NotFound("Token"))?;
    if !actor.holds_on(right, &found.uuid) {
        // A right that nobody holds: owners alone pass, and others are told what they may know.
        actor.need_on_owned(Verb::View, Model::TOKEN, &found.uuid, found.account)?;
        return if actor.user == Some(found.account) { Ok(found) } else { Err(Error::Forbidden) };
    }
    if escalation::is_beyond(change.conn(), actor, found.account).await? {
        return Err(Error::Forbidden);
    }
    Ok(found)
}

fn taken(error: StoreError) -> Error {
    Error::taken(error, "token.identifier", "identifier", TAKEN)
}

pub(crate) fn named(token: &Token) -> Value {
    model("authentik_core", "token", token.uuid, &token.identifier)
}

fn snapshot(token: &Token) -> Value {
    let expires = token.expires.map(|at| at.to_string());
    json!({"identifier": token.identifier, "description": token.description, "expiring": token.expiring, "expires": expires,
        "allowed_applications": token.allowed_applications, "allowed_networks": token.allowed_networks,
        "allowed_scopes": token.allowed_scopes})
}

fn check_identifier(identifier: Option<&str>, problems: &mut Problems) {
    match identifier {
        None => problems.add("identifier", "This field is required."),
        Some("") => problems.add("identifier", "This field may not be blank."),
        Some(text) if text.len() > 255 => {
            problems.add("identifier", "Ensure this field has no more than 255 characters.");
        }
        Some(text) if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') => {
            problems.add("identifier", "Enter a valid \"slug\" consisting of letters, numbers, underscores or hyphens.")
        }
        Some(_) => {}
    }
}

/// Refuses the name that the token of an outpost has (CO-106).
async fn check_outposts(conn: &mut Conn, identifier: Option<&str>, problems: &mut Problems) -> Result<(), Error> {
    if service::of_token(conn, identifier.unwrap_or_default()).await?.is_some() {
        problems.add("identifier", OF_OUTPOST);
    }
    Ok(())
}

fn check_intent(intent: &str, problems: &mut Problems) {
    match intent {
        API | APP_PASSWORD => {}
        "recovery" | "verification" => problems.add("intent", format!("Invalid intent {intent}")),
        other => problems.add("intent", format!("\"{other}\" is not a valid choice.")),
    }
}

/// Decides when a token ends (CO-101 … CO-103, OA-602 … OA-604).
struct Lifetime<'a> {
    settings: &'a Settings,
    person: &'a Person,
    by_admin: bool,
    for_other: bool,
    now: Timestamp,
}

impl Lifetime<'_> {
    fn apply(&self, token: &mut Token, fields: &Fields, is_new: bool, problems: &mut Problems) {
        if self.by_admin {
            token.expiring = fields.expiring.unwrap_or(token.expiring);
        } else {
            // The owner's own attribute, not one inherited from groups (CO-101).
            token.expiring = self.person.own_attributes.get(TOKEN_EXPIRES).and_then(Value::as_bool).unwrap_or(true);
        }
        let api = token.intent == API;
        let default = if api { self.settings.default_token_duration } else { self.longest() };
        let asked = if api { None } else { fields.expires.flatten() };
        if let Some(asked) = asked {
            token.expires = Some(asked);
            let latest = self.now.plus_seconds(self.longest());
            if token.expiring && asked > latest && !(self.by_admin && self.for_other) {
                problems.add("expires", format!("Token expires exceeds maximum lifetime ({latest} UTC)."));
            }
        } else if token.expiring && (is_new || token.expires.is_none()) {
            token.expires = Some(self.now.plus_seconds(default));
        } else if !token.expiring && (is_new || fields.expires == Some(None)) {
            token.expires = None;
        }
    }

    /// Longest lifetime of an app password in seconds.
    fn longest(&self) -> i64 {
        self.own_limit().and_then(Result::ok).unwrap_or(self.settings.app_password_lifetime)
    }

    /// The limit that the owner's attributes name, in seconds, if they name one and it is a duration.
    fn own_limit(&self) -> Option<Result<i64, ()>> {
        let limit = self.person.effective_attributes.get(MAXIMUM_LIFETIME).filter(|limit| !limit.is_null())?;
        let parsed = limit.as_str().ok_or(()).and_then(|text| duration::parse(text).map_err(drop));
        Some(parsed.map(|microseconds| microseconds / 1_000_000))
    }

    /// Warns that the owner's attributes name a limit that is none, so that the system's counts (OA-603).
    async fn note(&self, change: &mut Change<'_>, token: &Token) -> Result<(), Error> {
        if token.intent != APP_PASSWORD || !matches!(self.own_limit(), Some(Err(()))) {
            return Ok(());
        }
        let message = format!(
            "Attribute {MAXIMUM_LIFETIME} is no duration, such as days=30: the longest lifetime is that of the system."
        );
        let owner = &self.person.account;
        let owner = model("authentik_core", "user", owner.uuid, &owner.username);
        change.event("configuration_warning", json!({"message": message, "model": named(token), "owner": owner})).await
    }
}
