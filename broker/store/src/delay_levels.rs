//! `messageDelayLevel`: how long each delay level waits. The delay topic's queue entries carry what follows from it.

use std::fmt;

/// Levels are counted from 1; level `n` has the delay topic's queue `n - 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayLevels {
    text: String,
    /// Milliseconds, by level - 1. Not empty.
    delays: Vec<i64>,
}

/// What a level waits that the configuration does not know, as in the original.
const UNKNOWN_LEVEL_MS: i64 = 1000;

impl DelayLevels {
    pub const DEFAULT: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";

    /// Whole numbers of s, m, h or d, separated by blanks.
    pub fn parse(text: &str) -> Result<DelayLevels, String> {
        let delays = text.split_whitespace().map(milliseconds).collect::<Result<Vec<_>, _>>()?;
        if delays.is_empty() {
            return Err("no level: want delays like `1s 5s 10s`".to_owned());
        }
        Ok(DelayLevels { text: text.to_owned(), delays })
    }

    /// The highest level.
    pub fn max(&self) -> i32 {
        self.delays.len() as i32
    }

    /// A producer's DELAY as a level there is; `None`: the message is not delayed.
    pub fn clip(&self, wanted: i64) -> Option<i32> {
        (wanted > 0).then(|| wanted.min(i64::from(self.max())) as i32)
    }

    pub fn delay_ms(&self, level: i32) -> i64 {
        let index = usize::try_from(level).ok().and_then(|it| it.checked_sub(1));
        index.and_then(|it| self.delays.get(it)).copied().unwrap_or(UNKNOWN_LEVEL_MS)
    }

    /// When a message of this level is due that was stored at `store_timestamp`.
    pub fn due(&self, level: i32, store_timestamp: i64) -> i64 {
        store_timestamp.saturating_add(self.delay_ms(level))
    }
}

impl Default for DelayLevels {
    fn default() -> Self {
        DelayLevels::parse(Self::DEFAULT).expect("the default is a list of delays")
    }
}

/// As it was configured.
impl fmt::Display for DelayLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn milliseconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no delay: want a whole number followed by s, m, h or d");
    let unit = match text.chars().last() {
        Some('s') => 1000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(i64::from(number) * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_from_one_and_clipped_to_the_last() {
        let levels = DelayLevels::default();
        assert_eq!(
            (levels.max(), levels.delay_ms(1), levels.delay_ms(5), levels.delay_ms(18)),
            (18, 1000, 60_000, 7_200_000)
        );
        assert_eq!((levels.clip(0), levels.clip(-1), levels.clip(3), levels.clip(99)), (None, None, Some(3), Some(18)));
        assert_eq!((levels.delay_ms(0), levels.delay_ms(19)), (1000, 1000));
        assert_eq!(levels.due(2, 100), 5100);
        assert_eq!(DelayLevels::parse(" 2d  7s ").expect("two levels").delay_ms(1), 172_800_000);
    }

    #[test]
    fn what_is_no_delay_is_named() {
        for bad in ["", "5", "s", "1.5s", "-1s", "1s 2x", "1s, 2s", "ß", "99999999999s"] {
            let why = DelayLevels::parse(bad).expect_err(bad);
            assert!(why.contains("want"), "{why}");
        }
    }
}
