//! Lists whose conditions and order are only known at run time.

use portcullis_core::id::UserPk;
use sqlx::AssertSqlSafe;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Record, many};

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// At most so many rows.
    pub limit: i64,
    /// After so many rows.
    pub offset: i64,
    /// Of these rows: others do not count, as if they were not there (CO-137).
    pub visible: Visible,
}

impl Slice {
    /// Everything.
    pub const ALL: Self = Self { limit: i64::MAX, offset: 0, visible: Visible::All };

    /// The same part of what is visible.
    #[must_use]
    pub fn of(self, visible: Visible) -> Self {
        Self { visible, ..self }
    }
}

/// The rows that somebody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visible {
    /// Every one.
    All,
    /// Some.
    Only {
        /// Those with these keys.
        keys: Vec<String>,
        /// Those of this user, in tables whose rows belong to users.
        owner: Option<UserPk>,
    },
}

impl Visible {
    /// Whether a row with this key is among them. Who owns it is not asked.
    pub fn holds(&self, key: &impl ToString) -> bool {
        match self {
            Self::All => true,
            Self::Only { keys, .. } => keys.contains(&key.to_string()),
        }
    }
}

/// Part of a list, and how long all of it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The rows of the slice.
    pub rows: Vec<T>,
    /// How many rows meet the conditions.
    pub count: i64,
}

/// In bytes.
const LONGEST_PART: usize = 16 * 1024;

#[derive(Clone, Debug)]
enum Argument {
    Text(String),
    Bytes(Vec<u8>),
    Integer(i64),
    Flag(bool),
}

/// The terms of a search (CO-525).
pub fn search_terms(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == ',').filter(|term| !term.is_empty())
}

/// That a column holds a pattern in lower case, whatever the case of ASCII letters in it. SQLite's `LIKE` looks at
/// none, PostgreSQL's does; `lower` changes ASCII letters only on both, because columns have the collation `C`.
fn like(column: &str) -> String {
    format!("lower({column}) LIKE ? ESCAPE '\\'")
}

/// The pattern of what may stand anywhere in a text, in lower case.
fn pattern(part: &str) -> String {
    format!("%{}%", literally(&part.to_ascii_lowercase()))
}

