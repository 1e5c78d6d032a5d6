//! One visit, while it is worked on: where the browser is, its answer, and what comes next.

use portcullis_core::auth_via::AuthVia;
use portcullis_core::target::local_target;
use portcullis_store::Conn;
use portcullis_store::account::{self, Account};
use portcullis_store::flow::Flow;
use portcullis_store::login_session::LoginSession;

use super::challenge::Remedy;
use super::run::{self, Run, Step, Stored};
use super::stages::{self, Stages};
use super::{Cookies, Fields, Next, Problem, Turn, Visit, asks_again, is_yes, param, text};
use super::{enrol, finish, first_factor, passkey, prompts, second_factor, start};
use crate::access::flows::Age;
use crate::access::{self, AccessContext};
use crate::context::{Actor, Context};
use crate::error::Error;
use crate::sessions::{self, MOST_COOKIES, may_sign_in};
use crate::{directory, flows, own_fields, recovery};

/// One visit, while it is worked on.
pub(super) struct Desk<'a> {
    pub(super) ctx: &'a Context,
    pub(super) visit: &'a Visit<'a>,
    pub(super) flow: Flow,
    pub(super) stages: Stages,
    pub(super) login: Option<(LoginSession, Account)>,
    stored: Option<Stored>,
    /// Whether the stored run goes on. Else it is another flow's, or there is none, and one begins.
    pub(super) goes_on: bool,
    pub(super) run: Run,
    /// The run as it was found, or begun.
    pub(super) begun: Run,
    /// What was typed as one's own fields, and is to be mended.
    pub(super) typed: own_fields::Changes,
    pub(super) problems: Vec<Problem>,
    pub(super) cookies: Cookies,
    /// Whether the run gets a new cookie: whoever knew the old one has not proved anything (CO-384).
    pub(super) rotate: bool,
}

impl<'a> Desk<'a> {
    /// Finds out who comes, and how far they are; begins the flow if they are at none, or at another one.
    pub(super) async fn at(ctx: &'a Context, visit: &'a Visit<'a>) -> Result<Self, Error> {
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
    pub(super) async fn begin_anew(&mut self) -> Result<(), Error> {
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
    pub(super) async fn account(&self, conn: &mut Conn) -> Result<Option<Account>, Error> {
        match self.run.pending {
            Some(pending) => Ok(account::by_pk(conn, pending.account).await?.filter(may_sign_in)),
            None => Ok(None),
        }
    }

    /// Where somebody goes who is signed in and comes to sign in, unless they were sent to do so again (CO-307).
    pub(super) fn signed_in_already(&self) -> Option<String> {
        let signed_in = self.login.is_some() && self.flow.slug == flows::AUTHENTICATION;
        let untouched = self.run.step == Step::Identification;
        (signed_in && untouched && !asks_again(&self.run.next)).then(|| self.run.next.clone())
    }

    pub(super) async fn take(&mut self, fields: &Fields) -> Result<(), Error> {
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
    pub(super) async fn done(mut self) -> Result<Turn, Error> {
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
    pub(super) fn is_renewing(&self) -> bool {
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
    pub(super) async fn need_current(&self, conn: &mut Conn) -> Result<(), Error> {
        match &self.stored {
            Some(stored) if !run::is_current(self.ctx, conn, stored).await? => Err(Error::Answered),
            _ => Ok(()),
        }
    }

    /// Takes the stored run away, as part of a transaction: of two answers to the same step, one counts.
    pub(super) async fn spend(&mut self, conn: &mut Conn) -> Result<(), Error> {
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

    pub(super) fn turn(mut self, next: Next) -> Turn {
        // What is not asked any more is not to be remembered.
        if !passkey::is_offered(&self) {
            self.cookies.passkey = None;
        }
        Turn { flow: self.flow, next, problems: self.problems, cookies: self.cookies }
    }

    /// Adds what is wrong with a field.
    pub(super) fn problem(&mut self, field: &str, text: impl Into<String>, code: &'static str) {
        self.problems.push(Problem { field: field.to_owned(), text: text.into(), code });
    }

    pub(super) fn required(&mut self, field: &str) -> Result<(), Error> {
        self.problem(field, "This field may not be blank.", "blank");
        Ok(())
    }

    pub(super) fn deny(&mut self, message: &str, remedy: Remedy) {
        self.run.step = Step::Denied { message: message.to_owned(), remedy };
    }

    /// Somebody as the actor of a change.
    pub(super) fn actor(&self, account: &Account) -> Actor {
        let mut actor =
            Actor { user: Some(account.pk), username: account.username.clone(), ..self.visit.visitor.stranger("") };
        // Who signs in does so as themselves, whoever was signed in before.
        if let Some((session, _)) = self.login.as_ref().filter(|_| self.flow.slug != flows::AUTHENTICATION) {
            actor.request.impersonator = session.impersonator;
        }
        actor
    }
}
