//! Failures that repeat themselves (OA-666): the first ones are told one by one, the others together.
//!
//! What repeats itself is kept in memory, and not more of it than fits: a process that dies without a word forgets it, and
//! several processes count each for themselves. Nothing but the audit trail rests on these numbers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::{Digest, sha256};
use portcullis_store::Conn;
use portcullis_store::event::Event;
use serde_json::{Value, json};

use super::{add, log, record};
use crate::context::{Actor, Context, Request};
use crate::error::Error;
use crate::limits::network;

/// So many equal failures are told one by one.
const SINGLE: u32 = 10;
/// Failures are equal within so many seconds from the first one.
const WINDOW_SECONDS: i64 = 300;
/// Kinds of failures that are told apart; what comes beyond is told one by one.
const MOST: usize = 2000;

/// Failures of the last minutes; start with the default. One per process.
#[derive(Default)]
pub struct Failing(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    windows: HashMap<Digest, Window>,
    /// What is to be told, of windows that are over.
    over: Vec<Repeated>,
}

struct Window {
    ends: Timestamp,
    single: u32,
    repeated: Option<Repeated>,
}

/// Equal failures that were not told one by one.
struct Repeated {
    actor: Actor,
    action: String,
    context: Value,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Failing {
    fn locked(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a failure is one of those that are told together. It is counted then.
    fn holds(&self, now: Timestamp, actor: &Actor, action: &str, context: &Value) -> bool {
        // As the limits count them: who has a network has all of its addresses.
        let address = actor.client.map(|address| network(address).to_string()).unwrap_or_default();
        let key = sha256(json!([action, address, actor.username, context]).to_string().as_bytes());
        let mut seen = self.locked();
        if seen.windows.get(&key).is_some_and(|window| window.ends <= now) {
            seen.end(&key);
        }
        let is_full = seen.windows.len() >= MOST;
        let Some(window) = seen.windows.get_mut(&key) else {
            if !is_full {
                let ends = now.plus_seconds(WINDOW_SECONDS);
                seen.windows.insert(key, Window { ends, single: 1, repeated: None });
            }
            return false;
        };
        if window.single < SINGLE {
            window.single += 1;
            return false;
        }
        let repeated = window.repeated.get_or_insert_with(|| {
            // Of many requests; the host alone is the same.
            let request = Request { host: actor.request.host.clone(), ..Request::default() };
            let actor = Actor { request, ..actor.clone() };
            Repeated { actor, action: action.to_owned(), context: context.clone(), count: 0, first: now, last: now }
        });
        (repeated.count, repeated.last) = (repeated.count.saturating_add(1), now);
        true
    }

    /// What is to be told: of windows that are over, or of all.
    fn take(&self, now: Option<Timestamp>) -> Vec<Repeated> {
        let mut seen = self.locked();
        let is_over = |window: &Window| now.is_none_or(|now| window.ends <= now);
        let over: Vec<_> = seen.windows.iter().filter(|(_, window)| is_over(window)).map(|(key, _)| *key).collect();
        over.iter().for_each(|key| seen.end(key));
        std::mem::take(&mut seen.over)
    }

    /// What could not be told is told later, as far as there is room.
    fn put_back(&self, mut untold: Vec<Repeated>) {
        let mut seen = self.locked();
        untold.truncate(MOST.saturating_sub(seen.over.len()));
        seen.over.append(&mut untold);
    }
}

impl Seen {
    fn end(&mut self, key: &Digest) {
        let repeated = self.windows.remove(key).and_then(|window| window.repeated);
        if self.over.len() < MOST {
            self.over.extend(repeated);
        }
    }
}

/// Adds an event about something that failed, unless equal ones are told together by now. Log it once it is committed.
///
/// # Errors
/// When the store fails.
pub(crate) async fn record_failing(
    ctx: &Context,
    conn: &mut Conn,
    actor: &Actor,
    action: &str,
    context: Value,
) -> Result<Option<Event>, Error> {
    if ctx.failing.holds(ctx.now(), actor, action, &context) {
        return Ok(None);
    }
    record(ctx, conn, actor, action, context).await.map(Some)
}

/// The same in a transaction of its own.
///
/// # Errors
/// When the store fails.
pub(crate) async fn record_failing_alone(
    ctx: &Context,
    actor: &Actor,
    action: &str,
    context: Value,
) -> Result<(), Error> {
    if ctx.failing.holds(ctx.now(), actor, action, &context) {
        return Ok(());
    }
    super::record_alone(ctx, actor, action, context).await
}

/// Tells what has repeated itself, in one event each: how often besides the first ones, from when to when. Call it every
/// minute or so, and with `at_once` before the process ends.
///
/// # Errors
/// When the store fails; it is told the next time then.
pub async fn tell_repeated(ctx: &Context, at_once: bool) -> Result<(), Error> {
    let due = ctx.failing.take((!at_once).then(|| ctx.now()));
    if due.is_empty() {
        return Ok(());
    }
    let told = tell_all(ctx, &due).await;
    if told.is_err() {
        ctx.failing.put_back(due);
    }
    told
}

async fn tell_all(ctx: &Context, due: &[Repeated]) -> Result<(), Error> {
    let mut tx = ctx.db.write().await?;
    let mut recorded = Vec::with_capacity(due.len());
    for repeated in due {
        let mut context = repeated.context.clone();
        add(&mut context, "count", json!(repeated.count));
        add(&mut context, "first", json!(repeated.first.to_string()));
        add(&mut context, "last", json!(repeated.last.to_string()));
        recorded.push(record(ctx, &mut tx, &repeated.actor, &repeated.action, context).await?);
    }
    tx.commit().await?;
    recorded.iter().for_each(log);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(last: u8) -> Actor {
        Actor { client: Some([192, 0, 2, last].into()), is_superuser: false, ..Actor::system() }
    }

    /// OA-666: memory is bounded: what is new when it is full is told one by one, and room is made once windows are over.
    #[test]
    fn oa_666_memory_is_bounded() {
        let (failing, start) = (Failing::default(), Timestamp::from_seconds(1_790_000_000));
        let fail = |now, number: usize| failing.holds(now, &stranger(1), "login_failed", &json!({"username": number}));
        for number in 0..MOST + 10 {
            for _ in 0..SINGLE {
                assert!(!fail(start, number));
            }
        }
        assert_eq!(failing.locked().windows.len(), MOST);
        assert!(fail(start, 0) && fail(start, MOST - 1));
        assert!(!fail(start, MOST) && !fail(start, MOST + 9));
        let over = start.plus_seconds(WINDOW_SECONDS);
        assert_eq!(failing.take(Some(over.plus_seconds(-1))).len(), 0);
        assert_eq!(failing.take(Some(over)).len(), 2);
        assert!(failing.locked().windows.is_empty());
    }

    /// OA-666: failures of another address, kind or content are others.
    #[test]
    fn oa_666_only_equal_failures_are_told_together() {
        let (failing, now) = (Failing::default(), Timestamp::from_seconds(1_790_000_000));
        for _ in 0..SINGLE {
            assert!(!failing.holds(now, &stranger(1), "login_failed", &json!({"reason": "a"})));
        }
        assert!(!failing.holds(now, &stranger(2), "login_failed", &json!({"reason": "a"})));
        assert!(!failing.holds(now, &stranger(1), "configuration_error", &json!({"reason": "a"})));
        assert!(!failing.holds(now, &stranger(1), "login_failed", &json!({"reason": "b"})));
        assert!(failing.holds(now, &stranger(1), "login_failed", &json!({"reason": "a"})));
    }
}
