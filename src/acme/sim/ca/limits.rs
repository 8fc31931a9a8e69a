//! Boulder's limits.

/// Boulder's GCRA: `burst` at once, one back every `period`.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    burst: u64,
    period: u64,
}

impl Limit {
    /// When one is free, if none is.
    pub(super) fn refuses(self, tat: u64, now: u64) -> Option<u64> {
        let free = tat.saturating_sub((self.burst - 1) * self.period);
        (free > now).then(|| free - now)
    }

    pub(super) fn spend(self, tat: &mut u64, now: u64) {
        *tat = (*tat).max(now) + self.period;
    }
}

pub(super) struct Limits {
    pub(super) failed: Limit,
    pub(super) orders: Limit,
    pub(super) exact_set: Limit,
    pub(super) registrations: Limit,
    pub(super) domain: Limit,
}

pub(super) const PRODUCTION: Limits = Limits {
    failed: Limit { burst: 5, period: 720 },
    orders: Limit { burst: 300, period: 36 },
    exact_set: Limit { burst: 5, period: 34 * 3600 },
    registrations: Limit { burst: 10, period: 1080 },
    domain: Limit { burst: 50, period: 12_096 },
};
pub(super) const STAGING: Limits = Limits {
    failed: Limit { burst: 200, period: 18 },
    orders: Limit { burst: 1500, period: 7 },
    exact_set: Limit { burst: 30_000, period: 20 },
    registrations: Limit { burst: 50, period: 216 },
    domain: Limit { burst: 30_000, period: 20 },
};
/// Consecutive failures after which an identifier is paused; one is forgotten a day.
pub(super) const PAUSE: u64 = 1152;
