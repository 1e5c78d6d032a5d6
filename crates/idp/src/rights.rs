//! Who may do what (CO section 22).
//!
//! A service says at its start which permission a deed needs, [`Actor::need`] for everything of a kind and
//! [`Actor::need_on`] for one object; `Change::begin` looks again, in the transaction, whether what the actor was
//! granted is still theirs.

use std::fmt::Display;
use std::sync::Arc;

use portcullis_core::id::{CertificateId, OutpostId, ProviderPk};
use portcullis_core::permission::{Model, Permission, Permissions, Verb, special};
use portcullis_store::account::Account;
use portcullis_store::select::Visible;
use portcullis_store::{Conn, outpost, provider, role};
use uuid::Uuid;

use crate::context::Actor;
use crate::directory::{Person, users};
use crate::error::Error;

/// What comes before the key of an outpost in the user name of its service account (CO-032).
const OUTPOST_PREFIX: &str = "ak-outpost-";

/// What somebody may do who is no superuser.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    granted: Arc<Permissions>,
    serving: Option<Arc<Serving>>,
}

/// The outpost that a service account belongs to (CO-704).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The outpost; none once it is gone.
    pub outpost: Option<OutpostId>,
    /// The providers that it serves.
    pub providers: Vec<ProviderPk>,
}

impl Rights {
    /// What a user's roles grant, or what an outpost's account needs: that is worked out, and stored nowhere.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of(conn: &mut Conn, account: &Account) -> Result<Self, Error> {
        if account.kind == users::INTERNAL_SERVICE_ACCOUNT {
            return Self::of_outpost(conn, account).await;
        }
        Ok(Self { granted: Arc::new(role::permissions_of(conn, account.pk).await?), serving: None })
    }

    /// What a person may do besides what superusers may: nothing of it is remembered from one request to the next.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of_person(conn: &mut Conn, person: &Person) -> Result<Self, Error> {
        if person.is_superuser { Ok(Self::default()) } else { Self::of(conn, &person.account).await }
    }

    async fn of_outpost(conn: &mut Conn, account: &Account) -> Result<Self, Error> {
        let key = account.username.strip_prefix(OUTPOST_PREFIX).and_then(|key| key.parse::<Uuid>().ok());
        let outpost = match key {
            Some(key) => outpost::by_pk(conn, OutpostId(key)).await?.map(|outpost| outpost.pk),
            None => None,
        };
        let mut granted = Permissions::default();
        let mut providers = Vec::new();
        if let Some(pk) = outpost {
            granted.grant(Permission::on(Verb::View, Model::OUTPOST).as_str(), Some(&pk.to_string()));
            granted.grant(Permission::on(Verb::Add, Model::EVENT).as_str(), None);
            providers = outpost::provider_keys(conn, pk).await?;
        }
        for pk in &providers {
            let Some(certificate) = provider::by_pk(conn, *pk).await?.and_then(|provider| provider.certificate) else {
                continue;
            };
            let view = Permission::on(Verb::View, Model::CERTIFICATE);
            for right in
                [view.as_str(), special::VIEW_CERTIFICATEKEYPAIR_CERTIFICATE, special::VIEW_CERTIFICATEKEYPAIR_KEY]
            {
                granted.grant(right, Some(&certificate.to_string()));
            }
        }
        Ok(Self { granted: Arc::new(granted), serving: Some(Arc::new(Serving { outpost, providers })) })
    }

    /// What is granted.
    pub fn granted(&self) -> &Permissions {
        &self.granted
    }

    /// Whether whoever has these has all of `others` too.
    pub fn include(&self, others: &Self) -> bool {
        self.granted.include(&others.granted)
    }
}

impl Actor {
    /// The outpost that this service account belongs to.
    pub fn serving(&self) -> Option<&Serving> {
        self.rights.serving.as_deref()
    }

    /// Whether they hold a right on everything of its kind.
    pub fn holds(&self, right: &str) -> bool {
        self.is_superuser || self.rights.granted.hold(right)
    }

    /// Whether they hold a right on one object.
    pub fn holds_on(&self, right: &str, key: &impl Display) -> bool {
        self.is_superuser || self.rights.granted.hold_on(right, &key.to_string())
    }

    /// Whether they hold a right on anything at all.
    pub fn holds_somewhere(&self, right: &str) -> bool {
        self.is_superuser || self.rights.granted.hold_somewhere(right)
    }

    /// Whether they may do something to everything of a kind.
    pub fn may(&self, verb: Verb, model: Model) -> bool {
        self.is_superuser || self.holds(Permission::on(verb, model).as_str())
    }

