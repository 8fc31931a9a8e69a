//! An order and its challenges.

use tracing::{debug, info};

use super::{
    super::{Driver, chain, names, set::Answer},
    Failure,
};
use crate::acme::{
    challenge_dns, challenge_tls,
    model::{AuthorizationStatus, AuthorizationView, ChallengeType, DirectoryUrl, Identifier, OrderView},
    order::{Order, Wanted},
    plan::NewOrder,
    state::Event,
};

impl Driver {
    pub(super) async fn new_order(&mut self, index: usize, order: NewOrder) -> Result<(), Failure> {
        let directory = order.directory.clone();
        self.session(&directory).await?;
        let at = self.clock.now(&self.records);
        let set = self.sets[index].id.clone();
        if !self.write_ahead(&Event::Ordering { at, set: set.clone(), order: order.clone() }) {
            return Err(Failure::NotWrittenAhead);
        }
        // Whatever comes of it: one wish, one order.
        self.sets[index].facts.nudge = None;
        let wanted = Wanted {
            identifiers: &order.identifiers,
            profile: order.profile.as_deref(),
            replaces: order.replaces.as_deref(),
        };
        let session = self.session(&directory).await?;
        let mut made = session.new_order(&wanted).await?;
        let at = self.clock.now(&self.records);
        let url = made.url().to_owned();
        info!(names = names(&order.identifiers), ca = directory.0, order = url, "certificate ordered");
        self.apply(&Event::OrderCreated { at, set: set.clone(), order, url });
        // Rule 10: on the disk before anything is done with it.
        if !self.save() {
            return Err(Failure::NotWrittenAhead);
        }
        let view = made.view(at, &[]).await?;
        self.see(index, &directory, made, view);
        Ok(())
    }

    pub(super) async fn look(&mut self, index: usize, directory: &DirectoryUrl, url: &str) -> Result<(), Failure> {
        let mut order = self.order(index, directory, url).await?;
        let at = self.clock.now(&self.records);
        let before = self.sets[index].facts.orders.get(directory);
        let (known, looks) = before.map_or((Vec::new(), 0), |view| (view.authorizations.clone(), view.looks));
        let mut view = order.look(at, &known).await?;
        view.looks = looks + 1;
        // What this process POSTed stays answered, whether the CA shows it yet or not.
        for authorization in &mut view.authorizations {
            let answered = |a: &&_| -> bool { same_identifier(a, &authorization.identifier) };
            authorization.answered |= known.iter().filter(answered).any(|a| a.answered);
        }
        self.answer_again(index, directory, &mut order, &view).await;
        self.see(index, directory, order, view);
        Ok(())
    }

    /// After a restart in the middle of a validation the CA may still come: it finds the answer again.
    async fn answer_again(&mut self, index: usize, directory: &DirectoryUrl, order: &mut Order, view: &OrderView) {
        let set = &self.sets[index];
        let Some(record) = self.records.sets.get(&set.id).and_then(|set| set.orders.get(directory)) else { return };
        let waiting = view.authorizations.iter().filter(|a| a.status == AuthorizationStatus::Pending);
        let waiting = waiting.filter(|a| !set.answers.contains_key(&a.identifier));
        let again = waiting.filter_map(|a| Some((a.identifier.clone(), *record.responded.get(&a.identifier)?)));
        for (identifier, challenge) in again.collect::<Vec<_>>() {
            if let Err(failure) = self.answer(index, order, &identifier, challenge).await {
                debug!(
                    name = identifier.0,
                    error = chain(&failure),
                    "a challenge from before the restart not answered"
                );
            }
        }
    }

