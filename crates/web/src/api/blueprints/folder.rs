//! The watched folder: blueprints of its files are found, kept, and applied when they change (CO-733).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use portcullis_blueprint::{Blueprint, MAX_BYTES, Metadata};
use portcullis_core::clock::Timestamp;
use portcullis_idp::blueprints::{self, Fields, Outcome, View};
use portcullis_idp::{Actor, Change, Context, Error};
use serde_json::{Map, Value, json};

use super::apply::{Audience, BY_API, Cause, Document, Refused, apply, record};
use super::files;

const INSTANTIATE: &str = "blueprints.goauthentik.io/instantiate";
/// Most files of the folder that are looked at, and how deep.
const MOST_FILES: usize = 10_000;
const DEEPEST: usize = 16;

/// A file of the folder.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Relative to the folder.
    pub(super) path: String,
    /// When it was last changed.
    pub(super) changed: Timestamp,
    pub(super) text: String,
    pub(super) hash: String,
    /// What it says of itself, if it can be read at all.
    pub(super) metadata: Option<Metadata>,
}

/// The blueprints in the folder, by path. Files and folders with a dot in front are not.
pub(super) fn found(folder: &Path) -> Vec<Found> {
    let mut paths = Vec::new();
    walk(folder, 0, &mut paths);
    paths.sort();
    paths.iter().filter_map(|path| one(folder, path.strip_prefix(folder).ok()?)).collect()
}

fn walk(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if name.as_encoded_bytes().starts_with(b".") || paths.len() >= MOST_FILES {
            continue;
        }
        if path.is_dir() && depth < DEEPEST {
            walk(&path, depth + 1, paths);
        } else if path.extension().is_some_and(|end| end == "yaml") && path.is_file() {
            paths.push(path);
        }
    }
}

/// The blueprint at a path relative to the folder, if blueprints may be there: as deep and as named as those that are
/// found.
pub(super) fn one(folder: &Path, relative: &Path) -> Option<Found> {
    let name = relative.to_str()?;
    let parts: Vec<_> = name.split('/').collect();
    let is_plain = parts.iter().all(|part| !part.is_empty() && !part.starts_with('.'));
    if !is_plain || parts.len() > DEEPEST + 1 || relative.extension().is_none_or(|end| end != "yaml") {
        return None;
    }
    let path = folder.join(relative);
    let of = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    if of.len() > u64::try_from(MAX_BYTES).unwrap_or(u64::MAX) {
        tracing::warn!(path = %path.display(), "a blueprint is too long");
        return None;
    }
    let text = std::fs::read_to_string(&path).ok()?;
    let age = of.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Found {
        path: name.to_owned(),
        changed: Timestamp(i64::try_from(age.as_micros()).unwrap_or_default()),
        hash: blueprints::hash(&text),
        metadata: Blueprint::read(&text).ok().map(|blueprint| blueprint.metadata),
        text,
    })
}

/// Nothing stands for a file that is no blueprint, so that the log alone can tell.
fn warn_of_text(file: &Found) {
    if let Err(fault) = Blueprint::read(&file.text) {
        tracing::warn!(path = file.path, refused = %Refused::of_text(fault), "a file of the folder is no blueprint");
    }
}

/// What a blueprint says of itself, as the API shows it.
pub(super) fn metadata_json(metadata: &Metadata) -> Value {
    let labels: Map<String, Value> =
        metadata.labels.iter().map(|(key, text)| (key.clone(), Value::from(text.as_str()))).collect();
    json!({"name": metadata.name, "labels": labels})
}

/// Applies an instance for somebody, and remembers what came of it. Whether that went well is what the instance says.
///
/// # Errors
/// When the store fails.
pub(super) async fn apply_instance(ctx: &Context, actor: &Actor, view: &View) -> Result<(), Error> {
    match files::document(ctx, view, BY_API).await {
        Ok(document) => {
            // A refusal is kept with the instance, and logged.
            drop(apply(ctx, actor, &document, Audience::Ourselves).await);
            Ok(())
        }
        Err(_) => {
            let outcome = Outcome { status: "orphaned", models: None, hash: None };
            record(ctx, actor, view.blueprint.pk, &outcome).await
        }
    }
}

/// Looks after the folder.
#[derive(Debug, Default)]
pub struct Watch {
    /// Texts that were seen, by path: an instance that somebody deletes comes back when its file changes. Nothing before
    /// the first look.
    seen: Option<HashMap<String, String>>,
    /// Texts that could not be applied: tried again when something else could be.
    failed: HashMap<String, String>,
    /// Whether the store has failed at one, which may be right: tried again at the next look.
    unfinished: bool,
}

