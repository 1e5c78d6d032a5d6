//! What every service needs.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_core::attributes::Patterns;
use portcullis_core::auth_via::AuthVia;
use portcullis_core::clock::{Clock, Timestamp};
use portcullis_core::entropy::Entropy;
use portcullis_core::epoch::{Epochs, Subject};
use portcullis_core::id::UserPk;
use portcullis_core::keys::Keyring;
use portcullis_core::origin::{Asked, Origin};
use portcullis_store::Db;
use portcullis_store::login_session::LoginSession;

mod revisions;

pub use revisions::Revisions;

use crate::blueprints;
use crate::directory::{Belongings, Person, actor_of};
use crate::error::Error;
use crate::event::failing::Failing;
use crate::flow::Pressed;
use crate::limits::{Limits, Rates};
use crate::mail::Mail;
use crate::mappings::engine::MappingEngine;
use crate::oauth::{client, machine};
use crate::outbound::Outbound;
use crate::outposts::channel::Channels;
use crate::places::Places;
use crate::policies::{HttpFacts, Support};
use crate::rights::Rights;
use crate::sessions::Lifetimes;
use crate::sources::jwks;
use crate::{setup, signing};

/// What every service needs. One per process, shared by reference count.
pub struct Context {
    /// The database.
    pub db: Db,
    /// Keys derived from the root secret.
    pub keys: Keyring,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Epochs of what identities rest on. Bumped after commit.
    pub epochs: Arc<Epochs>,
    /// Public URL of the control plane, without a trailing slash.
    pub base_url: String,
    /// Permanent id of the installation (CO-007).
    pub install_id: InstallId,
    /// What the settings file says besides.
    pub options: Options,
    /// When failed attempts slow somebody down.
    pub limits: Limits,
    /// What has been asked for lately, by address; start with the default.
    pub rates: Rates,
    /// How long sessions last.
    pub sessions: Lifetimes,
    /// Where addresses are; the default knows nothing.
    pub places: Places,
    /// What policies need that is not in this crate; start with the default.
    pub policies: Support,
    /// Signing keys, read from the store at first use; start with the default.
    pub signing: signing::Cache,
    /// Where users belong, read from the store when they are asked for; start with the default.
    pub belongings: Belongings,
    /// Clients of outposts, read from the store when they are asked for; start with the default.
    pub clients: client::Known,
    /// Failures that repeat themselves; start with the default.
    pub failing: Failing,
    /// Successes of machines that wait to be written; start with the default.
    pub notes: machine::Notes,
    /// The one-time code of the setup page; start with the default.
    pub setup: setup::Code,
    /// Sessions that forms have begun lately; start with the default.
    pub pressed: Pressed,
    /// Changes to what outposts are configured by.
    pub revisions: Revisions,
    /// Channels to outposts elsewhere; start with the default.
    pub channels: Channels,
    /// Who evaluates the expressions of mappings.
    pub mapping_engine: Arc<dyn MappingEngine>,
    /// Requests of ours to others.
    pub outbound: Outbound,
    /// When keys of sources were last asked for; start with the default.
    pub jwks: jwks::Asked,
    /// Mail; the default sends none.
    pub mail: Mail,
    /// What blueprints may read of the machine; start with the default, which is nothing.
    pub blueprints: blueprints::Reach,
}

/// Permanent id of the installation. It is another one only once: when an installation takes the place of another one,
/// before anybody is known by it (OA-931).
#[derive(Debug)]
pub struct InstallId(ArcSwap<String>);

impl InstallId {
    /// The id.
    pub fn get(&self) -> Arc<String> {
        self.0.load_full()
    }

    pub(crate) fn set(&self, id: String) {
        if *self.get() != id {
            self.0.store(Arc::new(id));
        }
    }
}

impl From<String> for InstallId {
    fn from(id: String) -> Self {
        Self(ArcSwap::from_pointee(id))
    }
}

/// Settings of the process that services read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names of attributes that are secret (CO-472).
    pub secret_attributes: Patterns,
    /// Whether the API shows the full name of custom events as their action (CO-413).
    pub verbatim_custom_actions: bool,
    /// Whether administrators may set only passwords that users could choose themselves (CO-326).
    pub strict_admin_set: bool,
    /// Whether keys of tokens are shown when they are made and never again (OA-606, OA-901).
    pub hidden_keys: bool,
    /// Whether generated keys of tokens say what they are (OA-613).
    pub labelled_keys: bool,
    /// How many seconds a generated account stays after its last assertion has ended, if not
    /// [`Options::GENERATED_ACCOUNT_RETENTION`] (OA-648).
    pub generated_account_retention: Option<i64>,
    /// Whether somebody said what the base URL is. The built-in one is reached from this machine alone.
    pub base_url_is_set: bool,
}

impl Options {
    /// Thirty days, in seconds.
    pub const GENERATED_ACCOUNT_RETENTION: i64 = 30 * 24 * 3600;
}

impl Context {
    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The origin at which browsers are, if it is known: a proxy in front may ask for another one.
    pub fn public_origin(&self) -> Option<&str> {
        self.options.base_url_is_set.then_some(self.base_url.as_str())
    }
}

