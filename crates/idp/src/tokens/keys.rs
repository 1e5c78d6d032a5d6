//! The keys of tokens: shown with an event, replaced with consequences (CO-104, OA-606 … OA-608).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::TokenId;
use portcullis_core::keys::Digest;
use portcullis_core::label;
use portcullis_core::permission::special;
use portcullis_store::account;
use portcullis_store::token::{self, OldKey, Token};
use serde_json::json;

use super::{API, digest, end_what_a_key_opened, end_what_it_opened, named, prove_owner_anew, with_right};
use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::event;
use crate::limits::{self, Attempt, Cost};
use crate::oauth::issue;
use crate::settings::Settings;

/// Shortest key that anyone may choose.
const SHORTEST: usize = 8;
/// Keys shorter than this are taken with a warning.
const SHORT: usize = 20;
const LONGEST: usize = 255;

pub(crate) fn seal(ctx: &Context, uuid: TokenId, key: &str) -> Vec<u8> {
    ctx.keys.seal(&place(uuid), key.as_bytes(), &*ctx.entropy)
}

fn place(uuid: TokenId) -> String {
    format!("token:{uuid}:key")
}

/// The key of a token, opened. Showing it to anybody is [`view`]'s business.
///
/// # Errors
/// When it cannot be opened.
pub fn open(ctx: &Context, token: &Token) -> Result<String, Error> {
    let place = place(token.uuid);
    let key =
        ctx.keys.open(&place, &token.key_sealed).map_err(|source| Error::Sealed { place: place.clone(), source })?;
    String::from_utf8(key).map_err(|_| Error::Unreadable(place))
}

/// Shows a token's key to its owner or who holds the right to see it, and records that (CO-104).
///
/// # Errors
/// [`Error::Forbidden`] for those without the right, [`Error::NotFound`] when the token is not the actor's to see.
pub async fn view(ctx: &Context, actor: &Actor, identifier: &str) -> Result<String, Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let found = with_right(&mut change, special::VIEW_TOKEN_KEY, identifier).await?;
    let key = open(ctx, &found)?;
    change.event("secret_view", json!({"secret": named(&found), "type": "token"})).await?;
    change.commit().await?;
    Ok(key)
}

/// Replaces a token's key; sessions that the old key made end (CO-104, OA-607).
///
/// # Errors
/// [`Error::Forbidden`] for those without the right, [`Error::NotFound`] when the token is not the actor's to see, [`Error::Invalid`] for a key that is too
/// short, too long or in use, [`Error::Throttled`] after too many that were in use.
pub async fn set(ctx: &Context, actor: &Actor, identifier: &str, key: &str) -> Result<(), Error> {
    let _turn = match attempt(actor) {
        Some(attempt) => Some(limits::admit(ctx, &attempt, Cost::Lookup).await?),
        None => None,
    };
    let mut change = Change::begin(ctx, actor).await?;
    let mut changed = with_right(&mut change, special::SET_TOKEN_KEY, identifier).await?;
    if key.chars().count() < SHORTEST {
        return Err(Error::field("key", "Ensure this field has at least 8 characters."));
    }
    let new = digest(ctx, key);
    if changed.key_digest != new && is_in_use(&mut change, &changed, &new).await? {
        drop(change);
        guessed(ctx, actor).await?;
        return Err(Error::field("key", IN_USE));
    }
    store(&mut change, &mut changed, key).await?;
    change.commit().await
}

/// Has a token have this key, as part of a larger change; tells whether it had another. Short ones are taken with a
/// warning (CO-732).
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] for a key that is empty, too long or in use.
pub async fn set_in(change: &mut Change<'_>, identifier: &str, key: &str) -> Result<bool, Error> {
    let mut changed = with_right(change, special::SET_TOKEN_KEY, identifier).await?;
    if key.is_empty() {
        return Err(Error::field("key", "This field may not be blank."));
    }
    let new = digest(change.context(), key);
    if changed.key_digest == new {
        return Ok(false);
    }
    if is_in_use(change, &changed, &new).await? {
        return Err(Error::field("key", IN_USE));
    }
    store(change, &mut changed, key).await?;
    Ok(true)
}

/// Longest time that an old key may hold beside the new one, in seconds (OA-608).
pub const LONGEST_OVERLAP: i64 = 24 * 3600;

/// A key that was drawn for a token.
#[derive(Debug)]
pub struct Rotated {
    /// The new key.
    pub key: String,
    /// Until when the old one holds as well, if it does.
    pub old_key_ends: Option<Timestamp>,
}

/// Gives a token a key that is drawn here, and tells it, once. The old one holds for another `overlap` seconds, at most
/// [`LONGEST_OVERLAP`]; with none, sessions that it made end. An older one ends in any case (OA-608).
///
/// # Errors
/// [`Error::Forbidden`] for those without the right, [`Error::NotFound`] when the token is not the actor's to see.
pub async fn rotate(ctx: &Context, actor: &Actor, identifier: &str, overlap: i64) -> Result<Rotated, Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let mut changed = with_right(&mut change, special::SET_TOKEN_KEY, identifier).await?;
    let settings = Settings::load(change.conn()).await?;
    let key = generate(ctx, &changed.intent, &settings);
    changed.needs_rotation = false;
    let ends = ctx.now().plus_seconds(overlap.min(LONGEST_OVERLAP));
    let old_key_ends = (overlap > 0).then_some(ends);
    let mut context = json!({"secret": named(&changed), "type": "token"});
    if let Some(ends) = old_key_ends {
        keep_old(&mut change, &mut changed, &key, ends).await?;
        event::add(&mut context, "overlap_ends", json!(ends.to_string()));
    } else {
        replace(ctx, &mut change, &mut changed, &key).await?;
    }
    change.event("secret_rotate", context).await?;
    change.commit().await?;
    Ok(Rotated { key, old_key_ends })
}

