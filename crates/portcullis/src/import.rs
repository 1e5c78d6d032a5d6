//! `portcullis import`: takes over what another server of the same API has.
//!
//! Everything is written as blueprints and applied by the means that there are for these, so it is checked as if it came
//! by the API, and a second run changes only what has changed there.

mod convert;
mod entry;
mod server;

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::entropy::SystemEntropy;
use portcullis_core::permission::Model;
use portcullis_idp::context::{Actor, Context};
use portcullis_idp::list::Slice;
use portcullis_idp::{applications, bindings, flows, mappings};
use portcullis_web::api::blueprints::{Audience, Document, apply};
use serde_json::Value;

use crate::edge::SystemClock;
use crate::settings::Settings;
use crate::{Failure, instance, serve};
use convert::{Here, Plan, Refused, Snapshot};
use server::Server;

/// Variable that holds the token.
pub(crate) const TOKEN: &str = "PORTCULLIS_IMPORT_TOKEN";

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

/// Imports, beside a process that may serve the instance meanwhile.
///
/// # Errors
/// One line when the server cannot be read. What cannot be taken over is reported, and no error.
pub(crate) fn run(settings: &Settings, from: &From) -> Result<(), Failure> {
    let server = Server::new(&from.url, from.token_file.as_deref(), from.token.as_deref())?;
    if server.is(settings.general.base_url.as_str()) {
        return Err(format!("{} is the base URL of the instance that would be imported into", from.url).into());
    }
    serve::runtime()?.block_on(async {
        // All of it is read before anything is changed.
        let there = read(&server).await?;
        let ctx = instance::beside(settings, Arc::new(SystemClock), Arc::new(SystemEntropy)).await?;
        let done = take_over(&ctx, &there).await;
        ctx.db.close().await;
        done
    })
}

async fn read(server: &Server) -> Result<Snapshot, Failure> {
    let me = server.get("core/users/me/").await?.ok_or("the server has no such API")?;
    // Others are shown a part of everything, and would not know it.
    if me.pointer("/user/is_superuser") != Some(&Value::Bool(true)) {
        return Err("the token must be that of a superuser".into());
    }
    let mut policies = Vec::new();
    let typed = ["expression", "password", "password_expiry", "reputation", "event_matcher", "dummy"];
    for kind in typed {
        policies.extend(server.list(&format!("policies/{kind}/")).await?);
    }
    let known: HashSet<_> =
        policies.iter().filter_map(|policy| policy.get("pk").cloned()).map(|pk| pk.to_string()).collect();
    let others = server.list("policies/all/").await?;
    policies
        .extend(others.into_iter().filter(|policy| policy.get("pk").is_none_or(|pk| !known.contains(&pk.to_string()))));
    let mut mappings = server.list("propertymappings/provider/scope/").await?;
    let known: HashSet<_> =
        mappings.iter().filter_map(|found| found.get("pk").cloned()).map(|pk| pk.to_string()).collect();
    let others = server.list("propertymappings/all/").await?;
    // Most servers have many that belong to kinds of providers that are not here: only those of administrators count.
    mappings.extend(others.into_iter().filter(|mapping| {
        let is_own = mapping.get("managed").is_none_or(Value::is_null);
        is_own && mapping.get("pk").is_none_or(|pk| !known.contains(&pk.to_string()))
    }));
    let mut certificates = server.list("crypto/certificatekeypairs/").await?;
    for certificate in certificates.iter_mut().filter(|found| found.get("managed").is_none_or(Value::is_null)) {
        let pk = certificate.get("pk").and_then(Value::as_str).unwrap_or_default().to_owned();
        for (view, field) in [("view_certificate", "certificate_data"), ("view_private_key", "key_data")] {
            let found = server.get_if_allowed(&format!("crypto/certificatekeypairs/{pk}/{view}/")).await?;
            add(certificate, field, found.and_then(|found| found.get("data").cloned()));
        }
    }
    let mut tokens = server.list("core/tokens/").await?;
    for token in tokens.iter_mut().filter(|found| found.get("managed").is_none_or(Value::is_null)) {
        let identifier = token.get("identifier").and_then(Value::as_str).unwrap_or_default();
        let identifier: String = url::form_urlencoded::byte_serialize(identifier.as_bytes()).collect();
        let found = server.get_if_allowed(&format!("core/tokens/{}/view_key/", identifier.replace('+', "%20"))).await?;
        add(token, "key", found.and_then(|found| found.get("key").cloned()));
    }
    Ok(Snapshot {
        flows: server.list("flows/instances/").await?,
        roles: server.list("rbac/roles/").await?,
        groups: server.list("core/groups/").await?,
        users: server.list("core/users/").await?,
        certificates,
        sources: server.list("sources/oauth/").await?,
        mappings,
        policies,
        oauth2_providers: server.list("providers/oauth2/").await?,
        proxy_providers: server.list("providers/proxy/").await?,
        all_providers: server.list("providers/all/").await?,
        applications: server.list("core/applications/?superuser_full_list=true").await?,
        entitlements: server.list("core/application_entitlements/").await?,
        bindings: server.list("policies/bindings/").await?,
        tokens: tokens.into_iter().filter(|found| found.get("managed").is_none_or(Value::is_null)).collect(),
        outposts: server.list("outposts/instances/").await?,
    })
}

