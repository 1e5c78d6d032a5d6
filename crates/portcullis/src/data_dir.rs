//! The data directory, and where the database is: nobody else on the machine, and one process at a time, unless the
//! database is on a server that several processes may use.
//!
//! Everything that can be refused is refused before anything is created, so that a mistaken start
//! leaves no half-made instance behind.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::entropy::Entropy;
use portcullis_store::{Db, StoreError};
use zeroize::Zeroizing;

use crate::Failure;
use crate::settings::{DatabaseUrl, Secret, Settings};

const DATABASE: &str = "portcullis.db";
pub(crate) const SECRET_KEY: &str = "secret.key";
const LOCK: &str = "portcullis.lock";
/// A root secret has at least 32 bytes (CO-460).
const SHORTEST_SECRET: usize = 32;

/// Where the database is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A SQLite file.
    File(PathBuf),
    /// PostgreSQL.
    Server {
        /// May hold a password.
        url: Arc<Secret>,
        /// Connections of this process, at most.
        connections: u32,
    },
}

impl Place {
    /// What the settings name.
    pub(crate) fn of(settings: &Settings) -> Self {
        match &settings.database.url {
            None => Self::File(settings.general.data_dir.join(DATABASE)),
            Some(DatabaseUrl::Sqlite(path)) => Self::File(path.clone()),
            Some(DatabaseUrl::Postgres(url)) => {
                let connections = u32::try_from(settings.database.connections).unwrap_or(u32::MAX);
                Self::Server { url: Arc::clone(url), connections }
            }
        }
    }

    /// Opens it as it is; a file that is missing is created.
    ///
    /// # Errors
    /// When it cannot be opened or reached.
    pub(crate) async fn connect(&self) -> Result<Db, StoreError> {
        match self {
            Self::File(path) => Db::connect_sqlite(path).await,
            Self::Server { url, connections } => Db::connect_postgres(url.expose(), *connections).await,
        }
    }

    /// The file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server { .. } => None,
        }
    }
}

/// A data directory that this process holds, with what was found or made in it.
#[derive(Debug)]
pub(crate) struct DataDir {
    /// Where the database is.
    pub(crate) database: Place,
    /// The root secret.
    pub(crate) root_secret: Zeroizing<Vec<u8>>,
    /// Whether this start has drawn it.
    pub(crate) is_new: bool,
    /// What this start has made; files before their directory.
    made: Vec<PathBuf>,
    /// Of the directory and of a file's database. Held until the process ends, whichever way it ends.
    _locks: (File, Option<File>),
}

impl DataDir {
    /// Removes what this start has made, when it comes to nothing.
    pub(crate) fn undo(self) {
        remove(&self.made);
    }
}

/// The database and the root secret of an instance that is there, perhaps in use by a process that serves it. Nothing
/// is created, and nothing locked: for commands that add or remove a row.
///
/// # Errors
/// One line when there is no instance, or its secret key cannot be read.
pub(crate) fn existing(settings: &Settings) -> Result<(Place, Zeroizing<Vec<u8>>), Failure> {
    let database = Place::of(settings);
    let key_file = settings.general.data_dir.join(SECRET_KEY);
    let secret = match &settings.general.secret_key {
        Some(secret) => Some(Zeroizing::new(secret.expose().as_bytes().to_vec())),
        None => read_key(&key_file)?,
    };
    match secret {
        Some(secret) if database.file().is_none_or(Path::exists) => Ok((database, secret)),
        None if database.file().is_none() => {
            let key_file = key_file.display();
            Err(format!("there is no secret key: set secret_key to the one that the nodes have, or bring {key_file}")
                .into())
        }
        _ => {
            let directory = settings.general.data_dir.display();
            Err(format!("there is no instance in {directory}: say where it is with --data-dir").into())
        }
    }
}

/// Opens the data directory, creating it and the secret key for a new instance.
///
/// # Errors
/// One line for each of: a secret key that is too short, missing or readable by others, a directory that cannot be
/// created, written to, or is in use by another process.
pub(crate) fn open(settings: &Settings, entropy: &dyn Entropy) -> Result<DataDir, Failure> {
    let directory = settings.general.data_dir.as_path();
    let database = Place::of(settings);
    let key_file = directory.join(SECRET_KEY);
    let found = match &settings.general.secret_key {
        Some(secret) => Some(Zeroizing::new(secret.expose().as_bytes().to_vec())),
        None => read_key(&key_file)?,
    };
    if let Some(secret) = &found {
        long_enough(secret)?;
    }
    if let Some(file) = database.file() {
        if found.is_none() && file.exists() {
            let (file, key_file) = (file.display(), key_file.display());
            return Err(format!("{file} exists without its secret key: restore {key_file} or set secret_key").into());
        }
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if parent != directory && !parent.is_dir() {
            return Err(format!("database.url: there is no directory {}", parent.display()).into());
        }
    }

    let own = absent([directory.join(LOCK), directory.to_owned()]);
    create(directory)?;
    let of_directory = match &database {
        Place::File(_) => lock_directory(directory),
        Place::Server { .. } => share_directory(directory),
    }?;
    let of_database = database.file().map(lock_database).transpose().inspect_err(|_| remove(&own))?;
    // From here on nobody else makes anything.
    let mut made = absent([key_file.clone()]);
    if let Some(file) = database.file().filter(|file| !file.exists()) {
        // A log beside a database that was there before belongs to it: what it holds was acknowledged.
        made.extend(["", "-wal", "-shm", ".lock"].map(|end| beside(file, end)));
    }
    made.extend(own);
    let is_new = found.is_none();
    let root_secret = match found {
        Some(secret) => secret,
        None => new_key(&key_file, entropy).inspect_err(|_| remove(&made))?,
    };
    Ok(DataDir { database, root_secret, is_new, made, _locks: (of_directory, of_database) })
}

