//! Replaces the root secret (CO-460): `portcullis rekey`.
//!
//! The new key is on the disk before anything is sealed with it, and the old one until everything is: whenever the
//! power fails, running the command again finishes the work.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::clock::Clock;
use portcullis_core::entropy::{Entropy, SystemEntropy};
use portcullis_core::keys::Keyring;
use portcullis_idp::{bootstrap, rekey};
use portcullis_store::Db;
use zeroize::Zeroizing;

use crate::Failure;
use crate::data_dir::{self, Place, SECRET_KEY};
use crate::edge::SystemClock;
use crate::settings::{Secret, Settings};

/// The new key until everything is sealed with it.
const NEXT: &str = "secret.key.next";
/// The old key, for backups that were made before.
const OLD: &str = "secret.key.old";

type RootSecret = Zeroizing<Vec<u8>>;

/// Seals everything with the new key.
///
/// # Errors
/// One line when a key is missing or is the wrong one, another process uses the instance, or the database fails;
/// then the old key is in force.
pub(crate) fn run(mut settings: Settings) -> Result<(), Failure> {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let database = Place::of(&settings);
    if let Some(file) = database.file().filter(|file| !file.exists()) {
        return Err(format!("there is no database {}", file.display()).into());
    }
    data_dir::create(&settings.general.data_dir)?;
    let _of_directory = data_dir::lock_directory(&settings.general.data_dir)?;
    let _of_database = database.file().map(data_dir::lock_database).transpose()?;
    let keys = Keys::find(&mut settings, &*entropy)?;
    let report = crate::serve::runtime()?.block_on(seal(&settings, &database, &keys, entropy))?;
    keys.put_in_force()?;
    let mut out = std::io::stdout();
    match report {
        Some(report) => writeln!(
            out,
            "{} values are sealed with the new key; {} sessions, codes, tokens and counters ended",
            report.sealed, report.ended
        )?,
        None => writeln!(out, "the database was sealed with the new key already")?,
    }
    if let Some(old) = keys.kept() {
        writeln!(out, "the old key is in {}: it opens backups made before now, and nothing else", old.display())?;
    }
    Ok(())
}

/// Nothing when the database is sealed with the new key already.
async fn seal(
    settings: &Settings,
    database: &Place,
    keys: &Keys,
    entropy: Arc<dyn Entropy>,
) -> Result<Option<rekey::Report>, Failure> {
    let db = database.connect().await?;
    let _alone = match &db {
        Db::Sqlite { .. } => None,
        Db::Pg(pools) => Some(pools.be_alone().await?.ok_or("the database is in use by a process that serves")?),
    };
    let (old, new) = (Keyring::derive(&keys.old), Keyring::derive(&keys.new));
    if bootstrap::check_key(&db, &new).await.is_ok() {
        db.close().await;
        return Ok(None);
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let done = async {
        bootstrap::check_key(&db, &old).await?;
        db.migrate().await?;
        let install_id = bootstrap::install_id(&db, &old, &*entropy).await?;
        let context = crate::instance::context(settings, db.clone(), new, install_id, clock, entropy);
        let report = rekey::run(&context, &old).await?;
        rekey::forget(&context).await?;
        Ok::<_, Failure>(report)
    };
    let done = done.await;
    db.close().await;
    done.map(Some)
}

/// The keys, and where the new one comes into force.
struct Keys {
    old: RootSecret,
    new: RootSecret,
    /// The file that takes the place of `secret.key`, if the new key is not where it belongs yet.
    next: Option<PathBuf>,
    directory: PathBuf,
}

impl Keys {
    fn find(settings: &mut Settings, entropy: &dyn Entropy) -> Result<Self, Failure> {
        let general = &mut settings.general;
        let directory = general.data_dir.clone();
        let plain = |secret: Option<Secret>| secret.map(|secret| Zeroizing::new(secret.expose().as_bytes().to_vec()));
        let (set, previous) = (plain(general.secret_key.take()), plain(general.previous_secret_key.take()));
        let file = data_dir::read_key(&directory.join(SECRET_KEY))?;
        let keys = match (set, previous, file) {
            (Some(new), Some(old), _) | (Some(new), None, Some(old)) | (None, Some(old), Some(new)) => {
                Self { old, new, next: None, directory }
            }
            (Some(_), None, None) => {
                return Err("set previous_secret_key to the key that the database was made with".into());
            }
            (None, Some(old), None) => {
                let new = data_dir::new_key(&directory.join(SECRET_KEY), entropy)?;
                Self { old, new, next: None, directory }
            }
            (None, None, Some(old)) => {
                spare_an_older_one(&directory.join(OLD), &old)?;
                let next = directory.join(NEXT);
                // One that is there already is of a run that was interrupted.
                let new = match data_dir::read_key(&next)? {
                    Some(new) => new,
                    None => data_dir::new_key(&next, entropy)?,
                };
                Self { old, new, next: Some(next), directory }
            }
            (None, None, None) => {
                return Err("there is no secret key to replace: set secret_key and previous_secret_key".into());
            }
        };
        data_dir::long_enough(&keys.new)?;
        Ok(keys)
    }

    /// Where the old key is kept; only one that was a file of ours is.
    fn kept(&self) -> Option<PathBuf> {
        self.next.as_ref().map(|_| self.directory.join(OLD))
    }

    /// Puts the new key in the place of the old one, which stays beside it.
    fn put_in_force(&self) -> Result<(), Failure> {
        let (Some(next), Some(kept)) = (&self.next, self.kept()) else { return Ok(()) };
        let failed = |error: std::io::Error| format!("cannot put {} in force: {error}", next.display());
        // Of a run that was interrupted, and perhaps not whole.
        drop(std::fs::remove_file(&kept));
        let old = String::from_utf8_lossy(&self.old);
        data_dir::write_key(&kept, &old).map_err(failed)?;
        std::fs::rename(next, self.directory.join(SECRET_KEY)).map_err(failed)?;
        Ok(File::open(&self.directory)?.sync_all()?)
    }
}

/// Refuses to write over the key of an earlier replacement, which some backup may need. The key that is replaced now, or
/// its beginning, is of a run that was interrupted.
fn spare_an_older_one(kept: &Path, old: &RootSecret) -> Result<(), Failure> {
    match data_dir::read_key(kept)? {
        Some(older) if !old.starts_with(&older) => Err(format!(
            "{} is there from an earlier replacement: move it to the backups that it opens, and run the command again to replace \
             the key once more. The earlier replacement is complete",
            kept.display()
        )
        .into()),
        _ => Ok(()),
    }
}
