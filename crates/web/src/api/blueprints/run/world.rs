//! What tags ask in the middle of a pass: about other objects, the environment, files.

use portcullis_blueprint::{Answer, World};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::apply::Refused;
use super::super::matching::first;
use super::super::model::Model;
use super::Run;

/// From how many bytes on what a tag has read is kept out of errors: shorter ones are no secrets.
const SHORTEST_SECRET: usize = 4;

impl World for Run<'_, '_> {
    fn key_of(&self, id: &str) -> Option<Value> {
        self.frames.last()?.keys.get(id).cloned()
    }

    fn find<'w>(&'w mut self, model: &'w str, conditions: &'w [(String, Value)]) -> Answer<'w, Value> {
        Box::pin(async move {
            let model = find_model(model)?;
            let found = self.first(model, conditions).await?;
            Ok(found.map(|object| model.key(&object)).unwrap_or_default())
        })
    }

    fn find_object<'w>(&'w mut self, model: &'w str, conditions: &'w [(String, Value)]) -> Answer<'w, Value> {
        Box::pin(async move {
            let model = find_model(model)?;
            let Some(found) = self.first(model, conditions).await? else { return Ok(json!(null)) };
            let shown = model.without_secrets(self.change, found).await;
            shown.map_err(|error| self.words(Refused::of_error(error)))
        })
    }

    fn env(&mut self, name: &str) -> Result<Option<String>, String> {
        let value = self.change.context().blueprints.variable(self.names(), name)?;
        self.has_read(value.as_deref());
        Ok(value)
    }

    fn file(&mut self, path: &str) -> Result<Option<String>, String> {
        let content = self.change.context().blueprints.file(self.names(), path)?;
        self.has_read(content.as_deref());
        Ok(content)
    }

    fn came_to_nothing(&mut self, line: usize, tag: &'static str) {
        self.nothing.push((line, tag));
    }
}

impl Run<'_, '_> {
    async fn first(&mut self, model: Model, conditions: &[(String, Value)]) -> Result<Option<Value>, String> {
        // Tags may look often within one entry.
        self.in_time().map_err(|refused| self.words(refused))?;
        let found = first(self.change, model, conditions).await;
        found.map_err(|error| self.words(Refused::of_error(error)))
    }

    /// Keeps why a tag could not be worked out, as far as it is more than words.
    fn words(&mut self, refused: Refused) -> String {
        let words = refused.message.clone();
        self.broken = Some(refused);
        words
    }

    fn has_read(&mut self, text: Option<&str>) {
        let Some(text) = text.map(str::trim).filter(|text| text.len() >= SHORTEST_SECRET) else { return };
        if !self.read.iter().any(|known| known.as_str() == text) {
            self.read.push(Zeroizing::new(text.to_owned()));
        }
    }
}

fn find_model(name: &str) -> Result<Model, String> {
    Model::parse(&name.to_lowercase()).ok_or_else(|| "There is no such model to look for.".to_owned())
}
