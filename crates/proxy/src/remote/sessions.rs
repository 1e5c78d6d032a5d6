//! Sessions of a stand-alone outpost (PX-171 … PX-176): in memory, and in a journal that survives a restart.

mod index;
mod journal;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::clock::{Clock, Timestamp};
use portcullis_core::entropy::Entropy;
use portcullis_core::epoch::{Epochs, Subject};
use portcullis_core::header;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::{Digest, Keyring, Purpose};
use portcullis_core::outpost::{Bearings, SessionRecord};

use self::index::Index;
use self::journal::{Journal, Line};
use super::claims::alias_of;
use crate::control::ControlError;

/// Sessions that are kept at most (PX-176).
const MOST: usize = 1_000_000;
/// Sessions that are removed at a time, so that nobody waits long.
const BATCH: usize = 1000;
/// Header names that are remembered of one provider.
const MOST_HEADERS: usize = 256;

/// What a session is found by.
type Key = (ProviderPk, Digest);

/// One session, and when it was last proven.
struct Kept {
    record: SessionRecord,
    created: Timestamp,
    /// [`Sessions::named`] before the control plane last looked at it; none if it has to look again, whatever the time.
    named_at: Option<u64>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<Key, Kept>,
    index: Index,
    headers: HashMap<ProviderPk, BTreeSet<String>>,
}

/// The sessions of this outpost.
///
/// Where there is a file, each change is in it before it is answered, sealed under a key that is derived from the
/// outpost's token: whoever has the file alone can read nothing, and another token begins with no sessions.
pub struct Sessions {
    keys: Keyring,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
    journal: Option<Journal>,
    most: usize,
    /// Bumped by what the control plane names as changed. Unlike [`Sessions::epochs`], mere silence does not count.
    pub(super) named: Epochs,
    /// Epochs of everything that identities rest on.
    pub(super) epochs: Epochs,
}

/// What is known of a session without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing that it rests on has changed since it was proven.
    Proven,
    /// Nothing is known: the channel was down meanwhile.
    Unknown,
    /// The control plane has said that something it rests on changed, or may have said so to another process: it has not
    /// been proven since this one began.
    Doubtful,
}

impl Sessions {
    /// Sessions in memory alone, keyed by the outpost's token.
    pub fn in_memory(token: &str, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let sessions = Self {
            keys: Keyring::derive(token.as_bytes()),
            entropy,
            clock,
            state: Arc::default(),
            journal: None,
            most: MOST,
            named: Epochs::default(),
            epochs: Epochs::default(),
        };
        // What was proven before this process heard anything has to be proven again (PX-196).
        sessions.epochs.bump(Subject::Everyone);
        sessions
    }

