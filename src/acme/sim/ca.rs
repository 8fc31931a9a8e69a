//! A CA with Boulder's limits, without cryptography: orders, authorizations, buckets, pausing, renewal information.
//!
//! Its clock is the truth. It counts what the ledger promises never to bring about, and remembers every challenge it
//! was asked to validate.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::random::Random;
use crate::acme::model::{
    AuthorizationStatus, AuthorizationView, CaTime, ChallengeType, Identifier, OrderStatus, OrderView, Problem, SetId,
};

/// Boulder's GCRA: `burst` at once, one back every `period`.
#[derive(Clone, Copy)]
struct Limit {
    burst: u64,
    period: u64,
}

impl Limit {
    /// When one is free, if none is.
    fn refuses(self, tat: u64, now: u64) -> Option<u64> {
        let free = tat.saturating_sub((self.burst - 1) * self.period);
        (free > now).then(|| free - now)
    }

    fn spend(self, tat: &mut u64, now: u64) {
        *tat = (*tat).max(now) + self.period;
    }
}

struct Limits {
    failed: Limit,
    orders: Limit,
    exact_set: Limit,
    registrations: Limit,
    domain: Limit,
}

const PRODUCTION: Limits = Limits {
    failed: Limit { burst: 5, period: 720 },
    orders: Limit { burst: 300, period: 36 },
    exact_set: Limit { burst: 5, period: 34 * 3600 },
    registrations: Limit { burst: 10, period: 1080 },
    domain: Limit { burst: 50, period: 12_096 },
};
const STAGING: Limits = Limits {
    failed: Limit { burst: 200, period: 18 },
    orders: Limit { burst: 1500, period: 7 },
    exact_set: Limit { burst: 30_000, period: 20 },
    registrations: Limit { burst: 50, period: 216 },
    domain: Limit { burst: 30_000, period: 20 },
};
/// Consecutive failures after which an identifier is paused; one is forgotten a day.
const PAUSE: u64 = 1152;

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

struct Authorization {
    identifier: Identifier,
    status: AuthorizationStatus,
    problem: Option<Problem>,
    /// When the validation under way ends, and how.
    validation: Option<(u64, Option<Problem>)>,
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

    pub fn new_order(&mut self, now: u64, names: &[Identifier], replaces: Option<&str>) -> Result<String, Answer> {
        self.known()?;
        let set = SetId::of(names);
        let reusable = |o: &Order| {
            o.set == set && matches!(o.status, OrderStatus::Pending | OrderStatus::Ready) && o.expires > now
        };
        if self.reuses
            && let Some(at) = self.orders.iter().rposition(reusable)
        {
            return Ok(at.to_string());
        }
        if replaces.is_some_and(|id| self.replaced.contains_key(id)) {
            return Err(Answer::Problem(problem("alreadyReplaced", "already replaced", 409), None));
        }
        let exempt =
            replaces.and_then(|id| self.certificates.get(id)).is_some_and(|c| c.window.0 <= now && now <= c.window.1);
        for name in names {
            let counted = self.failed.entry(name.clone()).or_default();
            let days = now.saturating_sub(counted.forgotten_at) / 86_400;
            counted.consecutive = counted.consecutive.saturating_sub(days);
            counted.forgotten_at += days * 86_400;
            counted.paused |= counted.consecutive >= PAUSE;
            if counted.paused {
                self.counts.refused_paused += 1;
                let detail = "your account is temporarily prevented from requesting certificates: visit https://portal.test/unpause?jwt=x";
                return Err(Answer::Problem(problem("rateLimited", detail, 429), None));
            }
            // The exemption covers this limit too, but nobody should need it.
            if let Some(wait) = self.limits.failed.refuses(counted.tat, now) {
                self.counts.refused_failed += 1;
                return Err(self.limited("failed authorizations (5)", wait));
            }
        }
        if !exempt {
            if let Some(wait) = self.limits.orders.refuses(self.orders_tat, now) {
                self.counts.refused_orders += 1;
                return Err(self.limited("new orders", wait));
            }
            if let Some(wait) = self.limits.exact_set.refuses(self.sets.get(&set).copied().unwrap_or(0), now) {
                self.counts.refused_set += 1;
                return Err(self.limited("certificates (5) already issued for this exact set of identifiers", wait));
            }
            let domain = self.domains.get("test").copied().unwrap_or(0);
            if let Some(wait) = self.limits.domain.refuses(domain, now) {
                return Err(self.limited("certificates (50) already issued for \"test\"", wait));
            }
            self.limits.orders.spend(&mut self.orders_tat, now);
        }
        let authorizations = names.iter().map(|name| self.authorize(now, name)).collect();
        self.orders.push(Order {
            set,
            authorizations,
            status: OrderStatus::Pending,
            problem: None,
            expires: now + 7 * 86_400,
            done: None,
            exempt,
            replaces: replaces.map(str::to_owned),
            downloaded: false,
        });
        Ok((self.orders.len() - 1).to_string())
    }

