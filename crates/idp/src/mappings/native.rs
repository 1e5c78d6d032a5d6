//! The expressions that come with the installation, as code of ours (CO-283).

use portcullis_core::attributes::Attributes;
use portcullis_store::provider::Provider;
use serde_json::{Value, json};

use super::MANAGED;
use crate::directory::Person;

/// An expression that needs no engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Native {
    Nothing,
    Profile,
    Email,
    Entitlements,
    Proxy,
}

impl Native {
    /// The one with this text, whatever the white space around it.
    pub(crate) fn of(expression: &str) -> Option<Self> {
        let managed = MANAGED.iter().find(|managed| managed.expression.trim() == expression.trim())?;
        Some(match managed.scope_name {
            "profile" => Self::Profile,
            "email" => Self::Email,
            "entitlements" => Self::Entitlements,
            "ak_proxy" => Self::Proxy,
            _ => Self::Nothing,
        })
    }

    /// The claims that it sets.
    pub(crate) const fn claims(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &[],
            Self::Profile => &["name", "given_name", "preferred_username", "nickname", "groups"],
            Self::Email => &["email", "email_verified"],
            Self::Entitlements => &["entitlements", "roles"],
            Self::Proxy => &["ak_proxy"],
        }
    }

    /// What it says about a user at a provider. `entitlements` are the names of those that they hold for its
    /// application.
    pub(crate) fn evaluate(self, provider: Option<&Provider>, person: &Person, entitlements: &[String]) -> Value {
        let account = &person.account;
        match self {
            Self::Nothing => json!({}),
            Self::Profile => json!({
                "name": account.name,
                "given_name": account.name,
                "preferred_username": account.username,
                "nickname": account.username,
                "groups": person.direct_groups,
            }),
            Self::Email => json!({"email": account.email, "email_verified": false}),
            Self::Entitlements => json!({"entitlements": entitlements, "roles": entitlements}),
            Self::Proxy => json!({"ak_proxy": {
                "user_attributes": provider
                    .map(|provider| narrowed(provider, &person.effective_attributes))
                    .unwrap_or_default(),
                "is_superuser": person.is_superuser,
                "user_uuid": account.uuid.to_string(),
            }}),
        }
    }
}

/// The attributes that this provider uses, and no others (PX-415, CO-284).
fn narrowed(provider: &Provider, attributes: &Attributes) -> Attributes {
    let keys = provider.used_attributes();
    attributes
        .iter()
        .filter(|(key, _)| keys.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
