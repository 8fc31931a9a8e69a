//! Which challenge, which profile.

use super::model::{ChallengeType, Facts, Identifier, Records, Wanted};

/// One challenge type for this attempt (rule 4): the one through whose port somebody has come; else the one that worked,
/// unless it failed last; else the first that can work and did not fail last. `offered` is what the authorization has,
/// where that is known.
pub fn challenge(
    wanted: &Wanted,
    facts: &Facts,
    records: &Records,
    identifier: &Identifier,
    offered: Option<&[ChallengeType]>,
) -> Result<ChallengeType, String> {
    let passed = facts.preflight.as_ref().map(|p| p.passed.as_slice()).unwrap_or_default();
    let last = (!passed.contains(&ChallengeType::Dns01)).then_some(ChallengeType::Dns01);
    let possible: Vec<ChallengeType> = (passed.iter().copied().chain(last))
        .filter(|challenge| match challenge {
            // A wildcard is proven by dns-01 only, an address by anything but it (RFC 8555 §8.4, RFC 8738 §4).
            ChallengeType::Dns01 => wanted.dns01 && !identifier.is_address(),
            _ => !identifier.is_wildcard(),
        })
        .filter(|challenge| offered.is_none_or(|offered| offered.contains(challenge)))
        .collect();
    if possible.is_empty() {
        return Err(if identifier.is_wildcard() {
            format!("a certificate for {identifier} needs dns-01: configure a command or RFC 2136 updates")
        } else {
            format!("no challenge for {identifier} can work from here: it needs port 80 or 443, or dns-01")
        });
    }
    if let Some(reached) = facts.reached.filter(|reached| possible.contains(reached)) {
        return Ok(reached);
    }
    let memory = records.challenges.get(identifier).cloned().unwrap_or_default();
    let not_failed = |challenge: &ChallengeType| Some(*challenge) != memory.failed;
    let worked = memory.worked.filter(|worked| possible.contains(worked) && not_failed(worked));
    Ok(worked.or_else(|| possible.iter().copied().find(not_failed)).unwrap_or(possible[0]))
}

/// The profile to order: the wanted one, `shortlived` where there is an address, else `tlsserver` where it is offered.
pub fn profile(wanted: &Wanted, offered: &[String]) -> Result<Option<String>, String> {
    let has = |name: &str| offered.iter().any(|o| o == name);
    let address = wanted.identifiers.iter().find(|i| i.is_address());
    match (&wanted.profile, address) {
        (Some(name), Some(address)) if name != "shortlived" && has("shortlived") => {
            Err(format!("profile {name:?} has no certificates for an address such as {address}: use \"shortlived\""))
        }
        (Some(name), _) if !has(name) => {
            let list = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            Err(format!("this CA does not offer profile {name:?}; it offers {list}"))
        }
        (Some(name), _) => Ok(Some(name.clone())),
        (None, Some(_)) if has("shortlived") => Ok(Some("shortlived".to_owned())),
        // A CA without profiles has one way only.
        (None, Some(_)) if offered.is_empty() => Ok(None),
        (None, Some(address)) => {
            Err(format!("a certificate for the address {address} needs the profile \"shortlived\", not offered here"))
        }
        (None, None) => Ok(has("tlsserver").then(|| "tlsserver".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::model::{ChallengeMemory, Preflight};

    fn wanted(names: &[&str], dns01: bool) -> Wanted {
        let identifiers = names.iter().map(|n| Identifier::from(*n)).collect();
        Wanted { identifiers, directories: Vec::new(), profile: None, dns01 }
    }

    fn facts() -> Facts {
        let passed = vec![ChallengeType::Http01, ChallengeType::TlsAlpn01];
        Facts { preflight: Some(Preflight { passed, ..Preflight::default() }), ..Facts::default() }
    }

    #[test]
    fn the_challenge_that_worked_is_kept_until_it_fails() {
        let name = Identifier::from("a.test");
        let mut records = Records::first();
        let mut choose = |worked, failed| {
            records.challenges.insert(name.clone(), ChallengeMemory { worked, failed });
            challenge(&wanted(&["a.test"], false), &facts(), &records, &name, None).unwrap()
        };
        use ChallengeType::{Http01, TlsAlpn01};
        assert_eq!(choose(None, None), Http01);
        assert_eq!(choose(Some(TlsAlpn01), None), TlsAlpn01);
        assert_eq!(choose(Some(TlsAlpn01), Some(TlsAlpn01)), Http01);
        assert_eq!(choose(None, Some(Http01)), TlsAlpn01);
    }

    #[test]
    fn the_port_that_somebody_has_come_through_goes_first_if_it_can_work() {
        let name = Identifier::from("a.test");
        let mut records = Records::first();
        let memory = ChallengeMemory { worked: Some(ChallengeType::Http01), failed: Some(ChallengeType::TlsAlpn01) };
        records.challenges.insert(name.clone(), memory);
        let mut facts = Facts { reached: Some(ChallengeType::TlsAlpn01), ..facts() };
        let choose = |facts: &Facts| challenge(&wanted(&["a.test"], false), facts, &records, &name, None);
        assert_eq!(choose(&facts), Ok(ChallengeType::TlsAlpn01));
        facts.preflight = Some(Preflight { passed: vec![ChallengeType::Http01], ..Preflight::default() });
        assert_eq!(choose(&facts), Ok(ChallengeType::Http01));
    }

    #[test]
    fn a_wildcard_takes_dns_01_and_nothing_else() {
        let name = Identifier::from("*.a.test");
        let choose = |dns01| challenge(&wanted(&["*.a.test"], dns01), &facts(), &Records::first(), &name, None);
        assert_eq!(choose(true), Ok(ChallengeType::Dns01));
        assert!(choose(false).unwrap_err().contains("needs dns-01"));
    }

    #[test]
    fn an_address_takes_the_shortlived_profile_and_no_dns_01() {
        let offered = ["classic".to_owned(), "tlsserver".to_owned(), "shortlived".to_owned()];
        assert_eq!(profile(&wanted(&["192.0.2.1"], false), &offered), Ok(Some("shortlived".into())));
        assert_eq!(profile(&wanted(&["a.test"], false), &offered), Ok(Some("tlsserver".into())));
        assert_eq!(profile(&wanted(&["a.test"], false), &[]), Ok(None));
        assert!(profile(&wanted(&["2001:db8::1"], false), &offered[..2]).is_err());
        let classic = Wanted { profile: Some("classic".into()), ..wanted(&["192.0.2.1"], false) };
        assert!(profile(&classic, &offered).is_err());
        let name = Identifier::from("192.0.2.1");
        let no_web = Facts { preflight: Some(Preflight::default()), ..Facts::default() };
        assert!(challenge(&wanted(&["192.0.2.1"], true), &no_web, &Records::first(), &name, None).is_err());
    }
}
