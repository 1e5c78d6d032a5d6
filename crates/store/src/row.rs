//! Rows become records, whatever the engine.

use std::borrow::Cow;
use std::str::FromStr;

use portcullis_core::clock::Timestamp;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::error::StoreError;

/// Typed access to a row's columns by name.
pub(crate) trait Columns {
    fn text(&self, column: &str) -> sqlx::Result<String>;
    fn text_or_null(&self, column: &str) -> sqlx::Result<Option<String>>;
    fn integer(&self, column: &str) -> sqlx::Result<i64>;
    fn integer_or_null(&self, column: &str) -> sqlx::Result<Option<i64>>;
    fn small(&self, column: &str) -> sqlx::Result<i32>;
    fn small_or_null(&self, column: &str) -> sqlx::Result<Option<i32>>;
    fn flag(&self, column: &str) -> sqlx::Result<bool>;
    fn bytes(&self, column: &str) -> sqlx::Result<Vec<u8>>;
    fn bytes_or_null(&self, column: &str) -> sqlx::Result<Option<Vec<u8>>>;

    fn instant(&self, column: &str) -> sqlx::Result<Timestamp> {
        self.integer(column).map(Timestamp)
    }

    fn instant_or_null(&self, column: &str) -> sqlx::Result<Option<Timestamp>> {
        Ok(self.integer_or_null(column)?.map(Timestamp))
    }

    fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(&self, column: &str) -> sqlx::Result<T> {
        self.text(column)?.parse().map_err(|error| undecodable(column, error))
    }

    fn parsed_or_null<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &self,
        column: &str,
    ) -> sqlx::Result<Option<T>> {
        self.text_or_null(column)?.map(|text| text.parse().map_err(|error| undecodable(column, error))).transpose()
    }

    fn json(&self, column: &str) -> sqlx::Result<Value> {
        serde_json::from_str(&self.text(column)?).map_err(|error| undecodable(column, error))
    }
}

fn undecodable(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) }
}

macro_rules! columns_of {
    ($row:ty) => {
        impl Columns for $row {
            fn text(&self, column: &str) -> sqlx::Result<String> {
                self.try_get(column)
            }
            fn text_or_null(&self, column: &str) -> sqlx::Result<Option<String>> {
                self.try_get(column)
            }
            fn integer(&self, column: &str) -> sqlx::Result<i64> {
                self.try_get(column)
            }
            fn integer_or_null(&self, column: &str) -> sqlx::Result<Option<i64>> {
                self.try_get(column)
            }
            fn small(&self, column: &str) -> sqlx::Result<i32> {
                self.try_get(column)
            }
            fn small_or_null(&self, column: &str) -> sqlx::Result<Option<i32>> {
                self.try_get(column)
            }
            fn flag(&self, column: &str) -> sqlx::Result<bool> {
                self.try_get(column)
            }
            fn bytes(&self, column: &str) -> sqlx::Result<Vec<u8>> {
                self.try_get(column)
            }
            fn bytes_or_null(&self, column: &str) -> sqlx::Result<Option<Vec<u8>>> {
                self.try_get(column)
            }
        }
    };
}
columns_of!(SqliteRow);
columns_of!(PgRow);

/// A row of either engine.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Pg(PgRow),
}

macro_rules! either {
    ($($method:ident -> $kind:ty),* $(,)?) => {
        impl Columns for Row {
            $(fn $method(&self, column: &str) -> sqlx::Result<$kind> {
                match self {
                    Self::Sqlite(row) => row.$method(column),
                    Self::Pg(row) => row.$method(column),
                }
            })*
        }
    };
}
either! {
    text -> String,
    text_or_null -> Option<String>,
    integer -> i64,
    integer_or_null -> Option<i64>,
    small -> i32,
    small_or_null -> Option<i32>,
    flag -> bool,
    bytes -> Vec<u8>,
    bytes_or_null -> Option<Vec<u8>>,
}

/// The columns of a row whose names begin with a prefix: of one table among several.
pub(crate) struct Prefixed<'a, R>(pub(crate) &'static str, pub(crate) &'a R);

macro_rules! prefixed {
    ($($method:ident -> $kind:ty),* $(,)?) => {
        impl<R: Columns> Columns for Prefixed<'_, R> {
            $(fn $method(&self, column: &str) -> sqlx::Result<$kind> {
                self.1.$method(&format!("{}{column}", self.0))
            })*
        }
    };
}
prefixed! {
    text -> String,
    text_or_null -> Option<String>,
    integer -> i64,
    integer_or_null -> Option<i64>,
    small -> i32,
    small_or_null -> Option<i32>,
    flag -> bool,
    bytes -> Vec<u8>,
    bytes_or_null -> Option<Vec<u8>>,
}

/// The character that text cannot hold on PostgreSQL.
pub(crate) const NUL: char = '\0';

/// A text that a stranger has sent, as it can be stored.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains(NUL) { text.replace(NUL, "\u{fffd}").into() } else { text.into() }
}

/// A record that is read from a row of its own table.
pub(crate) trait Record: Sized {
    fn read(row: &impl Columns) -> sqlx::Result<Self>;
}

/// The record, if there is a row.
pub(crate) fn maybe<T: Record>(found: sqlx::Result<Option<impl Columns>>) -> Result<Option<T>, StoreError> {
    Ok(found?.map(|row| T::read(&row)).transpose()?)
}

/// A record for each row.
pub(crate) fn many<T: Record>(found: sqlx::Result<Vec<impl Columns>>) -> Result<Vec<T>, StoreError> {
    Ok(found?.iter().map(T::read).collect::<Result<_, _>>()?)
}