    /// Sessions in memory and in a file, which is made if it is missing (mode 0600). Those that are in it are here again.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn in_file(path: &Path, token: &str, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> io::Result<Self> {
        let mut sessions = Self::in_memory(token, clock, entropy);
        let (now, mut foreign) = (sessions.clock.now(), 0_usize);
        {
            let mut state = sessions.state();
            for line in journal::read(path)? {
                match line {
                    Line::Put { provider, digest, sealed } => match sessions.unseal(provider, &digest, &sealed) {
                        Some((record, created)) if record.expires > now => {
                            // Whether it was named meanwhile nobody heard: it is not believed before it is proven (PX-196).
                            state.put(Kept { record, created, named_at: None });
                        }
                        Some(_) => {}
                        None => foreign += 1,
                    },
                    Line::End { provider, digest } => drop(state.take(&(provider, digest))),
                    Line::Header { provider, name } => state.remember(provider, name),
                }
            }
        }
        if foreign > 0 {
            tracing::warn!(sessions = foreign, "sessions of another token, or damaged ones, are forgotten");
        }
        sessions.journal = Some(Journal::start(path, Arc::clone(&sessions.state))?);
        Ok(sessions)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.state().sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of additional headers that claims of a provider have held (PX-221).
    pub(super) fn header_names(&self, provider: ProviderPk) -> Vec<String> {
        self.state().headers.get(&provider).map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn digest(&self, provider: ProviderPk, value: &str) -> Digest {
        self.keys.digest(Purpose::SessionLookup, &[b"proxy", &provider.0.to_be_bytes(), value.as_bytes()])
    }

    pub(super) fn fingerprint(&self, provider: ProviderPk, header: &[u8]) -> Digest {
        self.keys.digest(Purpose::CredentialFingerprint, &[&provider.0.to_be_bytes(), header])
    }

    pub(super) fn value(&self, provider: ProviderPk, salt: &[u8; 32]) -> String {
        URL_SAFE_NO_PAD.encode(self.keys.digest(Purpose::SessionValue, &[&provider.0.to_be_bytes(), salt]))
    }

    pub(super) async fn put(&self, record: &SessionRecord) -> Result<(), ControlError> {
        let created = self.clock.now();
        let sealed = self.journal.as_ref().map(|_| self.seal(record, created)).transpose()?;
        let (bearings, provider) = (&record.grant.bearings, record.provider);
        let written = {
            let mut state = self.state();
            // A change while the control plane looked may be one that it did not see.
            let stands = self.epochs.stands(&self.mark(bearings, record.grant.built_at, provider, &record.digest));
            let named_at = stands.then(|| self.named.present());
            let names = header::added_names(&record.grant.claims.ak_proxy.user_attributes);
            let known = state.headers.get(&provider);
            let new: Vec<_> = names
                .filter(|name| known.is_none_or(|known| !known.contains(name)))
                .take(MOST_HEADERS.saturating_sub(known.map_or(0, BTreeSet::len)))
                .collect();
            let mut lines: Vec<_> = new.iter().map(|name| Line::header(provider, name)).collect();
            for name in new {
                state.remember(provider, name);
            }
            lines.extend(sealed.map(|sealed| Line::put(provider, &record.digest, &sealed)));
            if let Some((provider, digest)) = state.put(Kept { record: record.clone(), created, named_at }) {
                lines.push(Line::end(provider, &digest));
                self.epochs.bump(Subject::OutpostSession(&digest));
            }
            if let Some(shed) = state.shed(self.most) {
                lines.push(Line::end(shed.0, &shed.1));
                self.epochs.bump(Subject::OutpostSession(&shed.1));
            }
            // In the order of the changes: handed over while the state is ours.
            self.journal.as_ref().map(|journal| journal.write(lines))
        };
        confirmed(written).await
    }

    pub(super) fn by_digest(&self, key: Key) -> Option<SessionRecord> {
        let now = self.clock.now();
        let state = self.state();
        state.sessions.get(&key).map(|kept| &kept.record).filter(|record| record.expires > now).cloned()
    }

    pub(super) fn by_fingerprint(&self, provider: ProviderPk, fingerprint: Digest) -> Option<SessionRecord> {
        let digest = self.state().index.by_fingerprint(provider, &fingerprint)?;
        self.by_digest((provider, digest))
    }

    /// Ends one session.
    pub(super) async fn end(&self, key: Key) -> Result<(), ControlError> {
        self.end_all(|_| vec![key]).await
    }

    /// Ends all sessions of a user, by what [`Bearings::user`] holds (PX-190, PX-191).
    pub(super) async fn end_of_user(&self, user: &str, provider: Option<i32>) -> Result<(), ControlError> {
        let ended = self.end_all(|state| of(provider, state.of_user(user))).await;
        self.bump(Subject::User(user));
        ended
    }

    /// Ends all sessions that came from one session of the identity provider (PX-195). An empty id matches nothing.
    pub(super) async fn end_of_sid(&self, sid: &str, provider: Option<i32>) -> Result<(), ControlError> {
        if sid.is_empty() {
            return Ok(());
        }
        let ended = self.end_all(|state| of(provider, state.index.of_sid(sid))).await;
        self.bump(Subject::Session(sid));
        ended
    }

    /// Ends all sessions that rest on one access token.
    pub(super) async fn end_of_token(&self, jti: &str, provider: Option<i32>) -> Result<(), ControlError> {
        if jti.is_empty() {
            return Ok(());
        }
        let ended = self.end_all(|state| of(provider, state.index.of_token(jti))).await;
        self.bump(Subject::Credential(jti));
        ended
    }

    /// Ends all sessions of a subject, of one provider or of all.
    pub(super) async fn end_of_sub(&self, sub: &str, provider: Option<i32>) -> Result<(), ControlError> {
        if sub.is_empty() {
            return Ok(());
        }
        let ended = self.end_all(|state| of(provider, state.index.of_sub(sub))).await;
        // Those whose session is about to be kept are not found by their subject.
        self.bump(provider.map_or(Subject::Everyone, Subject::Provider));
        ended
    }

    async fn end_all(&self, find: impl FnOnce(&State) -> Vec<Key>) -> Result<(), ControlError> {
        let written = {
            let mut state = self.state();
            let found = find(&state);
            let ended: Vec<_> = found.into_iter().filter(|key| state.take(key).is_some()).collect();
            let lines: Vec<_> = ended.iter().map(|(provider, digest)| Line::end(*provider, digest)).collect();
            for (_, digest) in &ended {
                self.epochs.bump(Subject::OutpostSession(digest));
            }
            self.journal.as_ref().filter(|_| !lines.is_empty()).map(|journal| journal.write_through(lines))
        };
        confirmed(written).await
    }

    /// What is known of a session without asking.
    pub(super) fn standing(&self, record: &SessionRecord) -> Standing {
        let (bearings, provider, digest) = (&record.grant.bearings, record.provider, &record.digest);
        let named_at = self.state().sessions.get(&(provider, *digest)).and_then(|kept| kept.named_at);
        let undisputed =
            named_at.is_some_and(|at| self.named.stands(&bearings.mark(&self.named, at, provider, digest)));
        if !undisputed {
            return Standing::Doubtful;
        }
        let proven = self.epochs.stands(&self.mark(bearings, record.grant.built_at, provider, digest));
        if proven { Standing::Proven } else { Standing::Unknown }
    }

    /// A session was proven; the moments are those before the control plane was asked.
    pub(super) fn proven(&self, record: &SessionRecord, built_at: u64, named_at: u64) {
        if let Some(kept) = self.state().sessions.get_mut(&(record.provider, record.digest)) {
            kept.record.grant.built_at = kept.record.grant.built_at.max(built_at);
            kept.named_at = Some(kept.named_at.unwrap_or_default().max(named_at));
        }
    }

    fn mark(
        &self,
        bearings: &Bearings,
        built_at: u64,
        provider: ProviderPk,
        digest: &Digest,
    ) -> portcullis_core::epoch::Mark {
        bearings.mark(&self.epochs, built_at, provider, digest)
    }

    /// What the control plane has named as changed: whatever rests on it is looked at again.
    pub(super) fn bump(&self, subject: Subject<'_>) {
        self.named.bump(subject);
        self.epochs.bump(subject);
    }

    /// Nothing was heard for a while: everything is looked at again.
    pub(super) fn doubt_everything(&self) {
        self.epochs.bump(Subject::Everyone);
    }

    /// Removes sessions whose time is over (PX-176).
    pub(super) async fn sweep(&self) -> Result<(), ControlError> {
        let now = self.clock.now();
        loop {
            let mut found = 0;
            self.end_all(|state| {
                let over = state.index.over(now, BATCH);
                found = over.len();
                over
            })
            .await?;
            if found < BATCH {
                break;
            }
            tokio::task::yield_now().await;
        }
        match &self.journal {
            Some(journal) => journal.tidy(self.len()).await.map_err(failed),
            None => Ok(()),
        }
    }

    fn seal(&self, record: &SessionRecord, created: Timestamp) -> Result<Vec<u8>, ControlError> {
        let text = journal::kept(record, created).map_err(failed)?;
        Ok(self.keys.seal(&journal::place(record.provider, &record.digest), &text, &*self.entropy))
    }

    fn unseal(&self, provider: ProviderPk, digest: &Digest, sealed: &[u8]) -> Option<(SessionRecord, Timestamp)> {
        let text = self.keys.open(&journal::place(provider, digest), sealed).ok()?;
        journal::unkept(provider, *digest, &text)
    }
}

impl State {
    /// Keeps a session. Gives the one that it takes the place of, if that had another value.
    fn put(&mut self, kept: Kept) -> Option<Key> {
        let (provider, digest) = (kept.record.provider, kept.record.digest);
        let same_credential = kept.record.fingerprint.and_then(|print| self.index.by_fingerprint(provider, &print));
        let replaced = same_credential.filter(|old| *old != digest).map(|old| (provider, old));
        if let Some(old) = &replaced {
            self.take(old);
        }
        self.take(&(provider, digest));
        self.index.add(&kept.record, kept.created);
        self.sessions.insert((provider, digest), kept);
        replaced
    }

