//! Which application answers for a host (section 4 of the proxy specification).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_core::host::Host;
use portcullis_core::id::ProviderPk;
use portcullis_core::origin::Origin;
use portcullis_core::outpost::Configuration;

use crate::application::Application;
use crate::identity_cache::Caches;
use crate::metrics::Durations;
use crate::settings::ProxySettings;

/// All applications of one configuration.
#[derive(Default)]
pub struct Table {
    by_pk: HashMap<ProviderPk, Arc<Application>>,
    by_host: HashMap<String, Arc<Application>>,
    /// `None` if several applications share the name on different ports.
    by_name: HashMap<String, Option<Arc<Application>>>,
    /// Longest domain first.
    domains: Vec<(String, Arc<Application>)>,
    fallback: Option<Arc<Application>>,
    /// Those that are never found, because the other one has the same host (PX-055).
    shadowed: Vec<(Arc<Application>, Arc<Application>)>,
    /// How long requests take that are no application's.
    others: Arc<Durations>,
}

impl Table {
    /// Builds the table of a configuration.
    ///
    /// Applications whose provider did not change are taken over with their caches. A provider that
    /// cannot be set up leaves the others alone, and keeps its old self if it had one (PX-008).
    pub fn build(configuration: &Configuration, settings: &Arc<ProxySettings>, caches: &Caches, before: &Self) -> Self {
        let mut providers: Vec<_> = configuration.providers.iter().collect();
        // Where two claim the same place, the lowest key wins, whatever order they came in (PX-055).
        providers.sort_by_key(|provider| provider.pk);
        let others = Arc::new(Durations::new(&configuration.outpost_name, "other", None));
        let mut table = Self { others, ..Self::default() };
        for provider in providers {
            let old = before.by_pk.get(&provider.pk);
            let application = match old {
                Some(old) if old.is_current(provider, &configuration.outpost_name) => Arc::clone(old),
                _ => match Application::new(
                    provider,
                    &configuration.outpost_name,
                    settings,
                    caches,
                    old.map(Arc::as_ref),
                ) {
                    Ok(application) => Arc::new(application),
                    Err(error) => {
                        tracing::error!(
                            provider.name = provider.name,
                            stale = old.is_some(),
                            %error,
                            "a provider cannot be set up"
                        );
                        let Some(old) = old else { continue };
                        Arc::clone(old)
                    }
                },
            };
            table.add(application);
        }
        table.domains.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.len()));
        let mut all = table.by_pk.values();
        if let (true, Some(only), None) = (settings.single_app_fallback, all.next(), all.next()) {
            table.fallback = Some(Arc::clone(only));
        }
        table
    }

    fn add(&mut self, application: Arc<Application>) {
        let host = application.rule.host();
        let key = host.to_string();
        if let Some(first) = self.by_host.get(&key) {
            tracing::error!(
                host = key,
                provider.name = application.provider.name,
                served_by = first.provider.name,
                "two providers have the same external_host"
            );
            self.shadowed.push((Arc::clone(&application), Arc::clone(first)));
        } else {
            self.by_host.insert(key, Arc::clone(&application));
            self.by_name
                .entry(host.name().to_owned())
                .and_modify(|several| *several = None)
                .or_insert_with(|| Some(Arc::clone(&application)));
        }
        if let Some(domain) = application.rule.domain() {
            self.domains.push((domain.to_owned(), Arc::clone(&application)));
        }
        self.by_pk.insert(application.provider.pk, application);
    }

    /// The application that answers a request (PX-050 … PX-056); none if no host matches.
    pub fn find(&self, origin: &Origin) -> Option<&Arc<Application>> {
        // A host that is in normal form already, as nearly all are, needs no parsing.
        if let Some(exact) = self.by_host.get(origin.host.as_str()) {
            return Some(exact);
        }
        let host = Host::parse(&origin.host, origin.scheme)?;
        self.by_host
            .get(&host.to_string())
            .or_else(|| self.by_name.get(host.name()).and_then(Option::as_ref))
            .or_else(|| self.within_domain(&host))
            .or(self.fallback.as_ref())
    }

    /// The longest cookie domain around the host; in a tie, the provider that lives there (PX-053).
    fn within_domain(&self, host: &Host) -> Option<&Arc<Application>> {
        let longest = self.domains.iter().find(|(domain, _)| host.is_within(domain))?.0.as_str();
        let mut tied = self.domains.iter().filter(|(domain, _)| domain == longest).map(|(_, application)| application);
        tied.clone().find(|application| application.rule.host().name() == host.name()).or_else(|| tied.next())
    }

    /// An application by its provider's key.
    pub fn by_pk(&self, pk: ProviderPk) -> Option<&Arc<Application>> {
        self.by_pk.get(&pk)
    }
}

/// The table in force. A request looks once, and keeps what it found to its end.
pub struct Applications {
    settings: Arc<ProxySettings>,
    caches: Caches,
    table: ArcSwap<Table>,
}

impl Applications {
    /// The table of the first configuration.
    pub fn new(settings: Arc<ProxySettings>, configuration: &Configuration) -> Self {
        let caches = Caches::new(&settings);
        let table = Table::build(configuration, &settings, &caches, &Table::default());
        Self { settings, caches, table: ArcSwap::from_pointee(table) }
    }

    /// Replaces the table as a whole. One caller at a time.
    pub fn update(&self, configuration: &Configuration) {
        let table = Table::build(configuration, &self.settings, &self.caches, &self.table.load());
        self.table.store(Arc::new(table));
    }

    /// The application that answers a request.
    pub fn find(&self, origin: &Origin) -> Option<Arc<Application>> {
        self.table.load().find(origin).cloned()
    }

    /// What all of them share.
    pub fn caches(&self) -> &Caches {
        &self.caches
    }

    /// How long requests take that are no application's.
    pub fn others(&self) -> Arc<Durations> {
        Arc::clone(&self.table.load().others)
    }

    /// Applications that are never found, each with the one that has its host (PX-055).
    pub fn shadowed(&self) -> Vec<(Arc<Application>, Arc<Application>)> {
        self.table.load().shadowed.clone()
    }

    /// All applications.
    pub fn all(&self) -> Vec<Arc<Application>> {
        self.table.load().by_pk.values().cloned().collect()
    }

    /// The application of a provider.
    pub fn by_pk(&self, pk: ProviderPk) -> Option<Arc<Application>> {
        self.table.load().by_pk(pk).cloned()
    }
}
