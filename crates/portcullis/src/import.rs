//! `portcullis import`: takes over what another server of the same API has.
//!
//! Everything is written as blueprints and applied by the means that there are for these, so it is checked as if it came
//! by the API, and a second run changes only what has changed there.

mod consents;
mod convert;
mod entry;
mod known;
mod read;
mod server;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::entropy::SystemEntropy;
use portcullis_core::permission::Model;
use portcullis_idp::context::{Actor, Context};
use portcullis_idp::flow::stages;
use portcullis_idp::list::{Slice, users};
use portcullis_idp::policies::{self, Kind};
use portcullis_idp::settings::Settings as Stored;
use portcullis_idp::{Change, applications, bindings, directory, flows, mappings, takeover};
use portcullis_web::api::blueprints::{Audience, Document, apply};
use serde_json::Value;
use uuid::Uuid;

use crate::edge::SystemClock;
use crate::settings::Settings;
use crate::{Failure, instance, serve};
use convert::applications::is_closed;
use convert::{Here, Plan, Refused, Snapshot, expressions, present, review};
use server::Server;

/// Variable that holds the token.
pub(crate) const TOKEN: &str = "PORTCULLIS_IMPORT_TOKEN";

/// Longest time for reading everything that a server has.
const READING: Duration = Duration::from_secs(3600);

/// Names that a report lists one by one.
const MOST_NAMES: usize = 20;

/// From where to import.
#[derive(Debug)]
pub(crate) struct From {
    /// Address of the server.
    pub(crate) url: String,
    /// File that holds the token.
    pub(crate) token_file: Option<PathBuf>,
    /// The token, when there is no file.
    pub(crate) token: Option<String>,
}

impl From {
    /// A server at this address; without a file, the token is in the environment.
    pub(crate) fn at(url: String, token_file: Option<PathBuf>) -> Self {
        Self { url, token_file, token: std::env::var(TOKEN).ok() }
    }
}

/// How to import.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// Only tell what would be done, and what to look at (OA-935).
    pub(crate) dry_run: bool,
    /// The mark of the expressions that were reviewed (OA-933).
    pub(crate) reviewed: Option<String>,
    /// Permanent id of the server's installation, in the place of what its API says (OA-931).
    pub(crate) install_id: Option<String>,
}

/// Imports, beside a process that may serve the instance meanwhile.
///
/// # Errors
/// One line when the server cannot be read, or has other expressions than those that were reviewed. What cannot be taken over
/// is reported, and no error.
pub(crate) fn run(settings: &Settings, from: &From, wish: &Wish) -> Result<(), Failure> {
    if let Some(given) = wish.install_id.as_ref().filter(|given| Uuid::parse_str(given).is_err()) {
        return Err(format!("--install-id: {given} is not the id of an installation, which is a UUID").into());
    }
    let server = Server::new(&from.url, from.token_file.as_deref(), from.token.as_deref())?;
    serve::runtime()?.block_on(async {
        // Reading may take long: what is missing here is told first.
        let ctx = instance::beside(settings, Arc::new(SystemClock), Arc::new(SystemEntropy)).await?;
        let done = match is_this_one(&ctx, &server, settings).await {
            Ok(false) => read_and_do(&ctx, &server, wish).await,
            Ok(true) => Err(format!(
                "{} is the base URL of the instance that would be imported into, and nothing tells that another one answers there: \
                 have the other one answer at another address meanwhile, such as http://localhost:9001, and name that",
                from.url
            )
            .into()),
            Err(failure) => Err(failure),
        };
        ctx.db.close().await;
        done
    })
}

/// Whether a server is the instance that would be imported into, as far as can be told. On a machine that things move within, the
/// other one may answer where this one will.
async fn is_this_one(ctx: &Context, server: &Server, settings: &Settings) -> Result<bool, Failure> {
    if !server.is(settings.general.base_url.as_str()) {
        return Ok(false);
    }
    Ok(read::install_id(server).await?.is_none_or(|there| there == *ctx.install_id.get()))
}

/// Reads all of it before anything is changed.
async fn read_and_do(ctx: &Context, server: &Server, wish: &Wish) -> Result<(), Failure> {
    let late = |_| format!("the server was not read within {} minutes", READING.as_secs() / 60);
    let mut there = tokio::time::timeout(READING, read::read(server)).await.map_err(late)??;
    if wish.install_id.is_some() {
        there.install_id.clone_from(&wish.install_id);
    }
    let mark = expressions::mark(&there);
    if wish.reviewed.as_ref().is_some_and(|reviewed| *reviewed != mark) {
        return Err("the server has other expressions than those that were reviewed: see a dry run again".into());
    }
    match wish.dry_run {
        true => tell(ctx, &there, &mark, wish.reviewed.is_some()).await,
        false => take_over(ctx, &there, wish.reviewed.is_some()).await,
    }
}