    fn take(&mut self, key: &Key) -> Option<Kept> {
        let kept = self.sessions.remove(key)?;
        self.index.remove(&kept.record, kept.created);
        Some(kept)
    }

    /// Makes room for one, if there are too many: that of the oldest credentials, before any login.
    fn shed(&mut self, most: usize) -> Option<Key> {
        let key = (self.sessions.len() > most).then(|| self.index.first_to_go()).flatten()?;
        self.take(&key).map(|_| key)
    }

    fn remember(&mut self, provider: ProviderPk, name: String) {
        let names = self.headers.entry(provider).or_default();
        if names.len() < MOST_HEADERS {
            names.insert(name);
        }
    }

    /// All sessions of a user: those with the same id, and whatever shares a subject with one of them that cannot be
    /// anybody else's (PX-191).
    fn of_user(&self, user: &str) -> Vec<Key> {
        let direct = self.index.of_user(user);
        let subjects: BTreeSet<_> = direct
            .iter()
            .filter_map(|key| self.sessions.get(key))
            .map(|kept| alias_of(kept.record.provider, &kept.record.grant.claims.sub))
            .collect();
        let mut all: BTreeSet<_> = direct.into_iter().collect();
        all.extend(subjects.iter().flat_map(|alias| self.index.of_alias(alias)));
        all.into_iter().collect()
    }

    fn is_live(&self, key: &Key) -> bool {
        self.sessions.contains_key(key)
    }
}

fn of(provider: Option<i32>, keys: Vec<Key>) -> Vec<Key> {
    keys.into_iter().filter(|key| provider.is_none_or(|provider| key.0.0 == provider)).collect()
}

async fn confirmed(written: Option<journal::Written>) -> Result<(), ControlError> {
    match written {
        Some(written) => written.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).map_err(failed),
        None => Ok(()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` takes")]
fn failed(error: io::Error) -> ControlError {
    ControlError::Unavailable(format!("the file of sessions: {error}"))
}

#[cfg(test)]
pub(super) mod tests;
