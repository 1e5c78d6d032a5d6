//! The authorization endpoint (OA section 7).

mod answer;

use portcullis_core::clock::Timestamp;
use portcullis_core::duration;
use portcullis_core::keys::sha256;
use portcullis_store::application::Application;
use portcullis_store::consent::{self as remembered, Consent};
use portcullis_store::grant::{self, AuthorizationCode};
use portcullis_store::login_session::LoginSession;
use portcullis_store::{Conn, flow};
use serde_json::json;

use super::client::Client;
use super::code::{self, context, digest};
use super::consent::{self, Question};
use super::issue::{self, Approval, Basis, Ground};
use super::marker::Marker;
use super::params::Params;
use super::redirects::may_return_to;
use super::refresh::OFFLINE;
use super::response_type::{self, ResponseType, Tokens};
use super::{OAuthError, issuer};
use crate::access;
use crate::change::Change;
use crate::claims;
use crate::context::{Context, Visitor};
use crate::directory::{self, Person};
use crate::entitlements;
use crate::error::Error;
use crate::event;
use crate::flow::stages::Stages;
use crate::flows;
use crate::limits;

pub use super::redirects::{is_registered, is_usable};
pub use answer::{Answer, Mode};

/// Codes live a minute when the provider's text says nothing, and ten at most (OA-026).
const CODE_SECONDS: i64 = 60;
const LONGEST_CODE_SECONDS: i64 = 600;

/// The way of the consent stage that remembers nothing (CO-306).
const ALWAYS: &str = "always_require";

/// A request that may be answered by redirect.
pub struct Request {
    client: Client,
    redirect_uri: String,
    state: Option<String>,
    kind: ResponseType,
    mode: Mode,
    scopes: Vec<String>,
    nonce: Option<String>,
    challenge: Option<Challenge>,
    prompt: Vec<String>,
    max_age: Option<i64>,
    /// Tells the request from every other.
    binding: String,
}

/// What a browser brings along from pages of ours.
#[derive(Default)]
pub struct Brought<'a> {
    /// When it was sent to sign in again for this very request.
    pub marker: Option<Marker>,
    /// The token of the page that asked for consent.
    pub consent: Option<&'a str>,
}

