//! The administrator's settings that services read (CO-500).

use portcullis_core::duration;
use portcullis_store::{Conn, instance};
use serde_json::Value;

use crate::error::Error;

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Lifetime of API tokens, in seconds (OA-594).
    pub default_token_duration: i64,
    /// Default and longest lifetime of app passwords, in seconds (OA-603).
    pub app_password_lifetime: i64,
    /// Characters of a generated key (OA-593).
    pub default_token_length: usize,
}

const DAY: i64 = 24 * 3600;

impl Settings {
    /// Reads the settings; what is absent or unreadable has its default.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(conn: &mut Conn) -> Result<Self, Error> {
        Ok(Self::read(&instance::get(conn).await?.map(|instance| instance.settings).unwrap_or_default()))
    }

    fn read(settings: &Value) -> Self {
        let seconds = |key: &str, otherwise: i64| {
            settings.get(key).and_then(Value::as_str).map_or(otherwise, |text| duration::seconds_or(text, otherwise))
        };
        let length = settings.get("default_token_length").and_then(Value::as_u64).unwrap_or(60);
        Self {
            default_token_duration: seconds("default_token_duration", DAY),
            app_password_lifetime: seconds("app_password_maximum_lifetime", 360 * DAY),
            default_token_length: usize::try_from(length).unwrap_or(60).clamp(40, 255),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// OA-593, OA-594, OA-603: defaults are 60 characters, one day and 360 days; keys are never under 40.
    #[test]
    fn oa_594_settings_have_defaults() {
        let defaults = Settings::read(&json!({}));
        assert_eq!((defaults.default_token_duration, defaults.app_password_lifetime), (86_400, 31_104_000));
        assert_eq!(defaults.default_token_length, 60);
        let set = Settings::read(&json!({"default_token_duration": "hours=2", "default_token_length": 5}));
        assert_eq!((set.default_token_duration, set.default_token_length), (7200, 40));
    }
}
