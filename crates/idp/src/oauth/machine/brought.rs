//! What is brought for a token exchange (OA-736, OA-738).

use super::acting;
use super::assertion::{Verified, verify};
use crate::context::{Context, Visitor};
use crate::error::Error;
use crate::oauth::client::Client;

/// A token that somebody brings for an exchange.
pub struct Brought {
    /// Its text.
    pub jwt: String,
    /// Who has to vouch for it.
    pub kind: Kind,
}

/// Who may vouch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sources first, then providers (OA-322).
    Any,
    /// Sources alone.
    Source,
    /// Providers alone.
    Provider,
}

/// What a client brings that wants a token exchanged (OA-736, OA-738).
pub struct Exchange {
    /// The token of whom the new one is about.
    pub subject: Brought,
    /// The token of who acts for them.
    pub actor: Option<Brought>,
}

impl Exchange {
    /// Checks both. Otherwise the reason, which only the event tells.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn verify(
        &self,
        ctx: &Context,
        visitor: &Visitor,
        client: &Client,
    ) -> Result<Result<Verified, &'static str>, Error> {
        let mut subject = match verify(ctx, visitor, client, &self.subject.jwt, self.subject.kind).await? {
            Ok(subject) => subject,
            Err(reason) => return Ok(Err(reason)),
        };
        let actor = match &self.actor {
            Some(actor) => match verify(ctx, visitor, client, &actor.jwt, actor.kind).await? {
                Ok(actor) => Some(actor),
                Err(reason) => return Ok(Err(reason)),
            },
            None => None,
        };
        let acts = actor.as_ref().map(|actor| &actor.claims);
        if !acting::may(&subject.claims, acts) {
            return Ok(Err("may_not_act"));
        }
        match acting::chain(subject.claims.get("act"), acts) {
            Ok(act) => subject.act = act,
            Err(reason) => return Ok(Err(reason)),
        }
        // Of an exchange nothing goes on for longer than what was brought (OA-737).
        if let Some(actor) = &actor {
            subject.expires = subject.expires.min(actor.expires);
        }
        Ok(Ok(Verified { is_capped: true, is_exchanged: true, actor: actor.map(Box::new), ..subject }))
    }
}
