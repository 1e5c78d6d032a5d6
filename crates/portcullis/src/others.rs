//! Other processes that use the same database: commands beside this one, and, on PostgreSQL, whoever else serves.
//!
//! What they change is read from the database a few times a second, so that nothing is lost when a message is; that it
//! is there is said by PostgreSQL at once.

use std::sync::Arc;
use std::time::Duration;

use portcullis_idp::bootstrap::{self, BootstrapError};
use portcullis_idp::context::{Context, hear_others};
use portcullis_idp::{Error, revocations};
use portcullis_store::Db;
use portcullis_store::db::{Ears, Pools};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// How soon a change is noticed that nobody tells of.
const SOON: Duration = Duration::from_millis(400);
/// Longest wait for an answer of the database.
const PATIENCE: Duration = Duration::from_secs(10);
/// Until a lost connection is made anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Up to which change this process has heard of others.
pub(crate) struct Others {
    context: Arc<Context>,
    /// Changes by commands.
    announced: i64,
    /// Changes by whoever else serves.
    seq: i64,
    ears: Option<(Pools, Ears)>,
}

impl Others {
    /// From now on. To be called before anything is kept in memory.
    ///
    /// # Errors
    /// One line when the database cannot be read, or somebody has it to themselves.
    pub(crate) async fn begin(context: &Arc<Context>) -> Result<Self, Failure> {
        let ears = match &context.db {
            Db::Sqlite { .. } => None,
            Db::Pg(pools) => {
                let ears = pools.listen().await?;
                Some((pools.clone(), ears.ok_or("the secret key of the database is being replaced: start again")?))
            }
        };
        let announced = hear_others(context, 0).await?;
        let seq = revocations::present(context).await?;
        Ok(Self { context: Arc::clone(context), announced, seq, ears })
    }

    /// Hears of what others change, until the process ends.
    pub(crate) async fn follow(mut self, stop: CancellationToken) {
        let news = Arc::new(Notify::new());
        if let Some((pools, ears)) = self.ears.take() {
            tokio::spawn(listen(Arc::clone(&self.context), pools, ears, Arc::clone(&news), stop.clone()));
        }
        let mut fails = false;
        loop {
            // A server that vanished without a word keeps nobody waiting for ever.
            let looked = match timeout(PATIENCE, self.look()).await {
                Ok(looked) => looked.map_err(|error| error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            match looked {
                Ok(()) => fails = false,
                // The database is closed.
                Err(_) if stop.is_cancelled() => return,
                // Once: others tell of it as well.
                Err(error) if !fails => {
                    fails = true;
                    tracing::warn!(%error, "cannot look for changes by others");
                }
                Err(_) => {}
            }
            drop(timeout(SOON, news.notified()).await);
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        self.announced = hear_others(&self.context, self.announced).await?;
        if self.context.db.is_shared() {
            self.seq = revocations::hear(&self.context, self.seq).await?;
        }
        Ok(())
    }
}

/// Passes on what is said, and listens again when the connection is lost. The process ends when the secret key was replaced
/// meanwhile: what it writes from then on could nobody read.
async fn listen(context: Arc<Context>, pools: Pools, mut ears: Ears, news: Arc<Notify>, stop: CancellationToken) {
    loop {
        while ears.hear().await.is_ok() {
            news.notify_one();
        }
        tracing::warn!("the connection to the database that tells of changes by others is lost");
        ears = loop {
            sleep(PAUSE).await;
            match pools.listen().await {
                Ok(Some(ears)) => match bootstrap::check_key(&context.db, &context.keys).await {
                    Ok(()) => break ears,
                    Err(BootstrapError::WrongKey) => return end(&stop),
                    Err(error) => tracing::debug!(%error, "the secret key cannot be compared yet"),
                },
                Ok(None) => return end(&stop),
                Err(error) => tracing::debug!(%error, "the database that tells of changes by others is still gone"),
            }
        };
        // It may be another server now, with a state that is not quite what this process has seen.
        revocations::hear_of_everything(&context);
        news.notify_one();
        tracing::info!("changes by others are told again");
    }
}

fn end(stop: &CancellationToken) {
    tracing::error!(
        "the secret key of the database was replaced beside this process, which ends: start it with the new one"
    );
    stop.cancel();
}
