//! The kinds of objects that a blueprint can hold (CO-730), each as the API shows it.

use std::str::FromStr;

use portcullis_core::attributes::SecretKeys;
use portcullis_core::id::UserPk;
use portcullis_idp::flow::stages::{self, Stages};
use portcullis_idp::list::{groups as group_list, tokens as token_list, users as user_list};
use portcullis_idp::policies::Kind as Policy;
use portcullis_idp::providers::Kind as Provider;
use portcullis_idp::{
    Change, Error, applications, bindings as binding_service, blueprints, brands as brand_service, certificates,
    directory, entitlements, flows as flow_service, mappings, outposts as outpost_service, policies, providers, roles,
    sources, tokens,
};
use serde_json::{Map, Value, json};

use super::instance;
use crate::api;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    User,
    Group,
    Token,
    Application,
    Entitlement,
    Binding,
    Policy(Policy),
    OAuth2Provider,
    ProxyProvider,
    ScopeMapping,
    OAuthSource,
    Certificate,
    Outpost,
    Brand,
    Role,
    Flow,
    /// A step of a flow, by the kind of it.
    Stage(&'static str),
    StageBinding,
    Instance,
}

const NAMES: [(&str, Model); 17] = [
    ("authentik_core.user", Model::User),
    ("authentik_core.group", Model::Group),
    ("authentik_core.token", Model::Token),
    ("authentik_core.application", Model::Application),
    ("authentik_core.applicationentitlement", Model::Entitlement),
    ("authentik_policies.policybinding", Model::Binding),
    ("authentik_providers_oauth2.oauth2provider", Model::OAuth2Provider),
    ("authentik_providers_proxy.proxyprovider", Model::ProxyProvider),
    ("authentik_providers_oauth2.scopemapping", Model::ScopeMapping),
    ("authentik_sources_oauth.oauthsource", Model::OAuthSource),
    ("authentik_crypto.certificatekeypair", Model::Certificate),
    ("authentik_outposts.outpost", Model::Outpost),
    ("authentik_brands.brand", Model::Brand),
    ("authentik_rbac.role", Model::Role),
    ("authentik_flows.flow", Model::Flow),
    ("authentik_flows.flowstagebinding", Model::StageBinding),
    ("authentik_blueprints.blueprintinstance", Model::Instance),
];

/// The kinds of steps that have something to set (CO-306), and those that only have a name.
const STAGES: [&str; 12] = [
    "authentik_stages_identification.identificationstage",
    "authentik_stages_password.passwordstage",
    "authentik_stages_authenticator_validate.authenticatorvalidatestage",
    "authentik_stages_user_login.userloginstage",
    "authentik_stages_consent.consentstage",
    "authentik_stages_email.emailstage",
    "authentik_stages_prompt.promptstage",
    "authentik_stages_user_write.userwritestage",
    "authentik_stages_user_logout.userlogoutstage",
    "authentik_stages_authenticator_totp.authenticatortotpstage",
    "authentik_stages_authenticator_static.authenticatorstaticstage",
    "authentik_stages_authenticator_webauthn.authenticatorwebauthnstage",
];

