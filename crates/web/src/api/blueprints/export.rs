//! Everything that blueprints can hold, written as one: `portcullis export`.

mod permissions;

pub(super) use permissions::concerns;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use portcullis_idp::certificates::OURS;
use portcullis_idp::policies::Kind as Policy;
use portcullis_idp::{Actor, Change, Context, Error, directory};
use serde_json::{Map, Value};

use super::extras::ALL_PERMISSIONS;
use super::model::Model;
use super::write::writable;

/// Writes a blueprint of everything, for whoever administers the instance. Secrets are left out, those inside attributes
/// masked: applied to the same instance, it changes nothing.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but superusers; or when the store fails.
pub async fn export(ctx: &Context, actor: &Actor) -> Result<String, Error> {
    if !actor.is_superuser {
        return Err(Error::Forbidden);
    }
    // Never committed: only for reading everything at one moment.
    let mut change = Change::begin(ctx, actor).await?;
    let mut text = "version: 1\nmetadata:\n  name: Export\nentries:\n".to_owned();
    let mut names = Names::of_what_is_there(&mut change).await?;
    let (mut entries, mut trusting, mut signing) = (0, Vec::new(), Vec::new());
    let mut certificates = HashMap::new();
    for model in order() {
        let mut objects = model.objects(&mut change, |_| None).await?;
        for ours in objects.iter().filter(|object| model == Model::Certificate && is_ours(object)) {
            certificates.insert(key_text(&model.key(ours)), model.label(ours));
        }
        objects.retain(|object| !is_left_out(model, object));
        names.twins.extend(twins(model, &objects));
        for object in in_order(model, objects, &names) {
            let mut object = masked(&mut change, object).await?;
            permissions::of_itself(&mut change, model, &mut object).await?;
            text.push_str(&entry(model, &object, &mut names));
            entries += 1;
            if model == Model::Certificate {
                certificates.insert(key_text(&model.key(&object)), model.label(&object));
            }
            let key = object.get(SIGNING).and_then(Value::as_str).filter(|_| model == Model::OAuth2Provider);
            if let Some(name) = key.and_then(|key| certificates.get(key)) {
                signing.push(signs(model, &object, name, &names));
            }
            trusting.extend(Some((model, object)).filter(|(_, object)| trusts(object)));
        }
    }
    entries += signing.len();
    text.extend(signing);
    // Each may trust any other: all have to be there.
    for (model, object) in trusting {
        let trusted = Map::from_iter(object.get(TRUSTED).map(|trusted| (TRUSTED.to_owned(), trusted.clone())));
        let _ = writeln!(text, "  - model: {}\n    identifiers:", model.name());
        write_members(&mut text, &identifiers(model, &object, &names), &names);
        text.push_str("    attrs:\n");
        write_members(&mut text, &trusted, &names);
        entries += 1;
    }
    let on_objects = permissions::on_objects(&mut change, &mut names).await?;
    entries += on_objects.len();
    text.extend(on_objects);
    if entries == 0 {
        text = text.replace("entries:\n", "entries: []\n");
    }
    Ok(text)
}

/// What is named comes before what names it.
fn order() -> impl Iterator<Item = Model> {
    let before = [Model::Role, Model::Certificate, Model::ScopeMapping, Model::Group, Model::User];
    let after = [
        Model::OAuthSource,
        Model::OAuth2Provider,
        Model::ProxyProvider,
        Model::Application,
        Model::Token,
        Model::Entitlement,
        Model::Binding,
        Model::Brand,
        Model::Outpost,
    ];
    before.into_iter().chain(Policy::ALL.into_iter().map(Model::Policy)).chain(after)
}

/// By name, as keys differ from instance to instance; of groups, those come first that others belong to.
fn in_order(model: Model, mut objects: Vec<Value>, names: &Names) -> Vec<Value> {
    objects.sort_by_cached_key(|object| {
        let mut identified = String::new();
        write_members(&mut identified, &identifiers(model, object, names), names);
        (model.name_of(object).map(str::to_owned), identified)
    });
    if model == Model::Binding {
        objects.sort_by_key(|binding| binding["order"].as_i64());
    }
    if model != Model::Group {
        return objects;
    }
    let (mut ordered, mut named) = (Vec::new(), HashSet::new());
    while !objects.is_empty() {
        let is_ready = |group: &Value| {
            let mut parents = group["parents"].as_array().into_iter().flatten();
            parents.all(|parent| named.contains(&parent.to_string()))
        };
        let (ready, waiting): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_ready);
        // Groups make no circle; if they did, it would not be resolved here.
        let (next, later) = if ready.is_empty() { (waiting, Vec::new()) } else { (ready, waiting) };
        objects = later;
        named.extend(next.iter().map(|group| group["pk"].to_string()));
        ordered.extend(next);
    }
    ordered
}

const SIGNING: &str = "signing_key";

