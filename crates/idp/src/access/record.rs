//! What policies that were asked leave in the record (CO-178, CO-243).

use portcullis_core::id::BindingId;
use portcullis_store::Conn;
use portcullis_store::application::Application;
use portcullis_store::event::Event;
use serde_json::{Value, json};

use super::{AccessContext, Found};
use crate::context::{Actor, Context};
use crate::directory::{Person, actor_of};
use crate::error::Error;
use crate::event;
use crate::policies::PolicyRequest;

/// Something to be recorded.
struct Entry {
    app: String,
    action: String,
    context: Value,
}

/// Records it in a transaction of its own, if there is anything.
pub(super) async fn alone(
    ctx: &Context,
    person: &Person,
    application: &Application,
    context: &AccessContext,
    found: &[Found],
) -> Result<(), Error> {
    let entries = entries(person, application, context, found);
    if entries.is_empty() {
        return Ok(());
    }
    let mut tx = ctx.db.write().await?;
    let recorded = record(ctx, &mut tx, &actor(person, context), entries).await?;
    tx.commit().await?;
    recorded.iter().for_each(event::log);
    Ok(())
}

/// Records it in a transaction that there is already: whoever waited for another one would wait for ever.
pub(super) async fn within(
    ctx: &Context,
    conn: &mut Conn,
    person: &Person,
    application: &Application,
    context: &AccessContext,
    found: &[Found],
) -> Result<(), Error> {
    let entries = entries(person, application, context, found);
    let recorded = record(ctx, conn, &actor(person, context), entries).await?;
    recorded.iter().for_each(event::log);
    Ok(())
}

async fn record(ctx: &Context, conn: &mut Conn, actor: &Actor, entries: Vec<Entry>) -> Result<Vec<Event>, Error> {
    let mut recorded = Vec::with_capacity(entries.len());
    for Entry { app, action, context } in entries {
        recorded.push(event::record_of(ctx, conn, actor, &app, &action, context).await?);
    }
    Ok(recorded)
}

fn actor(person: &Person, context: &AccessContext) -> Actor {
    Actor { client: context.client, request: context.request.clone(), ..actor_of(person) }
}

fn entries(person: &Person, application: &Application, context: &AccessContext, found: &[Found]) -> Vec<Entry> {
    let worth_telling = |found: &&Found| {
        found.execution_logging || found.answer.as_ref().map_or(true, |outcome| !outcome.events.is_empty())
    };
    if !found.iter().any(|found| worth_telling(&found)) {
        return Vec::new();
    }
    let request = PolicyRequest {
        person: Some(std::sync::Arc::new(person.clone())),
        application: Some(std::sync::Arc::new(application.clone())),
        provider: None,
        client: context.client,
        http: None,
        request: context.request.clone(),
        context: context.entries.clone(),
        debug: false,
        callers: Vec::new(),
    }
    .summary();
    found.iter().flat_map(|found| entries_of(found, &request)).collect()
}

fn entries_of(found: &Found, request: &Value) -> Vec<Entry> {
    let mut entries = Vec::new();
    let about = |found: &Found| {
        json!({"policy_uuid": hex_of(found.policy), "policy_name": found.name, "binding": named(found.binding),
            "request": request})
    };
    let mut add = |action: &str, key: &str, value: Value| {
        let mut context = about(found);
        context[key] = value;
        entries.push(Entry { app: "portcullis".to_owned(), action: action.to_owned(), context });
    };
    if found.execution_logging {
        let result = match &found.answer {
            Ok(outcome) => json!({"passing": outcome.passing, "messages": outcome.messages, "raw_result": outcome.raw}),
            Err(failure) => json!({"passing": found.failure_result, "messages": [failure.message], "raw_result": null}),
        };
        add("policy_execution", "result", result);
    }
    match &found.answer {
        Err(failure) => {
            add("policy_exception", "message", json!(failure.message));
        }
        Ok(outcome) => entries.extend(outcome.events.iter().map(|noted| Entry {
            app: found.name.clone(),
            action: noted.action.clone(),
            context: noted.context.clone(),
        })),
    }
    entries
}

fn hex_of(key: impl ToString) -> String {
    key.to_string().replace('-', "")
}

fn named(binding: BindingId) -> Value {
    event::model("authentik_policies", "policybinding", binding, "")
}
