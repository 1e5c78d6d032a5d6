//! What a policy is asked, and what it answers.

use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::PolicyId;
use portcullis_store::application::Application;
use portcullis_store::provider::Provider;
use serde_json::{Map, Value, json};

use crate::context::{Context, Request};
use crate::directory::Person;
use crate::event::model;

/// What is known of the HTTP request that something is decided for (CO-238).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpFacts {
    /// Method, in upper case.
    pub method: String,
    /// Path, as sent.
    pub path: String,
    /// Host, with a port if one was given.
    pub host: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Query without the question mark, as sent.
    pub query: String,
    /// Header fields in the order sent, names in lower case, without [`HttpFacts::SECRET_HEADERS`].
    pub headers: Vec<(String, String)>,
}

impl HttpFacts {
    /// Header fields that no policy and no mapping sees (CO-229, CO-238).
    pub const SECRET_HEADERS: [&'static str; 4] =
        ["authorization", "cookie", "proxy-authorization", "x-authentik-outpost-token"];

    /// Keeps the header fields that may be seen. Names must be in lower case.
    pub fn with_headers(mut self, headers: impl IntoIterator<Item = (String, String)>) -> Self {
        let seen = |(name, _): &(String, String)| !Self::SECRET_HEADERS.contains(&name.as_str());
        self.headers = headers.into_iter().filter(seen).collect();
        self
    }
}

/// What a flow has gathered (CO-305).
#[derive(Clone, Debug, Default)]
pub struct FlowFacts {
    /// Whom it is about, where that is known: `pending_user`.
    pub pending: Option<Arc<Person>>,
    /// The application that the browser wants to reach: `application`.
    pub application: Option<Arc<Application>>,
    /// Whether a policy may say whom it is about (CO-246).
    pub open: bool,
    /// The rest, by key.
    pub entries: Map<String, Value>,
}

/// What a policy is asked (CO-231). Everything that is shared is behind a reference count: copies are cheap.
#[derive(Clone, Debug)]
pub struct PolicyRequest {
    /// The user; none where nobody is known.
    pub person: Option<Arc<Person>>,
    /// The application that is asked for; none in a test.
    pub application: Option<Arc<Application>>,
    /// Its provider. Its secrets are sealed.
    pub provider: Option<Arc<Provider>>,
    /// The client's address; none where it is not known.
    pub client: Option<IpAddr>,
    /// What the flow that it is about has gathered; none elsewhere.
    pub flow: Option<FlowFacts>,
    /// The HTTP request; none where there is none.
    pub http: Option<Arc<HttpFacts>>,
    /// Who sends that request, where it is not the user: who tries a policy out.
    pub sender: Option<Arc<Person>>,
    /// Whether the sender gets to read what the policy says, so that it finds what they may see.
    pub explained: bool,
    /// The request, for events.
    pub request: Request,
    /// `context` (CO-181).
    pub context: Map<String, Value>,
    /// Whether an administrator tries it out.
    pub debug: bool,
    /// The policies that called this one, the outermost first (CO-242).
    pub callers: Vec<PolicyId>,
}

impl PolicyRequest {
    /// What events say about it.
    pub fn summary(&self) -> Value {
        summary(self.person.as_deref(), self.application.as_deref(), &self.context)
    }
}

/// What policies find in `context` (CO-181): where the client is, as far as there are databases that say so, then what
/// whoever asks has to say.
pub(crate) fn context(ctx: &Context, client: Option<IpAddr>, given: &Map<String, Value>) -> Map<String, Value> {
    let mut context = ctx.places.entries(client);
    context.extend(given.clone());
    context
}

/// What events say about a request: whom and what it is about, and those of the facts that are no secrets.
pub fn summary(person: Option<&Person>, application: Option<&Application>, context: &Map<String, Value>) -> Value {
    let user = person.map(|person| model("authentik_core", "user", person.account.pk, &person.account.username));
    // What was typed into a form is left out as a whole: its field may be named anything.
    let is_plain = |key: &str| key.starts_with("oauth_") && !["oauth_code_verifier", "oauth_jwt"].contains(&key);
    let plain = context.iter().filter(|(key, _)| is_plain(key.as_str()));
    let plain: Map<String, Value> = plain.map(|(key, value)| (key.clone(), value.clone())).collect();
    json!({"user": user, "obj": application.map(crate::applications::named), "context": plain})
}

/// One line of a log that an administrator sees (schema `LogEvent`).
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// When.
    pub timestamp: Timestamp,
    /// `debug`, `info`, `warning` or `error`.
    pub level: &'static str,
    /// What wrote it: a policy's name, or a part of the server.
    pub logger: String,
    /// The words.
    pub event: String,
    /// What else is to be known.
    pub attributes: Map<String, Value>,
}

impl LogLine {
    /// A line without attributes.
    pub fn new(timestamp: Timestamp, level: &'static str, logger: &str, event: impl Into<String>) -> Self {
        Self { timestamp, level, logger: logger.to_owned(), event: event.into(), attributes: Map::new() }
    }
}

/// An event that a policy wants recorded (CO-243).
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    /// The whole action: `custom_…`.
    pub action: String,
    /// Its context, before it is cleansed.
    pub context: Value,
}

/// What a policy answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether it passes.
    pub passing: bool,
    /// What it has to say, in order.
    pub messages: Vec<String>,
    /// The value it came to, where it is more than yes or no.
    pub raw: Value,
    /// Its log.
    pub log: Vec<LogLine>,
    /// Events it wants recorded. They are not in a test.
    pub events: Vec<Noted>,
    /// What it changed in the context of a flow, by key (CO-246). Nobody else looks at it.
    pub context_changes: Map<String, Value>,
}

impl Outcome {
    /// Passes, without a word.
    pub fn pass() -> Self {
        Self::of(true)
    }

    /// Yes or no, without a word.
    pub fn of(passing: bool) -> Self {
        Self { passing, raw: Value::Bool(passing), ..Self::default() }
    }

    /// No, and why.
    pub fn refuse(message: impl Into<String>) -> Self {
        Self { messages: vec![message.into()], ..Self::of(false) }
    }
}

/// Why a policy could not be evaluated (CO-173).
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What is said, and recorded: no path of this machine and no secret (CO-228).
    pub message: String,
    /// Its log until then.
    pub log: Vec<LogLine>,
}

impl Failure {
    /// With a message alone.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), log: Vec::new() }
    }
}
