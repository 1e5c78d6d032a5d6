//! What can go wrong in the store.

use std::path::PathBuf;

use sqlx::postgres::PgDatabaseError;

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database file cannot be created or opened.
    #[error("cannot open the database {path}: {source}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The URL of the database says nothing that can be used.
    #[error("the URL of the database: {0}")]
    Url(
        /// What is wrong with it; nothing of it.
        String,
    ),
    /// The database cannot be reached, or does not let us in.
    #[error("cannot connect to the database {place}: {source}")]
    Connect {
        /// The database and its server, without user and password.
        place: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A value that must be unique is taken.
    #[error("{0} is taken")]
    Taken(
        /// `table.column`, as in `account.username_folded`.
        String,
    ),
    /// Of what somebody may see, nothing is there any more (CO-703).
    #[error("nothing of this kind is visible")]
    NothingVisible,
    /// The schema could not be brought up to date.
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Anything else: the database is busy, full, broken or gone.
    #[error("database: {0}")]
    Database(sqlx::Error),
}

impl StoreError {
    /// Why the database could not do now what it may do in a while, if that is so: it is locked or gone, or its disk is
    /// full.
    pub fn passing(&self) -> Option<&'static str> {
        match self {
            Self::Connect { .. } => Some(UNREACHABLE),
            Self::Database(sqlx::Error::PoolTimedOut) => Some("every connection to the database is in use"),
            Self::Database(sqlx::Error::Io(_) | sqlx::Error::BeginFailed) => Some(UNREACHABLE),
            Self::Database(sqlx::Error::Database(error)) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => passing_on_postgres(error.code()),
                None => passing_on_sqlite(error.code()?.parse().ok()?),
            },
            Self::Open { .. }
            | Self::Url(_)
            | Self::Taken(_)
            | Self::NothingVisible
            | Self::Migrate(_)
            | Self::Database(_) => None,
        }
    }
}

const UNREACHABLE: &str = "the database cannot be reached";
const LOCKED: &str = "another process has locked the database";
const FULL: &str = "the disk of the database is full";

/// Of extended result codes the lower byte is the primary one.
fn passing_on_sqlite(code: i32) -> Option<&'static str> {
    match code & 0xff {
        5 | 6 => Some(LOCKED),
        10 => Some("the disk of the database cannot be read or written"),
        13 => Some(FULL),
        _ => None,
    }
}

/// Of five characters, the first two are the class.
fn passing_on_postgres(code: &str) -> Option<&'static str> {
    match code {
        // Not available, deadlock, no order of transactions.
        "55P03" | "40P01" | "40001" => Some(LOCKED),
        "53100" => Some(FULL),
        "53300" => Some("the server of the database has no connection left"),
        // It was made a replica, and another server is the one that is written to.
        "25006" => Some("the database is read-only now"),
        // Shut down, crashed, not up yet, and whatever else is about connections.
        "57P01" | "57P02" | "57P03" => Some(UNREACHABLE),
        _ if code.starts_with("08") => Some(UNREACHABLE),
        _ if code.starts_with("53") => Some("the server of the database lacks resources"),
        _ => None,
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(database) = &error
            && database.is_unique_violation()
        {
            return Self::Taken(match database.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => taken_on_postgres(error.table(), error.constraint(), error.detail()),
                None => taken_on_sqlite(database.message()),
            });
        }
        Self::Database(error)
    }
}

/// "UNIQUE constraint failed: account.username_folded" (several columns: the first).
fn taken_on_sqlite(message: &str) -> String {
    let column = message.rsplit(": ").next().unwrap_or(message);
    column.split(',').next().unwrap_or(column).trim().to_owned()
}

/// "Key (username_folded)=(ada) already exists.", in the language of the server. Who may not read the table is told
/// nothing but the constraint: `account_username_folded_key`.
fn taken_on_postgres(table: Option<&str>, constraint: Option<&str>, detail: Option<&str>) -> String {
    let table = table.unwrap_or_default();
    let told = detail.and_then(|detail| detail.split_once('(')?.1.split_once(")=("));
    let columns = match told {
        Some((columns, _)) => columns,
        None => {
            let name = constraint.unwrap_or_default();
            let name = name.strip_prefix(table).and_then(|name| name.strip_prefix('_')).unwrap_or(name);
            name.strip_suffix("_key").unwrap_or(name)
        }
    };
    format!("{table}.{}", columns.split(',').next().unwrap_or(columns).trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;

    /// CO-522: a full disk and a lock of somebody else's are told from what will not go away.
    #[tokio::test]
    async fn co_522_what_passes_is_known() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("portcullis.db");
        let db = Db::open_sqlite(&path).await.expect("opens");
        let Db::Sqlite { writer, .. } = &db else { unreachable!() };
        let run = async |text: &'static str| sqlx::query(text).execute(writer).await.map_err(StoreError::from);

        let wrong = run("INSERT INTO nothing VALUES (1)").await.expect_err("no such table");
        assert_eq!(wrong.passing(), None);

        // As small as it is: whatever needs another page finds the disk full.
        run("PRAGMA max_page_count = 1").await.expect("set");
        let large = "INSERT INTO reputation SELECT hex(randomblob(9)), hex(randomblob(90000)), '', 0, '{}', '{}', 0, 0";
        let full = run(large).await.expect_err("full");
        assert_eq!(full.passing(), Some("the disk of the database is full"), "{full}");
        run("PRAGMA max_page_count = 1000000").await.expect("set");
        run(large).await.expect("there is room again");

        let other = sqlx::sqlite::SqlitePoolOptions::new().connect(&format!("sqlite:{}", path.display())).await;
        let other = other.expect("opens");
        let mut held = other.acquire().await.expect("a connection");
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *held).await.expect("the lock");
        run("PRAGMA busy_timeout = 1").await.expect("set");
        let locked = run(large).await.expect_err("locked");
        assert_eq!(locked.passing(), Some("another process has locked the database"), "{locked}");
        sqlx::query("ROLLBACK").execute(&mut *held).await.expect("lets go");
        run(large).await.expect("free again");
    }
}
