//! How long, how much, and how much in how long.

use std::time::Duration;

use super::{Value, Wrong};
use crate::config::finding::{Code, did_you_mean};

fn number_and_rest(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest.trim_start()))
}

impl Value for Duration {
    const EXPECTED: &'static str = "a duration such as \"30s\"";

    fn parse(text: &str) -> Result<Duration, Wrong> {
        let wrong =
            || Wrong::new(Code::ValueDuration, "not a duration", "a whole number and one of ms, s, m, h, d: \"30s\"");
        let (number, unit) = number_and_rest(text).ok_or_else(wrong)?;
        let seconds = match unit {
            "ms" => return Ok(Duration::from_millis(number)),
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            other => {
                let unit = match other.to_ascii_lowercase().as_str() {
                    "" | "sec" | "secs" | "second" | "seconds" => Some("s"),
                    "min" | "mins" | "minute" | "minutes" => Some("m"),
                    "hr" | "hour" | "hours" => Some("h"),
                    "day" | "days" => Some("d"),
                    "msec" | "millis" | "milliseconds" => Some("ms"),
                    _ => None,
                };
                return Err(wrong().instead(unit.map(|unit| format!("{number}{unit}"))));
            }
        };
        number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
    }

    fn placeholder(_: usize) -> Duration {
        Duration::from_secs(1)
    }
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Value for Size {
    const EXPECTED: &'static str = "a size such as \"64KiB\"";

    fn parse(text: &str) -> Result<Size, Wrong> {
        let wrong =
            || Wrong::new(Code::ValueSize, "not a size", "a whole number and one of B, KiB, MiB, GiB: \"64KiB\"");
        let (number, unit) = number_and_rest(text).ok_or_else(wrong)?;
        let bytes = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            other => {
                // Whether "64K" is 64,000 or 65,536 is better asked than guessed.
                let unit = match other.to_ascii_lowercase().as_str() {
                    "" | "b" | "bytes" => Some("B"),
                    "k" | "kb" | "ki" | "kib" => Some("KiB"),
                    "m" | "mb" | "mi" | "mib" => Some("MiB"),
                    "g" | "gb" | "gi" | "gib" => Some("GiB"),
                    _ => None,
                };
                return Err(wrong().instead(unit.map(|unit| format!("{number}{unit}"))));
            }
        };
        number.checked_mul(bytes).map(Size).ok_or_else(wrong)
    }

    fn placeholder(_: usize) -> Size {
        Size(1)
    }
}

/// At least so many bytes in any such time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub bytes: u64,
    pub window: Duration,
}

impl Value for Rate {
    const EXPECTED: &'static str = "a rate such as \"1KiB/30s\"";

    fn parse(text: &str) -> Result<Rate, Wrong> {
        let wrong = || Wrong::new(Code::ValueRate, "not a rate", "a size, a slash and a duration: \"1KiB/30s\"");
        let (size, window) = text.split_once('/').ok_or_else(wrong)?;
        let (size, window) = (Size::parse(size.trim()), Duration::parse(window.trim()));
        Ok(Rate { bytes: size.map_err(|_| wrong())?.0, window: window.map_err(|_| wrong())? })
    }

    fn placeholder(n: usize) -> Rate {
        Rate { bytes: 1, window: Duration::placeholder(n) }
    }
}

/// A value or the word `unlimited`, which is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<T>(pub Option<T>);

impl<T: Value> Value for Limit<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn parse(text: &str) -> Result<Limit<T>, Wrong> {
        match text {
            "unlimited" => Ok(Limit(None)),
            text => T::parse(text).map(|value| Limit(Some(value))).map_err(|wrong| Wrong {
                instead: wrong.instead.or(did_you_mean(text, ["unlimited"]).map(str::to_owned)),
                way_out: format!("{}, or \"unlimited\"", wrong.way_out),
                ..wrong
            }),
        }
    }

    fn placeholder(_: usize) -> Limit<T> {
        Limit(None)
    }
}