/// An entry that has a client sign with the key of a certificate. Private keys are in no file, and a client cannot name one that
/// is not there: the entry holds once it is. The installation's own pair is in no file at all, and may have been deleted.
fn signs(model: Model, client: &Value, certificate: &str, names: &Names) -> String {
    let how = match certificate {
        OURS => "where there is none, make a pair of this name first",
        _ => "bring it as key_data in the entry of the certificate",
    };
    let mut text = format!(
        "  # Holds once certificate {certificate:?} has its private key: {how}.\n  \
         - model: {}\n    conditions:\n      \
         - !AtIndex [!FindObject [{}, [name, {}]], private_key_available, false]\n    identifiers:\n",
        model.name(),
        Model::Certificate.name(),
        quoted(certificate),
    );
    write_members(&mut text, &identifiers(model, client, names), names);
    text.push_str("    attrs:\n");
    let key = Map::from_iter(client.get(SIGNING).map(|key| (SIGNING.to_owned(), key.clone())));
    write_members(&mut text, &key, names);
    text
}

const TRUSTED: &str = "jwt_federation_providers";

/// Whether a provider takes the tokens of other ones.
fn trusts(provider: &Value) -> bool {
    provider[TRUSTED].as_array().is_some_and(|trusted| !trusted.is_empty())
}

/// What comes with the installation, or is nobody's to change.
fn is_left_out(model: Model, object: &Value) -> bool {
    match model {
        Model::User => object["type"] == "internal_service_account",
        Model::Token => object.pointer("/user_obj/type") == Some(&Value::from("internal_service_account")),
        Model::Role => is_of_a_user(object),
        Model::ScopeMapping => object["managed"].as_str().is_some_and(portcullis_idp::mappings::is_shipped),
        // Every installation has one of its own, whose key stays there.
        Model::Certificate => is_ours(object),
        _ => false,
    }
}

/// Whether a certificate is the one that was made when the installation was.
fn is_ours(certificate: &Value) -> bool {
    certificate["name"] == OURS && certificate["cert_subject"] == format!("CN={OURS}")
}

/// Whether a role grants one user what is granted to them alone.
fn is_of_a_user(role: &Value) -> bool {
    role["managed"].as_str().is_some_and(|managed| managed.starts_with(portcullis_idp::roles::OF_USER))
}

async fn masked(change: &mut Change<'_>, mut object: Value) -> Result<Value, Error> {
    let ctx = change.context();
    let secrets = directory::secret_keys(ctx, change.conn()).await?;
    if let Some(Value::Object(attributes)) = object.get_mut("attributes") {
        *attributes = secrets.masked(attributes);
    }
    Ok(object)
}

/// What entries and objects are called.
struct Names {
    /// How objects are named by others: as tags, by key.
    tags: HashMap<String, String>,
    /// The names that entries have.
    taken: HashSet<String>,
    /// The keys of bindings that have twins.
    twins: HashSet<String>,
}

impl Names {
    /// Flows and mappings that come with every installation are found there by their permanent names.
    async fn of_what_is_there(change: &mut Change<'_>) -> Result<Self, Error> {
        let mut tags = HashMap::new();
        for (model, field) in [(Model::Flow, "slug"), (Model::ScopeMapping, "managed")] {
            for object in model.objects(change, |_| None).await? {
                if let Some(name) = object.get(field).and_then(Value::as_str) {
                    let tag = format!("!Find [{}, [{field}, {}]]", model.name(), quoted(name));
                    tags.insert(model.key(&object).to_string(), tag);
                }
            }
        }
        for object in Model::Certificate.objects(change, |_| None).await?.iter().filter(|object| is_ours(object)) {
            let tag = format!("!Find [{}, [name, {}]]", Model::Certificate.name(), quoted(OURS));
            tags.insert(Model::Certificate.key(object).to_string(), tag);
        }
        Ok(Self { tags, taken: HashSet::new(), twins: HashSet::new() })
    }

    /// What an entry is called: by its name, so that two instances which hold the same say the same.
    fn free(&mut self, model: Model, object: &Value) -> String {
        let full = model.name();
        let kind = full.rsplit('.').next().unwrap_or_default();
        let name = match model.name_of(object) {
            Some(name) => format!("{kind}-{name}"),
            None => kind.to_owned(),
        };
        let mut id = name.clone();
        let mut number = 1;
        while !self.taken.insert(id.clone()) {
            number += 1;
            id = format!("{name}-{number}");
        }
        id
    }
}

