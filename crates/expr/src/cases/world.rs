//! A small world for expressions: a few users, groups, a request, a flow. `cases/README.md` describes it.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::{
    AddressFamily, Application, Authenticator, Brand, Called, Entitlement, Event, Filter, FlowPlan, Group, Host,
    HostError, HttpRequest, Inputs, NamedObject, Options, PolicyCall, PolicyResult, Program, Provider, Situation,
    Source, Token, User, Value, VisibleHeaders,
};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json, json};

/// Policies that cases may call, by name.
const POLICIES: [(&str, &str); 9] = [
    ("always", "ak_message('always says hello')\nreturn True"),
    ("never", "ak_message('never')\nreturn False"),
    ("kwargs", "return context.get('extra') == 'given'"),
    ("keyed", "return True if context['key'] else False"),
    ("logs", "ak_logger.info('called', depth=1)\nak_create_event('called')\nreturn 5"),
    ("broken", "return 1 / 0"),
    ("loop", "return ak_call_policy('loop').passing"),
    ("ping", "return ak_call_policy('pong').passing"),
    ("pong", "return ak_call_policy('ping').passing"),
];

pub(crate) struct World {
    pub(crate) inputs: Inputs,
    policies: HashMap<String, String>,
}

fn object(value: Json) -> Map<String, Json> {
    let Json::Object(map) = value else { panic!("an object") };
    map
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(crate) fn user(name: &str) -> Option<User> {
    let base = User {
        uuid: format!("00000000-0000-4000-8000-0000000000{}", name.len()),
        uid: format!("uid-{name}"),
        username: name.to_owned(),
        path: "users".to_owned(),
        kind: "internal".to_owned(),
        is_active: true,
        date_joined: Some(at("2024-01-01T00:00:00Z")),
        last_updated: Some(at("2024-05-01T00:00:00Z")),
        ..User::default()
    };
    Some(match name {
        "alice" => User {
            pk: Some(7),
            name: "Alice Liddell".to_owned(),
            email: "alice@example.org".to_owned(),
            last_login: Some(at("2024-06-15T08:00:00Z")),
            password_change_date: Some(at("2024-03-01T12:00:00Z")),
            has_usable_password: true,
            attributes: object(json!({
                "department": "wonderland",
                "settings": {"locale": "en", "theme": {"base": "dark"}},
                "phones": ["+1", "+2"],
                "employee": 42,
                "nothing": null,
            })),
            ..base
        },
        "bob" => User {
            pk: Some(8),
            name: "Bob".to_owned(),
            email: "bob@example.com".to_owned(),
            kind: "external".to_owned(),
            path: "users/guests".to_owned(),
            ..base
        },
        "root" => User {
            pk: Some(1),
            name: "Root".to_owned(),
            email: "root@example.org".to_owned(),
            is_superuser: true,
            ..base
        },
        _ => return None,
    })
}

pub(crate) fn group(name: &str) -> Group {
    let (number, attributes) = match name {
        "staff" => (100, json!({"quota": 10, "settings": {"locale": "de", "zone": "utc"}, "a": {"b": 1}})),
        "admins" => (101, json!({"quota": 50})),
        "company" => (102, json!({"company": "ACME"})),
        _ => (103, json!({})),
    };
    Group {
        pk: format!("{number:08}-0000-4000-8000-000000000000"),
        num_pk: number,
        name: name.to_owned(),
        is_superuser: name == "admins",
        attributes: object(attributes),
    }
}

fn groups(user: &User) -> Vec<&'static str> {
    match user.username.as_str() {
        "alice" => vec!["developers", "staff"],
        "root" => vec!["admins"],
        _ => vec![],
    }
}

pub(crate) fn provider() -> Provider {
    Provider {
        pk: 3,
        name: "Provider for Wiki".to_owned(),
        application: Some(Box::new(application())),
        client_id: Some("wiki-client".to_owned()),
        external_host: Some("https://wiki.example.org".to_owned()),
        mode: Some("proxy".to_owned()),
    }
}

pub(crate) fn application() -> Application {
    Application {
        pk: "00000000-0000-4000-8000-00000000aaaa".to_owned(),
        name: "Wiki".to_owned(),
        slug: "wiki".to_owned(),
        group: "Tools".to_owned(),
        meta_launch_url: "https://wiki.example.org/".to_owned(),
        provider: None,
    }
}

pub(crate) fn brand() -> Brand {
    Brand {
        pk: "00000000-0000-4000-8000-00000000bbbb".to_owned(),
        domain: "id.example.org".to_owned(),
        branding_title: "Example".to_owned(),
        attributes: object(json!({"from_brand": true, "department": "brand"})),
    }
}

