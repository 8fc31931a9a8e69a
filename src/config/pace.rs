//! How often something may happen: `100/s burst 200`.

use std::{fmt, time::Duration};

use super::{
    finding::Code,
    value::{Value, Wrong},
};

/// So many times in so much time, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Never 0.
    pub times: u32,
    pub per: Duration,
    /// Never 0.
    pub burst: u32,
}

/// How often clients may ask at a site; `None` is as often as they like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paces {
    pub requests_per_client: Option<Pace>,
    pub upgrades_per_client: Option<Pace>,
    /// All strangers of the site together, and apart from them all clients that it knows.
    pub requests: Option<Pace>,
    pub upgrades: Option<Pace>,
    /// Failures to log in before a client is locked out.
    pub auth_failures: Option<Pace>,
    /// The site says something of its own about single clients, so it counts them apart.
    pub own: bool,
}

impl Default for Paces {
    fn default() -> Paces {
        Paces {
            // Off, as with every other proxy: what one client can take is bounded by its connections, and only the
            // operator knows how often a backend rightly asks.
            requests_per_client: None,
            upgrades_per_client: None,
            requests: None,
            upgrades: None,
            // What the gateway itself allows before it locks a browser out.
            auth_failures: Some(Pace { times: 10, per: Duration::from_secs(600), burst: 10 }),
            own: false,
        }
    }
}

impl Pace {
    pub(super) const fn a_second(times: u32, burst: u32) -> Pace {
        Pace { times, per: Duration::from_secs(1), burst }
    }

    /// How long it takes until a burst is possible again.
    pub fn refill(self) -> Duration {
        (self.per / self.times).saturating_mul(self.burst)
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.times)?;
        match self.per.as_secs() {
            1 => f.write_str("s")?,
            60 => f.write_str("m")?,
            3600 => f.write_str("h")?,
            seconds if seconds % 60 == 0 => write!(f, "{}m", seconds / 60)?,
            seconds => write!(f, "{seconds}s")?,
        }
        if self.burst == self.times { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

impl Value for Pace {
    const EXPECTED: &'static str = "how often, such as \"100/s burst 200\"";

    fn parse(text: &str) -> Result<Pace, Wrong> {
        let wrong = || {
            let way_out = "a number, a slash, a time, and how many may come at once: \"100/s burst 200\", \"10/10m\"";
            Wrong::new(Code::ValuePace, "not a number of times in a time", way_out)
        };
        let number = |text: &str| text.trim().parse::<u32>().ok().filter(|n| *n > 0 && !text.contains('+'));
        let (pace, burst) = match text.split_once(" burst ") {
            Some((pace, burst)) => (pace, Some(number(burst).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let (times, per) = pace.split_once('/').ok_or_else(wrong)?;
        let times = number(times).ok_or_else(wrong)?;
        let per = match per.trim() {
            unit @ ("s" | "m" | "h") => Duration::parse(&format!("1{unit}")),
            per => Duration::parse(per),
        };
        let per = per.ok().filter(|per| !per.is_zero() && per.subsec_nanos() == 0).ok_or_else(wrong)?;
        Ok(Pace { times, per, burst: burst.unwrap_or(times) })
    }

    fn placeholder(_: usize) -> Pace {
        Pace::a_second(1, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_written_as_it_is_read() {
        for (text, times, seconds, burst) in [
            ("100/s burst 200", 100, 1, 200),
            ("10/10m", 10, 600, 10),
            ("1/h burst 5", 1, 3600, 5),
            ("7/90s", 7, 90, 7),
            ("3/m", 3, 60, 3),
        ] {
            let pace = Pace::parse(text).unwrap();
            assert_eq!(pace, Pace { times, per: Duration::from_secs(seconds), burst });
            assert_eq!(pace.to_string(), text);
        }
        assert_eq!(Pace::parse("5 / 10s burst 7").unwrap().to_string(), "5/10s burst 7");
    }

    #[test]
    fn what_is_no_pace_is_said_to_be_none() {
        for text in
            ["", "100", "/s", "0/s", "-1/s", "+1/s", "1/0s", "1/x", "1/s burst", "1/s burst 0", "1/500ms", "1/s bust 3"]
        {
            assert_eq!(Pace::parse(text).expect_err(text).code, Code::ValuePace, "{text}");
        }
    }
}
