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
    /// The schema could not be brought up to date.
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Anything else: the database is busy, full, broken or gone.
    #[error("database: {0}")]
    Database(sqlx::Error),
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
