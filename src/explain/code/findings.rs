//! What a live check finds: why it matters, and the way out. What a code means stands beside the code.

more! { crate::check::Code:
    DnsHere
        "A CA and clients look the name up and come to this machine, as they have to."
        "Nothing is to be done. After a move to another machine: `clawgate check --only dns`"
    DnsNotNeeded
        "Clients find such a machine by its address, by a hosts file or by a resolver of their own network."
        "Nothing is to be done. For a name on the internet: host = \"NAME\" in the [[site]], then: `clawgate check --only dns`"
    DnsNoSuchName
        "An order would fail and count as a failure, of which Let's Encrypt takes 5 an hour for a name."
        "At the domain's DNS provider, make an A record with this machine's address, wait for its TTL, then: `clawgate check --only dns`"
    DnsNoAddress
        "An order would fail and count as a failure, of which Let's Encrypt takes 5 an hour for a name."
        "At the domain's DNS provider, add an A record, and an AAAA record where the machine has IPv6; the finding has the lines. Then: `clawgate check --only dns`"
    DnsElsewhere
        "A CA goes where the name points, and so does every client. What answers there on port 80 is in the finding: nobody, or somebody else."
        "Correct the A record, or assign the address to this machine at the provider. Behind a load balancer: trusted_proxies = [\"ADDRESS/32\"], then: `clawgate check --staging`"
    DnsSomeElsewhere
        "It works for some and not for others, which is hard to see from one place; a CA that asks the wrong address first fails the order."
        "At the domain's DNS provider, take away the record that the finding names, most often an old AAAA. Then: `clawgate check --only dns`"
    DnsNotPublic
        "Such a name works inside of one network only, and no public CA can prove it over HTTP."
        "Point the name at the public address; or certificate = \"internal\" in the [[site]]; or prove it by a DNS record with [acme.dns]."
    DnsBehindNat
        "Where the address is translated to this machine all is well; where not, orders fail and count."
        "`clawgate check --staging` proves it from outside, at a directory whose failures do not count."
    DnsBehindForwarder
        "Whether what stands before this machine sends port 80 and 443 on to it cannot be seen from here."
        "`clawgate check --staging` proves it from outside, at a directory whose failures do not count."
    DnsNoListener
        "Let's Encrypt tries IPv6 first where there is an AAAA record, and clients do too: they are refused there."
        "Add [[listen]] with address = \"[::]:443\" and one with \"[::]:80\", or take the AAAA record away. Then: `clawgate check --only dns,ports`"
    DnsDiffers
        "Let's Encrypt asks from several places and may get the old answer at one of them: then the order fails."
        "Wait until the TTL of the old record is over; where it lasts, make the name servers of the zone agree. Then: `clawgate check --only dns`"
    DnsLame
        "Resolvers try the servers of a zone in any order: some lookups are slow, and some fail."
        "At the domain's registrar, take the server out of the list, or set the zone up on it: `dig @SERVER HOST SOA` has to show `aa` among the flags."
    DnsZoneUnknown
        "A resolver may remember an old answer, and only the zone's own servers know the new one."
        "Ask from another machine: `dig +trace HOST`. Where only one resolver may be asked, nothing is wrong."
    DnsUnanswered
        "The CA asks resolvers of its own; where the fault is in the zone, they get no answer either."
        "`dig HOST` shows what the resolver says, `dig +cd HOST` whether it is DNSSEC; `resolvectl status` names the resolver."
    DnsCaaAllows
        "A CA has to look before it issues, and finds itself named."
        "Nothing is to be done."
    DnsCaaForbids
        "CAA records are the domain owner's word on who may issue; a CA has to obey them."
        "At the DNS provider, add the record that the finding names, such as `CAA 0 issue \"letsencrypt.org\"`, or take the other ones away."
    DnsCaaUnanswered
        "A CA that cannot read the CAA records has to refuse."
        "`dig HOST CAA` shows what the resolver says; as root the check also knows the account that a record may name: `sudo clawgate check --only dns`"
    DnsUnfinished
        "An answer that does not come in 5 s often does not come to the CA either."
        "Try again: `clawgate check --only dns`. If it lasts: `resolvectl status`"
    PortsFree
        "It can listen there when it starts."
        "Nothing is to be done: `systemctl enable --now clawgate`"
    PortsOurs
        "The service runs, and the check has not disturbed it."
        "Nothing is to be done."
    PortsHeld
        "Neither a CA nor a client reaches clawgate while another process has the port."
        "Stop it for good; the finding has the command, for Caddy: `systemctl disable --now caddy`. Or give clawgate another address in [[listen]]."
    PortsNotHere
        "Binding fails with exit code 71, unless the address comes later (a floating address, a VPN)."
        "`ip address` shows what there is. In [[listen]]: address = \"0.0.0.0:443\" takes all IPv4 addresses, \"[::]:443\" all IPv6 ones."
    PortsMetrics
        "Whoever scrapes there gets another's answers or none, so that no alarm fires when it should. Nothing that clients see depends on it."
        "Another port: metrics = \"127.0.0.1:9181\", then: `systemctl restart clawgate`. Whose it is: `ss -ltnp`. For the unit: `systemctl edit clawgate`, [Service], SocketBindAllow=tcp:PORT"
    PortsHidden
        "If it is clawgate, all is well. If it is another process, neither a CA nor a client reaches clawgate."
        "Look as root: `sudo clawgate check --only ports`"
    PortsCa
        "An order would wait at a port where nobody is, and fail."
        "Listen on 0.0.0.0:80 and 0.0.0.0:443, or forward these ports to ours, or use challenges = [\"dns-01\"] with [acme.dns]. `clawgate check --staging` proves it."
    PortsUnfinished
        "Whether somebody else has the ports shows at the start at the latest."
        "Try again: `clawgate check --only ports`. By hand: `ss -ltnp`"
    FirewallOpen
        "What the cloud lets through reaches clawgate."
        "Nothing is to be done here; the cloud's firewall is another one: `clawgate explain firewall/cloud`"
    FirewallClosed
        "A client's first packet is dropped, and it waits until it gives up, or rejected, and it is refused at once; so is the CA."
        "Open the port; the finding has the command of whoever made the rule, for ufw: `ufw allow 80,443/tcp`"
    FirewallSomeOnly
        "A CA comes from addresses that nobody can list, so that orders by http-01 and tls-alpn-01 fail."
        "Open port 80 for everybody (it answers the CA and redirects, nothing else), or use challenges = [\"dns-01\"]. `clawgate check --staging` proves it."
    FirewallUnclear
        "It may let everybody in, or nobody."
        "Look at the rule that the finding names: `nft list ruleset`. `clawgate check --staging` proves it from outside."
    FirewallHidden
        "A packet filter that drops everything looks from here like one that drops nothing."
        "`sudo clawgate check --only firewall`; where a tool is missing: `apt install nftables`"
    FirewallCloud
        "It is the most frequent reason for a first certificate that does not come."
        "In the provider's console, open TCP 80 and 443 inbound from 0.0.0.0/0 and ::/0. Proof: `clawgate check --staging`"
    FirewallUnfinished
        "A packet filter that drops everything cannot be told from none."
        "Try again: `sudo clawgate check --only firewall`"
    AcmeReachable
        "Orders and renewals can be made from this machine."
        "Nothing is to be done."
    AcmeNotNeeded
        "Certificates come from files, or from clawgate's own CA, which its clients have to know."
        "Nothing is to be done. certificate = \"acme\" in the [[site]] asks a CA, for a name that the internet knows."
    AcmeUnreachable
        "A certificate lasts 45 to 90 days; renewals that fail for weeks end in one that is over."
        "`curl -v URL`, with the directory's, shows where it ends: DNS, a firewall that lets nothing out, a proxy, the clock. root = PATH in [acme] is for a CA of your own."
    AcmeProfile
        "Every order would be refused, and none can be made until the profile is another one."
        "Take `profile` out of [acme], or write one that the finding names. Then: `clawgate reload`"
    AcmeEab
        "Without it the CA makes no account, and without an account no order."
        "Get both at the CA's web site, then in [acme]: eab = { kid = \"ID\", hmac = \"${cred:acme-hmac}\" }"
    AcmeHeadroom
        "The limits of the CA are far away: clawgate keeps a ledger of what it has asked for."
        "Nothing is to be done. `clawgate certs` shows the ledger."
    AcmeTryLater
        "A try before the time is refused by the CA and may put the time off further; clawgate makes none."
        "Mend what the finding names meanwhile, and wait. `clawgate certs` says until when."
    AcmeLastProblem
        "The same try fails again for the same reason, and each one counts."
        "Mend what the finding names, then: `clawgate certs renew NAME`"
    AcmeRenewalWaits
        "There is time: the first renewal is tried weeks before the last day. Nobody notices anything until then."
        "`clawgate certs` has the CA's words and the next try; `clawgate check --only dns,ports,firewall` shows what changed."
    AcmeReached
        "It is the proof from outside: DNS, both firewalls and the ports are right."
        "Nothing is to be done; the real order is made by the service: `clawgate certs`"
    AcmeNotReached
        "Nothing was lost: failures at staging count nowhere. The real order would have failed, and counted."
        "Do what the finding says (mostly: open TCP 80 and 443 at the provider), then: `clawgate check --staging`"
    AcmeHalfReached
        "Where port 443 is the closed one, the certificate comes and no client does."
        "Open the port that the finding names at the provider and on this machine, then: `clawgate check --staging`"
    AcmeStagingSilent
        "A rehearsal that was not held says nothing about the ports."
        "The finding has the reason; try again when it is gone: `clawgate check --staging`"
    AcmeNoStaging
        "Without a staging directory only a real order shows whether the CA gets through."
        "For a CA with one, in [acme]: staging = \"https://.../directory\". Then: `clawgate check --staging`"
    AcmeStagingForbidden
        "The CA comes to the ports, and only who has them can answer it."
        "sudo clawgate check --staging"
    AcmeLedgerHidden
        "The ledger is in the state directory, beside keys, and closed to others."
        "sudo clawgate check --only acme"
    AcmeUnfinished
        "A CA that needs longer than 6 s for its directory fails orders too."
        "Try again: `clawgate check --only acme`"
    StateGood
        "Certificates, the account and the ledger outlive a restart there."
        "Nothing is to be done."
    StateMadeAtStart
        "The service's user gets it with the right mode."
        "Nothing is to be done: `systemctl enable --now clawgate`"
    StateNoUser
        "The service does not start without its user, and nobody else should have its keys."
        "systemd-sysusers makes it as the package says; else name another one: `systemctl edit clawgate`, [Service], User=NAME"
    StateNotCreatable
        "Without a place for the account and the ledger no certificate is asked for."
        "The finding has the line for this user; as a rule: install -d -m 700 -o USER /var/lib/clawgate"
    StateNotADirectory
        "The service ends with exit code 71, because it has nowhere to keep its keys."
        "Move it away, or name another place: state_dir = \"/var/lib/clawgate\""
    StateForeign
        "The service cannot read them, would count as a new installation, and refuses instead."
        "`chown -R clawgate: /var/lib/clawgate` (the finding has user and path); run commands by systemctl, not by hand as root."
    StateMixed
        "It works today. When the unit starts the service as its own user again, that one may not read what root wrote."
        "`chown -R root: /var/lib/clawgate` where root is to run it; else end the one that was started by hand, then `chown -R clawgate: /var/lib/clawgate` and `systemctl start clawgate`"
    StateNotWritable
        "What is not on disk before it is on the wire is forgotten by a crash, so no order is made."
        "`chown clawgate: /var/lib/clawgate && chmod 700 /var/lib/clawgate` (the finding has user and path)"
    StateReadOnly
        "Nothing new can be kept: no certificate, no ledger. What is there is served."
        "`dmesg` says whether the disk has errors; after that: `mount -o remount,rw MOUNTPOINT`"
    StateFull
        "A certificate that cannot be written down is lost, and counts at the CA all the same."
        "`du -xh / | sort -h | tail` shows what is big; `df -h` shows the disk"
    StateExposed
        "Whoever can read a certificate's key can be this server to others."
        "`chmod -R go-rwx /var/lib/clawgate` (the finding has the path). If others were on the machine: `clawgate certs revoke NAME`"
    StateOpen
        "What is inside is closed to others, but can be renamed away by whoever can write beside it. A service that runs as root would take what it finds instead."
        "`chmod go-w /var/lib/clawgate` (the finding has the path); in a unit: StateDirectoryMode=0700"
    StateUnreadable
        "The service does not know what it has, and asks for nothing until it does."
        "`ls -la PATH` shows whose it is: `chown -R clawgate: /var/lib/clawgate`"
    StateNewer
        "An older version might read a ledger wrongly and ask for more than the CA allows."
        "`clawgate version` shows which one this is: install the newer one again, or put the backup of the state directory back."
    StateDamaged
        "A file that is half written, or edited, says nothing that can be trusted."
        "Move the file that the finding names away and start again: `systemctl restart clawgate`. From a backup: docs/STATE.md"
    StateLedgerLost
        "Whoever does not know what was spent would ask for more than the CA allows, and be locked out for a week."
        "Nothing, or a backup of acme/ledger.json, put back while clawgate is stopped. What was damaged is kept as acme/ledger.json.damaged-1; `clawgate certs` says when the next certificate is asked for."
    StateInternalCa
        "A key that others have read signs for them too, and a certificate that no client trusts is none. A new root has to be trusted anew on every device."
        "The finding has the command that mends it. `ls -l /var/lib/clawgate/ca` shows the files; from a backup: docs/STATE.md. For a new root: `rm -r /var/lib/clawgate/ca`, then `systemctl restart clawgate`"
    StateNotDurable
        "The CA gives 5 certificates a week for the same names. Five restarts, and the machine is without one for a week."
        "state_dir = \"/var/lib/clawgate\" on a disk; in a container a volume: -v clawgate:/var/lib/clawgate"
    StateHidden
        "What is wrong there shows at the start at the latest."
        "sudo clawgate check --only state"
    StateUserUnknown
        "The directory of StateDirectory= is given to that user at each start. Of other files it reads those that everybody may read, and those of the unit's SupplementaryGroups=."
        "For keys and tokens LoadCredential= in the unit and ${cred:NAME} in the configuration: systemd reads them, as root. Once it runs, `journalctl -u clawgate` has what it may not read."
    StateUnfinished
        "A service that waits for its disk does not start."
        "Try again: `clawgate check --only state`. `mount | grep MOUNTPOINT` shows where the directory is."
    ClockRight
        "Certificates are valid when they are shown, and renewed in time."
        "Nothing is to be done."
    ClockNotNeeded
        "Its own CA's certificates count from this clock; a client with another time may refuse them."
        "`timedatectl` says whether the clock is synchronised."
    ClockWrong
        "A certificate may look as if it were over or not yet valid, and device signatures are refused after two minutes."
        "`timedatectl set-ntp true`; then `timedatectl` shows `System clock synchronized: yes`"
    ClockUnknown
        "A clock that is wrong by hours is rare, and shows in odd ways."
        "`timedatectl` shows whether the clock is synchronized; `clawgate check --only acme` says why the CA did not answer."
    ClockUnfinished
        "A clock that is wrong by hours is rare, and shows in odd ways."
        "Try again: `clawgate check --only clock`. By hand: `timedatectl`"
    AuthAnswers
        "It is what keeps strangers from the gateway's own login."
        "Nothing is to be done."
    AuthNotNeeded
        "The gateway's own token is the only login then, or basic_auth."
        "Nothing is to be done. For a service: forward_auth = { url = \"http://127.0.0.1:9091/api/authz/forward-auth\" } in the [[site]]"
    AuthOpen
        "Who was to be kept out until he logs in is not: the gateway's token is the only lock."
        "Write a rule for the host in the service, whose default should be to deny. Then: `clawgate check --only auth`"
    AuthUnusable
        "Each client gets that answer instead of the gateway's, whether it has logged in or not."
        "The url has to be the one for proxies that ask, such as /api/authz/forward-auth of Authelia or /oauth2/auth of oauth2-proxy. `curl -i URL` shows it."
    AuthAway
        "Whatever goes wrong with the question, nothing passes: every request gets 503."
        "Start the service, or mend url in forward_auth; `ss -ltn` shows who listens. Then: `clawgate check --only auth`"
    AuthNameUnknown
        "Its name is looked up whenever a connection to it is made: requests get 503 until it is found."
        "`getent hosts NAME` looks it up; mend url in forward_auth, /etc/hosts or this machine's DNS. Then: `clawgate check --only auth`"
    AuthUntrusted
        "Whoever could answer in the service's place could let anybody in, so every request gets 502."
        "The finding says what is wrong. For a CA of your own: ca = \"/etc/clawgate/ca.pem\" in forward_auth; else renew the certificate, or write its name into url. Then: `clawgate check --only auth`"
    AuthSilent
        "Every request waits for it, and then gets 503."
        "Look at the service's log and load; timeout in forward_auth sets how long it is waited for. Then: `clawgate check --only auth`"
    AuthNoHttp
        "Every request gets 502: nobody knows what such an answer means."
        "Mend url in forward_auth: http:// or https:// as the service speaks it, and its own port. Then: `clawgate check --only auth`"
    AuthCaUnseen
        "A certificate that is not of that CA lets nobody pass, and here it cannot be compared."
        "`sudo clawgate check --only auth`"
    AuthUnfinished
        "A service that is slow now is slow for every request."
        "Try again: `clawgate check --only auth`"
    GatewayUnfinished
        "A gateway that does not answer within seconds leaves clients waiting too."
        "Try again: `clawgate check --only gateway`. If it lasts: `openclaw gateway status`"
    GatewayAnswers
        "Requests and WebSockets that clawgate lets through are answered."
        "Nothing is to be done."
    GatewayConfig
        "What the gateway trusts and allows is known, so that the other findings are about the right file."
        "Nothing is to be done."
    GatewayIdentities
        "It is the consequence of `identity`, `clients` and `device_keys`, for whoever connects tomorrow."
        "If it is not what you want: clients = [\"ADDRESS/32\"] in the [[site]]. For one address: `clawgate explain --from ADDRESS --websocket /`"
    GatewayService
        "The gateway is there after a logout and after a reboot."
        "Nothing is to be done."
    GatewayElsewhere
        "A gateway at another address than 127.0.0.0/8 takes nobody for a local client, so every device is paired by hand."
        "On the gateway's machine: `openclaw doctor`. To have both in one place, run clawgate there."
    GatewayConfigUnknown
        "Whether browsers and backends are welcome cannot be said without it."
        "`sudo clawgate check --only gateway`, or: `clawgate check --only gateway --openclaw-config PATH`"
    GatewayConfigIncludes
        "A list that seems to be missing may be in one of them."
        "As the gateway's user: `openclaw config get gateway.trustedProxies`; the list has to name 127.0.0.2."
    GatewayProcessUnknown
        "Whether it dies at a logout cannot be seen."
        "sudo clawgate check --only gateway"
    GatewayKeeperUnknown
        "A gateway that nobody starts again is gone after the next reboot, and one that was started by hand may be gone sooner."
        "The finding has the command that asks whoever started it. As a service of systemd it is sure: `openclaw onboard --install-daemon && loginctl enable-linger USER`"
    GatewayVariableUnknown
        "A variable that is missing keeps the gateway from starting."
        "As root, or as the gateway's user: `sudo clawgate check --only gateway`"
    GatewayUsersByHeader
        "Browsers may get in by the name that a service of forward_auth gives them; backends have a token, and it does not count."
        "For backends gateway.auth.mode has to be token: `openclaw config set gateway.auth.token \"$(openssl rand -hex 32)\" && openclaw config set gateway.auth.mode token`"
    GatewayAway
        "Requests wait as long as `hold` says, then get 503."
        "`systemctl --user start openclaw-gateway` as its user; without such a unit: `openclaw onboard --install-daemon`. Its log: `journalctl --user -u openclaw-gateway -n 50`"
    GatewayNotReady
        "Requests wait for it meanwhile, and get 503 where it takes longer than `hold`."
        "Wait half a minute. If it lasts: `openclaw gateway status`, then `journalctl --user -u openclaw-gateway -n 50`"
    GatewayForeign
        "Clients get the answers of another program, and may send it the gateway's token."
        "`ss -ltnp` shows who listens. Then upstream = \"127.0.0.1:PORT\" with the gateway's port, or kind = \"generic\" where it is meant to be none."
    GatewayAttribution
        "Everybody who is not a backend comes from there, so no browser gets in."
        "`openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'` (with what the list has already)"
    GatewayAttributedSource
        "Browsers get 503: from 127.0.0.1 the gateway could not tell them from a local program."
        "`ip address add 127.0.0.2/8 dev lo`; in a container the whole of 127.0.0.0/8 has to be on lo."
    GatewayApprovalBroken
        "Backends are refused with PAIRING_REQUIRED, although they come as local clients."
        "`openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'`; or update OpenClaw to 2026.6 or newer."
    GatewayConfigSyntax
        "The gateway does not start with it, and goes on with what it had only as long as it runs."
        "The finding has line and column. `openclaw doctor` repairs some of it."
    GatewayAuthOff
        "With a local client's rights and no token, anybody on the internet could run commands on this machine."
        "`openclaw config set gateway.auth.token \"$(openssl rand -hex 32)\" && openclaw config set gateway.auth.mode token`. Where OPENCLAW_GATEWAY_TOKEN is set already, the finding has the command that takes it from there."
    GatewayAuthProxy
        "No client is let in through clawgate, and where OPENCLAW_GATEWAY_TOKEN is set too, new versions do not start."
        "openclaw config set gateway.auth.token \"$(openssl rand -hex 32)\" && openclaw config set gateway.auth.mode token"
    GatewayTokenMissing
        "The gateway refuses every client, or does not start."
        "`(umask 077; printf '\\nOPENCLAW_GATEWAY_TOKEN=%s\\n' $(openssl rand -hex 32) >> ~/.openclaw/.env)` as the gateway's user, then restart the gateway; the token is in that file."
    GatewayVariableUnset
        "At its next start the gateway is away for good."
        "`(umask 077; printf '\\n%s\\n' \"NAME=${VALUE:?set it first}\" >> ~/.openclaw/.env)` as the gateway's user, then: `systemctl --user restart openclaw-gateway`"
    GatewayAttributionMissing
        "Its lock-outs and its log know one address for all browsers, and an update would lock all of them out."
        "`openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'` (with what the list has already)"
    GatewayLoopbackTrusted
        "Any program of this machine could claim to be any client."
        "openclaw config set gateway.trustedProxies '[\"127.0.0.2\"]'"
    GatewayAuthPassword
        "A password that a person can remember can be guessed; a token of 32 random bytes cannot."
        "`openclaw config set gateway.auth.token \"$(openssl rand -hex 32)\" && openclaw config set gateway.auth.mode token`. Where OPENCLAW_GATEWAY_TOKEN is set already, the finding has the command that takes it from there."
    GatewayVariableFleeting
        "All works until the machine starts anew, or the gateway does: then it has no token."
        "`(umask 077; printf '\\n%s\\n' \"NAME=${VALUE:?set it first}\" >> ~/.openclaw/.env)` as the gateway's user: the gateway and every openclaw command read it. The finding has the command that takes the value from the running gateway."
    GatewayVariableShells
        "The gateway runs well, and openclaw commands over SSH are refused as unauthorized."
        "`(umask 077; printf '\\n%s\\n' \"NAME=${VALUE:?set it first}\" >> ~/.openclaw/.env)` as the gateway's user, and take it out of the unit. The finding has the command that takes the value from the running gateway."
    GatewayOrigin
        "The page loads and cannot connect: `origin not allowed`."
        "`openclaw config set gateway.controlUi.allowedOrigins '[\"https://HOST\"]'` (the finding has the list with what is there, without a guide's YOUR-DOMAIN-HERE)"
    GatewayDeviceAuthOff
        "A token that has leaked is enough for everything that an operator may do, commands on the machine among it."
        "openclaw config unset gateway.controlUi.dangerouslyDisableDeviceAuth"
    GatewayModelDated
        "OpenClaw replaces a dated name by a short one, so what the file says and what runs differ."
        "`openclaw config set agents.defaults.model.primary PROVIDER/MODEL` with the name that the finding has"
    GatewayBindOpen
        "Who comes past clawgate meets no TLS, no allow list and no limits, only the token."
        "`openclaw config set gateway.bind loopback`, then restart the gateway. If it is on purpose, close the port in the firewall."
    GatewayPort
        "A gateway that is started with this file is not found."
        "upstream = \"127.0.0.1:PORT\" in the [[site]] with the file's port, then: `clawgate reload`"
    GatewaySession
        "When the last SSH session ends, the gateway ends too, and a reboot does not bring it back."
        "openclaw onboard --install-daemon && loginctl enable-linger USER"
    GatewayLinger
        "It works while somebody is logged in, and is gone an hour later."
        "loginctl enable-linger USER"
    GatewayNotEnabled
        "After the next reboot nobody starts it."
        "`systemctl --user enable openclaw-gateway` as its user"
    GatewayFull
        "The gateway has 32 such places, and until one is free nobody gets a WebSocket, your backend among them."
        "It ends within 15 s. clients = [\"ADDRESS/32\"] in the [[site]] keeps places for your backend."
    ProbeApproved
        "It is the whole way that a backend goes: address, headers, token, device key, scope."
        "Nothing is to be done."
    ProbeNeedsPairing
        "A key that nobody keeps is no use approving, so nothing is known about your backend's."
        "`clawgate check --probe --device-key PATH --token-file PATH`, with the key that the backend has"
    ProbeNotPaired
        "The backend cannot connect until a person has approved it."
        "With a key of your own: `openclaw devices list`, then `openclaw devices approve REQUEST-ID`; the finding names it. To have it approved by itself: clients = [\"ADDRESS/32\"] in the [[site]], and no 127.0.0.1 in gateway.trustedProxies"
    ProbeNoScope
        "A backend that connects and may not read is as good as none: `missing scope: operator.read`."
        "Let the backend sign its connect with a device key; of one that is paired with fewer scopes: `openclaw devices list`, then approve it anew."
    ProbeWrongToken
        "Every backend with this token is refused, and after some tries locked out."
        "Compare it with OPENCLAW_GATEWAY_TOKEN in the .env beside openclaw.json, or gateway.auth.token in it."
    ProbeNoToken
        "Without the token nothing of the gateway can be tried."
        "`clawgate check --probe --token-file PATH`, or OPENCLAW_GATEWAY_TOKEN in the environment of the check"
    ProbeProtocol
        "No message after the first one would be understood."
        "`openclaw --version` and `clawgate version`: protocol 3 was spoken until 2026.5, protocol 4 since. Update the older side."
    ProbeRefused
        "A real backend would get no further than the probe."
        "The finding has the gateway's words and the way out; more is in `journalctl --user -u openclaw-gateway -n 50`"
    ProbeImpossible
        "Nothing was tried, so nothing is known."
        "`clawgate check --probe --token-file PATH --device-key PATH`, with files that this user may read; or look at the other findings."
    ProbeLeft
        "Nobody has its key any more, so it is no danger; but it stands in the list of devices."
        "`openclaw devices remove DEVICE`, which the finding names."
}
