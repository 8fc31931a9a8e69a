//! A rehearsal: one order for each name and challenge at a staging directory, to see whether the CA reaches us.
//!
//! The accounts are made for it and forgotten with it, nothing is written down, and nothing is asked of a directory whose
//! certificates count. Each challenge has an account of its own: one that has proved a name is not asked again.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    account::AccountKey,
    authority::Authority,
    challenge_dns, challenge_tls,
    model::{AuthorizationStatus, CaTime, ChallengeType, DirectoryUrl, Identifier, Problem, Wanted},
    order::{self, Order, Session},
    outside::Outside,
    settings::Settings,
    wire::{Roots, Wire},
};
use crate::{cause, challenge::Challenges};

/// For one challenge, from the order to the CA's word. Below the time that an answer on the admin socket takes at most.
const TRIAL: Duration = Duration::from_secs(45);
/// Between two looks at an order, where the CA does not say.
const LOOK: Duration = Duration::from_secs(1);
/// More would be a load, and what is wrong with one is mostly wrong with all.
const NAMES: usize = 10;

/// What a rehearsal showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    pub trials: Vec<Trial>,
}

/// One name, one challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub name: String,
    pub challenge: ChallengeType,
    pub directory: DirectoryUrl,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The CA came to us from outside and found the answer.
    Reached,
    /// It did not, in its own words.
    Failed(Problem),
    /// It could not be tried, and nothing is known.
    NotTried(String),
}

/// What is tried as one account.
struct Plan {
    challenge: ChallengeType,
    directory: DirectoryUrl,
    identifiers: Vec<Identifier>,
}

/// Every challenge of every name that has a staging directory, all at once. What the CA asks for is put into `answers`,
/// where whoever listens on our ports finds it.
pub async fn rehearse(outside: &Arc<dyn Outside>, settings: &Settings, answers: &Arc<Challenges>) -> Rehearsal {
    let plans = plans(settings);
    let trials = join_all(plans.iter().map(|plan| trials(outside, settings, answers, plan))).await;
    let mut trials: Vec<Trial> = trials.into_iter().flatten().collect();
    trials.sort_by(|a, b| (&a.name, a.challenge).cmp(&(&b.name, b.challenge)));
    Rehearsal { trials }
}

async fn trials(outside: &Arc<dyn Outside>, settings: &Settings, answers: &Arc<Challenges>, plan: &Plan) -> Vec<Trial> {
    let deadline = Instant::now() + TRIAL;
    let late = || Outcome::NotTried(format!("no word within {} s", TRIAL.as_secs()));
    let told = |name: &Identifier, outcome| Trial {
        name: name.0.clone(),
        challenge: plan.challenge,
        directory: plan.directory.clone(),
        outcome,
    };
    let at_work = match timeout_at(deadline, AtWork::begin(outside, settings, plan)).await {
        Ok(Ok(at_work)) => at_work,
        Ok(Err(error)) => {
            let why = Outcome::NotTried(cause::chain(&*error));
            return plan.identifiers.iter().map(|name| told(name, why.clone())).collect();
        }
        Err(_) => return plan.identifiers.iter().map(|name| told(name, late())).collect(),
    };
    let at_work = &at_work;
    join_all(plan.identifiers.iter().map(|name| async move {
        let outcome = timeout_at(deadline, at_work.prove(settings, answers, name, plan.challenge)).await;
        told(
            name,
            outcome.map_or_else(|_| late(), |done| done.unwrap_or_else(|why| Outcome::NotTried(cause::chain(&*why)))),
        )
    }))
    .await
}

/// Whether there is anything to rehearse at.
pub fn has_staging(settings: &Settings) -> bool {
    settings.wanted.iter().any(|wanted| staging(wanted).is_some())
}

fn plans(settings: &Settings) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for wanted in settings.wanted.iter().take(NAMES) {
        let Some(directory) = staging(wanted) else { continue };
        for identifier in &wanted.identifiers {
            for challenge in challenges(settings, identifier) {
                let same = |plan: &&mut Plan| plan.challenge == challenge && plan.directory == directory;
                match plans.iter_mut().find(same) {
                    Some(plan) => plan.identifiers.push(identifier.clone()),
                    None => {
                        let identifiers = vec![identifier.clone()];
                        plans.push(Plan { challenge, directory: directory.clone(), identifiers });
                    }
                }
            }
        }
    }
    plans
}

