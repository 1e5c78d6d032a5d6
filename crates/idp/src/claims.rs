//! What tokens say about a user: managed scope mappings and protocol claims (OA sections 14 and 15).

use portcullis_core::attributes::{Attributes, merge};
use portcullis_store::mapping::ScopeMapping;
use portcullis_store::provider::Provider;
use serde_json::{Map, Value, json};

use crate::directory::Person;

/// A set of claims.
pub type ClaimSet = Map<String, Value>;

/// `acr` of every token (OA-453).
pub const ACR: &str = "goauthentik.io/providers/oauth2/default";

/// Claims that no mapping can set (OA-425, CO-282).
const PROTECTED: [&str; 18] = [
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

/// What the mappings of the granted scopes say, merged in order (OA-421, OA-424, CO-280).
///
/// `entitlements` are the names of those that the person holds for the provider's application.
pub fn mapped(
    provider: &Provider,
    mappings: &[ScopeMapping],
    person: &Person,
    entitlements: &[String],
    granted: &[String],
) -> ClaimSet {
    let mut chosen: Vec<_> = mappings.iter().filter(|mapping| granted.contains(&mapping.scope_name)).collect();
    chosen.sort_by_key(|mapping| (&mapping.scope_name, &mapping.name, mapping.pk));
    let mut claims = ClaimSet::new();
    for mapping in chosen {
        let mut said = evaluate(mapping, provider, person, entitlements);
        said.retain(|claim, value| !PROTECTED.contains(&claim.as_str()) && !value.is_null());
        merge(&mut claims, &said);
    }
    claims
}

/// What one mapping says. Managed mappings are code of ours; others say nothing.
fn evaluate(mapping: &ScopeMapping, provider: &Provider, person: &Person, entitlements: &[String]) -> ClaimSet {
    let account = &person.account;
    let said = match mapping.managed.as_deref().unwrap_or_default() {
        "goauthentik.io/providers/oauth2/scope-profile" => json!({
            "name": account.name,
            "given_name": account.name,
            "preferred_username": account.username,
            "nickname": account.username,
            "groups": person.direct_groups,
        }),
        "goauthentik.io/providers/oauth2/scope-email" => json!({"email": account.email, "email_verified": false}),
        "goauthentik.io/providers/oauth2/scope-entitlements" => {
            json!({"entitlements": entitlements, "roles": entitlements})
        }
        "goauthentik.io/providers/proxy/scope-proxy" => json!({"ak_proxy": {
            "user_attributes": narrowed(provider, &person.effective_attributes),
            "is_superuser": person.is_superuser,
            "user_uuid": account.uuid.to_string(),
        }}),
        _ => Value::Null,
    };
    match said {
        Value::Object(said) => said,
        _ => ClaimSet::new(),
    }
}

/// The attributes that this provider uses, and no others (PX-415, CO-284).
fn narrowed(provider: &Provider, attributes: &Attributes) -> Attributes {
    let mut keys = vec!["additionalHeaders"];
    if provider.basic_auth_enabled {
        keys.extend([provider.basic_auth_user_attribute.as_str(), provider.basic_auth_password_attribute.as_str()]);
    }
    keys.retain(|key| !key.is_empty());
    attributes
        .iter()
        .filter(|(key, _)| keys.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
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
    use portcullis_core::id::{FlowId, MappingId, ProviderPk, UserPk};
    use portcullis_store::account::Account;
    use uuid::Uuid;

    fn provider(basic_auth_enabled: bool) -> Provider {
        let flow = FlowId(Uuid::nil());
        Provider {
            pk: ProviderPk(1),
            uuid: Uuid::nil(),
            kind: "proxy".to_owned(),
            name: "wiki".to_owned(),
            authentication_flow: None,
            authorization_flow: flow,
            invalidation_flow: flow,
            client_id: "id".to_owned(),
            client_secret_sealed: Vec::new(),
            redirect_uris: json!([]),
            access_code_validity: String::new(),
            access_token_validity: String::new(),
            refresh_token_validity: String::new(),
            sub_mode: "hashed_user_id".to_owned(),
            jwt_federation_sources: json!([]),
            jwt_federation_providers: json!([]),
            mode: "proxy".to_owned(),
            external_host: String::new(),
            internal_host: String::new(),
            internal_host_ssl_validation: true,
            certificate: None,
            skip_path_regex: String::new(),
            intercept_header_auth: true,
            basic_auth_enabled,
            basic_auth_user_attribute: "app_username".to_owned(),
            basic_auth_password_attribute: "app_password".to_owned(),
            cookie_domain: String::new(),
            cookie_secret_sealed: Vec::new(),
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
            teams: Vec::new(),
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
            expression: String::new(),
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

    /// PX-415, OA-440: the proxy claim holds the attributes that this provider uses, and no others.
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
                "email": "", "email_verified": false, "name": "Ada L.", "given_name": "Ada L.",
                "preferred_username": "ada", "nickname": "ada", "groups": ["a", "b"],
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
