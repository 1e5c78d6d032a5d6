//! What an object keeps of where it comes from, when a whole installation is taken over (OA-931, OA-932, OA-934). Documents
//! of anybody else know no such attribute.

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, SourceId, UserPk};
use portcullis_idp::{Change, takeover};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::model::Model;
use super::write::{Refusal, parsed, provider, refused, user};
use crate::api::body::Body;

const FIELD: &str = "taken_over";

/// What is kept; each for objects of one kind.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TakenOver {
    /// A user's.
    pk: Option<i32>,
    /// A user's.
    uuid: Option<Uuid>,
    /// The provider whose client secret a user stands for.
    generated_for: Option<i32>,
    /// The subject that a user stands for.
    federated: Option<Federated>,
    /// A provider's.
    client_id: Option<String>,
    /// A certificate's.
    kid: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Federated {
    provider: i32,
    source: SourceId,
    issuer: String,
    subject: String,
    /// Seconds since 1970.
    until: i64,
}

impl TakenOver {
    /// Takes it out of what the API's reader gets.
    pub(super) fn take(body: &mut Body) -> Result<Self, Refusal> {
        match body.take(FIELD) {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(given) => serde_json::from_value(given).map_err(|error| refused(FIELD, &error.to_string())),
        }
    }

    /// Key and permanent id of a new user.
    pub(super) fn keys(&self) -> Option<(UserPk, Uuid)> {
        Some((UserPk(self.pk?), self.uuid?))
    }

    /// Tells whether anything was different.
    pub(super) async fn write(&self, change: &mut Change<'_>, model: Model, key: &Value) -> Result<bool, Refusal> {
        let mut changed = false;
        if let (Model::User, Some(of)) = (model, self.generated_for) {
            changed |= takeover::generated_in(change, user(key)?, ProviderPk(of)).await?;
        }
        if let (Model::User, Some(link)) = (model, &self.federated) {
            let (of, until) = (ProviderPk(link.provider), Timestamp::from_seconds(link.until));
            let subject = (link.issuer.as_str(), link.subject.as_str());
            changed |= takeover::federated_in(change, user(key)?, of, link.source, subject, until).await?;
        }
        if let (Model::ProxyProvider, Some(client_id)) = (model, &self.client_id) {
            changed |= takeover::client_id_in(change, provider(key)?, client_id).await?;
        }
        if let (Model::Certificate, Some(kid)) = (model, &self.kid) {
            changed |= takeover::kid_in(change, parsed(key)?, kid).await?;
        }
        Ok(changed)
    }
}
