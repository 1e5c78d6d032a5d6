//! The fixed flows (CO-300).

use portcullis_core::id::FlowId;
use portcullis_core::permission::Model;
use portcullis_store::{Conn, flow};
use serde_json::json;

use crate::change::Change;
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::list::{Listed, Slice};
use crate::{brands, setup};

pub use portcullis_store::flow::{Filter, Flow, Order};

/// Slug of the flow for signing in.
pub const AUTHENTICATION: &str = "default-authentication-flow";
/// Slug of the flow for signing out.
pub const INVALIDATION: &str = "default-invalidation-flow";
/// Slug of the flow that asks for no consent.
pub const IMPLICIT_CONSENT: &str = "default-provider-authorization-implicit-consent";
/// Slug of the flow that asks for consent.
pub const EXPLICIT_CONSENT: &str = "default-provider-authorization-explicit-consent";
/// Slug of the flow for signing out of one application.
pub const PROVIDER_INVALIDATION: &str = "default-provider-invalidation-flow";
/// Slug of the flow in which users change their own fields.
pub const USER_SETTINGS: &str = "default-user-settings-flow";

/// Slug of the flow in which users who forgot their password choose another.
pub const RECOVERY: &str = "default-recovery-flow";
/// Slug of the flow in which users change their password.
pub const PASSWORD_CHANGE: &str = "default-password-change";
/// Slug of the flow that enrols an authenticator app.
pub const TOTP_SETUP: &str = "default-authenticator-totp-setup";
/// Slug of the flow that makes recovery codes.
pub const STATIC_SETUP: &str = "default-authenticator-static-setup";
/// Slug of the flow that enrols a security key.
pub const WEBAUTHN_SETUP: &str = "default-authenticator-webauthn-setup";
/// Slug of the flow that sets up the first administrator.
pub const INITIAL_SETUP: &str = "initial-setup";
/// Who may run [`INITIAL_SETUP`]: before the first administrator is set up, and since.
pub const AUTHENTICATIONS_OF_SETUP: [&str; 2] = ["none", "require_superuser"];

/// Slug, name, title, designation, authentication.
const FLOWS: [[&str; 5]; 12] = [
    [AUTHENTICATION, "Welcome", "Sign in", "authentication", "none"],
    [INVALIDATION, "Logout", "Signed out", "invalidation", "none"],
    [IMPLICIT_CONSENT, "Authorize Application", "Redirecting to %(app)s", "authorization", "require_authenticated"],
    [
        EXPLICIT_CONSENT,
        "Authorize Application with consent",
        "Redirecting to %(app)s",
        "authorization",
        "require_authenticated",
    ],
    [PROVIDER_INVALIDATION, "Logged out of application", "You've logged out of %(app)s.", "invalidation", "none"],
    [RECOVERY, "Recovery", "Reset your password", "recovery", "require_unauthenticated"],
    [PASSWORD_CHANGE, "Change Password", "Change password", "stage_configuration", "require_authenticated"],
    [USER_SETTINGS, "User settings", "Update your info", "stage_configuration", "require_authenticated"],
    [TOTP_SETUP, "TOTP Device setup", "Set up an authenticator app", "stage_configuration", "require_authenticated"],
    [STATIC_SETUP, "Static token setup", "Create recovery codes", "stage_configuration", "require_authenticated"],
    [
        WEBAUTHN_SETUP,
        "WebAuthn Device setup",
        "Set up a security key or passkey",
        "stage_configuration",
        "require_authenticated",
    ],
    [INITIAL_SETUP, "Initial setup", "Set up the administrator", "stage_configuration", "none"],
];

/// The flows that meet conditions.
///
/// # Errors
/// When the store fails.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<Flow>, Error> {
    let slice = slice.of(actor.sees(Model::FLOW)?);
    let mut conn = ctx.db.read().await?;
    let mut filter = filter.clone();
    if filter.order.iter().any(|(order, _)| *order == Order::Authentication) && !setup::is_due(&mut conn).await? {
        let since = |(order, descending)| match order {
            Order::Authentication => (Order::AuthenticationSinceSetup, descending),
            other => (other, descending),
        };
        filter.order = filter.order.into_iter().map(since).collect();
    }
    let mut listed = flow::list(&mut conn, &filter, slice).await?;
    at_present(&mut conn, &mut listed.rows).await?;
    Ok(listed)
}

/// The flow with this slug.
///
/// # Errors
/// [`Error::NotFound`], or when the store fails.
pub async fn get(ctx: &Context, slug: &str) -> Result<Flow, Error> {
    let mut conn = ctx.db.read().await?;
    let mut found = flow::by_slug(&mut conn, slug).await?.ok_or(Error::NotFound("Flow"))?;
    at_present(&mut conn, std::slice::from_mut(&mut found)).await?;
    Ok(found)
}

