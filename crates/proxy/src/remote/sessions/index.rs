//! By what sessions are found, so that nobody has to look through all of them (PX-175).

use std::collections::{BTreeSet, HashMap};

use portcullis_core::clock::Timestamp;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::Digest;
use portcullis_core::outpost::{SessionRecord, Source};

use super::Key;
use crate::remote::claims::alias_of;

/// Keys of sessions by one of their properties.
type By = HashMap<String, BTreeSet<Key>>;

/// Ways to find sessions.
#[derive(Default)]
pub(super) struct Index {
    fingerprints: HashMap<Key, Digest>,
    users: By,
    aliases: By,
    subs: By,
    sids: By,
    tokens: By,
    ends: BTreeSet<(Timestamp, Key)>,
    /// Logins last.
    ages: BTreeSet<(bool, Timestamp, Key)>,
}

impl Index {
    pub(super) fn add(&mut self, record: &SessionRecord, created: Timestamp) {
        let key = (record.provider, record.digest);
        if let Some(fingerprint) = record.fingerprint {
            self.fingerprints.insert((record.provider, fingerprint), record.digest);
        }
        for (by, name) in self.entries(record) {
            if !name.is_empty() {
                by.entry(name).or_default().insert(key);
            }
        }
        self.ends.insert((record.expires, key));
        self.ages.insert((record.source == Source::Code, created, key));
    }

    pub(super) fn remove(&mut self, record: &SessionRecord, created: Timestamp) {
        let key = (record.provider, record.digest);
        if let Some(fingerprint) = record.fingerprint {
            self.fingerprints.remove(&(record.provider, fingerprint));
        }
        for (by, name) in self.entries(record) {
            if let Some(keys) = by.get_mut(&name) {
                keys.remove(&key);
                if keys.is_empty() {
                    by.remove(&name);
                }
            }
        }
        self.ends.remove(&(record.expires, key));
        self.ages.remove(&(record.source == Source::Code, created, key));
    }

    fn entries(&mut self, record: &SessionRecord) -> [(&mut By, String); 5] {
        let (bearings, sub) = (&record.grant.bearings, &record.grant.claims.sub);
        [
            (&mut self.users, bearings.user.clone()),
            (&mut self.aliases, alias_of(record.provider, sub)),
            (&mut self.subs, sub.clone()),
            (&mut self.sids, bearings.sid.clone()),
            (&mut self.tokens, bearings.access_token.clone()),
        ]
    }

    pub(super) fn by_fingerprint(&self, provider: ProviderPk, fingerprint: &Digest) -> Option<Digest> {
        self.fingerprints.get(&(provider, *fingerprint)).copied()
    }

    pub(super) fn of_user(&self, user: &str) -> Vec<Key> {
        found(&self.users, user)
    }

    pub(super) fn of_alias(&self, alias: &str) -> Vec<Key> {
        found(&self.aliases, alias)
    }

    pub(super) fn of_sub(&self, sub: &str) -> Vec<Key> {
        found(&self.subs, sub)
    }

    pub(super) fn of_sid(&self, sid: &str) -> Vec<Key> {
        found(&self.sids, sid)
    }

    pub(super) fn of_token(&self, jti: &str) -> Vec<Key> {
        found(&self.tokens, jti)
    }

    /// Some of those whose time is over.
    pub(super) fn over(&self, now: Timestamp, most: usize) -> Vec<Key> {
        self.ends.iter().take_while(|(end, _)| *end <= now).take(most).map(|(_, key)| *key).collect()
    }

    /// What goes first when there are too many.
    pub(super) fn first_to_go(&self) -> Option<Key> {
        self.ages.first().map(|(_, _, key)| *key)
    }
}

fn found(by: &By, name: &str) -> Vec<Key> {
    by.get(name).into_iter().flatten().copied().collect()
}
