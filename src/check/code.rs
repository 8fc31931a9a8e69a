//! The stable codes of what a live check finds: one table, so that `clawgate explain`, the documentation and the tests
//! can hold a line for each. The configuration's own codes are `config::Code`; both are made in one way.

use std::fmt;

use super::Topic;
use crate::{config::codes, exit};

/// From the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Looked at, and as it should be.
    Good,
    /// It cannot be known from here, or not as this user.
    Unknown,
    /// Worth a look; it may work all the same.
    Warning,
    /// It does not work like this.
    Error,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Good => "ok",
            Severity::Unknown => "unknown",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

codes! {
    DnsHere Good "dns/points-here"
        "Every address of the name is this machine's."
    DnsNotNeeded Good "dns/not-needed"
        "No name of the configuration is looked up in the public DNS: they are addresses or names of private use, whose certificates come from files or from clawgate's own CA."
    DnsNoSuchName Error "dns/no-such-name"
        "The DNS knows no such name (NXDOMAIN). Neither a CA nor a client can find the machine by it."
    DnsNoAddress Error "dns/no-address"
        "The name exists and has no address (A or AAAA), so neither a CA nor a client can connect."
    DnsElsewhere Error "dns/elsewhere"
        "The name points to addresses that are neither on an interface of this machine nor given to it by the cloud: an elastic or floating address that is not assigned, the old server, or a typing error. Let's Encrypt would ask there, fail, and count the failure. Where a load balancer or CDN stands before this machine, trusted_proxies says so."
    DnsSomeElsewhere Warning "dns/some-elsewhere"
        "Some of the name's addresses are not this machine's. Clients and CAs choose one of them, IPv6 first, so that some of them come to another machine or to nobody."
    DnsNotPublic Error "dns/not-public"
        "The name points to an address that is reserved or private. The internet cannot reach it, and a public CA does not try."
    DnsBehindNat Unknown "dns/behind-nat"
        "This machine has private addresses only, and the cloud's metadata does not name the public one. Whether the name's address leads here is known outside only."
    DnsBehindForwarder Unknown "dns/behind-forwarder"
        "The configuration trusts proxies before this machine, and the name's addresses may be theirs."
    DnsNoListener Error "dns/no-listener"
        "The name points to an address of this machine at which no listener of the configuration is. A CA prefers IPv6 and does not fall back where the connection is refused."
    DnsDiffers Warning "dns/differs"
        "The zone's own servers do not say what the resolver says, or not all the same. Where they agree, they are right: a CA asks them, and the resolver's answer is an old one, which ends by itself when its TTL is over. Where they do not agree, a CA may see either."
    DnsLame Warning "dns/lame-server"
        "A server that the zone names does not answer for it. A CA that asks this one first may give up."
    DnsZoneUnknown Unknown "dns/zone-unknown"
        "The zone's own servers could not be asked from here, as where only a resolver may be asked."
    DnsUnanswered Unknown "dns/unanswered"
        "The machine's resolvers gave no answer, or an error such as SERVFAIL: a broken DNSSEC chain shows like this too. Where that is so everywhere, the CA refuses."
    DnsCaaAllows Good "dns/caa-allows"
        "The CAA records in force allow the CA."
    DnsCaaForbids Error "dns/caa-forbids"
        "A CAA record (RFC 8659) forbids the CA to issue for the name: another CA is named, or another account or method. The CA refuses, and the refusal counts as a failure."
    DnsCaaUnanswered Unknown "dns/caa-unanswered"
        "Whether CAA records forbid the CA is not known. A CA that gets no answer either does not issue."
    DnsUnfinished Unknown "dns/unfinished"
        "The name servers did not answer in time. Whether the names point here is not known; the check can be repeated."
    PortsFree Good "ports/free"
        "Nobody listens where the configuration wants to."
    PortsOurs Good "ports/ours"
        "The ports are held by the clawgate that runs, or by systemd for it."
    PortsHeld Error "ports/held"
        "Another process listens there, and one port has one listener: clawgate would end with exit code 71. Stop the other one for good, or give clawgate other ports."
    PortsNotHere Error "ports/not-here"
        "A listener has an address that no interface of this machine has. Behind address translation a listener has the inner address, or 0.0.0.0 and [::]."
    PortsCa Warning "ports/not-the-cas"
        "A CA connects to port 80 for http-01 and to port 443 for tls-alpn-01, and to no other. Without listeners there, something before this machine has to send these ports to ours; dns-01 needs neither."
    PortsMetrics Warning "ports/metrics"
        "Another process, or a [[listen]] of the same configuration, has the address of `metrics`, or the unit's SocketBindAllow= leaves it out. The service runs without that page and tries it again each 10 s; `clawgate metrics` prints the same."
    PortsHidden Unknown "ports/hidden"
        "Somebody listens there, and whether it is clawgate is not for this user to see: its admin socket is closed to him, and the port is root's, as clawgate may be. Root, or the service's user, can look."
    PortsUnfinished Unknown "ports/unfinished"
        "What this machine tells about its ports was not told in time; the check can be repeated."
    FirewallOpen Good "firewall/open"
        "The packet filter of this machine (nftables, iptables, ufw, firewalld) lets a client's first packet in, or has no rules."
    FirewallClosed Error "firewall/closed"
        "A rule or the policy of this machine's packet filter drops or rejects what comes from outside to the port."
    FirewallSomeOnly Warning "firewall/some-only"
        "The packet filter lets some addresses in and drops or rejects the others, or all that come over IPv6. For port 443 that may be on purpose; a CA's addresses are not published and change."
    FirewallUnclear Unknown "firewall/unclear"
        "The rules ask what cannot be known here, such as a rate, a mark, or a match of an extension."
    FirewallHidden Unknown "firewall/hidden"
        "The packet filter's rules could not be listed: only root may, or no tool for it is installed."
    FirewallCloud Unknown "firewall/cloud"
        "A firewall before this machine (Hetzner Cloud, a security group at AWS, a router) leaves no trace on it. Ports 80 and 443 have to be open inbound from everywhere, or, for 443, at least for the backend and every browser. This is always said, because nothing here can see it; a staging order proves it."
    FirewallUnfinished Unknown "firewall/unfinished"
        "What this machine tells about its packet filter was not told in time; the check can be repeated."
    AcmeReachable Good "acme/reachable"
        "The CA answers, and offers what the configuration asks for."
    AcmeNotNeeded Good "acme/not-needed"
        "No certificate of the configuration comes from a CA, so none is asked."
    AcmeUnreachable Error "acme/unreachable"
        "The CA's directory cannot be read, so no certificate can be asked for. What is in force goes on being served."
    AcmeProfile Error "acme/no-such-profile"
        "The CA does not offer the profile of the configuration, and would refuse every order. Without the key the fitting one is chosen."
    AcmeEab Error "acme/eab-wanted"
        "The CA gives accounts only to its customers: it wants the key id and the key from its web site (external account binding)."
    AcmeHeadroom Good "acme/headroom"
        "Nothing stands against asking for a certificate, or there is one in force."
    AcmeTryLater Error "acme/try-later"
        "There is no certificate in force, and the ledger or the CA forbids a try now. Nothing has to be done for it: the time is kept over restarts, and a try before it would be refused."
    AcmeLastProblem Warning "acme/last-problem"
        "The last try failed for a reason that waiting does not mend. Once it is mended, `clawgate certs renew NAME` tries at once."
    AcmeRenewalWaits Warning "acme/renewal-waits"
        "The certificate in force is due for renewal, and the last tries failed; it is served until its last day."
    AcmeReached Good "acme/reached"
        "The CA's staging came from outside, by the name, and found clawgate."
    AcmeNotReached Error "acme/not-reached"
        "The CA's staging asked from outside and did not find clawgate, in the words that the CA itself uses. A real order would fail like this, and count."
    AcmeHalfReached Warning "acme/half-reached"
        "The CA's staging found clawgate at one port and not at the other. One is enough for the certificate; but clients come to port 443."
    AcmeStagingSilent Unknown "acme/staging-not-tried"
        "The order at the staging directory could not be made, so nothing is proved and nothing is wrong."
    AcmeNoStaging Unknown "acme/no-staging"
        "The configured CA has no staging directory, or no name has its certificate from a CA. A rehearsal needs one: `staging = URL` in [acme] names it where the CA has one."
    AcmeStagingForbidden Error "acme/staging-not-permitted"
        "A rehearsal needs the ports: those of the clawgate that runs, which does it for root and for its own user, or the right to listen on them."
    AcmeLedgerHidden Unknown "acme/ledger-hidden"
        "What was spent is known to the service, and to root and the service's user by its files."
    AcmeUnfinished Unknown "acme/unfinished"
        "The CA did not answer in time. Whether it can be reached is not known; the check can be repeated."
    StateGood Good "state/good"
        "The directory is there, the service can write there, and what is in it can be read."
    StateMadeAtStart Good "state/made-at-start"
        "systemd makes the directory before the first start, as the unit's StateDirectory= says."
    StateNoUser Error "state/no-user"
        "The unit's User= is in no /etc/passwd, and systemd would not start the service (217/USER)."
    StateNotCreatable Error "state/not-creatable"
        "The state directory is not there, and the service's user may not make it. Without it no certificate can be kept."
    StateNotADirectory Error "state/not-a-directory"
        "Something that is no directory has the name of the state directory."
    StateForeign Error "state/foreign"
        "Files of the state directory belong to another user than the service runs as, as after a start by hand as root. It would refuse them."
    StateMixed Warning "state/mixed-owners"
        "Files of the state directory belong to another user, and the service runs as root, who reads them all the same. That user can change them, and a later start as that user refuses what root has made meanwhile."
    StateNotWritable Error "state/not-writable"
        "The service's user may not write in the state directory. A try that cannot be written down is not made."
    StateReadOnly Error "state/read-only"
        "The file system of the state directory is mounted read-only, as after errors of the disk."
    StateFull Error "state/full"
        "The disk is full. What was there before stays, and no certificate is asked for until there is room."
    StateExposed Error "state/exposed"
        "Private keys are the owner's alone: others can open what is in the state directory, and it is refused until they cannot."
    StateOpen Warning "state/open"
        "Others can write in the state directory itself, and put a directory of their own in the place of one of ours."
    StateUnreadable Error "state/unreadable"
        "What is in the state directory cannot be read by the service."
    StateNewer Error "state/newer-version"
        "A newer clawgate has written the state; this one does not guess what it means. Run the newer one again, or restore what was there before it."
    StateDamaged Error "state/damaged"
        "A file of the state directory is not what clawgate writes. Move it away, and a new one is asked for."
    StateLedgerLost Warning "state/ledger-lost"
        "The ledger of what was spent of the CA's limit is damaged, or missing beside keys and certificates. Every try counts as spent until an hour after the next start; the damaged one is kept beside the new one."
    StateInternalCa Error "state/internal-ca"
        "The internal CA cannot be used: its key is open to others or somebody else's, a file is damaged or missing, or its root has expired or was made for other names. A start ends with exit code 78, and a reload is refused."
    StateNotDurable Warning "state/not-durable"
        "The state directory is gone after a restart of the machine or the container. The limit of 5 certificates a week for the same names counts at the CA and is not forgotten there."
    StateHidden Unknown "state/hidden"
        "The state directory is the service's alone. Root, or the service's user, can look."
    StateUserUnknown Unknown "state/user-unknown"
        "The unit has DynamicUser=, and systemd makes its user at the start. Whether that user may read the service's files is not known before, nor whether it may use a state directory that systemd does not make."
    StateUnfinished Unknown "state/unfinished"
        "The state directory did not answer in time, as a network file system does that is away."
    ClockRight Good "clock/right"
        "The machine's clock agrees with the CA's."
    ClockNotNeeded Good "clock/not-needed"
        "The clock is compared with a CA's, and no certificate of the configuration comes from one."
    ClockWrong Error "clock/wrong"
        "The machine's clock differs by more than 5 minutes from the CA's. Certificates and renewals are judged by it, and clients with a right clock may refuse what it signs."
    ClockUnknown Unknown "clock/unknown"
        "The CA, whose clock counts, has not told the time."
    ClockUnfinished Unknown "clock/unfinished"
        "The CA, whose clock counts, did not answer in time; the check can be repeated."
    AuthAnswers Good "auth/answers"
        "The service of forward_auth answers, and sends away whoever has not logged in."
    AuthNotNeeded Good "auth/not-needed"
        "No site or route has forward_auth, so there is no service to ask."
    AuthOpen Warning "auth/open"
        "The service of forward_auth lets a client pass that shows nothing: no cookie, no password, an address that is nobody's. That may be meant for some paths; at the front page of a site it hardly is."
    AuthUnusable Error "auth/unusable"
        "The service of forward_auth answers, and neither lets pass nor sends to a login: no such path (404), or a fault of its own."
    AuthAway Error "auth/away"
        "Nobody listens where forward_auth asks, so nothing passes."
    AuthNameUnknown Error "auth/name-unknown"
        "The name of the service of forward_auth has no address here, so nothing passes."
    AuthUntrusted Error "auth/untrusted"
        "The certificate of the service of forward_auth is over, for another name, or of a CA that is not trusted here, so it is asked nothing and nothing passes."
    AuthSilent Error "auth/silent"
        "The service of forward_auth does not answer in time, so nothing passes."
    AuthNoHttp Error "auth/no-http"
        "What answers where forward_auth asks is not HTTP, or for https:// not TLS, so nothing passes."
    AuthCaUnseen Unknown "auth/ca-unseen"
        "The CA that the service of forward_auth is checked against is in a file that cannot be read from here. Root, or the service's user, can look."
    AuthUnfinished Unknown "auth/unfinished"
        "The service of forward_auth did not answer in time; the check can be repeated."
    GatewayUnfinished Unknown "gateway/unfinished"
        "The gateway did not answer in time; the check can be repeated."
    GatewayAnswers Good "gateway/answers"
        "The gateway is live and ready, and begins a WebSocket as a gateway does."
    GatewayConfig Good "gateway/config"
        "The gateway's openclaw.json was found and read."
    GatewayIdentities Good "gateway/identities"
        "Who of a site's clients is approved by the gateway itself, and who has to be paired once by a person."
    GatewayService Good "gateway/service"
        "The gateway is a service that outlives a logout and comes back after a reboot."
    GatewayElsewhere Unknown "gateway/elsewhere"
        "The gateway is on another machine, so that its files and its process cannot be looked at."
    GatewayConfigUnknown Unknown "gateway/config-unknown"
        "openclaw.json was not found, may not be read, is no file, or is another gateway's. Root may look into every home, and --openclaw-config names it."
    GatewayConfigIncludes Unknown "gateway/config-includes"
        "openclaw.json takes parts of itself from other files, which the check does not read."
    GatewayProcessUnknown Unknown "gateway/process-unknown"
        "Another user's process listens where we forward to; only root sees which, and what keeps it running."
    GatewayKeeperUnknown Unknown "gateway/keeper-unknown"
        "What keeps the gateway running cannot be looked at from here: a container, a supervisor, a shell that is gone, or a unit whose state may not be read. Whether it outlives a logout and comes back after a reboot is known there."
    GatewayVariableUnknown Unknown "gateway/variable-unknown"
        "openclaw.json takes a value from the environment, and whether the gateway has it cannot be seen as this user."
    GatewayUsersByHeader Unknown "gateway/users-by-header"
        "The gateway takes the user's name from a proxy's header, and no token counts. Whether a header that the configuration makes is the one it wants is not known; backends do not get in by their token."
    GatewayAway Error "gateway/away"
        "Nobody listens where requests are forwarded to. Start the gateway, or mend upstream in the [[site]]."
    GatewayNotReady Error "gateway/not-ready"
        "The gateway is there and not ready: it is starting or stopping, or it is stuck."
    GatewayForeign Error "gateway/foreign"
        "Something else than an OpenClaw gateway answers where requests are forwarded to."
    GatewayAttribution Error "gateway/attribution"
        "The gateway answers 403 to browsers, because gateway.trustedProxies does not name the address they come from, 127.0.0.2."
    GatewayAttributedSource Error "gateway/attributed-source"
        "127.0.0.2, from which browsers reach the gateway, cannot be used on this machine."
    GatewayApprovalBroken Error "gateway/approval-broken"
        "gateway.trustedProxies names 127.0.0.1. Gateways before 2026.6 then approve no backend by themselves: take it out."
    GatewayConfigSyntax Error "gateway/config-syntax"
        "openclaw.json is not JSON5."
    GatewayAuthOff Error "gateway/auth-off"
        "The gateway asks for no credential. Whoever reaches it is its operator, so the proxy passes nobody on as a local client."
    GatewayAuthProxy Error "gateway/auth-proxy"
        "The gateway takes the user's name from a proxy's header, and no token counts. clawgate removes such headers and makes none, so nobody gets in."
    GatewayTokenMissing Error "gateway/token-missing"
        "The gateway wants a token and has none to compare with: neither in openclaw.json nor in its environment."
    GatewayVariableUnset Error "gateway/variable-unset"
        "openclaw.json takes a value from a variable that the gateway's service does not set. The gateway does not start without it."
    GatewayAttributionMissing Warning "gateway/attribution-missing"
        "gateway.trustedProxies does not name 127.0.0.2. The gateway cannot tell browsers apart, and from 2026.8.1 on it answers them 403."
    GatewayLoopbackTrusted Warning "gateway/loopback-trusted"
        "gateway.trustedProxies names 127.0.0.1, which every program of the machine comes from. clawgate needs 127.0.0.2 only."
    GatewayAuthPassword Warning "gateway/auth-password"
        "The gateway asks for a password where a long random token is the better choice."
    GatewayVariableFleeting Warning "gateway/variable-fleeting"
        "openclaw.json takes a value from a variable that only the shell had which started the gateway. It is gone at the next start."
    GatewayVariableShells Warning "gateway/variable-not-in-shells"
        "openclaw.json takes a value from a variable that the gateway's unit sets and new SSH sessions lack, so that openclaw commands fail there. In the .env beside openclaw.json both find it."
    GatewayOrigin Warning "gateway/origin-missing"
        "gateway.controlUi.allowedOrigins does not name the site, so the gateway's web page refuses to work there."
    GatewayDeviceAuthOff Warning "gateway/device-auth-off"
        "gateway.controlUi.dangerouslyDisableDeviceAuth lets in who has the token and says it is the gateway's web page: without a device, and with every right. Nobody is asked, and nothing can be taken back."
    GatewayModelDated Warning "gateway/model-dated"
        "A model is called by its day. OpenClaw replaces such names by short ones: write the short one."
    GatewayBindOpen Warning "gateway/bind-open"
        "The gateway listens on more than loopback and can be reached past the proxy."
    GatewayPort Warning "gateway/port-differs"
        "openclaw.json names another port than the one requests are forwarded to, and nobody listens there."
    GatewaySession Warning "gateway/dies-at-logout"
        "The gateway was started from a login and ends with it. Let it be a service."
    GatewayLinger Warning "gateway/linger-off"
        "The gateway is a service of a user's own systemd, which ends with the user's last session unless the user lingers."
    GatewayNotEnabled Warning "gateway/not-enabled"
        "The gateway's service runs and is not started at the next boot."
    GatewayFull Warning "gateway/full"
        "All of the gateway's places for clients that have not logged in yet are taken."
    ProbeApproved Good "probe/approved"
        "A backend of the site, tried for real, is approved by the gateway and may read."
    ProbeNeedsPairing Unknown "probe/needs-pairing"
        "Backends of the site are paired by hand, and the probe's key was a fresh one. With --device-key it is seen whether yours is paired."
    ProbeNotPaired Error "probe/not-paired"
        "The gateway wants the backend's device approved by hand. Approve the request that the finding names; a backend inside `clients` of a site is approved by itself, unless the gateway takes nobody for local."
    ProbeNoScope Error "probe/no-scope"
        "The gateway let the backend in without the scope it asked for, as it does with a client that shows no device key."
    ProbeWrongToken Error "probe/wrong-token"
        "The token of --token-file is not the gateway's."
    ProbeNoToken Error "probe/no-token"
        "The gateway wants its token, and the probe had none: --token-file names a file with it."
    ProbeProtocol Error "probe/protocol"
        "This clawgate and the gateway do not speak the same version of the protocol. Update the older of the two."
    ProbeRefused Error "probe/refused"
        "The gateway refused the backend, or did not answer it, for the reason in the finding."
    ProbeImpossible Error "probe/impossible"
        "The probe could not be made: a file that it needs cannot be used, or the proxy would refuse such a backend itself."
    ProbeLeft Warning "probe/entry-left"
        "The key that was made for the probe is still in one of the gateway's lists."
}