fn add(object: &mut Value, field: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(field.to_owned(), value);
    }
}

async fn take_over(ctx: &Context, there: &Snapshot) -> Result<(), Failure> {
    let system = Actor::system();
    let flows = flows::list(ctx, &system, &flows::Filter::default(), Slice::ALL).await?.rows;
    let mappings =
        mappings::list(ctx, &system, Model::SCOPE_MAPPING, &mappings::Filter::default(), Slice::ALL).await?.rows;
    let here = Here {
        flows: flows.into_iter().map(|flow| flow.slug).collect(),
        managed_mappings: mappings.into_iter().filter_map(|mapping| mapping.managed).collect(),
    };
    let mut refused = Refused::new();
    let first = convert::foundations(there, &here);
    carry(ctx, &first, &mut refused).await?;
    // Applications rest on what has arrived: what has not lets nobody in.
    let second = convert::applications(there, &here, &refused);
    carry(ctx, &second, &mut refused).await?;
    for note in first.notes.iter().chain(&second.notes).chain(&further_bindings(ctx, there).await?) {
        say(note)?;
    }
    let all = first.items.len() + second.items.len();
    say(&format!("{} of {all} objects are here now", all - refused.len()))
}

/// Applies what is planned, one item after the other, and remembers those that are refused.
async fn carry(ctx: &Context, plan: &Plan, refused: &mut Refused) -> Result<(), Failure> {
    for item in &plan.items {
        let document = Document::of_file("import", item.document());
        if let Err(why) = apply(ctx, &Actor::system(), &document, Audience::Others).await {
            say(&format!("{}: not carried over: {why}", item.name))?;
            refused.extend(item.about());
        }
    }
    Ok(())
}

/// Tells of applications that more is bound to here than at the server: in the mode `any`, that lets in more people.
async fn further_bindings(ctx: &Context, there: &Snapshot) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for application in &there.applications {
        let slug = application.get("slug").and_then(Value::as_str).unwrap_or_default();
        let Ok(view) = applications::get(ctx, slug).await else { continue };
        let filter = bindings::Filter { target: Some(view.application.uuid.0), ..bindings::Filter::default() };
        let here = bindings::list(ctx, &Actor::system(), &filter, Slice::ALL).await?.rows.len();
        let of_it = |binding: &&Value| binding.get("target") == application.get("pk");
        let at_server = there.bindings.iter().filter(of_it).count();
        if here > at_server {
            notes.push(format!(
                "Application {slug:?} has {here} bindings here and {at_server} at the server: see whether the others are wanted."
            ));
        }
    }
    Ok(notes)
}

/// Prints a line. What comes from the server gets no say about the terminal.
fn say(line: &str) -> Result<(), Failure> {
    let line: String = line.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