    /// Whether they may do something to one object. Nobody changes or deletes what they may not see.
    pub fn may_on(&self, verb: Verb, model: Model, key: &impl Display) -> bool {
        let holds = |verb| self.holds_on(Permission::on(verb, model).as_str(), key);
        self.is_superuser || (holds(verb) && (verb == Verb::View || holds(Verb::View)))
    }

    /// Whether there may be an object to which they may do something.
    pub fn may_somewhere(&self, verb: Verb, model: Model) -> bool {
        self.is_superuser || self.holds_somewhere(Permission::on(verb, model).as_str())
    }

    /// Refuses those who may not do something to everything of a kind.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn need(&self, verb: Verb, model: Model) -> Result<(), Error> {
        if self.may(verb, model) { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// Refuses those who may not do something to one object. What somebody may not see is not there for them, unless
    /// they may see nothing of the kind (CO-522, CO-703).
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`].
    pub fn need_on(&self, verb: Verb, model: Model, key: &impl Display) -> Result<(), Error> {
        if self.may_on(verb, model, key) { Ok(()) } else { Err(self.refused(model, key)) }
    }

    /// Refuses those who do not hold one of the special rights on an object.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`].
    pub fn need_right_on(&self, right: &str, model: Model, key: &impl Display) -> Result<(), Error> {
        if self.holds_on(right, key) { Ok(()) } else { Err(self.refused(model, key)) }
    }

    /// Whether something of theirs may use a certificate with its private key: who has a server show it, or a client
    /// sign with it, speaks in its name.
    pub(crate) fn may_use(&self, certificate: CertificateId) -> bool {
        self.holds_on(special::VIEW_CERTIFICATEKEYPAIR_KEY, &certificate)
    }

    /// Refuses those who do not hold one of the special rights on everything.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn need_right(&self, right: &str) -> Result<(), Error> {
        if self.holds(right) { Ok(()) } else { Err(Error::Forbidden) }
    }

    fn refused(&self, model: Model, key: &impl Display) -> Error {
        let sees_others = self.may_somewhere(Verb::View, model) || self.serving().is_some();
        match sees_others && !self.may_on(Verb::View, model, key) {
            true => Error::NotFound(model.kind),
            false => Error::Forbidden,
        }
    }

    /// What a list of a kind may show them.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when that is nothing, unless they are an outpost (CO-703).
    pub fn sees(&self, model: Model) -> Result<Visible, Error> {
        let right = Permission::on(Verb::View, model);
        if self.holds(right.as_str()) {
            return Ok(Visible::All);
        }
        let keys: Vec<_> = self.rights.granted.objects(right.as_str()).map(str::to_owned).collect();
        if keys.is_empty() && self.serving().is_none() {
            return Err(Error::Forbidden);
        }
        Ok(Visible::Only { keys, owner: None })
    }

    /// What a list may show them of a kind whose objects belong to users: their own, and what roles let them see
    /// (CO-702). Outposts own nothing (CO-704).
    pub fn sees_with_own(&self, model: Model) -> Visible {
        match self.sees(model) {
            Ok(Visible::All) => Visible::All,
            Ok(Visible::Only { keys, .. }) => {
                Visible::Only { keys, owner: self.user.filter(|_| self.serving().is_none()) }
            }
            Err(_) => Visible::Only { keys: Vec::new(), owner: self.user },
        }
    }

    /// Refuses those who may not do something to an object that belongs to a user. Owners may (CO-702).
    ///
    /// # Errors
    /// [`Error::Forbidden`] for those who may see it and no more, else [`Error::NotFound`].
    pub fn need_on_owned(
        &self,
        verb: Verb,
        model: Model,
        key: &impl Display,
        owner: portcullis_core::id::UserPk,
    ) -> Result<(), Error> {
        let own = self.user == Some(owner) && self.serving().is_none();
        if own || self.may_on(verb, model, key) {
            return Ok(());
        }
        Err(if self.may_on(Verb::View, model, key) { Error::Forbidden } else { Error::NotFound(model.kind) })
    }

    /// The same actor, who sees in addition what they have just made, secrets included: they were the one to send them.
    /// For answers, not for further deeds.
    #[must_use]
    pub fn maker_of(&self, model: Model, key: &impl Display) -> Self {
        let mut granted = Permissions::clone(&self.rights.granted);
        for verb in [Verb::View, Verb::Change] {
            granted.grant(Permission::on(verb, model).as_str(), Some(&key.to_string()));
        }
        let rights = Rights { granted: Arc::new(granted), serving: self.rights.serving.clone() };
        Self { rights, ..self.clone() }
    }
}
