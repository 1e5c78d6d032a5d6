//! What policies need that is not in this crate: an engine for expressions, a service that knows breached passwords.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::request::{Failure, Outcome, PolicyRequest};
use crate::context::Context;

/// An answer that takes its time.
pub type Answer<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// The policies that an expression may ask (CO-242).
#[derive(Clone, Debug)]
pub enum Calls {
    /// It makes names up.
    Any,
    /// Those of these names.
    Named(HashSet<String>),
}

impl Calls {
    /// Whether one of these policies may be asked.
    pub(crate) fn meets(&self, names: &HashSet<String>) -> bool {
        match self {
            Self::Any => true,
            Self::Named(called) => !called.is_disjoint(names),
        }
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::Named(HashSet::new())
    }
}

/// What a program tells of itself; one that could not be compiled asks nobody.
impl<E> From<Result<Arc<portcullis_expr::Program>, E>> for Calls {
    fn from(program: Result<Arc<portcullis_expr::Program>, E>) -> Self {
        match program.as_ref().map(|program| program.called()) {
            Ok(None) => Self::Any,
            Ok(Some(called)) => Self::Named(called.clone()),
            Err(_) => Self::default(),
        }
    }
}

/// Compiles and runs expressions (CO section 10).
///
/// An evaluation is dropped when its time is over: nothing it wanted is done then. It must not block the thread it
/// is polled on.
pub trait ExpressionEngine: Send + Sync + 'static {
    /// Whether an expression can be run, or what is wrong with it, for whoever typed it: lines count as typed.
    ///
    /// # Errors
    /// What is wrong, one message each, as in `Expression Syntax Error: …`.
    fn compile(&self, source: &str) -> Result<(), Vec<String>>;

    /// Whom an expression may ask, as far as that can be told without running it. One that cannot be run asks nobody.
    fn calls(&self, source: &str) -> Calls;

    /// Runs the expression of a policy. `name` is the policy's, for its log.
    ///
    /// Other policies are asked by [`super::call`]; the store is `ctx.db`.
    fn evaluate<'a>(
        &'a self,
        ctx: &'a Context,
        name: &'a str,
        source: &'a str,
        request: Arc<PolicyRequest>,
    ) -> Answer<'a, Outcome, Failure>;
}

/// Knows passwords that became public (CO-192).
pub trait BreachService: Send + Sync + 'static {
    /// The list for the first five hex digits of a SHA-1, in upper case: lines of the other 35 digits, a colon and a
    /// count. Padding lines count 0.
    fn range<'a>(&'a self, prefix: &'a str) -> Answer<'a, String, String>;
}

/// What policies need that is not in this crate. What is missing cannot be evaluated.
#[derive(Clone, Default)]
pub struct Support {
    /// Runs expressions. Without it no expression policy can be saved.
    pub expressions: Option<Arc<dyn ExpressionEngine>>,
    /// Knows breached passwords.
    pub breaches: Option<Arc<dyn BreachService>>,
}

impl fmt::Debug for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Support")
            .field("expressions", &self.expressions.is_some())
            .field("breaches", &self.breaches.is_some())
            .finish()
    }
}