/// Tells what would be done, without doing anything.
async fn tell(ctx: &Context, there: &Snapshot, mark: &str, reviewed: bool) -> Result<(), Failure> {
    let keeps_keys = match &there.install_id {
        Some(id) => takeover::takes_install_id(ctx, &Actor::system(), id).await?,
        None => false,
    };
    let here = Here { keeps_keys, reviewed, ..here(ctx, there).await? };
    let first = convert::foundations(there, &here);
    let second = convert::applications(there, &here, &first.refused);
    for item in first.items.iter().chain(&second.items) {
        say(&format!("would take over {}", item.name))?;
    }
    let present = present::lines(there, &here.known);
    for note in present.iter().chain(&first.notes).chain(&second.notes).chain(&review::problems(there)) {
        say(note)?;
    }
    let shown = expressions::own(there);
    for (name, text) in &shown {
        say(&format!("{name} is:"))?;
        for line in expressions::lines(text) {
            say(&format!("    {line}"))?;
        }
    }
    if !shown.is_empty() {
        say(&format!("These expressions come ready to be used with --reviewed {mark}, and as comments without it"))?;
    }
    say(&format!("{} objects would be taken over; nothing was changed", first.items.len() + second.items.len()))
}

/// What is here already.
async fn here(ctx: &Context, there: &Snapshot) -> Result<Here, Failure> {
    let system = Actor::system();
    let flows = flows::list(ctx, &system, &flows::Filter::default(), Slice::ALL).await?.rows;
    let mappings =
        mappings::list(ctx, &system, Model::SCOPE_MAPPING, &mappings::Filter::default(), Slice::ALL).await?.rows;
    let kind = Some(Kind::Expression.name().to_owned());
    let of_kind = policies::Filter { kind, ..policies::Filter::default() };
    let policies = policies::list(ctx, &system, &of_kind, &[], Slice::ALL).await?.rows;
    let policies = policies.into_iter().filter_map(|policy| {
        let expression = policy.kind.settings().get("expression")?.as_str()?.to_owned();
        Some((policy.name, expression))
    });
    // Never committed: only for reading.
    let mut change = Change::begin(ctx, &system).await?;
    let stages = stages::all_in(&mut change).await?;
    drop(change);
    let mut conn = ctx.db.read().await?;
    let is_open_by_default = Stored::load(&mut conn).await?.open_by_default;
    drop(conn);
    let (groups_in_charge, groups_below) = known::groups_in_charge(ctx).await?;
    Ok(Here {
        flows: flows.into_iter().map(|flow| flow.slug).collect(),
        managed_mappings: mappings
            .iter()
            .filter_map(|mapping| Some((mapping.managed.clone()?, mapping.expression.clone())))
            .collect(),
        mappings: mappings.into_iter().map(|mapping| (mapping.name, mapping.expression)).collect(),
        policies: policies.collect(),
        stages: stages.into_iter().map(|stage| (stage.name, stage.tunables)).collect(),
        known: known::of(ctx, there).await?,
        groups_in_charge,
        groups_below,
        managed_roles: known::managed_roles(ctx).await?,
        is_open_by_default,
        users: people(ctx).await?.into_iter().map(|account| (account.pk.0, account.username)).collect(),
        ..Here::default()
    })
}

async fn people(ctx: &Context) -> Result<Vec<portcullis_idp::Account>, Failure> {
    let mut conn = ctx.db.read().await?;
    Ok(portcullis_store::account::list(&mut conn, &users::Filter::default(), Slice::ALL).await?.rows)
}