/// The ports are what is asked about; a DNS record is made only for a name that has no other way.
fn challenges(settings: &Settings, identifier: &Identifier) -> Vec<ChallengeType> {
    let at_a_port = |challenge: &ChallengeType| *challenge != ChallengeType::Dns01;
    let ports: Vec<ChallengeType> = settings.challenges.iter().copied().filter(at_a_port).collect();
    match identifier.0.starts_with("*.") || ports.is_empty() {
        true if settings.dns.is_some() => vec![ChallengeType::Dns01],
        true => Vec::new(),
        false => ports,
    }
}

fn staging(wanted: &Wanted) -> Option<DirectoryUrl> {
    use crate::config::model::Directory::LetsEncryptStaging;
    let first = wanted.directories.first()?;
    let is_staging = first.url.0 == LetsEncryptStaging.url();
    first.staging.clone().or_else(|| is_staging.then(|| first.url.clone()))
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An account of this rehearsal.
struct AtWork {
    session: Session,
    /// Let's Encrypt knows addresses in one of its profiles only.
    for_addresses: Option<&'static str>,
}

impl AtWork {
    async fn begin(outside: &Arc<dyn Outside>, settings: &Settings, plan: &Plan) -> Result<AtWork, Failure> {
        let access = settings.access.get(&plan.directory);
        let roots = access.map_or(Roots::Public, |access| access.roots.clone());
        let wire = Wire::try_new(outside, &roots)?;
        let authority = Authority::open(wire, &plan.directory.0).await?;
        let key = AccountKey::generate()?;
        let external = access.and_then(|access| access.external.as_ref());
        let account = authority.register(&key, None, external).await?;
        let session = authority.account(&key, &account).await?;
        let offered = |profile: &&str| authority.directory.meta.profiles.contains_key(*profile);
        Ok(AtWork { session, for_addresses: Some("shortlived").filter(offered) })
    }

    async fn prove(
        &self,
        settings: &Settings,
        answers: &Arc<Challenges>,
        identifier: &Identifier,
        challenge: ChallengeType,
    ) -> Result<Outcome, Failure> {
        let is_address = identifier.0.parse::<std::net::IpAddr>().is_ok();
        let profile = self.for_addresses.filter(|_| is_address);
        let identifiers = std::slice::from_ref(identifier);
        let mut order = self.session.new_order(&order::Wanted { identifiers, profile, replaces: None }).await?;
        // A wildcard's authorization is of the name behind it (RFC 8555 §7.1.3).
        let named = Identifier(identifier.0.trim_start_matches("*.").to_owned());
        let proof = order.proof(&named, challenge).await?;
        let mut offer = None;
        let mut record = None;
        match challenge {
            ChallengeType::Http01 => offer = Some(answers.offer_http(&proof.token, &proof.key_authorization)),
            ChallengeType::TlsAlpn01 => {
                let certificate = challenge_tls::certificate(identifier, &proof.digest)?;
                offer = Some(answers.offer_tls(&challenge_tls::sni(identifier), certificate));
            }
            ChallengeType::Dns01 => {
                let dns = settings.dns.as_ref().ok_or("no way to make DNS records is configured")?;
                record = Some(challenge_dns::set(dns, identifier, &proof.dns_value).await?);
            }
        }
        let seen = seen(&mut order, &named, challenge).await;
        drop(offer);
        if let Some(record) = record {
            record.remove_later();
        }
        // A proof that is kept would stand for a later one; if this fails, its account is forgotten anyway.
        let _ = order.deactivate().await;
        seen
    }
}

/// Has the CA look, and waits for its word.
async fn seen(order: &mut Order, identifier: &Identifier, challenge: ChallengeType) -> Result<Outcome, Failure> {
    order.respond(identifier, challenge).await?;
    loop {
        let view = order.look(CaTime(0), &[]).await?;
        match view.authorizations.first().map(|authorization| (authorization.status, &authorization.problem)) {
            Some((AuthorizationStatus::Valid, _)) => return Ok(Outcome::Reached),
            Some((AuthorizationStatus::Invalid, problem)) => {
                let problem = problem.clone().or(view.problem.clone()).unwrap_or_default();
                return Ok(Outcome::Failed(problem));
            }
            Some((AuthorizationStatus::Pending, _)) | None => {}
        }
        sleep(view.retry_after.unwrap_or(LOOK).clamp(LOOK, 5 * LOOK)).await;
    }
}