/// Says who may run the flows at present: the first administrator is set up once (CO-300, CO-486).
async fn at_present(conn: &mut Conn, flows: &mut [Flow]) -> Result<(), Error> {
    if let Some(once) = flows.iter_mut().find(|flow| flow.slug == INITIAL_SETUP)
        && !setup::is_due(conn).await?
    {
        "require_superuser".clone_into(&mut once.authentication);
    }
    Ok(())
}

/// All flows, as part of a larger change.
///
/// # Errors
/// When the store fails.
pub async fn all_in(change: &mut Change<'_>) -> Result<Vec<Flow>, Error> {
    let mut all = flow::list(change.conn(), &Filter::default(), Slice::ALL).await?.rows;
    at_present(change.conn(), &mut all).await?;
    Ok(all)
}

/// How clients arrange the pages of a flow.
const LAYOUTS: [&str; 7] = [
    "stacked",
    "content_left",
    "content_right",
    "sidebar_left",
    "sidebar_right",
    "sidebar_left_frame_background",
    "sidebar_right_frame_background",
];
/// What becomes of whom the policies of a flow refuse: they go where they wanted to go if they said so, and are told
/// otherwise; they are told; they go on, home if they did not say where (CO-307).
pub const DENIED_ACTIONS: [&str; 3] = ["message_continue", "message", "continue"];
/// How the bindings of a flow are combined.
const MODES: [&str; 2] = ["all", "any"];

/// What can be set about a flow (CO-730). Absent members stay as they are.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub struct Tuned {
    pub name: Option<String>,
    pub title: Option<String>,
    pub background: Option<String>,
    pub layout: Option<String>,
    pub denied_action: Option<String>,
    pub policy_engine_mode: Option<String>,
}

/// Changes what can be set about a flow. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] by field.
pub async fn tune_in(change: &mut Change<'_>, pk: FlowId, tuned: Tuned) -> Result<(), Error> {
    let before = flow::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Flow"))?;
    let mut after = before.clone();
    let mut problems = Problems::default();
    for (field, kept, given) in [
        ("name", &mut after.name, tuned.name),
        ("title", &mut after.title, tuned.title),
        ("background", &mut after.background, tuned.background),
        ("layout", &mut after.layout, tuned.layout),
        ("denied_action", &mut after.denied_action, tuned.denied_action),
        ("policy_engine_mode", &mut after.policy_engine_mode, tuned.policy_engine_mode),
    ] {
        let Some(text) = given else { continue };
        let choices: Option<&[&str]> = match field {
            "layout" => Some(&LAYOUTS),
            "denied_action" => Some(&DENIED_ACTIONS),
            "policy_engine_mode" => Some(&MODES),
            _ => None,
        };
        match choices {
            Some(choices) if !choices.contains(&text.as_str()) => {
                problems.add(field, format!("\"{text}\" is not a valid choice."));
            }
            Some(_) => {}
            None if field == "background" => brands::check_picture(field, &text, &mut problems),
            None if text.is_empty() => problems.add(field, "This field may not be blank."),
            None => problems.limit(field, &text),
        }
        *kept = text;
    }
    problems.check()?;
    if before == after {
        return Ok(());
    }
    flow::update(change.conn(), &after).await?;
    let shown = |flow: &Flow| {
        json!({
            "name": flow.name, "title": flow.title, "background": flow.background, "layout": flow.layout,
            "denied_action": flow.denied_action, "policy_engine_mode": flow.policy_engine_mode,
        })
    };
    let named = model("authentik_flows", "flow", pk, &after.name);
    change.event("model_updated", json!({"model": named, "diff": diff(&shown(&before), &shown(&after))})).await
}

/// Adds the flows that are missing. Their keys stay the same for the life of the installation.
///
/// # Errors
/// When the store fails.
pub async fn bootstrap(ctx: &Context, conn: &mut Conn) -> Result<(), Error> {
    for [slug, name, title, designation, authentication] in FLOWS {
        if flow::by_slug(conn, slug).await?.is_none() {
            let missing = Flow {
                pk: FlowId(ctx.entropy.uuid()),
                slug: slug.to_owned(),
                name: name.to_owned(),
                title: title.to_owned(),
                designation: designation.to_owned(),
                authentication: authentication.to_owned(),
                background: String::new(),
                layout: "stacked".to_owned(),
                denied_action: "message_continue".to_owned(),
                policy_engine_mode: "any".to_owned(),
            };
            flow::insert(conn, &missing).await?;
        }
    }
    Ok(())
}
