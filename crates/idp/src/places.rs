//! Where addresses are, and whose networks they belong to (CO-181, CO-386, CO-411), as databases in MaxMind's format say.
//!
//! A database is a whole file in memory; its looks cost a microsecond or so and wait for nothing. Whoever reads files puts
//! another one in its place at any time.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The databases of a process. By default there are none.
#[derive(Debug, Default)]
pub struct Places {
    /// Continents, countries and cities.
    pub cities: Database,
    /// Networks, and the autonomous systems that they are part of.
    pub networks: Database,
}

/// A database that can be replaced while it is asked.
#[derive(Debug, Default)]
pub struct Database {
    is_wanted: bool,
    reader: ArcSwapOption<Reader<Vec<u8>>>,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is something else.
    #[error("it is no database in MaxMind's format")]
    NoDatabase(#[source] MaxMindDbError),
    /// It is a database of something else.
    #[error("it says that it is a database of the type {0:?}, which does not tell what is asked for")]
    OtherKind(String),
}

/// What a database is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Continents, countries and cities.
    Cities,
    /// Networks, and the autonomous systems that they are part of.
    Networks,
}

impl Kind {
    /// Whether a database that says that it is of this type tells it.
    fn is_told_by(self, database_type: &str) -> bool {
        let names: &[&str] = match self {
            Self::Cities => &["city", "country", "enterprise"],
            Self::Networks => &["asn", "isp"],
        };
        let database_type = database_type.to_ascii_lowercase();
        names.iter().any(|name| database_type.contains(name))
    }
}

impl Database {
    /// One that is wanted, but not there yet.
    pub fn wanted() -> Self {
        Self { is_wanted: true, ..Self::default() }
    }

    /// Puts the database in `bytes` in the place of the present one, if it tells what is `wanted`; gives the type that it says
    /// that it is of.
    ///
    /// # Errors
    /// [`Unusable`]; then the present one stays.
    pub fn load(&self, bytes: Vec<u8>, wanted: Kind) -> Result<String, Unusable> {
        let reader = Reader::from_source(bytes).map_err(Unusable::NoDatabase)?;
        let said = reader.metadata().database_type.clone();
        if !wanted.is_told_by(&said) {
            return Err(Unusable::OtherKind(said));
        }
        self.reader.store(Some(Arc::new(reader)));
        Ok(said)
    }

    /// Whether there is one that can be asked.
    pub fn is_loaded(&self) -> bool {
        self.reader.load().is_some()
    }

    /// Whether there is one, or the operator named one that is not there yet.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted || self.is_loaded()
    }

    /// The record of an address, with the network that it holds for. A record that cannot be read counts as none.
    fn record<T: DeserializeOwned>(&self, address: IpAddr) -> Option<(T, String)> {
        let reader = self.reader.load();
        // An IPv6 address cannot be looked for in a database of IPv4 alone.
        let found = reader.as_ref()?.lookup(address.to_canonical()).ok()?;
        let record = found.decode().inspect_err(|error| tracing::debug!(%error, "a record of an address")).ok()??;
        Some((record, found.network().ok()?.to_string()))
    }
}

/// Where an address is (schema `AuthenticatedSessionGeoIp`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// Code of the continent, such as `EU`.
    pub continent: Option<String>,
    /// ISO code of the country, such as `DE`.
    pub country: Option<String>,
    /// English name of the city; empty when it is not known.
    pub city: String,
    /// Degrees north.
    pub latitude: Option<f64>,
    /// Degrees east.
    pub longitude: Option<f64>,
}

/// Whose network an address belongs to (schema `AuthenticatedSessionAsn`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Number of the autonomous system.
    pub number: Option<u32>,
    /// Who runs it.
    pub organisation: Option<String>,
    /// The network that the database has it under, such as `192.0.2.0/24`.
    pub network: String,
}

impl Place {
    /// As clients, policies and events see it.
    pub fn shown(&self) -> Value {
        let Self { continent, country, city, latitude, longitude } = self;
        json!({"continent": continent, "country": country, "lat": latitude, "long": longitude, "city": city})
    }
}

impl Network {
    /// As clients, policies and events see it.
    pub fn shown(&self) -> Value {
        json!({"asn": self.number, "as_org": self.organisation, "network": self.network})
    }
}

impl Places {
    /// Where an address is; none when no database knows it.
    pub fn place(&self, address: IpAddr) -> Option<Place> {
        let (record, _): (CityRecord, _) = self.cities.record(address)?;
        Some(Place {
            continent: record.continent.code,
            country: record.country.iso_code,
            city: record.city.names.en.unwrap_or_default(),
            latitude: record.location.latitude,
            longitude: record.location.longitude,
        })
    }

    /// Whose network an address belongs to; none when no database knows it.
    pub fn network(&self, address: IpAddr) -> Option<Network> {
        let (record, network): (NetworkRecord, _) = self.networks.record(address)?;
        Some(Network {
            number: record.autonomous_system_number,
            organisation: record.autonomous_system_organization,
            network,
        })
    }

    /// What policies find in `context` before anything else (CO-181): `geoip` and `asn`, each if its database is wanted,
    /// null for an address that it does not know.
    pub(crate) fn entries(&self, client: Option<IpAddr>) -> Map<String, Value> {
        let mut entries = Map::new();
        if self.cities.is_wanted() {
            let place = client.and_then(|client| self.place(client));
            entries.insert("geoip".to_owned(), place.map_or(Value::Null, |place| place.shown()));
        }
        if self.networks.is_wanted() {
            let network = client.and_then(|client| self.network(client));
            entries.insert("asn".to_owned(), network.map_or(Value::Null, |network| network.shown()));
        }
        entries
    }