/// Looks whether a command beside this process has changed something since `seen` changes were announced, and has
/// everything looked at again if so. Gives how many there are now.
///
/// # Errors
/// When the store fails.
pub async fn hear_others(ctx: &Context, seen: i64) -> Result<i64, Error> {
    let mut conn = ctx.db.read().await?;
    let announced = portcullis_store::instance::announced(&mut conn).await?;
    if announced != seen {
        if let Some(instance) = portcullis_store::instance::get(&mut conn).await? {
            ctx.install_id.set(instance.install_id);
        }
        ctx.epochs.bump(Subject::Everyone);
        ctx.revisions.add();
        ctx.channels.wake();
    }
    Ok(announced)
}

/// Whether the store answers and the first start is complete (CO-485).
pub async fn is_ready(ctx: &Context) -> bool {
    let Ok(mut conn) = ctx.db.read().await else { return false };
    portcullis_store::instance::get(&mut conn).await.is_ok_and(|instance| instance.is_some())
}

/// Who asks for something, and from where: for permissions and for events.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user, or nobody yet known.
    pub user: Option<UserPk>,
    /// Their user name, for events.
    pub username: String,
    /// Whether they administer the instance (CO-036).
    pub is_superuser: bool,
    /// What they may do besides (CO-701). Only the API gives any: elsewhere everybody has only what is their own.
    pub rights: Rights,
    /// Their address.
    pub client: Option<IpAddr>,
    /// What they ask for, for events.
    pub request: Request,
}

/// A request, as events tell of it (CO-411).
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Its id; empty inside the process.
    pub id: String,
    /// The host that it was sent to, with a port if there was one.
    pub host: String,
    /// What it asks for, if that is known.
    pub asked: Option<Arc<Asked>>,
    /// Who sends it, when they act as the user whose session it comes with (CO-388).
    pub impersonator: Option<UserPk>,
}

impl Request {
    /// The request that came from `origin`.
    pub fn of(origin: &Origin) -> Self {
        let (id, host, asked) = (origin.request_id.to_string(), origin.host.clone(), origin.asked.clone());
        Self { id, host, asked, impersonator: None }
    }

    /// The request has proven itself by this (OA-669).
    pub fn succeeded(&self, via: AuthVia) {
        if let Some(asked) = &self.asked {
            asked.proof.succeeded(via);
        }
    }

    /// The same request, which comes with this session.
    #[must_use]
    pub fn in_session(self, session: &LoginSession) -> Self {
        Self { impersonator: session.impersonator, ..self }
    }
}

impl Actor {
    /// Whether somebody else acts as this user (CO-388).
    pub fn is_impersonated(&self) -> bool {
        self.request.impersonator.is_some()
    }

    /// Refuses who acts as somebody else: what people sign in by is neither seen nor changed by others (CO-388, CO-836).
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn need_to_be_themselves(&self) -> Result<(), Error> {
        if self.is_impersonated() { Err(Error::Forbidden) } else { Ok(()) }
    }

    /// The instance itself: bootstrap, demo, clean-up.
    pub fn system() -> Self {
        Self {
            user: None,
            username: "system".to_owned(),
            is_superuser: true,
            rights: Rights::default(),
            client: None,
            request: Request::default(),
        }
    }
}

/// Where a request comes from, as far as services need to know.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The client's address.
    pub client: IpAddr,
    /// The request, for events.
    pub request: Request,
    /// What policies may know of the HTTP request; none inside the process.
    pub http: Option<Arc<HttpFacts>>,
    /// Who sends the request, where somebody tries out what would become of another one (CO-286, CO-140).
    pub sender: Option<Arc<Person>>,
    /// Whether they get to read what comes of it.
    pub explained: bool,
}

impl Visitor {
    /// A visitor of whom only the address is known.
    pub fn at(client: IpAddr) -> Self {
        Self { client, request: Request::default(), http: None, sender: None, explained: false }
    }

    /// Whoever sent the request that came from `origin`. Policies know nothing of it.
    pub fn sent_from(origin: &Origin) -> Self {
        Self { client: origin.client, request: Request::of(origin), http: None, sender: None, explained: false }
    }

    /// Where an actor is.
    pub fn of(actor: &Actor) -> Self {
        let client = actor.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Self { client, request: actor.request.clone(), http: None, sender: None, explained: false }
    }

    /// The same visitor, who comes with this session.
    #[must_use]
    pub fn in_session(self, session: &LoginSession) -> Self {
        Self { request: self.request.in_session(session), ..self }
    }

    /// This visitor as nobody yet known, who calls themselves `name`.
    pub fn stranger(&self, name: &str) -> Actor {
        Actor {
            user: None,
            username: name.chars().take(150).collect(),
            is_superuser: false,
            rights: Rights::default(),
            client: Some(self.client),
            request: self.request.clone(),
        }
    }

    /// This visitor as somebody known.
    pub fn known(&self, person: &Person) -> Actor {
        Actor { client: Some(self.client), request: self.request.clone(), ..actor_of(person) }
    }
}