/// Ends the old key of a token before its time, if there is one (OA-608).
///
/// # Errors
/// As [`rotate`].
pub async fn end_old(ctx: &Context, actor: &Actor, identifier: &str) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let mut changed = with_right(&mut change, special::SET_TOKEN_KEY, identifier).await?;
    if end_old_in(&mut change, &mut changed).await? {
        let context = json!({"model": named(&changed), "message": "The key before the present one was ended."});
        change.event("model_updated", context).await?;
    }
    change.commit().await
}

/// Ends the old key of a token, and what it opened; tells whether there was one.
pub(super) async fn end_old_in(change: &mut Change<'_>, changed: &mut Token) -> Result<bool, Error> {
    let Some(old) = changed.old_key.take() else { return Ok(false) };
    token::update(change.conn(), changed).await?;
    end_what_a_key_opened(change, changed, Some(&issue::key_mark(&old.digest))).await?;
    change.touch(Touched::Token(changed.uuid));
    Ok(true)
}

/// Stores another key beside the present one, which becomes the old one. What that opened goes on, and ends with it.
async fn keep_old(change: &mut Change<'_>, changed: &mut Token, key: &str, ends: Timestamp) -> Result<(), Error> {
    end_old_in(change, changed).await?;
    let ctx = change.context();
    let digest = std::mem::replace(&mut changed.key_digest, digest(ctx, key).to_vec());
    changed.key_sealed = seal(ctx, changed.uuid, key);
    changed.old_key = Some(OldKey { digest, ends, last_used: None });
    token::update(change.conn(), changed).await?;
    account::shorten_credential(change.conn(), changed.account, changed.uuid, ends).await?;
    prove_owner_anew(change, changed).await?;
    change.touch(Touched::Token(changed.uuid));
    Ok(())
}

/// A key for a token: letters and digits, or, if the instance labels its keys, with what it is in front and a checksum
/// behind (OA-593, OA-613).
pub(crate) fn generate(ctx: &Context, intent: &str, settings: &Settings) -> String {
    let random = ctx.entropy.alphanumeric(settings.default_token_length);
    match (ctx.options.labelled_keys, intent) {
        (false, _) => random,
        (true, API) => label::labelled("pcat_", &random),
        (true, _) => label::labelled("pcap_", &random),
    }
}

const IN_USE: &str = "This field must be unique.";

async fn is_in_use(change: &mut Change<'_>, token: &Token, new: &Digest) -> Result<bool, Error> {
    // Its own key before this one may take its place again.
    Ok(token::digest_in_use(change.conn(), new, token.account, token.intent == API, token.uuid).await?)
}

async fn store(change: &mut Change<'_>, changed: &mut Token, key: &str) -> Result<(), Error> {
    let length = key.chars().count();
    if length > LONGEST {
        return Err(Error::field("key", "Ensure this field has no more than 255 characters."));
    }
    changed.needs_rotation = false;
    replace(change.context(), change, changed, key).await?;
    change.event("model_updated", json!({"model": named(changed), "message": "The key was replaced."})).await?;
    if length < SHORT {
        let warning = json!({"model": named(changed), "message": "The key has fewer than 20 characters."});
        change.event("configuration_warning", warning).await?;
    }
    Ok(())
}

/// That a key is in use may be news about somebody else's: it counts like a failure to sign in (OA-680).
fn attempt(actor: &Actor) -> Option<Attempt<'_>> {
    actor.client.map(|address| Attempt { address, client: "set-key", username: &actor.username })
}

async fn guessed(ctx: &Context, actor: &Actor) -> Result<(), Error> {
    let Some(attempt) = attempt(actor) else { return Ok(()) };
    let mut tx = ctx.db.write().await?;
    limits::failed(ctx, &mut tx, &attempt).await?;
    Ok(tx.commit().await?)
}

/// Stores another key, and ends what the one before opened; so ends an older one that was kept.
pub(crate) async fn replace(
    ctx: &Context,
    change: &mut Change<'_>,
    changed: &mut Token,
    key: &str,
) -> Result<(), Error> {
    changed.key_digest = digest(ctx, key).to_vec();
    changed.key_sealed = seal(ctx, changed.uuid, key);
    changed.old_key = None;
    token::update(change.conn(), changed).await?;
    end_what_it_opened(change, changed).await?;
    change.touch(Touched::Token(changed.uuid));
    Ok(())
}

/// Notes a use, at most once a minute.
///
/// # Errors
/// When the store fails.
pub async fn used(ctx: &Context, used: &Token, from: &str) -> Result<(), Error> {
    let now = ctx.now();
    let minute_ago = now.plus_seconds(-60);
    if used.last_used.is_some_and(|last| last > minute_ago) {
        return Ok(());
    }
    let mut tx = ctx.db.write().await?;
    token::used(&mut tx, used.uuid, &used.key_digest, now, from, minute_ago).await?;
    Ok(tx.commit().await?)
}
