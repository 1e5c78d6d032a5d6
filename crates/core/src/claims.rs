//! The claims an outpost reads (PX-152), and how forgiving it is about them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Who somebody is, as the data plane needs to know it.
///
/// Read with [`Claims::read`]: a missing, null or ill-typed optional claim is empty; without `sub`
/// there is no identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// Subject; `X-authentik-uid`.
    pub sub: String,
    /// Expiry in seconds since the epoch.
    pub exp: i64,
    /// E-mail address.
    pub email: String,
    /// Display name.
    pub name: String,
    /// User name.
    pub preferred_username: String,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// Names of the entitlements for this application.
    pub entitlements: Vec<String>,
    /// Public id of the identity provider's session, empty without one.
    pub sid: String,
    /// What is meant for the proxy alone.
    pub ak_proxy: ProxyClaims,
}

/// The `ak_proxy` claim (OA-440, OA-441, PX-416).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxyClaims {
    /// Attributes this provider needs: Basic credentials, `additionalHeaders`.
    pub user_attributes: Map<String, Value>,
    /// Replaces the upstream for this identity when not empty (PX-276).
    pub backend_override: String,
    /// Replaces the `Host` sent upstream when not empty (PX-277).
    pub host_header: String,
    /// Whether the user administers the instance.
    pub is_superuser: bool,
    /// The control plane's own id of the user.
    pub user_uuid: String,
}

impl Claims {
    /// Reads a claim set, forgiving everything but a missing `sub` (PX-152).
    pub fn read(claims: &Map<String, Value>) -> Option<Self> {
        let text = |key: &str| claims.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let sub = text("sub");
        if sub.is_empty() {
            return None;
        }
        let list = |key: &str| -> Vec<String> {
            let Some(items) = claims.get(key).and_then(Value::as_array) else { return Vec::new() };
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Some(Self {
            sub,
            exp: claims.get("exp").and_then(Value::as_i64).unwrap_or_default(),
            email: text("email"),
            name: text("name"),
            preferred_username: text("preferred_username"),
            groups: list("groups"),
            entitlements: list("entitlements"),
            sid: text("sid"),
            ak_proxy: claims.get("ak_proxy").and_then(Value::as_object).map(ProxyClaims::read).unwrap_or_default(),
        })
    }
}

impl ProxyClaims {
    fn read(claims: &Map<String, Value>) -> Self {
        let text = |key: &str| claims.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            user_attributes: claims.get("user_attributes").and_then(Value::as_object).cloned().unwrap_or_default(),
            backend_override: text("backend_override"),
            host_header: text("host_header"),
            is_superuser: claims.get("is_superuser").and_then(Value::as_bool).unwrap_or_default(),
            user_uuid: text("user_uuid"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// PX-152: ill-typed optional claims are empty, a missing `sub` is no identity.
    #[test]
    fn px_152_odd_claims_are_tolerated() {
        let odd = json!({"sub": "s", "email": 7, "groups": "all", "entitlements": null, "ak_proxy": [1], "exp": "x"});
        let claims = Claims::read(odd.as_object().expect("object")).expect("has a sub");
        assert_eq!(claims, Claims { sub: "s".to_owned(), ..Claims::default() });
        assert_eq!(Claims::read(json!({"sub": null}).as_object().expect("object")), None);
    }
}
