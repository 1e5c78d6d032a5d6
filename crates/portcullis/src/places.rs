//! The databases that say where addresses are: read when the process starts, and again when their files change (CO-386).

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_idp::context::Context;
use portcullis_idp::places::{Database, Kind, Places};
use tokio_util::sync::CancellationToken;

use crate::settings::ContextProcessors;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// The databases that the settings name, which are yet to be read.
pub(crate) fn wanted(settings: &ContextProcessors) -> Places {
    let database = |file: &Option<PathBuf>| if file.is_some() { Database::wanted() } else { Database::default() };
    Places { cities: database(&settings.geoip), networks: database(&settings.asn) }
}

/// The files that are watched.
pub(crate) struct Watch {
    cities: Option<Watched>,
    networks: Option<Watched>,
}

/// A file, and what it was like when it was last looked at.
struct Watched {
    setting: &'static str,
    path: PathBuf,
    seen: Option<Seen>,
}

/// What tells one content of a file from another, or why it cannot be read.
type Seen = Result<Stamp, io::ErrorKind>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    bytes: u64,
    inode: u64,
}

impl Watch {
    /// Reads the files that the settings name. One that is missing or broken is waited for: what it would say is unknown
    /// until then.
    pub(crate) async fn begin(settings: &ContextProcessors, places: &Places) -> Self {
        let watched = |setting, path: &Option<PathBuf>| {
            path.as_ref().map(|path| Watched { setting, path: path.clone(), seen: None })
        };
        let mut watch = Self {
            cities: watched("events.context_processors.geoip", &settings.geoip),
            networks: watched("events.context_processors.asn", &settings.asn),
        };
        watch.look(places).await;
        watch
    }

    /// Looks at the files until the process is told to stop.
    pub(crate) async fn follow(mut self, context: Arc<Context>, stop: CancellationToken) {
        while self.cities.is_some() || self.networks.is_some() {
            tokio::time::sleep(EVERY).await;
            if stop.is_cancelled() {
                return;
            }
            self.look(&context.places).await;
        }
    }

    async fn look(&mut self, places: &Places) {
        if let Some(cities) = &mut self.cities {
            cities.look(&places.cities, Kind::Cities).await;
        }
        if let Some(networks) = &mut self.networks {
            networks.look(&places.networks, Kind::Networks).await;
        }
    }
}

impl Watched {
    /// Takes over what is in the file, if that is not what was there last time.
    async fn look(&mut self, database: &Database, wanted: Kind) {
        let (path, seen) = (self.path.clone(), self.seen);
        // Databases have up to some hundred megabytes.
        let Ok(Some((now, bytes))) = tokio::task::spawn_blocking(move || changed(&path, seen)).await else { return };
        self.seen = Some(now);
        let (setting, file) = (self.setting, self.path.display());
        match bytes.map(|bytes| database.load(bytes, wanted)) {
            Ok(Ok(kind)) => tracing::info!(setting, file = %file, kind, "a database of addresses was read"),
            Ok(Err(error)) => tracing::warn!(setting, file = %file, %error, "cannot use a database of addresses"),
            Err(error) => tracing::warn!(setting, file = %file, %error, "cannot read a database of addresses"),
        }
    }
}

/// What a file is like now and what is in it, unless it is as it was `seen`.
fn changed(path: &Path, seen: Option<Seen>) -> Option<(Seen, io::Result<Vec<u8>>)> {
    let opened = File::open(path).and_then(|file| {
        let of = file.metadata()?;
        let stamp = Stamp { modified: (of.mtime(), of.mtime_nsec()), bytes: of.size(), inode: of.ino() };
        Ok((file, stamp))
    });
    let now = opened.as_ref().map(|(_, stamp)| *stamp).map_err(io::Error::kind);
    if seen == Some(now) {
        return None;
    }
    let bytes = opened.and_then(|(mut file, _)| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    Some((now, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CITIES: &[u8] = include_bytes!("../../../tests/cases/places/city.mmdb");
    const NETWORKS: &[u8] = include_bytes!("../../../tests/cases/places/asn.mmdb");

    /// CO-386: a database is taken over when its file appears or changes; while it is missing or broken, the one that was
    /// read before stays.
    #[tokio::test]
    async fn co_386_databases_follow_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("city.mmdb");
        let settings = ContextProcessors { geoip: Some(path.clone()), asn: None };
        let places = wanted(&settings);
        assert!(places.cities.is_wanted() && !places.networks.is_wanted());
        let mut watch = Watch::begin(&settings, &places).await;
        let country = |places: &Places| places.place([192, 0, 2, 7].into()).and_then(|place| place.country);
        assert_eq!(country(&places), None);
        // As those who keep databases fresh do it: whole, then renamed.
        let put = |bytes: &[u8]| {
            let other = directory.path().join("other");
            std::fs::write(&other, bytes).unwrap();
            std::fs::rename(&other, &path).unwrap();
        };
        for (bytes, expected) in
            [(CITIES, Some("DE")), (b"broken", Some("DE")), (NETWORKS, Some("DE")), (CITIES, Some("DE"))]
        {
            put(bytes);
            watch.look(&places).await;
            assert_eq!(country(&places).as_deref(), expected);
        }
        std::fs::remove_file(&path).unwrap();
        watch.look(&places).await;
        assert_eq!(country(&places).as_deref(), Some("DE"));
    }

    /// CO-386: a file that has not changed is not read again, one that cannot be read is complained about once.
    #[test]
    fn co_386_a_file_is_read_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let (seen, bytes) = changed(&path, None).expect("is looked at");
        assert!(seen == Err(io::ErrorKind::NotFound) && bytes.is_err());
        assert!(changed(&path, Some(seen)).is_none());
        std::fs::write(&path, "one").unwrap();
        let (seen, bytes) = changed(&path, Some(seen)).expect("is there");
        assert_eq!(bytes.unwrap(), b"one");
        assert!(changed(&path, Some(seen)).is_none());
        std::fs::write(&path, "three").unwrap();
        assert_eq!(changed(&path, Some(seen)).expect("has changed").1.unwrap(), b"three");
        assert!(changed(directory.path(), None).expect("is looked at").1.is_err(), "a folder is no file");
    }
}
