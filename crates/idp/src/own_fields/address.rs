//! A new e-mail address counts once its owner has opened a link that was mailed there (CO-327).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::id::UserPk;
use portcullis_core::keys::{Digest, Purpose};
use portcullis_store::account::{self, Account};
use portcullis_store::failure;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::may;
use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::directory;
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::limits::mails::Kind;
use crate::mail::{self, Address, Letter};
use crate::{brands, limits};

/// Where the page is that a link leads to, and the parameter that carries its secret.
pub const PAGE: &str = "/account/email/?token=";
/// How long a link is good, in seconds.
const LINK_SECONDS: i64 = 30 * 60;
/// What a link's secret is sealed for.
const PLACE: &str = "email_change";
/// Longest secret that is looked at.
const LONGEST: usize = 4096;
/// Characters of a user name in a letter.
const LONGEST_NAME: usize = 64;

/// What a link says, sealed.
#[derive(Deserialize, Serialize)]
struct Wish {
    /// Whose address.
    user: Uuid,
    /// What it was: a link is for that change alone.
    before: String,
    /// What it is to be.
    after: String,
    /// When the link ends, in seconds since 1970.
    ends: i64,
    /// Tells it from others like it.
    id: String,
}

/// The letter that asks whoever reads mail at `email` to confirm it. None with a problem on `email`.
pub(super) async fn letter(
    change: &mut Change<'_>,
    account: &Account,
    email: &str,
    problems: &mut Problems,
) -> Result<Option<Letter>, Error> {
    let (ctx, actor) = (change.context(), change.actor());
    // Whoever reads mail there may be a stranger, to whom nobody writes through us what they like.
    let Ok(to) = Address::of("", email) else {
        problems.add("email", "Enter a valid email address.");
        return Ok(None);
    };
    let host = &actor.request.host;
    let Some(site) = mail::site(ctx, change.conn(), host).await? else {
        problems.add("email", "The address cannot be confirmed: no mail can be sent. Ask your administrator.");
        return Ok(None);
    };
    let client = actor.client.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    if !limits::mails::admit_address(ctx, change.conn(), Kind::Address, client).await?
        || !limits::mails::admit_account(ctx, change.conn(), Kind::Address, account.uuid).await?
    {
        problems.add("email", "Too many mails were sent. Try again in an hour.");
        return Ok(None);
    }
    let title = brands::of_host(change.conn(), host).await?.title;
    let wish = Wish {
        user: account.uuid,
        before: account.email.clone(),
        after: email.to_owned(),
        ends: ctx.now().plus_seconds(LINK_SECONDS).seconds(),
        id: ctx.entropy.alphanumeric(20),
    };
    let wish = serde_json::to_vec(&wish).map_err(|_| Error::Unreadable(PLACE.to_owned()))?;
    let token = URL_SAFE_NO_PAD.encode(ctx.keys.seal(PLACE, &wish, &*ctx.entropy));
    let who = plain(&account.username);
    Ok(Some(Letter {
        to,
        about: "email_change",
        user: model("authentik_core", "user", account.pk, &account.username),
        subject: format!("{title}: confirm your e-mail address"),
        before: vec![
            format!("Hello {who},"),
            format!("this is to be the address of your account {who} at {title}."),
            "Open this link while you are signed in, and go on from there:".to_owned(),
        ],
        link: Some(("Confirm the address", format!("{site}{PAGE}{token}"))),
        after: vec![
            "It is good once, for 30 minutes.".to_owned(),
            "If you did not want this, do nothing: the address stays what it is.".to_owned(),
        ],
    }))
}

/// A user name as strangers may be shown it: short, on one line, and nothing that a program makes a link of.
fn plain(username: &str) -> String {
    let harmless = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '@' | '+' | '\'');
    let text: String = username.chars().map(|c| if harmless(c) { c } else { ' ' }).collect();
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().take(LONGEST_NAME).collect()
}

fn read(ctx: &Context, token: &str) -> Option<Wish> {
    if token.len() > LONGEST {
        return None;
    }
    let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
    let wish: Wish = serde_json::from_slice(&ctx.keys.open(PLACE, &sealed).ok()?).ok()?;
    (wish.ends > ctx.now().seconds()).then_some(wish)
}

impl Wish {
    fn is_for(&self, account: &Account) -> bool {
        self.user == account.uuid && self.before == account.email
    }

    fn used(&self, ctx: &Context) -> Digest {
        ctx.keys.digest(Purpose::FailureBucket, &[b"email-change", self.id.as_bytes()])
    }
}

/// The address that a link is for, if it is a good one of this user.
///
/// # Errors
/// When the store fails.
pub async fn look(ctx: &Context, account: &Account, token: &str) -> Result<Option<String>, Error> {
    let Some(wish) = read(ctx, token).filter(|wish| wish.is_for(account)) else { return Ok(None) };
    let used = failure::get(&mut ctx.db.read().await?, &wish.used(ctx), ctx.now()).await?;
    Ok(used.is_none().then_some(wish.after))
}

/// Makes the address that a link is for the user's. Tells whether the link was good, and they may still change it.
///
/// # Errors
/// [`Error::Forbidden`] for who acts as somebody else; else when the store fails.
pub async fn confirm(ctx: &Context, actor: &Actor, pk: UserPk, token: &str) -> Result<bool, Error> {
    actor.need_to_be_themselves()?;
    let Some(wish) = read(ctx, token) else { return Ok(false) };
    let mut change = Change::begin(ctx, actor).await?;
    let Some(person) = directory::person(ctx, change.conn(), pk).await? else { return Ok(false) };
    if !wish.is_for(&person.account) || !may(change.conn(), &person, "email").await? {
        return Ok(false);
    }
    let ends = portcullis_core::clock::Timestamp::from_seconds(wish.ends);
    if failure::add(change.conn(), &wish.used(ctx), ctx.now(), ends).await?.count != 1 {
        return Ok(false);
    }
    let (before, mut account) = (person.account.email.clone(), person.account);
    account.email = wish.after;
    account.last_updated = ctx.now();
    account::update(change.conn(), &account).await?;
    change.touch(Touched::User(account.uuid));
    let difference = diff(&json!({"email": before}), &json!({"email": account.email}));
    let named = model("authentik_core", "user", pk, &account.username);
    change.event("user_write", json!({"model": named, "diff": difference, "created": false})).await?;
    change.commit().await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-327: a letter to an address that is not confirmed says the user name, cut short, and nothing that a program makes
    /// a link of.
    #[test]
    fn co_327_letters_to_strangers_say_little() {
        for (name, said) in [
            ("ada", "ada"),
            ("ada.lovelace", "ada lovelace"),
            ("ada@example.org", "ada@example org"),
            ("https://evil.example/?a=b#c", "https evil example a b c"),
            ("evil\u{3002}example\r\nhello", "evil example hello"),
            ("Zo\u{eb} O'Hara-1", "Zo\u{eb} O'Hara-1"),
        ] {
            assert_eq!(plain(name), said, "{name}");
        }
        assert_eq!(plain(&"x".repeat(150)).len(), LONGEST_NAME);
    }
}
