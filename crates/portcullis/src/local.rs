//! The control plane as the embedded outpost sees it: services in the same process.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::epoch::{Epochs, Subject};
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::Digest;
use portcullis_core::outpost::{Configuration, Grant, SessionRecord};
use portcullis_idp::context::Context;
use portcullis_idp::error::Error;
use portcullis_idp::outpost::{self, OutpostError, sessions};
use portcullis_idp::outposts;
use portcullis_proxy::control::{Answer, CodeExchange, ConfigurationError, ControlError, ControlPlane, SessionStore};
use portcullis_proxy::metrics;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use crate::Failure;

/// Until a configuration that could not be read is read again.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks the services of this process.
///
/// What they do is done on the runtime that this was made on, however long it takes: threads that carry connections have
/// others to look after, and connections to a database wake whoever opened them.
pub(crate) struct Local {
    context: Arc<Context>,
    runtime: Handle,
    configuration: watch::Sender<Arc<Configuration>>,
}

impl Local {
    /// With the configuration as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn new(context: Arc<Context>) -> Result<Self, Failure> {
        let present = outpost::configuration(&context).await?;
        let local = Self { context, runtime: Handle::current(), configuration: watch::Sender::new(Arc::new(present)) };
        local.tell().await?;
        Ok(local)
    }

    /// Reads the configuration whenever it changes, until it can be read; the one before is in force meanwhile
    /// (PX-008).
    pub(crate) async fn follow_changes(&self) {
        let mut changes = self.context.revisions.follow();
        // Something may have changed between the first reading and this subscription.
        changes.mark_changed();
        while changes.changed().await.is_ok() {
            while let Err(error) = self.read_again().await {
                tracing::error!(%error, "cannot read the configuration; the one before stays in force");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn read_again(&self) -> Result<(), Error> {
        let before = Arc::clone(&self.configuration.borrow());
        let present = outpost::configuration_after(&self.context, &before).await?;
        self.configuration.send_replace(Arc::new(present));
        self.tell().await
    }

    /// Metrics about the outpost itself (PX-317).
    async fn tell(&self) -> Result<(), Error> {
        let embedded = outposts::embedded(&mut self.context.db.read().await?).await?;
        let (name, uuid) = (embedded.name, embedded.pk.to_string());
        metrics::outpost_updated(&name, &uuid, env!("CARGO_PKG_VERSION"), "", self.context.now());
        metrics::outpost_connected(&name, &uuid, true);
        Ok(())
    }

    /// Asks something, for as long as somebody wants to know.
    fn ask<T: Send + 'static>(
        &self,
        question: impl Future<Output = Result<T, ControlError>> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async { done(AbortOnDropHandle::new(self.runtime.spawn(question)).await) })
    }

    /// Does something to its end even if whoever asked hangs up meanwhile: a change that the database has taken
    /// must still be told to everybody who holds something built on the state before it.
    fn to_the_end<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, ControlError>> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async { done(self.runtime.spawn(task).await) })
    }
}

fn done<T>(ended: Result<Result<T, ControlError>, JoinError>) -> Result<T, ControlError> {
    ended.unwrap_or_else(|ended| Err(ControlError::Unavailable(ended.to_string())))
}

