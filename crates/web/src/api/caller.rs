//! Who calls the API (CO-521, CO-522).

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use portcullis_core::auth_via::AuthVia;
use portcullis_core::id::TokenId;
use portcullis_core::keys::same_secret;
use portcullis_core::origin::{Origin, Scheme};
use portcullis_idp::directory::{self, Person};
use portcullis_idp::oauth::introspect;
use portcullis_idp::{Actor, Context, Rights, Visitor, tokens};

use super::answer::ApiError;
use crate::pages::browser::{record_elsewhere, session_cookies, session_of};
use crate::same_origin::is_same_origin;

/// Cookie that a page's script must repeat in [`CSRF_HEADER`] (CO-387).
const CSRF_COOKIE: &str = "authentik_csrf";
const CSRF_HEADER: &str = "x-authentik-csrf";

/// Somebody known: the owner of a valid API token, or a signed-in user.
#[derive(Debug)]
pub struct Caller {
    /// For services: permissions and events.
    pub actor: Actor,
    /// The user.
    pub person: Person,
    /// The session they are signed in with; none for a token.
    pub sid: Option<String>,
    /// The API token that they showed; none for an access token.
    pub token: Option<TokenId>,
}

/// An administrator. Everyone else is refused.
#[derive(Debug)]
pub struct Admin(pub Caller);

impl FromRequestParts<Arc<Context>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        let origin = parts.extensions.get::<Arc<Origin>>().cloned();
        let origin = origin.ok_or_else(|| ApiError::Internal("a request without an origin".to_owned()))?;
        match bearer(&parts.headers)? {
            Some(key) => by_token(ctx, &origin, key).await,
            None => by_cookie(ctx, &origin, parts).await,
        }
    }
}

impl FromRequestParts<Arc<Context>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, ctx).await?;
        if caller.actor.is_superuser { Ok(Self(caller)) } else { Err(ApiError::Forbidden) }
    }
}

/// The key after `Bearer`, if that is the scheme.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::MalformedHeader);
    }
    let value = value.to_str().map_err(|_| ApiError::BadToken)?;
    let (scheme, key) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    match key.trim() {
        "" => Err(ApiError::MalformedHeader),
        key => Ok(Some(key)),
    }
}

/// The owner of an API key, or of an access token that is good for the API.
pub(crate) async fn by_token(ctx: &Context, origin: &Origin, key: &str) -> Result<Caller, ApiError> {
    owner(ctx, origin, key, |via| origin.succeeded(via)).await
}

/// The same of a key that is shown beside the request's own credentials: it proves nothing for who sends the request (OA-669).
pub(crate) async fn beside(ctx: &Context, origin: &Origin, key: &str) -> Result<Caller, ApiError> {
    owner(ctx, origin, key, |_| ()).await
}

async fn owner(ctx: &Context, origin: &Origin, key: &str, proves: impl Fn(AuthVia)) -> Result<Caller, ApiError> {
    let mut conn = ctx.db.read().await.map_err(internal)?;
    let Some((token, owner)) = tokens::authenticate_api(ctx, &mut conn, key).await? else {
        drop(conn);
        let visitor = Visitor::sent_from(origin);
        let person = introspect::api_user(ctx, &visitor, key).await?.ok_or(ApiError::BadToken)?;
        proves(AuthVia::AccessToken);
        let mut conn = ctx.db.read().await.map_err(internal)?;
        let rights = Rights::of_person(&mut conn, &person).await?;
        return Ok(Caller { actor: actor(&person, rights, origin), person, sid: None, token: None });
    };
    proves(AuthVia::ApiToken);
    let person = directory::person_of(ctx, &mut conn, owner).await?;
    let rights = Rights::of_person(&mut conn, &person).await?;
    drop(conn);
    tokens::keys::used(ctx, &token, &origin.client.to_string()).await?;
    Ok(Caller { actor: actor(&person, rights, origin), person, sid: None, token: Some(token.uuid) })
}

async fn by_cookie(ctx: &Context, origin: &Origin, parts: &Parts) -> Result<Caller, ApiError> {
    let (session, owner) = session_of(ctx, &parts.headers, origin).await?.ok_or(ApiError::NoCredentials)?;
    let mut conn = ctx.db.read().await.map_err(internal)?;
    let person = directory::person_of(ctx, &mut conn, owner).await?;
    let rights = Rights::of_person(&mut conn, &person).await?;
    drop(conn);
    let mut actor = actor(&person, rights, origin);
    actor.request = actor.request.in_session(&session);
    let from_here = is_same_origin(ctx, &parts.headers, origin);
    if !(parts.method.is_safe() || (from_here && repeats_csrf(&parts.headers))) {
        if !from_here {
            record_elsewhere(ctx, &actor).await?;
        }
        return Err(ApiError::CrossOrigin);
    }
    origin.succeeded(AuthVia::Session);
    Ok(Caller { actor, person, sid: Some(session.sid), token: None })
}

