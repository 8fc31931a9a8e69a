//! What goes wrong, and when: a year of it, drawn from the seed beforehand.

use super::random::Random;

pub const HOUR: u64 = 3600;
pub const DAY: u64 = 86_400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A CA (by its number) answers 503 as HTML.
    CaDown(usize),
    StagingDown,
    /// Nobody reaches anybody.
    NetDown,
    HttpClosed,
    TlsClosed,
    BothClosed,
    Caa,
    /// newOrder is refused with 429 and this Retry-After, or none.
    Limited(Option<u64>),
    /// Every second request meets a bad nonce; now and then all retries do.
    Nonces,
    /// Validations take minutes, issuance a quarter of an hour.
    Slow,
    /// A third of the requests fails, before or after the CA has acted on them.
    Flaky,
    /// Finalized orders end invalid.
    Spoils,
    /// The process dies again and again, within seconds.
    Crashes,
    /// The machine sleeps: no step, and its monotonic clock stands still.
    Asleep,
    /// The machine's own clock is off by so many seconds.
    Skew(i64),
    /// Front ends of the CA disagree about the time by so many seconds.
    Jitter(u64),
    /// Somebody connects with our name all the time.
    Knocking,
}

impl Trouble {
    /// Nothing in it keeps a client from getting a certificate in time.
    pub fn is_harmless(self) -> bool {
        matches!(self, Trouble::Nonces | Trouble::Slow | Trouble::Skew(_) | Trouble::Jitter(_) | Trouble::Knocking)
    }

    /// How long after its end we may still be held up by what the CA told us in it.
    pub fn lasts(self) -> u64 {
        match self {
            Trouble::Limited(Some(wait)) => wait,
            Trouble::Limited(None) | Trouble::Caa => DAY,
            _ => 0,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Episode {
    pub from: u64,
    pub to: u64,
    pub trouble: Trouble,
}

/// Moments at which something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Restart,
    Renew,
    ConfigEdited,
    LooksMended,
    Revoked,
    AccountForgotten,
    /// The operator visited the CA's page.
    Unpaused,
    /// The ledger is found corrupt at a restart.
    LedgerLost,
}

pub fn draw(random: &mut Random, start: u64, length: u64, cas: usize) -> (Vec<Episode>, Vec<(u64, Moment)>) {
    let mut episodes = Vec::new();
    for _ in 0..random.below(14) {
        let lasts = match random.below(10) {
            0 => random.between(5 * DAY, 35 * DAY),
            1..=3 => random.between(HOUR, 3 * DAY),
            4..=6 => random.between(600, 6 * HOUR),
            _ => random.between(5, 1800),
        };
        let trouble = match random.below(19) {
            0 | 1 => Trouble::CaDown(random.below(cas as u64) as usize),
            2 => Trouble::StagingDown,
            3 | 4 => Trouble::NetDown,
            5 => Trouble::HttpClosed,
            6 => Trouble::TlsClosed,
            7 | 8 => Trouble::BothClosed,
            9 => Trouble::Caa,
            10 => Trouble::Limited(random.permille(500).then(|| random.between(0, DAY))),
            11 => Trouble::Nonces,
            12 => Trouble::Slow,
            13 => Trouble::Flaky,
            14 => Trouble::Spoils,
            15 => Trouble::Crashes,
            16 => Trouble::Asleep,
            17 => {
                let off = random.between(60, 3 * 365 * DAY) as i64;
                Trouble::Skew(if random.permille(500) { off } else { -off })
            }
            _ if random.permille(500) => Trouble::Jitter(random.between(1, 30)),
            _ => Trouble::Knocking,
        };
        // At the beginning something is going on more often than not.
        let from = if random.permille(250) { start } else { start + random.below(length) };
        episodes.push(Episode { from, to: from + lasts, trouble });
    }
    if random.permille(50) {
        // The worst of all: every validation fails, and the process does not live to see it.
        let (from, lasts) = (start + random.below(length), random.between(HOUR, 5 * DAY));
        for trouble in [Trouble::BothClosed, Trouble::Crashes] {
            episodes.push(Episode { from, to: from + lasts, trouble });
        }
    }
    let mut moments: Vec<(u64, Moment)> = (0..random.below(8))
        .map(|_| {
            let moment = match random.below(20) {
                0..=6 => Moment::Restart,
                7..=9 => Moment::Renew,
                10 | 11 => Moment::ConfigEdited,
                12..=14 => Moment::LooksMended,
                15 => Moment::Revoked,
                16 => Moment::AccountForgotten,
                17 => Moment::Unpaused,
                _ => Moment::LedgerLost,
            };
            (start + random.below(length), moment)
        })
        .collect();
    // A hand that tries again and again, and a unit that restarts in a loop.
    if random.permille(150) {
        let at = start + random.below(length);
        let moment = if random.permille(500) { Moment::Renew } else { Moment::Restart };
        moments.extend((0..random.between(5, 40)).map(|i| (at + i * random.between(1, 90), moment)));
        if random.permille(300) {
            // And why it does.
            episodes.push(Episode { from: at, to: at + random.between(HOUR, DAY), trouble: Trouble::BothClosed });
        }
    }
    moments.sort_unstable_by_key(|(at, _)| *at);
    (episodes, moments)
}