impl Code {
    /// The part of the check that finds it.
    pub fn topic(self) -> Topic {
        let part = self.as_str().split_once('/').map_or("", |(part, _)| part);
        // What a probe finds is about the gateway too.
        part.parse().unwrap_or(Topic::Gateway)
    }

    /// The code that is written like this.
    pub fn find(text: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// What a topic that did not end in time is reported as.
    pub(super) fn unfinished(topic: Topic) -> Option<Code> {
        Code::find(&format!("{topic}/unfinished"))
    }

    /// What the command ends with where this is the worst; 0 is no failure.
    pub(super) fn exit(self) -> u8 {
        match self.severity() {
            Severity::Error if self == Code::AcmeTryLater => exit::TRY_LATER,
            Severity::Error if self == Code::AcmeStagingForbidden => exit::NO_PERMISSION,
            Severity::Error => exit::UNAVAILABLE,
            Severity::Good | Severity::Unknown | Severity::Warning => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = std::collections::HashSet::new();
        let config = config::Code::ALL.iter().map(|code| (code.as_str(), code.page()));
        for (code, page) in config.chain(Code::ALL.iter().map(|code| (code.as_str(), code.page()))) {
            assert!(seen.insert(code), "{code} twice");
            let (room, rest) = code.split_once('/').expect("room/what");
            let is_plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            assert!(is_plain(room) && is_plain(rest), "{code}");
            assert!(page.ends_with('.'), "{code} has no page");
        }
        for code in Code::ALL {
            assert_eq!(Code::find(code.as_str()), Some(*code));
            let part = code.as_str().split('/').next().unwrap();
            let expected = if part == "probe" { "gateway" } else { part };
            assert_eq!(code.topic().as_str(), expected, "{code}");
        }
    }

    #[test]
    fn the_documentation_has_a_line_for_each_code_and_for_no_other() {
        let document = include_str!("../../docs/CHECK.md");
        let (_, table) = document.split_once("\n## Codes\n").unwrap();
        let lines = table.lines().filter(|line| line.starts_with("| `"));
        let documented: Vec<&str> = lines.map(|line| line.rsplit_once(" | ").unwrap().0).collect();
        let codes: Vec<String> = Code::ALL.iter().map(|code| format!("| `{code}` | {}", code.severity())).collect();
        for code in &codes {
            assert!(documented.contains(&code.as_str()), "{code} is not in docs/CHECK.md");
        }
        assert_eq!(documented.len(), codes.len());
    }

    #[test]
    fn every_topic_that_looks_at_the_world_can_be_unfinished() {
        for topic in Topic::LIVE {
            assert_eq!(Code::unfinished(topic).map(Code::topic), Some(topic));
        }
    }
}
