//! Login flows (CO section 12): what a browser is asked, step by step, and what comes of its answers.
//!
//! A flow's steps have a fixed order. How far a browser has come is kept here, under a cookie of its own: [`show`]
//! says what it is asked now, [`answer`] takes its answer and says what comes next. Pages and API are two faces of
//! these functions; neither decides anything.

mod asked;
pub mod challenge;
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

use portcullis_core::auth_via::AuthVia;
use portcullis_core::target::local_target;
use portcullis_store::Conn;
use portcullis_store::account::{self, Account};
use portcullis_store::flow::Flow;
use portcullis_store::login_session::LoginSession;
use serde_json::{Map, Value};

use crate::access::flows::Age;
use crate::access::{self, AccessContext};
use crate::context::{Actor, Context, Visitor};
use crate::error::Error;
use crate::oauth::marker;
use crate::sessions::{self, MOST_COOKIES, may_sign_in};
use crate::{directory, flows, own_fields, recovery};
use challenge::{Challenge, Remedy};
pub use pressed::Pressed;
use run::{Run, Step, Stored};
use stages::Stages;

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

/// One visit, while it is worked on.
struct Desk<'a> {
    ctx: &'a Context,
    visit: &'a Visit<'a>,
    flow: Flow,
    stages: Stages,
    login: Option<(LoginSession, Account)>,
    stored: Option<Stored>,
    /// Whether the stored run goes on. Else it is another flow's, or there is none, and one begins.
    goes_on: bool,
    run: Run,
    /// The run as it was found, or begun.
    begun: Run,
    /// What was typed as one's own fields, and is to be mended.
    typed: own_fields::Changes,
    problems: Vec<Problem>,
    cookies: Cookies,
    /// Whether the run gets a new cookie: whoever knew the old one has not proved anything (CO-384).
    rotate: bool,
}

impl<'a> Desk<'a> {
    /// Finds out who comes, and how far they are; begins the flow if they are at none, or at another one.
    async fn at(ctx: &'a Context, visit: &'a Visit<'a>) -> Result<Self, Error> {
        let flow = flows::get(ctx, visit.slug).await?;
        let login = sessions::of_browser(ctx, visit.sessions.iter().copied(), &visit.visitor).await?;
        if login.is_some() {
            visit.visitor.request.succeeded(AuthVia::Session);
        }
        let mut conn = ctx.db.read().await?;
        let stages = Stages::load(&mut conn).await?;
        let mut stored = None;
        for cookie in visit.runs.iter().take(MOST_COOKIES) {
            stored = run::load(ctx, &mut conn, cookie).await?;
            if stored.is_some() {
                break;
            }
        }
        drop(conn);
        let found = stored.as_ref().map(|stored| &stored.run);
        let found = found.filter(|run| start::goes_on(ctx, visit, run, login.as_ref())).cloned();
        let goes_on = found.is_some();
        let run = match found {
            Some(run) => run,
            None => {
                ctx.rates.flow_start(&ctx.limits, visit.visitor.client, ctx.now())?;
                start::begin(ctx, visit, &flow, login.as_ref()).await?
            }
        };
        let mut desk = Self {
            ctx,
            visit,
            flow,
            stages,
            login,
            stored,
            goes_on,
            begun: run.clone(),
            run,
            typed: own_fields::Changes::default(),
            problems: Vec::new(),
            cookies: Cookies::default(),
            rotate: false,
        };
        desk.find_next();
        desk.begun.next.clone_from(&desk.run.next);
        desk.check_link().await?;
        desk.check_pending().await?;
        desk.check_second_factor().await?;
        Ok(desk)
    }

    /// Where the browser goes afterwards: where it says now, unless a policy wants it elsewhere.
    fn find_next(&mut self) {
        if let Some(next) = param(self.visit.query, "next") {
            local_target(&next).clone_into(&mut self.run.next);
        }
        if let Some(redirect) = &self.run.redirect {
            self.run.next.clone_from(redirect);
        }
    }

    /// Begins the flow in place of a run that was about somebody else. What failed before is not forgotten.
    async fn begin_anew(&mut self) -> Result<(), Error> {
        self.ctx.rates.flow_start(&self.ctx.limits, self.visit.visitor.client, self.ctx.now())?;
        let begun = start::begin(self.ctx, self.visit, &self.flow, self.login.as_ref()).await?;
        let before = std::mem::replace(&mut self.run, begun);
        (self.run.next, self.run.failures) = (before.next, before.failures);
        self.find_next();
        Ok(())
    }

    /// A second factor that is asked for must be there still, or one that can be set up instead: an administrator may have
    /// removed what there was. Else what comes after the password is found out again (CO-314).
    async fn check_second_factor(&mut self) -> Result<(), Error> {
        let is_gone = match self.run.step {
            Step::SecondFactor => second_factor::devices(self).await?.is_empty(),
            Step::ChooseSetup => second_factor::setups(self).is_empty(),
            _ => false,
        };
        if is_gone {
            self.run.step = Step::AfterPassword;
        }
        Ok(())
    }

