use std::net::Ipv4Addr;

use super::*;
use crate::config::{self, Source, format};

fn wanted(clients: &[&str], email: Option<&str>) -> Wanted {
    Wanted {
        host: Hostname::try_from("chat.example.com").unwrap(),
        clients: clients.iter().map(|network| network.parse().unwrap()).collect(),
        email: email.map(str::to_owned),
    }
}

fn gateway(port: Option<u16>, proxies: &[&str], origins: &[&str]) -> Seen {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Seen {
        place: place(&[], None, port),
        gateway: Gateway::Read {
            path: "/root/.openclaw/openclaw.json".into(),
            trusted_proxies: owned(proxies),
            allowed_origins: owned(origins),
            wants_origins: true,
            without_auth: false,
        },
        owner: Owner::default(),
        caddy: None,
        caddy_serves: false,
    }
}

const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18789);

fn place(running: &[Running], variable: Option<u16>, file: Option<u16>) -> Place {
    let file = file.map(|port| (Path::new("/c.json"), port));
    Place::find(running, &Written { variable, unit: None, file }, DEFAULT)
}

fn openclaw(pid: u32, addresses: &[&str]) -> Running {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Running { pid, name: "openclaw-gatewa".into(), addresses }
}

#[test]
fn where_the_gateway_is_says_who_runs_then_what_is_written_then_the_default() {
    let said = |running: &[Running], variable, file| {
        place(running, variable, file).to_string().replace("the gateway is taken to be at ", "")
    };
    assert_eq!(said(&[], None, None), "127.0.0.1:18789: that is OpenClaw's default, and nothing here says otherwise");
    assert_eq!(
        said(&[], None, Some(19000)),
        "127.0.0.1:19000: gateway.port in /c.json says so, and no openclaw listens yet"
    );
    assert_eq!(
        said(&[], Some(19001), Some(19000)),
        "127.0.0.1:19001: OPENCLAW_GATEWAY_PORT says so, and no openclaw listens yet"
    );
    // What runs counts more than what is written, and what is written says which of its ports is meant.
    let one = [openclaw(42, &["127.0.0.1:19002", "127.0.0.1:19004"])];
    assert_eq!(said(&one, None, Some(19000)), "127.0.0.1:19002: openclaw-gatewa (pid 42) listens there");
    assert_eq!(said(&one, None, Some(19004)), "127.0.0.1:19004: openclaw-gatewa (pid 42) listens there");
    let two = [openclaw(42, &["127.0.0.1:11000"]), openclaw(43, &["0.0.0.0:18789"])];
    assert_eq!(said(&two, None, None), "127.0.0.1:18789: openclaw-gatewa (pid 43) listens there");
    // Only where it listens nowhere else is it dialled at an address of the network.
    assert_eq!(
        said(&[openclaw(7, &["[::]:19000"])], None, None),
        "127.0.0.1:19000: openclaw-gatewa (pid 7) listens there"
    );
    assert_eq!(
        said(&[openclaw(7, &["100.64.0.1:19000"])], None, None),
        "100.64.0.1:19000: openclaw-gatewa (pid 7) listens there"
    );
}

/// For the configuration that `init` writes.
fn commands(seen: &Seen) -> Vec<String> {
    let wanted = wanted(&[], None);
    commands_for(&config(&wanted, seen), seen)
}

fn commands_for(text: &str, seen: &Seen) -> Vec<String> {
    let source = Source { name: "config.toml".into(), text: text.into() };
    let config = config::parse(&[source], &config::NoSecrets).unwrap().config;
    changes(&config, &wanted(&[], None).host, seen).iter().map(|change| change.list.command()).collect()
}

#[test]
fn the_new_configuration_is_ten_lines_good_and_formatted() {
    for (wanted, seen, lines) in [
        (wanted(&[], None), gateway(None, &[], &[]), 10),
        (wanted(&["198.51.100.0/24", "2001:db8::/32"], None), gateway(Some(18789), &[], &[]), 10),
        (wanted(&["198.51.100.7/32"], Some("me@example.com")), gateway(None, &[], &[]), 10),
        (wanted(&[], Some("o\"k@example.com")), gateway(Some(19000), &[], &[]), 12),
    ] {
        let text = config(&wanted, &seen);
        assert_eq!(text.lines().count(), lines, "{text}");
        let source = Source { name: "config.toml".into(), text };
        if wanted.email.as_deref() != Some("o\"k@example.com") {
            let loaded = config::parse(std::slice::from_ref(&source), &config::NoSecrets).unwrap();
            assert_eq!(loaded.config.sites[0].policy.clients, wanted.clients);
            assert_eq!(loaded.config.sites[0].hosts, [wanted.host]);
            assert_eq!(format::format(&source).unwrap(), source.text);
        }
    }
}

