//! Forms of the pages: short, and read within the time that bodies have.

use axum::Form;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::respond::PageError;
use crate::body::read;

/// Longest form in bytes: a name and two passwords, every byte of them percent-encoded; or a passkey.
const LONGEST: usize = 8 * 1024;

/// What a form sends.
///
/// # Errors
/// [`PageError::BadForm`] when it is too long or none.
pub async fn form<T: DeserializeOwned>(request: Request) -> Result<T, PageError> {
    let (head, body) = request.into_parts();
    let bytes = read(body, LONGEST).await.map_err(|_| PageError::BadForm)?;
    let request = Request::from_parts(head, Body::from(bytes));
    Form::from_request(request, &()).await.map(|Form(sent)| sent).map_err(|_| PageError::BadForm)
}