impl Watch {
    /// Looks once: keeps instances of new files, and applies those whose text is another than what was last applied.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look(&mut self, ctx: &Context) -> Result<(), Error> {
        if ctx.blueprints.folder.is_none() {
            return Ok(());
        }
        let files = files::all(ctx).await;
        let seen = files.iter().map(|file| (file.path.clone(), file.hash.clone())).collect();
        if self.seen.as_ref() == Some(&seen) && !self.unfinished {
            return Ok(());
        }
        self.unfinished = false;
        let done = self.follow(ctx, &files).await;
        // What the store has failed at is tried again.
        match &done {
            Ok(()) => self.seen = Some(seen),
            Err(_) => self.unfinished = true,
        }
        done
    }

    async fn follow(&mut self, ctx: &Context, files: &[Found]) -> Result<(), Error> {
        self.keep(ctx, files).await?;
        while self.apply_changed(ctx, files).await? && !self.failed.is_empty() {
            // What was missing may be there now.
            self.failed.clear();
        }
        Ok(())
    }

    fn note(&mut self, file: &Found, refused: &Refused) {
        match refused.cause {
            Cause::Passing => self.unfinished = true,
            Cause::Document | Cause::Time => drop(self.failed.insert(file.path.clone(), file.hash.clone())),
        }
    }

    fn has_seen(&self, file: &Found) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.get(&file.path) == Some(&file.hash))
    }

    async fn keep(&self, ctx: &Context, files: &[Found]) -> Result<(), Error> {
        let system = Actor::system();
        let mut change = Change::begin(ctx, &system).await?;
        let known = blueprints::all_in(&mut change).await?;
        let mut names: Vec<_> = known.iter().map(|view| view.blueprint.name.clone()).collect();
        let mut different = false;
        for file in files {
            let Some(metadata) = &file.metadata else {
                if !self.has_seen(file) {
                    warn_of_text(file);
                }
                continue;
            };
            let instance = known.iter().find(|view| view.blueprint.path == file.path);
            if let Some(instance) = instance {
                if instance.blueprint.metadata != metadata_json(metadata) {
                    let fields = Fields { metadata: Some(metadata_json(metadata)), ..Fields::default() };
                    blueprints::update_in(&mut change, instance.blueprint.pk, fields).await?;
                    different = true;
                }
            } else if metadata.label(INSTANTIATE) != Some("false") && !self.has_seen(file) {
                let taken = metadata.name.is_empty() || names.contains(&metadata.name);
                let name = if taken { &file.path } else { &metadata.name };
                names.push(name.clone());
                let fields = Fields {
                    name: Some(name.clone()),
                    path: Some(file.path.clone()),
                    metadata: Some(metadata_json(metadata)),
                    ..Fields::default()
                };
                match blueprints::create_in(&mut change, fields).await {
                    Ok(_) => different = true,
                    Err(error @ Error::Invalid(_)) => {
                        tracing::warn!(path = file.path, %error, "cannot keep a blueprint")
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let gone = |view: &&View| {
            let blueprint = &view.blueprint;
            let there = files.iter().any(|file| file.path == blueprint.path);
            !blueprint.path.is_empty() && !there && blueprint.status != "orphaned"
        };
        for orphan in known.iter().filter(gone) {
            let outcome = Outcome { status: "orphaned", models: None, hash: None };
            blueprints::record_in(&mut change, orphan.blueprint.pk, &outcome).await?;
            different = true;
        }
        if different { change.commit().await } else { Ok(()) }
    }

    /// Tells whether anything was applied.
    async fn apply_changed(&mut self, ctx: &Context, files: &[Found]) -> Result<bool, Error> {
        let system = Actor::system();
        let mut change = Change::begin(ctx, &system).await?;
        let known = blueprints::all_in(&mut change).await?;
        drop(change);
        let mut applied = false;
        for file in files {
            let meant = known.iter().find(|view| view.blueprint.path == file.path && view.blueprint.enabled);
            let Some(view) = meant else { continue };
            if view.blueprint.last_applied_hash == file.hash || self.failed.get(&file.path) == Some(&file.hash) {
                continue;
            }
            let document = Document {
                context: view.context.clone(),
                instance: Some(view.blueprint.pk),
                ..Document::of_file(&file.path, file.text.clone())
            };
            match apply(ctx, &system, &document, Audience::Ourselves).await {
                Ok(_) => {
                    tracing::info!(path = file.path, "a blueprint was applied");
                    applied = true;
                }
                Err(refused) => self.note(file, &refused),
            }
        }
        Ok(applied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::answer::ApiError;

    /// CO-733: a document that the store could not take is tried again at the next look; one that is wrong is not, until
    /// it changes.
    #[test]
    fn co_733_what_the_store_fails_at_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), "version: 1\nentries: []\n").unwrap();
        let file = one(folder.path(), Path::new("a.yaml")).unwrap();
        let locked = ApiError::Unavailable { why: "locked", cause: "database is locked".to_owned() };
        let mut watch = Watch::default();
        watch.note(&file, &Refused::of_answer(locked));
        assert!(watch.unfinished && watch.failed.is_empty());
        let mut watch = Watch::default();
        watch.note(&file, &Refused::of_answer(ApiError::field("name", "This field is required.")));
        assert!(!watch.unfinished && watch.failed.contains_key("a.yaml"));
    }

    /// CO-733, CO-734: only what is found in the folder can be named: nothing outside of it, hidden, too deep or of
    /// another kind.
    #[test]
    fn co_734_a_path_stays_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("in/a");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::create_dir_all(folder.path().join("in/.b")).unwrap();
        for path in ["out.yaml", "in/a/one.yaml", "in/.b/one.yaml", "in/.one.yaml", "in/a/one.yml"] {
            std::fs::write(folder.path().join(path), "version: 1\nentries: []\n").unwrap();
        }
        std::fs::create_dir_all(inner.join("dir.yaml")).unwrap();
        let inside = folder.path().join("in");
        assert_eq!(one(&inside, Path::new("a/one.yaml")).unwrap().path, "a/one.yaml");
        let outside = folder.path().join("out.yaml");
        for path in [
            "../out.yaml",
            "a/../../out.yaml",
            outside.to_str().unwrap(),
            ".b/one.yaml",
            ".one.yaml",
            "",
            "a//one.yaml",
            "./a/one.yaml",
            "a/one.yml",
            "a/dir.yaml",
            "a/none.yaml",
        ] {
            assert!(one(&inside, Path::new(path)).is_none(), "{path}");
        }
        let found: Vec<_> = found(&inside).into_iter().map(|file| file.path).collect();
        assert_eq!(found, ["a/one.yaml"]);
    }
}