#[test]
fn the_gateways_port_is_taken_over_where_it_is_another() {
    let mut seen = gateway(Some(19000), &[], &[]);
    let text = config(&wanted(&[], None), &seen);
    let written = "\n# Where openclaw.json says that the gateway listens.\nupstream = \"127.0.0.1:19000\"\n";
    assert!(text.contains(written), "{text}");
    seen.place = place(&[openclaw(42, &["127.0.0.1:19002"])], None, Some(19000));
    let text = config(&wanted(&[], None), &seen);
    assert!(text.contains("\n# Where the gateway listens.\nupstream = \"127.0.0.1:19002\"\n"), "{text}");
    seen.place = place(&[openclaw(42, &["127.0.0.1:18789"])], None, Some(19000));
    let text = config(&wanted(&[], None), &seen);
    assert!(!text.contains("upstream"), "{text}");
}

#[test]
fn lists_of_the_gateway_are_added_to_and_lose_nothing_but_127_0_0_1_and_the_guides_placeholder() {
    assert_eq!(
        commands(&gateway(None, &[], &[])),
        [
            r#"openclaw config set gateway.trustedProxies '["127.0.0.2"]'"#,
            r#"openclaw config set gateway.controlUi.allowedOrigins '["https://chat.example.com"]'"#,
        ]
    );
    assert_eq!(
        commands(&gateway(None, &["10.0.0.1"], &["https://old.example.com", "http://localhost:18789"])),
        [
            r#"openclaw config set gateway.trustedProxies '["10.0.0.1","127.0.0.2"]'"#,
            r#"openclaw config set gateway.controlUi.allowedOrigins '["https://old.example.com","http://localhost:18789","https://chat.example.com"]'"#,
        ]
    );
    let seen = gateway(None, &["127.0.0.1", "10.0.0.1"], &["*"]);
    assert_eq!(commands(&seen), [r#"openclaw config set gateway.trustedProxies '["10.0.0.1","127.0.0.2"]'"#]);
    let text = config(&wanted(&[], None), &seen);
    let parsed = config::parse(&[Source { name: "c".into(), text }], &config::NoSecrets).unwrap().config;
    let why = &changes(&parsed, &wanted(&[], None).host, &seen)[0].why;
    let expected = [
        "from 127.0.0.2 clawgate tells the gateway who asks; without it browsers get a 403",
        "127.0.0.1 goes: with it any program of this machine may say for whom it speaks, and before 2026.6 no backend is approved \
         by itself",
    ];
    assert_eq!(*why, expected, "what is taken out is said");
    let seen = gateway(None, &["127.0.0.2"], &["https://YOUR-DOMAIN-HERE"]);
    let [change] = &changes(&parsed, &wanted(&[], None).host, &seen)[..] else { panic!("the origins") };
    let expected = [
        "the gateway's web page is served from there",
        "https://YOUR-DOMAIN-HERE goes: it stands in the setup guide for your own name",
    ];
    assert_eq!(
        (&change.why[..], &change.list.values[..]),
        (&expected.map(str::to_owned)[..], &["https://chat.example.com".to_owned()][..])
    );
}

#[test]
fn what_is_there_is_not_set_again() {
    for (proxies, origins) in [
        (&["127.0.0.2"][..], &["https://chat.example.com"][..]),
        (&["127.0.0.2/31"], &[" HTTPS://Chat.Example.com"]),
        (&["10.0.0.1", "127.0.0.2/32"], &["*"]),
    ] {
        assert_eq!(commands(&gateway(None, proxies, origins)), [""; 0], "{proxies:?} {origins:?}");
    }
    let mut seen = gateway(None, &["127.0.0.2"], &[]);
    let Gateway::Read { wants_origins, .. } = &mut seen.gateway else { unreachable!() };
    *wants_origins = false;
    assert_eq!(commands(&seen), [""; 0]);
}

/// A configuration that was there before has the last word on what its sites need.
#[test]
fn the_lists_are_those_that_the_configuration_needs() {
    let site = "[[site]]\nhosts = [\"chat.example.com\", \"localhost\"]\n";
    let elsewhere =
        format!("[[listen]]\naddress = \"0.0.0.0:8443\"\nserve = \"https\"\n{site}identity = \"loopback\"\n");
    assert_eq!(
        commands_for(&elsewhere, &gateway(None, &["127.0.0.1"], &[])),
        [
            "openclaw config set gateway.trustedProxies '[]'",
            r#"openclaw config set gateway.controlUi.allowedOrigins '["https://chat.example.com:8443"]'"#,
        ]
    );
    assert_eq!(commands_for(&format!("{site}kind = \"generic\"\n"), &gateway(None, &[], &[])), [""; 0]);
    let other = "[[site]]\nhost = \"other.example.com\"\n";
    assert_eq!(commands_for(other, &gateway(None, &[], &[])), [""; 0]);
}

#[test]
fn notes_name_what_would_surprise() {
    let mut seen = gateway(None, &["127.0.0.1", "127.0.0.2"], &[]);
    let notes_of = |seen: &Seen, wanted: &Wanted| notes(wanted, seen).join("\n");
    assert_eq!(notes_of(&seen, &wanted(&["192.0.2.1/32"], None)), "");
    assert!(notes_of(&seen, &wanted(&[], None)).contains("no --clients"));
    let Gateway::Read { without_auth, trusted_proxies, .. } = &mut seen.gateway else { unreachable!() };
    (*without_auth, *trusted_proxies) = (true, Vec::new());
    assert!(notes_of(&seen, &wanted(&["192.0.2.1/32"], None)).ends_with(token_command!()));
}
