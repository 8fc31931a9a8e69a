//! Orders, authorizations and what becomes of them.

use std::time::Duration;

use super::{Answer, Authorization, Ca, Order, PAUSE, Weather, problem};
use crate::acme::model::{
    AuthorizationStatus, AuthorizationView, CaTime, ChallengeType, Identifier, OrderStatus, OrderView, Problem, SetId,
};

impl Ca {
    pub fn new_order(&mut self, now: u64, names: &[Identifier], replaces: Option<&str>) -> Result<String, Answer> {
        self.known()?;
        let set = SetId::of(names);
        let reusable = |o: &Order| {
            o.set == set
                && matches!(o.status, OrderStatus::Pending | OrderStatus::Ready)
                && o.expires > now
                && o.replaces.as_deref() == replaces
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

    pub(super) fn authorize(&mut self, now: u64, name: &Identifier) -> usize {
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
            challenged: false,
            valid_until: 0,
        });
        self.authorizations.len() - 1
    }

    /// What is over by now is decided.
    pub(super) fn settle(&mut self, now: u64, order: usize) {
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

    pub fn look(&mut self, now: u64, url: &str) -> Result<OrderView, Answer> {
        let at = self.find(url)?;
        self.settle(now, at);
        let order = &self.orders[at];
        let view = |index: &usize| {
            let shown = self.authorization(*index).expect("an order has its authorizations");
            AuthorizationView { answered: false, ..shown }
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
        let index = self.orders[order].authorizations.iter().find(|a| self.authorizations[**a].identifier == *name);
        let index = *index.expect("the order has the identifier");
        if let Some(takes) = self.challenged(now, index, weather)? {
            self.validated(index, now + takes, weather.failure(challenge));
        }
        Ok(())
    }

    /// A challenge of this authorization has come. How long looking will take, unless that goes on already.
    pub fn challenged(&mut self, now: u64, index: usize, weather: Weather) -> Result<Option<u64>, Answer> {
        let authorization = &mut self.authorizations[index];
        self.posts.entry(authorization.identifier.clone()).or_default().push(now);
        if authorization.status != AuthorizationStatus::Pending {
            return Err(Answer::Problem(problem("malformed", "authorization must be pending", 400), None));
        }
        if std::mem::replace(&mut authorization.challenged, true) {
            return Ok(None);
        }
        Ok(Some(if weather.slow { self.random.between(5, 300) } else { self.random.between(1, 4) }))
    }

    /// What came of looking.
    pub fn validated(&mut self, index: usize, at: u64, failure: Option<Problem>) {
        self.authorizations[index].validation = Some((at, failure));
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

    /// Where an order is: the authorizations it has, and what it replaces.
    pub fn parts(&self, url: &str) -> Result<(&[usize], Option<&str>), Answer> {
        let order = &self.orders[self.find(url)?];
        Ok((&order.authorizations, order.replaces.as_deref()))
    }

    /// One authorization of an order that was just looked at; `answered` says whether looking goes on.
    pub fn authorization(&self, index: usize) -> Option<AuthorizationView> {
        let authorization = self.authorizations.get(index)?;
        let wildcard = authorization.identifier.is_wildcard();
        Some(AuthorizationView {
            identifier: authorization.identifier.clone(),
            status: authorization.status,
            offered: if wildcard {
                vec![ChallengeType::Dns01]
            } else {
                vec![ChallengeType::Http01, ChallengeType::Dns01, ChallengeType::TlsAlpn01]
            },
            problem: authorization.problem.clone(),
            answered: authorization.challenged,
        })
    }

    pub fn deactivate_one(&mut self, index: usize) {
        self.authorizations[index].status = AuthorizationStatus::Invalid;
    }
}