    /// What events say of an address (CO-411): `geo` and `asn`, where they are known.
    pub(crate) fn told(&self, client: Option<IpAddr>) -> impl Iterator<Item = (&'static str, Value)> {
        let place = client.and_then(|client| self.place(client)).map(|place| ("geo", place.shown()));
        let network = client.and_then(|client| self.network(client)).map(|network| ("asn", network.shown()));
        place.into_iter().chain(network)
    }
}

// What databases of cities and countries have in common. Whatever else is in them is skipped.

#[derive(Default, Deserialize)]
#[serde(default)]
struct CityRecord {
    continent: Continent,
    country: Country,
    city: City,
    location: Location,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Continent {
    code: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Country {
    iso_code: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct City {
    names: Names,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names {
    en: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Location {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NetworkRecord {
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<String>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const CITIES: &[u8] = include_bytes!("../../../tests/cases/places/city.mmdb");
    const NETWORKS: &[u8] = include_bytes!("../../../tests/cases/places/asn.mmdb");

    /// The databases of `tests/cases/places`.
    pub(crate) fn places() -> Places {
        let places = Places { cities: Database::wanted(), networks: Database::wanted() };
        assert_eq!(places.cities.load(CITIES.to_vec(), Kind::Cities).expect("is one"), "GeoLite2-City");
        assert_eq!(places.networks.load(NETWORKS.to_vec(), Kind::Networks).expect("is one"), "GeoLite2-ASN");
        places
    }

    fn at(address: &str) -> IpAddr {
        address.parse().expect("an address")
    }

    /// CO-411: an address is looked for in both databases, an IPv4 one also as it is written in IPv6.
    #[test]
    fn co_411_addresses_are_looked_for() {
        let places = places();
        for address in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8:1::7"] {
            let place = places.place(at(address)).expect(address);
            let bonn = json!({"continent": "EU", "country": "DE", "lat": 50.75, "long": 7.125, "city": "Bonn"});
            assert_eq!(place.shown(), bonn, "{address}");
        }
        let network = places.network(at("192.0.2.20")).expect("is known");
        let harbour = json!({"asn": 64496, "as_org": "Harbour Net", "network": "192.0.2.16/28"});
        assert_eq!(network.shown(), harbour);
        let v6 = places.network(at("2001:db8:1::7")).expect("is known");
        assert_eq!(v6.network, "2001:db8:1::/48");
        let country = places.place(at("192.0.2.50")).expect("is known");
        let austria = json!({"continent": "EU", "country": "AT", "lat": null, "long": null, "city": ""});
        assert_eq!(country.shown(), austria);
        assert_eq!((places.place(at("203.0.113.1")), places.network(at("192.0.2.50"))), (None, None));
    }

    /// CO-181: policies find a key for each database that is wanted, null where it knows nothing; events find what is known.
    #[test]
    fn co_181_unknown_is_null_where_a_database_is_wanted() {
        let here = Some(at("192.0.2.50"));
        assert_eq!(Places::default().entries(here), Map::new());
        let known = places().entries(here);
        assert_eq!((&known["geoip"]["country"], &known["asn"]), (&json!("AT"), &Value::Null));
        let missing = Places { cities: Database::wanted(), ..Places::default() };
        assert_eq!(json!(missing.entries(here)), json!({"geoip": null}));
        assert_eq!(json!(missing.entries(None)), json!({"geoip": null}));
        assert_eq!(missing.told(here).count(), 0);
        assert_eq!(places().told(here).map(|(key, _)| key).collect::<Vec<_>>(), ["geo"]);
        assert_eq!(places().told(Some(at("192.0.2.7"))).map(|(key, _)| key).collect::<Vec<_>>(), ["geo", "asn"]);
    }

    /// CO-386: what is no database takes the place of none, and a database may be cut off anywhere without harm.
    #[test]
    fn co_386_a_broken_file_changes_nothing() {
        let places = places();
        for broken in [&[][..], b"words", CITIES.get(..CITIES.len() / 2).expect("half of it")] {
            assert!(places.cities.load(broken.to_vec(), Kind::Cities).is_err());
        }
        assert!(places.place(at("192.0.2.7")).is_some());
        let empty = Database::wanted();
        assert_eq!((empty.is_wanted(), empty.is_loaded()), (true, false));
        // One of another kind would know nothing of what it is asked.
        assert!(places.cities.load(NETWORKS.to_vec(), Kind::Cities).is_err());
        assert!(places.networks.load(CITIES.to_vec(), Kind::Networks).is_err());
        assert!(places.place(at("192.0.2.7")).is_some_and(|place| place.city == "Bonn"));
        assert!(places.network(at("192.0.2.20")).is_some());
        for (index, _) in CITIES.iter().enumerate() {
            let mut bytes = CITIES.to_vec();
            bytes.iter_mut().skip(index).take(1).for_each(|byte| *byte ^= 0xff);
            if places.cities.load(bytes, Kind::Cities).is_ok() {
                let _ = places.place(at("192.0.2.7"));
            }
        }
    }
}
