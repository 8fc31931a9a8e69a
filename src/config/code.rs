//! The stable codes of findings: one table, so that the tests can hold a case file and the docs a line for each.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The service does not start with it, and a reload refuses it.
    Error,
    /// Worth a look; the configuration is used all the same.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// Codes of one kind, such as `site/missing`: their severity, and what each means.
macro_rules! codes {
    ($($variant:ident $severity:ident $text:literal $page:literal)*) => {
        /// What a finding is called, in output, tests and `clawgate explain`. A code never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($variant,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// A code has one severity, wherever it is found.
            pub fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }

            /// What the code means, in a sentence or two; `clawgate explain` has the rest of its page.
            pub fn page(self) -> &'static str {
                match self { $(Code::$variant => $page,)* }
            }
        }

        impl std::fmt::Display for Code {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use codes;

codes! {
    FileUnreadable Error "file/unreadable"
        "A configuration file cannot be read. Check that it exists and that the service's user may read it."
    FileDenied Error "file/denied"
        "This user may not read a configuration file, or look into its directory. What it says is not known, and may be right."
    FileServiceDenied Error "file/service-denied"
        "The service's own user may not read a file that the service needs, run a command that it is to run (or there is no such command), or look into one of the directories on the way; or the unit hides the file (ProtectHome=, PrivateTmp=). It would not start, or not run the command."
    FileNotUtf8 Error "file/not-utf8"
        "TOML is UTF-8 text, and this file is not. Save it again as UTF-8."
    TomlSyntax Error "toml/syntax"
        "The text is not TOML at the marked place. What stands on other lines is checked all the same."
    KeyUnknown Error "key/unknown"
        "No such key is read at this place: a typing error, or a key that belongs in another table."
    KeyTwice Error "key/twice"
        "The main file and a file of conf.d, or two files of conf.d, set the same key. Arrays append and tables merge; any other key has one place."
    ValueType Error "value/type"
        "The key wants another type of TOML value: text in quotes, a number, true or false, an array, or a table."
    ValueDuration Error "value/duration"
        "A duration is a whole number and one unit of ms, s, m, h, d, such as \"30s\"."
    ValueSize Error "value/size"
        "A size is a whole number and one unit of B, KiB, MiB, GiB, such as \"64KiB\"."
    ValueRate Error "value/rate"
        "A rate is a size, a slash and a duration, such as \"1KiB/30s\"."
    ValuePace Error "value/pace"
        "How often something may happen is a number, a slash and a time, and where more may come at once, burst and a number: \"100/s burst 200\"."
    ValueNetwork Error "value/network"
        "A network is an address, or an address with a prefix length and no bits behind it, such as \"10.0.0.0/8\"."
    ValueAddress Error "value/address"
        "A listening address is an IP address and a port, such as \"0.0.0.0:443\" or \"[::]:443\"."
    ValueEndpoint Error "value/endpoint"
        "An upstream's address is an IP address or a host name, and a port, such as \"127.0.0.1:18789\"."
    ValueHost Error "value/host"
        "A host is a DNS name or an IP address, without scheme, port and path; \"*.example.com\" stands for one label."
    ValuePath Error "value/path"
        "Files and directories are named by absolute paths, because a service has no directory of its own to start from."
    ValueChoice Error "value/choice"
        "The key takes one of a few words."
    ValueLogLevel Error "value/log-level"
        "A log level is one of off, error, warn, info, debug, trace, or a comma-separated list of target=level."
    ValueOutOfRange Error "value/out-of-range"
        "The value is well formed but outside of what can work."
    ValueEmail Error "value/email"
        "A mail address is a name, an @ and a domain, in ASCII. The CA writes to it, rarely."
    ValueUrl Error "value/url"
        "A URL begins with https:// (http:// only where it says so), names a host, and has no spaces and no fragment."
    ValueBase64 Error "value/base64"
        "A key is written in base64: as the CA shows an hmac for external account binding (the URL-safe alphabet), or as tsig-keygen prints a secret."
    ValueAllow Error "value/allow"
        "A list of who may ask has addresses, networks and host names, which are looked up again and again."
    ValueDeviceKey Error "value/device-key"
        "A device key is an Ed25519 public key: 43 characters of base64url as the device sends it, its id (the SHA-256, 64 digits of hex), or PEM. `clawgate pin` lists those seen lately."
    ValueCaBundle Error "value/ca-bundle"
        "A CA is given as the path of a file with its certificate in PEM, ca = \"/etc/clawgate/ca.pem\", or as that text itself."
    ValueFingerprint Error "value/fingerprint"
        "A certificate is pinned by its SHA-256, as openssl x509 -noout -fingerprint -sha256 prints it."
    ValuePasswordHash Error "value/password-hash"
        "A password is kept as its argon2id hash in the PHC format, $argon2id$v=19$m=...: `clawgate hash-password` asks for one and prints the line. Its cost is bounded, because everybody can make clawgate compute it."
    ValueUser Error "value/user"
        "A user's name has 1 to 64 characters and no colon (RFC 7617)."
    ValueRealm Error "value/realm"
        "A realm is the text that a browser may show when it asks for a password: ASCII without quotes and backslashes."
    ValueScope Error "value/scope"
        "A scope is one word of the gateway's, such as \"operator.read\"."
    LimitsOutOfRange Error "limits/out-of-range"
        "The limit is outside of what can work: it would refuse ordinary clients, or protect nothing."
    NetworkEveryone Warning "network/everyone"
        "The list trusts every address there is, so that any client can claim any address. Name the proxy's own networks."
    InterpolateSyntax Error "interpolate/syntax"
        "In a string, ${env:NAME}, ${file:/PATH} and ${cred:NAME} stand for a value from outside; $${ is a plain ${."
    InterpolateUnset Error "interpolate/unset"
        "A value from outside is not there. Set it where the finding says, or take the reference out."
    SecretsWorldReadable Error "secrets/world-readable"
        "A token, key or hash comes from a file that every user of this machine can read. The service's group is enough: `chown root:clawgate FILE && chmod 640 FILE`."
    InterpolateUnknownHere Warning "interpolate/unknown-here"
        "The check runs outside of the service and cannot see this value; the service may. The check goes on with a placeholder."
    SiteMissing Error "site/missing"
        "Without a site there is nothing to serve. [[site]] with a host is enough."
    SiteNoHost Error "site/no-host"
        "A site is found by its host names, so it needs at least one."
    SiteDuplicateHost Error "site/duplicate-host"
        "A host belongs to one site, once."
    SiteCertificateKey Error "site/certificate-key"
        "A certificate file and its private key are given together, or neither is."
    SiteNotPublic Error "site/not-public"
        "A public CA issues for names below a public domain and for public addresses only. Take the internal CA for the others: they need a site of their own, or certificate = \"auto\"."
    SiteWildcardDns Error "site/wildcard-needs-dns"
        "A wildcard certificate is given for a DNS record only (dns-01), so [acme.dns] has to say how to make one. Without it, list the names, or bring a certificate."
    AcmeUnknownCa Error "acme/unknown-ca"
        "A CA is \"letsencrypt\", \"letsencrypt-staging\", or the https:// URL of its ACME directory."
    AcmeCaSetting Error "acme/ca-setting"
        "root, eab and staging are about a CA that is given by the URL of its directory, eab and staging about one of them only, and staging is another place than the CA itself."
    AcmeEab Error "acme/eab"
        "External account binding is a key id and a key, both from the CA's web site."
    AcmeChallenges Error "acme/challenges"
        "A CA checks a name by one of http-01, tls-alpn-01 and dns-01. At least one is needed, and dns-01 needs [acme.dns]."
    AcmeDns Error "acme/dns"
        "[acme.dns] has either a command, or server and zone for dynamic updates (RFC 2136) with key_name and key to sign them (RFC 8945)."
    AcmeCommand Error "acme/command"
        "A command is an array: the absolute path of a program, then its arguments. No shell is asked."
    ProbeToken Error "probe/token-missing"
        "The probe connects as a backend does, and the gateway wants its token: that of OPENCLAW_GATEWAY_TOKEN, best as a credential of the unit."
    ProbeSite Error "probe/no-such-site"
        "The probe plays the backend of one site, and its upstream is an OpenClaw gateway."
    ProbeCommand Error "probe/command"
        "A command is an array: the absolute path of a program, then its arguments. No shell is asked."
    SiteUnknownUpstream Error "site/unknown-upstream"
        "The site names an upstream that is not configured. A name refers to [upstream.NAME]; an address has a port."
    SiteUpstreamSetting Error "site/upstream-setting"
        "hold and kind in a site describe an upstream given there as an address. A named upstream has them in its own table."
    HostBothSpellings Error "host/both-spellings"
        "host is the short form of hosts with one name; write one of the two."
    UpstreamNoAddress Error "upstream/no-address"
        "An upstream is an address with a few settings; the address has no default in a named upstream."
    UpstreamBadName Error "upstream/bad-name"
        "An upstream's name stands in logs and metrics: letters, digits, hyphens and underscores, at most 64."
    UpstreamIdleTooLong Error "upstream/idle-too-long"
        "The gateway closes a connection that was idle for 5 s. A pool that keeps it as long sends requests into closed connections."
    UpstreamSameAddress Error "upstream/same-address"
        "Two upstreams are the same gateway. Its few places for unauthenticated sockets can only be kept if it is known as one."
    UpstreamConflict Error "upstream/conflict"
        "Sites with the same address share one upstream, or one service of forward_auth, so they cannot say different things about it."
    UpstreamUnused Warning "upstream/unused"
        "Nothing is forwarded to this upstream: a site or route that should name it does not."
    RouteNoPath Error "route/no-path"
        "A route matches a path: path for exactly one, prefix for all below."
    RouteBothPathAndPrefix Error "route/both-path-and-prefix"
        "A route matches either one exact path or a prefix. Write two routes for both."
    RoutePathNotAbsolute Error "route/path-not-absolute"
        "Paths of requests begin with a slash, so a route without one would never match."
    RouteBadPath Error "route/bad-path"
        "The path can never arrive like this (it is matched without query, after decoding unreserved characters once), or could not be sent."
    RouteHostNotInSite Error "route/host-not-in-site"
        "A route belongs to its site, so its hosts are among the site's."
    RouteUnknownUpstream Error "route/unknown-upstream"
        "The route names an upstream that is not configured. A name refers to [upstream.NAME]; an address has a port."
    RouteUnreachable Warning "route/unreachable"
        "An earlier route takes every request that this one could match. Exact paths come first, then prefixes in file order."
    IdentityLoopback Error "identity/loopback-needs-loopback-endpoint"
        "The identity loopback means that the gateway sees a local client, which is only possible at an IPv4 loopback address."
    IdentityUnfenced Warning "identity/unfenced"
        "Whoever holds the gateway's token becomes a paired operator through this site, because every address may be loopback. clients names the networks of your backend, and all others are attributed."
    DeviceKeysIncomplete Error "device-keys/incomplete"
        "A device key has a name for the log and a key; scopes and clients narrow what it may do and from where."
    ClientCertificateOneOf Error "client-certificate/one-of"
        "client_certificate has either ca or pins, and not an empty list."
    LoginIncomplete Error "login/incomplete"
        "A login has users, each with a name and the hash of a password. Without one nobody could log in."
    LoginTwice Error "login/twice"
        "A user is there once."
    LoginMixed Warning "login/mixed-cost"
        "The hashes of one login cost the same. Where they do not, a name that nobody has is answered in another time than one that somebody has, and the time tells which names there are."
    ForwardAuthIncomplete Error "forward-auth/incomplete"
        "forward_auth names the url of the service that is asked."
    ForwardAuthPlain Warning "forward-auth/plain-http"
        "What clients show the service of forward_auth, cookies and passwords among it, leaves this machine over plain HTTP, and whoever is on the way can answer in its place. That is right only inside of a network that is yours alone."
    ForwardAuthCa Error "forward-auth/ca-without-tls"
        "ca says whose certificate the service of forward_auth has to show, and over http:// it shows none."
    LoginPlain Warning "login/plain-http"
        "Passwords, or what clients show the service of forward_auth, come over plain HTTP on this listener. That is right only if nobody but the proxy that ends TLS can reach it: give it a loopback address, or let it serve https."
    DeviceKeysTwice Error "device-keys/twice"
        "Each device key is there once, under a name of its own: the log has to say which one it was."
    DeviceKeysUnused Warning "device-keys/unused"
        "Device keys fence the identity loopback, and here nobody gets it, so they say nothing."
    CertificateUnusable Error "tls/certificate-unusable"
        "The certificate and its key cannot be served as they are."
    CertificateUnknownHere Warning "tls/certificate-unknown-here"
        "The check cannot read the files, and the service may: run it as root, or as the service's user."
    CertificateExpired Warning "tls/certificate-expired"
        "Clients refuse a certificate after its last day."
    CertificateNotYetValid Warning "tls/certificate-not-yet-valid"
        "Clients refuse a certificate before its first day; often it is the machine's clock that is wrong."
    CertificateOtherNames Warning "tls/certificate-other-names"
        "Clients refuse a certificate that does not name the host they asked for."
    CertificateWithoutChain Warning "tls/certificate-without-chain"
        "Clients know the roots and need the certificates between; the file has the site's own alone."
    SandboxNeedsRestart Error "sandbox/needs-restart"
        "The running process has locked itself in with what its configuration named at the start, and this is outside. It serves on as before; a restart takes the new configuration."
    ListenDuplicateAddress Error "listen/duplicate-address"
        "Two listeners cannot have the same address and port."
    ListenRedirectWithoutHttps Warning "listen/redirect-without-https"
        "A listener redirects to https, but none serves it."
    MetricsNotLoopback Error "metrics/not-loopback"
        "Everybody who reaches the metrics page may read it, so it is served on 127.0.0.0/8 and ::1 only. For elsewhere, let an agent on this machine read it, or `clawgate metrics`."
    HeadersBadName Error "headers/bad-name"
        "A header name is letters, digits and hyphens (RFC 9110 §5.1)."
    HeadersBadValue Error "headers/bad-value"
        "A header value is visible ASCII, spaces and tabs. A line break would begin another header."
    HeadersForbidden Error "headers/forbidden"
        "The proxy itself decides this header: it frames the message, belongs to one connection, or says who the client is."
    HeadersTwice Error "headers/twice"
        "set names the same header twice, in different spellings. Only one value can be set; add takes several."
}
