//! Who and what there is in the demonstration.

use portcullis_core::entropy::Entropy;
use portcullis_core::id::{GroupId, MappingId, ProviderPk, UserPk};
use portcullis_idp::change::Change;
use portcullis_idp::context::{Actor, Context};
use portcullis_idp::directory::{groups, users};
use portcullis_idp::{applications, bindings, flows, mappings, outposts, providers, tokens};
use portcullis_store::{flow, mapping, provider};
use serde_json::json;

use crate::Failure;

/// Keys of the group's attributes that hold the credentials for the application.
const USER_ATTRIBUTE: &str = "whoami_user";
const PASSWORD_ATTRIBUTE: &str = "whoami_password";

/// Somebody to sign in as.
pub(super) struct Person {
    pub(super) username: &'static str,
    pub(super) name: &'static str,
    pub(super) password: &'static str,
    pub(super) app_password: &'static str,
    /// What happens to them, for the sheet.
    pub(super) note: &'static str,
}

/// Staff may use the application; one of them is shut out by name, and a guest is no staff.
pub(super) const PEOPLE: [Person; 3] = [
    Person {
        username: "ada",
        name: "Ada Lovelace",
        password: "demo-ada",
        app_password: "ada-app-password",
        note: "staff, may use the application",
    },
    Person {
        username: "bob",
        name: "Bob Shut Out",
        password: "demo-bob",
        app_password: "bob-app-password",
        note: "staff, but denied by a binding of his own",
    },
    Person {
        username: "guest",
        name: "Some Guest",
        password: "demo-guest",
        app_password: "guest-app-password",
        note: "not staff, so denied",
    },
];

/// Secrets that are worth drawing even here: whoever has them administers the instance.
pub(super) struct Secrets {
    pub(super) administrator: String,
    pub(super) api_token: String,
}

impl Secrets {
    pub(super) fn draw(entropy: &dyn Entropy) -> Self {
        Self { administrator: entropy.alphanumeric(16), api_token: entropy.alphanumeric(40) }
    }
}

/// What the sheet needs to know.
pub(super) struct Made {
    pub(super) client_id: String,
}

/// Makes users, group, provider, application and bindings, in one change.
pub(super) async fn settle(context: &Context, port: u16, application: String) -> Result<Made, Failure> {
    let system = Actor::system();
    let mut hashes = Vec::new();
    for person in &PEOPLE {
        hashes.push(users::hash_of(context, person.password).await?);
    }
    let mut change = Change::begin(context, &system).await?;
    let staff = staff(context, &mut change).await?;
    let mut keys = Vec::new();
    for (person, hash) in PEOPLE.iter().zip(hashes) {
        keys.push(user(context, &mut change, person, hash, staff).await?);
    }
    let provider = whoami_provider(context, &mut change, port, application).await?;
    let fields = applications::Fields {
        name: Some("Who am I".to_owned()),
        slug: Some("whoami".to_owned()),
        provider: Some(Some(provider)),
        policy_engine_mode: Some("all".to_owned()),
        meta_description: Some("Shows the request that reached it.".to_owned()),
        ..applications::Fields::default()
    };
    let whoami = applications::create_in(context, &mut change, fields).await?;
    let for_staff = bindings::Fields {
        target: Some(whoami.0),
        group: Some(Some(staff)),
        order: Some(0),
        ..bindings::Fields::default()
    };
    bindings::create_in(context, &mut change, for_staff).await?;
    let not_bob = bindings::Fields {
        target: Some(whoami.0),
        user: Some(keys.get(1).copied()),
        negate: Some(true),
        order: Some(1),
        ..bindings::Fields::default()
    };
    bindings::create_in(context, &mut change, not_bob).await?;
    let made = provider::by_pk(change.conn(), provider).await?.ok_or("the provider is gone")?;
    change.commit().await?;
    outposts::attach(context, &system, provider).await?;
    Ok(Made { client_id: made.client_id })
}

/// The group whose attributes hold what the application wants as HTTP Basic.
async fn staff(context: &Context, change: &mut Change<'_>) -> Result<GroupId, Failure> {
    let fields = groups::Fields {
        name: Some("staff".to_owned()),
        attributes: Some(json!({USER_ATTRIBUTE: "intranet", PASSWORD_ATTRIBUTE: "open sesame"})),
        ..groups::Fields::default()
    };
    Ok(groups::create_in(context, change, fields).await?)
}

async fn user(
    context: &Context,
    change: &mut Change<'_>,
    person: &Person,
    hash: String,
    staff: GroupId,
) -> Result<UserPk, Failure> {
    let is_staff = person.username != "guest";
    let fields = users::Fields {
        username: Some(person.username.to_owned()),
        name: Some(person.name.to_owned()),
        email: Some(format!("{}@example.com", person.username)),
        groups: Some(if is_staff { vec![staff] } else { Vec::new() }),
        ..users::Fields::default()
    };
    let pk = users::create_in(context, change, fields).await?;
    users::set_hash_in(context, change, pk, hash, None).await?;
    let token = tokens::Fields {
        identifier: Some(format!("demo-{}", person.username)),
        intent: Some(tokens::APP_PASSWORD.to_owned()),
        user: Some(pk),
        ..tokens::Fields::default()
    };
    tokens::create_in(context, change, pk, token, Some(person.app_password.to_owned())).await?;
    Ok(pk)
}

async fn whoami_provider(
    context: &Context,
    change: &mut Change<'_>,
    port: u16,
    application: String,
) -> Result<ProviderPk, Failure> {
    let authorization = flow::by_slug(change.conn(), flows::IMPLICIT_CONSENT).await?.ok_or("no authorization flow")?;
    let invalidation =
        flow::by_slug(change.conn(), flows::PROVIDER_INVALIDATION).await?.ok_or("no invalidation flow")?;
    let mut scopes: Vec<MappingId> = Vec::new();
    for managed in mappings::OF_PROXIES {
        scopes.extend(mapping::by_managed(change.conn(), managed).await?.map(|mapping| mapping.pk));
    }
    let fields = providers::Fields {
        name: Some("Who am I".to_owned()),
        authorization_flow: Some(authorization.pk),
        invalidation_flow: Some(invalidation.pk),
        property_mappings: Some(scopes),
        mode: Some("proxy".to_owned()),
        external_host: Some(format!("http://whoami.localhost:{port}")),
        internal_host: Some(application),
        basic_auth_enabled: Some(true),
        basic_auth_user_attribute: Some(USER_ATTRIBUTE.to_owned()),
        basic_auth_password_attribute: Some(PASSWORD_ATTRIBUTE.to_owned()),
        ..providers::Fields::default()
    };
    Ok(providers::create_in(context, change, fields).await?)
}
