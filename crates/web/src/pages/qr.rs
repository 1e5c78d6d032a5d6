//! QR codes, as pictures that are part of a page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use qrcode::QrCode;
use qrcode::render::svg;

/// The picture of a text as a `data:` URI. Dark on light whatever the page looks like: cameras expect that.
pub fn data_uri(text: &str) -> Option<String> {
    let code = QrCode::new(text.as_bytes()).ok()?;
    let svg =
        code.render().min_dimensions(220, 220).dark_color(svg::Color("#000")).light_color(svg::Color("#fff")).build();
    Some(format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg)))
}
