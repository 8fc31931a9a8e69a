//! What the CA's staging saw from outside, and which questions that answers.

use std::collections::BTreeMap;

use super::super::{Code, Finding, facts::staging::NotTried};
use crate::{
    acme::{
        model::{ChallengeType, Problem},
        rehearsal::{Outcome, Rehearsal, Trial},
    },
    config::Config,
};

pub fn judge(config: &Config, tried: &Result<Rehearsal, NotTried>) -> Vec<Finding> {
    match tried {
        Ok(rehearsal) => by_name(rehearsal).into_iter().map(|(name, trials)| shown(name, &trials)).collect(),
        Err(not) => vec![not_tried(config, not)],
    }
}

fn by_name(rehearsal: &Rehearsal) -> BTreeMap<&str, Vec<&Trial>> {
    let mut names: BTreeMap<&str, Vec<&Trial>> = BTreeMap::new();
    for trial in &rehearsal.trials {
        names.entry(&trial.name).or_default().push(trial);
    }
    names
}

/// What a CA comes to for a challenge.
fn place(challenge: ChallengeType) -> &'static str {
    match challenge {
        ChallengeType::Http01 => "port 80 (http-01)",
        ChallengeType::TlsAlpn01 => "port 443 (tls-alpn-01)",
        ChallengeType::Dns01 => "the DNS record (dns-01)",
    }
}

fn shown(name: &str, trials: &[&Trial]) -> Finding {
    let of = |wanted: fn(&Outcome) -> bool| trials.iter().filter(move |trial| wanted(&trial.outcome));
    let reached: Vec<&str> = of(|o| *o == Outcome::Reached).map(|trial| place(trial.challenge)).collect();
    let failed = trials.iter().find_map(|trial| match &trial.outcome {
        Outcome::Failed(problem) => Some((trial.challenge, problem)),
        _ => None,
    });
    let silent = trials.iter().find_map(|trial| match &trial.outcome {
        Outcome::NotTried(why) => Some((trial.challenge, why)),
        _ => None,
    });
    match (reached.is_empty(), failed, silent) {
        (false, Some((challenge, problem)), _) => Finding::new(
            Code::AcmeHalfReached,
            name,
            format!(
                "{name}: the CA's staging reached {}, and not {}: {}",
                reached.join(" and "),
                place(challenge),
                problem.detail
            ),
            "one is enough for a certificate; but clients come to port 443, and those without https to port 80",
            cure(name, challenge, problem),
        ),
        (false, None, _) => Finding::good(
            Code::AcmeReached,
            name,
            format!("{name}: the CA's staging reached {}", reached.join(" and ")),
        ),
        (true, Some((challenge, problem)), _) => Finding::new(
            Code::AcmeNotReached,
            name,
            format!("{name}: the CA's staging did not reach {}: {}", place(challenge), problem.detail),
            "a real order would fail like this, and count",
            cure(name, challenge, problem),
        ),
        (true, None, Some((_, why))) => silence(name, why),
        (true, None, None) => silence(name, "there is no challenge for it"),
    }
}

fn silence(name: &str, why: &str) -> Finding {
    Finding::new(
        Code::AcmeStagingSilent,
        name,
        format!("{name}: no order at the CA's staging: {why}"),
        "so nothing is proved from outside; an order that counts may fail the same way",
        "mend what it says, then once more: `clawgate check --staging`",
    )
}

fn cure(name: &str, challenge: ChallengeType, problem: &Problem) -> String {
    let port = match challenge {
        ChallengeType::Http01 => 80,
        ChallengeType::TlsAlpn01 => 443,
        ChallengeType::Dns01 => return format!("`dig _acme-challenge.{name} TXT` while it tries; see [acme.dns]"),
    };
    match problem.kind.as_str() {
        "connection" => format!(
            "open TCP {port} inbound from everywhere in the provider's firewall and in this machine's, and see that \
             {name} points here"
        ),
        "dns" => format!("`dig {name}` from elsewhere; the name needs an A record that leads here"),
        "caa" => format!("`dig {name} CAA`; the record has to allow the CA"),
        "unauthorized" | "tls" | "incorrectResponse" => format!(
            "something else answers at port {port} of {name}: see where the name points, also its AAAA record, and what \
             stands before this machine"
        ),
        _ => "mend what the CA says, then check again".to_owned(),
    }
}

fn not_tried(config: &Config, not: &NotTried) -> Finding {
    match not {
        NotTried::NoStaging => {
            let cas: Vec<&str> = config.acme.cas.iter().map(|ca| ca.directory.url()).collect();
            Finding::new(
                Code::AcmeNoStaging,
                "--staging",
                "no configured CA has a staging directory for a name of this configuration",
                "a rehearsal at a CA whose certificates count would spend its limits",
                format!("without it, `clawgate certs renew NAME` is the proof, and may count; CAs: {}", cas.join(", ")),
            )
        }
        NotTried::NotPermitted(why) => Finding::new(
            Code::AcmeStagingForbidden,
            "--staging",
            why.clone(),
            "the CA comes to the ports, and only who has them can answer",
            "sudo clawgate check --staging",
        ),
        NotTried::Failed(why) => silence("--staging", why),
    }
}

/// Takes away what was only asked because nobody knew: a name that the CA came to points here, and a port that it came
/// through is open.
pub fn answer(findings: &mut Vec<Finding>, rehearsal: &Rehearsal) {
    let reached = || rehearsal.trials.iter().filter(|trial| trial.outcome == Outcome::Reached);
    let at_a_port = |name: &str| reached().any(|t| t.name == name && t.challenge != ChallengeType::Dns01);
    let through = |challenge| reached().any(|trial| trial.challenge == challenge);
    let both = through(ChallengeType::Http01) && through(ChallengeType::TlsAlpn01);
    findings.retain(|finding| match finding.code {
        Code::DnsElsewhere | Code::DnsBehindNat | Code::DnsBehindForwarder => !at_a_port(&finding.subject),
        Code::FirewallCloud | Code::FirewallUnclear | Code::FirewallHidden => !both,
        _ => true,
    });
}
