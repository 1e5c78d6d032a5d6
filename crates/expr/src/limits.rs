//! What an evaluation may use up (CO-224).

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use tokio::time::Instant;

use crate::error::Limit;

/// How deep policies may call one another (CO-242).
pub(crate) const POLICY_DEPTH: usize = 5;

/// What one evaluation may use up. [`Limits::default`] has the defaults, [`Limits::clamped`] the maxima.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Function calls and loop iterations.
    pub steps: u64,
    /// How deep calls may be nested.
    pub depth: usize,
    /// Bytes of the interpreter.
    pub memory: usize,
    /// Time, waiting for the host included.
    pub wall: Duration,
    /// Time that the interpreter itself may run.
    pub compute: Duration,
    /// Bytes of the source.
    pub source: usize,
    /// Bytes of the result as JSON.
    pub result: usize,
    /// Messages to the person; those beyond are dropped.
    pub messages: usize,
    /// Log lines; those beyond are dropped.
    pub log_lines: usize,
    /// Events; those beyond are dropped.
    pub events: usize,
    /// Questions to the host.
    pub io_calls: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            depth: 64,
            memory: 8 << 20,
            wall: Duration::from_secs(30),
            compute: Duration::from_secs(1),
            source: 64 << 10,
            result: 256 << 10,
            messages: 32,
            log_lines: 200,
            events: 10,
            io_calls: 64,
        }
    }
}

impl Limits {
    /// The defaults of property mappings, which have less time.
    #[must_use]
    pub fn for_mappings() -> Self {
        Self { wall: Duration::from_secs(5), ..Self::default() }
    }

    /// The same, no limit beyond what may be configured.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            steps: self.steps.min(10_000_000),
            depth: self.depth.min(256),
            memory: self.memory.min(64 << 20),
            wall: self.wall.min(Duration::from_secs(60)),
            compute: self.compute.min(Duration::from_secs(10)),
            source: self.source.min(256 << 10),
            result: self.result.min(1 << 20),
            messages: self.messages.min(32),
            log_lines: self.log_lines.min(200),
            events: self.events.min(10),
            io_calls: self.io_calls.min(256),
        }
    }
}

/// What is left of the limits. A policy that calls another one shares its budget with it.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    deadline: Instant,
    steps: Cell<u64>,
    compute: Cell<Duration>,
    io_calls: Cell<u32>,
    callers: RefCell<Vec<String>>,
}

impl Budget {
    /// A full budget, whose time starts now.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = limits.clamped();
        Self {
            limits,
            deadline: Instant::now() + limits.wall,
            steps: Cell::new(limits.steps),
            compute: Cell::new(limits.compute),
            io_calls: Cell::new(limits.io_calls),
            callers: RefCell::new(Vec::new()),
        }
    }

    /// The limits it started from.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// When the evaluation ends at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The time that is left.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub(crate) fn set_steps(&self, left: u64) {
        self.steps.set(left);
    }

    pub(crate) fn compute(&self) -> Duration {
        self.compute.get()
    }

    pub(crate) fn spend_compute(&self, used: Duration) {
        self.compute.set(self.compute.get().saturating_sub(used));
    }

    pub(crate) fn io_calls(&self) -> u32 {
        self.io_calls.get()
    }

    /// Pays for one question to the host.
    pub(crate) fn spend_io_call(&self) -> Result<(), Limit> {
        if self.time_left().is_zero() {
            return Err(Limit::Time);
        }
        let left = self.io_calls.get().checked_sub(1).ok_or(Limit::IoCalls)?;
        self.io_calls.set(left);
        Ok(())
    }

    /// Enters a call of the policy `name` from `caller`; the answer leaves it again when dropped.
    pub(crate) fn enter(&self, caller: &str, name: &str) -> Result<Entered<'_>, String> {
        let mut callers = self.callers.borrow_mut();
        if caller == name || callers.iter().any(|known| known == name) {
            return Err(format!("policy '{name}' calls itself"));
        }
        if callers.len() >= POLICY_DEPTH {
            return Err(format!("policies call one another more than {POLICY_DEPTH} deep"));
        }
        callers.push(caller.to_owned());
        Ok(Entered(self))
    }
}

/// A call of another policy that is under way.
pub(crate) struct Entered<'a>(&'a Budget);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.callers.borrow_mut().pop();
    }
}