    pub(super) async fn spend_then_respond(
        &mut self,
        index: usize,
        directory: &DirectoryUrl,
        url: &str,
        identifier: &Identifier,
        challenge: ChallengeType,
    ) -> Result<(), Failure> {
        let mut order = self.order(index, directory, url).await?;
        self.answer(index, &mut order, identifier, challenge).await?;
        let at = self.clock.now(&self.records);
        let spent = Event::Spent {
            at,
            set: self.sets[index].id.clone(),
            directory: directory.clone(),
            identifier: identifier.clone(),
            challenge,
        };
        if !self.write_ahead(&spent) {
            return Err(Failure::NotWrittenAhead);
        }
        // It is being tried; what comes of it is in the records.
        self.sets[index].facts.reached = None;
        order.respond(identifier, challenge).await?;
        let set = &mut self.sets[index];
        if let Some(view) = set.facts.orders.get_mut(directory) {
            view.looks = 0;
            view.retry_after = None;
            for authorization in view.authorizations.iter_mut().filter(|a| a.identifier == *identifier) {
                authorization.answered = true;
            }
        }
        set.orders.insert(directory.clone(), order);
        Ok(())
    }

    /// Puts up what the CA will look for.
    async fn answer(
        &mut self,
        index: usize,
        order: &mut Order,
        identifier: &Identifier,
        challenge: ChallengeType,
    ) -> Result<(), Failure> {
        let proof = order.proof(identifier, challenge).await?;
        let answer = match challenge {
            ChallengeType::Http01 => {
                let offer = self.around.challenges.offer_http(&proof.token, &proof.key_authorization);
                Answer::Here { _offer: offer }
            }
            ChallengeType::TlsAlpn01 => {
                let certificate = challenge_tls::certificate(identifier, &proof.digest)?;
                let offer = self.around.challenges.offer_tls(&challenge_tls::sni(identifier), certificate);
                Answer::Here { _offer: offer }
            }
            ChallengeType::Dns01 => {
                let dns = self.settings.dns.as_ref().ok_or(Failure::NoDns)?;
                Answer::Dns(challenge_dns::set(dns, identifier, &proof.dns_value).await?)
            }
        };
        self.sets[index].answers.insert(identifier.clone(), answer);
        Ok(())
    }

    /// Keeps what was seen of an order, and withdraws the answers that nobody will ask for any more.
    pub(super) fn see(&mut self, index: usize, directory: &DirectoryUrl, order: Order, view: OrderView) {
        let set = self.sets[index].id.clone();
        let seen = Event::OrderSeen { at: view.at, set, directory: directory.clone(), view: view.clone() };
        self.apply_to(index, &seen, directory);
        let set = &mut self.sets[index];
        for over in view.authorizations.iter().filter(|a| a.status != AuthorizationStatus::Pending) {
            if let Some(problem) = &over.problem {
                let (kind, detail) = (&problem.kind, &problem.detail);
                debug!(name = over.identifier.0, ca = directory.0, problem = kind, detail, "the CA could not validate");
            }
            if let Some(Answer::Dns(record)) = set.answers.remove(&over.identifier) {
                record.remove_later();
            }
        }
        // Where the records have no such order any more, neither have we.
        let kept = self.records.sets.get(&set.id).is_some_and(|set| set.orders.contains_key(directory));
        if kept {
            set.facts.orders.insert(directory.clone(), view);
            set.orders.insert(directory.clone(), order);
        } else {
            set.forget_order(directory);
        }
    }

    pub(super) async fn deactivate(
        &mut self,
        index: usize,
        directory: &DirectoryUrl,
        url: &str,
    ) -> Result<(), Failure> {
        let mut order = self.order(index, directory, url).await?;
        order.deactivate().await?;
        let at = self.clock.now(&self.records);
        let set = self.sets[index].id.clone();
        self.sets[index].forget_order(directory);
        self.apply(&Event::OrderGone { at, set, directory: directory.clone() });
        Ok(())
    }

    /// The handle of an order, taken out of the set.
    pub(super) async fn order(&mut self, index: usize, directory: &DirectoryUrl, url: &str) -> Result<Order, Failure> {
        if let Some(order) = self.sets[index].orders.remove(directory).filter(|order| order.url() == url) {
            return Ok(order);
        }
        Ok(self.session(directory).await?.order(url).await?)
    }
}

fn same_identifier(view: &&AuthorizationView, identifier: &Identifier) -> bool {
    view.identifier == *identifier
}
