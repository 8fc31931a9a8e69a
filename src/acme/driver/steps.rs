//! One step each: a request at most, and what came of it.

use http::StatusCode;
use tracing::{debug, info, warn};

use super::{Driver, Link, chain, names, news, random, set::Answer};
use crate::acme::{
    account::AccountKey,
    certificate::{self, Held, ca_time},
    challenge_dns, challenge_tls,
    model::{
        AuthorizationStatus, ChallengeType, DirectoryFacts, DirectoryUrl, Identifier, KeyRef, OrderView, Preflight,
    },
    order::{Authority, Order, Session, StepError, Wanted},
    plan::{NewOrder, Step},
    state::Event,
    store::{About, Certificate, KeyPurpose, StoreError},
    wire::{Roots, RootsError, Wire},
};

/// Why a step did not end as the plan hoped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Certificate(#[from] certificate::CertificateError),
    #[error(transparent)]
    Account(#[from] crate::acme::account::AccountKeyError),
    #[error(transparent)]
    Tls(#[from] challenge_tls::ProofCertificateError),
    #[error(transparent)]
    Dns(#[from] challenge_dns::DnsError),
    #[error("there is no account at {0} yet")]
    NoAccount(DirectoryUrl),
    #[error("no way to make DNS records is configured")]
    NoDns,
    /// Written in the log already; nothing was sent.
    #[error("the records could not be saved")]
    NotWrittenAhead,
}

const UNAUTHORIZED: &str = "urn:ietf:params:acme:error:unauthorized";

/// What a refused request was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Account,
    Set,
    /// An order that the CA had given us.
    Order,
}

impl Driver {
    pub(super) async fn step(&mut self, index: usize, step: Step) {
        debug!(names = names(&self.sets[index].wanted.identifiers), ?step, "certificate step");
        let directory = directory_of(&step).cloned();
        let about_account =
            matches!(step, Step::ReadDirectory { .. } | Step::SaveAccountKey { .. } | Step::Register { .. });
        let order = match &step {
            Step::NewOrder(_) | Step::ReadDirectory { .. } | Step::PollAri { .. } => None,
            _ => directory.clone(),
        };
        let done = match step {
            Step::Wait { .. } | Step::Operator { .. } => Ok(()),
            Step::ReadDirectory { directory } => self.read_directory(&directory).await,
            Step::Preflight => self.preflight(index),
            Step::SaveAccountKey { directory } => self.save_account_key(directory),
            Step::Register { directory, key } => self.register(directory, &key).await,
            Step::NewOrder(order) => self.new_order(index, order).await,
            Step::LookAtOrder { directory, url, .. } => self.look(index, &directory, &url).await,
            Step::SpendThenRespond { directory, url, identifier, challenge } => {
                self.spend_then_respond(index, &directory, &url, &identifier, challenge).await
            }
            Step::SaveCertificateKey { directory, .. } => self.save_certificate_key(index, directory),
            Step::Finalize { directory, url, key } => self.finalize(index, &directory, &url, &key).await,
            Step::Download { directory, url, key } => self.download(index, &directory, &url, &key).await,
            Step::Deactivate { directory, url } => self.deactivate(index, &directory, &url).await,
            Step::PollAri { directory, id } => self.poll_ari(index, &directory, id).await,
        };
        let Err(failure) = done else { return };
        if let (Some(directory), Some(_)) = (&directory, &order) {
            // What the CA did with the request is not known: the next step has to look.
            self.sets[index].forget_order(directory);
        }
        let about = match (about_account, &order) {
            (true, _) => Subject::Account,
            (false, Some(_)) => Subject::Order,
            (false, None) => Subject::Set,
        };
        self.failed(index, directory, about, &failure);
    }

    fn failed(&mut self, index: usize, directory: Option<DirectoryUrl>, about: Subject, failure: &Failure) {
        let set = &self.sets[index];
        let names = names(&set.wanted.identifiers);
        let Some(directory) = directory else { return };
        let at = self.clock.now(&self.records);
        let set = (about != Subject::Account).then(|| set.id.clone());
        let refused = match failure {
            Failure::NotWrittenAhead => return self.sets[index].put_off(super::UNSAVED),
            Failure::Step(error) => error.refused(),
            _ => None,
        };
        let retry_after = refused.and_then(|refused| refused.seen.retry_after);
        let problem = refused.filter(|refused| refused.status.is_client_error()).and_then(|refused| {
            let problem = refused.problem.as_ref()?;
            Some(problem.recorded(refused.status.as_u16()))
        });
        let ca = &directory.0;
        // RFC 8555 §7.1.3: an order may be forgotten once it has expired, with or without a word about it. And one that
        // was made as an account that is lost is nobody's.
        if let Some(refused) = refused.filter(|_| about == Subject::Order)
            && (refused.status == StatusCode::NOT_FOUND || refused.is(UNAUTHORIZED))
        {
            info!(names, ca, answer = %refused, "the order is there no more");
            let set = self.sets[index].id.clone();
            return self.apply(&Event::OrderGone { at, set, directory });
        }
        match problem {
            Some(problem) => {
                let (kind, detail) = (problem.kind.clone(), problem.detail.clone());
                let ca = directory.clone();
                let refused = Event::Refused { at, directory, set, problem, retry_after, random: random() };
                if !self.apply_to(index, &refused, &ca) {
                    warn!(names, ca = ca.0, problem = kind, detail, "the CA refused");
                }
            }
            None => {
                let why = chain(failure);
                warn!(names, ca, why, "no use of the CA for now");
                self.apply(&Event::Unreachable { at, directory, why, retry_after, random: random() });
            }
        }
    }

    async fn read_directory(&mut self, directory: &DirectoryUrl) -> Result<(), Failure> {
        let access = self.settings.access.get(directory);
        let roots = access.map_or(Roots::Public, |access| access.roots.clone());
        let authority = Authority::open(Wire::try_new(&roots)?, &directory.0).await?;
        // RFC 9110 §6.6.1: an origin with a clock sends a Date. One without leaves us our own.
        let date = ca_time(authority.date.unwrap_or_else(std::time::SystemTime::now));
        self.clock.set(date);
        self.apply(&Event::DirectoryRead { directory: directory.clone(), date });
        let facts = DirectoryFacts {
            read_at: self.clock.now(&self.records),
            profiles: authority.directory.meta.profiles.keys().cloned().collect(),
            ari: authority.has_renewal_info(),
            eab_required: authority.directory.meta.external_account_required,
        };
        for set in &mut self.sets {
            set.facts.directories.insert(directory.clone(), facts.clone());
        }
        self.links.insert(directory.clone(), Link { authority, session: None });
        Ok(())
    }

    /// What can be known here without asking anybody: which challenges we could answer at all.
    fn preflight(&mut self, index: usize) -> Result<(), Failure> {
        let at = self.clock.now(&self.records);
        let passed = self.settings.challenges.clone();
        self.sets[index].facts.preflight = Some(Preflight { passed, hard: None, at });
        Ok(())
    }

    fn save_account_key(&mut self, directory: DirectoryUrl) -> Result<(), Failure> {
        let key = AccountKey::generate()?;
        let key = self.store.save_key(&KeyPurpose::Account(directory.clone()), &key.pem())?;
        self.apply(&Event::AccountKeySaved { directory, key });
        Ok(())
    }

    async fn register(&mut self, directory: DirectoryUrl, key: &KeyRef) -> Result<(), Failure> {
        let key = self.account_key(&directory, key)?;
        let external = self.settings.access.get(&directory).and_then(|access| access.external.clone());
        let email = self.settings.email.clone();
        let authority = &self.link(&directory).await?.authority;
        let url = authority.register(&key, email.as_deref(), external.as_ref()).await?;
        info!(ca = directory.0, account = url, "registered with the CA");
        self.apply(&Event::Registered { directory, url });
        Ok(())
    }

    async fn new_order(&mut self, index: usize, order: NewOrder) -> Result<(), Failure> {
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

    async fn look(&mut self, index: usize, directory: &DirectoryUrl, url: &str) -> Result<(), Failure> {
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

    async fn spend_then_respond(
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

    fn save_certificate_key(&mut self, index: usize, directory: DirectoryUrl) -> Result<(), Failure> {
        let set = self.sets[index].id.clone();
        let old = if self.settings.reuse_key { self.store.certificate(&set)? } else { None };
        let pem = match old {
            Some(old) => old.key_pem,
            None => certificate::new_key(self.settings.key_type)?,
        };
        let key = self.store.save_key(&KeyPurpose::Certificate(set.clone()), &pem)?;
        self.apply(&Event::CertificateKeySaved { set, directory, key });
        Ok(())
    }

    async fn finalize(
        &mut self,
        index: usize,
        directory: &DirectoryUrl,
        url: &str,
        key: &KeyRef,
    ) -> Result<(), Failure> {
        let request = certificate::request(&self.store.key(key)?, &self.sets[index].wanted.identifiers)?;
        let mut order = self.order(index, directory, url).await?;
        let at = self.clock.now(&self.records);
        let known = self.sets[index].facts.orders.get(directory).map(|view| view.authorizations.clone());
        let view = order.finalize(&request, at, &known.unwrap_or_default()).await?;
        self.see(index, directory, order, view);
        Ok(())
    }

    async fn download(
        &mut self,
        index: usize,
        directory: &DirectoryUrl,
        url: &str,
        key: &KeyRef,
    ) -> Result<(), Failure> {
        let mut order = self.order(index, directory, url).await?;
        let chain_pem = order.certificate().await?;
        let key_pem = self.store.key(key)?;
        let held = Held::parse(&chain_pem, &key_pem, Some(directory))?;
        let set = &self.sets[index];
        held.covers(&set.wanted.identifiers)?;
        let about = About {
            set: set.id.clone(),
            identifiers: held.have.identifiers.clone(),
            directory: Some(directory.clone()),
            imported_from: None,
        };
        self.store.install(&Certificate { about, chain_pem, key_pem })?;
        let at = self.clock.now(&self.records);
        self.apply(&Event::Issued { at, set: set.id.clone(), directory: directory.clone() });
        // What clients are shown is what the records say; a crash before this only fetches the chain once more.
        if !self.save() {
            warn!(names = names(&self.sets[index].wanted.identifiers), "issued, and not yet in the records");
        }
        let set = &mut self.sets[index];
        set.forget_order(directory);
        set.answers.clear();
        self.install_issued(index, held, directory);
        if !self.records_use(key) {
            // Its certificate has a copy of its own.
            self.store.remove_key(key)?;
        }
        Ok(())
    }

    fn records_use(&self, key: &KeyRef) -> bool {
        let of_orders = self.records.sets.values().flat_map(|set| set.orders.values());
        let mut of_accounts = self.records.directories.values().filter_map(|d| d.account.key.as_ref());
        of_orders.filter_map(|order| order.key.as_ref()).any(|used| used == key) || of_accounts.any(|used| used == key)
    }

    async fn deactivate(&mut self, index: usize, directory: &DirectoryUrl, url: &str) -> Result<(), Failure> {
        let mut order = self.order(index, directory, url).await?;
        order.deactivate().await?;
        let at = self.clock.now(&self.records);
        let set = self.sets[index].id.clone();
        self.sets[index].forget_order(directory);
        self.apply(&Event::OrderGone { at, set, directory: directory.clone() });
        Ok(())
    }

    async fn poll_ari(&mut self, index: usize, directory: &DirectoryUrl, id: String) -> Result<(), Failure> {
        let told = self.link(directory).await?.authority.renewal_info(&id).await;
        let at = self.clock.now(&self.records);
        let set = self.sets[index].id.clone();
        let event = match told {
            Ok(told) => {
                if let Some(page) = &told.explanation_url {
                    warn!(
                        names = names(&self.sets[index].wanted.identifiers),
                        page, "the CA explains its renewal window"
                    );
                }
                Event::AriSeen {
                    at,
                    set,
                    id,
                    window: (ca_time(told.start), ca_time(told.end)),
                    retry_after: told.retry_after,
                    explanation_url: told.explanation_url,
                    random: random(),
                }
            }
            Err(error) => {
                debug!(error = chain(&error), "no renewal information");
                let retry_after = error.refused().and_then(|refused| refused.seen.retry_after);
                Event::AriFailed { at, set, id, retry_after }
            }
        };
        self.apply(&event);
        Ok(())
    }

    /// Revokes what is installed for `identifier`, and has it replaced.
    pub(super) async fn revoke(&mut self, identifier: &Identifier) -> Result<(), String> {
        let found = self.sets.iter().position(|set| set.wanted.identifiers.contains(identifier));
        let index = found.ok_or_else(|| format!("no certificate is configured for {identifier}"))?;
        let stored = self.store.certificate(&self.sets[index].id).map_err(|error| chain(&error))?;
        let stored = stored.ok_or_else(|| format!("there is no certificate for {identifier}"))?;
        let directory = stored.about.directory.clone().ok_or("it is not known who issued this certificate")?;
        let held = Held::parse(&stored.chain_pem, &stored.key_pem, Some(&directory)).map_err(|error| chain(&error))?;
        let session = self.session(&directory).await.map_err(|failure| chain(&failure))?;
        session.revoke(&held.key.cert[0]).await.map_err(|error| chain(&error))?;
        warn!(name = identifier.0, "certificate revoked");
        self.sets[index].nudge(crate::acme::model::Nudge::Manual);
        Ok(())
    }

    /// Installs what is kept for this set, if that is usable.
    pub(super) fn install_stored(&mut self, index: usize) {
        let stored = match self.store.certificate(&self.sets[index].id) {
            Ok(Some(stored)) => stored,
            Ok(None) => return,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return warn!(
                    names = names(&self.sets[index].wanted.identifiers),
                    error, "stored certificate not read"
                );
            }
        };
        match Held::parse(&stored.chain_pem, &stored.key_pem, stored.about.directory.as_ref()) {
            Ok(held) => self.install(index, held),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(names = names(&self.sets[index].wanted.identifiers), error, "stored certificate not usable");
            }
        }
    }

    /// Tells once it is in use: a command may want to look.
    pub(super) fn install_issued(&mut self, index: usize, held: Held, directory: &DirectoryUrl) {
        let set = &self.sets[index];
        let at = self.clock.now(&self.records);
        let news = news::issued(set.have.is_some(), &set.wanted.identifiers, at, &directory.0, &held.have);
        self.install(index, held);
        self.teller.tell(&news);
    }

    fn install(&mut self, index: usize, held: Held) {
        for host in self.sets[index].hosts() {
            self.around.certs.install(&host, held.key.clone());
        }
        self.sets[index].have = Some(held.have);
    }

    /// Keeps what was seen of an order, and withdraws the answers that nobody will ask for any more.
    fn see(&mut self, index: usize, directory: &DirectoryUrl, order: Order, view: OrderView) {
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

    async fn link(&mut self, directory: &DirectoryUrl) -> Result<&mut Link, Failure> {
        if !self.links.contains_key(directory) {
            self.read_directory(directory).await?;
        }
        Ok(self.links.get_mut(directory).expect("it was put there, or reading it failed"))
    }

    /// The key of an account; one that is lost is the end of that account for us, and the plan makes another.
    fn account_key(&mut self, directory: &DirectoryUrl, key: &KeyRef) -> Result<AccountKey, Failure> {
        match self.store.key(key) {
            Ok(pem) => Ok(AccountKey::from_pem(&pem)?),
            Err(error) => {
                if matches!(error, StoreError::NoKey(_)) {
                    warn!(ca = directory.0, "the key of the account with this CA is lost; a new account is made");
                    if let Some(record) = self.records.directories.get_mut(directory) {
                        record.account = crate::acme::model::Account::default();
                        self.unsaved = true;
                    }
                }
                Err(error.into())
            }
        }
    }

    async fn session(&mut self, directory: &DirectoryUrl) -> Result<&Session, Failure> {
        let account = self.records.directories.get(directory).map(|record| record.account.clone()).unwrap_or_default();
        let (Some(key), Some(url)) = (account.key, account.url) else {
            return Err(Failure::NoAccount(directory.clone()));
        };
        let key = self.account_key(directory, &key)?;
        let link = self.link(directory).await?;
        if link.session.as_ref().is_none_or(|(of, _)| *of != url) {
            let session = link.authority.account(&key, &url).await?;
            link.session = Some((url, session));
        }
        let (_, session) = link.session.as_ref().expect("it was made above");
        Ok(session)
    }

    /// The handle of an order, taken out of the set.
    async fn order(&mut self, index: usize, directory: &DirectoryUrl, url: &str) -> Result<Order, Failure> {
        if let Some(order) = self.sets[index].orders.remove(directory).filter(|order| order.url() == url) {
            return Ok(order);
        }
        Ok(self.session(directory).await?.order(url).await?)
    }
}

fn same_identifier(view: &&crate::acme::model::AuthorizationView, identifier: &Identifier) -> bool {
    view.identifier == *identifier
}

fn directory_of(step: &Step) -> Option<&DirectoryUrl> {
    match step {
        Step::Wait { .. } | Step::Preflight | Step::Operator { .. } => None,
        Step::NewOrder(NewOrder { directory, .. })
        | Step::ReadDirectory { directory }
        | Step::SaveAccountKey { directory }
        | Step::Register { directory, .. }
        | Step::LookAtOrder { directory, .. }
        | Step::SpendThenRespond { directory, .. }
        | Step::SaveCertificateKey { directory, .. }
        | Step::Finalize { directory, .. }
        | Step::Download { directory, .. }
        | Step::Deactivate { directory, .. }
        | Step::PollAri { directory, .. } => Some(directory),
    }
}
