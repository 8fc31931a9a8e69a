//! What `openclaw.json` says.

use std::path::Path;

use super::{Code, File, Here, Judge, Openclaw, answers::ATTRIBUTION};
use crate::{
    check::gateway::{
        expect::{Fate, Fates, fates},
        file::{Known, Sources, TOKEN},
        lists::{self, Change},
        openclaw::{Credential, Version},
        words,
    },
    gateway::translate::token_command,
    shell,
};

impl Judge<'_> {
    pub(super) fn file(&mut self, here: &Here) {
        match &here.file {
            File::Read { path, openclaw, variables, token, dotenv, .. } if self.is_its_file() => {
                self.openclaw(path, openclaw, variables, *token, dotenv);
            }
            File::Read { path, openclaw, .. } => {
                let seen = format!("its port is {}, and a gateway answers at {}", openclaw.port(), self.at);
                let why = "it may be another gateway's file; what it says was not looked at";
                let cure = "--openclaw-config PATH names the right one";
                self.add(Code::GatewayConfigUnknown, path.display().to_string(), seen, why, cure);
            }
            File::Wrong { path, error } => {
                let seen = format!("not JSON5: {error}");
                let why = "the gateway does not start with it, or goes on with what it read before";
                let cure = format!("`{}`, or mend {}", self.owner().openclaw("openclaw doctor"), path.display());
                self.add(Code::GatewayConfigSyntax, path.display().to_string(), seen, why, cure);
            }
            File::Hidden { path } => {
                let why = "allowed origins, trusted proxies, the token's place, and so who is approved, are not known";
                let seen = "this user may not read it";
                self.add(Code::GatewayConfigUnknown, path.display().to_string(), seen, why, "run the check as root");
            }
            File::Unreadable { path, why: seen } => {
                let why = "the gateway cannot read it either, and so who is approved is not known";
                let cure = format!(
                    "`ls -ld {}` shows it; put the gateway's file there, or --openclaw-config PATH names the right one",
                    shell::path(path)
                );
                self.add(Code::GatewayConfigUnknown, path.display().to_string(), seen, why, cure);
            }
            File::Missing { looked } => {
                let looked: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
                let seen = match &looked[..] {
                    [] => "there is no openclaw.json, and no home to look into".to_owned(),
                    [one] => format!("{one} is not there"),
                    all => format!("there is none of {}", list(all)),
                };
                let why = "allowed origins, trusted proxies, the token's place, and so who is approved, are not known";
                let cure = match here.root {
                    true => {
                        "--openclaw-config PATH says where it is; where the gateway is yet to be set up: `openclaw onboard`"
                    }
                    false => "--openclaw-config PATH says where it is; root can look into every home",
                };
                self.add(Code::GatewayConfigUnknown, self.at.clone(), seen, why, cure);
            }
        }
    }

    fn openclaw(&mut self, path: &Path, openclaw: &Openclaw, variables: &[Sources], token: Sources, dotenv: &Path) {
        let file = || path.display().to_string();
        self.good(Code::GatewayConfig, file(), format!("{} is read", path.display()));
        if openclaw.includes {
            let seen = "parts of it are in other files ($include), which are not read here";
            let why = "what is missing here may stand there";
            self.add(
                Code::GatewayConfigIncludes,
                file(),
                seen,
                why,
                self.owner().openclaw("openclaw config get gateway"),
            );
        }
        self.port_differs(path, openclaw);
        self.auth(path, openclaw, token, dotenv);
        if let Some(bind) = openclaw.bind.as_deref().filter(|bind| !is_local(bind)) {
            self.bind(format!("gateway.bind is {bind:?} in {}", path.display()));
        }
        for (reference, sources) in openclaw.references.iter().zip(variables) {
            self.variable(path, reference, sources, dotenv);
        }
        self.origins(path, openclaw);
        self.devices(path, openclaw);
        self.trusted(path);
        for model in &openclaw.dated {
            let seen = format!("{} names {}, a model with its day", model.path, model.id);
            let why = "OpenClaw replaces it by a short name, so what it says and what runs differ";
            let cure = match model.is_key || model.path.contains('[') {
                true => format!("write {} in its place", model.alias),
                false => {
                    let (path, alias) = (shell::word(&model.path), shell::word(&model.alias));
                    self.owner().openclaw(&format!("openclaw config set {path} {alias}"))
                }
            };
            self.add(Code::GatewayModelDated, file(), seen, why, cure);
        }
    }

    /// Only where nobody answers: a gateway may be told its port when it is started.
    fn port_differs(&mut self, path: &Path, openclaw: &Openclaw) {
        let port = openclaw.port();
        if port != self.port() && !self.is_up() {
            let seen = format!("gateway.port is {port}, and we forward to {}", self.at);
            let why = "a gateway that is started with this file is not found";
            let cure = format!("upstream = \"127.0.0.1:{port}\" in the [[site]]");
            self.add(Code::GatewayPort, path.display().to_string(), seen, why, cure);
        }
    }

    fn auth(&mut self, path: &Path, openclaw: &Openclaw, token: Sources, dotenv: &Path) {
        let file = path.display().to_string();
        let set = [token.process, token.unit, token.files];
        // A reference to a variable that is not there keeps the gateway from starting.
        let to_token = match set.contains(&Known::Yes) {
            true => token_command!().replace("\"$(openssl rand -hex 32)\"", &format!("'${{{TOKEN}}}'")),
            false => token_command!().to_owned(),
        };
        let to_token = self.owner().openclaw_each(&to_token);
        match openclaw.mode.as_deref() {
            Some("none") => {
                let seen = "gateway.auth.mode is none: the gateway asks nobody for a credential";
                let why = "whoever reaches it is its operator, so the proxy passes nobody on as a local client";
                self.add(Code::GatewayAuthOff, file, seen, why, to_token);
            }
            Some("password") => {
                let seen = "gateway.auth.mode is password";
                let why = "people choose passwords that can be guessed, and it is sent at every connect";
                self.add(Code::GatewayAuthPassword, file, seen, why, to_token);
            }
            Some("trusted-proxy") => {
                let seen = "gateway.auth.mode is trusted-proxy: the gateway takes the user's name from a header";
                // Measured with 2026.9.6: no token counts, and a password only of a local client.
                let (code, why) = match self.makes_headers() {
                    false => (
                        Code::GatewayAuthProxy,
                        "clawgate removes such headers and makes none, so neither a backend nor a browser gets in",
                    ),
                    true => (
                        Code::GatewayUsersByHeader,
                        "no backend gets in by its token; browsers do if gateway.auth.trustedProxy.userHeader is a header \
                         that this configuration makes (copy_headers, request_headers) and allowLoopback there is true",
                    ),
                };
                self.add(code, file, seen, why, to_token);
            }
            _ if (openclaw.token, openclaw.password) != (Credential::Absent, Credential::Absent)
                || openclaw.includes => {}
            _ if set == [Known::No; 3] => {
                let seen = format!("there is no gateway.auth.token, and {TOKEN} is not set for the gateway");
                let why = "without a token the gateway does not start, or makes one up that nobody knows";
                let cure = self.owner().keep_new(TOKEN, dotenv);
                // One that runs has none, or one that nobody knows; one that does not run finds it when it starts.
                let cure = match self.is_up() {
                    true => words::then_restart(&cure, self.listener(), self.owner()),
                    false => cure,
                };
                self.add(Code::GatewayTokenMissing, file, seen, why, cure);
            }
            _ => {}
        }
    }

    /// Whether a header that a client cannot send reaches the gateway, such as the name of who has logged in.
    fn makes_headers(&self) -> bool {
        let routes = self.config.sites.iter().flat_map(|site| &site.routes);
        let routes = routes.filter(|route| route.upstream.0 == self.gateway.upstream).map(|route| &route.policy);
        self.sites().map(|site| &site.policy).chain(routes).any(|policy| {
            let (asked, own) = (policy.forward_auth.as_ref(), &policy.request_headers);
            asked.is_some_and(|service| !service.copy.is_empty()) || !own.set.is_empty() || !own.add.is_empty()
        })
    }

    /// Measured: with 2026.3.13 such a client has `operator.admin` at once, over any address; 2026.9.6 ignores the key.
    fn devices(&mut self, path: &Path, openclaw: &Openclaw) {
        if !self.needs_no_device(openclaw) {
            return;
        }
        let key = "gateway.controlUi.dangerouslyDisableDeviceAuth";
        let (seen, since) = (format!("{key} is true"), Version::DEVICES_ALWAYS);
        let why = format!(
            "whoever has the gateway's token and calls itself its web page is its operator at once: no device, no pairing, \
             nobody is asked (OpenClaw {since} ignores the key)"
        );
        let cure = self.owner().openclaw(&format!("openclaw config unset {key}"));
        let cure = words::then_restart(&cure, self.listener(), self.owner());
        self.add(Code::GatewayDeviceAuthOff, path.display().to_string(), seen, why, cure);
    }

    fn needs_no_device(&self, openclaw: &Openclaw) -> bool {
        openclaw.without_devices && self.trust.version.is_none_or(|version| version < Version::DEVICES_ALWAYS)
    }

    fn origins(&mut self, path: &Path, openclaw: &Openclaw) {
        if !openclaw.wants_origins() || (openclaw.allowed_origins.is_none() && openclaw.includes) {
            return;
        }
        let there = openclaw.allowed_origins.as_deref().unwrap_or_default();
        let (config, upstream) = (self.config, self.gateway.upstream);
        // One command for all of them: the list is replaced whole.
        let Some(change) = lists::allowed_origins(config, upstream, there) else { return };
        let cure = self.command(&change);
        for (host, origin) in lists::missing_origins(config, upstream, there) {
            let seen = format!("gateway.controlUi.allowedOrigins in {} lacks {origin}", path.display());
            let why = "the gateway's web page says \"origin not allowed\" there";
            self.add(Code::GatewayOrigin, host.to_string(), seen, why, cure.clone());
        }
    }

    /// What puts the list of trusted proxies right: one command for all that is found wrong with it, because it is
    /// replaced whole. `None` where the file is right as it is.
    pub(super) fn trust(&self) -> Option<Change> {
        let there = self.read().and_then(|(_, openclaw)| openclaw.trusted_proxies.as_deref()).unwrap_or_default();
        lists::trusted_proxies(self.config, self.gateway.upstream, there)
    }

    fn trusted(&mut self, path: &Path) {
        let Some(change) = self.trust() else { return };
        let (file, cure) = (path.display().to_string(), self.command(&change));
        let is_wanted = lists::attributes(self.config, self.gateway.upstream);
        if self.trust.attributed == Known::No && self.trust.forbidden != Known::Yes && is_wanted {
            let seen = "gateway.trustedProxies lacks 127.0.0.2";
            let (code, seen, why) = match (self.trust.forbidden, self.trust.version) {
                (Known::Unknown, Some(version)) if version >= Version::ATTRIBUTION => (
                    Code::GatewayAttribution,
                    format!("{seen}, and OpenClaw {version} answers 403 to a proxy that it does not know"),
                    ATTRIBUTION,
                ),
                _ => (
                    Code::GatewayAttributionMissing,
                    seen.to_owned(),
                    "the gateway takes all browsers for one client, and from 2026.8.1 on it answers them 403",
                ),
            };
            self.add(code, file.clone(), seen, format!("{why}{}", takes_out(&change)), cure.clone());
        }
        if self.trust.loopback == Known::Yes {
            let removed = list_all(&change.removed);
            let has = match change.removed.iter().all(|entry| entry.trim() == "127.0.0.1") {
                true => "gateway.trustedProxies has 127.0.0.1".to_owned(),
                false => format!("gateway.trustedProxies has {removed}, and with it 127.0.0.1"),
            };
            let broken = self.trust.approves_local() == Known::No;
            let (code, seen, why) = match self.trust.version.filter(|_| broken) {
                Some(version) => (
                    Code::GatewayApprovalBroken,
                    format!("{has}, and the gateway is OpenClaw {version}"),
                    "a trusted proxy that names no client is no local client there: every backend has to be paired",
                ),
                None => (
                    Code::GatewayLoopbackTrusted,
                    has,
                    "every program of this machine may say for whom it speaks, and before 2026.6 no backend is approved by \
                     itself",
                ),
            };
            let wide = change.removed.iter().filter(|entry| is_wide(entry));
            let others: String =
                wide.map(|entry| format!("; a proxy elsewhere that is in {entry} is to be named by itself")).collect();
            self.add(code, file, seen, format!("{why}{others}"), cure);
        }
    }

    /// In a sentence for each site, where nothing stands in the way of it.
    ///
    /// Who has to be paired because something is wrong has a finding of its own, and is not well.
    pub(super) fn identities(&mut self) {
        let openclaw = self.read().filter(|_| self.is_its_file()).map(|(_, openclaw)| openclaw);
        let without_devices = openclaw.is_some_and(|openclaw| self.needs_no_device(openclaw));
        let has_finding = self.trust.without_auth || self.trust.by_header || without_devices;
        if self.trust.approves_local() == Known::No || has_finding {
            return;
        }
        let without_page = openclaw.is_some_and(|openclaw| openclaw.without_page);
        for site in self.sites() {
            let Fates { backend, browser } = fates(site, self.upstream, &self.trust, self.gateway.attributed_source);
            let word = |fate| match fate {
                Fate::Approved => Some("approved by themselves"),
                Fate::Paired => Some("paired once by hand (openclaw devices approve)"),
                Fate::Forbidden | Fate::PairedOrForbidden | Fate::ApprovedOrPaired | Fate::Refused => None,
            };
            if let (Some(backends), Some(browsers)) = (word(backend), word(browser)) {
                let host = &site.hosts[0];
                let seen = if without_page {
                    format!("{host}: backends are {backends}; the gateway has no page for browsers")
                } else if backends == browsers {
                    format!("{host}: backends and browsers are {backends}")
                } else {
                    format!("{host}: backends are {backends}, browsers are {browsers}")
                };
                self.good(Code::GatewayIdentities, host.to_string(), seen);
            }
        }
    }
}

/// What the command does beside what the finding is about.
pub(super) fn takes_out(change: &Change) -> String {
    match change.removed.is_empty() {
        true => String::new(),
        false => format!(
            "; the command takes {} out as well, through which any program of this machine may say for whom it speaks",
            list_all(&change.removed)
        ),
    }
}

/// Whether this network has more in it than this machine.
fn is_wide(entry: &str) -> bool {
    entry.trim().parse::<ipnet::Ipv4Net>().is_ok_and(|network| network.prefix_len() < 8)
}

fn list_all(entries: &[String]) -> String {
    entries.iter().map(|entry| entry.trim()).collect::<Vec<_>>().join(" and ")
}

fn is_local(bind: &str) -> bool {
    // `auto` is loopback wherever there is one; what it came to is seen at the process.
    matches!(bind, "loopback" | "auto" | "localhost" | "127.0.0.1" | "::1")
}

fn list(words: &[String]) -> String {
    match words.split_last() {
        None => "any home".into(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
