//! What an outpost asks the OAuth endpoints of its control plane (PX-091, PX-092, PX-148 … PX-152, PX-359).

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use portcullis_core::keys::same_secret;
use portcullis_core::outpost::{Grant, SessionRecord};
use serde_json::Value;
use url::Url;

use super::caller::{self, Reply};
use super::claims::{self, ClaimSet, add_extras, add_user, is_for, text};
use super::keys::{Bad, unverified};
use super::reading::Served;
use super::{Remote, Unreadable};
use crate::control::{CodeExchange, ControlError};

/// Seconds to wait where a control plane that has enough does not say how long.
const WAIT: u32 = 10;

fn unavailable(problem: &impl ToString) -> ControlError {
    ControlError::Unavailable(problem.to_string())
}

impl Remote {
    /// Checks a user name and app password by the machine-to-machine flow.
    pub(super) async fn ask_password(
        &self,
        served: &Served,
        username: &str,
        password: &str,
        client: IpAddr,
    ) -> Result<Grant, ControlError> {
        let built_at = self.sessions.epochs.present();
        let scope = served.provider.scopes_to_request.join(" ");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &served.provider.client_id),
            ("username", username),
            ("password", password),
            ("scope", &scope),
        ];
        let answer = granted(&self.post(served, &served.token, &form, Some(client)).await?)?;
        let id_token = text(&answer, "id_token");
        let said = self.verified(served, &id_token).await?;
        let mut grant = claims::grant(served.provider.pk, &said, &id_token, built_at).ok_or(ControlError::Refused)?;
        add_extras(&mut grant, &answer);
        add_user(&mut grant, &answer);
        // It is the access token that is revoked, and asked about.
        grant.access_token = text(&answer, "access_token");
        if let Some(issued) = unverified(&grant.access_token) {
            grant.bearings.access_token = text(&issued, "jti");
        }
        Ok(grant)
    }

    /// Checks a bearer token.
    pub(super) async fn ask_token(&self, served: &Served, token: &str, client: IpAddr) -> Result<Grant, ControlError> {
        let built_at = self.sessions.epochs.present();
        let answer = match self.introspected(served, token, Some(client)).await? {
            Ok(answer) => answer,
            // A client that is refused gets nothing about the token, either.
            Err(status) if status.is_client_error() => return Err(ControlError::Refused),
            Err(status) => return Err(unavailable(&status)),
        };
        let presented = unverified(token).ok_or(ControlError::Refused)?;
        let said = with_defaults(answer, &presented);
        // What was issued for another application says nothing about the policies of this one.
        if said.get("active") != Some(&Value::Bool(true)) || !is_for(&said, &served.provider.client_id) {
            return Err(ControlError::Refused);
        }
        let mut grant = claims::grant(served.provider.pk, &said, token, built_at).ok_or(ControlError::Refused)?;
        if grant.expires <= self.clock.now() {
            return Err(ControlError::Refused);
        }
        add_extras(&mut grant, &said);
        Ok(grant)
    }

    /// Trades an authorization code for a grant.
    pub(super) async fn ask_code(&self, served: &Served, exchange: &CodeExchange<'_>) -> Result<Grant, ControlError> {
        let built_at = self.sessions.epochs.present();
        let provider = &served.provider;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", exchange.code),
            ("redirect_uri", exchange.redirect_uri),
            ("client_id", &provider.client_id),
            ("client_secret", &provider.client_secret),
            ("code_verifier", exchange.code_verifier),
        ];
        let answer = granted(&self.post(served, &served.token, &form, Some(exchange.client)).await?)?;
        let token = text(&answer, "access_token");
        let said = self.verified(served, &token).await?;
        let nonce = match text(&said, "nonce") {
            empty if empty.is_empty() => {
                let id_token = self.verified(served, &text(&answer, "id_token")).await?;
                // An id token of somebody else says nothing about this access token.
                if id_token.get("sub") != said.get("sub") { String::new() } else { text(&id_token, "nonce") }
            }
            nonce => nonce,
        };
        if !same_secret(nonce.as_bytes(), exchange.nonce.as_bytes()) {
            tracing::warn!(provider.name = provider.name, "a token of a login has another nonce");
            return Err(ControlError::Refused);
        }
        let mut grant = claims::grant(provider.pk, &said, &token, built_at).ok_or(ControlError::Refused)?;
        add_extras(&mut grant, &answer);
        add_user(&mut grant, &answer);
        Ok(grant)
    }

    /// Whether the token that a session was made from still holds (PX-196). Only a clear answer counts.
    pub(super) async fn ask_again(&self, served: &Served, session: &SessionRecord) -> Result<bool, ControlError> {
        let grant = &session.grant;
        let token = if grant.access_token.is_empty() { &grant.raw_token } else { &grant.access_token };
        match self.introspected(served, token, grant.bearings.client).await? {
            Ok(answer) => match answer.get("active") {
                Some(Value::Bool(true)) => Ok(same_holder(&answer, grant)),
                Some(Value::Bool(false)) => Ok(false),
                _ => Err(unavailable(&"the answer does not say whether the token is active")),
            },
            Err(status) => Err(unavailable(&status)),
        }
    }

    async fn introspected(
        &self,
        served: &Served,
        token: &str,
        client: Option<IpAddr>,
    ) -> Result<Result<ClaimSet, StatusCode>, ControlError> {
        let url = served.introspection.as_ref().ok_or_else(|| unavailable(&"no introspection endpoint"))?;
        let provider = &served.provider;
        let form =
            [("client_id", provider.client_id.as_str()), ("client_secret", &provider.client_secret), ("token", token)];
        let reply = self.post(served, url, &form, client).await?;
        match reply.status {
            StatusCode::OK => Ok(Ok(object(&reply)?)),
            StatusCode::TOO_MANY_REQUESTS => Err(throttled(&reply)),
            other => Ok(Err(other)),
        }
    }

    async fn verified(&self, served: &Served, token: &str) -> Result<ClaimSet, ControlError> {
        let now = self.clock.now().seconds();
        match self.keys.verify(served, token, now, || self.fetch_keys(served)).await {
            Ok(claims) => Ok(claims),
            Err(Bad::Token(reason)) => {
                tracing::warn!(provider.name = served.provider.name, reason, "a token of the control plane is refused");
                Err(ControlError::Refused)
            }
            Err(keys) => Err(unavailable(&keys)),
        }
    }

    async fn fetch_keys(&self, served: &Served) -> Result<Value, String> {
        let url = served.jwks.as_ref().ok_or("the provider has no jwks_uri")?;
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(http::header::USER_AGENT, HeaderValue::from_static(caller::AGENT));
        let reply =
            self.caller.call(Method::GET, url, headers, Bytes::new()).await.map_err(|error| error.to_string())?;
        if reply.status != StatusCode::OK {
            return Err(format!("{url}: status {}", reply.status));
        }
        serde_json::from_slice(&reply.body).map_err(|_| format!("{url}: this is no JSON"))
    }

    async fn post(
        &self,
        served: &Served,
        url: &Url,
        form: &[(&str, &str)],
        client: Option<IpAddr>,
    ) -> Result<Reply, ControlError> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        // The configuration names the endpoint; only the control plane itself is shown who the outpost is (PX-111).
        let speaks_for = (url.origin() == self.base.origin()).then_some((self.token.as_str(), client));
        let mut headers = caller::of_provider(&served.provider.name, served.seen_as.as_ref(), speaks_for);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.caller.call(Method::POST, url, headers, body.into()).await.map_err(|error| {
            self.link.asked_in_vain();
            unavailable(&error)
        })
    }
}