async fn take_over(ctx: &Context, there: &Snapshot, reviewed: bool) -> Result<(), Failure> {
    let keeps_keys = match &there.install_id {
        Some(id) => takeover::install_id(ctx, &Actor::system(), id).await?,
        None => false,
    };
    let here = Here { keeps_keys, reviewed, ..here(ctx, there).await? };
    let first = convert::foundations(there, &here);
    let mut refused = first.refused.clone();
    let mut left = carry(ctx, &first, &mut refused).await?;
    // Applications rest on what has arrived: what has not lets nobody in.
    let second = convert::applications(there, &here, &refused);
    left += carry(ctx, &second, &mut refused).await?;
    consents::take_over(ctx, there, &refused).await?;
    let present = present::lines(there, &here.known);
    let notes = present.iter().chain(&first.notes).chain(&second.notes);
    for note in notes.chain(&further_bindings(ctx, there, &here).await?).chain(&review::problems(there)) {
        say(note)?;
    }
    if let Some(note) = other_subjects(ctx, there).await? {
        say(&note)?;
    }
    let all = first.items.len() + second.items.len();
    say(&format!("{} of {all} objects are here now", all - left))
}

/// Tells of people whom applications would take for others: their subject here is another one than there (OA-931).
async fn other_subjects(ctx: &Context, there: &Snapshot) -> Result<Option<String>, Failure> {
    let here: std::collections::HashMap<_, _> =
        people(ctx).await?.into_iter().map(|account| (account.username, directory::uid(ctx, account.pk))).collect();
    let text = |user: &Value, field: &str| user.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let differs = |user: &&Value| {
        let uid = text(user, "uid");
        !uid.is_empty() && here.get(&text(user, "username")).is_some_and(|known| *known != uid)
    };
    let names: Vec<_> = there.users.iter().filter(differs).map(|user| text(user, "username")).collect();
    let shown = names.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>().join(", ");
    let more = if names.len() > MOST_NAMES { ", …" } else { "" };
    Ok((!names.is_empty()).then(|| {
        format!("{} people have another subject (sub, X-authentik-uid) here than there: {shown}{more}.", names.len())
    }))
}

/// Applies what is planned, one item after the other, and remembers those that are refused. Tells how many these are.
async fn carry(ctx: &Context, plan: &Plan, refused: &mut Refused) -> Result<usize, Failure> {
    let mut left = 0;
    for item in &plan.items {
        let document = Document { takes_over: true, ..Document::of_file("import", item.document()) };
        if let Err(why) = apply(ctx, &Actor::system(), &document, Audience::Others).await {
            say(&format!("{}: not carried over: {}", item.name, why.with_cause()))?;
            refused.extend(item.about());
            left += 1;
        }
    }
    Ok(left)
}

/// Tells of applications that more is bound to here than at the server: in the mode `any`, that lets in more people.
async fn further_bindings(ctx: &Context, there: &Snapshot, known: &Here) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for application in &there.applications {
        let slug = application.get("slug").and_then(Value::as_str).unwrap_or_default();
        let Ok(view) = applications::get(ctx, slug).await else { continue };
        let filter = bindings::Filter { target: Some(view.application.uuid.0), ..bindings::Filter::default() };
        let here = bindings::list(ctx, &Actor::system(), &filter, Slice::ALL).await?.rows.len();
        let of_it = |binding: &&Value| binding.get("target") == application.get("pk");
        let at_server = there.bindings.iter().filter(of_it).count();
        if here > at_server + usize::from(is_closed(application, there, known)) {
            notes.push(format!(
                "Application {slug:?} has {here} bindings here and {at_server} at the server: see whether the others are wanted."
            ));
        }
    }
    Ok(notes)
}

/// Prints a line. What comes from the server gets no say about the terminal, nor about the order in which one reads.
fn say(line: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{}", shown(line))?)
}

/// A line with everything in it that cannot be seen written as `\u{…}`: control characters but tabs, and those that direct
/// how others are shown.
fn shown(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        // Behind another character, what is escaped is just what has no shape of its own; quotes are for literals.
        let is_plain = matches!(c, '\t' | '"' | '\'' | '\\') || format!("-{c}").escape_debug().nth(2).is_none();
        if is_plain {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-933: what is read before it is used is shown as it is evaluated: nothing hides or turns around what is beside it.
    #[test]
    fn oa_933_what_cannot_be_seen_is_written_out() {
        for plain in ["\treturn {\"a\": 'b\\n'}", "naïve e\u{301} 🦉 אב"] {
            assert_eq!(shown(plain), plain);
        }
        for hidden in [
            '\u{1b}',
            '\r',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200e}',
            '\u{2028}',
            '\u{202e}',
            '\u{2066}',
            '\u{2067}',
            '\u{2068}',
            '\u{2069}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            assert_eq!(shown(&format!("a{hidden}b")), format!("a\\u{{{:x}}}b", u32::from(hidden)));
        }
    }
}
