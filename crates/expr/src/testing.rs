//! Hosts for tests.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};

use crate::{
    filter::Filter,
    host::{AddressFamily, Authenticator, Called, Entitlement, Host, HostError, PolicyCall},
    objects::{Application, Group, NamedObject, User},
};

/// A host that knows nobody and nothing. Its clock stands at the epoch.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Host for Nobody {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn find_user(&self, _: &[Filter]) -> Result<Option<User>, HostError> {
        Ok(None)
    }

    fn groups(&self, _: &User) -> Result<Vec<Group>, HostError> {
        Ok(Vec::new())
    }

    fn all_groups(&self, _: &User) -> Result<Vec<Group>, HostError> {
        Ok(Vec::new())
    }

    fn roles(&self, _: &User, _: bool) -> Result<Vec<NamedObject>, HostError> {
        Ok(Vec::new())
    }

    fn group_attributes(&self, user: &User, _: bool) -> Result<Map<String, Json>, HostError> {
        Ok(user.attributes.clone())
    }

    fn entitlements(&self, _: &User, _: &Application) -> Result<Vec<Entitlement>, HostError> {
        Ok(Vec::new())
    }

    fn has_authenticator(&self, _: &User, _: Option<Authenticator>) -> Result<bool, HostError> {
        Ok(false)
    }

    fn parents(&self, _: &Group) -> Result<Vec<Group>, HostError> {
        Ok(Vec::new())
    }

    fn children(&self, _: &Group) -> Result<Vec<Group>, HostError> {
        Ok(Vec::new())
    }

    fn group_roles(&self, _: &Group) -> Result<Vec<NamedObject>, HostError> {
        Ok(Vec::new())
    }

    fn call_policy(&self, call: PolicyCall<'_>) -> Result<Called, HostError> {
        Err(HostError::new(format!("there is no policy '{}'", call.name)))
    }

    fn resolve(&self, _: &str, _: Option<AddressFamily>) -> Vec<IpAddr> {
        Vec::new()
    }

    fn reverse(&self, _: IpAddr) -> Option<String> {
        None
    }
}