fn entry(model: Model, object: &Value, names: &mut Names) -> String {
    let identified = identifiers(model, object, names);
    let id = names.free(model, object);
    let mut attributes = Map::new();
    for field in writable(model, object) {
        if let (false, Some(value)) =
            (identified.contains_key(&field) || is_left_for_later(model, &field, object), object.get(&field))
        {
            attributes.insert(field, value.clone());
        }
    }
    if let Some(permissions) = object.get(ALL_PERMISSIONS) {
        attributes.insert(ALL_PERMISSIONS.to_owned(), permissions.clone());
    }
    let mut text = String::new();
    let _ = writeln!(text, "  - model: {}\n    id: {}\n    identifiers:", model.name(), quoted(&id));
    write_members(&mut text, &identified, names);
    if !attributes.is_empty() {
        text.push_str("    attrs:\n");
        write_members(&mut text, &attributes, names);
    }
    // Keys are numbers for some models and texts for others; together with the model they are unique enough where they
    // are looked up: a number is looked up as a user or a provider only.
    names.tags.insert(scoped(model, &model.key(object)), format!("!KeyOf {}", quoted(&id)));
    text
}

fn write_members(text: &mut String, members: &Map<String, Value>, names: &Names) {
    for (field, value) in members {
        let _ = writeln!(text, "      {field}: {}", written(field, value, names));
    }
}

/// A value, with tags for what it names.
fn written(field: &str, value: &Value, names: &Names) -> String {
    let related = Model::related(field);
    let named = |value: &Value| {
        let known = related.iter().find_map(|model| names.tags.get(&scoped(*model, value)));
        known.cloned().unwrap_or_else(|| value.to_string())
    };
    match value {
        Value::Array(items) if !related.is_empty() => {
            let mut items: Vec<_> = items.iter().map(named).collect();
            // They are sets, which instances keep in the order of their own keys.
            items.sort();
            format!("[{}]", items.join(", "))
        }
        Value::String(_) | Value::Number(_) if !related.is_empty() => named(value),
        other => plain(other),
    }
}

/// A value as JSON, which is YAML but for the way it writes very large and very small numbers: there they need a point.
fn plain(value: &Value) -> String {
    let list = |parts: Vec<String>| parts.join(",");
    match value {
        Value::Number(number) => match number.to_string().split_once('e') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0e{exponent}"),
            _ => number.to_string(),
        },
        Value::Array(items) => format!("[{}]", list(items.iter().map(plain).collect())),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{}:{}", quoted(name), plain(value));
            format!("{{{}}}", list(members.iter().map(member).collect()))
        }
        other => other.to_string(),
    }
}

/// Users and providers are numbered on their own; everything else has a key that nothing else has.
fn scoped(model: Model, key: &Value) -> String {
    match (model, key) {
        (Model::User, Value::Number(number)) => format!("user {number}"),
        (_, key) => key.to_string(),
    }
}

fn key_text(key: &Value) -> String {
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Bindings that say the same of who and where as another one, and differ in what comes of it.
fn twins(model: Model, objects: &[Value]) -> HashSet<String> {
    let mut known: HashMap<_, Vec<String>> = HashMap::new();
    for binding in objects.iter().filter(|_| model == Model::Binding) {
        known.entry(BOUND.map(|field| binding[field].to_string())).or_default().push(key_text(&model.key(binding)));
    }
    known.into_values().filter(|same| same.len() > 1).flatten().collect()
}

/// By what a binding is found.
const BOUND: [&str; 5] = ["target", "order", "policy", "group", "user"];
/// By what it is found besides, if it has a twin.
const SAID: [&str; 4] = ["negate", "enabled", "timeout", "failure_result"];

fn identifiers(model: Model, object: &Value, names: &Names) -> Map<String, Value> {
    let more: &[&str] = if names.twins.contains(&key_text(&model.key(object))) { &SAID } else { &[] };
    let fields: &[&str] = match model {
        Model::User => &["username"],
        Model::Token => &["identifier"],
        Model::Application | Model::OAuthSource | Model::Flow => &["slug"],
        Model::Entitlement => &["name", "app"],
        Model::Binding => &BOUND,
        Model::Brand => &["domain"],
        Model::Outpost | Model::ScopeMapping if object["managed"].is_string() => &["managed"],
        _ => &["name"],
    };
    let members =
        fields.iter().chain(more).filter_map(|field| Some(((*field).to_owned(), object.get(*field)?.clone())));
    members.filter(|(_, value)| !value.is_null()).collect()
}

/// What is not for a file to hold, follows from something else, or comes when everything is there.
fn is_left_for_later(model: Model, field: &str, object: &Value) -> bool {
    let has_address =
        |field: &str| object.get(field).and_then(Value::as_str).is_some_and(|address| !address.is_empty());
    match (model, field) {
        (Model::OAuth2Provider, "client_secret" | "second_client_secret") | (Model::Group, "users") => true,
        // Without the secret it would be another one's end.
        (Model::OAuth2Provider, "client_secret_expires" | "second_client_secret_expires") => true,
        // Fetched keys are the source's to change.
        (Model::OAuthSource, "oidc_jwks") => has_address("oidc_jwks_url") || has_address("oidc_well_known_url"),
        (Model::OAuth2Provider, SIGNING) => object.get(SIGNING).is_some_and(Value::is_string),
        (Model::Outpost, "service_connection") => true,
        (_, TRUSTED) => trusts(object),
        _ => false,
    }
}
