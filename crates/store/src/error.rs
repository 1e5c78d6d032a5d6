//! What can go wrong in the store.

use std::path::PathBuf;

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
    /// Why the database could not do now what it may do in a while, if that is so: it is locked or its disk is full.
    pub fn passing(&self) -> Option<&'static str> {
        let Self::Database(error) = self else { return None };
        match error {
            sqlx::Error::PoolTimedOut => Some("every connection to the database is in use"),
            sqlx::Error::Database(database) => {
                // Extended result codes of SQLite: the lower byte is the primary one.
                let code: i32 = database.code()?.parse().ok()?;
                match code & 0xff {
                    5 | 6 => Some("another process has locked the database"),
                    10 => Some("the disk of the database cannot be read or written"),
                    13 => Some("the disk of the database is full"),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(database) = &error
            && database.is_unique_violation()
        {
            // SQLite: "UNIQUE constraint failed: account.username_folded" (several columns: the first).
            let message = database.message();
            let column = message.rsplit(": ").next().unwrap_or(message);
            return Self::Taken(column.split(',').next().unwrap_or(column).trim().to_owned());
        }
        Self::Database(error)
    }
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
        let Db::Sqlite { writer, .. } = &db;
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
