//! Mappings (CO-280 … CO-285).

use std::sync::Arc;

use portcullis_expr::{Inputs, Limits, Object, Situation, Source, Token, Value};
use serde_json::{Map, Value as Json};

use super::answers::World;
use super::asking::Start;
use super::{Engine, objects, unread};
use crate::context::Context;
use crate::mappings::engine::{About, MappingEngine, Outcome, Question, Said};
use crate::policies::{self, Calls, Noted, PolicyRequest};

/// The engine as mappings know it.
pub struct ForMappings(pub Arc<Engine>);

impl MappingEngine for ForMappings {
    fn check(&self, expression: &str) -> Result<(), String> {
        self.0.compiled(expression, Situation::Mapping).map(drop)
    }

    fn calls(&self, expression: &str) -> Calls {
        self.0.compiled(expression, Situation::Mapping).into()
    }

    fn evaluate<'a>(&'a self, ctx: &'a Context, question: &'a Question<'a>) -> Outcome<'a> {
        Box::pin(async move {
            let program = self.0.compiled(question.expression, Situation::Mapping)?;
            let request = request(ctx, question);
            let kept = match &question.about {
                About::Token { provider, .. } => provider.used_attributes(),
                About::Source { .. } | About::Test { .. } => Vec::new(),
            };
            let world = World::new(ctx, &request).keeping(&kept);
            let start = world.start(question.mapping, &program).await.map_err(|error| unread(&error).to_owned())?;
            let start = Start { inputs: inputs(question, start.inputs), ..start };
            let said = self.0.run(world, program, Situation::Mapping, start, Limits::for_mappings()).await?;
            for line in &said.log_lines {
                tracing::debug!(mapping = question.mapping, level = line.level.as_str(), "{}", line.message);
            }
            let noted = |event: portcullis_expr::CustomEvent| Noted {
                action: event.action,
                context: Json::Object(event.context),
            };
            Ok(Said { value: said.value, events: said.events.into_iter().map(noted).collect() })
        })
    }
}

/// What policies that the mapping calls are asked; it is also what the mapping finds as `request`.
fn request(ctx: &Context, question: &Question<'_>) -> PolicyRequest {
    let visitor = question.visitor;
    let (mut sender, mut explained) = (visitor.sender.clone(), visitor.explained);
    let (person, provider, application, context, debug) = match &question.about {
        About::Token { person, provider, application, .. } => {
            (Some(*person), Some(*provider), *application, Map::new(), false)
        }
        About::Source { .. } => (None, None, None, Map::new(), false),
        About::Test { person, context, sender: by } => {
            (sender, explained) = (by.cloned().map(Arc::new), true);
            (*person, None, None, (*context).clone(), true)
        }
    };
    PolicyRequest {
        person: person.cloned().map(Arc::new),
        application: application.cloned().map(Arc::new),
        provider: provider.cloned().map(Arc::new),
        client: Some(visitor.client),
        flow: None,
        http: visitor.http.clone(),
        sender,
        explained,
        request: visitor.request.clone(),
        context: policies::context(ctx, Some(visitor.client), &context),
        debug,
        callers: Vec::new(),
    }
}

/// What mappings find besides.
fn inputs(question: &Question<'_>, mut inputs: Inputs) -> Inputs {
    // The target of a policy is none of a mapping.
    inputs.obj = Value::None;
    match &question.about {
        About::Token { provider, application, token, .. } => {
            inputs.provider = Some(Arc::new(objects::provider(provider, *application)));
            inputs.token = Some(Arc::new(Token {
                scope: token.scopes.to_vec(),
                expires: objects::instant(token.expires),
                auth_time: objects::instant(token.auth_time),
                session: token.session,
            }));
        }
        About::Source { source, claims, properties } => {
            let claims = Value::from(Json::Object((*claims).clone()));
            let source = Source { pk: source.pk.to_string(), name: source.name.clone(), slug: source.slug.clone() };
            inputs.of_source = vec![
                ("info".to_owned(), claims.clone()),
                ("oauth_userinfo".to_owned(), claims),
                ("properties".to_owned(), Value::from(Json::Object((*properties).clone()))),
                ("source".to_owned(), Object::Source(Arc::new(source)).into()),
            ];
        }
        About::Test { context, .. } => {
            // A source's mapping is tried out with what it would find.
            let given = context.iter().filter(|(key, _)| Inputs::OF_SOURCES.contains(&key.as_str()));
            inputs.of_source = given.map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect();
        }
    }
    inputs
}