    fn authorize(&mut self, now: u64, name: &Identifier) -> usize {
        let valid =
            |a: &Authorization| a.identifier == *name && a.status == AuthorizationStatus::Valid && a.valid_until > now;
        if self.reuses
            && let Some(at) = self.authorizations.iter().rposition(valid)
        {
            return at;
        }
        self.authorizations.push(Authorization {
            identifier: name.clone(),
            status: AuthorizationStatus::Pending,
            problem: None,
            validation: None,
            valid_until: 0,
        });
        self.authorizations.len() - 1
    }

    /// What is over by now is decided.
    fn settle(&mut self, now: u64, order: usize) {
        for index in self.orders[order].authorizations.clone() {
            let authorization = &mut self.authorizations[index];
            let Some((at, failure)) = authorization.validation.clone().filter(|(at, _)| *at <= now) else { continue };
            authorization.validation = None;
            let counted = self.failed.entry(authorization.identifier.clone()).or_default();
            match failure {
                None => {
                    authorization.status = AuthorizationStatus::Valid;
                    authorization.valid_until = at + 10 * 86_400;
                    counted.consecutive = 0;
                }
                Some(problem) => {
                    authorization.status = AuthorizationStatus::Invalid;
                    authorization.problem = Some(problem);
                    self.limits.failed.spend(&mut counted.tat, at);
                    if counted.consecutive == 0 {
                        counted.forgotten_at = at;
                    }
                    counted.consecutive += 1;
                    self.counts.failures += 1;
                }
            }
        }
        let order = &mut self.orders[order];
        let statuses = order.authorizations.iter().map(|a| self.authorizations[*a].status);
        match order.status {
            OrderStatus::Pending if order.expires <= now => order.status = OrderStatus::Invalid,
            OrderStatus::Pending | OrderStatus::Ready => {
                let (mut all, mut bad) = (true, false);
                for status in statuses {
                    all &= status == AuthorizationStatus::Valid;
                    bad |= status == AuthorizationStatus::Invalid;
                }
                order.status = match (bad, all) {
                    (true, _) => OrderStatus::Invalid,
                    (_, true) => OrderStatus::Ready,
                    _ => OrderStatus::Pending,
                };
            }
            OrderStatus::Processing => match order.done {
                Some((at, true)) if at <= now => {
                    order.status = OrderStatus::Valid;
                    self.counts.issued += 1;
                    if let Some(id) = &order.replaces {
                        self.replaced.insert(id.clone(), ());
                    }
                    if !order.exempt {
                        self.limits.exact_set.spend(self.sets.entry(order.set.clone()).or_default(), at);
                        self.limits.domain.spend(self.domains.entry("test".into()).or_default(), at);
                    }
                }
                Some((at, false)) if at <= now => {
                    order.status = OrderStatus::Invalid;
                    order.problem = Some(problem("serverInternal", "error finalizing order", 500));
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Validations end at the CA whether we look or not.
    pub fn settle_all(&mut self, now: u64) {
        for order in self.orders.len().saturating_sub(8)..self.orders.len() {
            self.settle(now, order);
        }
    }

    fn find(&self, url: &str) -> Result<usize, Answer> {
        self.known()?;
        let gone = || Answer::Problem(problem("malformed", "no such order", 404), None);
        url.parse().ok().filter(|at| *at < self.orders.len()).ok_or_else(gone)
    }

    pub fn look(&mut self, now: u64, url: &str) -> Result<OrderView, Answer> {
        let at = self.find(url)?;
        self.settle(now, at);
        let order = &self.orders[at];
        let view = |index: &usize| {
            let authorization = &self.authorizations[*index];
            let wildcard = authorization.identifier.is_wildcard();
            AuthorizationView {
                identifier: authorization.identifier.clone(),
                status: authorization.status,
                offered: if wildcard {
                    vec![ChallengeType::Dns01]
                } else {
                    vec![ChallengeType::Http01, ChallengeType::Dns01, ChallengeType::TlsAlpn01]
                },
                problem: authorization.problem.clone(),
                answered: false,
            }
        };
        Ok(OrderView {
            url: url.to_owned(),
            status: order.status,
            problem: order.problem.clone(),
            authorizations: order.authorizations.iter().map(view).collect(),
            at: CaTime(now),
            looks: 0,
            retry_after: (order.status == OrderStatus::Processing).then_some(Duration::from_secs(3)),
        })
    }

    pub fn respond(
        &mut self,
        now: u64,
        url: &str,
        name: &Identifier,
        challenge: ChallengeType,
        weather: Weather,
    ) -> Result<(), Answer> {
        let order = self.find(url)?;
        self.settle(now, order);
        self.posts.entry(name.clone()).or_default().push(now);
        let index = self.orders[order].authorizations.iter().find(|a| self.authorizations[**a].identifier == *name);
        let index = *index.expect("the order has the identifier");
        let authorization = &mut self.authorizations[index];
        if authorization.status != AuthorizationStatus::Pending {
            return Err(Answer::Problem(problem("malformed", "authorization must be pending", 400), None));
        }
        if authorization.validation.is_some() {
            return Ok(());
        }
        let closed = match challenge {
            ChallengeType::Http01 => weather.http_closed,
            ChallengeType::TlsAlpn01 => weather.tls_closed,
            ChallengeType::Dns01 => false,
        };
        let failure = if weather.caa {
            Some(problem("caa", "CAA record for x.test prevents issuance", 403))
        } else {
            closed.then(|| problem("connection", "Timeout during connect (likely firewall problem)", 400))
        };
        let takes = if weather.slow { self.random.between(5, 300) } else { self.random.between(1, 4) };
        authorization.validation = Some((now + takes, failure));
        Ok(())
    }

    pub fn finalize(&mut self, now: u64, url: &str, weather: Weather) -> Result<OrderView, Answer> {
        let at = self.find(url)?;
        self.settle(now, at);
        if self.orders[at].status != OrderStatus::Ready {
            return Err(Answer::Problem(problem("orderNotReady", "order is not ready", 403), None));
        }
        let takes = if weather.slow { self.random.between(1, 900) } else { self.random.below(3) };
        self.orders[at].status = OrderStatus::Processing;
        self.orders[at].done = Some((now + takes, !(weather.spoils && self.random.permille(700))));
        self.look(now, url)
    }

    pub fn deactivate(&mut self, url: &str) -> Result<(), Answer> {
        let order = self.find(url)?;
        for index in &self.orders[order].authorizations {
            self.authorizations[*index].status = AuthorizationStatus::Invalid;
        }
        Ok(())
    }

    pub fn download(&mut self, now: u64, url: &str) -> Result<Certificate, Answer> {
        let at = self.find(url)?;
        self.settle(now, at);
        assert_eq!(self.orders[at].status, OrderStatus::Valid, "downloaded only when there is something");
        self.orders[at].downloaded = true;
        let id = format!("ari-{url}");
        if let Some(before) = self.certificates.get(&id) {
            return Ok(before.clone());
        }
        let issued = self.orders[at].done.expect("a valid order was finalized").0;
        let start = issued.saturating_sub(3600);
        let share = if self.life < 10 * 86_400 { self.life / 2 } else { self.life / 3 * 2 };
        let window = (start + share, start + share + self.life / 50);
        let certificate = Certificate {
            not_before: CaTime(start),
            not_after: CaTime(start + self.life),
            ari_id: id.clone(),
            revoked: false,
            window,
        };
        self.certificates.insert(id, certificate.clone());
        Ok(certificate)
    }

    /// The newest certificate is revoked: its window is over.
    pub fn revoke_last(&mut self, now: u64) {
        if let Some(certificate) = self.certificates.values_mut().max_by_key(|c| c.not_before) {
            certificate.revoked = true;
            certificate.window = (now.saturating_sub(7200), now.saturating_sub(3600));
        }
    }

    pub fn renewal_info(&self, id: &str) -> Option<(CaTime, CaTime)> {
        self.certificates.get(id).map(|c| (CaTime(c.window.0), CaTime(c.window.1)))
    }

    /// Certificates made and never fetched.
    pub fn never_downloaded(&self) -> usize {
        self.orders.iter().filter(|o| o.status == OrderStatus::Valid && !o.downloaded).count()
    }
}