/// Why a request is not taken.
#[derive(Debug)]
pub enum Refusal {
    /// Nobody can be trusted with an answer: a page with this status (OA-140 … OA-143).
    Page {
        /// 400 or 403.
        status: u16,
        /// What to say.
        text: &'static str,
    },
    /// The client is told (OA-155).
    Answer(Answer),
    /// The store failed.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<portcullis_store::StoreError> for Refusal {
    fn from(error: portcullis_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// What becomes of a good request.
#[derive(Debug)]
pub enum Outcome {
    /// The client gets its answer.
    Answer(Answer),
    /// The browser signs in first, even if it is signed in (`again`), and comes back.
    SignIn {
        /// Whether a session that exists is not enough (OA-162, OA-163): the request takes a marker along.
        again: bool,
    },
    /// The user is asked before the client learns anything (OA-164, OA-166).
    Ask(Question),
    /// The policies say no (OA-165).
    Denied {
        /// Name of the application.
        application: String,
        /// What the policies say.
        messages: Vec<String>,
        /// What each binding found, for whom that is (CO-140).
        trace: Vec<String>,
        /// Back to the client with `access_denied`.
        back: Answer,
    },
}

/// Reads and checks a request (OA-140 … OA-153).
///
/// # Errors
/// [`Refusal`].
pub async fn check(ctx: &Context, visitor: &Visitor, params: &Params) -> Result<Request, Refusal> {
    let mut conn = ctx.db.read().await?;
    let Some(client) = Client::by_id(&mut conn, params.text("client_id")).await? else {
        drop(conn);
        note_unknown_client(ctx, visitor, params.text("client_id")).await?;
        return Err(Refusal::Page { status: 400, text: "The application that sent you here is not known." });
    };
    drop(conn);
    let redirect_uri = params.text("redirect_uri");
    if !may_return_to(&client.provider, redirect_uri) || !is_usable(redirect_uri) {
        note_bad_redirect(ctx, visitor, &client, redirect_uri).await?;
        return Err(Refusal::Page { status: 400, text: "The address to return to is not registered." });
    }
    if client.application.is_none() {
        return Err(Refusal::Page { status: 403, text: "This provider belongs to no application." });
    }
    read(ctx, client, params).map_err(Refusal::Answer)
}

fn read(ctx: &Context, client: Client, params: &Params) -> Result<Request, Answer> {
    let mut request = Request {
        redirect_uri: params.text("redirect_uri").to_owned(),
        state: params.get("state").map(str::to_owned),
        kind: ResponseType::CODE,
        mode: Mode::Query,
        scopes: Vec::new(),
        nonce: params.get("nonce").map(str::to_owned),
        challenge: None,
        prompt: params.text("prompt").split_ascii_whitespace().map(str::to_owned).collect(),
        max_age: None,
        binding: String::new(),
        client,
    };
    let kind = ResponseType::parse(params.text("response_type"));
    let Some(kind) = kind.filter(|kind| request.client.provider.may_use(kind.grant())) else {
        return Err(request.error(ctx, "unsupported_response_type"));
    };
    request.kind = kind;
    request.mode = match params.text("response_mode") {
        "fragment" => Mode::Fragment,
        "form_post" => Mode::FormPost,
        _ if kind.by_browser() => Mode::Fragment,
        _ => Mode::Query,
    };
    request.scopes = match params.get("scope") {
        Some(scope) => claims::granted_scopes(scope, &request.client.mappings),
        None => claims::offered_scopes(&request.client.mappings),
    };
    if !kind.code {
        // Nothing is there to refresh (OA-148).
        request.scopes.retain(|scope| scope != OFFLINE);
    }
    // With the scopes, which may be others by the time of the answer: a yes is for what was asked.
    let bound = format!("{}\n{}", params.encoded(), request.scopes.join(" "));
    request.binding = hex::encode(sha256(bound.as_bytes()));
    for (name, error) in [
        ("request", "request_not_supported"),
        ("request_uri", "request_uri_not_supported"),
        ("registration", "registration_not_supported"),
    ] {
        if params.get(name).is_some() {
            return Err(request.error(ctx, error));
        }
    }
    let method = params.get("code_challenge_method");
    let challenge_is_good = match params.get("code_challenge") {
        // A client without a secret must be able to prove that the code is its own (OA-041).
        None => method.is_none() && !(kind.code && request.client.provider.needs_pkce()),
        Some(text) => {
            request.challenge = Challenge::read(text, method, request.client.provider.allow_pkce_plain);
            request.challenge.is_some()
        }
    };
    let none_and_more = request.prompts("none") && request.prompt.len() > 1;
    let max_age = params.get("max_age").map(whole_seconds);
    if kind.by_browser() && !request.scopes.iter().any(|scope| scope == "openid") {
        return Err(request.error(ctx, "invalid_scope"));
    }
    let in_query = kind.by_browser() && params.text("response_mode") == "query";
    let no_nonce = kind.needs_nonce() && request.nonce.is_none();
    if in_query || no_nonce || !challenge_is_good || none_and_more || max_age == Some(None) {
        return Err(request.error(ctx, "invalid_request"));
    }
    request.max_age = max_age.flatten();
    Ok(request)
}

/// A whole number of seconds (OA-153). No login is as old as the longest one.
fn whole_seconds(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse::<u32>().unwrap_or(u32::MAX).into())
}

/// What the verifier of a code is compared with (OA-151).
struct Challenge {
    text: String,
    method: &'static str,
}

impl Challenge {
    /// One whose method is allowed and whose text is of the form that it has; without a method it is the verifier itself
    /// (RFC 7636 §4.3).
    fn read(text: &str, method: Option<&str>, may_be_plain: bool) -> Option<Self> {
        let (method, is_good) = match method {
            Some(code::S256) => {
                let is_in_set = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                (code::S256, text.len() == 43 && text.bytes().all(is_in_set))
            }
            None | Some(code::PLAIN) if may_be_plain => (code::PLAIN, code::is_verifier(text)),
            _ => return None,
        };
        is_good.then(|| Self { text: text.to_owned(), method })
    }
}

async fn note_unknown_client(ctx: &Context, visitor: &Visitor, given: &str) -> Result<(), Error> {
    // Once per network and five minutes: there is no end of ids that are nobody's (OA-157), nor of IPv6 addresses.
    let address = limits::network(visitor.client).to_string();
    let Some(mut tx) = limits::first_of(ctx, &[b"unknown-client", address.as_bytes()], 300).await? else {
        return Ok(());
    };
    let given: String = given.chars().take(255).collect();
    let context = json!({"message": "No client has this id", "client_id": given});
    let recorded = event::record(ctx, &mut tx, &visitor.stranger(""), "configuration_error", context).await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(())
}

async fn note_bad_redirect(ctx: &Context, visitor: &Visitor, client: &Client, given: &str) -> Result<(), Error> {
    // Once per client, network and five minutes: anybody can send these (OA-157).
    let address = limits::network(visitor.client).to_string();
    let what = [b"redirect-uri", client.provider.client_id.as_bytes(), address.as_bytes()];
    let Some(mut tx) = limits::first_of(ctx, &what, 300).await? else { return Ok(()) };
    let given: String = given.chars().take(500).collect();
    let context = json!({"message": "Redirect URI is not registered", "redirect_uri": given,
        "provider": client.provider.name});
    let recorded = event::record(ctx, &mut tx, &visitor.stranger(""), "configuration_error", context).await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(())
}

impl Request {
    /// Name of the application that wants to know who somebody is.
    pub fn application_name(&self) -> &str {
        self.client.application.as_ref().map_or("", |application| &application.name)
    }