pub(crate) fn request(user: Option<Arc<User>>) -> HttpRequest {
    HttpRequest {
        method: "POST".to_owned(),
        path: "/application/o/authorize/".to_owned(),
        host: "id.example.org".to_owned(),
        scheme: "https".to_owned(),
        request_id: "r-1".to_owned(),
        query: "client_id=wiki-client&scope=openid+email&tag=a&tag=b".to_owned(),
        client_ip: Some("10.1.2.3".parse().unwrap()),
        server_name: "id.example.org".to_owned(),
        user,
        brand: Some(Arc::new(brand())),
        tenant: vec![("default_user_change_email".to_owned(), false.into())],
        headers: VisibleHeaders::of([
            ("User-Agent", "Mozilla/5.0"),
            ("X-Forwarded-For", "10.1.2.3"),
            ("Accept-Language", "de-DE"),
            ("Authorization", "Basic c2VjcmV0"),
            ("Cookie", "session=secret"),
            ("Proxy-Authorization", "secret"),
            ("X_Authentik_Outpost_Token", "secret"),
        ]),
    }
}

impl World {
    /// The world that a case asks for with a list of words.
    pub(crate) fn of(words: &[&str]) -> Self {
        let mut inputs =
            Inputs { name: "a policy".to_owned(), client_ip: Some("10.1.2.3".parse().unwrap()), ..Inputs::default() };
        inputs.user = words.iter().find_map(|word| user(word)).map(Arc::new);
        if words.contains(&"mapping") {
            inputs.name = "a mapping".to_owned();
            inputs.provider = Some(Arc::new(provider()));
            inputs.token = Some(Arc::new(Token {
                scope: vec!["openid".to_owned(), "email".to_owned()],
                expires: Some(at("2024-07-01T00:00:00Z")),
                auth_time: Some(at("2024-06-15T08:00:00Z")),
                session: true,
            }));
        }
        if words.contains(&"no-provider") {
            inputs.provider = None;
            inputs.token = None;
        }
        if words.contains(&"http") {
            inputs.http_request = Some(Arc::new(request(inputs.user.clone())));
        }
        if words.contains(&"app") {
            inputs.obj =
                Application { provider: Some(Box::new(Provider { application: None, ..provider() })), ..application() }
                    .into();
        }
        if words.contains(&"v6") {
            inputs.client_ip = Some("2001:db8::7".parse().unwrap());
        }
        if words.contains(&"mapped") {
            inputs.client_ip = Some("::ffff:10.1.2.3".parse().unwrap());
        }
        if words.contains(&"no-ip") {
            inputs.client_ip = None;
        }
        if words.contains(&"sso") {
            inputs.context.push(("is_sso".to_owned(), true.into()));
        }
        if words.contains(&"password") {
            inputs.context.push(("prompt_data".to_owned(), json!({"password": "hunter2", "username": "eve"}).into()));
        }
        if words.contains(&"oauth") {
            inputs.context.push(("oauth_scopes".to_owned(), json!(["openid", "email"]).into()));
            inputs.context.push(("oauth_grant_type".to_owned(), "client_credentials".into()));
        }
        if words.contains(&"geo") {
            inputs.context.push(("geoip".to_owned(), json!({"country": "DE", "city": "Bonn"}).into()));
            inputs.context.push(("asn".to_owned(), Value::None));
        }
        if words.contains(&"event") {
            inputs.context.push((
                "event".to_owned(),
                Event {
                    pk: "e-1".to_owned(),
                    action: "login_failed".to_owned(),
                    app: "authentik.core".to_owned(),
                    client_ip: Some("203.0.113.9".to_owned()),
                    context: object(json!({"username": "alice", "count": 3})),
                    user: object(json!({"pk": 7, "username": "alice"})),
                    created: Some(at("2024-06-15T11:59:00Z")),
                }
                .into(),
            ));
        }
        if words.contains(&"flow") || words.contains(&"late-flow") {
            let pending =
                User { backend: words.contains(&"late-flow").then(|| "password".to_owned()), ..user("bob").unwrap() };
            inputs.context.push(("pending_user".to_owned(), pending.clone().into()));
            inputs.flow = Some(FlowPlan {
                context: vec![
                    ("pending_user".to_owned(), pending.into()),
                    ("prompt_data".to_owned(), json!({"email": "x@example.org"}).into()),
                    ("redirect".to_owned(), "/if/user/".into()),
                    (
                        "source".to_owned(),
                        Source { pk: "s".to_owned(), name: "LDAP".to_owned(), slug: "ldap".to_owned() }.into(),
                    ),
                    ("auth_method".to_owned(), "password".into()),
                ],
                may_set_pending_user: words.contains(&"flow"),
            });
        }
        let policies = POLICIES.map(|(name, source)| (name.to_owned(), source.to_owned()));
        let mut policies = HashMap::from(policies);
        for depth in 1..=8 {
            let source = format!("return ak_call_policy('deep{}').passing", depth + 1);
            policies.insert(format!("deep{depth}"), source);
        }
        Self { inputs, policies }
    }

