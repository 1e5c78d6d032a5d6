//! Flows as pages (CO-301): each step is a form that works without script.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_core::origin::Origin;
use portcullis_core::target::local_target;
use portcullis_core::webauthn::RelyingParty;
use portcullis_idp::flow::challenge::{Challenge, Field, Prompted, Remedy};
use portcullis_idp::flow::{self, Fields, Next, Problem, Turn, Visit};
use portcullis_idp::oauth::origins;
use portcullis_idp::{Context, Error, flows, portal};
use serde_json::Value;

use super::form::form;
use super::respond::{self, PageError, page_posting_to, page_with_script};
use super::view::{self, Input, Link};
use super::{path, qr, sign_out};
use crate::asked;
use crate::same_origin::is_same_origin;
use crate::visit::{remember, runs, visit};

/// `GET /if/flow/{slug}/?next=…` shows where the browser is.
pub async fn show(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    slug: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let Ok(Path(slug)) = slug else { return no_such_page(&origin) };
    let query = uri.query().unwrap_or_default();
    let visitor = asked::visitor(&origin, &headers, "GET", uri.path(), query);
    let turn = flow::show(&ctx, &visit(&slug, query, &headers, visitor)).await;
    answered(&ctx, &origin, &headers, query, turn).await
}

/// `POST /if/flow/{slug}/?next=…` takes the answer of a form, and shows what comes next.
pub async fn submit(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    slug: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
    request: Request,
) -> Response {
    let Ok(Path(slug)) = slug else { return no_such_page(&origin) };
    if !is_same_origin(&ctx, &headers, &origin) {
        return PageError::cross_site(&ctx, &headers, &origin).await.into_page(&origin);
    }
    let sent: Vec<(String, String)> = match form(request).await {
        Ok(sent) => sent,
        Err(error) => return error.into_page(&origin),
    };
    let query = uri.query().unwrap_or_default();
    let visitor = asked::visitor(&origin, &headers, "POST", uri.path(), query);
    let fields: Fields = sent.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let visit = Visit { form: text("form"), ..visit(&slug, query, &headers, visitor) };
    let turn = match (text("uid_field"), text("password")) {
        // The sign-in page asks for both at once.
        (Some(identifier), Some(password)) if slug == flows::AUTHENTICATION => {
            flow::sign_in(&ctx, &visit, identifier, password).await
        }
        _ => flow::answer(&ctx, &visit, text("component"), &fields).await,
    };
    answered(&ctx, &origin, &headers, query, turn).await
}

/// `GET /flows/-/cancel/` drops whatever flow the browser is at (CO-301).
pub async fn cancel(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    match flow::cancel(&ctx, &runs(&headers)).await {
        Ok(()) => Redirect::to(local_target(&next_of(uri.query().unwrap_or_default()))).into_response(),
        Err(error) => PageError::from(error).into_page(&origin),
    }
}

/// The form that leads to a target on this site.
pub fn before(next: &str) -> String {
    format!("{}?next={}", path::SIGN_IN, utf8_percent_encode(next, NON_ALPHANUMERIC))
}

/// Where a query says to go afterwards.
pub fn next_of(query: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "next").map(|(_, next)| next.into_owned()).unwrap_or_default()
}

