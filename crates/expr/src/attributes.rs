//! The plain attributes of objects: those that need no question to the host.

use std::sync::Arc;

use monty_types::MontyObject;

use crate::{
    bridge::{Bridge, Entry, from_json, from_map, instant},
    objects::HttpRequest,
    value::Object,
};

/// Attributes that travel with every object, so that equal ones compare equal.
pub(crate) fn identity(object: &Object) -> &'static [&'static str] {
    match object {
        Object::Token(_) | Object::HttpRequest(_) | Object::PolicyResult(_) => &[],
        _ => &["pk"],
    }
}

/// Attributes that travel with an object when the expression mentions them.
pub(crate) fn names(object: &Object) -> &'static [&'static str] {
    match object {
        Object::User(_) => &[
            "id",
            "uuid",
            "uid",
            "username",
            "name",
            "email",
            "path",
            "type",
            "is_active",
            "is_superuser",
            "is_staff",
            "is_authenticated",
            "is_anonymous",
            "date_joined",
            "last_login",
            "last_updated",
            "password_change_date",
            "attributes",
        ],
        Object::Group(_) => &["group_uuid", "num_pk", "name", "is_superuser", "attributes"],
        Object::Role(_) | Object::Entitlement(_) => &["name"],
        Object::Application(_) => &["name", "slug", "group", "meta_launch_url", "provider"],
        Object::Provider(_) => &["name", "application", "client_id", "external_host", "mode"],
        Object::Source(_) => &["name", "slug"],
        Object::Brand(_) => &["domain", "branding_title", "attributes"],
        Object::Event(_) => &["action", "app", "client_ip", "context", "user", "created"],
        Object::Token(_) => &["scope", "expires", "auth_time", "session"],
        Object::PolicyResult(_) => &["passing", "messages", "raw_result"],
        Object::HttpRequest(_) => {
            &["method", "path", "host", "scheme", "request_id", "GET", "headers", "META", "user", "brand", "tenant"]
        }
    }
}

/// What `str` makes of an object.
pub(crate) fn text(object: &Object) -> Option<String> {
    Some(match object {
        Object::User(user) => user.username.clone(),
        Object::Group(group) => group.name.clone(),
        Object::Role(named) | Object::Entitlement(named) => named.name.clone(),
        Object::Application(application) => application.name.clone(),
        Object::Provider(provider) => provider.name.clone(),
        Object::Source(source) => source.name.clone(),
        Object::Brand(brand) => brand.domain.clone(),
        Object::Event(event) => event.action.clone(),
        Object::PolicyResult(result) => {
            format!("PolicyResult passing={}", if result.passing { "True" } else { "False" })
        }
        Object::Token(_) | Object::HttpRequest(_) => return None,
    })
}

