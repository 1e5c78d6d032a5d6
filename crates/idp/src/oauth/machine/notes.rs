//! Successes of machines that change nothing else, written down together.
//!
//! Each is durable before it is acknowledged. A commit waits for the disk: those who come meanwhile share the next
//! one.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::clock::Timestamp;
use portcullis_core::id::TokenId;
use portcullis_core::keys::Digest;
use portcullis_store::event::{self, Event};
use portcullis_store::{Conn, Db, StoreError, failure, token};
use tokio::sync::oneshot;

use crate::error::Error;

/// What is to be written about one success.
pub struct Note {
    /// What happened.
    pub(super) event: Event,
    /// The bucket whose failures are forgotten, if it holds any.
    pub(super) forgotten: Option<Digest>,
    /// The use of the app password, unless one was noted a moment ago.
    pub(super) used: Option<Use>,
}

/// A use of an app password.
pub(super) struct Use {
    pub(super) uuid: TokenId,
    /// Of the key that was shown.
    pub(super) digest: Vec<u8>,
    pub(super) at: Timestamp,
    pub(super) from: String,
    /// It is noted unless another was after this.
    pub(super) not_since: Timestamp,
}

/// Notes that wait to be written. One per process.
#[derive(Default)]
pub struct Notes(Arc<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by who writes.
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    note: Note,
    /// Gets the event back.
    told: oneshot::Sender<Result<Event, Arc<StoreError>>>,
}

impl Notes {
    /// Writes a note, with those of others who come at the same time. It is durable when this returns.
    ///
    /// # Errors
    /// When the store fails; then nothing was written.
    pub async fn write(&self, db: &Db, note: Note) -> Result<(), Error> {
        let (told, outcome) = oneshot::channel();
        if self.0.add(Waiting { note, told }) == 1 {
            // A task of its own: that this request is given up must not take the notes of others with it.
            tokio::spawn(write_waiting(Arc::clone(&self.0), db.clone()));
        }
        let noted = outcome.await.map_err(|_| Error::Busy)?.map_err(Error::NotWritten)?;
        crate::event::log(&noted);
        Ok(())
    }
}

impl Queue {
    /// Tells how many wait now.
    fn add(&self, one: Waiting) -> usize {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(one);
        waiting.len()
    }

    fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn write_waiting(queue: Arc<Queue>, db: Db) {
    let _turn = queue.turn.lock().await;
    // Whoever comes from now on finds an empty queue, and sees to the next writing.
    let all = queue.take();
    let written = write(&db, &all).await.map_err(Arc::new);
    for one in all {
        // Nobody may be listening any more.
        let _ = one.told.send(written.clone().map(|()| one.note.event));
    }
}

async fn write(db: &Db, all: &[Waiting]) -> Result<(), StoreError> {
    let events = all.iter().map(|one| &one.note.event);
    if all.len() <= event::AT_ONCE && all.iter().all(|one| one.note.forgotten.is_none() && one.note.used.is_none()) {
        return event::insert_all(&mut db.write_one().await?, events).await;
    }
    let mut tx = db.write().await?;
    for one in all {
        write_in(&mut tx, &one.note).await?;
    }
    event::insert_all(&mut tx, events).await?;
    tx.commit().await
}

/// Writes what a note says besides the event.
pub(super) async fn write_in(conn: &mut Conn, note: &Note) -> Result<(), StoreError> {
    if let Some(bucket) = &note.forgotten {
        failure::clear(conn, bucket).await?;
    }
    if let Some(used) = &note.used {
        token::used(conn, used.uuid, &used.digest, used.at, &used.from, used.not_since).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    fn note(pk: u128) -> Note {
        let event = Event {
            pk: Uuid::from_u128(pk),
            action: "login".to_owned(),
            app: "portcullis".to_owned(),
            account: json!({}),
            context: json!({}),
            brand: json!({}),
            client_ip: None,
            created: Timestamp(0),
            expires: Timestamp(0),
        };
        Note { event, forgotten: None, used: None }
    }

    /// CO-416: what is not written is not acknowledged, to none of those whose notes were to be written together;
    /// and what comes after is written.
    #[tokio::test]
    async fn co_416_nothing_is_acknowledged_that_was_not_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let db = Db::open_sqlite(&directory.path().join("portcullis.db")).await.expect("a database");
        let notes = Notes::default();
        notes.write(&db, note(1)).await.expect("is written");
        let written =
            async || event::latest(&mut db.read().await.expect("reads"), None, 100).await.expect("reads").len();
        // The turn is held, so that all of these are written together: more than one statement takes.
        let held = notes.0.turn.lock().await;
        let all = futures_util::future::join_all((1..=20).rev().map(|pk| notes.write(&db, note(pk))));
        let (all, ()) = tokio::join!(all, async { drop(held) });
        assert!(all.iter().all(|outcome| matches!(outcome, Err(Error::NotWritten(_)))), "one of them was there");
        assert_eq!(written().await, 1);
        for outcome in futures_util::future::join_all((2..=20).map(|pk| notes.write(&db, note(pk)))).await {
            outcome.expect("is written");
        }
        assert_eq!(written().await, 20);
    }
}