    /// A link that was opened must be good still, until there is a new password: another browser may have come by it (CO-324).
    async fn check_link(&mut self) -> Result<(), Error> {
        if self.goes_on
            && !self.run.renewed
            && let Some(link) = self.run.link()
            && recovery::look(self.ctx, &mut self.ctx.db.read().await?, &link).await?.is_none()
        {
            self.run.pending = None;
            self.deny(recovery::GONE, Remedy::None);
        }
        Ok(())
    }

    /// The user whom the run is about must still be who they were: active, with the same password. Before anything is
    /// proved, the name means whoever bears it now, and nobody learns that this is somebody else or nobody (CO-311). Whom a
    /// policy has chosen stays the same user, whatever their name is (CO-246).
    async fn check_pending(&mut self) -> Result<(), Error> {
        let mut conn = self.ctx.db.read().await?;
        if matches!(self.run.step, Step::Identification | Step::Password) {
            let named = match self.run.chosen {
                Some(pk) => account::by_pk(&mut conn, pk).await?.filter(may_sign_in),
                None if self.run.identifier.is_empty() => return Ok(()),
                None => first_factor::find(self, &mut conn, &self.run.identifier).await?,
            };
            self.run.pending = named.as_ref().map(run::Pending::of);
        } else if let Some(pending) = self.run.pending
            && !self.account(&mut conn).await?.is_some_and(|account| pending.still_holds(&account))
        {
            self.run.pending = None;
            self.deny("Your account was changed meanwhile. Please begin again.", Remedy::Again);
        }
        Ok(())
    }

    /// The user whom the run is about, if they may sign in.
    async fn account(&self, conn: &mut Conn) -> Result<Option<Account>, Error> {
        match self.run.pending {
            Some(pending) => Ok(account::by_pk(conn, pending.account).await?.filter(may_sign_in)),
            None => Ok(None),
        }
    }

    /// Where somebody goes who is signed in and comes to sign in, unless they were sent to do so again (CO-307).
    fn signed_in_already(&self) -> Option<String> {
        let signed_in = self.login.is_some() && self.flow.slug == flows::AUTHENTICATION;
        let untouched = self.run.step == Step::Identification;
        (signed_in && untouched && !asks_again(&self.run.next)).then(|| self.run.next.clone())
    }

    async fn take(&mut self, fields: &Fields) -> Result<(), Error> {
        if let Some(answer) = fields.get("passkey").filter(|answer| !answer.is_null())
            && passkey::is_offered(self)
        {
            return passkey::sign_in(self, answer).await;
        }
        match self.run.step {
            Step::Identification => first_factor::identification(self, fields).await,
            Step::Password => match text(fields, "password") {
                Some(password) => first_factor::check(self, &password).await,
                None => self.required("password"),
            },
            Step::SecondFactor => second_factor::check(self, fields).await,
            Step::ChooseSetup => second_factor::choose(self, fields),
            Step::EnrolTotp => enrol::totp(self, fields).await,
            Step::EnrolStatic => enrol::codes(self, fields).await,
            Step::EnrolWebAuthn => enrol::key(self, fields).await,
            Step::RememberMe => {
                self.run.remember_me = fields.get("remember_me").is_some_and(is_yes);
                self.run.step = Step::LogIn;
                Ok(())
            }
            Step::Confirm => prompts::confirm(self, fields).await,
            Step::NewPassword => prompts::new_password(self, fields).await,
            Step::Settings => prompts::settings(self, fields).await,
            Step::FirstAdministrator => prompts::first_administrator(self, fields).await,
            Step::SignOut => finish::sign_out(self).await,
            Step::TellClients => {
                self.run.step = Step::Done;
                Ok(())
            }
            Step::EmailSent
            | Step::Denied { .. }
            | Step::AfterPassword
            | Step::AfterSecondFactor
            | Step::LogIn
            | Step::Done => Ok(()),
        }
    }

    /// Goes through the steps at which nobody is asked anything, keeps how far the browser is, and says so.
    async fn done(mut self) -> Result<Turn, Error> {
        loop {
            match self.run.step {
                Step::AfterPassword => second_factor::find_out(&mut self).await?,
                Step::AfterSecondFactor => self.run.step = self.after_second_factor().await?,
                Step::LogIn => finish::log_in(&mut self).await?,
                Step::Done => return self.over().await,
                _ => break,
            }
        }
        let challenge = self.challenge().await?;
        self.keep().await?;
        Ok(self.turn(Next::Ask(Box::new(challenge))))
    }

