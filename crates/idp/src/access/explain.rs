//! Why somebody may use an application, or not: what each binding found, for administrators (CO-138, CO-140).

use std::collections::{HashMap, HashSet};

use portcullis_core::id::{GroupId, UserPk};
use portcullis_store::binding::Binding;
use portcullis_store::{Conn, binding};
use serde_json::{Value, json};

use super::{Found, Judged, holds_membership};
use crate::context::Context;
use crate::directory::Person;
use crate::error::Error;
use crate::policies::LogLine;

const LOGGER: &str = "portcullis.access";
const PASSES: &str = "passes";
const FAILS: &str = "does not pass";

/// A line for each binding in the order of evaluation, after what its policy wrote, and one for the whole.
///
/// # Errors
/// When the store fails.
pub async fn explain(ctx: &Context, conn: &mut Conn, person: &Person, judged: &Judged) -> Result<Vec<LogLine>, Error> {
    let mut lines = Vec::new();
    let username = &person.account.username;
    let names = Names::of(conn, judged).await?;
    let groups: HashSet<_> = person.teams.iter().map(|team| team.pk).collect();
    for (pk, passing) in &judged.decision.trace {
        let Some(binding) = judged.bindings.iter().find(|binding| binding.pk == *pk) else { continue };
        let found = judged.found.iter().find(|found| found.binding == *pk);
        match found.map(|found| &found.answer) {
            Some(Ok(outcome)) => lines.extend(outcome.log.iter().cloned()),
            Some(Err(failure)) => lines.extend(failure.log.iter().cloned()),
            None => {}
        }
        let (kind, name, finding) = describe(&names, person, &groups, binding, found);
        let result = if *passing { PASSES } else { FAILS };
        let title = crate::bindings::title(binding);
        let words = match (kind, binding.negate) {
            ("nothing", _) => format!("{title}: {finding}"),
            // It says so itself.
            (_, false) if finding == result => format!("{title} {kind} {name:?}: {result}"),
            (_, false) => format!("{title} {kind} {name:?}: {finding}: {result}"),
            (_, true) => format!("{title} {kind} {name:?}: {finding}, inverted: {result}"),
        };
        let mut line = LogLine::new(
            ctx.now(),
            if found.is_some_and(|found| found.answer.is_err()) { "warning" } else { "info" },
            LOGGER,
            words,
        );
        let attributes = json!({
            "binding": binding.pk, "order": binding.position, kind: name, "negate": binding.negate,
            "finding": finding, "passing": passing,
        });
        line.attributes = attributes.as_object().cloned().unwrap_or_default();
        lines.push(line);
    }
    let summary = match (person.account.is_active, judged.decision.trace.is_empty(), judged.decision.passing) {
        (false, _, _) => format!("{username} is not active"),
        (true, true, true) => "No binding is enabled: the application is open to everybody by default".to_owned(),
        (true, true, false) => "No binding is enabled: the application is closed to everybody by default".to_owned(),
        (true, false, true) => format!("{username} may use the application"),
        (true, false, false) => format!("{username} may not use the application"),
    };
    lines.push(LogLine::new(ctx.now(), "info", LOGGER, summary));
    Ok(lines)
}

/// The line of each binding and of the whole, for the page of somebody who was denied: superusers see it, and those who
/// have `goauthentik.io/user/debug` (CO-140). What policies wrote is for administrators.
///
/// # Errors
/// When the store fails.
pub async fn trace(ctx: &Context, person: &Person, judged: &Judged) -> Result<Vec<String>, Error> {
    let debugs = person.effective_attributes.get("goauthentik.io/user/debug").and_then(Value::as_bool);
    if !person.is_superuser && debugs != Some(true) {
        return Ok(Vec::new());
    }
    let lines = explain(ctx, &mut ctx.db.read().await?, person, judged).await?;
    Ok(lines.into_iter().filter(|line| line.logger == LOGGER).map(|line| line.event).collect())
}

/// What the groups and users that bindings name are called: two questions, however many there are (CO-175).
#[derive(Default)]
struct Names {
    groups: HashMap<GroupId, String>,
    users: HashMap<UserPk, String>,
}

impl Names {
    async fn of(conn: &mut Conn, judged: &Judged) -> Result<Self, Error> {
        // All bind the same.
        let Some(first) = judged.bindings.first() else { return Ok(Self::default()) };
        let groups = binding::team_names(conn, first.target).await?.into_iter().collect();
        let users = binding::account_names(conn, first.target).await?.into_iter().collect();
        Ok(Self { groups, users })
    }
}

/// What a binding names, and what it found before `negate`.
fn describe(
    names: &Names,
    person: &Person,
    groups: &HashSet<GroupId>,
    binding: &Binding,
    found: Option<&Found>,
) -> (&'static str, String, String) {
    let username = &person.account.username;
    if let Some(found) = found {
        let finding = match &found.answer {
            Ok(outcome) if outcome.passing => PASSES.to_owned(),
            Ok(_) => FAILS.to_owned(),
            Err(failure) => format!("could not be evaluated ({}), so that failure_result counts", failure.message),
        };
        return ("policy", found.name.clone(), finding);
    }
    let member = holds_membership(person, groups, binding).unwrap_or_default();
    if let Some(group) = binding.team {
        let is = if member { "is a member" } else { "is no member" };
        return ("group", names.groups.get(&group).cloned().unwrap_or_default(), format!("{username} {is}"));
    }
    if let Some(user) = binding.account {
        let is = if member { "is this user" } else { "is not this user" };
        return ("user", names.users.get(&user).cloned().unwrap_or_default(), format!("{username} {is}"));
    }
    ("nothing", String::new(), "what it named was deleted, so that it denies".to_owned())
}
