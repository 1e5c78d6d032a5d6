//! Login flows (CO section 12): what a browser is asked, step by step, and what comes of its answers.
//!
//! A flow's steps have a fixed order. How far a browser has come is kept here, under a cookie of its own: [`show`]
//! says what it is asked now, [`answer`] takes its answer and says what comes next. Pages and API are two faces of
//! these functions; neither decides anything.

mod asked;
pub mod challenge;
mod desk;
mod enrol;
mod finish;
pub(crate) mod first_factor;
mod passkey;
mod pressed;
mod prompts;
mod remembered;
mod run;
mod second_factor;
pub mod stages;
mod start;

use portcullis_store::flow::Flow;
use serde_json::{Map, Value};

use crate::context::{Context, Visitor};
use crate::error::Error;
use crate::oauth::marker;
use crate::sessions::MOST_COOKIES;
use challenge::Challenge;
use desk::Desk;
pub use pressed::Pressed;
use run::Step;

/// A browser at a flow.
#[derive(Clone, Debug)]
pub struct Visit<'a> {
    /// Which flow.
    pub slug: &'a str,
    /// What came with the flow's address: `next`, `flow_token`.
    pub query: &'a str,
    /// Where it comes from.
    pub visitor: Visitor,
    /// The browser, as it names itself.
    pub user_agent: &'a str,
    /// Values of its session cookies.
    pub sessions: Vec<&'a str>,
    /// Values of its flow cookies.
    pub runs: Vec<&'a str>,
    /// The cookie by which a second factor is remembered (CO-317).
    pub second_factor: Option<&'a str>,
    /// The cookie by which the browser is known to be a user's (CO-444).
    pub device: Option<&'a str>,
    /// The cookie that keeps what a passkey was asked for (CO-316).
    pub passkey: Option<&'a str>,
    /// What the form that was sent is known by, if its page has named it: to know a button that is pressed twice (CO-302).
    pub form: Option<&'a str>,
}

/// What comes of a visit.
#[derive(Debug)]
pub struct Turn {
    /// The flow.
    pub flow: Flow,
    /// What the browser is asked, or where it goes.
    pub next: Next,
    /// What is wrong with the answer that was given.
    pub problems: Vec<Problem>,
    /// What the browser is to remember.
    pub cookies: Cookies,
}

/// What the browser is asked, or where it goes.
#[derive(Debug)]
pub enum Next {
    /// It is asked something.
    Ask(Box<Challenge>),
    /// The flow is over, and this is where the browser goes.
    To(String),
}

/// What is wrong with one field of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field; `non_field_errors` for the whole.
    pub field: String,
    /// What is wrong.
    pub text: String,
    /// The same for machines.
    pub code: &'static str,
}

/// What a browser is to remember. Absent members stay as they are.
#[derive(Debug, Default)]
pub struct Cookies {
    /// The flow it is at.
    pub run: Option<String>,
    /// Its session.
    pub session: Option<SessionCookie>,
    /// Second factor shown, and for how many seconds that holds.
    pub second_factor: Option<(String, i64)>,
    /// Known to be a user's, and for how many seconds that holds.
    pub device: Option<(String, i64)>,
    /// What a passkey is asked for.
    pub passkey: Option<String>,
}

/// What becomes of the session cookie.
#[derive(Debug, PartialEq, Eq)]
pub enum SessionCookie {
    /// A session has begun.
    Set {
        /// The cookie's value.
        value: String,
        /// How long the browser keeps it, in seconds; until it is closed if absent.
        max_age: Option<i64>,
    },
    /// The session has ended.
    Clear,
}

/// Fields of an answer.
pub type Fields = Map<String, Value>;

/// What is said of an answer to a flow that is not there any more.
const BEGUN_ANEW: &str = "What you answered has ended, or another window took its place. Please begin again.";

/// Says what a browser is asked. Nothing is kept that can be told anew.
///
/// # Errors
/// [`Error::NotFound`] when there is no such flow, [`Error::Throttled`] when the address starts too many,
/// [`Error::Answered`] when answers come again and again meanwhile; else when the store fails.
pub async fn show(ctx: &Context, visit: &Visit<'_>) -> Result<Turn, Error> {
    match shown(ctx, visit).await {
        Err(Error::Answered) => shown(ctx, visit).await,
        shown => shown,
    }
}

async fn shown(ctx: &Context, visit: &Visit<'_>) -> Result<Turn, Error> {
    let desk = Desk::at(ctx, visit).await?;
    if let Some(to) = desk.signed_in_already() {
        return Ok(desk.turn(Next::To(to)));
    }
    desk.done().await
}

/// Takes an answer. `component` is what the client believes to answer, if it says so (CO-302).
///
/// # Errors
/// As [`show`], and [`Error::Throttled`] after too many failures.
pub async fn answer(ctx: &Context, visit: &Visit<'_>, component: Option<&str>, fields: &Fields) -> Result<Turn, Error> {
    match answered(ctx, visit, component, fields).await {
        Err(Error::Answered) => overtaken(ctx, visit).await,
        answered => answered,
    }
}

