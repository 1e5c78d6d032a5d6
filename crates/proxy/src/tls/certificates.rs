//! The certificates in force, and how long they last.

use std::sync::Arc;

use arc_swap::ArcSwap;
use metrics::{Gauge, gauge};
use portcullis_core::clock::Timestamp;
use portcullis_core::outpost::Configuration;
use rustls::server::StoresServerSessions;
use rustls::sign::CertifiedKey;

use super::sessions::Sessions;
use super::table::{Place, Table};

/// Certificates that end within this time are warned of (PX-304).
const NOTICE_SECONDS: i64 = 14 * 24 * 3600;

/// The certificates of the configuration in force. A handshake looks once; connections that are open do not look
/// again (PX-029).
#[derive(Debug, Default)]
pub struct Certificates {
    table: ArcSwap<Table>,
    sessions: Arc<Sessions>,
}

impl Certificates {
    /// Replaces the table as a whole; the next handshake looks into it. One caller at a time.
    pub fn update(&self, configuration: &Configuration, now: Timestamp) {
        let before = self.table.load_full();
        let table = Table::build(configuration, &before);
        for place in table.new_since(&before) {
            warn(place, now);
        }
        tell(&table, &before);
        let changed = !table.is_as(&before);
        self.table.store(Arc::new(table));
        if changed {
            self.sessions.forget();
        }
    }

    /// The certificate for a name (PX-300).
    pub(super) fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.table.load().find(name).map(|shown| Arc::clone(&shown.key))
    }

    /// The certificate for names that nobody has one for, and for clients that ask for none (CO-502).
    pub(super) fn of_others(&self) -> Option<Arc<CertifiedKey>> {
        self.table.load().of_others().map(|shown| Arc::clone(&shown.key))
    }

    pub(super) fn sessions(&self) -> Arc<dyn StoresServerSessions> {
        Arc::clone(&self.sessions) as _
    }

    /// Warns of all certificates that end soon.
    pub(crate) fn warn(&self, now: Timestamp) {
        for place in self.table.load().places() {
            warn(place, now);
        }
    }
}

fn warn(place: &Place, now: Timestamp) {
    if ends_soon(place, now) {
        tracing::warn!(
            provider.name = place.name,
            certificate = place.shown.name,
            expires = %place.shown.expires,
            "{}",
            if place.shown.expires <= now { "a certificate has expired" } else { "a certificate expires soon" }
        );
    }
}

fn ends_soon(place: &Place, now: Timestamp) -> bool {
    place.shown.expires <= now.plus_seconds(NOTICE_SECONDS)
}

fn tell(table: &Table, before: &Table) {
    for place in table.places() {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 have 38 bits at most")]
        end_of(place).set(place.shown.expires.seconds() as f64);
    }
    // A metric cannot be taken back; no number compares with this one, so nobody is alarmed.
    let gone = |old: &&Place| !table.places().iter().any(|place| place.name == old.name);
    before.places().iter().filter(gone).for_each(|old| end_of(old).set(f64::NAN));
}

fn end_of(place: &Place) -> Gauge {
    gauge!("portcullis_proxy_certificate_expiry_seconds", "provider" => place.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::{configuration, pair};

    /// PX-304: a certificate is warned of when it ends within 14 days, and when it has ended.
    #[test]
    fn px_304_certificates_that_end_soon_are_warned_of() {
        let given = pair(1, &["a.example"]);
        let end = given.expires;
        let table = Table::build(&configuration(&[(1, "https://a.example", "", 1)], vec![given]), &Table::default());
        let place = &table.places()[0];
        assert_eq!((place.name.as_str(), place.shown.expires), ("p1", end));
        let day = 24 * 3600;
        for (days, soon) in [(15, false), (14, true), (1, true), (0, true), (-1, true)] {
            assert_eq!(ends_soon(place, end.plus_seconds(-days * day)), soon, "{days} days before");
        }
    }
}
