//! Files of the watched folder, one by one: read where nothing waits for a disk, and before a transaction begins.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use portcullis_idp::blueprints::{self, Filter, Names, View};
use portcullis_idp::list::Slice;
use portcullis_idp::{Actor, Context, Error};

use super::apply::Document;
use super::folder::{self, Found};

/// The blueprint in the folder at this path, if there is one.
pub(super) async fn file(ctx: &Context, path: &str) -> Option<Found> {
    let (folder, path) = (ctx.blueprints.folder.clone()?, path.to_owned());
    let read = move || folder::one(&folder, Path::new(&path));
    tokio::task::spawn_blocking(read).await.ok().flatten()
}

/// All blueprints in the folder, by path.
pub(super) async fn all(ctx: &Context) -> Vec<Found> {
    let Some(folder) = ctx.blueprints.folder.clone() else { return Vec::new() };
    tokio::task::spawn_blocking(move || folder::found(&folder)).await.unwrap_or_default()
}

/// What is applied for an instance: its own text, or that of its file.
///
/// # Errors
/// In words, when there is no such file any more.
pub(super) async fn document(ctx: &Context, view: &View, within: Duration) -> Result<Document, String> {
    Files::default().document(ctx, view, within).await
}

/// Texts of files that were read, by path. Both runs of an application see the same.
#[derive(Default)]
pub(super) struct Files(HashMap<String, Option<String>>);

impl Files {
    /// Reads what a document may lead to, before a transaction begins.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn read_before(&mut self, ctx: &Context, actor: &Actor, document: &Document) -> Result<(), Error> {
        if ctx.blueprints.folder.is_none() || !document.text.to_lowercase().contains("metaapplyblueprint") {
            return Ok(());
        }
        let known = blueprints::list(ctx, actor, &Filter::default(), Slice::ALL).await?;
        for view in known.rows.iter().filter(|view| !view.blueprint.path.is_empty()) {
            self.text(ctx, &view.blueprint.path).await;
        }
        Ok(())
    }

    /// What is applied for an instance. An instance that came with the document itself has its file read only now.
    ///
    /// # Errors
    /// In words, when there is no such file any more.
    pub(super) async fn document(&mut self, ctx: &Context, view: &View, within: Duration) -> Result<Document, String> {
        let blueprint = &view.blueprint;
        let (text, names) = if blueprint.path.is_empty() {
            (view.content.clone(), Names::ForBlueprints)
        } else {
            let text = self.text(ctx, &blueprint.path).await;
            let missing = || format!("There is no file '{}' in the folder of blueprints.", blueprint.path);
            (text.ok_or_else(missing)?, Names::AllButOurs)
        };
        let name = blueprint.name.clone();
        Ok(Document {
            name,
            text,
            context: view.context.clone(),
            names,
            instance: Some(blueprint.pk),
            within,
            takes_over: false,
        })
    }

    async fn text(&mut self, ctx: &Context, path: &str) -> Option<String> {
        if let Some(known) = self.0.get(path) {
            return known.clone();
        }
        let text = file(ctx, path).await.map(|file| file.text);
        self.0.insert(path.to_owned(), text.clone());
        text
    }
}
