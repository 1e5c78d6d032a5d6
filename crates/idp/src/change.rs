//! One change: a transaction, its events, and what must be told once it is committed.

use portcullis_core::epoch::Subject;
use portcullis_core::id::{ProviderPk, TokenId, UserPk};
use portcullis_core::keys::Digest;
use portcullis_store::event::Event;
use portcullis_store::grant::descent::{self, Ended};
use portcullis_store::{Conn, Tx, account, db};
use serde_json::Value;
use uuid::Uuid;

use crate::context::{Actor, Context};
use crate::error::Error;
use crate::rights::Rights;
use crate::{event, impersonation, revocations};

/// What identities may rest on that a change touches. Told to [`Context::epochs`] after commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// A user: memberships, password, attributes.
    User(Uuid),
    /// A user who may do nothing any more: deactivated or deleted.
    Gone(Uuid),
    /// A token: deleted, replaced, expired.
    Token(TokenId),
    /// An access token, by `jti`.
    AccessToken(String),
    /// An access token that made room for newer ones, by `jti`. Outposts elsewhere are not told: it was not taken away.
    Evicted(String),
    /// A session at the identity provider, by `sid`, which has ended or opens nothing any more.
    Session(String),
    /// What a session opened at one provider; the session itself goes on.
    SessionAt(String, ProviderPk),
    /// Sessions of the embedded outpost, which end at applications only. Outposts elsewhere have their own.
    Embedded(Embedded),
    /// A provider with its application and bindings; outposts fetch their configuration again.
    Provider(ProviderPk),
    /// Everybody.
    Everyone,
    /// Nobody's identity, but the configuration of outposts.
    Configuration,
}

/// Which sessions of the embedded outpost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Embedded {
    /// One, by the digest under which it is stored.
    Session(Digest),
    /// All of a user, by UUID text.
    OfUser(String),
    /// All that came from one session at the identity provider, by `sid`.
    OfSid(String),
    /// Some, too many to name them.
    Many,
}

/// A change in the making. It is undone unless [`Change::commit`] is called.
pub struct Change<'a> {
    ctx: &'a Context,
    actor: &'a Actor,
    tx: Tx,
    touched: Vec<Touched>,
    events: Vec<Event>,
    superuser_before: Option<bool>,
}

/// Where a part of a change began.
#[derive(Debug)]
#[must_use = "a part is kept or undone"]
pub struct PartOfChange {
    touched: usize,
    events: usize,
}

impl<'a> Change<'a> {
    /// Begins a change that `actor` makes. An actor who is a user must still be what was known of them.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when they were deactivated, deleted, demoted or deprived of a right meanwhile; else when the store
    /// gives no transaction.
    pub async fn begin(ctx: &'a Context, actor: &'a Actor) -> Result<Self, Error> {
        let mut tx = ctx.db.write().await?;
        if let Some(user) = actor.user {
            let still = account::may_act(&mut tx, user, actor.is_superuser).await?
                && (actor.is_superuser || keeps_rights(&mut tx, actor, user).await?);
            if !still {
                return Err(Error::Forbidden);
            }
        }
        Ok(Self { ctx, actor, tx, touched: Vec::new(), events: Vec::new(), superuser_before: None })
    }