/// The answer of the token endpoint, if it grants something.
fn granted(reply: &Reply) -> Result<ClaimSet, ControlError> {
    match reply.status {
        StatusCode::OK => object(reply),
        StatusCode::TOO_MANY_REQUESTS => Err(throttled(reply)),
        // Who asks too slowly or of the wrong host has not been refused.
        StatusCode::REQUEST_TIMEOUT | StatusCode::MISDIRECTED_REQUEST => Err(unavailable(&reply.status)),
        status if status.is_client_error() => Err(ControlError::Refused),
        status => Err(unavailable(&format!("the token endpoint answers with status {status}"))),
    }
}

fn throttled(reply: &Reply) -> ControlError {
    let told = reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    ControlError::Throttled { retry_after_seconds: told.unwrap_or(WAIT) }
}

fn object(reply: &Reply) -> Result<ClaimSet, ControlError> {
    match serde_json::from_slice(&reply.body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(unavailable(&Unreadable)),
    }
}

/// An answer about a token with what the token itself says where the answer does not (RFC 7662 §2.2 makes nearly all of
/// it optional): the control plane vouches for the token.
fn with_defaults(mut answer: ClaimSet, token: &ClaimSet) -> ClaimSet {
    for name in ["aud", "exp", "jti", "sid"] {
        if let Some(value) = token.get(name)
            && answer.get(name).is_none_or(Value::is_null)
        {
            answer.insert(name.to_owned(), value.clone());
        }
    }
    answer
}

/// Whether an answer is about the one whom a session belongs to. What they may have lost since is not looked at here: a
/// control plane that watches over it says that the token is not active (PX-418).
fn same_holder(answer: &ClaimSet, grant: &Grant) -> bool {
    answer.get("sub").and_then(Value::as_str).is_none_or(|sub| sub == grant.claims.sub)
}
