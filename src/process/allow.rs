//! `clawgate allow`: who may ask for a while.

use std::{fmt::Write as _, time::SystemTime};

use time::{OffsetDateTime, macros::format_description};

use crate::{
    admin::{Answer, Refused},
    allow::{Openings, Temporary},
    app::App,
    cause,
    config::{self, Config, model::Hostname},
};

/// What is for longer belongs into the configuration.
const LONGEST: u64 = 30 * 24 * 3600;

pub(super) fn add(app: &App, network: &str, site: Option<&str>, seconds: u64) -> Answer {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let config = app.config();
    let open = match opening(&config, network, site, seconds, now) {
        Ok(open) => open,
        Err(wrong) => return Answer::refused(Refused::BadRequest, wrong),
    };
    if let Err(error) = app.allow(open.clone()) {
        return Answer::refused(Refused::Failed, format!("{open} is not let in: {}", cause::chain(&error)));
    }
    let mut text = line(&open);
    let has_list = |site: &config::model::Site| {
        !site.policy.allow.is_empty() || site.routes.iter().any(|route| !route.policy.allow.is_empty())
    };
    if !config.sites.iter().any(|site| open.is_for(&site.hosts) && has_list(site)) {
        text.push_str("\nnote: there is no allow list there, so everyone may ask already");
    }
    Answer::done(text)
}

fn opening(config: &Config, network: &str, site: Option<&str>, seconds: u64, now: u64) -> Result<Temporary, String> {
    let network = config::network(network).map_err(|wrong| format!("{network:?}: {wrong}"))?;
    if !(1..=LONGEST).contains(&seconds) {
        return Err(format!("{seconds} s is not between 1s and 30d; for longer write it into the site's allow"));
    }
    let site = match site {
        None => None,
        Some(name) => {
            let host = Hostname::try_from(name).map_err(|error| error.to_string())?;
            let served = |own: &Hostname| *own == host || own.matches(host.as_str());
            if !config.sites.iter().any(|site| site.hosts.iter().any(served)) {
                let hosts: Vec<&str> = config.sites.iter().flat_map(|s| &s.hosts).map(|h| h.as_str()).collect();
                return Err(format!("no site has the host {host}; there are {}", hosts.join(", ")));
            }
            Some(host)
        }
    };
    Ok(Temporary { network, site, until: now.saturating_add(seconds) })
}

pub(super) fn remove(app: &App, network: &str) -> Answer {
    let network = match config::network(network) {
        Ok(network) => network,
        Err(wrong) => return Answer::refused(Refused::BadRequest, format!("{network:?}: {wrong}")),
    };
    let who = config::written(&network);
    match app.disallow(network) {
        Ok(0) => {
            Answer::refused(Refused::Failed, format!("{who} was not let in for a while; `clawgate allow` lists who is"))
        }
        Ok(_) => Answer::done(format!("{who} is let in no longer, and its WebSockets are closed")),
        Err(error) => Answer::refused(Refused::Failed, format!("{who} is still let in: {}", cause::chain(&error))),
    }
}

pub(super) fn list(app: &App) -> Answer {
    Answer::done(text(&app.openings()))
}

fn text(openings: &Openings) -> String {
    let mut text = String::new();
    for open in &openings.temporary {
        let _ = writeln!(text, "{}", line(open));
    }
    for (name, addresses) in &openings.names {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "{name} is {}", addresses.join(", "));
    }
    match text.is_empty() {
        true => "nobody is let in for a while, and no allow list has a name that is known".into(),
        false => text.trim_end().into(),
    }
}

fn line(open: &Temporary) -> String {
    let until = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(open.until.min(253_402_300_799));
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let until = OffsetDateTime::from(until).format(format).unwrap_or_default();
    let site = open.site.as_ref().map_or_else(|| "every site with an allow list".into(), ToString::to_string);
    format!("{open} may ask at {site} until {until}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "[[site]]\nhosts = [\"chat.test\", \"*.b.test\"]\ncertificate = \"internal\"\n";
        let source = config::Source { name: "test".into(), text: text.into() };
        config::parse(&[source], &config::NoSecrets).unwrap().config
    }

    #[test]
    fn what_is_let_in_is_said_in_one_line() {
        let config = config();
        let open = opening(&config, "203.0.113.7", Some("x.b.test"), 7200, 1_795_371_472).unwrap();
        assert_eq!(line(&open), "203.0.113.7 may ask at x.b.test until 2026-11-22 20:17:52 UTC");
        let open = opening(&config, "2001:db8::/64", None, 1, 0).unwrap();
        assert_eq!(line(&open), "2001:db8::/64 may ask at every site with an allow list until 1970-01-01 00:00:01 UTC");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_way_out() {
        let refused = |network: &str, site, seconds| opening(&config(), network, site, seconds, 0).unwrap_err();
        assert!(refused("203.0.113.300", None, 60).contains("not a network"));
        assert!(refused("203.0.113.7/24", None, 60).contains("203.0.113.0/24"));
        assert!(refused("203.0.113.7", None, 0).contains("30d"));
        assert!(refused("203.0.113.7", None, LONGEST + 1).contains("allow"));
        assert!(refused("203.0.113.7", Some("chat.tset"), 60).contains("chat.test, *.b.test"));
    }
}