impl Model {
    /// The kind of this name, if there is one.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, model)| *model);
        let stage = || STAGES.iter().find(|known| **known == name).map(|known| Self::Stage(known));
        let is_policy = |kind: &Policy| policy_name(*kind) == name;
        named.or_else(stage).or_else(|| Policy::ALL.into_iter().find(is_policy).map(Self::Policy))
    }

    /// Its name.
    pub(super) fn name(self) -> String {
        match self {
            Self::Policy(kind) => policy_name(kind),
            Self::Stage(name) => name.to_owned(),
            other => {
                let named = NAMES.iter().find(|(_, model)| *model == other);
                named.map(|(name, _)| (*name).to_owned()).unwrap_or_default()
            }
        }
    }

    /// All names, for blueprints that ask which there are.
    pub(super) fn names() -> impl Iterator<Item = String> {
        let policies = Policy::ALL.into_iter().map(policy_name);
        NAMES.iter().map(|(name, _)| *name).chain(STAGES).map(str::to_owned).chain(policies)
    }

    /// The key of one of its objects.
    pub(super) fn key(self, object: &Value) -> Value {
        let field = match self {
            Self::Entitlement => "pbm_uuid",
            Self::Brand => "brand_uuid",
            _ => "pk",
        };
        object.get(field).cloned().unwrap_or_default()
    }

    /// What it is known by to people.
    pub(super) fn label(self, object: &Value) -> String {
        self.name_of(object).map_or_else(|| self.key(object).to_string(), str::to_owned)
    }

    /// What people call an object; bindings have no name.
    pub(super) fn name_of(self, object: &Value) -> Option<&str> {
        let fields = ["username", "slug", "identifier", "domain", "name"];
        fields.iter().find_map(|field| object.get(*field)?.as_str())
    }

    /// The kinds of what a field names.
    pub(super) fn related(field: &str) -> Vec<Self> {
        match field {
            "provider" | "providers" | "jwt_federation_providers" => vec![Self::ProxyProvider, Self::OAuth2Provider],
            "app" | "application" | "default_application" | "allowed_applications" => vec![Self::Application],
            "target" => vec![Self::Application, Self::Entitlement, Self::Flow],
            "policy" => Policy::ALL.into_iter().map(Self::Policy).collect(),
            "group" | "groups" | "parents" => vec![Self::Group],
            "user" | "users" => vec![Self::User],
            "roles" => vec![Self::Role],
            "certificate" | "signing_key" | "encryption_key" | "web_certificate" => vec![Self::Certificate],
            "property_mappings" => vec![Self::ScopeMapping],
            "jwt_federation_sources" => vec![Self::OAuthSource],
            "stage" => STAGES.iter().map(|name| Self::Stage(name)).collect(),
            _ if field.ends_with("_flow") || field.starts_with("flow_") => vec![Self::Flow],
            _ => Vec::new(),
        }
    }

    /// All its objects as the API shows them, by ascending key; `hint` tells which field they must have which value
    /// in, so that not all of many are read: a document with many entries would take the square of their number. More
    /// may be returned than a hint asks for.
    ///
    /// # Errors
    /// When the store fails or something sealed cannot be opened.
    pub(super) async fn objects(
        self,
        change: &mut Change<'_>,
        hint: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<Value>, Error> {
        let ctx = change.context();
        let mut objects: Vec<Value> = match self {
            Self::User => {
                let pk = parsed(hint("pk")).map(UserPk);
                let filter = user_list::Filter { username: hint("username"), pk, ..user_list::Filter::default() };
                let users = directory::shown::users_in(change, &filter).await?;
                users.iter().map(api::users::full_user_json).collect()
            }
            Self::Group => {
                let filter = group_list::Filter { name: hint("name"), ..group_list::Filter::default() };
                let groups = directory::shown::groups_in(change, &filter).await?;
                groups.iter().map(api::groups::full_group_json).collect()
            }
            Self::Token => {
                let (identifier, managed) = (hint("identifier"), hint("managed"));
                let filter = token_list::Filter { identifier, managed, ..token_list::Filter::default() };
                let tokens = tokens::shown::list_in(change, &filter).await?;
                tokens.iter().map(api::tokens::token_json).collect()
            }
            Self::Application => {
                let (slug, name) = (hint("slug"), hint("name"));
                let filter = applications::Filter { slug, name, ..applications::Filter::default() };
                let views = applications::all_in(change, &filter).await?;
                views.iter().map(|view| api::applications::shown(view, view.launch_url(None).as_deref())).collect()
            }
            Self::Entitlement => {
                let (name, application) = (hint("name"), parsed(hint("app")));
                let filter = entitlements::Filter { name, application, ..entitlements::Filter::default() };
                entitlements::all_in(change, &filter).await?.iter().map(api::entitlements::object).collect()
            }
            Self::Binding => {
                let filter = binding_service::Filter {
                    target: parsed(hint("target")),
                    policy: parsed(hint("policy")),
                    position: parsed(hint("order")),
                    ..binding_service::Filter::default()
                };
                binding_service::all_in(change, &filter).await?.iter().map(api::bindings::object).collect()
            }
            Self::Policy(kind) => {
                let filter = policies::Filter { name: hint("name"), ..policies::Filter::default() };
                policies::all_in(change, kind, &filter).await?.iter().map(api::policies::object).collect()
            }
            Self::OAuth2Provider => {
                let views = providers::all_in(change, Provider::OAuth2, &provider_filter(hint)).await?;
                views.iter().map(|view| api::providers::oauth2::object(ctx, view, true)).collect::<Result<_, _>>()?
            }
            Self::ProxyProvider => {
                let views = providers::all_in(change, Provider::Proxy, &provider_filter(hint)).await?;
                views.iter().map(api::providers::proxy).collect()
            }
            Self::ScopeMapping => {
                let managed = hint("managed").into_iter().collect();
                let filter = mappings::Filter { name: hint("name"), managed, ..mappings::Filter::default() };
                mappings::all_in(change, &filter).await?.iter().map(api::mappings::scope).collect()
            }
            Self::OAuthSource => {
                let (slug, name) = (hint("slug"), hint("name"));
                let filter = sources::Filter { slug, name, ..sources::Filter::default() };
                sources::all_in(change, &filter).await?.iter().map(|source| api::sources::object(ctx, source)).collect()
            }
            Self::Certificate => {
                let (name, managed) = (hint("name"), hint("managed"));
                let filter = certificates::Filter { name, managed, ..certificates::Filter::default() };
                certificates::all_in(change, &filter).await?.iter().map(certificate).collect()
            }
            Self::Outpost => {
                let (name, managed) = (hint("name"), hint("managed"));
                let filter = outpost_service::Filter { name, managed, ..outpost_service::Filter::default() };
                outpost_service::all_in(change, &filter).await?.iter().map(api::outposts::object).collect()
            }
            Self::Brand => {
                let filter = brand_service::Filter { domain: hint("domain"), ..brand_service::Filter::default() };
                brand_service::all_in(change, &filter).await?.iter().map(api::brands::object).collect()
            }
            Self::Role => {
                let filter = roles::Filter { name: hint("name"), ..roles::Filter::default() };
                roles::all_in(change, &filter).await?.iter().map(role).collect()
            }
            Self::Flow => {
                let flows = flow_service::all_in(change).await?;
                let stages = Stages::load(change.conn()).await?;
                flows.iter().map(|flow| api::flows::object(flow, &stages)).collect()
            }
            Self::Stage(model) => {
                let all = stages::all_in(change).await?;
                all.iter()
                    .filter(|stage| stage.model == model)
                    .map(|stage| stage_json(stage.pk, &stage.name, &stage.tunables))
                    .collect()
            }
            Self::StageBinding => stage_bindings(change).await?,
            Self::Instance => blueprints::all_in(change).await?.iter().map(instance::object).collect(),
        };
        objects.sort_by_key(|object| order(&self.key(object)));
        Ok(objects)
    }

    /// An object without what is secret about it.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn without_secrets(self, change: &mut Change<'_>, mut object: Value) -> Result<Value, Error> {
        let ctx = change.context();
        let secrets = directory::secret_keys(ctx, change.conn()).await?;
        if let Some(object) = object.as_object_mut() {
            for field in ["client_secret", "second_client_secret", "content", "context"] {
                object.remove(field);
            }
        }
        strip(&mut object, &secrets);
        Ok(object)
    }
}

