//! Durations as administrators type them: `hours=3;minutes=1` (CO-020 … CO-022, OA-015, OA-016).
//!
//! The text itself is what is stored and returned; these functions only say what it means.

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not in the correct format of 'hours=3;minutes=1'.", shown(.0))]
pub struct DurationError(pub String);

/// A text, with quotation marks where it could not be seen.
fn shown(text: &str) -> &str {
    if text.trim().is_empty() { "''" } else { text }
}

const MICROSECONDS: i64 = 1_000_000;
const CENTURY: i64 = 36_525 * 24 * 3600 * MICROSECONDS;

/// Reads a duration that somebody wants to save, in microseconds.
///
/// # Errors
/// When a pair is malformed, its unit unknown or named twice, or the total negative or above 100 years.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let error = || DurationError(text.to_owned());
    let mut seen = Vec::new();
    let mut total = 0.0;
    for pair in text.split(';') {
        let (unit, value) = read_pair(pair).ok_or_else(error)?;
        if seen.contains(&unit) {
            return Err(error());
        }
        seen.push(unit);
        total += value;
    }
    within_limits(total).ok_or_else(error)
}

/// Reads a duration that is already stored, or comes from elsewhere: a unit named twice takes its last
/// value, what cannot be read is left out. None when nothing is left or the total is out of bounds.
pub fn read(text: &str) -> Option<i64> {
    let mut values: Vec<(i64, f64)> = Vec::new();
    for (unit, value) in text.split(';').filter_map(read_pair) {
        values.retain(|(seen, _)| *seen != unit);
        values.push((unit, value));
    }
    if values.is_empty() {
        return None;
    }
    within_limits(values.iter().map(|(_, value)| value).sum())
}

/// Whole seconds of a stored duration, or `otherwise` when it cannot be read (OA-017).
pub fn seconds_or(text: &str, otherwise: i64) -> i64 {
    read(text).map_or(otherwise, |microseconds| microseconds / MICROSECONDS)
}

/// The unit in microseconds, and the pair's value in microseconds.
fn read_pair(pair: &str) -> Option<(i64, f64)> {
    let (key, number) = pair.split_once('=')?;
    let unit = match key.trim().to_ascii_lowercase().as_str() {
        "microseconds" => 1,
        "milliseconds" => 1_000,
        "seconds" => MICROSECONDS,
        "minutes" => 60 * MICROSECONDS,
        "hours" => 3600 * MICROSECONDS,
        "days" => 24 * 3600 * MICROSECONDS,
        "weeks" => 7 * 24 * 3600 * MICROSECONDS,
        _ => return None,
    };
    let number = number.trim();
    // Narrower than `f64`: no exponents, no `nan`, no `inf`.
    if !number.bytes().all(|b| b.is_ascii_digit() || b"+-.".contains(&b)) {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "units are below 2^53")]
    Some((unit, number * unit as f64))
}

fn within_limits(microseconds: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a saturated value is out of bounds")]
    let whole = microseconds.round() as i64;
    (0..=CENTURY).contains(&whole).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-020, OA-015: units in any case and fractions add up to the microsecond.
    #[test]
    fn co_020_pairs_add_up() {
        for (text, microseconds) in [
            ("hours=1", 3_600_000_000),
            ("hours=1;minutes=2;seconds=3", 3_723_000_000),
            (" Hours = 1.5 ; MINUTES=0", 5_400_000_000),
            ("weeks=1;milliseconds=1;microseconds=1", 604_800_001_001),
            ("seconds=0", 0),
            ("days=360", 31_104_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(microseconds), "{text}");
            assert_eq!(read(text), Some(microseconds), "{text}");
        }
    }

    /// CO-021, OA-016: what is no duration is refused with its own text.
    #[test]
    fn co_021_malformed_durations_are_refused() {
        for text in [
            "",
            "hours",
            "hours=",
            "hours=1;",
            "hours=1,minutes=1",
            "fortnights=1",
            "hours=nan",
            "hours=inf",
            "hours=1e3",
            "hours=-1",
            "days=36526",
            "weeks=999999999999999999",
            "hours=1;hours=2",
            "5",
        ] {
            assert_eq!(parse(text), Err(DurationError(text.to_owned())), "{text}");
            let shown = if text.is_empty() { "''" } else { text };
            let said = format!("{shown} is not in the correct format of 'hours=3;minutes=1'.");
            assert_eq!(DurationError(text.to_owned()).to_string(), said);
        }
        assert_eq!(
            parse("x").expect_err("refused").to_string(),
            "x is not in the correct format of 'hours=3;minutes=1'."
        );
    }

    /// CO-020, OA-016: stored text is read forgivingly; a unit named twice takes its last value.
    #[test]
    fn co_020_stored_durations_are_read_forgivingly() {
        assert_eq!(read("hours=1;hours=2"), Some(7_200_000_000));
        assert_eq!(read("hours=1;moons=3"), Some(3_600_000_000));
        assert_eq!(read("moons=3"), None);
        assert_eq!(seconds_or("minutes=1.99", 7), 119);
        assert_eq!(seconds_or("", 7), 7);
    }
}