/// Refuses a root secret that is too short.
pub(crate) fn long_enough(secret: &[u8]) -> Result<(), Failure> {
    if secret.len() < SHORTEST_SECRET {
        return Err(format!("the secret key is shorter than {SHORTEST_SECRET} bytes").into());
    }
    Ok(())
}

/// Takes the directory for this process.
pub(crate) fn lock_directory(directory: &Path) -> Result<File, Failure> {
    lock(&directory.join(LOCK), &named(directory), File::try_lock)
}

/// Takes the directory for this process and others that serve from a database on a server: nothing but keys is here.
fn share_directory(directory: &Path) -> Result<File, Failure> {
    lock(&directory.join(LOCK), &named(directory), File::try_lock_shared)
}

fn named(directory: &Path) -> String {
    format!("the data directory {}", directory.display())
}

/// Takes the database for this process.
pub(crate) fn lock_database(database: &Path) -> Result<File, Failure> {
    lock(&lock_of(database), &format!("the database {}", database.display()), File::try_lock)
}

fn absent<const N: usize>(paths: [PathBuf; N]) -> Vec<PathBuf> {
    paths.into_iter().filter(|path| !path.exists()).collect()
}

fn beside(database: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", database.display()))
}

fn remove(paths: &[PathBuf]) {
    for path in paths {
        // What cannot be removed does no harm: the next start takes it for its own.
        drop(std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path)));
    }
}

pub(crate) fn create(directory: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| format!("cannot create the data directory {}: {error}", directory.display()).into())
}

/// The lock of a database is beside it, wherever the data directory is: two of those may name one database.
fn lock_of(database: &Path) -> PathBuf {
    beside(&database.canonicalize().unwrap_or_else(|_| database.to_owned()), ".lock")
}

/// Takes something for this process. Epochs and caches live in one process, and beside a file nobody is told what
/// another one revokes.
fn lock(path: &Path, what: &str, take: fn(&File) -> Result<(), TryLockError>) -> Result<File, Failure> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| format!("{what} cannot be written to: {error}"))?;
    match take(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!("{what} is in use by another process").into()),
        Err(TryLockError::Error(error)) => Err(format!("{what} cannot be locked: {error}").into()),
    }
}

pub(crate) fn read_key(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let shown = path.display();
    match std::fs::read(path) {
        Ok(secret) => {
            let mode = std::fs::metadata(path).map_or(0, |found| found.permissions().mode());
            if mode & 0o077 != 0 {
                return Err(format!("{shown} is readable by others: chmod 600 {shown}").into());
            }
            Ok(Some(Zeroizing::new(secret.trim_ascii().to_vec())))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(format!("cannot read the secret key {shown}: {error}").into()),
    }
}

/// Makes the secret key: complete and durable before anything is sealed with it, whenever the power fails.
pub(crate) fn new_key(path: &Path, entropy: &dyn Entropy) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let secret = Zeroizing::new(entropy.token());
    write_key(path, &secret).map_err(|error| format!("cannot write the secret key {}: {error}", path.display()))?;
    Ok(Zeroizing::new(secret.as_bytes().to_vec()))
}

pub(crate) fn write_key(path: &Path, secret: &str) -> std::io::Result<()> {
    if path.exists() {
        // Another process made it between our look and our lock.
        return Err(ErrorKind::AlreadyExists.into());
    }
    let unfinished = path.with_extension("key.new");
    // Of a start that was interrupted.
    drop(std::fs::remove_file(&unfinished));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(format!("{secret}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-460: a key is there as a whole or not at all; one that is there is never replaced, and what an
    /// interrupted start has left does not matter.
    #[test]
    fn co_460_a_key_is_written_as_a_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = directory.path().join(SECRET_KEY);
        std::fs::write(directory.path().join("secret.key.new"), "hal").expect("writes");
        write_key(&key, "whole").expect("writes");
        assert_eq!(read_key(&key).expect("reads").expect("is there").as_slice(), b"whole");
        assert!(write_key(&key, "another").is_err());
        assert_eq!(std::fs::read_dir(directory.path()).expect("reads").count(), 1);
    }
}
