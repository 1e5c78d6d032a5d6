//! The secrets of a client. Two may be good at once, so that a new one can take the place of an old one while programs
//! still use that (OA-807).

use std::collections::HashSet;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::same_secret;
use portcullis_core::permission::Verb;
use portcullis_store::provider::{self, Provider};
use portcullis_store::{Conn, account};

use super::{Kind, open, place};
use crate::change::Change;
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::escalation;

const BEYOND: &str = "The account of this client may do more than you may: only who may do as much changes what it proves \
     itself by.";

/// A use is noted once in so many seconds.
const NOTE_SECONDS: i64 = 60;

/// Which of a client's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `client_secret`.
    First,
    /// `second_client_secret`.
    Second,
}

impl Which {
    /// Its name in events: one without a word that would have it cleansed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }

    fn used(self, provider: &Provider) -> Option<Timestamp> {
        match self {
            Self::First => provider.client_secret_used,
            Self::Second => provider.second_secret_used,
        }
    }
}

/// The client's second secret, empty if it has none. Whether it holds is another question.
///
/// # Errors
/// [`Error::Sealed`] when it cannot be opened.
pub fn second_secret(ctx: &Context, provider: &Provider) -> Result<String, Error> {
    match provider.second_secret_sealed.as_slice() {
        [] => Ok(String::new()),
        sealed => open(ctx, provider, "second_secret", sealed),
    }
}

/// The secrets that hold now, the one in force first: it signs, and outposts are told it. An empty one never holds
/// (OA-803).
///
/// # Errors
/// [`Error::Sealed`] when one cannot be opened.
pub fn holding(ctx: &Context, provider: &Provider) -> Result<Vec<(Which, String)>, Error> {
    let now = ctx.now();
    let all = [
        (Which::First, super::client_secret(ctx, provider)?, provider.client_secret_expires),
        (Which::Second, second_secret(ctx, provider)?, provider.second_secret_expires),
    ];
    let holds = |secret: &str, ends: Option<Timestamp>| !secret.is_empty() && ends.is_none_or(|ends| ends > now);
    let holding = all.into_iter().filter(|(_, secret, ends)| holds(secret, *ends));
    Ok(holding.map(|(which, secret, _)| (which, secret)).collect())
}

/// Which of the secrets that hold somebody shows. Each is compared, whichever fits.
///
/// # Errors
/// [`Error::Sealed`] when one cannot be opened.
pub fn shown(ctx: &Context, provider: &Provider, secret: &str) -> Result<Option<Which>, Error> {
    let mut found = None;
    for (which, stored) in holding(ctx, provider)? {
        if same_secret(stored.as_bytes(), secret.as_bytes()) && !secret.is_empty() {
            found = found.or(Some(which));
        }
    }
    Ok(found)
}

/// Whether a use is to be noted: once a minute. An outpost's client has one secret, and uses it all the time.
pub(crate) fn is_to_be_noted(ctx: &Context, provider: &Provider, which: Which) -> bool {
    let not_since = ctx.now().plus_seconds(-NOTE_SECONDS);
    !provider.is_proxy() && which.used(provider).is_none_or(|used| used <= not_since)
}

/// Notes which secret a client proved itself with, so that an administrator sees when the old one is out of use.
///
/// # Errors
/// When the store fails.
pub(crate) async fn note(ctx: &Context, conn: &mut Conn, provider: &Provider, which: Which) -> Result<(), Error> {
    if is_to_be_noted(ctx, provider, which) {
        provider::note_secret(conn, provider.pk, which == Which::Second, ctx.now()).await?;
    }
    Ok(())
}

/// Of these clients those whose secrets an actor sees: outposts those of what they serve, others those that they may change
/// and by which they get at nothing that is not theirs.
///
/// # Errors
/// When the store fails.
pub async fn shown_to(
    ctx: &Context,
    actor: &Actor,
    kind: Kind,
    clients: &[ProviderPk],
) -> Result<HashSet<ProviderPk>, Error> {
    let mut conn = ctx.db.read().await?;
    let mut shown = HashSet::new();
    for pk in clients {
        let opens = actor.serving().is_some()
            || actor.may_on(Verb::Change, kind.model(), pk) && !is_beyond(&mut conn, actor, *pk).await?;
        if opens {
            shown.insert(*pk);
        }
    }
    Ok(shown)
}

/// Whether the account that stands for a client may do what the actor may not: whoever has a secret of the client, or a key
/// that it is known by, may do what its account may, as with keys of tokens (CO-104, CO-705).
///
/// # Errors
/// When the store fails.
pub(crate) async fn is_beyond(conn: &mut Conn, actor: &Actor, client: ProviderPk) -> Result<bool, Error> {
    if actor.is_superuser {
        return Ok(false);
    }
    match account::generated_for(conn, client).await? {
        Some(account) => escalation::is_beyond(conn, actor, account.pk).await,
        None => Ok(false),
    }
}

/// Refuses to change what a client proves itself by where its account may do more than the writer.
pub(super) async fn check(
    change: &mut Change<'_>,
    before: &Provider,
    now: &Provider,
    problems: &mut Problems,
) -> Result<(), Error> {
    let moved = escalation::moved([
        ("client_secret", before.client_secret_sealed != now.client_secret_sealed),
        ("client_secret_expires", before.client_secret_expires != now.client_secret_expires),
        ("second_client_secret", before.second_secret_sealed != now.second_secret_sealed),
        ("second_client_secret_expires", before.second_secret_expires != now.second_secret_expires),
        ("client_jwks", before.client_jwks != now.client_jwks),
    ]);
    let actor = change.actor();
    if !moved.is_empty() && is_beyond(change.conn(), actor, before.pk).await? {
        problems.add_each(&moved, BEYOND);
    }
    Ok(())
}

/// Seals a second secret for a provider; nothing for none.
pub(super) fn seal_second(ctx: &Context, provider: &Provider, secret: &str) -> Vec<u8> {
    match secret {
        "" => Vec::new(),
        secret => ctx.keys.seal(&place(provider.uuid, "second_secret"), secret.as_bytes(), &*ctx.entropy),
    }
}
