//! The data directory: one process at a time, nobody else on the machine.
//!
//! Everything that can be refused is refused before anything is created, so that a mistaken start
//! leaves no half-made instance behind.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use portcullis_core::entropy::Entropy;
use zeroize::Zeroizing;

use crate::Failure;
use crate::settings::{DatabaseUrl, Settings};

const DATABASE: &str = "portcullis.db";
pub(crate) const SECRET_KEY: &str = "secret.key";
const LOCK: &str = "portcullis.lock";
/// A root secret has at least 32 bytes (CO-460).
const SHORTEST_SECRET: usize = 32;

/// A data directory that this process alone holds, with what was found or made in it.
#[derive(Debug)]
pub(crate) struct DataDir {
    /// The SQLite file.
    pub(crate) database: PathBuf,
    /// The root secret.
    pub(crate) root_secret: Zeroizing<Vec<u8>>,
    /// What this start has made; files before their directory.
    made: Vec<PathBuf>,
    /// Of the directory and of the database. Held until the process ends, whichever way it ends.
    _locks: [File; 2],
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
pub(crate) fn existing(settings: &Settings) -> Result<(PathBuf, Zeroizing<Vec<u8>>), Failure> {
    let database = database_of(settings)?;
    let key_file = settings.general.data_dir.join(SECRET_KEY);
    let secret = match &settings.general.secret_key {
        Some(secret) => Some(Zeroizing::new(secret.expose().as_bytes().to_vec())),
        None => read_key(&key_file)?,
    };
    match secret {
        Some(secret) if database.exists() => Ok((database, secret)),
        _ => Err(format!("there is no instance in {}", settings.general.data_dir.display()).into()),
    }
}

/// Opens the data directory, creating it and the secret key for a new instance.
///
/// # Errors
/// One line for each of: PostgreSQL asked for, a secret key that is too short, missing or readable by others,
/// a directory that cannot be created, written to, or is in use by another process.
pub(crate) fn open(settings: &Settings, entropy: &dyn Entropy) -> Result<DataDir, Failure> {
    let directory = settings.general.data_dir.as_path();
    let database = database_of(settings)?;
    let key_file = directory.join(SECRET_KEY);
    let found = match &settings.general.secret_key {
        Some(secret) => Some(Zeroizing::new(secret.expose().as_bytes().to_vec())),
        None => read_key(&key_file)?,
    };
    if let Some(secret) = &found {
        long_enough(secret)?;
    } else if database.exists() {
        let (database, key_file) = (database.display(), key_file.display());
        return Err(format!("{database} exists without its secret key: restore {key_file} or set secret_key").into());
    }
    let parent = database.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent != directory && !parent.is_dir() {
        return Err(format!("database.url: there is no directory {}", parent.display()).into());
    }

    let lock_file = directory.join(LOCK);
    let own = absent([lock_file.clone(), directory.to_owned()]);
    create(directory)?;
    let of_directory = lock_directory(directory)?;
    let of_database = lock_database(&database).inspect_err(|_| remove(&own))?;
    // From here on nobody else makes anything.
    let mut made = absent([key_file.clone()]);
    if !database.exists() {
        // A log beside a database that was there before belongs to it: what it holds was acknowledged.
        made.extend(["", "-wal", "-shm", ".lock"].map(|end| beside(&database, end)));
    }
    made.extend(own);
    let root_secret = match found {
        Some(secret) => secret,
        None => new_key(&key_file, entropy).inspect_err(|_| remove(&made))?,
    };
    Ok(DataDir { database, root_secret, made, _locks: [of_directory, of_database] })
}

/// The SQLite file that the settings name.
pub(crate) fn database_of(settings: &Settings) -> Result<PathBuf, Failure> {
    match &settings.database.url {
        None => Ok(settings.general.data_dir.join(DATABASE)),
        Some(DatabaseUrl::Sqlite(path)) => Ok(path.clone()),
        Some(DatabaseUrl::Postgres(_)) => {
            Err("database.url: this build has SQLite only, PostgreSQL is not there yet".into())
        }
    }
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
    lock(&directory.join(LOCK), &format!("the data directory {}", directory.display()))
}

/// Takes the database for this process.
pub(crate) fn lock_database(database: &Path) -> Result<File, Failure> {
    lock(&lock_of(database), &format!("the database {}", database.display()))
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

/// Takes something for this process. Epochs and caches live in one process only, so that a second one would
/// not notice what the first revokes.
fn lock(path: &Path, what: &str) -> Result<File, Failure> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| format!("{what} cannot be written to: {error}"))?;
    match file.try_lock() {
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
