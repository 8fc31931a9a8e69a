//! Who will be approved, who has to be paired, and who gets 403: the identity rules against what the gateway believes.

use super::{
    file::Known,
    lists,
    live::Knock,
    openclaw::{Openclaw, Version},
};
use crate::{
    config::model::{ATTRIBUTED_SOURCE, IdentityRule, LOOPBACK_SOURCE, Site, Upstream},
    gateway::translate::Trouble,
    headers::{
        backend::{self, backend},
        identity::{Decision, Identity},
    },
};

/// What becomes of a client that has the right token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its device is approved by itself.
    Approved,
    /// Once, somebody runs `openclaw devices approve`.
    Paired,
    /// `proxy_attribution_required`.
    Forbidden,
    /// The version decides between the last two, and it is not known.
    PairedOrForbidden,
    /// What `openclaw.json` says decides between the first two, and that is not known.
    ApprovedOrPaired,
    /// The proxy answers for the gateway.
    Refused,
}

/// Of a site's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fates {
    pub backend: Fate,
    pub browser: Fate,
}

/// What the gateway believes of our two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trust {
    /// 127.0.0.2 is in `gateway.trustedProxies`.
    pub attributed: Known,
    /// 127.0.0.1 is.
    pub loopback: Known,
    pub version: Option<Version>,
    /// What an attributed WebSocket was answered just now: `Yes` is 403.
    pub forbidden: Known,
    /// `gateway.auth.mode` is none.
    pub without_auth: bool,
    /// `gateway.auth.mode` is trusted-proxy: a header says who it is, and no token counts.
    pub by_header: bool,
}

impl Trust {
    pub fn of(openclaw: Option<&Openclaw>, version: Option<Version>, attributed: Option<&Knock>) -> Trust {
        let forbidden = match attributed {
            Some(Knock::Refused { trouble: Some(Trouble::ProxyAttributionRequired), .. }) => Known::Yes,
            Some(Knock::Challenged) => Known::No,
            _ => Known::Unknown,
        };
        let Some(openclaw) = openclaw else { return Trust { version, forbidden, ..Trust::default() } };
        let listed = openclaw.trusted_proxies.as_deref().unwrap_or_default();
        let has = |address| match (lists::has(listed, address), openclaw.includes) {
            (true, _) => Known::Yes,
            (false, true) => Known::Unknown,
            (false, false) => Known::No,
        };
        Trust {
            attributed: has(ATTRIBUTED_SOURCE),
            loopback: has(LOOPBACK_SOURCE),
            version,
            forbidden,
            without_auth: openclaw.mode.as_deref() == Some("none"),
            by_header: openclaw.mode.as_deref() == Some("trusted-proxy"),
        }
    }

    /// Whether a local client without forwarding fields is local for this gateway.
    pub fn approves_local(&self) -> Known {
        match (self.loopback, self.version) {
            (Known::No, _) => Known::Yes,
            (_, Some(version)) if version >= Version::HEADERLESS_LOCAL => Known::Yes,
            (Known::Yes, Some(_)) => Known::No,
            (Known::Yes, None) | (Known::Unknown, _) => Known::Unknown,
        }
    }

    fn of_attributed(&self) -> Fate {
        match (self.forbidden, self.attributed, self.version) {
            (Known::Yes, _, _) => Fate::Forbidden,
            (Known::No, _, _) | (_, Known::Yes, _) => Fate::Paired,
            (Known::Unknown, _, Some(version)) if version < Version::ATTRIBUTION => Fate::Paired,
            (Known::Unknown, Known::No, Some(_)) => Fate::Forbidden,
            (Known::Unknown, _, _) => Fate::PairedOrForbidden,
        }
    }
}

