//! Statements whose rows are the same type for all engines.
//!
//! What `sqlx` means in the body of [`super::on!`]: a module per engine, with the same names in it.

macro_rules! engine {
    ($name:ident, $engine:ty, $connection:ty, $done:ty, $row:path, $what:literal) => {
        #[doc = $what]
        pub(crate) mod $name {
            use ::sqlx::{Database, Encode, Result, SqlSafeStr, Type};
            pub(crate) use ::sqlx::{query_as, query_scalar};

            use crate::row::Row;

            /// A statement with its values.
            pub(crate) struct Query(::sqlx::query::Query<'static, $engine, <$engine as Database>::Arguments>);

            /// A statement without its values yet.
            pub(crate) fn query(text: impl SqlSafeStr) -> Query {
                Query(::sqlx::query(text))
            }

            impl Query {
                pub(crate) fn bind<'t, T: Encode<'t, $engine> + Type<$engine>>(self, value: T) -> Self {
                    Self(self.0.bind(value))
                }

                pub(crate) async fn execute(self, connection: &mut $connection) -> Result<$done> {
                    self.0.execute(connection).await
                }

                pub(crate) async fn fetch_one(self, connection: &mut $connection) -> Result<Row> {
                    self.0.fetch_one(connection).await.map($row)
                }

                pub(crate) async fn fetch_optional(self, connection: &mut $connection) -> Result<Option<Row>> {
                    Ok(self.0.fetch_optional(connection).await?.map($row))
                }

                pub(crate) async fn fetch_all(self, connection: &mut $connection) -> Result<Vec<Row>> {
                    Ok(self.0.fetch_all(connection).await?.into_iter().map($row).collect())
                }
            }
        }
    };
}

engine!(
    sqlite,
    ::sqlx::Sqlite,
    ::sqlx::SqliteConnection,
    ::sqlx::sqlite::SqliteQueryResult,
    Row::Sqlite,
    "Statements for SQLite."
);
engine!(
    pg,
    ::sqlx::Postgres,
    ::sqlx::PgConnection,
    ::sqlx::postgres::PgQueryResult,
    Row::Pg,
    "Statements for PostgreSQL."
);