async fn answered(
    ctx: &Context,
    origin: &Origin,
    headers: &HeaderMap,
    query: &str,
    turn: Result<Turn, Error>,
) -> Response {
    let turn = match turn {
        Ok(turn) => turn,
        Err(Error::NotFound(_)) => return no_such_page(origin),
        Err(error) => return PageError::from(error).into_page(origin),
    };
    let mut response = match &turn.next {
        // It says so there.
        Next::To(to)
            if to == path::HOME && matches!(turn.flow.slug.as_str(), flows::PASSWORD_CHANGE | flows::RECOVERY) =>
        {
            Redirect::to(path::PASSWORD_CHANGED).into_response()
        }
        Next::To(to) => Redirect::to(to).into_response(),
        Next::Ask(challenge) => {
            let next = next_of(query);
            // The name is a courtesy: a page without it still signs in.
            let application = match portal::client_of(local_target(&next)) {
                Some(client_id) => portal::name_of_client(ctx, &client_id).await.ok().flatten(),
                None => None,
            };
            let places = places(ctx, local_target(&next)).await;
            let places: Vec<&str> = places.iter().map(String::as_str).collect();
            let action = match (turn.flow.slug.as_str(), query) {
                (slug, "") => format!("/if/flow/{slug}/"),
                (slug, query) => format!("/if/flow/{slug}/?{query}"),
            };
            let home = RelyingParty::of(&ctx.base_url).map(|site| site.origin).unwrap_or_default();
            let form = ctx.entropy.token();
            Asking { origin, home: &home, places: &places, action, next, application, form, turn: &turn }
                .page(challenge)
        }
    };
    remember(&mut response, origin, headers, &turn.cookies);
    response
}

fn no_such_page(origin: &Origin) -> Response {
    respond::error(origin, StatusCode::NOT_FOUND, "Not found", "There is no such page.")
}

/// Where the browser may end up after the last form: browsers hold the policy of forms against all of it.
async fn places(ctx: &Context, next: &str) -> BTreeSet<String> {
    if let Some(client_id) = portal::client_of(next) {
        return origins::where_sign_in_ends(ctx, &client_id).await.unwrap_or_default().into_iter().collect();
    }
    match next.strip_prefix(path::LAUNCH) {
        Some(slug) => {
            portal::places_of(ctx, slug.trim_end_matches('/')).await.unwrap_or_default().into_iter().collect()
        }
        None => BTreeSet::new(),
    }
}

struct Asking<'a> {
    origin: &'a Origin,
    /// Where we are at home, as browsers name it.
    home: &'a str,
    places: &'a [&'a str],
    /// Path and query to post to.
    action: String,
    next: String,
    /// Name of the application that somebody wants to reach.
    application: Option<String>,
    /// What the form is known by.
    form: String,
    turn: &'a Turn,
}

