//! `core/brands/` and `core/brands/current/` (CO-502 … CO-505, CO-556).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::Response;
use axum::routing::get;
use portcullis_core::id::BrandId;
use portcullis_core::origin::Origin;
use portcullis_core::permission::Model;
use portcullis_idp::brands::{self, Current, Fields, Filter, FlowFields, Flows, Order, View};
use portcullis_idp::settings::{self, FooterLink};
use portcullis_idp::{Context, Error};
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::Key;
use super::needs::{MayAdd, MayChange, MayDelete, MayView, on};
use super::params::Params;
use crate::assets;

type Ctx = State<Arc<Context>>;

const ORDERS: [(&str, Order); 16] = [
    ("brand_uuid", Order::Pk),
    ("domain", Order::Domain),
    ("default", Order::Default),
    ("branding_title", Order::Title),
    ("branding_logo", Order::Logo),
    ("branding_favicon", Order::Favicon),
    ("branding_custom_css", Order::CustomCss),
    ("branding_default_flow_background", Order::FlowBackground),
    ("flow_authentication", Order::FlowAuthentication),
    ("flow_invalidation", Order::FlowInvalidation),
    ("flow_recovery", Order::FlowRecovery),
    ("flow_unenrollment", Order::FlowUnenrollment),
    ("flow_user_settings", Order::FlowUserSettings),
    ("flow_device_code", Order::FlowDeviceCode),
    ("default_application", Order::DefaultApplication),
    ("web_certificate", Order::WebCertificate),
];

/// The routes of the resource. The current brand is public (CO-505).
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/core/brands/", get(list).post(create))
        .route("/core/brands/current/", get(current))
        .route("/core/brands/{brand_uuid}/", get(retrieve).put(replace).patch(change).delete(remove))
}

async fn list(
    State(ctx): Ctx,
    MayView(caller, ..): MayView<on::Brand>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        pk: params.uuid("brand_uuid"),
        domain: params.text("domain"),
        is_default: params.flag("default"),
        title: params.text("branding_title"),
        web_certificate: params.uuid("web_certificate"),
        flows: Flows {
            authentication: params.uuid("flow_authentication"),
            invalidation: params.uuid("flow_invalidation"),
            recovery: params.uuid("flow_recovery"),
            unenrollment: params.uuid("flow_unenrollment"),
            user_settings: params.uuid("flow_user_settings"),
            device_code: params.uuid("flow_device_code"),
        },
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Domain, false)]),
    };
    params.finish()?;
    let found = brands::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(object).collect())
}

async fn retrieve(State(ctx): Ctx, MayView(caller, ..): MayView<on::Brand>, key: Key) -> Result<Json<Value>, ApiError> {
    Ok(Json(object(&brands::get(&ctx, &caller.actor, pk(&key)?).await?)))
}

async fn create(State(ctx): Ctx, MayAdd(caller, ..): MayAdd<on::Brand>, mut body: Body) -> Result<Response, ApiError> {
    let made = brands::create(&ctx, &caller.actor, fields(&mut body, false)?).await?;
    let maker = caller.actor.maker_of(Model::BRAND, &made);
    Ok(created(object(&brands::get(&ctx, &maker, made).await?)))
}

async fn replace(ctx: Ctx, may: MayChange<on::Brand>, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, may, &key, body, false).await
}

async fn change(ctx: Ctx, may: MayChange<on::Brand>, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, may, &key, body, true).await
}

async fn update(
    State(ctx): Ctx,
    MayChange(caller, ..): MayChange<on::Brand>,
    key: &Key,
    mut body: Body,
    partial: bool,
) -> Result<Json<Value>, ApiError> {
    let pk = pk(key)?;
    // Whether it exists comes before what is wrong with the body.
    brands::get(&ctx, &caller.actor, pk).await?;
    brands::update(&ctx, &caller.actor, pk, fields(&mut body, partial)?).await?;
    Ok(Json(object(&brands::get(&ctx, &caller.actor, pk).await?)))
}

