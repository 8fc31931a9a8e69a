//! One step each: a request at most, and what came of it.

mod account;
mod certificate;
mod order;
mod preflight;

use http::StatusCode;
use tracing::{debug, info, warn};

use super::{Driver, chain, names};
use crate::acme::{
    account::AccountKeyError,
    certificate::CertificateError,
    challenge_dns::{self, DnsError},
    challenge_tls::ProofCertificateError,
    model::{CaTime, DirectoryUrl, Problem},
    order::StepError,
    plan::{NewOrder, Step},
    state::Event,
    store::StoreError,
    wire::RootsError,
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
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Account(#[from] AccountKeyError),
    #[error(transparent)]
    Tls(#[from] ProofCertificateError),
    #[error(transparent)]
    Dns(#[from] DnsError),
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
            Step::Preflight { directory } => {
                self.preflight(index, directory).await;
                Ok(())
            }
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
        if !matches!(done, Err(Failure::Store(_))) {
            self.sets[index].stuck = None;
        }
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
            Failure::Store(StoreError::NoKey(key)) => {
                let code = StoreError::NoKey(key.clone()).code();
                warn!(code, names, ca = directory.0, key = key.0, "a key is lost; another is made in its place");
                return self.apply(&Event::KeyLost { key: key.clone() });
            }
            // Our own trouble is none of the CA's, whose place another would take.
            Failure::Store(error) => {
                let set = &mut self.sets[index];
                let told = set.stuck.replace(super::finding(error));
                if told != set.stuck {
                    super::written::complain(error);
                }
                return set.put_off(super::UNSAVED);
            }
            // Neither is what the operator's name server refuses.
            Failure::Dns(error) => return self.hindered(index, &directory, at, error),
            Failure::Step(error) => error.refused(),
            _ => None,
        };
        let retry_after = refused.and_then(|refused| refused.seen.retry_after);
        let problem = refused.filter(|refused| refused.status.is_client_error()).and_then(|refused| {
            let problem = refused.problem.as_ref()?;
            Some(problem.recorded(refused.status.as_u16()))
        });
        let problem = match failure {
            // As good as a refusal: the next order comes without.
            Failure::Step(StepError::ReplacesIgnored) => {
                Some(Problem { kind: "alreadyReplaced".into(), detail: chain(failure), status: 0 })
            }
            _ => problem,
        };
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
                let rehearsal = self.sets[index].wanted.directories.iter().any(|d| d.staging.as_ref() == Some(&ca));
                let random = self.random();
                let refused = Event::Refused { at, directory, set, rehearsal, problem, retry_after, random };
                if !self.apply_to(index, &refused, &ca) {
                    warn!(names, ca = ca.0, problem = kind, detail, "the CA refused");
                }
            }
            None => {
                let why = chain(failure);
                warn!(names, ca, why, "no use of the CA for now");
                self.apply(&Event::Unreachable { at, directory, why, retry_after, random: self.random() });
            }
        }
    }
}

impl Driver {
    /// A DNS record was not made: the set waits, the CA is as good as before.
    fn hindered(&mut self, index: usize, directory: &DirectoryUrl, at: CaTime, error: &DnsError) {
        let detail = format!("{}; {}", chain(error), error.way_out());
        let problem = Problem { kind: challenge_dns::PROBLEM.into(), detail, status: 0 };
        // Whoever asked for it has the answer; asked again and again, the server would refuse again and again.
        self.sets[index].facts.nudge = None;
        self.apply_to(index, &Event::Hindered { at, set: self.sets[index].id.clone(), problem }, directory);
    }
}

fn directory_of(step: &Step) -> Option<&DirectoryUrl> {
    match step {
        Step::Wait { .. } | Step::Preflight { .. } | Step::Operator { .. } => None,
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