    /// The situation that a case asks for.
    pub(crate) fn situation(words: &[&str]) -> Situation {
        if words.contains(&"mapping") { Situation::Mapping } else { Situation::Policy }
    }
}

impl Host for World {
    fn now(&self) -> DateTime<Utc> {
        at("2024-06-15T12:00:00Z")
    }

    fn find_user(&self, filters: &[Filter]) -> Result<Option<User>, HostError> {
        if filters.iter().any(|filter| filter.value == json!("down")) {
            return Err(HostError::new("the directory cannot be reached"));
        }
        let users = ["root", "alice", "bob"].into_iter().filter_map(user);
        Ok(users.into_iter().find(|user| filters.iter().all(|filter| filter.matches_user(user))))
    }

    fn groups(&self, user: &User) -> Result<Vec<Group>, HostError> {
        Ok(groups(user).into_iter().map(group).collect())
    }

    fn all_groups(&self, user: &User) -> Result<Vec<Group>, HostError> {
        let direct = groups(user);
        let above = direct.contains(&"staff").then_some("company");
        Ok(above.into_iter().chain(direct).map(group).collect())
    }

    fn roles(&self, user: &User, inherited: bool) -> Result<Vec<NamedObject>, HostError> {
        let role = |name: &str| NamedObject { pk: format!("role-{name}"), name: name.to_owned() };
        let mut roles = vec![role("reader")];
        roles.extend((inherited && !groups(user).is_empty()).then(|| role("editor")));
        Ok(roles)
    }

    fn group_attributes(&self, user: &User, with_brand: bool) -> Result<Map<String, Json>, HostError> {
        let mut merged = if with_brand { brand().attributes } else { Map::new() };
        for group in self.all_groups(user)? {
            merged.extend(group.attributes);
        }
        merged.extend(user.attributes.clone());
        Ok(merged)
    }

    fn entitlements(&self, _: &User, application: &Application) -> Result<Vec<Entitlement>, HostError> {
        let named = |name: &str| NamedObject { pk: format!("e-{name}"), name: name.to_owned() };
        Ok(match application.slug.as_str() {
            "wiki" => vec![
                Entitlement { object: named("edit"), attributes: object(json!({"level": 1, "x": {"a": 1}})) },
                Entitlement { object: named("read"), attributes: object(json!({"level": 2, "x": {"b": 2}})) },
            ],
            _ => Vec::new(),
        })
    }

    fn has_authenticator(&self, user: &User, kind: Option<Authenticator>) -> Result<bool, HostError> {
        Ok(user.username == "alice" && kind.is_none_or(|kind| kind == Authenticator::Totp))
    }

    fn parents(&self, of: &Group) -> Result<Vec<Group>, HostError> {
        Ok((of.name == "staff").then(|| group("company")).into_iter().collect())
    }

    fn children(&self, of: &Group) -> Result<Vec<Group>, HostError> {
        Ok((of.name == "company").then(|| group("staff")).into_iter().collect())
    }

    fn group_roles(&self, of: &Group) -> Result<Vec<NamedObject>, HostError> {
        Ok(vec![NamedObject { pk: "r".to_owned(), name: format!("role of {}", of.name) }])
    }

    fn call_policy(&self, call: PolicyCall<'_>) -> Result<Called, HostError> {
        let source = self.policies.get(call.name).ok_or_else(|| HostError::new("there is no such policy"))?;
        let program = Program::compile(source, Situation::Policy, &Options::default()).unwrap();
        let mut inputs = Inputs { name: call.name.to_owned(), ..self.inputs.clone() };
        inputs.context.extend(call.kwargs);
        let outcome =
            program.run(&inputs, self, call.budget).map_err(|error| HostError::new(error.message().to_owned()))?;
        Ok(Called {
            result: PolicyResult { passing: outcome.truthy, messages: outcome.messages, raw_result: outcome.value },
            log_lines: outcome.log_lines,
            events: outcome.events,
        })
    }

    fn resolve(&self, name: &str, family: Option<AddressFamily>) -> Vec<IpAddr> {
        let addresses: &[&str] = if name == "example.org" { &["192.0.2.1", "2001:db8::1"] } else { &[] };
        let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap());
        addresses
            .filter(|address| match family {
                None => true,
                Some(AddressFamily::V4) => address.is_ipv4(),
                Some(AddressFamily::V6) => address.is_ipv6(),
            })
            .collect()
    }

    fn reverse(&self, address: IpAddr) -> Option<String> {
        (address.to_string() == "192.0.2.1").then(|| "example.org".to_owned())
    }
}
