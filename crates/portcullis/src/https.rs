//! Questions to servers elsewhere by commands and helpers of this binary.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use portcullis_core::causes::causes;
use rustls::crypto::aws_lc_rs::default_provider;

/// Asks over HTTP/1.1, and over TLS where the URL says so.
pub(crate) struct Asker(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Asker {
    /// One that trusts the certificates that the system trusts.
    ///
    /// # Errors
    /// When these cannot be read.
    pub(crate) fn new() -> Result<Self, String> {
        let connector = HttpsConnectorBuilder::new().with_provider_and_native_roots(default_provider());
        let connector = connector.map_err(|error| error.to_string())?.https_or_http().enable_http1().build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// The status of an answer, and its body of at most `longest` bytes. The caller sets a limit on the time.
    ///
    /// # Errors
    /// In words, when there is no whole answer.
    pub(crate) async fn ask(
        &self,
        request: Request<Empty<Bytes>>,
        longest: usize,
    ) -> Result<(StatusCode, Bytes), String> {
        let response = self.0.request(request).await.map_err(|error| causes(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), longest).collect().await;
        Ok((status, body.map_err(|error| causes(&*error))?.to_bytes()))
    }
}
