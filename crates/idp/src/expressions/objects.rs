//! Users, groups and the rest as expressions see them: without a secret (CO-229).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use portcullis_core::attributes::{Attributes, SecretKeys};
use portcullis_core::clock::Timestamp;
use portcullis_expr::{Application, Brand, Group, HttpRequest, Object, Provider, User, Value, VisibleHeaders};
use portcullis_store::account::Account;
use portcullis_store::team::Team;
use portcullis_store::{application, provider};
use serde_json::Value as Json;

use crate::brands;
use crate::context::Context;
use crate::directory::{account_attributes, team_attributes, uid};
use crate::error::Error;
use crate::policies::HttpFacts;

pub(super) fn instant(at: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(at.0)
}

/// A user; secret attributes only as far as `kept` names them.
pub(super) fn user(
    ctx: &Context,
    account: &Account,
    is_superuser: bool,
    secrets: &SecretKeys,
    kept: &[&str],
) -> Result<User, Error> {
    Ok(User {
        pk: Some(account.pk.0),
        uuid: account.uuid.to_string(),
        uid: uid(ctx, account.pk),
        username: account.username.clone(),
        name: account.name.clone(),
        email: account.email.clone(),
        path: account.path.clone(),
        kind: account.kind.clone(),
        is_active: account.is_active,
        is_superuser,
        date_joined: instant(account.date_joined),
        last_login: account.last_login.and_then(instant),
        last_updated: instant(account.last_updated),
        password_change_date: instant(account.password_changed),
        has_usable_password: account.password_hash.is_some(),
        attributes: secrets.without(&account_attributes(ctx, account)?, kept),
        backend: None,
    })
}

pub(super) fn group(ctx: &Context, team: &Team, secrets: &SecretKeys) -> Result<Group, Error> {
    let attributes: Attributes = secrets.without(&team_attributes(ctx, team)?, &[]);
    Ok(Group {
        pk: team.pk.to_string(),
        num_pk: team.pk.num_pk().into(),
        name: team.name.clone(),
        is_superuser: team.is_superuser,
        attributes,
    })
}

pub(super) fn application(found: &application::Application, of: Option<&provider::Provider>) -> Application {
    Application {
        pk: found.uuid.to_string(),
        name: found.name.clone(),
        slug: found.slug.clone(),
        group: found.portal_group.clone(),
        meta_launch_url: found.meta_launch_url.clone(),
        provider: of.map(|of| Box::new(provider(of, None))),
    }
}

pub(super) fn provider(found: &provider::Provider, of: Option<&application::Application>) -> Provider {
    let proxied = found.kind == "proxy";
    Provider {
        pk: found.pk.0,
        name: found.name.clone(),
        application: of.map(|of| Box::new(application(of, None))),
        client_id: Some(found.client_id.clone()),
        external_host: proxied.then(|| found.external_host.clone()),
        mode: proxied.then(|| found.mode.clone()),
    }
}

/// What an HTTP request was sent into.
#[derive(Default)]
pub(super) struct Surroundings {
    pub(super) brand: Option<Arc<Brand>>,
    pub(super) tenant: Vec<(String, Value)>,
}

/// The brand of a host, without its secrets.
pub(super) fn brand(ctx: &Context, found: &brands::Brand, secrets: &SecretKeys) -> Result<Brand, Error> {
    Ok(Brand {
        pk: found.pk.to_string(),
        domain: found.domain.clone(),
        branding_title: found.title.clone(),
        attributes: secrets.without(&brands::attributes(ctx, found)?, &[]),
    })
}

pub(super) fn http(
    facts: &HttpFacts,
    request_id: &str,
    client: Option<std::net::IpAddr>,
    user: Arc<User>,
    around: Surroundings,
) -> HttpRequest {
    HttpRequest {
        method: facts.method.clone(),
        path: facts.path.clone(),
        host: facts.host.clone(),
        scheme: facts.scheme.clone(),
        request_id: request_id.to_owned(),
        query: facts.query.clone(),
        client_ip: client,
        server_name: facts.host.rsplit_once(':').map_or(facts.host.as_str(), |(name, _)| name).to_owned(),
        user: Some(user),
        brand: around.brand,
        tenant: around.tenant,
        headers: VisibleHeaders::of(facts.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
    }
}

/// A value as JSON, for what is no expression: objects are their keys.
pub(super) fn json(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Instant(at) => at.to_rfc3339().into(),
        Value::Address(address) => address.to_string().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => Json::Object(entries.iter().map(|(key, value)| (key.clone(), json(value))).collect()),
        Value::Object(object) => match object {
            Object::User(user) => user.pk.into(),
            Object::Group(group) => group.pk.as_str().into(),
            Object::Role(named) | Object::Entitlement(named) => named.pk.as_str().into(),
            Object::Application(application) => application.pk.as_str().into(),
            Object::Provider(provider) => provider.pk.into(),
            Object::Source(source) => source.pk.as_str().into(),
            Object::Brand(brand) => brand.pk.as_str().into(),
            Object::Event(event) => event.pk.as_str().into(),
            Object::PolicyResult(result) => result.passing.into(),
            Object::Token(_) | Object::HttpRequest(_) => Json::Null,
        },
    }
}
