//! Who evaluates the expressions of mappings (CO-280, CO-281).
//!
//! The expressions that come with the installation are code of ours, and need no engine: see
//! [`native`](super::native). Everything else is a [`MappingEngine`]'s business, of which [`Context`] holds one.

use std::future::Future;
use std::pin::Pin;

use portcullis_core::clock::Timestamp;
use portcullis_store::application::Application;
use portcullis_store::provider::Provider;
use portcullis_store::source::Source;
use serde_json::{Map, Value};

use crate::context::{Context, Visitor};
use crate::directory::Person;
use crate::policies::{Calls, Noted};

/// What is said where no engine is plugged in.
pub const UNAVAILABLE: &str = "Expressions are not available in this build.";

/// What an expression comes to, or why it failed, in words for administrators.
pub type Outcome<'a> = Pin<Box<dyn Future<Output = Result<Said, String>> + Send + 'a>>;

/// What an expression comes to.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Its value as JSON; null for `None`.
    pub value: Value,
    /// Events that it asks for. Whoever asked records them.
    pub events: Vec<Noted>,
}

impl From<Value> for Said {
    fn from(value: Value) -> Self {
        Self { value, events: Vec::new() }
    }
}

/// Evaluates expressions.
pub trait MappingEngine: Send + Sync {
    /// Whether an expression can be evaluated at all; asked before it is saved.
    ///
    /// # Errors
    /// What is wrong with it, in words for who wrote it.
    fn check(&self, expression: &str) -> Result<(), String>;

    /// The policies that an expression may ask, as far as that can be told without evaluating it.
    fn calls(&self, _expression: &str) -> Calls {
        Calls::default()
    }

    /// Evaluates an expression. It may look into the store, and must not write.
    fn evaluate<'a>(&'a self, ctx: &'a Context, question: &'a Question<'a>) -> Outcome<'a>;
}

/// One evaluation.
pub struct Question<'a> {
    /// Name of the mapping.
    pub mapping: &'a str,
    /// Its source text.
    pub expression: &'a str,
    /// What it is about.
    pub about: About<'a>,
    /// Where the request that led here comes from.
    pub visitor: &'a Visitor,
}

/// What an expression is about: the names it finds.
pub enum About<'a> {
    /// A token that is about to be issued (OA-422): `user`, `request.user`, `provider`, `token`.
    Token {
        /// The user.
        person: &'a Person,
        /// The provider.
        provider: &'a Provider,
        /// Its application.
        application: Option<&'a Application>,
        /// `token`.
        token: TokenFacts<'a>,
    },
    /// What a source vouches for (OA-333): `info` and `oauth_userinfo` are the claims.
    Source {
        /// The source.
        source: &'a Source,
        /// Its verified claims.
        claims: &'a Map<String, Value>,
        /// `properties`: what the mappings before this one said.
        properties: &'a Map<String, Value>,
    },
    /// A test by an administrator (CO-285).
    Test {
        /// `user`.
        person: Option<&'a Person>,
        /// `context`.
        context: &'a Map<String, Value>,
        /// Who tries it out: `http_request.user`.
        sender: Option<&'a Person>,
    },
}

/// What is known of a token before it is issued.
#[derive(Clone, Copy)]
pub struct TokenFacts<'a> {
    /// Granted scopes, sorted.
    pub scopes: &'a [String],
    /// When it ends.
    pub expires: Timestamp,
    /// When its user signed in.
    pub auth_time: Timestamp,
    /// Whether that was in a browser: it ends with that session.
    pub session: bool,
}

/// No engine: nothing can be saved, and what was saved with one fails.
pub struct NoEngine;

impl MappingEngine for NoEngine {
    fn check(&self, _: &str) -> Result<(), String> {
        Err(UNAVAILABLE.to_owned())
    }

    fn evaluate<'a>(&'a self, _: &'a Context, _: &'a Question<'a>) -> Outcome<'a> {
        Box::pin(std::future::ready(Err(UNAVAILABLE.to_owned())))
    }
}
