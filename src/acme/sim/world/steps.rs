//! The driver of the contract in a few lines: one step of one set.

use std::time::Duration;

use super::{Crash, Sabotage, World};
use crate::acme::{
    model::{
        CaTime, ChallengeType, DirectoryFacts, DirectoryUrl, Have, Identifier, KeyRef, OrderView, Preflight, SetId,
    },
    plan::{self, Step, Why},
    sim::{
        ca::{Answer, Certificate, problem},
        weather::{HOUR, Trouble},
    },
    state::Event,
};

impl World {
    /// One step of one set's driver.
    pub(super) fn step(&mut self, set: usize) -> Result<(), Crash> {
        let now = self.time();
        let facts = &self.machine.facts[set];
        let step = plan::next(now, &self.wanted[set], self.machine.have[set].as_ref(), &self.machine.records, facts);
        if self.trace.is_some() {
            let active = self.active();
            self.note(|| format!("set {set} at {} {active:?}: {step:?}", now.0));
        }
        self.may_crash()?;
        let id = self.wanted[set].set();
        match step {
            Step::Wait { until, .. } | Step::Operator { until, .. } => {
                assert!(until > now, "seed {}: a wait that does not wait: {step:?} at {now}", self.seed);
                if !matches!(step, Step::Wait { why: Why::Mended, .. }) {
                    self.machine.facts[set].nudge = None;
                }
                self.machine.wake[set] = self.now + until.since(now);
                return Ok(());
            }
            Step::Preflight { .. } => self.preflight(set, now),
            Step::SaveAccountKey { directory } => {
                self.machine.keys += 1;
                let key = KeyRef(format!("account-{}", self.machine.keys));
                self.apply(Event::AccountKeySaved { directory, key });
            }
            Step::SaveCertificateKey { directory, .. } => {
                self.machine.keys += 1;
                let key = KeyRef(format!("key-{}", self.machine.keys));
                self.apply(Event::CertificateKeySaved { set: id, directory, key });
            }
            Step::ReadDirectory { directory } => self.read_directory(now, &directory)?,
            Step::Register { directory, .. } => {
                let answer = self.ask(&directory, |ca, now| ca.register(now));
                self.may_crash()?;
                match answer {
                    Ok(()) => self.apply(Event::Registered { directory, url: "account".into() }),
                    Err(answer) => self.refused(set, now, &directory, None, answer),
                }
            }
            Step::NewOrder(order) => {
                self.apply(Event::Ordering { at: now, set: id.clone(), order: order.clone() });
                self.may_crash()?;
                let limited = self.episodes.iter().find_map(|e| match e.trouble {
                    Trouble::Limited(wait) if e.from <= self.now && self.now < e.to => Some(wait),
                    _ => None,
                });
                let replaces = order.replaces.clone();
                let answer = self.ask(&order.directory, |ca, now| match limited {
                    Some(wait) => {
                        let text = "too many certificates already issued for \"test\", see https://ca.test/limits";
                        Err(Answer::Problem(problem("rateLimited", text, 429), wait.map(Duration::from_secs)))
                    }
                    None => {
                        let url = ca.new_order(now, &order.identifiers, replaces.as_deref())?;
                        Ok((ca.look(now, &url)?, url))
                    }
                });
                self.machine.facts[set].nudge = None;
                self.may_crash()?;
                match answer {
                    Ok((view, url)) => {
                        let directory = order.directory.clone();
                        self.apply(Event::OrderCreated { at: now, set: id.clone(), order, url });
                        self.seen(set, id, now, &directory, view);
                    }
                    Err(answer) => self.refused(set, now, &order.directory, Some(id), answer),
                }
            }
            Step::LookAtOrder { directory, url, after } => {
                self.now += after.as_secs();
                let now = self.time();
                let answer = self.ask(&directory, |ca, now| ca.look(now, &url));
                self.may_crash()?;
                match answer {
                    Ok(view) => self.seen(set, id, now, &directory, view),
                    Err(Answer::Problem(p, _)) if p.status == 404 => {
                        self.apply(Event::OrderGone { at: now, set: id, directory: directory.clone() });
                        self.machine.facts[set].orders.remove(&directory);
                    }
                    Err(answer) => self.refused(set, now, &directory, Some(id), answer),
                }
            }
            Step::SpendThenRespond { directory, url, identifier, challenge } => {
                self.respond(set, id, now, directory, url, identifier, challenge)?;
            }
            Step::Finalize { directory, url, .. } => {
                let weather = self.weather();
                let answer = self.ask(&directory, |ca, now| ca.finalize(now, &url, weather));
                self.may_crash()?;
                match answer {
                    Ok(view) => self.seen(set, id, now, &directory, view),
                    Err(answer) => self.refused(set, now, &directory, Some(id), answer),
                }
            }
            Step::Download { directory, url, .. } => {
                let answer = self.ask(&directory, |ca, now| ca.download(now, &url));
                self.may_crash()?;
                match answer {
                    Ok(certificate) => {
                        self.install(set, &directory, certificate);
                        self.may_crash()?;
                        self.apply(Event::Issued { at: now, set: id, directory });
                        let facts = &mut self.machine.facts[set];
                        facts.orders.clear();
                        facts.nudge = None;
                    }
                    Err(answer) => self.refused(set, now, &directory, Some(id), answer),
                }
            }
            Step::Deactivate { directory, url } => {
                let answer = self.ask(&directory, |ca, _| ca.deactivate(&url));
                self.may_crash()?;
                match answer {
                    Ok(()) => {
                        self.apply(Event::OrderGone { at: now, set: id, directory: directory.clone() });
                        self.machine.facts[set].orders.remove(&directory);
                    }
                    Err(answer) => self.refused(set, now, &directory, Some(id), answer),
                }
            }
            Step::PollAri { directory, id: ari } => {
                let answer = self.ask(&directory, |ca, _| Ok(ca.renewal_info(&ari)));
                let hours = 6 * (1 + self.seed % 4);
                match answer {
                    Ok(Some(window)) => {
                        let random = self.random.next();
                        let retry_after = Some(Duration::from_secs(hours * HOUR));
                        let event = Event::AriSeen {
                            at: now,
                            set: id,
                            id: ari,
                            window,
                            retry_after,
                            explanation_url: None,
                            random,
                        };
                        self.apply(event);
                    }
                    _ => self.apply(Event::AriFailed { at: now, set: id, id: ari, retry_after: None }),
                }
            }
        }
        // What another set waits for may have come.
        self.machine.wake[set] = self.now;
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn respond(
        &mut self,
        set: usize,
        id: SetId,
        now: CaTime,
        directory: DirectoryUrl,
        url: String,
        identifier: Identifier,
        challenge: ChallengeType,
    ) -> Result<(), Crash> {
        let spent = Event::Spent {
            at: now,
            set: id.clone(),
            directory: directory.clone(),
            identifier: identifier.clone(),
            challenge,
        };
        if self.sabotage != Sabotage::NoWriteAhead {
            self.apply(spent.clone());
        }
        self.may_crash()?;
        self.machine.facts[set].reached = None;
        let weather = self.weather();
        let answer = self.ask(&directory, |ca, now| ca.respond(now, &url, &identifier, challenge, weather));
        self.may_crash()?;
        if self.sabotage == Sabotage::NoWriteAhead {
            // The crash that the write-ahead is for, more often than it would happen.
            if self.random.permille(800) {
                return Err(Crash);
            }
            self.apply(spent);
        }
        match answer {
            Ok(()) => {
                let view = self.machine.facts[set].orders.get_mut(&directory).expect("answered in an order we saw");
                view.looks = 0;
                let authorization = view.authorizations.iter_mut().find(|a| a.identifier == identifier);
                authorization.expect("the order has it").answered = true;
            }
            Err(answer) => self.refused(set, now, &directory, Some(id), answer),
        }
        Ok(())
    }

    fn preflight(&mut self, set: usize, at: CaTime) {
        // It sees what can be seen from inside: not always the cloud's firewall.
        let weather = self.weather();
        let sees = self.random.permille(500);
        let mut passed = Vec::new();
        if !(sees && weather.http_closed) {
            passed.push(ChallengeType::Http01);
        }
        if !(sees && weather.tls_closed) || passed.is_empty() {
            passed.push(ChallengeType::TlsAlpn01);
        }
        let hard = (sees && weather.http_closed && weather.tls_closed && self.random.permille(300))
            .then(|| "nothing listens on port 80".to_owned());
        self.machine.facts[set].preflight = Some(Preflight { passed, hard, at, ..Preflight::default() });
    }

    fn read_directory(&mut self, now: CaTime, directory: &DirectoryUrl) -> Result<(), Crash> {
        let answer = self.ask(directory, |_, now| Ok(now));
        self.may_crash()?;
        match answer {
            Ok(date) => {
                let jitter = self.episodes.iter().find_map(|e| match e.trouble {
                    Trouble::Jitter(by) if e.from <= self.now && self.now < e.to => Some(by),
                    _ => None,
                });
                let off = jitter.map_or(0, |by| self.random.below(2 * by + 1) as i64 - by as i64);
                let date = CaTime(date.saturating_add_signed(off));
                self.apply(Event::DirectoryRead { directory: directory.clone(), date });
                self.machine.read = Some((date, self.monotonic()));
                let read_at = self.time();
                for facts in &mut self.machine.facts {
                    let read = DirectoryFacts { read_at, profiles: Vec::new(), ari: true, eab_required: false };
                    facts.directories.insert(directory.clone(), read);
                }
            }
            Err(_) => {
                let random = self.random.next();
                let event = Event::Unreachable {
                    at: now,
                    directory: directory.clone(),
                    why: "503".into(),
                    retry_after: None,
                    random,
                };
                self.apply(event);
            }
        }
        Ok(())
    }

    fn seen(&mut self, set: usize, id: SetId, at: CaTime, directory: &DirectoryUrl, mut view: OrderView) {
        view.at = at;
        let before = self.machine.facts[set].orders.remove(directory).filter(|b| b.url == view.url);
        if let Some(before) = before {
            view.looks = before.looks + 1;
            for authorization in &mut view.authorizations {
                authorization.answered =
                    before.authorizations.iter().any(|b| b.identifier == authorization.identifier && b.answered);
            }
        }
        self.apply(Event::OrderSeen { at, set: id.clone(), directory: directory.clone(), view: view.clone() });
        let kept = self.machine.records.sets.get(&id).and_then(|s| s.orders.get(directory));
        if kept.is_some_and(|order| order.url == view.url) {
            self.machine.facts[set].orders.insert(directory.clone(), view);
        }
    }

    fn refused(&mut self, set: usize, at: CaTime, directory: &DirectoryUrl, id: Option<SetId>, answer: Answer) {
        self.machine.facts[set].orders.remove(directory);
        let random = self.random.next();
        let directory = directory.clone();
        let event = match answer {
            Answer::Problem(problem, retry_after) => {
                let retry_after = retry_after.filter(|_| self.sabotage != Sabotage::DropsRetryAfter);
                let rehearsal = self.wanted[set].directories.iter().any(|d| d.staging.as_ref() == Some(&directory));
                Event::Refused { at, directory, set: id, rehearsal, problem, retry_after, random }
            }
            Answer::Nothing(retry_after) => {
                Event::Unreachable { at, directory, why: "503 as HTML".into(), retry_after, random }
            }
        };
        self.apply(event);
    }

    fn install(&mut self, set: usize, directory: &DirectoryUrl, certificate: Certificate) {
        let have = Have {
            identifiers: self.wanted[set].identifiers.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            directory: Some(directory.clone()),
            ari_id: Some(certificate.ari_id),
        };
        self.machine.have[set] = Some(have);
    }
}
