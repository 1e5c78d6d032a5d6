//! Mail, sent beside the requests that ask for it (CO-324, CO-506).
//!
//! A request leaves a job and goes on: whether there is an account, and what becomes of the mail, takes it no time that a
//! visitor could measure. [`work`] does the jobs, a few at a time, each in bounded time.

mod letter;
mod smtp;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use portcullis_store::{Conn, brand};
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

pub(crate) use letter::Letter;
pub use letter::{Address, BadAddress};
pub use smtp::{Security, Server, Smtp, test};

use crate::context::{Actor, Context, Visitor};
use crate::error::Error;
use crate::policies::Answer;
use crate::{event, limits, recovery};

/// Jobs that wait at most. Who asks when there are more gets no mail.
const MOST_WAITING: usize = 256;
/// Jobs that are done at once.
const MOST_AT_ONCE: usize = 4;

/// Takes messages to where they go.
pub trait Post: Send + Sync {
    /// Delivers a message, in bounded time; otherwise says why not, in words for the operator.
    fn deliver<'a>(&'a self, to: &'a Address, message: Vec<u8>) -> Answer<'a, (), String>;
}

/// Mail of an instance. The default sends none.
pub struct Mail {
    sender: Option<Sender>,
    jobs: mpsc::Sender<Job>,
    waiting: Mutex<mpsc::Receiver<Job>>,
}

/// How mail leaves.
pub struct Sender {
    /// Who takes it.
    pub post: Arc<dyn Post>,
    /// Whom it comes from.
    pub from: Address,
    /// Where its links lead: the public URL, without a slash at the end. Without it, the domain of the brand of the host
    /// that was asked (CO-506).
    pub site: Option<String>,
    /// How long mail that waits keeps the process from ending.
    pub patience: Duration,
}

/// Something to be sent.
pub(crate) enum Job {
    /// A link for whom an identifier names, if that is somebody (CO-324).
    Recovery {
        /// Who asks.
        visitor: Visitor,
        /// What they typed.
        identifier: String,
    },
    /// A letter that is written.
    Letter {
        /// Who has it sent.
        actor: Actor,
        /// The letter.
        letter: Box<Letter>,
    },
}

impl Default for Mail {
    fn default() -> Self {
        Self::of(None)
    }
}

impl Mail {
    /// Mail that is sent so.
    pub fn by(sender: Sender) -> Self {
        Self::of(Some(sender))
    }

    fn of(sender: Option<Sender>) -> Self {
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        Self { sender, jobs, waiting: Mutex::new(waiting) }
    }

    /// Whether there is mail at all.
    pub fn is_on(&self) -> bool {
        self.sender.is_some()
    }

    /// Leaves a job. Tells whether it will be done.
    pub(crate) fn leave(&self, job: Job) -> bool {
        if !self.is_on() {
            return false;
        }
        let left = self.jobs.try_send(job);
        if let Err(TrySendError::Full(_)) = &left {
            tracing::warn!("too much mail waits to be sent; some is not");
        }
        left.is_ok()
    }
}

/// Does jobs until `stop`, and then those that wait, if that is soon.
pub async fn work(ctx: Arc<Context>, stop: impl Future<Output = ()>) {
    let Some(sender) = &ctx.mail.sender else { return };
    let mut waiting = ctx.mail.waiting.lock().await;
    let (mut at_work, mut stop) = (JoinSet::new(), pin!(stop));
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = at_work.join_next() => {}
            Some(job) = waiting.recv(), if at_work.len() < MOST_AT_ONCE => {
                at_work.spawn(done(Arc::clone(&ctx), job));
            }
        }
    }
    let rest = async {
        while at_work.join_next().await.is_some() {}
        while let Ok(job) = waiting.try_recv() {
            done(Arc::clone(&ctx), job).await;
        }
    };
    if tokio::time::timeout(sender.patience, rest).await.is_err() {
        tracing::warn!("mail was still waiting when the process ended");
    }
}

async fn done(ctx: Arc<Context>, job: Job) {
    let outcome = match job {
        Job::Recovery { visitor, identifier } => recovery::mail_to(&ctx, &visitor, &identifier).await,
        Job::Letter { actor, letter } => send(&ctx, &actor, &letter).await,
    };
    if let Err(error) = outcome {
        tracing::error!(%error, "mail was not sent");
    }
}

/// Sends a letter, and records that, or that it could not be sent.
///
/// # Errors
/// When the store fails.
pub(crate) async fn send(ctx: &Context, actor: &Actor, letter: &Letter) -> Result<(), Error> {
    let Some(sender) = &ctx.mail.sender else { return Ok(()) };
    let id = ctx.entropy.alphanumeric(32);
    let sent = match letter.written(&sender.from, ctx.now(), &id) {
        Ok(message) => sender.post.deliver(&letter.to, message).await,
        Err(problem) => Err(problem),
    };
    match sent {
        Ok(()) => {
            let context = json!({"message": "Mail sent", "about": letter.about, "to_email": letter.to.to_string(),
                "model": letter.user});
            event::record_alone(ctx, actor, "email_sent", context).await
        }
        Err(problem) => {
            tracing::error!(problem, "mail was not sent");
            fault(ctx, actor, "undeliverable", json!({"message": "Mail could not be sent", "error": problem})).await
        }
    }
}

/// Records once an hour what is wrong with mail.
async fn fault(ctx: &Context, actor: &Actor, what: &str, context: Value) -> Result<(), Error> {
    const HOUR: i64 = 3600;
    let Some(mut tx) = limits::first_of(ctx, &[b"mail", what.as_bytes()], HOUR).await? else { return Ok(()) };
    let recorded = event::record(ctx, &mut tx, actor, "configuration_error", context).await?;
    tx.commit().await?;
    event::log(&recorded);
    Ok(())
}

/// Where links of a mail lead that is asked for at a host: never to what the request says alone (CO-506, CO-825).
///
/// # Errors
/// When the store fails.
pub(crate) async fn site(ctx: &Context, conn: &mut Conn, host: &str) -> Result<Option<String>, Error> {
    let Some(sender) = &ctx.mail.sender else { return Ok(None) };
    if let Some(site) = &sender.site {
        return Ok(Some(site.clone()));
    }
    let brand: brand::Brand = crate::brands::of_host(conn, host).await?;
    Ok((!brand.is_default && crate::brands::is_of(&brand, host)).then(|| format!("https://{}", brand.domain)))
}

/// Records that there is no address that a link could lead to.
///
/// # Errors
/// When the store fails.
pub(crate) async fn nowhere(ctx: &Context, actor: &Actor) -> Result<(), Error> {
    let message = "No mail was sent: set base_url, or a brand with the host's domain, for the links in it";
    tracing::error!("{message}");
    fault(ctx, actor, "nowhere", json!({"message": message})).await
}
