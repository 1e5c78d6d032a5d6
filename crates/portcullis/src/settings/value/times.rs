//! Lengths of time.

use std::time::Duration;

use super::Value;

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Value for Span {
    fn kind() -> String {
        "a duration such as `30s`, `5m`, `12h`, `1d` or `250ms`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        let total = number.parse::<u64>().ok()?.checked_mul(*milliseconds)?;
        // A century: longer is a slip of the finger, and some timers cannot count that far.
        (total <= 36_525 * 86_400_000).then(|| Self(Duration::from_millis(total)))
    }

    fn show(&self) -> String {
        let milliseconds = self.0.as_millis();
        let (unit, factor) = UNITS
            .iter()
            .rev()
            .find(|(_, factor)| milliseconds.is_multiple_of(u128::from(*factor)))
            .unwrap_or(&UNITS[0]);
        let (unit, factor) = if milliseconds == 0 { (&"s", &1) } else { (unit, factor) };
        format!("{}{unit}", milliseconds / u128::from(*factor))
    }
}

/// A length of time of at most a minute (PX-107, PX-109).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Minute(pub(crate) Duration);

impl Value for Minute {
    fn kind() -> String {
        "a duration up to `60s`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Span::read(text).filter(|span| span.0.as_secs() <= 60).map(|span| Self(span.0))
    }

    fn show(&self) -> String {
        Span(self.0).show()
    }
}

/// At most so many in a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// How many.
    pub(crate) count: u32,
    /// The window.
    pub(crate) window: Span,
}

impl Value for Rate {
    fn kind() -> String {
        "a number and a duration such as `20/60s`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        let (count, window) = text.split_once('/')?;
        let rate = Self { count: count.trim().parse().ok()?, window: Span::read(window.trim())? };
        (rate.count > 0 && !rate.window.0.is_zero()).then_some(rate)
    }

    fn show(&self) -> String {
        format!("{}/{}", self.count, self.window.show())
    }
}

/// A length of time, which may be written as a bare number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl Value for Seconds {
    fn kind() -> String {
        "a number of seconds, or a duration such as `30s`".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        let span = Span::read(text).or_else(|| Span::read(&format!("{text}s")))?;
        (!span.0.is_zero()).then_some(Self(span.0))
    }

    fn show(&self) -> String {
        Span(self.0).show()
    }
}
