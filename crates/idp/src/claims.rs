//! What tokens say about a user: managed scope mappings and protocol claims (OA sections 14 and 15).

use portcullis_core::attributes::{Attributes, merge};
use portcullis_core::id::{MappingId, UserPk};
use portcullis_core::json;
use portcullis_store::application::Application;
use portcullis_store::mapping::ScopeMapping;
use portcullis_store::provider::Provider;
use serde_json::{Map, Value, json};

use crate::context::{Actor, Context, Visitor};
use crate::directory::{Person, secret_keys};
use crate::error::Error;
use crate::event::failing::record_failing_alone;
use crate::mappings::engine::{About, Question, Said, TokenFacts};
use crate::mappings::native::Native;
use crate::policies::Noted;
use crate::{event, limits, mappings};

/// A set of claims.
pub type ClaimSet = Map<String, Value>;

/// `acr` of every token (OA-453).
pub const ACR: &str = "goauthentik.io/providers/oauth2/default";

/// Claims that no mapping can set (OA-425, CO-282).
pub const PROTECTED: [&str; 18] = [
    "iss",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "auth_time",
    "sid",
    "nonce",
    "at_hash",
    "c_hash",
    "azp",
    "uid",
    "client_id",
    "active",
    "cnf",
    "act",
    "token_type",
];

/// The subject identifier of a user at a provider (OA-046). None when the mode yields no text (OA-047).
pub fn subject(provider: &Provider, person: &Person) -> Option<String> {
    let account = &person.account;
    let subject = match provider.sub_mode.as_str() {
        "user_id" => account.pk.to_string(),
        "user_uuid" => account.uuid.to_string(),
        "user_username" => account.username.clone(),
        "user_email" => account.email.clone(),
        "user_upn" => match person.own_attributes.get("upn").and_then(Value::as_str) {
            Some(upn) if !upn.is_empty() => upn.to_owned(),
            _ => person.uid.clone(),
        },
        _ => person.uid.clone(),
    };
    (!subject.is_empty()).then_some(subject)
}

