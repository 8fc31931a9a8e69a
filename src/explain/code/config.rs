//! What a configuration can have wrong: why it matters, and the way out. What a code means stands beside the code.

use crate::config::Code;

more! { Code:
    FileUnreadable
        "The service starts with the whole configuration or not at all."
        "`clawgate init HOST` writes one where there is none. `ls -l PATH` shows whose it is; as a rule: `chown root:clawgate /etc/clawgate/config.toml && chmod 640 /etc/clawgate/config.toml`"
    FileDenied
        "Nothing was looked at: what a file says that cannot be read is neither right nor wrong."
        "`sudo clawgate check`; it says too whether the service's user may read it, as it has to (`file/service-denied`). As a rule: `chown root:clawgate /etc/clawgate/config.toml && chmod 640 /etc/clawgate/config.toml`"
    FileServiceDenied
        "Who runs `sudo clawgate check` may read everything; the service runs as the unit's User=, ends with exit code 78, and is not started again."
        "The finding has the command for each file and directory; as a rule `chown root:clawgate PATH && chmod 640 PATH`. What systemd reads itself, as root, needs none: LoadCredential= and ${cred:NAME}"
    FileNotUtf8
        "A name or a path that is read in another encoding is another name."
        "iconv -f latin1 -t utf-8 OLD > NEW, or save it as UTF-8 in the editor."
    TomlSyntax
        "What stands behind the mark cannot be understood, so the configuration is not used; a reload keeps the old one."
        "Text stands in quotes, lists in brackets: host = \"chat.example.com\". `clawgate fmt` shows the rest in good order."
    KeyUnknown
        "A line that is passed over in silence is a setting that somebody relies on and does not have."
        "The finding says what was probably meant, or where the key belongs. All keys: config.example.toml"
    KeyTwice
        "Which of the two would count depends on the order of the files, and the other one would lie."
        "Take one of the two out; the finding names both places."
    ValueType
        "A number in quotes is text, and text without quotes is nothing."
        "Write it as the finding says, such as access = false, connections = 1024, host = \"chat.example.com\""
    ValueDuration
        "A number alone could be seconds or milliseconds."
        "hold = \"30s\""
    ValueSize
        "A number alone could be bytes or kilobytes, and MB and MiB differ."
        "body_limit = \"50MiB\""
    ValueRate
        "A rate below which a client is too slow has an amount and a time."
        "body_rate = \"1KiB/30s\""
    ValuePace
        "A limit that is read wrongly locks people out, or nobody."
        "requests_per_client = \"100/s burst 200\", or \"unlimited\""
    ValueNetwork
        "10.0.0.1/8 is either one address or sixteen million, and who is trusted hangs on it."
        "clients = [\"198.51.100.7/32\", \"2001:db8::/48\"]"
    ValueAddress
        "A listener needs both: where and on which port."
        "address = \"0.0.0.0:443\" for IPv4, \"[::]:443\" for IPv6"
    ValueEndpoint
        "The gateway is found by address and port; a path or a scheme has no meaning there."
        "upstream = \"127.0.0.1:18789\""
    ValueHost
        "The host is compared with what clients ask for, and stands in the certificate."
        "host = \"chat.example.com\""
    ValuePath
        "The same line would mean another file when the command is run from elsewhere."
        "state_dir = \"/var/lib/clawgate\""
    ValueChoice
        "A word that is not known would have to be guessed."
        "The finding lists the words, such as identity = \"auto\""
    ValueLogLevel
        "A log that was meant to be louder is silent when it is needed."
        "level = \"info\", or for one part: level = \"info,clawgate::acme=debug\""
    ValueOutOfRange
        "The service would not work with it, or not as anybody expects."
        "The finding has the range."
    ValueEmail
        "A CA refuses an account whose contact it cannot write to."
        "email = \"you@example.com\" in [acme], or no such line."
    ValueUrl
        "A URL that is read in two ways leads to two places."
        "ca = \"https://acme.example.com/directory\""
    ValueBase64
        "A key with a wrong letter signs nothing that the other side accepts."
        "Copy it whole, from the CA's page or from tsig-keygen; best as a credential: hmac = \"${cred:acme-hmac}\""
    ValueAllow
        "Who is not understood is not let in, or worse, let in by mistake."
        "allow = [\"198.51.100.7\", \"203.0.113.0/24\", \"home.example.net\"]"
    ValueDeviceKey
        "A key that is read wrongly lets the right device stand outside."
        "`clawgate pin` lists the keys seen lately, with the lines for the configuration."
    ValueCaBundle
        "Without a CA that can be read nobody could come in, or one that was not meant would decide who does."
        "openssl x509 -in FILE -noout -subject shows what is in it; ca = \"/etc/clawgate/ca.pem\""
    ValueFingerprint
        "A digit that is wrong is another certificate."
        "openssl x509 -in FILE -noout -fingerprint -sha256"
    ValuePasswordHash
        "Whoever reads the configuration would have the password, and a weaker hash is guessed. A dear one lets strangers keep this machine busy."
        "clawgate hash-password"
    ValueUser
        "The name stands before a colon in what a browser sends, and in the access log."
        "users = [{ name = \"ann\", password_hash = \"...\" }]"
    ValueRealm
        "It stands in quotes in a header field that every client reads."
        "basic_auth = { realm = \"OpenClaw\", users = [...] }"
    ValueScope
        "A scope that the gateway does not know narrows a key to nothing."
        "scopes = [\"operator.read\", \"operator.write\"]"
    LimitsOutOfRange
        "It would refuse ordinary browsers, or let one client take all of the memory."
        "The finding has the range; without the line the default holds, which config.example.toml shows."
    NetworkEveryone
        "A client's own X-Forwarded-For would be believed, and with it every fence and every limit would be void."
        "trusted_proxies = [\"ADDRESS/32\"] with the address of the proxy itself; without a proxy, no such line."
    InterpolateSyntax
        "The text would be used as it stands, with the reference in it in place of the secret."
        "token = \"${cred:openclaw-token}\"; for a plain `${`, write `$${`"
    InterpolateUnset
        "An empty secret is worse than none."
        "For ${cred:NAME}: `systemctl edit clawgate`, [Service], LoadCredential=NAME:/etc/clawgate/NAME. For ${env:NAME}: Environment=NAME=VALUE there."
    SecretsWorldReadable
        "Every process on this machine has the secret, the ones that were let in for something else too."
        "`chown root:clawgate FILE && chmod 640 FILE`; or a systemd credential, ${cred:NAME}. With DynamicUser= in the unit there is no such group before the start: the credential, or a group of SupplementaryGroups="
    InterpolateUnknownHere
        "Whether the service has the value shows at its start only."
        "`sudo clawgate check --only config` sees more; nothing has to be changed for it."
    SiteMissing
        "Nobody would be answered, and no certificate be asked for."
        "[[site]] and below it host = \"chat.example.com\"; `clawgate init HOST` writes the whole file."
    SiteNoHost
        "Without a name no request could be for this site."
        "host = \"chat.example.com\" in the [[site]]"
    SiteDuplicateHost
        "One of the two sites would never be asked, and nobody could say which."
        "Take the host out of one of them; different paths of one host are [[site.route]]."
    SiteCertificateKey
        "One of the two alone serves nobody."
        "certificate = \"/etc/clawgate/fullchain.pem\" and key = \"/etc/clawgate/privkey.pem\""
    SiteNotPublic
        "The CA would refuse the order, and the refusal count."
        "certificate = \"internal\" in the [[site]]; `clawgate ca` prints the root that clients have to trust."
    SiteWildcardDns
        "No CA gives a wildcard for an answer at a port."
        "[acme.dns] with server, zone, key_name and key, or with a command; or hosts = [\"a.example.com\", \"b.example.com\"]"
    AcmeUnknownCa
        "Nobody could be asked for a certificate."
        "ca = \"letsencrypt\" in [acme], or the URL of the directory"
    AcmeCaSetting
        "A setting for another CA than the one that is asked would be passed over."
        "Give the CA by its URL (ca = \"https://...\"), or take the line out."
    AcmeEab
        "The CA makes no account without it."
        "eab = { kid = \"ID\", hmac = \"${cred:acme-hmac}\" } in [acme]"
    AcmeChallenges
        "Without a way to prove a name no certificate is issued."
        "challenges = [\"http-01\", \"tls-alpn-01\"], or no such line"
    AcmeDns
        "Without a way to set the record the CA finds none, and the failure counts."
        "[acme.dns] with server = \"192.0.2.53:53\", zone, key_name and key; or with command = [\"/usr/local/bin/set-record\"]"
    AcmeCommand
        "A line for a shell is not an array, and the words of a name must never be read by a shell."
        "command = [\"/usr/local/bin/set-record\", \"--zone\", \"example.com\"]"
    ProbeToken
        "Without the token the probe is refused each time, and counts as a wrong guess at the gateway."
        "token = \"${cred:openclaw-token}\" in [probe]; `systemctl edit clawgate`, [Service], LoadCredential=openclaw-token:/etc/clawgate/openclaw-token"
    ProbeSite
        "What is probed has to be one of the gateways that are served."
        "host = \"chat.example.com\" in [probe], a host of a [[site]] whose upstream is an OpenClaw gateway"
    ProbeCommand
        "What the probe tells comes from outside and must never be read by a shell."
        "command = [\"/usr/local/bin/tell-me\", \"--urgent\"] in [probe]"
    SiteUnknownUpstream
        "Requests for this site would have nowhere to go."
        "upstream = \"127.0.0.1:18789\", or a table [upstream.NAME] with an address"
    SiteUpstreamSetting
        "Two places would say different things about one gateway."
        "Move the line into [upstream.NAME]."
    HostBothSpellings
        "Whether they are added or replaced would have to be guessed."
        "hosts = [\"chat.example.com\", \"www.example.com\"], and no host"
    UpstreamNoAddress
        "Requests for it would have nowhere to go."
        "address = \"127.0.0.1:18789\" in [upstream.NAME]"
    UpstreamBadName
        "A name with other letters breaks lines of logs and metrics."
        "[upstream.gateway-1]"
    UpstreamIdleTooLong
        "Now and then a request would be lost on a connection that the gateway has just closed."
        "idle_timeout = \"4s\", or no such line"
    UpstreamSameAddress
        "Counted as two, its places for clients that log in would be given away twice."
        "Keep one [upstream.NAME] and let both sites name it."
    UpstreamConflict
        "Which of the two would count, nobody could say."
        "Give the address a table [upstream.NAME] with the settings, and let the sites name it."
    UpstreamUnused
        "It may be a name with a typing error: then the site goes elsewhere."
        "upstream = \"NAME\" in the [[site]], or take the table out."
    RouteNoPath
        "A route for every path is the site itself."
        "path = \"/api/status\" or prefix = \"/api\" in the [[site.route]]"
    RouteBothPathAndPrefix
        "Whether both or one of them has to fit would have to be guessed."
        "Two tables [[site.route]], one with path, one with prefix."
    RoutePathNotAbsolute
        "The route would never be taken."
        "prefix = \"/api\""
    RouteBadPath
        "Such a path is refused or rewritten before routes are looked at, so the route would never be taken."
        "Write it as it arrives: one slash at a time, no `..`, no %-escapes of ordinary letters: prefix = \"/a-b\""
    RouteHostNotInSite
        "No request with this host comes to the site, so the route would never be taken."
        "Add the host to the site's hosts, or move the route to its site."
    RouteUnknownUpstream
        "Requests for this route would have nowhere to go."
        "upstream = \"127.0.0.1:18789\", or a table [upstream.NAME] with an address"
    RouteUnreachable
        "Its settings, a fence among them, would never hold for anybody."
        "Move it above the route that the finding names, or take one of them out."
    IdentityLoopback
        "A gateway elsewhere takes nobody for local, so nothing would be approved by itself."
        "upstream = \"127.0.0.1:18789\", with clawgate on the gateway's machine; or no identity line."
    IdentityUnfenced
        "The token alone would be enough to run commands on this machine, from anywhere and without a person."
        "clients = [\"ADDRESS/32\"] in the [[site]] with your backend's address; `clawgate explain --from ADDRESS` shows who is who."
    DeviceKeysIncomplete
        "A key without a name could not be told from another in the log."
        "device_keys = [{ name = \"platform\", key = \"...\" }]; `clawgate pin` prints the line."
    ClientCertificateOneOf
        "With both it would not be clear whether a pinned certificate of another CA is taken."
        "client_certificate = { ca = \"/etc/clawgate/clients-ca.pem\" }, or { pins = [\"sha256:...\"] }"
    LoginIncomplete
        "A site that asks for a password nobody has is closed to everyone."
        "`clawgate hash-password` prints the hash; basic_auth = { users = [{ name = \"ann\", password_hash = \"...\" }] }, or basic_auth = \"off\""
    LoginTwice
        "Only one of the two passwords could be right, and nobody would know which."
        "Remove the line with the old password; `clawgate hash-password` makes a new hash."
    LoginMixed
        "Whoever measures how long a wrong login takes learns which users there are."
        "`clawgate hash-password` for each user whose password_hash has other m=, t= and p= than the rest, so that all have the same."
    ForwardAuthIncomplete
        "Nobody could be asked, so nobody could pass."
        "forward_auth = { url = \"http://127.0.0.1:9091/api/authz/forward-auth\", copy_headers = [\"Remote-User\"] }, or forward_auth = \"off\""
    ForwardAuthPlain
        "Whoever reads the cookie of somebody who has logged in is that user, and whoever answers in the service's place lets anybody in."
        "forward_auth = { url = \"https://auth.example.com/api/authz/forward-auth\" }; with a CA of your own: ca = \"/etc/clawgate/ca.pem\" beside it"
    ForwardAuthCa
        "Who wrote it believes that the service is known by its certificate, and nobody looks."
        "forward_auth = { url = \"https://...\", ca = \"/etc/clawgate/ca.pem\" }"
    LoginPlain
        "Whoever is on the way between the client and this listener reads the password, or the cookie that stands for it."
        "[[listen]] address = \"127.0.0.1:8080\" if the proxy that ends TLS is on this machine; else serve = \"https\""
    DeviceKeysTwice
        "Two names for one key, or one name for two, and the log lies."
        "Take one of the two out."
    DeviceKeysUnused
        "Who wrote the keys believes in a fence that is not there."
        "Take identity = \"attributed\" out of the site or route, or the keys."
    CertificateUnusable
        "No TLS connection to this site could be made."
        "openssl x509 -in FILE -noout -subject -dates shows what it is; key and certificate have to belong together, both in PEM."
    CertificateUnknownHere
        "The service may be able to read them, and whether they are good shows at its start only."
        "sudo clawgate check --only config"
    CertificateExpired
        "Browsers show a warning in place of the page, and backends do not connect."
        "Renew it where it comes from, then: `clawgate reload`. Or take certificate and key out: clawgate gets one itself."
    CertificateNotYetValid
        "Browsers show a warning in place of the page, and backends do not connect."
        "`timedatectl` shows the clock; `timedatectl set-ntp true` mends it."
    CertificateOtherNames
        "Browsers show a warning in place of the page, and backends do not connect."
        "Get one for the host of the [[site]], or take certificate and key out: clawgate gets one itself."
    CertificateWithoutChain
        "Browsers may have seen the certificates between elsewhere and work; programs fail."
        "certificate = \".../fullchain.pem\", the file that has the chain too"
    SandboxNeedsRestart
        "A sandbox that could be widened from inside would hold nobody."
        "`clawgate --check`, then: `systemctl restart clawgate`. Or keep such files where it may read: below /etc/clawgate, beside those that it has already."
    ListenDuplicateAddress
        "The second one could not listen, and the service would not start."
        "Take one of the two [[listen]] out."
    ListenRedirectWithoutHttps
        "Whoever is sent to https finds nobody there."
        "[[listen]] with address = \"0.0.0.0:443\" and serve = \"https\""
    MetricsNotLoopback
        "They tell who your clients are and how often they come."
        "metrics = \"127.0.0.1:9180\"; from elsewhere: ssh -L 9180:127.0.0.1:9180 HOST"
    HeadersBadName
        "A name with other bytes would end or begin another header."
        "request_headers = { set = { X-Edge = \"clawgate\" } }"
    HeadersBadValue
        "A line break in a value is how headers are smuggled."
        "Write it on one line, in ASCII."
    HeadersForbidden
        "It would undo what keeps a client from saying who it is, or break the message."
        "Take it out; who the client is, trusted_proxies and identity decide."
    HeadersTwice
        "Which of the two values would be sent, nobody could say."
        "Keep one of the spellings; several values are: add = { NAME = [\"a\", \"b\"] }"
}
