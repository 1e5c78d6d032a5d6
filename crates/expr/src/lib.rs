//! Expressions of administrators: the bodies of policies and property mappings.
//!
//! An expression is a few lines of Python. [`Program::compile`] reads it once and says what is wrong with it while the
//! administrator still looks at it; [`Program::run`] evaluates it, with limits on everything it could use up. Nothing
//! of the machine is reachable from inside: no file, network, environment, clock or module beyond a handful. What an
//! expression needs of the world it gets from [`Inputs`] and, when it asks, from a [`Host`].
//!
//! The interpreter is `monty`, pinned. What it lacks is added in two places: `rewrite` edits the source before it is
//! compiled (never strings or comments), and `prelude` holds the few helpers that are Python themselves. Host objects
//! are instances whose cheap attributes travel along and whose expensive ones suspend the interpreter, so that the
//! host looks up only what an expression really reads.
//!
//! ```
//! use portcullis_expr::{Budget, Inputs, Limits, Options, Program, Situation, User};
//! # use portcullis_expr::testing::Nobody;
//!
//! let program = Program::compile("return request.user.username == \"alice\"", Situation::Policy, &Options::default())?;
//! let inputs = Inputs { user: Some(User { username: "alice".into(), ..User::default() }.into()), ..Inputs::default() };
//! let outcome = program.run(&inputs, &Nobody, &Budget::new(Limits::default()))?;
//! assert!(outcome.truthy);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Evaluation blocks its thread, and a host may wait for a database in it: run it in a [`Pool`].

#[cfg(test)]
mod acceptance;
mod addresses;
mod attributes;
mod bridge;
mod calls;
#[cfg(test)]
mod cases;
mod check;
mod collections;
mod error;
mod filter;
mod flow;
mod helpers;
mod host;
mod inputs;
mod limits;
mod members;
mod memory;
mod nesting;
mod objects;
mod outcome;
mod pool;
mod prelude;
mod print;
mod program;
mod rewrite;
mod run;
mod scan;
mod size;
mod source;
pub mod testing;
mod traceback;
mod value;

pub use crate::{
    error::{CompileError, CompileErrorKind, Limit, RunError, RunErrorKind},
    filter::{Comparison, Field, Filter, FilterError, Subject},
    host::{AddressFamily, Authenticator, Called, Entitlement, Host, HostError, PolicyCall},
    inputs::{FlowPlan, Inputs},
    limits::{Budget, Limits},
    objects::{
        Application, Brand, Event, Group, HttpRequest, NamedObject, PolicyResult, Provider, Source, Token, User,
        VisibleHeaders,
    },
    outcome::{CustomEvent, FlowChange, LogLevel, LogLine, Outcome},
    pool::{Pool, PoolError},
    program::{Options, Program, Programs, Situation},
    value::{Object, Value},
};
