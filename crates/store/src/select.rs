//! Lists whose conditions and order are only known at run time.

use portcullis_core::id::UserPk;
use sqlx::AssertSqlSafe;

use crate::db::{Conn, Engine, on};
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

/// Columns that always hold something, in every table that has them: nothing has to be said of where nothing comes, and
/// PostgreSQL takes the order from an index only then.
const FILLED: [&str; 16] = [
    "pk",
    "uuid",
    "seq",
    "username",
    "name",
    "email",
    "path",
    "slug",
    "identifier",
    "created",
    "date_joined",
    "last_updated",
    "position",
    "target",
    "domain",
    "action",
];

/// The terms of a search (CO-525).
pub fn search_terms(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == ',').filter(|term| !term.is_empty())
}

/// Columns in one of which a pattern in lower case must be found, whatever the case of ASCII letters in them.
#[derive(Clone, Debug)]
struct Like {
    columns: Vec<String>,
    /// Number of the argument.
    pattern: usize,
}

impl Like {
    /// As a condition. SQLite's `LIKE` knows no case of ASCII letters, and is quickest with columns as they are stored.
    /// PostgreSQL's knows it, and so all columns are looked at as one text, in lower case: `lower` changes ASCII letters only,
    /// because columns have the collation `C`. No term of a search has a blank in it, so that none is found where one column
    /// ends and the next begins.
    fn text(&self, engine: Engine) -> String {
        let one = |column: &str| format!("{column} LIKE ${} ESCAPE '\\'", self.pattern);
        match (engine, self.columns.as_slice()) {
            (Engine::Sqlite, several) => {
                let each: Vec<_> = several.iter().map(|column| one(column)).collect();
                format!("({})", each.join(" OR "))
            }
            (Engine::Pg, [column]) => one(&format!("lower({column})")),
            (Engine::Pg, several) => one(&format!("lower(concat_ws(' ', {}))", several.join(", "))),
        }
    }
}

#[derive(Clone, Debug)]
enum Condition {
    Text(String),
    Like(Like),
}

/// Whether a term, in lower case, may be part of a UUID or of a network address.
fn may_be_of_id(term: &str) -> bool {
    term.len() <= 45 && term.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-' | b':' | b'.'))
}

/// The pattern of what may stand anywhere in a text, in lower case.
fn pattern(part: &str) -> String {
    format!("%{}%", literally(&part.to_ascii_lowercase()))
}

/// How long a list is whose end was seen in a slice of it: who looks for few need not be looked for twice.
fn counted<T>(rows: &[T], limit: i64, offset: i64) -> Option<i64> {
    let seen = i64::try_from(rows.len()).ok()?;
    (seen < limit && (seen > 0 || offset == 0)).then(|| offset.saturating_add(seen))
}

/// A column without its table. Whatever else something is ordered by stays as it is.
fn bare(column: &str) -> &str {
    column.rsplit_once('.').filter(|_| !column.contains('(')).map_or(column, |(_, bare)| bare)
}

