//! What the interpreter asks of the host: helpers, methods of objects, attributes that need a look-up.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use monty_types::{ExcType, MontyObject};
use serde_json::{Map, Value as Json, json};

use crate::{
    addresses::address_attribute,
    bridge::{Entry, from_map, instant},
    error::Limit,
    filter::Subject,
    helpers,
    host::{AddressFamily, Authenticator, HostError, PolicyCall},
    objects::{Application, User},
    outcome::{CustomEvent, LogLevel, LogLine},
    run::{Answer, Run},
    size::{cut, fits},
    traceback::Ended,
    value::{Object, Value},
};

type Kwargs = [(MontyObject, MontyObject)];

impl Run<'_> {
    /// A helper.
    pub(crate) fn function(&mut self, name: &str, args: &[MontyObject], kwargs: &Kwargs) -> Answer {
        // Calling a name that nobody defined asks for a function of that name, whatever the situation (CO-230).
        let known = self.program.provides(name);
        let answer = match name {
            _ if !known => Err(raise(ExcType::NameError, format!("name '{name}' is not defined"))),
            "ak_message" => self.message(args),
            "ak_is_group_member" => self.is_group_member(args, kwargs),
            "ak_user_by" => self.user_by(kwargs),
            "ak_user_has_authenticator" => self.has_authenticator(args, kwargs),
            "ak_create_event" => self.create_event(args, kwargs),
            "regex_match" => self.regex_match(args, kwargs),
            "regex_replace" => self.regex_replace(args, kwargs),
            "slugify" => self.text_of(args, kwargs, 0, "text").map(|text| value(helpers::slugify(&text))),
            "resolve_dns" => self.resolve_dns(args, kwargs),
            "reverse_dns" => self.reverse_dns(args),
            "now" => Ok(Answer::Value(instant(self.host.now()))),
            "__pc_over" => Ok(Limit::Steps.into()),
            "__pc_select" => {
                self.bridge.select(args).map(Answer::Value).map_err(|reason| raise(ExcType::ValueError, reason))
            }
            "__pc_digest" => Self::digest(args),
            "ip_address" => self.ip_address(args, kwargs),
            "ip_network" => self.ip_network(args, kwargs),
            _ => Err(raise(ExcType::NameError, format!("name '{name}' is not defined"))),
        };
        answer.unwrap_or_else(|answer| answer)
    }

    fn message(&mut self, args: &[MontyObject]) -> Result<Answer, Answer> {
        let text = cut(args.first().map(|message| self.bridge.text(message)).unwrap_or_default());
        let limit = self.budget.limits().messages;
        match self.outcome.messages.len() {
            len if len < limit => self.outcome.messages.push(text),
            _ => self.surplus("further messages are dropped"),
        }
        Ok(none())
    }

    /// Warns once that something beyond a limit is dropped.
    fn surplus(&mut self, message: &str) {
        if !self.outcome.log_lines.iter().any(|line| line.message == message) {
            self.warn(message);
        }
    }

    fn is_group_member(&mut self, args: &[MontyObject], kwargs: &Kwargs) -> Result<Answer, Answer> {
        let user = self.user_of(args.first())?;
        let filters =
            self.bridge.filters(Subject::Group, kwargs).map_err(|reason| raise(ExcType::ValueError, reason))?;
        if user.is_anonymous() {
            return Ok(value(false));
        }
        self.pay()?;
        let groups = self.host.all_groups(&user).map_err(failed)?;
        Ok(value(groups.iter().any(|group| filters.iter().all(|filter| filter.matches_group(group)))))
    }

    fn user_by(&mut self, kwargs: &Kwargs) -> Result<Answer, Answer> {
        let filters =
            self.bridge.filters(Subject::User, kwargs).map_err(|reason| raise(ExcType::ValueError, reason))?;
        self.pay()?;
        let Some(user) = self.host.find_user(&filters).map_err(failed)? else { return Ok(none()) };
        self.found.extend(user.pk);
        Ok(Answer::Value(self.bridge.user(&Arc::new(user))))
    }

    fn has_authenticator(&mut self, args: &[MontyObject], kwargs: &Kwargs) -> Result<Answer, Answer> {
        let user = self.user_of(args.first())?;
        let kind = match argument(args, kwargs, 1, "device_type") {
            None | Some(MontyObject::None) => None,
            Some(kind) => match self.bridge.text(kind).as_str() {
                "totp" => Some(Authenticator::Totp),
                "static" => Some(Authenticator::Static),
                "webauthn" => Some(Authenticator::WebAuthn),
                "duo" | "sms" | "email" => return Ok(value(false)),
                other => return Err(raise(ExcType::ValueError, format!("'{other}' is no kind of authenticator"))),
            },
        };
        if user.is_anonymous() {
            return Ok(value(false));
        }
        self.pay()?;
        self.host.has_authenticator(&user, kind).map(value).map_err(failed)
    }

    fn create_event(&mut self, args: &[MontyObject], kwargs: &Kwargs) -> Result<Answer, Answer> {
        let action = self.text_of(args, &[], 0, "action")?;
        if self.outcome.events.len() >= self.budget.limits().events {
            self.surplus("further events are dropped");
            return Ok(none());
        }
        let mut context = self.fields(kwargs)?;
        if let Some(request) = &self.inputs.http_request {
            context.insert(
                "http_request".to_owned(),
                json!({
                    "method": request.method,
                    "path": request.path,
                    "request_id": request.request_id,
                    "user_agent": request.headers.get("user-agent").unwrap_or_default(),
                }),
            );
        }
        let app = self.inputs.name.clone();
        self.outcome.events.push(CustomEvent { action: cut(format!("custom_{action}")), app, context });
        Ok(none())
    }

    fn regex_match(&mut self, args: &[MontyObject], kwargs: &Kwargs) -> Result<Answer, Answer> {
        if matches!(argument(args, kwargs, 0, "value"), Some(MontyObject::None)) {
            return Ok(value(false));
        }
        let text = self.text_of(args, kwargs, 0, "value")?;
        let pattern = self.text_of(args, kwargs, 1, "regex")?;
        let regex = helpers::compile_pattern(&pattern).map_err(|reason| raise(ExcType::ValueError, reason))?;
        Ok(value(regex.is_match(&text)))
    }

    fn regex_replace(&mut self, args: &[MontyObject], kwargs: &Kwargs) -> Result<Answer, Answer> {
        let text = self.text_of(args, kwargs, 0, "value")?;
        let pattern = self.text_of(args, kwargs, 1, "regex")?;
        let replacement = self.text_of(args, kwargs, 2, "repl")?;
        helpers::regex_replace(&text, &pattern, &replacement)
            .map(value)
            .map_err(|reason| raise(ExcType::ValueError, reason))
    }

    fn digest(args: &[MontyObject]) -> Result<Answer, Answer> {
        let [name, MontyObject::Bytes(data)] = args else {
            return Err(raise(ExcType::TypeError, "Strings must be encoded before hashing".to_owned()));
        };
        let MontyObject::String(name) = name else {
            return Err(raise(ExcType::TypeError, "the name of a digest is a text".to_owned()));
        };
        let digest = helpers::digest(name, data);
        digest.map(value).ok_or_else(|| raise(ExcType::ValueError, format!("unsupported hash type {name}")))
    }

    fn ip_address(&mut self, args: &[MontyObject], kwargs: &Kwargs) -> Result<Answer, Answer> {
        let text = self.text_of(args, kwargs, 0, "address")?;
        let address = helpers::address(&text).map_err(|reason| raise(ExcType::ValueError, reason))?;
        Ok(Answer::Value(self.bridge.address(address)))
    }

    fn ip_network(&mut self, args: &[MontyObject], kwargs: &Kwargs) -> Result<Answer, Answer> {
        let text = self.text_of(args, kwargs, 0, "address")?;
        let strict = argument(args, kwargs, 1, "strict").is_none_or(crate::bridge::truthy);
        let net = helpers::network(&text, strict).map_err(|reason| raise(ExcType::ValueError, reason))?;
        Ok(Answer::Value(self.bridge.network(net)))
    }

    fn network_method(&self, net: IpNet, name: &str, args: &[MontyObject]) -> Result<Answer, Answer> {
        let test: fn(&IpNet, &IpNet) -> bool = match name {
            "subnet_of" => |net, other| other.contains(net),
            "supernet_of" => |net, other| net.contains(other),
            "overlaps" => |net, other| net.contains(other) || other.contains(net),
            _ => return Ok(Answer::Missing),
        };
        match args.first().and_then(|other| self.bridge.entry_of(other)) {
            Some(Entry::Network(other)) => Ok(value(test(&net, other))),
            _ => Err(raise(ExcType::TypeError, "a network is needed".to_owned())),
        }
    }

    fn resolve_dns(&mut self, args: &[MontyObject], kwargs: &Kwargs) -> Result<Answer, Answer> {
        let name = self.text_of(args, kwargs, 0, "host")?;
        let family = match argument(args, kwargs, 1, "ip_version") {
            Some(MontyObject::Int(4)) => Some(AddressFamily::V4),
            Some(MontyObject::Int(6)) => Some(AddressFamily::V6),
            None | Some(MontyObject::None) => None,
            Some(other) => return Err(raise(ExcType::ValueError, format!("ip_version is 4 or 6, not {other}"))),
        };
        self.pay()?;
        let addresses = self.host.resolve(&name, family);
        Ok(Answer::Value(MontyObject::List(
            addresses.into_iter().map(|address| MontyObject::String(address.to_string())).collect(),
        )))
    }

    fn reverse_dns(&mut self, args: &[MontyObject]) -> Result<Answer, Answer> {
        let text = self.text_of(args, &[], 0, "ip")?;
        let Ok(address) = text.parse::<IpAddr>() else { return Ok(value(text)) };
        self.pay()?;
        Ok(value(self.host.reverse(address).unwrap_or(text)))
    }

    /// `ak_call_policy`: takes the steps that are left, gives those that are left afterwards and the result.
    pub(crate) fn call_policy(&mut self, args: &[MontyObject]) -> Answer {
        self.try_call_policy(args).unwrap_or_else(|answer| answer)
    }

    fn try_call_policy(&mut self, args: &[MontyObject]) -> Result<Answer, Answer> {
        let [MontyObject::Int(steps), name, MontyObject::Dict(kwargs)] = args else {
            return Err(raise(ExcType::TypeError, "ak_call_policy takes a name and keyword arguments".to_owned()));
        };
        let name = self.bridge.text(name);
        let kwargs: Vec<_> = kwargs.into_iter().map(|(key, value)| (self.bridge.text(key), self.back(value))).collect();
        self.pay()?;
        self.budget.set_steps(u64::try_from(*steps).unwrap_or(0));
        let budget = self.budget;
        let entered = budget.enter(&self.inputs.name, &name).map_err(|reason| raise(ExcType::RuntimeError, reason))?;
        let called = self.host.call_policy(PolicyCall { name: &name, kwargs, budget });
        drop(entered);
        // A policy that is not there or that fails is an error like any other, which the caller may catch.
        let called = called.map_err(|error| raise(ExcType::RuntimeError, error.0))?;
        for line in called.log_lines {
            self.log(line);
        }
        let room = budget.limits().events.saturating_sub(self.outcome.events.len());
        self.outcome.events.extend(called.events.into_iter().take(room));
        let left = i64::try_from(budget.steps()).unwrap_or(i64::MAX);
        let result = self.bridge.object(&called.result.into());
        Ok(Answer::Value(MontyObject::Tuple(vec![MontyObject::Int(left), result])))
    }

    /// A value on its way out that keeps its objects.
    fn back(&self, value: &MontyObject) -> Value {
        match value {
            MontyObject::List(items) => Value::List(items.iter().map(|item| self.back(item)).collect()),
            MontyObject::Dict(pairs) => {
                Value::Map(pairs.into_iter().map(|(key, value)| (self.bridge.text(key), self.back(value))).collect())
            }
            other => match self.bridge.entry_of(other) {
                Some(Entry::Object(object)) => Value::Object(object.clone()),
                Some(Entry::Address(address)) => Value::Address(*address),
                _ => self.bridge.json(other).unwrap_or_default().into(),
            },
        }
    }

    /// A method of an object.
    pub(crate) fn method(&mut self, entry: &Entry, name: &str, args: &[MontyObject], kwargs: &Kwargs) -> Answer {
        let answer = match entry {
            Entry::Logger => self.logger(name, args, kwargs),
            Entry::Object(Object::User(user)) => self.user_method(user, name, args, kwargs),
            Entry::Object(Object::Group(group)) if name == "is_member" => self.user_of(args.first()).and_then(|user| {
                if user.is_anonymous() {
                    return Ok(value(false));
                }
                self.pay()?;
                let groups = self.host.all_groups(&user).map_err(failed)?;
                Ok(value(groups.iter().any(|one| one.pk == group.pk)))
            }),
            Entry::Network(net) => self.network_method(*net, name, args),
            Entry::Object(Object::HttpRequest(request)) => match name {
                "is_secure" => Ok(value(request.scheme == "https")),
                "get_full_path" if request.query.is_empty() => Ok(value(request.path.clone())),
                "get_full_path" => Ok(value(format!("{}?{}", request.path, request.query))),
                "get_host" => Ok(value(request.host.clone())),
                _ => Ok(Answer::Missing),
            },
            _ => Ok(Answer::Missing),
        };
        answer.unwrap_or_else(|answer| answer)
    }

    fn logger(&mut self, name: &str, args: &[MontyObject], kwargs: &Kwargs) -> Result<Answer, Answer> {
        let level = match name {
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warning" | "warn" => LogLevel::Warning,
            "error" | "exception" => LogLevel::Error,
            "critical" => LogLevel::Critical,
            _ => return Ok(Answer::Missing),
        };
        let message = cut(args.first().map(|message| self.bridge.text(message)).unwrap_or_default());
        let fields = self.fields(kwargs)?;
        self.log(LogLine { level, message, fields });
        Ok(none())
    }

    fn user_method(
        &mut self,
        user: &Arc<User>,
        name: &str,
        args: &[MontyObject],
        kwargs: &Kwargs,
    ) -> Result<Answer, Answer> {
        match name {
            "has_usable_password" => return Ok(value(user.has_usable_password)),
            "all_groups" | "all_roles" | "group_attributes" | "app_entitlements" | "app_entitlements_attributes" => {}
            _ => return Ok(Answer::Missing),
        }
        let anonymous = user.is_anonymous();
        if !anonymous {
            self.pay()?;
        }
        match name {
            "all_groups" if anonymous => Ok(list()),
            "all_groups" => {
                let groups = self.host.all_groups(user).map_err(failed)?;
                Ok(Answer::Value(self.bridge.groups(groups)))
            }
            "all_roles" if anonymous => Ok(list()),
            "all_roles" => {
                let roles = self.host.roles(user, true).map_err(failed)?;
                Ok(Answer::Value(self.bridge.named(roles, Object::Role)))
            }
            "group_attributes" if anonymous => Ok(Answer::Value(from_map(&user.attributes))),
            "group_attributes" => {
                // Only the HTTP request brings the brand's attributes; the policy's request does not (CO-233).
                let request = argument(args, kwargs, 0, "request").and_then(|value| self.bridge.object_of(value));
                let with_brand = matches!(request, Some(Object::HttpRequest(_)));
                let attributes = self.host.group_attributes(user, with_brand).map_err(failed)?;
                Ok(Answer::Value(from_map(&attributes)))
            }
            _ => {
                let application = self.application_of(argument(args, kwargs, 0, "app"))?;
                let entitlements =
                    if anonymous { Vec::new() } else { self.host.entitlements(user, &application).map_err(failed)? };
                if name == "app_entitlements" {
                    let objects = entitlements.into_iter().map(|entitlement| entitlement.object);
                    return Ok(Answer::Value(self.bridge.named(objects, Object::Entitlement)));
                }
                let mut merged = Map::new();
                for entitlement in entitlements {
                    merge(&mut merged, entitlement.attributes);
                }
                Ok(Answer::Value(from_map(&merged)))
            }
        }
    }

    /// An attribute that does not travel with its object.
    pub(crate) fn lazy(&mut self, entry: &Entry, name: &str) -> Answer {
        let answer = match entry {
            Entry::Object(object) => match self.bridge.attribute(object, name) {
                Some(found) => Ok(Answer::Value(found)),
                None => self.related(object, name),
            },
            Entry::Request => match name {
                "user" => {
                    let user = self.inputs.user.clone().unwrap_or_else(|| Arc::clone(&self.anonymous));
                    Ok(Answer::Value(self.bridge.user(&user)))
                }
                "http_request" => Ok(Answer::Value(
                    self.inputs.http_request.as_ref().map_or(MontyObject::None, |r| self.bridge.request(r)),
                )),
                "obj" => Ok(Answer::Value(self.bridge.value(&self.inputs.obj))),
                "context" => Ok(Answer::Value(self.bridge.dict(&self.inputs.context, Vec::new()))),
                _ => Ok(Answer::Missing),
            },
            Entry::Address(address) => Ok(address_attribute(*address, name).map_or(Answer::Missing, Answer::Value)),
            Entry::Network(net) => Ok(self.bridge.network_attribute(*net, name).map_or(Answer::Missing, Answer::Value)),
            Entry::Logger | Entry::FlowPlan | Entry::Tenant => Ok(Answer::Missing),
        };
        answer.unwrap_or_else(|answer| answer)
    }

    fn related(&mut self, object: &Object, name: &str) -> Result<Answer, Answer> {
        match (object, name) {
            (Object::User(user), "groups" | "ak_groups" | "roles") if user.is_anonymous() => Ok(list()),
            (Object::User(user), "groups" | "ak_groups") => {
                self.pay()?;
                let groups = self.host.groups(user).map_err(failed)?;
                Ok(Answer::Value(self.bridge.groups(groups)))
            }
            (Object::User(user), "roles") => {
                self.pay()?;
                let roles = self.host.roles(user, false).map_err(failed)?;
                Ok(Answer::Value(self.bridge.named(roles, Object::Role)))
            }
            (Object::Group(group), "parents" | "children") => {
                self.pay()?;
                let groups = if name == "parents" { self.host.parents(group) } else { self.host.children(group) };
                Ok(Answer::Value(self.bridge.groups(groups.map_err(failed)?)))
            }
            (Object::Group(group), "roles") => {
                self.pay()?;
                let roles = self.host.group_roles(group).map_err(failed)?;
                Ok(Answer::Value(self.bridge.named(roles, Object::Role)))
            }
            _ => Ok(Answer::Missing),
        }
    }

    fn pay(&self) -> Result<(), Answer> {
        self.budget.spend_io_call().map_err(Answer::from)
    }

    fn user_of(&self, argument: Option<&MontyObject>) -> Result<Arc<User>, Answer> {
        match argument.and_then(|argument| self.bridge.object_of(argument)) {
            Some(Object::User(user)) => Ok(Arc::clone(user)),
            _ => Err(raise(ExcType::TypeError, "a user is needed".to_owned())),
        }
    }

    fn application_of(&self, argument: Option<&MontyObject>) -> Result<Application, Answer> {
        match argument.and_then(|argument| self.bridge.object_of(argument)) {
            Some(Object::Application(application)) => Ok((**application).clone()),
            _ => Err(raise(ExcType::TypeError, "an application is needed".to_owned())),
        }
    }

    fn text_of(&self, args: &[MontyObject], kwargs: &Kwargs, at: usize, name: &str) -> Result<String, Answer> {
        argument(args, kwargs, at, name)
            .map(|argument| self.bridge.text(argument))
            .ok_or_else(|| raise(ExcType::TypeError, format!("the argument '{name}' is missing")))
    }

    fn fields(&self, kwargs: &Kwargs) -> Result<Map<String, Json>, Answer> {
        let field = |(key, value): &(MontyObject, MontyObject)| {
            let json = self.bridge.json(value);
            let json = json.ok_or_else(|| raise(ExcType::ValueError, "a value is nested in itself".to_owned()))?;
            Ok((self.bridge.text(key), json))
        };
        let fields = kwargs.iter().map(field).collect::<Result<_, Answer>>()?;
        if fits(&fields) {
            Ok(fields)
        } else {
            Err(raise(ExcType::ValueError, "the details are larger than they may be".to_owned()))
        }
    }
}

/// An argument by its place or its name.
fn argument<'v>(args: &'v [MontyObject], kwargs: &'v Kwargs, at: usize, name: &str) -> Option<&'v MontyObject> {
    let named = || kwargs.iter().find(|(key, _)| matches!(key, MontyObject::String(key) if key == name));
    args.get(at).or_else(|| named().map(|(_, value)| value))
}

/// Merges attributes, dicts within them key by key.
fn merge(into: &mut Map<String, Json>, from: Map<String, Json>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Json::Object(known)), Json::Object(value)) => merge(known, value),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn value(value: impl Into<Value>) -> Answer {
    Answer::Value(match value.into() {
        Value::Bool(value) => MontyObject::Bool(value),
        Value::Text(text) => MontyObject::String(text),
        _ => MontyObject::None,
    })
}

fn none() -> Answer {
    Answer::Value(MontyObject::None)
}

fn list() -> Answer {
    Answer::Value(MontyObject::List(Vec::new()))
}

fn raise(kind: ExcType, message: String) -> Answer {
    Answer::Raise(kind, message)
}

/// A directory that cannot be asked ends the evaluation: an expression that caught it would decide in the dark.
fn failed(error: HostError) -> Answer {
    Answer::End(Ended::Host(error.0))
}