    fn prompts(&self, what: &str) -> bool {
        self.prompt.iter().any(|word| word == what)
    }

    fn answer_with(&self, ctx: &Context, mut members: Vec<(&'static str, String)>) -> Answer {
        if let Some(state) = &self.state {
            members.push(("state", state.clone()));
        }
        if let Some(application) = &self.client.application {
            members.push(("iss", issuer(ctx, &self.client.provider, &application.slug)));
        }
        Answer { redirect_uri: self.redirect_uri.clone(), mode: self.mode, members }
    }

    fn error(&self, ctx: &Context, error: &'static str) -> Answer {
        self.described_error(ctx, error, description(error))
    }

    fn described_error(&self, ctx: &Context, error: &'static str, description: &'static str) -> Answer {
        let first = vec![("error", error.to_owned()), ("error_description", description.to_owned())];
        self.answer_with(ctx, first)
    }

    /// What becomes of it where whoever was signed in is nobody any more: `prompt=none` shows nothing (OA-164).
    fn of_nobody(&self, ctx: &Context) -> Outcome {
        match self.prompts("none") {
            true => Outcome::Answer(self.error(ctx, "login_required")),
            false => Outcome::SignIn { again: true },
        }
    }

    /// Whether only a login that was made for it counts for this request.
    fn wants_its_own_login(&self) -> bool {
        self.prompts("login") || self.prompts("select_account") || self.max_age == Some(0)
    }

    /// Whether a login counts for this request. `marker` says when the browser was sent to sign in for it. Who
    /// `agreed` was asked only because their login counted, and may have read for a while.
    fn is_recent_enough(&self, login: &LoginSession, marker: Option<&Marker>, agreed: bool, now: Timestamp) -> bool {
        let asked_for = || marker.is_some_and(|marker| marker.asked_for(login, now));
        let asked = agreed || !self.wants_its_own_login() || asked_for();
        let age = self.max_age.filter(|age| *age > 0);
        asked && age.is_none_or(|age| login.auth_time >= now.plus_seconds(-age))
    }
}

/// Fixed text of an error (OA-011).
fn description(error: &str) -> &'static str {
    match error {
        "access_denied" => "The user may not use this application",
        "login_required" => "Nobody is signed in",
        "consent_required" => "The user has not agreed to this yet",
        "unsupported_response_type" => "This response type is not offered to this client",
        "invalid_scope" => "The scope openid is missing",
        "server_error" => "Nothing can be issued at present",
        "request_not_supported" | "request_uri_not_supported" | "registration_not_supported" => {
            "This parameter is not supported"
        }
        _ => "The request is malformed",
    }
}

/// Decides about a good request for whoever is signed in (OA-154 … OA-168).
///
/// # Errors
/// When the store fails.
pub async fn decide(
    ctx: &Context,
    visitor: &Visitor,
    request: &Request,
    login: Option<&LoginSession>,
    brought: &Brought<'_>,
) -> Result<Outcome, Error> {
    let now = ctx.now();
    let silent = request.prompts("none");
    let agreed = match (login, brought.consent) {
        (Some(login), Some(token)) => consent::spend(ctx, &request.binding, login, token).await?,
        _ => false,
    };
    let counts = |login: &&LoginSession| request.is_recent_enough(login, brought.marker.as_ref(), agreed, now);
    let Some(login) = login.filter(counts) else {
        return Ok(match silent {
            true => Outcome::Answer(request.error(ctx, "login_required")),
            false => Outcome::SignIn { again: login.is_some() || request.wants_its_own_login() },
        });
    };
    let Some(application) = &request.client.application else { return Err(Error::NotFound("Application")) };
    let mut conn = ctx.db.read().await?;
    let person = directory::person(ctx, &mut conn, login.account).await?.filter(|person| person.account.is_active);
    let Some(person) = person else { return Ok(request.of_nobody(ctx)) };
    let entries = json!({
        "oauth_scopes": request.scopes,
        "oauth_grant_type": request.kind.grant(),
        "oauth_code_challenge": request.challenge.as_ref().map(|challenge| &challenge.text),
        "oauth_code_challenge_method": request.challenge.as_ref().map(|challenge| challenge.method),
        "oauth_max_age": request.max_age,
        "oauth_redirect_uri": request.redirect_uri,
        "oauth_response_type": request.kind.name(),
    });
    drop(conn);
    let judged = access::judge(ctx, &person, application, &context(entries).from(visitor)).await?;
    if !judged.decision.passing {
        let back = request.error(ctx, "access_denied");
        if silent {
            return Ok(Outcome::Answer(back));
        }
        let trace = access::trace(ctx, &person, &judged).await?;
        let (application, messages) = (application.name.clone(), judged.decision.messages);
        return Ok(Outcome::Denied { application, messages, trace, back });
    }
    let mut conn = ctx.db.read().await?;
    if !agreed && let Some(known) = to_be_asked(&mut conn, request, application, &person, now).await? {
        let (known, additional) = consent::described(&request.client.mappings, &request.scopes, &known);
        return Ok(match silent {
            true => Outcome::Answer(request.error(ctx, "consent_required")),
            false => Outcome::Ask(Question {
                application: application.name.clone(),
                username: person.account.username.clone(),
                known,
                additional,
                token: consent::seal(ctx, &request.binding, login),
                again: brought.consent.is_some(),
                back: request.described_error(ctx, "access_denied", "The user did not agree"),
            }),
        });
    }
    drop(conn);
    approve(ctx, visitor, request, application, login, &person, agreed).await
}

/// What somebody agreed to earlier, if they are to be asked now (OA-164, CO-321, CO-322).
async fn to_be_asked(
    conn: &mut Conn,
    request: &Request,
    application: &Application,
    person: &Person,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    if request.prompts("consent") {
        return Ok(Some(String::new()));
    }
    let provider = &request.client.provider;
    let flow = flow::by_pk(conn, provider.authorization_flow).await?;
    if flow.is_some_and(|flow| flow.slug == flows::IMPLICIT_CONSENT) {
        return Ok(None);
    }
    if Stages::load(conn).await?.consent.mode == ALWAYS {
        return Ok(Some(String::new()));
    }
    let known = remembered::scope(conn, person.account.pk, provider.pk, application.uuid, now).await?;
    Ok(match known {
        Some(known) if consent::covers(&known, &request.scopes) => None,
        known => Some(known.unwrap_or_default()),
    })
}

/// Gives the client its code, and remembers what was `agreed` just now.
async fn approve(
    ctx: &Context,
    visitor: &Visitor,
    request: &Request,
    application: &Application,
    login: &LoginSession,
    person: &Person,
    agreed: bool,
) -> Result<Outcome, Error> {
    let now = ctx.now();
    let held = match request.kind.by_browser() {
        true => entitlements::names(&mut ctx.db.read().await?, person, application.uuid).await?,
        false => Vec::new(),
    };
    let basis = Basis {
        client: &request.client,
        application,
        person,
        entitlements: &held,
        scopes: &request.scopes,
        login: Some(Approval::in_session(login)),
        nonce: request.nonce.as_deref(),
        ground: Ground::default(),
        visitor,
        foretold: None,
    };
    let foretold = match request.kind.by_browser() {
        true => Some(issue::foretell(ctx, &basis).await),
        false => None,
    };
    let basis = Basis { foretold: foretold.as_ref(), ..basis };
    let actor = visitor.known(person);
    let mut change = match Change::begin(ctx, &actor).await {
        // Deactivated just now: whoever else may sign in.
        Err(Error::Forbidden) => return Ok(request.of_nobody(ctx)),
        begun => begun?,
    };
    let code = ctx.entropy.token();
    let validity = duration::seconds_or(&request.client.provider.access_code_validity, CODE_SECONDS);
    let record = AuthorizationCode {
        digest: digest(ctx, &code).to_vec(),
        grant_id: ctx.entropy.alphanumeric(40),
        provider: request.client.provider.pk,
        account: person.account.pk,
        sid: login.sid.clone(),
        redirect_uri: request.redirect_uri.clone(),
        scope: request.scopes.join(" "),
        nonce: request.nonce.clone(),
        challenge: request.challenge.as_ref().map(|challenge| challenge.text.clone()),
        challenge_method: request.challenge.as_ref().map(|challenge| challenge.method.to_owned()),
        auth_time: login.auth_time,
        expires: now.plus_seconds(validity.clamp(1, LONGEST_CODE_SECONDS)),
        consumed: None,
    };
    if request.kind.code {
        grant::insert_code(change.conn(), &record).await?;
    }
    let stage = Stages::load(change.conn()).await?.consent;
    // Nobody agrees to anything in somebody else's name that outlives their session (CO-388).
    if agreed && stage.mode != ALWAYS && login.impersonator.is_none() {
        let seconds = match stage.mode.as_str() {
            "permanent" => consent::FOR_EVER_SECONDS,
            _ => duration::seconds_or(&stage.consent_expire_in, consent::REMEMBERED_SECONDS),
        };
        let consent = Consent {
            pk: 0,
            account: person.account.pk,
            provider: request.client.provider.pk,
            application: application.uuid,
            scope: record.scope.clone(),
            created: now,
            expires: now.plus_seconds(seconds),
        };
        remembered::keep(change.conn(), &consent).await?;
    }
    let named = event::model("authentik_core", "application", application.uuid, &application.name);
    let flow = request.client.provider.authorization_flow.0.simple().to_string();
    let context = json!({"authorized_application": named, "flow": flow, "scopes": record.scope});
    change.event("authorize_application", context).await?;
    let code = request.kind.code.then_some(code);
    let tokens = match request.kind.by_browser() {
        true => {
            let (kind, grant_id) = (request.kind, &record.grant_id);
            match response_type::issue(ctx, &mut change, &basis, kind, code.as_deref(), grant_id).await {
                Ok(tokens) => tokens,
                Err(OAuthError::Unavailable(error)) => return Err(error),
                Err(error) => {
                    drop(change);
                    issue::note_unissued(ctx, visitor, &request.client.provider, &error).await?;
                    return Ok(Outcome::Answer(request.error(ctx, "server_error")));
                }
            }
        }
        false => Tokens::default(),
    };
    change.commit().await?;
    claims::note(ctx, visitor, &request.client.provider, person, &tokens.flaws).await?;
    let members = code.map(|code| ("code", code)).into_iter().chain(tokens.members).collect();
    Ok(Outcome::Answer(request.answer_with(ctx, members)))
}
