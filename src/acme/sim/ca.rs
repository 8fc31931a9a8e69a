//! A CA with Boulder's limits, without cryptography: orders, authorizations, buckets, pausing, renewal information.
//!
//! Its clock is the truth. It counts what the ledger promises never to bring about, and remembers every challenge it
//! was asked to validate.

mod certificates;
mod limits;
mod orders;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::random::Random;
use crate::acme::model::{AuthorizationStatus, CaTime, ChallengeType, Identifier, OrderStatus, Problem, SetId};
use limits::{Limits, PAUSE, PRODUCTION, STAGING};

/// What a request comes back with when it is not served.
#[derive(Debug, Clone)]
pub enum Answer {
    Problem(Problem, Option<Duration>),
    /// 503 as HTML, a broken connection, bad nonces to the end.
    Nothing(Option<Duration>),
}

pub fn problem(kind: &str, detail: &str, status: u16) -> Problem {
    Problem { kind: kind.to_owned(), detail: detail.to_owned(), status }
}

/// How the world stands for validations and issuance at the moment.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    pub http_closed: bool,
    pub tls_closed: bool,
    pub caa: bool,
    pub slow: bool,
    /// Finalized orders end invalid.
    pub spoils: bool,
}

impl Weather {
    /// How a validation ends in it.
    pub fn failure(self, challenge: ChallengeType) -> Option<Problem> {
        let closed = match challenge {
            ChallengeType::Http01 => self.http_closed,
            ChallengeType::TlsAlpn01 => self.tls_closed,
            ChallengeType::Dns01 => false,
        };
        if self.caa {
            return Some(problem("caa", "CAA record for x.test prevents issuance", 403));
        }
        closed.then(|| problem("connection", "Timeout during connect (likely firewall problem)", 400))
    }
}

struct Authorization {
    identifier: Identifier,
    status: AuthorizationStatus,
    problem: Option<Problem>,
    /// When the validation under way ends, and how.
    validation: Option<(u64, Option<Problem>)>,
    challenged: bool,
    valid_until: u64,
}

struct Order {
    set: SetId,
    authorizations: Vec<usize>,
    status: OrderStatus,
    problem: Option<Problem>,
    expires: u64,
    /// When processing ends, and whether it ends well.
    done: Option<(u64, bool)>,
    exempt: bool,
    replaces: Option<String>,
    downloaded: bool,
}

/// A certificate as handed out.
#[derive(Clone)]
pub struct Certificate {
    pub not_before: CaTime,
    pub not_after: CaTime,
    pub ari_id: String,
    revoked: bool,
    window: (u64, u64),
}

#[derive(Default)]
struct Counted {
    tat: u64,
    consecutive: u64,
    forgotten_at: u64,
    paused: bool,
}

#[derive(Default)]
pub struct Counts {
    pub refused_failed: u64,
    pub refused_orders: u64,
    pub refused_set: u64,
    pub refused_registrations: u64,
    pub refused_paused: u64,
    pub failures: u64,
    pub issued: u64,
}

pub struct Ca {
    limits: Limits,
    life: u64,
    reuses: bool,
    random: Random,
    authorizations: Vec<Authorization>,
    orders: Vec<Order>,
    registered: bool,
    orders_tat: u64,
    registrations_tat: u64,
    failed: BTreeMap<Identifier, Counted>,
    sets: BTreeMap<SetId, u64>,
    domains: HashMap<String, u64>,
    certificates: HashMap<String, Certificate>,
    replaced: HashMap<String, ()>,
    /// Every challenge that arrived.
    pub posts: BTreeMap<Identifier, Vec<u64>>,
    pub counts: Counts,
}

impl Ca {
    pub fn new(staging: bool, life: u64, seed: u64) -> Ca {
        let mut random = Random::new(seed);
        Ca {
            limits: if staging { STAGING } else { PRODUCTION },
            life,
            reuses: random.permille(500),
            random,
            authorizations: Vec::new(),
            orders: Vec::new(),
            registered: false,
            orders_tat: 0,
            registrations_tat: 0,
            failed: BTreeMap::new(),
            sets: BTreeMap::new(),
            domains: HashMap::new(),
            certificates: HashMap::new(),
            replaced: HashMap::new(),
            posts: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    fn limited(&self, what: &str, wait: u64) -> Answer {
        let detail = format!("too many {what}, retry after: see https://letsencrypt.org/docs/rate-limits/");
        Answer::Problem(problem("rateLimited", &detail, 429), Some(Duration::from_secs(wait + 1)))
    }

    /// One key, so one account: an existing one is found again without counting.
    pub fn register(&mut self, now: u64) -> Result<(), Answer> {
        if self.registered {
            return Ok(());
        }
        if let Some(wait) = self.limits.registrations.refuses(self.registrations_tat, now) {
            self.counts.refused_registrations += 1;
            return Err(self.limited("new registrations", wait));
        }
        self.limits.registrations.spend(&mut self.registrations_tat, now);
        self.registered = true;
        Ok(())
    }

    pub fn forget_account(&mut self) {
        self.registered = false;
    }

    /// What was under way for an account that is forgotten is nobody's.
    pub fn abandon(&mut self) {
        for order in self.orders.iter_mut().filter(|o| matches!(o.status, OrderStatus::Pending | OrderStatus::Ready)) {
            order.status = OrderStatus::Invalid;
        }
        for authorization in &mut self.authorizations {
            authorization.valid_until = 0;
        }
    }

    pub fn unpause(&mut self) {
        for counted in self.failed.values_mut() {
            (counted.paused, counted.consecutive) = (false, 0);
        }
    }

    fn known(&self) -> Result<(), Answer> {
        if self.registered {
            return Ok(());
        }
        Err(Answer::Problem(problem("accountDoesNotExist", "no such account", 400), None))
    }

    fn find(&self, url: &str) -> Result<usize, Answer> {
        self.known()?;
        let gone = || Answer::Problem(problem("malformed", "no such order", 404), None);
        url.parse().ok().filter(|at| *at < self.orders.len()).ok_or_else(gone)
    }
}