impl Bridge<'_> {
    /// A plain attribute of an object.
    pub(crate) fn attribute(&mut self, object: &Object, name: &str) -> Option<MontyObject> {
        let text = |text: &str| Some(MontyObject::String(text.to_owned()));
        let maybe = |text: &Option<String>| text.clone().map(MontyObject::String);
        let at = |at: Option<_>| Some(at.map_or(MontyObject::None, instant));
        match object {
            Object::User(user) => match name {
                "pk" | "id" => Some(user.pk.map_or(MontyObject::None, |pk| MontyObject::Int(pk.into()))),
                "uuid" => text(&user.uuid),
                "uid" => text(&user.uid),
                "username" => text(&user.username),
                "name" => text(&user.name),
                "email" => text(&user.email),
                "path" => text(&user.path),
                "type" => text(&user.kind),
                "is_active" => Some(MontyObject::Bool(user.is_active)),
                "is_superuser" | "is_staff" => Some(MontyObject::Bool(user.is_superuser)),
                "is_authenticated" => Some(MontyObject::Bool(!user.is_anonymous())),
                "is_anonymous" => Some(MontyObject::Bool(user.is_anonymous())),
                "date_joined" => at(user.date_joined),
                "last_login" => at(user.last_login),
                "last_updated" => at(user.last_updated),
                "password_change_date" => at(user.password_change_date),
                "attributes" => Some(from_map(&user.attributes)),
                // Not among `names`: users compare by what travels, and only a pending user has it.
                "backend" => maybe(&user.backend),
                _ => None,
            },
            Object::Group(group) => match name {
                "pk" | "group_uuid" => text(&group.pk),
                "num_pk" => Some(MontyObject::Int(group.num_pk)),
                "name" => text(&group.name),
                "is_superuser" => Some(MontyObject::Bool(group.is_superuser)),
                "attributes" => Some(from_map(&group.attributes)),
                _ => None,
            },
            Object::Role(named) | Object::Entitlement(named) => match name {
                "pk" => text(&named.pk),
                "name" => text(&named.name),
                _ => None,
            },
            Object::Application(application) => match name {
                "pk" => text(&application.pk),
                "name" => text(&application.name),
                "slug" => text(&application.slug),
                "group" => text(&application.group),
                "meta_launch_url" => text(&application.meta_launch_url),
                "provider" => {
                    let provider = application.provider.as_deref().cloned();
                    Some(provider.map_or(MontyObject::None, |provider| self.object(&provider.into())))
                }
                _ => None,
            },
            Object::Provider(provider) => match name {
                "pk" => Some(MontyObject::Int(provider.pk.into())),
                "name" => text(&provider.name),
                "application" => {
                    let application = provider.application.as_deref().cloned();
                    Some(application.map_or(MontyObject::None, |application| self.object(&application.into())))
                }
                "client_id" => maybe(&provider.client_id),
                "external_host" => maybe(&provider.external_host),
                "mode" => maybe(&provider.mode),
                _ => None,
            },
            Object::Source(source) => match name {
                "pk" => text(&source.pk),
                "name" => text(&source.name),
                "slug" => text(&source.slug),
                _ => None,
            },
            Object::Brand(brand) => match name {
                "pk" => text(&brand.pk),
                "domain" => text(&brand.domain),
                "branding_title" => text(&brand.branding_title),
                "attributes" => Some(from_map(&brand.attributes)),
                _ => None,
            },
            Object::Event(event) => match name {
                "pk" => text(&event.pk),
                "action" => text(&event.action),
                "app" => text(&event.app),
                "client_ip" => Some(event.client_ip.clone().map_or(MontyObject::None, MontyObject::String)),
                "context" => Some(from_map(&event.context)),
                "user" => Some(from_map(&event.user)),
                "created" => at(event.created),
                _ => None,
            },
            Object::Token(token) => match name {
                "scope" => Some(MontyObject::List(token.scope.iter().cloned().map(MontyObject::String).collect())),
                "expires" => at(token.expires),
                "auth_time" => at(token.auth_time),
                "session" => Some(MontyObject::Bool(token.session)),
                _ => None,
            },
            Object::PolicyResult(result) => match name {
                "passing" => Some(MontyObject::Bool(result.passing)),
                "messages" => {
                    Some(MontyObject::List(result.messages.iter().cloned().map(MontyObject::String).collect()))
                }
                "raw_result" => Some(from_json(&result.raw_result)),
                _ => None,
            },
            Object::HttpRequest(request) => self.request_attribute(request, name),
        }
    }

    fn request_attribute(&mut self, request: &Arc<HttpRequest>, name: &str) -> Option<MontyObject> {
        let text = |text: &str| MontyObject::String(text.to_owned());
        Some(match name {
            "method" => text(&request.method),
            "path" => text(&request.path),
            "host" => text(&request.host),
            "scheme" => text(&request.scheme),
            "request_id" => text(&request.request_id),
            "GET" => query(&request.query),
            "headers" => MontyObject::dict(
                request.headers.iter().map(|(name, value)| (text(name), text(value))).collect::<Vec<_>>(),
            ),
            "META" => meta(request),
            "user" => request.user.as_ref().map_or(MontyObject::None, |user| self.user(user)),
            "brand" => request.brand.as_ref().map_or(MontyObject::None, |brand| self.brand(brand)),
            "tenant" => {
                let settings = request.tenant.iter().map(|(name, value)| (name.as_str(), self.value(value))).collect();
                self.instance(Entry::Tenant, settings)
            }
            _ => return None,
        })
    }
}

/// Query parameters: every name with all its values.
fn query(query: &str) -> MontyObject {
    let mut names: Vec<(String, Vec<MontyObject>)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let value = MontyObject::String(value.into_owned());
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => names.push((name.into_owned(), vec![value])),
        }
    }
    MontyObject::dict(
        names
            .into_iter()
            .map(|(name, values)| (MontyObject::String(name), MontyObject::List(values)))
            .collect::<Vec<_>>(),
    )
}

fn meta(request: &HttpRequest) -> MontyObject {
    let mut meta = vec![
        ("REQUEST_METHOD".to_owned(), request.method.clone()),
        ("PATH_INFO".to_owned(), request.path.clone()),
        ("QUERY_STRING".to_owned(), request.query.clone()),
        ("SERVER_NAME".to_owned(), request.server_name.clone()),
    ];
    meta.extend(request.client_ip.map(|ip| ("REMOTE_ADDR".to_owned(), ip.to_canonical().to_string())));
    meta.extend(
        request
            .headers
            .iter()
            .map(|(name, value)| (format!("HTTP_{}", name.replace('-', "_").to_ascii_uppercase()), value.to_owned())),
    );
    let pairs = meta.into_iter().map(|(name, value)| (MontyObject::String(name), MontyObject::String(value)));
    MontyObject::dict(pairs.collect::<Vec<_>>())
}