impl Asking<'_> {
    fn problem(&self) -> Option<String> {
        let texts: Vec<_> = self.turn.problems.iter().map(|Problem { text, .. }| text.as_str()).collect();
        (!texts.is_empty()).then(|| texts.join(" "))
    }

    fn page(&self, challenge: &Challenge) -> Response {
        match challenge {
            Challenge::Identification(_) if self.turn.flow.slug == flows::RECOVERY => self.recovery(),
            Challenge::Identification(asked) => {
                let hint = asked.identifier.clone().or_else(|| portal::hint_of(local_target(&self.next)));
                let hint = hint.unwrap_or_default();
                self.sign_in(&hint, asked.recovery, asked.passkey.as_ref())
            }
            Challenge::Password { user, recovery, passkey, .. } => {
                self.sign_in(&user.username, *recovery, passkey.as_ref())
            }
            Challenge::SecondFactor { devices, setups, .. } if devices.is_empty() => self.choose(setups),
            Challenge::SecondFactor { user, devices, .. } => self.second_factor(&user.username, devices),
            Challenge::Totp { url, .. } => self.totp(url),
            Challenge::Static { codes, .. } => {
                let (problem, component) = (self.problem(), challenge.component());
                let problem = problem.as_deref();
                let back = self.back_from_setup();
                let page = view::RecoveryCodes { codes, problem, action: &self.action, component, back: &back };
                page_posting_to(StatusCode::OK, &page, self.places)
            }
            Challenge::WebAuthn { registration, .. } => self.webauthn(registration),
            Challenge::Consent { header, token, user, .. } => self.confirm(header, token, &user.username),
            Challenge::RememberMe { .. } => self.remember_me(),
            Challenge::Email if self.turn.flow.slug == flows::USER_SETTINGS => self.message(
                None,
                "Look into your mail",
                "A link was sent to the new address. Open it within 30 minutes: until then your address stays what it is. \
                 Everything else is saved.",
                &[Link { href: path::HOME, text: "Your applications" }],
            ),
            Challenge::Email => self.message(
                None,
                "Look into your mail",
                "If there is such an account, a link to choose a new password was sent to its e-mail address. If none \
                 comes, ask your administrator for one.",
                &[Link { href: path::SIGN_IN, text: "Sign in" }],
            ),
            Challenge::Prompt { about, fields, username } => self.prompt(*about, fields, username.as_deref()),
            Challenge::SessionEnd { site, .. } => self.message(
                None,
                "Signed out of the application",
                &sign_out::still_signed_in(site),
                &[
                    Link { href: path::HOME, text: "Your applications" },
                    Link { href: path::SIGN_OUT, text: "Sign out of everything" },
                ],
            ),
            Challenge::TellClients { frames } => sign_out::tell(frames, local_target(&self.next)),
            Challenge::Denied { message, remedy, .. } => self.denied(message, *remedy),
        }
    }

    fn sign_in(&self, identifier: &str, recovery: bool, passkey: Option<&Value>) -> Response {
        let of_passkey = self.turn.problems.iter().find(|problem| problem.field == "passkey");
        // Of a passkey nothing is given away by saying what was wrong with it.
        let passkey_problem = of_passkey.map(|problem| problem.text.as_str());
        let problem = self.problem().filter(|_| passkey_problem.is_none()).map(|problem| {
            // Only what was wrong with name and password is not told in detail.
            match self.turn.problems.iter().any(|problem| problem.field == "component") {
                true => problem,
                false => WRONG.to_owned(),
            }
        });
        let application = self.application.as_deref();
        let action = match local_target(&self.next) {
            path::HOME => path::SIGN_IN.to_owned(),
            next => before(next),
        };
        let recovery = recovery.then_some(path::RECOVERY);
        let passkey = passkey.map(|options| self.key(options));
        let form = view::SignIn {
            application,
            action: &action,
            form: &self.form,
            identifier,
            problem: problem.as_deref(),
            recovery,
            passkey: passkey.as_ref(),
            passkey_problem,
        };
        match passkey {
            Some(_) => page_with_script(StatusCode::OK, &form, self.places),
            None => page_posting_to(StatusCode::OK, &form, self.places),
        }
    }

    fn key(&self, options: &Value) -> view::Key {
        view::Key { options: options.to_string(), origin: self.home.to_owned() }
    }

    fn webauthn(&self, registration: &Value) -> Response {
        let (problem, key) = (self.problem(), self.key(registration));
        let back = self.back_from_setup();
        let page = view::WebAuthn { key: &key, problem: problem.as_deref(), action: &self.action, back: &back };
        page_with_script(StatusCode::OK, &page, self.places)
    }

    /// Where somebody goes who sets no second factor up: on their way in they begin again, signed in they go back.
    fn back_from_setup(&self) -> String {
        match self.turn.flow.slug.as_str() {
            flows::WEBAUTHN_SETUP | flows::TOTP_SETUP | flows::STATIC_SETUP => path::SECOND_FACTORS.to_owned(),
            _ => self.cancel(),
        }
    }

    fn form(&self, mut form: Form<'_>) -> Response {
        let problem = self.problem();
        let first = form.inputs.iter().position(|input| input.wrong);
        let first = first.or_else(|| form.inputs.iter().position(|input| !input.read_only));
        if let Some(first) = first.and_then(|first| form.inputs.get_mut(first)) {
            first.autofocus = true;
        }
        let page = view::FlowForm {
            title: form.title,
            texts: form.texts,
            problem: problem.as_deref(),
            inputs: &form.inputs,
            hidden: &form.hidden,
            action: &self.action,
            button: form.button,
            back: form.back.as_ref(),
            username: form.username.as_deref(),
        };
        page_posting_to(StatusCode::OK, &page, self.places)
    }

    fn cancel(&self) -> String {
        format!("/flows/-/cancel/?next={}", utf8_percent_encode(&before(local_target(&self.next)), NON_ALPHANUMERIC))
    }

    fn recovery(&self) -> Response {
        self.form(Form {
            title: "Forgot your password?",
            texts: &["Enter your user name or e-mail address. Where mail is set up, a link to choose a new password comes to you; else \
                     ask your administrator for one."],
            inputs: vec![Input {
                autocomplete: "username",
                ..Input::new("uid_field", "User name or e-mail address", "text")
            }],
            hidden: vec![("component", "ak-stage-identification".to_owned())],
            button: "Ask for a link",
            back: Some(Link { href: path::SIGN_IN, text: "Back" }),
            username: None,
        })
    }

    fn second_factor(&self, username: &str, devices: &[flow::challenge::Device]) -> Response {
        let has = |class: &str| devices.iter().any(|device| device.class == class);
        let text = match (has("totp"), has("static")) {
            (true, true) => "Enter the code that your authenticator app shows, or one of your recovery codes.",
            (true, false) => "Enter the code that your authenticator app shows.",
            _ => "Enter one of your recovery codes.",
        };
        let key = devices.iter().find_map(|device| device.challenge.as_ref()).map(|options| self.key(options));
        let (mut problem, cancel) = (self.problem(), self.cancel());
        if self.turn.problems.iter().any(|problem| problem.field == "code" && problem.code == "invalid") {
            // What programs are told is about the time of a device, which recovery codes do not have.
            let text = match (has("totp"), has("static")) {
                (true, true) => WRONG_CODE_OF_EITHER,
                (true, false) => WRONG_CODE_OF_APP,
                _ => WRONG_RECOVERY_CODE,
            };
            problem = Some(text.to_owned());
        }
        let page = view::SecondFactor {
            username,
            problem: problem.as_deref(),
            key: key.as_ref(),
            keys_elsewhere: has("webauthn"),
            code: (has("totp") || has("static")).then_some(text),
            action: &self.action,
            cancel: &cancel,
        };
        match key {
            Some(_) => page_with_script(StatusCode::OK, &page, self.places),
            None => page_posting_to(StatusCode::OK, &page, self.places),
        }
    }

    fn choose(&self, setups: &[flow::challenge::Setup]) -> Response {
        let (problem, cancel) = (self.problem(), self.cancel());
        let page = view::ChooseSetup { setups, problem: problem.as_deref(), action: &self.action, cancel: &cancel };
        page_posting_to(StatusCode::OK, &page, self.places)
    }

    fn totp(&self, url: &str) -> Response {
        let secret = url.split_once("secret=").and_then(|(_, rest)| rest.split('&').next()).unwrap_or_default();
        let groups: Vec<&str> =
            secret.as_bytes().chunks(4).filter_map(|group| std::str::from_utf8(group).ok()).collect();
        let problem = self.problem();
        let page = view::Totp {
            picture: qr::data_uri(url).unwrap_or_default(),
            url,
            secret: &groups.join(" "),
            problem: problem.as_deref(),
            action: &self.action,
            back: &self.back_from_setup(),
        };
        page_posting_to(StatusCode::OK, &page, self.places)
    }

    fn confirm(&self, header: &str, token: &str, username: &str) -> Response {
        let whose = format!("This link is for the account {username}.");
        self.form(Form {
            title: "Choose a new password",
            texts: &[header, &whose],
            inputs: Vec::new(),
            hidden: vec![("component", "ak-stage-consent".to_owned()), ("token", token.to_owned())],
            button: "Continue",
            back: None,
            username: None,
        })
    }

    fn remember_me(&self) -> Response {
        self.form(Form {
            title: "Stay signed in?",
            texts: &["Choose it only on a device that is yours alone."],
            inputs: vec![Input {
                required: false,
                ..Input::new("remember_me", "Stay signed in on this device", "checkbox")
            }],
            hidden: vec![("component", "ak-stage-user-login".to_owned())],
            button: "Continue",
            back: None,
            username: None,
        })
    }

    fn prompt(&self, about: Prompted, fields: &[Field], username: Option<&str>) -> Response {
        let (title, text, button) = match about {
            Prompted::NewPassword => {
                ("Choose a new password", "At least 8 characters. Other devices are signed out.", "Change the password")
            }
            Prompted::Settings => ("Your details", "Your administrator decides which of these you may change.", "Save"),
            Prompted::FirstAdministrator => (
                "Set up the administrator",
                "The setup code was printed when Portcullis started.",
                "Create the administrator",
            ),
        };
        let input = |field: &Field| {
            let (kind, autocomplete) = match field.kind {
                "password" => ("password", "new-password"),
                "email" => ("email", "email"),
                "username" => ("text", "username"),
                _ if field.key == "name" => ("text", "name"),
                _ => ("text", "off"),
            };
            let wrong = self.turn.problems.iter().any(|problem| problem.field == field.key);
            let hint = match (field.read_only, field.kind) {
                (true, _) => "set by your administrator",
                (false, "ak-locale") => "a tag such as en or de-CH",
                (false, _) => "",
            };
            Input {
                autocomplete,
                required: field.required,
                value: field.value.clone(),
                wrong,
                read_only: field.read_only,
                hint,
                ..Input::new(field.key, field.label, kind)
            }
        };
        self.form(Form {
            title,
            texts: &[text],
            inputs: fields.iter().map(input).collect(),
            hidden: vec![("component", "ak-stage-prompt".to_owned())],
            button,
            back: (about != Prompted::NewPassword || self.turn.flow.slug == flows::PASSWORD_CHANGE)
                .then_some(Link { href: path::HOME, text: "Cancel" }),
            username: username.map(str::to_owned),
        })
    }

    fn denied(&self, message: &str, remedy: Remedy) -> Response {
        let here = format!("/if/flow/{}/", self.turn.flow.slug);
        let again = before(local_target(&self.next));
        let link = match remedy {
            Remedy::SignIn => return Redirect::to(&before(&self.action)).into_response(),
            Remedy::SignOut => Link { href: path::SIGN_OUT, text: "Sign out" },
            Remedy::Again if self.turn.flow.slug == flows::AUTHENTICATION => Link { href: &again, text: "Begin again" },
            Remedy::Again => Link { href: &here, text: "Begin again" },
            Remedy::None => Link { href: path::HOME, text: "Home" },
        };
        let text = match remedy {
            Remedy::SignOut => "You are signed in. Sign out first, then open this page again.",
            Remedy::None | Remedy::SignIn | Remedy::Again => message,
        };
        self.message(Some(StatusCode::FORBIDDEN), "Access denied", text, &[link])
    }

    fn message(&self, status: Option<StatusCode>, title: &str, text: &str, links: &[Link<'_>]) -> Response {
        let request_id = if status.is_some() { self.origin.request_id.as_str() } else { "" };
        let message = view::Message {
            status: status.map(|status| status.as_u16()),
            title,
            text,
            messages: &[],
            trace: &[],
            links,
            request_id,
        };
        respond::page(status.unwrap_or(StatusCode::OK), &message)
    }
}

const WRONG: &str = "Wrong user name or password. Check both and try again.";
const WRONG_CODE_OF_EITHER: &str = "This code does not count. Check that the time on your device is right, or use a recovery code \
                                    that you have not used yet.";
const WRONG_CODE_OF_APP: &str =
    "This code does not count. Check that the time on your device is right, and try the next one.";
const WRONG_RECOVERY_CODE: &str = "This is none of your recovery codes, or it was used already. Try another one.";

struct Form<'a> {
    title: &'a str,
    texts: &'a [&'a str],
    inputs: Vec<Input>,
    hidden: Vec<(&'static str, String)>,
    button: &'a str,
    back: Option<Link<'a>>,
    /// Whose password is typed, for what keeps passwords.
    username: Option<String>,
}