    /// Who makes the change.
    pub fn actor(&self) -> &'a Actor {
        self.actor
    }

    /// What services need.
    pub fn context(&self) -> &'a Context {
        self.ctx
    }

    /// The transaction.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.tx
    }

    /// Notes what has to look again once this is committed.
    pub fn touch(&mut self, touched: Touched) {
        if !self.touched.contains(&touched) {
            self.touched.push(touched);
        }
    }

    /// Ends access tokens, and what was made of them; whatever was built on one is looked at again (OA-514, PX-198).
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn end_tokens(&mut self, ended: &Ended) -> Result<(), Error> {
        /// Most that are named one by one when they end together.
        const MOST_NAMED: usize = 100;
        let revoked = descent::end(&mut self.tx, ended, self.ctx.now()).await?;
        if revoked.len() > MOST_NAMED {
            self.touch(Touched::Everyone);
        } else {
            revoked.into_iter().for_each(|jti| self.touch(Touched::AccessToken(jti)));
        }
        Ok(())
    }

    /// Ends what was made of access tokens that this change ends (OA-245).
    async fn end_what_was_made(&mut self) -> Result<(), Error> {
        let ended = |touched: &Touched| match touched {
            Touched::AccessToken(jti) | Touched::Evicted(jti) => Some(Ended::Token(jti.clone())),
            Touched::Session(sid) => Some(Ended::OfSession(sid.clone())),
            Touched::User(_) | Touched::Gone(_) | Touched::Token(_) | Touched::SessionAt(..) => None,
            Touched::Embedded(_) | Touched::Provider(_) | Touched::Everyone | Touched::Configuration => None,
        };
        let ended: Vec<_> = self.touched.iter().filter_map(ended).collect();
        for ended in ended {
            self.end_tokens(&ended).await?;
        }
        Ok(())
    }

    /// Records what happened, as part of this change (CO-416). `context` is cleansed (CO-414).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn event(&mut self, action: &str, context: Value) -> Result<(), Error> {
        let event = event::record(self.ctx, &mut self.tx, self.actor, action, context).await?;
        self.events.push(event);
        Ok(())
    }

    /// Records what somebody else than the change's actor did: who it was is known only now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn event_by(&mut self, actor: &Actor, action: &str, context: Value) -> Result<(), Error> {
        let event = event::record(self.ctx, &mut self.tx, actor, action, context).await?;
        self.events.push(event);
        Ok(())
    }

    /// Adds an event that was made elsewhere.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add(&mut self, event: Event) -> Result<(), Error> {
        portcullis_store::event::insert(&mut self.tx, &event).await?;
        self.events.push(event);
        Ok(())
    }

    /// Promises that this change leaves an active superuser if there is one now: [`Change::commit`] checks it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keeping_a_superuser(&mut self) -> Result<(), Error> {
        // What was before the whole change counts, however many parts of it promise this.
        if self.superuser_before.is_none() {
            self.superuser_before = Some(account::any_active_superuser(&mut self.tx).await?);
        }
        Ok(())
    }

    /// Begins a part of this change that may be undone by itself.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_part(&mut self) -> Result<PartOfChange, Error> {
        db::part(&mut self.tx, db::Part::Begins).await?;
        Ok(PartOfChange { touched: self.touched.len(), events: self.events.len() })
    }

    /// Keeps a part, if the whole is committed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep_part(&mut self, _: PartOfChange) -> Result<(), Error> {
        Ok(db::part(&mut self.tx, db::Part::Stays).await?)
    }

    /// Undoes a part: what it wrote, recorded and touched.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn undo_part(&mut self, part: PartOfChange) -> Result<(), Error> {
        db::part(&mut self.tx, db::Part::IsUndone).await?;
        self.touched.truncate(part.touched);
        self.events.truncate(part.events);
        Ok(())
    }

    /// Has another process that serves this instance look at everything again once this is committed: for commands
    /// beside a server, whose own epochs and revisions nobody hears of.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn announce(&mut self) -> Result<(), Error> {
        portcullis_store::instance::announce(&mut self.tx).await?;
        Ok(db::tell_others(&mut self.tx).await?)
    }

    /// Makes the change durable, and tells whom it concerns.
    ///
    /// # Errors
    /// When no active superuser would be left (CO-038), or the store fails; then nothing was changed.
    pub async fn commit(mut self) -> Result<(), Error> {
        if self.superuser_before == Some(true) && !account::any_active_superuser(&mut self.tx).await? {
            return Err(Error::whole("The last active superuser cannot be deleted, deactivated or demoted."));
        }
        let (ended, events) = impersonation::review(self.ctx, &mut self.tx).await?;
        ended.into_iter().for_each(|sid| self.touch(Touched::Session(sid)));
        self.events.extend(events);
        self.end_what_was_made().await?;
        let concerns_outposts = self.concerns_outposts();
        let noted = revocations::note(&mut self.tx, self.ctx.now(), &self.touched).await?;
        self.tx.commit().await?;
        for touched in &self.touched {
            tell(self.ctx, touched);
        }
        if noted {
            self.ctx.channels.wake();
        }
        self.events.iter().for_each(event::log);
        if concerns_outposts {
            self.ctx.revisions.in_force().await;
        }
        Ok(())
    }

    fn concerns_outposts(&self) -> bool {
        self.touched.iter().any(|touched| matches!(touched, Touched::Provider(_) | Touched::Configuration))
    }
}

/// Whether an actor still has every right that they came with (CO-701).
async fn keeps_rights(conn: &mut Conn, actor: &Actor, user: UserPk) -> Result<bool, Error> {
    if actor.rights.granted().is_empty() {
        return Ok(true);
    }
    match account::by_pk(conn, user).await? {
        Some(account) => Ok(Rights::of(conn, &account).await?.include(&actor.rights)),
        None => Ok(false),
    }
}

/// Has whatever is built on something look again. Call it after the change is committed.
pub(crate) fn tell(ctx: &Context, touched: &Touched) {
    match touched {
        Touched::User(uuid) | Touched::Gone(uuid) => ctx.epochs.bump(Subject::User(&uuid.to_string())),
        Touched::Token(uuid) => ctx.epochs.bump(Subject::Credential(&uuid.to_string())),
        Touched::AccessToken(jti) | Touched::Evicted(jti) => ctx.epochs.bump(Subject::Credential(jti)),
        Touched::Session(sid) | Touched::SessionAt(sid, _) => ctx.epochs.bump(Subject::Session(sid)),
        Touched::Embedded(Embedded::Session(digest)) => ctx.epochs.bump(Subject::OutpostSession(digest)),
        Touched::Embedded(Embedded::OfUser(uuid)) => ctx.epochs.bump(Subject::User(uuid)),
        Touched::Embedded(Embedded::OfSid(sid)) => ctx.epochs.bump(Subject::Session(sid)),
        Touched::Embedded(Embedded::Many) => ctx.epochs.bump(Subject::Everyone),
        Touched::Provider(pk) => {
            ctx.epochs.bump(Subject::Provider(pk.0));
            ctx.revisions.add_of(*pk);
        }
        Touched::Everyone => ctx.epochs.bump(Subject::Everyone),
        Touched::Configuration => ctx.revisions.add(),
    }
}
