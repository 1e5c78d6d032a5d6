//! `crypto/certificatekeypairs/` (CO-568).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, header};
use portcullis_core::id::CertificateId;
use portcullis_core::permission::Model;
use portcullis_idp::Context;
use portcullis_idp::certificates::{self, Algorithm, Certificate, Fields, Filter, Order, Wanted};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::Key;
use super::needs::{Holds, MayAdd, MayChange, MayDelete, MayView, on, to};
use super::params::Params;
use super::{BASE, Routes};

const PATH: &str = "/crypto/certificatekeypairs/";
const KIND: &str = "CertificateKeyPair";
const KEY_TYPES: [&str; 5] = ["rsa", "ec", "dsa", "ed25519", "ed448"];
/// Ed448 is a kind that clients know and nothing here can make.
const ALGORITHMS: [(&str, Algorithm); 3] =
    [("rsa", Algorithm::Rsa), ("ecdsa", Algorithm::Ecdsa), ("ed25519", Algorithm::Ed25519)];
const ORDERS: [(&str, Order); 9] = [
    ("pk", Order::Pk),
    ("name", Order::Name),
    ("cert_subject", Order::Subject),
    ("cert_expiry", Order::Expires),
    ("key_type", Order::KeyType),
    ("managed", Order::Managed),
    ("fingerprint_sha256", Order::Sha256),
    ("fingerprint_sha1", Order::Sha1),
    ("private_key_available", Order::HasKey),
];

pub(super) fn routes() -> Routes {
    let of_one = |rest: &str| format!("{PATH}{{pk}}/{rest}");
    Routes::new()
        .route(PATH, get(list).post(create))
        .route(&format!("{PATH}generate/"), post(generate))
        .route(&of_one(""), get(retrieve).put(replace).patch(change).delete(remove))
        .route(&of_one("view_certificate/"), get(view_certificate))
        .route(&of_one("view_private_key/"), get(view_private_key))
}

async fn list(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Certificate>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let key_types = params.choices("key_type", &KEY_TYPES);
    let filter = Filter {
        name: params.text("name"),
        managed: params.text("managed"),
        has_key: params.flag("has_key"),
        key_types,
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
    };
    params.finish()?;
    let found = certificates::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(object).collect())
}

async fn create(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<on::Certificate>,
    mut body: Body,
) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let pk = certificates::create(&ctx, &caller.actor, fields).await?;
    let maker = caller.actor.maker_of(Model::CERTIFICATE, &pk);
    Ok(created(object(&certificates::get(&ctx, &maker, pk).await?)))
}

async fn generate(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<on::Certificate>,
    mut body: Body,
) -> Result<Response, ApiError> {
    body.require(&["common_name", "validity_days"], false);
    let (common_name, days) = (body.filled_text("common_name"), body.integer("validity_days"));
    let names = body.text("subject_alt_name").unwrap_or_default();
    let algorithm = body.choice("alg", &["rsa", "ecdsa", "ed25519", "ed448"]);
    if algorithm.as_deref() == Some("ed448") {
        body.problem("alg", "Keys of the kind ed448 cannot be made here. Use rsa, ecdsa or ed25519.");
    }
    body.finish()?;
    let wanted = Wanted {
        common_name: common_name.unwrap_or_default(),
        alternative_names: names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        validity_days: days.unwrap_or_default(),
        algorithm: ALGORITHMS
            .iter()
            .find(|(name, _)| algorithm.as_deref() == Some(*name))
            .map_or_else(Algorithm::default, |(_, algorithm)| *algorithm),
    };
    let pk = certificates::generate(&ctx, &caller.actor, wanted).await?;
    let maker = caller.actor.maker_of(Model::CERTIFICATE, &pk);
    Ok(Json(object(&certificates::get(&ctx, &maker, pk).await?)).into_response())
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Certificate>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(object(&certificates::get(&ctx, &caller.actor, key.parse(KIND)?).await?)).into_response())
}

async fn replace(
    ctx: State<Arc<Context>>,
    may: MayChange<on::Certificate>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, false).await
}

async fn change(
    ctx: State<Arc<Context>>,
    may: MayChange<on::Certificate>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<on::Certificate>,
    key: Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    let pk: CertificateId = key.parse(KIND)?;
    // Whether it exists comes before what is wrong with the body.
    certificates::get(&ctx, &caller.actor, pk).await?;
    let fields = read(&mut body, partial)?;
    certificates::update(&ctx, &caller.actor, pk, fields).await?;
    Ok(Json(object(&certificates::get(&ctx, &caller.actor, pk).await?)).into_response())
}

async fn remove(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::Certificate>,
    key: Key,
) -> Result<Response, ApiError> {
    certificates::delete(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(no_content())
}

async fn view_certificate(
    State(ctx): State<Arc<Context>>,
    Holds(caller, ..): Holds<to::ViewCertificate>,
    key: Key,
    params: Params,
) -> Result<Response, ApiError> {
    let shown = certificates::view_chain(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(data(&params, &shown.name, "certificate", &shown.chain))
}

async fn view_private_key(
    State(ctx): State<Arc<Context>>,
    Holds(caller, ..): Holds<to::ViewPrivateKey>,
    key: Key,
    params: Params,
) -> Result<Response, ApiError> {
    let (shown, private) = certificates::view_private_key(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(data(&params, &shown.name, "private_key", &private))
}

/// PEM as JSON, or as a file if that is asked for.
fn data(params: &Params, name: &str, what: &str, pem: &str) -> Response {
    if !params.asks("download") {
        return Json(json!({"data": pem})).into_response();
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ' ') { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let mut response = pem.to_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-pem-file"));
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}_{what}.pem\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

pub(super) fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["name", "certificate_data"], partial);
    let fields = Fields {
        name: body.filled_text("name"),
        certificate_data: body.filled_text("certificate_data"),
        key_data: body.text("key_data").map(Zeroizing::new),
    };
    body.finish()?;
    Ok(fields)
}

pub(super) fn object(certificate: &Certificate) -> Value {
    let download = |what: &str| format!("{BASE}{PATH}{}/{what}/?download", certificate.pk);
    json!({
        "pk": certificate.pk,
        "name": certificate.name,
        "fingerprint_sha256": certificate.fingerprint_sha256,
        "fingerprint_sha1": certificate.fingerprint_sha1,
        "cert_expiry": certificate.expires.to_string(),
        "cert_subject": certificate.subject,
        "private_key_available": certificate.private_key_sealed.is_some(),
        "key_type": certificate.key_type,
        "certificate_download_url": download("view_certificate"),
        "private_key_download_url": download("view_private_key"),
        "managed": certificate.managed,
    })
}
