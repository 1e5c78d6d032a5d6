mod channel;
pub(super) mod core;
mod credentials;
mod proofs;
mod refresh;

use std::net::IpAddr;

use portcullis_core::channel::{Feed, Message, REVOCATION, Revoked};
use portcullis_core::epoch::Subject;
use serde_json::{Value, json};

use self::core::{Core, NOW, TOKEN, until};
use super::sessions::tests::session;
use super::*;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const WIKI: ProviderPk = ProviderPk(7);
const TOKENS: &str = "/application/o/token/";
const INTROSPECTION: &str = "/application/o/introspect/";

/// A form as its pairs.
fn form(body: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn outcome<T>(answer: &Result<T, ControlError>) -> &'static str {
    match answer {
        Ok(_) => "granted",
        Err(ControlError::Refused) => "refused",
        Err(ControlError::Throttled { .. }) => "throttled",
        Err(ControlError::Unavailable(_)) => "unavailable",
    }
}

async fn keep(remote: &Remote, value: &str, sub: &str, sid: &str) -> SessionRecord {
    let mut record = session(7, value, sub, sid);
    record.grant.built_at = remote.epochs().present();
    remote.put(&record).await.unwrap();
    record
}

fn active(more: &Value) -> String {
    let mut said = json!({"active": true});
    for (name, value) in more.as_object().unwrap() {
        said[name] = value.clone();
    }
    said.to_string()
}

fn outcome_of(answer: &Result<bool, ControlError>) -> &'static str {
    match answer {
        Ok(true) => "stands",
        Ok(false) => "ended",
        Err(_) => "unknown",
    }
}
