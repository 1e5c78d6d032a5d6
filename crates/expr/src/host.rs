//! What an expression may ask of the world.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};

use crate::{
    filter::Filter,
    limits::Budget,
    objects::{Application, Group, NamedObject, PolicyResult, User},
    outcome::{CustomEvent, LogLine},
    value::Value,
};

/// What an expression may ask of the world, beyond its inputs.
///
/// Every method is called on the thread that evaluates and may block it; each call counts against
/// [`Limits::io_calls`](crate::Limits::io_calls), except the clock. An answer is used as it is: secret attributes are
/// left out by whoever answers.
pub trait Host {
    /// What time it is.
    fn now(&self) -> DateTime<Utc>;

    /// The first user by number that all of `filters` match.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn find_user(&self, filters: &[Filter]) -> Result<Option<User>, HostError>;

    /// The groups of which `user` is a direct member, by name.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn groups(&self, user: &User) -> Result<Vec<Group>, HostError>;

    /// The groups of which `user` is a member, those above them included, by name.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn all_groups(&self, user: &User) -> Result<Vec<Group>, HostError>;

    /// The user's roles; with `inherited`, those that groups bring, too.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn roles(&self, user: &User, inherited: bool) -> Result<Vec<NamedObject>, HostError>;

    /// The merged attributes of the user's groups and the user (CO-064), on top of the brand's when `with_brand`.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn group_attributes(&self, user: &User, with_brand: bool) -> Result<Map<String, Json>, HostError>;

    /// The user's entitlements for an application.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn entitlements(&self, user: &User, application: &Application) -> Result<Vec<Entitlement>, HostError>;

    /// Whether the user has a confirmed authenticator of this kind, or of any.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn has_authenticator(&self, user: &User, kind: Option<Authenticator>) -> Result<bool, HostError>;

    /// The groups right above `group`.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn parents(&self, group: &Group) -> Result<Vec<Group>, HostError>;

    /// The groups right below `group`.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn children(&self, group: &Group) -> Result<Vec<Group>, HostError>;

    /// The roles of `group`.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    fn group_roles(&self, group: &Group) -> Result<Vec<NamedObject>, HostError>;

    /// Evaluates another policy for the same request (CO-242). Cycles and depth have been looked at.
    ///
    /// Compile the policy, extend the request's context with [`PolicyCall::kwargs`], and run it with
    /// [`PolicyCall::budget`], so that it shares what is left.
    ///
    /// # Errors
    /// When there is no such policy, or it cannot be evaluated.
    fn call_policy(&self, call: PolicyCall<'_>) -> Result<Called, HostError>;

    /// The addresses of a host name; none when it cannot be resolved within two seconds.
    fn resolve(&self, name: &str, family: Option<AddressFamily>) -> Vec<IpAddr>;

    /// The name of an address, if it has one.
    fn reverse(&self, address: IpAddr) -> Option<String>;
}

/// Why the world gave no answer. The text is told to the administrator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);

impl HostError {
    /// Says why.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A kind of authenticator that Portcullis knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authenticator {
    /// Codes by time.
    Totp,
    /// Recovery codes.
    Static,
    /// Security keys and passkeys.
    WebAuthn,
}

/// Which addresses to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum AddressFamily {
    V4,
    V6,
}

/// An entitlement of a user.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entitlement {
    /// Its key and name.
    pub object: NamedObject,
    /// Its attributes.
    pub attributes: Map<String, Json>,
}

/// A call of another policy.
pub struct PolicyCall<'a> {
    /// The name of the policy.
    pub name: &'a str,
    /// What the caller adds to the callee's context.
    pub kwargs: Vec<(String, Value)>,
    /// What caller and callee may still use up together.
    pub budget: &'a Budget,
}

/// What a called policy came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Called {
    /// The result, which is all that the caller sees.
    pub result: PolicyResult,
    /// What it logged.
    pub log_lines: Vec<LogLine>,
    /// Events it asked for.
    pub events: Vec<CustomEvent>,
}
