//! Which certificate is for which name.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use portcullis_core::host::Host;
use portcullis_core::id::{BrandId, CertificateId, ProviderPk};
use portcullis_core::keys::{Digest, sha256};
use portcullis_core::origin::Scheme;
use portcullis_core::outpost::{Certificate, Configuration, Provider};
use portcullis_core::redirect::RedirectRule;

use super::shown::Shown;

/// What a certificate of the configuration was found to be.
#[derive(Clone, Debug)]
enum Read {
    Usable(Arc<Shown>),
    WithoutKey,
    Broken,
}

/// How the control plane's own place is called in logs and metrics.
const OWN_NAME: &str = "(sign-in pages)";

/// Who shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Provider(ProviderPk),
    /// A brand's: for its domain and all names below it.
    Brand(BrandId),
    /// Found for the control plane's own host.
    Own,
}

/// A provider, or another, that shows a certificate, and the names under which it does.
#[derive(Debug)]
pub(super) struct Place {
    whose: Whose,
    /// For logs and metrics.
    pub(super) name: String,
    host: String,
    domain: Option<String>,
    /// Whether it is for the names of nobody, too.
    of_others: bool,
    pub(super) shown: Arc<Shown>,
}

impl Place {
    fn is_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shown, &other.shown)
            && (self.whose, &self.host, &self.domain, self.of_others)
                == (other.whose, &other.host, &other.domain, other.of_others)
    }
}

/// The certificates of one configuration.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// What was read, by what it was read from: nothing is read twice, or complained about twice.
    read: HashMap<CertificateId, (Digest, Read)>,
    /// By key of the provider; then those of brands, and the control plane's own.
    places: Vec<Place>,
}

impl Table {
    /// The table of a configuration. A certificate that cannot be read leaves its providers with the one that they
    /// showed before, and all others alone (PX-301).
    pub(super) fn build(configuration: &Configuration, before: &Self) -> Self {
        let read: HashMap<_, _> =
            configuration.certificates.iter().map(|given| (given.pk, before.read_anew(given))).collect();
        let mut providers: Vec<_> = configuration.providers.iter().collect();
        // Where two claim the same name, the lowest key wins, as it does among hosts (PX-055).
        providers.sort_by_key(|provider| provider.pk);
        let shown = |whose, certificate: CertificateId| match read.get(&certificate) {
            Some((_, Read::Usable(shown))) => Some(Arc::clone(shown)),
            Some((_, Read::WithoutKey)) => None,
            Some((_, Read::Broken)) | None => Some(Arc::clone(&before.of(whose)?.shown)),
        };
        let place = |provider: &Provider| {
            let whose = Whose::Provider(provider.pk);
            let shown = shown(whose, provider.certificate?)?;
            let rule = RedirectRule::new(&provider.external_host, provider.mode, &provider.cookie_domain).ok()?;
            Some(Place {
                whose,
                name: provider.name.clone(),
                host: rule.host().name().to_owned(),
                domain: rule.domain().map(str::to_owned),
                of_others: false,
                shown,
            })
        };
        let own = configuration.own_host.as_ref().and_then(|own| {
            let shown = shown(Whose::Own, own.certificate)?;
            let (name, host) = (OWN_NAME.to_owned(), own.host.clone());
            Some(Place { whose: Whose::Own, name, host, domain: None, of_others: false, shown })
        });
        let brands = configuration.brands.iter().filter_map(|brand| {
            let whose = Whose::Brand(brand.pk);
            let shown = shown(whose, brand.certificate)?;
            let (name, host) = (format!("(brand {})", brand.domain), brand.domain.clone());
            Some(Place { whose, name, host, domain: None, of_others: brand.is_default, shown })
        });
        let places = providers.into_iter().filter_map(place).chain(brands).chain(own).collect();
        Self { read, places }
    }

    fn read_anew(&self, given: &Certificate) -> (Digest, Read) {
        let digest = sha256(&[given.chain.as_bytes(), b"\0", given.key.as_bytes()].concat());
        match self.read.get(&given.pk) {
            Some((known, read)) if *known == digest => (digest, read.clone()),
            _ => (digest, read(given)),
        }
    }

    fn of(&self, whose: Whose) -> Option<&Place> {
        self.places.iter().find(|place| place.whose == whose)
    }

    /// The certificate for a name (PX-300); none if there is none for it. What providers name goes before what brands
    /// name, and that before what is found for the control plane, unless that alone is for the name.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Shown>> {
        let host = Host::parse(name, Scheme::Https)?;
        let mut exact = self.places.iter().filter(|place| place.host == host.name());
        let of_provider = exact.clone().find(|place| matches!(place.whose, Whose::Provider(_)));
        let around = || {
            let is_around = |place: &&Place| place.domain.as_ref().is_some_and(|domain| host.is_within(domain));
            let mut around: Vec<_> = self.places.iter().filter(is_around).collect();
            around.sort_by_key(|place| Reverse(place.domain.as_ref().map(String::len)));
            around.into_iter().find(|place| place.shown.covers(host.name()))
        };
        let of_control_plane = || {
            let own = exact.find(|place| place.whose == Whose::Own);
            let is_of = |place: &&Place| matches!(place.whose, Whose::Brand(_)) && host.is_within(&place.host);
            let brand = self.places.iter().filter(is_of).max_by_key(|place| place.host.len());
            brand.filter(|brand| own.is_none() || brand.shown.covers(host.name())).or(own)
        };
        let place = of_provider.or_else(around).or_else(of_control_plane);
        place.map(|place| &place.shown)
    }

    /// The certificate for the names of nobody.
    pub(super) fn of_others(&self) -> Option<&Arc<Shown>> {
        self.places.iter().find(|place| place.of_others).map(|place| &place.shown)
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Whether it shows the same under the same names.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.places.len() == other.places.len()
            && self.places.iter().zip(&other.places).all(|(left, right)| left.is_as(right))
    }

    /// The places that show something which they did not show before.
    pub(super) fn new_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Place> {
        let is_new = |place: &&Place| !before.of(place.whose).is_some_and(|old| Arc::ptr_eq(&old.shown, &place.shown));
        self.places.iter().filter(is_new)
    }
}

fn read(given: &Certificate) -> Read {
    if given.key.is_empty() {
        tracing::warn!(certificate = given.name, "a certificate without its private key cannot be shown: ignored");
        return Read::WithoutKey;
    }
    match Shown::read(given) {
        Ok(shown) => Read::Usable(Arc::new(shown)),
        Err(error) => {
            tracing::error!(certificate = given.name, %error, "a certificate cannot be used; the one before stays");
            Read::Broken
        }
    }
}
