//! Rows that belong to some records, found by the keys of these: what belongs to all others is not looked at.

use sqlx::AssertSqlSafe;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Record, many};

/// Keys in one statement, at most.
const AT_ONCE: usize = 100;
/// Keys in a statement: of few lengths, so that few texts are kept prepared.
const LENGTHS: [usize; 3] = [1, 20, AT_ONCE];

/// The rows of a statement in which `?` stands for a list of keys, as in `IN (?)`, and `$1` and so on for `texts`. Their order
/// holds among those of one key.
pub(crate) async fn of<T: Record>(
    conn: &mut Conn,
    statement: &str,
    texts: &[&str],
    keys: impl IntoIterator<Item = i32>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    for some in Vec::from_iter(keys).chunks(AT_ONCE) {
        let some = filled(some);
        let places: Vec<_> = (texts.len() + 1..=texts.len() + some.len()).map(|n| format!("${n}")).collect();
        let text = statement.replace('?', &places.join(", "));
        let rows: Vec<T> = many(on!(&mut *conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(text));
            for text in texts {
                query = query.bind(*text);
            }
            for key in some {
                query = query.bind(key);
            }
            query.fetch_all(c).await
        }))?;
        found.extend(rows);
    }
    Ok(found)
}

/// The same keys in one of the lengths: the last one is there several times.
fn filled(keys: &[i32]) -> Vec<i32> {
    let mut filled = keys.to_vec();
    let length = LENGTHS.into_iter().find(|length| *length >= keys.len());
    if let (Some(length), Some(last)) = (length, keys.last()) {
        filled.resize(length, *last);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-004: however many keys there are, statements have few lengths and ask for each key.
    #[test]
    fn co_004_statements_have_few_lengths() {
        assert!(filled(&[]).is_empty());
        assert_eq!(filled(&[7]), [7]);
        assert_eq!(filled(&[7, 8, 9])[1..], [[8].as_slice(), &[9; 18]].concat());
        assert_eq!((filled(&[7; 21]).len(), filled(&[7; 100]).len()), (100, 100));
    }
}