/// A part of a pattern that stands for itself.
pub(crate) fn literally(part: &str) -> String {
    part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Conditions and order of a list. Texts of conditions are written in this crate; values are always bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Select {
    key: Option<&'static str>,
    /// What rows are found by, if not their key: what indexes hold, so that rows that are skipped are not looked at.
    row: Option<&'static str>,
    conditions: Vec<Condition>,
    arguments: Vec<Argument>,
    order: Vec<(&'static str, &'static str)>,
}

impl Select {
    /// A list of rows whose key is in the column `key`, if that is not `pk`.
    pub(crate) fn keyed(key: &'static str) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// A list of rows whose number is in the column `row`; their key is in `pk`.
    pub(crate) fn numbered(row: &'static str) -> Self {
        Self { row: Some(row), ..Self::default() }
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
        self.conditions.push(Condition::Text(condition.to_owned()));
    }

    /// Adds a condition in which `?` stands for a list of values: `column IN (?)`. An empty list adds nothing.
    pub(crate) fn any_text<S: AsRef<str>>(&mut self, condition: &str, values: &[S]) {
        if values.is_empty() {
            return;
        }
        let first = self.arguments.len();
        self.arguments.extend(values.iter().map(|value| Argument::Text(value.as_ref().to_owned())));
        let places: Vec<_> = (first + 1..=self.arguments.len()).map(|n| format!("${n}")).collect();
        self.conditions.push(Condition::Text(condition.replace('?', &places.join(", "))));
    }

    /// As [`Self::any_text`] for bytes, but that nothing is in an empty list.
    pub(crate) fn any_bytes(&mut self, condition: &str, values: &[Vec<u8>]) {
        if values.is_empty() {
            return self.always("FALSE");
        }
        let first = self.arguments.len();
        self.arguments.extend(values.iter().map(|value| Argument::Bytes(value.clone())));
        let places: Vec<_> = (first + 1..=self.arguments.len()).map(|n| format!("${n}")).collect();
        self.conditions.push(Condition::Text(condition.replace('?', &places.join(", "))));
    }

    /// Each term must occur in at least one of the columns, whatever its case (CO-525).
    pub(crate) fn search(&mut self, columns: &[&str], text: &str) {
        self.search_also(columns, &[], text);
    }

    /// As [`Self::search`]; also in `ids`, columns of UUIDs or addresses, which are looked at only for what may be part of one.
    pub(crate) fn search_also(&mut self, columns: &[&str], ids: &[&str], text: &str) {
        for term in search_terms(text) {
            let of_id = may_be_of_id(&term.to_ascii_lowercase());
            let columns = columns.iter().chain(ids.iter().filter(|_| of_id));
            self.like(columns.map(|column| (*column).to_owned()).collect(), term);
        }
    }

    /// `part` must occur in the column, whatever its case. A very long one, which no pattern can hold, does not.
    pub(crate) fn part(&mut self, column: &str, part: &str) {
        if part.len() > LONGEST_PART {
            return self.always("FALSE");
        }
        self.like(vec![column.to_owned()], part);
    }

    fn like(&mut self, columns: Vec<String>, part: &str) {
        self.arguments.push(Argument::Text(pattern(part)));
        self.conditions.push(Condition::Like(Like { columns, pattern: self.arguments.len() }));
    }

    /// Orders by `column`, after what was named before. Nothing comes before everything, on either engine.
    pub(crate) fn order(&mut self, column: &'static str, descending: bool) {
        // After a column, the same one says nothing more.
        if self.order.iter().any(|(before, _)| bare(before) == bare(column)) {
            return;
        }
        let direction = match (FILLED.contains(&bare(column)), descending) {
            (true, false) => "ASC",
            (true, true) => "DESC",
            (false, false) => "ASC NULLS FIRST",
            (false, true) => "DESC NULLS LAST",
        };
        self.order.push((column, direction));
    }

    fn condition(&mut self, condition: &str) {
        self.conditions.push(Condition::Text(condition.replace('?', &format!("${}", self.arguments.len()))));
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
        self.conditions.push(Condition::Text(match owner {
            // The key is an integer: it may stand in the text.
            Some(owner) => format!("({named} OR {table}.account = {})", owner.0),
            None => named,
        }));
    }

    fn joined(&self, engine: Engine) -> String {
        let text = |condition: &Condition| match condition {
            Condition::Text(text) => text.clone(),
            Condition::Like(like) => like.text(engine),
        };
        match self.conditions.as_slice() {
            [] => "TRUE".to_owned(),
            several => several.iter().map(text).collect::<Vec<_>>().join(" AND "),
        }
    }

    async fn count(&self, conn: &mut Conn, table: &str) -> Result<i64, StoreError> {
        // Only texts of this crate and `$n` are in these statements; values are bound below.
        let text = format!("SELECT count(*) FROM {table} WHERE {}", self.joined(conn.engine()));
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

    fn list_text(&self, engine: Engine, table: &str, limit: i64, offset: i64) -> String {
        let key = self.row.or(self.key).unwrap_or("pk");
        let order: Vec<_> = self.order.iter().map(|(column, direction)| format!("{column} {direction}")).collect();
        let order = if order.is_empty() { "1".to_owned() } else { order.join(", ") };
        let conditions = self.joined(engine);
        if limit == i64::MAX {
            return format!(
                "SELECT {table}.* FROM {table} WHERE {conditions} ORDER BY {order} LIMIT {limit} OFFSET {offset}"
            );
        }
        // Keys alone are put in order and skipped; of wide rows, only those of the slice are read.
        format!(
            "SELECT {table}.* FROM {table} WHERE {table}.{key} IN (
                 SELECT {table}.{key} FROM {table} WHERE {conditions} ORDER BY {order} LIMIT {limit} OFFSET {offset})
             ORDER BY {order}"
        )
    }

    async fn run<T: Record>(
        &self,
        conn: &mut Conn,
        table: &str,
        limit: i64,
        offset: i64,
    ) -> Result<Listed<T>, StoreError> {
        let list_text = self.list_text(conn.engine(), table, limit, offset);
        let rows: Vec<T> = many(on!(&mut *conn, c => {
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
        let count = match counted(&rows, limit, offset) {
            Some(count) => count,
            None => self.count(conn, table).await?,
        };
        Ok(Listed { rows, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    /// CO-525: nothing comes before everything; of columns in which there always is something, that need not be said.
    #[tokio::test]
    async fn co_525_filled_columns_are_filled_in_every_table() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&directory.path().join("test.db")).await.unwrap();
        let empty: Vec<String> = on!(&mut db.read().await.unwrap(), c => sqlx::query_scalar(
            "SELECT DISTINCT c.name FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND c.\"notnull\" = 0 AND c.pk = 0",
        ).fetch_all(c).await)
        .unwrap();
        assert!(empty.iter().any(|column| column == "last_login"), "{empty:?}");
        assert!(!empty.iter().any(|column| FILLED.contains(&column.as_str())), "{empty:?}");
    }

    /// CO-525: a search looks into UUIDs and addresses for what may be in one, and into each column on its own where that is quicker.
    #[test]
    fn co_525_ids_are_searched_for_what_may_be_in_one() {
        let mut select = Select::default();
        select.search_also(&["name", "email"], &["uuid"], "Ada, BA-7");
        let (name, email) = ("name LIKE $1 ESCAPE '\\'", "email LIKE $1 ESCAPE '\\'");
        let second = "name LIKE $2 ESCAPE '\\' OR email LIKE $2 ESCAPE '\\' OR uuid LIKE $2 ESCAPE '\\'";
        let first = format!("({name} OR {email} OR uuid LIKE $1 ESCAPE '\\')");
        assert_eq!(select.joined(Engine::Sqlite), format!("{first} AND ({second})"));
        let mut select = Select::default();
        select.search_also(&["name", "email"], &["uuid"], "Eve_");
        assert_eq!(select.joined(Engine::Sqlite), format!("({name} OR {email})"));
        let all = "lower(concat_ws(' ', name, email)) LIKE $1 ESCAPE '\\'";
        assert_eq!(select.joined(Engine::Pg), all);
    }

    /// CO-524: a list is as long as its end says, where that is seen.
    #[test]
    fn co_524_the_end_of_a_list_tells_how_long_it_is() {
        let rows = |seen: usize| vec![(); seen];
        assert_eq!(counted(&rows(0), 20, 0), Some(0));
        assert_eq!(counted(&rows(7), 20, 0), Some(7));
        assert_eq!(counted(&rows(7), 20, 40), Some(47));
        assert_eq!(counted(&rows(7), i64::MAX, 0), Some(7));
        assert_eq!(counted(&rows(20), 20, 0), None, "there may be more");
        assert_eq!(counted(&rows(0), 20, 40), None, "it may have ended before");
    }

    /// CO-525: an order says each column once, and where nothing comes only where there may be nothing.
    #[test]
    fn co_525_an_order_says_each_column_once() {
        let mut select = Select::default();
        for (column, descending) in
            [("last_login", true), ("(SELECT a.pk FROM a)", false), ("pk", true), ("t.pk", false)]
        {
            select.order(column, descending);
        }
        let text = select.list_text(Engine::Sqlite, "t", 20, 40);
        let order = "ORDER BY last_login DESC NULLS LAST, (SELECT a.pk FROM a) ASC NULLS FIRST, pk DESC";
        assert!(text.ends_with(order), "{text}");
        assert!(text.contains(&format!("{order} LIMIT 20 OFFSET 40)")), "{text}");
    }
}
