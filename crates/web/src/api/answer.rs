//! Answers of the API: lists, objects, refusals (CO-522 … CO-528).

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use portcullis_idp::{Error, Problems};
use serde_json::{Map, Value, json};

use crate::PAUSE_SECONDS;
use crate::body::Unread;

/// Why a request to the API got no positive answer. Each becomes one status and one body.
#[derive(Debug)]
pub enum ApiError {
    /// Nobody is signed in, and no token was presented.
    NoCredentials,
    /// The bearer token is unknown, has expired or belongs to an inactive user.
    BadToken,
    /// The `Authorization` header has a scheme and nothing else.
    MalformedHeader,
    /// A browser was made to send this by another site (CO-387).
    CrossOrigin,
    /// The caller may not do this.
    Forbidden,
    /// The object is absent, or not for the caller to see. Holds the kind.
    NotFound(&'static str),
    /// The instance shows this to nobody.
    Gone(&'static str),
    /// The API has no such path.
    NoSuchPath,
    /// The page is out of range.
    NoSuchPage,
    /// The path has no such method.
    Method(Method),
    /// The body is no JSON object.
    Unparsable(String),
    /// The body has another media type.
    MediaType(String),
    /// The body is too long.
    TooLong,
    /// The body did not end in time.
    TooSlow,
    /// The request contradicts rules.
    Invalid(Problems),
    /// Too many requests or failures.
    Throttled {
        /// Whole seconds until another attempt makes sense.
        retry_after_seconds: u32,
    },
    /// The store cannot do it now, and may do it in a while.
    Unavailable {
        /// Why, for the log alone.
        why: &'static str,
        /// The error in full, for the log alone.
        cause: String,
    },
    /// Something broke. The cause is for the log alone.
    Internal(String),
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        if let Some(why) = error.passing() {
            return Self::Unavailable { why, cause: error.to_string() };
        }
        match error {
            Error::Invalid(problems) => Self::Invalid(problems),
            Error::NotFound(kind) => Self::NotFound(kind),
            Error::Forbidden => Self::Forbidden,
            Error::Throttled { retry_after_seconds } => Self::Throttled { retry_after_seconds },
            Error::Busy | Error::Answered => Self::Throttled { retry_after_seconds: 1 },
            Error::Store(_) | Error::NotWritten(_) | Error::Sealed { .. } | Error::Hash(_) | Error::Unreadable(_) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

impl From<Unread> for ApiError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLong => Self::TooLong,
            Unread::TooSlow => Self::TooSlow,
        }
    }
}

impl ApiError {
    /// One message about one field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(Problems::of(field, message))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::NoCredentials => (StatusCode::FORBIDDEN, "Authentication credentials were not provided.".to_owned()),
            Self::BadToken => (StatusCode::FORBIDDEN, "Token invalid/expired".to_owned()),
            Self::MalformedHeader => (StatusCode::FORBIDDEN, "Malformed header".to_owned()),
            Self::CrossOrigin => (StatusCode::FORBIDDEN, "CSRF Failed: the request comes from elsewhere.".to_owned()),
            Self::Forbidden => (StatusCode::FORBIDDEN, "You do not have permission to perform this action.".to_owned()),
            Self::NotFound(kind) => (StatusCode::NOT_FOUND, format!("No {kind} matches the given query.")),
            Self::Gone(why) => (StatusCode::GONE, why.to_owned()),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "Not found.".to_owned()),
            Self::NoSuchPage => (StatusCode::NOT_FOUND, "Invalid page.".to_owned()),
            Self::Method(method) => (StatusCode::METHOD_NOT_ALLOWED, format!("Method \"{method}\" not allowed.")),
            Self::Unparsable(why) => (StatusCode::BAD_REQUEST, format!("JSON parse error - {why}")),
            Self::MediaType(given) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("Unsupported media type \"{given}\" in request."))
            }
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "The request body is too long.".to_owned()),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "The request body took too long.".to_owned()),
            Self::Throttled { retry_after_seconds } => return throttled(retry_after_seconds),
            Self::Invalid(problems) => return (StatusCode::BAD_REQUEST, Json(by_field(&problems))).into_response(),
            Self::Unavailable { why, cause } => return unavailable(why, &cause),
            Self::Internal(cause) => {
                tracing::error!(cause, "an API request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "Internal server error.".to_owned())
            }
        };
        (status, Json(json!({"detail": message}))).into_response()
    }
}

fn throttled(seconds: u32) -> Response {
    let detail = format!("Request was throttled. Expected available in {seconds} seconds.");
    let mut response = (StatusCode::TOO_MANY_REQUESTS, Json(json!({"detail": detail}))).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// 503 for what could not be read or written now. No promise that nothing was changed: a change may be in force, and
/// only reading it for the answer, or telling that it is, has failed.
fn unavailable(why: &str, cause: &str) -> Response {
    tracing::error!(why, cause, "an API request failed: the database is not available");
    let body = json!({"detail": "The database is not available. Try again in a moment; look first what has changed."});
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(PAUSE_SECONDS));
    response
}

fn by_field(problems: &Problems) -> Value {
    problems.iter().map(|(field, messages)| (field.to_owned(), json!(messages))).collect::<Map<_, _>>().into()
}

/// 201 with the object.
pub fn created(object: Value) -> Response {
    (StatusCode::CREATED, Json(object)).into_response()
}

/// 204 without a body.
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-522: each refusal has its status.
    #[test]
    fn co_522_refusals_have_their_status() {
        for (error, status) in [
            (ApiError::NoCredentials, 403),
            (ApiError::BadToken, 403),
            (ApiError::MalformedHeader, 403),
            (ApiError::Forbidden, 403),
            (ApiError::NotFound("User"), 404),
            (ApiError::Gone("x"), 410),
            (ApiError::Method(Method::PUT), 405),
            (ApiError::Unparsable("x".to_owned()), 400),
            (ApiError::MediaType("text/plain".to_owned()), 415),
            (ApiError::Throttled { retry_after_seconds: 3 }, 429),
            (ApiError::Unavailable { why: "full", cause: "secret cause".to_owned() }, 503),
            (ApiError::Internal("secret cause".to_owned()), 500),
        ] {
            assert_eq!(error.into_response().status().as_u16(), status);
        }
    }

    /// CO-522: a 503 does not promise that nothing was changed: it may have been, and only the answer could not be read.
    #[tokio::test]
    async fn co_522_a_503_promises_nothing() {
        let response = ApiError::Unavailable { why: "full", cause: "secret cause".to_owned() }.into_response();
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        let said = String::from_utf8(body.to_vec()).unwrap();
        assert!(said.contains("look first") && !said.contains("cause") && !said.contains("Nothing was"), "{said}");
    }
}