/// For the clients of `site` that go to `upstream`.
pub fn fates(site: &Site, upstream: &Upstream, trust: &Trust, attributed_source: bool) -> Fates {
    let known = backend::Known { address: None, gateway_without_auth: trust.without_auth, attributed_source };
    let fate = |identity| match identity {
        Identity::Loopback | Identity::AttributedHeaderless => match trust.approves_local() {
            Known::Yes => Fate::Approved,
            Known::No => Fate::Paired,
            Known::Unknown => Fate::ApprovedOrPaired,
        },
        Identity::Attributed => trust.of_attributed(),
    };
    let of_backend = match backend(&site.policy, upstream, &site.hosts[0], known).0 {
        Decision::Forward { identity, .. } => fate(identity),
        Decision::Refuse { .. } => Fate::Refused,
    };
    let of_browser = match (site.policy.identity, attributed_source || !upstream.endpoint.is_ipv4_loopback()) {
        // Outside of the fence it is as everybody else.
        (IdentityRule::Loopback, _) => of_backend,
        (IdentityRule::Auto | IdentityRule::Attributed, true) => trust.of_attributed(),
        (IdentityRule::Auto | IdentityRule::Attributed, false) => Fate::Refused,
    };
    Fates { backend: of_backend, browser: of_browser }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, NoSecrets, Source};

    fn site(lines: &str) -> config::Config {
        let text = format!("[[site]]\nhost = \"claw.example.com\"\n{lines}\n");
        config::parse(&[Source { name: "c".into(), text }], &NoSecrets).unwrap().config
    }

    fn trust(proxies: &[&str], version: &str, attributed: Option<&Knock>) -> Trust {
        let proxies = proxies.iter().map(|entry| (*entry).to_owned()).collect();
        let openclaw = Openclaw { trusted_proxies: Some(proxies), ..Openclaw::default() };
        Trust::of(Some(&openclaw), Version::parse(version), attributed)
    }

    fn found(lines: &str, trust: &Trust) -> (Fate, Fate) {
        let config = site(lines);
        let Fates { backend, browser } = fates(&config.sites[0], &config.upstreams[0], trust, true);
        (backend, browser)
    }

    // The table of the design, measured with 2026.3.13 and 2026.9.6.
    #[test]
    fn the_rules_against_the_gateways_versions() {
        use Fate::{Approved, Forbidden, Paired, PairedOrForbidden};
        let auto = "";
        let attributed = "identity = \"attributed\"";
        let loopback = "identity = \"loopback\"";
        let fenced = "clients = [\"198.51.100.0/24\"]";
        let both: &[&str] = &["127.0.0.2"];
        for (lines, proxies, version, expected) in [
            (auto, both, "2026.3.13", (Approved, Paired)),
            (auto, both, "2026.9.6", (Approved, Paired)),
            (fenced, both, "2026.9.6", (Approved, Paired)),
            (loopback, both, "2026.9.6", (Approved, Approved)),
            (attributed, both, "2026.9.6", (Paired, Paired)),
            (auto, &[], "2026.3.13", (Approved, Paired)),
            (auto, &[], "2026.8.1", (Approved, Forbidden)),
            (attributed, &[], "2026.9.6", (Forbidden, Forbidden)),
            (auto, &[], "", (Approved, PairedOrForbidden)),
            (auto, &["127.0.0.1", "127.0.0.2"], "2026.3.13", (Paired, Paired)),
            (auto, &["127.0.0.0/8"], "2026.3.13", (Paired, Paired)),
            (auto, &["127.0.0.0/8"], "2026.9.6", (Approved, Paired)),
            (auto, &["::ffff:127.0.0.2"], "2026.9.6", (Approved, Paired)),
        ] {
            assert_eq!(found(lines, &trust(proxies, version, None)), expected, "{lines} {proxies:?} {version}");
        }
    }

    #[test]
    fn who_is_approved_is_not_known_without_the_gateways_file() {
        let trust = Trust::of(None, None, Some(&Knock::Challenged));
        assert_eq!(found("", &trust), (Fate::ApprovedOrPaired, Fate::Paired));
        let trust = Trust::of(None, Version::parse("2026.9.6"), Some(&Knock::Challenged));
        assert_eq!(found("", &trust), (Fate::Approved, Fate::Paired));
    }

    #[test]
    fn what_the_gateway_answered_counts_for_more_than_what_its_file_says() {
        let refused = Knock::Refused { status: 403, trouble: Some(Trouble::ProxyAttributionRequired) };
        assert_eq!(found("", &trust(&["127.0.0.2"], "2026.9.6", Some(&refused))).1, Fate::Forbidden);
        assert_eq!(found("", &trust(&[], "2026.9.6", Some(&Knock::Challenged))).1, Fate::Paired);
    }

    #[test]
    fn a_gateway_without_auth_has_no_local_clients() {
        let openclaw = Openclaw {
            mode: Some("none".into()),
            trusted_proxies: Some(vec!["127.0.0.2".into()]),
            ..Openclaw::default()
        };
        let trust = Trust::of(Some(&openclaw), None, None);
        assert_eq!(found("", &trust), (Fate::Paired, Fate::Paired));
    }

    #[test]
    fn without_the_second_address_browsers_are_refused() {
        let config = site("");
        let trust = trust(&["127.0.0.2"], "2026.9.6", None);
        let fates = fates(&config.sites[0], &config.upstreams[0], &trust, false);
        assert_eq!((fates.backend, fates.browser), (Fate::Approved, Fate::Refused));
    }
}
