//! What policies that were asked leave in the record (CO-178, CO-243).

use portcullis_store::Conn;
use portcullis_store::event::Event;
use serde_json::{Map, Value, json};

use super::{AccessContext, Case, Found};
use crate::context::{Actor, Context};
use crate::directory::{Person, actor_of};
use crate::error::Error;
use crate::event;
use crate::policies::summary;

/// Something to be recorded.
struct Entry {
    app: String,
    action: String,
    context: Value,
}

/// Records it in a transaction of its own, if there is anything.
pub(super) async fn alone(ctx: &Context, case: &Case<'_>, context: &AccessContext) -> Result<(), Error> {
    let entries = entries(case, context);
    if entries.is_empty() {
        return Ok(());
    }
    let mut tx = ctx.db.write().await?;
    let recorded = record(ctx, &mut tx, &actor(case.person, context), entries).await?;
    tx.commit().await?;
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

fn actor(person: Option<&Person>, context: &AccessContext) -> Actor {
    let nobody = || Actor { username: String::new(), is_superuser: false, ..Actor::system() };
    let who = person.map_or_else(nobody, actor_of);
    Actor { client: context.client, request: context.request.clone(), ..who }
}

fn entries(case: &Case<'_>, context: &AccessContext) -> Vec<Entry> {
    // Most policies leave nothing behind.
    if case.found.iter().all(Found::is_quiet) {
        return Vec::new();
    }
    let request = summary(case.person, case.application, &context.entries);
    case.found.iter().flat_map(|found| entries_of(found, &request)).collect()
}

impl Found {
    fn is_quiet(&self) -> bool {
        !self.execution_logging && self.answer.as_ref().is_ok_and(|outcome| outcome.events.is_empty())
    }
}

fn entries_of(found: &Found, request: &Value) -> Vec<Entry> {
    let entry = |action: &str, said: Value| {
        let mut context = Map::new();
        context.insert("policy_uuid".to_owned(), json!(found.policy.to_string().replace('-', "")));
        context.insert("policy_name".to_owned(), json!(found.name));
        let binding = event::model("authentik_policies", "policybinding", found.binding, "");
        context.insert("binding".to_owned(), binding);
        context.insert("request".to_owned(), request.clone());
        if let Value::Object(said) = said {
            context.extend(said);
        }
        Entry { app: "portcullis".to_owned(), action: action.to_owned(), context: Value::Object(context) }
    };
    let mut entries = Vec::new();
    if found.execution_logging {
        let result = match &found.answer {
            Ok(outcome) => json!({"passing": outcome.passing, "messages": outcome.messages, "raw_result": outcome.raw}),
            Err(failure) => json!({"passing": found.failure_result, "messages": [failure.message], "raw_result": null}),
        };
        entries.push(entry("policy_execution", json!({"result": result})));
    }
    match &found.answer {
        Err(failure) => {
            let said = json!({"message": event::in_one_line(&failure.message), "exception": failure.message});
            entries.push(entry("policy_exception", said));
        }
        Ok(outcome) => entries.extend(outcome.events.iter().map(|noted| Entry {
            app: found.name.clone(),
            action: noted.action.clone(),
            context: noted.context.clone(),
        })),
    }
    entries
}