/// Takes secret attributes out, also of what is shown inside.
fn strip(value: &mut Value, secrets: &SecretKeys) {
    match value {
        Value::Object(members) => {
            for (field, value) in members {
                match value {
                    Value::Object(attributes) if field == "attributes" => {
                        *attributes = secrets.without(attributes, &[])
                    }
                    other => strip(other, secrets),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, secrets)),
        _ => {}
    }
}

/// A hint that is a key or number, unless it is none: then what it means is found out by comparing.
fn parsed<T: FromStr>(hint: Option<String>) -> Option<T> {
    hint?.parse().ok()
}

fn provider_filter(hint: impl Fn(&str) -> Option<String>) -> providers::Filter {
    providers::Filter { exact_name: hint("name"), client_id: hint("client_id"), ..providers::Filter::default() }
}

fn policy_name(kind: Policy) -> String {
    let descriptor = kind.descriptor();
    format!("{}.{}", descriptor.app, descriptor.model)
}

/// With its public part, which the API shows apart.
fn certificate(certificate: &certificates::Certificate) -> Value {
    with(api::certificates::object(certificate), "certificate_data", json!(certificate.chain.trim()))
}

fn role(role: &portcullis_idp::Role) -> Value {
    with(api::roles::object(role), "managed", json!(role.managed))
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(field.to_owned(), value);
    }
    object
}

fn stage_json(pk: uuid::Uuid, name: &str, tunables: &Value) -> Value {
    let mut object = tunables.as_object().cloned().unwrap_or_default();
    object.insert("pk".to_owned(), json!(pk));
    object.insert("name".to_owned(), json!(name));
    Value::Object(object)
}

/// The fixed order of the steps, as bindings of stages to flows.
async fn stage_bindings(change: &mut Change<'_>) -> Result<Vec<Value>, Error> {
    let flows = flow_service::all_in(change).await?;
    let stages = Stages::load(change.conn()).await?;
    let mut all = Vec::new();
    for flow in flows {
        for (index, stage) in stages.of_flow(&flow.slug).into_iter().enumerate() {
            all.push(json!({"pk": format!("{}:{stage}", flow.pk), "target": flow.pk, "stage": stage, "index": index}));
        }
    }
    Ok(all)
}

/// By number where keys are numbers, else by text.
fn order(key: &Value) -> (i64, String) {
    (key.as_i64().unwrap_or_default(), key.as_str().unwrap_or_default().to_owned())
}

/// What is built in of the context (CO-728).
pub(super) fn built_in_context() -> Map<String, Value> {
    let models = Model::names().map(|name| {
        let app = name.split('.').next().unwrap_or_default().to_owned();
        (name, Value::from(app))
    });
    let models: Map<_, _> = models.collect();
    Map::from_iter([
        ("goauthentik.io/enterprise/licensed".to_owned(), Value::Bool(false)),
        ("goauthentik.io/rbac/models".to_owned(), Value::Object(models)),
    ])
}
