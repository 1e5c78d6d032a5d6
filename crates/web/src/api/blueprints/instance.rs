//! Instances as the API shows and reads them (schema `BlueprintInstance`).

use portcullis_blueprint::Blueprint;
use portcullis_idp::Context;
use portcullis_idp::blueprints::{Fields, View};
use serde_json::{Value, json};

use super::files;
use super::folder::{self, Found};
use super::model::Model;
use super::run::{APPLY, SKIP};
use crate::api::answer::ApiError;
use crate::api::body::Body;

/// An instance.
pub(super) fn object(view: &View) -> Value {
    let blueprint = &view.blueprint;
    json!({
        "pk": blueprint.pk,
        "name": blueprint.name,
        "path": blueprint.path,
        "context": view.context,
        "last_applied": blueprint.last_applied.to_string(),
        "last_applied_hash": blueprint.last_applied_hash,
        "status": blueprint.status,
        "enabled": blueprint.enabled,
        "managed_models": blueprint.managed_models,
        "metadata": blueprint.metadata,
        "content": view.content,
    })
}

/// What is to be stored of an instance. A text is read before it is kept, unless it is the one that is `known`, and a path
/// must be of a file that is there (CO-734).
///
/// # Errors
/// [`ApiError::Invalid`] by field.
pub(super) async fn read(
    ctx: &Context,
    body: &mut Body,
    known: Option<&str>,
    partial: bool,
) -> Result<Fields, ApiError> {
    let path = body.iter().find(|(field, _)| *field == "path").and_then(|(_, path)| path.as_str()).map(str::trim);
    let file = match path.filter(|path| !path.is_empty()).map(str::to_owned) {
        Some(path) => files::file(ctx, &path).await,
        None => None,
    };
    fields(file, body, known, partial)
}

/// As [`read`], with the file that the path names.
pub(super) fn fields(
    file: Option<Found>,
    body: &mut Body,
    known: Option<&str>,
    partial: bool,
) -> Result<Fields, ApiError> {
    body.require(&["name"], partial);
    let mut fields = Fields {
        name: body.filled_text("name"),
        path: body.text("path"),
        content: body.exact_text("content"),
        context: body.json("context"),
        enabled: body.flag("enabled"),
        metadata: None,
    };
    if let Some(path) = fields.path.as_ref().filter(|path| !path.is_empty()) {
        match file.filter(|file| file.path == *path) {
            _ if path.starts_with("oci://") => body.problem("path", "Blueprints of registries are not supported."),
            Some(file) => fields.metadata = file.metadata.as_ref().map(folder::metadata_json),
            None => body.problem("path", "Blueprint file does not exist"),
        }
    }
    let is_new = |content: &&String| !content.is_empty() && known != Some(content.as_str());
    if let Some(content) = fields.content.as_ref().filter(is_new) {
        match Blueprint::read(content) {
            Ok(blueprint) => {
                if let Some(unknown) = unknown_model(&blueprint) {
                    body.problem("content", "Failed to validate blueprint");
                    body.problem("content", format!("- {unknown}"));
                }
                fields.metadata = Some(folder::metadata_json(&blueprint.metadata));
            }
            Err(fault) => {
                body.problem("content", "Failed to validate blueprint");
                body.problem("content", format!("- {fault}"));
            }
        }
    }
    body.finish()?;
    // Whoever sends the one means that it takes the place of the other.
    match (&fields.path, &fields.content) {
        (Some(path), None) if !path.is_empty() => fields.content = Some(String::new()),
        (None, Some(content)) if !content.is_empty() => fields.path = Some(String::new()),
        _ => {}
    }
    Ok(fields)
}

/// The first entry that can never be applied because nobody knows its model, unless such entries are left out (CO-731).
fn unknown_model(blueprint: &Blueprint) -> Option<String> {
    let skips = blueprint.metadata.label(SKIP) == Some("true");
    let mut entries = blueprint.entries.iter().enumerate().filter(|(_, entry)| !skips && !entry.is_conditional());
    entries.find_map(|(index, entry)| {
        let model = entry.model_text()?.to_lowercase();
        let is_known = model == APPLY || Model::parse(&model).is_some();
        (!is_known).then(|| format!("entry {} ({model}), line {}: This model is not known.", index + 1, entry.line))
    })
}