async fn remove(State(ctx): Ctx, MayDelete(caller, ..): MayDelete<on::Brand>, key: Key) -> Result<Response, ApiError> {
    brands::delete(&ctx, &caller.actor, pk(&key)?).await?;
    Ok(no_content())
}

fn pk(key: &Key) -> Result<BrandId, ApiError> {
    key.parse("Brand")
}

pub(super) fn fields(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["domain"], partial);
    let fields = Fields {
        domain: body.filled_text("domain"),
        is_default: body.flag("default"),
        title: body.text("branding_title"),
        logo: body.text("branding_logo"),
        favicon: body.text("branding_favicon"),
        custom_css: body.text("branding_custom_css"),
        flow_background: body.text("branding_default_flow_background"),
        flows: FlowFields {
            authentication: body.uuid_or_null("flow_authentication"),
            invalidation: body.uuid_or_null("flow_invalidation"),
            recovery: body.uuid_or_null("flow_recovery"),
            unenrollment: body.uuid_or_null("flow_unenrollment"),
            user_settings: body.uuid_or_null("flow_user_settings"),
            device_code: body.uuid_or_null("flow_device_code"),
        },
        default_application: body.uuid_or_null("default_application"),
        web_certificate: body.uuid_or_null("web_certificate"),
        client_certificates: body.uuids("client_certificates"),
        attributes: body.json("attributes"),
    };
    body.finish()?;
    Ok(fields)
}

pub(super) fn object(view: &View) -> Value {
    let brand = &view.brand;
    json!({
        "brand_uuid": brand.pk,
        "domain": brand.domain,
        "default": brand.is_default,
        "branding_title": brand.title,
        "branding_logo": brand.logo,
        "branding_favicon": brand.favicon,
        "branding_custom_css": brand.custom_css,
        "branding_default_flow_background": brand.flow_background,
        "flow_authentication": brand.flows.authentication,
        "flow_invalidation": brand.flows.invalidation,
        "flow_recovery": brand.flows.recovery,
        "flow_unenrollment": brand.flows.unenrollment,
        "flow_user_settings": brand.flows.user_settings,
        "flow_device_code": brand.flows.device_code,
        "default_application": brand.default_application,
        "web_certificate": brand.web_certificate,
        "client_certificates": view.client_certificates,
        "attributes": view.attributes,
    })
}

async fn current(State(ctx): Ctx, Extension(origin): Extension<Arc<Origin>>) -> Result<Json<Value>, ApiError> {
    let mut conn = ctx.db.read().await.map_err(Error::from)?;
    let current = brands::current(&ctx, &mut conn, &origin.host).await?;
    let links = settings::footer_links(&mut conn).await?;
    let flags = settings::shown_flags(&mut conn).await?;
    Ok(Json(current_json(&current, &links, &flags)))
}

/// Keys of flows that the brand does not have are left out.
fn current_json(current: &Current, links: &[FooterLink], flags: &Value) -> Value {
    let brand = &current.brand;
    let or_ours = |picture: &str| if picture.is_empty() { assets::ICON.href() } else { picture.to_owned() };
    let links: Vec<_> = links.iter().map(|link| json!({"name": link.name, "href": link.href})).collect();
    let mut shown = json!({
        "matched_domain": brand.domain,
        "branding_title": brand.title,
        "branding_logo": or_ours(&brand.logo),
        "branding_logo_themed_urls": null,
        "branding_favicon": or_ours(&brand.favicon),
        "branding_favicon_themed_urls": null,
        "branding_custom_css": brand.custom_css,
        "branding_map_tiles": "",
        "ui_footer_links": links,
        "ui_theme": current.theme,
        "default_locale": current.locale,
        "flags": flags,
    });
    if let Some(shown) = shown.as_object_mut() {
        shown.extend(current.flows.iter().map(|(purpose, slug)| ((*purpose).to_owned(), json!(slug))));
    }
    shown
}