async fn answered(ctx: &Context, visit: &Visit<'_>, component: Option<&str>, fields: &Fields) -> Result<Turn, Error> {
    let mut desk = Desk::at(ctx, visit).await?;
    if matches!(desk.run.step, Step::Done | Step::AfterPassword) {
        // There is nothing to answer: whom the flow does not admit goes on, and so does whose second factor is gone.
        return desk.done().await;
    }
    let asked = desk.challenge().await?;
    if component.is_some_and(|component| component != asked.component()) {
        // The answer before this one, to the last step, has signed the browser in.
        if !desk.goes_on
            && let Some(to) = desk.signed_in_already()
        {
            return Ok(desk.turn(Next::To(to)));
        }
        let text = if desk.goes_on { "This is not the step that the flow is at." } else { BEGUN_ANEW };
        desk.problem("component", text, "invalid");
        return desk.done().await;
    }
    desk.take(fields).await?;
    desk.done().await
}

/// Where a browser is that has answered when another answer to the same question had been taken: a button was pressed twice.
async fn overtaken(ctx: &Context, visit: &Visit<'_>) -> Result<Turn, Error> {
    let mut desk = Desk::at(ctx, visit).await?;
    // A link that was opened by the other answer is good still, and this one may be the one that the browser heeds.
    if desk.goes_on || desk.run.step == Step::Confirm {
        desk.problem("non_field_errors", "Another answer came first. Please answer once more.", "invalid");
        return desk.done().await;
    }
    // The other answer has ended the flow, or its cookie is the one that the flow goes on with.
    let to = desk.run.next.clone();
    Ok(desk.turn(Next::To(to)))
}

/// Takes user name and password at once, as the sign-in page asks for them. They are taken again when another answer came
/// first: of a button that is pressed twice, browsers heed the second answer alone. It leads to the session of the first.
///
/// # Errors
/// As [`answer`].
pub async fn sign_in(ctx: &Context, visit: &Visit<'_>, identifier: &str, password: &str) -> Result<Turn, Error> {
    match signed_in(ctx, visit, identifier, password).await {
        Err(Error::Answered) => signed_in(ctx, visit, identifier, password).await,
        signed_in => signed_in,
    }
}

async fn signed_in(ctx: &Context, visit: &Visit<'_>, identifier: &str, password: &str) -> Result<Turn, Error> {
    let mut desk = Desk::at(ctx, visit).await?;
    let early = matches!(desk.run.step, Step::Identification | Step::Password);
    if desk.goes_on && !early && identifier.trim() != desk.run.identifier {
        // Somebody else was on their way in, in another window perhaps.
        desk.begin_anew().await?;
    }
    // What was typed before is typed again; what failed before is not forgotten.
    if matches!(desk.run.step, Step::Identification | Step::Password) {
        // The name of whom a policy has chosen stands in the form, and nobody has typed it.
        if desk.run.chosen.is_none() || desk.run.step != Step::Password || identifier.trim() != desk.run.identifier {
            first_factor::identify(&mut desk, identifier).await?;
        }
        if desk.run.step == Step::Password {
            first_factor::check(&mut desk, password).await?;
        }
    }
    let was_wrong = !desk.problems.is_empty() || matches!(desk.run.step, Step::Denied { .. });
    match desk.done().await {
        // It was examined and counted: not once more.
        Err(Error::Answered) if was_wrong => overtaken(ctx, visit).await,
        done => done,
    }
}

/// Drops whatever flow a browser is at (CO-301).
///
/// # Errors
/// When the store fails.
pub async fn cancel(ctx: &Context, runs: &[&str]) -> Result<(), Error> {
    for cookie in runs.iter().take(MOST_COOKIES) {
        if run::load(ctx, &mut ctx.db.read().await?, cookie).await?.is_some() {
            let mut tx = ctx.db.write().await?;
            run::forget(ctx, &mut tx, cookie).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

/// Removes what nobody goes on with.
///
/// # Errors
/// When the store fails.
pub async fn sweep(ctx: &Context) -> Result<(), Error> {
    Ok(run::sweep(ctx, ctx.now()).await?)
}

/// Whether the target sent the browser here to prove who it is once more.
fn asks_again(next: &str) -> bool {
    next.starts_with("/application/o/authorize") && next.contains(marker::NAME)
}

/// A parameter of a query.
fn param(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Text of an answer, if there is any. Whole numbers count as their digits; how others were written is not known.
fn text(fields: &Fields, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) if text.is_empty() || text.contains('\0') => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// A yes of an answer, or of a form's checkbox.
fn is_yes(value: &Value) -> bool {
    match value {
        Value::Bool(yes) => *yes,
        Value::String(text) => matches!(text.as_str(), "true" | "True" | "on" | "1"),
        _ => false,
    }
}