    /// What comes after everything that proves who somebody is. A password that is too old is replaced first (CO-318).
    async fn after_second_factor(&self) -> Result<Step, Error> {
        if self.run.renewed {
            return Ok(self.before_log_in());
        }
        if self.flow.slug == flows::RECOVERY {
            return Ok(Step::NewPassword);
        }
        if self.run.auth_method == passkey::METHOD {
            // No password has let them in.
            return Ok(self.before_log_in());
        }
        let mut conn = self.ctx.db.read().await?;
        let Some(account) = self.account(&mut conn).await? else { return Ok(Step::LogIn) };
        let person = directory::person_of(self.ctx, &mut conn, account).await?;
        drop(conn);
        let context = AccessContext::of(&self.visit.visitor);
        Ok(match access::flows::password(self.ctx, &self.flow, &person, &context).await? {
            Age::Good => self.before_log_in(),
            Age::Expired => Step::NewPassword,
            Age::Denied(messages) => Step::denied(&messages, "Your password is too old. Ask your administrator."),
        })
    }

    /// Whether a password is to be replaced on the way in, because it is too old.
    fn is_renewing(&self) -> bool {
        self.flow.slug == flows::AUTHENTICATION && self.run.step == Step::NewPassword
    }

    fn before_log_in(&self) -> Step {
        match stages::seconds(&self.stages.login.remember_me_offset) {
            0 => Step::LogIn,
            _ => Step::RememberMe,
        }
    }

    /// Nothing of the run is left.
    async fn over(mut self) -> Result<Turn, Error> {
        if self.stored.is_some() {
            let mut tx = self.ctx.db.write().await?;
            self.spend(&mut tx).await?;
            tx.commit().await?;
        }
        let to = self.run.next.clone();
        Ok(self.turn(Next::To(to)))
    }

    /// Refuses an answer to a step that another answer has taken the run from.
    async fn need_current(&self, conn: &mut Conn) -> Result<(), Error> {
        match &self.stored {
            Some(stored) if !run::is_current(self.ctx, conn, stored).await? => Err(Error::Answered),
            _ => Ok(()),
        }
    }

    /// Takes the stored run away, as part of a transaction: of two answers to the same step, one counts.
    async fn spend(&mut self, conn: &mut Conn) -> Result<(), Error> {
        match self.stored.take() {
            Some(stored) => run::take(self.ctx, conn, &stored).await,
            None => Ok(()),
        }
    }

    /// Keeps how far the browser is, unless that is where everybody begins.
    async fn keep(&mut self) -> Result<(), Error> {
        let known = self.stored.as_ref().map_or(&self.begun, |stored| &stored.run);
        // Whoever comes back from these begins again.
        let ended = matches!(self.run.step, Step::Denied { .. } | Step::EmailSent);
        let unchanged = *known == self.run && !self.rotate;
        if unchanged || (ended && self.stored.is_none()) {
            return Ok(());
        }
        let mut tx = self.ctx.db.write().await?;
        if let Some(stored) = self.stored.as_ref().filter(|_| !self.rotate && !ended) {
            run::replace(self.ctx, &mut tx, stored, &self.run).await?;
            return Ok(tx.commit().await?);
        }
        match self.spend(&mut tx).await {
            // It has ended, whoever took it away.
            Err(Error::Answered) if ended => return Ok(()),
            spent => spent?,
        }
        if !ended {
            let cookie = self.ctx.entropy.token();
            run::keep(self.ctx, &mut tx, &cookie, &self.run).await?;
            self.cookies.run = Some(cookie);
        }
        Ok(tx.commit().await?)
    }

    fn turn(mut self, next: Next) -> Turn {
        // What is not asked any more is not to be remembered.
        if !passkey::is_offered(&self) {
            self.cookies.passkey = None;
        }
        Turn { flow: self.flow, next, problems: self.problems, cookies: self.cookies }
    }

    /// Adds what is wrong with a field.
    fn problem(&mut self, field: &str, text: impl Into<String>, code: &'static str) {
        self.problems.push(Problem { field: field.to_owned(), text: text.into(), code });
    }

    fn required(&mut self, field: &str) -> Result<(), Error> {
        self.problem(field, "This field may not be blank.", "blank");
        Ok(())
    }

    fn deny(&mut self, message: &str, remedy: Remedy) {
        self.run.step = Step::Denied { message: message.to_owned(), remedy };
    }

    /// Somebody as the actor of a change.
    fn actor(&self, account: &Account) -> Actor {
        let mut actor =
            Actor { user: Some(account.pk), username: account.username.clone(), ..self.visit.visitor.stranger("") };
        // Who signs in does so as themselves, whoever was signed in before.
        if let Some((session, _)) = self.login.as_ref().filter(|_| self.flow.slug != flows::AUTHENTICATION) {
            actor.request.impersonator = session.impersonator;
        }
        actor
    }
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
