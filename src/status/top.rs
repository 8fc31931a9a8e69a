//! What `clawgate top` is sent each second.

use serde::{Deserialize, Serialize};

use super::{Problem, Sessions, Times, Upstream};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Moment {
    pub now: u64,
    pub version: String,
    pub started: u64,
    pub connections: u64,
    pub requests_open: u64,
    pub sessions: Vec<Sessions>,
    pub upstreams: Vec<Upstream>,
    /// Up to two minutes, the oldest first.
    pub seconds: Vec<Second>,
    /// Of the requests of the last ten seconds that were sampled: at most some thousand a second.
    pub clients: Vec<Busy>,
    pub routes: Vec<Busy>,
    /// In the last hour.
    pub refusals: Vec<Times>,
    /// The latest first.
    pub problems: Vec<Problem>,
    /// What is wrong as long as it lasts.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    pub requests: u64,
    pub websockets: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// `None` where no request ended.
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
}

/// A client, or a route.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Busy {
    pub name: String,
    pub per_second: f64,
    /// Answered with 4xx, 5xx or not at all, in ten seconds.
    pub failed: u64,
    pub mean_us: u64,
    /// Open now; of clients only, and all of them rather than a sample.
    pub websockets: u64,
    pub bytes_per_second: f64,
}
