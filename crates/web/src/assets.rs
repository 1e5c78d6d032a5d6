//! Static files: compiled in, named by their content, cached for ever (D9 of the design, PX-312).

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, StatusCode};
use portcullis_core::keys::sha256;
use portcullis_core::page;

/// A file that is part of the binary.
pub struct Asset {
    stem: &'static str,
    extension: &'static str,
    media_type: &'static str,
    content: &'static str,
    name: LazyLock<String>,
}

/// The stylesheet of all pages.
pub static STYLE: Asset = Asset {
    stem: "page",
    extension: "css",
    media_type: "text/css; charset=utf-8",
    content: page::STYLE,
    name: LazyLock::new(|| STYLE.hashed_name()),
};

/// The icon in the browser's tab.
pub static ICON: Asset = Asset {
    stem: "icon",
    extension: "svg",
    media_type: "image/svg+xml",
    content: include_str!("../assets/icon.svg"),
    name: LazyLock::new(|| ICON.hashed_name()),
};

/// Sends a form by itself (OA-166).
pub static SUBMIT: Asset = Asset {
    stem: "submit",
    extension: "js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("../assets/submit.js"),
    name: LazyLock::new(|| SUBMIT.hashed_name()),
};

/// What passkeys need of a browser.
pub static WEBAUTHN: Asset = Asset {
    stem: "webauthn",
    extension: "js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("../assets/webauthn.js"),
    name: LazyLock::new(|| WEBAUTHN.hashed_name()),
};

impl Asset {
    /// Path of the file. It changes whenever the content does.
    pub fn href(&self) -> String {
        format!("/static/{}", *self.name)
    }

    fn hashed_name(&self) -> String {
        let digest = sha256(self.content.as_bytes());
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{}.{hash}.{}", self.stem, self.extension)
    }
}

/// `GET /static/{name}`
pub async fn serve(Path(name): Path<String>) -> Response {
    let Some(asset) = [&STYLE, &ICON, &WEBAUTHN, &SUBMIT].into_iter().find(|asset| *asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers: [(HeaderName, &str); 3] = [
        (CONTENT_TYPE, asset.media_type),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.content).into_response()
}