fn refused(error: OutpostError) -> ControlError {
    match error {
        OutpostError::Refused => ControlError::Refused,
        OutpostError::Throttled { retry_after_seconds } => ControlError::Throttled { retry_after_seconds },
        OutpostError::Failed(error) => failed(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn failed(error: Error) -> ControlError {
    ControlError::Unavailable(error.to_string())
}

impl ControlPlane for Local {
    fn configuration(&self) -> watch::Receiver<Arc<Configuration>> {
        self.configuration.subscribe()
    }

    fn came_into_force(&self, configuration: &Configuration) {
        self.context.revisions.came_into_force(configuration.revision);
    }

    fn report(&self, error: ConfigurationError) -> Answer<'_, ()> {
        let context = Arc::clone(&self.context);
        self.ask(async move {
            let ConfigurationError { provider, message, details, client } = error;
            outpost::report(&context, &provider, &message, details, client).await.map_err(failed)
        })
    }

    fn epochs(&self) -> &Epochs {
        &self.context.epochs
    }

    fn verify_password<'a>(
        &'a self,
        provider: ProviderPk,
        username: &'a str,
        password: &'a str,
        client: IpAddr,
    ) -> Answer<'a, Grant> {
        let (context, username, password) =
            (Arc::clone(&self.context), username.to_owned(), Zeroizing::new(password.to_owned()));
        self.ask(async move {
            outpost::verify_password(&context, provider, &username, &password, client).await.map_err(refused)
        })
    }

    fn introspect<'a>(&'a self, provider: ProviderPk, token: &'a str, client: IpAddr) -> Answer<'a, Grant> {
        let (context, token) = (Arc::clone(&self.context), Zeroizing::new(token.to_owned()));
        self.ask(async move { outpost::introspect(&context, provider, &token, client).await.map_err(refused) })
    }

    fn exchange_code<'a>(&'a self, exchange: CodeExchange<'a>) -> Answer<'a, Grant> {
        let context = Arc::clone(&self.context);
        let (provider, client) = (exchange.provider, exchange.client);
        let [code, redirect_uri, code_verifier, nonce] =
            [exchange.code, exchange.redirect_uri, exchange.code_verifier, exchange.nonce].map(str::to_owned);
        self.to_the_end(async move {
            let exchange = outpost::CodeExchange {
                provider,
                code: &code,
                redirect_uri: &redirect_uri,
                code_verifier: &code_verifier,
                nonce: &nonce,
                client,
            };
            outpost::exchange_code(&context, exchange).await.map_err(refused)
        })
    }

    fn sign<'a>(&'a self, provider: ProviderPk, grant: &'a mut Grant, full: bool) -> Answer<'a, ()> {
        let (context, mut signed) = (Arc::clone(&self.context), grant.clone());
        let signing = self.ask(async move {
            outpost::sign(&context, provider, &mut signed, full).await.map_err(refused)?;
            Ok(signed)
        });
        Box::pin(async move {
            *grant = signing.await?;
            Ok(())
        })
    }

    fn still_stands<'a>(&'a self, session: &'a SessionRecord) -> Answer<'a, bool> {
        let (context, provider, bearings) =
            (Arc::clone(&self.context), session.provider, session.grant.bearings.clone());
        self.ask(async move { outpost::still_stands(&context, provider, &bearings).await.map_err(failed) })
    }

    fn sessions(&self) -> &dyn SessionStore {
        self
    }
}

impl SessionStore for Local {
    fn digest(&self, provider: ProviderPk, value: &str) -> Digest {
        sessions::digest(&self.context, provider, value)
    }

    fn fingerprint(&self, provider: ProviderPk, header: &[u8]) -> Digest {
        sessions::fingerprint(&self.context, provider, header)
    }

    fn value(&self, provider: ProviderPk, salt: &[u8; 32]) -> String {
        sessions::value(&self.context, provider, salt)
    }

    fn put<'a>(&'a self, session: &'a SessionRecord) -> Answer<'a, ()> {
        let (context, session) = (Arc::clone(&self.context), session.clone());
        self.to_the_end(async move { sessions::put(&context, &session).await.map_err(failed) })
    }

    fn by_digest(&self, provider: ProviderPk, digest: Digest) -> Answer<'_, Option<SessionRecord>> {
        let context = Arc::clone(&self.context);
        self.ask(async move { sessions::by_digest(&context, provider, digest).await.map_err(failed) })
    }

    fn by_fingerprint(&self, provider: ProviderPk, fingerprint: Digest) -> Answer<'_, Option<SessionRecord>> {
        let context = Arc::clone(&self.context);
        self.ask(async move { sessions::by_fingerprint(&context, provider, fingerprint).await.map_err(failed) })
    }

    fn end(&self, provider: ProviderPk, digest: Digest) -> Answer<'_, ()> {
        let context = Arc::clone(&self.context);
        self.to_the_end(async move {
            sessions::end(&context, provider, digest).await.map_err(failed)?;
            context.epochs.bump(Subject::OutpostSession(&digest));
            Ok(())
        })
    }

    fn end_of_user<'a>(&'a self, user: &'a str) -> Answer<'a, ()> {
        let (context, user) = (Arc::clone(&self.context), user.to_owned());
        self.to_the_end(async move {
            sessions::end_of_user(&context, &user).await.map_err(failed)?;
            context.epochs.bump(Subject::User(&user));
            Ok(())
        })
    }

    fn end_of_sid<'a>(&'a self, sid: &'a str) -> Answer<'a, ()> {
        let (context, sid) = (Arc::clone(&self.context), sid.to_owned());
        self.to_the_end(async move {
            sessions::end_of_sid(&context, &sid).await.map_err(failed)?;
            context.epochs.bump(Subject::Session(&sid));
            Ok(())
        })
    }
}
