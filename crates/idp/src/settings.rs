//! The administrator's settings (CO-500, CO-501): what services read of them, and how they are changed.

mod check;
mod view;

use portcullis_core::duration;
use portcullis_store::{Conn, instance};
use serde_json::{Map, Value, json};

use crate::error::Error;

pub(crate) use view::tenant;
pub use view::{Fields, FooterLink, footer_links, shown, shown_flags, update};

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Lifetime of API tokens, in seconds (OA-594).
    pub default_token_duration: i64,
    /// Default and longest lifetime of app passwords, in seconds (OA-603).
    pub app_password_lifetime: i64,
    /// Characters of a generated key (OA-593).
    pub default_token_length: usize,
    /// How long events are kept, in seconds (CO-410).
    pub event_retention: i64,
    /// Whether past events forget who a deleted user was (CO-818).
    pub gdpr_compliance: bool,
    /// What users may change of themselves, unless an attribute of theirs says otherwise (CO-067).
    pub user_may_change: UserMayChange,
    /// Lowest and highest reputation (CO-440).
    pub reputation: (i32, i32),
    /// Whether administrators may act as somebody else (CO-388).
    pub impersonation: bool,
    /// Whether they must say why.
    pub impersonation_require_reason: bool,
    /// How long the pages of a list are (CO-524).
    pub pages: PageSizes,
    /// Whether applications without bindings are open to everybody who is signed in (CO-134).
    pub open_by_default: bool,
}

/// What users may change of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name (CO section 3)")]
pub struct UserMayChange {
    pub name: bool,
    pub email: bool,
    pub username: bool,
}

/// How long the pages of a list are, in objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSizes {
    /// When nothing else is asked for.
    pub usual: i64,
    /// However many are asked for.
    pub most: i64,
}

impl Default for PageSizes {
    fn default() -> Self {
        Self { usual: 20, most: 100 }
    }
}

const DAY: i64 = 24 * 3600;

/// What is in force where the administrator has said nothing.
fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "avatars": "initials",
        "default_user_change_name": true,
        "default_user_change_email": false,
        "default_user_change_username": false,
        "event_retention": "days=365",
        "reputation_lower_limit": -5,
        "reputation_upper_limit": 5,
        "footer_links": [],
        "gdpr_compliance": true,
        "impersonation": true,
        "impersonation_require_reason": true,
        "default_token_duration": "days=1",
        "default_token_length": 60,
        "pagination_default_page_size": 20,
        "pagination_max_page_size": 100,
        "flags": {
            "core_default_app_access": true,
            "enterprise_audit_include_expanded_diff": false,
            "flows_continuous_login": false,
            "flows_refresh_others": false,
            // Clients of 2026.2 cannot do without it; nothing depends on it.
            "policies_buffered_access_view": false,
        },
    });
    match defaults {
        Value::Object(defaults) => defaults,
        _ => Map::new(),
    }
}

impl Settings {
    /// Reads the settings; what is absent or unreadable has its default.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(conn: &mut Conn) -> Result<Self, Error> {
        Ok(Self::read(&stored(conn).await?))
    }

    fn read(settings: &Map<String, Value>) -> Self {
        let seconds = |key: &str, otherwise: i64| {
            settings.get(key).and_then(Value::as_str).map_or(otherwise, |text| duration::seconds_or(text, otherwise))
        };
        let flag = |key: &str, otherwise: bool| settings.get(key).and_then(Value::as_bool).unwrap_or(otherwise);
        let number = |key: &str, otherwise: i64| settings.get(key).and_then(Value::as_i64).unwrap_or(otherwise);
        let small = |key: &str, otherwise: i32| i32::try_from(number(key, otherwise.into())).unwrap_or(otherwise);
        let length = settings.get("default_token_length").and_then(Value::as_u64).unwrap_or(60);
        let usual = PageSizes::default();
        let open = settings.get("flags").and_then(|flags| flags.get("core_default_app_access"));
        Self {
            default_token_duration: seconds("default_token_duration", DAY),
            app_password_lifetime: seconds("app_password_maximum_lifetime", 360 * DAY),
            default_token_length: usize::try_from(length).unwrap_or(60).clamp(40, 255),
            event_retention: seconds("event_retention", 365 * DAY),
            gdpr_compliance: flag("gdpr_compliance", true),
            user_may_change: UserMayChange {
                name: flag("default_user_change_name", true),
                email: flag("default_user_change_email", false),
                username: flag("default_user_change_username", false),
            },
            reputation: (small("reputation_lower_limit", -5), small("reputation_upper_limit", 5)),
            impersonation: flag("impersonation", true),
            impersonation_require_reason: flag("impersonation_require_reason", true),
            pages: PageSizes {
                usual: number("pagination_default_page_size", usual.usual),
                most: number("pagination_max_page_size", usual.most),
            },
            open_by_default: open.and_then(Value::as_bool).unwrap_or(true),
        }
    }
}

/// What is stored: the administrator's words, and what the instance notes for itself.
async fn stored(conn: &mut Conn) -> Result<Map<String, Value>, Error> {
    match instance::get(conn).await?.map(|instance| instance.settings) {
        Some(Value::Object(settings)) => Ok(settings),
        _ => Ok(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &Value) -> Settings {
        Settings::read(settings.as_object().expect("an object"))
    }

    /// OA-593, OA-594, OA-603, OA-902: defaults are 60 characters, one day and 360 days; keys are never under 40.
    #[test]
    fn oa_594_settings_have_defaults() {
        let defaults = read(&json!({}));
        assert_eq!((defaults.default_token_duration, defaults.app_password_lifetime), (86_400, 31_104_000));
        assert_eq!(defaults.default_token_length, 60);
        let set = read(&json!({"default_token_duration": "hours=2", "default_token_length": 5}));
        assert_eq!((set.default_token_duration, set.default_token_length), (7200, 40));
    }

    /// CO-500: what services do without any setting is what the API shows as the default.
    #[test]
    fn co_500_the_defaults_shown_are_those_in_force() {
        assert_eq!(Settings::read(&defaults()), read(&json!({})));
    }
}
