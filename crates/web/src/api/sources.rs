//! `sources/all/` (CO-566): the built-in source, which cannot be deleted.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use portcullis_idp::Context;
use portcullis_idp::list::search_terms;
use portcullis_idp::sources::{self, Source};
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, no_content};
use super::caller::{Admin, Key};
use super::params::Params;

type Ctx = State<Arc<Context>>;

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/sources/all/", get(list))
        .route("/sources/all/types/", get(types))
        .route("/sources/all/{slug}/", get(retrieve).delete(remove))
}

async fn list(State(ctx): Ctx, Admin(caller): Admin, mut params: Params) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let pk: Option<uuid::Uuid> = params.uuid("pbm_uuid");
    let search = params.search();
    params.finish()?;
    let mut found = sources::all(&ctx, &caller.actor)?;
    let is = |name: &str, value: &str| params.text(name).is_none_or(|wanted| wanted == value);
    let has = |text: &str, term: &str| text.to_lowercase().contains(&term.to_lowercase());
    found.retain(|source| {
        is("name", source.name)
            && is("slug", source.slug)
            && is("managed", source.managed)
            && pk.is_none_or(|pk| pk == source.pk)
            && search_terms(&search).all(|term| has(source.name, term) || has(source.slug, term))
    });
    let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let offset = usize::try_from(paging.slice().offset).unwrap_or(usize::MAX);
    paging.answer(count, found.iter().skip(offset).map(object).collect())
}

async fn retrieve(State(ctx): Ctx, Admin(caller): Admin, Key(slug): Key) -> Result<Json<Value>, ApiError> {
    Ok(Json(object(&sources::get(&ctx, &caller.actor, &slug)?)))
}

async fn remove(State(ctx): Ctx, Admin(caller): Admin, Key(slug): Key) -> Result<Response, ApiError> {
    sources::delete(&ctx, &caller.actor, &slug)?;
    Ok(no_content())
}

/// No kind of source can be made.
async fn types(_: Admin) -> Json<Value> {
    Json(json!([]))
}

fn object(source: &Source) -> Value {
    json!({
        "pk": source.pk,
        "name": source.name,
        "slug": source.slug,
        "enabled": true,
        "promoted": false,
        "authentication_flow": null,
        "enrollment_flow": null,
        "user_property_mappings": [],
        "group_property_mappings": [],
        "component": "",
        "verbose_name": "source",
        "verbose_name_plural": "sources",
        "meta_model_name": "authentik_core.source",
        "policy_engine_mode": "any",
        "user_matching_mode": "identifier",
        "managed": source.managed,
        "user_path_template": "goauthentik.io/sources/%(slug)s",
        "icon": "",
        "icon_url": null,
        "icon_themed_urls": null,
    })
}