/// Scope names that a provider's mappings offer, sorted, each once (OA-111, OA-420).
pub fn offered_scopes(mappings: &[ScopeMapping]) -> Vec<String> {
    let mut names: Vec<_> = mappings.iter().map(|mapping| mapping.scope_name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// The scopes that are both requested and offered, sorted, each once (OA-146, OA-216).
pub fn granted_scopes(requested: &str, mappings: &[ScopeMapping]) -> Vec<String> {
    let requested: Vec<_> = requested.split_ascii_whitespace().collect();
    offered_scopes(mappings).into_iter().filter(|name| requested.contains(&name.as_str())).collect()
}

/// For whom mappings are asked.
pub struct Asked<'a> {
    /// The provider.
    pub provider: &'a Provider,
    /// Its application.
    pub application: Option<&'a Application>,
    /// Its mappings.
    pub mappings: &'a [ScopeMapping],
    /// The user.
    pub person: &'a Person,
    /// Names of the entitlements for the application that they hold.
    pub entitlements: &'a [String],
    /// What is known of the token.
    pub token: TokenFacts<'a>,
    /// Where the request comes from.
    pub visitor: &'a Visitor,
    /// What expressions said already, of which the others are asked now.
    pub foretold: Option<&'a Foretold>,
}

/// What expressions said about somebody before the transaction that issues something to them: in it, everybody who
/// writes would wait for them.
#[derive(Debug)]
pub struct Foretold {
    /// None where nothing was asked.
    about: Option<Facts>,
    said: Vec<(MappingId, Result<Said, String>)>,
}

/// What a person is to an expression. When that changes meanwhile, what it said counts no more.
#[derive(Debug, PartialEq)]
struct Facts {
    account: UserPk,
    groups: Vec<String>,
    is_superuser: bool,
    attributes: Attributes,
    entitlements: Vec<String>,
}

impl Facts {
    fn of(asked: &Asked<'_>) -> Self {
        Self {
            account: asked.person.account.pk,
            groups: asked.person.teams.iter().map(|team| team.name.clone()).collect(),
            is_superuser: asked.person.is_superuser,
            attributes: asked.person.effective_attributes.clone(),
            entitlements: asked.entitlements.to_vec(),
        }
    }
}

/// What mappings say, and what was wrong with them.
#[derive(Debug, Default)]
pub struct Mapped {
    /// The claims.
    pub claims: ClaimSet,
    /// To be recorded with [`note`] once nothing holds the store's only writer.
    pub flaws: Vec<Flaw>,
    /// The mapping that says most.
    pub largest: Option<Largest>,
}

/// A mapping, and how much it says.
#[derive(Clone, Debug)]
pub struct Largest {
    mapping: MappingId,
    name: String,
    bytes: usize,
}

impl Largest {
    /// The flaw that a token is so long because of it.
    pub fn of_token(self, bytes: usize) -> Flaw {
        Flaw { mapping: self.mapping, name: self.name, kind: FlawKind::Long(bytes) }
    }
}

/// What is wrong with a mapping, or to be recorded for it.
#[derive(Clone, Debug)]
pub struct Flaw {
    mapping: MappingId,
    name: String,
    kind: FlawKind,
}

#[derive(Clone, Debug)]
enum FlawKind {
    /// Its expression, and why it failed.
    Failed(String, String),
    /// It gave neither an object nor nothing.
    NoObject,
    /// It set what no mapping can set.
    Protected(Vec<String>),
    /// None: it asks for these events.
    Noted(Vec<Noted>),
    /// It says most of a token of so many bytes.
    Long(usize),
}

/// Asks the mappings of the granted scopes that are expressions, and not those that come with the installation.
pub async fn foretell(ctx: &Context, asked: &Asked<'_>) -> Foretold {
    let mut said = Vec::new();
    for mapping in asked.mappings.iter().filter(|mapping| is_foretold(mapping, asked.token.scopes)) {
        said.push((mapping.pk, evaluate(ctx, asked, mapping).await));
    }
    Foretold { about: (!said.is_empty()).then(|| Facts::of(asked)), said }
}

/// Whether a mapping takes its time.
pub fn is_foretold(mapping: &ScopeMapping, granted: &[String]) -> bool {
    granted.contains(&mapping.scope_name) && Native::of(&mapping.expression).is_none()
}

impl Foretold {
    /// What a mapping said about somebody who is still the same. An account that was made meanwhile is not.
    fn of(&self, mapping: &ScopeMapping, asked: &Asked<'_>) -> Option<&Result<Said, String>> {
        let (_, said) = self.said.iter().find(|(pk, _)| *pk == mapping.pk)?;
        (self.about.as_ref()? == &Facts::of(asked)).then_some(said)
    }
}

/// What the mappings of the granted scopes say, merged in order (OA-421 … OA-425, CO-280 … CO-282). One that fails
/// says nothing; the login goes on (CO-281).
pub async fn mapped(ctx: &Context, asked: &Asked<'_>) -> Mapped {
    let granted = asked.token.scopes;
    let mut chosen: Vec<_> = asked.mappings.iter().filter(|mapping| granted.contains(&mapping.scope_name)).collect();
    chosen.sort_by_key(|mapping| (&mapping.scope_name, &mapping.name, mapping.pk));
    let mut all = Mapped::default();
    for mapping in chosen {
        let mut flaw = |kind| all.flaws.push(Flaw { mapping: mapping.pk, name: mapping.name.clone(), kind });
        let Said { value, events } = match evaluate(ctx, asked, mapping).await {
            Ok(said) => said,
            Err(error) => {
                flaw(FlawKind::Failed(mapping.expression.clone(), error));
                continue;
            }
        };
        if !events.is_empty() {
            flaw(FlawKind::Noted(events));
        }
        let mut said = match value {
            Value::Object(said) => said,
            Value::Null => continue,
            _ => {
                flaw(FlawKind::NoObject);
                continue;
            }
        };
        let bad = |claim: &str, value: &Value| {
            // A subject is text, and somebody's (OA-047).
            PROTECTED.contains(&claim) || (claim == "sub" && value.as_str().is_none_or(str::is_empty))
        };
        let dropped: Vec<_> =
            said.iter().filter(|(claim, value)| bad(claim, value)).map(|(claim, _)| claim.clone()).collect();
        said.retain(|claim, value| !value.is_null() && !dropped.contains(claim));
        if !dropped.is_empty() {
            flaw(FlawKind::Protected(dropped));
        }
        let bytes = json::length_of(&said);
        merge(&mut all.claims, said);
        if all.largest.as_ref().is_none_or(|largest| largest.bytes < bytes) {
            all.largest = Some(Largest { mapping: mapping.pk, name: mapping.name.clone(), bytes });
        }
    }
    all
}

async fn evaluate(ctx: &Context, asked: &Asked<'_>, mapping: &ScopeMapping) -> Result<Said, String> {
    if let Some(native) = Native::of(&mapping.expression) {
        return Ok(native.evaluate(Some(asked.provider), asked.person, asked.entitlements).into());
    }
    if let Some(said) = asked.foretold.and_then(|foretold| foretold.of(mapping, asked)) {
        return said.clone();
    }
    let question = Question {
        mapping: &mapping.name,
        expression: &mapping.expression,
        about: About::Token {
            person: asked.person,
            provider: asked.provider,
            application: asked.application,
            token: asked.token,
        },
        visitor: asked.visitor,
    };
    let mut said = ctx.mapping_engine.evaluate(ctx, &question).await?;
    narrow(ctx, asked.provider, &mut said.value).await.map_err(|error| error.to_string())?;
    Ok(said)
}

/// Takes secret attributes out of the proxy's claim, but what this provider's upstream is sent (CO-284).
async fn narrow(ctx: &Context, provider: &Provider, said: &mut Value) -> Result<(), Error> {
    let Some(Value::Object(attributes)) = said.pointer_mut("/ak_proxy/user_attributes") else { return Ok(()) };
    let secrets = secret_keys(ctx, &mut ctx.db.read().await?).await?;
    *attributes = secrets.without(attributes, &provider.used_attributes());
    Ok(())
}

/// Records what was wrong with mappings. Call it once whatever they were asked for is committed.
///
/// # Errors
/// When the store fails.
pub async fn note(
    ctx: &Context,
    visitor: &Visitor,
    provider: &Provider,
    person: &Person,
    flaws: &[Flaw],
) -> Result<(), Error> {
    for Flaw { mapping, name, kind } in flaws {
        let named = event::model("authentik_providers_oauth2", "scopemapping", mapping, name);
        let actor = visitor.known(person);
        match kind {
            FlawKind::Failed(expression, error) => {
                let context = json!({"message": event::in_one_line(error), "exception": error,
                    "expression": expression, "mapping": named, "provider": provider.name});
                record_failing_alone(ctx, &actor, "property_mapping_exception", context).await?;
                let context = json!({"message": format!("Mapping failed: {name}"), "mapping": named,
                    "provider": provider.name});
                record_failing_alone(ctx, &actor, "configuration_error", context).await?;
            }
            FlawKind::Noted(events) => mappings::record(ctx, &actor, name, events).await?,
            FlawKind::NoObject => {
                tracing::warn!(mapping = name, provider = provider.name, "mapping gave no object and was left out");
            }
            FlawKind::Long(bytes) => {
                let what = [b"long-tokens".as_slice(), mapping.0.as_bytes(), provider.client_id.as_bytes()];
                let context = json!({"message": "Tokens are very long, and this mapping says most of them",
                    "bytes": bytes, "mapping": named, "provider": provider.name});
                warn(ctx, &actor, &what, context).await?;
            }
            FlawKind::Protected(claims) => {
                let what = [b"protected-claims".as_slice(), mapping.0.as_bytes()];
                let context = json!({"message": "Mapping sets claims that no mapping can set", "claims": claims,
                    "mapping": named, "provider": provider.name});
                warn(ctx, &actor, &what, context).await?;
            }
        }
    }
    Ok(())
}

/// Records a warning, the first of its kind in a day.
async fn warn(ctx: &Context, actor: &Actor, what: &[&[u8]], context: Value) -> Result<(), Error> {
    const DAY: i64 = 24 * 3600;
    if let Some(mut tx) = limits::first_of(ctx, what, DAY).await? {
        let recorded = event::record(ctx, &mut tx, actor, "configuration_warning", context).await?;
        tx.commit().await?;
        event::log(&recorded);
    }
    Ok(())
}

/// The claims that a token of this provider says: all, or but what mappings say (OA-030).
pub fn told(provider: &Provider, mut claims: ClaimSet) -> ClaimSet {
    const ALWAYS: [&str; 14] = [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "auth_time",
        "acr",
        "amr",
        "jti",
        "sid",
        "nonce",
        "scope",
        "ak_proxy",
        "act",
    ];
    if !provider.include_claims_in_id_token {
        claims.retain(|claim, _| ALWAYS.contains(&claim.as_str()) && (claim != "ak_proxy" || provider.is_proxy()));
    }
    claims
}

/// The claims without the attributes that only the proxy may see (OA-897).
pub fn without_attributes(mut claims: ClaimSet) -> ClaimSet {
    if let Some(Value::Object(proxy)) = claims.get_mut("ak_proxy") {
        proxy.insert("user_attributes".to_owned(), json!({}));
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::clock::Timestamp;
    use portcullis_store::account::Account;
    use uuid::Uuid;

    use crate::providers::without_secrets;

    fn provider(basic_auth_enabled: bool) -> Provider {
        Provider {
            name: "wiki".to_owned(),
            client_id: "id".to_owned(),
            basic_auth_enabled,
            basic_auth_user_attribute: "app_username".to_owned(),
            basic_auth_password_attribute: "app_password".to_owned(),
            ..without_secrets(Uuid::nil())
        }
    }

    fn ada() -> Person {
        let attributes = json!({
            "app_username": "u", "app_password": "p", "other_password": "x", "upn": "ada@x", "notes": "n",
            "additionalHeaders": {"X-Team": "blue"},
        });
        let at = Timestamp(0);
        Person {
            account: Account {
                pk: UserPk(7),
                uuid: Uuid::nil(),
                username: "ada".to_owned(),
                name: "Ada L.".to_owned(),
                email: String::new(),
                is_active: true,
                kind: "internal".to_owned(),
                path: "users".to_owned(),
                attributes_sealed: Vec::new(),
                password_hash: None,
                password_changed: at,
                date_joined: at,
                last_updated: at,
                last_login: None,
                generated_for: None,
            },
            teams: std::sync::Arc::default(),
            direct_groups: vec!["a".to_owned(), "b".to_owned()],
            is_superuser: true,
            own_attributes: attributes.as_object().expect("object").clone(),
            effective_attributes: attributes.as_object().expect("object").clone(),
            uid: "hash".to_owned(),
        }
    }

    fn mapping(managed: &str, scope: &str) -> ScopeMapping {
        ScopeMapping {
            pk: MappingId(Uuid::nil()),
            name: managed.to_owned(),
            scope_name: scope.to_owned(),
            description: String::new(),
            expression: crate::mappings::shipped(managed).expect("comes with the installation").to_owned(),
            managed: Some(managed.to_owned()),
        }
    }

    fn all() -> Vec<ScopeMapping> {
        vec![
            mapping("goauthentik.io/providers/oauth2/scope-entitlements", "entitlements"),
            mapping("goauthentik.io/providers/proxy/scope-proxy", "ak_proxy"),
            mapping("goauthentik.io/providers/oauth2/scope-profile", "profile"),
            mapping("goauthentik.io/providers/oauth2/scope-email", "email"),
            mapping("goauthentik.io/providers/oauth2/scope-openid", "openid"),
        ]
    }

    /// What native mappings say: without a store.
    fn mapped(
        provider: &Provider,
        mappings: &[ScopeMapping],
        person: &Person,
        entitlements: &[String],
        granted: &[String],
    ) -> ClaimSet {
        let mut claims = ClaimSet::new();
        for mapping in mappings.iter().filter(|mapping| granted.contains(&mapping.scope_name)) {
            let native = Native::of(&mapping.expression).expect("native");
            let said = native.evaluate(Some(provider), person, entitlements);
            merge(&mut claims, said.as_object().expect("object").clone());
        }
        claims
    }

    /// PX-415, OA-440, OA-436: the proxy claim holds the attributes that this provider uses, and no others.
    #[test]
    fn px_415_the_proxy_claim_holds_only_what_the_provider_uses() {
        let scopes = vec!["ak_proxy".to_owned()];
        let claims = mapped(&provider(true), &all(), &ada(), &[], &scopes);
        let attributes = claims["ak_proxy"]["user_attributes"].as_object().expect("object");
        assert_eq!(attributes.keys().collect::<Vec<_>>(), ["app_username", "app_password", "additionalHeaders"]);
        let claims = mapped(&provider(false), &all(), &ada(), &[], &scopes);
        let attributes = claims["ak_proxy"]["user_attributes"].as_object().expect("object");
        assert_eq!(attributes.keys().collect::<Vec<_>>(), ["additionalHeaders"]);
        assert_eq!(without_attributes(claims)["ak_proxy"]["user_attributes"], json!({}));
    }

    /// PX-416, OA-444: the proxy claim tells whether the user administers the instance, and their permanent id.
    #[test]
    fn px_416_the_proxy_claim_names_the_user() {
        let claims = mapped(&provider(true), &all(), &ada(), &[], &["ak_proxy".to_owned()]);
        assert_eq!(claims["ak_proxy"]["is_superuser"], true);
        assert_eq!(claims["ak_proxy"]["user_uuid"], Uuid::nil().to_string());
    }

    /// OA-431, OA-432, OA-216: a claim is there only when its scope was granted; scopes not offered are dropped.
    #[test]
    fn oa_431_claims_follow_scopes() {
        let granted = granted_scopes("profile email nothing profile", &all());
        assert_eq!(granted, ["email", "profile"]);
        let claims = mapped(&provider(true), &all(), &ada(), &[], &granted);
        assert_eq!(
            Value::Object(claims),
            json!({
                "name": "Ada L.", "given_name": "Ada L.", "preferred_username": "ada", "nickname": "ada",
                "groups": ["a", "b"], "email": "", "email_verified": false,
            })
        );
        assert!(mapped(&provider(true), &all(), &ada(), &[], &[]).is_empty());
    }

    /// CO-283: the managed mapping says the names of entitlements twice, and only to whom the scope was granted.
    #[test]
    fn co_283_entitlements_are_told_by_name() {
        let held = ["read".to_owned(), "write".to_owned()];
        let claims = mapped(&provider(true), &all(), &ada(), &held, &["entitlements".to_owned()]);
        let said = json!({"entitlements": ["read", "write"], "roles": ["read", "write"]});
        assert_eq!(Value::Object(claims), said);
        assert!(!mapped(&provider(true), &all(), &ada(), &held, &["email".to_owned()]).contains_key("entitlements"));
    }

    /// OA-046, OA-047: each mode has its subject, and an empty subject is none.
    #[test]
    fn oa_046_subjects_by_mode() {
        let cases = [
            ("hashed_user_id", Some("hash")),
            ("user_id", Some("7")),
            ("user_uuid", Some("00000000-0000-0000-0000-000000000000")),
            ("user_username", Some("ada")),
            ("user_email", None),
            ("user_upn", Some("ada@x")),
        ];
        for (mode, expected) in cases {
            let provider = Provider { sub_mode: mode.to_owned(), ..provider(true) };
            assert_eq!(subject(&provider, &ada()).as_deref(), expected, "{mode}");
        }
    }
}