fn actor(person: &Person, rights: Rights, origin: &Origin) -> Actor {
    let (client, request) = (Some(origin.client), portcullis_idp::Request::of(origin));
    Actor { client, request, rights, ..directory::actor_of(person) }
}

/// Slows down who asks for much without saying who they are (CO-446). Whoever presents credentials is asked for them;
/// wrong ones count.
pub(super) async fn not_too_many(State(ctx): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let origin = request.extensions().get::<Arc<Origin>>().cloned();
    let headers = request.headers();
    let bears = headers.contains_key(header::AUTHORIZATION);
    let anonymous = !bears && session_cookies(headers).next().is_none();
    let count = || match &origin {
        Some(origin) => ctx.rates.anonymous_request(&ctx.limits, origin.client, ctx.now()),
        None => Ok(()),
    };
    if anonymous && let Err(error) = count() {
        return ApiError::from(error).into_response();
    }
    let response = next.run(request).await;
    if !anonymous && !bears && response.status() == StatusCode::FORBIDDEN {
        let _ = count();
    }
    response
}

/// A fresh value for the cookie that scripts repeat, if the browser has none.
pub(super) fn missing_csrf(ctx: &Context, headers: &HeaderMap, origin: &Origin) -> Option<String> {
    if cookie(headers, CSRF_COOKIE).is_some_and(|value| !value.is_empty()) {
        return None;
    }
    let secure = if origin.scheme == Scheme::Https { "; Secure" } else { "" };
    Some(format!("{CSRF_COOKIE}={}; Path=/; SameSite=Lax{secure}", ctx.entropy.token()))
}

/// Whether the header repeats the cookie, which another site can neither read nor set.
pub(super) fn repeats_csrf(headers: &HeaderMap) -> bool {
    let Some(sent) = cookie(headers, CSRF_COOKIE).filter(|value| !value.is_empty()) else { return false };
    headers.get(CSRF_HEADER).is_some_and(|repeated| same_secret(repeated.as_bytes(), sent.as_bytes()))
}

/// The value of a cookie; the first one if it was sent twice.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|field| field.split(';')).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn internal(error: impl Into<portcullis_idp::Error>) -> ApiError {
    ApiError::from(error.into())
}

/// The object's key in the path. Whatever cannot be a key names no object.
#[derive(Debug)]
pub struct Key(pub String);

impl FromRequestParts<Arc<Context>> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, ctx: &Arc<Context>) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, ctx).await {
            Ok(Path(key)) => Ok(Self(key)),
            Err(_) => Err(ApiError::NoSuchPath),
        }
    }
}

impl Key {
    /// The key as a typed id, or the answer that there is no such object.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when it is no such id.
    pub fn parse<T: std::str::FromStr>(&self, kind: &'static str) -> Result<T, ApiError> {
        self.0.parse().map_err(|_| ApiError::NotFound(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn authorization(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
    }

    /// CO-521, CO-522: the scheme is read without case; a bearer without a key is malformed.
    #[test]
    fn co_522_bearer_headers_are_read() {
        assert!(matches!(bearer(&authorization("bEaReR abc")), Ok(Some("abc"))));
        assert!(matches!(bearer(&authorization("Bearer")), Err(ApiError::MalformedHeader)));
        assert!(matches!(bearer(&authorization("Bearer  ")), Err(ApiError::MalformedHeader)));
        assert!(matches!(bearer(&authorization("Basic YTpi")), Ok(None)));
        assert!(matches!(bearer(&HeaderMap::new()), Ok(None)));
    }

    /// CO-387: the header must repeat a cookie that is there.
    #[test]
    fn co_387_the_csrf_cookie_is_repeated() {
        let mut headers = HeaderMap::new();
        assert!(!repeats_csrf(&headers));
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; authentik_csrf=xyz"));
        assert!(!repeats_csrf(&headers));
        headers.insert(CSRF_HEADER, HeaderValue::from_static("xyZ"));
        assert!(!repeats_csrf(&headers));
        headers.insert(CSRF_HEADER, HeaderValue::from_static("xyz"));
        assert!(repeats_csrf(&headers));
    }
}
