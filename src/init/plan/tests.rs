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
        gateway: Gateway::Read {
            path: "/root/.openclaw/openclaw.json".into(),
            port,
            trusted_proxies: owned(proxies),
            allowed_origins: owned(origins),
            without_auth: false,
        },
        caddy: None,
        caddy_serves: false,
    }
}

fn commands(seen: &Seen) -> Vec<String> {
    changes(&wanted(&[], None), seen).iter().map(Change::command).collect()
}

#[test]
fn the_new_configuration_is_ten_lines_good_and_formatted() {
    for (wanted, seen, lines) in [
        (wanted(&[], None), gateway(None, &[], &[]), 7),
        (wanted(&["198.51.100.0/24", "2001:db8::/32"], None), gateway(Some(18789), &[], &[]), 7),
        (wanted(&["198.51.100.7/32"], Some("me@example.com")), gateway(None, &[], &[]), 11),
        (wanted(&[], Some("o\"k@example.com")), gateway(Some(19000), &[], &[]), 13),
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
    let text = config(&wanted(&[], None), &gateway(Some(19000), &[], &[]));
    assert!(text.contains("\nupstream = \"127.0.0.1:19000\"\n"), "{text}");
}

#[test]
fn lists_of_the_gateway_are_added_to_and_never_shortened() {
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
}

#[test]
fn what_is_there_is_not_set_again() {
    for (proxies, origins) in [
        (&["127.0.0.2"][..], &["https://chat.example.com"][..]),
        (&["127.0.0.0/8"], &["HTTPS://Chat.Example.com/"]),
        (&["10.0.0.1", "127.0.0.2/32"], &["*"]),
    ] {
        assert_eq!(commands(&gateway(None, proxies, origins)), [""; 0], "{proxies:?} {origins:?}");
    }
}

#[test]
fn what_stands_in_the_gateways_file_cannot_leave_the_quotes_of_a_command() {
    let shown = commands(&gateway(None, &["x'; rm -rf /; '"], &["*"]));
    assert_eq!(shown, [r#"openclaw config set gateway.trustedProxies '["x'\''; rm -rf /; '\''","127.0.0.2"]'"#]);
}

#[test]
fn notes_name_what_would_surprise() {
    let mut seen = gateway(None, &["127.0.0.1", "127.0.0.2"], &[]);
    let notes_of = |seen: &Seen, wanted: &Wanted| notes(wanted, seen).join("\n");
    assert!(notes_of(&seen, &wanted(&["192.0.2.1/32"], None)).contains("names 127.0.0.1"));
    assert!(notes_of(&seen, &wanted(&[], None)).contains("no --clients"));
    let Gateway::Read { without_auth, trusted_proxies, .. } = &mut seen.gateway else { unreachable!() };
    (*without_auth, *trusted_proxies) = (true, Vec::new());
    assert!(notes_of(&seen, &wanted(&["192.0.2.1/32"], None)).ends_with("openclaw config set gateway.auth.mode token"));
}
