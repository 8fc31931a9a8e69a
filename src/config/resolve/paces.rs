//! How often clients may ask, for all sites and for one.

use std::time::Duration;

use super::hours;
use crate::config::{
    file,
    finding::{Code, Report},
    model::{Pace, Paces},
    read::Key,
    value::Limit,
};

/// Longer than this nobody waits for a burst, and the arithmetic stays far from its ends.
fn longest_refill() -> Duration {
    hours(7 * 24)
}

pub(super) fn pace(key: &Key<Limit<Pace>>, default: Option<Pace>, report: &mut Report<'_>) -> Option<Pace> {
    let Some(at) = key.given() else { return default };
    let pace = at.value.0?;
    if pace.times > 1_000_000 || pace.per > hours(24) || pace.refill() > longest_refill() {
        let way_out = "at most 1000000 times, in at most 24h, and a burst that is there again after 7 days";
        report.add(Code::LimitsOutOfRange, at.place, "out of range", format!("{way_out}; or \"unlimited\""));
    }
    Some(pace)
}

pub(super) fn of_all(file: &file::Limits, report: &mut Report<'_>) -> Paces {
    let default = Paces::default();
    Paces {
        requests_per_client: pace(&file.requests_per_client, default.requests_per_client, report),
        upgrades_per_client: pace(&file.upgrades_per_client, default.upgrades_per_client, report),
        requests: pace(&file.requests, default.requests, report),
        upgrades: pace(&file.upgrades, default.upgrades, report),
        auth_failures: pace(&file.auth_failures, default.auth_failures, report),
        own: false,
    }
}

pub(super) fn of_site(file: &file::SiteLimits, all: &Paces, report: &mut Report<'_>) -> Paces {
    let per_client = [&file.requests_per_client, &file.upgrades_per_client, &file.auth_failures];
    Paces {
        requests_per_client: pace(&file.requests_per_client, all.requests_per_client, report),
        upgrades_per_client: pace(&file.upgrades_per_client, all.upgrades_per_client, report),
        requests: pace(&file.requests, all.requests, report),
        upgrades: pace(&file.upgrades, all.upgrades, report),
        auth_failures: pace(&file.auth_failures, all.auth_failures, report),
        own: per_client.iter().any(|key| !key.is_absent()),
    }
}