/// A part of a pattern that stands for itself.
pub(crate) fn literally(part: &str) -> String {
    part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Conditions and order of a list. Texts of conditions are written in this crate; values are always bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Select {
    key: Option<&'static str>,
    conditions: Vec<String>,
    arguments: Vec<Argument>,
    order: Vec<String>,
}

impl Select {
    /// A list of rows whose key is in the column `key`, if that is not `pk`.
    pub(crate) fn keyed(key: &'static str) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// Adds a condition in which `?` stands for `value`.
    pub(crate) fn text(&mut self, condition: &str, value: impl Into<String>) {
        self.arguments.push(Argument::Text(value.into()));
        self.condition(condition);
    }

    /// Adds a condition in which `?` stands for `value`.
    pub(crate) fn integer(&mut self, condition: &str, value: i64) {
        self.arguments.push(Argument::Integer(value));
        self.condition(condition);
    }

    /// Adds a condition in which `?` stands for `value`.
    pub(crate) fn flag(&mut self, condition: &str, value: bool) {
        self.arguments.push(Argument::Flag(value));
        self.condition(condition);
    }

    /// The column must be `value`, whatever the case of ASCII letters.
    pub(crate) fn same(&mut self, column: &str, value: &str) {
        self.text(&format!("lower({column}) = ?"), value.to_ascii_lowercase());
    }

    /// Adds a condition without a value.
    pub(crate) fn always(&mut self, condition: &str) {
        self.conditions.push(condition.to_owned());
    }

    /// Adds a condition in which `?` stands for a list of values: `column IN (?)`. An empty list adds nothing.
    pub(crate) fn any_text<S: AsRef<str>>(&mut self, condition: &str, values: &[S]) {
        if values.is_empty() {
            return;
        }
        let first = self.arguments.len();
        self.arguments.extend(values.iter().map(|value| Argument::Text(value.as_ref().to_owned())));
        let places: Vec<_> = (first + 1..=self.arguments.len()).map(|n| format!("${n}")).collect();
        self.conditions.push(condition.replace('?', &places.join(", ")));
    }

    /// As [`Self::any_text`] for bytes, but that nothing is in an empty list.
    pub(crate) fn any_bytes(&mut self, condition: &str, values: &[Vec<u8>]) {
        if values.is_empty() {
            return self.always("FALSE");
        }
        let first = self.arguments.len();
        self.arguments.extend(values.iter().map(|value| Argument::Bytes(value.clone())));
        let places: Vec<_> = (first + 1..=self.arguments.len()).map(|n| format!("${n}")).collect();
        self.conditions.push(condition.replace('?', &places.join(", ")));
    }

    /// Each term must occur in at least one of the columns, whatever its case (CO-525).
    pub(crate) fn search(&mut self, columns: &[&str], text: &str) {
        for term in search_terms(text) {
            let likeness: Vec<_> = columns.iter().map(|column| like(column)).collect();
            self.text(&format!("({})", likeness.join(" OR ")), pattern(term));
        }
    }

    /// `part` must occur in the column, whatever its case. A very long one, which no pattern can hold, does not.
    pub(crate) fn part(&mut self, column: &str, part: &str) {
        if part.len() > LONGEST_PART {
            return self.always("FALSE");
        }
        self.text(&like(column), pattern(part));
    }

    /// Orders by `column`, after what was named before. Nothing comes before everything, on either engine.
    pub(crate) fn order(&mut self, column: &str, descending: bool) {
        self.order.push(format!("{column}{}", if descending { " DESC NULLS LAST" } else { " ASC NULLS FIRST" }));
    }

    fn condition(&mut self, condition: &str) {
        self.conditions.push(condition.replace('?', &format!("${}", self.arguments.len())));
    }

    /// Runs the list on `table`. Of a list that is short only because of its conditions, nothing is said; one in which there
    /// can be nothing, because what somebody may see is gone, is refused (CO-703).
    pub(crate) async fn list<T: Record>(
        &self,
        conn: &mut Conn,
        table: &str,
        slice: Slice,
    ) -> Result<Listed<T>, StoreError> {
        let mut narrowed = self.clone();
        narrowed.narrow(table, &slice.visible);
        let listed = narrowed.run(conn, table, slice.limit, slice.offset).await?;
        if listed.count == 0
            && let Visible::Only { keys, .. } = &slice.visible
            && !keys.is_empty()
        {
            let mut whole = Self { key: self.key, ..Self::default() };
            whole.narrow(table, &slice.visible);
            if whole.count(conn, table).await? == 0 {
                return Err(StoreError::NothingVisible);
            }
        }
        Ok(listed)
    }

    /// Leaves out what is not visible.
    fn narrow(&mut self, table: &str, visible: &Visible) {
        let Visible::Only { keys, owner } = visible else { return };
        let first = self.arguments.len();
        self.arguments.extend(keys.iter().map(|key| Argument::Text(key.clone())));
        let places: Vec<_> = (first + 1..=self.arguments.len()).map(|n| format!("${n}")).collect();
        let named = match places.as_slice() {
            [] => "FALSE".to_owned(),
            _ => format!("CAST({table}.{} AS TEXT) IN ({})", self.key.unwrap_or("pk"), places.join(", ")),
        };
        self.conditions.push(match owner {
            // The key is an integer: it may stand in the text.
            Some(owner) => format!("({named} OR {table}.account = {})", owner.0),
            None => named,
        });
    }

    fn joined(&self) -> String {
        if self.conditions.is_empty() { "TRUE".to_owned() } else { self.conditions.join(" AND ") }
    }

    async fn count(&self, conn: &mut Conn, table: &str) -> Result<i64, StoreError> {
        // Only texts of this crate and `$n` are in these statements; values are bound below.
        let text = format!("SELECT count(*) FROM {table} WHERE {}", self.joined());
        Ok(on!(conn, c => {
            let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(text));
            for argument in &self.arguments {
                query = match argument {
                    Argument::Text(value) => query.bind(value),
                    Argument::Bytes(value) => query.bind(value),
                    Argument::Integer(value) => query.bind(value),
                    Argument::Flag(value) => query.bind(value),
                };
            }
            query.fetch_one(c).await
        })?)
    }

    async fn run<T: Record>(
        &self,
        conn: &mut Conn,
        table: &str,
        limit: i64,
        offset: i64,
    ) -> Result<Listed<T>, StoreError> {
        let order = if self.order.is_empty() { "1".to_owned() } else { self.order.join(", ") };
        let list_text = format!(
            "SELECT {table}.* FROM {table} WHERE {} ORDER BY {order} LIMIT {limit} OFFSET {offset}",
            self.joined()
        );
        let count = self.count(conn, table).await?;
        let rows = many(on!(conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(list_text));
            for argument in &self.arguments {
                query = match argument {
                    Argument::Text(value) => query.bind(value),
                    Argument::Bytes(value) => query.bind(value),
                    Argument::Integer(value) => query.bind(value),
                    Argument::Flag(value) => query.bind(value),
                };
            }
            query.fetch_all(c).await
        }))?;
        Ok(Listed { rows, count })
    }
}
